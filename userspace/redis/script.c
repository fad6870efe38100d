// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "redis/script.h"

int eb_script_init(const char *text, struct eb_script *out)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length;

	if (!EVP_Digest(text, strlen(text), digest, &length, EVP_sha1(), NULL) || 2 * length >= sizeof(out->sha))
		return -EIO;
	for (unsigned int i = 0; i < length; i++)
		sprintf(&out->sha[2 * i], "%02x", digest[i]);
	out->text = text;
	return 0;
}

bool eb_script_is_unknown(const struct eb_redis_result *result)
{
	return result->error && result->reply && result->reply->type == EB_REDIS_ERROR &&
	       !strncmp(result->reply->str, "NOSCRIPT", strlen("NOSCRIPT"));
}
