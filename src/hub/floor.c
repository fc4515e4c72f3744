/* What the hub knows of channels that have no object: in a log that nodes share every message of an
 * epoch passes by here, so a channel of which nothing is known has had nothing since the first one,
 * but for channels that were forgotten. See rt_hub_floor(). */
#include "base/alloc.h"
#include "hub/internal.h"

struct floor {
    uint64_t offset;
    char epoch[24];
};

struct rt_str rt_hub_key_of_floor(const void *value)
{
    return rt_str_c(((const struct floor *)value)->epoch);
}

uint64_t rt_hub_floor(const struct rt_hub *hub, const char *epoch)
{
    const struct floor *f = rt_map_get(&hub->floors, rt_str_c(epoch));
    return f ? f->offset : UINT64_MAX;
}

/* Without memory nothing is known, and a later message begins. */
static struct floor *begin(struct rt_hub *hub, const char *epoch, uint64_t offset)
{
    size_t len = strlen(epoch);
    struct floor *f = len > 0 && len < sizeof(f->epoch) ? rt_calloc(1, sizeof(*f)) : NULL;
    if (!f)
        return NULL;
    memcpy(f->epoch, epoch, len);
    f->offset = offset;
    if (rt_map_put(&hub->floors, f) == 0)
        return f;
    rt_free(f);
    return NULL;
}

uint64_t rt_hub_note_floor(struct rt_hub *hub, const char *epoch, uint64_t offset)
{
    struct floor *f = rt_map_get(&hub->floors, rt_str_c(epoch));
    if (!f)
        f = begin(hub, epoch, offset - 1);
    return f ? f->offset : offset - 1;
}

void rt_hub_raise_floor(struct rt_hub *hub, const char *epoch, uint64_t offset)
{
    struct floor *f = rt_map_get(&hub->floors, rt_str_c(epoch));
    if (f && f->offset < offset)
        f->offset = offset;
}

void rt_hub_free_floors(struct rt_hub *hub)
{
    size_t pos = 0;
    void *f;
    while ((f = rt_map_next(&hub->floors, &pos)))
        rt_free(f);
    rt_map_deinit(&hub->floors);
}
