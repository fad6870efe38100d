/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Iterators over the tables of buckets (Linux 5.9): reading their pins, view_v4 and view_v6, prints a line for each
 * bucket in use. An object of its own; the packet path does not know of it.
 *
 * The kernel has no iterator over tries, so there is none for bans: `bpftool map dump` of a trie lists its entries.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "edgebucket.h"
#include "offence.h"

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
} __attribute__((preserve_access_index));

/* Of the kernel's kernel/bpf/map_iter.c. */
struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
} __attribute__((preserve_access_index));

/* The agent puts the maps of the program in their place. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct eb_policy);
} policy SEC(".maps");

/* The most tokens that a limit has for a packet, see eb_gcra_cost(). */
static __always_inline __u64 tokens_left(const struct eb_limit *limit, __u64 debt)
{
	__u64 room = limit->burst > debt ? limit->burst - debt : 0;
	__u32 shift = limit->shift & 63;

	return (room / limit->mult << shift) + (room % limit->mult << shift) / limit->mult;
}

static __always_inline void print_tokens(struct seq_file *seq, const struct eb_limit *limit, __u64 debt)
{
	if (limit->mult)
		BPF_SEQ_PRINTF(seq, " %llu", tokens_left(limit, debt));
	else
		BPF_SEQ_PRINTF(seq, " -");
}

/* Which of the two policies is in force. */
static __always_inline __u32 active_policy(void)
{
	__u32 index = 0;
	const struct eb_state *found = bpf_map_lookup_elem(&state, &index);

	return found ? found->active & 1 : 0;
}

/* The place of the rule with these buckets, EB_LIMITS_MAX for none: a reload took it away. Not static: the verifier
 * then looks at it once (Linux 5.6), and goes on with a number instead of with each place. */
__noinline __u32 find_rule(__u32 active, __u32 rule_id, __u32 is_ip6)
{
	const struct eb_policy *current = bpf_map_lookup_elem(&policy, &active);

	if (!current)
		return EB_LIMITS_MAX;
	for (__u32 i = 0; i < EB_LIMITS_MAX; i++)
		if ((is_ip6 ? current->rules[i].id6 : current->rules[i].id4) == rule_id)
			return i;
	return EB_LIMITS_MAX;
}

static __always_inline void print_bucket(struct seq_file *seq, const struct eb_rule *rule,
					 const struct eb_bucket *bucket)
{
	__u64 now = eb_gcra_now(bpf_ktime_get_ns());
	__u64 packets = eb_gcra_debt(bucket->packets_full_at, now), bytes = eb_gcra_debt(bucket->bytes_full_at, now);
	__u64 ms = (packets > bytes ? packets : bytes) / EB_TICKS_PER_NS / 1000000;

	print_tokens(seq, &rule->packets, packets);
	print_tokens(seq, &rule->bytes, bytes);
	BPF_SEQ_PRINTF(seq, " %llu.%03llu %llu\n", ms / 1000, ms % 1000, eb_offence_dropped(bucket->dropped));
}

/* Begins the line of a bucket with the name of its rule, which it returns; NULL for an entry to leave out. */
static __always_inline const struct eb_rule *begin_line(struct seq_file *seq, __u32 active, __u32 rule_id, __u32 is_ip6)
{
	const struct eb_policy *current = bpf_map_lookup_elem(&policy, &active);
	char name[EB_RULE_NAME_MAX + 1] = "";
	__u32 place;

	if (!rule_id || !current)
		return 0;
	place = find_rule(active, rule_id, is_ip6);
	if (place >= EB_LIMITS_MAX)
		return 0;
	__builtin_memcpy(name, current->names[place], EB_RULE_NAME_MAX);
	BPF_SEQ_PRINTF(seq, "%s", name);
	return &current->rules[place];
}

static __always_inline void print_header(const struct bpf_iter_meta *meta)
{
	if (!meta->seq_num)
		BPF_SEQ_PRINTF(meta->seq, "RULE SOURCE PACKETS BYTES FULL_IN REFUSED\n");
}

static __always_inline void print_entry4(struct seq_file *seq, __u32 active, const struct eb_entry4 *entry)
{
	const struct eb_rule *rule = begin_line(seq, active, entry->key.rule_id, 0);
	__u32 addr = entry->key.addr;

	if (!rule)
		return;
	BPF_SEQ_PRINTF(seq, " %pI4/%u", &addr, rule->prefix4);
	print_bucket(seq, rule, &entry->bucket);
}

static __always_inline void print_entry6(struct seq_file *seq, __u32 active, const struct eb_entry6 *entry)
{
	const struct eb_rule *rule = begin_line(seq, active, entry->key.rule_id, entry->key.family == 6);
	struct eb_key6 key = entry->key;

	if (!rule)
		return;
	if (key.family == 4)
		BPF_SEQ_PRINTF(seq, " %pI4/%u", key.addr, rule->prefix4);
	else
		BPF_SEQ_PRINTF(seq, " %pI6/%u", key.addr, rule->prefix6);
	if (key.also == EB_ALSO_DPORT)
		BPF_SEQ_PRINTF(seq, ">%u", bpf_ntohs(*(__be16 *)key.to));
	else if (key.also && key.family == 4)
		BPF_SEQ_PRINTF(seq, ">%pI4", key.to);
	else if (key.also)
		BPF_SEQ_PRINTF(seq, ">%pI6", key.to);
	print_bucket(seq, rule, &entry->bucket);
}

SEC("iter/bpf_map_elem")
int view_v4(struct bpf_iter__bpf_map_elem *ctx)
{
	const struct eb_set4 *set = ctx->value;
	__u32 active = active_policy();

	if (!set)
		return 0;
	print_header(ctx->meta);
#pragma unroll
	for (int i = 0; i < EB_WAYS; i++)
		print_entry4(ctx->meta->seq, active, &set->way[i]);
	return 0;
}

SEC("iter/bpf_map_elem")
int view_v6(struct bpf_iter__bpf_map_elem *ctx)
{
	const struct eb_set6 *set = ctx->value;
	__u32 active = active_policy();

	if (!set)
		return 0;
	print_header(ctx->meta);
#pragma unroll
	for (int i = 0; i < EB_WAYS; i++)
		print_entry6(ctx->meta->seq, active, &set->way[i]);
	return 0;
}

char _license[] SEC("license") = "GPL";
