# SPDX-License-Identifier: Apache-2.0
"""A broker in a namespace of its own, a client namespace beside it, and what tests ask of both."""
import atexit
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BROKER = '10.78.0.1'
CLIENT = '10.78.0.100'
PORT = 9092
BROKER6 = 'fd78::1'
CLIENT6 = 'fd78::100'
BOOT6 = f'[{BROKER6}]:{PORT}'
BOOT = f'{BROKER}:{PORT}'
START_S = 180  # for a start or a stop on a machine that has other things to do
FULL = os.environ.get('TIDE_FULL') == '1'


SERVICE = """
import socket, sys, threading
def serve(c):
    while (data := c.recv(65536)):
        c.sendall(data)
    c.close()
with socket.create_server((sys.argv[1], 2222)) as s:
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


def sh(*args, check=True, timeout=60, **kw):
    return subprocess.run([str(a) for a in args], check=check, timeout=timeout, text=True, capture_output=True, **kw)


class Failure(Exception):
    pass


def expect(holds, text):
    if not holds:
        raise Failure(text)


def wait_until(seconds, holds, text, every=0.1):
    end = time.monotonic() + seconds
    while not holds():
        expect(time.monotonic() < end, text)
        time.sleep(every)


def used_below(directories):
    """Bytes on the disk; a file that was there when they were listed may be gone since."""
    used = 0
    for d in directories:
        for f in d.iterdir():
            with contextlib.suppress(FileNotFoundError):
                used += f.stat().st_blocks * 512
    return used


def lines(n, word='line'):
    return ''.join(f'{word} {i:07d}\n' for i in range(n))


def inside(namespace, f):
    """Runs f() in a thread that lives in that namespace."""
    result = []

    def run():
        libc = __import__('ctypes').CDLL(None, use_errno=True)
        try:
            with open(f'/run/netns/{namespace}') as ns:
                expect(libc.setns(ns.fileno(), 0x40000000) == 0, 'setns')
            result.append(f())
        except Exception as e:  # pylint: disable=broad-except
            result.append(e)

    t = threading.Thread(target=run)  # a namespace belongs to a thread
    t.start()
    t.join()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


class World:
    """Namespaces, a cable, a data directory and at most one broker. Always torn down."""

    def __init__(self, build, vdev='af_xdp', tools=None):
        self.build = pathlib.Path(build)
        self.tools = pathlib.Path(tools or build)  # librdkafka's threads are unknown to the thread sanitizer
        self.vdev = vdev
        tag = f'{os.getpid() % 100000}'
        self.ns_broker, self.ns_client = f'tide-b{tag}', f'tide-c{tag}'
        self.dev_broker, self.dev_client = f'tdb{tag}', f'tdc{tag}'
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='tidemark-test-', dir='/var/tmp'))
        self.data = self.dir / 'data'
        self.process = None
        self.log = self.dir / 'broker.log'
        self.env = {}  # more of the broker's environment
        self.wrapper = []  # a command that starts the broker's
        self.settings = {}
        atexit.register(self.close)
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, lambda *_: sys.exit(1))
        self._network()

    def _network(self):
        for ns in (self.ns_broker, self.ns_client):
            sh('ip', 'netns', 'add', ns)
        for ns in (self.ns_broker, self.ns_client):
            sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1')
            sh('ip', '-n', ns, 'link', 'set', 'lo', 'up')
        self.cable(self.dev_broker, self.dev_client)
        sh('ip', '-n', self.ns_client, 'addr', 'add', f'{CLIENT}/24', 'dev', self.dev_client)

    def cable(self, near, far):
        """Between broker and client; `far` is the client's end."""
        sh('ip', 'link', 'add', near, 'numrxqueues', 1, 'numtxqueues', 1, 'type', 'veth', 'peer', 'name', far, 'numrxqueues', 1, 'numtxqueues', 1)
        for ns, dev in ((self.ns_broker, near), (self.ns_client, far)):
            sh('ip', 'link', 'set', dev, 'netns', ns)
            sh('ip', '-n', ns, 'link', 'set', dev, 'up')
        # The kernel must send whole checksums and whole frames to a port without offloads.
        sh('ip', 'netns', 'exec', self.ns_client, 'ethtool', '-K', far, 'tx', 'off')

    @contextlib.contextmanager
    def shared_port(self, **settings):
        """The broker's interface is the host's as well: it has the address, and a TCP service (echo on port 2222)."""
        inside = ('ip', '-n', self.ns_broker)
        service = None
        try:
            if self.alive():
                self.stop()
            sh(*inside, 'addr', 'add', f'{BROKER}/24', 'dev', self.dev_broker)
            sh('ip', 'netns', 'exec', self.ns_broker, 'ethtool', '-K', self.dev_broker, 'tx', 'off')
            service = subprocess.Popen(['ip', 'netns', 'exec', self.ns_broker, sys.executable, '-c', SERVICE, BROKER], stdin=subprocess.DEVNULL)
            self.settings = {'data_port_shared': 'true', **settings}
            yield
        finally:
            if self.alive():
                self.stop()
            if service is not None:
                service.kill()
                service.wait()
            self.settings = {}
            sh(*inside, 'route', 'del', 'default', check=False)
            sh(*inside, 'addr', 'flush', 'dev', self.dev_broker, check=False)

    @contextlib.contextmanager
    def second_port(self):
        """A second cable between broker and client; the client has its address on a bridge over both. Gives the settings of two ports,
        and the client's ends."""
        near, far = f'tde{os.getpid() % 100000}', f'tdg{os.getpid() % 100000}'
        first = self.port()
        self.cable(near, far)
        inside = ('ip', '-n', self.ns_client)
        try:
            sh(*inside, 'link', 'add', 'tbr', 'type', 'bridge')
            sh(*inside, 'addr', 'del', f'{CLIENT}/24', 'dev', self.dev_client)
            for dev in (self.dev_client, far):
                sh(*inside, 'link', 'set', dev, 'master', 'tbr')
            sh(*inside, 'link', 'set', 'tbr', 'up')
            sh(*inside, 'addr', 'add', f'{CLIENT}/24', 'dev', 'tbr')
            second = first.replace(self.dev_broker, near).replace('net_af_xdp0', 'net_af_xdp1').replace('net_af_packet0', 'net_af_packet1')
            yield f'{first};{second}', (self.dev_client, far)
        finally:
            self.stop() if self.alive() else None
            sh(*inside, 'link', 'del', 'tbr', check=False)
            sh(*inside, 'link', 'del', far, check=False)
            sh(*inside, 'link', 'set', self.dev_client, 'up', check=False)
            sh(*inside, 'addr', 'add', f'{CLIENT}/24', 'dev', self.dev_client, check=False)

    def client_ipv6(self):
        """The client gets an IPv6 address; the broker's namespace has none, so nobody but the broker answers for it."""
        sh('ip', 'netns', 'exec', self.ns_client, 'sysctl', '-qw', f'net.ipv6.conf.{self.dev_client}.disable_ipv6=0')
        sh('ip', '-n', self.ns_client, '-6', 'addr', 'replace', f'{CLIENT6}/64', 'dev', self.dev_client, 'nodad')

    def client_link_local(self):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            found = re.search(r'inet6 (fe80::[0-9a-f:]+)/64 scope link *$', sh('ip', '-n', self.ns_client, '-6', 'addr', 'show', 'dev',
                              self.dev_client).stdout, re.MULTILINE)
            if found:
                return found.group(1)
            time.sleep(0.1)  # it is tentative at first
        raise Failure('the client has no link-local address')

    @contextlib.contextmanager
    def far_ipv6(self, mtu):
        """A namespace behind the client's, which routes; the router's end of the link between them carries `mtu` bytes."""
        far, near, end = f'{self.ns_client}-far', f'tdn{os.getpid() % 100000}', f'tdf{os.getpid() % 100000}'
        sh('ip', 'netns', 'add', far)
        try:
            sh('ip', 'link', 'add', near, 'type', 'veth', 'peer', 'name', end)
            sh('ip', 'link', 'set', near, 'netns', self.ns_client)
            sh('ip', 'link', 'set', end, 'netns', far)
            for ns, dev, address in ((self.ns_client, near, 'fd79::1/64'), (far, end, 'fd79::2/64')):
                sh('ip', 'netns', 'exec', ns, 'sysctl', '-qw', f'net.ipv6.conf.{dev}.disable_ipv6=0')
                sh('ip', '-n', ns, 'link', 'set', dev, 'up')
                sh('ip', '-n', ns, '-6', 'addr', 'add', address, 'dev', dev, 'nodad')
                sh('ip', 'netns', 'exec', ns, 'ethtool', '-K', dev, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off', check=False)
            sh('ip', '-n', self.ns_client, 'link', 'set', near, 'mtu', mtu)
            # The far end knows what its own packets must keep to, and tells its peers nothing of it.
            sh('ip', '-n', far, '-6', 'route', 'add', 'default', 'via', 'fd79::1', 'mtu', mtu, 'advmss', 1440)
            sh('ip', 'netns', 'exec', self.ns_client, 'ethtool', '-K', self.dev_client, 'gro', 'off', check=False)
            sh('ip', 'netns', 'exec', self.ns_client, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1')
            yield far
        finally:
            sh('ip', 'netns', 'exec', self.ns_client, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=0', check=False)
            sh('ip', '-n', self.ns_client, 'link', 'del', near, check=False)
            sh('ip', 'netns', 'del', far, check=False)

    def broker_link_local(self):
        """The address that the broker makes of its port's mac (modified EUI-64)."""
        mac = sh('ip', 'netns', 'exec', self.ns_broker, 'cat', f'/sys/class/net/{self.dev_broker}/address').stdout.strip()
        m = [int(b, 16) for b in mac.split(':')]
        m[0] ^= 2
        return 'fe80::%02x%02x:%02xff:fe%02x:%02x%02x' % tuple(m)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None
        for ns in (self.ns_broker, self.ns_client):
            sh('ip', 'netns', 'del', ns, check=False)
        if not os.environ.get('TIDE_KEEP'):
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- the broker ----------------------------------------------------------------------------------------

    def port(self):
        if self.vdev == 'af_xdp':
            return f'vdev:net_af_xdp0,iface={self.dev_broker},busy_budget=0'
        return f'vdev:net_af_packet0,iface={self.dev_broker}'

    def config(self, **settings):
        values = {'node.id': 1, 'log.dirs': self.data, 'listeners': f'PLAINTEXT://{BOOT}', 'data.address': f'{BROKER}/24',
                  'data.ports': self.port(), 'core.idle': 'wait', 'control.address': '127.0.0.1:9644',
                  'dpdk.hugepages': 'off', 'group.initial.rebalance.delay.ms': 0}
        values.update({k.replace('_', '.'): v for k, v in settings.items()})
        path = self.dir / 'broker.conf'
        path.write_text(''.join(f'{k}={v}\n' for k, v in values.items()))
        return path

    def start(self, **settings):
        self.settings = settings or self.settings
        self.log_file = open(self.log, 'ab')
        mark = self.log.stat().st_size
        self.process = subprocess.Popen(['ip', 'netns', 'exec', self.ns_broker, *self.wrapper, str(self.build / 'control/daemon/tidemarkd'),
                                         '--config', str(self.config(**self.settings))], stderr=self.log_file, stdout=self.log_file,
                                        stdin=subprocess.DEVNULL, env={**os.environ, **self.env})
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if b'tidemarkd: ready' in self.log.read_bytes()[mark:]:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        code = self.process.poll()
        raise Failure(f'the broker did not start ({"it hangs" if code is None else f"status {code}"}):\n{self.log.read_text()[-2000:]}')

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=START_S)
        expect(code == 0, f'the broker stopped with status {code}:\n{self.log.read_text()[-2000:]}')
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def metrics(self):
        text = sh('ip', 'netns', 'exec', self.ns_broker, 'curl', '-s', '-m', 30, 'http://127.0.0.1:9644/metrics').stdout
        values = {}
        for line in text.splitlines():
            found = re.match(r'([a-z_]+(?:\{[^}]*\})?) ([0-9.e+-]+)$', line)
            if found:
                values[found.group(1)] = float(found.group(2))
        return values

    def resident(self):
        """KiB of memory in use by the broker."""
        return int(re.search(r'VmRSS:\s+(\d+)', pathlib.Path(f'/proc/{self.process.pid}/status').read_text()).group(1))

    def hardware_address(self):
        """Of the broker's port."""
        found = sh('ip', '-n', self.ns_client, 'neigh', 'show', BROKER).stdout
        return bytes.fromhex(re.search(r'lladdr ([0-9a-f:]+)', found).group(1).replace(':', ''))

    def total(self, name, values=None):
        values = values or self.metrics()
        return sum(v for k, v in values.items() if k.split('{')[0] == name)

    def settle(self, seconds=15):
        """Until no client is connected and no request is in progress."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            m = self.metrics()
            if m.get('tidemark_sessions') == 0 and m.get('tidemark_requests_in_progress') == 0:
                return m
            time.sleep(0.1)
        return self.metrics()

    # ---- clients ------------------------------------------------------------------------------------------------

    def client(self, *args, timeout=120, check=True, **kw):
        r = sh('ip', 'netns', 'exec', self.ns_client, *args, timeout=timeout, check=False, **kw)
        if check and r.returncode != 0:
            raise Failure(f'{" ".join(str(a) for a in args)[:300]}: status {r.returncode}\n{r.stdout[-800:]}\n{r.stderr[-1500:]}')
        return r

    def client_start(self, *args, **kw):
        return subprocess.Popen(['ip', 'netns', 'exec', self.ns_client, *[str(a) for a in args]], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **kw)

    def topic(self, name, partitions=1, **configs):
        args = [x for k, v in configs.items() for x in ('--config', f'{k.replace("_", ".")}={v}')]
        self.client(self.tools / 'control/tool/tidemark', 'topic', 'create', '--bootstrap', BOOT, '--topic', name,
                    '--partitions', partitions, *args)

    def produce(self, topic, path, *args, **kw):
        return self.client('kcat', '-b', BOOT, '-P', '-t', topic, '-l', path, *args, **kw)

    def consume(self, topic, *args, begin='beginning', **kw):
        return self.client('kcat', '-b', BOOT, '-C', '-t', topic, '-o', str(begin), '-e', '-q', *args, **kw).stdout

    def inside(self, f):
        """Runs f() in a thread that lives in the client namespace."""
        return inside(self.ns_client, f)

    def lossy(self, percent):
        """The cable drops so many of the frames in both directions; 0: none any more."""
        sh('ip', 'netns', 'exec', self.ns_client, 'nft', 'delete', 'table', 'netdev', 'lossy', check=False)
        if percent == 0:
            return
        rule = f'numgen random mod 10000 < {int(percent * 100)} drop'
        chains = ''.join(f'chain {c} {{ type filter hook {c} device "{self.dev_client}" priority 0; ether type ip {rule}; }}\n'
                         for c in ('ingress', 'egress'))
        sh('ip', 'netns', 'exec', self.ns_client, 'nft', '-f', '-', input=f'table netdev lossy {{\n{chains}}}\n')

    def connect(self):
        """A socket of the client namespace."""
        def connected():
            s = socket.socket()
            s.settimeout(15)
            s.connect((BROKER, PORT))
            return s

        try:
            return self.inside(connected)
        except OSError as e:
            raise Failure(f'connect: {e}') from e
