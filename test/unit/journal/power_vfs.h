/* A SQLite VFS for tests that knows what a power failure would leave: per file what was there at its last sync, and for everything
 * written since each sector may be the old one or the new one. Its name is "power". Thread: any; a capture stops all writers.
 * Left out: the shared memory of the WAL (made anew at each start) and the directory (a file that was synced is taken to be there). */
#ifndef TEST_POWER_VFS_H
#define TEST_POWER_VFS_H

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POWER_SECTOR 512

struct power_disk {
    const char *suffix; /* "" or "-wal" */
    char path[128];
    uint8_t *synced; /* content at the last sync */
    size_t synced_len;
    size_t dirty_from, dirty_to; /* written since, within this range */
};

static struct {
    pthread_mutex_t lock;
    struct power_disk disks[2];
    unsigned syncs;
    uint32_t seed;
} power = {.lock = PTHREAD_MUTEX_INITIALIZER, .disks = {{.suffix = ""}, {.suffix = "-wal"}}};

struct power_file {
    sqlite3_file base;
    struct power_disk *disk; /* NULL: not watched */
    sqlite3_file *real;      /* follows this struct */
};

static uint8_t *power_read(const char *path, size_t *ret_len)
{
    int fd = open(path, O_RDONLY);
    off_t len = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    uint8_t *data = malloc((size_t)len + 1);
    if (!data || (len > 0 && pread(fd, data, (size_t)len, 0) != len))
        abort();
    if (fd >= 0)
        close(fd);
    *ret_len = (size_t)len;
    return data;
}

static void power_wrote(struct power_disk *disk, size_t from, size_t to)
{
    if (disk->dirty_from == disk->dirty_to)
        disk->dirty_from = from;
    disk->dirty_from = from < disk->dirty_from ? from : disk->dirty_from;
    disk->dirty_to = to > disk->dirty_to ? to : disk->dirty_to;
}

/* What the file has now is on the disk. */
static void power_note(struct power_disk *disk)
{
    int fd = open(disk->path, O_RDONLY);
    off_t len = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    size_t from = disk->synced ? disk->dirty_from : 0;
    size_t to = disk->synced && disk->dirty_to < (size_t)len ? disk->dirty_to : (size_t)len;
    uint8_t *synced = realloc(disk->synced, (size_t)len + 1);
    if (!synced)
        abort();
    if (from < to && pread(fd, synced + from, to - from, (off_t)from) != (ssize_t)(to - from))
        abort();
    if (fd >= 0)
        close(fd);
    disk->synced = synced;
    disk->synced_len = (size_t)len;
    disk->dirty_from = disk->dirty_to = 0;
}

static uint32_t power_random(void)
{
    power.seed = power.seed * 1664525u + 1013904223u;
    return power.seed >> 8;
}

/* Writes what the disk would have to `path`. */
static void power_lay_out(const struct power_disk *disk, const char *path)
{
    size_t len;
    uint8_t *now = power_read(disk->path, &len);
    const uint8_t *old = disk->synced;
    size_t old_len = disk->synced_len;
    if (disk->dirty_from < disk->dirty_to) {
        unsigned how = power_random() % 4; /* all old, all new, or a mixture */
        for (size_t at = 0; at < len; at += POWER_SECTOR) {
            size_t sector = len - at < POWER_SECTOR ? len - at : POWER_SECTOR;
            bool keep = how == 1 || (how >= 2 && power_random() % 2);
            for (size_t i = at; !keep && i < at + sector; i++)
                now[i] = i < old_len ? old[i] : 0;
        }
        if (how == 0 || (how == 2 && len > old_len))
            len = old_len < len ? old_len : len;
    }
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0 || write(fd, now, len) != (ssize_t)len)
        abort();
    close(fd);
    free(now);
}

/* The power goes off now: database and WAL as they might be found, at `path`. */
static inline void power_capture(const char *path)
{
    char name[160];
    pthread_mutex_lock(&power.lock);
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof(name), "%s%s", path, power.disks[i].suffix);
        if (power.disks[i].synced)
            power_lay_out(&power.disks[i], name);
    }
    pthread_mutex_unlock(&power.lock);
}

static inline void power_reset(uint32_t seed)
{
    pthread_mutex_lock(&power.lock);
    for (size_t i = 0; i < 2; i++) {
        free(power.disks[i].synced);
        power.disks[i].synced = NULL;
        power.disks[i].dirty_from = power.disks[i].dirty_to = 0;
    }
    power.seed = seed;
    power.syncs = 0;
    pthread_mutex_unlock(&power.lock);
}

static sqlite3_file *power_real(sqlite3_file *file)
{
    return ((struct power_file *)file)->real;
}
#define POWER_REAL(file) power_real(file)->pMethods

static struct power_disk *power_disk(sqlite3_file *file)
{
    return ((struct power_file *)file)->disk;
}

static int power_close(sqlite3_file *file)
{
    return POWER_REAL(file)->xClose(power_real(file));
}
static int power_xread(sqlite3_file *file, void *to, int len, sqlite3_int64 at)
{
    return POWER_REAL(file)->xRead(power_real(file), to, len, at);
}
static int power_xwrite(sqlite3_file *file, const void *from, int len, sqlite3_int64 at)
{
    pthread_mutex_lock(&power.lock);
    if (power_disk(file))
        power_wrote(power_disk(file), (size_t)at, (size_t)at + (size_t)len);
    int code = POWER_REAL(file)->xWrite(power_real(file), from, len, at);
    pthread_mutex_unlock(&power.lock);
    return code;
}
static int power_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    pthread_mutex_lock(&power.lock);
    if (power_disk(file))
        power_wrote(power_disk(file), (size_t)size, SIZE_MAX);
    int code = POWER_REAL(file)->xTruncate(power_real(file), size);
    pthread_mutex_unlock(&power.lock);
    return code;
}
static int power_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    pthread_mutex_lock(&power.lock); /* a real sync would only cost time */
    if (power_disk(file))
        power_note(power_disk(file));
    power.syncs++;
    pthread_mutex_unlock(&power.lock);
    return SQLITE_OK;
}
static int power_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return POWER_REAL(file)->xFileSize(power_real(file), size);
}
static int power_lock_file(sqlite3_file *file, int level)
{
    return POWER_REAL(file)->xLock(power_real(file), level);
}
static int power_unlock_file(sqlite3_file *file, int level)
{
    return POWER_REAL(file)->xUnlock(power_real(file), level);
}
static int power_check_lock(sqlite3_file *file, int *reserved)
{
    return POWER_REAL(file)->xCheckReservedLock(power_real(file), reserved);
}
static int power_control(sqlite3_file *file, int op, void *arg)
{
    return POWER_REAL(file)->xFileControl(power_real(file), op, arg);
}
static int power_sector_size(sqlite3_file *file)
{
    return POWER_REAL(file)->xSectorSize(power_real(file));
}
static int power_characteristics(sqlite3_file *file)
{
    return POWER_REAL(file)->xDeviceCharacteristics(power_real(file));
}
static int power_shm_map(sqlite3_file *file, int region, int size, int extend,
                         void volatile **memory)
{
    return POWER_REAL(file)->xShmMap(power_real(file), region, size, extend, memory);
}
static int power_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return POWER_REAL(file)->xShmLock(power_real(file), offset, n, flags);
}
static void power_shm_barrier(sqlite3_file *file)
{
    POWER_REAL(file)->xShmBarrier(power_real(file));
}
static int power_shm_unmap(sqlite3_file *file, int remove)
{
    return POWER_REAL(file)->xShmUnmap(power_real(file), remove);
}

static const sqlite3_io_methods power_methods = {
    .iVersion = 2,
    .xClose = power_close,
    .xRead = power_xread,
    .xWrite = power_xwrite,
    .xTruncate = power_truncate,
    .xSync = power_sync,
    .xFileSize = power_file_size,
    .xLock = power_lock_file,
    .xUnlock = power_unlock_file,
    .xCheckReservedLock = power_check_lock,
    .xFileControl = power_control,
    .xSectorSize = power_sector_size,
    .xDeviceCharacteristics = power_characteristics,
    .xShmMap = power_shm_map,
    .xShmLock = power_shm_lock,
    .xShmBarrier = power_shm_barrier,
    .xShmUnmap = power_shm_unmap,
};

/* The first opener of a file finds it as it is: all of it counts as synced. */
static void power_watch(struct power_file *f, const char *name, int flags)
{
    int kinds[] = {SQLITE_OPEN_MAIN_DB, SQLITE_OPEN_WAL};
    for (size_t i = 0; i < 2; i++) {
        struct power_disk *disk = &power.disks[i];
        if (!(flags & kinds[i]) || !name)
            continue;
        f->disk = disk;
        if (disk->synced)
            continue;
        snprintf(disk->path, sizeof(disk->path), "%s", name);
        power_note(disk);
    }
}

static int power_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                      int *ret_flags)
{
    sqlite3_vfs *real = vfs->pAppData;
    struct power_file *f = (struct power_file *)file;
    memset(f, 0, sizeof(*f));
    f->real = (sqlite3_file *)(f + 1);
    int code = real->xOpen(real, name, f->real, flags, ret_flags);
    if (code != SQLITE_OK)
        return code;
    f->base.pMethods = &power_methods;
    pthread_mutex_lock(&power.lock);
    power_watch(f, name, flags);
    pthread_mutex_unlock(&power.lock);
    return SQLITE_OK;
}

static inline void power_register(void)
{
    static sqlite3_vfs vfs;
    if (vfs.zName)
        return;
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    vfs = *real;
    vfs.zName = "power";
    vfs.pNext = NULL;
    vfs.pAppData = real;
    vfs.szOsFile = (int)sizeof(struct power_file) + real->szOsFile;
    vfs.xOpen = power_open;
    sqlite3_vfs_register(&vfs, 0);
}

#endif
