// SPDX-License-Identifier: GPL-2.0-only
#include <cap-ng.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/error.h"
#include "base/log.h"
#include "base/privileges.h"

/*
 * NET_ADMIN attaches, BPF makes maps and loads programs, PERFMON lets the verifier accept arithmetic on pointers.
 * SYS_ADMIN mounts bpffs and finds programs and types by their number: at start those of the agent before, and libxdp's
 * all the time.
 */
static const unsigned int needed[] = { CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN };

#define NEEDED (sizeof(needed) / sizeof(needed[0]))

static bool have(unsigned int capability)
{
	return capng_have_capability(CAPNG_PERMITTED, capability);
}

/* Leaves this thread with what it has of the first `count` that are needed. */
static int reduce_to(size_t count)
{
	capng_select_t sets = CAPNG_SELECT_CAPS;
	bool has[NEEDED];

	if (capng_get_caps_process())
		return -EPERM;
	for (size_t i = 0; i < count; i++)
		has[i] = have(needed[i]);
	/* Without CAP_SETPCAP the bounding set stays: no_new_privs keeps execve() from regaining them anyway. */
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		sets = CAPNG_SELECT_BOTH;
	capng_clear(sets);
	for (size_t i = 0; i < count; i++)
		if (has[i])
			(void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, needed[i]);
	return capng_apply(sets) ? -EPERM : 0;
}

int eb_privileges_limit(char **error)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return eb_fail(-errno, error, "cannot set no_new_privs: %s", strerror(errno));
	if (reduce_to(NEEDED))
		return eb_fail(-EPERM, error, "cannot give up capabilities");
	if (have(CAP_NET_ADMIN) && have(CAP_SYS_ADMIN))
		return 0;
	return eb_fail(-EPERM, error,
		       "not permitted: run it as root, or with CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON and, for its start, "
		       "CAP_SYS_ADMIN");
}

static void log_left(void)
{
	char *left = capng_print_caps_text(CAPNG_PRINT_BUFFER, CAPNG_EFFECTIVE);

	eb_info("dropped privileges", eb_str("capabilities_left", left));
	free(left);
}

void eb_privileges_settle(bool keep_admin)
{
	static bool is_settled, is_reported;

	keep_admin |= !have(CAP_BPF) || !have(CAP_PERFMON);
	if (!is_settled && !keep_admin) {
		is_settled = true;
		is_reported = false;
		if (reduce_to(NEEDED - 1))
			eb_warning("cannot drop a capability that is not needed", eb_str("capability", "sys_admin"));
	}
	if (!is_reported)
		log_left();
	is_reported = true;
}

void eb_privileges_drop_thread(void)
{
	if (capng_get_caps_process())
		return;
	for (size_t i = 0; i < NEEDED; i++)
		(void)capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE, needed[i]);
	(void)capng_apply(CAPNG_SELECT_CAPS);
}
