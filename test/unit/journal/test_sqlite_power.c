/* The power fails: with `sync: full` what was acknowledged is there, whatever the disk made of the writes that it had not synced; with
 * `sync: normal` there is at least a prefix. */
#include "journal_test.h"
#include "power_vfs.h"

#define CHANNELS 3
#define FLIGHT   24
#define LARGE    6000

/* Appends without end, FLIGHT at a time, some of them large so that the WAL wraps while we look. */
struct source {
    struct world w;
    struct pub pubs[FLIGHT];
    uint64_t acked[CHANNELS]; /* offsets are given in order: all up to this one */
    unsigned next;
    bool stopping;
    unsigned in_flight;
    char *large;
};

static void append_next(struct source *s, struct pub *p);

static void on_source(struct rt_append *append)
{
    struct pub *p = (struct pub *)append;
    struct source *s = (struct source *)p->world;
    unsigned channel = (unsigned)(p->name[1] - '0');
    assert_int_equal(append->status, RT_OK);
    assert_int_equal(append->position.offset, s->acked[channel] + 1);
    s->acked[channel]++;
    rt_stored_unref(append->message);
    s->in_flight--;
    if (!s->stopping)
        append_next(s, p);
}

static void append_next(struct source *s, struct pub *p)
{
    char text[32];
    unsigned number = s->next++;
    snprintf(text, sizeof(text), "%u", number);
    snprintf(p->name, sizeof(p->name), "c%u", number % CHANNELS);
    struct rt_message m = text_message(number % 4 ? text : s->large, "source", text);
    memset(&p->append, 0, sizeof(p->append));
    p->world = &s->w;
    p->append.channel_name = rt_str_c(p->name);
    p->append.message = rt_stored_new(&m);
    p->append.done = on_source;
    assert_int_equal(rt_journal_append(s->w.journal, &p->append), RT_PENDING);
    s->in_flight++;
}

static void source_init(struct source *s, bool sync_full)
{
    memset(s, 0, sizeof(*s));
    world_init(&s->w);
    power_register();
    power_reset((uint32_t)getpid());
    s->large = malloc(LARGE + 1);
    assert_non_null(s->large);
    memset(s->large, 'x', LARGE);
    s->large[LARGE] = '\0';
    s->w.options.vfs = "power";
    s->w.options.sync_full = sync_full;
    open_journal(&s->w);
    for (int i = 0; i < FLIGHT; i++)
        append_next(s, &s->pubs[i]);
}

static void source_deinit(struct source *s)
{
    s->stopping = true;
    WAIT(&s->w, s->in_flight == 0);
    world_deinit(&s->w);
    power_reset(0);
    free(s->large);
}

/* Opens what the power failure left: no error, every channel a row of offsets from 1, at least as many as were acknowledged. Positions
 * of the run are good up to what it left. Returns how many there are. */
static uint64_t open_remains(struct world *w, const char *epoch, const uint64_t acked[CHANNELS])
{
    uint64_t found = 0;
    char sql_epoch[80];
    open_journal(w);
    snprintf(sql_epoch, sizeof(sql_epoch), "SELECT count(*) FROM epoch WHERE name='%s'", epoch);
    bool known = sql(w->path, sql_epoch) == 1; /* else nothing of the run is left */
    for (unsigned c = 0; c < CHANNELS; c++) {
        char sql_text[160];
        char name[8];
        snprintf(name, sizeof(name), "c%u", c);
        uint64_t top = top_of(w, name);
        assert_true(top >= acked[c]);
        snprintf(
            sql_text, sizeof(sql_text),
            "SELECT count(*) FROM message JOIN channel ON channel_id=channel.id WHERE name='%s'"
            " AND offset BETWEEN 1 AND top",
            name);
        assert_int_equal(sql(w->path, sql_text), top);
        found += top;
        assert_int_equal(store(w, name, "after"), top + 1);
        assert_int_equal(read_position(w, name, epoch, top, false), known ? RT_OK : RT_ERANGE);
        assert_int_equal(read_position(w, name, epoch, top + 1, false), RT_ERANGE);
    }
    assert_int_equal(sql(w->path, "SELECT count(*) FROM message"), found + CHANNELS);
    close_journal(w);
    return found;
}

/* Returns how many times the disk had to give back less than all that was written. */
static unsigned cut_the_power(bool sync_full, int times)
{
    static struct source s;
    struct world remains;
    const uint64_t none[CHANNELS] = {0};
    unsigned lost = 0;
    char epoch[RT_EPOCH_MAX + 1];
    source_init(&s, sync_full);
    get_epoch(&s.w, epoch);
    world_init(&remains);
    for (int i = 0; i < times; i++) {
        unsigned until = s.next + 40 + (unsigned)i * 7 % 150;
        WAIT(&s.w, s.next >= until);
        uint64_t acked[CHANNELS];
        memcpy(acked, s.acked, sizeof(acked));
        remove_dir(remains.dir);
        assert_int_equal(mkdir(remains.dir, 0700), 0);
        power_capture(remains.path);
        uint64_t found = open_remains(&remains, epoch, sync_full ? acked : none);
        lost += found < acked[0] + acked[1] + acked[2];
    }
    assert_true(power.syncs > 0);
    world_deinit(&remains);
    source_deinit(&s);
    return lost;
}

static void test_sync_full(void **state)
{
    (void)state;
    assert_int_equal(cut_the_power(true, 60), 0);
}

/* That something is lost here shows that the test above would have seen it. */
static void test_sync_normal(void **state)
{
    (void)state;
    assert_true(cut_the_power(false, 16) > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync_full),
        cmocka_unit_test(test_sync_normal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
