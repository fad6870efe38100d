/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Redis protocol: formats commands and parses replies. Only this module uses hiredis (0.14 and 1.x), namely its
 * formatter and reader. The memory of one reply is limited: a larger reply of a hostile or broken server is refused.
 */
#ifndef EB_RESP_H
#define EB_RESP_H

#include <stddef.h>

#include "redis/redis.h"

struct eb_resp; /* opaque: the reader of one connection */

/* Creates a reader for replies of at most `max_bytes`. NULL if out of memory. */
struct eb_resp *eb_resp_new(size_t max_bytes);

/* Accepts NULL. */
void eb_resp_free(struct eb_resp *resp);

/* Adds received bytes. Returns 0, -ENOMEM or -EMSGSIZE. */
int eb_resp_feed(struct eb_resp *resp, const char *data, size_t len);

/* Returns 1 and a reply that is valid until the next call; 0 if there is no complete reply yet; or -EPROTO or
 * -EMSGSIZE, after which the reader is unusable. */
int eb_resp_next(struct eb_resp *resp, const struct eb_redis_reply **out);

/* Formats a command. Returns 0 and a command of *len bytes for eb_resp_free_command(), or -ENOMEM. */
int eb_resp_format(int argc, const char *const *argv, const size_t *lens, char **out, size_t *len);

/* Wipes a command, because it might contain a password, and frees it. Accepts NULL. */
void eb_resp_free_command(char *command, size_t len);

/* The class of an error reply. */
enum eb_redis_error eb_resp_classify(const char *text);

#endif
