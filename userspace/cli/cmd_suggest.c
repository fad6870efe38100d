// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket suggest: limits for a rule, from what its sources send. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/input.h"
#include "cli/measure.h"
#include "cli/needs.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table_print.h"
#include "config/quantity.h"
#include "policy/rules.h"

#define DEFAULT_FOR "10min"
#define NAMED_DEFAULT 3 /* sources that a limit would refuse */

/* A burst below a full frame never admits one. */
#define BURST_BYTES_MIN 2000

#define PERCENTS 5
static const struct {
	double percent;
	const char *title, *key;
} percents[PERCENTS] = {
	{ 50, "P50", "p50" }, { 90, "P90", "p90" }, { 99, "P99", "p99" }, { 99.9, "P99.9", "p99.9" },
	{ 100, "MAX", "max" },
};

/* A limit to choose. */
struct choice {
	size_t step; /* of the ladder of rates */
	uint64_t burst;
	size_t refused;           /* sources of which it would have refused something */
	double amount;            /* of packets or bytes that it would have refused, at least */
	uint32_t *worst;          /* their indexes, the largest burst first; as many as are to be named */
	size_t worst_count;
};

/* What is said about one limit of the rule. */
struct report {
	const struct measurement *measured;
	const struct needs *needs;
	bool is_bytes;
	float rates[PERCENTS];
	float bursts[NEEDS_RATES][PERCENTS];
	size_t first, last; /* steps that are shown */
	struct choice choices[PERCENTS];
	size_t choice_count;
};

/* ---- figures ---- */

static void fill_percentiles(float *values, size_t count, float out[PERCENTS])
{
	needs_sort(values, count);
	for (size_t i = 0; i < PERCENTS; i++)
		out[i] = needs_percentile(values, count, percents[i].percent);
}

static void fill_figures(struct report *report, float *values)
{
	size_t count = report->measured->count;

	for (size_t i = 0; i < count; i++)
		values[i] = needs_highest_rate(&report->needs[i], report->measured->measured_ns);
	fill_percentiles(values, count, report->rates);
	for (size_t step = 0; step < NEEDS_RATES; step++) {
		for (size_t i = 0; i < count; i++)
			values[i] = report->needs[i].burst[step];
		fill_percentiles(values, count, report->bursts[step]);
	}
	report->first = needs_step(report->is_bytes, report->rates[0]);
	report->last = needs_step(report->is_bytes, report->rates[PERCENTS - 1]);
	if (report->last < NEEDS_RATES - 1)
		report->last++;
}

static double refused_of(const struct report *report, const struct choice *choice, uint32_t index)
{
	const struct measured_source *source = &report->measured->sources[index];
	struct needs_limit limit = {
		.is_bytes = report->is_bytes,
		.step = choice->step,
		.burst = choice->burst,
		.measured_ns = report->measured->measured_ns,
		.longest_ns = report->measured->longest_ns,
	};

	return needs_refused(&report->needs[index], &limit, report->is_bytes ? source->bytes : source->packets);
}

struct order {
	const struct needs *needs;
	size_t step;
};

static int compare_bursts(const void *left, const void *right, void *arg)
{
	const struct order *order = arg;
	float a = order->needs[*(const uint32_t *)left].burst[order->step];
	float b = order->needs[*(const uint32_t *)right].burst[order->step];

	return (a < b) - (a > b);
}

/* Finds whom a limit would have refused. Returns CLI_DONE, or has printed why not. */
static enum cli_result fill_refused(const struct report *report, size_t named, struct choice *choice)
{
	struct order order = { report->needs, choice->step };
	uint32_t *worst = malloc((report->measured->count + 1) * sizeof(*worst));

	if (!worst)
		return cli_fail("out of memory");
	for (size_t i = 0; i < report->measured->count; i++)
		if (report->needs[i].burst[choice->step] > choice->burst)
			worst[choice->refused++] = i;
	for (size_t i = 0; i < choice->refused; i++)
		choice->amount += refused_of(report, choice, worst[i]);
	qsort_r(worst, choice->refused, sizeof(*worst), compare_bursts, &order);
	choice->worst = worst;
	choice->worst_count = choice->refused < named ? choice->refused : named;
	return CLI_DONE;
}

static bool has_choice(const struct report *report, const struct choice *choice)
{
	for (size_t i = 0; i < report->choice_count; i++)
		if (report->choices[i].step == choice->step && report->choices[i].burst == choice->burst)
			return true;
	return false;
}

/* For all sources, then for fewer: a rate that so many do not exceed, and the burst that so many need at this rate. */
static enum cli_result fill_choices(struct report *report, size_t named)
{
	enum cli_result result = CLI_DONE;

	for (size_t i = PERCENTS; i-- && !result;) {
		struct choice choice = { .step = needs_step(report->is_bytes, report->rates[i]) };

		choice.burst = needs_round_up(report->bursts[choice.step][i]);
		if (report->is_bytes && choice.burst < BURST_BYTES_MIN)
			choice.burst = BURST_BYTES_MIN;
		if (has_choice(report, &choice))
			continue;
		result = fill_refused(report, named, &choice);
		if (!result)
			report->choices[report->choice_count++] = choice;
	}
	return result;
}

static void free_choices(struct report *report)
{
	for (size_t i = 0; i < report->choice_count; i++)
		free(report->choices[i].worst);
}

/* ---- text ---- */

/* As the configuration reads it. */
static struct text step_text(bool is_bytes, size_t step)
{
	double rate = needs_rate(is_bytes, step);
	struct text text;

	if (is_bytes)
		snprintf(text.s, sizeof(text.s), "%.60s/s", print_exact_size(rate).s);
	else if (rate < 1)
		snprintf(text.s, sizeof(text.s), "%.0f/min", rate * 60);
	else
		snprintf(text.s, sizeof(text.s), "%.60s/s", print_exact(rate).s);
	return text;
}

static struct text burst_text(bool is_bytes, uint64_t burst)
{
	return is_bytes ? print_exact_size(burst) : print_exact(burst);
}

static struct text amount_text(bool is_bytes, double amount)
{
	return is_bytes ? print_size(llround(amount)) : print_count(llround(amount));
}

/* What was measured, to three digits. */
static struct text rate_text(bool is_bytes, double rate)
{
	struct text text;

	if (rate >= 100)
		snprintf(text.s, sizeof(text.s), "%.60s/s", amount_text(is_bytes, rate).s);
	else
		snprintf(text.s, sizeof(text.s), "%.3g%s/s", rate, is_bytes ? "B" : "");
	return text;
}

static struct text limit_text(const struct report *report, const struct choice *choice)
{
	struct text text;

	snprintf(text.s, sizeof(text.s), "%s: { rate: %.30s, burst: %.30s }", report->is_bytes ? "bytes" : "packets",
		 step_text(report->is_bytes, choice->step).s, burst_text(report->is_bytes, choice->burst).s);
	return text;
}

static struct text source_text(const struct measurement *measured, uint32_t index)
{
	return session_source_text(&measured->session->policy.rules[measured->limit], &measured->sources[index].source);
}

/* Row 0 has the rates, each further one the bursts at a rate. */
static void fill_row(const void *arg, size_t row, struct table_cell *cells)
{
	const struct report *report = arg;
	size_t step = report->first + row - 1;

	if (row == 0)
		snprintf(cells[0].text.s, sizeof(cells[0].text.s), "%s, rate", report->is_bytes ? "bytes" : "packets");
	else
		snprintf(cells[0].text.s, sizeof(cells[0].text.s), "burst at %.60s",
			 step_text(report->is_bytes, step).s);
	for (size_t i = 0; i < PERCENTS; i++)
		cells[1 + i].text = row ? amount_text(report->is_bytes, report->bursts[step][i]) :
					  rate_text(report->is_bytes, report->rates[i]);
}

static void print_refused(const struct report *report, const struct choice *choice)
{
	const struct measurement *measured = report->measured;
	double all = report->is_bytes ? measured->bytes : measured->packets;

	printf("refuses %zu of %zu, at least %s%s (%.3g %%): ", choice->refused, measured->count,
	       amount_text(report->is_bytes, choice->amount).s, report->is_bytes ? "" : " packets",
	       100 * choice->amount / all);
}

/* A line of YAML; whom it would have refused is a comment of it. */
static void print_choice(const struct report *report, const struct choice *choice)
{
	const struct measurement *measured = report->measured;

	printf("    %-45s  # ", limit_text(report, choice).s);
	if (!choice->refused)
		printf("refuses none");
	else
		print_refused(report, choice);
	for (size_t i = 0; i < choice->worst_count; i++) {
		const struct needs *needs = &report->needs[choice->worst[i]];

		printf("%s%s (%s, %s at once)", i ? ", " : "", source_text(measured, choice->worst[i]).s,
		       rate_text(report->is_bytes, needs_highest_rate(needs, measured->measured_ns)).s,
		       amount_text(report->is_bytes, needs->burst[choice->step]).s);
	}
	puts(choice->refused > choice->worst_count && choice->worst_count ? ", ..." : "");
}

static void print_notes(const struct measurement *measured)
{
	if (measured->ended)
		cli_note("ended early: %s", measured->ended);
	if (measured->has_gap)
		cli_note("this command was held up, and packets are missing");
	if (measured->longest_ns > MEASURE_EXACT_NS)
		cli_note("this machine was too busy: packets might be counted for the source that had a bucket before");
	if (measured->crowded)
		cli_note("%s packets of sources without a bucket (crowded) are not included",
			 print_count(measured->crowded).s);
	if (measured->unfollowed)
		cli_note("%s packets are not included: of sources beyond the first %u",
			 print_count(measured->unfollowed).s, MEASURE_SOURCES_MAX);
}

static void print_precision(const struct measurement *measured)
{
	uint64_t window_ns = measured->measured_ns < NEEDS_WINDOW_NS ? measured->measured_ns : NEEDS_WINDOW_NS;

	printf("\nexact:     sources, packets, bytes; rates: the highest average of %s\n", print_duration(window_ns).s);
	printf("estimated: bursts: never too low, and too high by at most what the rate gives in %s,\n"
	       "           because packets were counted every %s or faster;\n"
	       "           what is refused: never too much, too little of who exceeds the burst again and again\n",
	       print_duration(2 * measured->longest_ns).s, print_duration(measured->longest_ns).s);
}

static void print_table(const struct report *report)
{
	struct table_column columns[1 + PERCENTS] = { { .title = "" } };

	for (size_t i = 0; i < PERCENTS; i++)
		columns[1 + i] = (struct table_column){ .title = percents[i].title, .right = true };
	table_print(columns, 1 + PERCENTS, 2 + report->last - report->first, fill_row, report);
}

static void print_text(const struct measurement *measured, const struct report *reports, size_t count)
{
	struct text name = session_limit_name(&measured->session->policy, measured->limit);

	printf("%s: %zu sources, %s packets, %s in %s\n\n", name.s, measured->count, print_count(measured->packets).s,
	       print_size(measured->bytes).s, print_duration(measured->measured_ns).s);
	for (size_t i = 0; i < count; i++)
		print_table(&reports[i]);
	print_precision(measured);
	printf("\n# one line for each limit, into %s %s:\n",
	       measured->session->policy.rules[measured->limit].level ? "the level" : "the rule", name.s);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < reports[i].choice_count; j++)
			print_choice(&reports[i], &reports[i].choices[j]);
}

/* ---- JSON ---- */

static json_t *percentiles_json(const float values[PERCENTS])
{
	json_t *object = json_object();

	for (size_t i = 0; i < PERCENTS; i++)
		json_object_set_new(object, percents[i].key, json_real(values[i]));
	return object;
}

static json_t *choice_json(const struct report *report, const struct choice *choice)
{
	const struct measurement *measured = report->measured;
	json_t *worst = json_array();

	for (size_t i = 0; i < choice->worst_count; i++) {
		const struct measured_source *source = &measured->sources[choice->worst[i]];
		const struct needs *needs = &report->needs[choice->worst[i]];

		json_array_append_new(worst,
				      json_pack("{s:s, s:f, s:f, s:I, s:I, s:f}", "source",
						source_text(measured, choice->worst[i]).s, "rate",
						needs_highest_rate(needs, measured->measured_ns), "burst",
						(double)needs->burst[choice->step], "packets",
						(json_int_t)source->packets, "bytes", (json_int_t)source->bytes,
						"refused_at_least", refused_of(report, choice, choice->worst[i])));
	}
	return json_pack("{s:f, s:I, s:s, s:I, s:f, s:o}", "rate", needs_rate(report->is_bytes, choice->step), "burst",
			 (json_int_t)choice->burst, "yaml", limit_text(report, choice).s, "refused_sources",
			 (json_int_t)choice->refused, "refused_at_least", choice->amount, "refused", worst);
}

static json_t *report_json(const struct report *report)
{
	json_t *bursts = json_array(), *choices = json_array();

	for (size_t step = report->first; step <= report->last; step++) {
		json_t *burst = percentiles_json(report->bursts[step]);

		json_object_set_new(burst, "rate", json_real(needs_rate(report->is_bytes, step)));
		json_array_append_new(bursts, burst);
	}
	for (size_t i = 0; i < report->choice_count; i++)
		json_array_append_new(choices, choice_json(report, &report->choices[i]));
	return json_pack("{s:o, s:o, s:o}", "rate", percentiles_json(report->rates), "bursts", bursts, "limits",
			 choices);
}

static enum cli_result print_all_json(const struct measurement *measured, const struct report *reports, size_t count)
{
	const struct eb_policy *policy = &measured->session->policy;
	json_t *object;

	object = json_pack("{s:s, s:o, s:o, s:o, s:I, s:{s:I, s:I}, s:I, s:I, s:b, s:o, s:n, s:n}", "rule",
			   session_rule_name(policy, measured->limit).s, "level",
			   print_json_level(&policy->rules[measured->limit]), "seconds",
			   print_json_seconds(measured->measured_ns), "longest_look_seconds",
			   print_json_seconds(measured->longest_ns), "sources", (json_int_t)measured->count, "offered",
			   "packets", (json_int_t)measured->packets, "bytes", (json_int_t)measured->bytes, "crowded",
			   (json_int_t)measured->crowded, "unfollowed", (json_int_t)measured->unfollowed, "complete",
			   !measured->has_gap, "ended",
			   measured->ended ? json_string(measured->ended) : json_null(), "packets", "bytes");
	for (size_t i = 0; i < count; i++)
		json_object_set_new(object, reports[i].is_bytes ? "bytes" : "packets", report_json(&reports[i]));
	return print_json(object);
}

/* ---- the command ---- */

static enum cli_result fill_reports(const struct measurement *measured, size_t named, struct report reports[2],
				    size_t *count)
{
	float *values = malloc((measured->count + 1) * sizeof(*values));
	enum cli_result result = values ? CLI_DONE : cli_fail("out of memory");

	for (int i = 0; i < 2 && !result && measured->count; i++) {
		struct report *report = &reports[*count];

		if (!measured->needs[i])
			continue;
		*report = (struct report){ .measured = measured, .needs = measured->needs[i], .is_bytes = i };
		(*count)++;
		fill_figures(report, values);
		result = fill_choices(report, named);
	}
	free(values);
	return result;
}

static enum cli_result show(const struct cli *cli, const struct measurement *measured, size_t named)
{
	struct report reports[2];
	size_t count = 0;
	enum cli_result result = fill_reports(measured, named, reports, &count);

	if (!result && cli->json)
		result = print_all_json(measured, reports, count);
	else if (!result && count)
		print_text(measured, reports, count);
	else if (!result)
		printf("%s: no packet in %s\n", session_limit_name(&measured->session->policy, measured->limit).s,
		       print_duration(measured->measured_ns).s);
	if (!result)
		print_notes(measured);
	for (size_t i = 0; i < count; i++)
		free_choices(&reports[i]);
	return result;
}

/* The place of the rule, or of the level that has these prefixes. */
static enum cli_result find_limit(const struct session *session, const char *rule, const char *level, int *out)
{
	char text[EB_LEVEL_TEXT_MAX];
	enum cli_result result = session_option_rule(session, rule, out);

	if (result)
		return result;
	if (session->policy.rules[*out].action != EB_LIMIT)
		return cli_fail("rule %s has no limit; measure it with \"action: limit\" and \"mode: monitor\"",
				eb_input_quote(rule).text);
	if (!level)
		return CLI_DONE;
	for (int i = 0; i < session_rule_count(session); i++) {
		if (!session->policy.rules[i].level || !session_is_of_rule(session, i, *out) ||
		    strcmp(eb_rules_level_text(&session->policy.rules[i], text), level))
			continue;
		*out = i;
		return CLI_DONE;
	}
	return cli_fail("rule %s has no level %s; see \"edgebucket rules\"", eb_input_quote(rule).text,
			eb_input_quote(level).text);
}

static enum cli_result parse_for(const struct cli *cli, const char *text, uint64_t *out)
{
	const char *reason;

	if (eb_quantity_duration(text, out, &reason))
		return cli_misuse(cli, "--for: %s %s", eb_input_quote(text).text, reason);
	if (*out < 1000000000ULL || *out > 7 * 86400 * 1000000000ULL)
		return cli_misuse(cli, "--for: %s is out of range; from 1s to 7d", eb_input_quote(text).text);
	return CLI_DONE;
}

enum cli_result cmd_suggest(struct cli *cli, int argc, char **argv)
{
	const char *level = NULL, *span = DEFAULT_FOR;
	int64_t named = NAMED_DEFAULT;
	const struct option_spec specs[] = {
		{ "level", 0, OPTION_TEXT, &level, 0 },
		{ "for", 0, OPTION_TEXT, &span, 0 },
		{ "limit", 'n', OPTION_NUMBER, &named, MEASURE_SOURCES_MAX },
	};
	struct session session;
	struct measurement measured = { .session = &session };
	enum cli_result result;

	if (options_parse(cli, argc, argv, specs, 3, 1) || parse_for(cli, span, &measured.for_ns))
		return CLI_MISUSED;
	if (!cli->arg_count)
		return cli_misuse(cli, "name a rule; see \"edgebucket rules\"");
	result = session_open(cli, SESSION_BUCKETS, &session);
	if (!result)
		result = find_limit(&session, cli->args[0], level, &measured.limit);
	if (!result)
		result = measure_run(&measured);
	if (!result)
		result = show(cli, &measured, named);
	measure_done(&measured);
	session_close(&session);
	return result;
}
