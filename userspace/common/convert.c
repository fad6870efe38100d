// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "convert.h"
#include "longest.h"
#include "rules.h"

/* A rule of one policy and the rule of the same name in the other. */
struct pair {
	const struct eb_rule *from, *to;
};

/* What an old bucket was when its debt was converted: what it is charged later, before the switch, is added after. */
struct converted {
	struct eb_source source;
	uint64_t packets_full_at, bytes_full_at;
};

struct eb_convert {
	struct eb_policy from, to;
	bool same_table;
	int count;
	struct pair pairs[EB_RULES_MAX];
	uint64_t now; /* of the first pass */
	struct converted *done;
	size_t done_count, done_room;
	size_t lost; /* sources that found no room */
	struct eb_buckets *into;
};

static bool is_converted(const struct eb_convert *convert, const struct pair *pair, int family)
{
	if (!convert->same_table)
		return true;
	return family == 4 ? pair->from->id4 != pair->to->id4 : pair->from->id6 != pair->to->id6;
}

static void find_pairs(struct eb_convert *convert)
{
	const struct eb_policy *old = &convert->from, *new = &convert->to;

	for (__u32 i = 0; i < new->rule_count; i++) {
		for (__u32 j = 0; j < old->rule_count; j++) {
			struct pair pair = { &old->rules[j], &new->rules[i] };

			if (memcmp(new->names[i], old->names[j], sizeof(new->names[i])) != 0 ||
			    pair.from->action != EB_LIMIT || pair.to->action != EB_LIMIT)
				continue;
			if (is_converted(convert, &pair, 4) || is_converted(convert, &pair, 6))
				convert->pairs[convert->count++] = pair;
		}
	}
}

struct eb_convert *eb_convert_new(const struct eb_policy *from, const struct eb_policy *to, bool same_table)
{
	struct eb_convert *convert = calloc(1, sizeof(*convert));

	if (!convert)
		return NULL;
	convert->from = *from;
	convert->to = *to;
	convert->same_table = same_table;
	find_pairs(convert);
	return convert;
}

void eb_convert_free(struct eb_convert *convert)
{
	if (!convert)
		return;
	free(convert->done);
	free(convert);
}

static void mask_source(struct eb_source *source, const struct eb_rule *rule)
{
	uint64_t words[2];
	__be32 addr4;

	if (source->family == 4) {
		memcpy(&addr4, source->addr, sizeof(addr4));
		addr4 &= rule->mask4;
		memcpy(source->addr, &addr4, sizeof(addr4));
		return;
	}
	memcpy(words, source->addr, sizeof(words));
	words[0] &= rule->mask6[0];
	words[1] &= rule->mask6[1];
	memcpy(source->addr, words, sizeof(words));
}

static uint64_t worth(uint64_t full_at, uint64_t now, const struct eb_limit *from, const struct eb_limit *to)
{
	bool is_same = from->mult == to->mult && from->burst == to->burst && from->shift == to->shift;

	/* No rounding where nothing changes. */
	return is_same && eb_gcra_debt(full_at, now) ? full_at : eb_rules_convert(full_at, now, from, to);
}

/* Gives the new bucket of a source what the debts are worth under the new limits. */
static void merge_worth(struct eb_convert *convert, const struct pair *pair, const struct eb_bucket_view *view,
			enum eb_merge merge, uint64_t now)
{
	const struct eb_rule *from = pair->from, *to = pair->to;
	bool is_v4 = view->source.family == 4;
	struct eb_bucket_view converted = {
		.source = view->source,
		.packets_full_at = worth(view->packets_full_at, now, &from->packets, &to->packets),
		.bytes_full_at = worth(view->bytes_full_at, now, &from->bytes, &to->bytes),
	};

	/* Sources that become finer cannot be told apart in what the coarser bucket owes. */
	if (is_v4 ? to->prefix4 > from->prefix4 : to->prefix6 > from->prefix6)
		return;
	converted.source.rule_id = is_v4 ? to->id4 : to->id6;
	mask_source(&converted.source, to);
	if (eb_buckets_merge(convert->into, &converted, merge, to) < 0)
		convert->lost++;
}

static const struct pair *pair_of(const struct eb_convert *convert, const struct eb_source *source)
{
	for (int i = 0; i < convert->count; i++) {
		const struct pair *pair = &convert->pairs[i];

		if (source->rule_id == (source->family == 4 ? pair->from->id4 : pair->from->id6))
			return is_converted(convert, pair, source->family) ? pair : NULL;
	}
	return NULL;
}

static int remember(struct eb_convert *convert, const struct eb_bucket_view *view)
{
	if (convert->done_count == convert->done_room) {
		size_t room = convert->done_room ? convert->done_room * 2 : 1024;
		struct converted *done = realloc(convert->done, room * sizeof(*done));

		if (!done)
			return -ENOMEM;
		convert->done = done;
		convert->done_room = room;
	}
	convert->done[convert->done_count++] = (struct converted){
		.source = view->source,
		.packets_full_at = view->packets_full_at,
		.bytes_full_at = view->bytes_full_at,
	};
	return 0;
}

static int find_convertible(const struct eb_bucket_view *view, void *arg)
{
	struct eb_convert *convert = arg;

	return pair_of(convert, &view->source) ? remember(convert, view) : 0;
}

static uint64_t length_of(size_t number, const void *arg)
{
	const struct eb_convert *convert = arg;
	uint64_t packets = eb_gcra_debt(convert->done[number].packets_full_at, convert->now);
	uint64_t bytes = eb_gcra_debt(convert->done[number].bytes_full_at, convert->now);

	return packets > bytes ? packets : bytes;
}

static int convert_found(struct eb_convert *convert)
{
	uint32_t *order = eb_longest_first(convert->done_count, length_of, convert);

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < convert->done_count; i++) {
		const struct converted *old = &convert->done[order[i]];
		struct eb_bucket_view view = {
			.source = old->source,
			.packets_full_at = old->packets_full_at,
			.bytes_full_at = old->bytes_full_at,
		};

		if (length_of(order[i], convert))
			merge_worth(convert, pair_of(convert, &view.source), &view, EB_MERGE_LATER, convert->now);
	}
	free(order);
	return 0;
}

static int compare_converted(const void *a, const void *b)
{
	const struct eb_source *x = &((const struct converted *)a)->source, *y = &((const struct converted *)b)->source;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (x->rule_id != y->rule_id)
		return x->rule_id < y->rule_id ? -1 : 1;
	return memcmp(x->addr, y->addr, sizeof(x->addr));
}

/* A time that is as far ahead of `now` as `full_at` came on since the first pass; a bucket that was full then counts
 * from then on, which can only be too much. */
static uint64_t progress(const struct eb_convert *convert, uint64_t full_at, uint64_t before, uint64_t now)
{
	uint64_t debt = eb_gcra_debt(full_at, convert->now);
	uint64_t debt_before = eb_gcra_debt(before, convert->now);

	return debt > debt_before ? eb_gcra_full_at(now, debt - debt_before) : EB_FULL;
}

static int convert_rest(const struct eb_bucket_view *view, void *arg)
{
	struct eb_convert *convert = arg;
	const struct pair *pair = pair_of(convert, &view->source);
	struct converted key = { .source = view->source }; /* EB_FULL for a source that is new since */
	const struct converted *before = &key;
	struct eb_bucket_view rest = *view;
	uint64_t now = eb_buckets_now();

	if (!pair)
		return 0;
	if (convert->done_count) {
		const struct converted *found = bsearch(&key, convert->done, convert->done_count,
							sizeof(*convert->done), compare_converted);

		before = found ? found : &key;
	}
	rest.packets_full_at = progress(convert, view->packets_full_at, before->packets_full_at, now);
	rest.bytes_full_at = progress(convert, view->bytes_full_at, before->bytes_full_at, now);
	if (rest.packets_full_at != EB_FULL || rest.bytes_full_at != EB_FULL)
		merge_worth(convert, pair, &rest, EB_MERGE_ADD, now);
	return 0;
}

int eb_convert_begin(struct eb_convert *convert, eb_bucket_source each, const void *source, struct eb_buckets *into)
{
	int err;

	convert->into = into;
	convert->now = eb_buckets_now();
	err = convert->count ? each(source, find_convertible, convert) : 0;
	return err ? err : convert_found(convert);
}

size_t eb_convert_finish(struct eb_convert *convert, eb_bucket_source each, const void *source,
			 struct eb_buckets *into)
{
	convert->into = into;
	if (convert->done_count)
		qsort(convert->done, convert->done_count, sizeof(*convert->done), compare_converted);
	if (convert->count)
		(void)each(source, convert_rest, convert);
	return convert->lost;
}
