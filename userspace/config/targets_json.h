/* SPDX-License-Identifier: GPL-2.0-only */
/* What the patterns of a configuration stand for, as agent and command line report it. */
#ifndef EB_TARGETS_JSON_H
#define EB_TARGETS_JSON_H

#include <jansson.h>

#include "config/targets.h"

/* Returns [{"pattern", "interfaces": [name], "left_out": [{"name", "reason"}]}], one for each entry of `interfaces`
 * that is no name. */
json_t *eb_targets_json(const struct eb_config *config, const struct eb_targets *targets);

#endif
