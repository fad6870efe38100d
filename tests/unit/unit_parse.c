// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parser of the XDP program against the plain one of plain_parse.h: over frames made at random, mostly well-formed
 * ones, each in a buffer of its exact size, so that a sanitizer sees every byte too far.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plain_parse.h"
#include "random.h"

#define FRAMES 1500000
#define FRAME_MAX 12000

/* --- Frames at random --- */

struct maker {
	uint8_t data[FRAME_MAX + 64]; /* what is written to later may begin at the end */
	size_t len;
	size_t pppoe_at; /* of its length; 0 without PPPoE */
	int tunnels;     /* that may still come, one in the other */
};

static void put(struct maker *maker, unsigned int byte)
{
	if (maker->len < FRAME_MAX)
		maker->data[maker->len++] = byte;
}

static void put_word(struct maker *maker, unsigned int word)
{
	put(maker, word >> 8);
	put(maker, word);
}

static void put_random(struct maker *maker, size_t count)
{
	while (count--)
		put(maker, draw());
}

static unsigned int draw_proto(void)
{
	static const uint8_t protos[] = { 0, 43, 44, 51, 60, 0, 43, 44, 51, 60, 4, 41, 47,
					  6, 17, 17, 33, 132, 136, 1, 58, 59, 50, 17 };

	return one_in(16) ? draw() & 255 : protos[draw() % sizeof(protos)];
}

static unsigned int draw_fragment(void)
{
	static const uint16_t words[] = { 0, 0, 1, 0x2000, 0x4000, 8, 9, 0x1fff, 0x2001, 6 };

	return one_in(8) ? draw() & 0xffff : words[draw() % 10];
}

/* What comes first. Returns whether IPv4 is to follow. */
static bool put_ethernet(struct maker *maker)
{
	static const uint16_t types[] = { 0x0800, 0x86dd, 0x86dd, 0x86dd, 0x0806 };
	static const uint16_t tags[] = { 0x8100, 0x88a8, 0x9100, 0x9200 };
	unsigned int type = one_in(50) ? draw() & 0xffff : types[draw() % (one_in(50) ? 5 : 4)];

	put_random(maker, 12);
	for (int count = draw() % 8; count > 4; count--) {
		put_word(maker, tags[draw() % 4]);
		put_random(maker, 2);
	}
	if (!one_in(6)) {
		put_word(maker, type);
		return type == 0x0800;
	}
	put_word(maker, 0x8864);
	put_word(maker, 0x1100);
	put_word(maker, draw());
	maker->pppoe_at = maker->len;
	put_word(maker, 0);
	put_word(maker, one_in(20) ? draw() & 0xffff : type == 0x0800 ? 0x0021 : 0x0057);
	/* Compressed to one byte. */
	if (one_in(20))
		maker->data[maker->len - 2] = maker->data[maker->len - 1];
	return type == 0x0800;
}

/* The length of PPPoE, mostly right. */
static void end_pppoe(struct maker *maker)
{
	size_t len = maker->len - maker->pppoe_at - 2;

	if (!maker->pppoe_at)
		return;
	if (one_in(10))
		len = one_in(2) ? len + draw() % 5 : draw() % (len + 2);
	maker->data[maker->pppoe_at] = len >> 8;
	maker->data[maker->pppoe_at + 1] = len;
}

static void put_packet(struct maker *maker, unsigned int type);

static unsigned int draw_type(void)
{
	static const uint16_t types[] = { 0x0800, 0x86dd, 0x6558, 0x6558 };

	return one_in(20) ? draw() & 0xffff : types[draw() % 4];
}

static void put_gre(struct maker *maker)
{
	static const uint16_t words[] = { 0, 0x8000, 0x2000, 0x1000, 0xb000, 0x03f8, 0x4000, 0x0800, 0x0400, 1 };
	unsigned int flags = words[draw() % (one_in(4) ? 10 : 6)], type = draw_type();

	put_word(maker, flags);
	put_word(maker, type);
	for (int bit = 12; bit <= 15; bit++)
		if (bit != 14 && flags >> bit & 1)
			put_random(maker, 4);
	put_packet(maker, type);
}

static void put_gue(struct maker *maker)
{
	unsigned int words = one_in(20) ? draw() & 255 : draw() % 4, type = one_in(2) ? 0x0800 : 0x86dd;

	if (!one_in(4)) {
		put(maker, words);
		put(maker, one_in(20) ? draw() : type == 0x0800 ? 4 : 41);
		put_random(maker, 2 + 4 * words);
	}
	put_packet(maker, type);
}

static void put_vxlan(struct maker *maker)
{
	put(maker, one_in(8) ? draw() : 8);
	put_random(maker, 7);
	put_packet(maker, 0x6558);
}

static void put_geneve(struct maker *maker)
{
	unsigned int words = one_in(20) ? draw() & 255 : draw() % 4, type = draw_type();

	put(maker, words);
	put(maker, one_in(8) ? draw() : 0x40);
	put_word(maker, type);
	put_random(maker, 4 + 4 * words);
	put_packet(maker, type);
}

/* Of UDP, one to a tunnel's port. */
static void put_udp_tunnel(struct maker *maker)
{
	static void (*const puts[])(struct maker *maker) = { put_gue, put_vxlan, put_geneve };
	static const uint16_t ports[] = { GUE_PORT, VXLAN_PORT, GENEVE_PORT };
	int which = draw() % 3;

	put_random(maker, 2);
	put_word(maker, ports[which]);
	put_random(maker, 4);
	puts[which](maker);
}

/* A packet in a packet. */
static void put_tunnel(struct maker *maker, unsigned int proto)
{
	maker->tunnels--;
	if (proto == 47)
		put_gre(maker);
	else if (proto == 17)
		put_udp_tunnel(maker);
	else
		put_packet(maker, proto == 4 ? 0x0800 : 0x86dd);
}

static void put_chain(struct maker *maker, unsigned int proto)
{
	for (int i = draw() % 12; i && is_extension(proto); i--) {
		unsigned int len = one_in(20) ? draw() & 255 : draw() % 3;

		size_t more = proto == 51 ? 4 * len : proto == 44 ? 0 : 8 * len;

		proto = draw_proto();
		put(maker, proto);
		put(maker, len);
		put_word(maker, draw_fragment());
		put_random(maker, 4 + more);
	}
	if (maker->tunnels && (proto == 4 || proto == 41 || proto == 47 || proto == 17))
		put_tunnel(maker, proto);
	else
		put_random(maker, draw() % (one_in(10) ? 2000 : 40));
}

static void put_ip4(struct maker *maker)
{
	size_t at = maker->len, len;
	unsigned int options = one_in(3) ? draw() % 11 : 0, proto = one_in(4) ? 51 : draw_proto();

	put(maker, one_in(50) ? draw() : 0x45 + options);
	put(maker, 0);
	put_word(maker, 0);
	put_word(maker, draw());
	put_word(maker, draw_fragment());
	put(maker, one_in(4) ? 1 : 64);
	put(maker, proto);
	put_random(maker, 10 + 4 * options);
	put_chain(maker, proto == 51 || !is_extension(proto) ? proto : 59);
	len = maker->len - at;
	if (one_in(10))
		len = one_in(2) ? len + draw() % 5 : draw() % (len + 2);
	maker->data[at + 2] = len >> 8;
	maker->data[at + 3] = len;
}

static void put_ip6(struct maker *maker)
{
	size_t at = maker->len, len;
	unsigned int proto = draw_proto();
	bool is_nd = one_in(10);

	put_word(maker, one_in(50) ? draw() : 0x6000);
	put_word(maker, 0);
	put_word(maker, 0);
	put(maker, is_nd ? 58 : proto);
	put(maker, is_nd || one_in(10) ? 255 : 64);
	put_random(maker, 32);
	if (is_nd)
		put(maker, 131 + draw() % 9);
	put_chain(maker, is_nd ? 58 : proto);
	len = maker->len - at - 40;
	if (one_in(10))
		len = one_in(2) ? len + draw() % 5 : draw() % (len + 2);
	maker->data[at + 4] = len >> 8;
	maker->data[at + 5] = len;
}

/* IGMP and MLD; a byte that is wrong comes in later, at times. */
static void put_group(struct maker *maker, bool is_ip4)
{
	static const uint8_t igmp[] = { 0x46, 0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 1,
					224, 0, 0, 22, 0x94, 4, 0, 0, 0x22, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t mld[] = { 0x60, 0, 0, 0, 0, 16, 0, 1, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0,
				       0, 0, 0, 0, 7, 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
				       0, 22, 58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t types[] = { 130, 131, 132, 143, 129, 133 };
	static const uint8_t pad_first[] = { 1, 0, 5, 2, 0, 0 }; /* options: padding, then the router alert */
	const uint8_t *from = is_ip4 ? igmp : mld;
	size_t size = is_ip4 ? sizeof(igmp) : sizeof(mld);
	uint8_t *at = maker->data + maker->len;

	for (size_t i = 0; i < size; i++)
		put(maker, from[i]);
	if (is_ip4)
		return;
	at[48] = types[draw() % 6];
	if (one_in(3))
		memset(at + 8, 0, 16);
	if (one_in(3))
		memcpy(at + 42, pad_first, sizeof(pad_first));
}

/* What an EtherType says: IP, or an Ethernet frame. */
static void put_packet(struct maker *maker, unsigned int type)
{
	size_t pppoe_at = maker->pppoe_at;
	bool is_ip4 = type == 0x0800;

	maker->pppoe_at = 0;
	if (type == 0x6558)
		is_ip4 = put_ethernet(maker);
	if (one_in(16))
		put_group(maker, is_ip4);
	else if (is_ip4)
		put_ip4(maker);
	else
		put_ip6(maker);
	end_pppoe(maker);
	maker->pppoe_at = pppoe_at;
}

/* `ethernet` as in eb_parse_frame(). */
static void make_frame(struct maker *maker, bool ethernet)
{
	maker->len = 0;
	maker->pppoe_at = 0;
	maker->tunnels = 2;
	put_packet(maker, ethernet ? 0x6558 : one_in(2) ? 0x0800 : 0x86dd);
	if (one_in(4))
		put_random(maker, draw() % 50);
	if (one_in(6))
		maker->len = draw() % (maker->len + 1);
	for (int i = one_in(8) ? draw() % 8 : 0; i && maker->len; i--)
		maker->data[draw() % maker->len] = draw();
}

/* --- Comparing --- */

static void fail_frame(const uint8_t *data, size_t first, size_t len, const struct eb_packet *is, int is_parsed,
		       const struct eb_packet *should, int should_parsed)
{
	for (size_t i = 0; i < first && i < 400; i++)
		fprintf(stderr, "%02x%s", data[i], i % 32 == 31 ? "\n" : " ");
	fail_msg("%zu of %zu bytes: result %d, l4 %d, proto %d, ports %d %d, fragment %d, detail %d; should be %d, %d, "
		 "%d, %d %d, %d, %d", first, len, is_parsed, is->l4, is->proto, is->sport, is->dport, is->fragment,
		 is->detail, should_parsed, should->l4, should->proto, should->sport, should->dport, should->fragment,
		 should->detail);
}

static unsigned long outcomes[EB_PARSED_GROUP + 1], classes[EB_L4_UNKNOWN + 1], opened;

/* Whether the packet that was seen is one inside another. */
static bool is_inner(uint8_t *data, size_t first, bool ethernet, const struct eb_packet *seen)
{
	struct eb_packet outer = { .len = seen->len };

	return eb_parse_frame(data, data + first, ethernet, &outer) == EB_PARSED_IP && outer.ip_len != seen->ip_len;
}

/* `len` may be more than is there: the rest is in other buffers. */
static void check_frame(const uint8_t *frame, size_t first, size_t len, bool ethernet)
{
	struct eb_packet is = { .len = len, .wants_detail = one_in(2) }, should = is;
	/* IP headers are aligned as in the kernel: behind Ethernet, two bytes off. */
	size_t shift = ethernet ? 2 : 0;
	uint8_t *buffer = malloc(first + shift + 1), *data = buffer + shift;
	int is_parsed, should_parsed;

	assert_non_null(buffer);
	memcpy(data, frame, first);
	is_parsed = program_frame(data, first, ethernet, &is);
	should_parsed = plain_frame(data, first, len, ethernet, &should);
	if (is_parsed != should_parsed || (is_parsed == EB_PARSED_IP && !is_equal(&is, &should)))
		fail_frame(data, first, len, &is, is_parsed, &should, should_parsed);
	outcomes[is_parsed]++;
	if (is_parsed == EB_PARSED_IP) {
		classes[is.l4]++;
		opened += is_inner(data, first, ethernet, &is);
	}
	free(buffer);
}

static void test_random(void **state)
{
	static struct maker maker;

	(void)state;
	for (int i = 0; i < FRAMES; i++) {
		bool ethernet = !one_in(4);

		make_frame(&maker, ethernet);
		check_frame(maker.data, maker.len, maker.len, ethernet);
		if (one_in(4))
			check_frame(maker.data, draw() % (maker.len + 1), maker.len, ethernet);
		if (one_in(4))
			check_frame(maker.data, maker.len, maker.len + draw() % 70000, ethernet);
	}
	/* The frames must not be so random that hardly any gets far. */
	for (int i = 0; i <= EB_PARSED_GROUP; i++)
		assert_true(outcomes[i] > FRAMES / 100);
	for (int i = 0; i <= EB_L4_UNKNOWN; i++)
		assert_true(classes[i] > FRAMES / 100);
	assert_true(opened > FRAMES / 50);
}

/* Every length of a frame with a bit of everything, alone and with the rest in another buffer. */
static void test_every_length(void **state)
{
	static struct maker maker;

	(void)state;
	for (int i = 0; i < 400; i++) {
		bool ethernet = i % 2;

		make_frame(&maker, ethernet);
		for (size_t len = 0; len <= maker.len && len < 400; len++) {
			check_frame(maker.data, len, len, ethernet);
			check_frame(maker.data, len, maker.len, ethernet);
		}
	}
}

/* Frames of noise alone. */
static void test_noise(void **state)
{
	static struct maker maker;

	(void)state;
	for (int i = 0; i < FRAMES / 10; i++) {
		maker.len = 0;
		put_random(&maker, draw() % 200);
		if (maker.len >= 14 && one_in(2))
			memcpy(maker.data + 12, one_in(2) ? "\x08\x00" : "\x86\xdd", 2);
		check_frame(maker.data, maker.len, maker.len, true);
		check_frame(maker.data, maker.len, maker.len, false);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests_name("parse", tests, random_start, NULL);
}
