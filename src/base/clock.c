#include "base/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now); /* cannot fail for the two clocks used here */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t rt_mono_ms(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000000u;
}

uint64_t rt_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t rt_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000u;
}

/* Writes `width` decimal digits. */
static char *put_digits(char *out, unsigned value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return out + width;
}

struct date {
    unsigned year, month, day;
};

/* The proleptic Gregorian date of a day counted from 1970-01-01. Years are counted from March,
 * so that the leap day is the last day of a year and the lengths of the months follow one
 * formula. No libc: gmtime_r() takes a lock and reads the time zone. */
static struct date date_of(uint64_t days)
{
    uint64_t since = days + 719468; /* days from 0000-03-01 */
    uint64_t era = since / 146097;  /* 400 years */
    unsigned in_era = (unsigned)(since % 146097);
    unsigned year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    unsigned in_year = in_era - (365 * year + year / 4 - year / 100);
    unsigned march = (5 * in_year + 2) / 153; /* 0: March, 11: February */
    struct date d;
    d.day = in_year - (153 * march + 2) / 5 + 1;
    d.month = march < 10 ? march + 3 : march - 9;
    d.year = (unsigned)(era * 400) + year + (d.month <= 2 ? 1 : 0);
    return d;
}

#define YEAR_10000_MS 253402300800000u

void rt_iso_time(uint64_t wall_ms, char out[RT_ISO_TIME_LEN + 1])
{
    if (wall_ms >= YEAR_10000_MS)
        wall_ms = YEAR_10000_MS - 1;
    struct date d = date_of(wall_ms / 86400000u);
    unsigned ms = (unsigned)(wall_ms % 86400000u);
    char *p = put_digits(out, d.year, 4);
    *p++ = '-';
    p = put_digits(p, d.month, 2);
    *p++ = '-';
    p = put_digits(p, d.day, 2);
    *p++ = 'T';
    p = put_digits(p, ms / 3600000, 2);
    *p++ = ':';
    p = put_digits(p, ms / 60000 % 60, 2);
    *p++ = ':';
    p = put_digits(p, ms / 1000 % 60, 2);
    *p++ = '.';
    p = put_digits(p, ms % 1000, 3);
    *p++ = 'Z';
    *p = '\0';
}
