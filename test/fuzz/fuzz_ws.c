/* WebSocket frames: an input is what a client sends after the handshake. Received whole (the fast path wherever frames lie
 * complete), byte by byte (never the fast path, wslay throughout) and in pieces, the items must be the same; so must those of
 * the same stream read as a server's. Nothing may stay borrowed. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "ws/ws.h"
#include "fuzz/must.h"

enum { MAX_MESSAGE = 20000, WINDOW = 61 };

static struct rt_ws_pool *pool;
/* Short pieces stand at the end of this block, so that ASan sees a read past them; a block for each byte took most of the time. */
static uint8_t *window;

static void mix(uint64_t *hash, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        *hash = (*hash ^ bytes[i]) * 0x100000001b3u;
    *hash = (*hash ^ len) * 0x100000001b3u;
}

static void check(enum rt_ws_got got, const struct rt_ws_item *item, uint64_t *hash)
{
    mix(hash, &got, sizeof(got));
    mix(hash, &item->code, sizeof(item->code));
    if (got == RT_WS_GOT_ERROR) {
        MUST(item->code == 1002 || item->code == 1007 || item->code == 1009);
        MUST(item->why != NULL);
        return;
    }
    MUST(item->data != NULL && item->len <= MAX_MESSAGE);
    MUST(got == RT_WS_GOT_MESSAGE || item->len <= 125);
    if (got == RT_WS_GOT_CLOSE)
        MUST(item->code == 1005 || rt_ws_close_code_valid(item->code));
    if (item->text || got == RT_WS_GOT_CLOSE)
        MUST(rt_utf8_valid(item->data, item->len));
    mix(hash, &item->text, sizeof(item->text));
    mix(hash, item->data, item->len);
}

/* `pieces`: bytes of a piece; 0: chosen by the content. */
static uint64_t run(const uint8_t *data, size_t size, size_t pieces, bool from_server)
{
    struct rt_ws_recv r = {.pool = pool, .max_message = MAX_MESSAGE, .from_server = from_server};
    struct rt_ws_item item;
    uint64_t hash = 1, cuts = size;
    for (size_t at = 0; at < size;) {
        size_t n = pieces;
        if (pieces == 0) {
            cuts = (cuts ^ data[at]) * 6364136223846793005u + 1;
            n = 1 + (cuts >> 33) % 61;
        }
        n = n < size - at ? n : size - at;
        uint8_t *whole = n > WINDOW ? malloc(n) : NULL;
        uint8_t *p = whole ? whole : window + WINDOW - n;
        size_t left = n;
        enum rt_ws_got got;
        MUST(whole != NULL || n <= WINDOW);
        memcpy(p, data + at, n);
        while ((got = rt_ws_recv_next(&r, &p, &left, &item)) != RT_WS_GOT_NOTHING)
            check(got, &item, &hash);
        MUST(left == 0);
        free(whole);
        at += n;
    }
    rt_ws_recv_reset(&r);
    MUST(rt_ws_pool_lent(pool) == 0);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (pool == NULL) {
        MUST(rt_ws_pool_new(NULL, &pool) == 0);
        window = malloc(WINDOW);
        MUST(window != NULL);
    }
    for (int from_server = 0; from_server <= 1; from_server++) {
        uint64_t whole = run(data, size, size, from_server);
        MUST(run(data, size, 1, from_server) == whole);
        MUST(run(data, size, 0, from_server) == whole);
    }
    return 0;
}
