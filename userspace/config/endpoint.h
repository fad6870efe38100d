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

/* An address or a host name. */
bool eb_endpoint_is_host(const char *text);

/* `default_port` 0 asks for one in the text. Returns 0, -EINVAL or -ENOMEM. */
int eb_endpoint_parse(const char *text, uint16_t default_port, struct eb_endpoint *out);
void eb_endpoint_done(struct eb_endpoint *endpoint);

struct eb_endpoint_text {
	char text[272];
};

/* The other way round; a host of more than 255 characters is cut. By value, so that eb_endpoint_text(h, p).text serves
 * as an argument of printf. */
struct eb_endpoint_text eb_endpoint_text(const char *host, uint16_t port);

#endif
