/* Texts made of a Kafka record: `{key}`, `{topic}`, `{header:NAME}` and literal text, as in kafka.consume[].channel and .event. A brace that belongs to none of
 * these is an error. Read anew for each record: no memory of its own. Pure. Thread: any. */
#ifndef RT_CONF_RECORD_TEMPLATE_H
#define RT_CONF_RECORD_TEMPLATE_H

#include <stdbool.h>

#include "base/str.h"

enum rt_record_part { RT_PART_TEXT, RT_PART_KEY, RT_PART_TOPIC, RT_PART_HEADER, RT_PART_WRONG };

/* Takes the next part off `*rest`; false: there is none. `*ret_text` is the literal text, the name of the header, or what is wrong from its brace on. */
bool rt_record_template_next(struct rt_str *rest, enum rt_record_part *ret_part,
                             struct rt_str *ret_text);
/* What is wrong with the whole, for people; NULL: nothing. */
const char *rt_record_template_fault(struct rt_str text);

#endif
