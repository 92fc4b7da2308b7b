#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`tidemark doctor` on described machines.   test_doctor.py ROOT TOOL PREFIX [NAME]"""
import json
import pathlib
import re
import subprocess
import sys

from machine import machine, run_cases

ROOT, TOOL, PREFIX = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3].lstrip('/')
NIC = '0000:81:00.0'
DROP_INS = 'etc/systemd/system/tidemark.service.d'
CASES = []


def case(f):
    CASES.append((f.__name__, f))
    return f


def doctor(m, *args, check=True):
    r = subprocess.run([TOOL, 'doctor', '--root', m.root, *args], capture_output=True, text=True, check=False)
    assert r.stderr == '', r.stderr
    return r.returncode, r.stdout


class Report:
    def __init__(self, m):
        self.status, text = doctor(m, '--json')
        found = json.loads(text)
        self.findings, self.next = found['findings'], found['next']

    def of(self, item, verdict=None):
        got = [f for f in self.findings if f['item'] == item and verdict in (None, f['verdict'])]
        assert got, f'nothing of {item} {verdict or ""} in {self.findings}'
        return got[0]


def install(m):
    """As `meson install` leaves it, and DPDK with the drivers of virtual ports."""
    for path in (f'{PREFIX}/libexec/tidemark/host-setup.sh', f'{PREFIX}/lib/systemd/system/tidemark.service'):
        m.file(path, '')
    for pmd in ('af_xdp', 'af_packet', 'ice', 'i40e', 'mlx5', 'virtio'):
        m.file(f'usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_{pmd}.so.23.0', '')
    drive(m)


def drive(m, kind='ext4', cache='write through', **queue):
    """/var/lib/tidemark on a partition of an NVMe drive."""
    (m.root / 'var/lib/tidemark').mkdir(parents=True, exist_ok=True)
    m.file('proc/self/mountinfo', '22 1 259:2 / / rw,relatime - ext4 /dev/nvme0n1p2 rw\n'
           f'30 22 259:7 / /var/lib/tidemark rw,relatime shared:1 - {kind} /dev/nvme1n1p1 rw')
    disk = 'sys/devices/pci0000:80/0000:80:01.0/nvme/nvme1/nvme1n1'
    m.file(f'{disk}/nvme1n1p1/partition', '1')
    m.link('sys/dev/block/259:7', f'../../devices/{disk.removeprefix("sys/devices/")}/nvme1n1p1')
    for name, value in {'write_cache': cache, 'fua': '1', 'rotational': '0', 'scheduler': '[none] mq-deadline', 'io_poll': '1', **queue}.items():
        m.file(f'{disk}/queue/{name}', value)
    m.file(f'{disk}/device/numa_node', '1')


def ready(m, **settings):
    """Everything is as it should be: an E810 on node 1, isolated cores that spin."""
    install(m)
    m.nic(NIC, 'vfio-pci', device='0x1592', node=1)
    m.file('lib/firmware/intel/ice/ddp/ice.pkg', '')
    for kind in ('vfio', 'vfio-noiommu', 'af_xdp', 'af_packet'):
        m.file(f'{DROP_INS}/{kind}.conf', '')
    m.file('sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages', '512')
    m.file('sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages', '512')
    m.file('sys/devices/system/cpu/isolated', '4-5')
    for c in range(8):
        m.file(f'sys/devices/system/cpu/cpu{c}/cpufreq/scaling_governor', 'performance')
    m.file('proc/self/status', 'CapEff:\t000001ffffffffff')
    m.file('proc/self/limits', 'Limit                     Soft Limit           Hard Limit           Units\n'
           'Max open files            1048576              1048576              files\nMax locked memory         unlimited            unlimited            bytes')
    m.file('proc/7/stat', '7 (kworker/4:1) I 2 0 0 0 -1 69238880 ' + '0 ' * 29 + '4 0')
    m.file('proc/8/stat', '8 (sshd) S 1 8 8 0 -1 4194560 ' + '0 ' * 29 + '1 0')
    m.irq(40, '0-3,6-7')
    m.settings(**{'data_ports': NIC, 'data_cores': '4,5', 'data_core_count': '2', 'dpdk_memory_mb': '1024', 'core_idle': 'spin', **settings})


@case
def a_machine_that_is_ready():
    with machine() as m:
        ready(m)
        r = Report(m)
        assert [f for f in r.findings if f['verdict'] != 'ok'] == [], r.findings
        assert r.status == 0 and r.next == 'sudo systemctl enable --now tidemark', r.next
        status, text = doctor(m)
        assert status == 0 and 'A broker can run here.' in text and text.endswith(f'next: {r.next}\n'), text


def breaks(item, verdict, needed, how, mend='', next_is=None, **settings):
    """One thing is otherwise; that, and only that, is found, and its exit status."""
    def run():
        with machine() as m:
            ready(m, **settings)
            if how is not None:
                how(m)
            r = Report(m)
            bad = [f for f in r.findings if f['verdict'] != 'ok']
            assert [(f['item'], f['verdict'], f['needed']) for f in bad] == [(item, verdict, needed)], bad
            assert mend in bad[0].get('mend', ''), bad
            assert r.status == (1 if needed or verdict == 'harmful' else 0)
            if needed or verdict == 'harmful':
                assert r.next == bad[0]['mend'], r.next
            else:
                assert r.next == 'sudo systemctl enable --now tidemark'
            json.dumps(r.findings)
    CASES.append((f'{item}: {verdict}{" " + str(settings) if settings else ""}', run))


def sysfs(path, text):
    return lambda m: m.file(path, text)


CPU4 = 'sys/devices/system/cpu/cpu4'
breaks('kernel', 'missing', True, sysfs('proc/sys/kernel/osrelease', '5.15.0-1'), 'linux-image')
breaks('io_uring', 'missing', True, sysfs('proc/sys/kernel/io_uring_disabled', '2'), 'kernel.io_uring_disabled=0')
breaks('user', 'missing', True, sysfs('etc/passwd', 'root:x:0:0::/root:/bin/bash'), 'useradd')
breaks('driver', 'missing', True, lambda m: (m.root / 'usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ice.so.23.0').unlink(), 'sudo apt install librte-net-ice23')
breaks('ddp package', 'missing', True, lambda m: (m.root / 'lib/firmware/intel/ice/ddp/ice.pkg').unlink(), 'firmware')
breaks('drop-in', 'missing', True, lambda m: (m.root / DROP_INS / 'vfio.conf').unlink(), f'/{PREFIX}/share/tidemark/tidemark.service.d/vfio.conf')
breaks('binding', 'missing', True, lambda m: m.link(f'sys/bus/pci/devices/{NIC}/driver', '../../drivers/ice'), '--apply')
breaks('binding', 'missing', False, lambda m: m.link(f'sys/bus/pci/devices/{NIC}/driver', '../../drivers/uio_pci_generic'), '--apply')
breaks('iommu', 'missing', True, lambda m: (m.root / f'sys/bus/pci/devices/{NIC}/iommu_group').unlink(), 'intel_iommu=on')
breaks('iommu', 'missing', False, lambda m: m.file(f'sys/kernel/iommu_groups/{m.groups - 1}/name', 'vfio-noiommu'))
breaks('data.ports', 'missing', True, None, 'sudoedit', data_ports='0000:99:00.0')
breaks('settings', 'missing', True, lambda m: (m.root / 'etc/tidemark.conf').write_text('node.id=1\nno.such.setting=1\n'), 'sudoedit')
breaks('hugepages', 'missing', True, lambda m: [
    m.file('sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages', '511'),
    m.file('sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages', '511')], '--apply')
breaks('hugepages', 'missing', False, sysfs('sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages', '511'), '--apply')
breaks('swap', 'missing', False, sysfs('proc/swaps', 'Filename\n/dev/sda2 partition 1 0 -2'), 'swapoff')
breaks('huge merging', 'missing', False, sysfs('sys/kernel/mm/transparent_hugepage/enabled', '[always] madvise never'), 'madvise')
breaks('numa balancing', 'missing', False, sysfs('proc/sys/kernel/numa_balancing', '1'), 'sysctl')
breaks('log.dirs', 'missing', True, lambda m: (m.root / 'var/lib/tidemark').rmdir(), 'install -d -o tidemark')
breaks('file system', 'harmful', False, lambda m: drive(m, kind='btrfs'))
breaks('file system', 'harmful', False, lambda m: drive(m, kind='fuse.sshfs'))
breaks('write cache', 'missing', False, lambda m: drive(m, cache='write back'))
breaks('drive', 'missing', False, lambda m: drive(m, rotational='1'))
breaks('io scheduler', 'missing', False, lambda m: drive(m, scheduler='none [bfq]'), 'queue/scheduler')
breaks('poll queues', 'missing', False, lambda m: drive(m, io_poll='0'), 'poll_queues')
breaks('numa', 'missing', False, lambda m: m.file('sys/devices/pci0000:80/0000:80:01.0/nvme/nvme1/nvme1n1/device/numa_node', '0'))
breaks('memlock', 'missing', False, lambda m: [m.file('proc/self/status', 'CapEff:\t0000000000000000'),
                                               m.file('proc/self/limits', 'Max locked memory         8388608              8388608              bytes')], 'limits.d')
breaks('open files', 'missing', False, sysfs('proc/self/limits', 'Max open files            1024                 4096                 files'), 'nofile')
breaks('data.address', 'harmful', True, sysfs('proc/net/fib_trie', 'Local:\n   |-- 10.0.0.1\n      /32 host LOCAL'), 'ip addr del 10.0.0.1/24')
breaks('control.address', 'harmful', True, sysfs('proc/net/tcp', '  sl  local_address rem_address   st\n   0: 0100007F:25AC 00000000:0000 0A 0'), 'ss -lntp')
for text in ('4-5', '4,5,6'):
    breaks('settings', 'missing', True, None, 'sudoedit', data_cores=text)
breaks('data.cores', 'missing', True, sysfs('sys/devices/system/cpu/online', '0-4'), 'sudoedit')
breaks('cpus', 'harmful', False, lambda m: [m.file('sys/devices/system/cpu/online', '4-5')], 'core.idle=wait')
breaks('clock source', 'missing', False, sysfs('sys/devices/system/clocksource/clocksource0/current_clocksource', 'hpet'))
breaks('governor', 'harmful', False, sysfs(f'{CPU4}/cpufreq/scaling_governor', 'powersave'), '--apply')
breaks('turbo', 'missing', False, sysfs('sys/devices/system/cpu/intel_pstate/no_turbo', '1'))
breaks('idle states', 'missing', False, lambda m: [m.file(f'{CPU4}/cpuidle/state3/disable', '0'), m.file(f'{CPU4}/cpuidle/state3/latency', '890')])
breaks('isolated cores', 'missing', False, sysfs('sys/devices/system/cpu/isolated', '4'), 'isolcpus=managed_irq,domain,4-5')
breaks('guests', 'missing', False, sysfs('proc/8/stat', '8 (sshd) S 1 8 8 0 -1 4194560 ' + '0 ' * 29 + '5 0'))
breaks('interrupts', 'missing', False, lambda m: m.irq(41, '4'), '--apply')
breaks('siblings', 'harmful', False, lambda m: [m.file(f'{CPU4}/topology/thread_siblings_list', '4-5')], 'data.cores')
breaks('siblings', 'missing', False, lambda m: [m.file(f'{CPU4}/topology/thread_siblings_list', '4,7')])
breaks('numa', 'missing', False, lambda m: [(m.root / f'{CPU4}/node1/cpulist').unlink(), (m.root / f'{CPU4}/node1').rmdir()], 'data.cores')


@case
def cores_that_wait_may_share():
    with machine() as m:
        ready(m, core_idle='wait')
        m.file('sys/devices/system/cpu/isolated', '')
        m.irq(41, '4')
        m.file(f'{CPU4}/topology/thread_siblings_list', '4-5')
        drive(m, io_poll='0')
        assert [f for f in Report(m).findings if f['verdict'] != 'ok'] == []


def virtual(m, port='net_af_xdp0', **settings):
    ready(m, data_ports=f'vdev:{port},iface=ens9', core_idle='wait', data_cores='4', data_core_count='1', **settings)
    m.interface('ens9', '10.0.0.1' if 'xdp' in port else None)


@case
def ports_of_the_kernel():
    for port, how, item, verdict, needed, mend in (
            ('net_af_xdp0', None, None, None, None, ''),
            ('net_af_packet0', None, None, None, None, ''),
            ('net_af_xdp0', lambda m: m.file('proc/net/fib_trie', ''), 'data.address', 'missing', False, 'ip addr add 10.0.0.1/24 dev ens9'),
            ('net_af_packet0', lambda m: m.interface('ens9', '10.0.0.1'), 'data.address', 'harmful', True, 'ip addr del 10.0.0.1/24 dev ens9'),
            ('net_af_xdp0', lambda m: m.file('sys/class/net/ens9/operstate', 'down'), 'link', 'missing', True, 'ip link set ens9 up'),
            ('net_af_xdp0', lambda m: m.interface('ens9', '10.0.0.1', mtu=1400), 'mtu', 'missing', True, 'mtu 1500'),
            ('net_af_xdp0', lambda m: m.file('sys/class/net/ens9/queues/rx-1/rps_cpus', '0'), 'queues', 'harmful', True, 'ethtool -L ens9 combined 1'),
            ('net_af_xdp0', lambda m: m.interface('ens9', '10.0.0.1', default=True), 'port', 'harmful', True, 'sudoedit'),
            ('net_af_xdp0', lambda m: m.file('sys/class/net/ens9/iflink', '9'), 'sender', 'missing', False, 'ethtool -K'),
            ('net_af_xdp0', lambda m: m.file('proc/net/tcp', '  sl\n   0: 00000000:2384 00000000:0000 0A'), 'listeners', 'missing', False, ''),
            ('net_af_packet0', lambda m: m.file('proc/self/status', 'CapEff:\t0000000000004000'), 'capabilities', 'missing', False, 'drop-in'),
            ('net_af_packet0', lambda m: m.settings(data_ports='vdev:net_af_packet0,iface=ens9', data_mtu='9000'), 'mtu', 'harmful', True, 'data.mtu=1500'),
            ('net_af_packet0', lambda m: m.settings(data_ports='vdev:net_af_packet0,iface=none'), 'data.ports', 'missing', True, 'sudoedit')):
        with machine() as m:
            virtual(m, port)
            if how:
                how(m)
            r = Report(m)
            bad = [(f['item'], f['verdict'], f['needed']) for f in r.findings if f['verdict'] != 'ok']
            assert bad == ([(item, verdict, needed)] if item else []), f'{port} {item}: {[f for f in r.findings if f["verdict"] != "ok"]}'
            assert not item or mend in r.of(item, verdict).get('mend', ''), r.of(item)


@case
def a_port_that_the_host_shares():
    for how, item in ((None, None),
                      (lambda m: m.file('proc/net/fib_trie', ''), 'data.address'),
                      (lambda m: m.file('proc/sys/net/ipv4/ip_local_port_range', '32768\t61000'), 'source ports')):
        with machine() as m:
            virtual(m, data_port_shared='true')
            m.interface('ens9', '10.0.0.1', default=True)
            m.file('proc/sys/net/ipv4/ip_local_port_range', '32768\t60999')
            if how:
                how(m)
            r = Report(m)
            bad = [(f['item'], f['verdict'], f['needed']) for f in r.findings if f['verdict'] != 'ok']
            assert bad == ([(item, 'missing', True)] if item else []), f'{item}: {bad}'
            assert item or r.of('data.address')['found'].endswith('shared with it')


@case
def the_nic_by_which_one_came_in():
    with machine() as m:
        ready(m, data_ports='0000:01:00.0')
        m.file('usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_e1000.so', '')
        f = Report(m).of('binding')
        assert f['verdict'] == 'harmful' and 'default route' in f['found'] and f'{NIC} (vfio-pci)' in f['found'], f


@case
def a_broker_that_runs():
    with machine() as m:
        ready(m)
        m.file('proc/4711/comm', 'tidemarkd')
        m.file('proc/net/tcp', '  sl\n   0: 0100007F:25AC 00000000:0000 0A')
        m.file('sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages', '0')
        r = Report(m)
        assert r.status == 0 and r.next == 'kcat -L -b PLAINTEXT://10.0.0.1:9092', r.next


@case
def texts_of_others_stay_texts_in_json():
    with machine() as m:
        ready(m)
        m.file('proc/8/stat', '8 (a"b\\) S 1 8 8 0 -1 4194560 ' + '0 ' * 29 + '5 0')
        assert 'a"b\\' in Report(m).of('guests')['found']


@case
def it_changes_nothing():
    with machine() as m:
        install(m)
        before = m.snapshot()
        doctor(m)
        doctor(m, '--suggest')
        assert m.snapshot() == before


# ---- from a bare machine to a broker, by nothing but the last line ---------------------------------------------------------------

def settle(m):
    """What a kernel makes of what host-setup.sh wrote."""
    for p in (m.root / 'sys').rglob('nr_hugepages'):
        (p.parent / 'free_hugepages').write_text(p.read_text())
    for pci in (m.root / 'sys/bus/pci/devices').iterdir():
        if (pci / 'driver_override').read_text().strip() != 'vfio-pci':
            continue
        if not (pci / 'iommu_group').is_symlink():  # what vfio makes up for want of an IOMMU
            m.link(f'sys/bus/pci/devices/{pci.name}/iommu_group', '../../../kernel/iommu_groups/77')
            m.file('sys/kernel/iommu_groups/77/name', 'vfio-noiommu')
        m.link(f'sys/bus/pci/devices/{pci.name}/driver', '../../drivers/vfio-pci')
        for n in [*pci.glob('net/*'), *pci.glob('virtio*/net/*')]:
            forget_addresses(m, n.name)
            (n / 'address').unlink()
            n.rmdir()


def forget_addresses(m, name):
    m.routes = [r for r in m.routes if not r.startswith(f'{name}\t')]
    m.file('proc/net/route', '\n'.join(m.routes))
    m.file('proc/net/fib_trie', 'Local:\n           |-- 10.1.0.1\n              /32 host LOCAL')


def obey(m, line):
    """Does what that line would do on the machine."""
    line = line.split('  #')[0]
    if line == 'tidemark doctor --suggest | sudo tee /etc/tidemark.conf':
        status, text = doctor(m, '--suggest')
        assert status == 0, text
        m.file('etc/tidemark.conf', text)
    elif line.startswith('sudo useradd --system'):
        m.file('etc/passwd', 'root:x:0:0::/root:/bin/bash\n' + line.split()[-1] + ':x:990:990::/:/bin/false')
    elif 'GRUB_CMDLINE_LINUX' in line:
        m.file('proc/cmdline', 'quiet intel_iommu=on')
        m.iommu(NIC, m.groups)
    elif 'host-setup.sh' in line:
        args = line.split('host-setup.sh', 1)[1].split()
        r = subprocess.run(['bash', ROOT / 'config/host-setup.sh', '--root', m.root, *args], capture_output=True, text=True, check=False)
        assert r.returncode == 0, r.stdout + r.stderr
        settle(m)
    elif line.startswith('sudo install -D'):
        source, target = line.split(' && ')[0].split()[-2:]
        assert source.startswith(f'/{PREFIX}/share/tidemark/') and (ROOT / 'config' / source.split('/tidemark/', 1)[1]).exists(), source
        m.file(target.lstrip('/'), '')
    elif line.startswith('sudo install -d'):
        (m.root / line.split()[-1].lstrip('/')).mkdir(parents=True)
    elif line == 'sudo apt install firmware-misc-nonfree':
        m.file('lib/firmware/intel/ice/ddp/ice.pkg', '')
    elif re.fullmatch(r'sudo apt install librte-net-\w+23', line):
        m.file(f'usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_{line.split("-")[-1][:-2]}.so.23.0', '')
    elif 'rdma-core' in line:
        (m.root / 'sys/class/infiniband_verbs').mkdir(parents=True)
    elif line.startswith('sudo ip addr del'):
        forget_addresses(m, line.split()[-1])
    else:
        raise AssertionError(f'nobody can type this: {line}')


def walk(name, driver, settings, wanted, vendor='0x8086', device='0x1592', iommu=True, typed=('suggest',), flags='fpu sse2'):
    def run():
        with machine() as m:
            install(m)
            m.file('proc/cpuinfo', f'processor : 0\nvendor_id : GenuineIntel\nflags : {flags}')
            m.file('etc/passwd', 'root:x:0:0::/root:/bin/bash')
            (m.root / 'var/lib/tidemark').rmdir()
            (m.root / f'usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_{driver}.so.23.0').unlink(missing_ok=True)
            m.nic(NIC, driver + {'mlx5': '_core', 'virtio': '-pci'}.get(driver, ''), 'ens5', vendor=vendor, device=device, node=1, address='10.7.0.5', iommu=iommu)
            if settings:
                m.settings(**settings)
            lines = []
            while (last := Report(m).next) != 'sudo systemctl enable --now tidemark':
                assert last not in lines, f'{last} did not help: {lines}'
                lines.append(last)
                obey(m, last)
            assert Report(m).status == 0, [f for f in Report(m).findings if f['verdict'] == 'harmful']
            text = m.read('etc/tidemark.conf')
            for w in wanted:
                assert w in text, f'{w} not in {text}'
            for w in ('useradd', 'install -d', 'install -D', *typed):
                assert any(w in line for line in lines), lines
    CASES.append((f'from a bare machine: {name}', run))


OWN = ('data.address=10.7.0.5/24', 'listeners=PLAINTEXT://10.7.0.5:9092')
walk('ice', 'ice', None, (f'data.ports={NIC}', *OWN))
walk('i40e', 'i40e', None, (f'data.ports={NIC}', *OWN), device='0x1583')
walk('mlx5', 'mlx5', None, (f'data.ports={NIC}', *OWN), vendor='0x15b3', device='0x101d')
walk('virtio behind an IOMMU', 'virtio', None, (f'data.ports={NIC}', *OWN), vendor='0x1af4', device='0x1041')
walk('virtio without one', 'virtio', None, ('data.ports=vdev:net_af_xdp0,iface=ens5', *OWN), vendor='0x1af4', device='0x1041', iommu=False)
walk('an IOMMU that is off', 'ice', {'data_ports': NIC}, (), iommu=False, typed=('intel_iommu=on', '--apply'))
walk('a virtual machine without one', 'virtio', {'data_ports': NIC}, (), vendor='0x1af4', device='0x1041', iommu=False, typed=('--noiommu --apply',),
     flags='fpu sse2 hypervisor')


@case
def a_machine_with_one_nic_shares_it():
    with machine() as m:
        status, text = doctor(m, '--suggest')
        assert status == 0 and 'vdev:net_af_packet0,iface=eno1' in text and 'CHANGE' in text and 'data.port.shared=true' in text and '10.1.0.1' not in text, text


@case
def a_machine_without_a_nic():
    with machine() as m:
        for f in ('class', 'driver_override'):
            (m.root / f'sys/bus/pci/devices/0000:01:00.0/{f}').unlink()
        r = Report(m)
        assert r.next == 'sudo config/quickstart.sh' and doctor(m, '--suggest')[0] == 1, r.next


if __name__ == '__main__':
    sys.exit(run_cases([c for c in CASES if len(sys.argv) < 5 or c[0] == sys.argv[4]]))
