#include "journal/kafka_topic.h"

#include <stdio.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "journal/record.h"

#define TIMEOUT_MS    10000u
#define TRY_MS        1000
#define SLICE_MS      100  /* after which it is looked whether to give up */
#define SETTINGS_MS   1000 /* for the cluster to tell them, when nothing depends on it */
#define PARTITIONS    16
#define REPLICAS      3
#define PARTITION_MAX 65535

struct checking {
    rd_kafka_t *rk;
    const struct rt_kafka_topic *topic;
    uint64_t deadline;
    uint64_t asked_at;
    char why[160];  /* of the last try */
    char link[256]; /* what the links to the brokers met last, "" nothing */
    int brokers, partitions, replicas;
    bool silent;   /* the cluster did not answer when it was asked for settings */
    uint32_t weak; /* weaknesses found */
    uint64_t max_batch;
    struct rt_err first;
};

/* Of one question at most: TIMEOUT_MS. */
static int left_ms(const struct checking *c)
{
    uint64_t now = rt_mono_ms();
    if (now >= c->deadline || (c->topic->stopped && atomic_load(c->topic->stopped)))
        return 0;
    return c->deadline - now < TIMEOUT_MS ? (int)(c->deadline - now) : (int)TIMEOUT_MS;
}

/* "1/1 brokers are down" says less than why they are. */
static void read_event(struct checking *c, rd_kafka_event_t *event)
{
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR &&
        rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        snprintf(c->link, sizeof(c->link), "%s", rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
}

static void pause_briefly(struct checking *c)
{
    rd_kafka_queue_t *queue =
        c->topic->own_handle ? rd_kafka_queue_get_main(c->rk) : rd_kafka_queue_new(c->rk);
    uint64_t until = rt_mono_ms() + SLICE_MS;
    for (uint64_t now = rt_mono_ms(); now < until; now = rt_mono_ms()) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)(until - now));
        if (event)
            read_event(c, event);
    }
    rd_kafka_queue_destroy(queue);
}

/* Text that says which Kafka does not answer, and why. */
static int tell_silence(struct checking *c, struct rt_err *err)
{
    return rt_err_set(err, RT_EIO, "Kafka at %s does not answer: %s", c->topic->brokers,
                      c->link[0] ? c->link : c->why);
}

static void tell_missed(struct checking *c)
{
    struct rt_err err = {0};
    if (!c->topic->missed)
        return;
    (void)tell_silence(c, &err);
    c->topic->missed(c->topic->arg, err.text);
}

/* ---- what there is ------------------------------------------------------------------------------------------ */

static void read_topic(struct checking *c, const struct rd_kafka_metadata_topic *t)
{
    c->partitions = t->partition_cnt;
    c->replicas = INT32_MAX;
    for (int i = 0; i < t->partition_cnt; i++)
        if (t->partitions[i].replica_cnt < c->replicas)
            c->replicas = t->partitions[i].replica_cnt;
}

/* RT_OK there, RT_ENOENT not, RT_EAGAIN: no answer yet, why has the reason. */
static int look(struct checking *c)
{
    const struct rd_kafka_metadata *m = NULL;
    int left = left_ms(c);
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(c->rk, c->topic->name, NULL);
    if (!rkt)
        return RT_EINVAL;
    c->asked_at = rt_mono_ms();
    rd_kafka_resp_err_t e = rd_kafka_metadata(c->rk, 0, rkt, &m, left < TRY_MS ? left + 1 : TRY_MS);
    rd_kafka_topic_destroy(rkt);
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR && m->topic_cnt != 1)
        e = RD_KAFKA_RESP_ERR__BAD_MSG;
    else if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
        e = m->topics[0].err;
    int code = RT_EAGAIN;
    if (e == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        code = RT_ENOENT;
    else if (e == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION)
        code = RT_EINVAL;
    else if (e == RD_KAFKA_RESP_ERR_NO_ERROR && m->topics[0].partition_cnt > 0)
        code = RT_OK;
    snprintf(c->why, sizeof(c->why), "%s", rd_kafka_err2str(e));
    if (code == RT_OK)
        read_topic(c, &m->topics[0]);
    if (m) {
        c->brokers = m->broker_cnt;
        rd_kafka_metadata_destroy(m);
    }
    return code;
}

/* ---- making it ---------------------------------------------------------------------------------------------- */

/* NULL: no answer in time, or it is to give up. */
static rd_kafka_event_t *await_admin(const struct checking *c, rd_kafka_queue_t *queue,
                                     rd_kafka_event_type_t type, int timeout_ms)
{
    uint64_t until = rt_mono_ms() + (uint64_t)timeout_ms;
    do {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, SLICE_MS);
        if (event && rd_kafka_event_type(event) == type)
            return event;
        if (event)
            rd_kafka_event_destroy(event);
    } while (rt_mono_ms() < until && left_ms(c) > 0);
    return NULL;
}

static rd_kafka_AdminOptions_t *admin_options(struct checking *c, rd_kafka_admin_op_t op)
{
    char text[128];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(c->rk, op);
    int ms = left_ms(c);
    if (options)
        (void)rd_kafka_AdminOptions_set_request_timeout(options, ms < 1000 ? 1000 : ms, text,
                                                        sizeof(text));
    return options;
}

static rd_kafka_NewTopic_t *describe_new(struct checking *c)
{
    char text[128] = "";
    int partitions = c->topic->partitions ? (int)c->topic->partitions : PARTITIONS;
    int replicas = c->brokers < 1 ? 1 : c->brokers > REPLICAS ? REPLICAS : c->brokers;
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(c->topic->name, partitions, replicas, text, sizeof(text));
    if (!topic) {
        snprintf(c->why, sizeof(c->why), "%s", text);
        return NULL;
    }
    (void)rd_kafka_NewTopic_set_config(topic, "min.insync.replicas", replicas > 2 ? "2" : "1");
    (void)rd_kafka_NewTopic_set_config(topic, "unclean.leader.election.enable", "false");
    return topic;
}

static bool is_silence(rd_kafka_resp_err_t e)
{
    return e == RD_KAFKA_RESP_ERR__TIMED_OUT || e == RD_KAFKA_RESP_ERR__TRANSPORT;
}

/* RT_OK made by us or by another node, RT_EAGAIN try again, RT_EPERM refused. */
static int read_created(struct checking *c, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t e = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const char *text = event ? rd_kafka_event_error_string(event) : rd_kafka_err2str(e);
    size_t count = 0;
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const rd_kafka_topic_result_t **topics =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
        e = count == 1 ? rd_kafka_topic_result_error(topics[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
        text = count == 1 ? rd_kafka_topic_result_error_string(topics[0]) : NULL;
    }
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
        rt_log(RT_LOG_INFO, "kafka", "the topic was made", rt_kv_c("topic", c->topic->name));
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR || e == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return RT_OK;
    snprintf(c->why, sizeof(c->why), "%s", text ? text : rd_kafka_err2str(e));
    bool passing =
        is_silence(e) || e == RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT ||
        e == RD_KAFKA_RESP_ERR_NOT_CONTROLLER ||
        e == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR; /* brokers are still joining */
    return passing ? RT_EAGAIN : RT_EPERM;
}

static int create(struct checking *c)
{
    rd_kafka_NewTopic_t *topic = describe_new(c);
    rd_kafka_AdminOptions_t *options = admin_options(c, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(c->rk);
    int code = RT_EPERM;
    if (topic && options) {
        rd_kafka_CreateTopics(c->rk, &topic, 1, options, queue);
        rd_kafka_event_t *event =
            await_admin(c, queue, RD_KAFKA_EVENT_CREATETOPICS_RESULT, left_ms(c) + 1);
        code = read_created(c, event);
        if (event)
            rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    if (options)
        rd_kafka_AdminOptions_destroy(options);
    if (topic)
        rd_kafka_NewTopic_destroy(topic);
    return code;
}

/* ---- is it safe? -------------------------------------------------------------------------------------------- */

static void weak(struct checking *c, const char *what, const char *promise)
{
    if (c->weak++ == 0)
        rt_err_set(&c->first, RT_EINVAL,
                   "topic \"%s\": %s, on which a promise rests (%s); kafka.require_safe_topic "
                   "refuses that",
                   c->topic->name, what, promise);
    if (!c->topic->require_safe)
        rt_log(RT_LOG_WARN, "kafka", "the topic is weaker than a promise needs",
               rt_kv_c("topic", c->topic->name), rt_kv_c("what", what),
               rt_kv_c("promise", promise));
}

static void check_config(struct checking *c, const char *name, const char *value)
{
    char text[160];
    uint64_t number;
    if (strcmp(name, "min.insync.replicas") == 0 && rt_str_to_u64(rt_str_c(value), &number) == 0) {
        snprintf(text, sizeof(text), "min.insync.replicas is %s, needed are 2 or more", value);
        if (number < 2)
            weak(c, text, "acknowledged means stored");
        else if ((int64_t)number >= c->replicas)
            weak(c,
                 "min.insync.replicas is not below the number of replicas: one lost broker "
                 "stops all publishing",
                 "it goes on");
    } else if (strcmp(name, "unclean.leader.election.enable") == 0 &&
               strcasecmp(value, "true") == 0) {
        weak(c, "unclean.leader.election.enable is true", "acknowledged means stored");
    } else if (strcmp(name, "cleanup.policy") == 0 && strstr(value, "compact")) {
        weak(c, "cleanup.policy has compact: of each channel only the last message would stay",
             "a gap is never silent");
    } else if (strcmp(name, "max.message.bytes") == 0 &&
               rt_str_to_u64(rt_str_c(value), &number) == 0) {
        c->max_batch = number;
    }
}

/* What is published is answered before a broker could refuse it for its size. */
static int check_size(const struct checking *c, struct rt_err *err)
{
    uint64_t needed = c->topic->message + RT_RECORD_NAMES;
    if (c->topic->message == 0 || c->max_batch == 0 || c->max_batch >= needed)
        return 0;
    return rt_err_set(err, RT_EINVAL,
                      "topic \"%s\": max.message.bytes is %llu, but limits.message is %llu, which "
                      "needs %llu or more (%u for names and headers): raise the one or lower the "
                      "other",
                      c->topic->name, (unsigned long long)c->max_batch,
                      (unsigned long long)c->topic->message, (unsigned long long)needed,
                      RT_RECORD_NAMES);
}

static void read_configs(struct checking *c, rd_kafka_event_t *event)
{
    size_t count = 0;
    const rd_kafka_ConfigResource_t **resources = NULL;
    rd_kafka_resp_err_t e = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (c->topic->require_safe && is_silence(e)) {
        c->silent = true;
        snprintf(c->why, sizeof(c->why), "%s", rd_kafka_err2str(e));
        return;
    }
    if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
        resources = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event), &count);
    if (count != 1 || rd_kafka_ConfigResource_error(resources[0]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        weak(c, "the cluster does not tell its settings", "acknowledged means stored");
        return;
    }
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &count);
    for (size_t i = 0; i < count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (value)
            check_config(c, rd_kafka_ConfigEntry_name(entries[i]), value);
    }
}

static void check_safety(struct checking *c)
{
    char text[80];
    int ms = c->topic->require_safe || left_ms(c) < SETTINGS_MS ? left_ms(c) + 1 : SETTINGS_MS;
    rd_kafka_AdminOptions_t *options = admin_options(c, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(c->rk);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, c->topic->name);
    if (c->replicas < 3) {
        snprintf(text, sizeof(text), "it has %d replica(s), needed are 3", c->replicas);
        weak(c, text, "acknowledged means stored");
    }
    if (options && resource) {
        rd_kafka_DescribeConfigs(c->rk, &resource, 1, options, queue);
        rd_kafka_event_t *event = await_admin(c, queue, RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT, ms);
        read_configs(c, event);
        if (event)
            rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    if (resource)
        rd_kafka_ConfigResource_destroy(resource);
    if (options)
        rd_kafka_AdminOptions_destroy(options);
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

static int find_or_create(struct checking *c, struct rt_err *err)
{
    for (;;) {
        int code = look(c);
        if (code == RT_OK)
            return 0;
        if (code == RT_ENOENT)
            code = create(c);
        if (code == RT_EPERM)
            return rt_err_set(err, RT_EPERM, "cannot make the topic \"%s\": %s", c->topic->name,
                              c->why);
        if (code == RT_EINVAL)
            return rt_err_set(err, RT_EINVAL, "kafka.topic: \"%s\" is no name of a topic",
                              c->topic->name);
        if (left_ms(c) == 0)
            return tell_silence(c, err);
        if (code == RT_EAGAIN) {
            pause_briefly(c);
            tell_missed(c);
        }
    }
}

int rt_kafka_topic_check(rd_kafka_t *rk, const struct rt_kafka_topic *topic,
                         struct rt_kafka_topic_answer *ret_answer, struct rt_err *err)
{
    struct checking c = {.rk = rk, .topic = topic, .deadline = UINT64_MAX};
    if (topic->timeout_ms != RT_KAFKA_FOR_EVER)
        c.deadline = rt_mono_ms() + (topic->timeout_ms ? topic->timeout_ms : TIMEOUT_MS);
    int code = find_or_create(&c, err);
    if (code < 0)
        return code;
    if (c.partitions > PARTITION_MAX)
        return rt_err_set(err, RT_EINVAL, "topic \"%s\" has %d partitions, allowed are %d",
                          topic->name, c.partitions, PARTITION_MAX);
    if (topic->partitions > 0 && c.partitions != (int)topic->partitions)
        rt_log(RT_LOG_INFO, "kafka",
               "the topic's number of partitions counts, not kafka.partitions",
               rt_kv_c("topic", topic->name), rt_kv_i64("partitions", c.partitions));
    check_safety(&c);
    if (c.weak > 0 && topic->require_safe) {
        if (err)
            *err = c.first;
        return RT_EINVAL;
    }
    if (c.silent)
        return tell_silence(&c, err);
    if ((code = check_size(&c, err)) < 0)
        return code;
    ret_answer->max_batch = c.max_batch;
    ret_answer->partitions = (uint32_t)c.partitions;
    ret_answer->asked_at = c.asked_at;
    return 0;
}
