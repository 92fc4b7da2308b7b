#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The broker is killed under load; what was acknowledged must be there. runner.py --build DIR [--rounds N] [--vdev V]"""
import argparse
import pathlib
import random
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'interop'))
from world import BOOT, Failure, ROOT, World, expect


READ_ALL_EVERY = 10


class Producer:
    """One load process and the history of what it was told."""

    def __init__(self, w, topic, acks, idempotent):
        self.w, self.topic, self.acks, self.idempotent = w, topic, acks, idempotent
        self.out = w.dir / f'{topic}.acked'
        self.next = 0
        self.process = None
        self.acked = {}  # number: offset
        self.seen = 0    # bytes of `out`
        self.read = {}   # number: offset of its first copy
        self.read_to, self.last, self.doubled, self.disordered = 0, -1, 0, 0

    def start(self, seconds):
        self.process = self.w.client_start(self.w.tools / 'tests/crash/crash_load', BOOT, self.topic, self.acks,
                                           'true' if self.idempotent else 'false', seconds, self.next, self.out)

    def finish(self):
        out, err = self.process.communicate(timeout=120)
        expect(self.process.returncode == 0, f'{self.topic}: the producer failed: {err[-300:]}')
        self.next = int(out.split()[0])
        return int(out.split()[1]), int(out.split()[2])

    def read_on(self, full):
        """Adds what can be read to self.read. All of it, or only what lies behind what was read before."""
        if full:
            self.read, self.read_to, self.last, self.doubled, self.disordered = {}, 0, -1, 0, 0
        for line in self.w.consume(self.topic, '-f', '%o %s\n', begin=self.read_to, timeout=120).splitlines():
            offset, number = (int(x) for x in line.split())
            self.doubled += number in self.read
            self.disordered += number < self.last and number not in self.read
            self.last = max(self.last, number)
            self.read.setdefault(number, offset)
            self.read_to = offset + 1

    def check(self, full):
        fresh = {}
        with open(self.out) as f:
            f.seek(self.seen)
            for line in f.read().splitlines():
                number, offset = line.split()
                fresh[int(number)] = int(offset)
            self.seen = f.tell()
        self.acked.update(fresh)
        self.read_on(full)
        look = self.acked if full else fresh
        lost = [n for n in look if n not in self.read]
        moved = [n for n, o in look.items() if o >= 0 and n in self.read and self.read[n] != o and not self.doubled]
        expect(not lost, f'{self.topic}: {len(lost)} acknowledged records are lost, the first is {lost[:1]}')
        if self.idempotent:
            expect(self.doubled == 0, f'{self.topic}: {self.doubled} duplicates')
            expect(self.disordered == 0, f'{self.topic}: {self.disordered} out of order')
            expect(not moved, f'{self.topic}: acknowledged offsets differ from where the records are: {moved[:3]}')
        return len(self.acked), len(self.read)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', default=str(ROOT / 'build'))
    parser.add_argument('--tools', help='another build for the client')
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--vdev', choices=('af_xdp', 'af_packet'))
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    passed = failed = 0
    for vdev in [args.vdev] if args.vdev else ['af_xdp', 'af_packet']:
        w = World(args.build, vdev, args.tools)
        rounds = args.rounds if vdev == 'af_xdp' or args.vdev else max(2, args.rounds // 5)
        try:
            w.start()
            w.topic('one')
            w.topic('all')
            w.topic('exact')
            producers = [Producer(w, 'one', '1', False), Producer(w, 'all', 'all', False), Producer(w, 'exact', 'all', True)]
            for n in range(rounds):
                try:
                    for p in producers:
                        p.start(2.5)
                    time.sleep(0.3 + chance.random() * 1.5)
                    w.kill()
                    w.start()
                    told = [p.finish() for p in producers]
                    # What was read after earlier kills must still be there: all of it is read again now and then.
                    full = n % READ_ALL_EVERY == READ_ALL_EVERY - 1 or n == rounds - 1
                    counts = [p.check(full) for p in producers]
                    expect(all(t[0] > 0 for t in told), f'nothing was acknowledged: {told}')
                    passed += 1
                    print(f'ok      {vdev} kill {n + 1}: acknowledged/read {" ".join(f"{a}/{r}" for a, r in counts)}', flush=True)
                except Exception as e:
                    failed += 1
                    text = str(e) if isinstance(e, Failure) else traceback.format_exc()
                    print(f'FAILED  {vdev} kill {n + 1}: {text}\n  again: sudo tests/crash/runner.py --vdev {vdev} --seed {args.seed}', flush=True)
                    break
        except Exception:
            failed += 1
            print(f'FAILED  {vdev}: {traceback.format_exc()}', flush=True)
        finally:
            w.close()
    print(f'{passed} passed, {failed} failed, 0 skipped', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
