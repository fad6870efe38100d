/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is counted, all of it per CPU: verdicts and new sources per rule, frames without a rule, refusals per source;
 * sampled events.
 */
#ifndef EB_ACCOUNT_H
#define EB_ACCOUNT_H

#include "maps.h"
#include "parse.h"
#include "table.h"

/* At most this many events a second and CPU. */
#define EB_EVENT_INTERVAL_NS 5000000ULL

/* Refusals that a tally holds before they are added to the bucket: one write to a line that all CPUs share for as many
 * packets. */
#define EB_TALLY_MAX 256

static __always_inline void count_frame(enum eb_frame_kind kind, __u32 len)
{
	__u32 key = kind;
	struct eb_frame_counter *counter = bpf_map_lookup_elem(&frames, &key);

	if (counter) {
		counter->packets++;
		counter->bytes += len;
	}
}

static __always_inline void count_verdict(const struct eb_rule *rule, enum eb_verdict verdict, __u32 len)
{
	__u32 slot = rule->slot;
	struct eb_counters *counter = bpf_map_lookup_elem(&counters, &slot);

	if (counter) {
		counter->packets[verdict]++;
		counter->bytes[verdict] += len;
	}
}

static __always_inline void count_new_source(const struct eb_rule *rule)
{
	__u32 slot = rule->slot;
	struct eb_counters *counter = bpf_map_lookup_elem(&counters, &slot);

	if (counter)
		counter->new_sources++;
}

/* Frames that are not IP also count for their interface: one that sees little else is not limited, and somebody should
 * know. Of the others nobody asks how many came in where, as that would cost each of them. */
static __always_inline void count_not_ip(__u32 ifindex)
{
	__u64 *count = bpf_map_lookup_elem(&not_ip, &ifindex), one = 1;

	if (count)
		*count += 1;
	else
		(void)bpf_map_update_elem(&not_ip, &ifindex, &one, BPF_NOEXIST); /* -E2BIG: not counted */
}

static __always_inline struct eb_cpu *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

/*
 * Reads the clock once a jiffy. In between, this CPU's last reading tells most refusals: it is never ahead of now, and
 * behind by a tick of the timer (1 to 10 ms), or by a few where the CPU that counts them is held up. That costs two
 * loads instead of the clock's 45 ns. Where softirqs can be preempted, one can write an older reading over a newer one;
 * that is behind by more, until the next jiffy.
 */
static __always_inline void read_early(struct eb_cpu *cpu)
{
	__u64 jiffy = bpf_jiffies64();

	if (cpu->jiffy == jiffy)
		return;
	cpu->clock_ns = bpf_ktime_get_ns();
	cpu->jiffy = jiffy;
}

/* Reads the clock, also for refusals from now on: a source that spends all its tokens at once gets each of them. */
static __always_inline __u64 read_exact(struct eb_cpu *cpu)
{
	cpu->clock_ns = bpf_ktime_get_ns();
	return eb_gcra_now(cpu->clock_ns);
}

static __always_inline void tally_flush_to(void *set, int words, const struct eb_tally *tally, const __u64 seed[2])
{
	__u64 *key = eb_set_key(set, words, tally->way & (EB_WAYS - 1));

	if (eb_key_hash(key, words, seed) == tally->tag)
		__sync_fetch_and_add(&eb_key_bucket(key, words)->dropped, tally->count);
}

/* Adds a tally to its bucket; if another source has the entry by now, nobody is left to ask for it. */
static __always_inline void tally_flush(struct eb_tally *tally, const __u64 seed[2])
{
	void *set;

	if (tally->family == 4) {
		set = bpf_map_lookup_elem(&buckets_v4, &tally->set);
		if (set)
			tally_flush_to(set, EB_WORDS4, tally, seed);
	} else if (tally->family == 6) {
		set = bpf_map_lookup_elem(&buckets_v6, &tally->set);
		if (set)
			tally_flush_to(set, EB_WORDS6, tally, seed);
	}
	tally->count = 0;
}

/*
 * Counts a refusal of one source: in a small write-combining cache of this CPU, so that a flood from one source on
 * many CPUs does not write to its bucket, and with exact sums all the same.
 */
static __always_inline void count_refusal(struct eb_cpu *cpu, const struct eb_tally *refused, const __u64 seed[2])
{
	struct eb_tally *tally = &cpu->tallies[refused->tag & (EB_TALLIES - 1)];

	if (tally->tag != refused->tag || tally->set != refused->set || tally->way != refused->way ||
	    tally->count >= EB_TALLY_MAX) {
		tally_flush(tally, seed);
		*tally = *refused;
	}
	tally->count++;
}

/* Tells a watcher about this packet, unless one was told about a moment ago. */
static __always_inline void sample_event(struct eb_cpu *cpu, const struct eb_rule *rule, const struct eb_packet *packet,
					 enum eb_verdict verdict)
{
	struct eb_event *event;
	__u64 ns;

	if (cpu->clock_ns < cpu->next_event_at)
		return;
	ns = bpf_ktime_get_ns();
	cpu->next_event_at = ns + EB_EVENT_INTERVAL_NS;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		cpu->events_lost++;
		return;
	}
	event->time_ns = ns;
	__builtin_memcpy(event->saddr, packet->saddr, sizeof(event->saddr));
	__builtin_memcpy(event->daddr, packet->daddr, sizeof(event->daddr));
	event->len = packet->len;
	event->slot = rule->slot;
	event->dport = packet->dport;
	event->family = packet->family;
	event->proto = packet->proto;
	event->verdict = verdict;
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	bpf_ringbuf_submit(event, 0);
}

#endif
