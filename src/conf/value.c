#include "conf/value.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};

static const struct unit sizes[] = {
    {"TiB", UINT64_C(1) << 40},
    {"TB", UINT64_C(1000000000000)},
    {"GiB", UINT64_C(1) << 30},
    {"GB", UINT64_C(1000000000)},
    {"MiB", UINT64_C(1) << 20},
    {"MB", UINT64_C(1000000)},
    {"KiB", UINT64_C(1) << 10},
    {"KB", UINT64_C(1000)},
    {"B", 1},
    {NULL, 0},
};

static const struct unit rates[] = {
    {"/s", 3600},
    {"/m", 60},
    {"/h", 1},
    {NULL, 0},
};

/* Digits and what follows them. */
static int split_number(struct rt_str text, uint64_t *ret_number, struct rt_str *ret_unit)
{
    size_t digits = 0;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
        digits++;
    *ret_unit = rt_str_of(text.ptr + digits, text.len - digits);
    return digits == 0 ? RT_EINVAL : rt_str_to_u64(rt_str_of(text.ptr, digits), ret_number);
}

static int scale(uint64_t number, uint64_t factor, uint64_t *ret_value)
{
    if (number > UINT64_MAX / factor)
        return RT_ERANGE;
    *ret_value = number * factor;
    return 0;
}

/* A number with one of the units; 0 needs none. */
static int parse_with_unit(struct rt_str text, const struct unit *units, uint64_t *ret_value)
{
    uint64_t number;
    struct rt_str unit;
    int err = split_number(text, &number, &unit);
    if (err != 0)
        return err;
    if (unit.len == 0 && number == 0)
        return scale(0, 1, ret_value);
    for (const struct unit *u = units; u->name != NULL; u++) {
        if (rt_str_eq(unit, rt_str_c(u->name)))
            return scale(number, u->factor, ret_value);
    }
    return RT_EINVAL;
}

int rt_duration_parse(struct rt_str text, uint64_t *ret_ms)
{
    return parse_with_unit(text, durations, ret_ms);
}

int rt_rate_parse(struct rt_str text, uint64_t *ret_per_hour)
{
    return parse_with_unit(text, rates, ret_per_hour);
}

int rt_size_parse(struct rt_str text, uint64_t *ret_bytes)
{
    uint64_t number;
    struct rt_str unit;
    int err = split_number(text, &number, &unit);
    if (err != 0)
        return err;
    if (unit.len == 0)
        return scale(number, 1, ret_bytes);
    for (const struct unit *u = sizes; u->name != NULL; u++) {
        if (rt_str_eq_nocase(unit, rt_str_c(u->name)))
            return scale(number, u->factor, ret_bytes);
    }
    return RT_EINVAL;
}

static void write_with_unit(uint64_t value, const struct unit *units, struct rt_buf *out)
{
    const struct unit *best = NULL;
    for (const struct unit *u = units; u->name != NULL; u++) {
        if (value % u->factor == 0 && (best == NULL || u->factor > best->factor))
            best = u;
    }
    if (value == 0 || best == NULL) {
        rt_buf_add_u64(out, value);
        return;
    }
    rt_buf_add_u64(out, value / best->factor);
    rt_buf_add_c(out, best->name);
}

void rt_duration_write(uint64_t ms, struct rt_buf *out)
{
    write_with_unit(ms, durations, out);
}

void rt_size_write(uint64_t bytes, struct rt_buf *out)
{
    write_with_unit(bytes, sizes, out);
}

void rt_rate_write(uint64_t per_hour, struct rt_buf *out)
{
    write_with_unit(per_hour, rates, out);
}
