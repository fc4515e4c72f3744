#include "conf/node.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>

/* The list's own copy of a source's name: a failed load frees the tree, its errors stay. */
static const char *keep_source(struct rt_conf_errors *errors, const char *source)
{
    for (size_t i = 0; i < errors->source_count; i++) {
        if (strcmp(errors->sources[i], source) == 0)
            return errors->sources[i];
    }
    char **sources =
        rt_reallocarray(errors->sources, errors->source_count + 1, sizeof(*errors->sources));
    if (sources == NULL)
        return NULL;
    errors->sources = sources;
    char *copy = rt_strdup(source);
    if (copy != NULL)
        errors->sources[errors->source_count++] = copy;
    return copy;
}

static struct rt_conf_error *add(struct rt_conf_errors *errors)
{
    if (errors->count == errors->cap) {
        size_t cap = errors->cap == 0 ? 4 : errors->cap * 2;
        struct rt_conf_error *items = rt_reallocarray(errors->items, cap, sizeof(*items));
        if (items == NULL)
            return NULL;
        errors->items = items;
        errors->cap = cap;
    }
    return &errors->items[errors->count];
}

void rt_conf_error(struct rt_conf_errors *errors, const struct rt_mark *mark, const char *format,
                   ...)
{
    if (errors->count >= RT_CONF_ERRORS_MAX) {
        errors->dropped++;
        return;
    }
    struct rt_conf_error *error = add(errors);
    struct rt_mark own = {NULL, 0, 0};
    if (error != NULL && mark != NULL && mark->source != NULL) {
        own = *mark;
        own.source = keep_source(errors, mark->source);
    }
    if (error == NULL || (mark != NULL && mark->source != NULL && own.source == NULL)) {
        errors->nomem = true;
        return;
    }
    error->mark = own;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    errors->count++;
}

/* Files first, then other sources in the order of their first error, then what has no place. */
static size_t rank(const struct rt_conf_errors *errors, const struct rt_mark *mark)
{
    if (mark->source == NULL)
        return 2 * errors->source_count;
    size_t i = 0;
    while (i < errors->source_count && errors->sources[i] != mark->source)
        i++;
    return mark->line > 0 ? i : errors->source_count + i;
}

static bool stands_after(const struct rt_conf_errors *errors, const struct rt_mark *a,
                         const struct rt_mark *b)
{
    size_t rank_a = rank(errors, a), rank_b = rank(errors, b);
    if (rank_a != rank_b)
        return rank_a > rank_b;
    if (a->line != b->line)
        return a->line > b->line;
    return a->column > b->column;
}

void rt_conf_errors_sort(struct rt_conf_errors *errors)
{
    /* Insertion: stable, nearly sorted already, at most RT_CONF_ERRORS_MAX. */
    for (size_t i = 1; i < errors->count; i++) {
        struct rt_conf_error moving = errors->items[i];
        size_t to = i;
        while (to > 0 && stands_after(errors, &errors->items[to - 1].mark, &moving.mark)) {
            errors->items[to] = errors->items[to - 1];
            to--;
        }
        errors->items[to] = moving;
    }
}

void rt_conf_errors_write(const struct rt_conf_errors *errors, struct rt_buf *out)
{
    for (size_t i = 0; i < errors->count; i++) {
        const struct rt_mark *mark = &errors->items[i].mark;
        if (mark->source != NULL && mark->line > 0)
            rt_buf_printf(out, "%s:%u:%u: ", mark->source, (unsigned)mark->line,
                          (unsigned)mark->column);
        else if (mark->source != NULL && mark->column > 0)
            rt_buf_printf(out, "%s, character %u: ", mark->source, (unsigned)mark->column);
        else if (mark->source != NULL)
            rt_buf_printf(out, "%s: ", mark->source);
        rt_buf_add_c(out, errors->items[i].text);
        rt_buf_add_byte(out, '\n');
    }
    if (errors->dropped > 0)
        rt_buf_printf(out, "... and %zu more\n", errors->dropped);
}

void rt_conf_errors_deinit(struct rt_conf_errors *errors)
{
    for (size_t i = 0; i < errors->source_count; i++)
        rt_free(errors->sources[i]);
    rt_free(errors->sources);
    rt_free(errors->items);
    *errors = (struct rt_conf_errors){0};
}

enum { SUGGEST_MAX = 48 };

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, replace, swap of neighbours) that make one word of the other; case, '-' and '_' are equal. `limit` when there are as many or more: cells that are so far
 * off the diagonal are not looked at. */
static size_t distance(struct rt_str a, struct rt_str b, size_t limit)
{
    size_t rows[3][SUGGEST_MAX + 2];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b.len + 1; j++) {
        before[j] = row[j] = limit;
        last[j] = least(j, limit);
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t from = i >= limit ? i - limit + 1 : 1, to = least(b.len, i + limit - 1);
        row[from - 1] = from == 1 ? least(i, limit) : limit;
        for (size_t j = from; j <= to; j++) {
            bool same = fold(a.ptr[i - 1]) == fold(b.ptr[j - 1]);
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && fold(a.ptr[i - 1]) == fold(b.ptr[j - 2]) &&
                fold(a.ptr[i - 2]) == fold(b.ptr[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        row[to + 1] = limit;
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return least(last[b.len], limit);
}

const char *rt_conf_suggest(struct rt_str word, const char *const *names)
{
    if (word.len == 0 || word.len > SUGGEST_MAX)
        return NULL;
    const char *best = NULL;
    size_t best_distance = word.len <= 3 ? 1 : word.len <= 6 ? 2 : 3;
    best_distance++;
    for (; *names != NULL; names++) {
        struct rt_str name = rt_str_c(*names);
        size_t longer = name.len > word.len ? name.len - word.len : word.len - name.len;
        if (name.len > SUGGEST_MAX || longer >= best_distance)
            continue;
        size_t d = distance(word, name, best_distance);
        /* A short name is not suggested for a word that shares next to nothing with it. */
        if (d < best_distance && d < name.len) {
            best = *names;
            best_distance = d;
        }
    }
    return best;
}
