/* The server API: publish, history, channels, info. See admin.h. */
#include "admin/internal.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/utf8.h"
#include "json/envelope.h"
#include "version.h"

#define CHANNELS_MAX 10000u /* channels listed in one answer */

static const char JSON[] = "application/json";
const char *const rt_admin_payloads[] = {"data", NULL};

static void respond(struct rt_admin *a, struct rt_http_request *req, struct rt_buf *body)
{
    if (rt_buf_ok(body)) {
        a->metrics.api_ok.value++;
        rt_http_respond(req, 200, JSON, RT_STR_NONE, rt_buf_str(body));
    } else {
        a->metrics.api_failed.value++;
        rt_http_error(req, 500, "out_of_memory", "out of memory", NULL);
    }
    rt_buf_deinit(body);
}

static void refuse(struct rt_admin *a, struct rt_http_request *req, int status, const char *code,
                   const char *text)
{
    if (status >= 500)
        a->metrics.api_failed.value++;
    else
        a->metrics.api_refused.value++;
    rt_http_error(req, status, code, text, NULL);
}

/* An error in the one shape, with header lines of its own. */
static void refuse_with(struct rt_http_request *req, int status, struct rt_str headers,
                        const char *code, const char *text)
{
    struct rt_buf body = RT_BUF_INIT;
    rt_buf_printf(&body, "{\"code\":\"%s\",\"message\":", code);
    rt_json_add_string(&body, rt_str_c(text));
    rt_buf_printf(&body, ",\"request_id\":\"%s\"}", rt_http_request_id(req));
    if (rt_buf_ok(&body))
        rt_http_respond(req, status, JSON, headers, rt_buf_str(&body));
    else
        rt_http_abort(req);
    rt_buf_deinit(&body);
}

/* Certainly not stored: the caller may send it again in a moment. */
static void refuse_retry(struct rt_admin *a, struct rt_http_request *req, const char *text)
{
    a->metrics.api_failed.value++;
    refuse_with(req, 503, RT_STR("Retry-After: 1\r\n"), "retry", text);
}

/* The status and code word of an error of ours. */
static void refuse_err(struct rt_admin *a, struct rt_http_request *req, int code, const char *text)
{
    switch (code) {
    case RT_ENOENT:
        refuse(a, req, 404, "unknown_channel", text);
        break;
    case RT_EPERM:
        refuse(a, req, 403, "permission_denied", text);
        break;
    case RT_ERANGE:
        refuse(a, req, 413, "limit_exceeded", text);
        break;
    case RT_EINVAL:
        refuse(a, req, 400, "bad_request", text);
        break;
    default:
        refuse(a, req, 500, "internal", text);
        break;
    }
}

static struct rt_str offered_key(const struct rt_http_request *req)
{
    struct rt_str key = rt_http_header(req, "x-api-key");
    if (key.ptr)
        return key;
    struct rt_str authorization = rt_http_header(req, "authorization");
    struct rt_str scheme = rt_str_split(authorization, ' ', &key);
    return rt_str_eq_nocase(scheme, RT_STR("apikey")) ? rt_str_trim(key) : RT_STR_NONE;
}

/* Answers and returns false when the request has no right to be here. */
bool rt_admin_authorised(struct rt_admin *a, struct rt_http_request *req)
{
    const struct rt_config *config = a->options.config;
    if (config->api.key_count == 0) {
        if (config->dev)
            return !rt_admin_refuses_page(a, req); /* a browser would ask for any page */
        a->metrics.api_refused.value++;
        rt_http_error(req, 403, "api_closed", "the server API has no key",
                      "set api.keys to [{name: backend, key_file: ...}]");
        return false;
    }
    struct rt_str key = offered_key(req);
    bool known = false;
    for (size_t i = 0; i < config->api.key_count; i++)
        known |= key.ptr && rt_str_eq_secret(key, rt_str_c(config->api.keys[i].key));
    if (!known) {
        struct rt_metric *count = key.ptr ? &a->metrics.keys_unknown : &a->metrics.keys_missing;
        count->value++;
        rt_log(RT_LOG_WARN, "api", "a call without a valid key was refused",
               rt_kv_c("peer", req->remote), rt_kv_c("key", key.ptr ? "unknown" : "missing"));
        a->metrics.api_refused.value++;
        rt_http_error(req, 401, "unauthorized", "the API key is missing or unknown",
                      "send one of api.keys as X-API-Key");
    }
    return known;
}

/* Who has no right does not get to send a body. */
static bool check_key(struct rt_http_request *req, void *arg)
{
    return req->method != RT_POST || rt_admin_authorised(arg, req);
}

/* The name that idempotency keys of this caller count under: "api:" and that of its key. */
static struct rt_str caller(const struct rt_admin *a, const struct rt_http_request *req,
                            struct rt_buf *out)
{
    const struct rt_config *config = a->options.config;
    struct rt_str key = offered_key(req);
    rt_buf_add_c(out, "api:");
    for (size_t i = 0; i < config->api.key_count; i++)
        if (key.ptr && rt_str_eq_secret(key, rt_str_c(config->api.keys[i].key)))
            rt_buf_add_c(out, config->api.keys[i].name);
    return rt_buf_str(out);
}

/* Method, key and body of a call, with the members that are payloads. NULL: answered. */
static struct rt_envelope *open_call(struct rt_admin *a, struct rt_http_request *req,
                                     const char *const *payloads)
{
    struct rt_envelope *e = NULL;
    struct rt_err err = {0};
    if (req->method != RT_POST) {
        a->metrics.api_refused.value++;
        refuse_with(req, 405, RT_STR("Allow: POST\r\n"), "method_not_allowed", "use POST");
        return NULL;
    }
    if (!rt_admin_authorised(a, req))
        return NULL;
    struct rt_str body = req->body.len > 0 ? req->body : RT_STR("{}");
    int status = rt_envelope_parse(body, payloads, &e, &err);
    if (status) {
        refuse_err(a, req, status, err.text);
        return NULL;
    }
    return e;
}

/* All fields have been read: was one of them wrong or unknown? */
static int check_fields(struct rt_envelope *e, struct rt_err *err)
{
    int status = rt_envelope_error(e, err);
    struct rt_str unread = rt_envelope_unread(e);
    if (status == 0 && unread.ptr)
        status = rt_err_set(err, RT_EINVAL, "unknown field \"%.*s\"", RT_STR_ARG(unread));
    return status;
}

/* The same of a request; answers and frees the envelope then. */
static bool close_call(struct rt_admin *a, struct rt_http_request *req, struct rt_envelope *e)
{
    struct rt_err err = {0};
    int status = check_fields(e, &err);
    if (status == 0)
        return true;
    refuse_err(a, req, status, err.text);
    rt_envelope_free(e);
    return false;
}

/* ---- publish ---- */

struct publishing {
    struct rt_admin *admin;
    struct rt_http_request *req; /* stays valid until answered, also when the peer is gone */
};

/* Without the heap: what is stored is not answered with an error for want of memory. */
static void answer_stored(struct rt_admin *a, struct rt_http_request *req,
                          const struct rt_publish_result *r)
{
    char text[160] = "{\"result\":{}}";
    if (r->logged)
        (void)snprintf(text, sizeof(text), "{\"result\":{\"offset\":%llu,\"epoch\":\"%s\"%s}}",
                       (unsigned long long)r->position.offset, r->position.epoch,
                       r->duplicate ? ",\"duplicate\":true" : "");
    a->metrics.api_ok.value++;
    rt_http_respond(req, 200, JSON, RT_STR_NONE, rt_str_c(text));
}

static void answer_publish(struct rt_admin *a, struct rt_http_request *req,
                           const struct rt_publish_result *r)
{
    switch (r->status) {
    case RT_PUBLISH_OK:
        answer_stored(a, req, r);
        break;
    case RT_PUBLISH_LIMITED: /* clients only */
    case RT_PUBLISH_RETRY:
        refuse_retry(a, req, r->text);
        break;
    case RT_PUBLISH_UNKNOWN:
        a->metrics.api_failed.value++;
        rt_http_error(req, 504, "unknown", r->text,
                      "it may be stored; send it again with the same idempotency_key");
        break;
    case RT_PUBLISH_REFUSED:
        refuse_err(a, req, r->code, r->text);
        break;
    }
}

static void published(void *arg, const struct rt_publish_result *result)
{
    struct publishing *p = arg;
    answer_publish(p->admin, p->req, result);
    rt_free(p);
}

/* Payload: `data` (JSON), or `b64data` (bytes). `bytes` holds the decoded ones. */
static int read_payload(struct rt_envelope *e, struct rt_message *m, struct rt_buf *bytes,
                        struct rt_err *err)
{
    struct rt_str data = rt_envelope_raw(e, "data");
    struct rt_str encoded = rt_envelope_str(e, "b64data");
    if ((data.ptr != NULL) == (encoded.ptr != NULL))
        return rt_err_set(err, RT_EINVAL, "give either `data` (JSON) or `b64data` (base64)");
    if (data.ptr) {
        m->kind = RT_KIND_JSON;
        rt_json_add_compact(bytes, data);
    } else {
        m->kind = RT_KIND_BYTES;
        if (rt_base64_decode(bytes, encoded))
            return rt_err_set(err, RT_EINVAL, "field b64data is no base64");
    }
    m->data = rt_buf_str(bytes);
    return rt_buf_ok(bytes) ? 0 : rt_err_nomem(err);
}

static void publish(struct rt_admin *a, struct rt_http_request *req, const struct rt_publish *p)
{
    struct rt_publish_result result;
    struct publishing *waiting = rt_malloc(sizeof(*waiting));
    if (!waiting) {
        refuse_retry(a, req, "out of memory");
        return;
    }
    *waiting = (struct publishing){.admin = a, .req = req};
    struct rt_publish with = *p;
    with.done = published;
    with.arg = waiting;
    if (rt_broker_publish(a->options.broker, &with, &result) == RT_PENDING)
        return;
    answer_publish(a, req, &result);
    rt_free(waiting);
}

int rt_admin_read_publish(struct rt_envelope *e, struct rt_publish *p, struct rt_buf *bytes,
                          struct rt_err *err)
{
    struct rt_err payload = {0};
    p->channel = rt_envelope_str(e, "channel");
    p->message->event = rt_envelope_str(e, "event");
    p->message->key = rt_envelope_str(e, "idempotency_key");
    int wrong = read_payload(e, p->message, bytes, &payload);
    int status = check_fields(e, err);
    if (status == 0 && wrong)
        status = rt_err_set(err, wrong, "%s", payload.text);
    return status;
}

static void handle_publish(struct rt_http_request *req, void *arg)
{
    struct rt_admin *a = arg;
    struct rt_envelope *e = open_call(a, req, rt_admin_payloads);
    if (!e)
        return;
    struct rt_err err = {0};
    struct rt_buf bytes = RT_BUF_INIT, name = RT_BUF_INIT;
    struct rt_message m = {.publisher = caller(a, req, &name)};
    struct rt_publish p = {.message = &m, .trusted = true, .api = true};
    int status = rt_admin_read_publish(e, &p, &bytes, &err);
    if (status == RT_ENOMEM || !rt_buf_ok(&name))
        refuse_retry(a, req, "out of memory");
    else if (status)
        refuse_err(a, req, status, err.text);
    else if (rt_broker_congested(a->options.broker))
        refuse_retry(a, req, "the log cannot keep up, nothing was stored");
    else
        publish(a, req, &p);
    rt_envelope_free(e);
    rt_buf_deinit(&bytes);
    rt_buf_deinit(&name);
}

/* ---- history ---- */

static void answer_history(void *arg, const struct rt_history_result *r)
{
    struct publishing *p = arg;
    struct rt_admin *a = p->admin;
    struct rt_http_request *req = p->req;
    rt_free(p);
    if (r->status == RT_ERANGE) {
        refuse(a, req, 416, "unrecoverable_position", r->text);
        return;
    }
    if (r->status) {
        refuse_err(a, req, r->status, r->text);
        return;
    }
    struct rt_buf body = RT_BUF_INIT;
    rt_buf_add_c(&body, "{\"result\":{\"publications\":[");
    for (size_t i = 0; i < r->count; i++) {
        if (i > 0)
            rt_buf_add_byte(&body, ',');
        rt_admin_add_publication(&body, &r->messages[i]->m);
    }
    rt_buf_printf(&body, "],\"epoch\":\"%s\",\"offset\":%llu", r->top.epoch,
                  (unsigned long long)r->top.offset);
    rt_buf_add_c(&body, r->gap ? ",\"gap\":true}}" : "}}");
    respond(a, req, &body);
}

static int read_since(struct rt_envelope *e, struct rt_history *q, struct rt_err *err)
{
    struct rt_envelope *since = rt_envelope_object(e, "since");
    q->time = rt_envelope_u64(e, "since_time", UINT64_MAX);
    q->by_time = q->time != UINT64_MAX; /* which it cannot be */
    if (since && q->by_time)
        return rt_err_set(err, RT_EINVAL, "give either `since` (a position) or `since_time`");
    if (!since)
        return 0;
    q->has_since = true;
    q->since.offset = rt_envelope_u64(since, "offset", 0);
    struct rt_str epoch = rt_envelope_str(since, "epoch");
    if (epoch.len > RT_EPOCH_MAX)
        return rt_err_set(err, RT_EINVAL, "field since.epoch is longer than %d bytes",
                          RT_EPOCH_MAX);
    if (epoch.len > 0)
        memcpy(q->since.epoch, epoch.ptr, epoch.len);
    /* A result of publish or history may be handed back as it is. */
    static const char *const beside[] = {"publications", "gap", "duplicate"};
    for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++)
        (void)rt_envelope_raw(since, beside[i]);
    struct rt_str unread = rt_envelope_unread(since);
    if (unread.ptr)
        return rt_err_set(err, RT_EINVAL, "unknown field \"since.%.*s\"", RT_STR_ARG(unread));
    return rt_envelope_error(since, err);
}

static void handle_history(struct rt_http_request *req, void *arg)
{
    struct rt_admin *a = arg;
    struct rt_envelope *e = open_call(a, req, NULL);
    if (!e)
        return;
    struct rt_err err = {0};
    struct rt_history q = {.channel = rt_envelope_str(e, "channel"),
                           .limit = rt_envelope_i64(e, "limit", 0),
                           .reverse = rt_envelope_bool(e, "reverse", false),
                           .done = answer_history};
    int status = read_since(e, &q, &err);
    if (!close_call(a, req, e))
        return;
    struct publishing *p = status ? NULL : rt_malloc(sizeof(*p));
    if (status) {
        refuse_err(a, req, status, err.text);
    } else if (!p) {
        refuse(a, req, 500, "internal", "out of memory");
    } else {
        *p = (struct publishing){.admin = a, .req = req};
        q.arg = p;
        rt_broker_history(a->options.broker, &q);
    }
    rt_envelope_free(e);
}

/* ---- channels, info ---- */

static void handle_channels(struct rt_http_request *req, void *arg)
{
    struct rt_admin *a = arg;
    struct rt_envelope *e = open_call(a, req, NULL);
    if (!e)
        return;
    struct rt_str pattern = rt_envelope_str(e, "pattern");
    if (!close_call(a, req, e))
        return;
    struct rt_buf body = RT_BUF_INIT;
    rt_buf_add_c(&body, "{\"result\":{\"channels\":{");
    const struct rt_hub *hub = rt_broker_hub(a->options.broker);
    size_t pos = 0, count = 0;
    struct rt_channel *c;
    while (count < CHANNELS_MAX && (c = rt_hub_next_channel(hub, &pos))) {
        struct rt_str name = rt_channel_name(c);
        uint32_t clients = rt_channel_subscribers(c);
        if (clients == 0 || (pattern.len > 0 && !rt_glob_match(pattern, name)))
            continue;
        if (count++ > 0)
            rt_buf_add_byte(&body, ',');
        rt_json_add_string(&body, name);
        rt_buf_printf(&body, ":{\"num_clients\":%u}", clients);
    }
    rt_buf_add_c(&body, "}}}");
    rt_envelope_free(e);
    respond(a, req, &body);
}

void rt_admin_describe(const struct rt_admin *a, struct rt_buf *out)
{
    const struct rt_hub *hub = rt_broker_hub(a->options.broker);
    rt_buf_printf(out,
                  "\"version\":\"%s\",\"num_clients\":%zu,\"num_channels\":%zu,\"num_subs\":%zu,"
                  "\"uptime\":%llu",
                  RT_VERSION, a->options.clients(a->options.arg), rt_hub_occupied(hub),
                  rt_hub_subscriptions(hub),
                  (unsigned long long)((rt_loop_now(a->options.loop) - a->started) / 1000));
}

static void begin_node(struct rt_buf *body, struct rt_str name)
{
    rt_buf_add_c(body, "{\"uid\":");
    rt_json_add_string(body, name);
    rt_buf_add_c(body, ",\"name\":");
    rt_json_add_string(body, name);
}

/* Whatever version it runs: its members are passed on as they are. */
static void add_other_node(void *arg, struct rt_str name, struct rt_str json)
{
    struct rt_buf *body = arg;
    rt_buf_add_byte(body, ',');
    begin_node(body, name);
    struct rt_json_iter it = rt_json_iter(json);
    while (rt_json_next(&it)) {
        if (rt_str_eq(it.key, RT_STR("uid")) || rt_str_eq(it.key, RT_STR("name")))
            continue;
        rt_buf_add_c(body, ",\"");
        rt_buf_add_str(body, it.key);
        rt_buf_add_c(body, "\":");
        rt_json_add_compact(body, it.value);
    }
    rt_buf_add_byte(body, '}');
}

static void handle_info(struct rt_http_request *req, void *arg)
{
    struct rt_admin *a = arg;
    struct rt_envelope *e = open_call(a, req, NULL);
    if (!e || !close_call(a, req, e))
        return;
    rt_envelope_free(e);
    struct rt_buf body = RT_BUF_INIT;
    rt_buf_add_c(&body, "{\"result\":{\"nodes\":[");
    begin_node(&body, rt_str_c(a->options.config->node.name));
    rt_buf_add_byte(&body, ',');
    rt_admin_describe(a, &body);
    rt_buf_add_byte(&body, '}');
    if (a->options.each_node)
        a->options.each_node(a->options.arg, add_other_node, &body);
    rt_buf_add_c(&body, "]}}");
    respond(a, req, &body);
}

static void handle_unknown(struct rt_http_request *req, void *arg)
{
    refuse(arg, req, 404, "unknown_method",
           "no such method; there are publish, history, channels, info and stream");
}

int rt_admin_mount_api(struct rt_admin *a, struct rt_err *err)
{
    static const struct {
        const char *path;
        void (*handle)(struct rt_http_request *req, void *arg);
    } methods[] = {{"/api/publish", handle_publish},        {"/api/history", handle_history},
                   {"/api/channels", handle_channels},      {"/api/info", handle_info},
                   {"/api/stream", rt_admin_handle_stream}, {"/api/", handle_unknown}};
    const struct rt_config *config = a->options.config;
    if (!config->api.enabled)
        return 0;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        struct rt_http_route route = {.path = methods[i].path,
                                      .body_limit = config->limits.message * 2 + 4096,
                                      .internal_only = config->http.internal[0] != '\0',
                                      .handle = methods[i].handle,
                                      .head = check_key,
                                      .arg = a};
        int status = rt_http_route_add(a->options.http, &route, err);
        if (status)
            return status;
    }
    return 0;
}
