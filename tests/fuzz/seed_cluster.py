#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seeds of fuzz_cluster: python3 seed_cluster.py DIRECTORY"""
import pathlib
import struct
import sys

TOPIC = bytes([7]) + bytes(15)
CLUSTER = bytes([1]) + bytes(15)


def text(s):
    return struct.pack('<H', len(s)) + s.encode()


def ids(*members):
    return struct.pack('<B', len(members)) + b''.join(struct.pack('<i', m) for m in members)


def configs(**values):
    return struct.pack('<I', len(values)) + b''.join(text(k.replace('_', '.')) + text(v) for k, v in values.items())


def refs(*partitions):
    return struct.pack('<I', len(partitions)) + b''.join(TOPIC + struct.pack('<i', p) for p in partitions)


def broker(number, epoch, on=0):
    return struct.pack('<iqB', number, epoch, on) + text('seed')


def described(number, incarnation):
    out = struct.pack('<i', number) + bytes([incarnation, number]) + bytes(14) + text('rack')
    out += struct.pack('<B', 1) + text('PLAIN') + text('host') + struct.pack('<HH', 9092, 0)
    out += bytes(10) + b'\xff\xff\x0a\x00\x00\x01' + struct.pack('<HH', 9093, 2)
    out += struct.pack('<B', 2) + text('eligible.leader.replicas.version') + struct.pack('<HH', 0, 1) + text('metadata.version') + struct.pack('<HH', 25, 25)
    return out + struct.pack('<B', 1) + bytes([0xd0, number]) + bytes(14)


def register(number, incarnation, previous):
    return CLUSTER + described(number, incarnation) + struct.pack('<qB', previous, 0) + refs(0)


def create(partitions, factor, rows=(), **values):
    out = TOPIC + text('t') + struct.pack('<BiiI', 0, partitions, factor, 3) + struct.pack('<I', len(rows))
    for number, row in enumerate(rows):
        out += struct.pack('<i', number) + ids(*row)
    return out + configs(**values)


def change(leader_epoch, partition_epoch, isr, recovering=0):
    out = TOPIC + struct.pack('<iiiBBH', 0, leader_epoch, partition_epoch, recovering, 1, 0) + struct.pack('<B', len(isr))
    return out + b''.join(struct.pack('<iq', member, -1) for member in isr)


def alter(number, epoch, *changes):
    return struct.pack('<iqI', number, epoch, len(changes)) + b''.join(changes)


def reassign(cancel, *target):
    return struct.pack('<I', 1) + TOPIC + struct.pack('<iB', 0, cancel) + ids(*target)


def resource(kind, name, *changes):
    out = struct.pack('<BI', 0, 1) + struct.pack('<B', kind) + text(name) + struct.pack('<BI', 0, len(changes))
    return out + b''.join(struct.pack('<B', op) + text(key) + text(value) for op, key, value in changes)


MAKE = (12, create(-1, -1, [(0, 1, 2), (1, 2, 0)], min_insync_replicas='2'))
# The epochs of brokers 0, 1, 2 are 2, 4, 6.
STORIES = {
    'births': [(1, CLUSTER + struct.pack('<q', 5) + configs(ack_durability='memory')), (2, struct.pack('<iQ', 1, 4)), (3, b'')],
    'placed': [(12, create(4, 3)), (14, TOPIC + struct.pack('<BiII', 0, 6, 1, 0)), (13, TOPIC)],
    'elections': [MAKE, (6, broker(2, 6)), (6, broker(1, 4)), (6, broker(0, 2)), (7, broker(1, 4)), (16, struct.pack('<BB', 1, 0) + refs(0, 1)),
                  (16, struct.pack('<BB', 0, 1) + refs()), (20, struct.pack('<I', 9)), (21, struct.pack('<I', 9))],
    'killed': [MAKE, (5, register(0, 9, -1)), (7, broker(0, 9)), (5, register(1, 9, 4)), (11, broker(1, 0, 1))],
    'isr': [MAKE, (15, alter(0, 2, change(0, 0, [0, 1]))), (15, alter(0, 2, change(0, 1, [0]), change(0, 2, [0, 1, 2])))],
    'reassigned': [(12, create(-1, -1, [(0, 1)])), (17, reassign(0, 2, 1)), (15, alter(0, 2, change(0, 1, [0, 1, 2]))), (17, reassign(0, 0)), (17, reassign(1))],
    'directories': [MAKE, (18, struct.pack('<iqI', 0, 2, 1) + TOPIC + struct.pack('<i', 0) + bytes([0xd0, 0]) + bytes(14)),
                    (10, struct.pack('<iqB', 0, 2, 1) + bytes([0xd0, 0]) + bytes(14))],
    'suspects': [MAKE, (9, broker(0, 2, 1)), (19, TOPIC + struct.pack('<iii', 0, 1, 1)), (9, broker(0, 2, 0)), (8, broker(1, 4))],
    'settings': [MAKE, (22, resource(2, 't', (0, 'min.insync.replicas', '1'), (2, 'cleanup.policy', 'compact'))), (22, resource(4, '', (0, 'ack.durability', 'memory'))),
                 (22, resource(4, '1', (0, 'log.retention.ms', '5'), (1, 'log.segment.bytes', '')))],
    'features': [(4, struct.pack('<BB', 0, 1) + text('eligible.leader.replicas.version') + struct.pack('<HB', 0, 2)), MAKE, (6, broker(0, 2)), (6, broker(1, 4)), (6, broker(2, 6))],
    'ids': [(23, struct.pack('<iqI', 0, 2, 1000))] * 3,
}


def story(commands, flags):
    return b''.join(struct.pack('<BBH', kind, flags, len(fields)) + fields for kind, fields in commands)


def whole(kind, fields):
    length = (32 + len(fields) + 7) // 8 * 8
    return (struct.pack('<HHIQQQ', kind, 1, length, 0, 1 << 63, 5) + fields).ljust(length, b'\0')


def snapshot():
    partition = struct.pack('<iiiiB', 0, 3, 5, -1, 0) + ids(0, 1) + ids(0) + ids() + ids() + ids() + bytes(32)
    out = b'TIDESNAP' + struct.pack('<I', 1) + CLUSTER + struct.pack('<qQiQqiq', 5, 40, 1, 0, 1000, 0, 2)
    out += struct.pack('<I', 1) + text('metadata.version') + struct.pack('<H', 25)
    out += struct.pack('<I', 2)
    for number, flags in ((0, 0), (1, 1)):
        out += described(number, 1) + struct.pack('<qqBB', 2 + number, -1, flags, 0)
    out += struct.pack('<I', 1) + TOPIC + text('t') + configs(retention_ms='5') + struct.pack('<I', 1) + partition
    out += struct.pack('<I', 1) + struct.pack('<i', -1) + configs(min_insync_replicas='1')
    return out + struct.pack('<I', 0) + struct.pack('<I', 1 + 2 + 1 + 1 + 1 + 0)


def result():
    item = struct.pack('<H', 0) + text('') + TOPIC + struct.pack('<iB', 0, 1) + struct.pack('<iii', 0, 1, 2) + ids(0, 1)
    return struct.pack('<HH', 1, 77) + text('stale') + struct.pack('<QqqII', 9, -1, -1, 1, 2) + item + struct.pack('<H', 3) + text('none') + TOPIC + struct.pack('<iB', 1, 0)


def main(to):
    to.mkdir(parents=True, exist_ok=True)
    for name, commands in STORIES.items():
        (to / name).write_bytes(b'\1' + story(commands, 0))
        (to / f'kept_{name}').write_bytes(b'\1' + story(commands, 2))
        (to / f'one_{name}').write_bytes(b'\0' + whole(*commands[0]))
    body = snapshot()
    (to / 'snapshot').write_bytes(b'\2' + struct.pack('<H', len(body)) + body + story([(7, broker(1, 3)), (15, alter(0, 2, change(3, 5, [0, 1])))], 1))
    (to / 'result').write_bytes(b'\3' + result())


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
