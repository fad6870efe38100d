// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/exchange_field.h"
#include "store/store.h"

void eb_exchange_field_name(const struct eb_source *source, const struct eb_policy *policy, int place, bool of_bytes,
			    struct eb_exchange_field *out)
{
	eb_record_name(source, policy, place, &out->record);
	out->rule_id = source->rule_id;
	out->of_bytes = of_bytes;
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
