/* What comes from other machines: an input is an envelope from Redis, a record from Kafka, or the evidence of a partition's records. Its first byte says which.
 *
 *     'e'  the envelope's bytes. What is taken is written again as the same bytes. With a secret none is taken.
 *     'r'  lines "NAME:VALUE", one for each header, an empty line, the value. What is taken is written and read back the same.
 *     'p'  a line of evidence for each record. The fold has a name whose text is read back the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cluster/envelope.h"
#include "cluster/members.h"
#include "journal/kafka_epoch.h"
#include "journal/record.h"
#include "fuzz/must.h"

enum { HEADERS = 80, NAME_CAP = 32 };

/* ---- from Redis ---------------------------------------------------------------------------------------------- */

static void hear(const struct rt_parcel *parcel)
{
    struct rt_members members;
    rt_members_init(&members, "n1", 1);
    (void)rt_members_hear(&members, parcel, 1000);
    (void)rt_members_admit(&members, parcel, true);
    (void)rt_members_differ(&members);
    rt_members_expire(&members, 1000000);
    rt_members_deinit(&members);
}

static void read_envelope(struct rt_str bytes)
{
    static struct rt_mac *mac;
    struct rt_str attachments[RT_MAX_ATTACHMENTS];
    struct rt_parcel parcel;
    struct rt_err err;
    struct rt_buf again = RT_BUF_INIT;
    const struct rt_parcel_keys none = {NULL, NULL};
    if (!mac)
        MUST(rt_mac_new(RT_STR("0123456789abcdef0123456789abcdef"), &mac) == 0);
    const struct rt_parcel_keys keys = {mac, NULL};
    MUST(rt_parcel_decode(bytes, &keys, RT_STR("place"), attachments, &parcel, &err) < 0);
    if (rt_parcel_decode(bytes, &none, RT_STR("place"), attachments, &parcel, &err) < 0)
        return;
    MUST(parcel.instance == rt_parcel_instance(bytes));
    if (parcel.purpose == RT_FOR_NODES)
        hear(&parcel);
    rt_parcel_encode(&again, &none, RT_STR("place"), &parcel);
    MUST(rt_buf_ok(&again));
    MUST(rt_str_eq(rt_buf_str(&again), bytes));
    rt_buf_deinit(&again);
}

/* ---- from Kafka ---------------------------------------------------------------------------------------------- */

static size_t split_headers(struct rt_str *text, struct rt_record_header *headers,
                            char names[HEADERS][NAME_CAP])
{
    size_t count = 0;
    while (text->len > 0) {
        struct rt_str value, line = rt_str_split(*text, '\n', text);
        if (line.len == 0)
            break;
        struct rt_str name = rt_str_split(line, ':', &value);
        if (count == HEADERS || name.len >= NAME_CAP)
            continue;
        if (name.len > 0)
            memcpy(names[count], name.ptr, name.len);
        names[count][name.len] = '\0';
        headers[count] = (struct rt_record_header){names[count], value};
        count++;
    }
    return count;
}

static void compare(const struct rt_message *a, const struct rt_message *b)
{
    MUST(rt_str_eq(a->data, b->data) && rt_str_eq(a->event, b->event));
    MUST(rt_str_eq(a->publisher, b->publisher) && rt_str_eq(a->key, b->key));
    MUST(rt_str_eq(a->except_in, b->except_in));
    MUST(a->kind == b->kind && a->flags == b->flags && a->time == b->time);
    MUST(memcmp(a->id, b->id, sizeof(a->id)) == 0);
    MUST(a->attachment_count == b->attachment_count);
    for (uint8_t i = 0; i < a->attachment_count; i++)
        MUST(rt_str_eq(a->attachments[i], b->attachments[i]));
}

static void read_record(struct rt_str text)
{
    struct rt_record_header headers[HEADERS], written[RT_RECORD_HEADERS];
    static char names[HEADERS][NAME_CAP];
    struct rt_stored *first = NULL, *second = NULL;
    struct rt_buf scratch = RT_BUF_INIT;
    struct rt_err err;
    size_t count = split_headers(&text, headers, names);
    int code = rt_record_read(text, headers, count, 7, 1000, &first, &err);
    (void)rt_record_channel_valid(text);
    if (code < 0)
        return;
    count = rt_record_headers(&first->m, &scratch, written);
    MUST(count > 0);
    MUST(rt_record_read(first->m.data, written, count, 7, 2000, &second, &err) == 0);
    compare(&first->m, &second->m);
    rt_stored_unref(first);
    rt_stored_unref(second);
    rt_buf_deinit(&scratch);
}

static void read_evidence(struct rt_str text)
{
    struct rt_epoch_fold fold = {.at = 0};
    for (uint64_t position = 1; text.len > 0; position++) {
        (void)rt_epoch_read(&fold, rt_str_split(text, '\n', &text), position);
        MUST(fold.at <= position);
        if (fold.name.text[0] == '\0')
            continue;
        char epoch[RT_EPOCH_TEXT + 1];
        struct rt_epoch_name name;
        uint32_t partition;
        rt_epoch_text(&fold.name, 3, epoch);
        MUST(rt_epoch_parse(rt_str_c(epoch), &name, &partition) == 0 && partition == 3);
        MUST(strcmp(name.text, fold.name.text) == 0 && name.partitions == fold.name.partitions);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct rt_str rest = rt_str_of((const char *)data + 1, size - 1);
    switch (data[0]) {
    case 'e':
        read_envelope(rest);
        break;
    case 'r':
        read_record(rest);
        break;
    case 'p':
        read_evidence(rest);
        break;
    default:
        break;
    }
    return 0;
}
