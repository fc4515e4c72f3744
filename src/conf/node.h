/* A configuration file as a tree: scalars, lists and maps, each with its place, so that every later error can say file:line:column.
 *
 * Built by yaml.c (libyaml; JSON is read as the YAML that it is) from a file, or by rt_node_parse() from a `--set` value or an environment
 * variable. Anchors, aliases, tags, duplicate keys and a second document are errors. `${VAR}`, `${VAR:-default}` in scalars are already
 * replaced (`$${` is a literal `${`); a missing VAR is an error.
 * Ownership: the tree is freed as a whole by rt_node_free(root). Thread: the main thread at start; read-only afterwards. */
#ifndef RT_CONF_NODE_H
#define RT_CONF_NODE_H

#include "base/buf.h"
#include "base/err.h"

enum rt_node_kind { RT_NODE_SCALAR, RT_NODE_LIST, RT_NODE_MAP };

struct rt_mark {
    /* File name, "environment RTBROKER_X", "--set x"; NULL: no place. Lives as long as the tree (or the errors). */
    const char *source;
    uint32_t line;   /* from 1; 0: the source has no lines */
    uint32_t column; /* from 1; 0: the source has no columns */
};

#define RT_NODE_MAX_BYTES 1048576u /* of a text, and of all `${VAR}` values put into it */
#define RT_NODE_MAX_DEPTH 32u
#define RT_NODE_MAX_COUNT 100000u

struct rt_node {
    enum rt_node_kind kind;
    struct rt_mark mark;
    struct rt_str text;     /* scalar: the value, NUL-terminated as well */
    bool quoted;            /* scalar was written in quotes (or as a block): always a string */
    bool expanded;          /* scalar holds the value of a variable */
    struct rt_node **items; /* list: items; map: values */
    struct rt_node **keys;  /* map: scalars, same order as items */
    size_t count;
};

struct rt_conf_errors;

/* Parses YAML or JSON. `source` is copied into the marks; `environ_` is what `${VAR}` reads (NULL: nothing is set, but for
 * HOSTNAME, which falls back to the system's name). A text without a document is an empty map. RT_EINVAL: `errors` (not NULL)
 * got every error found. */
int rt_node_parse(struct rt_str text, const char *source, char *const *environ_,
                  struct rt_node **ret_root, struct rt_conf_errors *errors);
/* Only what rt_node_parse() returned; NULL is fine. */
void rt_node_free(struct rt_node *root);
/* The value under `key`, NULL when absent or when `map` is no map. */
const struct rt_node *rt_node_get(const struct rt_node *map, const char *key);

/* Scalars by YAML's core schema; quoted ones are strings only. All return false when the node is something else. */
bool rt_node_is_null(const struct rt_node *n);
bool rt_node_bool(const struct rt_node *n, bool *ret_value); /* true false, yes no, on off */
bool rt_node_i64(const struct rt_node *n, int64_t *ret_value);
bool rt_node_is_number(
    const struct rt_node *n); /* a JSON number, so that its text may be copied into JSON */
const char *rt_node_kind_name(
    const struct rt_node *n); /* "a string", "a number", "a list", ... for messages */

/* Errors are collected, so that all are shown at once. Starts as {0}. */
#define RT_CONF_ERRORS_MAX 200u /* more are counted, not kept */
struct rt_conf_error {
    struct rt_mark mark; /* its source is a copy that the list owns */
    char text[320];      /* what is wrong, the value seen, what is allowed; without the place */
};

struct rt_conf_errors {
    struct rt_conf_error *items;
    size_t count;
    size_t cap;
    size_t dropped; /* errors past RT_CONF_ERRORS_MAX */
    bool nomem;     /* an error could not be stored */
    char **sources; /* internal: what the marks point to */
    size_t source_count;
};

/* Adds one error (printf style). Never fails visibly. `mark` may be NULL: no place. */
void rt_conf_error(struct rt_conf_errors *errors, const struct rt_mark *mark, const char *format,
                   ...) __attribute__((format(printf, 3, 4)));
/* Orders by place: the file by line and column, then other sources in the order of their first error. */
void rt_conf_errors_sort(struct rt_conf_errors *errors);
/* Appends "file:line:column: text", "--set x: text" or the bare text, and a line feed, for each error; and how many were dropped. */
void rt_conf_errors_write(const struct rt_conf_errors *errors, struct rt_buf *out);
void rt_conf_errors_deinit(struct rt_conf_errors *errors);
/* Quotes a scalar or names the kind of anything else, cut to a readable length: for "value seen". */
const char *rt_node_seen(const struct rt_node *n, char out[64]);
/* The nearest of `names` (NULL-terminated list) to `word` within a small edit distance, or NULL. */
const char *rt_conf_suggest(struct rt_str word, const char *const *names);

#endif
