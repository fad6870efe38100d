// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames: the parser of the XDP program must say what the plain one does, of the whole and of what is behind an
 * Ethernet header, of the packets inside tunnels too. Three bytes come first: how much of the frame is in the first
 * buffer, and how much more there is in others.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/plain_parse.h"

#define HEAD 3

/* `first` bytes of `len` are there. */
static void check(const uint8_t *data, size_t first, size_t len, bool ethernet)
{
	struct eb_packet is = { .len = len, .wants_detail = true }, should = is;
	/* Of its exact size, so that a sanitizer sees every byte too far; IP headers aligned as in the kernel. */
	size_t shift = ethernet ? 2 : 0;
	uint8_t *buffer = malloc(first + shift), *frame = buffer + shift;
	int is_parsed, should_parsed;

	if (!buffer && first + shift)
		abort();
	memcpy(frame, data, first);
	is_parsed = program_frame(frame, first, ethernet, &is);
	should_parsed = plain_frame(frame, first, len, ethernet, &should);
	if (is_parsed != should_parsed || (is_parsed == EB_PARSED_IP && !is_equal(&is, &should))) {
		fprintf(stderr, "%zu of %zu bytes: result %d, l4 %d, proto %d, ports %d %d, fragment %d, detail %d; "
				"should be %d, %d, %d, %d %d, %d, %d\n", first, len, is_parsed, is.l4, is.proto,
			is.sport, is.dport, is.fragment, is.detail, should_parsed, should.l4, should.proto,
			should.sport, should.dport, should.fragment, should.detail);
		abort();
	}
	free(buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut, first, len;

	if (size < HEAD)
		return 0;
	cut = data[0];
	first = size - HEAD > cut ? size - HEAD - cut : 0;
	len = size - HEAD + (data[1] << 8 | data[2]) * 2;
	check(data + HEAD, first, len, true);
	if (first >= ETH_HLEN)
		check(data + HEAD + ETH_HLEN, first - ETH_HLEN, len - ETH_HLEN, false);
	return 0;
}
