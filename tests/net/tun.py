# SPDX-License-Identifier: GPL-2.0-only
"""Holds a TUN device, and does what standard input says, a line each: "send SOURCE COUNT" lets packets of 60 bytes to
the discard port come in on it, "type ARPHRD" changes its type. Answers each line with one."""
import fcntl
import ipaddress
import os
import struct
import sys

TUNSETIFF, TUNSETLINK = 0x400454CA, 0x400454CD
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
LENGTH = 60


def packet(source):
    source = ipaddress.ip_address(source)
    if source.version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, LENGTH, 0, 0, 64, 17, 0) + source.packed
        header += ipaddress.ip_address("10.7.0.1").packed
    else:
        header = struct.pack("!IHBB", 6 << 28, LENGTH - 40, 17, 64) + source.packed
        header += ipaddress.ip_address("2001:db8:7::1").packed
    return header + struct.pack("!HHHH", 40000, 9, LENGTH - len(header), 0) + bytes(LENGTH - len(header) - 8)


device = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", sys.argv[1].encode(), IFF_TUN | IFF_NO_PI))
print("ready", flush=True)
for line in sys.stdin:
    verb, *words = line.split()
    if verb == "type":
        fcntl.ioctl(device, TUNSETLINK, int(words[0]))
    else:
        for _ in range(int(words[1])):
            os.write(device, packet(words[0]))
    print("done", flush=True)
