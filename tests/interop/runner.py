#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unmodified clients over the wire. runner.py --build DIR [--vdev af_xdp|af_packet] [--only NAME] [--list]"""
import argparse
import pathlib
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parent))
# They register their cases: this is the order of a run.
import cases_clients
import cases_hostile
import cases_network
import cases_log
import cases_tools
import cases_disks
import wire
from cases import CASES, OF_EACH_PORT, case_of_each_port
from clients import Skip
from world import Failure, FULL, ROOT, World, expect, lines


@case_of_each_port
def pools_are_at_their_baseline_and_no_core_allocated(w):
    w.stop()
    w.start()
    before = {k: v for k, v in w.settle().items() if k.startswith('tidemark_pool_free')}
    path = w.dir / 'in'
    path.write_text(lines(20000))
    for i in range(5):
        w.produce(f'baseline{i}', path)
        w.consume(f'baseline{i}')
        s = w.connect()
        s.sendall(wire.produce('baseline0', wire.batch([b'q' * 500000]))[:100000])
        s.close()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        m = w.settle()
        low = {k: (v, m[k]) for k, v in before.items() if m[k] < v and 'index_chunk' not in k and 'receive' not in k}
        # A port's ring holds receive buffers; how many varies by a burst.
        low.update({k: (v, m[k]) for k, v in before.items() if 'receive' in k and m[k] < v - 64})
        if not low:
            break
        time.sleep(0.3)
    expect(not low, f'below the baseline: {low}')
    expect(w.total('tidemark_heap_allocations_total', m) == 0, 'a core allocated from the heap')
    expect(m.get('tidemark_expect_failures') == 0, 'an expectation did not hold')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', default=str(ROOT / 'build'))
    parser.add_argument('--tools', help='another build for the command-line tool')
    parser.add_argument('--vdev', default='af_xdp', choices=('af_xdp', 'af_packet'))
    parser.add_argument('--only', action='append')
    parser.add_argument('--list', action='store_true')
    args = parser.parse_args()
    if args.list:
        print('\n'.join(f'{c.__name__}{" (each port)" if c in OF_EACH_PORT else ""}' for c in CASES))
        return 0
    chosen = [c for c in CASES if (c.__name__ in args.only if args.only else args.vdev == 'af_xdp' or c in OF_EACH_PORT or FULL)]
    passed = failed = skipped = 0
    w = World(args.build, args.vdev, args.tools)
    try:
        w.start()
        for c in chosen:
            begin = time.monotonic()
            try:
                if not w.alive():
                    w.start()
                c(w)
                expect(w.alive(), 'the broker is gone')
                passed += 1
                print(f'ok      {args.vdev} {c.__name__} ({time.monotonic() - begin:.1f} s)', flush=True)
            except Skip as e:
                skipped += 1
                print(f'skipped {args.vdev} {c.__name__}: {e}', flush=True)
            except Exception as e:
                failed += 1
                text = str(e) if isinstance(e, Failure) else traceback.format_exc()
                print(f'FAILED  {args.vdev} {c.__name__}: {text}\n  again: sudo tests/interop/runner.py --vdev {args.vdev} --only {c.__name__}')
                if not w.alive():
                    print(f'  the broker ended; its last words:\n{w.log.read_text()[-1500:]}', flush=True)
                w.settings = {}
                if w.alive():
                    w.kill()
    finally:
        w.close()
    print(f'{passed} passed, {failed} failed, {skipped} skipped', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
