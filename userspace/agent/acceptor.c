// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agent/acceptor.h"
#include "base/log.h"

#define PAUSE_US 200000ULL

struct eb_acceptor {
	int fd;
	char *name;
	sd_event_source *io, *pause;
	eb_acceptor_accepted accepted;
	void *arg;
};

static bool is_exhausted(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

static void pause_for_a_while(struct eb_acceptor *acceptor, int err)
{
	eb_warning("cannot accept a connection, trying again", eb_str("socket", acceptor->name), eb_err(-err),
		   eb_str("hint", "raise the limit of open files, LimitNOFILE= of a unit"));
	if (sd_event_source_set_time_relative(acceptor->pause, PAUSE_US) >= 0 &&
	    sd_event_source_set_enabled(acceptor->pause, SD_EVENT_ONESHOT) >= 0)
		(void)sd_event_source_set_enabled(acceptor->io, SD_EVENT_OFF);
}

static int on_pause_end(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_acceptor *acceptor = arg;

	(void)source;
	(void)usec;
	return sd_event_source_set_enabled(acceptor->io, SD_EVENT_ON);
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct eb_acceptor *acceptor = arg;
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int client = accept4(fd, (struct sockaddr *)&address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)source;
	(void)events;
	if (client >= 0)
		acceptor->accepted(client, (struct sockaddr *)&address, len, acceptor->arg);
	else if (is_exhausted(errno))
		pause_for_a_while(acceptor, errno);
	return 0;
}

int eb_acceptor_open(sd_event *loop, int fd, const char *name, eb_acceptor_accepted accepted, void *arg,
		     struct eb_acceptor **out)
{
	struct eb_acceptor *acceptor = calloc(1, sizeof(*acceptor));
	int err;

	if (!acceptor) {
		close(fd);
		return -ENOMEM;
	}
	*acceptor = (struct eb_acceptor){ .fd = fd, .name = strdup(name), .accepted = accepted, .arg = arg };
	err = acceptor->name ? 0 : -ENOMEM;
	if (err < 0)
		goto out;
	err = sd_event_add_io(loop, &acceptor->io, fd, EPOLLIN, on_ready, acceptor);
	if (err < 0)
		goto out;
	err = sd_event_add_time(loop, &acceptor->pause, CLOCK_MONOTONIC, 0, 0, on_pause_end, acceptor);
	if (err < 0)
		goto out;
	err = sd_event_source_set_enabled(acceptor->pause, SD_EVENT_OFF);
out:
	if (err < 0) {
		eb_acceptor_close(acceptor);
		return err;
	}
	*out = acceptor;
	return 0;
}

int eb_acceptor_open_unix(sd_event *loop, const struct sockaddr_un *address, int type, mode_t mode, int backlog,
			  eb_acceptor_accepted accepted, void *arg, struct eb_acceptor **out)
{
	const char *path = address->sun_path;
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	(void)unlink(path);
	/* No umask(), which the thread of the embedded store shares. No client can connect before it listens. */
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 || chmod(path, mode) < 0 ||
	    listen(fd, backlog) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return eb_acceptor_open(loop, fd, path, accepted, arg, out);
}

void eb_acceptor_close(struct eb_acceptor *acceptor)
{
	if (!acceptor)
		return;
	sd_event_source_disable_unref(acceptor->io);
	sd_event_source_disable_unref(acceptor->pause);
	close(acceptor->fd);
	free(acceptor->name);
	free(acceptor);
}
