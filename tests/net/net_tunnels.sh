#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The kernel's own VXLAN, from a trusted source and from another one: whose bucket is charged, who can be banned, what
# explain says, and a reload that ends the trust.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# write_tunnels PREFIX: trusts it.
write_tunnels() {
	settings="tunnels: [{ type: vxlan, from: [$1] }, { type: gre, from: [10.9.0.0/24] }]"
	write_config <<- END
		  - { name: ping, match: { icmp_type: echo-request, src: [10.66.0.0/16] }, action: limit,
		      packets: { rate: 1/h, burst: 5 } }
		  - { name: wrapped, match: { proto: udp, dport: 4789 }, action: limit,
		      packets: { rate: 1/h, burst: 100 } }
	END
}

# ping_inside COUNT: through the tunnel, to an address without a host.
ping_inside() { in_far ping -q -n -c "$1" -i 0.002 -W 0.2 10.66.0.1 > /dev/null || true; }

explained() { eb explain "$@" | tr -s ' ' | grep -E "^($field): " | cut -d ' ' -f 2-; }

make_network
in_far ip link add vx0 type vxlan id 7 local 10.7.0.2 remote 10.7.0.1 dstport 4789 noudpcsum
in_far sysctl -qw net.ipv6.conf.vx0.disable_ipv6=1 # what IPv6 says on its own would be counted
in_far ip address add 10.66.0.2/24 dev vx0
in_far ip link set vx0 up
in_far ip neighbour add 10.66.0.1 lladdr 02:00:00:00:00:09 dev vx0

write_tunnels 10.7.0.2
start_agent
ping_inside 8
equal "refused by the source inside" 3 rule ping drop.packets
equal "tokens of the source inside" 0 bucket 10.66.0.2/32 .packets.tokens
equal "packets of the tunnel's source" 0 rule wrapped pass.packets

field=Outer
equal "a trusted source" "10.7.0.2, tunnels that are opened: vxlan" explained 10.66.0.2 --outer 10.7.0.2
equal "another type" "10.7.0.2, tunnels that are opened: vxlan; so its own packet is judged" \
	explained 10.66.0.2 --outer 10.7.0.2 --tunnel gre
equal "another source" "10.7.0.3, tunnels that are opened: none; so its own packet is judged" \
	explained 10.66.0.2 --outer 10.7.0.3
field=Verdict
equal "the packet inside" drop explained 10.66.0.2 --proto icmp --icmp-type echo-request --outer 10.7.0.2 --tunnel vxlan
field=Rule
equal "the packet outside" "wrapped (limit)" explained 10.66.0.2 --outer 10.7.0.3 --tunnel vxlan

# Bans are of the source inside.
eb ban 10.66.0.2 > /dev/null || fail "ban: $(cat "$dir/err")"
banned=$(frames banned)
ping_inside 4
equal "banned" $((banned + 4)) frames banned
eb unban 10.66.0.2 > /dev/null || fail "unban"

# Without the trust, the tunnel is a packet of its source.
write_tunnels 10.7.0.99
eb reload > /dev/null || fail "reload: $(cat "$log")"
refused=$(rule ping drop.packets)
ping_inside 6
equal "packets of the tunnel's source" 6 rule wrapped pass.packets
equal "refused by the source inside" "$refused" rule ping drop.packets

write_tunnels 0.0.0.0/0
"$BUILD/edgebucketd" --check -c "$config" > "$dir/check" 2>&1 || fail "refused: $(cat "$dir/check")"
grep -q "tunnels\[0\].from: trusts every source with tunnels" "$dir/check" || fail "no warning: $(cat "$dir/check")"
