/* `rtbroker sub`: one stream for each channel, read side by side, begun again after a cut.
 *
 * GET /api/stream serves one channel, and knows of no patterns. Where a channel has a log, its position is known from the beginning (that of its newest message, or --since), so that a
 * stream which is begun again goes on behind it: what was published meanwhile comes, or the broker says that it is gone. Without a log, what was
 * published meanwhile is lost, which is said.
 * Thread: main; blocks. */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "cli/request.h"
#include "json/scan.h"

#define LINE_MAX_BYTES (64u * 1024 * 1024)
#define SILENCE        45000u /* ms: three comments of the broker that did not come */
#define BACKOFF_FIRST  200u   /* ms */
#define BACKOFF_MAX    5000u
#define ASK_TIMEOUT    5000u /* ms */
#define POSITION_MAX   64u

struct feed {
    const char *channel;
    int fd;                      /* -1: not connected */
    bool ever;                   /* it was connected once: from then on it comes back */
    bool head;                   /* the response's head was read */
    bool gap;                    /* the next data line is about a gap */
    int status;                  /* of the response */
    struct rt_buf in;            /* bytes that are no whole line yet */
    char position[POSITION_MAX]; /* "EPOCH:OFFSET" of what was printed last; "": not known */
    char coming[POSITION_MAX];   /* that of the message whose lines are being read */
    uint64_t heard;              /* when bytes came last */
    uint64_t retry_at;           /* not connected: when to try again */
    uint32_t backoff;
};

struct sub {
    const struct rt_cli_args *args;
    struct feed *feeds;
    size_t count;
    uint64_t left; /* messages still wanted; 0: no end */
    uint64_t cut;  /* since when no stream could be begun again; 0: none is missing */
    bool unread;   /* nobody reads what is printed */
    bool done;     /* all that was wanted has come */
};

/* ---- what comes ---- */

static void print_message(struct sub *s, const struct feed *f, struct rt_str publication)
{
    struct rt_buf out = RT_BUF_INIT;
    struct rt_str data = rt_json_get(publication, RT_STR("data"));
    bool whole = (s->args->json || !data.ptr) && publication.len > 2;
    if (s->count > 1 && whole) {
        rt_buf_add_c(&out, "{\"channel\":");
        rt_json_add_string(&out, rt_str_c(f->channel));
        rt_buf_printf(&out, ",%.*s", (int)publication.len - 1, publication.ptr + 1);
    } else if (s->count > 1) {
        rt_buf_printf(&out, "%s %.*s", f->channel, RT_STR_ARG(data));
    } else {
        rt_buf_add_str(&out, whole || !data.ptr ? publication : data);
    }
    rt_buf_add_byte(&out, '\n');
    s->unread =
        !rt_buf_ok(&out) || fwrite(out.data, 1, out.len, stdout) < out.len || fflush(stdout);
    rt_buf_deinit(&out);
}

static void on_data(struct sub *s, struct feed *f, struct rt_str data)
{
    if (f->gap) {
        f->gap = false;
        (void)fprintf(stderr,
                      "rtbroker: %s: the log no longer reaches back to that position, "
                      "messages are missing\n",
                      f->channel);
        return;
    }
    print_message(s, f, data);
    if (f->coming[0] != '\0')
        memcpy(f->position, f->coming, sizeof(f->position));
    if (s->left > 0 && --s->left == 0)
        s->done = true;
}

/* One line of the event stream. */
static void on_line(struct sub *s, struct feed *f, struct rt_str line)
{
    if (rt_str_eq(line, RT_STR("event: gap"))) {
        f->gap = true;
    } else if (rt_str_starts(line, RT_STR("id: "))) {
        (void)snprintf(f->coming, sizeof(f->coming), "%.*s", (int)line.len - 4, line.ptr + 4);
    } else if (rt_str_starts(line, RT_STR("data: "))) {
        on_data(s, f, rt_str_of(line.ptr + 6, line.len - 6));
    }
}

static void take_lines(struct sub *s, struct feed *f)
{
    size_t used = 0;
    const uint8_t *end;
    while (!s->done && !s->unread &&
           (end = memchr(f->in.data + used, '\n', f->in.len - used)) != NULL) {
        size_t len = (size_t)(end - f->in.data) - used;
        on_line(s, f, rt_str_of(f->in.data + used, len));
        used += len + 1;
    }
    rt_buf_consume(&f->in, used);
}

/* ---- connections ---- */

/* Where the channel ends now, so that nothing is lost between two streams. A channel without a log has no such place. */
static void ask_position(struct sub *s, struct feed *f)
{
    struct rt_err err = {0};
    struct rt_buf body = RT_BUF_INIT, answer = RT_BUF_INIT;
    rt_buf_add_c(&body, "{\"limit\":0,\"channel\":");
    rt_json_add_string(&body, rt_str_c(f->channel));
    rt_buf_add_byte(&body, '}');
    struct rt_request request = {.url = s->args->url,
                                 .key = s->args->key,
                                 .method = "POST",
                                 .target = "/api/history",
                                 .timeout = ASK_TIMEOUT,
                                 .body = rt_buf_str(&body)};
    int status = 0;
    struct rt_str json = RT_STR_NONE;
    f->position[0] = '\0';
    if (rt_buf_ok(&body) && rt_request_send(&request, &status, &answer, &err) == 0 &&
        status == 200 && rt_json_check(rt_buf_str(&answer), RT_JSON_ENVELOPE, &json, NULL) == 0) {
        struct rt_str result = rt_json_get(json, RT_STR("result"));
        struct rt_str epoch = rt_json_get(result, RT_STR("epoch"));
        struct rt_str offset = rt_json_get(result, RT_STR("offset"));
        if (rt_json_kind(epoch) == RT_JSON_STRING && epoch.len > 2)
            (void)snprintf(f->position, sizeof(f->position), "%.*s:%.*s", (int)epoch.len - 2,
                           epoch.ptr + 1, offset.len ? (int)offset.len : 1,
                           offset.len ? offset.ptr : "0");
    }
    rt_buf_deinit(&body);
    rt_buf_deinit(&answer);
}

static int open_feed(const struct sub *s, struct feed *f, struct rt_err *err)
{
    struct rt_buf target = RT_BUF_INIT;
    const char *since = !f->ever && s->args->since ? s->args->since : f->position;
    rt_buf_add_c(&target, "/api/stream?channel=");
    rt_url_encode(&target, rt_str_c(f->channel));
    if (since[0] != '\0') {
        rt_buf_add_c(&target, "&since=");
        rt_url_encode(&target, rt_str_c(since));
    }
    struct rt_request request = {
        .url = s->args->url, .key = s->args->key, .method = "GET", .target = rt_buf_cstr(&target)};
    int status = request.target ? rt_request_open(&request, &f->fd, err) : rt_err_nomem(err);
    rt_buf_deinit(&target);
    return status;
}

static void close_feed(struct feed *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    f->fd = -1;
    f->head = f->gap = false;
    f->coming[0] = '\0';
    rt_buf_clear(&f->in);
}

static int give_up(const struct rt_err *err)
{
    (void)fprintf(stderr, "rtbroker: %s\n", err->text);
    return err->code == RT_EINVAL ? RT_EXIT_USAGE : RT_EXIT_RUNTIME;
}

/* The stream is gone, or could not be had: an exit code, or -1 when it is to be tried again. */
static int cut(struct sub *s, struct feed *f, const struct rt_err *err)
{
    uint64_t now = rt_mono_ms();
    bool first = s->cut == 0;
    close_feed(f);
    if (!f->ever || s->args->retry == 0)
        return give_up(err);
    if (first) {
        s->cut = now;
        (void)fprintf(stderr, "rtbroker: %s; trying again\n", err->text);
    }
    if (now - s->cut > s->args->retry)
        return give_up(err);
    f->retry_at = now + f->backoff;
    f->backoff = f->backoff * 2 < BACKOFF_MAX ? f->backoff * 2 : BACKOFF_MAX;
    return -1;
}

static int start_feed(struct sub *s, struct feed *f)
{
    struct rt_err err = {0};
    if (!f->ever && !s->args->since)
        ask_position(s, f);
    if (open_feed(s, f, &err))
        return cut(s, f, &err);
    f->heard = rt_mono_ms();
    return -1;
}

/* The broker serves the stream. */
static void began(struct sub *s, struct feed *f)
{
    bool missing = false;
    f->backoff = BACKOFF_FIRST;
    if (f->ever && f->position[0] == '\0')
        (void)fprintf(stderr, "rtbroker: %s: has no log, what was published meanwhile is missing\n",
                      f->channel);
    f->ever = true;
    for (size_t i = 0; i < s->count; i++)
        missing |= s->feeds[i].fd < 0;
    if (s->cut > 0 && !missing) {
        s->cut = 0;
        (void)fprintf(stderr, "rtbroker: connected again\n");
    }
}

/* The answer is no stream: told when its body is there. 503 is one that comes back. */
static int refused(struct sub *s, struct feed *f)
{
    struct rt_err err = {0};
    if (f->status == 503 && f->ever) {
        rt_err_set(&err, RT_EIO, "the broker answered 503");
        return cut(s, f, &err);
    }
    return rt_cli_refused(f->status, &f->in);
}

static int take(struct sub *s, struct feed *f)
{
    struct rt_err err = {0};
    if (!f->head) {
        int status = rt_request_head(&f->in, &f->status, &err);
        if (status == RT_EAGAIN)
            return -1;
        if (status)
            return cut(s, f, &err);
        f->head = true;
        if (f->status == 200)
            began(s, f);
    }
    if (f->status == 200)
        take_lines(s, f);
    if (f->in.len > LINE_MAX_BYTES)
        return give_up(&(struct rt_err){.code = RT_ERANGE,
                                        .text = "a line of the answer is larger than 64 MiB"});
    return -1;
}

static int receive(struct sub *s, struct feed *f)
{
    struct rt_err err = {0};
    ssize_t n = rt_request_receive(f->fd, &f->in);
    if (n > 0) {
        f->heard = rt_mono_ms();
        return take(s, f);
    }
    if (f->head && f->status != 200)
        return refused(s, f);
    if (!f->head)
        rt_err_set(&err, RT_EIO, "the answer is no HTTP response");
    else if (n == 0)
        rt_err_set(&err, RT_EIO, "the broker ended the stream");
    else
        rt_err_set(&err, RT_EIO, "the connection broke: %s", strerror(errno));
    return cut(s, f, &err);
}

/* ---- all of them ---- */

/* Until when nothing is to be done for it unless bytes come. */
static uint64_t due(const struct feed *f)
{
    return f->fd < 0 ? f->retry_at : f->heard + SILENCE;
}

static int wait_for(const struct sub *s, struct pollfd *fds)
{
    uint64_t now = rt_mono_ms(), next = now + SILENCE;
    for (size_t i = 0; i < s->count; i++) {
        fds[i] = (struct pollfd){.fd = s->feeds[i].fd, .events = POLLIN};
        if (due(&s->feeds[i]) < next)
            next = due(&s->feeds[i]);
    }
    return poll(fds, (nfds_t)s->count, next > now ? (int)(next - now) : 0);
}

static int turn(struct sub *s, struct feed *f, bool readable)
{
    struct rt_err err = {0};
    if (readable)
        return receive(s, f);
    if (rt_mono_ms() < due(f))
        return -1;
    if (f->fd < 0)
        return start_feed(s, f);
    rt_err_set(&err, RT_EIO, "nothing has come for %u s", SILENCE / 1000);
    return cut(s, f, &err);
}

static int run(struct sub *s, struct pollfd *fds)
{
    int code = -1;
    while (code < 0 && !s->done && !s->unread) {
        bool ready = wait_for(s, fds) > 0;
        for (size_t i = 0; i < s->count && code < 0 && !s->done && !s->unread; i++)
            code = turn(s, &s->feeds[i], ready && fds[i].fd >= 0 && fds[i].revents != 0);
    }
    return code >= 0   ? code
           : s->unread ? RT_EXIT_RUNTIME
                       : RT_EXIT_OK; /* rt_cli_main() says why nobody reads */
}

static void warn_of_pattern(const char *channel)
{
    if (strpbrk(channel, "*?"))
        (void)fprintf(stderr,
                      "rtbroker: \"%s\" is taken for the name of one channel: /api/stream "
                      "knows no patterns; name several channels instead\n",
                      channel);
}

int rt_cli_sub(const struct rt_cli_args *args)
{
    struct sub s = {.args = args, .count = args->positional_count, .left = args->count};
    struct pollfd *fds = rt_calloc(s.count, sizeof(*fds));
    s.feeds = rt_calloc(s.count, sizeof(*s.feeds));
    int code = RT_EXIT_RUNTIME;
    for (size_t i = 0; s.feeds && i < s.count; i++) {
        s.feeds[i] =
            (struct feed){.channel = args->positional[i], .fd = -1, .backoff = BACKOFF_FIRST};
        warn_of_pattern(args->positional[i]);
    }
    if (s.feeds && fds)
        code = run(&s, fds);
    else
        (void)fprintf(stderr, "rtbroker: out of memory\n");
    for (size_t i = 0; s.feeds && i < s.count; i++) {
        close_feed(&s.feeds[i]);
        rt_buf_deinit(&s.feeds[i].in);
    }
    rt_free(s.feeds);
    rt_free(fds);
    return code;
}
