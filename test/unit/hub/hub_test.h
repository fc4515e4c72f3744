/* Subscribers that remember what they got, and a hub with channels that keep (their names begin with k) and channels that do not. */
#ifndef TEST_UNIT_HUB_HUB_TEST_H
#define TEST_UNIT_HUB_HUB_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "hub/hub.h"

/* ---- a subscriber that remembers what it got, as text: "a1 a2 b1 " ---- */

struct listener {
    struct rt_subscriber sub;
    struct rt_buf got;
    uint32_t pieces;
    bool writable;
    struct listener *removes; /* taken out of the hub when this one is delivered to */
    struct rt_hub *hub;
};

static inline void deliver(struct rt_subscriber *self, struct rt_bytes *bytes, uint32_t off,
                           uint32_t len)
{
    struct listener *l = RT_CONTAINER(self, struct listener, sub);
    rt_buf_add(&l->got, bytes->data + off, len);
    l->pieces++;
    if (l->removes)
        rt_hub_remove(l->hub, &l->removes->sub);
}

static inline bool writable(struct rt_subscriber *self)
{
    return RT_CONTAINER(self, struct listener, sub)->writable;
}

static const struct rt_subscriber_ops OPS = {.deliver = deliver, .writable = writable};

static inline void encode(const struct rt_encoding *self, const struct rt_message *m,
                          struct rt_buf *out)
{
    (void)self;
    rt_buf_add_str(out, m->data);
    rt_buf_add_byte(out, ' ');
}

static inline void encode_upper(const struct rt_encoding *self, const struct rt_message *m,
                                struct rt_buf *out)
{
    (void)self;
    for (size_t i = 0; i < m->data.len; i++) {
        char c = m->data.ptr[i];
        rt_buf_add_byte(out, (uint8_t)(c >= 'a' && c <= 'z' ? c - 32 : c));
    }
    rt_buf_add_byte(out, ' ');
}

static const struct rt_encoding PLAIN = {.encode = encode};
static const struct rt_encoding UPPER = {.encode = encode_upper};
static const struct rt_encoding ORDERED = {.encode = encode, .ordered = true};

static struct rt_hub_rule kept, ephemeral;

static inline struct rt_hub_rule *rule_of(void *arg, struct rt_str channel)
{
    (void)arg;
    return channel.ptr[0] == 'k' ? &kept : &ephemeral;
}

static inline struct rt_hub *new_hub(uint64_t memory)
{
    struct rt_hub_options options = {.memory = memory, .rule_of = rule_of};
    struct rt_hub *hub = NULL;
    rt_hub_rule_init(&kept);
    rt_hub_rule_init(&ephemeral);
    kept.keep = true;
    kept.history_size = 3;
    kept.history_ttl = 1000;
    assert_int_equal(rt_hub_new(&options, &hub), 0);
    rt_hub_set_time(hub, 1);
    return hub;
}

static inline void listen(struct listener *l, struct rt_hub *hub,
                          const struct rt_encoding *encoding)
{
    *l = (struct listener){.writable = true, .hub = hub};
    rt_subscriber_init(&l->sub, &OPS, encoding);
}

static inline void join(struct listener *l, const char *channel)
{
    assert_int_equal(rt_hub_subscribe(l->hub, &l->sub, rt_str_c(channel)), 0);
}

static inline void expect(struct listener *l, const char *text)
{
    assert_string_equal(rt_buf_cstr(&l->got), text);
    rt_buf_clear(&l->got);
}

static inline void forget(struct listener *l)
{
    rt_hub_remove(l->hub, &l->sub);
    rt_buf_deinit(&l->got);
}

#endif
