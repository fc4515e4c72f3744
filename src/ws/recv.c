#include "ws/recv.h"

#include "ws/assembly.h"
#include "ws/mask.h"
#include "ws/ws.h"

static const struct rt_ws_refusal no_memory = {1011, "out of memory"};
static const struct rt_ws_refusal crowded = {
    1013, "unfinished messages take too much memory (limits.receive_memory)"};
static const struct rt_ws_refusal not_utf8 = {1007, "text is not UTF-8"};
static const struct rt_ws_refusal short_close = {1002, "a Close frame of one byte"};
static const struct rt_ws_refusal bad_close_code = {1002, "the close code is not allowed"};
static const struct rt_ws_refusal bad_reason = {1007, "the close reason is not UTF-8"};
static const struct rt_ws_refusal wslay_refused = {1002, "the frame is malformed"};

bool rt_ws_close_code_valid(unsigned code)
{
    if (code >= 3000)
        return code < 5000;
    return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

static enum rt_ws_got fail(struct rt_ws_recv *r, struct rt_ws_item *item,
                           const struct rt_ws_refusal *why)
{
    r->ended = true;
    *item = (struct rt_ws_item){.code = why->code, .why = why->why};
    return RT_WS_GOT_ERROR;
}

static struct rt_ws_context context_of(const struct rt_ws_recv *r)
{
    const struct rt_ws_assembly *a = r->assembly;
    bool open = a != NULL && a->message_open;
    return (struct rt_ws_context){.masked = !r->from_server,
                                  .message_open = open,
                                  .message = open ? a->message.len : 0,
                                  .max_message = r->max_message};
}

static enum rt_ws_got finish_close(struct rt_ws_recv *r, uint8_t *data, size_t len,
                                   struct rt_ws_item *item)
{
    *item = (struct rt_ws_item){.data = data, .code = 1005};
    if (len == 1)
        return fail(r, item, &short_close);
    if (len > 1) {
        item->code = (uint16_t)(data[0] << 8 | data[1]);
        item->data = data + 2;
        item->len = len - 2;
        if (!rt_ws_close_code_valid(item->code))
            return fail(r, item, &bad_close_code);
        if (!rt_utf8_valid(item->data, item->len))
            return fail(r, item, &bad_reason);
    }
    r->ended = true;
    return RT_WS_GOT_CLOSE;
}

static enum rt_ws_got finish_control(struct rt_ws_recv *r, unsigned opcode, uint8_t *data,
                                     size_t len, struct rt_ws_item *item)
{
    if (opcode == RT_WS_CLOSE)
        return finish_close(r, data, len, item);
    *item = (struct rt_ws_item){.data = data, .len = len};
    return opcode == RT_WS_PING ? RT_WS_GOT_PING : RT_WS_GOT_PONG;
}

/* ---- the fast path -------------------------------------------------------------------------- */

/* A whole final frame at the start of the input. RT_WS_GOT_NOTHING: it is none, nothing was used. */
static enum rt_ws_got take_whole(struct rt_ws_recv *r, uint8_t **data, size_t *len,
                                 struct rt_ws_item *item)
{
    struct rt_ws_context c = context_of(r);
    struct rt_ws_frame_header h;
    uint8_t *head = *data;
    if (*len < 2)
        return RT_WS_GOT_NOTHING;
    const struct rt_ws_refusal *why = rt_ws_check_start(head, &c);
    if (why != NULL)
        return fail(r, item, why);
    size_t size = rt_ws_header_size(head);
    if (*len < size)
        return RT_WS_GOT_NOTHING;
    why = rt_ws_parse_header(head, &c, &h);
    if (why != NULL)
        return fail(r, item, why);
    if (!h.fin || *len - size < h.len)
        return RT_WS_GOT_NOTHING;
    uint8_t *payload = head + size;
    size_t n = (size_t)h.len;
    if (h.masked)
        rt_ws_mask(payload, n, h.key);
    *data = payload + n;
    *len -= size + n;
    if (rt_ws_is_control(h.opcode))
        return finish_control(r, h.opcode, payload, n, item);
    if (h.opcode == RT_WS_TEXT && !rt_utf8_valid(payload, n))
        return fail(r, item, &not_utf8);
    *item = (struct rt_ws_item){.data = payload, .len = n, .text = h.opcode == RT_WS_TEXT};
    return RT_WS_GOT_MESSAGE;
}

/* ---- the slow path -------------------------------------------------------------------------- */

/* Collects header bytes up to `size`. True: they are there. */
static bool collect(struct rt_ws_assembly *a, size_t size, uint8_t **data, size_t *len)
{
    size_t n = size - a->head_len;
    n = n < *len ? n : *len;
    memcpy(a->head + a->head_len, *data, n);
    a->head_len += n;
    *data += n;
    *len -= n;
    return a->head_len == size;
}

static void open_frame(struct rt_ws_assembly *a)
{
    a->in_frame = true;
    a->unread = a->payload = a->frame.len;
    a->head_given = 0;
    a->control_len = 0;
    if (a->frame.opcode == RT_WS_TEXT || a->frame.opcode == RT_WS_BINARY) {
        a->message_open = true;
        a->text = a->frame.opcode == RT_WS_TEXT;
        a->utf8.state = 0;
    }
}

/* NULL: fine, the frame is open or more input is needed. */
static const struct rt_ws_refusal *take_header(struct rt_ws_recv *r, uint8_t **data, size_t *len)
{
    struct rt_ws_assembly *a = r->assembly;
    struct rt_ws_context c = context_of(r);
    if (a->head_len < 2) {
        if (!collect(a, 2, data, len))
            return NULL;
        const struct rt_ws_refusal *why = rt_ws_check_start(a->head, &c);
        if (why != NULL)
            return why;
    }
    if (!collect(a, rt_ws_header_size(a->head), data, len))
        return NULL;
    const struct rt_ws_refusal *why = rt_ws_parse_header(a->head, &c, &a->frame);
    if (why == NULL)
        open_frame(a);
    return why;
}

static const struct rt_ws_refusal *add_piece(struct rt_ws_assembly *a, struct rt_str piece)
{
    if (piece.len == 0)
        return NULL;
    if (rt_ws_is_control(a->frame.opcode)) {
        memcpy(a->control + a->control_len, piece.ptr, piece.len);
        a->control_len += piece.len;
        return NULL;
    }
    if (a->text && !rt_utf8_feed(&a->utf8, piece.ptr, piece.len))
        return &not_utf8;
    size_t had = a->message.cap;
    rt_buf_add_str(&a->message, piece);
    if (!rt_buf_ok(&a->message))
        return &no_memory;
    return a->message.cap != had && rt_ws_assembly_hold(a) != 0 ? &crowded : NULL;
}

static enum rt_ws_got finish_frame(struct rt_ws_recv *r, struct rt_ws_item *item)
{
    struct rt_ws_assembly *a = r->assembly;
    a->in_frame = false;
    a->head_len = 0;
    if (rt_ws_is_control(a->frame.opcode))
        return finish_control(r, a->frame.opcode, a->control, a->control_len, item);
    if (!a->frame.fin)
        return RT_WS_GOT_NOTHING;
    a->message_open = false;
    rt_unfinished_end(&a->unfinished); /* nobody takes it away while it is handled */
    if (a->text && !rt_utf8_complete(&a->utf8))
        return fail(r, item, &not_utf8);
    *item = (struct rt_ws_item){.data = a->message.len > 0 ? a->message.data : a->control,
                                .len = a->message.len,
                                .text = a->text};
    return RT_WS_GOT_MESSAGE;
}

/* Part of a frame. RT_WS_GOT_NOTHING: go on while there is input. */
static enum rt_ws_got take_part(struct rt_ws_recv *r, uint8_t **data, size_t *len,
                                struct rt_ws_item *item)
{
    struct rt_ws_assembly *a = r->assembly;
    struct rt_str piece;
    if (!a->in_frame) {
        const struct rt_ws_refusal *why = take_header(r, data, len);
        if (why != NULL)
            return fail(r, item, why);
        if (!a->in_frame)
            return RT_WS_GOT_NOTHING;
    }
    int rc;
    while ((rc = rt_ws_assembly_pull(a, data, len, &piece)) > 0) {
        const struct rt_ws_refusal *why = add_piece(a, piece);
        if (why != NULL)
            return fail(r, item, why);
        if (a->payload == 0)
            return finish_frame(r, item);
    }
    return rc < 0 ? fail(r, item, &wslay_refused) : RT_WS_GOT_NOTHING;
}

/* ---- interface ------------------------------------------------------------------------------ */

static void return_assembly(struct rt_ws_recv *r)
{
    if (r->assembly != NULL)
        rt_ws_assembly_return(r->pool, r->assembly);
    r->assembly = NULL;
}

static bool is_idle(const struct rt_ws_assembly *a)
{
    return !a->in_frame && a->head_len == 0 && !a->message_open;
}

enum rt_ws_got rt_ws_recv_next(struct rt_ws_recv *r, uint8_t **data, size_t *len,
                               struct rt_ws_item *item)
{
    enum rt_ws_got got = RT_WS_GOT_NOTHING;
    if (r->assembly != NULL && (r->ended || is_idle(r->assembly)))
        return_assembly(r); /* the last item was in it */
    while (!r->ended && *len > 0 && got == RT_WS_GOT_NOTHING) {
        if (r->assembly == NULL) {
            got = take_whole(r, data, len, item);
            if (got != RT_WS_GOT_NOTHING)
                break;
            r->assembly = rt_ws_assembly_borrow(r->pool, r);
            if (r->assembly == NULL)
                return fail(r, item, &no_memory);
            if (rt_ws_assembly_hold(r->assembly) != 0)
                return fail(r, item, &crowded);
        }
        got = take_part(r, data, len, item);
    }
    if (r->ended)
        *len = 0;
    return got;
}

void rt_ws_recv_reset(struct rt_ws_recv *r)
{
    return_assembly(r);
    r->ended = true;
}
