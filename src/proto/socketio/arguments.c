#include "proto/socketio/arguments.h"

#include "json/scan.h"
#include "proto/socketio/packet.h"
#include "proto/socketio/placeholder.h"

static void take_incoming(const struct rt_sio_values *v, struct rt_sio_arguments *ret)
{
    struct rt_json_iter it = rt_json_iter(v->array);
    uint32_t items = 0;
    while (items < v->skip + 2 && rt_json_next(&it))
        items++;
    ret->items = rt_sio_items_after(v->array, v->skip);
    ret->single = items == v->skip + 1;
    ret->attachments = v->attachments;
    ret->attachment_count = v->attachment_count;
}

static void eval_list(const struct rt_sio_args *args, struct rt_sio_values *v, struct rt_buf *buf,
                      struct rt_sio_arguments *ret)
{
    for (size_t i = 0; i < args->count; i++) {
        if (i)
            rt_buf_add_byte(buf, ',');
        rt_sio_template_eval(args->items[i], v, &ret->output, buf);
    }
    ret->single = args->count == 1;
    ret->items = rt_buf_str(buf);
}

static void eval_spread(const struct rt_sio_args *args, struct rt_sio_values *v, struct rt_buf *buf,
                        struct rt_sio_arguments *ret)
{
    rt_sio_template_eval(args->items[0], v, &ret->output, buf);
    ret->items = rt_buf_str(buf);
    ret->single = true;
    if (!rt_buf_ok(buf) || rt_json_kind(ret->items) != RT_JSON_ARRAY)
        return;
    ret->single = rt_json_count(ret->items) == 1;
    ret->items = rt_sio_items_after(ret->items, 0);
}

int rt_sio_arguments_eval(const struct rt_sio_args *args, struct rt_sio_values *v,
                          struct rt_buf *buf, struct rt_sio_arguments *ret)
{
    rt_buf_clear(buf);
    ret->items = RT_STR_NONE;
    ret->single = false;
    ret->attachments = NULL;
    ret->attachment_count = 0;
    if (args->kind == RT_SIO_ARGS_INCOMING) {
        take_incoming(v, ret);
        return 0;
    }
    rt_sio_output_init(&ret->output, args->binary || v->attachment_count > 0);
    if (args->kind == RT_SIO_ARGS_LIST)
        eval_list(args, v, buf, ret);
    else
        eval_spread(args, v, buf, ret);
    ret->attachments = ret->output.list;
    ret->attachment_count = ret->output.count;
    if (!rt_buf_ok(buf))
        return RT_ENOMEM;
    return ret->output.overflow ? RT_ERANGE : 0;
}

/* Puts brackets around what is in the buffer already, or copies it there. */
static int wrap(struct rt_str items, struct rt_buf *buf, struct rt_str *ret_array)
{
    bool inside =
        buf->len && items.ptr >= (char *)buf->data && items.ptr < (char *)buf->data + buf->len;
    size_t at = inside ? (size_t)(items.ptr - (char *)buf->data) : 0;
    if (!inside)
        rt_buf_clear(buf);
    if (!rt_buf_reserve(buf, items.len + 2))
        return RT_ENOMEM;
    char *data = (char *)buf->data;
    if (items.len)
        memmove(data + 1, inside ? data + at : items.ptr, items.len);
    data[0] = '[';
    data[items.len + 1] = ']';
    buf->len = items.len + 2;
    *ret_array = rt_buf_str(buf);
    return 0;
}

int rt_sio_arguments_message(const struct rt_sio_arguments *a, struct rt_buf *buf,
                             struct rt_message *message)
{
    uint32_t num;
    message->kind = RT_KIND_JSON;
    message->attachments = a->attachments;
    message->attachment_count = a->attachment_count;
    message->data = a->items;
    if (!a->single) {
        message->flags |= RT_MESSAGE_ARGS;
        return wrap(a->items, buf, &message->data);
    }
    if (a->attachment_count && rt_sio_placeholder_is(a->items, &num) && num < a->attachment_count) {
        message->kind = RT_KIND_BYTES;
        message->data = a->attachments[num];
        message->attachments = NULL;
        message->attachment_count = 0;
    }
    return 0;
}
