#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An agent that is killed at any step of writing a configuration that was applied: the file has the text before or the
# new one, whole, with the one before it in .previous; the next start takes it, and an apply that succeeds tidies up.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rule_is() { [ "$(eb --json rules | jq -r .[].name)" = "$1" ]; }
text_of() { sed -n 's/.*name: \([a-z0-9-]*\),.*/\1/p' "$1"; }
is_whole() { cmp -s "$1" "$dir/$(text_of "$1").yaml"; }

# make_text NAME: a configuration with this rule.
make_text() { config=$dir/$1.yaml write_config <<< "  - { name: $1, action: allow }"; }

# launch_killed CALL N: an agent that is killed as it makes this system call for what it writes beside the file for the
# Nth time.
launch_killed() {
	local beside=$dir/etc/.edgebucket.yaml
	log=$dir/agent.log
	: > "$log"
	nsenter --net="/var/run/netns/$card" strace -qq -o /dev/null -P "$beside.replacing" -P "$beside.replaced" \
		-e inject="$1:signal=KILL:when=$2" "$BUILD/edgebucketd" -c "$config" 2> "$log" 9>&- &
	agent_pid=$!
	wait_log "msg=attached interface=card0 "
}

# killed_at CALL N: fails when an apply has no Nth such call any more. Begins with what the kill before left.
killed_at() {
	local was_killed=true before previous now
	before=$(text_of "$config") previous=$(text_of "$config.previous")
	applied=text-$((++applies))
	make_text "$applied"
	launch_killed "$1" "$2"
	rule_is "$before" || fail "in force is not $before: $(eb rules)"
	! eb apply "$dir/$applied.yaml" > /dev/null 2>&1 || was_killed=false
	$was_killed || kill -KILL "$(cut -d ' ' -f 1 "$dir/run/edgebucketd.lock")"
	{ wait "$agent_pid" || true; } 2> /dev/null
	is_whole "$config" || fail "killed at $1 $2: half a file: $(cat "$config")"
	is_whole "$config.previous" || fail "killed at $1 $2: half a file: $(cat "$config.previous")"
	now="$(text_of "$config") $(text_of "$config.previous")"
	case $now in
	"$applied $before") ;;
	"$before $previous" | "$before $before") $was_killed || fail "not applied: $now" ;;
	*) fail "killed at $1 $2: the file and the one before are $now" ;;
	esac
	$was_killed
}

make_network
mkdir "$dir/etc"
config=$dir/etc/edgebucket.yaml
make_text text-0
cp "$dir/text-0.yaml" "$config"
cp "$dir/text-0.yaml" "$config.previous"
applies=0
for call in /^open /^fchmod write /^link /^rename; do
	n=1
	while killed_at "$call" $n; do n=$((n + 1)); done
	say "killed at each of $((n - 1)) calls of $call"
	[ $n -gt 1 ] || fail "never killed at $call"
	[ "$(find "$dir/etc" -type f | wc -l)" = 2 ] || fail "left after an apply: $(ls -A "$dir/etc")"
done
