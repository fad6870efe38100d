// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "config/targets.h"
#include "netlink/layers.h"

struct search {
	const struct eb_config *config;
	const struct eb_default_routes *routes;
	uint64_t names, roots; /* entries of `interfaces` that are names; all of `interfaces` */
	struct eb_targets found;
	size_t room; /* for so many */
};

static uint64_t bit(size_t entry)
{
	return 1ULL << entry;
}

/* ---- which entries stand for an interface ---- */

static bool has_name(const struct eb_interface_entry *entry, const struct eb_link_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		if (entry->kind == EB_ENTRY_NAME ? !strcmp(entry->text, names->names[i])
						 : !fnmatch(entry->text, names->names[i], FNM_NOESCAPE))
			return true;
	return false;
}

static bool stands_for(const struct search *search, const struct eb_interface_entry *entry,
		       const struct eb_link_names *names)
{
	if (entry->kind != EB_ENTRY_NAME && names->is_loopback)
		return false;
	return entry->kind == EB_ENTRY_DEFAULT ? eb_default_routes_have(search->routes, names->ifindex)
					       : has_name(entry, names);
}

/* ---- looking at all of them ---- */

static void begin(void *arg)
{
	struct search *search = arg;
	struct eb_target *items = search->found.items;

	search->found.count = 0;
	for (size_t i = 0; i < search->config->interface_count; i++) {
		const struct eb_interface_entry *entry = &search->config->entries[i];

		if (entry->kind != EB_ENTRY_NAME)
			continue;
		items[search->found.count] = (struct eb_target){ .entries = bit(i), .state = EB_TARGET_MISSING };
		memcpy(items[search->found.count++].name, entry->text, IF_NAMESIZE);
	}
}

/* The first of its names gets the interface. */
static void place_named(struct search *search, const struct eb_target *there)
{
	struct eb_target *first = NULL;

	for (size_t i = 0; i < search->found.count; i++) {
		struct eb_target *target = &search->found.items[i];

		if (target->state == EB_TARGET_THERE || !(target->entries & there->entries & search->names))
			continue;
		if (!first) {
			first = target;
			target->ifindex = there->ifindex;
			target->link = there->link;
			target->entries = there->entries;
			target->state = EB_TARGET_THERE;
		} else {
			memcpy(target->other, first->name, IF_NAMESIZE);
			target->state = EB_TARGET_DOUBLE;
		}
	}
}

static int add(struct search *search, struct eb_target *target)
{
	struct eb_target *items = eb_grow(search->found.items, search->found.count, &search->room, sizeof(*items));

	if (!items)
		return -ENOMEM;
	search->found.items = items;
	target->state = eb_link_header(&target->link) == EB_LINK_OTHER ? EB_TARGET_UNREADABLE : EB_TARGET_THERE;
	items[search->found.count++] = *target;
	return 0;
}

static int on_link(const struct eb_link_names *names, void *arg)
{
	struct search *search = arg;
	struct eb_target target = { .ifindex = names->ifindex, .link = names->link };

	for (size_t i = 0; i < search->config->entry_count; i++)
		if (stands_for(search, &search->config->entries[i], names))
			target.entries |= bit(i);
	if (target.entries & search->names) {
		place_named(search, &target);
		return 0;
	}
	if (!(target.entries & search->roots))
		return 0;
	snprintf(target.name, sizeof(target.name), "%s", names->names[0]);
	return add(search, &target);
}

/* ---- what is left out ---- */

static bool is_only_patterns(const struct search *search, const struct eb_target *target)
{
	return !(target->entries & search->names);
}

/* Of those below it that get the program, the first; those that lie on others are out already. */
static const struct eb_target *find_below(const struct search *search, const struct eb_layers *layers,
					  const struct eb_target *upper)
{
	for (size_t i = 0; i < search->found.count; i++) {
		const struct eb_target *lower = &search->found.items[i];

		if (lower->state == EB_TARGET_THERE && eb_layers_is_on(layers, upper->ifindex, lower->ifindex))
			return lower;
	}
	return NULL;
}

static struct eb_target *find_target(const struct search *search, int ifindex)
{
	for (size_t i = 0; i < search->found.count; i++)
		if (search->found.items[i].ifindex == ifindex)
			return &search->found.items[i];
	return NULL;
}

/* From below, so that each finds those below it decided. */
static int leave_out_above(struct search *search)
{
	size_t count = search->found.count;
	int *order = calloc(count + 1, sizeof(*order));
	struct eb_layers *layers = NULL;
	int err = order ? eb_layers_read(&layers) : -ENOMEM, present = 0;

	if (err)
		goto out;
	for (size_t i = 0; i < count; i++)
		if (search->found.items[i].state == EB_TARGET_THERE)
			order[present++] = search->found.items[i].ifindex;
	eb_layers_sort(layers, order, present);
	for (int i = 0; i < present; i++) {
		struct eb_target *target = find_target(search, order[i]);
		const struct eb_target *lower =
			is_only_patterns(search, target) ? find_below(search, layers, target) : NULL;

		if (!lower)
			continue;
		memcpy(target->other, lower->name, IF_NAMESIZE);
		target->state = EB_TARGET_ABOVE;
	}
out:
	eb_layers_free(layers);
	free(order);
	return err;
}

static int compare(const void *a, const void *b)
{
	return ((const struct eb_target *)a)->ifindex - ((const struct eb_target *)b)->ifindex;
}

/* The oldest ones keep their place: they have the smallest indexes. */
static void leave_out_excess(struct search *search)
{
	size_t there = __builtin_popcountll(search->names);

	for (size_t i = 0; i < search->found.count; i++) {
		struct eb_target *target = &search->found.items[i];

		if (target->state == EB_TARGET_THERE && is_only_patterns(search, target) &&
		    there++ >= EB_INTERFACES_MAX)
			target->state = EB_TARGET_EXCESS;
	}
}

int eb_targets_find(const struct eb_config *config, const struct eb_default_routes *routes, struct eb_targets *out)
{
	struct search search = { .config = config, .routes = routes, .room = EB_INTERFACES_MAX };
	size_t names;
	int err;

	for (size_t i = 0; i < config->interface_count; i++) {
		search.roots |= bit(i);
		search.names |= config->entries[i].kind == EB_ENTRY_NAME ? bit(i) : 0;
	}
	names = __builtin_popcountll(search.names);
	search.found.items = calloc(search.room, sizeof(*search.found.items));
	err = search.found.items ? eb_links_each(begin, on_link, &search) : -ENOMEM;
	if (!err && search.found.count > names) {
		qsort(search.found.items + names, search.found.count - names, sizeof(*search.found.items), compare);
		err = leave_out_above(&search);
		leave_out_excess(&search);
	}
	if (err) {
		eb_targets_done(&search.found);
		return err;
	}
	*out = search.found;
	return 0;
}

void eb_targets_done(struct eb_targets *targets)
{
	free(targets->items);
	*targets = (struct eb_targets){ 0 };
}

bool eb_targets_have_patterns(const struct eb_config *config)
{
	for (size_t i = 0; i < config->interface_count; i++)
		if (config->entries[i].kind != EB_ENTRY_NAME)
			return true;
	return false;
}

size_t eb_targets_count(const struct eb_targets *targets, size_t entry)
{
	size_t count = 0;

	for (size_t i = 0; i < targets->count; i++)
		count += targets->items[i].state == EB_TARGET_THERE && targets->items[i].entries >> entry & 1;
	return count;
}

const char *eb_target_reason(const struct eb_target *target, char *buffer)
{
	switch (target->state) {
	case EB_TARGET_UNREADABLE:
		snprintf(buffer, EB_TARGET_REASON_MAX,
			 "not all of its frames begin with an Ethernet or IP header (link type %u%s%s)",
			 target->link.type, target->link.kind[0] ? ", " : "", target->link.kind);
		return buffer;
	case EB_TARGET_ABOVE:
		snprintf(buffer, EB_TARGET_REASON_MAX, "lies on %s, where its packets are limited", target->other);
		return buffer;
	case EB_TARGET_EXCESS:
		snprintf(buffer, EB_TARGET_REASON_MAX, "there are %d others already", EB_INTERFACES_MAX);
		return buffer;
	default:
		return NULL;
	}
}
