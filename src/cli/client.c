/* Commands that talk to a running broker: pub, health; sub.c has sub. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/request.h"
#include "json/scan.h"

#define LINE_MAX_BYTES (64u * 1024 * 1024)

static int fail(const struct rt_err *err)
{
    (void)fprintf(stderr, "rtbroker: %s\n", err->text);
    return err->code == RT_EINVAL ? RT_EXIT_USAGE : RT_EXIT_RUNTIME;
}

int rt_cli_refused(int status, const struct rt_buf *body)
{
    struct rt_str json = RT_STR_NONE;
    struct rt_buf message = RT_BUF_INIT, hint = RT_BUF_INIT;
    if (rt_json_check(rt_buf_str(body), RT_JSON_ENVELOPE, &json, NULL) == 0) {
        struct rt_str text = rt_json_get(json, RT_STR("message"));
        if (rt_json_kind(text) == RT_JSON_STRING)
            rt_json_unescape(&message, text);
        text = rt_json_get(json, RT_STR("hint"));
        if (rt_json_kind(text) == RT_JSON_STRING)
            rt_json_unescape(&hint, text);
    }
    (void)fprintf(stderr, "rtbroker: the broker answered %d%s%.*s%s%.*s\n", status,
                  message.len > 0 ? ": " : "", RT_STR_ARG(rt_buf_str(&message)),
                  hint.len > 0 ? "; " : "", RT_STR_ARG(rt_buf_str(&hint)));
    rt_buf_deinit(&message);
    rt_buf_deinit(&hint);
    return RT_EXIT_RUNTIME;
}

static void add_member(struct rt_buf *out, const char *name, const char *text)
{
    if (!text)
        return;
    rt_buf_printf(out, ",\"%s\":", name);
    rt_json_add_string(out, rt_str_c(text));
}

static int print_result(struct rt_str answer)
{
    struct rt_str json = RT_STR_NONE, result = RT_STR_NONE;
    if (rt_json_check(answer, RT_JSON_ENVELOPE, &json, NULL) == 0)
        result = rt_json_get(json, RT_STR("result"));
    if (!result.ptr)
        return fail(&(struct rt_err){.code = RT_EIO, .text = "the answer is none of a broker's"});
    (void)printf("%.*s\n", RT_STR_ARG(result));
    return RT_EXIT_OK;
}

static int publish(const struct rt_cli_args *args, struct rt_str data)
{
    struct rt_err err = {0};
    struct rt_buf body = RT_BUF_INIT, answer = RT_BUF_INIT;
    rt_buf_add_c(&body, "{\"data\":");
    rt_buf_add_str(&body, data);
    add_member(&body, "channel", args->positional[0]);
    add_member(&body, "event", args->event);
    add_member(&body, "idempotency_key", args->idempotency_key);
    rt_buf_add_byte(&body, '}');
    struct rt_request request = {.url = args->url,
                                 .key = args->key,
                                 .method = "POST",
                                 .target = "/api/publish",
                                 .body = rt_buf_str(&body)};
    int status = 0, code;
    if (rt_request_send(&request, &status, &answer, &err))
        code = fail(&err);
    else if (status != 200)
        code = rt_cli_refused(status, &answer);
    else
        code = print_result(rt_buf_str(&answer));
    rt_buf_deinit(&body);
    rt_buf_deinit(&answer);
    return code;
}

/* `where`: of the message, for errors: "the message", "line 3". */
static int publish_json(const struct rt_cli_args *args, struct rt_str text, const char *where)
{
    struct rt_err err = {0};
    struct rt_str data;
    if (rt_json_check(text, RT_JSON_PAYLOAD, &data, &err) == 0)
        return publish(args, data);
    (void)fprintf(stderr, "rtbroker: %s is no JSON: %s\nA text needs its quotes: '\"hi\"'\n", where,
                  err.text);
    return RT_EXIT_USAGE;
}

/* The next line of standard input, which ends in `in` at `*ret_used`; a last one needs no end. 0, or RT_ENOENT when there is no more, RT_EIO, RT_ENOMEM. */
static int next_line(struct rt_buf *in, struct rt_str *ret_line, size_t *ret_used)
{
    const uint8_t *end;
    ssize_t n = 1;
    while (!(end = in->len ? memchr(in->data, '\n', in->len) : NULL) && n > 0) {
        uint8_t *room = in->len < LINE_MAX_BYTES ? rt_buf_reserve(in, 16384) : NULL;
        if (!room)
            return RT_ENOMEM;
        do
            n = read(STDIN_FILENO, room, 16384);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return RT_EIO;
        in->len += (size_t)n;
    }
    if (!end && in->len == 0)
        return RT_ENOENT;
    size_t len = end ? (size_t)(end - in->data) : in->len;
    *ret_line = rt_str_of(in->data, len);
    *ret_used = end ? len + 1 : len;
    return 0;
}

static int no_input(int status, bool was_asked_for)
{
    struct rt_err err = {.code = status};
    if (status == RT_EIO)
        rt_err_set(&err, status, "standard input cannot be read: %s", strerror(errno));
    else if (status == RT_ENOMEM)
        rt_err_set(&err, status, "a line of standard input is larger than memory, or 64 MiB");
    else if (was_asked_for)
        return RT_EXIT_OK;
    else
        rt_err_set(&err, RT_EINVAL,
                   "usage: rtbroker pub CHANNEL JSON, or messages, one a line, on standard input: "
                   "there was none");
    return fail(&err);
}

/* A message a line, in order: the first that is not taken ends it. */
static int publish_lines(const struct rt_cli_args *args)
{
    struct rt_buf in = RT_BUF_INIT;
    struct rt_str line;
    size_t used;
    char where[48];
    unsigned long number = 0;
    int status, code = RT_EXIT_OK;
    while (code == RT_EXIT_OK && (status = next_line(&in, &line, &used)) == 0) {
        (void)snprintf(where, sizeof(where), "line %lu of standard input", ++number);
        line = rt_str_trim(line);
        if (line.len > 0)
            code = publish_json(args, line, where);
        rt_buf_consume(&in, used);
    }
    rt_buf_deinit(&in);
    if (code == RT_EXIT_OK)
        return no_input(status, number > 0 || args->positional_count == 2);
    if (code != RT_EXIT_USAGE)
        (void)fprintf(stderr, "rtbroker: this was %s; what follows was not published\n", where);
    return code;
}

int rt_cli_pub(const struct rt_cli_args *args)
{
    const char *message = args->positional_count == 2 ? args->positional[1] : NULL;
    if (message && strcmp(message, "-") != 0)
        return publish_json(args, rt_str_c(message), "the message");
    if (args->idempotency_key)
        return fail(&(struct rt_err){.code = RT_EINVAL,
                                     .text = "--idempotency-key names one message: it does not go "
                                             "with lines of standard input"});
    if (!message && isatty(STDIN_FILENO))
        return fail(&(struct rt_err){.code = RT_EINVAL,
                                     .text = "usage: rtbroker pub CHANNEL JSON (- reads messages, "
                                             "one a line, from standard input)"});
    return publish_lines(args);
}

int rt_cli_health(const struct rt_cli_args *args)
{
    struct rt_err err = {0};
    struct rt_buf answer = RT_BUF_INIT;
    struct rt_request request = {.url = args->url, .method = "GET", .target = "/readyz"};
    int status = 0, code = RT_EXIT_OK;
    if (rt_request_send(&request, &status, &answer, &err))
        code = fail(&err);
    else if (status != 200)
        code = RT_EXIT_RUNTIME;
    if (answer.len > 0 && !err.code)
        (void)fwrite(answer.data, 1, answer.len, code ? stderr : stdout);
    rt_buf_deinit(&answer);
    return code;
}
