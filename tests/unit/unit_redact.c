// SPDX-License-Identifier: GPL-2.0-only
/* Passwords in configurations, good and bad, and in texts that quote them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/redact.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void check_config(const char *name, const char *text, bool is_redis, const char *expected)
{
	struct redact_secrets secrets = { 0 };
	char *redacted = redact_config(text, strlen(text), is_redis, &secrets);

	assert_non_null(redacted);
	assert_int_equal(secrets.error, 0);
	if (strcmp(redacted, expected))
		fail_msg("%s: got <%s>, expected <%s>", name, redacted, expected);
	free(redacted);
	redact_done(&secrets);
}

static void test_config(void **state)
{
	static const struct {
		const char *name, *text, *expected;
	} rows[] = {
		{ "nothing secret", "node: a\nrules: [ { name: b } ]\n", "node: a\nrules: [ { name: b } ]\n" },
		{ "plain", "redis:\n  password: hunter2\n  db: 0\n", "redis:\n  password: \"[removed]\"\n  db: 0\n" },
		{ "flow", "redis: { password: hunter2, db: 0 }", "redis: { password: \"[removed]\", db: 0 }" },
		{ "JSON", "{\"password\":\"hun\\u0074er2\", \"db\": 0}", "{\"password\":\"[removed]\", \"db\": 0}" },
		{ "quoted", "password: 'hunt''er2' # hunter2\nb: 1\n", "password: \"[removed]\" \nb: 1\n" },
		{ "block", "password: |\n  hunter2\n  hunter3\nb: 1\n", "password: \"[removed]\"\n\n\nb: 1\n" },
		{ "next line", "password:\n  hunter2\nb: 1\n", "password:\n  \"[removed]\"\nb: 1\n" },
		{ "list", "password: [hunter2, {a: hunter3}]\nb: 1\n",
		  "password: [\"[removed]\", {a: \"[removed]\"}]\nb: 1\n" },
		{ "mapping", "password:\n  a: hunter2\n  c:\n    - hunter3\nb: 1\n",
		  "password:\n  a: \"[removed]\"\n  c:\n    - \"[removed]\"\nb: 1\n" },
		{ "nested", "redis:\n  sentinel:\n    password: hunter2\n  key: k\nb: 1\n",
		  "redis:\n  sentinel:\n    password: \"[removed]\"\n  key: k\nb: 1\n" },
		{ "explicit key", "? password\n: hunter2\n? b\n: 1\n", "? password\n: \"[removed]\"\n? b\n: 1\n" },
		{ "misspelt", "pasword: hunter2\nrequirepass: hunter3\n",
		  "pasword: \"[removed]\"\nrequirepass: \"[removed]\"\n" },
		{ "no space", "redis:\n  password:hunter2\n", "redis:\n  \"[removed]\"\n" },
		{ "equals sign", "- password=hunter2\n- b\n", "- \"[removed]\"\n- b\n" },
		{ "as a key", "password hunter2: x\nb: 1\n", "\"[removed]\": \"[removed]\"\nb: 1\n" },
		{ "URL", "host: redis://me:hunter2@192.0.2.1:6379/0\n", "host: \"[removed]\"\n" },
		{ "no scheme", "host: me:hunter2@192.0.2.1\n", "host: \"[removed]\"\n" },
		{ "an address of its own", "admin: me@192.0.2.1\n", "admin: me@192.0.2.1\n" },
		{ "other words", "{ pwd: hunter2, pw: hunter3, credentials: hunter4, power: 5 }",
		  "{ pwd: \"[removed]\", pw: \"[removed]\", credentials: \"[removed]\", power: 5 }" },
		{ "names of files stay", "password_file: /etc/eb/redis.password\nkey: /k.pem\n",
		  "password_file: /etc/eb/redis.password\nkey: /k.pem\n" },
		{ "comments", "# hunter2\na: 1 # hunter2\n  # x\nb: '#'\n", "\na: 1 \n  \nb: '#'\n" },
		{ "alias", "password: *hunter2\nnode: *a\nb: 1\n", "password: \"[removed]\"\nnode: *a\nb: 1\n" },
		{ "tag", "{ password: !hunter2 x, b: 1 }", "{ password: \"[removed]\" \"[removed]\", b: 1 }" },
		{ "UTF-8", "\xef\xbb\xbfnode: \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\npassword: h\xc3\xbcnter2\nb: 1\n",
		  "node: \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\npassword: \"[removed]\"\nb: 1\n" },
		{ "CRLF", "a: 1\r\npassword: hunter2\r\nb: 1\r\n", "a: 1\r\npassword: \"[removed]\"\r\nb: 1\r\n" },
		{ "user name", "redis:\n  username: me:hunter2\n  port: 1\nnode: a\n",
		  "redis:\n  username: \"[removed]\"\n  port: 1\nnode: a\n" },
		{ "unknown", "redis: { x: [hunter2, {host: h}], hunter: {y: 1}, host: h } ",
		  "redis: { x: [\"[removed]\", {host: h}], hunter: {y: \"[removed]\"}, host: h } " },
		{ "no mapping", "redis: hunter2\nnode: a\n", "redis: \"[removed]\"\nnode: a\n" },
		{ "redis misspelt", "Reddis: { user: hunter2 }\nnode: a\n",
		  "Reddis: { user: \"[removed]\" }\nnode: a\n" },
		{ "without a key", "redis: { host: h, hunter2, sentinel: hunter2 }\nrules: [ { host, node } ]\n",
		  "redis: { host: h, \"[removed]\", sentinel: \"[removed]\" }\nrules: [ { host, node } ]\n" },
		{ "below a harmless one", "redis: { host: { x: hunter2 }, db: 1 }",
		  "redis: { host: { x: \"[removed]\" }, db: 1 }" },
		{ "unknown alias", "redis:\n  user: *hunter2\n  db: 0\n", "redis:\n  user: \"[removed]\"\n  db: 0\n" },
		{ "sentinel", "redis:\n  sentinel:\n    username: s\n    master: m\n    nodes:\n    - a:1\n    - b:2\n"
		  "    tls: { ca: /f, cert: /f, key: /f, server_name: n }\n  tick: 1s\n",
		  "redis:\n  sentinel:\n    username: \"[removed]\"\n    master: m\n    nodes:\n    - a:1\n    - b:2\n"
		  "    tls: { ca: /f, cert: /f, key: /f, server_name: n }\n  tick: 1s\n" },
		{ "cluster", "redis: { cluster: [\"a:1\", b], tls: true, key: k, restore_timeout: 1s }",
		  "redis: { cluster: [\"a:1\", b], tls: true, key: k, restore_timeout: 1s }" },
		{ "empty", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		check_config(rows[i].name, rows[i].text, false, rows[i].expected);
}

static void test_redis_alone(void **state)
{
	(void)state;
	check_config("JSON", "{\"host\": \"h\", \"username\": \"me:hunter2\", \"x\": 1}", true,
		     "{\"host\": \"h\", \"username\": \"[removed]\", \"x\": \"[removed]\"}");
	check_config("no mapping", "hunter2", true, "\"[removed]\"");
}

/* Bad YAML: what comes before may be shown, what comes after may be anything. */
static void test_broken(void **state)
{
	static const char *const rows[] = {
		"a: 1\npassword: \"hunter2\n",
		"a: 1\n\tpassword: hunter2\n",
		"a: [1\npassword: hunter2\n",
		"a: 1\n  password: hunter2\n",
		"a: 1\npassword: 'hunter2\nb: 2\n",
		"a: 1\n@ password: hunter2\n",
		"a: 1\n\x01password: hunter2\n",
		"\xff\xfep\0a\0s\0s\0:\0 \0h\0",
		"{ \"password\": \"hunter2\"",
		"password: *hunter2\n",
		"password: &hunter2 x\n",
		"password: !hunter2 x\n",
		"a: 1\npassword: %hunter2\n",
		"password: hunter2: hunter2\n",
		"password: - hunter2\n",
		"password: hunter2\n hunter2\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct redact_secrets secrets = { 0 };
		char *text = redact_config(rows[i], strlen(rows[i]), false, &secrets);

		assert_non_null(text);
		if (strstr(text, "hunter2"))
			fail_msg("row %zu: <%s>", i, text);
		free(text);
		redact_done(&secrets);
	}
}

static void check_text(const struct redact_secrets *secrets, const char *text, const char *expected)
{
	size_t size;
	char *redacted = redact_text(secrets, text, strlen(text), &size);

	assert_string_equal(redacted, expected);
	assert_int_equal(size, strlen(expected));
	free(redacted);
}

/* What was taken out of a configuration is found in what quotes it, whole or cut, in messages and in JSON. */
static void test_text(void **state)
{
	static const char config[] = "host: redis://me:hunter22@h\npassword: 'a\"b\\c\xc3\xa4'\nb: 1\n"
				     "requirepass: 01234567890123456789012345678901234567890123456789012345678901234\n"
				     "c: password=swordfish\nauth: abc\nredis: { username: edgebucket }\n";
	struct redact_secrets secrets = { 0 };

	(void)state;
	free(redact_config(config, sizeof(config) - 1, false, &secrets));
	check_text(&secrets, "nothing of it: b abc", "nothing of it: b abc");
	check_text(&secrets, "\"redis://me:hunter22@h\" is not a host; hunter22, me:hunter22",
		   "\"[removed]\" is not a host; [removed], [removed]");
	check_text(&secrets, "a\"b\\c\xc3\xa4 {\"a\\\"b\\\\c\xc3\xa4\"} \"a\"b\\c\\xc3\\xa4\"",
		   "[removed] {\"[removed]\"} \"[removed]\"");
	check_text(&secrets, "is \"01234567890123456789012345678901234567890123456789012345678...\"",
		   "is \"[removed]...\"");
	check_text(&secrets, "edgebucket as it is", "edgebucket as it is");
	check_text(&secrets, "swordfish and password=swordfish", "[removed] and [removed]");
	redact_add(&secrets, "swordfishes");
	check_text(&secrets, "swordfishes", "[removed]");
	redact_done(&secrets);
	check_text(&secrets, "swordfish", "swordfish");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_redis_alone),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
