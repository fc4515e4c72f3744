/* Rows per second of the sink, and beside it of a bare writer: INSERT .. SELECT unnest(..) of 1,000 rows a transaction into the same table, from memory.
 *
 *     sinkbench BROKERS POSTGRES_URL [RECORDS]
 *
 * Makes a topic of 16 partitions and the schema "sinkbench". Both write 200 bytes of data a row. */
#include <librdkafka/rdkafka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "store/pg.h"
#include "store/schema.h"
#include "store/sink.h"

#define PARTS 16
#define SIZE  200
#define ROWS  1000

#define WATCH_NS 20000000ULL

static void die(const char *what, const char *why)
{
    fprintf(stderr, "sinkbench: %s: %s\n", what, why);
    exit(1);
}

static void make_topic(rd_kafka_t *rk, const char *topic)
{
    char text[200];
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, PARTS, 1, text, sizeof(text));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &t, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 30000);
    if (!event || rd_kafka_event_error(event))
        die("topic", event ? rd_kafka_event_error_string(event) : "no answer");
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(t);
}

static void send_one(rd_kafka_t *rk, const char *topic, long i)
{
    char data[SIZE + 1], id[RT_UUID_LEN + 1], time[24], key[32];
    uint8_t uuid[16];
    rt_uuid7(rt_wall_ms(), uuid);
    rt_uuid_format(uuid, id);
    snprintf(time, sizeof(time), "%" PRIu64, rt_wall_ms());
    snprintf(key, sizeof(key), "room-%ld", i % 1000);
    snprintf(data, sizeof(data), "\"%0*ld\"", SIZE - 2, i);
    for (;;) {
        rd_kafka_headers_t *h = rd_kafka_headers_new(4);
        rd_kafka_header_add(h, "rt-id", -1, id, -1);
        rd_kafka_header_add(h, "rt-time", -1, time, -1);
        rd_kafka_header_add(h, "rt-kind", -1, "json", -1);
        rd_kafka_header_add(h, "rt-epoch", -1, "BBBBBBBBBB@0", -1);
        rd_kafka_resp_err_t e = rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION((int32_t)(i % PARTS)),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, strlen(key)),
            RD_KAFKA_V_VALUE(data, SIZE), RD_KAFKA_V_HEADERS(h), RD_KAFKA_V_END);
        if (e == RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        rd_kafka_headers_destroy(h);
        if (e != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("produce", rd_kafka_err2str(e));
        rd_kafka_poll(rk, 10);
    }
}

static void fill_topic(const char *brokers, const char *topic, long records)
{
    char text[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text)) ||
        rd_kafka_conf_set(conf, "compression.type", "lz4", text, sizeof(text)))
        die("kafka", text);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (!rk)
        die("kafka", text);
    make_topic(rk, topic);
    for (long i = 0; i < records; i++)
        send_one(rk, topic, i);
    if (rd_kafka_flush(rk, 60000))
        die("kafka", "records are not delivered");
    rd_kafka_destroy(rk);
}

static struct rt_pg *connect_postgres(const char *url)
{
    struct rt_err err = {0};
    struct rt_pg *pg;
    const struct rt_pg_options options = {.url = url};
    if (rt_pg_connect(&options, &pg, NULL, &err) < 0)
        die("postgres", err.text);
    return pg;
}

/* Records of the topic that are committed rows. Asked of the database: the sink's own count comes once a second. 0 while there are no tables yet. */
static uint64_t stored(struct rt_pg *pg, const char *topic)
{
    char sql[200];
    struct rt_err err = {0};
    PGresult *result;
    snprintf(sql, sizeof(sql),
             "SELECT coalesce(sum(next), 0)::text FROM sinkbench.progress WHERE topic = '%s'",
             topic);
    if (rt_pg_exec(pg, sql, NULL, 10000, &result, &err) < 0) {
        if (!rt_pg_usable(pg))
            die("postgres", err.text);
        return 0;
    }
    uint64_t value = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return value;
}

/* Turns the loop for a while, then asks. */
static uint64_t watch(struct rt_loop *loop, struct rt_pg *pg, const char *topic)
{
    for (uint64_t end = rt_mono_ns() + WATCH_NS; rt_mono_ns() < end;)
        rt_loop_turn(loop, 5);
    return stored(pg, topic);
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

static double run_sink(const char *brokers, const char *url, const char *topic, long records)
{
    struct rt_loop *loop;
    struct rt_sink *sink;
    struct rt_err err = {0};
    bool closed = false;
    if (rt_loop_new(&loop, &err) < 0)
        die("loop", err.text);
    const struct rt_sink_options options = {.loop = loop,
                                            .url = url,
                                            .schema = "sinkbench",
                                            .node = "bench",
                                            .brokers = brokers,
                                            .topic = topic,
                                            .partitions = PARTS,
                                            .batch_linger = 20,
                                            .idempotency_window = 600000};
    if (rt_sink_new(&options, &sink, &err) < 0)
        die("sink", err.text);
    /* From the first rows on: until then it takes over its partitions. */
    struct rt_pg *pg = connect_postgres(url);
    uint64_t first = 0, now = 0;
    while (first == 0)
        first = watch(loop, pg, topic);
    uint64_t begin = rt_mono_ns();
    while (now < (uint64_t)records)
        now = watch(loop, pg, topic);
    double seconds = (double)(rt_mono_ns() - begin) / 1e9;
    rt_pg_free(pg);
    rt_sink_close(sink, on_closed, &closed);
    while (!closed)
        rt_loop_turn(loop, 5);
    rt_sink_free(sink);
    rt_loop_turn(loop, 0);
    rt_loop_free(loop);
    return ((double)records - (double)first) / seconds;
}

static const char BARE[] =
    "INSERT INTO {schema}.message (epoch, \"offset\", time, channel, id, kind, flags, data) SELECT * FROM "
    "unnest($1::text[], $2::int8[], $3::timestamptz[], $4::text[], $5::uuid[], $6::int2[], $7::int2[], "
    "$8::bytea[]) ON CONFLICT DO NOTHING";

static void fill_arrays(struct rt_pg_array a[8], long from)
{
    char data[SIZE + 1], channel[32];
    uint8_t uuid[16];
    for (int i = 0; i < 8; i++)
        rt_pg_array_clear(&a[i]);
    for (long i = from; i < from + ROWS; i++) {
        snprintf(data, sizeof(data), "\"%0*ld\"", SIZE - 2, i);
        snprintf(channel, sizeof(channel), "room-%ld", i % 1000);
        rt_uuid7(rt_wall_ms(), uuid);
        rt_pg_array_add(&a[0], RT_STR("CCCCCCCCCC.0"));
        rt_pg_array_add_i64(&a[1], i + 1);
        rt_pg_array_add_time(&a[2], rt_wall_ms());
        rt_pg_array_add(&a[3], rt_str_c(channel));
        rt_pg_array_add(&a[4], rt_str_of(uuid, sizeof(uuid)));
        rt_pg_array_add_i16(&a[5], 0);
        rt_pg_array_add_i16(&a[6], 0);
        rt_pg_array_add(&a[7], rt_str_of(data, SIZE));
    }
}

/* Both begin with an empty table. */
static void empty_table(struct rt_pg *pg)
{
    struct rt_err err = {0};
    struct rt_buf sql = RT_BUF_INIT;
    rt_schema_sql(&sql, "TRUNCATE {schema}.message", "sinkbench");
    if (rt_pg_run(pg, rt_buf_cstr(&sql), 30000, &err) < 0)
        die("truncate", err.text);
    rt_buf_deinit(&sql);
}

static double run_bare(const char *url, long records)
{
    static const enum rt_pg_type types[8] = {RT_PG_TEXT, RT_PG_INT8, RT_PG_TIMESTAMPTZ,
                                             RT_PG_TEXT, RT_PG_UUID, RT_PG_INT2,
                                             RT_PG_INT2, RT_PG_BYTEA};
    struct rt_err err = {0};
    struct rt_pg *pg = connect_postgres(url);
    struct rt_pg_array a[8];
    struct rt_buf sql = RT_BUF_INIT;
    empty_table(pg);
    rt_schema_sql(&sql, BARE, "sinkbench");
    if (rt_pg_prepare(pg, "bare", rt_buf_cstr(&sql), 10000, &err) < 0)
        die("prepare", err.text);
    for (int i = 0; i < 8; i++)
        rt_pg_array_init(&a[i], types[i]);
    uint64_t begin = rt_mono_ns();
    for (long done = 0; done < records; done += ROWS) {
        struct rt_pg_params params;
        fill_arrays(a, done);
        rt_pg_params_init(&params);
        for (int i = 0; i < 8; i++)
            rt_pg_add_array(&params, &a[i]);
        if (rt_pg_exec_prepared(pg, "bare", &params, 30000, NULL, &err) < 0)
            die("bare", err.text);
    }
    double rate = (double)records / ((double)(rt_mono_ns() - begin) / 1e9);
    for (int i = 0; i < 8; i++)
        rt_pg_array_deinit(&a[i]);
    rt_buf_deinit(&sql);
    rt_pg_free(pg);
    return rate;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage", "sinkbench BROKERS POSTGRES_URL [RECORDS]");
    char topic[64];
    long records = argc > 3 ? strtol(argv[3], NULL, 10) : 300000;
    records -= records % ROWS;
    rt_log_setup(RT_LOG_WARN, RT_LOG_TEXT, "sinkbench");
    snprintf(topic, sizeof(topic), "sinkbench-%" PRIu64, rt_wall_ms());
    fill_topic(argv[1], topic, records);
    double sink = run_sink(argv[1], argv[2], topic, records);
    double bare = run_bare(argv[2], records);
    printf("rows of %d bytes, %ld: sink %.0f rows/s, bare unnest %.0f rows/s, %.0f %%\n", SIZE,
           records, sink, bare, 100 * sink / bare);
    return 0;
}
