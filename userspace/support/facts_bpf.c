// SPDX-License-Identifier: GPL-2.0-only
/* Facts about maps, programs and buckets. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "maps/pins.h"
#include "support/facts.h"

#define PROGRAMS_MAX 128

static json_t *error_json(int err)
{
	return json_pack("{s:s}", "error", strerror(-err));
}

/* ---- maps ---- */

/* What the kernel charges for a map; it is told by /proc alone. */
static json_t *memlock_json(int fd)
{
	unsigned long long bytes;
	char path[64], line[128];
	json_t *result = NULL;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && !result && fgets(line, sizeof(line), file))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			result = json_integer(bytes);
	if (file)
		fclose(file);
	return result ? result : json_null();
}

static json_t *map_json(int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	const char *type;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return error_json(-errno);
	type = libbpf_bpf_map_type_str(info.type);
	return json_pack("{s:I, s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:o}", "id", (json_int_t)info.id, "name", info.name,
			 "type", type, "key_size", (json_int_t)info.key_size, "value_size",
			 (json_int_t)info.value_size, "max_entries", (json_int_t)info.max_entries, "flags",
			 (json_int_t)info.map_flags, "btf_id", (json_int_t)info.btf_id, "memlock", memlock_json(fd));
}

static json_t *pinned_json(const char *path)
{
	int fd = bpf_obj_get(path);
	json_t *map;

	if (fd < 0)
		return error_json(-errno);
	map = map_json(fd);
	close(fd);
	return map;
}

/* The pins that are no maps. */
static bool is_view(const char *name)
{
	for (int view = 0; view < EB_VIEWS; view++)
		if (!strcmp(name, eb_view_name(view)))
			return true;
	return false;
}

json_t *facts_maps(const char *pin_dir)
{
	json_t *maps = json_object(), *views = json_array();
	struct dirent *entry;
	DIR *dir = opendir(pin_dir);

	if (!dir) {
		json_decref(maps);
		json_decref(views);
		return json_pack("{s:s, s:o}", "pin_dir", pin_dir, "maps", error_json(-errno));
	}
	while ((entry = readdir(dir))) {
		char path[PATH_MAX];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", pin_dir, entry->d_name);
		if (is_view(entry->d_name))
			json_array_append_new(views, json_string(entry->d_name));
		else
			json_object_set_new(maps, entry->d_name, pinned_json(path));
	}
	closedir(dir);
	return json_pack("{s:s, s:o, s:o}", "pin_dir", pin_dir, "maps", maps, "views", views);
}

/* ---- programs ---- */

static void fill_program(json_t *object, const struct bpf_prog_info *info)
{
	char tag[2 * BPF_TAG_SIZE + 1];

	for (int i = 0; i < BPF_TAG_SIZE; i++)
		sprintf(tag + 2 * i, "%02x", info->tag[i]);
	json_object_set_new(object, "name", json_string(info->name));
	json_object_set_new(object, "tag", json_string(tag));
	json_object_set_new(object, "instructions", json_integer(info->xlated_prog_len / 8));
	json_object_set_new(object, "verified_instructions", json_integer(info->verified_insns));
	json_object_set_new(object, "jited_bytes", json_integer(info->jited_prog_len));
	json_object_set_new(object, "maps", json_integer(info->nr_map_ids));
	json_object_set_new(object, "load_time_ns", json_integer(info->load_time));
	json_object_set_new(object, "run_count", json_integer(info->run_cnt));
	json_object_set_new(object, "run_time_ns", json_integer(info->run_time_ns));
}

static json_t *program_json(__u32 id)
{
	json_t *object = json_pack("{s:I}", "id", (json_int_t)id);
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
		json_object_set_new(object, "error", json_string(strerror(errno)));
	else
		fill_program(object, &info);
	if (fd >= 0)
		close(fd);
	return object;
}

struct program_ids {
	__u32 ids[PROGRAMS_MAX];
	size_t count;
};

static void add_id(struct program_ids *list, __u32 id)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->ids[i] == id)
			return;
	if (id && list->count < PROGRAMS_MAX)
		list->ids[list->count++] = id;
}

json_t *facts_programs(const struct interface_list *list)
{
	struct program_ids programs = { .count = 0 };
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++) {
		LIBBPF_OPTS(bpf_xdp_query_opts, query);

		add_id(&programs, list->items[i].attachment.prog_id);
		if (bpf_xdp_query(if_nametoindex(list->items[i].name), 0, &query) == 0)
			add_id(&programs, query.prog_id);
	}
	for (size_t i = 0; i < programs.count; i++)
		json_array_append_new(array, program_json(programs.ids[i]));
	return array;
}

/* ---- buckets ---- */

struct tally {
	const struct session *session;
	uint64_t now;
	struct eb_bucket_count counts[EB_LIMITS_MAX + 1][2]; /* the last: of rules no longer in force */
};

static int visit(const struct eb_bucket_view *view, void *arg)
{
	struct tally *tally = arg;
	int rule = session_bucket_rule(tally->session, &view->source);
	struct eb_bucket_count *count = &tally->counts[rule < 0 ? EB_LIMITS_MAX : rule][view->source.family == 6];

	count->in_use++;
	count->in_debt += eb_gcra_debt(view->packets_full_at, tally->now) ||
			  eb_gcra_debt(view->bytes_full_at, tally->now);
	return 0;
}

static json_t *counts_json(const char *rule, const struct eb_bucket_count counts[2])
{
	return json_pack("{s:s?, s:{s:I, s:I}, s:{s:I, s:I}}", "rule", rule, "ipv4", "in_use",
			 (json_int_t)counts[0].in_use, "in_debt", (json_int_t)counts[0].in_debt, "ipv6", "in_use",
			 (json_int_t)counts[1].in_use, "in_debt", (json_int_t)counts[1].in_debt);
}

json_t *facts_buckets(const struct session *session)
{
	struct tally tally = { .session = session, .now = eb_buckets_now() };
	json_t *array = json_array();
	int err = eb_buckets_each(session->buckets, visit, &tally);

	if (err) {
		json_decref(array);
		return error_json(err);
	}
	for (int i = 0; i < session_rule_count(session); i++)
		if (session->policy.rules[i].action == EB_LIMIT)
			json_array_append_new(array, counts_json(session_limit_name(&session->policy, i).s,
								 tally.counts[i]));
	json_array_append_new(array, counts_json(NULL, tally.counts[EB_LIMITS_MAX]));
	return array;
}
