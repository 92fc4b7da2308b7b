#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The log beside the device's floor, in the same run: ratios, with the figures behind them.

    bench/run.sh log [--dir DIR] [--rounds N] [--large] [--only PART]

The floor is the same kind of write (O_DIRECT, RWF_DSYNC, registered buffers, zeroes written before) without a log.
Rounds of both alternate; a ratio is the median of the rounds' ratios. Files are made in a new directory below DIR (default:
the temporary directory) and removed. --large adds recovery of logs of 1 and 4 GiB.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
KIB, MIB = 1 << 10, 1 << 20
BATCHES = (KIB, 16 * KIB, 256 * KIB)
PARTS = ('append', 'latency', 'reader', 'instructions', 'recovery')


def size_text(n):
    return f'{n // MIB} MiB' if n >= MIB else f'{n // KIB} KiB'


class Bench:
    def __init__(self, args):
        self.args = args
        self.program = pathlib.Path(args.build) / 'bench/bench_log'
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='tidemark-bench-', dir=args.dir))
        self.wrong = []
        options = json.loads((pathlib.Path(args.build) / 'meson-info/intro-buildoptions.json').read_text())
        value = {o['name']: o['value'] for o in options}
        self.sanitized = value['b_sanitize'] != 'none'
        self.build = value['buildtype'] + (f' with {value["b_sanitize"]} sanitizer' if self.sanitized else '')

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, part, *args, before=(), returncode=0):
        """The lines of one run of bench_log, as lists of words. Its files stay."""
        p = subprocess.run([*before, self.program, part, *map(str, args)], capture_output=True, text=True, timeout=600)
        if p.returncode != returncode:
            raise SystemExit(f'bench_log {part}: ended with {p.returncode}\n{p.stdout[-500:]}{p.stderr[-2000:]}')
        return [line.split() for line in p.stdout.splitlines()], p.stderr

    def fresh(self):
        shutil.rmtree(self.dir / 'log-0', ignore_errors=True)
        (self.dir / 'floor').unlink(missing_ok=True)
        return self.dir

    def measure(self, part, *args):
        lines, _ = self.run(part, self.fresh(), *args)
        self.fresh()
        return lines

    # ---- what the figures are compared with ------------------------------------------------------------------------

    def no_floor(self):
        """Why DSYNC numbers would say nothing here; None when they do."""
        kind = subprocess.run(['stat', '-f', '-c', '%T', self.dir], capture_output=True, text=True).stdout.strip()
        if kind in ('tmpfs', 'ramfs'):
            return f'{self.dir.parent} is {kind}: there is no device and no O_DIRECT under it'
        try:
            os.close(os.open(self.dir / 'floor', os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600))
        except OSError as e:
            return f'{self.dir.parent} ({kind}) has no O_DIRECT: {e.strerror}'
        self.fresh()
        return None

    def row(self, what, ours, floor, middle=statistics.median, digits=1):
        """The ratio is the median of the rounds', or that of the middles when they are no medians."""
        ratios = [a / b for a, b in zip(ours, floor)]
        spread = f'{min(ratios):.2f}..{max(ratios):.2f}' if len(ratios) > 1 else ''
        ratio = statistics.median(ratios) if middle is statistics.median else middle(ours) / middle(floor)
        print(f'{what:62} {middle(ours):10.{digits}f} {middle(floor):10.{digits}f} {ratio:7.2f}   {spread}', flush=True)

    def head(self, text, ours, floor):
        print(f'\n{text:62} {ours:>10} {floor:>10} {"ratio":>7}   of the rounds', flush=True)

    # ---- parts -----------------------------------------------------------------------------------------------------

    def append(self):
        a = self.args
        self.head('throughput, MiB/s; 1 MiB appended and not durable', 'log', 'floor')
        # Extents are larger than rounds: there the rate is all bytes over all time.
        for ahead, note, middle in ((1, '', statistics.median), (0, ', zeroed meanwhile', statistics.harmonic_mean)):
            for size in BATCHES:
                lines = self.measure('append', size, a.rounds, a.megabytes, ahead)
                r = [[float(x) for x in line[1:]] for line in lines if line[0] == 'append']
                log, same, single, grouped, _ = zip(*r)
                what = f'batches of {size_text(size)}{note}'
                self.row(f'{what}; the same writes', log, same, middle=middle)
                if ahead:
                    self.row(f'{what}; a write for each batch', log, single)
                    print(f'    batches in a write: {statistics.median(grouped):.1f}')
                ring = [line for line in lines if line[0] == 'ring']
        print('   ', ' '.join(ring[0][1:]))

    def latency(self):
        self.head('one batch at a time until it is durable, us', 'log', 'floor')
        for size in BATCHES:
            count = max(self.args.samples * min(1, 64 * KIB / size), 20)
            lines = self.measure('latency', size, self.args.rounds, int(count))
            p50, p99, floor50, floor99 = zip(*[[float(x) for x in line[1:]] for line in lines])
            self.row(f'batches of {size_text(size)}, median', p50, floor50)
            self.row(f'batches of {size_text(size)}, 99th percentile', p99, floor99)

    def reader(self):
        a = self.args
        lines = self.measure('reader', a.rounds, a.milliseconds, a.cold)
        by = {}
        for line in lines:
            by.setdefault(line[0], []).append([float(x) for x in line[1:]])
        self.head('a producer (16 KiB each ms) and a reader from the beginning, us', 'beside it', 'alone')
        for phase, what in (('paced', 'reader of 100 MiB/s'), ('beside', 'reader without bound')):
            for name, who in (('', 'log'), ('plain_', 'log, writes not first'), ('floor_', 'floor')):
                beside, alone = list(zip(*by[name + phase])), list(zip(*by['floor_alone' if name == 'floor_' else 'alone']))
                self.row(f'{what}, {who}, median', beside[0], alone[0])
                self.row(f'{what}, {who}, 99th percentile', beside[1], alone[1])
                print(f'    the reader got {statistics.median(beside[2]):.0f} MiB/s')
                if name != 'floor_':
                    self.row('    of it a write on the device, 99th percentile', beside[3], alone[3])
                    print(f'    our turns: 99th percentile {statistics.median(beside[4]):.0f} us, longest {statistics.median(beside[5]):.0f} us; '
                          f'alone {statistics.median(alone[4]):.0f} and {statistics.median(alone[5]):.0f}')

    def instructions(self):
        if self.sanitized or not shutil.which('valgrind'):
            print(f'\ninstructions: skipped, {"the build has sanitizers" if self.sanitized else "valgrind is not installed"}')
            return
        self.head('instructions of log_append, no device (callgrind)', 'log', 'copy+crc')
        for records in (1, 100):
            log, floor = (self.collect(f, records) for f in ('log_append', 'floor_append'))
            n = self.args.batches
            self.row(f'a batch of {records} x {self.args.record} bytes', [log / n], [floor / n])
            if records > 1:
                self.row('    of it, a record', [log / n / records], [floor / n / records])

    def collect(self, function, records):
        _, told = self.run('instructions', records, self.args.record, self.args.batches,
                           before=('valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null', f'--toggle-collect={function}'))
        found = re.search(r'Collected : (\d+)', told)
        if not found or int(found.group(1)) == 0:
            raise SystemExit(f'callgrind saw nothing of {function}\n{told[-1000:]}')
        return int(found.group(1))

    def recovery(self):
        a = self.args
        print(f'\n{"opening after kill -9":30} {"log, MiB":>9} {"read, MiB":>10} {"zeroes":>8} {"batches":>8} {"reads":>6} {"ms":>8}')
        kept, lost = {}, {}
        for size in a.sizes:
            lines, _ = self.run('fill', self.fresh(), size, a.segment, a.checkpoint, returncode=-signal.SIGKILL)
            durable = int(dict(lines)['durable'])
            kept[size] = self.recover(durable, '')
            (self.dir / 'log-0/active.checkpoint').unlink(missing_ok=True)
            lost[size] = self.recover(durable, ', checkpoint lost')
        self.fresh()
        small, large = a.sizes[0], a.sizes[-1]
        for name, by in (('with its checkpoint', kept), ('checkpoint lost', lost)):
            print(f'    {size_text(large * MIB)} against {size_text(small * MIB)}, {name}: log {by[large]["log"] / by[small]["log"]:.2f}, '
                  f'bytes read {by[large]["read"] / by[small]["read"]:.2f}, of batches {by[large]["batches"] / by[small]["batches"]:.2f}, '
                  f'time {by[large]["ms"] / by[small]["ms"]:.2f}')
        most, least = (f(x['batches'] for x in kept.values()) for f in (max, min))
        if most - least > a.checkpoint + MIB:
            self.wrong.append(f'recovery is not flat: it read {least / MIB:.1f} to {most / MIB:.1f} MiB of batches again')

    def recover(self, durable, note):
        on_disk = sum(p.stat().st_size for p in (self.dir / 'log-0').glob('[0-9]*.log'))
        lines, _ = self.run('recover', self.dir, self.args.segment, self.args.checkpoint)
        got = {line[0]: line[1:] for line in lines}
        if int(got['end'][0]) < durable:
            self.wrong.append(f'the log ends at {got["end"][0]}, {durable} was durable')
        f = {'log': int(got['bytes'][0]), 'read': int(got['read'][0]), 'ms': float(got['ms'][0])}
        zeroes = on_disk - f['log']
        f['batches'] = max(f['read'] - zeroes, 1)
        print(f'{" ".join(got["label"]) + note:30} {f["log"] / MIB:9.0f} {f["read"] / MIB:10.1f} {zeroes / MIB:8.1f} '
              f'{f["batches"] / MIB:8.1f} {got["reads"][0]:>6} {f["ms"]:8.1f}', flush=True)
        return f

    def all(self):
        commit = subprocess.run(['git', '-C', ROOT, 'describe', '--always', '--dirty'], capture_output=True, text=True).stdout.strip()
        kind = subprocess.run(['stat', '-f', '-c', '%T', self.dir], capture_output=True, text=True).stdout.strip()
        print(f'log on {kind}, {self.args.rounds} rounds, {os.cpu_count()} CPUs, commit {commit or "?"}, build {self.build}, '
              f'kernel {os.uname().release.split("-")[0]}, load {os.getloadavg()[0]:.1f}')
        parts = self.args.only or PARTS
        why = self.no_floor()
        if why and set(parts) & {'append', 'latency', 'reader'}:
            print(f'append, latency and reader are not measured: {why}. Name a directory on a disk with --dir.')
        for part in parts:
            if not why or part not in ('append', 'latency', 'reader'):
                getattr(self, part)()


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default=str(ROOT / 'build'))
    parser.add_argument('--dir', default=tempfile.gettempdir(), help='where the files are made; on the disk that is measured')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--large', action='store_true', help='recovery of 1 and 4 GiB as well (needs 6 GiB)')
    parser.add_argument('--only', action='append', choices=PARTS, help='one part; may be repeated')
    parser.add_argument('--quick', action='store_true', help='small amounts: a test of the measurements, not a measurement')
    a = parser.parse_args()
    a.megabytes, a.samples, a.milliseconds, a.cold = 48, 600, 600, 96
    a.record, a.batches = 100, 2000
    a.segment, a.checkpoint, a.sizes = 1024, 16 * MIB, [64, 256] + ([1024, 4096] if a.large else [])
    if a.quick:
        a.rounds = 2
        a.megabytes, a.samples, a.milliseconds, a.cold = 2, 20, 50, 4
        a.checkpoint, a.sizes = MIB, [4, 16]
        a.only = a.only or [p for p in PARTS if p != 'instructions']
    if a.rounds < 1 or not os.path.isdir(a.dir):
        parser.error('--rounds is at least 1, --dir a directory')
    need = 6 << 30 if a.large else 2 << 30
    if not a.quick and shutil.disk_usage(a.dir).free < need:
        parser.error(f'{a.dir} has less than {need >> 30} GiB free')
    return a


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options())
    try:
        bench.all()
    finally:
        bench.close()
    for sentence in bench.wrong:
        print(f'wrong: {sentence}')
    return 1 if bench.wrong else 0


if __name__ == '__main__':
    sys.exit(main())
