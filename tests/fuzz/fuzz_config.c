// SPDX-License-Identifier: GPL-2.0-only
/*
 * Configuration files. An input is text in up to four parts, divided by lines of "====": the configuration, the file of
 * --redis-config (left out where it is empty), any file that ends in .txt (lists of prefixes), and any other file.
 *
 * Whatever it holds, it is refused with one line, or it is complete: the rules compile, and the limits are
 * such as the packet path takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/config_redis.h"
#include "policy/rules.h"

#define DIVIDER "====\n"
#define REDIS_PATH "redis.json"

enum part { PART_CONFIG, PART_REDIS, PART_LIST, PART_OTHER, PARTS };

static int files[PARTS] = { -1, -1, -1, -1 };

_Noreturn static void fail(const char *what, const char *text)
{
	fprintf(stderr, "fuzz_config: %s: %s\n", what, text);
	abort();
}

/* --- Files --- */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

/* No file of the machine is read: those of the input are all there is. */
int __wrap_open(const char *path, int flags, ...)
{
	size_t len = strlen(path);
	enum part part = len >= 10 && !strcmp(path + len - 10, REDIS_PATH) ? PART_REDIS
			 : len >= 4 && !strcmp(path + len - 4, ".txt")	   ? PART_LIST
									   : PART_OTHER;
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", files[part]);
	return __real_open(name, flags);
}

/* Written long ago, or a list would be taken for half-written. */
static void fill_file(enum part part, const char *text, size_t len)
{
	static const struct timespec long_ago[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	if (files[part] < 0)
		files[part] = memfd_create("part", MFD_CLOEXEC);
	if (files[part] < 0 || ftruncate(files[part], 0) || pwrite(files[part], text, len, 0) != (ssize_t)len ||
	    futimens(files[part], long_ago))
		fail("no memory file", strerror(errno));
}

/* --- What must hold --- */

static void check_line(const char *text)
{
	if (!text || !*text)
		fail("no message", "");
	/* The name of a file may be in any language. */
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			fail("a message is not one printable line", text);
}

static void check_limit(const struct eb_limit *limit, const struct eb_rate *rate, const char *rule)
{
	if (!limit->mult != !rate->tokens)
		fail("a limit comes or goes", rule);
	if (limit->burst > EB_BURST_MAX || limit->shift > 63 || (limit->shift && limit->mult > EB_MULT_MAX))
		fail("a limit that the packet path does not take", rule);
	if (limit->mult && !eb_gcra_conforms(limit, 0, eb_gcra_cost(limit, 1)))
		fail("a full bucket without a token", rule);
}

static void check_rules(const struct eb_config *config, const struct eb_ruleset *ruleset)
{
	const struct eb_policy *policy = &ruleset->policy;

	if (policy->rule_count != config->rule_count || config->rule_count > EB_RULES_MAX)
		fail("another number of rules", config->path);
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_rule_config *from = &config->rules[i];
		const struct eb_rule *rule = &policy->rules[i];

		if (rule->slot >= EB_SLOTS || from->per_ipv4 > 32 || from->per_ipv6 > 128)
			fail("a rule out of range", from->name);
		check_limit(&rule->packets, &from->packets, from->name);
		check_limit(&rule->bytes, &from->bytes, from->name);
	}
}

static void check_config(const struct eb_config *config)
{
	struct eb_ruleset *ruleset, *again;
	char *error = NULL;

	for (size_t i = 0; i < config->warning_count; i++)
		check_line(config->warnings[i]);
	if (!config->interface_count || !eb_redis_config_equal(config->redis, config->redis))
		fail("an incomplete configuration", config->path);
	if (eb_rules_compile(config, NULL, &ruleset, &error)) {
		check_line(error);
		free(error);
		return;
	}
	check_rules(config, ruleset);
	/* A reload of the same file finds everything in its place. */
	if (eb_rules_compile(config, &ruleset->policy, &again, &error) ||
	    memcmp(&again->policy, &ruleset->policy, sizeof(again->policy)))
		fail("a reload changes the rules", config->path);
	eb_rules_free(again);
	eb_rules_free(ruleset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *end = text + size, *parts[PARTS];
	size_t lens[PARTS] = { 0 };
	struct eb_config *config;
	char *error = NULL;

	for (int part = 0; part < PARTS; part++) {
		const char *divider = part < PARTS - 1 ? memmem(text, end - text, DIVIDER, strlen(DIVIDER)) : NULL;

		parts[part] = text;
		lens[part] = (divider ? divider : end) - text;
		text = divider ? divider + strlen(DIVIDER) : end;
		fill_file(part, parts[part], lens[part]);
	}
	if (eb_config_parse(parts[PART_CONFIG], lens[PART_CONFIG], "edge.yaml", lens[PART_REDIS] ? REDIS_PATH : NULL,
			    &config, &error)) {
		check_line(error);
		free(error);
		return 0;
	}
	check_config(config);
	eb_config_free(config);
	return 0;
}
