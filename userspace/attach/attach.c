// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach/attach.h"
#include "attach/dispatcher.h"
#include "attach/loaded_programs.h"
#include "attach/xdp_link.h"
#include "base/error.h"
#include "base/log.h"
#include "netlink/layers.h"
#include "netlink/link.h"

/* How long who has nothing else to do waits for libxdp. */
#define PATIENCE_MS 10000

struct eb_programs {
	struct eb_loaded_programs loaded;
	bool no_dispatcher; /* this kernel cannot chain programs */
	struct eb_dispatcher_job *job; /* libxdp at work; NULL for none */
	int job_ifindex;
	struct eb_direct_program *job_program; /* what its interface is to have; NULL when it detaches */
	int patience_ms;
};

int eb_attach_status(const char *ifname, const struct eb_programs *programs, struct eb_attachment *out)
{
	return eb_attachment_read(if_nametoindex(ifname), &programs->loaded, out);
}

int eb_programs_find_before(const struct eb_programs *programs, char ifname[IF_NAMESIZE])
{
	return eb_attachment_find_before(&programs->loaded, ifname);
}

static __u32 mode_flags(const char *mode)
{
	return strcmp(mode, "generic") == 0   ? XDP_FLAGS_SKB_MODE
	       : strcmp(mode, "offload") == 0 ? XDP_FLAGS_HW_MODE
					      : XDP_FLAGS_DRV_MODE;
}

static int update_link(const struct eb_programs *programs, const struct eb_direct_program *direct, int ifindex)
{
	int fd = eb_xdp_link_open(programs->loaded.pin_dir, ifindex), err;

	if (fd < 0)
		return fd;
	err = bpf_link_update(fd, direct->fd, NULL);
	close(fd);
	return err;
}

/* Exchanges our older program, which has the interface for itself, for this one: no packet in between passes free. */
static int replace_alone(struct eb_programs *programs, struct eb_direct_program *direct, int ifindex,
			 const struct eb_attachment *old)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int err = eb_loaded_load(&programs->loaded, direct), fd;

	if (err)
		return err;
	if (old->linked)
		return update_link(programs, direct, ifindex);
	fd = eb_loaded_open_id(&programs->loaded, old->prog_id);
	if (fd < 0)
		return fd;
	opts.old_prog_fd = fd;
	err = bpf_xdp_attach(ifindex, direct->fd, mode_flags(old->mode) | XDP_FLAGS_REPLACE, &opts);
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
	struct eb_direct_program *direct = programs->job_program;
	struct eb_attachment now;
	int err = eb_attachment_read(ifindex, &programs->loaded, &now);

	if (err)
		return err;
	if (result->native_err)
		log_fallback(ifindex, result->native_err);
	if (now.dispatcher)
		return eb_loaded_note_chained(&programs->loaded, ifindex, direct->ethernet, result->id);
	programs->no_dispatcher = true;
	if (direct->fd >= 0) /* one program is enough */
		return replace_alone(programs, direct, ifindex, &now);
	if (now.prog_id == result->id)
		eb_loaded_keep(direct, bpf_prog_get_fd_by_id(result->id));
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
	return !err && programs->job_program ? note_program(programs, programs->job_ifindex, &result) : err;
}

static int open_in_child(void *arg, bool multi_buffer, struct edgebucket_bpf **out)
{
	const struct eb_programs *programs = arg;

	return eb_loaded_open_object(&programs->loaded, programs->job_program->ethernet, multi_buffer, out);
}

static int attach_with_libxdp(struct eb_programs *programs, struct eb_direct_program *direct, int ifindex,
			      bool native, bool generic)
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
	programs->job_program = direct;
	err = eb_dispatcher_attach(&order, &programs->job);
	if (err)
		return err;
	return wait_for_job(programs, programs->patience_ms);
}

/* Removes programs of ours from behind a dispatcher, all at once: all that are not `current`, which may be NULL. */
static int detach_behind(struct eb_programs *programs, int ifindex, const struct eb_attachment *now,
			 const struct eb_direct_program *current)
{
	uint32_t ids[EB_DISPATCHER_MAX];
	size_t count = 0;
	int err;

	for (unsigned int i = 0; i < now->copies; i++)
		if (!current || !eb_loaded_is_current(&programs->loaded, current, now->prog_ids[i]))
			ids[count++] = now->prog_ids[i];
	if (!count)
		return 0;
	err = programs->job ? -EINPROGRESS : eb_dispatcher_detach(ifindex, ids, count, &programs->job);
	if (err)
		return err;
	programs->job_ifindex = ifindex;
	programs->job_program = NULL;
	return wait_for_job(programs, programs->patience_ms);
}

int eb_programs_job(const struct eb_programs *programs)
{
	return programs->job ? eb_dispatcher_fd(programs->job) : -1;
}

int eb_programs_finish(struct eb_programs *programs, int *ifindex)
{
	*ifindex = programs->job_program ? programs->job_ifindex : 0;
	return wait_for_job(programs, 0);
}

void eb_programs_cancel(struct eb_programs *programs)
{
	if (programs->job_program)
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
static int attach_directly(const struct eb_programs *programs, struct eb_direct_program *direct, int ifindex,
			   bool by_link, bool generic)
{
	__u32 flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
	int err = eb_loaded_load(&programs->loaded, direct);

	if (err)
		return err;
	if (by_link)
		return eb_xdp_link_make(programs->loaded.pin_dir, ifindex, direct->fd, flags);
	return bpf_xdp_attach(ifindex, direct->fd, XDP_FLAGS_UPDATE_IF_NOEXIST | flags, NULL);
}

/* Attaches where we are not, or are only with an older program behind a dispatcher, whose mode is then the mode. By the
 * interface's index: the name may be another one's from one attempt to the next, and generic mode is for an interface
 * that refused the native one. */
static int attach_fresh(struct eb_programs *programs, struct eb_direct_program *direct, int ifindex,
			const struct eb_attachment *old, bool is_below, enum eb_attach_mode mode)
{
	bool native = mode != EB_ATTACH_GENERIC && !is_generic(old);
	bool generic = !native || (mode == EB_ATTACH_AUTO && !old->dispatcher);
	int err = -EINVAL;

	if (old->dispatcher || (!is_below && !programs->no_dispatcher))
		return attach_with_libxdp(programs, direct, ifindex, native, generic);
	if (native)
		err = attach_directly(programs, direct, ifindex, is_below, false);
	if (!generic || (native && (!err || is_taken(err))))
		return err;
	if (native)
		log_fallback(ifindex, err);
	return attach_directly(programs, direct, ifindex, is_below, true);
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
			       "%s: cannot %s yet: libxdp is still working, or waits for its lock, which another "
			       "process holds",
			       ifname, what);
	if (err == -EEXIST && find_upper(if_nametoindex(ifname), upper))
		return eb_fail(err, error,
			       "%s: cannot %s: %s, which lies on it, has an XDP program that must be detached "
			       "first", ifname, what, upper);
	return eb_fail(err, error, "%s: cannot %s: %s", ifname, what, strerror(-err));
}

int eb_attach_explain(int err, const char *ifname, char **error)
{
	switch (err) {
	case -EOPNOTSUPP:
		return eb_fail(err, error, "%s: the driver has no native XDP; use attach: generic (or auto)", ifname);
	case -E2BIG:
		return eb_fail(err, error, "%s: the dispatcher of libxdp has no free slot", ifname);
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
			       "%s: XDP programs of other owners are attached in %s mode, and an interface has one "
			       "mode for all; use attach: %s (or auto)",
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
static int attach_current(struct eb_programs *programs, struct eb_direct_program *direct, const char *ifname,
			  int ifindex, const struct eb_attachment *old, bool is_below, enum eb_attach_mode mode,
			  char **error)
{
	int err = 0;

	if (!old->attached || !eb_loaded_is_current(&programs->loaded, direct, old->prog_id))
		err = old->attached && !old->dispatcher ? replace_alone(programs, direct, ifindex, old)
							: attach_fresh(programs, direct, ifindex, old, is_below, mode);
	/* It has gone meanwhile, and libraries do not say so. */
	if (err && (int)if_nametoindex(ifname) != ifindex)
		err = -ENODEV;
	return err ? eb_attach_explain(err, ifname, error) : 0;
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
			     "%s: not all of its frames begin with an Ethernet or IP header (link type %u%s%s), so "
			     "nothing could be limited on it; configure the interface on which they arrive",
			     ifname, link->type, link->kind[0] ? ", " : "", link->kind);
}

int eb_attach_program(struct eb_programs *programs, const char *ifname, bool is_below, enum eb_attach_mode mode,
		      struct eb_attachment *out, char **error)
{
	struct eb_attachment now;
	struct eb_direct_program *direct;
	struct eb_link link;
	int ifindex = if_nametoindex(ifname);
	int err = eb_attachment_read(ifindex, &programs->loaded, &now);

	if (!err)
		err = eb_link_read(ifindex, &link);
	if (err)
		return eb_fail(err, error, "%s: %s", ifname, strerror(-err));
	if (eb_link_header(&link) == EB_LINK_OTHER)
		return refuse_type(programs, ifname, &link, now.attached, error);
	direct = &programs->loaded.direct[eb_link_header(&link) == EB_LINK_ETHERNET];
	if (now.foreign && now.unseen)
		return eb_fail(-EBUSY, error,
			       "%s: another XDP program is attached; remove it (ip link set dev %s %s off), or "
			       "restart edgebucketd, which gave up CAP_SYS_ADMIN and needs it to check whether both "
			       "can run",
			       ifname, ifname, ip_name(now.mode));
	if (now.foreign)
		return eb_fail(-EBUSY, error,
			       "%s: another XDP program is attached that has no place for others beside it; it is left "
			       "direct, remove it to let edgebucket in: ip link set dev %s %s off",
			       ifname, ifname, ip_name(now.mode));
	if (!mode_fits(&now, mode)) {
		err = leave_mode(ifname, programs, &now, error);
		if (err)
			return err;
	}
	/* Loaded before the program there is taken off: that keeps the moment short. */
	if (is_below && !now.others && !now.linked) {
		err = eb_loaded_load(&programs->loaded, direct);
		if (err)
			return eb_attach_explain(err, ifname, error);
		if (now.attached)
			err = leave_for_link(ifname, programs, &now, error);
		if (err)
			return err;
	}
	err = attach_current(programs, direct, ifname, ifindex, &now, is_below, mode, error);
	if (err)
		return err;
	err = eb_attachment_read(ifindex, &programs->loaded, &now);
	/* Behind a dispatcher the new program stands beside the old one: with both, packets are charged twice, without
	 * either, not at all. Also here is what an agent left that was killed in between. */
	if (!err && now.copies > 1) {
		err = detach_behind(programs, ifindex, &now, direct);
		if (!err)
			err = eb_attachment_read(ifindex, &programs->loaded, &now);
	}
	if (err)
		return explain(err, ifname, "attach", error);
	*out = now;
	return 0;
}

static int detach_alone(const struct eb_programs *programs, int ifindex, const struct eb_attachment *old)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int fd = eb_loaded_open_id(&programs->loaded, old->prog_id), err;

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
	int err = eb_attachment_read(ifindex, &programs->loaded, &old);

	if (!err && old.attached)
		err = old.dispatcher ? detach_behind(programs, ifindex, &old, NULL)
		      : old.linked   ? eb_xdp_link_remove(programs->loaded.pin_dir, ifindex)
				     : detach_alone(programs, ifindex, &old);
	return err ? explain(err, ifname, "detach", error) : 0;
}

void eb_programs_sweep(const struct eb_programs *programs)
{
	eb_xdp_link_sweep(programs->loaded.pin_dir);
}

bool eb_programs_are_alone(const struct eb_programs *programs)
{
	return programs->no_dispatcher && !programs->loaded.chained;
}

struct eb_programs *eb_programs_new(const struct eb_maps *maps, const char *pin_dir)
{
	struct eb_programs *programs = calloc(1, sizeof(*programs));

	if (programs) {
		eb_loaded_init(&programs->loaded, maps, pin_dir);
		programs->patience_ms = PATIENCE_MS;
	}
	return programs;
}

void eb_programs_free(struct eb_programs *programs)
{
	if (!programs)
		return;
	eb_dispatcher_end(programs->job);
	eb_loaded_done(&programs->loaded);
	free(programs);
}
