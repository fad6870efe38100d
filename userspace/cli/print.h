/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Values as text for people, colours, and JSON. Knows neither maps nor configurations.
 */
#ifndef EB_PRINT_H
#define EB_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "config/config.h"
#include "config/destination.h"
#include "edgebucket.h"
#include "maps/buckets.h"

/* Returned as a value, so that print_count(x).s can be an argument of printf. */
struct text {
	char s[112];
};

/* Three digits and a unit: "84213" (exact below 100000), "1.23M". */
struct text print_count(uint64_t count);

/* "84B", "1.23MB" */
struct text print_size(uint64_t bytes);

/* Exact, with a unit if that makes it shorter: "20k", "12.5M", "1234567". */
struct text print_exact(uint64_t count);

/* The same for bytes: "1MB", "64KiB". */
struct text print_exact_size(uint64_t bytes);

/* "350ms", "1.5s", "2min 5s", "3d 4h" */
struct text print_duration(uint64_t ns);

/* The configured rate in tokens per second: of all numbers that compile to this limit, the one with the fewest
 * digits. */
double print_rate_number(const struct eb_limit *limit);

/* The rate as an operator writes it: "200/s", "30/min"; for bytes "8Mbit/s". */
struct text print_rate(const struct eb_limit *limit, bool is_bytes);

/* "200/s burst 400"; "-" if there is no limit. */
struct text print_limit(const struct eb_limit *limit, bool is_bytes);

/* The number of tokens that are left; a full bucket is printed like the burst. */
struct text print_tokens(const struct eb_limit *limit, uint64_t tokens, bool is_bytes);

/* "203.0.113.7/32" */
struct text print_prefix(int family, const uint8_t *addr, int prefix_len);

/* "203.0.113.0/24", and behind that the target, ">192.0.2.1" or ">53", where there is one. */
struct text print_source(const struct eb_prefix *source, const struct eb_destination *target);

/* "203.0.113.7" */
struct text print_address(int family, const uint8_t *addr);

/* Colours. The functions return "" unless stdout is a terminal that supports them. */
enum colour { COLOUR_NONE, COLOUR_BOLD, COLOUR_DIM, COLOUR_RED, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_COUNT };

const char *print_colour(enum colour colour);
const char *print_colour_end(enum colour colour);

/* Writes a JSON document to stdout, and frees it. */
enum cli_result print_json(json_t *document);

/* Writes a JSON document on one line, for streams, and frees it. Returns 0 or negative errno. */
int print_json_line(json_t *document);

/* Writes a list of any length, one element at a time; frees the elements. */
struct json_list {
	bool has_items;
};

void print_json_list_begin(struct json_list *list);
void print_json_list_add(struct json_list *list, json_t *item);
void print_json_list_end(struct json_list *list);

/* "more than 1000 refusals within 10s: banned for 1min, then 2 times as long, up to 1h"; the same as JSON, null for
 * none, which the caller frees. */
struct text print_penalty(const struct eb_rule *rule);
json_t *print_json_penalty(const struct eb_rule *rule);

/* {"rate", "burst"}, or null if there is no limit. */
json_t *print_json_limit(const struct eb_limit *limit);

/* A level's prefixes as text; null for a rule. */
json_t *print_json_level(const struct eb_rule *rule);

/* A number of seconds; null for EB_LIMIT_NEVER. */
json_t *print_json_seconds(uint64_t ns);

#endif
