// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "config/ban_text.h"
#include "config/prefix.h"
#include "store/ban_record.h"
#include "store/store.h"

#define FOREVER "forever"
#define UNBAN "unban"

/* The clocks of the writer and of this host may differ a little. */
#define FAR_NS (EB_BAN_SPAN_MAX_NS + 24 * 3600 * 1000000000ULL)

/* When a ban was made that is older than the maps, or came from a store that does not say it: before any other. */
#define RESTORED_NS 1

/* Words that are later than now are of a wrong clock, but for so much. */
#define SKEW_NS (60 * 1000000000ULL)

/* One node's mistake, or whoever can write to Redis, must not cut all nodes off. */
#define WIDE4 8
#define WIDE6 16

_Static_assert(EB_STORE_FIELD_MAX >= EB_PREFIX_TEXT_MAX, "the longest field");
_Static_assert(EB_STORE_VALUE_MAX > 20 + sizeof("operator") + 1 + 20 + 1 + EB_BAN_REASON_MAX, "the longest value");

const char *eb_ban_fault_name(enum eb_ban_fault fault)
{
	static const char *const names[EB_BAN_FAULTS] = {
		[EB_BAN_OK] = "ok",
		[EB_BAN_BAD_PREFIX] = "prefix",
		[EB_BAN_BAD_TIME] = "time",
		[EB_BAN_BAD_ORIGIN] = "from",
		[EB_BAN_BAD_REASON] = "reason",
		[EB_BAN_BAD_SINCE] = "since",
		[EB_BAN_TOO_WIDE] = "too wide",
		[EB_BAN_TOO_FAR] = "time too far ahead",
		[EB_BAN_TOO_MANY] = "more than bans.max",
	};

	return names[fault];
}

void eb_ban_format_field(const struct eb_prefix *prefix, char *field)
{
	(void)eb_prefix_print(prefix, field);
}

static void format(const struct eb_ban *ban, int64_t offset_ns, const char *since, char *value)
{
	const char *from = ban->kind == EB_BAN_HOLE ? UNBAN : eb_ban_origin_name(ban->origin);
	char until[24] = FOREVER;

	if (ban->until_ns != EB_BAN_FOREVER)
		snprintf(until, sizeof(until), "%" PRIu64, (uint64_t)ban->until_ns + (uint64_t)offset_ns);
	snprintf(value, EB_STORE_VALUE_MAX, "%s %s%s%s%.*s", until, from, since, *ban->reason ? " " : "",
		 EB_BAN_REASON_MAX, ban->reason);
}

void eb_ban_format_value(const struct eb_ban *ban, int64_t offset_ns, char *value)
{
	format(ban, offset_ns, "", value);
}

void eb_ban_format_shared(const struct eb_ban *ban, int64_t offset_ns, char *value)
{
	char since[24];

	snprintf(since, sizeof(since), " %" PRIu64, (uint64_t)ban->since_ns + (uint64_t)offset_ns);
	format(ban, offset_ns, since, value);
}

/* One way to write each prefix: what is written in another way would stand beside ours. */
bool eb_ban_parse_field(const char *field, size_t field_len, struct eb_prefix *out)
{
	char again[EB_PREFIX_TEXT_MAX];
	struct eb_prefix_error error;

	return field_len < EB_PREFIX_TEXT_MAX && !eb_prefix_parse(field, out, &error) &&
	       strcmp(eb_prefix_print(out, again), field) == 0 && strlen(field) == field_len;
}

/* Returns the text behind the word and its space, NULL when there is none. */
static const char *take_word(const char *text, char *out, size_t size)
{
	size_t len = strcspn(text, " ");

	if (!len || len >= size)
		return NULL;
	memcpy(out, text, len);
	out[len] = '\0';
	return text[len] ? text + len + 1 : text + len;
}

static bool parse_until(const char *text, uint64_t *out)
{
	char *end;

	if (strcmp(text, FOREVER) == 0) {
		*out = EB_BAN_FOREVER;
		return true;
	}
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno == ERANGE || *out == EB_BAN_FOREVER)
		*out = EB_BAN_FOREVER - 1; /* too far ahead, in any case */
	return !*end;
}

static bool parse_origin(const char *text, struct eb_ban_order *out)
{
	if (strcmp(text, UNBAN) == 0) {
		out->kind = EB_BAN_HOLE;
		return true;
	}
	out->kind = EB_BAN;
	for (int origin = 0; origin < EB_BAN_ORIGINS; origin++)
		if (strcmp(text, eb_ban_origin_name(origin)) == 0) {
			out->origin = origin;
			return true;
		}
	return false;
}

/* `shared` says whether there is a <since>. */
static enum eb_ban_fault parse(const char *field, size_t field_len, const char *value, size_t value_len, bool shared,
			       struct eb_ban_order *out)
{
	char until[24], origin[12], since[24];

	if (!eb_ban_parse_field(field, field_len, &out->prefix))
		return EB_BAN_BAD_PREFIX;
	value = strlen(value) == value_len ? take_word(value, until, sizeof(until)) : NULL;
	if (!value || !parse_until(until, &out->until_ns))
		return EB_BAN_BAD_TIME;
	value = take_word(value, origin, sizeof(origin));
	if (!value || !parse_origin(origin, out))
		return EB_BAN_BAD_ORIGIN;
	if (shared) {
		value = take_word(value, since, sizeof(since));
		if (!value || !parse_until(since, &out->since_ns) || out->since_ns == EB_BAN_FOREVER)
			return EB_BAN_BAD_SINCE;
	}
	if (strlen(value) > EB_BAN_REASON_MAX)
		return EB_BAN_BAD_REASON;
	eb_ban_copy_reason(value, out->reason);
	return strncmp(value, out->reason, EB_BAN_REASON_MAX) == 0 ? EB_BAN_OK : EB_BAN_BAD_REASON;
}

static void refuse(struct eb_ban_list *list, enum eb_ban_fault fault, const char *field)
{
	if (!list->refused[fault]++)
		snprintf(list->example[fault], sizeof(list->example[fault]), "%s", field);
}

static int append(struct eb_ban_list *list, const struct eb_ban_order *order)
{
	struct eb_ban_order *orders = eb_grow(list->orders, list->count, &list->room, sizeof(*orders));

	if (!orders)
		return -ENOMEM;
	list->orders = orders;
	list->orders[list->count++] = *order;
	return 0;
}

/* The end is of the clock of `reference_ns`, and is converted to that of `now_ns`. */
static int take(struct eb_ban_list *list, const char *field, enum eb_ban_fault fault, struct eb_ban_order *order,
		uint64_t now_ns, uint64_t reference_ns)
{
	list->fields++;
	if (!fault && order->until_ns != EB_BAN_FOREVER) {
		if (order->until_ns <= reference_ns) {
			list->over++;
			return 0;
		}
		if (order->until_ns - reference_ns > FAR_NS)
			fault = EB_BAN_TOO_FAR;
		order->until_ns = now_ns + (order->until_ns - reference_ns);
	}
	if (!fault && list->count >= list->max)
		fault = EB_BAN_TOO_MANY;
	if (!fault)
		return append(list, order);
	refuse(list, fault, field);
	return 0;
}

int eb_ban_list_add(struct eb_ban_list *list, const char *field, size_t field_len, const char *value,
		    size_t value_len, uint64_t now_ns, uint64_t reference_ns)
{
	struct eb_ban_order order = {};
	enum eb_ban_fault fault = parse(field, field_len, value, value_len, false, &order);

	order.since_ns = RESTORED_NS;
	return take(list, field, fault, &order, now_ns, reference_ns);
}

int eb_ban_list_add_shared(struct eb_ban_list *list, const char *field, size_t field_len, const char *value,
			   size_t value_len, uint64_t now_ns, uint64_t wall_ns)
{
	struct eb_ban_order order = {};
	enum eb_ban_fault fault = parse(field, field_len, value, value_len, true, &order);
	uint64_t age;

	if (!fault && order.since_ns > wall_ns + SKEW_NS)
		fault = EB_BAN_BAD_SINCE;
	if (!fault && order.kind == EB_BAN && order.prefix.len < (order.prefix.family == 4 ? WIDE4 : WIDE6))
		fault = EB_BAN_TOO_WIDE;
	age = order.since_ns < wall_ns ? wall_ns - order.since_ns : 0;
	order.since_ns = age < now_ns ? now_ns - age : RESTORED_NS;
	order.origin = EB_BAN_FLEET;
	return take(list, field, fault, &order, now_ns, wall_ns);
}

void eb_ban_list_clear(struct eb_ban_list *list)
{
	free(list->orders);
	*list = (struct eb_ban_list){ .max = list->max };
}
