// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients of the metrics endpoint that send any bytes, in any pieces, and come and go as they like. The handler answers
 * with the path that it got, so that every byte of it is looked at on its way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/http_server.h"
#include "endpoint.h"

static void on_request(const char *path, struct eb_http_reply *reply, void *arg)
{
	(void)arg;
	if (strcmp(path, "/metrics")) {
		reply->status = 404;
		fprintf(reply->body, "%s\n", path);
		return;
	}
	/* Longer than what a socket takes at once. */
	for (int i = 0; i < 5000; i++)
		fprintf(reply->body, "edgebucket_packets_total{rule=\"everyone\",verdict=\"drop\"} %d\n", i);
}

static void on_received(const char *text, size_t len)
{
	(void)text;
	(void)len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct eb_http_server *server; /* for the life of the process */
	char address[80], *error;

	snprintf(address, sizeof(address), "unix:%s/http.sock", endpoint_dir());
	if (!server && eb_http_server_open(endpoint_loop(), address, NULL, on_request, NULL, &server, &error))
		abort();
	endpoint_run("http.sock", SOCK_STREAM, data, size, on_received);
	return 0;
}
