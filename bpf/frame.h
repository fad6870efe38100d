/* SPDX-License-Identifier: GPL-2.0-only */
/* A frame in the kernel -> struct eb_packet: parse.h, in parts that the verifier follows one by one. */
#ifndef EB_FRAME_H
#define EB_FRAME_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "inner.h"
#include "parse.h"

/* Multi-buffer frames need Linux 5.18; the agent clears this on older kernels, where no frame has a second buffer. */
const volatile bool multi_buffer = true;

/* Frames begin with an Ethernet header. The agent clears this for devices where they begin with IP: a program of their
 * own, so that the others pay nothing for it. */
const volatile bool ethernet = true;

/* Further into a frame, no header is looked for: the verifier wants a bound. */
#define MAX_OFFSET 0x3fff

/* Drivers fill the first buffer, which is never shorter than this, before they begin a second one. Asking for the
 * length of every frame would cost small ones a tenth of their time. Those that split frames behind the headers are
 * found out by parse_split(). */
#define FIRST_BUFFER_MIN 512

static __always_inline __u32 frame_len(struct xdp_md *ctx)
{
	__u32 first = ctx->data_end - ctx->data;

	return multi_buffer && first >= FIRST_BUFFER_MIN ? bpf_xdp_get_buff_len(ctx) : first;
}

/* Walks over extension headers, see eb_walk. Global to the verifier. */
__noinline int parse_extensions(struct xdp_md *ctx, struct eb_packet *packet, __u32 offset, __u32 left, __u8 fragment)
{
	struct eb_cursor cursor = { .left = left, .fragment = fragment };
	enum eb_parsed parsed;

	if (!packet || offset > MAX_OFFSET)
		return EB_PARSED_MALFORMED;
	cursor.pos = (void *)(long)ctx->data + offset;
	cursor.end = (void *)(long)ctx->data_end;
	parsed = eb_parse_extensions(&cursor, packet);
	return parsed | (__u32)(cursor.pos - (void *)(long)ctx->data) << EB_PARSED_BITS;
}

static __always_inline enum eb_parsed parse_by_len(struct xdp_md *ctx, struct eb_packet *packet)
{
	void *data = (void *)(long)ctx->data;
	struct eb_cursor cursor;
	enum eb_parsed parsed = eb_parse_headers(data, (void *)(long)ctx->data_end, ethernet, &cursor, packet);

	if (parsed != EB_PARSED_EXTENSIONS)
		return parsed;
	return parse_extensions(ctx, packet, cursor.pos - data, cursor.left, cursor.fragment) & EB_PARSED_MASK;
}

/* A frame that is longer than its short first buffer seemed malformed: parses it again, by its whole length. */
__noinline int parse_split(struct xdp_md *ctx, struct eb_packet *packet)
{
	__u32 len;

	/* Verifiers before 6.8 also check global functions that are never called. */
	if (!multi_buffer || !packet)
		return EB_PARSED_MALFORMED;
	len = bpf_xdp_get_buff_len(ctx);
	if (len <= packet->len)
		return EB_PARSED_MALFORMED;
	eb_clear_packet(packet, len);
	return parse_by_len(ctx, packet);
}

static __always_inline enum eb_parsed parse(struct xdp_md *ctx, struct eb_packet *packet)
{
	enum eb_parsed parsed = parse_by_len(ctx, packet);

	return parsed == EB_PARSED_MALFORMED ? parse_split(ctx, packet) : parsed;
}

#endif
