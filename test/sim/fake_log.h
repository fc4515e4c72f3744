/* The log: partitions of records as Kafka keeps them, with everything that can happen to a producer's request.
 *
 * A partition has incarnations: making the topic anew ends one and begins another with offset 0. Former ones stay for the checker. Offsets may have holes (control records).
 * What a consumer reads and what a producer gets is decided in fake_kafka.c. */
#ifndef TEST_SIM_FAKE_LOG_H
#define TEST_SIM_FAKE_LOG_H

#include "journal/record.h"
#include "sim.h"

struct log_record {
    int64_t offset;
    uint64_t at;   /* virtual time when it was appended */
    uint64_t time; /* ms, its timestamp */
    struct rt_str key, value;
    struct rt_record_header *headers; /* names are constants */
    size_t header_count;
};

/* One incarnation of a partition. */
struct log_part {
    struct log_record **records; /* by rising offset */
    size_t count, cap;
    int64_t end;    /* offset of the next record */
    uint64_t ended; /* when the topic was deleted; 0: it is there */
};

struct log {
    struct log_part **parts[SIM_PARTS]; /* incarnations, the newest last */
    size_t incarnations;
    bool down; /* no broker answers */
    bool gone; /* the topic is deleted and not yet made again */
};
extern struct log fake_log;

void log_begin(void);
void log_end(void);
struct log_part *log_part(uint32_t partition);
/* Copies everything; frees nothing of the caller's. */
struct log_record *log_record_new(struct rt_str key, struct rt_str value, uint64_t time,
                                  const struct rt_record_header *headers, size_t count);
void log_record_free(struct log_record *r);
/* Takes it over; returns its offset. */
int64_t log_append(uint32_t partition, struct log_record *record);
/* A place without a record. */
void log_skip(uint32_t partition);
/* First record whose offset is not below `offset`: its index in records, or count. */
size_t log_find(const struct log_part *p, int64_t offset);
void log_delete_topic(void);
void log_create_topic(void);
/* The number of a publication that a value carries; UINT32_MAX none of ours. */
uint32_t log_publication(struct rt_str value);

#endif
