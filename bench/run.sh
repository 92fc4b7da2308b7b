#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measurements. Each prints ratios taken in one run on this machine, and the figures behind them.
#
#   bench/run.sh tcp [options]      our TCP beside the kernel's over one veth (needs root); --help tells the options
set -euo pipefail
TIDE_ROOT=$(cd "$(dirname "$0")/.." && pwd)
. "$TIDE_ROOT/config/lib.sh"
what=${1:-}
[ $# -eq 0 ] || shift
case $what in
tcp) ;;
*)
    sed -n '3,5s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
need_root "$what"
[ "${TIDE_NO_INSTALL:-0}" = 1 ] || install_missing $TIDE_BUILD_PACKAGES $TIDE_RUN_PACKAGES nftables
build_tree "$TIDE_ROOT/build"
ninja -C "$TIDE_ROOT/build" bench >/dev/null
exec python3 "$TIDE_ROOT/bench/$what.py" "$@"
