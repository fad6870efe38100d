/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps what is in force for a start whose configuration is refused (kept.h), in a thread of its own: a disk can take
 * seconds, and ticks do not wait for it.
 */
#ifndef EB_KEEP_H
#define EB_KEEP_H

#include <systemd/sd-event.h>

#include "config/inputs.h"

struct eb_keep; /* opaque */

/* Returns 0 or negative errno. */
int eb_keep_new(sd_event *loop, const char *state_dir, struct eb_keep **out);

/* Takes over `inputs`, which can be an update. Of those that come while the disk is busy, the last are kept. What fails
 * is logged. */
void eb_keep_inputs(struct eb_keep *keep, struct eb_inputs *inputs);

/* Waits until what was given is kept. Accepts NULL. */
void eb_keep_free(struct eb_keep *keep);

#endif
