// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/characters.h"
#include "base/input.h"
#include "config/inputs.h"
#include "config/prefix.h"
#include "config/quantity.h"
#include "config/yaml.h"

#define DEPTH_MAX 16 /* the configuration itself needs five levels */

static int fail_at(const struct eb_yaml *yaml, size_t line, const char *text)
{
	return eb_findings_fail(yaml->findings, "%s:%zu: %s", yaml->file, line + 1, text);
}

/* The scanner gives a line; the reader below it, which refuses bad bytes, only an offset. */
static size_t problem_line(const yaml_parser_t *parser, const char *text, size_t size)
{
	size_t line = 0;

	if (parser->error != YAML_READER_ERROR)
		return parser->problem_mark.line;
	for (size_t i = 0; i < parser->problem_offset && i < size; i++)
		line += text[i] == '\n';
	return line;
}

static int fail_syntax(const struct eb_yaml *yaml, const yaml_parser_t *parser, const char *text, size_t size)
{
	size_t line = problem_line(parser, text, size) + 1;

	if (parser->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (parser->context && strstr(parser->context, "scanning an alias"))
		return eb_findings_fail(yaml->findings, "%s:%zu: a text that begins with * must be in quotes, as in "
				     "\"*\"", yaml->file, line);
	if (parser->context)
		return eb_findings_fail(yaml->findings, "%s:%zu: not valid YAML: %s, %s from line %zu on", yaml->file,
					line, parser->problem, parser->context, parser->context_mark.line + 1);
	return eb_findings_fail(yaml->findings, "%s:%zu: not valid YAML: %s", yaml->file, line, parser->problem);
}

static bool has_anchor(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return true;
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor;
	default:
		return false;
	}
}

static bool has_tag(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.tag;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.tag;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.tag;
	default:
		return false;
	}
}

struct nesting {
	unsigned int documents;
	unsigned int depth;
};

static int check_event(const struct eb_yaml *yaml, const yaml_event_t *event, struct nesting *nesting)
{
	size_t line = event->start_mark.line;

	if (has_anchor(event))
		return fail_at(yaml, line, "anchors and aliases (& and *) are not supported; write the value out, "
					   "or in quotes where it is a text");
	if (has_tag(event))
		return fail_at(yaml, line, "tags (!) are not supported; write the value without one, or in quotes "
					   "where it is a text");
	if (event->type == YAML_DOCUMENT_START_EVENT && nesting->documents++)
		return fail_at(yaml, line, "a second document (---); put everything into one");
	if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT) {
		if (++nesting->depth > DEPTH_MAX)
			return fail_at(yaml, line, "nested too deep");
	} else if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT) {
		nesting->depth--;
	}
	return 0;
}

/* Goes through the events before a document is built from them: building takes time in the square of the number of
 * anchors, and memory before anything can be refused. */
static int check_events(struct eb_yaml *yaml, yaml_parser_t *parser, const char *text, size_t size)
{
	struct nesting nesting = { 0 };
	bool is_end = false;
	yaml_event_t event;
	int err = 0;

	while (!err && !is_end) {
		if (!yaml_parser_parse(parser, &event))
			return fail_syntax(yaml, parser, text, size);
		is_end = event.type == YAML_STREAM_END_EVENT;
		err = check_event(yaml, &event, &nesting);
		yaml_event_delete(&event);
	}
	return err;
}

static int with_parser(struct eb_yaml *yaml, const char *text, size_t size,
		       int (*use)(struct eb_yaml *yaml, yaml_parser_t *parser, const char *text, size_t size))
{
	yaml_parser_t parser;
	int err;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	err = use(yaml, &parser, text, size);
	yaml_parser_delete(&parser);
	return err;
}

static int load_text(struct eb_yaml *yaml, yaml_parser_t *parser, const char *text, size_t size)
{
	if (!yaml_parser_load(parser, &yaml->document))
		return fail_syntax(yaml, parser, text, size);
	if (yaml_document_get_root_node(&yaml->document))
		return 0;
	yaml_document_delete(&yaml->document);
	return fail_at(yaml, 0, "the file is empty");
}

static int fail_size(const char *file, struct eb_findings *findings)
{
	return eb_findings_fail(findings, "%s: larger than 1 MiB; put long lists of prefixes into a src_file", file);
}

/* Where a plain text can be followed by something else, and so a quote or a comment can begin. */
static bool is_between(const char *line, const char *at)
{
	return at == line || strchr(" \t[{,:-", at[-1]);
}

/*
 * Characters that look like spaces, quotes or dashes make other keys and values than what is seen, or a syntax error
 * far from them. They do no harm in comments; in quotes they are meant, or the key's own check names them. No quotes of
 * several lines are looked for: nothing in a configuration has them.
 */
static int check_line(const struct eb_yaml *yaml, const char *line, const char *end, size_t number)
{
	size_t column = 0;
	char quote = 0;

	for (const char *at = line; at < end; at++) {
		const char *name = quote ? NULL : eb_character_name(at, end - at);

		column += (*at & 0xc0) != 0x80;
		if (name)
			return eb_findings_fail(yaml->findings, "%s:%zu: column %zu is a %s; write a plain character "
								"instead, or quote the text that contains it",
						yaml->file, number, column, name);
		if (*at == quote)
			quote = 0;
		else if (!quote && *at == '#' && is_between(line, at))
			return 0;
		else if (!quote && (*at == '"' || *at == '\'') && is_between(line, at))
			quote = *at;
	}
	return 0;
}

/* In UTF-8, which the first bytes can say. What they say to be UTF-16 is left to libyaml. */
static int check_characters(const struct eb_yaml *yaml, const char *text, size_t size)
{
	static const char mark[] = "\xef\xbb\xbf";
	const char *end = text + size, *next;
	int err = 0;

	if (size >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
		return 0;
	if (size >= strlen(mark) && !memcmp(text, mark, strlen(mark)))
		text += strlen(mark);
	for (size_t number = 1; !err && text < end; number++, text = next) {
		const char *newline = memchr(text, '\n', end - text);

		next = newline ? newline + 1 : end;
		err = check_line(yaml, text, newline ? newline : end, number);
	}
	return err;
}

int eb_yaml_init(struct eb_yaml *yaml, const char *file, const char *text, size_t size, struct eb_findings *findings)
{
	int err;

	*yaml = (struct eb_yaml){ .file = file, .home = file, .findings = findings };
	if (size > EB_YAML_SIZE_MAX)
		return fail_size(file, findings);
	err = check_characters(yaml, text, size);
	if (err)
		return err;
	err = with_parser(yaml, text, size, check_events);
	return err ? err : with_parser(yaml, text, size, load_text);
}

int eb_yaml_open(struct eb_yaml *yaml, const char *path, struct eb_findings *findings)
{
	char *text;
	size_t size;
	mode_t mode;
	int err;

	err = eb_inputs_read(findings->inputs, path, EB_YAML_SIZE_MAX, &mode, &text, &size);
	if (err == -EFBIG)
		return fail_size(path, findings);
	if (err) {
		(void)eb_findings_fail(findings, "%s: cannot be read: %s", path, eb_input_strerror(err));
		return err;
	}
	err = eb_yaml_init(yaml, path, text, size, findings);
	yaml->world_readable = mode & S_IROTH;
	explicit_bzero(text, size);
	free(text);
	return err;
}

void eb_yaml_done(struct eb_yaml *yaml)
{
	yaml_document_delete(&yaml->document);
}

struct eb_yaml_value eb_yaml_root(struct eb_yaml *yaml)
{
	return (struct eb_yaml_value){ .yaml = yaml, .node = yaml_document_get_root_node(&yaml->document) };
}

unsigned int eb_yaml_line(const struct eb_yaml_value *value)
{
	return value->node->start_mark.line + 1;
}

/* Prints the path with what separates it from the message, or from the next key. Returns whether there was one. */
static bool print_path(FILE *out, const struct eb_yaml_value *value)
{
	if (value->label[0]) {
		fprintf(out, "%s: ", value->label);
		return false;
	}
	if (!value->parent)
		return false;
	if (print_path(out, value->parent) && value->key)
		fputc('.', out);
	if (value->key)
		fputs(value->key, out);
	else
		fprintf(out, "[%zu]", value->index);
	return true;
}

static char *compose(const struct eb_yaml_value *value, unsigned int line, const char *format, va_list args)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	fprintf(out, "%s:%u: ", value->yaml->file, line);
	if (print_path(out, value))
		fputs(": ", out);
	vfprintf(out, format, args);
	if (!fclose(out))
		return text;
	free(text);
	return NULL;
}

int eb_yaml_fail(const struct eb_yaml_value *value, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = compose(value, eb_yaml_line(value), format, args);
	va_end(args);
	return eb_findings_fail_text(value->yaml->findings, text);
}

int eb_yaml_warn(const struct eb_yaml_value *value, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = compose(value, eb_yaml_line(value), format, args);
	va_end(args);
	return eb_findings_warn_text(value->yaml->findings, text);
}

/* About a mapping as a whole, in the line of one of its keys. */
static int __attribute__((format(printf, 3, 4)))
fail_key(const struct eb_yaml_value *map, const yaml_node_t *key, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = compose(map, key->start_mark.line + 1, format, args);
	va_end(args);
	return eb_findings_fail_text(map->yaml->findings, text);
}

static yaml_node_t *get_node(const struct eb_yaml_value *value, int index)
{
	return yaml_document_get_node(&value->yaml->document, index);
}

static const char *scalar_text(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

static const char *type_name(const struct eb_yaml_value *value)
{
	if (eb_yaml_is_map(value))
		return "a mapping";
	if (eb_yaml_is_list(value))
		return "a list";
	return eb_yaml_is_null(value) ? "nothing" : "a single value";
}

bool eb_yaml_is_list(const struct eb_yaml_value *value)
{
	return value->node->type == YAML_SEQUENCE_NODE;
}

bool eb_yaml_is_map(const struct eb_yaml_value *value)
{
	return value->node->type == YAML_MAPPING_NODE;
}

bool eb_yaml_is_null(const struct eb_yaml_value *value)
{
	const yaml_node_t *node = value->node;
	const char *text;

	if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	text = scalar_text(node);
	return !*text || !strcmp(text, "~") || !strcasecmp(text, "null");
}

static int fail_unknown(const struct eb_yaml_value *map, const yaml_node_t *key, const struct eb_yaml_key *keys,
			size_t key_count)
{
	const char *text = scalar_text(key), *nearest = NULL;
	unsigned int least = 3;
	char known[256] = "";

	for (size_t i = 0; i < key_count; i++) {
		unsigned int distance = eb_input_distance(text, keys[i].name);
		size_t used = strlen(known);

		if (distance < least && distance < strlen(keys[i].name)) {
			least = distance;
			nearest = keys[i].name;
		}
		snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", keys[i].name);
	}
	if (nearest)
		return fail_key(map, key, "unknown key %s; did you mean \"%s\"?", eb_input_quote(text).text, nearest);
	return fail_key(map, key, "unknown key %s; known are %s", eb_input_quote(text).text, known);
}

static int find_key(const struct eb_yaml_value *map, const yaml_node_t *key, const struct eb_yaml_key *keys,
		    size_t key_count, size_t *out)
{
	if (key->type != YAML_SCALAR_NODE)
		return fail_key(map, key, "a list or a mapping stands where a key is expected");
	if (key->data.scalar.length != strlen(scalar_text(key)))
		return fail_key(map, key, "a key holds a NUL character");
	for (size_t i = 0; i < key_count; i++) {
		if (!strcmp(scalar_text(key), keys[i].name)) {
			*out = i;
			return 0;
		}
	}
	return fail_unknown(map, key, keys, key_count);
}

static int find_keys(const struct eb_yaml_value *map, const struct eb_yaml_key *keys, size_t key_count,
		     yaml_node_t **values, uint64_t *seen)
{
	const yaml_node_t *node = map->node;

	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *key = get_node(map, pair->key);
		size_t i = 0;
		int err = find_key(map, key, keys, key_count, &i);

		if (err)
			return err;
		if (values[i])
			return fail_key(map, key, "key \"%s\" is there twice, first with a value in line %zu",
					keys[i].name, values[i]->start_mark.line + 1);
		values[i] = get_node(map, pair->value);
		*seen |= 1ULL << i;
	}
	for (size_t i = 0; i < key_count; i++)
		if (keys[i].is_required && !values[i])
			return eb_yaml_fail(map, "required key \"%s\" is missing", keys[i].name);
	return 0;
}

int eb_yaml_read_map(const struct eb_yaml_value *value, const struct eb_yaml_key *keys, size_t key_count, void *into,
		     uint64_t *seen)
{
	yaml_node_t *values[EB_YAML_KEYS_MAX] = { 0 };
	uint64_t found = 0;
	int err;

	if (!eb_yaml_is_map(value))
		return eb_yaml_fail(value, "is %s; expected a mapping with keys like \"%s\"", type_name(value),
				    keys[0].name);
	err = find_keys(value, keys, key_count, values, &found);
	if (!err && seen)
		*seen = found;
	for (size_t i = 0; !err && i < key_count; i++) {
		struct eb_yaml_value child = {
			.yaml = value->yaml, .node = values[i], .parent = value, .key = keys[i].name,
		};

		if (values[i])
			err = keys[i].read(&child, into);
	}
	return err;
}

size_t eb_yaml_list_size(const struct eb_yaml_value *value)
{
	const yaml_node_t *node = value->node;

	return eb_yaml_is_list(value) ? node->data.sequence.items.top - node->data.sequence.items.start : 0;
}

int eb_yaml_read_list(const struct eb_yaml_value *value, int (*read)(const struct eb_yaml_value *item, void *into),
		      void *into)
{
	size_t size = eb_yaml_list_size(value);
	int err = 0;

	if (!eb_yaml_is_list(value))
		return eb_yaml_fail(value, "is %s; expected a list, as in [a, b]", type_name(value));
	for (size_t i = 0; !err && i < size; i++) {
		struct eb_yaml_value item = {
			.yaml = value->yaml,
			.node = get_node(value, value->node->data.sequence.items.start[i]),
			.parent = value,
			.index = i,
		};

		err = read(&item, into);
	}
	return err;
}

const char *eb_yaml_peek(const struct eb_yaml_value *value, const char *key)
{
	const yaml_node_t *node = value->node;

	if (!eb_yaml_is_map(value))
		return NULL;
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *name = get_node(value, pair->key), *found = get_node(value, pair->value);

		if (name->type == YAML_SCALAR_NODE && !strcmp(scalar_text(name), key))
			return found->type == YAML_SCALAR_NODE ? scalar_text(found) : NULL;
	}
	return NULL;
}

int eb_yaml_text(const struct eb_yaml_value *value, const char **out)
{
	const yaml_node_t *node = value->node;

	if (node->type != YAML_SCALAR_NODE)
		return eb_yaml_fail(value, "is %s; expected a single value", type_name(value));
	if (eb_yaml_is_null(value))
		return eb_yaml_fail(value, "has no value; give it one or leave the key out");
	if (strlen(scalar_text(node)) != node->data.scalar.length)
		return eb_yaml_fail(value, "holds a NUL character");
	*out = scalar_text(node);
	return 0;
}

int eb_yaml_string(const struct eb_yaml_value *value, char **out)
{
	const char *text;
	char *copy;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	*out = copy;
	return 0;
}

int eb_yaml_number(const struct eb_yaml_value *value, uint64_t min, uint64_t max, uint64_t *out)
{
	const char *text;
	uint64_t number;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (eb_quantity_integer(text, &number))
		return eb_yaml_fail(value, "%s is not a whole number", eb_input_quote(text).text);
	if (number < min || number > max)
		return eb_yaml_fail(value, "%s is out of range; from %llu to %llu", eb_input_quote(text).text,
				    (unsigned long long)min, (unsigned long long)max);
	*out = number;
	return 0;
}

int eb_yaml_bool(const struct eb_yaml_value *value, bool *out)
{
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (eb_quantity_bool(text, out))
		return eb_yaml_fail(value, "%s is neither true nor false", eb_input_quote(text).text);
	return 0;
}

int eb_yaml_choice(const struct eb_yaml_value *value, const char *const *names, size_t count, unsigned int *out)
{
	const char *text;
	char known[128] = "";
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(known);

		if (!strcmp(text, names[i])) {
			*out = i;
			return 0;
		}
		snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", names[i]);
	}
	return eb_yaml_fail(value, "%s is not one of %s", eb_input_quote(text).text, known);
}

int eb_yaml_count(const struct eb_yaml_value *value, uint64_t min, uint64_t max, const char *unit, uint64_t *out)
{
	const char *text, *reason;
	uint64_t count;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (eb_quantity_count(text, &count, &reason))
		return eb_yaml_fail(value, "%s %s", eb_input_quote(text).text, reason);
	if (count < min || count > max)
		return eb_yaml_fail(value, "%s is out of range; from %" PRIu64 " to %" PRIu64 "%s",
				    eb_input_quote(text).text, min, max, unit);
	*out = count;
	return 0;
}

int eb_yaml_duration(const struct eb_yaml_value *value, uint64_t min_ns, uint64_t max_ns, const char *range,
		     uint64_t *out_ns)
{
	const char *text, *reason;
	uint64_t ns;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (eb_quantity_duration(text, &ns, &reason))
		return eb_yaml_fail(value, "%s %s", eb_input_quote(text).text, reason);
	if (ns < min_ns || ns > max_ns)
		return eb_yaml_fail(value, "%s is out of range; from %s", eb_input_quote(text).text, range);
	*out_ns = ns;
	return 0;
}

int eb_yaml_prefix(const struct eb_yaml_value *value, void *into)
{
	struct eb_prefix_error error;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	err = eb_prefix_list_parse(into, text, &error);
	return err == -EINVAL ? eb_yaml_fail(value, "%s %s", eb_input_quote(text).text, error.text) : err;
}

int eb_yaml_path(const struct eb_yaml_value *value, char **out)
{
	const char *home = value->yaml->home, *slash = strrchr(home, '/'), *text;
	char *path;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (!*text)
		return eb_yaml_fail(value, "is empty; expected a file's path");
	if (strlen(text) >= PATH_MAX)
		return eb_yaml_fail(value, "is longer than a path can be");
	if (*text == '/' || !slash)
		path = strdup(text);
	else if (asprintf(&path, "%.*s/%s", (int)(slash - home), home, text) < 0)
		path = NULL;
	if (!path)
		return -ENOMEM;
	*out = path;
	return 0;
}
