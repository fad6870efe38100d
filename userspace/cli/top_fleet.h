/* SPDX-License-Identifier: GPL-2.0-only */
/* top --fleet: the worst sources of all nodes. */
#ifndef EB_TOP_FLEET_H
#define EB_TOP_FLEET_H

#include <stddef.h>

#include "cli/cli.h"

/* Shows the `limit` (0: all) limits of shared buckets that are full last, of rule `rule_name` or of all (NULL). */
enum cli_result top_fleet_show(const struct cli *cli, const char *rule_name, size_t limit);

#endif
