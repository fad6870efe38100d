/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The section `rules` of the configuration. For config.c, and config_levels.c.
 */
#ifndef EB_CONFIG_RULES_H
#define EB_CONFIG_RULES_H

#include "config/config.h"
#include "config/yaml.h"

/* Adds the rules to `into`, a struct eb_config whose interfaces and table_size have been read. Returns 0 or negative
 * errno; the error goes to the findings of the document. */
int eb_config_rules_read(const struct eb_yaml_value *value, void *into);
void eb_config_rules_free(struct eb_rule_config *rules, size_t count);

/* Limits, of rules and their levels. A burst of bytes that is smaller than a frame is warned of. */
int eb_config_packets_read(const struct eb_yaml_value *value, struct eb_rate *out);
int eb_config_bytes_read(const struct eb_yaml_value *value, const struct eb_config *config, struct eb_rate *out);

/* also_per, of rules and their levels. */
int eb_config_also_per_read(const struct eb_yaml_value *value, enum eb_also *out);

#endif
