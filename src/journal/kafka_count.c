#include "journal/kafka_count.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "worker/queue.h"

struct rt_count {
    struct rt_count_options options;
    rd_kafka_topic_t *topic;
    struct rt_thread *thread;
    pthread_mutex_t lock;
    struct rt_queue *stop;         /* nothing comes, it is closed */
    bool answered;                 /* under the lock: `answer` was not taken yet */
    struct rt_count_answer answer; /* under the lock */
    atomic_bool ended;
};

/* ---- the thread --------------------------------------------------------------------------------------------- */

/* 0: no answer, or the topic is not there. */
static uint32_t ask(struct rt_count *c)
{
    const struct rd_kafka_metadata *m = NULL;
    uint32_t partitions = 0;
    if (rd_kafka_metadata(c->options.rk, 0, c->topic, &m, RT_COUNT_ANSWER_MS) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    if (m->topic_cnt == 1 && m->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
        m->topics[0].partition_cnt > 0)
        partitions = (uint32_t)m->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(m);
    return partitions;
}

static void keep_answer(struct rt_count *c, const struct rt_count_answer *answer)
{
    pthread_mutex_lock(&c->lock);
    c->answer = *answer;
    c->answered = true;
    pthread_mutex_unlock(&c->lock);
    c->options.wake(c->options.arg);
}

/* True: it is time to end. */
static bool pause_for(struct rt_count *c, uint32_t ms)
{
    struct rt_list nothing;
    rt_list_init(&nothing);
    return !rt_queue_take(c->stop, &nothing, ms);
}

static void run(void *arg)
{
    struct rt_count *c = arg;
    uint32_t wait = 0;
    while (!pause_for(c, wait)) {
        struct rt_count_answer answer = {.asked_at = rt_mono_ms()};
        answer.partitions = ask(c);
        if (answer.partitions > 0)
            keep_answer(c, &answer);
        wait = answer.partitions > 0 ? RT_COUNT_MS : RT_COUNT_AGAIN_MS;
    }
    atomic_store(&c->ended, true);
    c->options.wake(c->options.arg);
}

/* ---- the loop ----------------------------------------------------------------------------------------------- */

bool rt_count_take(struct rt_count *c, struct rt_count_answer *ret_answer)
{
    pthread_mutex_lock(&c->lock);
    bool answered = c->answered;
    if (answered)
        *ret_answer = c->answer;
    c->answered = false;
    pthread_mutex_unlock(&c->lock);
    return answered;
}

void rt_count_stop(struct rt_count *c)
{
    rt_queue_close(c->stop);
}

bool rt_count_ended(const struct rt_count *c)
{
    return atomic_load(&c->ended);
}

static int open_all(struct rt_count *c, struct rt_err *err)
{
    if (rt_queue_new(1, SIZE_MAX, &c->stop) < 0)
        return rt_err_nomem(err);
    c->topic = rd_kafka_topic_new(c->options.rk, c->options.topic, NULL);
    if (!c->topic)
        return rt_err_set(err, RT_EINVAL, "kafka.topic \"%s\": %s", c->options.topic,
                          rd_kafka_err2str(rd_kafka_last_error()));
    return rt_thread_start("kafka-count", run, c, &c->thread, err);
}

int rt_count_new(const struct rt_count_options *options, struct rt_count **ret_count,
                 struct rt_err *err)
{
    struct rt_count *c = rt_calloc(1, sizeof(*c));
    if (!c)
        return rt_err_nomem(err);
    c->options = *options;
    atomic_init(&c->ended, false);
    pthread_mutex_init(&c->lock, NULL);
    int code = open_all(c, err);
    if (code < 0) {
        rt_count_free(c);
        return code;
    }
    *ret_count = c;
    return 0;
}

void rt_count_free(struct rt_count *c)
{
    if (!c)
        return;
    if (c->thread) {
        rt_count_stop(c);
        rt_thread_join(c->thread);
    }
    if (c->topic)
        rd_kafka_topic_destroy(c->topic);
    if (c->stop)
        rt_queue_free(c->stop);
    pthread_mutex_destroy(&c->lock);
    rt_free(c);
}
