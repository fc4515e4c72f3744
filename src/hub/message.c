/* Stored messages: one allocation holds the struct, the attachment table and all bytes. */
#include "hub/message.h"

#include "base/alloc.h"

/* Copies `from` to `*at`, moves `*at` behind it and returns the copy's slice. */
static struct rt_str place(char **at, struct rt_str from)
{
    struct rt_str to = {*at, from.len};
    if (from.len > 0)
        memcpy(*at, from.ptr, from.len);
    *at += from.len;
    return from.ptr ? to : RT_STR_NONE;
}

struct rt_stored *rt_stored_new(const struct rt_message *view)
{
    if (view->attachment_count > RT_MAX_ATTACHMENTS)
        return NULL;
    size_t table = view->attachment_count * sizeof(struct rt_str);
    size_t size = sizeof(struct rt_stored) + table + view->event.len + view->data.len +
                  view->publisher.len + view->key.len + view->except_in.len;
    for (uint8_t i = 0; i < view->attachment_count; i++)
        size += view->attachments[i].len;
    if (size > UINT32_MAX)
        return NULL;
    struct rt_stored *s = rt_malloc(size);
    if (!s)
        return NULL;
    s->m = *view;
    s->refs = 1;
    s->size = (uint32_t)size;
    s->kept_at = 0;
    s->channel = NULL;
    rt_list_init(&s->by_rule);

    struct rt_str *attachments = (struct rt_str *)(void *)(s + 1);
    char *at = (char *)attachments + table;
    s->m.event = place(&at, view->event);
    s->m.data = place(&at, view->data);
    s->m.publisher = place(&at, view->publisher);
    s->m.key = place(&at, view->key);
    s->m.except_in = place(&at, view->except_in);
    for (uint8_t i = 0; i < view->attachment_count; i++)
        attachments[i] = place(&at, view->attachments[i]);
    s->m.attachments = view->attachment_count > 0 ? attachments : NULL;
    return s;
}

bool rt_message_excepts(const struct rt_message *m, struct rt_str channel)
{
    struct rt_str list = m->except_in;
    for (struct rt_str name = rt_excepted_next(&list); name.ptr; name = rt_excepted_next(&list))
        if (rt_str_eq(name, channel))
            return true;
    return false;
}

void rt_stored_free_last(struct rt_stored *s)
{
    rt_free(s);
}
