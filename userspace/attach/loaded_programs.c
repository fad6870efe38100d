// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach/bpf_object.h"
#include "attach/loaded_programs.h"
#include "edgebucket.skel.h"

/* Our program behind the dispatcher of an interface. */
struct chained {
	int ifindex;
	bool ethernet;
	uint32_t prog_id;
	struct chained *next;
};

void eb_loaded_init(struct eb_loaded_programs *loaded, const struct eb_maps *maps, const char *pin_dir)
{
	*loaded = (struct eb_loaded_programs){
		.maps = maps,
		.pin_dir = pin_dir,
		.direct[true] = { .ethernet = true, .fd = -1 },
		.direct[false] = { .ethernet = false, .fd = -1 },
	};
}

void eb_loaded_done(struct eb_loaded_programs *loaded)
{
	while (loaded->chained) {
		struct chained *next = loaded->chained->next;

		free(loaded->chained);
		loaded->chained = next;
	}
	for (int i = 0; i < 2; i++)
		if (loaded->direct[i].fd >= 0)
			close(loaded->direct[i].fd);
}

uint32_t eb_program_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

int eb_loaded_open_id(const struct eb_loaded_programs *loaded, uint32_t id)
{
	int fd;

	for (int i = 0; i < 2; i++) {
		if (loaded->direct[i].fd < 0 || loaded->direct[i].id != id)
			continue;
		fd = fcntl(loaded->direct[i].fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	return bpf_prog_get_fd_by_id(id);
}

int eb_loaded_open_object(const struct eb_loaded_programs *loaded, bool ethernet, bool multi_buffer,
			  struct edgebucket_bpf **out)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(loaded->maps->fd[EB_MAP_BUCKETS_V4], &info, &len);

	if (err)
		return err;
	err = eb_bpf_object_open(loaded->maps, info.max_entries, out);
	if (err)
		return err;
	(*out)->rodata->ethernet = ethernet;
	(*out)->rodata->multi_buffer = multi_buffer;
	if (!multi_buffer)
		bpf_program__set_flags((*out)->progs.edgebucket, 0);
	return 0;
}

int eb_loaded_note_chained(struct eb_loaded_programs *loaded, int ifindex, bool ethernet, uint32_t prog_id)
{
	struct chained *chained = loaded->chained;

	while (chained && chained->ifindex != ifindex)
		chained = chained->next;
	if (!chained) {
		chained = malloc(sizeof(*chained));
		if (!chained)
			return -ENOMEM;
		chained->ifindex = ifindex;
		chained->next = loaded->chained;
		loaded->chained = chained;
	}
	chained->ethernet = ethernet;
	chained->prog_id = prog_id;
	return 0;
}

bool eb_loaded_is_current(const struct eb_loaded_programs *loaded, const struct eb_direct_program *direct, uint32_t id)
{
	for (const struct chained *chained = loaded->chained; chained; chained = chained->next)
		if (chained->prog_id == id)
			return chained->ethernet == direct->ethernet;
	return direct->fd >= 0 && direct->id == id;
}

void eb_loaded_keep(struct eb_direct_program *direct, int fd)
{
	direct->fd = fd;
	direct->id = eb_program_id(fd);
}

/* Kernels before 5.18 do not know multi-buffer frames. */
int eb_loaded_load(const struct eb_loaded_programs *loaded, struct eb_direct_program *direct)
{
	struct edgebucket_bpf *skeleton;
	int err = direct->fd >= 0 ? 0 : -EINVAL;

	for (int multi_buffer = 1; multi_buffer >= 0 && err; multi_buffer--) {
		err = eb_loaded_open_object(loaded, direct->ethernet, multi_buffer, &skeleton);
		if (err)
			return err;
		err = edgebucket_bpf__load(skeleton);
		if (!err) {
			int fd = fcntl(bpf_program__fd(skeleton->progs.edgebucket), F_DUPFD_CLOEXEC, 0);

			if (fd >= 0)
				eb_loaded_keep(direct, fd);
			else
				err = -errno;
		}
		edgebucket_bpf__destroy(skeleton);
	}
	return err;
}
