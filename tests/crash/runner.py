#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real brokers are killed, paused and cut off under load; a checker judges what was promised. Needs root.

    runner.py [--build DIR] [--brokers 1|3] [--rounds N | --hours H] [--faults KIND,...] [--seed N] [--lap N] [--vdev V] [--stock]

A round is one fault. Rounds come in laps: fresh topics, producers (acks=1, acks=all, idempotent) and readers that go on
through the faults of a lap; then the brokers must become whole again, everything is read once more, and checker.py looks
at the histories and at the replicas' files. A lap that fails leaves its histories in BUILD/crash-SEED. The seed decides
about everything but time. --list names the kinds of faults.

With --stock the producers are librdkafka and kafkajs as they come and kafka-python with acks='all' and retries=10, all on one
topic, in one lap; the fault is the kill of a leader, unless --faults says something else. Nothing may fail that they sent.
"""
import argparse
import collections
import dataclasses
import pathlib
import random
import shlex
import shutil
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'interop'))
import checker
import clients
import history
import segments
from cluster import ROOT, Cluster, Failure, expect, now_ms, wait_until
from faults import BY_NAME, FAULTS, NEEDS_THREE

WHOLE_S = 120       # after a fault all replicas are in sync again
END_S = 180         # a client that is told to end, and waits for the answer of a connection that was never reset
PARTITIONS = 3
RATE = 1000         # records a second of one producer
STOCK_RATE = 200
LOSS_WINDOW_MS = 10000
HERE = pathlib.Path(__file__).resolve().parent
POLICIES = {'one': ('1', 'false'), 'all': ('all', 'false'), 'exact': ('all', 'true')}


@dataclasses.dataclass
class Writer:
    """A producer to be: its command writes the history NAME.sent, until its standard input ends."""
    name: str
    topic: str
    policy: str
    command: list
    timed: bool  # its pauses are reported


def load(cluster, lap, name, topic, *how):
    return [cluster.tools / 'tests/crash/crash_load', cluster.boot, topic, PARTITIONS, name, *how, 0, lap / f'{name}.sent']


def own_writers(cluster, lap, number):
    """One for each policy, each with a topic of its own; and how many are left out."""
    return [Writer(p, f'{p}-{number}', p, load(cluster, lap, p, f'{p}-{number}', acks, idempotent, RATE), p == 'exact')
            for p, (acks, idempotent) in POLICIES.items()], 0


def stock_writers(cluster, lap, number):
    """Those that can be had here, and how many cannot."""
    topic, found, missing = f'stock-{number}', [], []

    def there(name, command):
        try:
            found.append(Writer(name, topic, 'all', command(), True))
        except clients.Skip as e:
            missing.append(name)
            print(f'skipped {name}: {e}', flush=True)

    def script(name, *words):
        return [*words, cluster.boot, topic, PARTITIONS, name, STOCK_RATE, lap / f'{name}.sent']

    there('librdkafka', lambda: load(cluster, lap, 'librdkafka', topic, 'all', 'default', STOCK_RATE))
    there('kafkajs', lambda: script('kafkajs', 'node', HERE / 'kafkajs_load.js', clients.kafkajs()))
    there('kafka-python', lambda: script('kafka-python', clients.debian_python(), HERE / 'kafka_python_load.py'))
    return found, len(missing)


class Lap:
    """Fresh topics, those who write and read them, and the histories."""

    def __init__(self, cluster, number, writers):
        self.cluster, self.number = cluster, number
        self.dir = cluster.dir / f'lap{number}'
        self.dir.mkdir()
        self.writers, self.missing = writers(cluster, self.dir, number)
        self.topics = list(dict.fromkeys(w.topic for w in self.writers))
        self.faults = 0
        self.pauses = []  # (what, ms)
        copies = len(cluster.brokers)
        for t in self.topics:
            cluster.topic(t, PARTITIONS, **({'min_insync_replicas': 2} if copies > 1 else {}))
        wait_until('the new topics are whole', WHOLE_S, lambda: cluster.whole(self.topics))
        (self.dir / 'runs').write_text(''.join(f'{w.name} {w.topic} {w.policy}\n' for w in self.writers))
        self.producers = {w.name: cluster.client_start(*w.command) for w in self.writers}
        self.readers = [cluster.client_start(cluster.tools / 'tests/crash/crash_read', cluster.boot, t, PARTITIONS, 'along', self.dir / f'{t}.along.read')
                        for t in self.topics]

    def fault(self, kind, chance):
        begin = now_ms()
        hit = FAULTS[kind](self.cluster, chance, self.topics)
        end = now_ms()
        with open(self.dir / 'faults', 'a') as f:
            f.writelines(f'{kind} {b.number} {begin:.3f} {end:.3f}\n' for b in hit)
        self.faults += 1
        wait_until(f'after {kind} all replicas are in sync', WHOLE_S, lambda: self.cluster.whole(self.topics))
        self.cluster.nobody_died()
        return f'{kind} of broker {",".join(str(b.number) for b in hit)}, {end - begin:.0f} ms, whole {now_ms() - end:.0f} ms later'

    def finish(self):
        """The end of the load, the last look at everything. Returns texts for the report and the violations."""
        c = self.cluster
        for name, process in self.producers.items():
            _, acknowledged, failed = (int(n) for n in c.client_end(process, END_S).split())
            expect(acknowledged > 0, f'{name}: nothing was acknowledged')
            expect(failed == 0, f'{name}: {failed} records failed, the application heard of it')
        for process in self.readers:
            c.client_end(process)
        for t in self.topics:
            c.client_end(c.client_start(c.tools / 'tests/crash/crash_read', c.boot, t, PARTITIONS, 'end', self.dir / f'{t}.final'))
        told, found = [], []
        for run in history.load(self.dir).values():
            told.append(checker.summary(run, LOSS_WINDOW_MS))
            for w in (w for w in self.writers if w.timed and w.topic == run.topic):
                self.pauses += ((f'{kind}, {w.name}', ms) for kind, ms in checker.pauses(run, w.name))
            found += checker.check(run, LOSS_WINDOW_MS)
            found += self.compare(run)
        return told, found

    def compare(self, run):
        """The files of all replicas, below what was read to the end. Brokers are down meanwhile."""
        if len(self.cluster.brokers) == 1:
            return []
        found = []
        ends = dict.fromkeys(range(PARTITIONS), 0)
        for r in run.final:
            ends[r.partition] = max(ends[r.partition], r.offset + 1)
        for partition, end in ends.items():
            name = f'{run.topic}-{partition}'
            found += checker.replicas(name, end, {f'broker {b.number}': segments.read(b.data / name) for b in self.cluster.brokers})
        return found


def report(cluster, lap, seed):
    """Where the histories of a lap that failed can be found."""
    kept = cluster.build / f'crash-{seed}'
    shutil.rmtree(kept, ignore_errors=True)
    if lap is not None:
        shutil.copytree(lap.dir, kept)
        for b in cluster.brokers:
            if b.log.exists():
                shutil.copy(b.log, kept)
    return kept


class Total:
    """Over all laps."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.pauses = collections.defaultdict(list)  # by kind of fault

    def tell_pauses(self):
        for kind, pauses in sorted(self.pauses.items()):
            print(f'pauses  {kind}: {len(pauses)} times, {checker.spread(pauses)}')


def run_lap(cluster, number, writers, seed, kinds, chance, rounds, until, total):
    """Faults of one lap. Returns how many were done."""
    lap = None
    try:
        lap = Lap(cluster, number, writers)
        total.skipped += lap.missing
        time.sleep(1)
        while lap.faults < rounds and time.monotonic() < until:
            text = lap.fault(chance.choice(kinds), chance)
            total.passed += 1
            print(f'ok      round {total.passed}: {text}', flush=True)
            time.sleep(chance.uniform(0.2, 1.5))
        if len(cluster.brokers) > 1:
            told, found = finish_stopped(cluster, lap)
        else:
            told, found = lap.finish()
        print(''.join(f'        {t}\n' for t in told), end='', flush=True)
        for kind, ms in lap.pauses:
            total.pauses[kind].append(ms)
        expect(not found, '\n'.join(found))
        for t in lap.topics:
            cluster.drop_topic(t)
        shutil.rmtree(lap.dir)
    except Exception:
        print(f'        histories: {report(cluster, lap, seed)}', flush=True)
        raise
    return lap.faults


def finish_stopped(cluster, lap):
    """As Lap.finish; the files are compared while nobody writes them."""
    compare, lap.compare = lap.compare, lambda run: runs.append(run) or []
    runs = []
    told, found = lap.finish()
    cluster.stop()
    for run in runs:
        found += compare(run)
    cluster.start()
    return told, found


def run(args, vdev, rounds, total):
    kinds = args.faults or [k for k in FAULTS if k not in BY_NAME and (args.brokers > 1 or k not in NEEDS_THREE)]
    until = time.monotonic() + args.hours * 3600 if args.hours else float('inf')
    chance = random.Random(args.seed)
    cluster = Cluster(args.build, args.brokers, vdev, args.tools, dict(s.split('=', 1) for s in args.set))
    done = number = 0
    try:
        cluster.start()
        while (done < rounds if not args.hours else time.monotonic() < until):
            number += 1
            done += run_lap(cluster, number, stock_writers if args.stock else own_writers, args.seed, kinds, chance,
                            args.lap if args.hours else min(args.lap, rounds - done), until, total)
    except Exception as e:  # pylint: disable=broad-except
        text = str(e) if isinstance(e, Failure) else traceback.format_exc()
        total.failed += 1
        print(f'FAILED  {vdev}, {args.brokers} brokers, after {done} rounds of whole laps: {text}\n  again: {again(args, vdev, rounds)}', flush=True)
    finally:
        cluster.close()


def again(args, vdev, rounds):
    """The line to type."""
    words = ['sudo', 'tests/crash/runner.py', '--build', args.build, '--brokers', args.brokers, '--vdev', vdev, '--seed', args.seed, '--lap', args.lap]
    words += ['--stock'] if args.stock else []
    words += ['--hours', args.hours] if args.hours else ['--rounds', rounds]
    words += ['--tools', args.tools] if args.tools else []
    words += ['--faults', ','.join(args.faults)] if args.faults else []
    words += [w for s in args.set for w in ('--set', s)]
    return shlex.join(str(w) for w in words)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default=str(ROOT / 'build'))
    parser.add_argument('--tools', help='another build for the clients')
    parser.add_argument('--brokers', type=int, choices=(1, 3), default=1)
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--hours', type=float, default=0, help='instead of --rounds')
    parser.add_argument('--faults', type=lambda t: t.split(','), help='kinds, separated by commas')
    parser.add_argument('--lap', type=int, default=10, help='rounds between two looks at everything')
    parser.add_argument('--vdev', choices=('af_xdp', 'af_packet'))
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE', help='a setting of all brokers')
    parser.add_argument('--stock', action='store_true', help='clients of others, as they come')
    parser.add_argument('--list', action='store_true', help='name the kinds of faults and end')
    args = parser.parse_args()
    if args.list:
        print('\n'.join(k + (' (three brokers)' if k in NEEDS_THREE else '') for k in FAULTS))
        return 0
    for k in args.faults or []:
        if k not in FAULTS or (k in NEEDS_THREE and args.brokers < 3):
            parser.error(f'no fault {k} with so many brokers; --list names them')
    if args.stock:
        args.faults, args.lap = args.faults or ['kill'], args.rounds
    total = Total()
    for vdev in [args.vdev] if args.vdev else ['af_xdp', 'af_packet']:
        rounds = args.rounds if vdev == 'af_xdp' or args.vdev else max(2, args.rounds // 5)
        print(f'{args.brokers} brokers, {vdev}, seed {args.seed}', flush=True)
        run(args, vdev, rounds, total)
    total.tell_pauses()
    print(f'{total.passed} passed, {total.failed} failed, {total.skipped} skipped', flush=True)
    return 1 if total.failed else 0


if __name__ == '__main__':
    sys.exit(main())
