/* The Redis link: publish and subscribe over hiredis' async API with an adapter of our own, driven by the loop.
 *
 * Two connections: one subscribes, one publishes. URLs: redis://[user[:password]@]host[:port][/db], unix:///path[?db=N], rediss:// where hiredis has TLS (otherwise RT_EINVAL that says
 * so). Names are resolved by uv_getaddrinfo. Reconnect with exponential backoff (100 ms to 5 s) and full jitter; after it all subscriptions are made again in batches.
 * Up means end to end: every second a heartbeat is published on a channel of our own and must come back within 3 s; a green TCP connection proves nothing. When it does not, both
 * connections are dropped and made anew.
 * Output is capped (bytes and commands in flight): beyond it rt_redis_publish() answers RT_EAGAIN and counts the loss. Commands of a turn are written together, at the flush.
 * Scripts share the publishing connection and its order. Their answers come while the link lives: when it goes, or no heartbeat has come back for 3 s, with RT_EUNKNOWN.
 * Traps of hiredis 0.14 are listed in the file's own comments with their guards.
 * Callbacks never come from inside a call of this API. Thread: the loop. */
#ifndef RT_CLUSTER_REDIS_H
#define RT_CLUSTER_REDIS_H

#include "base/err.h"
#include "base/metrics.h"
#include "net/loop.h"

struct rt_redis;

struct rt_redis_options {
    struct rt_loop *loop;
    const char *url;
    const char *node;           /* for the heartbeat channel's name, unique in the cluster */
    const char *prefix;         /* put before every channel: "rtb:" */
    size_t max_output;          /* bytes waiting for Redis; 0: 16 MiB */
    struct rt_metrics *metrics; /* NULL: none */
    /* A message of a subscribed channel, without the prefix. Slices are valid during the call. */
    void (*on_message)(void *arg, struct rt_str channel, struct rt_str payload);
    /* The end-to-end state has changed. After `up` all subscriptions stand again; messages may have been lost in between. */
    void (*on_state)(void *arg, bool up);
    void *arg;
};

/* Parses the URL and begins to connect. RT_EINVAL with text. */
int rt_redis_new(const struct rt_redis_options *options, struct rt_redis **ret_redis,
                 struct rt_err *err);
/* RT_EAGAIN: not up, or the cap is reached; nothing was sent. */
int rt_redis_publish(struct rt_redis *r, struct rt_str channel, struct rt_str payload);
/* Idempotent; remembered over reconnects. RT_ENOMEM. */
int rt_redis_subscribe(struct rt_redis *r, struct rt_str channel);
void rt_redis_unsubscribe(struct rt_redis *r, struct rt_str channel);
bool rt_redis_up(const struct rt_redis *r);

/* A script of one key (Lua, EVAL): changes of what Redis keeps are atomic and conditional. */
#define RT_REDIS_ITEMS 5
struct rt_redis_reply {
    int status; /* 0; RT_EIO: Redis refused it (logged); RT_EUNKNOWN: no answer, it may have run */
    int64_t number;                      /* of an integer */
    struct rt_str items[RT_REDIS_ITEMS]; /* the text, or the texts of the array; none: nil */
    size_t count;
};
struct rt_redis_eval {
    const char *script;
    struct rt_str key; /* without the prefix */
    const struct rt_str *args;
    size_t arg_count;
    /* Called once on the loop, never from inside rt_redis_eval(). Slices are valid during the call. NULL: nobody asks. */
    void (*done)(void *arg, const struct rt_redis_reply *reply);
    void *arg;
};
/* 0: handed over. RT_EAGAIN: not up, or a cap is reached; RT_ENOMEM; `done` is not called then. `*ret_call` (may be NULL) is for
 * rt_redis_forget(), until `done` is called. */
struct rt_redis_call;
int rt_redis_eval(struct rt_redis *r, const struct rt_redis_eval *eval,
                  struct rt_redis_call **ret_call);
/* `done` will not be called; what was handed over runs all the same. */
void rt_redis_forget(struct rt_redis_call *call);
/* Writes now what waits for the flush: for a flush hook that comes after the link's own. */
void rt_redis_flush(struct rt_redis *r);

/* "" or the last error, for /readyz. */
const char *rt_redis_error(const struct rt_redis *r);
/* Flushes what is queued (up to 1 s), disconnects, then `closed(arg)` on the loop; then rt_redis_free(). */
void rt_redis_close(struct rt_redis *r, void (*closed)(void *arg), void *arg);
void rt_redis_free(struct rt_redis *r);

#endif
