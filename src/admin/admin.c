/* Puts the parts of admin/ together. */
#include "admin/internal.h"

#include <assert.h>

#include "base/alloc.h"

int rt_admin_new(const struct rt_admin_options *options, struct rt_admin **ret_admin,
                 struct rt_err *err)
{
    struct rt_admin *a = rt_calloc(1, sizeof(*a));
    if (!a)
        return rt_err_nomem(err);
    a->options = *options;
    a->started = rt_loop_now(options->loop);
    rt_list_init(&a->streams);
    int status = rt_admin_mount_api(a, err);
    if (status == 0)
        status = rt_admin_mount_monitor(a, err);
    if (status == 0)
        status = rt_admin_mount_pages(a, err);
    if (status) {
        rt_admin_stop_monitor(a);
        rt_free(a);
        return status;
    }
    *ret_admin = a;
    return 0;
}

void rt_admin_drain(struct rt_admin *admin, uint64_t jitter_ms)
{
    size_t count = 0;
    rt_list_for(it, &admin->streams)
        count++;
    rt_drain_start(&admin->drain, admin->options.loop, count, jitter_ms, rt_admin_close_stream,
                   admin);
}

void rt_admin_free(struct rt_admin *admin)
{
    if (!admin)
        return;
    assert(rt_list_empty(&admin->streams));
    rt_drain_stop(&admin->drain);
    rt_admin_stop_monitor(admin);
    rt_free(admin);
}
