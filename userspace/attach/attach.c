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

#include "attach/attach.h"
#include "attach/bpf_object.h"
#include "attach/dispatcher.h"
#include "attach/xdp_link.h"
#include "base/error.h"
#include "base/log.h"
#include "edgebucket.skel.h"
#include "netlink/layers.h"
#include "netlink/link.h"

/* The most maps of a program that we look at; ours has a dozen. */
#define PROGRAM_MAPS_MAX 64

/* How long who has nothing else to do waits for libxdp. */
#define PATIENCE_MS 10000

/* One of our programs that needs no dispatcher: one for all interfaces whose frames begin alike. */
struct alone {
	bool ethernet; /* what they begin with; else with IP */
	int fd;        /* -1 until it is loaded */
	uint32_t id;
};

/* Our program behind the dispatcher of an interface. */
struct place {
	int ifindex;
	bool ethernet;
	uint32_t prog_id;
	struct place *next;
};

struct eb_programs {
	const struct eb_maps *maps;
	const char *pin_dir;
	struct alone alone[2]; /* by `ethernet` */
	bool no_dispatcher; /* this kernel cannot chain programs */
	struct place *places;
	struct eb_dispatcher_job *job; /* libxdp at work; NULL for none */
	int job_ifindex;
	struct alone *job_alone; /* where to note what it attaches; NULL when it detaches */
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

	for (int i = 0; i < 2; i++) {
		if (programs->alone[i].fd < 0 || programs->alone[i].id != id)
			continue;
		fd = fcntl(programs->alone[i].fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	return bpf_prog_get_fd_by_id(id);
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
	int fds[EB_DISPATCHER_MAX];
	int count = eb_dispatcher_open(ifindex, dispatcher_id, fds);

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

static int look(int ifindex, const struct eb_programs *programs, const struct identity *identity,
		struct eb_attachment *out)
{
	int err = -EAGAIN;

	for (int attempt = 0; attempt < 10 && err == -EAGAIN; attempt++)
		err = look_once(ifindex, programs, identity, out);
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
	return err ? err : look(ifindex, programs, &identity, out);
}

int eb_attach_status(const char *ifname, const struct eb_programs *programs, struct eb_attachment *out)
{
	return read_status(if_nametoindex(ifname), programs, out);
}

int eb_programs_find_before(const struct eb_programs *programs, char ifname[IF_NAMESIZE])
{
	struct if_nameindex *all = if_nameindex();
	struct eb_attachment now;
	struct identity before;
	int err = all ? read_identity(programs->maps, &before) : -errno, found = 0;

	before.state = before.predecessor;
	for (struct if_nameindex *one = all; !err && !found && one->if_index; one++) {
		err = look(one->if_index, programs, &before, &now);
		if (err == -ENODEV)
			err = 0;
		else if (!err && (now.attached || now.unseen))
			found = 1;
		if (found)
			strcpy(ifname, one->if_name);
	}
	if (all)
		if_freenameindex(all);
	return err ? err : found;
}

/* Opens the program, ready to be loaded: on kernels before 5.18 without what they do not know. */
static int open_program(const struct eb_programs *programs, bool ethernet, bool multi_buffer,
			struct edgebucket_bpf **out)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(programs->maps->fd[EB_MAP_BUCKETS_V4], &info, &len);

	if (!err)
		err = eb_bpf_object_open(programs->maps, info.max_entries, out);
	if (err)
		return err;
	(*out)->rodata->ethernet = ethernet;
	(*out)->rodata->multi_buffer = multi_buffer;
	if (!multi_buffer)
		bpf_program__set_flags((*out)->progs.edgebucket, 0);
	return 0;
}

/* Remembers the program that is behind the dispatcher of an interface now. */
static int note_place(struct eb_programs *programs, int ifindex, bool ethernet, uint32_t prog_id)
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
	place->ethernet = ethernet;
	place->prog_id = prog_id;
	return 0;
}

/* Whether a program is this one, or as good behind a dispatcher. */
static bool is_current(const struct eb_programs *programs, const struct alone *alone, uint32_t id)
{
	for (const struct place *place = programs->places; place; place = place->next)
		if (place->prog_id == id)
			return place->ethernet == alone->ethernet;
	return alone->fd >= 0 && alone->id == id;
}

static void keep_alone(struct alone *alone, int fd)
{
	alone->fd = fd;
	alone->id = id_of_fd(fd);
}

/* Loads the program that needs no dispatcher, unless it is. Kernels before 5.18 do not know multi-buffer frames. */
static int load_alone(const struct eb_programs *programs, struct alone *alone)
{
	struct edgebucket_bpf *skeleton;
	int err = alone->fd >= 0 ? 0 : -EINVAL;

	for (int multi_buffer = 1; multi_buffer >= 0 && err; multi_buffer--) {
		err = open_program(programs, alone->ethernet, multi_buffer, &skeleton);
		if (err)
			return err;
		err = edgebucket_bpf__load(skeleton);
		if (!err) {
			int fd = fcntl(bpf_program__fd(skeleton->progs.edgebucket), F_DUPFD_CLOEXEC, 0);

			if (fd >= 0)
				keep_alone(alone, fd);
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

static int update_link(const struct eb_programs *programs, const struct alone *alone, int ifindex)
{
	int fd = eb_xdp_link_open(programs->pin_dir, ifindex), err;

	if (fd < 0)
		return fd;
	err = bpf_link_update(fd, alone->fd, NULL);
	close(fd);
	return err;
}

/* Exchanges our older program, which has the interface for itself, for this one: no packet in between passes free. */
static int replace_alone(struct eb_programs *programs, struct alone *alone, int ifindex,
			 const struct eb_attachment *old)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int err = load_alone(programs, alone), fd;

	if (err)
		return err;
	if (old->linked)
		return update_link(programs, alone, ifindex);
	fd = open_by_id(programs, old->prog_id);
	if (fd < 0)
		return fd;
	opts.old_prog_fd = fd;
	err = bpf_xdp_attach(ifindex, alone->fd, mode_flags(old->mode) | XDP_FLAGS_REPLACE, &opts);
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
		eb_info("native mode does not work, trying generic mode, which is slower", eb_str("interface", name),
			eb_err(err));
}

/* ---- libxdp, in a child ---- */

/* libxdp attached a program: behind a dispatcher, or alone where the kernel cannot chain programs. */
static int note_program(struct eb_programs *programs, int ifindex, const struct eb_dispatcher_result *result)
{
	struct alone *alone = programs->job_alone;
	struct eb_attachment now;
	int err = read_status(ifindex, programs, &now);

	if (err)
		return err;
	if (result->native_err)
		log_fallback(ifindex, result->native_err);
	if (now.dispatcher)
		return note_place(programs, ifindex, alone->ethernet, result->id);
	programs->no_dispatcher = true;
	if (alone->fd >= 0) /* one program is enough */
		return replace_alone(programs, alone, ifindex, &now);
	if (now.prog_id == result->id)
		keep_alone(alone, bpf_prog_get_fd_by_id(result->id));
	return 0;
}

static void end_job(struct eb_programs *programs)
{
	eb_dispatcher_end(programs->job);
	programs->job = NULL;
}

/* -EINPROGRESS when it takes longer. */
static int wait_for_job(struct eb_programs *programs, int timeout_ms)
{
	struct eb_dispatcher_result result;
	int err = eb_dispatcher_wait(programs->job, timeout_ms, &result);

	if (err == -EINPROGRESS)
		return err;
	end_job(programs);
	if (!err)
		err = result.err;
	return !err && programs->job_alone ? note_program(programs, programs->job_ifindex, &result) : err;
}

static int open_in_child(void *arg, bool multi_buffer, struct edgebucket_bpf **out)
{
	const struct eb_programs *programs = arg;

	return open_program(programs, programs->job_alone->ethernet, multi_buffer, out);
}

static int attach_with_libxdp(struct eb_programs *programs, struct alone *alone, int ifindex, bool native,
			      bool generic)
{
	const struct eb_dispatcher_order order = {
		.ifindex = ifindex,
		.native = native,
		.generic = generic,
		.open = open_in_child,
		.arg = programs,
	};
	int err;

	if (programs->job)
		return -EINPROGRESS;
	programs->job_ifindex = ifindex;
	programs->job_alone = alone;
	err = eb_dispatcher_attach(&order, &programs->job);
	if (err)
		return err;
	return wait_for_job(programs, programs->patience_ms);
}

/* Removes programs of ours from behind a dispatcher, all at once: all that are not `current`, which may be NULL. */
static int detach_behind(struct eb_programs *programs, int ifindex, const struct eb_attachment *now,
			 const struct alone *current)
{
	uint32_t ids[EB_DISPATCHER_MAX];
	size_t count = 0;
	int err;

	for (unsigned int i = 0; i < now->copies; i++)
		if (!current || !is_current(programs, current, now->prog_ids[i]))
			ids[count++] = now->prog_ids[i];
	if (!count)
		return 0;
	err = programs->job ? -EINPROGRESS : eb_dispatcher_detach(ifindex, ids, count, &programs->job);
	if (err)
		return err;
	programs->job_ifindex = ifindex;
	programs->job_alone = NULL;
	return wait_for_job(programs, programs->patience_ms);
}

int eb_programs_job(const struct eb_programs *programs)
{
	return programs->job ? eb_dispatcher_fd(programs->job) : -1;
}

int eb_programs_finish(struct eb_programs *programs, int *ifindex)
{
	*ifindex = programs->job_alone ? programs->job_ifindex : 0;
	return wait_for_job(programs, 0);
}

void eb_programs_cancel(struct eb_programs *programs)
{
	if (programs->job_alone)
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

/* Attaches to an interface that has no program, by a link or without. */
static int attach_directly(const struct eb_programs *programs, struct alone *alone, int ifindex, bool by_link,
			   bool generic)
{
	__u32 flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
	int err = load_alone(programs, alone);

	if (err)
		return err;
	if (by_link)
		return eb_xdp_link_make(programs->pin_dir, ifindex, alone->fd, flags);
	return bpf_xdp_attach(ifindex, alone->fd, XDP_FLAGS_UPDATE_IF_NOEXIST | flags, NULL);
}

/* Attaches where we are not, or are only with an older program behind a dispatcher, whose mode is then the mode. By the
 * interface's index: the name may be another one's from one attempt to the next, and generic mode is for an interface
 * that refused the native one. */
static int attach_fresh(struct eb_programs *programs, struct alone *alone, int ifindex,
			const struct eb_attachment *old, bool is_below, enum eb_attach_mode mode)
{
	bool native = mode != EB_ATTACH_GENERIC && !is_generic(old);
	bool generic = !native || (mode == EB_ATTACH_AUTO && !old->dispatcher);
	int err = -EINVAL;

	if (old->dispatcher || (!is_below && !programs->no_dispatcher))
		return attach_with_libxdp(programs, alone, ifindex, native, generic);
	if (native)
		err = attach_directly(programs, alone, ifindex, is_below, false);
	if (!generic || (native && (!err || is_taken(err))))
		return err;
	if (native)
		log_fallback(ifindex, err);
	return attach_directly(programs, alone, ifindex, is_below, true);
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
static int attach_current(struct eb_programs *programs, struct alone *alone, const char *ifname, int ifindex,
			  const struct eb_attachment *old, bool is_below, enum eb_attach_mode mode, char **error)
{
	int err = 0;

	if (!old->attached || !is_current(programs, alone, old->prog_id))
		err = old->attached && !old->dispatcher ? replace_alone(programs, alone, ifindex, old)
							: attach_fresh(programs, alone, ifindex, old, is_below, mode);
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

/* An interface with frames that the program cannot read must not look as if it was limited. */
static int refuse_type(struct eb_programs *programs, const char *ifname, const struct eb_link *link, bool is_attached,
		       char **error)
{
	int err = is_attached ? eb_attach_remove(ifname, programs, error) : 0;

	return err ? err
		   : eb_fail(-EPROTONOSUPPORT, error,
			     "%s: its frames begin with neither an Ethernet nor an IP header, or not always (link type "
			     "%u%s%s), so nothing could be limited on it; name the interface that they come in on",
			     ifname, link->type, link->kind[0] ? ", " : "", link->kind);
}

int eb_attach_program(struct eb_programs *programs, const char *ifname, bool is_below, enum eb_attach_mode mode,
		      struct eb_attachment *out, char **error)
{
	struct eb_attachment now;
	struct alone *alone;
	struct eb_link link;
	int ifindex = if_nametoindex(ifname);
	int err = read_status(ifindex, programs, &now);

	if (!err)
		err = eb_link_read(ifindex, &link);
	if (err)
		return eb_fail(err, error, "%s: %s", ifname, strerror(-err));
	if (eb_link_header(&link) == EB_LINK_OTHER)
		return refuse_type(programs, ifname, &link, now.attached, error);
	alone = &programs->alone[eb_link_header(&link) == EB_LINK_ETHERNET];
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
		err = load_alone(programs, alone);
		if (err)
			return explain_attach(err, ifname, error);
		if (now.attached)
			err = leave_for_link(ifname, programs, &now, error);
		if (err)
			return err;
	}
	err = attach_current(programs, alone, ifname, ifindex, &now, is_below, mode, error);
	if (err)
		return err;
	err = read_status(ifindex, programs, &now);
	/* Behind a dispatcher the new program stands beside the old one: with both, packets are charged twice, without
	 * either, not at all. Also here is what an agent left that was killed in between. */
	if (!err && now.copies > 1) {
		err = detach_behind(programs, ifindex, &now, alone);
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
		err = old.dispatcher ? detach_behind(programs, ifindex, &old, NULL)
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
		programs->alone[true] = (struct alone){ .ethernet = true, .fd = -1 };
		programs->alone[false] = (struct alone){ .ethernet = false, .fd = -1 };
	}
	return programs;
}

void eb_programs_free(struct eb_programs *programs)
{
	if (!programs)
		return;
	eb_dispatcher_end(programs->job);
	while (programs->places) {
		struct place *next = programs->places->next;

		free(programs->places);
		programs->places = next;
	}
	for (int i = 0; i < 2; i++)
		if (programs->alone[i].fd >= 0)
			close(programs->alone[i].fd);
	free(programs);
}
