// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/input.h"
#include "config/config_interfaces.h"
#include "config/config_match.h"
#include "config/inputs.h"
#include "config/prefix.h"
#include "config/prefix_list.h"
#include "config/protocol.h"
#include "config/quantity.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define IP_HEADER_MIN 20
#define LIST_FILES_MAX 32 /* of a rule */

struct match_reader {
	struct eb_config *config;
	struct eb_match *match;
};

/* Of the readers of match_keys, whose `into` is a struct match_reader. */
static struct eb_match *match_of(void *into)
{
	return ((struct match_reader *)into)->match;
}

/* A list, or one item in its place. */
static int read_items(const struct eb_yaml_value *value,
		      int (*read)(const struct eb_yaml_value *item, void *into), void *into)
{
	if (!eb_yaml_is_list(value))
		return read(value, into);
	if (!eb_yaml_list_size(value))
		return eb_yaml_fail(value, "is empty; leave the key out to match any");
	return eb_yaml_read_list(value, read, into);
}

static int read_protocol(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);
	const char *text;
	int err = eb_yaml_text(value, &text), proto;

	if (err)
		return err;
	proto = eb_protocol_parse(text);
	if (proto < 0)
		return eb_yaml_fail(value, "%s is not a protocol; write a name like udp or a number from 0 to 255",
				    eb_input_quote(text).text);
	match->has_proto = true;
	eb_octets_add(&match->protos, proto);
	return 0;
}

static int read_proto(const struct eb_yaml_value *value, void *into)
{
	return read_items(value, read_protocol, into);
}

/* --- ranges --- */

struct number_kind {
	const char *noun, *example;
	uint16_t min, max;
	const char *or_else; /* what else can be written */
};

static const struct number_kind number_kinds[EB_NUMBERS] = {
	[EB_DPORT] = { "port", "1000-2000", 0, UINT16_MAX, "" },
	[EB_SPORT] = { "port", "1000-2000", 0, UINT16_MAX, "" },
	/* Of an IPv4 header alone; what is longer than the maximum counts as that. */
	[EB_LENGTH] = { "length", "0-63", 0, UINT16_MAX, "" },
	[EB_VLAN] = { "VLAN id", "100-199", 1, 4094, ", or none for untagged" },
};

struct number_reader {
	struct eb_match *match;
	enum eb_number number;
};

static int parse_range(const char *text, const struct number_kind *kind, struct eb_range *out)
{
	const char *dash = strchr(text, '-');
	uint64_t first, last;
	char start[8];

	if (dash) {
		if ((size_t)(dash - text) >= sizeof(start))
			return -EINVAL;
		memcpy(start, text, dash - text);
		start[dash - text] = '\0';
	}
	if (eb_quantity_integer(dash ? start : text, &first) || eb_quantity_integer(dash ? dash + 1 : text, &last))
		return -EINVAL;
	if (first > last || first < kind->min || last > kind->max)
		return -ERANGE;
	*out = (struct eb_range){ .first = first, .last = last };
	return 0;
}

/* The room is the power of two that holds the count. */
static int add_range(struct eb_ranges *ranges, struct eb_range range)
{
	struct eb_range *grown;
	size_t count = ranges->count;

	if (!(count & (count - 1))) {
		grown = reallocarray(ranges->items, count ? 2 * count : 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		ranges->items = grown;
	}
	ranges->items[ranges->count++] = range;
	return 0;
}

static int read_range(const struct eb_yaml_value *value, void *into)
{
	struct number_reader *reader = into;
	const struct number_kind *kind = &number_kinds[reader->number];
	struct eb_range range = { 0, 0 };
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (reader->number == EB_VLAN && !strcmp(text, "none"))
		return add_range(&reader->match->numbers[EB_VLAN], range);
	err = parse_range(text, kind, &range);
	if (err == -ERANGE)
		return eb_yaml_fail(value, "%s is not within %u to %u, the lower %s first%s", eb_input_quote(text).text,
				    kind->min, kind->max, kind->noun, kind->or_else);
	if (err)
		return eb_yaml_fail(value, "%s is not a %s; write a number, or a range like \"%s\"%s",
				    eb_input_quote(text).text, kind->noun, kind->example, kind->or_else);
	if (reader->number == EB_LENGTH && range.last < IP_HEADER_MIN)
		return eb_yaml_fail(value, "%s is less than any IP packet has; an IPv4 header alone has %d bytes",
				    eb_input_quote(text).text, IP_HEADER_MIN);
	return add_range(&reader->match->numbers[reader->number], range);
}

static int read_number(const struct eb_yaml_value *value, struct eb_match *match, enum eb_number number)
{
	struct number_reader reader = { .match = match, .number = number };

	return read_items(value, read_range, &reader);
}

static int refuse_without_ports(const struct eb_yaml_value *value, const struct eb_match *match)
{
	for (int proto = 0; proto < 256; proto++)
		if (eb_octets_have(&match->protos, proto) && !eb_protocol_has_port(proto))
			return eb_yaml_fail(value, "protocol %d has no ports; use tcp, udp, sctp, dccp or udplite",
					    proto);
	return 0;
}

static int read_dport(const struct eb_yaml_value *value, void *into)
{
	int err = refuse_without_ports(value, match_of(into));

	return err ? err : read_number(value, match_of(into), EB_DPORT);
}

static int read_sport(const struct eb_yaml_value *value, void *into)
{
	int err = refuse_without_ports(value, match_of(into));

	return err ? err : read_number(value, match_of(into), EB_SPORT);
}

static int read_length(const struct eb_yaml_value *value, void *into)
{
	return read_number(value, match_of(into), EB_LENGTH);
}

/* Whether the card takes a tag off before the program sees the frame. */
static bool strips_tags(const char *interface)
{
	struct ethtool_value flags = { .cmd = ETHTOOL_GFLAGS };
	struct ifreq request = { .ifr_data = (void *)&flags };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool strips;

	if (fd < 0)
		return false;
	strcpy(request.ifr_name, interface);
	strips = !ioctl(fd, SIOCETHTOOL, &request) && flags.data & ETH_FLAG_RXVLAN;
	close(fd);
	return strips;
}

static int read_vlan(const struct eb_yaml_value *value, void *into)
{
	const struct eb_config *config = ((struct match_reader *)into)->config;
	int err = read_number(value, match_of(into), EB_VLAN);

	for (size_t i = 0; i < config->seen_count && !err; i++)
		if (strips_tags(config->seen[i]))
			return eb_yaml_warn(value, "%s can take tags off before they are seen, and its frames count "
					    "as none then; turn it off: ethtool -K %s rxvlan off",
					    config->seen[i], config->seen[i]);
	return err;
}

/* --- flags of TCP, types of ICMP --- */

/* Whether a rule with this key can match a packet of a protocol that it asks for. */
static int refuse_unless_among(const struct eb_yaml_value *value, const struct eb_match *match, int first, int second,
			       const char *what)
{
	char name[EB_PROTOCOL_NAME_MAX];

	for (int proto = 0; proto < 256; proto++)
		if (eb_octets_have(&match->protos, proto) && proto != first && proto != second)
			return eb_yaml_fail(value, "protocol %s has no %s", eb_protocol_print(proto, name), what);
	return 0;
}

static int read_flag(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);
	const char *text;
	bool is_clear;
	int err = eb_yaml_text(value, &text), flag;

	if (err)
		return err;
	is_clear = text[0] == '!';
	flag = eb_tcp_flag_parse(text + is_clear);
	if (flag < 0)
		return eb_yaml_fail(value, "%s is not a flag of TCP; known are fin, syn, rst, psh, ack, urg, ece and "
				    "cwr, or \"!ack\" for not set", eb_input_quote(text).text);
	if ((is_clear ? match->flags_set : match->flags_clear) & flag)
		return eb_yaml_fail(value, "%s is asked for set and not set: that matches no packet",
				    eb_input_quote(text + is_clear).text);
	*(is_clear ? &match->flags_clear : &match->flags_set) |= flag;
	return 0;
}

/* `syn` and nothing else means the packets that open a connection, not the answers to them. */
static int read_tcp_flags(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);
	int err = refuse_unless_among(value, match, IPPROTO_TCP, IPPROTO_TCP, "flags; use tcp");

	if (err)
		return err;
	err = read_items(value, read_flag, into);
	if (err)
		return err;
	if (match->flags_set == EB_TCP_SYN && !match->flags_clear)
		match->flags_clear = EB_TCP_ACK;
	return 0;
}

/* Whether a rule wants packets of a protocol: without `proto`, of both. */
static bool wants_proto(const struct eb_match *match, int proto)
{
	return !match->has_proto || eb_octets_have(&match->protos, proto);
}

static int add_icmp_number(const struct eb_yaml_value *value, struct eb_match *match, uint64_t number)
{
	bool is_4 = wants_proto(match, IPPROTO_ICMP), is_6 = wants_proto(match, IPPROTO_ICMPV6);

	if (number > UINT8_MAX)
		return eb_yaml_fail(value, "\"%llu\" is not a type; a number from 0 to 255, or a name like "
				    "echo-request", (unsigned long long)number);
	if (is_4 && is_6)
		return eb_yaml_fail(value, "\"%llu\" means one thing in ICMP and another one in ICMPv6; add proto: "
				    "icmp or proto: icmpv6, or write a name like echo-request",
				    (unsigned long long)number);
	eb_octets_add(is_4 ? &match->icmp_types : &match->icmpv6_types, number);
	return 0;
}

static int refuse_icmp_name(const struct eb_yaml_value *value, const struct eb_match *match, const char *text)
{
	bool is_4 = wants_proto(match, IPPROTO_ICMP), is_6 = wants_proto(match, IPPROTO_ICMPV6);
	const char *nearest = eb_icmp_nearest(text, is_4, is_6);

	if (nearest)
		return eb_yaml_fail(value, "%s is not a type of %s; did you mean \"%s\"?", eb_input_quote(text).text,
				    !is_6 ? "ICMP" : !is_4 ? "ICMPv6" : "ICMP or ICMPv6", nearest);
	return eb_yaml_fail(value, "%s is not a type of %s; write a name like echo-request or a number from 0 to 255",
			    eb_input_quote(text).text, !is_6 ? "ICMP" : !is_4 ? "ICMPv6" : "ICMP or ICMPv6");
}

static int read_icmp_item(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);
	uint64_t number;
	const char *text;
	int err = eb_yaml_text(value, &text), type, type6;

	if (err)
		return err;
	if (!eb_quantity_integer(text, &number))
		return add_icmp_number(value, match, number);
	type = wants_proto(match, IPPROTO_ICMP) ? eb_icmp_parse(text, false) : -EINVAL;
	type6 = wants_proto(match, IPPROTO_ICMPV6) ? eb_icmp_parse(text, true) : -EINVAL;
	if (type < 0 && type6 < 0)
		return refuse_icmp_name(value, match, text);
	if (type >= 0)
		eb_octets_add(&match->icmp_types, type);
	if (type6 >= 0)
		eb_octets_add(&match->icmpv6_types, type6);
	return 0;
}

static int read_icmp_type(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);
	int err = refuse_unless_among(value, match, IPPROTO_ICMP, IPPROTO_ICMPV6, "types; use icmp or icmpv6");

	if (err)
		return err;
	if (match->numbers[EB_DPORT].count || match->numbers[EB_SPORT].count)
		return eb_yaml_fail(value, "ICMP has no ports: with dport or sport it matches no packet");
	if (match->flags_set || match->flags_clear)
		return eb_yaml_fail(value, "ICMP has no flags: with tcp_flags it matches no packet");
	match->has_icmp_type = true;
	return read_items(value, read_icmp_item, into);
}

/* --- where a packet comes in --- */

static int read_interface(const struct eb_yaml_value *value, void *into)
{
	struct match_reader *reader = into;

	return eb_config_interface_read(value, reader->config, &reader->match->interfaces);
}

static int read_interfaces(const struct eb_yaml_value *value, void *into)
{
	return read_items(value, read_interface, into);
}

static int read_fragment(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);

	match->has_fragment = true;
	return eb_yaml_bool(value, &match->is_fragment);
}

static int read_src(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);

	match->has_src = true;
	return read_items(value, eb_yaml_prefix, &match->src);
}

static int read_dst(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);

	match->has_dst = true;
	return read_items(value, eb_yaml_prefix, &match->dst);
}

/* --- list files --- */

/* Where the files of one key belong. */
struct list_reader {
	struct eb_match *match;
	enum eb_list_role role;
};

static int load_list(const struct eb_yaml_value *value, struct eb_match *match, struct eb_list_file *file)
{
	struct eb_prefix_list *list = eb_list_of(match, file->role);
	const struct eb_input_file *input;
	int err = eb_inputs_list(value->yaml->findings->inputs, file->path, &input);

	file->first = list->count;
	file->is_busy = err == -EBUSY;
	if (file->is_busy)
		return 0;
	if (err)
		return eb_yaml_fail(value, "%s cannot be read: %s", eb_input_quote(file->path).text,
				    eb_input_strerror(err));
	file->mark = input->mark;
	err = eb_list_parse(list, input->text, input->size, file->path, match->skip_bad, &file->skipped,
			    value->yaml->findings);
	file->count = list->count - file->first;
	return err;
}

static int read_list_file(const struct eb_yaml_value *value, void *into)
{
	struct list_reader *reader = into;
	struct eb_match *match = reader->match;
	struct eb_list_file *files, *file;
	int err;

	if (match->file_count >= LIST_FILES_MAX)
		return eb_yaml_fail(value, "more than %d files in one rule", LIST_FILES_MAX);
	files = reallocarray(match->files, match->file_count + 1, sizeof(*files));
	if (!files)
		return -ENOMEM;
	match->files = files;
	file = &files[match->file_count];
	*file = (struct eb_list_file){ .role = reader->role };
	err = eb_yaml_path(value, &file->path);
	if (err)
		return err;
	match->file_count++;
	for (const struct eb_list_file *other = files; other < file; other++)
		if (other->role == file->role && !strcmp(other->path, file->path))
			return eb_yaml_fail(value, "%s is there twice", eb_input_quote(file->path).text);
	return load_list(value, match, file);
}

static int read_files(const struct eb_yaml_value *value, struct eb_match *match, enum eb_list_role role)
{
	struct list_reader reader = { .match = match, .role = role };

	if (role == EB_LIST_SRC)
		match->has_src = true;
	if (role == EB_LIST_DST)
		match->has_dst = true;
	return read_items(value, read_list_file, &reader);
}

static int read_src_file(const struct eb_yaml_value *value, void *into)
{
	return read_files(value, match_of(into), EB_LIST_SRC);
}

static int read_dst_file(const struct eb_yaml_value *value, void *into)
{
	return read_files(value, match_of(into), EB_LIST_DST);
}

/* --- exceptions --- */

static int read_src_except(const struct eb_yaml_value *value, void *into)
{
	return read_items(value, eb_yaml_prefix, &match_of(into)->src_except);
}

static int read_dst_except(const struct eb_yaml_value *value, void *into)
{
	return read_items(value, eb_yaml_prefix, &match_of(into)->dst_except);
}

static int read_src_except_file(const struct eb_yaml_value *value, void *into)
{
	return read_files(value, match_of(into), EB_LIST_SRC_EXCEPT);
}

static int read_dst_except_file(const struct eb_yaml_value *value, void *into)
{
	return read_files(value, match_of(into), EB_LIST_DST_EXCEPT);
}

/* Without a side it is that of the addresses that the rule asks for, or the source where it asks for none. */
static int check_one_side(const struct eb_yaml_value *value, const struct eb_match *match)
{
	if (!match->has_src || !match->has_dst)
		return 0;
	return eb_yaml_fail(value, "which side? The rule asks for src and dst; write src_%s or dst_%s", value->key,
			    value->key);
}

static int read_except(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);
	int err = check_one_side(value, match);

	if (err)
		return err;
	return match->has_dst ? read_dst_except(value, into) : read_src_except(value, into);
}

static int read_except_file(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = match_of(into);
	int err = check_one_side(value, match);

	if (err)
		return err;
	return match->has_dst ? read_dst_except_file(value, into) : read_src_except_file(value, into);
}

static int read_on_bad_line(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { "refuse", "skip" };
	struct eb_match *match = match_of(into);
	unsigned int choice;
	int err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);

	if (!err)
		match->skip_bad = choice;
	return err;
}

static int read_watch(const struct eb_yaml_value *value, void *into)
{
	return eb_yaml_bool(value, &match_of(into)->watch);
}

/* What a list's files are read by comes before them, the addresses before their exceptions, and the protocol before the
 * ports, flags and types, which not every protocol has. */
static const struct eb_yaml_key match_keys[] = {
	{ "src", read_src, false },
	{ "dst", read_dst, false },
	{ "on_bad_line", read_on_bad_line, false },
	{ "watch", read_watch, false },
	{ "src_file", read_src_file, false },
	{ "dst_file", read_dst_file, false },
	{ "except", read_except, false },
	{ "except_file", read_except_file, false },
	{ "src_except", read_src_except, false },
	{ "src_except_file", read_src_except_file, false },
	{ "dst_except", read_dst_except, false },
	{ "dst_except_file", read_dst_except_file, false },
	{ "proto", read_proto, false },
	{ "dport", read_dport, false },
	{ "sport", read_sport, false },
	{ "tcp_flags", read_tcp_flags, false },
	{ "icmp_type", read_icmp_type, false },
	{ "length", read_length, false },
	{ "fragment", read_fragment, false },
	{ "vlan", read_vlan, false },
	{ "interface", read_interfaces, false },
};

int eb_config_match_read(const struct eb_yaml_value *value, struct eb_config *config, struct eb_match *out)
{
	struct match_reader reader = { .config = config, .match = out };
	int err = eb_yaml_read_map(value, match_keys, ARRAY_SIZE(match_keys), &reader, NULL);

	if (!err && (out->watch || out->skip_bad) && !out->file_count)
		return eb_yaml_fail(value, "watch and on_bad_line apply to files, and the rule has none; name one, as "
					   "in src_file: list.txt");
	return err;
}

void eb_config_match_done(struct eb_match *match)
{
	for (size_t i = 0; i < match->file_count; i++) {
		free(match->files[i].path);
		free(match->files[i].problem);
	}
	free(match->files);
	eb_prefix_list_done(&match->src);
	eb_prefix_list_done(&match->dst);
	eb_prefix_list_done(&match->src_except);
	eb_prefix_list_done(&match->dst_except);
	for (int number = 0; number < EB_NUMBERS; number++)
		free(match->numbers[number].items);
}
