# SPDX-License-Identifier: Apache-2.0
"""The admin APIs as raw requests: every error, and shapes that no client would send. `cases` are the runner's."""
import struct
import time

import wire
from world import BOOT, expect

TOPIC, BROKER = 2, 4
SET, DELETE, APPEND, SUBTRACT = range(4)

i8 = lambda n: struct.pack('>b', n)
i16 = lambda n: struct.pack('>h', n)
i32 = lambda n: struct.pack('>i', n)
text = lambda s: i16(-1) if s is None else wire.text(s)
array = lambda items: i32(-1) if items is None else i32(len(items)) + b''.join(items)
uvarint = lambda n: bytes([n]) if n < 128 else bytes([n & 127 | 128]) + uvarint(n >> 7)
ctext = lambda s: b'\0' if s is None else uvarint(len(s.encode()) + 1) + s.encode()
carray = lambda items: b'\0' if items is None else uvarint(len(items) + 1) + b''.join(items)
NO_TAGS = b'\0'


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, form):
        size = struct.calcsize(form)
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += size
        return value

    def i8(self): return self.take('>b')
    def i16(self): return self.take('>h')
    def i32(self): return self.take('>i')
    def i64(self): return self.take('>q')

    def raw(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def text(self):
        n = self.i16()
        return None if n < 0 else self.raw(n).decode()

    def uvarint(self):
        n = shift = 0
        while True:
            b = self.take('>B')
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n

    def ctext(self):
        n = self.uvarint()
        return None if n == 0 else self.raw(n - 1).decode()

    def array(self, read):
        return [read() for _ in range(max(self.i32(), 0))]

    def carray(self, read):
        return [read() for _ in range(max(self.uvarint() - 1, 0))]

    def end(self):
        """Every byte was read: the answer has the shape that was expected."""
        expect(self.at == len(self.data), f'{len(self.data) - self.at} bytes are left over')


def ask(s, key, version, body, flexible=False):
    """The body of the answer; None when the connection was closed."""
    s.sendall(wire.frame(key, version, (NO_TAGS if flexible else b'') + body))
    data = wire.receive(s)
    if data is None:
        return None
    r = Reader(data)
    r.i32()
    if flexible:
        expect(r.uvarint() == 0, 'tags in the header')
    return r


# ---- the APIs ------------------------------------------------------------------------------------------------------

def topic_body(name, partitions=1, factor=1, assignment=(), configs=()):
    return (text(name) + i32(partitions) + i16(factor) + array([i32(p) + array([i32(b) for b in ids]) for p, ids in assignment]) +
            array([text(k) + text(v) for k, v in configs]))


def create_topics(s, *topics, timeout=10000, validate=False):
    r = ask(s, 19, 4, array(topics) + i32(timeout) + i8(validate))
    r.i32()
    got = r.array(lambda: (r.text(), r.i16(), r.text()))
    r.end()
    return [g[1] for g in got]


def create(s, name, *args, timeout=10000, validate=False, **kw):
    return create_topics(s, topic_body(name, *args, **kw), timeout=timeout, validate=validate)[0]


def delete(s, *names, version=3):
    r = ask(s, 20, version, array([text(n) for n in names]) + i32(10000))
    r.i32()
    got = r.array(lambda: (r.text(), r.i16()))
    r.end()
    return [g[1] for g in got]


def extend(s, name, count, rows=None, validate=False, times=1):
    one = text(name) + i32(count) + (i32(-1) if rows is None else array([array([i32(b) for b in ids]) for ids in rows]))
    r = ask(s, 37, 1, array([one] * times) + i32(10000) + i8(validate))
    r.i32()
    got = r.array(lambda: (r.text(), r.i16(), r.text()))
    r.end()
    return got[0][1]


def alter(s, kind, name, *changes, validate=False):
    """changes: (key, op, value)"""
    one = i8(kind) + text(name) + array([text(k) + i8(op) + text(v) for k, op, v in changes])
    r = ask(s, 44, 0, array([one]) + i8(validate))
    r.i32()
    got = r.array(lambda: (r.i16(), r.text(), r.i8(), r.text()))
    r.end()
    return got[0][0]


def replace(s, name, *configs):
    r = ask(s, 33, 1, array([i8(TOPIC) + text(name) + array([text(k) + text(v) for k, v in configs])]) + i8(0))
    r.i32()
    got = r.array(lambda: (r.i16(), r.text(), r.i8(), r.text()))
    r.end()
    return got[0][0]


def describe(s, kind, name, *keys):
    """(error, {key: (value, read only, source, [(name, value, source)])})"""
    r = ask(s, 32, 2, array([i8(kind) + text(name) + array([text(k) for k in keys] if keys else None)]) + i8(1))
    r.i32()

    def config():
        name, value, read_only, source, _ = r.text(), r.text(), r.i8(), r.i8(), r.i8()
        return name, (value, bool(read_only), source, r.array(lambda: (r.text(), r.text(), r.i8())))

    got = r.array(lambda: (r.i16(), r.text(), r.i8(), r.text(), dict(r.array(config))))
    r.end()
    return got[0][0], got[0][4]


def elect(s, kind, partitions):
    """(error of the whole, [(topic, partition, error)])"""
    body = i8(kind) + (i32(-1) if partitions is None else array([text(t) + array([i32(p)]) for t, p in partitions])) + i32(10000)
    r = ask(s, 43, 1, body)
    r.i32()
    error = r.i16()
    got = []
    for topic, results in r.array(lambda: (r.text(), r.array(lambda: (r.i32(), r.i16(), r.text())))):
        got += [(topic, p, e) for p, e, _ in results]
    r.end()
    return error, got


def reassign(s, topic, partition, ids):
    one = ctext(topic) + carray([i32(partition) + carray(None if ids is None else [i32(b) for b in ids]) + NO_TAGS]) + NO_TAGS
    r = ask(s, 45, 0, i32(10000) + carray([one]) + NO_TAGS, flexible=True)
    r.i32()
    expect((r.i16(), r.ctext()) == (0, None), 'the whole request')

    def partition_result():
        p = r.i32(), r.i16(), r.ctext()
        r.uvarint()
        return p

    def topic_result():
        t = r.ctext(), r.carray(partition_result)
        r.uvarint()
        return t

    got = r.carray(topic_result)
    r.uvarint()
    r.end()
    return got[0][1][0][1]


def moving(s):
    """Topics with a reassignment on its way."""
    r = ask(s, 46, 0, i32(10000) + carray(None) + NO_TAGS, flexible=True)
    r.i32()
    expect((r.i16(), r.ctext()) == (0, None), 'the whole request')
    n = r.uvarint() - 1
    return n


def log_dirs(s, topics=None):
    """[(error, directory, {topic: {partition: size}})]"""
    body = i32(-1) if topics is None else array([text(t) + array([i32(p) for p in ps]) for t, ps in topics])
    r = ask(s, 35, 1, body)
    r.i32()
    partition = lambda: (r.i32(), r.i64(), r.i64(), r.i8())
    got = r.array(lambda: (r.i16(), r.text(), r.array(lambda: (r.text(), r.array(partition)))))
    r.end()
    return [(e, d, {t: {p[0]: p[1] for p in ps} for t, ps in topics}) for e, d, topics in got]


def partitions(s, names, limit=2000, cursor=None):
    """({topic: (error, [partition])}, cursor)"""
    body = carray([ctext(n) + NO_TAGS for n in names]) + i32(limit)
    body += i8(-1) if cursor is None else i8(1) + ctext(cursor[0]) + i32(cursor[1]) + NO_TAGS
    r = ask(s, 75, 0, body + NO_TAGS, flexible=True)
    r.i32()

    def partition():
        error, index, leader, _ = r.i16(), r.i32(), r.i32(), r.i32()
        lists = [r.carray(r.i32) for _ in range(5)]
        r.uvarint()
        expect((error, leader, lists) == (0, 1, [[1], [1], [], [], []]), f'partition {index}: {error} {leader} {lists}')
        return index

    def topic():
        error, name = r.i16(), r.ctext()
        r.raw(16)
        r.i8()
        listed = r.carray(partition)
        r.i32()
        r.uvarint()
        return name, (error, listed)

    got = dict(r.carray(topic))
    after = None
    if r.i8() >= 0:
        after = r.ctext(), r.i32()
        r.uvarint()
    r.uvarint()
    r.end()
    return got, after


def quorum(s, topic):
    """(error, leader, epoch, high watermark, voters)"""
    r = ask(s, 55, 0, carray([ctext(topic) + carray([i32(0) + NO_TAGS]) + NO_TAGS]) + NO_TAGS, flexible=True)
    expect(r.i16() == 0, 'the whole request')

    def member():
        m = r.i32(), r.i64()
        r.uvarint()
        return m

    def partition():
        p = r.i32(), r.i16(), r.i32(), r.i32(), r.i64(), r.carray(member), r.carray(member)
        r.uvarint()
        return p

    def one():
        t = r.ctext(), r.carray(partition)
        r.uvarint()
        return t

    got = r.carray(one)
    r.uvarint()
    r.end()
    return got[0][1][0][1:6]


def update_features(s, *updates):
    """updates: (name, level, type); the error"""
    body = i32(10000) + carray([ctext(n) + i16(level) + i8(kind) + NO_TAGS for n, level, kind in updates]) + i8(0) + NO_TAGS
    r = ask(s, 57, 1, body, flexible=True)
    r.i32()
    return r.i16()


# ---- cases -----------------------------------------------------------------------------------------------------------

def admin_topics(w):
    s = w.connect()
    expect(create(s, 'at', 3) == 0, 'good')
    expect(create(s, 'at') == 36, 'exists')
    expect(create(s, 'at', validate=True) == 36, 'exists, only asked')
    expect(create(s, 'av', 2, validate=True) == 0 and create(s, 'av', 2) == 0, 'only asked')
    expect(create(s, 'a.b') == 0 and create(s, 'a_b') == 17, 'a collision')
    for name in ('', '.', '..', 'a/b', 'n' * 250, 'a\0b', '../../etc', 'caf\u00e9', '__cluster_metadata'):
        expect(create(s, name) == 17, repr(name))
    expect(create(s, 'n' * 249) == 0, 'the longest name')
    expect([create(s, 'p', n) for n in (0, -2, 4097, -2**31, 2**31 - 1)] == [37] * 5, 'partitions')
    expect([create(s, 'r', 1, n) for n in (0, -2, 2, 32767)] == [38] * 4, 'replication factor')
    expect(create(s, 'd', -1, -1) == 0, 'defaults')
    expect(create(s, 'm', -1, -1, [(1, [1]), (0, [1])]) == 0, 'manual')
    for rows in ([(0, [1]), (2, [1])], [(0, [1]), (0, [1])], [(0, [])], [(0, [9])], [(0, [1, 1])], [(0, list(range(17)))], [(-1, [1])]):
        expect(create(s, 'x', -1, -1, rows) == 39, rows)
    expect(create(s, 'x', 1, -1, [(0, [1])]) == 42 and create(s, 'x', -1, 1, [(0, [1])]) == 42, 'both')
    for config in (('no.such', '1'), ('retention.ms', 'soon'), ('retention.ms', None), ('log.retention.ms', '5'), ('min.insync.replicas', '0')):
        expect(create(s, 'x', configs=[config]) == 40, config)
    expect(create_topics(s, topic_body('t1'), topic_body('t2', 0), topic_body('tt'), topic_body('tt'), topic_body('t3')) == [0, 37, 42, 42, 0], 'each alone')
    expect(create(s, 'hurried', timeout=0) == 7, 'no time')
    expect(delete(s, 'zzz', 't1', 't1') == [3, 42, 42], 'deleting')
    expect(delete(s, 't1', 't3', version=1) == [0, 0], 'deleting')
    until = time.monotonic() + 10
    while delete(s, 'hurried') != [0] and time.monotonic() < until:
        time.sleep(0.1)
    w.stop()
    w.start(delete_topic_enable='false')
    s = w.connect()
    expect(delete(s, 'at') == [73] and delete(s, 'at', version=2) == [42], 'not allowed')
    w.stop()
    w.settings = {}
    w.start()


def admin_partitions(w):
    s = w.connect()
    expect(create(s, 'grow', 2) == 0, 'create')
    expect(extend(s, 'zzz', 3) == 3, 'unknown')
    expect([extend(s, 'grow', n) for n in (2, 1, 0, -1, -2**31, 2**31 - 1)] == [37] * 6, 'no increase')
    expect(extend(s, 'grow', 3, [[1], [1]]) == 39 and extend(s, 'grow', 4, [[1]]) == 39, 'rows')
    expect(extend(s, 'grow', 3, [[9]]) == 39 and extend(s, 'grow', 3, [[]]) == 39 and extend(s, 'grow', 3, [[1, 1]]) == 39, 'brokers')
    expect(extend(s, 'grow', 3, times=2) == 42, 'twice')
    expect(extend(s, 'grow', 5, validate=True) == 0, 'only asked')
    expect(extend(s, 'grow', 3, [[1]]) == 0 and extend(s, 'grow', 5) == 0, 'good')
    got, after = partitions(s, ['grow', 'zzz', 'a/b', 'grow'])
    expect(got == {'grow': (0, [0, 1, 2, 3, 4]), 'zzz': (3, []), 'a/b': (17, [])} and after is None, f'{got} {after}')
    got, after = partitions(s, ['grow'], limit=2)
    expect(got['grow'] == (0, [0, 1]) and after == ('grow', 2), f'{got} {after}')
    got, after = partitions(s, ['grow'], limit=9, cursor=after)
    expect(got['grow'] == (0, [2, 3, 4]) and after is None, f'{got} {after}')
    expect(partitions(s, ['grow'], cursor=('grow', -1))[0]['grow'][0] == 42, 'a cursor that cannot be')
    # The new partitions are served at once.
    path = w.dir / 'in'
    path.write_text('in the last one\n')
    w.produce('grow', path, '-p', '4', '-X', 'acks=all')
    expect(w.consume('grow', '-p', '4') == 'in the last one\n', 'differs')
    expect(elect(s, 0, [('grow', 0)]) == (0, [('grow', 0, 84)]), 'not needed')
    expect(elect(s, 1, [('grow', 0)]) == (0, [('grow', 0, 84)]), 'has a leader')
    expect(elect(s, 0, [('grow', 9), ('zzz', 0)]) == (0, [('grow', 9, 3), ('zzz', 0, 3)]), 'unknown')
    expect(elect(s, 0, None) == (0, []), 'everything')
    expect(elect(s, 7, None) == (42, []), 'no such election')
    expect(reassign(s, 'grow', 0, None) == 85, 'nothing to cancel')
    expect(reassign(s, 'zzz', 0, [1]) == 3 and reassign(s, 'grow', 9, [1]) == 3, 'unknown')
    expect([reassign(s, 'grow', 0, ids) for ids in ([], [9], [1, 1], list(range(17)))] == [39] * 4, 'brokers')
    expect(reassign(s, 'grow', 0, [1]) == 0 and moving(s) == 0, 'where it is')


def admin_settings(w):
    s = w.connect()
    expect(create(s, 'set') == 0, 'create')
    path = w.dir / 'big'
    path.write_bytes(b'z' * 50000 + b'\n')

    def fits():
        r = w.client('kcat', '-b', BOOT, '-P', '-t', 'set', '-X', 'acks=all', '-l', path, check=False)
        return r.returncode == 0

    expect(fits(), 'before')
    # A topic's setting counts at once.
    expect(alter(s, TOPIC, 'set', ('max.message.bytes', SET, '10000'), validate=True) == 0 and fits(), 'only asked')
    expect(alter(s, TOPIC, 'set', ('max.message.bytes', SET, '10000')) == 0 and not fits(), 'too large now')
    expect(alter(s, TOPIC, 'set', ('max.message.bytes', DELETE, None)) == 0 and fits(), 'as before')
    # So does a setting of all brokers, or of this one, where the topic has none.
    expect(alter(s, BROKER, '', ('message.max.bytes', SET, '20000')) == 0 and not fits(), 'all brokers')
    expect(alter(s, BROKER, '1', ('message.max.bytes', SET, '100000')) == 0 and fits(), 'this broker')
    error, got = describe(s, TOPIC, 'set', 'max.message.bytes')
    expect((error, got['max.message.bytes']) == (0, ('100000', False, 2, [('message.max.bytes', '100000', 2), ('message.max.bytes', '20000', 3),
                                                                         ('message.max.bytes', '1048588', 5)])), got)
    w.kill()
    w.start()
    s = w.connect()
    error, got = describe(s, TOPIC, 'set', 'max.message.bytes')
    expect(got['max.message.bytes'][0] == '100000' and fits(), 'after a crash')
    expect(alter(s, BROKER, '1', ('message.max.bytes', DELETE, None)) == 0 and not fits(), 'gone')
    expect(describe(s, BROKER, '', )[1] == {'message.max.bytes': ('20000', False, 3, [('message.max.bytes', '20000', 3)])}, 'all brokers')
    expect(alter(s, BROKER, '', ('message.max.bytes', DELETE, None)) == 0 and fits(), 'gone')
    expect(alter(s, TOPIC, 'set', ('cleanup.policy', APPEND, 'compact')) == 0, 'append')
    expect(describe(s, TOPIC, 'set', 'cleanup.policy')[1]['cleanup.policy'][0] == 'delete,compact', 'appended')
    expect(alter(s, TOPIC, 'set', ('cleanup.policy', SUBTRACT, 'compact')) == 0, 'subtract')
    error, got = describe(s, BROKER, '1')
    expect(error == 0 and got['log.dirs'][1:3] == (True, 4) and got['log.retention.ms'][1:3] == (False, 5), got)
    for kind, name, want in ((TOPIC, 'zzz', 3), (TOPIC, '..', 17), (BROKER, '2', 42), (BROKER, 'x', 42), (8, '1', 42), (0, '', 42)):
        expect(describe(s, kind, name)[0] == want, f'describe {kind} {name}')
    for kind, name, change, want in (
            (TOPIC, 'zzz', ('retention.ms', SET, '1'), 3), (TOPIC, 'a/b', ('retention.ms', SET, '1'), 17), (TOPIC, 'set', ('no.such', SET, '1'), 40),
            (TOPIC, 'set', ('retention.ms', SET, 'soon'), 40), (TOPIC, 'set', ('retention.ms', SET, None), 42),
            (TOPIC, 'set', ('retention.ms', APPEND, '1'), 40), (TOPIC, 'set', ('retention.ms', 9, '1'), 42),
            (TOPIC, 'set', ('ack.durability', SET, 'memory'), 42), (TOPIC, 'set', ('x' * 300, SET, '1'), 40),
            (BROKER, '', ('num.partitions', SET, '3'), 42), (BROKER, '9', ('log.retention.ms', SET, '3'), 42),
            (BROKER, '01', ('log.retention.ms', SET, '3'), 42), (8, '1', ('x', SET, '3'), 42)):
        expect(alter(s, kind, name, change) == want, f'alter {kind} {name} {change}')
    expect(alter(s, TOPIC, 'set', ('retention.ms', SET, '1'), ('retention.ms', SET, '2')) == 42, 'twice')
    expect(replace(s, 'set', ('retention.ms', '86400000')) == 0, 'replace')
    error, got = describe(s, TOPIC, 'set')
    expect({k for k, v in got.items() if v[2] == 1} == {'retention.ms'}, 'what stays')
    expect(replace(s, 'set') == 0 and replace(s, 'zzz') == 3 and replace(s, 'set', ('retention.ms', 'x')) == 40, 'replace')


def admin_brokers(w):
    s = w.connect()
    expect(create(s, 'held', 2) == 0, 'create')
    path = w.dir / 'in'
    path.write_text('x' * 1000 + '\n')
    w.produce('held', path, '-p', '0', '-X', 'acks=all')
    [(error, directory, topics)] = log_dirs(s)
    expect(error == 0 and directory == str(w.data) and topics['held'][0] > 1000 and topics['held'][1] == 0, topics)
    expect(log_dirs(s, [('held', [1, 7]), ('zzz', [0])])[0][2] == {'held': {1: 0}}, 'some')
    error, leader, epoch, mark, voters = quorum(s, '__cluster_metadata')
    expect((error, leader, len(voters), voters[0][0]) == (0, 1, 1, 1) and mark > 0, f'{error} {leader} {epoch} {mark} {voters}')
    expect(quorum(s, 'held')[0] == 3, 'no such log')
    expect(update_features(s, ('no.such', 1, 1)) != 0 and update_features(s) == 42, 'features')
    expect(update_features(s, ('eligible.leader.replicas.version', 99, 1)) in (95, 96), 'a level that nobody knows')


def admin_hostile(w):
    """Nothing here is answered with more than an error, and another connection is none the worse."""
    huge = 2**31 - 1
    bad = {
        'topics max': (19, 4, i32(huge)), 'topics million': (19, 4, i32(10**6) + b'\0' * 1000),
        'nested max': (19, 4, i32(1) + text('x') + i32(1) + i16(1) + i32(huge)), 'nested nested': (19, 4, i32(1) + text('x') + i32(1) + i16(1) + i32(1) + i32(0) + i32(huge)),
        'configs max': (44, 0, i32(1) + i8(2) + text('x') + i32(huge)), 'null resources': (44, 0, i32(-1) + i8(0)),
        'names': (19, 4, array([topic_body('')] * 1001) + i32(1) + i8(0)), 'partitions': (37, 1, array([text('') + i32(1) + i32(-1)] * 10001) + i32(1) + i8(0)),
        'elections': (43, 1, i8(0) + array([text('t') + array([i32(i) for i in range(10002)])]) + i32(1)),
        'short': (33, 1, i32(1) + i8(2)),
    }
    flexible = {
        'cursor cut': (75, 0, b'\1' + i32(1) + b'\1\5ab'), 'varint': (45, 0, i32(1) + b'\xff' * 6), 'count': (46, 0, i32(1) + b'\xff\xff\xff\xff\x0f'),
        'tags': (55, 0, b'\1' + b'\xff\xff\xff\x7f'),
    }
    quiet = w.connect()
    for name, (key, version, body) in bad.items():
        s = w.connect()
        s.settimeout(10)
        expect(ask(s, key, version, body) is None, f'{name}: it was answered')
    for name, (key, version, body) in flexible.items():
        s = w.connect()
        s.settimeout(10)
        expect(ask(s, key, version, body, flexible=True) is None, f'{name}: it was answered')
    expect(set(create_topics(quiet, *[topic_body('')] * 1000)) == {42}, 'a thousand empty names')
    expect(create(quiet, 'alive') == 0, 'the other connection')


cases = [admin_topics, admin_partitions, admin_settings, admin_brokers, admin_hostile]
