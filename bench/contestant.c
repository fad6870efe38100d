// SPDX-License-Identifier: GPL-2.0-only
#include "contestant.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bench.h"
#include "contestants.skel.h"
#include "edgebucket.h"
#include "edgebucket.skel.h"
#include "maps/bans.h"
#include "maps/maps.h"
#include "policy/prefix_filter.h"

#define TICKS_PER_SECOND (1000000000.0 * EB_TICKS_PER_NS)

/* The frames' addresses and port, see traffic.c. */
#define RULE_PORT 53
#define RULE_PROTO 17

#define LISTED 1000000

/* Free nodes of an LRU hash that a CPU takes at once (LOCAL_FREE_TARGET of the kernel's kernel/bpf/bpf_lru_list.c), and
 * of which others get none. */
#define LRU_NODES_AT_ONCE 128
#define SOURCES (1 + (1 << 16) + (1 << 20))

static struct eb_limit make_limit(double rate, double burst)
{
	struct eb_limit limit = { .mult = TICKS_PER_SECOND / rate };
	double ticks = burst * (double)limit.mult;

	limit.burst = ticks < EB_BURST_MAX ? ticks : EB_BURST_MAX;
	return limit;
}

static void make_limit_rule(struct eb_rule *rule, const struct contestant_limit *limit)
{
	rule->action = EB_LIMIT;
	rule->prefix4 = 32;
	rule->prefix6 = 128;
	rule->id4 = 77;
	rule->id6 = 78;
	rule->mask4 = ~0U;
	rule->mask6[0] = rule->mask6[1] = ~0ULL;
	rule->packets = make_limit(limit->rate, limit->burst);
	rule->new_sources = make_limit(limit->new_sources, limit->new_sources);
}

static int map_fd(const struct contestant *contestant, const char *name)
{
	return bpf_object__find_map_fd_by_name(contestant->object, name);
}

/* Puts a trie with these prefixes where policy 0 looks for it. */
static int set_trie(const struct contestant *contestant, uint32_t side, const struct eb_lpm4 *prefixes,
		    const uint64_t *rules, int count)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	int trie = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, NULL, sizeof(*prefixes), sizeof(*rules), count, &opts);
	uint32_t index = EB_TRIE(0, side);
	int err = trie < 0 ? trie : 0;

	for (int i = 0; !err && i < count; i++)
		err = bpf_map_update_elem(trie, &prefixes[i], &rules[i], BPF_ANY);
	if (!err)
		err = bpf_map_update_elem(map_fd(contestant, "prefixes_v4"), &index, &trie, BPF_ANY);
	if (trie >= 0)
		close(trie);
	return err;
}

/*
 * Every rule but the last asks for something else that the frames do not have, in turn: a source, a destination, a
 * port, a protocol. Half of the addresses' rules accept every address, in two halves, and ask for another protocol, so
 * that the tries have something to find.
 */
struct dimensions {
	struct eb_lpm4 prefixes[2][EB_RULES_MAX];
	uint64_t accepts[2][EB_RULES_MAX];
	int count[2];
	uint64_t ports[65536];
};

static void add_prefix(struct dimensions *dims, int side, uint32_t addr, uint32_t len, uint64_t rules)
{
	int n = dims->count[side]++;

	dims->prefixes[side][n] = (struct eb_lpm4){ .prefixlen = len, .addr = htonl(addr) };
	dims->accepts[side][n] = rules;
}

static void add_rule(struct eb_policy *policy, struct dimensions *dims, int n, uint64_t everywhere[2])
{
	uint64_t bit = 1ULL << n;
	int side = n % 4;

	policy->rules[n].action = EB_DENY;
	policy->rules[n].slot = n;
	if (side == 0 || side == 1) {
		if (n & 4)
			everywhere[side] |= bit;
		else
			add_prefix(dims, side, (198U << 24) + (18U << 16) + (n << 8), 24, bit);
	}
	if (side == 2)
		dims->ports[1000 + n] |= bit;
	if (side == 2)
		policy->proto[RULE_PROTO] |= bit;
	else
		policy->proto[6] |= bit;
	if (side != 0)
		policy->src_any |= bit;
	if (side != 1)
		policy->dst_any |= bit;
	if (side != 2)
		policy->number_any[EB_DPORT] |= bit;
}

/* The limiting rule, which asks for the frames' port and protocol. */
static void add_last_rule(struct eb_policy *policy, struct dimensions *dims, int n)
{
	uint64_t bit = 1ULL << n;

	policy->rules[n].slot = n;
	policy->proto[RULE_PROTO] |= bit;
	policy->src_any |= bit;
	policy->dst_any |= bit;
	dims->ports[RULE_PORT] |= bit;
}

static int set_dimensions(const struct contestant *contestant, struct eb_policy *policy, struct dimensions *dims,
			  const uint64_t everywhere[2])
{
	uint64_t any[2] = { policy->src_any, policy->dst_any };
	int err = 0;

	for (int side = 0; !err && side < 2; side++) {
		for (int i = 0; i < dims->count[side]; i++)
			dims->accepts[side][i] |= any[side] | everywhere[side];
		add_prefix(dims, side, 0, 1, any[side] | everywhere[side]);
		add_prefix(dims, side, 1U << 31, 1, any[side] | everywhere[side]);
		err = set_trie(contestant, side, dims->prefixes[side], dims->accepts[side], dims->count[side]);
	}
	for (uint32_t port = 0; !err && port < 65536; port++) {
		uint64_t rules = dims->ports[port] | policy->number_any[EB_DPORT];

		err = bpf_map_update_elem(map_fd(contestant, "numbers"), &port, &rules, BPF_ANY);
	}
	policy->uses = EB_USES_SRC4 | EB_USES_DST4 | EB_USES_NUMBER(EB_DPORT);
	return err;
}

static int set_many_rules(const struct contestant *contestant, struct eb_policy *policy, int count)
{
	struct dimensions *dims = calloc(1, sizeof(*dims));
	uint64_t everywhere[2] = {};
	int err;

	if (!dims)
		return -ENOMEM;
	for (int n = 0; n < count - 1; n++)
		add_rule(policy, dims, n, everywhere);
	add_last_rule(policy, dims, count - 1);
	err = set_dimensions(contestant, policy, dims, everywhere);
	free(dims);
	return err;
}

/* Addresses in random order all over IPv4, hardly any of them one that the traffic comes from. */
static struct eb_trie make_list(uint32_t count, uint64_t rules)
{
	struct eb_trie list = { .items = calloc(count, sizeof(*list.items)), .count = count };
	uint32_t x = 1, addr;

	for (uint32_t i = 0; list.items && i < count; i++) {
		x = x * 1664525U + 1013904223U;
		addr = htonl(x ^ (x >> 16));
		memcpy(list.items[i].addr, &addr, sizeof(addr));
		list.items[i].len = 32;
		list.items[i].rules = rules;
	}
	return list;
}

/* Every source of the traffic that comes again, one by one: "one", "65536" and "million" of traffic.c. */
static struct eb_trie make_sources(uint64_t rules)
{
	static const struct {
		uint32_t first, count;
	} ranges[] = { { 0x0a000001, 1 }, { 0x0a010000, 1 << 16 }, { 0x0a100000, 1 << 20 } };
	struct eb_trie list = { .items = calloc(SOURCES, sizeof(*list.items)) };

	for (size_t range = 0; list.items && range < sizeof(ranges) / sizeof(ranges[0]); range++)
		for (uint32_t i = 0; i < ranges[range].count; i++) {
			uint32_t addr = htonl(ranges[range].first + i);

			memcpy(list.items[list.count].addr, &addr, sizeof(addr));
			list.items[list.count].len = 32;
			list.items[list.count++].rules = rules;
		}
	return list;
}

static int fill_trie(int trie, const struct eb_trie *list)
{
	struct eb_lpm4 *prefixes = calloc(list->count, sizeof(*prefixes));
	uint64_t *values = calloc(list->count, sizeof(*values));
	uint32_t count = list->count;
	int err = prefixes && values ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < count; i++) {
		prefixes[i].prefixlen = list->items[i].len;
		memcpy(&prefixes[i].addr, list->items[i].addr, sizeof(prefixes[i].addr));
		values[i] = list->items[i].rules;
	}
	if (!err)
		err = bpf_map_update_batch(trie, prefixes, values, &count, NULL);
	free(prefixes);
	free(values);
	return err;
}

static int set_filter(const struct contestant *contestant, const struct eb_trie *list)
{
	uint32_t index = EB_FILTER_PLACE(0, EB_FILTER(4, EB_TRIE_SRC));
	int fd = eb_maps_make_filter(list->filter, list->filter_words);
	int err = fd < 0 ? fd : 0;

	if (!err)
		err = bpf_map_update_elem(map_fd(contestant, "filters"), &index, &fd, BPF_ANY);
	if (fd >= 0)
		close(fd);
	return err;
}

/* The first rule denies what is on a list, the second one limits everybody. */
static int set_list(const struct contestant *contestant, struct eb_policy *policy,
		    const struct contestant_limit *limit)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	struct eb_trie list = limit->denies_all ? make_sources(3) : make_list(limit->listed, 3);
	int trie = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, NULL, sizeof(struct eb_lpm4), sizeof(uint64_t), SOURCES,
				  &opts);
	uint32_t index = EB_TRIE(0, EB_TRIE_SRC);
	int err = list.items ? 0 : -ENOMEM;

	if (!err)
		err = trie < 0 ? trie : fill_trie(trie, &list);
	if (!err)
		err = eb_filter_make(&list, 4, &policy->filters[EB_FILTER(4, EB_TRIE_SRC)]);
	if (!err)
		err = set_filter(contestant, &list);
	free(list.items);
	free(list.filter);

	policy->rules[0].action = EB_DENY;
	policy->rules[1].slot = 1;
	policy->src_any = 2;
	policy->dst_any = policy->number_any[EB_DPORT] = 3;
	for (int proto = 0; proto < 256; proto++)
		policy->proto[proto] = 3;
	policy->uses = EB_USES_SRC4;
	if (!err)
		err = bpf_map_update_elem(map_fd(contestant, "prefixes_v4"), &index, &trie, BPF_ANY);
	if (trie >= 0)
		close(trie);
	return err;
}

/* Of /24, /16 and all, or of all; every level refuses and admits what the rule does. */
static void set_levels(struct eb_policy *policy, uint32_t count, int is_wide)
{
	struct eb_rule *rule = &policy->rules[0];

	for (uint32_t n = 1; n <= count; n++) {
		struct eb_rule *level = &policy->rules[n];

		*level = *rule;
		level->level = n;
		level->slot = n;
		level->prefix4 = is_wide || n == EB_LEVELS_MAX ? 0 : 32 - 8 * n;
		level->mask4 = level->prefix4 ? htonl(~0U << (32 - level->prefix4)) : 0;
		level->id4 = rule->id4 + 2 * n;
		level->id6 = rule->id6 + 2 * n;
		level->together = !level->prefix4;
	}
	rule->level_count = count;
	rule->is_chain = count > 0;
	rule->first_level = 1;
}

static void set_one_rule(struct eb_policy *policy, const struct contestant_limit *limit)
{
	set_levels(policy, limit->levels, limit->is_wide);
	policy->src_any = policy->dst_any = policy->number_any[EB_DPORT] = 1;
	for (int proto = 0; proto < 256; proto++)
		policy->proto[proto] = 1;
}

static int set_policy(const struct contestant *contestant, const struct contestant_limit *limit)
{
	struct eb_policy *policy = calloc(1, sizeof(*policy));
	uint32_t first = 0;
	int err = 0;

	if (!policy)
		return -ENOMEM;
	policy->rule_count = limit->rules + limit->levels;
	policy->malformed_drop = 1;
	make_limit_rule(&policy->rules[limit->rules - 1], limit);
	if (limit->rules == 1)
		set_one_rule(policy, limit);
	else if (limit->listed || limit->denies_all)
		err = set_list(contestant, policy, limit);
	else
		err = set_many_rules(contestant, policy, limit->rules);
	if (!err)
		err = bpf_map_update_elem(map_fd(contestant, "policy"), &first, policy, BPF_ANY);
	free(policy);
	return err;
}

static int set_seed(const struct contestant *contestant)
{
	struct eb_state *state = calloc(1, sizeof(*state));
	uint32_t zero = 0;
	int err;

	if (!state)
		return -ENOMEM;
	state->schema = EB_SCHEMA;
	state->seed[0] = 0x9e3779b97f4a7c15;
	state->seed[1] = 0xbf58476d1ce4e5b9;
	err = bpf_map_update_elem(map_fd(contestant, "state"), &zero, state, BPF_ANY);
	free(state);
	return err;
}

static int ban_all(const struct contestant *contestant)
{
	struct eb_trie list = make_sources(0);
	struct eb_ban_order *orders = calloc(list.count, sizeof(*orders));
	struct eb_ban_outcome added;
	struct eb_bans *bans = NULL;
	struct eb_maps maps;
	int err = list.items && orders ? 0 : -ENOMEM;

	for (int i = 0; i < EB_MAPS; i++)
		maps.fd[i] = map_fd(contestant, eb_map_name(i));
	for (uint32_t i = 0; !err && i < list.count; i++) {
		orders[i] = (struct eb_ban_order){
			.prefix = { .family = 4, .len = 32 }, .until_ns = EB_BAN_FOREVER, .index = i
		};
		memcpy(orders[i].prefix.addr, list.items[i].addr, 4);
	}
	if (!err)
		err = eb_bans_open(&maps, true, &bans);
	if (!err)
		err = eb_bans_add(bans, orders, list.count, EB_BANS_MAX, &added);
	eb_bans_close(bans);
	free(orders);
	free(list.items);
	return err;
}

static int load_edgebucket(const struct contestant_limit *limit, struct contestant *out)
{
	struct edgebucket_bpf *skeleton = edgebucket_bpf__open();
	uint32_t sets = limit->table_size * 2 / EB_WAYS;
	int err;

	if (!skeleton)
		return -errno;
	skeleton->rodata->sets_v4 = sets;
	skeleton->rodata->sets_v6 = sets;
	bpf_map__set_max_entries(skeleton->maps.buckets_v4, sets);
	bpf_map__set_max_entries(skeleton->maps.tags_v4, sets);
	bpf_map__set_max_entries(skeleton->maps.tags_v6, sets);
	bpf_map__set_max_entries(skeleton->maps.changed_v4, EB_CHANGES(sets));
	bpf_map__set_max_entries(skeleton->maps.changed_v6, EB_CHANGES(sets));
	bpf_map__set_max_entries(skeleton->maps.buckets_v6, sets);
	err = edgebucket_bpf__load(skeleton);
	if (!err) {
		out->edgebucket = skeleton;
		out->object = skeleton->obj;
		out->fd = bpf_program__fd(skeleton->progs.edgebucket);
		err = set_seed(out);
	}
	if (!err)
		err = set_policy(out, limit);
	if (!err && limit->bans_all)
		err = ban_all(out);
	if (err) {
		edgebucket_bpf__destroy(skeleton);
		*out = (struct contestant){ .fd = -1 };
	}
	return err;
}

/* Only the program asked for is loaded, and so only its maps take memory. */
static int load_other(const char *name, const struct contestant_limit *limit, struct contestant *out)
{
	struct contestants_bpf *skeleton = contestants_bpf__open();
	struct bpf_program *program, *chosen = NULL;
	int err = -ENOENT;

	if (!skeleton)
		return -errno;
	bpf_object__for_each_program(program, skeleton->obj)
	{
		int is_chosen = strcmp(bpf_program__name(program), name) == 0;

		bpf_program__set_autoload(program, is_chosen);
		if (is_chosen)
			chosen = program;
	}
	bpf_map__set_max_entries(skeleton->maps.full_at,
				 BENCH_TABLE_SIZE + LRU_NODES_AT_ONCE * libbpf_num_possible_cpus());
	skeleton->rodata->cost_ns = 1e9 / limit->rate;
	skeleton->rodata->burst_ns = limit->burst * skeleton->rodata->cost_ns;
	if (chosen)
		err = contestants_bpf__load(skeleton);
	if (err) {
		contestants_bpf__destroy(skeleton);
		return err;
	}
	out->contestants = skeleton;
	out->object = skeleton->obj;
	out->fd = bpf_program__fd(chosen);
	return 0;
}

int contestant_load(const char *name, const struct contestant_limit *limit, struct contestant *out)
{
	*out = (struct contestant){ .fd = -1 };
	if (strcmp(name, "none") == 0)
		return 0;
	return strcmp(name, "edgebucket") == 0 ? load_edgebucket(limit, out) : load_other(name, limit, out);
}

/* What the environment says, else BENCH_TABLE_SIZE. */
static uint32_t table_size(void)
{
	const char *value = getenv("EB_BENCH_TABLE_SIZE");

	return value ? strtoul(value, NULL, 10) : BENCH_TABLE_SIZE;
}

/* One packet an hour; what a source sends more than a thousand times of; or far more than one sends here, and yet every
 * bucket is in debt. */
static const struct verdict {
	const char *name;
	double rate, burst;
} verdicts[] = {
	{ "refused", 1.0 / 3600, 1 },
	{ "limited", 1000, 1000 },
	{ "admitted", 1e6, 1e12 },
};

int contestant_limit_of(const char *verdict, struct contestant_limit *out)
{
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		if (strcmp(verdict, verdicts[i].name) != 0)
			continue;
		*out = (struct contestant_limit){
			.rules = 1,
			.table_size = table_size(),
			.rate = verdicts[i].rate,
			.burst = verdicts[i].burst,
			.new_sources = 1e9,
		};
		return 0;
	}
	return -EINVAL;
}

void contestant_set_rules(const char *text, struct contestant_limit *limit)
{
	limit->listed = strcmp(text, "list") == 0 ? LISTED : 0;
	limit->denies_all = strcmp(text, "denied") == 0;
	limit->bans_all = strcmp(text, "banned") == 0;
	limit->is_wide = strcmp(text, "wide") == 0;
	limit->levels = limit->is_wide || strcmp(text, "two") == 0 ? 1 : strcmp(text, "four") == 0 ? 3 : 0;
	limit->rules = limit->listed || limit->denies_all ? 2 : limit->levels || limit->bans_all ? 1 : atoi(text);
}

int contestant_set_limit(const struct contestant *contestant, const struct contestant_limit *limit)
{
	return contestant->edgebucket ? set_policy(contestant, limit) : 0;
}

int contestant_is_limiter(const struct contestant *contestant)
{
	return contestant->contestants == NULL ||
	       (contestant->fd != bpf_program__fd(contestant->contestants->progs.drop) &&
		contestant->fd != bpf_program__fd(contestant->contestants->progs.parse));
}

int contestant_attach(const struct contestant *contestant, int ifindex)
{
	return contestant->fd < 0 ? 0 : bpf_xdp_attach(ifindex, contestant->fd, XDP_FLAGS_DRV_MODE, NULL);
}

void contestant_detach(const struct contestant *contestant, int ifindex)
{
	if (contestant->fd >= 0)
		(void)bpf_xdp_detach(ifindex, XDP_FLAGS_DRV_MODE, NULL);
}

void contestant_unload(struct contestant *contestant)
{
	edgebucket_bpf__destroy(contestant->edgebucket);
	contestants_bpf__destroy(contestant->contestants);
	*contestant = (struct contestant){ .fd = -1 };
}
