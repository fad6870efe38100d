/* SPDX-License-Identifier: GPL-2.0-only */
/* Asks the kernel for all objects of a kind (rtnetlink(7), NLM_F_DUMP). */
#ifndef EB_DUMP_H
#define EB_DUMP_H

#include <libmnl/libmnl.h>

/*
 * Sends `request`, a whole message but for its flags, and calls `each` for every message of the answer, until there is
 * no more or it returns MNL_CB_STOP, or MNL_CB_ERROR with errno set. Where objects changed meanwhile, it asks again:
 * `begin`, which is called before each attempt, forgets what `each` has collected. Returns 0, negative errno, or -EINTR
 * if objects changed in every attempt.
 */
int eb_netlink_dump(struct nlmsghdr *request, void (*begin)(void *arg), mnl_cb_t each, void *arg);

#endif
