#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Random faults, from a seed, of a fleet that shares the budgets of a few sources, each of which floods all nodes.

    fleet.py [--seed N] [--seconds N] [--plan] [--keep] [--verbose]

Faults come in rounds of one or two at once; a round ends when all nodes have told all again. At any moment no more has
passed of a source, on all nodes together, than the bound of docs/fleet.md with what each node may have admitted by
itself during a round. After each round Redis has forgotten no more than the faults account for; at the end the rate is
exactly the rule's. A source below its limit has lost nothing.
"""
import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass

sys.dont_write_bytecode = True  # nothing is left in the sources

import traffic
from chaos import Journal, main
from judge import Records
from model import SECOND, Limit
from traffic import SEEN, SENT, Source
from world import Agent, Failure, Namespaces, Servers, make_directory, until

NAME = "ebchaosfleet"
PORT = 6379
NODES_MAX = 3
LANES = "token_bucket_fallback:fleet:{chaos:??}"
TICK = SECOND // 10
ROUND_TRIP = SECOND         # at most, on a machine that is busy
CLOCK_SLACK = 2 * SECOND    # what a server's clock that is set may change a debt by
CALM = 1.0                  # seconds before a round
PHASES = 3                  # at the end: on a machine that stands still, a bucket may get full in one

FLOOD, BURSTS, SIZED, LEGIT = SOURCES = [
    Source(0, "flood", "10.21.0.1", "flood", 400, (60,)),
    Source(1, "bursts", "10.22.0.1", "bursts", 600, (60,)),
    Source(2, "sized", "10.23.0.1", "flood", 100, (60, 300, 1000)),
    Source(3, "legit", "10.20.0.1", "steady", 10, (60,)),
]
# Their bursts last for longer than a mark takes on a busy machine: what is full says nothing of what passed.
MARKED = (FLOOD, SIZED)
LIMITS = {
    "flood": Limit(200, 2000),
    "bursts": Limit(200, 600),
    "sized": Limit(20000, 200000),
    "legit": Limit(100, 1000),
}
RULES = "rules:\n" + "".join(
    f"  - name: {source.rule}\n    match: {{ src: [{source.address}] }}\n    action: limit\n    share: fleet\n" +
    (f"    bytes: {{ rate: {LIMITS[source.rule].per_second}B/s, burst: {LIMITS[source.rule].burst}B }}\n"
     if source is SIZED else
     f"    packets: {{ rate: {LIMITS[source.rule].per_second}/s, burst: {LIMITS[source.rule].burst} }}\n")
    for source in SOURCES)


# ---- the plan ----

@dataclass(frozen=True)
class Step:
    fault: str
    args: tuple

    def __str__(self):
        return f"{self.fault}{self.args}"


def draw_seconds(low, high):
    return lambda r, nodes: (round(r.uniform(low, high), 2),)


def draw_node(low, high):
    return lambda r, nodes: (r.randrange(nodes), round(r.uniform(low, high), 2))


REDIS = {
    "redis_kill": (3, draw_seconds(0, 2)),
    "redis_hang": (2, draw_seconds(0.2, 3)),
    "redis_forget": (2, lambda r, nodes: ()),
    "redis_shift": (2, lambda r, nodes: (r.choice((-3600, 3600)),)),
}
NODE = {
    "node_kill": (3, draw_node(0, 1.5)),
    "node_stop": (2, draw_node(0.2, 3)),
    "node_restart": (1, draw_node(0, 1)),
    "node_cut": (2, draw_node(0.2, 3)),
    "node_alone": (1, draw_node(0.2, 3)),
    "node_reload": (1, lambda r, nodes: (r.randrange(nodes),)),
}


def node_count(seed):
    return random.Random(f"{seed} nodes").randrange(2, NODES_MAX + 1)


def rounds(seed):
    """Without end: the steps of each."""
    source, nodes = random.Random(f"{seed} rounds"), node_count(seed)
    while True:
        kinds = source.choice(([REDIS], [NODE], [REDIS, NODE]))
        names = [source.choices(list(kind), [weight for weight, _ in kind.values()])[0] for kind in kinds]
        yield [Step(name, (REDIS | NODE)[name][1](source, nodes)) for name in names]


def plan(seed, _seconds):
    """As many as there can be is not known before; some."""
    source = rounds(seed)
    return [f"round {number + 1}: {', '.join(map(str, next(source)))}" for number in range(20)]


# ---- the world ----

class Hub(Namespaces):
    """Where frames and the Redis come from."""

    def __init__(self):
        super().__init__(NAME)
        self.card = self.far


class Space(Namespaces):
    """A node's, with a link to the hub."""

    def __init__(self, number):
        super().__init__(NAME)
        self.number, self.card, self.far_interface = number, f"{NAME}-node{number}", f"far{number}"

    def make_in(self, hub):
        self.command("ip", "netns", "add", self.card)
        self.netlink = hub.netlink | {self.card: self.open_netlink(self.card)}
        self.command("ip", "link", "add", "card0", "netns", self.card, "address", "02:00:00:00:00:01", "type", "veth",
                     "peer", "name", self.far_interface, "netns", self.far, "address", "02:00:00:00:00:02")
        for namespace, interface, end in ((self.card, "card0", 1), (self.far, self.far_interface, 2)):
            self.command("ip", "-n", namespace, "link", "set", interface, "up", "addrgenmode", "none")
            self.command("ip", "-n", namespace, "address", "add", f"10.7.{self.number}.{end}/24", "dev", interface)
        self.command("ip", "-n", self.card, "link", "set", "lo", "up")

    def cut(self, seconds):
        self.in_card("nft", "table ip cut { chain cut { type filter hook output priority 0; tcp dport 6379 drop; }; }")
        time.sleep(seconds)
        self.in_card("nft", "delete table ip cut")


class Node(Agent):
    def __init__(self, space, number, directory, journal):
        directory = os.path.join(directory, f"node{number}")
        os.mkdir(directory)
        super().__init__(space, directory, f"/sys/fs/bpf/{NAME}-node{number}", journal)
        self.number = number

    def write_config(self, rules):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"node: node{self.number}\ninterfaces: [card0]\npin_dir: {self.pin_dir}\n"
                       f"run_dir: {self.run_dir}\nstate_dir: ''\nmetrics: off\ntable_size: 1024\n"
                       f"redis: {{ host: 10.7.{self.number}.2, tick: 1s, connect_timeout: 500ms }}\n"
                       f"fleet: {{ name: chaos, tick: {TICK // 10**6}ms, lost_after: 1s }}\n{rules}")

    def has_told(self, nodes):
        """All, and sees the other nodes."""
        done = self.cli("--json", "status", check=False)
        fleet = done.returncode == 0 and json.loads(done.stdout)["fleet"]  # none without an agent
        return fleet and fleet["up"] and not fleet["lost"] and not fleet["lag_seconds"] and fleet["nodes_seen"] == nodes


# ---- what may pass ----

class Judge:
    """One bucket for each source, that is charged with what passed on all nodes: its debt, in ns of refill."""

    def __init__(self, nodes, journal):
        self.nodes, self.journal = nodes, journal
        self.lock = threading.Lock()
        self.passed_frames = []                    # (seen, sent, source, node, sequence number, length)
        self.sent = [set() for _ in range(nodes)]  # of LEGIT, sequence numbers
        self.seen = [set() for _ in range(nodes)]
        self.full_at = [0] * len(SOURCES)
        self.passed = [0] * len(SOURCES)           # tokens
        self.rounds = []                           # (begin, end)
        self.forgotten = 0                         # ns that faults so far account for
        self.violations = []

    def listen(self, node, sent_fd, seen_fd):
        Records(sent_fd, SENT, lambda *values: self.take_sent(node, *values))
        Records(seen_fd, SEEN, lambda *values: self.take_seen(node, *values))

    def take_sent(self, node, index, sequence, _sent, _length):
        if SOURCES[index] is LEGIT:
            self.sent[node].add(sequence)

    def take_seen(self, node, index, sequence, sent, seen, length):
        with self.lock:
            self.passed_frames.append((seen, sent, index, node, sequence, length))

    def violation(self, text):
        self.violations.append(text)
        self.journal(f"VIOLATION {text}")

    def allowed(self, index, moment):
        """The debt that is possible then. During a round each node may admit the whole rate by itself."""
        burst = LIMITS[SOURCES[index].rule].burst_ns
        alone = max((moment - begin for begin, end in self.rounds[-1:] if begin <= moment <= end), default=0)
        return self.nodes * (burst + TICK + ROUND_TRIP) + self.forgotten + (self.nodes - 1) * alone

    def judge(self):
        """All that was seen by now, of a time up to the end of the last round."""
        with self.lock:
            frames, self.passed_frames = sorted(self.passed_frames), []
        above = {}
        for seen, sent, index, node, sequence, length in frames:
            if SOURCES[index] is LEGIT:
                self.seen[node].add(sequence)
            limit = LIMITS[SOURCES[index].rule]
            tokens = length if SOURCES[index] is SIZED else 1
            self.passed[index] += tokens
            self.full_at[index] = max(self.full_at[index], sent) + tokens * limit.token_ns
            over = self.full_at[index] - seen - self.allowed(index, seen)
            if over > 0:
                above.setdefault(index, f"{SOURCES[index].rule}: a frame on node {node}, seen {self.journal.at(seen)}: "
                                        f"{over / limit.token_ns:.0f} tokens above the bound")
        for text in above.values():
            self.violation(text)

    def lost(self):
        """Of LEGIT, by node."""
        self.judge()
        return [len(sent - seen) for sent, seen in zip(self.sent, self.seen)]


@dataclass(frozen=True)
class Mark:
    """What had passed, in tokens, and when the bucket in Redis is full by the lane's clock, in ns."""
    passed: tuple
    full: dict  # of those in MARKED


# ---- a run ----

class Run:
    def __init__(self, options):
        self.options = options
        self.directory = make_directory()
        self.journal = Journal(os.path.join(self.directory, "journal"), options.verbose)
        self.count = node_count(options.seed)
        self.hub, self.spaces = Hub(), [Space(number) for number in range(NODES_MAX)]
        self.redis = Servers(self.hub, self.directory)
        self.judge = Judge(self.count, self.journal)
        self.nodes, self.senders, self.observers, self.errors = [], [], [], []
        self.rounds = 0
        self.room = self.stood = 0  # of buckets when sending went on, ns: since the last round; for the last mark
        self.has_shifted = False    # the last round

    # ---- making ----

    def start_redis(self):
        self.redis.start(PORT, "--bind", "0.0.0.0", "--protected-mode", "no", "--min-replicas-to-write", "0")

    def make(self):
        self.remove()
        self.hub.make()
        for number, space in enumerate(self.spaces[:self.count]):
            space.make_in(self.hub)
            self.nodes.append(Node(space, number, self.directory, self.journal))
        for node in self.nodes:
            node.lose_maps()
            node.write_config(RULES)
        self.start_redis()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait()
            until("the program", node.namespaces.program)
        self.wait_told()
        for node in self.nodes:
            self.start_traffic(node)

    def start_traffic(self, node):
        pid, seen = traffic.spawn(node.namespaces.card, traffic.observe)
        self.observers.append(pid)
        if not os.read(seen, 1):
            raise Failure("the observer did not start")
        pid, sent = traffic.spawn(self.hub.far, lambda fd: traffic.Sender(
            SOURCES, f"{self.options.seed} {node.number}", fd, node.namespaces.far_interface).run())
        self.senders.append(pid)
        self.judge.listen(node.number, sent, seen)

    def remove(self):
        for space in self.spaces + [self.hub]:
            space.remove()

    # ---- faults ----

    def redis_kill(self, seconds):
        self.redis.signal(PORT, signal.SIGKILL)
        time.sleep(seconds)
        self.start_redis()

    def redis_hang(self, seconds):
        self.redis.signal(PORT, signal.SIGSTOP)
        time.sleep(seconds)
        self.redis.signal(PORT, signal.SIGCONT)

    def redis_forget(self):
        self.redis.ask(PORT, "flushall")

    def redis_shift(self, seconds):
        self.redis.ask(PORT, "eval", "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do "
                       "redis.call('HINCRBY', key, 'shift', ARGV[2]) end", "0", LANES, str(seconds * 10**6))

    def node_kill(self, number, pause):
        self.nodes[number].end(signal.SIGKILL)
        time.sleep(pause)
        self.nodes[number].start()

    def node_restart(self, number, pause):
        if status := self.nodes[number].end(signal.SIGTERM):
            raise Failure(f"the agent ended with {status} when terminated")
        time.sleep(pause)
        self.nodes[number].start()

    def node_stop(self, number, seconds):
        self.nodes[number].signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.nodes[number].signal(signal.SIGCONT)

    def node_cut(self, number, seconds):
        self.nodes[number].namespaces.cut(seconds)

    def node_alone(self, number, seconds):
        """The others are cut off."""
        self.all_at_once([lambda node=node: node.namespaces.cut(seconds)
                          for node in self.nodes if node.number != number])

    def node_reload(self, number):
        self.nodes[number].cli("reload", check=False)  # there may be no agent

    def all_at_once(self, calls):
        def guarded(call):
            try:
                call()
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(repr(error))

        threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise Failure("a fault could not be done")

    def forgets(self, step, lasted):
        """What a fault lets Redis forget, at most, in ns of refill (docs/fleet.md, what faults do). A node admits its
        refill in a time, and what its bucket had room for: since the mark before, or one of this round, was made, and
        by a clock that was set in this round or the one before, which may have given it room that it has not spent."""
        unheard = self.room + TICK + ROUND_TRIP
        if step.fault in ("redis_kill", "redis_forget"):
            return self.count * unheard
        if step.fault in ("node_kill", "node_restart"):
            return lasted + unheard
        return CLOCK_SLACK if step.fault == "redis_shift" else 0

    # ---- rounds ----

    def wait_told(self):
        for node in self.nodes:
            until(f"node {node.number} to have told all", lambda node=node: node.has_told(self.count), 120)

    def each_sender(self, number):
        for pid in self.senders:
            os.kill(pid, number)

    def full(self, source):
        """Nothing without a bucket, or while Redis cannot be asked."""
        said = self.redis.ask(PORT, "eval", "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do "
                              "for _, field in ipairs(redis.call('HKEYS', key)) do "
                              "if string.find(field, ARGV[2], 1, true) then return redis.call('HGET', key, field) end "
                              "end end", "0", LANES, f"|{source.address}/")
        return int(said) * 1000 if said else None

    def mark_once(self):
        """While nothing is sent, and all that passed has been told. None where Redis lacks a bucket: nodes that refuse
        all have nothing to tell, and do not see before they admit again that it was lost."""
        stopped = time.monotonic_ns()
        self.each_sender(signal.SIGSTOP)
        time.sleep(3 * TICK / SECOND)
        self.wait_told()
        self.judge.judge()
        full = {source: self.full(source) for source in MARKED}
        passed = tuple(self.judge.passed)
        self.each_sender(signal.SIGCONT)
        self.stood = time.monotonic_ns() - stopped
        self.room = max(self.room, self.stood)
        return all(full.values()) and Mark(passed, full)

    def mark(self):
        return until("Redis to have the buckets", self.mark_once, 60)

    def since(self, before, after, source):
        """Nanoseconds of refill that passed, and by which the end of the bucket in Redis moved on."""
        passed = after.passed[source.index] - before.passed[source.index]
        return passed * LIMITS[source.rule].token_ns, after.full[source] - before.full[source]

    @staticmethod
    def slack(moved, source):
        """A thousandth, and a token."""
        return abs(moved) // 1000 + LIMITS[source.rule].token_ns

    def round(self, steps, before):
        self.journal(f"round {self.rounds}: {', '.join(map(str, steps))}")
        begin = time.monotonic_ns()
        self.judge.rounds.append((begin, time.monotonic_ns() + 10**15))
        self.all_at_once([lambda step=step: getattr(self, step.fault)(*step.args) for step in steps])
        self.wait_told()
        end = time.monotonic_ns()
        self.judge.rounds[-1] = (begin, end)
        after = self.mark()
        shifts = any(step.fault == "redis_shift" for step in steps)
        self.room += CLOCK_SLACK if shifts or self.has_shifted else 0
        forgotten = sum(self.forgets(step, end - begin) for step in steps)
        self.room, self.has_shifted = self.stood, shifts
        self.judge.forgotten += forgotten
        for source in MARKED:
            passed, moved = self.since(before, after, source)
            self.journal(f"round {self.rounds}: {source.rule} passed {passed / SECOND:.3f} s, Redis counts "
                         f"{moved / SECOND:.3f}; all told after {(end - begin) / SECOND:.1f} s")
            if passed > moved + self.slack(moved, source) + forgotten:
                self.judge.violation(f"{source.rule}: {passed / SECOND:.3f} s of refill passed in round {self.rounds}, "
                                     f"of which Redis counts {moved / SECOND:.3f}; faults account for "
                                     f"{forgotten / SECOND:.3f}")
        self.rounds += 1
        return after

    def is_exact(self, before, after, source):
        passed, moved = self.since(before, after, source)
        self.journal(f"at the end {source.rule} passed {passed / SECOND:.3f} s, Redis counts {moved / SECOND:.3f}")
        return passed > 0 and abs(passed - moved) <= self.slack(moved, source)

    def have_passed(self, before, tokens):
        """So many since, by what is said of a limit."""
        self.judge.judge()
        return all(self.judge.passed[source.index] - before[source.index] >= tokens(LIMITS[source.rule])
                   for source in MARKED)

    def check_exact(self, mark):
        for _ in range(PHASES):
            # What faults let through is paid back before.
            until("packets to pass", lambda mark=mark: self.have_passed(mark.passed, lambda limit: limit.per_second),
                  120)
            before, mark = mark, self.mark()
            if all([self.is_exact(before, mark, source) for source in MARKED]):
                return
        self.judge.violation("the fleet does not converge to the rate")

    def check_legit(self):
        """It lost no more than the links had no room for."""
        self.each_sender(signal.SIGSTOP)
        drops = [node.namespaces.drops() for node in self.nodes]
        try:
            until("what is under way", lambda: all(lost <= most for lost, most in zip(self.judge.lost(), drops)), 10)
        except Failure:
            self.judge.violation(f"legit, which is below its limit, lost {self.judge.lost()} frames on the nodes, of "
                                 f"{[len(sent) for sent in self.judge.sent]}; the links had no room for {drops}")
        if not all(self.judge.seen):
            raise Failure("legit did not send on all nodes")

    def follow(self):
        """Rounds as long as there is time."""
        source, pause = rounds(self.options.seed), random.Random(f"{self.options.seed} pause")
        until("the bursts to be spent", lambda: self.have_passed([0] * len(SOURCES), lambda limit: limit.burst))
        mark = self.mark()
        while time.monotonic_ns() - self.journal.began < self.options.seconds * SECOND:
            time.sleep(pause.uniform(0, CALM))
            mark = self.round(next(source), mark)
        self.check_exact(mark)
        self.check_legit()

    def report(self):
        seconds = (time.monotonic_ns() - self.journal.began) / SECOND
        print(f"{self.count} nodes, {self.rounds} rounds in {seconds:.0f} s, of which faults account for "
              f"{self.judge.forgotten / SECOND:.1f} s of refill")
        for source, passed in zip(SOURCES, self.judge.passed):
            limit = LIMITS[source.rule]
            print(f"{source.rule:<8} passed {passed:>8}, one bucket {limit.burst + limit.per_second * seconds:>8.0f}")

    def go(self):
        self.make()
        self.journal.began = time.monotonic_ns()
        self.follow()

    def clean(self):
        for pid in self.senders + self.observers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                node.process.kill()
                node.process.wait()
        self.redis.kill_all()
        self.remove()
        for node in self.nodes:
            node.lose_maps()

    @property
    def violations(self):
        return self.judge.violations


if __name__ == "__main__":
    sys.exit(main(Run, plan, NAME))
