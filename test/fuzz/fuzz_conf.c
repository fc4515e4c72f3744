/* Configuration: the file's text, then --set values, all separated by NULs (which no valid file holds).
 *
 * A load either fails with errors that have a text and a place in the input, or gives a configuration that all dumps can show. The
 * demo profile is read, and dumps are made, for few of the inputs, since they cost more than a usual input does. fuzz_yaml.c has the
 * text alone. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/config.h"

enum { SETS_CAP = 3 };

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_errors(const struct rt_conf_errors *errors, size_t lines)
{
    struct rt_buf text = RT_BUF_INIT;
    for (size_t i = 0; i < errors->count; i++) {
        check(errors->items[i].text[0] != '\0');
        check(strcmp(errors->items[i].mark.source != NULL ? errors->items[i].mark.source : "",
                     "f") != 0 ||
              errors->items[i].mark.line <= lines + 1);
    }
    rt_conf_errors_write(errors, &text);
    check(rt_buf_ok(&text));
    rt_buf_deinit(&text);
}

static void check_config(const struct rt_config *config)
{
    struct rt_buf text = RT_BUF_INIT;
    rt_config_dump(config, RT_DUMP_EFFECTIVE, &text);
    rt_config_dump(config, RT_DUMP_ENV, &text);
    check(rt_buf_ok(&text) && text.len > 0);
    check(config->http.listen.count > 0 && config->node.name[0] != '\0');
    rt_buf_deinit(&text);
}

static size_t count_lines(struct rt_str text)
{
    size_t lines = 1;
    for (size_t i = 0; i < text.len; i++)
        lines += text.ptr[i] == '\n' || text.ptr[i] == '\r' || (unsigned char)text.ptr[i] >= 0x80;
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    const char *sets[SETS_CAP + 1] = {NULL};
    char *const environ_[] = {"A=value", "B=", NULL};
    if (copy == NULL)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    copy[size] = '\0';
    struct rt_str file = rt_str_c(copy);
    size_t at = file.len + 1;
    for (size_t i = 0; i < SETS_CAP && at < size; i++) {
        sets[i] = copy + at;
        at += strlen(copy + at) + 1;
    }

    struct rt_config_args args = {
        .dev = size % 16 == 1, .set = sets, .environ_ = (char **)environ_};
    struct rt_conf_errors errors = {0}, warnings = {0};
    struct rt_config *config = NULL;
    int err = rt_config_load_text(&args, file, "f", &config, &errors, &warnings);
    check(err == 0 || err == RT_EINVAL);
    check((err == 0) == (config != NULL) && (err == 0) == (errors.count == 0));
    check_errors(&errors, count_lines(file));
    check_errors(&warnings, count_lines(file));
    if (config != NULL && size % 8 == 5)
        check_config(config);
    rt_config_free(config);
    rt_conf_errors_deinit(&errors);
    rt_conf_errors_deinit(&warnings);
    free(copy);
    return 0;
}
