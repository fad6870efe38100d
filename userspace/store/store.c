// SPDX-License-Identifier: GPL-2.0-only
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_ops.h"

void eb_store_init(struct eb_store *store, const struct eb_store_ops *ops, const struct eb_store_events *events)
{
	store->ops = ops;
	if (events)
		store->events = *events;
}

void eb_store_note_error(struct eb_store *store, const char *text)
{
	snprintf(store->last_error, sizeof(store->last_error), "%s", text);
	store->counts.errors++;
}

void eb_store_note_latency(struct eb_store *store, enum eb_store_op op, uint64_t latency_ns)
{
	if (latency_ns)
		eb_histogram_add(&store->counts.latency[op], latency_ns);
}

void eb_store_tell_down(struct eb_store *store, const char *text)
{
	snprintf(store->last_error, sizeof(store->last_error), "%s", text);
	if (store->events.down)
		store->events.down(text, store->events.arg);
}

static const char *const meta_names[EB_STORE_META_FIELDS] = { "schema", "boot_id", "saved_at", "agent" };

void eb_store_meta_format(const struct eb_store_meta *meta, struct eb_store_meta_text *out)
{
	memcpy(out->names, meta_names, sizeof(meta_names));
	snprintf(out->values[0], sizeof(out->values[0]), "%" PRIu32, meta->schema);
	snprintf(out->values[1], sizeof(out->values[1]), "%s", meta->boot_id);
	snprintf(out->values[2], sizeof(out->values[2]), "%" PRIu64, meta->saved_at_ns);
	snprintf(out->values[3], sizeof(out->values[3]), "%s", meta->agent);
}

/* Digits alone, and no more than fit: 0 otherwise, which says "none" in both places. */
static uint64_t parse_number(const char *text, uint64_t max)
{
	uint64_t number = 0;

	for (; *text; text++) {
		unsigned int digit = (unsigned char)*text - '0';

		if (digit > 9 || number > (max - digit) / 10)
			return 0;
		number = number * 10 + digit;
	}
	return number;
}

static void take_text(const char *value, char *out, size_t size)
{
	if (strlen(value) < size)
		strcpy(out, value);
}

void eb_store_meta_take(struct eb_store_meta *meta, const char *name, const char *value)
{
	if (!strcmp(name, "schema"))
		meta->schema = parse_number(value, UINT32_MAX);
	else if (!strcmp(name, "boot_id"))
		take_text(value, meta->boot_id, sizeof(meta->boot_id));
	else if (!strcmp(name, "saved_at"))
		meta->saved_at_ns = parse_number(value, UINT64_MAX);
	else if (!strcmp(name, "agent"))
		take_text(value, meta->agent, sizeof(meta->agent));
}

int eb_store_write(struct eb_store *store, const struct eb_store_batch *batch, eb_store_done done, void *arg)
{
	return store->ops->write(store, batch, done, arg);
}

int eb_store_write_meta(struct eb_store *store, const struct eb_store_meta *meta, uint64_t expire_in_ns,
			eb_store_done done, void *arg)
{
	return store->ops->write_meta(store, meta, expire_in_ns, done, arg);
}

int eb_store_read_meta(struct eb_store *store, eb_store_meta_done done, void *arg)
{
	return store->ops->read_meta(store, done, arg);
}

int eb_store_count(struct eb_store *store, eb_store_done done, void *arg)
{
	return store->ops->count(store, done, arg);
}

int eb_store_scan(struct eb_store *store, eb_store_visit visit, eb_store_done done, void *arg)
{
	return store->ops->scan(store, visit, done, arg);
}

void eb_store_hold_scan(struct eb_store *store, bool hold)
{
	store->ops->hold_scan(store, hold);
}

bool eb_store_is_up(const struct eb_store *store)
{
	return store->ops->is_up(store);
}

const char *eb_store_name(const struct eb_store *store)
{
	return store->ops->name;
}

const char *eb_store_peer(const struct eb_store *store)
{
	return store->ops->peer && eb_store_is_up(store) ? store->ops->peer(store) : "";
}

const char *eb_store_last_error(const struct eb_store *store)
{
	return store->last_error;
}

void eb_store_counts(const struct eb_store *store, struct eb_store_counts *out)
{
	*out = store->counts;
}

void eb_store_redirect(struct eb_store *store, void *arg)
{
	store->events.arg = arg;
}

void eb_store_free(struct eb_store *store)
{
	if (store)
		store->ops->free(store);
}
