// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/input.h"
#include "base/replace_file.h"
#include "config/kept.h"
#include "config/paths.h"

/* Then for each file the lengths of its name and text, and both; at last END. */
#define BEGIN "edgebucket kept configuration 1\n"
#define END "end\n"
#define NUMBERS "%zu %zu\n"

#define KEPT_SIZE_MAX (1024 * 1024 * 1024)

struct place {
	char file[PATH_MAX];
	char fresh[PATH_MAX];
};

static int find_place(const char *state_dir, struct place *place)
{
	return snprintf(place->file, PATH_MAX, "%s/" EB_KEPT_NAME, state_dir) < PATH_MAX &&
	       snprintf(place->fresh, PATH_MAX, "%s/" EB_KEPT_NAME ".new", state_dir) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* ---- reading ---- */

struct cursor {
	const char *at, *end;
};

static bool take_word(struct cursor *cursor, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(cursor->end - cursor->at) < len || memcmp(cursor->at, word, len) != 0)
		return false;
	cursor->at += len;
	return true;
}

/* Up to `len` bytes and the newline behind them. NULL where there are not so many. */
static const char *take_bytes(struct cursor *cursor, size_t len)
{
	const char *bytes = cursor->at;

	if ((size_t)(cursor->end - cursor->at) <= len || bytes[len] != '\n')
		return NULL;
	cursor->at += len + 1;
	return bytes;
}

static int take_file(struct cursor *cursor, struct eb_inputs *inputs)
{
	const char *path, *text;
	size_t path_len, size;
	char *name;
	int used = 0, err;

	/* The text ends in a NUL, and a number longer than that of any length is none. */
	if (sscanf(cursor->at, "%18zu %18zu%n", &path_len, &size, &used) != 2 || cursor->at[used] != '\n')
		return -EINVAL;
	cursor->at += used + 1;
	path = take_bytes(cursor, path_len);
	text = path ? take_bytes(cursor, size) : NULL;
	if (!text)
		return -EINVAL;
	name = strndup(path, path_len);
	err = name ? eb_inputs_add(inputs, name, S_IRUSR, text, size) : -ENOMEM;
	free(name);
	return err;
}

static int parse(const char *text, size_t size, struct eb_inputs *inputs)
{
	struct cursor cursor = { .at = text, .end = text + size };
	int err = take_word(&cursor, BEGIN) ? 0 : -EINVAL;

	while (!err && !take_word(&cursor, END))
		err = take_file(&cursor, inputs);
	if (!err && (cursor.at != cursor.end || !inputs->count))
		err = -EINVAL;
	inputs->is_kept = true;
	return err;
}

/* A file that anybody else could have written is not to be trusted with what is limited. */
static int open_own(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return fd;
	close(fd);
	return -EPERM;
}

static int load(const char *path, struct eb_inputs *inputs)
{
	int fd = open_own(path), err;
	char *text;
	size_t size;

	if (fd < 0)
		return fd;
	err = eb_input_read_fd(fd, KEPT_SIZE_MAX, &text, &size);
	close(fd);
	if (err)
		return err;
	err = parse(text, size, inputs);
	eb_input_free(text, size);
	return err;
}

static int load_new(const char *path, struct eb_inputs **out)
{
	struct eb_inputs *inputs = eb_inputs_new();
	int err = inputs ? load(path, inputs) : -ENOMEM;

	if (err)
		eb_inputs_free(inputs);
	else
		*out = inputs;
	return err;
}

/* Returns -ENOENT for a copy that another configuration file left in the same state_dir. */
static int load_of(const char *file, const char *path, struct eb_inputs **out)
{
	struct eb_inputs *inputs;
	int err = load_new(file, &inputs);

	if (err)
		return err;
	if (strcmp(inputs->items[0].path, path) != 0) {
		eb_inputs_free(inputs);
		return -ENOENT;
	}
	*out = inputs;
	return 0;
}

static int read_from(const char *state_dir, const char *path, const char *redis_path, struct eb_config **out,
		     char **error)
{
	struct eb_inputs *inputs;
	struct place place;
	int err = find_place(state_dir, &place);

	if (!err)
		err = load_of(place.file, path, &inputs);
	if (err == -ENOENT || err == -ENOTDIR)
		return -ENOENT;
	if (err)
		return eb_fail(err, error, "%s: %s", place.file, err == -EINVAL ? "is damaged" : strerror(-err));
	return eb_config_parse_for(path, inputs->items[0].text, inputs->items[0].size, place.file, redis_path, inputs,
				   out, error);
}

int eb_kept_read(const char *path, const char *redis_path, struct eb_config **out, char **error)
{
	char *state_dir = eb_paths_state_dir(path);
	int err = state_dir ? -ENOENT : -ENOMEM;

	if (state_dir && *state_dir)
		err = read_from(state_dir, path, redis_path, out, error);
	free(state_dir);
	return err;
}

/* ---- writing ---- */

static int print(FILE *file, const struct eb_inputs *inputs)
{
	fputs(BEGIN, file);
	for (size_t i = 0; i < inputs->count; i++) {
		const struct eb_input_file *item = &inputs->items[i];

		fprintf(file, NUMBERS "%s\n", strlen(item->path), item->size, item->path);
		fwrite(item->text, 1, item->size, file);
		fputc('\n', file);
	}
	fputs(END, file);
	return fflush(file) || fsync(fileno(file)) ? -errno : 0;
}

static int make_fresh(const char *path, const struct eb_inputs *inputs)
{
	FILE *file;
	int fd, err;

	(void)unlink(path); /* of a writer that was killed */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	file = fdopen(fd, "w");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	err = print(file, inputs);
	if (fclose(file) && !err)
		err = -errno;
	return err;
}

static bool is_kept_already(const struct place *place, const struct eb_inputs *inputs)
{
	struct eb_inputs *before;
	bool is_same;

	if (load_new(place->file, &before))
		return false;
	is_same = eb_inputs_equal(before, inputs);
	eb_inputs_free(before);
	return is_same;
}

static int replace(const char *state_dir, const struct eb_inputs *inputs)
{
	struct place place;
	int err = find_place(state_dir, &place);

	if (err)
		return err;
	if (is_kept_already(&place, inputs))
		return 0;
	if (mkdir(state_dir, 0700) && errno != EEXIST)
		return -errno;
	err = make_fresh(place.fresh, inputs);
	if (!err && rename(place.fresh, place.file))
		err = -errno;
	if (err)
		(void)unlink(place.fresh);
	if (!err)
		eb_replace_file_sync_dir(state_dir);
	return err;
}

/* Where nothing is kept there is nothing to update: what is in force came by no reload that was kept. */
static int update(const char *state_dir, const struct eb_inputs *changed)
{
	struct eb_inputs *whole;
	struct place place;
	int err = find_place(state_dir, &place);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = load_new(place.file, &whole);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = eb_inputs_merge(whole, changed);
	if (!err)
		err = replace(state_dir, whole);
	eb_inputs_free(whole);
	return err;
}

int eb_kept_write(const char *state_dir, const struct eb_inputs *inputs, char **error)
{
	int err = inputs->is_update ? update(state_dir, inputs) : replace(state_dir, inputs);

	return err ? eb_fail(err, error, "%s/" EB_KEPT_NAME ": %s", state_dir, strerror(-err)) : 0;
}
