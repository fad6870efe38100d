/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The directories of the agent, read from a configuration that need not be valid otherwise: the command line must find
 * the maps even while an operator edits the rules, and without reading a million prefixes first.
 */
#ifndef EB_PATHS_H
#define EB_PATHS_H

#define EB_DEFAULT_PIN_DIR "/sys/fs/bpf/edgebucket"
#define EB_DEFAULT_RUN_DIR "/run/edgebucket"
#define EB_DEFAULT_STATE_DIR "/var/lib/edgebucket"

struct eb_paths {
	char *pin_dir;
	char *run_dir;
	char *state_dir; /* "" for none */
};

/*
 * Reads the directories from a configuration, with defaults for missing keys. If `path` is NULL, all are defaults.
 * Returns 0 and paths for eb_paths_done(); or -EINVAL if the file is not YAML, or the negative errno of opening or
 * reading, with a malloc'ed line in *error.
 */
int eb_paths_read(const char *path, struct eb_paths *out, char **error);
void eb_paths_done(struct eb_paths *paths);

/* The state_dir of a configuration that might not be YAML, or not exist: the value in one of its lines, or the default.
 * "" means that there is none. malloc'ed; NULL if out of memory. */
char *eb_paths_state_dir(const char *path);

#endif
