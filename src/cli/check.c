/* What the modules above conf/ refuse of a configuration. `serve` and `check` come through here, so that neither takes what the other one refuses. */
#include "cli/cli.h"

#include <stdio.h>

#include "cluster/redis_url.h"
#include "conf/check.h"
#include "conf/tree.h"
#include "journal/kafka.h"
#include "proto/socketio/socketio.h"
#include "store/store.h"

static int refuse(const struct rt_check *c, const struct rt_mark *mark, const char *what,
                  const struct rt_err *err)
{
    if (err->code == RT_ENOMEM)
        return RT_ENOMEM;
    rt_conf_error(c->errors, mark, "%s%s", what, err->text);
    return 0;
}

/* Whoever can write to Redis speaks for the log and to all clients. */
static void check_secret(const struct rt_check *c, const struct rt_redis_url *url)
{
    const struct rt_config *config = c->config;
    /* A file that cannot be read has been named already. */
    if (c->errors->count > 0 && rt_tree_at(c->root, RT_STR("cluster.secret_file")))
        return;
    if (config->cluster.secret[0] != '\0' || config->cluster.insecure || rt_redis_url_is_local(url))
        return;
    rt_conf_error(
        c->errors, rt_check_place(c, "cluster.secret"),
        "cluster.secret is missing: redis.url is on another machine (%s), and whoever can "
        "write to that Redis would speak to all clients and for the log; set the same "
        "secret on all nodes (cluster.secret_file), or cluster.insecure: true to accept it",
        url->host);
}

static int check_redis(const struct rt_check *c)
{
    struct rt_redis_url url;
    struct rt_err err = {0};
    const char *text = c->config->redis.url;
    if (text[0] == '\0')
        return 0;
    if (rt_redis_url_usable(rt_str_c(text), &url, &err))
        return refuse(c, rt_check_place(c, "redis.url"), "redis.url: ", &err);
    check_secret(c, &url);
    return 0;
}

/* Settings of one list; `path` is its own in the file. */
static int check_settings(const struct rt_check *c, const struct rt_strings *base,
                          const struct rt_strings *conf, bool intake, const char *path)
{
    size_t wrong = 0;
    struct rt_err err = {0};
    if (rt_kafka_check(base, conf, intake, &wrong, &err) == 0)
        return 0;
    const struct rt_mark *mark = rt_check_place(c, "%s", path);
    if (wrong >= conf->count)
        return refuse(c, mark, "", &err);
    struct rt_str value, name = rt_str_split(rt_str_c(conf->items[wrong]), '=', &value);
    const struct rt_node *map = rt_tree_at(c->root, rt_str_c(path));
    for (size_t i = 0; map && map->kind == RT_NODE_MAP && i < map->count; i++)
        if (rt_str_eq(map->keys[i]->text, name))
            mark = &map->keys[i]->mark;
    if (err.code != RT_ENOMEM)
        rt_conf_error(c->errors, mark, "%s (setting %.*s)", err.text, RT_STR_ARG(name));
    return err.code == RT_ENOMEM ? RT_ENOMEM : 0;
}

static int check_kafka_size(const struct rt_check *c)
{
    struct rt_err err = {0};
    const struct rt_config *config = c->config;
    if (rt_kafka_check_size(&config->kafka.conf, config->limits.message, &err) == 0)
        return 0;
    const struct rt_mark *mark = rt_check_place(c, "limits.message");
    return refuse(c, mark ? mark : rt_check_place(c, "kafka.conf"), "", &err);
}

static int check_kafka(const struct rt_check *c)
{
    const struct rt_config *config = c->config;
    int status = 0;
    if (config->kafka.brokers.count > 0)
        status = check_settings(c, NULL, &config->kafka.conf, false, "kafka.conf");
    if (status == 0 && config->kafka.brokers.count > 0)
        status = check_kafka_size(c);
    for (size_t i = 0; status == 0 && i < config->kafka.consume_count; i++) {
        const struct rt_consume_config *consume = &config->kafka.consume[i];
        char path[64];
        (void)snprintf(path, sizeof(path), "kafka.consume.%zu.conf", i);
        status = check_settings(c, consume->brokers.count ? NULL : &config->kafka.conf,
                                &consume->conf, true, path);
    }
    return status;
}

static int check_store(const struct rt_check *c)
{
    struct rt_err err = {0};
    const struct rt_config *config = c->config;
    if (config->postgres.url[0] == '\0' ||
        rt_store_check(config->postgres.url, config->postgres.schema, &err) == 0)
        return 0;
    bool schema = rt_str_starts(rt_str_c(err.text), RT_STR("postgres.schema"));
    return refuse(c, rt_check_place(c, "%s", schema ? "postgres.schema" : "postgres.url"), "",
                  &err);
}

int rt_cli_check_modules(const struct rt_check *c)
{
    int (*const checks[])(const struct rt_check *) = {check_redis, check_kafka, check_store,
                                                      rt_socketio_check};
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        if (checks[i](c) == RT_ENOMEM)
            return RT_ENOMEM;
    return 0;
}

int rt_cli_check_machine(const struct rt_check *c)
{
    struct rt_err err = {0};
    const struct rt_config *config = c->config;
    int status = rt_cli_check_modules(c);
    if (status == 0 && config->storage.path[0] != '\0' && config->kafka.brokers.count == 0 &&
        rt_journal_sqlite_check(config->storage.path, &err))
        status = refuse(c, rt_check_place(c, "storage.path"), "", &err);
    if (status == 0 && config->socketio.enabled && rt_socketio_check_files(config, &err))
        status = refuse(c, rt_check_place(c, "protocols.socketio.client_dir"), "", &err);
    return status;
}
