#include "fake_log.h"

#include <stdlib.h>

struct log fake_log;

static void add_incarnation(void)
{
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        size_t size = (fake_log.incarnations + 1) * sizeof(struct log_part *);
        struct log_part **all = realloc(fake_log.parts[i], size);
        if (!all)
            abort();
        all[fake_log.incarnations] = sim_alloc(sizeof(struct log_part));
        fake_log.parts[i] = all;
    }
    fake_log.incarnations++;
}

void log_begin(void)
{
    fake_log = (struct log){.down = false};
    add_incarnation();
}

void log_end(void)
{
    for (uint32_t i = 0; i < SIM_PARTS; i++) {
        for (size_t j = 0; j < fake_log.incarnations; j++) {
            struct log_part *p = fake_log.parts[i][j];
            for (size_t r = 0; r < p->count; r++)
                log_record_free(p->records[r]);
            free(p->records);
            free(p);
        }
        free(fake_log.parts[i]);
    }
}

struct log_part *log_part(uint32_t partition)
{
    return fake_log.parts[partition][fake_log.incarnations - 1];
}

struct log_record *log_record_new(struct rt_str key, struct rt_str value, uint64_t time,
                                  const struct rt_record_header *headers, size_t count)
{
    struct log_record *r = sim_alloc(sizeof(*r));
    r->key = key.ptr ? rt_str_of(sim_copy(key), key.len) : RT_STR_NONE;
    r->value = rt_str_of(sim_copy(value), value.len);
    r->time = time;
    r->headers = sim_alloc(count * sizeof(*headers));
    r->header_count = count;
    for (size_t i = 0; i < count; i++) {
        struct rt_str v = headers[i].value;
        r->headers[i] = (struct rt_record_header){headers[i].name, rt_str_of(sim_copy(v), v.len)};
    }
    return r;
}

void log_record_free(struct log_record *r)
{
    free((void *)r->key.ptr);
    free((void *)r->value.ptr);
    for (size_t i = 0; i < r->header_count; i++)
        free((void *)r->headers[i].value.ptr);
    free(r->headers);
    free(r);
}

int64_t log_append(uint32_t partition, struct log_record *record)
{
    struct log_part *p = log_part(partition);
    record->offset = p->end++;
    record->at = sim.now;
    p->records = sim_grow(p->records, p->count, &p->cap, sizeof(struct log_record *));
    p->records[p->count++] = record;
    struct rt_str shown = record->key.ptr ? record->value : RT_STR("(marker)");
    sim_trace("log: p%u@%lld %.*s", partition, (long long)record->offset, RT_STR_ARG(shown));
    return record->offset;
}

void log_skip(uint32_t partition)
{
    log_part(partition)->end++;
}

size_t log_find(const struct log_part *p, int64_t offset)
{
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->records[middle]->offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void log_delete_topic(void)
{
    for (uint32_t i = 0; i < SIM_PARTS; i++)
        log_part(i)->ended = sim.now;
    fake_log.gone = true;
    sim_trace("log: the topic is deleted");
}

void log_create_topic(void)
{
    add_incarnation();
    fake_log.gone = false;
    sim_trace("log: the topic is made anew");
}

uint32_t log_publication(struct rt_str value)
{
    uint64_t number;
    if (value.len < 2 || value.ptr[0] != 'P' ||
        rt_str_to_u64(rt_str_of(value.ptr + 1, value.len - 1), &number) < 0)
        return UINT32_MAX;
    return (uint32_t)number;
}
