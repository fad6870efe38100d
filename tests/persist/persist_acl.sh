#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The agent with exactly the rights that deploy/redis/edgebucket.acl gives, and nobody else let in but the test. Its
# password shows up nowhere. One right missing is reported, and made up for when it is granted.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

password=sesame-$RANDOM$RANDOM
acl=$(dirname "$0")/../../deploy/redis/edgebucket.acl
hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
redis() { redis-cli -s "$redis_socket" --user admin --pass admin --no-auth-warning "$@"; }
{
	grep '^user ' "$acl" | sed "s/#0\{64\}/#$hash/"
	echo 'user admin on >admin ~* &* +@all'
	echo 'user default off'
} > "$dir/users.acl"
grep -q "#$hash" "$dir/users.acl" || fail "no user in $acl"

printf '%s\n' "$password" > "$dir/password"
chmod 644 "$dir/password"
redis_settings="  username: edgebucket
  password_file: $dir/password
  restore_timeout: 500ms"
start_redis --aclfile "$dir/users.acl"
slow_rules | persist_config
start_agent --log-level debug
log_has "password" || fail "a password file that all may read is not warned of"
send 10.8.0.1 -n 40
send 2001:db8:8::1 -n 30
send 10.9.0.1 -n 40
wait_mirrored
eb ban 192.0.2.7 > /dev/null || fail "ban"
send 10.8.0.1 -n 1
# In debt for a tick, and then full.
removed_before=$(calls hdel) # each connection begins with one that removes nothing
was_removed() { [ "$(calls hdel)" != "$removed_before" ] || { send 10.9.0.1 -n 100 && sleep 0.3 && false; }; }
until_true "what became full to be removed" was_removed

# Everything again: restore, tick, flush, cleaning, meta data, shutdown.
chmod 600 "$dir/password"
power_cut
start_agent --log-level debug
! log_has "password_file" || fail "a password file that only its owner may read is warned of"
log_has '"buckets restored".* restored=2 ' || fail "nothing restored"
log_has '"bans restored".* restored=1 ' || fail "no ban restored"
eb unban 192.0.2.7 > /dev/null || fail "unban"
eb flush > /dev/null || fail "flush"
wait_mirrored
until_true "the cleaning" eval '[ "$(calls hscan)" -ge 3 ]'
redis acl log | grep -q . && fail "a right was missing: $(redis acl log)"

# The password is nowhere.
hidden() {
	! grep -q "$password" "$log" || fail "the password is in the log"
	! eb --json status | grep -q "$password" || fail "the password is in the status"
	! eb status | grep -q "$password" || fail "the password is in the status"
	! tr '\0' ' ' < "/proc/$agent_pid/cmdline" | grep -q "$password" || fail "the password is in the command line"
}
hidden

# One right missing, and back.
last=10
for right in hset hdel hscan hlen hgetall pexpire ping; do
	reboot
	last=$((last + 1))
	redis acl setuser edgebucket "-$right" > /dev/null
	start_agent
	send "10.8.0.$last" -n "$last"
	send 10.9.0.1 -n 60
	if [ $right != ping ] && [ $right != hdel ]; then # a server that answers at all is there
		until_true "$right to be missed" eval 'eb --json status | jq -r .redis.last_error | grep -q NOPERM'
	fi
	redis acl setuser edgebucket "+$right" > /dev/null
	until_true "the restore" status_is '.restore.state == "done"'
	wait_mirrored
	equal "tokens without $right for a while" 60 eval 'tokens 10.8.0.1/32 | sed s/59/60/'
done

# A wrong password, repeated by nobody.
power_cut
printf '%s\n' "$password-wrong" > "$dir/password"
start_agent --log-level debug
until_true "the refusal" eval 'eb --json status | jq -r .redis.last_error | grep -q "refused the user name or password"'
hidden
send 10.8.3.1 -n 110
counted slow 10.8.3.1 100 10
# The right one needs neither a restart nor a reload, and what could not be read meanwhile is not lost.
printf '%s\n' "$password" > "$dir/password"
until_true "the late restore" status_is '.restore.state == "done"'
equal "a bucket from before" "$((100 - last))" tokens "10.8.0.$last/32"

# Another password in Redis and then in the file; rules change while there is no file at all.
rm "$dir/password"
sed -i 's/burst: 100 }/burst: 50 }/' "$config"
eb reload > /dev/null || fail "a reload was refused for want of the password's file"
log_has "cannot be read: No such file" || fail "the missing file is not warned of"
equal "a burst of the new rules" 50 eval 'bucket 10.8.3.1/32 .packets.burst'
redis acl setuser edgebucket resetpass ">$password-2" > /dev/null
redis client kill user edgebucket > /dev/null
until_true "the old one to be refused" eval 'eb --json status | jq -r .redis.last_error | grep -q "refused the user"'
printf '%s\n' "$password-2" > "$dir/password"
until_true "the new password to serve" store_is_up redis
wait_mirrored
hidden
