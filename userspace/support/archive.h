/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes a .tar.gz of small files that are in memory.
 *
 * A header of the tar format is 512 bytes, and zlib is there anyway. libarchive would bring libxml2 and ICU along, 39
 * MB more in a container, for one command.
 */
#ifndef EB_ARCHIVE_H
#define EB_ARCHIVE_H

#include <stddef.h>
#include <time.h>

struct archive; /* opaque */

/* Begins an archive that is written to `fd`, which the caller keeps. Files are named below `folder` and get the time
 * `now`. Returns NULL if out of memory. */
struct archive *archive_open(int fd, const char *folder, time_t now);

/* Adds a file of `size` bytes. archive_close() reports errors. */
void archive_add(struct archive *archive, const char *name, const void *data, size_t size);

/* Completes and frees the archive. Returns 0, or the negative errno of the first error since it was opened. */
int archive_close(struct archive *archive);

#endif
