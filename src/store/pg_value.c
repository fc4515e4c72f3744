#include "store/pg_value.h"

#include <assert.h>
#include <limits.h>

#define EPOCH_2000_MS 946684800000 /* of 2000-01-01 UTC, since 1970 */
#define ARRAY_HEADER  20           /* dimensions, null flag, type, length, lower bound */

/* ---- big endian ---------------------------------------------------------------------------------------------- */

static void put(uint8_t *out, uint64_t value, int size)
{
    for (int i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static uint64_t get(const uint8_t *bytes, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

static int64_t pg_time(uint64_t wall_ms)
{
    uint64_t most = (uint64_t)(INT64_MAX / 1000 - 1);
    int64_t ms = (int64_t)(wall_ms < most ? wall_ms : most);
    return (ms - EPOCH_2000_MS) * 1000;
}

/* ---- parameters ---------------------------------------------------------------------------------------------- */

void rt_pg_params_init(struct rt_pg_params *p)
{
    p->count = 0;
}

static void add(struct rt_pg_params *p, Oid type, const void *value, size_t len)
{
    assert(p->count < RT_PG_PARAMS && len <= INT_MAX);
    int i = p->count++;
    p->types[i] = type;
    p->values[i] = value;
    p->lengths[i] = (int)len;
    p->formats[i] = 1;
}

static void add_number(struct rt_pg_params *p, Oid type, uint64_t value, int size)
{
    assert(p->count < RT_PG_PARAMS);
    uint8_t *scratch = p->scratch[p->count];
    put(scratch, value, size);
    add(p, type, scratch, (size_t)size);
}

void rt_pg_add_text(struct rt_pg_params *p, struct rt_str text)
{
    add(p, RT_PG_TEXT, text.ptr, text.len);
}

void rt_pg_add_bytes(struct rt_pg_params *p, struct rt_str bytes)
{
    add(p, RT_PG_BYTEA, bytes.ptr, bytes.len);
}

void rt_pg_add_uuid(struct rt_pg_params *p, const uint8_t uuid[16])
{
    add(p, RT_PG_UUID, uuid, 16);
}

void rt_pg_add_i16(struct rt_pg_params *p, int16_t value)
{
    add_number(p, RT_PG_INT2, (uint16_t)value, 2);
}

void rt_pg_add_i32(struct rt_pg_params *p, int32_t value)
{
    add_number(p, RT_PG_INT4, (uint32_t)value, 4);
}

void rt_pg_add_i64(struct rt_pg_params *p, int64_t value)
{
    add_number(p, RT_PG_INT8, (uint64_t)value, 8);
}

void rt_pg_add_time(struct rt_pg_params *p, uint64_t wall_ms)
{
    add_number(p, RT_PG_TIMESTAMPTZ, (uint64_t)pg_time(wall_ms), 8);
}

/* ---- arrays -------------------------------------------------------------------------------------------------- */

static Oid array_type(enum rt_pg_type element)
{
    switch (element) {
    case RT_PG_BYTEA:
        return RT_PG_BYTEA_ARRAY;
    case RT_PG_INT2:
        return RT_PG_INT2_ARRAY;
    case RT_PG_INT4:
        return RT_PG_INT4_ARRAY;
    case RT_PG_INT8:
        return RT_PG_INT8_ARRAY;
    case RT_PG_TIMESTAMPTZ:
        return RT_PG_TIMESTAMPTZ_ARRAY;
    case RT_PG_UUID:
        return RT_PG_UUID_ARRAY;
    default:
        return RT_PG_TEXT_ARRAY;
    }
}

void rt_pg_array_init(struct rt_pg_array *a, enum rt_pg_type element)
{
    rt_buf_init(&a->buf);
    a->element = element;
    a->count = 0;
    a->nulls = false;
}

void rt_pg_array_deinit(struct rt_pg_array *a)
{
    rt_buf_deinit(&a->buf);
}

void rt_pg_array_clear(struct rt_pg_array *a)
{
    rt_buf_clear(&a->buf);
    a->count = 0;
    a->nulls = false;
}

/* Room for the next element's length and bytes; NULL when out of memory. */
static uint8_t *next_item(struct rt_pg_array *a, uint32_t len_word, size_t len)
{
    static const uint8_t blank[ARRAY_HEADER];
    if (a->count == 0)
        rt_buf_add(&a->buf, blank, sizeof(blank));
    uint8_t *at = rt_buf_reserve(&a->buf, 4 + len);
    if (!at)
        return NULL;
    put(at, len_word, 4);
    a->buf.len += 4 + len;
    a->count++;
    return at + 4;
}

void rt_pg_array_add(struct rt_pg_array *a, struct rt_str item)
{
    assert(item.len <= INT_MAX);
    if (!item.ptr) {
        a->nulls = true;
        (void)next_item(a, UINT32_MAX, 0);
        return;
    }
    uint8_t *at = next_item(a, (uint32_t)item.len, item.len);
    if (at && item.len > 0)
        memcpy(at, item.ptr, item.len);
}

static void add_item(struct rt_pg_array *a, uint64_t value, int size)
{
    uint8_t *at = next_item(a, (uint32_t)size, (size_t)size);
    if (at)
        put(at, value, size);
}

void rt_pg_array_add_i16(struct rt_pg_array *a, int16_t value)
{
    add_item(a, (uint16_t)value, 2);
}

void rt_pg_array_add_i32(struct rt_pg_array *a, int32_t value)
{
    add_item(a, (uint32_t)value, 4);
}

void rt_pg_array_add_i64(struct rt_pg_array *a, int64_t value)
{
    add_item(a, (uint64_t)value, 8);
}

void rt_pg_array_add_time(struct rt_pg_array *a, uint64_t wall_ms)
{
    add_item(a, (uint64_t)pg_time(wall_ms), 8);
}

void rt_pg_add_array(struct rt_pg_params *p, struct rt_pg_array *a)
{
    static const uint8_t blank[ARRAY_HEADER];
    if (a->count == 0 && a->buf.len == 0)
        rt_buf_add(&a->buf, blank, sizeof(blank));
    if (!rt_buf_ok(&a->buf) || a->buf.len < ARRAY_HEADER)
        return;
    uint8_t *head = a->buf.data;
    put(head, a->count > 0 ? 1 : 0, 4);
    put(head + 4, a->nulls ? 1 : 0, 4);
    put(head + 8, a->element, 4);
    put(head + 12, a->count, 4);
    put(head + 16, 1, 4);
    /* No elements: no dimensions, and then no length and bound either. */
    add(p, array_type(a->element), head, a->count > 0 ? a->buf.len : 12);
}

int rt_pg_array_items(struct rt_str array, struct rt_str *items, int max)
{
    const uint8_t *p = (const uint8_t *)array.ptr;
    size_t left = array.len;
    if (left < 12)
        return -1;
    uint64_t dimensions = get(p, 4);
    if (dimensions == 0)
        return 0;
    if (dimensions != 1 || left < ARRAY_HEADER || get(p + 12, 4) > (uint64_t)max)
        return -1;
    int count = (int)get(p + 12, 4);
    p += ARRAY_HEADER;
    left -= ARRAY_HEADER;
    for (int i = 0; i < count; i++) {
        if (left < 4)
            return -1;
        uint64_t len = get(p, 4);
        bool null = len == UINT32_MAX;
        len = null ? 0 : len;
        if (len > left - 4)
            return -1;
        items[i] = null ? RT_STR_NONE : rt_str_of(p + 4, len);
        p += 4 + len;
        left -= 4 + len;
    }
    return left == 0 ? count : -1;
}

/* ---- results ------------------------------------------------------------------------------------------------- */

bool rt_pg_is_null(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) != 0;
}

struct rt_str rt_pg_str(const PGresult *result, int row, int column)
{
    if (rt_pg_is_null(result, row, column))
        return RT_STR_NONE;
    return rt_str_of(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}

int64_t rt_pg_int(const PGresult *result, int row, int column)
{
    struct rt_str value = rt_pg_str(result, row, column);
    const uint8_t *bytes = (const uint8_t *)value.ptr;
    switch (value.len) {
    case 1:
        return bytes[0];
    case 2:
        return (int16_t)get(bytes, 2);
    case 4:
        return (int32_t)get(bytes, 4);
    case 8:
        return (int64_t)get(bytes, 8);
    default:
        return 0;
    }
}

uint64_t rt_pg_time(const PGresult *result, int row, int column)
{
    if (rt_pg_is_null(result, row, column))
        return 0;
    int64_t ms = rt_pg_int(result, row, column) / 1000;
    int64_t most = INT64_MAX / 1000 - EPOCH_2000_MS;
    ms = (ms < most ? ms : most) + EPOCH_2000_MS;
    return ms > 0 ? (uint64_t)ms : 0;
}
