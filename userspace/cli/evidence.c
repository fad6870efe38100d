// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/evidence.h"
#include "cli/pcapng.h"

/* Events whose frame did not come yet. Each CPU sends its frame right behind, so few wait at a time. */
#define EXPECTED_MAX 256

#define INTERFACES_MAX 256

struct expected {
	uint64_t time_ns; /* 0 for none */
	char comment[192];
};

struct interface {
	uint32_t ifindex;
	uint8_t ethernet;
};

struct evidence {
	FILE *out;
	uint32_t snaplen;
	struct expected expected[EXPECTED_MAX]; /* the oldest is overwritten */
	size_t next;
	struct interface interfaces[INTERFACES_MAX]; /* in the order of the file */
	size_t interface_count;
};

/* A descriptor of its own, so that evidence_close() leaves standard output open. */
static int open_output(const char *path)
{
	if (!strcmp(path, "-"))
		return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

enum cli_result evidence_open(const char *path, uint32_t snaplen, struct evidence **out)
{
	struct evidence *evidence;
	int fd, err;

	if (!strcmp(path, "-") && isatty(STDOUT_FILENO))
		return cli_fail("standard output is a terminal; write the packets to a file or a pipe");
	fd = open_output(path);
	if (fd < 0)
		return cli_fail("%s: %s", path, strerror(errno));
	evidence = calloc(1, sizeof(*evidence));
	if (evidence)
		evidence->out = fdopen(fd, "w");
	if (!evidence || !evidence->out) {
		free(evidence);
		close(fd);
		return cli_fail("%s", strerror(ENOMEM));
	}
	evidence->snaplen = snaplen;
	err = pcapng_begin(evidence->out, "edgebucket " EB_VERSION);
	if (err) {
		(void)evidence_close(evidence);
		return cli_fail("%s: %s", path, strerror(-err));
	}
	*out = evidence;
	return CLI_DONE;
}

void evidence_expect(struct evidence *evidence, const struct eb_event *event, const char *comment)
{
	struct expected *expected = &evidence->expected[evidence->next++ % EXPECTED_MAX];

	expected->time_ns = event->time_ns;
	snprintf(expected->comment, sizeof(expected->comment), "%s", comment);
}

static struct expected *find_expected(struct evidence *evidence, uint64_t time_ns)
{
	for (size_t i = 0; i < EXPECTED_MAX; i++)
		if (evidence->expected[i].time_ns == time_ns)
			return &evidence->expected[i];
	return NULL;
}

/* Returns the number of an interface in the file, which is added there at first, or negative errno. */
static int interface_of(struct evidence *evidence, const struct eb_frame_sample *sample)
{
	enum pcapng_link link = sample->ethernet ? PCAPNG_ETHERNET : PCAPNG_RAW_IP;
	struct interface interface = { sample->ifindex, sample->ethernet };
	char name[IF_NAMESIZE];
	int err;

	for (size_t i = 0; i < evidence->interface_count; i++)
		if (evidence->interfaces[i].ifindex == interface.ifindex &&
		    evidence->interfaces[i].ethernet == interface.ethernet)
			return i;
	if (evidence->interface_count == INTERFACES_MAX)
		return -ENOSPC;
	if (!if_indextoname(interface.ifindex, name))
		snprintf(name, sizeof(name), "if%u", interface.ifindex);
	err = pcapng_add_interface(evidence->out, name, link, evidence->snaplen);
	if (err)
		return err;
	evidence->interfaces[evidence->interface_count] = interface;
	return evidence->interface_count++;
}

int evidence_add(struct evidence *evidence, const struct eb_frame_sample *sample, int64_t to_real_time)
{
	struct expected *expected = find_expected(evidence, sample->time_ns);
	struct pcapng_packet packet = {
		.time_ns = sample->time_ns + to_real_time,
		.data = sample->data,
		.size = sample->count,
		.len = sample->len,
	};
	int interface, err;

	if (!expected || !sample->count)
		return 0;
	interface = interface_of(evidence, sample);
	if (interface < 0)
		return interface;
	packet.interface = interface;
	packet.comment = expected->comment;
	err = pcapng_add_packet(evidence->out, &packet);
	expected->time_ns = 0;
	return err ? err : 1;
}

int evidence_close(struct evidence *evidence)
{
	int err = fclose(evidence->out) ? -errno : 0;

	free(evidence);
	return err;
}
