// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/endpoint.h"
#include "config/quantity.h"

#define HOST_NAME_LEN_MAX 253 /* RFC 1035, as text */

static bool is_ipv6(const char *text)
{
	struct in6_addr addr;

	return inet_pton(AF_INET6, text, &addr) == 1;
}

static bool is_name(const char *text)
{
	size_t len = strlen(text);

	if (!len || len > HOST_NAME_LEN_MAX || !isalnum((unsigned char)text[0]))
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("-._", *text))
			return false;
	return true;
}

bool eb_endpoint_is_host(const char *text)
{
	return is_ipv6(text) || is_name(text);
}

static int parse_port(const char *text, uint16_t *out)
{
	uint64_t port;

	if (eb_quantity_integer(text, &port) || port < 1 || port > UINT16_MAX)
		return -EINVAL;
	*out = port;
	return 0;
}

/* Where the host ends. NULL unless the text has the form of an endpoint. */
static const char *find_host(const char **text)
{
	const char *end;

	if (**text != '[')
		return *text + strcspn(*text, ":");
	end = strchr(++*text, ']');
	return end;
}

int eb_endpoint_parse(const char *text, uint16_t default_port, struct eb_endpoint *out)
{
	bool is_bracketed = *text == '[';
	struct eb_endpoint endpoint = { .port = default_port };
	const char *end = find_host(&text), *rest;

	if (!end)
		return -EINVAL;
	rest = end + is_bracketed;
	if (*rest == ':' ? parse_port(rest + 1, &endpoint.port) : *rest || !default_port)
		return -EINVAL;
	endpoint.host = strndup(text, end - text);
	if (!endpoint.host)
		return -ENOMEM;
	if (is_bracketed ? !is_ipv6(endpoint.host) : !is_name(endpoint.host)) {
		eb_endpoint_done(&endpoint);
		return -EINVAL;
	}
	*out = endpoint;
	return 0;
}

void eb_endpoint_done(struct eb_endpoint *endpoint)
{
	free(endpoint->host);
	endpoint->host = NULL;
}

struct eb_endpoint_text eb_endpoint_text(const char *host, uint16_t port)
{
	struct eb_endpoint_text out;

	snprintf(out.text, sizeof(out.text), strchr(host, ':') ? "[%.255s]:%u" : "%.255s:%u", host, port);
	return out;
}
