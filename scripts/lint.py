#!/usr/bin/env python3
"""Checks what a reviewer should not have to: lint.py [--self-test | --format] [--root DIR]

Prints `path:line: message [rule]` for each finding and exits 1 when there is one. --self-test proves on small made-up
trees that every rule can fail, and that its neighbours pass. --format lets clang-format rewrite the sources.
Rules and limits are the tables below; docs/internals describes the layering that they enforce.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

# A folder below src/ may include itself and what stands before it.
LAYERS = ["base", "conf", "json", "worker", "net", "http", "ws", "hub", "journal", "store", "cluster", "auth",
          "session", "proto", "admin", "cli", "app"]
GENERATED_HEADERS = {"version.h"}

# Third-party headers, and the only folders that may include them.
LIBRARIES = [
    (r"uv(/.*|\.h)", ["net"]),
    (r"llhttp\.h", ["http"]),
    (r"wslay/.*", ["ws"]),
    (r"yaml\.h", ["conf"]),
    (r"(cjson/)?cJSON\.h", ["json"]),
    (r"sqlite3\.h", ["journal"]),
    (r"zlib\.h", ["ws"]),
    (r"curl/.*", ["http"]),
    (r"hiredis/.*", ["cluster"]),
    (r"librdkafka/.*", ["journal", "store"]),
    (r"(postgresql/)?libpq-fe\.h", ["store"]),
    (r"openssl/.*", ["ws", "cluster"]),
]
# What the C library and the kernel bring: free for all.
SYSTEM = r"""
    (assert|ctype|errno|float|inttypes|limits|locale|math|setjmp|signal|stdalign|stdarg|stdatomic|stdbool|stddef|stdint
    |stdio|stdlib|string|time|unistd|fcntl|poll|pthread|sched|semaphore|strings|dirent|getopt|glob|grp|pwd|netdb
    |syslog|termios|threads|malloc|execinfo|dlfcn|libgen|fnmatch|endian|byteswap|link|elf|features)\.h
    |(sys|net|netinet|arpa|linux|bits|asm)/.*\.h
    |(x86|imm|emm|arm_neon)(intrin)?\.h"""

MAX_FUNCTION_LINES = 120
MAX_FILE_LINES = 1000
MIN_CONTRACT = 40

# Functions that nobody calls, with what to call instead.
BANNED = {
    "strcpy": "rt_buf", "stpcpy": "rt_buf", "strcat": "rt_buf", "strncpy": "memcpy with a checked length",
    "strncat": "rt_buf", "sprintf": "snprintf or rt_buf", "vsprintf": "vsnprintf or rt_buf", "gets": "fgets",
    "strtok": "rt_str", "strtok_r": "rt_str", "atoi": "a parser with a length", "atol": "a parser with a length",
    "atoll": "a parser with a length", "atof": "strtod with an end pointer", "sscanf": "a parser with a length",
    "alloca": "an array or the heap", "tmpnam": "mkstemp", "mktemp": "mkstemp", "asprintf": "rt_buf",
    "vasprintf": "rt_buf", "rand": "base/rand.h", "srand": "base/rand.h", "ctime": "strftime", "asctime": "strftime",
    "localtime": "localtime_r", "gmtime": "gmtime_r", "inet_ntoa": "inet_ntop", "gethostbyname": "uv_getaddrinfo",
    "sleep": "a timer or a condition with a deadline", "usleep": "a timer or a condition with a deadline",
    "nanosleep": "a timer or a condition with a deadline",
}
BANNED_IN_SRC = {"sscanf"}  # harmless on the trusted input of a test
ALLOCATORS = {"malloc", "calloc", "realloc", "reallocarray", "free", "strdup", "strndup", "posix_memalign",
              "aligned_alloc"}
ALLOCATOR_HOME = "src/base/alloc.c"

TEXT_SUFFIXES = (".c", ".h", ".py", ".sh", ".mjs", ".js", ".md", ".yaml", ".yml", ".html", ".css", ".mk", ".json")
TEXT_DIRS = ("src", "test", "scripts", "docs", "third_party", ".ci")
SKIPPED_DIRS = {"node_modules", "corpus", "__pycache__"}


# ---- reading ----------------------------------------------------------------------------------------------------

class Source:
    """One file: its path below the root, its text, and (for C) the text without comments and literals."""

    def __init__(self, root, path):
        self.path = path
        with open(os.path.join(root, path), encoding="utf-8", errors="surrogateescape", newline="") as f:
            self.text = f.read()
        self.lines = self.text.split("\n")
        self.is_c = path.endswith((".c", ".h"))
        self.code = blank_comments_and_literals(self.text) if self.is_c else ""
        parts = path.split("/")
        self.folder = parts[1] if parts[0] == "src" and len(parts) > 2 else None

    def in_src(self):
        return self.path.startswith("src/")


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank_comments_and_literals(text):
    """Same length and lines, so that positions stay; the quotes stay too."""
    def blank(match):
        token = match.group(0)
        keep = token[0] if token[0] in "\"'" else " "
        return keep + re.sub(r"[^\n]", " ", token[1:-1]) + keep if len(token) > 1 else token
    # An #include's name is no literal.
    return "\n".join(raw if re.match(r"\s*#\s*include\b", raw) else blanked
                     for raw, blanked in zip(text.split("\n"), TOKEN.sub(blank, text).split("\n")))


def list_files(root):
    found = [f for f in sorted(os.listdir(root)) if f == "Makefile" or f.endswith(".md")]
    for top in TEXT_DIRS:
        for folder, dirs, files in os.walk(os.path.join(root, top)):
            dirs[:] = sorted(d for d in dirs if d not in SKIPPED_DIRS)
            for name in sorted(files):
                path = os.path.relpath(os.path.join(folder, name), root)
                if name.endswith(TEXT_SUFFIXES) or path.startswith(".ci/"):
                    found.append(path)
    return found


def line_of(text, position):
    return text.count("\n", 0, position) + 1


# ---- rules: each yields (path, line, message) -------------------------------------------------------------------

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def includes(source):
    for m in INCLUDE.finditer(source.code):
        yield m.group(1), m.group(2), line_of(source.code, m.start())


def library_owners(name):
    """The folders that may include a third-party header; None when it is not one."""
    return next((folders for pattern, folders in LIBRARIES if re.fullmatch(pattern, name)), None)


def rule_layering(sources):
    """Quoted includes are "folder/file.h", exist, and point to the own folder or one above it."""
    known = {s.path for s in sources}
    for s in sources:
        if not (s.is_c and s.in_src()):
            continue
        if s.folder is not None and s.folder not in LAYERS:
            yield s.path, 1, f"folder {s.folder}/ is not in the list of layers"
            continue
        for quote, name, line in includes(s):
            if quote != '"' or name in GENERATED_HEADERS or library_owners(name) is not None:
                continue
            target = name.split("/")[0]
            if "/" not in name or f"src/{name}" not in known:
                yield s.path, line, f'"{name}" is no header below src/: write "folder/file.h"'
            elif s.folder is not None and target in LAYERS and LAYERS.index(target) > LAYERS.index(s.folder):
                yield s.path, line, f"{s.folder}/ may not include {target}/, which stands after it"


def rule_library(sources):
    """A third-party header is included only in the folder that owns it."""
    system = re.compile(SYSTEM, re.X)
    for s in sources:
        if not (s.is_c and s.in_src()):
            continue
        for quote, name, line in includes(s):
            owners = library_owners(name)
            if owners is not None and s.folder not in owners:
                yield s.path, line, f"{name} belongs to {', '.join(owners)}/"
            elif owners is None and quote == "<" and not system.fullmatch(name):
                yield s.path, line, f"<{name}> has no owner: add it to LIBRARIES in scripts/lint.py"


def rule_circle(sources):
    """Headers do not include each other in a circle."""
    graph = {s.path: [(f"src/{name}", line) for quote, name, line in includes(s) if quote == '"']
             for s in sources if s.is_c and s.in_src()}
    state = {}

    def visit(path, trail):
        state[path] = "open"
        for target, line in graph.get(path, []):
            if state.get(target) == "open":
                circle = trail[trail.index(target):] + [target]
                yield path, line, "includes form a circle: " + " -> ".join(circle)
            elif target in graph and target not in state:
                yield from visit(target, trail + [target])
        state[path] = "done"

    for path in sorted(graph):
        if path not in state:
            yield from visit(path, [path])


def rule_banned(sources):
    """Functions that invite mistakes; allocation outside of base/alloc.c."""
    call = re.compile(r"(?<![\w.>])(\w+)[ \t]*\(")
    for s in sources:
        if not s.is_c:
            continue
        own_allocation = not s.in_src() or s.path == ALLOCATOR_HOME
        for m in call.finditer(s.code):
            name = m.group(1)
            if name in BANNED and (s.in_src() or name not in BANNED_IN_SRC):
                yield s.path, line_of(s.code, m.start()), f"{name}() is banned: use {BANNED[name]}"
            elif name in ALLOCATORS and not own_allocation:
                yield s.path, line_of(s.code, m.start()), f"{name}() is banned: allocate through base/alloc.h"


def rule_typedef(sources):
    """Structs keep their name."""
    for s in sources:
        if s.is_c and s.in_src():
            for m in re.finditer(r"\btypedef\s+(struct|union|enum)\b", s.code):
                yield s.path, line_of(s.code, m.start()), f"no typedef for a {m.group(1)}"


def function_name(lines, brace):
    """The name before the argument list that ends above the brace (line index)."""
    start = brace
    while start > 0 and not re.match(r"\s*$|[}#]|.*[;}]\s*$", lines[start - 1]):
        start -= 1
    m = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", " ".join(lines[start:brace])))
    return m.group(1) if m else "?"


def rule_function_length(sources):
    """clang-format puts a function's braces, and no others, on lines of their own at the left edge."""
    for s in sources:
        if not s.is_c:
            continue
        lines = s.code.split("\n")
        start = None
        for i, line in enumerate(lines):
            if line.rstrip() == "{":
                start = i
            elif line.startswith("}") and start is not None:
                length = i - start + 1
                if length > MAX_FUNCTION_LINES:
                    name = function_name(lines, start)
                    yield s.path, start + 1, f"{name}() has {length} lines, {MAX_FUNCTION_LINES} are allowed"
                start = None


def rule_file_length(sources):
    for s in sources:
        count = len(s.lines) - 1
        if s.path.endswith((".c", ".h", ".py", ".mjs", ".js")) and count > MAX_FILE_LINES:
            yield s.path, count, f"{count} lines, {MAX_FILE_LINES} are allowed: split it"


def rule_whitespace(sources):
    for s in sources:
        for i, line in enumerate(s.lines, 1):
            if line != line.rstrip():
                yield s.path, i, "white space at the end of the line"
            if s.is_c and "\t" in line:
                yield s.path, i, "a tab"
        if s.text and (not s.text.endswith("\n") or s.text.endswith("\n\n")):
            yield s.path, len(s.lines), "the file ends with exactly one newline"


def rule_header(sources):
    """A header starts with its contract and has the guard RT_FOLDER_FILE_H."""
    for s in sources:
        if not s.path.endswith(".h") or not s.in_src():
            continue
        want = "RT_" + re.sub(r"\W", "_", s.path[len("src/"):]).upper()
        m = re.search(r"^#ifndef (\w+)\n#define (\w+)", s.code, re.M)
        if not m or m.group(1) != m.group(2) or s.code[:m.start()].strip() or not re.search(r"#endif\s*$", s.code):
            yield s.path, 1, f"no include guard around the file ({want})"
        elif m.group(1) != want:
            yield s.path, line_of(s.code, m.start()), f"include guard {m.group(1)} should be {want}"
        comment = re.match(r"/\*(.*?)\*/", s.text, re.S)
        if not comment or len(comment.group(1)) < MIN_CONTRACT:
            yield s.path, 1, "the file starts with no contract: what for, who owns, which thread, errors"


def rule_unfinished(sources):
    for s in sources:
        if s.path.startswith(("src/", "test/", "docs/")):
            for m in re.finditer(r"\b(TODO|FIXME|XXX)\b", s.text):
                yield s.path, line_of(s.text, m.start()), f"{m.group(1)}: finish it or file an issue"


def rule_lock_file(sources):
    """Lock files name versions and hashes, not the host of whoever wrote them."""
    for s in sources:
        if s.path.endswith("package-lock.json"):
            m = re.search(r'"resolved":\s*"https?:', s.text)
            if m:
                yield s.path, line_of(s.text, m.start()), "remove the URLs (npm: omit-lockfile-registry-resolved=true)"


RULES = [rule_layering, rule_library, rule_circle, rule_banned, rule_typedef, rule_function_length, rule_file_length,
         rule_whitespace, rule_header, rule_unfinished, rule_lock_file]


# ---- tools ------------------------------------------------------------------------------------------------------

def clang_format():
    """(command, True when it is version 14, the one that decides) or (None, False)."""
    if shutil.which("clang-format-14"):
        return "clang-format-14", True
    if shutil.which("clang-format"):
        version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout
        return "clang-format", " version 14." in version
    return None, False


def rule_format(root, sources):
    """Runs once over all files: needs no Source, so it stands outside of RULES."""
    files = [s.path for s in sources if s.is_c]
    tool, exact = clang_format()
    if tool is None:
        yield ".clang-format", 1, "clang-format 14 is missing: scripts/install-deps.sh test"
        return
    if not files:
        return
    out = subprocess.run([tool, "--style=file", "--dry-run", "--ferror-limit=1"] + files, cwd=root,
                         capture_output=True, text=True).stderr
    found = re.findall(r"^(\S+?):(\d+):\d+: (?:warning|error): .*clang-format", out, re.M)
    if found and not exact:
        print(f"note: {tool} is not version 14 and would change {len({p for p, _ in found})} files; not counted")
        return
    for path, line in dict(found).items():
        yield path, int(line), "clang-format would change this: make format"


def rule_shell(root, sources):
    for s in sources:
        if s.path.endswith(".sh") or (s.path.startswith(".ci/") and s.text.startswith("#!")):
            shell = "bash" if "bash" in s.lines[0] else "sh"
            run = subprocess.run([shell, "-n", s.path], cwd=root, capture_output=True, text=True)
            if run.returncode != 0:
                yield s.path, 1, run.stderr.strip()


TOOL_RULES = [rule_format, rule_shell]


def rule_name(rule):
    return rule.__name__[len("rule_"):].replace("_", "-")


def lint(root):
    """All findings as (path, line, message, rule), by path and line."""
    sources = [Source(root, path) for path in list_files(root)]
    findings = [f + (rule_name(rule),) for rule in RULES for f in rule(sources)]
    findings += [f + (rule_name(rule),) for rule in TOOL_RULES for f in rule(root, sources)]
    return sorted(findings), len(sources)


# ---- self-test --------------------------------------------------------------------------------------------------

CONTRACT = "/* Made up: it exists so that a rule can be seen to fail. Thread: any. */\n"


def header(path, body=""):
    guard = "RT_" + re.sub(r"\W", "_", path[len("src/"):]).upper()
    return f"{CONTRACT}#ifndef {guard}\n#define {guard}\n{body}\n#endif\n"


def function(lines):
    return "int f(int a)\n{\n" + "    a++;\n" * (lines - 3) + "    return a;\n}\n"


BASE = {"src/base/a.h": header("src/base/a.h"), "src/hub/h.h": header("src/hub/h.h")}

# rule that must fire (None: none may), what is tried, files
CASES = [
    (None, "a clean tree", {"src/hub/h.c": '#include "hub/h.h"\n\n#include "base/a.h"\n#include "version.h"\n'
                                           "\n#include <stdint.h>\n#include <sys/socket.h>\n"}),
    (None, "main.c includes all", {"src/main.c": '#include "hub/h.h"\n'}),
    ("layering", "an include that points down", {"src/base/b.c": '#include "hub/h.h"\n'}),
    ("layering", "an include inside a header", {"src/base/b.h": header("src/base/b.h", '\n#include "hub/h.h"\n')}),
    ("layering", "a name without its folder", {"src/hub/h.c": '#include "h.h"\n'}),
    ("layering", "a header that is not there", {"src/hub/h.c": '#include "base/gone.h"\n'}),
    ("layering", "a folder outside of the list", {"src/util/u.c": "int u;\n"}),
    (None, "libuv in net", {"src/net/n.c": "#include <uv.h>\n"}),
    ("library", "libuv in hub", {"src/hub/h.c": "#include <uv.h>\n"}),
    ("library", "libuv in main.c", {"src/main.c": "#include <uv.h>\n"}),
    ("library", "a library in quotes", {"src/hub/h.c": '#include "uv.h"\n'}),
    ("library", "a library nobody owns", {"src/hub/h.c": "#include <jansson.h>\n"}),
    ("circle", "two headers", {"src/hub/x.h": header("src/hub/x.h", '\n#include "hub/y.h"\n'),
                               "src/hub/y.h": header("src/hub/y.h", '\n#include "hub/x.h"\n')}),
    (None, "three headers, no circle", {"src/hub/x.h": header("src/hub/x.h", '\n#include "hub/h.h"\n'),
                                        "src/hub/y.h": header("src/hub/y.h", '\n#include "hub/h.h"\n#include "hub/x.h"\n')}),
    ("banned", "strcpy", {"src/hub/h.c": "void f(char *a)\n{\n    strcpy(a, a);\n}\n"}),
    ("banned", "sprintf in a test", {"test/unit/test_h.c": "void f(char *a)\n{\n    sprintf(a, a);\n}\n"}),
    ("banned", "malloc", {"src/hub/h.c": "void *f(void)\n{\n    return malloc(1);\n}\n"}),
    (None, "malloc at its home and in tests", {"src/base/alloc.c": "void *f(void)\n{\n    return malloc(1);\n}\n",
                                               "test/lib/x.c": "void *f(void)\n{\n    return malloc(1);\n}\n"}),
    (None, "banned names in comments, literals, members and longer names",
     {"src/hub/h.c": "/* strcpy(a) */\nint f(struct x *s)\n{\n    // free(s)\n    s->free(\"gets(s)\");\n"
                     "    return rt_malloc(s) + s.free(s);\n}\n"}),
    ("typedef", "a struct", {"src/hub/h.c": "typedef struct a b;\n"}),
    (None, "a function pointer", {"src/hub/h.c": "typedef void (*cb)(struct a *b);\n"}),
    ("function-length", "one line too many", {"src/hub/h.c": function(MAX_FUNCTION_LINES + 1)}),
    (None, "a function of exactly the limit, a longer table",
     {"src/hub/h.c": function(MAX_FUNCTION_LINES) + "\nenum {\n" + "    A,\n" * 200 + "};\n"}),
    ("file-length", "one line too many", {"src/hub/h.c": "int a;\n" * (MAX_FILE_LINES + 1)}),
    (None, "a file of exactly the limit", {"src/hub/h.c": "int a;\n" * MAX_FILE_LINES}),
    ("whitespace", "a space at the end", {"docs/x.md": "text \n"}),
    ("whitespace", "no newline at the end", {"scripts/x.py": "pass"}),
    ("whitespace", "a carriage return", {"docs/x.md": "text\r\n"}),
    ("header", "no guard", {"src/hub/x.h": CONTRACT + "int x;\n"}),
    ("header", "a guard of another file", {"src/hub/x.h": header("src/hub/y.h")}),
    ("header", "no contract", {"src/hub/x.h": header("src/hub/x.h")[len(CONTRACT):]}),
    ("header", "a contract that says nothing", {"src/hub/x.h": "/* x */\n" + header("src/hub/x.h")[len(CONTRACT):]}),
    ("unfinished", "a note to self", {"src/hub/h.c": "/* TO" "DO: later */\n"}),
    ("lock-file", "the URL of a registry", {"test/integration/package-lock.json": '{"resolved": "https://x/y"}\n'}),
    ("format", "two spaces", {"src/hub/h.c": "int  a;\n"}),
    ("format", "indentation", {"test/unit/test_h.c": "int f(void)\n{\n  return 1;\n}\n"}),
    ("shell", "a quote that is not closed", {"scripts/x.sh": "#!/bin/sh\necho 'x\n"}),
]


def self_test(real_root):
    failed = 0
    fired = set()
    inexact = clang_format()[0] is not None and not clang_format()[1]
    for expected, what, files in CASES:
        if expected == "format" and inexact:
            continue
        with tempfile.TemporaryDirectory() as root:
            shutil.copy(os.path.join(real_root, ".clang-format"), root)
            for path, text in {**BASE, **files}.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", newline="") as f:
                    f.write(text)
            findings, _ = lint(root)
        rules = {f[3] for f in findings}
        fired |= rules
        if rules != ({expected} if expected else set()):
            failed += 1
            print(f"lint self-test: {what}: expected {expected}, got {findings}", file=sys.stderr)
    silent = {rule_name(r) for r in RULES + TOOL_RULES} - fired - ({"format"} if inexact else set())
    if silent:
        failed += 1
        print(f"lint self-test: rules that were never seen to fail: {sorted(silent)}", file=sys.stderr)
    if clang_format()[0] is None:
        print("clang-format 14 is missing: scripts/install-deps.sh test", file=sys.stderr)
    print(f"lint self-test: {len(CASES)} cases, {failed} failed")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--format", action="store_true")
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    args = parser.parse_args()
    if args.self_test:
        return 1 if self_test(args.root) else 0
    if args.format:
        tool, exact = clang_format()
        if not exact:
            sys.exit("clang-format 14 is missing: scripts/install-deps.sh test")
        files = [f for f in list_files(args.root) if f.endswith((".c", ".h"))]
        return subprocess.run([tool, "-i", "--style=file"] + files, cwd=args.root).returncode if files else 0
    findings, count = lint(args.root)
    for path, line, message, rule in findings:
        print(f"{path}:{line}: {message} [{rule}]")
    print(f"lint: {count} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
