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
#include "config/prefix.h"
#include "maps/bans.h"
#include "table.h"

/* Entries that one system call reads or writes, and that a step looks at: a millisecond or a few. */
#define BATCH 1024

/* Of holes that are listed, this many may be gone before the list is made anew. */
#define GONE_MAX 4096

#define FAMILIES 2
#define LENGTHS 129
#define BITS_SIZE (FAMILIES * EB_BAN_WORDS * sizeof(uint64_t)) /* of one array; there are two, see ban.h */

/* The key of either trie: it is as long as its map's says. */
union key {
	uint32_t prefixlen;
	struct eb_lpm4 v4;
	struct eb_lpm6 v6;
};

/* Entries of one family that are written or removed with one system call. */
struct batch {
	int family;
	size_t count;
	struct eb_ban_view views[BATCH];
	struct eb_ban before[BATCH]; /* of those that are written: what was there */
	bool was_there[BATCH];
	char keys[BATCH * sizeof(struct eb_lpm6)];
	struct eb_ban values[BATCH];
};

/* Prefixes of holes, also of some that are gone. */
struct hole_list {
	struct eb_prefix *items;
	size_t count, room;
	bool is_unsorted;
};

/* A look at all entries, a batch at a time. */
struct walk {
	int family; /* 4, 6; 0 at the end */
	bool is_begun; /* in this family */
	union key at;
	void *keys; /* struct eb_lpm4 or eb_lpm6, by family */
	struct eb_ban *values;
};

/* What is removed while a walk goes on. Its last entry is where the walk goes on from, and goes with the next ones. */
struct clearing {
	struct walk walk;
	bool has_last;
	struct eb_ban_view last;
};

struct sweep {
	struct clearing clearing;
	uint64_t next_end;
	size_t past;
};

struct eb_ban_lift {
	struct eb_bans *bans;
	const struct eb_prefix *prefixes;
	size_t count, next;
	bool lengths[FAMILIES][LENGTHS]; /* of the prefixes */
	enum { LIFT_OWN, LIFT_WITHIN, LIFT_HOLES } phase;
	struct clearing clearing;
	uint64_t now_ns;
	size_t lifted;
};

struct eb_ban_walk {
	const struct eb_bans *bans;
	struct walk walk;
};

enum put { PUT_ALWAYS, PUT_UNLESS_THERE };

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
	struct hole_list hole_list;
	size_t lifts; /* under way: the walk of a sweep would lose its way */
	uint64_t next_end;
	struct sweep *sweep; /* NULL between two */
	struct batch batch;
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

/* False where there is no entry of this prefix for sure, which spares a system call for each ban of a new list. Bits of
 * what is only remembered are missing, see stay(). */
static bool may_be_there(const struct eb_bans *bans, const struct eb_prefix *prefix)
{
	const uint64_t *words = array(bans, bans->second);
	uint32_t addr, bit;
	uint64_t head;

	if (bans->past || prefix->len < (prefix->family == 4 ? EB_BAN_HEAD4 : EB_BAN_HEAD6))
		return true;
	if (prefix->family == 4) {
		memcpy(&addr, prefix->addr, sizeof(addr));
		bit = eb_ban_bit4(ntohl(addr));
	} else {
		memcpy(&head, prefix->addr, sizeof(head));
		bit = eb_ban_bit6(be64toh(head));
		words += EB_BAN_WORDS;
	}
	return EB_READ(words[bit / 64]) >> (bit % 64) & 1;
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

static int compare_prefixes(const void *a, const void *b)
{
	return eb_prefix_compare(a, b);
}

static bool is_within(const struct eb_prefix *inner, const struct eb_prefix *outer)
{
	return inner->len >= outer->len && eb_prefix_overlaps(inner->family, inner->addr, inner->len, outer);
}

static size_t drop_twice(struct eb_prefix *sorted, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (!kept || compare_prefixes(&sorted[kept - 1], &sorted[i]))
			sorted[kept++] = sorted[i];
	return kept;
}

/* ---- holes ---- */

static int list_hole(struct eb_bans *bans, const struct eb_prefix *prefix)
{
	struct hole_list *list = &bans->hole_list;
	struct eb_prefix *items = eb_grow(list->items, list->count, &list->room, sizeof(*items));

	if (!items)
		return -ENOMEM;
	list->items = items;
	list->items[list->count++] = *prefix;
	list->is_unsorted = true;
	return 0;
}

static bool is_hole(const struct eb_bans *bans, const struct eb_prefix *prefix, struct eb_ban_view *out)
{
	return eb_bans_get(bans, prefix, out) && out->ban.kind == EB_BAN_HOLE;
}

static void sort_holes(struct eb_bans *bans)
{
	struct hole_list *list = &bans->hole_list;
	struct eb_ban_view view;
	size_t kept = 0;

	qsort(list->items, list->count, sizeof(*list->items), compare_prefixes);
	list->count = drop_twice(list->items, list->count);
	list->is_unsorted = false;
	if (list->count < bans->holes + GONE_MAX)
		return;
	for (size_t i = 0; i < list->count; i++)
		if (is_hole(bans, &list->items[i], &view))
			list->items[kept++] = list->items[i];
	list->count = kept;
}

/* The first one that is not before a prefix. */
static size_t find_hole(const struct hole_list *list, const struct eb_prefix *prefix)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_prefixes(&list->items[middle], prefix) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* A ban that is later than a hole within it ends that. */
static int end_holes(struct eb_bans *bans, const struct eb_ban_view *ban)
{
	struct hole_list *list = &bans->hole_list;
	struct eb_ban_view hole;
	int err = 0;

	if (!bans->holes)
		return 0;
	if (list->is_unsorted)
		sort_holes(bans);
	for (size_t i = find_hole(list, &ban->prefix);
	     !err && i < list->count && is_within(&list->items[i], &ban->prefix); i++)
		if (is_hole(bans, &list->items[i], &hole) && hole.ban.since_ns < ban->ban.since_ns)
			err = remove_entry(bans, &hole);
	return err;
}

/* ---- many entries at once ---- */

static void note_end(struct eb_bans *bans, uint64_t until_ns)
{
	if (until_ns < bans->next_end)
		bans->next_end = until_ns;
	if (bans->sweep && until_ns < bans->sweep->next_end)
		bans->sweep->next_end = until_ns;
}


static void *key_at(struct batch *batch, size_t i)
{
	return batch->keys + i * key_size(batch->family);
}

static struct eb_ban_view *stage(struct batch *batch, const struct eb_ban_view *view)
{
	size_t i = batch->count++;

	batch->family = view->prefix.family;
	batch->views[i] = *view;
	make_key(&view->prefix, key_at(batch, i));
	return &batch->views[i];
}

/* Whether those that are staged must be written or removed before another one of this family. */
static bool has_no_room(const struct batch *batch, int family)
{
	return batch->count == BATCH || (batch->count && batch->family != family);
}

/* Removes what is staged, but for what is gone already. */
static int remove_staged(struct eb_bans *bans)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct batch *batch = &bans->batch;
	size_t count = batch->count, next = 0;
	int err = 0;

	batch->count = 0;
	while (!err && next < count) {
		uint32_t done = count - next;

		err = bpf_map_delete_batch(bans->fd[index_of(batch->family)], key_at(batch, next), &done, &opts);
		for (; done; done--, next++) {
			count_entry(bans, &batch->views[next], -1);
			tell_change(bans, &batch->views[next].prefix, &batch->views[next].ban);
		}
		if (err == -ENOENT) {
			next++;
			err = 0;
		}
	}
	return err;
}

static void count_written(struct eb_bans *bans, size_t i, int by)
{
	struct batch *batch = &bans->batch;
	struct eb_ban_view before = { .prefix = batch->views[i].prefix, .ban = batch->before[i] };

	if (batch->was_there[i])
		count_entry(bans, &before, -by);
	count_entry(bans, &batch->views[i], by);
}

static int finish_written(struct eb_bans *bans, const struct eb_ban_view *view)
{
	tell_change(bans, &view->prefix, NULL);
	return view->ban.kind == EB_BAN_HOLE ? list_hole(bans, &view->prefix) : end_holes(bans, view);
}

/* Writes what is staged and counted already; *done grows by what is in force. The program must not find a bit missing:
 * bits first, then the entries, then what sends it there (tell_program). */
static int write_staged(struct eb_bans *bans, size_t *done)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct batch *batch = &bans->batch;
	size_t count = batch->count;
	uint32_t written = count;
	int err, later = 0;

	batch->count = 0;
	if (!count)
		return 0;
	for (size_t i = 0; i < count; i++) {
		mark_both(bans, &batch->views[i].prefix);
		note_end(bans, batch->views[i].ban.until_ns);
		batch->values[i] = batch->views[i].ban;
	}
	err = bpf_map_update_batch(bans->fd[index_of(batch->family)], batch->keys, batch->values, &written, &opts);
	for (size_t i = written; i < count; i++)
		count_written(bans, i, -1);
	for (size_t i = 0; !later && i < written; i++)
		later = finish_written(bans, &batch->views[i]);
	*done += written;
	return err ? err : later;
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
	return view->ban.kind == EB_BAN_HOLE ? list_hole(bans, &view->prefix) : 0;
}

static void sweep_free(struct sweep *sweep)
{
	if (sweep)
		walk_done(&sweep->clearing.walk);
	free(sweep);
}

static int sweep_new(struct sweep **out)
{
	struct sweep *sweep = calloc(1, sizeof(*sweep));

	if (!sweep)
		return -ENOMEM;
	sweep->next_end = EB_BAN_FOREVER;
	if (walk_init(&sweep->clearing.walk)) {
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
	bans->holes = bans->past = bans->hole_list.count = 0;
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
	free(bans->hole_list.items);
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

/* The order of the batches: the trie is walked along, not up and down, which is several times as fast. */
static int compare_orders(const void *a, const void *b)
{
	const struct eb_ban_order *x = a, *y = b;
	int order = compare_prefixes(&x->prefix, &y->prefix);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static void sort_orders(struct eb_ban_order *orders, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (compare_orders(&orders[i - 1], &orders[i]) > 0) {
			qsort(orders, count, sizeof(*orders), compare_orders);
			return;
		}
}

/* Stages an order in place of `before`, which is NULL where nothing is there, and counts it. */
static void stage_order(struct eb_bans *bans, const struct eb_ban_order *order, const struct eb_ban_view *before,
			uint64_t now_ns)
{
	struct batch *batch = &bans->batch;
	size_t i = batch->count;
	struct eb_ban_view view = {
		.prefix = order->prefix,
		.ban = {
			.until_ns = order->until_ns, .since_ns = order->since_ns ? order->since_ns : now_ns,
			.len = order->prefix.len,
			.kind = order->kind, .origin = order->origin,
		},
	};

	memcpy(view.ban.reason, order->reason, sizeof(view.ban.reason));
	batch->was_there[i] = before;
	if (before) {
		batch->before[i] = before->ban;
		view.ban.refused = before->ban.refused;
	}
	if (order->origin == EB_BAN_RULE) /* of a rule's that is restored, what is left is known */
		view.ban.term_ms = (order->until_ns - now_ns) / 1000000;
	(void)stage(batch, &view);
	count_written(bans, i, 1);
}

/* Whether a wider ban is later than a hole. */
static bool is_closed(const struct eb_bans *bans, const struct eb_ban_order *hole)
{
	struct eb_ban_view at = { .prefix = hole->prefix }, wider;

	for (; find_wider(bans, &at, &wider); at = wider)
		if (wider.ban.kind == EB_BAN && wider.ban.since_ns > hole->since_ns)
			return true;
	return false;
}

/* Returns 1 if it is staged, 0 where an entry of the same prefix is to stay, -E2BIG when there are too many. */
static int take_order(struct eb_bans *bans, const struct eb_ban_order *order, enum put how, uint64_t now_ns,
		      size_t max)
{
	struct eb_ban_view before;
	bool is_known = may_be_there(bans, &order->prefix) && eb_bans_get(bans, &order->prefix, &before);

	if (how == PUT_UNLESS_THERE && (is_known || (order->kind == EB_BAN_HOLE && is_closed(bans, order))))
		return 0;
	if (!is_known && eb_bans_count(bans) >= max)
		return -E2BIG;
	stage_order(bans, order, is_known ? &before : NULL, now_ns);
	return 1;
}

static int put(struct eb_bans *bans, struct eb_ban_order *orders, size_t count, enum put how, size_t max,
	       struct eb_ban_outcome *out)
{
	uint64_t now_ns = eb_monotonic_ns();
	int err = 0;

	*out = (struct eb_ban_outcome){};
	sort_orders(orders, count);
	for (size_t i = 0; !err && i < count; i++) {
		if (i + 1 < count && !compare_prefixes(&orders[i].prefix, &orders[i + 1].prefix))
			continue; /* the later one counts */
		if (has_no_room(&bans->batch, orders[i].prefix.family))
			err = write_staged(bans, &out->done);
		if (!err && take_order(bans, &orders[i], how, now_ns, max) == -E2BIG)
			orders[out->refused++] = orders[i];
	}
	if (!err)
		err = write_staged(bans, &out->done);
	tell_program(bans);
	return err;
}

int eb_bans_add(struct eb_bans *bans, struct eb_ban_order *orders, size_t count, size_t max,
		struct eb_ban_outcome *out)
{
	return put(bans, orders, count, PUT_ALWAYS, max, out);
}

int eb_bans_restore(struct eb_bans *bans, struct eb_ban_order *orders, size_t count, size_t max,
		    struct eb_ban_outcome *out)
{
	return put(bans, orders, count, PUT_UNLESS_THERE, max, out);
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

/* ---- removing along a walk ---- */

/* Reads the next entries and removes those that `is_gone` takes: *count were read, 0 at the end. */
static int clear_next(struct eb_bans *bans, struct clearing *clearing,
		      bool (*is_gone)(const struct eb_ban_view *view, void *arg), void *arg, uint32_t *count)
{
	struct eb_ban_view view;
	int family, err = walk_next(bans, &clearing->walk, &family, count);

	if (!err && clearing->has_last)
		err = remove_entry(bans, &clearing->last);
	clearing->has_last = false;
	for (uint32_t i = 0; !err && i < *count; i++) {
		walk_view(&clearing->walk, family, i, &view);
		if (!is_gone(&view, arg))
			continue;
		if (i + 1 < *count) {
			(void)stage(&bans->batch, &view);
			continue;
		}
		clearing->has_last = true;
		clearing->last = view;
	}
	return err ? err : remove_staged(bans);
}

/* ---- lifting ---- */

/* Whether one of the prefixes covers it: the prefix itself, or a shorter one with the same beginning. */
static bool is_covered(const struct eb_ban_lift *lift, const struct eb_prefix *prefix)
{
	const bool *lengths = lift->lengths[index_of(prefix->family)];
	struct eb_prefix key = *prefix;

	for (int len = prefix->len; len >= 0; len--) {
		key.len = len;
		if (len < bits_of(key.family))
			key.addr[len / 8] &= ~(0x80 >> (len % 8));
		if (lengths[len] && bsearch(&key, lift->prefixes, lift->count, sizeof(key), compare_prefixes))
			return true;
	}
	return false;
}

static bool lift_covered(const struct eb_ban_view *view, void *arg)
{
	struct eb_ban_lift *lift = arg;

	if (!is_covered(lift, &view->prefix))
		return false;
	lift->lifted += eb_ban_holds(&view->ban, lift->now_ns);
	return true;
}

/* Without longer entries there is nothing within a prefix, and no need to look at all of them. */
static bool has_within(const struct eb_ban_lift *lift)
{
	for (int family = 0; family < FAMILIES; family++) {
		bool is_wider = false;

		for (int len = 0; len < LENGTHS; len++) {
			if (is_wider && lift->bans->counts[family][len])
				return true;
			is_wider |= lift->lengths[family][len];
		}
	}
	return false;
}

/* Whether there are shorter entries, which can be around a prefix. */
static bool has_around(const struct eb_bans *bans, const struct eb_prefix *prefix)
{
	for (int len = 0; len < prefix->len; len++)
		if (bans->counts[index_of(prefix->family)][len])
			return true;
	return false;
}

/* The next prefix of another family than the staged entries waits for the next step. */
static int lift_own(struct eb_ban_lift *lift)
{
	struct eb_bans *bans = lift->bans;
	struct eb_ban_view view;

	for (size_t i = 0; i < BATCH && lift->next < lift->count; i++) {
		const struct eb_prefix *prefix = &lift->prefixes[lift->next];

		if (has_no_room(&bans->batch, prefix->family))
			break;
		lift->next++;
		if (!may_be_there(bans, prefix) || !eb_bans_get(bans, prefix, &view))
			continue;
		lift->lifted += eb_ban_holds(&view.ban, lift->now_ns);
		(void)stage(&bans->batch, &view);
	}
	return remove_staged(bans);
}

/* A hole where a wider ban goes on. It lasts as long as that. One within another that is staged is not needed. */
static int stage_hole(struct eb_ban_lift *lift, const struct eb_prefix *prefix)
{
	struct eb_bans *bans = lift->bans;
	struct batch *batch = &bans->batch;
	struct eb_ban_order hole = { .prefix = *prefix, .kind = EB_BAN_HOLE };
	struct eb_ban_view wider;
	int ret;

	if (batch->count && is_within(prefix, &batch->views[batch->count - 1].prefix))
		return 0;
	if (!has_around(bans, prefix) || !eb_bans_find(bans, prefix, lift->now_ns, &wider))
		return 0;
	hole.until_ns = wider.ban.until_ns;
	hole.origin = wider.ban.origin;
	ret = take_order(bans, &hole, PUT_ALWAYS, lift->now_ns, EB_BANS_MAX);
	return ret < 0 ? ret : 0;
}

static int make_holes(struct eb_ban_lift *lift)
{
	struct eb_bans *bans = lift->bans;
	int err = 0;

	for (size_t i = 0; !err && i < BATCH && lift->next < lift->count; i++) {
		const struct eb_prefix *prefix = &lift->prefixes[lift->next];

		if (has_no_room(&bans->batch, prefix->family))
			break;
		lift->next++;
		err = stage_hole(lift, prefix);
	}
	return err ? err : write_staged(bans, &lift->lifted);
}

static int lift_within(struct eb_ban_lift *lift, bool *is_done)
{
	uint32_t count;
	int err = clear_next(lift->bans, &lift->clearing, lift_covered, lift, &count);

	*is_done = !count;
	return err;
}

int eb_ban_lift_new(struct eb_bans *bans, const struct eb_prefix *prefixes, size_t count, struct eb_ban_lift **out)
{
	struct eb_ban_lift *lift = calloc(1, sizeof(*lift));
	int err = lift ? eb_bans_take_made(bans) : -ENOMEM;

	if (err)
		goto out;
	sweep_free(bans->sweep);
	bans->sweep = NULL;
	bans->lifts++;
	lift->bans = bans;
	lift->prefixes = prefixes;
	lift->count = count;
	lift->now_ns = eb_monotonic_ns();
	for (size_t i = 0; i < count; i++)
		lift->lengths[index_of(prefixes[i].family)][prefixes[i].len] = true;
	/* A walk along the trie costs less than as many look-ups. */
	if (has_within(lift) || (count > BATCH && count > eb_bans_count(bans) / 2)) {
		lift->phase = LIFT_WITHIN;
		err = walk_init(&lift->clearing.walk);
	}
out:
	if (err)
		eb_ban_lift_free(lift);
	else
		*out = lift;
	return err;
}

int eb_ban_lift_step(struct eb_ban_lift *lift)
{
	bool is_done = false;
	int err;

	if (lift->phase == LIFT_WITHIN)
		err = lift_within(lift, &is_done);
	else
		err = lift->phase == LIFT_OWN ? lift_own(lift) : make_holes(lift);
	is_done |= lift->next == lift->count;
	if (!err && is_done && lift->phase != LIFT_HOLES) {
		lift->phase = LIFT_HOLES;
		lift->next = 0;
		is_done = !lift->count;
	}
	tell_program(lift->bans);
	if (err || !is_done)
		return err ? err : 1;
	forget_families(lift->bans);
	lift->bans->next_end = 0; /* the next sweep takes them out of the filter */
	return 0;
}

size_t eb_ban_lift_lifted(const struct eb_ban_lift *lift)
{
	return lift->lifted;
}

void eb_ban_lift_free(struct eb_ban_lift *lift)
{
	if (!lift)
		return;
	if (lift->bans)
		lift->bans->lifts--;
	walk_done(&lift->clearing.walk);
	free(lift);
}

size_t eb_ban_lift_sort(struct eb_prefix *prefixes, size_t count)
{
	qsort(prefixes, count, sizeof(*prefixes), compare_prefixes);
	return drop_twice(prefixes, count);
}

int eb_bans_lift(struct eb_bans *bans, struct eb_prefix *prefixes, size_t count, size_t *lifted)
{
	struct eb_ban_lift *lift;
	int ret = eb_ban_lift_new(bans, prefixes, eb_ban_lift_sort(prefixes, count), &lift);

	*lifted = 0;
	if (ret)
		return ret;
	do
		ret = eb_ban_lift_step(lift);
	while (ret > 0);
	*lifted = lift->lifted;
	eb_ban_lift_free(lift);
	return ret;
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

struct sweep_look {
	struct eb_bans *bans;
	uint64_t now_ns;
};

static bool sweep_one(const struct eb_ban_view *view, void *arg)
{
	const struct sweep_look *look = arg;

	if (is_over(look->bans, view, look->now_ns))
		return true;
	stay(look->bans, view, look->now_ns);
	return false;
}

static void sweep_end(struct eb_bans *bans)
{
	bans->next_end = bans->sweep->next_end;
	bans->past = bans->sweep->past;
	turn_bits(bans);
	forget_families(bans);
}

int eb_bans_sweep(struct eb_bans *bans)
{
	struct sweep_look look = { .bans = bans };
	uint32_t count = 0;
	bool begins = !bans->sweep;
	int err;

	if (bans->lifts)
		return 0;
	err = begins ? sweep_new(&bans->sweep) : 0;
	if (err)
		goto out;
	if (begins)
		begin_bits(bans);
	look.now_ns = eb_monotonic_ns();
	err = clear_next(bans, &bans->sweep->clearing, sweep_one, &look, &count);
	tell_program(bans);
	if (err)
		goto out;
	if (count)
		return 1;
	sweep_end(bans);
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
