#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A broker on the PCI ports of an emulated machine. runner.py --build DIR --kernel DIR [--only NAME] [--list]"""
import argparse
import functools
import hashlib
import operator
import pathlib
import random
import shutil
import socket
import struct
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / 'crash'))
import checker
import history
from machine import PORTS, Failure, Machine, expect

CASES = []
SIZES = (1, 2, 100, 1447, 1448, 1449, 4095, 4096, 16384, 65535, 65536, 262144, 1000000)
FLOWS = 24
FRAMES_OF_A_FLOW = 4


def case(*ports):
    """A case for each of these ports."""
    def add(f):
        CASES.extend((f'{f.__name__}[{p}]', f, next(x for x in PORTS if x.name == p)) for p in ports)
        return f
    return add


# ---- what a client does ------------------------------------------------------------------------------------------------

class Records:
    """Records of every size, their bytes from a seed: what was produced, and what must come back."""

    def __init__(self, m):
        self.m = m
        self.paths = []
        r = random.Random(8)
        for n in SIZES:
            path = m.dir / f'size{n}'
            path.write_bytes(r.randbytes(n // 2 + 1).hex().encode()[:n])
            self.paths.append(path)

    def produce(self, port, topic, acks, *extra):
        self.m.client('kcat', '-b', port.boot, '-P', '-t', topic, '-X', f'acks={acks}', '-X', 'message.max.bytes=1040000', *extra, *self.paths)

    def expected(self, times=1):
        one = b''.join(b'%d %s\n' % (p.stat().st_size, p.read_bytes()) for p in self.paths)
        return hashlib.sha256(one * times).hexdigest()

    def consumed(self, port, topic):
        out = self.m.dir / 'out'
        self.m.client('sh', '-c', f'kcat -b {port.boot} -C -t {topic} -o beginning -e -q -f "%S %s\\n" >{out}')
        return hashlib.sha256(out.read_bytes()).hexdigest(), out.stat().st_size

    def compare(self, port, topic, times=1, patience=0):
        until = time.monotonic() + patience
        while True:
            got, size = self.consumed(port, topic)
            if got == self.expected(times) or time.monotonic() >= until:
                break
            time.sleep(0.5)
        expect(got == self.expected(times), f'{topic}: {size} bytes came back, and not those that were sent')


def values(m, name, before=None):
    """One number per core."""
    found = {k: v for k, v in m.items() if k.startswith(f'tidemark_{name}_total{{core=')}
    return [found[k] - (before or {}).get(k, 0) for k in sorted(found)]


def no_harm(m, offloads):
    """Nothing that a good wire and a right port never cause."""
    got = m.metrics()
    for name in ('rx_csum_bad', 'rx_csum_partial', 'tx_refused', 'rx_malformed', 'disk_errors', 'heap_allocations', 'tcp_malformed'):
        expect(sum(values(got, name)) == 0, f'{name}: {values(got, name)}')
    if offloads:
        expect(sum(values(got, 'tx_linearised')) == 0, f'frames were copied although the port takes chains: {values(got, "tx_linearised")}')
    return got


def acknowledged(path):
    return path.read_text().count('acked ') if path.exists() else 0


def wait_until(holds, seconds=120):
    until = time.monotonic() + seconds
    while not holds():
        expect(time.monotonic() < until, 'nothing more is acknowledged')
        time.sleep(0.1)


# ---- cases ---------------------------------------------------------------------------------------------------------------

@case('e1000e', 'igb', 'virtio')
def every_acks_mode_and_size(m, port):
    """The port does what it can; kill -9 in between, and everything is still there."""
    m.start(port)
    expect(f'0000:{port.pci[5:]}' in m.log() and 'by interrupt' in m.log() and 'arrival times software' in m.log() and 'no descriptor to wait on: polled' in m.log(), m.log())
    records = Records(m)
    topics = [(f'{port.name}-{acks}', acks) for acks in ('0', '1', 'all')]
    for topic, acks in topics:
        records.produce(port, topic, acks)
        before = m.metrics()
        records.compare(port, topic, patience=60 if acks == '0' else 0)
    got = no_harm(m, True)
    large = sum(values(got, 'tx_bytes', before)) / sum(values(got, 'tx_frames', before))
    expect((large > 1600) == (port.name != 'e1000e'), f'{large:.0f} bytes a frame: who cuts large packets, the port or the broker?')
    m.kill()
    m.start(port, data_offload='off')
    expect('rx checksums ip software tcp software, tx checksums ip software tcp software, segments joined in software' in m.log(), m.log())
    for topic, acks in topics:
        if acks != '0':
            records.compare(port, topic)
            records.produce(port, topic, acks)
            records.compare(port, topic, times=2)
    got = no_harm(m, False)
    expect(sum(values(got, 'tx_linearised')) > 0, 'nothing was copied although the port gets one segment only')
    m.stop()


def toeplitz(port, source):
    """The hash of a flow from the client's port to the broker: the key is one word again and again, so the words are added first."""
    words = struct.unpack('>4H', socket.inet_aton(port.client) + socket.inet_aton(port.broker)) + (source, 9092)
    word = functools.reduce(operator.xor, words)
    key = 0x6d5a6d5a
    turned = [(key << i | key >> (32 - i)) & 0xffffffff for i in range(16)]
    return functools.reduce(operator.xor, (t for i, t in enumerate(turned) if word >> (15 - i) & 1), 0)


def flows(port, core, count):
    """Source ports of flows that belong to that one of two cores."""
    return [s for s in range(20000, 21000) if toeplitz(port, s) % 128 % 2 == core][:count]


@case('igb', 'virtio-rss')
def flows_come_to_their_cores(m, port):
    """Two queues, two cores, RSS: which queue a frame comes in on is what the card's table says, and that is its core's."""
    m.start(port, data_core_count=2)
    expect('queues rx 2 tx 2' in m.log() and 'flows arrive at their cores' in m.log(), m.log())
    for core in (0, 1):
        before = m.metrics()
        m.ask(port, flows(port, core, FLOWS))
        got = m.metrics()
        frames, accepted = values(got, 'rx_frames', before), values(got, 'tcp_accepted', before)
        expect(frames[core] >= FRAMES_OF_A_FLOW * FLOWS, f'flows of core {core}: its queue brought {frames}')
        expect(frames[1 - core] < FLOWS, f'flows of core {core}: the queues brought {frames}')
        expect(accepted[core] == FLOWS and accepted[1 - core] == 0, f'flows of core {core}: connections {accepted}')
    expect(sum(values(got, 'rx_handed')) == 0, f'handed over: {values(got, "rx_handed")}')
    records = Records(m)
    for i in range(2):  # their partitions have different cores
        records.produce(port, f'{port.name}-core{i}', 'all')
        records.compare(port, f'{port.name}-core{i}')
    no_harm(m, True)
    m.stop()


@case('e1000e')
def large_frames_in_chains_on_one_queue_for_two_cores(m, port):
    """Frames of 9000 bytes do not fit a buffer of this card. Its second queue gets nothing: what is the second core's is handed over."""
    m.mtu(port, 9000)
    m.start(port, data_core_count=2, data_mtu=9000, dpdk_memory_mb=832)
    before = m.metrics()
    m.ask(port, flows(port, 1, FLOWS))
    got = m.metrics()
    expect(values(got, 'rx_frames', before)[1] == 0 and values(got, 'rx_handed', before)[0] >= FRAMES_OF_A_FLOW * FLOWS,
           f'frames {values(got, "rx_frames", before)}, handed over {values(got, "rx_handed", before)}')
    expect(values(got, 'tcp_accepted', before) == [0, FLOWS], f'connections {values(got, "tcp_accepted", before)}')
    records = Records(m)
    before = got
    records.produce(port, 'large', 'all')
    records.compare(port, 'large')
    got = no_harm(m, True)
    for way in ('rx', 'tx'):
        size = sum(values(got, f'{way}_bytes', before)) / sum(values(got, f'{way}_frames', before))
        expect(size > 1000, f'{way}: {size:.0f} bytes a frame')
    m.stop()
    m.mtu(port, 1500)


@case('virtio')
def killed_under_load_with_polled_completions(m, port):
    """A core that spins and polls its drive is killed while a producer goes on; whoever judges the crash suite judges the history."""
    where = m.dir / 'history'
    where.mkdir()
    m.start(port, core_idle='spin', data_cores=1)
    expect('completions polled' in m.log(), m.log())
    m.topic(port, 'load', 3)
    (where / 'runs').write_text('load load exact\n')
    producer = m.client_start(m.tools / 'tests/crash/crash_load', port.boot, 'load', 3, 'load', 'all', 'true', 200, 0, where / 'load.sent')
    begin = time.monotonic() * 1000

    def grown(count):
        wait_until(lambda: acknowledged(where / 'load.sent') >= count)

    def written():
        return sum(values(m.metrics(), 'disk_writes'))

    grown(200)  # what is new is there: its zeroes are written by threads that wait for interrupts
    interrupts, writes = m.drive_interrupts(), written()
    wait_until(lambda: written() >= writes + 100)
    interrupts, writes = m.drive_interrupts() - interrupts, written() - writes
    expect(interrupts < writes / 2, f'{writes:.0f} writes by polling, and {interrupts} interrupts of the drive')
    m.kill()
    m.start(port, log_from_here=False, core_idle='spin', data_cores=1)
    grown(acknowledged(where / 'load.sent') + 200)
    (where / 'faults').write_text(f'kill 1 {begin:.3f} {time.monotonic() * 1000:.3f}\n')
    out, err = producer.communicate('', timeout=300)
    expect(producer.returncode == 0 and out.split()[2] == '0', f'the producer: {out} {err}')
    m.client(m.tools / 'tests/crash/crash_read', port.boot, 'load', 3, 'end', where / 'load.final')
    runs = history.load(where)
    violations = checker.check(runs['load'], 0)
    print(checker.summary(runs['load'], 0))
    expect(not violations, '\n'.join(violations))
    no_harm(m, True)
    m.stop()


@case('virtio')
def ordinary_pages(m, port):
    """Without hugepages the card's memory is thousands of small pages behind the IOMMU. The emulated Intel cards take no buffer that lies on two."""
    m.start(port, dpdk_hugepages='off', dpdk_memory_mb=448)
    records = Records(m)
    records.produce(port, 'pages', 'all')
    records.compare(port, 'pages')
    no_harm(m, True)
    m.stop()


# ---- the run -------------------------------------------------------------------------------------------------------------

def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument('--build', required=True)
    a.add_argument('--kernel')
    a.add_argument('--tools')
    a.add_argument('--only', action='append')
    a.add_argument('--list', action='store_true')
    o = a.parse_args()
    if o.list:
        print('\n'.join(name for name, _, _ in CASES))
        return 0
    begin = time.monotonic()
    kernel = o.kernel or pathlib.Path(o.build) / 'pci/kernel'
    m = Machine(o.build, kernel, o.tools)
    passed = failed = skipped = 0
    m.boot()
    print(f'up after {time.monotonic() - begin:.1f} s, {m.cpu():.1f} s of processor', flush=True)
    for name, f, port in CASES:
        if o.only and not any(x in name for x in o.only):
            continue
        if port not in m.ports:
            print(f'SKIP {name}: this emulator has no {port.device}')
            skipped += 1
            continue
        t, c = time.monotonic(), m.cpu()
        try:
            f(m, port)
            passed += 1
            print(f'ok   {name} ({time.monotonic() - t:.1f} s, {m.cpu() - c:.1f} s of processor)', flush=True)
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            print(f'FAILED {name}: {e if isinstance(e, Failure) else traceback.format_exc()}')
            print(f"again: sudo {sys.argv[0]} --build {o.build} --kernel {kernel} --only '{name}'")
            try:
                print(m.log(60))
                m.run('kill -KILL $broker; wait $broker', check=False)
            except Failure as lost:
                print(lost, flush=True)
                break
    print(f'{time.monotonic() - begin:.0f} s in all, {m.cpu():.0f} s of the emulator\'s processor')
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return failed != 0 or passed == 0


if __name__ == '__main__':
    sys.exit(main())
