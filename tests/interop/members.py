# SPDX-License-Identifier: Apache-2.0
"""Consumer groups of unmodified clients. `cases` are the runner's."""
import pathlib
import struct
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / 'crash')]
import group_history
import wire
from clients import confluent, debian_python, kafkajs
from world import BOOT, FULL, ROOT, Failure, expect, lines, used_below, wait_until

CRASH = ROOT / 'tests' / 'crash'
GROUP_CLIENTS = {'eager': lambda w, *a: [w.tools / 'tests/crash/crash_group', BOOT, *a[:2], 'eager', 'default', a[2]],
                 'cooperative': lambda w, *a: [w.tools / 'tests/crash/crash_group', BOOT, *a[:2], 'cooperative', 'cooperative-sticky', a[2]],
                 'kafkajs': lambda w, *a: ['node', CRASH / 'kafkajs_group.js', kafkajs(), BOOT, *a],
                 'kafka-python': lambda w, *a: [debian_python(), CRASH / 'kafka_python_group.py', BOOT, *a],
                 'consumer': lambda w, *a: [confluent(), CRASH / 'confluent_group.py', BOOT, *a]}


class Members:
    """Of one group, of one kind of client, over a topic of four partitions."""

    def __init__(self, w, kind, name):
        self.w, self.kind, self.name, self.topic = w, kind, name, f'of-{name}'
        self.dir, self.number, self.alive, self.sent = w.dir / f'members-{name}', 0, [], 0
        self.dir.mkdir()
        w.topic(self.topic, partitions=4)

    def join(self, kind=None):
        self.number += 1
        command = GROUP_CLIENTS[kind or self.kind](self.w, self.name, self.topic, self.dir / f'{self.name}.{self.number}.group')
        self.alive.append(self.w.client_start(*command, stdin=subprocess.PIPE))

    def leave(self):
        p = self.alive.pop(0)
        out, err = p.communicate(timeout=60)
        expect(p.returncode == 0, f'{self.kind}: status {p.returncode}: {out[-300:]}{err[-600:]}')

    def history(self):
        return group_history.load(self.dir, self.name)

    def produce(self, count):
        path = self.w.dir / 'in'
        path.write_text(''.join(f'{self.sent + i}\n' for i in range(count)))
        self.sent += count
        self.w.produce(self.topic, path, '-X', 'acks=all')

    def records(self):
        """All there are, by partition and offset."""
        found = self.w.consume(self.topic, '-f', '%p %o\n').split('\n')
        return {tuple(int(n) for n in r.split()) for r in found if r}

    def reads_all(self):
        records = self.records()
        expect(len(records) == self.sent, f'{len(records)} of {self.sent}')
        try:
            wait_until(120, lambda: not group_history.skipped(self.history(), records), 'not all was read', every=0.3)
        except Failure:
            raise Failure(f'{self.kind}: {group_history.skipped(self.history(), records)}') from None

    def is_right(self):
        found = group_history.check(self.history(), self.records())
        expect(not found, '\n'.join(found))

    def repeats(self):
        got = self.history().got
        return len(got) - len({(p, o) for _, p, o, _ in got})

    def holders(self):
        """Which members get records."""
        return {m for m, *_ in self.history().got}

    def close(self):
        for p in self.alive:
            p.kill()
            p.communicate()


def group_life(w, kind, again):
    """Two members share; one leaves; all leave; what was committed is not read again by those who come later, whatever `again` does."""
    g = Members(w, kind, f'{kind}-{again.__name__}')
    try:
        g.produce(1000)
        g.join()
        g.reads_all()
        g.join()
        until = time.monotonic() + 120
        while len(g.holders()) < 2 and time.monotonic() < until:
            g.produce(400)
            time.sleep(0.5)
        expect(len(g.holders()) == 2, f'{kind}: the second member is given nothing')
        g.reads_all()
        g.leave()
        g.produce(400)
        g.reads_all()
        g.leave()
        before = g.repeats()
        again()
        g.produce(400)
        g.join()
        g.reads_all()
        g.leave()
        g.is_right()
        expect(g.repeats() == before, f'{kind}: {g.repeats() - before} records were read again that had been committed')
    finally:
        g.close()


def nothing():
    pass


def a_group_of_librdkafka(w):
    group_life(w, 'eager', nothing)


def a_group_of_librdkafka_that_rebalances_step_by_step(w):
    group_life(w, 'cooperative', nothing)


def a_group_of_kafkajs(w):
    group_life(w, 'kafkajs', nothing)


def a_group_of_kafka_python(w):
    group_life(w, 'kafka-python', nothing)


def a_group_of_the_consumer_protocol(w):
    confluent()
    group_life(w, 'consumer', nothing)


def a_group_that_subscribes_by_expression(w):
    """The broker evaluates it, not the client, and finds a topic that is made later."""
    confluent()
    out = w.dir / 'by-expression.group'

    def fill(topic, word):
        w.topic(topic, partitions=2)
        values = [f'{word}{i}' for i in range(100)]
        path = w.dir / 'in'
        path.write_text(''.join(f'{v}\n' for v in values))
        w.produce(topic, path, '-X', 'acks=all')
        return set(values)

    def got():
        return {line.split()[-1] for line in out.read_text().splitlines() if line.startswith('got ')} if out.exists() else set()

    sent = fill('made-a', 'a')
    fill('not-made', 'n')
    p = w.client_start(*GROUP_CLIENTS['consumer'](w, 'by-expression', '^made-.*', out), stdin=subprocess.PIPE)
    try:
        wait_until(90, lambda: got() == sent, 'not all records of the first topic')
        sent |= fill('made-b', 'b')
        wait_until(90, lambda: got() == sent, 'not all records of both topics')
        key = struct.pack('>h', 16) + wire.text('by-expression')
        logs = [f for d in w.data.glob('__consumer_offsets-*') for f in d.glob('*.log')]
        expect(any(key in f.read_bytes() for f in logs), 'there is no record of the expression')
        _, err = p.communicate(timeout=60)
        expect(p.returncode == 0, err[-600:])
    finally:
        p.kill()
        p.communicate()


def clients_are_upgraded_one_by_one(w):
    """Members of both protocols in one group: each client leaves and comes back with the other protocol, there and back again."""
    confluent()
    for old in ('eager', 'cooperative'):
        g = Members(w, old, f'rolling-{old}')
        try:
            g.produce(800)
            g.join()
            g.join()
            g.reads_all()
            for kind in ('consumer', 'consumer', old, old):
                g.leave()
                g.join(kind)
                g.produce(400)
                g.reads_all()
            while g.alive:
                g.leave()
            g.is_right()
        finally:
            g.close()


def offsets_survive_the_broker(w):
    def stopped():
        w.stop()
        w.start()

    def killed():
        w.kill()
        w.start()

    group_life(w, 'eager', stopped)
    group_life(w, 'kafkajs', killed)


def a_group_of_kcat(w):
    w.topic('of-kcat', partitions=3)
    path, sent = w.dir / 'in', lines(3000)
    path.write_text(sent)
    w.produce('of-kcat', path, '-X', 'acks=all')
    read = ('kcat', '-b', BOOT, '-X', 'auto.offset.reset=earliest', '-e', '-q', '-G', 'kcats', 'of-kcat')
    got = w.client(*read).stdout
    expect(sorted(got.splitlines()) == sorted(sent.splitlines()), f'{len(got.splitlines())} of 3000')
    more = lines(300, 'more')
    path.write_text(more)
    w.produce('of-kcat', path, '-X', 'acks=all')
    got = w.client(*read).stdout
    expect(sorted(got.splitlines()) == sorted(more.splitlines()), f'{len(got.splitlines())} of 300 more')


def a_member_goes_on_through_restarts(w):
    """Nobody leaves: the broker goes and comes back, and its groups with it."""
    members = [Members(w, kind, f'on-{kind}') for kind in GROUP_CLIENTS]
    try:
        for g in members:
            g.produce(400)
            g.join()
            g.join()
        for g in members:
            g.reads_all()
        for end in (w.stop, w.kill):
            end()
            w.start()
            for g in members:
                g.produce(400)
            for g in members:
                g.reads_all()
        for g in members:
            g.leave()
            g.leave()
            g.is_right()
    finally:
        for g in members:
            g.close()


def joins_that_are_abandoned(w):
    """Whoever joins and goes away does not keep a request for as long as a rebalance may take."""
    def join(group):
        body = wire.text(group) + struct.pack('>ii', 300000, 0x7fffffff) + wire.text('') + wire.text('consumer')
        body += struct.pack('>i', 1) + wire.text('range') + struct.pack('>i', 4) + b'\0\0\0\0'
        return wire.frame(11, 1, body)

    w.client('kcat', '-b', BOOT, '-X', 'auto.offset.reset=earliest', '-e', '-q', '-G', 'warm', 'of-kcat', check=False)
    before = w.settle()['tidemark_pool_free{pool="mail",core="0"}']
    count = 10000 if FULL else 2000
    for i in range(count):
        s = w.connect()
        s.sendall(join(f'abandoned-{i % 100}'))
        if i % 20 == 0:
            time.sleep(0.001)
        s.close()
    m = w.settle(60)
    expect(m['tidemark_requests_in_progress'] == 0, f'{m["tidemark_requests_in_progress"]} requests are kept')
    wait_until(30, lambda: w.metrics()['tidemark_pool_free{pool="mail",core="0"}'] >= before, 'letters are missing')
    expect(w.total('tidemark_group_cancels_total', m) > count / 2, f'{w.total("tidemark_group_cancels_total", m)} were waited for')


def internal_topics_are_not_for_clients(w):
    w.client('kcat', '-b', BOOT, '-X', 'auto.offset.reset=earliest', '-e', '-q', '-G', 'inside', 'of-kcat', check=False)
    s = w.connect()
    error, _ = wire.produce_result(wire.ask(s, wire.produce('__consumer_offsets', wire.batch([b'x']))), '__consumer_offsets')
    expect(error == 17, f'a record in __consumer_offsets: error {error}')
    s.close()
    used = used_below(w.data.glob('__consumer_offsets-*'))
    expect(len(list(w.data.glob('__consumer_offsets-*'))) == 50 and used < 8 << 20, f'fifty partitions use {used >> 20} MiB')


cases = [a_group_of_librdkafka, a_group_of_librdkafka_that_rebalances_step_by_step, a_group_of_kafkajs, a_group_of_kafka_python,
         a_group_of_the_consumer_protocol, a_group_that_subscribes_by_expression, clients_are_upgraded_one_by_one, offsets_survive_the_broker, a_group_of_kcat, a_member_goes_on_through_restarts,
         joins_that_are_abandoned, internal_topics_are_not_for_clients]
