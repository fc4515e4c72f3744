/* The files of the demo and admin pages, embedded at build time: scripts/embed.sh turns everything below src/admin/web/ into this
 * table. Read-only for the life of the program. Thread: any. */
#ifndef RT_ADMIN_WEB_H
#define RT_ADMIN_WEB_H

#include <stddef.h>

struct rt_web_file {
    const char *path;          /* below src/admin/web/: "demo/chat.js"; NULL ends the table */
    const char *content_type;  /* with the charset, where it has one */
    const char *etag;          /* RFC 9110 section 8.8.3, quotes included: "\"0123456789abcdef\"" */
    const unsigned char *data; /* a NUL follows, which `len` does not count */
    size_t len;                /* bytes */
};

/* Sorted by path (bytes). */
extern const struct rt_web_file rt_web_files[];

#endif
