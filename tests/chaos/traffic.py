# SPDX-License-Identifier: GPL-2.0-only
"""Frames that say when they were sent, and who sees them behind the program: two processes that tell the parent."""
import contextlib
import ctypes
import heapq
import ipaddress
import os
import random
import signal
import socket
import struct
import time
from dataclasses import dataclass

MAGIC = 0x45426368
STAMP = struct.Struct("!IHIQ")     # in the frame: MAGIC, source, sequence number, time of sending
SENT = struct.Struct("=HIQH")      # to the parent: source, sequence number, time, length
SEEN = struct.Struct("=HIQQH")     # the same with the time of seeing
ETHERNET = bytes.fromhex("020000000001020000000002")
ETH_P_ALL, PACKET_OUTGOING = 3, 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, SO_TIMESTAMPNS, SO_RCVBUFFORCE = 26, 35, 33
CLONE_NEWNET = 0x40000000
FLUSH_NS = 20_000_000
CLOCKS_NS = 100_000                # by which clocks that are read in different ways may differ


@dataclass(frozen=True)
class Source:
    index: int
    rule: str
    address: str
    pattern: str      # steady, flood, bursts; fresh: only what Volley sends
    rate: float       # frames a second while it sends
    lengths: tuple    # of frames

    @property
    def field(self):
        return f"{self.rule}|{self.address}/32" if "." in self.address else f"{self.rule}|{self.address}/64"


def enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns {namespace}")
    os.close(fd)


def checksum(header):
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def frame_head(address, length):
    """Up to the payload."""
    source = ipaddress.ip_address(address)
    if source.version == 4:
        target = ipaddress.ip_address("10.7.0.1")
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length - 14, 0, 0, 64, 17, 0, source.packed, target.packed)
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        kind, udp = 0x0800, length - 34
    else:
        target = ipaddress.ip_address("2001:db8:7::1")
        kind, udp = 0x86dd, length - 54
        head = struct.pack("!IHBB16s16s", 6 << 28, udp, 17, 64, source.packed, target.packed)
    return ETHERNET + struct.pack("!H", kind) + head + struct.pack("!HHHH", 40000, 9, udp, 0)


def frame(head, source, sequence, now, length):
    return (head + STAMP.pack(MAGIC, source.index, sequence, now)).ljust(length, b"\0")


class Pipe:
    """Records for the parent, a bunch at a time."""

    def __init__(self, fd):
        self.fd, self.records, self.flushed = fd, [], 0

    def put(self, record):
        self.records.append(record)

    def flush(self, now):
        if now - self.flushed < FLUSH_NS:
            return
        data = b"".join(self.records)
        while data:
            data = data[os.write(self.fd, data):]
        self.records, self.flushed = [], now


class Sender:
    """Sends for all sources by one clock. Who is late does not catch up: a source must not exceed its rate because
    this process was held up."""

    def __init__(self, sources, seed, fd, interface="far0"):
        self.random = random.Random(f"{seed} traffic")
        self.pipe, self.interface = Pipe(fd), interface
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.heads = {(s.index, length): frame_head(s.address, length) for s in sources for length in s.lengths}
        self.sequence = [0] * len(sources)
        self.left = [0] * len(sources)  # of a burst
        now = time.monotonic_ns()
        self.due = [(now + self.random.randrange(10**8), s.index, s) for s in sources if s.pattern != "fresh"]
        heapq.heapify(self.due)

    def send(self, source):
        length = self.random.choice(source.lengths)
        head = self.heads[source.index, length]
        sequence, now = self.sequence[source.index], time.monotonic_ns()
        try:
            self.socket.sendto(frame(head, source, sequence, now, length), (self.interface, 0))
        except OSError:  # the link is down or gone: not sent
            return now
        self.pipe.put(SENT.pack(source.index, sequence, now, length))
        self.sequence[source.index] += 1
        return now

    def next_due(self, source, now):
        gap = 1e9 / source.rate
        if source.pattern == "bursts":
            self.left[source.index] -= 1
            if self.left[source.index] < 0:
                self.left[source.index] = self.random.randrange(1, 400)
                gap = self.random.randrange(10**7, 3 * 10**9)
        return now + int(gap)

    def run(self):
        while True:
            due, index, source = heapq.heappop(self.due)
            wait = due - time.monotonic_ns()
            if wait > 0:
                self.pipe.flush(time.monotonic_ns())
                time.sleep(wait / 1e9)
            now = self.send(source)
            heapq.heappush(self.due, (self.next_due(source, now), index, source))


class Volley:
    """Sends for one source as fast as it can, when it is told to. `tell` is given the records."""

    def __init__(self, sock, tell):
        self.socket, self.tell, self.sequence = sock, tell, 0

    def send(self, source, count):
        length = source.lengths[0]
        head = frame_head(source.address, length)
        for _ in range(count):
            now = time.monotonic_ns()
            with contextlib.suppress(OSError):  # the link is down or gone: not sent
                self.socket.sendto(frame(head, source, self.sequence, now, length), ("far0", 0))
                self.tell(source.index, self.sequence, now, length)
            self.sequence += 1


def wall_clock_ahead():
    """By how much the wall clock is ahead of the monotonic one, or less: what is seen must not seem earlier than it
    was, however long this process is held up between two readings."""
    def reading():
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        return after - before, wall - after

    return min(reading() for _ in range(3))[1]


def attach_filter(sock):
    """Only frames with the magic, of IPv4 or IPv6: others do not take room in the queue."""
    code = [(0x20, 0, 0, 42), (0x15, 2, 0, MAGIC), (0x20, 0, 0, 62), (0x15, 0, 1, MAGIC), (0x06, 0, 0, 0xffff),
            (0x06, 0, 0, 0)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("@HP", len(code), ctypes.addressof(program)))


def observe(fd):
    """Sees what comes out of XDP on any interface of its namespace, so also on one that is made later. Says by one byte
    that it does."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    attach_filter(sock)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.settimeout(0.02)
    os.write(fd, b"!")
    pipe, offset, looked = Pipe(fd), 0, 0
    while True:
        now = time.monotonic_ns()
        if now - looked > FLUSH_NS:
            looked, offset = now, wall_clock_ahead()
            if struct.unpack("=II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]:
                raise SystemExit("the observer lost frames")
        pipe.flush(now)
        try:
            frame, control, _, address = sock.recvmsg(2048, 64)
        except TimeoutError:
            continue
        if address[2] == PACKET_OUTGOING:
            continue
        magic, index, sequence, sent = STAMP.unpack_from(frame, 42 if frame[12] == 8 else 62)
        if magic != MAGIC:  # from before the filter
            continue
        seconds, ns = struct.unpack("=qq", control[0][2])
        pipe.put(SEEN.pack(index, sequence, sent, seconds * 10**9 + ns - offset + CLOCKS_NS, len(frame)))


def spawn(namespace, run):
    """Forks run(fd) into a namespace. Returns the process and the end that it is read from."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    try:
        os.close(read_end)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        enter(namespace)
        run(write_end)
    except SystemExit as end:
        os.write(2, f"chaos: {end}\n".encode())
    except BaseException as error:  # pylint: disable=broad-except
        os.write(2, f"chaos: {run}: {error!r}\n".encode())
    os._exit(1)
