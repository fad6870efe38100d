// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/input.h"
#include "config/prefix.h"
#include "config/prefix_list.h"

#define SIZE_MAX_BYTES (256 * 1024 * 1024) /* two million lines of JSON */
#define LINE_MAX_LEN 4096
#define BOM "\xef\xbb\xbf"

/* A file that is open for writing but did not change for so long is whole: its writer only left it open. */
#define SETTLED_SECONDS 2

/* --- reading --- */

static void set_mark(const struct stat *st, struct eb_list_mark *mark)
{
	*mark = (struct eb_list_mark){
		.dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .changed = st->st_ctim,
	};
}

bool eb_list_mark_equal(const struct eb_list_mark *a, const struct eb_list_mark *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
	       a->changed.tv_nsec == b->changed.tv_nsec;
}

int eb_list_look(const char *path, struct eb_list_mark *mark)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	set_mark(&st, mark);
	return 0;
}

/* The kernel grants no lease on a file that is open for writing. Some file systems grant no lease, and a user who is
 * not the owner gets none: then the file counts as not being written. A writer that opens the file during the lease
 * sends a signal: SIGURG, which a process ignores by default, in place of SIGIO. */
static bool has_writer(int fd)
{
	if (fcntl(fd, F_SETSIG, SIGURG) || fcntl(fd, F_SETLEASE, F_RDLCK))
		return errno == EAGAIN;
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}

static bool is_being_written(int fd, const struct stat *st)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return llabs((long long)now.tv_sec - st->st_mtim.tv_sec) <= SETTLED_SECONDS && has_writer(fd);
}

static int read_whole(int fd, char **text, size_t *size, struct eb_list_mark *mark)
{
	struct eb_list_mark after;
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return -errno;
	set_mark(&st, mark);
	if (is_being_written(fd, &st))
		return -EBUSY;
	err = eb_input_read_fd(fd, SIZE_MAX_BYTES, text, size);
	if (err)
		return err;
	err = fstat(fd, &st) ? -errno : 0;
	set_mark(&st, &after);
	if (!err && (after.size != mark->size || after.changed.tv_nsec != mark->changed.tv_nsec ||
		     after.changed.tv_sec != mark->changed.tv_sec || is_being_written(fd, &st)))
		err = -EBUSY;
	if (err)
		free(*text);
	return err;
}

int eb_list_read(const char *path, char **text, size_t *size, struct eb_list_mark *mark)
{
	int fd = eb_input_open_regular(path), err;

	if (fd < 0)
		return fd;
	err = read_whole(fd, text, size, mark);
	close(fd);
	return err;
}

/* --- parsing --- */

struct parser {
	struct eb_prefix_list *list;
	const char *path;
	struct eb_findings *findings;
	bool skip_bad;
	unsigned int line;
	size_t good, skipped;
	unsigned int first_bad_line;
	char first_bad[256]; /* what is wrong with the first line that was left out */
	bool has_lone_cr;
	long long records;   /* that the list says it has, -1 for nothing said */
};

static int fail_line(struct parser *parser, const char *text, const char *reason)
{
	struct eb_quoted quoted = eb_input_quote(text);
	const char *space = *text ? " " : "";

	if (!*text)
		quoted.text[0] = '\0';
	if (!parser->skip_bad)
		return eb_findings_fail(parser->findings, "%s:%u: %s%s%s", parser->path, parser->line, quoted.text,
					space, reason);
	if (!parser->skipped++) {
		parser->first_bad_line = parser->line;
		snprintf(parser->first_bad, sizeof(parser->first_bad), "%s%s%s", quoted.text, space, reason);
	}
	return 0;
}

static int add_text(struct parser *parser, const char *text)
{
	struct eb_prefix_error error;
	int err = eb_prefix_list_parse(parser->list, text, &error);

	if (err == -E2BIG)
		return eb_findings_fail(parser->findings, "%s:%u: more than %u prefixes in one rule", parser->path,
					parser->line, EB_PREFIX_LIST_MAX);
	if (err == -EINVAL)
		return fail_line(parser, text, error.text);
	parser->good += !err;
	return err;
}

/* One object a line. One that tells of the list, as the last of some lists does, has no prefix. */
static int add_json(struct parser *parser, const char *text)
{
	json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *cidr = json_object_get(object, "cidr");
	const char *type = json_string_value(json_object_get(object, "type"));
	int err;

	if (!object) {
		err = fail_line(parser, text, "is not JSON; write one whole object a line, like {\"cidr\": "
					      "\"192.0.2.0/24\"}");
	} else if (json_is_string(cidr)) {
		err = add_text(parser, json_string_value(cidr));
	} else if (!cidr && type && !strcmp(type, "metadata")) {
		if (json_is_integer(json_object_get(object, "records")))
			parser->records = json_integer_value(json_object_get(object, "records"));
		err = 0;
	} else {
		err = fail_line(parser, text, "has no text \"cidr\" in it");
	}
	json_decref(object);
	return err;
}

/* strspn() and its like make a table at each call, which a million lines feel. */
static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Cuts the space around a text off. Returns where it starts. */
static char *trim(char *text)
{
	char *end;

	while (is_space(*text))
		text++;
	end = text + strlen(text);
	while (end > text && is_space(end[-1]))
		end--;
	*end = '\0';
	return text;
}

static void cut_comment(char *text)
{
	while (*text && *text != '#' && *text != ';')
		text++;
	*text = '\0';
}

/* Behind a comma a line may have any description, but not a second prefix: that would be several prefixes in a line. */
static bool is_description(char *text)
{
	struct eb_prefix_error error;
	struct eb_prefix prefix;

	text[strcspn(text, ",")] = '\0';
	return eb_prefix_parse(trim(text), &prefix, &error) != 0;
}

static int add_line(struct parser *parser, char *line)
{
	char *text = trim(line), *comma;

	if (*text == '{')
		return add_json(parser, text);
	cut_comment(text);
	comma = strchr(text, ',');
	if (comma) {
		*comma = '\0';
		if (!is_description(comma + 1))
			return fail_line(parser, trim(text), "is followed by another prefix; one a line");
	}
	text = trim(text);
	return *text ? add_text(parser, text) : comma ? fail_line(parser, "", "nothing in front of a comma") : 0;
}

static int add_raw_line(struct parser *parser, const char *text, size_t len)
{
	char line[LINE_MAX_LEN];

	parser->line++;
	if (len >= sizeof(line) - 1 || memchr(text, '\0', len))
		return fail_line(parser, "", "a line longer than 4094 characters, or not a text file");
	memcpy(line, text, len);
	line[len] = '\0';
	return add_line(parser, line);
}

/* A line ends in LF, CR LF or CR. Returns where the next begins. */
static const char *end_line(struct parser *parser, const char *end, const char *stop)
{
	if (end == stop)
		return stop;
	if (*end == '\r' && end + 1 < stop && end[1] == '\n')
		return end + 2;
	parser->has_lone_cr |= *end == '\r';
	return end + 1;
}

static int add_lines(struct parser *parser, const char *text, const char *stop)
{
	int err = 0;

	while (!err && text < stop) {
		const char *end = text;

		while (end < stop && *end != '\n' && *end != '\r')
			end++;
		err = add_raw_line(parser, text, end - text);
		text = end_line(parser, end, stop);
	}
	return err;
}

static int warn_of_skipped(const struct parser *parser)
{
	if (!parser->skipped)
		return 0;
	if (!parser->good)
		return eb_findings_fail(parser->findings, "%s: none of its %zu lines is valid; the first, line %u: "
					"%s", parser->path, parser->skipped, parser->first_bad_line, parser->first_bad);
	return eb_findings_warn(parser->findings, "%s: skipped lines that are not valid: %zu; the first, line "
				"%u: %s", parser->path, parser->skipped, parser->first_bad_line, parser->first_bad);
}

/* Signs that a part is missing. */
static int warn_of_whole(const struct parser *parser, const char *text, size_t size)
{
	int err = 0;

	if (parser->has_lone_cr)
		err = eb_findings_warn(parser->findings, "%s: lines end with only a carriage return; read as lines",
				       parser->path);
	if (!err && size && !strchr("\r\n", text[size - 1]))
		err = eb_findings_warn(parser->findings, "%s:%u: the last line has no newline at its end; was the list "
				       "cut?", parser->path, parser->line);
	if (!err && parser->records >= 0 && (size_t)parser->records != parser->good)
		err = eb_findings_warn(parser->findings, "%s: declares %lld records, but has %zu; was the list "
				       "cut?", parser->path, parser->records, parser->good);
	return err;
}

int eb_list_parse(struct eb_prefix_list *list, const char *text, size_t size, const char *path, bool skip_bad,
		  size_t *skipped, struct eb_findings *findings)
{
	struct parser parser = {
		.list = list, .path = path, .findings = findings, .skip_bad = skip_bad, .records = -1,
	};
	bool has_bom = size >= strlen(BOM) && !memcmp(text, BOM, strlen(BOM));
	int err;

	if (size >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
		return eb_findings_fail(findings, "%s: is in UTF-16; save it as plain text or UTF-8", path);
	err = add_lines(&parser, text + (has_bom ? strlen(BOM) : 0), text + size);
	if (err)
		return err;
	err = warn_of_skipped(&parser);
	if (err)
		return err;
	err = warn_of_whole(&parser, text, size);
	if (err)
		return err;
	*skipped = parser.skipped;
	return 0;
}

/* --- lists of a match --- */

struct eb_prefix_list *eb_list_of(struct eb_match *match, enum eb_list_role role)
{
	switch (role) {
	case EB_LIST_SRC:
		return &match->src;
	case EB_LIST_DST:
		return &match->dst;
	case EB_LIST_SRC_EXCEPT:
		return &match->src_except;
	case EB_LIST_DST_EXCEPT:
		break;
	}
	return &match->dst_except;
}

const char *eb_list_role_name(enum eb_list_role role)
{
	static const char *const names[] = {
		[EB_LIST_SRC] = "src",
		[EB_LIST_DST] = "dst",
		[EB_LIST_SRC_EXCEPT] = "src_except",
		[EB_LIST_DST_EXCEPT] = "dst_except",
	};

	return names[role];
}

static void shift_files(struct eb_match *match, const struct eb_list_file *file, size_t count)
{
	for (size_t i = 0; i < match->file_count; i++) {
		struct eb_list_file *other = &match->files[i];

		if (other->role == file->role && other->first > file->first)
			other->first = other->first - file->count + count;
	}
}

static int add_all(struct eb_prefix_list *list, const struct eb_prefix *items, size_t count)
{
	int err = 0;

	for (size_t i = 0; !err && i < count; i++)
		err = eb_prefix_list_add(list, &items[i]);
	return err;
}

int eb_list_exchange(struct eb_match *match, struct eb_list_file *file, struct eb_prefix_list *slice)
{
	struct eb_prefix_list *list = eb_list_of(match, file->role), whole = { 0 }, before = { 0 };
	size_t behind = file->first + file->count;
	int err;

	err = add_all(&before, list->items + file->first, file->count);
	if (err)
		goto out;
	err = add_all(&whole, list->items, file->first);
	if (err)
		goto out;
	err = add_all(&whole, slice->items, slice->count);
	if (err)
		goto out;
	err = add_all(&whole, list->items + behind, list->count - behind);
out:
	if (err) {
		eb_prefix_list_done(&whole);
		eb_prefix_list_done(&before);
		return err;
	}
	shift_files(match, file, slice->count);
	file->count = slice->count;
	eb_prefix_list_done(list);
	*list = whole;
	eb_prefix_list_done(slice);
	*slice = before;
	return 0;
}
