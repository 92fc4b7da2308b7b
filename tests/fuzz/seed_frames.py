#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_frames for IPv6, corpus/frames/six_*: one byte of configuration, then steps."""
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent / 'corpus' / 'frames'
PEER = bytes.fromhex('fd000000000000000000000000000002')
US = bytes.fromhex('fd000000000000000000000000000001')
ROUTER = bytes.fromhex('fe8000000000000000000000000000fe')
TO_US, TO_LINK_LOCAL, TO_GROUP, TO_ALL = range(4)
ON_LINK, NOBODY, HOPS, TARGET = 1, 2, 4, 8  # how put_right6 shall change the frame


def frame(whom, how, following, payload, hops=64, vlan=b'', source=PEER):
    """A step that gives the frame to the broker, its sums put right; first byte 4: IPv6."""
    f = bytes([4, whom, how, 0, 0, 0]) + bytes.fromhex('020000000002') + vlan + b'\x86\xdd'
    f += struct.pack('>IHBB', 0x60000000, len(payload), following, hops) + source + US + payload
    return bytes([1 | len(f) % 8 << 5, len(f) // 8]) + f


def tcp():
    return struct.pack('>HHIIBBHHH', 40000, 9092, 1, 2, 0x50, 0x10, 1000, 0, 0) + b'payload'


def extension(following, options=b'\1\4\0\0\0\0'):
    return bytes([following, 0]) + options


def icmp(kind, rest, code=0):
    return bytes([kind, code, 0, 0]) + rest


MAC = b'\1\1' + bytes.fromhex('020000000002')
QUOTE = struct.pack('>IHBB', 0x60000000, 1440, 6, 60) + US + PEER + struct.pack('>HHI', 9092, 40000, 7)
TIME, DRAIN = b'\4\x0a', b'\7'
OUTPUT = b'\2\3\x02\x00\x05\x01'  # to fd00::2, a bare header
SEEDS = {
    'tcp': b'\0' + frame(TO_US, ON_LINK, 6, tcp()),
    'tcp_vlan': b'\2' + frame(TO_US, ON_LINK, 6, tcp(), vlan=b'\x81\0\0\5'),
    'tcp_far': b'\0' + frame(TO_US, 0, 6, tcp()) + OUTPUT + DRAIN,
    'options': b'\0' + frame(TO_US, ON_LINK, 0, extension(60) + extension(43) + bytes([6, 0, 4, 0, 0, 0, 0, 0]) + tcp()),
    'fragment': b'\0' + frame(TO_US, ON_LINK, 44, bytes([6, 0, 0, 1, 0, 0, 0, 9]) + tcp()),
    'echo': b'\0' + frame(TO_LINK_LOCAL, ON_LINK, 58, icmp(128, b'\0\1\0\2data')) + DRAIN,
    'solicitation': b'\0' + frame(TO_GROUP, ON_LINK | HOPS | TARGET, 58, icmp(135, bytes(4) + US + MAC)) + DRAIN,
    'probe': b'\x08' + TIME + frame(TO_GROUP, NOBODY | HOPS | TARGET, 58, icmp(135, bytes(4) + US)) + DRAIN,
    'advertisement': b'\0' + OUTPUT + frame(TO_US, ON_LINK | HOPS, 58, icmp(136, b'\x60\0\0\0' + PEER + b'\2' + MAC[1:])) + DRAIN,
    'claim': b'\0' + frame(TO_ALL, ON_LINK | HOPS | TARGET, 58, icmp(136, b'\x20\0\0\0' + US + b'\2' + MAC[1:])) + DRAIN,
    'announce': b'\x08' + TIME * 6 + DRAIN,
    'query': b'\0' + frame(TO_ALL, 0, 58, icmp(130, bytes(20)), hops=1, source=ROUTER) + DRAIN,
    'too_big': b'\0' + frame(TO_US, ON_LINK, 58, icmp(2, struct.pack('>I', 1400) + QUOTE)) + DRAIN,
    'unreachable': b'\0' + frame(TO_US, ON_LINK, 58, icmp(1, bytes(4) + QUOTE, 4)) + DRAIN,
    'none': b'\x10' + frame(TO_US, ON_LINK, 6, tcp()) + OUTPUT + DRAIN,
}

for name, data in SEEDS.items():
    (HERE / f'six_{name}').write_bytes(data)
