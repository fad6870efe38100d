// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients of the control socket that send any packets, with files or without, and come and go as they like. What the
 * server hands on is a text within its bounds; some requests are answered at once, some later, some when their client
 * has gone. The same clients at json.sock, whose answers are lines. No file stays open.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/control_server.h"
#include "agent/line_server.h"
#include "endpoint.h"
#include "ipc/control.h"

#define PUT_OFF_MAX 64
#define DESCRIPTORS_MAX 64

static struct eb_control_server *server; /* for the life of the process */
static struct eb_line_server *lines;     /* likewise */
static eb_control_client put_off[PUT_OFF_MAX];
static size_t put_off_count;
static eb_line_client line_put_off[PUT_OFF_MAX];
static size_t line_put_off_count;

static json_t *answer(void)
{
	return json_pack("{s:b}", "ok", 1);
}

static void answer_put_off(void)
{
	while (put_off_count)
		eb_control_reply(server, put_off[--put_off_count], answer());
	while (line_put_off_count)
		eb_line_server_reply(lines, line_put_off[--line_put_off_count], answer());
}

static bool on_request(const char *request, int file, eb_control_client client, void *arg, json_t **reply)
{
	(void)arg;
	if (file != -1 && fcntl(file, F_GETFD) < 0)
		abort();
	if (strlen(request) > EB_CONTROL_REQUEST_MAX)
		abort();
	if (!strcmp(request, "flush") && put_off_count < PUT_OFF_MAX) {
		put_off[put_off_count++] = client;
		return false;
	}
	if (!strcmp(request, "reset"))
		return true; /* for want of memory */
	if (!strcmp(request, "reload"))
		answer_put_off();
	*reply = answer();
	return true;
}

static void on_line(const char *line, eb_line_client client, void *arg)
{
	(void)arg;
	if (strlen(line) > EB_LINE_MAX || strchr(line, '\n'))
		abort();
	if (*line == 'f' && line_put_off_count < PUT_OFF_MAX) {
		line_put_off[line_put_off_count++] = client;
		return;
	}
	eb_line_server_reply(lines, client, *line == 'r' ? NULL : answer()); /* for want of memory */
}

static void on_received(const char *text, size_t len)
{
	json_t *reply = json_loadb(text, len, 0, NULL);
	json_t *ok = json_object_get(reply, "ok");

	if (!json_is_true(ok) && !(json_is_false(ok) && json_is_string(json_object_get(reply, "error"))))
		abort();
	json_decref(reply);
}

static void on_lines(const char *text, size_t len)
{
	const char *end = text + len, *newline;

	for (; text < end; text = newline + 1) {
		newline = memchr(text, '\n', end - text);
		if (!newline)
			abort();
		on_received(text, newline - text);
	}
}

static int count_descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < DESCRIPTORS_MAX; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void run(const uint8_t *data, size_t size)
{
	endpoint_run(EB_CONTROL_SOCKET, SOCK_SEQPACKET, data, size, on_received);
	answer_put_off();
	endpoint_run(EB_JSON_SOCKET, SOCK_STREAM, data, size, on_lines);
	answer_put_off();
}

static void close_servers(void)
{
	eb_line_server_close(lines);
	eb_control_server_close(server);
}

static void start(void)
{
	static const char first[] = "~0status";

	if (eb_control_server_open(endpoint_loop(), endpoint_dir(), on_request, NULL, &server) ||
	    eb_line_server_open(endpoint_loop(), endpoint_dir(), NULL, on_line, NULL, &lines))
		abort();
	atexit(close_servers);
	/* The loop opens its timer with the first client. */
	run((const uint8_t *)first, strlen(first));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int before;

	if (!server)
		start();
	before = count_descriptors();
	run(data, size);
	if (count_descriptors() != before)
		abort();
	return 0;
}
