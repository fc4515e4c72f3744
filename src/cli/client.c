/* Commands that talk to a running broker: pub, sub, health. */
#include "cli/cli.h"

#include <stdio.h>

#include "base/codec.h"
#include "cli/request.h"
#include "json/scan.h"

static int fail(const struct rt_err *err)
{
    (void)fprintf(stderr, "rtbroker: %s\n", err->text);
    return err->code == RT_EINVAL ? RT_EXIT_USAGE : RT_EXIT_RUNTIME;
}

/* Prints the message and hint of the API's error. */
static int refused(int status, struct rt_buf *body)
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

int rt_cli_pub(const struct rt_cli_args *args)
{
    struct rt_err err = {0};
    struct rt_str data;
    if (rt_json_check(rt_str_c(args->positional[1]), RT_JSON_PAYLOAD, &data, &err)) {
        (void)fprintf(stderr,
                      "rtbroker: the message is no JSON: %s\nA text needs its quotes: '\"hi\"'\n",
                      err.text);
        return RT_EXIT_USAGE;
    }
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
        code = refused(status, &answer);
    else
        code = print_result(rt_buf_str(&answer));
    rt_buf_deinit(&body);
    rt_buf_deinit(&answer);
    return code;
}

struct subscription {
    uint64_t left;                   /* messages still wanted; 0: no end */
    bool endless, json, gap, unread; /* unread: nobody reads what is printed */
};

static void print_message(struct subscription *s, struct rt_str publication)
{
    struct rt_str data = rt_json_get(publication, RT_STR("data"));
    struct rt_str shown = s->json || !data.ptr ? publication : data;
    if (printf("%.*s\n", RT_STR_ARG(shown)) < 0 || fflush(stdout))
        s->unread = true;
}

/* One line of the event stream. */
static bool on_line(void *arg, struct rt_str line)
{
    struct subscription *s = arg;
    if (rt_str_eq(line, RT_STR("event: gap"))) {
        s->gap = true;
        return true;
    }
    if (!rt_str_starts(line, RT_STR("data: ")))
        return true;
    if (s->gap) {
        s->gap = false;
        (void)fprintf(stderr, "rtbroker: the log no longer reaches back to that position, "
                              "messages are missing\n");
        return true;
    }
    print_message(s, rt_str_of(line.ptr + 6, line.len - 6));
    return !s->unread && (s->endless || --s->left > 0);
}

int rt_cli_sub(const struct rt_cli_args *args)
{
    struct rt_err err = {0};
    struct rt_buf target = RT_BUF_INIT, refusal = RT_BUF_INIT;
    struct subscription s = {.left = args->count, .endless = args->count == 0, .json = args->json};
    rt_buf_add_c(&target, "/api/stream?channel=");
    rt_url_encode(&target, rt_str_c(args->positional[0]));
    if (args->since) {
        rt_buf_add_c(&target, "&since=");
        rt_url_encode(&target, rt_str_c(args->since));
    }
    struct rt_request request = {
        .url = args->url, .key = args->key, .method = "GET", .target = rt_buf_cstr(&target)};
    int status = 0, code = RT_EXIT_OK;
    if (!request.target)
        code = fail(&(struct rt_err){.code = RT_ENOMEM, .text = "out of memory"});
    else if (rt_request_stream(&request, on_line, &s, &status, &refusal, &err))
        code = fail(&err);
    else if (status != 200)
        code = refused(status, &refusal);
    else if (s.unread)
        code = RT_EXIT_RUNTIME; /* rt_cli_main() says why */
    else if (s.endless || s.left > 0)
        code = fail(&(struct rt_err){.code = RT_EIO, .text = "the broker ended the stream"});
    rt_buf_deinit(&target);
    rt_buf_deinit(&refusal);
    return code;
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
