/* A growable byte string. Appending never fails visibly: a failed allocation sets `failed`,
 * later appends do nothing, and the user checks once at the end with rt_buf_ok(). Owner: whoever
 * embeds it. Thread: one at a time. */
#ifndef RT_BASE_BUF_H
#define RT_BASE_BUF_H

#include "base/bytes.h"

struct rt_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool failed;
};

#define RT_BUF_INIT ((struct rt_buf){NULL, 0, 0, false})

static inline void rt_buf_init(struct rt_buf *b)
{
    *b = RT_BUF_INIT;
}
/* Frees and becomes empty; may be used again. */
void rt_buf_deinit(struct rt_buf *b);
/* Forgets the content, keeps the memory, clears `failed`. */
void rt_buf_clear(struct rt_buf *b);
/* Makes room for `more` bytes behind len and returns the first of them; NULL (and failed) when
 * out of memory. The caller writes and adds to len itself. */
uint8_t *rt_buf_reserve(struct rt_buf *b, size_t more);
/* `data` may not lie in the buffer itself, which may move. */
void rt_buf_add(struct rt_buf *b, const void *data, size_t len);
void rt_buf_add_str(struct rt_buf *b, struct rt_str s);
void rt_buf_add_c(struct rt_buf *b, const char *text);
void rt_buf_add_byte(struct rt_buf *b, uint8_t byte);
void rt_buf_add_u64(struct rt_buf *b, uint64_t value); /* decimal */
void rt_buf_add_i64(struct rt_buf *b, int64_t value);
void rt_buf_printf(struct rt_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Removes the first `len` bytes. */
void rt_buf_consume(struct rt_buf *b, size_t len);
/* The content as a new rt_bytes (copied); NULL when failed or out of memory. */
struct rt_bytes *rt_buf_to_bytes(const struct rt_buf *b);
/* A NUL behind the content (not counted in len) and the pointer to it; NULL when out of memory. */
const char *rt_buf_cstr(struct rt_buf *b);
/* The same, the caller's from then on (rt_free); NULL when failed or out of memory. The buffer is empty afterwards. */
char *rt_buf_take_text(struct rt_buf *b);

static inline bool rt_buf_ok(const struct rt_buf *b)
{
    return !b->failed;
}
static inline struct rt_str rt_buf_str(const struct rt_buf *b)
{
    return rt_str_of(b->data, b->len);
}

#endif
