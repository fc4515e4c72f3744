/* The arguments of the command line, as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/alloc.h"
#include "cli/cli.h"

enum { WORDS_MAX = 12 };

struct row {
    const char *words[WORDS_MAX]; /* behind the program's name */
    const char *want;             /* as describe() writes it, or the error */
    int status;
};

static void add(struct rt_buf *out, const char *name, const char *value)
{
    if (value)
        rt_buf_printf(out, " %s=%s", name, value);
}

static void add_list(struct rt_buf *out, const char *name, const char **items)
{
    for (size_t i = 0; items[i]; i++)
        rt_buf_printf(out, " %s=%s", name, items[i]);
}

static void describe(const struct rt_cli_args *a, struct rt_buf *out)
{
    rt_buf_add_c(out, a->command);
    add(out, "file", a->config.file);
    add_list(out, "listen", a->config.listen);
    add_list(out, "set", a->config.set);
    add_list(out, "word", a->positional);
    add(out, "url", a->url);
    add(out, "key", a->key);
    add(out, "event", a->event);
    add(out, "idempotency-key", a->idempotency_key);
    add(out, "since", a->since);
    add(out, "dump", a->dump);
    if (a->count)
        rt_buf_printf(out, " count=%llu", (unsigned long long)a->count);
    rt_buf_printf(out, "%s%s%s%s", a->config.dev ? " dev" : "", a->json ? " json" : "",
                  a->help ? " help" : "", a->version ? " version" : "");
}

static const struct row ROWS[] = {
    {{NULL}, "serve", 0},
    {{"serve"}, "serve", 0},
    {{"--dev"}, "serve dev", 0},
    {{"--config", "a.yaml"}, "serve file=a.yaml", 0},
    {{"--config=a.yaml", "serve"}, "serve file=a.yaml", 0},
    {{"--config="}, "serve file=", 0},
    {{"--config", "a", "--config", "b"}, "serve file=b", 0},
    {{"--listen", "a:1", "--listen=b:2", "--set", "x=1", "--set=y=2=3"},
     "serve listen=a:1 listen=b:2 set=x=1 set=y=2=3",
     0},
    {{"check", "--config", "a"}, "check file=a", 0},
    {{"--config", "a", "check"}, "check file=a", 0},
    {{"config", "--defaults"}, "config dump=defaults", 0},
    {{"config", "--env"}, "config dump=env", 0},
    {{"config", "--effective"}, "config dump=effective", 0},
    {{"init"}, "init", 0},
    {{"health", "--url", "unix:/x"}, "health url=unix:/x", 0},
    {{"pub", "ch", "{}"}, "pub word=ch word={}", 0},
    {{"pub", "ch", "1", "--key", "k", "--event", "e", "--idempotency-key", "i"},
     "pub word=ch word=1 key=k event=e idempotency-key=i",
     0},
    {{"pub", "sub", "check"}, "pub word=sub word=check", 0}, /* words are no commands any more */
    {{"sub", "ch", "--since", "E:5", "--count", "3", "--json"},
     "sub word=ch since=E:5 count=3 json",
     0},
    {{"sub", "-"}, "sub word=-", 0},
    {{"sub", "a", "b", "--retry", "30s"}, "sub word=a word=b", 0},
    {{"pub", "ch"}, "pub word=ch", 0},
    {{"pub", "ch", "-"}, "pub word=ch word=-", 0},
    {{"pub", "ch", "--", "-5"}, "pub word=ch word=-5", 0},
    {{"pub", "--", "--dev", "--"}, "pub word=--dev word=--", 0},
    {{"--", "check"}, "check", 0},
    {{"help"}, "help", 0},
    {{"help", "pub"}, "help word=pub", 0},
    {{"-h"}, "serve help", 0},
    {{"--help", "pub"}, "pub help", 0}, /* without what pub needs */
    {{"--version"}, "serve version", 0},
    {{"nonsense", "--version"}, "serve word=nonsense version", 0},

    {{"--config"}, "--config needs a value", RT_EINVAL},
    {{"--listen"}, "--listen needs a value", RT_EINVAL},
    {{"sub", "x", "--count"}, "--count needs a value", RT_EINVAL},
    {{"sub", "x", "--count", "-1"}, "--count: \"-1\" is no number", RT_EINVAL},
    {{"sub", "x", "--count="}, "--count: \"\" is no number", RT_EINVAL},
    {{"sub", "x", "--count", "99999999999999999999"}, "--count: * is no number", RT_EINVAL},
    {{"--lisen", "x"}, "unknown option --lisen; did you mean --listen?", RT_EINVAL},
    {{"--confi=x"}, "unknown option --confi; did you mean --config?", RT_EINVAL},
    {{"--configs=x"}, "unknown option --configs; did you mean --config?", RT_EINVAL},
    {{"--dev=1"}, "unknown option --dev; *", RT_EINVAL},
    {{"-x"}, "unknown option -x", RT_EINVAL},
    {{"pub", "ch", "-5"}, "unknown option -5", RT_EINVAL},
    {{"chekc"}, "unknown command \"chekc\"; did you mean check?", RT_EINVAL},
    {{"zzzzzz"}, "unknown command \"zzzzzz\"", RT_EINVAL},
    {{"check", "a.yaml"},
     "unexpected argument \"a.yaml\" of check; a configuration is named by --config",
     RT_EINVAL},
    {{"serve", "check"}, "unexpected argument \"check\" of serve; *", RT_EINVAL},
    {{"pub"}, "usage: rtbroker pub CHANNEL [JSON | -]", RT_EINVAL},
    {{"pub", "ch", "1", "2"}, "usage: rtbroker pub CHANNEL [JSON | -]", RT_EINVAL},
    {{"sub"}, "usage: rtbroker sub CHANNEL..", RT_EINVAL},
    {{"sub", "x", "--retry", "soon"}, "--retry: \"soon\" is no time such as 0 or 30s", RT_EINVAL},
    {{"help", "chekc"}, "unknown command \"chekc\"; did you mean check?", RT_EINVAL},
    {{"help", "a", "b"}, "usage: rtbroker help [COMMAND]", RT_EINVAL},
};

static int parse(const struct row *row, struct rt_cli_args *args, struct rt_err *err)
{
    char *argv[WORDS_MAX + 2] = {(char *)(uintptr_t) "rtbroker"};
    int argc = 1;
    for (size_t i = 0; i < WORDS_MAX && row->words[i]; i++)
        argv[argc++] = (char *)(uintptr_t)row->words[i];
    return rt_cli_parse(argc, argv, args, err);
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct rt_cli_args args;
        struct rt_err err = {0};
        struct rt_buf got = RT_BUF_INIT;
        int status = parse(&ROWS[i], &args, &err);
        if (status == 0)
            describe(&args, &got);
        else
            rt_buf_add_c(&got, err.text);
        if (status != ROWS[i].status || !rt_glob_match(rt_str_c(ROWS[i].want), rt_buf_str(&got)))
            fail_msg("row %zu: %d, %s", i, status, rt_buf_cstr(&got));
        rt_buf_deinit(&got);
        if (status == 0)
            rt_cli_args_deinit(&args);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    long before = rt_alloc_live();
    for (unsigned long n = 1; n <= 3; n++) {
        struct rt_cli_args args;
        struct rt_err err = {0};
        rt_alloc_fail_at(n, 0);
        assert_int_equal(parse(&ROWS[0], &args, &err), RT_ENOMEM);
        rt_alloc_fail_at(0, 0);
        assert_int_equal(rt_alloc_live(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
