# SPDX-License-Identifier: Apache-2.0
"""A raw socket that sends what no client would, and readers that never read."""
import gzip
import struct
import time

import wire
from cases import case, case_of_each_port, healthy
from world import BOOT, Failure, FULL, expect


def closed(s):
    try:
        return wire.receive(s) is None
    except TimeoutError:
        return False


@case
def hostile_frames_close_the_connection(w):
    header = lambda key, version: struct.pack('>hhi', key, version, 1) + wire.text('x')
    bad = {
        'length 0': struct.pack('>i', 0), 'length -1': struct.pack('>i', -1), 'length max': struct.pack('>i', 2**31 - 1),
        'TLS hello': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'HTTP': b'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
        'unknown api': wire.frame(999, 0, b''), 'unknown version': wire.frame(0, 99, b''), 'negative key': wire.frame(-1, 0, b''),
        'short header': struct.pack('>i', 3) + b'abc', 'empty produce': wire.frame(0, 7, b''),
        'array -2': wire.frame(0, 7, struct.pack('>hhii', -1, 1, 100, -2)),
        'array max': wire.frame(0, 7, struct.pack('>hhii', -1, 1, 100, 2**31 - 1)),
        'metadata million names': wire.frame(3, 1, struct.pack('>i', 10**6)),
        'create million names': wire.frame(19, 2, struct.pack('>i', 10**6)),
        'create max names': wire.frame(19, 2, struct.pack('>i', 2**31 - 1)),
        'string beyond': wire.frame(3, 1, struct.pack('>ih', 1, 30000) + b'x'),
        'tagged flood': wire.frame(18, 3, b'\xff\xff\xff\x7f' + b'\0' * 50),
        'long varint': wire.frame(18, 3, b'\xff\xff\xff\xff\xff\xff\xff'),
    }
    for name, data in bad.items():
        s = w.connect()
        s.sendall(data)
        expect(closed(s), f'{name}: the connection stays open')
        s.close()
        expect(w.alive(), f'{name}: the broker is gone')
    healthy(w)


@case
def every_truncation_of_a_request_is_survived(w):
    full = wire.produce('health', wire.batch([b'a', b'b']))
    payload = full[4:]
    for cut in range(len(payload)):
        s = w.connect()
        s.sendall(struct.pack('>i', cut) + payload[:cut])
        response = None
        try:
            response = wire.receive(s)
        except TimeoutError:
            raise Failure(f'cut at {cut}: neither an answer nor a close')
        expect(response is None, f'cut at {cut}: answered')
        s.close()
    expect(w.alive(), 'the broker is gone')
    healthy(w)


@case
def bad_batches_get_their_error(w):
    w.topic('bad')
    good = wire.batch([b'one', b'two'])
    flipped = bytearray(good)
    flipped[-1] ^= 1
    table = [
        ('crc', bytes(flipped), 2), ('magic 0', wire.batch([b'x'], magic=0), 87), ('magic 1', wire.batch([b'x'], magic=1), 87),
        ('magic 3', wire.batch([b'x'], magic=3), 87), ('count', wire.batch([b'x'], count=5), 87),
        ('count 0', wire.batch([b'x'], count=0), 87), ('last delta', wire.batch([b'x'], last_delta=7), 87),
        ('negative delta', wire.batch([b'x'], last_delta=-2), 87), ('base offset', wire.batch([b'x'], base_offset=5), 87),
        ('control', wire.batch([b'x'], attributes=32), 87), ('transactional', wire.batch([b'x'], attributes=16, pid=1, epoch=0, seq=0), 53),
        ('codec 7', wire.batch([b'x'], attributes=7), 76), ('two batches', good + good, 87), ('nothing', b'', 87),
        ('short', good[:40], 2), ('pid without sequence', wire.batch([b'x'], pid=5, epoch=0, seq=-1), 87),
        ('log append time', wire.batch([b'x'], attributes=8), 32), ('far future', wire.batch([b'x'], ts=2**60), 32),
        ('stray bytes', wire.batch([b'x'], records=wire.record(0, b'x') + b'zz'), 87),
        ('record length', wire.batch([b'x'], records=b'\x7f' + wire.record(0, b'x')[1:]), 87),
        ('header bomb', wire.batch([b'x'], records=b'\x10\0\0\0\x01\x01' + b'\xfe\xff\xff\x7f'), 87),
        ('offset delta', wire.batch([b'x'], records=wire.record(3, b'x')), 87),
        ('gzip that is none', wire.batch([b'x'], attributes=1), 87), ('zstd that is none', wire.batch([b'x'], attributes=4), 87),
        ('gzip, stray bytes', wire.batch([b'x'], attributes=1, records=gzip.compress(wire.record(0, b'x') + b'zz', mtime=0)), 87),
        ('gzip, offset delta', wire.batch([b'x'], attributes=1, records=gzip.compress(wire.record(3, b'x'), mtime=0)), 87),
        ('gzip, too few', wire.batch([b'x', b'y'], attributes=1, records=gzip.compress(wire.record(0, b'x'), mtime=0)), 87),
        ('gzip, a bomb', wire.batch([b'x'], attributes=1, records=gzip.compress(bytes(200 << 20), 9, mtime=0)), 87),
        ('length lies', wire.batch([b'x'], length=20), 2), ('too long', wire.batch([b'x' * 1048600]), 10),
    ]
    s = w.connect()
    for name, data, error in table:
        got = wire.produce_result(wire.ask(s, wire.produce('bad', data)), 'bad')[0]
        expect(got == error, f'{name}: error {got} instead of {error}')
    expect(wire.produce_result(wire.ask(s, wire.produce('bad', good, acks=2)), 'bad')[0] == 21, 'acks=2')
    expect(wire.produce_result(wire.ask(s, wire.produce('bad', good, partition=9)), 'bad')[0] == 3, 'partition')
    expect(wire.produce_result(wire.ask(s, wire.produce('absent', good)), 'absent')[0] == 3, 'topic')
    expect(wire.produce_result(wire.ask(s, wire.produce('bad', good)), 'bad') == (0, 0), 'the good one')
    packed = wire.batch([b'three'], attributes=1, records=gzip.compress(wire.record(0, b'three'), mtime=0))
    expect(wire.produce_result(wire.ask(s, wire.produce('bad', packed)), 'bad') == (0, 2), 'the good compressed one')
    s.sendall(wire.produce('bad', bytes(flipped), acks=0))
    expect(closed(s), 'acks=0 with an error must close')
    expect(w.consume('bad') == 'one\ntwo\nthree\n', 'only the good batches are there')


@case
def api_versions_of_an_unknown_version(w):
    s = w.connect()
    response = wire.ask(s, wire.frame(18, 77, b'\1\2\3'))
    correlation, error, count, key, low, high = struct.unpack_from('>ihihhh', response)
    expect((error, count, key, low) == (35, 1, 18, 0) and high >= 3, response)
    response = wire.ask(s, wire.frame(18, 0, b''))
    expect(struct.unpack_from('>h', response, 4)[0] == 0, 'the connection goes on')


@case
def pipelined_requests_are_answered_in_order(w):
    s = w.connect()
    n = 100000 if FULL else 20000
    pending = b''.join(wire.frame(18, 0, b'', correlation=i) for i in range(n))
    sent = got = 0
    s.setblocking(False)
    import select
    buffer = b''
    until = time.monotonic() + 60
    while got < n and time.monotonic() < until:
        readable, writable, _ = select.select([s], [s] if sent < len(pending) else [], [], 5)
        if writable:
            sent += s.send(pending[sent:sent + 65536])
        if readable:
            buffer += s.recv(1 << 20)
        at = 0
        while len(buffer) - at >= 8:
            size, correlation = struct.unpack_from('>ii', buffer, at)
            if len(buffer) - at < 4 + size:
                break
            expect(correlation == got, f'{correlation} instead of {got}')
            got += 1
            at += 4 + size
        buffer = buffer[at:]
    expect(got == n, f'{got} of {n}')


@case_of_each_port
def connections_that_stop_in_the_middle_of_a_large_request(w):
    """Design 10: none of them may keep a new client from its acks=all answer."""
    big = wire.produce('stalled', wire.batch([b'z' * 900000]))
    held = []
    for i in range(150):
        s = w.connect()
        s.settimeout(0.2)
        try:
            s.sendall(big[:600000])
        except (TimeoutError, ConnectionError):
            pass
        held.append(s)
        if i % 50 == 49:
            healthy(w, 'while-stalled')
    healthy(w, 'while-stalled')
    for s in held:
        s.close()
    expect(w.consume('while-stalled') == 'alive\n' * 4, 'records are missing')


@case_of_each_port
def readers_that_never_read(w):
    path = w.dir / 'in'
    path.write_text('%s\n' % ('r' * 900000) * 40)
    w.produce('unread', path, timeout=60)
    fetch = struct.pack('>iiiib', -1, 500, 1, 50 << 20, 0) + struct.pack('>i', 1) + wire.text('unread')
    fetch += struct.pack('>iiqi', 1, 0, 0, 50 << 20)
    held = []
    for _ in range(20):
        s = w.connect()
        s.sendall(wire.frame(1, 4, fetch))
        held.append(s)
    time.sleep(1)
    healthy(w, 'while-unread')
    expect(len(w.consume('unread', '-c', '40').splitlines()) == 40, 'another reader starves')
    for s in held:
        s.close()


@case
def readers_that_never_read_old_records(w):
    """They hold the buffers of disk reads; another reader of old records must still be served."""
    path = w.dir / 'in'
    path.write_text('%s\n' % ('o' * 900000) * 120)
    w.produce('unread-old', path, timeout=120)
    w.stop()
    w.start()  # nothing is in memory now
    fetch = struct.pack('>iiiib', -1, 500, 1, 50 << 20, 0) + struct.pack('>i', 1) + wire.text('unread-old')
    fetch += struct.pack('>iiqi', 1, 0, 0, 50 << 20)
    held = []
    for _ in range(12):
        s = w.connect()
        s.sendall(wire.frame(1, 4, fetch))
        held.append(s)
    time.sleep(1)
    expect(len(w.consume('unread-old', timeout=60).splitlines()) == 120, 'another reader starves')
    for s in held:
        s.close()


@case
def old_records_are_read_from_the_disk_once(w):
    """What the first reader from the beginning had from the disk, most of it ahead of his fetches, the others have from the cache."""
    path = w.dir / 'in'
    path.write_text('%s\n' % ('c' * 100000) * 100)
    w.produce('cached', path, timeout=60)
    w.stop()
    w.start()  # nothing is in memory now
    before = w.total('tidemark_disk_read_bytes_total')
    expect(len(w.consume('cached').splitlines()) == 100, 'not all came')
    once = w.total('tidemark_disk_read_bytes_total') - before
    expect(10_000_000 <= once <= 12_000_000, f'the first reader had {once} bytes from the disk')
    expect(w.total('tidemark_read_ahead_used_total') >= 3, 'nothing was read ahead of him')
    for _ in range(2):
        expect(len(w.consume('cached').splitlines()) == 100, 'not all came')
    again = w.total('tidemark_disk_read_bytes_total') - before - once
    expect(again <= once / 20, f'the others had {again} bytes from the disk')
    expect(w.total('tidemark_read_cache_hits_total') > 10, 'the cache was of no use')


@case_of_each_port
def a_thousand_idle_connections(w):
    held = [w.connect() for _ in range(1000)]
    healthy(w)
    for s in held:
        s.close()


@case
def idle_connections_are_closed(w):
    w.stop()
    w.settings = {'connections_max_idle_ms': 1500}
    w.start()
    s = w.connect()
    began = time.monotonic()
    expect(wire.ask(s, wire.frame(18, 0, b'')) is not None, 'no answer')
    expect(closed(s) and time.monotonic() - began > 1, 'closed too early or not at all')
    s = w.connect()
    s.sendall(b'\0\0')  # half a size, and then nothing
    expect(closed(s), 'half a request holds its connection')
    w.topic('idle')
    consumer = w.client_start('kcat', '-b', BOOT, '-C', '-t', 'idle', '-o', 'beginning', '-c', '1', '-q')
    time.sleep(4)  # long polls are not idleness
    healthy(w, 'idle')
    out, _ = consumer.communicate(timeout=60)
    expect(out == 'alive\n', out)
    w.stop()
    w.settings = {}
    w.start()


@case
def metadata_of_many_empty_names(w):
    s = w.connect()
    response = wire.ask(s, wire.frame(3, 1, struct.pack('>i', 10000) + wire.text('') * 10000))
    expect(response is not None and response.count(struct.pack('>hh', 17, 0)) >= 10000, 'each gets INVALID_TOPIC_EXCEPTION')
    expect(wire.ask(w.connect(), wire.frame(3, 1, struct.pack('>i', 10001) + wire.text('') * 10001)) is None, 'more than one request may list')
    for name in ('..', '.', 'a' * 250, 'sp ace', 'nul\0', '\xff'):
        response = wire.ask(s, wire.frame(3, 1, struct.pack('>i', 1) + wire.text(name)))
        expect(response is not None and struct.pack('>h', 17) in response, f'{name!r}')
    healthy(w)
