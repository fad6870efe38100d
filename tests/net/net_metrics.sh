#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Metrics as curl and a real Prometheus see them: what promtool says of them, values equal to what the command line
# shows, health and readiness, the addresses that can be listened at; and that slow, many and malformed clients hurt
# nobody.
# shellcheck source=../lib/prometheus.sh
. "$(dirname "$0")/../lib/prometheus.sh"
need curl prometheus promtool redis-server python3

code() { get -o /dev/null -w '%{http_code}' "$@" || true; }

# serve_at ADDRESS: into the configuration.
serve_at() { sed -i "s|^metrics: .*|metrics: '$1'|" "$config"; }

# What `edgebucket rules` counts, as samples.
rules_as_samples() {
	eb --json rules | jq -r '.[] | .name as $rule | .counters | to_entries[] |
		"edgebucket_packets_total{rule=\"\($rule)\",verdict=\"\(.key)\"} \(.value.packets)",
		"edgebucket_bytes_total{rule=\"\($rule)\",verdict=\"\(.key)\"} \(.value.bytes)"' | sort
}

samples_of_rules() { scrape | grep -E '^edgebucket_(packets|bytes)_total' | sort; }

# In one scrape, as every tick asks Redis something.
writes_add_up() {
	scrape | grep -E '^redis_latency_seconds_(count\{op="write"|bucket\{op="write",le="\+Inf")\} ' |
		awk '{ value[NR] = $2 } END { exit NR != 2 || value[1] != value[2] }'
}

# state_of ALERT: inactive, pending or firing.
state_of() {
	get "$prometheus/api/v1/rules" |
		jq -r --arg name "$1" '.data.groups[].rules[] | select(.name == $name) | .state'
}

# A server that takes connections and says nothing, in the background. Sets silent_pid.
start_silent() {
	nsenter --net="/var/run/netns/$card" python3 -c '
import signal, socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
signal.pause()' "$1" "$2" 9>&- &
	silent_pid=$!
	until_true "port $2" is_listening "$2"
}

stop_silent() {
	kill -KILL "$silent_pid"
	wait "$silent_pid" 2> /dev/null || true
}

check_rules() {
	promtool check rules "$deploy/prometheus/rules.yaml" || fail "promtool check rules"
	(cd "$deploy/prometheus" && promtool test rules rules_test.yaml) || fail "promtool test rules"
}

# Every name of the contract has HELP and TYPE, and promtool finds nothing to complain of.
check_exposition() {
	local name type
	scrape > "$dir/metrics"
	promtool check metrics < "$dir/metrics" > "$dir/out" 2>&1 || fail "promtool check metrics: $(cat "$dir/out")"
	[ ! -s "$dir/out" ] || fail "promtool check metrics says $(cat "$dir/out")"
	while read -r name type; do
		grep -q "^# HELP $name ." "$dir/metrics" || fail "no HELP of $name"
		grep -q "^# TYPE $name $type\$" "$dir/metrics" || fail "$name is no $type"
	done <<- END
		redis_latency_seconds histogram
		openclaw_fallback_writes_total counter
		openclaw_fallback_reads_seconds histogram
		edgebucket_packets_total counter
		edgebucket_bytes_total counter
		edgebucket_frames_total counter
		edgebucket_bans gauge
		edgebucket_banned_packets_total counter
		edgebucket_attached gauge
		edgebucket_detached gauge
		edgebucket_buckets gauge
		edgebucket_table_size gauge
		edgebucket_redis_up gauge
		edgebucket_mirror_lag_seconds gauge
		edgebucket_mirror_writes_total counter
		edgebucket_mirror_fields_total counter
		edgebucket_mirror_errors_total counter
		edgebucket_restored_buckets gauge
		edgebucket_restore_age_seconds gauge
		edgebucket_reload_failures_total counter
		edgebucket_build_info gauge
	END
}

# Descriptors of the agent: what a client can hold of it.
descriptors() { find "/proc/$agent_pid/fd" -type l | wc -l; }

# start_slow COUNT KIND, in the background: connections that say nothing, that say it one byte a quarter second, or that
# ask and do not read. They hold on until they are killed. Sets slow_pid.
start_slow() {
	: > "$dir/slow"
	nsenter --net="/var/run/netns/$card" python3 - "$@" > "$dir/slow" 9>&- <<- 'END' &
		import socket, sys, time
		count, kind = int(sys.argv[1]), sys.argv[2]
		clients = []
		for i in range(count):
		    client = socket.socket()
		    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
		    client.connect(("127.0.0.1", 9464))
		    clients.append(client)
		    if kind == "deaf":
		        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		print("open", flush=True)
		while True:
		    time.sleep(0.25)
		    for client in clients if kind == "dribbling" else []:
		        try:
		            client.send(b"G")
		        except OSError:
		            pass
	END
	slow_pid=$!
	until_true "slow clients" grep -q open "$dir/slow"
}

# While slow clients of a kind hold on: scrapes, the command line and the limits work; and in the end they hold nothing.
survive_slow() {
	local kind=$1 count=200 before
	before=$(descriptors)
	start_slow $count "$kind"
	for _ in 1 2 3; do
		equal "a scrape beside $count $kind clients" 200 code --max-time 1 "$url/metrics"
		status_is .agent.running || fail "no status beside $count $kind clients"
	done
	within "descriptors with $kind clients" 0 $((before + 128)) "$(descriptors)"
	equal "descriptors after a while, with $kind clients" "$before" descriptors
	equal "a scrape after it" 200 code --max-time 1 "$url/metrics"
	kill -KILL "$slow_pid" 2> /dev/null || fail "the $kind clients ended by themselves"
	wait "$slow_pid" 2> /dev/null || true
}

# malformed WHAT, bytes on stdin: whatever the reply is, the next client is served.
malformed() {
	in_card python3 -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", 9464), 10)
try:
    s.sendall(sys.stdin.buffer.read())
    s.shutdown(socket.SHUT_WR)
    while s.recv(65536):
        pass
except TimeoutError:
    raise
except OSError:
    pass' || fail "$1: no end of the connection"
	agent_runs || fail "$1: the agent is gone"
	equal "a scrape after $1" 200 code "$url/metrics"
}

rules() {
	cat <<- END
		  - { name: office, match: { src: [10.9.0.0/16] }, action: allow }
		  - name: everyone
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
		  - name: watched
		    match: { src: [10.7.128.0/17] }
		    action: limit
		    packets: { rate: 1/h, burst: 5 }
		    mode: monitor
	END
}

check_rules
make_network

# A store that does not answer: ready once the restore is decided, and enforced then.
settings='redis: { host: 127.0.0.1, port: 6379, restore_timeout: 10s, connect_timeout: 20s }'
start_silent 127.0.0.1 6379
rules | write_config
sed -i '/^metrics:/d' "$config"
launch_agent
wait_log "metrics are served.* address=127.0.0.1:9464"
equal "readyz while restoring" 503 code "$url/readyz"
equal "healthz while restoring" 503 code "$url/healthz"
get "$url/healthz" | grep -q '^card0: .*restoring' || fail "healthz does not say why: $(get "$url/healthz")"
wait_log "msg=attached interface=card0"
equal "readyz" 200 code "$url/readyz"
equal "healthz" 200 code "$url/healthz"
equal "edgebucket_redis_up of a silent server" 0 metric edgebucket_redis_up
[ "$(in_card ss -Hltn 'sport = :9464' | awk '{ print $4 }')" = 127.0.0.1:9464 ] || fail "not on localhost alone"
kill_agent
stop_silent
lose_maps

# With Redis, and Prometheus looking on.
start_redis
start_agent
start_prometheus 127.0.0.1:9464
send 10.8.0.1 -n 50
send 10.8.0.2 -n 7 -l 500
send 2001:db8:8::1 -n 30
send 10.9.0.1 -n 11
send 10.7.200.1 -n 9
send 10.200.0.1 -n 3
equal "dropped" 40 metric 'edgebucket_packets_total{rule="everyone",verdict="drop"}'
equal "bytes passed" $((20 * 60 + 20 * 62 + 7 * 500)) metric 'edgebucket_bytes_total{rule="everyone",verdict="pass"}'
equal "new sources" 3 metric 'edgebucket_new_sources_total{rule="everyone"}'
equal "only counted" 4 metric 'edgebucket_packets_total{rule="watched",verdict="would_drop"}'
equal "all rules" "$(rules_as_samples)" samples_of_rules
for kind in not_ip malformed unmatched neighbour_discovery group_membership; do
	equal "frames $kind" "$(frames $kind)" metric "edgebucket_frames_total{kind=\"$kind\"}"
done
within "unmatched frames" 3 100000 "$(metric 'edgebucket_frames_total{kind="unmatched"}')"
equal "buckets of IPv4" 3 metric 'edgebucket_buckets{family="ipv4"}'
equal "buckets of IPv6" 1 metric 'edgebucket_buckets{family="ipv6"}'
equal "table size" $table_size metric 'edgebucket_table_size{family="ipv6"}'
equal "attached" 1 metric "edgebucket_attached{interface=\"card0\",mode=\"$(eb --json status |
	jq -r '.interfaces[0].mode')\"}"
equal "up" 1 metric edgebucket_redis_up
equal "fields set" 4 metric 'edgebucket_mirror_fields_total{op="set"}'
within "the mirror's lag" 0 10 "$(metric edgebucket_mirror_lag_seconds)"
within "writes to Redis" 2 1000 "$(metric 'redis_latency_seconds_count{op="write"}')"
within "reads from Redis" 1 1000 "$(metric 'redis_latency_seconds_count{op="read"}')"
writes_add_up || fail "the last bucket of the histogram is not its count"
check_exposition

# The alert that these names are known for.
equal "Prometheus reads it" 1 ask 'up{job="edgebucket"}'
equal "alert before" inactive state_of EdgebucketFallbackWrites
for _ in 1 2 3 4 5 6 7 8 9 10; do
	eb flush > /dev/null || fail "flush"
done
equal "flushes" 10 metric 'openclaw_fallback_writes_total{reason="flush"}'
equal "writes on faults" 10 metric 'edgebucket_mirror_writes_total{kind="fault"}'
equal "alert after ten fallback writes" firing state_of EdgebucketFallbackWrites
equal "dropped, as Prometheus has it" 40 ask 'edgebucket_packets_total{rule="everyone",verdict="drop"}'
[ -z "$(get "$prometheus/api/v1/rules" | jq -r '.data.groups[].rules[] | select(.health != "ok") | .lastError')" ] ||
	fail "Prometheus cannot evaluate the rules"

# What is not well is seen.
write_config <<< '  - { name: open, action: allow, colour: blue }'
sed -i '/^metrics:/d' "$config"
eb reload > /dev/null 2>&1 && fail "a bad file is accepted"
equal "reload failures" 1 metric edgebucket_reload_failures_total
equal "alert of the reload" firing state_of EdgebucketReloadFailed
rules | write_config
sed -i '/^metrics:/d' "$config"
eb reload > /dev/null || fail "reload"
equal "no alert of the reload" inactive state_of EdgebucketReloadFailed
eb detach > /dev/null || fail "detach"
equal "healthz of a detached interface" 503 code "$url/healthz"
get "$url/healthz" | grep -q '^card0: .*operator' || fail "healthz does not say why: $(get "$url/healthz")"
equal "readyz of a detached interface" 200 code "$url/readyz"
equal "detached" 0 metric 'edgebucket_attached{interface="card0",mode=""}'
equal "alert of the interface" pending state_of EdgebucketNotAttached
eb reload > /dev/null || fail "reload"
equal "healthz again" 200 code "$url/healthz"
stop_redis
equal "Redis gone" 0 metric edgebucket_redis_up
equal "alert of Redis" pending state_of EdgebucketRedisDown
within "readers left in peace" 200 200 "$(code "$url/healthz")"

# A restore is told.
start_redis
equal "Redis back" 1 metric edgebucket_redis_up
until_true "all buckets in Redis" eval '[ "$(in_card redis-cli HLEN "token_bucket_fallback:{test}")" = 4 ]'
stop_agent
lose_maps
start_agent
equal "restored" 4 metric edgebucket_restored_buckets
within "age of what was restored" 0 60 "$(metric edgebucket_restore_age_seconds)"
equal "recovery reads" 1 metric openclaw_fallback_reads_seconds_count

# Slow, many and malformed clients, while a source is limited.
start_fire 10.8.0.3
for kind in silent dribbling deaf; do
	survive_slow $kind
done
stop_fire
counted everyone 10.8.0.3 20 $((sent - 20))
malformed "nothing" < /dev/null
malformed "noise" < <(head -c 100000 /dev/urandom)
malformed "zeros" < <(head -c 100000 /dev/zero)
malformed "half a request" < <(printf 'GET /metrics HTTP/1.1\r\nHost: x\r\n')
malformed "no version" < <(printf 'GET /metrics\r\n\r\n')
malformed "a version of the future" < <(printf 'GET /metrics HTTP/9.9\r\n\r\n')
malformed "a long path" < <(printf 'GET /%0100000d HTTP/1.1\r\nHost: x\r\n\r\n' 0)
malformed "a long header" < <(printf 'GET / HTTP/1.1\r\nHost: x\r\nX: %0100000d\r\n\r\n' 0)
malformed "many headers" < <(printf 'GET / HTTP/1.1\r\n'; printf 'X-%d: x\r\n' $(seq 20000); printf '\r\n')
malformed "a body of minus one" < <(printf 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nx')
malformed "a body that does not come" < <(printf 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx')
malformed "a broken chunk" < <(printf 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n')
malformed "two requests" < <(printf 'GET /readyz HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')
malformed "an escaped path" < <(printf 'GET /%%00%%2e%%2e/%%n%%s%%ff HTTP/1.1\r\nHost: x\r\n\r\n')
equal "another path" 404 code "$url/"
equal "a path below" 404 code "$url/metrics/.."  --path-as-is
equal "another method" 405 code -X DELETE "$url/metrics"
equal "a form" 405 code -d x=1 "$url/metrics"
[ "$(get -I "$url/metrics" | wc -l)" -lt 10 ] || fail "HEAD has a body"

# It is no matter of packets if the address is taken; once it is free it is used.
stop_agent
start_silent 127.0.0.1 9464
start_agent
wait_log "cannot serve metrics.*cannot listen at 127.0.0.1:9464"
status_is '.metrics | .served == false and (.problem | test("another program"))' || fail "status: $(eb --json status)"
eb status | grep -q '^Metrics: .*not served: cannot listen at 127.0.0.1:9464' || fail "status: $(eb status)"
[ "$(eb probe)" = "every interface is enforced" ] || fail "probe"
[ "$(eb probe readyz)" = "the restore is decided" ] || fail "probe readyz"
eb detach > /dev/null || fail "detach"
! eb probe > "$dir/out" || fail "the probe of a detached interface"
grep -q '^card0: .*operator' "$dir/out" || fail "the probe does not say why: $(cat "$dir/out")"
eb probe readyz > /dev/null || fail "probe readyz of a detached interface"
eb reload > /dev/null || fail "reload"
equal "packets without metrics" 0 eval 'send 10.8.0.1 -n 5 > /dev/null; bucket 10.8.0.1/32 .packets.tokens'
stop_silent
wait_log "metrics are served.* address=127.0.0.1:9464"
equal "metrics in the end" 200 code "$url/metrics"
status_is '.metrics | .served and .problem == null' || fail "status: $(eb --json status)"
stop_agent
! eb probe > /dev/null 2>&1 || fail "the probe of no agent"

# The other addresses.
rules | write_config
serve_at '[::1]:9464'
start_agent
equal "IPv6" 200 code 'http://[::1]:9464/healthz'
equal "no IPv4 then" 000 code "$url/healthz" 2> /dev/null
stop_agent
rules | write_config
serve_at "unix:$dir/metrics.sock"
start_agent
equal "a unix socket" 200 code --unix-socket "$dir/metrics.sock" http://localhost/healthz
kill_agent
[ -S "$dir/metrics.sock" ] || fail "no socket is left of a killed agent"
start_agent
equal "a unix socket again" 200 code --unix-socket "$dir/metrics.sock" http://localhost/metrics
get --unix-socket "$dir/metrics.sock" http://localhost/metrics | promtool check metrics || fail "metrics of the socket"
stop_agent
[ ! -e "$dir/metrics.sock" ] || fail "the socket is left"
echo precious > "$dir/metrics.sock"
start_agent
wait_log "cannot serve metrics.*cannot listen at unix:$dir/metrics.sock"
[ "$(cat "$dir/metrics.sock")" = precious ] || fail "a file was removed"
stop_agent
rules | write_config
start_agent
equal "off" 000 code "$url/healthz" 2> /dev/null
