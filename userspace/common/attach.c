// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach.h"
#include "chain.h"
#include "edgebucket.skel.h"
#include "layers.h"
#include "log.h"
#include "object.h"
#include "text.h"
#include "xdp_link.h"

/* The most maps of a program that we look at; ours has a dozen. */
#define PROGRAM_MAPS_MAX 64

/* How long who has nothing else to do waits for libxdp. */
#define PATIENCE_MS 10000

/* Our program behind the dispatcher of an interface. */
struct place {
	int ifindex;
	uint32_t prog_id;
	struct place *next;
};

struct eb_programs {
	const struct eb_maps *maps;
	const char *pin_dir;
	int alone; /* the program that needs no dispatcher, one for all interfaces; -1 until it is loaded */
	uint32_t alone_id;
	bool no_dispatcher; /* this kernel cannot chain programs */
	struct place *places;
	struct eb_chain_job *job; /* libxdp at work; NULL for none */
	int job_ifindex;
	bool job_attaches;
	int patience_ms;
};

/* The ids of our map `state` and of the one that it replaced: a program that uses either is ours, whatever its name,
 * and whatever version loaded it. */
struct identity {
	__u32 state, predecessor;
};

static int read_identity(const struct eb_maps *maps, struct identity *out)
{
	struct eb_state *state = malloc(sizeof(*state));
	__u32 zero = 0;
	int err = state ? eb_maps_state_id(maps, &out->state) : -ENOMEM;

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

static uint32_t id_of_fd(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

/* A descriptor to be closed, or negative errno. Only a program that this process did not load takes CAP_SYS_ADMIN. */
static int open_by_id(const struct eb_programs *programs, uint32_t id)
{
	int fd;

	if (programs->alone < 0 || programs->alone_id != id)
		return bpf_prog_get_fd_by_id(id);
	fd = fcntl(programs->alone, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* Sets *unseen when that cannot be told. */
static bool is_our_program(const struct eb_programs *programs, uint32_t prog_id, const struct identity *identity,
			   bool *unseen)
{
	int fd = open_by_id(programs, prog_id);
	bool ours = fd >= 0 && is_ours(fd, identity);

	*unseen = fd == -EPERM;
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

/* Whether our program is there by a link of ours. */
static bool is_linked(const struct eb_programs *programs, int ifindex)
{
	int fd = eb_xdp_link_open(programs->pin_dir, ifindex);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Notes what is behind a dispatcher, or that there is none. */
static int look_behind(int ifindex, uint32_t dispatcher_id, const struct identity *identity, struct eb_attachment *out)
{
	int fds[EB_CHAIN_MAX];
	int count = eb_chain_open(ifindex, dispatcher_id, fds);

	for (int i = 0; i < count; i++) {
		uint32_t id = id_of_fd(fds[i]);

		if (is_ours(fds[i], identity))
			out->prog_ids[out->copies++] = id;
		else
			out->others++;
		close(fds[i]);
	}
	out->attached = out->copies > 0;
	out->prog_id = out->attached ? out->prog_ids[out->copies - 1] : 0;
	out->dispatcher = count > 0;
	return count < 0 ? count : 0;
}

/* Looks at one moment of an interface. -EAGAIN when what was there has been replaced meanwhile. */
static int look_once(int ifindex, const struct eb_programs *programs, const struct identity *identity,
		     struct eb_attachment *out)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	LIBBPF_OPTS(bpf_xdp_query_opts, again);
	int err = bpf_xdp_query(ifindex, 0, &query);

	*out = (struct eb_attachment){ .mode = mode_name(query.attach_mode) };
	if (err || !query.prog_id)
		return err;
	if (is_our_program(programs, query.prog_id, identity, &out->unseen)) {
		out->attached = true;
		out->copies = 1;
		out->prog_id = out->prog_ids[0] = query.prog_id;
		out->linked = is_linked(programs, ifindex);
		return 0;
	}
	if (look_behind(ifindex, query.prog_id, identity, out) == 0)
		return 0;
	err = bpf_xdp_query(ifindex, 0, &again);
	if (!err && again.prog_id != query.prog_id)
		return -EAGAIN;
	out->foreign = true;
	return err;
}

static int read_status(int ifindex, const struct eb_programs *programs, struct eb_attachment *out)
{
	struct identity identity;
	int err;

	*out = (struct eb_attachment){ .mode = "" };
	if (!ifindex)
		return -ENODEV;
	err = read_identity(programs->maps, &identity);
	if (err)
		return err;
	for (int attempt = 0; attempt < 10; attempt++) {
		err = look_once(ifindex, programs, &identity, out);
		if (err != -EAGAIN)
			break;
	}
	return err;
}

int eb_attach_status(const char *ifname, const struct eb_programs *programs, struct eb_attachment *out)
{
	return read_status(if_nametoindex(ifname), programs, out);
}

/* Opens the program, ready to be loaded: on kernels before 5.18 without what they do not know. */
static int open_program(const struct eb_programs *programs, bool multi_buffer, struct edgebucket_bpf **out)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(programs->maps->fd[EB_MAP_BUCKETS_V4], &info, &len);

	if (!err)
		err = eb_object_open(programs->maps, info.max_entries, out);
	if (err)
		return err;
	(*out)->rodata->multi_buffer = multi_buffer;
	if (!multi_buffer)
		bpf_program__set_flags((*out)->progs.edgebucket, 0);
	return 0;
}

/* Remembers the program that is behind the dispatcher of an interface now. */
static int note_place(struct eb_programs *programs, int ifindex, uint32_t prog_id)
{
	struct place *place = programs->places;

	while (place && place->ifindex != ifindex)
		place = place->next;
	if (!place) {
		place = malloc(sizeof(*place));
		if (!place)
			return -ENOMEM;
		place->ifindex = ifindex;
		place->next = programs->places;
		programs->places = place;
	}
	place->prog_id = prog_id;
	return 0;
}

static bool is_current(const struct eb_programs *programs, uint32_t id)
{
	for (const struct place *place = programs->places; place; place = place->next)
		if (place->prog_id == id)
			return true;
	return programs->alone >= 0 && programs->alone_id == id;
}

static void keep_alone(struct eb_programs *programs, int fd)
{
	programs->alone = fd;
	programs->alone_id = id_of_fd(fd);
}

/* Loads the program that needs no dispatcher, unless it is. Kernels before 5.18 do not know multi-buffer frames. */
static int load_alone(struct eb_programs *programs)
{
	struct edgebucket_bpf *skeleton;
	int err = programs->alone >= 0 ? 0 : -EINVAL;

	for (int multi_buffer = 1; multi_buffer >= 0 && err; multi_buffer--) {
		err = open_program(programs, multi_buffer, &skeleton);
		if (err)
			return err;
		err = edgebucket_bpf__load(skeleton);
		if (!err) {
			int fd = fcntl(bpf_program__fd(skeleton->progs.edgebucket), F_DUPFD_CLOEXEC, 0);

			if (fd >= 0)
				keep_alone(programs, fd);
			else
				err = -errno;
		}
		edgebucket_bpf__destroy(skeleton);
	}
	return err;
}

static __u32 mode_flags(const char *mode)
{
	return strcmp(mode, "generic") == 0   ? XDP_FLAGS_SKB_MODE
	       : strcmp(mode, "offload") == 0 ? XDP_FLAGS_HW_MODE
					      : XDP_FLAGS_DRV_MODE;
}

static int update_link(const struct eb_programs *programs, int ifindex)
{
	int fd = eb_xdp_link_open(programs->pin_dir, ifindex), err;

	if (fd < 0)
		return fd;
	err = bpf_link_update(fd, programs->alone, NULL);
	close(fd);
	return err;
}

/* Exchanges our older program, which has the interface for itself, for this one: no packet in between passes free. */
static int replace_alone(struct eb_programs *programs, int ifindex, const struct eb_attachment *old)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int err = load_alone(programs), fd;

	if (err)
		return err;
	if (old->linked)
		return update_link(programs, ifindex);
	fd = open_by_id(programs, old->prog_id);
	if (fd < 0)
		return fd;
	opts.old_prog_fd = fd;
	err = bpf_xdp_attach(ifindex, programs->alone, mode_flags(old->mode) | XDP_FLAGS_REPLACE, &opts);
	close(fd);
	programs->no_dispatcher |= !err;
	return err;
}

static bool is_generic(const struct eb_attachment *attachment)
{
	return strcmp(attachment->mode, "generic") == 0;
}

static void log_fallback(int ifindex, int err)
{
	char name[IF_NAMESIZE];

	if (if_indextoname(ifindex, name))
		eb_info("no native mode, trying the generic one, which is slower", eb_str("interface", name),
			eb_err(err));
}

/* ---- libxdp, in a child ---- */

/* libxdp attached a program: behind a dispatcher, or alone where the kernel cannot chain programs. */
static int note_program(struct eb_programs *programs, int ifindex, const struct eb_chain_result *result)
{
	struct eb_attachment now;
	int err = read_status(ifindex, programs, &now);

	if (err)
		return err;
	if (result->native_err)
		log_fallback(ifindex, result->native_err);
	if (now.dispatcher)
		return note_place(programs, ifindex, result->id);
	programs->no_dispatcher = true;
	if (programs->alone >= 0) /* one program is enough */
		return replace_alone(programs, ifindex, &now);
	if (now.prog_id == result->id)
		keep_alone(programs, bpf_prog_get_fd_by_id(result->id));
	return 0;
}

static void end_job(struct eb_programs *programs)
{
	eb_chain_end(programs->job);
	programs->job = NULL;
}

/* -EINPROGRESS when it takes longer. */
static int wait_for_job(struct eb_programs *programs, int timeout_ms)
{
	struct eb_chain_result result;
	int err = eb_chain_wait(programs->job, timeout_ms, &result);

	if (err == -EINPROGRESS)
		return err;
	end_job(programs);
	if (!err)
		err = result.err;
	return !err && programs->job_attaches ? note_program(programs, programs->job_ifindex, &result) : err;
}

static int open_in_child(void *arg, bool multi_buffer, struct edgebucket_bpf **out)
{
	return open_program(arg, multi_buffer, out);
}

static int attach_with_libxdp(struct eb_programs *programs, int ifindex, bool native, bool generic)
{
	const struct eb_chain_order order = {
		.ifindex = ifindex,
		.native = native,
		.generic = generic,
		.open = open_in_child,
		.arg = programs,
	};
	int err = programs->job ? -EINPROGRESS : eb_chain_attach(&order, &programs->job);

	if (err)
		return err;
	programs->job_ifindex = ifindex;
	programs->job_attaches = true;
	return wait_for_job(programs, programs->patience_ms);
}

/* Removes programs of ours from behind a dispatcher, all at once: the older ones alone, or all. */
static int detach_behind(struct eb_programs *programs, int ifindex, const struct eb_attachment *now, bool all)
{
	uint32_t ids[EB_CHAIN_MAX];
	size_t count = 0;
	int err;

	for (unsigned int i = 0; i < now->copies; i++)
		if (all || !is_current(programs, now->prog_ids[i]))
			ids[count++] = now->prog_ids[i];
	if (!count)
		return 0;
	err = programs->job ? -EINPROGRESS : eb_chain_detach(ifindex, ids, count, &programs->job);
	if (err)
		return err;
	programs->job_ifindex = ifindex;
	programs->job_attaches = false;
	return wait_for_job(programs, programs->patience_ms);
}

int eb_programs_job(const struct eb_programs *programs)
{
	return programs->job ? eb_chain_fd(programs->job) : -1;
}

int eb_programs_finish(struct eb_programs *programs, int *ifindex)
{
	*ifindex = programs->job_attaches ? programs->job_ifindex : 0;
	return wait_for_job(programs, 0);
}

void eb_programs_cancel(struct eb_programs *programs)
{
	if (programs->job_attaches)
		end_job(programs);
}

void eb_programs_set_patience(struct eb_programs *programs, int patience_ms)
{
	programs->patience_ms = patience_ms;
}

/* ---- attaching ---- */

static bool is_taken(int err)
{
	return err == -EBUSY || err == -EEXIST;
}

/* Attaches the program that is loaded to an interface that has none, by a link or without. */
static int attach_directly(const struct eb_programs *programs, int ifindex, bool by_link, bool generic)
{
	__u32 flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;

	if (by_link)
		return eb_xdp_link_make(programs->pin_dir, ifindex, programs->alone, flags);
	return bpf_xdp_attach(ifindex, programs->alone, XDP_FLAGS_UPDATE_IF_NOEXIST | flags, NULL);
}

/* Attaches where we are not, or are only with an older program behind a dispatcher, whose mode is then the mode. By the
 * interface's index: the name may be another one's from one attempt to the next, and generic mode is for an interface
 * that refused the native one. */
static int attach_fresh(struct eb_programs *programs, int ifindex, const struct eb_attachment *old, bool is_below,
			enum eb_attach_mode mode)
{
	bool native = mode != EB_ATTACH_GENERIC && !is_generic(old);
	bool generic = !native || (mode == EB_ATTACH_AUTO && !old->dispatcher);
	int err = -EINVAL;

	if (old->dispatcher || (!is_below && !programs->no_dispatcher))
		return attach_with_libxdp(programs, ifindex, native, generic);
	if (native)
		err = attach_directly(programs, ifindex, is_below, false);
	if (!generic || (native && (!err || is_taken(err))))
		return err;
	if (native)
		log_fallback(ifindex, err);
	return attach_directly(programs, ifindex, is_below, true);
}

/* What is there, if anything, is in the mode that is asked for. */
static bool mode_fits(const struct eb_attachment *old, enum eb_attach_mode mode)
{
	return !old->mode[0] || mode == EB_ATTACH_AUTO || (mode == EB_ATTACH_GENERIC) == is_generic(old);
}

/* An interface with a program that lies on this one: -EEXIST may be for its sake. */
static bool find_upper(int ifindex, char name[IF_NAMESIZE])
{
	struct if_nameindex *all = if_nameindex();
	struct eb_layers *layers = NULL;
	bool is_found = false;
	__u32 prog_id;

	(void)eb_layers_read(&layers);
	for (struct if_nameindex *one = all; one && one->if_name && !is_found; one++) {
		is_found = eb_layers_is_on(layers, one->if_index, ifindex) &&
			   !bpf_xdp_query_id(one->if_index, 0, &prog_id) && prog_id;
		if (is_found)
			strcpy(name, one->if_name);
	}
	if (all)
		if_freenameindex(all);
	eb_layers_free(layers);
	return is_found;
}

static int explain(int err, const char *ifname, const char *what, char **error)
{
	char upper[IF_NAMESIZE];

	if (err == -EINPROGRESS)
		return eb_fail(err, error,
			       "%s: libxdp is still at work to %s, or waits for its lock, which another process holds",
			       ifname, what);
	if (err == -EEXIST && find_upper(if_nametoindex(ifname), upper))
		return eb_fail(err, error,
			       "%s: cannot %s: %s, which lies on it, has an XDP program, and the kernel wants that off "
			       "first", ifname, what, upper);
	return eb_fail(err, error, "%s: cannot %s: %s", ifname, what, strerror(-err));
}

static int explain_attach(int err, const char *ifname, char **error)
{
	switch (err) {
	case -EOPNOTSUPP:
		return eb_fail(err, error, "%s: the driver has no native XDP; use attach: generic (or auto)", ifname);
	case -E2BIG:
		return eb_fail(err, error, "%s: all places behind libxdp's dispatcher are taken", ifname);
	default:
		return explain(err, ifname, "attach", error);
	}
}

/* Clears the way for another mode. All programs of an interface share one, so others must not be there. */
static int leave_mode(const char *ifname, struct eb_programs *programs, struct eb_attachment *old, char **error)
{
	int err = 0;

	if (old->others)
		return eb_fail(-EBUSY, error,
			       "%s: XDP programs of other owners are attached in %s mode, and all of an interface "
			       "share one; use attach: %s (or auto)",
			       ifname, old->mode, old->mode);
	if (old->attached)
		err = eb_attach_remove(ifname, programs, error);
	*old = (struct eb_attachment){ .mode = "" };
	return err;
}

/* Clears the way for a link: it takes the place of no program. */
static int leave_for_link(const char *ifname, struct eb_programs *programs, struct eb_attachment *old,
			  char **error)
{
	int err = eb_attach_remove(ifname, programs, error);

	if (!err)
		*old = (struct eb_attachment){ .mode = "" };
	return err;
}

/* Puts the current program on the interface, in place of an older one or beside it. */
static int attach_current(struct eb_programs *programs, const char *ifname, int ifindex,
			  const struct eb_attachment *old, bool is_below, enum eb_attach_mode mode, char **error)
{
	int err = 0;

	if (!old->attached || !is_current(programs, old->prog_id))
		err = old->attached && !old->dispatcher ? replace_alone(programs, ifindex, old)
							: attach_fresh(programs, ifindex, old, is_below, mode);
	/* It has gone meanwhile, and libraries do not say so. */
	if (err && (int)if_nametoindex(ifname) != ifindex)
		err = -ENODEV;
	return err ? explain_attach(err, ifname, error) : 0;
}

/* What ip link calls a program in this mode. */
static const char *ip_name(const char *mode)
{
	return strcmp(mode, "generic") == 0   ? "xdpgeneric"
	       : strcmp(mode, "offload") == 0 ? "xdpoffload"
					      : "xdpdrv";
}

int eb_attach_program(struct eb_programs *programs, const char *ifname, bool is_below, enum eb_attach_mode mode,
		      struct eb_attachment *out, char **error)
{
	struct eb_attachment now;
	int ifindex = if_nametoindex(ifname);
	int err = read_status(ifindex, programs, &now);

	if (err)
		return eb_fail(err, error, "%s: %s", ifname, strerror(-err));
	if (now.foreign && now.unseen)
		return eb_fail(-EBUSY, error,
			       "%s: another XDP program is attached; remove it (ip link set dev %s %s off), or "
			       "restart edgebucketd, which gave up the CAP_SYS_ADMIN that it takes to look whether "
			       "both can run",
			       ifname, ifname, ip_name(now.mode));
	if (now.foreign)
		return eb_fail(-EBUSY, error,
			       "%s: another XDP program is attached that has no place for others beside it; it is left "
			       "alone, remove it to let edgebucket in: ip link set dev %s %s off",
			       ifname, ifname, ip_name(now.mode));
	if (!mode_fits(&now, mode)) {
		err = leave_mode(ifname, programs, &now, error);
		if (err)
			return err;
	}
	/* Loaded before the program there is taken off: that keeps the moment short. */
	if (is_below && !now.others && !now.linked) {
		err = load_alone(programs);
		if (err)
			return explain_attach(err, ifname, error);
		if (now.attached)
			err = leave_for_link(ifname, programs, &now, error);
		if (err)
			return err;
	}
	err = attach_current(programs, ifname, ifindex, &now, is_below, mode, error);
	if (err)
		return err;
	err = read_status(ifindex, programs, &now);
	/* Behind a dispatcher the new program stands beside the old one: with both, packets are charged twice, without
	 * either, not at all. Also here is what an agent left that was killed in between. */
	if (!err && now.copies > 1) {
		err = detach_behind(programs, ifindex, &now, false);
		if (!err)
			err = read_status(ifindex, programs, &now);
	}
	if (err)
		return explain(err, ifname, "attach", error);
	*out = now;
	return 0;
}

static int detach_alone(const struct eb_programs *programs, int ifindex, const struct eb_attachment *old)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int fd = open_by_id(programs, old->prog_id), err;

	if (fd < 0)
		return fd;
	opts.old_prog_fd = fd;
	err = bpf_xdp_detach(ifindex, mode_flags(old->mode) | XDP_FLAGS_REPLACE, &opts);
	close(fd);
	return err;
}

int eb_attach_remove(const char *ifname, struct eb_programs *programs, char **error)
{
	struct eb_attachment old;
	int ifindex = if_nametoindex(ifname);
	int err = read_status(ifindex, programs, &old);

	if (!err && old.attached)
		err = old.dispatcher ? detach_behind(programs, ifindex, &old, true)
		      : old.linked   ? eb_xdp_link_remove(programs->pin_dir, ifindex)
				     : detach_alone(programs, ifindex, &old);
	return err ? explain(err, ifname, "detach", error) : 0;
}

void eb_programs_sweep(const struct eb_programs *programs)
{
	eb_xdp_link_sweep(programs->pin_dir);
}

bool eb_programs_are_alone(const struct eb_programs *programs)
{
	return programs->no_dispatcher && !programs->places;
}

struct eb_programs *eb_programs_new(const struct eb_maps *maps, const char *pin_dir)
{
	struct eb_programs *programs = calloc(1, sizeof(*programs));

	if (programs) {
		programs->maps = maps;
		programs->pin_dir = pin_dir;
		programs->patience_ms = PATIENCE_MS;
		programs->alone = -1;
	}
	return programs;
}

void eb_programs_free(struct eb_programs *programs)
{
	if (!programs)
		return;
	eb_chain_end(programs->job);
	while (programs->places) {
		struct place *next = programs->places->next;

		free(programs->places);
		programs->places = next;
	}
	if (programs->alone >= 0)
		close(programs->alone);
	free(programs);
}
