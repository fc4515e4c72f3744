#!/bin/sh
# Fails, with the command that helps, when something that the build needs is missing. PKGS: pkg-config names. CC: the compiler.
set -u
missing=
command -v "${CC:-cc}" >/dev/null 2>&1 || missing="$missing ${CC:-cc}"
if ! command -v pkg-config >/dev/null 2>&1; then
    missing="$missing pkg-config"
elif ! pkg-config --exists $PKGS; then
    for p in $PKGS; do
        pkg-config --exists "$p" || missing="$missing $p"
    done
fi
[ -e /usr/include/wslay/wslay.h ] || pkg-config --exists libwslay 2>/dev/null || missing="$missing wslay"
[ -e "${LLHTTP_SOURCE:-/usr/share/llhttp}/llhttp.c" ] || pkg-config --exists libllhttp 2>/dev/null ||
    missing="$missing llhttp"
[ -z "$missing" ] && exit 0
echo "missing:$missing" >&2
echo "install what the build needs with: make deps    (Debian 12 or 13, as root or with sudo)" >&2
exit 1
