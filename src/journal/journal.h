/* The log: gives each message of a channel its position and says when it is stored.
 *
 * Implementations: memory (rt_journal_memory: positions live in the hub's channel, an epoch per channel object) and SQLite (rt_journal_sqlite: one
 * writer thread, group commit, WAL; a per-channel sequence from 1, an epoch for each run that wrote, see sqlite_epoch.h), Kafka (journal/kafka.h).
 *
 * Append: `done` is called on the loop, in the order of commit, exactly once, never from inside rt_journal_append(); except that an implementation that
 * stores at once returns RT_OK with the result filled and calls nothing (RT_PENDING otherwise).
 * Results: RT_OK with a position; RT_EAGAIN certainly not stored ("retry"); RT_EUNKNOWN may be stored ("unknown"); RT_ERANGE not stored, and
 * never will be: it is larger than this log takes ("refused").
 * Dedupe: an append with a key that the same publisher used on that channel within the window is answered RT_OK with the first one's position and duplicate = true.
 * A failed append of a channel fails the later ones in flight of that channel too (order): those that were handed in before `done` told of the failure.
 * The caller puts the position into the message and the channel. (The memory journal counts on it: the message has reached the hub before the next append.)
 * SQLite: disk full -> RT_EAGAIN until there is room; any fsync or I/O error at commit -> RT_EUNKNOWN, the journal stops for good and `failed` is called on the loop (the process exits 70).
 * Thread: the loop calls; workers own the database. */
#ifndef RT_JOURNAL_JOURNAL_H
#define RT_JOURNAL_JOURNAL_H

#include "hub/hub.h"
#include "net/loop.h"
#include "worker/queue.h"

#define RT_PENDING   1
#define RT_EPOCH_MAX 23

struct rt_position {
    char epoch[RT_EPOCH_MAX + 1];
    uint64_t offset;
};

struct rt_append {
    struct rt_task task;        /* internal */
    uint64_t failures;          /* internal: failures that the loop knew of when it was handed in */
    uint64_t handed_in;         /* internal: monotonic, ns */
    struct rt_stored *message;  /* the append holds a reference until done */
    struct rt_channel *channel; /* pinned by the caller until done */
    struct rt_str channel_name; /* copied by the caller into memory that lives until done */
    void (*done)(struct rt_append *self);
    /* result */
    int status;
    bool duplicate;
    struct rt_position position;
    char text[120]; /* for people, when status is not RT_OK */
};

/* Times are what clocks said, so they rise with offsets but for: clocks that lie apart as they always do, or are set a little; and one that was wrong by an hour, in either direction. ms. */
#define RT_CLOCK_SKEW 60000u
#define RT_CLOCK_JUMP (3600000u + RT_CLOCK_SKEW)

/* Reads stored messages: offsets in (since, until], oldest first, or newest first with `reverse` (then offsets in [until, since) going down; since 0 = from the top), at most `limit`.
 * With `by_time` the source looks for the first message in the order of the log that was published at `time` or later, tells of it in `found`, and puts its position into
 * `since`: the offset of the stored message before it (0 none), so that the page begins with it; with `reverse` its own, so that the page begins with the one before it.
 * Where there is none it is that of the newest that is stored (0 none), so that the page is empty; with `reverse` 0, so that it begins with the newest.
 * A page also ends once it holds RT_READ_BYTES: then `more` is set, and the caller goes on from the last message that it got.
 * Answered by a journal that keeps what it stores (SQLite), or by store/store.h for one that does not (Kafka). All of an answer is of one moment. */
#define RT_READ_BYTES (16u << 20)
struct rt_read {
    struct rt_task task;        /* internal */
    struct rt_str channel_name; /* lives until done */
    uint64_t since;
    uint64_t until; /* 0: no bound */
    uint64_t time;  /* wall ms; with by_time */
    uint32_t limit; /* 0: position only */
    bool reverse, by_time;
    /* Whose messages; "": what the source has. With SQLite the epoch of `since`; "": not known. */
    char epoch[RT_EPOCH_MAX + 1];
    void (*done)(struct rt_read *self);
    /* result: the caller owns the array (rt_free) and one reference of each */
    int status; /* RT_ERANGE: `since` is no position of what is stored; else one of top.epoch is as good */
    struct rt_stored **messages;
    size_t count;
    bool more;              /* cut short by RT_READ_BYTES */
    bool found;             /* with by_time */
    struct rt_position top; /* position of the channel; offset 0 when it has never had a message */
    bool damaged; /* in reverse: what should lie among these messages is damaged and not served */
    uint64_t
        floor; /* messages of the channel up to it may be stored no more, or are damaged where the page begins; 0: all are */
    uint64_t
        complete; /* all of the channel up to it have come to this source; UINT64_MAX: all there are. Never below a message's offset */
    char text[120];
};

struct rt_journal;

struct rt_journal_options {
    struct rt_loop *loop;
    struct rt_hub *hub;
    struct rt_metrics *metrics;
    uint64_t idempotency_window; /* ms */
    size_t keys_bytes;           /* memory and Kafka: cap of what keys take in memory; 0 none */
    /* SQLite */
    const char *path; /* beside it: PATH-wal, PATH-shm, PATH-lock (see sqlite_lock.h) */
    const char
        *vfs; /* name of a registered sqlite3_vfs, NULL: the default (tests put faults there) */
    bool sync_full;
    uint64_t max_size;                           /* bytes of the database file, 0 no limit */
    uint64_t retention;                          /* ms, 0 never */
    size_t queue_bytes;                          /* cap of appends in flight; 0: 64 MiB */
    void (*failed)(void *arg, const char *text); /* the log cannot go on */
    /* The queue fell below half after rt_journal_congested() had become true. */
    void (*relieved)(void *arg);
    void *arg; /* `metrics` may not be written after rt_journal_free() */
};

int rt_journal_memory(const struct rt_journal_options *options, struct rt_journal **ret_journal,
                      struct rt_err *err);
/* Opens or creates the database, migrates (PRAGMA user_version), runs quick_check; blocks; called before serving. */
int rt_journal_sqlite(const struct rt_journal_options *options, struct rt_journal **ret_journal,
                      struct rt_err *err);

/* What rt_journal_sqlite() would refuse, as far as can be told without touching the file: RT_EINVAL with text when its folder is missing or neither can be written. */
int rt_journal_sqlite_check(const char *path, struct rt_err *err);

/* 0 (stored, result filled, `done` is not called) or RT_PENDING (`done` will be), or a negative code: not stored, `done` is not called, text filled. */
int rt_journal_append(struct rt_journal *j, struct rt_append *append);
/* RT_PENDING, or a negative code (RT_ENOENT: this journal keeps nothing beyond the hub's memory). */
int rt_journal_read(struct rt_journal *j, struct rt_read *read);
/* Where a reader of the channel stands that has got everything which this node has delivered so far. False: a journal that does not deliver
 * (the channel itself knows), or the epoch is not known yet. */
bool rt_journal_position(const struct rt_journal *j, struct rt_str channel,
                         struct rt_position *ret_position);
/* Appends in flight passed 80 % of the cap: publishers should pause. */
bool rt_journal_congested(const struct rt_journal *j);
/* True: the journal hands what is committed to the broker itself, whoever appended it, in the order of the log (journal/kafka.h); `done` is the answer to
 * the publisher only. False: the broker delivers a message once `done` says RT_OK. */
bool rt_journal_delivers(const struct rt_journal *j);
/* Partitions that give the positions: each channel has that of rt_partition_of() (journal/sequencer.h), and nodes that share the log agree about
 * positions. 0: every channel has positions of its own. */
uint32_t rt_journal_partitions(const struct rt_journal *j);
/* What has been delivered of a partition so far: up to which offset, 0 nothing known; returns the epoch, "" not known. During a delivery it counts the message that
 * is being delivered. `partition` < rt_journal_partitions(). */
const char *rt_journal_delivered(const struct rt_journal *j, uint32_t partition,
                                 uint64_t *ret_offset);
/* No failure and able to store, for /readyz; `*ret_text` (may be NULL) gets the last error or "". */
bool rt_journal_healthy(const struct rt_journal *j, const char **ret_text);
const char *rt_journal_name(const struct rt_journal *j); /* "memory", "sqlite", "kafka" */
/* No more appends; what is in flight is committed and its `done` called, then `closed(arg)` on the loop. Then rt_journal_free(). */
void rt_journal_close(struct rt_journal *j, void (*closed)(void *arg), void *arg);
void rt_journal_free(struct rt_journal *j);

/* How an implementation looks from inside. */
struct rt_journal_ops {
    const char *name;
    bool delivers; /* see rt_journal_delivers() */
    int (*append)(struct rt_journal *j, struct rt_append *append);
    int (*read)(struct rt_journal *j, struct rt_read *read);
    bool (*position)(const struct rt_journal *j, struct rt_str channel,
                     struct rt_position *ret_position); /* NULL: it does not deliver */
    uint32_t (*partitions)(const struct rt_journal *j); /* NULL: none */
    const char *(*delivered)(const struct rt_journal *j, uint32_t partition, uint64_t *ret_offset);
    bool (*congested)(const struct rt_journal *j);
    bool (*healthy)(const struct rt_journal *j, const char **ret_text);
    void (*close)(struct rt_journal *j, void (*closed)(void *arg), void *arg);
    void (*free)(struct rt_journal *j);
};
struct rt_journal {
    const struct rt_journal_ops *ops; /* first member of each implementation */
};

#endif
