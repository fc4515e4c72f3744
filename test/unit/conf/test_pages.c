/* What the option table generates: sample, reference page, dumps, environment names. Runs in the root of the tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "conf/option.h"
#include "unit/conf/conf_load.h"

static const char reference_path[] = "docs/configuration.md";

static char *const no_environ[] = {NULL};

/* ---- the table itself ---- */

static void check_row(const struct rt_option *o)
{
    assert_non_null(o->path);
    if (o->type == RT_OPT_ABSENT)
        return;
    size_t len = strlen(o->doc);
    assert_true(len > 0 && o->doc[len - 1] == '.');
    if (o->type == RT_OPT_INT || o->type == RT_OPT_DURATION || o->type == RT_OPT_SIZE) {
        assert_true(o->min < o->max);
        assert_non_null(o->def);
    }
    if (o->type == RT_OPT_INT)
        assert_true(o->max <= UINT32_MAX);
    assert_int_equal(o->choices != NULL, o->type == RT_OPT_ENUM || o->type == RT_OPT_SET);
    assert_int_equal(o->items != NULL, o->type == RT_OPT_SECTIONS);
    assert_int_equal(o->count_offset != 0, o->type == RT_OPT_SECTIONS);
}

/* Paths differ, and none is a section of another. */
static void check_table(const struct rt_option_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *o = &table->options[i];
        check_row(o);
        assert_ptr_equal(rt_option_find(table, rt_str_c(o->path), NULL), o);
        assert_false(rt_option_is_section(table, rt_str_c(o->path)));
        if (o->items != NULL)
            check_table(o->items);
    }
}

static void test_table(void **state)
{
    (void)state;
    check_table(rt_options());
}

static void test_env_names(void **state)
{
    (void)state;
    const struct rt_option_table *table = rt_options();
    struct rt_buf a = RT_BUF_INIT, b = RT_BUF_INIT;
    rt_option_env_name(rt_option_find(table, RT_STR("protocols.socketio.cors.max_age"), NULL), &a);
    assert_string_equal(rt_buf_cstr(&a), "RTBROKER_PROTOCOLS_SOCKETIO_CORS_MAX_AGE");
    /* a.b_c and a_b.c would be one name. */
    for (size_t i = 0; i < table->count; i++) {
        rt_buf_clear(&a);
        rt_option_env_name(&table->options[i], &a);
        for (size_t j = 0; j < i; j++) {
            rt_buf_clear(&b);
            rt_option_env_name(&table->options[j], &b);
            assert_false(rt_str_eq(rt_buf_str(&a), rt_buf_str(&b)));
        }
    }
    rt_buf_deinit(&a);
    rt_buf_deinit(&b);
}

static void test_secret_twin(void **state)
{
    (void)state;
    const struct rt_option *keys = rt_option_find(rt_options(), RT_STR("api.keys"), NULL);
    bool file = false;
    const struct rt_option *key = rt_option_find(keys->items, RT_STR("key_file"), &file);
    assert_true(file);
    assert_string_equal(key->path, "key");
    assert_ptr_equal(rt_option_find(keys->items, RT_STR("key"), &file), key);
    assert_false(file);
    assert_null(rt_option_find(keys->items, RT_STR("name_file"), &file));
}

/* ---- the sample ---- */

static void dump_without_sources(const struct rt_config *config, struct rt_buf *out)
{
    struct rt_buf dump = RT_BUF_INIT;
    rt_config_dump(config, RT_DUMP_EFFECTIVE, &dump);
    struct rt_str rest = rt_buf_str(&dump);
    while (rest.len > 0) {
        struct rt_str line = rt_str_split(rest, '\n', &rest);
        const char *mark = memmem(line.ptr, line.len, "  # ", 4);
        assert_non_null(mark);
        rt_buf_add_str(out, rt_str_trim(rt_str_of(line.ptr, (size_t)(mark - line.ptr))));
        rt_buf_add_byte(out, '\n');
    }
    rt_buf_deinit(&dump);
}

static void test_sample_is_the_defaults(void **state)
{
    (void)state;
    struct rt_buf sample = RT_BUF_INIT, ours = RT_BUF_INIT, defaults = RT_BUF_INIT;
    rt_config_sample(&sample);
    assert_true(rt_buf_ok(&sample));
    struct loaded l = load(rt_buf_cstr(&sample));
    assert_loaded(&l);
    assert_reported(&l.warnings, "");
    dump_without_sources(l.config, &ours);
    unload(&l);
    l = load("");
    assert_loaded(&l);
    dump_without_sources(l.config, &defaults);
    unload(&l);
    assert_string_equal(rt_buf_cstr(&ours), rt_buf_cstr(&defaults));
    rt_buf_deinit(&sample);
    rt_buf_deinit(&ours);
    rt_buf_deinit(&defaults);
}

static void assert_holds(const struct rt_buf *text, const char *part)
{
    if (memmem(text->data, text->len, part, strlen(part)) == NULL)
        fail_msg("\"%s\" is missing", part);
}

/* Every option is set in the sample (or explained, inside lists), with its documentation. */
static void test_sample_is_complete(void **state)
{
    (void)state;
    const struct rt_option_table *table = rt_options();
    struct rt_buf sample = RT_BUF_INIT, part = RT_BUF_INIT;
    struct rt_conf_errors errors = {0};
    struct rt_node *root;
    rt_config_sample(&sample);
    assert_int_equal(rt_node_parse(rt_buf_str(&sample), "s", no_environ, &root, &errors), 0);
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *o = &table->options[i];
        if (o->type == RT_OPT_ABSENT)
            continue;
        const struct rt_node *node = root;
        struct rt_str rest = rt_str_c(o->path);
        while (rest.len > 0) {
            struct rt_str segment = rt_str_split(rest, '.', &rest);
            rt_buf_clear(&part);
            rt_buf_add_str(&part, segment);
            node = rt_node_get(node, rt_buf_cstr(&part));
            assert_non_null(node);
        }
        /* Long ones are broken over lines. */
        rt_buf_clear(&part);
        rt_buf_add(&part, o->doc, strcspn(o->doc, " "));
        assert_holds(&sample, rt_buf_cstr(&part));
        for (size_t j = 0; o->items != NULL && j < o->items->count; j++) {
            if (o->items->options[j].type == RT_OPT_ABSENT)
                continue;
            rt_buf_clear(&part);
            rt_buf_printf(&part, "#   %s: ", o->items->options[j].path);
            assert_holds(&sample, rt_buf_cstr(&part));
        }
    }
    rt_node_free(root);
    rt_buf_deinit(&sample);
    rt_buf_deinit(&part);
}

/* The commented examples are what they say: without their `#` the file still loads. */
static void test_sample_examples(void **state)
{
    (void)state;
    struct rt_buf sample = RT_BUF_INIT, open = RT_BUF_INIT;
    rt_config_sample(&sample);
    struct rt_str rest = rt_buf_str(&sample);
    size_t examples = 0;
    while (rest.len > 0) {
        struct rt_str line = rt_str_split(rest, '\n', &rest);
        const char *mark = memchr(line.ptr, '#', line.len);
        size_t at = mark != NULL ? (size_t)(mark - line.ptr) : line.len;
        struct rt_str after = rt_str_of(line.ptr + at, line.len - at);
        /* "#  " and one more level begins an example, "# " a sentence, "#   " the options of an item. */
        bool example =
            (rt_str_starts(after, RT_STR("#  ")) && after.len > 3 && after.ptr[3] != ' ') ||
            (examples > 0 && rt_str_starts(after, RT_STR("#    ")) &&
             !rt_str_starts(after, RT_STR("#       ")));
        if (example) {
            examples++;
            rt_buf_add(&open, line.ptr, at);
            rt_buf_add_str(&open, rt_str_of(after.ptr + 1, after.len - 1));
        } else if (line.len > 3 && memcmp(line.ptr + line.len - 4, ": []", 4) == 0 &&
                   rest.len > 0 && memmem(rest.ptr, 12, "#  - ", 5) != NULL) {
            rt_buf_add(&open, line.ptr, line.len - 3);
        } else {
            rt_buf_add_str(&open, line);
        }
        rt_buf_add_byte(&open, '\n');
    }
    assert_int_equal(examples, 2 + 2 + 5 + 6);
    struct loaded l = load(rt_buf_cstr(&open));
    assert_int_equal(l.code, RT_EINVAL);
    assert_int_equal(l.errors.count, 1);
    assert_string_equal(l.errors.items[0].text,
                        "api.keys[0].key_file: cannot read "
                        "\"/etc/rtbroker/api.key\": No such file or directory");
    unload(&l);
    rt_buf_deinit(&sample);
    rt_buf_deinit(&open);
}

/* ---- the reference ---- */

static void check_reference(const struct rt_option_table *table, const struct rt_buf *page)
{
    struct rt_buf part = RT_BUF_INIT;
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *o = &table->options[i];
        rt_buf_clear(&part);
        rt_buf_printf(&part, o->type == RT_OPT_ABSENT ? "%s`" : "\n| `%s`", o->path);
        assert_holds(page, rt_buf_cstr(&part));
        if (o->type != RT_OPT_ABSENT)
            assert_holds(page, o->doc);
        if (o->items != NULL)
            check_reference(o->items, page);
    }
    rt_buf_deinit(&part);
}

static void test_reference_is_complete(void **state)
{
    (void)state;
    struct rt_buf page = RT_BUF_INIT;
    rt_config_reference(&page);
    assert_true(rt_buf_ok(&page));
    check_reference(rt_options(), &page);
    rt_buf_deinit(&page);
}

static void read_whole(const char *path, struct rt_buf *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("cannot open %s", path);
    for (size_t n = 1; n > 0;) {
        uint8_t *room = rt_buf_reserve(out, 65536);
        assert_non_null(room);
        n = fread(room, 1, 65536, file);
        out->len += n;
    }
    fclose(file);
}

static void test_reference_is_current(void **state)
{
    (void)state;
    struct rt_buf page = RT_BUF_INIT, file = RT_BUF_INIT;
    rt_config_reference(&page);
    if (getenv("RT_UPDATE") != NULL) {
        FILE *out = fopen(reference_path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(page.data, 1, page.len, out), page.len);
        assert_int_equal(fclose(out), 0);
    }
    read_whole(reference_path, &file);
    if (!rt_str_eq(rt_buf_str(&page), rt_buf_str(&file)))
        fail_msg("%s is not what the option table says: RT_UPDATE=1 make unit ONLY=conf writes it",
                 reference_path);
    rt_buf_deinit(&page);
    rt_buf_deinit(&file);
}

/* ---- dumps ---- */

static void test_effective(void **state)
{
    (void)state;
    char *environ_[] = {"RTBROKER_LIMITS_MESSAGE=1025", "RTBROKER_STORAGE_PATH=a\"b", NULL};
    const char *set[] = {"log.level=warn", NULL};
    const char *listen[] = {"127.0.0.1:1", NULL};
    struct rt_config_args args = {.environ_ = environ_, .set = set, .listen = listen};
    struct loaded l =
        load_with("node: {name: n}\n"
                  "api: {keys: [{name: a, key: very-secret}]}\n"
                  "channels:\n  - {match: x, log: true, subscribe: anyone}\n"
                  "socketio: {events: [{event: [a, 'b'], do: [{emit: {data: {$json: 1}}}]}]}\n",
                  &args);
    struct rt_buf dump = RT_BUF_INIT;
    assert_loaded(&l);
    rt_config_dump(l.config, RT_DUMP_EFFECTIVE, &dump);
    static const struct {
        const char *value;
        const char *source;
    } lines[] = {
        {"node.name = \"n\"", "f.yaml:1:14"},
        {"http.listen = [\"127.0.0.1:1\"]", "--listen"},
        {"limits.message = 1025B", "environment RTBROKER_LIMITS_MESSAGE"},
        {"storage.path = \"a\\\"b\"", "environment RTBROKER_STORAGE_PATH"},
        {"log.level = warn", "--set log.level"},
        {"log.format = auto", "default"},
        {"api.keys.0.name = \"a\"", "f.yaml:2:21"},
        {"api.keys.0.key = \"***\"", "f.yaml:2:29"},
        {"channels.0.match = \"x\"", "f.yaml:4:13"},
        {"channels.0.history.ttl = 1d", "default"},
        {"protocols.raw = []", "default"},
        {"protocols.socketio.transports = [polling, websocket]", "default"},
        {"socketio.events = [{event: [\"a\", \"b\"], do: [{emit: {data: {$json: 1}}}]}]",
         "f.yaml:5:20"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct rt_buf line = RT_BUF_INIT;
        rt_buf_printf(&line, "\n%-48s  # %s\n", lines[i].value, lines[i].source);
        /* The first line has none before it. */
        assert_holds(&dump, rt_buf_cstr(&line) + (i == 0 ? 1 : 0));
        rt_buf_deinit(&line);
    }
    assert_null(memmem(dump.data, dump.len, "very-secret", 11));
    assert_null(memmem(dump.data, dump.len, "issuer", 6));
    rt_buf_deinit(&dump);
    unload(&l);
}

static void test_defaults(void **state)
{
    (void)state;
    struct loaded l = load("log: {level: warn}\n");
    struct rt_buf dump = RT_BUF_INIT;
    assert_loaded(&l);
    rt_config_dump(l.config, RT_DUMP_DEFAULTS, &dump);
    static const char *const lines[] = {
        "http.listen = [\"127.0.0.1:8000\"]\n",
        "log.level = info\n",
        "channels = []\nchannels[].match = \"\"\nchannels[].log = false\n",
        "channels[].history.ttl = 24h\n",
        "protocols.raw[].cors.origins = []\n",
        NULL,
    };
    for (const char *const *line = lines; *line != NULL; line++)
        assert_holds(&dump, *line);
    rt_buf_deinit(&dump);
    unload(&l);
}

/* What --env prints is an environment that makes the same configuration. */
static void test_env_dump(void **state)
{
    (void)state;
    enum { VARIABLES_CAP = 200 };
    struct loaded l =
        load("node: {name: n}\n"
             "http: {listen: [\"127.0.0.1:1\", \"[::1]:1\"], path_prefix: \"/it's\"}\n"
             "protocols: {raw: [{path: \"/e/{channel}/\", protocol: engineio,\n"
             "  cors: {origins: [\"*\"], max_age: 1h}, cookie: c}]}\n"
             "channels: [{match: \"a*\", log: yes, history: {size: 2}, subscribe: anyone},\n"
             "  {match: \"b\", subscribe: nobody}]\n"
             "socketio: {events: [{event: x, do: [{publish: {data: [1, true, null, \"2\"]}}]}]}\n");
    struct rt_buf dump = RT_BUF_INIT, once = RT_BUF_INIT, twice = RT_BUF_INIT;
    char *variables[VARIABLES_CAP] = {NULL};
    size_t count = 0;
    assert_loaded(&l);
    rt_config_dump(l.config, RT_DUMP_ENV, &dump);
    dump_without_sources(l.config, &once);
    assert_holds(&dump, "RTBROKER_HTTP_PATH_PREFIX='/it'\\''s'");
    struct rt_str rest = rt_buf_str(&dump);
    while (rest.len > 0) {
        struct rt_str line = rt_str_split(rest, '\n', &rest), value;
        struct rt_str name = rt_str_split(line, '=', &value);
        struct rt_buf variable = RT_BUF_INIT;
        rt_buf_add_str(&variable, name);
        rt_buf_add_byte(&variable, '=');
        /* Undoes the shell's quotes. */
        bool quoted = false;
        for (size_t i = 0; i < value.len && (quoted || value.ptr[i] != ' '); i++) {
            if (value.ptr[i] == '\'')
                quoted = !quoted;
            else if (quoted || value.ptr[i] != '\\')
                rt_buf_add_byte(&variable, (uint8_t)value.ptr[i]);
            else
                rt_buf_add_byte(&variable, (uint8_t)value.ptr[++i]);
        }
        assert_true(count < VARIABLES_CAP - 1);
        variables[count++] = rt_strdup(rt_buf_cstr(&variable));
        rt_buf_deinit(&variable);
    }
    unload(&l);
    struct rt_config_args args = {.environ_ = variables};
    l = load_with("", &args);
    assert_loaded(&l);
    assert_reported(&l.warnings, "");
    dump_without_sources(l.config, &twice);
    assert_string_equal(rt_buf_cstr(&twice), rt_buf_cstr(&once));
    unload(&l);
    while (count > 0)
        rt_free(variables[--count]);
    rt_buf_deinit(&dump);
    rt_buf_deinit(&once);
    rt_buf_deinit(&twice);
}

/* ---- examples, and memory ---- */

static void test_examples(void **state)
{
    (void)state;
    glob_t files;
    assert_int_equal(glob("docs/examples/*.yaml", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 3);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct rt_config_args args = {.file = files.gl_pathv[i]};
        struct loaded l = {.config = NULL};
        l.code = rt_config_load(&args, &l.config, &l.errors, &l.warnings);
        assert_loaded(&l);
        assert_reported(&l.warnings, "");
        unload(&l);
    }
    globfree(&files);
}

/* A page that could not be written whole says so. */
static void write_without_memory(void (*write)(const struct rt_config *, struct rt_buf *),
                                 const struct rt_config *config)
{
    long live = rt_alloc_live();
    bool failed = true;
    unsigned long n;
    for (n = 1; failed; n++) {
        struct rt_buf out = RT_BUF_INIT;
        rt_alloc_fail_at(n, 0);
        write(config, &out);
        failed = rt_alloc_failed();
        rt_alloc_fail_at(0, 0);
        assert_int_equal(rt_buf_ok(&out), !failed);
        rt_buf_deinit(&out);
        assert_int_equal(rt_alloc_live(), live);
    }
    assert_true(n > 3);
}

static void write_sample(const struct rt_config *config, struct rt_buf *out)
{
    (void)config;
    rt_config_sample(out);
}

static void write_reference(const struct rt_config *config, struct rt_buf *out)
{
    (void)config;
    rt_config_reference(out);
}

static void write_effective(const struct rt_config *config, struct rt_buf *out)
{
    rt_config_dump(config, RT_DUMP_EFFECTIVE, out);
}

static void write_env(const struct rt_config *config, struct rt_buf *out)
{
    rt_config_dump(config, RT_DUMP_ENV, out);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct loaded l = load("channels: [{match: a, subscribe: anyone}]\n"
                           "api: {keys: [{name: a, key_file: docs/examples/chat.yaml}]}\n");
    assert_loaded(&l);
    write_without_memory(write_sample, l.config);
    write_without_memory(write_reference, l.config);
    write_without_memory(write_effective, l.config);
    write_without_memory(write_env, l.config);
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_env_names),
        cmocka_unit_test(test_secret_twin),
        cmocka_unit_test(test_sample_is_the_defaults),
        cmocka_unit_test(test_sample_is_complete),
        cmocka_unit_test(test_sample_examples),
        cmocka_unit_test(test_reference_is_complete),
        cmocka_unit_test(test_reference_is_current),
        cmocka_unit_test(test_effective),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_env_dump),
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("conf/pages", tests, NULL, NULL);
}
