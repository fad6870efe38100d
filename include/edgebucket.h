/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel side and the user side share: map keys and values, counters, events, names.
 *
 * Every record is declared here once; bpftool shows them by these names. Hashing and comparing work on whole
 * 64-bit words, so padding is explicit and zero. Change EB_SCHEMA whenever the layout or the meaning of a record in a
 * pinned map changes: an agent adopts pinned maps of its own schema only.
 */
#ifndef EB_EDGEBUCKET_H
#define EB_EDGEBUCKET_H

#include "gcra.h"

#define EB_SCHEMA 2

#define EB_RULES_MAX 64
#define EB_LIMITS_MAX 128 /* rules and their levels; a power of two */
#define EB_RULE_NAME_MAX 32
#define EB_SLOTS 256 /* two policies' worth, so that a new rule never inherits the counters of one just removed */

#define EB_LEVELS_MAX 3  /* of a rule */
#define EB_BUCKETS_MAX 4 /* that one packet can meet */
#define EB_CHAINS 4      /* that can be at work on one CPU */
#define EB_NO_PREFIX 255 /* prefix length of a level for the family whose packets do not meet it */

#define EB_WAYS 4
#define EB_LOCKS 1024 /* power of two */

enum eb_action { EB_ALLOW, EB_DENY, EB_LIMIT };

/* EB_CONTINUE: the packet went on to the next rule (`then: continue`), and is counted there again. */
enum eb_verdict { EB_PASS, EB_DROP, EB_WOULD_DROP, EB_CROWDED, EB_CONTINUE, EB_VERDICTS };

/* Frames that no rule decided, and the exceptional outcomes of those that one did. */
enum eb_frame_kind {
	EB_NOT_IP,
	EB_MALFORMED,
	EB_UNMATCHED,
	EB_NEIGHBOUR_DISCOVERY,
	EB_GROUP_MEMBERSHIP, /* IGMP, multicast listener discovery */
	EB_CONTENDED,  /* compare-and-swap kept losing: refused, also counted as drop */
	EB_TABLE_FULL, /* no bucket to spare for a new source: also counted as crowded */
	EB_BANNED,     /* refused before any rule was asked */
	EB_WOULD_BAN,  /* the same, but nothing is dropped: the rules decided */
	EB_FRAME_KINDS,
};

/* A token bucket. `packets` and `bytes` are full_at times of gcra.h, EB_FULL where the rule has no such limit. */
struct eb_bucket {
	__u64 packets_full_at;
	__u64 bytes_full_at;
	__u64 dropped; /* packets refused: exact up to 1024, beyond that an estimate, see count_refusal(); and how many
			* in a time, see offence.h */
};

/* Who a bucket belongs to. rule_id is a hash of the rule's name and limits (rules.h); 0 marks an empty entry.
 * Addresses are masked and in network byte order. */
struct eb_key4 {
	__be32 addr;
	__u32 rule_id;
} __attribute__((aligned(8)));

/* What a rule's buckets are by, beside the source (`also_per`). */
enum eb_also {
	EB_ALSO_NONE,
	EB_ALSO_DST,   /* the destination address. Its bit 0 tells it apart, bit 1 the next one */
	EB_ALSO_DPORT, /* the destination port; 0 of packets that show none */
	EB_ALSOS,
};

struct eb_key6 {
	__u8 addr[16];
	__u8 to[16]; /* by `also`: an address, or a port in the first two bytes; network byte order */
	__u32 rule_id;
	__u8 family; /* of the addresses: 6, or 4 with `also`, for which the other table's keys have no room */
	__u8 also;   /* enum eb_also */
	__u8 pad[2];
} __attribute__((aligned(8)));

#define EB_WORDS4 1 /* sizes of the keys in 64-bit words */
#define EB_WORDS6 5
#define EB_TARGET_WORDS (1 << 2 | 1 << 3) /* of struct eb_key6: `to` */

struct eb_entry4 {
	struct eb_key4 key;
	struct eb_bucket bucket;
};

struct eb_entry6 {
	struct eb_key6 key;
	struct eb_bucket bucket;
};

/* A value of the maps buckets_v4 and buckets_v6: a source can be in any entry of three sets, see table.h. buckets_v6
 * also has all buckets of rules with `also_per`. */
struct eb_set4 {
	struct eb_entry4 way[EB_WAYS];
};

struct eb_set6 {
	struct eb_entry6 way[EB_WAYS];
};

/* A value of the maps tags_v4 and tags_v6: 16 bits of the hash of each key in the set of the same index, 0 for an empty
 * entry. Small enough to stay in the cache, so that a source without a bucket costs no access to the sets. */
struct eb_tags {
	__u16 way[EB_WAYS];
} __attribute__((aligned(8)));

/* What packets were charged that an entry's bucket admitted, in ticks, since the map was made: the agent exchanges the
 * difference between two readings with the other nodes of a fleet. It stays with the entry when another source takes
 * that over. */
struct eb_spent {
	__u64 packets;
	__u64 bytes;
};

/* A value of the maps inside `spent`, which are there while a rule is shared by a fleet: parallel to the buckets. There
 * are two for each family (4 or 6): what was spent, and for careful rules the times at which the bucket would be full
 * by what the fleet said last, EB_FULL where it said nothing. Those inside `demand`, which are there while a command
 * measures a rule, have the same shape, for what was offered: packets and bytes, admitted or not. */
struct eb_spent_set {
	struct eb_spent way[EB_WAYS];
};

#define EB_SPENT(family) ((family) == 6)
#define EB_HEARD(family) (2 + EB_SPENT(family))
#define EB_SPENT_PLACES 4

/* A value of the maps changed_v4 and changed_v6: a byte for each group of sets, 1 since something was charged there, 0
 * since the agent looked for it. See eb_mark_changed() in table.h. */
#define EB_GROUP_SETS 8u
#define EB_CHANGES_GROUPS 8u

struct eb_changes {
	__u8 group[EB_CHANGES_GROUPS];
};

/* How many of them, and of groups, a table of `sets` has. */
#define EB_GROUPS(sets) (((sets) + EB_GROUP_SETS - 1) / EB_GROUP_SETS)
#define EB_CHANGES(sets) ((EB_GROUPS(sets) + EB_CHANGES_GROUPS - 1) / EB_CHANGES_GROUPS)

_Static_assert(sizeof(struct eb_spent_set) == 64, "a set's are one cache line");
_Static_assert(sizeof(struct eb_key4) == 8 * EB_WORDS4, "IPv4 key");
_Static_assert(sizeof(struct eb_key6) == 8 * EB_WORDS6, "IPv6 key");
_Static_assert(__builtin_offsetof(struct eb_key6, to) == 16, "EB_TARGET_WORDS");
_Static_assert(sizeof(struct eb_set4) == 128, "an IPv4 set is two cache lines");
_Static_assert(sizeof(struct eb_entry6) == 64, "an IPv6 entry is one cache line");

/* The one value of the map `state`: what must outlive program, agent and policy. */
struct eb_state {
	__u32 schema;       /* EB_SCHEMA; 0 until the agent has finished making the maps */
	__u32 active;       /* index into `policy`: the rules in force */
	__u32 ticks_per_ns; /* EB_TICKS_PER_NS */
	__u32 predecessor;  /* id of the map `state` that this one replaced; 0 for none */
	__u64 seed[2];      /* key of the table's hash; random, so that an attacker cannot aim at a set */
	__u64 swept_ns;     /* CLOCK_MONOTONIC when an agent last cleared buckets that had been full for a day */
	__u32 bans;         /* EB_BANS_V4, EB_BANS_V6: families that have bans; EB_BANS_SECOND. Written by the agent */
	__u32 rule_bans;    /* families that penalties banned sources of; set by the program */
	__u32 bans_left;    /* that penalties may make */
	__u32 bans_missed;  /* the queue `bans_made` was full */
	__u32 snaplen;      /* bytes of each sampled frame that a watcher wants; 0 without one */
	__u32 measured;     /* 1 + slot of the rule or level whose packets are counted in `demand`; 0 for none */
	__u64 measured_until_ns; /* CLOCK_MONOTONIC, moved on by the command that measures; past: it is gone */
	__u32 fleet_nodes;  /* among which the bursts of careful rules are divided; 0 where none were seen */
	__u32 pad;
	__u64 locks[EB_LOCKS]; /* held by a CPU while a new source takes an entry, by hash of its key */
	struct eb_bucket gates[EB_SLOTS] __attribute__((aligned(64))); /* how fast new sources may appear, by slot */
};

#define EB_BANS_V4 (1 << 0)
#define EB_BANS_V6 (1 << 1)
#define EB_BANS_SECOND (1 << 2) /* which array of the map ban_bits packets read */

/* The tries of bans have room for so many each; what a configuration allows is less. They take memory as they fill. */
#define EB_BANS_MAX 4000000

#define EB_BAN_FOREVER (~0ULL)
#define EB_BAN_REASON_MAX 40

enum eb_ban_kind { EB_BAN, EB_BAN_HOLE }; /* a hole: not banned, whatever wider bans say */

enum eb_ban_origin { EB_BAN_OPERATOR, EB_BAN_RULE, EB_BAN_FEED, EB_BAN_FLEET, EB_BAN_ORIGINS };

/* A value of the tries bans_v4 and bans_v6. Times are CLOCK_MONOTONIC; what is past is no ban any more. */
struct eb_ban {
	__u64 until_ns; /* EB_BAN_FOREVER: until an operator lifts it */
	__u64 since_ns;
	__u64 refused;  /* packets; exact up to 1024, beyond that an estimate */
	__u8 len;       /* of its own prefix */
	__u8 kind;      /* enum eb_ban_kind */
	__u8 origin;    /* enum eb_ban_origin */
	__u8 refresh;   /* lasts until nothing came for term_ms */
	__u32 term_ms;  /* of a rule's: how long it lasts */
	char reason[EB_BAN_REASON_MAX]; /* UTF-8, NUL-padded, not terminated when 40 long */
};

_Static_assert(sizeof(struct eb_ban) == 72, "with its key, a node of the trie fits into 128 bytes");

/* An item of the queue `bans_made`: a rule has banned a prefix. */
struct eb_ban_made {
	__u8 family, len;
	__u8 had;        /* there was an entry, of these */
	__u8 had_kind;
	__u8 had_origin;
	__u8 pad[3];
	__u8 addr[16];   /* network byte order */
};

#define EB_BANS_MADE_MAX 4096 /* items */

/* When a rule bans a source that it refuses. */
struct eb_penalty {
	__u64 within;  /* eb_offence_units() */
	__u64 ban_ns;
	__u64 max_ns;
	__u32 after;   /* refusals that are not too many; at most EB_PENALTY_AFTER_MAX */
	__u32 factor;  /* by which the next ban is longer */
	char name[EB_RULE_NAME_MAX]; /* of the rule: the reason of its bans */
};

#define EB_PENALTY_AFTER_MAX 60000

enum eb_penalty_mode { EB_PENALTY_NONE, EB_PENALTY_ONCE, EB_PENALTY_REFRESH };

/*
 * A rule, or a level of one: a wider prefix of the same source, with limits and buckets of its own. Levels follow all
 * rules in a policy and match no packet; bpf/chain.h meets them through their rule.
 */
struct eb_rule {
	__u8 action;       /* enum eb_action */
	__u8 monitor;      /* count what would be dropped, pass it */
	__u8 crowded_pass; /* pass packets of sources that got no bucket */
	__u8 prefix4;      /* prefix lengths that make a source, for display */
	__u8 prefix6;
	__u8 next;         /* 0; during a reload that changes the limits, 1 + the place in the other policy of the rule
			    * that takes this one's buckets over, see convert.h */
	__u8 goes_on;      /* what it admits goes on to the next rule that matches */
	__u8 level_count;  /* of a rule */
	__u16 slot;        /* of counters and gate: stable while the rule keeps its name; below EB_SLOTS */
	__u8 also;         /* enum eb_also */
	__u8 is_chain;     /* its packets are charged by bpf/chain.h: goes on, has levels, also_per, careful */
	__u32 id4, id6;    /* rule_id of its buckets; 0 where packets of the family do not meet this level */
	__be32 mask4;
	struct eb_limit packets;
	struct eb_limit bytes;
	struct eb_limit new_sources;
	__u64 mask6[2];    /* network byte order */
	__u8 first_level;  /* its levels' place in the policy, narrowest first */
	__u8 level;        /* 0 for a rule; n for its n-th level */
	__u8 together;     /* a level of all sources: one bucket for both families, that of 0.0.0.0/0 */
	__u8 shared;       /* its buckets are those of the whole fleet */
	__u8 penalty_mode; /* enum eb_penalty_mode */
	__u8 careful;      /* shared: a node spends at most its part of the burst beyond what it has heard of */
	__u8 pad2[10];
	struct eb_penalty penalty;
};

_Static_assert(sizeof(struct eb_rule) == 192, "a rule is two cache lines, and one for its penalty");

/* Bits of struct eb_policy.uses: dimensions with a look-up worth making. */
#define EB_USES_SRC4 (1 << 0)
#define EB_USES_SRC6 (1 << 1)
#define EB_USES_DST4 (1 << 2)
#define EB_USES_DST6 (1 << 3)
#define EB_USES_NUMBER(number) (1 << (4 + (number))) /* of enum eb_number: bits 4 to 7 */
#define EB_USES_INTERFACE (1 << 8)
#define EB_USES_DETAIL (1 << 9)
#define EB_USES_FRAGMENT (1 << 10)
#define EB_USES_TUNNEL4 (1 << 11)
#define EB_USES_TUNNEL6 (1 << 12)
#define EB_USES_TUNNELS (EB_USES_TUNNEL4 | EB_USES_TUNNEL6)
#define EB_USES_REST (EB_USES_NUMBER(EB_LENGTH) | EB_USES_NUMBER(EB_VLAN) | EB_USES_INTERFACE | EB_USES_FRAGMENT)

/* What rules ask for ranges of: one look-up each in the map `numbers`. */
enum eb_number {
	EB_DPORT,
	EB_SPORT,
	EB_LENGTH, /* of the IP packet; what is longer than 65535 counts as that */
	EB_VLAN,   /* the outermost tag's id, 0 where there is none */
	EB_NUMBERS,
};

/* The one byte of a transport header that rules can ask for. */
enum eb_detail {
	EB_DETAIL_NONE, /* the protocol has none, or it cannot be known */
	EB_DETAIL_TCP,  /* flags */
	EB_DETAIL_ICMP, /* type */
	EB_DETAIL_ICMPV6,
	EB_DETAILS,
};

/* Whether a packet is a fragment. An IPv6 fragment header that holds a whole packet (RFC 6946) makes none. */
enum eb_fragment {
	EB_WHOLE,
	EB_FRAGMENT,
	EB_FRAGMENT_UNKNOWN, /* behind headers that cannot be seen */
	EB_FRAGMENTS = 4, /* a power of two */
};

/* What a tunnel's packets are wrapped in. A trie of tunnels has sets of these, as bits, instead of rules. */
enum eb_tunnel {
	EB_TUNNEL_IPIP, /* IP in IP: RFC 2003, RFC 2473, RFC 4213 */
	EB_TUNNEL_GRE,  /* RFC 2784, RFC 2890 */
	/* over UDP: */
	EB_TUNNEL_GUE,    /* draft-ietf-intarea-gue, variants 0 and 1 */
	EB_TUNNEL_VXLAN,  /* RFC 7348 */
	EB_TUNNEL_GENEVE, /* RFC 8926 */
	EB_TUNNELS,
};

/* How a filter in front of a trie is asked, see filter.h. */
struct eb_filter {
	__u64 mask; /* the bits of an address that count, in network byte order */
	__u32 shift; /* 64 less the binary logarithm of its number of bits; 0: there is none */
	__u32 pad;
};

/* The tries of a policy, of each address family. */
#define EB_TRIE_SRC 0
#define EB_TRIE_DST 1
#define EB_TRIE_TUNNEL 2 /* outer sources */
#define EB_TRIES 3

/* A value of the map `policy`, which has two: one in force, one to fill. Sets of rules have bit n for rule n. */
struct eb_policy {
	__u32 uses;
	__u32 rule_count;    /* the levels behind them included */
	__u32 malformed_drop;
	__u32 generation;    /* counts the policies put into force */
	__u32 allows;        /* some rule allows: who is banned is looked up behind the rules */
	__u32 bans_monitor;  /* count packets of banned sources, drop none */
	__u32 tunnels;       /* kinds that some source is trusted with: bit n for enum eb_tunnel */
	__u32 pad;
	__u16 tunnel_ports[8]; /* UDP, by enum eb_tunnel, host byte order; 0 where there is none */
	__u64 src_any;       /* rules that ask for no source */
	__u64 dst_any;
	__u64 number_any[EB_NUMBERS]; /* rules that do not ask for this number */
	__u64 interface_any;
	__u64 detail_any;
	__u64 port_unknown;  /* rules for a packet whose protocol is known, but no port; see classify.h */
	__u64 l4_unknown;    /* rules for a packet of which neither is known */
	__u64 fragment[EB_FRAGMENTS]; /* rules that accept this enum eb_fragment */
	__u64 proto[256];    /* rules that accept this protocol */
	__u64 detail[EB_DETAILS][256]; /* rules that accept this byte; of EB_DETAIL_NONE, any that is not known */
	struct eb_filter filters[2 * EB_TRIES]; /* by EB_FILTER() */
	struct eb_rule rules[EB_LIMITS_MAX];
	char names[EB_LIMITS_MAX][EB_RULE_NAME_MAX]; /* NUL-padded; unterminated when 32 long; a level has its rule's */
};

/* Keys of the longest-prefix tries; addr in network byte order. The value is the set of rules, a __u64. */
struct eb_lpm4 {
	__u32 prefixlen;
	__be32 addr;
};

struct eb_lpm6 {
	__u32 prefixlen;
	__u8 addr[16];
};

/* Keys of the map `interfaces`. The value is the set of rules, a __u64. */
struct eb_interface_key {
	__u32 policy; /* index */
	__u32 ifindex;
};

/* Indexes into the maps of tries and filters, and the map `numbers`: all hold two policies. */
#define EB_TRIE(policy, side) (EB_TRIES * (policy) + (side))
#define EB_FILTER(family, side) (((family) == 6 ? EB_TRIES : 0) + (side))
#define EB_FILTER_PLACE(policy, filter) (2 * EB_TRIES * (policy) + (filter))
#define EB_FILTER_UNUSED EB_FILTER_PLACE(2, 0) /* never read: the agent writes there to wait for packets */
#define EB_FILTER_PLACES (EB_FILTER_UNUSED + 1)
#define EB_NUMBER_SIZE(number) ((number) == EB_VLAN ? 4096 : 65536)
#define EB_NUMBERS_SIZE (EB_VLAN * 65536 + 4096)
#define EB_NUMBER(policy, number, value) (EB_NUMBERS_SIZE * (policy) + 65536 * (number) + (value))

#define EB_INTERFACE_KEYS 256 /* of both policies, and more while some come and go */

/* Per CPU, one of each rule's slot: map `counters`. */
struct eb_counters {
	__u64 packets[EB_VERDICTS];
	__u64 bytes[EB_VERDICTS];
	__u64 new_sources; /* that the gate let in, whether or not the table then had room */
	__u64 penalties;   /* bans that it made, or would have in mode monitor */
};

/* Interfaces that the map `not_ip` has room for: those of a configuration, and others that went before. */
#define EB_NOT_IP_INTERFACES 256

/* Per CPU, one of each enum eb_frame_kind: map `frames`. */
struct eb_frame_counter {
	__u64 packets;
	__u64 bytes;
};

/* One bucket that a packet meets, while it is decided about; see bpf/chain.h. */
struct eb_step {
	__u64 key[EB_WORDS6]; /* of the table's family, for which the stack has too little room */
	__u64 tag;          /* hash of its key */
	__u64 packets_seen; /* its times before they were charged */
	__u64 bytes_seen;
	__u8 at;            /* where its entry is: EB_PLACE() of table.h */
	__u8 family;        /* of the table; 0: nothing is charged */
	__u8 place;         /* of the rule or level in the policy */
	__u8 policy;        /* index of that policy: the other one when a reload has moved the bucket */
	__u8 of;            /* place of the rule that the chain came to */
	__u8 is_first;      /* the rule's own bucket, whose record counts the packet */
	__u8 is_charged;
	__u8 is_counted;
	__u8 is_crowded;
	__u8 is_refused; /* by its bucket: what comes behind it is not asked, or not of this rule */
	__u8 turn;
	__u8 pad[6];
};

struct eb_chain {
	__u64 is_taken;
	__u64 rules; /* that match and were not come to yet */
	__u64 now;
	struct eb_step steps[EB_BUCKETS_MAX];
	__u8 count;  /* of steps */
	__u8 of;     /* place of the rule that was come to last */
	__u8 levels; /* of it that are left */
	__u8 next_level;
	__u8 end;    /* 1 + place of a rule without limits at the end; 0 for none */
	__u8 policy; /* index */
	__u8 turns;  /* of its steps, a bit each */
	__u8 pad;
};

/* What a penalty works on, for which the stack has too little room. */
struct eb_punishment {
	__u64 is_taken; /* by a program on this CPU; another one can only come in between with PREEMPT_RT */
	struct eb_ban ban;
	struct eb_ban_made made;
};

/* The one per-CPU value of the map `cpus`. */
struct eb_cpu {
	__u64 clock_ns;      /* when it last read the clock, ns since boot */
	__u64 jiffy;         /* of the kernel's, before which it last had to */
	__u64 next_event_at; /* ns since boot; no event before */
	__u64 events_lost;   /* no room in the ring */
	__u64 sampled_ns;    /* time_ns of the event of the packet at work; 0 without one */
	__u64 random;        /* decides which refusals are counted, see account.h */
	struct eb_chain chains[EB_CHAINS];
	struct eb_punishment punishment;
};

/* A record of the ring buffer `events`: one refused packet out of many. */
struct eb_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u8 saddr[16]; /* network byte order; IPv4 in the first 4 bytes */
	__u8 daddr[16];
	__u32 len;
	__u32 slot;    /* the rule's */
	__u16 dport;   /* host byte order; 0 when there is none */
	__u8 family;   /* 4 or 6 */
	__u8 proto;
	__u8 verdict;  /* enum eb_verdict */
	__u8 pad[3];
};

#define EB_SNAPLEN_MAX 1600

/* The other record of `events`: the frame of an event, which comes before it. */
struct eb_frame_sample {
	__u64 time_ns; /* the event's */
	__u32 ifindex;
	__u32 len;     /* of the whole frame */
	__u32 count;   /* bytes in data */
	__u8 ethernet; /* whether it begins with an Ethernet header, or with IP */
	__u8 pad[3];
	__u8 data[EB_SNAPLEN_MAX];
};

#endif
