// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "attach.h"
#include "edgebucket.skel.h"
#include "object.h"
#include "text.h"

/* The most maps of a program that we look at; ours has a dozen. */
#define PROGRAM_MAPS_MAX 64

/* What a dispatcher of libxdp has places for (MAX_DISPATCHER_ACTIONS there). */
#define CHAIN_MAX 10

/* The program: loaded once for all interfaces that it has for itself, and once for each where a dispatcher runs it. */
struct program {
	struct edgebucket_bpf *skeleton;
	struct xdp_program *xdp; /* NULL when attached without libxdp */
	int ifindex;             /* 0 for the one that needs no dispatcher */
	uint32_t id;
	struct program *next;
};

struct eb_programs {
	const struct eb_maps *maps;
	struct program *first;
};

static int map_id(int fd, __u32 *out)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(fd, &info, &len);

	if (!err)
		*out = info.id;
	return err;
}

/* The ids of our map `state` and of the one before an upgrade: a program that uses either is ours, whatever its name,
 * and whatever version loaded it. */
struct identity {
	__u32 state, predecessor;
};

static int read_identity(const struct eb_maps *maps, struct identity *out)
{
	struct eb_state *state = malloc(sizeof(*state));
	__u32 zero = 0;
	int err = state ? map_id(maps->fd[EB_MAP_STATE], &out->state) : -ENOMEM;

	if (!err)
		err = bpf_map_lookup_elem(maps->fd[EB_MAP_STATE], &zero, state);
	if (!err)
		out->predecessor = state->predecessor;
	free(state);
	return err;
}

static bool is_ours(int prog_fd, const struct identity *identity)
{
	__u32 ids[PROGRAM_MAPS_MAX];
	struct bpf_prog_info info = { .nr_map_ids = PROGRAM_MAPS_MAX, .map_ids = (uintptr_t)ids };
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &len))
		return false;
	for (__u32 i = 0; i < info.nr_map_ids && i < PROGRAM_MAPS_MAX; i++)
		if (ids[i] == identity->state || ids[i] == identity->predecessor)
			return true;
	return false;
}

static bool is_our_program(uint32_t prog_id, const struct identity *identity)
{
	int fd = bpf_prog_get_fd_by_id(prog_id);
	bool ours = fd >= 0 && is_ours(fd, identity);

	if (fd >= 0)
		close(fd);
	return ours;
}

static const char *mode_name(__u8 mode)
{
	switch (mode) {
	case XDP_ATTACHED_DRV:
		return "native";
	case XDP_ATTACHED_SKB:
		return "generic";
	case XDP_ATTACHED_HW:
		return "offload";
	default:
		return "";
	}
}

/* Looks for programs behind a dispatcher. Sets out->foreign when what is there is no dispatcher. */
static void look_behind_dispatcher(int ifindex, const struct identity *identity, struct eb_attachment *out)
{
	struct xdp_multiprog *chain = xdp_multiprog__get_from_ifindex(ifindex);
	struct xdp_program *program = NULL;

	if (libxdp_get_error(chain)) {
		out->foreign = true;
		return;
	}
	out->foreign = xdp_multiprog__is_legacy(chain);
	out->dispatcher = !out->foreign;
	while (out->dispatcher && (program = xdp_multiprog__next_prog(program, chain))) {
		if (is_ours(xdp_program__fd(program), identity)) {
			out->attached = true;
			out->copies++;
			out->prog_id = xdp_program__id(program);
		} else {
			out->others++;
		}
	}
	xdp_multiprog__close(chain);
}

int eb_attach_status(const char *ifname, const struct eb_maps *maps, struct eb_attachment *out)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	int ifindex = if_nametoindex(ifname), err;
	struct identity identity;

	*out = (struct eb_attachment){ .mode = "" };
	if (!ifindex)
		return -ENODEV;
	err = read_identity(maps, &identity);
	if (!err)
		err = bpf_xdp_query(ifindex, 0, &query);
	if (err)
		return err;
	if (!query.prog_id)
		return 0;
	if (is_our_program(query.prog_id, &identity)) {
		out->attached = true;
		out->copies = 1;
		out->prog_id = query.prog_id;
	} else {
		look_behind_dispatcher(ifindex, &identity, out);
	}
	out->mode = mode_name(query.attach_mode);
	return 0;
}

/* Opens the program, ready to be loaded: on kernels before 5.18 without what they do not know. */
static int open_program(struct eb_programs *programs, bool multi_buffer, struct program **out)
{
	struct program *program = calloc(1, sizeof(*program));
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err;

	if (!program)
		return -ENOMEM;
	err = bpf_obj_get_info_by_fd(programs->maps->fd[EB_MAP_BUCKETS_V4], &info, &len);
	if (!err)
		err = eb_object_open(programs->maps, info.max_entries, &program->skeleton);
	if (err) {
		free(program);
		return err;
	}
	program->skeleton->rodata->multi_buffer = multi_buffer;
	if (!multi_buffer)
		bpf_program__set_flags(program->skeleton->progs.edgebucket, 0);
	*out = program;
	return 0;
}

static uint32_t id_of_fd(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

static void free_program(struct program *program)
{
	if (program->xdp)
		xdp_program__close(program->xdp);
	edgebucket_bpf__destroy(program->skeleton);
	free(program);
}

/* Keeps a program that is attached, in place of the one kept for the same interface before. */
static void keep_program(struct eb_programs *programs, struct program *program, int ifindex)
{
	struct program **link = &programs->first;

	while (*link && (*link)->ifindex != ifindex)
		link = &(*link)->next;
	program->id = id_of_fd(bpf_program__fd(program->skeleton->progs.edgebucket));
	program->ifindex = ifindex;
	program->next = NULL;
	if (*link) {
		program->next = (*link)->next;
		free_program(*link);
	}
	*link = program;
}

static bool is_current(const struct eb_programs *programs, uint32_t id)
{
	for (const struct program *program = programs->first; program; program = program->next)
		if (program->id == id)
			return true;
	return false;
}

/* The program that needs no dispatcher, or NULL while there is none. */
static struct program *find_alone(const struct eb_programs *programs)
{
	for (struct program *program = programs->first; program; program = program->next)
		if (program->ifindex == 0)
			return program;
	return NULL;
}

/* Loads the program that needs no dispatcher, unless it is. Kernels before 5.18 do not know multi-buffer frames. */
static int load_alone(struct eb_programs *programs, struct program **out)
{
	struct program *program = find_alone(programs);
	int err = program ? 0 : -EINVAL;

	for (int multi_buffer = 1; multi_buffer >= 0 && err; multi_buffer--) {
		err = open_program(programs, multi_buffer, &program);
		if (err)
			return err;
		err = edgebucket_bpf__load(program->skeleton);
		if (err)
			free_program(program);
		else
			keep_program(programs, program, 0);
	}
	if (!err)
		*out = program;
	return err;
}

static __u32 mode_flags(const char *mode)
{
	return strcmp(mode, "generic") == 0   ? XDP_FLAGS_SKB_MODE
	       : strcmp(mode, "offload") == 0 ? XDP_FLAGS_HW_MODE
					      : XDP_FLAGS_DRV_MODE;
}

/* Exchanges our older program, which has the interface for itself, for this one: no packet in between passes free. */
static int replace_alone(struct eb_programs *programs, int ifindex, const struct eb_attachment *old)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	struct program *program;
	int err, fd;

	err = load_alone(programs, &program);
	if (err)
		return err;
	fd = bpf_prog_get_fd_by_id(old->prog_id);
	if (fd < 0)
		return fd;
	opts.old_prog_fd = fd;
	err = bpf_xdp_attach(ifindex, bpf_program__fd(program->skeleton->progs.edgebucket),
			     mode_flags(old->mode) | XDP_FLAGS_REPLACE, &opts);
	close(fd);
	return err;
}

/* Attaches behind a dispatcher, or alone where the kernel cannot chain programs; libxdp finds out. */
static int attach_with_libxdp(struct eb_programs *programs, const char *ifname, enum xdp_attach_mode mode,
			      bool multi_buffer)
{
	struct eb_attachment now;
	struct program *program;
	int err = open_program(programs, multi_buffer, &program);

	if (err)
		return err;
	program->xdp = xdp_program__from_bpf_obj(program->skeleton->obj, "xdp.frags");
	err = libxdp_get_error(program->xdp);
	if (err) {
		program->xdp = NULL;
		free_program(program);
		return err;
	}
	(void)xdp_program__set_xdp_frags_support(program->xdp, multi_buffer);
	err = xdp_program__attach(program->xdp, if_nametoindex(ifname), mode, 0);
	if (err) {
		free_program(program);
		return err;
	}
	err = eb_attach_status(ifname, programs->maps, &now);
	keep_program(programs, program, !err && now.dispatcher ? (int)if_nametoindex(ifname) : 0);
	return 0;
}

/* Removes programs of ours from behind a dispatcher, all at once: those that are not `programs`', or all if NULL. */
static int detach_behind_dispatcher(int ifindex, const struct eb_maps *maps, const struct eb_programs *programs)
{
	struct xdp_program *ours[CHAIN_MAX], *program = NULL;
	struct xdp_multiprog *chain;
	struct identity identity;
	size_t count = 0;
	int err = read_identity(maps, &identity);

	if (err)
		return err;
	chain = xdp_multiprog__get_from_ifindex(ifindex);
	err = libxdp_get_error(chain);
	if (err)
		return err;
	while ((program = xdp_multiprog__next_prog(program, chain)) && count < CHAIN_MAX)
		if (is_ours(xdp_program__fd(program), &identity) &&
		    !(programs && is_current(programs, xdp_program__id(program))))
			ours[count++] = program;
	if (count)
		err = xdp_program__detach_multi(ours, count, ifindex, xdp_multiprog__attach_mode(chain), 0);
	xdp_multiprog__close(chain);
	return err;
}

/* Attaches where nothing is, by the program that is already loaded. */
static int attach_alone(const struct program *program, const char *ifname, enum xdp_attach_mode mode)
{
	return bpf_xdp_attach(if_nametoindex(ifname), bpf_program__fd(program->skeleton->progs.edgebucket),
			      XDP_FLAGS_UPDATE_IF_NOEXIST |
				      (mode == XDP_MODE_SKB ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE),
			      NULL);
}

static bool is_taken(int err)
{
	return err == -EBUSY || err == -EEXIST;
}

static int attach_in_mode(struct eb_programs *programs, const char *ifname, const struct eb_attachment *old,
			  enum xdp_attach_mode mode)
{
	const struct program *alone = old->dispatcher ? NULL : find_alone(programs);
	int err;

	if (alone)
		return attach_alone(alone, ifname, mode);
	err = attach_with_libxdp(programs, ifname, mode, true);
	/* A kernel before 5.18 knows no multi-buffer frames. */
	return err && !is_taken(err) ? attach_with_libxdp(programs, ifname, mode, false) : err;
}

static bool is_generic(const struct eb_attachment *attachment)
{
	return strcmp(attachment->mode, "generic") == 0;
}

/* Attaches where we are not, or are only with an older program behind a dispatcher, whose mode is then the mode. */
static int attach_fresh(struct eb_programs *programs, const char *ifname, const struct eb_attachment *old,
			enum eb_attach_mode mode)
{
	bool generic = mode == EB_ATTACH_GENERIC || is_generic(old);
	int err = -EINVAL;

	if (!generic)
		err = attach_in_mode(programs, ifname, old, XDP_MODE_NATIVE);
	if (generic || (mode == EB_ATTACH_AUTO && err && !is_taken(err) && !old->dispatcher))
		err = attach_in_mode(programs, ifname, old, XDP_MODE_SKB);
	return err;
}

/* What is there, if anything, is in the mode that is asked for. */
static bool mode_fits(const struct eb_attachment *old, enum eb_attach_mode mode)
{
	return !old->mode[0] || mode == EB_ATTACH_AUTO || (mode == EB_ATTACH_GENERIC) == is_generic(old);
}

static int explain_attach(int err, const char *ifname, char **error)
{
	switch (err) {
	case -EOPNOTSUPP:
		return eb_fail(err, error, "%s: the driver has no native XDP; use attach: generic (or auto)", ifname);
	case -E2BIG:
		return eb_fail(err, error, "%s: cannot attach: libxdp's dispatcher has no place left behind it", ifname);
	default:
		return eb_fail(err, error, "%s: cannot attach: %s", ifname, strerror(-err));
	}
}

/* Clears the way for another mode. All programs of an interface share one, so others must not be there. */
static int leave_mode(const char *ifname, const struct eb_maps *maps, struct eb_attachment *old, char **error)
{
	int err = 0;

	if (old->others)
		return eb_fail(-EBUSY, error,
			       "%s: %u XDP program%s of other owners %s attached in %s mode, which all of an interface share; "
			       "use attach: %s (or auto)",
			       ifname, old->others, old->others == 1 ? "" : "s", old->others == 1 ? "is" : "are",
			       old->mode, old->mode);
	if (old->attached)
		err = eb_attach_remove(ifname, maps, error);
	*old = (struct eb_attachment){ .mode = "" };
	return err;
}

/* Puts the current program on the interface, in place of an older one or beside it. */
static int attach_current(struct eb_programs *programs, const char *ifname, const struct eb_attachment *old,
			  enum eb_attach_mode mode, char **error)
{
	int err = 0;

	if (!old->attached || !is_current(programs, old->prog_id))
		err = old->attached && !old->dispatcher ? replace_alone(programs, if_nametoindex(ifname), old)
							: attach_fresh(programs, ifname, old, mode);
	return err ? explain_attach(err, ifname, error) : 0;
}

int eb_attach_program(struct eb_programs *programs, const char *ifname, enum eb_attach_mode mode,
		      struct eb_attachment *out, char **error)
{
	struct eb_attachment now;
	int err = eb_attach_status(ifname, programs->maps, &now);

	if (err)
		return eb_fail(err, error, "%s: %s", ifname, strerror(-err));
	if (now.foreign)
		return eb_fail(-EBUSY, error,
			       "%s: another XDP program is attached that has no place for others beside it; it is left "
			       "alone, remove it to let edgebucket in",
			       ifname);
	if (!mode_fits(&now, mode)) {
		err = leave_mode(ifname, programs->maps, &now, error);
		if (err)
			return err;
	}
	err = attach_current(programs, ifname, &now, mode, error);
	if (err)
		return err;
	err = eb_attach_status(ifname, programs->maps, &now);
	/* Behind a dispatcher the new program stands beside the old one: with both, packets are charged twice, without
	 * either, not at all. Also here is what an agent left that was killed in between. */
	if (!err && now.copies > 1) {
		err = detach_behind_dispatcher(if_nametoindex(ifname), programs->maps, programs);
		if (!err)
			err = eb_attach_status(ifname, programs->maps, &now);
	}
	if (err)
		return eb_fail(err, error, "%s: %s", ifname, strerror(-err));
	*out = now;
	return 0;
}

static int detach_alone(int ifindex, const struct eb_attachment *old)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int fd = bpf_prog_get_fd_by_id(old->prog_id), err;

	if (fd < 0)
		return fd;
	opts.old_prog_fd = fd;
	err = bpf_xdp_detach(ifindex, mode_flags(old->mode) | XDP_FLAGS_REPLACE, &opts);
	close(fd);
	return err;
}

int eb_attach_remove(const char *ifname, const struct eb_maps *maps, char **error)
{
	struct eb_attachment old;
	int ifindex = if_nametoindex(ifname);
	int err = eb_attach_status(ifname, maps, &old);

	if (!err && old.attached)
		err = old.dispatcher ? detach_behind_dispatcher(ifindex, maps, NULL) : detach_alone(ifindex, &old);
	return err ? eb_fail(err, error, "%s: cannot detach: %s", ifname, strerror(-err)) : 0;
}

struct eb_programs *eb_programs_new(const struct eb_maps *maps)
{
	struct eb_programs *programs = calloc(1, sizeof(*programs));

	if (programs)
		programs->maps = maps;
	return programs;
}

void eb_programs_free(struct eb_programs *programs)
{
	if (!programs)
		return;
	while (programs->first) {
		struct program *next = programs->first->next;

		free_program(programs->first);
		programs->first = next;
	}
	free(programs);
}
