// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>
#include <string.h>

#include "maps/debt_order.h"
#include "policy/rules.h"
#include "store/debts.h"
#include "store/restore.h"
#include "table.h"

/* A board without a clock of its own boots in 1970. A saved_at that is further ahead than this is damage. */
#define CLOCK_STEP_MAX_NS (100 * 366ULL * 24 * 3600 * 1000000000)

/* Two restores of the same record differ by the time between looking at the wall clock and at the other, each time. */
#define CLOCKS_APART (1000000ULL * EB_TICKS_PER_NS)

/* Debts that are put into the maps by one reading of the clock, and how far ahead of one the memory is asked for that
 * it lies in. */
#define ONE_CLOCK 64
#define AHEAD 8

struct eb_restore {
	const struct eb_policy *policy;
	uint64_t at; /* the moment that debts are as of, in ticks */
	uint64_t records_max;
	struct eb_debts debts;
	struct eb_restore_counts counts;
};

const char *eb_refusal_name(int refusal)
{
	switch (refusal) {
	case EB_REFUSED_UNKNOWN_RULE:
		return "unknown rule";
	case EB_REFUSED_PREFIX_LEN:
		return "prefix length";
	case EB_REFUSED_ALSO_PER:
		return "also_per";
	case EB_REFUSED_TOO_MANY:
		return "too many";
	case EB_REFUSED_NO_ROOM:
		return "no room";
	default:
		return eb_record_fault_name(refusal);
	}
}

struct eb_restore *eb_restore_new(const struct eb_policy *policy, uint64_t records_max)
{
	struct eb_restore *restore = calloc(1, sizeof(*restore));

	if (restore) {
		restore->policy = policy;
		restore->at = eb_buckets_now();
		restore->records_max = records_max;
	}
	return restore;
}

void eb_restore_free(struct eb_restore *restore)
{
	if (!restore)
		return;
	eb_debts_free(&restore->debts);
	free(restore);
}

uint64_t eb_restore_reference(uint64_t now_ns, uint64_t saved_at_ns)
{
	return saved_at_ns > now_ns && saved_at_ns - now_ns <= CLOCK_STEP_MAX_NS ? saved_at_ns : now_ns;
}

/* Rules come before levels: the rule itself is found unless a level has that very prefix length and kind of target. */
int eb_restore_find_rule(const struct eb_policy *policy, const struct eb_record *record)
{
	const struct eb_prefix *source = &record->source;
	int found = -1;

	for (uint32_t i = 0; i < policy->rule_count; i++) {
		const struct eb_rule *rule = &policy->rules[i];

		if (rule->action != EB_LIMIT || strncmp(policy->names[i], record->rule, EB_RULE_NAME_MAX) != 0)
			continue;
		if (!rule->level || (source->len == eb_rules_prefix_of(rule, source->family) &&
				     record->target.also == rule->also))
			found = i;
	}
	return found;
}

/* Ticks from `reference_ns` to `full_at_ns`, at most the burst. A limit that the rule does not have gives none. */
static uint64_t debt_of(uint64_t full_at_ns, uint64_t reference_ns, const struct eb_limit *limit, bool *clamped)
{
	uint64_t ahead_ns = full_at_ns > reference_ns ? full_at_ns - reference_ns : 0;

	if (!limit->mult || !ahead_ns)
		return 0;
	if (ahead_ns <= limit->burst / EB_TICKS_PER_NS)
		return ahead_ns * EB_TICKS_PER_NS;
	/* The mirror rounds up to a nanosecond. */
	*clamped |= ahead_ns > limit->burst / EB_TICKS_PER_NS + 1;
	return limit->burst;
}

static bool collect(struct eb_restore *restore, const struct eb_debt *debt)
{
	return eb_debts_count(&restore->debts) < restore->records_max && !eb_debts_add(&restore->debts, debt);
}

/* Says why the record is refused, or EB_RECORD_OK with *out filled. */
static int judge(const struct eb_restore *restore, const struct eb_record *record, uint64_t reference_ns,
		 struct eb_debt *out)
{
	int index = eb_restore_find_rule(restore->policy, record);
	const struct eb_rule *rule;

	if (index < 0)
		return EB_REFUSED_UNKNOWN_RULE;
	rule = &restore->policy->rules[index];
	if (record->source.len != eb_rules_prefix_of(rule, record->source.family))
		return EB_REFUSED_PREFIX_LEN;
	if (record->target.also != rule->also)
		return EB_REFUSED_ALSO_PER;
	memset(out, 0, sizeof(*out));
	memcpy(out->addr, record->source.addr, sizeof(out->addr));
	out->target = record->target;
	out->family = record->source.family;
	out->rule = index;
	out->packets = debt_of(record->packets_full_at_ns, reference_ns, &rule->packets, &out->clamped);
	out->bytes = debt_of(record->bytes_full_at_ns, reference_ns, &rule->bytes, &out->clamped);
	return EB_RECORD_OK;
}

void eb_restore_add(struct eb_restore *restore, const char *field, size_t field_len, const char *value,
		    size_t value_len, uint64_t reference_ns)
{
	struct eb_restore_counts *counts = &restore->counts;
	struct eb_record record;
	struct eb_debt debt = { .packets = 0 };
	int refusal = eb_record_parse(field, field_len, value, value_len, &record);
	bool is_full;

	counts->fields++;
	if (refusal == EB_RECORD_OK)
		refusal = judge(restore, &record, reference_ns, &debt);
	is_full = refusal == EB_RECORD_OK && !debt.packets && !debt.bytes;
	if (refusal == EB_RECORD_OK && !is_full && !collect(restore, &debt))
		refusal = EB_REFUSED_TOO_MANY;
	if (refusal != EB_RECORD_OK)
		counts->refused[refusal]++;
	counts->full += is_full;
}

static void show_debt(const struct eb_restore *restore, size_t number,
		      void (*visit)(const struct eb_restore_debt *debt, void *arg), void *arg)
{
	char name[EB_RULE_NAME_MAX + 1] = "";
	struct eb_restore_debt shown;
	struct eb_debt debt;

	eb_debts_get(&restore->debts, number, &debt);
	memcpy(name, restore->policy->names[debt.rule], EB_RULE_NAME_MAX);
	shown = (struct eb_restore_debt){
		.rule = name,
		.place = debt.rule,
		.source.family = debt.family,
		.source.len = eb_rules_prefix_of(&restore->policy->rules[debt.rule], debt.family),
		.target = debt.target,
		.packets_ns = debt.packets / EB_TICKS_PER_NS,
		.bytes_ns = debt.bytes / EB_TICKS_PER_NS,
		.clamped = debt.clamped,
	};
	memcpy(shown.source.addr, debt.addr, sizeof(shown.source.addr));
	visit(&shown, arg);
}

void eb_restore_each(struct eb_restore *restore, void (*visit)(const struct eb_restore_debt *debt, void *arg),
		     void *arg)
{
	size_t count;

	/* A bucket may have come from two stores, or twice in one scan: full_at only grows, so the later one is the
	 * truth. */
	eb_debts_sort(&restore->debts);
	count = eb_debts_count(&restore->debts);
	for (size_t i = 0; i < count; i++)
		show_debt(restore, i, visit, arg);
}

/* A debt as of the moment `of`, as of `at`. */
static uint64_t debt_at(uint64_t debt, uint64_t of, uint64_t at)
{
	if ((int64_t)(at - of) >= 0)
		return eb_gcra_debt_after(debt, at - of);
	return debt ? debt + (of - at) : 0;
}

void eb_restore_join(struct eb_restore *restore, struct eb_restore *other)
{
	struct eb_restore_counts *counts = &restore->counts;
	size_t count;

	eb_debts_sort(&restore->debts);
	eb_debts_sort(&other->debts);
	count = eb_debts_count(&other->debts);
	for (size_t i = 0; i < count; i++) {
		struct eb_debt debt;

		eb_debts_get(&other->debts, i, &debt);
		debt.packets = debt_at(debt.packets, other->at, restore->at);
		debt.bytes = debt_at(debt.bytes, other->at, restore->at);
		if (eb_debts_keep_later(&restore->debts, &debt))
			continue;
		if (!debt.packets && !debt.bytes)
			counts->full++;
		else if (!collect(restore, &debt))
			counts->refused[EB_REFUSED_TOO_MANY]++;
	}
	counts->fields += other->counts.fields;
	counts->full += other->counts.full;
	for (int i = 0; i < EB_REFUSALS; i++)
		counts->refused[i] += other->counts.refused[i];
	memset(&other->counts, 0, sizeof(other->counts));
	eb_debts_free(&other->debts);
}

static uint64_t clamp(uint64_t debt, const struct eb_limit *limit)
{
	if (!limit->mult)
		return 0;
	return debt < limit->burst ? debt : limit->burst;
}

/* As judge(), for a debt whose rule is now `index` of `policy`, or gone (-1). */
static int judge_again(const struct eb_restore *restore, const struct eb_policy *policy, int index,
		       struct eb_debt *debt)
{
	const struct eb_rule *old = &restore->policy->rules[debt->rule], *rule;

	if (index < 0)
		return EB_REFUSED_UNKNOWN_RULE;
	rule = &policy->rules[index];
	if (eb_rules_prefix_of(old, debt->family) != eb_rules_prefix_of(rule, debt->family))
		return EB_REFUSED_PREFIX_LEN;
	if (old->also != rule->also)
		return EB_REFUSED_ALSO_PER;
	debt->rule = index;
	debt->packets = clamp(debt->packets, &rule->packets);
	debt->bytes = clamp(debt->bytes, &rule->bytes);
	return EB_RECORD_OK;
}

/* What rule or level `index` of `from` is in `to`; -1 when that has no such limit. */
static int find_same(const struct eb_policy *from, uint32_t index, const struct eb_policy *to)
{
	for (uint32_t i = 0; i < to->rule_count; i++)
		if (to->rules[i].action == EB_LIMIT && eb_rules_same(from, index, to, i))
			return i;
	return -1;
}

struct rebinding {
	struct eb_restore *restore;
	const struct eb_policy *policy;
	int places[EB_LIMITS_MAX]; /* by the old ones */
};

static bool keep_debt(struct eb_debt *debt, void *arg)
{
	const struct rebinding *rebinding = arg;
	struct eb_restore_counts *counts = &rebinding->restore->counts;
	int refusal = judge_again(rebinding->restore, rebinding->policy, rebinding->places[debt->rule], debt);
	bool is_full = refusal == EB_RECORD_OK && !debt->packets && !debt->bytes;

	if (refusal != EB_RECORD_OK)
		counts->refused[refusal]++;
	counts->full += is_full;
	return refusal == EB_RECORD_OK && !is_full;
}

void eb_restore_rebind(struct eb_restore *restore, const struct eb_policy *policy)
{
	struct rebinding rebinding = { .restore = restore, .policy = policy };

	for (uint32_t i = 0; i < restore->policy->rule_count; i++)
		rebinding.places[i] = find_same(restore->policy, i, policy);
	eb_debts_filter(&restore->debts, keep_debt, &rebinding);
	restore->policy = policy;
}

/* The bucket of a debt. */
static struct eb_source source_of(const struct eb_policy *policy, const struct eb_debt *debt)
{
	struct eb_source source = {
		.family = debt->family,
		.target = debt->target,
		.rule_id = eb_rules_id_of(&policy->rules[debt->rule], debt->family),
	};

	memcpy(source.addr, debt->addr, sizeof(source.addr));
	return source;
}

static void apply_debt(struct eb_restore *restore, struct eb_buckets *buckets, const struct eb_debt *debt,
		       enum eb_merge merge, uint64_t now)
{
	struct eb_bucket_view view = {
		.source = source_of(restore->policy, debt),
		.packets_full_at = debt->packets ? eb_gcra_full_at(now, debt->packets) : EB_FULL,
		.bytes_full_at = debt->bytes ? eb_gcra_full_at(now, debt->bytes) : EB_FULL,
	};
	int ret = eb_buckets_merge(buckets, &view, merge, now);

	if (ret < 0)
		restore->counts.refused[EB_REFUSED_NO_ROOM]++;
	if (ret <= 0)
		return; /* 0: a field that came twice */
	restore->counts.restored++;
	restore->counts.clamped += debt->clamped;
}

static void apply_one(struct eb_restore *restore, struct eb_buckets *buckets, size_t number, bool late,
		      struct eb_restore *before, uint64_t now)
{
	struct eb_debt debt, given;
	bool was_given;

	eb_debts_get(&restore->debts, number, &debt);
	was_given = before && eb_debts_find(&before->debts, &debt, &given);
	debt.packets = debt_at(debt.packets, restore->at, now);
	debt.bytes = debt_at(debt.bytes, restore->at, now);
	if (was_given) {
		debt.packets = eb_gcra_debt_after(debt.packets,
						  debt_at(given.packets, before->at, now) + CLOCKS_APART);
		debt.bytes = eb_gcra_debt_after(debt.bytes, debt_at(given.bytes, before->at, now) + CLOCKS_APART);
	}
	if (debt.packets || debt.bytes)
		apply_debt(restore, buckets, &debt, late ? EB_MERGE_ADD : EB_MERGE_LATER, now);
	else if (!was_given)
		restore->counts.full++;
}

struct ranking {
	const struct eb_restore *restore;
	const struct eb_buckets *buckets;
};

static struct eb_debt_rank rank_of(size_t number, const void *arg)
{
	const struct ranking *ranking = arg;
	struct eb_source source;
	struct eb_debt debt;

	eb_debts_get(&ranking->restore->debts, number, &debt);
	source = source_of(ranking->restore->policy, &debt);
	return (struct eb_debt_rank){
		.length = debt.packets > debt.bytes ? debt.packets : debt.bytes,
		.part = eb_buckets_part(ranking->buckets, &source),
	};
}

void eb_restore_apply(struct eb_restore *restore, struct eb_buckets *buckets, bool late, struct eb_restore *before)
{
	struct ranking ranking = { restore, buckets };
	uint64_t now = 0;
	uint32_t *order;
	size_t count;

	/* A field that came twice must not be added twice. Taking the later one twice does no harm, and spares the
	 * sorting: a quarter of the time of a restore. */
	if (late || before)
		eb_debts_sort(&restore->debts);
	if (before)
		eb_debts_sort(&before->debts);
	count = eb_debts_count(&restore->debts);
	order = eb_debt_order(count, EB_BUCKET_PARTS, rank_of, &ranking); /* a flood may have left little room */
	eb_buckets_map_by_parts(buckets);
	for (size_t i = 0; i < count; i++) {
		if (i % ONE_CLOCK == 0)
			now = eb_buckets_now();
		if (order && i + AHEAD < count)
			eb_debts_prefetch(&restore->debts, order[i + AHEAD]);
		apply_one(restore, buckets, order ? order[i] : i, late, before, now);
	}
	free(order);
	eb_buckets_unmap(buckets);
}

void eb_restore_counts(const struct eb_restore *restore, struct eb_restore_counts *out)
{
	*out = restore->counts;
}
