// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/bans.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/input.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/ban_text.h"
#include "config/prefix.h"
#include "maps/bans.h"

/* Between two looks for what ran out; and between the parts of one, each of which takes about a millisecond. */
#define SWEEP_PAUSE_NS 10000000000ULL
#define SLICE_PAUSE_NS 1000000ULL

/* How often bans that rules made are counted. They are in force at once. */
#define TAKE_PAUSE_NS 100000000ULL

struct eb_ban_keeper {
	struct eb_bans *bans;
	sd_event_source *timer, *taking;
};

/* ---- what ran out ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_keeper *keeper = arg;
	int left = 0;

	(void)usec;
	if (eb_bans_is_sweeping(keeper->bans) || eb_bans_next_end(keeper->bans) <= eb_monotonic_ns())
		left = eb_bans_sweep(keeper->bans);
	if (left < 0)
		eb_warning("cannot remove bans that ran out, trying again", eb_err(left));
	return eb_timer_restart(source, left > 0 ? SLICE_PAUSE_NS : SWEEP_PAUSE_NS);
}

static int on_taking(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_keeper *keeper = arg;
	int err = eb_bans_take_made(keeper->bans);

	(void)usec;
	if (err)
		eb_warning("cannot count the bans that rules made, trying again", eb_err(err));
	return eb_timer_restart(source, TAKE_PAUSE_NS);
}

int eb_ban_keeper_new(sd_event *loop, const struct eb_maps *maps, struct eb_ban_keeper **out)
{
	struct eb_ban_keeper *keeper = calloc(1, sizeof(*keeper));
	int err = keeper ? eb_bans_open(maps, true, &keeper->bans) : -ENOMEM;

	if (!err)
		err = sd_event_add_time_relative(loop, &keeper->timer, CLOCK_MONOTONIC, SWEEP_PAUSE_NS / 1000, 0,
						 on_timer, keeper);
	if (err >= 0)
		err = sd_event_add_time_relative(loop, &keeper->taking, CLOCK_MONOTONIC, TAKE_PAUSE_NS / 1000, 0,
						 on_taking, keeper);
	if (err < 0) {
		eb_ban_keeper_free(keeper);
		return err;
	}
	*out = keeper;
	return 0;
}

void eb_ban_keeper_free(struct eb_ban_keeper *keeper)
{
	if (!keeper)
		return;
	sd_event_source_disable_unref(keeper->timer);
	sd_event_source_disable_unref(keeper->taking);
	eb_bans_close(keeper->bans);
	free(keeper);
}

void eb_ban_keeper_configure(struct eb_ban_keeper *keeper, const struct eb_config *config)
{
	uint64_t memory_ns = 0;

	for (size_t i = 0; i < config->rule_count; i++)
		if (config->rules[i].penalty.max_ns > memory_ns)
			memory_ns = config->rules[i].penalty.max_ns;
	eb_bans_set_limits(keeper->bans, config->bans_max, memory_ns);
}

struct eb_bans *eb_ban_keeper_bans(const struct eb_ban_keeper *keeper)
{
	return keeper->bans;
}

json_t *eb_ban_keeper_status(const struct eb_ban_keeper *keeper, uint32_t max)
{
	json_t *from = json_object();

	for (int origin = 0; origin < EB_BAN_ORIGINS; origin++)
		json_object_set_new(from, eb_ban_origin_name(origin),
				    json_integer(eb_bans_count_of(keeper->bans, origin)));
	return json_pack("{s:I, s:I, s:o}", "count", (json_int_t)eb_bans_count(keeper->bans), "max", (json_int_t)max,
			 "from", from);
}

/* ---- requests ---- */

struct answer {
	json_t *refused;
	size_t refused_count, done;
};

__attribute__((format(printf, 3, 4))) static void refuse(struct answer *answer, size_t index, const char *format, ...)
{
	va_list args;
	char *text;

	answer->refused_count++;
	if (json_array_size(answer->refused) >= EB_BAN_ERRORS_MAX)
		return;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	json_array_append_new(answer->refused, json_pack("{s:I, s:o}", "index", (json_int_t)index, "error",
							 eb_printable_json(text ? text : "out of memory")));
	free(text);
}

static json_t *fail(const char *text)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", text);
}

static json_t *answer_json(struct answer *answer, int err)
{
	if (!err)
		return json_pack("{s:b, s:I, s:o, s:I}", "ok", 1, "done", (json_int_t)answer->done, "refused",
				 answer->refused, "refused_count", (json_int_t)answer->refused_count);
	json_decref(answer->refused);
	return json_pack("{s:b, s:s, s:I}", "ok", 0, "error", strerror(-err), "done", (json_int_t)answer->done);
}

static bool parse_prefix(struct answer *answer, size_t index, const json_t *item, struct eb_prefix *out)
{
	const char *text = json_string_value(item);
	struct eb_prefix_error error;

	if (!text)
		refuse(answer, index, "has no prefix");
	else if (eb_prefix_parse(text, out, &error))
		refuse(answer, index, "%s %s", eb_input_quote(text).text, error.text);
	else
		return true;
	return false;
}

static bool parse_ban(struct answer *answer, size_t index, const json_t *item, enum eb_ban_origin origin,
		      struct eb_ban_order *out)
{
	const json_t *span = json_object_get(item, "for"), *reason = json_object_get(item, "reason");
	const char *why;
	uint64_t for_ns = 0;

	*out = (struct eb_ban_order){ .until_ns = EB_BAN_FOREVER, .origin = origin };
	if (!parse_prefix(answer, index, json_object_get(item, "prefix"), &out->prefix))
		return false;
	if ((span && !json_is_string(span)) || (reason && !json_is_string(reason))) {
		refuse(answer, index, "for and reason must be text");
		return false;
	}
	if (span && eb_ban_parse_span(json_string_value(span), &for_ns, &why)) {
		refuse(answer, index, "for: %s %s", eb_input_quote(json_string_value(span)).text, why);
		return false;
	}
	if (span)
		out->until_ns = eb_monotonic_ns() + for_ns;
	eb_ban_copy_reason(reason ? json_string_value(reason) : "", out->reason);
	return true;
}

/* A feed does not shorten what the operator said. */
static bool is_outlasted(const struct eb_bans *bans, const struct eb_ban_order *order)
{
	struct eb_ban_view view;

	return order->origin == EB_BAN_FEED && eb_bans_get(bans, &order->prefix, &view) && view.ban.kind == EB_BAN &&
	       view.ban.origin == EB_BAN_OPERATOR && view.ban.until_ns >= order->until_ns;
}

static json_t *ban(struct eb_ban_keeper *keeper, uint32_t max, const json_t *bans, enum eb_ban_origin origin)
{
	struct answer answer = { .refused = json_array() };
	size_t size = json_array_size(bans), count = 0, done = 0, outlasted = 0;
	struct eb_ban_order *orders = calloc(size ? size : 1, sizeof(*orders));
	size_t *indexes = calloc(size ? size : 1, sizeof(*indexes));
	int err = orders && indexes ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < size; i++) {
		indexes[count] = i;
		if (!parse_ban(&answer, i, json_array_get(bans, i), origin, &orders[count]))
			continue;
		if (is_outlasted(keeper->bans, &orders[count]))
			outlasted++;
		else
			count++;
	}
	if (!err)
		err = eb_bans_add(keeper->bans, orders, count, max, &done);
	answer.done = done + outlasted;
	if (err == -E2BIG) {
		for (size_t i = done; i < count; i++)
			refuse(&answer, indexes[i], "is one too many: there are %zu bans, and bans.max is %u",
			       eb_bans_count(keeper->bans), max);
		err = 0;
	}
	free(indexes);
	free(orders);
	return answer_json(&answer, err);
}

/* A feed takes back what it banned, and no more: the end of its decision is none about others. */
static json_t *unban(struct eb_ban_keeper *keeper, const json_t *list, enum eb_ban_origin origin)
{
	struct answer answer = { .refused = json_array() };
	size_t size = json_array_size(list), count = 0;
	struct eb_prefix *prefixes = calloc(size ? size : 1, sizeof(*prefixes));
	int err = prefixes ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < size; i++)
		count += parse_prefix(&answer, i, json_array_get(list, i), &prefixes[count]);
	if (!err)
		err = origin == EB_BAN_FEED
			  ? eb_bans_withdraw(keeper->bans, prefixes, count, origin, &answer.done)
			  : eb_bans_lift(keeper->bans, prefixes, count, &answer.done);
	free(prefixes);
	return answer_json(&answer, err);
}

static json_t *unban_all(struct eb_ban_keeper *keeper)
{
	struct answer answer = { .refused = json_array() };
	int left = eb_bans_lift_all(keeper->bans, &answer.done);
	json_t *reply = answer_json(&answer, left < 0 ? left : 0);

	if (left >= 0)
		json_object_set_new(reply, "more", json_boolean(left));
	return reply;
}

/* False where it is neither. */
static bool parse_origin(const json_t *from, enum eb_ban_origin *out)
{
	const char *text = from ? json_string_value(from) : "operator";

	*out = text && strcmp(text, "feed") == 0 ? EB_BAN_FEED : EB_BAN_OPERATOR;
	return *out == EB_BAN_FEED || (text && strcmp(text, "operator") == 0);
}

static json_t *dispatch(struct eb_ban_keeper *keeper, uint32_t max, const json_t *document)
{
	const char *request = json_string_value(json_object_get(document, "request"));
	const json_t *bans = json_object_get(document, "bans"), *prefixes = json_object_get(document, "prefixes");
	enum eb_ban_origin origin;

	if (!parse_origin(json_object_get(document, "from"), &origin))
		return fail("from: must be operator or feed");
	if (request && strcmp(request, "ban") == 0)
		return json_is_array(bans) ? ban(keeper, max, bans, origin) : fail("bans: must be a list");
	if (!request || strcmp(request, "unban") != 0)
		return fail("unknown request: ban or unban");
	if (json_is_true(json_object_get(document, "all")))
		return unban_all(keeper);
	return json_is_array(prefixes) ? unban(keeper, prefixes, origin) : fail("prefixes: must be a list");
}

json_t *eb_ban_keeper_request(struct eb_ban_keeper *keeper, uint32_t max, const char *text)
{
	json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *answer;

	if (!document)
		return fail("the request is no JSON object");
	answer = dispatch(keeper, max, document);
	json_decref(document);
	return answer;
}
