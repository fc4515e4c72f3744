#include "journal/kafka_ticks.h"

#include <stdio.h>
#include <string.h>

struct rt_ticks rt_ticks_begin(uint64_t position)
{
    struct rt_ticks ticks;
    for (size_t i = 0; i < RT_TICKS; i++)
        ticks.at[i] = position;
    return ticks;
}

size_t rt_ticks_write(const struct rt_ticks *ticks, char out[RT_TICKS_TEXT + 1])
{
    size_t len = 0;
    for (size_t i = 0; i < RT_TICKS; i++) {
        int added = snprintf(out + len, RT_TICKS_TEXT + 1 - len, i ? ".%llu" : "%llu",
                             (unsigned long long)ticks->at[i]);
        len += added > 0 ? (size_t)added : 0;
    }
    return len;
}

bool rt_ticks_read(struct rt_str text, uint64_t position, struct rt_ticks *ret_ticks)
{
    struct rt_ticks ticks;
    struct rt_str rest = text;
    for (size_t i = 0; i < RT_TICKS; i++) {
        uint64_t most = i ? ticks.at[i - 1] : position - 1;
        if (rt_str_to_u64(rt_str_split(rest, '.', &rest), &ticks.at[i]) < 0 || ticks.at[i] == 0 ||
            ticks.at[i] > most)
            return false;
    }
    if (rest.len > 0)
        return false;
    *ret_ticks = ticks;
    return true;
}

bool rt_ticks_take(struct rt_ticks *ticks, const struct rt_ticks *known, uint64_t position)
{
    if (position <= ticks->at[0] || known->at[0] < ticks->at[0])
        return false;
    if (ticks->at[0] == 0)
        *ticks = *known;
    memmove(ticks->at + 1, ticks->at, (RT_TICKS - 1) * sizeof(ticks->at[0]));
    ticks->at[0] = position;
    return true;
}

uint64_t rt_ticks_oldest(const struct rt_ticks *ticks)
{
    return ticks->at[RT_TICKS - 1];
}

uint64_t rt_ticks_interval(uint64_t window)
{
    uint64_t interval = (window + RT_TICKS - 2) / (RT_TICKS - 1);
    return interval > 0 ? interval : 1;
}
