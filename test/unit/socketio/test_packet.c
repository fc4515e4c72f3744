#include "unit/socketio/sio_test.h"

#include "json/scan.h"
#include "proto/socketio/packet.h"
#include "proto/socketio/placeholder.h"

static int parse(const char *text, struct rt_sio_packet *p)
{
    struct rt_err err = {0};
    int r = rt_sio_parse(rt_str_c(text), 10, p, &err);
    if (r != 0)
        assert_true(err.code == r && err.text[0] != '\0');
    return r;
}

static void test_accepts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum rt_sio_type type;
        unsigned attachments;
        const char *nsp, *id, *data, *event;
    } cases[] = {
        {"0", RT_SIO_CONNECT, 0, "/", "", "", ""},
        {"0{}", RT_SIO_CONNECT, 0, "/", "", "{}", ""},
        {"0{\"a\":1}", RT_SIO_CONNECT, 0, "/", "", "{\"a\":1}", ""},
        {"0/admin", RT_SIO_CONNECT, 0, "/admin", "", "", ""},
        {"0/admin,", RT_SIO_CONNECT, 0, "/admin", "", "", ""},
        {"0/admin,{\"t\":\"x\"}", RT_SIO_CONNECT, 0, "/admin", "", "{\"t\":\"x\"}", ""},
        {"0/a?b=1,", RT_SIO_CONNECT, 0, "/a?b=1", "", "", ""},
        {"01", RT_SIO_CONNECT, 0, "/", "1", "", ""},
        {"1", RT_SIO_DISCONNECT, 0, "/", "", "", ""},
        {"1/x,", RT_SIO_DISCONNECT, 0, "/x", "", "", ""},
        {"2[\"e\"]", RT_SIO_EVENT, 0, "/", "", "[\"e\"]", "\"e\""},
        {"2[7,\"x\"]", RT_SIO_EVENT, 0, "/", "", "[7,\"x\"]", "7"},
        {"20[\"e\"]", RT_SIO_EVENT, 0, "/", "0", "[\"e\"]", "\"e\""},
        {"2/n,13[\"e\",1]", RT_SIO_EVENT, 0, "/n", "13", "[\"e\",1]", "\"e\""},
        {"29007199254740993[\"e\"]", RT_SIO_EVENT, 0, "/", "9007199254740993", "[\"e\"]", "\"e\""},
        {"2 [ \"e\" , 1 ] ", RT_SIO_EVENT, 0, "/", "", "[ \"e\" , 1 ]", "\"e\""},
        {"2[\"error\"]", RT_SIO_EVENT, 0, "/", "", "[\"error\"]", "\"error\""},
        {"2[\"\"]", RT_SIO_EVENT, 0, "/", "", "[\"\"]", "\"\""},
        {"2", RT_SIO_EVENT, 0, "/", "", "", ""},
        {"25", RT_SIO_EVENT, 0, "/", "5", "", ""},
        {"35[]", RT_SIO_ACK, 0, "/", "5", "[]", ""},
        {"3/n,5[1]", RT_SIO_ACK, 0, "/n", "5", "[1]", ""},
        {"3", RT_SIO_ACK, 0, "/", "", "", ""},
        {"50-[\"e\"]", RT_SIO_BINARY_EVENT, 0, "/", "", "[\"e\"]", "\"e\""},
        {"51-[\"e\",{\"_placeholder\":true,\"num\":0}]", RT_SIO_BINARY_EVENT, 1, "/", "",
         "[\"e\",{\"_placeholder\":true,\"num\":0}]", "\"e\""},
        {"51-/n,7[\"e\",{\"num\":0,\"_placeholder\":true}]", RT_SIO_BINARY_EVENT, 1, "/n", "7",
         "[\"e\",{\"num\":0,\"_placeholder\":true}]", "\"e\""},
        {"510-[\"e\"]", RT_SIO_BINARY_EVENT, 10, "/", "", "[\"e\"]", "\"e\""},
        {"61-3[{\"_placeholder\":true,\"num\":0}]", RT_SIO_BINARY_ACK, 1, "/", "3",
         "[{\"_placeholder\":true,\"num\":0}]", ""},
        /* only a text in an ordinary event */
        {"2[\"e\",{\"_placeholder\":true,\"num\":9}]", RT_SIO_EVENT, 0, "/", "",
         "[\"e\",{\"_placeholder\":true,\"num\":9}]", "\"e\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_sio_packet p;
        if (parse(cases[i].text, &p) != 0)
            fail_msg("refused: %s", cases[i].text);
        assert_int_equal(p.type, cases[i].type);
        assert_int_equal(p.attachments, cases[i].attachments);
        assert_str(p.nsp, cases[i].nsp);
        assert_str(p.id, cases[i].id);
        assert_str(p.data, cases[i].data);
        assert_str(p.event, cases[i].event);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "7",
        "a",
        "abc",
        "4",
        "4{\"message\":\"x\"}",
        "0[]",
        "0null",
        "0\"x\"",
        "1{}",
        "1[]",
        "2{}",
        "2[]",
        "2[null]",
        "2[true]",
        "2[{}]",
        "2[[\"e\"]]",
        "2\"e\"",
        "2[\"e\"",
        "2[\"e\"]]",
        "2[\"e\",]",
        "2abc[\"e\"]",
        "2[\"connect\"]",
        "2[\"connect_error\",1]",
        "2[\"disconnect\"]",
        "2[\"disconnecting\"]",
        "2[\"newListener\"]",
        "2[\"removeListener\"]",
        "2[\"\\u0063onnect\"]",
        "35{}",
        "35\"x\"",
        "5[\"e\"]",
        "5-[\"e\"]",
        "51[\"e\"]",
        "511-[\"e\"]",
        "599999999999999999999-[\"e\"]",
        "51-[\"e\",{\"_placeholder\":true,\"num\":1}]",
        "50-[\"e\",{\"_placeholder\":true,\"num\":0}]",
        "51-[\"e\",{\"_placeholder\":true,\"num\":-1}]",
        "51-[\"e\",{\"_placeholder\":true,\"num\":\"0\"}]",
        "51-[\"e\",{\"_placeholder\":true}]",
        "51-[\"e\",{\"_placeholder\":true,\"num\":0,\"num\":1}]",
        "51-[\"e\",{\"num\":0,\"_placeholder\":true,\"num\":0.5}]",
        "51-[\"e\",{\"_placeholder\":true,\"num\":0e1}]",
        "51-[\"e\",{\"_placeholder\":true,\"x\":{\"num\":0}}]",
        "51-[\"e\",{\"a\":[{\"_placeholder\":true,\"num\":1,\"x\":1}]}]",
        "51-[\"e\",{\"\\u005fplaceholder\":true,\"num\":3}]",
        "61-5[{\"_placeholder\":true,\"num\":1}]",
        "2123456789012345678901[\"e\"]",
        "0/a\x01",
        "0/\xff",
        "2[\"\xff\"]",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_sio_packet p;
        if (parse(cases[i], &p) == 0)
            fail_msg("accepted: %s", cases[i]);
    }
}

static void test_depth(void **state)
{
    (void)state;
    struct rt_buf text = RT_BUF_INIT;
    struct rt_sio_packet p;
    for (int depth = 60; depth <= 70; depth += 10) {
        rt_buf_clear(&text);
        rt_buf_add_c(&text, "2[\"e\",");
        for (int i = 0; i < depth; i++)
            rt_buf_add_byte(&text, '[');
        for (int i = 0; i < depth; i++)
            rt_buf_add_byte(&text, ']');
        rt_buf_add_byte(&text, ']');
        int r = rt_sio_parse(rt_buf_str(&text), 10, &p, NULL);
        assert_int_equal(r, depth == 60 ? 0 : RT_ERANGE);
    }
    rt_buf_deinit(&text);
}

static void test_items_after(void **state)
{
    (void)state;
    static const struct {
        const char *array;
        size_t skip;
        const char *items;
    } cases[] = {
        {"[]", 0, ""},         {"[]", 1, ""},
        {"[1]", 0, "1"},       {"[1]", 1, ""},
        {"[1,2,3]", 1, "2,3"}, {"[ \"a,]\" , {\"x\":[1,2]} , 3 ]", 1, "{\"x\":[1,2]} , 3"},
        {"[1,2]", 5, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_str(rt_sio_items_after(rt_str_c(cases[i].array), cases[i].skip), cases[i].items);
    assert_int_equal(rt_sio_items_after(RT_STR_NONE, 0).len, 0);
}

static void test_head(void **state)
{
    (void)state;
    struct rt_buf out = RT_BUF_INIT;
    rt_sio_head(&out, RT_SIO_EVENT, 0, RT_STR("/"), RT_STR_NONE);
    assert_str(rt_buf_str(&out), "2");
    rt_buf_clear(&out);
    rt_sio_head(&out, RT_SIO_EVENT, 2, RT_STR("/n"), RT_STR("5"));
    assert_str(rt_buf_str(&out), "52-/n,5");
    rt_buf_clear(&out);
    rt_sio_head(&out, RT_SIO_ACK, 0, RT_STR("/"), RT_STR("7"));
    assert_str(rt_buf_str(&out), "37");
    rt_buf_clear(&out);
    rt_sio_head(&out, RT_SIO_ACK, 1, RT_STR("/"), RT_STR("7"));
    assert_str(rt_buf_str(&out), "61-7");
    rt_buf_clear(&out);
    rt_sio_head(&out, RT_SIO_CONNECT_ERROR, 0, RT_STR("/x"), RT_STR_NONE);
    assert_str(rt_buf_str(&out), "4/x,");
    rt_buf_deinit(&out);
}

static struct rt_sio_assembly *assemble(char *text)
{
    struct rt_sio_packet p;
    assert_int_equal(rt_sio_parse(rt_str_c(text), 10, &p, NULL), 0);
    struct rt_sio_assembly *a = rt_sio_assembly_new(rt_str_c(text), &p);
    memset(text, 'x', strlen(text)); /* it keeps a copy */
    return a;
}

static void test_assembly(void **state)
{
    (void)state;
    char text[] = "53-/n,12[\"ev\",{\"_placeholder\":true,\"num\":2}]";
    struct rt_sio_assembly *a = assemble(text);
    assert_non_null(a);
    assert_int_equal(rt_sio_assembly_add(a, rt_str_of("\x00\x01", 2), 1000), 0);
    assert_int_equal(rt_sio_assembly_add(a, RT_STR_NONE, 1000), 0);
    assert_int_equal(rt_sio_assembly_add(a, RT_STR("abc"), 1000), 1);
    const struct rt_str *list;
    const struct rt_sio_packet *p = rt_sio_assembly_packet(a, &list);
    assert_str(p->nsp, "/n");
    assert_str(p->id, "12");
    assert_str(p->event, "\"ev\"");
    assert_str(p->data, "[\"ev\",{\"_placeholder\":true,\"num\":2}]");
    assert_int_equal(list[0].len, 2);
    assert_memory_equal(list[0].ptr, "\x00\x01", 2);
    assert_int_equal(list[1].len, 0);
    assert_str(list[2], "abc");
    rt_sio_assembly_free(a);
}

static void test_assembly_limits(void **state)
{
    (void)state;
    char text[] = "52-[\"e\"]";
    struct rt_sio_assembly *a = assemble(text);
    assert_non_null(a);
    const struct rt_str *list;
    assert_str(rt_sio_assembly_packet(a, &list)->nsp, "/");
    assert_int_equal(rt_sio_assembly_add(a, RT_STR("12"), 10), 0);
    assert_int_equal(rt_sio_assembly_add(a, RT_STR("1"), 10), RT_ERANGE);
    rt_sio_assembly_free(a);
    rt_sio_assembly_free(NULL);
}

static void test_placeholders(void **state)
{
    (void)state;
    struct rt_str text = RT_STR("[{\"_placeholder\" : true , \"num\" : 12},\"_placeholder\",true,"
                                "{\"a\":[{\"num\":3,\"_placeholder\":true}]},"
                                "{\"_placeholder\":false,\"num\":1}]");
    struct rt_sio_placeholder found;
    size_t pos = 0;
    assert_int_equal(rt_sio_placeholder_next(text, &pos, &found), 1);
    assert_int_equal(found.num, 12);
    assert_int_equal(found.start, 1);
    assert_int_equal(rt_sio_placeholder_next(text, &pos, &found), 1);
    assert_int_equal(found.num, 3);
    assert_int_equal(rt_sio_placeholder_next(text, &pos, &found), 0);
    uint32_t num = 0;
    assert_true(rt_sio_placeholder_is(RT_STR("{\"_placeholder\":true,\"num\":4}"), &num));
    assert_int_equal(num, 4);
    assert_false(rt_sio_placeholder_is(RT_STR("{\"_placeholder\":true,\"num\":4,\"a\":1}"), &num));
    assert_false(rt_sio_placeholder_is(RT_STR("\"x\""), &num));
    assert_int_equal(rt_sio_placeholder_check(text, 13), 0);
    assert_int_equal(rt_sio_placeholder_check(text, 12), RT_EINVAL);
}

/* As the reference takes them: whatever else is in the object, the outermost, the last of equal keys. */
static void test_placeholders_normalised(void **state)
{
    (void)state;
#define PLACE(n) "{\"_placeholder\":true,\"num\":" #n "}"
    static const struct {
        const char *text, *want; /* without white space */
    } rows[] = {
        {"[\"e\"," PLACE(0) "]", "[\"e\"," PLACE(0) "]"},
        {"[\"e\",{\"_placeholder\":true,\"num\":1,\"x\":1}]", "[\"e\"," PLACE(1) "]"},
        {"[\"e\",{\"x\":\"}{\",\"num\":1,\"y\":[{}],\"_placeholder\":true}]",
         "[\"e\"," PLACE(1) "]"},
        {"[\"e\",{\"\\u005fplaceholder\":true,\"num\":0}]", "[\"e\"," PLACE(0) "]"},
        {"[\"e\",{\"_placeholder\":true,\"num\":7,\"num\":1}]", "[\"e\"," PLACE(1) "]"},
        {"[\"e\",{\"_placeholder\":true,\"num\":1,\"in\":{\"_placeholder\":true,\"num\":9}}]",
         "[\"e\"," PLACE(1) "]"},
        {"[\"e\",{\"a\":[{\"z\":0,\"_placeholder\":true,\"num\":1}],\"b\":" PLACE(0) "}]",
         "[\"e\",{\"a\":[" PLACE(1) "],\"b\":" PLACE(0) "}]"},
        /* no placeholders */
        {"[\"e\",{\"_placeholder\":false,\"num\":9}]",
         "[\"e\",{\"_placeholder\":false,\"num\":9}]"},
        {"[\"e\",{\"_placeholder\":true,\"_placeholder\":1}]",
         "[\"e\",{\"_placeholder\":true,\"_placeholder\":1}]"},
        {"[\"_placeholder\",true,{\"_placeholder\":\"true\"}]",
         "[\"_placeholder\",true,{\"_placeholder\":\"true\"}]"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct rt_buf compact = RT_BUF_INIT;
        char *text = rt_strdup(rows[i].text);
        size_t len = strlen(text);
        assert_int_equal(rt_sio_placeholder_check(rt_str_of(text, len), 2), 0);
        rt_sio_placeholder_normalise(text, len, 2);
        assert_int_equal(rt_json_check(rt_str_of(text, len), RT_JSON_PAYLOAD, NULL, NULL), 0);
        rt_json_add_compact(&compact, rt_str_of(text, len));
        assert_str(rt_buf_str(&compact), rows[i].want);
        rt_buf_deinit(&compact);
        rt_free(text);
    }
}

static void test_placeholder_remove(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"[1]", "[1]"},
        {"{\"_placeholder\":true,\"num\":0}", "null"},
        {"[{\"_placeholder\":true,\"num\":0},{\"num\":1,\"_placeholder\":true},2]",
         "[null,null,2]"},
        {"[{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true}]", "null"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_buf out = RT_BUF_INIT;
        rt_buf_add_c(&out, "x");
        rt_buf_add_c(&out, cases[i].from);
        rt_sio_placeholder_remove(&out, 1);
        assert_str(rt_str_of(out.data + 1, out.len - 1), cases[i].to);
        rt_buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_items_after),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_assembly),
        cmocka_unit_test(test_assembly_limits),
        cmocka_unit_test(test_placeholders),
        cmocka_unit_test(test_placeholders_normalised),
        cmocka_unit_test(test_placeholder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
