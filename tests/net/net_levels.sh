#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Packets that meet several buckets: all are charged or none, a refusal is told of by its level, everywhere.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# level LEVEL JQ: of rule everyone.
level() {
	eb --json rules | jq --arg level "$1" \
		".[] | select(.name == \"everyone\") | .levels[] | select(.level == \$level) | $2"
}
tokens() { bucket "$1" .packets.tokens; }
metric() {
	in_card curl -s http://127.0.0.1:9464/metrics |
		sed -n "s|^edgebucket_packets_total{rule=\"$1\",verdict=\"$3\"${2:+,level=\"$2\"}} ||p"
}
# told JQ: what explain says of another packet of 10.8.0.1.
told() { eb --json explain 10.8.0.1 --proto udp --dport 9 | jq -r "$1"; }

make_network
write_config <<- END
	  - name: discard
	    match: { proto: udp, dport: 9 }
	    action: limit
	    packets: { rate: 1/h, burst: 25 }
	    then: continue
	  - name: everyone
	    match: { src: [10.8.0.0/15, "2001:db8:8::/48"] }
	    action: limit
	    packets: { rate: 1/h, burst: 30 }
	    levels:
	      - { per: { ipv4: 24, ipv6: 56 }, packets: { rate: 1/h, burst: 50 } }
	      - { per: { ipv4: 0, ipv6: 0 }, packets: { rate: 1/h, burst: 100 } }
END
sed -i "/^metrics:/d" "$config"
start_agent

# Which of the four buckets refuses: the first rule's, the second's, its first level, all together.
send 10.8.0.1 -n 40 -p 9
equal "passed by both rules" 25 passed 10.8.0.1
equal "refused by the first" 15 rule discard drop.packets
equal "went on" 25 rule discard continue.packets
equal "explained rule" discard told .rule
send 10.8.0.1 -n 10 -p 10
equal "passed by the second alone" 30 passed 10.8.0.1
equal "refused by the second" 5 rule everyone drop.packets
send 10.8.0.2 -n 30 -p 10
equal "passed of the same /24" 20 passed 10.8.0.2
equal "refused by the /24" 10 level /24,/56 .counters.drop.packets
equal "left of the source that the /24 refused" 10 tokens 10.8.0.2/32
send 2001:db8:8::1 -n 30 -p 10
send 10.9.0.1 -n 30 -p 10
equal "passed of IPv6" 30 passed 2001:db8:8::1
equal "passed of another /24" 20 passed 10.9.0.1
equal "refused by all together" 10 level all .counters.drop.packets
equal "left of the /24 whose source all together refused" 30 tokens 10.9.0.0/24
equal "left of all together" 0 tokens 0.0.0.0/0
equal "dropped by it" 10 bucket 0.0.0.0/0 .dropped

# The level is told of by each command.
equal "metric of the rule" 5 metric everyone "" drop
equal "metric of the /24" 10 metric everyone /24,/56 drop
equal "metric of all together" 10 metric everyone all drop
eb --json explain 10.9.0.1 --dst 10.7.0.1 --proto udp --dport 10 > "$dir/told"
jq -e '.rule == "everyone" and .level == "all" and .source == "0.0.0.0/0" and .verdict == "drop" and
	(.chain | map(.source)) == ["10.9.0.1/32", "10.9.0.0/24", "0.0.0.0/0"]' "$dir/told" > /dev/null ||
	fail "explain: $(cat "$dir/told")"
eb explain 10.9.0.1 --proto udp --dport 10 | grep -q 'Why: .*level all of rule everyone: 0 of 100 packet tokens' ||
	fail "explain as text: $(eb explain 10.9.0.1 --proto udp --dport 10)"
eb top | grep -q '^everyone all  *0.0.0.0/0  *0/100 ' || fail "top: $(eb top)"
eb rules | grep -q '^everyone /24,/56  *level ' || fail "rules: $(eb rules)"
start_fire 10.9.0.1 -p 10
eb --json watch -n 1 > "$dir/event"
stop_fire
jq -e '.rule == "everyone" and .level == "all" and .source == "0.0.0.0/0"' "$dir/event" > /dev/null ||
	fail "watch: $(cat "$dir/event")"

# A reload keeps what each level owes, also under other limits.
sed -i 's/burst: 50 }/burst: 60 }/' "$config"
eb reload > /dev/null
equal "left of the /24 with a larger burst" 10 tokens 10.8.0.0/24
equal "left of all together after a reload" 0 tokens 0.0.0.0/0
equal "what it had refused" 10 level /24,/56 .counters.drop.packets

# A reset of a source fills all buckets that its packets meet.
eb reset 2001:db8:8::1 > /dev/null
equal "left of all together after a reset" 100 tokens 0.0.0.0/0
equal "left of another family's level" 10 tokens 10.8.0.0/24
