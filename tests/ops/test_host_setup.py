#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""host-setup.sh on described machines.   test_host_setup.py ROOT [NAME]"""
import pathlib
import re
import subprocess
import sys

from machine import machine, run_cases

ROOT = pathlib.Path(sys.argv[1])
CASES = []


def case(f):
    CASES.append((f.__name__, f))
    return f


def setup(m, *args):
    r = subprocess.run(['bash', ROOT / 'config/host-setup.sh', '--root', m.root, *args], capture_output=True, text=True, check=False)
    assert r.stderr == '', r.stderr
    return r.returncode, r.stdout


def changed(before, after):
    return {k: after.get(k, '').strip() for k in before.keys() | after.keys() if before.get(k) != after.get(k)}


NIC = '0000:81:00.0'
PAGES = 'sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages'


def server(m, **settings):
    """A server with a spare ice NIC on node 1 and a broker of two cores for it."""
    m.nic(NIC, 'ice', 'ens5', node=1)
    m.irq(40, '0-7')
    m.irq(41, '2')
    m.irq(42, '4,5')
    m.settings(**{'data_ports': NIC, 'data_cores': '4,5', 'data_core_count': '2', 'dpdk_memory_mb': '1024', 'core_idle': 'spin', **settings})


@case
def print_changes_nothing():
    with machine() as m:
        server(m)
        before = m.snapshot()
        status, said = setup(m)
        assert status == 0, said
        assert m.snapshot() == before
        assert not (m.root / 'run').exists() and not (m.root / 'commands').exists()
        for text in (f'{PAGES.format(1)}: 0 -> 512', f'{NIC}: driver ice -> vfio-pci', '/proc/irq/40/smp_affinity_list: 0-7 -> 0,1,2,3,6,7',
                     'cpu4/cpufreq/scaling_governor: powersave -> performance', 'isolcpus=managed_irq,domain,4,5 nohz_full=4,5 rcu_nocbs=4,5'):
            assert text in said, f'{text} not in\n{said}'


@case
def apply_does_what_was_printed_and_undo_takes_it_back():
    with machine() as m:
        server(m)
        m.file('sys/kernel/mm/transparent_hugepage/enabled', '[always] madvise never')
        before = m.snapshot()
        _, planned = setup(m)
        status, said = setup(m, '--apply')
        assert status == 0, said
        assert [x for x in planned.splitlines() if x.startswith(('change:', 'run:'))] == [x for x in said.splitlines() if x.startswith(('change:', 'run:'))]
        assert changed(before, m.snapshot()) == {
            PAGES.format(1): '512', 'proc/irq/40/smp_affinity_list': '0,1,2,3,6,7',
            'sys/devices/system/cpu/cpu4/cpufreq/scaling_governor': 'performance', 'sys/devices/system/cpu/cpu5/cpufreq/scaling_governor': 'performance',
            'sys/kernel/mm/transparent_hugepage/enabled': 'madvise', f'sys/bus/pci/devices/{NIC}/driver_override': 'vfio-pci',
            'sys/bus/pci/drivers/ice/unbind': NIC, 'sys/bus/pci/drivers_probe': NIC,
            'commands': 'chgrp tidemark /dev/vfio/1\nchmod 660 /dev/vfio/1'}, changed(before, m.snapshot())
        setup(m, '--undo')
        left = changed(before, m.snapshot())
        # The doors of drivers are write-only in a kernel: here they keep what was written. A kernel shows '(null)' for no override.
        assert left.pop(f'sys/bus/pci/devices/{NIC}/driver_override') == ''
        assert left.pop('sys/bus/pci/drivers/vfio-pci/unbind') == NIC and left.pop('sys/bus/pci/drivers/ice/bind') == NIC
        assert left.pop('sys/kernel/mm/transparent_hugepage/enabled') == 'always'
        assert set(left) == {'sys/bus/pci/drivers/ice/unbind', 'sys/bus/pci/drivers_probe', 'commands'}, left
        assert 'nothing to undo' in setup(m, '--undo')[1]


STATE = 'run/tidemark-host-setup.state'


@case
def undo_goes_the_way_back():
    with machine() as m:
        m.nic(NIC, 'virtio-pci', 'ens5', vendor='0x1af4', device='0x1041', iommu=False)
        m.settings(data_ports=NIC)
        setup(m, '--apply', '--noiommu')
        kept = [line.split('\t')[1] for line in m.read(STATE).splitlines()]
        back = re.findall(r'^back: +(\S+):', setup(m, '--undo')[1], re.M)
        # The NIC is out of vfio's hands before vfio is told to want an IOMMU again.
        assert len(kept) == 3 and back == kept[::-1] and back.index(NIC) < back.index(next(k for k in kept if 'noiommu' in k)), (kept, back)


@case
def a_state_that_apply_did_not_write():
    with machine() as m:
        m.file('sys/kernel/a', 'new')
        before = m.snapshot()
        m.file(STATE, 'file\t/etc/passwd\troot\nfile\t/sys/../etc/passwd\troot\nbound\t../../x\tice\nbound\t0000:01:00.0/..\tice\n'
               'nonsense\n\nfile\t/sys/kernel/a\told\nfile')
        assert setup(m, '--undo')[1].count('left out:') == 7
        assert changed(before, m.snapshot()) == {'sys/kernel/a': 'old'}


def settle(m):
    """What a kernel makes of what was written."""
    m.link(f'sys/bus/pci/devices/{NIC}/driver', '../../drivers/vfio-pci')
    m.file(PAGES.format(1).replace('nr_', 'free_'), m.read(PAGES.format(1)))


@case
def a_second_apply_finds_everything_done_and_the_first_state_counts():
    with machine() as m:
        server(m)
        setup(m, '--apply')
        settle(m)
        state = m.read(STATE)
        status, said = setup(m, '--apply')
        assert status == 0 and 'change:' not in said, said
        assert m.read(STATE) == state
        m.file(PAGES.format(1).replace('nr_', 'free_'), '0')  # our broker took them
        assert 'change:' not in setup(m, '--apply')[1]
        m.irq(40, '0-7')  # irqbalance
        assert 'change:   /proc/irq/40' in setup(m, '--apply')[1]
        assert m.read(STATE) == state
        setup(m, '--undo')
        assert m.read(PAGES.format(1)) == '0' and m.read('proc/irq/40/smp_affinity_list') == '0-7'


@case
def pages_of_others_are_left_to_them():
    with machine() as m:
        server(m)
        m.file(PAGES.format(1), '600')
        m.file(PAGES.format(1).replace('nr_', 'free_'), '100')
        setup(m, '--apply')
        assert m.read(PAGES.format(1)) == '1012'
        setup(m, '--undo')
        assert m.read(PAGES.format(1)) == '600'


@case
def the_nic_of_the_default_route_is_refused():
    for args, status in (((), 1), (('--apply',), 1), (('--apply', '--force'), 0)):
        with machine() as m:
            m.settings(data_ports='0000:01:00.0')
            before = m.snapshot()
            got, said = setup(m, *args)
            assert got == status, said
            if status:
                assert 'carries the default route' in said, said
                assert not any('driver' in k for k in changed(before, m.snapshot()))
            else:
                assert m.read('sys/bus/pci/drivers/igb/unbind') == '0000:01:00.0' and 'WARNING' in said


@case
def so_is_one_that_is_part_of_a_bond_with_it():
    with machine() as m:
        m.nic(NIC, 'ice', 'ens5')
        m.interface('bond0', '10.2.0.1', default=True)
        m.link('sys/class/net/ens5/master', '../bond0')
        m.settings(data_ports=NIC)
        assert setup(m)[0] == 1


@case
def so_is_a_virtio_nic():
    with machine() as m:
        m.nic(NIC, 'virtio-pci', 'ens5', address='10.3.0.1', default=True)
        m.settings(data_ports=NIC)
        assert setup(m)[0] == 1


@case
def and_one_of_ipv6():
    with machine() as m:
        m.nic(NIC, 'ice', 'ens5')
        zero = '0' * 32
        m.file('proc/net/ipv6_route', f'{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 ens5')
        m.settings(data_ports=NIC)
        status, said = setup(m)
        assert status == 1 and 'default route' in said, said


@case
def the_only_address_is_refused():
    with machine() as m:
        m.routes = m.routes[:1]
        m.nic(NIC, 'ice', 'ens5', address='10.5.0.1')
        m.settings(data_ports=NIC)
        status, said = setup(m)
        assert status == 1 and 'only address' in said, said
        m.interface('eno1', '10.1.0.1')
        assert setup(m)[0] == 0


@case
def without_an_iommu_only_when_told_so():
    with machine() as m:
        m.nic(NIC, 'virtio-pci', 'ens5', vendor='0x1af4', device='0x1041', iommu=False)
        m.settings(data_ports=NIC)
        status, said = setup(m, '--apply')
        assert status == 1 and 'no IOMMU' in said and 'intel_iommu=on' in said, said
        assert m.read('sys/bus/pci/drivers_probe') == ''
        status, said = setup(m, '--apply', '--noiommu')
        assert status == 0 and said.count('WARNING:') == 5 and 'ALL MEMORY' in said, said
        assert m.read('sys/module/vfio/parameters/enable_unsafe_noiommu_mode') == 'Y' and m.read('sys/bus/pci/drivers_probe') == NIC
        setup(m, '--undo')
        assert m.read('sys/module/vfio/parameters/enable_unsafe_noiommu_mode') == 'N'
        m.file('sys/bus/pci/drivers_probe', '')
        (m.root / 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode').unlink()
        (m.root / 'sys/module/vfio/parameters').rmdir()
        status, said = setup(m, '--apply', '--noiommu')
        assert status == 1 and 'CONFIG_VFIO_NOIOMMU' in said and m.read('sys/bus/pci/drivers_probe') == '', said


@case
def amd_has_words_of_its_own():
    with machine(cpu='AuthenticAMD') as m:
        m.nic(NIC, 'ice', 'ens5', iommu=False)
        m.settings(data_ports=NIC)
        assert 'amd_iommu=on' in setup(m)[1]


@case
def a_group_that_others_are_in_is_refused():
    with machine() as m:
        m.nic(NIC, 'ice', 'ens5')
        group = m.groups - 1
        m.nic('0000:82:00.0', 'nvme', klass='0x010802', iommu=False)
        m.iommu('0000:82:00.0', group)
        m.settings(data_ports=NIC)
        status, said = setup(m, '--apply')
        assert status == 1 and '0000:82:00.0 (nvme)' in said and m.read('sys/bus/pci/drivers_probe') == '', said
        m.file('sys/bus/pci/devices/0000:82:00.0/class', '0x060400')  # a bridge may be there
        assert setup(m, '--apply')[0] == 0


@case
def mlx5_stays_where_it_is():
    with machine() as m:
        m.nic(NIC, 'mlx5_core', 'ens5', vendor='0x15b3', device='0x101d', node=0, iommu=False)
        m.settings(data_ports=f'{NIC},dv_flow_en=1')
        status, said = setup(m, '--apply')
        assert status == 0 and 'stays with mlx5_core' in said and 'iommu' not in said, said
        assert m.read('sys/bus/pci/drivers_probe') == '' and m.read(PAGES.format(0)) == '384'


@case
def virtual_ports_want_neither_pages_nor_drivers():
    for huge, pages in (('auto', '0'), ('off', '0'), ('on', '384')):
        with machine() as m:
            m.settings(data_ports='vdev:net_af_xdp0,iface=eno1', dpdk_hugepages=huge)
            assert setup(m, '--apply')[0] == 0
            assert m.read(PAGES.format(0)) == pages, huge


@case
def pages_go_to_the_node_of_the_cores_where_the_nic_has_none():
    with machine() as m:
        m.nic(NIC, 'ice', 'ens5', node=-1)
        m.settings(data_ports=NIC, data_cores='6')
        setup(m, '--apply')
        assert m.read(PAGES.format(1)) == '384' and m.read(PAGES.format(0)) == '0'


@case
def a_kernel_that_refuses_is_believed():
    with machine() as m:
        server(m, data_cores='0')
        # A list of CPUs that can be read and takes nothing.
        m.link('proc/irq/40/smp_affinity_list', '/sys/devices/system/cpu/possible')
        if '-' not in m.read('proc/irq/40/smp_affinity_list'):
            return  # a machine of one CPU
        (m.root / 'proc/irq/41').mkdir(exist_ok=True)
        status, said = setup(m, '--apply')
        assert status == 0 and 'does not take it' in said, said
        assert '/proc/irq/40' not in m.read(STATE)


@case
def what_takes_a_boot_is_advised():
    with machine() as m:
        server(m)
        m.file('sys/module/nvme/parameters/poll_queues', '0')
        m.file('proc/swaps', 'Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2')
        said = setup(m)[1]
        assert 'nvme.poll_queues=2' in said and 'swapoff' in said, said
        m.file('proc/cmdline', 'nohz_full=4,5 rcu_nocbs=4,5')
        m.file('sys/devices/system/cpu/isolated', '4-5')
        said = setup(m)[1]
        assert 'isolcpus' not in said and 'nohz_full' not in said, said
        server(m, core_idle='wait')
        assert 'command line' not in setup(m)[1]


@case
def settings_that_say_nothing():
    with machine() as m:
        for text, complaint in ((None, 'no settings file'), ('node.id=1', 'data.ports is missing')):
            if text is not None:
                m.file('etc/tidemark.conf', text)
            r = subprocess.run(['bash', ROOT / 'config/host-setup.sh', '--root', m.root], capture_output=True, text=True, check=False)
            assert r.returncode == 1 and complaint in r.stderr, r.stderr


@case
def the_defaults_are_those_of_the_settings():
    script, table = (ROOT / 'config/host-setup.sh').read_text(), (ROOT / 'config/settings.def').read_text()
    for name, value in re.findall(r'\$\(setting ([a-z.]+) ([^\')]+)\)', script):
        row = re.search(rf'\(\w+, "{re.escape(name)}", (?:NULL|"[^"]*"), ("[^"]*"|[^,]+),(?: "([^"]*)",)?', table)
        standard = row.group(1).strip('"')
        if row.group(2) and '|' in row.group(2):
            standard = row.group(2).split('|')[int(standard)]
        assert standard == value, f'{name}: {value} here, {standard} in settings.def'


if __name__ == '__main__':
    sys.exit(run_cases([c for c in CASES if len(sys.argv) < 3 or c[0] == sys.argv[2]]))
