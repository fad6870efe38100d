// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "config/config.h"
#include "config/quantity.h"

#define SECOND_NS 1000000000ULL
#define DIGITS_MAX 15 /* so that 10^15 * 2^30 * 10^6 stays below 2^128 */
#define DECIMALS_MAX 6
#define AMOUNT_MAX 1000000000000000ULL /* 10^DIGITS_MAX */
#define DIVISOR_MAX 1000000 /* 10^DECIMALS_MAX */

typedef unsigned __int128 u128;

struct unit {
	const char *name;
	uint64_t factor;
};

/* Longest first: "Mi" is not "M" and a rest of "i". */
static const struct unit multiples[] = {
	{ "Ki", 1ULL << 10 }, { "Mi", 1ULL << 20 }, { "Gi", 1ULL << 30 },
	{ "k", 1000 },        { "M", 1000000 },     { "G", 1000000000 },
	{ "", 1 },
};

static const struct unit periods[] = {
	{ "/s", SECOND_NS }, { "/min", 60 * SECOND_NS }, { "/h", 3600 * SECOND_NS },
};

static const struct unit durations[] = {
	{ "ms", 1000000 },        { "s", SECOND_NS },        { "min", 60 * SECOND_NS },
	{ "m", 60 * SECOND_NS }, { "h", 3600 * SECOND_NS },
	{ "d", 24 * 3600 * SECOND_NS },
};

/* The value is amount / divisor; the divisor is a power of ten. */
struct number {
	u128 amount;
	uint64_t divisor;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits at *at; 0 for none, or too many. */
static unsigned int take_run(const char **at, struct number *number)
{
	unsigned int digits = 0;

	for (; is_digit(**at) && digits <= DIGITS_MAX; ++*at, digits++)
		number->amount = 10 * number->amount + (**at - '0');
	return digits > DIGITS_MAX ? 0 : digits;
}

/* Templates write large numbers as 1.048576e+06. Returns false for an exponent without digits, and for one
 * beyond DIGITS_MAX. */
static bool take_exponent(const char **at, struct number *number)
{
	struct number exponent = { .amount = 0 };

	if (**at != 'e' && **at != 'E')
		return true;
	++*at;
	if (**at == '+')
		++*at;
	if (!take_run(at, &exponent) || exponent.amount > DIGITS_MAX)
		return false;
	for (; exponent.amount; exponent.amount--) {
		if (number->divisor > 1)
			number->divisor /= 10;
		else
			number->amount *= 10;
	}
	return true;
}

/* Takes a number off the front of *text. Returns false where there is no sound one. */
static bool take_digits(const char **text, struct number *out)
{
	struct number number = { .amount = 0, .divisor = 1 };
	const char *at = *text;
	unsigned int decimals;

	if (at[0] == '0' && is_digit(at[1]))
		return false;
	if (!take_run(&at, &number))
		return false;
	if (*at == '.') {
		at++;
		decimals = take_run(&at, &number);
		if (!decimals)
			return false;
		while (decimals--)
			number.divisor *= 10;
	}
	if (!take_exponent(&at, &number) || number.divisor > DIVISOR_MAX ||
	    number.amount >= (u128)AMOUNT_MAX * number.divisor)
		return false;
	*text = at;
	*out = number;
	return true;
}

static void cancel(struct number *number)
{
	while (number->divisor > 1 && number->amount % 10 == 0) {
		number->amount /= 10;
		number->divisor /= 10;
	}
}

/* A number, one space if you like, and a multiple. */
static bool take_number(const char **text, struct number *out)
{
	size_t i = 0;

	if (!take_digits(text, out))
		return false;
	if (**text == ' ')
		++*text;
	while (strncmp(*text, multiples[i].name, strlen(multiples[i].name)))
		i++;
	*text += strlen(multiples[i].name);
	out->amount *= multiples[i].factor;
	cancel(out);
	return true;
}

/* The whole rest of the text must be a unit of the table. */
static const struct unit *find_unit(const char *text, const struct unit *units, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(text, units[i].name))
			return &units[i];
	return NULL;
}

static int refuse(const char **reason, const char *text)
{
	*reason = text;
	return -EINVAL;
}

static int store_whole(const struct number *number, uint64_t *out, const char **reason)
{
	if (number->divisor != 1)
		return refuse(reason, "is not a whole number");
	if (number->amount > INT64_MAX)
		return refuse(reason, "is too large");
	*out = number->amount;
	return 0;
}

int eb_quantity_integer(const char *text, uint64_t *out)
{
	struct number number;

	if (!take_digits(&text, &number) || *text || number.divisor != 1)
		return -EINVAL;
	*out = number.amount;
	return 0;
}

int eb_quantity_count(const char *text, uint64_t *out, const char **reason)
{
	struct number number;

	if (!take_number(&text, &number) || *text)
		return refuse(reason, "is not a whole number; write digits, with k, M, G, Ki, Mi or Gi if you like");
	return store_whole(&number, out, reason);
}

int eb_quantity_size(const char *text, uint64_t *out, const char **reason)
{
	struct number number;
	uint64_t size;
	bool is_bits;

	if (!take_number(&text, &number) || (*text && strcmp(text, "B") && strcmp(text, "bit")))
		return refuse(reason, "is not a size; write it like 1500, 64KiB, 1MB or 8Mbit");
	is_bits = !strcmp(text, "bit");
	if (store_whole(&number, &size, reason))
		return -EINVAL;
	if (is_bits && size % 8)
		return refuse(reason, "is not a whole number of bytes");
	*out = is_bits ? size / 8 : size;
	return 0;
}

static int store_rate(const struct number *number, uint64_t period_ns, struct eb_rate *out, const char **reason)
{
	u128 period = (u128)period_ns * number->divisor;

	if (number->amount > INT64_MAX || period > INT64_MAX)
		return refuse(reason, "has too many digits");
	out->tokens = number->amount;
	out->period_ns = period;
	return 0;
}

bool eb_quantity_rate_is_high(const struct eb_rate *rate, bool is_bytes)
{
	return (u128)rate->tokens * SECOND_NS > (u128)rate->period_ns * (is_bytes ? 50000000000 : 100000000);
}

int eb_quantity_packet_rate(const char *text, struct eb_rate *out, const char **reason)
{
	struct eb_rate rate = { 0 };
	const struct unit *period;
	struct number number;

	period = take_number(&text, &number) ? find_unit(text, periods, 3) : NULL;
	if (!period)
		return refuse(reason, "is not a rate of packets; write it like 200/s, 10k/min or 1/h");
	if (store_rate(&number, period->factor, &rate, reason))
		return -EINVAL;
	if ((u128)rate.tokens * 3600 * SECOND_NS < rate.period_ns)
		return refuse(reason, "is below the lowest rate, 1/h; to pass nothing use action: deny");
	if (eb_quantity_rate_is_high(&rate, false))
		return refuse(reason, "is above the highest rate, 100M/s");
	out->tokens = rate.tokens;
	out->period_ns = rate.period_ns;
	return 0;
}

/* "bit" or "B" and a period. Returns the nanoseconds in which one token for each of the number accrues, or 0. */
static uint64_t find_byte_period(const char *text)
{
	bool is_bits = !strncmp(text, "bit", 3);
	const struct unit *period;

	if (!is_bits && *text != 'B')
		return 0;
	period = find_unit(text + (is_bits ? 3 : 1), periods, 3);
	if (!period)
		return 0;
	return is_bits ? 8 * period->factor : period->factor;
}

int eb_quantity_byte_rate(const char *text, struct eb_rate *out, const char **reason)
{
	struct eb_rate rate = { 0 };
	struct number number;
	uint64_t period_ns;

	period_ns = take_number(&text, &number) ? find_byte_period(text) : 0;
	if (!period_ns)
		return refuse(reason, "is not a rate of bytes; write it like 8Mbit/s, 1MB/s or 100kB/min");
	if (store_rate(&number, period_ns, &rate, reason))
		return -EINVAL;
	if ((u128)rate.tokens * SECOND_NS < rate.period_ns)
		return refuse(reason, "is below the lowest rate, 1B/s; to pass nothing use action: deny");
	if (eb_quantity_rate_is_high(&rate, true))
		return refuse(reason, "is above the highest rate, 400Gbit/s");
	out->tokens = rate.tokens;
	out->period_ns = rate.period_ns;
	return 0;
}

int eb_quantity_duration(const char *text, uint64_t *out_ns, const char **reason)
{
	const struct unit *unit = NULL;
	struct number number;

	if (take_digits(&text, &number)) {
		cancel(&number);
		unit = find_unit(*text == ' ' ? text + 1 : text, durations, sizeof(durations) / sizeof(durations[0]));
	}
	if (!unit)
		return refuse(reason, "is not a duration; write it like 500ms, 1s, 2min or 1h");
	number.amount *= unit->factor;
	cancel(&number);
	return store_whole(&number, out_ns, reason);
}

int eb_quantity_bool(const char *text, bool *out)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };

	for (size_t i = 0; i < 8; i++) {
		if (!strcasecmp(text, words[i])) {
			*out = i % 2;
			return 0;
		}
	}
	return -EINVAL;
}
