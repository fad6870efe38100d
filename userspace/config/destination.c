// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "config/destination.h"

const char *const eb_also_names[EB_ALSOS] = {
	[EB_ALSO_NONE] = "none",
	[EB_ALSO_DST] = "dst",
	[EB_ALSO_DPORT] = "dport",
};

char *eb_destination_print(int family, const struct eb_destination *target, char out[EB_DESTINATION_TEXT_MAX])
{
	uint16_t port;

	out[0] = '\0';
	if (target->also)
		strcpy(out, ">");
	if (target->also == EB_ALSO_DST)
		inet_ntop(family == 4 ? AF_INET : AF_INET6, target->to, out + 1, EB_DESTINATION_TEXT_MAX - 1);
	if (target->also == EB_ALSO_DPORT) {
		memcpy(&port, target->to, sizeof(port));
		snprintf(out + 1, EB_DESTINATION_TEXT_MAX - 1, "%u", ntohs(port));
	}
	return out;
}

/* One way to write each number. */
static bool parse_port(const char *text, uint8_t to[16])
{
	uint32_t port = 0;
	uint16_t net;

	if (!*text || strlen(text) > 5 || (*text == '0' && text[1]))
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		port = 10 * port + (*text - '0');
	net = htons(port);
	memcpy(to, &net, sizeof(net));
	return !*text && port <= UINT16_MAX;
}

int eb_destination_parse(int family, const char *text, size_t len, struct eb_destination *out)
{
	struct eb_destination target = { .also = EB_ALSO_NONE };
	char copy[EB_DESTINATION_TEXT_MAX];

	if (len) {
		if (*text != '>' || len >= sizeof(copy))
			return -EINVAL;
		memcpy(copy, text + 1, len - 1);
		copy[len - 1] = '\0';
		target.also = strpbrk(copy, ".:") ? EB_ALSO_DST : EB_ALSO_DPORT;
		if (target.also == EB_ALSO_DST ? inet_pton(family == 4 ? AF_INET : AF_INET6, copy, target.to) != 1
					       : !parse_port(copy, target.to))
			return -EINVAL;
	}
	*out = target;
	return 0;
}
