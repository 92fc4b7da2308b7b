#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measurements. Each prints ratios taken in one run on this machine, and the figures behind them.
#
#   bench/run.sh tcp [options]      our TCP beside the kernel's over one veth (needs root); --help tells the options
#   bench/run.sh failover [options] from the kill of a leader to the next acknowledged record, three brokers (needs root)
#   bench/run.sh log [options]      the log beside direct writes, on a disk; recovery; instructions (no root needed)
#   bench/run.sh road [options]     instructions and copies of a record's road, counted (no root needed)
#   bench/run.sh syscalls [options] system calls of a broker's core per request (needs root)
#   bench/run.sh smoke [options]    brokers under an open load beside their floors, two minutes, with a report (needs root)
#   bench/run.sh full [options]     every scenario of bench/scenarios
#   bench/compare A B               two results beside each other (needs no build)
set -euo pipefail
TIDE_ROOT=$(cd "$(dirname "$0")/.." && pwd)
. "$TIDE_ROOT/config/lib.sh"
what=${1:-}
[ $# -eq 0 ] || shift
packages=$TIDE_BUILD_PACKAGES
case $what in
tcp | failover | syscalls)
    need_root "$what"
    packages="$packages $TIDE_RUN_PACKAGES nftables"
    [ "$what" != syscalls ] || packages="$packages strace"
    ;;
smoke | full | --smoke | --full)
    what=${what#--}
    need_root "$what"
    packages="$packages $TIDE_RUN_PACKAGES $TIDE_BENCH_PACKAGES"
    set -- "$what" "$@"
    what=scenarios
    ;;
log | road) packages="$packages $TIDE_COUNT_PACKAGES" ;;
*)
    sed -n '3,12s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
[ "${TIDE_NO_INSTALL:-0}" = 1 ] || install_missing $packages
build_tree "$TIDE_ROOT/build"
ninja -C "$TIDE_ROOT/build" bench >/dev/null
exec python3 "$TIDE_ROOT/bench/$what.py" "$@"
