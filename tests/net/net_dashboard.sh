#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The Grafana dashboard before a real Prometheus that scrapes two agents to which all happens that it shows: every panel
# has something to show, of all nodes, of one, and of one rule, and shows what happened.
# shellcheck source=../lib/prometheus.sh
. "$(dirname "$0")/../lib/prometheus.sh"
need curl prometheus redis-server python3

other_config=$dir/other.yaml

rules() {
	cat <<- END
		  - { name: office, match: { src: [10.9.0.0/16] }, action: allow }
		  - { name: blocked, match: { src_file: blocked.txt, on_bad_line: skip }, action: deny }
		  - name: watched
		    match: { src: [10.7.128.0/17] }
		    action: limit
		    packets: { rate: 1/s, burst: 5 }
		    mode: monitor
		  - name: everyone
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
		    new_sources: { rate: 1/h, burst: 10 }
		    share: fleet
		    penalty: { after: 60000, within: 24h, ban: 1h }
	END
}

# The second node: another interface, maps of its own, no store.
start_other() {
	add_link card1 far1
	up card1 far1
	sed -e 's/^node: .*/node: other/' -e 's/card0\*/card1/' -e "s|^pin_dir: .*|pin_dir: $pin_dir-other|" \
		-e "s|^run_dir: .*|run_dir: $dir/run-other|" -e '/^redis:/d' -e '/^fleet:/d' -e 's/share: fleet/share: node/' -e 's/:9464/:9465/' "$config" > "$other_config"
	: > "$dir/other.log"
	nsenter --net="/var/run/netns/$card" "$BUILD/edgebucketd" -c "$other_config" 2> "$dir/other.log" 9>&- &
	until_true "the other agent" grep -q "msg=attached interface=card1 " "$dir/other.log"
}

# Frames that no rule decides: LLDP, IPv4 with a header of no length, a neighbour solicitation.
send_odd_frames() {
	in_far python3 -c '
import socket
link = bytes.fromhex("020000000001" "020000000002")
ipv6 = bytes.fromhex("60000000" "0018" "3a" "ff") + socket.inet_pton(socket.AF_INET6, "2001:db8:7::9") * 2
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("far0", 0))
for _ in range(5):
    s.send(link + b"\x88\xcc" + bytes(46))
    s.send(link + b"\x08\x00" + b"\x40" + bytes(45))
    s.send(link + b"\x86\xdd" + ipv6 + b"\x87" + bytes(23))'
}

# saw EXPRESSION: Prometheus has seen it come true. Sets seen_at.
saw() {
	seen_at=$(date +%s.%N)
	[ -n "$(ask "$1")" ]
}
until_seen() { until_true "Prometheus to see $1" saw "$1"; }

settings='redis: { host: 127.0.0.1, port: 6379, tick: 200ms }
fleet: { name: edge }'
make_network
printf '%s\n' 10.6.0.0/17 10.6.128.0/17 'no prefix' > "$dir/blocked.txt"
rules | write_config
sed -i 's/^interfaces: .*/interfaces: ["card0*"]/' "$config"
sed -i 's/^metrics: .*/metrics: 127.0.0.1:9464/' "$config"
start_redis
start_agent
send 10.8.0.1 -n 5
send 10.8.0.2 -n 5
send 2001:db8:8::1 -n 5
until_true "the buckets in Redis" eval '[ "$(in_card redis-cli HLEN "token_bucket_fallback:{test}")" = 3 ]'
stop_agent
lose_maps

# From here on Prometheus looks on: a restore, and no packets yet.
began=$(date +%s)
start_prometheus 127.0.0.1:9464 127.0.0.1:9465
start_other
start_agent
until_seen 'count(edgebucket_packets_total{rule="everyone", verdict="drop"} == 0) == 2'

start_fire 10.8.1.1 -k 50 -r 500
for source in 10.6.0.1 10.7.200.1 10.9.0.1 10.200.0.1; do
	send $source -n 50
done
eb ban 10.8.2.0/24 > /dev/null || fail "ban"
send 10.8.2.1 -n 50
from=far1 send 10.8.0.9 -n 50
send_odd_frames
eb flush > /dev/null || fail "flush"
until_seen 'edgebucket_mirror_fields_total{op="del"} > 0'

sed 's/action: allow/action: alow/' "$config" > "$dir/bad.yaml"
cp "$config" "$dir/good.yaml"
cp "$dir/bad.yaml" "$config"
eb reload > /dev/null 2>&1 && fail "a bad file is accepted"
cp "$dir/good.yaml" "$config"
until_seen 'edgebucket_reload_ok == 0'
eb detach > /dev/null || fail "detach"
until_seen 'edgebucket_attached{interface="card0"} == 0'
eb reload > /dev/null || fail "reload"
in_card redis-cli CONFIG SET maxmemory 1 > /dev/null
send 10.7.200.1 -n 5
until_seen 'edgebucket_mirror_errors_total > 0'
until_seen 'edgebucket_fleet_refused_total > 0'
stop_redis
until_seen 'edgebucket_redis_up == 0'
# Long enough for a scrape to see it.
until_seen 'min_over_time(edgebucket_fleet_lag_seconds{instance=~".*4"}[2s]) > 0'
start_redis
until_seen 'edgebucket_redis_up == 1 and on (instance) openclaw_fallback_writes_total{reason="redis_recovered"} > 0'
until_seen 'edgebucket_buckets{family="ipv4", instance=~".*5"} > 0'
# The look for another writer, every ten seconds, is a read.
until_seen 'rate(redis_latency_seconds_count{op="read"}[4s]) > 0'
# A scrape that came too late on a busy machine is not to be what is looked at.
until_seen 'sum(up) == 2 and on () rate(edgebucket_packets_total{rule="everyone", verdict="drop"}[4s]) > 0'

scrape > "$dir/metrics"
in_card python3 "$(dirname "$0")/dashboard.py" "$deploy/grafana/dashboard.json" "$prometheus" "$dir/metrics" "$began" \
	"$seen_at" || fail "the dashboard"
stop_fire
