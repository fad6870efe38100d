// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "attach/bpf_object.h"
#include "attach/policy_maps.h"
#include "base/error.h"
#include "base/log.h"
#include "maps/convert.h"
#include "table.h"

int eb_policy_maps_open(const struct eb_maps *maps, struct eb_policy_maps *out, char **error)
{
	const uint64_t no_bits = 0;
	struct eb_policy_maps policies = { .maps = maps };
	int err;

	policies.filter_fd = eb_maps_make_filter(&no_bits, 1);
	if (policies.filter_fd < 0)
		return eb_fail(policies.filter_fd, error, "cannot make a map: %s", strerror(-policies.filter_fd));
	err = eb_bpf_object_types(&policies.btf);
	if (err) {
		eb_policy_maps_close(&policies);
		return eb_fail(err, error, "cannot read the program's types: %s", strerror(-err));
	}
	*out = policies;
	return 0;
}

void eb_policy_maps_close(struct eb_policy_maps *policies)
{
	btf__free(policies->btf);
	if (policies->filter_fd >= 0)
		close(policies->filter_fd);
	*policies = EB_POLICY_MAPS_NONE;
}

/* XDP programs run inside RCU read-side sections, and an update of a map of maps waits for all of them before it
 * returns, as its promise is that the map before is out of use. */
int eb_policy_maps_wait(const struct eb_policy_maps *policies)
{
	__u32 place = EB_FILTER_UNUSED;

	return bpf_map_update_elem(policies->maps->fd[EB_MAP_FILTERS], &place, &policies->filter_fd, BPF_ANY);
}

static int make_trie(const struct eb_policy_maps *policies, const struct eb_trie *trie, int family)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	__u32 key_size = family == 4 ? sizeof(struct eb_lpm4) : sizeof(struct eb_lpm6);
	int fd = btf__fd(policies->btf);

	if (fd >= 0) {
		opts.btf_fd = fd;
		opts.btf_key_type_id = btf__find_by_name_kind(policies->btf, family == 4 ? "eb_lpm4" : "eb_lpm6",
							      BTF_KIND_STRUCT);
		opts.btf_value_type_id = btf__find_by_name_kind(policies->btf, "__u64", BTF_KIND_TYPEDEF);
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

/* Puts the filter in front of a trie of this ruleset into an idle place. */
static int write_filter(const struct eb_policy_maps *policies, const struct eb_trie *trie, __u32 place)
{
	int outer = policies->maps->fd[EB_MAP_FILTERS], fd, err;

	if (!trie->filter) {
		(void)bpf_map_delete_elem(outer, &place); /* -ENOENT where none was */
		return 0;
	}
	fd = eb_maps_make_filter(trie->filter, trie->filter_words);
	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(outer, &place, &fd, BPF_ANY);
	close(fd);
	return err;
}

/* Puts a trie of this ruleset into an idle place of prefixes_v4 or prefixes_v6. */
static int write_trie(const struct eb_policy_maps *policies, const struct eb_trie *trie, int family, __u32 place)
{
	int outer = policies->maps->fd[family == 4 ? EB_MAP_PREFIXES_V4 : EB_MAP_PREFIXES_V6];
	int err = 0, fd;

	if (trie->count == 0) {
		(void)bpf_map_delete_elem(outer, &place); /* -ENOENT where none was */
		return 0;
	}
	fd = make_trie(policies, trie, family);
	if (fd < 0)
		return fd;
	err = fill_trie(fd, trie, family);
	if (!err)
		err = bpf_map_update_elem(outer, &place, &fd, BPF_ANY);
	close(fd);
	return err;
}

/* Writes the trie of a family and side, and the filter in front of it. */
static int write_side(const struct eb_policy_maps *policies, const struct eb_trie *trie, int family, int side,
		      __u32 idle)
{
	int err = write_trie(policies, trie, family, EB_TRIE(idle, side));

	return err ? err : write_filter(policies, trie, EB_FILTER_PLACE(idle, EB_FILTER(family, side)));
}

static int write_tries(const struct eb_policy_maps *policies, const struct eb_ruleset *ruleset, __u32 idle)
{
	int err = 0;

	for (int side = EB_TRIE_SRC; side < EB_TRIES && !err; side++) {
		err = write_side(policies, &ruleset->v4[side], 4, side, idle);
		if (!err)
			err = write_side(policies, &ruleset->v6[side], 6, side, idle);
	}
	return err;
}

static int write_number(const struct eb_policy_maps *policies, enum eb_number number, const uint64_t *sets, __u32 idle)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 count = EB_NUMBER_SIZE(number), *keys;
	int err;

	if (!sets)
		return 0;
	keys = calloc(count, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (__u32 i = 0; i < count; i++)
		keys[i] = EB_NUMBER(idle, number, i);
	err = bpf_map_update_batch(policies->maps->fd[EB_MAP_NUMBERS], keys, sets, &count, &opts);
	free(keys);
	return err;
}

static bool has_target(const struct eb_targets *targets, __u32 ifindex)
{
	for (size_t i = 0; i < targets->count; i++)
		if (targets->items[i].state == EB_TARGET_THERE && (__u32)targets->items[i].ifindex == ifindex)
			return true;
	return false;
}

/* Forgets interfaces of one policy that are not among these any more. */
static void remove_interfaces(int fd, const struct eb_targets *targets, __u32 policy)
{
	struct eb_interface_key key, next;
	int err = bpf_map_get_next_key(fd, NULL, &next);

	while (!err) {
		key = next;
		err = bpf_map_get_next_key(fd, &key, &next);
		if (key.policy == policy && !has_target(targets, key.ifindex))
			(void)bpf_map_delete_elem(fd, &key);
	}
}

int eb_policy_maps_write_interfaces(const struct eb_policy_maps *policies, const struct eb_interface_rules *interfaces,
				    const struct eb_targets *targets, __u32 policy)
{
	int fd = policies->maps->fd[EB_MAP_INTERFACES], err = 0;

	remove_interfaces(fd, targets, policy);
	for (size_t i = 0; i < targets->count && interfaces->count && !err; i++) {
		const struct eb_target *target = &targets->items[i];
		struct eb_interface_key key = { .policy = policy, .ifindex = target->ifindex };
		__u64 rules = eb_rules_of_interface(interfaces, target->entries);

		if (target->state == EB_TARGET_THERE)
			err = bpf_map_update_elem(fd, &key, &rules, BPF_ANY);
	}
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
static int clear_new_slots(const struct eb_policy_maps *policies, struct eb_state *state, const struct eb_policy *old,
			   const struct eb_policy *new)
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
		err = bpf_map_update_elem(policies->maps->fd[EB_MAP_COUNTERS], &slot, zeros, BPF_ANY);
		state->gates[slot].packets_full_at = EB_FULL;
	}
	free(zeros);
	return err;
}

static int fill_idle(const struct eb_policy_maps *policies, const struct eb_ruleset *ruleset,
		     const struct eb_targets *targets, const struct eb_policy *old, __u32 idle)
{
	struct eb_policy *new = malloc(sizeof(*new));
	int err;

	if (!new)
		return -ENOMEM;
	*new = ruleset->policy;
	new->generation = old->generation + 1;
	err = write_tries(policies, ruleset, idle);
	if (err)
		goto out;
	err = eb_policy_maps_write_interfaces(policies, &ruleset->interfaces, targets, idle);
	for (int number = 0; number < EB_NUMBERS && !err; number++)
		err = write_number(policies, number, ruleset->numbers[number], idle);
	if (err)
		goto out;
	err = bpf_map_update_elem(policies->maps->fd[EB_MAP_POLICY], &idle, new, BPF_ANY);
out:
	free(new);
	return err;
}

/* Writes a policy over the one in force that differs by eb_rule.next only, one byte of each rule. */
static int announce(const struct eb_policy_maps *policies, const struct eb_state *state, const struct eb_policy *from,
		    const struct eb_convert *convert)
{
	struct eb_policy *policy = malloc(sizeof(*policy));
	__u32 active = EB_READ(state->active) & 1;
	int err = 0;

	if (!policy)
		return -ENOMEM;
	*policy = *from;
	if (eb_convert_announce(convert, policy))
		err = bpf_map_update_elem(policies->maps->fd[EB_MAP_POLICY], &active, policy, BPF_ANY);
	free(policy);
	return err;
}

/* Mapping the tables takes memory and time, which a start and most reloads can do without. */
static int map_to_move(const struct eb_convert *convert, struct eb_buckets *buckets)
{
	return eb_convert_is_empty(convert) ? 0 : eb_buckets_map(buckets);
}

/*
 * Takes the buckets from the policy in force over to the idle one, as was announced, and switches. Cannot fail once the
 * packets have been waited for. The tries of the policy before are dropped when no CPU reads them any more; else the
 * next reload does it.
 */
static int finish_switch(const struct eb_policy_maps *policies, struct eb_state *state, struct eb_buckets *buckets,
			 struct eb_convert *convert, size_t *lost)
{
	static const struct eb_ruleset nothing;
	__u32 active = EB_READ(state->active) & 1;
	int err = map_to_move(convert, buckets);

	if (err)
		return err;
	err = eb_policy_maps_wait(policies);
	if (err)
		return err;
	*lost = eb_convert_move(convert, buckets);
	__atomic_store_n(&state->active, 1 - active, __ATOMIC_RELEASE); /* behind what was written for it */
	if (eb_policy_maps_wait(policies) == 0)
		(void)write_tries(policies, &nothing, active);
	return 0;
}

static bool is_announced(const struct eb_policy *policy)
{
	for (__u32 i = 0; i < policy->rule_count && i < EB_LIMITS_MAX; i++)
		if (policy->rules[i].next)
			return true;
	return false;
}

int eb_policy_maps_finish_interrupted(const struct eb_policy_maps *policies, struct eb_state *state,
				      struct eb_buckets *buckets, size_t *lost)
{
	struct eb_policy *active = calloc(1, sizeof(*active)), *successor = calloc(1, sizeof(*successor));
	struct eb_convert *convert = NULL;
	__u32 idle = 1 - (EB_READ(state->active) & 1);
	int err = active && successor ? eb_maps_policy(policies->maps, active) : -ENOMEM;

	if (err || !is_announced(active))
		goto out;
	err = bpf_map_lookup_elem(policies->maps->fd[EB_MAP_POLICY], &idle, successor);
	if (!err) {
		convert = eb_convert_new(active, successor, true);
		err = convert ? finish_switch(policies, state, buckets, convert, lost) : -ENOMEM;
	}
	if (!err)
		eb_info("finished a reload that was interrupted", eb_num("rules", successor->rule_count));
	eb_buckets_unmap(buckets);
out:
	eb_convert_free(convert);
	free(successor);
	free(active);
	return err;
}

int eb_policy_maps_switch(const struct eb_policy_maps *policies, struct eb_state *state, struct eb_buckets *buckets,
			  const struct eb_ruleset *ruleset, const struct eb_targets *targets,
			  const struct eb_policy *old, size_t *lost)
{
	struct eb_convert *convert = eb_convert_new(old, &ruleset->policy, true);
	int err = convert ? map_to_move(convert, buckets) : -ENOMEM;

	if (err)
		goto out;
	err = fill_idle(policies, ruleset, targets, old, 1 - (EB_READ(state->active) & 1));
	if (err)
		goto out;
	err = clear_new_slots(policies, state, old, &ruleset->policy);
	if (err)
		goto out;
	err = announce(policies, state, old, convert);
	if (err)
		goto out;
	err = finish_switch(policies, state, buckets, convert, lost);
out:
	eb_convert_free(convert);
	return err;
}
