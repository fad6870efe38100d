/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The note that an operator took all limits off to stay off (`edgebucket detach --stay`): a file in state_dir, which
 * outlives agents and reboots, or in run_dir, which outlives agents, where state_dir is "". Agent and command line use
 * it.
 */
#ifndef EB_DETACH_NOTE_H
#define EB_DETACH_NOTE_H

#include <stdbool.h>

/* Make and remove the note, which may be there already or not. 0, or negative errno with a malloc'ed line in *error. */
int eb_detach_note_set(const char *state_dir, const char *run_dir, char **error);
int eb_detach_note_clear(const char *state_dir, const char *run_dir, char **error);

bool eb_detach_note_is_set(const char *state_dir, const char *run_dir);

#endif
