#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the small seeds of fuzz_request, fuzz_batch and fuzz_settings under corpus/. Requests come from
tests/unit/codec_vectors.def, which another encoder made."""
import os
import re
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = {"produce": (0, 9), "fetch": (1, 12), "list_offsets": (2, 6), "metadata": (3, 9), "find_coordinator": (10, 3),
        "api_versions": (18, 3), "create_topics": (19, 5), "delete_topics": (20, 4), "init_producer_id": (22, 2),
        "offset_for_leader_epoch": (23, 4), "describe_configs": (32, 4), "describe_cluster": (60, 0),
        "delete_records": (21, 2), "alter_configs": (33, 2), "describe_log_dirs": (35, 2), "create_partitions": (37, 2),
        "elect_leaders": (43, 2), "incremental_alter_configs": (44, 1), "alter_partition_reassignments": (45, 0),
        "list_partition_reassignments": (46, 0), "describe_quorum": (55, 0), "update_features": (57, 0),
        "consumer_group_heartbeat": (68, 0), "consumer_group_describe": (69, 0),
        "describe_topic_partitions": (75, 0), "offset_commit": (8, 8), "offset_fetch": (9, 6), "join_group": (11, 6), "heartbeat": (12, 4),
        "leave_group": (13, 4), "sync_group": (14, 4), "describe_groups": (15, 5), "list_groups": (16, 3), "delete_groups": (42, 2),
        "offset_delete": (47, 99)}
SEED_MAX = 2000


def request(key, version, flexible, body):
    return struct.pack(">HhhiH", 40, key, version, 7, 4) + b"seed" + (b"\0" if version >= flexible else b"") + body


def requests():
    text = open(os.path.join(HERE, "..", "unit", "codec_vectors.def")).read()
    seeds = {}
    for name, version, body in re.findall(r'VECTOR\((\w+)_request,\s*(\d+),\s*((?:"[0-9a-f]*"\s*)+)\)', text):
        key, flexible = KEYS[name]
        data = request(key, int(version), flexible, bytes.fromhex("".join(re.findall(r"[0-9a-f]+", body))))
        if len(data) <= SEED_MAX:
            seeds[name] = data  # the newest version stays
    seeds["metadata_1"] = request(3, 1, 9, bytes.fromhex("00000001000174"))
    seeds["produce_3"] = request(0, 3, 9, bytes.fromhex("ffff0001000003e80000000100017400000001000000000000000461626364"))
    seeds["count_bomb"] = request(3, 1, 9, b"\x7f\xff\xff\xff")
    return seeds


def batch(records, count, attributes=0, limits=0, cut=70):
    tail = struct.pack(">hiqqqhii", attributes, count - 1, 1000, 1000, 5, 0, 0, count) + records
    return struct.pack(">BH", limits, cut) + struct.pack(">qiibI", 0, 9 + len(tail), 0, 2, 0) + tail


def batches():
    one = bytes([12, 0, 0, 0, 1, 1, 0])
    two = bytes([12, 0, 0, 2, 1, 1, 0])
    full = bytes([24, 0, 0, 0, 2, 0x6b, 2, 0x76, 2, 2, 0x68, 2, 0x78])
    return {"one": batch(one, 1), "two": batch(one + two, 2), "full": batch(full, 1, cut=5), "null_key": batch(one, 1, limits=1),
            "times": batch(one, 1, limits=2), "append_time": batch(one, 1, attributes=8), "left_over": batch(one + two, 1),
            "missing": batch(one, 2), "length_bomb": batch(bytes([0xfe, 0xff, 0xff, 0xff, 0x0f]), 1),
            "header_bomb": batch(bytes([20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]), 1),
            "count_bomb": batch(one, 0x7fffffff), "short": batch(one, 1)[:40]}


def settings():
    least = b"node.id=1\ndata.address=10.0.0.1/24\ndata.ports=vdev:net_tap0\n"
    return {"least": least, "listeners": least + b"listeners=PLAINTEXT://:9092,IN://h:1\nadvertised.listeners=IN://x:2\n"
            b"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,IN:PLAINTEXT\n",
            "numbers": least + b"data.mtu=9000\nlog.retention.ms=-1\nnum.partitions=x\nnode.id=2\n",
            "words": least + b"core.idle=spin\nack.durability=memory\nauto.create.topics.enable=false\ndpdk.hugepages=of\n",
            "topic": b"retention.ms=5\ncleanup.policy=compact\nmax.message.bytes=7\n", "unknown": b"nodeid=1\n=\n==\nlog.dir=/a,/b\n",
            "odd_listener": least + b"listeners=A://:,://x:1,PLAINTEXT://[::1]:9092\n"}


def main():
    for target, seeds in (("request", requests()), ("batch", batches()), ("settings", settings())):
        where = os.path.join(HERE, "corpus", target)
        os.makedirs(where, exist_ok=True)
        for name, data in seeds.items():
            with open(os.path.join(where, name), "wb") as f:
                f.write(data)


if __name__ == "__main__":
    main()
