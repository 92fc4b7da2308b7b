#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three real brokers that decide together. quorum.py --build DIR [--full] [--only NAME] [--list]

Each broker has a namespace of its own with two cables: one to the data network, whose port is the broker's, and one to
the management network, which the kernel serves. A fourth namespace holds both bridges and the clients."""
import argparse
import atexit
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

COUNT = 3
CLUSTER = 'dGlkZW1hcmstY2x1c3Rlcg'
OTHER = 'b3RoZXItb3RoZXItb3RoZQ'
READY_S = 60
CASES = []
FULL = False


class Failure(Exception):
    pass


def case(f):
    CASES.append(f)
    return f


def expect(holds, text):
    if not holds:
        raise Failure(text)


def sh(*args, check=True, timeout=60, **kw):
    return subprocess.run([str(a) for a in args], check=check, timeout=timeout, text=True, capture_output=True, **kw)


def until(seconds, what, f, every=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = f()
        if got:
            return got
        time.sleep(every)
    raise Failure(f'not within {seconds} s: {what}')


class Broker:
    def __init__(self, net, number):
        self.net, self.id = net, number
        self.ns = f'{net.tag}b{number}'
        self.data_dev, self.mgmt_dev = f'{net.tag}d{number}', f'{net.tag}m{number}'
        self.data_ip, self.mgmt_ip = f'10.78.1.{number}', f'10.79.1.{number}'
        self.boot = f'{self.data_ip}:9092'
        self.dir = net.dir / f'data{number}'
        self.log = net.dir / f'broker{number}.log'
        self.process = None
        self.settings = {}

    def config(self, **more):
        values = {'node.id': self.id, 'log.dirs': self.dir, 'listeners': f'PLAINTEXT://{self.boot}',
                  'data.address': f'{self.data_ip}/24', 'core.idle': 'wait', 'dpdk.hugepages': 'off', 'dpdk.memory.mb': 512,
                  'core.request.memory.bytes': 8388608, 'log.tail.buffers': 64, 'log.read.buffers': 16,
                  'data.ports': f'vdev:net_af_packet0,iface={self.data_dev},blocksz=1048576,framesz=2048,framecnt=1024',
                  'control.address': f'{self.mgmt_ip}:9644', 'cluster.id': CLUSTER, 'quorum.voters': self.net.voters(),
                  'default.replication.factor': 3, 'replication.port': 9094}
        values.update({k.replace('_', '.'): v for k, v in self.settings.items()})
        values.update({k.replace('_', '.'): v for k, v in more.items()})
        path = self.net.dir / f'broker{self.id}.conf'
        path.write_text(''.join(f'{k}={v}\n' for k, v in values.items() if v is not None))
        return path

    def launch(self, **more):
        self.mark = self.log.stat().st_size if self.log.exists() else 0
        out = open(self.log, 'ab')
        self.process = subprocess.Popen(['ip', 'netns', 'exec', self.ns, str(self.net.build / 'control/daemon/tidemarkd'), '--config',
                                         str(self.config(**more))], stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def said(self):
        return self.log.read_text(errors='replace')[self.mark:] if self.log.exists() else ''

    def wait_ready(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            if 'tidemarkd: ready' in self.said():
                return
            expect(self.process.poll() is None, f'broker {self.id} ended with {self.process.poll()}:\n{self.said()[-3000:]}')
            time.sleep(0.02)
        raise Failure(f'broker {self.id} is not ready:\n{self.said()[-3000:]}')

    def refuses_to_start(self, word, seconds=30, **more):
        self.launch(**more)
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired as e:
            raise Failure(f'broker {self.id} did not end:\n{self.said()[-3000:]}') from e
        expect(code != 0 and word in self.said(), f'broker {self.id} ended with {code} and did not say "{word}":\n{self.said()[-3000:]}')
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired as e:
            raise Failure(f'broker {self.id} does not stop:\n{self.said()[-3000:]}') from e
        expect(code == 0, f'broker {self.id} stopped with {code}:\n{self.said()[-3000:]}')
        self.process = None

    def metrics(self):
        text = self.net.client('curl', '-s', '-m', 2, f'http://{self.mgmt_ip}:9644/metrics', check=False).stdout
        return {m[1]: float(m[2]) for m in re.finditer(r'^([a-z_]+(?:\{[^}]*\})?) ([0-9.e+-]+)$', text, re.M)}


class Net:
    def __init__(self, build, tools=None):
        self.build = pathlib.Path(build).resolve()
        self.tools = pathlib.Path(tools or build).resolve()
        self.tag = f'tk{os.getpid() % 10000}'
        self.ns = f'{self.tag}c'
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='tidemark-cluster-', dir='/var/tmp'))
        self.brokers = [Broker(self, i + 1) for i in range(COUNT + 1)]
        self.members = [1, 2, 3]
        atexit.register(self.close)
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, lambda *_: sys.exit(1))
        self.connect()

    def voters(self):
        return ','.join(f'{b.id}@{b.mgmt_ip}:9093' for b in self.brokers[:COUNT])

    def connect(self):
        sh('ip', 'netns', 'add', self.ns)
        sh('ip', '-n', self.ns, 'link', 'set', 'lo', 'up')
        for bridge, ip in (('data', '10.78.1.100'), ('mgmt', '10.79.1.100')):
            sh('ip', '-n', self.ns, 'link', 'add', bridge, 'type', 'bridge')
            sh('ip', '-n', self.ns, 'addr', 'add', f'{ip}/24', 'dev', bridge)
            sh('ip', '-n', self.ns, 'link', 'set', bridge, 'up')
            sh('ip', 'netns', 'exec', self.ns, 'ethtool', '-K', bridge, 'tx', 'off', check=False)
        for b in self.brokers:
            sh('ip', 'netns', 'add', b.ns)
            sh('ip', 'netns', 'exec', b.ns, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1')
            sh('ip', '-n', b.ns, 'link', 'set', 'lo', 'up')
            for dev, bridge in ((b.data_dev, 'data'), (b.mgmt_dev, 'mgmt')):
                sh('ip', 'link', 'add', dev, 'type', 'veth', 'peer', 'name', f'{dev}x')
                sh('ip', 'link', 'set', dev, 'netns', b.ns)
                sh('ip', 'link', 'set', f'{dev}x', 'netns', self.ns)
                sh('ip', '-n', self.ns, 'link', 'set', f'{dev}x', 'master', bridge)
                sh('ip', '-n', self.ns, 'link', 'set', f'{dev}x', 'up')
                sh('ip', '-n', b.ns, 'link', 'set', dev, 'up')
                sh('ip', 'netns', 'exec', b.ns, 'ethtool', '-K', dev, 'tx', 'off', check=False)
            sh('ip', '-n', b.ns, 'addr', 'add', f'{b.mgmt_ip}/24', 'dev', b.mgmt_dev)

    def close(self):
        for b in self.brokers:
            if b.process is not None and b.process.poll() is None:
                b.process.kill()
                b.process.wait()
            b.process = None
            sh('ip', 'netns', 'del', b.ns, check=False)
        sh('ip', 'netns', 'del', self.ns, check=False)
        if not os.environ.get('TIDE_KEEP'):
            shutil.rmtree(self.dir, ignore_errors=True)

    def client(self, *args, timeout=60, check=True, **kw):
        r = sh('ip', 'netns', 'exec', self.ns, *args, timeout=timeout, check=False, **kw)
        if check and r.returncode != 0:
            raise Failure(f'{" ".join(str(a) for a in args)[:300]}: status {r.returncode}\n{r.stdout[-800:]}\n{r.stderr[-1500:]}')
        return r

    def tool(self, *args, **kw):
        return self.client(self.tools / 'control/tool/tidemark', *args, **kw)

    # ---- the cluster ---------------------------------------------------------------------------------------------

    def up(self):
        return [b for b in self.brokers if b.process is not None and b.process.poll() is None]

    def start(self, *numbers, **more):
        some = [self.brokers[n - 1] for n in numbers or (1, 2, 3)]
        for b in some:
            b.launch(**more)
        for b in some:
            b.wait_ready()

    def fresh(self, **settings):
        for b in self.up():
            b.kill()
        for b in self.brokers:
            shutil.rmtree(b.dir, ignore_errors=True)
            b.settings = dict(settings)
        self.start()

    def controller(self, among=None):
        """The broker that says of itself that it is the controller."""
        for b in among or self.up():
            if b.metrics().get('tidemark_is_controller') == 1:
                return b
        return None

    def wait_controller(self, seconds=20):
        return until(seconds, 'a controller', self.controller)

    def metadata(self, b):
        """What a client sees: {topic: [(partition, leader, replicas, isr)]}, and the brokers."""
        r = self.client('kcat', '-b', b.boot, '-L', '-J', '-m', 10)
        m = json.loads(r.stdout)
        topics = {t['topic']: sorted((p['partition'], p['leader'], tuple(x['id'] for x in p['replicas']), tuple(sorted(x['id'] for x in p['isrs'])))
                                     for p in t['partitions']) for t in m['topics']}
        return topics, sorted(x['id'] for x in m['brokers'])

    def agree(self, seconds=15):
        """Until all that run show the same; returns it."""
        def same():
            try:
                seen = [self.metadata(b) for b in self.up()]
            except (Failure, ValueError, subprocess.TimeoutExpired):
                return None
            return seen[0] if all(s == seen[0] for s in seen) else None
        return until(seconds, 'the same metadata everywhere', same, 0.2)


# ---- cases -------------------------------------------------------------------------------------------------------------

@case
def the_same_from_all_three(n):
    """A topic with three replicas, made on any broker, is the same on all three."""
    n.fresh()
    for b in n.up():
        n.tool('topic', 'create', '--bootstrap', b.boot, '--topic', f'by-{b.id}', '--partitions', 3, '--replication-factor', 3)
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
            boots = ','.join(b.boot for b in n.brokers[:COUNT])
            name = f'load-{number}'
            number += 1
            r = n.client(n.tools / 'control/tool/tidemark', 'topic', 'create', '--bootstrap', boots, '--topic', name, '--partitions', 1,
                         '--replication-factor', 2, check=False, timeout=60)
            if r.returncode == 0:
                made.append(name)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(rounds):
            old = n.wait_controller()
            before = len(made)
            until(30, 'topics are created', lambda: len(made) > before + 1)
            began = time.monotonic()
            old.kill()
            until(20, 'a new controller', lambda: n.controller([b for b in n.up() if b is not old]), 0.02)
            times.append(time.monotonic() - began)
            before = len(made)
            until(30, 'topics are created again', lambda: len(made) > before + 1)
            old.launch()
            old.wait_ready()
    finally:
        stop.set()
        thread.join()
    topics, brokers = n.agree(30)
    expect(brokers == [1, 2, 3], brokers)
    lost = [t for t in made if t not in topics]
    expect(not lost, f'{len(lost)} acknowledged topics are gone: {lost[:10]}')
    print(f'        {rounds} kills, {len(made)} topics, a new controller after {min(times):.2f} to {max(times):.2f} s '
          f'(mean {sum(times) / len(times):.2f})')


@case
def a_clean_stop_moves_what_it_leads(n):
    n.fresh()
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'moves', '--partitions', 6, '--replication-factor', 3)
    n.agree()
    leaving = n.controller()
    leaving.stop()
    topics, _ = n.agree()
    leaders = {p[1] for p in topics['moves']}
    expect(leaving.id not in leaders and -1 not in leaders, f'{leaving.id} is gone, leaders are {leaders}')
    leaving.launch()
    leaving.wait_ready()
    _, brokers = n.agree()
    expect(brokers == [1, 2, 3], brokers)


@case
def records_outlive_a_broker(n):
    """acks=all with min.insync.replicas=2: written, a broker killed, written again; it comes back into every ISR."""
    n.fresh()
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'kept', '--partitions', 3, '--replication-factor', 3,
           '--config', 'min.insync.replicas=2')
    path, boots = n.dir / 'in', ','.join(b.boot for b in n.brokers[:COUNT])
    path.write_text(''.join(f'line {i}\n' for i in range(2000)))

    def produce():
        n.client('kcat', '-b', boots, '-P', '-t', 'kept', '-l', path, '-X', 'acks=all', '-X', 'message.timeout.ms=30000')

    produce()
    victim = n.brokers[n.agree()[0]['kept'][0][1] - 1]
    victim.kill()
    produce()
    victim.launch()
    victim.wait_ready()
    until(60, 'it is in sync again', lambda: all(len(p[3]) == 3 for p in n.agree()[0]['kept']), 0.3)
    got = n.client('kcat', '-b', boots, '-C', '-t', 'kept', '-e', '-q', '-o', 'beginning').stdout.splitlines()
    expect(sorted(got) == sorted(path.read_text().splitlines() * 2), f'{len(got)} of 4000 lines')


@case
def a_dead_data_port_gives_its_leaderships_away(n):
    """The management network is well, the cable of the data network is not."""
    n.fresh(data_recover_ms=1000)
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'moves', '--partitions', 6, '--replication-factor', 3)
    n.agree()
    dead, well = n.brokers[1], n.brokers[0]
    sh('ip', '-n', n.ns, 'link', 'set', f'{dead.data_dev}x', 'down')
    try:
        until(15, 'it leads nothing', lambda: dead.id not in {p[1] for p in n.metadata(well)[0]['moves']}, 0.3)
        expect(dead.metrics().get('tidemark_fenced') == 1, 'it is not fenced')
    finally:
        sh('ip', '-n', n.ns, 'link', 'set', f'{dead.data_dev}x', 'up')
    until(20, 'it is back', lambda: dead.metrics().get('tidemark_fenced') == 0, 0.3)


@case
def who_does_not_belong_is_refused(n):
    n.fresh(controller_allow='10.79.1.0/24')
    three, four = n.brokers[2], n.brokers[3]
    three.stop()
    # another cluster's directory
    three.refuses_to_start('belongs to cluster', cluster_id=OTHER)
    # a directory that is fresh, of another cluster
    kept = three.dir.with_suffix('.kept')
    three.dir.rename(kept)
    three.refuses_to_start('the directories or cluster.id', cluster_id=OTHER)
    # a voter whose log is gone
    shutil.rmtree(three.dir)
    three.refuses_to_start('metadata log is gone')
    shutil.rmtree(three.dir)
    kept.rename(three.dir)
    n.start(3)
    # a number that is in use
    four.refuses_to_start('another process runs as', node_id=3, controller_listener=f'{four.mgmt_ip}:9093', broker_session_timeout_ms=1000)
    shutil.rmtree(four.dir)
    expect(n.agree()[1] == [1, 2, 3], 'the one that was there first is there no more')


@case
def who_may_not_come_is_kept_out(n):
    n.fresh()
    four = n.brokers[3]
    four.launch()
    until(10, 'it is kept out', lambda: any(b.metrics().get('tidemark_management_refused_total', 0) > 0 for b in n.up()[:COUNT]), 0.2)
    until(10, 'it is told why', lambda: 'controller.allow' in four.said())
    expect(four.process.poll() is None and 'tidemarkd: ready' not in four.said(), four.said()[-2000:])
    four.kill()
    shutil.rmtree(four.dir)


@case
def a_corrupt_log_stops_the_start(n):
    n.fresh()
    for i in range(5):
        n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', f'before-{i}', '--partitions', 1, '--replication-factor', 3)
    two = n.brokers[1]
    two.stop()
    log = sorted((two.dir / '__cluster_metadata-0').glob('*.log'))[0]
    whole = log.read_bytes()
    used = len(whole.rstrip(b'\0'))
    bad = bytearray(whole)
    bad[used // 2] ^= 0xff
    log.write_bytes(bad)
    two.refuses_to_start(log.name)
    log.write_bytes(whole)
    n.start(2)
    n.agree()


@case
def a_lost_voter_is_replaced(n):
    """By the commands that `tidemark cluster --help` names."""
    n.fresh(controller_allow='10.79.1.0/24')
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'stays', '--partitions', 3, '--replication-factor', 3)
    lost, new = n.controller(), n.brokers[3]
    lost.kill()
    shutil.rmtree(lost.dir)
    at = f'{n.wait_controller().mgmt_ip}:9644'
    n.tool('cluster', 'voters', '--remove', lost.id, '--control', at)
    new.settings['controller_listener'] = f'{new.mgmt_ip}:9093'
    n.start(4)
    shown = n.tool('cluster', 'voters', '--add', f'4@{new.mgmt_ip}:9093', '--control', at, timeout=130).stdout
    expect(f'voter 4 {new.mgmt_ip}:9093\n' in shown and f'voter {lost.id} ' not in shown, shown)
    # The new one counts: with it a majority stands without another of the first three.
    n.wait_controller().kill()
    n.wait_controller(30)
    n.tool('topic', 'create', '--bootstrap', n.up()[0].boot, '--topic', 'after', '--partitions', 1, '--replication-factor', 2)
    topics, _ = n.agree()
    expect(set(topics) == {'stays', 'after'}, topics)


@case
def the_tool_shows_and_drains(n):
    n.fresh()
    n.tool('topic', 'create', '--bootstrap', n.brokers[0].boot, '--topic', 'kept', '--partitions', 6, '--replication-factor', 3)
    n.agree()
    b = n.brokers[0]
    shown = n.tool('cluster', 'status', '--control', f'{b.mgmt_ip}:9644').stdout
    expect(f'cluster {CLUSTER}' in shown and 'broker 3 active' in shown and shown.count('voter ') == 3 and 'without a leader 0' in shown, shown)
    n.tool('cluster', 'drain', '--control', f'{b.mgmt_ip}:9644', timeout=130)
    expect(b.process.wait(timeout=30) == 0, b.said()[-2000:])
    b.process = None
    topics, _ = n.agree()
    expect({p[1] for p in topics['kept']} == {2, 3}, topics)


@case
def an_observer_follows(n):
    """A fourth broker, no voter, from a network that controller.allow names."""
    n.fresh(controller_allow='10.79.1.0/24')
    n.start(4)
    n.tool('topic', 'create', '--bootstrap', n.brokers[3].boot, '--topic', 'by-observer', '--partitions', 4, '--replication-factor', 3)
    topics, brokers = n.agree()
    expect(brokers == [1, 2, 3, 4], brokers)
    expect({x for p in topics['by-observer'] for x in p[2]} == {1, 2, 3, 4}, topics)
    n.brokers[3].stop()


def main():
    global FULL
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--build', default='build')
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
    net = Net(a.build, a.tools)
    passed = failed = 0
    for f in CASES:
        if a.only is not None and a.only != f.__name__:
            continue
        began = time.monotonic()
        try:
            f(net)
            passed += 1
            print(f'ok      {f.__name__} ({time.monotonic() - began:.1f} s)', flush=True)
        except (Failure, subprocess.SubprocessError, OSError, KeyError, IndexError, ValueError):
            failed += 1
            traceback.print_exc(limit=4)
            print(f'FAILED  {f.__name__}\n        show it again: {sys.argv[0]} --build {a.build} --only {f.__name__}', flush=True)
    net.close()
    print(f'{passed} passed, {failed} failed, 0 skipped')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
