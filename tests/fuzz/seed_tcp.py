#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus/tcp_packet: for each state a few packets that mean something there."""
import pathlib
import struct

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << i for i in range(8))
STATIONS = 18
OUT = pathlib.Path(__file__).parent / 'corpus/tcp_packet'


def packet(flags, seq=0, ack=0, options=b'', data=b'', window=512):
    options += b'\0' * (-len(options) % 4)
    return struct.pack('>HHIIBBHHH', 0, 0, seq & 0xffffffff, ack & 0xffffffff, (20 + len(options)) // 4 << 4, flags, window, 0, 0) + options + data


def ts(value=5000, echo=1000):
    return b'\1\1\x08\x0a' + struct.pack('>II', value, echo)


def sack(*edges):
    return b'\1\1\5' + bytes([2 + 4 * len(edges)]) + struct.pack(f'>{len(edges)}I', *(e & 0xffffffff for e in edges))


PACKETS = [
    packet(ACK), packet(ACK, ack=1448), packet(ACK | PSH, data=b'x' * 100), packet(ACK | FIN), packet(RST), packet(RST | ACK, seq=1),
    packet(SYN, options=b'\2\4\5\xb4\4\2\1\3\3\7' + ts()), packet(SYN | ACK), packet(ACK, window=0),
    packet(ACK, options=sack(1448, 2896)), packet(ACK, ack=1448, options=ts() + sack(0, 1448)), packet(ACK | ECE | CWR, ack=8000),
    packet(ACK, seq=100, data=b'y' * 1400), packet(ACK, seq=-50, data=b'z' * 100), packet(ACK | URG, data=b'u'),
]

OUT.mkdir(parents=True, exist_ok=True)
for station in range(STATIONS):
    for i, p in enumerate(PACKETS):
        how = (i * 7 + station * 3) & 0xff
        (OUT / f'{station:02}-{i:02}').write_bytes(bytes([station, how & 0x1f]) + struct.pack('>HH', i * 100, 0) + p)
