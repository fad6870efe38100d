// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "attach/dispatcher.h"
#include "edgebucket.skel.h"

/* ---- reading ---- */

/* The layout is libxdp's, see "Attaching programs" in its description of the protocol. */
int eb_dispatcher_open(int ifindex, uint32_t dispatcher_id, int out[EB_DISPATCHER_MAX])
{
	const char *bpffs = secure_getenv("LIBXDP_BPFFS");
	char path[4096];
	int count = 0;

	while (count < EB_DISPATCHER_MAX) {
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

/* What a child does. */
struct task {
	void (*work)(const struct task *task, struct eb_dispatcher_result *result);
	int ifindex;
	const struct eb_dispatcher_order *order; /* to attach */
	const uint32_t *ids;                /* to detach */
	size_t count;
};

struct eb_dispatcher_job {
	pid_t child;
	int result; /* a pipe; at its end, with or without a result, the child is done */
};

/* Other threads than this are not in the child; it ends without touching what is theirs. glibc lets it use memory and
 * stdio. Dies with the agent, whose lock it holds. */
static _Noreturn void be_child(const struct task *task, pid_t parent, int pipe)
{
	struct eb_dispatcher_result result = {};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	task->work(task, &result);
	_exit(write(pipe, &result, sizeof(result)) != sizeof(result));
}

static int start(const struct task *task, struct eb_dispatcher_job **out)
{
	struct eb_dispatcher_job *job = calloc(1, sizeof(*job));
	pid_t parent = getpid();
	int ends[2];

	if (!job)
		return -ENOMEM;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		free(job);
		return -errno;
	}
	job->child = fork();
	if (job->child == 0)
		be_child(task, parent, ends[1]);
	close(ends[1]);
	job->result = ends[0];
	if (job->child < 0) {
		int err = -errno;

		close(job->result);
		free(job);
		return err;
	}
	*out = job;
	return 0;
}

int eb_dispatcher_fd(const struct eb_dispatcher_job *job)
{
	return job->result;
}

int eb_dispatcher_wait(struct eb_dispatcher_job *job, int timeout_ms, struct eb_dispatcher_result *out)
{
	struct pollfd pollfd = { .fd = job->result, .events = POLLIN };
	ssize_t len;
	int ready;

	do {
		ready = poll(&pollfd, 1, timeout_ms);
	} while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return ready ? -errno : -EINPROGRESS;
	do {
		len = read(job->result, out, sizeof(*out));
	} while (len < 0 && errno == EINTR);
	return len == sizeof(*out) ? 0 : -EIO;
}

void eb_dispatcher_end(struct eb_dispatcher_job *job)
{
	if (!job)
		return;
	(void)kill(job->child, SIGKILL); /* it has nothing to do any more, or is not to do it */
	while (waitpid(job->child, NULL, 0) < 0 && errno == EINTR)
		;
	close(job->result);
	free(job);
}

static int attach_once(const struct eb_dispatcher_order *order, bool generic, bool multi_buffer, uint32_t *id)
{
	struct edgebucket_bpf *skeleton;
	struct xdp_program *program;
	int err = order->open(order->arg, multi_buffer, &skeleton);

	if (err)
		return err;
	program = xdp_program__from_bpf_obj(skeleton->obj, "xdp.frags");
	err = libxdp_get_error(program);
	if (err)
		return err;
	(void)xdp_program__set_xdp_frags_support(program, multi_buffer);
	err = xdp_program__attach(program, order->ifindex, generic ? XDP_MODE_SKB : XDP_MODE_NATIVE, 0);
	*id = xdp_program__id(program);
	return err;
}

static bool is_taken(int err)
{
	return err == -EBUSY || err == -EEXIST;
}

/* A kernel before 5.18 knows no multi-buffer frames. */
static int attach_in_mode(const struct eb_dispatcher_order *order, bool generic, uint32_t *id)
{
	int err = attach_once(order, generic, true, id);

	return err && !is_taken(err) ? attach_once(order, generic, false, id) : err;
}

static void attach(const struct task *task, struct eb_dispatcher_result *result)
{
	const struct eb_dispatcher_order *order = task->order;

	if (order->native)
		result->err = attach_in_mode(order, false, &result->id);
	if (!order->generic || (order->native && (!result->err || is_taken(result->err))))
		return;
	result->native_err = result->err;
	result->err = attach_in_mode(order, true, &result->id);
}

int eb_dispatcher_attach(const struct eb_dispatcher_order *order, struct eb_dispatcher_job **out)
{
	const struct task task = { .work = attach, .ifindex = order->ifindex, .order = order };

	return start(&task, out);
}

static bool is_among(uint32_t id, const uint32_t *ids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

static void detach(const struct task *task, struct eb_dispatcher_result *result)
{
	struct xdp_multiprog *chain = xdp_multiprog__get_from_ifindex(task->ifindex);
	struct xdp_program *programs[EB_DISPATCHER_MAX], *program = NULL;
	size_t count = 0;

	result->err = libxdp_get_error(chain);
	if (result->err)
		return;
	while (count < EB_DISPATCHER_MAX && (program = xdp_multiprog__next_prog(program, chain)))
		if (is_among(xdp_program__id(program), task->ids, task->count))
			programs[count++] = program;
	if (count)
		result->err = xdp_program__detach_multi(programs, count, task->ifindex,
							xdp_multiprog__attach_mode(chain), 0);
}

int eb_dispatcher_detach(int ifindex, const uint32_t *ids, size_t count, struct eb_dispatcher_job **out)
{
	const struct task task = { .work = detach, .ifindex = ifindex, .ids = ids, .count = count };

	return start(&task, out);
}
