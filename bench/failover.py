#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From kill -9 of a leader to the first acknowledged record that was sent after it.

    bench/run.sh failover [--kills N] [--vdev af_xdp|af_packet] [--session MS] [--seed N]

Three brokers, one partition of three replicas, min.insync.replicas=2, one librdkafka producer with acks=all. The leader is
killed at a moment chosen by the seed, comes back, and is in sync again before the next. A leader that is the controller, too,
takes the quorum's election with it: those kills also stand in a row of their own.
"""
import argparse
import pathlib
import random
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tests/crash'))
from cluster import Cluster, expect, now_ms, wait_until  # noqa: E402

TOPIC, RATE = 'failover', 1000
WHOLE_S, SERVE_S = 120, 60


class Told:
    """The history of a producer, as it grows (tests/crash/history.py)."""

    def __init__(self, path):
        self.file = open(path, encoding='ascii')
        self.rest = ''

    def lines(self):
        *whole, self.rest = (self.rest + self.file.read()).split('\n')
        return (line.split(' ') for line in whole)

    def first_since(self, since_ms):
        """When the first record was acknowledged that was sent later than that."""
        late = set()

        def found():
            for word, *rest in self.lines():
                if word == 'sent' and float(rest[2]) > since_ms:
                    late.add(rest[1])
                elif word == 'acked' and rest[1] in late:
                    return float(rest[3])
            return None
        return wait_until('a record is acknowledged after the kill', SERVE_S, found, 0.01)


def kill(cluster, told):
    """One leader. Returns the milliseconds, and whether it was the controller."""
    leader = cluster.brokers[cluster.partitions(TOPIC)[0][0] - 1]
    controller = leader.metrics().get('tidemark_is_controller') == 1
    began = now_ms()
    leader.kill()
    ms = told.first_since(began) - began
    cluster.start([leader])
    wait_until('all replicas are in sync', WHOLE_S, lambda: cluster.whole([TOPIC]))
    expect(not cluster.died(), 'a broker ended by itself')
    return ms, controller


def row(name, values):
    if values:
        values = sorted(values)
        at = [values[min(int(len(values) * q), len(values) - 1)] for q in (0.9, 0.99)]
        print(f'| {name} | {len(values)} | {values[0]:.0f} | {statistics.median(values):.0f} | {at[0]:.0f} | {at[1]:.0f} | {values[-1]:.0f} |')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default=str(ROOT / 'build'))
    parser.add_argument('--kills', type=int, default=10)
    parser.add_argument('--vdev', choices=('af_xdp', 'af_packet'), default='af_xdp')
    parser.add_argument('--session', type=int, default=500, help='broker.session.timeout.ms')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    cluster = Cluster(args.build, 3, args.vdev, settings={'broker.session.timeout.ms': args.session})
    try:
        cluster.start()
        cluster.topic(TOPIC, 1, min_insync_replicas=2)
        wait_until('the topic is whole', WHOLE_S, lambda: cluster.whole([TOPIC]))
        path = cluster.dir / 'all.sent'
        path.touch()
        producer = cluster.client_start(cluster.tools / 'tests/crash/crash_load', cluster.boot, TOPIC, 1, 'all', 'all', 'false', RATE, 0, path)
        told, seen = Told(path), []
        for i in range(args.kills):
            time.sleep(chance.uniform(0.5, 1.5))
            seen.append(kill(cluster, told))
            print(f'        kill {i + 1}: {seen[-1][0]:.0f} ms{", the controller" if seen[-1][1] else ""}', flush=True)
        _, _, failed = cluster.client_end(producer).split()
        expect(failed == '0', f'{failed} records failed')
    finally:
        cluster.close()
    commit = subprocess.run(['git', '-C', str(ROOT), 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, check=False).stdout.strip()
    print(f'commit {commit or "unknown"}, {args.vdev}, broker.session.timeout.ms={args.session}, {RATE} records a second, seed {args.seed}\n')
    print('| kill to first acknowledgement, ms | kills | least | median | 90th percentile | 99th | most |\n|---|---|---|---|---|---|---|')
    row('all', [ms for ms, _ in seen])
    row('the leader was not the controller', [ms for ms, c in seen if not c])
    row('it was the controller, too', [ms for ms, c in seen if c])


if __name__ == '__main__':
    main()
