#!/usr/bin/env bash
# Real Apache Kafka in KRaft mode on free ports of 127.0.0.1, for tests and benchmarks: one broker, or a cluster of some.
#
#   kafka.sh start DIR    starts it with its data in DIR, waits until it listens, prints HOST:PORT; in a DIR that has been started before on
#                         the same port with the same data
#   kafka.sh configure DIR..   makes the settings of one cluster with a broker for each DIR, which are then started one by one, all at once: a
#                         broker listens when most of them run
#   kafka.sh stop DIR     SIGTERM, waits for its end
#   kafka.sh kill DIR     SIGKILL, likewise
#   kafka.sh path         the folder with its jars; fetches them when they are not there
#
# DIR/pid is its process, DIR/server.properties its settings, DIR/log what it says. KAFKA_HOME: an unpacked Kafka to use instead. Otherwise the jars come from
# Maven's central repository through mvn, once, into ${XDG_CACHE_HOME:-~/.cache}/rtbroker. KAFKA_JVM: options of the JVM. KAFKA_PROPERTIES: more
# lines of server.properties for a new DIR.
# Exit status 77: Kafka cannot be had here (no Java, no jars), with the reason on standard error.
set -euo pipefail

VERSION=4.1.1
SLF4J_IMPL=2.24.3 # without it Kafka says nothing
START_SECONDS=60

missing() {
    echo "kafka.sh: $1" >&2
    exit 77
}
fail() {
    echo "kafka.sh: $1" >&2
    exit 1
}
usage() {
    sed -n '2,17s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# ---- jars --------------------------------------------------------------------------------------------------------

fetch_jars() { # CACHE
    command -v mvn >/dev/null || missing "no jars of Kafka in $1 and no mvn to fetch them (or set KAFKA_HOME)"
    work=$(mktemp -d "$1/fetch.XXXXXX")
    cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$SLF4J_IMPL</version></dependency>
  </dependencies>
</project>
POM
    if ! mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$work/lib" >"$work/log" 2>&1; then
        tail -n 5 "$work/log" >&2
        rm -rf "$work"
        missing "the jars of Kafka cannot be fetched"
    fi
    rm -rf "$1/kafka-$VERSION"
    mkdir "$1/kafka-$VERSION"
    mv "$work/lib" "$1/kafka-$VERSION/libs"
    rm -rf "$work"
}

find_jars() {
    command -v java >/dev/null || missing "no java here"
    if [ -n "${KAFKA_HOME:-}" ]; then
        [ -d "$KAFKA_HOME/libs" ] || missing "KAFKA_HOME=$KAFKA_HOME has no libs/"
        jars=$KAFKA_HOME/libs
        return
    fi
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtbroker
    jars=$cache/kafka-$VERSION/libs
    if [ ! -d "$jars" ]; then
        mkdir -p "$cache"
        exec 9>"$cache/lock"
        flock 9
        [ -d "$jars" ] || fetch_jars "$cache"
        exec 9>&-
    fi
}

# ---- the broker ----------------------------------------------------------------------------------------------------

free_port() { # TAKEN...
    local port
    for _ in $(seq 100); do
        # Below the range from which the kernel takes ports of outgoing connections.
        port=$((10000 + (RANDOM << 15 | RANDOM) % 22000))
        if [[ " $* " != *" $port "* ]] && ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    fail "no free port"
}

# Topics of Kafka's own have three replicas where there are as many brokers. An id may not begin with a dash: it would be taken for an option.
configure() { # DIR...
    local dir ports=() controllers=() voters='' id=0 replicas=1 cluster
    [ $# -lt 3 ] || replicas=3
    for dir; do
        ports+=("$(free_port "${ports[@]}" "${controllers[@]}")")
        controllers+=("$(free_port "${ports[@]}" "${controllers[@]}")")
        voters+=,${#ports[@]}@127.0.0.1:${controllers[-1]}
    done
    cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' | sed 's/^-/A/')
    for dir; do
        mkdir -p "$dir"
        dir=$(cd "$dir" && pwd)
        cat >"$dir/server.properties" <<PROPERTIES
node.id=$((id + 1))
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:${ports[id]},CONTROLLER://127.0.0.1:${controllers[id]}
advertised.listeners=PLAINTEXT://127.0.0.1:${ports[id]}
controller.listener.names=CONTROLLER
controller.quorum.voters=${voters#,}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
log.index.size.max.bytes=1048576
offsets.topic.num.partitions=4
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
${KAFKA_PROPERTIES:-}
PROPERTIES
        cat >"$dir/log4j2.properties" <<'LOG4J'
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c: %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
LOG4J
        echo "$cluster" >"$dir/cluster.id"
        id=$((id + 1))
    done
}

exec_java() { # DIR ARGUMENTS...
    local dir=$1
    shift
    # shellcheck disable=SC2086
    exec java ${KAFKA_JVM:--Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
        "-Dlog4j2.configurationFile=$dir/log4j2.properties" -cp "$jars/*" "$@"
}

alive() { # DIR
    [ -s "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null
}

listening() { # HOST:PORT
    (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null
}

address() { # DIR
    sed -n 's|^advertised.listeners=PLAINTEXT://||p' "$1/server.properties"
}

start() { # DIR
    find_jars
    mkdir -p "$1"
    local dir
    dir=$(cd "$1" && pwd)
    [ -e "$dir/server.properties" ] || configure "$dir"
    if [ ! -e "$dir/data/meta.properties" ]; then
        (exec_java "$dir" kafka.tools.StorageTool format -t "$(cat "$dir/cluster.id")" -c "$dir/server.properties" \
            >"$dir/log" 2>&1 </dev/null) || { tail -n 5 "$dir/log" >&2; fail "cannot format $dir/data"; }
    fi
    alive "$dir" && fail "it runs already: $(address "$dir")"
    # Nothing of the caller stays open in it: somebody may wait for the end of our output.
    (exec_java "$dir" kafka.Kafka "$dir/server.properties" >>"$dir/log" 2>&1 </dev/null) &
    echo $! >"$dir/pid"
    for _ in $(seq $((START_SECONDS * 10))); do
        if listening "$(address "$dir")"; then
            address "$dir"
            return
        fi
        alive "$dir" || { tail -n 20 "$dir/log" >&2; fail "it ended at once, see $dir/log"; }
        sleep 0.1
    done
    kill -9 "$(cat "$dir/pid")"
    fail "it does not listen after $START_SECONDS s, see $dir/log"
}

end() { # SIGNAL DIR
    if alive "$2"; then
        local pid
        pid=$(cat "$2/pid")
        kill "-$1" "$pid"
        for _ in $(seq 300); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -0 "$pid" 2>/dev/null && { kill -9 "$pid"; sleep 0.2; }
    fi
    rm -f "$2/pid"
}

case ${1:-} in
start) [ $# -eq 2 ] || usage; start "$2" ;;
stop) [ $# -eq 2 ] || usage; end TERM "$2" ;;
kill) [ $# -eq 2 ] || usage; end KILL "$2" ;;
configure) [ $# -ge 2 ] || usage; shift; configure "$@" ;;
path) [ $# -eq 1 ] || usage; find_jars; echo "$jars" ;;
*) usage ;;
esac
