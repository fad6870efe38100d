// SPDX-License-Identifier: GPL-2.0-only
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "input.h"
#include "redact.h"

/* ---- secrets ---- */

/* Takes over `form`, malloc'ed. */
static void add_form(struct redact_secrets *secrets, char *form)
{
	char **items = form ? reallocarray(secrets->items, secrets->count + 1, sizeof(*items)) : NULL;

	if (!items) {
		secrets->error = -ENOMEM;
		free(form);
		return;
	}
	secrets->items = items;
	items[secrets->count++] = form;
}

/* What is between the quotes. */
static char *unquote(const char *quoted)
{
	return strndup(quoted + 1, strlen(quoted) - 2);
}

static char *json_form(const char *secret)
{
	json_t *string = json_string(secret);
	char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL, *form = quoted ? unquote(quoted) : NULL;

	/* No UTF-8, so it cannot be in any JSON. */
	if (!string)
		form = strdup(secret);
	free(quoted);
	json_decref(string);
	return form;
}

/* As messages quote it, cut where they cut it. */
static char *quoted_form(const char *secret)
{
	struct eb_quoted quoted = eb_input_quote(secret);
	char *form = unquote(quoted.text);
	size_t len = form ? strlen(form) : 0;

	if (len > 3 && len < strlen(secret) && strcmp(form + len - 3, "...") == 0)
		form[len - 3] = '\0';
	return form;
}

void redact_add(struct redact_secrets *secrets, const char *secret)
{
	if (strlen(secret) < REDACT_SECRET_MIN)
		return;
	add_form(secrets, strdup(secret));
	add_form(secrets, json_form(secret));
	add_form(secrets, quoted_form(secret));
}

void redact_done(struct redact_secrets *secrets)
{
	for (size_t i = 0; i < secrets->count; i++) {
		explicit_bzero(secrets->items[i], strlen(secrets->items[i]));
		free(secrets->items[i]);
	}
	free(secrets->items);
	*secrets = (struct redact_secrets){ 0 };
}

/* The longest secret that begins here; 0 for none. */
static size_t match(const struct redact_secrets *secrets, const char *text, size_t size)
{
	size_t longest = 0;

	for (size_t i = 0; i < secrets->count; i++) {
		size_t len = strlen(secrets->items[i]);

		if (len > longest && len <= size && memcmp(text, secrets->items[i], len) == 0)
			longest = len;
	}
	return longest;
}

char *redact_text(const struct redact_secrets *secrets, const char *text, size_t size, size_t *out_size)
{
	char *result = NULL;
	FILE *out = open_memstream(&result, out_size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < size;) {
		size_t len = match(secrets, text + i, size - i);

		if (len)
			fputs(REDACT_MARK, out);
		else
			fputc(text[i], out);
		i += len ? len : 1;
	}
	if (fclose(out) == 0)
		return result;
	free(result);
	return NULL;
}

/* ---- configurations ---- */

/* What is left of a text, and where its tokens are: libyaml counts characters. */
struct redactor {
	const char *text, *end;
	size_t index; /* of the character at `text` */
	FILE *out;
	struct redact_secrets *secrets;
	int depth;
	bool in_key, key_is_secret;
	int secret_depth; /* values are secret from this depth on; -1 while they are not */
};

static bool contains(const char *text, const char *word)
{
	return strcasestr(text, word) != NULL;
}

static bool ends_with(const char *text, const char *end)
{
	return strlen(text) >= strlen(end) && strcasecmp(text + strlen(text) - strlen(end), end) == 0;
}

/* Also one that is misspelt. Names of files are none. */
static bool is_secret_key(const char *key)
{
	if (ends_with(key, "_file"))
		return false;
	return contains(key, "pass") || contains(key, "secret") || contains(key, "auth") || contains(key, "token") ||
	       contains(key, "cred") || contains(key, "pwd") || strcasecmp(key, "pw") == 0 ||
	       eb_input_distance(key, "password") <= 3;
}

/* Where the user's part of a URL or of "user:password@host" begins; NULL for what has none. */
static const char *find_user(const char *text)
{
	const char *url = strstr(text, "://"), *user = url ? url + 3 : text, *at = strrchr(user, '@');

	return at && (url || memchr(user, ':', at - user)) ? user : NULL;
}

/* Such a part; "password:x" without the space, which is no key then, and the like. */
static bool is_secret_value(const char *text)
{
	const char *pass = strcasestr(text, "pass");

	return find_user(text) || (pass && strpbrk(pass, ":= "));
}

/* The parts of such a value that are secret by themselves. */
static void add_parts(struct redact_secrets *secrets, const char *value)
{
	const char *user = find_user(value), *at = user ? strrchr(user, '@') : NULL;
	const char *pass = strcasestr(value, "pass"), *begin = at ? user : pass ? strpbrk(pass, ":= ") : NULL;
	const char *colon;
	char *part;

	redact_add(secrets, value);
	if (!begin)
		return;
	part = at ? strndup(begin, at - begin) : strdup(begin + strspn(begin, ":= "));
	if (!part) {
		secrets->error = -ENOMEM;
		return;
	}
	redact_add(secrets, part);
	colon = at ? strchr(part, ':') : NULL;
	if (colon)
		redact_add(secrets, colon + 1);
	explicit_bzero(part, strlen(part));
	free(part);
}

static const char *next_character(const char *at, const char *end)
{
	at++;
	while (at < end && ((unsigned char)*at & 0xc0) == 0x80)
		at++;
	return at;
}

static const char *place_of(const struct redactor *redactor, size_t index)
{
	const char *at = redactor->text;

	for (size_t i = redactor->index; i < index && at < redactor->end; i++)
		at = next_character(at, redactor->end);
	return at;
}

static void move_to(struct redactor *redactor, const char *to, size_t index)
{
	redactor->text = to;
	redactor->index = index > redactor->index ? index : redactor->index;
}

/* Between tokens there are only spaces and comments. */
static void skip_to(struct redactor *redactor, size_t index)
{
	const char *to = place_of(redactor, index);
	bool in_comment = false;

	for (const char *c = redactor->text; c < to; c++) {
		in_comment = *c != '\n' && (in_comment || *c == '#');
		if (!in_comment && isspace((unsigned char)*c))
			fputc(*c, redactor->out);
	}
	move_to(redactor, to, index);
}

static void copy_to(struct redactor *redactor, size_t index)
{
	const char *to = place_of(redactor, index);

	fwrite(redactor->text, 1, to - redactor->text, redactor->out);
	move_to(redactor, to, index);
}

static void remove_to(struct redactor *redactor, size_t index)
{
	const char *to = place_of(redactor, index);

	fputs("\"" REDACT_MARK "\"", redactor->out);
	for (const char *c = redactor->text; c < to; c++)
		if (*c == '\n')
			fputc('\n', redactor->out);
	move_to(redactor, to, index);
}

static void take_scalar(struct redactor *redactor, const yaml_token_t *token)
{
	const char *value = (const char *)token->data.scalar.value;
	bool is_key = redactor->in_key;

	redactor->in_key = false;
	/* If a colon comes: what is no key to libyaml may be meant as one. */
	redactor->key_is_secret = is_secret_key(value);
	if (is_key ? !is_secret_value(value) : redactor->secret_depth < 0 && !is_secret_value(value)) {
		copy_to(redactor, token->end_mark.index);
		return;
	}
	add_parts(redactor->secrets, value);
	remove_to(redactor, token->end_mark.index);
}

/* A password that begins with *, & or ! and is not in quotes. */
static bool is_name(const yaml_token_t *token)
{
	return token->type == YAML_ALIAS_TOKEN || token->type == YAML_ANCHOR_TOKEN || token->type == YAML_TAG_TOKEN;
}

static void take_name(struct redactor *redactor, const yaml_token_t *token)
{
	const char *to = place_of(redactor, token->end_mark.index);
	char *name = strndup(redactor->text, to - redactor->text);

	if (name) {
		redact_add(redactor->secrets, name);
		redact_add(redactor->secrets, name + 1);
	} else {
		redactor->secrets->error = -ENOMEM;
	}
	free(name);
	remove_to(redactor, token->end_mark.index);
}

/* Keeps track of where values are secret: from a key that says so to the next one at its depth. */
static void take_token(struct redactor *redactor, const yaml_token_t *token)
{
	switch (token->type) {
	case YAML_KEY_TOKEN:
		redactor->in_key = true;
		if (redactor->depth <= redactor->secret_depth)
			redactor->secret_depth = -1;
		break;
	case YAML_VALUE_TOKEN:
		if (redactor->key_is_secret && redactor->secret_depth < 0)
			redactor->secret_depth = redactor->depth;
		redactor->in_key = redactor->key_is_secret = false;
		break;
	case YAML_BLOCK_SEQUENCE_START_TOKEN:
	case YAML_BLOCK_MAPPING_START_TOKEN:
	case YAML_FLOW_SEQUENCE_START_TOKEN:
	case YAML_FLOW_MAPPING_START_TOKEN:
		redactor->depth++;
		break;
	case YAML_BLOCK_END_TOKEN:
	case YAML_FLOW_SEQUENCE_END_TOKEN:
	case YAML_FLOW_MAPPING_END_TOKEN:
		if (--redactor->depth < redactor->secret_depth)
			redactor->secret_depth = -1;
		break;
	default:
		break;
	}
	skip_to(redactor, token->start_mark.index);
	if (token->type == YAML_SCALAR_TOKEN)
		take_scalar(redactor, token);
	else if (is_name(token) && redactor->secret_depth >= 0)
		take_name(redactor, token);
	else
		copy_to(redactor, token->end_mark.index);
}

static void take_tokens(struct redactor *redactor, yaml_parser_t *parser)
{
	bool is_end = false;
	yaml_token_t token;

	while (!is_end) {
		if (!yaml_parser_scan(parser, &token)) {
			fprintf(redactor->out, "\n# From here on it is no YAML (line %zu: %s), and left out.\n",
				parser->problem_mark.line + 1, parser->problem ? parser->problem : "out of memory");
			return;
		}
		take_token(redactor, &token);
		is_end = token.type == YAML_STREAM_END_TOKEN;
		yaml_token_delete(&token);
	}
}

char *redact_config(const char *text, size_t size, struct redact_secrets *secrets)
{
	struct redactor redactor = { .text = text, .end = text + size, .secrets = secrets, .secret_depth = -1 };
	char *result = NULL;
	yaml_parser_t parser;
	size_t result_size;

	if (!yaml_parser_initialize(&parser))
		return NULL;
	redactor.out = open_memstream(&result, &result_size);
	if (redactor.out) {
		/* UTF-16 by its byte order mark is refused here, as is the mark of UTF-8 by its contents. */
		yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
		yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
		take_tokens(&redactor, &parser);
		if (fclose(redactor.out)) {
			free(result);
			result = NULL;
		}
	}
	yaml_parser_delete(&parser);
	return result;
}
