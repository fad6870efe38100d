/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several buckets for one packet: a rule's `levels`, and chains of rules with `then: continue`. For config_rules.c
 * alone.
 */
#ifndef EB_CONFIG_LEVELS_H
#define EB_CONFIG_LEVELS_H

#include "config/config.h"
#include "config/yaml.h"

/* Reads the list `levels` of a rule whose prefix lengths and limits have been read. */
int eb_config_levels_read(const struct eb_yaml_value *value, const struct eb_config *config,
			  struct eb_rule_config *rule);

/* Refuses rules of which a packet could meet more than EB_BUCKETS_MAX buckets. `value` is the list of them. */
int eb_config_chains_check(const struct eb_yaml_value *value, const struct eb_config *config);

#endif
