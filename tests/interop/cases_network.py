# SPDX-License-Identifier: Apache-2.0
"""What is below a request: TCP against the kernel's, IPv6, ports and their links, an interface shared with the host, cores."""
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import wire
from cases import case, case_of_each_port, healthy
from clients import Skip, debian_python
from world import BOOT, BOOT6, BROKER, BROKER6, CLIENT, PORT, Failure, FULL, expect, lines, sh, wait_until

HERE = pathlib.Path(__file__).resolve().parent


# ---- TCP against the kernel's ------------------------------------------------------------------------------------------------

@case_of_each_port
def a_cable_that_loses(w):
    path = w.dir / 'in'
    sent = lines(200000 if FULL else 40000)
    path.write_text(sent)
    try:
        for percent in (0.1, 1, 5, 10) if FULL else (1, 10):
            topic = f'lossy-{percent}'
            w.lossy(0)
            w.topic(topic)
            before = w.metrics()
            w.lossy(percent)
            w.produce(topic, path, '-X', 'acks=all', '-X', 'enable.idempotence=true', timeout=300)
            got = w.consume(topic, timeout=300)
            expect(got == sent, f'{percent} %: {len(got)} of {len(sent)} bytes')
            again = w.total('tidemark_tcp_retransmits_total') - w.total('tidemark_tcp_retransmits_total', before)
            expect(again > 0 or percent < 5, f'{percent} % were lost and nothing was sent again')  # a few hundred frames may all be spared by less
    finally:
        w.lossy(0)
    healthy(w)


def listed(w, s):
    """What the broker says of the connection behind a socket."""
    out = sh('ip', 'netns', 'exec', w.ns_broker, w.tools / 'control/tool/tidemark', 'conns').stdout.splitlines()
    rows = [dict(zip(out[0].split(), r.split())) for r in out if '%s:%d' % s.getsockname() in r]
    expect(len(rows) == 1, '\n'.join(out))
    return rows[0]


@case_of_each_port
def nothing_is_sent_again_for_a_peer_that_delays_its_acks(w):
    """Requests 100 ms apart: the kernel keeps each ACK back for 40 ms. Who takes it for a loss does so at once and each time; a machine that
    stood still for longer than a timeout spoils one try."""
    count = 1000 if FULL else 80
    request = wire.frame(18, 0, b'')
    for _ in range(3):
        s = w.connect()
        for _ in range(count):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            expect(wire.ask(s, request) is not None, 'no answer')
            time.sleep(0.1)
        row = listed(w, s)
        # struct tcp_info: tcpi_total_retrans
        kernel = struct.unpack_from('=I', s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]
        s.close()
        expect(float(row['rto_ms']) > 100, f'the timeout must leave room for ACKs that are kept back: {row}')
        if row['resent'] == '0' and kernel == 0:
            return
    raise Failure(f'the kernel sent {kernel} again, the broker what it says: {row}')


@case
def connections_are_listed(w):
    s = w.connect()
    expect(wire.ask(s, wire.frame(18, 0, b'')) is not None, 'no answer')
    row = listed(w, s)
    expect(row['state'] == 'ESTABLISHED' and 'sack' in row['options'] and int(row['bytes_in']) > 0, row)
    r = sh('ip', 'netns', 'exec', w.ns_broker, w.tools / 'control/tool/tidemark', 'conns', '--control', '127.0.0.1:1', check=False)
    expect(r.returncode == 1 and 'tidemark: http://127.0.0.1:1/conns' in r.stderr, r.stderr)


@case_of_each_port
def a_flood_of_syns(w):
    """Strangers' SYNs as fast as one sender can; the client's records go on, and new clients come in."""
    healthy(w)
    resident = w.resident()
    before = w.metrics()
    hardware = w.hardware_address()
    seconds = 8 if FULL else 3

    def flood():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind((w.dev_client, 0))
        until, sent = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            for _ in range(64):
                sent += 1
                link.send(wire.syn(hardware, f'10.78.{1 + sent % 250}.{sent // 250 % 250}', BROKER, 1024 + sent % 60000, PORT, sent))
        link.close()
        return sent

    sent = []
    t = threading.Thread(target=lambda: sent.append(w.inside(flood)))
    t.start()
    time.sleep(0.3)
    healthy(w, 'flood-health')
    path = w.dir / 'in'
    path.write_text(lines(20000))
    w.produce('flood', path, '-X', 'acks=all')
    t.join()
    after = w.metrics()
    told = lambda name: w.total(f'tidemark_{name}_total', after) - w.total(f'tidemark_{name}_total', before)
    expect(told('tcp_syn_cookies_sent') > 0, f'{sent} SYNs and no cookie')
    expect(told('mbuf_empty') == 0 and told('tcp_no_memory') == 0, 'a pool ran out')
    expect(w.resident() < resident + 32 * 1024, 'memory grew')
    healthy(w)


# ---- IPv6 ------------------------------------------------------------------------------------------------------------------

@case_of_each_port
def ipv6(w):
    """Beside IPv4: echo, neighbour discovery, clients over an IPv6 listener, and the same records by either family."""
    w.stop()
    w.client_ipv6()
    w.settings = {'data_address6': f'{BROKER6}/64', 'listeners': f'PLAINTEXT://{BOOT},SIX://{BOOT6}',
                  'listener_security_protocol_map': 'PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT'}
    w.start()
    for address, size in ((BROKER6, 56), (BROKER6, 1452), (f'{w.broker_link_local()}%{w.dev_client}', 56), (BROKER, 56)):
        w.client(sys.executable, HERE / 'ping.py', address, 3, size)
    path = w.dir / 'in'
    sent = lines(20000)
    path.write_text(sent)
    w.client('kcat', '-b', BOOT6, '-P', '-t', 'six', '-l', path, '-X', 'acks=all', '-X', 'enable.idempotence=true')
    got = w.client('kcat', '-b', BOOT6, '-C', '-t', 'six', '-o', 'beginning', '-e', '-q').stdout
    expect(got == sent, f'{len(got)} of {len(sent)} bytes came back by IPv6')
    expect(w.consume('six') == sent, 'by IPv4 they are others')
    listed = w.client('kcat', '-b', BOOT6, '-L').stdout
    expect(f'{BROKER6}:{PORT}' in listed.replace('[', '').replace(']', '') and BROKER not in listed, listed)
    expect(BROKER6 not in w.client('kcat', '-b', BOOT, '-L').stdout, 'a client of the IPv4 listener is told an IPv6 address')
    r = w.client(w.tools / 'control/tool/tidemark', 'topic', 'describe', '--bootstrap', BOOT6, '--topic', 'six')
    expect('PartitionCount: 1' in r.stdout, r.stdout)
    big = w.dir / 'big'
    big.write_bytes(b'm' * 1000000)
    w.client('kcat', '-b', BOOT6, '-P', '-t', 'six-big', '-X', 'message.max.bytes=1040000', *[big] * 10)
    got = w.client('kcat', '-b', BOOT6, '-C', '-t', 'six-big', '-o', 'beginning', '-e', '-q', '-f', '%S\n').stdout
    expect(got == '1000000\n' * 10, got[:200])
    # Who wants the broker's address finds out that it is taken (RFC 4862 5.4).
    sh('ip', '-n', w.ns_client, '-6', 'addr', 'add', f'{BROKER6}/64', 'dev', w.dev_client)
    try:
        until = time.monotonic() + 15
        while 'dadfailed' not in (seen := sh('ip', '-n', w.ns_client, '-6', 'addr', 'show', 'dev', w.dev_client).stdout) and time.monotonic() < until:
            time.sleep(0.2)
        expect('dadfailed' in seen, 'the broker did not defend its address')
    finally:
        sh('ip', '-n', w.ns_client, '-6', 'addr', 'del', f'{BROKER6}/64', 'dev', w.dev_client)
    m = w.metrics()
    expect(w.total('tidemark_nd_in_total', m) > 0 and w.total('tidemark_icmp_echo_total', m) >= 8, 'counters')
    for name in ('rx_csum_bad', 'rx_malformed', 'rx_fragments', 'neighbour_full', 'nd_conflicts', 'heap_allocations'):
        expect(w.total(f'tidemark_{name}_total', m) == 0, f'{name}: {w.total(f"tidemark_{name}_total", m)}')
    w.stop()
    w.settings = {}
    w.start()


@case_of_each_port
def ipv6_through_a_router_with_a_narrow_link(w):
    """The client's namespace routes to a third one over a link whose near end carries 1300 bytes: segments of the broker do
    not fit, "packet too big" says so, and they get smaller."""
    w.stop()
    w.client_ipv6()
    w.settings = {'data_address6': f'{BROKER6}/64', 'data_gateway6': w.client_link_local(), 'listeners': f'PLAINTEXT://{BOOT},SIX://{BOOT6}',
                  'listener_security_protocol_map': 'PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT', 'data_core_count': 2, 'dpdk_memory_mb': 1400}
    w.start()
    path = w.dir / 'in'
    sent = lines(100000)
    path.write_text(sent)
    w.client('kcat', '-b', BOOT6, '-P', '-t', 'narrow', '-l', path)
    before = w.metrics()
    with w.far_ipv6(1300) as far:
        for _ in range(4):  # connections of both cores, and the errors come to one of them
            got = sh('ip', 'netns', 'exec', far, 'kcat', '-b', BOOT6, '-C', '-t', 'narrow', '-o', 'beginning', '-e', '-q', timeout=60).stdout
            expect(got == sent, f'{len(got)} of {len(sent)} bytes came through the router')
        sh('ip', 'netns', 'exec', far, 'kcat', '-b', BOOT6, '-P', '-t', 'narrow-back', '-l', path, '-X', 'acks=all', timeout=60)
    expect(w.consume('narrow-back') == sent, 'what came from beyond the router differs')
    after = w.metrics()
    for name in ('icmp_errors', 'tcp_mss_reduced'):
        told = w.total(f'tidemark_{name}_total', after) - w.total(f'tidemark_{name}_total', before)
        expect(told >= 4, f'{name}: {told}')
    w.stop()
    w.settings = {}
    w.start()


@case
def ipv6_with_kafka_python_and_two_cores(w):
    w.stop()
    w.client_ipv6()
    w.settings = {'data_address6': f'{BROKER6}/64', 'listeners': f'PLAINTEXT://{BOOT},SIX://{BOOT6},FOUR://{BROKER}:9094',
                  'listener_security_protocol_map': 'PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT,FOUR:PLAINTEXT', 'data_core_count': 2, 'dpdk_memory_mb': 1400}
    w.start()
    expect(w.client('kcat', '-b', f'{BROKER}:9094', '-L', '-m', 30).stdout.count(f'at {BROKER}:9094') == 1, 'IPv4 on 9094')
    expect(w.client('kcat', '-b', f'[{BROKER6}]:9094', '-L', '-m', 3, check=False).returncode != 0, 'a listener of IPv4 serves IPv6')
    w.client(debian_python(), HERE / 'kafka_python_client.py', BOOT6, 'kp-six', 1000, 'gzip', 'all', 'explicit')
    path = w.dir / 'in'
    sent = lines(5000)
    path.write_text(sent)
    for i in range(6):  # connections of both cores
        w.client('kcat', '-b', BOOT6, '-P', '-t', f'six-{i}', '-l', path, '-X', 'acks=all')
        expect(w.client('kcat', '-b', BOOT6, '-C', '-t', f'six-{i}', '-o', 'beginning', '-e', '-q').stdout == sent, f'six-{i} differs')
    expect(w.total('tidemark_rx_csum_bad_total') == 0, 'sums')
    w.stop()
    w.settings = {}
    w.start()


# ---- starts that must fail --------------------------------------------------------------------------------------------------

@case_of_each_port
def bad_starts_are_refused_with_a_sentence(w):
    daemon = w.build / 'control/daemon/tidemarkd'

    def refused(word, config):
        r = sh('ip', 'netns', 'exec', w.ns_broker, daemon, '--config', config, check=False, timeout=60)
        expect(r.returncode not in (0, None) and r.returncode > 0, f'{word}: status {r.returncode}')
        expect(word in r.stderr, f'{word}: {r.stderr[-400:]}')

    refused('another broker runs on', w.config())
    refused('cannot be read', w.dir / 'absent.conf')
    for line, word in (('no.such.setting=1', 'no setting'), ('listenrs=x', 'did you mean listeners'), ('num.partitions=many', 'no whole number'),
                       ('num.partitions=0', 'out of range'), ('just words', 'broker.conf:'), ('node.id=2\nnode.id=2', 'given twice')):
        path = w.config()
        path.write_text(path.read_text() + line + '\n')
        refused(word, path)
    refused('node.id', w.config(log_dirs=w.dir / 'elsewhere', node_id='-5'))
    refused('PLAINTEXT', w.config(listeners='SSL://10.78.0.1:9092'))
    w.stop()
    refused('dpdk.memory.mb', w.config(dpdk_memory_mb=300))
    refused('belongs to node.id', w.config(node_id=7))
    refused('does not exist', w.config(log_dirs='/proc/nowhere/data'))
    fresh = w.dir / 'fresh'
    refused('nosuch0', w.config(data_ports='vdev:net_af_xdp0,iface=nosuch0', log_dirs=fresh))
    w.start()
    healthy(w)


def port_metric(w, name, port):
    return w.metrics().get(f'tidemark_port_{name}{{port="{port}"}}')


def broker_neighbour(w):
    """The hardware address under which the client knows the broker."""
    found = re.search(r'lladdr ([0-9a-f:]+)', sh('ip', '-n', w.ns_client, 'neigh', 'show', BROKER).stdout)
    return found.group(1) if found else None


@case_of_each_port
def a_second_port_takes_over(w):
    """Its link goes: the address moves to the other port with an announcement, and connections that were open go on."""
    w.stop()
    with w.second_port() as (ports, ends):
        w.settings = {'data_ports': ports, 'dpdk_memory_mb': 1400}
        w.start()
        w.topic('moves')
        load = w.client_start('kcat', '-b', BOOT, '-P', '-t', 'moves', '-X', 'acks=all', '-X', 'enable.idempotence=true', stdin=subprocess.PIPE)
        sent, known = 0, set()

        def write(n):
            nonlocal sent
            load.stdin.write(''.join(f'{i}\n' for i in range(sent, sent + n)))
            load.stdin.flush()
            sent += n

        write(2000)
        wait_until(60, lambda: w.total('tidemark_produce_records_total') > 0, 'nothing arrives')
        known.add(broker_neighbour(w))
        for went, stays in ((0, 1), (1, 0)):
            expect(port_metric(w, 'active', went) == 1, f'port {went} is not the active one')
            sh('ip', '-n', w.ns_client, 'link', 'set', ends[went], 'down')
            write(2000)
            wait_until(60, lambda: port_metric(w, 'active', stays) == 1, f'port {stays} does not take over')  # pylint: disable=cell-var-from-loop
            write(2000)
            w.produce('moves_too', '/etc/hostname', '-X', 'acks=all')
            known.add(broker_neighbour(w))
            sh('ip', '-n', w.ns_client, 'link', 'set', ends[went], 'up')
            wait_until(60, lambda: w.metrics()[f'tidemark_link_up{{port="{went}"}}'] == 1, 'the link does not come up')  # pylint: disable=cell-var-from-loop
            expect(port_metric(w, 'active', stays) == 1, 'the address went back by itself')
        load.stdin.close()
        expect(load.wait(timeout=120) == 0, 'the producer failed')
        got = w.consume('moves').splitlines()
        expect(got == [str(i) for i in range(sent)], f'{len(got)} of {sent} records, or not in order')
        expect(len(known) == 2, f'the client knew the broker as {known}')
        expect(w.metrics()['tidemark_port_failovers_total'] == 2, 'not two failovers')
        text = w.log.read_text()
        for word in ('the link is down', 'the link is up', 'carries the data address from now on'):
            expect(word in text, f'the log does not say: {word}')
        w.stop()
    w.settings = {}
    w.start()


@case_of_each_port
def a_link_that_goes_and_comes(w):
    """One port: counted, said, and survived by an open connection; nothing is left on the interface by any end."""
    w.topic('cable')
    w.produce('cable', '/etc/hostname', '-X', 'acks=all')
    s = w.connect()
    before = port_metric(w, 'link_downs_total', 0)
    sh('ip', '-n', w.ns_client, 'link', 'set', w.dev_client, 'down')
    wait_until(60, lambda: port_metric(w, 'link_downs_total', 0) == before + 1, 'nobody noticed')
    expect(w.metrics()['tidemark_link_up{port="0"}'] == 0, 'the link is called up')
    sh('ip', '-n', w.ns_client, 'link', 'set', w.dev_client, 'up')
    wait_until(60, lambda: w.metrics()['tidemark_link_up{port="0"}'] == 1, 'the link stays down')
    expect(wire.ask(s, wire.frame(18, 0, b'')), 'the connection is gone')
    s.close()
    w.produce('cable', '/etc/hostname', '-X', 'acks=all')
    w.kill()
    w.start()
    expect(len(w.consume('cable').splitlines()) == 2, 'records are missing')
    w.stop()
    left = sh('ip', '-n', w.ns_broker, '-d', 'link', 'show', w.dev_broker).stdout
    expect('xdp' not in left and 'promiscuity 0' in left, f'left on the interface:\n{left}')
    w.start()


def pcapng(path):
    """The packets of a capture: (interface, is_out, time in ns, bytes on the wire, bytes kept), and how many were lost."""
    data, at, packets, lost, interfaces = path.read_bytes(), 0, [], 0, 0
    expect(struct.unpack_from('<II', data, 0)[0] == 0x0a0d0d0a and struct.unpack_from('<I', data, 8)[0] == 0x1a2b3c4d, 'it is no pcapng')
    while at < len(data):
        kind, size = struct.unpack_from('<II', data, at)
        expect(size % 4 == 0 and at + size <= len(data) and struct.unpack_from('<I', data, at + size - 4)[0] == size, f'block at {at} of {len(data)}')
        if kind == 1:
            interfaces += 1
        elif kind == 6:
            interface, high, low, kept, wire_len = struct.unpack_from('<IIIII', data, at + 8)
            flags = struct.unpack_from('<I', data, at + 28 + (kept + 3 & ~3) + 4)[0]
            expect(interface < interfaces and kept <= wire_len and flags in (1, 2), 'a packet makes no sense')
            packets.append((interface, flags == 2, high << 32 | low, wire_len, data[at + 28:at + 28 + kept]))
        elif kind == 5:
            lost = struct.unpack_from('<Q', data, at + 24)[0]
        at += size
    return packets, lost


@case_of_each_port
def frames_are_captured(w):
    """Both directions, in order of time, with what clients sent in them; of one connection if wanted; and nothing is left afterwards."""
    out = w.dir / 'capture.pcapng'
    tool = ['ip', 'netns', 'exec', w.ns_broker, str(w.tools / 'control/tool/tidemark'), 'capture', '--out', str(out)]

    def capture(*args):
        mark = w.log.read_text().count('a capture has begun')
        p = subprocess.Popen([*tool, *args], stderr=subprocess.PIPE, text=True)
        wait_until(60, lambda: w.log.read_text().count('a capture has begun') > mark or p.poll() is not None, 'no capture begins')
        expect(p.poll() is None, p.poll() is not None and p.stderr.read())
        return p

    def ended(p):
        p.send_signal(signal.SIGINT)
        text = p.communicate(timeout=60)[1]
        expect(p.returncode == 0, text)
        return pcapng(out)

    w.topic('seen')
    p = capture('--snap', '4000')
    path = w.dir / 'one'
    path.write_text('a record that is looked for\n')
    w.produce('seen', path, '-X', 'acks=all')
    w.consume('seen')
    second = sh(*tool[:-1], w.dir / 'other', check=False)
    expect(second.returncode == 1 and 'another capture is running' in second.stderr, second.stderr)
    packets, lost = ended(p)
    expect(lost == 0, f'{lost} lost')
    expect([t for _, _, t, _, _ in packets] == sorted(t for _, _, t, _, _ in packets), 'not in order of time')
    for is_out in (False, True):
        expect(any(o == is_out and b'a record that is looked for' in b for _, o, _, _, b in packets), f'the record is not seen, out: {is_out}')
    if w.vdev == 'af_xdp':  # the others learn what the kernel sends, too
        expect(all(len(b) == n for _, _, _, n, b in packets), 'frames are cut')

    s, other = w.connect(), w.connect()
    port = s.getsockname()[1]
    p = capture('--conn', f'{CLIENT}:{port}', '--snap', '64')
    for _ in range(3):
        wire.ask(other, wire.frame(18, 0, b''))
        wire.ask(s, wire.frame(18, 0, b''))
    packets, _ = ended(p)
    expect(len(packets) >= 6, f'{len(packets)} packets')
    for _, o, _, n, b in packets:
        expect(struct.unpack_from('>HH', b, 34)[0 if not o else 1] == port, 'a frame of another connection')
        expect(len(b) == min(n, 64), 'more is kept than wanted')
    s.close()
    other.close()
    p = capture()
    p.kill()  # nobody takes any more: it ends by itself
    p.wait()
    wait_until(60, lambda: w.log.read_text().count('the capture has ended') == 3, 'a capture that was left does not end')
    bad = sh(*tool, '--conn', 'nowhere', check=False)
    expect(bad.returncode == 1 and 'conn is ADDRESS' in bad.stderr, bad.stderr)
    healthy(w)


@case
def the_time_of_requests_is_told(w):
    """Stages add up to the whole, a Fetch and the writes are there, turns say what they did, and `tidemark top` shows it."""
    stages = ('tcp', 'queue', 'parse', 'home', 'append', 'watermark', 'respond', 'transmit')
    path = w.dir / 'in'
    path.write_text(lines(500))
    w.topic('timed', ack_durability='device')

    def counted(what):
        m = w.metrics()
        return {s: m[f'tidemark_stage_seconds_{what}{{stage="{s}"}}'] for s in (*stages, 'produce', 'fetch', 'disk')}

    before, sums = counted('count'), counted('sum')
    w.produce('timed', path, '-X', 'acks=all', '-X', 'batch.num.messages=10')
    w.consume('timed')
    after, since = counted('count'), counted('sum')
    requests = after['produce'] - before['produce']
    expect(requests >= 50, f'{requests} requests')
    for s in stages:
        expect(after[s] - before[s] == requests, f'{s}: {after[s] - before[s]} of {requests}')
    whole, parts = since['produce'] - sums['produce'], sum(since[s] - sums[s] for s in stages)
    expect(abs(whole - parts) < 1e-6, f'{parts} s in the stages of {whole} s')
    expect(since['watermark'] - sums['watermark'] >= (since['disk'] - sums['disk']) / 2 > 0, f'the disk is not waited for: {since}')  # some writes are others'
    expect(after['fetch'] > before['fetch'], 'no fetch')
    m = w.metrics()
    expect(m['tidemark_turn_seconds_count{core="0"}'] > 0 and m['tidemark_turn_longest_seconds{core="0"}'] > 0, 'no turns')
    for kind in ('frames_in', 'frames_out', 'requests', 'disk', 'jobs', 'letters', 'begun'):
        expect(f'tidemark_turn_longest_{kind}{{core="0"}}' in m, f'{kind} of the longest turn is not told')
    r = sh('ip', 'netns', 'exec', w.ns_broker, w.tools / 'control/tool/tidemark', 'top', '--once')
    expect(all(f'\n{s} ' in r.stdout for s in (*stages, 'produce')) and ' ready,' in r.stdout, r.stdout)


def only_af_xdp(w):
    if w.vdev != 'af_xdp':
        raise Skip('only of AF_XDP')


def far_away(w, address='10.99.0.1'):
    """Bytes of an answer of the broker to a client behind the client."""
    def talk():
        with socket.create_connection((BROKER, PORT), timeout=20, source_address=(address, 0)) as s:
            s.settimeout(20)
            return wire.ask(s, wire.frame(18, 0, b''))
    return w.inside(talk)


def echo(w, s=None):
    """Through the host's own service, on a connection that is there or a new one."""
    def talk():
        c = s or socket.create_connection((BROKER, 2222), timeout=20)
        data, got = os.urandom(100000), b''
        c.sendall(data)
        while len(got) < len(data):
            got += c.recv(65536)
        expect(got == data, 'the host echoes something else')
        return c
    return w.inside(talk)


@case
def one_interface_for_the_host_and_the_broker(w):
    """One address: port 9092 is the broker's; ping, the host's own service and the host's own connections are the kernel's."""
    only_af_xdp(w)
    inside = ('ip', '-n', w.ns_broker)
    with w.shared_port():
        until = time.monotonic() + 20
        while 'LISTEN' not in sh('ip', 'netns', 'exec', w.ns_broker, 'ss', '-tln', 'sport', '=', 2222).stdout and time.monotonic() < until:
            time.sleep(0.1)
        open_before = echo(w)
        w.start()
        path = w.dir / 'in'
        sent = lines(20000)
        path.write_text(sent)
        w.topic('together')
        w.produce('together', path, '-X', 'acks=all')
        expect(w.consume('together') == sent, 'differs')
        echo(w, open_before)
        for _ in range(3):
            echo(w).close()
        w.client(sys.executable, HERE / 'ping.py', BROKER, 3, 200)
        # The host calls out, from ports of its own.
        out = w.inside(lambda: socket.create_server((CLIENT, 3333)))
        got = []
        t = threading.Thread(target=lambda: got.append(out.accept()[0].recv(100)))
        t.start()
        sh('ip', 'netns', 'exec', w.ns_broker, sys.executable, '-c', f'import socket; socket.create_connection(("{CLIENT}", 3333), 20).sendall(b"from the host")')
        t.join(20)
        out.close()
        expect(got == [b'from the host'], got)
        m = w.metrics()
        expect(m['tidemark_port_stamps{port="0"}'] == 0 and not [k for k in m if 'ptp' in k], 'a veth has no clock of its own')
        expect(w.total('tidemark_arp_in_total', m) == 0 and w.total('tidemark_icmp_echo_total', m) == 0 and w.total('tidemark_rx_unknown_total', m) == 0,
               {k: v for k, v in m.items() if v and ('arp' in k or 'icmp' in k or 'rx_' in k)})
        # Clients behind a router: the way there, and the router's hardware address, are what the kernel says; also when it changes.
        sh('ip', '-n', w.ns_client, 'addr', 'replace', '10.99.0.1/32', 'dev', 'lo')
        sh('ip', '-n', w.ns_client, 'addr', 'replace', '10.78.0.101/24', 'dev', w.dev_client)
        sh(*inside, 'route', 'replace', 'default', 'via', CLIENT)
        wait_until(60, lambda: 'way out is now prefix /24, gateway 10.78.0.100' in w.log.read_text(), 'the route is not taken over')
        w.kill()  # nothing learned from frames is left
        w.start()
        expect(far_away(w), 'no answer to a client behind a router')
        sh(*inside, 'route', 'replace', 'default', 'via', '10.78.0.101')
        wait_until(60, lambda: 'gateway 10.78.0.101' in w.log.read_text(), 'the new router is not taken over')
        expect(far_away(w), 'no answer through the new router')
        w.stop()
        echo(w, open_before).close()
        expect('xdp' not in sh(*inside, 'link', 'show', w.dev_broker).stdout, 'the program is left behind')
    w.start()


@case
def ipv6_on_an_interface_of_the_host(w):
    """Both families of one interface are the host's as well: echo and its own service by IPv6, clients of the broker, a router that changes."""
    only_af_xdp(w)
    inside = ('ip', '-n', w.ns_broker)
    w.client_ipv6()
    with w.shared_port(data_address6=f'{BROKER6}/64', listeners=f'PLAINTEXT://{BOOT},SIX://{BOOT6}', listener_security_protocol_map='PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT'):
        r = sh('ip', 'netns', 'exec', w.ns_broker, w.build / 'control/daemon/tidemarkd', '--config', w.config(**w.settings), check=False)
        expect(r.returncode != 0 and f'data.address6 {BROKER6} is not an address of' in r.stderr, r.stderr[-800:])
        sh('ip', 'netns', 'exec', w.ns_broker, 'sysctl', '-qw', f'net.ipv6.conf.{w.dev_broker}.disable_ipv6=0')
        sh(*inside, '-6', 'addr', 'add', f'{BROKER6}/64', 'dev', w.dev_broker, 'nodad')
        service = subprocess.Popen(['ip', 'netns', 'exec', w.ns_broker, sys.executable, '-c',
                                    'import socket; s = socket.create_server(("::", 2223), family=socket.AF_INET6)\nwhile True: c = s.accept()[0]; c.sendall(b"host"); c.close()'],
                                   stdin=subprocess.DEVNULL)
        try:
            w.start()
            path = w.dir / 'in'
            sent = lines(20000)
            path.write_text(sent)
            for boot, topic in ((BOOT6, 'six-together'), (BOOT, 'four-together')):
                w.client('kcat', '-b', boot, '-P', '-t', topic, '-l', path, '-X', 'acks=all', '-X', 'enable.idempotence=true')
                got = w.client('kcat', '-b', boot, '-C', '-t', topic, '-o', 'beginning', '-e', '-q').stdout
                expect(got == sent, f'{len(got)} of {len(sent)} bytes came back from {boot}')
            for address in (BROKER6, BROKER):
                w.client(sys.executable, HERE / 'ping.py', address, 3, 1000)
            expect(w.inside(lambda: socket.create_connection((BROKER6, 2223), 20).recv(10)) == b'host', 'the host does not answer by IPv6')
            m = w.metrics()
            expect(w.total('tidemark_nd_in_total', m) == 0 and w.total('tidemark_icmp_echo_total', m) == 0 and w.total('tidemark_rx_unknown_total', m) == 0,
                   {k: v for k, v in m.items() if v and ('nd_' in k or 'icmp' in k or 'rx_' in k)})
            # Clients behind a router, whom the broker finds by the kernel's default route; also when that changes.
            sh('ip', '-n', w.ns_client, '-6', 'addr', 'replace', 'fd78::101/64', 'dev', w.dev_client, 'nodad')
            with w.far_ipv6(1500) as far:
                for i, router in enumerate((w.client_link_local(), 'fd78::101')):
                    sh(*inside, '-6', 'route', 'replace', 'default', 'via', router, 'dev', w.dev_broker)
                    wait_until(60, lambda: f'of IPv6 prefix /64, gateway {router}' in w.log.read_text(), 'the route is not taken over')  # pylint: disable=cell-var-from-loop
                    if i == 0:
                        w.kill()  # nothing learned is left
                        w.start()
                    got = sh('ip', 'netns', 'exec', far, 'kcat', '-b', BOOT6, '-C', '-t', 'six-together', '-o', 'beginning', '-e', '-q', timeout=60).stdout
                    expect(got == sent, f'{len(got)} of {len(sent)} bytes came through the router {router}')
        finally:
            service.kill()
            service.wait()
            sh(*inside, '-6', 'route', 'del', 'default', check=False)
            sh(*inside, '-6', 'addr', 'flush', 'dev', w.dev_broker, check=False)
            sh('ip', 'netns', 'exec', w.ns_broker, 'sysctl', '-qw', f'net.ipv6.conf.{w.dev_broker}.disable_ipv6=1', check=False)
    w.start()


@case
def an_interface_of_the_host_is_spared(w):
    """The default route goes through it: refused, unless told so. A shared port has conditions, each with a sentence."""
    only_af_xdp(w)

    def refused(word, **settings):
        r = sh('ip', 'netns', 'exec', w.ns_broker, w.build / 'control/daemon/tidemarkd', '--config', w.config(**settings), check=False)
        expect(r.returncode != 0 and word in r.stderr, f'"{word}" is not in:\n{r.stderr[-800:]}')

    with w.shared_port():
        sh('ip', '-n', w.ns_broker, 'route', 'replace', 'default', 'via', CLIENT)
        refused('the host would be cut off. To share it, set data.port.shared=true')
        refused('is not an address of', data_port_shared='true', data_address='10.78.0.7/24')
        refused(f'which has: {BROKER}/24', data_port_shared='true', data_address='10.78.0.7/24', listeners='PLAINTEXT://10.78.0.7:9092')
        refused('overlap the ports that this host takes', data_port_shared='true', data_source_port_first=50000)
        refused('needs net_af_xdp', data_port_shared='true', data_ports=w.port().replace('net_af_xdp0', 'net_af_packet0').replace(',busy_budget=0', ''))
        w.settings = {'data_port_take_default_route': 'true'}
        w.start()
        w.stop()
    w.start()


@case_of_each_port
def two_data_cores(w):
    w.stop()
    w.settings = {'data_core_count': 2, 'dpdk_memory_mb': 1400}
    w.start()
    w.topic('wide', partitions=8)
    path = w.dir / 'in'
    sent = lines(20000)
    path.write_text(sent)
    for acks in ('0', '1', 'all'):
        w.produce('wide', path, '-X', f'acks={acks}')
    want = sorted(sent.splitlines() * 3)
    until = time.monotonic() + 30  # nobody was told when those with acks=0 were there
    while sorted(got := w.consume('wide').splitlines()) != want and time.monotonic() < until:
        time.sleep(0.5)
    expect(sorted(got) == want, f'{len(got)} records instead of {len(want)}, or others')
    for p in range(8):
        w.produce('wide2' + str(p), path, '-X', 'acks=all', '-X', 'enable.idempotence=true')
        expect(w.consume('wide2' + str(p)) == sent, f'topic {p} differs')
    s = w.connect() # one connection, partitions at home on both cores
    for p in range(8):
        w.produce('wide', path, '-p', p, '-X', 'acks=all')  # chance may have left it empty so far
        error, low = wire.delete_records_result(wire.ask(s, wire.delete_records('wide', 1, p)), 'wide')
        expect((error, low) == (0, 1), f'records of partition {p} are not deleted: {error} {low}')
    s.close()
    left = w.consume('wide').splitlines()
    expect(len(left) == 220000 - 8, f'{len(left)} records are left')
    m = w.metrics()
    expect(all(m[f'tidemark_produce_batches_total{{core="{c}"}}'] > 0 for c in (0, 1)) if 'tidemark_produce_batches_total{core="0"}' in m
           else True, 'one core does all')
    w.stop()
    w.settings = {}
    w.start()
    expect(sorted(w.consume('wide').splitlines()) == sorted(left), 'differs with one core again')
