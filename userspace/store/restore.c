// SPDX-License-Identifier: GPL-2.0-only
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "maps/debt_order.h"
#include "policy/rules.h"
#include "store/restore.h"
#include "table.h"

/* A board without a clock of its own boots in 1970. A saved_at that is further ahead than this is damage. */
#define CLOCK_STEP_MAX_NS (100 * 366ULL * 24 * 3600 * 1000000000)

/* Two restores of the same record differ by the time between looking at the wall clock and at the other, each time. */
#define CLOCKS_APART (1000000ULL * EB_TICKS_PER_NS)

/* A record reduced to what counts: the rule's place in the policy, the source, and the debts in ticks. */
struct debt {
	uint8_t addr[16];
	struct eb_destination target;
	uint8_t family;
	uint8_t rule;
	bool clamped;
	uint64_t packets, bytes;
};

struct eb_restore {
	const struct eb_policy *policy;
	uint64_t at; /* the moment that debts are as of, in ticks */
	uint64_t records_max;
	struct debt *debts;
	size_t count, room;
	bool sorted;
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
	free(restore->debts);
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

static bool make_room(struct eb_restore *restore)
{
	struct debt *debts;

	if (restore->count >= restore->records_max)
		return false;
	debts = eb_grow(restore->debts, restore->count, &restore->room, sizeof(*debts));
	if (!debts)
		return false;
	restore->debts = debts;
	return true;
}

/* Says why the record is refused, or EB_RECORD_OK with *out filled. */
static int judge(const struct eb_restore *restore, const struct eb_record *record, uint64_t reference_ns,
		 struct debt *out)
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
	struct debt debt;
	int refusal = eb_record_parse(field, field_len, value, value_len, &record);

	counts->fields++;
	if (refusal == EB_RECORD_OK)
		refusal = judge(restore, &record, reference_ns, &debt);
	if (refusal == EB_RECORD_OK && (debt.packets || debt.bytes) && !make_room(restore))
		refusal = EB_REFUSED_TOO_MANY;
	if (refusal != EB_RECORD_OK) {
		counts->refused[refusal]++;
	} else if (debt.packets || debt.bytes) {
		restore->debts[restore->count++] = debt;
		restore->sorted = false;
	} else {
		counts->full++;
	}
}

static uint64_t half(const struct debt *debt, int index)
{
	uint64_t word;

	memcpy(&word, debt->addr + 8 * index, sizeof(word));
	return be64toh(word);
}

/* By rule and address. A million debts are sorted before packets are limited, so words are compared, not bytes. */
static int compare_debts(const void *a, const void *b)
{
	const struct debt *x = a, *y = b;

	if (x->rule != y->rule)
		return x->rule < y->rule ? -1 : 1;
	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	for (int i = 0; i < 2; i++)
		if (half(x, i) != half(y, i))
			return half(x, i) < half(y, i) ? -1 : 1;
	return memcmp(&x->target, &y->target, sizeof(x->target));
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void keep_later(struct debt *debt, const struct debt *other)
{
	debt->packets = later(debt->packets, other->packets);
	debt->bytes = later(debt->bytes, other->bytes);
	debt->clamped |= other->clamped;
}

/* A bucket may have come from two stores, or twice in one scan: full_at only grows, so the later one is the truth. */
static void sort_debts(struct eb_restore *restore)
{
	size_t kept = 0;

	if (restore->sorted || !restore->count)
		return;
	qsort(restore->debts, restore->count, sizeof(*restore->debts), compare_debts);
	for (size_t i = 1; i < restore->count; i++) {
		struct debt *last = &restore->debts[kept], *next = &restore->debts[i];

		if (compare_debts(last, next) != 0) {
			restore->debts[++kept] = *next;
			continue;
		}
		keep_later(last, next);
	}
	restore->count = kept + 1;
	restore->sorted = true;
}

void eb_restore_each(struct eb_restore *restore, void (*visit)(const struct eb_restore_debt *debt, void *arg),
		     void *arg)
{
	sort_debts(restore);
	for (size_t i = 0; i < restore->count; i++) {
		const struct debt *debt = &restore->debts[i];
		const struct eb_rule *rule = &restore->policy->rules[debt->rule];
		char name[EB_RULE_NAME_MAX + 1] = "";
		struct eb_restore_debt shown = {
			.rule = name,
			.place = debt->rule,
			.source.family = debt->family,
			.source.len = eb_rules_prefix_of(rule, debt->family),
			.target = debt->target,
			.packets_ns = debt->packets / EB_TICKS_PER_NS,
			.bytes_ns = debt->bytes / EB_TICKS_PER_NS,
			.clamped = debt->clamped,
		};

		memcpy(name, restore->policy->names[debt->rule], EB_RULE_NAME_MAX);
		memcpy(shown.source.addr, debt->addr, sizeof(shown.source.addr));
		visit(&shown, arg);
	}
}

/* A debt as of the moment `of`, as of `at`. */
static uint64_t debt_at(uint64_t debt, uint64_t of, uint64_t at)
{
	if ((int64_t)(at - of) >= 0)
		return eb_gcra_debt_after(debt, at - of);
	return debt ? debt + (of - at) : 0;
}

/* Among the first `count`, which are sorted. */
static struct debt *find_debt(const struct eb_restore *restore, size_t count, const struct debt *debt)
{
	return count ? bsearch(debt, restore->debts, count, sizeof(*debt), compare_debts) : NULL;
}

static void join_debt(struct eb_restore *restore, size_t known, const struct debt *debt)
{
	struct debt *same = find_debt(restore, known, debt);

	if (same)
		keep_later(same, debt);
	else if (!debt->packets && !debt->bytes)
		restore->counts.full++;
	else if (!make_room(restore))
		restore->counts.refused[EB_REFUSED_TOO_MANY]++;
	else
		restore->debts[restore->count++] = *debt;
}

void eb_restore_join(struct eb_restore *restore, struct eb_restore *other)
{
	size_t known;

	sort_debts(restore);
	sort_debts(other);
	known = restore->count;
	for (size_t i = 0; i < other->count; i++) {
		struct debt debt = other->debts[i];

		debt.packets = debt_at(debt.packets, other->at, restore->at);
		debt.bytes = debt_at(debt.bytes, other->at, restore->at);
		join_debt(restore, known, &debt);
	}
	restore->sorted = restore->count == known;
	restore->counts.fields += other->counts.fields;
	restore->counts.full += other->counts.full;
	for (int i = 0; i < EB_REFUSALS; i++)
		restore->counts.refused[i] += other->counts.refused[i];
	memset(&other->counts, 0, sizeof(other->counts));
	other->count = 0;
}

static uint64_t clamp(uint64_t debt, const struct eb_limit *limit)
{
	if (!limit->mult)
		return 0;
	return debt < limit->burst ? debt : limit->burst;
}

/* As judge(), for a debt whose rule is now `index` of `policy`, or gone (-1). */
static int judge_again(const struct eb_restore *restore, const struct eb_policy *policy, int index, struct debt *debt)
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

void eb_restore_rebind(struct eb_restore *restore, const struct eb_policy *policy)
{
	int places[EB_LIMITS_MAX];
	size_t kept = 0;

	for (uint32_t i = 0; i < restore->policy->rule_count; i++)
		places[i] = find_same(restore->policy, i, policy);
	for (size_t i = 0; i < restore->count; i++) {
		struct debt debt = restore->debts[i];
		int refusal = judge_again(restore, policy, places[debt.rule], &debt);

		if (refusal != EB_RECORD_OK)
			restore->counts.refused[refusal]++;
		else if (debt.packets || debt.bytes)
			restore->debts[kept++] = debt;
		else
			restore->counts.full++;
	}
	restore->count = kept;
	restore->sorted = false;
	restore->policy = policy;
}

static void apply_debt(struct eb_restore *restore, struct eb_buckets *buckets, const struct debt *debt,
		       enum eb_merge merge, uint64_t now)
{
	const struct eb_rule *rule = &restore->policy->rules[debt->rule];
	struct eb_bucket_view view = {
		.source.family = debt->family,
		.source.target = debt->target,
		.source.rule_id = eb_rules_id_of(rule, debt->family),
		.packets_full_at = debt->packets ? eb_gcra_full_at(now, debt->packets) : EB_FULL,
		.bytes_full_at = debt->bytes ? eb_gcra_full_at(now, debt->bytes) : EB_FULL,
	};
	int ret;

	memcpy(view.source.addr, debt->addr, sizeof(view.source.addr));
	ret = eb_buckets_merge(buckets, &view, merge, now);
	if (ret < 0)
		restore->counts.refused[EB_REFUSED_NO_ROOM]++;
	if (ret <= 0)
		return; /* 0: a field that came twice */
	restore->counts.restored++;
	restore->counts.clamped += debt->clamped;
}

static uint64_t length_of(size_t number, const void *restore)
{
	const struct debt *debt = &((const struct eb_restore *)restore)->debts[number];

	return later(debt->packets, debt->bytes);
}

static void apply_one(struct eb_restore *restore, struct eb_buckets *buckets, struct debt debt, bool late,
		      struct eb_restore *before)
{
	struct debt *given = before ? find_debt(before, before->count, &debt) : NULL;
	uint64_t now = eb_buckets_now();

	debt.packets = debt_at(debt.packets, restore->at, now);
	debt.bytes = debt_at(debt.bytes, restore->at, now);
	if (given) {
		debt.packets = eb_gcra_debt_after(debt.packets,
						  debt_at(given->packets, before->at, now) + CLOCKS_APART);
		debt.bytes = eb_gcra_debt_after(debt.bytes, debt_at(given->bytes, before->at, now) + CLOCKS_APART);
	}
	if (debt.packets || debt.bytes)
		apply_debt(restore, buckets, &debt, late ? EB_MERGE_ADD : EB_MERGE_LATER, now);
	else if (!given)
		restore->counts.full++;
}

void eb_restore_apply(struct eb_restore *restore, struct eb_buckets *buckets, bool late, struct eb_restore *before)
{
	uint32_t *order;

	/* A field that came twice must not be added twice. Taking the later one twice does no harm, and spares the
	 * sorting: a quarter of the time of a restore. */
	if (late || before)
		sort_debts(restore);
	if (before)
		sort_debts(before);
	order = eb_debt_order(restore->count, length_of, restore); /* a flood may have left little room */
	for (size_t i = 0; i < restore->count; i++)
		apply_one(restore, buckets, restore->debts[order ? order[i] : i], late, before);
	free(order);
	eb_buckets_unmap(buckets);
}

void eb_restore_counts(const struct eb_restore *restore, struct eb_restore_counts *out)
{
	*out = restore->counts;
}
