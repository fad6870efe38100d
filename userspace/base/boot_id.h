/* SPDX-License-Identifier: GPL-2.0-only */
/* The random id of this boot, which the kernel generates (random(4)). */
#ifndef EB_BOOT_ID_H
#define EB_BOOT_ID_H

#define EB_BOOT_ID_MAX 40

/* Writes the id as text, NUL-terminated; "" if /proc does not provide it. */
void eb_boot_id(char out[EB_BOOT_ID_MAX]);

#endif
