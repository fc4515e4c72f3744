/* Keeps a second rtbroker off a database, whatever name it has for it.
 *
 * Two locks, since each alone misses something:
 *   - flock() of PATH-lock goes with the name: also when another file was moved to PATH meanwhile, whose -wal would be ours. It holds the process id, for messages.
 *   - an OFD lock (fcntl(2), F_OFD_SETLK) of one byte goes with the file itself, reached through a symbolic or hard link or another mount. It is far behind the bytes that SQLite locks,
 *     and where no page will ever be. Beside it a POSIX lock of the next byte, which means nothing, but of which the kernel tells whose it is.
 *
 * SQLite's own locks are POSIX locks: the process loses them when it closes any descriptor of the file. So the lock is taken before SQLite opens the file, and released after SQLite
 * has closed it.
 *
 * Thread: any, one at a time. */
#ifndef RT_JOURNAL_SQLITE_LOCK_H
#define RT_JOURNAL_SQLITE_LOCK_H

#include "base/err.h"

struct rt_db_lock {
    int name_fd; /* of PATH-lock; -1: none */
    int file_fd; /* of the database; -1: none */
};
#define RT_DB_LOCK_INIT              \
    {                                \
        .name_fd = -1, .file_fd = -1 \
    }

/* Takes both, makes the database (empty, for this user only) when it is not there. RT_EIO: the text names the process that has it. */
int rt_db_lock(const char *path, struct rt_db_lock *ret_lock, struct rt_err *err);
/* Puts our name to the lock of the file: once SQLite has opened it, which drops POSIX locks until then. */
void rt_db_lock_sign(const struct rt_db_lock *lock);
void rt_db_unlock(struct rt_db_lock *lock);

#endif
