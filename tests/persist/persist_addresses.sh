#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A name with several addresses, where the first ones do not take writes: a server that loads, a replica. The agent goes
# on to the one that does, says which, begins with it from then on, and follows when the roles change.
# shellcheck source=../lib/redis_servers.sh
. "$(dirname "$0")/../lib/redis_servers.sh"

# ask ADDRESS COMMAND...
ask() {
	local address=$1
	shift
	in_card redis-cli -h "$address" -p "$port" --no-auth-warning "$@"
}
redis() { ask "$master" "$@"; }
answers() { [ "$(ask "$1" ping 2> /dev/null)" = PONG ]; }
loads() { ask "$1" ping 2>&1 | grep -q LOADING; }

# launch ADDRESS [OPTION]...
launch() {
	local address=$1
	shift
	launch_server "$address" --port "$port" --bind "$address" --save '' --appendonly no "$@"
}

# With names of our own, as those of a headless service.
launch_agent() {
	log=$dir/agent.log
	: > "$log"
	# shellcheck disable=SC2016 # for the inner shell
	nsenter --net="/var/run/netns/$card" unshare --mount sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' \
		"$dir/hosts" "$BUILD/edgebucketd" -c "$config" "$@" 2> "$log" 9>&- &
	agent_pid=$!
}

connections() { ask "$1" info stats | sed -n 's/^total_connections_received:\([0-9]*\).*/\1/p'; }
recovered() { grep -c 'msg="buckets written".*reason=redis_recovered' "$log" || true; }
is_at() { status_is ".redis.up and .redis.address == \"$1:$port\""; }

slow_rules | persist_config
cat >> "$config" <<- END
	redis:
	  host: redis.test
	  port: $port
	  tick: $tick
	  restore_timeout: 20s
END

# A server that has something to load.
launch 127.0.0.2
until_true "a server" answers 127.0.0.2
ask 127.0.0.2 eval "for i = 1, 300 do redis.call('set', 'filler-' .. i, string.rep('x', 4096)) end" 0 > /dev/null
ask 127.0.0.2 config set rdbcompression no > /dev/null
ask 127.0.0.2 save > /dev/null
kill_server 127.0.0.2
launch 127.0.0.2 --key-load-delay 1000000 --loading-process-events-interval-bytes 1024
launch 127.0.0.3 --replicaof 127.0.0.4 "$port"
launch 127.0.0.4
master=127.0.0.4
until_true "a server that loads" loads 127.0.0.2
until_true "a replica" answers 127.0.0.3
until_true "a master" answers 127.0.0.4
printf '127.0.0.%d redis.test\n' 2 3 4 > "$dir/hosts"

start_agent
until_true "the master to be found" is_at 127.0.0.4
eb status | grep -q "^Redis: *connected to 127.0.0.4:$port, " || fail "$(eb status)"
! log_has "the store cannot be reached" || fail "an address that is passed over counts as a fault"
start_counted_fire
send 10.8.0.1 -n 40
wait_mirrored
equal "rewrites, as nothing was ever away" 0 recovered

# The one that was good is the first from then on.
before=$(connections 127.0.0.3)
agents() { ask 127.0.0.4 client list type normal | sed -n '/cmd=client/!s/^id=\([0-9]*\) .*/\1/p'; }
id=$(agents)
redis client kill type normal > /dev/null
until_true "the agent to connect again" eval '[ -n "$(agents)" ] && [ "$(agents)" != "$id" ]'
is_at 127.0.0.4 || until_true "the master again" is_at 127.0.0.4
equal "connections to the replica meanwhile, but for ours" $((before + 1)) connections 127.0.0.3

# The roles change.
recovered_before=$(recovered)
ask 127.0.0.3 replicaof no one > /dev/null
ask 127.0.0.4 replicaof 127.0.0.3 "$port" > /dev/null
master=127.0.0.3
send 10.8.0.2 -n 30
until_true "the new master to be found" is_at 127.0.0.3
wait_mirrored
equal "rewrites for one change" $((recovered_before + 1)) recovered

# Nobody takes writes: all addresses are named, with their reasons; nothing is said to be up, nor to have recovered.
ask 127.0.0.3 replicaof 127.0.0.4 "$port" > /dev/null
send 10.8.0.3 -n 20
says() { eb --json status | jq -r .redis.last_error | grep -q "$1"; }
until_true "each address to be named" \
	says "127.0.0.3:$port: READONLY.*; 127.0.0.2:$port: LOADING.*; 127.0.0.4:$port: READONLY"
! store_is_up redis || fail "up, without anybody who takes writes"
sleep 2
equal "rewrites while nobody takes them" $((recovered_before + 1)) recovered
equal "connections that are told of" 2 eval "grep -c 'msg=connected store=redis' '$log'"
still_limited "without a master"
ask 127.0.0.4 replicaof no one > /dev/null
master=127.0.0.4
until_true "a master" is_at 127.0.0.4
wait_mirrored
equal "rewrites when one is back" $((recovered_before + 2)) recovered

# After a reboot the restore comes from the master too.
stop_counted_fire
power_cut
start_agent
log_has " restored=4 " || fail "$(grep restored "$log")"
equal "tokens after a restore" 60 tokens 10.8.0.1/32
