/* GET /api/stream?channel=C[&since=OFFSET|EPOCH:OFFSET]: a channel as server-sent events (WHATWG HTML, "Server-sent events"), for backends, curl and
 * `rtbroker sub`.
 *
 * Each message is `id: EPOCH:OFFSET` (logged channels) and `data: {publication}`; a client that reconnects with Last-Event-ID goes on where it was.
 * Replay without a hole: the stream subscribes first. Then it reads the log after `since` page by page, as fast as its peer takes them. What comes
 * meanwhile is in the log too, so only what comes while the last page is read has to be held back; it is let go after that page, without what the page
 * has brought already. `event: gap` comes first when the log no longer reaches back to `since`. */
#include "admin/internal.h"

#include "base/alloc.h"
#include "base/codec.h"

#define PAGE       200    /* messages read from the log at once */
#define KEEP_ALIVE 15000u /* ms between comments on a silent stream */

static const char HEAD[] = "HTTP/1.1 200 OK\r\n"
                           "Content-Type: text/event-stream\r\n"
                           "Cache-Control: no-store\r\n"
                           "X-Accel-Buffering: no\r\n"
                           "Connection: close\r\n\r\n";

/* Live bytes that came while the log was being read. */
struct held {
    struct rt_list link;
    struct rt_bytes *bytes;
    uint32_t off, len;
};

struct stream {
    struct rt_client client;     /* first */
    struct rt_encoding encoding; /* its own: a message's id names the channel's epoch */
    struct rt_channel *channel;
    struct rt_admin *admin;
    struct rt_conn *conn; /* NULL: gone, but a read of the log is still out */
    struct rt_timer keep_alive;
    struct rt_list all; /* in admin->streams */
    struct rt_list held;
    size_t held_bytes;
    bool replaying; /* a page is being read, or waits for the peer to take the former */
    bool reading;
    struct rt_position position; /* where the next page begins */
    struct rt_timer next;        /* the next page */
    uint64_t last; /* highest offset sent by the replay; 0: everything that comes is new */
};

static void encode(const struct rt_encoding *self, const struct rt_message *m, struct rt_buf *out)
{
    const struct stream *s = RT_CONTAINER(self, const struct stream, encoding);
    if (m->offset > 0) {
        rt_buf_printf(out, "id: %s:", rt_channel_epoch(s->channel));
        rt_buf_add_u64(out, m->offset);
        rt_buf_add_byte(out, '\n');
    }
    rt_buf_add_c(out, "data: ");
    rt_admin_add_publication(out, m); /* JSON without line breaks */
    rt_buf_add_c(out, "\n\n");
}

/* The offset in the `id` line of a message; 0 without one. */
static uint64_t offset_of(struct rt_str message)
{
    uint64_t offset = 0;
    struct rt_str rest, line = rt_str_split(message, '\n', &rest);
    if (rt_str_starts(line, RT_STR("id: "))) {
        (void)rt_str_split(line, ':', &rest); /* behind "id" */
        (void)rt_str_split(rest, ':', &rest); /* behind the epoch */
        (void)rt_str_to_u64(rest, &offset);
    }
    return offset;
}

/* The length of the first message of a run. Its data has no line break, so the empty line ends it. */
static uint32_t first_length(const struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    const void *end = memmem(bytes->data + off, len, "\n\n", 2);
    return end ? (uint32_t)((const uint8_t *)end + 2 - (bytes->data + off)) : len;
}

/* Sends live bytes, but for messages that the replay has sent. */
static void send_live(struct stream *s, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    while (s->last > 0 && len > 0) {
        uint32_t one = first_length(bytes, off, len);
        uint64_t offset = offset_of(rt_str_of(bytes->data + off, one));
        if (offset > s->last) {
            s->last = 0; /* offsets rise: from here on everything is new */
            break;
        }
        if (offset == 0)
            break;
        off += one;
        len -= one;
    }
    if (len > 0)
        (void)rt_conn_send(s->conn, bytes, off, len);
}

static void deliver(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off, uint32_t len)
{
    struct stream *s = RT_CONTAINER(self, struct stream, client.subscriber);
    if (!s->replaying) {
        send_live(s, bytes, off, len);
        return;
    }
    if (!s->reading)
        return; /* it is in the log, and so in the next page */
    /* It comes back with Last-Event-ID. */
    if (s->held_bytes + len > s->admin->options.config->limits.send_queue) {
        rt_conn_close(s->conn, RT_CLOSE_SLOW);
        return;
    }
    struct held *h = rt_malloc(sizeof(*h));
    if (!h) {
        rt_conn_close(s->conn, RT_CLOSE_LOCAL);
        return;
    }
    s->held_bytes += len;
    *h = (struct held){.bytes = rt_bytes_ref(bytes), .off = off, .len = len};
    rt_list_push(&s->held, &h->link);
}

static bool writable(struct rt_subscriber *self)
{
    const struct stream *s = RT_CONTAINER(self, struct stream, client.subscriber);
    return !s->replaying && rt_conn_writable(s->conn);
}

static const struct rt_subscriber_ops SUBSCRIBER = {.deliver = deliver, .writable = writable};

static void let_go(struct stream *s, bool send)
{
    struct rt_list *node;
    while ((node = rt_list_pop(&s->held))) {
        struct held *h = RT_CONTAINER(node, struct held, link);
        if (send)
            send_live(s, h->bytes, h->off, h->len);
        rt_bytes_unref(h->bytes);
        rt_free(h);
    }
    s->held_bytes = 0;
}

static void beat(struct rt_timer *timer)
{
    struct stream *s = RT_CONTAINER(timer, struct stream, keep_alive);
    (void)rt_conn_send_copy(s->conn, ":\n\n", 3);
    rt_timer_start(s->admin->options.loop, timer, KEEP_ALIVE, beat);
}

static void free_if_done(struct stream *s)
{
    if (!s->conn && !s->reading)
        rt_free(s);
}

static void on_data(struct rt_conn *conn, void *user, uint8_t *data, size_t len)
{
    (void)conn;
    (void)user;
    (void)data;
    (void)len;
}

static void on_closed(struct rt_conn *conn, void *user, enum rt_close_reason reason)
{
    struct stream *s = user;
    (void)conn;
    (void)reason;
    rt_hub_remove(rt_broker_hub(s->admin->options.broker), &s->client.subscriber);
    rt_timer_stop(s->admin->options.loop, &s->keep_alive);
    rt_timer_stop(s->admin->options.loop, &s->next);
    let_go(s, false);
    rt_list_remove(&s->all);
    s->conn = NULL;
    free_if_done(s);
}

static void send_history(struct stream *s, const struct rt_history_result *r)
{
    struct rt_buf out = RT_BUF_INIT;
    if (r->status == 0) /* a channel object that has not seen a message yet */
        rt_channel_set_epoch(s->channel, r->top.epoch);
    if (r->gap || r->status == RT_ERANGE)
        rt_buf_add_c(&out, "event: gap\ndata: {\"reason\":\"the log no longer reaches back to "
                           "this position\"}\n\n");
    else if (r->status && r->status != RT_ENOENT)
        rt_conn_finish(s->conn);
    for (size_t i = 0; r->status == 0 && i < r->count; i++) {
        encode(&s->encoding, &r->messages[i]->m, &out);
        s->last = r->messages[i]->m.offset;
    }
    if (rt_buf_ok(&out) && out.len > 0)
        (void)rt_conn_send_copy(s->conn, out.data, out.len);
    else if (!rt_buf_ok(&out))
        rt_conn_close(s->conn, RT_CLOSE_LOCAL);
    rt_buf_deinit(&out);
}

static void replayed(void *arg, const struct rt_history_result *r);

static void read_page(struct rt_timer *timer)
{
    struct stream *s = RT_CONTAINER(timer, struct stream, next);
    struct rt_history query = {.channel = rt_channel_name(s->channel),
                               .has_since = true,
                               .since = s->position,
                               .limit = PAGE,
                               .done = replayed,
                               .arg = s};
    if (!rt_conn_writable(s->conn))
        return; /* on_drain comes */
    s->reading = true;
    rt_broker_history(s->admin->options.broker, &query);
}

static void on_drain(struct rt_conn *conn, void *user)
{
    struct stream *s = user;
    (void)conn;
    if (s->replaying && !s->reading)
        rt_timer_start(s->admin->options.loop, &s->next, 0, read_page);
}

static void replayed(void *arg, const struct rt_history_result *r)
{
    struct stream *s = arg;
    s->reading = false;
    if (s->conn)
        send_history(s, r);
    if (s->conn && r->status == 0 && r->more) {
        s->position.offset = s->last;
        memcpy(s->position.epoch, r->top.epoch, sizeof(s->position.epoch));
        let_go(s, false);
        rt_timer_start(s->admin->options.loop, &s->next, 0, read_page);
        return;
    }
    s->replaying = false;
    if (s->conn)
        let_go(s, true);
    free_if_done(s);
}

static const struct rt_conn_handler HANDLER = {
    .on_data = on_data, .on_closed = on_closed, .on_drain = on_drain};

/* "OFFSET" or "EPOCH:OFFSET". */
static int read_position(struct rt_str text, struct rt_position *ret_position)
{
    struct rt_str rest, epoch = rt_str_split(text, ':', &rest);
    struct rt_str offset = rest.ptr ? rest : epoch;
    *ret_position = (struct rt_position){.offset = 0};
    if (rest.ptr && epoch.len > RT_EPOCH_MAX)
        return RT_EINVAL;
    if (rest.ptr && epoch.len > 0)
        memcpy(ret_position->epoch, epoch.ptr, epoch.len);
    return rt_str_to_u64(offset, &ret_position->offset);
}

/* `since` of the query, or Last-Event-ID. RT_ENOENT: neither. */
static int read_since(const struct rt_http_request *req, struct rt_position *ret_position)
{
    struct rt_buf value = RT_BUF_INIT;
    int status = RT_ENOENT;
    struct rt_str last = rt_http_header(req, "last-event-id");
    if (last.len > 0)
        status = read_position(last, ret_position);
    else if (rt_http_query(req->query, "since", &value))
        status = read_position(rt_buf_str(&value), ret_position);
    rt_buf_deinit(&value);
    return status;
}

static void start(struct rt_admin *a, struct rt_http_request *req, struct rt_str channel,
                  const struct rt_position *since)
{
    struct rt_err err = {0};
    struct stream *s = rt_calloc(1, sizeof(*s));
    if (!s) {
        rt_http_error(req, 503, "out_of_memory", "out of memory", NULL);
        return;
    }
    s->admin = a;
    s->client.broker = a->options.broker;
    s->client.user = "";
    rt_list_init(&s->held);
    rt_list_init(&s->all);
    s->encoding.encode = encode;
    rt_subscriber_init(&s->client.subscriber, &SUBSCRIBER, &s->encoding);
    int status = rt_broker_subscribe(&s->client, channel, true, &err);
    s->channel = rt_hub_channel(rt_broker_hub(a->options.broker), channel, false);
    if (status) {
        rt_http_error(req, status == RT_ENOMEM || status == RT_EAGAIN ? 503 : 400, "bad_channel",
                      err.text, NULL);
        rt_free(s);
        return;
    }
    s->conn = rt_http_conn(req);
    rt_list_push(&a->streams, &s->all);
    (void)rt_conn_send_copy(s->conn, HEAD, sizeof(HEAD) - 1);
    rt_timer_start(a->options.loop, &s->keep_alive, KEEP_ALIVE, beat);
    const struct rt_channel_rule *rule = rt_broker_rule(a->options.broker, channel);
    if (since && rule && rule->log) {
        s->position = *since;
        s->replaying = true;
        rt_timer_start(a->options.loop, &s->next, 0, read_page);
    }
    rt_http_take_over(req, &HANDLER, s);
}

void rt_admin_handle_stream(struct rt_http_request *req, void *arg)
{
    struct rt_admin *a = arg;
    struct rt_buf channel = RT_BUF_INIT;
    struct rt_position since;
    if (req->method != RT_GET) {
        rt_http_error(req, 405, "method_not_allowed", "use GET", NULL);
        return;
    }
    if (!rt_admin_authorised(a, req))
        return;
    if (!a->options.serving(a->options.arg)) {
        rt_http_close_after(req);
        rt_http_error(req, 503, "shutting_down", "the broker is shutting down", NULL);
        return;
    }
    int status = read_since(req, &since);
    if (!rt_http_query(req->query, "channel", &channel) || channel.len == 0)
        rt_http_error(req, 400, "bad_request", "the query has no channel", NULL);
    else if (status != 0 && status != RT_ENOENT)
        rt_http_error(req, 400, "bad_request", "since must be OFFSET or EPOCH:OFFSET", NULL);
    else if (!rt_broker_rule(a->options.broker, rt_buf_str(&channel)))
        rt_http_error(req, 404, "unknown_channel", "no rule for this channel",
                      "add one to `channels` whose `match` fits");
    else if (rt_http_conn(req))
        start(a, req, rt_buf_str(&channel), status == 0 ? &since : NULL);
    else
        rt_http_abort(req);
    rt_buf_deinit(&channel);
}

bool rt_admin_close_stream(void *admin)
{
    struct rt_admin *a = admin;
    struct rt_list *node = rt_list_pop(&a->streams);
    if (!node)
        return false;
    struct stream *s = RT_CONTAINER(node, struct stream, all);
    rt_hub_catch_up(rt_broker_hub(a->options.broker), &s->client.subscriber);
    rt_conn_finish(s->conn);
    return true;
}
