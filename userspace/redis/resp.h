/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Redis protocol: commands to bytes, bytes to replies. Alone sees hiredis (0.14 and 1.x), of which it uses the
 * formatter and the reader. Memory for one reply is bounded: what a hostile or mistaken server sends is refused.
 */
#ifndef EB_RESP_H
#define EB_RESP_H

#include <stddef.h>

#include "redis/redis.h"

struct eb_resp; /* opaque: the reader of one connection */

/* NULL when there is no memory. */
struct eb_resp *eb_resp_new(size_t max_bytes);

/* Accepts NULL. */
void eb_resp_free(struct eb_resp *resp);

/* Adds what was received. 0, -ENOMEM, -EMSGSIZE. */
int eb_resp_feed(struct eb_resp *resp, const char *data, size_t len);

/* Returns 1 and a reply that lasts until the next call; 0 when there is no whole one yet; -EPROTO or -EMSGSIZE, after
 * which the reader is of no more use. */
int eb_resp_next(struct eb_resp *resp, const struct eb_redis_reply **out);

/* Formats a command. 0 or -ENOMEM; the result is freed with eb_resp_free_command(). */
int eb_resp_format(int argc, const char *const *argv, const size_t *lens, char **out, size_t *len);

/* Wipes it: it may have been AUTH. Accepts NULL. */
void eb_resp_free_command(char *command, size_t len);

/* The class of an error reply. */
enum eb_redis_error eb_resp_classify(const char *text);

#endif
