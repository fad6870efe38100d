/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which interfaces of this machine the entries of a configuration stand for at the moment.
 *
 * A name stands for the interface that has it, also as another name (altname). A pattern (fnmatch(3)) stands for those
 * that have a name that it matches, `default` for those that carry a default route. Patterns and `default` never stand
 * for loopback interfaces, nor for those whose frames the program cannot read, nor for those that lie on another one
 * that gets the program: their packets are limited there.
 */
#ifndef EB_TARGETS_H
#define EB_TARGETS_H

#include <net/if.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "netlink/default_routes.h"
#include "netlink/link.h"

enum eb_target_state {
	EB_TARGET_THERE,   /* is to get the program */
	EB_TARGET_MISSING, /* a name that no interface has */
	EB_TARGET_DOUBLE,  /* a name of an interface that `other` names, too */
	/* Left out, although a pattern or `default` stands for it. */
	EB_TARGET_UNREADABLE, /* the program cannot read its frames */
	EB_TARGET_ABOVE,      /* lies on `other` */
	EB_TARGET_EXCESS,     /* there are EB_INTERFACES_MAX others */
};

struct eb_target {
	char name[IF_NAMESIZE]; /* as configured, where a name stands for it, else the one that the kernel prints */
	char other[IF_NAMESIZE];
	int ifindex;            /* 0: EB_TARGET_MISSING or EB_TARGET_DOUBLE */
	uint64_t entries;       /* bit n: eb_config.entries[n] stands for it */
	enum eb_target_state state;
	struct eb_link link;
};

/* One for each name of `interfaces`, in their order, then those of patterns and `default` by index. */
struct eb_targets {
	struct eb_target *items;
	size_t count;
};

/* `routes` are those that `default` goes by. Returns 0 and targets for eb_targets_done(), or negative errno; *out is
 * unchanged then. */
int eb_targets_find(const struct eb_config *config, const struct eb_default_routes *routes, struct eb_targets *out);

void eb_targets_done(struct eb_targets *targets);

/* Whether an entry of `interfaces` is no name. */
bool eb_targets_have_patterns(const struct eb_config *config);

/* The number of interfaces that are to get the program and for which entry n stands. */
size_t eb_targets_count(const struct eb_targets *targets, size_t entry);

#define EB_TARGET_REASON_MAX 160

/* Why a target is left out, without its name; NULL if it is not. `buffer` has EB_TARGET_REASON_MAX bytes. */
const char *eb_target_reason(const struct eb_target *target, char *buffer);

#endif
