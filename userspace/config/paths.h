/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the agent keeps its things, out of a configuration that need not be good otherwise: the command line must find
 * the maps also while somebody edits the rules, and without reading a million prefixes first.
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
 * Reads them from a configuration, the defaults where it has none; `path` NULL is for the defaults alone. Returns 0 and
 * places for eb_paths_done(); -EINVAL when the file is no YAML, the open or read error otherwise, with a malloc'ed
 * line in *error.
 */
int eb_paths_read(const char *path, struct eb_paths *out, char **error);
void eb_paths_done(struct eb_paths *paths);

/* The state_dir of a configuration that may be no YAML, or not be there: as one of its lines says, or the default. ""
 * for none. malloc'ed; NULL when out of memory. */
char *eb_paths_state_dir(const char *path);

#endif
