/* Who is not read from for a while: the log cannot keep up, or it has sent more than it may. */
#include "session/internal.h"

#include "base/log.h"

#define LOOK_MS 10u /* between looks at those that owe tokens; conf/check.c knows it */

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

bool rt_broker_command(struct rt_broker *b, struct rt_relief *relief)
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
