/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is counted: per CPU, verdicts and new sources of each rule and frames without a rule; refusals in the source's
 * bucket; sampled events.
 */
#ifndef EB_ACCOUNT_H
#define EB_ACCOUNT_H

#include "maps.h"
#include "offence.h"
#include "parse.h"
#include "table.h"

/* At most this many events a second and CPU. */
#define EB_EVENT_INTERVAL_NS 5000000ULL

/* Refusals of a bucket that are counted one by one. Of those beyond, one in EB_REFUSALS_STEP counts for so many: a line
 * that all CPUs read is written so much less often. A power of two. */
#define EB_REFUSALS_EXACT 1024
#define EB_REFUSALS_STEP 64

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

/* Frames that are not IP also count for their interface: one that sees little else is not limited, and the agent warns.
 * The others do not: it would slow down each of them. */
static __always_inline void count_not_ip(__u32 ifindex)
{
	__u64 *count = bpf_map_lookup_elem(&not_ip, &ifindex), one = 1;

	if (count)
		*count += 1;
	else
		(void)bpf_map_update_elem(&not_ip, &ifindex, &one, BPF_NOEXIST); /* -E2BIG: not counted */
}

static __always_inline struct eb_state *get_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&state, &zero);
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

/* True once in EB_REFUSALS_STEP, at random, so that no pattern of sources makes the counts of one stand for another's.
 * Knuth's MMIX generator; the highest bits of its numbers are the best. */
static __always_inline int draw_refusal(struct eb_cpu *cpu)
{
	cpu->random = cpu->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return cpu->random < -1ULL / EB_REFUSALS_STEP;
}

/* By how much one more refusal raises a number of them: see EB_REFUSALS_EXACT. */
static __always_inline __u64 refusal_step(struct eb_cpu *cpu, __u64 counted)
{
	if (counted < EB_REFUSALS_EXACT)
		return 1;
	return draw_refusal(cpu) ? EB_REFUSALS_STEP : 0;
}

/*
 * Counts a refusal in the bucket, whose line has just been read: exactly while there are few, and beyond as an estimate
 * without bias, whose standard deviation is EB_REFUSALS_STEP / 8 times the root of the number of refusals. A bucket
 * that refuses cannot go to another source before it has been full for EB_IDLE_MARGIN.
 */
static __always_inline void count_refusal(struct eb_cpu *cpu, struct eb_bucket *bucket)
{
	__u64 word = EB_READ(bucket->dropped), step = refusal_step(cpu, word);

	if (!step)
		return;
	if (word & EB_OFFENCE_PACKED) /* the rule had a penalty before */
		EB_WRITE(bucket->dropped, eb_offence_dropped(word) + step);
	else
		__sync_fetch_and_add(&bucket->dropped, step);
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
	cpu->sampled_ns = ns;
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
