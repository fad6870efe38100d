// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach/attachment.h"
#include "attach/loaded_programs.h"
#include "attach/xdp_link.h"

/* The most maps of a program that we look at; ours has a dozen. */
#define PROGRAM_MAPS_MAX 64

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

	if (err)
		goto out;
	err = bpf_map_lookup_elem(maps->fd[EB_MAP_STATE], &zero, state);
	if (!err)
		out->predecessor = state->predecessor;
out:
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

/* Sets *unseen when that cannot be told. */
static bool is_our_program(const struct eb_loaded_programs *loaded, uint32_t prog_id, const struct identity *identity,
			   bool *unseen)
{
	int fd = eb_loaded_open_id(loaded, prog_id);
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
static bool is_linked(const struct eb_loaded_programs *loaded, int ifindex)
{
	int fd = eb_xdp_link_open(loaded->pin_dir, ifindex);

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
		uint32_t id = eb_program_id(fds[i]);

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
static int look_once(int ifindex, const struct eb_loaded_programs *loaded, const struct identity *identity,
		     struct eb_attachment *out)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	LIBBPF_OPTS(bpf_xdp_query_opts, later);
	int err = bpf_xdp_query(ifindex, 0, &query);

	*out = (struct eb_attachment){ .mode = mode_name(query.attach_mode) };
	if (err || !query.prog_id)
		return err;
	if (is_our_program(loaded, query.prog_id, identity, &out->unseen)) {
		out->attached = true;
		out->copies = 1;
		out->prog_id = out->prog_ids[0] = query.prog_id;
		out->linked = is_linked(loaded, ifindex);
		return 0;
	}
	if (look_behind(ifindex, query.prog_id, identity, out) == 0)
		return 0;
	err = bpf_xdp_query(ifindex, 0, &later);
	if (!err && later.prog_id != query.prog_id)
		return -EAGAIN;
	out->foreign = true;
	return err;
}

static int look(int ifindex, const struct eb_loaded_programs *loaded, const struct identity *identity,
		struct eb_attachment *out)
{
	int err = -EAGAIN;

	for (int attempt = 0; attempt < 10 && err == -EAGAIN; attempt++)
		err = look_once(ifindex, loaded, identity, out);
	return err;
}

int eb_attachment_read(int ifindex, const struct eb_loaded_programs *loaded, struct eb_attachment *out)
{
	struct identity identity;
	int err;

	*out = (struct eb_attachment){ .mode = "" };
	if (!ifindex)
		return -ENODEV;
	err = read_identity(loaded->maps, &identity);
	return err ? err : look(ifindex, loaded, &identity, out);
}

int eb_attachment_find_before(const struct eb_loaded_programs *loaded, char ifname[IF_NAMESIZE])
{
	struct if_nameindex *all = if_nameindex();
	struct eb_attachment now;
	struct identity before;
	int err = all ? read_identity(loaded->maps, &before) : -errno, found = 0;

	before.state = before.predecessor;
	for (struct if_nameindex *one = all; !err && !found && one->if_index; one++) {
		err = look(one->if_index, loaded, &before, &now);
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
