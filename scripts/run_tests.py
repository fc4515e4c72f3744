#!/usr/bin/env python3
"""Builds the test variants, runs all stages and ends with one line: N passed, M failed[, K skipped].

run_tests.py [--stage NAME] [--only TEXT] [--jobs N] [--verbose]

    lint          scripts/lint.py, its self-test first; links of the pages
    compile       the sources under clang's warnings as well
    unit          test/unit/**/test_*.c with ASan, UBSan and LeakSanitizer; a program prints TAP through cmocka
    threads       those of THREADED once more under ThreadSanitizer
    sim           the simulator of a cluster: seeded runs, and bugs planted on purpose that have to be caught
    fuzz          the stored corpus of every test/fuzz/fuzz_*.c
    configs       `rtbroker check` on every configuration that the tree ships, also within the pages; the list of metrics; the links of the installed pages;
                  how ./rtbroker is hardened
    integration   node --test over test/integration/*.test.mjs, against ./rtbroker
    sanitized     the same against a broker with ASan and UBSan, whose leaks make it end badly; but for test/integration/cluster*,
                  which take a whole cluster and are run once

Everything is built first. Then the tests of all stages run side by side, those that take longest first: most of them wait more
than they compute. Of test/integration/cluster*, one runs at a time: three nodes and their services have promises of a few seconds to keep. build/log/times.txt says how long each took, and how much of that it computed.

A stage that finds no test has failed, and so has one that ends badly without a failed test. Output of what passes goes to
build/log/ only.
"""

import argparse
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build")
LOGS = os.path.join(BUILD, "log")
CORES = os.cpu_count() or 2
JOBS = CORES + 1
PROGRAM_TIMEOUT = 600
MAKE_TIMEOUT = 20 * 60
INTEGRATION_TIMEOUT = 20 * 60
PROGRESS_SECONDS = 20
# What shares data between threads: how paths below test/unit/ begin.
THREADED = ("admin/test_consume", "worker/", "journal/", "store/")
# What takes longest, so that it begins first; the rest follows in the order of the stages.
SLOW = ("cluster_store", "demo.test", "cluster.test", "test_kafka_mock", "cluster_", "test_sink", "admin/test_consume",
        "test_kafka_real", "consume.test", "abuse.test", "durability.test", "test_sqlite_power", "websocket.test", "cli.test", "sim/sim")

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Result:
    """What one program (or one whole file of tests) did."""

    def __init__(self, name, passed=0, failed=0, skipped=0, output=""):
        self.name, self.passed, self.failed, self.skipped, self.output = name, passed, failed, skipped, output

    def count(self):
        return self.passed + self.failed + self.skipped


class Job:
    """One program to run: `work` returns (Result, seconds of processor time)."""

    def __init__(self, name, work):
        self.name, self.work, self.stage, self.result = name, work, None, None
        self.is_cluster = "/cluster" in name and name.endswith(".mjs")


# ---- running programs --------------------------------------------------------------------------------------------

def run_timed(command, timeout, env=None):
    """(exit code, output of both streams, processor seconds). The whole process group dies at the timeout: a hung broker is a
    failure."""
    p = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    late = threading.Event()

    def kill():
        late.set()
        os.killpg(p.pid, signal.SIGKILL)
    timer = threading.Timer(timeout, kill)
    timer.start()
    out = p.stdout.read().decode("utf-8", "replace")
    _, status, usage = os.wait4(p.pid, 0)
    timer.cancel()
    p.stdout.close()
    p.returncode = os.waitstatus_to_exitcode(status)
    if late.is_set():
        return -1, out + f"\nno end after {timeout} s\n", 0.0
    return p.returncode, out, usage.ru_utime + usage.ru_stime


def run(command, timeout, env=None):
    return run_timed(command, timeout, env)[:2]


def keep_log(name, output):
    os.makedirs(os.path.join(ROOT, LOGS), exist_ok=True)
    with open(os.path.join(ROOT, LOGS, name.replace("/", "_")), "w", encoding="utf-8") as f:
        f.write(output)


def make(name, *args):
    """Builds; `name` is that of its log. Not through the jobserver of a make above, whose descriptors do not get here."""
    hidden = ["env", "-u", "MAKEFLAGS", "-u", "MFLAGS", "-u", "MAKELEVEL"]
    code, output = run([*hidden, "make", f"-j{CORES}", f"BUILD={BUILD}", *args], MAKE_TIMEOUT)
    keep_log(f"make_{name}.log", output)
    output = re.sub(r"^  [A-Z]+ +\S+\n", "", output, flags=re.M)  # what went well
    return Result("make " + name, failed=int(code != 0), output=output)


# ---- TAP of cmocka and of test/fuzz/replay.c --------------------------------------------------------------------

def parse_tap(name, code, output):
    """Counts against the plans, so that a program which died halfway has failures."""
    planned = sum(int(n) for n in re.findall(r"^1\.\.(\d+)", output, re.M))
    skipped = len(re.findall(r"^(?:not )?ok \d+ # SKIP\b", output, re.M))
    failed = len(re.findall(r"^not ok \d+ (?!# SKIP\b)", output, re.M))
    passed = len(re.findall(r"^ok \d+ (?!# SKIP\b)", output, re.M))
    failed += max(0, planned - passed - failed - skipped)
    if code != 0:
        output += f"\nexit code {code}\n"
        failed = max(failed, 1)
    elif passed + failed + skipped == 0:
        output += "\nran no test\n"
        failed = 1
    return Result(name, passed, failed, skipped, output)


def run_program(path, args=()):
    env = {"CMOCKA_MESSAGE_OUTPUT": "TAP", **SANITIZERS}
    code, output, seconds = run_timed([path, *args], PROGRAM_TIMEOUT, env)
    keep_log(os.path.relpath(path, BUILD) + ".log", output)
    return parse_tap(path.split("/test/", 1)[1], code, output), seconds


def programs(pattern, prefix, variant, only):
    sources = sorted(glob.glob(pattern, root_dir=ROOT, recursive=True))
    return [os.path.join(BUILD, variant, s[:-2]) for s in sources if s.startswith(prefix) and only in s]


def build_programs(name, paths, variant_args, args_of=lambda path: ()):
    built = make(name, *variant_args, *paths) if paths else Result(name)
    if built.failed:
        return [built], []
    return [], [Job(path.split("/test/", 1)[1], lambda path=path: run_program(path, args_of(path))) for path in paths]


# ---- stages: each builds, and returns what that showed already and the jobs that are left ------------------------

def stage_lint(_only):
    results = []
    for command in (["lint.py", "--self-test"], ["lint.py"], ["check_docs.py"]):
        code, output = run([sys.executable, f"scripts/{command[0]}", *command[1:]], PROGRAM_TIMEOUT)
        results.append(Result(" ".join(command), int(code == 0), int(code != 0), 0, output))
    return results, []


def stage_compile(_only):
    built = make("compile", "check-clang")
    built.passed = 1 - built.failed
    return [built], []


def stage_unit(only):
    paths = programs("test/unit/**/test_*.c", "test/unit/", "test-asan-ubsan", only)
    return build_programs("unit", paths, ["TEST=1", "SAN=address,undefined"])


def stage_threads(only):
    paths = [path for part in THREADED
             for path in programs("test/unit/**/test_*.c", f"test/unit/{part}", "test-tsan", only)]
    return build_programs("threads", paths, ["TEST=1", "SAN=thread"])


def stage_sim(only):
    if only not in "test/sim":
        return [], []
    return build_programs("sim", [os.path.join(BUILD, "test-asan-ubsan", "test/sim/sim")], ["TEST=1", "SAN=address,undefined"])


def stage_fuzz(only):
    def corpus(path):
        return [os.path.join("test/fuzz/corpus", os.path.basename(path)[len("fuzz_"):])]
    paths = programs("test/fuzz/fuzz_*.c", "test/fuzz/", "test-asan-ubsan", only)
    return build_programs("fuzz", paths, ["TEST=1", "SAN=address,undefined"], corpus)


def check_installed():
    """The links of the pages where `make install` puts them."""
    with tempfile.TemporaryDirectory() as folder:
        made = make("install", "install", f"DESTDIR={folder}", "PREFIX=/usr")
        if made.failed:
            return made
        code, output = run([sys.executable, "scripts/check_docs.py", "--installed", f"{folder}/usr/share/doc/rtbroker"], PROGRAM_TIMEOUT)
        return Result("installed", int(code == 0), int(code != 0), 0, output)


def stage_configs(only):
    files = sorted(glob.glob("docs/examples/**/*.y*ml", root_dir=ROOT, recursive=True)
                   + glob.glob("test/conformance/*.y*ml", root_dir=ROOT))
    results = []
    for path in (f for f in files if only in f):
        code, output = run(["./rtbroker", "check", "--config", path], PROGRAM_TIMEOUT)
        results.append(Result(path, int(code == 0), int(code != 0), 0, output))
    if only in "docs":
        code, output = run([sys.executable, "scripts/check_docs.py", "--broker", "./rtbroker"], PROGRAM_TIMEOUT)
        results.append(Result("docs", int(code == 0), int(code != 0), 0, output))
    if only in "installed":
        results.append(check_installed())
    for argument in ("--self-test", "./rtbroker") if only in "hardening" else ():
        code, output = run([sys.executable, "scripts/check_hardening.py", argument], PROGRAM_TIMEOUT)
        results.append(Result(f"hardening {argument}", int(code == 0), int(code != 0), 0, output))
    return results, []


NODE_SUMMARY = {"passed": "pass", "failed": "fail", "cancelled": "cancelled", "skipped": "skipped", "todo": "todo"}


def parse_node(name, code, output):
    """Node's TAP ends with `# pass N` and so on."""
    seen = {k: sum(map(int, re.findall(rf"^# {word} (\d+)$", output, re.M))) for k, word in NODE_SUMMARY.items()}
    failed = seen["failed"] + seen["cancelled"]
    if code != 0:
        failed = max(failed, 1)
    elif sum(seen.values()) == 0:
        output += "\nran no test\n"
        failed = 1
    return Result(name, seen["passed"], failed, seen["skipped"] + seen["todo"], output)


def failed_parts(output):
    """The failing top-level tests of Node's TAP, or its end when it died without one."""
    blocks = re.split(r"^(?=# Subtest: )", output, flags=re.M)
    bad = [b for b in blocks if re.search(r"^not ok ", b, re.M)]
    return "".join(bad) or output[-8000:]


def run_file(stage, path, env):
    code, output, seconds = run_timed(["node", "--test", "--test-reporter=tap", path], INTEGRATION_TIMEOUT, env)
    name = f"{stage}/{os.path.basename(path)[:-len('.test.mjs')]}"
    keep_log(name + ".log", output)
    result = parse_node(name, code, output)
    result.output = failed_parts(output)
    return result, seconds


def integration(stage, only, env, left_out=()):
    files = sorted(f for f in glob.glob("test/integration/**/*.test.mjs", root_dir=ROOT, recursive=True)
                   if "node_modules" not in f and only in f and not os.path.basename(f).startswith(left_out))
    installed = make("npm", "test/integration/node_modules/.package-lock.json") if files else Result(stage)
    if installed.failed:
        return [installed], []
    return [], [Job(f"{stage}/{os.path.basename(path)}", lambda path=path: run_file(stage, path, env)) for path in files]


def stage_integration(only):
    return integration("integration", only, {})


def stage_sanitized(only):
    built = make("sanitized", "SAN=address,undefined")
    if built.failed:
        return [built], []
    binary = os.path.join(BUILD, "asan-ubsan", "rtbroker")
    return integration("sanitized", only, {"RTBROKER": binary, **SANITIZERS}, ("cluster",))


STAGES = {"lint": stage_lint, "compile": stage_compile, "unit": stage_unit, "threads": stage_threads,
          "sim": stage_sim, "fuzz": stage_fuzz, "configs": stage_configs, "integration": stage_integration,
          "sanitized": stage_sanitized}
# Their successes are checks, not tests: only their failures count.
CHECKS = {"lint", "compile"}


# ---- running them side by side -----------------------------------------------------------------------------------

class Pool:
    """Runs jobs on a few threads, and says how far it is."""

    def __init__(self, jobs, threads, verbose):
        self.waiting = sorted(jobs, key=lambda job: next((i for i, s in enumerate(SLOW) if s in job.name), len(SLOW)))
        self.total, self.verbose = len(jobs), verbose
        self.running, self.times = {}, []
        self.lock = threading.Lock()
        self.ended = threading.Condition(self.lock)  # a job
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(min(threads, self.total))]

    def take(self):
        """The next job, once there is one that may run; None at the end."""
        while self.waiting:
            busy = any(job.is_cluster for job in self.running)
            for i, job in enumerate(self.waiting):
                if not (busy and job.is_cluster):
                    return self.waiting.pop(i)
            self.ended.wait()
        return None

    def work(self):
        while True:
            with self.lock:
                job = self.take()
                if job is None:
                    return
                self.running[job] = start = time.monotonic()
            try:
                result, computed = job.work()
            except Exception as e:  # pylint: disable=broad-except
                result, computed = Result(job.name, failed=1, output=f"{type(e).__name__}: {e}"), 0.0
            with self.lock:
                del self.running[job]
                self.times.append((time.monotonic() - start, computed, f"{job.stage}: {job.name}"))
                job.result = result
                if result.failed or self.verbose:
                    print(f"\n---- {result.name} ----\n{result.output.rstrip()}\n", flush=True)
                self.ended.notify_all()

    def say(self):
        longest = sorted(self.running, key=self.running.get)
        names = ", ".join(job.name for job in longest)
        print(f"{len(self.times):>4} of {self.total} done, running: {names}", flush=True)

    def run(self):
        for thread in self.threads:
            thread.start()
        next_word = time.monotonic() + PROGRESS_SECONDS
        with self.lock:
            while len(self.times) < self.total:
                self.ended.wait(max(0.0, next_word - time.monotonic()))
                if time.monotonic() >= next_word:
                    self.say()
                    next_word = time.monotonic() + PROGRESS_SECONDS
        for thread in self.threads:
            thread.join()
        keep_log("times.txt", "".join(f"{wall:8.1f} s, computed {cpu:7.1f} s  {name}\n"
                                      for wall, cpu, name in sorted(self.times, reverse=True)))


def build(name, only):
    """(results, jobs) of a stage; prints what is wrong already."""
    start = time.monotonic()
    results, jobs = STAGES[name](only)
    for r in results:
        if r.failed:
            print(f"\n---- {r.name} ----\n{r.output.rstrip()}\n", flush=True)
    for job in jobs:
        job.stage = name
    print(f"{name + ':':<13} {'ready' if jobs else 'done'} after {time.monotonic() - start:.0f} s", flush=True)
    return results, jobs


def total_of(name, results):
    """Prints a stage's line; returns (passed, failed, skipped)."""
    total = [sum(r.passed for r in results), sum(r.failed for r in results), sum(r.skipped for r in results)]
    if sum(total) == 0:
        print(f"{name}: no test was found")
        total[1] = 1
    print(f"{name + ':':<13} {total[0]} ok, {total[1]} bad, {total[2]} left out", flush=True)
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--stage", action="append", choices=STAGES)
    parser.add_argument("--only", default="", help="tests whose path contains this text")
    parser.add_argument("--jobs", type=int, default=JOBS, help="tests that run at a time")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    names = args.stage or list(STAGES)
    start = time.monotonic()
    built = {name: build(name, args.only) for name in names}
    pool = Pool([job for _, jobs in built.values() for job in jobs], max(1, args.jobs), args.verbose)
    pool.run()
    passed = failed = skipped = 0
    for name, (results, jobs) in built.items():
        p, f, s = total_of(name, [*results, *(job.result for job in jobs)])
        passed += 0 if name in CHECKS else p
        failed += f
        skipped += s
    print(f"all of it took {time.monotonic() - start:.0f} s")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 and not set(names) <= CHECKS else 0


if __name__ == "__main__":
    sys.exit(main())
