#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_rpc under corpus/rpc: a HELLO, then one frame of a kind."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
CLUSTER, INCARNATION = b'\x09' * 16, b'\x22' * 16


def frame(kind, body, receiver=1):
    head = struct.pack('<BBHii', 1, kind, 0, 7, receiver) + CLUSTER + INCARNATION
    return struct.pack('<H', len(head) + len(body)) + head + body


def command(kind, body):
    length = 32 + len(body)
    pad = -length % 8
    return struct.pack('<HHIQQQ', kind, 1, length + pad, 0, 8, 5) + body + bytes(pad)


HELLO = frame(1, bytes([1, 1, 0]))
HEARTBEAT = struct.pack('<QqQBBB', 3, 5, 5, 3, 1, 1) + struct.pack('<iII', 2, 600, 600) + bytes(16)
NO_OP = command(3, b'')
SEEDS = {
    'hello': HELLO,
    'other_version': frame(1, bytes([2, 3, 0])),
    'not_here': frame(1, bytes([1, 1, 3]), 5),
    'raft': HELLO + frame(3, struct.pack('<I', 8) + b'abcdefgh'),
    'submit': HELLO + frame(4, struct.pack('<QQI', 8, 5, len(NO_OP)) + NO_OP),
    'heartbeat': HELLO + frame(6, HEARTBEAT),
    'pull': HELLO + frame(8, struct.pack('<QQQ', 1, 0, 0)) + frame(8, struct.pack('<QQQ', 99, 0, 0)),
    'probe': HELLO + frame(11, struct.pack('<QQ', 1, 1)),
    'answers': b''.join([HELLO, frame(7, struct.pack('<QHBi', 1, 0, 0, 1)), frame(9, struct.pack('<QQiQII', 1, 2, 1, 1, 0, 0))]),
}

os.makedirs(os.path.join(HERE, 'corpus', 'rpc'), exist_ok=True)
for name, data in SEEDS.items():
    with open(os.path.join(HERE, 'corpus', 'rpc', name), 'wb') as f:
        f.write(data)
