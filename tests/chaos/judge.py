# SPDX-License-Identifier: GPL-2.0-only
"""Holds what was sent and seen against what was allowed, given what was done meanwhile."""
import collections
import contextlib
import os
import threading
import time

from model import SECOND, Bucket, Converted, Lost, Packet
from traffic import SEEN, SENT

LAG = SECOND               # by which judging is behind, so that both processes have told
LOST_AFTER = 3 * SECOND    # a frame not seen by then was lost
IDLE = SECOND              # how long a full bucket is certain to stay its source's (README, room for sources)
CROWD_REFILL = 3 * SECOND  # when the last of a flood's buckets can be given away
DOWN_GRACE = SECOND // 5   # frames queued when the link goes down are lost too


class Exposure:
    """A time without the program: from before it was taken off until it was seen to be back. What passes then is told
    apart, and counted for nobody."""

    def __init__(self, why):
        self.why, self.begin, self.end = why, time.monotonic_ns(), None
        self.ready = None  # from then on the agent can put it back
        self.waited = 0    # of the agent, since

    def overlaps(self, sent, seen):
        return seen >= self.begin and (self.end is None or sent <= self.end)


class Records:
    """Reads a process's records as they come."""

    def __init__(self, fd, record, take):
        self.fd, self.record, self.take, self.rest = fd, record, take, b""
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while data := os.read(self.fd, 1 << 16):
            data = self.rest + data
            whole = len(data) - len(data) % self.record.size
            for values in self.record.iter_unpack(data[:whole]):
                self.take(*values)
            self.rest = data[whole:]


class Judge:
    def __init__(self, sources, limits, journal):
        self.sources, self.journal = sources, journal
        self.buckets = [Bucket(limits[source.rule]) for source in sources]
        self.pending = [collections.deque() for _ in sources]
        self.unseen = [{} for _ in sources]      # steady sources: time of sending by sequence number
        self.seen_at = [[] for _ in sources]     # steady sources: when, while enforced
        self.places_lost = [[] for _ in sources]  # [begin, end] when their entries in the table had to be made anew
        self.exposures, self.down, self.floods = [], [], []
        self.open = []                           # begins of what is going on and changes what is allowed
        self.drops = []                          # [begin, end, frames that the link's queue had no room for]
        self.standstills = []                    # (begin, end) of this machine
        self.watched = time.monotonic_ns()       # until when drops and standstills are known
        self.violations = []
        self.sent, self.passed, self.exposed = ([0] * len(sources) for _ in range(3))
        self.excused = collections.Counter()
        self.lock = threading.RLock()

    def listen(self, sent_fd, seen_fd):
        self.readers = [Records(sent_fd, SENT, self.take_sent), Records(seen_fd, SEEN, self.take_seen)]

    def take_sent(self, index, sequence, sent, _length):
        self.sent[index] += 1
        if self.sources[index].pattern == "steady":
            self.unseen[index][sequence] = sent

    def take_seen(self, index, sequence, sent, seen, length):
        self.pending[index].append(Packet(sent, seen, length, sequence))

    # ---- what was done ----

    @contextlib.contextmanager
    def window(self, windows):
        """What `with` holds takes place within one of these."""
        window = [time.monotonic_ns(), None]
        with self.lock:
            windows.append(window)
        try:
            yield window
        finally:
            window[1] = time.monotonic_ns()

    def expose(self, why):
        exposure = Exposure(why)
        with self.lock:
            self.exposures.append(exposure)
        return exposure

    @contextlib.contextmanager
    def changing(self):
        """Nothing from here on is judged before it is known what was changed."""
        begin = time.monotonic_ns()
        with self.lock:
            self.open.append(begin)
        try:
            yield begin
        finally:
            with self.lock:
                self.open.remove(begin)

    def converted(self, begin, before, limits):
        """A source may begin full when the table has no room for a converted bucket (README, reload)."""
        end = time.monotonic_ns()
        with self.lock:
            for source, bucket in zip(self.sources, self.buckets):
                if before[source.rule] == limits[source.rule]:
                    continue
                self.places_lost[source.index].append((begin, end))
                bucket.tell(Converted(begin, end, limits[source.rule], self.is_crowded(begin, end)))

    def lost(self, begin, saved):
        end = time.monotonic_ns()
        with self.lock:
            for bucket, places_lost in zip(self.buckets, self.places_lost):
                places_lost.append((begin, end))
                bucket.tell(Lost(begin, end, saved))

    def passed_between(self, begin, end):
        with self.lock:
            self.judge()
            return any(begin < seen < end for bucket in self.buckets for seen, _ in reversed(bucket.history[-2000:]))

    def may_be_full(self, field, moment):
        """Of a source's bucket, when nothing is sent any more."""
        for source, bucket in zip(self.sources, self.buckets):
            if source.field == field:
                return bucket.may_be_full(moment)
        return False

    def violation(self, text):
        with self.lock:
            self.violations.append(text)
        self.journal(f"VIOLATION {text}")

    # ---- judging ----

    def horizon(self, lag):
        """Until when everything is known."""
        with self.lock:
            begins = self.open + [exposure.begin for exposure in self.exposures if exposure.end is None]
        return min(begins + [time.monotonic_ns() - lag])

    def judge(self, lag=LAG):
        with self.lock:
            horizon = self.horizon(lag)
            for index, pending in enumerate(self.pending):
                while pending and pending[0].seen < horizon:
                    self.judge_packet(index, pending.popleft())
            for index, unseen in enumerate(self.unseen):
                self.judge_losses(index, unseen, min(horizon + lag, self.watched) - LOST_AFTER)

    def judge_packet(self, index, packet):
        self.passed[index] += 1
        self.unseen[index].pop(packet.seq, None)
        if any(exposure.overlaps(packet.sent, packet.seen) for exposure in self.exposures):
            self.exposed[index] += 1
            return
        if self.sources[index].pattern == "steady":
            self.seen_at[index].append(packet.seen)
        excess = self.buckets[index].charge(packet)
        if excess is not None:
            self.violation(f"{self.sources[index].field}: frame {packet.seq}, sent {self.at(packet.sent)}, seen "
                           f"{self.at(packet.seen)}: admitted {excess:.3f} tokens more than the bound")

    def judge_losses(self, index, unseen, before):
        for sequence in [s for s, sent in list(unseen.items()) if sent < before]:
            sent = unseen.pop(sequence)
            excuse = self.excuse(index, sent)
            if excuse:
                self.excused[excuse] += 1
            else:
                self.violation(f"{self.sources[index].field}: frame {sequence}, sent {self.at(sent)}: lost while "
                               "enforced, and below the rate")

    def excuse(self, index, sent):
        if self.is_down(sent):
            return "link down"
        if any(self.queued_since(e.begin) <= sent <= (e.end or sent) for e in self.exposures):
            return "not enforced"
        if self.is_crowded(sent, sent) and not self.has_bucket(index, sent):
            return "table full, and no bucket in it"
        for drop in self.drops:
            begin, end, count = drop
            if count and self.queued_since(begin) <= sent <= end:
                drop[2] -= 1
                return "no room in the link's queue"
        return None

    def is_down(self, sent):
        return any(self.queued_since(begin) <= sent <= (end or sent) for begin, end in self.down)

    def queued_since(self, moment):
        """When a frame was sent, at the earliest, that may still be queued then. While this machine stands still, it
        waits."""
        since = moment - DOWN_GRACE
        for begin, end in reversed(self.standstills):
            if begin <= moment and since <= end:
                since -= end - begin
        return since

    def is_crowded(self, since, till):
        return any(begin <= till and since <= (end or since) + CROWD_REFILL for begin, end in self.floods)

    def has_bucket(self, index, moment):
        since = max([moment - IDLE] + [end for begin, end in self.places_lost[index] if begin < moment])
        return any(since <= seen <= moment for seen in reversed(self.seen_at[index][-5000:]))

    def at(self, moment):
        return self.journal.at(moment)
