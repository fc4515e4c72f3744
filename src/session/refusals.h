/* What clients are refused, or lose, without seeing why: counted by reason, and told in the log with the option to change.
 *
 * The boundary that knows the client calls rt_refused(), once for each thing refused; what it calls returns errors and does not log. The log holds back
 * repetitions (base/log.h), so that nobody can fill it. Ownership: embedded in the broker. Thread: the loop. */
#ifndef RT_SESSION_REFUSALS_H
#define RT_SESSION_REFUSALS_H

#include "base/metrics.h"

enum rt_refusal {
    RT_REFUSED_EVENT,      /* no rule matches it: dropped */
    RT_REFUSED_NAMESPACE,  /* nobody gets into it */
    RT_REFUSED_ORIGIN,     /* a page from elsewhere: 403 */
    RT_REFUSED_CORS,       /* served, but the browser will not show it to its page */
    RT_REFUSED_MESSAGE,    /* larger than what may be published */
    RT_REFUSED_PACKET,     /* larger than what is read */
    RT_REFUSED_CHANNEL,    /* no rule for it */
    RT_REFUSED_PERMISSION, /* its rule says no */
    RT_REFUSED_INVALID,    /* a name or a key that cannot be one */
    RT_REFUSED_LIMIT,      /* of one client, or of all */
    RT_REFUSED_RATE,       /* it publishes more than its rule allows */
    RT_REFUSED_ACTION,     /* of a rule, for any other reason */
    RT_REFUSED_PROTOCOL,   /* the client broke it: closed */
    RT_REFUSED_VERSION,    /* of a protocol, not spoken here */
    RT_REFUSED_TRANSPORT,  /* not offered */
    RT_REFUSED_REQUEST,    /* no handshake */
    RT_REFUSED_SILENT,     /* joined no namespace in time: closed */
    RT_REFUSED_SLOW,       /* too much waits for it: closed */
    RT_REFUSED_UNWANTED,   /* the endpoint takes no messages: dropped */
    RT_REFUSED_REASONS,
};

struct rt_refusals {
    struct rt_metric counts[RT_REFUSED_REASONS];
};

struct rt_refusal_note {
    enum rt_refusal why;
    const char *protocol; /* "socketio", "raw": the log line's component */
    struct rt_str
        what; /* the event, namespace, origin or channel: as the client said it; may be none */
    const char *text;   /* what more there is to say; NULL nothing */
    const char *option; /* the key to change; NULL: the reason's own, if it has one */
};

/* `metrics` may be NULL. */
void rt_refusals_init(struct rt_refusals *r, struct rt_metrics *metrics);
void rt_refused(struct rt_refusals *r, const struct rt_refusal_note *note);
/* The reason behind a code of rt_broker_subscribe(). */
enum rt_refusal rt_refusal_of(int code);

#endif
