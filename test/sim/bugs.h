/* Bugs that are planted on purpose: a checker that never failed proves nothing.
 *
 * One line a bug: name, what is wrong. Bugs in the real code are thin shims around one of its functions (bugs.c, through the linker's --wrap), those in its surroundings a
 * line in a fake. BUG() asks whether one is planted in this run. */
#ifndef TEST_SIM_BUGS_H
#define TEST_SIM_BUGS_H

#define SIM_BUGS(X)                                                                               \
    X(SKIP_AHEAD, "skip-ahead", "an early record is delivered before what it should wait for")    \
    X(SEEN_IS_DONE, "seen-is-done", "a tail record is dropped since Redis has brought it once")   \
    X(TAIL_LOSES, "tail-loses", "one of 50 records of the tail is passed over")                   \
    X(UNBOUNDED, "unbounded", "the reorder buffer is not emptied when it is full")                \
    X(DEDUPE_FORGETS, "dedupe-forgets", "nodes do not remember idempotency keys")                 \
    X(KEYS_GLOBAL, "keys-global", "idempotency keys count for a partition, not for a channel")    \
    X(DEDUPE_COLD, "dedupe-cold", "a node starts without reading the window of keys back")        \
    X(CLOCKS_TRUSTED, "clocks-trusted", "keys are forgotten by the time that records say")        \
    X(SINK_TIMELESS, "sink-timeless", "the store's writer does not hear the log's clock")         \
    X(RESUME_SKIPS, "resume-skips", "a resume begins one position too late")                      \
    X(RESUME_REPEATS, "resume-repeats", "a resume begins one position too early")                 \
    X(LIVE_EARLY, "live-early", "live messages are not held back while a resume reads")           \
    X(MEMORY_TRUSTED, "memory-trusted", "memory is believed to hold all that was missed")         \
    X(LAG_TRUSTED, "lag-trusted", "rows are believed to be complete though the store lags")       \
    X(ACK_EARLY, "ack-early", "a publish is acknowledged when it is sent, not when it is stored") \
    X(UNKNOWN_IS_RETRY, "unknown-is-retry", "a lost answer is reported as certainly not stored")  \
    X(MAC_UNCHECKED, "mac-unchecked", "an envelope's MAC is not looked at")                       \
    X(EPOCH_IGNORED, "epoch-ignored", "an early record of a former topic is taken")               \
    X(RESET_FORGOTTEN, "reset-forgotten", "positions go on where they were in a topic made anew") \
    X(NAME_KEPT, "name-kept", "records on their way bring a former topic's name into a new one")  \
    X(SINK_UNFENCED, "sink-unfenced", "the store's writer does not check where it stands")        \
    X(SINK_REPEATS, "sink-repeats", "the store's writer does not know idempotency keys")

enum bug {
    BUG_NONE,
#define X(id, name, text) BUG_##id,
    SIM_BUGS(X)
#undef X
        BUG_COUNT
};

#define BUG(id) (sim.bug == BUG_##id)

#endif
