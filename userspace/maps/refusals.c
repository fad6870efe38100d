// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>

#include <bpf/bpf.h>

#include "maps/refusals.h"

static int compare_tallies(const void *a, const void *b)
{
	const struct eb_tally *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (x->set != y->set)
		return x->set < y->set ? -1 : 1;
	return (int)x->way - (int)y->way;
}

int eb_refusals_read(const struct eb_buckets *buckets, struct eb_tally **out, size_t *count)
{
	int cpus = eb_maps_cpus();
	struct eb_cpu *values;
	struct eb_tally *tallies;
	__u32 zero = 0;
	int err;

	if (cpus < 0)
		return cpus;
	values = calloc(cpus, sizeof(*values));
	tallies = calloc((size_t)cpus * EB_TALLIES, sizeof(*tallies));
	err = values && tallies ? bpf_map_lookup_elem(buckets->cpus_fd, &zero, values) : -ENOMEM;
	if (err) {
		free(values);
		free(tallies);
		return err;
	}
	*count = 0;
	for (int i = 0; i < cpus; i++)
		for (int j = 0; j < EB_TALLIES; j++)
			if (values[i].tallies[j].family && values[i].tallies[j].count)
				tallies[(*count)++] = values[i].tallies[j];
	free(values);
	qsort(tallies, *count, sizeof(*tallies), compare_tallies);
	*out = tallies;
	return 0;
}

uint64_t eb_refusals_sum(uint64_t in_bucket, uint64_t in_tallies)
{
	uint64_t sum = in_bucket + in_tallies;

	return sum <= INT64_MAX ? sum : 0;
}

bool eb_refusals_count_for(const struct eb_tally *tally, int family, const struct eb_bucket_location *location,
			   int place)
{
	return tally->tag == location->hash && tally->family == family && tally->way == (place & (EB_WAYS - 1)) &&
	       tally->set == (place < EB_WAYS ? location->first : location->second);
}

uint64_t eb_refusals_take(struct eb_tally_cursor *cursor, const struct eb_buckets *buckets,
			  const struct eb_bucket_table *table, __u32 set, int way, const __u64 *key)
{
	struct eb_tally here = { .family = table->family, .set = set, .way = way };
	uint64_t sum = 0;

	while (cursor->next < cursor->end && compare_tallies(cursor->next, &here) < 0)
		cursor->next++;
	for (; cursor->next < cursor->end && compare_tallies(cursor->next, &here) == 0; cursor->next++)
		if (cursor->next->tag == eb_key_hash(key, table->words, buckets->state->seed))
			sum += cursor->next->count;
	return sum;
}

static int compare_hashes(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Takes a tally off its bucket, if that still is the one it was counted for. */
static int forget_tally(const struct eb_buckets *buckets, const struct eb_tally *tally)
{
	struct eb_bucket_table *table = eb_bucket_table_of(buckets, tally->family);
	int err = eb_bucket_table_map(table);
	__u64 *entry;

	if (err || tally->set >= table->sets)
		return err;
	entry = eb_set_key(eb_bucket_table_set(table, table->memory, tally->set), table->words,
			   tally->way & (EB_WAYS - 1));
	if (eb_key_hash(entry, table->words, buckets->state->seed) == tally->tag)
		__sync_fetch_and_sub(&eb_key_bucket(entry, table->words)->dropped, tally->count);
	return 0;
}

int eb_refusals_forget(const struct eb_buckets *buckets, uint64_t *hashes, size_t hash_count)
{
	struct eb_tally *tallies;
	size_t count;
	int err = eb_refusals_read(buckets, &tallies, &count);

	if (err)
		return err;
	if (hashes)
		qsort(hashes, hash_count, sizeof(*hashes), compare_hashes);
	for (size_t i = 0; i < count && !err; i++)
		if (!hashes || bsearch(&tallies[i].tag, hashes, hash_count, sizeof(*hashes), compare_hashes))
			err = forget_tally(buckets, &tallies[i]);
	free(tallies);
	return err;
}
