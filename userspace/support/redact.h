/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Removes passwords from texts that leave the machine.
 *
 * A configuration is redacted by its structure, so the password need not be known. The removed passwords are then
 * searched for in every other text, because error messages might quote them.
 */
#ifndef EB_REDACT_H
#define EB_REDACT_H

#include <stdbool.h>
#include <stddef.h>

#define REDACT_MARK "[removed]"

/* In bytes. Shorter passwords are not searched for in other texts, because they would match unrelated words. */
#define REDACT_SECRET_MIN 4

/* Secrets in the forms in which messages and JSON contain them. All zeros is the empty set. */
struct redact_secrets {
	char **items;
	size_t count;
	int error; /* -ENOMEM: some secrets are missing, so nothing must be written */
};

void redact_add(struct redact_secrets *secrets, const char *secret);
void redact_done(struct redact_secrets *secrets);

/*
 * Redacts a configuration, or a file of --redis-config (`is_redis`), in YAML or JSON, valid or not. Removes comments,
 * because they might contain an old password; the values of keys whose name is, or resembles, that of a password; and
 * in the section `redis`, all values except those of keys that are known to be harmless. Lines keep their numbers. If
 * the text is not YAML from some line on, the rest is removed. Adds the removed passwords to `secrets`. Returns a
 * malloc'ed text; NULL if out of memory.
 */
char *redact_config(const char *text, size_t size, bool is_redis, struct redact_secrets *secrets);

/* Removes the secrets from `size` bytes of `text`. Returns a malloc'ed text and its size in *out_size; NULL if out of
 * memory. */
char *redact_text(const struct redact_secrets *secrets, const char *text, size_t size, size_t *out_size);

#endif
