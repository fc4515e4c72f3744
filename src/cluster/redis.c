/* The Redis link: see redis.h.
 *
 *   WAITING --timer--> RESOLVING --address--> CONNECTING --both open, AUTH, SELECT--> PROBING --heartbeat came back--> UP
 *      ^------------------------------- anything fails, or takes too long ---------------------------------------------'
 *
 * Traps of hiredis 0.14 and what stands against them here:
 * - a refused connection is only noticed when somebody reads or writes: rt_watch reports errors as readiness;
 * - there are no timeouts: one timer per state;
 * - while subscribed, the reply of PING vanishes: the heartbeat is a message to ourselves through both connections;
 * - UNSUBSCRIBE of a channel that is not subscribed, or of the last one, trips an assertion: the heartbeat channel is never given up, and each channel has one command in flight at most;
 * - a SUBSCRIBE behind an UNSUBSCRIBE of the same channel loses its callback when the latter's reply comes: it is sent after that reply;
 * - the context is freed right after its disconnect callback: the pointer is dropped there, and everything else happens from a timer;
 * - its output buffer has no bound: bytes and commands without an answer are counted here. */
#include "cluster/redis.h"

#include <assert.h>
#include <hiredis/async.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/rand.h"
#include "cluster/beat.h"
#include "cluster/redis_metrics.h"
#include "cluster/redis_url.h"
#include "net/resolve.h"
#include "net/watch.h"

#define CONNECT_MS       5000u
#define PROBE_MS         1000u /* between heartbeats */
#define FIRST_PROBE_MS   50u   /* while the first one is awaited */
#define SILENCE_MS       3000u /* without a heartbeat: down */
#define BACKOFF_FIRST_MS 100u
#define BACKOFF_LAST_MS  5000u
#define CLOSE_MS         1000u
#define BATCH            200u /* channels in one SUBSCRIBE */
#define DEFAULT_OUTPUT   (16u * 1024 * 1024)
#define MAX_COMMANDS     100000u
#define MAX_CALLS        20000u /* of them, scripts */

enum state { WAITING, RESOLVING, CONNECTING, PROBING, UP };

/* One of the two connections. */
struct side {
    struct rt_redis *r;
    redisAsyncContext *ac; /* NULL: none */
    struct rt_watch *watch;
    bool ready;   /* AUTH and SELECT were answered */
    bool dirty;   /* commands wait for the flush */
    bool writing; /* inside redisAsyncHandleWrite */
    bool wants_write;
    int setup; /* answers outstanding before it is ready */
};

enum wish { ABSENT, SUBSCRIBING, SUBSCRIBED, UNSUBSCRIBING };

struct subscription {
    enum wish now;
    bool wanted;
    struct rt_list link; /* r->subscriptions */
    size_t len;
    char name[]; /* with the prefix */
};

/* A script whose answer is awaited. */
struct rt_redis_call {
    struct rt_list link; /* r->calls */
    size_t bytes;
    void (*done)(void *arg, const struct rt_redis_reply *reply);
    void *arg;
};

struct rt_redis {
    struct rt_redis_options options;
    struct rt_redis_url url;
    enum state state;
    struct side pub, sub;
    struct rt_resolve *resolving;
    struct rt_timer timer;  /* of the state */
    struct rt_timer broken; /* handles a failure outside of hiredis' callbacks */
    uint32_t backoff;
    uint64_t last_beat; /* loop time at which the last heartbeat came back */
    uint64_t beat_sent;
    uint64_t probing_since;
    bool told_up;
    struct rt_map names;
    struct rt_list subscriptions;
    size_t output;   /* bytes of commands without an answer */
    size_t commands; /* their number */
    struct rt_list calls;
    size_t call_count;
    struct rt_beat beats;
    char beat_channel[256];
    struct rt_buf command;
    char error[256];
    bool closing;
    uint64_t close_deadline;
    void (*closed)(void *arg);
    void *closed_arg;
    struct rt_redis_metrics metrics;
};

static void fail(struct rt_redis *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void on_broken(struct rt_timer *timer);

/* ---- adapter ---- */

static void set_interest(struct side *s)
{
    bool write = s->wants_write && (!s->ready || s->writing || !s->dirty);
    if (s->watch)
        rt_watch_set(s->watch, RT_WATCH_READ | (write ? RT_WATCH_WRITE : 0));
}

static void on_ready(void *arg, int events)
{
    struct side *s = arg;
    if ((events & RT_WATCH_WRITE) && s->ac) {
        s->writing = true;
        redisAsyncHandleWrite(s->ac);
        s->writing = false;
    }
    if ((events & RT_WATCH_READ) && s->ac)
        redisAsyncHandleRead(s->ac);
    if (s->ac)
        set_interest(s);
}

static void add_read(void *arg)
{
    (void)arg; /* always watched */
}

/* Commands of a turn go out together at the flush; what the kernel does not take then waits for writability. */
static void add_write(void *arg)
{
    struct side *s = arg;
    s->wants_write = true;
    if (s->ready && !s->writing)
        s->dirty = true;
    set_interest(s);
}

static void del_write(void *arg)
{
    struct side *s = arg;
    s->wants_write = false;
    set_interest(s);
}

static void cleanup(void *arg)
{
    struct side *s = arg;
    if (s->watch)
        rt_watch_close(s->watch, NULL, NULL);
    s->watch = NULL;
}

static void flush_side(struct side *s)
{
    if (!s->dirty)
        return;
    s->dirty = false;
    if (!s->ac)
        return;
    s->writing = true;
    redisAsyncHandleWrite(s->ac);
    s->writing = false;
    if (s->ac)
        set_interest(s);
}

void rt_redis_flush(struct rt_redis *r)
{
    flush_side(&r->pub);
    flush_side(&r->sub);
}

static void on_flush(void *arg)
{
    rt_redis_flush(arg);
}

/* ---- failure and retry ---- */

static void drop_side(struct side *s)
{
    redisAsyncContext *ac = s->ac;
    s->ac = NULL;
    s->ready = s->dirty = s->wants_write = false;
    s->setup = 0;
    if (ac)
        redisAsyncFree(ac); /* pending callbacks get no reply */
}

static void tell(struct rt_redis *r, bool up)
{
    r->metrics.up.value = up;
    if (r->told_up == up)
        return;
    r->told_up = up;
    if (r->options.on_state)
        r->options.on_state(r->options.arg, up);
}

static void drop_both(struct rt_redis *r)
{
    drop_side(&r->pub);
    drop_side(&r->sub);
    rt_list_for(node, &r->subscriptions)
        RT_CONTAINER(node, struct subscription, link)->now = ABSENT;
}

static void note_error(struct rt_redis *r, const char *format, va_list args)
{
    (void)vsnprintf(r->error, sizeof(r->error), format, args);
    rt_log(RT_LOG_WARN, "redis", "the link is down", rt_kv_c("err", r->error));
}

/* May be called from hiredis' callbacks: the rest happens from the timer. */
static void fail(struct rt_redis *r, const char *format, ...)
{
    va_list args;
    if (r->broken.active || r->closing || r->state == WAITING)
        return;
    va_start(args, format);
    note_error(r, format, args);
    va_end(args);
    rt_timer_start(r->options.loop, &r->broken, 0, on_broken);
}

/* ---- subscriptions ---- */

static void on_sub_reply(redisAsyncContext *ac, void *reply, void *arg);

static struct rt_str key_of_subscription(const void *value)
{
    const struct subscription *s = value;
    return rt_str_of(s->name, s->len);
}

/* Brings the connection's state nearer to what is wanted; one command of a channel in flight at most. */
static void reconcile(struct rt_redis *r, struct subscription *s)
{
    const char *argv[] = {s->wanted ? "SUBSCRIBE" : "UNSUBSCRIBE", s->name};
    size_t lens[] = {strlen(argv[0]), s->len};
    bool act = s->wanted ? s->now == ABSENT : s->now == SUBSCRIBED;
    if (act && r->sub.ready) {
        s->now = s->wanted ? SUBSCRIBING : UNSUBSCRIBING;
        if (redisAsyncCommandArgv(r->sub.ac, on_sub_reply, r, 2, argv, lens))
            fail(r, "cannot %s: out of memory", argv[0]);
    }
    if (!s->wanted && s->now == ABSENT) {
        rt_map_remove(&r->names, key_of_subscription(s));
        rt_list_remove(&s->link);
        rt_free(s);
    }
}

static struct rt_str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? rt_str_of(reply->str, (size_t)reply->len)
                                             : RT_STR_NONE;
}

static void on_message(struct rt_redis *r, struct rt_str channel, struct rt_str payload)
{
    size_t prefix = strlen(r->options.prefix);
    if (rt_str_eq(channel, rt_str_c(r->beat_channel))) {
        if (!rt_beat_take(&r->beats, payload)) {
            r->metrics.foreign_beats.value++;
            return;
        }
        r->last_beat = rt_loop_now(r->options.loop);
        rt_metrics_observe(&r->metrics.rtt, (double)(r->last_beat - r->beat_sent) / 1000);
        return;
    }
    r->metrics.received.value++;
    if (channel.len >= prefix)
        r->options.on_message(r->options.arg, rt_str_of(channel.ptr + prefix, channel.len - prefix),
                              payload);
}

static void on_sub_reply(redisAsyncContext *ac, void *reply_, void *arg)
{
    struct rt_redis *r = arg;
    const redisReply *reply = reply_;
    if (!reply || r->sub.ac != ac)
        return; /* the connection goes, its disconnect callback says the rest */
    if (reply->type == REDIS_REPLY_ERROR) {
        fail(r, "%.200s", reply->str);
        return;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        return;
    struct rt_str kind = text_of(reply->element[0]), channel = text_of(reply->element[1]);
    if (rt_str_eq(kind, RT_STR("message"))) {
        on_message(r, channel, text_of(reply->element[2]));
        return;
    }
    struct subscription *s = rt_map_get(&r->names, channel);
    if (!s)
        return; /* the heartbeat's own */
    s->now = rt_str_eq(kind, RT_STR("subscribe")) ? SUBSCRIBED : ABSENT;
    reconcile(r, s);
}

/* All that are wanted, many to a command. */
static void subscribe_all(struct rt_redis *r)
{
    const char *argv[BATCH + 1] = {"SUBSCRIBE"};
    size_t lens[BATCH + 1] = {9};
    int n = 1, status = 0;
    rt_list_for(node, &r->subscriptions) {
        struct subscription *s = RT_CONTAINER(node, struct subscription, link);
        if (!s->wanted || s->now != ABSENT)
            continue;
        s->now = SUBSCRIBING;
        argv[n] = s->name;
        lens[n++] = s->len;
        if (n == BATCH + 1) {
            status |= redisAsyncCommandArgv(r->sub.ac, on_sub_reply, r, n, argv, lens);
            n = 1;
        }
    }
    /* Ours last: when its message comes back, all of the others stand. */
    argv[n] = r->beat_channel;
    lens[n++] = strlen(r->beat_channel);
    status |= redisAsyncCommandArgv(r->sub.ac, on_sub_reply, r, n, argv, lens);
    if (status)
        fail(r, "cannot subscribe: out of memory");
}

int rt_redis_subscribe(struct rt_redis *r, struct rt_str channel)
{
    r->command.len = 0;
    rt_buf_add_c(&r->command, r->options.prefix);
    rt_buf_add_str(&r->command, channel);
    if (!rt_buf_ok(&r->command)) {
        rt_buf_clear(&r->command);
        return RT_ENOMEM;
    }
    struct subscription *s = rt_map_get(&r->names, rt_buf_str(&r->command));
    if (!s) {
        s = rt_calloc(1, sizeof(*s) + r->command.len + 1);
        if (!s)
            return RT_ENOMEM;
        s->len = r->command.len;
        memcpy(s->name, r->command.data, s->len);
        if (rt_map_put(&r->names, s)) {
            rt_free(s);
            return RT_ENOMEM;
        }
        rt_list_push(&r->subscriptions, &s->link);
    }
    s->wanted = true;
    reconcile(r, s);
    return 0;
}

void rt_redis_unsubscribe(struct rt_redis *r, struct rt_str channel)
{
    r->command.len = 0;
    rt_buf_add_c(&r->command, r->options.prefix);
    rt_buf_add_str(&r->command, channel);
    struct subscription *s =
        rt_buf_ok(&r->command) ? rt_map_get(&r->names, rt_buf_str(&r->command)) : NULL;
    rt_buf_clear(&r->command);
    if (!s)
        return;
    s->wanted = false;
    reconcile(r, s);
}

/* ---- publishing ---- */

static void on_beat_sent(redisAsyncContext *ac, void *reply_, void *arg)
{
    struct side *s = ac->data;
    const redisReply *reply = reply_;
    s->r->output -= (size_t)(uintptr_t)arg;
    s->r->commands--;
    if (reply && reply->type == REDIS_REPLY_ERROR)
        fail(s->r, "PUBLISH: %.200s", reply->str);
}

static void on_published(redisAsyncContext *ac, void *reply, void *arg)
{
    struct side *s = ac->data;
    if (!reply) /* the connection goes */
        s->r->metrics.unanswered.value++;
    on_beat_sent(ac, reply, arg);
}

static void add_bulk(struct rt_buf *out, struct rt_str a, struct rt_str b)
{
    rt_buf_add_byte(out, '$');
    rt_buf_add_u64(out, a.len + b.len);
    rt_buf_add_c(out, "\r\n");
    rt_buf_add_str(out, a);
    rt_buf_add_str(out, b);
    rt_buf_add_c(out, "\r\n");
}

static int publish(struct rt_redis *r, redisCallbackFn *done, struct rt_str prefix,
                   struct rt_str channel, struct rt_str payload)
{
    struct rt_buf *out = &r->command;
    rt_buf_clear(out);
    rt_buf_add_c(out, "*3\r\n$7\r\nPUBLISH\r\n");
    add_bulk(out, prefix, channel);
    add_bulk(out, payload, RT_STR_NONE);
    if (!rt_buf_ok(out) || redisAsyncFormattedCommand(r->pub.ac, done, (void *)(uintptr_t)out->len,
                                                      (const char *)out->data, out->len))
        return RT_ENOMEM;
    r->output += out->len;
    r->commands++;
    return 0;
}

int rt_redis_publish(struct rt_redis *r, struct rt_str channel, struct rt_str payload)
{
    bool full = r->output + payload.len > r->options.max_output || r->commands >= MAX_COMMANDS;
    if (r->state != UP || full || r->broken.active ||
        publish(r, on_published, rt_str_c(r->options.prefix), channel, payload)) {
        r->metrics.dropped.value++;
        return RT_EAGAIN;
    }
    r->metrics.published.value++;
    return 0;
}

/* ---- scripts ---- */

static void read_reply(const redisReply *reply, struct rt_redis_reply *ret)
{
    switch (reply->type) {
    case REDIS_REPLY_ERROR:
        ret->status = RT_EIO;
        break;
    case REDIS_REPLY_INTEGER:
        ret->number = reply->integer;
        break;
    case REDIS_REPLY_ARRAY:
        ret->count = reply->elements < RT_REDIS_ITEMS ? reply->elements : RT_REDIS_ITEMS;
        for (size_t i = 0; i < ret->count; i++)
            ret->items[i] = text_of(reply->element[i]);
        break;
    default: /* a text, or nil */
        ret->items[0] = text_of(reply);
        ret->count = 1;
    }
}

static void on_answer(redisAsyncContext *ac, void *reply_, void *arg)
{
    struct rt_redis *r = ((struct side *)ac->data)->r;
    struct rt_redis_call *call = arg;
    const redisReply *reply = reply_;
    struct rt_redis_reply result = {.status = reply ? 0 : RT_EUNKNOWN};
    r->output -= call->bytes;
    r->commands--;
    r->call_count--;
    rt_list_remove(&call->link);
    if (reply)
        read_reply(reply, &result);
    if (result.status == RT_EIO)
        rt_log(RT_LOG_WARN, "redis", "a script was refused",
               rt_kv_str("err", rt_str_of(reply->str, (size_t)reply->len)));
    if (call->done)
        call->done(call->arg, &result);
    rt_free(call);
}

static struct rt_str eval_command(struct rt_redis *r, const struct rt_redis_eval *e)
{
    struct rt_buf *out = &r->command;
    rt_buf_clear(out);
    rt_buf_printf(out, "*%zu\r\n$4\r\nEVAL\r\n", e->arg_count + 4);
    add_bulk(out, rt_str_c(e->script), RT_STR_NONE);
    add_bulk(out, RT_STR("1"), RT_STR_NONE);
    add_bulk(out, rt_str_c(r->options.prefix), e->key);
    for (size_t i = 0; i < e->arg_count; i++)
        add_bulk(out, e->args[i], RT_STR_NONE);
    return rt_buf_str(out);
}

int rt_redis_eval(struct rt_redis *r, const struct rt_redis_eval *e,
                  struct rt_redis_call **ret_call)
{
    if (r->state != UP || r->broken.active || r->commands >= MAX_COMMANDS ||
        r->call_count >= MAX_CALLS)
        return RT_EAGAIN;
    struct rt_str command = eval_command(r, e);
    if (rt_buf_ok(&r->command) && r->output + command.len > r->options.max_output)
        return RT_EAGAIN;
    struct rt_redis_call *call = rt_calloc(1, sizeof(*call));
    if (!call || !rt_buf_ok(&r->command) ||
        redisAsyncFormattedCommand(r->pub.ac, on_answer, call, command.ptr, command.len)) {
        rt_free(call);
        return RT_ENOMEM;
    }
    call->bytes = command.len;
    call->done = e->done;
    call->arg = e->arg;
    rt_list_init(&call->link);
    rt_list_push(&r->calls, &call->link);
    r->output += call->bytes;
    r->commands++;
    r->call_count++;
    if (ret_call)
        *ret_call = call;
    return 0;
}

void rt_redis_forget(struct rt_redis_call *call)
{
    call->done = NULL;
}

/* ---- heartbeat ---- */

static void beat(struct rt_timer *timer);

/* `left`: until the silence has lasted too long, which is noticed then and not with the next heartbeat. */
static void send_beat(struct rt_redis *r, uint64_t left)
{
    uint64_t next = r->state == UP ? PROBE_MS : FIRST_PROBE_MS;
    uint8_t payload[RT_BEAT_LEN];
    rt_beat_write(&r->beats, payload);
    r->beat_sent = rt_loop_now(r->options.loop);
    if (publish(r, on_beat_sent, RT_STR_NONE, rt_str_c(r->beat_channel),
                rt_str_of(payload, sizeof(payload))))
        fail(r, "cannot send a heartbeat: out of memory");
    rt_timer_start(r->options.loop, &r->timer, next < left ? next : left, beat);
}

static void beat(struct rt_timer *timer)
{
    struct rt_redis *r = RT_CONTAINER(timer, struct rt_redis, timer);
    uint64_t now = rt_loop_now(r->options.loop);
    if (r->state == PROBING && r->last_beat != 0) {
        r->state = UP;
        r->backoff = BACKOFF_FIRST_MS;
        r->error[0] = '\0';
        rt_log(RT_LOG_INFO, "redis", "the link is up");
        tell(r, true);
    }
    uint64_t since = r->last_beat != 0 ? r->last_beat : r->probing_since;
    if (now - since >= SILENCE_MS)
        fail(r, "no heartbeat came back for %u ms", SILENCE_MS);
    else
        send_beat(r, since + SILENCE_MS - now);
}

static void begin_probing(struct rt_redis *r)
{
    r->state = PROBING;
    r->last_beat = 0;
    r->probing_since = rt_loop_now(r->options.loop);
    subscribe_all(r);
    send_beat(r, SILENCE_MS);
}

/* ---- connecting ---- */

static void on_setup(redisAsyncContext *ac, void *reply_, void *arg)
{
    struct side *s = ac->data;
    const redisReply *reply = reply_;
    struct rt_redis *r = s->r;
    if (!reply || s->ac != ac)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        fail(r, "%s: %.200s", (const char *)arg, reply->str);
        return;
    }
    if (--s->setup > 0)
        return;
    s->ready = true;
    if (r->pub.ready && r->sub.ready)
        begin_probing(r);
}

static void set_up(struct side *s)
{
    struct rt_redis *r = s->r;
    const struct rt_redis_url *u = &r->url;
    int status = 0;
    s->setup = 1 + (u->password[0] != '\0') + (u->db > 0);
    if (u->password[0] != '\0' && u->user[0] != '\0')
        status |= redisAsyncCommand(s->ac, on_setup, (void *)(uintptr_t) "AUTH", "AUTH %s %s",
                                    u->user, u->password);
    else if (u->password[0] != '\0')
        status |=
            redisAsyncCommand(s->ac, on_setup, (void *)(uintptr_t) "AUTH", "AUTH %s", u->password);
    if (u->db > 0)
        status |=
            redisAsyncCommand(s->ac, on_setup, (void *)(uintptr_t) "SELECT", "SELECT %u", u->db);
    status |= redisAsyncCommand(s->ac, on_setup, (void *)(uintptr_t) "PING", "PING");
    if (status)
        fail(r, "out of memory");
}

static void on_connect(const redisAsyncContext *ac, int status)
{
    struct side *s = ac->data;
    if (s->ac != ac)
        return;
    if (status != REDIS_OK) {
        char text[200];
        (void)snprintf(text, sizeof(text), "%s", ac->errstr ? ac->errstr : "refused");
        s->ac = NULL; /* hiredis frees it after this */
        fail(s->r, "cannot connect: %s", text);
        return;
    }
    set_up(s);
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    struct side *s = ac->data;
    if (s->ac != ac)
        return; /* we dropped it */
    s->ac = NULL;
    s->ready = s->dirty = false;
    fail(s->r, "the connection was closed: %s",
         status == REDIS_OK || !ac->errstr ? "by us" : ac->errstr);
}

static int open_side(struct side *s, const char *address)
{
    const struct rt_redis_url *u = &s->r->url;
    redisAsyncContext *ac =
        u->path[0] != '\0' ? redisAsyncConnectUnix(u->path) : redisAsyncConnect(address, u->port);
    int on = 1;
    if (!ac || ac->err || rt_watch_new(s->r->options.loop, ac->c.fd, on_ready, s, &s->watch)) {
        fail(s->r, "cannot connect: %s",
             ac && ac->errstr && ac->err ? ac->errstr : "out of memory");
        if (ac)
            redisAsyncFree(ac);
        return RT_EIO;
    }
    (void)setsockopt(ac->c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ac->data = s;
    ac->ev.data = s;
    ac->ev.addRead = add_read;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = del_write;
    ac->ev.cleanup = cleanup;
    s->ac = ac;
    s->wants_write = true; /* writable: connected */
    (void)redisAsyncSetConnectCallback(ac, on_connect);
    (void)redisAsyncSetDisconnectCallback(ac, on_disconnect);
    if (s->ac)
        set_interest(s);
    return 0;
}

static void connect_timeout(struct rt_timer *timer)
{
    struct rt_redis *r = RT_CONTAINER(timer, struct rt_redis, timer);
    fail(r, "no connection within %u ms", CONNECT_MS);
}

static void open_both(struct rt_redis *r, const char *address)
{
    r->state = CONNECTING;
    rt_timer_start(r->options.loop, &r->timer, CONNECT_MS, connect_timeout);
    if (open_side(&r->pub, address) == 0)
        (void)open_side(&r->sub, address);
}

static void resolved(void *arg, const char *address, const char *reason)
{
    struct rt_redis *r = arg;
    r->resolving = NULL;
    if (r->closing)
        return;
    if (address)
        open_both(r, address);
    else
        fail(r, "cannot resolve %s: %s", r->url.host, reason);
}

static void begin(struct rt_timer *timer)
{
    struct rt_redis *r = RT_CONTAINER(timer, struct rt_redis, timer);
    r->state = RESOLVING;
    if (r->url.path[0] != '\0') {
        open_both(r, NULL);
        return;
    }
    /* No deadline: a lookup that runs cannot be stopped, and the resolver has its own. */
    if (rt_resolve_start(r->options.loop, r->url.host, resolved, r, &r->resolving))
        fail(r, "cannot resolve %s: out of memory", r->url.host);
}

static void wait_and_retry(struct rt_redis *r)
{
    struct rt_loop *loop = r->options.loop;
    r->state = WAITING;
    drop_both(r);
    rt_timer_start(loop, &r->timer, rt_random_below(r->backoff) + 1, begin);
    r->backoff = r->backoff * 2 < BACKOFF_LAST_MS ? r->backoff * 2 : BACKOFF_LAST_MS;
    r->metrics.reconnects.value++;
    tell(r, false);
}

static void on_broken(struct rt_timer *timer)
{
    wait_and_retry(RT_CONTAINER(timer, struct rt_redis, broken));
}

/* ---- life ---- */

int rt_redis_new(const struct rt_redis_options *options, struct rt_redis **ret_redis,
                 struct rt_err *err)
{
    struct rt_redis *r = rt_calloc(1, sizeof(*r));
    char id[RT_ID_LEN + 1];
    if (!r)
        return rt_err_nomem(err);
    r->options = *options;
    int status = rt_redis_url_usable(rt_str_c(options->url), &r->url, err);
    if (status)
        (void)rt_err_wrap(err, "redis.url");
    if (status == 0 && rt_loop_add_flush_hook(options->loop, on_flush, r))
        status = rt_err_nomem(err);
    if (status) {
        rt_free(r);
        return status;
    }
    if (r->options.max_output == 0)
        r->options.max_output = DEFAULT_OUTPUT;
    r->pub.r = r->sub.r = r;
    rt_random_id(id);
    (void)snprintf(r->beat_channel, sizeof(r->beat_channel), "%sbeat:%.64s:%s", options->prefix,
                   options->node, id);
    rt_map_init(&r->names, key_of_subscription);
    rt_list_init(&r->subscriptions);
    rt_list_init(&r->calls);
    rt_buf_init(&r->command);
    r->backoff = BACKOFF_FIRST_MS;
    rt_beat_init(&r->beats);
    rt_redis_metrics_init(&r->metrics, &r->output, options->metrics);
    rt_timer_start(options->loop, &r->timer, 0, begin);
    *ret_redis = r;
    return 0;
}

bool rt_redis_up(const struct rt_redis *r)
{
    return r->state == UP;
}

const char *rt_redis_error(const struct rt_redis *r)
{
    return r->error;
}

static void close_step(struct rt_timer *timer)
{
    struct rt_redis *r = RT_CONTAINER(timer, struct rt_redis, timer);
    struct rt_loop *loop = r->options.loop;
    bool flushing = r->state == UP && r->commands > 0 && rt_loop_now(loop) < r->close_deadline;
    if (flushing || r->resolving) {
        rt_timer_start(loop, timer, 5, close_step);
        return;
    }
    r->state = WAITING;
    drop_both(r);
    r->closed(r->closed_arg);
}

void rt_redis_close(struct rt_redis *r, void (*closed)(void *arg), void *arg)
{
    r->closing = true;
    r->closed = closed;
    r->closed_arg = arg;
    r->close_deadline = rt_loop_now(r->options.loop) + CLOSE_MS;
    rt_timer_stop(r->options.loop, &r->broken); /* nothing is tried again */
    rt_timer_start(r->options.loop, &r->timer, 0, close_step);
}

void rt_redis_free(struct rt_redis *r)
{
    if (!r)
        return;
    struct rt_list *node;
    rt_list_for(call, &r->calls)
        rt_redis_forget(RT_CONTAINER(call, struct rt_redis_call, link));
    drop_both(r);
    rt_timer_stop(r->options.loop, &r->timer);
    rt_timer_stop(r->options.loop, &r->broken);
    while ((node = rt_list_pop(&r->subscriptions)))
        rt_free(RT_CONTAINER(node, struct subscription, link));
    rt_map_deinit(&r->names);
    rt_buf_deinit(&r->command);
    rt_free(r);
}
