#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Random faults at once under measured traffic: Redis, the agent, the interface and the table, from a seed.

    chaos.py [--seed N] [--seconds N] [--plan] [--keep] [--verbose]

During and at the end: no source was admitted more than its bound, given what was allowed to be lost; sources below
their rate lost nothing while enforced; the agent is healthy; Redis holds what the maps hold. The faults are a function
of the seed; `--plan` shows them. A violation is told with its time, and the journal says what was done then.
"""
import argparse
import collections
import contextlib
import fcntl
import ipaddress
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True  # nothing is left in the sources

import traffic
from faults import (CALM, CALM_EVERY, LAST_FRESH, LOSSES, REATTACH, SENDFRAMES, SOURCES, VARIANTS, Faults, plan,
                    rules_text)
from judge import Judge
from model import SECOND
from world import KEY, Agent, Failure, Namespaces, Servers, make_directory, until

POLL = 0.02
SHOWN_MAX = 20
STANDSTILL = SECOND // 10
NAME = "ebchaos"
EQUAL_WITHIN = 30 * SECOND  # of Redis, once its failovers are over


class Journal:
    """Lines with seconds since the start."""

    def __init__(self, path, verbose):
        self.began, self.verbose = time.monotonic_ns(), verbose
        self.file = open(path, "w", encoding="utf-8", buffering=1)
        self.lock = threading.Lock()

    def at(self, moment):
        return f"{(moment - self.began) / 1e9:.3f}"

    def __call__(self, text):
        line = f"{self.at(time.monotonic_ns()):>8} {text}"
        with self.lock:
            self.file.write(line + "\n")
        if self.verbose:
            print(line, flush=True)


class Run:
    def __init__(self, options):
        self.options = options
        self.directory = make_directory()
        self.journal = Journal(os.path.join(self.directory, "journal"), options.verbose)
        self.namespaces = Namespaces(NAME)
        self.servers = Servers(self.namespaces, self.directory)
        self.agent = Agent(self.namespaces, self.directory, f"/sys/fs/bpf/{NAME}", self.journal)
        self.judge = Judge(SOURCES, VARIANTS[0], self.journal)
        self.faults = Faults(self)
        self.processes = []
        self.errors = []
        self.ending = threading.Event()
        self.foreign_object = os.path.join(self.directory, "foreign.o")

    # ---- making ----

    def make_foreign(self):
        subprocess.run(["clang", "-O2", "-target", "bpf", "-c", "-x", "c", "-", "-o", self.foreign_object], check=True,
                       input='__attribute__((section("xdp"), used)) int foreign(void *ctx) { return 2; }', text=True)

    def make(self):
        if not os.access(SENDFRAMES, os.X_OK):
            raise Failure(f"{SENDFRAMES} is missing: make tests")
        self.make_foreign()
        self.namespaces.make()
        self.agent.lose_maps()
        self.namespaces.add_link()
        self.namespaces.raise_link()
        self.servers.start_all()
        self.agent.write_config(rules_text(VARIANTS[0], 0))
        self.faults.start_agent()
        until("the program", self.namespaces.program)
        if self.agent.status()["interfaces"][0]["mode"] != "native":
            raise Failure("a timestamp behind generic XDP is from before it")
        self.start_traffic()

    def start_traffic(self):
        pid, seen = traffic.spawn(self.namespaces.card, traffic.observe)
        self.processes.append(pid)
        if not os.read(seen, 1):
            raise Failure("the observer did not start")
        pid, sent = traffic.spawn(self.namespaces.far,
                                  lambda fd: traffic.Sender(SOURCES, self.options.seed, fd).run())
        self.processes.append(pid)
        self.judge.listen(sent, seen)
        self.volley = traffic.Volley(self.namespaces.open_socket(self.namespaces.far, socket.AF_PACKET,
                                                                 socket.SOCK_RAW), self.judge.take_sent)

    def stop_traffic(self):
        sender = self.processes.pop()
        os.kill(sender, signal.SIGKILL)
        os.waitpid(sender, 0)

    # ---- threads ----

    def thread(self, run, *args):
        def guarded():
            try:
                run(*args)
            except Exception:  # pylint: disable=broad-except
                self.errors.append(traceback.format_exc())
                self.journal(f"FAILED {traceback.format_exc()}")
                self.ending.set()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def follow(self, steps):
        for step in steps:
            now = (time.monotonic_ns() - self.journal.began) / 1e9
            if now > self.options.seconds or self.ending.wait(max(0, step.at - now)):
                return
            self.journal(f"fault {step}")
            self.faults.do(step)
            self.journal(f"done  {step.kind} {step.fault}")

    def watch_link(self):
        last, drops = time.monotonic_ns(), 0
        while not self.ending.is_set():
            now = time.monotonic_ns()
            if now - last > STANDSTILL:
                self.judge.standstills.append((last, now))
            self.watch_program(last, now)
            drops = self.watch_drops(drops, last)
            last = self.judge.watched = now
            time.sleep(POLL)

    def watch_program(self, last, now):
        """Ends exposures when the program is seen, and says when it is not for too long."""
        foreign, program, after = self.faults.foreign, self.namespaces.program(), time.monotonic_ns()
        for exposure in [e for e in self.judge.exposures if e.end is None and e.ready and e.ready < now]:
            if program and not foreign and not self.faults.foreign:
                exposure.end = after
                self.journal(f"enforced again, {exposure.why}: after {(after - exposure.begin) / 1e9:.3f} s")
            elif program is not None and not foreign and self.agent.runs() and self.faults.agent_ran_since < last:
                # A machine that stands still is not waited for.
                self.wait_more(exposure, min(now - last, STANDSTILL))

    def watch_drops(self, before, since):
        """What the link's own queue drops is nobody's fault. A new link counts from 0."""
        drops = self.namespaces.drops() or 0
        if drops > before:
            self.judge.drops.append([since, time.monotonic_ns(), drops - before])
            self.journal(f"no room for {drops - before} frames in the link's queue since {self.journal.at(since)}")
        return drops

    def wait_more(self, exposure, ns):
        before = exposure.waited
        exposure.waited += ns
        if before < REATTACH <= exposure.waited:
            self.judge.violation(f"not enforced for {REATTACH / 1e9:.0f} s of an agent that runs: {exposure.why} "
                                 f"{self.journal.at(exposure.begin)}")

    def watch_children(self):
        for pid in self.processes:
            if os.waitpid(pid, os.WNOHANG)[0]:
                raise Failure("the sender or the observer ended")

    # ---- the end ----

    def wait_healthy(self):
        self.servers.wait()
        self.agent.wait()
        until("health", lambda: self.agent.health() == "200")
        status = until("a status that is ok", self.is_status_ok, 30)
        self.journal(f"status {json.dumps(status)}")

    def is_status_ok(self):
        status = self.agent.status()
        interface = status["interfaces"][0]
        good = (status["agent"]["running"] and interface["attached"] and status["redis"]["up"] and
                status["restore"]["state"] in ("done", "adopted") and not status.get("other_writer"))
        return good and status

    def in_maps(self):
        """Field: whole nanoseconds until it is full, of those that are not; and when that was."""
        names, found = self.agent.rule_names(), {}
        before = time.monotonic_ns()
        dumps = {family: self.agent.dump(f"buckets_v{family}") for family in (4, 6)}
        for family, dump in dumps.items():
            for way in (way for entry in dump for way in entry["formatted"]["value"]["way"]):
                key, bucket = way["key"], way["bucket"]
                left = [max(0, bucket[part] // 1024 - before) for part in ("packets_full_at", "bytes_full_at")]
                if key["rule_id"] in names and any(left):
                    found[self.field(names[key["rule_id"]], family, key)] = left
        return found, before

    @staticmethod
    def field(name, family, key):
        if family == 4:
            return f"{name}|{ipaddress.ip_address(key['addr'].to_bytes(4, 'little'))}/32"
        return f"{name}|{ipaddress.ip_address(bytes(key['addr']))}/64"

    def in_redis(self):
        words = self.servers.ask(self.servers.master(), "hgetall", KEY).split("\n")
        return {field: [int(part) for part in value.split()] for field, value in zip(words[::2], words[1::2])}

    def compare(self):
        """Redis holds exactly the buckets in debt, as times of the wall clock; besides, until they are full, those
        that a reload began anew as they found no room."""
        maps, moment = self.in_maps()
        offset = time.time_ns() - time.monotonic_ns()
        redis = self.in_redis()
        wrong = []
        for field in sorted(maps.keys() | redis.keys()):
            left = [max(0, part - offset - moment) for part in redis.get(field, [0, 0])]
            if field not in maps and self.judge.may_be_full(field, moment):
                continue
            if max(abs(a - b) for a, b in zip(left, maps.get(field, [0, 0]))) > SECOND // 50:
                wrong.append(f"{field}: {maps.get(field)} ns left in the maps, {left} in Redis")
        return wrong, len(maps)

    def check_equal(self):
        """A failover may begin when all was well, and Redis takes nothing for a while. What Redis lacks without one
        stays so, as nothing is charged any more."""
        end = time.monotonic_ns() + EQUAL_WITHIN
        while True:
            self.agent.cli("flush")
            wrong, held = self.compare()
            self.journal(f"{held} buckets in debt compared with Redis: {len(wrong)} differ")
            if not wrong or time.monotonic_ns() > end:
                break
            time.sleep(1)
            self.wait_healthy()
        for text in wrong:
            self.judge.violation(f"Redis is not equal to the maps: {text}")
        if not held:
            raise Failure("nothing was in debt at the end, so Redis proves nothing")

    def check_losses(self):
        """A power cut and a stop once more in quiet, each after a source that consumed its first burst."""
        def is_judged():
            self.faults.store_calm(CALM)
            self.wait_healthy()
            return all(self.faults.judged[what] > before[what] for what in LOSSES.values())

        self.faults.fresh, before = itertools.cycle(LAST_FRESH), self.faults.judged.copy()
        until("a calm without an election of the Sentinels", is_judged, 60)
        time.sleep(1)
        self.judge.judge(0)
        if sum(self.judge.passed[source.index] > 0 for source in LAST_FRESH) < len(LOSSES):
            raise Failure("nothing was drained before the last losses")

    def check_judged(self):
        """The plan has calms, so a long run cannot be without."""
        for what in LOSSES.values():
            if self.options.seconds >= 2 * CALM_EVERY and not self.faults.judged[what]:
                raise Failure(f"none of the {what} was judged")

    def end(self):
        self.check_judged()
        time.sleep(2)
        self.wait_healthy()
        self.journal("Redis loses all once more, and nobody restarts the agent")
        self.faults.store_kill(0.0)
        self.wait_healthy()
        until("the last exposure to end", lambda: all(e.end for e in self.judge.exposures), 10)
        time.sleep(2)
        self.stop_traffic()
        time.sleep(3.5)
        self.judge.judge(0)
        self.check_equal()
        self.check_descriptors()
        self.check_losses()

    def check_descriptors(self):
        """No more than an agent has that just began, with maps that were there or with new ones."""
        old, fresh = collections.Counter(self.agent.descriptors()), collections.Counter()
        for restart in (self.faults.agent_terminate, self.faults.agent_reboot):
            restart(0)
            self.wait_healthy()
            time.sleep(1)
            fresh |= collections.Counter(self.agent.descriptors())
        if old - fresh:
            self.judge.violation(f"descriptors that a fresh agent does not have: {dict(old - fresh)}")

    @property
    def violations(self):
        return self.judge.violations

    def report(self):
        judge = self.judge
        print(f"{'source':<28} {'sent':>7} {'passed':>7} {'unprotected':>11}")
        for index, source in enumerate(SOURCES):
            if judge.sent[index]:
                print(f"{source.field:<28} {judge.sent[index]:>7} {judge.passed[index]:>7} {judge.exposed[index]:>11}")
        for excuse, count in judge.excused.items():
            print(f"frames below the rate lost, {excuse}: {count}")
        for what in LOSSES.values():
            print(f"{what} judged: {self.faults.judged[what]}, excused: {self.faults.judged[f'{what} excused']}")

    def go(self):
        self.make()
        self.journal.began = time.monotonic_ns()
        self.journal("faults begin")
        watcher = self.thread(self.watch_link)
        doers = [self.thread(self.follow, steps) for steps in plan(self.options.seed, self.options.seconds).values()]
        try:
            while any(thread.is_alive() for thread in doers):
                time.sleep(0.2)
                self.judge.judge()
                self.watch_children()
            if not self.errors:
                self.end()
        finally:
            self.ending.set()
            for thread in doers + [watcher]:
                thread.join()

    def clean(self):
        for pid in self.processes:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if self.agent.process and self.agent.process.poll() is None:
            self.agent.process.kill()
            self.agent.process.wait()
        self.servers.kill_all()
        self.namespaces.remove()
        self.agent.lose_maps()


def plan_lines(seed, seconds):
    return sorted((step for steps in plan(seed, seconds).values() for step in steps), key=lambda step: step.at)


def parse():
    parser = argparse.ArgumentParser(description="random faults at once under measured traffic")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seconds", type=int, default=120, help="how long faults happen")
    parser.add_argument("--plan", action="store_true", help="show the faults and do nothing")
    parser.add_argument("--keep", action="store_true", help="keep journal and logs also when all is well")
    parser.add_argument("--verbose", action="store_true", help="the journal on stdout")
    return parser.parse_args()


def main(kind, plan_lines, name):
    """`kind` makes a run of the options: go, clean, report, directory, journal, errors, violations."""
    options = parse()
    if options.plan:
        print("\n".join(map(str, plan_lines(options.seed, options.seconds))))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"{os.path.basename(sys.argv[0])}: seed {options.seed}, {options.seconds} s of faults", flush=True)
    lock = open(f"/run/lock/{name}.lock", "w", encoding="utf-8")
    fcntl.lockf(lock, fcntl.LOCK_EX)  # one run at a time; a second one waits. Children that are left do not hold it.
    run = kind(options)
    try:
        run.go()
    except Exception:  # pylint: disable=broad-except
        run.errors.append(traceback.format_exc())
        run.journal(f"FAILED {traceback.format_exc()}")
    finally:
        run.clean()
    run.report()
    bad = run.errors + run.violations
    for text in bad[:SHOWN_MAX]:
        print(f"chaos: FAILED: {text}")
    if len(bad) > SHOWN_MAX:
        print(f"chaos: and {len(bad) - SHOWN_MAX} more")
    if bad or options.keep:
        print(f"chaos: seed {options.seed}: {run.directory}/journal")
    else:
        shutil.rmtree(run.directory)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Run, plan_lines, NAME))
