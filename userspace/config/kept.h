/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last configuration that was in force, with all that it was made of, kept in `state_dir`: what an agent enforces
 * whose configuration is refused when it starts. One file, replaced as a whole: whatever ends the agent, or the power,
 * there is the set before or the new one. It is root's alone, as passwords can be in it.
 */
#ifndef EB_KEPT_H
#define EB_KEPT_H

#include "config/config.h"
#include "config/inputs.h"

/* Its name in state_dir. */
#define EB_KEPT_NAME "config.last"

/* Waits for the disk; writes nothing where that is kept already. `inputs` begin with the configuration itself, or
 * are an update of what is kept. Returns
 * 0, or negative errno with a malloc'ed line in *error; what was kept before is then there as it was. */
int eb_kept_write(const char *state_dir, const struct eb_inputs *inputs, char **error);

/*
 * Reads what was kept of the configuration `path` and is still good. Its state_dir is taken from what `path` says,
 * also if that is not good otherwise, or is the default. Returns 0 with a configuration whose path is that of the kept
 * file, -ENOENT where nothing was kept of it, or negative errno with a malloc'ed line in *error.
 */
int eb_kept_read(const char *path, const char *redis_path, struct eb_config **out, char **error);

#endif
