// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "base/boot_id.h"

void eb_boot_id(char out[EB_BOOT_ID_MAX])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	out[0] = '\0';
	if (!file)
		return;
	if (fgets(out, EB_BOOT_ID_MAX, file))
		out[strcspn(out, "\n")] = '\0';
	fclose(file);
}
