#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unmodified clients over the wire. runner.py --build DIR [--vdev af_xdp|af_packet] [--only NAME] [--list]"""
import argparse
import fcntl
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import admin_raw
import group_tool
import members
import sessions
import wire
from clients import Skip, debian_python, kafka_tools, kafkajs
from world import BOOT, BOOT6, BROKER, BROKER6, CLIENT, PORT, Failure, FULL, ROOT, World, expect, lines, sh, used_below, wait_until

HERE = pathlib.Path(__file__).resolve().parent
CASES = []
OF_EACH_PORT = set()


def case(f):
    """What has nothing to do with the kind of the port: on one kind (af_xdp), on both with TIDE_FULL=1."""
    CASES.append(f)
    return f


def case_of_each_port(f):
    """Bytes in bulk and in odd sizes, starts and ends, loss, links, cores, captures, pools: rings and offloads differ."""
    OF_EACH_PORT.add(f)
    return case(f)


# ---- librdkafka ----------------------------------------------------------------------------------------------------

@case_of_each_port
def kcat_every_acks_and_codec(w):
    sent = lines(2000)
    path = w.dir / 'in'
    path.write_text(sent)
    for acks in ('0', '1', 'all'):
        for codec in ('none', 'gzip', 'snappy', 'lz4', 'zstd'):
            topic = f'matrix-{acks}-{codec}'
            w.produce(topic, path, '-X', f'acks={acks}', '-z', codec)
            until = time.monotonic() + 30
            while (got := w.consume(topic)) != sent and acks == '0' and time.monotonic() < until:
                time.sleep(0.1)
            expect(got == sent, f'{topic}: {len(got)} of {len(sent)} bytes came back')


@case
def kcat_keys_headers_nulls_and_timestamps(w):
    path = w.dir / 'in'
    path.write_text('k1:v1\nk2:\n:v3\nk4:v4\n')
    before = int(time.time() * 1000)
    w.produce('shapes', path, '-K:', '-Z', '-H', 'a=1', '-H', 'b=two')
    got = w.consume('shapes', '-f', '%k|%K|%S|%h|%T\n').splitlines()
    fields = [g.split('|') for g in got]
    expect([f[0] for f in fields] == ['k1', 'k2', '', 'k4'], got)
    expect([f[1] for f in fields] == ['2', '2', '-1', '2'], got)
    expect([f[2] for f in fields] == ['2', '-1', '2', '2'], got)
    expect(all(f[3] == 'a=1,b=two' for f in fields), got)
    expect(all(before - 1000 <= int(f[4]) <= before + 60000 for f in fields), got)
    found = w.client('kcat', '-b', BOOT, '-Q', '-t', f'shapes:0:{before - 5000}').stdout
    expect(found.strip().endswith('offset 0'), found)


@case_of_each_port
def kcat_sizes_from_one_byte_to_a_megabyte(w):
    sizes = [1, 2, 100, 1447, 1448, 1449, 4095, 4096, 65535, 65536, 262144, 500000, 1000000]
    for codec in ('none', 'lz4'):
        paths = []
        for i, n in enumerate(sizes):
            p = w.dir / f'size{i}'
            p.write_bytes(os.urandom(n // 2).hex().encode().ljust(n, b'x')[:n])
            paths.append(p)
        w.client('kcat', '-b', BOOT, '-P', '-t', f'sizes-{codec}', '-z', codec, '-X', 'acks=all', '-X', 'message.max.bytes=1040000', *paths)
        out = subprocess.run(['ip', 'netns', 'exec', w.ns_client, 'kcat', '-b', BOOT, '-C', '-t', f'sizes-{codec}', '-o', 'beginning',
                              '-e', '-q', '-f', '%S %s\n'], capture_output=True, timeout=60).stdout
        want = b''.join(b'%d %s\n' % (n, p.read_bytes()) for n, p in zip(sizes, paths))
        expect(out == want, f'{codec}: {len(out)} bytes instead of {len(want)}')


@case_of_each_port
def packets_as_large_as_the_port_takes(w):
    """Jumbo frames on the cable: 3,498 bytes with AF_XDP, 9,000 with AF_PACKET. Frames of both directions are larger than Ethernet's."""
    mtu, ends = 3498 if w.vdev == 'af_xdp' else 9000, ((w.ns_broker, w.dev_broker), (w.ns_client, w.dev_client))
    path = w.dir / 'in'
    path.write_text(''.join(f'{i} {os.urandom(20000).hex()}\n' for i in range(200)))
    w.stop()
    try:
        for ns, dev in ends:
            sh('ip', '-n', ns, 'link', 'set', dev, 'mtu', mtu)
        w.start(data_mtu=mtu, dpdk_memory_mb=1024)  # each frame has its room
        before = w.metrics()
        w.produce('jumbo', path, '-X', 'enable.idempotence=true')
        expect(w.consume('jumbo') == path.read_text(), 'what is read is not what was written')
        now = w.metrics()
        size = {way: (w.total(f'tidemark_tcp_bytes_{way}_total', now) - w.total(f'tidemark_tcp_bytes_{way}_total', before))
                / (w.total(f'tidemark_tcp_segments_{way}_total', now) - w.total(f'tidemark_tcp_segments_{way}_total', before)) for way in ('in', 'out')}
        expect(min(size.values()) > 1500 and f'mtu {mtu}' in w.log.read_text(), f'segments of {size} bytes')
    finally:
        w.stop()
        for ns, dev in ends:
            sh('ip', '-n', ns, 'link', 'set', dev, 'mtu', 1500)
        w.settings = {}
        w.start()


@case
def kcat_too_large_a_message_is_refused(w):
    p = w.dir / 'huge'
    p.write_bytes(b'y' * 1500000)
    r = w.client('kcat', '-b', BOOT, '-P', '-t', 'toolarge', '-X', 'message.max.bytes=3000000', p, check=False)
    expect(r.returncode != 0 and 'too large' in (r.stderr + r.stdout).lower(), r.stderr[-300:])


@case_of_each_port
def hundred_thousand_in_order_for_two_consumers(w):
    sent = lines(100000)
    path = w.dir / 'in'
    path.write_text(sent)
    w.produce('ordered', path, '-X', 'enable.idempotence=true')
    consumers = [w.client_start('kcat', '-b', BOOT, '-C', '-t', 'ordered', '-o', 'beginning', '-e', '-q') for _ in range(2)]
    for c in consumers:
        out, err = c.communicate(timeout=60)
        expect(out == sent, f'{len(out)} of {len(sent)} bytes; {err[-300:]}')


@case_of_each_port
def a_million_of_a_hundred_bytes(w):
    path = w.dir / 'in'
    with open(path, 'w') as f:
        for i in range(1000000):
            f.write('%099d\n' % i)
    w.produce('million', path, '-X', 'acks=all', timeout=300)
    out = w.dir / 'out'
    with open(out, 'w') as f:
        subprocess.run(['ip', 'netns', 'exec', w.ns_client, 'kcat', '-b', BOOT, '-C', '-t', 'million', '-o', 'beginning', '-e', '-q'],
                       stdout=f, stderr=subprocess.DEVNULL, timeout=300, check=True)
    expect(subprocess.run(['cmp', '-s', path, out]).returncode == 0, 'what came back differs')


@case
def several_partitions_and_a_waiting_consumer(w):
    w.topic('parts', partitions=6)
    consumer = w.client_start('kcat', '-b', BOOT, '-C', '-t', 'parts', '-o', 'beginning', '-q', '-u', '-c', '6000')
    time.sleep(0.5)
    path = w.dir / 'in'
    sent = lines(6000)
    path.write_text(sent)
    w.produce('parts', path)
    out, _ = consumer.communicate(timeout=60)
    expect(sorted(out.splitlines()) == sorted(sent.splitlines()), f'{len(out.splitlines())} of 6000')


@case_of_each_port
def restart_in_between_loses_nothing(w):
    path = w.dir / 'in'
    want = ''
    for i, end in enumerate((w.stop, w.kill, w.stop)):
        part = lines(5000, f'round{i}')
        path.write_text(part)
        w.produce('restarted', path, '-X', 'acks=all')
        want += part
        end()
        w.start()
        expect(w.consume('restarted') == want, f'after restart {i} something is missing')


@case_of_each_port
def a_client_rides_through_a_restart(w):
    producer = w.client_start('sh', '-c', f'for i in $(seq 1 60); do echo $i; sleep 0.05; done | kcat -b {BOOT} -P -t ride -E -X acks=all '
                              '-X enable.idempotence=true')
    time.sleep(1)
    w.kill()
    w.start()
    _, err = producer.communicate(timeout=60)
    expect(producer.returncode == 0, err[-500:])
    expect(w.consume('ride').split() == [str(i) for i in range(1, 61)], 'lost, doubled or out of order')


def written_down(w):
    """The peers' ports of the file `connections`."""
    data = (w.data / 'connections').read_bytes()
    return {struct.unpack_from('<H', data, block + row * 40 + 34)[0] for block in range(4096, len(data), 4096) for row in range(102)} - {0}


def unacknowledged(s):
    return struct.unpack('i', fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]


@case_of_each_port
def who_waits_for_a_broker_that_ended_hears_of_it(w):
    """A client that has nothing to send never meets the reset of a stranger; the next process rouses it, however young it was."""
    w.topic('awaited')
    for settings, end in (({}, w.kill), ({}, w.stop), ({'data_core_count': 2, 'dpdk_memory_mb': 1400}, w.kill), ({}, w.kill)):
        waiting, ports = [], set()
        for _ in range(8):
            s = w.connect()
            waiting.append(s)
            ports.add(s.getsockname()[1])
            s.sendall(wire.fetch('awaited', 0, wait=60000, at_least=1 << 20))
            wait_until(60, lambda: unacknowledged(s) == 0, 'the request is not acknowledged', every=0.0005)
        wait_until(5, lambda: ports <= written_down(w), 'who is there is not written down')  # the kernel's worker may be a little behind the frame
        end()
        w.settings = settings
        w.start()
        for s in waiting:
            try:
                expect(s.recv(1) == b'', 'bytes from nowhere')
            except ConnectionResetError:
                pass
            except TimeoutError:
                raise Failure('it still waits') from None
            finally:
                s.close()
        wait_until(60, lambda: not ports & written_down(w), 'who was reset stays written down')
    # files that lie, with addresses from nowhere, or are of another form
    for lie in (b'TCON' + struct.pack('<I', 2) + bytes(4088) + os.urandom(40960), b'TCON' + struct.pack('<III', 1, 0xffffffff, 0) + os.urandom(4000), b''):
        w.stop()
        (w.data / 'connections').write_bytes(lie)
        w.start()
        w.connect().close()


@case
def who_stops_sends_its_clients_away_first(w):
    """As Kafka does: a client that heard of every partition that is closed would look for what nobody else has (kafkajs gives up then)."""
    s, errors = w.connect(), []

    def error():
        try:
            answer = wire.ask(s, wire.frame(10, 0, wire.text('leaving')))
        except ConnectionError:
            answer = None
        return struct.unpack_from('>h', answer, 4)[0] if answer is not None else None

    wait_until(60, lambda: error() == 0, 'no coordinator')
    end = threading.Thread(target=w.stop)
    end.start()
    try:
        while (e := error()) is not None:
            errors.append(e)
    finally:
        s.close()
        end.join()
        w.start()
    expect(set(errors) <= {0}, f'while it stops: errors {sorted(set(errors))} in {len(errors)} answers, {len(errors) - errors.count(0)} of them bad')


@case
def topics_are_created_described_deleted_and_made_again(w):
    tool = w.tools / 'control/tool/tidemark'
    path = w.dir / 'in'
    for i in range(3):
        w.topic('again', partitions=2, max_message_bytes=2000000)
        r = w.client(tool, 'topic', 'create', '--bootstrap', BOOT, '--topic', 'again', check=False)
        expect(r.returncode == 1 and 'TOPIC_ALREADY_EXISTS' in r.stderr, r.stderr)
        path.write_text(f'generation {i}\n')
        w.produce('again', path, '-p', '1')
        expect(w.consume('again') == f'generation {i}\n', 'an old record came back')
        expect('PartitionCount: 2' in w.client(tool, 'topic', 'describe', '--bootstrap', BOOT, '--topic', 'again').stdout, 'describe')
        w.client(tool, 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'again')
    for args, error in ((('--topic', 'a/b'), 'TOPIC_EXCEPTION'), (('--topic', 'x', '--partitions', '0'), 'INVALID_PARTITIONS'),
                        (('--topic', 'x', '--replication-factor', '3'), 'INVALID_REPLICATION'),
                        (('--topic', 'x', '--config', 'no.such=1'), 'INVALID_CONFIG'),
                        (('--topic', 'x', '--config', 'retention.ms=soon'), 'INVALID_CONFIG')):
        r = w.client(tool, 'topic', 'create', '--bootstrap', BOOT, *args, check=False)
        expect(r.returncode != 0 and (error in r.stderr or 'partitions' in r.stderr.lower()), f'{args}: {r.stderr}')


@case
def memory_durability_and_min_insync(w):
    w.topic('fast', ack_durability='memory', min_insync_replicas='2')  # one replica: min(2, 1) is met
    path = w.dir / 'in'
    path.write_text(lines(3000))
    w.produce('fast', path, '-X', 'acks=all')
    expect(w.consume('fast') == lines(3000), 'differs')


@case
def log_append_time(w):
    w.topic('stamped', message_timestamp_type='LogAppendTime')
    path = w.dir / 'in'
    path.write_text(lines(100))
    before = int(time.time() * 1000)
    w.produce('stamped', path)
    times = w.consume('stamped', '-f', '%T\n').split()
    expect(len(times) == 100 and all(before - 2000 <= int(t) <= before + 60000 for t in times), times[:3])


@case
def segments_roll_and_dump(w):
    w.topic('rolling', segment_bytes='1048576')
    path = w.dir / 'in'
    sent = ''.join('%0999d\n' % i for i in range(6000))
    path.write_text(sent)
    w.produce('rolling', path, '-X', 'acks=all', '-X', 'batch.size=100000')
    expect(w.consume('rolling') == sent, 'differs')
    w.stop()
    files = sorted((w.data / 'rolling-0').glob('*.log'))
    expect(len(files) >= 6, f'{len(files)} segments')
    r = sh(w.tools / 'control/tool/tidemark', 'log', 'verify', *files)
    expect(r.stdout.count('whole') == len(files), r.stdout)
    r = sh(w.tools / 'control/tool/tidemark', 'log', 'dump', '--records', files[0])
    expect('baseOffset: 0 ' in r.stdout and 'payload: ' in r.stdout, r.stdout[:300])
    r = sh(w.tools / 'control/tool/tidemark', 'log', 'verify', w.data / 'rolling-0')
    for name in ('.log: ', '.index: whole', '.timeindex: whole', '.snapshot: whole', 'leader-epoch-checkpoint: whole', 'partition.metadata: whole'):
        expect(name in r.stdout, f'{name} is missing: {r.stdout}')
    # A flipped bit anywhere in a segment, an index or a snapshot is seen.
    copy = w.dir / 'rotten'
    for pattern in ('*.log', '*.index', '*.snapshot'):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(w.data / 'rolling-0', copy)
        victim = sorted(copy.glob(pattern))[0]
        rotten = bytearray(victim.read_bytes())
        rotten[len(rotten) // 2] ^= 4
        victim.write_bytes(rotten)
        r = subprocess.run([w.tools / 'control/tool/tidemark', 'log', 'verify', copy], capture_output=True, text=True)
        expect(r.returncode == 1 and victim.name in r.stderr, f'{victim.name}: {r.returncode} {r.stderr}')
    w.start()
    expect(w.consume('rolling') == sent, 'differs after the restart')
    w.produce('squeezed', path, '-z', 'zstd', '-X', 'acks=all')
    r = sh(w.tools / 'control/tool/tidemark', 'log', 'dump', '--records', w.data / 'squeezed-0') # of a broker that runs
    expect(r.stdout.count('| offset: ') == 6000 and 'compresscodec: zstd' in r.stdout, r.stdout[:300])


# ---- other clients --------------------------------------------------------------------------------------------------

@case
def kafka_python_defaults(w):
    w.client(debian_python(), HERE / 'kafka_python_client.py', BOOT, 'kp-default', 1000, 'none', '1', 'default')


@case
def kafka_python_every_acks(w):
    for acks in ('0', '1', 'all'):
        w.client(debian_python(), HERE / 'kafka_python_client.py', BOOT, f'kp-acks-{acks}', 500, 'gzip', acks, 'explicit')


@case_of_each_port
def kafka_python_sizes(w):
    w.client(debian_python(), HERE / 'kafka_python_client.py', BOOT, 'kp-sizes', 40, 'none', 'all', 'sizes')


@case
def kafkajs_produces(w):
    where = kafkajs()
    for idempotent in ('false', 'true'):
        topic = f'js-{idempotent}'
        w.client('node', HERE / 'kafkajs_client.js', where, BOOT, topic, 5000, idempotent)
        expect(w.consume(topic) == ''.join(f'kafkajs {i}\n' for i in range(5000)), topic)


# ---- admin clients ----------------------------------------------------------------------------------------------------

@case
def kafka_python_admin(w):
    w.client(debian_python(), HERE / 'kafka_python_admin.py', BOOT)


@case
def kafkajs_admin(w):
    w.client('node', HERE / 'kafkajs_admin.js', kafkajs(), BOOT)


@case
def the_tool_alters_topics_and_settings(w):
    tool = w.tools / 'control/tool/tidemark'

    def run(*args, good=True):
        r = w.client(tool, *args[:2], '--bootstrap', BOOT, *args[2:], check=False)
        expect((r.returncode == 0) == good, f'{args}: {r.returncode} {r.stdout} {r.stderr}')
        return r.stdout + r.stderr

    w.topic('tooled', partitions=2, retention_ms='5000')
    out = run('topic', 'describe', '--topic', 'tooled')
    expect('PartitionCount: 2\tReplicationFactor: 1' in out and '\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\n' in out, out)
    run('topic', 'alter', '--topic', 'tooled', '--partitions', '3')
    expect('INVALID_PARTITIONS' in run('topic', 'alter', '--topic', 'tooled', '--partitions', '3', good=False), 'no increase')
    expect('PartitionCount: 3' in run('topic', 'describe', '--topic', 'tooled'), 'altered')
    expect(run('config', 'describe', '--topic', 'tooled') == 'retention.ms=5000\t(topic)\n', 'one setting')
    run('config', 'alter', '--topic', 'tooled', '--set', 'segment.ms=7000', '--set', 'max.message.bytes=4000')
    expect(sorted(run('config', 'describe', '--topic', 'tooled').splitlines()) ==
           ['max.message.bytes=4000\t(topic)', 'retention.ms=5000\t(topic)', 'segment.ms=7000\t(topic)'], 'what was set stays')
    run('config', 'alter', '--topic', 'tooled', '--delete', 'retention.ms', '--delete', 'segment.ms', '--set', 'max.message.bytes=5000')
    expect(run('config', 'describe', '--topic', 'tooled') == 'max.message.bytes=5000\t(topic)\n', 'deleted')
    run('config', 'alter', '--broker', '1', '--set', 'log.retention.ms=99000')
    expect('retention.ms=99000\t(broker)' in run('config', 'describe', '--topic', 'tooled'), 'a broker\'s')
    out = run('config', 'describe', '--broker', '1', '--all')
    expect('log.retention.ms=99000\t(broker)' in out and 'num.partitions=1\t(default, read at the start)' in out and
           f'log.dirs={w.data}\t(file, read at the start)' in out, out)
    run('config', 'alter', '--broker', '1', '--delete', 'log.retention.ms')
    expect('INVALID_CONFIG' in run('config', 'alter', '--topic', 'tooled', '--set', 'no.such=1', good=False), 'unknown')
    expect('INVALID_REQUEST' in run('config', 'alter', '--broker', '1', '--set', 'num.partitions=2', good=False), 'read at the start')
    expect('UNKNOWN_TOPIC' in run('config', 'describe', '--topic', 'zzz', good=False), 'unknown')
    for args in (('config', 'alter', '--topic', 'tooled'), ('config', 'describe'), ('config', 'describe', '--topic', 'a', '--broker', '1'),
                 ('config', 'alter', '--topic', 'tooled', '--set', 'x'), ('topic', 'alter', '--topic', 'tooled')):
        expect(w.client(tool, *args[:2], '--bootstrap', BOOT, *args[2:], check=False).returncode == 2, args)


for raw_case in [*admin_raw.cases, *sessions.cases, *group_tool.cases]:
    case(raw_case)


# ---- idempotence -----------------------------------------------------------------------------------------------------

@case
def a_retried_batch_is_answered_with_its_first_offset(w):
    w.topic('dup')
    s = w.connect()
    batches = [wire.batch([b'%d' % i], pid=777, epoch=0, seq=i) for i in range(6)]
    for i, b in enumerate(batches):
        expect(wire.produce_result(wire.ask(s, wire.produce('dup', b)), 'dup') == (0, i), f'batch {i}')
    for i in range(1, 6):  # the window of five
        expect(wire.produce_result(wire.ask(s, wire.produce('dup', batches[i])), 'dup') == (0, i), f'retry of batch {i}')
    time.sleep(1.1)  # in the first second of an epoch a gap is told as a refusal that will pass
    expect(wire.produce_result(wire.ask(s, wire.produce('dup', batches[0])), 'dup')[0] == 45, 'older than the window')
    expect(wire.produce_result(wire.ask(s, wire.produce('dup', wire.batch([b'x'], pid=777, epoch=0, seq=9))), 'dup')[0] == 45, 'a gap')
    w.kill()
    w.start()
    s = w.connect()
    for i in range(2, 6):
        expect(wire.produce_result(wire.ask(s, wire.produce('dup', batches[i])), 'dup') == (0, i), f'retry of batch {i} after a crash')
    expect(wire.produce_result(wire.ask(s, wire.produce('dup', wire.batch([b'n'], pid=777, epoch=1, seq=0))), 'dup') == (0, 6), 'a new epoch')
    expect(wire.produce_result(wire.ask(s, wire.produce('dup', wire.batch([b'o'], pid=777, epoch=0, seq=6))), 'dup')[0] == 47, 'the old epoch')
    expect(len(w.consume('dup').split()) == 7, 'duplicates in the log')


# ---- hostile input -----------------------------------------------------------------------------------------------------

def closed(s):
    try:
        return wire.receive(s) is None
    except TimeoutError:
        return False


def healthy(w, topic='health'):
    path = w.dir / 'health'
    path.write_text('alive\n')
    w.produce(topic, path, '-X', 'acks=all', timeout=60)


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


# ---- TCP against the kernel's ------------------------------------------------------------------------------------------------

@case_of_each_port
def a_cable_that_loses(w):
    path = w.dir / 'in'
    sent = lines(200000 if FULL else 40000)
    path.write_text(sent)
    try:
        for percent in (0.1, 1, 5, 10) if FULL else (1, 10):
            topic = f'lossy-{percent}'
            w.lossy(0)
            w.topic(topic)
            before = w.metrics()
            w.lossy(percent)
            w.produce(topic, path, '-X', 'acks=all', '-X', 'enable.idempotence=true', timeout=300)
            got = w.consume(topic, timeout=300)
            expect(got == sent, f'{percent} %: {len(got)} of {len(sent)} bytes')
            again = w.total('tidemark_tcp_retransmits_total') - w.total('tidemark_tcp_retransmits_total', before)
            expect(again > 0 or percent < 5, f'{percent} % were lost and nothing was sent again')  # a few hundred frames may all be spared by less
    finally:
        w.lossy(0)
    healthy(w)


def listed(w, s):
    """What the broker says of the connection behind a socket."""
    out = sh('ip', 'netns', 'exec', w.ns_broker, w.tools / 'control/tool/tidemark', 'conns').stdout.splitlines()
    rows = [dict(zip(out[0].split(), r.split())) for r in out if '%s:%d' % s.getsockname() in r]
    expect(len(rows) == 1, '\n'.join(out))
    return rows[0]


@case_of_each_port
def nothing_is_sent_again_for_a_peer_that_delays_its_acks(w):
    """Requests 100 ms apart: the kernel keeps each ACK back for 40 ms. Who takes it for a loss does so at once and each time; a machine that
    stood still for longer than a timeout spoils one try."""
    count = 1000 if FULL else 80
    request = wire.frame(18, 0, b'')
    for _ in range(3):
        s = w.connect()
        for _ in range(count):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            expect(wire.ask(s, request) is not None, 'no answer')
            time.sleep(0.1)
        row = listed(w, s)
        # struct tcp_info: tcpi_total_retrans
        kernel = struct.unpack_from('=I', s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]
        s.close()
        expect(float(row['rto_ms']) > 100, f'the timeout must leave room for ACKs that are kept back: {row}')
        if row['resent'] == '0' and kernel == 0:
            return
    raise Failure(f'the kernel sent {kernel} again, the broker what it says: {row}')


@case
def connections_are_listed(w):
    s = w.connect()
    expect(wire.ask(s, wire.frame(18, 0, b'')) is not None, 'no answer')
    row = listed(w, s)
    expect(row['state'] == 'ESTABLISHED' and 'sack' in row['options'] and int(row['bytes_in']) > 0, row)
    r = sh('ip', 'netns', 'exec', w.ns_broker, w.tools / 'control/tool/tidemark', 'conns', '--control', '127.0.0.1:1', check=False)
    expect(r.returncode == 1 and 'tidemark: http://127.0.0.1:1/conns' in r.stderr, r.stderr)


@case_of_each_port
def a_flood_of_syns(w):
    """Strangers' SYNs as fast as one sender can; the client's records go on, and new clients come in."""
    healthy(w)
    resident = w.resident()
    before = w.metrics()
    hardware = w.hardware_address()
    seconds = 8 if FULL else 3

    def flood():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind((w.dev_client, 0))
        until, sent = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            for _ in range(64):
                sent += 1
                link.send(wire.syn(hardware, f'10.78.{1 + sent % 250}.{sent // 250 % 250}', BROKER, 1024 + sent % 60000, PORT, sent))
        link.close()
        return sent

    sent = []
    t = threading.Thread(target=lambda: sent.append(w.inside(flood)))
    t.start()
    time.sleep(0.3)
    healthy(w, 'flood-health')
    path = w.dir / 'in'
    path.write_text(lines(20000))
    w.produce('flood', path, '-X', 'acks=all')
    t.join()
    after = w.metrics()
    told = lambda name: w.total(f'tidemark_{name}_total', after) - w.total(f'tidemark_{name}_total', before)
    expect(told('tcp_syn_cookies_sent') > 0, f'{sent} SYNs and no cookie')
    expect(told('mbuf_empty') == 0 and told('tcp_no_memory') == 0, 'a pool ran out')
    expect(w.resident() < resident + 32 * 1024, 'memory grew')
    healthy(w)


# ---- IPv6 ------------------------------------------------------------------------------------------------------------------

@case_of_each_port
def ipv6(w):
    """Beside IPv4: echo, neighbour discovery, clients over an IPv6 listener, and the same records by either family."""
    w.stop()
    w.client_ipv6()
    w.settings = {'data_address6': f'{BROKER6}/64', 'listeners': f'PLAINTEXT://{BOOT},SIX://{BOOT6}',
                  'listener_security_protocol_map': 'PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT'}
    w.start()
    for address, size in ((BROKER6, 56), (BROKER6, 1452), (f'{w.broker_link_local()}%{w.dev_client}', 56), (BROKER, 56)):
        w.client(sys.executable, HERE / 'ping.py', address, 3, size)
    path = w.dir / 'in'
    sent = lines(20000)
    path.write_text(sent)
    w.client('kcat', '-b', BOOT6, '-P', '-t', 'six', '-l', path, '-X', 'acks=all', '-X', 'enable.idempotence=true')
    got = w.client('kcat', '-b', BOOT6, '-C', '-t', 'six', '-o', 'beginning', '-e', '-q').stdout
    expect(got == sent, f'{len(got)} of {len(sent)} bytes came back by IPv6')
    expect(w.consume('six') == sent, 'by IPv4 they are others')
    listed = w.client('kcat', '-b', BOOT6, '-L').stdout
    expect(f'{BROKER6}:{PORT}' in listed.replace('[', '').replace(']', '') and BROKER not in listed, listed)
    expect(BROKER6 not in w.client('kcat', '-b', BOOT, '-L').stdout, 'a client of the IPv4 listener is told an IPv6 address')
    r = w.client(w.tools / 'control/tool/tidemark', 'topic', 'describe', '--bootstrap', BOOT6, '--topic', 'six')
    expect('PartitionCount: 1' in r.stdout, r.stdout)
    big = w.dir / 'big'
    big.write_bytes(b'm' * 1000000)
    w.client('kcat', '-b', BOOT6, '-P', '-t', 'six-big', '-X', 'message.max.bytes=1040000', *[big] * 10)
    got = w.client('kcat', '-b', BOOT6, '-C', '-t', 'six-big', '-o', 'beginning', '-e', '-q', '-f', '%S\n').stdout
    expect(got == '1000000\n' * 10, got[:200])
    # Who wants the broker's address finds out that it is taken (RFC 4862 5.4).
    sh('ip', '-n', w.ns_client, '-6', 'addr', 'add', f'{BROKER6}/64', 'dev', w.dev_client)
    try:
        until = time.monotonic() + 15
        while 'dadfailed' not in (seen := sh('ip', '-n', w.ns_client, '-6', 'addr', 'show', 'dev', w.dev_client).stdout) and time.monotonic() < until:
            time.sleep(0.2)
        expect('dadfailed' in seen, 'the broker did not defend its address')
    finally:
        sh('ip', '-n', w.ns_client, '-6', 'addr', 'del', f'{BROKER6}/64', 'dev', w.dev_client)
    m = w.metrics()
    expect(w.total('tidemark_nd_in_total', m) > 0 and w.total('tidemark_icmp_echo_total', m) >= 8, 'counters')
    for name in ('rx_csum_bad', 'rx_malformed', 'rx_fragments', 'neighbour_full', 'nd_conflicts', 'heap_allocations'):
        expect(w.total(f'tidemark_{name}_total', m) == 0, f'{name}: {w.total(f"tidemark_{name}_total", m)}')
    w.stop()
    w.settings = {}
    w.start()


@case_of_each_port
def ipv6_through_a_router_with_a_narrow_link(w):
    """The client's namespace routes to a third one over a link whose near end carries 1300 bytes: segments of the broker do
    not fit, "packet too big" says so, and they get smaller."""
    w.stop()
    w.client_ipv6()
    w.settings = {'data_address6': f'{BROKER6}/64', 'data_gateway6': w.client_link_local(), 'listeners': f'PLAINTEXT://{BOOT},SIX://{BOOT6}',
                  'listener_security_protocol_map': 'PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT', 'data_core_count': 2, 'dpdk_memory_mb': 1400}
    w.start()
    path = w.dir / 'in'
    sent = lines(100000)
    path.write_text(sent)
    w.client('kcat', '-b', BOOT6, '-P', '-t', 'narrow', '-l', path)
    before = w.metrics()
    with w.far_ipv6(1300) as far:
        for _ in range(4):  # connections of both cores, and the errors come to one of them
            got = sh('ip', 'netns', 'exec', far, 'kcat', '-b', BOOT6, '-C', '-t', 'narrow', '-o', 'beginning', '-e', '-q', timeout=60).stdout
            expect(got == sent, f'{len(got)} of {len(sent)} bytes came through the router')
        sh('ip', 'netns', 'exec', far, 'kcat', '-b', BOOT6, '-P', '-t', 'narrow-back', '-l', path, '-X', 'acks=all', timeout=60)
    expect(w.consume('narrow-back') == sent, 'what came from beyond the router differs')
    after = w.metrics()
    for name in ('icmp_errors', 'tcp_mss_reduced'):
        told = w.total(f'tidemark_{name}_total', after) - w.total(f'tidemark_{name}_total', before)
        expect(told >= 4, f'{name}: {told}')
    w.stop()
    w.settings = {}
    w.start()


@case
def ipv6_with_kafka_python_and_two_cores(w):
    w.stop()
    w.client_ipv6()
    w.settings = {'data_address6': f'{BROKER6}/64', 'listeners': f'PLAINTEXT://{BOOT},SIX://{BOOT6},FOUR://{BROKER}:9094',
                  'listener_security_protocol_map': 'PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT,FOUR:PLAINTEXT', 'data_core_count': 2, 'dpdk_memory_mb': 1400}
    w.start()
    expect(w.client('kcat', '-b', f'{BROKER}:9094', '-L', '-m', 30).stdout.count(f'at {BROKER}:9094') == 1, 'IPv4 on 9094')
    expect(w.client('kcat', '-b', f'[{BROKER6}]:9094', '-L', '-m', 3, check=False).returncode != 0, 'a listener of IPv4 serves IPv6')
    w.client(debian_python(), HERE / 'kafka_python_client.py', BOOT6, 'kp-six', 1000, 'gzip', 'all', 'explicit')
    path = w.dir / 'in'
    sent = lines(5000)
    path.write_text(sent)
    for i in range(6):  # connections of both cores
        w.client('kcat', '-b', BOOT6, '-P', '-t', f'six-{i}', '-l', path, '-X', 'acks=all')
        expect(w.client('kcat', '-b', BOOT6, '-C', '-t', f'six-{i}', '-o', 'beginning', '-e', '-q').stdout == sent, f'six-{i} differs')
    expect(w.total('tidemark_rx_csum_bad_total') == 0, 'sums')
    w.stop()
    w.settings = {}
    w.start()


# ---- starts that must fail --------------------------------------------------------------------------------------------------

@case_of_each_port
def bad_starts_are_refused_with_a_sentence(w):
    daemon = w.build / 'control/daemon/tidemarkd'

    def refused(word, config):
        r = sh('ip', 'netns', 'exec', w.ns_broker, daemon, '--config', config, check=False, timeout=60)
        expect(r.returncode not in (0, None) and r.returncode > 0, f'{word}: status {r.returncode}')
        expect(word in r.stderr, f'{word}: {r.stderr[-400:]}')

    refused('another broker runs on', w.config())
    refused('cannot be read', w.dir / 'absent.conf')
    for line, word in (('no.such.setting=1', 'no setting'), ('listenrs=x', 'did you mean listeners'), ('num.partitions=many', 'no whole number'),
                       ('num.partitions=0', 'out of range'), ('just words', 'broker.conf:'), ('node.id=2\nnode.id=2', 'given twice')):
        path = w.config()
        path.write_text(path.read_text() + line + '\n')
        refused(word, path)
    refused('node.id', w.config(log_dirs=w.dir / 'elsewhere', node_id='-5'))
    refused('PLAINTEXT', w.config(listeners='SSL://10.78.0.1:9092'))
    w.stop()
    refused('dpdk.memory.mb', w.config(dpdk_memory_mb=300))
    refused('belongs to node.id', w.config(node_id=7))
    refused('does not exist', w.config(log_dirs='/proc/nowhere/data'))
    fresh = w.dir / 'fresh'
    refused('nosuch0', w.config(data_ports='vdev:net_af_xdp0,iface=nosuch0', log_dirs=fresh))
    w.start()
    healthy(w)


def port_metric(w, name, port):
    return w.metrics().get(f'tidemark_port_{name}{{port="{port}"}}')


def broker_neighbour(w):
    """The hardware address under which the client knows the broker."""
    found = re.search(r'lladdr ([0-9a-f:]+)', sh('ip', '-n', w.ns_client, 'neigh', 'show', BROKER).stdout)
    return found.group(1) if found else None


@case_of_each_port
def a_second_port_takes_over(w):
    """Its link goes: the address moves to the other port with an announcement, and connections that were open go on."""
    w.stop()
    with w.second_port() as (ports, ends):
        w.settings = {'data_ports': ports, 'dpdk_memory_mb': 1400}
        w.start()
        w.topic('moves')
        load = w.client_start('kcat', '-b', BOOT, '-P', '-t', 'moves', '-X', 'acks=all', '-X', 'enable.idempotence=true', stdin=subprocess.PIPE)
        sent, known = 0, set()

        def write(n):
            nonlocal sent
            load.stdin.write(''.join(f'{i}\n' for i in range(sent, sent + n)))
            load.stdin.flush()
            sent += n

        write(2000)
        wait_until(60, lambda: w.total('tidemark_produce_records_total') > 0, 'nothing arrives')
        known.add(broker_neighbour(w))
        for went, stays in ((0, 1), (1, 0)):
            expect(port_metric(w, 'active', went) == 1, f'port {went} is not the active one')
            sh('ip', '-n', w.ns_client, 'link', 'set', ends[went], 'down')
            write(2000)
            wait_until(60, lambda: port_metric(w, 'active', stays) == 1, f'port {stays} does not take over')  # pylint: disable=cell-var-from-loop
            write(2000)
            w.produce('moves_too', '/etc/hostname', '-X', 'acks=all')
            known.add(broker_neighbour(w))
            sh('ip', '-n', w.ns_client, 'link', 'set', ends[went], 'up')
            wait_until(60, lambda: w.metrics()[f'tidemark_link_up{{port="{went}"}}'] == 1, 'the link does not come up')  # pylint: disable=cell-var-from-loop
            expect(port_metric(w, 'active', stays) == 1, 'the address went back by itself')
        load.stdin.close()
        expect(load.wait(timeout=120) == 0, 'the producer failed')
        got = w.consume('moves').splitlines()
        expect(got == [str(i) for i in range(sent)], f'{len(got)} of {sent} records, or not in order')
        expect(len(known) == 2, f'the client knew the broker as {known}')
        expect(w.metrics()['tidemark_port_failovers_total'] == 2, 'not two failovers')
        text = w.log.read_text()
        for word in ('the link is down', 'the link is up', 'carries the data address from now on'):
            expect(word in text, f'the log does not say: {word}')
        w.stop()
    w.settings = {}
    w.start()


@case_of_each_port
def a_link_that_goes_and_comes(w):
    """One port: counted, said, and survived by an open connection; nothing is left on the interface by any end."""
    w.topic('cable')
    w.produce('cable', '/etc/hostname', '-X', 'acks=all')
    s = w.connect()
    before = port_metric(w, 'link_downs_total', 0)
    sh('ip', '-n', w.ns_client, 'link', 'set', w.dev_client, 'down')
    wait_until(60, lambda: port_metric(w, 'link_downs_total', 0) == before + 1, 'nobody noticed')
    expect(w.metrics()['tidemark_link_up{port="0"}'] == 0, 'the link is called up')
    sh('ip', '-n', w.ns_client, 'link', 'set', w.dev_client, 'up')
    wait_until(60, lambda: w.metrics()['tidemark_link_up{port="0"}'] == 1, 'the link stays down')
    expect(wire.ask(s, wire.frame(18, 0, b'')), 'the connection is gone')
    s.close()
    w.produce('cable', '/etc/hostname', '-X', 'acks=all')
    w.kill()
    w.start()
    expect(len(w.consume('cable').splitlines()) == 2, 'records are missing')
    w.stop()
    left = sh('ip', '-n', w.ns_broker, '-d', 'link', 'show', w.dev_broker).stdout
    expect('xdp' not in left and 'promiscuity 0' in left, f'left on the interface:\n{left}')
    w.start()


def pcapng(path):
    """The packets of a capture: (interface, is_out, time in ns, bytes on the wire, bytes kept), and how many were lost."""
    data, at, packets, lost, interfaces = path.read_bytes(), 0, [], 0, 0
    expect(struct.unpack_from('<II', data, 0)[0] == 0x0a0d0d0a and struct.unpack_from('<I', data, 8)[0] == 0x1a2b3c4d, 'it is no pcapng')
    while at < len(data):
        kind, size = struct.unpack_from('<II', data, at)
        expect(size % 4 == 0 and at + size <= len(data) and struct.unpack_from('<I', data, at + size - 4)[0] == size, f'block at {at} of {len(data)}')
        if kind == 1:
            interfaces += 1
        elif kind == 6:
            interface, high, low, kept, wire_len = struct.unpack_from('<IIIII', data, at + 8)
            flags = struct.unpack_from('<I', data, at + 28 + (kept + 3 & ~3) + 4)[0]
            expect(interface < interfaces and kept <= wire_len and flags in (1, 2), 'a packet makes no sense')
            packets.append((interface, flags == 2, high << 32 | low, wire_len, data[at + 28:at + 28 + kept]))
        elif kind == 5:
            lost = struct.unpack_from('<Q', data, at + 24)[0]
        at += size
    return packets, lost


@case_of_each_port
def frames_are_captured(w):
    """Both directions, in order of time, with what clients sent in them; of one connection if wanted; and nothing is left afterwards."""
    out = w.dir / 'capture.pcapng'
    tool = ['ip', 'netns', 'exec', w.ns_broker, str(w.tools / 'control/tool/tidemark'), 'capture', '--out', str(out)]

    def capture(*args):
        mark = w.log.read_text().count('a capture has begun')
        p = subprocess.Popen([*tool, *args], stderr=subprocess.PIPE, text=True)
        wait_until(60, lambda: w.log.read_text().count('a capture has begun') > mark or p.poll() is not None, 'no capture begins')
        expect(p.poll() is None, p.poll() is not None and p.stderr.read())
        return p

    def ended(p):
        p.send_signal(signal.SIGINT)
        text = p.communicate(timeout=60)[1]
        expect(p.returncode == 0, text)
        return pcapng(out)

    w.topic('seen')
    p = capture('--snap', '4000')
    path = w.dir / 'one'
    path.write_text('a record that is looked for\n')
    w.produce('seen', path, '-X', 'acks=all')
    w.consume('seen')
    second = sh(*tool[:-1], w.dir / 'other', check=False)
    expect(second.returncode == 1 and 'another capture is running' in second.stderr, second.stderr)
    packets, lost = ended(p)
    expect(lost == 0, f'{lost} lost')
    expect([t for _, _, t, _, _ in packets] == sorted(t for _, _, t, _, _ in packets), 'not in order of time')
    for is_out in (False, True):
        expect(any(o == is_out and b'a record that is looked for' in b for _, o, _, _, b in packets), f'the record is not seen, out: {is_out}')
    if w.vdev == 'af_xdp':  # the others learn what the kernel sends, too
        expect(all(len(b) == n for _, _, _, n, b in packets), 'frames are cut')

    s, other = w.connect(), w.connect()
    port = s.getsockname()[1]
    p = capture('--conn', f'{CLIENT}:{port}', '--snap', '64')
    for _ in range(3):
        wire.ask(other, wire.frame(18, 0, b''))
        wire.ask(s, wire.frame(18, 0, b''))
    packets, _ = ended(p)
    expect(len(packets) >= 6, f'{len(packets)} packets')
    for _, o, _, n, b in packets:
        expect(struct.unpack_from('>HH', b, 34)[0 if not o else 1] == port, 'a frame of another connection')
        expect(len(b) == min(n, 64), 'more is kept than wanted')
    s.close()
    other.close()
    p = capture()
    p.kill()  # nobody takes any more: it ends by itself
    p.wait()
    wait_until(60, lambda: w.log.read_text().count('the capture has ended') == 3, 'a capture that was left does not end')
    bad = sh(*tool, '--conn', 'nowhere', check=False)
    expect(bad.returncode == 1 and 'conn is ADDRESS' in bad.stderr, bad.stderr)
    healthy(w)


@case
def the_time_of_requests_is_told(w):
    """Stages add up to the whole, a Fetch and the writes are there, turns say what they did, and `tidemark top` shows it."""
    stages = ('tcp', 'queue', 'parse', 'home', 'append', 'watermark', 'respond', 'transmit')
    path = w.dir / 'in'
    path.write_text(lines(500))
    w.topic('timed', ack_durability='device')

    def counted(what):
        m = w.metrics()
        return {s: m[f'tidemark_stage_seconds_{what}{{stage="{s}"}}'] for s in (*stages, 'produce', 'fetch', 'disk')}

    before, sums = counted('count'), counted('sum')
    w.produce('timed', path, '-X', 'acks=all', '-X', 'batch.num.messages=10')
    w.consume('timed')
    after, since = counted('count'), counted('sum')
    requests = after['produce'] - before['produce']
    expect(requests >= 50, f'{requests} requests')
    for s in stages:
        expect(after[s] - before[s] == requests, f'{s}: {after[s] - before[s]} of {requests}')
    whole, parts = since['produce'] - sums['produce'], sum(since[s] - sums[s] for s in stages)
    expect(abs(whole - parts) < 1e-6, f'{parts} s in the stages of {whole} s')
    expect(since['watermark'] - sums['watermark'] >= (since['disk'] - sums['disk']) / 2 > 0, f'the disk is not waited for: {since}')  # some writes are others'
    expect(after['fetch'] > before['fetch'], 'no fetch')
    m = w.metrics()
    expect(m['tidemark_turn_seconds_count{core="0"}'] > 0 and m['tidemark_turn_longest_seconds{core="0"}'] > 0, 'no turns')
    for kind in ('frames_in', 'frames_out', 'requests', 'disk', 'jobs', 'letters', 'begun'):
        expect(f'tidemark_turn_longest_{kind}{{core="0"}}' in m, f'{kind} of the longest turn is not told')
    r = sh('ip', 'netns', 'exec', w.ns_broker, w.tools / 'control/tool/tidemark', 'top', '--once')
    expect(all(f'\n{s} ' in r.stdout for s in (*stages, 'produce')) and ' ready,' in r.stdout, r.stdout)


def only_af_xdp(w):
    if w.vdev != 'af_xdp':
        raise Skip('only of AF_XDP')


def far_away(w, address='10.99.0.1'):
    """Bytes of an answer of the broker to a client behind the client."""
    def talk():
        with socket.create_connection((BROKER, PORT), timeout=20, source_address=(address, 0)) as s:
            s.settimeout(20)
            return wire.ask(s, wire.frame(18, 0, b''))
    return w.inside(talk)


def echo(w, s=None):
    """Through the host's own service, on a connection that is there or a new one."""
    def talk():
        c = s or socket.create_connection((BROKER, 2222), timeout=20)
        data, got = os.urandom(100000), b''
        c.sendall(data)
        while len(got) < len(data):
            got += c.recv(65536)
        expect(got == data, 'the host echoes something else')
        return c
    return w.inside(talk)


@case
def one_interface_for_the_host_and_the_broker(w):
    """One address: port 9092 is the broker's; ping, the host's own service and the host's own connections are the kernel's."""
    only_af_xdp(w)
    inside = ('ip', '-n', w.ns_broker)
    with w.shared_port():
        until = time.monotonic() + 20
        while 'LISTEN' not in sh('ip', 'netns', 'exec', w.ns_broker, 'ss', '-tln', 'sport', '=', 2222).stdout and time.monotonic() < until:
            time.sleep(0.1)
        open_before = echo(w)
        w.start()
        path = w.dir / 'in'
        sent = lines(20000)
        path.write_text(sent)
        w.topic('together')
        w.produce('together', path, '-X', 'acks=all')
        expect(w.consume('together') == sent, 'differs')
        echo(w, open_before)
        for _ in range(3):
            echo(w).close()
        w.client(sys.executable, HERE / 'ping.py', BROKER, 3, 200)
        # The host calls out, from ports of its own.
        out = w.inside(lambda: socket.create_server((CLIENT, 3333)))
        got = []
        t = threading.Thread(target=lambda: got.append(out.accept()[0].recv(100)))
        t.start()
        sh('ip', 'netns', 'exec', w.ns_broker, sys.executable, '-c', f'import socket; socket.create_connection(("{CLIENT}", 3333), 20).sendall(b"from the host")')
        t.join(20)
        out.close()
        expect(got == [b'from the host'], got)
        m = w.metrics()
        expect(m['tidemark_port_stamps{port="0"}'] == 0 and not [k for k in m if 'ptp' in k], 'a veth has no clock of its own')
        expect(w.total('tidemark_arp_in_total', m) == 0 and w.total('tidemark_icmp_echo_total', m) == 0 and w.total('tidemark_rx_unknown_total', m) == 0,
               {k: v for k, v in m.items() if v and ('arp' in k or 'icmp' in k or 'rx_' in k)})
        # Clients behind a router: the way there, and the router's hardware address, are what the kernel says; also when it changes.
        sh('ip', '-n', w.ns_client, 'addr', 'replace', '10.99.0.1/32', 'dev', 'lo')
        sh('ip', '-n', w.ns_client, 'addr', 'replace', '10.78.0.101/24', 'dev', w.dev_client)
        sh(*inside, 'route', 'replace', 'default', 'via', CLIENT)
        wait_until(60, lambda: 'way out is now prefix /24, gateway 10.78.0.100' in w.log.read_text(), 'the route is not taken over')
        w.kill()  # nothing learned from frames is left
        w.start()
        expect(far_away(w), 'no answer to a client behind a router')
        sh(*inside, 'route', 'replace', 'default', 'via', '10.78.0.101')
        wait_until(60, lambda: 'gateway 10.78.0.101' in w.log.read_text(), 'the new router is not taken over')
        expect(far_away(w), 'no answer through the new router')
        w.stop()
        echo(w, open_before).close()
        expect('xdp' not in sh(*inside, 'link', 'show', w.dev_broker).stdout, 'the program is left behind')
    w.start()


@case
def ipv6_on_an_interface_of_the_host(w):
    """Both families of one interface are the host's as well: echo and its own service by IPv6, clients of the broker, a router that changes."""
    only_af_xdp(w)
    inside = ('ip', '-n', w.ns_broker)
    w.client_ipv6()
    with w.shared_port(data_address6=f'{BROKER6}/64', listeners=f'PLAINTEXT://{BOOT},SIX://{BOOT6}', listener_security_protocol_map='PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT'):
        r = sh('ip', 'netns', 'exec', w.ns_broker, w.build / 'control/daemon/tidemarkd', '--config', w.config(**w.settings), check=False)
        expect(r.returncode != 0 and f'data.address6 {BROKER6} is not an address of' in r.stderr, r.stderr[-800:])
        sh('ip', 'netns', 'exec', w.ns_broker, 'sysctl', '-qw', f'net.ipv6.conf.{w.dev_broker}.disable_ipv6=0')
        sh(*inside, '-6', 'addr', 'add', f'{BROKER6}/64', 'dev', w.dev_broker, 'nodad')
        service = subprocess.Popen(['ip', 'netns', 'exec', w.ns_broker, sys.executable, '-c',
                                    'import socket; s = socket.create_server(("::", 2223), family=socket.AF_INET6)\nwhile True: c = s.accept()[0]; c.sendall(b"host"); c.close()'],
                                   stdin=subprocess.DEVNULL)
        try:
            w.start()
            path = w.dir / 'in'
            sent = lines(20000)
            path.write_text(sent)
            for boot, topic in ((BOOT6, 'six-together'), (BOOT, 'four-together')):
                w.client('kcat', '-b', boot, '-P', '-t', topic, '-l', path, '-X', 'acks=all', '-X', 'enable.idempotence=true')
                got = w.client('kcat', '-b', boot, '-C', '-t', topic, '-o', 'beginning', '-e', '-q').stdout
                expect(got == sent, f'{len(got)} of {len(sent)} bytes came back from {boot}')
            for address in (BROKER6, BROKER):
                w.client(sys.executable, HERE / 'ping.py', address, 3, 1000)
            expect(w.inside(lambda: socket.create_connection((BROKER6, 2223), 20).recv(10)) == b'host', 'the host does not answer by IPv6')
            m = w.metrics()
            expect(w.total('tidemark_nd_in_total', m) == 0 and w.total('tidemark_icmp_echo_total', m) == 0 and w.total('tidemark_rx_unknown_total', m) == 0,
                   {k: v for k, v in m.items() if v and ('nd_' in k or 'icmp' in k or 'rx_' in k)})
            # Clients behind a router, whom the broker finds by the kernel's default route; also when that changes.
            sh('ip', '-n', w.ns_client, '-6', 'addr', 'replace', 'fd78::101/64', 'dev', w.dev_client, 'nodad')
            with w.far_ipv6(1500) as far:
                for i, router in enumerate((w.client_link_local(), 'fd78::101')):
                    sh(*inside, '-6', 'route', 'replace', 'default', 'via', router, 'dev', w.dev_broker)
                    wait_until(60, lambda: f'of IPv6 prefix /64, gateway {router}' in w.log.read_text(), 'the route is not taken over')  # pylint: disable=cell-var-from-loop
                    if i == 0:
                        w.kill()  # nothing learned is left
                        w.start()
                    got = sh('ip', 'netns', 'exec', far, 'kcat', '-b', BOOT6, '-C', '-t', 'six-together', '-o', 'beginning', '-e', '-q', timeout=60).stdout
                    expect(got == sent, f'{len(got)} of {len(sent)} bytes came through the router {router}')
        finally:
            service.kill()
            service.wait()
            sh(*inside, '-6', 'route', 'del', 'default', check=False)
            sh(*inside, '-6', 'addr', 'flush', 'dev', w.dev_broker, check=False)
            sh('ip', 'netns', 'exec', w.ns_broker, 'sysctl', '-qw', f'net.ipv6.conf.{w.dev_broker}.disable_ipv6=1', check=False)
    w.start()


@case
def an_interface_of_the_host_is_spared(w):
    """The default route goes through it: refused, unless told so. A shared port has conditions, each with a sentence."""
    only_af_xdp(w)

    def refused(word, **settings):
        r = sh('ip', 'netns', 'exec', w.ns_broker, w.build / 'control/daemon/tidemarkd', '--config', w.config(**settings), check=False)
        expect(r.returncode != 0 and word in r.stderr, f'"{word}" is not in:\n{r.stderr[-800:]}')

    with w.shared_port():
        sh('ip', '-n', w.ns_broker, 'route', 'replace', 'default', 'via', CLIENT)
        refused('the host would be cut off. To share it, set data.port.shared=true')
        refused('is not an address of', data_port_shared='true', data_address='10.78.0.7/24')
        refused(f'which has: {BROKER}/24', data_port_shared='true', data_address='10.78.0.7/24', listeners='PLAINTEXT://10.78.0.7:9092')
        refused('overlap the ports that this host takes', data_port_shared='true', data_source_port_first=50000)
        refused('needs net_af_xdp', data_port_shared='true', data_ports=w.port().replace('net_af_xdp0', 'net_af_packet0').replace(',busy_budget=0', ''))
        w.settings = {'data_port_take_default_route': 'true'}
        w.start()
        w.stop()
    w.start()


@case_of_each_port
def two_data_cores(w):
    w.stop()
    w.settings = {'data_core_count': 2, 'dpdk_memory_mb': 1400}
    w.start()
    w.topic('wide', partitions=8)
    path = w.dir / 'in'
    sent = lines(20000)
    path.write_text(sent)
    for acks in ('0', '1', 'all'):
        w.produce('wide', path, '-X', f'acks={acks}')
    want = sorted(sent.splitlines() * 3)
    until = time.monotonic() + 30  # nobody was told when those with acks=0 were there
    while sorted(got := w.consume('wide').splitlines()) != want and time.monotonic() < until:
        time.sleep(0.5)
    expect(sorted(got) == want, f'{len(got)} records instead of {len(want)}, or others')
    for p in range(8):
        w.produce('wide2' + str(p), path, '-X', 'acks=all', '-X', 'enable.idempotence=true')
        expect(w.consume('wide2' + str(p)) == sent, f'topic {p} differs')
    s = w.connect() # one connection, partitions at home on both cores
    for p in range(8):
        w.produce('wide', path, '-p', p, '-X', 'acks=all')  # chance may have left it empty so far
        error, low = wire.delete_records_result(wire.ask(s, wire.delete_records('wide', 1, p)), 'wide')
        expect((error, low) == (0, 1), f'records of partition {p} are not deleted: {error} {low}')
    s.close()
    left = w.consume('wide').splitlines()
    expect(len(left) == 220000 - 8, f'{len(left)} records are left')
    m = w.metrics()
    expect(all(m[f'tidemark_produce_batches_total{{core="{c}"}}'] > 0 for c in (0, 1)) if 'tidemark_produce_batches_total{core="0"}' in m
           else True, 'one core does all')
    w.stop()
    w.settings = {}
    w.start()
    expect(sorted(w.consume('wide').splitlines()) == sorted(left), 'differs with one core again')


@case
def several_log_dirs(w):
    """Spread, found again after a kill, refused when one is missing; what belongs to no topic is set aside."""
    daemon, tool = w.build / 'control/daemon/tidemarkd', w.build / 'control/tool/tidemark'
    dirs = [w.data, w.dir / 'second', w.dir / 'third']

    def held(topic):
        return sorted((d.name, p.name) for d in dirs for p in d.glob(f'{topic}-[0-9]*') if '.' not in p.name)

    w.topic('first')
    first = lines(1000)
    path = w.dir / 'in'
    path.write_text(first)
    w.produce('first', path, '-X', 'acks=all')
    w.stop()
    w.start(log_dirs=','.join(map(str, dirs)))
    w.topic('spread', partitions=6)
    sent = lines(6000)
    path.write_text(sent)
    w.produce('spread', path, '-X', 'acks=all')
    where = held('spread')
    expect(len(where) == 6 and {d for d, _ in where} >= {'second', 'third'}, f'not spread: {where}')
    w.kill()
    stray = dirs[1] / 'nobody-0'
    stray.mkdir()
    (stray / 'partition.metadata').write_text('version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA\n')
    w.start()
    expect(held('spread') == where, 'partitions moved')
    expect(sorted(w.consume('spread').splitlines()) == sorted(sent.splitlines()), 'records differ after the kill')
    expect(w.consume('first') == first, 'the older topic differs')
    expect(not stray.exists() and (dirs[1] / 'nobody-0.AQIDAAAAAAAAAAAAAAAAAA-stray').is_dir(), 'the stray directory was not set aside')
    expect('belongs to no topic' in w.log.read_text(), 'nothing was said of it')
    w.stop()
    for given, word in ((dirs[:2], 'is missing'), (dirs[1:], 'is missing' if (dirs[1] / 'log-directories').exists() else 'metadata log'),
                        ([dirs[0], dirs[0]], 'twice'), ([dirs[0], dirs[0] / 'inner'], 'inside')):
        r = sh('ip', 'netns', 'exec', w.ns_broker, daemon, '--config', w.config(log_dirs=','.join(map(str, given))), check=False, timeout=60)
        expect(r.returncode > 0 and word in r.stderr, f'{given}: {r.returncode} {r.stderr[-400:]}')
    w.start()
    w.client(tool, 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'spread')
    wait_until(60, lambda: not [p for d in dirs for p in d.glob('spread-*')], 'files of a deleted topic are left')
    w.stop()
    known = w.data / 'log-directories'
    known.write_text(''.join(l for l in known.read_text().splitlines(True) if l.rstrip().endswith(str(w.data))))
    w.settings = {}
    w.start()
    expect(w.consume('first') == first, 'the older topic differs with one directory again')


@case
def records_are_deleted(w):
    sent = lines(3000).splitlines(keepends=True)
    path = w.dir / 'in'
    path.write_text(''.join(sent))
    w.topic('trimmed')
    w.produce('trimmed', path, '-X', 'acks=all')
    s = w.connect()

    def delete(offset, topic='trimmed', partition=0, **kw):
        return wire.delete_records_result(wire.ask(s, wire.delete_records(topic, offset, partition, **kw)), topic)

    expect(delete(1000) == (0, 1000), 'the first thousand')
    expect(delete(500) == (0, 1000), 'it does not fall')
    expect(delete(3001) == (1, -1), 'beyond the high watermark')
    expect(delete(-2) == (1, -1), 'a negative offset')
    expect(delete(5, topic='absent') == (3, -1), 'no such topic')
    expect(delete(5, partition=7) == (3, -1), 'no such partition')
    expect(w.consume('trimmed') == ''.join(sent[1000:]), 'what is left')
    w.kill()
    w.start()
    expect(w.consume('trimmed') == ''.join(sent[1000:]), 'what is left after a kill')
    s = w.connect()
    expect(delete(-1) == (0, 3000), 'all of it')
    expect(w.consume('trimmed') == '', 'nothing is left')
    w.produce('trimmed', path, '-X', 'acks=all')
    expect(w.consume('trimmed') == ''.join(sent), 'it goes on')


@case
def old_segments_go(w):
    w.stop()
    w.settings = {'log_retention_check_interval_ms': 300, 'log_segment_bytes': 1048576, 'message_max_bytes': 1000000,
                  'log_retention_bytes': 3000000}
    w.start()
    path = w.dir / 'in'
    path.write_text(lines(80000))
    for _ in range(8):
        w.produce('kept', path, '-X', 'acks=all')
    wait_until(60, lambda: w.total('tidemark_log_segments_removed_total') > 0, 'nothing was removed')
    left = None
    until = time.monotonic() + 60
    while left != (left := w.consume('kept').splitlines(keepends=True)) and time.monotonic() < until:
        time.sleep(1)  # several looks of the broker; until no more goes
    everything = lines(80000).splitlines(keepends=True) * 8
    expect(0 < len(left) < len(everything) and left == everything[-len(left):], 'what is left is not the end of what was sent')
    expect(sum(len(x) for x in left) > 1000000, 'too much was removed')
    w.kill()
    w.start()
    expect(w.consume('kept').splitlines(keepends=True) == left, 'differs after a kill')
    w.stop()
    w.settings = {}
    w.start()


@case
def old_values_are_compacted_away(w):
    w.stop()
    w.settings = {'log_cleanup_policy': 'compact', 'log_cleaner_backoff_ms': 300, 'log_segment_bytes': 1048576,
                  'message_max_bytes': 1000000, 'log_cleaner_min_cleanable_ratio': 0.1,
                  'log_cleaner_delete_retention_ms': 0}
    w.start()
    keys, rounds = 200, 100
    path = w.dir / 'in'
    latest = {}
    for codec in ('none', 'gzip', 'snappy', 'lz4', 'zstd'):
        out = []
        for r in range(rounds):
            for k in range(keys):
                latest[f'key{k}'] = f'{codec}-{r}-{k}-' + str(k * r % 977) * 30
                out.append(f'key{k}={latest[f"key{k}"]}\n')
        path.write_text(''.join(out))
        w.produce('table', path, '-K=', '-X', 'acks=all', '-X', f'compression.codec={codec}', '-X', 'enable.idempotence=true')
    gone = [f'key{k}' for k in range(0, keys, 2)]
    path.write_text(''.join(f'{k}=\n' for k in gone)) # tombstones
    w.produce('table', path, '-K=', '-Z', '-X', 'acks=all')
    for k in gone:
        del latest[k]
    filler = ''.join(f'filler{i % 50}={"x" * 900}\n' for i in range(2500)) # the tombstones are in a closed segment then
    path.write_text(filler)
    w.produce('table', path, '-K=', '-X', 'acks=all')

    def seen():
        rows = [x.split('=', 1) for x in w.consume('table', '-K=').splitlines() if x]
        table = {}
        for key, value in rows:
            table[key] = value
        return len(rows), {k: v for k, v in table.items() if not k.startswith('filler')}

    until = time.time() + 120
    while time.time() < until:
        count, table = seen()
        if count < keys * rounds and not any(k in table for k in gone):
            break
        time.sleep(0.5)
        w.produce('table', path, '-K=', '-X', 'acks=all') # what is dirty must be worth a round; tombstones go in the second
    expect(count < keys * rounds, f'{count} records are left, nothing was compacted')
    # Segments may be replaced while they are looked at.
    wait_until(60, lambda: sh(w.tools / 'control/tool/tidemark', 'log', 'verify', w.data / 'table-0', check=False).returncode == 0, 'the files are not whole', every=1)
    wrong = {k for k in latest.keys() | table.keys() if latest.get(k) != table.get(k)}
    expect(not wrong, f'not the newest value of every key: {sorted(wrong)[:5]}, {len(wrong)} in all')
    m = w.metrics()
    expect(m.get('tidemark_log_compactions_total{core="0"}', 0) > 0, 'no compaction came to its end')
    expect(m.get('tidemark_log_compaction_errors_total{core="0"}', 0) == 0, 'a compaction failed')
    w.kill()
    w.start()
    expect(seen()[1] == latest, 'differs after a kill')
    path.write_text('key1=again\n')
    w.produce('table', path, '-K=', '-X', 'acks=all')
    latest['key1'] = 'again'
    expect(seen()[1] == latest, 'what was appended behind it is missing')
    w.stop()
    w.settings = {}
    w.start()


# ---- the load generator ------------------------------------------------------------------------------------------------

def load_run(w, *args, status=0):
    """One run of tidemark-load: what it wrote. Whether it was late is the machine's affair and never judged here."""
    path = w.dir / 'load.json'
    path.unlink(missing_ok=True)
    r = w.client(w.tools / 'bench/load/tidemark-load', '--bootstrap', BOOT, '--lag.share', 1, '--warmup.s', 0.5, '--duration.s', 1.5, '--rate', 400,
                 '--json', path, *args, check=False)
    expect(r.returncode == status, f'tidemark-load {args}: status {r.returncode}\n{r.stdout}{r.stderr}')
    return json.loads(path.read_text()) if path.exists() else r.stderr


def expect_load(found, **wanted):
    counts = {**found['counts'], 'valid': found['valid'], 'measured': found['latency']['e2e']['count']}
    for name, value in {'valid': True, 'not_sent': 0, 'failed': 0, 'unanswered': 0, 'missing': 0, 'damaged': 0, 'malformed': 0, 'foreign': 0,
                        'duplicates': 0, 'disorder': 0, 'lost': 0, **wanted}.items():
        expect(counts[name] == value, f'{name} is {counts[name]} instead of {value}: {found["counts"]}, {found["reasons"]}, {found["errors"]}')


@case
def the_load_generator_counts_what_it_sends(w):
    for acks in ('0', '1', 'all'):
        found = load_run(w, '--topic', f'load-{acks}', '--create', 'yes', '--partitions', 2, '--acks', acks, '--hdr', w.dir / 'load.hdr')
        expect_load(found, due=800, sent=800, resent=0, acked=800, records=800, measured=600)
        expect(found['latency']['produce']['count'] == (0 if acks == '0' else 600), found['latency']['produce']['count'])
        expect(sum(n for _, n in found['latency']['e2e']['counts']) == 600, 'a histogram without its counts')
        expect(sum(i['due'] for i in found['series']) == 800, 'a series without its requests')
        lines = (w.dir / 'load.hdr').read_text().splitlines()
        expect(lines[0].startswith('#[') and any(x.startswith('Tag=e2e,0.000,') for x in lines), lines[:5])
    found = load_run(w, '--topic', 'load-many', '--create', 'yes', '--partitions', 3, '--producers', 6, '--threads', 2, '--batch.records', 4,
                     '--record.bytes', 1000, '--idempotent', 'yes', '--arrivals', 'exponential')
    n = found['counts']['due']
    expect(100 < n < 300, f'{n} requests are due')
    expect_load(found, acked=n, records=4 * n)


@case
def the_load_generator_tells_what_went_wrong(w):
    found = load_run(w, '--topic', 'load-all', '--rate', 50000, '--outstanding.max', 1, '--consume', 'no', status=3)
    expect(not found['valid'] and any(r.startswith('not sent: ') for r in found['reasons']), found['reasons'])
    expect(found['counts']['acked'] + found['counts']['not_sent'] == found['counts']['due'] == 100000, found['counts'])
    expect('there is no such topic' in load_run(w, '--topic', 'load-none', status=1), 'a topic that is not there')
    expect('fewer partitions' in load_run(w, '--topic', 'load-all', '--partitions', 3, status=1), 'a partition that is not there')
    expect("'31' is not a whole number from 32" in load_run(w, '--record.bytes', 31, status=2), 'a record that is too small')
    found = load_run(w, '--topic', 'load-all', '--record.bytes', 1000000, '--batch.records', 2, '--rate', 20, '--consume', 'no', status=3)
    expect(found['errors'] == {'MESSAGE_TOO_LARGE': 20} and found['counts']['failed'] == 20, found['errors'])


@case_of_each_port
def the_load_generator_on_our_own_tcp(w):
    """The same stack at both ends: the client's cable is its port, of which the client's kernel knows nothing."""
    w.topic('load-bypass')
    sh('ip', '-n', w.ns_client, 'addr', 'flush', 'dev', w.dev_client)
    try:
        found = load_run(w, '--topic', 'load-bypass', '--address', f'{CLIENT}/24', '--transport',
                         f'vdev:net_af_packet0,iface={w.dev_client}')
    finally:
        sh('ip', '-n', w.ns_client, 'addr', 'add', f'{CLIENT}/24', 'dev', w.dev_client)
    expect_load(found, due=800, acked=800, records=800, measured=600)


# ---- Kafka's own tools ----------------------------------------------------------------------------------------------------------

@case
def kafkas_own_dump_tool_reads_closed_files(w):
    """Segments, indexes, time indexes, a producer snapshot by kafka.tools.DumpLogSegments; leader epochs by the class that reads them."""
    jars = kafka_tools()

    def java(*args):
        r = sh('java', '-Xmx256m', '-cp', jars, *args, check=False, timeout=180)
        expect(r.returncode == 0 and 'Exception' not in r.stderr, f'{args[0]}: {r.stdout[-300:]} {r.stderr[-700:]}')
        return r.stdout

    path = w.dir / 'in'
    w.topic('dumped', segment_bytes=1 << 20, index_interval_bytes=2000)
    sent = ''
    for i, codec in enumerate(('none', 'gzip', 'snappy', 'lz4', 'zstd')):
        more = ''.join(f'{codec} {n} {os.urandom(200).hex()}\n' for n in range(6000))
        path.write_text(more)
        w.produce('dumped', path, '-z', codec, '-X', 'enable.idempotence=true', '-X', 'batch.num.messages=50')
        sent += more
        if i == 2:
            w.kill()  # another leader epoch
            w.start()
    w.stop()
    there = w.data / 'dumped-0'
    logs = sorted(there.glob('*.log'))
    expect(len(logs) > 4, f'{len(logs)} segments')
    dump = java('kafka.tools.DumpLogSegments', '--print-data-log', '--files', ','.join(map(str, logs)))
    payloads = [l.split(' payload: ', 1)[1] for l in dump.splitlines() if ' payload: ' in l]
    expect(payloads == sent.splitlines(), f'{len(payloads)} records come out of {len(sent.splitlines())}')
    expect('isvalid: false' not in dump and dump.count('isvalid: true') >= 300, 'a batch is not valid')
    for suffix in ('index', 'timeindex'):
        files = sorted(there.glob(f'*.{suffix}'))
        expect(len(files) == len(logs), f'{len(files)} {suffix} files')
        text = java('kafka.tools.DumpLogSegments', '--verify-index-only', '--files', ','.join(map(str, files)))
        for word in ('Mismatches', 'Out of order', 'not found', 'Non-increasing', 'bigger than'):
            expect(word.lower() not in text.lower(), f'{suffix}: {text[-500:]}')
        text = java('kafka.tools.DumpLogSegments', '--index-sanity-check', '--files', ','.join(map(str, files)))
        expect(text.count('passed sanity check') == len(files), text[-500:])
        text = java('kafka.tools.DumpLogSegments', '--files', ','.join(map(str, files)))
        expect(sum(l.startswith(('offset: ', 'timestamp: ')) for l in text.splitlines()) >= 2 * len(files), f'{suffix}: hardly any entry: {text[:300]}')
    snapshots = sorted(there.glob('*.snapshot'))
    expect(snapshots, 'no producer snapshot')
    text = java('kafka.tools.DumpLogSegments', '--files', str(snapshots[-1]))
    found = [l for l in text.splitlines() if l.startswith('producerId: ')]
    newest = {l.split()[1]: l for l in found}  # several batches of each, in order: the tool's own reader keeps the last one as well
    expect(len(newest) == 5 and len(found) <= 25 and all('producerEpoch: 0' in l and 'lastSequence: 5999' in l for l in newest.values()), text[-800:])
    epochs = [tuple(map(int, l.split())) for l in (there / 'leader-epoch-checkpoint').read_text().splitlines()[2:]]
    expect(len(epochs) == 2 and epochs[1][1] == 18000, f'{epochs}')
    if 'jdk.compiler' in sh('java', '--list-modules').stdout:
        text = java(str(HERE / 'kafka-tools/LeaderEpochs.java'), str(there / 'leader-epoch-checkpoint'))
        expect([tuple(map(int, l.split())) for l in text.splitlines()] == epochs, text)
    w.start()
    expect(w.consume('dumped') == sent, 'differs')


for group_case in members.cases:
    case(group_case)


# ---- disks that fail, or are slow ----------------------------------------------------------------------------------------

def health(w):
    return sh('ip', 'netns', 'exec', w.ns_broker, 'curl', '-s', '-m', 30, 'http://127.0.0.1:9644/healthz').stdout.strip()


def traced(w, *args):
    return ['ip', 'netns', 'exec', w.ns_broker, str(w.tools / 'control/tool/tidemark'), 'trace', *args]


@case
def a_slow_request_is_traced(w):
    """Behind a slow disk: its stages add up, and the disk is named. Nothing is left behind a trace that was left."""
    module, fault = w.tools / 'tests/crash/disk_fault.so', w.dir / 'fault'
    path = w.dir / 'in'
    path.write_text(lines(1))
    w.topic('late', ack_durability='device')
    w.topic('other', ack_durability='device')
    w.stop()
    if 'libasan' in sh('ldd', w.build / 'control/daemon/tidemarkd').stdout:
        raise Skip('a sanitizer wants to be loaded first')
    w.env = {'LD_PRELOAD': str(module), 'TIDE_DISK_FAULT': str(fault)}

    def begun(*args):
        mark = w.log.read_text().count('a trace of late has begun')
        p = subprocess.Popen(traced(w, '--topic', 'late', *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(60, lambda: w.log.read_text().count('a trace of late has begun') > mark or p.poll() is not None, 'no trace begins')
        expect(p.poll() is None, p.poll() is not None and p.stderr.read())
        return p

    try:
        w.start()
        w.produce('late', path, '-X', 'acks=all')  # the first write makes files
        fault.write_text('slow')
        p = begun('--slower-than', '250ms', '--count', '1', '--json')
        second = sh(*traced(w, '--topic', 'other'), check=False)
        expect(second.returncode == 1 and 'another trace is running' in second.stderr, second.stderr)
        w.produce('other', path, '-X', 'acks=all')
        w.produce('late', path, '-X', 'acks=all')
        out, err = p.communicate(timeout=60)
        expect(p.returncode == 0 and 'leads 1 of its 1 partitions' in err, err)
        r = json.loads(out)
        expect((r['topic'], r['partition'], r['acks'], r['end'], r['followers']) == ('late', 0, -1, 2, []), out)
        expect(list(r['stages_us']) == ['tcp', 'queue', 'parse', 'home', 'append', 'watermark', 'respond', 'transmit'], out)
        expect(abs(sum(r['stages_us'].values()) - r['took_us']) < 0.1 and r['took_us'] >= 250000, f'the stages do not add up: {out}')
        expect(r['slowest'] == 'watermark' and r['cause'].startswith('disk') and r['stages_us']['watermark'] >= 250000, out)
        appended = sum(r['stages_us'][s] for s in ('tcp', 'queue', 'parse', 'home', 'append'))
        expect(appended - 0.1 <= r['write_begun_us'] < r['write_done_us'] <= appended + r['stages_us']['watermark'] + 0.1, out)
        expect(r['write_done_us'] - r['write_begun_us'] >= 250000, out)
        expect(r['write_done_us'] <= r['high_watermark_us'] + 0.1 <= r['took_us'] + 0.2, out)
        fault.unlink()
        p = begun()
        p.kill()  # nobody asks any more: it ends by itself
        p.wait()
        wait_until(60, lambda: w.log.read_text().count('the trace has ended') == 2, 'a trace that was left does not end')
        p = begun('--slower-than', '0us', '--count', '2')  # and there can be another one, of whatever is produced
        w.produce('late', path, '-X', 'acks=all')
        w.produce('late', path, '-X', 'acks=0')
        out, err = p.communicate(timeout=60)
        expect(p.returncode == 0 and '2 requests' in err and 'acks=-1: ' in out and 'acks=0: ' in out and '<- slowest' in out, out + err)
        p = begun('--slower-than', '10s')
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        expect(p.returncode == 0 and '0 requests' in err and out == '', out + err)
        none = sh(*traced(w, '--topic', 'nothing'), check=False)
        expect(none.returncode == 1 and 'there is no such topic' in none.stderr, none.stderr)
        p = begun()
        w.client(w.tools / 'control/tool/tidemark', 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'late')
        err = p.communicate(timeout=60)[1]
        expect(p.returncode == 1 and 'the topic was deleted' in err, err)
        w.topic('late', ack_durability='device')
        p = begun('--slower-than', '0us')
        w.produce('late', path, '-X', 'acks=all')
        w.stop()  # a clean one, though somebody traces
        err = p.communicate(timeout=60)[1]
        expect(p.returncode == 1 and '/trace' in err, err)
    finally:
        fault.unlink(missing_ok=True)
        w.env = {}
        if w.alive():
            w.kill()
    absent = sh(*traced(w, '--topic', 'late'), check=False)
    expect(absent.returncode == 1 and 'connect' in absent.stderr, absent.stderr)
    w.start()
    healthy(w)


@case
def a_log_whose_writes_fail_comes_back(w):
    """P11, P9: it is fenced, and served again when the disk is well, with no hand needed; nobody else notices."""
    module, fault = w.tools / 'tests/crash/disk_fault.so', w.dir / 'fault'
    sent = lines(2000)
    path = w.dir / 'in'
    path.write_text(sent)
    w.topic('ill')
    w.stop()
    w.env = {'LD_PRELOAD': str(module), 'TIDE_DISK_FAULT': str(fault)}
    if 'libasan' in sh('ldd', w.build / 'control/daemon/tidemarkd').stdout:
        raise Skip('a sanitizer wants to be loaded first')
    try:
        w.start(auto_create_topics_enable='false')  # or the producer makes it again as soon as it is deleted
        before = w.total('tidemark_replica_failures_total')
        idempotent = ('-X', 'enable.idempotence=true', '-X', 'message.timeout.ms=120000')
        w.produce('ill', path, *idempotent)
        fault.touch()
        producer = w.client_start('kcat', '-b', BOOT, '-P', '-t', 'ill', '-l', path, *idempotent)
        wait_until(60, lambda: w.total('tidemark_replica_failures_total') > before + 1, 'no failure was noticed')
        expect(w.alive() and producer.poll() is None, 'the broker or the producer has gone')
        fault.unlink()
        _, err = producer.communicate(timeout=150)
        expect(producer.returncode == 0, f'the producer gave up: {err[-500:]}')
        wait_until(60, lambda: health(w) == 'ok', 'not well again')
        m = w.metrics()
        expect(m['tidemark_replicas_failed'] == 0 and m['tidemark_replica_reopens_total'] >= 2, f'{m}')
        expect(w.consume('ill') == sent * 2, 'records are missing, doubled or out of order')
        expect('its log has failed' in w.log.read_text() and 'ill-0 is served again' in w.log.read_text(), 'nothing was said of it')
        # Its topic can be deleted while it is out.
        fault.touch()
        producer = w.client_start('kcat', '-b', BOOT, '-P', '-t', 'ill', '-l', path, '-X', 'message.timeout.ms=15000')
        wait_until(60, lambda: w.metrics()['tidemark_replicas_failed'] == 1, 'no failure was noticed')
        w.client(w.tools / 'control/tool/tidemark', 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'ill')
        wait_until(60, lambda: not list(w.data.glob('ill-*')), 'the directory of a deleted topic is left')
        producer.communicate(timeout=60)
    finally:
        fault.unlink(missing_ok=True)
        w.env, w.settings = {}, {}
        if w.alive():
            w.kill()
    w.start()
    healthy(w)


@case
def a_log_that_cannot_be_opened_comes_back(w):
    sent = lines(100)
    path = w.dir / 'in'
    path.write_text(sent)
    for topic in ('shut', 'doomed'):
        w.topic(topic)
        w.produce(topic, path, '-X', 'acks=all')
    w.stop()
    for topic in ('shut', 'doomed'):
        epochs = w.data / f'{topic}-0/leader-epoch-checkpoint'
        epochs.rename(w.dir / f'{topic}.epochs')
        epochs.symlink_to(epochs)  # ELOOP
    w.start()
    wait_until(60, lambda: health(w) == 'a replica has failed', 'what failed is not told')
    expect('shut-0 could not be opened' in w.log.read_text(), 'nothing was said of it')
    healthy(w)
    w.client(w.tools / 'control/tool/tidemark', 'topic', 'delete', '--bootstrap', BOOT, '--topic', 'doomed')
    wait_until(60, lambda: not list(w.data.glob('doomed-*')), 'the directory of a deleted topic is left')
    epochs = w.data / 'shut-0/leader-epoch-checkpoint'
    epochs.unlink()
    (w.dir / 'shut.epochs').rename(epochs)
    wait_until(60, lambda: health(w) == 'ok', 'not well again')
    expect(w.consume('shut') == sent, 'differs')


@case
def a_full_disk_refuses_and_recovers(w):
    """On a real file system of 48 MiB: refused before anything is written, reads go on, and it works again when there is space."""
    image, mount, path, ballast = w.dir / 'small.img', w.dir / 'small', w.dir / 'in', w.dir / 'small/ballast'
    with open(image, 'wb') as f:
        f.truncate(48 << 20)
    mount.mkdir()
    r = sh('mkfs.ext4', '-q', '-F', '-m', 0, image, check=False)
    if r.returncode == 0:
        r = sh('mount', '-o', 'loop', image, mount, check=False)
    if r.returncode != 0:
        raise Skip(f'no small file system can be made here: {r.stderr.strip()[-200:]}')
    w.stop()
    try:
        with open(ballast, 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, 8 << 20)
        w.start(log_dirs=mount / 'data', log_segment_bytes=4 << 20, log_preallocate_bytes=1 << 20)
        w.topic('full')
        text = lines(20000, 'x' * 40)
        path.write_text(text)
        sent = 0
        quick = ('-X', 'acks=all', '-X', 'enable.idempotence=true', '-X', 'message.timeout.ms=8000', '-X', 'retries=1000')
        while (r := w.produce('full', path, *quick, check=False)).returncode == 0 and sent < 100:
            sent += 1
        expect(5 < sent < 60, f'{sent} MiB went to a disk of 48')
        expect(w.alive(), 'the broker is gone')
        m = w.metrics()
        expect(m['tidemark_replicas_failed'] == 0 and m['tidemark_replica_failures_total'] == 0, 'a full disk is no failure of a log')
        expect(health(w) == 'ok', health(w))
        got = w.consume('full')
        expect(got.startswith(text * sent), 'what was acknowledged is not there while the disk is full')
        s = w.connect()
        errors = []  # what was a megabyte too much may have room for half of one
        while len(errors) < 5 and (not errors or errors[-1] == 0):
            errors.append(wire.produce_result(wire.ask(s, wire.produce('full', wire.batch([b'z' * 500000]))), 'full')[0])
        s.close()
        expect(errors[-1] == 56, f'a full disk is answered with {errors}')
        before = w.consume('full')
        expect(before.startswith(text * sent), 'what was acknowledged is not there after a refusal')
        ballast.unlink()
        # in order: without idempotence what is refused may come behind what was not
        w.produce('full', path, '-X', 'acks=all', '-X', 'enable.idempotence=true', '-X', 'message.timeout.ms=30000')
        got = w.consume('full')
        expect(got.startswith(before) and got.endswith(text), f'what was written afterwards is not there: {len(before)} bytes, then {len(got)}')
        w.kill()
        w.start()
        expect(w.consume('full') == got, 'differs after a kill')
    finally:
        if w.alive():
            w.kill()
        w.settings = {}
        sh('umount', mount, check=False)
    w.start()
    healthy(w)


@case
def fifty_small_topics_stay_small(w):
    """Behind a few records 256 KiB are zeroed, whatever log.preallocate.bytes is."""
    path = w.dir / 'in'
    path.write_text(lines(10))
    for i in range(50):
        w.topic(f'small{i}')
    for i in range(50):
        w.produce(f'small{i}', path, '-X', 'acks=all')
    used = used_below(w.data.glob('small*-0'))
    expect(used <= 50 * ((256 << 10) + 100000), f'fifty small topics use {used >> 20} MiB')
    expect(all(not (d / 'next.prepared').exists() for d in w.data.glob('small*-0')), 'a small topic has its next segment already')
    w.stop()
    used = used_below(w.data.glob('small*-0'))
    expect(used < 50 * 100000, f'and {used >> 10} KiB after a clean stop')
    w.start()


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
