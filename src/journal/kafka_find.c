#include "journal/kafka_find.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "journal/kafka_conf.h"
#include "journal/kafka_topic.h"
#include "worker/queue.h"

#define PAUSE_MS 200u /* before a cluster that fell silent in the middle is asked again */

struct rt_find {
    struct rt_find_options options;
    struct rt_thread *thread;
    struct rt_queue *stop; /* nothing comes, it is closed */
    atomic_bool stopped;   /* the same, for who is in the middle of a question */
    pthread_mutex_t lock;  /* of all below */
    enum rt_find_state state;
    struct rt_kafka_found found;
    struct rt_err err;
};

/* ---- asking ------------------------------------------------------------------------------------------------- */

static int open_handle(const struct rt_find_options *o, rd_kafka_t **ret_rk, struct rt_err *err)
{
    char text[256] = "";
    rd_kafka_conf_t *conf = NULL;
    const struct rt_kafka_conf wanted = {.brokers = o->brokers, .conf = o->conf};
    int code = rt_kafka_conf_make(&wanted, RT_KAFKA_PRODUCER, false, &conf, err);
    if (code < 0)
        return code;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR);
    *ret_rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (*ret_rk)
        return RT_OK;
    rd_kafka_conf_destroy(conf);
    return rt_err_set(err, RT_EINVAL, "kafka.conf: %s", text);
}

static void on_missed(void *arg, const char *text)
{
    struct rt_find *f = arg;
    pthread_mutex_lock(&f->lock);
    (void)rt_err_set(&f->err, RT_EIO, "%s", text);
    pthread_mutex_unlock(&f->lock);
}

/* `f`: who waits, NULL nobody else. */
static int ask(rd_kafka_t *rk, const struct rt_find_options *o, struct rt_find *f,
               struct rt_kafka_found *ret_found, struct rt_err *err)
{
    struct rt_kafka_topic_answer answer;
    const struct rt_kafka_topic topic = {.name = o->topic,
                                         .brokers = o->brokers,
                                         .partitions = o->partitions,
                                         .require_safe = o->require_safe_topic,
                                         .message = o->message,
                                         .timeout_ms = f ? RT_KAFKA_FOR_EVER : o->timeout_ms,
                                         .own_handle = true,
                                         .stopped = f ? &f->stopped : NULL,
                                         .missed = f ? on_missed : NULL,
                                         .arg = f};
    int code = rt_kafka_topic_check(rk, &topic, &answer, err);
    if (code == RT_OK)
        *ret_found = (struct rt_kafka_found){answer.partitions, answer.asked_at, answer.max_batch};
    return code;
}

int rt_kafka_find(const struct rt_find_options *options, struct rt_kafka_found *ret_found,
                  struct rt_err *err)
{
    rd_kafka_t *rk = NULL;
    int code = open_handle(options, &rk, err);
    if (code < 0)
        return code;
    code = ask(rk, options, NULL, ret_found, err);
    rd_kafka_destroy(rk);
    return code;
}

/* ---- the thread --------------------------------------------------------------------------------------------- */

/* True: it is time to end. */
static bool pause_between_tries(struct rt_find *f)
{
    struct rt_list nothing;
    rt_list_init(&nothing);
    return !rt_queue_take(f->stop, &nothing, PAUSE_MS);
}

static void end(struct rt_find *f, int code, const struct rt_kafka_found *found,
                const struct rt_err *err)
{
    pthread_mutex_lock(&f->lock);
    f->state = code == RT_OK ? RT_FIND_FOUND : RT_FIND_REFUSED;
    f->found = *found;
    f->err = *err;
    pthread_mutex_unlock(&f->lock);
}

static void run(void *arg)
{
    struct rt_find *f = arg;
    struct rt_kafka_found found = {0};
    struct rt_err err = {0};
    rd_kafka_t *rk = NULL;
    int code = open_handle(&f->options, &rk, &err);
    if (code == RT_OK)
        code = ask(rk, &f->options, f, &found, &err);
    while (code == RT_EIO && !pause_between_tries(f))
        code = ask(rk, &f->options, f, &found, &err);
    if (rk)
        rd_kafka_destroy(rk);
    if (code != RT_EIO)
        end(f, code, &found, &err);
}

/* ---- who waits ---------------------------------------------------------------------------------------------- */

int rt_find_start(const struct rt_find_options *options, struct rt_find **ret_find,
                  struct rt_err *err)
{
    struct rt_find *f = rt_calloc(1, sizeof(*f));
    if (!f)
        return rt_err_nomem(err);
    f->options = *options;
    atomic_init(&f->stopped, false);
    pthread_mutex_init(&f->lock, NULL);
    int code = rt_queue_new(1, SIZE_MAX, &f->stop) < 0 ? rt_err_nomem(err) : RT_OK;
    if (code == RT_OK)
        code = rt_thread_start("kafka-find", run, f, &f->thread, err);
    if (code < 0) {
        rt_find_free(f);
        return code;
    }
    *ret_find = f;
    return RT_OK;
}

enum rt_find_state rt_find_look(struct rt_find *f, struct rt_kafka_found *ret_found,
                                struct rt_err *err)
{
    pthread_mutex_lock(&f->lock);
    enum rt_find_state state = f->state;
    *ret_found = f->found;
    *err = f->err;
    pthread_mutex_unlock(&f->lock);
    return state;
}

void rt_find_free(struct rt_find *f)
{
    if (!f)
        return;
    atomic_store(&f->stopped, true);
    if (f->thread) {
        rt_queue_close(f->stop);
        rt_thread_join(f->thread);
    }
    if (f->stop)
        rt_queue_free(f->stop);
    pthread_mutex_destroy(&f->lock);
    rt_free(f);
}
