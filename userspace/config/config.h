/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The configuration: text -> struct eb_config, with every validity check.
 *
 * Owns the YAML reader and all limits on what an operator may ask for. The agent and the command line call it;
 * nothing else reads configuration text. A returned configuration is complete and consistent: later stages
 * (rules.h, dataplane.h) do not check again.
 */
#ifndef EB_CONFIG_H
#define EB_CONFIG_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include "config/protocol.h"
#include "edgebucket.h"

#define EB_DEFAULT_CONFIG_PATH "/etc/edgebucket/edgebucket.yaml"

enum eb_attach_mode { EB_ATTACH_AUTO, EB_ATTACH_NATIVE, EB_ATTACH_GENERIC };

/* An address prefix. IPv4 uses the first 4 bytes of addr; host bits are zero; addr is in network byte order. */
struct eb_prefix {
	uint8_t family; /* 4 or 6 */
	uint8_t len;    /* 0-32 or 0-128 */
	uint8_t addr[16];
};

struct eb_prefix_list {
	struct eb_prefix *items;
	size_t count;
};

struct eb_port_range {
	uint16_t first, last; /* host byte order, inclusive */
};

/* Which list of a match. */
enum eb_list_role { EB_LIST_SRC, EB_LIST_DST, EB_LIST_SRC_EXCEPT, EB_LIST_DST_EXCEPT };

/* Tells the content of a file from what it was before, or from another file in its place. */
struct eb_list_mark {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
};

/* A file of prefixes, and which part of its list came from it. */
struct eb_list_file {
	char *path;
	enum eb_list_role role;
	size_t first, count;      /* within the list */
	size_t skipped;           /* lines that were left out, see on_bad_line */
	bool is_busy;             /* half-written when it was to be read: nothing came from it */
	bool is_kept;             /* likewise, and what was in force of it before took its place */
	char *problem;            /* of a change that is not in force, see agent/lists.h; NULL */
	struct eb_list_mark mark; /* of what was read last, in force or not */
};

struct eb_match {
	struct eb_prefix_list src; /* from `src` and `src_file` together, in this order */
	struct eb_prefix_list dst;
	struct eb_prefix_list src_except; /* not meant, although src, or its absence, says so */
	struct eb_prefix_list dst_except;
	bool has_src, has_dst;     /* a condition is there; its list may be empty (an empty file matches nobody) */
	struct eb_list_file *files;
	size_t file_count;
	bool skip_bad;             /* on_bad_line: skip */
	bool watch;
	bool has_proto;            /* a condition is there; then the set is not empty */
	struct eb_protocols protos;
	struct eb_port_range *dports;
	size_t dport_count; /* 0 for any */
};

/* `tokens` every `period_ns`, at most `burst` at once. All three are 0 where the limit is absent. For bytes, one
 * token is one byte: 8Mbit/s is 8000000 tokens every 8 s, so that every bit rate is exact. As written, not reduced:
 * 0.5/s is 5 every 10 s. eb_limit_compile() (limit.h) accepts every rate that a configuration holds. */
struct eb_rate {
	uint64_t tokens;
	uint64_t period_ns;
	uint64_t burst;
};

/* The most interfaces that one agent serves. */
#define EB_INTERFACES_MAX 64

struct eb_rule_config {
	char name[EB_RULE_NAME_MAX + 1];
	struct eb_match match;
	enum eb_action action;
	bool monitor;          /* mode: monitor */
	bool crowded_pass;     /* when_crowded: pass */
	uint8_t per_ipv4;      /* prefix length that makes a source, 0-32 */
	uint8_t per_ipv6;      /* 0-128 */
	struct eb_rate packets, bytes, new_sources;
	unsigned int line;     /* in the file, for messages */
};

struct eb_redis_config; /* config_redis.h */

struct eb_config {
	char *path;            /* of the file read, for messages */
	char *node;            /* "" where the operator asked for none */
	bool node_is_host;     /* nobody gave one: it is the host name */
	char (*interfaces)[IF_NAMESIZE];
	size_t interface_count; /* 1 to EB_INTERFACES_MAX */
	enum eb_attach_mode attach;
	bool detach_on_exit;
	char *pin_dir, *run_dir;
	char *state_dir;       /* "" for none */
	uint32_t table_size;
	bool malformed_drop;
	uint32_t bans_max;     /* 1 to EB_BANS_MAX */
	char *metrics;         /* "host:port", "[IPv6]:port" or "unix:/path"; NULL for off */
	struct eb_redis_config *redis; /* NULL where there is none: the embedded store alone */
	struct eb_rule_config *rules;
	size_t rule_count;     /* 0-64 */
	char **warnings;       /* "file:line: text", for the caller to print; the configuration is usable */
	size_t warning_count;
	struct eb_inputs *inputs; /* what it was read from (inputs.h); NULL once somebody took it */
};

/*
 * Reads `path`, applies the environment (EDGEBUCKET_NODE, REDIS_HOST, ...; an empty variable counts as unset), checks
 * everything. `redis_path`, which may be NULL, is a file whose content takes the place of the section `redis`.
 *
 * Returns 0 and a configuration to be freed with eb_config_free(), or negative errno (-EINVAL for bad content, the
 * open or read error otherwise). On failure *out is untouched and *error is a malloc'ed text of one line,
 * "FILE:LINE: what is wrong with which key; what would be right", without a newline; the caller frees it. It is NULL
 * only when there is no memory even for that.
 */
int eb_config_read(const char *path, const char *redis_path, struct eb_config **out, char **error);

/* The same for text that is already in memory; `path` names it in messages, and files named in it are looked for
 * beside `path`. */
int eb_config_parse(const char *text, size_t size, const char *path, const char *redis_path, struct eb_config **out,
		    char **error);

/* Likewise for text of the file `home`, of today or one day: files named in it are looked for beside that one. `inputs`
 * are those to go on from, or NULL; they are the configuration's, and freed on failure. `text` can be one of theirs. */
int eb_config_parse_for(const char *home, const char *text, size_t size, const char *path, const char *redis_path,
			struct eb_inputs *inputs, struct eb_config **out, char **error);

/* Adds a warning to it. Returns 0 or -ENOMEM. */
int eb_config_warn(struct eb_config *config, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Accepts NULL. */
void eb_config_free(struct eb_config *config);

#endif
