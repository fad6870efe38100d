// SPDX-License-Identifier: GPL-2.0-only
/* Filters in front of tries: nothing that a prefix covers is kept out, and hardly anything else let in. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter.h"
#include "policy/prefix_filter.h"
#include "random.h"

#define FILTER_MAX (2 * 1024 * 1024)

static bool lets_in(const struct eb_trie *trie, const struct eb_filter *filter, int family, const uint8_t addr[16])
{
	uint64_t head = 0;
	uint32_t bit;

	memcpy(&head, addr, family == 4 ? 4 : 8);
	bit = eb_filter_bit(filter, head);
	assert_true(bit / 64 < trie->filter_words);
	return (trie->filter[bit / 64] >> (bit % 64)) & 1;
}

/* Random bits behind the first `len`. */
static void randomize_rest(uint8_t addr[16], int family, int len)
{
	for (int bit = len; bit < (family == 4 ? 32 : 128); bit++)
		if (draw() & 1)
			addr[bit / 8] ^= 0x80 >> bit % 8;
}

static void mask_address(uint8_t addr[16], int len)
{
	for (int bit = len; bit < 128; bit++)
		addr[bit / 8] &= ~(0x80 >> bit % 8);
}

static void random_list(struct eb_trie *trie, int family, size_t count, int shortest, int longest)
{
	*trie = (struct eb_trie){ .items = calloc(count + 1, sizeof(*trie->items)), .count = count };
	assert_non_null(trie->items);
	for (size_t i = 0; i < count; i++) {
		struct eb_trie_entry *entry = &trie->items[i];

		entry->len = shortest + draw() % (longest - shortest + 1);
		randomize_rest(entry->addr, family, 0);
		mask_address(entry->addr, entry->len);
	}
}

static void free_list(struct eb_trie *trie)
{
	free(trie->items);
	free(trie->filter);
}

static void check_covered(const struct eb_trie *trie, const struct eb_filter *filter, int family)
{
	for (size_t i = 0; i < trie->count; i++) {
		uint8_t addr[16];

		for (int again = 0; again < 4; again++) {
			memcpy(addr, trie->items[i].addr, sizeof(addr));
			if (again)
				randomize_rest(addr, family, trie->items[i].len);
			assert_true(lets_in(trie, filter, family, addr));
		}
	}
}

/* Percent of random addresses that are let in. */
static double share_of_others(const struct eb_trie *trie, const struct eb_filter *filter, int family)
{
	const int count = 100000;
	int in = 0;

	for (int i = 0; i < count; i++) {
		uint8_t addr[16] = {};

		randomize_rest(addr, family, 0);
		in += lets_in(trie, filter, family, addr);
	}
	return 100.0 * in / count;
}

static void check_list(int family, size_t count, int shortest, int longest, double share_max)
{
	struct eb_filter filter;
	struct eb_trie trie;

	random_list(&trie, family, count, shortest, longest);
	assert_int_equal(eb_filter_make(&trie, family, &filter), 0);
	assert_non_null(trie.filter);
	assert_true(trie.filter_words * sizeof(*trie.filter) <= FILTER_MAX);
	check_covered(&trie, &filter, family);
	assert_true(share_of_others(&trie, &filter, family) < share_max);
	free_list(&trie);
}

static void test_lists(void **state)
{
	(void)state;
	check_list(4, 1, 32, 32, 0.1);
	check_list(4, 1, 16, 16, 7);
	check_list(4, 20, 20, 32, 7);
	check_list(4, 1000, 24, 32, 10);
	check_list(4, 100000, 24, 32, 15);
	check_list(4, 1000000, 32, 32, 7);
	check_list(6, 1, 128, 128, 0.1);
	check_list(6, 1000, 32, 64, 7);
	check_list(6, 100000, 64, 128, 7);
	check_list(6, 1000000, 48, 128, 25); /* up to four bits are marked for each, of 2^24 */
	for (int i = 0; i < 200; i++)
		check_list(draw() % 2 ? 4 : 6, 1 + draw() % 50, 10, 32, 60);
}

static void check_none(int family, size_t count, int len)
{
	struct eb_filter filter;
	struct eb_trie trie;

	random_list(&trie, family, count, len, len);
	assert_int_equal(eb_filter_make(&trie, family, &filter), 0);
	assert_null(trie.filter);
	assert_int_equal(filter.shift, 0);
	free_list(&trie);
}

/* No filter where it would let everything in. */
static void test_useless(void **state)
{
	(void)state;
	check_none(4, 0, 32);
	check_none(6, 0, 32);
	check_none(4, 1, 0);
	check_none(6, 1, 0);
	check_none(4, 4, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_useless),
	};

	return cmocka_run_group_tests(tests, random_start, NULL);
}
