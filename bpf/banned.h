/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Source -> banned or not, before the rules are asked. The longest prefix decides as long as it is a ban that has not
 * run out, or a hole in a wider one; behind one that ran out the next shorter one is looked for, so that a ban that is
 * narrower and ends earlier takes nothing from a wider one.
 */
#ifndef EB_BANNED_H
#define EB_BANNED_H

#include <bpf/bpf_endian.h>

#include "account.h"
#include "ban.h"
#include "maps.h"
#include "parse.h"
#include "table.h"

/* Bans that ran out, one within the other, behind which a wider one is still found. The agent removes them. */
#define BAN_DEPTH 8

/* Whether the tries have to be asked. Without bans, this is one load from a line that every packet reads. */
static __always_inline int may_be_banned(const struct eb_state *state, const struct eb_packet *packet)
{
	__u32 bans = EB_READ(state->bans), families = bans | EB_READ(state->rule_bans), second, bit, word;
	__u64 *bits;

	if (!(families & (EB_BANS_V4 | EB_BANS_V6)))
		return 0;
	second = !!(bans & EB_BANS_SECOND);
	if (packet->family == 4) {
		if (!(families & EB_BANS_V4))
			return 0;
		bit = eb_ban_bit4(bpf_ntohl((__u32)packet->saddr[0]));
		word = eb_ban_word(second, 4, bit);
	} else {
		if (!(families & EB_BANS_V6))
			return 0;
		bit = eb_ban_bit6(bpf_be64_to_cpu(packet->saddr[0]));
		word = eb_ban_word(second, 6, bit);
	}
	bits = bpf_map_lookup_elem(&ban_bits, &word);
	return bits && (*bits >> (bit % 64)) & 1;
}

static __always_inline struct eb_ban *find_ban(void *trie, void *key, __u32 *prefixlen, __u64 now_ns)
{
	struct eb_ban *ban;

	for (int i = 0; i < BAN_DEPTH; i++) {
		ban = bpf_map_lookup_elem(trie, key);
		if (!ban || ban->kind == EB_BAN_HOLE)
			return 0;
		if (EB_READ(ban->until_ns) > now_ns)
			return ban;
		if (!ban->len)
			return 0;
		*prefixlen = ban->len - 1;
	}
	return 0;
}

/* What comes while it is banned begins the time of such a ban anew. Seldom: its line is read by all CPUs. */
static __always_inline void refresh_ban(struct eb_ban *ban, __u64 now_ns)
{
	__u64 term = ban->term_ms * 1000000ULL, until = now_ns + term;

	if (until <= EB_READ(ban->until_ns) + term / 16)
		return;
	EB_WRITE(ban->since_ns, now_ns);
	EB_WRITE(ban->until_ns, until);
}

/*
 * Adds to ban->refused, each half by itself: whoever reads in between misses a carry. Behind an IPv4 key, which has 4
 * bytes, a trie's node has its value at an odd multiple of 4. There, an atomic addition of 8 bytes faults on arm64; on
 * x86 it can cross two cache lines, which locks the bus, or is a fault where split locks are detected.
 */
static __always_inline void add_refused(struct eb_ban *ban, __u32 step)
{
	__u32 low = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 1, *halves = (__u32 *)&ban->refused;

	if (__sync_fetch_and_add(&halves[low], step) > -1U - step)
		__sync_fetch_and_add(&halves[!low], 1);
}

/* As count_refusal(): a flood from one banned prefix comes to all CPUs, which would take the ban's line from one
 * another for every packet. */
static __always_inline void count_banned(struct eb_cpu *cpu, struct eb_ban *ban)
{
	__u32 step = refusal_step(cpu, EB_READ(ban->refused));

	if (step)
		add_refused(ban, step);
}

/* Whether the source is banned, and if so counts the packet for its ban. Time is the CPU's last reading of the clock:
 * a ban ends late by a tick of the timer. */
__noinline int ban_refuses(struct eb_cpu *cpu, const struct eb_packet *packet)
{
	struct eb_lpm6 key6 = { .prefixlen = 128 };
	struct eb_lpm4 key4 = { .prefixlen = 32 };
	struct eb_ban *ban;

	if (!cpu || !packet)
		return 0;
	if (packet->family == 4) {
		key4.addr = *(const __be32 *)packet->saddr;
		ban = find_ban(&bans_v4, &key4, &key4.prefixlen, cpu->clock_ns);
	} else {
		__builtin_memcpy(key6.addr, packet->saddr, sizeof(key6.addr));
		ban = find_ban(&bans_v6, &key6, &key6.prefixlen, cpu->clock_ns);
	}
	if (!ban)
		return 0;
	if (ban->refresh)
		refresh_ban(ban, cpu->clock_ns);
	count_banned(cpu, ban);
	return 1;
}

#endif
