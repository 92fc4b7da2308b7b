# SPDX-License-Identifier: Apache-2.0
"""An emulated machine with PCI network ports behind an IOMMU and an NVMe drive, and a client namespace on the other end of its cables."""
import atexit
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'interop'))
from world import Failure, expect, inside, sh

HERE = pathlib.Path(__file__).resolve().parent
MODULES = (('vfio_iommu_type1', ''), ('vfio-pci', ''), ('nvme', 'poll_queues=2'), ('ext4', ''))
DRIVERS = ('bus_pci', 'bus_vdev', 'mempool_ring', 'net_e1000', 'net_virtio')
DRIVE_BYTES = 1 << 30
BOOT_SECONDS = 600


class Port:
    """A network port of the machine, the cable, and the addresses at both ends."""

    def __init__(self, number, name, device, queues=1):
        self.number, self.name, self.device, self.queues = number, name, device, queues
        self.pci = f'0000:00:{4 + number:02x}.0'
        self.mac = f'52:54:00:7d:00:{number:02x}'
        self.broker, self.client = f'10.79.{number}.1', f'10.79.{number}.100'
        self.boot = f'{self.broker}:9092'


PORTS = (Port(1, 'e1000e', 'e1000e'),
         Port(2, 'igb', 'igb'),
         Port(3, 'virtio', 'virtio-net-pci,disable-legacy=on,iommu_platform=on'),
         Port(4, 'virtio-rss', 'virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,rss=on,hash=on,vectors=8', queues=2))


def emulated(name):
    """Does this emulator have that device?"""
    return f'name "{name}"' in sh('qemu-system-x86_64', '-device', 'help').stdout


class Image:
    """What the machine boots from: the kernel of a distribution's package, and a file system in memory with the broker."""

    def __init__(self, build, kernel, where):
        self.kernel = next(kernel.glob('boot/vmlinuz-*'))
        self.version = self.kernel.name.removeprefix('vmlinuz-')
        self.modules = kernel
        self.root = where / 'root'
        self.initrd = where / 'initrd'
        (self.root / 'modules').mkdir(parents=True)
        for d in ('bin', 'sbin', 'usr/lib', 'usr/lib64', 'etc'):
            (self.root / d).mkdir(parents=True)
        for name in ('lib', 'lib64'):
            (self.root / name).symlink_to(f'usr/{name}')
        shutil.copy(HERE / 'init', self.root / 'init')
        shutil.copy('/bin/busybox', self.root / 'bin/busybox')
        (self.root / 'bin/sh').symlink_to('busybox')
        shutil.copy(build / 'control/daemon/tidemarkd', self.root / 'bin/tidemarkd')
        self._libraries(build / 'control/daemon/tidemarkd')
        self._drivers()
        self._modules()
        names = subprocess.run(['find', '.'], cwd=self.root, check=True, capture_output=True).stdout
        with open(self.initrd, 'wb') as f:
            subprocess.run(['cpio', '--quiet', '-o', '-H', 'newc'], cwd=self.root, check=True, input=names, stdout=f)

    def _add(self, path):
        """A file where it is on this machine, and what its name leads to."""
        at = self.root / (path.parent.resolve() / path.name).relative_to('/')
        if at.is_symlink() or at.exists():
            return
        at.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            at.symlink_to(os.readlink(path))
            self._add(path.parent / os.readlink(path))
        else:
            shutil.copy(path, at)

    def _libraries(self, program):
        for path in re.findall(r'(/\S+) \(0x', sh('ldd', program).stdout):
            self._add(pathlib.Path(path))

    def _drivers(self):
        """DPDK loads every driver of its directory: the machine has those that it needs."""
        for name in DRIVERS:
            found = sorted(pathlib.Path('/usr/lib').glob(f'*/dpdk/pmds-*/librte_{name}.so.*'))
            expect(found, f'DPDK has no driver {name}')
            for path in found:
                self._add(path)
                self._libraries(path)

    def _modules(self):
        order = []
        for name, options in MODULES:
            needed = re.findall(r'insmod (\S+)', sh('/sbin/modprobe', '-d', self.modules, '-S', self.version, '--show-depends', name).stdout)
            for path in needed:
                line = f'{pathlib.Path(path).name} {options if path == needed[-1] else ""}'.strip()
                if line not in order:
                    order.append(line)
                    shutil.copy(path, self.root / 'modules')
        (self.root / 'modules/order').write_text('\n'.join(order) + '\n')


class Machine:
    """A namespace with the emulator, its cables and the clients. Always torn down."""

    def __init__(self, build, kernel, tools=None):
        self.build = pathlib.Path(build)
        self.tools = pathlib.Path(tools or build)
        self.ns = f'tide-p{os.getpid() % 100000}'
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='tidemark-pci-', dir='/var/tmp'))
        self.ports = [p for p in PORTS if emulated(p.device.split(',')[0])]
        self.process = None
        self.line = None
        self.console = self.dir / 'console'
        atexit.register(self.close)
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, lambda *_: sys.exit(1))
        self.image = Image(self.build, pathlib.Path(kernel), self.dir)
        self._network()
        self._drive()

    def mtu(self, port, bytes_):
        """Of the cable at the client's end."""
        sh('ip', '-n', self.ns, 'link', 'set', f'tap{port.number}', 'mtu', bytes_)

    def _network(self):
        sh('ip', 'netns', 'add', self.ns)
        sh('ip', 'netns', 'exec', self.ns, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1')
        sh('ip', '-n', self.ns, 'link', 'set', 'lo', 'up')
        for p in self.ports:
            sh('ip', 'netns', 'exec', self.ns, 'ip', 'tuntap', 'add', 'mode', 'tap', 'name', f'tap{p.number}',
               *(['multi_queue'] if p.queues > 1 else []))
            sh('ip', '-n', self.ns, 'addr', 'add', f'{p.client}/24', 'dev', f'tap{p.number}')
            sh('ip', '-n', self.ns, 'link', 'set', f'tap{p.number}', 'up')

    def _drive(self):
        with open(self.dir / 'drive', 'wb') as f:
            f.truncate(DRIVE_BYTES)
        sh('mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,nodiscard', self.dir / 'drive')

    def cpu(self):
        """Seconds of processor that the emulator has taken."""
        f = pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().split()
        return (int(f[13]) + int(f[14])) / os.sysconf('SC_CLK_TCK')

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        sh('ip', 'netns', 'del', self.ns, check=False)
        if not os.environ.get('TIDE_KEEP'):
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- the machine ---------------------------------------------------------------------------------------

    def boot(self):
        line = self.dir / 'line'
        devices = []
        for p in self.ports:
            devices += ['-netdev', f'tap,id=n{p.number},ifname=tap{p.number},script=no,downscript=no,queues={p.queues}',
                        '-device', f'{p.device},netdev=n{p.number},mac={p.mac},addr={4 + p.number}']
        command = ['qemu-system-x86_64', '-M', 'q35', '-cpu', 'max,erms=off,fsrm=off', '-accel', 'tcg,thread=multi', '-smp', 2, '-m', 2048, '-nodefaults',
                   '-no-user-config', '-display', 'none', '-no-reboot',
                   '-device', 'intel-iommu,intremap=on,caching-mode=on,device-iotlb=on', *devices,
                   '-drive', f'file={self.dir / "drive"},if=none,id=d0,format=raw,cache=writeback', '-device', 'nvme,serial=s1,drive=d0,addr=3',
                   '-chardev', f'file,id=c0,path={self.console}', '-serial', 'chardev:c0',
                   '-chardev', f'socket,id=c1,path={line},server=on,wait=off', '-serial', 'chardev:c1',
                   '-qmp', f'unix:{self.dir / "qmp"},server=on,wait=off',
                   '-kernel', self.image.kernel, '-initrd', self.image.initrd,
                   '-append', 'console=ttyS0 quiet intel_iommu=on iommu=nopt panic=1 mitigations=off no_timer_check hugepages=432']
        self.process = subprocess.Popen(['setpriv', '--pdeathsig', 'KILL',  # whoever kills the runner ends the emulator
                                         'ip', 'netns', 'exec', self.ns, *[str(c) for c in command]], stdin=subprocess.DEVNULL,
                                        stdout=open(self.dir / 'emulator.log', 'wb'), stderr=subprocess.STDOUT)
        self.line = socket.socket(socket.AF_UNIX)
        self.line.settimeout(BOOT_SECONDS)
        until = time.monotonic() + 60
        while True:
            try:
                self.line.connect(str(line))
                break
            except OSError:
                expect(time.monotonic() < until and self.process.poll() is None,
                       f'the emulator does not start: {(self.dir / "emulator.log").read_text()[-1000:]}')
                time.sleep(0.05)
        self.rest = b''
        self._answer(BOOT_SECONDS)

    def _answer(self, seconds):
        """What comes up to the next byte 1, and the line behind it."""
        until = time.monotonic() + seconds
        got = self.rest
        while (at := got.find(b'\1')) < 0 or got.find(b'\n', at) < 0:
            self.line.settimeout(max(until - time.monotonic(), 0.01))
            try:
                part = self.line.recv(65536)
            except TimeoutError:
                part = b''
            if not part:
                raise Failure(f'the machine does not answer; its console:\n{self.console.read_text(errors="replace")[-3000:]}')
            got += part
        end = got.index(b'\n', at)
        self.rest = got[end + 1:]
        return got[:at].decode(errors='replace'), got[at + 1:end].decode()

    def run(self, command, seconds=600, check=True):
        """A line for the machine's shell. Returns what it printed."""
        expect('\n' not in command, 'one line')
        self.line.sendall(command.encode() + b'\n')
        text, status = self._answer(seconds)
        expect(not check or status == '0', f'in the machine: {command[:300]}: status {status}\n{text[-3000:]}')
        return text

    # ---- the broker -----------------------------------------------------------------------------------------

    def start(self, port, log_from_here=True, **settings):
        values = {'node.id': 1, 'log.dirs': '/data/log', 'listeners': f'PLAINTEXT://{port.boot}', 'data.address': f'{port.broker}/24',
                  'data.ports': port.pci, 'core.idle': 'wait', 'control.address': '127.0.0.1:9644', 'dpdk.hugepages': 'on',
                  'dpdk.memory.mb': 288, 'log.tail.buffers': 64, 'log.read.buffers': 16,
                  'core.request.memory.bytes': 16777216}
        values.update({k.replace('_', '.'): v for k, v in settings.items()})
        if log_from_here:
            self.run(': >/broker.log')
        self.run('printf "%s\\n" ' + ' '.join(f"'{k}={v}'" for k, v in values.items()) + ' >/broker.conf')
        self.run('start')

    def stop(self):
        status = self.run('stop TERM').strip()
        expect(status == '0', f'the broker stopped with status {status}:\n{self.log()}')

    def kill(self):
        self.run('stop KILL')

    def log(self, lines=40):
        return self.run(f'tail -n {lines} /broker.log')

    def metrics(self):
        values = {}
        text = self.run('wget -q -O - http://127.0.0.1:9644/metrics | grep -E "^tidemark_(rx|tx|tcp|disk|heap|expect)_"')
        for line in text.splitlines():
            found = re.match(r'([a-z_]+(?:\{[^}]*\})?) ([0-9.e+-]+)$', line)
            if found:
                values[found.group(1)] = float(found.group(2))
        return values

    def drive_interrupts(self):
        text = self.run('grep nvme /proc/interrupts')
        return sum(int(n) for line in text.splitlines() for n in line.split()[1:3])

    # ---- clients --------------------------------------------------------------------------------------------

    def client(self, *args, timeout=300, check=True, **kw):
        r = sh('ip', 'netns', 'exec', self.ns, *args, timeout=timeout, check=False, **kw)
        if check and r.returncode != 0:
            raise Failure(f'{" ".join(str(a) for a in args)[:300]}: status {r.returncode}\n{r.stdout[-800:]}\n{r.stderr[-1500:]}')
        return r

    def client_start(self, *args):
        return subprocess.Popen(['ip', 'netns', 'exec', self.ns, *[str(a) for a in args]], text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def topic(self, port, name, partitions):
        self.client(self.tools / 'control/tool/tidemark', 'topic', 'create', '--bootstrap', port.boot, '--topic', name,
                    '--partitions', partitions)

    def ask(self, port, source_ports):
        """A connection from each of these ports, one after the other: ApiVersions and its answer."""
        def each():
            for source in source_ports:
                with socket.socket() as s:
                    s.settimeout(60)
                    s.bind((port.client, source))
                    s.connect((port.broker, 9092))
                    s.sendall(struct.pack('>ihhih', 10, 18, 0, source, -1))
                    size, number = struct.unpack('>ii', s.recv(8, socket.MSG_WAITALL))
                    expect(number == source and len(s.recv(size - 4, socket.MSG_WAITALL)) == size - 4, f'from port {source}: another answer')
        inside(self.ns, each)
