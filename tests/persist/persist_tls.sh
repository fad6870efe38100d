#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Redis with TLS and a password: what it holds comes back after program and maps are lost. A server whose certificate is
# from somebody else gets no command; packets are limited all the same, and the status says why.
# shellcheck source=../lib/redis_servers.sh
. "$(dirname "$0")/../lib/redis_servers.sh"

password=sesame-$RANDOM$RANDOM
redis() {
	REDISCLI_AUTH=$password in_card redis-cli -p "$port" --tls --cacert "$dir/authority.crt" --no-auth-warning "$@"
}

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

make_authority() {
	openssl req -x509 "${new_key[@]}" -days 30 -subj "/CN=$1" -keyout "$dir/$1.key" -out "$dir/$1.crt"
}

make_certificate() {
	openssl req "${new_key[@]}" -subj "/CN=$1" -keyout "$dir/$1.key" -out "$dir/$1.csr"
	echo 'subjectAltName=IP:127.0.0.1' > "$dir/$1.ext"
	openssl x509 -req -in "$dir/$1.csr" -CA "$dir/authority.crt" -CAkey "$dir/authority.key" -CAcreateserial \
		-days 10 -extfile "$dir/$1.ext" -out "$dir/$1.crt"
}

for made in "authority authority" "authority stranger" "certificate server"; do
	"make_${made% *}" "${made#* }" > "$dir/openssl" 2>&1 || fail "openssl: $(cat "$dir/openssl")"
done
(umask 077 && printf '%s\n' "$password" > "$dir/password")
launch_server "$port" --port 0 --tls-port "$port" --bind 127.0.0.1 --save '' --appendonly no \
	--tls-cert-file "$dir/server.crt" --tls-key-file "$dir/server.key" --tls-ca-cert-file "$dir/authority.crt" \
	--tls-auth-clients no --requirepass "$password"
until_true "the server with TLS" redis_answers

# The configuration with this authority.
trust() {
	slow_rules | persist_config
	cat >> "$config" <<- END
		redis:
		  host: 127.0.0.1
		  port: $port
		  tls: { ca: $dir/$1.crt }
		  password_file: $dir/password
		  tick: $tick
		  restore_timeout: 2s
	END
}

trust authority
start_agent
start_counted_fire
send 10.8.0.1 -n 40
send 2001:db8:8::1 -n 30
wait_mirrored
store_is_up redis || fail "Redis is there, but said to be away"
stop_counted_fire

power_cut
start_agent
log_has " restored=3 " || fail "$(grep restored "$log")"
equal "tokens after a restore" 60 tokens 10.8.0.1/32
equal "tokens after a restore" 70 tokens 2001:db8:8::/64
equal "tokens after a restore" 0 tokens "$fired/32"
wait_mirrored

# Somebody else's certificate: no command comes to this server, and no packet more than allowed.
power_cut
trust stranger
held=$(redis hgetall "$key")
commands=$(calls hset hdel pexpire hscan)
start_agent
refused() { eb --json status | jq -r .redis.last_error | grep -q "certificate was refused"; }
until_true "the status to name the certificate" refused
! store_is_up redis || fail "up with somebody else's certificate"
fired=10.8.1.2
start_counted_fire
send 10.8.0.1 -n 10
still_limited "without Redis"
! eb flush > /dev/null 2>&1 || fail "a flush that Redis did not get is said to be done"
stop_counted_fire
[ "$(redis hgetall "$key")" = "$held" ] || fail "written in spite of somebody else's certificate"

[ "$(calls hset hdel pexpire hscan)" = "$commands" ] || fail "a command in spite of somebody else's certificate"

# The right authority again: what was owed before is owed again, beside what is owed since.
stop_agent
trust authority
start_agent
until_true "the late restore" status_is '.restore.state == "done"'
equal "40 and 10 tokens" 50 tokens 10.8.0.1/32
equal "tokens that only Redis knew" 70 tokens 2001:db8:8::/64
wait_mirrored
