// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "chain.h"
#include "edgebucket.skel.h"

/* ---- reading ---- */

/* The layout is libxdp's, see "Attaching programs" in its description of the protocol. */
int eb_chain_open(int ifindex, uint32_t dispatcher_id, int out[EB_CHAIN_MAX])
{
	const char *bpffs = secure_getenv("LIBXDP_BPFFS");
	char path[4096];
	int count = 0;

	while (count < EB_CHAIN_MAX) {
		int len = snprintf(path, sizeof(path), "%s/xdp/dispatch-%d-%u/prog%d-prog",
				   bpffs ? bpffs : "/sys/fs/bpf", ifindex, dispatcher_id, count);
		int fd = len < (int)sizeof(path) ? bpf_obj_get(path) : -ENAMETOOLONG;

		if (fd < 0)
			break;
		out[count++] = fd;
	}
	return count ? count : -ENOENT;
}

/* ---- changing ---- */

/* What a child does, and what came of it. */
struct task {
	void (*work)(struct task *task);
	int ifindex;
	struct edgebucket_bpf *skeleton; /* to attach */
	enum xdp_attach_mode mode;
	bool multi_buffer;
	const uint32_t *ids; /* to detach */
	size_t count;
	struct outcome {
		int err;
		uint32_t id;
	} outcome;
};

/* Other threads than this are not in the child; it ends without touching what is theirs. glibc lets it use memory and
 * stdio. Dies with the agent, whose lock it holds. */
static _Noreturn void be_child(struct task *task, pid_t parent, int result)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	task->work(task);
	_exit(write(result, &task->outcome, sizeof(task->outcome)) != sizeof(task->outcome));
}

static int wait_for_outcome(pid_t child, int result, struct outcome *out)
{
	ssize_t len;

	do {
		len = read(result, out, sizeof(*out));
	} while (len < 0 && errno == EINTR);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return len == sizeof(*out) ? 0 : -EIO;
}

static int run_in_child(struct task *task)
{
	pid_t parent = getpid(), child;
	int ends[2], err;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child == 0)
		be_child(task, parent, ends[1]);
	err = child < 0 ? -errno : 0;
	close(ends[1]);
	if (!err)
		err = wait_for_outcome(child, ends[0], &task->outcome);
	close(ends[0]);
	return err ? err : task->outcome.err;
}

static void attach(struct task *task)
{
	struct xdp_program *program = xdp_program__from_bpf_obj(task->skeleton->obj, "xdp.frags");

	task->outcome.err = libxdp_get_error(program);
	if (task->outcome.err)
		return;
	(void)xdp_program__set_xdp_frags_support(program, task->multi_buffer);
	task->outcome.err = xdp_program__attach(program, task->ifindex, task->mode, 0);
	task->outcome.id = xdp_program__id(program);
}

int eb_chain_attach(struct edgebucket_bpf *skeleton, int ifindex, bool generic, bool multi_buffer, uint32_t *id)
{
	struct task task = {
		.work = attach,
		.ifindex = ifindex,
		.skeleton = skeleton,
		.mode = generic ? XDP_MODE_SKB : XDP_MODE_NATIVE,
		.multi_buffer = multi_buffer,
	};
	int err = run_in_child(&task);

	if (!err)
		*id = task.outcome.id;
	return err;
}

static bool is_among(uint32_t id, const uint32_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

static void detach(struct task *task)
{
	struct xdp_multiprog *chain = xdp_multiprog__get_from_ifindex(task->ifindex);
	struct xdp_program *programs[EB_CHAIN_MAX], *program = NULL;
	size_t count = 0;

	task->outcome.err = libxdp_get_error(chain);
	if (task->outcome.err)
		return;
	while (count < EB_CHAIN_MAX && (program = xdp_multiprog__next_prog(program, chain)))
		if (is_among(xdp_program__id(program), task->ids, task->count))
			programs[count++] = program;
	if (count)
		task->outcome.err = xdp_program__detach_multi(programs, count, task->ifindex,
							      xdp_multiprog__attach_mode(chain), 0);
}

int eb_chain_detach(int ifindex, const uint32_t *ids, size_t count)
{
	struct task task = { .work = detach, .ifindex = ifindex, .ids = ids, .count = count };

	return run_in_child(&task);
}
