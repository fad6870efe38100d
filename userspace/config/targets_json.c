// SPDX-License-Identifier: GPL-2.0-only
#include "base/printable.h"
#include "config/targets_json.h"

static json_t *entry_json(const char *pattern, const struct eb_targets *targets, size_t entry)
{
	json_t *interfaces = json_array(), *left_out = json_array();
	char reason[EB_TARGET_REASON_MAX];

	for (size_t i = 0; i < targets->count; i++) {
		const struct eb_target *target = &targets->items[i];

		if (!(target->entries >> entry & 1))
			continue;
		if (target->state == EB_TARGET_THERE)
			json_array_append_new(interfaces, eb_printable_json(target->name));
		else if (eb_target_reason(target, reason))
			json_array_append_new(left_out, json_pack("{s:o, s:o}", "name", eb_printable_json(target->name),
								  "reason", eb_printable_json(reason)));
	}
	return json_pack("{s:o, s:o, s:o}", "pattern", eb_printable_json(pattern), "interfaces", interfaces,
			 "left_out", left_out);
}

json_t *eb_targets_json(const struct eb_config *config, const struct eb_targets *targets)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->interface_count; i++)
		if (config->entries[i].kind != EB_ENTRY_NAME)
			json_array_append_new(list, entry_json(config->entries[i].text, targets, i));
	return list;
}
