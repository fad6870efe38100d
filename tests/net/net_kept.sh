#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A start whose configuration is refused: what was in force last is, lists and redis part included, and everybody is told
# until the file is good again. Nothing else takes its place: no trial, no other configuration, no half of one.
# shellcheck source=../lib/prometheus.sh
. "$(dirname "$0")/../lib/prometheus.sh"
need curl strace

kept=
rules_are() { [ "$(eb --json rules | jq -r '[.[].name] | join(" ")')" = "$1" ]; }
in_force() { rules_are "$1" || fail "in force are not $1: $(eb rules)"; }
done_well() { eb "$@" > "$dir/out" 2>&1 || fail "$*: exit code $?: $(cat "$dir/out")"; }
code() { get -o /dev/null -w '%{http_code}' "$1" || true; }
ready_is() { [ "$(code "$url/readyz")" = "$1" ]; }
gauge() { scrape | grep "^edgebucket_config_refused " | cut -d ' ' -f 2; }
is_kept() { grep -qF -- "$1" "$kept"; }

# With a state_dir, and metrics.
write_kept() {
	write_config
	sed -i "s|^state_dir: .*|state_dir: $dir/state|; s|^metrics: .*|metrics: 127.0.0.1:9464|" "$config"
}

listed() {
	cat <<- END
		  - { name: friends, match: { src_file: friends.txt }, action: allow }
		  - { name: ${1:-listed}, match: { src_file: lists/bad.txt }, action: deny }
	END
}

# The reboot that comes between: nothing in the kernel, nothing in run_dir.
reboot() {
	[ -z "$agent_pid" ] || kill_agent
	in_card ip link set dev card0 xdp off
	rm -rf "$pin_dir" "$dir/run"
}

# refused_start PATTERN: the agent ends, as there is nothing to take the file's place.
refused_start() {
	local status=0
	launch_agent
	wait "$agent_pid" || status=$?
	agent_pid=
	[ "$status" = 1 ] || fail "a start without a good configuration ended with $status"
	log_has "cannot start, the configuration is refused" || fail "no word of it: $(cat "$log")"
	log_has "$1" || fail "no \"$1\" in: $(cat "$log")"
}

# fallen_back PATTERN: says why, everywhere.
fallen_back() {
	log_has "level=error msg=\"the configuration is refused, enforcing the last one that was in force\".*$1" ||
		fail "the log does not say \"$1\""
	until_true "/readyz" ready_is 503
	get "$url/readyz" > "$dir/out" || true
	grep -q "the configuration is refused.*$1" "$dir/out" || fail "/readyz says $(cat "$dir/out")"
	[ "$(code "$url/healthz")" = 200 ] || fail "/healthz is not good: the interface is enforced"
	[ "$(gauge)" = 1 ] || fail "edgebucket_config_refused is $(gauge)"
	eb --json status 2> /dev/null | jq -er .config_refused | grep -q -- "$1" || fail "status does not say \"$1\""
	eb status 2> /dev/null | grep -q "Config: *refused at the start: .*$1" || fail "status does not say \"$1\""
}

all_is_well() {
	until_true "/readyz" ready_is 200
	[ "$(gauge)" = 0 ] || fail "edgebucket_config_refused is $(gauge)"
	status_is '.config_refused == null' || fail "status still shows: $(eb status)"
}

make_network
mkdir "$dir/lists"
kept=$dir/state/config.last
echo 10.9.9.0/24 > "$dir/friends.txt"
echo 10.9.0.0/16 > "$dir/lists/bad.txt"

# The first start has nothing to fall back to.
listed | write_kept
echo 192.0.2.858 >> "$dir/lists/bad.txt"
refused_start "bad.txt:2: .*192.0.2.858"
[ ! -e "$kept" ] || fail "what was never in force is kept"

# One bad line in a feed, then a reboot.
echo 10.9.0.0/16 > "$dir/lists/bad.txt"
start_agent
until_true "the configuration to be kept" is_kept 10.9.0.0/16
[ "$(stat -c '%a %U' "$kept")" = "600 root" ] || fail "$kept is $(stat -c '%a %U' "$kept")"
all_is_well
echo 192.0.2.858 >> "$dir/lists/bad.txt"
"$BUILD/edgebucketd" -c "$config" --check > /dev/null 2>&1 && fail "--check takes what was kept"
reboot
start_agent
fallen_back "bad.txt:2: .*192.0.2.858"
in_force "friends listed"
send 10.9.0.1 -n 7
equal "refused by the list that was kept" 7 rule listed drop.packets
send 10.9.9.9 -n 7
equal "passed by the list that was kept" 7 passed 10.9.9.9

# Neither a refused reload, nor a trial, nor its end makes it good; a reload of what is good does.
eb reload > /dev/null 2>&1 && fail "a reload took the bad list"
fallen_back 192.0.2.858
config=$dir/open.yaml write_kept <<< '  - { name: open, action: allow }'
done_well apply --confirm 10m "$dir/open.yaml"
in_force open
done_well rollback
in_force "friends listed"
fallen_back 192.0.2.858
done_well apply --confirm 10m "$dir/open.yaml"
reboot
start_agent
fallen_back 192.0.2.858
in_force "friends listed"
printf '10.9.0.0/16\n10.10.0.0/16\n' > "$dir/lists/bad.txt"
done_well reload
all_is_well
until_true "what was reloaded to be kept" is_kept 10.10.0.0/16

# No YAML: state_dir is found all the same. Of a configuration of another name nothing is kept there.
listed damaged | write_kept
echo "   - {" >> "$config"
reboot
start_agent
config=$dir/open.yaml fallen_back "edgebucket.yaml:[0-9]*: not valid YAML" # "edgebucket" takes places out of YAML
config=$dir/open.yaml in_force "friends listed"
listed damaged | config=$dir/other.yaml write_kept
echo "nonsense" >> "$dir/other.yaml"
reboot
config=$dir/other.yaml refused_start "other.yaml"

# What is confirmed is kept, with its lists as they were tried; so is what is applied for good.
listed confirmed | config=$dir/next.yaml write_kept
reboot
start_agent
config=$dir/open.yaml done_well apply --confirm 10m "$dir/next.yaml"
echo 10.11.0.0/16 > "$dir/lists/bad.txt"
! is_kept confirmed || fail "a trial is kept"
config=$dir/open.yaml done_well confirm
all_is_well
until_true "what was confirmed to be kept" is_kept confirmed
! is_kept 10.11.0.0/16 || fail "kept is a list that never was in force"
done_well apply "$dir/open.yaml"
until_true "what was applied to be kept" is_kept "name: open"

# Rules that only compiling refuses, and a damaged copy, are refused as well.
reboot
write_kept <<< '  - { name: open, action: allow, colour: blue }'
cp "$kept" "$dir/good"
truncate -s -1 "$kept"
refused_start "$kept: is damaged"
cp "$dir/good" "$kept"
chmod 666 "$kept"
refused_start "$kept: Operation not permitted"
chmod 600 "$kept"
start_agent
in_force open
stop_agent

# Killed at any step of keeping, the next start has the one before or the new one, whole.
for call in openat write fsync /^rename; do
	reboot
	cp "$dir/good" "$kept"
	listed killed | write_kept
	log=$dir/agent.log
	status=0
	{ timeout 60 nsenter --net="/var/run/netns/$card" strace -f -qq -o /dev/null -P "$kept.new" \
		-e inject="$call:signal=KILL" "$BUILD/edgebucketd" -c "$config" 2> "$log" 9>&-; } 2> /dev/null || status=$?
	[ $status = 137 ] || fail "not killed at $call: $status"
	reboot
	echo "nonsense" >> "$config"
	start_agent
	config=$dir/open.yaml rules_are open || config=$dir/open.yaml rules_are "friends killed" ||
		fail "killed at $call: in force are $(eb -c "$dir/open.yaml" rules)"
	stop_agent
done

# A watched list that came into force since is part of what is kept; what is wrong with it now is not.
reboot
listed | sed 's/bad.txt }/bad.txt, watch: true }/' | write_kept
start_agent
echo 10.12.0.0/16 > "$dir/lists/bad.txt"
until_true "a watched list to be kept" is_kept 10.12.0.0/16
echo 192.0.2.858 > "$dir/lists/bad.txt"
log=$dir/agent.log wait_log 'a list changed but cannot be put into force, its previous content stays.*192.0.2.858'
reboot
start_agent
fallen_back "bad.txt:1: .*192.0.2.858"
[ "$(eb --json explain 10.12.0.1 | jq -r .rule)" = listed ] || fail "the list before is in force: $(eb rules)"
echo 10.13.0.0/16 > "$dir/lists/bad.txt"
done_well reload
all_is_well
