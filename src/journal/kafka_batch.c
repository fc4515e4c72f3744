#include "journal/kafka_batch.h"

#include "base/alloc.h"

#define WAIT_MS 100

bool rt_batches_have(struct rt_batches *b)
{
    struct rt_list taken;
    if (b->batch)
        return true;
    rt_list_init(&taken);
    (void)rt_queue_take(b->returned, &taken, WAIT_MS);
    struct rt_list *node = rt_list_pop(&taken);
    if (!node)
        return false;
    b->batch = RT_CONTAINER(node, struct rt_tail_batch, task.link);
    b->batch->count = 0;
    b->batch->bytes = 0;
    rt_buf_clear(&b->batch->names);
    while ((node = rt_list_pop(&taken))) {
        struct rt_task *task = RT_CONTAINER(node, struct rt_task, link);
        (void)rt_queue_push(b->returned, task);
    }
    return true;
}

bool rt_batches_full(const struct rt_batches *b)
{
    /* One record can bring a change of name, a doubt and the end with it. */
    return b->batch->count + 4 > RT_TAIL_RECORDS || b->batch->bytes >= RT_TAIL_BYTES;
}

struct rt_tail_entry *rt_batches_add(struct rt_batches *b, enum rt_tail_kind kind,
                                     uint32_t partition, int64_t offset)
{
    struct rt_tail_entry *e = &b->batch->entries[b->batch->count++];
    *e = (struct rt_tail_entry){
        .kind = kind, .partition = partition, .position = (uint64_t)offset + 1};
    return e;
}

int rt_batches_add_channel(struct rt_batches *b, struct rt_str channel)
{
    rt_buf_add_str(&b->batch->names, channel);
    if (rt_buf_ok(&b->batch->names))
        return 0;
    if (b->batch->count == 0)
        rt_buf_clear(&b->batch->names);
    rt_batches_post(b); /* what is there is whole; the buffer is cleared when it comes back */
    return RT_ENOMEM;
}

/* Names were appended while the buffer could still move. */
static void settle_names(struct rt_tail_batch *batch)
{
    size_t at = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct rt_str *channel = &batch->entries[i].channel;
        *channel = rt_str_of(batch->names.data + at, channel->len);
        at += channel->len;
    }
}

void rt_batches_post(struct rt_batches *b)
{
    struct rt_tail_batch *batch = b->batch;
    if (!batch || batch->count == 0)
        return;
    settle_names(batch);
    b->batch = NULL;
    rt_list_init(&batch->task.link);
    rt_mailbox_post(b->mailbox, &batch->task);
}

void rt_batches_return(struct rt_batches *b, struct rt_tail_batch *batch)
{
    rt_list_init(&batch->task.link);
    batch->task.bytes = 0;
    (void)rt_queue_push(b->returned, &batch->task); /* has room for all */
}

int rt_batches_init(struct rt_batches *b, struct rt_mailbox *mailbox, struct rt_err *err)
{
    b->mailbox = mailbox;
    if (rt_queue_new(RT_TAIL_BATCHES, SIZE_MAX, &b->returned) < 0)
        return rt_err_nomem(err);
    for (uint32_t i = 0; i < RT_TAIL_BATCHES; i++) {
        struct rt_tail_batch *batch = rt_malloc(sizeof(*batch));
        if (!batch)
            return rt_err_nomem(err);
        rt_buf_init(&batch->names);
        rt_batches_return(b, batch);
    }
    return 0;
}

static void free_batch(struct rt_tail_batch *batch)
{
    if (!batch)
        return;
    for (size_t i = 0; i < batch->count; i++)
        rt_stored_unref(batch->entries[i].message);
    rt_buf_deinit(&batch->names);
    rt_free(batch);
}

void rt_batches_deinit(struct rt_batches *b)
{
    struct rt_list taken;
    rt_list_init(&taken);
    if (b->returned)
        (void)rt_queue_take(b->returned, &taken, 0);
    for (struct rt_list *node = rt_list_pop(&taken); node; node = rt_list_pop(&taken)) {
        struct rt_tail_batch *batch = RT_CONTAINER(node, struct rt_tail_batch, task.link);
        batch->count = 0; /* what it held was taken */
        free_batch(batch);
    }
    if (b->returned)
        rt_queue_free(b->returned);
    free_batch(b->batch);
}
