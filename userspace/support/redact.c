// SPDX-License-Identifier: GPL-2.0-only
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/input.h"
#include "support/redact.h"

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

enum key_kind { KEY_OTHER, KEY_SECRET, KEY_REDIS, KEY_HARMLESS };

/* What is left of a text, and where its tokens are: libyaml counts characters. */
struct redactor {
	const char *text, *end;
	size_t index; /* of the character at `text` */
	FILE *out;
	struct redact_secrets *secrets;
	int depth;
	bool in_key;
	enum key_kind key; /* of the scalar before */
	/* From which depth on values are secret, of the redis part, and harmless there; -1 while they are not. */
	int secret_depth, redis_depth, harmless_depth;
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

/* Of the redis part, where whatever has another key may be a password that stands in the wrong place. */
static const char *const harmless_keys[] = {
	"host", "port", "socket", "master", "nodes", "cluster", "db", "tls", "ca", "cert", "server_name", "key",
	"tick", "connect_timeout", "restore_timeout", "password_file",
};

static enum key_kind kind_of(const char *key)
{
	if (is_secret_key(key))
		return KEY_SECRET;
	if (eb_input_distance(key, "redis") <= 2)
		return KEY_REDIS;
	for (size_t i = 0; i < sizeof(harmless_keys) / sizeof(harmless_keys[0]); i++)
		if (strcmp(key, harmless_keys[i]) == 0)
			return KEY_HARMLESS;
	return KEY_OTHER;
}

static bool in_redis(const struct redactor *redactor)
{
	return redactor->redis_depth >= 0;
}

static bool is_hidden(const struct redactor *redactor)
{
	return redactor->secret_depth >= 0 || (in_redis(redactor) && redactor->harmless_depth < 0);
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
	bool is_secret = is_secret_value(value) || (!redactor->in_key && redactor->secret_depth >= 0);

	/* If a colon comes: what is no key to libyaml may be meant as one. */
	redactor->key = kind_of(value);
	/* What is hidden without being called a secret is not looked for in other texts: every one of them has a name
	 * like "edgebucket", and messages do not quote it. */
	if (is_secret)
		add_parts(redactor->secrets, value);
	if (is_secret || (!redactor->in_key && is_hidden(redactor)))
		remove_to(redactor, token->end_mark.index);
	else
		copy_to(redactor, token->end_mark.index);
	redactor->in_key = false;
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

/* From a key on, to the next one at its depth, its values are what it says. */
static void begin_value(struct redactor *redactor)
{
	if (redactor->key == KEY_SECRET && redactor->secret_depth < 0)
		redactor->secret_depth = redactor->depth;
	if (redactor->key == KEY_REDIS && !in_redis(redactor))
		redactor->redis_depth = redactor->depth;
	redactor->harmless_depth = redactor->key == KEY_HARMLESS ? redactor->depth : -1;
	redactor->in_key = false;
	redactor->key = KEY_OTHER;
}

static void end_above(int depth, int *begun)
{
	if (depth < *begun)
		*begun = -1;
}

/* What began at this depth or deeper has ended. */
static void end_values(struct redactor *redactor, int depth)
{
	end_above(depth, &redactor->secret_depth);
	end_above(depth, &redactor->redis_depth);
	end_above(depth, &redactor->harmless_depth);
}

static void take_token(struct redactor *redactor, const yaml_token_t *token)
{
	switch (token->type) {
	case YAML_KEY_TOKEN:
		redactor->in_key = true;
		end_values(redactor, redactor->depth - 1);
		break;
	case YAML_VALUE_TOKEN:
		begin_value(redactor);
		break;
	case YAML_FLOW_ENTRY_TOKEN:
		end_above(redactor->depth - 1, &redactor->harmless_depth);
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
		end_values(redactor, --redactor->depth);
		break;
	default:
		break;
	}
	skip_to(redactor, token->start_mark.index);
	if (token->type == YAML_SCALAR_TOKEN)
		take_scalar(redactor, token);
	else if (is_name(token) && is_hidden(redactor))
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
			fprintf(redactor->out, "\n# From here on this is not YAML (line %zu: %s); it was left out.\n",
				parser->problem_mark.line + 1, parser->problem ? parser->problem : "out of memory");
			return;
		}
		take_token(redactor, &token);
		is_end = token.type == YAML_STREAM_END_TOKEN;
		yaml_token_delete(&token);
	}
}

char *redact_config(const char *text, size_t size, bool is_redis, struct redact_secrets *secrets)
{
	struct redactor redactor = {
		.text = text,
		.end = text + size,
		.secrets = secrets,
		.secret_depth = -1,
		.redis_depth = is_redis ? 0 : -1,
		.harmless_depth = -1,
	};
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
