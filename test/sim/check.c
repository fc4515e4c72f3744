#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fake_log.h"
#include "fake_store.h"

#define EPOCHS     64u
#define TICKS      1000u /* of a partition, most */
#define TICKS_KEPT 5u

/* A message that everybody has to see: not a marker, not poison, no repetition of a key. */
struct visible {
    uint64_t offset; /* position, from 1 */
    uint32_t channel, publication, hash;
    bool again; /* its key was used before, longer ago than the window */
};

struct view {
    uint32_t early; /* a publication whose key was forgotten within the window, + 1; 0 none */
    struct visible *items;
    size_t count, cap;
};

static char wrong[300];

static const char *say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(wrong, sizeof(wrong), format, args);
    va_end(args);
    return wrong;
}

/* ---- the log, read once more ---------------------------------------------------------------------------------- */

static uint32_t hash_of(struct rt_str s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (uint8_t)s.ptr[i]) * 16777619u;
    return h;
}

static struct rt_str header(const struct log_record *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return RT_STR_NONE;
}

static bool is_message(const struct log_record *r)
{
    struct rt_str kind = header(r, "rt-kind");
    return !header(r, "rt-marker").ptr && r->key.len > 0 &&
           (!kind.ptr || rt_str_eq(kind, RT_STR("text")));
}

/* The log's clock, told once more: a tick is the list of the ticks before it, newest first. It counts when the newest of them is not older than the last that counts. */
static void hear_tick(const struct log_record *r, uint64_t counted[], size_t *count)
{
    struct rt_str rest = header(r, "rt-tick");
    uint64_t known = 0, position = (uint64_t)r->offset + 1;
    if (!rest.ptr || rt_str_to_u64(rt_str_split(rest, '.', &rest), &known) < 0 ||
        known >= position || (*count > 0 && known < counted[*count - 1]) || *count == TICKS)
        return;
    if (*count == 0) /* what was before its author began to read is as old as five ticks */
        for (; *count < TICKS_KEPT - 1; (*count)++)
            counted[*count] = known;
    counted[(*count)++] = position;
}

/* The rule of repetitions: an earlier record with the same publisher and key, behind which less than five ticks have come. A channel has a key for one publication only. */
static void build(const struct log_part *log, struct view *view)
{
    static uint64_t seen[PUBLICATIONS]; /* position of the newest record with the key, 0 none */
    static uint64_t used[PUBLICATIONS]; /* virtual time of that */
    static uint64_t counted[TICKS];
    size_t ticks = 0;
    memset(seen, 0, sizeof(seen));
    view->count = 0;
    for (size_t i = 0; i < log->count; i++) {
        const struct log_record *r = log->records[i];
        uint32_t number = log_publication(r->value);
        bool again = false;
        hear_tick(r, counted, &ticks);
        if (!is_message(r))
            continue;
        if (number < PUBLICATIONS && header(r, "rt-key").ptr) {
            uint64_t last = seen[number];
            uint64_t begin = ticks < TICKS_KEPT ? 0 : counted[ticks - TICKS_KEPT];
            seen[number] = (uint64_t)r->offset + 1;
            again = last > 0;
            if (again && last < begin && r->at - used[number] <= STORE_WINDOW * SIM_MS)
                view->early = number + 1;
            used[number] = r->at;
            if (again && last >= begin)
                continue;
        }
        view->items = sim_grow(view->items, view->count, &view->cap, sizeof(*view->items));
        view->items[view->count++] = (struct visible){(uint64_t)r->offset + 1, channel_of(r->key),
                                                      number, hash_of(r->value), again};
    }
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

static uint32_t partition_of(const char *epoch)
{
    const char *dot = strchr(epoch, '.');
    return dot && dot[1] >= '0' && dot[1] < (char)('0' + SIM_PARTS) ? (uint32_t)(dot[1] - '0')
                                                                    : UINT32_MAX;
}

static bool names(const struct log_part *log, const char *epoch)
{
    size_t len = strcspn(epoch, ".");
    for (size_t i = 0; i < log->count; i++) {
        struct rt_str evidence = header(log->records[i], "rt-epoch");
        if (evidence.len > len && memcmp(evidence.ptr, epoch, len) == 0)
            return true;
    }
    return false;
}

/* The first incarnation in which somebody used the name; -1 none. */
static int incarnation_of(const char *epoch)
{
    static struct {
        char epoch[RT_EPOCH_MAX + 1];
        int incarnation;
    } known[EPOCHS];
    static size_t count;
    uint32_t partition = partition_of(epoch);
    for (size_t i = 0; i < count; i++)
        if (strcmp(known[i].epoch, epoch) == 0)
            return known[i].incarnation;
    for (size_t i = 0; partition < SIM_PARTS && i < fake_log.incarnations; i++) {
        if (!names(fake_log.parts[partition][i], epoch))
            continue;
        if (count < EPOCHS) {
            snprintf(known[count].epoch, sizeof(known[count].epoch), "%s", epoch);
            known[count++].incarnation = (int)i;
        }
        return (int)i;
    }
    return -1;
}

bool check_same_log(const char *a, const char *b)
{
    int incarnation = incarnation_of(a);
    return incarnation >= 0 && incarnation == incarnation_of(b);
}

static const struct log_part *log_of(const char *epoch)
{
    int incarnation = incarnation_of(epoch);
    return incarnation < 0 ? NULL : fake_log.parts[partition_of(epoch)][incarnation];
}

static const struct log_record *record_at(const struct rt_position *p)
{
    const struct log_part *log = log_of(p->epoch);
    if (!log || p->offset == 0)
        return NULL;
    size_t at = log_find(log, (int64_t)p->offset - 1);
    bool there = at < log->count && log->records[at]->offset == (int64_t)p->offset - 1;
    return there ? log->records[at] : NULL;
}

/* ---- at once ------------------------------------------------------------------------------------------------------ */

void check_delivery(const struct sim_client *c, const struct told *t)
{
    const struct log_record *r = record_at(&t->position);
    if (!r || hash_of(r->value) != t->hash || channel_of(r->key) != t->channel)
        sim_fail("c%u: got what is not in the log: #%u %s@%llu P%u", c->index, t->channel,
                 t->position.epoch, (unsigned long long)t->position.offset, t->publication);
}

/* At this offset, whatever the incarnation. */
static bool is_stored(uint32_t publication, uint64_t offset)
{
    for (uint32_t i = 0; i < SIM_PARTS; i++)
        for (size_t j = 0; j < fake_log.incarnations; j++)
            for (size_t k = 0; k < fake_log.parts[i][j]->count; k++) {
                const struct log_record *r = fake_log.parts[i][j]->records[k];
                if (log_publication(r->value) == publication && offset == (uint64_t)r->offset + 1)
                    return true;
            }
    return false;
}

/* Everybody sees it there: it is no repetition of another one. */
static bool is_visible(const struct log_part *log, uint32_t publication, uint64_t offset)
{
    struct view view = {.items = NULL};
    bool found = false;
    build(log, &view);
    for (size_t i = 0; i < view.count && !found; i++)
        found = view.items[i].offset == offset && view.items[i].publication == publication;
    free(view.items);
    return found;
}

void check_acknowledged(uint32_t publication, const struct told *t)
{
    const struct log_part *log = log_of(t->position.epoch);
    bool right = log && is_visible(log, publication, t->position.offset);
    /* A report does not say of which topic it is: a node that has not seen yet that there is another one calls it by the former name. */
    if (!right && !(sim.epochs && is_stored(publication, t->position.offset)))
        sim_fail("P%u was acknowledged at %s@%llu, and is not there", publication,
                 t->position.epoch, (unsigned long long)t->position.offset);
}

/* ---- in the end ----------------------------------------------------------------------------------------------------- */

static struct view *views[SIM_PARTS];

static void build_all(void)
{
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        views[i] = sim_alloc(fake_log.incarnations * sizeof(struct view));
        for (size_t j = 0; j < fake_log.incarnations; j++)
            build(fake_log.parts[i][j], &views[i][j]);
    }
}

static void free_all(void)
{
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        for (size_t j = 0; j < fake_log.incarnations; j++)
            free(views[i][j].items);
        free(views[i]);
    }
}

/* Each publication is to be seen once at most, and once when it was acknowledged. Another topic knows nothing of the keys of the former one. */
static const char *check_publications(void)
{
    static uint32_t seen[PUBLICATIONS];
    memset(seen, 0, sizeof(seen));
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        for (size_t j = 0; j < fake_log.incarnations; j++) {
            if (views[i][j].early)
                return say("P%u was forgotten within the window", views[i][j].early - 1);
            for (size_t k = 0; k < views[i][j].count; k++) {
                const struct visible *v = &views[i][j].items[k];
                uint32_t number = v->publication;
                if (number < PUBLICATIONS && ++seen[number] > 1 && !v->again && !sim.epochs)
                    return say("P%u is in the log more than once", number);
            }
        }
    }
    for (uint32_t i = 0; i < publication_count; i++)
        if (publications[i].acked && seen[i] == 0)
            return say("P%u was acknowledged, and is not in the log", i);
    return NULL;
}

/* A client's piece against the log: no hole, nothing twice, the log's order. */
static const char *check_segment(const struct sim_client *c, uint32_t channel,
                                 const struct segment *g, bool last)
{
    int incarnation = incarnation_of(g->epoch);
    if (incarnation < 0)
        return say("c%u: #%u has the epoch %s that nobody gave", c->index, channel, g->epoch);
    const struct view *v = &views[partition_of(g->epoch)][incarnation];
    size_t at = 0;
    for (size_t i = 0; i < v->count; i++) {
        const struct visible *m = &v->items[i];
        if (m->channel != channel || m->offset <= g->start)
            continue;
        if (at == g->count) {
            if (last && c->subs[channel].position.offset < m->offset)
                return say("c%u: #%u lacks the end: %s@%llu P%u", c->index, channel, g->epoch,
                           (unsigned long long)m->offset, m->publication);
            if (last)
                return say("c%u: #%u was told to have %llu, and never got %s@%llu P%u", c->index,
                           channel, (unsigned long long)c->subs[channel].position.offset, g->epoch,
                           (unsigned long long)m->offset, m->publication);
            return NULL;
        }
        if (g->got[at].offset != m->offset || g->got[at].hash != m->hash)
            return say("c%u: #%u has %s@%llu P%u where the log has %llu P%u", c->index, channel,
                       g->epoch, (unsigned long long)g->got[at].offset, g->got[at].publication,
                       (unsigned long long)m->offset, m->publication);
        at++;
    }
    return at == g->count
               ? NULL
               : say("c%u: #%u has %s@%llu P%u, which all others skip", c->index, channel, g->epoch,
                     (unsigned long long)g->got[at].offset, g->got[at].publication);
}

static const char *check_clients(void)
{
    const char *text = NULL;
    for (uint32_t i = 0; i < SIM_CLIENTS && !text; i++) {
        for (uint32_t j = 0; j < SIM_CHANNELS && !text; j++) {
            const struct subscription *s = &clients[i].subs[j];
            for (size_t k = 0; k < s->count && !text; k++)
                text = check_segment(&clients[i], j, &s->segments[k], k + 1 == s->count);
            const char *epoch = s->count ? s->segments[s->count - 1].epoch : "";
            if (!text && s->wanted && incarnation_of(epoch) != (int)fake_log.incarnations - 1)
                text = say("c%u: #%u is still at the former log %s", i, j, epoch);
        }
    }
    return text;
}

/* The rows of one incarnation against the log. */
static const char *check_rows(uint32_t partition, size_t incarnation)
{
    const struct store_part *p = &fake_store[partition];
    const struct view *v = &views[partition][incarnation];
    size_t at = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct rt_message *m = &p->rows[i].message->m;
        if (p->rows[i].repeated || incarnation_of(p->rows[i].epoch) != (int)incarnation)
            continue;
        if (at == v->count || v->items[at].offset != m->offset ||
            v->items[at].hash != hash_of(m->data))
            return say("store: p%u has %llu where the log has %llu", partition,
                       (unsigned long long)m->offset,
                       (unsigned long long)(at < v->count ? v->items[at].offset : 0));
        at++;
    }
    if (at < v->count && incarnation + 1 == fake_log.incarnations)
        return say("store: p%u lacks the end from %llu", partition,
                   (unsigned long long)v->items[at].offset);
    return NULL;
}

static const char *check_store(void)
{
    const char *text = NULL;
    for (uint32_t i = 0; i < SIM_PARTS && !text; i++)
        for (size_t j = 0; j < fake_log.incarnations && !text; j++)
            text = check_rows(i, j);
    return text;
}

const char *check_all(void)
{
    const char *text = clients_wait_for();
    if (text)
        return text;
    build_all();
    text = check_publications();
    if (!text)
        text = check_store();
    if (!text)
        text = check_clients();
    free_all();
    return text;
}
