// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames: the parser of the XDP program must say what the plain one does. Three bytes come first: how much of the frame
 * is in the first buffer, and how much more there is in others.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/plain_parse.h"

#define HEAD 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct eb_packet is = { 0 }, should = { 0 };
	size_t cut, first;
	uint8_t *buffer;
	int is_parsed, should_parsed;

	if (size < HEAD)
		return 0;
	cut = data[0];
	first = size - HEAD > cut ? size - HEAD - cut : 0;
	is.len = should.len = size - HEAD + (data[1] << 8 | data[2]) * 2;
	/* Of its exact size, so that a sanitizer sees every byte too far; IP headers aligned as in the kernel. */
	buffer = malloc(first + 2);
	if (!buffer)
		abort();
	memcpy(buffer + 2, data + HEAD, first);
	is_parsed = eb_parse_frame(buffer + 2, buffer + 2 + first, &is);
	should_parsed = plain_frame(buffer + 2, first, should.len, &should);
	if (is_parsed != should_parsed || (is_parsed == EB_PARSED_IP && !is_equal(&is, &should))) {
		fprintf(stderr, "%zu of %u bytes: result %d, family %d, l4 %d, proto %d, port %d; "
				"should be %d, %d, %d, %d, %d\n", first, is.len, is_parsed, is.family, is.l4, is.proto,
			is.dport, should_parsed, should.family, should.l4, should.proto, should.dport);
		abort();
	}
	free(buffer);
	return 0;
}
