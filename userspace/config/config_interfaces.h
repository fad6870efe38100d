/* SPDX-License-Identifier: GPL-2.0-only */
/* The key `interfaces`, and `interface` of a match: names, patterns and `default`. */
#ifndef EB_CONFIG_INTERFACES_H
#define EB_CONFIG_INTERFACES_H

#include "config/config.h"
#include "config/findings.h"
#include "config/yaml.h"

/* Reads `interfaces` into `into`, a struct eb_config. Returns 0 or negative errno. */
int eb_config_interfaces_read(const struct eb_yaml_value *value, void *into);

/* Reads one interface of a match, an entry of `interfaces` or something that one of these might stand for, and adds the
 * bit of its entry to *out. Returns 0 or negative errno. */
int eb_config_interface_read(const struct eb_yaml_value *value, struct eb_config *config, uint64_t *out);

/* Warns of interfaces that lie on others. Returns 0 or -ENOMEM. */
int eb_config_interfaces_check(const struct eb_config *config, struct eb_findings *findings);

#endif
