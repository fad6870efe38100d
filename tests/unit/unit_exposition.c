// SPDX-License-Identifier: GPL-2.0-only
/* Prometheus' text format and the histograms in it, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/exposition.h"
#include "policy/rules.h"

/* What an expression writes to the stream `out`. */
#define WRITTEN(expression)                                \
	({                                                 \
		char *text = NULL;                         \
		size_t size;                               \
		FILE *out = open_memstream(&text, &size);  \
		assert_non_null(out);                      \
		expression;                                \
		assert_int_equal(fclose(out), 0);          \
		text;                                      \
	})

static void check_text(char *text, const char *expected)
{
	assert_string_equal(text, expected);
	free(text);
}

static void test_samples(void **state)
{
	(void)state;
	check_text(WRITTEN(eb_expose_family(out, "a_total", "counter", "How often.")),
		   "# HELP a_total How often.\n# TYPE a_total counter\n");
	check_text(WRITTEN(eb_expose(out, "a", EB_NO_LABELS, 0)), "a 0\n");
	check_text(WRITTEN(eb_expose(out, "a", EB_LABELS({ "b", "c" }), UINT64_MAX)),
		   "a{b=\"c\"} 18446744073709551615\n");
	check_text(WRITTEN(eb_expose(out, "a", EB_LABELS({ "b", "" }, { "c", "d,e=f}" }), 7)),
		   "a{b=\"\",c=\"d,e=f}\"} 7\n");
	check_text(WRITTEN(eb_expose_seconds(out, "a", EB_NO_LABELS, 1)), "a 0.000000001\n");
	check_text(WRITTEN(eb_expose_seconds(out, "a", EB_LABELS({ "b", "c" }), 1795451732891579836)),
		   "a{b=\"c\"} 1795451732.891579836\n");
}

static void test_escapes(void **state)
{
	static const struct {
		const char *value, *escaped;
	} rows[] = {
		{ "\"", "\\\"" },
		{ "\\", "\\\\" },
		{ "\n", "\\n" },
		{ "\\n", "\\\\n" },
		{ "a\"} 1\nb{c=\"", "a\\\"} 1\\nb{c=\\\"" },
		{ "tab\tand \xc3\xa9", "tab\tand \xc3\xa9" },
	};
	char expected[64];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(expected, sizeof(expected), "a{b=\"%s\"} 1\n", rows[i].escaped);
		check_text(WRITTEN(eb_expose(out, "a", EB_LABELS({ "b", rows[i].value }), 1)), expected);
	}
}

/* The place of a duration among the bounds. */
static int place_of(uint64_t duration_ns)
{
	struct eb_histogram histogram = { 0 };
	int place = -1;

	eb_histogram_add(&histogram, duration_ns);
	assert_int_equal(histogram.sum_ns, duration_ns);
	for (int i = 0; i <= EB_HISTOGRAM_BOUNDS; i++) {
		if (!histogram.counts[i])
			continue;
		assert_int_equal(histogram.counts[i], 1);
		assert_int_equal(place, -1);
		place = i;
	}
	return place;
}

static void test_places(void **state)
{
	(void)state;
	assert_int_equal(place_of(0), 0);
	for (int i = 0; i < EB_HISTOGRAM_BOUNDS; i++) {
		assert_int_equal(place_of(eb_histogram_bounds_ns[i]), i);
		assert_int_equal(place_of(eb_histogram_bounds_ns[i] + 1), i + 1);
		assert_true(i == 0 || eb_histogram_bounds_ns[i] > eb_histogram_bounds_ns[i - 1]);
	}
	assert_int_equal(place_of(UINT64_MAX), EB_HISTOGRAM_BOUNDS);
}

/* Cumulative, the last the same as the count. */
static void test_histogram(void **state)
{
	struct eb_histogram histogram = { 0 };
	char *text;

	(void)state;
	eb_histogram_add(&histogram, 40000);
	eb_histogram_add(&histogram, 50000);
	eb_histogram_add(&histogram, 60000);
	eb_histogram_add(&histogram, 2000000000);
	eb_histogram_add(&histogram, 60000000000);
	text = WRITTEN(eb_expose_histogram(out, "a", EB_LABELS({ "b", "c" }), &histogram));
	assert_non_null(strstr(text, "a_bucket{b=\"c\",le=\"5e-05\"} 2\n"));
	assert_non_null(strstr(text, "a_bucket{b=\"c\",le=\"0.0001\"} 3\n"));
	assert_non_null(strstr(text, "a_bucket{b=\"c\",le=\"0.00025\"} 3\n"));
	assert_non_null(strstr(text, "a_bucket{b=\"c\",le=\"1\"} 3\n"));
	assert_non_null(strstr(text, "a_bucket{b=\"c\",le=\"2.5\"} 4\n"));
	assert_non_null(strstr(text, "a_bucket{b=\"c\",le=\"30\"} 4\n"));
	assert_non_null(strstr(text, "a_bucket{b=\"c\",le=\"+Inf\"} 5\na_sum{b=\"c\"} 62.000150000\n"
				      "a_count{b=\"c\"} 5\n"));
	free(text);
	text = WRITTEN(eb_expose_histogram(out, "a", EB_NO_LABELS, &histogram));
	assert_non_null(strstr(text, "a_bucket{le=\"5e-05\"} 2\n"));
	assert_non_null(strstr(text, "a_sum 62.000150000\na_count 5\n"));
	free(text);
}

/* Labels of the contract. */
static void test_names(void **state)
{
	(void)state;
	assert_string_equal(eb_frame_kind_name(EB_NOT_IP), "not_ip");
	assert_string_equal(eb_frame_kind_name(EB_MALFORMED), "malformed");
	assert_string_equal(eb_frame_kind_name(EB_UNMATCHED), "unmatched");
	assert_string_equal(eb_frame_kind_name(EB_NEIGHBOUR_DISCOVERY), "neighbour_discovery");
	assert_string_equal(eb_frame_kind_name(EB_GROUP_MEMBERSHIP), "group_membership");
	for (int i = 0; i < EB_FRAME_KINDS; i++)
		assert_non_null(eb_frame_kind_name(i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),   cmocka_unit_test(test_escapes), cmocka_unit_test(test_places),
		cmocka_unit_test(test_histogram), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
