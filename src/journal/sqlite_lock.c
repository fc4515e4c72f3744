#include "journal/sqlite_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"

/* SQLite locks 512 bytes from 2^30 on, and its largest file ends before 2^49. */
#define LOCKED_BYTE ((off_t)1 << 56)
#define SIGNED_BYTE (LOCKED_BYTE + 1)

/* `pid` <= 0: not known. */
static int in_use(const char *path, long pid, struct rt_err *err)
{
    if (pid <= 0)
        return rt_err_set(err, RT_EIO, "%s is in use by another rtbroker (process unknown)", path);
    return rt_err_set(err, RT_EIO, "%s is in use by another rtbroker (process %ld)", path, pid);
}

/* ---- the name ---------------------------------------------------------------------------------------------- */

static long read_pid(int fd)
{
    char text[24];
    long pid = 0;
    ssize_t len = pread(fd, text, sizeof(text), 0);
    for (ssize_t i = 0; i < len && i < 10 && text[i] >= '0' && text[i] <= '9'; i++)
        pid = pid * 10 + (text[i] - '0');
    return pid;
}

/* For messages only: a failure is none. */
static void write_pid(int fd)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) < len)
        rt_log(RT_LOG_DEBUG, "journal", "cannot write the process id into the lock file");
}

static int lock_name(const char *path, struct rt_db_lock *lock, struct rt_err *err)
{
    struct rt_buf name = RT_BUF_INIT;
    rt_buf_printf(&name, "%s-lock", path);
    const char *lock_path = rt_buf_cstr(&name);
    int code = 0;
    if (!lock_path)
        code = rt_err_nomem(err);
    else if ((lock->name_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
        code = rt_err_set(err, RT_EIO, "cannot open %s: %s", lock_path, strerror(errno));
    else if (flock(lock->name_fd, LOCK_EX | LOCK_NB) < 0)
        code = errno == EWOULDBLOCK
                   ? in_use(path, read_pid(lock->name_fd), err)
                   : rt_err_set(err, RT_EIO, "cannot lock %s: %s", lock_path, strerror(errno));
    rt_buf_deinit(&name);
    return code;
}

/* ---- the file ---------------------------------------------------------------------------------------------- */

static struct flock byte_lock(off_t byte)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

static long owner_of(int fd)
{
    struct flock asked = byte_lock(SIGNED_BYTE);
    if (fcntl(fd, F_GETLK, &asked) < 0 || asked.l_type == F_UNLCK)
        return 0;
    return (long)asked.l_pid;
}

static int lock_file(const char *path, struct rt_db_lock *lock, struct rt_err *err)
{
    struct flock wanted = byte_lock(LOCKED_BYTE);
    lock->file_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock->file_fd < 0)
        return rt_err_set(err, RT_EIO, "storage.path %s: cannot open it for writing: %s", path,
                          strerror(errno));
    if (fcntl(lock->file_fd, F_OFD_SETLK, &wanted) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return in_use(path, owner_of(lock->file_fd), err);
    return rt_err_set(err, RT_EIO, "storage.path %s: cannot lock it: %s", path, strerror(errno));
}

int rt_db_lock(const char *path, struct rt_db_lock *ret_lock, struct rt_err *err)
{
    struct rt_db_lock lock = RT_DB_LOCK_INIT;
    int code = lock_name(path, &lock, err);
    if (code == 0)
        code = lock_file(path, &lock, err);
    if (code < 0) {
        rt_db_unlock(&lock);
        return code;
    }
    write_pid(lock.name_fd);
    *ret_lock = lock;
    return 0;
}

void rt_db_lock_sign(const struct rt_db_lock *lock)
{
    struct flock signature = byte_lock(SIGNED_BYTE);
    if (fcntl(lock->file_fd, F_SETLK, &signature) < 0)
        rt_log(RT_LOG_DEBUG, "journal", "cannot sign the lock of the database");
}

void rt_db_unlock(struct rt_db_lock *lock)
{
    if (lock->file_fd >= 0)
        close(lock->file_fd);
    if (lock->name_fd >= 0)
        close(lock->name_fd);
    *lock = (struct rt_db_lock)RT_DB_LOCK_INIT;
}
