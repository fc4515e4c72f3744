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

size_t rt_epoch_evidence(const struct rt_epoch_name *name, uint64_t known, bool begins,
                         char out[RT_EVIDENCE_TEXT + 1])
{
    int len = snprintf(out, RT_EVIDENCE_TEXT + 1, "%s@%llu", name->text, (unsigned long long)known);
    if (len > 0 && name->partitions > 0)
        len += snprintf(out + len, RT_EVIDENCE_TEXT + 1 - (size_t)len, "/%u%s%s", name->partitions,
                        name->moved ? "+" : "", begins ? "!" : "");
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

struct evidence {
    struct rt_epoch_name name;
    uint64_t known;
    bool begins;
};

/* Takes `c` off the end. */
static bool ends_with(struct rt_str *s, char c)
{
    bool is = s->len > 0 && s->ptr[s->len - 1] == c;
    s->len -= is;
    return is;
}

static bool read_evidence(struct rt_str text, struct evidence *ret)
{
    struct rt_str rest, count;
    struct rt_str name = rt_str_split(text, '@', &rest);
    *ret = (struct evidence){.known = 0};
    if (!is_name(name) || rt_str_to_u64(rt_str_split(rest, '/', &count), &ret->known) < 0)
        return false;
    set_name(&ret->name, name);
    if (!count.ptr)
        return true;
    ret->begins = ends_with(&count, '!');
    ret->name.moved = ends_with(&count, '+');
    return is_count(count, &ret->name.partitions);
}

static bool is_among(const char names[][RT_EPOCH_NAME], unsigned count,
                     const struct rt_epoch_name *name)
{
    for (unsigned i = 0; i < count; i++)
        if (memcmp(names[i], name->text, RT_EPOCH_NAME) == 0)
            return true;
    return false;
}

static void note_begun(struct rt_epoch_fold *fold, const struct rt_epoch_name *name)
{
    if (fold->begun_count < RT_EPOCH_BEGUN)
        memcpy(fold->begun[fold->begun_count++], name->text, RT_EPOCH_NAME);
    else
        fold->whole = false;
}

void rt_epoch_bar(struct rt_epoch_fold *fold, const struct rt_epoch_name *name)
{
    char text[RT_EPOCH_NAME];
    memcpy(text, name->text, sizeof(text)); /* which may be the one that goes */
    if (!is_among(fold->barred, fold->barred_count, name)) {
        if (fold->barred_count == RT_EPOCH_BARRED) /* the latest stay */
            memmove(fold->barred[0], fold->barred[1], sizeof(text) * --fold->barred_count);
        memcpy(fold->barred[fold->barred_count++], text, sizeof(text));
    }
    if (memcmp(fold->name.text, text, sizeof(text)) == 0)
        fold->name = (struct rt_epoch_name){.partitions = 0};
}

/* Can a record of this log carry the name? */
static bool is_possible(const struct rt_epoch_fold *fold, const struct rt_epoch_name *name)
{
    if (is_among(fold->barred, fold->barred_count, name))
        return false;
    return !fold->whole || name->partitions == 0 || is_among(fold->begun, fold->begun_count, name);
}

enum rt_epoch_change rt_epoch_read(struct rt_epoch_fold *fold, struct rt_str text,
                                   uint64_t position)
{
    struct evidence e;
    if (!read_evidence(text, &e))
        return RT_EPOCH_SAME;
    bool ours = strcmp(e.name.text, fold->name.text) == 0;
    if (e.known >= position) {
        rt_epoch_bar(fold, &e.name);
        if (ours)
            fold->at = position;
        return ours ? RT_EPOCH_BROKEN : RT_EPOCH_SAME;
    }
    if (e.begins && fold->whole)
        note_begun(fold, &e.name);
    if (!is_possible(fold, &e.name) || (!ours && e.known < fold->at))
        return RT_EPOCH_SAME;
    fold->name = e.name;
    fold->at = position;
    return ours ? RT_EPOCH_SAME : RT_EPOCH_NAMED;
}

bool rt_epoch_is_evidence(struct rt_str text)
{
    struct evidence e;
    return read_evidence(text, &e);
}

bool rt_epoch_is_of_other_number(struct rt_str evidence, uint32_t partitions)
{
    struct evidence e;
    return read_evidence(evidence, &e) && e.name.partitions != 0 && e.name.partitions != partitions;
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
