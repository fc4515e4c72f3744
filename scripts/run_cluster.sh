#!/usr/bin/env bash
# A whole cluster on this machine: redis-server, PostgreSQL, Kafka, rtbroker nodes and nginx in front of them, all real, on free ports of
# 127.0.0.1, their files in one scratch folder. For tests, benchmarks and trying things.
#
#   run_cluster.sh [OPTIONS]             starts it, says what runs where, stops it at SIGINT or SIGTERM
#     --nodes N          nodes n1 to nN; 3
#     --brokers N        brokers of Kafka: kafka, kafka2 to kafkaN; 1
#     --config F         their configuration; docs/examples/chat.yaml. Names, addresses, services, secret and API key are set over it
#     --set PATH=VALUE   one more setting of every node; may be repeated. --set n2:PATH=VALUE: of that node
#     --without LIST     leaves out some of nginx,redis,kafka,postgres
#     --dir DIR          the scratch folder, new or empty; it stays. Otherwise one below TMPDIR that goes at the end
#     --exec CMD         runs CMD (by bash) once all is ready, then stops everything and ends with its status
#     --keep             leaves everything running at the end, for `run_cluster.sh down`
#
#   run_cluster.sh ACTION NAME           acts on the running cluster whose folder is RT_CLUSTER_DIR (CMD has it)
#     kill NAME          SIGKILL to all of its processes      NAME: n1, n2, ... redis, kafka, kafka2, ... postgres, nginx
#     stop NAME          gracefully; waits for its end
#     start NAME         again, on the same port with the same data; waits until it is ready (a node: until it lives, while a service is down)
#     pause NAME         SIGSTOP to all of its processes; resume NAME: SIGCONT
#     set NAME PATH=VALUE    one more setting of a node, from its next start on
#   run_cluster.sh down                  stops a cluster that was kept
#
# CMD finds in its environment: RT_URL (nginx, or the first node), RT_NODES and RT_PIDS (URLs and process ids of the nodes), RT_REDIS_URL, RT_KAFKA_BROKERS,
# RT_KAFKA_TOPIC, RT_POSTGRES_URL, RT_API_KEY, RT_CLUSTER_DIR. DIR/env sets the same; DIR/NAME/pid and DIR/NAME/log are those of one part.
#
# RTBROKER: the binary, ./rtbroker at the top of the tree. PG_BIN: PostgreSQL's programs. Kafka comes through scripts/kafka.sh, see there.
# Exit status 77: a part cannot be had on this machine, with the reason. 1: a part did not start, or CMD went well and a node ended badly.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:/usr/sbin:/sbin # nginx, for who is not root
START_SECONDS=90
STOP_SECONDS=60

missing() {
    echo "run_cluster.sh: $1" >&2
    exit 77
}
fail() {
    echo "run_cluster.sh: $1" >&2
    exit 1
}
usage() {
    sed -n '/^# A whole/,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}
misused() {
    echo "run_cluster.sh: $1; run_cluster.sh --help says more" >&2
    exit 2
}

# ---- processes -------------------------------------------------------------------------------------------------------

lives() { # PID; a zombie does not
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    [[ ${stat##*) } != [ZX]* ]]
}

runs() { # NAME; sets pid
    pid=$(cat "$dir/$1/pid" 2>/dev/null) && [ -n "$pid" ] && lives "$pid"
}

wait_for() { # SECONDS COMMAND...
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
}

gone() { # PID...
    local pid
    for pid; do lives "$pid" && return 1; done
    return 0
}

# Stops PID and all below it, parents first, so that none is made meanwhile; `frozen` lists them.
freeze() { # PID
    local child
    kill -STOP "$1" 2>/dev/null || return 0
    frozen+=("$1")
    for child in $(pgrep -P "$1"); do freeze "$child"; done
}

thaw() { # PID
    local child
    for child in $(pgrep -P "$1"); do thaw "$child"; done
    kill -CONT "$1" 2>/dev/null || true
}

kill_tree() { # PID
    local frozen=()
    freeze "$1"
    [ ${#frozen[@]} -gt 0 ] || return 0
    kill -KILL "${frozen[@]}" 2>/dev/null || true
    wait_for "$STOP_SECONDS" gone "${frozen[@]}"
}

# Runs it in the background, not as a child of ours: NAME/pid, NAME/log, and NAME/status once it has ended.
launch() { # NAME COMMAND...
    local home=$dir/$1
    shift
    rm -f "$home/status" "$home/pid"
    (
        "$@" >>"$home/log" 2>&1 </dev/null &
        echo $! >"$home/pid.new"
        mv "$home/pid.new" "$home/pid"
        status=0
        wait $! || status=$?
        echo "$status" >"$home/status"
    ) >/dev/null 2>&1 </dev/null &
    disown
    wait_for 10 test -e "$home/pid"
}

# Waits until it is ready or has ended.
await() { # NAME COMMAND...
    local name=$1 deadline=$((SECONDS + START_SECONDS))
    shift
    until "$@"; do
        runs "$name" || not_started "$name" "has ended"
        [ $SECONDS -lt $deadline ] || not_started "$name" "is not ready after $START_SECONDS s"
        sleep 0.05
    done
}

not_started() { # NAME WHAT
    tail -n 20 "$dir/$1/log" >&2 || true
    fail "$1 $2; its log ends above"
}

free_port() {
    local port
    for _ in $(seq 100); do
        # Below the range from which the kernel takes ports of outgoing connections.
        port=$((10000 + (RANDOM << 15 | RANDOM) % 22000))
        if ! grep -qsx "$port" "$dir"/*/port && ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    fail "no free port"
}

port() { # NAME
    cat "$dir/$1/port"
}

has() { # NAME; is it part of this cluster?
    [[ " ${parts[*]} " == *" $1 "* ]]
}

# ---- the services ------------------------------------------------------------------------------------------------------

redis_answers() {
    [ "$(redis-cli -p "$(port redis)" ping 2>/dev/null)" = PONG ]
}

start_redis() {
    launch redis redis-server --bind 127.0.0.1 --port "$(port redis)" --dir "$dir/redis" --save '' --appendonly no
    await redis redis_answers
}

start_kafka() { # NAME
    local status=0
    "$root/scripts/kafka.sh" start "$dir/$1" >"$dir/$1/address.new" || status=$?
    [ $status -eq 0 ] || exit $status
    mv "$dir/$1/address.new" "$dir/$1/address"
}

kafka_names() {
    seq -f 'kafka%g' "$brokers" | sed 's/^kafka1$/kafka/'
}

kafka_brokers() { # as HOST:PORT,...
    local name list=
    for name in $(kafka_names); do list+=,$(cat "$dir/$name/address"); done
    echo "${list#,}"
}

find_postgres() {
    pg_bin=${PG_BIN:-}
    if [ -z "$pg_bin" ]; then
        pg_bin=$(find /usr/lib/postgresql/*/bin -name initdb 2>/dev/null | sort -V | tail -n 1)
        pg_bin=${pg_bin:-$(command -v initdb || true)}
        pg_bin=${pg_bin%/initdb}
    fi
    [ -x "$pg_bin/initdb" ] || missing "no PostgreSQL here (package postgresql, or set PG_BIN)"
    # It refuses to run as root.
    pg_user=()
    if [ "$(id -u)" -eq 0 ]; then
        local user=nobody
        id -u postgres >/dev/null 2>&1 && user=postgres
        pg_user=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --)
        chown "$user" "$dir/postgres"
    fi
}

start_postgres() {
    find_postgres
    local data=$dir/postgres/data fresh=
    if [ ! -e "$data" ]; then
        fresh=yes
        (cd "$dir/postgres" && "${pg_user[@]}" "$pg_bin/initdb" -D data -U rtbroker -A trust -E UTF8 --locale C --no-sync) \
            >"$dir/postgres/log" 2>&1 || not_started postgres "cannot make its database"
    fi
    launch postgres "${pg_user[@]}" "$pg_bin/postgres" -D "$data" -h 127.0.0.1 -p "$(port postgres)" -k "$dir/postgres"
    await postgres "$pg_bin/pg_isready" -q -h 127.0.0.1 -p "$(port postgres)"
    [ -z "$fresh" ] || "$pg_bin/createdb" -h 127.0.0.1 -p "$(port postgres)" -U rtbroker rtbroker
}

# What a killed PostgreSQL leaves in the kernel until it is started again.
forget_postgres() {
    local lock=$dir/postgres/data/postmaster.pid
    [ ! -s "$lock" ] || ipcrm -m "$(awk 'NR == 7 { print $2 }' "$lock")" 2>/dev/null || true
}

# docs/examples/nginx-cluster.conf with our addresses. A line with n1 stands for all nodes.
render_nginx() {
    awk -v nodes="$nodes" '
        /^ *#/ { next }
        /n1/ { for (i = 1; i <= nodes; i++) { line = $0; gsub(/n1/, "n" i, line); print line } next }
        /n[2-9]/ { next }
        { print }' "$root/docs/examples/nginx-cluster.conf" |
        sed "s|/run/rtbroker/|$dir/|; s|listen 80;|listen 127.0.0.1:$(port nginx);|; s|server_name .*;|server_name _;|"
}

start_nginx() {
    local home=$dir/nginx most
    most=$(ulimit -n)
    [[ $most != unlimited && $most -lt 30000 ]] || most=30000
    render_nginx >"$home/site.conf"
    {
        # Its workers may write to the nodes' sockets, which are ours.
        [ "$(id -u)" -ne 0 ] || echo "user root;"
        echo "daemon off; worker_processes 1; pid $home/nginx.pid; error_log stderr warn;"
        echo "events { worker_connections $most; }"
        echo "http { access_log off;"
        printf "    %s_temp_path $home/temp;\n" client_body proxy fastcgi uwsgi scgi
        echo "    include $home/site.conf; }"
    } >"$home/nginx.conf"
    launch nginx nginx -e stderr -p "$home" -c "$home/nginx.conf"
    await nginx listening nginx
}

listening() { # NAME
    (exec 3<>"/dev/tcp/127.0.0.1/$(port "$1")") 2>/dev/null
}

# ---- nodes -------------------------------------------------------------------------------------------------------------

http_get() { # NAME PATH
    (
        exec 3<>"/dev/tcp/127.0.0.1/$(port "$1")" || exit 1
        printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
        timeout 5 cat <&3
    ) 2>/dev/null
}

node_lives() { # NAME
    [[ $(http_get "$1" /healthz) == "HTTP/1.1 200 "* ]]
}

node_ready() { # NAME
    [[ $(http_get "$1" /readyz) == "HTTP/1.1 200 "* ]]
}

# Everything that it uses answers, also what it could do without.
node_complete() { # NAME
    local answer
    answer=$(http_get "$1" /readyz)
    [[ $answer == "HTTP/1.1 200 "* && $answer != *'"up":false'* ]]
}

launch_node() { # NAME
    local args=(--config "$config" --set "node.name=$1" --listen "127.0.0.1:$(port "$1")" --listen "unix:$dir/$1.sock"
        --set "cluster.secret_file=$dir/secret" --set "api.keys=[{name: cluster, key_file: '$dir/key'}]")
    has redis && args+=(--set "redis.url=$(redis_url)")
    has kafka && args+=(--set "kafka.brokers=[$(kafka_brokers)]" --set "kafka.topic=$TOPIC")
    # Rows are made from the log.
    has kafka && has postgres && args+=(--set "postgres.url=$(postgres_url)")
    local setting
    for setting in "${settings[@]}"; do
        case $setting in
        "$1":*) args+=(--set "${setting#*:}") ;;
        n[0-9]*:*) ;; # another one's
        *) args+=(--set "$setting") ;;
        esac
    done
    launch "$1" "$binary" "${args[@]}"
}

services_run() {
    local name
    for name in redis $(kafka_names) postgres; do
        has "$name" || continue
        runs "$name" || return 1
    done
}

start_node() { # NAME
    launch_node "$1"
    if services_run; then await "$1" node_ready "$1"; else await "$1" node_lives "$1"; fi
}

# ---- a part, whatever it is --------------------------------------------------------------------------------------------

start_part() { # NAME
    case $1 in
    redis | postgres | nginx) "start_$1" ;;
    kafka*) start_kafka "$1" ;;
    *) start_node "$1" ;;
    esac
}

# It has ended; its status is there a moment later. kafka.sh writes none.
note_end() { # NAME
    [[ $1 == kafka* ]] || wait_for 10 test -e "$dir/$1/status" || true
    rm -f "$dir/$1/pid"
}

stop_part() { # NAME SECONDS; false: it does not end
    local pid signal=TERM
    runs "$1" || return 0
    [ "$1" != postgres ] || signal=INT
    thaw "$pid"
    kill -$signal "$pid" 2>/dev/null || true
    wait_for "$2" gone "$pid" || return 1
    note_end "$1"
}

kill_part() { # NAME
    local pid
    runs "$1" || return 0
    kill_tree "$pid"
    note_end "$1"
}

act() { # ACTION NAME
    local pid frozen=()
    has "$2" || misused "no part $2 in this cluster: there are ${parts[*]}"
    if [ "$1" = start ]; then
        ! runs "$2" || fail "$2 runs already"
        start_part "$2"
        return
    fi
    runs "$2" || fail "$2 does not run"
    case $1 in
    kill) kill_part "$2" ;;
    stop) stop_part "$2" "$STOP_SECONDS" || fail "$2 has not ended after $STOP_SECONDS s" ;;
    pause) freeze "$pid" ;;
    resume) thaw "$pid" ;;
    esac
}

# ---- the cluster -------------------------------------------------------------------------------------------------------

TOPIC=rtbroker
redis_url() { echo "redis://127.0.0.1:$(port redis)"; }
postgres_url() { echo "postgresql://rtbroker@127.0.0.1:$(port postgres)/rtbroker"; }
node_url() { echo "http://127.0.0.1:$(port "$1")"; }

node_names() {
    seq -f 'n%g' "$nodes"
}

# Ends everything; true: all nodes have ended well.
stop_all() {
    local name status bad=0
    has nginx && kill_part nginx
    # A second signal skips the waiting for clients.
    for name in $(node_names); do (stop_part "$name" 2 || stop_part "$name" 20 || kill_part "$name") & done
    wait
    for name in $(node_names); do
        status=$(cat "$dir/$name/status" 2>/dev/null || echo 0)
        [ "$up" != yes ] || [ "$status" -eq 0 ] || [ "$status" -eq 137 ] || {
            echo "run_cluster.sh: $name has ended with $status:" >&2
            tail -n 40 "$dir/$name/log" >&2
            bad=1
        }
    done
    # Nobody needs their data any more.
    has redis && kill_part redis
    for name in $(kafka_names); do ! has "$name" || kill_part "$name"; done
    if has postgres; then
        stop_part postgres 10 || kill_part postgres
        forget_postgres
    fi
    return $bad
}

# Starters and CMD that still run.
end_jobs() {
    local job
    for job in $(jobs -pr); do
        kill_tree "$job"
        wait "$job" 2>/dev/null || true
    done
}

finish() {
    local status=$?
    trap '' INT TERM HUP PIPE # who reads what we say may be gone
    trap - EXIT
    end_jobs
    [ "$up" != yes ] || [ -z "$keep" ] || {
        echo "it stays: RT_CLUSTER_DIR=$dir $root/scripts/run_cluster.sh down" >&2
        exit $status
    }
    stop_all || [ $status -ne 0 ] || status=1
    [ -n "$own_dir" ] || rm -rf "$dir"
    exit $status
}

start_services() {
    local name starters=()
    # shellcheck disable=SC2046
    ! has kafka || "$root/scripts/kafka.sh" configure $(kafka_names | sed "s|^|$dir/|")
    for name in redis $(kafka_names) postgres; do
        has "$name" || continue
        start_part "$name" &
        starters+=($!)
    done
    for name in "${starters[@]}"; do wait "$name" || exit $?; done
}

start_nodes() {
    local name
    for name in $(node_names); do launch_node "$name"; done
    for name in $(node_names); do await "$name" node_complete "$name"; done
}

write_env() {
    local name urls=() pids=() pid=
    for name in $(node_names); do
        urls+=("$(node_url "$name")")
        pids+=("$(cat "$dir/$name/pid")")
    done
    local url=${urls[0]}
    ! has nginx || url=$(node_url nginx)
    {
        printf "export RT_CLUSTER_DIR='%s' RT_URL='%s' RT_NODES='%s'\n" "$dir" "$url" "${urls[*]}"
        printf "export RT_PIDS='%s' RT_API_KEY='%s'\n" "${pids[*]}" "$(cat "$dir/key")"
        ! has redis || printf "export RT_REDIS_URL='%s'\n" "$(redis_url)"
        ! has kafka || printf "export RT_KAFKA_BROKERS='%s' RT_KAFKA_TOPIC='%s'\n" "$(kafka_brokers)" $TOPIC
        ! has postgres || printf "export RT_POSTGRES_URL='%s'\n" "$(postgres_url)"
    } >"$dir/env"
}

tell() {
    local name what
    for name in "${parts[@]}"; do
        case $name in
        redis) what=$(redis_url) ;;
        kafka*) what="$(cat "$dir/$name/address"), topic $TOPIC" ;;
        postgres) what=$(postgres_url) ;;
        nginx) what="$(node_url nginx), for clients" ;;
        *) what="$(node_url "$name"), unix:$dir/$name.sock" ;;
        esac
        printf '%-9s %s (process %s)\n' "$name" "$what" "$(cat "$dir/$name/pid")"
    done
    printf '%-9s %s\n' "API key" "$(cat "$dir/key")" files "$dir"
}

# What is missing is said before anything starts.
check_machine() {
    local name needs
    for name in "${parts[@]}"; do
        case $name in
        redis) needs=redis-server ;;
        nginx) needs=nginx ;;
        kafka*) "$root/scripts/kafka.sh" path >/dev/null || exit $? ;;&
        *) needs=pgrep ;;
        esac
        command -v $needs >/dev/null || missing "no $needs here (scripts/install-deps.sh test installs what is needed)"
    done
    [ -x "$binary" ] || fail "there is no broker at $binary: run make, or set RTBROKER"
    [ -r "$config" ] || fail "cannot read $config"
}

random_text() {
    head -c 24 /dev/urandom | base64 | tr '+/' '-_'
}

make_dir() {
    if [ -n "$own_dir" ]; then
        mkdir -p "$own_dir"
        dir=$(cd "$own_dir" && pwd)
        [ -z "$(ls -A "$dir")" ] || fail "$dir is not empty"
    else
        dir=$(mktemp -d "${TMPDIR:-/tmp}/rtb-cluster.XXXXXX")
    fi
    up=no
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    umask 077
    chmod 711 "$dir" # PostgreSQL's user has a folder in it
    local name
    for name in "${parts[@]}"; do
        mkdir "$dir/$name"
        free_port >"$dir/$name/port"
    done
    random_text >"$dir/secret"
    random_text >"$dir/key"
    declare -p nodes brokers parts binary config settings own_dir >"$dir/cluster"
}

run() {
    local cmd=$1 job status=0
    ulimit -Sn "$(ulimit -Hn)" 2>/dev/null || true
    check_machine
    make_dir
    start_services
    start_nodes
    ! has nginx || start_nginx
    write_env
    up=yes
    tell >&2
    # shellcheck disable=SC1091
    source "$dir/env"
    if [ -n "$cmd" ]; then
        bash -c "$cmd" <&0 &
    elif [ -z "$keep" ]; then
        sleep infinity &
    else
        return 0
    fi
    job=$!
    wait $job || status=$?
    exit $status
}

parse() {
    local without='' name cmd=''
    nodes=3 brokers=1 config=$root/docs/examples/chat.yaml binary=${RTBROKER:-$root/rtbroker} settings=() parts=() keep='' own_dir=''
    while [ $# -gt 0 ]; do
        case $1 in
        --help | -h) usage && exit ;;
        --keep) keep=yes && shift && continue ;;
        --nodes | --brokers | --config | --set | --without | --dir | --exec) [ $# -ge 2 ] || misused "$1 needs a value" ;;
        *) misused "unknown argument $1" ;;
        esac
        case $1 in
        --nodes) nodes=$2 ;;
        --brokers) brokers=$2 ;;
        --config) config=$2 ;;
        --set) settings+=("$2") ;;
        --without) without=$without,$2 ;;
        --dir) own_dir=$2 ;;
        --exec) cmd=$2 ;;
        esac
        shift 2
    done
    [[ $nodes =~ ^[1-9][0-9]?$ ]] || misused "--nodes $nodes: 1 to 99 are possible"
    [[ $brokers =~ ^[1-9]$ ]] || misused "--brokers $brokers: 1 to 9 are possible"
    for name in ${without//,/ }; do
        [[ " redis kafka postgres nginx " == *" $name "* ]] || misused "--without $name: nginx, redis, kafka and postgres are possible"
    done
    for name in redis $(kafka_names) postgres $(node_names) nginx; do
        [[ ",$without," == *",${name/#kafka*/kafka},"* ]] || parts+=("$name")
    done
    config=$(realpath -m "$config") binary=$(realpath -m "$binary")
    run "$cmd"
}

open_cluster() {
    [ -n "${RT_CLUSTER_DIR:-}" ] || misused "RT_CLUSTER_DIR does not say which cluster"
    dir=$RT_CLUSTER_DIR
    [ -r "$dir/cluster" ] || fail "there is no cluster in $dir"
}

case ${1:-} in
set)
    [ $# -eq 3 ] || misused "set which node, PATH=VALUE?"
    open_cluster
    # shellcheck disable=SC1091
    source "$dir/cluster"
    [[ $2 == n[0-9]* ]] && has "$2" || misused "no node $2 in this cluster: there are ${parts[*]}"
    printf 'settings+=(%q)\n' "$2:$3" >>"$dir/cluster"
    ;;
kill | stop | start | pause | resume)
    [ $# -eq 2 ] || misused "$1 what?"
    open_cluster
    # shellcheck disable=SC1091
    source "$dir/cluster"
    act "$1" "$2"
    ;;
down)
    open_cluster
    # shellcheck disable=SC1091
    source "$dir/cluster"
    status=0 up=yes
    stop_all || status=1
    [ -n "$own_dir" ] || rm -rf "$dir"
    exit $status
    ;;
*) parse "$@" ;;
esac
