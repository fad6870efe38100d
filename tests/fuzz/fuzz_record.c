// SPDX-License-Identifier: GPL-2.0-only
/* A field and a value from a store that anybody may have written to: refused, or the one way to write that record. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/record.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *field = (const char *)data, *split = memchr(data, '\n', size), *value;
	char field_text[EB_STORE_FIELD_MAX], value_text[EB_STORE_VALUE_MAX];
	struct eb_record record, again;
	size_t value_len;

	if (!split)
		return 0;
	value = split + 1;
	value_len = size - (value - field);
	if (eb_record_parse(field, split - field, value, value_len, &record))
		return 0;
	eb_record_format_field(&record, field_text);
	eb_record_format_value(&record, value_text);
	if (strlen(value_text) != value_len || memcmp(value_text, value, value_len) ||
	    eb_record_parse(field_text, strlen(field_text), value_text, value_len, &again) ||
	    memcmp(&record.source, &again.source, sizeof(record.source)) || strcmp(record.rule, again.rule))
		abort();
	return 0;
}
