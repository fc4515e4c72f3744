/* Packets of the Socket.IO protocol, version 5: `<type>[<attachments>-][<namespace>,][<ack
 * id>][<JSON>]`, the payload of one Engine.IO text message. Source: the Socket.IO protocol
 * specification (socket.io project) and what its reference parser accepts.
 *
 * Parsing is pure and copies nothing: slices point into the text. A packet that breaks the protocol
 * is an error, upon which the whole connection is closed. Tolerated are an event or answer without
 * payload, zero attachments, an ack id where it has no meaning. Thread: any. */
#ifndef RT_PROTO_SOCKETIO_PACKET_H
#define RT_PROTO_SOCKETIO_PACKET_H

#include "base/buf.h"
#include "base/err.h"
#include "net/unfinished.h"

enum rt_sio_type {
    RT_SIO_CONNECT,
    RT_SIO_DISCONNECT,
    RT_SIO_EVENT,
    RT_SIO_ACK,
    RT_SIO_CONNECT_ERROR,
    RT_SIO_BINARY_EVENT,
    RT_SIO_BINARY_ACK,
};

/* Digits of an ack id that are echoed as they came (JavaScript counts to 2^53). */
#define RT_SIO_ID_MAX 20

struct rt_sio_packet {
    enum rt_sio_type type;
    uint32_t attachments; /* that follow as binary messages */
    struct rt_str nsp;    /* "/" when the packet names none */
    struct rt_str id;     /* digits; none */
    struct rt_str data;   /* JSON, no white space around it; none */
    struct rt_str event;  /* events: the name as JSON, a string or a number; none without data */
};

/* What a client may send. RT_EINVAL, RT_ERANGE (too many attachments, too deep, too long an id)
 * with a text for the log. */
int rt_sio_parse(struct rt_str text, uint32_t max_attachments, struct rt_sio_packet *ret_packet,
                 struct rt_err *err);

/* Names that mean something to clients and cannot be events: connect, connect_error, disconnect,
 * disconnecting, newListener, removeListener. */
bool rt_sio_reserved(struct rt_str event);
/* The items of an array behind the first `skip` ones, as they stand: "1, {}"; empty when there are
 * none. */
struct rt_str rt_sio_items_after(struct rt_str array, size_t skip);

/* Writes what stands before the JSON. `type` is EVENT or ACK also for binary ones: `attachments`
 * decides. `nsp` "/" is left out; `id` may be none. */
void rt_sio_head(struct rt_buf *out, enum rt_sio_type type, size_t attachments, struct rt_str nsp,
                 struct rt_str id);

/* Collects the attachments of one packet. */
struct rt_sio_assembly;
/* Copies `text`; `packet` is what rt_sio_parse() made of it, with attachments > 0. Placeholders get
 * their one shape (placeholder.h). NULL: out of memory. */
struct rt_sio_assembly *rt_sio_assembly_new(struct rt_str text, const struct rt_sio_packet *packet);
void rt_sio_assembly_free(struct rt_sio_assembly *a);
/* For its user, who counts it as an unfinished message; zeroed, ended by rt_sio_assembly_free(). */
struct rt_sio_pending {
    struct rt_unfinished unfinished;
    void *owner;
};
struct rt_sio_pending *rt_sio_assembly_pending(struct rt_sio_assembly *a);
/* Bytes that it takes. */
size_t rt_sio_assembly_size(const struct rt_sio_assembly *a);
/* 1: that was the last one; 0: more to come; RT_ERANGE: text and attachments together passed
 * `max_bytes`; RT_ENOMEM. */
int rt_sio_assembly_add(struct rt_sio_assembly *a, struct rt_str attachment, size_t max_bytes);
/* Of a complete one: the packet (slices point into the assembly) and its attachments,
 * packet->attachments of them. */
const struct rt_sio_packet *rt_sio_assembly_packet(struct rt_sio_assembly *a,
                                                   const struct rt_str **ret_attachments);

#endif
