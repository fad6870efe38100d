// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "convert.h"
#include "dataplane.h"
#include "edgebucket.skel.h"
#include "legacy.h"
#include "log.h"
#include "table.h"
#include "text.h"

#define BPFFS "/sys/fs/bpf"

/* The most maps of a program that we look at; ours has a dozen. */
#define PROGRAM_MAPS_MAX 64

/* The program: loaded once for all interfaces that it has for itself, and once for each where a dispatcher runs it. */
struct program {
	struct edgebucket_bpf *skeleton;
	struct xdp_program *xdp; /* NULL when attached without libxdp */
	int ifindex;             /* 0 for the one that needs no dispatcher */
	uint32_t id;
	struct program *next;
};

struct eb_dataplane {
	char *pin_dir;
	struct eb_maps maps;
	struct eb_buckets *buckets;
	struct eb_state *state; /* the map `state` in memory */
	size_t state_length;
	struct btf *btf;        /* of the tries that a policy makes */
	bool is_new;
	bool is_pinned;
	struct eb_legacy *legacy; /* maps of another layout or size that were there, until eb_dataplane_settle() */
	struct eb_convert *carry;
	struct program *programs;
};

/* ---- bpffs and pins ---- */

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

static int make_pin_dir(const char *pin_dir, char **error)
{
	if (strncmp(pin_dir, BPFFS, strlen(BPFFS)) == 0 && !is_bpffs(BPFFS) &&
	    mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return eb_fail(-errno, error, "cannot mount bpffs at " BPFFS ": %s", strerror(errno));
	if (mkdir(pin_dir, 0700) < 0 && errno != EEXIST)
		return eb_fail(-errno, error, "pin_dir %s: %s", pin_dir, strerror(errno));
	if (!is_bpffs(pin_dir))
		return eb_fail(-EINVAL, error, "pin_dir %s is not on a bpf file system; use a directory below " BPFFS,
			       pin_dir);
	return 0;
}

static int pin_map(int fd, const char *pin_dir, enum eb_map map, char **error)
{
	char path[4096];
	int err;

	if (snprintf(path, sizeof(path), "%s/%s", pin_dir, eb_map_name(map)) >= (int)sizeof(path))
		return eb_fail(-ENAMETOOLONG, error, "pin_dir %s is too long", pin_dir);
	if (unlink(path) < 0 && errno != ENOENT)
		return eb_fail(-errno, error, "%s: %s", path, strerror(errno));
	err = bpf_obj_pin(fd, path);
	return err ? eb_fail(err, error, "%s: %s", path, strerror(-err)) : 0;
}

/* ---- the object ---- */

static struct bpf_map *skeleton_map(const struct edgebucket_bpf *skeleton, enum eb_map map)
{
	return bpf_object__find_map_by_name(skeleton->obj, eb_map_name(map));
}

/* Two entries for each bucket: see table.h. */
static __u32 sets_of(uint32_t table_size)
{
	return table_size / (EB_WAYS / 2);
}

/* Opens the object. Maps that are open in *maps are reused, others will be made, with bucket tables of `sets` sets. */
static int open_skeleton(const struct eb_maps *maps, __u32 sets, struct edgebucket_bpf **out)
{
	struct edgebucket_bpf *skeleton = edgebucket_bpf__open();
	int err = skeleton ? 0 : -errno;

	for (int i = 0; i < EB_MAPS && !err; i++)
		if (maps->fd[i] >= 0)
			err = bpf_map__reuse_fd(skeleton_map(skeleton, i), maps->fd[i]);
	if (!err && maps->fd[EB_MAP_BUCKETS_V4] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.buckets_v4, sets);
	if (!err && maps->fd[EB_MAP_BUCKETS_V6] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.buckets_v6, sets);
	if (!err && maps->fd[EB_MAP_TAGS_V4] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.tags_v4, sets);
	if (!err && maps->fd[EB_MAP_TAGS_V6] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.tags_v6, sets);
	if (err) {
		edgebucket_bpf__destroy(skeleton);
		return err;
	}
	skeleton->rodata->sets_v4 = sets;
	skeleton->rodata->sets_v6 = sets;
	*out = skeleton;
	return 0;
}

/* Makes those of *maps that are not open, without loading the program. */
static int make_maps(struct eb_maps *maps, __u32 sets)
{
	struct edgebucket_bpf *skeleton;
	int err = open_skeleton(maps, sets, &skeleton);

	if (err)
		return err;
	bpf_program__set_autoload(skeleton->progs.edgebucket, false);
	err = edgebucket_bpf__load(skeleton);
	for (int i = 0; i < EB_MAPS && !err; i++) {
		if (maps->fd[i] >= 0)
			continue;
		maps->fd[i] = dup(bpf_map__fd(skeleton_map(skeleton, i)));
		if (maps->fd[i] < 0)
			err = -errno;
	}
	edgebucket_bpf__destroy(skeleton);
	return err;
}

/* ---- opening ---- */

static int map_state(struct eb_dataplane *dataplane)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *memory;

	dataplane->state_length = (sizeof(struct eb_state) + page - 1) / page * page;
	memory = mmap(NULL, dataplane->state_length, PROT_READ | PROT_WRITE, MAP_SHARED,
		      dataplane->maps.fd[EB_MAP_STATE], 0);
	if (memory == MAP_FAILED)
		return -errno;
	dataplane->state = memory;
	return 0;
}

/* Makes maps that nobody knows of yet: eb_dataplane_commit() pins them. */
static int make_new(struct eb_dataplane *dataplane, uint32_t table_size, char **error)
{
	int err = make_maps(&dataplane->maps, sets_of(table_size));

	if (!err)
		err = map_state(dataplane);
	if (err)
		return eb_fail(err, error, "cannot make the maps: %s", strerror(-err));
	dataplane->is_new = true;
	dataplane->state->ticks_per_ns = EB_TICKS_PER_NS;
	if (getrandom(dataplane->state->seed, sizeof(dataplane->state->seed), 0) < 0)
		return eb_fail(-errno, error, "no random seed: %s", strerror(errno));
	return 0;
}

/* Makes new maps beside those that are pinned, from which the buckets are carried over. */
static int replace_maps(struct eb_dataplane *dataplane, uint32_t table_size, char **error)
{
	char *why = NULL;
	int err;

	eb_maps_close(&dataplane->maps);
	if (eb_legacy_open(dataplane->pin_dir, &dataplane->legacy, &why))
		eb_warning("%s", why ? why : "out of memory");
	free(why);
	err = make_new(dataplane, table_size, error);
	if (err || !dataplane->legacy)
		return err;
	/* A program that uses the old maps is ours. */
	dataplane->state->predecessor = eb_legacy_state_id(dataplane->legacy);
	dataplane->is_new = false;
	return 0;
}

static int adopt(struct eb_dataplane *dataplane, uint32_t table_size, char **error)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(dataplane->maps.fd[EB_MAP_BUCKETS_V4], &info, &len);

	if (!err && info.max_entries != sets_of(table_size))
		return replace_maps(dataplane, table_size, error);
	if (!err)
		err = map_state(dataplane);
	dataplane->is_pinned = true;
	return err ? eb_fail(err, error, "cannot adopt the maps in %s: %s", dataplane->pin_dir, strerror(-err)) : 0;
}

static int open_maps(struct eb_dataplane *dataplane, const struct eb_config *config, char **error)
{
	char *why = NULL;
	int err = eb_maps_open(config->pin_dir, &dataplane->maps, &why);

	if (!err)
		return adopt(dataplane, config->table_size, error);
	free(why);
	if (err == -EPROTO)
		return replace_maps(dataplane, config->table_size, error);
	if (err == -ENOENT)
		return make_new(dataplane, config->table_size, error);
	return eb_fail(err, error, "cannot open the maps in %s: %s", config->pin_dir, strerror(-err));
}

/* The types of the tries' records, so that bpftool shows names. */
static int load_btf(struct eb_dataplane *dataplane)
{
	struct edgebucket_bpf *skeleton = edgebucket_bpf__open();
	const void *raw;
	__u32 size;
	int err;

	if (!skeleton)
		return -errno;
	raw = btf__raw_data(bpf_object__btf(skeleton->obj), &size);
	dataplane->btf = raw ? btf__new(raw, size) : NULL;
	edgebucket_bpf__destroy(skeleton);
	if (!dataplane->btf)
		return -errno;
	err = btf__load_into_kernel(dataplane->btf);
	if (err)
		eb_debug("no BTF for tries: %s", strerror(-err));
	return 0;
}

/* What the libraries say is detail behind the one line that we log ourselves. */
static int quiet_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	eb_log_va(EB_LOG_DEBUG, format, args);
	return 0;
}

static int quiet_libxdp(enum libxdp_print_level level, const char *format, va_list args)
{
	(void)level;
	eb_log_va(EB_LOG_DEBUG, format, args);
	return 0;
}

int eb_dataplane_open(const struct eb_config *config, struct eb_dataplane **out, char **error)
{
	struct eb_dataplane *dataplane = calloc(1, sizeof(*dataplane));
	int err;

	if (!dataplane)
		return eb_fail(-ENOMEM, error, "out of memory");
	libbpf_set_print(quiet_libbpf);
	libxdp_set_print(quiet_libxdp);
	eb_maps_init(&dataplane->maps);
	dataplane->pin_dir = strdup(config->pin_dir);
	err = dataplane->pin_dir ? make_pin_dir(config->pin_dir, error) : eb_fail(-ENOMEM, error, "out of memory");
	if (!err)
		err = open_maps(dataplane, config, error);
	if (!err && !dataplane->buckets) {
		err = eb_buckets_open(&dataplane->maps, true, &dataplane->buckets);
		if (err)
			eb_fail(err, error, "cannot map the buckets: %s", strerror(-err));
	}
	if (!err) {
		err = load_btf(dataplane);
		if (err)
			eb_fail(err, error, "cannot read the program's types: %s", strerror(-err));
	}
	if (err) {
		eb_dataplane_close(dataplane);
		return err;
	}
	eb_buckets_recover(dataplane->buckets);
	*out = dataplane;
	return 0;
}

static void free_program(struct program *program)
{
	if (program->xdp)
		xdp_program__close(program->xdp);
	edgebucket_bpf__destroy(program->skeleton);
	free(program);
}

static void close_legacy(struct eb_dataplane *dataplane)
{
	eb_legacy_close(dataplane->legacy);
	eb_convert_free(dataplane->carry);
	dataplane->legacy = NULL;
	dataplane->carry = NULL;
}

void eb_dataplane_close(struct eb_dataplane *dataplane)
{
	if (!dataplane)
		return;
	while (dataplane->programs) {
		struct program *next = dataplane->programs->next;

		free_program(dataplane->programs);
		dataplane->programs = next;
	}
	close_legacy(dataplane);
	btf__free(dataplane->btf);
	eb_buckets_close(dataplane->buckets);
	if (dataplane->state)
		munmap(dataplane->state, dataplane->state_length);
	eb_maps_close(&dataplane->maps);
	free(dataplane->pin_dir);
	free(dataplane);
}

const struct eb_maps *eb_dataplane_maps(const struct eb_dataplane *dataplane)
{
	return &dataplane->maps;
}

struct eb_buckets *eb_dataplane_buckets(const struct eb_dataplane *dataplane)
{
	return dataplane->buckets;
}

bool eb_dataplane_is_carrying(const struct eb_dataplane *dataplane)
{
	return dataplane->legacy != NULL;
}

bool eb_dataplane_is_new(const struct eb_dataplane *dataplane)
{
	return dataplane->is_new;
}

int eb_dataplane_commit(struct eb_dataplane *dataplane, char **error)
{
	int err = 0;

	if (dataplane->is_pinned)
		return 0;
	EB_WRITE(dataplane->state->schema, EB_SCHEMA);
	for (int i = 0; i < EB_MAPS && !err; i++)
		err = pin_map(dataplane->maps.fd[i], dataplane->pin_dir, i, error);
	dataplane->is_pinned = !err;
	return err;
}

/* ---- policies ---- */

/* Returns once no packet can be using the policy that was in force before the last switch. XDP programs run inside an
 * RCU read-side section, and this command waits for all of them. */
static void wait_for_packets(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		usleep(100000); /* nohz_full kernels refuse it; no packet takes a tenth of a second */
}

static int make_trie(const struct eb_dataplane *dataplane, const struct eb_trie *trie, int family)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	__u32 key_size = family == 4 ? sizeof(struct eb_lpm4) : sizeof(struct eb_lpm6);
	int fd = btf__fd(dataplane->btf);

	if (fd >= 0) {
		opts.btf_fd = fd;
		opts.btf_key_type_id = btf__find_by_name_kind(dataplane->btf, family == 4 ? "eb_lpm4" : "eb_lpm6",
							      BTF_KIND_STRUCT);
		opts.btf_value_type_id = btf__find_by_name_kind(dataplane->btf, "__u64", BTF_KIND_TYPEDEF);
	}
	return bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, family == 4 ? "trie_v4" : "trie_v6", key_size, sizeof(__u64),
			      trie->count ? trie->count : 1, &opts);
}

static int fill_trie(int fd, const struct eb_trie *trie, int family)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	size_t key_size = family == 4 ? sizeof(struct eb_lpm4) : sizeof(struct eb_lpm6);
	size_t addr_size = family == 4 ? 4 : 16;
	char *keys = calloc(trie->count, key_size);
	__u64 *values = calloc(trie->count, sizeof(*values));
	__u32 count = trie->count;
	int err = keys && values ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < trie->count; i++) {
		__u32 len = trie->items[i].len;

		memcpy(keys + i * key_size, &len, sizeof(len));
		memcpy(keys + i * key_size + sizeof(len), trie->items[i].addr, addr_size);
		values[i] = trie->items[i].rules;
	}
	if (!err)
		err = bpf_map_update_batch(fd, keys, values, &count, &opts);
	free(keys);
	free(values);
	return err;
}

/* Puts a trie of this ruleset into an idle place of prefixes_v4 or prefixes_v6. */
static int write_trie(struct eb_dataplane *dataplane, const struct eb_trie *trie, int family, __u32 place)
{
	int outer = dataplane->maps.fd[family == 4 ? EB_MAP_PREFIXES_V4 : EB_MAP_PREFIXES_V6];
	int err = 0, fd;

	if (trie->count == 0) {
		(void)bpf_map_delete_elem(outer, &place); /* -ENOENT where none was */
		return 0;
	}
	fd = make_trie(dataplane, trie, family);
	if (fd < 0)
		return fd;
	err = fill_trie(fd, trie, family);
	if (!err)
		err = bpf_map_update_elem(outer, &place, &fd, BPF_ANY);
	close(fd);
	return err;
}

static int write_tries(struct eb_dataplane *dataplane, const struct eb_ruleset *ruleset, __u32 idle)
{
	int err = 0;

	for (int side = EB_TRIE_SRC; side <= EB_TRIE_DST && !err; side++) {
		err = write_trie(dataplane, &ruleset->v4[side], 4, EB_TRIE(idle, side));
		if (!err)
			err = write_trie(dataplane, &ruleset->v6[side], 6, EB_TRIE(idle, side));
	}
	return err;
}

static int write_ports(struct eb_dataplane *dataplane, const uint64_t *ports, __u32 idle)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 count = 65536, *keys;
	int err;

	if (!ports)
		return 0;
	keys = calloc(count, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (__u32 i = 0; i < count; i++)
		keys[i] = EB_PORT(idle, i);
	err = bpf_map_update_batch(dataplane->maps.fd[EB_MAP_PORTS], keys, ports, &count, &opts);
	free(keys);
	return err;
}

static bool has_slot(const struct eb_policy *policy, __u32 slot)
{
	for (__u32 i = 0; i < policy->rule_count; i++)
		if (policy->rules[i].slot == slot)
			return true;
	return false;
}

/* A rule that is new starts with counters of 0 and an open gate. */
static int clear_new_slots(struct eb_dataplane *dataplane, const struct eb_policy *old, const struct eb_policy *new)
{
	int cpus = eb_maps_cpus(), err = 0;
	struct eb_counters *zeros;

	if (cpus < 0)
		return cpus;
	zeros = calloc(cpus, sizeof(*zeros));
	if (!zeros)
		return -ENOMEM;
	for (__u32 i = 0; i < new->rule_count && !err; i++) {
		__u32 slot = new->rules[i].slot;

		if (has_slot(old, slot))
			continue;
		err = bpf_map_update_elem(dataplane->maps.fd[EB_MAP_COUNTERS], &slot, zeros, BPF_ANY);
		dataplane->state->gates[slot].packets_full_at = EB_FULL;
	}
	free(zeros);
	return err;
}

static int each_bucket(const void *source, int (*visit)(const struct eb_bucket_view *view, void *arg), void *arg)
{
	return eb_buckets_each(source, 0, visit, arg);
}

static int each_legacy_bucket(const void *source, int (*visit)(const struct eb_bucket_view *view, void *arg), void *arg)
{
	return eb_legacy_each(source, visit, arg);
}

static void warn_of_lost(size_t lost)
{
	if (lost)
		eb_warning("the table is full: %zu sources begin with a full bucket; raise table_size", lost);
}

static int fill_idle(struct eb_dataplane *dataplane, const struct eb_ruleset *ruleset, const struct eb_policy *old,
		     __u32 idle)
{
	struct eb_policy *new = malloc(sizeof(*new));
	int err;

	if (!new)
		return -ENOMEM;
	*new = ruleset->policy;
	new->generation = old->generation + 1;
	err = write_tries(dataplane, ruleset, idle);
	if (!err)
		err = write_ports(dataplane, ruleset->ports, idle);
	if (!err)
		err = bpf_map_update_elem(dataplane->maps.fd[EB_MAP_POLICY], &idle, new, BPF_ANY);
	free(new);
	return err;
}

/* Fills the idle policy, switches to it, and drops the tries of the one before. */
static int switch_policy(struct eb_dataplane *dataplane, const struct eb_ruleset *ruleset, const struct eb_policy *old,
			 struct eb_convert *convert)
{
	static const struct eb_ruleset nothing;
	__u32 active = EB_READ(dataplane->state->active) & 1;
	int err = fill_idle(dataplane, ruleset, old, 1 - active);

	if (!err)
		err = clear_new_slots(dataplane, old, &ruleset->policy);
	if (!err)
		err = eb_convert_begin(convert, each_bucket, dataplane->buckets, dataplane->buckets);
	if (err)
		return err;
	EB_WRITE(dataplane->state->active, 1 - active);
	wait_for_packets();
	warn_of_lost(eb_convert_finish(convert, each_bucket, dataplane->buckets, dataplane->buckets));
	(void)write_tries(dataplane, &nothing, active);
	return 0;
}

/* Takes the buckets over from the maps before; what the old program still charges is added by eb_dataplane_settle(). */
static int begin_carrying(struct eb_dataplane *dataplane, const struct eb_policy *policy)
{
	if (!dataplane->legacy || dataplane->carry)
		return 0;
	dataplane->carry = eb_convert_new(eb_legacy_policy(dataplane->legacy), policy, false);
	if (!dataplane->carry)
		return -ENOMEM;
	return eb_convert_begin(dataplane->carry, each_legacy_bucket, dataplane->legacy, dataplane->buckets);
}

int eb_dataplane_apply(struct eb_dataplane *dataplane, const struct eb_ruleset *ruleset, char **error)
{
	struct eb_policy *old = calloc(1, sizeof(*old));
	int err = old ? eb_maps_policy(&dataplane->maps, old) : -ENOMEM;
	struct eb_convert *convert = err ? NULL : eb_convert_new(old, &ruleset->policy, true);

	if (!err)
		err = convert ? switch_policy(dataplane, ruleset, old, convert) : -ENOMEM;
	if (!err)
		err = begin_carrying(dataplane, &ruleset->policy);
	eb_convert_free(convert);
	eb_buckets_unmap(dataplane->buckets);
	free(old);
	return err ? eb_fail(err, error, "cannot write the rules: %s", strerror(-err)) : 0;
}

void eb_dataplane_settle(struct eb_dataplane *dataplane)
{
	if (!dataplane->carry)
		return;
	warn_of_lost(eb_convert_finish(dataplane->carry, each_legacy_bucket, dataplane->legacy, dataplane->buckets));
	eb_buckets_unmap(dataplane->buckets);
	close_legacy(dataplane);
}

/* ---- interfaces ---- */

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

/* Looks for our program behind a dispatcher. Sets out->foreign when what is there is no dispatcher. */
static void look_behind_dispatcher(int ifindex, const struct identity *identity, struct eb_attachment *out)
{
	struct xdp_multiprog *chain = xdp_multiprog__get_from_ifindex(ifindex);
	struct xdp_program *program = NULL;

	if (libxdp_get_error(chain) || xdp_multiprog__is_legacy(chain)) {
		out->foreign = true;
	} else {
		while ((program = xdp_multiprog__next_prog(program, chain))) {
			if (!is_ours(xdp_program__fd(program), identity))
				continue;
			out->attached = out->dispatcher = true;
			out->prog_id = xdp_program__id(program);
		}
	}
	if (!libxdp_get_error(chain))
		xdp_multiprog__close(chain);
}

int eb_dataplane_status(const char *ifname, const struct eb_maps *maps, struct eb_attachment *out)
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
		out->prog_id = query.prog_id;
	} else {
		look_behind_dispatcher(ifindex, &identity, out);
	}
	out->mode = mode_name(query.attach_mode);
	return 0;
}

/* Opens the program, ready to be loaded: on kernels before 5.18 without what they do not know. */
static int open_program(struct eb_dataplane *dataplane, bool multi_buffer, struct program **out)
{
	struct program *program = calloc(1, sizeof(*program));
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err;

	if (!program)
		return -ENOMEM;
	err = bpf_obj_get_info_by_fd(dataplane->maps.fd[EB_MAP_BUCKETS_V4], &info, &len);
	if (!err)
		err = open_skeleton(&dataplane->maps, info.max_entries, &program->skeleton);
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

/* Keeps a program that is attached, in place of the one kept for the same interface before. */
static void keep_program(struct eb_dataplane *dataplane, struct program *program, int ifindex)
{
	struct program **link = &dataplane->programs;

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

static bool is_current(const struct eb_dataplane *dataplane, uint32_t id)
{
	for (const struct program *program = dataplane->programs; program; program = program->next)
		if (program->id == id)
			return true;
	return false;
}

/* The program that needs no dispatcher, or NULL while there is none. */
static struct program *find_alone(const struct eb_dataplane *dataplane)
{
	for (struct program *program = dataplane->programs; program; program = program->next)
		if (program->ifindex == 0)
			return program;
	return NULL;
}

/* Loads the program that needs no dispatcher, unless it is. Kernels before 5.18 do not know multi-buffer frames. */
static int load_alone(struct eb_dataplane *dataplane, struct program **out)
{
	struct program *program = find_alone(dataplane);
	int err = program ? 0 : -EINVAL;

	for (int multi_buffer = 1; multi_buffer >= 0 && err; multi_buffer--) {
		err = open_program(dataplane, multi_buffer, &program);
		if (err)
			return err;
		err = edgebucket_bpf__load(program->skeleton);
		if (err)
			free_program(program);
		else
			keep_program(dataplane, program, 0);
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
static int replace_alone(struct eb_dataplane *dataplane, int ifindex, const struct eb_attachment *old)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	struct program *program;
	int err, fd;

	err = load_alone(dataplane, &program);
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
static int attach_with_libxdp(struct eb_dataplane *dataplane, const char *ifname, enum xdp_attach_mode mode,
			      bool multi_buffer)
{
	struct eb_attachment now;
	struct program *program;
	int err = open_program(dataplane, multi_buffer, &program);

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
	err = eb_dataplane_status(ifname, &dataplane->maps, &now);
	keep_program(dataplane, program, !err && now.dispatcher ? (int)if_nametoindex(ifname) : 0);
	return 0;
}

/* Removes one of our programs from behind a dispatcher. */
static int detach_behind_dispatcher(int ifindex, uint32_t prog_id)
{
	struct xdp_multiprog *chain = xdp_multiprog__get_from_ifindex(ifindex);
	struct xdp_program *program = NULL;
	int err = libxdp_get_error(chain);

	if (err)
		return err;
	err = -ENOENT;
	while ((program = xdp_multiprog__next_prog(program, chain))) {
		if (xdp_program__id(program) == prog_id) {
			err = xdp_program__detach(program, ifindex, xdp_multiprog__attach_mode(chain), 0);
			break;
		}
	}
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

static int attach_in_mode(struct eb_dataplane *dataplane, const char *ifname, enum xdp_attach_mode mode)
{
	const struct program *alone = find_alone(dataplane);
	int err;

	if (alone)
		return attach_alone(alone, ifname, mode);
	err = attach_with_libxdp(dataplane, ifname, mode, true);
	/* A kernel before 5.18 knows no multi-buffer frames. */
	return err && !is_taken(err) ? attach_with_libxdp(dataplane, ifname, mode, false) : err;
}

static int attach_fresh(struct eb_dataplane *dataplane, const char *ifname, enum eb_attach_mode mode)
{
	int err = -EINVAL;

	if (mode != EB_ATTACH_GENERIC)
		err = attach_in_mode(dataplane, ifname, XDP_MODE_NATIVE);
	if (mode == EB_ATTACH_GENERIC || (mode == EB_ATTACH_AUTO && err && !is_taken(err)))
		err = attach_in_mode(dataplane, ifname, XDP_MODE_SKB);
	return err;
}

static bool mode_fits(const struct eb_attachment *old, enum eb_attach_mode mode)
{
	return mode == EB_ATTACH_AUTO || (mode == EB_ATTACH_GENERIC) == (strcmp(old->mode, "generic") == 0);
}

static int explain_attach(int err, const char *ifname, const struct eb_attachment *old, char **error)
{
	if (old->foreign)
		return eb_fail(-EBUSY, error,
			       "%s: another XDP program is attached and this kernel cannot run both; it is left alone, "
			       "remove it to let edgebucket in",
			       ifname);
	if (err == -EOPNOTSUPP)
		return eb_fail(err, error, "%s: the driver has no native XDP; use attach: generic (or auto)", ifname);
	return eb_fail(err, error, "%s: cannot attach: %s", ifname, strerror(-err));
}

int eb_dataplane_attach(struct eb_dataplane *dataplane, const char *ifname, enum eb_attach_mode mode,
			struct eb_attachment *out, char **error)
{
	struct eb_attachment old;
	int ifindex = if_nametoindex(ifname);
	int err = eb_dataplane_status(ifname, &dataplane->maps, &old);

	if (err)
		return eb_fail(err, error, "%s: %s", ifname, strerror(-err));
	if (old.attached && is_current(dataplane, old.prog_id) && (old.dispatcher || mode_fits(&old, mode))) {
		*out = old;
		return 0;
	}
	if (old.attached && !old.dispatcher && !mode_fits(&old, mode)) {
		err = eb_dataplane_detach(ifname, &dataplane->maps, error);
		if (err)
			return err;
		old = (struct eb_attachment){ .mode = "" };
	}
	if (old.attached && !old.dispatcher)
		err = replace_alone(dataplane, ifindex, &old);
	else
		err = attach_fresh(dataplane, ifname, mode);
	if (!err && old.dispatcher)
		err = detach_behind_dispatcher(ifindex, old.prog_id);
	if (err)
		return explain_attach(err, ifname, &old, error);
	err = eb_dataplane_status(ifname, &dataplane->maps, out);
	return err ? eb_fail(err, error, "%s: %s", ifname, strerror(-err)) : 0;
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

int eb_dataplane_detach(const char *ifname, const struct eb_maps *maps, char **error)
{
	struct eb_attachment old;
	int ifindex = if_nametoindex(ifname);
	int err = eb_dataplane_status(ifname, maps, &old);

	if (!err && old.attached)
		err = old.dispatcher ? detach_behind_dispatcher(ifindex, old.prog_id) : detach_alone(ifindex, &old);
	return err ? eb_fail(err, error, "%s: cannot detach: %s", ifname, strerror(-err)) : 0;
}
