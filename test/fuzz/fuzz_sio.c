/* A client's whole conversation with the Socket.IO endpoint: packets as they come, rules that use
 * every action and function, recovery on.
 *
 * The input is lines. The first byte of each says what happens, the rest is its content:
 *     t text packet   b binary message   a text packet of the other client   c a new connection (o: of Socket.IO 2)
 *     u upgrade       p pong             l the log answers                  w writable or not
 * Any packet may close the connection; a new one is opened then. Aborts when something is sent that
 * is no legal packet. */
#include "unit/socketio/rig.h"

#include "base/utf8.h"
#include "json/scan.h"
#include "proto/socketio/placeholder.h"
#include "proto/socketio/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char yaml[] =
    "protocols: {socketio: {max_payload: 64KiB, recovery: 2m, allow_eio3: true}}\n"
    "socketio:\n"
    "  namespaces: [/, '/n*']\n"
    "  unmatched: publish\n"
    "  on_connect:\n"
    "    - {if: {value: $auth.no, is: defined}, do: [{refuse: {message: '{$auth.no}', data: "
    "$auth}}]}\n"
    "    - {if: {value: $auth.out, equals: true}, do: [{disconnect: true}]}\n"
    "    - do: [{join: {$default: [$auth.room, lobby]}}, {emit: {event: hello, data: "
    "$handshake}}]\n"
    "  events:\n"
    "    - {event: join, do: [{join: $1}, {emit: {args: $rooms}}]}\n"
    "    - {event: leave, do: [{leave: $1}]}\n"
    "    - {event: leave-all, do: [{leave: {all: true}}]}\n"
    "    - {event: say, do: [{publish: {room: $1, event: '{$2}', data: $3, key: '{$4}'}}]}\n"
    "    - {event: all, do: [{publish: {channel: $1, args: $args.1, except: ['x{$2}', a], except_sender: true}}]}\n"
    "    - {event: echo, do: [{emit: {args: $args}}, {ack: [$args, {$binary: AAEC}, $auth]}]}\n"
    "    - event: shape\n"
    "      do: [{emit: {event: s, args: [{$json: $1}, {$parse: $2}, {$default: [$3, $1.a.0]}, "
    "'<{$1}|{$2.x}|{$args}>', $query, {a: $1.b, b: {$binary: ''}}]}}]\n"
    "    - event: test\n"
    "      do:\n"
    "        - when: {if: {value: $1, equals: $2}, do: [{ack: [equal]}]}\n"
    "        - when: {if: {value: $1, in: $2}, do: [{ack: [in]}]}\n"
    "        - when: {if: {any: [{value: $1, is: binary}, {value: $1, longer: 5}, {not: {value: "
    "$1, "
    "is: empty}}]}, do: [{ack: [any]}], else: [{drop: true}]}\n"
    "        - when: {if: {value: $1, matches: 'a*b?c'}, do: [{ack: [glob]}]}\n"
    "    - {event: ask, do: [{emit: {event: q, data: $1, ack: {do: [{ack: $args}, {publish: "
    "{channel: r, event: e, args: $args}}]}}}]}\n"
    "    - {event: vol, do: [{publish: {channel: /, volatile: true}}, {emit: {volatile: true}}]}\n"
    "    - {event: bye, do: [{disconnect: {close: true}}]}\n";

static struct rig rig;
static struct rt_eio_session *session, *other;

/* The rules are compiled once: that took two thirds of a usual input's time. They are not changed by what comes. (The linker leads the endpoint here.) */
int __wrap_rt_sio_rules_new(const struct rt_socketio_config *config, struct rt_conf_errors *errors,
                            struct rt_sio_rules **ret_rules);
int __real_rt_sio_rules_new(const struct rt_socketio_config *config, struct rt_conf_errors *errors,
                            struct rt_sio_rules **ret_rules);
void __wrap_rt_sio_rules_free(struct rt_sio_rules *rules);

int __wrap_rt_sio_rules_new(const struct rt_socketio_config *config, struct rt_conf_errors *errors,
                            struct rt_sio_rules **ret_rules)
{
    static struct rt_sio_rules *compiled;
    int code = compiled ? RT_OK : __real_rt_sio_rules_new(config, errors, &compiled);
    *ret_rules = compiled;
    return code;
}

void __wrap_rt_sio_rules_free(struct rt_sio_rules *rules)
{
    (void)rules;
}

static void require(bool holds, const char *what, struct rt_str packet)
{
    if (holds)
        return;
    fprintf(stderr, "%s: %.*s\n", what, RT_STR_ARG(packet));
    abort();
}

/* One text packet that was sent; returns how many binary ones must follow. */
static size_t check_packet(struct rt_str line, bool old)
{
    struct rt_str text = rt_str_of(line.ptr + 1, line.len - 1);
    size_t attachments = 0;
    require(line.len && line.ptr[0] >= '0' && line.ptr[0] <= '6', "no packet type", line);
    require(rt_utf8_valid(line.ptr, line.len), "no UTF-8", line);
    if (line.ptr[0] >= '5') {
        while (text.ptr[0] != '-') {
            attachments = attachments * 10 + (size_t)(text.ptr[0] - '0');
            text = rt_str_of(text.ptr + 1, text.len - 1);
        }
        text = rt_str_of(text.ptr + 1, text.len - 1);
    }
    if (text.len && text.ptr[0] == '/')
        (void)rt_str_split(text, ',', &text);
    while (text.len && text.ptr[0] >= '0' && text.ptr[0] <= '9')
        text = rt_str_of(text.ptr + 1, text.len - 1);
    if (text.len == 0) {
        require(line.ptr[0] == '1' || (line.ptr[0] == '0' && old), "no payload", line);
        return 0;
    }
    require(rt_json_check(text, RT_JSON_PAYLOAD, NULL, NULL) == 0, "no JSON", line);
    if (line.ptr[0] >= '5')
        require(rt_sio_placeholder_check(text, (uint32_t)attachments) == 0, "bad placeholder",
                line);
    return attachments;
}

/* Binary content may hold line feeds: the rig writes it between < and >, so inputs with those are
 * not looked at. */
static void check_log(struct rt_eio_session *s, bool strict)
{
    struct rt_str rest = rt_buf_str(&s->log);
    size_t binary = 0;
    while (strict && rest.len) {
        struct rt_str line = rt_str_split(rest, '\n', &rest);
        if (binary) {
            require(line.len >= 2 && line.ptr[0] == '<', "no attachment", line);
            binary--;
        } else {
            binary = check_packet(line, s->eio3);
        }
    }
    rt_buf_clear(&s->log);
}

static struct rt_eio_session *open_session(enum rt_eio_transport transport, bool old)
{
    static const struct rt_eio_handshake handshake = {
        .url = {"/socket.io/?a=1&a=2", 19}, .query = {"a=1&a=2", 7}, .headers = {"h: x\r\n", 6}};
    struct rt_eio_session *s = rig_open_as(&rig, transport, old);
    s->handshake = &handshake;
    return s;
}

static void step(char what, const char *text, size_t len)
{
    switch (what) {
    case 't':
        rig_bytes_in(session, false, text, len);
        break;
    case 'b':
        rig_bytes_in(session, true, text, len);
        break;
    case 'a':
        rig_bytes_in(other, false, text, len);
        break;
    case 'c':
    case 'o':
        rig_release(&rig, session, RT_EIO_TRANSPORT_CLOSE);
        session = open_session(len & 1 ? RT_EIO_POLLING : RT_EIO_WEBSOCKET, what == 'o');
        break;
    case 'u':
        if (!session->closed && session->transport == RT_EIO_POLLING)
            rig_upgrade(session);
        break;
    case 'p':
        if (!session->closed)
            session->on_pong(session);
        break;
    case 'l':
        rig.journal->fails = len == 1 ? RT_EAGAIN : len == 2 ? RT_EUNKNOWN : 0;
        rig.journal->delayed = len == 3;
        rig_commit(&rig);
        break;
    case 'w':
        session->unwritable = !session->unwritable;
        break;
    default:
        break;
    }
}

/* The pid of the session, so that an input can come back with it: "$PID" in a line. */
static size_t expand(const uint8_t *line, size_t len, char *out, size_t room, const char *pid)
{
    size_t at = 0;
    for (size_t i = 0; i < len && at + 32 < room; i++) {
        if (len - i >= 4 && memcmp(line + i, "$PID", 4) == 0) {
            memcpy(out + at, pid, 20);
            at += 20;
            i += 3;
        } else {
            out[at++] = (char)line[i];
        }
    }
    return at;
}

static void note_pid(char pid[21])
{
    static const char key[] = "\"pid\":\"";
    const char *at =
        session->log.len ? memmem(session->log.data, session->log.len, key, sizeof(key) - 1) : NULL;
    size_t left = at ? session->log.len - (size_t)(at - (char *)session->log.data) : 0;
    if (left > sizeof(key) + 20)
        memcpy(pid, at + sizeof(key) - 1, 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[1 << 16];
    char pid[21] = "--------------------";
    if (!rig.config) {
        rt_log_setup(RT_LOG_OFF, RT_LOG_AUTO, "");
        rig_configure(&rig, yaml);
    }
    /* Nothing of one input is there for the next. */
    if (rt_loop_new(&rig.loop, NULL) != 0 || rig_start(&rig) != 0)
        abort();
    bool strict = true;
    session = open_session(RT_EIO_WEBSOCKET, false);
    other = open_session(RT_EIO_POLLING, false);
    rig_in(other, "0");
    while (size) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t len = end ? (size_t)(end - data) : size;
        if (len) {
            size_t out = expand(data + 1, len - 1, text, sizeof(text), pid);
            strict &= data[0] != 'b' || (!memchr(text, '\n', out) && !memchr(text, '>', out));
            step((char)data[0], text, out);
            rig_turn(&rig);
            note_pid(pid);
            check_log(session, strict);
            check_log(other, strict);
            if (session->closed)
                step('c', "", 0);
        }
        data += len + (end != NULL);
        size -= len + (end != NULL);
    }
    rig_stop(&rig);
    rt_loop_free(rig.loop);
    return 0;
}
