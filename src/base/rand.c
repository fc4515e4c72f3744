#include "base/rand.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define POOL_SIZE 512

/* A fork would leave parent and child with the same unread bytes; the child counts up and every
 * pool is refilled. */
static atomic_uint forks;
static pthread_once_t watch_forks_once = PTHREAD_ONCE_INIT;

static _Thread_local struct {
    uint8_t bytes[POOL_SIZE];
    size_t left; /* unread bytes, at the end */
    unsigned forks;
    bool watched;
} pool;

static void count_fork(void)
{
    atomic_fetch_add(&forks, 1);
}

static void watch_forks(void)
{
    if (pthread_atfork(NULL, NULL, count_fork) != 0)
        abort();
}

static void from_kernel(uint8_t *out, size_t len)
{
    while (len) {
        ssize_t got = getrandom(out, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            fputs("getrandom failed: no secure ids can be made\n", stderr);
            abort();
        }
        out += got;
        len -= (size_t)got;
    }
}

static void refill(void)
{
    if (!pool.watched) {
        pthread_once(&watch_forks_once, watch_forks);
        pool.watched = true;
    }
    pool.forks = atomic_load(&forks);
    from_kernel(pool.bytes, POOL_SIZE);
    pool.left = POOL_SIZE;
}

void rt_random(void *out, size_t len)
{
    if (len > POOL_SIZE / 2) {
        from_kernel(out, len);
        return;
    }
    if (pool.left < len || pool.forks != atomic_load_explicit(&forks, memory_order_relaxed))
        refill();
    uint8_t *from = pool.bytes + POOL_SIZE - pool.left;
    if (len)
        memcpy(out, from, len);
    memset(from, 0, len); /* what was given out is not kept */
    pool.left -= len;
}

/* Multiply and take the upper half; the few products that would favour some results are drawn
 * again. */
uint32_t rt_random_below(uint32_t bound)
{
    uint32_t unfair = (0u - bound) % bound;
    uint64_t product;
    do {
        uint32_t word;
        rt_random(&word, sizeof(word));
        product = (uint64_t)word * bound;
    } while ((uint32_t)product < unfair);
    return (uint32_t)(product >> 32);
}

void rt_random_id(char out[RT_ID_LEN + 1])
{
    static const char digits[64] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t raw[15];
    rt_random(raw, sizeof(raw));
    for (size_t i = 0; i < 5; i++) {
        uint32_t bits = (uint32_t)raw[3 * i] << 16 | (uint32_t)raw[3 * i + 1] << 8 | raw[3 * i + 2];
        for (size_t j = 0; j < 4; j++)
            out[4 * i + j] = digits[bits >> (18 - 6 * j) & 63];
    }
    out[RT_ID_LEN] = '\0';
}

/* Milliseconds and a 12-bit counter (rand_a of the layout) as one number that only rises: RFC
 * 9562 section 6.2, method 1. The counter starts at random in its lower half; when it runs over
 * within a millisecond it borrows the next one. */
static uint64_t next_stamp(uint64_t wall_ms)
{
    static atomic_uint_fast64_t last;
    uint64_t wanted = (wall_ms & 0xffffffffffffu) << 12 | rt_random_below(0x800);
    uint64_t seen = atomic_load(&last);
    uint64_t stamp;
    do {
        stamp = wanted > seen ? wanted : seen + 1;
    } while (!atomic_compare_exchange_weak(&last, &seen, stamp));
    return stamp;
}

void rt_uuid7(uint64_t wall_ms, uint8_t out[16])
{
    uint64_t stamp = next_stamp(wall_ms);
    for (int i = 0; i < 6; i++)
        out[i] = (uint8_t)(stamp >> (52 - 8 * i));
    rt_random(out + 8, 8);
    out[6] = (uint8_t)(0x70 | (stamp >> 8 & 0x0f));
    out[7] = (uint8_t)stamp;
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

void rt_uuid_format(const uint8_t uuid[16], char out[RT_UUID_LEN + 1])
{
    static const char digits[16] = "0123456789abcdef";
    char *p = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[uuid[i] >> 4];
        *p++ = digits[uuid[i] & 15];
    }
    *p = '\0';
}
