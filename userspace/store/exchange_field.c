// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/exchange_field.h"
#include "store/store.h"

void eb_exchange_field_name(const struct eb_source *source, const char *rule, uint8_t len, bool of_bytes,
			    struct eb_exchange_field *out)
{
	*out = (struct eb_exchange_field){
		.record = { .source = { .family = source->family, .len = len }, .target = source->target },
		.rule_id = source->rule_id,
		.of_bytes = of_bytes,
	};
	memcpy(out->record.rule, rule, EB_RULE_NAME_MAX);
	memcpy(out->record.source.addr, source->addr, sizeof(out->record.source.addr));
}

void eb_exchange_field_format(const struct eb_exchange_field *field, char text[EB_EXCHANGE_FIELD_MAX])
{
	char bucket[EB_STORE_FIELD_MAX];

	_Static_assert(EB_STORE_FIELD_MAX + 11 <= EB_EXCHANGE_FIELD_MAX, "the longest field");
	eb_record_format_field(&field->record, bucket);
	snprintf(text, EB_EXCHANGE_FIELD_MAX, "%s|%c|%08x", bucket, field->of_bytes ? 'b' : 'p', field->rule_id);
}

bool eb_exchange_field_parse(const char *text, struct eb_exchange_field *out)
{
	const char *bar = strrchr(text, '|');
	char *end;

	if (!bar || bar - text < 3 || bar[-2] != '|' || (bar[-1] != 'p' && bar[-1] != 'b') ||
	    strspn(bar + 1, "0123456789abcdef") != 8)
		return false;
	out->of_bytes = bar[-1] == 'b';
	out->rule_id = strtoul(bar + 1, &end, 16);
	return !*end && eb_record_parse(text, bar - 2 - text, "0 0", 3, &out->record) == EB_RECORD_OK;
}

struct eb_source eb_exchange_field_source(const struct eb_exchange_field *field)
{
	struct eb_source source = {
		.family = field->record.source.family, .target = field->record.target, .rule_id = field->rule_id,
	};

	memcpy(source.addr, field->record.source.addr, sizeof(source.addr));
	return source;
}
