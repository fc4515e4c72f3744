#include "store/link.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "store/schema.h"

#define FIRST_TRY_MS 100u
#define LAST_TRY_MS  5000u

void rt_link_init(struct rt_link *l, const struct rt_pg_options *options, const char *schema)
{
    memset(l, 0, sizeof(*l));
    l->options = *options;
    l->schema = schema;
    snprintf(l->text, sizeof(l->text), "not connected yet");
    pthread_mutex_init(&l->lock, NULL);
}

void rt_link_deinit(struct rt_link *l)
{
    rt_pg_free(l->pg);
    l->pg = NULL;
    pthread_mutex_destroy(&l->lock);
}

/* True: it was otherwise before. */
static bool note(struct rt_link *l, bool up, const char *text)
{
    pthread_mutex_lock(&l->lock);
    bool changed = l->up != up || (!up && strcmp(l->text, text) != 0);
    l->up = up;
    if (up)
        l->seen_at = rt_mono_ms();
    snprintf(l->text, sizeof(l->text), "%s", text);
    pthread_mutex_unlock(&l->lock);
    return changed;
}

static void back_off(struct rt_link *l)
{
    uint32_t delay = FIRST_TRY_MS << (l->tries < 6 ? l->tries : 6);
    delay = delay < LAST_TRY_MS ? delay : LAST_TRY_MS;
    l->tries++;
    l->next_try = rt_mono_ms() + delay / 2 + rt_random_below(delay);
}

void rt_link_report(struct rt_link *l, int code, const struct rt_err *err)
{
    if (code == RT_OK) {
        if (note(l, true, ""))
            rt_log(RT_LOG_INFO, "store", "PostgreSQL answers", rt_kv_c("for", l->options.name));
        return;
    }
    if (code != RT_ECLOSED) {
        char text[sizeof(l->text)];
        snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1, err->text);
        if (note(l, false, text))
            rt_log(RT_LOG_WARN, "store", "PostgreSQL does not serve",
                   rt_kv_c("for", l->options.name), rt_kv_c("error", err->text));
    }
    if (l->pg && !rt_pg_usable(l->pg)) {
        rt_pg_free(l->pg);
        l->pg = NULL;
        back_off(l);
    }
}

void rt_link_hurry(struct rt_link *l)
{
    l->next_try = 0;
}

uint64_t rt_link_wait(const struct rt_link *l)
{
    uint64_t now = rt_mono_ms();
    return l->pg || l->next_try <= now ? 0 : l->next_try - now;
}

bool rt_link_up(struct rt_link *l, int (*prepare)(struct rt_pg *pg, void *arg, struct rt_err *err),
                void *arg)
{
    if (l->pg)
        return true;
    if (rt_link_wait(l) > 0)
        return false;
    struct rt_err err = {0};
    struct rt_pg *pg = NULL;
    int code = rt_pg_connect(&l->options, &pg, NULL, &err);
    if (code == RT_OK)
        code = rt_schema_migrate(pg, l->schema, &err);
    if (code == RT_OK && prepare)
        code = prepare(pg, arg, &err);
    if (code < 0) {
        rt_pg_free(pg);
        back_off(l);
        rt_link_report(l, code, &err);
        return false;
    }
    l->pg = pg;
    l->tries = 0;
    rt_link_report(l, RT_OK, NULL);
    return true;
}

bool rt_link_state(struct rt_link *l, uint64_t *ret_seen_at, char text[200])
{
    pthread_mutex_lock(&l->lock);
    bool up = l->up;
    *ret_seen_at = l->seen_at;
    memcpy(text, l->text, sizeof(l->text));
    pthread_mutex_unlock(&l->lock);
    return up;
}
