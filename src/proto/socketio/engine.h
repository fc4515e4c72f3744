/* Engine.IO protocol 4, and 3 where it is allowed: sessions over HTTP long-polling and WebSocket, and the upgrade between them.
 * Source of the format: the Engine.IO protocol specifications (socket.io project), and what its reference server does on the wire. What is different in
 * revision 3 is a row of a table (engine_revision.h).
 *
 * A session is not a socket: it lives over requests (polling), moves to a WebSocket (upgrade) and dies by close, heartbeat or error. Its user (Socket.IO,
 * or a bare endpoint bound to a channel) sees messages only.
 * A mount is one path with its settings and user; session ids are looked up in the mount: "<node>.<20 random characters>"
 * when a node prefix is configured, else 20 characters.
 *
 * Wire forms: an encoding of the hub is made for one transport. On WebSocket it is a run of frames. On polling it is a run of packets, each *preceded* by 0x1e; the session cuts
 * the run into bodies of at most 16 packets, which it writes as the session's revision wants them. Text with a 0x1e in it has no form there and goes as a binary message. A session changes its form in on_transport, exactly when the client's upgrade packet has arrived.
 * Heartbeat: the server pings (revision 3: the client); deadlines are absolute and checked by timer and on every request; the pong deadline survives the upgrade.
 * Close: rt_eio_close() sends what is queued first: on polling, for RT_EIO_FORCED_CLOSE and RT_EIO_PARSE_ERROR (the user's protocol was broken), followed by packet
 * `1` in an answer of its own (kept up to 30 s for the next GET), on WebSocket by an empty close frame (or `code`).
 * Ownership: the engine allocates session and user part in one block, and frees it after on_close, at the end of the turn. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_ENGINE_H
#define RT_PROTO_SOCKETIO_ENGINE_H

#include "base/rand.h"
#include "conf/config.h"
#include "http/server.h"
#include "session/refusals.h"
#include "ws/ws.h"

struct rt_eio_mount;
struct rt_eio_session;

enum rt_eio_transport { RT_EIO_POLLING, RT_EIO_WEBSOCKET };

/* The form in which packets are queued: by transport, and for the revision of the protocol. */
enum rt_eio_form {
    RT_EIO_FORM_POLLING,
    RT_EIO_FORM_WEBSOCKET,
    RT_EIO_FORM_POLLING3,
    RT_EIO_FORM_WEBSOCKET3,
    RT_EIO_FORMS
};

enum rt_eio_reason {
    RT_EIO_TRANSPORT_CLOSE, /* the peer's connection went away */
    RT_EIO_TRANSPORT_ERROR,
    RT_EIO_PING_TIMEOUT,
    RT_EIO_PARSE_ERROR,  /* the peer broke the protocol */
    RT_EIO_CLIENT_CLOSE, /* packet `1` */
    RT_EIO_FORCED_CLOSE, /* rt_eio_close() */
    RT_EIO_SLOW,         /* its queue passed the limit */
    RT_EIO_ABANDONED,    /* no request followed the handshake over polling */
    RT_EIO_SHUTDOWN,
};
const char *rt_eio_reason_name(enum rt_eio_reason reason);

/* What the handshake request was; kept only for mounts with `keep_handshake`. Slices live as long as the session. */
struct rt_eio_handshake {
    struct rt_str url;     /* target as received */
    struct rt_str query;   /* without '?' */
    struct rt_str headers; /* "name: value\r\n" lines, names in lower case */
    struct rt_str address;
    bool secure;
    bool xdomain;    /* the request had an Origin header */
    uint64_t issued; /* wall clock, ms */
};

struct rt_eio_user {
    size_t size; /* bytes of the user part, zeroed before on_open */
    /* The open packet has been queued. Returning a negative code closes the session; on_close follows. */
    int (*on_open)(struct rt_eio_session *s);
    /* The peer has got it: right behind on_open over WebSocket; over polling when the first request comes that follows the handshake, before it is
     * answered. May be NULL. */
    void (*on_ready)(struct rt_eio_session *s);
    /* One message packet. `data` is valid during the call and may be changed in place. */
    void (*on_message)(struct rt_eio_session *s, bool binary, uint8_t *data, size_t len);
    /* From the return on the session sends in this form. What is sent until then is still in the former one (rt_eio_transport() says
     * so): it is converted with what was queued. */
    void (*on_transport)(struct rt_eio_session *s, enum rt_eio_transport transport);
    /* Last callback. May come from inside rt_http or rt_ws callbacks, but never from inside a rt_eio_* call of the user. */
    void (*on_close)(struct rt_eio_session *s, enum rt_eio_reason reason);
};

struct rt_eio_options {
    const char *path; /* "/socket.io/" */
    const struct rt_engineio_config *config;
    const struct rt_eio_user *user;
    void *user_arg; /* rt_eio_arg() */
    bool keep_handshake;
    const char *node;    /* prefix of session ids, "" none */
    size_t send_queue;   /* bytes that may wait for one session */
    size_t max_sessions; /* more are refused with 503; 0: the descriptor limit */
    /* Sessions over polling (engine_quota.h). */
    size_t max_polling_per_ip; /* 0: a quarter of all */
    size_t max_polling_bytes;  /* 0: no limit */
    uint64_t confirm_within; /* ms from a handshake over polling to the next request; 0: no limit */
    struct rt_metrics *metrics;   /* NULL: none */
    const char *protocol;         /* label of the metrics: "socketio", "raw" */
    const char *section;          /* of the configuration: "protocols.socketio" */
    struct rt_refusals *refusals; /* NULL: nobody is told */
    /* A GET without EIO parameters that is below the path: files such as socket.io.js. Returns true when it has answered. May be NULL. */
    bool (*file)(struct rt_http_request *req, void *arg);
    /* Makes the random part of the id of a session of revision 3, which its client shows around as its own. NULL: rt_random_id(). */
    void (*make_id)(char out[RT_ID_LEN + 1]);
};

/* Adds the route to the server. Strings of `options` are used as they are (configuration lives longer). */
int rt_eio_mount(struct rt_http_server *http, struct rt_loop *loop, struct rt_ws_pool *pool,
                 const struct rt_eio_options *options, struct rt_eio_mount **ret_mount,
                 struct rt_err *err);
/* Closes all sessions (RT_EIO_SHUTDOWN), spread evenly over `jitter_ms`; refuses new ones with 503. `drained` is called once none is left. */
void rt_eio_drain(struct rt_eio_mount *mount, uint64_t jitter_ms, void (*drained)(void *arg),
                  void *arg);
/* No session may be left. */
void rt_eio_unmount(struct rt_eio_mount *mount);

void *rt_eio_user(struct rt_eio_session *s); /* the user part */
struct rt_eio_session *rt_eio_of_user(void *user);
void *rt_eio_arg(struct rt_eio_session *s);
/* Secret: never shown to others. (In revision 3 the client takes it for its own id.) */
const char *rt_eio_sid(const struct rt_eio_session *s);
enum rt_eio_transport rt_eio_transport(const struct rt_eio_session *s);
unsigned rt_eio_revision(const struct rt_eio_session *s); /* of the protocol: 4, or 3 */
/* Its form on a transport; its present one. */
enum rt_eio_form rt_eio_form_on(const struct rt_eio_session *s, enum rt_eio_transport transport);
enum rt_eio_form rt_eio_form(const struct rt_eio_session *s);
const struct rt_eio_handshake *rt_eio_handshake(const struct rt_eio_session *s);
struct rt_loop *rt_eio_loop(struct rt_eio_session *s);
size_t rt_eio_sessions(const struct rt_eio_mount *mount);

/* Sends one message: text (packet `4`) or binary. RT_ECLOSED, RT_ENOMEM (then the session is being closed). */
int rt_eio_send(struct rt_eio_session *s, bool binary, struct rt_str payload);
/* Sends [off, off+len) of bytes that are encoded in the session's present form; keeps a reference. */
int rt_eio_send_encoded(struct rt_eio_session *s, struct rt_bytes *bytes, uint32_t off,
                        uint32_t len);
/* Appends one message packet in a form: for encodings of the hub. */
void rt_eio_encode(struct rt_buf *out, enum rt_eio_form form, bool binary, struct rt_str payload);
/* Text payload in two pieces without a copy of its own: head then tail. */
void rt_eio_encode2(struct rt_buf *out, enum rt_eio_form form, struct rt_str head,
                    struct rt_str tail);
/* WebSocket without a write in flight, or polling with a GET held. */
bool rt_eio_writable(const struct rt_eio_session *s);
size_t rt_eio_queued(const struct rt_eio_session *s);
/* Stops and continues taking packets from the peer (WebSocket: reading stops; polling: the POST is answered later). What has been
 * read already still comes. No pong is missed meanwhile. */
void rt_eio_pause(struct rt_eio_session *s);
void rt_eio_resume(struct rt_eio_session *s);
/* Everything sent before the ping that was answered last has been received: called with each pong. May be NULL; set from on_open. */
void rt_eio_on_pong(struct rt_eio_session *s, void (*fn)(struct rt_eio_session *s));
void rt_eio_close(struct rt_eio_session *s, enum rt_eio_reason reason, uint16_t ws_code);
/* Appends the header lines that `cors` of the configuration wants in the answer to a request: for what is served below the path besides. */
void rt_eio_cors_add(const struct rt_engineio_config *config, const struct rt_http_request *req,
                     struct rt_buf *out);

#endif
