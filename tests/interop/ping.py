# SPDX-License-Identifier: Apache-2.0
"""Echo requests from a raw socket, where there is no ping. Arguments: ADDRESS COUNT BYTES."""
import os
import socket
import struct
import sys
import time

address, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family, _, _, _, to = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)[0]
six = family == socket.AF_INET6
s = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)


def icmp_sum(data):
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


for i in range(count):
    data = os.urandom(size + size % 2)
    packet = struct.pack('>BBHHH', 128 if six else 8, 0, 0, os.getpid() & 0xffff, i) + data
    if not six:  # the kernel does it for ICMPv6
        packet = packet[:2] + struct.pack('>H', icmp_sum(packet)) + packet[4:]
    s.sendto(packet, to)
    until = time.monotonic() + 10
    while True:
        s.settimeout(max(until - time.monotonic(), 0.01))
        got, _ = s.recvfrom(65536)  # a timeout ends the program
        if not six:
            got = got[(got[0] & 15) * 4:]
        if got[0] == (129 if six else 0) and got[4:8] == packet[4:8]:
            break
    assert got[8:] == data, 'other bytes came back'
