#include "journal/kafka_conf.h"

#include <stdio.h>
#include <strings.h>

#include "base/log.h"
#include "journal/kafka.h"
#include "journal/record.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct setting {
    const char *name, *value;
};

static const struct setting common[] = {
    {"socket.keepalive.enable", "true"}, {"socket.nagle.disable", "true"},
    {"log.connection.close", "false"},   {"reconnect.backoff.max.ms", "1000"},
    {"client.id", "rtbroker"},           {"allow.auto.create.topics", "false"},
};

static const struct setting producer[] = {
    {"enable.idempotence", "true"},
    {"message.timeout.ms", "30000"},
    /* limits.message with names and headers; a batch of one such record is below a topic's default max.message.bytes (1,048,588). */
    {"message.max.bytes", "1040000"},
    {"queue.buffering.max.messages", "50000"},
    {"linger.ms", "0"},
    {"compression.type", "lz4"},
    {"delivery.report.only.error", "false"},
    /* Partitions that are added are known soon. */
    {"topic.metadata.refresh.interval.ms", "3000"},
};

/* The tail: nothing is committed, an offset that is gone is told, transactions that were aborted are not seen. */
static const struct setting tail[] = {
    {"auto.offset.reset", "error"},   {"enable.auto.commit", "false"},
    {"enable.partition.eof", "true"}, {"isolation.level", "read_committed"},
    {"fetch.wait.max.ms", "100"},     {"fetch.error.backoff.ms", "100"},
    {"queued.min.messages", "10000"}, {"queued.max.messages.kbytes", "8192"},
    {"check.crcs", "true"},           {"topic.metadata.refresh.interval.ms", "3000"},
};

/* A member of a group: offsets are committed by us, when the records are done. */
static const struct setting intake[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"enable.partition.eof", "true"},
    {"isolation.level", "read_committed"},
    {"fetch.wait.max.ms", "100"},
    {"fetch.error.backoff.ms", "100"},
    {"queued.min.messages", "1000"},
    {"queued.max.messages.kbytes", "8192"},
    {"check.crcs", "true"},
    {"partition.assignment.strategy", "range,roundrobin"},
    /* A topic that is made later is found within this time. */
    {"topic.metadata.refresh.interval.ms", "10000"},
    /* A node that died is replaced after this; closing waits for a commit that finds no broker no longer than this. */
    {"session.timeout.ms", "10000"},
};

static const char stored[] = "acknowledged means stored";
static const char order[] = "one order per channel";
static const char gap[] = "a gap is never silent";
static const char committed[] = "offsets are committed once the log has the records";

struct kept {
    const char *name, *value, *promise;
};

/* Names (aliases too) whose value is ours, and what rests on it. */
static const struct kept kept[] = {
    {"enable.idempotence", "true", stored},
    {"acks", "all", stored},
    {"acks", "-1", stored},
    {"request.required.acks", "-1", stored},
    {"request.required.acks", "all", stored},
    {"retries", "2147483647", stored},
    {"message.send.max.retries", "2147483647", stored},
    {"delivery.report.only.error", "false", stored},
    {"allow.auto.create.topics", "false", stored},
    {"transactional.id", "", stored},
    {"queuing.strategy", "fifo", order},
    {"isolation.level", "read_committed", order},
    {"auto.offset.reset", "error", gap},
    {"enable.partition.eof", "true", gap},
    {"enable.auto.commit", "false", gap},
    {"auto.commit.enable", "false", gap},
    {"offset.store.method", "broker", gap},
    {"group.id", "", gap},
    {"bootstrap.servers", NULL, "brokers are named in kafka.brokers"},
    {"metadata.broker.list", NULL, "brokers are named in kafka.brokers"},
    {"log.queue", "false", "log lines go to the broker's log"},
};

/* Of a member of a group, and of what it produces. */
static const struct kept kept_intake[] = {
    {"enable.auto.commit", "false", committed},
    {"auto.commit.enable", "false", committed},
    {"enable.auto.offset.store", "false", committed},
    {"offset.store.method", "broker", committed},
    {"enable.partition.eof", "true", committed},
    {"isolation.level", "read_committed", committed},
    {"partition.assignment.strategy", "range,roundrobin", committed},
    {"group.id", NULL, "groups are named in kafka.consume[].group"},
    {"auto.offset.reset", NULL, "where to begin is told in kafka.consume[].from"},
    {"bootstrap.servers", NULL, "brokers are named in kafka.brokers and kafka.consume[].brokers"},
    {"metadata.broker.list", NULL,
     "brokers are named in kafka.brokers and kafka.consume[].brokers"},
    {"log.queue", "false", "log lines go to the broker's log"},
};

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    /* Settings of the other role are none of its business, but are given to both. */
    enum rt_log_level to = level <= 2   ? RT_LOG_ERROR
                           : level <= 4 ? RT_LOG_WARN
                           : level == 5 ? RT_LOG_INFO
                                        : RT_LOG_DEBUG;
    if (strcmp(facility, "CONFWARN") == 0)
        to = RT_LOG_DEBUG;
    rt_log(to, "kafka", "librdkafka", rt_kv_c("facility", facility), rt_kv_c("text", text));
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct rt_err *err)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return 0;
    return rt_err_set(err, RT_EINVAL, "kafka.conf: %s", text);
}

static int set_all(rd_kafka_conf_t *conf, const struct setting *settings, size_t count,
                   struct rt_err *err)
{
    for (size_t i = 0; i < count; i++) {
        int code = set(conf, settings[i].name, settings[i].value, err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* The promise that keeps a setting from being taken; NULL: it may be. */
static const char *promise_of(enum rt_kafka_role role, const char *name, const char *value)
{
    const struct kept *rows = role == RT_KAFKA_INTAKE ? kept_intake : kept;
    size_t count = role == RT_KAFKA_INTAKE ? COUNT(kept_intake) : COUNT(kept);
    const char *promise = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        promise = rows[i].promise;
        if (rows[i].value && strcasecmp(rows[i].value, value) == 0)
            return NULL;
    }
    return promise;
}

static int set_given(rd_kafka_conf_t *conf, enum rt_kafka_role role, const char *text, bool warn,
                     struct rt_err *err)
{
    char name[128];
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof(name))
        return rt_err_set(err, RT_EINVAL, "kafka.conf: \"%.60s\" is not NAME=VALUE", text);
    memcpy(name, text, (size_t)(equals - text));
    name[equals - text] = '\0';
    const char *promise = promise_of(role, name, equals + 1);
    if (!promise)
        return set(conf, name, equals + 1, err);
    if (warn)
        rt_log(RT_LOG_WARN, "kafka",
               "a setting of kafka.conf is not taken: a promise rests on ours",
               rt_kv_c("setting", name), rt_kv_c("promise", promise));
    return 0;
}

static int set_queue(rd_kafka_conf_t *conf, size_t bytes, struct rt_err *err)
{
    char text[24];
    size_t kbytes = bytes ? (bytes + 1023) / 1024 : 65536;
    snprintf(text, sizeof(text), "%zu", kbytes > 2097151 ? (size_t)2097151 : kbytes);
    return set(conf, "queue.buffering.max.kbytes", text, err);
}

static int fill(rd_kafka_conf_t *conf, const struct rt_kafka_conf *c, enum rt_kafka_role role,
                bool warn, struct rt_err *err)
{
    int code = set_all(conf, common, COUNT(common), err);
    if (code == 0)
        code = role == RT_KAFKA_PRODUCER ? set_all(conf, producer, COUNT(producer), err)
               : role == RT_KAFKA_TAIL   ? set_all(conf, tail, COUNT(tail), err)
                                         : set_all(conf, intake, COUNT(intake), err);
    if (code == 0 && role == RT_KAFKA_PRODUCER)
        code = set_queue(conf, c->queue_bytes, err);
    for (size_t i = 0; code == 0 && c->conf && i < c->conf->count; i++)
        code = set_given(conf, role, c->conf->items[i], warn, err);
    for (size_t i = 0; code == 0 && c->more && i < c->more->count; i++)
        code = set_given(conf, role, c->more->items[i], warn, err);
    return code == 0 && c->brokers ? set(conf, "bootstrap.servers", c->brokers, err) : code;
}

int rt_kafka_conf_make(const struct rt_kafka_conf *c, enum rt_kafka_role role, bool warn,
                       rd_kafka_conf_t **ret_conf, struct rt_err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int code = fill(conf, c, role, warn, err);
    if (code < 0) {
        rd_kafka_conf_destroy(conf);
        return code;
    }
    rd_kafka_conf_set_log_cb(conf, on_log);
    *ret_conf = conf;
    return 0;
}

/* ---- asking without connecting ---- */

/* Settings that do not go together, files that are missing: known once a handle is made. Without the addresses of brokers it stays alone. */
static int try_handle(const struct rt_kafka_conf *c, enum rt_kafka_role role, struct rt_err *err)
{
    char text[256] = "";
    rd_kafka_conf_t *conf = NULL;
    int code = rt_kafka_conf_make(c, role, false, &conf, err);
    if (code == 0 && role == RT_KAFKA_INTAKE)
        code = set(conf, "group.id", "check", err);
    if (code < 0) {
        if (conf)
            rd_kafka_conf_destroy(conf);
        return code;
    }
    rd_kafka_conf_set_log_cb(conf, NULL); /* what it has to say is in `text` */
    rd_kafka_t *rk = rd_kafka_new(role == RT_KAFKA_PRODUCER ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER,
                                  conf, text, sizeof(text));
    if (rk) {
        rd_kafka_destroy(rk);
        return 0;
    }
    rd_kafka_conf_destroy(conf);
    return rt_err_set(err, RT_EINVAL, "kafka.conf: %s", text);
}

/* The first setting that librdkafka does not take, or conf->count. */
static size_t find_wrong(enum rt_kafka_role role, const struct rt_strings *conf, struct rt_err *err)
{
    rd_kafka_conf_t *scratch = rd_kafka_conf_new();
    size_t i = 0;
    while (i < conf->count && set_given(scratch, role, conf->items[i], false, err) == 0)
        i++;
    rd_kafka_conf_destroy(scratch);
    return i;
}

static int check_role(enum rt_kafka_role role, const struct rt_strings *base,
                      const struct rt_strings *conf, size_t *ret_index, struct rt_err *err)
{
    struct rt_kafka_conf c = {.conf = base, .more = conf};
    size_t i = find_wrong(role, conf, err);
    int code = i < conf->count ? RT_EINVAL : try_handle(&c, role, err);
    if (code < 0)
        *ret_index = i;
    return code;
}

int rt_kafka_check(const struct rt_strings *base, const struct rt_strings *conf, bool member,
                   size_t *ret_index, struct rt_err *err)
{
    /* What a member of a group cannot bury is produced, with settings of the same list. */
    int code = conf->count ? check_role(RT_KAFKA_PRODUCER, base, conf, ret_index, err) : 0;
    if (code == 0 && conf->count)
        code = check_role(member ? RT_KAFKA_INTAKE : RT_KAFKA_TAIL, base, conf, ret_index, err);
    return code;
}

uint64_t rt_kafka_conf_number(const rd_kafka_conf_t *conf, const char *name, uint64_t fallback)
{
    char text[32];
    size_t size = sizeof(text);
    uint64_t value;
    if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK ||
        rt_str_to_u64(rt_str_c(text), &value) < 0)
        return fallback;
    return value;
}

int rt_kafka_check_size(const struct rt_strings *conf, uint64_t message, struct rt_err *err)
{
    const struct rt_kafka_conf c = {.conf = conf};
    rd_kafka_conf_t *made = NULL;
    int code = rt_kafka_conf_make(&c, RT_KAFKA_PRODUCER, false, &made, err);
    if (code < 0)
        return code == RT_ENOMEM ? code : 0; /* rt_kafka_check() tells */
    uint64_t most = rt_kafka_conf_number(made, "message.max.bytes", 0);
    rd_kafka_conf_destroy(made);
    if (most >= message + RT_RECORD_NAMES)
        return 0;
    return rt_err_set(err, RT_EINVAL,
                      "limits.message is %llu, with Kafka allowed are %llu: kafka.conf has "
                      "message.max.bytes %llu, of which %u are for names and headers",
                      (unsigned long long)message,
                      (unsigned long long)(most > RT_RECORD_NAMES ? most - RT_RECORD_NAMES : 0),
                      (unsigned long long)most, RT_RECORD_NAMES);
}
