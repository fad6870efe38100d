#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# VLAN tags, one or two, in the frame or beside it, do not carry a packet past its rule.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# The kernel takes the outer tag off before nftables looks. Frames with a second one are counted here, whatever their
# source; by their bytes, as "meta protocol" is what lies behind both tags in newer kernels (7.3, not 6.18).
count_two_tags() {
	in_card nft -f - <<- END
		table netdev two_tags {
			counter frames { }
			chain ingress {
				type filter hook ingress device card0 priority 0;
				@ll,128,16 0x8100 counter name frames drop
			}
		}
	END
}

passed_with_two_tags() { in_card nft -j list counter netdev two_tags frames | jq '.nftables[1].counter.packets'; }

# Tags that a sending host leaves to its card, as it does with VLAN interfaces, veth hands over beside the frame.
tag_beside_frames() {
	cat > "$dir/tag.c" <<- END
		static long (*vlan_push)(void *skb, unsigned short proto, unsigned short tag) = (void *)18;

		__attribute__((section("tc"), used)) int tag(void *skb)
		{
			vlan_push(skb, __builtin_bswap16(0x8100), 7);
			return 0;
		}
	END
	clang -O2 -target bpf -c "$dir/tag.c" -o "$dir/tag.o" || fail "cannot compile a program"
	in_far tc qdisc add dev far0 clsact
	in_far tc filter add dev far0 egress bpf direct-action object-file "$dir/tag.o" section tc
}

make_network
count_two_tags
write_config <<- END
	  - name: limited
	    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
	    action: limit
	    packets: { rate: 1/h, burst: 30 }
END
start_agent

# All of a source's frames share its bucket, whatever their tags.
send 10.8.0.1 -n 50 -v 7
equal "passed with one tag" 30 passed 10.8.0.1
send 10.8.0.2 -n 50 -v 8 -v 9
equal "passed with two tags" 30 passed_with_two_tags
send 10.8.0.1 -n 50 -v 8 -v 9
send 10.8.0.1 -n 50
equal "passed with other tags" 30 passed_with_two_tags
equal "passed without tags" 30 passed 10.8.0.1
equal "refused with one, two, no tags" 120 bucket 10.8.0.1/32 .dropped
send 2001:db8:8::1 -n 50 -v 7
equal "IPv6, passed with one tag" 30 passed 2001:db8:8::1
equal "bytes of tagged frames" $((30 * 60 + 30 * 60 + 30 * 66)) rule limited pass.bytes

tag_beside_frames
send 10.8.0.1 -n 50
send 10.8.0.3 -n 50
equal "passed with a tag beside the frame" 30 passed 10.8.0.1
counted limited 10.8.0.3 30 20
