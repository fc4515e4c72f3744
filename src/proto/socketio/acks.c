#include "proto/socketio/acks.h"

#include "base/alloc.h"
#include "proto/socketio/socket.h"

static void expired(struct rt_timer *timer)
{
    struct rt_sio_ack *ack = RT_CONTAINER(timer, struct rt_sio_ack, timer);
    rt_list_remove(&ack->link);
    ack->socket->ack_count--;
    rt_sio_socket_endpoint(ack->socket)->metrics.timeouts.value++;
    ack->timed_out(ack);
}

int rt_sio_ack_new(struct rt_sio_socket *socket, const struct rt_sio_emit *emit,
                   struct rt_sio_reply *reply, void (*timed_out)(struct rt_sio_ack *ack),
                   struct rt_sio_ack **ret_ack)
{
    if (socket->ack_count >= rt_sio_socket_endpoint(socket)->config->socketio.max_acks)
        return RT_ERANGE;
    struct rt_sio_ack *ack = rt_calloc(1, sizeof(*ack));
    if (!ack)
        return RT_ENOMEM;
    ack->socket = socket;
    ack->emit = emit;
    ack->timed_out = timed_out;
    ack->reply = reply;
    if (reply)
        rt_sio_reply_ref(reply);
    ack->id = socket->next_ack;
    socket->next_ack = (socket->next_ack + 1) & 0x7fffffff;
    socket->ack_count++;
    rt_list_push(&socket->acks, &ack->link);
    rt_timer_start(rt_sio_socket_endpoint(socket)->loop, &ack->timer, emit->timeout, expired);
    *ret_ack = ack;
    return 0;
}

static void stop(struct rt_sio_ack *ack)
{
    rt_list_remove(&ack->link);
    ack->socket->ack_count--;
    rt_timer_stop(rt_sio_socket_endpoint(ack->socket)->loop, &ack->timer);
}

struct rt_sio_ack *rt_sio_ack_take(struct rt_sio_socket *socket, struct rt_str id)
{
    uint64_t number;
    if (rt_str_to_u64(id, &number) != 0)
        return NULL;
    rt_list_for(node, &socket->acks) {
        struct rt_sio_ack *ack = RT_CONTAINER(node, struct rt_sio_ack, link);
        if (ack->id == number) {
            stop(ack);
            return ack;
        }
    }
    return NULL;
}

void rt_sio_ack_free(struct rt_sio_ack *ack)
{
    rt_sio_reply_unref(ack->reply);
    rt_free(ack);
}

void rt_sio_acks_drop(struct rt_sio_socket *socket)
{
    while (!rt_list_empty(&socket->acks)) {
        struct rt_sio_ack *ack = RT_CONTAINER(socket->acks.next, struct rt_sio_ack, link);
        stop(ack);
        rt_sio_ack_free(ack);
    }
}
