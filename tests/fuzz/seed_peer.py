#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the small seeds of fuzz_peer under corpus/peer, from the exact bytes in tests/unit/test_peer.c."""
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
TO_LEADER = {"HELLO", "SUBSCRIBE", "ACK", "EMPTY_ACK", "UNSUBSCRIBE"}


def main():
    text = open(os.path.join(HERE, "..", "unit", "test_peer.c")).read()
    where = os.path.join(HERE, "corpus", "peer")
    os.makedirs(where, exist_ok=True)
    messages = {}
    for name, body in re.findall(r'\[S_(\w+)\] = ((?:"[0-9a-f ]*"\s*)+),', text):
        messages[name] = bytes.fromhex("".join(re.findall(r"[0-9a-f]+", body)))
    seeds = {name.lower(): bytes([(1 if name in TO_LEADER else 0) | (0 if name == "HELLO" else 2), 1]) + data
             for name, data in messages.items()}
    seeds["to_leader"] = bytes([1, 3]) + b"".join(messages[n] for n in ("HELLO", "SUBSCRIBE", "ACK", "EMPTY_ACK", "UNSUBSCRIBE"))
    seeds["to_follower"] = bytes([0, 0x81]) + b"".join(messages[n] for n in ("HELLO", "TRUNCATE", "GRANTED", "APPEND", "BEAT", "REFUSED"))
    seeds["count_bomb"] = bytes([3, 0]) + messages["ACK"][:6] + b"\x7f\xff\xff\xff" + messages["ACK"][10:]
    seeds["length_bomb"] = bytes([3, 0]) + b"\x7f\xff\xff\xff" + messages["ACK"][4:]
    for name, data in seeds.items():
        with open(os.path.join(where, name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
