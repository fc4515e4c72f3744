#include "cluster/beat.h"

#include "base/map.h"
#include "base/rand.h"

void rt_beat_init(struct rt_beat *b)
{
    *b = (struct rt_beat){.sent = 0};
    rt_random(b->key, sizeof(b->key));
}

static void write_number(const struct rt_beat *b, uint64_t number, uint8_t out[RT_BEAT_LEN])
{
    uint64_t hash = rt_siphash13(b->key, rt_str_of(&number, sizeof(number)));
    memcpy(out, &number, sizeof(number));
    memcpy(out + sizeof(number), &hash, sizeof(hash));
}

void rt_beat_write(struct rt_beat *b, uint8_t out[RT_BEAT_LEN])
{
    write_number(b, ++b->sent, out);
}

bool rt_beat_take(struct rt_beat *b, struct rt_str payload)
{
    uint8_t right[RT_BEAT_LEN];
    uint64_t number;
    if (payload.len != RT_BEAT_LEN)
        return false;
    memcpy(&number, payload.ptr, sizeof(number));
    write_number(b, number, right);
    if (number <= b->heard || !rt_str_eq_secret(payload, rt_str_of(right, sizeof(right))))
        return false;
    b->heard = number;
    return true;
}
