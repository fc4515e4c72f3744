#include "conf/yaml.h"

#include "base/map.h"
#include "conf/expand.h"
#include "conf/tree.h"

#include <yaml.h>

#include <stdio.h>

struct reader {
    yaml_parser_t parser;
    const struct rt_yaml_input *input;
    struct rt_str prepared; /* what libyaml reads: variables moved out of the way */
    const char *source;
    size_t nodes;
    size_t expanded; /* bytes of scalars with variables */
};

static struct rt_mark mark_at(const struct reader *r, size_t line, size_t column)
{
    struct rt_mark mark = {.source = r->source, .line = 0, .column = (uint32_t)column + 1};
    if (r->input->lines)
        mark.line = (uint32_t)line + 1;
    return mark;
}

static struct rt_mark mark_of(const struct reader *r, const yaml_mark_t *m)
{
    return mark_at(r, m->line, m->column);
}

/* Line and column of a byte of `text`, both from 0. */
static void locate(struct rt_str text, size_t at, size_t *ret_line, size_t *ret_column)
{
    *ret_line = *ret_column = 0;
    for (size_t i = 0; i < at && i < text.len; i++) {
        if (text.ptr[i] == '\n') {
            (*ret_line)++;
            *ret_column = 0;
        } else if (((unsigned char)text.ptr[i] & 0xc0u) != 0x80u) {
            (*ret_column)++;
        }
    }
}

static struct rt_str line_of(struct rt_str text, size_t line)
{
    struct rt_str rest = text;
    while (line-- > 0)
        rt_str_split(rest, '\n', &rest);
    return rt_str_split(rest, '\n', &rest);
}

/* ---- hints: what people write most often that is no YAML ---- */

static bool is_in(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* Finds, outside quotes, the first character of `line` for which `test` holds. */
static bool any_unquoted(struct rt_str line, bool (*test)(struct rt_str line, size_t i))
{
    char quote = '\0';
    for (size_t i = 0; i < line.len; i++) {
        char c = line.ptr[i];
        if (quote != '\0') {
            quote = c == quote ? '\0' : quote;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '#' && (i == 0 || line.ptr[i - 1] == ' ')) {
            return false;
        } else if (test(line, i)) {
            return true;
        }
    }
    return false;
}

static bool is_bare_ipv6(struct rt_str line, size_t i)
{
    return line.ptr[i] == ':' && i + 1 < line.len && line.ptr[i + 1] == ':';
}

static bool is_value_start(struct rt_str line, size_t i)
{
    return i > 0 && is_in(line.ptr[i - 1], " [{,:");
}

static bool is_bare_star(struct rt_str line, size_t i)
{
    return is_in(line.ptr[i], "*&!") && is_value_start(line, i);
}

static bool is_bare_brace(struct rt_str line, size_t i)
{
    return line.ptr[i] == '{' && i > 0 && !is_value_start(line, i);
}

static bool is_bare_special(struct rt_str line, size_t i)
{
    return is_in(line.ptr[i], "@`%") && is_value_start(line, i);
}

static bool is_tab(struct rt_str line, size_t i)
{
    return line.ptr[i] == '\t';
}

static const char *hint_for(struct rt_str line)
{
    if (any_unquoted(line, is_bare_ipv6))
        return "; hint: inside [...] an IPv6 address must be quoted, as in [\"::1\"] or "
               "[\"[::1]:8000\"]";
    if (any_unquoted(line, is_bare_star))
        return "; hint: text that begins with * & or ! must be quoted, as in \"*\"";
    if (any_unquoted(line, is_bare_brace))
        return "; hint: text that holds { or } must be quoted, as in \"/raw/{channel}\"";
    if (any_unquoted(line, is_bare_special))
        return "; hint: text that begins with @, ` or % must be quoted";
    if (any_unquoted(line, is_tab))
        return "; hint: indent with spaces, not with tabs";
    return "";
}

/* What libyaml says about the text. */
static int report_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return RT_ENOMEM;
    size_t line = p->problem_mark.line, column = p->problem_mark.column;
    if (p->error == YAML_READER_ERROR) {
        locate(r->prepared, p->problem_offset, &line, &column);
        struct rt_mark mark = mark_at(r, line, column);
        rt_conf_error(r->input->errors, &mark, "not valid text: %s (0x%x)", p->problem,
                      (unsigned)p->problem_value);
        return RT_EINVAL;
    }
    struct rt_mark mark = mark_at(r, line, column);
    const char *hint = hint_for(line_of(r->prepared, line));
    /* What was left open stands on an earlier line. */
    if (*hint == '\0' && p->context != NULL)
        hint = hint_for(line_of(r->prepared, p->context_mark.line));
    char context[120] = "";
    if (p->context != NULL && p->context_mark.line != line && r->input->lines)
        snprintf(context, sizeof(context), " %s that begins on line %zu", p->context,
                 p->context_mark.line + 1);
    else if (p->context != NULL)
        snprintf(context, sizeof(context), " %s", p->context);
    rt_conf_error(r->input->errors, &mark, "not valid YAML: %s%s%s",
                  p->problem != NULL ? p->problem : "unreadable", context, hint);
    return RT_EINVAL;
}

/* The next event, which the caller deletes. */
static int next(struct reader *r, yaml_event_t *event)
{
    return yaml_parser_parse(&r->parser, event) ? 0 : report_syntax(r);
}

/* ---- nodes ---- */

static void refuse_extras(struct reader *r, const struct rt_mark *mark, const yaml_char_t *anchor,
                          const yaml_char_t *tag)
{
    if (anchor != NULL)
        rt_conf_error(
            r->input->errors, mark,
            "anchor &%.40s: anchors and aliases are not supported; text that begins with & "
            "must be quoted",
            (const char *)anchor);
    if (tag != NULL)
        rt_conf_error(r->input->errors, mark,
                      "tag %.40s: tags are not supported; text that begins with ! must be quoted",
                      (const char *)tag);
}

/* The text of a scalar, NUL-terminated in the arena. Problems are recorded; what is left then is the text as far as it goes. */
static int read_text(struct reader *r, struct rt_node *node, struct rt_str text, bool key)
{
    struct rt_buf buf = RT_BUF_INIT;
    struct rt_err why;
    int err = 0;
    if (key)
        rt_expand_restore(text, &buf);
    else
        err = rt_expand(text, r->input->environ_, RT_NODE_MAX_BYTES - r->expanded, &buf,
                        &node->expanded, &why);
    if (!rt_buf_ok(&buf))
        err = RT_ENOMEM;
    if (err == RT_EINVAL || err == RT_ERANGE) {
        rt_conf_error(r->input->errors, &node->mark, "%s", why.text);
        node->quoted = true; /* the text stands for itself: no second error about its type */
        err = 0;
    }
    if (node->expanded) {
        r->expanded +=
            buf.len < RT_NODE_MAX_BYTES - r->expanded ? buf.len : RT_NODE_MAX_BYTES - r->expanded;
        /* An empty variable is an empty text, not "nothing set". */
        node->quoted = node->quoted || buf.len == 0;
    }
    if (buf.len > 0 && memchr(buf.data, '\0', buf.len) != NULL)
        rt_conf_error(r->input->errors, &node->mark, "a NUL character (\\0) is not allowed");
    char *copy = err == 0 ? rt_arena_copy(r->input->arena, rt_buf_str(&buf)) : NULL;
    node->text = rt_str_of(copy, buf.len);
    rt_buf_deinit(&buf);
    return copy == NULL ? RT_ENOMEM : 0;
}

static int new_node(struct reader *r, const yaml_mark_t *at, enum rt_node_kind kind,
                    struct rt_node **ret_node)
{
    struct rt_mark mark = mark_of(r, at);
    if (++r->nodes > RT_NODE_MAX_COUNT) {
        rt_conf_error(r->input->errors, &mark, "more than %u values, keys and lists",
                      RT_NODE_MAX_COUNT);
        return RT_EINVAL;
    }
    *ret_node = rt_tree_new(r->input->arena, &mark, kind);
    return *ret_node == NULL ? RT_ENOMEM : 0;
}

static int read_scalar(struct reader *r, const yaml_event_t *event, bool key,
                       struct rt_node **ret_node)
{
    struct rt_node *node;
    int err = new_node(r, &event->start_mark, RT_NODE_SCALAR, &node);
    if (err != 0)
        return err;
    refuse_extras(r, &node->mark, event->data.scalar.anchor, event->data.scalar.tag);
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    struct rt_str text = rt_str_of(event->data.scalar.value, event->data.scalar.length);
    *ret_node = node;
    return read_text(r, node, text, key);
}

/* An alias has no value of its own: nothing stands in for it. */
static int read_alias(struct reader *r, const yaml_event_t *event, struct rt_node **ret_node)
{
    int err = new_node(r, &event->start_mark, RT_NODE_SCALAR, ret_node);
    if (err != 0)
        return err;
    (*ret_node)->text = RT_STR("");
    rt_conf_error(r->input->errors, &(*ret_node)->mark,
                  "alias *%.40s: anchors and aliases are not supported; text that begins with * "
                  "must be quoted, as in \"*%.40s\"",
                  (const char *)event->data.alias.anchor, (const char *)event->data.alias.anchor);
    return 0;
}

static struct rt_str key_of(const void *value)
{
    return ((const struct rt_node *)value)->text;
}

/* Duplicate keys of one map; a hash map, since a hostile file may have 50,000 of them. */
static int check_keys(struct reader *r, const struct rt_node *map)
{
    struct rt_map seen;
    int err = 0;
    rt_map_init(&seen, key_of);
    for (size_t i = 0; i < map->count && err == 0; i++) {
        struct rt_node *key = map->keys[i];
        const struct rt_node *first = rt_map_get(&seen, key->text);
        if (first == NULL) {
            err = rt_map_put(&seen, key);
            continue;
        }
        char text[64];
        if (first->mark.line > 0)
            rt_conf_error(r->input->errors, &key->mark,
                          "key %s stands here a second time, first on line %u",
                          rt_node_seen(key, text), (unsigned)first->mark.line);
        else
            rt_conf_error(r->input->errors, &key->mark, "key %s stands here a second time",
                          rt_node_seen(key, text));
    }
    rt_map_deinit(&seen);
    return err;
}

static int read_node(struct reader *r, const yaml_event_t *event, unsigned depth,
                     struct rt_node **ret_node);

static int read_key(struct reader *r, const yaml_event_t *event, struct rt_node **ret_key)
{
    if (event->type == YAML_SCALAR_EVENT)
        return read_scalar(r, event, true, ret_key);
    struct rt_mark mark = mark_of(r, &event->start_mark);
    rt_conf_error(r->input->errors, &mark, "a key must be text%s",
                  hint_for(line_of(r->prepared, event->start_mark.line)));
    return RT_EINVAL;
}

/* One item of a list, or key and value of a map; `first` is the item or the key. */
static int read_member(struct reader *r, struct rt_node *parent, const yaml_event_t *first,
                       unsigned depth)
{
    struct rt_node *item, *key = NULL;
    if (parent->kind == RT_NODE_LIST) {
        int err = read_node(r, first, depth, &item);
        return err != 0 ? err : rt_tree_add(r->input->arena, parent, NULL, item);
    }
    yaml_event_t value;
    int err = read_key(r, first, &key);
    if (err == 0)
        err = next(r, &value);
    if (err != 0)
        return err;
    err = read_node(r, &value, depth, &item);
    yaml_event_delete(&value);
    return err != 0 ? err : rt_tree_add(r->input->arena, parent, key, item);
}

static int read_members(struct reader *r, struct rt_node *parent, unsigned depth)
{
    yaml_event_type_t end =
        parent->kind == RT_NODE_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (;;) {
        yaml_event_t event;
        int err = next(r, &event);
        if (err != 0)
            return err;
        bool done = event.type == end;
        if (!done)
            err = read_member(r, parent, &event, depth);
        yaml_event_delete(&event);
        if (done || err != 0)
            return err;
    }
}

static int read_collection(struct reader *r, const yaml_event_t *event, unsigned depth,
                           struct rt_node **ret_node)
{
    bool map = event->type == YAML_MAPPING_START_EVENT;
    struct rt_node *node;
    int err = new_node(r, &event->start_mark, map ? RT_NODE_MAP : RT_NODE_LIST, &node);
    if (err != 0)
        return err;
    if (depth >= RT_NODE_MAX_DEPTH) {
        rt_conf_error(r->input->errors, &node->mark, "nested deeper than %u levels",
                      RT_NODE_MAX_DEPTH);
        return RT_EINVAL;
    }
    if (map)
        refuse_extras(r, &node->mark, event->data.mapping_start.anchor,
                      event->data.mapping_start.tag);
    else
        refuse_extras(r, &node->mark, event->data.sequence_start.anchor,
                      event->data.sequence_start.tag);
    *ret_node = node;
    err = read_members(r, node, depth + 1);
    return err == 0 && map ? check_keys(r, node) : err;
}

static int read_node(struct reader *r, const yaml_event_t *event, unsigned depth,
                     struct rt_node **ret_node)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r, event, false, ret_node);
    case YAML_ALIAS_EVENT:
        return read_alias(r, event, ret_node);
    default:
        return read_collection(r, event, depth, ret_node);
    }
}

/* ---- the stream ---- */

static int refuse_directives(struct reader *r, const yaml_event_t *event)
{
    if (event->data.document_start.version_directive == NULL &&
        event->data.document_start.tag_directives.start ==
            event->data.document_start.tag_directives.end)
        return 0;
    struct rt_mark mark = mark_of(r, &event->start_mark);
    rt_conf_error(r->input->errors, &mark, "directives (%%YAML, %%TAG) are not supported");
    return RT_EINVAL;
}

static int read_document(struct reader *r, struct rt_node **ret_root)
{
    yaml_event_t event;
    int err = next(r, &event);
    if (err != 0)
        return err;
    err = read_node(r, &event, 0, ret_root);
    yaml_event_delete(&event);
    if (err == 0)
        err = next(r, &event); /* the document's end */
    if (err == 0)
        yaml_event_delete(&event);
    return err;
}

/* No document at all, or one and the end of the stream. */
static int read_stream(struct reader *r, struct rt_node **ret_root)
{
    struct rt_node *root = NULL;
    for (;;) {
        yaml_event_t event;
        int err = next(r, &event);
        if (err != 0)
            return err;
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && root != NULL) {
            struct rt_mark mark = mark_of(r, &event.start_mark);
            rt_conf_error(r->input->errors, &mark,
                          "a second document begins here; only one is read");
            err = RT_EINVAL;
        } else if (type == YAML_DOCUMENT_START_EVENT) {
            err = refuse_directives(r, &event);
        }
        yaml_event_delete(&event);
        if (err == 0 && type == YAML_DOCUMENT_START_EVENT)
            err = read_document(r, &root);
        if (err != 0)
            return err;
        if (type == YAML_STREAM_END_EVENT)
            break;
    }
    const yaml_mark_t start = {0, 0, 0};
    *ret_root = root;
    return root == NULL ? new_node(r, &start, RT_NODE_MAP, ret_root) : 0;
}

/* libyaml would guess UTF-16 from other marks; this one means nothing. */
static struct rt_str without_bom(struct rt_str text)
{
    struct rt_str bom = RT_STR("\xef\xbb\xbf");
    return rt_str_starts(text, bom) ? rt_str_of(text.ptr + bom.len, text.len - bom.len) : text;
}

static int prepare(struct reader *r, struct rt_buf *buf)
{
    struct rt_str text = without_bom(r->input->text);
    struct rt_mark mark = mark_at(r, 0, 0);
    if (text.len > RT_NODE_MAX_BYTES) {
        rt_conf_error(r->input->errors, &mark, "longer than %u bytes", RT_NODE_MAX_BYTES);
        return RT_EINVAL;
    }
    size_t at = 0, line, column;
    int err = rt_expand_prepare(text, buf, &at);
    if (err == RT_EINVAL) {
        locate(text, at, &line, &column);
        mark = mark_at(r, line, column);
        rt_conf_error(r->input->errors, &mark,
                      "the private characters U+10F400 to U+10F47F are not allowed");
    }
    r->prepared = buf->len > 0 ? rt_buf_str(buf) : RT_STR("");
    return err;
}

int rt_yaml_read(const struct rt_yaml_input *input, struct rt_node **ret_root)
{
    struct reader r = {.input = input};
    struct rt_buf buf = RT_BUF_INIT;
    r.source = rt_arena_copy(input->arena, rt_str_c(input->source));
    int err = r.source == NULL ? RT_ENOMEM : prepare(&r, &buf);
    if (err == 0 && !yaml_parser_initialize(&r.parser))
        err = RT_ENOMEM;
    if (err == 0) {
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.prepared.ptr,
                                     r.prepared.len);
        err = read_stream(&r, ret_root);
        yaml_parser_delete(&r.parser);
    }
    rt_buf_deinit(&buf);
    return err;
}
