#include "journal/journal.h"

int rt_journal_append(struct rt_journal *j, struct rt_append *append)
{
    append->status = RT_PENDING;
    append->duplicate = false;
    append->position = (struct rt_position){.offset = 0};
    append->text[0] = '\0';
    return j->ops->append(j, append);
}

int rt_journal_read(struct rt_journal *j, struct rt_read *read)
{
    read->status = RT_PENDING;
    read->messages = NULL;
    read->count = 0;
    read->more = false;
    read->top = (struct rt_position){.offset = 0};
    read->floor = 0;
    read->complete = UINT64_MAX;
    read->text[0] = '\0';
    return j->ops->read(j, read);
}

bool rt_journal_position(const struct rt_journal *j, struct rt_str channel,
                         struct rt_position *ret_position)
{
    return j->ops->position && j->ops->position(j, channel, ret_position);
}

bool rt_journal_congested(const struct rt_journal *j)
{
    return j->ops->congested(j);
}

bool rt_journal_delivers(const struct rt_journal *j)
{
    return j->ops->delivers;
}

uint32_t rt_journal_partitions(const struct rt_journal *j)
{
    return j->ops->partitions ? j->ops->partitions(j) : 0;
}

const char *rt_journal_delivered(const struct rt_journal *j, uint32_t partition,
                                 uint64_t *ret_offset)
{
    return j->ops->delivered(j, partition, ret_offset);
}

bool rt_journal_healthy(const struct rt_journal *j, const char **ret_text)
{
    return j->ops->healthy(j, ret_text);
}

const char *rt_journal_name(const struct rt_journal *j)
{
    return j->ops->name;
}

void rt_journal_close(struct rt_journal *j, void (*closed)(void *arg), void *arg)
{
    j->ops->close(j, closed, arg);
}

void rt_journal_free(struct rt_journal *j)
{
    if (j)
        j->ops->free(j);
}
