# SPDX-License-Identifier: Apache-2.0
"""Brokers in namespaces of their own, with a data network and a management network that can be cut, and a client.

    ns -net     two bridges, the data network and the management network
    ns -bN      broker N: a cable to each; on the data cable the broker's own TCP answers
    ns -client  the clients: a cable to each

A cable is cut where it meets the bridge, in one direction or both: out is what the broker sends. Everything is torn down
at the end, also on failure; TIDE_KEEP=1 keeps the directories.
"""
import atexit
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA, MANAGEMENT = '10.78.0', '10.79.0'
PORT, METRICS, QUORUM = 9092, 9644, 9645
CLIENT = 100
NETWORKS = ('data', 'management')


class Failure(Exception):
    pass


def expect(holds, text):
    if not holds:
        raise Failure(text)


def sh(*args, check=True, timeout=60, **kw):
    r = subprocess.run([str(a) for a in args], timeout=timeout, text=True, capture_output=True, check=False, **kw)
    if check and r.returncode != 0:
        raise Failure(f'{" ".join(str(a) for a in args)[:300]}: status {r.returncode}\n{r.stdout[-500:]}{r.stderr[-1000:]}')
    return r


def now_ms():
    """The clock of the histories."""
    return time.monotonic() * 1000


def wait_until(what, seconds, holds, every=0.05):
    """Bounded. `holds` returns a truth or None; the last one is returned."""
    until = time.monotonic() + seconds
    while True:
        result = holds()
        if result:
            return result
        if time.monotonic() >= until:
            raise Failure(f'{what}: not within {seconds} s')
        time.sleep(every)


class Broker:
    """One process, its settings, its directory and its log."""

    def __init__(self, cluster, number):
        self.cluster, self.number = cluster, number
        self.ns = f'{cluster.tag}-b{number}'
        self.data = cluster.dir / f'data{number}'
        self.log = cluster.dir / f'broker{number}.log'
        self.settings = {}  # beside the cluster's
        self.process = None
        self.stopped = False
        self.ended_by_us = False

    @property
    def address(self):
        return f'{DATA}.{self.number}'

    @property
    def boot(self):
        return f'{self.address}:{PORT}'

    @property
    def management(self):
        return f'{MANAGEMENT}.{self.number}'

    def device(self, network):
        return f'{self.cluster.short}{network[0]}{self.number}'

    def port(self):
        """Its data cable as a port of DPDK."""
        if self.cluster.vdev == 'af_xdp':
            return f'vdev:net_af_xdp0,iface={self.device("data")},busy_budget=0'
        return f'vdev:net_af_packet0,iface={self.device("data")}'

    def config(self, more):
        c = self.cluster
        values = {'node.id': self.number, 'log.dirs': self.data, 'listeners': f'PLAINTEXT://{self.boot}',
                  'data.address': f'{self.address}/24', 'data.ports': self.port(), 'core.idle': 'wait',
                  'control.address': f'{self.management}:{METRICS}', 'dpdk.hugepages': 'off', 'dpdk.memory.mb': 512,
                  'core.request.memory.bytes': 16 << 20, 'log.tail.buffers': 96, 'log.read.buffers': 16}
        if c.mtu:
            values.update({'data.mtu': c.mtu, 'dpdk.memory.mb': 1024})  # each frame has its room
        if len(c.brokers) > 1:
            values['cluster.id'] = c.id
            values['quorum.voters'] = ','.join(f'{b.number}@{b.management}:{QUORUM}' for b in c.brokers[:c.voters])
        values.update({**c.settings, **self.settings, **more})
        path = c.dir / f'broker{self.number}.conf'
        path.write_text(''.join(f'{k}={v}\n' for k, v in values.items()))
        return path

    def start(self, more=()):
        """Begins, this time with these settings, too; ready() says when it has."""
        self.mark = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(['ip', 'netns', 'exec', self.ns, str(self.cluster.build / 'control/daemon/tidemarkd'),
                                             '--config', str(self.config(dict(more)))], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.stopped = self.ended_by_us = False

    def said(self):
        """Since it was started last."""
        return self.log.read_bytes()[self.mark:].decode(errors='replace')

    def text(self):
        return self.log.read_text(errors='replace')[-3000:] if self.log.exists() else ''

    def ready(self):
        if 'tidemarkd: ready' in self.said():
            return True
        expect(self.process.poll() is None, f'broker {self.number} did not start (status {self.process.poll()}):\n{self.text()}')
        return False

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.ended_by_us = True
        self.process.kill()
        self.process.wait(timeout=120)

    def ask_to_stop(self):
        self.ended_by_us = True
        self.process.send_signal(signal.SIGTERM)

    def terminate(self):
        self.ask_to_stop()
        self.wait_stopped()

    def wait_stopped(self, seconds=120):
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f'broker {self.number} did not stop within {seconds} s:\n{self.text()}') from None
        expect(code == 0, f'broker {self.number} stopped with status {code}:\n{self.text()}')

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.stopped = True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def cut(self, network, directions=('in', 'out')):
        """Frames of the cable are dropped at the bridge's end of it."""
        device = self.device(network) + 'p'
        hooks = {'in': 'egress', 'out': 'ingress'}
        chains = ''.join(f'chain {d} {{ type filter hook {hooks[d]} device "{device}" priority 0; policy drop; }}\n' for d in directions)
        self.heal(network)
        sh('ip', 'netns', 'exec', self.cluster.ns_net, 'nft', '-f', '-', input=f'table netdev cut_{device} {{\n{chains}}}\n')

    def heal(self, network):
        sh('ip', 'netns', 'exec', self.cluster.ns_net, 'nft', 'delete', 'table', 'netdev', f'cut_{self.device(network)}p', check=False)

    def leave_to_us(self, so=True):
        """Frames of the data cable go no further than to AF_PACKET, which has its copy before this: the kernel would look at each to find that
        it is for nobody. Or they do again, where a host is to hear them."""
        inside = ('ip', 'netns', 'exec', self.ns, 'nft')
        sh(*inside, 'delete', 'table', 'netdev', 'ours', check=False)
        if so:
            sh(*inside, '-f', '-', input='table netdev ours {\nchain in { type filter hook ingress device '
                                         f'"{self.device("data")}" priority 0; policy drop; }}\n}}\n')

    def metrics(self):
        """The whole page, or nothing when it does not come: the broker is not so far yet, or has no time just now."""
        r = sh('ip', 'netns', 'exec', self.ns, 'curl', '-s', '-m', 10, f'http://{self.management}:{METRICS}/metrics', check=False)
        return {m[1]: float(m[2]) for m in re.finditer(r'^([a-z_]+(?:\{[^}]*\})?) ([0-9.e+-]+)$', r.stdout, re.M)} if r.returncode == 0 else {}

    def told(self, name):
        """One of the metrics, that of all cores together. For who must not take a page that does not come for a zero."""
        page = wait_until(f'broker {self.number} tells its metrics', 60, self.metrics)
        found = [v for k, v in page.items() if k.split('{')[0] == name]
        expect(found, f'broker {self.number} does not tell {name}')
        return sum(found)


class Cluster:
    """Namespaces, cables and brokers, the first of which decide together. Always torn down."""

    def __init__(self, build, brokers=3, vdev='af_xdp', tools=None, settings=None, voters=None, mtu=None):
        self.build = pathlib.Path(build).resolve()
        self.tools = pathlib.Path(tools or build).resolve()  # librdkafka's threads are unknown to the thread sanitizer
        self.vdev = vdev
        self.mtu = mtu  # of the data network, 1,500 otherwise
        self.settings = dict(settings or {})
        self.tag, self.short = f'tide-r{os.getpid() % 100000}', f't{os.getpid() % 100000}'
        self.ns_net, self.ns_client = f'{self.tag}-net', f'{self.tag}-client'
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='tidemark-crash-', dir='/var/tmp'))
        self.brokers = [Broker(self, n + 1) for n in range(brokers)]
        self.voters = voters or brokers
        self.helpers = []
        self.id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip('=')
        atexit.register(self.close)
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, lambda *_: sys.exit(1))
        try:
            self._network()
        except BaseException:
            self.close()
            raise

    @property
    def boot(self):
        return ','.join(b.boot for b in self.brokers)

    def _cable(self, ns, device, network, address=None):
        sh('ip', 'link', 'add', device, 'numrxqueues', 1, 'numtxqueues', 1, 'type', 'veth', 'peer', 'name', device + 'p',
           'numrxqueues', 1, 'numtxqueues', 1)
        for end in (device, device + 'p') if self.mtu and network == 'data' else ():
            sh('ip', 'link', 'set', end, 'mtu', self.mtu)
        sh('ip', 'link', 'set', device, 'netns', ns)
        sh('ip', 'link', 'set', device + 'p', 'netns', self.ns_net)
        sh('ip', '-n', self.ns_net, 'link', 'set', device + 'p', 'master', network, 'up')
        sh('ip', '-n', ns, 'link', 'set', device, 'up')
        if address:
            sh('ip', '-n', ns, 'addr', 'add', f'{address}/24', 'dev', device)

    def _network(self):
        for ns in (self.ns_net, self.ns_client, *(b.ns for b in self.brokers)):
            sh('ip', 'netns', 'add', ns)
            sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1')
            sh('ip', '-n', ns, 'link', 'set', 'lo', 'up')
        # A machine that runs containers has each frame on a bridge asked of iptables, which no wire does.
        sh('ip', 'netns', 'exec', self.ns_net, 'sysctl', '-qw', 'net.bridge.bridge-nf-call-iptables=0', check=False)
        for network in NETWORKS:
            sh('ip', '-n', self.ns_net, 'link', 'add', network, 'type', 'bridge')
            sh('ip', '-n', self.ns_net, 'link', 'set', network, 'up')
        client = self.short + 'c'
        self._cable(self.ns_client, client, 'data', f'{DATA}.{CLIENT}')
        self._cable(self.ns_client, client + 'm', 'management', f'{MANAGEMENT}.{CLIENT}')
        for b in self.brokers:
            # With AF_XDP the kernel sees no frame while the broker runs, and resets its connections when it is gone.
            self._cable(b.ns, b.device('data'), 'data', b.address if self.vdev == 'af_xdp' else None)
            if self.vdev == 'af_packet':
                b.leave_to_us()
            self._cable(b.ns, b.device('management'), 'management', b.management)
            # A port without offloads wants whole checksums and whole frames: the kernel makes them where it hands them over.
            sh('ip', 'netns', 'exec', self.ns_net, 'ethtool', '-K', b.device('data') + 'p', 'tx', 'off')

    def close(self):
        for p in [*self.helpers, *(b.process for b in self.brokers)]:
            if p is not None and p.poll() is None:
                p.kill()
                p.wait()
        self.helpers.clear()
        for ns in (*(b.ns for b in self.brokers), self.ns_client, self.ns_net):
            sh('ip', 'netns', 'del', ns, check=False)
        if not os.environ.get('TIDE_KEEP'):
            shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, brokers=None, seconds=120):
        brokers = list(brokers if brokers is not None else self.brokers)
        for b in brokers:
            b.start()
        for b in brokers:
            wait_until(f'broker {b.number} is ready', seconds, b.ready)

    def stop(self):
        """All at once: the last ones of a cluster have nobody to hand their leaderships to, and would wait for it."""
        for b in self.brokers:
            b.ask_to_stop()
        for b in self.brokers:
            b.wait_stopped()

    def nobody_died(self):
        """Without being asked to."""
        died = [b for b in self.brokers if b.process is not None and b.process.poll() is not None and not b.ended_by_us]
        expect(not died, ''.join(f'broker {b.number} ended by itself, status {b.process.poll()}:\n{b.text()}' for b in died))

    # ---- clients --------------------------------------------------------------------------------------------

    def client(self, *args, timeout=120, check=True, **kw):
        return sh('ip', 'netns', 'exec', self.ns_client, *args, timeout=timeout, check=check, **kw)

    def client_start(self, *args):
        """A client that goes on until its standard input is closed."""
        p = subprocess.Popen(['ip', 'netns', 'exec', self.ns_client, *[str(a) for a in args]], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.helpers.append(p)
        return p

    def client_end(self, p, seconds=120):
        """Asks it to come to an end. Returns its output."""
        try:
            out, err = p.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            raise Failure(f'{" ".join(p.args[4:6])}: did not end within {seconds} s; {out.count(chr(10))} lines, at the end {out[-300:]!r}, {err[-500:]!r}') from None
        finally:
            self.helpers.remove(p)
        expect(p.returncode == 0, f'{" ".join(p.args[4:])}: status {p.returncode}: {err[-500:]}')
        return out

    def topic(self, name, partitions=1, **configs):
        args = [x for k, v in configs.items() for x in ('--config', f'{k.replace("_", ".")}={v}')]
        if len(self.brokers) > 1:
            args += ['--replication-factor', len(self.brokers)]
        self.client(self.tools / 'control/tool/tidemark', 'topic', 'create', '--bootstrap', self.boot, '--topic', name,
                    '--partitions', partitions, *args)

    def drop_topic(self, name):
        self.client(self.tools / 'control/tool/tidemark', 'topic', 'delete', '--bootstrap', self.boot, '--topic', name)

    def partitions(self, topic, boot=None):
        """{partition: (leader, [isr], [replicas])} as a broker tells it, None when it does not."""
        try:
            r = self.client('kcat', '-b', boot or self.boot, '-L', '-J', '-t', topic, '-m', 5, check=False, timeout=20)
            topics = json.loads(r.stdout)['topics'] if r.returncode == 0 else []
        except (subprocess.TimeoutExpired, ValueError):
            return None
        found = {}
        for t in topics:
            for p in t['partitions']:
                found[p['partition']] = (p['leader'], [i['id'] for i in p['isrs']], [i['id'] for i in p['replicas']])
        return found or None

    def whole(self, topics):
        """Every broker says that each partition has a leader and all of its replicas in sync."""
        self.nobody_died()
        for b in self.brokers:
            for t in topics:
                found = self.partitions(t, b.boot)
                if not found or any(leader < 1 or sorted(isr) != sorted(replicas) for leader, isr, replicas in found.values()):
                    return False
        return True
