// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "prefix.h"
#include "input.h"

#define LINE_MAX_LEN 4096

static int refuse(struct eb_prefix_error *error, const char *text)
{
	snprintf(error->text, sizeof(error->text), "%s", text);
	return -EINVAL;
}

static unsigned int bits_of(const struct eb_prefix *prefix)
{
	return prefix->family == 4 ? 32 : 128;
}

/* Digits up to `max`, without leading zeros. */
static int parse_len(const char *text, unsigned int max, uint8_t *out)
{
	unsigned int len = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		len = 10 * len + (*text - '0');
		if (len > max)
			return -EINVAL;
	}
	*out = len;
	return 0;
}

/* Returns whether a bit was set that the prefix length does not cover. */
static bool clear_host_bits(struct eb_prefix *prefix)
{
	bool was_set = false;

	for (unsigned int i = prefix->len / 8; i < bits_of(prefix) / 8; i++) {
		uint8_t keep = i == prefix->len / 8u ? 0xff00 >> prefix->len % 8 : 0;

		was_set |= prefix->addr[i] & ~keep;
		prefix->addr[i] &= keep;
	}
	return was_set;
}

static int parse_addr(const char *text, size_t len, struct eb_prefix *out)
{
	char addr[INET6_ADDRSTRLEN];

	if (len >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text, len);
	addr[len] = '\0';
	out->family = memchr(text, ':', len) ? 6 : 4;
	return inet_pton(out->family == 6 ? AF_INET6 : AF_INET, addr, out->addr) == 1 ? 0 : -EINVAL;
}

int eb_prefix_parse(const char *text, struct eb_prefix *out, struct eb_prefix_error *error)
{
	const char *slash = strchr(text, '/');
	struct eb_prefix prefix = { 0 };
	char right[EB_PREFIX_TEXT_MAX];

	if (parse_addr(text, slash ? (size_t)(slash - text) : strlen(text), &prefix))
		return refuse(error, "is not a prefix; write it like 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32");
	prefix.len = bits_of(&prefix);
	if (slash && parse_len(slash + 1, prefix.len, &prefix.len))
		return refuse(error, prefix.family == 4 ? "has no valid prefix length; from /0 to /32" :
							  "has no valid prefix length; from /0 to /128");
	if (clear_host_bits(&prefix)) {
		snprintf(error->text, sizeof(error->text), "has bits set beyond its length; did you mean %s?",
			 eb_prefix_print(&prefix, right));
		return -EINVAL;
	}
	*out = prefix;
	return 0;
}

char *eb_prefix_print(const struct eb_prefix *prefix, char out[EB_PREFIX_TEXT_MAX])
{
	size_t len;

	inet_ntop(prefix->family == 4 ? AF_INET : AF_INET6, prefix->addr, out, INET6_ADDRSTRLEN);
	len = strlen(out);
	snprintf(out + len, EB_PREFIX_TEXT_MAX - len, "/%u", prefix->len);
	return out;
}

/* The room is the power of two that holds the count: it grows when the count reaches one. */
int eb_prefix_list_add(struct eb_prefix_list *list, const struct eb_prefix *prefix)
{
	struct eb_prefix *items;

	if (list->count >= EB_PREFIX_LIST_MAX)
		return -E2BIG;
	if (!(list->count & (list->count - 1))) {
		items = reallocarray(list->items, list->count ? 2 * list->count : 1, sizeof(*items));
		if (!items)
			return -ENOMEM;
		list->items = items;
	}
	list->items[list->count++] = *prefix;
	return 0;
}

/* Cuts comment and surrounding space off a line. Returns where its text starts. */
static char *trim(char *line)
{
	char *end;

	line[strcspn(line, "#\n")] = '\0';
	line += strspn(line, " \t");
	end = line + strlen(line);
	while (end > line && strchr(" \t\r", end[-1]))
		end--;
	*end = '\0';
	return line;
}

static int load_line(struct eb_prefix_list *list, char *line, const char *path, unsigned int number,
		     struct eb_report *report)
{
	const char *text = trim(line);
	struct eb_prefix_error error;
	struct eb_prefix prefix;
	int err;

	if (!*text)
		return 0;
	if (eb_prefix_parse(text, &prefix, &error))
		return eb_report_fail(report, "%s:%u: %s %s", path, number, eb_input_quote(text).text, error.text);
	err = eb_prefix_list_add(list, &prefix);
	if (err == -E2BIG)
		return eb_report_fail(report, "%s:%u: more than %u prefixes in one rule", path, number,
				      EB_PREFIX_LIST_MAX);
	return err;
}

int eb_prefix_list_load(struct eb_prefix_list *list, FILE *file, const char *path, struct eb_report *report)
{
	char line[LINE_MAX_LEN];
	unsigned int number = 0;
	int err = 0;

	while (!err && fgets(line, sizeof(line), file)) {
		number++;
		/* A line that does not end in a newline is the last, or cut at the buffer's end or at a NUL. */
		if (!strchr(line, '\n') && getc(file) != EOF)
			return eb_report_fail(report, "%s:%u: a line longer than %u characters, or not a text file",
					      path, number, LINE_MAX_LEN - 2);
		err = load_line(list, line, path, number, report);
	}
	if (!err && ferror(file))
		return eb_report_fail(report, "%s: cannot be read: %s", path, strerror(errno));
	return err;
}

void eb_prefix_list_done(struct eb_prefix_list *list)
{
	free(list->items);
	*list = (struct eb_prefix_list){ 0 };
}
