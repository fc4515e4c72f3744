/* See resolve.h. */
#include "net/resolve.h"

#include <netdb.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "net/loop_internal.h"

struct rt_resolve {
    uv_getaddrinfo_t lookup;
    void (*done)(void *arg, const char *address, const char *reason); /* NULL: cancelled */
    void *arg;
};

static void on_lookup(uv_getaddrinfo_t *lookup, int status, struct addrinfo *all)
{
    struct rt_resolve *r = RT_CONTAINER(lookup, struct rt_resolve, lookup);
    char text[NI_MAXHOST];
    rt_loop_enter(lookup->loop->data);
    const char *reason = status ? uv_strerror(status) : NULL;
    if (!reason &&
        getnameinfo(all->ai_addr, all->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST))
        reason = "the answer is no address";
    if (all)
        uv_freeaddrinfo(all);
    if (r->done)
        r->done(r->arg, reason ? NULL : text, reason);
    rt_free(r);
}

int rt_resolve_start(struct rt_loop *loop, const char *host,
                     void (*done)(void *arg, const char *address, const char *reason), void *arg,
                     struct rt_resolve **ret_resolve)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct rt_resolve *r = rt_calloc(1, sizeof(*r));
    if (!r)
        return RT_ENOMEM;
    r->done = done;
    r->arg = arg;
    if (uv_getaddrinfo(&loop->uv, &r->lookup, on_lookup, host, NULL, &hints)) {
        rt_free(r);
        return RT_EIO;
    }
    *ret_resolve = r;
    return 0;
}

void rt_resolve_cancel(struct rt_resolve *resolve)
{
    resolve->done = NULL;
    (void)uv_cancel((uv_req_t *)&resolve->lookup);
}
