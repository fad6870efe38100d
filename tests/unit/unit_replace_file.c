// SPDX-License-Identifier: GPL-2.0-only
/* Replacing a file: what it is like then, what stays beside it, and what a failure leaves. */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/input.h"
#include "base/replace_file.h"

static char dir[] = "/tmp/unit_replace_file.XXXXXX";

static int enter_dir(void **state)
{
	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int remove_dir(void **state)
{
	(void)state;
	return chdir("/") ? -1 : nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void assert_holds(const char *path, const char *expected, mode_t expected_mode)
{
	mode_t mode;
	size_t size;
	char *text;

	assert_int_equal(eb_input_read(path, 4096, &mode, &text, &size), 0);
	assert_string_equal(text, expected);
	assert_int_equal(mode & 07777, expected_mode);
	free(text);
}

static void replace(const char *path, const char *text)
{
	char *error = NULL;

	if (eb_replace_file_check(path, &error) || eb_replace_file(path, text, strlen(text), &error))
		fail_msg("%s", error);
}

static int files;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path;
	(void)st;
	(void)at;
	files += type != FTW_D;
	return 0;
}

static void assert_files(int expected)
{
	files = 0;
	assert_int_equal(nftw(dir, count_one, 8, FTW_PHYS), 0);
	assert_int_equal(files, expected);
}

static void test_replace(void **state)
{
	(void)state;
	put("file", "one", 0640);
	replace("file", "two");
	assert_holds("file", "two", 0640);
	assert_holds("file.previous", "one", 0640);
	assert_int_equal(chmod("file", 0604), 0);
	replace("file", "");
	assert_holds("file", "", 0604);
	assert_holds("file.previous", "two", 0604);
	assert_files(2);
}

/* What the link points to is replaced, beside which the file before is: the link stays one. */
static void test_link(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(mkdir("there", 0755), 0);
	put("there/file", "one", 0600);
	assert_int_equal(symlink("there/file", "link"), 0);
	replace("link", "two");
	assert_int_equal(lstat("link", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_holds("there/file", "two", 0600);
	assert_holds("there/file.previous", "one", 0600);
	assert_files(3);
}

static void assert_refused(const char *path, int err, const char *expected)
{
	char *error = NULL;

	assert_int_equal(eb_replace_file_check(path, &error), err);
	assert_string_equal(error, expected);
	free(error);
	error = NULL;
	assert_int_equal(eb_replace_file(path, "text", 4, &error), err);
	assert_string_equal(error, expected);
	free(error);
}

static void test_refused(void **state)
{
	(void)state;
	assert_refused("nothing", -ENOENT, "nothing cannot be replaced: No such file or directory");
	assert_int_equal(mkdir("folder", 0755), 0);
	assert_refused("folder", -EINVAL, "folder cannot be replaced: not a regular file");
	assert_files(0);
}

/* The file before cannot be kept: then it stays. */
static void test_failure(void **state)
{
	char *error = NULL;

	(void)state;
	put("file", "one", 0600);
	assert_int_equal(mkdir("file.previous", 0755), 0);
	assert_int_equal(eb_replace_file("file", "two", 3, &error), -EISDIR);
	assert_string_equal(error, "file cannot be replaced: Is a directory");
	free(error);
	assert_holds("file", "one", 0600);
	assert_files(1);
}

/* The disk is full half way, as a limit of the file's size is: nothing is lost, and nothing is left. */
static void test_no_room(void **state)
{
	struct rlimit before, little;
	char *error = NULL;
	char text[100];
	int err;

	(void)state;
	put("file", "one", 0600);
	memset(text, 'x', sizeof(text));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	little = (struct rlimit){ .rlim_cur = sizeof(text) / 2, .rlim_max = before.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	err = eb_replace_file("file", text, sizeof(text), &error);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(err, -EFBIG);
	assert_string_equal(error, "file cannot be replaced: File too large");
	free(error);
	assert_holds("file", "one", 0600);
	assert_files(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replace, enter_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_link, enter_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_refused, enter_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_failure, enter_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_no_room, enter_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
