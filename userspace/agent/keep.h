/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps a copy of the configuration in force, for a start whose configuration is refused (kept.h). A thread writes it,
 * because a disk can take seconds, and ticks must not wait for it.
 */
#ifndef EB_KEEP_H
#define EB_KEEP_H

#include <systemd/sd-event.h>

#include "config/inputs.h"

struct eb_keep; /* opaque */

/* Returns 0 or negative errno. */
int eb_keep_new(sd_event *loop, const char *state_dir, struct eb_keep **out);

/* Takes over `inputs`, which can be an update, and keeps them. If several are given while the disk is busy, the last
 * ones are kept. Logs failures. */
void eb_keep_inputs(struct eb_keep *keep, struct eb_inputs *inputs);

/* Waits until the last given inputs are kept, and frees the object. Accepts NULL. */
void eb_keep_free(struct eb_keep *keep);

#endif
