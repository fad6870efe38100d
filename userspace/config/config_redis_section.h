/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The section `redis` of the configuration, and the file of --redis-config, which holds the same. config.c reads both.
 */
#ifndef EB_CONFIG_REDIS_SECTION_H
#define EB_CONFIG_REDIS_SECTION_H

#include "config/config_redis.h"
#include "config/findings.h"
#include "config/yaml.h"

/* Reads the section. `into` points to a pointer, which gets a struct eb_redis_config for eb_redis_config_free().
 * Returns 0 or negative errno; the error goes to the findings of the document. */
int eb_redis_section_read(const struct eb_yaml_value *value, void *into);

/* Reads a file that contains only this section, in YAML or JSON. Returns 0, or negative errno with an error in
 * `report`. */
int eb_redis_section_read_file(const char *path, struct eb_findings *findings, struct eb_redis_config **out);

#endif
