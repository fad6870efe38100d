// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/prefix.h"

#define MAPPED_LEN 96 /* of ::ffff:0:0/96 */

static int refuse(struct eb_prefix_error *error, const char *text)
{
	snprintf(error->text, sizeof(error->text), "%s", text);
	return -EINVAL;
}

static unsigned int bits_of(const struct eb_prefix *prefix)
{
	return prefix->family == 4 ? 32 : 128;
}

/* Digits up to `max`, without leading zeros. */
static int parse_len(const char *text, unsigned int max, uint8_t *out)
{
	unsigned int len = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		len = 10 * len + (*text - '0');
		if (len > max)
			return -EINVAL;
	}
	*out = len;
	return 0;
}

/* Returns whether a bit was set that the prefix length does not cover. */
static bool clear_host_bits(struct eb_prefix *prefix)
{
	bool was_set = false;

	for (unsigned int i = prefix->len / 8; i < bits_of(prefix) / 8; i++) {
		uint8_t keep = i == prefix->len / 8u ? 0xff00 >> prefix->len % 8 : 0;

		was_set |= prefix->addr[i] & ~keep;
		prefix->addr[i] &= keep;
	}
	return was_set;
}

/* 192.000.002.010, as lists pad it: three decimal digits each. Fewer, as in 010.1.2.3, would be octal to some readers,
 * and are refused. Returns false where it is not of this form. */
static bool parse_padded(const char *text, size_t len, uint8_t addr[4])
{
	if (len != 15)
		return false;
	for (int i = 0; i < 4; i++, text += 4) {
		unsigned int octet = 0;

		for (int digit = 0; digit < 3; digit++) {
			if (text[digit] < '0' || text[digit] > '9')
				return false;
			octet = 10 * octet + (text[digit] - '0');
		}
		if (octet > 255 || (i < 3 && text[3] != '.'))
			return false;
		addr[i] = octet;
	}
	return true;
}

/* Sets family and address. */
static int parse_addr(const char *text, size_t len, struct eb_prefix *out)
{
	char addr[INET6_ADDRSTRLEN];

	out->family = memchr(text, ':', len) ? 6 : 4;
	if (out->family == 4 && parse_padded(text, len, out->addr))
		return 0;
	if (len >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text, len);
	addr[len] = '\0';
	return inet_pton(out->family == 6 ? AF_INET6 : AF_INET, addr, out->addr) == 1 ? 0 : -EINVAL;
}

/* What lies within ::ffff:0:0/96 is IPv4, which is how packets have it. The whole of it, as lists of bogons name it, is
 * not meant as the whole of IPv4. */
static void unmap(struct eb_prefix *prefix)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (prefix->family != 6 || prefix->len <= MAPPED_LEN || memcmp(prefix->addr, mapped, sizeof(mapped)))
		return;
	prefix->family = 4;
	prefix->len -= MAPPED_LEN;
	memmove(prefix->addr, prefix->addr + sizeof(mapped), 4);
	memset(prefix->addr + 4, 0, sizeof(mapped));
}

int eb_prefix_parse(const char *text, struct eb_prefix *out, struct eb_prefix_error *error)
{
	const char *slash = strchr(text, '/');
	struct eb_prefix prefix = { 0 };
	char right[EB_PREFIX_TEXT_MAX];

	if (parse_addr(text, slash ? (size_t)(slash - text) : strlen(text), &prefix))
		return refuse(error, "is not a prefix; write it like 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32");
	prefix.len = bits_of(&prefix);
	if (slash && parse_len(slash + 1, prefix.len, &prefix.len))
		return refuse(error, prefix.family == 4 ? "has no valid prefix length; from /0 to /32" :
							  "has no valid prefix length; from /0 to /128");
	if (clear_host_bits(&prefix)) {
		snprintf(error->text, sizeof(error->text), "has bits set beyond its length; did you mean %s?",
			 eb_prefix_print(&prefix, right));
		return -EINVAL;
	}
	unmap(&prefix);
	*out = prefix;
	return 0;
}

char *eb_prefix_print(const struct eb_prefix *prefix, char out[EB_PREFIX_TEXT_MAX])
{
	size_t len;

	inet_ntop(prefix->family == 4 ? AF_INET : AF_INET6, prefix->addr, out, INET6_ADDRSTRLEN);
	len = strlen(out);
	snprintf(out + len, EB_PREFIX_TEXT_MAX - len, "/%u", prefix->len);
	return out;
}

int eb_prefix_compare(const struct eb_prefix *a, const struct eb_prefix *b)
{
	int order = a->family - b->family;

	if (!order)
		order = memcmp(a->addr, b->addr, sizeof(a->addr));
	return order ? order : a->len - b->len;
}

bool eb_prefix_overlaps(int family, const uint8_t *addr, int len, const struct eb_prefix *with)
{
	int common = len < with->len ? len : with->len;
	uint8_t last = 0xff00 >> common % 8;

	if (family != with->family || memcmp(addr, with->addr, common / 8))
		return false;
	return !(common % 8) || !((addr[common / 8] ^ with->addr[common / 8]) & last);
}

/* The room is the power of two that holds the count: it grows when the count reaches one. */
int eb_prefix_list_add(struct eb_prefix_list *list, const struct eb_prefix *prefix)
{
	struct eb_prefix *items;

	if (list->count >= EB_PREFIX_LIST_MAX)
		return -E2BIG;
	if (!(list->count & (list->count - 1))) {
		items = reallocarray(list->items, list->count ? 2 * list->count : 1, sizeof(*items));
		if (!items)
			return -ENOMEM;
		list->items = items;
	}
	list->items[list->count++] = *prefix;
	return 0;
}

/* --- ranges --- */

typedef unsigned __int128 wide;

static wide number_of(const struct eb_prefix *addr)
{
	wide number = 0;

	for (unsigned int i = 0; i < bits_of(addr) / 8; i++)
		number = number << 8 | addr->addr[i];
	return number;
}

static struct eb_prefix prefix_of(wide number, uint8_t family, unsigned int host_bits)
{
	struct eb_prefix prefix = { .family = family };
	unsigned int bits = bits_of(&prefix);

	prefix.len = bits - host_bits;
	for (unsigned int i = bits / 8; i-- > 0; number >>= 8)
		prefix.addr[i] = number & 0xff;
	return prefix;
}

static wide host_mask(unsigned int bits)
{
	return bits == 128 ? ~(wide)0 : ((wide)1 << bits) - 1;
}

/* As few prefixes as possible: each the largest that begins at `first` and does not pass `last`. */
static int add_range(struct eb_prefix_list *list, uint8_t family, wide first, wide last)
{
	unsigned int most = family == 4 ? 32 : 128;

	for (;;) {
		unsigned int bits = 0;
		struct eb_prefix prefix;
		int err;

		while (bits < most && !(first & host_mask(bits + 1)) && (first | host_mask(bits + 1)) <= last)
			bits++;
		prefix = prefix_of(first, family, bits);
		err = eb_prefix_list_add(list, &prefix);
		if (err)
			return err;
		first |= host_mask(bits);
		if (first == last)
			return 0;
		first++;
	}
}

/* One end of a range, with spaces around it. */
static int parse_end(const char *text, const char *end, struct eb_prefix *out)
{
	*out = (struct eb_prefix){ 0 };
	while (text < end && strchr(" \t", *text))
		text++;
	while (end > text && strchr(" \t", end[-1]))
		end--;
	if (parse_addr(text, end - text, out))
		return -EINVAL;
	out->len = bits_of(out);
	unmap(out);
	return 0;
}

static int parse_range(struct eb_prefix_list *list, const char *text, const char *dash, struct eb_prefix_error *error)
{
	struct eb_prefix first, last;

	if (parse_end(text, dash, &first) || parse_end(dash + 1, dash + strlen(dash), &last))
		return refuse(error, "is not a range; write both addresses out, like 192.0.2.0-192.0.2.99");
	if (first.family != last.family)
		return refuse(error, "is not a range; both addresses are to be of one family");
	if (number_of(&first) > number_of(&last))
		return refuse(error, "is not a range; the lower address comes first");
	return add_range(list, first.family, number_of(&first), number_of(&last));
}

int eb_prefix_list_parse(struct eb_prefix_list *list, const char *text, struct eb_prefix_error *error)
{
	const char *dash = strchr(text, '-');
	struct eb_prefix prefix;

	if (dash)
		return parse_range(list, text, dash, error);
	if (eb_prefix_parse(text, &prefix, error))
		return -EINVAL;
	return eb_prefix_list_add(list, &prefix);
}

void eb_prefix_list_done(struct eb_prefix_list *list)
{
	free(list->items);
	*list = (struct eb_prefix_list){ 0 };
}
