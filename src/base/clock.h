/* Time. Monotonic for everything that measures or expires, wall clock only for what people and
 * records see. Thread: any. Modules that are simulated (hub) get time passed in instead. */
#ifndef RT_BASE_CLOCK_H
#define RT_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t rt_mono_ms(void);
uint64_t rt_mono_ns(void);
uint64_t rt_wall_ms(void); /* since 1970-01-01 UTC */

#define RT_ISO_TIME_LEN 24 /* 2026-11-24T06:38:06.123Z */
/* Writes 24 characters and a NUL. Times after the year 9999 show as its last millisecond. */
void rt_iso_time(uint64_t wall_ms, char out[RT_ISO_TIME_LEN + 1]);

#endif
