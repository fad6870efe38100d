// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "maps/bucket_table.h"
#include "maps/demand.h"
#include "maps/spent.h"

/* One family's. */
struct numbers {
	struct eb_spent_set *counted; /* the map */
	size_t counted_length;
	struct eb_spent_set *seen; /* what was collected */
	size_t seen_length;
};

struct eb_demand {
	const struct eb_maps *maps;
	struct eb_buckets *buckets;
	struct eb_state *state;
	uint32_t slot;
	uint64_t until_ns; /* of this process's lease; 0 without one */
	struct numbers families[2];
};

static struct eb_state *map_state(const struct eb_maps *maps)
{
	void *memory = mmap(NULL, sizeof(struct eb_state), PROT_READ | PROT_WRITE, MAP_SHARED, maps->fd[EB_MAP_STATE],
			    0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Takes the lease from `seen`, which must be its end by now. False when another process was faster. */
static bool take_lease(struct eb_state *state, uint64_t seen, uint64_t until_ns)
{
	return __sync_bool_compare_and_swap(&state->measured_until_ns, seen, until_ns);
}

static void remove_numbers(const struct eb_maps *maps)
{
	for (__u32 i = 0; i < 2; i++)
		(void)bpf_map_delete_elem(maps->fd[EB_MAP_DEMAND], &i);
}

static int open_family(struct eb_demand *demand, __u32 index)
{
	struct eb_bucket_table *entries = &demand->buckets->tables[index];
	struct numbers *numbers = &demand->families[index];

	numbers->seen_length = entries->sets * sizeof(struct eb_spent_set);
	numbers->seen = eb_spent_reserve(numbers->seen_length);
	if (!numbers->seen)
		return -ENOMEM;
	return eb_spent_open_map(demand->maps->fd[EB_MAP_DEMAND], index, entries->sets, false, &numbers->counted,
				 &numbers->counted_length);
}

static int begin(struct eb_demand *demand)
{
	uint64_t now = eb_monotonic_ns(), seen;
	int err;

	demand->state = map_state(demand->maps);
	if (!demand->state)
		return -errno;
	seen = EB_READ(demand->state->measured_until_ns);
	if (now <= seen || !take_lease(demand->state, seen, now + EB_DEMAND_LEASE_NS))
		return -EBUSY;
	demand->until_ns = now + EB_DEMAND_LEASE_NS;
	EB_WRITE(demand->state->measured, 0);
	err = eb_buckets_map(demand->buckets);
	for (__u32 i = 0; i < 2 && !err; i++)
		err = open_family(demand, i);
	if (!err)
		EB_WRITE(demand->state->measured, demand->slot + 1);
	return err;
}

int eb_demand_open(const struct eb_maps *maps, struct eb_buckets *buckets, uint32_t slot, struct eb_demand **out)
{
	struct eb_demand *demand = calloc(1, sizeof(*demand));
	int err;

	if (!demand)
		return -ENOMEM;
	demand->maps = maps;
	demand->buckets = buckets;
	demand->slot = slot;
	err = begin(demand);
	if (err) {
		eb_demand_close(demand);
		return err;
	}
	*out = demand;
	return 0;
}

/* Leaves all as it is when another process has taken over. */
static void end(struct eb_demand *demand)
{
	if (!demand->until_ns || EB_READ(demand->state->measured_until_ns) != demand->until_ns)
		return;
	EB_WRITE(demand->state->measured, 0);
	remove_numbers(demand->maps);
	(void)take_lease(demand->state, demand->until_ns, 0);
}

void eb_demand_close(struct eb_demand *demand)
{
	if (!demand)
		return;
	end(demand);
	for (int i = 0; i < 2; i++) {
		struct numbers *numbers = &demand->families[i];

		if (numbers->counted)
			munmap(numbers->counted, numbers->counted_length);
		if (numbers->seen)
			munmap(numbers->seen, numbers->seen_length);
	}
	if (demand->state)
		munmap(demand->state, sizeof(*demand->state));
	free(demand);
}

void eb_demand_clean(const struct eb_maps *maps)
{
	struct eb_state *state = map_state(maps);
	uint64_t seen = state ? EB_READ(state->measured_until_ns) : 0;

	if (seen && seen < eb_monotonic_ns() && take_lease(state, seen, 0)) {
		EB_WRITE(state->measured, 0);
		remove_numbers(maps);
	}
	if (state)
		munmap(state, sizeof(*state));
}

/* Returns 0, or -ESTALE when another process has the lease. */
static int renew(struct eb_demand *demand, bool *was_late)
{
	uint64_t now = eb_monotonic_ns();

	*was_late |= now > demand->until_ns;
	if (!take_lease(demand->state, demand->until_ns, now + EB_DEMAND_LEASE_NS))
		return -ESTALE;
	demand->until_ns = now + EB_DEMAND_LEASE_NS;
	EB_WRITE(demand->state->measured, demand->slot + 1);
	return 0;
}

/* The key is read behind the numbers, as packets of a source are counted when its key is there. What an entry that is
 * empty by now was offered waits for the next source there; only a reload empties entries. */
static int collect_way(const struct eb_bucket_table *entries, const struct numbers *numbers, uint32_t set,
		       uint32_t way, eb_demand_visit visit, void *arg)
{
	const struct eb_spent *counted = &numbers->counted[set].way[way];
	struct eb_spent *seen = &numbers->seen[set].way[way];
	uint64_t packets = __atomic_load_n(&counted->packets, __ATOMIC_ACQUIRE), bytes, more[2];
	char *memory = eb_bucket_table_set(entries, entries->memory, set);
	struct eb_source source;
	__u64 key[EB_WORDS6];

	if (packets == seen->packets)
		return 0;
	bytes = __atomic_load_n(&counted->bytes, __ATOMIC_ACQUIRE);
	memcpy(key, eb_set_key(memory, entries->words, way), entries->words * sizeof(*key));
	if (eb_key_empty(key, entries->words))
		return 0;
	eb_bucket_read_key(entries, key, &source);
	more[0] = packets - seen->packets;
	more[1] = bytes - seen->bytes;
	*seen = (struct eb_spent){ packets, bytes };
	return visit(&source, more[0], more[1], arg);
}

/* What is visited between two renewals of the lease: with a million sources on a busy machine, a walk takes seconds. */
#define SETS_PER_LEASE 8192

static int collect_family(struct eb_demand *demand, int family, bool *was_late, eb_demand_visit visit, void *arg)
{
	const struct eb_bucket_table *entries = &demand->buckets->tables[family];
	const struct numbers *numbers = &demand->families[family];
	int ret = 0;

	for (uint32_t set = 0; set < entries->sets && !ret; set++) {
		if (set % SETS_PER_LEASE == 0)
			ret = renew(demand, was_late);
		if (ret || eb_bucket_set_is_empty(entries, set))
			continue;
		for (uint32_t way = 0; way < EB_WAYS && !ret; way++)
			ret = collect_way(entries, numbers, set, way, visit, arg);
	}
	return ret;
}

int eb_demand_collect(struct eb_demand *demand, eb_demand_visit visit, void *arg)
{
	bool was_late = false;
	int ret = 0;

	for (int i = 0; i < 2 && !ret; i++)
		ret = collect_family(demand, i, &was_late, visit, arg);
	return !ret && was_late ? -ETIMEDOUT : ret;
}
