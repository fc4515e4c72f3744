/* The browser client's files. Responses are taken down by stand-ins for the HTTP server's
 * functions. */
#include "unit/socketio/sio_test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "proto/socketio/files.h"

static struct {
    int status;
    char content_type[64];
    char headers[200];
    struct rt_bytes *body;
} last;

static struct rt_str if_none_match;
static struct rt_str prefix = {"/socket.io/", 11};
static struct rt_str cors_lines;

struct rt_str rt_http_header(const struct rt_http_request *req, const char *lower_name)
{
    (void)req;
    return strcmp(lower_name, "if-none-match") == 0 ? if_none_match : RT_STR_NONE;
}

static void note(int status, const char *content_type, struct rt_str headers, struct rt_bytes *body)
{
    last.status = status;
    snprintf(last.content_type, sizeof(last.content_type), "%s", content_type ? content_type : "");
    snprintf(last.headers, sizeof(last.headers), "%.*s", RT_STR_ARG(headers));
    last.body = body;
}

void rt_http_abort(struct rt_http_request *req)
{
    (void)req;
    last.status = -1;
}

void rt_http_respond(struct rt_http_request *req, int status, const char *content_type,
                     struct rt_str headers, struct rt_str body)
{
    (void)req;
    assert_int_equal(body.len, 0);
    note(status, content_type, headers, NULL);
}

void rt_http_respond_bytes(struct rt_http_request *req, int status, const char *content_type,
                           struct rt_str headers, struct rt_bytes *body)
{
    (void)req;
    note(status, content_type, headers, body);
}

static char folder[] = "/tmp/sio-files-XXXXXX";

static void put(const char *name, const char *content)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    assert_int_equal(fclose(f), 0);
}

static void take_away(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(remove(path), 0);
}

static bool get(const struct rt_sio_files *files, const char *path)
{
    struct rt_http_request req = {.method = RT_GET, .path = rt_str_c(path)};
    last.status = 0;
    return rt_sio_files_serve(files, prefix, cors_lines, &req);
}

static void test_serves(void **state)
{
    (void)state;
    struct rt_sio_files *files = NULL;
    put("socket.io.js", "the client");
    put("socket.io.min.js", "");
    put("socket.io.js.map", "{}");
    assert_int_equal(rt_sio_files_new(folder, &files, NULL), 0);
    assert_true(get(files, "/socket.io/socket.io.js"));
    assert_int_equal(last.status, 200);
    assert_string_equal(last.content_type, "application/javascript; charset=utf-8");
    assert_str(rt_bytes_str(last.body), "the client");
    assert_non_null(strstr(last.headers, "Cache-Control: public, max-age=0\r\n"));
    assert_null(strstr(last.headers, "Access-Control"));
    assert_true(get(files, "/socket.io/socket.io.js.map"));
    assert_string_equal(last.content_type, "application/json; charset=utf-8");
    assert_true(get(files, "/socket.io/socket.io.min.js"));
    assert_int_equal(last.body->len, 0);
    static const char *const others[] = {
        "/socket.io/",
        "/socket.io/socket.io.esm.min.js", /* known, but not in the folder */
        "/socket.io/socket.io.js/",
        "/socket.io/x/socket.io.js",
        "/socket.io/../socket.io.js",
        "/socket.io/Socket.io.js",
        "/other/socket.io.js",
        "/socket.io/socket.io.j",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(get(files, others[i]));
    assert_int_equal(last.status, 0);
    assert_false(get(NULL, "/socket.io/socket.io.js"));
    /* Behind a path without a slash at its end. */
    prefix = RT_STR("/socket.io");
    assert_true(get(files, "/socket.io/socket.io.js"));
    assert_false(get(files, "/socket.io.js"));
    assert_false(get(files, "/socket.iosocket.io.js"));
    assert_false(get(files, "/socket.io"));
    prefix = RT_STR("/socket.io/");
    rt_sio_files_free(files);
    take_away("socket.io.min.js");
    take_away("socket.io.js.map");
}

static void test_validation(void **state)
{
    (void)state;
    struct rt_sio_files *files = NULL;
    assert_int_equal(rt_sio_files_new(folder, &files, NULL), 0);
    cors_lines = RT_STR("Vary: Origin\r\nAccess-Control-Allow-Origin: https://a.example\r\n");
    assert_true(get(files, "/socket.io/socket.io.js"));
    assert_non_null(
        strstr(last.headers, "\r\nVary: Origin\r\nAccess-Control-Allow-Origin: https://"));
    cors_lines = RT_STR_NONE;
    char etag[32], list[64];
    const char *at = strstr(last.headers, "ETag: ");
    assert_non_null(at);
    snprintf(etag, sizeof(etag), "%.18s", at + 6);
    static const char *const forms[] = {"%s", "W/%s", "\"other\", %s", "\"a\",W/%s , \"b\""};
    for (size_t i = 0; i < 4; i++) {
        snprintf(list, sizeof(list),
                 i == 0   ? "%s"
                 : i == 1 ? "W/%s"
                 : i == 2 ? "\"other\", %s"
                          : "\"a\",W/%s , \"b\"",
                 etag);
        if_none_match = rt_str_c(list);
        assert_true(get(files, "/socket.io/socket.io.js"));
        if (last.status != 304)
            fail_msg("%s: %d", forms[i], last.status);
        assert_non_null(strstr(last.headers, etag));
    }
    if_none_match = RT_STR("*");
    assert_true(get(files, "/socket.io/socket.io.js"));
    assert_int_equal(last.status, 304);
    if_none_match = RT_STR("\"other\"");
    assert_true(get(files, "/socket.io/socket.io.js"));
    assert_int_equal(last.status, 200);
    if_none_match = RT_STR_NONE;
    rt_sio_files_free(files);
    /* Another content has another tag. */
    put("socket.io.js", "changed");
    assert_int_equal(rt_sio_files_new(folder, &files, NULL), 0);
    assert_true(get(files, "/socket.io/socket.io.js"));
    assert_null(strstr(last.headers, etag));
    rt_sio_files_free(files);
}

static void test_errors(void **state)
{
    (void)state;
    struct rt_sio_files *files = NULL;
    struct rt_err err = {0};
    assert_int_equal(rt_sio_files_new("/nonexistent", &files, &err), RT_ENOENT);
    assert_non_null(strstr(err.text, "protocols.socketio.client_dir"));
    char path[128];
    snprintf(path, sizeof(path), "%s/socket.io.js.map", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(rt_sio_files_new(folder, &files, &err), RT_EIO);
    assert_int_equal(rmdir(path), 0);
    bool failed = true;
    for (unsigned long n = 1; failed; n++) {
        files = NULL;
        rt_alloc_fail_at(n, 0);
        int r = rt_sio_files_new(folder, &files, &err);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(r, failed ? RT_ENOMEM : 0);
        rt_sio_files_free(files);
    }
    take_away("socket.io.js");
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder) == 0 && rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
