/* Events become actions: publishing, rooms, acknowledgements both ways. */
#include "unit/socketio/layer.h"

#define HEAD  "protocols: {socketio: {recovery: 0s}}\n"
#define PH(n) "{\"_placeholder\":true,\"num\":" #n "}"

/* An event with one argument: a list of `count` empty attachments. */
static void send_attachments(struct rt_eio_session *s, unsigned count, const char *id,
                             const char *event)
{
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_printf(&text, "5%u-%s[\"%s\",[", count, id, event);
    for (unsigned i = 0; i < count; i++)
        rt_buf_printf(&text, "%s{\"_placeholder\":true,\"num\":%u}", i ? "," : "", i);
    rt_buf_add_c(&text, "]]");
    rt_buf_add_byte(&text, 0);
    rig_in(s, (const char *)text.data);
    rt_buf_deinit(&text);
    for (unsigned i = 0; i < count && !s->closed; i++)
        rig_binary_in(s, "");
}

static void test_classic_chat(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio:\n"
                        "  events:\n"
                        "    - event: 'event:message'\n"
                        "      do:\n"
                        "        - publish: {channel: /, event: message, data: {$json: {message: "
                        "$1.message}}}\n");
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    struct rt_eio_session *c = rig_open(&rig, RT_EIO_POLLING);
    rig_in(c, "0");
    expect(&rig, c, "0*");
    rig_in(a, "2[\"event:message\",{\"message\":\"hi\"}]");
    rig_in(a, "2[\"event:message\",{\"message\":\"ho\",\"more\":1}]");
    static const char lines[] = "2[\"message\",\"{\\\"message\\\":\\\"hi\\\"}\"]\n"
                                "2[\"message\",\"{\\\"message\\\":\\\"ho\\\"}\"]\n";
    expect(&rig, a, lines);
    expect(&rig, b, lines);
    expect(&rig, c, lines);
    rig_deinit(&rig);
}

static void test_rooms(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD
             "socketio:\n"
             "  namespaces: [/, /n]\n"
             "  events:\n"
             "    - {event: join, do: [{join: $1}, {emit: {event: rooms, args: $rooms}}]}\n"
             "    - {event: leave, do: [{leave: $1}, {emit: {event: rooms, args: $rooms}}]}\n"
             "    - {event: leave-all, do: [{leave: {all: true}}]}\n"
             "    - {event: say, do: [{publish: {room: $1, event: said, data: $2, except_sender: "
             "true}}]}\n"
             "    - {event: to-channel, do: [{publish: {channel: $1, event: said, data: $2}}]}\n");
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    rig_in(a, "2[\"join\",[\"r1\",\"r2\"]]");
    expect(&rig, a, "2[\"rooms\",\"" ID "\",\"r1\",\"r2\"]\n");
    rig_in(b, "2[\"join\",\"r1\"]");
    expect(&rig, b, "2[\"rooms\",\"" ID "\",\"r1\"]\n");
    rig_in(a, "2[\"say\",\"r1\",1]");
    expect(&rig, a, "");
    expect(&rig, b, "2[\"said\",1]\n");
    rig_in(a, "0/n");
    rig_in(a, "2/n,[\"join\",\"r1\"]");
    expect(&rig, a, "0/n,*\n2/n,[\"rooms\",\"" ID "\",\"r1\"]\n");
    rig_in(b, "2[\"say\",\"r1\",2]");
    expect(&rig, a, "2[\"said\",2]\n"); /* the same name in the other namespace is another room */
    rig_in(b, "2[\"to-channel\",\"/n#r1\",3]");
    expect(&rig, a, "2/n,[\"said\",3]\n");
    rig_in(a, "2[\"leave\",\"r1\"]");
    expect(&rig, a, "2[\"rooms\",\"" ID "\",\"r2\"]\n");
    rig_in(a, "2[\"join\",\"r3\"]");
    rig_in(a, "2[\"leave-all\"]");
    rig_in(b, "2[\"say\",\"r2\",4]");
    rig_in(b, "2[\"say\",\"r3\",4]");
    rig_in(b, "2[\"to-channel\",\"/\",5]");
    expect(&rig, a, "2[\"rooms\",\"" ID "\",\"r2\",\"r3\"]\n2[\"said\",5]\n");
    rig_deinit(&rig);
}

/* What is put together is never longer than what every log can hold: refused, not cut. */
static void test_attachments_add_up(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, "protocols: {socketio: {recovery: 0s, max_attachments: 64}}\n"
                   "socketio:\n"
                   "  events:\n"
                   "    - {event: pass, do: [{publish: {channel: /}}]}\n"
                   "    - {event: more, do: [{publish: {channel: /, args: [$args, {$binary: "
                   "AQI=}]}}]}\n"
                   "    - {event: emit, do: [{emit: {args: [$args, {$binary: AQI=}]}}]}\n"
                   "    - {event: ack, do: [{ack: [$args, {$binary: AQI=}]}]}\n");
    static const char refused[] =
        "3%u[{\"ok\":false,\"error\":\"refused\",\"message\":\"more than 64 attachments\"}]\n";
    static const char *const names[] = {"more", "emit", "ack"};
    struct rt_eio_session *a = connected(&rig);
    send_attachments(a, 64, "1", "pass");
    rig_turn(&rig);
    assert_true(has(a, "564-[\"pass\",[{\"_placeholder\":true,\"num\":0},"));
    assert_true(has(a, "31[{\"ok\":true,"));
    rt_buf_clear(&a->log);
    for (unsigned i = 0; i < 3; i++) {
        char id[2] = {(char)('2' + i), 0}, want[128];
        send_attachments(a, 64, id, names[i]);
        snprintf(want, sizeof(want), refused, 2 + i);
        expect(&rig, a, want);
    }
    rig_deinit(&rig);
}

/* io.to(a).to(b): who is in both gets it once. */
static void test_several_rooms(void **state)
{
    (void)state;
    struct rig rig;
    char sid[21];
    rig_init(&rig,
             HEAD "limits: {channels_per_connection: 1000}\n"
                  "socketio:\n"
                  "  namespaces: [/, /n]\n"
                  "  events:\n"
                  "    - {event: join, do: [{join: $1}]}\n"
                  "    - {event: say, do: [{publish: {rooms: $1, event: said, data: $2}}]}\n"
                  "    - {event: two, do: [{publish: {rooms: [a, quiet], event: said, data: $1, "
                  "except_sender: true}}]}\n"
                  "    - {event: keyed, do: [{publish: {rooms: $1, event: said, key: k}}]}\n"
                  "    - {event: channels, do: [{publish: {channel: [a, quiet], event: said}}]}\n");
    struct rt_eio_session *a = connected(&rig), *b = rig_open(&rig, RT_EIO_POLLING);
    join_namespace(&rig, b, "0", sid, NULL);
    rig_in(a, "2[\"join\",[\"a\",\"quiet\"]]");
    rig_in(b, "2[\"join\",\"quiet\"]");
    rig_in(a, "2[\"say\",[\"a\",\"quiet\",\"nobody\",\"a\"],1]");
    rig_in(a, "2[\"say\",[\"a\"],2]");
    rig_in(a, "2[\"two\",3]");
    rig_in(b, "2[\"two\",4]");
    expect(&rig, a, "2[\"said\",1]\n2[\"said\",2]\n2[\"said\",4]\n");
    expect(&rig, b, "2[\"said\",1]\n2[\"said\",3]\n");
    /* An id and a room of that socket. */
    char text[96];
    snprintf(text, sizeof(text), "2[\"say\",[\"%s\",\"quiet\",\"%s\"],5]", sid, sid);
    rig_in(a, text);
    expect(&rig, a, "2[\"said\",5]\n");
    expect(&rig, b, "2[\"said\",5]\n");
    snprintf(text, sizeof(text), "2[\"say\",[\"%s\",\"a\"],6]", sid);
    rig_in(a, text);
    expect(&rig, a, "2[\"said\",6]\n");
    expect(&rig, b, "2[\"said\",6]\n");
    /* The same names in another namespace are other rooms; channels are each for themselves. */
    rig_in(b, "0/n");
    rig_in(b, "2/n,[\"join\",[\"a\",\"quiet\"]]");
    rig_in(b, "2/n,[\"say\",[\"a\",\"quiet\"],7]");
    expect(&rig, b, "0/n,*\n2/n,[\"said\",7]\n");
    rig_in(b, "2[\"channels\"]");
    expect(&rig, a, "2[\"said\"]\n2[\"said\"]\n");
    expect(&rig, b, "2[\"said\"]\n");
    rig_in(a, "28[\"keyed\",[\"a\",\"b\"]]");
    expect(&rig, a, "38[{\"ok\":false,\"error\":\"refused\",*one channel only\"}]\n");
    struct rt_buf many = RT_BUF_INIT;
    rt_buf_add_c(&many, "29[\"say\",[");
    for (int i = 0; i < 257; i++)
        rt_buf_printf(&many, "%s\"r%d\"", i ? "," : "", i);
    rt_buf_add_c(&many, "]]");
    rt_buf_add_byte(&many, 0);
    rig_in(a, (const char *)many.data);
    rt_buf_deinit(&many);
    expect(&rig, a,
           "39[{\"ok\":false,\"error\":\"refused\",\"message\":\"more than 256 rooms\"}]\n");
    rig_deinit(&rig);
}

/* Any text is a room, as on Node; none of them is the channel of a namespace. */
static void test_names_of_rooms(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig,
             HEAD "socketio:\n"
                  "  namespaces: [/, /n]\n"
                  "  events:\n"
                  "    - {event: join, do: [{join: $1}, {emit: {event: rooms, args: $rooms}}]}\n"
                  "    - {event: leave, do: [{leave: $1}, {emit: {event: rooms, args: $rooms}}]}\n"
                  "    - {event: empty, do: [{publish: {room: '', event: said, data: 0}}]}\n"
                  "    - {event: text, do: [{join: '{$1.x}'}]}\n"
                  "    - {event: say, do: [{publish: {room: $1, event: said, data: $2}}]}\n"
                  "    - {event: all, do: [{publish: {channel: $1, event: all}}]}\n");
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    rig_in(b, "0/n");
    expect(&rig, b, "0/n,*");
    rig_in(a, "2[\"join\",[\"\",\"/n\",\"/\",\"#\"]]");
    expect(&rig, a, "2[\"rooms\",\"" ID "\",\"\",\"/n\",\"/\",\"#\"]\n");
    rig_in(b, "2[\"say\",[\"/n\"],1]");
    rig_in(b, "2[\"say\",\"\",2]");
    rig_in(b, "2[\"empty\"]");
    rig_in(b, "2[\"say\",\"/\",3]");
    expect(&rig, a, "2[\"said\",1]\n2[\"said\",2]\n2[\"said\",0]\n2[\"said\",3]\n");
    expect(&rig, b, "");
    rig_in(a, "2[\"all\",\"/n\"]");
    expect(&rig, b, "2/n,[\"all\",\"/n\"]\n");
    rig_in(b, "2/n,[\"join\",\"\"]");
    expect(&rig, b, "2/n,[\"rooms\",\"" ID "\",\"\"]\n");
    rig_in(b, "2/n,[\"say\",\"\",4]");
    expect(&rig, b, "2/n,[\"said\",4]\n");
    rig_in(a, "2[\"leave\",\"/n\"]");
    expect(&rig, a, "2[\"rooms\",\"" ID "\",\"\",\"#\",\"/\"]\n");
    /* What is missing names no room. */
    rig_in(a, "21[\"join\"]");
    rig_in(a, "22[\"text\",{}]");
    expect(&rig, a,
           "2[\"rooms\",*\n31[{\"ok\":false,*is missing\"}]\n32[{\"ok\":false,*is missing\"}]\n");
    rig_in(a, "23[\"leave\"]");
    expect(&rig, a, "2[\"rooms\",\"" ID "\",\"\",\"#\",\"/\"]\n33[]\n");
    rig_deinit(&rig);
}

/* The room of its own id may be left, and joined again. */
static void test_leaving_the_own_id(void **state)
{
    (void)state;
    struct rig rig;
    char sid[21], text[96];
    rig_init(&rig,
             HEAD "socketio:\n"
                  "  events:\n"
                  "    - {event: join, do: [{join: $1}, {emit: {event: rooms, args: $rooms}}]}\n"
                  "    - {event: leave, do: [{leave: $1}, {emit: {event: rooms, args: $rooms}}]}\n"
                  "    - {event: say, do: [{publish: {room: $1, event: said}}]}\n"
                  "    - {event: me, do: [{emit: {event: you}}]}\n");
    struct rt_eio_session *a = rig_open(&rig, RT_EIO_WEBSOCKET), *b = connected(&rig);
    join_namespace(&rig, a, "0", sid, NULL);
    snprintf(text, sizeof(text), "2[\"leave\",\"%s\"]", sid);
    rig_in(a, text);
    expect(&rig, a, "2[\"rooms\"]\n");
    snprintf(text, sizeof(text), "21[\"say\",\"%s\"]", sid);
    rig_in(b, text);
    rig_in(a, "2[\"me\"]");
    expect(&rig, a, "2[\"you\"]\n");
    expect(&rig, b, "31[{\"ok\":true,*");
    rig_in(a, "2[\"join\",\"r\"]");
    expect(&rig, a, "2[\"rooms\",\"r\"]\n");
    snprintf(text, sizeof(text), "2[\"join\",\"%s\"]", sid);
    rig_in(a, text);
    expect(&rig, a, "2[\"rooms\",\"" ID "\",\"r\"]\n");
    snprintf(text, sizeof(text), "2[\"say\",\"%s\"]", sid);
    rig_in(b, text);
    expect(&rig, a, "2[\"said\",\"*\"]\n");
    rig_deinit(&rig);
}

/* io.of(/regex/).emit(): all namespaces that there are. */
static void test_namespaces_by_glob(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig,
             HEAD "limits: {channels_per_connection: 4}\n"
                  "socketio:\n"
                  "  namespaces: ['*']\n"
                  "  events:\n"
                  "    - {event: all, do: [{publish: {namespaces: [/a*, /b], event: x, data: $1, "
                  "except_sender: true}}]}\n"
                  "    - {event: key, do: [{publish: {namespaces: /a*, event: x, key: k}}]}\n");
    struct rt_eio_session *a = rig_open(&rig, RT_EIO_WEBSOCKET),
                          *b = rig_open(&rig, RT_EIO_WEBSOCKET);
    rig_in(a, "0/a");
    rig_in(a, "0/a2");
    rig_in(a, "0/c");
    rig_in(b, "0/b");
    rig_in(b, "0/a");
    expect(&rig, a, "*");
    expect(&rig, b, "*");
    rig_in(a, "2/a,1[\"all\",1]");
    rig_turn(&rig);
    assert_true(has(a, "3/a,1[{\"ok\":true,") && has(a, "2/a2,[\"x\",1]"));
    assert_false(has(a, "2/a,[\"x\"") || has(a, "2/c,"));
    expect(&rig, a, "*");
    rig_turn(&rig);
    assert_true(has(b, "2/a,[\"x\",1]\n") && has(b, "2/b,[\"x\",1]\n"));
    expect(&rig, b, "2/?,[\"x\",1]\n2/?,[\"x\",1]\n");
    rig_in(a, "2/c,2[\"key\"]");
    expect(&rig, a, "3/c,2[{\"ok\":false,\"error\":\"refused\",*one channel only\"}]\n");
    rig_in(b, "0/a3"); /* a, a2, a3 and b: as many as there may be */
    rig_in(b, "2/a3,3[\"all\"]");
    expect(&rig, b, "*3/a3,3[{\"ok\":true,*");
    struct rt_eio_session *c = rig_open(&rig, RT_EIO_WEBSOCKET);
    rig_in(c, "0/a4");
    rig_in(c, "2/a4,4[\"all\"]");
    expect(&rig, c, "0/a4,*3/a4,4[{\"ok\":false,*too many namespaces match*\n");
    rig_deinit(&rig);
}

/* The connection goes without a word: the client comes back. */
static void test_close(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio:\n"
                        "  namespaces: [/, /n]\n"
                        "  on_connect:\n"
                        "    - {namespace: /n, do: [{emit: {event: hello}}, {close: true}]}\n"
                        "  events:\n"
                        "    - {event: go, do: [{publish: {channel: /, event: going}}, {close: "
                        "true}, {emit: {event: never}}]}\n");
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    rig_in(a, "21[\"go\"]");
    rig_in(a, "22[\"go\"]"); /* ignored */
    expect(&rig, a, "2[\"going\"]\n31[{\"ok\":true,*}]\n");
    expect_closed(&rig, a, RT_EIO_FORCED_CLOSE);
    expect(&rig, b, "2[\"going\"]\n");
    rig_in(b, "0/n");
    expect(&rig, b, "0/n,*\n2/n,[\"hello\"]\n");
    expect_closed(&rig, b, RT_EIO_FORCED_CLOSE);
    rig_deinit(&rig);
}

/* A socket's id is a room that it is always in. */
static void test_own_id(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD
             "socketio:\n"
             "  namespaces: [/, /n]\n"
             "  events:\n"
             "    - {event: join, do: [{join: $1}]}\n"
             "    - {event: leave, do: [{leave: $1}]}\n"
             "    - {event: to, do: [{publish: {room: $1, event: dm, args: [$2, $3]}}]}\n"
             "    - {event: but, do: [{publish: {room: $1, event: dm, except_sender: true}}]}\n");
    char sid_a[21], sid_b[21], text[128];
    struct rt_eio_session *a = rig_open(&rig, RT_EIO_WEBSOCKET);
    struct rt_eio_session *b = rig_open(&rig, RT_EIO_POLLING), *c = connected(&rig);
    join_namespace(&rig, a, "0", sid_a, NULL);
    join_namespace(&rig, b, "0/n", sid_b, NULL);
    snprintf(text, sizeof(text), "2[\"to\",\"%s\",1,2]", sid_a);
    rig_in(c, text);
    expect(&rig, a, "2[\"dm\",1,2]\n");
    /* Of another namespace: nobody there. */
    snprintf(text, sizeof(text), "21[\"to\",\"%s\",1,2]", sid_b);
    rig_in(c, text);
    expect(&rig, b, "");
    expect(&rig, c, "31[{\"ok\":true,\"epoch\":\"E\",\"offset\":1}]\n");
    snprintf(text, sizeof(text), "2/n,5[\"to\",\"%s\",{\"x\":1}]", sid_b);
    rig_in(b, text);
    expect(&rig, b, "2/n,[\"dm\",{\"x\":1},null]\n3/n,5[{\"ok\":true}]\n");
    snprintf(text, sizeof(text), "2/n,[\"but\",\"%s\"]", sid_b);
    rig_in(b, text);
    expect(&rig, b, "");
    /* It cannot be left; others may join it by its name. */
    snprintf(text, sizeof(text), "2[\"leave\",\"%s\"]", sid_a);
    rig_in(a, text);
    snprintf(text, sizeof(text), "2[\"join\",\"%s\"]", sid_a);
    rig_in(a, text);
    rig_in(c, text);
    snprintf(text, sizeof(text), "2[\"to\",\"%s\",1,2]", sid_a);
    rig_in(c, text);
    expect(&rig, a, "2[\"dm\",1,2]\n");
    expect(&rig, c, "2[\"dm\",1,2]\n");
    rig_deinit(&rig);
}

static void test_binary_between_clients(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio:\n"
                        "  events:\n"
                        "    - {event: all, do: [{publish: {channel: /}}]}\n"
                        "    - {event: second, do: [{publish: {channel: /, event: s, data: {b: $2, "
                        "c: {$binary: eHl6}}}}]}\n"
                        "    - {event: text, do: [{emit: {event: t, args: ['{$1}', $2]}}]}\n");
    struct rt_eio_session *a = connected(&rig);
    struct rt_eio_session *b = rig_open(&rig, RT_EIO_POLLING);
    rig_in(b, "0");
    expect(&rig, b, "0*");
    rig_in(a, "52-[\"all\"," PH(1) ",{\"x\":" PH(0) "}]");
    rig_binary_in(a, "zero");
    rig_binary_in(a, "one");
    expect(&rig, b, "52-[\"all\"," PH(1) ",{\"x\":" PH(0) "}]\n<zero>\n<one>\n");
    expect(&rig, a, "52-[\"all\"," PH(1) ",{\"x\":" PH(0) "}]\n<zero>\n<one>\n");
    rig_in(a, "51-[\"all\"," PH(0) "]"); /* one binary argument: a message of bytes */
    rig_binary_in(a, "raw");
    expect(&rig, b, "51-[\"all\"," PH(0) "]\n<raw>\n");
    rig_in(a, "52-[\"second\",1," PH(1) "]");
    rig_binary_in(a, "zero");
    rig_binary_in(a, "one");
    expect(&rig, b, "52-[\"s\",{\"b\":" PH(0) ",\"c\":" PH(1) "}]\n<one>\n<xyz>\n");
    /* Not a placeholder, and not to be taken for one. */
    rig_in(a, "2[\"second\",1," PH(7) "]");
    expect(&rig, b, "51-[\"s\",{\"b\":null,\"c\":" PH(0) "}]\n<xyz>\n");
    rt_buf_clear(&a->log);
    rig_in(a, "51-[\"text\"," PH(0) "," PH(0) "]");
    rig_binary_in(a, "one");
    expect(&rig, a, "51-[\"t\",\"null\"," PH(0) "]\n<one>\n");
    rig_deinit(&rig);
}

/* What others publish: text, bytes, no event name, several arguments. */
static void test_encoding(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD);
    struct rt_eio_session *a = connected(&rig);
    static const struct rt_str part = {"part", 4};
    struct rt_message messages[] = {
        {.data = RT_STR("{\"a\":1}")},
        {.data = RT_STR("say \"hi\"\n"), .kind = RT_KIND_TEXT},
        {.data = RT_STR("bytes"), .kind = RT_KIND_BYTES, .event = RT_STR("b")},
        {.data = RT_STR("[1,[2]]"), .event = RT_STR("list")},
        {.data = RT_STR("[1,[2]]"), .event = RT_STR("args"), .flags = RT_MESSAGE_ARGS},
        {.data = RT_STR("[ ]"), .event = RT_STR("none"), .flags = RT_MESSAGE_ARGS},
        {.data = RT_STR("{\"x\":" PH(0) "}"),
         .event = RT_STR("q\"q"),
         .attachments = &part,
         .attachment_count = 1},
    };
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct rt_publish_result result;
        struct rt_publish publish = {
            .channel = RT_STR("/"), .message = &messages[i], .trusted = true};
        assert_int_equal(rt_broker_publish(rig.broker, &publish, &result), 0);
    }
    expect(&rig, a,
           "2[\"message\",{\"a\":1}]\n"
           "2[\"message\",\"say \\\"hi\\\"\\n\"]\n"
           "51-[\"b\"," PH(0) "]\n<bytes>\n"
                              "2[\"list\",[1,[2]]]\n"
                              "2[\"args\",1,[2]]\n"
                              "2[\"none\"]\n"
                              "51-[\"q\\\"q\",{\"x\":" PH(0) "}]\n<part>\n");
    rig_deinit(&rig);
}

static const char answers[] = HEAD
    "socketio:\n"
    "  events:\n"
    "    - {event: none, do: []}\n"
    "    - {event: manual, ack: none, do: [{publish: {channel: r, event: e}}]}\n"
    "    - {event: own, do: [{publish: {channel: r, event: e}}, {ack: [1, $1]}, {ack: [2]}]}\n"
    "    - {event: one, do: [{publish: {channel: r, event: e}}]}\n"
    "    - {event: two, do: [{publish: {channel: [r, quiet-2], event: e}}, {publish: {channel: "
    "r, event: f}}]}\n"
    "    - {event: quiet, do: [{publish: {channel: r, event: e}}, {publish: {channel: quiet-1, "
    "event: e}}]}\n"
    "    - {event: drop, do: [{publish: {channel: r, event: e}}, {drop: true}, {ack: [1]}]}\n"
    "    - {event: empty, do: [{join: $1.none}]}\n"
    "    - {event: name, do: [{publish: {channel: $1, event: e}}]}\n"
    "    - {event: reserved, do: [{publish: {channel: r, event: '{$1}'}}]}\n"
    "    - {event: room, do: [{publish: {room: $1, event: e}}]}\n"
    "    - {event: keys, do: [{publish: {channel: $1, event: e, key: k}}]}\n"
    "    - {event: bye, do: [{publish: {channel: r, event: e}}, {disconnect: true}]}\n"
    "    - {event: where, do: [{publish: {channel: r, event: e}}, {ack: [$epoch, $offset]}]}\n";

static void test_automatic_answers(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"21[\"none\"]", "31[]\n"},
        {"22[\"manual\"]", ""},
        {"23[\"own\",\"x\"]", "33[1,\"x\"]\n"},
        {"24[\"one\"]", "34[{\"ok\":true,\"epoch\":\"E\",\"offset\":3}]\n"},
        {"25[\"two\"]", "35[{\"ok\":true,\"epoch\":\"E\",\"offset\":5}]\n"},
        {"26[\"quiet\"]", "36[{\"ok\":true}]\n"},
        {"27[\"drop\"]", ""},
        {"28[\"empty\"]",
         "38[{\"ok\":false,\"error\":\"refused\",\"message\":\"the name of the room is missing\"}]\n"},
        {"29[\"name\",\"\"]", "39[{\"ok\":false,\"error\":\"refused\",\"message\":\"*\"}]\n"},
        {"210[\"reserved\",\"connect\"]",
         "310[{\"ok\":false,\"error\":\"refused\",\"message\":\"*reserved*\"}]\n"},
        {"211[\"reserved\",\"\"]",
         "311[{\"ok\":false,\"error\":\"refused\",\"message\":\"*empty\"}]\n"},
        {"212[\"room\"]", "312[{\"ok\":false,\"error\":\"refused\",\"message\":\"*missing\"}]\n"},
        {"213[\"keys\",[\"a\",\"b\"]]",
         "313[{\"ok\":false,\"error\":\"refused\",\"message\":\"`key`*\"}]\n"},
        {"214[\"where\"]", "314[\"E\",9]\n"},
        {"215[\"unknown\"]", ""},
        {"2[\"one\"]", ""},
        {"216[\"bye\"]", "1\n"},
    };
    struct rig rig;
    rig_init(&rig, answers);
    struct rt_eio_session *a = connected(&rig);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rig_in(a, cases[i][0]);
        expect(&rig, a, cases[i][1]);
    }
    rig_deinit(&rig);
}

static void test_answers_after_commit(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, answers);
    rig.journal->delayed = true;
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    rig_in(a, "24[\"one\"]");
    rig_in(a, "25[\"two\"]");
    rig_in(a, "26[\"quiet\"]"); /* its last one is stored at once, but not its first */
    rig_in(a, "27[\"drop\"]");
    rig_in(a, "28[\"where\"]");
    rig_in(b, "29[\"one\"]");
    rig_in(b, "210[\"own\"]");
    expect(&rig, a, "");
    rig_release(&rig, b, RT_EIO_TRANSPORT_CLOSE); /* its answer has nowhere to go */
    rig_commit(&rig);
    expect(&rig, a,
           "34[{\"ok\":true,\"epoch\":\"E\",\"offset\":1}]\n"
           "35[{\"ok\":true,\"epoch\":\"E\",\"offset\":3}]\n"
           "36[{\"ok\":true}]\n"
           "38[null,null]\n"); /* written when the position was not known */
    rig_in(a, "211[\"two\"]");
    rig.journal->fails = RT_EUNKNOWN;
    rig_commit(&rig);
    expect(&rig, a, "311[{\"ok\":false,\"error\":\"unknown\",\"message\":\"the log says -10\"}]\n");
    rig_in(a, "212[\"one\"]");
    rig.journal->fails = RT_EAGAIN;
    rig_commit(&rig);
    expect(&rig, a, "312[{\"ok\":false,\"error\":\"retry\",\"message\":\"the log says -6\"}]\n");
    rig.journal->fails = 0;
    rig_in(a, "213[\"one\"]");
    rig_in(a, "214[\"bye\"]");
    rig_commit(&rig);
    expect(&rig, a, "1\n"); /* gone before they were stored */
    rig_deinit(&rig);
}

/* What an `ack` action says is said once it is true. */
static void test_own_answers_after_commit(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig,
             HEAD "socketio:\n"
                  "  events:\n"
                  "    - {event: first, do: [{ack: [now]}, {publish: {channel: r, event: e}}]}\n"
                  "    - {event: own, ack: none, do: [{publish: {channel: r, event: e}}, {ack: [1, "
                  "$1]}, {ack: [2]}]}\n"
                  "    - {event: two, do: [{publish: {channel: r, event: e}}, {ack: [done]}, "
                  "{publish: {channel: r, event: f}}]}\n"
                  "    - {event: drop, do: [{publish: {channel: r, event: e}}, {ack: [kept]}, "
                  "{drop: true}]}\n"
                  "    - {event: join, do: [{join: $1.none}, {ack: [joined]}]}\n");
    rig.journal->delayed = true;
    struct rt_eio_session *a = connected(&rig);
    rig_in(a, "20[\"first\"]");
    expect(&rig, a, "30[\"now\"]\n");
    rig_in(a, "21[\"own\",\"x\"]");
    rig_in(a, "51-2[\"own\"," PH(0) "]");
    rig_binary_in(a, "bytes");
    rig_in(a, "23[\"two\"]");
    rig_in(a, "24[\"drop\"]");
    expect(&rig, a, "");
    rig_commit(&rig);
    expect(&rig, a, "31[1,\"x\"]\n61-2[1," PH(0) "]\n<bytes>\n33[\"done\"]\n34[\"kept\"]\n");
    rig_in(a, "25[\"own\",\"x\"]");
    rig.journal->fails = RT_EAGAIN;
    rig_commit(&rig);
    expect(&rig, a, "35[{\"ok\":false,\"error\":\"retry\",\"message\":\"the log says -6\"}]\n");
    rig_in(a, "26[\"join\"]");
    expect(
        &rig, a,
        "36[{\"ok\":false,\"error\":\"refused\",\"message\":\"the name of the room is missing\"}]\n");
    rig.journal->fails = 0;
    rig_in(a, "27[\"own\"]");
    rig_release(&rig, a, RT_EIO_TRANSPORT_CLOSE);
    rig_commit(&rig); /* nobody is there to be told, nothing leaks */
    rig_deinit(&rig);
}

/* The fate of each publish is told apart: one that is good does not hide one that is not. */
static void test_mixed_results(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, answers);
    struct rt_eio_session *a = connected(&rig);
    rig.journal->fails = RT_EAGAIN;
    rig_in(a, "21[\"quiet\"]");
    expect(&rig, a, "31[{\"ok\":false,\"error\":\"retry\",\"message\":\"the log says -6\"}]\n");
    rig_deinit(&rig);
}

static void test_congestion(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, answers);
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    rig.journal->congested = true;
    rig_in(a, "2[\"one\"]");
    rig_in(b, "2[\"one\"]");
    assert_true(a->paused && b->paused);
    rig_release(&rig, b, RT_EIO_TRANSPORT_CLOSE);
    rig.journal->congested = false;
    rt_broker_relieved(rig.broker);
    assert_false(a->paused);
    rig_deinit(&rig);
}

static void test_emit_with_answer(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(
        &rig, HEAD
        "socketio:\n"
        "  namespaces: [/, /n]\n"
        "  events:\n"
        "    - event: ask\n"
        "      do:\n"
        "        - emit:\n"
        "            event: question\n"
        "            data: $1\n"
        "            ack:\n"
        "              timeout: 20ms\n"
        "              do:\n"
        "                - when: {if: {value: $1, is: binary}, do: [{emit: {event: got, args: "
        "$args}}], else: [{emit: {event: said, args: $args}}]}\n"
        "              on_timeout: [{emit: {event: late}}]\n"
        "    - event: relay\n"
        "      do:\n"
        "        - emit: {event: q, ack: {timeout: 20ms, do: [{ack: [$1, x]}], on_timeout: "
        "[{ack: [timeout]}]}}\n"
        "    - event: store\n"
        "      do:\n"
        "        - emit: {event: q, ack: {timeout: 20ms, do: [{publish: {channel: r, event: e, "
        "data: $1}}], on_timeout: [{drop: true}]}}\n");
    struct rt_eio_session *a = connected(&rig);
    rig_in(a, "2[\"ask\",1]");
    rig_in(a, "2[\"ask\",2]");
    expect(&rig, a, "20[\"question\",1]\n21[\"question\",2]\n");
    rig_in(a, "31[\"two\",2]");
    rig_in(a, "31[\"again\"]");
    rig_in(a, "30[]");
    expect(&rig, a, "2[\"said\",\"two\",2]\n2[\"said\"]\n");
    rig_in(a, "2[\"ask\",3]");
    rig_in(a, "61-2[" PH(0) "]");
    rig_binary_in(a, "bin");
    expect(&rig, a, "22[\"question\",3]\n51-[\"got\"," PH(0) "]\n<bin>\n");
    rig_in(a, "2[\"ask\",4]");
    wait_until(&rig, has(a, "late"));
    expect(&rig, a, "23[\"question\",4]\n2[\"late\"]\n");
    rig_in(a, "33[\"too late\"]");
    expect(&rig, a, "");
    /* The event's own answer waits for the client's. */
    rig_in(a, "27[\"relay\"]");
    expect(&rig, a, "24[\"q\"]\n");
    rig_in(a, "34[5]");
    expect(&rig, a, "37[5,\"x\"]\n");
    rig_in(a, "28[\"relay\"]");
    wait_until(&rig, has(a, "timeout"));
    expect(&rig, a, "25[\"q\"]\n38[\"timeout\"]\n");
    rig_in(a, "29[\"store\"]");
    rig_in(a, "36[\"data\"]");
    expect(&rig, a, "26[\"q\"]\n39[{\"ok\":true,\"epoch\":\"E\",\"offset\":1}]\n");
    rig_in(a, "210[\"store\"]");
    rig_in(a, "211[\"ask\",1]"); /* its answer does not depend on the client's */
    expect(&rig, a, "27[\"q\"]\n28[\"question\",1]\n311[]\n");
    rig_release(&rig, a, RT_EIO_TRANSPORT_CLOSE); /* with answers open on both sides */
    rig_deinit(&rig);
}

/* A question without an id would be answered by calling what is no function: it is not sent. */
static void test_too_many_open_answers(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, "protocols: {socketio: {recovery: 0s, max_acks: 3}}\n"
                   "socketio:\n"
                   "  events:\n"
                   "    - {event: ask, do: [{emit: {event: q, ack: {on_timeout: [{emit: "
                   "{event: no}}]}}}]}\n");
    struct rt_eio_session *a = connected(&rig);
    for (int i = 0; i < 3; i++)
        rig_in(a, "2[\"ask\"]");
    expect(&rig, a, "20[\"q\"]\n21[\"q\"]\n22[\"q\"]\n");
    rig_in(a, "2[\"ask\"]");
    rig_in(a, "27[\"ask\"]");
    expect(&rig, a,
           "2[\"no\"]\n2[\"no\"]\n37[{\"ok\":false,\"error\":\"refused\",\"message\":\"the "
           "client owes 3 answers already (protocols.socketio.max_acks)\"}]\n");
    assert_int_equal((int)rig.endpoint->metrics.over_acks.value, 2);
    assert_int_equal((int)rig.endpoint->metrics.timeouts.value, 0);
    rig_in(a, "31[]");
    rig_in(a, "28[\"ask\"]");
    expect(&rig, a, "23[\"q\"]\n38[]\n");
    rig_deinit(&rig);
}

static void test_conditions_choose_the_rule(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio:\n"
                        "  unmatched: ack\n"
                        "  events:\n"
                        "    - {event: m, if: {value: $1, is: binary}, do: [{ack: [binary]}]}\n"
                        "    - {event: m, if: [{value: $1.kind, equals: a}], do: [{ack: [a]}]}\n"
                        "    - {event: [m, x], if: {value: $1, is: string}, do: [{when: {if: "
                        "{value: $event, equals: m}, do: [{ack: [m]}]}}]}\n");
    struct rt_eio_session *a = connected(&rig);
    rig_in(a, "51-1[\"m\"," PH(0) "]");
    rig_binary_in(a, "x");
    rig_in(a, "22[\"m\",{\"kind\":\"a\"}]");
    rig_in(a, "23[\"m\",\"s\"]");
    rig_in(a, "24[\"x\",\"s\"]");
    rig_in(a, "25[\"m\",5]");
    rig_in(a, "26[7]");
    expect(&rig, a, "31[\"binary\"]\n32[\"a\"]\n33[\"m\"]\n34[]\n35[]\n36[]\n");
    rig_deinit(&rig);
}

static void test_unmatched(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio: {unmatched: publish, namespaces: [/, /n]}\n");
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    rig_in(a, "21[\"any\",1,{\"x\":2}]");
    rig_in(a, "2[\"none\"]");
    rig_in(a, "2[5,1]");
    expect(&rig, b, "2[\"any\",1,{\"x\":2}]\n2[\"none\"]\n2[\"5\",1]\n");
    expect(&rig, a,
           "2[\"any\",1,{\"x\":2}]\n31[{\"ok\":true,\"epoch\":\"E\",\"offset\":1}]\n2[\"none\"]\n"
           "2[\"5\",1]\n");
    rig_deinit(&rig);
    rig_init(&rig, HEAD "socketio: {unmatched: disconnect}\n");
    a = connected(&rig);
    rig_in(a, "21[\"any\",1]");
    expect(&rig, a, "1\n");
    assert_false(a->closed);
    rig_deinit(&rig);
}

static void test_event_names(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio:\n"
                        "  events:\n"
                        "    - {event: \"tab\\there\", do: [{emit: {args: [$event]}}]}\n"
                        "    - {event: 'caf\xc3\xa9', do: [{emit: {}}]}\n");
    struct rt_eio_session *a = connected(&rig);
    rig_in(a, "2[\"tab\\u0009here\"]");
    rig_in(a, "2[\"caf\\u00e9\", 1 ]");
    rig_in(a, "2[\"caf\xc3\xa9\"]");
    expect(&rig, a, "2[\"tab\\there\",\"tab\\there\"]\n2[\"caf\xc3\xa9\",1]\n2[\"caf\xc3\xa9\"]\n");
    rig_deinit(&rig);
}

static void test_volatile(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio:\n"
                        "  events:\n"
                        "    - {event: e, do: [{emit: {volatile: true}}, {emit: {event: sure}}]}\n"
                        "    - {event: p, do: [{publish: {channel: /, volatile: true}}]}\n");
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    rig_in(a, "2[\"e\"]");
    rig_in(a, "2[\"p\"]");
    expect(&rig, a, "2[\"e\"]\n2[\"sure\"]\n2[\"p\"]\n");
    expect(&rig, b, "2[\"p\"]\n");
    a->unwritable = true;
    rig_in(a, "2[\"e\"]");
    rig_in(a, "2[\"p\"]");
    expect(&rig, a, "2[\"sure\"]\n");
    expect(&rig, b, "2[\"p\"]\n");
    rig_deinit(&rig);
}

/* What is sent directly stands behind what was published before. */
static void test_order(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio:\n"
                        "  events:\n"
                        "    - {event: e, do: [{publish: {channel: /, event: p1}}, {emit: {event: "
                        "e1}}, {publish: {channel: /, event: p2}}, {ack: [a]}, {emit: {event: "
                        "e2}}]}\n");
    struct rt_eio_session *a = connected(&rig), *b = connected(&rig);
    rig_in(a, "21[\"e\"]");
    expect(&rig, a, "2[\"p1\"]\n2[\"e1\"]\n2[\"p2\"]\n31[\"a\"]\n2[\"e2\"]\n");
    expect(&rig, b, "2[\"p1\"]\n2[\"p2\"]\n");
    rig_deinit(&rig);
}

/* A polling session becomes a WebSocket while messages are pending for it. */
static void test_upgrade_with_pending(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio: {unmatched: publish, namespaces: [/, /n]}\n");
    struct rt_eio_session *a = rig_open(&rig, RT_EIO_POLLING), *b = connected(&rig);
    rig_in(a, "0");
    rig_in(a, "0/n");
    expect(&rig, a, "0*\n0/n*\n");
    rig_in(b, "2[\"t\",\"x\"]");
    rig_in(b, "51-[\"b\"," PH(0) "]");
    rig_binary_in(b, "b64");
    rig_in(a, "2/n,[\"n\"]");
    rig_upgrade(a);
    rig_in(b, "2[\"after\"]");
    expect(&rig, a, "2[\"t\",\"x\"]\n51-[\"b\"," PH(0) "]\n<b64>\n2/n,[\"n\"]\n2[\"after\"]\n");
    rig_deinit(&rig);
}

/* A list of names in one packet is bounded by what a socket may be in. */
static void test_long_lists(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "limits: {channels_per_connection: 5}\n"
                        "socketio:\n"
                        "  events:\n"
                        "    - {event: p, do: [{publish: {room: $1, event: e}}]}\n"
                        "    - {event: j, do: [{join: $1}]}\n");
    struct rt_eio_session *a = connected(&rig);
    rig_in(a, "21[\"p\",[1,2,3,4,5]]");
    rig_in(a, "22[\"p\",[1,2,3,4,5,6,7,8]]");
    rig_in(a, "23[\"j\",[1,2,3,4,5]]");
    rig_in(a, "24[\"p\",[]]");
    expect(
        &rig, a,
        "31[{\"ok\":true,*}]\n"
        "32[{\"ok\":false,\"error\":\"refused\",\"message\":\"the list of names is too long *\n"
        "33[{\"ok\":false,\"error\":\"refused\",\"message\":\"subscribed to 5 channels*\n34[]\n");
    assert_int_equal(rig.journal->offset, 5); /* of the list that is too long nothing */
    rig_deinit(&rig);
}

static void test_message_limit(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "limits: {message: 1KiB}\n"
                        "socketio:\n"
                        "  events:\n"
                        "    - {event: p, do: [{publish: {channel: $1, event: e, data: $2}}]}\n");
    char sid[21];
    struct rt_eio_session *a = rig_open(&rig, RT_EIO_WEBSOCKET);
    join_namespace(&rig, a, "0", sid, NULL);
    struct rt_buf packet = RT_BUF_INIT;
    rt_buf_printf(&packet, "21[\"p\",\"%s\",\"%01100d\"]", sid, 0);
    rig_bytes_in(a, false, packet.data, packet.len);
    expect(&rig, a, "31[{\"ok\":false,\"error\":\"refused\",\"message\":\"*limits.message)\"}]\n");
    rt_buf_deinit(&packet);
    rig_deinit(&rig);
}

static void test_send_without_memory(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, HEAD "socketio: {unmatched: ack}\n");
    struct rt_eio_session *a = connected(&rig);
    rig_send_fails = true;
    rig_in(a, "21[\"x\"]");
    expect_closed(&rig, a, RT_EIO_TRANSPORT_ERROR);
    rig_deinit(&rig);
}

static int teardown(void **state)
{
    (void)state;
    return rt_alloc_live() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classic_chat),
        cmocka_unit_test(test_rooms),
        cmocka_unit_test(test_attachments_add_up),
        cmocka_unit_test(test_several_rooms),
        cmocka_unit_test(test_names_of_rooms),
        cmocka_unit_test(test_namespaces_by_glob),
        cmocka_unit_test(test_leaving_the_own_id),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_own_id),
        cmocka_unit_test(test_binary_between_clients),
        cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_automatic_answers),
        cmocka_unit_test(test_answers_after_commit),
        cmocka_unit_test(test_own_answers_after_commit),
        cmocka_unit_test(test_mixed_results),
        cmocka_unit_test(test_congestion),
        cmocka_unit_test(test_emit_with_answer),
        cmocka_unit_test(test_too_many_open_answers),
        cmocka_unit_test(test_conditions_choose_the_rule),
        cmocka_unit_test(test_unmatched),
        cmocka_unit_test(test_event_names),
        cmocka_unit_test(test_volatile),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_upgrade_with_pending),
        cmocka_unit_test(test_long_lists),
        cmocka_unit_test(test_message_limit),
        cmocka_unit_test(test_send_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
