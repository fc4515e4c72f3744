#include "proto/socketio/once.h"

#include "base/err.h"

static struct rt_str key_of(const void *value)
{
    return rt_str_of(((const struct rt_message *)value)->id, RT_MESSAGE_COPY_ID);
}

void rt_sio_once_init(struct rt_sio_once *once)
{
    rt_map_init(&once->seen, key_of);
}

void rt_sio_once_deinit(struct rt_sio_once *once)
{
    rt_map_deinit(&once->seen);
}

bool rt_sio_once_seen(struct rt_sio_once *once, const struct rt_message *message)
{
    return (message->flags & RT_MESSAGE_COPY) &&
           rt_map_put(&once->seen, (void *)(uintptr_t)message) == RT_EEXIST;
}
