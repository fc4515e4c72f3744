/* docs/configuration.md. */
#include "conf/option.h"

#include "conf/dev_profile.h"

static const char head[] =
    "# Configuration\n"
    "\n"
    "<!-- Generated from the option table, src/conf/options.c: RT_UPDATE=1 make unit ONLY=conf writes "
    "it anew. -->\n"
    "\n"
    "    rtbroker init > rtbroker.yaml                 every option with its default and a comment\n"
    "    rtbroker check --config rtbroker.yaml         all mistakes at once: file:line:column, what was "
    "seen, what is allowed\n"
    "    rtbroker config --effective --config FILE     what is in force, and where each value comes "
    "from\n"
    "\n"
    "## Rules\n"
    "- The file is YAML, or JSON, at most 1 MiB. Anchors, aliases, tags, duplicate keys and a second "
    "document are errors, and so is every key that is not on this page.\n"
    "- Flags win over the environment, the environment over the file, the file over the defaults.\n"
    "- **Environment.** `RTBROKER_` and the path in capitals with `_` for each dot: "
    "`RTBROKER_HTTP_LISTEN`. Values are taken as they are; lists of texts are separated by commas or "
    "written as YAML (`[\"a\", \"b\"]`), lists of sections as YAML (`[{match: \"*\", log: true}]`).\n"
    "- **Flags.** `--set path=value` sets any option in the same notation, `--set channels.0.log=true` "
    "one of an item of a list; `--listen ADDR` (repeatable) replaces `http.listen`.\n"
    "- **Variables.** `${VAR}` and `${VAR:-default}` in any value of the file, `$${` for a literal "
    "`${`. A variable that is not set and has no default is an error (`HOSTNAME` falls back to the "
    "system's name).\n"
    "- **Secrets.** Each has a twin with `_file` at its end that names a file with the value; white "
    "space at the file's ends is ignored.\n"
    "- **Durations** are a whole number and a unit: `250ms`, `5s`, `10m`, `1h`, `30d`; `0` needs none. "
    "**Sizes** are bytes, or take a unit: `KB`, `MB`, `GB`, `TB` count in thousands, `KiB`, `MiB`, "
    "`GiB`, `TiB` in 1,024s. **Rates** are a whole number for a second, a minute or an hour: `10/s`, "
    "`600/m`, `5/h`; `0` needs none.\n"
    "- Text that holds `{`, `}`, `[`, `]`, `,`, `#` or `: `, or begins with `*`, `&`, `!`, `@` or `%`, "
    "must be quoted where YAML would take it for something else: `\"*\"`, `\"/raw/{channel}\"`, "
    "`\"::1\"`.\n"
    "- A TCP address that others can reach is refused unless `http.insecure_public` is true, since this "
    "build cannot authenticate clients.\n";

static const char dev_head[] =
    "\n"
    "## Without a file\n"
    "With `--dev`, and without `--config`, what nobody has set is taken from the demo profile: every "
    "channel is logged in memory and open to anyone. The other defaults are those of this page.\n"
    "\n"
    "```yaml\n";

/* A cell of a table: `|` would end it. */
static void write_cell(struct rt_str text, struct rt_buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '|')
            rt_buf_add_byte(out, '\\');
        rt_buf_add_byte(out, (uint8_t)text.ptr[i]);
    }
}

static void write_default(const struct rt_option *option, struct rt_buf *out)
{
    if (option->type == RT_OPT_STRING && option->min > 0 && option->def == NULL) {
        rt_buf_add_c(out, "required");
        return;
    }
    rt_buf_add_byte(out, '`');
    rt_option_default(option, out);
    rt_buf_add_byte(out, '`');
}

static void write_row(const struct rt_option *option, bool env, struct rt_buf *out)
{
    struct rt_buf allowed = RT_BUF_INIT;
    rt_option_allowed(option, true, &allowed);
    rt_buf_printf(out, "| `%s`", option->path);
    if (option->secret)
        rt_buf_printf(out, ", `%s_file`", option->path);
    if (env) {
        rt_buf_add_c(out, " | `");
        rt_option_env_name(option, out);
        rt_buf_add_byte(out, '`');
    }
    rt_buf_add_c(out, " | ");
    write_default(option, out);
    rt_buf_add_c(out, " | ");
    write_cell(rt_buf_str(&allowed), out);
    rt_buf_add_c(out, " | ");
    write_cell(rt_str_c(option->doc), out);
    rt_buf_add_c(out, " |\n");
    out->failed = out->failed || !rt_buf_ok(&allowed);
    rt_buf_deinit(&allowed);
}

static void write_table_head(bool env, struct rt_buf *out)
{
    rt_buf_add_c(out, env ? "| option | environment | default | allowed | meaning |\n"
                            "|---|---|---|---|---|\n"
                          : "| option | default | allowed | meaning |\n"
                            "|---|---|---|---|\n");
}

static void write_items(const struct rt_option *option, struct rt_buf *out)
{
    rt_buf_printf(out, "\nEach item of `%s`:\n\n", option->path);
    write_table_head(false, out);
    for (size_t i = 0; i < option->items->count; i++) {
        if (option->items->options[i].type != RT_OPT_ABSENT)
            write_row(&option->items->options[i], false, out);
    }
    rt_buf_printf(out, "\n```yaml\n");
    struct rt_str rest = rt_str_c(option->path);
    int depth = 0;
    while (rest.len > 0) {
        struct rt_str segment = rt_str_split(rest, '.', &rest);
        rt_buf_printf(out, "%*s%.*s:\n", depth, "", RT_STR_ARG(segment));
        depth += 2;
    }
    rest = rt_str_c(option->items->example);
    while (rest.len > 0) {
        struct rt_str line = rt_str_split(rest, '\n', &rest);
        rt_buf_printf(out, "%*s%.*s\n", depth, "", RT_STR_ARG(line));
    }
    rt_buf_add_c(out, "```\n");
}

static bool is_within(const char *path, const char *section)
{
    struct rt_str whole = rt_str_c(path), start = rt_str_c(section);
    return rt_str_starts(whole, start) && (whole.len == start.len || whole.ptr[start.len] == '.');
}

static void write_section(const struct rt_option_table *table, const struct rt_section *section,
                          struct rt_buf *out)
{
    rt_buf_printf(out, "\n## %s\n%s\n\n", section->path, section->doc);
    write_table_head(true, out);
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        if (option->type != RT_OPT_ABSENT && is_within(option->path, section->path))
            write_row(option, true, out);
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        if (option->type == RT_OPT_SECTIONS && is_within(option->path, section->path))
            write_items(option, out);
    }
}

static void write_absent(const struct rt_option_table *table, const char *where, size_t *count,
                         struct rt_buf *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct rt_option *option = &table->options[i];
        if (option->type == RT_OPT_ABSENT)
            rt_buf_printf(out, "%s`%s%s`", (*count)++ == 0 ? "" : ", ", where, option->path);
        if (option->type != RT_OPT_SECTIONS)
            continue;
        struct rt_buf inner = RT_BUF_INIT;
        rt_buf_printf(&inner, "%s%s[].", where, option->path);
        const char *text = rt_buf_cstr(&inner);
        if (text != NULL)
            write_absent(option->items, text, count, out);
        out->failed = out->failed || text == NULL;
        rt_buf_deinit(&inner);
    }
}

void rt_config_reference(struct rt_buf *out)
{
    const struct rt_option_table *table = rt_options();
    rt_buf_add_c(out, head);
    for (const struct rt_section *s = table->sections; s->path != NULL; s++)
        write_section(table, s, out);
    rt_buf_add_c(out, dev_head);
    rt_buf_add_c(out, rt_dev_profile());
    rt_buf_add_c(out,
                 "```\n"
                 "\n"
                 "## Not in this build\n"
                 "These are designed, and refused when set to anything but `\"\"`, `[]`, `{}` or "
                 "`false`, so that a file is never half obeyed; likewise `token` and `hook` for "
                 "`channels[].subscribe` and `channels[].publish`.\n"
                 "\n");
    size_t count = 0;
    write_absent(table, "", &count, out);
    rt_buf_add_c(out, ".\n");
}
