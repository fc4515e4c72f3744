#include "net/meter.h"

#define BUCKET_NS  UINT64_C(100000000)
#define LONGEST_NS UINT64_C(5000000000)

void rt_meter_init(struct rt_meter *m, uint64_t now)
{
    *m = (struct rt_meter){.created = now};
}

void rt_meter_begin(struct rt_meter *m, uint64_t now)
{
    if (m->running)
        return;
    m->running = true;
    m->start = now;
}

/* Where [from, to) begins when only the last second counts. */
static uint64_t clip(uint64_t from, uint64_t to)
{
    uint64_t window = BUCKET_NS * RT_METER_BUCKETS;
    return to > window && from < to - window ? to - window : from;
}

static void add_busy(struct rt_meter *m, uint64_t from, uint64_t to)
{
    from = clip(from, to);
    while (from < to) {
        uint64_t number = from / BUCKET_NS;
        uint64_t end = (number + 1) * BUCKET_NS;
        if (end > to)
            end = to;
        uint64_t i = number % RT_METER_BUCKETS;
        if (m->number[i] != number) {
            m->number[i] = number;
            m->bucket[i] = 0;
        }
        m->bucket[i] += end - from;
        from = end;
    }
}

static void note_length(struct rt_meter *m, uint64_t length, uint64_t now)
{
    uint64_t when = now / LONGEST_NS, i = when % RT_METER_LONGEST;
    if (m->longest_when[i] != when) {
        m->longest_when[i] = when;
        m->longest[i] = 0;
    }
    if (length > m->longest[i])
        m->longest[i] = length;
}

uint64_t rt_meter_longest(const struct rt_meter *m, uint64_t now)
{
    uint64_t when = now / LONGEST_NS, longest = 0;
    for (int i = 0; i < RT_METER_LONGEST; i++)
        if (m->longest_when[i] + RT_METER_LONGEST > when && m->longest[i] > longest)
            longest = m->longest[i];
    return longest;
}

void rt_meter_end(struct rt_meter *m, uint64_t now)
{
    if (!m->running)
        return;
    m->running = false;
    note_length(m, now - m->start, now);
    add_busy(m, m->start, now);
}

double rt_meter_utilisation(const struct rt_meter *m, uint64_t now)
{
    struct rt_meter copy = *m;
    if (copy.running)
        add_busy(&copy, copy.start, now);
    uint64_t newest = now / BUCKET_NS;
    uint64_t oldest = newest >= RT_METER_BUCKETS - 1 ? newest - (RT_METER_BUCKETS - 1) : 0;
    uint64_t begin = oldest * BUCKET_NS > m->created ? oldest * BUCKET_NS : m->created;
    if (now <= begin)
        return 0;
    uint64_t busy = 0;
    for (int i = 0; i < RT_METER_BUCKETS; i++)
        if (copy.number[i] >= oldest && copy.number[i] <= newest)
            busy += copy.bucket[i];
    double share = (double)busy / (double)(now - begin);
    return share > 1 ? 1 : share;
}
