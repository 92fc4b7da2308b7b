# SPDX-License-Identifier: Apache-2.0
"""Fetch sessions (KIP-227) as the Java client uses them. `cases` are the runner's."""
import random
import struct
import time

import wire
from admin_raw import NO_TAGS, Reader, carray, ctext, i8, i16, i32, text, uvarint
from world import expect

FETCH, METADATA = 1, 3
NOT_KNOWN, WRONG_EPOCH, NAMES_AND_IDS = 70, 71, 106
i64 = lambda n: struct.pack('>q', n)
NEW, LAST = 0, -1


def frame(key, version, body, correlation=1):
    payload = i16(key) + i16(version) + i32(correlation) + text('java') + NO_TAGS + body
    return i32(len(payload)) + payload


def topic_id(s, topic):
    """Metadata v12."""
    s.sendall(frame(METADATA, 12, carray([b'\0' * 16 + ctext(topic) + NO_TAGS]) + b'\0\0' + NO_TAGS))
    r = Reader(wire.receive(s))
    r.raw(4 + 1 + 4)  # correlation, tags, throttle
    for _ in range(r.uvarint() - 1):
        r.raw(4)
        r.ctext()
        r.raw(4)
        r.ctext()
        r.uvarint()
    r.ctext()
    r.raw(4)
    expect(r.uvarint() == 2, 'one topic')
    expect(r.i16() == 0, f'{topic} has no id')
    r.ctext()
    return r.raw(16)


def decode(data, version):
    """(error, session id, {(topic, partition): (error, high watermark, [values by offset])}, order of partitions)"""
    r = Reader(data)
    r.raw(4 + 1 + 4)
    error, session = r.i16(), r.i32()
    found, order = {}, []
    for _ in range(r.uvarint() - 1):
        topic = r.raw(16) if version >= 13 else r.ctext()
        for _ in range(r.uvarint() - 1):
            partition, p_error, high = r.i32(), r.i16(), r.i64()
            r.raw(8 + 8)
            for _ in range(max(r.uvarint() - 1, 0)):
                r.raw(16 + 1)
            expect(r.i32() == -1, 'nobody asked for another replica')
            records = r.raw(max(r.uvarint() - 1, 0))
            for _ in range(r.uvarint()):
                r.uvarint()
                r.raw(r.uvarint())
            expect((topic, partition) not in found, 'a partition twice')
            found[topic, partition] = (p_error, high, offsets(records))
            order.append(partition)
        r.uvarint()
    return error, session, found, order


def offsets(records):
    """The last offset of each batch, and the first of all."""
    at, out = 0, []
    while at < len(records):
        base, size = struct.unpack_from('>qi', records, at)
        delta = struct.unpack_from('>i', records, at + 23)[0]
        out.append((base, base + delta))
        at += 12 + size
    return out


class Session:
    """What FetchSessionHandler does: it knows what the broker knows, names what changed, and believes what it is told."""

    def __init__(self, s, topic, version):
        self.s, self.topic, self.version = s, topic, version
        self.id, self.epoch = 0, NEW
        self.known = {}  # partition: offset, as the broker has it
        self.incremental = self.full = self.told = 0

    def send(self, wanted, wait_ms=0, min_bytes=1, max_bytes=1 << 20):
        changed = dict(wanted) if self.epoch <= 0 else {p: o for p, o in wanted.items() if self.known.get(p) != o}
        gone = [] if self.epoch <= 0 else [p for p in self.known if p not in wanted]
        name = self.topic if self.version >= 13 else ctext(self.topic)
        partitions = [i32(p) + i32(-1) + i64(o) + i32(-1) + i64(-1) + i32(1 << 16) + NO_TAGS for p, o in changed.items()]
        body = ((i32(-1) if self.version < 15 else b'') + i32(wait_ms) + i32(min_bytes) + i32(max_bytes) + i8(0) + i32(self.id) + i32(self.epoch) +
                carray([name + carray(partitions) + NO_TAGS] if partitions else []) +
                carray([name + carray([i32(p) for p in gone]) + NO_TAGS] if gone else []) + ctext('') + NO_TAGS)
        self.s.sendall(frame(FETCH, self.version, body))
        self.known = dict(wanted)

    def take(self):
        """{partition: ...} that was told; None when the session has to begin anew."""
        error, session, found, order = decode(wire.receive(self.s), self.version)
        if error == NOT_KNOWN:
            self.id, self.epoch = 0, NEW
            return None
        if error in (WRONG_EPOCH, NAMES_AND_IDS):
            self.epoch = NEW
            return None
        expect(error == 0, f'error {error}')
        told = {p: v for (_, p), v in found.items()}
        if self.epoch <= 0:
            self.full += 1
            expect(set(told) == set(self.known), f'a full answer has {sorted(told)}, not {sorted(self.known)}')
            self.id, self.epoch = session, 1 if session else NEW
        else:
            self.incremental += 1
            self.told += len(told)
            expect(session == self.id, f'session {session}, not {self.id}')
            expect(set(told) <= set(self.known), f'{sorted(told)} in a session of {sorted(self.known)}')
            self.epoch += 1
        self.order = order
        return told

    def fetch(self, wanted, **how):
        self.send(wanted, **how)
        return self.take()

    def close(self):
        self.epoch = LAST
        expect(self.fetch({}) == {}, 'a goodbye')


def produce(s, topic, partition, values):
    s.sendall(wire.produce(topic, wire.batch(values), partition))
    error, base = wire.produce_result(wire.receive(s), topic)
    expect(error == 0, f'produce: error {error}')
    return base


def read_all(session, at, ends, what):
    """Reads on until the ends are reached; every batch in order."""
    until = time.monotonic() + 30
    while any(at[p] < ends[p] for p in at):
        expect(time.monotonic() < until, f'{what}: stands at {at}, not at {ends}')
        told = session.fetch(at, wait_ms=200)
        for p, (error, high, batches) in (told or {}).items():
            expect(error == 0, f'{what}: partition {p}: error {error}')
            for base, last in batches:
                expect(base == at[p], f'{what}: partition {p} goes on at {base}, not at {at[p]}')
                at[p] = last + 1
            expect(at[p] <= high, f'{what}: partition {p} was served beyond its mark')


def run(w, version):
    chance = random.Random(version)
    topic, partitions = f'sessions-{version}', 16
    w.topic(topic, partitions=partitions)
    s, p = w.connect(), w.connect()
    session = Session(s, topic_id(s, topic) if version >= 13 else topic, version)
    at, ends = {i: 0 for i in range(partitions)}, {i: 0 for i in range(partitions)}
    expect(len(session.fetch(at)) == partitions and session.id > 0, 'no session')
    expect(session.fetch(at) == {}, 'nothing is new')
    for _ in range(30):
        for i in chance.sample(range(partitions), 3):
            ends[i] = produce(p, topic, i, [b'x' * chance.randrange(1, 3000) for _ in range(3)]) + 3
        if chance.random() < 0.5:
            read_all(session, at, ends, 'the load')
    read_all(session, at, ends, 'the rest')
    expect(session.full == 1 and session.told < session.incremental * partitions / 2, f'{session.told} told in {session.incremental}')
    # A long poll is answered by what is of the session, and by that alone.
    session.send({i: at[i] for i in range(4)}, wait_ms=10000)
    produce(p, topic, 9, [b'not of it'])
    produce(p, topic, 2, [b'of it'])
    told = session.take()
    expect(list(told) == [2] and told[2][2] == [(at[2], at[2])], f'the long poll: {told}')
    # Turns: with room for one batch each partition has its own.
    at = {i: 0 for i in range(4)}
    seen = [session.fetch(at, max_bytes=1) for _ in range(5)]
    first = [next(i for i, v in told.items() if v[2]) for told in seen]
    expect(sorted(first[:4]) == [0, 1, 2, 3] and first[4] == first[0], f'served in turn: {first}')
    # What goes wrong: a wrong epoch, then the broker starts again and knows nothing.
    session.epoch += 1
    expect(session.fetch(at) is None and session.epoch == NEW and session.id > 0, 'a wrong epoch')
    expect(set(session.fetch(at)) == set(at) and session.id > 0, 'a new session instead of the old one')
    for _ in range(40): # a connection that another core has does not know the session
        other = Session(w.connect(), topic if version >= 13 else topic_id(s, topic), 12 if version >= 13 else 13)
        other.id, other.epoch = session.id, session.epoch
        other.send(at)
        told = decode(wire.receive(other.s), other.version)[:2]
        if told[0] != NOT_KNOWN:
            break
    expect(told == (NAMES_AND_IDS, 0), f'names and ids in one session: {told}')
    w.stop()
    w.start()
    session.s = w.connect()
    expect(session.fetch(at) is None and session.id == 0, 'a session that outlives its broker')
    read_all(session, at, {i: ends[i] for i in at}, 'after a restart')
    session.close()


def fetch_sessions_as_java_uses_them(w):
    run(w, 12)
    run(w, 13)


def fetch_sessions_on_two_cores(w):
    w.stop()
    w.settings = {'data_core_count': 2, 'dpdk_memory_mb': 1400}
    w.start()
    try:
        run(w, 15)
        # A session is where it was made: a connection on the other core does not know it, and the client begins anew.
        topic = 'sessions-15'
        conns = [w.connect() for _ in range(16)]
        a = Session(conns[0], topic_id(conns[0], topic), 15)
        a.fetch({0: 0})
        answers = []
        for c in conns[1:]:
            b = Session(c, a.topic, 15)
            b.id, b.epoch, b.known = a.id, a.epoch, a.known
            b.send({0: 0})
            answers.append(decode(wire.receive(c), 15)[0])
            a.epoch += answers[-1] == 0
        expect(set(answers) == {0, NOT_KNOWN}, f'connections on two cores: {answers}')
    finally:
        w.stop()
        w.settings = {}
        w.start()


cases = [fetch_sessions_as_java_uses_them, fetch_sessions_on_two_cores]
