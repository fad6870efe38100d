// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "base/error.h"
#include "maps/foreign.h"
#include "table.h"

/* A field inside a map's value: offset and size in bytes, and for arrays the elements. */
struct field {
	size_t offset, size;
	size_t element_size, element_count;
	__u32 type; /* of the field, or of an array's elements */
};

struct old_map {
	int fd;
	struct bpf_map_info info;
	struct btf *btf;
	char *memory; /* NULL when not mapped */
	size_t length;
};

struct old_table {
	struct old_map map;
	int family;
	struct field way, addr, rule_id, packets, bytes;
	struct field to, also, of; /* size 0 where there are none */
};

struct eb_foreign {
	struct old_map state, policy_map;
	struct old_table tables[2];
	struct eb_policy policy;
	uint64_t ticks_per_ns;
};

/* ---- types ---- */

/* Finds a member by its name. Anonymous members are not looked into: our records have none. */
static int find_member(const struct btf *btf, __u32 type_id, const char *name, struct field *out)
{
	const struct btf_type *type = btf__type_by_id(btf, btf__resolve_type(btf, type_id));
	const struct btf_member *member;

	if (!type || !btf_is_composite(type))
		return -EINVAL;
	member = btf_members(type);
	for (int i = 0; i < btf_vlen(type); i++, member++) {
		const struct btf_type *inner;
		__u32 id;

		if (strcmp(btf__name_by_offset(btf, member->name_off), name) != 0)
			continue;
		id = btf__resolve_type(btf, member->type);
		inner = btf__type_by_id(btf, id);
		out->offset = btf_member_bit_offset(type, i) / 8;
		out->size = btf__resolve_size(btf, id);
		out->type = id;
		if (btf_is_array(inner)) {
			out->type = btf__resolve_type(btf, btf_array(inner)->type);
			out->element_count = btf_array(inner)->nelems;
			out->element_size = btf__resolve_size(btf, out->type);
		}
		return 0;
	}
	return -ENOENT;
}

/* Finds "key.addr" and the like; the offset is from the outer type's start. */
static int find_path(const struct btf *btf, __u32 type_id, const char *outer, const char *inner, struct field *out)
{
	struct field first;
	int err = find_member(btf, type_id, outer, &first);

	if (err)
		return err;
	err = find_member(btf, first.type, inner, out);
	if (err)
		return err;
	out->offset += first.offset;
	return 0;
}

static uint64_t read_number(const char *value, const struct field *field)
{
	uint64_t number = 0;

	/* Little- and big-endian hosts keep narrow numbers at different ends. */
	if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
		memcpy(&number, value + field->offset, field->size < 8 ? field->size : 8);
	else if (field->size <= 8)
		memcpy((char *)&number + 8 - field->size, value + field->offset, field->size);
	return number;
}

/* ---- maps ---- */

static void close_map(struct old_map *map)
{
	if (map->memory)
		munmap(map->memory, map->length);
	btf__free(map->btf);
	if (map->fd >= 0)
		close(map->fd);
	*map = (struct old_map){ .fd = -1 };
}

static int open_map(const char *pin_dir, const char *name, struct old_map *out)
{
	__u32 len = sizeof(out->info);
	char path[4096];
	int err;

	if (snprintf(path, sizeof(path), "%s/%s", pin_dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	out->fd = bpf_obj_get(path);
	if (out->fd < 0)
		return out->fd;
	err = bpf_obj_get_info_by_fd(out->fd, &out->info, &len);
	if (err)
		return err;
	out->btf = btf__load_from_kernel_by_id(out->info.btf_id);
	return out->btf ? 0 : -errno;
}

static int map_memory(struct old_map *map)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t stride = (map->info.value_size + 7) / 8 * 8;
	void *memory;

	if (map->info.type != BPF_MAP_TYPE_ARRAY)
		return -EOPNOTSUPP;
	map->length = (map->info.max_entries * stride + page - 1) / page * page;
	memory = mmap(NULL, map->length, PROT_READ, MAP_SHARED, map->fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	map->memory = memory;
	return 0;
}

static int open_table(const char *pin_dir, int family, struct old_table *table)
{
	struct old_map *map = &table->map;
	int err = open_map(pin_dir, family == 4 ? "buckets_v4" : "buckets_v6", map);

	table->family = family;
	if (err)
		return err;
	err = find_member(map->btf, map->info.btf_value_type_id, "way", &table->way);
	if (err)
		return err;
	err = find_path(map->btf, table->way.type, "key", "addr", &table->addr);
	if (err)
		return err;
	err = find_path(map->btf, table->way.type, "key", "rule_id", &table->rule_id);
	if (err)
		return err;
	err = find_path(map->btf, table->way.type, "bucket", "packets_full_at", &table->packets);
	if (err)
		return err;
	err = find_path(map->btf, table->way.type, "bucket", "bytes_full_at", &table->bytes);
	if (err)
		return err;
	if (table->addr.size != (family == 4 ? 4 : 16))
		return -EINVAL;
	if (find_path(map->btf, table->way.type, "key", "to", &table->to) == 0 &&
	    (find_path(map->btf, table->way.type, "key", "also", &table->also) ||
	     find_path(map->btf, table->way.type, "key", "family", &table->of) ||
	     table->to.size != sizeof(((struct eb_destination *)0)->to)))
		return -EINVAL;
	return map_memory(map);
}

/* ---- the policy ---- */

static int read_limit(const struct btf *btf, __u32 rule_type, const char *name, const char *value, struct eb_limit *out)
{
	struct field mult, burst, shift;
	int err = find_path(btf, rule_type, name, "mult", &mult);

	if (err)
		return err;
	err = find_path(btf, rule_type, name, "burst", &burst);
	if (err)
		return err;
	err = find_path(btf, rule_type, name, "shift", &shift);
	if (err)
		return err;
	out->mult = read_number(value, &mult);
	out->burst = read_number(value, &burst);
	out->shift = read_number(value, &shift);
	return 0;
}

static int read_rule(const struct btf *btf, __u32 type, const char *value, struct eb_rule *out)
{
	static const char *const names[] = { "action", "id4", "id6", "prefix4", "prefix6" };
	uint64_t numbers[5];
	struct field level, also;
	int err;

	for (int i = 0; i < 5; i++) {
		struct field field;

		err = find_member(btf, type, names[i], &field);
		if (err)
			return err;
		numbers[i] = read_number(value, &field);
	}
	out->action = numbers[0];
	out->id4 = numbers[1];
	out->id6 = numbers[2];
	out->prefix4 = numbers[3];
	out->prefix6 = numbers[4];
	if (!find_member(btf, type, "level", &level)) /* there were none before schema 2 */
		out->level = read_number(value, &level);
	if (!find_member(btf, type, "also", &also)) /* likewise */
		out->also = read_number(value, &also);
	err = read_limit(btf, type, "packets", value, &out->packets);
	return err ? err : read_limit(btf, type, "bytes", value, &out->bytes);
}

static int parse_policy(struct eb_foreign *foreign, const char *value)
{
	const struct btf *btf = foreign->policy_map.btf;
	__u32 type = foreign->policy_map.info.btf_value_type_id;
	struct field count, rules, names;
	int err = find_member(btf, type, "rule_count", &count);

	if (err)
		return err;
	err = find_member(btf, type, "rules", &rules);
	if (err)
		return err;
	err = find_member(btf, type, "names", &names);
	if (err)
		return err;
	foreign->policy.rule_count = read_number(value, &count);
	if (foreign->policy.rule_count > EB_LIMITS_MAX || foreign->policy.rule_count > rules.element_count)
		return -EINVAL;
	for (__u32 i = 0; i < foreign->policy.rule_count && !err; i++) {
		size_t name_size = names.size / rules.element_count;

		memcpy(foreign->policy.names[i], value + names.offset + i * name_size,
		       name_size < EB_RULE_NAME_MAX ? name_size : EB_RULE_NAME_MAX);
		err = read_rule(btf, rules.type, value + rules.offset + i * rules.element_size,
				&foreign->policy.rules[i]);
	}
	return err;
}

static int read_value(const struct old_map *map, __u32 key, char **out)
{
	char *value = malloc(map->info.value_size);
	int err = value ? bpf_map_lookup_elem(map->fd, &key, value) : -ENOMEM;

	if (err) {
		free(value);
		return err;
	}
	*out = value;
	return 0;
}

static int read_policy(struct eb_foreign *foreign)
{
	struct old_map *state = &foreign->state;
	struct field active, ticks;
	char *value = NULL;
	uint64_t index;
	int err = find_member(state->btf, state->info.btf_value_type_id, "active", &active);

	if (err)
		return err;
	err = find_member(state->btf, state->info.btf_value_type_id, "ticks_per_ns", &ticks);
	if (err)
		return err;
	err = read_value(state, 0, &value);
	if (err)
		return err;
	index = read_number(value, &active) & 1;
	foreign->ticks_per_ns = read_number(value, &ticks);
	free(value);
	if (foreign->ticks_per_ns != EB_TICKS_PER_NS)
		return -EOPNOTSUPP;
	err = read_value(&foreign->policy_map, index, &value);
	if (err)
		return err;
	err = parse_policy(foreign, value);
	free(value);
	return err;
}

/* ---- life ---- */

int eb_foreign_open(const char *pin_dir, struct eb_foreign **out, char **error)
{
	struct eb_foreign *foreign = calloc(1, sizeof(*foreign));
	int err;

	if (!foreign)
		return eb_fail(-ENOMEM, error, "out of memory");
	foreign->state.fd = foreign->policy_map.fd = foreign->tables[0].map.fd = foreign->tables[1].map.fd = -1;
	err = open_map(pin_dir, "state", &foreign->state);
	if (err)
		goto out;
	err = open_map(pin_dir, "policy", &foreign->policy_map);
	if (err)
		goto out;
	err = open_table(pin_dir, 4, &foreign->tables[0]);
	if (err)
		goto out;
	err = open_table(pin_dir, 6, &foreign->tables[1]);
	if (err)
		goto out;
	err = read_policy(foreign);
out:
	if (err) {
		eb_foreign_close(foreign);
		return eb_fail(err, error, "the maps in %s have a layout that cannot be carried over: %s", pin_dir,
			       strerror(-err));
	}
	*out = foreign;
	return 0;
}

void eb_foreign_close(struct eb_foreign *foreign)
{
	if (!foreign)
		return;
	close_map(&foreign->state);
	close_map(&foreign->policy_map);
	close_map(&foreign->tables[0].map);
	close_map(&foreign->tables[1].map);
	free(foreign);
}

const struct eb_policy *eb_foreign_policy(const struct eb_foreign *foreign)
{
	return &foreign->policy;
}

uint32_t eb_foreign_state_id(const struct eb_foreign *foreign)
{
	return foreign->state.info.id;
}

static int visit_entry(const struct old_table *table, const char *entry,
		       int (*visit)(const struct eb_bucket_view *view, void *arg), void *arg)
{
	struct eb_bucket_view view = {
		.source.family = table->family,
		.source.rule_id = read_number(entry, &table->rule_id),
		.packets_full_at = read_number(entry, &table->packets),
		.bytes_full_at = read_number(entry, &table->bytes),
	};

	if (!view.source.rule_id || eb_gcra_is_locked(view.packets_full_at) || eb_gcra_is_locked(view.bytes_full_at))
		return 0;
	memcpy(view.source.addr, entry + table->addr.offset, table->addr.size);
	if (table->to.size) {
		view.source.family = read_number(entry, &table->of);
		view.source.target.also = read_number(entry, &table->also);
		memcpy(view.source.target.to, entry + table->to.offset, table->to.size);
	}
	return visit(&view, arg);
}

static int visit_table(const struct old_table *table, int (*visit)(const struct eb_bucket_view *view, void *arg),
		       void *arg)
{
	size_t stride = (table->map.info.value_size + 7) / 8 * 8;
	int ret = 0;

	for (__u32 set = 0; set < table->map.info.max_entries && !ret; set++) {
		const char *ways = table->map.memory + set * stride + table->way.offset;

		for (size_t way = 0; way < table->way.element_count && !ret; way++)
			ret = visit_entry(table, ways + way * table->way.element_size, visit, arg);
	}
	return ret;
}

int eb_foreign_each(const struct eb_foreign *foreign, int (*visit)(const struct eb_bucket_view *view, void *arg),
		    void *arg)
{
	int ret = visit_table(&foreign->tables[0], visit, arg);

	return ret ? ret : visit_table(&foreign->tables[1], visit, arg);
}
