/* Runs the simulator, in TAP:
 *
 *     sim                            clean runs, one of them twice, then each planted bug until it is caught
 *     sim --seed N [--bug NAME]      one run with its whole trace
 *     sim --seeds N [--from N] [--bug NAME]   clean runs (or runs with one bug) over more seeds
 *
 * Each run is a child: it begins with the same state, and a crash is a result like any other. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "world.h"

#define CLEAN_SEEDS 24u /* of a plain `sim` */
#define RUN_SECONDS 60u

/* What a run came to, through a pipe. */
struct result {
    uint64_t trace_hash, events;
    char failure[400]; /* "" none */
};

static const struct {
    const char *name, *text;
} bugs[BUG_COUNT] = {{"none", "nothing is planted"},
#define X(id, name, text) {name, text},
                     SIM_BUGS(X)
#undef X
};

struct options {
    uint64_t from, seeds;
    enum bug bug;
    bool one, verbose;
};

static uint32_t tests, failed;

static void report(bool ok, const char *format, uint64_t number, const char *name)
{
    tests++;
    failed += !ok;
    printf("%sok %u - ", ok ? "" : "not ", tests);
    printf(format, (unsigned long long)number, name);
    printf("\n");
    fflush(stdout);
}

static void child(uint64_t seed, enum bug bug, bool verbose, bool quiet, int out)
{
    struct result r = {.events = 0};
    alarm(RUN_SECONDS);
    rt_log_setup(RT_LOG_OFF, RT_LOG_TEXT, "sim");
    world_run(seed, bug, verbose);
    r.trace_hash = sim.trace_hash;
    r.events = sim.events;
    memcpy(r.failure, sim.failure, sizeof(r.failure));
    if (r.failure[0] && !quiet)
        sim_print_trace();
    if (write(out, &r, sizeof(r)) != (ssize_t)sizeof(r))
        exit(2);
    fflush(stdout);
    if (r.failure[0])
        _exit(0); /* it ended in the middle */
    exit(0);      /* leaks are looked for here */
}

/* `quiet`: a failure is wanted, its trace is not. */
static struct result run(uint64_t seed, enum bug bug, bool verbose, bool quiet)
{
    struct result r = {.events = 0};
    int ends[2], status = 0;
    fflush(stdout);
    if (pipe(ends) < 0) {
        perror("sim: pipe");
        exit(2);
    }
    pid_t pid = fork();
    if (pid < 0) {
        perror("sim: fork");
        exit(2);
    }
    if (pid == 0) {
        close(ends[0]);
        child(seed, bug, verbose, quiet, ends[1]);
    }
    close(ends[1]);
    bool whole = read(ends[0], &r, sizeof(r)) == (ssize_t)sizeof(r);
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (whole && !well && !r.failure[0])
        snprintf(r.failure, sizeof(r.failure), "the run leaks");
    else if (!whole)
        snprintf(r.failure, sizeof(r.failure), "the run died (status %d)", status);
    return r;
}

static void tell_failure(uint64_t seed, enum bug bug, const struct result *r)
{
    printf("# seed %llu: %s\n", (unsigned long long)seed, r->failure);
    printf("# repeat with: make sim SEED=%llu%s%s\n", (unsigned long long)seed, bug ? " BUG=" : "",
           bug ? bugs[bug].name : "");
}

static void run_over(const struct options *o)
{
    for (uint64_t seed = o->from; seed < o->from + o->seeds; seed++) {
        struct result r = run(seed, o->bug, o->verbose, false);
        if (r.failure[0])
            tell_failure(seed, o->bug, &r);
        report(!r.failure[0], "seed %llu, %s", seed, bugs[o->bug].name);
    }
}

static void same_run_twice(uint64_t seed)
{
    struct result a = run(seed, BUG_NONE, false, true), b = run(seed, BUG_NONE, false, true);
    report(a.trace_hash == b.trace_hash && a.events == b.events, "seed %llu gives the same run %s",
           seed, "twice");
}

/* Over the seeds that pass without it. */
static void catch_bug(enum bug bug, const struct options *o)
{
    for (uint64_t seed = o->from; seed < o->from + o->seeds; seed++) {
        struct result r = run(seed, bug, false, true);
        if (!r.failure[0])
            continue;
        printf("# %s: %s\n#   seed %llu: %s\n", bugs[bug].name, bugs[bug].text,
               (unsigned long long)seed, r.failure);
        report(true, "after %llu runs: %s is caught", seed - o->from + 1, bugs[bug].name);
        return;
    }
    printf("# %s: %s\n", bugs[bug].name, bugs[bug].text);
    report(false, "after %llu runs: %s is not caught", o->seeds, bugs[bug].name);
}

static void usage(void)
{
    fprintf(stderr,
            "usage: sim [--seed N | --seeds N [--from N]] [--bug NAME] [--verbose]\nbugs:\n");
    for (int i = 1; i < BUG_COUNT; i++)
        fprintf(stderr, "  %-18s %s\n", bugs[i].name, bugs[i].text);
    exit(2);
}

static uint64_t number(const char *text)
{
    char *end = NULL;
    errno = 0;
    uint64_t value = text ? strtoull(text, &end, 10) : 0;
    if (!text || errno || end == text || *end != '\0')
        usage();
    return value;
}

static enum bug bug_of(const char *name)
{
    for (int i = 0; name && i < BUG_COUNT; i++)
        if (strcmp(bugs[i].name, name) == 0)
            return (enum bug)i;
    usage();
    return BUG_NONE;
}

static bool parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--verbose") == 0) {
            o->verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--seed") == 0) {
            o->from = number(value);
            o->seeds = 1;
            o->one = o->verbose = true;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            o->seeds = number(value);
        } else if (strcmp(argv[i], "--from") == 0) {
            o->from = number(value);
        } else if (strcmp(argv[i], "--bug") == 0) {
            o->bug = bug_of(value);
        } else {
            usage();
        }
        i++;
    }
    return argc > 1;
}

int main(int argc, char **argv)
{
    struct options o = {.from = 1, .seeds = CLEAN_SEEDS};
    if (parse(argc, argv, &o)) {
        run_over(&o);
    } else {
        run_over(&o);
        same_run_twice(1);
        for (int bug = 1; bug < BUG_COUNT; bug++)
            catch_bug((enum bug)bug, &o);
    }
    printf("1..%u\n", tests);
    return failed ? 1 : 0;
}
