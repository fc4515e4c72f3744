/* Puts the parts of admin/ together. */
#include "admin/internal.h"

#include "base/alloc.h"

int rt_admin_new(const struct rt_admin_options *options, struct rt_admin **ret_admin,
                 struct rt_err *err)
{
    struct rt_admin *a = rt_calloc(1, sizeof(*a));
    if (!a)
        return rt_err_nomem(err);
    a->options = *options;
    a->started = rt_loop_now(options->loop);
    int status = rt_admin_mount_api(a, err);
    if (status == 0)
        status = rt_admin_mount_monitor(a, err);
    if (status == 0)
        status = rt_admin_mount_pages(a, err);
    if (status) {
        rt_free(a);
        return status;
    }
    *ret_admin = a;
    return 0;
}

void rt_admin_free(struct rt_admin *admin)
{
    rt_free(admin);
}
