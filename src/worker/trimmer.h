/* What a process looks at now and then, beside its work: gives memory that it has freed back to the system, and counts its descriptors.
 *
 * The C library keeps what was freed in the middle of its heaps: a broker that has taken in a burst would stay as large as it was then. Every
 * RT_TRIM_EVERY_MS a thread looks; what has lain unused at two looks in a row, when it is more than RT_TRIM_SPARE bytes, goes back. Allocations wait
 * for it, some milliseconds at most. Descriptors are counted by listing them, which takes milliseconds when there are many: at the start, and each time it looks.
 * Thread: new and free the loop's; a thread of its own. */
#ifndef RT_WORKER_TRIMMER_H
#define RT_WORKER_TRIMMER_H

#include <stddef.h>

#include "base/err.h"

#define RT_TRIM_EVERY_MS 10000
#define RT_TRIM_SPARE    ((size_t)16 << 20)

struct rt_trimmer;

/* RT_ENOMEM, RT_EIO. */
int rt_trimmer_new(struct rt_trimmer **ret_trimmer, struct rt_err *err);
/* Open descriptors when it looked last; 0: unknown, or `t` is NULL. Any thread. */
size_t rt_trimmer_descriptors(const struct rt_trimmer *t);
/* Ends the thread. NULL is fine. */
void rt_trimmer_free(struct rt_trimmer *t);

#endif
