#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What must not stop or spin the agent's loop: a name that does not resolve, and connections for which there is no
# descriptor left.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# reach SOCKET: a connection that stays, with half a request. Sets reach_pid.
reach() {
	: > "$dir/reach"
	nsenter --net="/var/run/netns/$card" python3 -c '
import signal, socket, sys
kind, place = sys.argv[1:]
if kind == "control":
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(place)
else:
    client = socket.create_connection(("127.0.0.1", int(place)))
    client.sendall(b"GET ")
print("connected", flush=True)
signal.pause()' "$@" > "$dir/reach" 9>&- &
	reach_pid=$!
	until_true "a connection to $1" grep -q connected "$dir/reach"
}

accepts() { grep -c 'accept4(.*EMFILE' "$dir/calls" || true; }

answers_both() {
	status_is .agent.answers && in_card curl -fs -o /dev/null http://127.0.0.1:9464/healthz
}

# without_descriptors KIND PLACE
without_descriptors() {
	local calls tracer
	prlimit --pid "$agent_pid" --nofile=3:1024 # what is open stays so
	strace -qq -o "$dir/calls" -e trace=accept4 -p "$agent_pid" 9>&- &
	tracer=$!
	until_true "strace" grep -q "^TracerPid:.$tracer\$" "/proc/$agent_pid/status"
	reach "$@"
	sleep 2
	calls=$(accepts)
	kill "$tracer"
	wait "$tracer" 2> /dev/null || true
	within "attempts to take a connection to $1" 1 30 "$calls"
	log_has "cannot accept a connection" || fail "nothing is said of $1"
	prlimit --pid "$agent_pid" --nofile=1024:1024
	kill "$reach_pid"
	wait "$reach_pid" 2> /dev/null || true
	until_true "connections to be taken again" answers_both
}

rules() {
	write_config <<- END
		  - { name: limited, action: limit, packets: { rate: 1/h, burst: 30 } }
	END
	sed -i "s|^metrics: .*|metrics: $1|" "$config"
}

# looks_up: the look-up is under way, and the agent answers.
looks_up() { status_is '.agent.answers and .metrics.served == false and .metrics.problem == null'; }
gave_up() { status_is '.metrics.problem | test("metrics.example:9464 cannot be resolved")'; }

make_network
rules 127.0.0.1:9464
start_agent
wait_log "metrics are served"
without_descriptors control "$dir/run/control.sock"
without_descriptors metrics 9464
stop_agent

# A server of names that says nothing, on a network that drops what is sent to it.
rules metrics.example:9464
printf 'nameserver 10.7.0.2\noptions attempts:1 timeout:3\n' > "$dir/resolv.conf"
in_far nft -f - <<- END
	table ip silent {
		chain input {
			type filter hook input priority 0;
			udp dport 53 drop
		}
	}
END
log=$dir/agent.log
: > "$log"
nsenter --net="/var/run/netns/$card" unshare --mount sh -c '
	mount --bind "$1" /etc/resolv.conf && shift && exec "$@"' - "$dir/resolv.conf" "$BUILD/edgebucketd" -c "$config" \
	2> "$log" 9>&- &
agent_pid=$!
wait_log "msg=attached"
looks_up || fail "status while a name is looked up: $(eb --json status)"
until_true "the look-up to end" gave_up
log_has "cannot serve metrics.*cannot be resolved" || fail "nothing is said of the name"
