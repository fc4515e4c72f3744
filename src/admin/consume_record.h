/* What a consumed record says shall be published: channel, event, data and key, as a section of kafka.consume wants it. Pure. Thread: any. */
#ifndef RT_ADMIN_CONSUME_RECORD_H
#define RT_ADMIN_CONSUME_RECORD_H

#include "conf/config.h"
#include "journal/intake.h"
#include "session/broker.h"

/* A publish and the memory that it points to; embedded, used for one record after another. */
struct rt_consumed {
    struct rt_publish publish; /* done and arg are the caller's */
    struct rt_message message;
    struct rt_buf channel, event, data;
    char key[RT_RECORD_KEY + 1];        /* the derived one */
    struct rt_envelope *call, *payload; /* mode command */
};

void rt_consumed_init(struct rt_consumed *c);
void rt_consumed_deinit(struct rt_consumed *c);
/* Fills `c->publish` from the record; slices point into the record, the section's texts and `c`. RT_EINVAL, RT_ERANGE, RT_ENOENT: the record cannot be
 * published, with the reason; RT_ENOMEM. */
int rt_consumed_read(struct rt_consumed *c, const struct rt_consume_config *section,
                     const struct rt_intake_record *record, struct rt_err *err);
/* The key of a record that brings none: the same whenever it comes, another for every other record; at most RT_RECORD_KEY bytes and a NUL. */
void rt_consumed_key(const struct rt_intake_record *record, char out[RT_RECORD_KEY + 1]);

#endif
