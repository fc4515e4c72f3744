#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int rt_err_set(struct rt_err *err, int code, const char *format, ...)
{
    if (!err)
        return code;
    /* Formatted aside, since an argument may be the present text. */
    char text[sizeof(err->text)];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    memcpy(err->text, text, strlen(text) + 1);
    err->code = code;
    return code;
}

int rt_err_wrap(struct rt_err *err, const char *format, ...)
{
    if (!err)
        return RT_EINVAL;
    char text[sizeof(err->text)];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);

    size_t used = strlen(text);
    size_t room = sizeof(text) - 1 - used;
    char *at = text + used;
    const char *parts[] = {": ", err->text};
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(parts[i]);
        if (len > room)
            len = room;
        memcpy(at, parts[i], len);
        at += len;
        room -= len;
    }
    *at = '\0';
    memcpy(err->text, text, (size_t)(at - text) + 1);
    return err->code;
}

int rt_err_nomem(struct rt_err *err)
{
    return rt_err_set(err, RT_ENOMEM, "out of memory");
}

const char *rt_err_name(int code)
{
    switch (code) {
    case RT_OK:
        return "ok";
    case RT_ENOMEM:
        return "out of memory";
    case RT_EINVAL:
        return "invalid";
    case RT_ERANGE:
        return "limit reached";
    case RT_ENOENT:
        return "not found";
    case RT_EEXIST:
        return "exists already";
    case RT_EAGAIN:
        return "try again";
    case RT_EIO:
        return "input/output error";
    case RT_EPERM:
        return "not permitted";
    case RT_ECLOSED:
        return "closed";
    case RT_EUNKNOWN:
        return "outcome unknown";
    case RT_ENEWER:
        return "of a newer version";
    default:
        return "unknown error code";
    }
}
