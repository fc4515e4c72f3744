#include "journal/kafka_epoch.h"

#include <stdio.h>

#include "base/rand.h"

void rt_epoch_make(struct rt_epoch_name *ret_name)
{
    char id[RT_ID_LEN + 1];
    rt_random_id(id);
    memcpy(ret_name->text, id, RT_EPOCH_NAME);
    ret_name->text[RT_EPOCH_NAME] = '\0';
}

size_t rt_epoch_evidence(const struct rt_epoch_name *name, uint64_t known,
                         char out[RT_EVIDENCE_TEXT + 1])
{
    int len = snprintf(out, RT_EVIDENCE_TEXT + 1, "%s@%llu", name->text, (unsigned long long)known);
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

static void confirm(struct rt_epoch_fold *fold, struct rt_str name, uint64_t position)
{
    memcpy(fold->name.text, name.ptr, RT_EPOCH_NAME);
    fold->name.text[RT_EPOCH_NAME] = '\0';
    fold->at = position;
}

enum rt_epoch_change rt_epoch_read(struct rt_epoch_fold *fold, struct rt_str evidence,
                                   uint64_t position)
{
    struct rt_str rest;
    uint64_t known;
    struct rt_str name = rt_str_split(evidence, '@', &rest);
    if (!is_name(name) || rt_str_to_u64(rest, &known) < 0)
        return RT_EPOCH_SAME;
    bool ours = rt_str_eq(name, rt_str_c(fold->name.text));
    if (known >= position) {
        if (ours)
            *fold = (struct rt_epoch_fold){.at = position};
        return ours ? RT_EPOCH_BROKEN : RT_EPOCH_SAME;
    }
    if (!ours && known < fold->at)
        return RT_EPOCH_SAME;
    confirm(fold, name, position);
    return ours ? RT_EPOCH_SAME : RT_EPOCH_NAMED;
}

void rt_epoch_text(const struct rt_epoch_name *name, uint32_t partition,
                   char out[RT_EPOCH_TEXT + 1])
{
    snprintf(out, RT_EPOCH_TEXT + 1, "%s.%u", name->text, partition);
}
