// SPDX-License-Identifier: GPL-2.0-only
/* Passwords in configurations, good and bad, and in texts that quote them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "redact.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

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
		{ "empty", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct redact_secrets secrets = { 0 };
		char *text = redact_config(rows[i].text, strlen(rows[i].text), &secrets);

		assert_non_null(text);
		assert_int_equal(secrets.error, 0);
		if (strcmp(text, rows[i].expected))
			fail_msg("%s: got <%s>, expected <%s>", rows[i].name, text, rows[i].expected);
		free(text);
		redact_done(&secrets);
	}
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
		char *text = redact_config(rows[i], strlen(rows[i]), &secrets);

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
				     "c: password=swordfish\nauth: abc\n";
	struct redact_secrets secrets = { 0 };

	(void)state;
	free(redact_config(config, sizeof(config) - 1, &secrets));
	check_text(&secrets, "nothing of it: b abc", "nothing of it: b abc");
	check_text(&secrets, "\"redis://me:hunter22@h\" is not a host; hunter22, me:hunter22",
		   "\"[removed]\" is not a host; [removed], [removed]");
	check_text(&secrets, "a\"b\\c\xc3\xa4 {\"a\\\"b\\\\c\xc3\xa4\"} \"a\"b\\c\\xc3\\xa4\"",
		   "[removed] {\"[removed]\"} \"[removed]\"");
	check_text(&secrets, "is \"01234567890123456789012345678901234567890123456789012345678...\"",
		   "is \"[removed]...\"");
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
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
