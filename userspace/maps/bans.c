// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "ban.h"
#include "base/clock.h"
#include "base/grow.h"
#include "maps/bans.h"
#include "table.h"

/* Entries that one system call reads or writes. */
#define BATCH 4096

#define FAMILIES 2
#define LENGTHS 129
#define BITS_SIZE (FAMILIES * EB_BAN_WORDS * sizeof(uint64_t)) /* of one array; there are two, see ban.h */

/* The key of either trie: it is as long as its map's says. */
union key {
	uint32_t prefixlen;
	struct eb_lpm4 v4;
	struct eb_lpm6 v6;
};

/* Entries to be removed. */
struct removal {
	struct eb_prefix *items;
	size_t count, room;
};

/* A look at all entries, a batch at a time. */
struct walk {
	int family; /* 4, 6; 0 at the end */
	bool is_begun; /* in this family */
	union key at;
	void *keys; /* struct eb_lpm4 or eb_lpm6, by family */
	struct eb_ban *values;
};

struct sweep {
	struct walk walk;
	uint64_t next_end;
	size_t past;
	struct removal removal;
};

struct eb_ban_walk {
	const struct eb_bans *bans;
	struct walk walk;
};

struct eb_bans {
	int fd[FAMILIES];
	struct eb_ban_watcher *watchers;
	struct eb_state *state; /* NULL unless writable */
	size_t state_length;
	uint64_t *bits; /* both arrays */
	bool second;    /* packets read the second one */
	size_t max;     /* entries, of all that there may be */
	uint64_t memory_ns; /* how long a penalty's ban is remembered */
	int made_fd;
	size_t counts[FAMILIES][LENGTHS]; /* entries by length */
	size_t sums[FAMILIES];
	size_t origins[EB_BAN_ORIGINS]; /* bans by origin */
	size_t past; /* of rules, that the last sweep found to have run out */
	size_t holes;
	uint64_t next_end;
	struct sweep *sweep; /* NULL between two */
};

static int index_of(int family)
{
	return family == 6;
}

static size_t key_size(int family)
{
	return family == 4 ? sizeof(struct eb_lpm4) : sizeof(struct eb_lpm6);
}

static int bits_of(int family)
{
	return family == 4 ? 32 : 128;
}

static void make_key(const struct eb_prefix *prefix, void *out)
{
	uint32_t len = prefix->len;

	memcpy(out, &len, sizeof(len));
	memcpy((char *)out + sizeof(len), prefix->addr, bits_of(prefix->family) / 8);
}

static void make_prefix(const void *key, int family, struct eb_prefix *out)
{
	uint32_t len;

	memcpy(&len, key, sizeof(len));
	*out = (struct eb_prefix){ .family = family, .len = len };
	memcpy(out->addr, (const char *)key + sizeof(len), bits_of(family) / 8);
}

/* ---- the filter ---- */

static void set_bits(uint64_t *words, uint32_t first, uint64_t count)
{
	for (; count >= 64 && first % 64 == 0; count -= 64, first += 64)
		__atomic_store_n(&words[first / 64], ~0ULL, __ATOMIC_RELAXED);
	for (; count; count--, first++)
		__atomic_fetch_or(&words[first / 64], 1ULL << (first % 64), __ATOMIC_RELAXED);
}

static void mark4(uint64_t *words, const struct eb_prefix *prefix)
{
	uint32_t addr;

	memcpy(&addr, prefix->addr, sizeof(addr));
	set_bits(words, eb_ban_bit4(ntohl(addr)),
		 prefix->len < EB_BAN_HEAD4 ? 1ULL << (EB_BAN_HEAD4 - prefix->len) : 1);
}

/* A prefix that covers as many heads as there are bits, or nearly, marks them all. */
static void mark6(uint64_t *words, const struct eb_prefix *prefix)
{
	int covers = prefix->len < EB_BAN_HEAD6 ? EB_BAN_HEAD6 - prefix->len : 0;
	uint64_t head, step = 1ULL << (64 - EB_BAN_HEAD6);

	memcpy(&head, prefix->addr, sizeof(head));
	head = be64toh(head);
	if (covers >= EB_BAN_LOG_BITS) {
		set_bits(words, 0, 1ULL << EB_BAN_LOG_BITS);
		return;
	}
	for (uint64_t i = 0; i < 1ULL << covers; i++)
		set_bits(words, eb_ban_bit6(head + i * step), 1);
}

static uint64_t *array(const struct eb_bans *bans, bool second)
{
	return bans->bits + (second ? FAMILIES * EB_BAN_WORDS : 0);
}

static void mark(uint64_t *bits, const struct eb_prefix *prefix)
{
	if (prefix->family == 4)
		mark4(bits, prefix);
	else
		mark6(bits + EB_BAN_WORDS, prefix);
}

/* In both arrays: that of packets, and that of a sweep under way. */
static void mark_both(struct eb_bans *bans, const struct eb_prefix *prefix)
{
	mark(array(bans, false), prefix);
	mark(array(bans, true), prefix);
}

static void tell_program(struct eb_bans *bans)
{
	uint32_t families = (bans->sums[0] ? EB_BANS_V4 : 0) | (bans->sums[1] ? EB_BANS_V6 : 0);
	size_t count = bans->sums[0] + bans->sums[1];

	EB_WRITE(bans->state->bans, families | (bans->second ? EB_BANS_SECOND : 0));
	if (bans->max)
		EB_WRITE(bans->state->bans_left, count < bans->max ? bans->max - count : 0);
}

/* The other array is empty before it is filled. What the program bans from here on it marks in both. */
static void begin_bits(struct eb_bans *bans)
{
	uint64_t *words = array(bans, !bans->second);

	for (size_t i = 0; i < FAMILIES * EB_BAN_WORDS; i++)
		if (words[i])
			EB_WRITE(words[i], 0);
}

/* Packets read the other array from here on. */
static void turn_bits(struct eb_bans *bans)
{
	bans->second = !bans->second;
	tell_program(bans);
}

/* The program sets a family's bit after it has put a ban there: what it banned meanwhile is seen. */
static void forget_family(struct eb_bans *bans, int index, uint32_t bit)
{
	char key[sizeof(struct eb_lpm6)];

	if (bans->sums[index] || !(EB_READ(bans->state->rule_bans) & bit))
		return;
	__atomic_fetch_and(&bans->state->rule_bans, ~bit, __ATOMIC_SEQ_CST);
	if (!bpf_map_get_next_key(bans->fd[index], NULL, key))
		__atomic_fetch_or(&bans->state->rule_bans, bit, __ATOMIC_SEQ_CST);
}

static void forget_families(struct eb_bans *bans)
{
	forget_family(bans, 0, EB_BANS_V4);
	forget_family(bans, 1, EB_BANS_V6);
}

/* ---- one entry ---- */

bool eb_ban_holds(const struct eb_ban *ban, uint64_t now_ns)
{
	return ban->kind == EB_BAN && ban->until_ns > now_ns;
}

/* The longest entry that covers a prefix; it can be the prefix's own. */
static bool find_entry(const struct eb_bans *bans, const struct eb_prefix *prefix, struct eb_ban_view *out)
{
	union key key = {};

	make_key(prefix, &key);
	if (bpf_map_lookup_elem(bans->fd[index_of(prefix->family)], &key, &out->ban))
		return false;
	out->prefix = *prefix;
	out->prefix.len = out->ban.len;
	for (int bit = out->ban.len; bit < bits_of(prefix->family); bit++)
		out->prefix.addr[bit / 8] &= ~(0x80 >> (bit % 8));
	return true;
}

/* The next entry around one. */
static bool find_wider(const struct eb_bans *bans, const struct eb_ban_view *view, struct eb_ban_view *out)
{
	struct eb_prefix prefix = view->prefix;

	if (!prefix.len)
		return false;
	prefix.len--;
	return find_entry(bans, &prefix, out);
}

bool eb_bans_find(const struct eb_bans *bans, const struct eb_prefix *prefix, uint64_t now_ns, struct eb_ban_view *out)
{
	struct eb_ban_view view, next;

	for (bool found = find_entry(bans, prefix, &view); found; view = next) {
		if (view.ban.kind == EB_BAN_HOLE)
			return false;
		if (eb_ban_holds(&view.ban, now_ns)) {
			*out = view;
			return true;
		}
		found = find_wider(bans, &view, &next);
	}
	return false;
}

bool eb_bans_get(const struct eb_bans *bans, const struct eb_prefix *prefix, struct eb_ban_view *out)
{
	return find_entry(bans, prefix, out) && out->ban.len == prefix->len;
}

void eb_bans_watch(struct eb_bans *bans, struct eb_ban_watcher *watcher)
{
	watcher->next = bans->watchers;
	bans->watchers = watcher;
}

void eb_bans_unwatch(struct eb_bans *bans, struct eb_ban_watcher *watcher)
{
	for (struct eb_ban_watcher **at = &bans->watchers; *at; at = &(*at)->next)
		if (*at == watcher) {
			*at = watcher->next;
			return;
		}
}

static void tell_change(const struct eb_bans *bans, const struct eb_prefix *prefix, const struct eb_ban *removed)
{
	for (const struct eb_ban_watcher *watcher = bans->watchers; watcher; watcher = watcher->next)
		watcher->changed(prefix, removed, watcher->arg);
}

static void count_entry(struct eb_bans *bans, const struct eb_ban_view *view, int by)
{
	int index = index_of(view->prefix.family);

	bans->counts[index][view->prefix.len] += by;
	bans->sums[index] += by;
	if (view->ban.kind == EB_BAN_HOLE)
		bans->holes += by;
	else if (view->ban.origin < EB_BAN_ORIGINS)
		bans->origins[view->ban.origin] += by;
}

static int remove_entry(struct eb_bans *bans, const struct eb_ban_view *view)
{
	union key key = {};
	int err;

	make_key(&view->prefix, &key);
	err = bpf_map_delete_elem(bans->fd[index_of(view->prefix.family)], &key);
	if (!err) {
		count_entry(bans, view, -1);
		tell_change(bans, &view->prefix, &view->ban);
	}
	return err == -ENOENT ? 0 : err;
}

static int note_removal(struct removal *removal, const struct eb_prefix *prefix)
{
	struct eb_prefix *items = eb_grow(removal->items, removal->count, &removal->room, sizeof(*items));

	if (!items)
		return -ENOMEM;
	removal->items = items;
	removal->items[removal->count++] = *prefix;
	return 0;
}

/* ---- all entries ---- */

static void walk_done(struct walk *walk)
{
	free(walk->keys);
	free(walk->values);
	walk->keys = NULL;
	walk->values = NULL;
}

static int walk_init(struct walk *walk)
{
	*walk = (struct walk){ .family = 4 };
	walk->keys = malloc(BATCH * sizeof(struct eb_lpm6));
	walk->values = malloc(BATCH * sizeof(*walk->values));
	if (walk->keys && walk->values)
		return 0;
	walk_done(walk);
	return -ENOMEM;
}

/* Reads the next batch: *count of them, of *family; 0 at the end of all. */
static int walk_next(const struct eb_bans *bans, struct walk *walk, int *family, uint32_t *count)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	int err;

	*count = 0;
	while (walk->family && !*count) {
		union key next;

		*family = walk->family;
		*count = BATCH;
		err = bpf_map_lookup_batch(bans->fd[index_of(walk->family)], walk->is_begun ? &walk->at : NULL, &next,
					   walk->keys, walk->values, count, &opts);
		if (err && err != -ENOENT)
			return err;
		walk->at = next;
		walk->is_begun = !err;
		if (err)
			walk->family = walk->family == 4 ? 6 : 0;
	}
	return 0;
}

static void walk_view(const struct walk *walk, int family, uint32_t i, struct eb_ban_view *out)
{
	make_prefix(walk->keys + i * key_size(family), family, &out->prefix);
	out->ban = walk->values[i];
}

int eb_bans_each(const struct eb_bans *bans, int (*visit)(const struct eb_ban_view *view, void *arg), void *arg)
{
	struct eb_ban_view view;
	struct walk walk;
	uint32_t count;
	int family, err = walk_init(&walk);

	if (err)
		return err;
	do {
		err = walk_next(bans, &walk, &family, &count);
		for (uint32_t i = 0; !err && i < count; i++) {
			walk_view(&walk, family, i, &view);
			err = visit(&view, arg);
		}
	} while (!err && count);
	walk_done(&walk);
	return err;
}

int eb_ban_walk_new(const struct eb_bans *bans, struct eb_ban_walk **out)
{
	struct eb_ban_walk *walk = calloc(1, sizeof(*walk));

	if (!walk)
		return -ENOMEM;
	walk->bans = bans;
	if (walk_init(&walk->walk)) {
		free(walk);
		return -ENOMEM;
	}
	*out = walk;
	return 0;
}

int eb_ban_walk_next(struct eb_ban_walk *walk, void (*visit)(const struct eb_ban_view *view, void *arg), void *arg)
{
	struct eb_ban_view view;
	uint32_t count;
	int family, err = walk_next(walk->bans, &walk->walk, &family, &count);

	for (uint32_t i = 0; !err && i < count; i++) {
		walk_view(&walk->walk, family, i, &view);
		visit(&view, arg);
	}
	return err ? err : count != 0;
}

void eb_ban_walk_free(struct eb_ban_walk *walk)
{
	if (walk)
		walk_done(&walk->walk);
	free(walk);
}

/* ---- opening ---- */

static int recount_one(const struct eb_ban_view *view, void *arg)
{
	struct eb_bans *bans = arg;

	count_entry(bans, view, 1);
	mark(array(bans, !bans->second), &view->prefix);
	if (view->ban.until_ns < bans->next_end)
		bans->next_end = view->ban.until_ns;
	return 0;
}

static void sweep_free(struct sweep *sweep)
{
	if (!sweep)
		return;
	walk_done(&sweep->walk);
	free(sweep->removal.items);
	free(sweep);
}

static int sweep_new(struct sweep **out)
{
	struct sweep *sweep = calloc(1, sizeof(*sweep));

	if (!sweep)
		return -ENOMEM;
	sweep->next_end = EB_BAN_FOREVER;
	if (walk_init(&sweep->walk)) {
		sweep_free(sweep);
		return -ENOMEM;
	}
	*out = sweep;
	return 0;
}

/* Bans that the program made before are found in the tries. */
static void drain(struct eb_bans *bans)
{
	struct eb_ban_made made;

	for (int i = 0; i < EB_BANS_MADE_MAX && !bpf_map_lookup_and_delete_elem(bans->made_fd, NULL, &made); i++)
		;
}

/* Counts all entries, and makes the filter. */
static int recount(struct eb_bans *bans)
{
	int err;

	sweep_free(bans->sweep);
	bans->sweep = NULL;
	memset(bans->counts, 0, sizeof(bans->counts));
	memset(bans->sums, 0, sizeof(bans->sums));
	memset(bans->origins, 0, sizeof(bans->origins));
	bans->holes = bans->past = 0;
	bans->next_end = EB_BAN_FOREVER;
	EB_WRITE(bans->state->bans_missed, 0);
	drain(bans);
	begin_bits(bans);
	err = eb_bans_each(bans, recount_one, bans);
	if (!err)
		turn_bits(bans);
	return err;
}

static int map_memory(const struct eb_maps *maps, enum eb_map map, size_t size, void **out)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, maps->fd[map], 0);

	if (memory == MAP_FAILED)
		return -errno;
	*out = memory;
	return 0;
}

int eb_bans_open(const struct eb_maps *maps, bool writable, struct eb_bans **out)
{
	struct eb_bans *bans = calloc(1, sizeof(*bans));
	size_t page = sysconf(_SC_PAGESIZE);
	int err = 0;

	if (!bans)
		return -ENOMEM;
	bans->fd[0] = maps->fd[EB_MAP_BANS_V4];
	bans->fd[1] = maps->fd[EB_MAP_BANS_V6];
	bans->made_fd = maps->fd[EB_MAP_BANS_MADE];
	bans->next_end = EB_BAN_FOREVER;
	bans->state_length = (sizeof(struct eb_state) + page - 1) / page * page;
	if (writable)
		err = map_memory(maps, EB_MAP_STATE, bans->state_length, (void **)&bans->state);
	if (!err && writable)
		err = map_memory(maps, EB_MAP_BAN_BITS, 2 * BITS_SIZE, (void **)&bans->bits);
	if (!err && writable) {
		bans->second = EB_READ(bans->state->bans) & EB_BANS_SECOND;
		err = recount(bans);
	}
	if (err)
		eb_bans_close(bans);
	else
		*out = bans;
	return err;
}

void eb_bans_close(struct eb_bans *bans)
{
	if (!bans)
		return;
	sweep_free(bans->sweep);
	if (bans->bits)
		munmap(bans->bits, 2 * BITS_SIZE);
	if (bans->state)
		munmap(bans->state, bans->state_length);
	free(bans);
}

size_t eb_bans_count(const struct eb_bans *bans)
{
	return bans->sums[0] + bans->sums[1];
}

size_t eb_bans_count_of(const struct eb_bans *bans, enum eb_ban_origin origin)
{
	size_t past = origin == EB_BAN_RULE ? bans->past : 0;

	return bans->origins[origin] > past ? bans->origins[origin] - past : 0;
}

void eb_bans_set_limits(struct eb_bans *bans, size_t max, uint64_t memory_ns)
{
	bans->max = max;
	bans->memory_ns = memory_ns;
	tell_program(bans);
}

uint64_t eb_bans_next_end(const struct eb_bans *bans)
{
	return bans->next_end;
}

/* ---- adding ---- */

static void note_end(struct eb_bans *bans, uint64_t until_ns)
{
	if (until_ns < bans->next_end)
		bans->next_end = until_ns;
	if (bans->sweep && until_ns < bans->sweep->next_end)
		bans->sweep->next_end = until_ns;
}

/* The program must not find a bit missing: bits first, then the entry, then what sends it there. */
static void announce(struct eb_bans *bans, const struct eb_ban_view *view)
{
	mark_both(bans, &view->prefix);
	note_end(bans, view->ban.until_ns);
}

static int write_entry(struct eb_bans *bans, const struct eb_ban_view *view)
{
	union key key = {};

	make_key(&view->prefix, &key);
	return bpf_map_update_elem(bans->fd[index_of(view->prefix.family)], &key, &view->ban, BPF_ANY);
}

/* `before` is the entry of this prefix, or NULL. */
static int put_order(struct eb_bans *bans, const struct eb_ban_order *order, const struct eb_ban_view *before,
		     uint64_t now_ns, size_t max)
{
	struct eb_ban_view view = {
		.prefix = order->prefix,
		.ban = {
			.until_ns = order->until_ns, .since_ns = order->since_ns ? order->since_ns : now_ns,
			.len = order->prefix.len,
			.kind = order->kind, .origin = order->origin,
		},
	};
	int err;

	if (!before && eb_bans_count(bans) >= max)
		return -E2BIG;
	memcpy(view.ban.reason, order->reason, sizeof(view.ban.reason));
	if (before)
		view.ban.refused = before->ban.refused;
	if (order->origin == EB_BAN_RULE) /* of a rule's that is restored, what is left is known */
		view.ban.term_ms = (order->until_ns - now_ns) / 1000000;
	announce(bans, &view);
	err = write_entry(bans, &view);
	if (err)
		return err;
	if (before)
		count_entry(bans, before, -1);
	count_entry(bans, &view, 1);
	tell_change(bans, &view.prefix, NULL);
	return 0;
}

static int add_one(struct eb_bans *bans, const struct eb_ban_order *order, uint64_t now_ns, size_t max)
{
	struct eb_ban_view before;
	bool is_known = eb_bans_get(bans, &order->prefix, &before);

	return put_order(bans, order, is_known ? &before : NULL, now_ns, max);
}

struct hole_hunt {
	const struct eb_bans *bans;
	struct removal removal;
};

/* A ban that is later than a hole within it ends that. */
static int hunt_hole(const struct eb_ban_view *view, void *arg)
{
	struct hole_hunt *hunt = arg;
	struct eb_ban_view at = *view, wider;

	if (view->ban.kind != EB_BAN_HOLE)
		return 0;
	while (find_wider(hunt->bans, &at, &wider)) {
		if (wider.ban.kind == EB_BAN && wider.ban.since_ns > view->ban.since_ns)
			return note_removal(&hunt->removal, &view->prefix);
		at = wider;
	}
	return 0;
}

static int remove_noted(struct eb_bans *bans, const struct removal *removal, size_t *removed)
{
	struct eb_ban_view view;
	int err = 0;

	for (size_t i = 0; !err && i < removal->count; i++) {
		if (!eb_bans_get(bans, &removal->items[i], &view))
			continue;
		err = remove_entry(bans, &view);
		if (!err && removed)
			++*removed;
	}
	return err;
}

int eb_bans_end_holes(struct eb_bans *bans)
{
	struct hole_hunt hunt = { .bans = bans };
	int err = bans->holes ? eb_bans_each(bans, hunt_hole, &hunt) : 0;

	if (!err)
		err = remove_noted(bans, &hunt.removal, NULL);
	free(hunt.removal.items);
	return err;
}

int eb_bans_add(struct eb_bans *bans, const struct eb_ban_order *orders, size_t count, size_t max, size_t *done)
{
	uint64_t now_ns = eb_monotonic_ns();
	int err = 0, ended;
	size_t i;

	for (i = 0; i < count; i++) {
		err = add_one(bans, &orders[i], now_ns, max);
		if (err)
			break;
		if (!i)
			tell_program(bans);
	}
	tell_program(bans);
	ended = eb_bans_end_holes(bans);
	if (done)
		*done = i;
	return err ? err : ended;
}

int eb_bans_restore(struct eb_bans *bans, const struct eb_ban_order *order, size_t max)
{
	struct eb_ban_view known;
	int err;

	if (eb_bans_get(bans, &order->prefix, &known))
		return 0;
	err = put_order(bans, order, NULL, eb_monotonic_ns(), max);
	if (err)
		return err;
	tell_program(bans);
	return 1;
}

/* ---- what the program banned ---- */

static void take_made(struct eb_bans *bans, const struct eb_ban_made *made)
{
	struct eb_ban_view view = { .ban.kind = EB_BAN, .ban.origin = EB_BAN_RULE }, before, now;

	view.prefix = (struct eb_prefix){ .family = made->family, .len = made->len };
	memcpy(view.prefix.addr, made->addr, bits_of(made->family) / 8);
	before = view;
	before.ban.kind = made->had_kind;
	before.ban.origin = made->had_origin;
	if (made->had)
		count_entry(bans, &before, -1);
	if (made->had && made->had_kind == EB_BAN && made->had_origin == EB_BAN_RULE && bans->past)
		bans->past--;
	count_entry(bans, &view, 1);
	if (eb_bans_get(bans, &view.prefix, &now))
		note_end(bans, now.ban.until_ns);
	tell_change(bans, &view.prefix, NULL);
}

int eb_bans_take_made(struct eb_bans *bans)
{
	struct eb_ban_made made;
	int err = 0;

	for (int i = 0; i < EB_BANS_MADE_MAX && !bpf_map_lookup_and_delete_elem(bans->made_fd, NULL, &made); i++)
		take_made(bans, &made);
	if (EB_READ(bans->state->bans_missed)) {
		err = recount(bans);
		tell_change(bans, NULL, NULL);
	}
	tell_program(bans);
	return err;
}

/* ---- lifting ---- */

static int compare_prefixes(const void *a, const void *b)
{
	const struct eb_prefix *x = a, *y = b;
	int order = x->family - y->family;

	if (!order)
		order = memcmp(x->addr, y->addr, sizeof(x->addr));
	return order ? order : x->len - y->len;
}

struct lift {
	struct eb_prefix *sorted;
	size_t count;
	uint64_t now_ns;
	struct removal removal;
	size_t in_force;
};

/* Whether one of the prefixes covers it: the prefix itself, or a shorter one with the same beginning. */
static bool is_lifted(const struct lift *lift, const struct eb_prefix *prefix)
{
	struct eb_prefix key = *prefix;

	for (int len = prefix->len; len >= 0; len--) {
		key.len = len;
		if (len < bits_of(key.family))
			key.addr[len / 8] &= ~(0x80 >> (len % 8));
		if (bsearch(&key, lift->sorted, lift->count, sizeof(key), compare_prefixes))
			return true;
	}
	return false;
}

static int lift_within(const struct eb_ban_view *view, void *arg)
{
	struct lift *lift = arg;

	if (!is_lifted(lift, &view->prefix))
		return 0;
	lift->in_force += eb_ban_holds(&view->ban, lift->now_ns);
	return note_removal(&lift->removal, &view->prefix);
}

/* Without longer entries there is nothing within a prefix, and no need to look at all of them. */
static bool has_within(const struct eb_bans *bans, const struct eb_prefix *prefixes, size_t count)
{
	int shortest[FAMILIES] = { LENGTHS, LENGTHS };

	for (size_t i = 0; i < count; i++)
		if (prefixes[i].len < shortest[index_of(prefixes[i].family)])
			shortest[index_of(prefixes[i].family)] = prefixes[i].len;
	for (int family = 0; family < FAMILIES; family++)
		for (int len = shortest[family] + 1; len < LENGTHS; len++)
			if (bans->counts[family][len])
				return true;
	return false;
}

static int note_own(struct eb_bans *bans, struct lift *lift)
{
	struct eb_ban_view view;
	int err = 0;

	for (size_t i = 0; !err && i < lift->count; i++)
		if (eb_bans_get(bans, &lift->sorted[i], &view)) {
			lift->in_force += eb_ban_holds(&view.ban, lift->now_ns);
			err = note_removal(&lift->removal, &view.prefix);
		}
	return err;
}

/* A hole where a wider ban goes on. It lasts as long as that. */
static int make_hole(struct eb_bans *bans, const struct eb_prefix *prefix, uint64_t now_ns, size_t *made)
{
	struct eb_ban_order hole = { .prefix = *prefix, .kind = EB_BAN_HOLE };
	struct eb_ban_view wider;
	int err;

	if (!eb_bans_find(bans, prefix, now_ns, &wider))
		return 0;
	hole.until_ns = wider.ban.until_ns;
	hole.origin = wider.ban.origin;
	err = add_one(bans, &hole, now_ns, EB_BANS_MAX);
	if (!err)
		++*made;
	return err;
}

static size_t drop_twice(struct eb_prefix *sorted, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (!kept || compare_prefixes(&sorted[kept - 1], &sorted[i]))
			sorted[kept++] = sorted[i];
	return kept;
}

int eb_bans_lift(struct eb_bans *bans, const struct eb_prefix *prefixes, size_t count, size_t *lifted)
{
	struct lift lift = { .sorted = malloc((count ? count : 1) * sizeof(*prefixes)), .now_ns = eb_monotonic_ns() };
	size_t holes = 0;
	int err = 0;

	if (!lift.sorted)
		return -ENOMEM;
	memcpy(lift.sorted, prefixes, count * sizeof(*prefixes));
	qsort(lift.sorted, count, sizeof(*prefixes), compare_prefixes);
	lift.count = drop_twice(lift.sorted, count);
	err = has_within(bans, lift.sorted, lift.count) ? eb_bans_each(bans, lift_within, &lift)
							: note_own(bans, &lift);
	if (!err)
		err = remove_noted(bans, &lift.removal, NULL);
	for (size_t i = 0; !err && i < lift.count; i++)
		err = make_hole(bans, &lift.sorted[i], lift.now_ns, &holes);
	tell_program(bans);
	*lifted = lift.in_force + holes;
	free(lift.removal.items);
	free(lift.sorted);
	return err;
}

int eb_bans_withdraw(struct eb_bans *bans, const struct eb_prefix *prefixes, size_t count, enum eb_ban_origin origin,
		     size_t *lifted)
{
	uint64_t now_ns = eb_monotonic_ns();
	struct eb_ban_view view;
	int err = 0;

	*lifted = 0;
	for (size_t i = 0; !err && i < count; i++) {
		if (!eb_bans_get(bans, &prefixes[i], &view) || view.ban.kind != EB_BAN || view.ban.origin != origin)
			continue;
		err = remove_entry(bans, &view);
		*lifted += !err && eb_ban_holds(&view.ban, now_ns);
	}
	tell_program(bans);
	return err;
}

int eb_bans_lift_all(struct eb_bans *bans, size_t *lifted)
{
	uint64_t now_ns = eb_monotonic_ns();
	struct eb_ban_view view;
	struct walk walk;
	uint32_t count;
	int family, err = walk_init(&walk);

	*lifted = 0;
	if (err)
		return err;
	err = walk_next(bans, &walk, &family, &count);
	for (uint32_t i = 0; !err && i < count; i++) {
		walk_view(&walk, family, i, &view);
		err = remove_entry(bans, &view);
		*lifted += !err && eb_ban_holds(&view.ban, now_ns);
	}
	walk_done(&walk);
	tell_program(bans);
	if (!count)
		forget_families(bans);
	return err ? err : count != 0;
}

/* ---- what ran out ---- */

static bool is_past(const struct eb_ban_view *view, uint64_t now_ns)
{
	return view->ban.kind == EB_BAN && view->ban.origin == EB_BAN_RULE && view->ban.until_ns <= now_ns;
}

/* When an entry is of no more use: a penalty depends on the one before. */
static uint64_t end_of(const struct eb_bans *bans, const struct eb_ban_view *view)
{
	uint64_t until_ns = view->ban.until_ns;

	return view->ban.origin == EB_BAN_RULE && until_ns != EB_BAN_FOREVER ? until_ns + bans->memory_ns : until_ns;
}

/* A hole with nothing around it is a bit of nothing. */
static bool is_over(const struct eb_bans *bans, const struct eb_ban_view *view, uint64_t now_ns)
{
	struct eb_ban_view at = *view, wider;

	if (view->ban.kind == EB_BAN)
		return end_of(bans, view) <= now_ns;
	while (find_wider(bans, &at, &wider)) {
		if (eb_ban_holds(&wider.ban, now_ns))
			return false;
		at = wider;
	}
	return true;
}

/* A ban that is only remembered costs packets nothing: it has no bit. */
static void stay(struct eb_bans *bans, const struct eb_ban_view *view, uint64_t now_ns)
{
	struct sweep *sweep = bans->sweep;
	uint64_t end_ns = view->ban.until_ns;

	if (is_past(view, now_ns)) {
		sweep->past++;
		end_ns = end_of(bans, view);
	} else {
		mark(array(bans, !bans->second), &view->prefix);
	}
	if (end_ns < sweep->next_end)
		sweep->next_end = end_ns;
}

static int sweep_batch(struct eb_bans *bans, uint32_t *count)
{
	struct sweep *sweep = bans->sweep;
	uint64_t now_ns = eb_monotonic_ns();
	struct eb_ban_view view;
	int family, err = walk_next(bans, &sweep->walk, &family, count);

	for (uint32_t i = 0; !err && i < *count; i++) {
		walk_view(&sweep->walk, family, i, &view);
		if (is_over(bans, &view, now_ns)) {
			err = note_removal(&sweep->removal, &view.prefix);
			continue;
		}
		stay(bans, &view, now_ns);
	}
	return err;
}

/* What somebody banned again meanwhile stays. */
static int sweep_end(struct eb_bans *bans)
{
	struct sweep *sweep = bans->sweep;
	uint64_t now_ns = eb_monotonic_ns();
	struct eb_ban_view view;
	int err = 0;

	for (size_t i = 0; !err && i < sweep->removal.count; i++)
		if (eb_bans_get(bans, &sweep->removal.items[i], &view) && is_over(bans, &view, now_ns))
			err = remove_entry(bans, &view);
	if (!err) {
		bans->next_end = sweep->next_end;
		bans->past = sweep->past;
		turn_bits(bans);
	}
	tell_program(bans);
	forget_families(bans);
	return err;
}

int eb_bans_sweep(struct eb_bans *bans)
{
	uint32_t count = 0;
	bool begins = !bans->sweep;
	int err = begins ? sweep_new(&bans->sweep) : 0;

	if (err)
		goto out;
	if (begins)
		begin_bits(bans);
	err = sweep_batch(bans, &count);
	if (err)
		goto out;
	if (count)
		return 1;
	err = sweep_end(bans);
out:
	sweep_free(bans->sweep);
	bans->sweep = NULL;
	return err;
}

bool eb_bans_is_sweeping(const struct eb_bans *bans)
{
	return bans->sweep;
}

const char *eb_ban_origin_name(enum eb_ban_origin origin)
{
	static const char *const names[EB_BAN_ORIGINS] = {
		[EB_BAN_OPERATOR] = "operator",
		[EB_BAN_RULE] = "rule",
		[EB_BAN_FEED] = "feed",
		[EB_BAN_FLEET] = "fleet",
	};

	return origin < EB_BAN_ORIGINS ? names[origin] : "unknown";
}
