#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A configuration on trial: it takes itself back unless it is confirmed, is gone with the agent, and leaves the agent's
# file alone until then; no bucket is refilled by any of that.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

limited() {
	cat <<- END
		  - name: limited
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
	END
}

# try FILE: rules from stdin, as a configuration of its own beside nothing of the agent's.
try() { config=$1 write_config; }

rules_are() { [ "$(eb --json rules | jq -r '[.[].name] | join(" ")')" = "$1" ]; }
in_force() { rules_are "$1" || fail "in force are not $1: $(eb rules)"; }

# done_well COMMAND...: its output in $dir/out.
done_well() { eb "$@" > "$dir/out" 2>&1 || fail "$*: exit code $?: $(cat "$dir/out")"; }

# refused CODE PATTERN COMMAND...
refused() {
	local want=$1 pattern=$2 got=0
	shift 2
	eb "$@" > "$dir/out" 2>&1 || got=$?
	[ $got = "$want" ] || fail "$*: exit code $got, expected $want: $(cat "$dir/out")"
	grep -q -- "$pattern" "$dir/out" || fail "$*: no \"$pattern\" in: $(cat "$dir/out")"
}

pending() { status_is ".pending.file == \"$1\" and .pending.seconds_left > 0"; }
nothing_pending() { status_is '.pending == null'; }
untouched() { cmp -s "$config" "$dir/original.yaml" || fail "$1 changed the agent's file"; }
at_rest() { [ "$(passed "$1")" = "$passed_before" ]; }

make_network
mkdir "$dir/etc" "$dir/new"
config=$dir/etc/edgebucket.yaml
limited | write_config
chmod 640 "$config"
cp "$config" "$dir/original.yaml"
try "$dir/new/open.yaml" <<< '  - { name: open, action: allow }'
try "$dir/new/shut.yaml" <<< '  - { name: shut, match: { src: [10.9.0.0/16] }, action: deny }'
interfaces=card1,nowhere try "$dir/new/other.yaml" <<< '  - { name: open, action: allow }'
add_link card1 far1
up card1 far1
start_agent
refused 1 "nothing awaits a confirmation" confirm
refused 1 "nothing awaits a confirmation" rollback
send 10.8.0.1 -n 30
counted limited 10.8.0.1 20 10

# Not confirmed: in force for its time, under fire, then taken back, and the bucket is as empty as before.
start_fire 10.8.0.1
until_true "refusals" is_empty 10.8.0.1/32
done_well apply "$dir/new/open.yaml" --confirm 2s
wait_log "rolled back.* reason=\"not confirmed in time\" file=[^ ]*open.yaml rules=1 config=$config"
passed_before=$(passed 10.8.0.1)
stop_fire
[ "$passed_before" -gt 20 ] || fail "the configuration on trial was not in force"
equal "passed after it was taken back" "$passed_before" passed 10.8.0.1
in_force limited
nothing_pending || fail "status still shows something pending"
untouched "a trial"
refused 1 "nothing awaits a confirmation; $dir/new/open.yaml was not confirmed in time" confirm

# While it waits: shown, no reload, and what is wrong elsewhere changes nothing.
done_well apply --confirm 10m "$dir/new/open.yaml"
grep -q 'open.yaml: 1 rules in force for 600s' "$dir/out" || fail "apply said: $(cat "$dir/out")"
pending "$dir/new/open.yaml" || fail "status does not show it: $(eb --json status)"
eb status | grep -q 'Pending:.*open.yaml waits for "edgebucket confirm", rolled back otherwise in [0-9]*s' ||
	fail "status does not say it: $(eb status)"
refused 1 "no reload while $dir/new/open.yaml awaits its confirmation, for another [0-9]*s" reload
kill -HUP "$agent_pid"
wait_log "no reload while .*open.yaml"
try "$dir/new/bad.yaml" <<< '  - { name: open, action: allow, colour: blue }'
refused 1 'bad.yaml:[0-9]*: .*colour' apply --confirm 10s "$dir/new/bad.yaml"
pending "$dir/new/open.yaml" || fail "a refused apply ended the trial"

# Another one in its place: what goes back into force is what was confirmed last.
done_well apply --confirm 10m "$dir/new/shut.yaml"
in_force shut
done_well rollback
grep -q "rolled back: 1 rules of $config in force again" "$dir/out" || fail "rollback said: $(cat "$dir/out")"
in_force limited
untouched "a rollback"
send 10.8.0.1 -n 5
equal "passed after a rollback" "$passed_before" passed 10.8.0.1

# Confirmed is what was in force, whatever became of the file since; the agent's file keeps its mode, and the text before
# it stays beside it.
cp "$dir/new/shut.yaml" "$dir/shut.yaml"
done_well apply --confirm 10m "$dir/new/shut.yaml"
echo "nonsense" > "$dir/new/shut.yaml"
done_well confirm
cmp "$config" "$dir/shut.yaml" || fail "the agent's file is not what was in force"
cmp "$config.previous" "$dir/original.yaml" || fail "the file before is not kept"
[ "$(stat -c %a "$config")" = 640 ] || fail "the agent's file has mode $(stat -c %a "$config")"
[ "$(find "$dir/etc" -type f | wc -l)" = 2 ] || fail "left behind: $(ls -a "$dir/etc")"
done_well reload
in_force shut
stop_agent
start_agent
in_force shut

# For good at once: back to what was there before.
done_well apply "$config.previous"
in_force limited
untouched "apply of the previous file"
cmp "$config.previous" "$dir/shut.yaml" || fail "the file before is not kept"
send 10.8.0.1 -n 5
equal "passed after all that" "$passed_before" passed 10.8.0.1

# The agent ends before the confirmation: stopped, it takes back what was not confirmed; killed, the next one does.
done_well apply --confirm 10m "$dir/new/open.yaml"
stop_agent
in_force limited
start_agent
done_well apply --confirm 10m "$dir/new/open.yaml"
kill_agent
in_force open
start_agent
in_force limited
nothing_pending || fail "a trial outlived its agent"
untouched "a trial that its agent did not outlive"
send 10.8.0.1 -n 5
equal "passed after the agent's ends" "$passed_before" passed 10.8.0.1

# A trial of other interfaces: back to the ones before, also by the next agent.
attached() { [ -n "$(prog_on "$1")" ]; }
only_on() { attached "$1" && ! attached "$2" || fail "$3: $1 \"$(prog_on "$1")\", $2 \"$(prog_on "$2")\""; }
done_well apply --confirm 10m "$dir/new/other.yaml"
only_on card1 card0 "a trial of card1"
done_well rollback
only_on card0 card1 "a trial of card1, taken back"
! log_has "cannot detach" || fail "an interface that never was there cannot be detached from"
done_well apply --confirm 10m "$dir/new/other.yaml"
kill_agent
only_on card1 card0 "a trial of card1, killed"
start_agent
wait_log 'msg="detached, no longer one of interfaces" interface=card1'
only_on card0 card1 "the next agent"

# Who detaches meanwhile means it.
done_well apply --confirm 10m "$dir/new/open.yaml"
done_well detach
done_well rollback
in_force limited
[ -z "$(prog_on card0)" ] || fail "a rollback attached what was detached"
done_well apply --confirm 10m "$dir/new/open.yaml"
has_program() { [ -n "$(prog_on card0)" ]; }
until_true "apply to attach" has_program
done_well rollback
[ -z "$(prog_on card0)" ] || fail "detached before the trial, attached after it"
done_well reload

# Relative paths mean the same before and after: they begin beside the agent's file.
echo 10.9.0.0/16 > "$dir/etc/list.txt"
echo 10.10.0.0/16 > "$dir/new/list.txt"
try "$dir/new/list.yaml" <<< '  - { name: listed, match: { src_file: list.txt }, action: deny }'
done_well apply --confirm 10m "$dir/new/list.yaml"
send 10.9.0.1 -n 7
equal "refused by the list on trial" 7 rule listed drop.packets
done_well confirm
done_well reload
send 10.9.0.1 -n 7
send 10.10.0.1 -n 7
equal "refused by the list that was confirmed" 14 rule listed drop.packets
equal "passed beside it" 7 passed 10.10.0.1

# What apply refuses is what check and reload refuse, and changes nothing.
cp "$config" "$dir/original.yaml"
eb check "$dir/new/bad.yaml" 2> "$dir/check" && fail "check accepts bad.yaml"
refused 1 "$(sed 's/edgebucket: //; s/[][\\.*]/\\&/g' "$dir/check")" apply "$dir/new/bad.yaml"
refused 1 "nothing.yaml: cannot be read: No such file" apply "$dir/new/nothing.yaml"
table_size=131072 try "$dir/new/large.yaml" <<< '  - { name: open, action: allow }'
refused 1 'table_size cannot change.*restart' apply --confirm 10s "$dir/new/large.yaml"
chgrp adm "$config"
refused 1 "$config cannot be replaced: Operation not permitted; its owner and group must be root" \
	apply --confirm 10s "$dir/new/open.yaml"
chgrp root "$config"
[ "$(find "$dir/etc" -name '*.yaml.*')" = "$config.previous" ] || fail "left behind: $(ls -a "$dir/etc")"
cp "$config" "$dir/new/same.yaml"
refused 1 "same.yaml has the same content as $config" apply --confirm 10s "$dir/new/same.yaml"
done_well apply "$config"
for time in 0s 999ms 25h 60 soon; do
	refused 2 -- "--confirm: \"$time\" is" apply --confirm $time "$dir/new/open.yaml"
done
refused 2 "apply needs a file" apply --confirm 1h
untouched "what was refused"
nothing_pending || fail "something refused is pending"
in_force listed

# Who would cut off his own session is told before, also where sudo took the variable away.
try "$dir/new/lockout.yaml" <<- 'END'
	  - { name: office, match: { src: [10.9.1.0/24] }, action: allow }
	  - { name: shut, match: { src: [10.9.0.0/16, "2001:db8:9::/48"], proto: [tcp, udp], dport: 22 }, action: deny }
END
warns() { grep -q "lockout.yaml:[0-9]*: rule \"shut\" denies $1, the address of this session; .*--confirm" "$dir/error"; }
export SSH_CONNECTION="10.9.0.7 50022 10.7.0.1 22"
eb check "$dir/new/lockout.yaml" > /dev/null 2> "$dir/error"
warns 10.9.0.7 || fail "check does not warn: $(cat "$dir/error")"
eb apply --confirm 10m "$dir/new/lockout.yaml" > /dev/null 2> "$dir/error"
warns 10.9.0.7 || fail "apply does not warn: $(cat "$dir/error")"
done_well rollback
eb -c "$dir/new/lockout.yaml" reload > /dev/null 2> "$dir/error"
warns 10.9.0.7 || fail "reload does not warn: $(cat "$dir/error")"
# shellcheck disable=SC2016 # for that shell
bash -c 'env -u SSH_CONNECTION "$@"; true' sudo "$BUILD/edgebucket" check "$dir/new/lockout.yaml" > /dev/null 2> "$dir/error"
warns 10.9.0.7 || fail "check below a session does not warn: $(cat "$dir/error")"
SSH_CONNECTION="2001:db8:9::7 50022 2001:db8:7::1 22" eb check "$dir/new/lockout.yaml" > /dev/null 2> "$dir/error"
warns 2001:db8:9::7 || fail "check does not warn of IPv6: $(cat "$dir/error")"
for other in "10.9.1.7 50022 10.7.0.1 22" "10.9.0.7 50022 10.7.0.1 2222" "10.8.0.7 50022 10.7.0.1 22" "nonsense"; do
	SSH_CONNECTION=$other eb check "$dir/new/lockout.yaml" > /dev/null 2> "$dir/error"
	! grep -q "this session" "$dir/error" || fail "\"$other\" is not denied: $(cat "$dir/error")"
done
unset SSH_CONNECTION

# A name that is not UTF-8, which JSON cannot have as it is, is shown as its bytes.
cp "$dir/new/open.yaml" "$dir/new/"$'latin-\xff.yaml'
done_well apply --confirm 1m "$dir/new/"$'latin-\xff.yaml'
grep -qF 'latin-\xff.yaml: 1 rules in force for 60s' "$dir/out" || fail "apply said: $(cat "$dir/out")"
pending "$dir/new/latin-\\\\xff.yaml" || fail "status does not show it: $(eb --json status)"
done_well rollback

# A pipe is as good as a file, and the answer a document.
eb --json apply --confirm 1m /dev/stdin < <(cat "$dir/new/open.yaml") > "$dir/out" 2> "$dir/error" ||
	fail "apply from a pipe: $(cat "$dir/error")"
jq -e '.ok and .rules == 1 and .confirm_seconds == 60 and (.warnings | length) == 1' "$dir/out" > /dev/null ||
	fail "the answer is $(cat "$dir/out")"
eb --json rollback | jq -e '.ok and .rules == 1' > /dev/null || fail "rollback --json"

# A file that is mounted by itself cannot be replaced, which is known before; and when somebody replaces it where it comes
# from, it stays what it was.
stop_agent
cp "$config" "$dir/outside.yaml"
mount --bind "$dir/outside.yaml" "$config"
start_agent
got=0
eb apply --confirm 10m "$dir/new/open.yaml" 2> "$dir/trial" || got=$?
eb reload > "$dir/as-it-was" 2>&1 || got=reload
sed -i 's/^rules:/# changed\n&/' "$dir/outside.yaml"
eb reload > "$dir/replaced" 2>&1 || got=reload
stop_agent
umount "$config"
[ "$got" = 1 ] || fail "apply where the file is a mount: $got"
grep -q "$config cannot be replaced: it is mounted as a single file.*mount its directory" "$dir/trial" ||
	fail "apply said: $(cat "$dir/trial")"
! grep -q "which was replaced" "$dir/as-it-was" || fail "a file that is as it was: $(cat "$dir/as-it-was")"
grep -q "warning: $config: is mounted as a single file, which was replaced" "$dir/replaced" ||
	fail "no warning of a file that was replaced outside: $(cat "$dir/replaced")"

# Nothing can be confirmed where nothing can be written.
mount --bind "$dir/etc" "$dir/etc"
mount -o remount,bind,ro "$dir/etc"
start_agent
got=0
eb apply --confirm 10s "$dir/new/open.yaml" > "$dir/out" 2>&1 || got=$?
stop_agent
umount "$dir/etc"
[ $got = 1 ] || fail "apply where nothing can be written: exit code $got"
grep -q "$config cannot be replaced: Read-only file system to this process" "$dir/out" || fail "apply said: $(cat "$dir/out")"
