// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/print.h"
#include "offence.h"
#include "config/limit.h"
#include "policy/rules.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define NS_PER_S 1000000000ULL

/* Below this, all digits are easier to read than a unit. */
#define EXACT_COUNT_MAX 100000

/* Doubles agree with the decimal they were written as in so many digits. */
#define JSON_DIGITS 15

static const char *const units[] = { "", "k", "M", "G", "T", "P", "E" };

/* Three digits; 999.5 would already print as 1000. */
static struct text print_scaled(double value, const char *suffix)
{
	struct text text;
	size_t unit = 0;

	while (value >= 999.5 && unit < ARRAY_SIZE(units) - 1) {
		value /= 1000;
		unit++;
	}
	snprintf(text.s, sizeof(text.s), "%.*f%s%s", !unit || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2, value,
		 units[unit], suffix);
	return text;
}

struct text print_count(uint64_t count)
{
	struct text text;

	if (count >= EXACT_COUNT_MAX)
		return print_scaled(count, "");
	snprintf(text.s, sizeof(text.s), "%u", (unsigned int)count);
	return text;
}

struct text print_size(uint64_t bytes)
{
	return print_scaled(bytes, "B");
}

/* With at most three decimals, or false. */
static bool print_in_unit(uint64_t value, uint64_t unit, const char *name, const char *suffix, struct text *out)
{
	uint64_t thousandth = unit / 1000 ? unit / 1000 : 1;
	char decimals[8] = "";
	size_t len;

	if (value < unit || value % thousandth)
		return false;
	if (value % unit) {
		len = snprintf(decimals, sizeof(decimals), ".%03u", (unsigned int)(value % unit / thousandth) % 1000);
		while (decimals[len - 1] == '0')
			decimals[--len] = '\0';
	}
	snprintf(out->s, sizeof(out->s), "%llu%s%s%s", (unsigned long long)(value / unit), decimals, name, suffix);
	return true;
}

static struct text print_exact_with(uint64_t value, const char *suffix, uint64_t from)
{
	static const struct {
		uint64_t size;
		const char *name;
	} scale[] = { { 1000000000, "G" }, { 1000000, "M" }, { 1000, "k" } };
	struct text text;

	for (size_t i = 0; i < ARRAY_SIZE(scale); i++)
		if (value >= from && print_in_unit(value, scale[i].size, scale[i].name, suffix, &text))
			return text;
	snprintf(text.s, sizeof(text.s), "%llu%s", (unsigned long long)value, suffix);
	return text;
}

struct text print_exact(uint64_t count)
{
	return print_exact_with(count, "", 10000);
}

struct text print_exact_size(uint64_t bytes)
{
	static const char *const binary[] = { "KiB", "MiB", "GiB" };
	struct text text;

	if (bytes % 1000) {
		for (int i = 3; i > 0; i--) {
			uint64_t unit = 1ULL << (10 * i);

			if (bytes < unit || bytes % unit)
				continue;
			snprintf(text.s, sizeof(text.s), "%llu%s", (unsigned long long)(bytes / unit), binary[i - 1]);
			return text;
		}
	}
	return print_exact_with(bytes, "B", 1000);
}

/* Two units, the smaller one left out when it is 0. */
static struct text print_two(uint64_t large, const char *large_name, uint64_t small, const char *small_name)
{
	struct text text;

	if (small)
		snprintf(text.s, sizeof(text.s), "%llu%s %llu%s", (unsigned long long)large, large_name,
			 (unsigned long long)small, small_name);
	else
		snprintf(text.s, sizeof(text.s), "%llu%s", (unsigned long long)large, large_name);
	return text;
}

struct text print_duration(uint64_t ns)
{
	uint64_t s = ns / NS_PER_S;
	struct text text;

	if (ns < 1000)
		snprintf(text.s, sizeof(text.s), "%uns", (unsigned int)ns);
	else if (ns < 999500)
		snprintf(text.s, sizeof(text.s), "%.3gus", ns / 1e3);
	else if (ns < 999500000)
		snprintf(text.s, sizeof(text.s), "%.3gms", ns / 1e6);
	else if (s < 60)
		snprintf(text.s, sizeof(text.s), "%.3gs", ns / 1e9);
	else if (s < 3600)
		text = print_two(s / 60, "min", s % 60, "s");
	else if (s < 86400)
		text = print_two(s / 3600, "h", s % 3600 / 60, "min");
	else
		text = print_two(s / 86400, "d", s % 86400 / 3600, "h");
	return text;
}

/* How much more than the compiled rate the configured one can be, as a fraction: what limit.c rounded up, there to
 * read. */
static double rate_slack(const struct eb_limit *limit)
{
	double burst = eb_limit_burst(limit);

	if (limit->shift == 0 || burst > EB_TOKENS_MAX)
		return 1.0 / limit->mult;
	return (2 + burst * (burst + 1) / (1ULL << limit->shift)) / limit->burst;
}

/* A number with the fewest digits from `low` to `high`, near the lower end if it can be: limits round up a little. */
static double roundest(double low, double high)
{
	const double near[] = { low, low / 2 + high / 2 };

	for (int digits = 1; digits <= 17; digits++) {
		for (size_t i = 0; i < ARRAY_SIZE(near); i++) {
			char text[32];
			double value;

			snprintf(text, sizeof(text), "%.*g", digits, near[i]);
			value = strtod(text, NULL);
			if (value >= low && value <= high)
				return value;
		}
	}
	return low;
}

/* Tokens in so many seconds. The 1e-15 stand for the rounding of the divisions. */
static double rate_in(const struct eb_limit *limit, double seconds)
{
	double rate = seconds * 1e9 * EB_TICKS_PER_NS * (1ULL << limit->shift) / limit->mult;

	return roundest(rate * (1 - 1e-15), rate * (1 + rate_slack(limit) + 1e-15));
}

static bool is_whole(double value)
{
	return value < 1e18 && value == (double)(uint64_t)value;
}

double print_rate_number(const struct eb_limit *limit)
{
	return limit->mult ? rate_in(limit, 1) : 0;
}

/* A rate that is a whole number reads like one of a configuration. */
static struct text print_rate_value(double value, uint64_t unit_from)
{
	struct text text;

	if (is_whole(value))
		return print_exact_with(value, "", unit_from);
	snprintf(text.s, sizeof(text.s), "%.6g", value);
	return text;
}

struct text print_rate(const struct eb_limit *limit, bool is_bytes)
{
	static const struct {
		double seconds;
		const char *name;
	} periods[] = { { 1, "s" }, { 60, "min" }, { 3600, "h" } };
	struct text text = { "-" };
	double rate;
	size_t i;

	if (!limit->mult)
		return text;
	/* The shortest period in which it is a whole number, or else at least 1. */
	for (i = 0; i < ARRAY_SIZE(periods) - 1 && !is_whole(rate_in(limit, periods[i].seconds)); i++)
		;
	if (!is_whole(rate_in(limit, periods[i].seconds)))
		for (i = 0; i < ARRAY_SIZE(periods) - 1 && rate_in(limit, periods[i].seconds) < 1; i++)
			;
	rate = rate_in(limit, periods[i].seconds);
	if (is_bytes && i == 0) /* as links are measured */
		snprintf(text.s, sizeof(text.s), "%.60sbit/s", print_rate_value(8 * rate, 1000).s);
	else
		snprintf(text.s, sizeof(text.s), "%.60s%s/%s", print_rate_value(rate, is_bytes ? 1000 : 10000).s,
			 is_bytes ? "B" : "", periods[i].name);
	return text;
}

struct text print_limit(const struct eb_limit *limit, bool is_bytes)
{
	uint64_t burst = eb_limit_burst(limit);
	struct text text = { "-" };

	if (limit->mult)
		snprintf(text.s, sizeof(text.s), "%.40s burst %.40s", print_rate(limit, is_bytes).s,
			 is_bytes ? print_exact_size(burst).s : print_exact(burst).s);
	return text;
}

struct text print_tokens(const struct eb_limit *limit, uint64_t tokens, bool is_bytes)
{
	uint64_t burst = eb_limit_burst(limit);

	if (tokens == burst)
		return is_bytes ? print_exact_size(tokens) : print_exact(tokens);
	return is_bytes ? print_size(tokens) : print_count(tokens);
}

struct text print_address(int family, const uint8_t *addr)
{
	struct text text;

	inet_ntop(family == 4 ? AF_INET : AF_INET6, addr, text.s, sizeof(text.s));
	return text;
}

struct text print_prefix(int family, const uint8_t *addr, int prefix_len)
{
	struct text text = print_address(family, addr);
	size_t len = strlen(text.s);

	snprintf(text.s + len, sizeof(text.s) - len, "/%d", prefix_len);
	return text;
}

struct text print_source(const struct eb_prefix *source, const struct eb_destination *target)
{
	struct text text = print_prefix(source->family, source->addr, source->len);
	char to[EB_DESTINATION_TEXT_MAX];

	eb_destination_print(source->family, target, to);
	strncat(text.s, to, sizeof(text.s) - strlen(text.s) - 1);
	return text;
}

/* https://no-color.org: set and not empty. */
static bool wants_colour(void)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb");
}

const char *print_colour(enum colour colour)
{
	static const char *const codes[COLOUR_COUNT] = {
		[COLOUR_NONE] = "",         [COLOUR_BOLD] = "\033[1m",   [COLOUR_DIM] = "\033[2m",
		[COLOUR_RED] = "\033[31m", [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m",
	};
	static int wanted = -1;

	if (wanted < 0)
		wanted = wants_colour();
	return wanted ? codes[colour] : "";
}

const char *print_colour_end(enum colour colour)
{
	return *print_colour(colour) ? "\033[0m" : "";
}

enum cli_result print_json(json_t *document)
{
	int err;

	if (!document)
		return cli_fail("out of memory");
	err = json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(JSON_DIGITS));
	json_decref(document);
	putchar('\n');
	return err ? CLI_FAILED : CLI_DONE;
}

int print_json_line(json_t *document)
{
	int err;

	if (!document)
		return -ENOMEM;
	err = json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(JSON_DIGITS));
	json_decref(document);
	return err || putchar('\n') < 0 ? -EIO : 0;
}

void print_json_list_begin(struct json_list *list)
{
	list->has_items = false;
	putchar('[');
}

void print_json_list_add(struct json_list *list, json_t *item)
{
	fputs(list->has_items ? ",\n " : "\n ", stdout);
	list->has_items = true;
	json_dumpf(item, stdout, JSON_REAL_PRECISION(JSON_DIGITS));
	json_decref(item);
}

void print_json_list_end(struct json_list *list)
{
	fputs(list->has_items ? "\n]\n" : "]\n", stdout);
}

static uint64_t within_ns(const struct eb_penalty *penalty)
{
	/* In the program's units, rounded up: a tenth of a second says it as it was written. */
	return (penalty->within << EB_OFFENCE_UNIT_SHIFT) / 100000000 * 100000000;
}

struct text print_penalty(const struct eb_rule *rule)
{
	const struct eb_penalty *penalty = &rule->penalty;
	struct text text;
	int used = snprintf(text.s, sizeof(text.s), "more than %u refusals within %.16s: banned for %.16s",
			    penalty->after, print_duration(within_ns(penalty)).s, print_duration(penalty->ban_ns).s);

	if (penalty->factor > 1)
		snprintf(text.s + used, sizeof(text.s) - used, ", then %u times as long, up to %.16s", penalty->factor,
			 print_duration(penalty->max_ns).s);
	return text;
}

json_t *print_json_penalty(const struct eb_rule *rule)
{
	const struct eb_penalty *penalty = &rule->penalty;

	if (!rule->penalty_mode)
		return json_null();
	return json_pack("{s:I, s:o, s:o, s:I, s:o, s:b}", "after", (json_int_t)penalty->after, "within_seconds",
			 print_json_seconds(within_ns(penalty)), "ban_seconds", print_json_seconds(penalty->ban_ns),
			 "factor", (json_int_t)penalty->factor, "max_seconds", print_json_seconds(penalty->max_ns),
			 "refresh", rule->penalty_mode == EB_PENALTY_REFRESH);
}

json_t *print_json_limit(const struct eb_limit *limit)
{
	double rate = print_rate_number(limit);
	json_t *number;

	if (!limit->mult)
		return json_null();
	number = is_whole(rate) ? json_integer(rate) : json_real(rate);
	return json_pack("{s:o, s:I}", "rate", number, "burst", (json_int_t)eb_limit_burst(limit));
}

json_t *print_json_level(const struct eb_rule *rule)
{
	char text[EB_LEVEL_TEXT_MAX];

	return rule->level ? json_string(eb_rules_level_text(rule, text)) : json_null();
}

json_t *print_json_seconds(uint64_t ns)
{
	return ns == EB_LIMIT_NEVER ? json_null() : json_real(ns / 1e9);
}
