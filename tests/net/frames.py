# SPDX-License-Identifier: GPL-2.0-only
"""frames.py INTERFACE: sends the frames that stdin names, a line "COUNT EXPRESSION" each, of scapy from IP() on."""
import logging
import socket
import sys
import time

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.all import *  # noqa: E402,F401,F403 # the expressions may use anything of it

# Few enough for the queue of a veth device.
AT_ONCE = 32

card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
card.bind((sys.argv[1], 0))
for line in sys.stdin:
    count, expression = line.split(None, 1)
    frame = bytes(Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02") / eval(expression))
    for i in range(int(count)):
        card.send(frame)
        if i % AT_ONCE == AT_ONCE - 1:
            time.sleep(0.002)
