/* Shared by the tests of the Socket.IO layer: cmocka's includes and YAML text as nodes. */
#ifndef TEST_UNIT_SOCKETIO_SIO_TEST_H
#define TEST_UNIT_SOCKETIO_SIO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "conf/node.h"

static inline struct rt_node *sio_yaml(const char *text)
{
    struct rt_conf_errors errors = {0};
    struct rt_node *node = NULL;
    if (rt_node_parse(rt_str_c(text), "test.yaml", NULL, &node, &errors) != 0)
        fail_msg("YAML: %s", errors.count ? errors.items[0].text : "out of memory");
    rt_conf_errors_deinit(&errors);
    return node;
}

/* All errors as one text, for strstr(). The caller frees it (rt_free). */
static inline char *sio_errors(struct rt_conf_errors *errors)
{
    struct rt_buf out = RT_BUF_INIT;
    rt_conf_errors_write(errors, &out);
    rt_conf_errors_deinit(errors);
    char *text = rt_strndup((const char *)out.data, out.len);
    rt_buf_deinit(&out);
    return text;
}

#define assert_str(s, text)                                                                    \
    do {                                                                                       \
        struct rt_str assert_str_ = (s);                                                       \
        if (!rt_str_eq(assert_str_, rt_str_c(text)))                                           \
            fail_msg("\"%.*s\" is not \"%s\"", RT_STR_ARG(assert_str_), (const char *)(text)); \
    } while (0)

#endif
