#include "net/loop_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

/* Events after which a turn is flushed early: the size of libuv's array of epoll events. */
#define EVENTS_PER_FLUSH 1024

struct signal_watch {
    uv_signal_t handle;
    struct rt_list link;
    void (*fn)(void *arg, int signum);
    void *arg;
};

void rt_loop_enter(struct rt_loop *loop)
{
    if (!loop->meter.running)
        rt_meter_begin(&loop->meter, rt_mono_ns());
    if (++loop->events >= EVENTS_PER_FLUSH)
        (void)rt_flush_all(loop);
}

void rt_loop_close_handle(struct rt_loop *loop, uv_handle_t *handle, uv_close_cb done)
{
    loop->closing++;
    uv_close(handle, done);
}

void rt_loop_closed(struct rt_loop *loop)
{
    assert(loop->closing > 0);
    loop->closing--;
}

/* ---- the phases of a turn ---- */

static void on_alarm(uv_timer_t *alarm)
{
    struct rt_loop *loop = alarm->loop->data;
    rt_loop_enter(loop);
    loop->armed = RT_WHEEL_NEVER;
    rt_wheel_advance(&loop->wheel, uv_now(&loop->uv));
}

/* Sets libuv's timer to the next thing that the wheel has to do. Once a turn is enough, since only
 * the poll waits. */
static void arm(struct rt_loop *loop, bool at_once)
{
    if (uv_is_closing((uv_handle_t *)&loop->alarm))
        return;
    uint64_t now = uv_now(&loop->uv);
    uint64_t next = at_once ? now : rt_wheel_next(&loop->wheel);
    if (next == loop->armed)
        return;
    loop->armed = next;
    if (next == RT_WHEEL_NEVER)
        uv_timer_stop(&loop->alarm);
    else
        uv_timer_start(&loop->alarm, on_alarm, next > now ? next - now : 0, 0);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct rt_loop *loop = prepare->loop->data;
    rt_conn_close_late(loop, false);
    bool more = rt_flush_all(loop);
    arm(loop, more || !rt_list_empty(&loop->closing_late));
    if (!loop->meter.running)
        return;
    uint64_t now = rt_mono_ns();
    if (now - loop->meter.start > loop->longest_turn)
        loop->longest_turn = now - loop->meter.start;
    rt_metrics_observe(&loop->turns, (double)(now - loop->meter.start) / 1e9);
    rt_meter_end(&loop->meter, now);
}

static void on_check(uv_check_t *check)
{
    (void)rt_flush_all(check->loop->data);
}

static void on_turn_limit(uv_timer_t *timer)
{
    (void)timer; /* that the poll has ended is all */
}

/* ---- life ---- */

static int init_handles(struct rt_loop *loop)
{
    int r = uv_prepare_init(&loop->uv, &loop->prepare);
    if (!r)
        r = uv_check_init(&loop->uv, &loop->check);
    if (!r)
        r = uv_timer_init(&loop->uv, &loop->alarm);
    if (!r)
        r = uv_timer_init(&loop->uv, &loop->turn_limit);
    /* These two also keep the loop alive when nothing else is there: it runs until it is told to
     * stop. */
    if (!r)
        r = uv_prepare_start(&loop->prepare, on_prepare);
    if (!r)
        r = uv_check_start(&loop->check, on_check);
    return r; /* none of these can fail in the versions that we know */
}

static void free_memory(struct rt_loop *loop)
{
    if (loop->backend_state)
        loop->backend->close(loop->backend_state);
    rt_bytes_unref(loop->scratch);
    rt_free(loop->read_buffer);
    rt_free(loop->hooks);
    rt_free(loop->dirty);
    rt_free(loop);
}

int rt_loop_new(struct rt_loop **ret_loop, struct rt_err *err)
{
    struct rt_loop *loop = rt_calloc(1, sizeof(*loop));
    if (!loop)
        return rt_err_nomem(err);
    loop->armed = RT_WHEEL_NEVER;
    rt_list_init(&loop->signals);
    rt_list_init(&loop->deferred);
    rt_list_init(&loop->closing_late);
    loop->backend = &rt_flush_send;
    loop->backend_state = loop->backend->open();
    loop->read_buffer = rt_malloc(RT_READ_BUFFER);
    if (!loop->backend_state || !loop->read_buffer) {
        free_memory(loop);
        return rt_err_nomem(err);
    }
    int r = uv_loop_init(&loop->uv);
    if (r) {
        free_memory(loop);
        return rt_err_set(err, RT_EIO, "cannot make an event loop: %s", uv_strerror(r));
    }
    loop->uv.data = loop;
    r = init_handles(loop);
    assert(r == 0);
    rt_wheel_init(&loop->wheel, uv_now(&loop->uv));
    rt_meter_init(&loop->meter, rt_mono_ns());
    static const double bounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                    0.01,   0.025,   0.05,   0.1,   0.5,    2};
    loop->turns = (struct rt_metric){.name = "loop_turn_seconds",
                                     .help = "Turns of the loop by their length.",
                                     .type = RT_HISTOGRAM,
                                     .bounds = bounds,
                                     .bound_count = sizeof(bounds) / sizeof(bounds[0])};
    *ret_loop = loop;
    return 0;
}

static void run(struct rt_loop *loop, uv_run_mode mode)
{
    arm(loop, false); /* for what was started since the last turn */
    (void)uv_run(&loop->uv, mode);
}

int rt_loop_run(struct rt_loop *loop)
{
    loop->running = true;
    if (!loop->stopped)
        run(loop, UV_RUN_DEFAULT);
    loop->running = false;
    do {
        run(loop, UV_RUN_NOWAIT);
    } while (loop->closing > 0 || !rt_list_empty(&loop->closing_late));
    loop->stopped = false;
    return 0;
}

void rt_loop_stop(struct rt_loop *loop)
{
    loop->stopped = true;
    if (loop->running) /* elsewhere it would cancel the next turn */
        uv_stop(&loop->uv);
}

void rt_loop_turn(struct rt_loop *loop, uint32_t max_wait_ms)
{
    if (max_wait_ms == 0) {
        run(loop, UV_RUN_NOWAIT);
        return;
    }
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->turn_limit, on_turn_limit, max_wait_ms, 0);
    run(loop, UV_RUN_ONCE);
    uv_timer_stop(&loop->turn_limit);
}

static void count_closed(uv_handle_t *handle)
{
    rt_loop_closed(handle->loop->data);
}

static void on_signal_closed(uv_handle_t *handle)
{
    struct signal_watch *watch = RT_CONTAINER(handle, struct signal_watch, handle);
    rt_loop_closed(handle->loop->data);
    rt_free(watch);
}

static void close_own_handles(struct rt_loop *loop)
{
    rt_loop_close_handle(loop, (uv_handle_t *)&loop->prepare, count_closed);
    rt_loop_close_handle(loop, (uv_handle_t *)&loop->check, count_closed);
    rt_loop_close_handle(loop, (uv_handle_t *)&loop->alarm, count_closed);
    rt_loop_close_handle(loop, (uv_handle_t *)&loop->turn_limit, count_closed);
    for (struct rt_list *node = rt_list_pop(&loop->signals); node;
         node = rt_list_pop(&loop->signals)) {
        struct signal_watch *watch = RT_CONTAINER(node, struct signal_watch, link);
        rt_loop_close_handle(loop, (uv_handle_t *)&watch->handle, on_signal_closed);
    }
}

static void report_undead(uv_handle_t *handle, void *arg)
{
    bool *found = arg;
    uv_os_fd_t fd = -1;
    if (uv_is_closing(handle))
        return;
    (void)uv_fileno(handle, &fd);
    rt_log(RT_LOG_ERROR, "net", "handle still open when the loop is freed",
           rt_kv_c("type", uv_handle_type_name(handle->type)), rt_kv_i64("descriptor", fd));
    *found = true;
}

void rt_loop_free(struct rt_loop *loop)
{
    loop->hook_count = 0; /* what they point to may be gone */
    close_own_handles(loop);
    do {
        rt_conn_close_late(loop, true);
        run(loop, UV_RUN_NOWAIT);
    } while (loop->closing > 0 || !rt_list_empty(&loop->closing_late));
    rt_flush_deferred(loop);
    bool undead = false;
    uv_walk(&loop->uv, report_undead, &undead);
    if (loop->wheel.count > 0) {
        rt_log(RT_LOG_ERROR, "net", "timers still active when the loop is freed",
               rt_kv_u64("timers", loop->wheel.count));
        undead = true;
    }
    if (undead || loop->conns > 0 || uv_loop_close(&loop->uv) != 0)
        abort();
    free_memory(loop);
}

/* ---- time ---- */

uint64_t rt_loop_now(const struct rt_loop *loop)
{
    return uv_now(&loop->uv);
}

uint64_t rt_loop_now_exact(struct rt_loop *loop)
{
    (void)loop; /* the same clock */
    return rt_mono_ms();
}

void rt_timer_start(struct rt_loop *loop, struct rt_timer *timer, uint64_t delay_ms,
                    void (*fn)(struct rt_timer *))
{
    if (delay_ms == 0) {
        rt_timer_start_at(loop, timer, 0, fn);
        return;
    }
    /* From the real present, rounded up: the time of the turn may be long past, and then the timer
     * would be early. */
    uint64_t now = (rt_mono_ns() + 999999) / 1000000;
    rt_timer_start_at(loop, timer, delay_ms < UINT64_MAX - now ? now + delay_ms : UINT64_MAX, fn);
}

void rt_timer_start_at(struct rt_loop *loop, struct rt_timer *timer, uint64_t at_ms,
                       void (*fn)(struct rt_timer *))
{
    struct rt_wheel *wheel = &loop->wheel;
    rt_wheel_remove(wheel, timer);
    if (wheel->count == 0 && wheel->now < uv_now(&loop->uv))
        wheel->now = uv_now(&loop->uv); /* an idle wheel catches up for nothing */
    timer->expires = at_ms;
    timer->fn = fn;
    rt_wheel_add(wheel, timer);
}

void rt_timer_stop(struct rt_loop *loop, struct rt_timer *timer)
{
    rt_wheel_remove(&loop->wheel, timer);
}

/* ---- signals, load ---- */

static void on_signal(uv_signal_t *handle, int signum)
{
    struct signal_watch *watch = RT_CONTAINER(handle, struct signal_watch, handle);
    rt_loop_enter(handle->loop->data);
    watch->fn(watch->arg, signum);
}

int rt_loop_on_signal(struct rt_loop *loop, int signum, void (*fn)(void *arg, int signum),
                      void *arg)
{
    struct signal_watch *watch = rt_calloc(1, sizeof(*watch));
    if (!watch)
        return RT_ENOMEM;
    watch->fn = fn;
    watch->arg = arg;
    int r = uv_signal_init(&loop->uv, &watch->handle);
    if (r) {
        rt_free(watch);
        return RT_EIO;
    }
    rt_list_push(&loop->signals, &watch->link);
    return uv_signal_start(&watch->handle, on_signal, signum) ? RT_EIO : 0;
}

double rt_loop_utilisation(struct rt_loop *loop)
{
    return rt_meter_utilisation(&loop->meter, rt_mono_ns());
}

uint64_t rt_loop_longest_turn(struct rt_loop *loop)
{
    uint64_t ns = loop->longest_turn;
    loop->longest_turn = 0;
    return ns / 1000000;
}
