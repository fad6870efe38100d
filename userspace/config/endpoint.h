/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * "host:port" texts, with IPv6 addresses in brackets: "[2001:db8::1]:6379".
 */
#ifndef EB_ENDPOINT_H
#define EB_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

struct eb_endpoint {
	char *host; /* without brackets; malloc'ed */
	uint16_t port;
};

/* Whether `text` is an IP address or a host name. */
bool eb_endpoint_is_host(const char *text);

/* Parses "host:port". If `default_port` is not 0, the port can be omitted. Returns 0 and an endpoint for
 * eb_endpoint_done(), -EINVAL or -ENOMEM. */
int eb_endpoint_parse(const char *text, uint16_t default_port, struct eb_endpoint *out);
void eb_endpoint_done(struct eb_endpoint *endpoint);

struct eb_endpoint_text {
	char text[272];
};

/* Formats "host:port". Cuts a host of more than 255 characters. The result is a value, so that
 * eb_endpoint_text(h, p).text can be an argument of printf. */
struct eb_endpoint_text eb_endpoint_text(const char *host, uint16_t port);

#endif
