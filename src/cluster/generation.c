#include "cluster/generation.h"

#include <stdio.h>
#include <string.h>

#include "base/rand.h"

#define ASK_MS 1000u

/* KEYS[1] the key. ARGV: a value for it when there is none. What runs in old versions: writing before anything that is not the same each time; INFO may be forbidden. */
static const char ASK[] = "local g=redis.call('GET',KEYS[1]) "
                          "if not g then g=ARGV[1] redis.call('SET',KEYS[1],g) end "
                          "local ok,i=pcall(redis.call,'INFO','server') "
                          "local id=ok and type(i)=='string' and string.match(i,'run_id:(%x+)') "
                          "return {id or '',g}";

void rt_generation_init(struct rt_generation *g, struct rt_loop *loop, struct rt_redis *redis)
{
    *g = (struct rt_generation){.redis = redis, .loop = loop};
}

static void ask(struct rt_timer *timer);

static void on_answer(void *arg, const struct rt_redis_reply *reply)
{
    struct rt_generation *g = arg;
    char text[sizeof(g->text)];
    g->call = NULL;
    if (reply->status != 0 || reply->count != 2)
        return; /* it is asked for again */
    (void)snprintf(text, sizeof(text), "%.*s:%.*s", RT_STR_ARG(reply->items[0]),
                   RT_STR_ARG(reply->items[1]));
    memcpy(g->text, text, sizeof(text));
    if (strcmp(text, g->last) == 0)
        return;
    memcpy(g->last, text, sizeof(text));
    g->since = rt_loop_now(g->loop);
    if (g->changed)
        g->changed(g->arg);
}

static void ask(struct rt_timer *timer)
{
    struct rt_generation *g = RT_CONTAINER(timer, struct rt_generation, timer);
    char value[RT_ID_LEN + 1];
    rt_random_id(value);
    struct rt_str args[] = {rt_str_of(value, RT_ID_LEN)};
    struct rt_redis_eval eval = {.script = ASK,
                                 .key = RT_STR("generation"),
                                 .args = args,
                                 .arg_count = 1,
                                 .done = on_answer,
                                 .arg = g};
    if (!g->call)
        (void)rt_redis_eval(g->redis, &eval, &g->call);
    rt_timer_start(g->loop, timer, ASK_MS, ask);
}

void rt_generation_link(struct rt_generation *g, bool up)
{
    g->text[0] = '\0';
    if (up)
        ask(&g->timer);
    else
        rt_timer_stop(g->loop, &g->timer);
}

void rt_generation_stop(struct rt_generation *g)
{
    rt_timer_stop(g->loop, &g->timer);
    if (g->call)
        rt_redis_forget(g->call);
    g->call = NULL;
}
