/* Binary parameters and results of libpq, and one-dimensional arrays: PostgreSQL's send and receive formats (big endian; timestamptz is microseconds since
 * 2000-01-01 UTC; an array is dimensions, null flag, element type, length and lower bound, then each element with its length).
 *
 * Slices are not copied: what a parameter points to lives until the statement was sent. Pure but for the buffer of an array, whose failed
 * allocation shows in rt_buf_ok(&array->buf), to be asked before it is used as a parameter. Thread: any. */
#ifndef RT_STORE_PG_VALUE_H
#define RT_STORE_PG_VALUE_H

#include <libpq-fe.h>

#include "base/buf.h"

/* Object ids of the types (pg_type.dat, they never change). */
enum rt_pg_type {
    RT_PG_BYTEA = 17,
    RT_PG_INT8 = 20,
    RT_PG_INT2 = 21,
    RT_PG_INT4 = 23,
    RT_PG_TEXT = 25,
    RT_PG_TIMESTAMPTZ = 1184,
    RT_PG_UUID = 2950,
    RT_PG_BYTEA_ARRAY = 1001,
    RT_PG_INT2_ARRAY = 1005,
    RT_PG_INT4_ARRAY = 1007,
    RT_PG_TEXT_ARRAY = 1009,
    RT_PG_INT8_ARRAY = 1016,
    RT_PG_TIMESTAMPTZ_ARRAY = 1185,
    RT_PG_UUID_ARRAY = 2951,
};

#define RT_PG_PARAMS 40

struct rt_pg_params {
    int count;
    Oid types[RT_PG_PARAMS];
    const char *values[RT_PG_PARAMS];
    int lengths[RT_PG_PARAMS];
    int formats[RT_PG_PARAMS];
    uint8_t scratch[RT_PG_PARAMS][8];
};

/* Each appends one parameter, at most RT_PG_PARAMS. A slice without a pointer is NULL. */
void rt_pg_params_init(struct rt_pg_params *p);
void rt_pg_add_text(struct rt_pg_params *p, struct rt_str text);
void rt_pg_add_bytes(struct rt_pg_params *p, struct rt_str bytes);
void rt_pg_add_uuid(struct rt_pg_params *p, const uint8_t uuid[16]);
void rt_pg_add_i16(struct rt_pg_params *p, int16_t value);
void rt_pg_add_i32(struct rt_pg_params *p, int32_t value);
void rt_pg_add_i64(struct rt_pg_params *p, int64_t value);
void rt_pg_add_time(struct rt_pg_params *p, uint64_t wall_ms);

struct rt_pg_array {
    struct rt_buf buf;
    enum rt_pg_type element;
    uint32_t count;
    bool nulls;
};

/* `element` is one of the types that have an array type above. */
void rt_pg_array_init(struct rt_pg_array *a, enum rt_pg_type element);
void rt_pg_array_deinit(struct rt_pg_array *a);
void rt_pg_array_clear(struct rt_pg_array *a); /* keeps its memory */
/* Text, bytes and (16 of them) UUIDs; a slice without a pointer is NULL. */
void rt_pg_array_add(struct rt_pg_array *a, struct rt_str item);
void rt_pg_array_add_i16(struct rt_pg_array *a, int16_t value);
void rt_pg_array_add_i32(struct rt_pg_array *a, int32_t value);
void rt_pg_array_add_i64(struct rt_pg_array *a, int64_t value);
void rt_pg_array_add_time(struct rt_pg_array *a, uint64_t wall_ms);
/* Completes the array and appends it as a parameter. */
void rt_pg_add_array(struct rt_pg_params *p, struct rt_pg_array *a);

/* Values of a binary result. NULL: RT_STR_NONE, 0. */
bool rt_pg_is_null(const PGresult *result, int row, int column);
struct rt_str rt_pg_str(const PGresult *result, int row, int column);
/* Of 1 (boolean), 2, 4 or 8 bytes. */
int64_t rt_pg_int(const PGresult *result, int row, int column);
/* Milliseconds since 1970, 0 for what lies before (-infinity), INT64_MAX / 1000 for infinity. */
uint64_t rt_pg_time(const PGresult *result, int row, int column);
/* The elements of an array in binary form: their number, or -1 when it is malformed, has more than `max` or dimensions beyond the first. An element that is
 * NULL is RT_STR_NONE. Slices point into `array`. */
int rt_pg_array_items(struct rt_str array, struct rt_str *items, int max);

#endif
