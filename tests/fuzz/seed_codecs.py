#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of fuzz_codecs: seed_codecs.py [DIRECTORY], by default corpus/codecs.

Every stream is written out by the rules of its format, with stored or literal content where that
needs no compressor; gzip comes from the standard library.
"""
import gzip
import os
import struct
import sys

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
TEXT = b'one record and one more record and one more record'
XERIAL = b'\x82SNAPPY\0' + struct.pack('>ii', 1, 1)


def snappy_literal(data):
    assert 0 < len(data) <= 60
    return bytes([len(data), (len(data) - 1) << 2]) + data


def snappy_run(byte, count):
    """One literal, then copies of it (two-byte offsets, at most 64 bytes each)."""
    out = bytes([count & 0x7f | 0x80, count >> 7]) + bytes([0]) + byte
    left = count - 1
    while left:
        n = min(left, 64)
        out += bytes([(n - 1) << 2 | 2, 1, 0])
        left -= n
    return out


def zstd_raw(data, window=0):
    block = struct.pack('<I', len(data) << 3 | 1)[:3]
    return b'\x28\xb5\x2f\xfd' + bytes([0, window]) + block + data


def zstd_run(byte, count):
    return b'\x28\xb5\x2f\xfd' + bytes([0, 0]) + struct.pack('<I', count << 3 | 3)[:3] + byte


def lz4_stored(data):
    """A frame of one stored block. The header's checksum is that of this header."""
    return b'\x04\x22\x4d\x18\x60\x40\x82' + struct.pack('<I', len(data) | 1 << 31) + data + bytes(4)


SEEDS = {
    'gzip': (GZIP, gzip.compress(TEXT, mtime=0)),
    'gzip_two': (GZIP, gzip.compress(TEXT, mtime=0) + gzip.compress(b'', mtime=0)),
    'gzip_zeroes': (GZIP, gzip.compress(bytes(100000), mtime=0)),
    'snappy': (SNAPPY, snappy_literal(TEXT)),
    'snappy_run': (SNAPPY, snappy_run(b'x', 1000)),
    'snappy_xerial': (SNAPPY, XERIAL + b''.join(
        struct.pack('>i', len(b)) + b for b in (snappy_literal(TEXT), snappy_run(b'y', 300)))),
    'lz4': (LZ4, lz4_stored(TEXT)),
    'zstd': (ZSTD, zstd_raw(TEXT)),
    'zstd_run': (ZSTD, zstd_run(b'z', 5000)),
    'zstd_two': (ZSTD, zstd_raw(TEXT) + b'\x50\x2a\x4d\x18\x02\0\0\0ab' + zstd_raw(TEXT, 17 << 3)),
    'zstd_wide': (ZSTD, zstd_raw(TEXT, 0xff)),
}


def main():
    to = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), 'corpus', 'codecs')
    os.makedirs(to, exist_ok=True)
    for name, (codec, stream) in SEEDS.items():
        with open(os.path.join(to, name), 'wb') as f:
            f.write(bytes([codec, 17]) + stream)


if __name__ == '__main__':
    main()
