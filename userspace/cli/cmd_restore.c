// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket restore --dry-run: what the agent would bring back if it found no maps now. Changes nothing. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/input.h"
#include "base/printable.h"
#include "cli/bucket_rows.h"
#include "cli/options.h"
#include "cli/table_print.h"
#include "config/limit.h"
#include "store/ban_record.h"

/* One store, judged by itself. */
struct source {
	struct stored stored;
	struct eb_restore *restore; /* NULL where the configuration does not have it */
	struct eb_restore_counts counts;
	struct stored bans_stored;
	struct eb_ban_list bans;
	uint64_t now_ns; /* CLOCK_MONOTONIC, when the bans were read */
};

struct rehearsal {
	struct session session;
	struct eb_config *config;
	struct source sources[STORE_KINDS];
	struct bucket_rows rows;
	bool has_maps;
	bool is_incomplete; /* a store could not be read */
	uint64_t clamped;
	const struct source *bans; /* whose bans would be restored; NULL for none */
};

static void take_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct source *source = arg;

	eb_restore_add(source->restore, field, field_len, value, value_len, source->stored.reference_ns);
}

static void take_ban(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct source *source = arg;

	if (eb_ban_list_add(&source->bans, field, field_len, value, value_len, source->now_ns,
			    source->bans_stored.reference_ns))
		source->bans.refused[EB_BAN_TOO_MANY]++;
}

static enum cli_result read_bans(struct rehearsal *rehearsal, enum store_kind kind)
{
	struct source *source = &rehearsal->sources[kind];

	source->bans.max = rehearsal->config->bans_max;
	source->now_ns = eb_monotonic_ns();
	if (!stores_read(rehearsal->config, kind, EB_STORE_BANS, take_ban, source, &source->bans_stored))
		return CLI_DONE;
	eb_ban_list_clear(&source->bans);
	cli_fail("bans in %s: %s", stores_name(kind), source->bans_stored.error);
	rehearsal->is_incomplete = true;
	return CLI_DONE;
}

/* As in the agent: the store that was written last knows which bans were lifted. */
static void choose_bans(struct rehearsal *rehearsal)
{
	for (int kind = 0; kind < STORE_KINDS; kind++) {
		const struct source *source = &rehearsal->sources[kind];
		uint64_t saved_at_ns = source->bans_stored.meta.saved_at_ns;

		if (*source->bans_stored.error || (!saved_at_ns && !source->bans.fields))
			continue;
		if (!rehearsal->bans || saved_at_ns > rehearsal->bans->bans_stored.meta.saved_at_ns)
			rehearsal->bans = source;
	}
}

/* What was read of a store that failed half-way does not count, as in the agent. */
static enum cli_result read_source(struct rehearsal *rehearsal, enum store_kind kind)
{
	uint64_t records_max = stores_records_max(rehearsal->config, &rehearsal->session);
	struct source *source = &rehearsal->sources[kind];

	if (!stores_has(rehearsal->config, kind))
		return CLI_DONE;
	source->restore = eb_restore_new(&rehearsal->session.policy, records_max);
	if (!source->restore)
		return cli_fail("out of memory");
	if (stores_read(rehearsal->config, kind, EB_STORE_BUCKETS, take_field, source, &source->stored)) {
		cli_fail("%s: %s", stores_name(kind), source->stored.error);
		rehearsal->is_incomplete = true;
		return CLI_DONE;
	}
	eb_restore_counts(source->restore, &source->counts);
	return read_bans(rehearsal, kind);
}

static enum cli_result read_sources(struct rehearsal *rehearsal)
{
	enum cli_result result = CLI_DONE;
	bool has_any = false;

	for (int kind = 0; kind < STORE_KINDS && !result; kind++) {
		has_any |= stores_has(rehearsal->config, kind);
		result = read_source(rehearsal, kind);
	}
	if (!result && !has_any)
		return cli_fail("%s configures no store: neither redis nor state_dir", rehearsal->config->path);
	return result;
}

static void count_clamped(const struct eb_restore_debt *debt, void *arg)
{
	struct source *source = arg;

	source->counts.restored++;
	source->counts.clamped += debt->clamped;
}

/* Restoring counts what it puts into the maps; here, what it would. */
static enum cli_result judge(struct rehearsal *rehearsal)
{
	struct bucket_rows *rows = &rehearsal->rows;

	rows->now = eb_buckets_now();
	for (int kind = 0; kind < STORE_KINDS; kind++) {
		struct source *source = &rehearsal->sources[kind];

		if (!source->restore || *source->stored.error)
			continue;
		eb_restore_each(source->restore, count_clamped, source);
		bucket_rows_add_stored(rows, source->restore, &source->stored);
	}
	if (rows->error)
		return cli_fail("%s", strerror(-rows->error));
	bucket_rows_merge(rows);
	for (size_t i = 0; i < rows->count; i++)
		rehearsal->clamped += rows->items[i].clamped;
	return CLI_DONE;
}

static enum cli_result collect(const struct cli *cli, struct rehearsal *rehearsal)
{
	enum cli_result result = session_open(cli, SESSION_BUCKETS | SESSION_OPTIONAL, &rehearsal->session);

	if (!result)
		result = stores_config(cli, &rehearsal->session, &rehearsal->config);
	if (!result)
		result = stores_policy(rehearsal->config, &rehearsal->session);
	if (!result)
		result = read_sources(rehearsal);
	choose_bans(rehearsal);
	rehearsal->has_maps = session_has_maps(&rehearsal->session);
	return result ? result : judge(rehearsal);
}

/* "redis", "embedded", or "both" where both have the same times. */
static const char *from(const struct bucket_row *row)
{
	if (row->stores == 1U << STORE_REDIS)
		return stores_name(STORE_REDIS);
	return row->stores == 1U << STORE_EMBEDDED ? stores_name(STORE_EMBEDDED) : "both";
}

static uint64_t full_in(const struct bucket_row *row)
{
	return (row->packets > row->bytes ? row->packets : row->bytes) / EB_TICKS_PER_NS;
}

static const struct eb_rule *rule_of(const struct rehearsal *rehearsal, const struct bucket_row *row)
{
	return &rehearsal->session.policy.rules[row->rule];
}

/* Since it was saved; false when it does not say when, or that is still to come. */
static bool age_of(const struct source *source, uint64_t *out)
{
	if (!source->stored.meta.saved_at_ns || source->stored.meta.saved_at_ns > source->stored.wall_ns)
		return false;
	*out = source->stored.wall_ns - source->stored.meta.saved_at_ns;
	return true;
}

/* ---- as JSON ---- */

static json_t *tokens_json(const struct eb_limit *limit, uint64_t debt)
{
	if (!limit->mult)
		return json_null();
	return json_pack("{s:I, s:I}", "tokens", (json_int_t)eb_limit_tokens(limit, debt), "burst",
			 (json_int_t)eb_limit_burst(limit));
}

static json_t *row_json(const struct rehearsal *rehearsal, const struct bucket_row *row)
{
	const struct eb_rule *rule = rule_of(rehearsal, row);

	return json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:b, s:s}", "rule",
			 session_rule_name(&rehearsal->session.policy, row->rule).s, "level", print_json_level(rule),
			 "source", bucket_rows_source(row).s,
			 "packets", tokens_json(&rule->packets, row->packets), "bytes",
			 tokens_json(&rule->bytes, row->bytes), "full_in_seconds", print_json_seconds(full_in(row)),
			 "clamped", row->clamped, "store", from(row));
}

static json_t *refused_json(const struct eb_restore_counts *counts)
{
	json_t *refused = json_object();

	for (int i = 0; i < EB_REFUSALS; i++)
		if (counts->refused[i])
			json_object_set_new(refused, eb_refusal_name(i), json_integer((json_int_t)counts->refused[i]));
	return refused;
}

static json_t *source_json(const struct source *source)
{
	const struct eb_store_meta *meta = &source->stored.meta;
	const struct eb_restore_counts *counts = &source->counts;
	bool failed = *source->stored.error;
	uint64_t age;

	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "store",
			 stores_name(source->stored.kind), "error",
			 eb_printable_json(failed ? source->stored.error : NULL), "age_seconds",
			 age_of(source, &age) ? print_json_seconds(age) : json_null(), "boot_id",
			 eb_printable_json(*meta->boot_id ? meta->boot_id : NULL), "agent",
			 eb_printable_json(*meta->agent ? meta->agent : NULL), "fields", (json_int_t)counts->fields,
			 "in_debt", (json_int_t)counts->restored, "full", (json_int_t)counts->full, "clamped",
			 (json_int_t)counts->clamped, "refused", refused_json(counts));
}

static json_t *bans_json(const struct source *source)
{
	json_t *refused = json_object();

	if (!source) {
		json_decref(refused);
		return json_null();
	}
	for (int i = 0; i < EB_BAN_FAULTS; i++)
		if (source->bans.refused[i])
			json_object_set_new(refused, eb_ban_fault_name(i),
					    json_integer((json_int_t)source->bans.refused[i]));
	return json_pack("{s:s, s:I, s:I, s:I, s:o}", "store", stores_name(source->bans_stored.kind), "fields",
			 (json_int_t)source->bans.fields, "restored", (json_int_t)source->bans.count, "over",
			 (json_int_t)source->bans.over, "refused", refused);
}

static json_t *summary_json(const struct rehearsal *rehearsal, size_t found)
{
	json_t *stores = json_array();

	for (int kind = 0; kind < STORE_KINDS; kind++)
		if (rehearsal->sources[kind].restore)
			json_array_append_new(stores, source_json(&rehearsal->sources[kind]));
	return json_pack("{s:s, s:b, s:b, s:I, s:I, s:o, s:o}", "node", rehearsal->config->node, "complete",
			 !rehearsal->is_incomplete, "maps", rehearsal->has_maps, "restored", (json_int_t)found,
			 "clamped", (json_int_t)rehearsal->clamped, "stores", stores, "bans",
			 bans_json(rehearsal->bans));
}

/* Row by row: there may be millions. */
static enum cli_result print_rehearsal_json(const struct rehearsal *rehearsal, size_t found)
{
	json_t *summary = summary_json(rehearsal, found);
	char *text = json_dumps(summary, JSON_EMBED | JSON_PRESERVE_ORDER);
	struct json_list list;

	json_decref(summary);
	if (!text)
		return cli_fail("out of memory");
	printf("{%s, \"buckets\": ", text);
	free(text);
	print_json_list_begin(&list);
	for (size_t i = 0; i < rehearsal->rows.count; i++)
		print_json_list_add(&list, row_json(rehearsal, &rehearsal->rows.items[i]));
	print_json_list_end(&list);
	puts("}");
	return CLI_DONE;
}

/* ---- as text ---- */

enum { COLUMN_RULE, COLUMN_SOURCE, COLUMN_PACKETS, COLUMN_BYTES, COLUMN_FULL_IN, COLUMN_FROM, COLUMN_NOTE, COLUMNS };

static const struct table_column columns[COLUMNS] = {
	[COLUMN_RULE] = { .title = "RULE" },
	[COLUMN_SOURCE] = { .title = "SOURCE" },
	[COLUMN_PACKETS] = { .title = "PACKETS LEFT", .right = true, .optional = true },
	[COLUMN_BYTES] = { .title = "BYTES LEFT", .right = true, .optional = true },
	[COLUMN_FULL_IN] = { .title = "FULL IN", .right = true },
	[COLUMN_FROM] = { .title = "FROM" },
	[COLUMN_NOTE] = { .title = "NOTE", .optional = true },
};

static void fill_tokens(const struct eb_limit *limit, uint64_t debt, bool is_bytes, struct table_cell *cell)
{
	uint64_t tokens = eb_limit_tokens(limit, debt);

	if (!limit->mult) {
		strcpy(cell->text.s, "-");
		return;
	}
	snprintf(cell->text.s, sizeof(cell->text.s), "%.40s/%.40s", print_tokens(limit, tokens, is_bytes).s,
		 print_tokens(limit, eb_limit_burst(limit), is_bytes).s);
	cell->colour = tokens ? COLOUR_NONE : COLOUR_RED;
}

static void fill_row(const void *arg, size_t index, struct table_cell *cells)
{
	const struct rehearsal *rehearsal = arg;
	const struct bucket_row *row = &rehearsal->rows.items[index];
	const struct eb_rule *rule = rule_of(rehearsal, row);

	cells[COLUMN_RULE].text = session_limit_name(&rehearsal->session.policy, row->rule);
	cells[COLUMN_SOURCE].text = bucket_rows_source(row);
	fill_tokens(&rule->packets, row->packets, false, &cells[COLUMN_PACKETS]);
	fill_tokens(&rule->bytes, row->bytes, true, &cells[COLUMN_BYTES]);
	cells[COLUMN_FULL_IN].text = print_duration(full_in(row));
	strcpy(cells[COLUMN_FROM].text.s, from(row));
	strcpy(cells[COLUMN_NOTE].text.s, row->clamped ? "clamped" : "-");
	cells[COLUMN_NOTE].colour = row->clamped ? COLOUR_YELLOW : COLOUR_NONE;
}

/* "redis: 12 fields, saved 350ms ago: 9 in debt, 1 full by now, 0 clamped; refused: 2 unknown rule" */
static void show_source(const struct source *source)
{
	const struct eb_restore_counts *counts = &source->counts;
	const char *separator = "; refused: ";
	uint64_t age;

	if (*source->stored.error) {
		printf("%s: not read\n", stores_name(source->stored.kind));
		return;
	}
	printf("%s: %" PRIu64 " fields", stores_name(source->stored.kind), counts->fields);
	if (age_of(source, &age))
		printf(", saved %s ago", print_duration(age).s);
	else if (source->stored.meta.saved_at_ns)
		printf(", saved in the future: the clock was set back");
	printf(": %" PRIu64 " in debt, %" PRIu64 " full by now, %" PRIu64 " clamped", counts->restored, counts->full,
	       counts->clamped);
	for (int i = 0; i < EB_REFUSALS; i++) {
		if (!counts->refused[i])
			continue;
		printf("%s%" PRIu64 " %s", separator, counts->refused[i], eb_refusal_name(i));
		separator = ", ";
	}
	putchar('\n');
}

/* "bans: of redis, 3 of 5 fields, 1 over by now; refused: 1 time too far ahead (\"192.0.2.1/32\")" */
static void print_bans(const struct source *source)
{
	const char *separator = "; refused: ";

	if (!source)
		return;
	printf("bans: of %s, %zu of %" PRIu64 " fields, %" PRIu64 " over by now",
	       stores_name(source->bans_stored.kind), source->bans.count, source->bans.fields, source->bans.over);
	for (int i = 0; i < EB_BAN_FAULTS; i++) {
		if (!source->bans.refused[i])
			continue;
		printf("%s%" PRIu64 " %s (%s)", separator, source->bans.refused[i], eb_ban_fault_name(i),
		       eb_input_quote(source->bans.example[i]).text);
		separator = ", ";
	}
	putchar('\n');
}

static void print_rehearsal(const struct rehearsal *rehearsal, size_t found)
{
	if (found)
		table_print(columns, COLUMNS, rehearsal->rows.count, fill_row, rehearsal);
	if (rehearsal->rows.count < found)
		cli_note("%zu more not shown", found - rehearsal->rows.count);
	for (int kind = 0; kind < STORE_KINDS; kind++)
		if (rehearsal->sources[kind].restore)
			show_source(&rehearsal->sources[kind]);
	print_bans(rehearsal->bans);
	printf("a restore now would bring back %zu bucket%s, %" PRIu64 " of them clamped\n", found,
	       found == 1 ? "" : "s", rehearsal->clamped);
	if (rehearsal->has_maps)
		cli_note("the maps exist: an agent that starts now adopts them and restores nothing");
	if (rehearsal->is_incomplete && *rehearsal->sources[STORE_REDIS].stored.error)
		cli_note("the agent would add the debts that Redis holds once Redis answers");
}

static enum cli_result rehearse(const struct cli *cli, struct rehearsal *rehearsal, size_t limit)
{
	enum cli_result result = collect(cli, rehearsal);
	size_t found = rehearsal->rows.count;

	if (result)
		return result;
	if (limit && found > limit)
		rehearsal->rows.count = limit;
	if (cli->json)
		result = print_rehearsal_json(rehearsal, found);
	else
		print_rehearsal(rehearsal, found);
	return rehearsal->is_incomplete ? CLI_FAILED : result;
}

static void free_rehearsal(struct rehearsal *rehearsal)
{
	bucket_rows_free(&rehearsal->rows);
	for (int kind = 0; kind < STORE_KINDS; kind++) {
		eb_restore_free(rehearsal->sources[kind].restore);
		eb_ban_list_clear(&rehearsal->sources[kind].bans);
	}
	eb_config_free(rehearsal->config);
	session_close(&rehearsal->session);
	free(rehearsal);
}

enum cli_result cmd_restore(struct cli *cli, int argc, char **argv)
{
	bool dry_run = false;
	int64_t limit = 0;
	const struct option_spec specs[] = {
		{ "dry-run", 0, OPTION_FLAG, &dry_run, 0 },
		{ "limit", 'n', OPTION_NUMBER, &limit, INT64_MAX },
	};
	struct rehearsal *rehearsal;
	enum cli_result result;

	if (options_parse(cli, argc, argv, specs, 2, 0))
		return CLI_MISUSED;
	if (!dry_run)
		return cli_misuse(cli,
				  "the agent restores when it starts and finds no maps; --dry-run shows what it would "
				  "restore");
	rehearsal = calloc(1, sizeof(*rehearsal));
	if (!rehearsal)
		return cli_fail("out of memory");
	rehearsal->rows.session = &rehearsal->session;
	rehearsal->rows.rule = -1;
	result = rehearse(cli, rehearsal, limit);
	free_rehearsal(rehearsal);
	return result;
}
