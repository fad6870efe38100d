/* SPDX-License-Identifier: GPL-2.0-only */
/* The key `penalty` of a rule. Only config_rules.c includes it. */
#ifndef EB_CONFIG_PENALTY_H
#define EB_CONFIG_PENALTY_H

#include "config/config.h"
#include "config/yaml.h"

/* Reads it into rule->penalty; the action and `per` have been read by now. Returns 0 or negative errno, with the
 * finding noted. */
int eb_config_penalty_read(const struct eb_yaml_value *value, struct eb_rule_config *rule);

#endif
