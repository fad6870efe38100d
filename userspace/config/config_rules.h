/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The section `rules` of the configuration. Only config.c calls these functions.
 */
#ifndef EB_CONFIG_RULES_H
#define EB_CONFIG_RULES_H

#include "config/config.h"
#include "config/yaml.h"

/* Adds the rules to `into`, a struct eb_config whose interfaces and table_size have been read. Returns 0 or negative
 * errno; the error goes to the findings of the document. */
int eb_config_rules_read(const struct eb_yaml_value *value, void *into);
void eb_config_rules_free(struct eb_rule_config *rules, size_t count);

#endif
