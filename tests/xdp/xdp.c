// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "config/config.h"
#include "config/destination.h"
#include "maps/buckets.h"
#include "policy/rules.h"
#include "table.h"
#include "xdp.h"

#define DEFAULT_OBJECT "build/edgebucket.bpf.o"

/* --- Loading --- */

static struct bpf_map *find_map(struct bpf_object *object, const char *name)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);

	if (!map)
		fail_msg("the object has no map %s", name);
	return map;
}

int rig_fd(const struct rig *rig, const char *map)
{
	return bpf_map__fd(find_map(rig->object, map));
}

void rig_set_constant(struct bpf_object *object, const char *name, uint32_t value, size_t value_size)
{
	const struct btf *btf = bpf_object__btf(object);
	int id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	const struct btf_type *section = btf__type_by_id(btf, id);
	const struct btf_var_secinfo *var = btf_var_secinfos(section);
	struct bpf_map *map;
	size_t size;

	bpf_object__for_each_map(map, object)
		if (strstr(bpf_map__name(map), ".rodata"))
			break;
	for (int i = 0; map && i < btf_vlen(section); i++, var++) {
		const struct btf_type *type = btf__type_by_id(btf, var->type);

		if (strcmp(btf__name_by_offset(btf, type->name_off), name))
			continue;
		assert_int_equal(var->size, value_size);
		memcpy((char *)bpf_map__initial_value(map, &size) + var->offset, &value, value_size);
		return;
	}
	fail_msg("the object has no constant %s", name);
}

static void *map_memory(const struct rig *rig, const char *name, size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, rig_fd(rig, name), 0);

	if (at == MAP_FAILED)
		fail_msg("cannot map %s: %s", name, strerror(errno));
	return at;
}

struct bpf_object *rig_open_object(void)
{
	const char *path = getenv("EB_BPF_OBJECT");
	struct bpf_object *object = bpf_object__open_file(path ? path : DEFAULT_OBJECT, NULL);

	if (!object)
		fail_msg("cannot open %s: %s", path ? path : DEFAULT_OBJECT, strerror(errno));
	return object;
}

static void open_buckets(struct rig *rig)
{
	struct eb_maps maps;

	for (int i = 0; i < EB_MAPS; i++)
		maps.fd[i] = rig_fd(rig, eb_map_name(i));
	assert_int_equal(eb_buckets_open(&maps, true, &rig->buckets), 0);
}

void rig_open(struct rig *rig, uint32_t sets)
{
	*rig = (struct rig){ .object = rig_open_object(), .sets = sets };
	bpf_map__set_max_entries(find_map(rig->object, "buckets_v4"), sets);
	bpf_map__set_max_entries(find_map(rig->object, "tags_v4"), sets);
	bpf_map__set_max_entries(find_map(rig->object, "tags_v6"), sets);
	bpf_map__set_max_entries(find_map(rig->object, "changed_v4"), EB_CHANGES(sets));
	bpf_map__set_max_entries(find_map(rig->object, "changed_v6"), EB_CHANGES(sets));
	bpf_map__set_max_entries(find_map(rig->object, "buckets_v6"), sets);
	rig_set_constant(rig->object, "sets_v4", sets, sizeof(sets));
	rig_set_constant(rig->object, "sets_v6", sets, sizeof(sets));
	if (bpf_object__load(rig->object))
		fail_msg("cannot load the program: %s", strerror(errno));
	rig->prog = bpf_program__fd(bpf_object__find_program_by_name(rig->object, "edgebucket"));
	rig->v4 = map_memory(rig, "buckets_v4", sets * sizeof(*rig->v4));
	rig->v6 = map_memory(rig, "buckets_v6", sets * sizeof(*rig->v6));
	rig->tags4 = map_memory(rig, "tags_v4", sets * sizeof(*rig->tags4));
	rig->tags6 = map_memory(rig, "tags_v6", sets * sizeof(*rig->tags6));
	rig->state = map_memory(rig, "state", sizeof(*rig->state));
	rig->state->schema = EB_SCHEMA;
	rig->state->seed[0] = 0x0123456789abcdef;
	rig->state->seed[1] = 0xfedcba9876543210;
	rig->policy = calloc(1, sizeof(*rig->policy));
	assert_non_null(rig->policy);
	open_buckets(rig);
}

void rig_close(struct rig *rig)
{
	eb_buckets_close(rig->buckets);
	munmap(rig->v4, rig->sets * sizeof(*rig->v4));
	munmap(rig->v6, rig->sets * sizeof(*rig->v6));
	munmap(rig->tags4, rig->sets * sizeof(*rig->tags4));
	munmap(rig->tags6, rig->sets * sizeof(*rig->tags6));
	munmap(rig->state, sizeof(*rig->state));
	bpf_object__close(rig->object);
	free(rig->policy);
}

int rig_setup(void **state, uint32_t sets)
{
	static struct rig rig;

	*state = &rig;
	rig_open(&rig, sets);
	return 0;
}

int rig_teardown(void **state)
{
	rig_close(*state);
	return 0;
}

/* --- Rules --- */

static void write_trie(const struct rig *rig, const struct eb_trie *trie, uint8_t family, uint32_t index)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
	size_t key_size = family == 4 ? sizeof(struct eb_lpm4) : sizeof(struct eb_lpm6);
	int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, NULL, key_size, sizeof(uint64_t),
				trie->count ? trie->count : 1, &options);

	assert_true(fd >= 0);
	for (size_t i = 0; i < trie->count; i++) {
		struct eb_lpm6 key = { .prefixlen = trie->items[i].len };

		memcpy(key.addr, trie->items[i].addr, sizeof(key.addr));
		assert_int_equal(bpf_map_update_elem(fd, &key, &trie->items[i].rules, BPF_ANY), 0);
	}
	assert_int_equal(bpf_map_update_elem(rig_fd(rig, family == 4 ? "prefixes_v4" : "prefixes_v6"), &index, &fd, 0),
			 0);
	close(fd);
}

static void write_filter(const struct rig *rig, const struct eb_trie *trie, uint32_t place)
{
	int fd;

	if (!trie->filter)
		return;
	fd = eb_maps_make_filter(trie->filter, trie->filter_words);
	assert_true(fd >= 0);
	assert_int_equal(bpf_map_update_elem(rig_fd(rig, "filters"), &place, &fd, BPF_ANY), 0);
	close(fd);
}

static void write_number(const struct rig *rig, enum eb_number number, const uint64_t *sets, uint32_t index)
{
	uint32_t count = EB_NUMBER_SIZE(number), *keys = malloc(count * sizeof(*keys));

	if (!sets) {
		free(keys);
		return;
	}
	assert_non_null(keys);
	for (uint32_t value = 0; value < count; value++)
		keys[value] = EB_NUMBER(index, number, value);
	assert_int_equal(bpf_map_update_batch(rig_fd(rig, "numbers"), keys, sets, &count, NULL), 0);
	free(keys);
}

static void write_interfaces(const struct rig *rig, const struct eb_ruleset *rules, uint32_t index)
{
	struct eb_interface_key key = { .policy = index, .ifindex = if_nametoindex("lo") };
	uint64_t of_lo = eb_rules_of_interface(&rules->interfaces, 1);

	if (rules->interfaces.count)
		assert_int_equal(bpf_map_update_elem(rig_fd(rig, "interfaces"), &key, &of_lo, 0), 0);
}

static void write_rules(struct rig *rig, const struct eb_ruleset *rules)
{
	uint32_t index = !rig->state->active;

	for (uint32_t side = 0; side < EB_TRIES; side++) {
		write_trie(rig, &rules->v4[side], 4, EB_TRIE(index, side));
		write_trie(rig, &rules->v6[side], 6, EB_TRIE(index, side));
		write_filter(rig, &rules->v4[side], EB_FILTER_PLACE(index, EB_FILTER(4, side)));
		write_filter(rig, &rules->v6[side], EB_FILTER_PLACE(index, EB_FILTER(6, side)));
	}
	for (int number = 0; number < EB_NUMBERS; number++)
		write_number(rig, number, rules->numbers[number], index);
	write_interfaces(rig, rules, index);
	assert_int_equal(bpf_map_update_elem(rig_fd(rig, "policy"), &index, &rules->policy, BPF_ANY), 0);
	EB_WRITE(rig->state->active, index);
	/* The kernel waits here until no packet reads the rules before: their place is the next to be written. */
	write_trie(rig, &rules->v6[EB_TRIE_DST], 6, EB_TRIE(index, EB_TRIE_DST));
	*rig->policy = rules->policy;
}

void rig_apply(struct rig *rig, const char *config)
{
	struct eb_config *parsed;
	struct eb_ruleset *rules;
	char *error = NULL, *text;

	assert_true(asprintf(&text, "interfaces: [lo]\n%s", config) > 0);
	if (eb_config_parse(text, strlen(text), "test.yaml", NULL, &parsed, &error))
		fail_msg("%s", error);
	if (eb_rules_compile(parsed, rig->policy->rule_count ? rig->policy : NULL, &rules, &error))
		fail_msg("%s", error);
	write_rules(rig, rules);
	eb_rules_free(rules);
	eb_config_free(parsed);
	free(text);
}

/* "dns", or of a level "dns /24,/48". `out` has room for name and level. */
static const char *rule_text(const struct rig *rig, uint32_t index, char *out)
{
	int length = snprintf(out, EB_RULE_NAME_MAX + 1, "%.*s", EB_RULE_NAME_MAX, rig->policy->names[index]);

	eb_rules_level_text(&rig->policy->rules[index], out + length + 1);
	if (rig->policy->rules[index].level)
		out[length] = ' ';
	return out;
}

const struct eb_rule *rig_rule(const struct rig *rig, const char *name)
{
	char found[EB_RULE_NAME_MAX + EB_LEVEL_TEXT_MAX + 2];

	for (uint32_t i = 0; i < rig->policy->rule_count; i++)
		if (!strcmp(rule_text(rig, i, found), name))
			return &rig->policy->rules[i];
	fail_msg("no rule %s", name);
	return NULL;
}

/* --- Sending --- */

static int run(const struct rig *rig, const struct frame *frame, uint32_t repeat, struct xdp_md *context)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame->data, .data_size_in = frame->len, .repeat = repeat,
		    .ctx_in = context, .ctx_size_in = context ? sizeof(*context) : 0);
	int err = bpf_prog_test_run_opts(rig->prog, &options);

	return err ? err : (int)options.retval;
}

int rig_repeat(const struct rig *rig, const struct frame *frame, uint32_t repeat)
{
	int verdict = run(rig, frame, repeat, NULL);

	if (verdict < 0)
		fail_msg("the kernel refused to run the program: %s", strerror(-verdict));
	return verdict;
}

int rig_send(const struct rig *rig, const struct frame *frame)
{
	return rig_repeat(rig, frame, 1);
}

int rig_send_split(const struct rig *rig, const struct frame *frame, uint32_t linear)
{
	struct xdp_md context = { .data_end = linear };
	int verdict = run(rig, frame, 1, &context);

	return verdict < 0 ? -1 : verdict;
}

int rig_send_text(const struct rig *rig, const char *format, ...)
{
	static struct frame frame;
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	frame_make(text, &frame);
	return rig_send(rig, &frame);
}

/* --- Looking --- */

static void sum_counters(const struct rig *rig, uint32_t slot, struct eb_counters *out)
{
	int cpus = libbpf_num_possible_cpus();
	struct eb_counters values[cpus];

	memset(out, 0, sizeof(*out));
	assert_int_equal(bpf_map_lookup_elem(rig_fd(rig, "counters"), &slot, values), 0);
	for (int cpu = 0; cpu < cpus; cpu++) {
		out->new_sources += values[cpu].new_sources;
		out->penalties += values[cpu].penalties;
		for (int verdict = 0; verdict < EB_VERDICTS; verdict++) {
			out->packets[verdict] += values[cpu].packets[verdict];
			out->bytes[verdict] += values[cpu].bytes[verdict];
		}
	}
}

static void sum_frames(const struct rig *rig, uint32_t kind, struct eb_frame_counter *out)
{
	int cpus = libbpf_num_possible_cpus();
	struct eb_frame_counter values[cpus];

	memset(out, 0, sizeof(*out));
	assert_int_equal(bpf_map_lookup_elem(rig_fd(rig, "frames"), &kind, values), 0);
	for (int cpu = 0; cpu < cpus; cpu++) {
		out->packets += values[cpu].packets;
		out->bytes += values[cpu].bytes;
	}
}

uint64_t rig_count(const struct rig *rig, const char *rule, enum eb_verdict verdict)
{
	struct eb_counters counters;

	sum_counters(rig, rig_rule(rig, rule)->slot, &counters);
	return counters.packets[verdict];
}

uint64_t rig_new_sources(const struct rig *rig, const char *rule)
{
	struct eb_counters counters;

	sum_counters(rig, rig_rule(rig, rule)->slot, &counters);
	return counters.new_sources;
}

uint64_t rig_penalties(const struct rig *rig, const char *rule)
{
	struct eb_counters counters;

	sum_counters(rig, rig_rule(rig, rule)->slot, &counters);
	return counters.penalties;
}

uint64_t rig_count_kind(const struct rig *rig, enum eb_frame_kind kind)
{
	struct eb_frame_counter counter;

	sum_frames(rig, kind, &counter);
	return counter.packets;
}

static void print_count(FILE *out, const char *rule, const char *what, uint64_t packets, uint64_t bytes, size_t len)
{
	if (!packets && !bytes)
		return;
	if (len)
		assert_int_equal(bytes, packets * len);
	fprintf(out, "%s%s%s%s:%llu", ftell(out) ? " " : "", rule, *rule ? "." : "", what,
		(unsigned long long)packets);
}

const char *rig_counts(const struct rig *rig, size_t len)
{
	static const char *const kinds[] = { "not_ip", "malformed", "unmatched", "nd",
					     "group", "contended", "table_full", "banned", "would_ban" };
	static char text[1024];
	FILE *out = fmemopen(text, sizeof(text), "w");

	text[0] = '\0';
	for (uint32_t i = 0; i < rig->policy->rule_count; i++) {
		char rule[EB_RULE_NAME_MAX + EB_LEVEL_TEXT_MAX + 2];
		struct eb_counters counters;

		rule_text(rig, i, rule);
		sum_counters(rig, rig->policy->rules[i].slot, &counters);
		for (int verdict = 0; verdict < EB_VERDICTS; verdict++)
			print_count(out, rule, eb_verdict_name(verdict), counters.packets[verdict],
				    counters.bytes[verdict], len);
	}
	for (uint32_t kind = 0; kind < EB_FRAME_KINDS; kind++) {
		struct eb_frame_counter counter;

		sum_frames(rig, kind, &counter);
		print_count(out, "", kinds[kind], counter.packets, counter.bytes, len);
	}
	fclose(out);
	return text;
}

static void clear_elements(const struct rig *rig, const char *name, uint32_t count, size_t size)
{
	void *zero = calloc(libbpf_num_possible_cpus(), size);

	assert_non_null(zero);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(bpf_map_update_elem(rig_fd(rig, name), &i, zero, BPF_ANY), 0);
	free(zero);
}

void rig_clear(struct rig *rig)
{
	memset(rig->v4, 0, rig->sets * sizeof(*rig->v4));
	memset(rig->v6, 0, rig->sets * sizeof(*rig->v6));
	memset(rig->tags4, 0, rig->sets * sizeof(*rig->tags4));
	memset(rig->tags6, 0, rig->sets * sizeof(*rig->tags6));
	memset(rig->state->gates, 0, sizeof(rig->state->gates));
	clear_elements(rig, "counters", EB_SLOTS, sizeof(struct eb_counters));
	clear_elements(rig, "frames", EB_FRAME_KINDS, sizeof(struct eb_frame_counter));
	clear_elements(rig, "cpus", 1, sizeof(struct eb_cpu));
}

/* A key of either family as the table sees it. */
struct key {
	uint64_t word[EB_WORDS6];
	int words;
};

static struct key make_key(const struct rig *rig, const char *rule, uint8_t family, const void *addr,
			   const struct eb_destination *target)
{
	bool is_small = family == 4 && !target->also;
	struct key key = { .words = is_small ? EB_WORDS4 : EB_WORDS6 };

	if (is_small) {
		struct eb_key4 key4 = { .rule_id = rig_rule(rig, rule)->id4 };

		memcpy(&key4.addr, addr, sizeof(key4.addr));
		memcpy(key.word, &key4, sizeof(key4));
	} else {
		const struct eb_rule *found = rig_rule(rig, rule);
		struct eb_key6 key6 = { .rule_id = family == 4 ? found->id4 : found->id6, .family = family,
					.also = target->also };

		memcpy(key6.addr, addr, family == 4 ? 4 : 16);
		memcpy(key6.to, target->to, sizeof(key6.to));
		memcpy(key.word, &key6, sizeof(key6));
	}
	return key;
}

struct place {
	uint64_t *entry; /* NULL for none */
	uint32_t set;
	int way;
};

static __u64 *entry_at(const struct rig *rig, int words, uint32_t set, int way)
{
	return eb_set_key(words == EB_WORDS4 ? (void *)&rig->v4[set] : (void *)&rig->v6[set], words, way);
}

static __u64 key_hash(const struct rig *rig, const void *key, int words)
{
	return eb_key_hash(key, words, rig->state->seed);
}

/* An entry that no look-up for its key would come to. */
static bool is_lost(const struct rig *rig, int words, uint32_t set, int way)
{
	__u64 hash = key_hash(rig, entry_at(rig, words, set, way), words);
	const struct eb_tags *tags = words == EB_WORDS4 ? &rig->tags4[set] : &rig->tags6[set];

	for (int choice = 0; choice < EB_CHOICES; choice++)
		if (set == eb_choose_set(hash, rig->sets, choice))
			return tags->way[way] != eb_tag(hash);
	return true;
}

/* Looks everywhere, so that a bucket in the wrong place or in two is noticed. */
static struct place find_place(const struct rig *rig, const struct key *key)
{
	struct place place = { 0 };

	for (uint32_t set = 0; set < rig->sets; set++) {
		for (int way = 0; way < EB_WAYS; way++) {
			__u64 *entry = entry_at(rig, key->words, set, way);

			if (memcmp(entry, key->word, key->words * sizeof(*entry)))
				continue;
			if (place.entry)
				fail_msg("a source has two buckets, in sets %u and %u", place.set, set);
			if (is_lost(rig, key->words, set, way))
				fail_msg("a bucket is in set %u, where it is never looked for", set);
			place = (struct place){ .entry = (uint64_t *)entry, .set = set, .way = way };
		}
	}
	return place;
}

static struct eb_bucket *find_bucket(const struct rig *rig, const char *rule, uint8_t family, const void *addr,
				     const struct eb_destination *target)
{
	struct key key = make_key(rig, rule, family, addr, target);
	struct place place = find_place(rig, &key);

	return place.entry ? eb_key_bucket((__u64 *)place.entry, key.words) : NULL;
}

struct eb_bucket *rig_bucket(const struct rig *rig, const char *rule, uint8_t family, const void *addr)
{
	return find_bucket(rig, rule, family, addr, &(struct eb_destination){ .also = EB_ALSO_NONE });
}

struct eb_bucket *rig_bucket_of(const struct rig *rig, const char *rule, const char *source)
{
	size_t len = strcspn(source, ">");
	char *text = strndup(source, len);
	int family = strchr(text, ':') ? 6 : 4;
	struct eb_destination target;
	uint8_t addr[16];

	assert_int_equal(inet_pton(family == 6 ? AF_INET6 : AF_INET, text, addr), 1);
	assert_int_equal(eb_destination_parse(family, source + len, strlen(source + len), &target), 0);
	free(text);
	return find_bucket(rig, rule, family, addr, &target);
}

uint64_t rig_dropped(const struct rig *rig, const char *rule, const char *source)
{
	struct eb_bucket *bucket = rig_bucket_of(rig, rule, source);

	assert_non_null(bucket);
	return bucket->dropped;
}

static void check_entry(const struct rig *rig, int words, uint32_t set, int way)
{
	__u64 *entry = entry_at(rig, words, set, way);

	assert_false(eb_gcra_is_locked(eb_key_bucket(entry, words)->packets_full_at));
	assert_false(eb_gcra_is_locked(eb_key_bucket(entry, words)->bytes_full_at));
	if (!eb_key_empty(entry, words) && is_lost(rig, words, set, way))
		fail_msg("the entry in set %u, way %d is never looked for", set, way);
}

void rig_check_table(const struct rig *rig)
{
	for (int i = 0; i < EB_LOCKS; i++)
		assert_int_equal(rig->state->locks[i], 0);
	for (uint32_t set = 0; set < rig->sets; set++) {
		for (int way = 0; way < EB_WAYS; way++) {
			check_entry(rig, EB_WORDS4, set, way);
			check_entry(rig, EB_WORDS6, set, way);
		}
	}
}
