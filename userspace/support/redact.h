/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Takes passwords out of texts that leave the machine. Pure.
 *
 * A configuration is redacted by its structure, so that nothing depends on knowing the password; what was taken out is
 * then looked for in every other text, as error messages may quote it.
 */
#ifndef EB_REDACT_H
#define EB_REDACT_H

#include <stdbool.h>
#include <stddef.h>

#define REDACT_MARK "[removed]"

/* Shorter ones are not looked for in other texts: they would be found in words that have nothing to do with them. */
#define REDACT_SECRET_MIN 4

/* In the forms that messages and JSON give them. Begins zeroed. */
struct redact_secrets {
	char **items;
	size_t count;
	int error; /* -ENOMEM: there are more, and nothing may be written */
};

void redact_add(struct redact_secrets *secrets, const char *secret);
void redact_done(struct redact_secrets *secrets);

/*
 * A configuration, or a file of --redis-config (`is_redis`), YAML or JSON, good or not: without comments, which may
 * hold an old password, without the values of keys that are called like a password, or look as if, and without all of
 * the redis part but values of keys that are known to be harmless. Lines keep their numbers. From where it is no YAML
 * on, it is left out. The passwords that were taken out are added to `secrets`. Returns a malloc'ed text, NULL when out
 * of memory.
 */
char *redact_config(const char *text, size_t size, bool is_redis, struct redact_secrets *secrets);

/* The text without the secrets. Returns a malloc'ed text and its size, or NULL when out of memory. */
char *redact_text(const struct redact_secrets *secrets, const char *text, size_t size, size_t *out_size);

#endif
