/* Connection state recovery: what a client that comes back gets, and when it gets nothing. */
#include "unit/socketio/layer.h"

#define RULES                                                                                    \
    "socketio:\n"                                                                                \
    "  namespaces: [/, /n]\n"                                                                    \
    "  on_connect:\n"                                                                            \
    "    - {if: {value: $auth.silent, is: undefined}, do: [{emit: {event: hello}}]}\n"           \
    "  events:\n"                                                                                \
    "    - {event: join, do: [{join: $1}]}\n"                                                    \
    "    - {event: leave, do: [{leave: $1}]}\n"                                                  \
    "    - {event: rooms, do: [{emit: {event: rooms, args: $rooms}}]}\n"                         \
    "    - {event: say, do: [{publish: {room: $1, event: said, data: $2}}]}\n"                   \
    "    - {event: others, do: [{publish: {channel: /, event: o, data: $1, "                     \
    "except_sender: yes}}]}\n"                                                                   \
    "    - {event: vol, do: [{publish: {channel: /, event: v, volatile: true}}, {emit: {event: " \
    "v, volatile: true}}]}\n"                                                                    \
    "    - {event: me, do: [{emit: {event: you, data: $1}}]}\n"                                  \
    "    - {event: ask, do: [{emit: {event: q, ack: {}}}]}\n"                                    \
    "    - {event: all, do: [{publish: {channel: /, event: a, args: $args}}]}\n"

#define RECOVERY "protocols: {socketio: {recovery: 2m}}\n"

static const char config[] = RECOVERY RULES;

struct peer {
    struct rt_eio_session *s;
    char sid[21], pid[21];
    char offset[32]; /* last argument of the last event, as the client keeps it */
};

static void set_offset(struct peer *p, const char *offset)
{
    snprintf(p->offset, sizeof(p->offset), "%s", offset);
}

/* Remembers the last token among what was received. */
static void note_offset(struct peer *p)
{
    struct rt_str rest = rt_buf_str(&p->s->log);
    while (rest.len) {
        struct rt_str line = rt_str_split(rest, '\n', &rest);
        size_t end = line.len >= 2 ? line.len - 2 : 0; /* at the quote before the ] */
        if (line.len < 4 || (line.ptr[0] != '2' && line.ptr[0] != '5') || line.ptr[end] != '"')
            continue;
        size_t start = end;
        while (line.ptr[start - 1] != '"')
            start--;
        snprintf(p->offset, sizeof(p->offset), "%.*s", (int)(end - start), line.ptr + start);
    }
}

static void expect_peer(struct rig *rig, struct peer *p, const char *lines, int line)
{
    rig_turn(rig);
    note_offset(p);
    expect_at(rig, p->s, lines, line);
}
#define expects(rig, p, lines) expect_peer((rig), (p), (lines), __LINE__)

static void arrive(struct rig *rig, struct peer *p, enum rt_eio_transport transport)
{
    *p = (struct peer){.s = rig_open(rig, transport)};
    join_namespace(rig, p->s, "0{\"silent\":1}", p->sid, p->pid);
}

static void lose(struct rig *rig, struct peer *p)
{
    rig_release(rig, p->s, RT_EIO_TRANSPORT_CLOSE);
    p->s = NULL;
}

static void send_connect(struct rig *rig, struct peer *p, const char *nsp)
{
    char text[160], offset[64] = "";
    if (!p->s)
        p->s = rig_open(rig, RT_EIO_WEBSOCKET);
    if (p->offset[0])
        snprintf(offset, sizeof(offset), ",\"offset\":\"%s\"", p->offset);
    snprintf(text, sizeof(text), "0%s{\"pid\":\"%s\"%s,\"silent\":1}", nsp, p->pid, offset);
    rig_in(p->s, text);
}

/* Comes back: `missed` before the reply with the same ids. */
static void comes_back(struct rig *rig, struct peer *p, const char *missed, int line)
{
    char expected[1024];
    send_connect(rig, p, "");
    snprintf(expected, sizeof(expected), "%s0{\"sid\":\"%s\",\"pid\":\"%s\"}\n", missed, p->sid,
             p->pid);
    expect_peer(rig, p, expected, line);
}
#define recovers(rig, p, missed) comes_back((rig), (p), (missed), __LINE__)

/* Comes back, but as somebody new. */
static void is_new(struct rig *rig, struct peer *p, int line)
{
    char old_sid[21], old_pid[21];
    memcpy(old_sid, p->sid, 21);
    memcpy(old_pid, p->pid, 21);
    send_connect(rig, p, "");
    rig_turn(rig);
    note_offset(p);
    struct rt_str got = rt_buf_str(&p->s->log);
    if (!rt_glob_match(RT_STR("0{\"sid\":\"" ID "\",\"pid\":\"" ID "\"}\n"), got))
        fail_msg("line %d: got %.*s", line, RT_STR_ARG(got));
    memcpy(p->sid, got.ptr + 9, 20);
    memcpy(p->pid, got.ptr + 38, 20);
    rt_buf_clear(&p->s->log);
    if (!strcmp(old_sid, p->sid) || !strcmp(old_pid, p->pid))
        fail_msg("line %d: recovered", line);
    p->offset[0] = 0;
}
#define starts_anew(rig, p) is_new((rig), (p), __LINE__)

static void pong(struct peer *p)
{
    p->s->on_pong(p->s);
}

static void test_tokens(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, config);
    struct rt_eio_session *s = rig_open(&rig, RT_EIO_WEBSOCKET);
    rig_in(s, "0");
    expect(&rig, s, "0{\"sid\":\"" ID "\",\"pid\":\"" ID "\"}\n2[\"hello\",\"0.1\"]\n");
    rig_in(s, "21[\"all\"]");
    expect(&rig, s, "2[\"a\",\"1\"]\n31[{*}]\n");
    rig_in(s, "2[\"me\",5]");
    rig_in(s, "2[\"me\",6]");
    rig_in(s, "2[\"ask\"]"); /* no token in what wants an answer */
    rig_in(s, "2[\"vol\"]");
    rig_in(s, "51-[\"all\",{\"_placeholder\":true,\"num\":0}]");
    rig_binary_in(s, "x");
    expect(&rig, s,
           "2[\"you\",5,\"1.2\"]\n2[\"you\",6,\"1.3\"]\n20[\"q\"]\n2[\"v\",\"2\"]\n"
           "2[\"v\",\"2.3\"]\n51-[\"a\",{\"_placeholder\":true,\"num\":0},\"3\"]\n<x>\n");
    rig_deinit(&rig);
}

static void test_messages_of_rooms(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_POLLING);
    rig_in(p.s, "2[\"join\",[\"r1\",\"r2\"]]");
    rig_in(other.s, "2[\"say\",\"r1\",0]");
    expects(&rig, &p, "2[\"said\",0,\"1\"]\n");
    lose(&rig, &p);
    assert_int_equal(rig.endpoint->metrics.waiting.value, 1);
    rig_in(other.s, "2[\"say\",\"r2\",1]");
    rig_in(other.s, "2[\"all\",2,3]");
    rig_in(other.s, "2[\"say\",\"r3\",\"not for it\"]");
    rig_in(other.s, "2[\"say\",\"r1\",4]");
    rig_in(other.s, "2[\"vol\"]");
    recovers(&rig, &p, "2[\"said\",1,\"2\"]\n2[\"a\",2,3,\"3\"]\n2[\"said\",4,\"5\"]\n");
    assert_int_equal(rig.endpoint->metrics.waiting.value, 0);
    rig_in(p.s, "2[\"rooms\"]");
    rig_in(other.s, "2[\"say\",\"r1\",5]");
    expects(&rig, &p, "2[\"rooms\",\"*\",\"r1\",\"r2\",\"6.1\"]\n2[\"said\",5,\"7\"]\n");
    lose(&rig, &p);
    recovers(&rig, &p, "");
    rig_deinit(&rig);
}

/* Node fails here: the client has no offset, since it has never got an event. */
static void test_without_offset(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, config);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    rig_in(other.s, "2[\"all\",\"before\"]");
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    lose(&rig, &p);
    recovers(&rig, &p, "");
    rig_in(p.s, "2[\"join\",\"r\"]");
    lose(&rig, &p);
    rig_in(other.s, "2[\"say\",\"r\",1]");
    recovers(&rig, &p, "2[\"said\",1,\"2\"]\n");
    rig_deinit(&rig);
}

/* Node fails here: the offset has aged out of the log while the client was idle. Ours asks whether
 * anything of *its* rooms is missing. */
static void test_offset_aged_out(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    struct rt_buf text = RT_BUF_INIT;
    rig_init(&rig, RECOVERY "limits: {memory_log: 1MiB}\n" RULES);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    rig_in(other.s, "2[\"all\",1]");
    expects(&rig, &p, "2[\"a\",1,\"1\"]\n");
    rt_buf_printf(&text, "2[\"say\",\"elsewhere\",\"%060000d\"]", 0);
    for (int i = 0; i < 25; i++)
        rig_bytes_in(other.s, false, text.data, text.len);
    struct rt_channel *c = rt_hub_channel(rig.endpoint->hub, RT_STR("/"), false);
    assert_int_equal(rt_channel_kept(c), 0);
    lose(&rig, &p);
    rig_in(other.s, "2[\"all\",2]");
    recovers(&rig, &p, "2[\"a\",2,\"r\"]\n");
    rt_buf_deinit(&text);
    rig_deinit(&rig);
}

static void test_direct_events(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    char text[100];
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    rig_in(p.s, "2[\"me\",1]");
    expects(&rig, &p, "2[\"you\",1,\"0.1\"]\n");
    /* These three are on their way when the connection is lost. */
    rig_in(p.s, "2[\"me\",2]");
    rig_in(other.s, "2[\"all\",3]");
    rig_in(p.s, "2[\"me\",4]");
    rig_in(p.s, "2[\"ask\"]");
    lose(&rig, &p);
    /* To its id while it is away. */
    snprintf(text, sizeof(text), "2[\"say\",\"%s\",5]", p.sid);
    rig_in(other.s, text);
    rig_in(other.s, "2[\"all\",6]");
    snprintf(text, sizeof(text), "51-[\"say\",\"%s\",{\"_placeholder\":true,\"num\":0}]", p.sid);
    rig_in(other.s, text);
    rig_binary_in(other.s, "bin");
    static const char missed[] = "2[\"you\",2,\"0.2\"]\n2[\"a\",3,\"1\"]\n2[\"you\",4,\"1.3\"]\n"
                                 "2[\"said\",5,\"1.4\"]\n2[\"a\",6,\"2\"]\n"
                                 "51-[\"said\",{\"_placeholder\":true,\"num\":0},\"2.5\"]\n<bin>\n";
    struct peer again = p;
    recovers(&rig, &p, missed);
    /* Lost again before anything arrived: all of it once more. */
    lose(&rig, &p);
    memcpy(p.offset, again.offset, sizeof(p.offset));
    recovers(&rig, &p, missed);
    /* The position is that of a message: what was sent directly behind it is missing, what was
     * before it is not. */
    lose(&rig, &p);
    set_offset(&p, "1");
    recovers(&rig, &p,
             "2[\"you\",4,\"1.3\"]\n2[\"said\",5,\"1.4\"]\n2[\"a\",6,\"2\"]\n"
             "51-[\"said\",{\"_placeholder\":true,\"num\":0},\"2.5\"]\n<bin>\n");
    rig_deinit(&rig);
}

static void test_except_sender(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    rig_in(p.s, "2[\"others\",1]");
    rig_in(other.s, "2[\"others\",2]");
    lose(&rig, &p);
    recovers(&rig, &p, "2[\"o\",2,\"2\"]\n");
    /* It is the same subscriber still. */
    rig_in(p.s, "2[\"others\",3]");
    lose(&rig, &p);
    recovers(&rig, &p, "");
    rig_deinit(&rig);
}

/* The rules of on_connect are asked again, before anything that was missed is sent. */
static void test_rules_again(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p;
    char text[200];
    rig_init(&rig, "protocols: {socketio: {recovery: 2m, skip_middlewares: false}}\n"
                   "socketio:\n"
                   "  on_connect:\n"
                   "    - {if: {value: $auth.bad, is: defined}, do: [{refuse: {message: no}}]}\n"
                   "    - if: {value: $recovered, equals: true}\n"
                   "      do: [{join: again}, {emit: {event: back, data: $rooms}}]\n"
                   "  events:\n"
                   "    - {event: join, do: [{join: $1}]}\n"
                   "    - {event: say, do: [{publish: {room: $1, event: said, data: $2}}]}\n");
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    struct rt_eio_session *other = connected(&rig);
    rig_in(p.s, "2[\"join\",\"a\"]");
    rig_in(other, "2[\"say\",\"a\",1]");
    expects(&rig, &p, "2[\"said\",1,\"*\"]\n");
    lose(&rig, &p);
    rig_in(other, "2[\"say\",\"a\",2]");
    send_connect(&rig, &p, "");
    rig_in(other, "2[\"say\",\"again\",3]");
    expects(&rig, &p,
            "2[\"said\",2,\"*\"]\n0{\"sid\":\"" ID "\",\"pid\":\"" ID "\"}\n"
            "2[\"back\",[\"" ID "\",\"a\",\"again\"],\"*\"]\n2[\"said\",3,\"*\"]\n");
    lose(&rig, &p);
    rig_in(other, "2[\"say\",\"a\",4]");
    /* Who is refused hears nothing of it, and the session is over. */
    p.s = rig_open(&rig, RT_EIO_WEBSOCKET);
    snprintf(text, sizeof(text), "0{\"pid\":\"%s\",\"offset\":\"%s\",\"bad\":1}", p.pid, p.offset);
    rig_in(p.s, text);
    expect(&rig, p.s, "4{\"message\":\"no\"}\n");
    starts_anew(&rig, &p);
    rig_deinit(&rig);
}

/* One message to two rooms of the session: once, whichever copies were missed. */
static void test_several_rooms(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    struct rt_eio_session *other = connected(&rig);
    rig_in(p.s, "2[\"join\",[\"a\",\"b\"]]");
    rig_in(other, "2[\"say\",[\"a\",\"b\"],1]");
    expects(&rig, &p, "2[\"said\",1,\"*\"]\n");
    lose(&rig, &p);
    rig_in(other, "2[\"say\",[\"b\",\"x\",\"a\"],2]");
    rig_in(other, "2[\"say\",[\"x\",\"a\"],3]");
    comes_back(&rig, &p, "2[\"said\",2,\"*\"]\n2[\"said\",3,\"*\"]\n", __LINE__);
    rig_in(other, "2[\"say\",[\"a\",\"b\"],4]");
    expects(&rig, &p, "2[\"said\",4,\"*\"]\n");
    /* The copy of one room came before the connection went, that of the other one was on its way. */
    rig.journal->delayed = true;
    rig_in(other, "2[\"say\",[\"a\",\"b\"],5]");
    assert_int_equal(rig.journal->count, 2);
    struct rt_append *second = rig.journal->waiting[1];
    rig.journal->count = 1;
    rig_commit(&rig);
    expects(&rig, &p, "2[\"said\",5,\"*\"]\n");
    lose(&rig, &p);
    rig.journal->waiting[rig.journal->count++] = second;
    rig_commit(&rig);
    comes_back(&rig, &p, "", __LINE__);
    rig_deinit(&rig);
}

static void test_rooms_joined_late(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    rig_in(other.s, "2[\"all\",1]");
    expects(&rig, &p, "2[\"a\",1,\"1\"]\n");
    rig_in(other.s, "2[\"say\",\"r\",\"before it joined\"]");
    rig_in(p.s, "2[\"join\",\"r\"]");
    rig_in(other.s, "2[\"say\",\"r\",2]");
    lose(&rig, &p);
    recovers(&rig, &p, "2[\"said\",2,\"3\"]\n");
    set_offset(&p, "1");
    lose(&rig, &p);
    recovers(&rig, &p, "2[\"said\",2,\"3\"]\n"); /* that is remembered over recoveries */
    /* Many joins: the time of each is not remembered any more, but none leaks. */
    set_offset(&p, "1");
    rig_in(other.s, "2[\"say\",\"x7\",\"secret\"]");
    for (int i = 0; i < 70; i++) {
        char text[40];
        snprintf(text, sizeof(text), "2[\"join\",\"x%d\"]", i);
        rig_in(p.s, text);
    }
    lose(&rig, &p);
    starts_anew(&rig, &p);
    rig_deinit(&rig);
}

static void test_rooms_left(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    rig_in(p.s, "2[\"join\",[\"r\",\"s\"]]");
    rig_in(p.s, "2[\"leave\",\"s\"]"); /* nothing was ever said there */
    lose(&rig, &p);
    recovers(&rig, &p, "");
    rig_in(other.s, "2[\"say\",\"r\",1]");
    rig_in(p.s, "2[\"leave\",\"r\"]");
    struct peer cut = p; /* before it has got the message */
    expects(&rig, &p, "2[\"said\",1,\"1\"]\n");
    lose(&rig, &p);
    recovers(&rig, &p, ""); /* it has got it */
    lose(&rig, &p);
    memcpy(p.offset, cut.offset, sizeof(p.offset));
    starts_anew(&rig, &p); /* it has not, and nobody can tell any more what it was */
    /* With a heartbeat between it does not matter. */
    rig_in(p.s, "2[\"join\",\"r\"]");
    rig_in(other.s, "2[\"say\",\"r\",2]");
    pong(&p);
    pong(&p);
    rig_in(p.s, "2[\"leave\",\"r\"]");
    lose(&rig, &p);
    recovers(&rig, &p, "");
    rig_deinit(&rig);
}

static void test_gap(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, RECOVERY "limits: {memory_log: 1MiB}\n" RULES);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_printf(&text, "2[\"all\",\"%060000d\"]", 0);
    lose(&rig, &p);
    for (int i = 0; i < 25; i++)
        rig_bytes_in(other.s, false, text.data, text.len);
    starts_anew(&rig, &p);
    assert_int_equal(rig.endpoint->metrics.not_recovered.value, 1);
    rt_buf_deinit(&text);
    rig_deinit(&rig);
}

static void test_ring_overflow(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_printf(&text, "2[\"me\",\"%04000d\"]", 0);
    for (int i = 0; i < 20; i++)
        rig_bytes_in(p.s, false, text.data, text.len);
    rig_turn(&rig);
    note_offset(&p);
    assert_string_equal(p.offset, "0.k");
    lose(&rig, &p);
    recovers(&rig, &p, "");
    lose(&rig, &p);
    set_offset(&p, "0.j");
    send_connect(&rig, &p, "");
    rig_turn(&rig);
    assert_true(has(p.s, "\"0.k\"]\n0{\"sid\":"));
    rt_buf_clear(&p.s->log);
    lose(&rig, &p);
    set_offset(&p, "0.3");
    starts_anew(&rig, &p);
    /* One that is larger than the ring makes a gap by itself. */
    rt_buf_clear(&text);
    rt_buf_printf(&text, "2[\"me\",\"%040000d\"]", 0);
    rig_bytes_in(p.s, false, text.data, text.len);
    lose(&rig, &p);
    starts_anew(&rig, &p);
    rt_buf_deinit(&text);
    rig_deinit(&rig);
}

static void test_ring_is_trimmed(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    rig_in(p.s, "2[\"me\",1]");
    pong(&p);
    rig_in(p.s, "2[\"me\",2]");
    rt_buf_clear(&p.s->log);
    pong(&p); /* the ping was sent after the first pong: 1 has arrived, of 2 nothing is known */
    lose(&rig, &p);
    recovers(&rig, &p, "2[\"you\",2,\"0.2\"]\n");
    rig_deinit(&rig);
}

static void test_take_over(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    rig_in(p.s, "0/n,{\"silent\":1}");
    rig_in(other.s, "2[\"all\",1]");
    expects(&rig, &p, "0/n,*\n2[\"a\",1,\"1\"]\n");
    /* The old connection is half-open: we have not noticed yet. */
    rig_in(other.s, "2[\"all\",2]");
    rig_turn(&rig);
    struct rt_eio_session *old = p.s;
    p.s = NULL;
    recovers(&rig, &p, "2[\"a\",2,\"2\"]\n");
    assert_true(old->closed && old->reason == RT_EIO_FORCED_CLOSE);
    rt_buf_clear(&old->log);
    rig_in(other.s, "2[\"all\",3]");
    expects(&rig, &p, "2[\"a\",3,\"3\"]\n");
    expect(&rig, old, "");
    assert_int_equal(rig.endpoint->metrics.waiting.value, 1); /* its other namespace */
    rig_deinit(&rig);
}

static void test_not_recoverable(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    rig_in(p.s, "1"); /* it left */
    lose(&rig, &p);
    starts_anew(&rig, &p);
    rig_in(p.s, "nonsense");
    expect_closed(&rig, p.s, RT_EIO_PARSE_ERROR);
    rig_release(&rig, p.s, RT_EIO_PARSE_ERROR);
    p.s = NULL;
    starts_anew(&rig, &p);
    lose(&rig, &p);
    send_connect(&rig, &p, "/n,"); /* another namespace */
    expect(&rig, p.s, "0/n,{*}\n");
    rig_in(p.s, "1/n,");
    recovers(&rig, &p, ""); /* which did not cost the session */
    lose(&rig, &p);
    set_offset(&p, "zzz"); /* a position that was never given */
    starts_anew(&rig, &p);
    lose(&rig, &p);
    set_offset(&p, "0.5");
    starts_anew(&rig, &p);
    lose(&rig, &p);
    set_offset(&p, "0,1");
    starts_anew(&rig, &p);
    lose(&rig, &p);
    memcpy(p.pid, "xxxxxxxxxxxxxxxxxxxx", 20);
    starts_anew(&rig, &p);
    rig_deinit(&rig);
}

static void test_expiry(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, q;
    rig_init(&rig, "protocols: {socketio: {recovery: 300ms}}\n" RULES);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &q, RT_EIO_WEBSOCKET);
    lose(&rig, &p);
    lose(&rig, &q);
    wait_until(&rig, rig.endpoint->metrics.waiting.value == 0);
    starts_anew(&rig, &p);
    lose(&rig, &p);
    recovers(&rig, &p, "");
    rig_deinit(&rig);
}

static void test_malformed_auth(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "0{\"pid\":1,\"silent\":1}",        "0{\"pid\":null,\"silent\":1}",
        "0{\"pid\":\"\",\"silent\":1}",     "0{\"pid\":{\"a\":[]},\"offset\":[],\"silent\":1}",
        "0{\"offset\":\"1\",\"silent\":1}",
    };
    struct rig rig;
    rig_init(&rig, config);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rt_eio_session *s = rig_open(&rig, RT_EIO_WEBSOCKET);
        rig_in(s, cases[i]);
        expect(&rig, s, "0{\"sid\":\"" ID "\",\"pid\":\"" ID "\"}\n");
    }
    struct peer p;
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    lose(&rig, &p);
    char text[100];
    snprintf(text, sizeof(text), "0{\"pid\":\"%s\",\"offset\":7,\"silent\":1}", p.pid);
    p.s = rig_open(&rig, RT_EIO_WEBSOCKET);
    rig_in(p.s, text);
    rig_turn(&rig);
    assert_false(has(p.s, p.pid));
    rig_deinit(&rig);
}

/* Nothing is kept of what is not logged, and that is no gap: such channels promise nothing. */
static void test_unlogged(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    rig_in(p.s, "2[\"join\",\"quiet-1\"]");
    lose(&rig, &p);
    rig_in(other.s, "2[\"say\",\"quiet-1\",1]");
    recovers(&rig, &p, "");
    rig_in(other.s, "2[\"say\",\"quiet-1\",2]");
    expects(&rig, &p, "2[\"said\",2,\"2\"]\n");
    rig_deinit(&rig);
}

/* A recovery over polling, and an upgrade behind it. */
static void test_polling(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, config);
    arrive(&rig, &p, RT_EIO_POLLING);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    lose(&rig, &p);
    rig_in(other.s, "2[\"all\",1]");
    p.s = rig_open(&rig, RT_EIO_POLLING);
    recovers(&rig, &p, "2[\"a\",1,\"1\"]\n");
    rig_in(other.s, "2[\"all\",2]");
    rig_upgrade(p.s);
    expects(&rig, &p, "2[\"a\",2,\"2\"]\n");
    rig_deinit(&rig);
}

/* More than a client's queue may hold: it would be closed as too slow, come back, and so on. */
static void test_too_much_missed(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    rig_init(&rig, RECOVERY "limits: {message: 64KiB, send_queue: 64KiB}\n" RULES);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    struct rt_buf text = RT_BUF_INIT;
    rt_buf_printf(&text, "2[\"all\",\"%010000d\"]", 0);
    lose(&rig, &p);
    for (int i = 0; i < 8; i++)
        rig_bytes_in(other.s, false, text.data, text.len);
    starts_anew(&rig, &p);
    rt_buf_deinit(&text);
    rig_deinit(&rig);
}

/* A randomised client that loses its connection at any point: with every recovery it has got
 * exactly what a client without losses has. */
static void test_random(void **state)
{
    (void)state;
    struct rig rig;
    struct peer p, other;
    unsigned seed = 7, recovered = 0;
    rig_init(&rig, config);
    arrive(&rig, &other, RT_EIO_WEBSOCKET);
    arrive(&rig, &p, RT_EIO_WEBSOCKET);
    rig_in(p.s, "2[\"join\",\"r\"]");
    int sent = 0, got = 0;
    for (int step = 0; step < 2000; step++) {
        char text[64];
        seed = seed * 1103515245u + 12345u;
        unsigned what = seed >> 16 & 15;
        if (what < 6) {
            snprintf(text, sizeof(text), "2[\"%s%d]", what < 3 ? "all\"," : "say\",\"r\",", sent++);
            rig_in(other.s, text);
        } else if (what < 9) {
            snprintf(text, sizeof(text), "2[\"me\",%d]", sent++);
            rig_in(p.s, text);
        } else if (what == 9) {
            rig_in(other.s, "2[\"vol\"]");
            rig_turn(&rig);
        } else if (what < 14) {
            rig_turn(&rig);
            /* A prefix of what was sent arrives. */
            struct rt_str rest = rt_buf_str(&p.s->log);
            bool cut = what == 13;
            bool beat = what == 10;
            unsigned lines = seed >> 20 & 3;
            while (rest.len && (!cut || lines-- > 0)) {
                struct rt_str line = rt_str_split(rest, '\n', &rest);
                if (line.ptr[0] != '2' || rt_str_starts(line, RT_STR("2[\"v\"")))
                    continue;
                const char *number = memchr(line.ptr, ',', line.len);
                long seen = 0; /* the log is no NUL-terminated text, so no strtol() */
                for (const char *digit = number + 1; *digit >= '0' && *digit <= '9'; digit++)
                    seen = seen * 10 + (*digit - '0');
                assert_int_equal(seen, got);
                got++;
                const char *token = memrchr(line.ptr, ',', line.len);
                snprintf(p.offset, sizeof(p.offset), "%.*s", (int)(line.ptr + line.len - token - 4),
                         token + 2);
            }
            rt_buf_clear(&p.s->log);
            if (beat)
                pong(&p); /* all that was sent before has arrived */
            if (!cut)
                continue;
            lose(&rig, &p);
            send_connect(&rig, &p, "");
            assert_true(has(p.s, p.sid));
            recovered++;
        }
    }
    assert_true(recovered > 50 && got > 500);
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
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_messages_of_rooms),
        cmocka_unit_test(test_without_offset),
        cmocka_unit_test(test_offset_aged_out),
        cmocka_unit_test(test_direct_events),
        cmocka_unit_test(test_except_sender),
        cmocka_unit_test(test_rules_again),
        cmocka_unit_test(test_several_rooms),
        cmocka_unit_test(test_rooms_joined_late),
        cmocka_unit_test(test_rooms_left),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_ring_overflow),
        cmocka_unit_test(test_ring_is_trimmed),
        cmocka_unit_test(test_take_over),
        cmocka_unit_test(test_not_recoverable),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_malformed_auth),
        cmocka_unit_test(test_unlogged),
        cmocka_unit_test(test_polling),
        cmocka_unit_test(test_too_much_missed),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
