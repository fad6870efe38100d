#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The unit under a real systemd, as `make install` puts it there: start, reload, restart, watchdog, stop, the sandbox, and
# the priorities in the journal.
# shellcheck source=machine.sh
. "$(dirname "$0")/machine.sh"

make -s -C "$source_dir" install DESTDIR="$root" > /dev/null || fail "make install"
mkdir -p "$root/etc/systemd/system/edgebucketd.service.d"
printf '[Service]\nWatchdogSec=2s\nRestartSec=100ms\n' > "$root/etc/systemd/system/edgebucketd.service.d/test.conf"
in_machine systemctl daemon-reload

say "without a configuration it is skipped"
in_machine systemctl start edgebucketd || fail "start without a configuration"
unit_is ConditionResult no || fail "it started without a configuration"
unit_is ActiveState inactive || fail "without a configuration it is $(in_machine systemctl is-active edgebucketd)"

say "a bad configuration is told, and tried again"
configure nonsense
if in_machine systemctl start edgebucketd 2> "$dir/error"; then
	fail "it started with a bad configuration"
fi
until_true "the journal to name file and line" journal_has 3 "edgebucket.yaml:8"

say "start"
configure 20
until_true "the next attempt" unit_is ActiveState active
[ -n "$(prog_on card0)" ] || fail "it was ready before the program was attached"
status_is '.agent.running and .interfaces[0].attached' || fail "status: $(eb --json status)"
journal_has 6 attached || fail "no line of priority 6"
journal_has 6 "dropped privileges" || fail "it does not say what it may do"
drain 10.8.0.1

say "reload"
configure 50
in_machine systemctl reload edgebucketd || fail "reload"
drain_more() { send 10.8.0.2 -n 60; counted limited 10.8.0.2 50 10; }
drain_more
configure twenty
if in_machine systemctl reload edgebucketd 2> "$dir/error"; then
	fail "a refused reload succeeded"
fi
unit_is ActiveState active || fail "a refused reload ended the agent"
journal_has 3 twenty || fail "a refused reload is no error in the journal"
configure 20
in_machine systemctl reload edgebucketd || fail "reload after one that was refused"

say "apply"
sed 's/burst: 20/burst: 60/' "$root/etc/edgebucket/edgebucket.yaml" > "$root/root/new.yaml"
eb apply --confirm 60s /root/new.yaml > /dev/null || fail "apply"
eb confirm > /dev/null || fail "confirm"
grep -q 'burst: 60' "$root/etc/edgebucket/edgebucket.yaml" || fail "the configuration was not replaced"
configure 20
in_machine systemctl reload edgebucketd || fail "reload after apply"

say "restart"
drain 10.8.0.3
keeps 10.8.0.3 in_machine systemctl restart edgebucketd

# replaced SIGNAL: waits until systemd has another agent for the one that gets it.
replaced() {
	local pid
	pid=$(main_pid)
	in_machine systemctl kill --signal="$1" edgebucketd
	until_true "another agent" another_pid "$pid"
}

say "an agent that hangs is restarted"
keeps 10.8.0.3 replaced STOP
journal_has 4 "Failed with result 'watchdog'" || fail "the watchdog did not say so"

say "an agent that is killed is restarted"
keeps 10.8.0.3 replaced KILL

say "the sandbox"
pid=$(main_pid)
in_agent() { in_machine nsenter --target "$pid" --mount "$@"; }
for path in /usr/local/sbin /etc /var /sys/kernel /proc/sys/kernel; do
	if in_agent test -w "$path"; then
		fail "the agent could write to $path"
	fi
done
for path in /sys/fs/bpf/edgebucket /var/lib/edgebucket /run/edgebucket /etc/edgebucket; do
	in_agent test -w "$path" || fail "the agent could not write to $path"
done

say "stop"
keeps 10.8.0.3 in_machine systemctl stop edgebucketd
[ -n "$(prog_on card0)" ] || fail "a stop took the program off"
[ -e "$root/var/lib/edgebucket/buckets.mdb" ] || fail "a stop left no buckets"
in_machine test -e /run/edgebucket || fail "a stop removed run_dir"
keeps 10.8.0.3 in_machine systemctl start edgebucketd
eb detach > /dev/null || fail "detach"
