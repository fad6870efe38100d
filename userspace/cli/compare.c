// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bucket_rows.h"
#include "cli/compare.h"
#include "cli/table_print.h"
#include "config/limit.h"

struct comparison {
	struct session session;
	struct eb_config *config;
	struct eb_restore *restore; /* what the store holds */
	struct stored stored;
	struct bucket_rows rows;
	bool has_maps;
};

static void take_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct comparison *comparison = arg;

	eb_restore_add(comparison->restore, field, field_len, value, value_len, comparison->stored.reference_ns);
}

/* The store that is mirrored to while all is well; STORE_KINDS for none. */
static enum store_kind choose_store(const struct eb_config *config)
{
	enum store_kind kind = 0;

	while (kind < STORE_KINDS && !stores_has(config, kind))
		kind++;
	return kind;
}

static enum cli_result read_store(struct comparison *comparison)
{
	uint64_t records_max = stores_records_max(comparison->config, &comparison->session);
	enum store_kind kind = choose_store(comparison->config);

	if (kind == STORE_KINDS)
		return cli_fail("%s configures no store: neither redis nor state_dir", comparison->config->path);
	comparison->restore = eb_restore_new(&comparison->session.policy, records_max);
	if (!comparison->restore)
		return cli_fail("out of memory");
	if (stores_read(comparison->config, kind, EB_STORE_BUCKETS, take_field, comparison, &comparison->stored))
		return cli_fail("%s: %s", stores_name(kind), comparison->stored.error);
	return CLI_DONE;
}

static enum cli_result collect(const struct cli *cli, const char *rule, struct comparison *comparison)
{
	struct bucket_rows *rows = &comparison->rows;
	enum cli_result result = session_open(cli, SESSION_BUCKETS | SESSION_OPTIONAL, &comparison->session);
	int err;

	if (!result)
		result = stores_config(cli, &comparison->session, &comparison->config);
	if (!result)
		result = stores_policy(comparison->config, &comparison->session);
	if (!result)
		result = session_option_rule(&comparison->session, rule, &rows->rule);
	if (!result)
		result = read_store(comparison);
	if (result)
		return result;
	comparison->has_maps = session_has_maps(&comparison->session);
	rows->now = eb_buckets_now();
	bucket_rows_add_stored(rows, comparison->restore, &comparison->stored);
	err = bucket_rows_add_maps(rows);
	if (err)
		return cli_fail("the buckets cannot be read: %s", strerror(-err));
	bucket_rows_merge(rows);
	return CLI_DONE;
}

static const struct eb_rule *rule_of(const struct comparison *comparison, const struct bucket_row *row)
{
	return &comparison->session.policy.rules[row->rule];
}

/* How many tokens more the store would give. */
static int64_t difference(const struct eb_limit *limit, uint64_t stored, uint64_t maps)
{
	return (int64_t)eb_limit_tokens(limit, stored) - (int64_t)eb_limit_tokens(limit, maps);
}

/* Whose debt it is; NULL when both have some. */
static const char *only_in(const struct bucket_row *row)
{
	bool in_store = row->packets || row->bytes, in_maps = row->maps_packets || row->maps_bytes;

	if (in_store && in_maps)
		return NULL;
	return in_maps ? "maps" : "store";
}

static json_t *tokens_json(const struct comparison *comparison, const struct eb_limit *limit, uint64_t stored,
			   uint64_t maps)
{
	bool has_maps = comparison->has_maps;

	if (!limit->mult)
		return json_null();
	return json_pack("{s:o, s:I, s:I, s:o}", "tokens",
			 has_maps ? json_integer((json_int_t)eb_limit_tokens(limit, maps)) : json_null(),
			 "stored_tokens", (json_int_t)eb_limit_tokens(limit, stored), "burst",
			 (json_int_t)eb_limit_burst(limit), "difference",
			 has_maps ? json_integer(difference(limit, stored, maps)) : json_null());
}

static json_t *row_json(const struct comparison *comparison, const struct bucket_row *row)
{
	const struct eb_rule *rule = rule_of(comparison, row);

	return json_pack("{s:s, s:o, s:s, s:s, s:s?, s:o, s:o, s:I}", "rule",
			 session_rule_name(&comparison->session.policy, row->rule).s, "level", print_json_level(rule),
			 "source", bucket_rows_source(row).s, "store", stores_name(comparison->stored.kind), "only_in",
			 only_in(row), "packets",
			 tokens_json(comparison, &rule->packets, row->packets, row->maps_packets), "bytes",
			 tokens_json(comparison, &rule->bytes, row->bytes, row->maps_bytes), "dropped",
			 (json_int_t)row->dropped);
}

enum {
	COLUMN_RULE,
	COLUMN_SOURCE,
	COLUMN_PACKETS_MAPS,
	COLUMN_PACKETS_STORE,
	COLUMN_BYTES_MAPS,
	COLUMN_BYTES_STORE,
	COLUMN_DIFFERENCE,
	COLUMNS,
};

static const struct table_column columns[COLUMNS] = {
	[COLUMN_RULE] = { .title = "RULE" },
	[COLUMN_SOURCE] = { .title = "SOURCE" },
	[COLUMN_PACKETS_MAPS] = { .title = "PACKETS IN MAPS", .right = true, .optional = true },
	[COLUMN_PACKETS_STORE] = { .title = "IN STORE", .right = true, .optional = true },
	[COLUMN_BYTES_MAPS] = { .title = "BYTES IN MAPS", .right = true, .optional = true },
	[COLUMN_BYTES_STORE] = { .title = "IN STORE", .right = true, .optional = true },
	[COLUMN_DIFFERENCE] = { .title = "DIFFERENCE" },
};

static struct text tokens_text(const struct eb_limit *limit, uint64_t debt, bool is_bytes)
{
	struct text text = { "-" };

	if (limit->mult)
		snprintf(text.s, sizeof(text.s), "%.40s/%.40s",
			 print_tokens(limit, eb_limit_tokens(limit, debt), is_bytes).s,
			 print_tokens(limit, eb_limit_burst(limit), is_bytes).s);
	return text;
}

/* "+12", "-1.2kB"; "" for none. */
static struct text change_text(const struct eb_limit *limit, uint64_t stored, uint64_t maps, bool is_bytes)
{
	int64_t change = limit->mult ? difference(limit, stored, maps) : 0;
	uint64_t size = change < 0 ? -(uint64_t)change : (uint64_t)change;
	struct text text = { "" };

	if (change)
		snprintf(text.s, sizeof(text.s), "%c%.40s", change < 0 ? '-' : '+',
			 is_bytes ? print_size(size).s : print_count(size).s);
	return text;
}

static void fill_difference(const struct comparison *comparison, const struct bucket_row *row, struct table_cell *cell)
{
	const struct eb_rule *rule = rule_of(comparison, row);
	struct text packets = change_text(&rule->packets, row->packets, row->maps_packets, false);
	struct text bytes = change_text(&rule->bytes, row->bytes, row->maps_bytes, true);
	const char *where = only_in(row);

	if (where)
		snprintf(cell->text.s, sizeof(cell->text.s), "only in %s",
			 strcmp(where, "store") ? where : stores_name(comparison->stored.kind));
	else if (*packets.s || *bytes.s)
		snprintf(cell->text.s, sizeof(cell->text.s), "%.40s%s%.40s", packets.s,
			 *packets.s && *bytes.s ? ", " : "", bytes.s);
	else
		strcpy(cell->text.s, "same");
	cell->colour = where ? COLOUR_YELLOW : *packets.s || *bytes.s ? COLOUR_NONE : COLOUR_DIM;
}

static void fill_row(const void *arg, size_t index, struct table_cell *cells)
{
	const struct comparison *comparison = arg;
	const struct bucket_row *row = &comparison->rows.items[index];
	const struct eb_rule *rule = rule_of(comparison, row);

	cells[COLUMN_RULE].text = session_limit_name(&comparison->session.policy, row->rule);
	cells[COLUMN_SOURCE].text = bucket_rows_source(row);
	cells[COLUMN_PACKETS_STORE].text = tokens_text(&rule->packets, row->packets, false);
	cells[COLUMN_BYTES_STORE].text = tokens_text(&rule->bytes, row->bytes, true);
	if (comparison->has_maps) {
		cells[COLUMN_PACKETS_MAPS].text = tokens_text(&rule->packets, row->maps_packets, false);
		cells[COLUMN_BYTES_MAPS].text = tokens_text(&rule->bytes, row->maps_bytes, true);
	} else {
		strcpy(cells[COLUMN_PACKETS_MAPS].text.s, "-");
		strcpy(cells[COLUMN_BYTES_MAPS].text.s, "-");
	}
	fill_difference(comparison, row, &cells[COLUMN_DIFFERENCE]);
}

static void print_table(const struct comparison *comparison)
{
	bool is_redis = comparison->stored.kind == STORE_REDIS;
	struct table_column titled[COLUMNS];

	memcpy(titled, columns, sizeof(columns));
	titled[COLUMN_PACKETS_STORE].title = is_redis ? "PACKETS IN REDIS" : "PACKETS IN STORE";
	titled[COLUMN_BYTES_STORE].title = is_redis ? "BYTES IN REDIS" : "BYTES IN STORE";
	table_print(titled, COLUMNS, comparison->rows.count, fill_row, comparison);
}

static void print_list_json(const struct comparison *comparison)
{
	struct json_list json;

	print_json_list_begin(&json);
	for (size_t i = 0; i < comparison->rows.count; i++)
		print_json_list_add(&json, row_json(comparison, &comparison->rows.items[i]));
	print_json_list_end(&json);
}

/* What has no row of its own. */
static void note_others(const struct comparison *comparison, size_t hidden)
{
	const char *name = stores_name(comparison->stored.kind);
	struct eb_restore_counts counts;

	eb_restore_counts(comparison->restore, &counts);
	if (hidden)
		cli_note("%zu more not shown", hidden);
	if (comparison->rows.orphans && comparison->rows.rule < 0 && !comparison->rows.within)
		cli_note("not shown: %zu buckets of rules or limits that are no longer in force",
			 comparison->rows.orphans);
	if (counts.full)
		cli_note("%s: not shown because they are full by now: %" PRIu64, name, counts.full);
	for (int i = 0; i < EB_REFUSALS; i++)
		if (counts.refused[i])
			cli_note("%s: not shown because a restore would refuse them (%s): %" PRIu64, name,
				 eb_refusal_name(i), counts.refused[i]);
}

static void show(struct comparison *comparison, size_t limit, bool json)
{
	size_t found = comparison->rows.count;

	if (limit && found > limit)
		comparison->rows.count = limit;
	if (json) {
		print_list_json(comparison);
		return;
	}
	print_table(comparison);
	note_others(comparison, found - comparison->rows.count);
}

enum cli_result compare_show(const struct cli *cli, const char *rule, const struct eb_prefix *within, size_t limit)
{
	struct comparison *comparison = calloc(1, sizeof(*comparison));
	enum cli_result result;

	if (!comparison)
		return cli_fail("out of memory");
	comparison->rows.session = &comparison->session;
	comparison->rows.within = within;
	result = collect(cli, rule, comparison);
	if (!result)
		show(comparison, limit, cli->json);
	bucket_rows_free(&comparison->rows);
	eb_restore_free(comparison->restore);
	eb_config_free(comparison->config);
	session_close(&comparison->session);
	free(comparison);
	return result;
}
