#include "proto/socketio/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/map.h"

#define FILE_MAX ((size_t)16 << 20)

static const char *const names[] = {
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
};
#define NAME_COUNT (sizeof(names) / sizeof(names[0]))

struct rt_sio_files {
    struct {
        struct rt_bytes *content; /* NULL: not in the folder */
        char etag[20];            /* with its quotes */
    } files[NAME_COUNT];
};

static int read_all(int fd, size_t size, struct rt_bytes **ret_content)
{
    struct rt_bytes *content = rt_bytes_new(size ? size : 1);
    if (!content)
        return RT_ENOMEM;
    while (content->len < size) {
        ssize_t got = read(fd, content->data + content->len, size - content->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            rt_bytes_unref(content);
            return RT_EIO;
        }
        content->len += (uint32_t)got;
    }
    *ret_content = content;
    return 0;
}

/* A file that is not there is no error here. */
static int read_file(const char *path, struct rt_bytes **ret_content, struct rt_err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int r = rt_err_set(err, RT_EIO, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return r;
    }
    int r;
    if (!S_ISREG(st.st_mode))
        r = rt_err_set(err, RT_EIO, "%s: no regular file", path);
    else if ((uint64_t)st.st_size > FILE_MAX)
        r = rt_err_set(err, RT_ERANGE, "%s: larger than %zu bytes", path, FILE_MAX);
    else if ((r = read_all(fd, (size_t)st.st_size, ret_content)) != 0)
        r = rt_err_set(err, r, "%s: %s", path, r == RT_ENOMEM ? "out of memory" : strerror(errno));
    close(fd);
    return r;
}

/* The same content has the same tag in every process: a fixed key. */
static void make_etag(struct rt_str content, char out[20])
{
    static const uint64_t key[2] = {0x736f636b65742e69u, 0x6f2d636c69656e74u};
    (void)snprintf(out, 20, "\"%016llx\"", (unsigned long long)rt_siphash13(key, content));
}

static int load(struct rt_sio_files *files, const char *folder, struct rt_err *err)
{
    char path[4096];
    for (size_t i = 0; i < NAME_COUNT; i++) {
        int len = snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        if (len < 0 || (size_t)len >= sizeof(path))
            return rt_err_set(err, RT_ERANGE, "protocols.socketio.client_dir: too long a path");
        int r = read_file(path, &files->files[i].content, err);
        if (r != 0) {
            (void)rt_err_wrap(err, "protocols.socketio.client_dir");
            return r;
        }
        if (files->files[i].content)
            make_etag(rt_bytes_str(files->files[i].content), files->files[i].etag);
    }
    if (!files->files[0].content)
        return rt_err_set(err, RT_ENOENT,
                          "protocols.socketio.client_dir: no %s in \"%s\"; it is the folder `dist` "
                          "of the npm package socket.io-client (client-dist of socket.io)",
                          names[0], folder);
    return 0;
}

int rt_sio_files_new(const char *folder, struct rt_sio_files **ret_files, struct rt_err *err)
{
    struct rt_sio_files *files = rt_calloc(1, sizeof(*files));
    if (!files)
        return rt_err_nomem(err);
    int r = load(files, folder, err);
    if (r != 0) {
        rt_sio_files_free(files);
        return r;
    }
    *ret_files = files;
    return 0;
}

void rt_sio_files_free(struct rt_sio_files *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < NAME_COUNT; i++)
        rt_bytes_unref(files->files[i].content);
    rt_free(files);
}

/* RFC 9110, 13.1.2: a list of tags, compared weakly, or `*`. */
static bool is_known_to_client(const struct rt_http_request *req, const char *etag)
{
    struct rt_str list = rt_http_header(req, "if-none-match");
    while (list.len) {
        struct rt_str tag = rt_str_trim(rt_str_split(list, ',', &list));
        if (rt_str_starts(tag, RT_STR("W/")))
            tag = rt_str_of(tag.ptr + 2, tag.len - 2);
        if (rt_str_eq(tag, rt_str_c(etag)) || rt_str_eq(tag, RT_STR("*")))
            return true;
    }
    return false;
}

/* What stands behind the prefix and its slash; none when it is something else. */
static struct rt_str name_in(struct rt_str path, struct rt_str prefix)
{
    size_t len = prefix.len && prefix.ptr[prefix.len - 1] == '/' ? prefix.len - 1 : prefix.len;
    if (path.len <= len || memcmp(path.ptr, prefix.ptr, len) != 0 || path.ptr[len] != '/')
        return RT_STR_NONE;
    return rt_str_of(path.ptr + len + 1, path.len - len - 1);
}

bool rt_sio_files_serve(const struct rt_sio_files *files, struct rt_str prefix, struct rt_str cors,
                        struct rt_http_request *req)
{
    struct rt_str name = files ? name_in(req->path, prefix) : RT_STR_NONE;
    size_t i = 0;
    while (i < NAME_COUNT && !rt_str_eq(name, rt_str_c(names[i])))
        i++;
    if (i == NAME_COUNT || !files->files[i].content)
        return false;
    struct rt_buf headers = RT_BUF_INIT;
    rt_buf_printf(&headers, "ETag: %s\r\nCache-Control: public, max-age=0\r\n",
                  files->files[i].etag);
    rt_buf_add_str(&headers, cors);
    struct rt_str lines = rt_buf_str(&headers);
    bool map = name.ptr[name.len - 1] == 'p';
    if (!rt_buf_ok(&headers))
        rt_http_abort(req);
    else if (is_known_to_client(req, files->files[i].etag))
        rt_http_respond(req, 304, NULL, lines, RT_STR_NONE);
    else
        rt_http_respond_bytes(req, 200,
                              map ? "application/json; charset=utf-8"
                                  : "application/javascript; charset=utf-8",
                              lines, files->files[i].content);
    rt_buf_deinit(&headers);
    return true;
}
