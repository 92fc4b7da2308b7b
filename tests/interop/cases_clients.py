# SPDX-License-Identifier: Apache-2.0
"""Unmodified clients: what they produce and consume, administer, and go through when a broker ends."""
import fcntl
import os
import pathlib
import shutil
import struct
import subprocess
import termios
import threading
import time

import admin_raw
import group_tool
import sessions
import wire
from cases import case, case_of_each_port
from clients import debian_python, kafkajs
from world import BOOT, Failure, expect, lines, sh, wait_until

HERE = pathlib.Path(__file__).resolve().parent


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
