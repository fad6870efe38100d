# SPDX-License-Identifier: GPL-2.0-only
"""Which faults happen when, as a function of the seed alone, and what each of them does.

Faults of one kind follow each other; the kinds go on at the same time.
"""
import collections
import contextlib
import itertools
import random
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

from model import SECOND, Limit, Limits
from traffic import Source
from world import BUILD, KEY, SENTINELS, SERVERS, Failure, until

MIRROR_TICK = SECOND // 2
WRITE = 5 * SECOND             # more than a write takes on a machine that is busy with other things
REATTACH = 10 * SECOND         # the same, of an agent that runs
NEVER = 2**63
SENDFRAMES = f"{BUILD}/tests/sendframes"
STORE_RECOVERS = 10 * SECOND   # a request that times out, the longest backoff of a connection, and reading
CALM = (STORE_RECOVERS + MIRROR_TICK + WRITE) / SECOND  # seconds, the shortest that proves something
CALM_FIRST, CALM_EVERY = 10, 50
LOSSES = {signal.SIGKILL: "power cuts", signal.SIGTERM: "stops"}

SOURCES = [
    *[Source(i, "legit", f"10.20.0.{i + 1}", "steady", 20, (60, 200)) for i in range(5)],
    Source(5, "legit", "2001:db8:20:1::", "steady", 20, (90,)),
    Source(6, "greedy", "10.21.0.1", "flood", 300, (60,)),
    Source(7, "greedy", "10.21.0.2", "bursts", 800, (60,)),
    Source(8, "greedy", "2001:db8:21:1::", "flood", 300, (90,)),
    Source(9, "sized", "10.22.0.1", "flood", 300, (60, 300, 1000)),
    Source(10, "sized", "10.22.0.2", "bursts", 500, (60, 1000)),
    Source(11, "slow", "10.23.0.1", "flood", 50, (60,)),
    Source(12, "slow", "2001:db8:23:1::", "flood", 50, (90,)),
    Source(13, "slow", "10.23.0.2", "bursts", 100, (60,)),
    *[Source(14 + i, "slow", f"10.23.1.{i + 1}", "fresh", 0, (60,)) for i in range(22)],
]
FRESH, LAST_FRESH = SOURCES[14:-6], SOURCES[-6:]
VOLLEY = 100                   # frames, more than a bucket of `slow` holds

BASE = {
    "legit": Limits(Limit(50, 20)),
    "greedy": Limits(Limit(100, 200)),
    "sized": Limits(Limit(200, 100), Limit(20000, 40000)),
    "slow": Limits(Limit(1 / 60, 50)),
}
VARIANTS = [
    BASE,
    BASE | {"greedy": Limits(Limit(200, 300)), "slow": Limits(Limit(1 / 60, 80))},
    BASE | {"greedy": Limits(Limit(50, 100)), "sized": Limits(Limit(200, 100), Limit(40000, 60000))},
    BASE | {"legit": Limits(Limit(100, 40)), "slow": Limits(Limit(1 / 30, 40))},
]
NETWORKS = {
    "legit": '10.20.0.0/16, "2001:db8:20::/48"',
    "greedy": '10.21.0.0/16, "2001:db8:21::/48"',
    "sized": "10.22.0.0/16",
    "slow": '10.23.0.0/16, "2001:db8:23::/48"',
}
REFUSED = [
    lambda rules: rules + "    burst: nonsense\n",
    lambda rules: rules.replace("rate: ", "rate: -", 1),
    lambda rules: rules + "surprise: 1\n",
    lambda rules: rules + "  - name: slow\n    action: deny\n",
    lambda rules: rules + "on_exit: maybe\n",
]


def rules_text(limits, order):
    """As YAML. The order of rules makes no difference to these, so it changes with reloads."""
    def text(name):
        parts = limits[name]
        rate = parts.packets.per_second
        lines = [f"  - name: {name}", f"    match: {{ src: [{NETWORKS[name]}] }}", "    action: limit",
                 f"    packets: {{ rate: {round(rate)}/s, burst: {parts.packets.burst} }}" if rate >= 1 else
                 f"    packets: {{ rate: {round(rate * 60)}/min, burst: {parts.packets.burst} }}"]
        if parts.bytes:
            lines.append(f"    bytes: {{ rate: {parts.bytes.per_second * 8}bit/s, burst: {parts.bytes.burst}B }}")
        return "\n".join(lines) + "\n"

    names = list(limits)
    random.Random(order).shuffle(names)
    crowd = ("  - name: crowd\n    match: { src: [10.24.0.0/14] }\n    action: limit\n"
             "    packets: { rate: 30/min, burst: 1 }\n    new_sources: { rate: 1M/s, burst: 1M }\n")
    return "rules:\n" + "".join(text(name) for name in names) + crowd


@dataclass(frozen=True)
class Step:
    at: float
    kind: str
    fault: str
    args: tuple

    def __str__(self):
        return f"{self.at:7.2f} {self.kind} {self.fault}{self.args}"


# kind: [longest pause before a fault, {fault: (weight, arguments drawn by)}]
def draw_seconds(low, high):
    return lambda r: (round(r.uniform(low, high), 2),)


KINDS = {
    "agent": (2.5, {
        "kill": (3, draw_seconds(0, 1.5)),
        "terminate": (2, draw_seconds(0, 1)),
        "stop": (2, draw_seconds(0.2, 4)),
        "reload": (4, lambda r: (r.randrange(len(VARIANTS)), r.randrange(1000))),
        "reload_refused": (2, lambda r: (r.randrange(len(REFUSED)),)),
        "reload_killed": (2, lambda r: (r.randrange(len(VARIANTS)), r.randrange(1000), round(r.uniform(0, 0.03), 4))),
        "power_cut": (2, draw_seconds(0, 0.4)),
        "reboot": (1, draw_seconds(0, 0.4)),
    }),
    "link": (5, {
        "down": (2, draw_seconds(0.1, 1)),
        "delete": (2, draw_seconds(0, 0.5)),
        "detach": (2, lambda r: ()),
        "replace": (1, draw_seconds(0.1, 0.5)),
    }),
    "store": (6, {
        "kill": (3, draw_seconds(0, 3)),
        "stop": (3, lambda r: (round(r.uniform(0.2, 4), 2), r.randrange(2))),
        "cut": (3, lambda r: (round(r.uniform(0.2, 5), 2), r.choice(["drop", "reject with tcp reset"]))),
        "fail_over": (2, lambda r: ()),
    }),
    "table": (10, {
        "overflow": (1, lambda r: (round(r.uniform(0.5, 3), 2), r.choice([2000, 5000, 50000]),
                                   r.choice([5000, 20000]))),
    }),
    "operator": (3, {
        "ask": (1, lambda r: (r.choice(["status", "rules", "buckets", "top", "flush", "explain 10.21.0.1",
                                        "buckets --redis", "restore --dry-run"]),)),
        "scrape": (0.3, lambda r: ()),
    }),
}


def plan(seed, seconds):
    """Steps by kind. Every so often the store's is a calm."""
    steps, calm_at = {}, CALM_FIRST
    for kind, (pause, faults) in KINDS.items():
        source, at, steps[kind] = random.Random(f"{seed} {kind}"), 2.0, []
        while True:
            at += source.uniform(0.1, pause)
            name = source.choices(list(faults), [weight for weight, _ in faults.values()])[0]
            args = faults[name][1](source)
            if at > seconds:
                break
            if kind == "store" and calm_at < at < seconds - CALM:
                name, args, calm_at = "calm", (CALM + 4,), at + CALM_EVERY
            steps[kind].append(Step(round(at, 2), kind, name, args))
            at += sum(value for value in args if isinstance(value, float))
    return steps


class Faults:
    """Does what the plan says. Every fault leaves the world in order again."""

    def __init__(self, run):
        self.run, self.namespaces, self.servers, self.agent, self.judge = (
            run, run.namespaces, run.servers, run.agent, run.judge)
        self.variant, self.order = 0, 0
        self.foreign = False             # another program is on the interface
        self.calm = None                 # (begin, elections until then) while nobody touches the servers
        self.judged = collections.Counter()
        self.agent_ran_since = NEVER     # for as long as it does not
        self.fresh = itertools.cycle(FRESH)
        self.busy = {kind: threading.Lock() for kind in KINDS}

    def do(self, step):
        with self.busy[step.kind]:
            getattr(self, f"{step.kind}_{step.fault}")(*step.args)

    # ---- agent ----

    def write_rules(self, variant, order):
        self.agent.write_config(rules_text(VARIANTS[variant], order))

    def start_agent(self):
        self.agent_ran_since = NEVER
        self.agent.start()
        status = self.agent.wait()
        self.agent_ran_since = time.monotonic_ns()
        return status

    def agent_kill(self, pause):
        self.agent.end(signal.SIGKILL)
        time.sleep(pause)
        self.start_agent()

    def end_agent(self, number):
        """Returns when."""
        began = time.monotonic_ns()
        if self.agent.end(number) and number == signal.SIGTERM:
            raise Failure(f"the agent ended with {self.agent.process.returncode} when terminated")
        return began

    def agent_terminate(self, pause):
        self.end_agent(signal.SIGTERM)
        time.sleep(pause)
        self.start_agent()

    def agent_stop(self, seconds):
        self.agent.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.agent.signal(signal.SIGCONT)
        self.agent_ran_since = time.monotonic_ns()

    @contextlib.contextmanager
    def reloading(self, variant, order):
        with self.judge.changing() as begin:
            self.write_rules(variant, order)
            yield
            self.judge.converted(begin, VARIANTS[self.variant], VARIANTS[variant])
        self.variant, self.order = variant, order

    def agent_reload(self, variant, order):
        with self.reloading(variant, order):
            self.agent.cli("reload")

    def agent_reload_refused(self, kind):
        self.agent.write_config(REFUSED[kind](rules_text(VARIANTS[self.variant], self.order)))
        if self.agent.cli("reload", check=False).returncode == 0:
            raise Failure(f"a reload that must be refused was not: {kind}")
        self.write_rules(self.variant, self.order)

    def agent_reload_killed(self, variant, order, pause):
        with self.reloading(variant, order):
            self.agent.signal(signal.SIGHUP)
            time.sleep(pause)
            self.agent.end(signal.SIGKILL)
            self.start_agent()

    def agent_power_cut(self, pause):
        self.lose_everything(signal.SIGKILL, pause)

    def agent_reboot(self, pause):
        self.lose_drained(signal.SIGTERM, pause)

    def lose_drained(self, number, pause):
        """A source consumes its burst, and has a second one if that is lost. A power cut comes when a tick has surely
        written it, a stop before: it must write itself."""
        source = next(self.fresh)
        self.run.volley.send(source, VOLLEY)
        if number == signal.SIGKILL:
            time.sleep((MIRROR_TICK + WRITE) / SECOND)
        exposure = self.lose_everything(number, pause)
        with contextlib.suppress(Failure):  # the link may be gone for long; watch_link() waits for the program
            until("the program", lambda: exposure.end, 5)
        self.run.volley.send(source, VOLLEY)

    def lose_everything(self, number, pause):
        """Program and maps go, and what the stores hold is what the next agent has. Returns the exposure."""
        since, ended = self.agent_ran_since, self.end_agent(number)
        with self.judge.changing():
            exposure = self.judge.expose("maps lost")
            self.namespaces.link("xdp", "off")
            lost = time.monotonic_ns()
            self.agent.lose_maps()
            time.sleep(pause)
            exposure.ready = time.monotonic_ns()
            earliest, latest = self.saved_by(self.start_agent())
            self.judge.lost(lost, self.least_saved(number, since, ended, earliest, latest))
        return exposure

    def least_saved(self, number, since, ended, earliest, latest):
        """While nothing is the matter with Redis, a power cut loses no more than in a tick and a write, and a stop
        nothing, whatever the agent says; otherwise what it says."""
        least = ended - MIRROR_TICK - WRITE
        if not self.is_calm(ended) or number == signal.SIGKILL and since > least:
            self.judged[f"{LOSSES[number]} excused"] += 1
            return earliest
        self.judged[LOSSES[number]] += 1
        if (latest or 0) < least and self.judge.passed_between(latest or 0, least):
            when = self.run.journal.at(latest) if latest else "never"
            self.judge.violation(f"restored what was saved {when}, though the agent ended {self.run.journal.at(ended)} "
                                 "and Redis was there")
        return max(earliest or 0, ended if number == signal.SIGTERM else least)

    def is_calm(self, moment):
        """Sentinels that are held up elect a master without need, and what the old one is told then is lost."""
        if not self.calm:
            return False
        began, elections = self.calm
        return began + STORE_RECOVERS <= moment and self.servers.elections() == elections

    def saved_by(self, status):
        """The time of saving, on our clock, that the agent says its buckets are of: at the earliest and at the latest,
        as it says an age and not of when. What packets show is held against this."""
        age, state = status["restore"]["age_seconds"], status["restore"]["state"]
        self.run.journal(f"restored: {status['restore']}")
        if age is None:
            return None, None
        earliest, latest = (moment - int(age * SECOND) for moment in (self.agent.began, time.monotonic_ns()))
        exact = self.servers.ask(self.servers.master() or SERVERS[0], "hget", f"{KEY}:meta", "saved_at")
        exact = int(exact) - time.time_ns() + time.monotonic_ns() if exact else 0
        # Redis says it exactly, if it is what the agent means, and was not written again since.
        is_exact = state == "done" and earliest <= exact <= self.agent.began
        return (exact, exact) if is_exact else (earliest, latest)

    # ---- link ----

    def link_down(self, seconds):
        with self.judge.window(self.judge.down):
            self.namespaces.link("down")
            time.sleep(seconds)
            self.namespaces.raise_link()
            until("the link to carry", self.namespaces.carries)

    def link_delete(self, seconds):
        with self.judge.window(self.judge.down):
            exposure = self.judge.expose("interface deleted")
            self.namespaces.delete_link()
            time.sleep(seconds)
            self.namespaces.add_link()
            self.namespaces.raise_link()
            exposure.ready = time.monotonic_ns()
            until("the link to carry", self.namespaces.carries)

    def link_detach(self):
        exposure = self.judge.expose("taken off")
        self.namespaces.link("xdp", "off")
        exposure.ready = time.monotonic_ns()

    def link_replace(self, seconds):
        exposure = self.judge.expose("replaced by another program")
        self.foreign = True
        self.namespaces.command("ip", "-n", self.namespaces.card, "-force", "link", "set", "dev", "card0", "xdp", "obj",
                                self.run.foreign_object, "sec", "xdp")
        time.sleep(seconds)
        self.namespaces.link("xdp", "off")
        self.foreign = False
        exposure.ready = time.monotonic_ns()

    # ---- store ----

    def store_kill(self, seconds):
        port = self.servers.master() or SERVERS[0]
        self.servers.signal(port, signal.SIGKILL)
        time.sleep(seconds)
        master = self.servers.master()
        self.servers.start(port, *(["--replicaof", "127.0.0.1", str(master)] if master not in (None, port) else []))

    def store_stop(self, seconds, which):
        port = (self.servers.master() or SERVERS[0]) if which == 0 else SERVERS[0]
        self.servers.signal(port, signal.SIGSTOP)
        time.sleep(seconds)
        self.servers.signal(port, signal.SIGCONT)

    def store_cut(self, seconds, how):
        self.namespaces.in_card("nft", "-f", "-", input=(
            "table inet cut { chain cut { type filter hook input priority 0; "
            f"tcp dport {{ 7001, 7002 }} {how}; tcp sport {{ 7001, 7002 }} drop\n}}\n}}\n"))
        time.sleep(seconds)
        self.namespaces.in_card("nft", "delete", "table", "inet", "cut")

    def store_fail_over(self):
        self.servers.ask(SENTINELS[0], "sentinel", "failover", "edge")
        time.sleep(1)

    def store_calm(self, seconds):
        """Nobody touches the servers. The agent's faults go on, but at the end it runs for long enough to have written
        all, and what a power cut and a stop lose then is sure to be judged."""
        self.servers.wait()
        self.calm = time.monotonic_ns(), self.servers.elections()
        time.sleep(seconds - (MIRROR_TICK + WRITE) / SECOND)
        with self.busy["agent"]:
            self.lose_drained(signal.SIGKILL, 0)
            self.lose_drained(signal.SIGTERM, 0)
        self.calm = None

    # ---- operator ----

    def operator_ask(self, command):
        """May fail, as there may be no agent or no maps, but not crash or hang."""
        code = self.agent.cli(*command.split(), check=False).returncode
        if code not in (0, 1):
            raise Failure(f"edgebucket {command} ended with {code}")

    def operator_scrape(self):
        self.agent.scrape()

    # ---- table ----

    def table_overflow(self, seconds, sources, rate):
        with self.judge.window(self.judge.floods):
            subprocess.run(["nsenter", f"--net=/var/run/netns/{self.namespaces.far}", SENDFRAMES, "-i", "far0", "-s",
                            "10.24.0.0", "-d", "10.7.0.1", "-k", str(sources), "-r", str(rate), "-n",
                            str(int(rate * seconds)), "-x"], check=False, capture_output=True, timeout=60)
