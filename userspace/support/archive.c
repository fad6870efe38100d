// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "support/archive.h"

#define BLOCK 512

/* As POSIX has it (pax, "ustar Interchange Format"): numbers are octal texts. */
struct header {
	char name[100];
	char mode[8], uid[8], gid[8];
	char size[12], mtime[12];
	char checksum[8];
	char type;
	char link_name[100];
	char magic[6], version[2];
	char user[32], group[32];
	char dev_major[8], dev_minor[8];
	char prefix[155];
	char pad[12];
};

_Static_assert(sizeof(struct header) == BLOCK, "a header is a block");

struct archive {
	gzFile out;
	char folder[sizeof(((struct header *)0)->prefix)];
	time_t now;
	int error;
};

struct archive *archive_open(int fd, const char *folder, time_t now)
{
	struct archive *archive = calloc(1, sizeof(*archive));
	int own = dup(fd);

	if (archive && own >= 0) {
		archive->out = gzdopen(own, "wb");
		archive->now = now;
		snprintf(archive->folder, sizeof(archive->folder), "%s", folder);
	}
	if (archive && archive->out)
		return archive;
	if (own >= 0)
		close(own);
	free(archive);
	return NULL;
}

static void put(struct archive *archive, const void *data, size_t size)
{
	errno = 0;
	if (size && !archive->error && gzwrite(archive->out, data, size) != (int)size)
		archive->error = errno ? -errno : -EIO;
}

/* The sum of the header's bytes, with spaces in place of the sum. */
static unsigned int sum(const struct header *header)
{
	unsigned int total = 0;

	for (size_t i = 0; i < sizeof(*header); i++)
		total += ((const unsigned char *)header)[i];
	return total;
}

void archive_add(struct archive *archive, const char *name, const void *data, size_t size)
{
	static const char zeroes[BLOCK];
	struct header header = { .mode = "0000600", .uid = "0000000", .gid = "0000000", .type = '0',
				 .magic = "ustar", .version = { '0', '0' }, .user = "root", .group = "root" };

	snprintf(header.name, sizeof(header.name), "%s", name);
	snprintf(header.prefix, sizeof(header.prefix), "%s", archive->folder);
	snprintf(header.size, sizeof(header.size), "%011zo", size);
	snprintf(header.mtime, sizeof(header.mtime), "%011llo", (unsigned long long)archive->now);
	memset(header.checksum, ' ', sizeof(header.checksum));
	snprintf(header.checksum, sizeof(header.checksum), "%06o", sum(&header));
	put(archive, &header, sizeof(header));
	put(archive, data, size);
	put(archive, zeroes, (BLOCK - size % BLOCK) % BLOCK);
}

int archive_close(struct archive *archive)
{
	static const char end[2 * BLOCK];
	int err;

	put(archive, end, sizeof(end));
	err = archive->error;
	errno = 0;
	if (gzclose(archive->out) != Z_OK && !err)
		err = errno ? -errno : -EIO;
	free(archive);
	return err;
}
