# SPDX-License-Identifier: GPL-2.0-only
"""What may be admitted, independently of edgebucket's code.

A packet was sent at `sent` and seen behind the program at `seen`, so it was judged at some time between. Of each bucket
the model keeps the earliest time that it can be full again: every packet that passed moved that on by what its tokens
take to refill, from `sent` on at the earliest, and could only pass if it was at most a burst ahead at `seen`. Nothing
in this is a tolerance: a packet that breaks it cannot have been admitted by a bucket of that rate and burst.
"""
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

SECOND = 10**9


@dataclass(frozen=True)
class Limit:
    """`per_second` divides SECOND, so that a token takes a whole number of nanoseconds."""
    per_second: float
    burst: int

    @property
    def token_ns(self):
        return round(SECOND / self.per_second)

    @property
    def burst_ns(self):
        return self.burst * self.token_ns


@dataclass(frozen=True)
class Limits:
    packets: Limit
    bytes: Limit = None

    def parts(self):
        """(limit, tokens of a packet of so many bytes) of each limit."""
        return [(self.packets, lambda length: 1)] + ([(self.bytes, lambda length: length)] if self.bytes else [])


@dataclass
class Converted:
    """Other limits came into force between `begin` and `end`: as many tokens are missing as before, or none (full)."""
    begin: int
    end: int
    limits: Limits
    may_be_full: bool
    noted: int = 0  # in the history: 1 that it may be done, 2 that it is


@dataclass
class Lost:
    """The maps were lost at `begin`; what was consumed until `saved` (None: nothing) was restored."""
    begin: int
    end: int
    saved: int
    noted: int = 0


@dataclass
class Packet:
    sent: int
    seen: int
    length: int
    seq: int


def convert(full_at, old, new, begin, end):
    """The earliest full_at that a conversion at any moment between can leave. Before full_at and after it, it is
    linear."""
    def at(moment):
        return moment + max(0, full_at - moment) / old.token_ns * new.token_ns

    return int(min(at(moment) for moment in [begin, end] + ([full_at] if begin < full_at < end else [])))


def least(*states):
    """Of each limit's full_at the earliest."""
    return [min(values) for values in zip(*states)]


class Bucket:
    """One source's bucket. Packets and changes are told in order."""

    def __init__(self, limits):
        self.limits = limits
        self.changes = []  # not certainly done yet
        # full_at by limit, for each number of changes that may be done by now.
        self.states = {0: [0] * len(limits.parts())}
        self.history = []  # (time, full_at by limit) after each packet and change

    def tell(self, change):
        self.changes.append(change)

    def limits_after(self, done):
        for change in reversed(self.changes[:done]):
            if isinstance(change, Converted):
                return change.limits
        return self.limits

    def applied(self, state, done):
        """The state after change number `done`, from the one before it."""
        change, limits = self.changes[done], self.limits_after(done)
        if isinstance(change, Converted) and change.may_be_full:
            return [0] * len(state)
        if isinstance(change, Converted):
            return [convert(full_at, old, new, change.begin, change.end)
                    for full_at, (old, _), (new, _) in zip(state, limits.parts(), change.limits.parts())]
        saved = self.saved_state(change)
        return [min(full_at, change.begin + limit.burst_ns) for full_at, (limit, _) in zip(saved, limits.parts())]

    def saved_state(self, change):
        """As it was when the stores were written at last, or at any time since: an agent that is killed while it writes
        leaves fields that are newer than the time beside them. With a higher rate a newer one can be full earlier."""
        if change.saved is None:
            return [0] * len(self.limits.parts())
        first = bisect_right(self.history, change.saved, key=lambda entry: entry[0]) - 1
        end = bisect_left(self.history, change.begin, key=lambda entry: entry[0])
        if first < 0:
            return [0] * len(self.limits.parts())
        return least(*(state for _, state in self.history[first:max(first + 1, end)]))

    def settle(self, packet):
        """Makes certain what was done before the packet was sent, and possible what began before it was seen."""
        done = 0
        while done < len(self.changes) and self.changes[done].begin <= packet.seen:
            change, before = self.changes[done], self.states.get(done)
            if before is not None:
                after = self.applied(before, done)
                self.merge(done + 1, after)
                self.note(change, 1, change.begin, least(before, after))
            if change.end < packet.sent:
                self.states.pop(done, None)
                if done + 1 in self.states:
                    self.note(change, 2, change.end, self.states[done + 1])
            done += 1
        certain = min(self.states)
        if certain:
            self.limits = self.limits_after(certain)
            self.changes = self.changes[certain:]
            self.states = {done - certain: state for done, state in self.states.items()}

    def note(self, change, stage, moment, state):
        """A restore may be of a time after the change, and before the next packet."""
        if change.noted < stage:
            change.noted = stage
            self.remember(moment, state)

    def remember(self, moment, state):
        self.history.append((max(moment, self.history[-1][0] if self.history else 0), state))

    def merge(self, done, state):
        self.states[done] = least(self.states.get(done, state), state)

    def may_be_full(self, moment):
        self.settle(Packet(moment, moment, 0, 0))
        return max(least(*self.states.values())) <= moment

    def charge(self, packet):
        """None when the packet may have passed, else by how many tokens of which limit it was too much."""
        self.settle(packet)
        after, excess = {}, []
        for done, state in self.states.items():
            parts = self.limits_after(done).parts()
            charged = [max(full_at, packet.sent) + tokens(packet.length) * limit.token_ns
                       for full_at, (limit, tokens) in zip(state, parts)]
            over = max((full_at - packet.seen - limit.burst_ns) / limit.token_ns
                       for full_at, (limit, _) in zip(charged, parts))
            if over > 0:
                excess.append(over)
            else:
                after[done] = charged
        if not after:  # what comes later is judged as if this one had not passed
            return min(excess)
        self.states = after
        self.remember(packet.seen, least(*after.values()))
        return None
