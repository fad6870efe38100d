#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Each file under deploy/recipes is valid without a warning, but for what this network lacks, and does to real packets
# what docs/recipes.md says.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

recipes=$(dirname "$0")/../../deploy/recipes
tried=

# recipe NAME: puts it into force here.
recipe() {
	tried="$tried $1"
	{
		printf '%s\n' "node: test" "pin_dir: $pin_dir" "run_dir: $dir/run" 'state_dir: ""' "metrics: off" \
			"table_size: $table_size"
		sed 's/^interfaces: .*/interfaces: [card0]/' "$recipes/$1.yaml"
	} > "$config"
	"$BUILD/edgebucketd" --check -c "$config" > "$dir/check" 2>&1 || fail "$1: $(cat "$dir/check")"
	if [ -z "$agent_pid" ]; then start_agent; else eb reload > /dev/null 2>&1 || fail "$1: reload"; fi
	began=$(date +%s.%N)
}

# send_frames: "COUNT EXPRESSION" lines of frames.py.
send_frames() { in_far /usr/bin/python3 "$(dirname "$0")/frames.py" far0; }

# limited RULE COUNTER BURST RATE: admitted no less than its burst, no more than burst and rate allow, and refused some.
# COUNTER is pass, or continued where the rule says `then: continue`.
limited() {
	local admitted elapsed
	elapsed=$(jq -n "$(date +%s.%N) - $began")
	admitted=$(rule "$1" "$2.packets")
	within "$1: admitted in $elapsed s" "$3" "$3 + $4 * $elapsed + 1" "$admitted"
	[ "$(rule "$1" drop.packets)" -gt 0 ] || fail "$1: refused nothing: $(eb rules)"
}

# dropped_at RULE DESTINATION: by the rule's buckets of this destination; null where there is none.
dropped_at() {
	eb --json buckets | jq "[.[] | select(.rule == \"$1\" and (.source | endswith(\">$2\"))) | .dropped] | add"
}

make_network
to="dst='10.7.0.1'"

recipe dns-server
send_frames <<- END
	1200 IP(src='10.8.0.1', $to)/UDP(dport=53)/(b'q' * 40)
	2000 IP(src='10.8.0.2', $to)/UDP(sport=53, dport=5000)
	200 IP(src='10.8.0.3', $to)/TCP(dport=53, flags='S')
END
limited dns-udp pass 400 200
limited stray-replies pass 1000 500
limited dns-handshakes continue 50 10

recipe game-server
send_frames <<< "900 IP(src='10.8.1.1', $to)/UDP(dport=27015)/(b'p' * 80)"
limited players pass 300 150
send_frames <<< "100 IP(src='10.8.1.2', $to)/UDP(dport=27015)/(b'q' * 20)"
limited queries continue 20 5

recipe https-edge
send_frames <<< "300 IP(src='10.8.2.1', $to)/TCP(dport=443, flags='S')"
limited tls-handshakes continue 100 20
send_frames <<< "300 IP(src='10.8.2.1', $to)/TCP(dport=443, flags='A')"
[ "$(rule web drop.packets)" = 0 ] || fail "refused packets that begin nothing: $(eb rules)"

recipe amplification
for server in 1 2 3 4 5 6 7 8; do
	echo "100 IP(src='10.8.3.$server', $to)/UDP(sport=123, dport=5000)/(b'a' * 400)"
	echo "50 IP(src='10.8.3.$server', $to, proto=17, frag=185)/(b'a' * 400)"
done | send_frames
limited answers pass 200 100
send_frames <<< "400 IP(src='192.0.2.53', $to)/UDP(sport=53, dport=5000)"
[ "$(rule own-servers pass.packets)" -gt 200 ] || fail "own servers are limited: $(eb rules)"

recipe office
send_frames <<- END
	2000 IP(src='198.51.100.7', $to)/TCP(dport=443, flags='A')
	2000 IP(src='10.8.4.1', $to)/TCP(dport=443, flags='A')
END
limited others pass 1000 500
[ "$(rule office-web drop.packets)" = 0 ] || fail "the office is limited: $(eb rules)"

recipe behind-balancer
send_frames <<- END
	900 IP(src='10.20.0.3', $to)/IP(src='10.8.6.1', $to)/UDP(dport=53)
	100 IP(src='10.20.0.4', $to)/UDP(dport=6080)/(b'\0\4\0\0' + bytes(IP(src='10.8.6.2', $to)/UDP(dport=53)))
	900 IP(src='10.8.6.3', $to)/IP(src='10.8.6.2', $to)/UDP(dport=53)
END
limited clients pass 1300 600
[ "$(rule balancers drop.packets)" = 0 ] || fail "the balancers are limited: $(eb rules)"
[ "$(bucket 10.8.6.2/32 .packets.tokens)" -gt 400 ] || fail "10.8.6.2 paid for the tunnel of 10.8.6.3: $(eb buckets)"

recipe hosting
server="dst='198.51.100"
send_frames <<< "900 IP(src='10.8.7.1', $server.7')/UDP(dport=27015)"
limited server-clients pass 400 200
send_frames <<< "200 IP(src='10.8.7.1', $server.8')/UDP(dport=27015)"
[ "$(dropped_at server-clients 198.51.100.8)" = 0 ] || fail "one server's limit is another's: $(eb buckets)"
for client in 1 2 3 4 5 6; do
	echo "100 IP(src='10.8.8.$client', $server.9')/TCP(dport=443, flags='S')"
done | send_frames
limited server-handshakes continue 300 100
send_frames <<< "100 IP(src='10.8.8.7', $server.10')/TCP(dport=443, flags='S')"
[ "$(dropped_at server-handshakes 198.51.100.10)" = 0 ] ||
	fail "one server's handshakes are another's: $(eb buckets)"
for host in 11 12 13 14 15 16 17 18; do
	echo "400 IP(src='10.8.7.2', $server.$host')/UDP(dport=9)"
done | send_frames
[ "$(bucket 10.8.7.2/32 .dropped)" -gt 0 ] || fail "no limit for all servers: $(eb buckets)"

recipe ipv6-levels
for subnet in 1 2 3 4 5 6 7 8; do
	echo "300 IPv6(src='2001:db8:8:$subnet::1', dst='2001:db8:7::1')/UDP(dport=9)"
done | send_frames
limited subscribers pass 800 400 # eight /64 of one /56

for file in "$recipes"/*.yaml; do
	[[ " $tried " = *" $(basename "$file" .yaml) "* ]] || fail "no test of $file"
done
