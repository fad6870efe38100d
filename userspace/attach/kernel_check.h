/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the running kernel can run the program at all. Asked before anything is touched. */
#ifndef EB_KERNEL_CHECK_H
#define EB_KERNEL_CHECK_H

/* Returns 0, or -EOPNOTSUPP with a malloc'ed line in *error that names this kernel and the oldest that will do. */
int eb_kernel_check(char **error);

#endif
