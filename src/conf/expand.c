#include "conf/expand.h"

#include "base/utf8.h"

#include <unistd.h>

/* U+10F400 to U+10F47F, private use: F4 8F 90 80 to F4 8F 91 BF. */
static const unsigned char lead[2] = {0xf4, 0x8f};
enum { MOVED_LEN = 4, NAME_CAP = 128 };

static void move(unsigned char c, struct rt_buf *out)
{
    if (c >= 0x80) {
        rt_buf_add_byte(out, c);
        return;
    }
    rt_buf_add(out, lead, sizeof(lead));
    rt_buf_add_byte(out, c < 0x40 ? 0x90 : 0x91);
    rt_buf_add_byte(out, (uint8_t)(0x80u | (c & 0x3fu)));
}

/* Does a moved character start at text[i]? */
static bool is_moved(struct rt_str text, size_t i, unsigned char *ret_c)
{
    if (text.len - i < MOVED_LEN || memcmp(text.ptr + i, lead, sizeof(lead)) != 0)
        return false;
    unsigned char third = (unsigned char)text.ptr[i + 2], last = (unsigned char)text.ptr[i + 3];
    if ((third != 0x90 && third != 0x91) || (last & 0xc0u) != 0x80u)
        return false;
    *ret_c = (unsigned char)((third == 0x91 ? 0x40u : 0u) | (last & 0x3fu));
    return true;
}

static bool starts_at(struct rt_str text, size_t i, struct rt_str what)
{
    return rt_str_starts(rt_str_of(text.ptr + i, text.len - i), what);
}

/* The index behind the brace that closes the variable at `i`; 0 when none does on the line. `*end` is where the last search stopped (0
 * at first): from there back to its start there is nothing, so that a line full of `${` is searched once. */
static size_t variable_end(struct rt_str text, size_t i, size_t *end)
{
    if (*end < i)
        *end = i;
    while (*end < text.len && strchr("}\n\r", text.ptr[*end]) == NULL)
        (*end)++;
    return *end < text.len && text.ptr[*end] == '}' ? *end + 1 : 0;
}

int rt_expand_prepare(struct rt_str text, struct rt_buf *out, size_t *ret_at)
{
    size_t i = 0, searched = 0;
    while (i < text.len) {
        unsigned char ignored;
        size_t end = 0;
        if (is_moved(text, i, &ignored)) {
            *ret_at = i;
            return RT_EINVAL;
        }
        if (starts_at(text, i, RT_STR("$${"))) {
            rt_buf_add(out, text.ptr + i, 3);
            i += 3;
            continue;
        }
        if (starts_at(text, i, RT_STR("${")))
            end = variable_end(text, i, &searched);
        for (; i < end; i++)
            move((unsigned char)text.ptr[i], out);
        if (end == 0)
            rt_buf_add_byte(out, (uint8_t)text.ptr[i++]);
    }
    return rt_buf_ok(out) ? 0 : RT_ENOMEM;
}

void rt_expand_restore(struct rt_str text, struct rt_buf *out)
{
    size_t i = 0;
    while (i < text.len) {
        unsigned char c;
        if (is_moved(text, i, &c)) {
            rt_buf_add_byte(out, c);
            i += MOVED_LEN;
        } else {
            rt_buf_add_byte(out, (uint8_t)text.ptr[i++]);
        }
    }
}

bool rt_environ_get(char *const *environ_, struct rt_str name, struct rt_str *ret_value)
{
    for (; environ_ != NULL && *environ_ != NULL; environ_++) {
        struct rt_str value, own = rt_str_split(rt_str_c(*environ_), '=', &value);
        if (rt_str_eq(own, name)) {
            *ret_value = value.ptr == NULL ? RT_STR("") : value;
            return true;
        }
    }
    return false;
}

struct rt_str rt_host_name(void)
{
    static char name[256];
    if (name[0] == '\0' && gethostname(name, sizeof(name) - 1) != 0)
        name[0] = '\0';
    return rt_str_c(name);
}

static bool is_name(struct rt_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return s.len > 0 && s.len <= NAME_CAP;
}

/* `inside` is what stands between the braces. */
static int look_up(struct rt_str inside, char *const *environ_, struct rt_str *ret_value,
                   struct rt_err *err)
{
    size_t colon = 0;
    while (colon < inside.len && !starts_at(inside, colon, RT_STR(":-")))
        colon++;
    struct rt_str name = rt_str_of(inside.ptr, colon);
    bool has_default = colon < inside.len;
    struct rt_str value =
        has_default ? rt_str_of(inside.ptr + colon + 2, inside.len - colon - 2) : RT_STR_NONE;
    int shown = (int)(inside.len < 40 ? inside.len : 40);
    if (!is_name(name))
        return rt_err_set(
            err, RT_EINVAL,
            "${%.*s} names no variable: write ${NAME} or ${NAME:-default}, and $${ for a "
            "literal ${",
            shown, inside.ptr);
    for (size_t i = 0; i < value.len; i++) {
        if (starts_at(value, i, RT_STR("${")))
            return rt_err_set(err, RT_EINVAL, "the default of ${%.*s} cannot hold another ${",
                              RT_STR_ARG(name));
    }
    /* As in a shell: `:-` stands in for an empty variable too. */
    struct rt_str found;
    bool set = rt_environ_get(environ_, name, &found);
    if (set && !(has_default && found.len == 0))
        value = found;
    else if (!has_default && rt_str_eq(name, RT_STR("HOSTNAME")) && rt_host_name().len > 0)
        value = rt_host_name();
    else if (!has_default)
        return rt_err_set(
            err, RT_EINVAL,
            "the environment variable %.*s is not set; ${%.*s:-x} would give a default",
            RT_STR_ARG(name), RT_STR_ARG(name));
    if (!rt_utf8_valid(value.ptr, value.len))
        return rt_err_set(err, RT_EINVAL, "the environment variable %.*s is not UTF-8",
                          RT_STR_ARG(name));
    *ret_value = value;
    return 0;
}

static int expand_restored(struct rt_str text, char *const *environ_, size_t room,
                           struct rt_buf *out, bool *ret_expanded, struct rt_err *err)
{
    size_t start = out->len;
    for (size_t i = 0; i < text.len;) {
        struct rt_str piece = rt_str_of(text.ptr + i, 1);
        size_t next = i + 1;
        if (starts_at(text, i, RT_STR("$${"))) {
            piece = RT_STR("${");
            next = i + 3;
        } else if (starts_at(text, i, RT_STR("${"))) {
            next = i + 2;
            while (next < text.len && text.ptr[next] != '}')
                next++;
            if (next == text.len)
                return rt_err_set(err, RT_EINVAL,
                                  "${ without a closing }; write $${ for a literal ${");
            int failed = look_up(rt_str_of(text.ptr + i + 2, next - i - 2), environ_, &piece, err);
            if (failed != 0)
                return failed;
            next++;
            *ret_expanded = true;
        }
        rt_buf_add_str(out, piece);
        if (out->len - start > room)
            return rt_err_set(err, RT_ERANGE, "the values of all variables together are too long");
        i = next;
    }
    return rt_buf_ok(out) ? 0 : rt_err_nomem(err);
}

int rt_expand(struct rt_str text, char *const *environ_, size_t room, struct rt_buf *out,
              bool *ret_expanded, struct rt_err *err)
{
    struct rt_buf restored = RT_BUF_INIT;
    rt_expand_restore(text, &restored);
    int failed = rt_buf_ok(&restored) ? expand_restored(rt_buf_str(&restored), environ_, room, out,
                                                        ret_expanded, err)
                                      : rt_err_nomem(err);
    rt_buf_deinit(&restored);
    return failed;
}
