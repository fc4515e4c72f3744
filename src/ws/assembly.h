/* What a connection needs only while a frame or message is incomplete: a header in pieces, a wslay frame context, the
 * message so far. Borrowed from the loop's pool, given back at the boundary. Internal to ws/; wslay.h stays inside.
 * Thread: the loop. */
#ifndef RT_WS_ASSEMBLY_H
#define RT_WS_ASSEMBLY_H

#include "base/buf.h"
#include "base/utf8.h"
#include "net/unfinished.h"
#include "ws/header.h"

#define RT_WS_CONTROL_MAX 125

struct rt_ws_recv;
struct wslay_frame_context;

struct rt_ws_pool {
    struct rt_ws_assembly *free;
    uint32_t free_count;
    uint32_t lent;
    struct rt_unfinished_set *unfinished; /* NULL: no limits */
    const struct rt_unfinished_ops *unfinished_ops;
};

struct rt_ws_assembly {
    /* the frame */
    uint8_t head[RT_WS_HEADER_LIMIT];
    size_t head_len;
    bool in_frame; /* the header is complete and was checked */
    struct rt_ws_frame_header frame;
    uint64_t unread;   /* payload bytes that have not come yet */
    uint64_t payload;  /* payload bytes that wslay has not given yet */
    size_t head_given; /* header bytes that wslay took */
    const uint8_t *in; /* input for wslay: during a call only */
    size_t in_len;
    struct wslay_frame_context *wslay;
    /* the message */
    bool message_open; /* a fragment came, the last one did not */
    bool text;
    struct rt_utf8 utf8;
    struct rt_buf message;
    uint8_t control[RT_WS_CONTROL_MAX]; /* payload of a control frame */
    size_t control_len;
    struct rt_ws_assembly *next_free;
    struct rt_unfinished unfinished; /* held from the first byte of a message to its last */
    struct rt_ws_recv *owner;        /* while borrowed */
};

/* What an assembly takes beside its message, with wslay's context. */
#define RT_WS_ASSEMBLY_BYTES (sizeof(struct rt_ws_assembly) + 4224)

/* NULL: out of memory. */
struct rt_ws_assembly *rt_ws_assembly_borrow(struct rt_ws_pool *pool, struct rt_ws_recv *owner);
/* Counts what it holds now. RT_ERANGE: it is too much. */
int rt_ws_assembly_hold(struct rt_ws_assembly *a);
/* In any state: what is in the middle of a frame is freed, the rest kept for the next. */
void rt_ws_assembly_return(struct rt_ws_pool *pool, struct rt_ws_assembly *a);

/* Unmasks the payload of the frame whose checked header is in `head`, of at most `*len` bytes of input, piece by piece.
 * 1: `*ret_piece` holds bytes (valid until the next call) or the frame has no payload; 0: more input is needed;
 * -1: wslay refuses the frame. Advances `*data` and `*len` by what was used. */
int rt_ws_assembly_pull(struct rt_ws_assembly *a, uint8_t **data, size_t *len,
                        struct rt_str *ret_piece);

#endif
