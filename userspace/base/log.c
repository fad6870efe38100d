// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *name;
	char prefix[4]; /* of the priority, by sd-daemon(3) */
} levels[] = {
	[EB_LOG_ERROR] = { "error", "<3>" },
	[EB_LOG_WARNING] = { "warning", "<4>" },
	[EB_LOG_INFO] = { "info", "<6>" },
	[EB_LOG_DEBUG] = { "debug", "<7>" },
};

static const char *const formats[] = { [EB_LOG_LOGFMT] = "logfmt", [EB_LOG_JSON] = "json" };

static struct {
	enum eb_log_level threshold;
	enum eb_log_format format;
	bool is_limited;
	struct eb_log_site *suppressing; /* sites with suppressed lines */
} settings = { .threshold = EB_LOG_INFO };

/* Where lines go. */
static struct sink {
	int fd;
	bool is_journal;
	bool is_socket;
	bool never_blocks;
	bool is_torn;  /* the last line was written in part */
	uint64_t lost; /* lines that were not written */
} sink = { .fd = STDERR_FILENO };

/* ---- settings ---- */

void eb_log_set_level(enum eb_log_level level)
{
	settings.threshold = level;
}

bool eb_log_has_level(enum eb_log_level level)
{
	return level <= settings.threshold;
}

void eb_log_set_format(enum eb_log_format format)
{
	settings.format = format;
}

void eb_log_limit_rates(void)
{
	settings.is_limited = true;
}

int eb_log_parse_level(const char *name, enum eb_log_level *out)
{
	for (size_t i = 0; i < LENGTH(levels); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*out = i;
			return 0;
		}
	}
	return -EINVAL;
}

int eb_log_parse_format(const char *name, enum eb_log_format *out)
{
	for (size_t i = 0; i < LENGTH(formats); i++) {
		if (strcmp(formats[i], name) == 0) {
			*out = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- the sink ---- */

/* The variable is inherited, also by what has standard error elsewhere: it has to name this very file, as
 * sd-daemon(3) asks. */
static bool is_journal(const struct stat *file)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uint64_t device, inode;
	char more;

	return stream && sscanf(stream, "%" SCNu64 ":%" SCNu64 "%c", &device, &inode, &more) == 2 &&
	       device == file->st_dev && inode == file->st_ino;
}

/* A descriptor that is closed would be taken by the next file that is opened, and that get the log. */
static void ensure_stderr(void)
{
	int fd;

	if (fcntl(STDERR_FILENO, F_GETFD) >= 0)
		return;
	fd = open("/dev/null", O_WRONLY);
	if (fd >= 0 && fd != STDERR_FILENO) {
		(void)dup2(fd, STDERR_FILENO);
		close(fd);
	}
}

/*
 * A pipe whose reader stopped, or a terminal that is held, must not stop the agent. O_NONBLOCK on standard error would
 * also change it for whoever shares it, so pipes and terminals are opened anew. Sockets cannot be, but have a flag for
 * each write. Files do not block, and a second opening would not share their offset. Where opening is refused,
 * poll(2) has to do: it is wrong only where another writer takes the room in between.
 */
void eb_log_open(void)
{
	struct stat file;
	int fd;

	ensure_stderr();
	signal(SIGPIPE, SIG_IGN);
	if (fstat(STDERR_FILENO, &file) < 0)
		return;
	sink.is_journal = is_journal(&file);
	sink.is_socket = S_ISSOCK(file.st_mode);
	sink.never_blocks = sink.is_socket;
	if (!S_ISFIFO(file.st_mode) && !S_ISCHR(file.st_mode))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	sink.fd = fd;
	sink.never_blocks = true;
}

static bool has_room(void)
{
	struct pollfd poller = { .fd = sink.fd, .events = POLLOUT };

	return poll(&poller, 1, 0) == 1 && poller.revents & POLLOUT;
}

static ssize_t put(const char *data, size_t size)
{
	if (sink.is_socket)
		return send(sink.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sink.never_blocks || has_room() ? write(sink.fd, data, size) : -1;
}

/* False when the line was not written as a whole. */
static bool put_line(const char *line, size_t size)
{
	ssize_t written;

	if (sink.is_torn && put("\n", 1) != 1)
		return false;
	written = put(line, size);
	sink.is_torn = written > 0 && (size_t)written < size;
	return written == (ssize_t)size;
}

/* ---- lines ---- */

struct timestamp {
	char text[sizeof("2026-11-23T17:31:58.123Z")];
};

static struct timestamp make_timestamp(void)
{
	struct timestamp stamp;
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(stamp.text, sizeof(stamp.text), "%FT%T", &tm);
	snprintf(stamp.text + len, sizeof(stamp.text) - len, ".%03uZ", (unsigned int)(now.tv_nsec / 1000000) % 1000);
	return stamp;
}

/* The journal has its own time, and wants the priority in front. */
static bool write_line(enum eb_log_level level, const struct eb_log_field *fields)
{
	char line[sizeof(levels[0].prefix) - 1 + EB_LOG_LINE_MAX], *text = line;
	struct eb_log_field all[EB_LOG_FIELDS_MAX + 3];
	struct timestamp stamp;
	size_t count = 0, len;

	if (sink.is_journal) {
		text = stpcpy(line, levels[level].prefix);
	} else {
		stamp = make_timestamp();
		all[count++] = eb_str("time", stamp.text);
	}
	all[count++] = eb_str("level", levels[level].name);
	while (fields->name)
		all[count++] = *fields++;
	all[count] = (struct eb_log_field){};
	len = eb_log_line(settings.format, all, text);
	return len && put_line(line, (size_t)(text - line) + len);
}

static bool report_lost(void)
{
	const struct eb_log_field fields[] = {
		eb_str("msg", "lines of this log were lost: standard error did not accept them"),
		eb_num("lost", sink.lost),
		eb_str("hint", "check why its reader stopped or its file is full"),
		{},
	};

	if (!sink.lost)
		return true;
	if (!write_line(EB_LOG_WARNING, fields))
		return false;
	sink.lost = 0;
	return true;
}

static void write_or_count(enum eb_log_level level, const struct eb_log_field *fields)
{
	if (!report_lost() || !write_line(level, fields))
		sink.lost++;
}

/* ---- limits ---- */

static void note_suppressed(struct eb_log_site *site, enum eb_log_level level)
{
	site->level = level;
	if (site->is_listed)
		return;
	site->is_listed = true;
	site->next = settings.suppressing;
	settings.suppressing = site;
}

static void report_suppressed(const struct eb_log_site *site, enum eb_log_level level, uint64_t suppressed)
{
	const struct eb_log_field fields[] = {
		eb_str("msg", "more lines like this were suppressed"),
		eb_str("like", site->message),
		eb_num("suppressed", suppressed),
		{},
	};

	write_or_count(level, fields);
}

void eb_log_write(struct eb_log_site *site, enum eb_log_level level, const struct eb_log_field *fields)
{
	bool is_limited = settings.is_limited && level != EB_LOG_DEBUG;
	uint64_t suppressed = 0;

	if (!eb_log_has_level(level))
		return;
	if (is_limited && !eb_log_admit(&site->limit, eb_monotonic_ns(), &suppressed)) {
		note_suppressed(site, level);
		return;
	}
	if (suppressed)
		report_suppressed(site, level, suppressed);
	write_or_count(level, fields);
}

void eb_log_catch_up(void)
{
	struct eb_log_site **link = &settings.suppressing, *site;
	uint64_t now = eb_monotonic_ns(), suppressed;

	(void)report_lost();
	while ((site = *link)) {
		if (eb_log_admit_report(&site->limit, now, &suppressed))
			report_suppressed(site, site->level, suppressed);
		site->is_listed = site->limit.suppressed != 0;
		if (site->is_listed)
			link = &site->next;
		else
			*link = site->next;
	}
}

void eb_log_close(void)
{
	settings.is_limited = false;
	for (struct eb_log_site *site = settings.suppressing; site; site = site->next) {
		if (site->limit.suppressed)
			report_suppressed(site, site->level, site->limit.suppressed);
		site->limit.suppressed = 0;
	}
	(void)report_lost();
	if (sink.fd != STDERR_FILENO)
		close(sink.fd);
	sink = (struct sink){ .fd = STDERR_FILENO };
}
