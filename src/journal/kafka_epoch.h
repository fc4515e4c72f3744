/* Names the incarnations of a partition, so that positions stay unique though Kafka's offsets begin again when a topic is made anew or its
 * end is cut off.
 *
 * librdkafka 2.0.2 tells neither topic ids nor leader epochs, and a first record falls to retention. So the name is kept where
 * the order is: in the log. Every record that a node appends carries evidence, the header `rt-epoch: NAME@KNOWN`: "my partition's incarnation is called NAME, and
 * I have read it up to position KNOWN" (ours: Kafka's offset + 1; 0 nothing). Who finds a log without evidence appends a marker: a record of nothing but evidence for a
 * name just made up.
 *
 * Everybody who reads a partition folds the evidence in order, and comes to the same name:
 *   - KNOWN is not below the record's own position: its producer has read records that are not in this log. It believes in an
 *     incarnation that is gone. When it names ours, ours is gone: RT_EPOCH_BROKEN, a new name is due.
 *   - it names ours: confirmed at this position.
 *   - it names another one, though its producer had read (KNOWN) the last confirmation of ours: ours is void, the other one counts.
 *   - it names another one and its producer had not read so far: two nodes made up names at the same time, the first in the log counts.
 * A name belongs to one number of partitions, that of the topic when the name was made: where a channel stands depends on it. Evidence says it, `NAME@KNOWN/COUNT`; names of
 * versions that did not are NAME@KNOWN, and their number is not known. When partitions are added, each partition gets another name, in the log, by a marker (journal/kafka_view.h): what
 * stands before it belongs to the old number, what comes behind it to the new one. A '+' behind the number says that messages of the partition's channels may stand under former names.
 * A node that begins to read in the middle may hold a name that was void for others for a few records; the next evidence corrects it, and the others follow when it
 * was first: all read the same log.
 * Records that were on their way when a topic was made anew carry the old name into the new log. Two rules keep it from counting there:
 *   - A record whose KNOWN is not below its position has read another log. Its name is barred in this one, for all records to come.
 *   - A name with a number begins with a marker that says so (`!` at the end of its evidence). Who has read the log from its beginning takes no name whose beginning is not in it.
 * Not told apart: a log made anew into which so many records come on their way, before it is read for the first time, that its beginning is not looked at (RT_TAIL_NAMING), and all of
 * them above their KNOWN; and names without a number, when as many records of other programs come first.
 * An epoch as positions have it is "NAME.PARTITION.COUNT", without a number "NAME.PARTITION".
 * Pure; used by the nodes' tail and by the sink alike. Thread: any. */
#ifndef RT_JOURNAL_KAFKA_EPOCH_H
#define RT_JOURNAL_KAFKA_EPOCH_H

#include "base/str.h"

#define RT_EPOCH_NAME    10                   /* characters, base64url */
#define RT_EPOCH_TEXT    (RT_EPOCH_NAME + 12) /* of an epoch */
#define RT_EPOCH_COUNT   65535u               /* most partitions: numbers of five digits */
#define RT_EVIDENCE_TEXT (RT_EPOCH_NAME + 1 + 20 + 1 + 10 + 2)
#define RT_EPOCH_BEGUN   8 /* names that are remembered to have begun */
#define RT_EPOCH_BARRED  2 /* that are remembered to be barred, the latest */

struct rt_epoch_name {
    char text[RT_EPOCH_NAME + 1]; /* "" none */
    uint32_t partitions;          /* that the topic has; 0: the name does not say */
    bool moved;                   /* there may be messages of its channels under former names */
};

/* Zeroed at first, with `whole` as it is. */
struct rt_epoch_fold {
    struct rt_epoch_name name;
    uint64_t at; /* position of the last confirmation */
    bool
        whole; /* the log is read from its beginning, and not more names have begun than are remembered */
    uint8_t begun_count, barred_count;
    char begun[RT_EPOCH_BEGUN][RT_EPOCH_NAME];
    char barred[RT_EPOCH_BARRED][RT_EPOCH_NAME];
};

enum rt_epoch_change {
    RT_EPOCH_SAME,
    RT_EPOCH_NAMED,  /* the fold has another name than before */
    RT_EPOCH_BROKEN, /* the fold has no name any more: append a marker */
};

/* A new random name, for a topic of `partitions` (up to RT_EPOCH_COUNT). */
void rt_epoch_make(struct rt_epoch_name *ret_name, uint32_t partitions, bool moved);
/* Writes the header's value, returns its length. `begins`: the record is the marker that begins the name. */
size_t rt_epoch_evidence(const struct rt_epoch_name *name, uint64_t known, bool begins,
                         char out[RT_EVIDENCE_TEXT + 1]);
/* Takes the evidence of the record at `position` (from 1); none or unreadable: nothing changes. */
enum rt_epoch_change rt_epoch_read(struct rt_epoch_fold *fold, struct rt_str evidence,
                                   uint64_t position);
/* No record of this log that is read from now on can carry the name; it may be the fold's own, which has none then. */
void rt_epoch_bar(struct rt_epoch_fold *fold, const struct rt_epoch_name *name);
/* Only a node writes it. */
bool rt_epoch_is_evidence(struct rt_str text);
/* Does the evidence say that its producer went by another number of partitions? */
bool rt_epoch_is_of_other_number(struct rt_str evidence, uint32_t partitions);
/* `partition` < RT_EPOCH_COUNT. */
void rt_epoch_text(const struct rt_epoch_name *name, uint32_t partition,
                   char out[RT_EPOCH_TEXT + 1]);
/* The name in the epoch's text, `moved` not set, and its partition. RT_EINVAL: it is none of ours. */
int rt_epoch_parse(struct rt_str text, struct rt_epoch_name *ret_name, uint32_t *ret_partition);

#endif
