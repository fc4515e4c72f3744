#include "rtbench_message.h"

#include "bench_ws.h"
#include "rtbench_swarm.h"

#include <string.h>

static const uint8_t mask_key[4] = {0x9d, 0x41, 0x5c, 0xe2};

static uint8_t filler(size_t offset)
{
    return (uint8_t)('a' + offset % 26);
}

static void put_hex(uint8_t *out, uint64_t value, size_t digits)
{
    for (size_t i = digits; i > 0; i--, value >>= 4)
        out[i - 1] = (uint8_t) "0123456789abcdef"[value & 15];
}

static uint64_t get_hex(const uint8_t *text, size_t digits)
{
    uint64_t value = 0;
    for (size_t i = 0; i < digits; i++) {
        uint8_t c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            rt_bench_die(RT_BENCH_EXIT_FAILED, "a message arrived changed: bad digit 0x%02x", c);
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
}

void rt_publisher_init(struct rt_publisher *publisher, const char *wrap, size_t size, uint32_t room)
{
    uint8_t header[RT_BENCH_WS_HEADER_MAX];
    *publisher = (struct rt_publisher){.size = size, .room = room};
    publisher->wrap = rt_bench_template("publish", wrap);
    size_t text = publisher->wrap.prefix_len + size + publisher->wrap.suffix_len;
    publisher->frame_len = rt_bench_ws_header(header, RT_BENCH_WS_TEXT, text, mask_key) + text;
    publisher->frames = rt_bench_alloc(room, publisher->frame_len);
    publisher->message = rt_bench_alloc(size, 1);
    for (size_t i = 0; i < size; i++)
        publisher->message[i] = filler(i);
    publisher->message[0] = RT_SWARM_MARK;
}

const uint8_t *rt_publisher_encode(struct rt_publisher *publisher, uint32_t sequence,
                                   uint32_t count, uint64_t time, size_t *ret_len)
{
    const struct rt_bench_template *wrap = &publisher->wrap;
    size_t text = wrap->prefix_len + publisher->size + wrap->suffix_len;
    if (count > publisher->room)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "more publishes at once than planned");
    put_hex(publisher->message + 9, time, 16);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *frame = publisher->frames + i * publisher->frame_len;
        put_hex(publisher->message + 1, sequence + i, 8);
        uint8_t *payload = frame + rt_bench_ws_header(frame, RT_BENCH_WS_TEXT, text, mask_key);
        rt_bench_template_fill(wrap, publisher->message, publisher->size, payload);
        rt_bench_ws_mask(payload, text, mask_key);
    }
    *ret_len = count * publisher->frame_len;
    return publisher->frames;
}

const uint8_t *rt_message_decode(const uint8_t *data, size_t len, size_t size,
                                 struct rt_message *ret_message)
{
    const uint8_t *p = memchr(data, RT_SWARM_MARK, len);
    if (p == NULL)
        return NULL;
    if ((size_t)(data + len - p) < size)
        rt_bench_die(RT_BENCH_EXIT_FAILED, "a message arrived cut: %zu bytes of %zu",
                     (size_t)(data + len - p), size);
    for (size_t i = RT_MESSAGE_MIN - 1; i < size; i++)
        if (p[i] != filler(i))
            rt_bench_die(RT_BENCH_EXIT_FAILED, "a message arrived changed: 0x%02x at offset %zu",
                         p[i], i);
    ret_message->sequence = (uint32_t)get_hex(p + 1, 8);
    ret_message->time = get_hex(p + 9, 16);
    return p + size;
}
