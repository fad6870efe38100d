// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "policy/rules.h"
#include "store/record.h"
#include "store/store.h"

_Static_assert(EB_STORE_FIELD_MAX > EB_RULE_NAME_MAX + 1 + INET6_ADDRSTRLEN + 4 + EB_DESTINATION_TEXT_MAX,
	       "the longest field");
_Static_assert(EB_STORE_VALUE_MAX > 20 + 1 + 20, "the longest value");

const char *eb_record_fault_name(enum eb_record_fault fault)
{
	static const char *const names[EB_RECORD_FAULTS] = {
		[EB_RECORD_OK] = "ok",
		[EB_RECORD_BAD_RULE] = "rule name",
		[EB_RECORD_BAD_SOURCE] = "source prefix",
		[EB_RECORD_BAD_VALUE] = "value",
		[EB_RECORD_OVERFLOW] = "time out of range",
	};

	return names[fault];
}

/* A million fields are formatted at a time, and inet_ntop() and snprintf() would be most of that. */
static char *put_number(char *out, uint64_t number)
{
	char digits[20];
	int count = 0;

	do
		digits[count++] = '0' + number % 10;
	while (number /= 10);
	while (count)
		*out++ = digits[--count];
	return out;
}

static char *put_ipv4(char *out, const uint8_t *addr)
{
	for (int i = 0; i < 4; i++) {
		if (i)
			*out++ = '.';
		out = put_number(out, addr[i]);
	}
	return out;
}

void eb_record_format_field(const struct eb_record *record, char *field)
{
	size_t name_len = strnlen(record->rule, EB_RULE_NAME_MAX);
	char *out = field + name_len;

	memcpy(field, record->rule, name_len);
	*out++ = '|';
	if (record->source.family == 4) {
		out = put_ipv4(out, record->source.addr);
	} else {
		inet_ntop(AF_INET6, record->source.addr, out, INET6_ADDRSTRLEN);
		out += strlen(out);
	}
	*out++ = '/';
	out = put_number(out, record->source.len);
	eb_destination_print(record->source.family, &record->target, out);
}

void eb_record_format_value(const struct eb_record *record, char *value)
{
	char *out = put_number(value, record->packets_full_at_ns);

	*out++ = ' ';
	*put_number(out, record->bytes_full_at_ns) = '\0';
}

static bool is_rule_name(const char *text, size_t len)
{
	if (!len || len > EB_RULE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
			return false;
	}
	return true;
}

/* Returns the text behind the number, NULL when there is none. *overflow is set when it is too large. */
static const char *take_number(const char *text, const char *end, uint64_t max, uint64_t *out, bool *overflow)
{
	const char *start = text;
	uint64_t number = 0;

	for (; text < end && *text >= '0' && *text <= '9'; text++) {
		unsigned int digit = *text - '0';

		if (number > (max - digit) / 10)
			*overflow = true;
		else
			number = number * 10 + digit;
	}
	/* One way to write each number. */
	if (text == start || (*start == '0' && text - start > 1))
		return NULL;
	*out = number;
	return text;
}

static bool has_host_bits(const struct eb_prefix *prefix)
{
	size_t bytes = prefix->family == 4 ? 4 : 16;

	for (size_t i = 0; i < bytes; i++) {
		int bits = (int)prefix->len - 8 * (int)i;
		uint8_t host = bits >= 8 ? 0 : bits <= 0 ? 0xff : 0xff >> bits;

		if (prefix->addr[i] & host)
			return true;
	}
	return false;
}

static bool take_prefix(const char *text, const char *end, struct eb_prefix *out)
{
	const char *slash = memchr(text, '/', end - text);
	char addr[INET6_ADDRSTRLEN];
	bool overflow = false;
	uint64_t len;

	if (!slash || slash - text >= (ptrdiff_t)sizeof(addr))
		return false;
	memcpy(addr, text, slash - text);
	addr[slash - text] = '\0';
	memset(out, 0, sizeof(*out));
	out->family = memchr(addr, ':', slash - text) ? 6 : 4;
	if (inet_pton(out->family == 4 ? AF_INET : AF_INET6, addr, out->addr) != 1)
		return false;
	if (take_number(slash + 1, end, out->family == 4 ? 32 : 128, &len, &overflow) != end || overflow)
		return false;
	out->len = len;
	return !has_host_bits(out);
}

enum eb_record_fault eb_record_parse(const char *field, size_t field_len, const char *value, size_t value_len,
				     struct eb_record *out)
{
	const char *bar = memchr(field, '|', field_len), *end = value + value_len, *next, *to;
	struct eb_record record = { .rule = "" };
	bool overflow = false;

	if (!bar || !is_rule_name(field, bar - field))
		return EB_RECORD_BAD_RULE;
	memcpy(record.rule, field, bar - field);
	to = memchr(bar, '>', field + field_len - bar) ?: field + field_len;
	if (!take_prefix(bar + 1, to, &record.source) ||
	    eb_destination_parse(record.source.family, to, field + field_len - to, &record.target))
		return EB_RECORD_BAD_SOURCE;
	/* Signed nanoseconds reach the year 2262: what is beyond is no time. */
	next = take_number(value, end, INT64_MAX, &record.packets_full_at_ns, &overflow);
	if (!next || next == end || *next != ' ' ||
	    take_number(next + 1, end, INT64_MAX, &record.bytes_full_at_ns, &overflow) != end)
		return EB_RECORD_BAD_VALUE;
	if (overflow)
		return EB_RECORD_OVERFLOW;
	*out = record;
	return EB_RECORD_OK;
}

void eb_record_name(const struct eb_source *source, const struct eb_policy *policy, int place, struct eb_record *out)
{
	*out = (struct eb_record){
		.source.family = source->family,
		.source.len = eb_rules_prefix_of(&policy->rules[place], source->family),
		.target = source->target,
	};
	memcpy(out->rule, policy->names[place], EB_RULE_NAME_MAX);
	memcpy(out->source.addr, source->addr, sizeof(out->source.addr));
}

struct eb_source eb_record_source(const struct eb_record *record, uint32_t rule_id)
{
	struct eb_source source = {
		.family = record->source.family, .target = record->target, .rule_id = rule_id,
	};

	memcpy(source.addr, record->source.addr, sizeof(source.addr));
	return source;
}
