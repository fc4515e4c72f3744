/* A SQLite VFS for tests that lets chosen writes and syncs fail, over the default one. Its name is "fault".
 * A plan is one kind of call on one kind of file; it may be set while other threads use the files. */
#ifndef TEST_FAULT_VFS_H
#define TEST_FAULT_VFS_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum fault_call { FAULT_NONE, FAULT_WRITE, FAULT_SYNC, FAULT_READ };

static struct {
    atomic_int call;
    atomic_int files;     /* SQLITE_OPEN_WAL, SQLITE_OPEN_MAIN_DB or both */
    atomic_int skip;      /* calls that still work */
    atomic_int times;     /* calls that fail then; -1: all */
    atomic_int code;      /* what they return */
    atomic_bool torn;     /* a failing write leaves half of its bytes */
    atomic_int hits;      /* calls that failed */
    atomic_bool readonly; /* the next main database opens read-only */
} fault;

struct fault_file {
    sqlite3_file base;
    int flags;
    sqlite3_file *real; /* follows this struct */
};

static inline void fault_clear(void)
{
    atomic_store(&fault.call, FAULT_NONE);
    atomic_store(&fault.torn, false);
    atomic_store(&fault.readonly, false);
    atomic_store(&fault.hits, 0);
}

/* After `skip` calls that work, `times` fail with `code`. */
static inline void fault_plan(int call, int files, int skip, int times, int code)
{
    fault_clear();
    atomic_store(&fault.files, files);
    atomic_store(&fault.skip, skip);
    atomic_store(&fault.times, times);
    atomic_store(&fault.code, code);
    atomic_store(&fault.call, call);
}

static int fault_due(const struct fault_file *f, int call)
{
    if (atomic_load(&fault.call) != call || !(f->flags & atomic_load(&fault.files)))
        return SQLITE_OK;
    if (atomic_fetch_sub(&fault.skip, 1) > 0)
        return SQLITE_OK;
    int left = atomic_load(&fault.times);
    if (left == 0)
        return SQLITE_OK;
    if (left > 0)
        atomic_fetch_sub(&fault.times, 1);
    atomic_fetch_add(&fault.hits, 1);
    return atomic_load(&fault.code);
}

static sqlite3_file *fault_real(sqlite3_file *file)
{
    return ((struct fault_file *)file)->real;
}
#define FAULT_REAL(file) fault_real(file)->pMethods

static int fault_close(sqlite3_file *file)
{
    return FAULT_REAL(file)->xClose(fault_real(file));
}
static int fault_read(sqlite3_file *file, void *to, int len, sqlite3_int64 at)
{
    int code = fault_due((struct fault_file *)file, FAULT_READ);
    return code ? code : FAULT_REAL(file)->xRead(fault_real(file), to, len, at);
}
static int fault_write(sqlite3_file *file, const void *from, int len, sqlite3_int64 at)
{
    int code = fault_due((struct fault_file *)file, FAULT_WRITE);
    if (code && atomic_load(&fault.torn))
        FAULT_REAL(file)->xWrite(fault_real(file), from, len / 2, at);
    return code ? code : FAULT_REAL(file)->xWrite(fault_real(file), from, len, at);
}
static int fault_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return FAULT_REAL(file)->xTruncate(fault_real(file), size);
}
static int fault_sync(sqlite3_file *file, int flags)
{
    int code = fault_due((struct fault_file *)file, FAULT_SYNC);
    return code ? code : FAULT_REAL(file)->xSync(fault_real(file), flags);
}
static int fault_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return FAULT_REAL(file)->xFileSize(fault_real(file), size);
}
static int fault_lock(sqlite3_file *file, int level)
{
    return FAULT_REAL(file)->xLock(fault_real(file), level);
}
static int fault_unlock(sqlite3_file *file, int level)
{
    return FAULT_REAL(file)->xUnlock(fault_real(file), level);
}
static int fault_check_lock(sqlite3_file *file, int *reserved)
{
    return FAULT_REAL(file)->xCheckReservedLock(fault_real(file), reserved);
}
static int fault_control(sqlite3_file *file, int op, void *arg)
{
    return FAULT_REAL(file)->xFileControl(fault_real(file), op, arg);
}
static int fault_sector_size(sqlite3_file *file)
{
    return FAULT_REAL(file)->xSectorSize(fault_real(file));
}
static int fault_characteristics(sqlite3_file *file)
{
    return FAULT_REAL(file)->xDeviceCharacteristics(fault_real(file));
}
static int fault_shm_map(sqlite3_file *file, int region, int size, int extend,
                         void volatile **memory)
{
    return FAULT_REAL(file)->xShmMap(fault_real(file), region, size, extend, memory);
}
static int fault_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return FAULT_REAL(file)->xShmLock(fault_real(file), offset, n, flags);
}
static void fault_shm_barrier(sqlite3_file *file)
{
    FAULT_REAL(file)->xShmBarrier(fault_real(file));
}
static int fault_shm_unmap(sqlite3_file *file, int remove)
{
    return FAULT_REAL(file)->xShmUnmap(fault_real(file), remove);
}

static const sqlite3_io_methods fault_methods = {
    .iVersion = 2,
    .xClose = fault_close,
    .xRead = fault_read,
    .xWrite = fault_write,
    .xTruncate = fault_truncate,
    .xSync = fault_sync,
    .xFileSize = fault_file_size,
    .xLock = fault_lock,
    .xUnlock = fault_unlock,
    .xCheckReservedLock = fault_check_lock,
    .xFileControl = fault_control,
    .xSectorSize = fault_sector_size,
    .xDeviceCharacteristics = fault_characteristics,
    .xShmMap = fault_shm_map,
    .xShmLock = fault_shm_lock,
    .xShmBarrier = fault_shm_barrier,
    .xShmUnmap = fault_shm_unmap,
};

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                      int *ret_flags)
{
    sqlite3_vfs *real = vfs->pAppData;
    struct fault_file *f = (struct fault_file *)file;
    memset(f, 0, sizeof(*f));
    f->real = (sqlite3_file *)(f + 1);
    f->flags = flags;
    if ((flags & SQLITE_OPEN_MAIN_DB) && atomic_load(&fault.readonly))
        flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    int code = real->xOpen(real, name, f->real, flags, ret_flags);
    if (code == SQLITE_OK)
        f->base.pMethods = &fault_methods;
    return code;
}

static inline void fault_register(void)
{
    static sqlite3_vfs vfs;
    if (vfs.zName)
        return;
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    vfs = *real;
    vfs.zName = "fault";
    vfs.pNext = NULL;
    vfs.pAppData = real;
    vfs.szOsFile = (int)sizeof(struct fault_file) + real->szOsFile;
    vfs.xOpen = fault_open;
    sqlite3_vfs_register(&vfs, 0);
}

#endif
