/* What the tests of the whole layer share: expectations on what a session was sent. See rig.h. */
#ifndef TEST_UNIT_SOCKETIO_LAYER_H
#define TEST_UNIT_SOCKETIO_LAYER_H

#include "unit/socketio/sio_test.h"

#include "unit/socketio/rig.h"

#define ID "????????????????????" /* a socket id, a pid */

/* Lets the turn end; what the session was sent since the last call matches the glob `lines`. */
static inline void expect_at(struct rig *rig, struct rt_eio_session *s, const char *lines, int line)
{
    rig_turn(rig);
    struct rt_str got = rt_buf_str(&s->log);
    if (!rt_glob_match(rt_str_c(lines), got))
        fail_msg("line %d: got\n%.*sinstead of\n%s", line, RT_STR_ARG(got), lines);
    rt_buf_clear(&s->log);
}
#define expect(rig, s, lines) expect_at((rig), (s), (lines), __LINE__)

static inline void expect_closed_at(struct rig *rig, struct rt_eio_session *s,
                                    enum rt_eio_reason reason, int line)
{
    rig_turn(rig);
    if (!s->closed || s->reason != reason)
        fail_msg("line %d: %s, reason %d", line, s->closed ? "closed" : "open", (int)s->reason);
}
#define expect_closed(rig, s, reason) expect_closed_at((rig), (s), (reason), __LINE__)

/* Connects and returns the socket's id in `sid` (and the pid, when `pid` is not NULL). */
static inline void join_namespace(struct rig *rig, struct rt_eio_session *s, const char *packet,
                                  char sid[21], char pid[21])
{
    rig_in(s, packet);
    rig_turn(rig);
    rt_buf_add_byte(&s->log, 0);
    const char *at = strstr((char *)s->log.data, "\"sid\":\"");
    if (!at)
        fail_msg("no CONNECT reply: %s", (char *)s->log.data);
    memcpy(sid, at + 7, 20);
    sid[20] = 0;
    if (pid) {
        at = strstr((char *)s->log.data, "\"pid\":\"");
        assert_non_null(at);
        memcpy(pid, at + 7, 20);
        pid[20] = 0;
    }
    rt_buf_clear(&s->log);
}

/* Has it been sent this text since the last expect()? */
static inline bool has(const struct rt_eio_session *s, const char *text)
{
    return s->log.len && memmem(s->log.data, s->log.len, text, strlen(text)) != NULL;
}

static inline struct rt_eio_session *connected(struct rig *rig)
{
    char sid[21];
    struct rt_eio_session *s = rig_open(rig, RT_EIO_WEBSOCKET);
    join_namespace(rig, s, "0", sid, NULL);
    return s;
}

/* Turns the loop until `done` or for at most five seconds. */
#define wait_until(rig, done)                                            \
    do {                                                                 \
        uint64_t wait_deadline_ = rt_mono_ms() + 5000;                   \
        while (!(done)) {                                                \
            if (rt_mono_ms() > wait_deadline_)                           \
                fail_msg("line %d: " #done " did not happen", __LINE__); \
            rt_loop_turn((rig)->loop, 10);                               \
            rig_turn(rig);                                               \
        }                                                                \
    } while (0)

#endif
