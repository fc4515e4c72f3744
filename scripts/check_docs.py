#!/usr/bin/env python3
"""Checks the pages: check_docs.py [--broker FILE [--write-metrics]] | --installed FOLDER

Without options: every relative link leads to a file, and to a heading where it has an anchor; every test that
docs/guarantees.md names is there; the program has every message that docs/troubleshooting.md quotes. With --broker also: the YAML of the pages, as far as it is configuration, passes
`rtbroker check`, and docs/metrics.md is what running brokers show; --write-metrics writes that page anew.
With --installed only the links, of all pages below the folder: those that `make install` has put there.
Prints `path:line: message` for each finding and exits 1 when there is one.
"""

import argparse
import ctypes
import glob
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = ["README.md", *sorted(glob.glob("docs/**/*.md", root_dir=ROOT, recursive=True)), "test/bench/README.md"]
METRICS_PAGE = "docs/metrics.md"
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^ *```$", re.M | re.S)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def without_code(text):
    """Same length and lines; code blocks and code spans are blank."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    text = FENCE.sub(blank, text)
    return re.sub(r"`[^`\n]*`", blank, text)


# ---- links ------------------------------------------------------------------------------------------------------

def anchors(text):
    """As GitHub makes them of headings."""
    found = set()
    for title in re.findall(r"^#+ +(.*?) *#*$", FENCE.sub("", text), re.M):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        anchor = base = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        number = 0
        while anchor in found:
            number += 1
            anchor = f"{base}-{number}"
        found.add(anchor)
    return found


def check_links(pages, root=ROOT):
    for page in pages:
        text = without_code(read(os.path.join(root, page)))
        for m in LINK.finditer(text):
            target, _, anchor = m.group(1).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            path = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
            if not os.path.exists(os.path.join(root, path)):
                yield page, line_of(text, m.start()), f"no such file: {m.group(1)}"
            elif anchor and anchor not in anchors(read(os.path.join(root, path))):
                yield page, line_of(text, m.start()), f"no such heading: {m.group(1)}"


def check_tests():
    """`integration/x` and `unit/x/..` in code spans of the guarantees; a bare `test_x` lies beside the one before."""
    page = "docs/guarantees.md"
    text = read(page)
    folder = ""
    for m in re.finditer(r"`((?:integration|unit)/[\w/]+|test_\w+)`", text):
        name = m.group(1)
        path = os.path.join(folder, name) if name.startswith("test_") else os.path.join("test", name)
        if not any(os.path.exists(os.path.join(ROOT, path + end)) for end in ("", ".c", ".test.mjs")):
            yield page, line_of(text, m.start()), f"no such test: {name}"
        folder = os.path.dirname(path) if "/test_" in path else path


LITERALS = re.compile(r'"(?:[^"\\\n]|\\.)*"(?:\s*"(?:[^"\\\n]|\\.)*")*')


def literals():
    """Texts of the program, those that stand behind each other as one; what printf() puts in is NUL."""
    found = []
    for path in glob.glob("src/**/*.c", root_dir=ROOT, recursive=True):
        for m in LITERALS.finditer(re.sub(r"/\*.*?\*/|^#include.*?$", "", read(path), flags=re.S | re.M)):
            text = re.sub(r'"\s*"', "", m.group(0))[1:-1]
            text = re.sub(r"%[-+0-9.*]*(?:ll|z|h)?[a-z]", "\0", re.sub(r"\\(.)", r"\1", text))
            found.append(text.replace("%%", "%"))
    return "\n".join(found)


def check_messages():
    """The first cells of tables whose first column is `message`. `..` stands for what varies."""
    page = "docs/troubleshooting.md"
    known, quotes = literals(), False
    for number, line in enumerate(read(page).splitlines(), 1):
        cell = line.split(" | ")[0]
        if cell == "| message" or not line.startswith("| "):
            quotes = cell == "| message" or (quotes and line.startswith("|"))
            continue
        if not quotes:
            continue
        spans = re.findall(r"`([^`]+)`", cell)
        if not spans:
            yield page, number, "a row of messages that quotes none"
        for span in spans:
            parts = [part.strip() for part in span.split("..")]
            if not any(len(part) >= 6 for part in parts) or not all(part in known for part in parts):
                yield page, number, f"the program has no such message: {span}"


# ---- against the broker -----------------------------------------------------------------------------------------

def check_yaml(broker):
    sample = subprocess.run([broker, "init"], capture_output=True, text=True, check=True).stdout
    sections = set(re.findall(r"^(\w+):", sample, re.M))
    for page in PAGES:
        text = read(page)
        for m in FENCE.finditer(text):
            keys = set(re.findall(r"^(\w+):", m.group("body"), re.M))
            if m.group("language") != "yaml" or not keys or not keys <= sections:
                continue
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
                f.write(m.group("body"))
                f.flush()
                # Key files of the examples are not here.
                checked = subprocess.run([broker, "check", "--config", f.name], capture_output=True, text=True)
            errors = [line for line in checked.stderr.splitlines() if " error: " in line and "cannot read" not in line]
            for error in errors:
                yield page, line_of(text, m.start()), "refused by `rtbroker check`: " + error.split(" error: ", 1)[1]


CLUSTER = """
redis: {url: "redis://127.0.0.1:1"}
kafka:
  brokers: ["%s"]
  consume: [{topics: [in], group: g, channel: in, dead_letter: dead}]
postgres: {url: "host=127.0.0.1 port=1"}
channels: [{match: "*", log: true, subscribe: anyone}]
"""


class MockKafka:
    """A Kafka in this process, which librdkafka has for tests; the library is what the broker itself runs with."""

    def __enter__(self):
        self.library = k = ctypes.CDLL("librdkafka.so.1")
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        for name, result, *takes in (("rd_kafka_conf_new", pointer), ("rd_kafka_conf_set_log_cb", None, pointer, pointer),
                                     ("rd_kafka_new", pointer, ctypes.c_int, pointer, text, ctypes.c_size_t),
                                     ("rd_kafka_destroy", None, pointer),
                                     ("rd_kafka_mock_cluster_new", pointer, pointer, ctypes.c_int),
                                     ("rd_kafka_mock_cluster_destroy", None, pointer),
                                     ("rd_kafka_mock_cluster_bootstraps", text, pointer)):
            getattr(k, name).restype, getattr(k, name).argtypes = result, takes
        conf = k.rd_kafka_conf_new()
        k.rd_kafka_conf_set_log_cb(conf, None)
        self.client = k.rd_kafka_new(0, conf, None, 0)
        self.cluster = k.rd_kafka_mock_cluster_new(self.client, 1)
        return k.rd_kafka_mock_cluster_bootstraps(self.cluster).decode()

    def __exit__(self, *_):
        self.library.rd_kafka_mock_cluster_destroy(self.cluster)
        self.library.rd_kafka_destroy(self.client)


def scrape(broker, *options):
    """/metrics of a broker with everything that --dev has, and what the options add."""
    command = [broker, "--dev", "--listen", "127.0.0.1:0", "--set", "shutdown.jitter=0", "--set", "log.format=json", *options]
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    killer = threading.Timer(60, p.kill)  # one that never listens ends the loop below
    killer.start()
    seen = []
    try:
        for line in p.stderr:
            seen.append(line)
            address = re.search(r'"msg":"listening".*"address":"([^"]+)"', line)
            if address:
                with urllib.request.urlopen(f"http://{address.group(1)}/metrics", timeout=10) as answer:
                    return answer.read().decode()
        raise RuntimeError(f"a broker for {METRICS_PAGE} has not come up: {''.join(seen[-20:])}")
    finally:
        p.terminate()
        p.communicate()
        killer.cancel()


def scrape_all(broker):
    """{mode: text}. Redis and PostgreSQL need not be there."""
    with tempfile.TemporaryDirectory() as folder, MockKafka() as brokers:
        config = os.path.join(folder, "cluster.yaml")
        with open(config, "w", encoding="utf-8") as f:
            f.write(CLUSTER % brokers)
        return {"memory": scrape(broker), "sqlite": scrape(broker, "--set", f"storage.path={folder}/log.db"),
                "cluster": scrape(broker, "--config", config)}


def families(text):
    """name -> {type, help, labels}; ValueError when a sample stands there twice."""
    found, seen = {}, set()
    for line in text.splitlines():
        head = re.match(r"# (HELP|TYPE) (\S+) (.*)", line)
        if head:
            found.setdefault(head.group(2), {"labels": {}})[head.group(1)] = head.group(3)
            continue
        sample, name, labels = re.match(r"((\w+)(?:\{(.*)\})?) ", line).groups()
        if sample in seen:
            raise ValueError(f"{sample} stands there twice")
        seen.add(sample)
        name = name if name in found else re.sub(r"_(bucket|sum|count)$", "", name)
        for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""):
            values = found[name]["labels"].setdefault(label, [])
            if value not in values:
                values.append(value)
    return found


def merge(texts):
    """All, and in `mode` where a family is."""
    merged = {}
    for mode, text in texts.items():
        for name, family in families(text).items():
            known = merged.setdefault(name, {**family, "labels": {}, "mode": []})
            if any(known[key] != family[key] for key in ("HELP", "TYPE")):
                raise ValueError(f"{name} is another metric with {mode}")
            known["mode"].append(mode)
            for label, values in family["labels"].items():
                there = known["labels"].setdefault(label, [])
                there += [value for value in values if value not in there]
    return merged


def metrics_page(texts):
    rows = []
    for name, family in sorted(merge(texts).items()):
        labels = []
        for label, values in family["labels"].items():
            if label == "le":
                continue
            fixed = label in ("reason", "result", "code", "transport")
            labels.append(f"{label} ({', '.join(values)})" if fixed else label)
        name = name.removeprefix("rtbroker_")
        mode = "" if len(family["mode"]) == len(texts) else ", ".join(family["mode"])
        rows.append(f"| `{name}` | {family['TYPE']} | {mode} | {'; '.join(labels)} | {family['HELP']} |")
    return ("# Metrics\n\n"
            "<!-- Generated from running brokers: scripts/check_docs.py --broker ./rtbroker --write-metrics -->\n\n"
            "`GET /metrics` answers in Prometheus' text format 0.0.4. Every name begins with `rtbroker_`, which is left\n"
            "out below; units are seconds and bytes. Labels come from the program and the configuration only, never from\n"
            "clients. A mode is what the log is: `memory`, `sqlite` with `storage.path`, `cluster` with `kafka.brokers` (and here\n"
            "with `redis.url`, `postgres.url` and `kafka.consume`); none: in all of them. What deserves an alarm is in\n"
            "[operations.md](operations.md#logs).\n\n"
            "| name | type | mode | labels | meaning |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n")


def check_metrics(broker, write):
    try:
        page = metrics_page(scrape_all(broker))
    except (ValueError, RuntimeError, OSError) as error:
        yield METRICS_PAGE, 1, str(error)
        return
    if write:
        with open(os.path.join(ROOT, METRICS_PAGE), "w", encoding="utf-8") as f:
            f.write(page)
        return
    here, there = set(read(METRICS_PAGE).splitlines()), set(page.splitlines())
    for line in sorted(here ^ there):
        where = "the broker has" if line in there else "the broker does not have"
        yield METRICS_PAGE, 1, f"{where}: {line}  (--write-metrics writes the page anew)"


def report(findings):
    for path, line, message in findings:
        print(f"{path}:{line}: {message}")
    return 1 if findings else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--broker", help="the program, to check YAML and metrics with")
    parser.add_argument("--write-metrics", action="store_true", help="write docs/metrics.md anew")
    parser.add_argument("--installed", metavar="FOLDER", help="check the links of the pages in it, and nothing else")
    args = parser.parse_args()
    if args.installed:
        pages = sorted(glob.glob("**/*.md", root_dir=args.installed, recursive=True))
        return report([*check_links(pages, os.path.abspath(args.installed))] if pages else [(args.installed, 1, "no pages")])
    findings = []
    if args.broker:
        broker = os.path.abspath(args.broker)
        findings += check_metrics(broker, args.write_metrics)
        findings += check_yaml(broker)
    findings += check_links(PAGES)
    findings += check_tests()
    findings += check_messages()
    return report(findings)


if __name__ == "__main__":
    sys.exit(main())
