#include "journal/kafka_epoch.h"

#include <stdio.h>

#include "base/err.h"
#include "base/rand.h"

void rt_epoch_make(struct rt_epoch_name *ret_name, uint32_t partitions, bool moved)
{
    char id[RT_ID_LEN + 1];
    rt_random_id(id);
    memcpy(ret_name->text, id, RT_EPOCH_NAME);
    ret_name->text[RT_EPOCH_NAME] = '\0';
    ret_name->partitions = partitions;
    ret_name->moved = moved;
}

size_t rt_epoch_evidence(const struct rt_epoch_name *name, uint64_t known,
                         char out[RT_EVIDENCE_TEXT + 1])
{
    int len = snprintf(out, RT_EVIDENCE_TEXT + 1, "%s@%llu", name->text, (unsigned long long)known);
    if (len > 0 && name->partitions > 0)
        len += snprintf(out + len, RT_EVIDENCE_TEXT + 1 - (size_t)len, "/%u%s", name->partitions,
                        name->moved ? "+" : "");
    return len > 0 ? (size_t)len : 0;
}

static bool is_name(struct rt_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
    }
    return s.len == RT_EPOCH_NAME;
}

static bool is_count(struct rt_str s, uint32_t *ret_count)
{
    uint64_t count;
    if (rt_str_to_u64(s, &count) < 0 || count == 0 || count > RT_EPOCH_COUNT)
        return false;
    *ret_count = (uint32_t)count;
    return true;
}

static void set_name(struct rt_epoch_name *name, struct rt_str text)
{
    memcpy(name->text, text.ptr, RT_EPOCH_NAME);
    name->text[RT_EPOCH_NAME] = '\0';
}

static bool read_evidence(struct rt_str evidence, struct rt_epoch_name *ret_name,
                          uint64_t *ret_known)
{
    struct rt_str rest, count;
    struct rt_str text = rt_str_split(evidence, '@', &rest);
    if (!is_name(text) || rt_str_to_u64(rt_str_split(rest, '/', &count), ret_known) < 0)
        return false;
    *ret_name = (struct rt_epoch_name){.partitions = 0};
    set_name(ret_name, text);
    if (!count.ptr)
        return true;
    ret_name->moved = count.len > 0 && count.ptr[count.len - 1] == '+';
    return is_count(rt_str_of(count.ptr, count.len - ret_name->moved), &ret_name->partitions);
}

enum rt_epoch_change rt_epoch_read(struct rt_epoch_fold *fold, struct rt_str evidence,
                                   uint64_t position)
{
    struct rt_epoch_name name;
    uint64_t known;
    if (!read_evidence(evidence, &name, &known))
        return RT_EPOCH_SAME;
    bool ours = strcmp(name.text, fold->name.text) == 0;
    if (known >= position) {
        if (ours)
            *fold = (struct rt_epoch_fold){.at = position};
        return ours ? RT_EPOCH_BROKEN : RT_EPOCH_SAME;
    }
    if (!ours && known < fold->at)
        return RT_EPOCH_SAME;
    *fold = (struct rt_epoch_fold){.name = name, .at = position};
    return ours ? RT_EPOCH_SAME : RT_EPOCH_NAMED;
}

bool rt_epoch_is_of_other_number(struct rt_str evidence, uint32_t partitions)
{
    struct rt_epoch_name name;
    uint64_t known;
    return read_evidence(evidence, &name, &known) && name.partitions != 0 &&
           name.partitions != partitions;
}

void rt_epoch_text(const struct rt_epoch_name *name, uint32_t partition,
                   char out[RT_EPOCH_TEXT + 1])
{
    if (name->partitions > 0)
        snprintf(out, RT_EPOCH_TEXT + 1, "%s.%hu.%hu", name->text, (uint16_t)partition,
                 (uint16_t)name->partitions);
    else
        snprintf(out, RT_EPOCH_TEXT + 1, "%s.%u", name->text, partition);
}

int rt_epoch_parse(struct rt_str text, struct rt_epoch_name *ret_name, uint32_t *ret_partition)
{
    struct rt_str rest, count;
    uint64_t partition;
    uint32_t partitions = 0;
    struct rt_str name = rt_str_split(text, '.', &rest);
    if (!is_name(name) || rt_str_to_u64(rt_str_split(rest, '.', &count), &partition) < 0 ||
        partition > UINT32_MAX || (count.ptr && !is_count(count, &partitions)))
        return RT_EINVAL;
    *ret_name = (struct rt_epoch_name){.partitions = partitions};
    set_name(ret_name, name);
    *ret_partition = (uint32_t)partition;
    return 0;
}
