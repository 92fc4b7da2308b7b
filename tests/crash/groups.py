#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Groups of stock consumers on three real brokers that are restarted and killed. Needs root.

    groups.py [--build DIR] [--only NAME] [--rounds N] [--vdev V] [--full]; --list names the cases

Each case has one topic, a producer, and groups of two members each: librdkafka as it comes, librdkafka with cooperative-sticky,
kafkajs and kafka-python as they come. group_history.py says what must be true of what they saw.
"""
import argparse
import pathlib
import random
import shutil
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'interop'))
import clients
import group_history
from cluster import ROOT, Cluster, Failure, expect, now_ms, wait_until

HERE = pathlib.Path(__file__).resolve().parent
PARTITIONS = 4
RATE = 200
WHOLE_S, ALL_S, START_S = 120, 180, 120
OFFSETS = '__consumer_offsets'
CASES = []


def case(f):
    CASES.append(f)
    return f


def java_hash(text):
    h = 0
    for c in text:
        h = h * 31 + ord(c) & 0xffffffff
    return h - (1 << 32) if h >> 31 else h


class Run:
    """The topic, its producer, the groups."""

    def __init__(self, cluster, number, chance):
        self.cluster, self.chance = cluster, chance
        self.dir = cluster.dir / f'groups{number}'
        self.dir.mkdir()
        self.topic = f'work-{number}'
        cluster.topic(self.topic, PARTITIONS, min_insync_replicas=2)
        wait_until('the topic is whole', WHOLE_S, lambda: cluster.whole([self.topic]))
        self.sent = self.dir / 'exact.sent'
        self.producer = cluster.client_start(cluster.tools / 'tests/crash/crash_load', cluster.boot, self.topic, PARTITIONS, 'exact', 'all', 'true', RATE, 0,
                                             self.sent)
        self.members, self.commands, self.watchers, self.names = {}, {}, [], []
        self.missing = self.joined = 0
        for name, command in (('eager', self.librdkafka('default')), ('cooperative', self.librdkafka('cooperative-sticky')),
                              ('kafkajs', self.kafkajs), ('kafka-python', self.kafka_python), ('consumer', self.consumer), ('both', self.both)):
            group = f'{name}-{number}'
            self.commands[group] = command
            try:
                self.join(group)
                self.join(group)
            except clients.Skip as e:
                self.missing += 1
                print(f'skipped {name}: {e}', flush=True)
                continue
            self.names.append(group)
            self.watchers.append(cluster.client_start(cluster.tools / 'tests/crash/crash_group', cluster.boot, group, self.topic, PARTITIONS, 'watch',
                                                      self.dir / f'{group}.watch'))

    def librdkafka(self, strategy):
        return lambda group, path: [self.cluster.tools / 'tests/crash/crash_group', self.cluster.boot, group, self.topic, path.stem, strategy, path]

    def kafkajs(self, group, path):
        return ['node', HERE / 'kafkajs_group.js', clients.kafkajs(), self.cluster.boot, group, self.topic, path]

    def kafka_python(self, group, path):
        return [clients.debian_python(), HERE / 'kafka_python_group.py', self.cluster.boot, group, self.topic, path]

    def consumer(self, group, path):
        return [clients.confluent(), HERE / 'confluent_group.py', self.cluster.boot, group, self.topic, path]

    def both(self, group, path):
        """Every second member speaks the consumer protocol."""
        return (self.consumer if self.joined % 2 == 0 else self.librdkafka('cooperative-sticky'))(group, path)

    def join(self, group):
        self.joined += 1
        path = self.dir / f'{group}.{self.joined}.group'
        self.members.setdefault(group, []).append(self.cluster.client_start(*self.commands[group](group, path)))

    def leave(self, group):
        """The oldest member goes in order."""
        self.cluster.client_end(self.members[group].pop(0))

    def drop(self, group):
        """The oldest member is killed: the others must do without it after its session has timed out."""
        p = self.members[group].pop(0)
        p.kill()
        p.communicate()
        self.cluster.helpers.remove(p)

    def whole(self):
        wait_until('all replicas are in sync', WHOLE_S, lambda: self.cluster.whole([self.topic, OFFSETS]))
        self.cluster.nobody_died()

    def coordinator(self, group):
        def leader():
            found = self.cluster.partitions(OFFSETS) or {}
            if not found:
                return None
            number = found[abs(java_hash(group)) % len(found)][0]
            return next((b for b in self.cluster.brokers if b.number == number and b.alive()), None)
        return wait_until(f'the coordinator of {group} is known', WHOLE_S, leader)

    def consumed(self, group):
        return len({(p, o) for _, p, o, _ in group_history.load(self.dir, group).got})

    def looked_since(self, group, time_ms):
        """At the offset of each partition."""
        return len({partition for partition, _, begin, _ in group_history.load(self.dir, group).stands if begin >= time_ms}) == PARTITIONS

    def going(self):
        """Every group gets new records."""
        before = {g: self.consumed(g) for g in self.names}
        wait_until('every group goes on', ALL_S, lambda: all(self.consumed(g) > n for g, n in before.items()), every=0.5)

    def finish(self):
        c = self.cluster
        _, acknowledged, failed = (int(n) for n in c.client_end(self.producer, ALL_S).split())
        expect(acknowledged > 0 and failed == 0, f'{acknowledged} records were acknowledged, {failed} failed')
        records = acked(self.sent)
        try:
            wait_until('every group has got every record', ALL_S,
                       lambda: all(not group_history.skipped(group_history.load(self.dir, g), records) for g in self.names), every=1)
        except Failure:
            raise Failure('\n'.join(t for g in self.names for t in group_history.skipped(group_history.load(self.dir, g), records))) from None
        for g in self.names:
            for p in self.members[g]:
                c.client_end(p)
        left = now_ms()
        wait_until('one more look at what every group committed when its members left', ALL_S, lambda: all(self.looked_since(g, left) for g in self.names), every=0.5)
        for p in self.watchers:
            c.client_end(p)
        found = []
        for g in self.names:
            group = group_history.load(self.dir, g)
            print(f'        {group_history.summary(group)}', flush=True)
            found += group_history.check(group, records)
            last = {}
            for partition, offset, begin, _ in sorted(group.stands, key=lambda s: s[2]):
                last[partition] = offset
            ends = {p: max(o for q, o in records if q == p) + 1 for p in range(PARTITIONS)}
            if last != ends:
                found.append(f'{g}: members have left, and the offsets are {last} instead of {ends}')
        expect(not found, '\n'.join(found))
        c.drop_topic(self.topic)
        shutil.rmtree(self.dir)


def acked(path):
    records = set()
    for line in path.read_text().splitlines():
        words = line.split(' ')
        if words[0] == 'acked':
            records.add((int(words[1]), int(words[3])))
    return records


@case
def rolling_restart(run, rounds):
    """One broker after the other, in order, while groups run."""
    for b in run.cluster.brokers * rounds:
        b.terminate()
        run.cluster.start([b], START_S)
        run.whole()
        run.going()


@case
def coordinators_are_killed(run, rounds):
    for i in range(2 * rounds):
        b = run.coordinator(run.names[i % len(run.names)])
        b.kill()
        time.sleep(run.chance.uniform(0, 4))
        run.cluster.start([b], START_S)
        run.whole()
        run.going()


@case
def members_come_and_go_while_coordinators_are_killed(run, rounds):
    for i in range(rounds):
        for g in run.names:
            run.chance.choice((run.leave, run.drop))(g)
        b = run.coordinator(run.chance.choice(run.names))
        b.kill()
        time.sleep(run.chance.uniform(0, 2))
        for g in run.names:
            run.join(g)
        run.cluster.start([b], START_S)
        run.whole()
        run.going()


@case
def everything_is_killed(run, rounds):
    for _ in range(rounds):
        for b in run.cluster.brokers:
            b.kill()
        run.cluster.start(seconds=START_S)
        run.whole()
        run.going()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default=str(ROOT / 'build'))
    parser.add_argument('--tools', help='another build for the clients')
    parser.add_argument('--vdev', default='af_xdp', choices=('af_xdp', 'af_packet'))
    parser.add_argument('--only', action='append')
    parser.add_argument('--rounds', type=int, default=1)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--full', action='store_true', help='ten rounds')
    parser.add_argument('--list', action='store_true')
    args = parser.parse_args()
    if args.list:
        print('\n'.join(c.__name__ for c in CASES))
        return 0
    passed = failed = skipped = 0
    chance = random.Random(args.seed)
    cluster = Cluster(args.build, 3, args.vdev, args.tools, {'group.initial.rebalance.delay.ms': 0})
    try:
        cluster.start(seconds=START_S)
        for number, c in enumerate(c for c in CASES if not args.only or c.__name__ in args.only):
            begin, run = time.monotonic(), None
            try:
                run = Run(cluster, number, chance)
                wait_until('the first group has its topic', WHOLE_S, lambda: cluster.partitions(OFFSETS))
                run.going()
                c(run, 10 if args.full else args.rounds)
                run.finish()
                passed += 1
                skipped += run.missing
                print(f'ok      {args.vdev} {c.__name__} ({time.monotonic() - begin:.1f} s)', flush=True)
            except Exception as e:  # pylint: disable=broad-except
                failed += 1
                kept = cluster.build / f'groups-{c.__name__}'
                shutil.rmtree(kept, ignore_errors=True)
                if run is not None:
                    shutil.copytree(run.dir, kept)
                for b in cluster.brokers:
                    if b.log.exists() and kept.exists():
                        shutil.copy(b.log, kept)
                text = str(e) if isinstance(e, Failure) else traceback.format_exc()
                print(f'FAILED  {args.vdev} {c.__name__}: {text}\n        histories: {kept}\n  again: sudo tests/crash/groups.py --vdev {args.vdev} '
                      f'--seed {args.seed} --only {c.__name__}', flush=True)
                break
    finally:
        cluster.close()
    print(f'{passed} passed, {failed} failed, {skipped} skipped', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
