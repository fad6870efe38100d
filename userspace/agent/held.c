// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/held.h"
#include "table.h"

int eb_held_init(struct eb_held *held, const struct eb_buckets *buckets)
{
	memset(held, 0, sizeof(*held));
	for (int i = 0; i < 2; i++) {
		held->entries[i] = eb_buckets_entries(buckets, i ? 6 : 4);
		held->slots[i] = calloc(held->entries[i], sizeof(uint32_t));
		held->groups[i] = eb_buckets_groups(buckets, i ? 6 : 4);
		held->due[i] = calloc(held->groups[i], sizeof(uint64_t)); /* EB_DUE_NOW */
		if (!held->slots[i] || !held->due[i])
			return -ENOMEM;
	}
	return 0;
}

void eb_held_done(struct eb_held *held)
{
	for (int i = 0; i < 2; i++) {
		free(held->slots[i]);
		free(held->due[i]);
	}
	memset(held, 0, sizeof(*held));
}

uint32_t *eb_held_slot(const struct eb_held *held, int family, uint32_t index)
{
	return &held->slots[family == 6][index];
}

void eb_held_set(struct eb_held *held, uint32_t *slot, uint32_t value)
{
	held->count += (value != EB_HELD_NOTHING);
	held->count -= (*slot != EB_HELD_NOTHING);
	*slot = value;
}

void eb_held_doubt(struct eb_held *held, uint32_t *slot)
{
	int i = slot < held->slots[0] || slot >= held->slots[0] + held->entries[0];

	eb_held_set(held, slot, EB_HELD_DOUBTFUL);
	held->due[i][(slot - held->slots[i]) / (EB_GROUP_SETS * EB_WAYS)] = EB_DUE_NOW;
}

void eb_held_look_at_all(struct eb_held *held)
{
	for (int i = 0; i < 2; i++)
		memset(held->due[i], 0, held->groups[i] * sizeof(uint64_t));
}

bool eb_held_is_due(const struct eb_held *held, int family, uint32_t group, uint64_t now)
{
	uint64_t due = held->due[family == 6][group];

	return due == EB_DUE_NOW || (due != EB_DUE_NEVER && !eb_gcra_debt(due, now));
}

void eb_held_set_due(struct eb_held *held, int family, uint32_t group, uint64_t due)
{
	held->due[family == 6][group] = due;
}

void eb_held_doubt_all(struct eb_held *held)
{
	eb_held_look_at_all(held);
	for (int i = 0; i < 2; i++)
		for (uint32_t j = 0; j < held->entries[i]; j++)
			if (held->slots[i][j] != EB_HELD_NOTHING)
				held->slots[i][j] = EB_HELD_DOUBTFUL;
}

uint32_t eb_held_fingerprint(const struct eb_bucket_view *view)
{
	static const __u64 seed[2];
	__u64 words[] = { view->source.rule_id, view->packets_full_at, view->bytes_full_at, 0, 0 };

	memcpy(&words[3], view->source.addr, sizeof(view->source.addr));
	return (uint32_t)eb_hash(words, sizeof(words) / sizeof(words[0]), seed) | 1;
}
