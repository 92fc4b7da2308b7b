#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""System calls of a broker's core per request, counted by strace beside a load of produce requests.

    bench/run.sh syscalls [--vdev af_xdp|af_packet] [--rate N]... [--acks 1|all] [--seconds N]

One broker of one core that waits (core.idle=wait), one record of 1 KiB a request, in namespaces. strace makes every call slower, so more
requests may meet in a turn than without it: a count is rather too low than too high, and no figure here is a time.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests/crash'))
from cluster import Cluster, Failure, expect, wait_until  # noqa: E402

RATES, START_S, WARM_S = (100, 1000, 10000), 2, 1


def core_thread(pid):
    """The only lcore that is not the main one."""
    found = [int(t.name) for t in pathlib.Path(f'/proc/{pid}/task').iterdir() if re.search(r'worker|lcore', (t / 'comm').read_text())]
    expect(len(found) == 1, f'threads of cores: {found}')
    return found[0]


def requests(broker):
    return next(v for k, v in broker.metrics().items() if k.startswith('tidemark_requests_total'))


def traced(thread, seconds):
    """{call: count} of a thread."""
    r = subprocess.run(['timeout', '-s', 'INT', str(seconds), 'strace', '-c', '-p', str(thread)], capture_output=True, text=True, check=False)
    rows = (line.split() for line in r.stderr.splitlines())
    calls = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != 'total'}
    expect(calls, f'strace saw nothing: {r.stderr[-500:]}')
    return calls


def count(cluster, args, rate):
    tool = args.build / 'bench/load/tidemark-load'
    seconds = args.seconds + START_S + WARM_S
    load = cluster.client_start(tool, '--bootstrap', cluster.boot, '--topic', f'calls-{rate:g}', '--create', 'yes', '--rate', f'{rate:g}', '--record.bytes', 950,
                                '--acks', args.acks, '--consume', 'no', '--warmup.s', 0, '--duration.s', seconds, '--lag.share', 1)
    broker = cluster.brokers[0]
    before = requests(broker)
    wait_until('the load has begun', 30, lambda: requests(broker) > before + rate * WARM_S)
    before = requests(broker)
    began = time.monotonic()
    calls = traced(core_thread(broker.process.pid), args.seconds)
    took = time.monotonic() - began
    answered = requests(broker) - before
    text, _ = load.communicate(timeout=120)
    cluster.helpers.remove(load)
    expect(load.returncode in (0, 3), f'the load ended with {load.returncode}: {text[-500:]}')  # 3: it was late, which is strace's doing
    print(f'{rate:8g}/s for {took:.1f} s: {answered:.0f} requests, {sum(calls.values()) / answered:.2f} calls each: '
          + ', '.join(f'{name} {n / answered:.2f}' for name, n in sorted(calls.items(), key=lambda c: -c[1])), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build')
    parser.add_argument('--vdev', choices=('af_xdp', 'af_packet'), default='af_xdp')
    parser.add_argument('--rate', type=float, action='append')
    parser.add_argument('--acks', default='1', choices=('1', 'all'))
    parser.add_argument('--seconds', type=int, default=5)
    args = parser.parse_args()
    cluster = Cluster(args.build, brokers=1, vdev=args.vdev)
    try:
        cluster.start()
        print(f'acks={args.acks}, {args.vdev}')
        for rate in args.rate or RATES:
            count(cluster, args, rate)
        cluster.stop()
    except Failure as e:
        print(f'failed: {e}')
        return 1
    finally:
        cluster.close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
