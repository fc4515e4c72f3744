/* What the files of admin/ share. Not for other folders. */
#ifndef RT_ADMIN_INTERNAL_H
#define RT_ADMIN_INTERNAL_H

#include "admin/admin.h"
#include "json/envelope.h"
#include "session/drain.h"

struct rt_backend_state {
    struct rt_backend backend;
    bool up;
    uint64_t since;  /* wall clock, ms: when `up` became what it is */
    char error[200]; /* "" while it is up */
};

struct rt_admin {
    struct rt_admin_options options;
    uint64_t started; /* loop time, ms */
    struct {
        struct rt_metric info, rss, cpu, fds, max_fds, start_time;
        struct rt_metric api_ok, api_refused, api_failed;
        struct rt_metric keys_missing, keys_unknown;
    } metrics;
    char info_labels[200];
    struct rt_backend_state backends[RT_BACKENDS_MAX];
    size_t backend_count;
    struct rt_timer look;   /* at the backends */
    struct rt_list streams; /* open ones */
    struct rt_drain drain;
};

/* api.c */
int rt_admin_mount_api(struct rt_admin *admin, struct rt_err *err);
/* monitor.c: health, readiness, metrics */
int rt_admin_mount_monitor(struct rt_admin *admin, struct rt_err *err);
void rt_admin_stop_monitor(struct rt_admin *admin);
/* pages.c: files of the demo page */
int rt_admin_mount_pages(struct rt_admin *admin, struct rt_err *err);

/* access.c. Does it come over http.internal, or from this machine without a proxy between? */
bool rt_admin_is_trusted(const struct rt_admin *admin, struct rt_http_request *req);
/* A page of another origin, or of another name: answers 403 and returns true. */
bool rt_admin_refuses_page(const struct rt_admin *admin, struct rt_http_request *req);
/* `what`: "metrics are". */
void rt_admin_refuse_stranger(struct rt_http_request *req, const char *what);
/* Has the request a right to the API? Answers and returns false otherwise. */
bool rt_admin_authorised(struct rt_admin *admin, struct rt_http_request *req);
/* stream.c: a channel as server-sent events */
void rt_admin_handle_stream(struct rt_http_request *req, void *arg);
/* Ends one stream, after what is queued for it; false: there is none. */
bool rt_admin_close_stream(void *admin);

/* publish, whatever brought the call: members that are payloads, for rt_envelope_parse(), and what its fields say, into the publish and its message (key, event, data;
 * `bytes` holds the decoded data). Slices live in the envelope. RT_EINVAL with text: a field is wrong, unknown or missing; RT_ENOMEM. */
extern const char *const rt_admin_payloads[];
int rt_admin_read_publish(struct rt_envelope *e, struct rt_publish *p, struct rt_buf *bytes,
                          struct rt_err *err);

/* One message as a publication object of the API. */
void rt_admin_add_publication(struct rt_buf *out, const struct rt_message *m);

#endif
