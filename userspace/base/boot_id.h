/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's random identity of this boot (random(4)). */
#ifndef EB_BOOT_ID_H
#define EB_BOOT_ID_H

#define EB_BOOT_ID_MAX 40

/* NUL-terminated; "" when the kernel does not tell. */
void eb_boot_id(char out[EB_BOOT_ID_MAX]);

#endif
