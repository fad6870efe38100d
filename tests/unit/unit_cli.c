// SPDX-License-Identifier: GPL-2.0-only
/* The command line's formatting, options and arguments; and the ways to the agent, the lock and the control socket. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/bucket_rows.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table_print.h"
#include "config/config.h"
#include "config/limit.h"
#include "config/paths.h"
#include "config/prefix.h"
#include "config/protocol.h"
#include "config/quantity.h"
#include "ipc/control.h"
#include "ipc/lock.h"
#include "policy/rules.h"
#include "store/restore.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Rows name a function's input and output; a failure prints both. */
struct number_row {
	uint64_t number;
	const char *text;
};

static void check_numbers(struct text (*print)(uint64_t), const struct number_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_string_equal(print(rows[i].number).s, rows[i].text);
}

static void test_count(void **state)
{
	static const struct number_row rows[] = {
		{ 0, "0" },
		{ 7, "7" },
		{ 99999, "99999" },
		{ 100000, "100k" },
		{ 123456, "123k" },
		{ 999499, "999k" },
		{ 999500, "1.00M" },
		{ 1234567, "1.23M" },
		{ 12345678, "12.3M" },
		{ 999999999, "1.00G" },
		{ UINT64_MAX, "18.4E" },
	};

	(void)state;
	check_numbers(print_count, rows, ARRAY_SIZE(rows));
}

static void test_size(void **state)
{
	static const struct number_row rows[] = {
		{ 0, "0B" },          { 999, "999B" },     { 1000, "1.00kB" },
		{ 1234, "1.23kB" },   { 99949, "99.9kB" }, { 99950, "100kB" },
		{ 999500, "1.00MB" }, { 84100000, "84.1MB" },
	};

	(void)state;
	check_numbers(print_size, rows, ARRAY_SIZE(rows));
}

static void test_exact(void **state)
{
	static const struct number_row rows[] = {
		{ 400, "400" },          { 9999, "9999" },         { 10000, "10k" },        { 12500, "12.5k" },
		{ 1500000, "1.5M" },     { 1234567, "1234.567k" }, { 100000000, "100M" },   { 20000000000, "20G" },
		{ 10001, "10.001k" },    { 1000000001, "1000000.001k" },
	};

	(void)state;
	check_numbers(print_exact, rows, ARRAY_SIZE(rows));
}

static void test_exact_size(void **state)
{
	static const struct number_row rows[] = {
		{ 100, "100B" },     { 1000, "1kB" },        { 1000000, "1MB" },   { 65536, "64KiB" },
		{ 1048576, "1MiB" }, { 1073741824, "1GiB" }, { 1500, "1.5kB" },    { 1514, "1.514kB" },
	};

	(void)state;
	check_numbers(print_exact_size, rows, ARRAY_SIZE(rows));
}

static void test_duration(void **state)
{
	static const struct number_row rows[] = {
		{ 0, "0ns" },
		{ 999, "999ns" },
		{ 1500, "1.5us" },
		{ 999400, "999us" },
		{ 999600, "1ms" },
		{ 350000000, "350ms" },
		{ 999700000, "1s" },
		{ 1500000000, "1.5s" },
		{ 59999999999, "60s" },
		{ 60000000000, "1min" },
		{ 125000000000, "2min 5s" },
		{ 3600000000000, "1h" },
		{ 273600000000000, "3d 4h" },
	};

	(void)state;
	check_numbers(print_duration, rows, ARRAY_SIZE(rows));
}

static struct eb_limit compile(const char *text, uint64_t burst, bool is_bytes)
{
	struct eb_rate rate = { .burst = burst };
	struct eb_limit limit;
	const char *reason;

	assert_int_equal(is_bytes ? eb_quantity_byte_rate(text, &rate, &reason) :
				    eb_quantity_packet_rate(text, &rate, &reason),
			 0);
	rate.burst = burst;
	assert_int_equal(eb_limit_compile(&rate, is_bytes, &limit), 0);
	return limit;
}

/* What was configured comes back, although limits are compiled with rounding. */
static void test_rate(void **state)
{
	static const struct {
		const char *configured;
		bool is_bytes;
		uint64_t burst;
		const char *text;
	} rows[] = {
		{ "200/s", false, 400, "200/s" },
		{ "3/s", false, 3, "3/s" },
		{ "10k/s", false, 20000, "10k/s" },
		{ "3M/s", false, 20000, "3M/s" },
		{ "1234567/s", false, 20000, "1234.567k/s" },
		{ "100M/s", false, 20000, "100M/s" },
		{ "0.5/s", false, 1, "30/min" },
		{ "7/min", false, 7, "7/min" },
		{ "1/h", false, 1, "1/h" },
		{ "8Mbit/s", true, 1000000, "8Mbit/s" },
		{ "1MB/s", true, 1000000, "8Mbit/s" },
		{ "100kB/min", true, 65536, "100kB/min" },
		{ "1B/s", true, 1514, "8bit/s" },
		{ "10Gbit/s", true, 100000, "10Gbit/s" },
		{ "10Gbit/s", true, 12500000, "10Gbit/s" },
		{ "3Gbit/s", true, 9000, "3Gbit/s" },
		{ "7Gbit/s", true, 5000000000, "7Gbit/s" },
		{ "400Gbit/s", true, 1000000, "400Gbit/s" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct eb_limit limit = compile(rows[i].configured, rows[i].burst, rows[i].is_bytes);

		assert_string_equal(print_rate(&limit, rows[i].is_bytes).s, rows[i].text);
	}
}

/* The same for all packet rates of up to seven digits' shape; the limit's rounding is never seen. */
static void test_rate_number(void **state)
{
	(void)state;
	for (uint64_t rate = 1; rate <= 100000000; rate += 1 + rate / 37) {
		char text[32];
		struct eb_limit limit;

		snprintf(text, sizeof(text), "%llu/s", (unsigned long long)rate);
		limit = compile(text, 1000, false);
		/* Where several whole rates compile to one limit, any of them is right. */
		if (EB_TICKS_PER_NS * 1000000000ULL / rate > rate)
			assert_true(print_rate_number(&limit) == (double)rate);
		else
			assert_true(print_rate_number(&limit) >= rate * 0.9999 &&
				    print_rate_number(&limit) <= rate * 1.0001);
	}
}

static void test_limit(void **state)
{
	struct eb_limit none = { 0 }, limit = compile("8Mbit/s", 1000000, true);

	(void)state;
	assert_string_equal(print_limit(&none, false).s, "-");
	assert_string_equal(print_limit(&limit, true).s, "8Mbit/s burst 1MB");
	assert_string_equal(print_tokens(&limit, 1000000, true).s, "1MB");
	assert_string_equal(print_tokens(&limit, 999999, true).s, "1.00MB");
	assert_true(json_is_null(print_json_limit(&none)));
	assert_true(json_is_null(print_json_seconds(EB_LIMIT_NEVER)));
}

/* Standard output, while `print` runs. */
static char *capture(void (*print)(void))
{
	static char text[4096];
	FILE *file = tmpfile();
	int saved = dup(STDOUT_FILENO);
	size_t size;

	assert_non_null(file);
	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	print();
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	rewind(file);
	size = fread(text, 1, sizeof(text) - 1, file);
	text[size] = '\0';
	fclose(file);
	return text;
}

static void fill_row(const void *arg, size_t row, struct table_cell *cells)
{
	(void)arg;
	snprintf(cells[0].text.s, sizeof(cells->text.s), "%s", row ? "everyone" : "dns");
	snprintf(cells[1].text.s, sizeof(cells->text.s), "%s", row ? "5" : "12345");
	strcpy(cells[2].text.s, "-");
	strcpy(cells[3].text.s, row ? "-" : "x");
	cells[1].colour = COLOUR_RED;
}

static void print_example(void)
{
	static const struct table_column columns[] = {
		{ .title = "RULE" },
		{ .title = "N", .right = true },
		{ .title = "EMPTY", .optional = true },
		{ .title = "LAST" },
	};

	table_print(columns, ARRAY_SIZE(columns), 2, fill_row, NULL);
}

static void test_table(void **state)
{
	(void)state;
	assert_string_equal(capture(print_example), "RULE          N  LAST\n"
						    "dns       12345  x\n"
						    "everyone      5  -\n");
}

static void print_lists(void)
{
	struct json_list list;

	print_json_list_begin(&list);
	print_json_list_end(&list);
	print_json_list_begin(&list);
	print_json_list_add(&list, json_pack("{s:i}", "a", 1));
	print_json_list_add(&list, json_pack("{s:f}", "b", 0.1));
	print_json_list_end(&list);
}

static void test_json_list(void **state)
{
	(void)state;
	assert_string_equal(capture(print_lists), "[]\n[\n {\"a\": 1},\n {\"b\": 0.1}\n]\n");
}

/* One command line, in words, and what its options come to. */
static enum cli_result parse(struct cli *cli, const char *line, bool *flag, const char **text, int64_t *number)
{
	static char copy[256];
	static char *argv[16];
	const struct option_spec specs[] = {
		{ "all", 'a', OPTION_FLAG, flag, 0 },
		{ "rule", 'r', OPTION_TEXT, text, 0 },
		{ "limit", 'n', OPTION_NUMBER, number, 100 },
		{ "dport", 0, OPTION_NUMBER, number, 65535 },
	};
	int argc = 0;

	snprintf(copy, sizeof(copy), "edgebucket %s", line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	memset(cli, 0, sizeof(*cli));
	return options_parse(cli, argc, argv, specs, ARRAY_SIZE(specs), 1);
}

static void test_options(void **state)
{
	bool flag = false;
	const char *text = NULL;
	int64_t number = -1;
	struct cli cli;

	(void)state;
	assert_int_equal(parse(&cli, "192.0.2.1 --rule dns -n 7 --json -c /f", &flag, &text, &number), CLI_DONE);
	assert_int_equal(cli.arg_count, 1);
	assert_string_equal(cli.args[0], "192.0.2.1");
	assert_string_equal(cli.config_path, "/f");
	assert_true(cli.json);
	assert_null(cli.redis_path);
	assert_string_equal(text, "dns");
	assert_int_equal(number, 7);
	assert_false(flag);

	assert_int_equal(parse(&cli, "--all --rule=x --dport=65535", &flag, &text, &number), CLI_DONE);
	assert_true(flag);
	assert_int_equal(number, 65535);
	assert_int_equal(cli.arg_count, 0);
	assert_false(cli.json);

	assert_int_equal(parse(&cli, "--redis-config /r --rule=y --config=/c", &flag, &text, &number), CLI_DONE);
	assert_string_equal(cli.redis_path, "/r");
	assert_string_equal(cli.config_path, "/c");
	assert_string_equal(text, "y");

	assert_int_equal(parse(&cli, "-- -n", &flag, &text, &number), CLI_DONE);
	assert_string_equal(cli.args[0], "-n");
}

static void test_options_refused(void **state)
{
	static const char *const lines[] = {
		"--nope",       "-z",       "--rule",          "-n",         "--limit x", "--limit -1", "--limit 101",
		"--limit 1.5",  "--all=x",  "--dport 65536",   "one two",    "-n 1k",     "--config",
		"--limit 99999999999999999999", "--redis-config",
	};
	bool flag = false;
	const char *text = NULL;
	int64_t number = -1;
	struct cli cli;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (parse(&cli, lines[i], &flag, &text, &number) != CLI_MISUSED)
			fail_msg("accepted: %s", lines[i]);
	assert_int_equal(number, -1);
}

static void test_addresses(void **state)
{
	struct cli cli = { .command = "explain" };
	struct eb_prefix prefix;

	(void)state;
	assert_int_equal(session_parse_address(&cli, "192.0.2.1", &prefix), CLI_DONE);
	assert_int_equal(session_parse_address(&cli, "192.0.2.1/32", &prefix), CLI_DONE);
	assert_int_equal(session_parse_address(&cli, "2001:db8::1", &prefix), CLI_DONE);
	assert_int_equal(prefix.family, 6);
	assert_int_equal(session_parse_address(&cli, "192.0.2.0/24", &prefix), CLI_MISUSED);
	assert_int_equal(session_parse_address(&cli, "192.0.2", &prefix), CLI_MISUSED);
	assert_int_equal(session_parse_prefix(&cli, "192.0.2.1/24", &prefix), CLI_MISUSED);
	assert_int_equal(session_parse_prefix(&cli, "2001:db8::/32", &prefix), CLI_DONE);
}

static void test_overlap(void **state)
{
	static const struct {
		const char *a, *b;
		bool overlap;
	} rows[] = {
		{ "192.0.2.7/32", "192.0.2.0/24", true },   { "192.0.2.0/24", "192.0.2.7/32", true },
		{ "192.0.2.7/32", "192.0.3.0/24", false },  { "0.0.0.0/0", "192.0.3.0/24", true },
		{ "192.0.2.128/25", "192.0.2.0/25", false }, { "2001:db8::/64", "2001:db8::1", true },
		{ "2001:db8:0:1::/64", "2001:db8::1", false }, { "::/0", "0.0.0.0/0", false },
		{ "2001:db8::/33", "2001:db8:8000::/33", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct eb_prefix_error error;
		struct eb_prefix a, b;

		assert_int_equal(eb_prefix_parse(rows[i].a, &a, &error), 0);
		assert_int_equal(eb_prefix_parse(rows[i].b, &b, &error), 0);
		if (eb_prefix_overlaps(a.family, a.addr, a.len, &b) != rows[i].overlap)
			fail_msg("%s and %s", rows[i].a, rows[i].b);
	}
}

static void test_source(void **state)
{
	static const uint8_t addr[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 1, 2, 3, 4, 5 }, dst[16] = { 192, 0, 2, 1 };
	struct eb_rule rule = { .id4 = 4, .id6 = 6, .mask4 = 0x0000ffff, .prefix4 = 16, .prefix6 = 64 };
	struct eb_source source;

	(void)state;
	memset(&rule.mask6[0], 0xff, sizeof(rule.mask6[0]));
	source = session_source(&rule, 6, addr, dst, 53);
	assert_int_equal(source.rule_id, 6);
	assert_memory_equal(source.addr, addr, 8);
	assert_int_equal(source.addr[8], 0);
	source = session_source(&rule, 4, addr, dst, 53);
	assert_int_equal(source.rule_id, 4);
	assert_memory_equal(source.addr, "\x20\x01\0\0", 4);
	assert_string_equal(session_source_text(&rule, &source).s, "32.1.0.0/16");

	rule.also = EB_ALSO_DST;
	source = session_source(&rule, 4, addr, dst, 53);
	assert_string_equal(session_source_text(&rule, &source).s, "32.1.0.0/16>192.0.2.1");
	rule.also = EB_ALSO_DPORT;
	source = session_source(&rule, 6, addr, dst, 53);
	assert_string_equal(session_source_text(&rule, &source).s, "2001:db8:1:203::/64>53");
}

/* ---- rows of stores and maps ---- */

#define NS_PER_S 1000000000ULL
#define WALL (1700000000 * NS_PER_S) /* the moment that everything is of */
#define NOW (1000 * NS_PER_S * EB_TICKS_PER_NS)

static void make_session(struct session *session)
{
	static const char text[] = "interfaces: [lo]\n"
				   "rules:\n"
				   "  - { name: b, action: limit, packets: { rate: 1/s, burst: 100 } }\n"
				   "  - { name: a, action: limit, packets: { rate: 1/s, burst: 10 }, "
				   "bytes: { rate: 1kB/s, burst: 100kB } }\n";
	struct eb_ruleset *ruleset;
	struct eb_config *config;
	char *error = NULL;

	memset(session, 0, sizeof(*session));
	eb_maps_init(&session->maps);
	if (eb_config_parse(text, strlen(text), "test", NULL, &config, &error) ||
	    eb_rules_compile(config, NULL, &ruleset, &error))
		fail_msg("%s", error);
	session->policy = ruleset->policy;
	eb_rules_free(ruleset);
	eb_config_free(config);
}

/* What a store holds: field, and seconds until packets and bytes are full. */
static struct eb_restore *hold(const struct session *session, const char *const *fields, const double (*seconds)[2],
			       size_t count)
{
	struct eb_restore *restore = eb_restore_new(&session->policy, 100);
	char value[64];

	assert_non_null(restore);
	for (size_t i = 0; i < count; i++) {
		snprintf(value, sizeof(value), "%llu %llu", (unsigned long long)(WALL + seconds[i][0] * NS_PER_S),
			 (unsigned long long)(WALL + seconds[i][1] * NS_PER_S));
		eb_restore_add(restore, fields[i], strlen(fields[i]), value, strlen(value), WALL);
	}
	return restore;
}

static void check_row(const struct bucket_rows *rows, size_t index, const char *source, unsigned int stores,
		      double packets, double bytes)
{
	const struct bucket_row *row = &rows->items[index];
	double ticks = (double)NS_PER_S * EB_TICKS_PER_NS;

	assert_string_equal(bucket_rows_source(row).s, source);
	assert_int_equal(row->stores, stores);
	assert_true(row->packets > packets * ticks - 2048 && row->packets < packets * ticks + 2048);
	assert_true(row->bytes > bytes * ticks - 2048 && row->bytes < bytes * ticks + 2048);
}

/* Of two stores the later time counts, time that passed since is taken off, and what is full by then is left out. */
static void test_rows(void **state)
{
	static const char *const redis_fields[] = { "a|192.0.2.9/32", "b|2001:db8::/64", "b|192.0.2.7/32",
						    "b|192.0.2.8/32", "b|192.0.2.6/32",  "c|192.0.2.6/32" };
	static const double redis_seconds[][2] = { { 5, 50 }, { 9, 0 }, { 50, 0 }, { 20, 0 }, { 0.5, 0 }, { 9, 9 } };
	static const char *const embedded_fields[] = { "a|192.0.2.9/32", "b|192.0.2.7/32", "b|192.0.2.8/32" };
	static const double embedded_seconds[][2] = { { 6, 40 }, { 50, 0 }, { 70, 0 } };
	struct session session;
	struct bucket_rows rows = { .session = &session, .now = NOW + NS_PER_S * EB_TICKS_PER_NS, .rule = -1 };
	struct eb_restore *redis, *embedded;

	(void)state;
	make_session(&session);
	redis = hold(&session, redis_fields, redis_seconds, 6);
	embedded = hold(&session, embedded_fields, embedded_seconds, 3);
	bucket_rows_add_stored(&rows, redis, &(struct stored){ .kind = STORE_REDIS, .now = NOW });
	bucket_rows_add_stored(&rows, embedded, &(struct stored){ .kind = STORE_EMBEDDED, .now = NOW });
	assert_int_equal(bucket_rows_add_maps(&rows), 0);
	bucket_rows_merge(&rows);
	assert_int_equal(rows.count, 4);
	check_row(&rows, 0, "192.0.2.7/32", 1 << STORE_REDIS | 1 << STORE_EMBEDDED, 49, 0);
	check_row(&rows, 1, "192.0.2.8/32", 1 << STORE_EMBEDDED, 69, 0);
	check_row(&rows, 2, "2001:db8::/64", 1 << STORE_REDIS, 8, 0);
	check_row(&rows, 3, "192.0.2.9/32", 1 << STORE_REDIS | 1 << STORE_EMBEDDED, 5, 49);
	bucket_rows_free(&rows);
	eb_restore_free(redis);
	eb_restore_free(embedded);
}

static void test_rows_wanted(void **state)
{
	static const char *const fields[] = { "a|192.0.2.9/32", "b|192.0.2.9/32", "b|192.0.3.9/32" };
	static const double seconds[][2] = { { 500, 5 }, { 9, 0 }, { 50, 0 } };
	struct eb_prefix within = { .family = 4, .len = 24, .addr = { 192, 0, 2 } };
	struct session session;
	struct bucket_rows rows = { .session = &session, .now = NOW, .rule = -1, .within = &within };
	struct stored stored = { .kind = STORE_REDIS, .now = NOW };
	struct eb_restore *restore;

	(void)state;
	make_session(&session);
	restore = hold(&session, fields, seconds, 3);
	bucket_rows_add_stored(&rows, restore, &stored);
	bucket_rows_merge(&rows);
	assert_int_equal(rows.count, 2);
	assert_false(rows.items[0].clamped);
	assert_true(rows.items[1].clamped);
	check_row(&rows, 1, "192.0.2.9/32", 1 << STORE_REDIS, 10, 5);
	bucket_rows_free(&rows);

	rows = (struct bucket_rows){ .session = &session, .now = NOW, .rule = session_find_rule(&session, "a") };
	bucket_rows_add_stored(&rows, restore, &stored);
	bucket_rows_merge(&rows);
	assert_int_equal(rows.count, 1);
	bucket_rows_free(&rows);
	eb_restore_free(restore);
}

static void test_protocols(void **state)
{
	char name[EB_PROTOCOL_NAME_MAX];

	(void)state;
	assert_int_equal(eb_protocol_parse("udp"), 17);
	assert_int_equal(eb_protocol_parse("TCP"), 6);
	assert_int_equal(eb_protocol_parse("0"), 0);
	assert_int_equal(eb_protocol_parse("255"), 255);
	assert_int_equal(eb_protocol_parse("256"), -EINVAL);
	assert_int_equal(eb_protocol_parse("ip"), -EINVAL);
	assert_int_equal(eb_protocol_parse("nonsense"), -EINVAL);
	assert_string_equal(eb_protocol_print(17, name), "udp");
	assert_string_equal(eb_protocol_print(253, name), "253");
	assert_true(eb_protocol_has_port(132));
	assert_false(eb_protocol_has_port(1));
}

/* A directory of this run's own. */
static int make_dir(void **state)
{
	char *dir = strdup("/tmp/unit_cli.XXXXXX");

	*state = dir && mkdtemp(dir) ? dir : NULL;
	return *state ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = {
		"edgebucketd.lock", "control.sock", "config", "deep/er/edgebucketd.lock", "deep/er", "deep",
	};
	char path[256];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", (char *)*state, names[i]);
		(void)remove(path);
	}
	(void)rmdir(*state);
	free(*state);
	return 0;
}

static void test_lock(void **state)
{
	struct eb_lock_holder holder;
	const char *dir = *state;
	char *error = NULL;
	int fd, other;

	assert_int_equal(eb_lock_find_holder(dir, &holder), -ENOENT);
	assert_int_equal(eb_lock_acquire(dir, "1.2.3", &fd, &error), 0);
	assert_int_equal(eb_lock_find_holder(dir, &holder), 0);
	assert_int_equal(holder.pid, getpid());
	assert_string_equal(holder.version, "1.2.3");
	assert_false(holder.is_stopping);
	assert_int_equal(eb_lock_acquire(dir, "4", &other, &error), -EBUSY);
	assert_non_null(strstr(error, "another agent is running, with pid"));
	free(error);
	assert_int_equal(eb_lock_announce_stop(fd, "1.2.3"), 0);
	assert_int_equal(eb_lock_acquire(dir, "4", &other, &error), -EAGAIN);
	assert_non_null(strstr(error, "is stopping"));
	free(error);
	assert_int_equal(eb_lock_find_holder(dir, &holder), 0);
	assert_int_equal(holder.pid, getpid());
	assert_string_equal(holder.version, "1.2.3");
	assert_true(holder.is_stopping);
	close(fd);
	assert_int_equal(eb_lock_find_holder(dir, &holder), -ENOENT);
	assert_int_equal(eb_lock_acquire(dir, "4", &fd, &error), 0);
	assert_int_equal(eb_lock_find_holder(dir, &holder), 0);
	assert_string_equal(holder.version, "4");
	assert_int_equal(eb_lock_acquire(dir, "5", &other, &error), -EBUSY);
	free(error);
	close(fd);
}

/* It is gone with its process, also when that is killed; and looking never takes it. */
static void test_lock_of_the_dead(void **state)
{
	char deep[256], *error = NULL, byte;
	struct eb_lock_holder holder;
	int ready[2], fd, status;
	pid_t child;

	snprintf(deep, sizeof(deep), "%s/deep/er", (char *)*state);
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		byte = eb_lock_acquire(deep, "x", &fd, &error) == 0;
		if (write(ready[1], &byte, 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 1);
	assert_int_equal(eb_lock_find_holder(deep, &holder), 0);
	assert_int_equal(holder.pid, child);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(eb_lock_find_holder(deep, &holder), -ENOENT);
	close(ready[0]);
	close(ready[1]);
}

/* Places are found in a configuration that is refused for its rules; not in what is no YAML. */
static void test_places(void **state)
{
	static const struct {
		const char *text;
		const char *pin_dir, *run_dir;
	} configs[] = {
		{ "pin_dir: /sys/fs/bpf/x/\nrun_dir: /run/x\nrules: nonsense\n", "/sys/fs/bpf/x", "/run/x" },
		{ "unknown: 1\nrun_dir: relative\n", EB_DEFAULT_PIN_DIR, EB_DEFAULT_RUN_DIR },
		{ "- a list\n", EB_DEFAULT_PIN_DIR, EB_DEFAULT_RUN_DIR },
		{ "{", NULL, NULL },
	};
	struct eb_paths places;
	char path[256], *error = NULL;

	snprintf(path, sizeof(path), "%s/config", (char *)*state);
	assert_int_equal(eb_paths_read(path, &places, &error), -ENOENT);
	free(error);
	for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
		FILE *file = fopen(path, "w");

		assert_non_null(file);
		fputs(configs[i].text, file);
		assert_int_equal(fclose(file), 0);
		if (!configs[i].pin_dir) {
			assert_int_equal(eb_paths_read(path, &places, &error), -EINVAL);
			free(error);
			continue;
		}
		assert_int_equal(eb_paths_read(path, &places, &error), 0);
		assert_string_equal(places.pin_dir, configs[i].pin_dir);
		assert_string_equal(places.run_dir, configs[i].run_dir);
		eb_paths_done(&places);
	}
	assert_int_equal(eb_paths_read(NULL, &places, &error), 0);
	assert_string_equal(places.pin_dir, EB_DEFAULT_PIN_DIR);
	eb_paths_done(&places);
}

/* Answers one request in a process of its own: `reply` with the request in place of "%s"; NULL says nothing. */
static pid_t serve(const char *dir, const char *reply, bool keep_open)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), peer;
	struct sockaddr_un address;
	char request[256] = "", answer[512];
	pid_t child;

	assert_int_equal(eb_control_address(dir, EB_CONTROL_SOCKET, &address), 0);
	(void)unlink(address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	child = fork();
	if (child == 0) {
		peer = accept(fd, NULL, NULL);
		if (recv(peer, request, sizeof(request) - 1, 0) > 0 && reply) {
			snprintf(answer, sizeof(answer), "%.200s%.200s", reply, request);
			(void)!send(peer, answer, strlen(answer), 0);
		}
		if (keep_open)
			pause();
		_exit(0);
	}
	close(fd);
	return child;
}

static void stop(pid_t child)
{
	kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
}

static void test_control(void **state)
{
	const char *dir = *state;
	char *reply = NULL, path[200];
	pid_t child;

	assert_int_equal(eb_control_ask(dir, "status", 1000, &reply), -ENOENT);
	child = serve(dir, "echo: ", false);
	assert_int_equal(eb_control_ask(dir, "reload now", 10000, &reply), 0);
	assert_string_equal(reply, "echo: reload now");
	free(reply);
	stop(child);
	assert_int_equal(eb_control_ask(dir, "status", 1000, &reply), -ECONNREFUSED);

	child = serve(dir, NULL, false);
	assert_int_equal(eb_control_ask(dir, "status", 10000, &reply), -ECONNRESET);
	stop(child);
	child = serve(dir, NULL, true);
	assert_int_equal(eb_control_ask(dir, "status", 50, &reply), -ETIMEDOUT);
	stop(child);

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(eb_control_ask(path, "status", 50, &reply), -ENAMETOOLONG);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_exact_size),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_number),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_json_list),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_options_refused),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_rows_wanted),
		cmocka_unit_test(test_protocols),
		cmocka_unit_test_setup_teardown(test_lock, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_lock_of_the_dead, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_places, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_control, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
