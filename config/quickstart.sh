#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From nothing to running brokers with a stock Kafka client beside them, on one machine:
#
#   config/quickstart.sh            set up, start three brokers, produce, consume, compare, kill the leader under load and count
#                                   what was acknowledged; the brokers keep running
#   config/quickstart.sh --brokers 1   one broker alone
#   config/quickstart.sh --status   what runs
#   config/quickstart.sh --down     remove every trace
#   config/quickstart.sh --vdev af_packet   a port without BPF (default: af_xdp, and af_packet if that fails)
#
# Each host is a network namespace: tm-b1 to tm-b3 the brokers, tm-client the clients. tm-net holds two bridges, the data
# network (10.77.0.0/24), where the brokers' own TCP answers, and the management network of the kernel (10.76.0.0/24).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BROKERS=(1 2 3)
NET=tm-net
CLIENT=tm-client
CLIENT_ADDRESS=10.77.0.100
STATE=$TIDE_ROOT/build/quickstart
ENV_FILE=$TIDE_ROOT/build/quickstart.env
HISTORY=$STATE/history
HUGE_FILE=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
HUGE_WANTED=512
VDEV=

ALL_BROKERS=(1 2 3) # what may be there from another run
QUORUM_PORT=9645

address() { echo "10.77.0.$1"; }
management() { echo "10.76.0.$1"; }

pid_of() { [ -f "$ENV_FILE" ] && sed -n "s/^BROKER$1_PID=//p" "$ENV_FILE" || true; }

# ---- down -----------------------------------------------------------------------------------------------------

stop_broker() {
    local pid
    pid=$(pid_of "$1")
    is_our_broker "$pid" || return 0
    kill -TERM "$pid" 2>/dev/null || true
    if ! wait_for 15 sh -c "! kill -0 $pid"; then
        say "broker $1 did not stop within 15 s; ending it"
        kill -KILL "$pid" 2>/dev/null || true
    fi
}

remove_namespaces() {
    local n
    for n in "$CLIENT" "$NET" $(printf 'tm-b%s ' "${ALL_BROKERS[@]}"); do
        ip netns list 2>/dev/null | grep -qw "^$n" && ip netns del "$n" || true
    done
}

give_hugepages_back() {
    [ -f "$STATE/hugepages.before" ] || return 0
    cat "$STATE/hugepages.before" >"$HUGE_FILE" 2>/dev/null || true
}

down() {
    local b pid
    for b in "${ALL_BROKERS[@]}"; do # all at once: the last ones of a cluster have nobody to hand their leaderships to
        pid=$(pid_of "$b")
        is_our_broker "$pid" && kill -TERM "$pid" 2>/dev/null || true
    done
    for b in "${ALL_BROKERS[@]}"; do stop_broker "$b"; done
    remove_namespaces
    give_hugepages_back
    rm -rf "$STATE" "$ENV_FILE"
}

# ---- status ---------------------------------------------------------------------------------------------------

status() {
    local b pid running=0
    for b in $(sed -n 's/^BROKER\([0-9]*\)_PID=.*/\1/p' "$ENV_FILE" 2>/dev/null); do
        pid=$(pid_of "$b")
        if is_our_broker "$pid"; then
            running=1
            say "broker $b: pid $pid, $(address "$b"):9092 in namespace tm-b$b, health: $(ip netns exec "tm-b$b" curl -s -m 2 http://127.0.0.1:9644/healthz || echo unknown)"
            say "  log: $STATE/broker$b.log"
        else
            say "broker $b: not running"
        fi
    done
    [ $running = 1 ] || return 1
}

# ---- up -------------------------------------------------------------------------------------------------------

make_network() {
    local b
    ip netns add $NET
    for b in data mgmt; do
        ip -n $NET link add $b type bridge
        ip -n $NET link set $b up
    done
    ip netns add $CLIENT
    plug $CLIENT tmc tmcp data
    ip -n $CLIENT addr add $CLIENT_ADDRESS/24 dev tmc
    for b in "${BROKERS[@]}"; do
        ip netns add "tm-b$b"
        plug "tm-b$b" "tmm$b" "tmm${b}p" mgmt
        ip -n "tm-b$b" addr add "$(management "$b")/24" dev "tmm$b"
        plug "tm-b$b" "tmb$b" "tmb${b}p" data
        # The kernel must send whole checksums and whole frames to a port that has no offloads.
        ip netns exec $NET ethtool -K "tmb${b}p" tx off >/dev/null
    done
}

# plug NAMESPACE DEVICE BRIDGE_PORT BRIDGE: a cable from the namespace to the bridge, one queue.
plug() {
    ip link add "$2" numrxqueues 1 numtxqueues 1 type veth peer name "$3" numrxqueues 1 numtxqueues 1
    ip link set "$2" netns "$1"
    ip link set "$3" netns $NET
    ip netns exec "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip netns exec $NET sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip -n $NET link set "$3" master "$4" up
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" up
}

reserve_hugepages() {
    local free
    mkdir -p "$STATE"
    free=$(cat "${HUGE_FILE%nr_hugepages}free_hugepages" 2>/dev/null || echo 0)
    if [ "$free" -ge $HUGE_WANTED ]; then
        say "hugepages: $free of 2 MiB are free"
        return
    fi
    [ -f "$STATE/hugepages.before" ] || cat "$HUGE_FILE" >"$STATE/hugepages.before" 2>/dev/null || true
    if echo $HUGE_WANTED 2>/dev/null >"$HUGE_FILE" && [ "$(cat "$HUGE_FILE")" -ge $HUGE_WANTED ]; then
        say "hugepages: $HUGE_WANTED of 2 MiB reserved; --down gives them back"
    else
        say "hugepages: could not be reserved; going on without them (the same speed on this kind of port)"
    fi
}

port_of() {
    case $2 in
    af_xdp) echo "vdev:net_af_xdp0,iface=tmb$1,busy_budget=0" ;;
    af_packet) echo "vdev:net_af_packet0,iface=tmb$1,blocksz=4194304,framesz=2048,framecnt=8192,qdisc_bypass=1" ;;
    *) fail "--vdev is af_xdp or af_packet" ;;
    esac
}

# Made once, and the same for all.
cluster_id() {
    [ -f "$STATE/cluster.id" ] || head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' >"$STATE/cluster.id"
    cat "$STATE/cluster.id"
}

voters() {
    local b all=
    for b in "${BROKERS[@]}"; do all=$all,$b@$(management "$b"):$QUORUM_PORT; done
    echo "${all#,}"
}

write_config() {
    cat >"$STATE/broker$1.conf" <<CONF
# Written by quickstart.sh; config/tidemark.conf explains every line.
node.id=$1
log.dirs=$STATE/data$1
listeners=PLAINTEXT://$(address "$1"):9092
data.address=$(address "$1")/24
data.ports=$(port_of "$1" "$2")
core.idle=wait
control.address=127.0.0.1:9644
dpdk.hugepages=$([ ${#BROKERS[@]} -gt 1 ] && echo off || echo auto)
CONF
    [ ${#BROKERS[@]} -gt 1 ] || return 0
    cat >>"$STATE/broker$1.conf" <<CONF
cluster.id=$(cluster_id)
quorum.voters=$(voters)
broker.session.timeout.ms=1500
controlled.shutdown.timeout.ms=3000
default.replication.factor=3
min.insync.replicas=2
dpdk.memory.mb=512
core.request.memory.bytes=16777216
log.tail.buffers=96
log.read.buffers=16
CONF
}

# launch_broker N VDEV: begins to run, and is written down.
launch_broker() {
    local b=$1 vdev=$2
    write_config "$b" "$vdev"
    ip netns exec "tm-b$b" setsid "$TIDE_ROOT/build/control/daemon/tidemarkd" --config "$STATE/broker$b.conf" \
        >"$STATE/broker$b.log" 2>&1 </dev/null &
    forget_broker "$b"
    echo "BROKER${b}_PID=$!" >>"$ENV_FILE"
    disown $! # its end is told below, not by the shell
}

forget_broker() { sed -i "/^BROKER$1_PID=/d" "$ENV_FILE"; }

# started N: it is ready, or has ended.
started() {
    local b=$1 pid
    pid=$(pid_of "$b")
    if wait_for 60 sh -c "grep -q '^tidemarkd: ready' '$STATE/broker$b.log' || ! kill -0 $pid" && kill -0 "$pid" 2>/dev/null; then
        return 0
    fi
    kill -KILL "$pid" 2>/dev/null || true
    forget_broker "$b"
    return 1
}

# A broker that is killed resets no connection, since its TCP dies with it; its clients would wait until their requests time
# out. With AF_XDP the kernel gets the frames when the broker is gone: it knows the address, too, and resets what it does not know.
# While the broker runs no frame reaches the kernel. AF_PACKET leaves the kernel a copy of all, so there it must not know it.
share_address() {
    ip -n "tm-b$1" addr del "$(address "$1")/24" dev "tmb$1" 2>/dev/null || true
    [ "$2" != af_xdp ] || ip -n "tm-b$1" addr add "$(address "$1")/24" dev "tmb$1"
}

# All at once: with several, the first is ready when a majority is there.
try_brokers() {
    local b
    for b in "${BROKERS[@]}"; do share_address "$b" "$1"; done
    for b in "${BROKERS[@]}"; do launch_broker "$b" "$1"; done
    for b in "${BROKERS[@]}"; do
        started "$b" && continue
        FAILED_BROKER=$b
        return 1
    done
}

start_brokers() {
    local b
    if ! try_brokers "${VDEV:-af_xdp}"; then
        [ -z "$VDEV" ] || { cat "$STATE/broker$FAILED_BROKER.log"; fail "broker $FAILED_BROKER did not start"; }
        say "af_xdp did not work here ($(tail -1 "$STATE/broker$FAILED_BROKER.log")); trying af_packet"
        for b in "${BROKERS[@]}"; do stop_broker "$b"; done
        VDEV=af_packet
        try_brokers af_packet || { cat "$STATE/broker$FAILED_BROKER.log"; fail "broker $FAILED_BROKER did not start"; }
    fi
    for b in "${BROKERS[@]}"; do
        say "broker $b: runs in namespace tm-b$b on $(address "$b"):9092, its port is ${VDEV:-af_xdp} on a veth, its own TCP answers"
    done
}

client() { ip netns exec $CLIENT timeout -k 10 60 "$@"; }

demonstrate() {
    local boot=$1 acks topic=quickstart.$(date +%s) count=10000 seconds
    seq -f "record %.0f of the quickstart" 1 $count >"$STATE/sent"
    make_topic "$boot" "$topic"
    for acks in 0 1 all; do
        seconds=$(date +%s.%N)
        client kcat -b "$boot" -P -t "$topic" -X acks=$acks -l "$STATE/sent" 2>/dev/null || fail "producing with acks=$acks failed; the broker's log is $STATE/broker1.log"
        say "produced $count records with acks=$acks in $(echo "$(date +%s.%N) $seconds" | awk '{printf "%.2f s", $1 - $2}')"
    done
    cat "$STATE/sent" "$STATE/sent" "$STATE/sent" >"$STATE/expected"
    client kcat -b "$boot" -C -t "$topic" -o beginning -e -q >"$STATE/got" 2>/dev/null || fail "consuming failed"
    cmp -s "$STATE/expected" "$STATE/got" || fail "what was consumed differs from what was produced: compare $STATE/expected and $STATE/got"
    say "consumed $(wc -l <"$STATE/got") records and compared them: equal"
    rm -f "$STATE/sent" "$STATE/expected" "$STATE/got"
    if [ ${#BROKERS[@]} -gt 1 ]; then
        compare_acks "$boot"
        kill_the_leader "$boot"
    fi
    consume_in_a_group "$boot"
}

# A group reads what is there, and its next member only what came since: what was read stands in __consumer_offsets.
consume_in_a_group() {
    local boot=$1 topic=group.$(date +%s) round
    make_topic "$boot" "$topic" 3
    for round in first second; do
        seq -f "%06.0f, the $round time" 1 3000 >"$STATE/sent"
        client kcat -b "$boot" -P -t "$topic" -X acks=all -l "$STATE/sent" 2>/dev/null || fail "producing for a group failed"
        client kcat -b "$boot" -G "$topic" -X auto.offset.reset=earliest -e -q "$topic" 2>/dev/null | sort >"$STATE/got" || fail "the group did not come to the end"
        cmp -s "$STATE/sent" "$STATE/got" || fail "what the group was given the $round time differs from what was produced: compare $STATE/sent and $STATE/got"
        say "a member of group $topic consumed $(wc -l <"$STATE/got") records, the $round time: exactly those that were new"
    done
    rm -f "$STATE/sent" "$STATE/got"
}

# Its leader hears of it when its own control does; what comes before is refused, and with acks=0 nobody sends it again.
make_topic() {
    client "$TIDE_ROOT/build/control/tool/tidemark" topic create --bootstrap "$1" --topic "$2" --partitions "${3:-1}" --replication-factor ${#BROKERS[@]}
    wait_for 20 client kcat -b "$1" -Q -t "$2:0:-1" || fail "topic $2 has no leader that answers; the brokers' logs are in $STATE"
}

# load BOOT TOPIC NAME ACKS IDEMPOTENT SECONDS: 1,000 records a second, and the history of their answers in $HISTORY.
load() {
    sleep "$6" | client "$TIDE_ROOT/build/tests/crash/crash_load" "$1" "$2" 1 "$3" "$4" "$5" 1000 0 "$HISTORY/$3.sent" >/dev/null
}

compare_acks() {
    local acks topic=acks.$(date +%s)
    rm -rf "$HISTORY"
    mkdir -p "$HISTORY"
    make_topic "$1" "$topic"
    for acks in 0 1 all; do
        load "$1" "$topic" "acks$acks" $acks false 3 || fail "the load with acks=$acks failed"
        awk '$1 == "sent" { at[$3] = $4 } $1 == "acked" { print $5 - at[$3] }' "$HISTORY/acks$acks.sent" | sort -n |
            awk -v acks=$acks '{ v[NR] = $1 } END { printf "acks=%-3s  %d records, answered after %.2f ms (median), %.2f ms (99th percentile)\n", acks, NR, v[int(NR / 2) + 1], v[int(NR * 0.99) + 1] }'
    done
}

leader_of() { # BOOT TOPIC: the broker that leads its partition
    client kcat -b "$1" -L -t "$2" 2>/dev/null | sed -n 's/.*partition 0, leader \([0-9]*\),.*/\1/p'
}

uptime_ms() { awk '{ printf "%.0f", $1 * 1000 }' /proc/uptime; } # the clock of the histories

kill_the_leader() {
    local boot=$1 topic=failover.$(date +%s) leader begin loader
    rm -rf "$HISTORY"
    mkdir -p "$HISTORY"
    make_topic "$boot" "$topic"
    echo "load $topic exact" >"$HISTORY/runs"
    load "$boot" "$topic" load all true 8 &
    loader=$!
    sleep 3
    leader=$(leader_of "$boot" "$topic")
    begin=$(uptime_ms)
    kill -KILL "$(pid_of "$leader")"
    say "killed broker $leader, which leads, while an idempotent producer writes with acks=all"
    wait $loader || fail "the producer failed; its history is in $HISTORY"
    echo "kill $leader $begin $(uptime_ms)" >"$HISTORY/faults"
    launch_broker "$leader" "${VDEV:-af_xdp}"
    started "$leader" || { cat "$STATE/broker$leader.log"; fail "broker $leader did not come back"; }
    client "$TIDE_ROOT/build/tests/crash/crash_read" "$boot" "$topic" 1 end "$HISTORY/$topic.final" || fail "reading failed"
    python3 "$TIDE_ROOT/tests/crash/checker.py" "$HISTORY" || fail "something acknowledged was lost, doubled or out of order; the history is in $HISTORY"
    say "broker $leader is back"
}

up() {
    local boot
    if status >/dev/null 2>&1; then
        say "already running:"
        status
        BROKERS=($(sed -n 's/^BROKER\([0-9]*\)_PID=.*/\1/p' "$ENV_FILE" | sort))
        boot=$(sed -n 's/^BOOTSTRAP=//p' "$ENV_FILE")
    else
        down
        install_missing $TIDE_BUILD_PACKAGES $TIDE_RUN_PACKAGES
        build_tree "$TIDE_ROOT/build"
        say "built in $TIDE_ROOT/build"
        trap 'say "something failed; removing what was set up"; down' ERR
        mkdir -p "$STATE"
        [ ${#BROKERS[@]} -gt 1 ] || reserve_hugepages
        make_network
        boot=$(printf '10.77.0.%s:9092,' "${BROKERS[@]}")
        boot=${boot%,}
        printf 'BOOTSTRAP=%s\nCLIENT_NS=%s\n' "$boot" $CLIENT >"$ENV_FILE"
        start_brokers
    fi
    demonstrate "$boot"
    trap - ERR
    say ""
    say "$([ ${#BROKERS[@]} -gt 1 ] && echo "The brokers keep" || echo "The broker keeps") running. Try:"
    say "  sudo ip netns exec $CLIENT kcat -b $boot -L"
    say "  echo hello | sudo ip netns exec $CLIENT kcat -b $boot -P -t greetings"
    say "  sudo ip netns exec $CLIENT kcat -b $boot -C -t greetings -o beginning -e"
    say "  sudo ip netns exec $CLIENT kcat -b $boot -G my-group -X auto.offset.reset=earliest greetings"
    say "  sudo ip netns exec tm-b1 curl -s http://127.0.0.1:9644/metrics"
    say "and when you have seen enough:  sudo config/quickstart.sh --down"
}

main() {
    local action=up
    while [ $# -gt 0 ]; do
        case $1 in
        --down) action=down ;;
        --status) action=status ;;
        --brokers)
            case ${2:-} in
            1) BROKERS=(1) ;;
            3) BROKERS=(1 2 3) ;;
            *) fail "--brokers is 1 or 3" ;;
            esac
            shift
            ;;
        --vdev) VDEV=${2:?--vdev needs af_xdp or af_packet}; shift ;;
        -h | --help) sed -n '3,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) fail "no option $1; see --help" ;;
        esac
        shift
    done
    need_root
    case $action in
    up) up ;;
    down) down; say "everything is removed" ;;
    status) status ;;
    esac
}

main "$@"
