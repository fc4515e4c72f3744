#!/usr/bin/env python3
"""Builds the test variants, runs all stages and ends with one line: N passed, M failed[, K skipped].

run_tests.py [--stage NAME] [--only TEXT] [--verbose]

    lint          scripts/lint.py, its self-test first; links of the pages
    compile       the sources under clang's warnings as well
    unit          test/unit/**/test_*.c with ASan, UBSan and LeakSanitizer; a program prints TAP through cmocka
    threads       those of THREADED once more under ThreadSanitizer
    sim           the simulator of a cluster: seeded runs, and bugs planted on purpose that have to be caught
    fuzz          the stored corpus of every test/fuzz/fuzz_*.c
    configs       `rtbroker check` on every configuration that the tree ships, also within the pages; the list of metrics
    integration   node --test over test/integration/*.test.mjs, against ./rtbroker
    sanitized     the same against a broker with ASan and UBSan, whose leaks make it end badly; but for test/integration/cluster*,
                  which take a whole cluster and are run once

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
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build")
LOGS = os.path.join(BUILD, "log")
JOBS = os.cpu_count() or 2
PROGRAM_TIMEOUT = 300
MAKE_TIMEOUT = 20 * 60
INTEGRATION_TIMEOUT = 45 * 60
# What shares data between threads: how paths below test/unit/ begin, what takes longest first.
THREADED = ("admin/test_consume", "worker/", "journal/", "store/")

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Result:
    """What one program (or one whole stage) did."""

    def __init__(self, name, passed=0, failed=0, skipped=0, output=""):
        self.name, self.passed, self.failed, self.skipped, self.output = name, passed, failed, skipped, output

    def count(self):
        return self.passed + self.failed + self.skipped


def run(command, timeout, env=None):
    """(exit code, output of both streams). The whole process group dies at the timeout: a hung broker is a failure."""
    p = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        out, _ = p.communicate(timeout=timeout)
        return p.returncode, out.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        out, _ = p.communicate()
        return -1, out.decode("utf-8", "replace") + f"\nno end after {timeout} s\n"


def keep_log(name, output):
    os.makedirs(os.path.join(ROOT, LOGS), exist_ok=True)
    with open(os.path.join(ROOT, LOGS, name.replace("/", "_") + ".log"), "w", encoding="utf-8") as f:
        f.write(output)


def make(name, *args):
    """Builds; `name` is that of its log. Not through the jobserver of a make above, whose descriptors do not get here."""
    hidden = ["env", "-u", "MAKEFLAGS", "-u", "MFLAGS", "-u", "MAKELEVEL"]
    code, output = run([*hidden, "make", f"-j{JOBS}", f"BUILD={BUILD}", *args], MAKE_TIMEOUT)
    keep_log("make_" + name, output)
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
    code, output = run([path, *args], PROGRAM_TIMEOUT, env)
    name = path.split("/test/", 1)[1]
    keep_log(os.path.basename(os.path.dirname(path)) + "_" + os.path.basename(path), output)
    return parse_tap(name, code, output)


def programs(pattern, prefix, variant, only):
    sources = sorted(glob.glob(pattern, root_dir=ROOT, recursive=True))
    return [os.path.join(BUILD, variant, s[:-2]) for s in sources if s.startswith(prefix) and only in s]


def build_and_run(name, paths, variant_args, args_of=lambda path: ()):
    built = make(name, *variant_args, *paths) if paths else Result(name)
    if built.failed:
        return [built]
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(lambda path: run_program(path, args_of(path)), paths))


# ---- stages: each returns a list of results ---------------------------------------------------------------------

def stage_lint(_only):
    results = []
    for command in (["lint.py", "--self-test"], ["lint.py"], ["check_docs.py"]):
        code, output = run([sys.executable, f"scripts/{command[0]}", *command[1:]], PROGRAM_TIMEOUT)
        results.append(Result(" ".join(command), int(code == 0), int(code != 0), 0, output))
    return results


def stage_compile(_only):
    built = make("compile", "check-clang")
    built.passed = 1 - built.failed
    return [built]


def stage_unit(only):
    paths = programs("test/unit/**/test_*.c", "test/unit/", "test-asan-ubsan", only)
    return build_and_run("unit", paths, ["TEST=1", "SAN=address,undefined"])


def stage_threads(only):
    paths = [path for part in THREADED
             for path in programs("test/unit/**/test_*.c", f"test/unit/{part}", "test-tsan", only)]
    return build_and_run("threads", paths, ["TEST=1", "SAN=thread"])


def stage_sim(only):
    if only not in "test/sim":
        return []
    return build_and_run("sim", [os.path.join(BUILD, "test-asan-ubsan", "test/sim/sim")], ["TEST=1", "SAN=address,undefined"])


def stage_fuzz(only):
    def corpus(path):
        return [os.path.join("test/fuzz/corpus", os.path.basename(path)[len("fuzz_"):])]
    paths = programs("test/fuzz/fuzz_*.c", "test/fuzz/", "test-asan-ubsan", only)
    return build_and_run("fuzz", paths, ["TEST=1", "SAN=address,undefined"], corpus)


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
    return results


NODE_SUMMARY = {"passed": "pass", "failed": "fail", "cancelled": "cancelled", "skipped": "skipped", "todo": "todo"}


def parse_node(name, code, output):
    """Node's TAP ends with `# pass N` and so on."""
    seen = {k: sum(map(int, re.findall(rf"^# {word} (\d+)$", output, re.M))) for k, word in NODE_SUMMARY.items()}
    failed = seen["failed"] + seen["cancelled"]
    if code != 0:
        failed = max(failed, 1)
    return Result(name, seen["passed"], failed, seen["skipped"] + seen["todo"], output)


def failed_parts(output):
    """The failing top-level tests of Node's TAP, or its end when it died without one."""
    blocks = re.split(r"^(?=# Subtest: )", output, flags=re.M)
    bad = [b for b in blocks if re.search(r"^not ok ", b, re.M)]
    return "".join(bad) or output[-8000:]


def run_integration(name, only, env, left_out=()):
    files = sorted(f for f in glob.glob("test/integration/**/*.test.mjs", root_dir=ROOT, recursive=True)
                   if "node_modules" not in f and only in f and not os.path.basename(f).startswith(left_out))
    if not files:
        return []
    installed = make("npm", "test/integration/node_modules/.package-lock.json")
    if installed.failed:
        return [installed]
    code, output = run(["node", "--test", "--test-reporter=tap", *files], INTEGRATION_TIMEOUT, env)
    keep_log(name, output)
    return [parse_node(name, code, output)]


def stage_integration(only):
    return run_integration("integration", only, {})


def stage_sanitized(only):
    built = make("sanitized", "SAN=address,undefined")
    if built.failed:
        return [built]
    binary = os.path.join(BUILD, "asan-ubsan", "rtbroker")
    return run_integration("sanitized", only, {"RTBROKER": binary, **SANITIZERS}, ("cluster",))


STAGES = {"lint": stage_lint, "compile": stage_compile, "unit": stage_unit, "threads": stage_threads,
          "sim": stage_sim, "fuzz": stage_fuzz, "configs": stage_configs, "integration": stage_integration,
          "sanitized": stage_sanitized}
# Their successes are checks, not tests: only their failures count.
CHECKS = {"lint", "compile"}


def report(name, results, seconds, verbose):
    """Prints one line, and what failed before it; returns (passed, failed, skipped)."""
    for r in results:
        if r.failed or verbose:
            text = failed_parts(r.output) if name in ("integration", "sanitized") and not verbose else r.output
            print(f"\n---- {r.name} ----\n{text.rstrip()}\n", flush=True)
    total = [sum(r.passed for r in results), sum(r.failed for r in results), sum(r.skipped for r in results)]
    if sum(total) == 0:
        print(f"{name}: no test was found")
        total[1] = 1
    line = f"{name + ':':<13} {total[0]} ok, {total[1]} bad, {total[2]} left out, {seconds:.0f} s"
    print(line, flush=True)
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stage", action="append", choices=STAGES)
    parser.add_argument("--only", default="", help="tests whose path contains this text")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    passed = failed = skipped = 0
    for name in args.stage or STAGES:
        start = time.monotonic()
        p, f, s = report(name, STAGES[name](args.only), time.monotonic() - start, args.verbose)
        passed += 0 if name in CHECKS else p
        failed += f
        skipped += s
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 and not set(args.stage or STAGES) <= CHECKS else 0


if __name__ == "__main__":
    sys.exit(main())
