# SPDX-License-Identifier: GPL-2.0-only
"""What is put to the test: two namespaces with a veth pair, two Redis servers with three Sentinels on the protected
side's loopback, and the agent; with what can be asked of them."""
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from traffic import enter

BUILD = os.environ.get("BUILD") or os.path.join(os.path.dirname(__file__), "..", "..", "build")
SERVERS, SENTINELS = (7001, 7002), (7101, 7102, 7103)
KEY = "token_bucket_fallback:{chaos}"
METRICS = "127.0.0.1:9464"
IFLA_IFNAME, IFLA_STATS64, IFLA_XDP, IFLA_XDP_PROG_ID = 3, 23, 43, 4
TX_DROPPED = struct.Struct("=7QQ")  # the eighth of struct rtnl_link_stats64
RTM_GETLINK, NLMSG_ERROR = 18, 2


class Failure(Exception):
    """Something did not work as it must."""


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failure(f"waited in vain for {what}")
        time.sleep(0.05)
    return value


def attributes(data):
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3fff, data[4:length]
        data = data[(length + 3) & ~3:]


class Namespaces:
    far_interface = "far0"

    def __init__(self, name):
        self.card, self.far = f"{name}-card", f"{name}-far"

    def make(self):
        self.remove()
        for namespace in {self.card, self.far}:
            self.command("ip", "netns", "add", namespace)
        self.command("ip", "-n", self.card, "link", "set", "lo", "up")
        self.netlink = {namespace: self.open_netlink(namespace) for namespace in (self.card, self.far)}

    def remove(self):
        """With the processes that a killed run left in them."""
        for namespace in (self.card, self.far):
            if not os.path.exists(f"/var/run/netns/{namespace}"):
                continue
            for pid in self.command("ip", "netns", "pids", namespace).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            self.command("ip", "netns", "delete", namespace)

    @staticmethod
    def command(*command, check=True, **options):
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        if check and done.returncode:
            raise Failure(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def in_card(self, *command, **options):
        return self.command("nsenter", f"--net=/var/run/netns/{self.card}", *command, **options)

    # ---- the link ----

    def add_link(self):
        self.command("ip", "link", "add", "card0", "netns", self.card, "address", "02:00:00:00:00:01", "type", "veth",
                     "peer", "name", "far0", "netns", self.far, "address", "02:00:00:00:00:02")
        for namespace, interface in ((self.card, "card0"), (self.far, "far0")):
            self.command("ip", "-n", namespace, "link", "set", interface, "addrgenmode", "none")

    def delete_link(self):
        self.command("ip", "-n", self.card, "link", "delete", "card0")

    def link(self, *what):
        return self.command("ip", "-n", self.card, "link", "set", "dev", "card0", *what, check=False)

    def raise_link(self):
        self.link("up")
        self.command("ip", "-n", self.far, "link", "set", "far0", "up")

    def carries(self):
        """A link that came up does not carry before the kernel has attended to it."""
        shown = json.loads(self.command("ip", "-n", self.far, "-j", "link", "show", "far0").stdout)
        return shown[0]["operstate"] == "UP"

    @staticmethod
    def open_socket(namespace, *kind):
        """A socket stays in the namespace that it was made in."""
        made = []

        def make():
            enter(namespace)
            made.append(socket.socket(*kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def open_netlink(self, namespace):
        return self.open_socket(namespace, socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def ask_link(self, namespace, name):
        """The attributes of an interface, None without one."""
        name = name.encode() + b"\0"
        name = struct.pack("=HH", 4 + len(name), IFLA_IFNAME) + name.ljust(8, b"\0")
        body = struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0) + name
        netlink = self.netlink[namespace]
        netlink.send(struct.pack("=IHHII", 16 + len(body), RTM_GETLINK, 1, 0, 0) + body)
        reply = netlink.recv(65536)
        return None if struct.unpack_from("=IH", reply)[1] == NLMSG_ERROR else dict(attributes(reply[32:]))

    def program(self):
        """The id of the program on card0; 0 for none, None without such an interface."""
        link = self.ask_link(self.card, "card0")
        if link is None:
            return None
        program = dict(attributes(link.get(IFLA_XDP, b""))).get(IFLA_XDP_PROG_ID)
        return struct.unpack("=I", program)[0] if program else 0

    def drops(self):
        """Frames that the link's queue had no room for; None without a link."""
        link = self.ask_link(self.far, self.far_interface)
        return None if link is None else TX_DROPPED.unpack_from(link[IFLA_STATS64])[7]


class Servers:
    """The Redis servers. They save nothing themselves, so one that is killed loses what it held, and comes back empty
    or, where it was a replica before, with what it got then."""

    def __init__(self, namespaces, directory):
        self.namespaces, self.directory, self.processes = namespaces, directory, {}

    def launch(self, port, *options):
        directory = os.path.join(self.directory, str(port))
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "log"), "a", encoding="utf-8") as log:
            self.processes[port] = subprocess.Popen(
                ["nsenter", f"--net=/var/run/netns/{self.namespaces.card}", "redis-server", *options, "--dir",
                 directory], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start(self, port, *options):
        self.launch(port, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                    "--repl-diskless-sync-delay", "0", "--min-replicas-to-write", "1", *options)
        until(f"the server on port {port}", lambda: self.ask(port, "ping") == "PONG")

    def start_all(self):
        self.start(SERVERS[0])
        self.start(SERVERS[1], "--replicaof", "127.0.0.1", str(SERVERS[0]))
        until("the replica to be in sync", lambda: "master_link_status:up" in self.ask(SERVERS[1], "info"))
        for port in SENTINELS:
            self.start_sentinel(port)
        until("the Sentinels to know each other", lambda: all(self.knows_all(port) for port in SENTINELS))

    def start_sentinel(self, port):
        os.makedirs(os.path.join(self.directory, str(port)))
        config = os.path.join(self.directory, str(port), "config")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"port {port}\nbind 127.0.0.1\nsentinel monitor edge 127.0.0.1 {SERVERS[0]} 2\n"
                       "sentinel down-after-milliseconds edge 500\nsentinel failover-timeout edge 3000\n")
        self.launch(port, config, "--sentinel")

    def known_by(self, port):
        """What a Sentinel says of the master."""
        words = self.ask(port, "sentinel", "master", "edge").split("\n")
        return dict(zip(words[::2], words[1::2]))

    def knows_all(self, port):
        known = self.known_by(port)
        return known.get("num-slaves") == "1" and known.get("num-other-sentinels") == "2"

    def is_whole(self):
        """All Sentinels have the same master, none is about to have another; and it takes writes, as its replica has
        answered lately."""
        known = [self.known_by(port) for port in SENTINELS]
        masters = {words.get("port") for words in known}
        if len(masters) != 1 or any(words.get("flags") != "master" for words in known):
            return False
        master = int(masters.pop())
        return self.is_master(master) and "min_slaves_good_slaves:1" in self.ask(master, "info", "replication")

    def wait(self):
        """On a machine that is busy with other things, Sentinels take servers for dead again and again."""
        until("a master with a replica", self.is_whole, 180)

    def elections(self):
        """What each Sentinel knows of them."""
        return [self.known_by(port).get("config-epoch") for port in SENTINELS]

    def ask(self, port, *words):
        """Empty when it cannot be asked."""
        done = self.namespaces.in_card("timeout", "1", "redis-cli", "-p", str(port), "--raw", *words, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def master(self):
        for port in SENTINELS:
            words = self.ask(port, "sentinel", "get-master-addr-by-name", "edge").split("\n")
            if len(words) == 2:
                return int(words[1])
        return None

    def is_master(self, port):
        return self.ask(port, "role").startswith("master")

    def signal(self, port, number):
        self.processes[port].send_signal(number)
        if number == signal.SIGKILL:
            self.processes[port].wait()

    def kill_all(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


class Agent:
    """edgebucketd; its log goes to the run's journal line by line."""

    def __init__(self, namespaces, directory, pin_dir, journal):
        self.namespaces, self.directory, self.pin_dir, self.journal = namespaces, directory, pin_dir, journal
        self.config = os.path.join(directory, "edgebucket.yaml")
        self.run_dir = os.path.join(directory, "run")
        self.process = None
        self.stopped = False
        self.began = 0

    def write_config(self, rules):
        sentinels = ", ".join(f'"127.0.0.1:{port}"' for port in SENTINELS)
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"node: chaos\ninterfaces: [card0]\npin_dir: {self.pin_dir}\nrun_dir: {self.run_dir}\n"
                       f"state_dir: {self.directory}/state\nmetrics: {METRICS}\ntable_size: 1024\n{rules}"
                       f"redis:\n  sentinel: {{ master: edge, nodes: [{sentinels}] }}\n  tick: 500ms\n")

    def start(self):
        self.began = time.monotonic_ns()
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/var/run/netns/{self.namespaces.card}", os.path.join(BUILD, "edgebucketd"), "-c",
             self.config], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        threading.Thread(target=self.read_log, args=(self.process,), daemon=True).start()

    def read_log(self, process):
        for line in process.stderr:
            self.journal(f"agent {process.pid}: {line.rstrip()}")

    def signal(self, number):
        self.process.send_signal(number)
        self.stopped = number == signal.SIGSTOP

    def end(self, number):
        """Returns its exit status."""
        self.signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"the agent does not end on signal {number}") from error

    def runs(self):
        return self.process is not None and self.process.poll() is None and not self.stopped

    def cli(self, *words, check=True):
        return self.namespaces.in_card("timeout", "20", os.path.join(BUILD, "edgebucket"), "-c", self.config, *words,
                                       check=check)

    def status(self):
        return json.loads(self.cli("--json", "status").stdout)

    def enforces(self):
        if self.process.poll() is not None:
            raise Failure(f"the agent ended by itself with {self.process.returncode}")
        done = self.cli("--json", "status", check=False)
        status = json.loads(done.stdout) if done.returncode == 0 else {}
        decided = status.get("restore", {}).get("state") in ("waiting", "done", "adopted")
        return decided and status["agent"]["running"] and status

    def wait(self):
        return until("the agent to enforce", self.enforces)

    def lose_maps(self):
        shutil.rmtree(self.pin_dir, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def scrape(self):
        return self.namespaces.in_card("curl", "-s", "-m", "5", f"http://{METRICS}/metrics", check=False).stdout

    def health(self):
        """Of the HTTP answer, as text."""
        return self.namespaces.in_card("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}",
                                       f"http://{METRICS}/healthz", check=False).stdout

    def descriptors(self):
        """What its descriptors are, sorted."""
        directory, found = f"/proc/{self.process.pid}/fd", []
        for fd in os.listdir(directory):
            try:
                found.append(os.readlink(f"{directory}/{fd}").split("[")[0])
            except OSError:  # just closed
                pass
        return sorted(found)

    # ---- what the maps hold, read by bpftool ----

    def dump(self, name):
        path = os.path.join(self.pin_dir, name)
        return json.loads(Namespaces.command("bpftool", "-j", "map", "dump", "pinned", path).stdout)

    def rule_names(self):
        """By rule_id, of the rules in force. Buckets of others wait to be full, and are nobody's."""
        policy = max((entry["formatted"]["value"] for entry in self.dump("policy")), key=lambda p: p["generation"])
        return {rule[part]: name for name, rule in zip(policy["names"], policy["rules"])
                for part in ("id4", "id6") if rule[part]}


def make_directory():
    return tempfile.mkdtemp(prefix="ebchaos-")
