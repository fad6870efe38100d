/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs this program as a child, and captures its output. So a part of the bundle that fails, crashes or hangs does not
 * affect the others.
 */
#ifndef EB_CAPTURE_H
#define EB_CAPTURE_H

#include <stddef.h>

struct capture {
	char *out, *err; /* NUL-terminated; not NULL after capture_run() returned 0 */
	size_t out_size, err_size;
	int status;      /* as of waitpid(2) */
};

/* Runs the program with `argv`, which does not contain the name of the program and ends with NULL. Kills it after
 * `timeout_ms` milliseconds. Returns 0 or negative errno; in both cases free *out with capture_done(). */
int capture_run(const char *const *argv, int timeout_ms, struct capture *out);
void capture_done(struct capture *capture);

#endif
