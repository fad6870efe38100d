/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks whether the running kernel can run the program at all. The agent calls it before it changes anything. */
#ifndef EB_KERNEL_CHECK_H
#define EB_KERNEL_CHECK_H

/* Returns 0, or -EOPNOTSUPP with a malloc'ed line in *error that names this kernel and the oldest supported one. */
int eb_kernel_check(char **error);

#endif
