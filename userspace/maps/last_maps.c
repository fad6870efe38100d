// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/boot_id.h"
#include "base/input.h"
#include "maps/last_maps.h"

/* Boot, pin_dir, id: an id is worth nothing after a reboot. */
#define FORMAT "%s %s %" PRIu32 "\n"
#define TEXT_MAX (EB_BOOT_ID_MAX + PATH_MAX + 16)

static void note_path(const char *run_dir, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/last-maps", run_dir);
}

static void make_text(const char *pin_dir, uint32_t state_id, char text[TEXT_MAX])
{
	char boot_id[EB_BOOT_ID_MAX];

	eb_boot_id(boot_id);
	snprintf(text, TEXT_MAX, FORMAT, boot_id, pin_dir, state_id);
}

int eb_last_maps_write(const char *run_dir, const char *pin_dir, uint32_t state_id)
{
	char path[PATH_MAX], text[TEXT_MAX];
	int fd, err;

	note_path(run_dir, path);
	make_text(pin_dir, state_id, text);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	err = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -EIO;
	close(fd);
	return err;
}

uint32_t eb_last_maps_read(const char *run_dir, const char *pin_dir)
{
	char path[PATH_MAX], expected[TEXT_MAX], *text, *number;
	uint32_t id;
	size_t size;

	note_path(run_dir, path);
	if (eb_input_read(path, TEXT_MAX, NULL, &text, &size))
		return 0;
	number = strrchr(text, ' ');
	id = number ? strtoul(number, NULL, 10) : 0;
	make_text(pin_dir, id, expected);
	/* Half a line, or one of another boot or pin_dir. */
	if (strcmp(text, expected) != 0)
		id = 0;
	free(text);
	return id;
}
