/* kafka.consume: what is read, and every error that `rtbroker check` can tell; texts made of a record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/conf/conf_load.h"

#include "conf/record_template.h"

static void test_template(void **state)
{
    (void)state;
    struct rt_str rest = RT_STR("a-{key}{header:x-y}/{topic}z"), text;
    enum rt_record_part part;
    static const struct {
        enum rt_record_part part;
        const char *text; /* NULL: not looked at */
    } wanted[] = {{RT_PART_TEXT, "a-"}, {RT_PART_KEY, NULL},   {RT_PART_HEADER, "x-y"},
                  {RT_PART_TEXT, "/"},  {RT_PART_TOPIC, NULL}, {RT_PART_TEXT, "z"}};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_true(rt_record_template_next(&rest, &part, &text));
        assert_int_equal(part, wanted[i].part);
        if (wanted[i].text)
            assert_true(rt_str_eq(text, rt_str_c(wanted[i].text)));
    }
    assert_false(rt_record_template_next(&rest, &part, &text));
    static const char *const good[] = {"", "x", "{key}", "{header:a}", "{topic}:{key}"};
    static const char *const bad[] = {"{",        "}",     "a}",        "{}",     "{key",
                                      "{{key}}",  "{Key}", "{header:}", "{key }", "{header:{x}}",
                                      "{offset}", "{key}}"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_null(rt_record_template_fault(rt_str_c(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (!rt_record_template_fault(rt_str_c(bad[i])))
            fail_msg("%s is taken", bad[i]);
}

static void test_defaults(void **state)
{
    (void)state;
    struct loaded l =
        load("kafka:\n"
             "  consume:\n"
             "    - {topics: [a], brokers: ['h:1', 'i:2'], conf: {fetch.max.bytes: 9}}\n"
             "    - {topics: [a, b], group: other, mode: command, from: latest,\n"
             "       on_error: stop, brokers: ['h:1']}\n");
    assert_int_equal(l.code, 0);
    assert_int_equal(l.config->kafka.consume_count, 2);
    const struct rt_consume_config *c = &l.config->kafka.consume[0];
    assert_string_equal(c->group, "rtbroker");
    assert_int_equal(c->mode, RT_CONSUME_PUBLISH);
    assert_string_equal(c->channel, "{key}");
    assert_string_equal(c->event, "");
    assert_int_equal(c->kind, RT_CONSUME_AUTO);
    assert_string_equal(c->key_header, "");
    assert_int_equal(c->from, RT_CONSUME_EARLIEST);
    assert_int_equal(c->on_error, RT_CONSUME_SKIP);
    assert_string_equal(c->dead_letter, "");
    assert_int_equal(c->brokers.count, 2);
    assert_string_equal(c->conf.items[0], "fetch.max.bytes=9");
    c = &l.config->kafka.consume[1];
    assert_int_equal(c->topics.count, 2);
    assert_int_equal(c->mode, RT_CONSUME_COMMAND);
    assert_int_equal(c->from, RT_CONSUME_LATEST);
    assert_int_equal(c->on_error, RT_CONSUME_STOP);
    unload(&l);
}

#define ONE(text) "kafka: {consume: [{brokers: ['h:1'], " text "}]}\n"

static void test_errors(void **state)
{
    (void)state;
    assert_errors(ONE("topics: []"), "f.yaml:1:46: kafka.consume[0].topics: got an empty list; "
                                     "allowed: at least one topic\n");
    assert_errors(ONE("group: g"), "f.yaml:1:19: kafka.consume[0].topics: got an empty list; "
                                   "allowed: at least one topic\n");
    assert_errors(ONE("topics: [a, '^b.*']"),
                  "f.yaml:1:50: kafka.consume[0].topics: got \"^b.*\"; allowed: a topic: up to 249 "
                  "letters, digits, ., _ and -\n");
    assert_errors(ONE("topics: [a], channel: 'x{offset}'"),
                  "f.yaml:1:60: kafka.consume[0].channel: got \"x{offset}\"; allowed are {key}, "
                  "{topic}, {header:NAME} and text without braces\n");
    assert_errors(ONE("topics: [a], event: '}'"),
                  "f.yaml:1:58: kafka.consume[0].event: got \"}\"; allowed are {key}, {topic}, "
                  "{header:NAME} and text without braces\n");
    assert_errors(ONE("topics: [a], dead_letter: a"),
                  "f.yaml:1:64: kafka.consume[0].dead_letter: \"a\" is in topics too; allowed: a "
                  "topic of its own\n");
    assert_errors(ONE("topics: [a], dead_letter: 'a b'"),
                  "f.yaml:1:64: kafka.consume[0].dead_letter: got \"a b\"; allowed: a topic: up to "
                  "249 letters, digits, ., _ and -\n");
    assert_errors(ONE("topics: [a], group: 'a\"b'"),
                  "f.yaml:1:58: kafka.consume[0].group: got \"a\"b\"; allowed: up to 249 letters, "
                  "digits, ., _ and -\n");
    assert_errors("kafka: {consume: [{topics: [a]}]}\n",
                  "f.yaml:1:19: kafka.consume[0].brokers is missing: set it, or kafka.brokers if "
                  "the log shall be in Kafka too\n");
    assert_errors("kafka: {consume: [{topics: [a], brokers: ['h:1', 'a b']}]}\n",
                  "f.yaml:1:50: kafka.consume[0].brokers: got \"a b\"; allowed: HOST:PORT\n");
    assert_errors("kafka: {consume: [{topics: [a], brokers: ['h:1']}, {topics: [b], brokers: "
                  "['h:1']}]}\n",
                  "f.yaml:1:52: kafka.consume[1].group: \"rtbroker\" is the group of "
                  "kafka.consume[0] too: set another one, or put the topics into one section\n");
}

/* The log itself may not be read in again. */
static void test_own_topic(void **state)
{
    static const char own[] =
        "f.yaml:2:32: kafka.consume[0].topics: \"log\" is kafka.topic, the log itself: its messages "
        "are delivered anyway\n";
    (void)state;
    assert_errors("kafka: {brokers: ['h:1', 'i:1'], topic: log,\n"
                  "        consume: [{topics: [a, log]}]}\n",
                  own);
    assert_errors("kafka: {brokers: ['h:1', 'i:1'], topic: log,\n"
                  "        consume: [{topics: [a, log], brokers: ['i:1']}]}\n",
                  own);
    assert_errors(
        "kafka: {brokers: ['h:1'], topic: log,\n"
        "        consume: [{topics: [a], dead_letter: log}]}\n",
        "f.yaml:2:46: kafka.consume[0].dead_letter: \"log\" is kafka.topic too; allowed: a "
        "topic of its own\n");
    struct loaded l = load("kafka: {brokers: ['h:1'], topic: log,\n"
                           "        consume: [{topics: [log], brokers: ['other:1']}]}\n");
    assert_int_equal(l.code, 0);
    unload(&l);
}

static void test_warnings(void **state)
{
    (void)state;
    assert_warnings(ONE("topics: [a], mode: command, channel: x"),
                    "f.yaml:1:75: kafka.consume[0].channel: has no effect with mode command\n");
    assert_warnings(
        ONE("topics: [a], on_error: stop, dead_letter: d"),
        "f.yaml:1:80: kafka.consume[0].dead_letter: has no effect with on_error stop\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_template), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_errors),   cmocka_unit_test(test_own_topic),
        cmocka_unit_test(test_warnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
