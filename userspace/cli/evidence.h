/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Refused frames in a capture file, for `edgebucket watch -w`. The program sends an event and, right behind it, the
 * frame; records of other CPUs can lie in between. The file is pcapng, each packet with a comment.
 */
#ifndef EB_EVIDENCE_H
#define EB_EVIDENCE_H

#include <stdint.h>

#include "cli/cli.h"
#include "edgebucket.h"

struct evidence; /* opaque */

/* Opens `path` for writing, empties it, and begins the file; "-" is standard output. A new file is the owner's alone.
 * Each packet has at most `snaplen` bytes. CLI_DONE: *out is for evidence_close(). */
enum cli_result evidence_open(const char *path, uint32_t snaplen, struct evidence **out);

/* The frame of this event is wanted, with this comment. */
void evidence_expect(struct evidence *evidence, const struct eb_event *event, const char *comment);

/* Writes a frame if it was expected. `to_real_time` added to its time gives nanoseconds since the epoch. Returns 1 if
 * it was, 0 if not, or negative errno. */
int evidence_add(struct evidence *evidence, const struct eb_frame_sample *sample, int64_t to_real_time);

/* Closes the file and frees the object. Returns 0 or negative errno. */
int evidence_close(struct evidence *evidence);

#endif
