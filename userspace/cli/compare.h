/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * edgebucket buckets --redis: compares what the stores and the maps hold for this node.
 */
#ifndef EB_COMPARE_H
#define EB_COMPARE_H

#include <stddef.h>

#include "cli/cli.h"
#include "config/config.h"

/* Prints the comparison. `rule` and `within` select rows; NULL selects all. `limit` is the maximum number of rows; 0
 * prints all. */
enum cli_result compare_show(const struct cli *cli, const char *rule, const struct eb_prefix *within, size_t limit);

#endif
