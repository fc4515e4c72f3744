#include "proto/socketio/reply.h"

#include "base/alloc.h"
#include "json/scan.h"
#include "proto/socketio/socket.h"

struct rt_sio_outcome {
    struct rt_sio_reply *reply;
    uint32_t number; /* from 1, in order of the actions */
};

/* An answer that waits for publishes; its bytes follow it. */
struct held {
    uint32_t waits; /* publishes that are open */
    uint32_t until; /* the last outcome that decides about it */
    struct rt_str items;
    uint8_t attachment_count;
    struct rt_str attachments[];
};

struct rt_sio_reply {
    struct rt_list link;          /* in socket->replies */
    struct rt_sio_socket *socket; /* NULL: gone */
    uint32_t refs;
    uint32_t count; /* outcomes so far */
    uint32_t open;  /* publishes that are not done */
    uint32_t good;  /* the last one that went well, and its position */
    uint32_t bad;   /* the first one that did not, and what it says */
    bool automatic;
    bool answered; /* or never to be */
    bool logged;
    bool first_in_use;
    uint8_t id_len;
    enum rt_publish_status status;
    struct rt_position position;
    struct rt_sio_outcome first; /* most events publish once */
    char *text;                  /* owned, NULL none */
    struct held *held;           /* owned, NULL none */
    char id[RT_SIO_ID_MAX];
};

struct rt_sio_reply *rt_sio_reply_new(struct rt_sio_socket *socket, struct rt_str id,
                                      bool automatic)
{
    struct rt_sio_reply *reply = rt_calloc(1, sizeof(*reply));
    if (!reply)
        return NULL;
    reply->socket = socket;
    reply->refs = 1;
    reply->automatic = automatic;
    reply->id_len = (uint8_t)id.len;
    memcpy(reply->id, id.ptr, id.len);
    rt_list_push(&socket->replies, &reply->link);
    return reply;
}

void rt_sio_reply_ref(struct rt_sio_reply *reply)
{
    reply->refs++;
}

static void send_answer(struct rt_sio_reply *reply, struct rt_str items,
                        const struct rt_str *attachments, uint8_t attachment_count)
{
    struct rt_sio_outgoing o = {.type = RT_SIO_ACK,
                                .items = items,
                                .id = rt_str_of(reply->id, reply->id_len),
                                .attachments = attachments,
                                .attachment_count = attachment_count};
    if (!reply->socket)
        return;
    rt_sio_socket_endpoint(reply->socket)->metrics.answers.value++;
    (void)rt_sio_socket_send(reply->socket, &o);
}

static void write_failure(const struct rt_sio_reply *reply, struct rt_buf *out)
{
    static const char *const words[] = {[RT_PUBLISH_OK] = "",
                                        [RT_PUBLISH_RETRY] = "retry",
                                        [RT_PUBLISH_UNKNOWN] = "unknown",
                                        [RT_PUBLISH_LIMITED] = "rate_limited",
                                        [RT_PUBLISH_REFUSED] = "refused"};
    rt_buf_add_c(out, "{\"ok\":false,\"error\":\"");
    rt_buf_add_c(out, words[reply->status]);
    rt_buf_add_c(out, "\",\"message\":");
    rt_json_add_string(out, rt_str_c(reply->text ? reply->text : ""));
    rt_buf_add_byte(out, '}');
}

static void write_success(const struct rt_sio_reply *reply, struct rt_buf *out)
{
    rt_buf_add_c(out, "{\"ok\":true");
    if (reply->logged) {
        rt_buf_add_c(out, ",\"epoch\":");
        rt_json_add_string(out, rt_str_c(reply->position.epoch));
        rt_buf_add_c(out, ",\"offset\":");
        rt_buf_add_u64(out, reply->position.offset);
    }
    rt_buf_add_byte(out, '}');
}

static void answer_automatically(struct rt_sio_reply *reply)
{
    struct rt_buf *out = &rt_sio_socket_endpoint(reply->socket)->buf.args;
    reply->answered = true;
    rt_buf_clear(out);
    if (reply->bad)
        write_failure(reply, out);
    else if (reply->good)
        write_success(reply, out);
    if (rt_buf_ok(out))
        send_answer(reply, rt_buf_str(out), NULL, 0);
    else
        rt_eio_close(rt_sio_session(reply->socket->owner), RT_EIO_TRANSPORT_ERROR, 0);
}

/* ---- the answer of an action ---- */

static struct rt_str copy_to(char **to, struct rt_str bytes)
{
    struct rt_str copy = rt_str_of(*to, bytes.len);
    if (bytes.len)
        memcpy(*to, bytes.ptr, bytes.len);
    *to += bytes.len;
    return copy;
}

static struct held *hold(const struct rt_sio_reply *reply, struct rt_str items,
                         const struct rt_str *attachments, uint8_t attachment_count)
{
    size_t head = sizeof(struct held) + attachment_count * sizeof(struct rt_str);
    size_t size = head + items.len;
    for (uint8_t i = 0; i < attachment_count; i++)
        size += attachments[i].len;
    struct held *h = rt_malloc(size);
    if (!h)
        return NULL;
    char *to = (char *)h + head;
    h->waits = reply->open;
    h->until = reply->count;
    h->items = copy_to(&to, items);
    h->attachment_count = attachment_count;
    for (uint8_t i = 0; i < attachment_count; i++)
        h->attachments[i] = copy_to(&to, attachments[i]);
    return h;
}

int rt_sio_reply_answer(struct rt_sio_reply *reply, struct rt_str items,
                        const struct rt_str *attachments, uint8_t attachment_count)
{
    if (reply->answered || !reply->socket)
        return 0;
    if (reply->open) {
        reply->held = hold(reply, items, attachments, attachment_count);
        reply->answered = reply->held != NULL;
        return reply->held ? 0 : RT_ENOMEM;
    }
    if (reply->bad) {
        answer_automatically(reply);
        return 0;
    }
    reply->answered = true;
    send_answer(reply, items, attachments, attachment_count);
    return 0;
}

/* A publish is done, `number` of the outcomes. */
static void release(struct rt_sio_reply *reply, uint32_t number)
{
    struct held *h = reply->held;
    if (!h || number > h->until || --h->waits > 0)
        return;
    reply->held = NULL;
    if (reply->socket && reply->bad && reply->bad <= h->until)
        answer_automatically(reply);
    else
        send_answer(reply, h->items, h->attachments, h->attachment_count);
    rt_free(h);
}

/* ---- outcomes ---- */

void rt_sio_reply_suppress(struct rt_sio_reply *reply)
{
    reply->answered = true;
}

void rt_sio_reply_unref(struct rt_sio_reply *reply)
{
    if (!reply || --reply->refs > 0)
        return;
    if (reply->socket && reply->automatic && !reply->answered)
        answer_automatically(reply);
    rt_list_remove(&reply->link);
    rt_free(reply->held);
    rt_free(reply->text);
    rt_free(reply);
}

void rt_sio_replies_drop(struct rt_sio_socket *socket)
{
    struct rt_list *node;
    while ((node = rt_list_pop(&socket->replies)))
        RT_CONTAINER(node, struct rt_sio_reply, link)->socket = NULL;
}

struct rt_sio_outcome *rt_sio_reply_expect(struct rt_sio_reply *reply)
{
    struct rt_sio_outcome *outcome =
        reply->first_in_use ? rt_malloc(sizeof(*outcome)) : &reply->first;
    if (!outcome)
        return NULL;
    reply->first_in_use = true;
    *outcome = (struct rt_sio_outcome){.reply = reply, .number = ++reply->count};
    reply->refs++;
    reply->open++;
    return outcome;
}

static void note(struct rt_sio_reply *reply, uint32_t number,
                 const struct rt_publish_result *result)
{
    if (result->status == RT_PUBLISH_OK) {
        if (number > reply->good) {
            reply->good = number;
            reply->logged = result->logged;
            reply->position = result->position;
        }
    } else if (reply->bad == 0 || number < reply->bad) {
        reply->bad = number;
        reply->status = result->status;
        rt_free(reply->text);
        reply->text = rt_strdup(result->text); /* without memory the answer has no text */
    }
}

void rt_sio_outcome_done(void *arg, const struct rt_publish_result *result)
{
    struct rt_sio_outcome *outcome = arg;
    struct rt_sio_reply *reply = outcome->reply;
    uint32_t number = outcome->number;
    note(reply, number, result);
    reply->open--;
    release(reply, number);
    if (outcome != &reply->first)
        rt_free(outcome);
    rt_sio_reply_unref(reply);
}

void rt_sio_reply_fail(struct rt_sio_reply *reply, enum rt_publish_status status, const char *text)
{
    struct rt_publish_result result = {.status = status};
    size_t len = strlen(text);
    if (len >= sizeof(result.text))
        len = sizeof(result.text) - 1;
    memcpy(result.text, text, len);
    note(reply, ++reply->count, &result);
}
