#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the command line says is what was sent, with the agent and without.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# says JQ COMMAND...: the JSON that it prints makes this true.
says() {
	local filter=$1
	shift
	eb --json "$@" > "$dir/json" || fail "$*: exit code $?"
	jq -e "$filter" "$dir/json" > /dev/null || fail "$*: not $filter: $(cat "$dir/json")"
}

# shows PATTERN COMMAND...: the same for text, which has no colours as it is no terminal.
shows() {
	local pattern=$1
	shift
	eb "$@" > "$dir/text" || fail "$*: exit code $?"
	grep -q -- "$pattern" "$dir/text" || fail "$*: no \"$pattern\" in: $(cat "$dir/text")"
	if grep -q $'\e' "$dir/text"; then
		fail "$*: colours where there is no terminal"
	fi
}

# exits CODE COMMAND...
exits() {
	local want=$1 got=0
	shift
	eb "$@" > "$dir/text" 2> "$dir/error" || got=$?
	[ $got = "$want" ] || fail "$*: exit code $got, expected $want"
	[ -s "$dir/error" ] || fail "$*: no message"
	[ ! -s "$dir/text" ] || fail "$*: a message on standard output"
}

make_network
write_config <<- END
	  - name: friend
	    match: { src: [10.8.0.0/16] }
	    action: allow
	  - name: enemy
	    match: { src: [10.9.0.0/16] }
	    action: deny
	  - name: tried
	    match: { src: [10.10.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 10 }
	    mode: monitor
	  - name: dns
	    match: { dst: [10.7.0.1], src: [10.12.0.0/16], proto: udp, dport: 53 }
	    action: limit
	    packets: { rate: 1/h, burst: 3 }
	  - name: everyone
	    match: { src: [10.0.0.0/8, "2001:db8:8::/48"] }
	    action: limit
	    per: { ipv4: 24, ipv6: 56 }
	    packets: { rate: 6/h, burst: 20 }
	    bytes: { rate: 8Mbit/s, burst: 1MB }
END
start_agent
send 10.8.0.1 -n 11
send 10.9.0.1 -n 12
send 10.10.0.1 -n 25
send 10.11.1.1 -n 50
send 10.11.2.1 -n 30
send 10.11.3.1 -n 5
send 10.12.0.1 -n 8 -p 53
send 2001:db8:8::1 -n 90
send 10.99.0.1 -n 1 -v 1 -v 2
counted everyone 10.11.1.1 20 30 10.11.1.0/24
counted everyone 2001:db8:8::1 20 70 2001:db8:8::/56

answers() {
	says '.node == "test" and .table_size == 65536 and .buckets == {ipv4: 6, ipv6: 1}' status
	says '.interfaces == [.interfaces[] | select(.name == "card0" and .mode == "native" and .attached)]' status
	says '.redis | .configured == false and .up == false and has("last_write_age_seconds") and has("last_error")' status
	says '.restore | has("state") and has("buckets") and has("age_seconds")' status

	says '[.[].name] == ["friend", "enemy", "tried", "dns", "everyone"]' rules
	says '.[0] | .action == "allow" and .mode == "enforce" and .packets == null and .bytes == null' rules
	says '.[0].counters.pass == {packets: 11, bytes: 660}' rules
	says '.[1].counters | .drop == {packets: 12, bytes: 720} and .pass.packets == 0' rules
	says '.[2] | .mode == "monitor" and .counters.pass.packets == 10 and .counters.would_drop.packets == 15' rules
	says '.[3] | .packets.burst == 3 and .counters.drop.packets == 5' rules
	says '.[4] | .packets.burst == 20 and .bytes == {rate: 1000000, burst: 1000000}' rules
	says '.[4].counters | .pass.packets == 66 and .drop.packets == 110 and .crowded.packets == 0' rules

	says 'map({key: .source, value: .dropped}) | from_entries == {"10.10.0.1/32": 15, "10.12.0.1/32": 5,
		"10.11.1.0/24": 30, "10.11.2.0/24": 10, "10.11.3.0/24": 0, "10.99.0.0/24": 0, "2001:db8:8::/56": 70}' buckets
	says 'map(select(.source == "10.11.3.0/24"))[0] | .rule == "everyone" and .packets == {tokens: 15, burst: 20}' buckets
	says 'map(.source) == ["2001:db8:8::/56", "10.11.1.0/24", "10.10.0.1/32", "10.11.2.0/24", "10.12.0.1/32"]' top
	says 'map(.dropped) == [70, 30]' top -n 2
	shows '^everyone  *2001:db8:8::/56 .* 70$' top
	shows '^RULE  *ACTION  *PACKET LIMIT  *BYTE LIMIT' rules
	shows '^everyone  *limit  *6/h burst 20  *8Mbit/s burst 1MB' rules

	says '.rule == "friend" and .verdict == "pass" and .source == null' explain 10.8.0.1
	says '.rule == "enemy" and .verdict == "drop" and .action == "deny"' explain 10.9.3.4
	says '.rule == "tried" and .verdict == "would_drop" and .packets.tokens == 0' explain 10.10.0.1
	says '.source == "10.11.1.0/24" and .verdict == "drop" and .packets.burst == 20' explain 10.11.1.77
	says '.packets.next_token_seconds | 500 < . and . <= 600' explain 10.11.1.1
	says '.packets.tokens == 15 and .verdict == "pass"' explain 10.11.3.1
	says '.packets.tokens == 20 and .verdict == "pass" and (.reason | length > 0)' explain 10.11.9.1
	says '.rule == "dns" and .verdict == "drop"' explain 10.12.0.1 --dst 10.7.0.1 --proto udp --dport 53
	says '.rule == "everyone" and .verdict == "pass"' explain 10.12.0.1 --proto tcp --dport 80
	# IPv4 as IPv6 sockets write it.
	says '.address == "10.9.3.4" and .rule == "enemy"' explain ::ffff:10.9.3.4
	says '.rule == "dns"' explain ::ffff:10.12.0.1 --dst ::ffff:10.7.0.1 --proto udp --dport 53
	says 'length == 1 and .[0].source == "10.11.1.0/24"' buckets ::ffff:10.11.1.77
	says 'length == 1 and .[0].source == "10.11.1.0/24"' buckets ::ffff:10.11.1.0/120
	says '.rule == "everyone" and .verdict == "drop" and .source == "2001:db8:8::/56"' explain 2001:db8:8:1::9
	says '.rule == null and .verdict == "pass"' explain 192.0.2.1
	shows 'Verdict: *drop' explain 10.11.1.1
}

answers
says ".agent.running and .agent.pid == $agent_pid" status
shows "Agent: *running, pid $agent_pid" status
stop_agent
answers
says '.agent == {running: false, pid: null, version: null, answers: false}' status
shows 'Agent: *not running' status
exits 1 reload
exits 1 flush

# A token more is a token more in reality, and a full bucket passes a burst.
says '.reset == 1' reset ::ffff:10.11.1.9
send 10.11.1.1 -n 50
counted everyone 10.11.1.1 40 30 10.11.1.0/24
says '.reset >= 5' reset --all
send 10.12.0.1 -n 8 -p 53
equal "passed after a reset" 6 rule dns pass.packets

exits 2
exits 2 nonsense
exits 2 statsu
grep -q 'did you mean "status"' "$dir/error" || fail "a slip of the finger: $(cat "$dir/error")"
exits 2 help statsu
exits 2 --nonsense status
exits 2 explain
exits 2 explain 10.0.0.0/8
exits 2 explain nobody
exits 2 reset
exits 2 top --limit many
eb version | grep -q '^edgebucket [0-9]' || fail "version: $(eb version)"
shows '^edgebucket [0-9]' --version
says '.version and .libbpf and .schema > 0' version
for ask in --help help; do
	shows '^Usage: edgebucket .*COMMAND' $ask
	shows '^  explain  *explain what would happen' $ask
done
for ask in 'help explain' 'explain --help' 'explain 10.0.0.1 -h'; do
	# shellcheck disable=SC2086 # words
	shows '^Usage: edgebucket .* explain ADDRESS .*--dport PORT' $ask
done
shows "^explain --dst= --proto= --sport= --dport= --tcp-flags= --icmp-type= --length= --fragment= --vlan= --interface= \
--outer= --tunnel=$" completion
got=0
eb rules > /dev/full 2> "$dir/error" || got=$?
[ $got = 1 ] && grep -q 'standard output: No space left' "$dir/error" || fail "a full disk: $got, $(cat "$dir/error")"
eb check "$config" > /dev/null || fail "check refuses what the agent runs with"
says '.valid and (.warnings | length) == 1 and (.rules | map(.name)) == ["friend", "enemy", "tried", "dns", "everyone"]' \
	check "$config"
says '.rules[3] | .match == "src 10.12.0.0/16 dst 10.7.0.1/32 udp dport 53" and .packets.burst == 3' check "$config"

# Names that are not UTF-8, which JSON cannot have as they are: the agent answers at once, and the bytes can be told.
mv "$config" "$dir/gr"$'\xfc'".yaml"
config=$dir/gr$'\xfc'.yaml
start_agent
says '.agent.running and .interfaces[0].attached' status
says '.ok and (.config | endswith("/gr\\xfc.yaml"))' reload
says '.valid and (.file | endswith("/gr\\xfc.yaml"))' check "$config"
printf '%s\n' 'colour: red' >> "$config"
exits 1 reload
grep -q '/gr\\xfc.yaml:[0-9]*: ' "$dir/error" || fail "reload: $(cat "$dir/error")"
eb --json check "$config" > "$dir/json" 2> "$dir/error" && fail "check takes what the agent does not"
jq -e '.valid == false and (.file | endswith("/gr\\xfc.yaml"))' "$dir/json" > /dev/null || fail "check: $(cat "$dir/json")"
