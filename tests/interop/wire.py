# SPDX-License-Identifier: Apache-2.0
"""Just enough of the protocol to send what no client would."""
import struct


def crc32c(data, table=[]):
    if not table:
        for i in range(256):
            c = i
            for _ in range(8):
                c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
            table.append(c)
    crc = 0xffffffff
    for b in data:
        crc = table[(crc ^ b) & 0xff] ^ crc >> 8
    return crc ^ 0xffffffff


def varint(n):
    n = n << 1 ^ n >> 63
    n &= (1 << 64) - 1
    out = b''
    while n >= 0x80:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def record(i, value, key=None, ts=0):
    body = b'\0' + varint(ts) + varint(i)
    body += varint(-1) if key is None else varint(len(key)) + key
    body += varint(-1) if value is None else varint(len(value)) + value
    body += varint(0)
    return varint(len(body)) + body


def batch(values, base_offset=0, magic=2, attributes=0, last_delta=None, count=None, pid=-1, epoch=-1, seq=-1, records=None,
          crc=None, ts=1700000000000, length=None):
    n = len(values)
    data = b''.join(record(i, v) for i, v in enumerate(values)) if records is None else records
    tail = struct.pack('>hiqqqhii', attributes, n - 1 if last_delta is None else last_delta, ts, ts, pid, epoch, seq,
                       n if count is None else count) + data
    c = crc32c(tail) if crc is None else crc
    head = struct.pack('>ibI', -1, magic, c)
    return struct.pack('>qi', base_offset, len(head) + len(tail) if length is None else length) + head + tail


def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack('>h', len(b)) + b


def frame(key, version, body, correlation=1, client='raw'):
    payload = struct.pack('>hhi', key, version, correlation) + text(client) + body
    return struct.pack('>i', len(payload)) + payload


def produce(topic, data, partition=0, acks=-1, timeout=10000, version=7):
    body = struct.pack('>hhi', -1, acks, timeout) + struct.pack('>i', 1) + text(topic)
    body += struct.pack('>ii', 1, partition) + struct.pack('>i', len(data)) + data
    return frame(0, version, body)


def fetch(topic, offset, partition=0, wait=500, at_least=1, most=1 << 20):
    body = struct.pack('>iiiib', -1, wait, at_least, most, 0) + struct.pack('>i', 1) + text(topic)
    return frame(1, 4, body + struct.pack('>iiqi', 1, partition, offset, most))


def delete_records(topic, offset, partition=0, timeout=10000):
    body = struct.pack('>i', 1) + text(topic) + struct.pack('>iiqi', 1, partition, offset, timeout)
    return frame(21, 1, body)


def delete_records_result(response, topic):
    """(error, low watermark) of a DeleteRecords v1 response with one partition."""
    index, low, error = struct.unpack_from('>iqh', response, 4 + 4 + 4 + 2 + len(topic) + 4)
    return error, low


def receive(s):
    """One response; None when the connection was closed or reset."""
    try:
        head = read(s, 4)
        return None if head is None else read(s, struct.unpack('>i', head)[0])
    except ConnectionError:
        return None


def ask(s, data):
    s.sendall(data)
    return receive(s)


def read(s, n):
    out = b''
    while len(out) < n:
        piece = s.recv(n - len(out))
        if not piece:
            return None
        out += piece
    return out


def produce_result(response, topic):
    """(error, base offset) of a Produce v3..7 response with one partition."""
    at = 4 + 4 + 2 + len(topic) + 4
    index, error, base = struct.unpack_from('>ihq', response, at)
    return error, base


def _sum(data):
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def syn(hardware, source, destination, source_port, port, seq):
    """A whole Ethernet frame with a SYN of somebody."""
    src, dst = (bytes(int(x) for x in a.split('.')) for a in (source, destination))
    tcp = struct.pack('>HHIIBBHHH', source_port, port, seq & 0xffffffff, 0, 0x60, 2, 65535, 0, 0) + b'\2\4\5\xb4'
    tcp = tcp[:16] + struct.pack('>H', _sum(src + dst + struct.pack('>HH', 6, len(tcp)) + tcp)) + tcp[18:]
    ip = struct.pack('>BBHHHBBH', 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + src + dst
    ip = ip[:10] + struct.pack('>H', _sum(ip)) + ip[12:]
    return hardware + b'\2\0\0\0\0\1\x08\0' + ip + tcp
