#include "base/map.h"

#include <assert.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/rand.h"

#define FIRST_SLOTS ((size_t)8)

static uint64_t rotl(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 = rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

static inline uint64_t load_le64(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* Fewer than eight bytes, little endian. */
static inline uint64_t load_tail(const unsigned char *p, size_t len)
{
    uint64_t word = 0;
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)p[i] << (8 * i);
    return word;
}

uint64_t rt_siphash13(const uint64_t key[2], struct rt_str text)
{
    struct sip s = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                    key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t left = text.len;
    for (; left >= 8; left -= 8, p += 8)
        sip_word(&s, load_le64(p));
    sip_word(&s, (uint64_t)text.len << 56 | load_tail(p, left));
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static uint64_t process_key[2];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void make_process_key(void)
{
    rt_random(process_key, sizeof(process_key));
}

uint64_t rt_hash(struct rt_str s)
{
    pthread_once(&process_key_once, make_process_key);
    return rt_siphash13(process_key, s);
}

void rt_map_init(struct rt_map *m, struct rt_str (*key_of)(const void *value))
{
    *m = (struct rt_map){.key_of = key_of};
}

void rt_map_deinit(struct rt_map *m)
{
    rt_free(m->slots);
    rt_map_init(m, m->key_of);
}

/* The slot that holds `key`, or the empty one where it belongs. Needs slots, one of them empty. */
static struct rt_map_slot *find(const struct rt_map *m, struct rt_str key, uint64_t hash)
{
    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        struct rt_map_slot *slot = &m->slots[i];
        if (!slot->value || (slot->hash == hash && rt_str_eq(m->key_of(slot->value), key)))
            return slot;
    }
}

static int resize(struct rt_map *m, size_t slot_count)
{
    struct rt_map_slot *slots = rt_calloc(slot_count, sizeof(*slots));
    if (!slots)
        return RT_ENOMEM;
    size_t mask = slot_count - 1;
    for (size_t i = 0; m->slots && i <= m->mask; i++) {
        if (!m->slots[i].value)
            continue;
        size_t at = m->slots[i].hash & mask;
        while (slots[at].value)
            at = (at + 1) & mask;
        slots[at] = m->slots[i];
    }
    rt_free(m->slots);
    m->slots = slots;
    m->mask = mask;
    return 0;
}

void *rt_map_get(const struct rt_map *m, struct rt_str key)
{
    if (m->count == 0)
        return NULL;
    return find(m, key, rt_hash(key))->value;
}

int rt_map_put(struct rt_map *m, void *value)
{
    assert(value);
    struct rt_str key = m->key_of(value);
    uint64_t hash = rt_hash(key);
    struct rt_map_slot *slot = m->slots ? find(m, key, hash) : NULL;
    if (slot && slot->value)
        return RT_EEXIST;
    if (!slot || (m->count + 1) * 4 > (m->mask + 1) * 3) {
        if (resize(m, m->slots ? (m->mask + 1) * 2 : FIRST_SLOTS) < 0)
            return RT_ENOMEM;
        slot = find(m, key, hash);
    }
    slot->hash = hash;
    slot->value = value;
    m->count++;
    return 0;
}

/* Closes the hole at `hole`: every later entry of the cluster that may stand there (its home is
 * not past the hole) moves up. */
static void close_hole(struct rt_map *m, size_t hole)
{
    for (size_t i = (hole + 1) & m->mask; m->slots[i].value; i = (i + 1) & m->mask) {
        size_t from_home = (i - (size_t)m->slots[i].hash) & m->mask;
        if (from_home < ((i - hole) & m->mask))
            continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole].value = NULL;
}

void *rt_map_remove(struct rt_map *m, struct rt_str key)
{
    if (m->count == 0)
        return NULL;
    struct rt_map_slot *slot = find(m, key, rt_hash(key));
    void *value = slot->value;
    if (!value)
        return NULL;
    close_hole(m, (size_t)(slot - m->slots));
    m->count--;
    size_t slots = m->mask + 1;
    if (slots > FIRST_SLOTS && m->count < slots / 8)
        (void)resize(m, slots / 2); /* without memory it stays large, which is no error */
    return value;
}

void *rt_map_next(const struct rt_map *m, size_t *pos)
{
    while (m->slots && *pos <= m->mask) {
        void *value = m->slots[(*pos)++].value;
        if (value)
            return value;
    }
    return NULL;
}
