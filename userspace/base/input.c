// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/characters.h"
#include "base/input.h"

#define QUOTED_MAX 60
#define WORD_MAX 32

struct eb_quoted eb_input_quote(const char *text)
{
	struct eb_quoted quoted;
	size_t len = 0;

	quoted.text[len++] = '"';
	for (; *text && len < QUOTED_MAX; text++) {
		const char *name = eb_character_name(text, strnlen(text, 3));
		unsigned char c = *text;

		if (name) {
			len += sprintf(quoted.text + len, "<%s>", name);
			text += c < 0xe0 ? 1 : 2; /* the other bytes of it */
		} else if (c >= 0x20 && c < 0x7f) {
			quoted.text[len++] = c;
		} else {
			len += sprintf(quoted.text + len, "\\x%02x", c);
		}
	}
	strcpy(quoted.text + len, *text ? "...\"" : "\"");
	return quoted;
}

/* Levenshtein's, keeping one row of the table. */
unsigned int eb_input_distance(const char *a, const char *b)
{
	unsigned int row[WORD_MAX + 1], a_len = strnlen(a, WORD_MAX + 1), b_len = strnlen(b, WORD_MAX + 1);

	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return WORD_MAX;
	for (unsigned int j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= a_len; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (unsigned int j = 1; j <= b_len; j++) {
			unsigned int best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b_len];
}

bool eb_input_is_graphic(const char *text)
{
	for (; *text; text++)
		if (*text <= 0x20 || *text >= 0x7f)
			return false;
	return true;
}

const char *eb_input_env(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

void eb_input_free(char *text, size_t size)
{
	if (text)
		explicit_bzero(text, size);
	free(text);
}

static int grow(char **buffer, size_t *room, size_t most)
{
	size_t larger = *room ? 2 * *room : 4096;
	char *grown;

	if (larger > most)
		larger = most;
	grown = malloc(larger + 1); /* realloc() would leave a copy of passwords behind */
	if (!grown)
		return -ENOMEM;
	if (*buffer)
		memcpy(grown, *buffer, *room);
	eb_input_free(*buffer, *room);
	*buffer = grown;
	*room = larger;
	return 0;
}

/* Reads up to `max` + 1 bytes, so that the caller can tell a file that fits from one that does not. */
static ssize_t read_up_to(int fd, char **buffer, size_t max)
{
	size_t used = 0, room = 0;

	while (used <= max) {
		ssize_t got;

		if (used == room && grow(buffer, &room, max + 1))
			return -ENOMEM;
		got = read(fd, *buffer + used, room - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		used += got;
	}
	return used;
}

int eb_input_read_fd(int fd, size_t max, char **out, size_t *size)
{
	char *buffer = NULL;
	ssize_t got = read_up_to(fd, &buffer, max);

	if (got >= 0 && (size_t)got > max)
		got = -EFBIG;
	if (got < 0) {
		free(buffer);
		return got;
	}
	buffer[got] = '\0';
	*out = buffer;
	*size = got;
	return 0;
}

const char *eb_input_strerror(int err)
{
	if (err == -EINVAL)
		return "Not a regular file";
	/* To whom it is a riddle. */
	if (err == -EACCES && geteuid() == 0)
		return "Permission denied, even for root, without CAP_DAC_OVERRIDE: make root its owner";
	return strerror(-err);
}

int eb_input_read(const char *path, size_t max, mode_t *mode, char **out, size_t *size)
{
	struct stat st;
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : eb_input_read_fd(fd, max, out, size);
	if (!err && mode)
		*mode = st.st_mode;
	close(fd);
	return err;
}

int eb_input_open_regular(const char *path)
{
	struct stat st;
	int fd, err;

	/* O_NONBLOCK: opening a FIFO would wait for its writer. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	else
		err = S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (!err)
		return fd;
	close(fd);
	return err;
}

bool eb_input_is_replaced(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !st.st_nlink;
}
