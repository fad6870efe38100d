/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Puts into force what programs and `edgebucket ban` ask for. One request is done after the other, each in steps of
 * some milliseconds, so that a list of a million prefixes keeps nothing else of the agent waiting.
 *
 * A request of a program is one JSON object:
 *
 *   {"request": "ban", "bans": [{"prefix": "192.0.2.0/24", "for": "10min", "reason": "text"}, ...]}
 *   {"request": "unban", "prefixes": ["192.0.2.0/24", ...]}
 *   {"request": "unban", "all": true}
 *
 * "for" and "reason" can be left out. Each request can have "from": "feed" for what a program decided: its bans do not
 * shorten those of the operator, the default, and its unbans end bans of feeds alone, of exactly these prefixes.
 * `edgebucket` passes a file instead, with a line for each prefix, see eb_ban_print_line().
 *
 * The answer is
 * {"ok": true, "done": N, "refused": [{"index": 0, "error": "text"}, ...], "refused_count": N}; `refused` names the
 * first EB_BAN_ERRORS_MAX, by their place in the list.
 */
#ifndef EB_BAN_REQUESTS_H
#define EB_BAN_REQUESTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "maps/bans.h"

#define EB_BAN_ERRORS_MAX 100

struct eb_ban_requests; /* opaque */

/* Who asks. `answer` is called once, from the request or later from the loop, and takes over `reply`, which is NULL for
 * want of memory. */
struct eb_ban_asker {
	void (*answer)(uint64_t client, json_t *reply, void *arg);
	uint64_t client;
	void *arg;
};

/* `bans` must outlive it. Returns 0 or negative errno. */
int eb_ban_requests_new(sd_event *loop, struct eb_bans *bans, struct eb_ban_requests **out);

/* What is not done yet is given up, without an answer. Accepts NULL. */
void eb_ban_requests_free(struct eb_ban_requests *requests);

/* Does what a JSON object asks for, with at most `max` bans in all. */
void eb_ban_requests_json(struct eb_ban_requests *requests, uint32_t max, const char *text,
			  const struct eb_ban_asker *asker);

/* Bans, or lifts, what the lines of a regular file say. The caller keeps `file`. */
void eb_ban_requests_list(struct eb_ban_requests *requests, uint32_t max, bool lifts, int file,
			  const struct eb_ban_asker *asker);

/* Lifts all bans. */
void eb_ban_requests_lift_all(struct eb_ban_requests *requests, const struct eb_ban_asker *asker);

#endif
