/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Typed access to a YAML document: every value knows its line and its place, so that every refusal can name them.
 *
 * Owns libyaml: the sections of the configuration (config*.c) use it, nothing else sees a node. One document of
 * scalars, lists and mappings is accepted; anchors, aliases and tags, which configurations have no use for and
 * hostile files have, are refused, as is deep nesting.
 */
#ifndef EB_YAML_H
#define EB_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#include "config/findings.h"

/* Larger files are refused: a Kubernetes ConfigMap ends there too, and long lists of prefixes have src_file. */
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
	const struct eb_yaml_value *parent; /* NULL for the document itself; outlives the value */
	const char *key;  /* of a value in a mapping; NULL in a list */
	size_t index;     /* in a list */
	char label[48];   /* stands for the whole path down to here, unless empty */
};

struct eb_yaml_key {
	const char *name;
	int (*read)(const struct eb_yaml_value *value, void *into);
	bool is_required;
};

#define EB_YAML_KEYS_MAX 32

/* Reads `text`. `yaml` must outlive all values. Returns 0 or negative errno; what is wrong goes to `findings`. */
int eb_yaml_init(struct eb_yaml *yaml, const char *file, const char *text, size_t size, struct eb_findings *findings);

/* Reads a file. Returns likewise. */
int eb_yaml_open(struct eb_yaml *yaml, const char *path, struct eb_findings *findings);
void eb_yaml_done(struct eb_yaml *yaml);

struct eb_yaml_value eb_yaml_root(struct eb_yaml *yaml);
unsigned int eb_yaml_line(const struct eb_yaml_value *value);

/* Reports "FILE:LINE: PATH: message". Return -EINVAL (or -ENOMEM), and 0 (or -ENOMEM). */
int eb_yaml_fail(const struct eb_yaml_value *value, const char *format, ...) __attribute__((format(printf, 2, 3)));
int eb_yaml_warn(const struct eb_yaml_value *value, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * A mapping: refuses keys that are not in the table, twice there or missing, then reads those present in the order of
 * the table, whatever the order in the file: a key's reader can rely on the keys before it. Bit n of *seen, which may
 * be NULL, tells that key n is there; it is set before the readers run.
 */
int eb_yaml_read_map(const struct eb_yaml_value *value, const struct eb_yaml_key *keys, size_t key_count, void *into,
		     uint64_t *seen);

/* A list, item by item. */
int eb_yaml_read_list(const struct eb_yaml_value *value, int (*read)(const struct eb_yaml_value *item, void *into),
		      void *into);
bool eb_yaml_is_list(const struct eb_yaml_value *value);
bool eb_yaml_is_map(const struct eb_yaml_value *value);
bool eb_yaml_is_null(const struct eb_yaml_value *value);
size_t eb_yaml_list_size(const struct eb_yaml_value *value);

/* The text of a mapping's key ahead of reading it; NULL unless it is there and a scalar. */
const char *eb_yaml_peek(const struct eb_yaml_value *value, const char *key);

/* Scalars. The text stays the document's; the string is the caller's to free. A missing value is refused. */
int eb_yaml_text(const struct eb_yaml_value *value, const char **out);
int eb_yaml_string(const struct eb_yaml_value *value, char **out);
int eb_yaml_number(const struct eb_yaml_value *value, uint64_t min, uint64_t max, uint64_t *out);
int eb_yaml_bool(const struct eb_yaml_value *value, bool *out);
int eb_yaml_choice(const struct eb_yaml_value *value, const char *const *names, size_t count, unsigned int *out);

/* A file's path, freed by the caller; a relative one is taken from the directory of the file it stands in. */
int eb_yaml_path(const struct eb_yaml_value *value, char **out);

#endif
