/* What the files of app/ share: the process as a whole. Not for other folders. */
#ifndef RT_APP_INTERNAL_H
#define RT_APP_INTERNAL_H

#include "admin/admin.h"
#include "admin/consume.h"
#include "app/app.h"
#include "cluster/cluster.h"
#include "journal/kafka.h"
#include "net/listener.h"
#include "proto/raw/raw.h"
#include "proto/socketio/socketio.h"
#include "store/store.h"
#include "worker/trimmer.h"

/* One way only: each stage begins when the former is through.
 *
 *     STARTING -> SERVING -> DRAINING_CLIENTS -> CLOSING_CONNECTIONS -> CLOSING_LOG -> STOPPED
 *         |  \                                                           ^          ^
 *         |   +-> INTERRUPTED: told to stop ---+-------------------------+          |
 *         +------ a start that fails ----------+-- there is no log yet -------------+
 */
enum stage {
    STARTING,
    INTERRUPTED,
    SERVING,
    DRAINING_CLIENTS,
    CLOSING_CONNECTIONS,
    CLOSING_LOG,
    STOPPED
};

struct rt_app {
    const struct rt_config *config;
    struct rt_metrics metrics;
    struct rt_loop *loop;
    struct rt_net *net;
    struct rt_broker *broker;
    struct rt_cluster *cluster; /* NULL: this node is alone */
    struct rt_store *store;     /* rows of the log; NULL: none */
    struct rt_journal *kafka;   /* the broker's journal, when that is Kafka; NULL otherwise */
    struct rt_buf brokers;      /* its addresses, joined by commas */
    struct rt_consume *consume; /* Kafka in; NULL: none */
    struct rt_http_server *http;
    struct rt_ws_pool *pool;
    struct rt_unfinished_set *unfinished;
    struct rt_socketio *socketio;
    struct rt_raw *raw;
    struct rt_admin *admin;
    struct rt_trimmer *trimmer;
    struct rt_listener *listeners[RT_CONF_LISTENERS];
    size_t listener_count;
    enum stage stage;
    int draining;          /* protocols that have not reported yet */
    struct rt_timer timer; /* deadline of the stage, or its next look */
    uint64_t deadline;
    int exit_code;
    char name_taken[256]; /* "" nobody else has this node's name */
    char awaited[256];    /* what keeps the log from being opened, "" nothing is known */
};

/* start.c. Opens everything, up to listening; what was opened before a failure stays for rt_app_free(). */
int rt_app_start(struct rt_app *app, struct rt_err *err);

#endif
