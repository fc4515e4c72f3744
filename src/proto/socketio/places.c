#include "proto/socketio/places.h"

#include "base/alloc.h"
#include "base/map.h"
#include "base/rand.h"
#include "journal/sequencer.h"

#define BASE_LOW  101559956668416u /* 36 to the 9th: stamps of ten digits */
#define BASE_SPAN 0xffffffffu

/* ---- base 36 ---- */

void rt_sio_base36_write(struct rt_buf *out, uint64_t value)
{
    char digits[16];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdefghijklmnopqrstuvwxyz"[value % 36];
        value /= 36;
    } while (value);
    rt_buf_add(out, digits + at, sizeof(digits) - at);
}

bool rt_sio_base36_read(struct rt_str text, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (text.len == 0 || text.len > 12)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c >= '0' && c <= '9')
            value = value * 36 + (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'z')
            value = value * 36 + (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret_value = value;
    return true;
}

/* ---- places ---- */

int rt_sio_places_new(const struct rt_journal *journal, struct rt_sio_places **ret_places)
{
    uint32_t count = rt_journal_partitions(journal);
    if (count == 0)
        return RT_EINVAL;
    struct rt_sio_places *p = rt_calloc(1, sizeof(*p));
    if (!p)
        return RT_ENOMEM;
    p->used = rt_calloc(count, sizeof(*p->used));
    if (!p->used) {
        rt_free(p);
        return RT_ENOMEM;
    }
    p->journal = journal;
    p->count = count;
    p->base = BASE_LOW + (uint64_t)rt_random_below(BASE_SPAN) * 65536;
    *ret_places = p;
    return 0;
}

void rt_sio_places_free(struct rt_sio_places *p)
{
    if (p)
        rt_free(p->used);
    rt_free(p);
}

void rt_sio_places_recount(struct rt_sio_places *p)
{
    rt_free(p->used);
    p->count = rt_journal_partitions(p->journal);
    p->used = rt_calloc(p->count, sizeof(*p->used));
}

static bool is_used(const struct rt_sio_places *p, uint32_t partition)
{
    return !p->used || p->used[partition];
}

/* The same on every node. */
static uint32_t check_of(const char *epoch)
{
    static const uint64_t key[2] = {0x72742d65706f6368u, 0x736f636b6574u};
    return (uint32_t)rt_siphash13(key, rt_str_c(epoch));
}

void rt_sio_places_use(struct rt_sio_places *p, struct rt_str channel)
{
    if (p->used)
        p->used[rt_partition_of(channel, p->count)] = true;
}

struct rt_sio_place rt_sio_places_of(const struct rt_sio_places *p, struct rt_str channel)
{
    struct rt_sio_place place = {.partition = rt_partition_of(channel, p->count)};
    place.epoch = check_of(rt_journal_delivered(p->journal, place.partition, &place.offset));
    return place;
}

uint64_t rt_sio_places_delivered(const struct rt_sio_places *p, uint32_t partition)
{
    uint64_t offset;
    (void)rt_journal_delivered(p->journal, partition, &offset);
    return offset;
}

static uint32_t add_check(const struct rt_sio_places *p, uint32_t check, uint32_t partition)
{
    uint64_t offset;
    return check * 31 + check_of(rt_journal_delivered(p->journal, partition, &offset));
}

#define CHECKS 46656u /* three digits */

void rt_sio_places_write(const struct rt_sio_places *p, const uint64_t *offsets, struct rt_buf *out)
{
    uint32_t check = 0;
    char sep = '~';
    for (uint32_t i = 0; i < p->count; i++) {
        if (offsets ? offsets[i] > 0 : is_used(p, i))
            check = add_check(p, check, i);
    }
    size_t start = out->len;
    rt_buf_add_byte(out, '~');
    rt_sio_base36_write(out, check % CHECKS);
    for (uint32_t i = 0; i < p->count; i++) {
        if (offsets ? offsets[i] == 0 : !is_used(p, i))
            continue;
        rt_buf_add_byte(out, (uint8_t)sep);
        rt_sio_base36_write(out, i);
        rt_buf_add_byte(out, '-');
        rt_sio_base36_write(out, offsets ? offsets[i] : rt_sio_places_delivered(p, i));
        sep = '.';
    }
    if (sep == '~' && rt_buf_ok(out))
        out->len = start; /* none matters */
}

bool rt_sio_places_read(const struct rt_sio_places *p, struct rt_str text, uint64_t *offsets)
{
    uint64_t wanted, partition, offset, next = 0;
    uint32_t check = 0;
    if (text.len == 0)
        return true;
    struct rt_str rest = rt_str_of(text.ptr + 1, text.len - 1);
    if (text.ptr[0] != '~' || !rt_sio_base36_read(rt_str_split(rest, '~', &rest), &wanted))
        return false;
    while (rest.ptr) {
        struct rt_str number, place = rt_str_split(rest, '.', &rest);
        place = rt_str_split(place, '-', &number);
        if (!rt_sio_base36_read(place, &partition) || !rt_sio_base36_read(number, &offset) ||
            partition < next || partition >= p->count)
            return false;
        next = partition + 1;
        check = add_check(p, check, (uint32_t)partition);
        if (offset > offsets[partition])
            offsets[partition] = offset;
    }
    return check % CHECKS == wanted;
}
