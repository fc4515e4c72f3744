/* What the two halves of recovery share: track.c follows a live socket, recovery.c keeps sessions
 * that wait and brings them back. Only for those. Ownership: a track belongs to the table of pids;
 * it has either a live socket or a waiting session. */
#ifndef RT_PROTO_SOCKETIO_RECOVERY_INTERNAL_H
#define RT_PROTO_SOCKETIO_RECOVERY_INTERNAL_H

#include "cluster/cluster.h"
#include "proto/socketio/places.h"
#include "proto/socketio/recovery.h"

/* A packet that was sent to one socket alone: its text, then its attachments. */
struct rt_sio_kept {
    struct rt_list link; /* in track->kept, oldest first */
    uint64_t stamp;      /* of the hub when it was sent: it stands behind all messages up to it */
    uint32_t number;     /* rises by one per socket */
    uint32_t text_len;
    uint32_t count; /* attachments */
    size_t size;    /* of this block */
    uint32_t lens[];
};

/* A channel that was joined after the position that is surely received. */
struct rt_sio_join {
    uint64_t channel; /* hash of its name */
    uint64_t stamp;   /* messages up to it are not for this socket */
};

/* Nodes that share a log: where a channel stood when the session joined it; of one that was left, the
 * place up to which its messages must have arrived. */
struct rt_sio_joined {
    uint64_t channel; /* hash of its name; 0: it was left */
    struct rt_sio_place place;
};

struct rt_sio_waiting_room {
    struct rt_channel *channel; /* pinned */
    uint64_t joined;
};

/* A session without a connection. */
struct rt_sio_waiting {
    struct rt_list link; /* in recovery->waiting, the one that expires first in front */
    struct rt_sio_track *track;
    struct rt_sio_nsp *nsp; /* a reference */
    uint64_t expires;       /* loop time */
    uint64_t subscriber;    /* id */
    size_t size;
    char sid[RT_ID_LEN + 1];
    bool left_id; /* the room of its own id */
    uint32_t room_count;
    struct rt_sio_waiting_room rooms[];
};

struct rt_sio_track {
    struct rt_sio_recovery *r;
    struct rt_sio_socket *socket;   /* NULL while it waits */
    struct rt_sio_waiting *waiting; /* NULL while it is connected */
    uint64_t start;                 /* stamp when the session was made */
    uint64_t floor;                 /* no recovery from before it */
    /* received for sure; and what was queued at the last pong, which the next one will confirm */
    uint64_t acked, mark;
    uint32_t acked_number, mark_number;
    uint32_t number;         /* last one given */
    uint32_t dropped_number; /* highest that the ring has lost, and its stamp */
    uint64_t dropped_stamp;
    struct rt_list kept;
    size_t kept_bytes;
    struct rt_sio_join *joins;
    uint32_t join_count, join_cap;
    char pid[RT_ID_LEN + 1];
    /* Nodes that share a log; see remote.h. */
    char claim[RT_ID_LEN + 1];
    uint32_t version;       /* number of its last whole write */
    struct rt_list unsaved; /* in recovery->unsaved while Redis has not all of it */
    struct rt_sio_joined *joined;
    uint32_t joined_count, joined_cap;
    struct rt_bytes *mark_token; /* what the next pong will confirm; NULL: nothing */
    bool moves;                  /* goes, but not away: Redis keeps it */
    uint32_t claims;             /* how often it was claimed: who has it by a later one has it */
    uint64_t number_stamp;       /* of the last event to it alone */
};

struct rt_sio_recovery {
    struct rt_socketio *s;
    struct rt_map pids; /* of tracks */
    struct rt_map sids; /* of waiting sessions */
    struct rt_list waiting;
    struct rt_timer timer; /* for the first of them */
    size_t waiting_bytes;
    size_t kept_bytes; /* of all rings */
    /* Nodes that share a log; all empty otherwise. */
    struct rt_sio_places *places;
    struct rt_cluster *cluster;
    const uint64_t *replaying; /* offsets that tokens name now; NULL: what has been delivered */
    struct rt_list unsaved;    /* tracks */
    struct rt_list saves;      /* answers of Redis that are awaited */
    struct rt_list resumes;    /* rt_sio_resume.link */
    struct rt_buf state, sealed;
};

/* Appends a token without quotes. `number` counts when `alone`. */
void rt_sio_token_write(const struct rt_sio_recovery *r, uint64_t stamp, bool alone,
                        uint32_t number, struct rt_buf *out);
/* Where a client stands, as its token says. */
struct rt_sio_position {
    uint64_t stamp; /* of the hub that wrote the token, with its base */
    uint32_t number;
    bool has_number;      /* the last event was one to it alone */
    struct rt_str places; /* text; empty: none */
};
/* False: it is no token. */
bool rt_sio_token_read(struct rt_str text, struct rt_sio_position *ret);
/* The session that this pid names waits here, or is made to: a connection that still has it
 * (half-open, probably) is closed, unless it is the client's own. NULL: none. */
struct rt_sio_track *rt_sio_recovery_find(struct rt_sio_recovery *r, struct rt_sio_client *client,
                                          struct rt_str nsp, struct rt_str pid);
/* Brings a session that waits here back from what this node has kept; NULL: that does not do, it
 * waits still. `offset` is JSON. `*ret_missed`: what it is to be sent, NULL nothing, else the
 * caller's reference. */
struct rt_sio_socket *rt_sio_recovery_revive(struct rt_sio_track *t, struct rt_sio_client *client,
                                             struct rt_str offset, struct rt_bytes **ret_missed);
/* A track with a given pid for a session that comes from another node. */
int rt_sio_track_import(struct rt_sio_recovery *r, struct rt_sio_socket *socket, struct rt_str pid);
/* Closes the connection of a track, or forgets that it waits: it is another node's now. */
void rt_sio_track_let_go(struct rt_sio_track *t);
bool rt_sio_track_note_place(struct rt_sio_track *t, struct rt_str channel,
                             const struct rt_sio_place *place);

/* Takes it out of the table and frees it with everything that it has. */
void rt_sio_track_forget(struct rt_sio_track *t);
uint64_t rt_sio_track_joined_at(const struct rt_sio_track *t, struct rt_str channel);
/* Remembers when the channel was joined. */
void rt_sio_track_note_join(struct rt_sio_track *t, struct rt_str channel, uint64_t stamp);
/* Turns a track without socket into one that waits, from the socket that is going. False: out of
 * memory. */
bool rt_sio_track_wait(struct rt_sio_track *t, struct rt_sio_socket *socket);
/* Ends the waiting: gives back nsp and pins, frees it. */
void rt_sio_waiting_free(struct rt_sio_waiting *w);

#endif
