#!/usr/bin/env python3
"""Is the program built as it should be for a machine that faces strangers: check_hardening.py PROGRAM | --self-test

Position-independent, relocations read-only and bound at start, no executable stack, stack protector, checked calls of the C library
(_FORTIFY_SOURCE). Reads the file with readelf. --self-test builds a program without any of it, in which everything has to be found.
"""

import os
import re
import subprocess
import sys
import tempfile

UNSAFE = """#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) { char text[64]; strcpy(text, argv[argc - 1]); return puts(text); }
"""
UNSAFE_FLAGS = ["-O2", "-U_FORTIFY_SOURCE", "-fno-stack-protector", "-fno-pie", "-no-pie", "-z", "norelro", "-z", "lazy", "-z", "execstack"]
FINDINGS = ("not position-independent", "relocations stay writable", "relocations are bound late", "the stack is executable",
            "no stack protector", "no checked calls of the C library")


def readelf(path):
    return subprocess.run(["readelf", "-hldW", "--dyn-syms", path], check=True, stdout=subprocess.PIPE,
                          env={**os.environ, "LC_ALL": "C"}).stdout.decode()


def findings(text):
    stack = re.search(r"GNU_STACK.* (R[W ][E ]) ", text)
    holds = (
        re.search(r"FLAGS_1.*\bPIE\b", text),
        "GNU_RELRO" in text,
        re.search(r"BIND_NOW|FLAGS_1.*\bNOW\b", text),
        stack and "E" not in stack.group(1),
        "__stack_chk_fail" in text,
        re.search(r" __(mem|str|v?s?n?printf|read|recv|poll)\w*_chk\b", text),
    )
    return [what for what, good in zip(FINDINGS, holds) if not good]


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "unsafe.c"), os.path.join(folder, "unsafe")
        with open(source, "w", encoding="utf-8") as f:
            f.write(UNSAFE)
        subprocess.run([os.environ.get("CC", "cc"), *UNSAFE_FLAGS, "-o", program, source], check=True, stderr=subprocess.DEVNULL)
        missed = set(FINDINGS) - set(findings(readelf(program)))
    if missed:
        print(f"check_hardening.py: not found in a program that has none of it: {', '.join(missed)}")
    return 1 if missed else 0


def main():
    if len(sys.argv) != 2:
        print(__doc__.split("\n", maxsplit=1)[0], file=sys.stderr)
        return 2
    if sys.argv[1] == "--self-test":
        return self_test()
    found = findings(readelf(sys.argv[1]))
    for what in found:
        print(f"{sys.argv[1]}: {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
