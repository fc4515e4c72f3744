#include "net_test.h"

#include <sys/uio.h>

#include "net/outq.h"

static uint64_t seed = 1;

static uint32_t dice(uint32_t bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % bound;
}

/* ---- against a byte string ---- */

static size_t flatten(const struct rt_outq *q, uint8_t *out, size_t max)
{
    static struct iovec iov[20000];
    size_t n = rt_outq_gather(q, iov, 20000), len = 0;
    assert_int_equal(n, q->count);
    for (size_t i = 0; i < n; i++) {
        assert_true(iov[i].iov_len > 0 && len + iov[i].iov_len <= max);
        memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    return len;
}

#define CHUNKS 6

struct model {
    struct rt_outq q;
    struct rt_bytes *chunks[CHUNKS]; /* runs that somebody else appends to */
    struct rt_bytes *scratch;
    uint8_t expected[1 << 20];
    size_t from, to;
};

static void model_push_chunk(struct model *m)
{
    uint32_t i = dice(CHUNKS);
    struct rt_bytes *c = m->chunks[i];
    if (c->cap - c->len < 300) {
        rt_bytes_unref(c);
        c = m->chunks[i] = rt_bytes_new(256u << dice(6));
    }
    uint32_t off = c->len, len = 1 + dice(c->cap - c->len < 300 ? c->cap - c->len : 300);
    for (uint32_t k = 0; k < len; k++)
        c->data[c->len++] = (uint8_t)dice(256);
    if (dice(4) == 0 && off > 0) { /* some other range */
        off = dice(off);
        len = 1 + dice(c->len - off);
    }
    uint32_t cost = rt_outq_cost(&m->q, c, off, len, RT_OUT_SHARED), before = m->q.queued;
    assert_int_equal(rt_outq_push(&m->q, c, off, len, RT_OUT_SHARED), 0);
    assert_int_equal(m->q.queued, before + cost);
    memcpy(m->expected + m->to, c->data + off, len);
    m->to += len;
}

static void model_push_scratch(struct model *m)
{
    uint32_t len = 1 + dice(50);
    if (!m->scratch || m->scratch->cap - m->scratch->len < len) {
        rt_bytes_unref(m->scratch);
        m->scratch = rt_bytes_new(2048);
    }
    uint32_t off = m->scratch->len, before = m->q.queued;
    for (uint32_t k = 0; k < len; k++)
        m->scratch->data[m->scratch->len++] = (uint8_t)dice(256);
    assert_int_equal(rt_outq_push(&m->q, m->scratch, off, len, RT_OUT_SCRATCH), 0);
    assert_int_equal(m->q.queued, before + len);
    memcpy(m->expected + m->to, m->scratch->data + off, len);
    m->to += len;
}

static void model_append(struct model *m)
{
    uint8_t data[40];
    uint32_t len = 1 + dice(sizeof(data));
    for (uint32_t k = 0; k < len; k++)
        data[k] = (uint8_t)dice(256);
    if (!rt_outq_append(&m->q, data, len)) {
        struct rt_bytes *own = rt_bytes_new(128);
        memcpy(own->data, data, len);
        own->len = len;
        assert_int_equal(rt_outq_push(&m->q, own, 0, len, RT_OUT_SHARED), 0);
        rt_bytes_unref(own);
    }
    memcpy(m->expected + m->to, data, len);
    m->to += len;
}

static void model_check(struct model *m)
{
    static uint8_t flat[1 << 20];
    size_t len = flatten(&m->q, flat, sizeof(flat));
    assert_int_equal(len, m->to - m->from);
    assert_memory_equal(flat, m->expected + m->from, len);
    assert_true(m->q.queued >= len);
    assert_int_equal(m->q.queued == 0, m->q.count == 0);
}

static void test_model(void **state)
{
    (void)state;
    static struct model m;
    for (int round = 0; round < 30; round++) {
        memset(&m, 0, sizeof(m));
        for (int i = 0; i < CHUNKS; i++)
            m.chunks[i] = rt_bytes_new(256u << dice(6));
        uint32_t backlog = 1u << (2 + dice(14)); /* short queues and long ones */
        while (m.to + 20000 < sizeof(m.expected)) {
            switch (dice(3)) {
            case 0:
                model_push_scratch(&m);
                break;
            case 1:
                model_append(&m);
                break;
            default:
                model_push_chunk(&m);
            }
            if (dice(20) == 0) {
                uint32_t before = m.q.queued;
                rt_outq_unpin(&m.q);
                assert_int_equal(m.q.queued, before);
            }
            while (m.to - m.from > backlog) {
                size_t len = 1 + dice((uint32_t)(m.to - m.from));
                uint32_t count = m.q.count;
                bool whole = rt_outq_consume(&m.q, len);
                m.from += len;
                assert_true(m.from < m.to || whole);
                assert_true(m.q.count <= count);
            }
            if (dice(64) == 0)
                model_check(&m);
        }
        model_check(&m);
        rt_outq_consume(&m.q, m.to - m.from);
        assert_int_equal(m.q.count, 0);
        assert_int_equal(m.q.queued, 0);
        /* Nobody but us holds anything now. */
        for (int i = 0; i < CHUNKS; i++) {
            assert_int_equal(m.chunks[i]->refs, 1);
            rt_bytes_unref(m.chunks[i]);
        }
        if (m.scratch)
            assert_int_equal(m.scratch->refs, 1);
        rt_bytes_unref(m.scratch);
    }
}

static void test_adjacent_ranges_merge(void **state)
{
    (void)state;
    struct rt_outq q = {.count = 0};
    struct rt_bytes *run = pattern_bytes(0, 16384);
    struct rt_bytes *other = pattern_bytes(0, 4000);
    assert_int_equal(rt_outq_push(&q, run, 0, 100, RT_OUT_SHARED), 0);
    assert_int_equal(q.queued, 4096); /* it pins the whole run */
    assert_int_equal(rt_outq_push(&q, run, 100, 50, RT_OUT_SHARED), 0);
    assert_int_equal(q.count, 1);
    assert_int_equal(q.queued, 4096);
    assert_int_equal(rt_outq_push(&q, run, 150, 8000, RT_OUT_SHARED), 0);
    assert_int_equal(q.count, 1);
    assert_int_equal(q.queued, 8150);
    assert_int_equal(rt_outq_push(&q, run, 8151, 9, RT_OUT_SHARED), 0); /* a gap of one */
    assert_int_equal(q.count, 2);
    assert_int_equal(q.queued, 8159);
    assert_int_equal(rt_outq_push(&q, other, 0, 10, RT_OUT_SHARED), 0);
    assert_int_equal(q.queued, 9159);
    assert_int_equal(run->refs, 3);
    /* The second range of the run pins it once the first has gone. */
    assert_true(rt_outq_consume(&q, 8150));
    assert_int_equal(q.queued, 4096 + 1000);
    assert_true(rt_outq_consume(&q, 9));
    assert_int_equal(q.queued, 1000);
    assert_int_equal(run->refs, 1);
    assert_false(rt_outq_consume(&q, 9));
    assert_int_equal(q.queued, 1000);
    rt_outq_clear(&q);
    assert_int_equal(q.queued, 0);
    assert_int_equal(other->refs, 1);
    rt_bytes_unref(run);
    rt_bytes_unref(other);
}

static void test_own_blocks_grow_in_place(void **state)
{
    (void)state;
    struct rt_outq q = {.count = 0};
    struct rt_bytes *shared = pattern_bytes(0, 10);
    assert_false(rt_outq_append(&q, "x", 1)); /* nothing there */
    assert_int_equal(rt_outq_push(&q, shared, 0, 5, RT_OUT_SHARED), 0);
    assert_false(rt_outq_append(&q, "x", 1)); /* somebody else's */
    struct rt_bytes *own = rt_bytes_new(8);
    memcpy(own->data, "abc", 3);
    own->len = 3;
    assert_int_equal(rt_outq_push(&q, own, 0, 3, RT_OUT_SHARED), 0);
    rt_bytes_unref(own);
    assert_true(rt_outq_append(&q, "defgh", 5));
    assert_false(rt_outq_append(&q, "i", 1)); /* full */
    assert_int_equal(q.count, 2);
    uint8_t flat[16];
    assert_int_equal(flatten(&q, flat, sizeof(flat)), 13);
    assert_memory_equal(flat + 5, "abcdefgh", 8);
    rt_outq_clear(&q);
    rt_bytes_unref(shared);
}

#ifdef RT_TEST
static void test_memory(void **state)
{
    (void)state;
    long live = rt_alloc_live();
    struct rt_outq q = {.count = 0};
    struct rt_bytes *run = pattern_bytes(0, 1000);
    /* Two entries cost nothing, and neither does a queue that has become short again. */
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(rt_outq_push(&q, run, i * 2, 1, RT_OUT_SHARED), 0);
    assert_int_equal(rt_alloc_live(), live + 1);
    for (uint32_t i = 2; i < 100; i++)
        assert_int_equal(rt_outq_push(&q, run, i * 2, 1, RT_OUT_SHARED), 0);
    assert_int_equal(rt_alloc_live(), live + 2);
    rt_outq_consume(&q, 98);
    assert_int_equal(q.count, 2);
    assert_int_equal(rt_alloc_live(), live + 1);
    /* A push that fails changes nothing. */
    rt_alloc_fail_at(1, 0);
    uint32_t queued = q.queued;
    assert_int_equal(rt_outq_push(&q, run, 500, 1, RT_OUT_SHARED), RT_ENOMEM);
    assert_int_equal(q.count, 2);
    assert_int_equal(q.queued, queued);
    assert_int_equal(run->refs, 3);
    rt_alloc_fail_at(0, 0);
    rt_outq_clear(&q);
    /* Neither does an unpin that fails. */
    assert_int_equal(rt_outq_push(&q, run, 500, 4, RT_OUT_SCRATCH), 0);
    rt_alloc_fail_at(1, 0);
    rt_outq_unpin(&q);
    rt_alloc_fail_at(0, 0);
    assert_int_equal(run->refs, 2);
    rt_outq_unpin(&q);
    assert_int_equal(run->refs, 1);
    uint8_t flat[4];
    assert_int_equal(flatten(&q, flat, sizeof(flat)), 4);
    assert_true(is_pattern(flat, 4, 500));
    rt_outq_clear(&q);
    rt_bytes_unref(run);
    assert_int_equal(rt_alloc_live(), live);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_adjacent_ranges_merge),
        cmocka_unit_test(test_own_blocks_grow_in_place),
#ifdef RT_TEST
        cmocka_unit_test(test_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
