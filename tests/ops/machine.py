# SPDX-License-Identifier: Apache-2.0
"""Described machines: the files below /sys, /proc and /etc that host-setup.sh and `tidemark doctor` read, in a directory."""
import contextlib
import pathlib
import tempfile


class Machine:
    """A server with two NUMA nodes, a management NIC with the default route, and what is added to it."""

    def __init__(self, root, cpus=8, nodes=2, cpu='GenuineIntel'):
        self.root = pathlib.Path(root)
        self.cpus, self.nodes = cpus, nodes
        self.groups = 0
        self.routes = ['Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT']
        self.file('proc/cmdline', 'BOOT_IMAGE=/vmlinuz root=/dev/nvme0n1p1 ro quiet')
        self.file('proc/cpuinfo', f'processor : 0\nvendor_id : {cpu}')
        self.file('proc/swaps', 'Filename Type Size Used Priority')
        self.file('proc/sys/kernel/osrelease', '6.1.0-18-amd64')
        self.file('proc/sys/kernel/io_uring_disabled', '0')
        self.file('proc/sys/kernel/numa_balancing', '0')
        self.file('sys/kernel/mm/transparent_hugepage/enabled', 'always [madvise] never')
        self.file('sys/devices/system/clocksource/clocksource0/current_clocksource', 'tsc')
        self.file('sys/devices/system/cpu/isolated', '')
        self.file('sys/devices/system/cpu/online', f'0-{cpus - 1}')
        self.file('etc/group', 'root:x:0:\ntidemark:x:990:')
        self.file('etc/passwd', 'root:x:0:0::/root:/bin/bash\ntidemark:x:990:990::/var/lib/tidemark:/usr/sbin/nologin')
        for n in range(nodes):
            self.file(f'sys/devices/system/node/node{n}/hugepages/hugepages-2048kB/nr_hugepages', '0')
            self.file(f'sys/devices/system/node/node{n}/hugepages/hugepages-2048kB/free_hugepages', '0')
        self.file('sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages', '0')
        self.file('sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages', '0')
        for c in range(cpus):
            node = c * nodes // cpus
            self.file(f'sys/devices/system/cpu/cpu{c}/cpufreq/scaling_governor', 'powersave')
            self.file(f'sys/devices/system/cpu/cpu{c}/topology/thread_siblings_list', f'{c}')
            self.file(f'sys/devices/system/cpu/cpu{c}/node{node}/cpulist', '')
        self.file('sys/bus/pci/drivers/vfio-pci/unbind', '')
        self.file('sys/bus/pci/drivers_probe', '')
        self.file('sys/module/vfio/parameters/enable_unsafe_noiommu_mode', 'N')
        self.nic('0000:01:00.0', 'igb', 'eno1', vendor='0x8086', device='0x1521', node=0, address='10.1.0.1', default=True)

    def file(self, path, text):
        p = self.root / path
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_text(text + '\n')
        return p

    def link(self, path, target):
        p = self.root / path
        p.parent.mkdir(parents=True, exist_ok=True)
        p.unlink(missing_ok=True)
        p.symlink_to(target)

    def read(self, path):
        return (self.root / path).read_text().strip()

    def nic(self, pci, driver, name=None, vendor='0x8086', device='0x1592', node=0, address=None, default=False, iommu=True, klass='0x020000', mtu=1500):
        d = f'sys/bus/pci/devices/{pci}'
        for f, text in (('class', klass), ('vendor', vendor), ('device', device), ('numa_node', str(node)), ('driver_override', '(null)')):
            self.file(f'{d}/{f}', text)
        if driver:
            self.link(f'{d}/driver', f'../../drivers/{driver}')
            self.file(f'sys/bus/pci/drivers/{driver}/unbind', '')
            self.file(f'sys/bus/pci/drivers/{driver}/bind', '')
        if iommu:
            self.iommu(pci, self.groups)
            self.groups += 1
        if name:
            self.file(f'{d}/{"virtio3/" if driver == "virtio-pci" else ""}net/{name}/address', '52:54:00:00:00:01')
            self.interface(name, address, default, mtu, pci)

    def iommu(self, pci, group):
        self.link(f'sys/bus/pci/devices/{pci}/iommu_group', f'../../../kernel/iommu_groups/{group}')
        self.link(f'sys/kernel/iommu_groups/{group}/devices/{pci}', f'../../../../bus/pci/devices/{pci}')
        self.file(f'sys/kernel/iommu_groups/{group}/type', 'DMA')
        self.file(f'sys/class/iommu/dmar0/intel-iommu/version', '1:0')

    def interface(self, name, address=None, default=False, mtu=1500, pci=None):
        n = f'sys/class/net/{name}'
        self.file(f'{n}/operstate', 'up')
        self.file(f'{n}/flags', '0x1003')
        self.file(f'{n}/mtu', str(mtu))
        self.file(f'{n}/ifindex', '3')
        self.file(f'{n}/iflink', '3')
        self.file(f'{n}/queues/rx-0/rps_cpus', '0')
        if pci:
            self.link(f'{n}/device', f'../../../bus/pci/devices/{pci}')
        if address:
            a = [int(x) for x in address.split('.')]
            net = f'00{a[2]:02X}{a[1]:02X}{a[0]:02X}'
            self.routes.append(f'{name}\t{net}\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0')
            if default:
                self.routes.append(f'{name}\t00000000\tFE{net[2:]}\t0003\t0\t0\t0\t00000000\t0\t0\t0')
            trie = self.root / 'proc/net/fib_trie'
            before = trie.read_text() if trie.exists() else 'Local:\n'
            self.file('proc/net/fib_trie', f'{before.rstrip()}\n           |-- {address}\n              /32 host LOCAL')
        self.file('proc/net/route', '\n'.join(self.routes))

    def irq(self, number, cpus):
        self.file(f'proc/irq/{number}/smp_affinity_list', cpus)

    def settings(self, **values):
        lines = {'node.id': '1', 'data.address': '10.0.0.1/24', 'listeners': 'PLAINTEXT://10.0.0.1:9092', **{k.replace('_', '.'): v for k, v in values.items()}}
        self.file('etc/tidemark.conf', '\n'.join(f'{k}={v}' for k, v in lines.items()))

    def snapshot(self):
        return {str(p.relative_to(self.root)): p.read_text() for p in sorted(self.root.rglob('*')) if p.is_file() and not p.is_symlink()
                and not str(p.relative_to(self.root)).startswith('run/')}


@contextlib.contextmanager
def machine(**kw):
    with tempfile.TemporaryDirectory(prefix='tidemark-ops-') as d:
        yield Machine(d, **kw)


def run_cases(cases):
    """Every case, each with its name; the exit status."""
    failed = 0
    for name, f in cases:
        try:
            f()
        except AssertionError as e:
            failed += 1
            print(f'FAILED {name}: {e}')
    print(f'{len(cases) - failed} passed, {failed} failed')
    return 1 if failed else 0
