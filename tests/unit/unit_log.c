// SPDX-License-Identifier: GPL-2.0-only
/* The lines of the log byte by byte, how many of them there are, and where they go when nobody takes them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "base/log.h"
#include "base/printable.h"
#include "random.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* ---- lines ---- */

/* `expected` is without the newline. */
static void check_line(enum eb_log_format format, const struct eb_log_field *fields, const char *expected)
{
	char line[EB_LOG_LINE_MAX + 1];
	size_t len = eb_log_line(format, fields, line);

	assert_in_range(len, 1, EB_LOG_LINE_MAX);
	assert_int_equal(line[len - 1], '\n');
	line[len - 1] = '\0';
	assert_string_equal(line, expected);
}

static void test_fields(void **state)
{
	const struct eb_log_field fields[] = { eb_str("msg", "table is full"), eb_num("count", 12),
					       eb_str("error", NULL), eb_num("zero", 0), eb_err(-ENOENT), {} };
	const struct eb_log_field first_missing[] = { eb_str("a", NULL), eb_str("b", "c"), {} };

	(void)state;
	check_line(EB_LOG_LOGFMT, fields, "msg=\"table is full\" count=12 zero=0 error=\"No such file or directory\"");
	check_line(EB_LOG_JSON, fields,
		   "{\"msg\":\"table is full\",\"count\":12,\"zero\":0,\"error\":\"No such file or directory\"}");
	check_line(EB_LOG_LOGFMT, first_missing, "b=c");
	check_line(EB_LOG_JSON, first_missing, "{\"b\":\"c\"}");
}

static void test_escapes(void **state)
{
	static const struct {
		const char *text, *logfmt, *json;
	} rows[] = {
		{ "plain", "plain", "\"plain\"" },
		{ "", "\"\"", "\"\"" },
		{ "two words", "\"two words\"", "\"two words\"" },
		{ "a=b", "\"a=b\"", "\"a=b\"" },
		{ "say \"it\"", "\"say \\\"it\\\"\"", "\"say \\\"it\\\"\"" },
		{ "c:\\d", "c:\\d", "\"c:\\\\d\"" },
		{ "c:\\d e", "\"c:\\\\d e\"", "\"c:\\\\d e\"" },
		{ "one\ntwo\r\n", "\"one\\ntwo\\r\\n\"", "\"one\\ntwo\\r\\n\"" },
		{ "tab\t", "\"tab\\t\"", "\"tab\\t\"" },
		{ "\x1b[31mred\x01", "\"\\u001B[31mred\\u0001\"", "\"\\u001B[31mred\\u0001\"" },
		{ "del\x7f", "del\\x7f", "\"del\\\\x7f\"" },
		{ "c1 \xc2\x9b", "\"c1 \\\\xc2\\\\x9b\"", "\"c1 \\\\xc2\\\\x9b\"" },
		{ "\xc2\xa0", "\xc2\xa0", "\"\xc2\xa0\"" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"" },
		{ "\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xe2\x82\xac\xf0\x9f\x98\x80\"" },
		{ "latin gr\xfc", "\"latin gr\\\\xfc\"", "\"latin gr\\\\xfc\"" },
		{ "\x80", "\\x80", "\"\\\\x80\"" },
		{ "cut \xe2\x82", "\"cut \\\\xe2\\\\x82\"", "\"cut \\\\xe2\\\\x82\"" },
		{ "\xc0\xaf", "\\xc0\\xaf", "\"\\\\xc0\\\\xaf\"" },                     /* '/', overlong */
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80", "\"\\\\xed\\\\xa0\\\\x80\"" },     /* a surrogate */
		{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\"\\\\xf4\\\\x90\\\\x80\\\\x80\"" }, /* U+110000 */
		{ "\xf9\xff", "\\xf9\\xff", "\"\\\\xf9\\\\xff\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct eb_log_field fields[] = { eb_str("v", rows[i].text), {} };
		char expected[128];

		snprintf(expected, sizeof(expected), "v=%s", rows[i].logfmt);
		check_line(EB_LOG_LOGFMT, fields, expected);
		snprintf(expected, sizeof(expected), "{\"v\":%s}", rows[i].json);
		check_line(EB_LOG_JSON, fields, expected);
	}
}

static void check_printable(const char *text, const char *expected)
{
	json_t *string = eb_printable_json(text);

	assert_string_equal(json_string_value(string), expected);
	json_decref(string);
}

/* The same of a text that goes into other JSON. */
static void test_printable_json(void **state)
{
	(void)state;
	assert_true(json_is_null(eb_printable_json(NULL)));
	check_printable("", "");
	check_printable("/etc/a b.yaml\n", "/etc/a b.yaml\n");
	check_printable("/etc/gr\xc3\xbc\xc3\x9f", "/etc/gr\xc3\xbc\xc3\x9f");
	check_printable("/etc/gr\xfc\xdf", "/etc/gr\\xfc\\xdf");
	check_printable("\xff\xff\xff\x7f\xe2\x82", "\\xff\\xff\\xff\\x7f\\xe2\\x82");
}

static bool ends_with(const char *text, const char *end)
{
	return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

/* As many fields as there may be, each longer than a line. */
static void check_cut(const char *character)
{
	static char text[2 * EB_LOG_LINE_MAX + 1];
	struct eb_log_field fields[EB_LOG_FIELDS_MAX] = { eb_str("msg", "short") };
	static const char names[] = "abcdefghijklmnop";
	char name[EB_LOG_FIELDS_MAX][2], line[EB_LOG_LINE_MAX];
	size_t len = strlen(character);
	json_t *object;

	for (size_t i = 0; i + len < sizeof(text); i += len)
		memcpy(text + i, character, len + 1);
	for (size_t i = 1; i < EB_LOG_FIELDS_MAX - 1; i++) {
		snprintf(name[i], sizeof(name[i]), "%c", names[i]);
		fields[i] = eb_str(name[i], text);
	}
	len = eb_log_line(EB_LOG_JSON, fields, line);
	assert_in_range(len, EB_LOG_LINE_MAX / 4, EB_LOG_LINE_MAX);
	object = json_loadb(line, len - 1, 0, NULL);
	assert_non_null(object);
	assert_string_equal(json_string_value(json_object_get(object, "msg")), "short");
	for (size_t i = 1; i < EB_LOG_FIELDS_MAX - 1; i++)
		assert_true(ends_with(json_string_value(json_object_get(object, name[i])), EB_LOG_CUT_MARK));
	json_decref(object);
	len = eb_log_line(EB_LOG_LOGFMT, fields, line);
	assert_in_range(len, EB_LOG_LINE_MAX / 4, EB_LOG_LINE_MAX);
	assert_ptr_equal(memchr(line, '\n', len), line + len - 1);
}

static void test_cut(void **state)
{
	(void)state;
	check_cut("a");
	check_cut("\"");
	check_cut("\x01");
	check_cut("\xff");
	check_cut("\xf0\x9f\x98\x80");
}

/* A text that has just room stays whole. */
static void test_not_cut(void **state)
{
	char text[2048 + 1] = "", expected[sizeof(text) + sizeof("v=") + sizeof(EB_LOG_CUT_MARK)];
	const struct eb_log_field fields[] = { eb_str("v", text), {} };

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	snprintf(expected, sizeof(expected), "v=%s", text);
	check_line(EB_LOG_LOGFMT, fields, expected);
}

static void test_any_bytes(void **state)
{
	char text[300], line[EB_LOG_LINE_MAX];

	(void)state;
	for (int round = 0; round < 20000; round++) {
		const struct eb_log_field fields[] = { eb_str("v", text), eb_num("n", round), {} };
		size_t size = 1 + draw() % (sizeof(text) - 1), len;
		json_t *object;

		for (size_t i = 0; i < size; i++)
			text[i] = (char)draw();
		text[size - 1] = '\0';
		len = eb_log_line(EB_LOG_JSON, fields, line);
		object = json_loadb(line, len, 0, NULL);
		assert_non_null(object);
		assert_int_equal(json_integer_value(json_object_get(object, "n")), round);
		json_decref(object);
		len = eb_log_line(EB_LOG_LOGFMT, fields, line);
		for (size_t i = 0; i < len - 1; i++)
			assert_true((unsigned char)line[i] >= ' ');
	}
}

/* ---- limits ---- */

#define SECOND 1000000000ULL

static size_t admitted(struct eb_log_limit *limit, uint64_t now, size_t lines, uint64_t *suppressed)
{
	size_t count = 0;
	uint64_t missed;

	*suppressed = 0;
	while (lines--) {
		if (!eb_log_admit(limit, now, &missed))
			continue;
		count++;
		*suppressed += missed;
	}
	return count;
}

static void test_limit(void **state)
{
	/* A machine that was just booted, and one whose ticks are about to wrap. */
	static const uint64_t starts[] = { 0, UINT64_MAX / 1024 - 15 * SECOND };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		struct eb_log_limit limit = {};
		uint64_t now = starts[i], suppressed;

		assert_int_equal(admitted(&limit, now, EB_LOG_BURST, &suppressed), EB_LOG_BURST);
		assert_int_equal(suppressed, 0);
		assert_int_equal(admitted(&limit, now, 12, &suppressed), 0);
		assert_int_equal(admitted(&limit, now + EB_LOG_REFILL_NS - 1, 1, &suppressed), 0);
		assert_int_equal(admitted(&limit, now + EB_LOG_REFILL_NS, 3, &suppressed), 1);
		assert_int_equal(suppressed, 13);
		assert_int_equal(admitted(&limit, now + 2 * EB_LOG_REFILL_NS, 1, &suppressed), 1);
		assert_int_equal(suppressed, 2);
		now += 3 * EB_LOG_BURST * EB_LOG_REFILL_NS;
		assert_int_equal(admitted(&limit, now, 2 * EB_LOG_BURST, &suppressed), EB_LOG_BURST);
		assert_int_equal(suppressed, 0);
	}
}

static void test_reports(void **state)
{
	struct eb_log_limit limit = {};
	uint64_t now = 1000 * SECOND, suppressed;

	(void)state;
	assert_false(eb_log_admit_report(&limit, now, &suppressed));
	admitted(&limit, now, EB_LOG_BURST + 5, &suppressed);
	for (int i = 0; i < 3; i++)
		assert_false(eb_log_admit_report(&limit, now + 1, &suppressed));
	assert_true(eb_log_admit_report(&limit, now + EB_LOG_REFILL_NS, &suppressed));
	assert_int_equal(suppressed, 5);
	assert_false(eb_log_admit_report(&limit, now + 2 * EB_LOG_REFILL_NS, &suppressed));
}

/* ---- the sink ---- */

/* Standard error while another file is in its place. */
static int kept;

static void take_stderr(int fd)
{
	kept = dup(STDERR_FILENO);
	assert_true(kept >= 0);
	if (fd < 0)
		close(STDERR_FILENO);
	else
		assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	eb_log_open();
}

static void give_stderr_back(void)
{
	eb_log_close();
	assert_int_equal(dup2(kept, STDERR_FILENO), STDERR_FILENO);
	close(kept);
}

/* What can be read at once, as a text. */
static size_t drain(int fd, char *out, size_t size)
{
	size_t used = 0;
	ssize_t len;

	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (used < size - 1 && (len = read(fd, out + used, size - 1 - used)) > 0)
		used += (size_t)len;
	out[used] = '\0';
	return used;
}

static void say(size_t number)
{
	eb_info("said", eb_num("number", number));
}

/* How many lines came through, and how many are said to be lost. None is in parts, if they are not `torn`. */
static void read_lines(char *text, bool torn, size_t *said, size_t *lost)
{
	char *rest = text;

	*said = *lost = 0;
	for (char *line; (line = strsep(&rest, "\n")) && rest;) {
		char stamp[32], end;
		size_t number;

		if (sscanf(line, "time=%31s level=info msg=said number=%zu%c", stamp, &number, &end) == 2) {
			(*said)++;
		} else if (sscanf(line, "time=%31s level=warning msg=\"lines of this log were lost: %*[^\"]\" lost=%zu",
				  stamp, &number) == 2) {
			*lost += number;
		} else {
			assert_true(torn);
		}
	}
	assert_string_equal(rest ? rest : "", "");
}

#define LINES 20000

/* A reader that stopped: nothing waits, nothing kills, and when it goes on it learns what it missed. */
static void check_stopped_reader(int reader, int writer, bool torn)
{
	static char text[4 << 20];
	size_t used, said, lost;

	take_stderr(writer);
	for (size_t i = 0; i < LINES; i++)
		say(i);
	used = drain(reader, text, sizeof(text));
	say(LINES);
	give_stderr_back();
	drain(reader, text + used, sizeof(text) - used);
	close(reader);
	close(writer);
	read_lines(text, torn, &said, &lost);
	assert_true(lost > 0);
	assert_int_equal(said + lost, LINES + 1);
}

static void test_full_pipe(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	check_stopped_reader(fds[0], fds[1], false);
}

static void test_full_socket(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	check_stopped_reader(fds[0], fds[1], false);
}

/* A terminal may take a part of a line: that is a lost one, but does not spoil the next. */
static void test_held_terminal(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	struct termios modes;

	(void)state;
	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(slave >= 0);
	assert_int_equal(tcgetattr(slave, &modes), 0);
	cfmakeraw(&modes);
	assert_int_equal(tcsetattr(slave, TCSANOW, &modes), 0);
	check_stopped_reader(master, slave, true);
}

/* Whoever shares standard error finds it as it was. */
static void test_shared_pipe(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	take_stderr(fds[1]);
	assert_false(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
	give_stderr_back();
	close(fds[0]);
	close(fds[1]);
}

static void test_no_reader(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	take_stderr(fds[1]);
	say(1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	close(fds[0]);
	give_stderr_back();
	take_stderr(fds[1]);
	say(2);
	give_stderr_back();
	close(fds[1]);
}

/* The log does not end up in the next file that is opened. */
static void test_closed(void **state)
{
	int fd;

	(void)state;
	take_stderr(-1);
	fd = open("/dev/zero", O_RDONLY);
	say(1);
	give_stderr_back();
	assert_true(fd > STDERR_FILENO);
	close(fd);
}

/* Runs `say` with a file as standard error, and gives what is in it. */
static void say_to_file(const char *stream, char *text, size_t size)
{
	char path[] = "/tmp/unit_log.XXXXXX";
	int fd = mkostemp(path, O_APPEND);
	struct stat file;

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(fstat(fd, &file), 0);
	if (stream) {
		char value[64];

		snprintf(value, sizeof(value), stream, (unsigned long long)file.st_dev,
			 (unsigned long long)file.st_ino);
		setenv("JOURNAL_STREAM", value, 1);
	}
	take_stderr(fd);
	say(7);
	give_stderr_back();
	unsetenv("JOURNAL_STREAM");
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	drain(fd, text, size);
	close(fd);
}

static void test_journal(void **state)
{
	static const char *const others[] = { NULL, "%llu:%llu1", "1%llu:%llu", "%llu:%llu ", "%llu", "" };
	char text[200];

	(void)state;
	say_to_file("%llu:%llu", text, sizeof(text));
	assert_string_equal(text, "<6>level=info msg=said number=7\n");
	eb_log_set_format(EB_LOG_JSON);
	say_to_file("%llu:%llu", text, sizeof(text));
	eb_log_set_format(EB_LOG_LOGFMT);
	assert_string_equal(text, "<6>{\"level\":\"info\",\"msg\":\"said\",\"number\":7}\n");
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		int year, month, day, hour, minute, second, millisecond;

		say_to_file(others[i], text, sizeof(text));
		assert_int_equal(sscanf(text, "time=%4d-%2d-%2dT%2d:%2d:%2d.%3dZ level=info msg=said number=7", &year,
					&month, &day, &hour, &minute, &second, &millisecond),
				 7);
		assert_string_equal(text + strlen("time=2026-11-23T17:31:58.123Z"), " level=info msg=said number=7\n");
	}
}

/* ---- settings ---- */

static void test_names(void **state)
{
	enum eb_log_level level;
	enum eb_log_format format;

	(void)state;
	assert_int_equal(eb_log_parse_level("warning", &level), 0);
	assert_int_equal(level, EB_LOG_WARNING);
	assert_int_equal(eb_log_parse_level("warn", &level), -EINVAL);
	assert_int_equal(eb_log_parse_format("json", &format), 0);
	assert_int_equal(format, EB_LOG_JSON);
	assert_int_equal(eb_log_parse_format("text", &format), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),        cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_cut),           cmocka_unit_test(test_not_cut),
		cmocka_unit_test(test_any_bytes),     cmocka_unit_test(test_printable_json),
		cmocka_unit_test(test_limit),         cmocka_unit_test(test_reports),
		cmocka_unit_test(test_full_pipe),     cmocka_unit_test(test_full_socket),
		cmocka_unit_test(test_held_terminal), cmocka_unit_test(test_shared_pipe),
		cmocka_unit_test(test_no_reader),     cmocka_unit_test(test_closed),
		cmocka_unit_test(test_journal),       cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, random_start, NULL);
}
