/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last configuration that was in force, with all files that it consists of, kept in `state_dir`. If an agent starts
 * and its configuration is refused, it enforces the kept one. It is one file, which is replaced atomically: after a
 * kill or a power cut, the old or the new set exists. Only root can read it, because it can contain passwords.
 */
#ifndef EB_KEPT_H
#define EB_KEPT_H

#include "config/config.h"
#include "config/inputs.h"

/* The name of the file in state_dir. */
#define EB_KEPT_NAME "config.last"

/* Writes the file and waits until it is on disk; does nothing if the same is kept already. The first of `inputs` is the
 * configuration itself, unless they are an update of what is kept. Returns 0, or negative errno with a malloc'ed line
 * in *error; on failure the previous file is unchanged. */
int eb_kept_write(const char *state_dir, const struct eb_inputs *inputs, char **error);

/*
 * Reads the kept copy of the configuration `path` and checks it again. Takes state_dir from `path`, even if that file
 * is not valid otherwise, or uses the default. Returns 0 and a configuration whose path is that of the kept file,
 * -ENOENT if no copy was kept, or another negative errno with a malloc'ed line in *error.
 */
int eb_kept_read(const char *path, const char *redis_path, struct eb_config **out, char **error);

#endif
