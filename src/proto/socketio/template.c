#include "proto/socketio/template.h"

#include "base/codec.h"
#include "json/scan.h"
#include "proto/socketio/packet.h"
#include "proto/socketio/placeholder.h"

/* The program works on a stack of places in the output: BEGIN remembers where a part starts, the
 * operation that ends the part rewrites what was written since then. */
enum op_kind {
    OP_LITERAL,    /* append the bytes */
    OP_VALUE,      /* append a variable as JSON */
    OP_TEXT,       /* append a variable as text */
    OP_BINARY,     /* append a placeholder of a constant attachment */
    OP_BEGIN,      /* a part that stays as it is */
    OP_BEGIN_TEXT, /* a part that becomes text: no attachments in it */
    OP_QUOTE,      /* text -> JSON string */
    OP_UNQUOTE,    /* JSON string -> text; any other JSON stays */
    OP_PARSE,      /* JSON string -> the JSON in it, or null */
    OP_OTHERWISE,  /* null: take it back and go on; else jump to the OP_END */
    OP_END,        /* forget the place */
};

struct op {
    uint8_t kind;
    uint32_t jump;
    struct rt_str bytes;
    struct rt_sio_ref ref;
};

struct rt_sio_template {
    uint32_t count;
    bool binary;
    struct op ops[];
};

#define MAX_PLACES (2 * RT_NODE_MAX_DEPTH + 4)

/* ---- compiling ---- */

struct builder {
    struct rt_sio_compile *c;
    struct rt_buf ops;     /* of struct op */
    struct rt_buf literal; /* bytes that no operation has yet */
    bool bad;              /* an error was recorded */
    bool binary;
    unsigned depth;
};

static struct op *op_at(struct builder *b, size_t index)
{
    return (struct op *)(void *)b->ops.data + index;
}

static size_t op_count(const struct builder *b)
{
    return b->ops.len / sizeof(struct op);
}

static void push_op(struct builder *b, struct op op)
{
    rt_buf_add(&b->ops, &op, sizeof(op));
}

static void end_literal(struct builder *b)
{
    if (b->literal.len == 0)
        return;
    push_op(b,
            (struct op){.kind = OP_LITERAL, .bytes = rt_sio_keep(b->c, rt_buf_str(&b->literal))});
    rt_buf_clear(&b->literal);
}

static void add_op(struct builder *b, struct op op)
{
    end_literal(b);
    push_op(b, op);
}

static void add_kind(struct builder *b, enum op_kind kind)
{
    add_op(b, (struct op){.kind = (uint8_t)kind});
}

static void fail(struct builder *b, const struct rt_node *node, const char *text)
{
    b->bad = true;
    rt_conf_error(b->c->errors, &node->mark, "%s", text);
}

static void compile_value(struct builder *b, const struct rt_node *node);

static void add_variable(struct builder *b, const struct rt_node *node, enum op_kind kind,
                         struct rt_str name)
{
    struct op op = {.kind = (uint8_t)kind};
    if (rt_sio_ref_compile(b->c, &node->mark, name, &op.ref))
        add_op(b, op);
    else
        b->bad = true;
}

/* What is not literal in a text. */
enum part {
    PART_NONE,
    PART_VARIABLE, /* {$NAME} */
    PART_BRACE,    /* {{ */
    PART_DOLLAR,   /* $$NAME: a literal $ */
    PART_BARE,     /* $NAME: taken for a variable by whoever wrote it, and none */
};

/* A $ that begins the text, or stands behind a {, has had its meaning already. */
static enum part part_at(struct rt_str text, size_t i)
{
    struct rt_str rest = rt_str_of(text.ptr + i + 1, text.len - i - 1);
    if (text.ptr[i] == '{' && rest.len)
        return rest.ptr[0] == '$' ? PART_VARIABLE : rest.ptr[0] == '{' ? PART_BRACE : PART_NONE;
    if (text.ptr[i] != '$' || i == 0 || text.ptr[i - 1] == '{')
        return PART_NONE;
    if (rt_sio_ref_begins(rest))
        return PART_BARE;
    bool two = rest.len && rest.ptr[0] == '$';
    return two && rt_sio_ref_begins(rt_str_of(rest.ptr + 1, rest.len - 1)) ? PART_DOLLAR
                                                                           : PART_NONE;
}

static void fail_bare(struct builder *b, const struct rt_node *node, struct rt_str rest)
{
    size_t len = 1;
    while (len < rest.len && len < 40 &&
           (rt_sio_ref_char(rest.ptr[len]) ||
            (rest.ptr[len] == '.' && len + 1 < rest.len && rt_sio_ref_char(rest.ptr[len + 1]))))
        len++;
    b->bad = true;
    rt_conf_error(b->c->errors, &node->mark,
                  "\"%.*s\" within a text is no variable: write {%.*s} for its value, or $%.*s for "
                  "these characters",
                  (int)len, rest.ptr, (int)len, rest.ptr, (int)len, rest.ptr);
}

/* Returns the part's length in the text; 0: an error was recorded. */
static size_t add_part(struct builder *b, const struct rt_node *node, enum part part,
                       struct rt_str rest)
{
    const char *end = memchr(rest.ptr, '}', rest.len);
    if (part == PART_BARE) {
        fail_bare(b, node, rest);
        return 0;
    }
    if (part != PART_VARIABLE) {
        rt_buf_add(&b->literal, rest.ptr, 1);
        return 2;
    }
    if (!end) {
        fail(b, node, "\"{$\" without the \"}\" that ends the variable; a literal { is {{");
        return 0;
    }
    size_t len = (size_t)(end - rest.ptr);
    add_variable(b, node, OP_TEXT, rt_str_of(rest.ptr + 2, len - 2));
    return len + 1;
}

/* "text {$1.name} {{": literal text goes to the literal as it is. */
static void compile_parts(struct builder *b, const struct rt_node *node, struct rt_str text)
{
    size_t from = 0, i = 0;
    while (i < text.len) {
        enum part part = part_at(text, i);
        if (part == PART_NONE) {
            i++;
            continue;
        }
        rt_buf_add(&b->literal, text.ptr + from, i - from);
        size_t used = add_part(b, node, part, rt_str_of(text.ptr + i, text.len - i));
        if (used == 0)
            return;
        from = i += used;
    }
    if (from < text.len)
        rt_buf_add(&b->literal, text.ptr + from, text.len - from);
}

static bool is_variable(struct rt_str text)
{
    return text.len && text.ptr[0] == '$' && !(text.len > 1 && text.ptr[1] == '$');
}

/* The text without the first of two dollar signs. */
static struct rt_str unescaped(struct rt_str text)
{
    bool two = text.len > 1 && text.ptr[0] == '$' && text.ptr[1] == '$';
    return two ? rt_str_of(text.ptr + 1, text.len - 1) : text;
}

static bool has_parts(struct rt_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (part_at(text, i) != PART_NONE)
            return true;
    }
    return false;
}

static void compile_string(struct builder *b, const struct rt_node *node)
{
    struct rt_str text = node->text;
    if (is_variable(text)) {
        add_variable(b, node, OP_VALUE, rt_str_of(text.ptr + 1, text.len - 1));
        return;
    }
    text = unescaped(text);
    if (!has_parts(text)) {
        rt_json_add_string(&b->literal, text);
        return;
    }
    add_kind(b, OP_BEGIN_TEXT);
    compile_parts(b, node, text);
    add_kind(b, OP_QUOTE);
}

static bool plain_is(const struct rt_node *node, const char *a, const char *b, const char *c)
{
    return !node->quoted &&
           (rt_str_eq(node->text, rt_str_c(a)) || rt_str_eq(node->text, rt_str_c(b)) ||
            rt_str_eq(node->text, rt_str_c(c)));
}

/* `yes` and `on` are booleans to YAML's older readers only: here they are strings. */
static void compile_scalar(struct builder *b, const struct rt_node *node)
{
    if (rt_node_is_null(node))
        rt_buf_add_c(&b->literal, "null");
    else if (plain_is(node, "true", "True", "TRUE"))
        rt_buf_add_c(&b->literal, "true");
    else if (plain_is(node, "false", "False", "FALSE"))
        rt_buf_add_c(&b->literal, "false");
    else if (rt_node_is_number(node))
        rt_buf_add_str(&b->literal, node->text);
    else
        compile_string(b, node);
}

static void compile_default(struct builder *b, const struct rt_node *node)
{
    if (node->kind != RT_NODE_LIST || node->count == 0) {
        fail(b, node, "`$default` is a list of values, the first that is there is taken");
        return;
    }
    size_t first = op_count(b) + 1;
    add_kind(b, OP_BEGIN);
    for (size_t i = 0; i < node->count; i++) {
        compile_value(b, node->items[i]);
        if (i + 1 < node->count)
            add_kind(b, OP_OTHERWISE);
    }
    add_kind(b, OP_END);
    if (!rt_buf_ok(&b->ops))
        return;
    /* Inner ones have their target already. */
    for (size_t i = first; i < op_count(b); i++) {
        if (op_at(b, i)->kind == OP_OTHERWISE && op_at(b, i)->jump == 0)
            op_at(b, i)->jump = (uint32_t)op_count(b) - 1;
    }
}

static void compile_binary(struct builder *b, const struct rt_node *node)
{
    struct rt_buf bytes = RT_BUF_INIT;
    if (node->kind != RT_NODE_SCALAR || rt_base64_decode(&bytes, node->text) != 0) {
        fail(b, node, "`$binary` is base64");
    } else {
        b->binary = true;
        add_op(b, (struct op){.kind = OP_BINARY, .bytes = rt_sio_keep(b->c, rt_buf_str(&bytes))});
    }
    rt_buf_deinit(&bytes);
}

static void compile_function(struct builder *b, const struct rt_node *map)
{
    static const char *const names[] = {"$json", "$parse", "$default", "$binary", NULL};
    const struct rt_node *key = map->keys[0], *value = map->items[0];
    if (rt_str_eq(key->text, RT_STR("$json"))) {
        add_kind(b, OP_BEGIN_TEXT);
        compile_value(b, value);
        add_kind(b, OP_QUOTE);
    } else if (rt_str_eq(key->text, RT_STR("$parse"))) {
        add_kind(b, OP_BEGIN_TEXT);
        compile_value(b, value);
        add_kind(b, OP_PARSE);
    } else if (rt_str_eq(key->text, RT_STR("$default"))) {
        compile_default(b, value);
    } else if (rt_str_eq(key->text, RT_STR("$binary"))) {
        compile_binary(b, value);
    } else {
        const char *near = rt_conf_suggest(key->text, names);
        char seen[64];
        b->bad = true;
        rt_conf_error(b->c->errors, &key->mark,
                      "unknown function %s%s%s%s; a variable stands alone ($1) or in a quoted "
                      "text (\"{$1}\"), a key that begins with $ is written $$",
                      rt_node_seen(key, seen), near ? ": did you mean " : "", near ? near : "",
                      near ? "?" : "");
    }
}

static void compile_map(struct builder *b, const struct rt_node *map)
{
    if (map->count == 1 && is_variable(map->keys[0]->text)) {
        compile_function(b, map);
        return;
    }
    rt_buf_add_byte(&b->literal, '{');
    for (size_t i = 0; i < map->count; i++) {
        if (is_variable(map->keys[i]->text))
            fail(b, map->keys[i],
                 "a function such as $json stands alone in its map; a key that "
                 "begins with $ is written $$");
        if (i)
            rt_buf_add_byte(&b->literal, ',');
        rt_json_add_string(&b->literal, unescaped(map->keys[i]->text));
        rt_buf_add_byte(&b->literal, ':');
        compile_value(b, map->items[i]);
    }
    rt_buf_add_byte(&b->literal, '}');
}

static void compile_list(struct builder *b, const struct rt_node *list)
{
    rt_buf_add_byte(&b->literal, '[');
    for (size_t i = 0; i < list->count; i++) {
        if (i)
            rt_buf_add_byte(&b->literal, ',');
        compile_value(b, list->items[i]);
    }
    rt_buf_add_byte(&b->literal, ']');
}

static void compile_value(struct builder *b, const struct rt_node *node)
{
    if (++b->depth > RT_NODE_MAX_DEPTH)
        fail(b, node, "nested too deeply");
    else if (node->kind == RT_NODE_MAP)
        compile_map(b, node);
    else if (node->kind == RT_NODE_LIST)
        compile_list(b, node);
    else
        compile_scalar(b, node);
    b->depth--;
}

static void compile_text(struct builder *b, const struct rt_node *node)
{
    if (node->kind != RT_NODE_SCALAR) {
        add_kind(b, OP_BEGIN_TEXT);
        compile_value(b, node);
        add_kind(b, OP_UNQUOTE);
    } else if (rt_node_is_null(node)) {
        fail(b, node, "a text is missing here");
    } else if (is_variable(node->text)) {
        add_variable(b, node, OP_TEXT, rt_str_of(node->text.ptr + 1, node->text.len - 1));
    } else {
        compile_parts(b, node, unescaped(node->text));
    }
}

static const struct rt_sio_template *finish(struct builder *b)
{
    end_literal(b);
    struct rt_sio_template *t = NULL;
    if (!rt_buf_ok(&b->ops) || !rt_buf_ok(&b->literal))
        b->c->nomem = true;
    else if (!b->bad && !b->c->nomem)
        t = rt_sio_alloc(b->c, 1, sizeof(*t) + b->ops.len);
    if (t) {
        t->count = (uint32_t)op_count(b);
        t->binary = b->binary;
        if (t->count)
            memcpy(t->ops, b->ops.data, b->ops.len);
    }
    rt_buf_deinit(&b->ops);
    rt_buf_deinit(&b->literal);
    return t;
}

const struct rt_sio_template *rt_sio_value_compile(struct rt_sio_compile *c,
                                                   const struct rt_node *node)
{
    struct builder b = {.c = c};
    compile_value(&b, node);
    return finish(&b);
}

const struct rt_sio_template *rt_sio_text_compile(struct rt_sio_compile *c,
                                                  const struct rt_node *node)
{
    struct builder b = {.c = c};
    compile_text(&b, node);
    return finish(&b);
}

/* ---- evaluating ---- */

void rt_sio_output_init(struct rt_sio_output *output, bool binary)
{
    output->binary = binary;
    output->overflow = false;
    output->count = 0;
    memset(output->number_of, 0, sizeof(output->number_of));
}

static void add_attachment(struct rt_sio_output *output, struct rt_str bytes, struct rt_buf *out)
{
    if (!output || output->count == RT_MAX_ATTACHMENTS) {
        if (output)
            output->overflow = true;
        rt_buf_add_c(out, "null");
        return;
    }
    rt_sio_placeholder_add(out, output->count);
    output->list[output->count++] = bytes;
}

/* A placeholder of the arguments: the same attachment keeps one number. */
static void add_numbered(struct rt_sio_output *output, const struct rt_sio_values *v, uint32_t num,
                         struct rt_buf *out)
{
    if (num >= v->attachment_count || num >= RT_MAX_ATTACHMENTS) {
        rt_buf_add_c(out, "null");
    } else if (output->number_of[num]) {
        rt_sio_placeholder_add(out, output->number_of[num] - 1u);
    } else {
        uint8_t before = output->count;
        add_attachment(output, v->attachments[num], out);
        if (output->count > before)
            output->number_of[num] = output->count;
    }
}

static void add_renumbered(struct rt_sio_output *output, struct rt_sio_values *v,
                           struct rt_str value, struct rt_buf *out)
{
    rt_buf_clear(v->scratch);
    rt_json_add_compact(v->scratch, value);
    if (!rt_buf_ok(v->scratch)) {
        out->failed = true;
        return;
    }
    struct rt_str text = rt_buf_str(v->scratch);
    size_t from = 0, pos = 0, start = out->len;
    struct rt_sio_placeholder found;
    int r;
    while ((r = rt_sio_placeholder_next(text, &pos, &found)) == 1) {
        rt_buf_add(out, text.ptr + from, found.start - from);
        add_numbered(output, v, found.num, out);
        from = found.end;
    }
    if (r == 0) {
        rt_buf_add(out, text.ptr + from, text.len - from);
    } else if (rt_buf_ok(out)) {
        out->len = start;
        rt_buf_add_c(out, "null");
    }
}

void rt_sio_output_add(struct rt_sio_output *output, struct rt_sio_values *v, bool is_arg,
                       struct rt_str value, struct rt_buf *out)
{
    bool attached = is_arg && v->attachment_count > 0;
    if (output && output->binary && attached) {
        add_renumbered(output, v, value, out);
        return;
    }
    size_t start = out->len;
    rt_json_add_compact(out, value);
    if (attached || (output && output->binary))
        rt_sio_placeholder_remove(out, start);
}

struct machine {
    struct rt_sio_values *v;
    struct rt_sio_output *output;
    struct rt_buf *out;
    size_t places[MAX_PLACES];
    unsigned depth;
    unsigned texts; /* parts around us that become text */
};

static struct rt_sio_output *output_of(struct machine *m)
{
    return m->texts ? NULL : m->output;
}

/* Takes the text from `start` out of the buffer, into the scratch buffer. */
static struct rt_str take_tail(struct machine *m, size_t start)
{
    struct rt_buf *scratch = m->v->scratch;
    rt_buf_clear(scratch);
    rt_buf_add(scratch, m->out->data + start, m->out->len - start);
    m->out->len = start;
    m->out->failed |= scratch->failed;
    return rt_buf_str(scratch);
}

static void quote(struct machine *m, size_t start)
{
    if (!rt_buf_ok(m->out))
        return;
    struct rt_str text = m->out->len > start ? take_tail(m, start) : RT_STR("");
    rt_json_add_string(m->out, text);
}

static void unquote(struct machine *m, size_t start)
{
    if (!rt_buf_ok(m->out) || m->out->len == start || m->out->data[start] != '"')
        return;
    rt_json_unescape(m->out, take_tail(m, start));
}

static void parse(struct machine *m, size_t start)
{
    unquote(m, start);
    if (!rt_buf_ok(m->out) || m->out->len == start)
        rt_buf_add_c(m->out, "null");
    if (!rt_buf_ok(m->out))
        return;
    struct rt_str text = take_tail(m, start), value;
    if (!rt_buf_ok(m->out))
        return;
    if (rt_json_check(text, RT_JSON_PAYLOAD, &value, NULL) == 0)
        rt_json_add_compact(m->out, value);
    else
        rt_buf_add_c(m->out, "null");
    if (output_of(m) && m->output->binary)
        rt_sio_placeholder_remove(m->out, start);
}

/* Was a string parsed at all? Any other JSON yields null. */
static void parse_string(struct machine *m, size_t start)
{
    if (rt_buf_ok(m->out) && m->out->len > start && m->out->data[start] != '"') {
        m->out->len = start;
        rt_buf_add_c(m->out, "null");
        return;
    }
    parse(m, start);
}

static bool add_args(struct machine *m)
{
    struct rt_json_iter it = rt_json_iter(m->v->array);
    bool first = true;
    rt_buf_add_byte(m->out, '[');
    for (uint32_t i = 0; rt_json_next(&it); i++) {
        if (i < m->v->skip)
            continue;
        if (!first)
            rt_buf_add_byte(m->out, ',');
        first = false;
        rt_sio_output_add(output_of(m), m->v, true, it.value, m->out);
    }
    rt_buf_add_byte(m->out, ']');
    return true;
}

/* False: the variable is missing, nothing was added. */
static bool add_json(struct machine *m, const struct rt_sio_ref *ref)
{
    size_t start = m->out->len;
    switch (rt_sio_ref_kind(ref)) {
    case RT_SIO_RAW: {
        struct rt_str value = rt_sio_ref_raw(ref, m->v);
        if (value.len)
            rt_sio_output_add(output_of(m), m->v, rt_sio_ref_is_arg(ref), value, m->out);
        return value.len > 0;
    }
    case RT_SIO_TEXT:
        if (!rt_sio_ref_text(ref, m->v, m->out))
            return false;
        quote(m, start);
        return true;
    case RT_SIO_BUILT:
        break;
    }
    if (ref->var == RT_SIO_VAR_ARGS)
        return add_args(m);
    if (!rt_sio_ref_build(ref, m->v, m->out))
        return false;
    if (output_of(m) && m->output->binary)
        rt_sio_placeholder_remove(m->out, start);
    return true;
}

static void add_text(struct machine *m, const struct rt_sio_ref *ref)
{
    if (rt_sio_ref_kind(ref) == RT_SIO_TEXT) {
        (void)rt_sio_ref_text(ref, m->v, m->out);
        return;
    }
    struct rt_str raw =
        rt_sio_ref_kind(ref) == RT_SIO_RAW ? rt_sio_ref_raw(ref, m->v) : RT_STR_NONE;
    if (rt_json_kind(raw) == RT_JSON_STRING) {
        rt_json_unescape(m->out, raw);
        return;
    }
    size_t start = m->out->len;
    m->texts++;
    if (add_json(m, ref))
        unquote(m, start);
    m->texts--;
}

/* True: the alternative is there. */
static bool settled(struct machine *m, size_t start)
{
    if (!rt_buf_ok(m->out))
        return true;
    if (m->out->len - start != 4 || memcmp(m->out->data + start, "null", 4) != 0)
        return true;
    m->out->len = start;
    return false;
}

static void run_op(struct machine *m, const struct op *op)
{
    switch ((enum op_kind)op->kind) {
    case OP_LITERAL:
        rt_buf_add_str(m->out, op->bytes);
        break;
    case OP_VALUE:
        if (!add_json(m, &op->ref))
            rt_buf_add_c(m->out, "null");
        break;
    case OP_TEXT:
        add_text(m, &op->ref);
        break;
    case OP_BINARY:
        add_attachment(output_of(m), op->bytes, m->out);
        break;
    case OP_BEGIN_TEXT:
        m->texts++;
        m->places[m->depth++] = m->out->len;
        break;
    case OP_BEGIN:
        m->places[m->depth++] = m->out->len;
        break;
    case OP_QUOTE:
        quote(m, m->places[--m->depth]);
        m->texts--;
        break;
    case OP_UNQUOTE:
        unquote(m, m->places[--m->depth]);
        m->texts--;
        break;
    case OP_PARSE:
        m->texts--;
        parse_string(m, m->places[--m->depth]);
        break;
    case OP_OTHERWISE:
        break;
    case OP_END:
        m->depth--;
        break;
    }
}

void rt_sio_template_eval(const struct rt_sio_template *t, struct rt_sio_values *v,
                          struct rt_sio_output *output, struct rt_buf *out)
{
    struct machine m = {.v = v, .output = output, .out = out};
    for (uint32_t i = 0; i < t->count && rt_buf_ok(out); i++) {
        const struct op *op = &t->ops[i];
        if (op->kind != OP_OTHERWISE)
            run_op(&m, op);
        else if (settled(&m, m.places[m.depth - 1]))
            i = op->jump - 1;
    }
}

bool rt_sio_template_binary(const struct rt_sio_template *t)
{
    return t->binary;
}

bool rt_sio_template_constant(const struct rt_sio_template *t, struct rt_str *ret_result)
{
    if (t->count > 1 || (t->count == 1 && t->ops[0].kind != OP_LITERAL))
        return false;
    *ret_result = t->count ? t->ops[0].bytes : RT_STR("");
    return true;
}

/* The value of a variable: where it stands, or made in `buf`. False: missing. */
static bool find_value(const struct rt_sio_ref *ref, struct rt_sio_values *v, struct rt_buf *buf,
                       struct rt_str *ret_json)
{
    if (rt_sio_ref_kind(ref) == RT_SIO_RAW) {
        *ret_json = rt_sio_ref_raw(ref, v);
        return ret_json->len > 0;
    }
    struct machine m = {.v = v, .out = buf};
    rt_buf_clear(buf);
    bool there = add_json(&m, ref);
    *ret_json = rt_buf_str(buf);
    return there && rt_buf_ok(buf);
}

int rt_sio_template_operand(const struct rt_sio_template *t, struct rt_sio_values *v,
                            struct rt_buf *buf, struct rt_sio_operand *ret_operand)
{
    struct rt_sio_operand o = {.missing = false};
    rt_buf_clear(buf);
    if (t->count == 1 && t->ops[0].kind == OP_VALUE) {
        const struct rt_sio_ref *ref = &t->ops[0].ref;
        uint32_t num;
        o.missing = !find_value(ref, v, buf, &o.json);
        if (v->attachment_count && rt_sio_ref_is_arg(ref) && !o.missing &&
            rt_sio_placeholder_is(o.json, &num) && num < v->attachment_count) {
            o.binary = true;
            o.bytes = v->attachments[num];
        }
    } else if (!rt_sio_template_constant(t, &o.json)) {
        rt_sio_template_eval(t, v, NULL, buf);
        o.json = rt_buf_str(buf);
    }
    if (!rt_buf_ok(buf))
        return RT_ENOMEM;
    if (o.missing)
        o.json = RT_STR("null");
    *ret_operand = o;
    return 0;
}

bool rt_sio_template_variable(const struct rt_sio_template *t, struct rt_sio_values *v,
                              struct rt_buf *buf, struct rt_str *ret_json)
{
    if (t->count != 1 || t->ops[0].kind != OP_TEXT ||
        rt_sio_ref_kind(&t->ops[0].ref) == RT_SIO_TEXT)
        return false;
    return find_value(&t->ops[0].ref, v, buf, ret_json);
}
