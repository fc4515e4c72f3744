#!/bin/sh
# Installs what is missing, and only that: install-deps.sh make|build|lint|test|fuzz|bench
#
# Looks at what is there first (commands, pkg-config files, headers, packages), so that a complete machine needs neither root
# nor network. Uses apt-get, through sudo when not root. For Debian 12 and 13; elsewhere it names what to install by hand.
set -eu

have_command() { command -v "$1" >/dev/null 2>&1; }
have_module() { have_command pkg-config && pkg-config --exists "$1"; }
# One Python that has all of them: the modules of two do not add up.
have_python_modules() {
    for python in python3 /usr/bin/python3; do
        "$python" -c "import $1" 2>/dev/null && return 0
    done
    return 1
}
have_package() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
known_package() { apt-cache show "$1" >/dev/null 2>&1; }

wanted=
want() { wanted="$wanted $1"; }
# A package, unless the test that follows succeeds.
want_unless() {
    package=$1
    shift
    "$@" || have_package "$package" || want "$package"
}

node_is_new_enough() {
    have_command node && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ] 2>/dev/null
}

have_postgres() {
    for server in /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$server" ] && return 0
    done
    have_command postgres
}

set_make() { want_unless make have_command make; }

set_build() {
    set_make
    want_unless gcc have_command cc
    want_unless libc6-dev test -e /usr/include/stdio.h
    want_unless binutils have_command ar
    want_unless pkg-config have_command pkg-config
    want_unless libuv1-dev have_module libuv
    want_unless libyaml-dev have_module yaml-0.1
    want_unless libcjson-dev have_module libcjson
    want_unless libsqlite3-dev have_module sqlite3
    want_unless libhiredis-dev have_module hiredis
    want_unless librdkafka-dev have_module rdkafka
    want_unless libpq-dev have_module libpq
    want_unless libssl-dev have_module libcrypto
    want_unless libwslay-dev test -e /usr/include/wslay/wslay.h
    # llhttp is a library on Debian 13, source inside a Node package on 12 (third_party/llhttp.mk).
    have_module libllhttp || test -e /usr/share/llhttp/llhttp.c || want llhttp
}

set_lint() {
    want_unless python3 have_command python3
    have_command clang-format-14 || have_command clang-format || want clang-format-14
}

set_test() {
    set_build
    set_lint
    want_unless git have_command git
    want_unless libcmocka-dev have_module cmocka
    set_clang
    set_node
    set_services
    # The pages are tested in a real browser.
    want_unless chromium have_command chromium
    # Shows what Kafka holds.
    want_unless kcat have_command kcat
    want_unless curl have_command curl
    # Another language's Socket.IO client.
    have_python_modules socketio,requests,websocket || for package in socketio requests websocket; do
        want_unless "python3-$package" false
    done
}

# scripts/kafka.sh and run_cluster.sh
set_services() {
    want_unless redis-server have_command redis-server
    want_unless default-jre-headless have_command java
    want_unless maven have_command mvn
    want_unless postgresql have_postgres
    want_unless nginx-light test -x /usr/sbin/nginx
    want_unless procps have_command pgrep
}

set_node() {
    node_is_new_enough || want nodejs
    want_unless npm have_command npm
}

# Version 14 where there is one, else the distribution's default. The second package has the sanitizers and libFuzzer.
set_clang() {
    if ! have_command clang-14 && ! have_command clang; then
        want clang-14
        want libclang-rt-14-dev
    elif have_package clang-14; then
        want_unless libclang-rt-14-dev false
    elif have_package clang; then
        want_unless libclang-rt-dev false
    fi
}

set_fuzz() {
    set_build
    set_clang
}

set_bench() {
    set_build
    set_node
    set_services
}

fail() {
    echo "install-deps.sh: $1" >&2
    exit 1
}

# The distribution's own name for what is called differently in its releases.
resolve() {
    case $1 in
    llhttp) if known_package libllhttp-dev; then echo libllhttp-dev; else echo node-llhttp; fi ;;
    clang-14 | clang-format-14 | libclang-rt-14-dev)
        if known_package "$1"; then echo "$1"; else echo "$1" | sed 's/-14//'; fi
        ;;
    *) echo "$1" ;;
    esac
}

install() {
    have_command apt-get || fail "no apt-get here. Please install by hand:$wanted"
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        have_command sudo || fail "missing:$wanted; neither root nor sudo here. Run as root: scripts/install-deps.sh $set"
        sudo=sudo
    fi
    echo "installing:$wanted"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    run() { "$@" >"$log" 2>&1 </dev/null || { cat "$log" >&2; fail "failed: $*"; }; }
    # sudo asks for its password on the terminal, before output goes to the log.
    [ -z "$sudo" ] || sudo -v || fail "missing:$wanted; sudo refused. Run as root: scripts/install-deps.sh $set"
    run $sudo apt-get -o DPkg::Lock::Timeout=300 update
    packages=
    for p in $wanted; do packages="$packages $(resolve "$p")"; done
    run $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends $packages
}

[ $# -eq 1 ] || fail "usage: install-deps.sh make|build|lint|test|fuzz|bench"
set=$1
case $set in
make | build | lint | test | fuzz | bench) "set_$set" ;;
*) fail "no such set: $set (make, build, lint, test, fuzz, bench)" ;;
esac
[ -z "$wanted" ] || install
