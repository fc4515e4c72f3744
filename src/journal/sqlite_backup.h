/* A copy of the database file, of one moment, while a broker may be writing to it: for `rtbroker backup`.
 *
 * Reads like any other reader: the broker goes on, its write-ahead log grows meanwhile. The copy has another name until it is complete, checked and synced, so that what has the
 * name `to` is a whole backup. It needs no -wal beside it.
 *
 * Thread: any; blocks. */
#ifndef RT_JOURNAL_SQLITE_BACKUP_H
#define RT_JOURNAL_SQLITE_BACKUP_H

#include <stdint.h>

#include "base/err.h"

/* `ret_bytes`: the size of the copy. RT_EEXIST: `to` is there already; RT_EINVAL: `path` is no database of ours; RT_EIO, RT_ENOMEM. The text names the file. */
int rt_db_backup(const char *path, const char *to, uint64_t *ret_bytes, struct rt_err *err);

#endif
