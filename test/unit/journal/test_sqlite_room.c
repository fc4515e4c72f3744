/* How full the database is: said ahead, once for each level, again after there was room meanwhile. */
#include "journal/sqlite_room.h"

#include "journal_test.h"

#define PAGES 200

static void make_db(const struct world *w, sqlite3 **ret_db)
{
    assert_int_equal(sqlite3_open(w->path, ret_db), SQLITE_OK);
    assert_int_equal(rt_db_exec(*ret_db, "PRAGMA page_size=4096; CREATE TABLE t(x)"), SQLITE_OK);
    char text[64];
    snprintf(text, sizeof(text), "PRAGMA max_page_count=%d", PAGES);
    assert_int_equal(rt_db_exec(*ret_db, text), SQLITE_OK);
}

/* Makes it hold so many percent of its pages, about. */
static void fill(sqlite3 *db, int percent)
{
    char text[200];
    snprintf(text, sizeof(text),
             "DELETE FROM t; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT %d)"
             " INSERT INTO t SELECT zeroblob(4000) FROM n",
             percent * PAGES / 100 - 4);
    assert_int_equal(rt_db_exec(db, text), SQLITE_OK);
}

static void test_levels(void **state)
{
    (void)state;
    static const struct {
        int percent;
        unsigned level;
    } steps[] = {{10, 0},  {78, 0},  {82, 80}, {78, 80}, {74, 0}, {82, 80},
                 {93, 90}, {87, 90}, {83, 80}, {95, 90}, {10, 0}, {92, 90}};
    struct world w;
    sqlite3 *db;
    struct rt_room room;
    world_init(&w);
    make_db(&w, &db);
    assert_int_equal(rt_room_init(&room, db, NULL), 0);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        fill(db, steps[i].percent);
        rt_room_measure(&room);
        assert_int_equal(room.used + room.left, PAGES * 4096);
        assert_in_range(room.used * 100 / (PAGES * 4096), steps[i].percent - 2,
                        steps[i].percent + 1);
        assert_int_equal(room.level, steps[i].level);
    }
    rt_room_deinit(&room);
    sqlite3_close(db);
    world_deinit(&w);
}

/* Often enough: no level is passed between two measurements, however fast it fills. */
static void test_when_to_measure(void **state)
{
    (void)state;
    struct world w;
    sqlite3 *db;
    struct rt_room room;
    world_init(&w);
    make_db(&w, &db);
    assert_int_equal(rt_room_init(&room, db, NULL), 0);
    assert_true(rt_room_wrote(&room, 1)); /* nothing is known yet */
    rt_room_measure(&room);
    unsigned measured = 0, levels[91] = {0};
    for (uint64_t pages = room.used / 4096; pages < PAGES; pages++) {
        if (!rt_room_wrote(&room, 1))
            continue;
        fill(db, (int)(pages * 100 / PAGES) < 3 ? 3 : (int)(pages * 100 / PAGES));
        rt_room_measure(&room);
        levels[room.level]++;
        measured++;
    }
    assert_true(levels[80] > 0 && levels[90] > 0);
    assert_true(measured < PAGES / 2);
    rt_room_deinit(&room);
    sqlite3_close(db);
    world_deinit(&w);
}

static void test_metrics(void **state)
{
    (void)state;
    struct world w;
    static char data[8000];
    world_init(&w);
    memset(data, 'x', sizeof(data) - 1);
    w.options.max_size = 1 << 20;
    open_journal(&w);
    WAIT(&w, sample(&w, "rtbroker_storage_used_bytes") > 0);
    assert_true(sample(&w, "rtbroker_storage_left_bytes") > 800000);
    while (status_of(&w, "a", data) == RT_OK)
        ;
    WAIT(&w, sample(&w, "rtbroker_storage_left_bytes") < 100000);
    assert_true(sample(&w, "rtbroker_storage_used_bytes") > 900000);
    /* Retention makes room. */
    close_journal(&w);
    sql(w.path, "UPDATE message SET time=1 WHERE offset<=100");
    w.options.retention = 60000;
    open_journal(&w);
    WAIT(&w, sample(&w, "rtbroker_storage_left_bytes") > 700000);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_when_to_measure),
        cmocka_unit_test(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
