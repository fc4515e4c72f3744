/* Hash map from byte strings to pointers: open addressing, power of two, stored hashes,
 * backward-shift deletion.
 *
 * Keys are hashed with SipHash-1-3 under a random key, since peers choose them. The map stores
 * only the value; the key is read from the value through `key_of`, so that a name is kept once,
 * inside its object. The map owns neither. Thread: one at a time. No put and no remove while
 * iterating: collect first. */
#ifndef RT_BASE_MAP_H
#define RT_BASE_MAP_H

#include "base/str.h"

struct rt_map_slot {
    uint64_t hash;
    void *value; /* NULL: empty */
};

struct rt_map {
    struct rt_map_slot *slots;
    size_t mask; /* slots - 1; 0 when none are allocated */
    size_t count;
    struct rt_str (*key_of)(const void *value);
};

void rt_map_init(struct rt_map *m, struct rt_str (*key_of)(const void *value));
void rt_map_deinit(struct rt_map *m);
/* NULL when absent. */
void *rt_map_get(const struct rt_map *m, struct rt_str key);
/* `value` is not NULL. RT_EEXIST when the key is there, RT_ENOMEM (the map is unchanged). The
 * key may not change while it is in. */
int rt_map_put(struct rt_map *m, void *value);
/* The removed value, NULL when absent. Shrinks when mostly empty (a failing shrink is ignored). */
void *rt_map_remove(struct rt_map *m, struct rt_str key);
/* Iteration: start with `*pos` 0; NULL at the end. */
void *rt_map_next(const struct rt_map *m, size_t *pos);

/* SipHash-1-3 under the process's random key. */
uint64_t rt_hash(struct rt_str s);
/* The same under a given key (its 16 bytes as two little-endian words). */
uint64_t rt_siphash13(const uint64_t key[2], struct rt_str text);

#endif
