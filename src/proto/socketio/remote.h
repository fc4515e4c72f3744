/* Sessions that outlive their node: what Redis keeps of each, and what nodes tell each other.
 *
 * A hash `s:<pid>` for each session that may come back, for as long as that: `o` its owner (20
 * characters of a claim, then the node's name), `s` its state (sealed: id, namespace, number of the
 * last event to it alone, channels with the places at which they were joined), `a` the token that
 * it has surely received, `c` how often it was claimed, `v` how often it was written as a whole, `e` the generation of Redis at that time
 * (cluster/generation.h). Only the owner writes, in scripts that check this; who brings a session
 * back claims it first, in one step. So of two that come with one token the last one wins, and a
 * node that has lost a session is told so when it next writes, or by mail.
 * Redis may be emptied, or come back with an older state: each node then writes all of its sessions again, and what was written under another
 * generation is not brought back before its owner has done so. Whoever writes only the token sees by `v` and `e` whether the rest is what it wrote.
 * Written in the turn in which it changes, before the client gets anything of that turn. While Redis
 * is away sessions stay as they are here, and are written again when it is back; those who come
 * back meanwhile start anew. Only for recovery. Thread: the loop. */
#ifndef RT_PROTO_SOCKETIO_REMOTE_H
#define RT_PROTO_SOCKETIO_REMOTE_H

#include "proto/socketio/recovery_internal.h"

/* Begins, once the log and the cluster are there. RT_EINVAL: the log is not shared. */
int rt_sio_remote_start(struct rt_sio_recovery *r, struct rt_cluster *cluster);
void rt_sio_remote_stop(struct rt_sio_recovery *r);

/* All of these do nothing where no log is shared. */
void rt_sio_remote_changed(struct rt_sio_track *t); /* is written in this turn's flush */
void rt_sio_remote_park(struct rt_sio_track *t);    /* the connection is going: written now */
void rt_sio_remote_pong(struct rt_sio_track *t);
void rt_sio_remote_drop(struct rt_sio_track *t);   /* will not come back */
void rt_sio_remote_forget(struct rt_sio_track *t); /* only here: Redis keeps it */

/* Makes a claim id and claims the session for this node. `done` gets 0 items: there is none, or with the number 1: its owner has not confirmed it since Redis
 * has changed, and nothing was claimed; else owner, state, token and number of claims as in the hash, and how many listen to the owner's mail ("0": it is gone). Codes as rt_redis_eval(). */
int rt_sio_remote_claim(struct rt_sio_recovery *r, struct rt_str pid, const char *claim,
                        void (*done)(void *arg, const struct rt_redis_reply *reply), void *arg,
                        struct rt_redis_call **ret_call);
/* Writes the track now; `done` gets the number 1: it is ours, 0: it is not any more. */
int rt_sio_remote_save(struct rt_sio_track *t,
                       void (*done)(void *arg, const struct rt_redis_reply *reply), void *arg,
                       struct rt_redis_call **ret_call);
/* Has every owner that lives had the time to confirm its sessions? */
bool rt_sio_remote_confirmed(const struct rt_sio_recovery *r);
/* Gives up a claim: the session is gone for good. */
void rt_sio_remote_give_up(struct rt_sio_recovery *r, struct rt_str pid, const char *claim);
/* Asks the owner before us to let go. True: it is another node, and will answer (rt_sio_resume_former_gone()), unless it is gone or of an older version. */
bool rt_sio_remote_ask(struct rt_sio_recovery *r, struct rt_str pid, struct rt_str owner);

/* A session as another node wrote it; slices of the text. */
struct rt_sio_stored {
    struct rt_str sid, nsp, rooms;            /* rooms: for rt_sio_state_next() */
    uint64_t number, number_stamp, confirmed; /* of the last event to it alone; received for sure */
};
bool rt_sio_state_read(struct rt_sio_recovery *r, struct rt_str pid, struct rt_str sealed,
                       struct rt_sio_stored *ret);
/* The next channel, or one that was left (then it has no name). 1, 0 at the end, RT_EINVAL. */
int rt_sio_state_next(struct rt_str *rooms, struct rt_str *ret_channel,
                      struct rt_sio_place *ret_place);

/* ---- sockets on other nodes ---- */

/* A new id for a socket, which every node knows for one. */
void rt_sio_remote_make_id(char out[RT_ID_LEN + 1]);
bool rt_sio_remote_is_id(struct rt_str id);
/* The channel is the id room of a socket, here or elsewhere. */
bool rt_sio_remote_is_id_room(struct rt_str channel);
/* To the socket of this id room on whichever node it is. RT_EAGAIN: Redis does not take it. */
int rt_sio_remote_send(struct rt_socketio *s, struct rt_str channel, const struct rt_message *m);

#endif
