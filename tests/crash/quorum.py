#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three real brokers that decide together, and a fourth that may come. quorum.py --build DIR [--full] [--only NAME] [--list]"""
import argparse
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback

import segments
from cluster import MANAGEMENT, METRICS, QUORUM, ROOT, Cluster, Failure, expect, sh, wait_until
from threads import stopped_thread

VOTERS = 3
LONG_S = 60  # for what takes a second or two, on a machine that does other things too
ALLOW = f'{MANAGEMENT}.0/24'
OTHER = 'b3RoZXItb3RoZXItb3RoZQ'
ONCE = ('-X', 'acks=all', '-X', 'enable.idempotence=true', '-X', 'message.timeout.ms=60000')  # also if a busy machine has a lease run out meanwhile
CASES = []
FULL = False


def case(f):
    CASES.append(f)
    return f


def settings(named):
    """Keyword arguments as settings."""
    return {k.replace('_', '.'): v for k, v in named.items()}


def committed(b):
    """Its checkpoint of commit points; the first one is written a moment after the first record was committed."""
    path = b.data / 'replication-offset-checkpoint'
    return path.read_text() if path.exists() else ''


def refuses_to_start(b, word, seconds=LONG_S, **more):
    """It ends by itself and says `word`; `more` are settings of this start."""
    b.start(settings(more))
    try:
        code = b.process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        b.kill()
        raise Failure(f'broker {b.number} did not end:\n{b.text()}') from None
    expect(code != 0 and word in b.said(), f'broker {b.number} ended with {code} and did not say "{word}":\n{b.text()}')


class Net(Cluster):
    """The cluster as one sees it from outside."""

    def tool(self, *args, **kw):
        return self.client(self.tools / 'control/tool/tidemark', *args, **kw)

    def up(self):
        return [b for b in self.brokers if b.alive()]

    def fresh(self, each=lambda b: {}, **named):
        """All anew; `each` has settings for one broker."""
        for b in self.up():
            b.kill()
        for b in self.brokers:
            shutil.rmtree(b.data, ignore_errors=True)
            b.settings = {**settings(named), **each(b)}
        self.start(self.brokers[:VOTERS])

    def controller(self, among=None):
        """The broker that says of itself that it is the controller."""
        for b in among or self.up():
            if b.metrics().get('tidemark_is_controller') == 1:
                return b
        return None

    def wait_controller(self):
        return wait_until('a controller', LONG_S, self.controller)

    def seen(self, b):
        """What a client sees: {topic: [(partition, leader, replicas, isr)]}, and the brokers; None when the broker does not answer."""
        try:
            r = self.client('kcat', '-b', b.boot, '-L', '-J', '-m', 10, check=False, timeout=30)
            m = json.loads(r.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None
        topics = {t['topic']: sorted((p['partition'], p['leader'], tuple(x['id'] for x in p['replicas']), tuple(sorted(x['id'] for x in p['isrs'])))
                                     for p in t['partitions']) for t in m['topics']}
        return topics, sorted(x['id'] for x in m['brokers'])

    def metadata(self, b):
        """As seen(), of a broker that answers, if not at once."""
        return wait_until(f'broker {b.number} answers a client', LONG_S, lambda: self.seen(b), 0.2)

    def agree(self):
        """Until all that run show the same; returns it."""
        def same():
            seen = [self.seen(b) for b in self.up()]
            return seen[0] if all(s == seen[0] for s in seen) else None
        return wait_until('the same metadata everywhere', LONG_S, same, 0.2)


# ---- cases -------------------------------------------------------------------------------------------------------------

@case
def the_same_from_all_three(n):
    """A topic with three replicas, made on any broker, is the same on all three."""
    n.fresh()
    for b in n.up():
        n.tool('topic', 'create', '--bootstrap', b.boot, '--topic', f'by-{b.number}', '--partitions', 3, '--replication-factor', 3)
    topics, brokers = n.agree()
    expect(brokers == [1, 2, 3], brokers)
    expect(set(topics) == {'by-1', 'by-2', 'by-3'}, topics)
    for name, partitions in topics.items():
        expect(len(partitions) == 3 and all(sorted(p[2]) == [1, 2, 3] for p in partitions), f'{name}: {partitions}')
        expect(sorted(p[1] for p in partitions) == [1, 2, 3], f'{name}: leaders {partitions}')


@case
def the_controller_is_killed(n):
    """kill -9 of the controller under a load of topic creations: nothing acknowledged is lost, nobody helps."""
    rounds = 50 if FULL else 3
    n.fresh()
    made, times, stop = [], [], threading.Event()

    def load():
        number = 0
        while not stop.is_set():
            boots = ','.join(b.boot for b in n.brokers[:VOTERS])
            name = f'load-{number}'
            number += 1
            try:
                n.tool('topic', 'create', '--bootstrap', boots, '--topic', name, '--partitions', 1, '--replication-factor', 2)
            except (Failure, subprocess.TimeoutExpired):
                continue  # not acknowledged
            made.append(name)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(rounds):
            old = n.wait_controller()
            before = len(made)
            wait_until('topics are created', LONG_S, lambda: len(made) > before + 1)
            began = time.monotonic()
            old.kill()
            wait_until('a new controller', LONG_S, lambda: n.controller([b for b in n.up() if b is not old]), 0.02)
            times.append(time.monotonic() - began)
            before = len(made)
            wait_until('topics are created again', LONG_S, lambda: len(made) > before + 1)
            n.start([old])
    finally:
        stop.set()
        thread.join()
    topics, brokers = n.agree()
    expect(brokers == [1, 2, 3], brokers)
    lost = [t for t in made if t not in topics]
    expect(not lost, f'{len(lost)} acknowledged topics are gone: {lost[:10]}')
    print(f'        {rounds} kills, {len(made)} topics, a new controller after {min(times):.2f} to {max(times):.2f} s '
          f'(mean {sum(times) / len(times):.2f})')


@case
def who_has_ended_is_not_waited_for(n):
    """With sessions of ten minutes: what a killed broker leads moves, and its next process is taken in."""
    n.fresh(broker_session_timeout_ms=600000, broker_heartbeat_interval_ms=500)
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'moves', '--partitions', 6, '--replication-factor', 3)
    n.agree()
    first = n.wait_controller()
    for killed in (first, next(b for b in n.up() if b is not first)):
        killed.kill()
        wait_until('it leads nothing', LONG_S, lambda gone=killed: not {gone.number, -1} & {p[1] for p in n.agree()[0]['moves']}, 0.3)
        n.start([killed])
        wait_until('it is in sync again', LONG_S, lambda: all(len(p[3]) == 3 for p in n.agree()[0]['moves']), 0.3)


# The first words of who connects here; and the same said to somebody, who finds the connection reset when it answers.
LISTEN = """import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as s:
    s.settimeout(20)
    print(s.accept()[0].recv(65536).hex())"""
SAY_AND_RESET = """import socket, struct, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
sys.stdin.readline()
s.sendall(bytes.fromhex(sys.argv[3]))
s.shutdown(socket.SHUT_WR)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.close()"""


@case
def who_answers_a_connection_that_was_reset_lives_on(n):
    """A greeting that is refused, on a connection that is reset before the broker comes to read it: its answer is a write into nothing."""
    n.fresh()
    n.agree()
    away, answers = n.brokers[VOTERS - 1], n.brokers[0]
    away.kill()
    inside = ('ip', 'netns', 'exec', away.ns, sys.executable, '-c')
    greeting = sh(*inside, LISTEN, away.management, QUORUM).stdout.strip()
    p = subprocess.Popen([*inside, SAY_AND_RESET, answers.management, str(QUORUM), greeting], text=True, stdin=subprocess.PIPE)
    n.helpers.append(p)
    wait_until('it has taken the connection', LONG_S, lambda: sh('ip', 'netns', 'exec', answers.ns, 'ss', '-Hnt', 'state', 'established', 'sport',
                                                             f':{QUORUM}', 'dst', away.management).stdout.strip())
    time.sleep(0.3)  # it is in the kernel's list; the broker takes it from there
    answers.pause()
    try:
        p.communicate('\n', timeout=20)
    finally:
        answers.resume()
    n.helpers.remove(p)
    wait_until('it has refused the greeting', LONG_S, lambda: answers.metrics().get('tidemark_management_refused_total', 0) > 0 or not answers.alive())
    n.nobody_died()
    n.start([away])
    n.agree()


@case
def a_clean_stop_moves_what_it_leads(n):
    n.fresh()
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'moves', '--partitions', 6, '--replication-factor', 3)
    n.agree()
    leaving = n.wait_controller()
    leaving.terminate()
    topics, _ = n.agree()
    leaders = {p[1] for p in topics['moves']}
    expect(leaving.number not in leaders and -1 not in leaders, f'{leaving.number} is gone, leaders are {leaders}')
    n.start([leaving])
    _, brokers = n.agree()
    expect(brokers == [1, 2, 3], brokers)


@case
def records_outlive_a_broker(n):
    """acks=all with min.insync.replicas=2: written, a broker killed, written again; it comes back into every ISR."""
    n.fresh()
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'kept', '--partitions', 3, '--replication-factor', 3,
           '--config', 'min.insync.replicas=2')
    path, boots = n.dir / 'in', ','.join(b.boot for b in n.brokers[:VOTERS])
    path.write_text(''.join(f'line {i}\n' for i in range(2000)))

    def produce():
        n.client('kcat', '-b', boots, '-P', '-t', 'kept', '-l', path, *ONCE)

    produce()
    victim = n.brokers[n.agree()[0]['kept'][0][1] - 1]
    victim.kill()
    produce()
    n.start([victim])
    wait_until('it is in sync again', LONG_S, lambda: all(len(p[3]) == 3 for p in n.agree()[0]['kept']), 0.3)
    got = n.client('kcat', '-b', boots, '-C', '-t', 'kept', '-e', '-q', '-o', 'beginning').stdout.splitlines()
    expect(sorted(got) == sorted(path.read_text().splitlines() * 2), f'{len(got)} of 4000 lines')


@case
def a_replica_that_lost_its_files_is_filled_again(n):
    """All three are killed; two come back without what they had. They must not lead before the third one has filled them."""
    n.fresh(replica_high_watermark_checkpoint_interval_ms=100)
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'kept', '--partitions', 2, '--replication-factor', 3,
           '--config', 'min.insync.replicas=2')
    path, two, boots = n.dir / 'in', n.brokers[:2], ','.join(b.boot for b in n.brokers[:VOTERS])
    path.write_text(''.join(f'line {i}\n' for i in range(2000)))
    for p in range(2):
        n.client('kcat', '-b', boots, '-P', '-t', 'kept', '-p', p, '-l', path, *ONCE)
    wait_until('both are known to be committed', LONG_S, lambda: all(committed(b).count(' 2000 ') == 2 for b in two))
    for b in n.brokers[:VOTERS]:
        b.kill()
    for b in two:
        shutil.rmtree(b.data / 'kept-0')
        log = next((b.data / 'kept-1').glob('*.log'))
        log.write_bytes(bytes(log.stat().st_size))  # its directory is there, its records are not
        (b.data / 'kept-1' / 'active.checkpoint').unlink(missing_ok=True)
    n.start(two)
    wait_until('both take part', LONG_S, lambda: n.metadata(two[0])[1] == [1, 2])
    expect([p[1] for p in n.metadata(two[0])[0]['kept']] == [-1, -1], 'one of them leads')
    n.start(n.brokers[2:VOTERS])
    wait_until('all are in sync again', LONG_S, lambda: all(len(p[3]) == 3 for p in n.agree()[0]['kept']), 0.3)
    got = n.client('kcat', '-b', boots, '-C', '-t', 'kept', '-e', '-q', '-o', 'beginning').stdout.splitlines()
    expect(sorted(got) == sorted(path.read_text().splitlines() * 2), f'{len(got)} of 4000 lines')


@case
def a_follower_that_stands_still_is_named(n):
    """`tidemark trace` on the leader: a request at acks=all that waited for one follower, with the steps of both."""
    n.fresh(broker_session_timeout_ms=60000, broker_heartbeat_interval_ms=500)  # however long a busy machine takes for a record, nobody goes without it
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'waits', '--partitions', 1, '--replication-factor', 3)
    path, boots = n.dir / 'in', ','.join(b.boot for b in n.brokers[:VOTERS])
    path.write_text('one\n')
    send = ('kcat', '-b', boots, '-P', '-t', 'waits', '-l', path, '-X', 'acks=all', '-X', 'message.timeout.ms=60000')
    n.client(*send)
    wait_until('all are in sync', LONG_S, lambda: len(n.agree()[0]['waits'][0][3]) == 3, 0.3)
    leader = n.brokers[n.agree()[0]['waits'][0][1] - 1]
    n.tool('topic', 'create', '--bootstrap', leader.boot, '--topic', 'elsewhere', '--partitions', 1, '--replication-factor', 1)
    absent = next(b for b in n.up() if b.number not in n.agree()[0]['elsewhere'][0][2])
    r = n.tool('trace', '--topic', 'elsewhere', '--control', f'{absent.management}:{METRICS}', check=False)
    expect(r.returncode == 1 and 'no replica of that topic' in r.stderr, r.stderr)
    still, other = sorted((b for b in n.up() if b is not leader), key=lambda b: b is n.wait_controller())
    trace = n.client_start(n.tools / 'control/tool/tidemark', 'trace', '--topic', 'waits', '--slower-than', '500ms', '--count', 1, '--json', '--control',
                           f'{leader.management}:{METRICS}')

    def records():
        return leader.told('tidemark_produce_records_total')

    before = records()
    wait_until('the trace begins', LONG_S, lambda: 'a trace of waits has begun' in leader.said())
    still.pause()
    try:
        producer = n.client_start(*send)
        wait_until('it is appended', LONG_S, lambda: records() > before)
        time.sleep(1)
    finally:
        still.resume()
    n.client_end(producer)
    r = json.loads(n.client_end(trace))
    expect((r['slowest'], r['cause']) == ('watermark', f'follower {still.number}'), r)
    expect(abs(sum(r['stages_us'].values()) - r['took_us']) < 0.1, f'the stages do not add up: {r}')
    steps = {f['broker']: f for f in r['followers']}
    expect(set(steps) == {still.number, other.number}, r)
    expect(steps[other.number]['sent_us'] < steps[other.number]['acknowledged_us'] < steps[still.number]['acknowledged_us'], r)
    expect(steps[still.number]['sent_us'] + 500000 < steps[still.number]['acknowledged_us'] <= r['high_watermark_us'] + 0.1, r)


def flip(path, at):
    """One bit of a file, on the device."""
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 4]))
        f.flush()
        os.fsync(f.fileno())


@case
def what_rotted_comes_again(n):
    """A bit flips in a closed segment of the leader, and in the active one of a broker that is down: nothing wrong is read, nobody
    helps, and all three hold the same bytes."""
    n.fresh(log_tail_buffers=8, replica_high_watermark_checkpoint_interval_ms=100)
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'rots', '--partitions', 1, '--replication-factor', 3,
           '--config', 'min.insync.replicas=2', '--config', 'segment.bytes=1048576')
    n.agree()
    path, boots = n.dir / 'in', ','.join(b.boot for b in n.brokers[:VOTERS])
    lines = [f'line {i} {"x" * 990}' for i in range(6000)]
    path.write_text(''.join(f'{line}\n' for line in lines))
    n.client('kcat', '-b', boots, '-P', '-t', 'rots', '-l', path, *ONCE)

    def state():
        return n.agree()[0]['rots'][0]

    def read(check=True):
        return n.client('kcat', '-b', boots, '-C', '-t', 'rots', '-e', '-q', '-o', 'beginning', check=check).stdout.splitlines()

    def is_mended(b):
        return b.metrics().get('tidemark_replicas_rotten') == 0 and 'cut and filled again' in b.said() and len(state()[3]) == 3

    def logs(b):
        return sorted((b.data / 'rots-0').glob('*.log'))

    leader = n.brokers[state()[1] - 1]
    first = logs(leader)[0]
    flip(first, first.stat().st_size // 2)
    got = read(check=False)
    expect(got == lines[:len(got)] and len(got) < len(lines), f'{len(got)} lines were read, and not the first ones')
    wait_until('it is filled again', LONG_S, lambda: is_mended(leader), 0.3)
    expect(state()[1] != leader.number, 'it leads on')
    expect(read() == lines, 'what is read is not what was written')

    down = n.brokers[next(b for b in state()[2] if b != state()[1]) - 1]
    wait_until('what it has is known to be committed', LONG_S, lambda: ' 6000 ' in committed(down))
    down.kill()
    active = logs(down)[-1]
    flip(active, 200)
    n.start([down])
    wait_until('it is filled again', LONG_S, lambda: is_mended(down), 0.3)
    expect(read() == lines, 'what is read is not what was written')
    held = [segments.read(b.data / 'rots-0') for b in n.brokers[:VOTERS]]
    expect(held[0] == held[1] == held[2], 'replicas hold different bytes')


@case
def a_dead_data_port_gives_its_leaderships_away(n):
    """The management network is well, the cable of the data network is not."""
    n.fresh(data_recover_ms=1000)
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'moves', '--partitions', 6, '--replication-factor', 3)
    n.agree()
    dead, well = n.brokers[1], n.brokers[0]
    sh('ip', '-n', n.ns_net, 'link', 'set', f'{dead.device("data")}p', 'down')
    try:
        wait_until('it leads nothing', LONG_S, lambda: dead.number not in {p[1] for p in n.metadata(well)[0]['moves']}, 0.3)
        wait_until('it hears that it is fenced', LONG_S, lambda: dead.metrics().get('tidemark_fenced') == 1)
    finally:
        sh('ip', '-n', n.ns_net, 'link', 'set', f'{dead.device("data")}p', 'up')
    wait_until('it is back', LONG_S, lambda: dead.metrics().get('tidemark_fenced') == 0, 0.3)


def leaders(n, topic, at):
    return {p[1] for p in n.metadata(at)[0][topic]}


def with_disks_that_fail(n, names, **named):
    """A fresh cluster whose brokers have data directories of these names, and the metadata beside them. Returns the file: as long
    as it is there, what lives below the directory that it names cannot be written."""
    fault = n.dir / 'fault'
    for b in n.up():
        b.kill()
    for b in n.brokers:
        shutil.rmtree(b.data, ignore_errors=True)
        b.data.mkdir()
        b.settings = {**settings(named), 'log.dirs': ','.join(f'{b.data}/{name}' for name in names), 'metadata.log.dir': f'{b.data}/m'}
    os.environ.update(LD_PRELOAD=str(n.build / 'tests/crash/disk_fault.so'), TIDE_DISK_FAULT=str(fault))
    try:
        n.start(n.brokers[:VOTERS])
    finally:
        del os.environ['LD_PRELOAD'], os.environ['TIDE_DISK_FAULT']
    return fault


@case
def a_data_cable_that_carries_one_direction_gives_its_leaderships_away(n):
    """Its link is up and the management network is well: only the others, and itself, miss what does not come."""
    boots = f'{n.brokers[0].boot},{n.brokers[2].boot}'
    victim, well = n.brokers[1], n.brokers[0]
    n.fresh(data_recover_ms=1000, replica_lag_time_max_ms=2000, leader_imbalance_check_interval_seconds=1)
    n.tool('topic', 'create', '--bootstrap', well.boot, '--topic', 'moves', '--partitions', 6, '--replication-factor', 3)
    n.agree()
    for direction in ('out', 'in'):
        wait_until('all lead', LONG_S, lambda: leaders(n, 'moves', well) == {1, 2, 3}, 0.3)
        victim.cut('data', (direction,))
        try:
            wait_until('it leads nothing', LONG_S, lambda: leaders(n, 'moves', well) == {1, 3}, 0.3)
            expect(victim.told('tidemark_fenced') == 0, f'{direction}: it is fenced')
            expect(' active suspect' in n.tool('cluster', 'status', '--control', f'{well.management}:{METRICS}').stdout, 'nobody is suspect')
            n.client('kcat', '-b', boots, '-P', '-t', 'moves', '-X', 'acks=all', '-X', 'message.timeout.ms=60000', '-K', ':', input='1:one\n2:two\n')
        finally:
            victim.heal('data')
    wait_until('it leads again', LONG_S, lambda: leaders(n, 'moves', well) == {1, 2, 3}, 0.3)


@case
def a_log_directory_that_fails_gives_its_leaderships_away(n):
    """One of two: others lead what lives there, it leads on what lives in the other one, and clients go on. Then it is well again."""
    fault = with_disks_that_fail(n, ('a', 'b'), data_recover_ms=1000, leader_imbalance_check_interval_seconds=1)
    victim, well = n.brokers[1], n.brokers[0]
    n.tool('topic', 'create', '--bootstrap', well.boot, '--topic', 'moves', '--partitions', 12, '--replication-factor', 3)
    n.agree()
    path = n.dir / 'in'
    path.write_text(''.join(f'{i}:line {i}\n' for i in range(300)))

    def produce():
        n.client('kcat', '-b', n.boot, '-P', '-t', 'moves', '-K', ':', '-l', path, *ONCE)

    def led():
        return {p[0] for p in n.metadata(well)[0]['moves'] if p[1] == victim.number}

    produce()
    before = led()
    expect(len(before) == 4, before)
    lives = {int(d.name.rpartition('-')[2]) for d in (victim.data / 'b').glob('moves-*')}
    expect(before & lives and before - lives, f'{before} {lives}')
    fault.write_text(str(victim.data / 'b'))
    try:
        produce()
        wait_until('others lead what lives there', LONG_S, lambda: not led() & lives, 0.3)
        wait_until('its replicas are out of sync', LONG_S, lambda: all((victim.number in p[3]) == (p[0] not in lives) for p in n.metadata(well)[0]['moves']), 0.3)
        expect(before - lives <= led() and victim.told('tidemark_fenced') == 0, f'{led()} of {before}, {lives} live there')
        expect(victim.told('tidemark_log_directories_offline') == 1, 'it is not offline')
        produce()
    finally:
        fault.unlink()
    wait_until('it leads again what it did', LONG_S, lambda: led() == before, 0.3)
    got = n.client('kcat', '-b', n.boot, '-C', '-t', 'moves', '-e', '-q', '-o', 'beginning').stdout.splitlines()
    expect(sorted(got) == sorted(f'line {i}' for i in range(300) for _ in range(3)), f'{len(got)} of 900 lines')


@case
def a_broker_whose_only_log_directory_fails_is_fenced(n):
    fault = with_disks_that_fail(n, ('a',), data_recover_ms=1000, leader_imbalance_check_interval_seconds=1)
    victim, well = n.brokers[1], n.brokers[0]
    n.tool('topic', 'create', '--bootstrap', well.boot, '--topic', 'moves', '--partitions', 3, '--replication-factor', 3)
    n.agree()
    fault.write_text(str(victim.data / 'a'))
    try:
        for _ in range(3):
            n.client('kcat', '-b', n.boot, '-P', '-t', 'moves', '-X', 'acks=all', '-X', 'message.timeout.ms=60000', '-K', ':', input=''.join(f'{i}:line\n' for i in range(100)))
        wait_until('it is fenced', LONG_S, lambda: victim.metrics().get('tidemark_fenced') == 1, 0.3)
        wait_until('the others hear of it', LONG_S, lambda: leaders(n, 'moves', well) <= {1, 3}, 0.3)
    finally:
        fault.unlink()
    wait_until('it leads again', LONG_S, lambda: victim.number in leaders(n, 'moves', well), 0.3)


@case
def a_setting_that_counted_at_birth_only_is_told(n):
    """min.insync.replicas and its like are the cluster's: a file that says otherwise is not obeyed in silence."""
    n.fresh()
    b = n.brokers[0]
    b.terminate()
    b.settings.update({'min.insync.replicas': 2, 'ack.durability': 'memory', 'unclean.leader.election.enable': 'false'})
    n.start([b])
    at = f'{b.management}:{METRICS}'
    command = f'tidemark cluster config --set min.insync.replicas=2 --control {at}'
    expect(command in b.said() and 'the cluster goes by device' in b.said() and 'unclean' not in b.said(), b.said()[-2000:])
    shown = n.tool(*command.split()[1:]).stdout
    expect(shown == 'config min.insync.replicas=2\n', shown)
    b.terminate()
    n.start([b])
    expect('min.insync.replicas' not in b.said(), b.said()[-2000:])
    n.tool('cluster', 'config', '--delete', 'min.insync.replicas', '--control', at)
    for wrong in ('ack.durability=memory', 'min.insync.replicas=0', 'no.such=1'):
        r = n.tool('cluster', 'config', '--set', wrong, '--control', at, check=False)
        expect(r.returncode == 1 and r.stderr, f'{wrong}: {r.returncode} {r.stderr}')


@case
def who_does_not_belong_is_refused(n):
    n.fresh(controller_allow=ALLOW)
    three, four = n.brokers[2], n.brokers[3]
    three.terminate()
    # another cluster's directory
    refuses_to_start(three, 'belongs to cluster', cluster_id=OTHER)
    # a directory that is fresh, of another cluster
    kept = three.data.with_suffix('.kept')
    three.data.rename(kept)
    refuses_to_start(three, 'the directories or cluster.id', cluster_id=OTHER)
    # a voter whose log is gone
    shutil.rmtree(three.data)
    refuses_to_start(three, 'metadata log is gone')
    shutil.rmtree(three.data)
    kept.rename(three.data)
    n.start([three])
    # a number that is in use
    refuses_to_start(four, 'another process runs as', node_id=3, controller_listener=f'{four.management}:{QUORUM}', broker_session_timeout_ms=1000)
    shutil.rmtree(four.data)
    expect(n.agree()[1] == [1, 2, 3], 'the one that was there first is there no more')


@case
def who_may_not_come_is_kept_out(n):
    n.fresh()
    four = n.brokers[3]
    four.start()
    wait_until('it is kept out', LONG_S, lambda: any(b.metrics().get('tidemark_management_refused_total', 0) > 0 for b in n.up()[:VOTERS]), 0.2)
    wait_until('it is told why', LONG_S, lambda: 'controller.allow' in four.said())
    expect(four.process.poll() is None and 'tidemarkd: ready' not in four.said(), four.said()[-2000:])
    four.kill()
    shutil.rmtree(four.data)


@case
def a_corrupt_log_stops_the_start(n):
    n.fresh()
    for i in range(5):
        n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', f'before-{i}', '--partitions', 1, '--replication-factor', 3)
    two = n.brokers[1]
    two.terminate()
    log = sorted((two.data / '__cluster_metadata-0').glob('*.log'))[0]
    whole = log.read_bytes()
    used = len(whole.rstrip(b'\0'))
    bad = bytearray(whole)
    bad[used // 2] ^= 0xff
    log.write_bytes(bad)
    refuses_to_start(two, log.name)
    log.write_bytes(whole)
    n.start([two])
    n.agree()


@case
def a_lost_voter_is_replaced(n):
    """By the commands that `tidemark cluster --help` names."""
    n.fresh(controller_allow=ALLOW)
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'stays', '--partitions', 3, '--replication-factor', 3)
    lost, new = n.wait_controller(), n.brokers[3]
    lost.kill()
    shutil.rmtree(lost.data)
    at = f'{n.wait_controller().management}:{METRICS}'
    n.tool('cluster', 'voters', '--remove', lost.number, '--control', at)
    new.settings['controller.listener'] = f'{new.management}:{QUORUM}'
    n.start(n.brokers[3:])
    shown = n.tool('cluster', 'voters', '--add', f'4@{new.management}:{QUORUM}', '--control', at, timeout=130).stdout
    expect(f'voter 4 {new.management}:{QUORUM}\n' in shown and f'voter {lost.number} ' not in shown, shown)
    # The new one counts: with it a majority stands without another of the first three.
    n.wait_controller().kill()
    n.wait_controller()
    n.tool('topic', 'create', '--bootstrap', n.up()[0].boot, '--topic', 'after', '--partitions', 1, '--replication-factor', 2)
    topics, _ = n.agree()
    expect(set(topics) == {'stays', 'after'}, topics)


@case
def the_tool_shows_and_drains(n):
    n.fresh()
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'kept', '--partitions', 6, '--replication-factor', 3)
    n.agree()
    b = n.brokers[0]
    shown = n.tool('cluster', 'status', '--control', f'{b.management}:{METRICS}').stdout
    expect(f'cluster {n.id}' in shown and 'broker 3 active' in shown and shown.count('voter ') == 3 and 'without a leader 0' in shown, shown)
    n.tool('cluster', 'drain', '--control', f'{b.management}:{METRICS}', timeout=130)
    b.wait_stopped(LONG_S)
    topics, _ = n.agree()
    expect({p[1] for p in topics['kept']} == {2, 3}, topics)


@case
def an_observer_follows(n):
    """A fourth broker, no voter, from a network that controller.allow names."""
    n.fresh(controller_allow=ALLOW)
    n.start(n.brokers[3:])
    n.tool('topic', 'create', '--bootstrap', n.brokers[3].boot, '--topic', 'by-observer', '--partitions', 4, '--replication-factor', 3)
    topics, brokers = n.agree()
    expect(brokers == [1, 2, 3, 4], brokers)
    expect({x for p in topics['by-observer'] for x in p[2]} == {1, 2, 3, 4}, topics)
    n.brokers[3].terminate()


SELECTOR = 'org.apache.kafka.common.replica.RackAwareReplicaSelector'


def served(n):
    """Bytes that each broker served to consumers so far."""
    return {b.number: b.told('tidemark_fetch_bytes_total') for b in n.brokers[:VOTERS]}


@case
def a_broker_that_knows_nothing_yet_takes_no_clients(n):
    """What it remembers may be long gone: a client is refused, and goes to another broker, until it has registered."""
    n.fresh()
    first, others = n.brokers[0], n.brokers[1:VOTERS]
    host, port = first.boot.split(':')
    n.tool('topic', 'create', '--bootstrap', n.boot, '--topic', 'known', '--replication-factor', 3)
    n.agree()
    for b in n.brokers[:VOTERS]:
        b.kill()
    first.start()
    wait_until('it reaches out', LONG_S, first.metrics)

    def connects():
        r = n.client(sys.executable, '-c', f'import socket; print(socket.socket().connect_ex(("{host}", {port})))')
        expect(int(r.stdout) in (0, errno.ECONNREFUSED), f'connecting ends with {os.strerror(int(r.stdout))}')
        return int(r.stdout) == 0

    for _ in range(10):
        expect(not connects(), 'a broker without a controller answers clients')
        time.sleep(0.1)
    others[0].start()
    wait_until('clients are taken', LONG_S, connects)
    expect('known' in n.metadata(first)[0], 'the topic is not there')
    n.start([b for b in n.brokers[:VOTERS] if not b.alive()])


@case
def consumers_read_in_their_rack(n):
    """librdkafka with client.rack: its records come from the broker there, while others are killed, and that one, too."""
    n.fresh(lambda b: {'broker.rack': f'rack-{b.number}'}, replica_selector_class=SELECTOR, replica_lag_time_max_ms=2000)
    n.tool('topic', 'create', '--bootstrap', n.boot, '--topic', 'near', '--partitions', 3, '--replication-factor', 3,
           '--config', 'min.insync.replicas=2')
    n.agree()
    path = n.dir / 'near'
    sent = []

    def produce(count):
        more = [f'record {len(sent) + i:06d} {"x" * 200}' for i in range(count)]
        path.write_text('\n'.join(more) + '\n')
        boots = ','.join(b.boot for b in n.up())
        n.client('kcat', '-b', boots, '-P', '-t', 'near', '-X', 'acks=all', '-X', 'enable.idempotence=true',
                 '-X', 'sticky.partitioning.linger.ms=0', '-l', path)  # each partition, and so each leader, gets its share
        sent.extend(more)

    def consumer(rack, *args):
        return ('kcat', '-b', n.boot, '-C', '-t', 'near', '-o', 'beginning', '-q', '-u', '-f', '%p %o %s\n', '-X', f'client.rack={rack}',
                '-X', 'topic.metadata.refresh.interval.ms=1000', *args)

    def check(out, what):
        """Every record once, and in order."""
        at, got = {}, []
        for line in out.splitlines():
            p, o, value = line.split(' ', 2)
            expect(at.setdefault(p, 0) == int(o), f'{what}: partition {p} goes on at {o}, not at {at[p]}')
            at[p] += 1
            got.append(value)
        return sorted(got) == sorted(sent)

    produce(5000)
    size = sum(len(s) for s in sent)
    for b in n.brokers[:VOTERS]:
        def read():
            before = served(n)
            good = check(n.client(*consumer(f'rack-{b.number}', '-e')).stdout, f'rack {b.number}')
            after = served(n)
            return good and {k: after[k] - before[k] for k in after}  # at first its mark may be a beat behind: an early end
        took = wait_until(f'all records in rack {b.number}', LONG_S, read, 0.5)
        expect(took[b.number] >= size and all(v < size / 10 for k, v in took.items() if k != b.number), f'rack {b.number}: bytes of brokers {took}')
    before = served(n)
    wait_until('all records elsewhere', LONG_S, lambda: check(n.client(*consumer('elsewhere', '-e')).stdout, 'elsewhere'), 0.5)
    expect(all(v - before[k] > size / 10 for k, v in served(n).items()), 'a consumer in no rack reads from the leaders')
    # A consumer that stays: its own broker goes, comes back, then another one.
    stays = n.dir / 'stays'  # a pipe would be full after some hundred records, and it would stand still until the end
    p = n.client_start('sh', '-c', 'exec "$@" >"$0"', stays, *consumer('rack-2', '-c', 5000 + 6 * 200))
    # librdkafka 2.0.2 may ask for the offset where it begins once more than it has use for, when the leader goes just then; if its rack
    # has got the partition meanwhile, it asks there, is refused, and asks again for minutes.
    wait_until('it has begun', LONG_S, lambda: stays.exists() and len(stays.read_text().splitlines()) == len(sent))
    for b in (n.brokers[1], n.brokers[0]):
        produce(200)
        b.kill()
        wait_until('others lead', LONG_S, lambda: all(x[1] > 0 and x[1] != b.number for x in n.metadata(n.up()[0])[0]['near']))
        produce(200)
        n.start([b])
        wait_until('in sync again', LONG_S, lambda: all(len(x[3]) == 3 for x in n.metadata(b)[0]['near']))
        produce(200)
    try:
        n.client_end(p)
    except Failure as e:
        raise Failure(f'{e}; it has {len(stays.read_text().splitlines())} of {len(sent)} records') from None
    expect(check(stays.read_text(), 'the one that stays'), 'not all records came')


@case
def a_core_that_hangs_in_its_wait_gives_its_leaderships_away(n):
    """An idle core, asleep, that never comes back: it is offline for grace periods, so only its turns tell."""
    n.fresh()
    n.tool('topic', 'create', '--bootstrap', n.boot, '--topic', 'hung', '--partitions', 3, '--replication-factor', 3)
    first = wait_until('each leads one', LONG_S, lambda: n.agree() if sorted(p[1] for p in n.agree()[0]['hung']) == [1, 2, 3] else None)[0]['hung']
    victim, witness = n.brokers[first[0][1] - 1], n.brokers[first[1][1] - 1]
    with stopped_thread(victim.process.pid, 'worker'):
        wait_until('others lead', LONG_S, lambda: all(p[1] not in (-1, victim.number) for p in n.metadata(witness)[0]['hung']), 0.3)
        expect('the data path is stalled: a core does not turn' in victim.said(), victim.text())
    wait_until('it is in sync again', LONG_S, lambda: all(len(p[3]) == 3 for p in n.metadata(witness)[0]['hung']), 0.3)
    wait_until('it says so', LONG_S, lambda: 'the data path is well again' in victim.said())


@case
def hosts_share_their_ports_with_the_brokers(n):
    """The data interfaces are the hosts' as well: the streams between brokers, and what the hosts have with each other, go over the same ones."""
    def hears(b):
        return sh('ip', 'netns', 'exec', b.ns, sys.executable, ROOT / 'tests/interop/ping.py', n.brokers[b.number % VOTERS].address, 2, 200, check=False).returncode == 0

    for b in n.up():
        b.kill()
    n.vdev = 'af_xdp'
    services = []
    try:
        for b in n.brokers[:VOTERS]:
            b.leave_to_us(False)
            sh('ip', '-n', b.ns, 'addr', 'replace', f'{b.address}/24', 'dev', b.device('data'))
            sh('ip', 'netns', 'exec', b.ns, 'ethtool', '-K', b.device('data'), 'tx', 'off')
            services.append(subprocess.Popen(['ip', 'netns', 'exec', b.ns, sys.executable, '-c',
                                              f'import socket; s = socket.create_server(("{b.address}", 2222))\nwhile True: c = s.accept()[0]; c.sendall(b"host"); c.close()']))
        n.fresh(data_port_shared='true')
        n.tool('topic', 'create', '--bootstrap', n.boot, '--topic', 'shared', '--partitions', 6, '--replication-factor', 3, '--config', 'min.insync.replicas=2')
        n.agree()
        path, boots = n.dir / 'in', ','.join(b.boot for b in n.brokers[:VOTERS])
        path.write_text(''.join(f'line {i}\n' for i in range(5000)))
        sent = 0
        for victim in n.brokers[:VOTERS]:
            for kill in (True, False):  # one after the other is gone and comes back
                n.client('kcat', '-b', boots, '-P', '-t', 'shared', '-l', path, *ONCE)
                sent += 1
                if kill:
                    victim.kill()
                    expect(hears(victim), 'a host without its broker does not hear another one')
            n.start([victim])
            wait_until('it is in sync again', LONG_S, lambda: all(len(p[3]) == 3 for p in n.agree()[0]['shared']), 0.3)
        got = n.client('kcat', '-b', boots, '-C', '-t', 'shared', '-e', '-q', '-o', 'beginning').stdout.splitlines()
        expect(sorted(got) == sorted(path.read_text().splitlines() * sent), f'{len(got)} of {5000 * sent} lines')
        for b in n.brokers[:VOTERS]:
            other = n.brokers[b.number % VOTERS].address
            r = sh('ip', 'netns', 'exec', b.ns, sys.executable, '-c', f'import socket; print(socket.create_connection(("{other}", 2222), 20).recv(10))')
            expect(hears(b) and 'host' in r.stdout, f'the hosts do not hear each other: {r.stdout}')
            wait_until('its streams', LONG_S, lambda b=b: b.told('tidemark_peer_streams') >= 2)
            m = wait_until('its metrics', LONG_S, b.metrics)
            expect(not [k for k, v in m.items() if v and ('_arp_in' in k or '_icmp_echo' in k or '_rx_unknown' in k)],
                   {k: v for k, v in m.items() if v and ('arp' in k or 'icmp' in k or 'rx_' in k or 'streams' in k)})
    finally:
        for b in n.up():
            b.kill()
        for s in services:
            s.kill()
            s.wait()
        n.vdev = 'af_packet'
        for b in n.brokers[:VOTERS]:
            sh('ip', '-n', b.ns, 'addr', 'flush', 'dev', b.device('data'), check=False)
            sh('ip', '-n', b.ns, 'link', 'set', b.device('data'), 'xdp', 'off', check=False)
            b.leave_to_us()


def main():
    global FULL
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--build', default=str(ROOT / 'build'))
    p.add_argument('--tools', help='where the tool is, if not in DIR')
    p.add_argument('--full', action='store_true', default=os.environ.get('TIDE_FULL') == '1')
    p.add_argument('--only')
    p.add_argument('--list', action='store_true')
    a = p.parse_args()
    FULL = a.full
    if a.list:
        print('\n'.join(f.__name__ for f in CASES))
        return 0
    if os.geteuid() != 0:
        print('skipped: namespaces need root')
        return 77
    net = Net(a.build, VOTERS + 1, 'af_packet', a.tools, {'default.replication.factor': 3}, VOTERS)
    passed = failed = 0
    for f in CASES:
        if a.only is not None and a.only != f.__name__:
            continue
        began = time.monotonic()
        try:
            f(net)
            passed += 1
            print(f'ok      {f.__name__} ({time.monotonic() - began:.1f} s)', flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f'FAILED  {f.__name__}\n        show it again: {sys.argv[0]} --build {a.build} --only {f.__name__}\n{traceback.format_exc(limit=4)}', flush=True)
    net.close()
    print(f'{passed} passed, {failed} failed, 0 skipped')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
