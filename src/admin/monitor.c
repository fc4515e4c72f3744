/* Health, readiness and metrics.
 *
 * /healthz answers when the loop turns, whatever the backends do: a supervisor must not restart a broker because its disk is full.
 * /readyz says whether this node should get traffic, and why not. */
#include "admin/internal.h"

#include <assert.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "json/scan.h"
#include "version.h"

#define LOOK_MS 1000u

static void handle_health(struct rt_http_request *req, void *arg)
{
    (void)arg;
    rt_http_respond(req, 200, "text/plain; charset=utf-8", RT_STR("Cache-Control: no-store\r\n"),
                    RT_STR("ok\n"));
}

/* ---- backends ---- */

/* The error of a link that is down stays until it is up, also where the backend has no words for it any more. */
static void look_at(struct rt_backend_state *s)
{
    const char *text = "";
    bool up = s->backend.up(s->backend.arg, &text);
    if (up)
        s->error[0] = '\0';
    else if (text[0] != '\0')
        (void)snprintf(s->error, sizeof(s->error), "%s", text);
    if (up == s->up && s->since != 0)
        return;
    s->up = up;
    s->since = rt_wall_ms();
}

static void look_at_all(struct rt_timer *timer)
{
    struct rt_admin *a = RT_CONTAINER(timer, struct rt_admin, look);
    for (size_t i = 0; i < a->backend_count; i++)
        look_at(&a->backends[i]);
    rt_timer_start(a->options.loop, timer, LOOK_MS, look_at_all);
}

static void begin_looking(struct rt_admin *a)
{
    assert(a->options.backend_count <= RT_BACKENDS_MAX);
    for (size_t i = 0; i < a->options.backend_count; i++)
        a->backends[i].backend = a->options.backends[i];
    a->backend_count = a->options.backend_count;
    look_at_all(&a->look);
}

void rt_admin_stop_monitor(struct rt_admin *a)
{
    rt_timer_stop(a->options.loop, &a->look);
}

static void add_backend(struct rt_buf *body, const struct rt_backend_state *s)
{
    char since[RT_ISO_TIME_LEN + 1];
    rt_iso_time(s->since, since);
    rt_buf_printf(body, "\"%s\":{\"kind\":\"%s\",\"required\":%s,", s->backend.name,
                  s->backend.kind, s->backend.required ? "true" : "false");
    rt_buf_printf(body, "\"up\":%s,\"since\":\"%s\",\"last_error\":", s->up ? "true" : "false",
                  since);
    rt_json_add_string(body, rt_str_c(s->error));
    rt_buf_add_byte(body, '}');
}

static void handle_ready(struct rt_http_request *req, void *arg)
{
    struct rt_admin *a = arg;
    bool serving = a->options.serving(a->options.arg), ready = serving;
    struct rt_buf body = RT_BUF_INIT, list = RT_BUF_INIT;
    for (size_t i = 0; i < a->backend_count; i++) {
        struct rt_backend_state *s = &a->backends[i];
        look_at(s);
        ready = ready && (s->up || !s->backend.required);
        if (i > 0)
            rt_buf_add_byte(&list, ',');
        add_backend(&list, s);
    }
    rt_buf_printf(&body, "{\"ready\":%s,\"serving\":%s,\"backends\":{", ready ? "true" : "false",
                  serving ? "true" : "false");
    rt_buf_add_str(&body, rt_buf_str(&list));
    rt_buf_add_c(&body, "}}\n");
    if (!rt_admin_is_trusted(a, req)) {
        rt_buf_clear(
            &body); /* what services there are, and their errors, is nobody else's matter */
        rt_buf_printf(&body, "{\"ready\":%s}\n", ready ? "true" : "false");
    }
    if (rt_buf_ok(&body) && rt_buf_ok(&list))
        rt_http_respond(req, ready ? 200 : 503, "application/json",
                        RT_STR("Cache-Control: no-store\r\n"), rt_buf_str(&body));
    else
        rt_http_error(req, 503, "out_of_memory", "out of memory", NULL);
    rt_buf_deinit(&body);
    rt_buf_deinit(&list);
}

static void handle_metrics(struct rt_http_request *req, void *arg)
{
    struct rt_admin *a = arg;
    if (rt_admin_refuses_page(a, req))
        return;
    if (!rt_admin_is_trusted(a, req)) {
        rt_admin_refuse_stranger(req, "metrics are");
        return;
    }
    struct rt_buf body = RT_BUF_INIT;
    rt_metrics_write(a->options.metrics, &body);
    if (rt_buf_ok(&body))
        rt_http_respond(req, 200, "text/plain; version=0.0.4; charset=utf-8", RT_STR_NONE,
                        rt_buf_str(&body));
    else
        rt_http_error(req, 500, "out_of_memory", "out of memory", NULL);
    rt_buf_deinit(&body);
}

/* Field `index` (from 0) of /proc/self/statm, in pages; 0 when it cannot be read. */
static double read_rss(void *arg)
{
    (void)arg;
    char text[128];
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    size_t len = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    struct rt_str rest = rt_str_of(text, len);
    (void)rt_str_split(rest, ' ', &rest);
    uint64_t pages = 0;
    (void)rt_str_to_u64(rt_str_split(rest, ' ', &rest), &pages);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double read_cpu(void *arg)
{
    (void)arg;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 +
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
}

static double read_fds(void *arg)
{
    const struct rt_admin *a = arg;
    return a->options.descriptors ? (double)a->options.descriptors(a->options.arg) : 0;
}

static double read_max_fds(void *arg)
{
    (void)arg;
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) ? 0 : (double)limit.rlim_cur;
}

static void add_gauge(struct rt_admin *a, struct rt_metric *m, const char *name, const char *help,
                      double (*read)(void *arg))
{
    *m = (struct rt_metric){.name = name, .help = help, .type = RT_GAUGE, .read = read, .arg = a};
    rt_metrics_register(a->options.metrics, m);
}

static void add_api_counter(struct rt_admin *a, struct rt_metric *m, const char *labels)
{
    *m = (struct rt_metric){.name = "api_requests_total",
                            .help = "Calls of the server API by result.",
                            .labels = labels,
                            .type = RT_COUNTER};
    rt_metrics_register(a->options.metrics, m);
}

static void add_key_counter(struct rt_admin *a, struct rt_metric *m, const char *labels)
{
    *m = (struct rt_metric){.name = "api_keys_refused_total",
                            .help = "Calls of the server API without a valid key.",
                            .labels = labels,
                            .type = RT_COUNTER};
    rt_metrics_register(a->options.metrics, m);
}

static void register_metrics(struct rt_admin *a)
{
    struct rt_metric *m = &a->metrics.info;
    (void)snprintf(a->info_labels, sizeof(a->info_labels), "version=\"%s\",commit=\"%s\"",
                   RT_VERSION, RT_COMMIT);
    *m = (struct rt_metric){.name = "build_info",
                            .help = "Always 1; the version is in the labels.",
                            .labels = a->info_labels,
                            .type = RT_GAUGE,
                            .value = 1};
    rt_metrics_register(a->options.metrics, m);
    m = &a->metrics.start_time;
    *m = (struct rt_metric){.name = "process_start_time_seconds",
                            .help = "When this process started, seconds since 1970.",
                            .type = RT_GAUGE,
                            .value = rt_wall_ms() / 1000};
    rt_metrics_register(a->options.metrics, m);
    m = &a->metrics.cpu;
    *m = (struct rt_metric){.name = "process_cpu_seconds_total",
                            .help = "User and system CPU time.",
                            .type = RT_COUNTER,
                            .read = read_cpu};
    rt_metrics_register(a->options.metrics, m);
    add_gauge(a, &a->metrics.rss, "process_resident_memory_bytes", "Resident memory.", read_rss);
    add_gauge(a, &a->metrics.fds, "process_open_fds", "Open descriptors, counted every 10 s.",
              read_fds);
    add_gauge(a, &a->metrics.max_fds, "process_max_fds", "Limit of open descriptors.",
              read_max_fds);
    add_api_counter(a, &a->metrics.api_ok, "result=\"ok\"");
    add_api_counter(a, &a->metrics.api_refused, "result=\"refused\"");
    add_api_counter(a, &a->metrics.api_failed, "result=\"failed\"");
    add_key_counter(a, &a->metrics.keys_missing, "key=\"missing\"");
    add_key_counter(a, &a->metrics.keys_unknown, "key=\"unknown\"");
}

int rt_admin_mount_monitor(struct rt_admin *a, struct rt_err *err)
{
    const struct rt_config *config = a->options.config;
    struct rt_http_route route = {
        .internal_only = config->http.internal[0] != '\0', .always = true, .arg = a};
    register_metrics(a);
    begin_looking(a);
    route.path = "/healthz";
    route.handle = handle_health;
    int status = rt_http_route_add(a->options.http, &route, err);
    route.path = "/readyz";
    route.handle = handle_ready;
    if (status == 0)
        status = rt_http_route_add(a->options.http, &route, err);
    route.path = "/metrics";
    route.handle = handle_metrics;
    if (status == 0 && config->metrics.enabled)
        status = rt_http_route_add(a->options.http, &route, err);
    return status;
}
