/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Typed access to a YAML document. Every value knows its line and its path, so that every error can name them.
 *
 * Only this module uses libyaml; the readers of the sections (config*.c) use this module. It accepts one document of
 * scalars, lists and mappings. It refuses anchors, aliases, tags and deep nesting: a configuration does not need them,
 * and a hostile file could abuse them.
 */
#ifndef EB_YAML_H
#define EB_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#include "config/findings.h"

/* In bytes; larger files are refused. A Kubernetes ConfigMap has the same limit; long lists of prefixes belong into a
 * src_file. */
#define EB_YAML_SIZE_MAX (1024 * 1024)

struct eb_yaml {
	const char *file; /* name in messages */
	const char *home; /* relative paths start in the directory of this file */
	bool world_readable;
	struct eb_findings *findings;
	yaml_document_t document;
};

struct eb_yaml_value {
	struct eb_yaml *yaml;
	yaml_node_t *node;
	const struct eb_yaml_value *parent; /* NULL for the document itself; must outlive the value */
	const char *key;  /* key of a value in a mapping; NULL in a list */
	size_t index;     /* position in a list */
	char label[48];   /* unless empty, replaces the path of this value in messages */
};

struct eb_yaml_key {
	const char *name;
	int (*read)(const struct eb_yaml_value *value, void *into);
	bool is_required;
};

#define EB_YAML_KEYS_MAX 32

/* Reads `text`. `yaml` must outlive all values. Returns 0 or negative errno; what is wrong goes to `findings`. */
int eb_yaml_init(struct eb_yaml *yaml, const char *file, const char *text, size_t size, struct eb_findings *findings);

/* The same for a file. */
int eb_yaml_open(struct eb_yaml *yaml, const char *path, struct eb_findings *findings);
void eb_yaml_done(struct eb_yaml *yaml);

struct eb_yaml_value eb_yaml_root(struct eb_yaml *yaml);
unsigned int eb_yaml_line(const struct eb_yaml_value *value);

/* Report "FILE:LINE: PATH: message". eb_yaml_fail() returns -EINVAL or -ENOMEM; eb_yaml_warn() returns 0 or -ENOMEM. */
int eb_yaml_fail(const struct eb_yaml_value *value, const char *format, ...) __attribute__((format(printf, 2, 3)));
int eb_yaml_warn(const struct eb_yaml_value *value, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Reads a mapping. Refuses unknown and duplicate keys, and missing keys that are required. Then calls the readers of
 * the keys that are present, in the order of the table and not of the file, so that a reader can rely on the keys
 * before it. Bit n of *seen says that key n is present; it is set before the readers run. `seen` can be NULL. Returns 0
 * or negative errno.
 */
int eb_yaml_read_map(const struct eb_yaml_value *value, const struct eb_yaml_key *keys, size_t key_count, void *into,
		     uint64_t *seen);

/* Reads a list: calls `read` for each item. Returns 0 or negative errno. */
int eb_yaml_read_list(const struct eb_yaml_value *value, int (*read)(const struct eb_yaml_value *item, void *into),
		      void *into);
bool eb_yaml_is_list(const struct eb_yaml_value *value);
bool eb_yaml_is_map(const struct eb_yaml_value *value);
bool eb_yaml_is_null(const struct eb_yaml_value *value);
size_t eb_yaml_list_size(const struct eb_yaml_value *value);

/* The text of a key of a mapping, before the mapping is read; NULL if the key is missing or no scalar. */
const char *eb_yaml_peek(const struct eb_yaml_value *value, const char *key);

/* Read a scalar; an empty value is refused. The result of eb_yaml_text() belongs to the document; the caller frees that
 * of eb_yaml_string(). Return 0 or negative errno. */
int eb_yaml_text(const struct eb_yaml_value *value, const char **out);
int eb_yaml_string(const struct eb_yaml_value *value, char **out);
int eb_yaml_number(const struct eb_yaml_value *value, uint64_t min, uint64_t max, uint64_t *out);
int eb_yaml_bool(const struct eb_yaml_value *value, bool *out);

/* Read a count (10k, 1Mi) and a duration (500ms, 1h) within a range, as quantity.h does. `unit` follows the numbers of
 * the range in messages: "", " refusals"; `range` is the range in words: "100ms to 1h". Return 0 or negative errno. */
int eb_yaml_count(const struct eb_yaml_value *value, uint64_t min, uint64_t max, const char *unit, uint64_t *out);
int eb_yaml_duration(const struct eb_yaml_value *value, uint64_t min_ns, uint64_t max_ns, const char *range,
		     uint64_t *out_ns);
int eb_yaml_choice(const struct eb_yaml_value *value, const char *const *names, size_t count, unsigned int *out);

/* A reader of one address or prefix, which it adds to `into`, a struct eb_prefix_list. */
int eb_yaml_prefix(const struct eb_yaml_value *value, void *into);

/* Reads the path of a file; the caller frees it. A relative path starts in the directory of the file that contains
 * it. */
int eb_yaml_path(const struct eb_yaml_value *value, char **out);

#endif
