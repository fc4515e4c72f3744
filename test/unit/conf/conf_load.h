/* Loads a configuration from text for the tests of conf, and compares what is reported. Include after cmocka.h. */
#ifndef RT_TEST_CONF_LOAD_H
#define RT_TEST_CONF_LOAD_H

#include "conf/config.h"

#include <stdlib.h>

struct loaded {
    struct rt_config *config; /* NULL: it failed */
    int code;
    struct rt_conf_errors errors;
    struct rt_conf_errors warnings;
};

/* `yaml` NULL: there is no file. The other members of `args` may be zero. */
static inline struct loaded load_with(const char *yaml, const struct rt_config_args *args)
{
    struct loaded l = {.config = NULL};
    l.code = rt_config_load_text(args, rt_str_c(yaml), yaml != NULL ? "f.yaml" : NULL, &l.config,
                                 &l.errors, &l.warnings);
    return l;
}

static inline struct loaded load(const char *yaml)
{
    struct rt_config_args args = {.file = NULL};
    return load_with(yaml, &args);
}

static inline void unload(struct loaded *l)
{
    rt_config_free(l->config);
    rt_conf_errors_deinit(&l->errors);
    rt_conf_errors_deinit(&l->warnings);
}

static inline void assert_reported(const struct rt_conf_errors *errors, const char *wanted)
{
    struct rt_buf text = RT_BUF_INIT;
    rt_conf_errors_write(errors, &text);
    assert_string_equal(rt_buf_cstr(&text), wanted);
    rt_buf_deinit(&text);
}

/* The load fails with exactly these errors, one a line. */
static inline void assert_errors(const char *yaml, const char *wanted)
{
    struct loaded l = load(yaml);
    assert_reported(&l.errors, wanted);
    assert_int_equal(l.code, RT_EINVAL);
    assert_null(l.config);
    unload(&l);
}

/* The load succeeds with exactly these warnings. */
static inline void assert_warnings(const char *yaml, const char *wanted)
{
    struct loaded l = load(yaml);
    assert_reported(&l.errors, "");
    assert_int_equal(l.code, 0);
    assert_reported(&l.warnings, wanted);
    unload(&l);
}

static inline void assert_loaded(const struct loaded *l)
{
    assert_reported(&l->errors, "");
    assert_int_equal(l->code, 0);
    assert_non_null(l->config);
}

#endif
