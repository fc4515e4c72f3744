/* Kafka in: a member of a consumer group on a thread of its own, which hands records to the loop and commits those that are done.
 *
 *     [ Kafka -> poll -> in flight ]  --records by mailbox-->    loop: records()
 *     [ commit <- offsets <- bury   ]  <--done|refused by queue-- rt_intake_done()
 *
 * At least once: an offset is committed when all records of its partition below it are done, or refused and stored in the dead letter topic.
 * Bounded: RT_INTAKE_RECORDS and RT_INTAKE_BYTES are in flight between records() and rt_intake_done(); a loop that is slower for longer pauses the partitions.
 * Rebalances: what is done is committed before the partitions go, all records handed over before are void then: revoked() tells, they are given back as dropped.
 * Dead letters: the record as it was (key, value, headers), and behind its headers rt-error, rt-topic, rt-partition, rt-offset, rt-timestamp (ms; not
 * when it had none) and rt-group. They are tried until they are stored. The topic is made when it is not there.
 * Kafka away: nothing comes, and it heals by itself, at start too. A fatal error of the member: it is replaced.
 * Thread: the loop calls, callbacks come on the loop. */
#ifndef RT_JOURNAL_INTAKE_H
#define RT_JOURNAL_INTAKE_H

#include "conf/config.h"
#include "journal/record.h"
#include "net/loop.h"
#include "worker/queue.h"

#define RT_INTAKE_RECORDS 1024u
#define RT_INTAKE_BYTES   ((size_t)4 << 20)

enum rt_intake_verdict {
    RT_INTAKE_DROPPED, /* nothing was decided: it comes again, to this or another member */
    RT_INTAKE_DONE,
    RT_INTAKE_REFUSED, /* to the dead letter topic; without one it counts as done */
};

/* One record, the loop's from records() to rt_intake_done(). All of it may be read, `task` and `owner` are its holder's. */
struct rt_intake_record {
    struct rt_task task;
    void *owner;
    const char *topic;
    uint32_t partition;
    uint64_t offset;
    int64_t timestamp;        /* ms, -1 none */
    struct rt_str key, value; /* ptr NULL: null */
    uint32_t lane;            /* number of the partition among those that this member has */
    uint32_t generation;      /* internal, from here on */
    enum rt_intake_verdict verdict;
    char reason[200];
    uint64_t retry_at; /* dead letter: mono ms, 0 handed to the producer */
    void *message;     /* librdkafka's */
    size_t header_count;
    struct rt_record_header headers[]; /* as they are in the record */
};

struct rt_intake_options {
    struct rt_loop *loop;
    const char *brokers;           /* comma separated */
    const struct rt_strings *conf; /* "name=value" for librdkafka; may be NULL */
    const struct rt_strings *more; /* likewise, behind them */
    const struct rt_strings *topics;
    const char *group;
    const char *dead_letter; /* a topic; "": none */
    bool from_latest;        /* where a group begins that has committed nothing: at the end */
    /* New ones, each partition's in order; their holder takes them out of the list by task.link. */
    void (*records)(void *arg, struct rt_list *records);
    /* Records that were handed over before are void: give back what is not being worked on. What is may be given back when it is done. */
    void (*revoked)(void *arg);
    void *arg; /* texts and lists live as long as the intake */
};

struct rt_intake;

/* The value of the last header of this name, "" when it is null; none when there is none. */
struct rt_str rt_intake_header(const struct rt_intake_record *record, struct rt_str name);

/* Checks the settings; does not wait for Kafka. RT_EINVAL with librdkafka's words, RT_EIO, RT_ENOMEM. */
int rt_intake_new(const struct rt_intake_options *options, struct rt_intake **ret_intake,
                  struct rt_err *err);
/* `reason` (may be NULL) says why it is refused. */
void rt_intake_done(struct rt_intake *in, struct rt_intake_record *record,
                    enum rt_intake_verdict verdict, const char *reason);

/* Leaves the group and joins it anew: what is not committed comes again. Until revoked() records of before may still come. */
void rt_intake_rejoin(struct rt_intake *in);

struct rt_intake_status {
    uint64_t lag;       /* records of its partitions that are not done */
    uint64_t in_flight; /* between records() and done */
    uint64_t partitions;
    uint64_t dead_letters; /* stored */
    uint64_t burying;      /* dead letters that are not stored yet */
    bool paused;
};
void rt_intake_status(const struct rt_intake *in, struct rt_intake_status *ret_status);

/* No more records() and revoked(). What is in flight must be given back (as dropped, if it will not be done in time); then what is done is committed, the
 * member leaves the group, and `closed(arg)` is called, never from inside. With Kafka away that takes up to about 10 s (session.timeout.ms). */
void rt_intake_close(struct rt_intake *in, void (*closed)(void *arg), void *arg);
/* After closed(). NULL is fine. */
void rt_intake_free(struct rt_intake *in);

#endif
