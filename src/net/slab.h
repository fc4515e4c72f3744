/* Objects of one size in slabs of 64 KiB: no malloc per object, dense addresses, and iteration.
 *
 * The lowest slab with room gives the next object, so that the highest ones become empty when
 * objects go; an empty slab is given back, but for one. The object remembers the number of its
 * slab. Internal to net/. Thread: the loop. */
#ifndef RT_NET_SLAB_H
#define RT_NET_SLAB_H

#include <stddef.h>
#include <stdint.h>

/* Slightly less than 64 KiB, so that malloc's own header does not spill into one page more. */
#define RT_SLAB_BYTES (65536u - 16u)
#define RT_SLAB_MAX   65535u /* slabs */

struct rt_slab {
    unsigned char *memory; /* NULL: given back */
    uint32_t used;
    uint64_t taken[16]; /* one bit per object: up to 1024 of them */
};

struct rt_slabs {
    size_t size;
    uint32_t per_slab;
    struct rt_slab *slabs;
    uint32_t count;
    uint32_t cap;
    uint32_t first_room; /* no slab below it has room */
    uint32_t empty;      /* slabs with memory and without objects: 0 or 1 */
};

/* `size`: 64 to RT_SLAB_BYTES, a multiple of 8. */
void rt_slabs_init(struct rt_slabs *s, size_t size);
/* No object may be left. */
void rt_slabs_deinit(struct rt_slabs *s);
/* Zeroed memory of one object and the number of its slab; NULL: out of memory. */
void *rt_slabs_take(struct rt_slabs *s, uint16_t *ret_slab);
void rt_slabs_give(struct rt_slabs *s, void *object, uint16_t slab);
/* Objects in turn; start with `*pos` 0, NULL at the end. Taking and giving in between is fine:
 * what comes or goes ahead of the position is seen or not seen accordingly. */
void *rt_slabs_next(const struct rt_slabs *s, size_t *pos);

#endif
