// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "store/debts.h"

/* The first bytes of an item name its bucket: rule and address; family, rule, address and target. */
enum form { IPV4, IPV6, TARGET };
#define KEY_IPV4 (1 + 4)
#define KEY_IPV6 (1 + 16)
#define KEY_TARGET (2 + 16 + sizeof(struct eb_destination))
#define KEY_MAX KEY_TARGET

/* Behind them: whether the debt was clamped, and both debts. */
#define REST (1 + 2 * sizeof(uint64_t))

_Static_assert(sizeof(struct eb_destination) == 17, "a target without padding");

static const size_t key_lengths[EB_DEBT_FORMS] = { KEY_IPV4, KEY_IPV6, KEY_TARGET };

static size_t length_of(enum form form)
{
	return key_lengths[form] + REST;
}

static enum form form_of(const struct eb_debt *debt)
{
	if (debt->target.also)
		return TARGET;
	return debt->family == 4 ? IPV4 : IPV6;
}

static uint8_t *item_of(const struct eb_debts *debts, enum form form, size_t index)
{
	return debts->shelves[form].items + index * length_of(form);
}

static uint8_t *put(uint8_t *to, const void *from, size_t size)
{
	memcpy(to, from, size);
	return to + size;
}

static const uint8_t *get(void *to, const uint8_t *from, size_t size)
{
	memcpy(to, from, size);
	return from + size;
}

static void pack_key(enum form form, const struct eb_debt *debt, uint8_t *to)
{
	if (form == TARGET)
		to = put(to, &debt->family, sizeof(debt->family));
	to = put(to, &debt->rule, sizeof(debt->rule));
	to = put(to, debt->addr, form == IPV4 ? 4 : sizeof(debt->addr));
	if (form == TARGET)
		put(to, &debt->target, sizeof(debt->target));
}

static void pack(enum form form, const struct eb_debt *debt, uint8_t *item)
{
	uint8_t clamped = debt->clamped, *to = item + key_lengths[form];

	pack_key(form, debt, item);
	to = put(to, &clamped, sizeof(clamped));
	to = put(to, &debt->packets, sizeof(debt->packets));
	put(to, &debt->bytes, sizeof(debt->bytes));
}

static void unpack(enum form form, const uint8_t *item, struct eb_debt *out)
{
	uint8_t clamped;

	memset(out, 0, sizeof(*out));
	out->family = form == IPV4 ? 4 : 6;
	if (form == TARGET)
		item = get(&out->family, item, sizeof(out->family));
	item = get(&out->rule, item, sizeof(out->rule));
	item = get(out->addr, item, form == IPV4 ? 4 : sizeof(out->addr));
	if (form == TARGET)
		item = get(&out->target, item, sizeof(out->target));
	item = get(&clamped, item, sizeof(clamped));
	out->clamped = clamped;
	item = get(&out->packets, item, sizeof(out->packets));
	get(&out->bytes, item, sizeof(out->bytes));
}

void eb_debts_free(struct eb_debts *debts)
{
	for (int form = 0; form < EB_DEBT_FORMS; form++)
		free(debts->shelves[form].items);
	memset(debts, 0, sizeof(*debts));
}

size_t eb_debts_count(const struct eb_debts *debts)
{
	size_t count = 0;

	for (int form = 0; form < EB_DEBT_FORMS; form++)
		count += debts->shelves[form].count;
	return count;
}

static const uint8_t *item_by_number(const struct eb_debts *debts, size_t number, enum form *form)
{
	for (*form = IPV4; *form < TARGET && number >= debts->shelves[*form].count; (*form)++)
		number -= debts->shelves[*form].count;
	return item_of(debts, *form, number);
}

void eb_debts_get(const struct eb_debts *debts, size_t number, struct eb_debt *out)
{
	enum form form;
	const uint8_t *item = item_by_number(debts, number, &form);

	unpack(form, item, out);
}

void eb_debts_prefetch(const struct eb_debts *debts, size_t number)
{
	enum form form;

	__builtin_prefetch(item_by_number(debts, number, &form));
}

int eb_debts_add(struct eb_debts *debts, const struct eb_debt *debt)
{
	enum form form = form_of(debt);
	struct eb_debt_shelf *shelf = &debts->shelves[form];
	uint8_t *items = eb_grow(shelf->items, shelf->count, &shelf->room, length_of(form));

	if (!items)
		return -ENOMEM;
	shelf->items = items;
	pack(form, debt, item_of(debts, form, shelf->count++));
	return 0;
}

/* ---- order ---- */

static int compare_ipv4(const void *a, const void *b)
{
	return memcmp(a, b, KEY_IPV4);
}

static int compare_ipv6(const void *a, const void *b)
{
	return memcmp(a, b, KEY_IPV6);
}

static int compare_target(const void *a, const void *b)
{
	return memcmp(a, b, KEY_TARGET);
}

static int (*const compare[EB_DEBT_FORMS])(const void *, const void *) = { compare_ipv4, compare_ipv6, compare_target };

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Both are of the same bucket. */
static void keep_later(enum form form, uint8_t *item, const struct eb_debt *other)
{
	struct eb_debt debt;

	unpack(form, item, &debt);
	debt.packets = later(debt.packets, other->packets);
	debt.bytes = later(debt.bytes, other->bytes);
	debt.clamped |= other->clamped;
	pack(form, &debt, item);
}

static void sort_form(struct eb_debts *debts, enum form form)
{
	struct eb_debt_shelf *shelf = &debts->shelves[form];
	size_t length = length_of(form), kept = 0;

	if (shelf->sorted == shelf->count)
		return;
	qsort(shelf->items, shelf->count, length, compare[form]);
	for (size_t i = 1; i < shelf->count; i++) {
		uint8_t *last = item_of(debts, form, kept), *next = item_of(debts, form, i);
		struct eb_debt debt;

		if (compare[form](last, next) != 0) {
			memmove(item_of(debts, form, ++kept), next, length);
			continue;
		}
		unpack(form, next, &debt);
		keep_later(form, last, &debt);
	}
	shelf->count = shelf->sorted = kept + 1;
}

void eb_debts_sort(struct eb_debts *debts)
{
	for (int form = 0; form < EB_DEBT_FORMS; form++)
		sort_form(debts, form);
}

static uint8_t *find_item(const struct eb_debts *debts, const struct eb_debt *like)
{
	enum form form = form_of(like);
	const struct eb_debt_shelf *shelf = &debts->shelves[form];
	uint8_t key[KEY_MAX];

	pack_key(form, like, key);
	return shelf->sorted ? bsearch(key, shelf->items, shelf->sorted, length_of(form), compare[form]) : NULL;
}

bool eb_debts_find(const struct eb_debts *debts, const struct eb_debt *like, struct eb_debt *out)
{
	const uint8_t *item = find_item(debts, like);

	if (item)
		unpack(form_of(like), item, out);
	return item != NULL;
}

bool eb_debts_keep_later(struct eb_debts *debts, const struct eb_debt *like)
{
	uint8_t *item = find_item(debts, like);

	if (item)
		keep_later(form_of(like), item, like);
	return item != NULL;
}

void eb_debts_filter(struct eb_debts *debts, bool (*keep)(struct eb_debt *debt, void *arg), void *arg)
{
	for (int form = 0; form < EB_DEBT_FORMS; form++) {
		struct eb_debt_shelf *shelf = &debts->shelves[form];
		size_t kept = 0;

		for (size_t i = 0; i < shelf->count; i++) {
			struct eb_debt debt;

			unpack(form, item_of(debts, form, i), &debt);
			if (keep(&debt, arg))
				pack(form, &debt, item_of(debts, form, kept++));
		}
		shelf->count = kept;
		shelf->sorted = 0;
	}
}
