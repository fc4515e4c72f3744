#include "journal/kafka_stuck.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

struct part {
    uint64_t since; /* monotonic ms; 0: it is not behind */
    int64_t offset;
    bool told;
};

/* The look at one record. */
struct peek {
    rd_kafka_t *rk; /* NULL: none is under way */
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    uint32_t partition;
};

struct rt_stuck {
    struct rt_kafka_conf conf;
    const char *topic;
    struct peek peek;
    uint32_t partitions; /* at least */
    struct part *parts;
};

/* ---- the look ------------------------------------------------------------------------------------------------ */

static void end_peek(struct peek *p)
{
    if (p->topic)
        (void)rd_kafka_consume_stop(p->topic, (int32_t)p->partition);
    if (p->queue)
        rd_kafka_queue_destroy(p->queue);
    if (p->topic)
        rd_kafka_topic_destroy(p->topic);
    if (p->rk)
        rd_kafka_destroy(p->rk);
    *p = (struct peek){.rk = NULL};
}

static rd_kafka_t *open_reader(const struct rt_stuck *s)
{
    char text[200];
    rd_kafka_conf_t *conf = NULL;
    if (rt_kafka_conf_make(&s->conf, RT_KAFKA_TAIL, false, &conf, NULL) < 0)
        return NULL;
    rd_kafka_t *rk = NULL;
    if (rd_kafka_conf_set(conf, "isolation.level", "read_uncommitted", text, sizeof(text)) ==
            RD_KAFKA_CONF_OK &&
        rd_kafka_conf_set(conf, "queued.min.messages", "1", text, sizeof(text)) == RD_KAFKA_CONF_OK)
        rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (!rk)
        rd_kafka_conf_destroy(conf);
    return rk;
}

static void begin_peek(struct rt_stuck *s, uint32_t partition, int64_t offset)
{
    struct peek *p = &s->peek;
    p->partition = partition;
    p->rk = open_reader(s);
    p->topic = p->rk ? rd_kafka_topic_new(p->rk, s->topic, NULL) : NULL;
    if (!p->topic)
        return;
    p->queue = rd_kafka_queue_new(p->rk);
    (void)rd_kafka_consume_start_queue(p->topic, (int32_t)partition, offset, p->queue);
}

/* The record at `offset`, once it is there. */
static rd_kafka_message_t *take_peek(struct peek *p, int64_t offset)
{
    rd_kafka_message_t *m = p->queue ? rd_kafka_consume_queue(p->queue, 0) : NULL;
    if (m && (m->err != RD_KAFKA_RESP_ERR_NO_ERROR || m->offset != offset)) {
        rd_kafka_message_destroy(m);
        m = NULL;
    }
    return m;
}

/* ---- partitions ---------------------------------------------------------------------------------------------- */

static void tell_began(const struct rt_stuck *s, uint32_t partition, const rd_kafka_message_t *m,
                       uint64_t age)
{
    int64_t offset = s->parts[partition].offset;
    char find[300];
    snprintf(find, sizeof(find),
             "kafka-transactions.sh --bootstrap-server %s describe-producers --topic %s "
             "--partition %u (or find-hanging; abort --start-offset %lld ends it)",
             s->conf.brokers, s->topic, partition, (long long)offset);
    rt_log(RT_LOG_ERROR, "kafka",
           "an open transaction of another program holds a partition back: what is stored behind "
           "it reaches nobody until it ends",
           rt_kv_u64("partition", partition), rt_kv_i64("offset", offset),
           rt_kv_u64("age_s", age / 1000),
           rt_kv_str("channel", m ? rt_str_of(m->key, m->key_len) : RT_STR("(not known)")),
           rt_kv_c("find", find));
}

static enum rt_stuck_change look_closer(struct rt_stuck *s, uint32_t partition, uint64_t age,
                                        uint64_t *ret_time)
{
    struct part *p = &s->parts[partition];
    if (!s->peek.rk)
        begin_peek(s, partition, p->offset);
    bool ours = s->peek.partition == partition;
    rd_kafka_message_t *m = ours ? take_peek(&s->peek, p->offset) : NULL;
    if (!m && age < RT_STUCK_LAST_MS)
        return RT_STUCK_SAME;
    int64_t time = m ? rd_kafka_message_timestamp(m, NULL) : 0;
    int64_t now = (int64_t)rt_wall_ms();
    tell_began(s, partition, m, time > 0 && time < now ? (uint64_t)(now - time) : age);
    if (m)
        rd_kafka_message_destroy(m);
    if (ours)
        end_peek(&s->peek);
    p->told = true;
    *ret_time = time > 0 ? (uint64_t)time : 0;
    return RT_STUCK_BEGAN;
}

enum rt_stuck_change rt_stuck_look(struct rt_stuck *s, uint32_t partition,
                                   const struct rt_stuck_place *place, uint64_t *ret_time)
{
    struct part *p = &s->parts[partition];
    uint64_t now = rt_mono_ms();
    bool behind = place->at_end && place->high > place->offset;
    if (behind && p->since > 0 && p->offset == place->offset) {
        uint64_t age = now - p->since;
        return p->told || age < RT_STUCK_MS ? RT_STUCK_SAME
                                            : look_closer(s, partition, age, ret_time);
    }
    bool told = p->told;
    if (told)
        rt_log(RT_LOG_INFO, "kafka", "a partition that a transaction held back is read on",
               rt_kv_u64("partition", partition), rt_kv_i64("from", p->offset));
    *p = (struct part){.since = behind ? now : 0, .offset = place->offset};
    if (s->peek.rk && s->peek.partition == partition)
        end_peek(&s->peek);
    return told ? RT_STUCK_ENDED : RT_STUCK_SAME;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

int rt_stuck_reset(struct rt_stuck *s, uint32_t partitions)
{
    uint32_t count = partitions > s->partitions ? partitions : s->partitions;
    struct part *parts = rt_reallocarray(s->parts, count, sizeof(*parts));
    if (!parts)
        return RT_ENOMEM;
    end_peek(&s->peek);
    memset(parts, 0, count * sizeof(*parts));
    s->parts = parts;
    s->partitions = count;
    return 0;
}

int rt_stuck_new(const struct rt_kafka_conf *conf, const char *topic, uint32_t partitions,
                 struct rt_stuck **ret_stuck, struct rt_err *err)
{
    struct rt_stuck *s = rt_calloc(1, sizeof(*s));
    if (!s)
        return rt_err_nomem(err);
    s->conf = *conf;
    s->topic = topic;
    if (rt_stuck_reset(s, partitions) < 0) {
        rt_stuck_free(s);
        return rt_err_nomem(err);
    }
    *ret_stuck = s;
    return 0;
}

void rt_stuck_free(struct rt_stuck *s)
{
    if (!s)
        return;
    end_peek(&s->peek);
    rt_free(s->parts);
    rt_free(s);
}
