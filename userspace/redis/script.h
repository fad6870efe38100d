/* SPDX-License-Identifier: GPL-2.0-only */
/* A Lua script that the server runs: named by its digest, and sent whole where a server does not know that. */
#ifndef EB_SCRIPT_H
#define EB_SCRIPT_H

#include <stdbool.h>

#include "redis/redis.h"

struct eb_script {
	const char *text;
	char sha[41]; /* hexadecimal SHA-1, as EVALSHA takes it */
};

/* `text` must outlive the script. Returns 0 or negative errno. */
int eb_script_init(const char *text, struct eb_script *out);

/* Whether the server has not got the script: it is to be sent with EVAL. */
bool eb_script_is_unknown(const struct eb_redis_result *result);

#endif
