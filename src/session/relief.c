/* Who is not read from for a while: the log cannot keep up, or it has sent more than it may, or what it publishes goes to so many that others would wait.
 *
 * A message of some bytes may become megabytes of output. So it is output that a client has a share of: when the messages that were read from it in
 * one turn come to more, it is put behind. It goes on when all output is written (or its readers are known to be slow), and of several that wait one
 * after the other does. Others are read and answered meanwhile; the flush sees to that (net/flush.c). */
#include "session/internal.h"

#include "base/log.h"

/* Bytes of output: of one client in a turn; and less when there is more than a flush can write. Who talks to ten others never comes to it. */
#define SHARE        (UINT64_C(8) << 20)
#define SHARE_BEHIND (SHARE / 16)
#define LOOK_MS      10u /* between looks at those that owe tokens; conf/check.c knows it */

static uint64_t now_us(const struct rt_broker *b)
{
    return rt_loop_now(b->loop) * 1000;
}

static bool owes(const struct rt_broker *b, const struct rt_relief *relief)
{
    return b->commands.interval > 0 &&
           rt_bucket_wait(&relief->commands, &b->commands, now_us(b)) > 0;
}

static void wait_in(struct rt_list *list, struct rt_relief *relief)
{
    rt_list_remove(&relief->link);
    rt_list_push(list, &relief->link);
}

static void look(struct rt_timer *timer);

static void wait_for_tokens(struct rt_broker *b, struct rt_relief *relief)
{
    wait_in(&b->slowed, relief);
    if (!b->look.active)
        rt_timer_start(b->loop, &b->look, LOOK_MS, look);
}

/* Each of them goes on, unless there is another reason to wait. */
static void go_on(struct rt_broker *b, struct rt_list *list)
{
    struct rt_list waiting;
    rt_list_init(&waiting);
    rt_list_splice(&waiting, list);
    struct rt_list *node;
    while ((node = rt_list_pop(&waiting))) {
        struct rt_relief *relief = RT_CONTAINER(node, struct rt_relief, link);
        if (owes(b, relief))
            wait_for_tokens(b, relief);
        else if (list != &b->relief && rt_broker_congested(b))
            rt_broker_on_relief(b, relief);
        else
            relief->fn(relief);
    }
}

static void look(struct rt_timer *timer)
{
    struct rt_broker *b = RT_CONTAINER(timer, struct rt_broker, look);
    go_on(b, &b->slowed);
}

static bool is_over_rate(struct rt_broker *b, struct rt_relief *relief)
{
    if (b->commands.interval == 0)
        return false;
    rt_bucket_take(&relief->commands, &b->commands, now_us(b));
    if (!owes(b, relief))
        return false;
    if (!rt_list_empty(&relief->link))
        return true; /* it waits, for whichever reason */
    b->metrics.throttled.value++;
    rt_log(RT_LOG_WARN, "broker", "a client is read more slowly: it sends more than it may",
           rt_kv_c("option", "limits.commands"));
    wait_for_tokens(b, relief);
    return true;
}

static bool is_over_share(struct rt_broker *b, struct rt_relief *relief)
{
    if (b->reader != relief)
        b->reader_output = 0;
    b->reader = relief;
    b->reader_output += b->output;
    b->output = 0;
    if (b->reader_output <= (rt_broker_is_behind(b) ? SHARE_BEHIND : SHARE))
        return false;
    if (rt_list_empty(&relief->link)) {
        b->metrics.behind.value++;
        wait_in(&b->behind, relief);
    }
    return true;
}

bool rt_broker_handled(struct rt_broker *b, struct rt_relief *relief)
{
    bool over_rate = is_over_rate(b, relief);
    return is_over_share(b, relief) || over_rate;
}

bool rt_broker_has_output(const struct rt_broker *b)
{
    return b->committed > SHARE || rt_loop_behind(b->loop);
}

bool rt_broker_is_behind(const struct rt_broker *b)
{
    return rt_broker_has_output(b) || !rt_list_empty(&b->held);
}

static void next_publisher(struct rt_broker *b)
{
    struct rt_list next;
    rt_list_init(&next);
    rt_list_push(&next, rt_list_pop(&b->behind));
    go_on(b, &next);
}

static void another_turn(struct rt_timer *timer)
{
    (void)timer; /* that there is one is all */
}

void rt_broker_turn(struct rt_broker *b)
{
    b->reader = NULL;
    b->output = b->committed = 0;
    if (rt_list_empty(&b->behind) && rt_list_empty(&b->held))
        return;
    rt_broker_release(b, false);
    if (!rt_list_empty(&b->behind) && !rt_broker_is_behind(b) && !rt_hub_dirty(b->hub))
        next_publisher(b);
    if (!rt_list_empty(&b->behind) || !rt_list_empty(&b->held))
        rt_timer_start(b->loop, &b->again, 0, another_turn);
}

bool rt_broker_congested(const struct rt_broker *b)
{
    return rt_journal_congested(b->journal);
}

void rt_broker_on_relief(struct rt_broker *b, struct rt_relief *relief)
{
    wait_in(&b->relief, relief);
}

void rt_broker_relieved(void *broker)
{
    struct rt_broker *b = broker;
    go_on(b, &b->relief);
}
