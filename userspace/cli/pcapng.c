// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>

#include "cli/pcapng.h"

/* Block types, options and constants of the format. */
#define SECTION_HEADER 0x0a0d0d0a
#define INTERFACE_DESCRIPTION 1
#define ENHANCED_PACKET 6
#define BYTE_ORDER_MAGIC 0x1a2b3c4d
#define LENGTH_UNKNOWN UINT64_MAX
#define OPTION_COMMENT 1
#define OPTION_APPLICATION 4 /* of a section */
#define OPTION_NAME 2        /* of an interface */
#define OPTION_RESOLUTION 9  /* of an interface's times */
#define RESOLUTION_NS 9

/* A block is its type, its length, a body, and its length again; everything is padded to 32 bits. */
#define BLOCK_FRAME 12

struct option {
	uint16_t code;
	const void *value;
	size_t size;
};

static size_t padded(size_t size)
{
	return (size + 3) & ~(size_t)3;
}

static void put(FILE *out, const void *data, size_t size)
{
	static const char zero[4];

	if (size)
		fwrite(data, 1, size, out);
	fwrite(zero, 1, padded(size) - size, out);
}

static void put32(FILE *out, uint32_t value)
{
	put(out, &value, sizeof(value));
}

static size_t options_size(const struct option *options, size_t count)
{
	size_t size = 4; /* of what ends them */

	for (size_t i = 0; i < count; i++)
		size += 4 + padded(options[i].size);
	return size;
}

static void put_options(FILE *out, const struct option *options, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint16_t head[2] = { options[i].code, options[i].size };

		put(out, head, sizeof(head));
		put(out, options[i].value, options[i].size);
	}
	put32(out, 0);
}

/* Writes a block: the fixed part, data behind it, and options. */
static int put_block(FILE *out, uint32_t type, const void *fixed, size_t fixed_size, const void *data, size_t size,
		     const struct option *options, size_t count)
{
	uint32_t total = BLOCK_FRAME + fixed_size + padded(size) + options_size(options, count);

	put32(out, type);
	put32(out, total);
	put(out, fixed, fixed_size);
	put(out, data, size);
	put_options(out, options, count);
	put32(out, total);
	if (fflush(out) || ferror(out))
		return errno ? -errno : -EIO;
	return 0;
}

int pcapng_begin(FILE *out, const char *application)
{
	const struct {
		uint32_t magic;
		uint16_t major, minor;
		uint64_t len;
	} __attribute__((packed)) header = { BYTE_ORDER_MAGIC, 1, 0, LENGTH_UNKNOWN };
	const struct option option = { OPTION_APPLICATION, application, strlen(application) };

	return put_block(out, SECTION_HEADER, &header, sizeof(header), NULL, 0, &option, 1);
}

int pcapng_add_interface(FILE *out, const char *name, enum pcapng_link link, uint32_t snaplen)
{
	static const uint8_t resolution = RESOLUTION_NS;
	const struct {
		uint16_t link, reserved;
		uint32_t snaplen;
	} description = { link, 0, snaplen };
	const struct option options[] = {
		{ OPTION_NAME, name, strlen(name) },
		{ OPTION_RESOLUTION, &resolution, sizeof(resolution) },
	};

	return put_block(out, INTERFACE_DESCRIPTION, &description, sizeof(description), NULL, 0, options, 2);
}

int pcapng_add_packet(FILE *out, const struct pcapng_packet *packet)
{
	const uint32_t fixed[] = {
		packet->interface, packet->time_ns >> 32, packet->time_ns, packet->size, packet->len,
	};
	const struct option option = { OPTION_COMMENT, packet->comment, strlen(packet->comment) };

	return put_block(out, ENHANCED_PACKET, fixed, sizeof(fixed), packet->data, packet->size, &option, 1);
}
