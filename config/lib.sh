#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shell functions that quickstart.sh, tests/run.sh and bench/run.sh share. Sourced, not run.

TIDE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What a build and a broker need; names of Debian 12's packages.
TIDE_BUILD_PACKAGES="build-essential meson ninja-build pkg-config python3 libdpdk-dev liburing-dev libuv1-dev
  libmicrohttpd-dev libisal-dev libinih-dev libjemalloc-dev libcmocka-dev zlib1g-dev liblz4-dev libzstd-dev libxxhash-dev
  libsnappy-dev librdkafka-dev libcurl4-openssl-dev clang libbpf-dev linux-libc-dev libraft-dev libpcre2-dev"
TIDE_RUN_PACKAGES="iproute2 ethtool kcat curl procps"
TIDE_EMULATOR_PACKAGES="busybox-static cpio kmod e2fsprogs"
# Counts instructions (bench/road.py, bench/log.py).
TIDE_COUNT_PACKAGES="valgrind"
TIDE_TEST_PACKAGES="python3-kafka libclang-rt-14-dev llvm-14 nodejs npm nftables e2fsprogs mount $TIDE_COUNT_PACKAGES"
# Plots of a report: one program without further libraries of its own.
TIDE_BENCH_PACKAGES="gnuplot-nox"
# For Kafka's own tools, in one interop case; wanted with --full or TIDE_JAVA=1.
TIDE_JAVA_PACKAGES="default-jre-headless maven"

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
        [ "$p" != libraft-dev ] || { install_libraft; continue; }
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
        apt_update
        apt-get install -y --no-install-recommends "${missing[@]}" >/tmp/tidemark-apt.$$ 2>&1 ||
            { tail -5 /tmp/tidemark-apt.$$; fail "could not install: ${missing[*]}"; }
    fi
    rm -f /tmp/tidemark-apt.$$
}

# backports_source DIR SUITE: prints what makes apt see the backports of the release SUITE: a copy of the machine's own package
# source under DIR (sources.list, *.list, *.sources) with the suite replaced. The first line says in which form: list or sources.
backports_source() {
    local dir=$1 suite=$2 f found
    for f in "$dir"/sources.list.d/*.sources; do
        [ -f "$f" ] || continue
        found=$(awk -v suite="$suite" 'BEGIN { RS = ""; FS = "\n" }
            { ours = 0; deb = 0; off = 0
              for (i = 1; i <= NF; i++) {
                  if ($i ~ /^Suites:/) { n = split($i, word, /[ \t]+/); for (k = 2; k <= n; k++) if (word[k] == suite) ours = 1 }
                  if ($i ~ /^Types:.*deb([ \t]|$)/) deb = 1
                  if ($i ~ /^Enabled:[ \t]*no/) off = 1 }
              if (!ours || !deb || off || done) next
              for (i = 1; i <= NF; i++) {
                  if ($i ~ /^Suites:/) print "Suites: " suite "-backports"
                  else if ($i ~ /^Types:/) print "Types: deb"
                  else if ($i !~ /^#/) print $i }
              done = 1 }' "$f")
        [ -z "$found" ] || { printf 'sources\n%s\n' "$found"; return 0; }
    done
    for f in "$dir"/sources.list "$dir"/sources.list.d/*.list; do
        [ -f "$f" ] || continue
        found=$(awk -v suite="$suite" '$1 == "deb" { for (i = 2; i < NF; i++) if ($i == suite) { $i = suite "-backports"; print; exit } }' "$f")
        [ -z "$found" ] || { printf 'list\n%s\n' "$found"; return 0; }
    done
    return 1
}

apt_update() {
    apt-get update >/tmp/tidemark-apt.$$ 2>&1 || { tail -5 /tmp/tidemark-apt.$$; fail "apt-get update failed"; }
}

# add_backports WHY: apt knows the backports of this machine's release from now on.
add_backports() {
    local apt=${TIDE_APT_DIR:-/etc/apt} source suite
    suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    source=$(backports_source "$apt" "$suite") || fail "no package source of '$suite' to copy for its backports; $1 comes from there"
    say "adding $suite-backports ($1): $apt/sources.list.d/tidemark-backports.${source%%$'\n'*}"
    printf '%s\n' "${source#*$'\n'}" >"$apt/sources.list.d/tidemark-backports.${source%%$'\n'*}"
    apt_update
}

# version_of PACKAGE REGEX: the first version known to apt that matches; what it has is looked up again, and then in the backports.
version_of() {
    known() { apt-cache madison "$1" 2>/dev/null | awk -v want="$2" '$3 ~ want { print $3; exit }'; }
    command -v apt-get >/dev/null || fail "$1 is missing and there is no apt-get"
    local version
    version=$(known "$1" "$2")
    [ -n "$version" ] || { apt_update >&2; version=$(known "$1" "$2"); }
    [ -n "$version" ] || { add_backports "$1" >&2; version=$(known "$1" "$2"); }
    [ -n "$version" ] || fail "no package source has $1 in a version $2"
    printf '%s' "$version"
}

# install_versions PACKAGE=VERSION...
install_versions() {
    say "installing: $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/tmp/tidemark-apt.$$ 2>&1 ||
        { tail -5 /tmp/tidemark-apt.$$; fail "could not install: $*"; }
    rm -f /tmp/tidemark-apt.$$
}

# The consensus library in the one version that the broker takes: Debian 13 has it, Debian 12 in its backports. Debian 12's
# own version (0.15) must not be used.
install_libraft() {
    local version
    case $(dpkg-query -W -f '${Status} ${Version}' libraft-dev 2>/dev/null) in *'ok installed 0.22.1-'*) return 0 ;; esac
    version=$(version_of libraft-dev '^0[.]22[.]1-') || exit 1
    install_versions "libraft-dev=$version" "libraft0=$version"
}

# An emulator with igb: 8 or later, in Debian 12's backports. Without one, the distribution's own.
install_qemu() {
    local version from=
    command -v qemu-system-x86_64 >/dev/null && qemu-system-x86_64 -device help 2>/dev/null | grep -q '^name "igb"' && return 0
    if version=$(version_of qemu-system-x86 '^1:([89]|[1-9][0-9])[.]'); then
        case $version in *~bpo*) from="-t $(. /etc/os-release && printf '%s' "$VERSION_CODENAME")-backports" ;; esac
        (install_versions $from "qemu-system-x86=$version") && return 0
    fi
    install_missing qemu-system-x86
}

# fetch_kernel DIR: the distribution's kernel and its modules, unpacked there and not installed. The one that is there stays.
fetch_kernel() {
    local dir=$1 package
    [ ! -f "$dir/complete" ] || return 0
    newest() { apt-cache depends linux-image-amd64 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }'; }
    rm -rf "$dir"
    mkdir -p "$dir"
    package=$(newest)
    if [ -z "$package" ] || ! (cd "$dir" && apt-get download "$package" >/dev/null 2>&1); then
        apt_update
        package=$(newest)
        (cd "$dir" && apt-get download "$package" >/dev/null 2>&1) || fail "could not get the kernel: $package"
    fi
    dpkg-deb -x "$dir"/linux-image-*.deb "$dir" && rm "$dir"/linux-image-*.deb && depmod -b "$dir" "$(ls "$dir/lib/modules")" &&
        touch "$dir/complete"
}

# build_tree DIR [meson options...]: configures once, then builds TIDE_TARGETS, or everything that is wanted by default.
build_tree() {
    local dir=$1
    shift
    if [ ! -f "$dir/build.ninja" ]; then
        say "building in $dir: some minutes the first time, $dir.log says how far it is"
        meson setup "$dir" "$TIDE_ROOT" "$@" >"$dir.log" 2>&1 || { tail -20 "$dir.log"; fail "meson setup failed, see $dir.log"; }
    fi
    ninja -C "$dir" ${TIDE_TARGETS:-} >"$dir.log" 2>&1 || { grep -E 'error|FAILED' "$dir.log" | head -20; fail "the build failed, see $dir.log"; }
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
