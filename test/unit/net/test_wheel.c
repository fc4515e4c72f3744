#include "net_test.h"

#include "net/wheel.h"

/* ---- against a naive model: an array that is searched ---- */

#define TIMERS 300

struct model_timer {
    struct rt_timer timer;
    struct rt_timer *neighbour; /* what the callback plays with; NULL: nothing */
    bool running;               /* in the model */
    bool next_turn;             /* was started with a time that had passed */
    uint64_t at;
    int fired;
};

static struct {
    struct rt_wheel wheel;
    struct model_timer timers[TIMERS];
    uint64_t now, last_fired;
    bool advancing;
    unsigned long total;
} m;

static uint64_t seed = 88172645463325252u;

static uint64_t dice(uint64_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % bound;
}

static void model_fire(struct rt_timer *timer);

static void model_start(struct model_timer *t, uint64_t at)
{
    rt_wheel_remove(&m.wheel, &t->timer);
    t->timer.expires = at;
    t->timer.fn = model_fire;
    t->at = at;
    t->running = true;
    t->next_turn = m.advancing && at <= m.now;
    rt_wheel_add(&m.wheel, &t->timer);
}

static void model_stop(struct model_timer *t)
{
    rt_wheel_remove(&m.wheel, &t->timer);
    rt_wheel_remove(&m.wheel, &t->timer);
    t->running = false;
    assert_false(t->timer.active);
}

/* Delays of every magnitude, so that every level is used. */
static uint64_t random_delay(void)
{
    switch (dice(8)) {
    case 0:
        return 0;
    case 1:
        return dice(64);
    case 2:
        return 25000;
    default:
        return dice(UINT64_C(1) << dice(40));
    }
}

static void model_fire(struct rt_timer *timer)
{
    struct model_timer *t = RT_CONTAINER(timer, struct model_timer, timer);
    assert_true(t->running);
    assert_false(timer->active);
    assert_true(t->at <= m.now); /* never early */
    assert_false(t->next_turn);  /* never in the turn that started it with a past time */
    t->running = false;
    t->fired++;
    m.total++;
    struct model_timer *other = &m.timers[dice(TIMERS)];
    switch (dice(6)) {
    case 0:
        model_start(t, m.now + random_delay());
        break;
    case 1:
        model_stop(other);
        break;
    case 2:
        model_start(other, m.now + random_delay());
        break;
    case 3:
        model_start(other, m.now - dice(m.now < 100 ? m.now + 1 : 100));
        break;
    default:
        break;
    }
}

static uint64_t model_next(void)
{
    uint64_t next = UINT64_MAX;
    for (int i = 0; i < TIMERS; i++)
        if (m.timers[i].running && m.timers[i].at < next)
            next = m.timers[i].at;
    return next;
}

static void model_advance(uint64_t now)
{
    m.now = now;
    for (int i = 0; i < TIMERS; i++)
        m.timers[i].next_turn = false;
    m.advancing = true;
    rt_wheel_advance(&m.wheel, now);
    m.advancing = false;
    size_t running = 0;
    for (int i = 0; i < TIMERS; i++) {
        struct model_timer *t = &m.timers[i];
        running += t->running;
        assert_int_equal(t->timer.active, t->running);
        /* Never late either. */
        assert_true(!t->running || t->next_turn || t->at > now);
    }
    assert_int_equal(m.wheel.count, running);
}

static void run_model(uint64_t start, int steps)
{
    memset(&m, 0, sizeof(m));
    m.now = start;
    rt_wheel_init(&m.wheel, start);
    for (int step = 0; step < steps; step++) {
        for (uint64_t i = dice(4); i > 0; i--)
            model_start(&m.timers[dice(TIMERS)], m.now + random_delay());
        if (dice(3) == 0)
            model_stop(&m.timers[dice(TIMERS)]);
        uint64_t next = model_next(), announced = rt_wheel_next(&m.wheel);
        /* The wheel may wake early, to move timers down, but not late; and it has something to do
         * then. */
        assert_true(next == UINT64_MAX ? announced == RT_WHEEL_NEVER
                                       : announced <= next || announced <= m.now);
        switch (dice(4)) {
        case 0:
            model_advance(m.now + dice(3));
            break;
        case 1:
            model_advance(m.now + dice(UINT64_C(1) << dice(30)));
            break;
        default: /* as the loop does it */
            model_advance(announced == RT_WHEEL_NEVER || announced < m.now ? m.now : announced);
        }
    }
    assert_true(m.total > (unsigned long)steps / 4);
}

static void test_model(void **state)
{
    (void)state;
    run_model(0, 20000);
    run_model(UINT64_C(123456789012), 20000);
    run_model((UINT64_C(1) << 36) - 5, 20000);
}

/* Sleeping exactly as long as the wheel says, every deadline is met to the millisecond, with few
 * wakes. */
static void test_exact(void **state)
{
    (void)state;
    static const uint64_t delays[] = {1,    2,     63,    64,     65,       127,           128,
                                      4095, 4096,  4097,  25000,  45000,    262143,        262144,
                                      500,  86400, 20000, 300000, 1u << 24, (1u << 30) + 1};
    for (uint64_t start = 1000; start < 1000 + 200; start += 7) {
        for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
            memset(&m, 0, sizeof(m));
            rt_wheel_init(&m.wheel, start);
            struct model_timer *t = &m.timers[0];
            m.now = start;
            t->at = t->timer.expires = start + delays[i];
            t->timer.fn = model_fire;
            t->running = true;
            rt_wheel_add(&m.wheel, &t->timer);
            int wakes = 0;
            while (t->fired == 0) {
                m.now = rt_wheel_next(&m.wheel);
                assert_true(m.now <= start + delays[i]);
                rt_wheel_advance(&m.wheel, m.now);
                assert_true(++wakes <= 6); /* one per six bits of the delay */
            }
            assert_int_equal(m.now, start + delays[i]);
        }
    }
}

static uint64_t order[8];
static size_t order_count;

static void note_order(struct rt_timer *timer)
{
    order[order_count++] = timer->expires;
}

static void test_order_and_end_of_time(void **state)
{
    (void)state;
    static struct rt_wheel wheel;
    struct rt_timer timers[5] = {{.expires = 900},
                                 {.expires = 70},
                                 {.expires = 5000},
                                 {.expires = 71},
                                 {.expires = UINT64_MAX}};
    rt_wheel_init(&wheel, 3);
    order_count = 0;
    for (int i = 0; i < 5; i++) {
        timers[i].fn = note_order;
        rt_wheel_add(&wheel, &timers[i]);
    }
    rt_wheel_advance(&wheel, 100000);
    assert_int_equal(order_count, 4);
    assert_int_equal(order[0], 70);
    assert_int_equal(order[1], 71);
    assert_int_equal(order[2], 900);
    assert_int_equal(order[3], 5000);
    rt_wheel_advance(&wheel, UINT64_MAX - 1);
    assert_int_equal(order_count, 4);
    assert_int_equal(rt_wheel_next(&wheel), UINT64_MAX);
    rt_wheel_advance(&wheel, UINT64_MAX);
    assert_int_equal(order_count, 5);
    assert_int_equal(wheel.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_order_and_end_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
