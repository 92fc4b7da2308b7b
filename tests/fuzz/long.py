#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes targets until they had their CPU minutes and found no new edge for a while.

    CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
    ninja -C build-fuzz fuzz-targets
    tests/fuzz/long.py --build build-fuzz [--cpu 1800] [--quiet 300] [--most 7200] [--jobs 2] [TARGET ...]

CPU seconds of the process are counted, so a busy machine only takes longer (libFuzzer's own limit for one input is
of the wall's clock, and so it is wide). What it finds grows in BUILD/long/TARGET
(kept between runs) and a finding stays there as TARGET-crash-*. Prints one row a target, for README.md.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
STATUS = re.compile(rb'^#(\d+)\s+(\S+)\s+cov: (\d+)')
TICK = os.sysconf('SC_CLK_TCK')


def cpu_seconds(pid):
    """User and system seconds of a process that was not waited for yet."""
    with open(f'/proc/{pid}/stat') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Run:
    """One target: a process, and what its status lines said."""

    def __init__(self, args, name):
        self.args, self.name = args, name
        self.executions = self.edges = 0
        self.last_new = self.cpu = 0.0
        self.tail = []

    def start(self):
        found = os.path.join(self.args.build, 'long', self.name)
        os.makedirs(found, exist_ok=True)
        corpus = os.path.join(HERE, 'corpus', self.name)
        return subprocess.Popen(
            [os.path.join(self.args.build, 'tests', 'fuzz', 'fuzz_' + self.name), '-rss_limit_mb=4096', '-timeout=300',
             f'-artifact_prefix={found}-', found] + ([corpus] if os.path.isdir(corpus) else []),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.args.build)

    def read(self, process):
        for line in process.stderr:
            self.tail = self.tail[-40:] + [line]
            match = STATUS.match(line)
            if not match:
                continue
            self.executions = int(match[1])
            if int(match[3]) > self.edges:
                self.edges = int(match[3])
                self.last_new = cpu_seconds(process.pid)

    def run(self):
        process = self.start()
        reader = threading.Thread(target=self.read, args=(process,), daemon=True)
        reader.start()
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            self.cpu = cpu_seconds(process.pid)
            if self.done() or self.cpu >= self.args.most:
                process.send_signal(signal.SIGINT)
                process.wait()
                reader.join()
                return self.row('quiet' if self.done() else 'still finding edges')
            time.sleep(1)
        process.wait()
        reader.join()
        sys.stderr.buffer.write(b''.join(self.tail))
        return self.row('FINDING')

    def done(self):
        return self.cpu >= self.args.cpu and self.cpu - self.last_new >= self.args.quiet

    def row(self, outcome):
        return outcome, (f'| {self.name} | {self.args.commit} | {self.executions:,} | {self.cpu:,.0f} | {self.edges:,} | '
                         f'{self.cpu - self.last_new:,.0f} | {outcome} |')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default='build-fuzz', type=os.path.abspath)
    parser.add_argument('--cpu', type=float, default=1800, help='CPU seconds each has at least')
    parser.add_argument('--quiet', type=float, default=300, help='CPU seconds without a new edge at the end')
    parser.add_argument('--most', type=float, default=7200, help='CPU seconds after which a target is given up')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('targets', nargs='*')
    args = parser.parse_args()
    args.commit = subprocess.run(['git', '-C', HERE, 'describe', '--always', '--dirty'], capture_output=True, text=True,
                                 check=False).stdout.strip() or '?'
    programs = os.path.join(args.build, 'tests', 'fuzz')
    names = args.targets or sorted(f[5:] for f in os.listdir(programs)
                                   if f.startswith('fuzz_') and os.access(os.path.join(programs, f), os.X_OK)
                                   and os.path.isfile(os.path.join(programs, f)))
    if not names:
        sys.exit(f'no fuzz programs in {programs}')
    print('| target | commit | executions | CPU seconds | edges | CPU seconds since the last new edge | outcome |')
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for outcome, row in pool.map(lambda n: Run(args, n).run(), names):
            failed += outcome != 'quiet'
            print(row, flush=True)
    print(f'{len(names) - failed} passed, {failed} failed')
    sys.exit(failed != 0)


if __name__ == '__main__':
    main()
