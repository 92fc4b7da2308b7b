#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs every test; at the end are the seconds of each suite, what failed, and the line `N passed, N failed, N skipped`.
#
#   tests/run.sh                   everything, once
#   tests/run.sh --suite NAME      one of unit story tcp sim fuzz crash interop pci lint ops; may be repeated
#   tests/run.sh --seconds N       time for each fuzz target, and processor time for each simulator that goes through seeds (default 20)
#   tests/run.sh --sanitize KIND   address (with undefined) or thread: another build, in build-KIND
#   tests/run.sh --werror          warnings are errors
#   tests/run.sh --full            the large counts; with --suite those of that suite alone
#   tests/run.sh --no-install      install nothing
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../config/lib.sh"

ALL_SUITES="unit story tcp sim fuzz lint ops interop pci crash"
SUITES=
TIDE_SECONDS=20
SANITIZE=
FULL=0
INSTALL=1
OPTIONS=()

while [ $# -gt 0 ]; do
    case $1 in
    --suite) SUITES="$SUITES ${2:?--suite needs a name}"; shift ;;
    --seconds) TIDE_SECONDS=${2:?--seconds needs a number}; shift ;;
    --sanitize) SANITIZE=${2:?--sanitize needs address or thread}; shift ;;
    --werror) OPTIONS+=(-Dwerror=true) ;;
    --full) FULL=1 ;;
    --no-install) INSTALL=0 ;;
    -h | --help) sed -n '3,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "no option $1; see --help" ;;
    esac
    shift
done
for s in $SUITES; do
    case " $ALL_SUITES " in *" $s "*) ;; *) fail "no suite $s; there are: $ALL_SUITES" ;; esac
done
SUITES=${SUITES:-$ALL_SUITES}
export TIDE_SECONDS TIDE_FULL=$FULL
[ $FULL = 1 ] || export TIDE_ROTATION=$(($(date +%s) / 60)) # which two of the mutants (sim_search)

case $SANITIZE in
'') BUILD=$TIDE_ROOT/build ;;
address) BUILD=$TIDE_ROOT/build-address; OPTIONS+=(-Db_sanitize=address,undefined -Dslow_checks=true -Db_lundef=false) ;;
thread) BUILD=$TIDE_ROOT/build-thread; OPTIONS+=(-Db_sanitize=thread -Dslow_checks=true -Db_lundef=false) ;;
*) fail "--sanitize is address or thread" ;;
esac
[ ${#OPTIONS[@]} -eq 0 ] || [ "$SANITIZE" ] || BUILD=$TIDE_ROOT/build

PASSED=0 FAILED=0 SKIPPED=0
TIMES=
REPORT=${TIDE_REPORT:-$(mktemp)} # what failed, for the end of the log: who looks there need not see the rest
: >"$REPORT"

# failures OUTPUT_FILE STEP: each block that begins with FAILED, its first and its last lines.
failures() {
    awk -v step="$2" '
        function tell(i) {
            if (head) print head
            for (i = n > 14 ? n - 13 : 1; head && i <= n; i++) print "    " line[i]
            head = ""
        }
        /^FAILED/ { tell(); n = 0; head = "[" step "] " $0; next }
        /^(ok|skipped|SKIP|fuzz|suite) / || /^[0-9]+ passed, / { tell(); next }
        head { line[++n] = $0 }
        END { tell() }' "$1" | cut -c1-600 >>"$REPORT"
}

took() { # took STEP SECONDS
    TIMES="$TIMES${TIMES:+, }$1 $2 s"
}

count() { # count OUTPUT_FILE STEP: adds the last "N passed, N failed" line of a runner
    local line
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$1" | tail -1)
    failures "$1" "$2"
    if [ -z "$line" ]; then
        FAILED=$((FAILED + 1))
        { say "[$2] ended without a count:"; tail -15 "$1" | sed 's/^/    /'; } >>"$REPORT"
        return
    fi
    PASSED=$((PASSED + $(sed -E 's/^([0-9]+) passed.*/\1/' <<<"$line")))
    FAILED=$((FAILED + $(sed -E 's/.* ([0-9]+) failed.*/\1/' <<<"$line")))
    grep -q skipped <<<"$line" && SKIPPED=$((SKIPPED + $(sed -E 's/.* ([0-9]+) skipped.*/\1/' <<<"$line"))) || true
}

# ---- the build ---------------------------------------------------------------------------------------------------

if [ $INSTALL = 1 ] && [ "$(id -u)" = 0 ]; then
    install_missing $TIDE_BUILD_PACKAGES $TIDE_RUN_PACKAGES $TIDE_TEST_PACKAGES
    if [ $FULL = 1 ] || [ "${TIDE_JAVA:-0}" = 1 ]; then # the case that wants them is skipped without them
        (install_missing $TIDE_JAVA_PACKAGES) || say "no Java: Kafka's own tools are not run"
    fi
fi
if [ -f "$BUILD/build.ninja" ] && [ ${#OPTIONS[@]} -ne 0 ]; then
    meson configure "$BUILD" "${OPTIONS[@]}" >/dev/null
fi
# meson builds the tests of its suites by itself; what else is wanted is for real processes. With the thread sanitizer that is the broker.
TARGETS=
case $SANITIZE:" $SUITES " in
thread:*' interop '* | thread:*' crash '*) TARGETS=control/daemon/tidemarkd ;;
?*:*' interop '* | ?*:*' ops '* | ?*:*' crash '* | :*) ;;
*) TARGETS=build.ninja ;; # configured, no more
esac
TIDE_TARGETS=$TARGETS build_tree "$BUILD" ${OPTIONS[@]+"${OPTIONS[@]}"}
say "built in $BUILD"
took build $SECONDS

# ---- suites that meson knows ----------------------------------------------------------------------------------------

meson_suite() {
    meson_run "$1"
    meson_told "$1" $?
}

# What the sanitizers are for: the thread sanitizer for tests that have threads, none for rules that are left out to be noticed.
meson_run() {
    local suite=$1 chosen=(--suite "$1") listed begin=$SECONDS limits=1
    case $SANITIZE:$suite in
    thread:unit) chosen=(--suite threads) ;;
    ?*:sim) chosen=(--suite sim --no-suite mutants) ;;
    esac
    listed=$(meson test -C "$BUILD" --list 2>/dev/null)
    grep -q ":$suite\b\|:$suite /" <<<"$listed" || { say "suite $suite: no tests" >"$BUILD/$suite.count"; return 1; }
    rm -f "$BUILD/meson-logs/$suite.json"
    # The time limits of tests are those of the small counts, and of who does not have to stand back.
    case $FULL:$suite:${BESIDE:+beside} in
    1:*) limits=20 ;;
    *:sim:beside) limits=5 ;;
    esac
    # The log is the suite's own: another one may run meanwhile.
    meson test -C "$BUILD" "${chosen[@]}" --num-processes 2 --timeout-multiplier "$limits" \
        --logbase "$suite" --print-errorlogs --no-stdsplit >"$BUILD/$suite.out" 2>&1
    python3 - "$BUILD/meson-logs/$suite.json" "$BUILD/$suite.out" "$suite" $((SECONDS - begin)) <<'PY' >"$BUILD/$suite.count"
import json, os, sys
log, out, suite, seconds = sys.argv[1:]
passed = failed = skipped = 0
times = []
if not os.path.exists(log):
    print(f'suite {suite} took {seconds} s; nothing ran')
    print(f'FAILED suite {suite}: it did not run')
    print(open(out).read()[-3000:])
    print('0 passed, 1 failed, 0 skipped')
    sys.exit()
for line in open(log):
    t = json.loads(line)
    times.append((t['duration'], t['name'].split(' / ')[-1]))
    if t['result'] in ('OK', 'EXPECTEDFAIL'):
        passed += 1
    elif t['result'] == 'SKIP':
        skipped += 1
    else:
        failed += 1
        print(f"FAILED {t['name']} ({t['result']}); again: {' '.join(t['command'])}")
        print('\n'.join('  ' + line for line in (t.get('stdout') or '').splitlines()[-40:]))
print(f'suite {suite} took {seconds} s; the longest: ' + ', '.join(f'{name} {duration:.0f} s' for duration, name in sorted(times)[:-6:-1]))
print(f'{passed} passed, {failed} failed, {skipped} skipped')
PY
}

meson_told() { # meson_told SUITE STATUS: of a run that has ended
    local suite=$1
    sed "s/^\([0-9]* passed.*\)/suite $suite: \1/" "$BUILD/$suite.count"
    [ "$2" = 0 ] || return 0
    count "$BUILD/$suite.count" "$suite"
    took "$suite" "$(sed -n "s/^suite $suite took \([0-9]*\) s;.*/\1/p" "$BUILD/$suite.count")"
}

# ---- fuzzing: the corpora are replayed by meson; here each target gets its seconds ------------------------------------

fuzz_suite() {
    local dir=$TIDE_ROOT/build-fuzz target begin
    meson_suite fuzz
    begin=$SECONDS
    [ "$SANITIZE" = thread ] && return
    command -v clang >/dev/null || { say "suite fuzz: no clang, targets are only replayed"; SKIPPED=$((SKIPPED + 1)); return; }
    if [ ! -f "$dir/build.ninja" ]; then
        CC=clang meson setup "$dir" "$TIDE_ROOT" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >"$dir.log" 2>&1 ||
            { count "$dir.log" "fuzz, its setup"; tail -5 "$dir.log"; return; }
    fi
    ninja -C "$dir" fuzz-targets >"$dir.log" 2>&1 || { count "$dir.log" "fuzz, its build"; grep -E 'error|FAILED' "$dir.log" | head; return; }
    if [ $FULL = 1 ]; then # until each had its CPU minutes and was quiet at the end
        python3 "$TIDE_ROOT/tests/fuzz/long.py" --build "$dir" 2>&1 | tee "$dir/long.out"
        count "$dir/long.out" fuzz
        took "fuzz targets" $((SECONDS - begin))
        return
    fi
    for target in "$dir"/tests/fuzz/fuzz_*; do
        [ -x "$target" ] && [ -f "$target" ] || continue
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done # two at a time
        fuzz_target "$dir" "$target" >"$dir/$(basename "$target").count" &
    done
    wait
    for target in "$dir"/tests/fuzz/fuzz_*; do
        [ -x "$target" ] && [ -f "$target" ] || continue
        sed '$d' "$dir/$(basename "$target").count"
        count "$dir/$(basename "$target").count" fuzz
    done
    took "fuzz targets" $((SECONDS - begin))
}

# ends with a line for count
fuzz_target() {
    local dir=$1 target=$2 name corpus
    name=$(basename "$target")
    corpus=$TIDE_ROOT/tests/fuzz/corpus/${name#fuzz_}
    mkdir -p "$dir/found/$name"
    if (cd "$dir" && "$target" -max_total_time="$TIDE_SECONDS" -rss_limit_mb=4096 -timeout=60 -print_final_stats=1 \
        -artifact_prefix="$dir/found/$name-" "$dir/found/$name" $([ -d "$corpus" ] && echo "$corpus")) >"$dir/$name.out" 2>&1; then
        say "fuzz $name: $(sed -n 's/stat::number_of_executed_units: *//p' "$dir/$name.out") executions in $TIDE_SECONDS s"
        say "1 passed, 0 failed"
    else
        say "FAILED $name; again: $target $(ls -t "$dir/found/$name-"* 2>/dev/null | head -1)"
        tail -30 "$dir/$name.out"
        say "0 passed, 1 failed"
    fi
}

# ---- suites of real processes ----------------------------------------------------------------------------------------------

process_suite() {
    local suite=$1 tools=$BUILD begin=$SECONDS name="$1 ${RUNNER:-}" out
    shift
    name="$(echo $name "$@")"
    out=$BUILD/${name//[ \/]/_}.out
    if [ "$SANITIZE" = thread ]; then # librdkafka's threads are unknown to it: the clients come from the plain build
        build_tree "$TIDE_ROOT/build"
        tools=$TIDE_ROOT/build
        export TSAN_OPTIONS="exitcode=66 suppressions=$TIDE_ROOT/tests/thread.supp"
    fi
    local runner=$TIDE_ROOT/tests/$suite/${RUNNER:-runner.py}
    if [ ! -f "$runner" ]; then say "suite $suite: not there" | tee -a "$REPORT"; FAILED=$((FAILED + 1)); return; fi
    if [ "$(id -u)" != 0 ]; then say "suite $suite: skipped, it needs root"; SKIPPED=$((SKIPPED + 1)); return; fi
    python3 "$runner" --build "$BUILD" --tools "$tools" "$@" 2>&1 | tee "$out"
    count "$out" "$name"
    took "$name" $((SECONDS - begin))
}

# The emulated machine. What it takes is installed; where it cannot be had, there is nothing to run on.
pci_suite() {
    local kernel=$TIDE_ROOT/build/pci/kernel
    [ -z "$SANITIZE" ] || { say "suite pci: skipped, its machine has no room for sanitizers"; SKIPPED=$((SKIPPED + 1)); return; }
    if [ $INSTALL = 1 ] && [ "$(id -u)" = 0 ]; then
        (install_qemu && install_missing $TIDE_EMULATOR_PACKAGES && fetch_kernel "$kernel") || say "the emulated machine could not be had"
    fi
    if ! type qemu-system-x86_64 busybox cpio modprobe mkfs.ext4 >/dev/null 2>&1 || [ ! -f "$kernel/complete" ]; then
        say "suite pci: skipped, no emulator or nothing to boot in it"; SKIPPED=$((SKIPPED + 1)); return
    fi
    process_suite pci --kernel "$kernel"
}

# Who waits for brokers that die leaves much of the processors: the simulators take that, and no more.
BESIDE=
case " $SUITES " in *' sim '*' crash '* | *' crash '*' sim '*) BESIDE=sim ;; esac

for s in $SUITES; do
    case $s in
    pci) pci_suite ;;
    sim) [ "$BESIDE" ] || meson_suite sim ;;
    unit | story | tcp | lint) meson_suite "$s" ;;
    fuzz) fuzz_suite ;;
    ops)
        meson_suite ops
        [ "$SANITIZE" = thread ] || process_suite ops
        ;;
    interop)
        if [ "$SANITIZE" = thread ]; then # what crosses cores
            process_suite interop --only two_data_cores
            continue
        fi
        process_suite interop --vdev af_xdp
        process_suite interop --vdev af_packet
        ;;
    crash)
        [ -z "$BESIDE" ] || { (renice -n 19 $BASHPID >/dev/null; meson_run sim) & BESIDE=$!; }
        process_suite crash $([ $FULL = 1 ] && echo --rounds 100 || echo --rounds 10)
        process_suite crash --brokers 3 --seed 2 $([ $FULL = 1 ] && echo --rounds 100 || echo --rounds 12)
        process_suite crash --brokers 3 --stock --vdev af_xdp $([ $FULL = 1 ] && echo --rounds 20 || echo --rounds 2)
        if [ $FULL = 1 ]; then
            process_suite crash --brokers 3 --stock --vdev af_packet --rounds 3
            process_suite crash --brokers 3 --vdev af_xdp --faults kill-all-in-every-order --rounds 1
        fi
        RUNNER=groups.py process_suite crash $([ $FULL = 1 ] && echo --full)
        RUNNER=quorum.py process_suite crash $([ $FULL = 1 ] && echo --full)
        [ -z "$BESIDE" ] || { wait "$BESIDE"; meson_told sim $?; }
        ;;
    esac
done

say "seconds: $TIMES"
cat "$REPORT"
[ "${TIDE_REPORT:-}" ] || rm -f "$REPORT"
say "$PASSED passed, $FAILED failed, $SKIPPED skipped"
[ "$FAILED" = 0 ] && [ "$PASSED" != 0 ]
