/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The note that an operator detached the program permanently (`edgebucket detach --stay`). It is a file in state_dir,
 * which outlives agents and reboots; or in run_dir, which outlives agents, if state_dir is "". The agent and the
 * command line both use it.
 */
#ifndef EB_DETACH_NOTE_H
#define EB_DETACH_NOTE_H

#include <stdbool.h>

/* Create and remove the note. It is no error if the note already exists, or does not exist. Return 0, or negative errno
 * with a malloc'ed line in *error. */
int eb_detach_note_set(const char *state_dir, const char *run_dir, char **error);
int eb_detach_note_clear(const char *state_dir, const char *run_dir, char **error);

bool eb_detach_note_is_set(const char *state_dir, const char *run_dir);

#endif
