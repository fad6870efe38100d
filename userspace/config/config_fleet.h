/* SPDX-License-Identifier: GPL-2.0-only */
/* The section `fleet`. config.c calls it. */
#ifndef EB_CONFIG_FLEET_H
#define EB_CONFIG_FLEET_H

#include "config/config.h"
#include "config/yaml.h"

/* Reads the section into the struct eb_config. Returns 0 or negative errno. */
int eb_config_fleet_read(const struct eb_yaml_value *value, void *into);

/* Checks it against the whole configuration, once that is read. Returns 0 or negative errno. */
int eb_config_fleet_check(const struct eb_config *config, struct eb_findings *findings);

#endif
