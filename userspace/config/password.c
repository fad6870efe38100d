// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/input.h"
#include "config/password.h"

void eb_password_free(char *password)
{
	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
}

static int check(const char *text, size_t size, char **error)
{
	if (!size)
		return eb_fail(-EINVAL, error, "is empty; expected a password");
	if (size > EB_PASSWORD_MAX)
		return eb_fail(-EINVAL, error, "has more than %d bytes", EB_PASSWORD_MAX);
	if (memchr(text, '\n', size))
		return eb_fail(-EINVAL, error, "holds more than one line; expected a password alone");
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return eb_fail(-EINVAL, error, "holds the control character U+%04X; expected a password alone",
				       (unsigned char)text[i]);
	return 0;
}

int eb_password_trim(char *text, size_t size, char **error)
{
	if (size && text[size - 1] == '\n')
		text[--size] = '\0';
	if (size && text[size - 1] == '\r')
		text[--size] = '\0';
	return check(text, size, error);
}

/* With room for a newline, of two bytes on some systems. */
static int read_text(const char *path, mode_t *mode, char **out, size_t *size)
{
	int fd = eb_input_open_regular(path), err;
	struct stat st;

	if (fd < 0)
		return fd;
	err = fstat(fd, &st) ? -errno : eb_input_read_fd(fd, EB_PASSWORD_MAX + 2, out, size);
	close(fd);
	if (!err && mode)
		*mode = st.st_mode;
	return err;
}

int eb_password_read(const char *path, mode_t *mode, char **out, char **error)
{
	char *text, *reason = NULL;
	size_t size;
	int err = read_text(path, mode, &text, &size);

	if (err)
		return eb_fail(err, error, "%s cannot be read: %s", eb_input_quote(path).text, eb_input_strerror(err));
	err = eb_password_trim(text, size, &reason);
	if (!err) {
		*out = text;
		return 0;
	}
	eb_input_free(text, size);
	eb_fail(err, error, "%s %s", eb_input_quote(path).text, reason ? reason : "cannot be read");
	free(reason);
	return err;
}

int eb_secret_refresh(struct eb_secret *secret, char **error)
{
	char *text, *reason = NULL;
	int err;

	if (!secret->file)
		return 0;
	err = eb_password_read(secret->file, NULL, &text, &reason);
	if (!err) {
		eb_password_free(secret->text);
		secret->text = text;
	} else if (!secret->text) {
		*error = reason;
		return err;
	}
	free(reason);
	return 0;
}

void eb_secret_done(struct eb_secret *secret)
{
	free(secret->file);
	eb_password_free(secret->text);
	*secret = (struct eb_secret){ NULL, NULL };
}
