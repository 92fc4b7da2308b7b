#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the small seeds of fuzz_group under corpus/group: the requests of tests/unit/codec_vectors.def, each asked of a coordinator that
has loaded a group, and the lives of a few members."""
import os
import re
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
APIS = {name: i for i, name in enumerate(("offset_commit", "offset_fetch", "join_group", "heartbeat", "leave_group", "sync_group", "describe_groups",
                                          "list_groups", "delete_groups", "offset_delete"))}
LOW = {"offset_commit": 2, "offset_fetch": 1}
LOADED, COMMITTED = bytes([0x80]), bytes([0xc4])


def text(s):
    return struct.pack(">H", len(s)) + s


def ask(name, version, body, element=-1):
    return bytes([0xc0, APIS[name], version - LOW.get(name, 0), (element + 1) << 5 | len(body) >> 8, len(body) & 255]) + body


def record(key, value=b""):
    return struct.pack(">BBH", 0, len(key), len(value)) + key + value


def passes(exponent):
    return bytes([0xc3, exponent])


OFFSET = record(struct.pack(">h", 1) + text(b"g") + text(b"t") + struct.pack(">i", 1), struct.pack(">hqi", 3, 7, 1) + text(b"note12") + struct.pack(">q", 9))
MEMBER = text(b"m") + b"\xff\xff" + text(b"c") + text(b"/h") + struct.pack(">ii", 1000, 1000) + struct.pack(">i", 1) + b"s" + struct.pack(">i", 1) + b"a"
GROUP = record(struct.pack(">h", 2) + text(b"g"), struct.pack(">h", 3) + text(b"consumer") + struct.pack(">i", 1) + text(b"range") + text(b"m") +
               struct.pack(">qi", 5, 1) + MEMBER)


def join(member=b"", version=3, instance=None):
    body = text(b"g") + struct.pack(">ii", 1000, 1000) + text(member)
    if version >= 5:
        body += b"\xff\xff" if instance is None else text(instance)
    return ask("join_group", version, body + text(b"consumer") + struct.pack(">i", 1) + text(b"range") + struct.pack(">i", 1) + b"s")


def main():
    where = os.path.join(HERE, "corpus", "group")
    os.makedirs(where, exist_ok=True)
    seeds = {}
    defs = open(os.path.join(HERE, "..", "unit", "codec_vectors.def")).read()
    for name, version, body in re.findall(r'VECTOR\((\w+)_request,\s*(\d+),\s*((?:"[0-9a-f]*"\s*)+)\)', defs):
        data = bytes.fromhex("".join(re.findall(r"[0-9a-f]+", body)))
        if name in APIS and len(data) < 2000:
            seeds.setdefault(f"{name}_{version}", OFFSET + LOADED + ask(name, int(version), data, 0) + COMMITTED)
    commit = ask("offset_commit", 2, text(b"s") + struct.pack(">i", -1) + text(b"") + struct.pack(">qi", -1, 1) + text(b"t") + struct.pack(">iiq", 1, 2, 77) + text(b"m"))
    fetch = ask("offset_fetch", 1, text(b"s") + struct.pack(">i", 1) + text(b"t") + struct.pack(">ii", 1, 2))
    seeds["life"] = LOADED + join() + join() + passes(7) + COMMITTED + commit + COMMITTED + fetch + passes(11) + passes(11) + passes(20)
    seeds["static"] = LOADED + join(version=5, instance=b"i") + passes(7) + join(version=5, instance=b"i") + COMMITTED + passes(12)
    seeds["late"] = LOADED + commit + fetch + passes(11) + fetch + COMMITTED + b"\xff" + LOADED
    seeds["refused"] = LOADED + bytes([0xc6, 2, 1]) + commit + join() + passes(8) + passes(10) + bytes([0xc6, 0, 0]) + passes(10)
    seeds["group"] = OFFSET + GROUP + LOADED + ask("heartbeat", 0, text(b"g") + struct.pack(">i", 1) + text(b"m")) + join(b"m") + passes(11)
    for name, data in seeds.items():
        with open(os.path.join(where, name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
