#include "journal/sqlite_backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "journal/sqlite_db.h"

#define STEP_PAGES 1024 /* 4 MiB */

static int os_failed(const char *file, const char *what, struct rt_err *err)
{
    return rt_err_set(err, errno == EEXIST ? RT_EEXIST : RT_EIO, "%s: cannot %s: %s", file, what,
                      strerror(errno));
}

static int db_failed(sqlite3 *db, const char *file, const char *what, int code, struct rt_err *err)
{
    char text[120];
    rt_db_fault_text(db, code, text, sizeof(text));
    return rt_err_set(err, (code & 0xff) == SQLITE_NOMEM ? RT_ENOMEM : RT_EIO, "%s: cannot %s: %s",
                      file, what, text);
}

static int find_wal(const char *path, bool *ret_found, struct rt_err *err)
{
    struct rt_buf name = RT_BUF_INIT;
    rt_buf_printf(&name, "%s-wal", path);
    const char *wal = rt_buf_cstr(&name);
    if (wal)
        *ret_found = access(wal, F_OK) == 0;
    rt_buf_deinit(&name);
    return wal ? 0 : rt_err_nomem(err);
}

/* The reads of the whole copy are of one moment: that of the first one here. */
static int open_source(const char *path, sqlite3 **ret_db, struct rt_err *err)
{
    const struct rt_journal_options options = {.path = path};
    sqlite3 *db = NULL;
    int64_t version = 0;
    bool has_wal = false;
    int ret = find_wal(path, &has_wal, err);
    if (ret == 0)
        ret = rt_db_open_reader(&options, &db, err);
    if (ret < 0)
        return ret;
    if (!has_wal) /* no broker runs: what this reader makes beside the file goes with it */
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    int code = rt_db_exec(db, "BEGIN");
    if (code != SQLITE_OK)
        ret = db_failed(db, path, "read it", code, err);
    else if ((ret = rt_db_identify(db, &version, err)) < 0)
        rt_err_wrap(err, "storage.path %s", path);
    else if (version == 0)
        ret = rt_err_set(err, RT_EINVAL, "storage.path %s: the file is empty", path);
    if (ret < 0) {
        sqlite3_close(db);
        return ret;
    }
    *ret_db = db;
    return 0;
}

static int copy_pages(sqlite3 *from, sqlite3 *to, const char *file, struct rt_err *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (!backup)
        return db_failed(to, file, "write the copy", sqlite3_extended_errcode(to), err);
    int code;
    do
        code = sqlite3_backup_step(backup, STEP_PAGES);
    while (code == SQLITE_OK);
    int finished = sqlite3_backup_finish(backup);
    if (code == SQLITE_DONE && finished == SQLITE_OK)
        return 0;
    return db_failed(to, file, "write the copy", code == SQLITE_DONE ? finished : code, err);
}

/* The copy is nothing until it is complete: no journal, and one sync at its end. */
static int fill(sqlite3 *from, const char *file, struct rt_err *err)
{
    sqlite3 *to = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(file, &to, flags, NULL);
    int ret = 0;
    if (!to)
        return rt_err_nomem(err);
    if (code == SQLITE_OK)
        code = rt_db_exec(to, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF;"
                              "PRAGMA synchronous=OFF");
    if (code != SQLITE_OK)
        ret = db_failed(to, file, "open the copy", code, err);
    if (ret == 0)
        ret = copy_pages(from, to, file, err);
    if (ret == 0 && (ret = rt_db_quick_check(to, err)) < 0)
        rt_err_wrap(err, "the copy is not good");
    sqlite3_close(to);
    return ret;
}

static int sync_file(const char *file, uint64_t *ret_bytes, struct rt_err *err)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    int ret = 0;
    if (fd < 0 || fstat(fd, &st) < 0 || fsync(fd) < 0)
        ret = os_failed(file, "sync it", err);
    if (fd >= 0)
        close(fd);
    if (ret == 0)
        *ret_bytes = (uint64_t)st.st_size;
    return ret;
}

/* Best effort: a file system that cannot sync a folder has other ways. */
static void sync_folder(const char *to)
{
    const char *slash = strrchr(to, '/');
    struct rt_buf folder = RT_BUF_INIT;
    rt_buf_printf(&folder, "%.*s", slash ? (int)(slash + 1 - to) : 1, slash ? to : ".");
    const char *path = rt_buf_cstr(&folder);
    int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    rt_buf_deinit(&folder);
}

/* Not over a file that came meanwhile, where the file system can do that. */
static int give_name(const char *file, const char *to, struct rt_err *err)
{
    int failed = renameat2(AT_FDCWD, file, AT_FDCWD, to, RENAME_NOREPLACE);
    if (failed && (errno == EINVAL || errno == ENOSYS))
        failed = rename(file, to);
    if (failed)
        return os_failed(to, "give the copy its name", err);
    sync_folder(to);
    return 0;
}

static int copy_to(sqlite3 *from, char *file, const char *to, uint64_t *ret_bytes,
                   struct rt_err *err)
{
    int fd = mkostemp(file, O_CLOEXEC); /* for the user alone */
    if (fd < 0)
        return os_failed(to, "write there", err);
    close(fd);
    int ret = fill(from, file, err);
    if (ret == 0)
        ret = sync_file(file, ret_bytes, err);
    if (ret == 0)
        ret = give_name(file, to, err);
    if (ret < 0)
        (void)unlink(file);
    return ret;
}

int rt_db_backup(const char *path, const char *to, uint64_t *ret_bytes, struct rt_err *err)
{
    struct stat st;
    if (lstat(to, &st) == 0) {
        errno = EEXIST;
        return os_failed(to, "make a backup there", err);
    }
    struct rt_buf name = RT_BUF_INIT;
    rt_buf_printf(&name, "%s.XXXXXX", to);
    sqlite3 *from = NULL;
    int ret = rt_buf_cstr(&name) ? open_source(path, &from, err) : rt_err_nomem(err);
    if (ret == 0)
        ret = copy_to(from, (char *)name.data, to, ret_bytes, err);
    sqlite3_close(from);
    rt_buf_deinit(&name);
    return ret;
}
