/* The option table: every option of rtbroker, once. Parsing, environment names, the sample file, the reference page and the dump are
 * made from it; options.c holds the rows. To add an option, add a field to config.h and a row there. Thread: any, constant. */
#ifndef RT_CONF_OPTION_H
#define RT_CONF_OPTION_H

#include "conf/arena.h"
#include "conf/config.h"

enum rt_option_type {
    RT_OPT_BOOL,     /* bool */
    RT_OPT_INT,      /* uint32_t, min..max */
    RT_OPT_DURATION, /* uint64_t, ms, min..max */
    RT_OPT_SIZE,     /* uint64_t, bytes, min..max */
    RT_OPT_RATE,     /* uint64_t, events an hour, min..max */
    RT_OPT_STRING,   /* const char *; min: least length in bytes */
    RT_OPT_ENUM,     /* an int-sized enum: one of `choices` */
    RT_OPT_STRINGS,  /* struct rt_strings */
    RT_OPT_PAIRS,    /* struct rt_strings of "name=value", written as a map */
    RT_OPT_SET,      /* some of `choices`: each value is the offset (from `offset`) of a bool */
    RT_OPT_SECTIONS, /* pointer to an array of items, size_t count at `count_offset`; rows in `items` */
    RT_OPT_TREE,     /* const struct rt_node *: a list that another module compiles */
    RT_OPT_ABSENT, /* designed, not in this build: only a neutral value (or `def`) is accepted */
};

struct rt_choice {
    const char *name; /* NULL ends the list */
    uint64_t value;
    bool absent; /* designed, not in this build */
};

struct rt_option_table;

struct rt_option {
    const char *path; /* within its table, sections by dots */
    const char *doc;  /* one or more sentences, Markdown's `code` only */
    const char
        *def; /* as written on one line of YAML without brackets; lists with commas; NULL: empty */
    enum rt_option_type type;
    bool secret; /* never shown; has a twin PATH_file that names a file with the value */
    uint64_t min, max;
    size_t offset, count_offset;
    const struct rt_choice *choices;
    const struct rt_option_table *items;
};

struct rt_section {
    const char *path;
    const char *doc;
};

struct rt_option_table {
    const struct rt_option *options;
    size_t count;
    size_t item_size;                  /* of the struct that `offset` is in */
    const struct rt_section *sections; /* ended by a NULL path; their order is that of the pages */
    const char *example; /* of one list, YAML lines without indentation; NULL for the root */
};

/* The root table. */
const struct rt_option_table *rt_options(void);

/* NULL: no such option. `*ret_is_file` (may be NULL) becomes true when `path` names the _file twin of the returned secret. */
const struct rt_option *rt_option_find(const struct rt_option_table *table, struct rt_str path,
                                       bool *ret_is_file);
/* Is there an option below `path`? */
bool rt_option_is_section(const struct rt_option_table *table, struct rt_str path);
/* The names directly below `section` ("" the top), NULL-terminated, in the arena; with `absent` also those that this build lacks.
 * NULL: out of memory. */
const char *const *rt_option_names(struct rt_arena *arena, const struct rt_option_table *table,
                                   struct rt_str section, bool absent);
/* Is this a setting of librdkafka (RT_OPT_PAIRS) that nobody else should read? */
bool rt_option_secret_name(struct rt_str name);
/* "RTBROKER_HTTP_LISTEN" */
void rt_option_env_name(const struct rt_option *option, struct rt_buf *out);
/* For people: "a duration (like 250ms, 5s, 10m, 1h, 30d) from 1ms to 1h"; `brief`, on pages that explain the notation: "duration, 1ms to
 * 1h". */
void rt_option_allowed(const struct rt_option *option, bool brief, struct rt_buf *out);
/* The default as one line of YAML: `["127.0.0.1:8000"]`, `10s`, `""`. */
void rt_option_default(const struct rt_option *option, struct rt_buf *out);

#endif
