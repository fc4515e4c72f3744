/* The sink where something fails that is not its: a server that is read-only, full or stopped in the middle, a node that is frozen in the middle. None of it makes a
 * dead letter, or a row twice. */
#include "unit/store/sink_rig.h"

#include <sys/mount.h>

/* ---- the server, stopped ----------------------------------------------------------------------------------------- */

/* All of its processes, the parent first, so that there are no more of them meanwhile. */
static void signal_server(int signum)
{
    char path[64], line[4096] = "";
    assert_int_equal(kill(server.pid, signum), 0);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)server.pid, (int)server.pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    if (!fgets(line, sizeof(line), f))
        line[0] = '\0';
    (void)fclose(f);
    for (char *at = line, *end; strtol(at, &end, 10) > 0 && end != at; at = end)
        (void)kill((pid_t)strtol(at, NULL, 10), signum);
}

static void test_frozen_server(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    open_world(&w, &s);
    store_many(&w, 400);
    for (int round = 0; round < 2; round++) {
        signal_server(SIGSTOP);
        send_many(&w, 400);
        AWAIT(&w, !rt_sink_healthy(s.sink, NULL));
        signal_server(SIGCONT);
        AWAIT(&w, caught_up(&w));
        expect_rows(&w, 800 + round * 400);
        AWAIT(&w, rt_sink_healthy(s.sink, NULL));
    }
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    close_world(&w, &s);
}

/* A statement waits for its answer for seven seconds; who closes does not. */
static void test_close_against_frozen_server(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    w.close_timeout = 500;
    open_sink(&w, &s, "n1");
    store_many(&w, 400);
    signal_server(SIGSTOP);
    send_many(&w, 4);
    uint64_t begin = rt_mono_ms();
    rt_sink_close(s.sink, on_closed, &s);
    AWAIT(&w, s.closed);
    uint64_t took = rt_mono_ms() - begin;
    signal_server(SIGCONT);
    if (took > 6000)
        fail_msg("closing took %llu ms", (unsigned long long)took);
    rt_sink_free(s.sink);
    open_sink(&w, &s, "n1");
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 404);
    close_world(&w, &s);
}

/* ---- the server refuses to write --------------------------------------------------------------------------------- */

static void set_read_only(struct world *w, const char *setting)
{
    (void)pg_server_query(w->conn, "SET default_transaction_read_only = off");
    (void)pg_server_query(w->conn, "ALTER SYSTEM %s", setting);
    (void)pg_server_query(w->conn, "SELECT pg_reload_conf()");
}

static void test_read_only_server(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    open_world(&w, &s);
    store_many(&w, 400);
    set_read_only(&w, "SET default_transaction_read_only = on");
    AWAIT(&w, !rt_sink_healthy(s.sink, NULL));
    const char *text = NULL;
    (void)rt_sink_healthy(s.sink, &text);
    assert_non_null(strstr(text, "read-only"));
    send_many(&w, 400);
    long tries = metric(&s, "sink_retries_total");
    AWAIT(&w, metric(&s, "sink_retries_total") >= tries + 3);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 400);
    set_read_only(&w, "RESET default_transaction_read_only");
    AWAIT(&w, caught_up(&w));
    expect_rows(&w, 800);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    close_world(&w, &s);
}

#define SMALL_DISK "/disk"

static void disk_path(char *path, size_t size)
{
    snprintf(path, size, "%s" SMALL_DISK, server.dir);
}

/* False: this process may not. */
static bool mount_disk(const char *size)
{
    char path[100], options[100];
    disk_path(path, sizeof(path));
    bool again = mkdir(path, 0700) != 0;
    snprintf(options, sizeof(options), "size=%s,mode=0700,uid=%d,gid=%d", size, PG_SERVER_NOBODY,
             PG_SERVER_NOBODY);
    return mount("rt-test", path, "tmpfs", again ? MS_REMOUNT : 0, options) == 0;
}

/* Also after a test that failed. */
static int stop_all(void **state)
{
    char path[100];
    disk_path(path, sizeof(path));
    (void)umount2(path, MNT_DETACH);
    return stop_server(state);
}

/* Text that PostgreSQL cannot make smaller. */
static void send_large(struct world *w, int count)
{
    enum { SIZE = 60000 };
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    for (int i = 0; i < count; i++) {
        uint8_t random[SIZE];
        rt_random(random, SIZE);
        for (int k = 0; k < SIZE; k++)
            text[k] = (char)(' ' + random[k] % 94);
        text[SIZE] = '\0';
        send_text(w, i % PARTS, text);
    }
    free(text);
    assert_int_equal(rd_kafka_flush(w->producer, 20000), 0);
}

static void test_disk_full(void **state)
{
    (void)state;
    if (geteuid() != 0 || !mount_disk("6m")) {
        print_message("only who may mount a small disk can fill it\n");
        skip();
    }
    struct world w;
    struct node_sink s;
    char path[100];
    open_world(&w, &s);
    store_many(&w, 40);
    disk_path(path, sizeof(path));
    (void)pg_server_query(w.conn, "CREATE TABLESPACE small LOCATION '%s'", path);
    (void)pg_server_query(w.conn, "ALTER TABLE %s.message_default SET TABLESPACE small", w.schema);
    send_large(&w, 300);
    const char *text = NULL;
    AWAIT(&w, !rt_sink_healthy(s.sink, &text) && strstr(text, "No space left"));
    assert_false(caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    assert_true(mount_disk("100m"));
    AWAIT(&w, caught_up(&w));
    assert_int_equal(number(&w, "SELECT count(*) FROM ~message"), 340);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    close_sink(&w, &s);
    (void)pg_server_query(w.conn, "DROP TABLE %s.message CASCADE", w.schema);
    (void)pg_server_query(w.conn, "DROP TABLESPACE small");
    world_deinit(&w);
}

/* ---- a node, frozen in the middle -------------------------------------------------------------------------------- */

/* Its statement is in the server, its answer is never read in time: the statement commits without it. Another node takes over from there, and what the frozen one does
 * when it is back finds its session ended. */
static void test_frozen_between_statement_and_answer(void **state)
{
    (void)state;
    struct world w;
    struct node_sink s;
    world_init(&w);
    pid_t child = spawn_node(&w);
    store_many(&w, 400);
    PGconn *lock = pg_server_connect(&server);
    (void)pg_server_query(lock, "BEGIN; LOCK TABLE %s.message", w.schema);
    send_many(&w, 400);
    AWAIT(&w, number(&w, "SELECT count(*) FROM pg_stat_activity WHERE "
                         "application_name = 'rtbroker sink' AND wait_event_type = 'Lock'") == 1);
    assert_int_equal(kill(child, SIGSTOP), 0);
    (void)pg_server_query(lock, "COMMIT");
    PQfinish(lock);
    AWAIT(&w, number(&w, "SELECT count(*) FROM pg_stat_activity WHERE "
                         "application_name = 'rtbroker sink' AND state <> 'idle'") == 0);
    long before = number(&w, "SELECT count(*) FROM ~message");
    open_sink(&w, &s, "b");
    AWAIT(&w, owned(&s) == PARTS);
    AWAIT(&w, caught_up(&w));
    print_message("%ld rows of the frozen statement\n", before - 400);
    expect_rows(&w, 800);
    AWAIT(&w, metric(&s, "sink_fenced_total") >= 1);
    store_many(&w, 400);
    thaw_node(&w, &s, child, 1200);
    assert_int_equal(number(&w, "SELECT count(*) FROM ~dead_letter"), 0);
    end_node(child);
    close_world(&w, &s);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "node") == 0)
        return run_node(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen_server),
        cmocka_unit_test(test_close_against_frozen_server),
        cmocka_unit_test(test_read_only_server),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_frozen_between_statement_and_answer),
    };
    return cmocka_run_group_tests(tests, start_server, stop_all);
}
