#include "journal/sqlite_room.h"

#include <sys/statvfs.h>

#include "base/log.h"

#define HYSTERESIS 5 /* percent */

static const char *const statements[RT_ROOM_STATEMENTS] = {
    [RT_ROOM_PAGES] = "PRAGMA page_count",
    [RT_ROOM_FREE_PAGES] = "PRAGMA freelist_count",
};

int rt_room_init(struct rt_room *room, sqlite3 *db, struct rt_err *err)
{
    int64_t page_size = 0, max_pages = 0;
    *room = (struct rt_room){.db = db};
    if (rt_db_query_int(db, "PRAGMA page_size", &page_size) != SQLITE_OK ||
        rt_db_query_int(db, "PRAGMA max_page_count", &max_pages) != SQLITE_OK)
        return rt_err_set(err, RT_EIO, "cannot read its size: %s", sqlite3_errmsg(db));
    room->page_size = (uint64_t)page_size;
    room->max_pages = (uint64_t)max_pages;
    return rt_db_prepare(db, statements, room->statements, RT_ROOM_STATEMENTS, err);
}

void rt_room_deinit(struct rt_room *room)
{
    rt_db_finalize(room->statements, RT_ROOM_STATEMENTS);
}

bool rt_room_wrote(struct rt_room *room, uint64_t pages)
{
    room->written += pages * room->page_size;
    return room->written > room->left / 16;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void warn(const struct rt_room *room, bool disk)
{
    const char *text = room->level >= 90 ? "the storage fills: over 90 % of its room is used"
                                         : "the storage fills: over 80 % of its room is used";
    rt_log(RT_LOG_WARN, "journal", text, rt_kv_u64("used", room->used),
           rt_kv_u64("left", room->left),
           rt_kv_c("limit", disk ? "the disk: make room there, or lower storage.retention"
                                 : "storage.max_size: raise it, or lower storage.retention"));
}

static void set_level(struct rt_room *room, bool disk)
{
    uint64_t percent = room->used * 100 / (room->used + room->left + 1);
    unsigned level = percent >= 90 ? 90 : percent >= 80 ? 80 : 0;
    if (level > room->level) {
        room->level = level;
        warn(room, disk);
    } else if (percent + HYSTERESIS < room->level) {
        room->level = level;
    }
}

void rt_room_measure(struct rt_room *room)
{
    int64_t pages = 0, free_pages = 0;
    struct statvfs disk;
    room->written = 0;
    if (rt_db_run_int(room->statements[RT_ROOM_PAGES], &pages) != SQLITE_OK ||
        rt_db_run_int(room->statements[RT_ROOM_FREE_PAGES], &free_pages) != SQLITE_OK ||
        statvfs(sqlite3_db_filename(room->db, "main"), &disk) < 0)
        return;
    uint64_t unused = (uint64_t)free_pages * room->page_size;
    uint64_t size = (uint64_t)pages * room->page_size;
    uint64_t most = room->max_pages * room->page_size;
    uint64_t up_to_max = most > size ? most - size : 0;
    uint64_t on_disk = (uint64_t)disk.f_bavail * disk.f_frsize;
    room->used = size - unused;
    room->left = unused + least(up_to_max, on_disk);
    set_level(room, on_disk < up_to_max);
}
