// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fields of stores that anybody may have written to, restored into a table: no source may end with a debt that its rule
 * cannot have, and no bucket may be made that no rule asks for.
 *
 * An input is lines, which begin with a letter:
 *
 *   F FIELD VALUE  a field of the store being read, at 1800000000000000000 ns
 *   J              the store ends, and another one begins
 *   R              a reload puts the other rules into force
 *   A              what was collected is put into the table
 *   L              the same, late: added to what is there already
 */
#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy/rules.h"
#include "store/restore.h"
#include "table.h"

#define SETS 16
#define RECORDS_MAX 100
#define WALL_NS 1800000000000000000ULL

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "fuzz_restore: %s\n", what);
	abort();
}

/* --- The table: files in memory in the place of the memory-mapped maps --- */

static struct eb_maps maps;
static struct eb_buckets *buckets;
static struct {
	enum eb_map map;
	size_t count, size;
	void *memory;
} shapes[] = {
	{ EB_MAP_BUCKETS_V4, SETS, sizeof(struct eb_set4), NULL },
	{ EB_MAP_BUCKETS_V6, SETS, sizeof(struct eb_set6), NULL },
	{ EB_MAP_TAGS_V4, SETS, sizeof(struct eb_tags), NULL },
	{ EB_MAP_TAGS_V6, SETS, sizeof(struct eb_tags), NULL },
	{ EB_MAP_CHANGED_V4, EB_CHANGES(SETS), sizeof(struct eb_changes), NULL },
	{ EB_MAP_CHANGED_V6, EB_CHANGES(SETS), sizeof(struct eb_changes), NULL },
	{ EB_MAP_STATE, 1, sizeof(struct eb_state), NULL },
};

int __wrap_bpf_obj_get_info_by_fd(int fd, void *info, __u32 *len);

int __wrap_bpf_obj_get_info_by_fd(int fd, void *info, __u32 *len)
{
	(void)len;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		if (maps.fd[shapes[i].map] == fd)
			*(struct bpf_map_info *)info = (struct bpf_map_info){ .max_entries = shapes[i].count,
									      .value_size = shapes[i].size };
	return 0;
}

static void empty_table(void)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		memset(shapes[i].memory, 0, shapes[i].count * shapes[i].size);
}

static void make_table(void)
{
	eb_maps_init(&maps);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		size_t size = shapes[i].count * shapes[i].size;
		int fd = memfd_create(eb_map_name(shapes[i].map), MFD_CLOEXEC);

		if (fd < 0 || ftruncate(fd, size))
			fail("no memory file");
		shapes[i].memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (shapes[i].memory == MAP_FAILED)
			fail("no memory");
		maps.fd[shapes[i].map] = fd;
	}
	if (eb_buckets_open(&maps, true, &buckets))
		fail("no table");
}

/* --- Rules --- */

static const char *const texts[] = {
	"interfaces: [lo]\n"
	"rules:\n"
	"  - {name: slow, action: limit, packets: {rate: 1/h, burst: 100}}\n"
	"  - {name: both, action: limit, packets: {rate: 10/s, burst: 20}, bytes: {rate: 8Mbit/s, burst: 1MB}}\n"
	"  - {name: wide, action: limit, per: {ipv4: 24, ipv6: 48}, bytes: {rate: 1kbit/s, burst: 1MB}}\n"
	"  - {name: all, action: limit, per: {ipv4: 0, ipv6: 0}, packets: {rate: 1/min, burst: 1}}\n"
	"  - {name: open, action: allow}\n",
	"interfaces: [lo]\n"
	"rules:\n"
	"  - {name: both, action: limit, packets: {rate: 10/s, burst: 5}}\n"
	"  - {name: slow, action: limit, packets: {rate: 1/h, burst: 50}}\n"
	"  - {name: wide, action: limit, per: {ipv4: 32, ipv6: 48}, bytes: {rate: 1kbit/s, burst: 1MB}}\n",
};

#define POLICIES (sizeof(texts) / sizeof(*texts))

static struct eb_ruleset *rulesets[POLICIES];

static void make_rules(void)
{
	for (size_t i = 0; i < POLICIES; i++) {
		struct eb_config *config;
		char *error;

		if (eb_config_parse(texts[i], strlen(texts[i]), "rules.yaml", NULL, &config, &error) ||
		    eb_rules_compile(config, i ? &rulesets[i - 1]->policy : NULL, &rulesets[i], &error))
			fail(error);
		eb_config_free(config);
	}
}

static const struct eb_rule *find_rule(const struct eb_source *source)
{
	for (size_t i = 0; i < POLICIES; i++) {
		const struct eb_policy *policy = &rulesets[i]->policy;

		for (uint32_t j = 0; j < policy->rule_count; j++)
			if (source->rule_id == (source->family == 4 ? policy->rules[j].id4 : policy->rules[j].id6))
				return &policy->rules[j];
	}
	fail("a bucket of no rule");
}

/* --- Restoring --- */

struct run {
	size_t policy;
	struct eb_restore *restore; /* joined from the stores read so far */
	struct eb_restore *store;   /* being read */
	struct eb_restore *before;  /* that was put into the table already; NULL for none */
	size_t applied;             /* how many were */
};

static struct eb_restore *new_restore(const struct run *run)
{
	struct eb_restore *restore = eb_restore_new(&rulesets[run->policy]->policy, RECORDS_MAX);

	if (!restore)
		fail("out of memory");
	return restore;
}

static void take_field(struct run *run, const char *line, const char *end)
{
	const char *space = memchr(line, ' ', end - line);

	if (space)
		eb_restore_add(run->store, line, space - line, space + 1, end - space - 1, WALL_NS);
}

static void join_store(struct run *run)
{
	eb_restore_join(run->restore, run->store);
}

static void reload(struct run *run)
{
	run->policy = (run->policy + 1) % POLICIES;
	eb_restore_rebind(run->restore, &rulesets[run->policy]->policy);
	eb_restore_rebind(run->store, &rulesets[run->policy]->policy);
	if (run->before)
		eb_restore_rebind(run->before, &rulesets[run->policy]->policy);
}

static void check_counts(const struct eb_restore *restore)
{
	struct eb_restore_counts counts;
	uint64_t sum;

	eb_restore_counts(restore, &counts);
	sum = counts.restored + counts.full;
	for (int i = 0; i < EB_REFUSALS; i++)
		sum += counts.refused[i];
	if (sum > counts.fields || counts.clamped > counts.restored)
		fail("more outcomes than fields");
}

static void apply(struct run *run, bool late)
{
	join_store(run);
	eb_restore_apply(run->restore, buckets, late, run->before);
	run->applied++;
	check_counts(run->restore);
	eb_restore_free(run->before);
	run->before = run->restore;
	run->restore = new_restore(run);
}

/* A restore gives at most a burst of debt; one that comes late adds it to what is owed, which is repaid. */
static bool can_owe(const struct run *run, const struct eb_limit *limit, uint64_t full_at)
{
	uint64_t debt = eb_gcra_debt(full_at, eb_buckets_now());

	return debt <= EB_BURST_MAX && debt / run->applied <= limit->burst;
}

static int check_bucket(const struct eb_bucket_view *view, uint32_t index, void *arg)
{
	const struct eb_rule *rule = find_rule(&view->source);
	const struct run *run = arg;

	(void)index;
	if (!can_owe(run, &rule->packets, view->packets_full_at) || !can_owe(run, &rule->bytes, view->bytes_full_at))
		fail("a debt that the rule cannot have");
	return 0;
}

static void run_lines(struct run *run, const char *text, const char *end)
{
	for (const char *line = text, *next; line < end; line = next + 1) {
		next = memchr(line, '\n', end - line);
		next = next ? next : end;
		if (next == line)
			continue;
		if (line[0] == 'F')
			take_field(run, line + (next - line > 1 ? 2 : 1), next);
		else if (line[0] == 'J')
			join_store(run);
		else if (line[0] == 'R')
			reload(run);
		else if (line[0] == 'A' || line[0] == 'L')
			apply(run, line[0] == 'L');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct eb_bucket_cursor cursor = { 0 };
	struct run run = { 0 };

	if (!buckets) {
		make_rules();
		make_table();
	}
	empty_table();
	run.restore = new_restore(&run);
	run.store = new_restore(&run);
	run_lines(&run, (const char *)data, (const char *)data + size);
	if (eb_buckets_walk(buckets, &cursor, check_bucket, &run))
		fail("the table cannot be walked");
	eb_restore_free(run.restore);
	eb_restore_free(run.store);
	eb_restore_free(run.before);
	return 0;
}
