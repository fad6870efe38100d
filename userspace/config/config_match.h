/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The key `match` of a rule: which packets it matches. For config_rules.c.
 */
#ifndef EB_CONFIG_MATCH_H
#define EB_CONFIG_MATCH_H

#include "config/config.h"
#include "config/yaml.h"

/* Reads a match, and the lists of prefixes that it names, into *out, which was zeroed. The interfaces of `config` have
 * been read; warnings go to it. Returns 0 or negative errno; the error goes to the findings of the document. The caller
 * releases *out with eb_config_match_done(), also after an error. */
int eb_config_match_read(const struct eb_yaml_value *value, struct eb_config *config, struct eb_match *out);

/* Frees what a match holds, not the match itself. A zeroed one is fine. */
void eb_config_match_done(struct eb_match *match);

#endif
