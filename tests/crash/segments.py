# SPDX-License-Identifier: Apache-2.0
"""The batches of a partition's directory, by Kafka's layout of a record batch and of segment names."""
import pathlib
import re
import struct

HEADER = struct.Struct('>qiibIhiqqqhii')  # base offset ... record count
OVERHEAD = 12                             # of the length field: the base offset and itself
MAGIC = 2


class Damaged(Exception):
    pass


def batches(data, where='batches'):
    """(base, next offset, bytes) of each; ends at the zeroes of a preallocated file or a piece that is not whole."""
    at = 0
    while at + HEADER.size <= len(data):
        base, length, _, magic, _, _, delta, *_ = HEADER.unpack_from(data, at)
        size = length + OVERHEAD
        if length == 0 or at + size > len(data):
            return
        if length < HEADER.size - OVERHEAD or magic != MAGIC or delta < 0:
            raise Damaged(f'{where}: no batch at position {at}')
        yield base, base + delta + 1, data[at:at + size]
        at += size


def read(directory):
    """All batches of a directory, segment by segment."""
    found = []
    for path in sorted(pathlib.Path(directory).iterdir()):
        if re.fullmatch(r'\d{20}\.log', path.name):
            found += batches(path.read_bytes(), str(path))
    return found
