/* Errors: a negative code for programs, wrapped text for people.
 *
 * Functions return 0 or one of these codes. A `struct rt_err *` may always be NULL: then only
 * the code is returned. Text says what, where, the value seen and what is allowed; each layer on
 * the way up may put its own words in front with rt_err_wrap(). Thread: any; an rt_err belongs
 * to its caller's stack. */
#ifndef RT_BASE_ERR_H
#define RT_BASE_ERR_H

enum rt_errcode {
    RT_OK = 0,
    RT_ENOMEM = -1,    /* an allocation failed */
    RT_EINVAL = -2,    /* the input breaks its format or its allowed range */
    RT_ERANGE = -3,    /* a limit of ours was reached (size, depth, count) */
    RT_ENOENT = -4,    /* no such thing */
    RT_EEXIST = -5,    /* there is one already */
    RT_EAGAIN = -6,    /* not now, nothing was changed; try again */
    RT_EIO = -7,       /* the operating system or a library refused; text has its words */
    RT_EPERM = -8,     /* not allowed by configuration */
    RT_ECLOSED = -9,   /* the object is closing */
    RT_EUNKNOWN = -10, /* may have happened or not (the "unknown" answer of a publish) */
    RT_ENEWER = -11,   /* written by a newer version of rtbroker, which this one cannot read */
};

struct rt_err {
    int code;
    char text[512];
};

/* Sets code and text (printf style; cut at the end of the buffer) and returns `code`. */
int rt_err_set(struct rt_err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<formatted>: " before the present text (cut at the end of the buffer), keeps and returns
 * the code. Without an rt_err the code is not known here: RT_EINVAL then, never RT_OK; a caller
 * that has the code returns its own. */
int rt_err_wrap(struct rt_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets out of memory: a constant text. Returns RT_ENOMEM. */
int rt_err_nomem(struct rt_err *err);

/* A short constant name of a code: "out of memory", "invalid", ... Never NULL. */
const char *rt_err_name(int code);

#endif
