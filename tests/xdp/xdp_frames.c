// SPDX-License-Identifier: GPL-2.0-only
/* Every kind of frame: how the program reads it, seen by the rule that decides and the bucket that pays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edgebucket.h"
#include "xdp.h"

#define SETS 64
#define HOUR_NS 3600000000000ULL

/*
 * Which rule takes a frame tells what the program made of it. With rules that ask for ports and protocols first:
 *   no L4 header can be known       -> web (the first that asks for anything, and does not allow)
 *   a later fragment of IPv6        -> web (likewise)
 *   a later fragment of IPv4        -> web, dns, stream, rest (the first for its protocol, whatever port it asks for)
 *   TCP 80, UDP 53, SCTP, other UDP -> web, dns, stream, udp
 *   the rest                        -> rest
 * and sources of "friend" are allowed whatever they send.
 */
static const char rules[] =
	"rules:\n"
	"- { name: friend, match: { src: [10.9.0.0/16, \"2001:db8:9::/48\"] }, action: allow }\n"
	"- { name: allowed, match: { proto: udp, dport: 7777 }, action: allow }\n"
	"- { name: web, match: { proto: tcp, dport: 80 }, action: limit, packets: { rate: 1/h, burst: 9 } }\n"
	"- { name: dns, match: { dst: [198.51.100.53, \"2001:db8::53\"], proto: udp, dport: 53 },\n"
	"    action: limit, packets: { rate: 1/h, burst: 9 }, per: { ipv6: 128 } }\n"
	"- { name: stream, match: { proto: sctp }, action: limit, packets: { rate: 1/h, burst: 9 } }\n"
	"- { name: udp, match: { proto: udp }, action: limit, packets: { rate: 1/h, burst: 9 } }\n"
	"- { name: rest, action: limit, packets: { rate: 1/h, burst: 9 } }\n";

struct row {
	const char *name;
	const char *frame; /* frame.h */
	const char *rule;  /* charged for it; NULL when `kind` is counted */
	const char *kind;
	bool is_dropped;
};

#define CHARGED(text, by) .frame = (text), .rule = (by)
#define MALFORMED(text) .frame = (text), .kind = "malformed", .is_dropped = true
#define PASSED(text, what) .frame = (text), .kind = (what)

#define LISTENER "src=fe80::7,dst=ff02::16,hl=1"
#define MEMBER "dst=224.0.0.22,ttl=1,opts=4,ra=1"
#define EXT7 "hop dst rt ah:4 dst dst dst "

static const struct row rows[] = {
	/* Ethernet and VLAN */
	{ "IPv4 UDP", CHARGED("ip4 udp:53", "dns") },
	{ "IPv6 UDP", CHARGED("ip6 udp:53", "dns") },
	{ "VLAN", CHARGED("tag ip4 udp:53", "dns") },
	{ "VLAN, IPv6", CHARGED("tag ip6 udp:53", "dns") },
	{ "802.1ad alone", CHARGED("tag:88a8 ip4 udp:53", "dns") },
	{ "QinQ", CHARGED("tag:88a8 tag:8100 ip4 udp:53", "dns") },
	{ "QinQ, IPv6", CHARGED("tag:88a8 tag:8100 ip6 tcp:80", "web") },
	{ "QinQ, both 802.1Q", CHARGED("tag:8100 tag:8100 ip4 tcp:80", "web") },
	{ "QinQ, outer tag 9100", CHARGED("tag:9100 tag:8100 ip4 udp:53", "dns") },
	{ "QinQ, outer tag 9200, IPv6", CHARGED("tag:9200 tag:9100 ip6 tcp:80", "web") },
	{ "9100 alone", CHARGED("tag:9100 ip4 udp:53", "dns") },
	{ "three tags, 9100 first", MALFORMED("tag:9100 tag tag ip4 udp:53") },
	{ "9300 is no tag", PASSED("tag:9300 ip4 udp:53", "not_ip") },
	{ "three tags", MALFORMED("tag tag tag ip4 udp:53") },
	{ "three tags, 802.1ad last", MALFORMED("tag tag tag:88a8 ip4 udp:53") },
	{ "VLAN cut", MALFORMED("tag cut:17") },
	{ "second tag cut", MALFORMED("tag tag cut:20") },
	{ "Ethernet header alone", PASSED("eth:88cc", "not_ip") },
	{ "ARP", PASSED("eth:0806 raw:28", "not_ip") },
	{ "ARP in a VLAN", PASSED("tag eth:0806 raw:28", "not_ip") },
	{ "length instead of a type", PASSED("eth:0026 raw:38", "not_ip") },
	{ "unknown type", PASSED("eth:ffff raw:46", "not_ip") },

	/* PPPoE */
	{ "PPPoE, IPv4", CHARGED("pppoe ip4 udp:53", "dns") },
	{ "PPPoE, IPv6", CHARGED("pppoe ip6 udp:53", "dns") },
	{ "PPPoE in two VLANs, all options", CHARGED("tag:88a8 tag pppoe ip4:opts=40 ah:4 udp:53", "dns") },
	{ "PPPoE, IPv6, extensions", CHARGED("tag tag pppoe ip6 hop dst frag udp:53", "dns") },
	{ "PPPoE, neighbour discovery", PASSED("pppoe ip6:hl=255 icmp6:135", "nd") },
	{ "PPPoE, padded", CHARGED("pppoe ip4 udp:53 pad:10", "dns") },
	{ "PPPoE, ports in the padding", MALFORMED("pppoe:len=22 ip4 udp:53") },
	{ "PPPoE, link control", PASSED("pppoe:proto=c021 raw:20", "not_ip") },
	{ "PPPoE, IPv4 control", PASSED("pppoe:proto=8021 raw:20", "not_ip") },
	{ "PPPoE, discovery", PASSED("eth:8863 raw:46", "not_ip") },
	{ "PPPoE, IPv4 by a compressed protocol", MALFORMED("pppoe:proto=2145 raw:40") },
	{ "PPPoE, IPv6 by a compressed protocol", MALFORMED("pppoe:proto=5760 raw:40") },
	{ "PPPoE, length 1", MALFORMED("pppoe:len=1 ip4 udp:53") },
	{ "PPPoE longer than the frame", MALFORMED("pppoe:len=31 ip4 udp:53") },
	{ "PPPoE cut", MALFORMED("pppoe cut:21") },
	{ "PPPoE, a tag in it", PASSED("pppoe:proto=8100 tag ip4 udp:53", "not_ip") },

	/* IPv4 */
	{ "padded to 60 bytes", CHARGED("ip4 udp:53 pad:18", "dns") },
	{ "IPv4 options", CHARGED("ip4:opts=4 udp:53", "dns") },
	{ "IPv4 options, 40 bytes", CHARGED("ip4:opts=40 udp:53", "dns") },
	{ "IPv4 TCP", CHARGED("ip4 tcp:80", "web") },
	{ "IPv4 TCP, other port", CHARGED("ip4 tcp:81", "rest") },
	{ "IPv4 UDP, other port", CHARGED("ip4 udp:54", "udp") },
	{ "IPv4 UDP, other destination", CHARGED("ip4:dst=198.51.100.54 udp:53", "udp") },
	{ "IPv4 SCTP", CHARGED("ip4 sctp:53", "stream") },
	{ "IPv4 ICMP", CHARGED("ip4 icmp:8", "rest") },
	{ "IPv4 without payload", CHARGED("ip4 next:59", "rest") },
	{ "IPv4 with the number of an IPv6 extension", CHARGED("ip4 next:60 raw:8", "rest") },
	{ "IPv4 first fragment", CHARGED("ip4:frag=2000 udp:53 raw:32", "dns") },
	{ "IPv4 don't fragment, reserved flag", CHARGED("ip4:frag=c000 udp:53", "dns") },
	{ "IPv4 later fragment", CHARGED("ip4:frag=2001 udp:53", "dns") },
	{ "IPv4 last fragment", CHARGED("ip4:frag=0003 udp:53", "dns") },
	{ "IPv4 later fragment of TCP", CHARGED("ip4:frag=1fff,proto=6 raw:8", "web") },
	{ "IPv4 later fragment without payload", CHARGED("ip4:frag=0003,proto=17", "dns") },
	{ "IPv4 later fragment with options", CHARGED("ip4:frag=0003,opts=8 udp:53", "dns") },
	{ "IPv4 tiny first fragment", CHARGED("ip4:frag=2000,proto=17 raw:3", "web") },
	{ "IPv4 empty first fragment", CHARGED("ip4:frag=2000,proto=17", "web") },
	{ "IPv4 first fragment with the ports alone", CHARGED("ip4:frag=2000,len=24 udp:53 cut:38", "dns") },
	{ "IPv4 UDP with the ports alone", CHARGED("ip4:len=24 udp:53 cut:38", "dns") },
	{ "IPv4 UDP cut within the ports", MALFORMED("ip4:proto=17 raw:3") },
	{ "IPv4 fake UDP header in the padding", MALFORMED("ip4:len=20 udp:53") },
	{ "IPv4 fake UDP header in the padding of a fragment", CHARGED("ip4:len=20,frag=2000 udp:53", "web") },
	{ "IPv4 header cut", MALFORMED("ip4 cut:33") },
	{ "IPv4 without header", MALFORMED("ip4 cut:14") },
	{ "IPv4 options cut", MALFORMED("ip4:opts=8 udp:53 cut:40") },
	{ "IPv4 longer than the frame", MALFORMED("ip4:len=29 udp:53") },
	{ "IPv4 longer than the frame, huge", MALFORMED("ip4:len=65535 udp:53") },
	{ "IPv4 shorter than its header", MALFORMED("ip4:len=19 udp:53") },
	{ "IPv4 shorter than its options", MALFORMED("ip4:len=27,opts=8 udp:53") },
	{ "IPv4 length 0", MALFORMED("ip4:len=0 udp:53") },
	{ "IPv4 version 6", MALFORMED("ip4:ver=6 udp:53") },
	{ "IPv4 version 0", MALFORMED("ip4:ver=0 udp:53") },
	{ "IPv4 header length 4", MALFORMED("ip4:ihl=4 udp:53") },
	{ "IPv4 header length 0", MALFORMED("ip4:ihl=0 udp:53") },
	{ "IPv4 header longer than the packet", MALFORMED("ip4:ihl=15 udp:53") },
	{ "IPv4 AH", CHARGED("ip4 ah:4 udp:53", "dns") },
	{ "IPv4 AH behind options, in two VLANs", CHARGED("tag tag ip4:opts=40 ah:4 udp:53", "dns") },
	{ "IPv4 AH in a first fragment", CHARGED("ip4:frag=2000 ah:4 udp:53", "dns") },
	{ "IPv4 AH in a first fragment, ports in the next", CHARGED("ip4:frag=2000 ah:4 next:17 raw:3", "web") },
	{ "IPv4 AH in a first fragment, its end in the next", CHARGED("ip4:frag=2000,len=36 ah:4 cut:50", "web") },
	{ "IPv4 AH in a later fragment", CHARGED("ip4:frag=0001 ah:4 udp:53", "rest") },
	{ "IPv4 AH, ports cut", MALFORMED("ip4 ah:4 next:17 raw:3") },
	{ "IPv4 AH cut", MALFORMED("ip4:len=36 ah:4 cut:50") },
	{ "IPv4 BIG TCP", CHARGED("ip4:len=0 tcp:80 raw:66000", "web") },

	/* IPv6 */
	{ "IPv6 TCP", CHARGED("ip6 tcp:80", "web") },
	{ "IPv6 ICMP", CHARGED("ip6 icmp6:128", "rest") },
	{ "IPv6 no next header", CHARGED("ip6 next:59", "rest") },
	{ "IPv6 padded", CHARGED("ip6 next:59 pad:6", "rest") },
	{ "IPv6 ESP", CHARGED("ip6 next:50 raw:8", "rest") },
	{ "IPv6 UDP-Lite", CHARGED("ip6 udplite:53", "rest") },
	{ "IPv6 hop-by-hop", CHARGED("ip6 hop udp:53", "dns") },
	{ "IPv6 routing", CHARGED("ip6 rt:2 udp:53", "dns") },
	{ "IPv6 destination options", CHARGED("ip6 dst:1 udp:53", "dns") },
	{ "IPv6 longest extension", CHARGED("ip6 dst:255 udp:53", "dns") },
	{ "IPv6 AH counts in 4 bytes", CHARGED("ip6 ah:4 udp:53", "dns") },
	{ "IPv6 AH, not a multiple of 8", CHARGED("ip6 ah:1 udp:53", "dns") },
	{ "IPv6 AH, longest", CHARGED("ip6 ah:255 tcp:80", "web") },
	{ "IPv6 atomic fragment", CHARGED("ip6 frag udp:53", "dns") },
	{ "IPv6 first fragment", CHARGED("ip6 frag:more=1 udp:53", "dns") },
	{ "IPv6 first fragment behind others", CHARGED("ip6 hop dst rt frag:more=1 dst udp:53", "dns") },
	{ "IPv6 chain of 8", CHARGED("ip6 " EXT7 "dst udp:53", "dns") },
	{ "IPv6 chain of 8 with a fragment header", CHARGED("ip6 " EXT7 "frag udp:53", "dns") },
	{ "IPv6 chain of 9", CHARGED("ip6 " EXT7 "dst dst udp:53", "web") },
	{ "IPv6 chain of 9 before an allowed port", CHARGED("ip6 " EXT7 "dst dst udp:7777", "web") },
	{ "IPv6 chain of 9 that ends in a fragment header", CHARGED("ip6 " EXT7 "dst frag:off=9 udp:53", "web") },
	{ "IPv6 later fragment", CHARGED("ip6 frag:off=9,more=1 udp:53", "web") },
	{ "IPv6 last fragment", CHARGED("ip6 frag:off=1 udp:53", "web") },
	{ "IPv6 later fragment at the largest offset", CHARGED("ip6 frag:off=8191 udp:53", "web") },
	{ "IPv6 later fragment that names no next header", CHARGED("ip6 frag:off=9,nh=59 raw:8", "web") },
	{ "IPv6 later fragment that names TCP", CHARGED("ip6 frag:off=9 tcp:80", "web") },
	{ "IPv6 later fragment that names an extension", CHARGED("ip6 frag:off=9 dst udp:53", "web") },
	{ "IPv6 later fragment without payload", CHARGED("ip6 frag:off=9,nh=17", "web") },
	{ "IPv6 later fragment behind an atomic one", CHARGED("ip6 frag frag:off=9 udp:53", "web") },
	{ "IPv6 first fragment, ports in the next", CHARGED("ip6 frag:more=1,nh=17 raw:3", "web") },
	{ "IPv6 first fragment, extension in the next", CHARGED("ip6 frag:more=1,nh=60 raw:7", "web") },
	{ "IPv6 first fragment, end of an extension in the next",
	  CHARGED("ip6:len=50 frag:more=1 dst:9 cut:104", "web") },
	{ "IPv6 first fragment, ports of an allowed rule in the padding",
	  CHARGED("ip6:len=8 frag:more=1 udp:7777", "web") },
	{ "IPv6 ports cut", MALFORMED("ip6:nh=17 raw:3") },
	{ "IPv6 atomic fragment, ports cut", MALFORMED("ip6 frag:nh=17 raw:3") },
	{ "IPv6 extension cut", MALFORMED("ip6:nh=60 raw:7") },
	{ "IPv6 extension longer than the packet", MALFORMED("ip6:len=16 dst:1 udp:53 cut:62") },
	{ "IPv6 extension reaches into the padding", MALFORMED("ip6:len=8 dst:1 udp:53") },
	{ "IPv6 fake UDP header in the padding", MALFORMED("ip6:len=0 udp:53") },
	{ "IPv6 fake UDP header behind an extension", MALFORMED("ip6:len=8 dst udp:53") },
	{ "IPv6 longer than the frame", MALFORMED("ip6:len=9 udp:53") },
	{ "IPv6 header cut", MALFORMED("ip6 cut:53") },
	{ "IPv6 version 4", MALFORMED("ip6:ver=4 udp:53") },
	{ "IPv6 version 15", MALFORMED("ip6:ver=15 udp:53") },
	{ "IPv6 length 0 with hop-by-hop reaches to the end", CHARGED("ip6:len=0 hop udp:53", "dns") },
	{ "IPv6 BIG TCP", CHARGED("ip6:len=0 tcp:80 raw:66000", "web") },
	{ "IPv6 BIG TCP with hop-by-hop", CHARGED("ip6:len=0 hop tcp:80 raw:66000", "web") },

	/* Neighbour discovery */
	{ "router solicitation", PASSED("ip6:hl=255 icmp6:133", "nd") },
	{ "neighbour solicitation", PASSED("ip6:hl=255 icmp6:135 raw:16", "nd") },
	{ "redirect", PASSED("ip6:hl=255 icmp6:137", "nd") },
	{ "neighbour discovery in a VLAN", PASSED("tag ip6:hl=255 icmp6:136", "nd") },
	{ "type below", CHARGED("ip6:hl=255 icmp6:132", "rest") },
	{ "type above", CHARGED("ip6:hl=255 icmp6:138", "rest") },
	{ "came through a router", CHARGED("ip6:hl=254 icmp6:135", "rest") },
	{ "hop limit 0", CHARGED("ip6:hl=0 icmp6:135", "rest") },
	{ "UDP that begins like it", CHARGED("ip6:hl=255,nh=17 icmp6:135", "udp") },
	{ "behind an extension", CHARGED("ip6:hl=255 dst icmp6:135", "rest") },
	{ "in an atomic fragment", CHARGED("ip6:hl=255 frag icmp6:135", "rest") },
	{ "in a first fragment", CHARGED("ip6:hl=255 frag:more=1 icmp6:135", "rest") },
	{ "in a later fragment", CHARGED("ip6:hl=255 frag:off=1 icmp6:135", "web") },
	{ "type in the padding", CHARGED("ip6:hl=255,len=0 icmp6:135", "rest") },
	{ "longer than the frame", MALFORMED("ip6:hl=255,len=9 icmp6:135") },

	/* Group membership, IPv6 */
	{ "listener query", PASSED("ip6:" LISTENER " hop:ra=1 icmp6:130 raw:16", "group") },
	{ "listener report", PASSED("ip6:" LISTENER " hop:ra=1 icmp6:131", "group") },
	{ "listener done", PASSED("ip6:" LISTENER " hop:ra=1 icmp6:132", "group") },
	{ "listener report, version 2", PASSED("ip6:" LISTENER " hop:ra=1 icmp6:143", "group") },
	{ "listener report in a VLAN", PASSED("tag ip6:" LISTENER " hop:ra=1 icmp6:143", "group") },
	{ "listener report, padding first", PASSED("ip6:" LISTENER " hop:ra=2 icmp6:143", "group") },
	{ "listener report, no address yet", PASSED("ip6:src=::,dst=ff02::16,hl=1 hop:ra=1 icmp6:143", "group") },
	{ "listener type below", CHARGED("ip6:" LISTENER " hop:ra=1 icmp6:129", "rest") },
	{ "listener type above", CHARGED("ip6:" LISTENER " hop:ra=1 icmp6:144", "rest") },
	{ "listener report, hop limit 2", CHARGED("ip6:src=fe80::7,dst=ff02::16,hl=2 hop:ra=1 icmp6:143", "rest") },
	{ "listener report, hop limit 0", CHARGED("ip6:src=fe80::7,dst=ff02::16,hl=0 hop:ra=1 icmp6:143", "rest") },
	{ "listener report from afar", CHARGED("ip6:dst=ff02::16,hl=1 hop:ra=1 icmp6:143", "rest") },
	{ "listener report from ::1", CHARGED("ip6:src=::1,dst=ff02::16,hl=1 hop:ra=1 icmp6:143", "rest") },
	{ "listener report to a host", CHARGED("ip6:src=fe80::7,hl=1 hop:ra=1 icmp6:143", "rest") },
	{ "listener report without router alert", CHARGED("ip6:" LISTENER " hop icmp6:143", "rest") },
	{ "listener report without hop-by-hop", CHARGED("ip6:" LISTENER " icmp6:143", "rest") },
	{ "listener report behind one more extension", CHARGED("ip6:" LISTENER " hop:ra=1 dst icmp6:143", "rest") },
	{ "router alert, but UDP", CHARGED("ip6:" LISTENER " hop:ra=1 udp:54", "udp") },
	{ "router alert alone", CHARGED("ip6:" LISTENER " hop:ra=1 next:58", "rest") },

	/* Group membership, IPv4 */
	{ "IGMP report", PASSED("ip4:" MEMBER " igmp:34", "group") },
	{ "IGMP query", PASSED("ip4:dst=224.0.0.1,ttl=1,opts=4,ra=1 igmp:17", "group") },
	{ "IGMP to the highest group", PASSED("ip4:dst=239.255.255.255,ttl=1,opts=4,ra=1 igmp:22", "group") },
	{ "IGMP with more options", PASSED("ip4:dst=224.0.0.22,ttl=1,opts=8,ra=1 igmp:34", "group") },
	{ "IGMP, TTL 2", CHARGED("ip4:dst=224.0.0.22,ttl=2,opts=4,ra=1 igmp:34", "rest") },
	{ "IGMP to a host", CHARGED("ip4:dst=198.51.100.53,ttl=1,opts=4,ra=1 igmp:34", "rest") },
	{ "IGMP to broadcast", CHARGED("ip4:dst=255.255.255.255,ttl=1,opts=4,ra=1 igmp:34", "rest") },
	{ "IGMP to 223", CHARGED("ip4:dst=223.255.255.255,ttl=1,opts=4,ra=1 igmp:34", "rest") },
	{ "IGMP without router alert", CHARGED("ip4:dst=224.0.0.22,ttl=1 igmp:34", "rest") },
	{ "IGMP with another option", CHARGED("ip4:dst=224.0.0.22,ttl=1,opts=4 igmp:34", "rest") },
	{ "router alert, but UDP to a group", CHARGED("ip4:" MEMBER " udp:54", "udp") },
	{ "IGMP in a first fragment", CHARGED("ip4:" MEMBER ",frag=2000 igmp:34", "rest") },
	{ "IGMP in a later fragment", CHARGED("ip4:" MEMBER ",frag=0001 igmp:34", "rest") },

	/* Over several buffers: the first holds some 3.5 KiB. */
	{ "jumbo frame", CHARGED("ip4 udp:53 raw:8900", "dns") },
	{ "jumbo frame, IPv6", CHARGED("ip6 udp:53 raw:8900", "dns") },
	{ "jumbo frame with padding", CHARGED("ip4 udp:53 raw:3000 pad:5900", "dns") },
	{ "jumbo frame, length beyond its end", MALFORMED("ip4:len=8999 udp:53 raw:8900") },
	{ "ports in the second buffer", CHARGED("ip6 dst:255 dst:255 udp:53", "web") },
	{ "extension in the second buffer", CHARGED("ip6 dst:255 rt:255 dst:255 udp:53", "web") },
	{ "headers in the second buffer, allowed port", CHARGED("ip6 dst:255 dst:255 udp:7777", "web") },
	{ "headers in the second buffer, later fragment", CHARGED("ip6 dst:255 dst:255 frag:off=2 udp:53", "web") },
	{ "extension behind the end, several buffers", MALFORMED("ip6:len=4000 dst:255 dst:255 cut:4054") },
};

/* One token of a bucket with these rules, less what time has paid back since `since`. */
static void check_debt(const char *name, const struct eb_bucket *bucket, uint64_t since)
{
	uint64_t now = eb_monotonic_ns(), passed = eb_gcra_now(now - since), cost = HOUR_NS * EB_TICKS_PER_NS;
	uint64_t debt = eb_gcra_debt(bucket->packets_full_at, eb_gcra_now(now));

	if (debt > cost || debt + passed < cost || bucket->bytes_full_at != EB_FULL || bucket->dropped)
		fail_msg("%s: the bucket has a debt of %llu ticks, %llu dropped", name, (unsigned long long)debt,
			 (unsigned long long)bucket->dropped);
}

static struct eb_bucket *find_bucket(const struct rig *rig, const char *rule, const struct frame *frame)
{
	uint8_t addr[16];

	memcpy(addr, frame->saddr, sizeof(addr));
	if (frame->family == 6 && rig_rule(rig, rule)->prefix6 == 64)
		memset(addr + 8, 0, 8);
	return rig_bucket(rig, rule, frame->family, addr);
}

static void check_row(struct rig *rig, const struct row *row)
{
	static struct frame frame;
	char expected[64];
	uint64_t since;
	int verdict;

	frame_make(row->frame, &frame);
	rig_clear(rig);
	since = eb_monotonic_ns();
	verdict = rig_send(rig, &frame);
	snprintf(expected, sizeof(expected), row->rule ? "%s.pass:1" : "%s:1", row->rule ? row->rule : row->kind);
	if (strcmp(rig_counts(rig, frame.len), expected))
		fail_msg("%s: counted \"%s\", not \"%s\"", row->name, rig_counts(rig, frame.len), expected);
	if (verdict != (row->is_dropped ? XDP_DROP : XDP_PASS))
		fail_msg("%s: verdict %d", row->name, verdict);
	if (row->rule) {
		struct eb_bucket *bucket = find_bucket(rig, row->rule, &frame);

		if (!bucket)
			fail_msg("%s: its source has no bucket", row->name);
		check_debt(row->name, bucket, since);
	}
}

static void test_frames(void **state)
{
	struct rig *rig = *state;

	rig_apply(rig, rules);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(rig, &rows[i]);
	rig_check_table(rig);
}

/* Whatever is in a frame, an allowed source is known by its address. */
static void test_sources(void **state)
{
	static const char *const frames[] = {
		"ip4:src=10.9.1.1 tcp:80",
		"ip4:src=10.9.1.1,frag=2000 udp:53",
		"ip4:src=10.9.1.1,frag=2000,proto=17 raw:3",
		"ip6:src=2001:db8:9::1 hop tcp:80",
		("ip6:src=2001:db8:9::1 " EXT7 "dst dst tcp:80"),
		"ip6:src=2001:db8:9::1 frag:off=9 tcp:80",
		"ip6:src=2001:db8:9::1 dst:255 dst:255 tcp:80",
	};
	struct rig *rig = *state;

	rig_apply(rig, rules);
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		rig_clear(rig);
		assert_int_equal(rig_send_text(rig, "%s", frames[i]), XDP_PASS);
		assert_string_equal(rig_counts(rig, 0), "friend.pass:1");
	}
}

/* malformed: pass */
static void test_malformed_pass(void **state)
{
	struct rig *rig = *state;
	char config[sizeof(rules) + 32];

	snprintf(config, sizeof(config), "malformed: pass\n%s", rules);
	rig_apply(rig, config);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!rows[i].is_dropped)
			continue;
		rig_clear(rig);
		assert_int_equal(rig_send_text(rig, "%s", rows[i].frame), XDP_PASS);
		assert_string_equal(rig_counts(rig, 0), "malformed:1");
	}
}

/* The frame's end at every byte: a header either is all there or nothing of it is used. */
static void test_truncated(void **state)
{
	static const struct {
		const char *frame;
		size_t ports_end; /* from this length on there is nothing wrong but the IP length */
	} cuts[] = {
		{ "tag tag ip4:opts=8 udp:53", 54 },
		{ "tag ip6 hop frag ah:4 dst:1 udp:53", 118 },
	};
	static struct frame frame;
	struct rig *rig = *state;

	rig_apply(rig, rules);
	for (size_t i = 0; i < 2; i++) {
		frame_make(cuts[i].frame, &frame);
		for (size_t len = frame.len; len >= 14; len--) {
			size_t full = frame.len;

			rig_clear(rig);
			frame.len = len;
			rig_send(rig, &frame);
			assert_string_equal(rig_counts(rig, len), len == full ? "dns.pass:1" : "malformed:1");
			frame.len = full;
		}
	}
}

/* What follows the IP header in the second buffer, from every place on. The length is still the whole frame's. */
static void test_split(void **state)
{
	static struct frame frame;
	struct rig *rig = *state;

	rig_apply(rig, rules);
	frame_make("ip6 dst:30 dst:30 udp:53 raw:4000", &frame);
	if (rig_send_split(rig, &frame, 1000) < 0) {
		print_message("skipped: this kernel (before 6.18) cannot split test frames\n");
		skip();
	}
	for (uint32_t linear = 14 + 40; linear < 1000; linear++) {
		size_t ports_end = 14 + 40 + 2 * 248 + 4;

		rig_clear(rig);
		assert_int_equal(rig_send_split(rig, &frame, linear), XDP_PASS);
		assert_string_equal(rig_counts(rig, frame.len), linear < ports_end ? "web.pass:1" : "dns.pass:1");
	}
}

/* Bytes are the whole frame's, in counters and in buckets. */
static void test_lengths(void **state)
{
	static const size_t sizes[] = { 60, 511, 512, 513, 1514, 3520, 3521, 9014 };
	static struct frame frame;
	struct rig *rig = *state;

	rig_apply(rig, "rules:\n- { name: all, action: limit, bytes: { rate: 1B/s, burst: 100kB } }\n");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t since = eb_monotonic_ns(), debt, passed;
		char text[64];

		snprintf(text, sizeof(text), "ip4 udp:53 raw:%zu", sizes[i] - 42);
		frame_make(text, &frame);
		assert_int_equal(frame.len, sizes[i]);
		rig_clear(rig);
		assert_int_equal(rig_send(rig, &frame), XDP_PASS);
		assert_string_equal(rig_counts(rig, sizes[i]), "all.pass:1");
		debt = eb_gcra_debt(rig_bucket_of(rig, "all", FRAME_SRC4)->bytes_full_at,
				    eb_gcra_now(eb_monotonic_ns()));
		passed = eb_gcra_now(eb_monotonic_ns() - since);
		assert_true(debt <= sizes[i] * 1000000000 * EB_TICKS_PER_NS);
		assert_true(debt + passed >= sizes[i] * 1000000000 * EB_TICKS_PER_NS);
	}
}

static int open_rig(void **state)
{
	return rig_setup(state, SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_malformed_pass),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_lengths),
	};

	return cmocka_run_group_tests_name("frames", tests, open_rig, rig_teardown);
}
