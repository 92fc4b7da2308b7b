#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shell functions that quickstart.sh, tests/run.sh and bench/run.sh share. Sourced, not run.

TIDE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What a build and a broker need; names of Debian 12's packages.
TIDE_BUILD_PACKAGES="build-essential meson ninja-build pkg-config python3 libdpdk-dev liburing-dev libuv1-dev
  libmicrohttpd-dev libisal-dev libinih-dev libjemalloc-dev libcmocka-dev zlib1g-dev liblz4-dev libzstd-dev libxxhash-dev
  libsnappy-dev librdkafka-dev libcurl4-openssl-dev clang libbpf-dev linux-libc-dev"
TIDE_RUN_PACKAGES="iproute2 ethtool kcat curl procps"
TIDE_TEST_PACKAGES="python3-kafka libclang-rt-14-dev llvm-14 nodejs npm nftables"

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

need_root() {
    [ "$(id -u)" = 0 ] || fail "this needs root: network namespaces and DPDK ports. Type: sudo $0 $*"
}

# Installs those of the named packages that are absent. Without network this works as long as none is.
install_missing() {
    local missing=()
    local p
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' && continue
        # A tool that is there by other means counts as well.
        case $p in
        nodejs) command -v node >/dev/null && continue ;;
        npm) command -v npm >/dev/null && continue ;;
        esac
        missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null || fail "these packages are missing and there is no apt-get: ${missing[*]}"
    say "installing: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    if ! apt-get install -y --no-install-recommends "${missing[@]}" >/tmp/tidemark-apt.$$ 2>&1; then
        apt-get update >/tmp/tidemark-apt.$$ 2>&1 || { tail -5 /tmp/tidemark-apt.$$; fail "apt-get update failed"; }
        apt-get install -y --no-install-recommends "${missing[@]}" >/tmp/tidemark-apt.$$ 2>&1 ||
            { tail -5 /tmp/tidemark-apt.$$; fail "could not install: ${missing[*]}"; }
    fi
    rm -f /tmp/tidemark-apt.$$
}

# build_tree DIR [meson options...]: configures once, then builds everything that is wanted by default.
build_tree() {
    local dir=$1
    shift
    if [ ! -f "$dir/build.ninja" ]; then
        meson setup "$dir" "$TIDE_ROOT" "$@" >"$dir.log" 2>&1 || { tail -20 "$dir.log"; fail "meson setup failed, see $dir.log"; }
    fi
    ninja -C "$dir" >"$dir.log" 2>&1 || { grep -E 'error|FAILED' "$dir.log" | head -20; fail "the build failed, see $dir.log"; }
    rm -f "$dir.log"
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.1
    done
}

# Does process $1 run our broker?
is_our_broker() {
    [ -n "${1:-}" ] && [ "$(readlink "/proc/$1/exe" 2>/dev/null | sed 's/ (deleted)$//')" = "$TIDE_ROOT/build/control/daemon/tidemarkd" ]
}
