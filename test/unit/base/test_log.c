#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* Standard error goes to a file while lines are written; what is read back is compared. */
static char captured[1 << 20];
static size_t captured_len;
static int real_stderr = -1, file = -1;

/* Time can be moved forward: this stands before libc's. */
static time_t skipped_seconds;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long r = syscall(SYS_clock_gettime, clock, now);
    now->tv_sec += skipped_seconds;
    return (int)r;
}

static void capture(void)
{
    fflush(stderr);
    file = memfd_create("log", MFD_CLOEXEC);
    assert_true(file >= 0);
    real_stderr = dup(STDERR_FILENO);
    assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
}

static void release(void)
{
    if (real_stderr < 0)
        return;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    real_stderr = -1;
    ssize_t got = pread(file, captured, sizeof(captured) - 1, 0);
    close(file);
    captured_len = got > 0 ? (size_t)got : 0;
    captured[captured_len] = '\0';
}

static int teardown(void **state)
{
    (void)state;
    release();
    return 0;
}

static int count_lines(void)
{
    int lines = 0;
    for (size_t i = 0; i < captured_len; i++)
        lines += captured[i] == '\n';
    return lines;
}

/* The whole line but for its time. */
static void assert_line(const char *wanted)
{
    release();
    assert_int_equal(count_lines(), 1);
    const char *stamp = strstr(captured, "20");
    assert_non_null(stamp);
    assert_int_equal(strspn(stamp, "0123456789-T:.Z"), 24);
    struct rt_str before = rt_str_of(captured, (size_t)(stamp - captured));
    struct rt_str expected_before = before.len ? RT_STR("{\"ts\":\"") : RT_STR("");
    assert_true(rt_str_eq(before, expected_before));
    assert_string_equal(stamp + 24, wanted);
}

static void test_text_line(void **state)
{
    (void)state;
    rt_log_setup(RT_LOG_INFO, RT_LOG_TEXT, NULL);
    capture();
    errno = EDOM;
    rt_log(RT_LOG_WARN, "net", "connection cap reached", rt_kv_u64("cap", UINT64_MAX),
           rt_kv_i64("delta", INT64_MIN), rt_kv_c("peer", "10.0.0.1:80"),
           rt_kv_c("why", "a \"b\"\n\x1b[31m"), rt_kv_c("none", NULL));
    assert_int_equal(errno, EDOM);
    assert_line(" warn net connection cap reached cap=18446744073709551615 "
                "delta=-9223372036854775808 peer=10.0.0.1:80 why=\"a \\\"b\\\"\\n\\u001b[31m\" "
                "none=\"\"\n");
}

static void test_no_pairs(void **state)
{
    (void)state;
    rt_log_setup(RT_LOG_INFO, RT_LOG_TEXT, "n1");
    capture();
    rt_log(RT_LOG_ERROR, "app", "no pairs");
    assert_line(" error app no pairs node=n1\n");
}

static void test_json_line(void **state)
{
    (void)state;
    rt_log_setup(RT_LOG_INFO, RT_LOG_JSON, "node \"x\"");
    capture();
    rt_log(RT_LOG_INFO, "net", "hello\tthere", rt_kv_u64("n", 5),
           rt_kv_str("raw", RT_STR("a\0\xff\xc3\xa4\x7f\xc2\x9b\\")),
           rt_kv_str("cut", RT_STR("x\xe2\x82")));
    assert_line("\",\"level\":\"info\",\"comp\":\"net\",\"msg\":\"hello\\tthere\","
                "\"node\":\"node \\\"x\\\"\",\"n\":5,"
                "\"raw\":\"a\\u0000\xef\xbf\xbd\xc3\xa4\\u007f\\u009b\\\\\","
                "\"cut\":\"x\xef\xbf\xbd\xef\xbf\xbd\"}\n");
}

static void test_auto_is_json_in_a_file(void **state)
{
    (void)state;
    capture();
    rt_log_setup(RT_LOG_INFO, RT_LOG_AUTO, NULL);
    rt_log(RT_LOG_INFO, "auto", "x");
    assert_line("\",\"level\":\"info\",\"comp\":\"auto\",\"msg\":\"x\"}\n");
}

static int evaluated;

static uint64_t evaluate(void)
{
    return (uint64_t)++evaluated;
}

static void test_levels(void **state)
{
    (void)state;
    rt_log_setup(RT_LOG_WARN, RT_LOG_TEXT, NULL);
    capture();
    evaluated = 0;
    rt_log(RT_LOG_INFO, "lvl", "below", rt_kv_u64("n", evaluate()));
    rt_log_write(RT_LOG_DEBUG, "lvl", "below", NULL, 0);
    rt_log(RT_LOG_WARN, "lvl", "at", rt_kv_u64("n", evaluate()));
    rt_log_set_level(RT_LOG_OFF);
    rt_log(RT_LOG_ERROR, "lvl", "off", rt_kv_u64("n", evaluate()));
    rt_log(RT_LOG_OFF, "lvl", "no level", rt_kv_u64("n", evaluate()));
    assert_int_equal(evaluated, 1);
    rt_log_set_level(RT_LOG_DEBUG);
    rt_log(RT_LOG_DEBUG, "lvl", "debug");
    release();
    assert_int_equal(count_lines(), 2);
    assert_non_null(strstr(captured, " warn lvl at n=1\n"));
    assert_non_null(strstr(captured, " debug lvl debug\n"));
}

static void test_repetition_is_held_back(void **state)
{
    (void)state;
    rt_log_setup(RT_LOG_INFO, RT_LOG_TEXT, NULL);
    capture();
    for (int i = 0; i < 1000; i++)
        rt_log(RT_LOG_INFO, "rep", "the same", rt_kv_u64("i", (uint64_t)i));
    for (int i = 0; i < 3; i++)
        rt_log(RT_LOG_INFO, "rep", "another");
    rt_log(RT_LOG_INFO, "rep2", "the same");
    release();
    assert_int_equal(count_lines(), 10 + 3 + 1);
    assert_non_null(strstr(captured, " i=9\n"));
    assert_null(strstr(captured, " i=10\n"));
    assert_null(strstr(captured, "suppressed"));
}

static void test_the_next_line_tells_how_many_were_held_back(void **state)
{
    (void)state;
    rt_log_setup(RT_LOG_INFO, RT_LOG_TEXT, NULL);
    capture();
    for (int i = 0; i < 25; i++)
        rt_log(RT_LOG_INFO, "held", "again and again");
    skipped_seconds += 4;
    rt_log(RT_LOG_INFO, "held", "again and again", rt_kv_c("at", "4"));
    skipped_seconds += 2;
    rt_log(RT_LOG_INFO, "held", "again and again", rt_kv_c("at", "6"));
    rt_log(RT_LOG_INFO, "held", "again and again", rt_kv_c("at", "6 too"));
    release();
    assert_int_equal(count_lines(), 12);
    assert_null(strstr(captured, "at=4"));
    assert_non_null(strstr(captured, " info held again and again suppressed=16 at=6\n"));
    assert_non_null(strstr(captured, " info held again and again at=\"6 too\"\n"));
}

/* Many more messages than the table has places: each is still written when it is new. */
static void test_many_messages(void **state)
{
    (void)state;
    rt_log_setup(RT_LOG_INFO, RT_LOG_TEXT, NULL);
    capture();
    for (int i = 0; i < 2000; i++) {
        char msg[32];
        snprintf(msg, sizeof(msg), "message %d", i);
        rt_log(RT_LOG_INFO, "many", msg);
    }
    release();
    assert_int_equal(count_lines(), 2000);
}

static void test_long_values(void **state)
{
    (void)state;
    static char text[5000];
    memset(text, 'v', sizeof(text));
    rt_log_setup(RT_LOG_INFO, RT_LOG_JSON, NULL);
    /* The cut after 1024 bytes is inside of the second of two characters. */
    memcpy(text + 1021, "\xc3\xa4\xe2\x82\xac", 5);
    capture();
    rt_log(RT_LOG_INFO, "long", "one", rt_kv_str("v", rt_str_of(text, sizeof(text))),
           rt_kv_c("after", "here"));
    release();
    assert_int_equal(count_lines(), 1);
    assert_non_null(strstr(captured, "vv\xc3\xa4...\",\"after\":\"here\"}\n"));

    capture();
    rt_log(RT_LOG_INFO, "long", "five", rt_kv_str("a", rt_str_of(text, sizeof(text))),
           rt_kv_str("b", rt_str_of(text, sizeof(text))),
           rt_kv_str("c", rt_str_of(text, sizeof(text))),
           rt_kv_str("d", rt_str_of(text, sizeof(text))),
           rt_kv_str("e", rt_str_of(text, sizeof(text))));
    release();
    assert_int_equal(count_lines(), 1);
    assert_true(captured_len <= 4096);
    assert_null(strstr(captured, "\"d\""));
    const char *tail = "...\",\"cut\":true}\n";
    assert_string_equal(captured + captured_len - strlen(tail), tail);

    memset(text, '\x01', sizeof(text)); /* six bytes each */
    capture();
    rt_log(RT_LOG_INFO, "long", "escapes", rt_kv_str("a", rt_str_of(text, sizeof(text))));
    release();
    tail = "\"msg\":\"escapes\",\"cut\":true}\n";
    assert_string_equal(captured + captured_len - strlen(tail), tail);
}

#define WRITERS 4

static void *write_lines(void *arg)
{
    char msg[32];
    for (int i = 0; i < 300; i++) {
        snprintf(msg, sizeof(msg), "thread %d line %d", *(int *)arg, i);
        rt_log(RT_LOG_INFO, "thr", msg, rt_kv_c("padding", "a value that makes the line longer"));
    }
    return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[WRITERS];
    int numbers[WRITERS];
    rt_log_setup(RT_LOG_INFO, RT_LOG_TEXT, NULL);
    capture();
    assert_true(fcntl(STDERR_FILENO, F_SETFL, O_APPEND) == 0);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    release();
    assert_int_equal(count_lines(), WRITERS * 300);
    struct rt_str rest = rt_str_of(captured, captured_len);
    while (rest.len) {
        struct rt_str line = rt_str_split(rest, '\n', &rest);
        assert_true(rt_glob_match(RT_STR("20*Z info thr thread ? line * padding=\"a value that "
                                         "makes the line longer\""),
                                  line));
        assert_true(line.len < 120);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_text_line, teardown),
        cmocka_unit_test_teardown(test_no_pairs, teardown),
        cmocka_unit_test_teardown(test_json_line, teardown),
        cmocka_unit_test_teardown(test_auto_is_json_in_a_file, teardown),
        cmocka_unit_test_teardown(test_levels, teardown),
        cmocka_unit_test_teardown(test_repetition_is_held_back, teardown),
        cmocka_unit_test_teardown(test_the_next_line_tells_how_many_were_held_back, teardown),
        cmocka_unit_test_teardown(test_many_messages, teardown),
        cmocka_unit_test_teardown(test_long_values, teardown),
        cmocka_unit_test_teardown(test_lines_of_threads_do_not_mix, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
