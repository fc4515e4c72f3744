#include "http/forwarded.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/alloc.h"

/* Every address as 16 bytes: IPv4 in its mapped form, so that one comparison does. */
struct block {
    uint8_t address[16];
    unsigned bits; /* 0..128 */
};

struct rt_trusted {
    struct block *blocks;
    size_t count;
    bool unix_peers;
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool parse_address(struct rt_str text, uint8_t out[16])
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (strlen(copy) != text.len)
        return false;
    if (inet_pton(AF_INET6, copy, out) == 1)
        return true;
    memcpy(out, mapped_prefix, sizeof(mapped_prefix));
    return inet_pton(AF_INET, copy, out + sizeof(mapped_prefix)) == 1;
}

static bool is_v4(const uint8_t address[16])
{
    return memcmp(address, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

static int parse_block(struct rt_str item, struct block *ret_block)
{
    struct rt_str length;
    struct block b = {.bits = 128};
    struct rt_str address = rt_str_split(item, '/', &length);
    if (!parse_address(address, b.address))
        return RT_EINVAL;
    if (length.ptr != NULL) {
        uint64_t bits;
        bool v4_text = memchr(address.ptr, ':', address.len) == NULL;
        if (rt_str_to_u64(length, &bits) != 0 || bits > (v4_text ? 32u : 128u))
            return RT_EINVAL;
        b.bits = (unsigned)bits + (v4_text ? 96 : 0);
    }
    *ret_block = b;
    return 0;
}

int rt_trusted_new(const char *const *items, size_t count, struct rt_trusted **ret_trusted,
                   struct rt_err *err)
{
    struct rt_trusted *t = rt_calloc(1, sizeof(*t));
    if (t == NULL)
        return rt_err_nomem(err);
    t->blocks = rt_calloc(count ? count : 1, sizeof(*t->blocks));
    if (t->blocks == NULL) {
        rt_trusted_free(t);
        return rt_err_nomem(err);
    }
    for (size_t i = 0; i < count; i++) {
        struct rt_str item = rt_str_trim(rt_str_c(items[i]));
        if (rt_str_eq(item, RT_STR("unix:"))) {
            t->unix_peers = true;
        } else if (parse_block(item, &t->blocks[t->count]) == 0) {
            t->count++;
        } else {
            rt_trusted_free(t);
            return rt_err_set(err, RT_EINVAL,
                              "\"%.*s\" is no address: allowed are 10.0.0.1, 10.0.0.0/8, ::1, "
                              "fd00::/8 and unix:",
                              RT_STR_ARG(item));
        }
    }
    *ret_trusted = t;
    return 0;
}

void rt_trusted_free(struct rt_trusted *t)
{
    if (t == NULL)
        return;
    rt_free(t->blocks);
    rt_free(t);
}

static bool block_has(const struct block *b, const uint8_t address[16])
{
    unsigned whole = b->bits / 8, rest = b->bits % 8;
    if (memcmp(b->address, address, whole) != 0)
        return false;
    return rest == 0 || ((b->address[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

static bool blocks_have(const struct rt_trusted *t, const uint8_t address[16])
{
    for (size_t i = 0; i < t->count; i++)
        if (block_has(&t->blocks[i], address))
            return true;
    return false;
}

bool rt_trusted_has(const struct rt_trusted *t, struct rt_str address)
{
    uint8_t parsed[16];
    if (rt_str_starts(address, RT_STR("unix:")))
        return t->unix_peers;
    return parse_address(address, parsed) && blocks_have(t, parsed);
}

/* Some proxies add the port: "192.0.2.1:4711", "[2001:db8::1]:4711", "[2001:db8::1]". */
static struct rt_str without_port(struct rt_str item)
{
    if (item.len > 0 && item.ptr[0] == '[') {
        struct rt_str rest;
        return rt_str_split(rt_str_of(item.ptr + 1, item.len - 1), ']', &rest);
    }
    const char *colon = item.len ? memchr(item.ptr, ':', item.len) : NULL;
    if (colon == NULL)
        return item;
    size_t before = (size_t)(colon - item.ptr);
    bool one_colon = memchr(colon + 1, ':', item.len - before - 1) == NULL;
    return one_colon ? rt_str_of(item.ptr, before) : item;
}

static void print_address(const uint8_t address[16], char *out)
{
    if (is_v4(address))
        inet_ntop(AF_INET, address + sizeof(mapped_prefix), out, RT_HTTP_REMOTE_MAX);
    else
        inet_ntop(AF_INET6, address, out, RT_HTTP_REMOTE_MAX);
}

/* The last item of a comma-separated list; `*rest` becomes what stands before it. */
static struct rt_str last_item(struct rt_str list, struct rt_str *rest)
{
    size_t at = list.len;
    while (at > 0 && list.ptr[at - 1] != ',')
        at--;
    *rest = rt_str_of(list.ptr, at > 0 ? at - 1 : 0);
    return rt_str_trim(rt_str_of(list.ptr + at, list.len - at));
}

/* Walks one header from right to left. True: go on to the left of it. */
static bool walk_for(const struct rt_trusted *t, struct rt_str list, char *remote)
{
    while (list.len > 0) {
        uint8_t address[16];
        if (!parse_address(without_port(last_item(list, &list)), address))
            return false;
        print_address(address, remote);
        if (!blocks_have(t, address))
            return false;
    }
    return true;
}

static void copy_peer(const char *peer, char *remote)
{
    uint8_t address[16];
    if (parse_address(rt_str_c(peer), address))
        print_address(address, remote);
    else
        snprintf(remote, RT_HTTP_REMOTE_MAX, "%s", peer);
}

void rt_forwarded_resolve(const struct rt_trusted *t, const char *peer,
                          const struct rt_http_request *req, struct rt_forwarded *ret_forwarded)
{
    struct rt_forwarded *f = ret_forwarded;
    bool more = true, proto_seen = false;
    copy_peer(peer, f->remote);
    f->secure = false;
    f->trusted = rt_trusted_has(t, rt_str_c(peer));
    if (!f->trusted)
        return;
    /* Several lines of one name are one list, in order: so the last line first. */
    for (size_t i = req->header_count; i > 0; i--) {
        const struct rt_http_header *h = &req->headers[i - 1];
        if (more && rt_str_eq(h->name, RT_STR("x-forwarded-for"))) {
            more = walk_for(t, h->value, f->remote);
        } else if (!proto_seen && rt_str_eq(h->name, RT_STR("x-forwarded-proto"))) {
            struct rt_str rest;
            proto_seen = true;
            struct rt_str scheme = last_item(h->value, &rest);
            f->secure = rt_str_eq_nocase(scheme, RT_STR("https")) ||
                        rt_str_eq_nocase(scheme, RT_STR("wss"));
        }
    }
}
