// SPDX-License-Identifier: GPL-2.0-only
/* What a hostile Redis may send: any bytes, in pieces of any size. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "redis/resp.h"

#define MAX_BYTES 65536

static volatile size_t sink; /* keeps the walk from being optimized away */

static size_t walk(const struct eb_redis_reply *reply)
{
	size_t sum = reply->type;

	for (size_t i = 0; i < reply->len; i++)
		sum += (unsigned char)reply->str[i];
	for (size_t i = 0; i < reply->count; i++)
		sum += walk(&reply->items[i]);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct eb_resp *resp = eb_resp_new(MAX_BYTES);
	size_t piece = size ? data[0] % 64 + 1 : 1;

	for (size_t at = 1; resp && at < size; at += piece) {
		const struct eb_redis_reply *reply;
		int more = eb_resp_feed(resp, (const char *)data + at, piece < size - at ? piece : size - at);

		while (!more && (more = eb_resp_next(resp, &reply)) == 1) {
			sink += walk(reply) + (reply->type == EB_REDIS_ERROR ? eb_resp_classify(reply->str) : 0);
			more = 0;
		}
		if (more)
			break;
	}
	eb_resp_free(resp);
	return 0;
}
