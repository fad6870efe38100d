/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * edgebucket buckets --redis: what the store holds for this node beside what the maps hold.
 */
#ifndef EB_COMPARE_H
#define EB_COMPARE_H

#include <stddef.h>

#include "cli/cli.h"
#include "config/config.h"

/* `rule` and `within` may be NULL for all; `limit` 0 for all rows. */
enum cli_result compare_show(const struct cli *cli, const char *rule, const struct eb_prefix *within, size_t limit);

#endif
