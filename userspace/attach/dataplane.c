// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach/attach.h"
#include "attach/bpf_object.h"
#include "attach/dataplane.h"
#include "attach/kernel_check.h"
#include "attach/policy_maps.h"
#include "attach/views.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "maps/bpffs.h"
#include "maps/convert.h"
#include "maps/foreign.h"
#include "maps/last_maps.h"
#include "maps/pins.h"
#include "table.h"

#define PRIVATE_BPFFS                                                                                                  \
	"bpffs was not mounted at " EB_BPFFS ", and this agent mounted it in a mount namespace of its own: the maps "  \
	"end with that, and a start makes new ones, with full buckets. Before it starts, outside: mount -t bpf bpf "   \
	EB_BPFFS "; a container needs that directory as a volume"

struct eb_dataplane {
	char *pin_dir, *run_dir;
	struct eb_maps maps;
	struct eb_buckets *buckets;
	struct eb_state *state; /* the map `state` in memory */
	size_t state_length;
	struct eb_policy_maps policies;
	bool is_new;
	bool is_pinned;
	bool is_private; /* the pins end with a mount namespace of this agent's own */
	char *pins_problem; /* why removed pins cannot be made again; NULL */
	struct eb_foreign *foreign; /* maps of another layout or size that were there, until eb_dataplane_settle() */
	struct eb_convert *carry;
	struct eb_programs *programs;
	struct eb_interface_rules interfaces; /* of the ruleset in force */
	char held_by[IF_NAMESIZE]; /* the interface whose program eb_dataplane_settle() waited for last */
};

/* ---- opening ---- */

/* Two entries for each bucket: see table.h. */
static __u32 sets_of(uint32_t table_size)
{
	return table_size / (EB_WAYS / 2);
}

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

/* Makes maps without pins: eb_dataplane_commit() pins them. */
static int make_new(struct eb_dataplane *dataplane, uint32_t table_size, char **error)
{
	int err = eb_bpf_object_make_maps(&dataplane->maps, sets_of(table_size));

	if (!err)
		err = map_state(dataplane);
	if (err)
		return eb_fail(err, error, "cannot make the maps: %s", strerror(-err));
	dataplane->is_new = true;
	dataplane->state->ticks_per_ns = EB_TICKS_PER_NS;
	dataplane->state->swept_ns = eb_monotonic_ns();
	if (getrandom(dataplane->state->seed, sizeof(dataplane->state->seed), 0) < 0)
		return eb_fail(-errno, error, "cannot get a random seed: %s", strerror(errno));
	return 0;
}

/* Makes new maps where none are pinned. Those of an earlier run might still be in use, if their pins were removed. */
static int make_first(struct eb_dataplane *dataplane, uint32_t table_size, char **error)
{
	int err = make_new(dataplane, table_size, error);

	if (err)
		return err;
	dataplane->state->predecessor = eb_last_maps_read(dataplane->run_dir, dataplane->pin_dir);
	return 0;
}

/* Opens the maps whose buckets are carried over; without them, sources begin with full ones. */
static void open_foreign(struct eb_dataplane *dataplane, const char *dir)
{
	char *why = NULL;

	if (eb_foreign_open(dir, &dataplane->foreign, &why))
		eb_warning("cannot copy the buckets to the new maps, sources start with full buckets",
			   eb_str("pin_dir", dir), eb_str("error", why ? why : "out of memory"));
	free(why);
}

/* Bans are kept as they are, where their maps have this build's layout. */
static void keep_bans(struct eb_dataplane *dataplane)
{
	struct eb_maps kept;
	bool are_there = true;

	eb_maps_init(&kept);
	for (int i = 0; i < EB_MAPS; i++) {
		if (!EB_MAP_IS_OF_BANS(i))
			continue;
		kept.fd[i] = eb_pins_open(dataplane->pin_dir, eb_map_name(i));
		are_there &= kept.fd[i] >= 0;
	}
	if (are_there && eb_bpf_object_fits_bans(&kept))
		dataplane->maps = kept;
	else
		eb_maps_close(&kept);
}

/* Makes new maps beside those that are pinned, from which the buckets are carried over. If those were to replace
 * others and never did so on all interfaces, from the others: they are what programs use. */
static int replace_maps(struct eb_dataplane *dataplane, uint32_t table_size, char **error)
{
	char before[PATH_MAX];
	int err;

	eb_maps_close(&dataplane->maps);
	keep_bans(dataplane);
	open_foreign(dataplane, eb_pins_before(dataplane->pin_dir, before) ? before : dataplane->pin_dir);
	if (!dataplane->foreign)
		return make_first(dataplane, table_size, error);
	err = make_new(dataplane, table_size, error);
	if (err)
		return err;
	dataplane->state->predecessor = eb_foreign_state_id(dataplane->foreign);
	dataplane->is_new = false;
	return 0;
}

/*
 * A replacement that an agent was killed at is completed first, whatever the size is by now: programs of the set before
 * may be attached, and what they charge goes to the set that was to replace it.
 */
static void resume(struct eb_dataplane *dataplane, const char *before, uint32_t table_size, uint32_t sets)
{
	open_foreign(dataplane, before);
	if (!dataplane->foreign)
		(void)eb_pins_settle(dataplane->pin_dir);
	if (sets != sets_of(table_size))
		eb_warning("a change of table_size was interrupted and is completed now; the configured size comes "
			   "into force at the next restart",
			   eb_num("table_size", sets * (EB_WAYS / 2)), eb_num("configured", table_size));
}

static void warn_of_lost(size_t lost)
{
	if (lost)
		eb_warning("no room for all buckets that are carried over, the others begin full",
			   eb_num("buckets", lost), eb_str("hint", "raise table_size"));
}

static int finish_interrupted(struct eb_dataplane *dataplane)
{
	size_t lost = 0;
	int err = eb_policy_maps_finish_interrupted(&dataplane->policies, dataplane->state, dataplane->buckets, &lost);

	warn_of_lost(lost);
	return err;
}

/* The tables before are not mended: they are read here only when an agent was killed in a replacement, or with an
 * upgrade of the layout. No agent for months after such a kill, or until such an upgrade, refuses who was not seen
 * since for some weeks at worst. */
static int mend(struct eb_dataplane *dataplane)
{
	struct eb_policy *policy = calloc(1, sizeof(*policy));
	int err = policy ? eb_maps_policy(&dataplane->maps, policy) : -ENOMEM;
	uint64_t mended = err ? 0 : eb_buckets_mend(dataplane->buckets, policy);

	if (mended)
		eb_warning("no agent ran for months: debts above a burst are reduced to the burst",
			   eb_num("buckets", mended));
	free(policy);
	return err;
}

/* Brings to an end what an agent before was killed in. */
static int finish_before(struct eb_dataplane *dataplane)
{
	int err = eb_buckets_open(&dataplane->maps, true, &dataplane->buckets);

	if (err)
		return err;
	err = eb_buckets_recover(dataplane->buckets);
	if (err)
		return err;
	err = mend(dataplane);
	return err ? err : finish_interrupted(dataplane);
}

static void forget_buckets(struct eb_dataplane *dataplane)
{
	eb_buckets_close(dataplane->buckets);
	if (dataplane->state)
		munmap(dataplane->state, dataplane->state_length);
	dataplane->buckets = NULL;
	dataplane->state = NULL;
}

static int adopt(struct eb_dataplane *dataplane, uint32_t table_size, char **error)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	char before[PATH_MAX];
	int err = bpf_obj_get_info_by_fd(dataplane->maps.fd[EB_MAP_BUCKETS_V4], &info, &len);
	bool is_interrupted = eb_pins_before(dataplane->pin_dir, before);
	uint32_t sets = is_interrupted ? info.max_entries : sets_of(table_size);

	if (err)
		goto out;
	if (!eb_bpf_object_fits(&dataplane->maps, info.max_entries))
		return replace_maps(dataplane, table_size, error);
	err = map_state(dataplane);
	if (err)
		goto out;
	err = finish_before(dataplane);
	if (err)
		goto out;
	if (info.max_entries != sets) {
		forget_buckets(dataplane);
		return replace_maps(dataplane, table_size, error);
	}
	dataplane->is_pinned = true;
	if (is_interrupted)
		resume(dataplane, before, table_size, sets);
out:
	return err ? eb_fail(err, error, "cannot adopt the maps in %s: %s", dataplane->pin_dir, strerror(-err)) : 0;
}

static int open_maps(struct eb_dataplane *dataplane, const struct eb_config *config, char **error)
{
	char *why = NULL;
	int err = eb_pins_recover(config->pin_dir);

	if (err)
		return eb_fail(err, error, "%s: %s", config->pin_dir, strerror(-err));
	err = eb_maps_open(config->pin_dir, &dataplane->maps, &why);
	if (!err)
		return adopt(dataplane, config->table_size, error);
	free(why);
	if (err == -EPROTO)
		return replace_maps(dataplane, config->table_size, error);
	if (err == -ENOENT)
		return make_first(dataplane, config->table_size, error);
	return eb_fail(err, error, "cannot open the maps in %s: %s", config->pin_dir, strerror(-err));
}

/* On failure, the caller closes what is open. */
static int open_all(struct eb_dataplane *dataplane, const struct eb_config *config, char **error)
{
	bool has_mounted = false;
	int err;

	dataplane->pin_dir = strdup(config->pin_dir);
	dataplane->run_dir = strdup(config->run_dir);
	if (!dataplane->pin_dir || !dataplane->run_dir)
		return eb_fail(-ENOMEM, error, "out of memory");
	err = eb_kernel_check(error);
	if (err)
		return err;
	err = eb_bpffs_prepare(config->pin_dir, &has_mounted, error);
	if (err)
		return err;
	dataplane->is_private = has_mounted && eb_bpffs_is_private();
	err = eb_policy_maps_open(&dataplane->maps, &dataplane->policies, error);
	if (err)
		return err;
	err = open_maps(dataplane, config, error);
	if (err)
		return err;
	err = dataplane->buckets ? 0 : eb_buckets_open(&dataplane->maps, true, &dataplane->buckets);
	if (err)
		return eb_fail(err, error, "cannot map the buckets: %s", strerror(-err));
	dataplane->programs = eb_programs_new(&dataplane->maps, dataplane->pin_dir);
	return dataplane->programs ? 0 : eb_fail(-ENOMEM, error, "out of memory");
}

int eb_dataplane_open(const struct eb_config *config, struct eb_dataplane **out, char **error)
{
	struct eb_dataplane *dataplane = calloc(1, sizeof(*dataplane));
	int err;

	if (!dataplane)
		return eb_fail(-ENOMEM, error, "out of memory");
	dataplane->policies = EB_POLICY_MAPS_NONE;
	eb_bpf_object_quiet();
	eb_maps_init(&dataplane->maps);
	err = open_all(dataplane, config, error);
	if (err) {
		eb_dataplane_close(dataplane);
		return err;
	}
	*out = dataplane;
	return 0;
}

static void close_foreign(struct eb_dataplane *dataplane)
{
	eb_foreign_close(dataplane->foreign);
	eb_convert_free(dataplane->carry);
	dataplane->foreign = NULL;
	dataplane->carry = NULL;
}

void eb_dataplane_close(struct eb_dataplane *dataplane)
{
	if (!dataplane)
		return;
	eb_programs_free(dataplane->programs);
	close_foreign(dataplane);
	eb_policy_maps_close(&dataplane->policies);
	forget_buckets(dataplane);
	eb_maps_close(&dataplane->maps);
	free(dataplane->pin_dir);
	free(dataplane->run_dir);
	free(dataplane->pins_problem);
	free(dataplane);
}

const struct eb_maps *eb_dataplane_maps(const struct eb_dataplane *dataplane)
{
	return &dataplane->maps;
}

struct eb_programs *eb_dataplane_programs(const struct eb_dataplane *dataplane)
{
	return dataplane->programs;
}

struct eb_buckets *eb_dataplane_buckets(const struct eb_dataplane *dataplane)
{
	return dataplane->buckets;
}

bool eb_dataplane_is_carrying(const struct eb_dataplane *dataplane)
{
	return dataplane->foreign != NULL;
}

bool eb_dataplane_is_new(const struct eb_dataplane *dataplane)
{
	return dataplane->is_new;
}

static void note_maps(const struct eb_dataplane *dataplane)
{
	__u32 id;
	int err = eb_maps_state_id(&dataplane->maps, &id);

	if (!err)
		err = eb_last_maps_write(dataplane->run_dir, dataplane->pin_dir, id);
	if (err)
		eb_warning("cannot record which maps are in use: if their pins are removed, the next agent treats the "
			   "program as another owner's",
			   eb_str("run_dir", dataplane->run_dir), eb_err(err), eb_str("hint", "make run_dir writable"));
}

static void pin_views(const struct eb_dataplane *dataplane)
{
	char *why = NULL;

	if (eb_views_pin(&dataplane->maps, dataplane->pin_dir, &why))
		eb_info("the buckets cannot be read with cat", eb_str("pin_dir", dataplane->pin_dir),
			eb_str("reason", why ? why : "out of memory"));
	free(why);
}

int eb_dataplane_commit(struct eb_dataplane *dataplane, char **error)
{
	if (!dataplane->is_pinned) {
		int err;

		EB_WRITE(dataplane->state->schema, EB_SCHEMA);
		err = eb_pins_replace(dataplane->pin_dir, &dataplane->maps, dataplane->foreign, error);
		if (err)
			return err;
		dataplane->is_pinned = true;
	}
	note_maps(dataplane);
	pin_views(dataplane);
	return 0;
}

bool eb_dataplane_keep_pins(struct eb_dataplane *dataplane)
{
	/* A set before that is still needed is left in peace. */
	if (!dataplane->is_pinned || dataplane->foreign)
		return false;
	free(dataplane->pins_problem);
	dataplane->pins_problem = NULL;
	if (eb_pins_are_there(dataplane->pin_dir) ||
	    eb_pins_replace(dataplane->pin_dir, &dataplane->maps, false, &dataplane->pins_problem))
		return false;
	pin_views(dataplane);
	return true;
}

const char *eb_dataplane_pins_problem(const struct eb_dataplane *dataplane)
{
	return !dataplane->pins_problem && dataplane->is_private ? PRIVATE_BPFFS : dataplane->pins_problem;
}

/* ---- policies ---- */

/*
 * Takes the buckets over from the maps before, for a policy that is about to be put into force; what the old program
 * still charges is added by eb_dataplane_settle(). Where that is still to come when other rules are applied, what was
 * charged until now is added first.
 */
static int carry_over(struct eb_dataplane *dataplane, const struct eb_policy *policy, struct eb_convert **out)
{
	struct eb_convert *carry;
	size_t lost = 0;
	int err;

	if (!dataplane->foreign)
		return 0;
	carry = eb_convert_new(eb_foreign_policy(dataplane->foreign), policy, false);
	err = carry ? eb_convert_copy(carry, dataplane->foreign, dataplane->carry ? NULL : dataplane->buckets, &lost)
		    : -ENOMEM;
	if (!err && dataplane->carry)
		err = eb_convert_catch_up(dataplane->carry, dataplane->foreign, dataplane->buckets, &lost);
	warn_of_lost(lost);
	if (err)
		eb_convert_free(carry);
	else
		*out = carry;
	return err;
}

int eb_dataplane_set_interfaces(struct eb_dataplane *dataplane, const struct eb_targets *targets)
{
	if (!dataplane->interfaces.count)
		return 0;
	return eb_policy_maps_write_interfaces(&dataplane->policies, &dataplane->interfaces, targets,
					       EB_READ(dataplane->state->active) & 1);
}

int eb_dataplane_apply(struct eb_dataplane *dataplane, const struct eb_ruleset *ruleset,
		       const struct eb_targets *targets, char **error)
{
	struct eb_policy *old = calloc(1, sizeof(*old));
	struct eb_convert *carry = NULL;
	size_t lost = 0;
	int err = old ? finish_interrupted(dataplane) : -ENOMEM;

	if (err)
		goto out;
	err = eb_maps_policy(&dataplane->maps, old);
	if (err)
		goto out;
	err = carry_over(dataplane, &ruleset->policy, &carry);
	if (err)
		goto out;
	err = eb_policy_maps_switch(&dataplane->policies, dataplane->state, dataplane->buckets, ruleset, targets, old,
				    &lost);
	warn_of_lost(lost);
	if (err)
		goto out;
	dataplane->interfaces = ruleset->interfaces;
	if (carry) {
		eb_convert_free(dataplane->carry);
		dataplane->carry = carry;
		carry = NULL;
	}
out:
	eb_convert_free(carry);
	eb_buckets_unmap(dataplane->buckets);
	free(old);
	return err ? eb_fail(err, error, "cannot write the rules: %s", strerror(-err)) : 0;
}

/* -EBUSY while a program charges the maps before. */
static int look_for_before(struct eb_dataplane *dataplane)
{
	char ifname[IF_NAMESIZE];
	int found = eb_programs_find_before(dataplane->programs, ifname);

	if (found <= 0)
		return found;
	if (strcmp(ifname, dataplane->held_by) != 0)
		eb_warning("the previous program is still attached to an interface: what it admits counts once it is "
			   "detached; its maps stay until then",
			   eb_str("interface", ifname));
	strcpy(dataplane->held_by, ifname);
	return -EBUSY;
}

int eb_dataplane_settle(struct eb_dataplane *dataplane)
{
	size_t lost = 0;
	int err;

	if (!dataplane->carry)
		return 0;
	err = look_for_before(dataplane);
	if (err)
		goto out;
	err = eb_policy_maps_wait(&dataplane->policies);
	if (err)
		goto out;
	err = eb_convert_catch_up(dataplane->carry, dataplane->foreign, dataplane->buckets, &lost);
out:
	eb_buckets_unmap(dataplane->buckets);
	if (err)
		return err;
	warn_of_lost(lost);
	close_foreign(dataplane);
	err = eb_pins_settle(dataplane->pin_dir);
	if (err)
		eb_warning("the replaced maps stay pinned and use memory until the next start",
			   eb_str("pin_dir", dataplane->pin_dir), eb_err(err));
	return 0;
}
