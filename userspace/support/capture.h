/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs this program again, and keeps what it says. A part that fails, crashes or hangs fails alone.
 */
#ifndef EB_CAPTURE_H
#define EB_CAPTURE_H

#include <stddef.h>

struct capture {
	char *out, *err; /* NUL-terminated, never NULL after capture_run() went well */
	size_t out_size, err_size;
	int status;      /* as of waitpid(2) */
};

/* `argv` without the program, ending with NULL. One that does not end in time is killed. Returns 0 or negative errno;
 * to be freed with capture_done() in either case. */
int capture_run(const char *const *argv, int timeout_ms, struct capture *out);
void capture_done(struct capture *capture);

#endif
