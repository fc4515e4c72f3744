#include "session/refusals.h"

#include "base/err.h"
#include "base/log.h"

/* `level`: a mistake in the configuration, or in the client that goes with it, is worth a warning; what any stranger can send is not. */
static const struct {
    const char *label, *message, *key, *option;
    enum rt_log_level level;
} reasons[] = {
    [RT_REFUSED_EVENT] = {"reason=\"event\"", "an event was dropped: no rule matches it", "event",
                          "socketio.events, socketio.unmatched", RT_LOG_WARN},
    [RT_REFUSED_NAMESPACE] = {"reason=\"namespace\"",
                              "a client was refused: nobody gets into this namespace", "namespace",
                              "socketio.namespaces", RT_LOG_WARN},
    [RT_REFUSED_ORIGIN] = {"reason=\"origin\"", "a page of another origin was refused", "origin",
                           "origins", RT_LOG_WARN},
    [RT_REFUSED_CORS] = {"reason=\"cors\"",
                         "a page of another origin was answered without CORS headers: a browser "
                         "keeps the answer from it",
                         "origin", NULL, RT_LOG_WARN},
    [RT_REFUSED_MESSAGE] = {"reason=\"message_size\"", "a message was refused: it is too large",
                            "channel", "limits.message", RT_LOG_WARN},
    [RT_REFUSED_PACKET] = {"reason=\"packet_size\"", "a packet was refused: it is too large",
                           "path", NULL, RT_LOG_WARN},
    [RT_REFUSED_CHANNEL] = {"reason=\"channel\"", "a client was refused: no rule for this channel",
                            "channel", "channels", RT_LOG_WARN},
    [RT_REFUSED_PERMISSION] = {"reason=\"permission\"",
                               "a client was refused: the channel's rule does not allow it",
                               "channel", "channels[].subscribe, channels[].publish", RT_LOG_WARN},
    [RT_REFUSED_INVALID] = {"reason=\"invalid\"", "refused: not valid", "channel", NULL,
                            RT_LOG_WARN},
    [RT_REFUSED_LIMIT] = {"reason=\"limit\"", "refused: a limit is reached", "channel", NULL,
                          RT_LOG_WARN},
    [RT_REFUSED_RATE] = {"reason=\"rate\"",
                         "a message was refused: its client publishes more than it may", "channel",
                         "channels[].rate", RT_LOG_WARN},
    [RT_REFUSED_ACTION] = {"reason=\"action\"", "an action of a rule failed", "event", NULL,
                           RT_LOG_WARN},
    [RT_REFUSED_PROTOCOL] = {"reason=\"protocol\"",
                             "a connection was closed: its client broke the protocol", "path", NULL,
                             RT_LOG_INFO},
    [RT_REFUSED_VERSION] = {"reason=\"version\"",
                            "a client was refused: its version of Engine.IO is not spoken here",
                            "path", NULL, RT_LOG_WARN},
    [RT_REFUSED_TRANSPORT] = {"reason=\"transport\"",
                              "a client was refused: the transport is not offered", "path", NULL,
                              RT_LOG_WARN},
    [RT_REFUSED_REQUEST] = {"reason=\"request\"", "a request was refused: it is no handshake",
                            "path", NULL, RT_LOG_INFO},
    [RT_REFUSED_SILENT] = {"reason=\"silent\"",
                           "a connection was closed: its client joined no namespace in time",
                           "path", "protocols.socketio.connect_timeout", RT_LOG_INFO},
    [RT_REFUSED_SLOW] = {"reason=\"slow\"", "a connection was closed: its client reads too slowly",
                         "path", "limits.send_queue", RT_LOG_WARN},
    [RT_REFUSED_UNWANTED] = {"reason=\"unwanted\"",
                             "a message was dropped: the endpoint takes none", "path",
                             "protocols.raw[].publish", RT_LOG_WARN},
};

void rt_refusals_init(struct rt_refusals *r, struct rt_metrics *metrics)
{
    for (size_t i = 0; i < RT_REFUSED_REASONS; i++) {
        r->counts[i] = (struct rt_metric){
            .name = "refusals_total",
            .help = "What clients were refused, or lost, by reason; the log says more.",
            .labels = reasons[i].label,
            .type = RT_COUNTER};
        if (metrics)
            rt_metrics_register(metrics, &r->counts[i]);
    }
}

void rt_refused(struct rt_refusals *r, const struct rt_refusal_note *note)
{
    const char *option = note->option ? note->option : reasons[note->why].option;
    r->counts[note->why].value++;
    rt_log(reasons[note->why].level, note->protocol, reasons[note->why].message,
           rt_kv_str(note->what.ptr ? reasons[note->why].key : NULL, note->what),
           rt_kv_c(note->text ? "reason" : NULL, note->text ? note->text : ""),
           rt_kv_c(option ? "option" : NULL, option ? option : ""));
}

enum rt_refusal rt_refusal_of(int code)
{
    switch (code) {
    case RT_ENOENT:
        return RT_REFUSED_CHANNEL;
    case RT_EPERM:
        return RT_REFUSED_PERMISSION;
    case RT_ERANGE:
    case RT_EAGAIN: /* of all channels together */
        return RT_REFUSED_LIMIT;
    default:
        return RT_REFUSED_INVALID;
    }
}
