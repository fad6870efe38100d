// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "maps/convert.h"
#include "maps/debt_order.h"
#include "policy/rules.h"

/* A rule or level of one policy and what it is in the other. */
struct pair {
	const struct eb_rule *from, *to;
};

/* What a bucket of the new policy owes, in ticks. */
struct debt {
	struct eb_source source;
	uint64_t packets, bytes;
};

struct debts {
	struct debt *items;
	size_t count, room;
};

struct eb_convert {
	struct eb_policy from, to;
	bool same_table;
	int count;
	struct pair pairs[EB_LIMITS_MAX];
	struct debts given; /* by eb_convert_copy() */
	uint64_t given_at;
};

static bool is_converted(const struct eb_convert *convert, const struct pair *pair, int family)
{
	if (!convert->same_table)
		return true;
	return eb_rules_id_of(pair->from, family) != eb_rules_id_of(pair->to, family);
}

static void find_pairs(struct eb_convert *convert)
{
	const struct eb_policy *old = &convert->from, *new = &convert->to;

	for (__u32 i = 0; i < new->rule_count; i++) {
		for (__u32 j = 0; j < old->rule_count; j++) {
			struct pair pair = { &old->rules[j], &new->rules[i] };

			if (!eb_rules_same(old, j, new, i) || pair.from->action != EB_LIMIT ||
			    pair.to->action != EB_LIMIT)
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
	free(convert->given.items);
	free(convert);
}

/* What of a source, and its target, makes one of this rule. */
static void mask_source(struct eb_source *source, const struct eb_rule *rule)
{
	uint64_t words[2];
	__be32 addr4;

	if (!rule->also)
		source->target = (struct eb_destination){ .also = EB_ALSO_NONE };
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

static uint64_t convert_time(uint64_t full_at, uint64_t now, const struct eb_limit *from, const struct eb_limit *to)
{
	bool is_same = from->mult == to->mult && from->burst == to->burst && from->shift == to->shift;

	/* No rounding where nothing changes. */
	return is_same && eb_gcra_debt(full_at, now) ? full_at : eb_rules_convert(full_at, now, from, to);
}

static const struct pair *pair_of(const struct eb_convert *convert, const struct eb_source *source)
{
	for (int i = 0; i < convert->count; i++) {
		const struct pair *pair = &convert->pairs[i];

		if (source->rule_id == eb_rules_id_of(pair->from, source->family))
			return is_converted(convert, pair, source->family) ? pair : NULL;
	}
	return NULL;
}

/* Sources that become finer cannot be told apart in what the coarser bucket owes. */
static bool becomes_finer(const struct pair *pair, int family)
{
	if (pair->to->also && pair->to->also != pair->from->also)
		return true;
	return eb_rules_prefix_of(pair->to, family) > eb_rules_prefix_of(pair->from, family);
}

/* The bucket of the new policy that takes an old one's debt over. False when none does. */
static bool convert_view(const struct eb_convert *convert, const struct eb_bucket_view *view, uint64_t now,
			 struct eb_bucket_view *out)
{
	const struct pair *pair = pair_of(convert, &view->source);
	int family = view->source.family;

	if (!pair || becomes_finer(pair, family))
		return false;
	*out = (struct eb_bucket_view){
		.source = view->source,
		.packets_full_at = convert_time(view->packets_full_at, now, &pair->from->packets, &pair->to->packets),
		.bytes_full_at = convert_time(view->bytes_full_at, now, &pair->from->bytes, &pair->to->bytes),
	};
	out->source.rule_id = eb_rules_id_of(pair->to, family);
	mask_source(&out->source, pair->to);
	return true;
}

/* ---- within one table ---- */

bool eb_convert_is_empty(const struct eb_convert *convert)
{
	return !convert->count;
}

bool eb_convert_announce(const struct eb_convert *convert, struct eb_policy *policy)
{
	for (int i = 0; i < convert->count; i++) {
		const struct pair *pair = &convert->pairs[i];

		policy->rules[pair->from - convert->from.rules].next = pair->to - convert->to.rules + 1;
	}
	return convert->count > 0;
}

/* What is left to move is moved again, as every move makes room: there is an end when nothing moves any more. */
struct move {
	const struct eb_convert *convert;
	struct eb_buckets *buckets;
	size_t moved, left;
};

/* Returns 0 once the old bucket is gone, negative errno when the new one finds no room. */
static int move_bucket(const struct move *move, struct eb_bucket_view *old)
{
	uint64_t now = eb_buckets_now();
	struct eb_bucket_view new;
	int err = 0;

	if (!convert_view(move->convert, old, now, &new))
		return -ENOENT;
	if (new.packets_full_at != EB_FULL || new.bytes_full_at != EB_FULL)
		err = eb_buckets_merge(move->buckets, &new, EB_MERGE_LATER, now);
	return err < 0 ? err : eb_buckets_take_away(move->buckets, old);
}

static int visit_old(const struct eb_bucket_view *view, uint32_t index, void *arg)
{
	struct eb_bucket_view old = *view;
	struct move *move = arg;
	int err;

	(void)index;
	do {
		err = move_bucket(move, &old);
	} while (err == -EAGAIN);
	move->moved += err == 0;
	move->left += err && err != -ENOENT;
	return 0;
}

size_t eb_convert_move(struct eb_convert *convert, struct eb_buckets *buckets)
{
	struct move move = { .convert = convert, .buckets = buckets };

	if (!convert->count)
		return 0;
	do {
		struct eb_bucket_cursor cursor = { 0 };

		move.moved = move.left = 0;
		(void)eb_buckets_walk(buckets, &cursor, visit_old, &move);
	} while (move.left && move.moved);
	return move.left;
}

/* ---- from other maps ---- */

static int compare_debts(const void *a, const void *b)
{
	const struct eb_source *x = &((const struct debt *)a)->source, *y = &((const struct debt *)b)->source;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (x->rule_id != y->rule_id)
		return x->rule_id < y->rule_id ? -1 : 1;
	return memcmp(x->addr, y->addr, sizeof(x->addr)) ?: memcmp(&x->target, &y->target, sizeof(x->target));
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

struct collect {
	const struct eb_convert *convert;
	struct debts *debts;
	uint64_t now;
};

static int collect_one(const struct eb_bucket_view *view, void *arg)
{
	struct collect *collect = arg;
	struct debts *debts = collect->debts;
	struct eb_bucket_view new;
	struct debt debt, *items;

	if (!convert_view(collect->convert, view, collect->now, &new))
		return 0;
	debt = (struct debt){
		.source = new.source,
		.packets = eb_gcra_debt(new.packets_full_at, collect->now),
		.bytes = eb_gcra_debt(new.bytes_full_at, collect->now),
	};
	if (!debt.packets && !debt.bytes)
		return 0;
	items = eb_grow(debts->items, debts->count, &debts->room, sizeof(*items));
	if (!items)
		return -ENOMEM;
	debts->items = items;
	debts->items[debts->count++] = debt;
	return 0;
}

/* What each new bucket owes by what the old ones say at `now`, sorted: where sources become coarser, the largest. */
static int collect_debts(const struct eb_convert *convert, const struct eb_foreign *foreign, uint64_t now,
			 struct debts *out)
{
	struct collect collect = { convert, out, now };
	size_t kept = 0;
	int err = convert->count ? eb_foreign_each(foreign, collect_one, &collect) : 0;

	if (err || !out->count)
		return err;
	qsort(out->items, out->count, sizeof(*out->items), compare_debts);
	for (size_t i = 1; i < out->count; i++) {
		struct debt *last = &out->items[kept], *next = &out->items[i];

		if (compare_debts(last, next) != 0) {
			out->items[++kept] = *next;
			continue;
		}
		last->packets = later(last->packets, next->packets);
		last->bytes = later(last->bytes, next->bytes);
	}
	out->count = kept + 1;
	return 0;
}

static struct eb_debt_rank rank_of(size_t number, const void *arg)
{
	const struct debts *debts = arg;

	return (struct eb_debt_rank){ .length = later(debts->items[number].packets, debts->items[number].bytes) };
}

static int merge_debt(struct eb_buckets *into, const struct debt *debt, enum eb_merge merge, uint64_t now)
{
	struct eb_bucket_view view = {
		.source = debt->source,
		.packets_full_at = debt->packets ? eb_gcra_full_at(now, debt->packets) : EB_FULL,
		.bytes_full_at = debt->bytes ? eb_gcra_full_at(now, debt->bytes) : EB_FULL,
	};

	return eb_buckets_merge(into, &view, merge, now);
}

int eb_convert_copy(struct eb_convert *convert, const struct eb_foreign *foreign, struct eb_buckets *into,
		    size_t *lost)
{
	struct debts *given = &convert->given;
	uint32_t *order;
	int err;

	convert->given_at = eb_buckets_now();
	err = collect_debts(convert, foreign, convert->given_at, given);
	if (err || !into)
		return err;
	order = eb_debt_order(given->count, 1, rank_of, given);
	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < given->count; i++)
		*lost += merge_debt(into, &given->items[order[i]], EB_MERGE_LATER, convert->given_at) < 0;
	free(order);
	return 0;
}

/* What was given, and has refilled by `now` as the bucket it was given to has, is no part of what is to be added. */
static void subtract_given(const struct eb_convert *convert, struct debt *debt, uint64_t now)
{
	const struct debt *given = NULL;

	if (convert->given.count)
		given = bsearch(debt, convert->given.items, convert->given.count, sizeof(*debt), compare_debts);
	if (!given)
		return;
	debt->packets = eb_gcra_debt_after(debt->packets, eb_gcra_debt_after(given->packets, now - convert->given_at));
	debt->bytes = eb_gcra_debt_after(debt->bytes, eb_gcra_debt_after(given->bytes, now - convert->given_at));
}

int eb_convert_catch_up(struct eb_convert *convert, const struct eb_foreign *foreign, struct eb_buckets *into,
			size_t *lost)
{
	uint64_t now = eb_buckets_now();
	struct debts debts = { 0 };
	int err = collect_debts(convert, foreign, now, &debts);

	for (size_t i = 0; i < debts.count && !err; i++) {
		struct debt debt = debts.items[i];

		subtract_given(convert, &debt, now);
		if (debt.packets || debt.bytes)
			*lost += merge_debt(into, &debt, EB_MERGE_ADD, now) < 0;
	}
	if (err) {
		free(debts.items);
		return err;
	}
	free(convert->given.items);
	convert->given = debts;
	convert->given_at = now;
	return 0;
}
