/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The configuration: parses text into struct eb_config, with every validity check.
 *
 * This module alone reads configuration text, and defines all limits on what an operator can configure. The agent and
 * the command line call it. A returned configuration is complete and consistent: later stages (rules.h, dataplane.h)
 * do not check it again.
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

struct eb_range {
	uint16_t first, last; /* host byte order, inclusive */
};

struct eb_ranges {
	struct eb_range *items;
	size_t count;
};

/* The list of a match to which a file belongs. */
enum eb_list_role { EB_LIST_SRC, EB_LIST_DST, EB_LIST_SRC_EXCEPT, EB_LIST_DST_EXCEPT };

/* Identifies the content of a file: it differs if the file changed or another file replaced it. */
struct eb_list_mark {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed;
};

/* A file of prefixes, and the part of its list that came from it. */
struct eb_list_file {
	char *path;
	enum eb_list_role role;
	size_t first, count;      /* within the list */
	size_t skipped;           /* number of skipped lines, see on_bad_line */
	bool is_busy;             /* the file was half-written when it was read: nothing came from it */
	bool is_kept;             /* the file was half-written, and its previous prefixes are used instead */
	char *problem;            /* why a change is not in force, see agent/lists.h; NULL if there is none */
	struct eb_list_mark mark; /* of the content that was read last, whether it is in force or not */
};

struct eb_match {
	struct eb_prefix_list src; /* prefixes of `src`, then of `src_file` */
	struct eb_prefix_list dst;
	struct eb_prefix_list src_except; /* do not match, although `src`, or its absence, would match them */
	struct eb_prefix_list dst_except;
	bool has_src, has_dst;     /* the rule has this condition; its list can be empty, and then matches no packet */
	struct eb_list_file *files;
	size_t file_count;
	bool skip_bad;             /* on_bad_line: skip */
	bool watch;
	bool has_proto;            /* the rule has this condition; then the set is not empty */
	struct eb_octets protos;
	struct eb_ranges numbers[EB_NUMBERS]; /* by enum eb_number; none for any */
	uint8_t flags_set, flags_clear; /* of TCP, as in its header; both 0 for any */
	bool has_icmp_type;
	struct eb_octets icmp_types, icmpv6_types;
	bool has_fragment, is_fragment; /* a condition is there; which one */
	uint64_t interfaces;       /* bit n for eb_config.entries[n]; 0 for any */
};

/* `tokens` per `period_ns` nanoseconds, at most `burst` tokens at once. All three are 0 if there is no limit. For
 * bytes, one token is one byte: 8Mbit/s is 8000000 tokens per 8 s, so that every bit rate is exact. The fraction is not
 * reduced: 0.5/s is 5 tokens per 10 s. eb_limit_compile() (limit.h) accepts every rate in a checked configuration. */
struct eb_rate {
	uint64_t tokens;
	uint64_t period_ns;
	uint64_t burst;
};

/* The maximum number of interfaces of one agent, and of entries that name them. */
#define EB_INTERFACES_MAX 64

#define EB_ENTRY_LEN_MAX 63

/* EB_ENTRY_DEFAULT stands for the interfaces that carry a default route. */
enum eb_entry_kind { EB_ENTRY_NAME, EB_ENTRY_PATTERN, EB_ENTRY_DEFAULT };

/* What an operator writes for interfaces, see targets.h. */
struct eb_interface_entry {
	enum eb_entry_kind kind;
	char text[EB_ENTRY_LEN_MAX + 1]; /* a name has less than IF_NAMESIZE characters */
};

/* A wider prefix of a rule's sources, with limits of its own. */
struct eb_level_config {
	uint8_t per_ipv4, per_ipv6; /* EB_NO_PREFIX: packets of that family do not meet it */
	enum eb_also also_per;
	struct eb_rate packets, bytes;
	unsigned int line;
};

/* When a source that is refused too often is banned. */
struct eb_penalty_config {
	uint32_t after; /* refusals that are not too many; 0: no penalty */
	uint64_t within_ns, ban_ns, max_ns;
	uint32_t factor; /* by which the next ban is longer */
	bool refresh;    /* what comes while it is banned begins the time anew */
};

struct eb_rule_config {
	char name[EB_RULE_NAME_MAX + 1];
	struct eb_match match;
	enum eb_action action;
	bool monitor;          /* mode: monitor */
	bool crowded_pass;     /* when_crowded: pass */
	uint8_t per_ipv4;      /* prefix length of a source, 0-32 */
	uint8_t per_ipv6;      /* 0-128 */
	enum eb_also also_per; /* the levels have their own */
	struct eb_rate packets, bytes, new_sources;
	struct eb_level_config levels[EB_LEVELS_MAX]; /* each wider than the one before */
	size_t level_count;
	bool goes_on;          /* then: continue */
	bool shared;           /* share: fleet */
	bool careful;          /* share: { fleet: careful } */
	struct eb_penalty_config penalty;
	unsigned int line;     /* in the file, for messages */
};

/* The outer sources that are trusted with a kind of tunnel. */
struct eb_tunnel_config {
	struct eb_prefix_list from; /* empty: no tunnel of this kind is opened */
	uint16_t port;              /* UDP; 0 for kinds that have none */
};

struct eb_redis_config; /* config_redis.h */

#define EB_FLEET_NAME_MAX 64

/* What a node does while Redis is away: as if each other node admitted as much as it does, or as if there were none. */
enum eb_on_lost { EB_ON_LOST_SHARE, EB_ON_LOST_NODE };

/* The nodes with which the buckets of some rules are shared. */
struct eb_fleet_config {
	char name[EB_FLEET_NAME_MAX + 1]; /* "" for no fleet */
	uint64_t tick_ns, lost_after_ns;
	enum eb_on_lost on_lost;
	unsigned int line; /* in the file, for messages */
};

struct eb_config {
	char *path;            /* of the file, for messages */
	char *node;            /* "" if the operator configured an empty one */
	bool node_is_host;     /* no node was configured: it is the host name */
	/* Those of `interfaces`, then others that only rules ask for. There is room for EB_INTERFACES_MAX. */
	struct eb_interface_entry *entries;
	size_t interface_count; /* of `interfaces`: 1 to EB_INTERFACES_MAX */
	size_t entry_count;
	/* What `interfaces` meant on this machine when it was read, for warnings: also names that are not there yet. */
	char (*seen)[IF_NAMESIZE];
	size_t seen_count;
	enum eb_attach_mode attach;
	bool detach_on_exit;
	char *pin_dir, *run_dir;
	char *control_group;   /* name or number; NULL: root alone */
	char *state_dir;       /* "" for none */
	uint32_t table_size;
	bool malformed_drop;
	uint32_t bans_max;     /* 1 to EB_BANS_MAX */
	bool bans_shared;      /* with the fleet */
	char *metrics;         /* "host:port", "[IPv6]:port" or "unix:/path"; NULL for off */
	struct eb_redis_config *redis; /* NULL: no Redis, only the embedded store */
	struct eb_fleet_config fleet;
	struct eb_tunnel_config tunnels[EB_TUNNELS]; /* by kind */
	struct eb_rule_config *rules;
	size_t rule_count;     /* 0-64 */
	char **warnings;       /* "file:line: text", for the caller to print; the configuration is usable */
	size_t warning_count;
	struct eb_inputs *inputs; /* the files it was read from (inputs.h); NULL once a caller took them over */
};

/*
 * Reads `path`, applies the environment (EDGEBUCKET_NODE, REDIS_HOST, ...; an empty variable counts as unset), and
 * checks everything. If `redis_path` is not NULL, the content of that file replaces the section `redis`.
 *
 * Returns 0 and a configuration for eb_config_free(); or -EINVAL for bad content, or the negative errno of opening or
 * reading. On failure *out is unchanged and *error is a malloc'ed text of one line without a newline, "FILE:LINE: what
 * is wrong with which key; what would be right"; the caller frees it. *error is NULL only if out of memory.
 */
int eb_config_read(const char *path, const char *redis_path, struct eb_config **out, char **error);

/* The same for `size` bytes of text in memory. `path` is its name in messages; relative paths in the text start in the
 * directory of `path`. */
int eb_config_parse(const char *text, size_t size, const char *path, const char *redis_path, struct eb_config **out,
		    char **error);

/* The same for text that is, or will be, the content of the file `home`: relative paths in it start in the directory of
 * `home`. `inputs` are files that were read already, or NULL; the function takes them over, and frees them on failure.
 * `text` can be the text of one of them. */
int eb_config_parse_for(const char *home, const char *text, size_t size, const char *path, const char *redis_path,
			struct eb_inputs *inputs, struct eb_config **out, char **error);

/* Adds a warning to config->warnings. Returns 0 or -ENOMEM. */
int eb_config_warn(struct eb_config *config, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Accepts NULL. */
void eb_config_free(struct eb_config *config);

#endif
