#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# view_v4 and view_v6 beside the maps: `cat` prints the buckets that `edgebucket buckets` lists, also after a reload and
# after other maps. Where the kernel loads no iterators, the log says so and nothing else changes.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# as_view FAMILY: the buckets by the command, in the form of the view, without the time until a bucket is full.
as_view() {
	eb --json buckets | jq -r --arg family "$1" '.[] | select((.source | contains(":")) == ($family == "6")) |
		[.rule, .source, (.packets.tokens // "-"), (.bytes.tokens // "-"), .dropped] |
		map(tostring) | join(" ")' | sort
}

shorten() { python3 -c 'import ipaddress, sys; print(ipaddress.ip_network(sys.argv[1]))' "$1"; }

# viewed FAMILY: the same by the view. The kernel prints IPv6 addresses in full.
viewed() {
	local rule source packets bytes _ refused
	{
		read -r _
		while read -r rule source packets bytes _ refused; do
			[ "$1" = 4 ] || source=$(shorten "$source")
			echo "$rule $source $packets $bytes $refused"
		done
	} < "$pin_dir/view_v$1" | sort
}

check_views() {
	local family
	for family in 4 6; do
		as_view $family > "$dir/want"
		[ "$(wc -l < "$dir/want")" = "$1" ] || fail "$1 buckets of IPv$family expected: $(cat "$dir/want")"
		viewed $family > "$dir/got"
		diff "$dir/want" "$dir/got" > "$dir/diff" ||
			fail "view_v$family: $(cat "$dir/diff" "$pin_dir/view_v$family")"
	done
}

make_network
write_config <<- END
	  - name: packets
	    match: { src: [10.8.0.0/24, "2001:db8:8::/64"] }
	    action: limit
	    per: { ipv4: 32, ipv6: 128 }
	    packets: { rate: 1/h, burst: 50 }
	    penalty: { after: 1000, within: 1h, ban: 1h }
	  - name: all
	    action: limit
	    bytes: { rate: 1B/s, burst: 1MB }
	    packets: { rate: 1/h, burst: 1000 }
END
start_agent
send 10.8.0.1 -n 60
send 10.8.0.2 -n 7
send 10.9.0.1 -n 9
send 2001:db8:8::1 -n 60
send 2001:db8:8::2 -n 7
send 2001:db8:9::1 -n 9
if [ ! -e "$pin_dir/view_v4" ]; then
	wait_log 'msg="the buckets cannot be read with cat" .*reason="the kernel does not load iterators'
	[ "$(eb --json buckets | jq length)" -ge 6 ] || fail "no buckets"
	exit 0
fi
sed -i 's/bytes: {[^}]*}/new_sources: { rate: 1M\/s, burst: 1M }/' "$config" # tokens of bytes change all the time
eb reload > /dev/null || fail "reload"
eb reset --all > /dev/null || fail "reset"
for source in 10.8.0.1 10.8.0.2 10.9.0.1 2001:db8:8::1 2001:db8:8::2 2001:db8:9::1; do
	send $source -n 60
done
check_views 3
head -n 1 "$pin_dir/view_v4" | grep -qx 'RULE SOURCE PACKETS BYTES FULL_IN REFUSED' || fail "no header"
awk '$1 == "packets" && !($5 > 179000 && $5 <= 180000) { exit 1 }' "$pin_dir/view_v4" ||
	fail "50 tokens of 1/h take 50 hours: $(cat "$pin_dir/view_v4")"

# Other maps have views of their own, and no maps none.
stop_agent
sed -i "s/^table_size: .*/table_size: $((2 * table_size))/" "$config"
start_agent
check_views 3
stop_agent
eb detach --maps > /dev/null || fail "detach --maps"
[ ! -e "$pin_dir" ] || fail "left: $(ls "$pin_dir")"
