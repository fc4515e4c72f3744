/* What the files of the engine share: shapes of mount, session, polling half and WebSocket link. Only for engine_*.c. */
#ifndef RT_PROTO_SOCKETIO_ENGINE_INTERNAL_H
#define RT_PROTO_SOCKETIO_ENGINE_INTERNAL_H

#include "base/map.h"
#include "proto/socketio/engine.h"
#include "proto/socketio/engine_payload.h"
#include "proto/socketio/engine_quota.h"
#include "proto/socketio/engine_revision.h"
#include "session/drain.h"

/*                 rt_eio_close, error, timeout
 *   EIO_OPENING ------------------------------------> EIO_CLOSED  (freed at the end of the turn)
 *        | open packet queued      |                   ^
 *        v                         |                   | final body fetched, 30 s
 *   EIO_OPEN ----------------------+--> EIO_LINGERING -+
 * LINGERING: a polling session that was closed by us while no GET was held, or something was queued; its user is gone, the next GETs get
 * what is queued, then `6` and `1`. */
enum rt_eio_state { EIO_OPENING, EIO_OPEN, EIO_LINGERING, EIO_CLOSED };

/* Bytes in polling form that wait for a GET. */
struct rt_eio_piece {
    struct rt_bytes *bytes;
    uint32_t off, len;
};

/* What only a polling session needs; freed after the upgrade. */
struct rt_eio_poll {
    struct rt_http_request *get;  /* held */
    struct rt_http_request *post; /* body on its way, or answer held back by a pause */
    bool post_held;               /* the latter */
    bool text_only;               /* b64=1 of the handshake: bodies of revision 3 are text */
    struct rt_eio_piece *pieces;
    uint32_t count, cap;
    size_t bytes;        /* payload that waits */
    size_t cost;         /* what it counts against the limit: with the blocks that it pins */
    uint64_t not_before; /* loop time before which a held GET is not answered */
    struct rt_timer timer;
    struct rt_eio_session *session;
    struct rt_eio_share share; /* of the mount's quotas */
};

/* A packet that waits for its turn when config->packet_gap is set. */
struct rt_eio_paced {
    struct rt_list link;
    struct rt_bytes *bytes;
    uint32_t off, len;
};

/* A WebSocket connection of a session, or one that probes for an upgrade. Outlives the session until the connection is gone. */
struct rt_eio_link {
    struct rt_ws ws;
    struct rt_eio_session *session; /* NULL: the session is over */
    struct rt_eio_mount *mount;
    struct rt_timer timer; /* upgrade timeout while probing; next paced packet */
    struct rt_list paced;
    size_t paced_bytes;
    uint64_t next_send; /* loop time of the next paced packet */
    bool probing;       /* not the session's transport yet */
    bool probed;        /* `2probe` was answered */
};

struct rt_eio_session {
    struct rt_eio_mount *mount;
    struct rt_eio_poll *poll; /* NULL: WebSocket only */
    struct rt_eio_link *link; /* NULL: polling only */
    struct rt_timer timer;    /* heartbeat; lingering */
    uint64_t
        deadline; /* loop time by which a pong, or the peer's next ping, has to come; 0: none has to */
    uint64_t ping_sent;
    void (*on_pong)(struct rt_eio_session *s);
    struct rt_eio_handshake *handshake;
    struct rt_deferred deferred;
    struct rt_list all;  /* mount->sessions */
    uint16_t pongs_owed; /* of pings that were sent while nothing was read, but for the last one */
    uint8_t state;       /* enum rt_eio_state */
    uint8_t transport;   /* enum rt_eio_transport */
    uint8_t reason;      /* enum rt_eio_reason, once closed */
    bool paused : 1;
    bool reprieved : 1; /* overdue, but the turn was late: looked at once more */
    bool user_open : 1; /* on_open was called, on_close not yet */
    bool text_only : 1; /* b64=1 of the WebSocket's request: binary goes as text */
    bool eio3 : 1;      /* revision 3 of the protocol */
    bool ready : 1;     /* on_ready was called, or its turn has come */
    uint8_t sid_len;
    /* sid with a NUL, then the user part, aligned */
    char sid[];
};

struct rt_eio_mount {
    struct rt_eio_options options;
    struct rt_http_server *http;
    struct rt_loop *loop;
    struct rt_ws_pool *pool;
    struct rt_map table; /* sessions by sid */
    struct rt_list sessions;
    struct rt_buf scratch; /* encoding of single packets */
    struct rt_eio_quotas quotas;
    size_t alive; /* sessions that are not freed yet: in the table, or in the turn of their end */
    size_t links;
    bool draining;
    struct rt_drain drain;
    void (*drained)(void *arg); /* NULL: not draining, or reported */
    void *drained_arg;
    struct {
        struct rt_metric sessions, opened_polling, opened_websocket, opened_eio3, upgrades, refused,
            ping_rtt;
        struct rt_metric closes[RT_EIO_SHUTDOWN + 1];
        /* by reason, then polling, websocket, protocol, then why sessions are refused */
        char *labels[RT_EIO_SHUTDOWN + 4 + RT_EIO_BYTES];
    } metrics;
};

enum rt_eio_error {
    EIO_UNKNOWN_TRANSPORT,
    EIO_UNKNOWN_SID,
    EIO_BAD_METHOD,
    EIO_BAD_REQUEST,
    EIO_FORBIDDEN,
    EIO_BAD_VERSION,
};

/* engine_session.c */
static inline const struct rt_eio_revision *rt_eio_revision_row(const struct rt_eio_session *s)
{
    return &rt_eio_revisions[s->eio3];
}
int rt_eio_session_new(struct rt_eio_mount *m, struct rt_http_request *req,
                       enum rt_eio_transport transport, unsigned revision,
                       struct rt_eio_session **ret_session);
/* What a session over polling will take, for its quotas. */
size_t rt_eio_session_size(const struct rt_eio_mount *m, const struct rt_http_request *req);
/* Queues the open packet and calls on_open. A negative code: the session has ended. */
int rt_eio_session_open(struct rt_eio_session *s);
/* Calls on_ready, the first time. The session may have ended then. */
void rt_eio_session_ready(struct rt_eio_session *s);
/* Ends the session now: out of the table, transports released, on_close and free at the end of the turn. Idempotent. */
void rt_eio_session_end(struct rt_eio_session *s, enum rt_eio_reason reason);
/* A packet from the peer, on whichever transport. Returns a negative code when it broke the protocol (the session has ended). */
int rt_eio_session_packet(struct rt_eio_session *s, const struct rt_eio_packet *packet);
/* Why a session ends whose packet could not be parsed: `status` is RT_ENOMEM, or the peer's mistake. */
static inline enum rt_eio_reason rt_eio_reason_of_parse(int status)
{
    return status == RT_ENOMEM ? RT_EIO_TRANSPORT_ERROR : RT_EIO_PARSE_ERROR;
}
/* The peer sent packet `1`. */
void rt_eio_session_client_close(struct rt_eio_session *s);
/* Is the answer to a ping overdue? Ends the session then. To be asked at every request. */
bool rt_eio_session_overdue(struct rt_eio_session *s);
/* The pause is over: the peer gets time for what it could not send. */
void rt_eio_session_resumed(struct rt_eio_session *s);
/* b64=1 in the query: the peer takes text only. */
bool rt_eio_wants_text(const struct rt_http_request *req);
/* Appends a WebSocket frame of text with a binary message in it. */
void rt_eio_encode_base64(struct rt_buf *out, const struct rt_eio_revision *revision,
                          struct rt_str payload);
/* Appends one text packet (type and data in `head`, then `tail`) in the wire form of a transport. */
void rt_eio_encode_packet(struct rt_buf *out, enum rt_eio_transport transport, struct rt_str head,
                          struct rt_str tail);
/* Sends what was encoded into mount->scratch for the present transport. A failure ends the session. */
int rt_eio_session_send_scratch(struct rt_eio_session *s);
/* Queues one packet of ours on the present transport. */
int rt_eio_session_send(struct rt_eio_session *s, enum rt_eio_packet_type type, struct rt_str data);

/* engine_polling.c */
int rt_eio_poll_new(struct rt_eio_session *s, const struct rt_http_request *req);
void rt_eio_poll_free(struct rt_eio_poll *p);
void rt_eio_poll_get(struct rt_eio_session *s, struct rt_http_request *req);
/* From head(): false when answered. */
bool rt_eio_poll_post_head(struct rt_eio_session *s, struct rt_http_request *req);
void rt_eio_poll_post(struct rt_eio_session *s, struct rt_http_request *req);
/* RT_ENOMEM; RT_ECLOSED: its queue has passed the limit, the session has ended. */
int rt_eio_poll_queue(struct rt_eio_session *s, struct rt_bytes *bytes, uint32_t off, uint32_t len);
/* Answers a held GET with what is queued, if anything is. */
void rt_eio_poll_flush(struct rt_eio_session *s);
/* Answers a held GET with a noop. */
void rt_eio_poll_release(struct rt_eio_session *s);
/* The upgrade is probed: a held GET is answered at the end of the turn, with what there is then or a noop. */
void rt_eio_poll_probed(struct rt_eio_session *s);
/* Answers what is held because the session ends. `final`: the last packet of the body, 0 none. */
void rt_eio_poll_end(struct rt_eio_session *s, char final);
/* The answer to a GET of a lingering session: everything, then `1`. */
void rt_eio_poll_last(struct rt_eio_session *s, struct rt_http_request *req);
/* Moves what is queued to the session's WebSocket, in order. */
int rt_eio_poll_to_websocket(struct rt_eio_session *s);
/* The pause is over: answers a POST that was held back. */
void rt_eio_poll_resume(struct rt_eio_session *s);

/* engine_ws.c */
void rt_eio_ws_handshake(struct rt_eio_mount *m, struct rt_http_request *req, unsigned revision);
void rt_eio_ws_upgrade(struct rt_eio_session *s, struct rt_http_request *req);
/* Sends encoded frames on the session's link, paced where configured. RT_ENOMEM; RT_ECLOSED. */
int rt_eio_ws_send(struct rt_eio_link *l, struct rt_bytes *bytes, uint32_t off, uint32_t len);
int rt_eio_ws_send_copy(struct rt_eio_link *l, struct rt_str frames);
/* The same on its link, binary frames as text packets with base64: for peers that asked for it with b64=1. */
int rt_eio_ws_send_as_text(struct rt_eio_session *s, struct rt_str frames);
/* Lets go of a link: the connection is closed after what is queued. */
void rt_eio_link_release(struct rt_eio_link *l, uint16_t code);

/* engine_http.c */
int rt_eio_mount_route(struct rt_eio_mount *m, struct rt_err *err);
/* Answers with a JSON error of the protocol. */
void rt_eio_error(struct rt_eio_mount *m, struct rt_http_request *req, enum rt_eio_error error);
/* A response with the CORS lines of this request and `Cache-Control: no-store`. */
void rt_eio_respond(struct rt_eio_mount *m, struct rt_http_request *req, int status,
                    const char *content_type, struct rt_str body);
/* Cookie of the handshake response: "Set-Cookie: ..\r\n" or nothing. */
void rt_eio_add_cookie(const struct rt_eio_session *s, struct rt_buf *out);
/* The same with extra header lines. */
void rt_eio_respond_with(struct rt_eio_mount *m, struct rt_http_request *req, int status,
                         const char *content_type, struct rt_str headers, struct rt_str body);

/* engine_cors.c */
bool rt_eio_origin_allowed(const struct rt_engineio_config *config,
                           const struct rt_http_request *req);
bool rt_eio_cors_on(const struct rt_engineio_config *config);
void rt_eio_cors_preflight(struct rt_eio_mount *m, struct rt_http_request *req);

/* engine.c */
/* Something was refused; `key`: the option within the mount's section, NULL none; `what` and `text` as in struct rt_refusal_note. */
void rt_eio_refused(struct rt_eio_mount *m, enum rt_refusal why, struct rt_str what,
                    const char *text, const char *key);
/* Says why a session ends that its client would not want to end: slow, or what it sent is malformed. */
void rt_eio_tell_end(struct rt_eio_mount *m, enum rt_eio_reason reason, const char *text);
void rt_eio_drain_check(struct rt_eio_mount *m);

#endif
