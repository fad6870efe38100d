// SPDX-License-Identifier: GPL-2.0-only
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "policy/prefix_filter.h"

/* Bits of a filter for each that is set, and their number's bounds as binary logarithms: 512 bytes and 2 MiB. */
#define BITS_PER_MARK 16
#define LOG_BITS_MIN 12
#define LOG_BITS_MAX 24

/* Short prefixes are marked by several bits; so many are no matter, or so many times as many as there are prefixes. */
#define MARKS_FREE 4096
#define MARKS_PER_PREFIX 4

/* The first 64 bits of an address in host byte order; of an IPv4 address, 32. */
static uint64_t head_of(const struct eb_trie_entry *entry, int family)
{
	uint64_t head6;
	uint32_t head4;

	if (family == 4) {
		memcpy(&head4, entry->addr, sizeof(head4));
		return be32toh(head4);
	}
	memcpy(&head6, entry->addr, sizeof(head6));
	return be64toh(head6);
}

/* As it is in memory, which is how a packet's address is read. */
static uint64_t in_memory(uint64_t head, int family)
{
	return family == 4 ? htobe32(head) : htobe64(head);
}

/* What `count` prefixes of `len` bits mark where `length` bits count: one each, or all that they cover. Those that
 * would mark more than 2^32 each mark `too_many`. */
static uint64_t marks_of(uint64_t count, int len, int length, uint64_t too_many)
{
	if (len >= length || !count)
		return count;
	return length - len > 32 ? too_many : count << (length - len);
}

/* How many bits of an address count that has `width`: as many as possible without marking too much. Sets *marks. */
static int choose_length(const struct eb_trie *trie, int width, uint64_t *marks)
{
	uint64_t most = MARKS_PER_PREFIX * trie->count > MARKS_FREE ? MARKS_PER_PREFIX * trie->count : MARKS_FREE;
	uint64_t by_len[129] = {};

	for (size_t i = 0; i < trie->count; i++)
		by_len[trie->items[i].len]++;
	for (int length = width; length > 0; length--) {
		*marks = 0;
		for (int len = 0; len <= 128; len++)
			*marks += marks_of(by_len[len], len, length, most + 1);
		if (*marks <= most)
			return length;
	}
	return 0;
}

static void mark(uint64_t *words, const struct eb_filter *filter, uint64_t addr)
{
	uint32_t bit = eb_filter_bit(filter, addr);

	words[bit / 64] |= 1ULL << (bit % 64);
}

/* All beginnings of `length` bits that a prefix covers, or its own. */
static void mark_prefix(uint64_t *words, const struct eb_filter *filter, const struct eb_trie_entry *entry, int family,
			int length)
{
	uint64_t head = head_of(entry, family), step = 1ULL << ((family == 4 ? 32 : 64) - length);
	uint64_t count = entry->len < length ? 1ULL << (length - entry->len) : 1;

	for (uint64_t i = 0; i < count; i++)
		mark(words, filter, in_memory(head + i * step, family));
}

static int log_of_bits(uint64_t marks)
{
	int log = LOG_BITS_MIN;

	while (log < LOG_BITS_MAX && 1ULL << log < BITS_PER_MARK * marks)
		log++;
	return log;
}

int eb_filter_make(struct eb_trie *trie, int family, struct eb_filter *out)
{
	int width = family == 4 ? 32 : 64, log;
	uint64_t marks = 0;
	int length = trie->count ? choose_length(trie, width, &marks) : 0;

	memset(out, 0, sizeof(*out));
	if (length == 0 || (length < 63 && marks > 1ULL << (length - 1)))
		return 0;
	log = log_of_bits(marks);
	trie->filter_words = (1ULL << log) / 64;
	trie->filter = calloc(trie->filter_words, sizeof(*trie->filter));
	if (!trie->filter)
		return -ENOMEM;
	out->mask = in_memory(~0ULL << (width - length), family);
	out->shift = 64 - log;
	for (size_t i = 0; i < trie->count; i++)
		mark_prefix(trie->filter, out, &trie->items[i], family, length);
	return 0;
}
