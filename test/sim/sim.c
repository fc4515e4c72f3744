#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_LINES 60u
#define TRACE_WIDTH 200u

struct sim sim;

/* An event and its payload behind it. */
struct event {
    uint64_t at, number;
    void (*fn)(void *payload);
    max_align_t payload[];
};

static struct {
    struct event **heap;
    size_t count, cap;
    uint64_t number;
} queue;

static struct {
    char lines[TRACE_LINES][TRACE_WIDTH];
    uint64_t count;
    bool ended; /* the failure is its last line */
} trace;

/* ---- memory ------------------------------------------------------------------------------------------------ */

void *sim_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        abort();
    return p;
}

void *sim_grow(void *array, size_t count, size_t *cap, size_t item)
{
    if (count < *cap)
        return array;
    *cap = *cap ? *cap * 2 : 16;
    void *p = realloc(array, *cap * item);
    if (!p)
        abort();
    return p;
}

void *sim_copy(struct rt_str bytes)
{
    void *p = sim_alloc(bytes.len);
    if (bytes.len)
        memcpy(p, bytes.ptr, bytes.len);
    return p;
}

/* ---- randomness: splitmix64 seeds xoshiro256** (Blackman and Vigna) ------------------------------------------ */

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

uint64_t sim_random(void)
{
    uint64_t *s = sim.random;
    uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t sim_below(uint64_t bound)
{
    return bound ? sim_random() % bound : 0;
}

uint64_t sim_between(uint64_t low, uint64_t high)
{
    return low + sim_below(high - low + 1);
}

bool sim_chance(uint32_t per_mille)
{
    return sim_below(1000) < per_mille;
}

bool sim_fault(uint32_t per_mille)
{
    return !sim.calm && sim_chance(per_mille);
}

/* ---- events: a binary heap by time, then by number ----------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->number < b->number;
}

static void swap(size_t a, size_t b)
{
    struct event *e = queue.heap[a];
    queue.heap[a] = queue.heap[b];
    queue.heap[b] = e;
}

static void push(struct event *e)
{
    queue.heap = sim_grow(queue.heap, queue.count, &queue.cap, sizeof(struct event *));
    size_t i = queue.count++;
    queue.heap[i] = e;
    for (; i > 0 && before(queue.heap[i], queue.heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(i, (i - 1) / 2);
}

static struct event *pop(void)
{
    struct event *first = queue.heap[0];
    queue.heap[0] = queue.heap[--queue.count];
    for (size_t i = 0;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < queue.count; child++)
            if (before(queue.heap[child], queue.heap[least]))
                least = child;
        if (least == i)
            return first;
        swap(i, least);
        i = least;
    }
}

void *sim_post(uint64_t delay, void (*fn)(void *payload), size_t size)
{
    struct event *e = sim_alloc(sizeof(*e) + size);
    e->at = sim.now + delay;
    e->number = queue.number++;
    e->fn = fn;
    push(e);
    return e->payload;
}

void sim_run(uint64_t until)
{
    while (!sim.failure[0] && queue.count > 0 && queue.heap[0]->at <= until) {
        struct event *e = pop();
        sim.now = e->at;
        sim.events++;
        e->fn(e->payload);
        free(e);
    }
    if (!sim.failure[0])
        sim.now = until;
}

void sim_begin(uint64_t seed, enum bug bug, bool verbose)
{
    uint64_t state = seed;
    sim = (struct sim){.seed = seed, .bug = bug, .verbose = verbose};
    for (int i = 0; i < 4; i++)
        sim.random[i] = splitmix(&state);
    sim.now = SIM_SECOND; /* 0 means "never" in places */
    sim.trace_hash = 0xcbf29ce484222325u;
}

void sim_end(void)
{
    while (queue.count > 0)
        free(pop());
    free(queue.heap);
    queue.heap = NULL;
    queue.cap = 0;
}

/* ---- trace and failure --------------------------------------------------------------------------------------- */

static void keep_line(const char *line)
{
    if (trace.ended)
        return;
    char *to = trace.lines[trace.count++ % TRACE_LINES];
    snprintf(to, TRACE_WIDTH, "%4llu.%06llu %s", (unsigned long long)(sim.now / SIM_SECOND),
             (unsigned long long)(sim.now % SIM_SECOND), line);
    for (const char *c = to; *c; c++)
        sim.trace_hash = (sim.trace_hash ^ (uint8_t)*c) * 0x100000001b3u;
    if (sim.verbose)
        fprintf(stderr, "%s\n", to);
}

void sim_trace(const char *format, ...)
{
    char line[TRACE_WIDTH];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    keep_line(line);
}

void sim_fail(const char *format, ...)
{
    va_list args;
    if (sim.failure[0])
        return;
    va_start(args, format);
    vsnprintf(sim.failure, sizeof(sim.failure), format, args);
    va_end(args);
    keep_line(sim.failure);
    trace.ended = true;
}

void sim_print_trace(void)
{
    uint64_t from = trace.count > TRACE_LINES ? trace.count - TRACE_LINES : 0;
    for (uint64_t i = from; i < trace.count; i++)
        printf("#   %s\n", trace.lines[i % TRACE_LINES]);
}
