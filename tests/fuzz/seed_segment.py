#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the first inputs of fuzz_segment into corpus/segment: directories as recovery finds them.

An input is a byte of flags and pieces {kind, length (2 bytes), bytes}; see fuzz_segment.c.
"""
import os
import struct
import sys

DURABLE, SEAL, SMALL, METADATA_TOO = 1, 2, 4, 8
LOG, INDEX, TIME, PREPARED, EPOCHS, METADATA, BASE = range(7)


def varint(n):
    n = (n << 1) ^ (n >> 63)
    n &= (1 << 64) - 1
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def batch(base, epoch, values, time):
    records = b""
    for i, value in enumerate(values):
        body = b"\0" + varint(i) + varint(i) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(body)) + body
    tail = struct.pack(">hiqqqhii", 0, len(values) - 1, time, time + len(values) - 1, -1, -1, -1, len(values))
    return struct.pack(">qiibI", base, 9 + len(tail) + len(records), epoch, 2, 0) + tail + records


def piece(kind, data):
    return struct.pack(">BH", kind, len(data)) + data


def base(n):
    return struct.pack(">BH", BASE, n)


def run(first, count, epoch=1, size=30):
    return b"".join(batch(first + 2 * i, epoch, [b"v" * size, b"w"], 10 + i) for i in range(count))


LINES = piece(EPOCHS, b"0\n1\n1 0\n")
SEEDS = {
    "empty": bytes([DURABLE | SEAL]),
    "zeroed": bytes([DURABLE | SEAL]) + piece(LOG, bytes(8192)),
    "three": bytes([DURABLE | SEAL]) + LINES + piece(LOG, run(0, 3) + bytes(4096)),
    "torn": bytes([DURABLE | SEAL]) + LINES + piece(LOG, run(0, 3)[:-20] + bytes(100) + b"x"),
    "clean": bytes([DURABLE | SEAL]) + LINES + piece(LOG, run(0, 4)) + piece(INDEX, struct.pack(">ii", 3, 94)),
    "closed": bytes([SEAL]) + LINES + piece(LOG, run(0, 4)) + piece(INDEX, b"")
              + piece(TIME, struct.pack(">qi", 14, 7)) + base(8) + piece(LOG, run(8, 3) + bytes(512)),
    "rolled": bytes([DURABLE | SEAL]) + LINES + piece(LOG, run(0, 4) + bytes(1000)) + base(8) + piece(LOG, run(8, 2)),
    "prepared": bytes([DURABLE | SEAL | SMALL]) + LINES + piece(LOG, run(0, 4) + bytes(1000)) + piece(PREPARED, run(8, 2)),
    "hole": bytes([SEAL]) + LINES + piece(LOG, run(0, 2) + bytes(1000)) + base(8) + piece(LOG, run(8, 2)),
    "epochs": bytes([SEAL]) + piece(EPOCHS, b"0\n2\n1 0\n4 6\n") + piece(LOG, run(0, 3) + run(6, 2, epoch=4)),
    "lost_epochs": bytes([SEAL]) + piece(EPOCHS, b"0\nx") + piece(LOG, run(0, 3) + run(6, 2, epoch=4)),
    "metadata": bytes([METADATA_TOO | SEAL]) + piece(METADATA, b"version: 0\ntopic_id: AQAAAAAAAAAAAAAAAAAAAA\n"),
}


def main():
    where = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "corpus", "segment")
    os.makedirs(where, exist_ok=True)
    for name, data in SEEDS.items():
        with open(os.path.join(where, name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
