/* Cross-origin headers, as a table: configuration, request, what the response says. */
#include "unit/engine/engine_rig.h"

enum { LINES = 6 };

struct row {
    const char *name;
    const char *origins[4];
    bool credentials;
    const char *headers[3];
    const char *methods[3]; /* empty: the default */
    uint64_t max_age;
    const char *origin; /* of the request; NULL: none */
    const char *asked;  /* Access-Control-Request-Headers; NULL: no preflight but a GET */
    const char *has[LINES];
    const char *has_not[LINES];
};

static const struct row ROWS[] = {
    {"off", {NULL}, .origin = "http://a.example", .has_not = {"Access-Control", "Vary"}},
    {"star",
     {"*"},
     .origin = "http://a.example",
     .has = {"Access-Control-Allow-Origin: *\r\n"},
     .has_not = {"Vary", "Credentials"}},
    {"star without an origin", {"*"}, .has = {"Access-Control-Allow-Origin: *\r\n"}},
    {"star, credentials: reflected",
     {"*"},
     .credentials = true,
     .origin = "http://a.example",
     .has = {"Access-Control-Allow-Origin: http://a.example\r\n", "Vary: Origin\r\n",
             "Access-Control-Allow-Credentials: true\r\n"}},
    {"one: always named",
     {"https://a.example"},
     .origin = "http://other.example",
     .has = {"Access-Control-Allow-Origin: https://a.example\r\n", "Vary: Origin\r\n"},
     .has_not = {"Credentials"}},
    {"one, no origin",
     {"https://a.example"},
     .has = {"Access-Control-Allow-Origin: https://a.example\r\n", "Vary: Origin\r\n"}},
    {"list: reflected",
     {"https://a.example", "https://b.example"},
     .credentials = true,
     .origin = "https://b.example",
     .has = {"Access-Control-Allow-Origin: https://b.example\r\n", "Vary: Origin\r\n",
             "Access-Control-Allow-Credentials: true\r\n"}},
    {"list: another one is served all the same",
     {"https://a.example", "https://b.example"},
     .origin = "https://c.example",
     .has = {"Vary: Origin\r\n"},
     .has_not = {"Access-Control-Allow-Origin"}},
    {"pattern",
     {"https://*.a.example"},
     .origin = "https://x.a.example",
     .has = {"Access-Control-Allow-Origin: https://x.a.example\r\n", "Vary: Origin\r\n"}},
    {"pattern: not this one",
     {"https://*.a.example"},
     .origin = "https://a.example.evil.example",
     .has_not = {"Access-Control-Allow-Origin"}},
    {"preflight, headers echoed",
     {"*"},
     .origin = "http://a.example",
     .asked = "content-type,x-y",
     .has = {"Access-Control-Allow-Origin: *\r\n",
             "Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\n",
             "Access-Control-Allow-Headers: content-type,x-y\r\n",
             "Vary: Access-Control-Request-Headers\r\n"},
     .has_not = {"Max-Age"}},
    {"preflight, methods configured",
     {"*"},
     .methods = {"GET", "POST"},
     .asked = "",
     .has = {"Access-Control-Allow-Methods: GET,POST\r\n"}},
    {"preflight, none asked",
     {"*"},
     .origin = "http://a.example",
     .asked = "",
     .has = {"Vary: Access-Control-Request-Headers\r\n"},
     .has_not = {"Access-Control-Allow-Headers"}},
    {"preflight, headers configured",
     {"https://a.example"},
     .headers = {"X-A", "X-B"},
     .max_age = 600000,
     .origin = "https://a.example",
     .asked = "content-type",
     .has = {"Access-Control-Allow-Headers: X-A,X-B\r\n", "Access-Control-Max-Age: 600\r\n",
             "Access-Control-Allow-Origin: https://a.example\r\n"},
     .has_not = {"content-type", "Vary: Access-Control"}},
};

static struct rt_strings list_of(const char *const *items)
{
    struct rt_strings list = {(const char **)(uintptr_t)items, 0};
    while (items[list.count])
        list.count++;
    return list;
}

static void check_headers(const struct row *row, const char *what)
{
    for (int i = 0; i < LINES && row->has[i]; i++)
        if (!strstr(answer_head, row->has[i]))
            fail_msg("%s, %s: no %s in %s", row->name, what, row->has[i], answer_head);
    for (int i = 0; i < LINES && row->has_not[i]; i++)
        if (strstr(answer_head, row->has_not[i]))
            fail_msg("%s, %s: there is %s in %s", row->name, what, row->has_not[i], answer_head);
}

static void check_preflight(const struct row *row, const char *lines)
{
    struct peer *p = new_peer();
    request(p, "OPTIONS", "EIO=4&transport=polling", lines);
    expect_answer(p, 204, "", "");
    check_headers(row, "preflight");
    drop(p);
}

/* Successes, errors, and what a session gets, all have them. */
static void check_requests(const struct row *row, const char *lines)
{
    char sid[SID_MAX], query[128];
    struct peer *p = new_peer();
    request(p, "GET", "EIO=4&transport=polling", lines);
    end_turn();
    take_sid(p->conn->out, p->conn->out_len, sid);
    expect_poll(p, "0{*}");
    check_headers(row, "handshake");
    snprintf(query, sizeof(query), "/eio/?EIO=4&transport=polling&sid=%s", sid);
    request_raw(p, "POST", query, lines, "4a", 2);
    expect_ok(p);
    check_headers(row, "POST");
    request(p, "GET", "EIO=4&transport=abc", lines);
    expect_error(p, 400, 0, "Transport unknown");
    check_headers(row, "error");
    drop(p);
    t.log.len = 0;
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        const struct row *row = &ROWS[i];
        char origin[200] = "", lines[400];
        t.config.cors_origins = list_of(row->origins);
        t.config.cors_headers = list_of(row->headers);
        t.config.cors_methods =
            row->methods[0] ? list_of(row->methods) : (struct rt_strings){METHODS, 6};
        t.config.cors_credentials = row->credentials;
        t.config.cors_max_age = row->max_age;
        if (row->origin)
            snprintf(origin, sizeof(origin), "Origin: %s\r\n", row->origin);
        snprintf(lines, sizeof(lines), "%s%s%s%s", origin,
                 row->asked && *row->asked ? "Access-Control-Request-Headers: " : "",
                 row->asked ? row->asked : "", row->asked && *row->asked ? "\r\n" : "");
        if (row->asked)
            check_preflight(row, lines);
        else
            check_requests(row, lines);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_table, set_up_mounted, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
