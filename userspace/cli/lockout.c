// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/input.h"
#include "cli/cli.h"
#include "cli/lockout.h"
#include "policy/rules.h"

#define VARIABLE "SSH_CONNECTION="
#define ENVIRONMENT_MAX (2 * 1024 * 1024)
#define CONNECTION_MAX 128
#define DESCENT_MAX 64

/* ---- the session ---- */

static bool find_in_environment(pid_t pid, char out[CONNECTION_MAX])
{
	char path[32], *text;
	bool found = false;
	size_t size;

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	if (eb_input_read(path, ENVIRONMENT_MAX, NULL, &text, &size))
		return false;
	for (const char *at = text; !found && at < text + size; at += strlen(at) + 1) {
		found = strncmp(at, VARIABLE, strlen(VARIABLE)) == 0;
		if (found)
			snprintf(out, CONNECTION_MAX, "%s", at + strlen(VARIABLE));
	}
	free(text);
	return found;
}

/* 0 where there is none, or it is not told. */
static pid_t parent_of(pid_t pid)
{
	char path[32], *text, *end;
	int parent = 0;
	size_t size;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (eb_input_read(path, 4096, NULL, &text, &size))
		return 0;
	end = strrchr(text, ')'); /* of the name, which can hold anything */
	if (!end || sscanf(end + 1, " %*c %d", &parent) != 1)
		parent = 0;
	free(text);
	return parent;
}

static bool find_connection(char out[CONNECTION_MAX])
{
	const char *own = eb_input_env("SSH_CONNECTION");
	pid_t pid = getpid();

	if (own) {
		snprintf(out, CONNECTION_MAX, "%s", own);
		return true;
	}
	for (int i = 0; i < DESCENT_MAX && pid > 1; i++) {
		pid = parent_of(pid);
		if (pid > 0 && find_in_environment(pid, out))
			return true;
	}
	return false;
}

/* Fills in address and family. A zone, as of fe80::1%eth0, is no part of what packets have. */
static bool parse_address(char *text, uint8_t *family, uint8_t addr[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	text[strcspn(text, "%")] = '\0';
	if (inet_pton(AF_INET, text, addr) == 1) {
		*family = 4;
		return true;
	}
	if (inet_pton(AF_INET6, text, addr) != 1)
		return false;
	*family = 6;
	if (memcmp(addr, mapped, sizeof(mapped)) != 0)
		return true;
	memmove(addr, addr + 12, 4);
	memset(addr + 4, 0, 12);
	*family = 4;
	return true;
}

/* "203.0.113.7 50022 198.51.100.1 22". Cuts `text` down to the address of the other end. */
static bool parse_connection(char *text, struct eb_rules_packet *out)
{
	char local[INET6_ADDRSTRLEN + 32], peer[INET6_ADDRSTRLEN + 32];
	unsigned int sport, dport;
	uint8_t family;

	*out = (struct eb_rules_packet){ 0 };
	if (sscanf(text, "%77s %u %77s %u", peer, &sport, local, &dport) != 4 ||
	    sport > UINT16_MAX || dport > UINT16_MAX ||
	    !parse_address(peer, &out->family, out->src) || !parse_address(local, &family, out->dst) ||
	    family != out->family)
		return false;
	out->sport = sport;
	out->dport = dport;
	strcpy(text, peer);
	return true;
}

bool lockout_is_remote(void)
{
	char connection[CONNECTION_MAX];

	return find_connection(connection);
}

/* ---- what becomes of it ---- */

void lockout_warn(const struct eb_config *config)
{
	const struct eb_rule_config *rule;
	struct eb_ruleset *ruleset;
	struct eb_rules_packet packet;
	char session[CONNECTION_MAX];
	char *error = NULL;
	int found;

	if (!find_connection(session) || !parse_connection(session, &packet))
		return;
	if (eb_rules_compile(config, NULL, &ruleset, &error)) {
		free(error); /* whoever puts it into force says so */
		return;
	}
	found = eb_rules_find(ruleset, &packet);
	eb_rules_free(ruleset);
	rule = found < 0 ? NULL : &config->rules[found];
	if (rule && rule->action == EB_DENY && !rule->monitor)
		cli_note("warning: %s:%u: rule \"%s\" denies %s, the address of this session; \"edgebucket apply FILE "
			 "--confirm 60s\" rolls it back unless you confirm it", config->path, rule->line, rule->name,
			 session);
}
