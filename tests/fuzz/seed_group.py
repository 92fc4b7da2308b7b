#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the small seeds of fuzz_group under corpus/group: the requests of tests/unit/codec_vectors.def, each asked of a coordinator that
has loaded a group, and the lives of a few members."""
import os
import re
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
APIS = {name: i for i, name in enumerate(("offset_commit", "offset_fetch", "join_group", "heartbeat", "leave_group", "sync_group", "describe_groups",
                                          "list_groups", "delete_groups", "offset_delete", "find_coordinator", "consumer_group_heartbeat",
                                          "consumer_group_describe"))}
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


PART = struct.pack(">hi", 0, 1) + text(b"t") + struct.pack(">iiii", 2, 0, 1, -1)
SUBSCRIPTION = struct.pack(">hi", 1, 1) + text(b"t") + struct.pack(">ii", -1, 1) + text(b"t") + struct.pack(">iii", 2, 1, 2)
GROUP_OF_ONE = (struct.pack(">h", 3) + text(b"consumer") + struct.pack(">i", 1) + text(b"range") + text(b"m") + struct.pack(">qi", 5, 1) + text(b"m") + b"\xff\xff" +
                text(b"c") + text(b"/h") + struct.pack(">ii", 1000, 1000) + struct.pack(">i", len(SUBSCRIPTION)) + SUBSCRIPTION + struct.pack(">i", len(PART)) + PART)


def join(member=b"", version=3, instance=None, metadata=b"s"):
    body = text(b"g") + struct.pack(">ii", 1000, 1000) + text(member)
    if version >= 5:
        body += b"\xff\xff" if instance is None else text(instance)
    return ask("join_group", version, body + text(b"consumer") + struct.pack(">i", 1) + text(b"range") + struct.pack(">i", len(metadata)) + metadata)


ID = bytes([1]) + bytes(15)


def short(s):
    return b"\0" if s is None else bytes([len(s) + 1]) + s


def parts(*numbers):
    """A list of topics with one topic, or none."""
    return b"\1" if not numbers else b"\2" + ID + bytes([len(numbers) + 1]) + b"".join(struct.pack(">i", n) for n in numbers) + b"\0"


def beat(member, epoch, owned=b"\0", topics=b"\2" + short(b"t"), instance=None, assignor=None, regex=None):
    body = short(b"g") + short(member) + struct.pack(">i", epoch) + short(instance) + short(None)
    body += struct.pack(">i", 1000 if epoch == 0 else -1) + (topics if epoch == 0 else b"\0") + short(regex) + short(assignor) + owned + b"\0"
    return ask("consumer_group_heartbeat", 1, body)


def of_member(kind, member, value):
    return record(struct.pack(">h", kind) + text(b"g") + text(member), value if value is None else b"\0\0" + value)


def consumers():
    """The records of a group with two members, the second of which waits for what the first has."""
    metadata = short(None) + short(None) + short(b"c") + short(b"/h") + b"\2" + short(b"t") + short(None) + struct.pack(">i", 1000) + short(None) + b"\0"
    has = struct.pack(">iib", 1, 0, 0)
    return (record(struct.pack(">h", 3) + text(b"g"), b"\0\0" + struct.pack(">i", 2) + b"\0") + of_member(5, b"a", metadata) + of_member(5, b"b", metadata) +
            of_member(7, b"a", parts(0, 1) + b"\0") + of_member(7, b"b", parts(2, 3) + b"\0") +
            record(struct.pack(">h", 6) + text(b"g"), b"\0\0" + struct.pack(">i", 2) + b"\0") +
            of_member(8, b"a", has + parts(0, 1, 2, 3) + parts() + b"\0"))


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
    seeds["consumers"] = (LOADED + beat(b"a", 0, parts()) + COMMITTED + beat(b"b", 0, parts()) + passes(10) + beat(b"a", 1, parts(0, 1, 2, 3)) +
                          beat(b"a", 1, parts(0, 1)) + beat(b"b", 1, parts()) + beat(b"b", 2, parts()) + COMMITTED + beat(b"a", -1) + passes(14))
    seeds["consumers_static"] = (LOADED + beat(b"a", 0, parts(), instance=b"i", assignor=b"range") + beat(b"a", -2, instance=b"i") +
                                 beat(b"b", 0, parts(), instance=b"i") + COMMITTED + passes(13) + passes(14))
    seeds["consumers_loaded"] = consumers() + LOADED + beat(b"a", 1, parts(0, 1)) + beat(b"b", 0, parts()) + COMMITTED + passes(14)
    seeds["consumers_contradict"] = (consumers() + of_member(8, b"b", struct.pack(">iib", 2, 1, 9) + parts(2, 2, 7) + parts(2) + b"\0") +
                                     of_member(7, b"c", parts(5) + b"\0") + LOADED + beat(b"b", 0, parts()) + passes(14))
    # By regular expression: found, changed, given up; and of records, one that nobody uses and one that cannot be.
    seeds["consumers_regex"] = (LOADED + beat(b"a", 0, parts(), topics=b"\0", regex=b"[st](?i:x?)|t{1,2}") + COMMITTED + beat(b"b", 0, parts(), regex=b"\\pL.*") +
                                beat(b"b", 1, parts(), regex=b"(t)\\1") + passes(14) + beat(b"a", 1, parts(0, 1), regex=b"^t$") + beat(b"b", -1) + passes(10) +
                                COMMITTED + beat(b"a", -1) + passes(10) + COMMITTED)
    seeds["consumers_regex_loaded"] = (consumers() + of_member(16, b"t.*", b"\2" + short(b"t") + struct.pack(">qq", 7, 8) + b"\0") +
                                       of_member(16, b"x|(y", b"\2" + short(b"u") + struct.pack(">qq", 7, 8) + b"\0") + record(struct.pack(">h", 16) + text(b"g") + text(b"t.*")) +
                                       LOADED + beat(b"a", 0, parts(0, 1), regex=b"x|(y") + passes(10) + COMMITTED + beat(b"b", 0, parts(), regex=b"t+") + passes(14))
    seeds["consumers_regex_alone"] = record(struct.pack(">h", 16) + text(b"g") + text(b"t"), b"\0\0\2" + short(b"t") + struct.pack(">qq", 7, 8) + b"\0") + LOADED + passes(10) + COMMITTED + passes(14)
    # Both protocols in one group: a classic member with a subscription that is understood, upgraded, called back, left alone again; and one of a record.
    sync = ask("sync_group", 0, text(b"g") + struct.pack(">i", 1) + text(b"m") + struct.pack(">i", 1) + text(b"m") + struct.pack(">i", len(PART)) + PART)
    alive = ask("heartbeat", 0, text(b"g") + struct.pack(">i", 1) + text(b"m"))
    seeds["both"] = (consumers() + LOADED + join(b"m", metadata=SUBSCRIPTION) + COMMITTED + passes(10) + alive + beat(b"a", -1) + beat(b"b", -1) +
                     passes(1) + join(b"m", metadata=SUBSCRIPTION) + passes(8) + COMMITTED)
    seeds["both_upgrade"] = (record(struct.pack(">h", 2) + text(b"g"), GROUP_OF_ONE) + LOADED + alive + beat(b"a", 0, parts()) + COMMITTED + alive + sync +
                             join(b"m", metadata=SUBSCRIPTION) + sync + passes(12) + ask("leave_group", 0, text(b"g") + text(b"m")) + COMMITTED + passes(16))
    classic = bytes([1, 0, 9 + len(b"range") + len(SUBSCRIPTION), 1]) + struct.pack(">i", 5000) + b"\2" + short(b"range") + short(SUBSCRIPTION) + b"\0\0"
    seeds["both_loaded"] = (consumers() + of_member(5, b"m", short(None) + short(None) + short(b"c") + short(b"/h") + b"\2" + short(b"t") + short(None) +
                                                    struct.pack(">i", 1000) + short(None) + classic) +
                            LOADED + beat(b"a", -1) + beat(b"b", -1) + COMMITTED + passes(12) + passes(14))
    for name, data in seeds.items():
        with open(os.path.join(where, name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
