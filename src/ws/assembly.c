#include "ws/assembly.h"

#include <wslay/wslay.h>

#include "base/alloc.h"
#include "ws/recv.h"
#include "ws/ws.h"

enum {
    FREE_MAX =
        32, /* kept for reuse: one for each connection in the middle of a frame at the end of a read */
    KEEP_MESSAGE = 16 * 1024 /* larger buffers are freed with their message */
};

/* wslay asks for as much as its buffer holds. It gets no byte beyond the frame, so that its buffer is empty at the boundary. */
static ssize_t give(uint8_t *buf, size_t len, int flags, void *user)
{
    struct rt_ws_assembly *a = user;
    size_t head_left = a->head_len - a->head_given;
    (void)flags;
    if (head_left > 0) {
        size_t n = head_left < len ? head_left : len;
        memcpy(buf, a->head + a->head_given, n);
        a->head_given += n;
        return (ssize_t)n;
    }
    size_t n = a->in_len < len ? a->in_len : len;
    n = a->unread < n ? (size_t)a->unread : n;
    if (n == 0)
        return -1;
    memcpy(buf, a->in, n);
    a->in += n;
    a->in_len -= n;
    a->unread -= n;
    return (ssize_t)n;
}

static const struct wslay_frame_callbacks callbacks = {.recv_callback = give};

static struct rt_ws_assembly *new_assembly(void)
{
    struct rt_ws_assembly *a = rt_calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    if (wslay_frame_context_init(&a->wslay, &callbacks, a) != 0) {
        rt_free(a);
        return NULL;
    }
    return a;
}

static void free_assembly(struct rt_ws_assembly *a)
{
    wslay_frame_context_free(a->wslay);
    rt_buf_deinit(&a->message);
    rt_free(a);
}

struct rt_ws_assembly *rt_ws_assembly_borrow(struct rt_ws_pool *pool, struct rt_ws_recv *owner)
{
    struct rt_ws_assembly *a = pool->free;
    if (a != NULL) {
        pool->free = a->next_free;
        pool->free_count--;
    } else {
        a = new_assembly();
    }
    if (a == NULL)
        return NULL;
    pool->lent++;
    a->owner = owner;
    return a;
}

int rt_ws_assembly_hold(struct rt_ws_assembly *a)
{
    return rt_unfinished_hold(a->owner->pool->unfinished, &a->unfinished,
                              a->owner->pool->unfinished_ops,
                              RT_WS_ASSEMBLY_BYTES + a->message.cap);
}

void rt_ws_assembly_return(struct rt_ws_pool *pool, struct rt_ws_assembly *a)
{
    pool->lent--;
    rt_unfinished_end(&a->unfinished);
    a->owner = NULL;
    /* A context cannot be set back from the middle of a frame. */
    if (a->in_frame || pool->free_count >= FREE_MAX) {
        free_assembly(a);
        return;
    }
    if (a->message.cap > KEEP_MESSAGE)
        rt_buf_deinit(&a->message);
    rt_buf_clear(&a->message);
    a->head_len = 0;
    a->message_open = false;
    a->utf8.state = 0;
    a->next_free = pool->free;
    pool->free = a;
    pool->free_count++;
}

int rt_ws_assembly_pull(struct rt_ws_assembly *a, uint8_t **data, size_t *len,
                        struct rt_str *ret_piece)
{
    struct wslay_frame_iocb frame;
    memset(&frame, 0, sizeof(frame));
    a->in = *data;
    a->in_len = *len;
    ssize_t n = wslay_frame_recv(a->wslay, &frame);
    *data += *len - a->in_len;
    *len = a->in_len;
    if (n == WSLAY_ERR_WANT_READ)
        return 0;
    if (n < 0 || frame.opcode != a->frame.opcode || frame.fin != a->frame.fin ||
        frame.payload_length != a->frame.len || (uint64_t)n > a->payload)
        return -1;
    a->payload -= (uint64_t)n;
    *ret_piece = rt_str_of(frame.data, (size_t)n);
    return 1;
}

int rt_ws_pool_new(struct rt_loop *loop, struct rt_ws_pool **ret_pool)
{
    struct rt_ws_pool *pool = rt_calloc(1, sizeof(*pool));
    (void)loop;
    if (pool == NULL)
        return RT_ENOMEM;
    *ret_pool = pool;
    return 0;
}

void rt_ws_pool_free(struct rt_ws_pool *pool)
{
    if (pool == NULL)
        return;
    while (pool->free != NULL) {
        struct rt_ws_assembly *a = pool->free;
        pool->free = a->next_free;
        free_assembly(a);
    }
    rt_free(pool);
}

uint32_t rt_ws_pool_lent(const struct rt_ws_pool *pool)
{
    return pool->lent;
}
