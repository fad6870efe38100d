/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of buckets: finding, charging and creating them, without locks on the way of a packet that finds its
 * bucket. The XDP program and the agent (on the memory-mapped maps) compile this same text.
 *
 * Why not BPF_MAP_TYPE_LRU_HASH: it evicts the least recently seen source, in debt or not, so a flood of invented
 * sources wipes out real debts; an insertion costs ten look-ups; and an entry that is recycled under another CPU
 * makes that CPU charge the wrong source. Here a bucket may only be taken over once it has been full for a while, that
 * is, when it holds no information any more, and a look-up touches one cache line and one tag.
 *
 * Shape: the table is an array of sets of EB_WAYS entries, with an array of tags beside it. A key hashes to EB_CHOICES
 * sets and may be in any entry of them; an entry is looked at when its tag fits. The first choice is among the few sets
 * at the beginning of the table, the dense part: as long as there is room, buckets lie close together, in few pages, so
 * that a table costs what it holds and not what it could hold. The other choices are two sets of the rest (two-choice
 * hashing). With two entries for each bucket that the operator asked for, 4 in 100,000 new sources find no room on the
 * way to all those buckets being in debt.
 *
 * Taking over an entry: the two times of a full bucket are first changed to EB_LOCKED by compare-and-swap, then key and
 * tag are written, then the times become EB_FULL. A charge compares-and-swaps a time that it read before, so it fails
 * once a takeover began; and it looks at the key again afterwards, so a takeover that came between finding the key
 * and reading the time is noticed. So each packet that is admitted was charged to its own source.
 *
 * A source with two entries would have two bursts. CPUs exclude one another by a lock for each key, which is never
 * waited for long and never broken: a program cannot be stopped in the middle. The agent can be stopped or killed
 * anywhere, so it takes no lock: agent and CPU first make their entry visible, with its times still locked, then look
 * for another one of the same key, and give theirs up when they see one. Of two who do that at the same time, one at
 * least sees the other's. An agent that is killed leaves EB_HELD as a time, which no CPU writes: one bucket that admits
 * nothing until the next agent empties it.
 *
 * Order of memory. On arm64, a CPU's loads and stores can be seen in another order than the program's. What orders them
 * here is an atomic operation that fetches, and succeeds: a compare-and-swap that found what it compared with, or an
 * addition whose result is used. It is a full barrier: nobody sees what is before it later than what is behind it. In
 * BPF, the kernel's memory model says so (tools/memory-model/Documentation/ordering.txt); arm64's JIT makes casal or
 * ldaddal of it, or ldxr, stlxr and dmb ish. In the agent, gcc promises it of the __sync functions. Those with
 * __ATOMIC_SEQ_CST do not do: on a machine without casal a later load may pass their store. A compare-and-swap that
 * fails, and an addition whose result nobody uses, order nothing, nor do EB_READ() and EB_WRITE(). Who relies on what:
 *
 *  - Charge and takeover. A takeover swaps the time for EB_LOCKED, writes the key, and swaps the time back. A charge
 *    swaps the time, then reads the key again. If the charge is first, the takeover's swap fails: the time is not idle
 *    any more. If it is behind the takeover, it has read what that wrote last, and with it sees the new key. So key and
 *    time may be read in any order before: what was read too early makes the swap fail, or the second look at the key.
 *    A refusal swaps nothing. A time that was read too early is idle, and refuses nothing, unless the agent has just
 *    taken the entry from a source in debt: then one packet of the next source is refused.
 *  - Two who make an entry for one key. Each writes its key and tag, swaps, and looks for the other's: with a full
 *    barrier between write and look of both, one at least sees the other's. The swap succeeds, as nobody else changes a
 *    locked time.
 *  - The lock of a key is taken and given back by swaps: who has it sees what was made under it before.
 *  - A charge and the mark of its group: see eb_mark_changed().
 *  - An agent that reads an entry reads its key, the times, and the key again, with barriers for loads between.
 *
 * tests/unit/unit_order.c tries each pair on two CPUs.
 */
#ifndef EB_TABLE_H
#define EB_TABLE_H

#include "edgebucket.h"

#define EB_READ(x) (*(volatile __typeof__(x) *)&(x))
#define EB_WRITE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

/* Bounds for the verifier, and for a packet's patience. A loser of all rounds is refused (EB_BUSY): that can
 * never admit more than the limit, and leaves the tokens to the winners. */
#define EB_CAS_TRIES 8
#define EB_LOCK_TRIES 16

/* An entry can go to another source when its bucket has been full for this long. The second is for a CPU that was held
 * up after it read the clock: when it charges at last, by the old reading, the bucket must not be gone. */
#define EB_IDLE_MARGIN (1000000000ULL * EB_TICKS_PER_NS)

/* A set takes new sources as long as this many of its entries are free; after that, the emptier of the two does. */
#define EB_ROOMY 3

/* The sets where a key can be: one of the dense part, which is one set in EB_DENSE_SHARE, and two of the rest. */
enum { EB_CHOICE_DENSE, EB_CHOICE_FIRST, EB_CHOICE_SECOND, EB_CHOICES };
#define EB_DENSE_SHARE 16u

/* An entry of the dense part goes to another source when its bucket has been full for this long: who comes back sooner
 * finds it, and who has gone makes room for those that are there. */
#define EB_DENSE_IDLE (60 * 1000000000ULL * EB_TICKS_PER_NS)

/* Sets that a key's second one is chosen from: the tags of so many fill a page. A power of two. */
#define EB_NEIGHBOURS 512u

/* How old an early time can be, see eb_limit_refuses_early(): a tick of the kernel's timer takes 1 to 10 ms, and the
 * kernel notices after five of them when no CPU counts them. */
#define EB_EARLY_MAX (100000000ULL * EB_TICKS_PER_NS)

enum eb_charge { EB_ADMITTED, EB_REFUSED, EB_BUSY };

/* A struct eb_key4 as the word that it is hashed and compared as. A processor that reads a word which was written in
 * parts waits until these have left its store buffer. */
static __always_inline __u64 eb_key4_word(__be32 addr, __u32 rule_id)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? (__u64)rule_id << 32 | addr : (__u64)addr << 32 | rule_id;
}

static __always_inline __u64 eb_rotate(__u64 x, int bits)
{
	return x << bits | x >> (64 - bits);
}

/* SipHash's round. */
static __always_inline void eb_hash_round(__u64 v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = eb_rotate(v[1], 13) ^ v[0];
	v[3] = eb_rotate(v[3], 16) ^ v[2];
	v[0] = eb_rotate(v[0], 32) + v[3];
	v[2] += v[1];
	v[3] = eb_rotate(v[3], 21) ^ v[0];
	v[1] = eb_rotate(v[1], 17) ^ v[2];
	v[2] = eb_rotate(v[2], 32);
}

/* SipHash-1-3 of some words, with the seed as its key. Bit n of `left_out` leaves word n out. */
static __always_inline __u64 eb_hash_but(const __u64 *words, int count, __u32 left_out, const __u64 seed[2])
{
	__u64 v[4] = { seed[0] ^ 0x736f6d6570736575ULL, seed[1] ^ 0x646f72616e646f6dULL,
		       seed[0] ^ 0x6c7967656e657261ULL, seed[1] ^ 0x7465646279746573ULL };
	__u64 length = (__u64)count << 59; /* in bytes, in the last word's highest byte */

	for (int i = 0; i < count; i++) {
		__u64 word;

		if (left_out >> i & 1)
			continue;
		word = EB_READ(words[i]);
		v[3] ^= word;
		eb_hash_round(v);
		v[0] ^= word;
	}
	v[3] ^= length;
	eb_hash_round(v);
	v[0] ^= length;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		eb_hash_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static __always_inline __u64 eb_hash(const __u64 *words, int count, const __u64 seed[2])
{
	return eb_hash_but(words, count, 0, seed);
}

/*
 * The hash of a key: an attacker who does not know the seed cannot choose sources that meet in one set, even if he can
 * observe which sources are crowded. A mixing function with a secret start would not do: differences of keys go through
 * it whatever the secret is. Of a key without a target, the words for one are 0, and are left out: two rounds less.
 */
static __always_inline __u64 eb_key_hash(const __u64 *key, int words, const __u64 seed[2])
{
	int has_target = words == EB_WORDS6 && ((const struct eb_key6 *)key)->also;

	return eb_hash_but(key, words, words == EB_WORDS6 && !has_target ? EB_TARGET_WORDS : 0, seed);
}

/*
 * A key's sets, of `sets` in all. Some of them can be the same one, all of them in tables of less than EB_DENSE_SHARE
 * sets, where the dense part is set 0. EB_CHOICE_SECOND is a neighbour of EB_CHOICE_FIRST, with its tags in the same
 * page: a look-up that finds nothing waits for one TLB miss at most, as the dense part's tags are few.
 */
static __always_inline __u32 eb_choose_set(__u64 hash, __u32 sets, int choice)
{
	__u32 dense = sets / EB_DENSE_SHARE, rest = sets - dense;
	__u32 first = ((hash >> 32) * rest) >> 32, neighbours, count;

	if (choice == EB_CHOICE_DENSE)
		return ((hash >> 32) * dense) >> 32;
	if (choice == EB_CHOICE_FIRST)
		return dense + first;
	neighbours = first & ~(EB_NEIGHBOURS - 1);
	count = rest - neighbours < EB_NEIGHBOURS ? rest - neighbours : EB_NEIGHBOURS;
	return dense + neighbours + (((hash & 0xffffffff) * count) >> 32);
}

/* 16 bits that the choice of sets does not depend on much; never 0, which marks an empty entry. */
static __always_inline __u16 eb_tag(__u64 hash)
{
	return (hash & 0xffff) | 1;
}

/* A key's sets and their tags, by choice. */
struct eb_sets {
	void *set[EB_CHOICES];
	struct eb_tags *tags[EB_CHOICES];
};

/* Entries of both families are `words` of key followed by a struct eb_bucket. */
static __always_inline __u64 *eb_set_key(void *set, int words, int way)
{
	return (__u64 *)((char *)set + way * (words * sizeof(__u64) + sizeof(struct eb_bucket)));
}

static __always_inline struct eb_bucket *eb_key_bucket(__u64 *key, int words)
{
	return (struct eb_bucket *)(key + words);
}

static __always_inline int eb_key_equal(const __u64 *a, const __u64 *b, int words)
{
	for (int i = 0; i < words; i++)
		if (EB_READ(a[i]) != b[i])
			return 0;
	return 1;
}

/* Empty entries have an all-zero key; a key in use has a rule_id other than 0 in its last word. */
static __always_inline int eb_key_empty(const __u64 *key, int words)
{
	return EB_READ(key[words - 1]) == 0;
}

/* Where a key is or could be: EB_PLACE(choice, way). */
enum { EB_PLACE_NONE = -1, EB_PLACE_FULL = -2, EB_PLACE_BUSY = -3 };
#define EB_PLACE(choice, way) ((choice) * EB_WAYS + (way))
#define EB_PLACE_WAY(place) ((place) & (EB_WAYS - 1))

static __always_inline int eb_place_choice(int place)
{
	return place < EB_PLACE(EB_CHOICE_FIRST, 0)    ? EB_CHOICE_DENSE
	       : place < EB_PLACE(EB_CHOICE_SECOND, 0) ? EB_CHOICE_FIRST
						       : EB_CHOICE_SECOND;
}

/* Branches, as the verifier of a program follows no pointer that is chosen by a number. */
static __always_inline void *eb_place_set(const struct eb_sets *sets, int place)
{
	return place < EB_PLACE(EB_CHOICE_FIRST, 0)    ? sets->set[EB_CHOICE_DENSE]
	       : place < EB_PLACE(EB_CHOICE_SECOND, 0) ? sets->set[EB_CHOICE_FIRST]
						       : sets->set[EB_CHOICE_SECOND];
}

static __always_inline __u64 *eb_place_key(const struct eb_sets *sets, int words, int place)
{
	return eb_set_key(eb_place_set(sets, place), words, EB_PLACE_WAY(place));
}

static __always_inline __u16 *eb_place_tag(const struct eb_sets *sets, int place)
{
	struct eb_tags *tags = place < EB_PLACE(EB_CHOICE_FIRST, 0)    ? sets->tags[EB_CHOICE_DENSE]
			       : place < EB_PLACE(EB_CHOICE_SECOND, 0) ? sets->tags[EB_CHOICE_FIRST]
								       : sets->tags[EB_CHOICE_SECOND];

	return &tags->way[EB_PLACE_WAY(place)];
}

/* Branches, not arithmetic: a processor that guesses the way right reads tag and entry at the same time. */
static __always_inline int eb_set_find(void *set, const struct eb_tags *tags, const __u64 *key, int words, __u16 tag)
{
	for (int way = 0; way < EB_WAYS; way++)
		if (EB_READ(tags->way[way]) == tag && eb_key_equal(eb_set_key(set, words, way), key, words))
			return way;
	return EB_PLACE_NONE;
}

/* The place of a key's entry, or EB_PLACE_NONE. */
static __always_inline int eb_table_find(const struct eb_sets *sets, const __u64 *key, int words, __u16 tag)
{
	for (int choice = 0; choice < EB_CHOICES; choice++) {
		int way = eb_set_find(sets->set[choice], sets->tags[choice], key, words, tag);

		if (way >= 0)
			return EB_PLACE(choice, way);
	}
	return EB_PLACE_NONE;
}

/* How long a time has been past, 0 while it is not for EB_IDLE_MARGIN yet. EB_FULL has always been. */
static __always_inline __u64 eb_time_idle(__u64 full_at, __u64 now)
{
	__u64 since = now - EB_IDLE_MARGIN;

	if (full_at == EB_FULL)
		return ~0ULL;
	return eb_gcra_is_locked(full_at) || eb_gcra_debt(full_at, since) ? 0 : since - full_at + 1;
}

/* How long a bucket has been without information, 0 while it has some. A source whose bucket is idle loses nothing when
 * another source gets the entry. */
static __always_inline __u64 eb_bucket_idle(const struct eb_bucket *bucket, __u64 now)
{
	__u64 packets = eb_time_idle(EB_READ(bucket->packets_full_at), now);
	__u64 bytes = eb_time_idle(EB_READ(bucket->bytes_full_at), now);

	return packets < bytes ? packets : bytes;
}

/* Says how many entries of the set are empty or have been idle for longer than `min_idle`, and the best of them in *way
 * (left alone when there is none): an empty one, else the one idle for longest, so that sources which come back keep
 * theirs. */
static __always_inline int eb_set_room(void *set, int words, __u64 now, __u64 min_idle, int *way)
{
	__u64 longest = min_idle;
	int room = 0;

	for (int i = 0; i < EB_WAYS; i++) {
		__u64 *key = eb_set_key(set, words, i);
		__u64 idle = eb_key_empty(key, words) ? ~0ULL : eb_bucket_idle(eb_key_bucket(key, words), now);

		if (idle <= min_idle)
			continue;
		room++;
		if (idle > longest) {
			longest = idle;
			*way = i;
		}
	}
	return room;
}

/* Changes both times of a bucket from what they were read as to `mark`: EB_LOCKED, or EB_HELD for the agent. Returns 0
 * when one has changed. */
static __always_inline int eb_bucket_lock(struct eb_bucket *bucket, __u64 packets, __u64 bytes, __u64 mark)
{
	if (__sync_val_compare_and_swap(&bucket->packets_full_at, packets, mark) != packets)
		return 0;
	if (__sync_val_compare_and_swap(&bucket->bytes_full_at, bytes, mark) == bytes)
		return 1;
	__sync_val_compare_and_swap(&bucket->packets_full_at, mark, packets);
	return 0;
}

/* Gives a locked bucket its times. */
static __always_inline void eb_bucket_unlock(struct eb_bucket *bucket, __u64 mark, __u64 packets, __u64 bytes)
{
	__sync_val_compare_and_swap(&bucket->bytes_full_at, mark, bytes);
	__sync_val_compare_and_swap(&bucket->packets_full_at, mark, packets);
}

/* Writes the key that has a locked entry from now on. The compare-and-swap changes nothing: it is a barrier that
 * BPF has too, so that whoever looks for the key from here on finds it. */
static __always_inline void eb_entry_name(__u64 *entry, __u16 *entry_tag, const __u64 *key, int words, __u16 tag,
					  __u64 mark)
{
	struct eb_bucket *bucket = eb_key_bucket(entry, words);

	for (int i = 0; i < words; i++)
		EB_WRITE(entry[i], key[i]);
	EB_WRITE(*entry_tag, tag);
	EB_WRITE(bucket->dropped, 0);
	__sync_val_compare_and_swap(&bucket->packets_full_at, mark, mark);
}

/* Empties a locked entry, and unlocks it. */
static __always_inline void eb_entry_empty(__u64 *entry, __u16 *entry_tag, int words, __u64 mark)
{
	EB_WRITE(*entry_tag, 0);
	for (int i = 0; i < words; i++)
		EB_WRITE(entry[i], 0);
	eb_bucket_unlock(eb_key_bucket(entry, words), mark, EB_FULL, EB_FULL);
}

static __always_inline int eb_set_has_other(void *set, const struct eb_tags *tags, const __u64 *key, int words,
					    __u16 tag, const __u64 *entry)
{
	for (int way = 0; way < EB_WAYS; way++)
		if (EB_READ(tags->way[way]) == tag && eb_set_key(set, words, way) != entry &&
		    eb_key_equal(eb_set_key(set, words, way), key, words))
			return 1;
	return 0;
}

/* Gives a free entry and its tag to `key`, locked with `mark`. Of CPUs, only the holder of the key's lock may. Returns
 * 0 when another CPU or the agent was faster, with this entry or with this key. */
static __always_inline int eb_place_take(const struct eb_sets *sets, const __u64 *key, int words, __u16 tag, int place,
					 __u64 mark, __u64 now)
{
	__u64 *entry = eb_place_key(sets, words, place);
	__u16 *entry_tag = eb_place_tag(sets, place);
	struct eb_bucket *bucket = eb_key_bucket(entry, words);
	__u64 packets = EB_READ(bucket->packets_full_at);
	__u64 bytes = EB_READ(bucket->bytes_full_at);
	int was_empty = eb_key_empty(entry, words);

	if (was_empty ? eb_gcra_is_locked(packets) || eb_gcra_is_locked(bytes)
		      : !eb_time_idle(packets, now) || !eb_time_idle(bytes, now))
		return 0;
	if (!eb_bucket_lock(bucket, packets, bytes, mark))
		return 0;
	/* An empty entry may owe what a CPU charged that found it before it was emptied, and was refused then. */
	if (was_empty && !eb_key_empty(entry, words)) {
		eb_bucket_unlock(bucket, mark, packets, bytes);
		return 0;
	}
	eb_entry_name(entry, entry_tag, key, words, tag, mark);
	for (int choice = 0; choice < EB_CHOICES; choice++) {
		if (eb_set_has_other(sets->set[choice], sets->tags[choice], key, words, tag, entry)) {
			eb_entry_empty(entry, entry_tag, words, mark);
			return 0;
		}
	}
	return 1;
}

/* The lock that serializes the creation of one key's bucket among CPUs. */
static __always_inline __u64 *eb_key_lock(struct eb_state *state, __u64 hash)
{
	return &state->locks[(hash ^ (hash >> 32)) & (EB_LOCKS - 1)];
}

static __always_inline int eb_lock(__u64 *lock)
{
	for (int i = 0; i < EB_LOCK_TRIES; i++)
		if (__sync_val_compare_and_swap(lock, 0, 1) == 0)
			return 1;
	return 0;
}

static __always_inline void eb_unlock(__u64 *lock)
{
	__sync_val_compare_and_swap(lock, 1, 0);
}

/* A free place for a key, or EB_PLACE_FULL. */
static __always_inline int eb_table_room(const struct eb_sets *sets, int words, __u64 now)
{
	int dense = 0, a = 0, b = 0;
	int room_a, room_b;

	if (eb_set_room(sets->set[EB_CHOICE_DENSE], words, now, EB_DENSE_IDLE, &dense))
		return EB_PLACE(EB_CHOICE_DENSE, dense);
	room_a = eb_set_room(sets->set[EB_CHOICE_FIRST], words, now, 0, &a);
	if (room_a >= EB_ROOMY)
		return EB_PLACE(EB_CHOICE_FIRST, a);
	room_b = eb_set_room(sets->set[EB_CHOICE_SECOND], words, now, 0, &b);
	if (room_a == 0 && room_b == 0)
		return EB_PLACE_FULL;
	return room_a >= room_b ? EB_PLACE(EB_CHOICE_FIRST, a) : EB_PLACE(EB_CHOICE_SECOND, b);
}

/*
 * Makes an entry for a key that was not in its sets a moment ago, at a place that eb_table_room() gave, or finds the
 * one that another CPU just made. Returns its place, or EB_PLACE_BUSY when others kept getting in the way.
 */
static __always_inline int eb_table_insert(const struct eb_sets *sets, const __u64 *key, int words, __u16 tag,
					   __u64 *lock, int place, __u64 now)
{
	int found;

	if (!eb_lock(lock))
		return EB_PLACE_BUSY;
	found = eb_table_find(sets, key, words, tag);
	if (found == EB_PLACE_NONE && eb_place_take(sets, key, words, tag, place, EB_LOCKED, now)) {
		eb_bucket_unlock(eb_key_bucket(eb_place_key(sets, words, place), words), EB_LOCKED, EB_FULL, EB_FULL);
		found = place;
	}
	eb_unlock(lock);
	return found == EB_PLACE_NONE ? EB_PLACE_BUSY : found;
}

/*
 * Says that a bucket of the group was charged, so that the agent need not look at every bucket to find those that
 * changed. To be called behind the compare-and-swap that changed a time. Mostly a read of a line that is shared: who
 * finds the mark set leaves it alone.
 *
 * No change is lost. The agent takes the mark away by eb_take_mark(), then reads the times. Both swaps are full
 * barriers. So a CPU that finds the mark set, and leaves it, looked before the agent took it away, and its change comes
 * before the agent's reading. A CPU that finds it not set sets it, however late: at worst the agent looks once more
 * than it had to.
 */
static __always_inline void eb_mark_changed(__u8 *mark)
{
	if (!EB_READ(*mark))
		EB_WRITE(*mark, 1);
}

/* Whether the mark was set, and takes it away. For the agent alone: nobody else does that, and so the swap succeeds. */
static __always_inline int eb_take_mark(__u8 *mark)
{
	return EB_READ(*mark) && __sync_bool_compare_and_swap(mark, 1, 0);
}

/* Adds to a number that the agent reads when it has taken the mark away; eb_mark_changed() is to be called behind it.
 * The result is used, as clang makes an addition without BPF_FETCH, which orders nothing, of one that nobody uses. */
static __always_inline void eb_add_before_mark(__u64 *number, __u64 more)
{
	__u64 before = __sync_fetch_and_add(number, more);

	asm volatile("" : : "r"(before));
}

/*
 * Whether `tokens` can be refused by `early`, a time up to EB_EARLY_MAX ago, without asking for the exact one:
 *  - when they would be refused at any time up to now;
 *  - when a token takes less than EB_EARLY_MAX: what has become due since `early` comes in one portion with the next
 *    reading. The bucket must have room for it, as what a full bucket lets run over is lost.
 */
static __always_inline int eb_limit_refuses_early(const __u64 *full_at, const struct eb_limit *limit, __u64 tokens,
						  __u64 early)
{
	__u64 cost = eb_gcra_cost(limit, tokens), needed = eb_gcra_debt(EB_READ(*full_at), early) + cost;

	if (needed <= limit->burst)
		return 0;
	return needed > limit->burst + EB_EARLY_MAX ||
	       (cost < EB_EARLY_MAX && cost + EB_EARLY_MAX <= limit->burst);
}

/* The same for a packet of `len` bytes. */
static __always_inline int eb_bucket_refuses_early(const struct eb_bucket *bucket, const struct eb_rule *rule,
						   __u64 len, __u64 early)
{
	return (rule->packets.mult && eb_limit_refuses_early(&bucket->packets_full_at, &rule->packets, 1, early)) ||
	       (rule->bytes.mult && eb_limit_refuses_early(&bucket->bytes_full_at, &rule->bytes, len, early));
}

/* Charges `tokens` to one limit of a bucket: all or nothing. */
static __always_inline enum eb_charge eb_limit_charge(__u64 *full_at, const struct eb_limit *limit, __u64 tokens,
						      __u64 now)
{
	__u64 cost = eb_gcra_cost(limit, tokens);

	for (int i = 0; i < EB_CAS_TRIES; i++) {
		__u64 seen = EB_READ(*full_at);
		__u64 debt = eb_gcra_debt(seen, now);

		if (eb_gcra_is_locked(seen))
			continue;
		if (!eb_gcra_conforms(limit, debt, cost))
			return EB_REFUSED;
		if (__sync_val_compare_and_swap(full_at, seen, eb_gcra_full_at(now, debt + cost)) == seen)
			return EB_ADMITTED;
	}
	return EB_BUSY;
}

/*
 * Charges one packet of `len` bytes. A refusal charges neither limit and writes nothing. One race is accepted: when
 * another CPU takes the last bytes between the look at the bytes and their charge, the packet has cost the source one
 * packet token, and is refused as EB_BUSY. It errs towards less.
 */
static __always_inline enum eb_charge eb_bucket_charge(struct eb_bucket *bucket, const struct eb_rule *rule, __u64 len,
						       __u64 now)
{
	enum eb_charge charge = EB_ADMITTED;

	if (rule->bytes.mult && rule->packets.mult &&
	    !eb_gcra_conforms(&rule->bytes, eb_gcra_debt(EB_READ(bucket->bytes_full_at), now),
			      eb_gcra_cost(&rule->bytes, len)))
		return EB_REFUSED;
	if (rule->packets.mult)
		charge = eb_limit_charge(&bucket->packets_full_at, &rule->packets, 1, now);
	if (charge != EB_ADMITTED || !rule->bytes.mult)
		return charge;
	charge = eb_limit_charge(&bucket->bytes_full_at, &rule->bytes, len, now);
	return charge == EB_REFUSED && rule->packets.mult ? EB_BUSY : charge;
}

#endif
