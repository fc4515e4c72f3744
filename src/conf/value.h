/* Durations, sizes and rates as people write them. Thread: any. */
#ifndef RT_CONF_VALUE_H
#define RT_CONF_VALUE_H

#include "base/buf.h"
#include "base/err.h"

/* "250ms", "5s", "10m", "1h", "30d", and "0", in milliseconds. RT_EINVAL: anything else; RT_ERANGE: past UINT64_MAX. */
int rt_duration_parse(struct rt_str text, uint64_t *ret_ms);
/* "65536", "64KiB", "1MB", "2GiB" in bytes; KB MB GB TB are powers of 1000, KiB MiB GiB TiB (in any case) of 1024. Errors as above. */
int rt_size_parse(struct rt_str text, uint64_t *ret_bytes);
/* "10/s", "600/m", "5/h", and "0", in events an hour. Errors as above. */
int rt_rate_parse(struct rt_str text, uint64_t *ret_per_hour);
/* The shortest exact form that the parsers read back. */
void rt_duration_write(uint64_t ms, struct rt_buf *out);
void rt_size_write(uint64_t bytes, struct rt_buf *out);
void rt_rate_write(uint64_t per_hour, struct rt_buf *out);

#endif
