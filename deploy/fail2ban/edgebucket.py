# SPDX-License-Identifier: GPL-2.0-only
"""An action for fail2ban(1): whom a jail bans is dropped at the network card.

/etc/fail2ban/action.d/edgebucket.py; in a jail: action = edgebucket.py[socket=/run/edgebucket/json.sock]

It talks to edgebucketd(8) over one connection and starts no program. Each ban carries the jail's bantime, so that it
ends on time also where fail2ban does not run any more.
"""

import json
import socket
import threading

from fail2ban.server.action import ActionBase


class EdgebucketAction(ActionBase):
    TIMEOUT_S = 10

    def __init__(self, jail, name, socket="/run/edgebucket/json.sock"):
        super().__init__(jail, name)
        self.path = socket
        self.peer = None
        self.lock = threading.Lock()
        self.banned = set()

    def start(self):
        pass  # the connection is made with the first request, and anew after a restart of the agent

    def stop(self):
        self.flush()
        self.close()

    def ban(self, info):
        ban = {"prefix": str(info["ip"]), "reason": "fail2ban %s" % self._jail.name}
        if info["bantime"] > 0:  # fail2ban's -1 is for good
            ban["for"] = "%ds" % info["bantime"]
        self.ask({"request": "ban", "from": "feed", "bans": [ban]})
        self.banned.add(ban["prefix"])

    @property
    def _prolongable(self):
        return True

    def prolong(self, info):
        self.ban(info)

    def unban(self, info):
        self.lift([str(info["ip"])])

    def flush(self):
        """Lifts all bans of the jail; fail2ban then asks for none of them."""
        banned = list(self.banned)
        for first in range(0, len(banned), 1000):
            self.lift(banned[first : first + 1000])
        return True

    def lift(self, prefixes):
        self.ask({"request": "unban", "from": "feed", "prefixes": prefixes})
        self.banned.difference_update(prefixes)

    def ask(self, request):
        with self.lock:
            try:
                answer = self.exchange(request)
            except OSError:  # the agent was restarted: once more, over a new connection
                self.close()
                try:
                    answer = self.exchange(request)
                except OSError as error:
                    self.close()
                    raise RuntimeError("edgebucketd at %s: %s" % (self.path, error)) from error
        if not answer["ok"]:
            raise RuntimeError("edgebucketd: %s" % answer["error"])
        for refused in answer["refused"]:
            raise RuntimeError("edgebucketd: %s" % refused["error"])

    def exchange(self, request):
        if not self.peer:
            self.peer = socket.socket(socket.AF_UNIX)
            self.peer.settimeout(self.TIMEOUT_S)
            self.peer.connect(self.path)
        self.peer.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = self.peer.recv(65536)
            if not part:
                raise ConnectionResetError("it hung up")
            answer += part
        return json.loads(answer)

    def close(self):
        if self.peer:
            self.peer.close()
        self.peer = None


Action = EdgebucketAction
