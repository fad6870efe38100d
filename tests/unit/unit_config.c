// SPDX-License-Identifier: GPL-2.0-only
/*
 * config.c and its sections: what is refused, with the message it gives, and what is accepted, with what comes out.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"
#include "config/config_redis.h"
#include "config/prefix.h"
#include "config/prefix_list.h"
#include "config/targets.h"
#include "config/yaml.h"

#define SECOND_NS 1000000000ULL

/* Line 2 is the first of `text`. The interface does not exist anywhere, so that frames have 1514 bytes. */
#define CONFIG(text) "interfaces: [none0]\n" text
/* Line 4, */
#define RULE(text) CONFIG("rules:\n  - name: dns\n" text)
/* line 6, */
#define LIMIT(text) RULE("    action: limit\n    packets: { rate: 200/s, burst: 400 }\n" text)
/* line 5, */
#define MATCH(text) RULE("    action: deny\n    match: { " text " }\n")
/* and line 3. */
#define REDIS(text) CONFIG("redis:\n" text)

static const char *const variables[] = {
	"EDGEBUCKET_NODE", "REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_TLS",
};

static char directory[] = "/tmp/unit_config.XXXXXX";

static int clear_environment(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
	return 0;
}

static int make_directory(void **state)
{
	strcpy(directory, "/tmp/unit_config.XXXXXX");
	return mkdtemp(directory) ? clear_environment(state) : -1;
}

static int remove_directory(void **state)
{
	static const char *const names[] = { "a.yaml", "redis.json", "list.txt", "password", "ca.pem" };
	char path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
	return clear_environment(state);
}

/* Returns the path, in a buffer of its own for each name's first letter. */
static const char *write_file(const char *name, const char *text, mode_t mode)
{
	static char paths[26][64];
	char *path = paths[name[0] - 'a'];
	FILE *file;

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

/* In the directory. */
static void expect_path(const char *path, const char *name)
{
	size_t len = strlen(directory);

	assert_non_null(path);
	assert_memory_equal(path, directory, len);
	assert_string_equal(path + len + 1, name);
}

static struct eb_config *parse(const char *text)
{
	struct eb_config *config = NULL;
	char *error = NULL;
	int err = eb_config_parse(text, strlen(text), "test.yaml", NULL, &config, &error);

	if (err)
		fail_msg("%s", error);
	assert_null(error);
	return config;
}

static struct eb_config *read_files(const char *path, const char *redis_path)
{
	struct eb_config *config = NULL;
	char *error = NULL;

	if (eb_config_read(path, redis_path, &config, &error))
		fail_msg("%s", error);
	return config;
}

/* Returns the message, to be freed. */
static char *refuse(const char *text)
{
	struct eb_config *config = (void *)&variables;
	char *error = NULL;

	assert_int_equal(eb_config_parse(text, strlen(text), "test.yaml", NULL, &config, &error), -EINVAL);
	assert_ptr_equal(config, &variables);
	assert_non_null(error);
	assert_null(strchr(error, '\n'));
	return error;
}

static void expect_refused(const char *text, const char *message)
{
	char *error = refuse(text);

	assert_string_equal(error, message);
	free(error);
}

static void expect_files_refused(const char *path, const char *redis_path, int expected, const char *format, ...)
{
	struct eb_config *config = NULL;
	char *error = NULL, *message;
	va_list args;

	va_start(args, format);
	assert_true(vasprintf(&message, format, args) >= 0);
	va_end(args);
	assert_int_equal(eb_config_read(path, redis_path, &config, &error), expected);
	assert_null(config);
	assert_string_equal(error, message);
	free(error);
	free(message);
}

/* --- refused --- */

struct refused {
	const char *name;
	const char *text;
	const char *message; /* behind "test.yaml:" */
};

/* clang-format off */
static const struct refused refused[] = {
	{ "empty file", "",
	  "1: the file is empty" },
	{ "only a comment", "# nothing\n",
	  "1: the file is empty" },
	{ "not a mapping", "[a, b]\n",
	  "1: is a list; expected a mapping with keys like \"interfaces\"" },
	{ "a single value", "hello\n",
	  "1: is a single value; expected a mapping with keys like \"interfaces\"" },
	{ "syntax",
	  "interfaces: [lo\n"
	  "node: x\n",
	  "2: not valid YAML: did not find expected ',' or ']', while parsing a flow sequence from "
	  "line 1 on" },
	{ "tab",
	  "interfaces:\n"
	  "\t- lo\n",
	  "2: not valid YAML: found character that cannot start any token, while scanning for the "
	  "next token from line 2 on" },
	{ "control character", "node: \001\n",
	  "1: not valid YAML: control characters are not allowed" },
	{ "anchor",
	  "node: &a x\n"
	  "interfaces: [none0]\n",
	  "1: anchors and aliases (& and *) are not supported; write the value out, or in quotes "
	  "where it is a text" },
	{ "alias", CONFIG("node: *a\n"),
	  "2: anchors and aliases (& and *) are not supported; write the value out, or in quotes "
	  "where it is a text" },
	{ "tag", "interfaces: !!seq [lo]\n",
	  "1: tags (!) are not supported; write the value without one, or in quotes where it is a "
	  "text" },
	{ "two documents",
	  CONFIG("---\n"
	         "interfaces: [none0]\n"),
	  "2: a second document (---); put everything into one" },
	{ "key is a list",
	  "? [a]\n"
	  ": 1\n",
	  "1: a list or a mapping stands where a key is expected" },
	{ "NUL in a key", "\"node\\0\": x\n",
	  "1: a key holds a NUL character" },
	{ "unknown key", CONFIG("colour: red\n"),
	  "2: unknown key \"colour\"; known are interfaces, node, attach, on_exit, pin_dir, run_dir, "
	  "control_group, state_dir, table_size, malformed, metrics, fleet, bans, tunnels, rules, redis" },
	{ "typo", CONFIG("tabel_size: 4096\n"),
	  "2: unknown key \"tabel_size\"; did you mean \"table_size\"?" },
	{ "typo in a rule", LIMIT("    pakets: { rate: 1/s, burst: 1 }\n"),
	  "6: rule \"dns\": unknown key \"pakets\"; did you mean \"packets\"?" },
	{ "key twice",
	  CONFIG("node: a\n"
	         "attach: auto\n"
	         "node: b\n"),
	  "4: key \"node\" is there twice, first with a value in line 2" },
	{ "key twice in a rule", LIMIT("    packets: { rate: 200/s, burst: 400 }\n"),
	  "6: rule \"dns\": key \"packets\" is there twice, first with a value in line 5" },
	{ "no interfaces", "node: a\n",
	  "1: required key \"interfaces\" is missing" },
	{ "interfaces empty", "interfaces: []\n",
	  "1: interfaces: is empty; name at least one interface, as in [eth0]" },
	{ "interfaces a text", "interfaces: eth0\n",
	  "1: interfaces: is a single value; expected a list, as in [a, b]" },
	{ "interfaces nothing", "interfaces:\n",
	  "1: interfaces: is nothing; expected a list, as in [a, b]" },
	{ "interface a list", "interfaces: [[lo]]\n",
	  "1: interfaces[0]: is a list; expected a single value" },
	{ "interface too long", "interfaces: [abcdefghijklmnop]\n",
	  "1: interfaces[0]: \"abcdefghijklmnop\" is not an interface's name; 1 to 15 characters "
	  "without spaces, / and :" },
	{ "interface with slash", "interfaces: [lo, a/b]\n",
	  "1: interfaces[1]: \"a/b\" is not an interface's name; 1 to 15 characters without spaces, "
	  "/ and :" },
	{ "interface with space",
	  "interfaces:\n"
	  "  - lo\n"
	  "  - a b\n",
	  "3: interfaces[1]: \"a b\" is not an interface's name; 1 to 15 characters without spaces, "
	  "/ and :" },
	{ "interface twice",
	  "interfaces:\n"
	  "  - lo\n"
	  "  - lo\n",
	  "3: interfaces[1]: \"lo\" is there twice" },
	{ "interface as ip link shows it", "interfaces: [lo, eth0@if5]\n",
	  "1: interfaces[1]: \"eth0@if5\" is how ip link shows an interface together with another; its name ends "
	  "before the @: \"eth0\"" },
	{ "interface as ip link shows a long one", "interfaces: [\"eth0.4094@eth0.bond:\"]\n",
	  "1: interfaces[0]: \"eth0.4094@eth0.bond:\" is how ip link shows an interface together with another; its "
	  "name ends before the @: \"eth0.4094\"" },
	{ "pattern with braces", "interfaces: ['{eth}*']\n",
	  "1: interfaces[0]: \"{eth}*\" is not a pattern of interfaces' names: * stands for any characters, ? for one, "
	  "[0-9] for one of these; write several as a list, as in [\"en*\", \"eth*\"]" },
	{ "pattern with a slash", "interfaces: ['eth*/1']\n",
	  "1: interfaces[0]: \"eth*/1\" is not a pattern of interfaces' names: * stands for any characters, ? for one, "
	  "[0-9] for one of these; write several as a list, as in [\"en*\", \"eth*\"]" },
	{ "pattern with a space", "interfaces: ['eth *']\n",
	  "1: interfaces[0]: \"eth *\" is not a pattern of interfaces' names: * stands for any characters, ? for one, "
	  "[0-9] for one of these; write several as a list, as in [\"en*\", \"eth*\"]" },
	{ "pattern with a backslash", "interfaces: ['eth\\*']\n",
	  "1: interfaces[0]: \"eth\\*\" is not a pattern of interfaces' names: * stands for any characters, ? for one, "
	  "[0-9] for one of these; write several as a list, as in [\"en*\", \"eth*\"]" },
	{ "pattern that closes", "interfaces: ['eth0]*']\n",
	  "1: interfaces[0]: \"eth0]*\" is not a pattern of interfaces' names: * stands for any characters, ? for one, "
	  "[0-9] for one of these; write several as a list, as in [\"en*\", \"eth*\"]" },
	{ "pattern not closed", "interfaces: ['eth[0-3']\n",
	  "1: interfaces[0]: \"eth[0-3\" has a [ without a character and a ] behind it, as in eth[0-3]" },
	{ "pattern of no character", "interfaces: ['eth[]']\n",
	  "1: interfaces[0]: \"eth[]\" has a [ without a character and a ] behind it, as in eth[0-3]" },
	{ "pattern of no range", "interfaces: ['eth[9-0]']\n",
	  "1: interfaces[0]: \"eth[9-0]\" has the range 9-0, which holds no character" },
	{ "pattern twice", "interfaces: ['eth*', lo, 'eth*']\n",
	  "1: interfaces[2]: \"eth*\" is there twice" },
	{ "default twice", "interfaces: [default, default]\n",
	  "1: interfaces[1]: \"default\" is there twice" },
	{ "pattern not quoted", "interfaces: [*]\n",
	  "1: a text that begins with * must be in quotes, as in \"*\"" },
	{ "interfaces in one name", "interfaces: [\"eth0,eth1,eth2,eth3\"]\n",
	  "1: interfaces[0]: \"eth0,eth1,eth2,eth3\" is one name with a , in it; write several as a list, as in "
	  "[eth0, eth1]" },
	{ "interface with a variable", "interfaces: [$IFACE]\n",
	  "1: interfaces[0]: \"$IFACE\" is not an interface's name; it has a $" },
	{ "interface NUL", "interfaces: [\"lo\\0x\"]\n",
	  "1: interfaces[0]: holds a NUL character" },
	{ "node with braces", CONFIG("node: a{b}\n"),
	  "2: node: \"a{b}\" is not a node's name; up to 255 letters, digits and . _ : @ / + -" },
	{ "a no-break space in front of a value", CONFIG("node:\u00a0a\n"),
	  "2: column 6 is a no-break space; write a plain character instead, or quote the text that contains it" },
	{ "typographic quotes", CONFIG("# “so”, it's\nmetrics: 'it''s' # ’\nnode: “a”\n"),
	  "4: column 7 is a typographic quote; write a plain character instead, or quote the text that contains it" },
	{ "a zero width space in a key", CONFIG("no\u200bde: a\n"),
	  "2: column 3 is a zero width space; write a plain character instead, or quote the text that contains it" },
	{ "a byte order mark further on", "\ufeff" CONFIG("node: a\ufeff\n"),
	  "2: column 8 is a byte order mark; write a plain character instead, or quote the text that contains it" },
	{ "a dash of an editor", RULE("    action: deny\n    match: { dport: 1000–2000 }\n"),
	  "5: column 25 is a typographic dash; write a plain character instead, or quote the text that contains it" },
	{ "a no-break space in quotes", CONFIG("node: \"a\u00a0b\"\n"),
	  "2: node: \"a<no-break space>b\" is not a node's name; up to 255 letters, digits and . _ : @ / + -" },
	{ "an exponent that leaves a part", CONFIG("table_size: 1.0485765e+06\n"),
	  "2: table_size: \"1.0485765e+06\" is not a whole number" },
	{ "an exponent that is none", CONFIG("table_size: 1e\n"),
	  "2: table_size: \"1e\" is not a whole number; write digits, with k, M, G, Ki, Mi or Gi if you like" },
	{ "a negative exponent", CONFIG("table_size: 1048576e-1\n"),
	  "2: table_size: \"1048576e-1\" is not a whole number; write digits, with k, M, G, Ki, Mi or Gi if you like" },
	{ "an exponent beyond all", CONFIG("table_size: 1e+99\n"),
	  "2: table_size: \"1e+99\" is not a whole number; write digits, with k, M, G, Ki, Mi or Gi if you like" },
	{ "node with space", CONFIG("node: a b\n"),
	  "2: node: \"a b\" is not a node's name; up to 255 letters, digits and . _ : @ / + -" },
	{ "node with escape", CONFIG("node: \"a\\eb\"\n"),
	  "2: node: \"a\\x1bb\" is not a node's name; up to 255 letters, digits and . _ : @ / + -" },
	{ "node nothing", CONFIG("node:\n"),
	  "2: node: has no value; give it one or leave the key out" },
	{ "node null", CONFIG("node: null\n"),
	  "2: node: has no value; give it one or leave the key out" },
	{ "node a mapping", CONFIG("node: { a: b }\n"),
	  "2: node: is a mapping; expected a single value" },
	{ "attach", CONFIG("attach: offload\n"),
	  "2: attach: \"offload\" is not one of auto, native, generic" },
	{ "on_exit", CONFIG("on_exit: true\n"),
	  "2: on_exit: \"true\" is not one of keep, detach" },
	{ "pin_dir relative", CONFIG("pin_dir: fs/bpf\n"),
	  "2: pin_dir: \"fs/bpf\" is not an absolute path below / of at most 1024 characters" },
	{ "pin_dir root", CONFIG("pin_dir: //\n"),
	  "2: pin_dir: \"//\" is not an absolute path below / of at most 1024 characters" },
	{ "run_dir long",
	  CONFIG("run_dir: "
	         "/rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\n"),
	  "2: run_dir: \"/rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr...\" is not an "
	  "absolute path below / of at most 80 characters" },
	{ "control_group", CONFIG("control_group: \"a b\"\n"),
	  "2: control_group: \"a b\" is not the name or the number of a group" },
	{ "state_dir relative", CONFIG("state_dir: state\n"),
	  "2: state_dir: \"state\" is not an absolute path below / of at most 1024 characters" },
	{ "table_size small", CONFIG("table_size: 1023\n"),
	  "2: table_size: \"1023\" is out of range; from 1024 to 16777216" },
	{ "table_size large", CONFIG("table_size: 16777217\n"),
	  "2: table_size: \"16777217\" is out of range; from 1024 to 16777216" },
	{ "table_size text", CONFIG("table_size: many\n"),
	  "2: table_size: \"many\" is not a whole number; write digits, with k, M, G, Ki, Mi or Gi "
	  "if you like" },
	{ "table_size fraction", CONFIG("table_size: 4096.5\n"),
	  "2: table_size: \"4096.5\" is not a whole number" },
	{ "table_size overflow", CONFIG("table_size: 999999999999999Gi\n"),
	  "2: table_size: \"999999999999999Gi\" is too large" },
	{ "malformed", CONFIG("malformed: yes\n"),
	  "2: malformed: \"yes\" is not one of pass, drop" },
	{ "bans: max of none", CONFIG("bans: { max: 0 }\n"),
	  "2: bans.max: \"0\" is out of range; from 1 to 4000000" },
	{ "bans: max too large", CONFIG("bans: { max: 5M }\n"),
	  "2: bans.max: \"5M\" is out of range; from 1 to 4000000" },
	{ "bans: max of words", CONFIG("bans: { max: many }\n"),
	  "2: bans.max: \"many\" is not a whole number; write digits, with k, M, G, Ki, Mi or Gi if you like" },
	{ "bans: share without a fleet", CONFIG("bans: { share: fleet }\n"),
	  "2: bans.share: needs the section fleet, as in fleet: { name: edge }" },
	{ "bans: unknown key", CONFIG("bans: { min: 1 }\n"), "2: bans: unknown key \"min\"; did you mean \"max\"?" },
	{ "tunnels: no type", CONFIG("tunnels: [{ from: [10.0.0.1] }]\n"),
	  "2: tunnels[0]: required key \"type\" is missing" },
	{ "tunnels: unknown type", CONFIG("tunnels: [{ type: ipsec, from: [10.0.0.1] }]\n"),
	  "2: tunnels[0].type: \"ipsec\" is not one of ipip, gre, gue, vxlan, geneve" },
	{ "tunnels: no source", CONFIG("tunnels: [{ type: gre }]\n"),
	  "2: tunnels[0]: required key \"from\" is missing" },
	{ "tunnels: empty list", CONFIG("tunnels: [{ type: gre, from: [] }]\n"),
	  "2: tunnels[0].from: is empty; list the outer sources whose tunnels are opened" },
	{ "tunnels: bad prefix", CONFIG("tunnels: [{ type: gre, from: [10.0.0.1/33] }]\n"),
	  "2: tunnels[0].from[0]: \"10.0.0.1/33\" has no valid prefix length; from /0 to /32" },
	{ "tunnels: port of none", CONFIG("tunnels: [{ type: gre, port: 9, from: [10.0.0.1] }]\n"),
	  "2: tunnels[0].port: gre has no port; only gue, vxlan and geneve have one" },
	{ "tunnels: two ports", CONFIG("tunnels: [{ type: gue, from: [10.0.0.1] }, "
				       "{ type: gue, port: 9, from: [10.0.0.1] }]\n"),
	  "2: tunnels[1]: gue has port 9 here and port 6080 before; all of one type share a port" },
	{ "tunnels: one port for two", CONFIG("tunnels: [{ type: gue, from: [10.0.0.1] }, "
					      "{ type: vxlan, port: 6080, from: [10.0.0.1] }]\n"),
	  "2: tunnels[1]: port 6080 is that of gue already; give vxlan another one" },
	{ "fleet: no name", CONFIG("fleet: { tick: 1s }\n"), "2: fleet: required key \"name\" is missing" },
	{ "fleet: bad name", CONFIG("fleet: { name: 'a}b' }\n"),
	  "2: fleet.name: \"a}b\" is not a fleet's name; 1 to 64 characters of a-z 0-9 - _" },
	{ "fleet: tick too short", CONFIG("fleet: { name: a, tick: 1ms }\n"),
	  "2: fleet.tick: \"1ms\" is out of range; from 10ms to 1min" },
	{ "fleet: lost_after too long", CONFIG("fleet: { name: a, lost_after: 1d }\n"),
	  "2: fleet.lost_after: \"1d\" is out of range; from 1s to 1h" },
	{ "fleet: lost at once", CONFIG("fleet: { name: a, tick: 1s, lost_after: 2s }\n"),
	  "2: fleet: lost_after is less than three times tick; one late answer would count as a loss" },
	{ "fleet: on_lost", CONFIG("fleet: { name: a, on_lost: drop }\n"),
	  "2: fleet.on_lost: \"drop\" is not one of share, node" },
	{ "fleet without redis", CONFIG("fleet: { name: a }\n"),
	  "2: fleet: needs redis, through which the nodes share their buckets" },
	{ "fleet without a node", CONFIG("node: ''\nredis: {}\nfleet: { name: a }\n"),
	  "4: fleet: needs a node, which must be unique among its nodes" },
	{ "share without a fleet", LIMIT("    share: fleet\n"),
	  "6: rule \"dns\": share: needs the section fleet, as in fleet: { name: edge }" },
	{ "share with care, without a fleet", LIMIT("    share: { fleet: careful }\n"),
	  "6: rule \"dns\": share: needs the section fleet, as in fleet: { name: edge }" },
	{ "share: how", LIMIT("    share: { fleet: bold }\n"),
	  "6: rule \"dns\": share.fleet: \"bold\" is not one of careful" },
	{ "share: whose", LIMIT("    share: { node: careful }\n"),
	  "6: rule \"dns\": share: unknown key \"node\"; known are fleet" },
	{ "share of an allow rule", RULE("    action: allow\n    share: node\n"),
	  "5: rule \"dns\": share: only for rules with action: limit" },
	{ "metrics without port", CONFIG("metrics: 127.0.0.1\n"),
	  "2: metrics: \"127.0.0.1\" is not an address with a port; write it like 127.0.0.1:9464, "
	  "[::1]:9464, unix:/run/metrics.sock, or off" },
	{ "metrics without host", CONFIG("metrics: ':9464'\n"),
	  "2: metrics: \":9464\" is not an address with a port; write it like 127.0.0.1:9464, "
	  "[::1]:9464, unix:/run/metrics.sock, or off" },
	{ "metrics port", CONFIG("metrics: 127.0.0.1:65536\n"),
	  "2: metrics: \"127.0.0.1:65536\" is not an address with a port; write it like "
	  "127.0.0.1:9464, [::1]:9464, unix:/run/metrics.sock, or off" },
	{ "metrics IPv6 bare", CONFIG("metrics: ::1:9464\n"),
	  "2: metrics: \"::1:9464\" is not an address with a port; write it like 127.0.0.1:9464, "
	  "[::1]:9464, unix:/run/metrics.sock, or off" },
	{ "metrics unix relative", CONFIG("metrics: unix:sock\n"),
	  "2: metrics: \"unix:sock\" is not an address with a port; write it like 127.0.0.1:9464, "
	  "[::1]:9464, unix:/run/metrics.sock, or off" },
	{ "rules a mapping", CONFIG("rules: { a: b }\n"),
	  "2: rules: is a mapping; expected a list, as in [a, b]" },
	{ "rule a text", CONFIG("rules: [dns]\n"),
	  "2: rules[0]: is a single value; expected a mapping with keys like \"name\"" },
	{ "rule without name",
	  CONFIG("rules:\n"
	         "  - action: deny\n"),
	  "3: rules[0]: required key \"name\" is missing" },
	{ "rule without action", RULE(""),
	  "3: rule \"dns\": required key \"action\" is missing" },
	{ "rule name upper case",
	  CONFIG("rules:\n"
	         "  - { name: DNS, action: deny }\n"),
	  "3: rules[0].name: \"DNS\" is not a rule's name; 1 to 32 characters of a-z 0-9 - _" },
	{ "rule name long",
	  CONFIG("rules:\n"
	         "  - { name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, action: deny }\n"),
	  "3: rules[0].name: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" is not a rule's name; 1 to 32 "
	  "characters of a-z 0-9 - _" },
	{ "rule name twice",
	  CONFIG("rules:\n"
	         "  - { name: a, action: deny }\n"
	         "  - { name: a, action: allow }\n"),
	  "4: rule \"a\": name: \"a\" is already the name of the rule in line 3" },
	{ "action", RULE("    action: reject\n"),
	  "4: rule \"dns\": action: \"reject\" is not one of allow, deny, limit" },
	{ "limit without limits", RULE("    action: limit\n"),
	  "3: rule \"dns\": action: limit needs at least one of packets and bytes" },
	{ "packets with allow",
	  RULE("    action: allow\n"
	       "    packets: { rate: 200/s, burst: 400 }\n"),
	  "5: rule \"dns\": packets: only for rules with action: limit" },
	{ "bytes with deny",
	  RULE("    action: deny\n"
	       "    bytes: { rate: 1MB/s, burst: 1MB }\n"),
	  "5: rule \"dns\": bytes: only for rules with action: limit" },
	{ "per with deny",
	  RULE("    action: deny\n"
	       "    per: { ipv4: 24 }\n"),
	  "5: rule \"dns\": per: only for rules with action: limit" },
	{ "new_sources with allow",
	  RULE("    action: allow\n"
	       "    new_sources: { rate: 1/s, burst: 1 }\n"),
	  "5: rule \"dns\": new_sources: only for rules with action: limit" },
	{ "when_crowded with deny",
	  RULE("    action: deny\n"
	       "    when_crowded: drop\n"),
	  "5: rule \"dns\": when_crowded: only for rules with action: limit" },
	{ "mode with allow",
	  RULE("    action: allow\n"
	       "    mode: monitor\n"),
	  "5: rule \"dns\": mode: only for rules with action: limit or deny" },
	{ "mode", LIMIT("    mode: monitored\n"),
	  "6: rule \"dns\": mode: \"monitored\" is not one of enforce, monitor" },
	{ "when_crowded", LIMIT("    when_crowded: block\n"),
	  "6: rule \"dns\": when_crowded: \"block\" is not one of drop, pass" },
	{ "then", LIMIT("    then: go\n"), "6: rule \"dns\": then: \"go\" is not one of pass, continue" },
	{ "then with deny", RULE("    action: deny\n    then: continue\n"),
	  "5: rule \"dns\": then: only for rules with action: limit" },
	{ "levels with allow", RULE("    action: allow\n    levels: []\n"),
	  "5: rule \"dns\": levels: only for rules with action: limit" },
	{ "levels of a rule without limits", RULE("    action: limit\n    levels: [{ per: { ipv4: 24 }, times: 2 }]\n"),
	  "5: rule \"dns\": levels: the rule has no limit of its own; give it packets or bytes" },
	{ "level without prefixes", LIMIT("    levels: [{ times: 2 }]\n"),
	  "6: rule \"dns\": levels[0]: required key \"per\" is missing" },
	{ "level with no prefix", LIMIT("    levels: [{ per: {}, times: 2 }]\n"),
	  "6: rule \"dns\": levels[0].per: is empty; as in per: { ipv4: 24, ipv6: 48 }" },
	{ "level without limits", LIMIT("    levels: [{ per: { ipv4: 24 } }]\n"),
	  "6: rule \"dns\": levels[0]: has no limit; write times, packets or bytes" },
	{ "level with times and packets",
	  LIMIT("    levels: [{ per: { ipv4: 24 }, packets: { rate: 1/s, burst: 1 }, times: 2 }]\n"),
	  "6: rule \"dns\": levels[0].packets: and times exclude each other; write limits, or how many times the "
	  "rule's own they are" },
	{ "level once the rule", LIMIT("    levels: [{ per: { ipv4: 24 }, times: 1 }]\n"),
	  "6: rule \"dns\": levels[0].times: \"1\" is out of range; from 2 to 1000000" },
	{ "level as narrow as the rule", LIMIT("    levels: [{ per: { ipv4: 32 }, times: 2 }]\n"),
	  "6: rule \"dns\": levels[0].per.ipv4: 32 is not wider than /32, which comes before it; write levels from "
	  "narrow to wide, with a shorter prefix each" },
	{ "also_per with allow", RULE("    action: allow\n    also_per: dst\n"),
	  "5: rule \"dns\": also_per: only for rules with action: limit" },
	{ "also_per that is none", LIMIT("    also_per: src\n"),
	  "6: rule \"dns\": also_per: \"src\" is not one of none, dst, dport" },
	{ "level as narrow as the rule, both by destination",
	  LIMIT("    also_per: dst\n    levels: [{ per: { ipv4: 32 }, also_per: dst, times: 2 }]\n"),
	  "7: rule \"dns\": levels[0].per.ipv4: 32 is not wider than /32, which comes before it; write levels from "
	  "narrow to wide, with a shorter prefix each" },
	{ "level narrower than the last of its family",
	  LIMIT("    levels:\n    - { per: { ipv6: 48 }, times: 2 }\n    - { per: { ipv4: 24 }, times: 2 }\n"
		"    - { per: { ipv6: 56 }, times: 2 }\n"),
	  "9: rule \"dns\": levels[2].per.ipv6: 56 is not wider than /48, which comes before it; write levels from "
	  "narrow to wide, with a shorter prefix each" },
	{ "too many levels",
	  LIMIT("    levels:\n    - { per: { ipv4: 24 }, times: 2 }\n    - { per: { ipv4: 20 }, times: 2 }\n"
		"    - { per: { ipv4: 16 }, times: 2 }\n    - { per: { ipv4: 8 }, times: 2 }\n"),
	  "10: rule \"dns\": levels[3]: more than 3 levels of one rule" },
	{ "times too much",
	  LIMIT("    levels: [{ per: { ipv4: 0 }, times: 500001 }]\n"),
	  "6: rule \"dns\": levels[0]: 500001 times the rule's limits is too much: above 100M/s or 400Gbit/s, or a "
	  "burst that nothing could count" },
	{ "too many buckets in a chain",
	  LIMIT("    then: continue\n    levels: [{ per: { ipv4: 24 }, times: 2 }, { per: { ipv4: 0 }, times: 9 }]\n"
		"  - { name: b, action: limit, packets: { rate: 1/s, burst: 1 }, then: continue }\n"
		"  - { name: c, action: limit, packets: { rate: 1/s, burst: 1 } }\n"),
	  "3: rules: a packet can meet 5 buckets, of rules \"dns\", \"b\" and \"c\" (line 9), and 4 is the most; use "
	  "fewer levels, or then: continue in fewer rules" },
	{ "a chain, whose matches exclude each other where packets can hide it",
	  LIMIT("    then: continue\n    levels: [{ per: { ipv4: 24 }, times: 2 }, { per: { ipv4: 0 }, times: 9 }]\n"
		"  - { name: b, match: { proto: tcp }, action: limit, then: continue,\n"
		"      packets: { rate: 1/s, burst: 1 } }\n"
		"  - { name: c, match: { proto: udp }, action: limit, packets: { rate: 1/s, burst: 1 } }\n"),
	  "3: rules: a packet can meet 5 buckets, of rules \"dns\", \"b\" and \"c\" (line 10), and 4 is the most; use "
	  "fewer levels, or then: continue in fewer rules" },
	{ "a chain of those that can match together",
	  LIMIT("    then: continue\n    levels: [{ per: { ipv6: 48 }, times: 2 }, { per: { ipv6: 0 }, times: 9 }]\n"
		"  - { name: b, match: { length: \"0-63\" }, action: limit, then: continue,\n"
		"      packets: { rate: 1/s, burst: 1 } }\n"
		"  - { name: c, match: { length: \"64-99\" }, action: limit, then: continue,\n"
		"      packets: { rate: 1/s, burst: 1 } }\n"
		"  - { name: d, match: { length: \"99-500\" }, action: limit, packets: { rate: 1/s, burst: 1 } }\n"),
	  "3: rules: a packet can meet 5 buckets, of rules \"dns\", \"c\" and \"d\" (line 12), and 4 is the most; use "
	  "fewer levels, or then: continue in fewer rules" },
	{ "per ipv4", LIMIT("    per: { ipv4: 33 }\n"),
	  "6: rule \"dns\": per.ipv4: \"33\" is out of range; from 0 to 32" },
	{ "per ipv6", LIMIT("    per: { ipv6: 129 }\n"),
	  "6: rule \"dns\": per.ipv6: \"129\" is out of range; from 0 to 128" },
	{ "per negative", LIMIT("    per: { ipv4: -1 }\n"),
	  "6: rule \"dns\": per.ipv4: \"-1\" is not a whole number" },
	{ "per a number", LIMIT("    per: 24\n"),
	  "6: rule \"dns\": per: is a single value; expected a mapping with keys like \"ipv4\"" },
	{ "packets a text",
	  RULE("    action: limit\n"
	       "    packets: 200/s\n"),
	  "5: rule \"dns\": packets: is a single value; expected a mapping with keys like \"rate\"" },
	{ "packets without rate",
	  RULE("    action: limit\n"
	       "    packets: { burst: 400 }\n"),
	  "5: rule \"dns\": packets: required key \"rate\" is missing" },
	{ "packets without burst",
	  RULE("    action: limit\n"
	       "    packets: { rate: 200/s }\n"),
	  "5: rule \"dns\": packets: required key \"burst\" is missing" },
	{ "packets rate without unit",
	  RULE("    action: limit\n"
	       "    packets: { rate: 200, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"200\" is not a rate of packets; write it like 200/s, "
	  "10k/min or 1/h" },
	{ "packets rate unit",
	  RULE("    action: limit\n"
	       "    packets: { rate: 200/d, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"200/d\" is not a rate of packets; write it like 200/s, "
	  "10k/min or 1/h" },
	{ "packets rate in bytes",
	  RULE("    action: limit\n"
	       "    packets: { rate: 8Mbit/s, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"8Mbit/s\" is not a rate of packets; write it like 200/s, "
	  "10k/min or 1/h" },
	{ "packets rate nought",
	  RULE("    action: limit\n"
	       "    packets: { rate: 0/s, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"0/s\" is below the lowest rate, 1/h; to pass nothing use "
	  "action: deny" },
	{ "packets rate negative",
	  RULE("    action: limit\n"
	       "    packets: { rate: -1/s, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"-1/s\" is not a rate of packets; write it like 200/s, "
	  "10k/min or 1/h" },
	{ "packets rate low",
	  RULE("    action: limit\n"
	       "    packets: { rate: 0.9/h, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"0.9/h\" is below the lowest rate, 1/h; to pass nothing "
	  "use action: deny" },
	{ "packets rate high",
	  RULE("    action: limit\n"
	       "    packets: { rate: 100000001/s, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"100000001/s\" is above the highest rate, 100M/s" },
	{ "packets rate overflow",
	  RULE("    action: limit\n"
	       "    packets: { rate: 99999999999999999999/s, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"99999999999999999999/s\" is not a rate of packets; write "
	  "it like 200/s, 10k/min or 1/h" },
	{ "packets rate digits",
	  RULE("    action: limit\n"
	       "    packets: { rate: 999999999999999.999999/h, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"999999999999999.999999/h\" has too many digits" },
	{ "packets rate decimals",
	  RULE("    action: limit\n"
	       "    packets: { rate: 1.0000001/s, burst: 400 }\n"),
	  "5: rule \"dns\": packets.rate: \"1.0000001/s\" is not a rate of packets; write it like "
	  "200/s, 10k/min or 1/h" },
	{ "packets burst nought",
	  RULE("    action: limit\n"
	       "    packets: { rate: 1/s, burst: 0 }\n"),
	  "5: rule \"dns\": packets.burst: \"0\" would pass nothing; use at least 1, or action: deny" },
	{ "packets burst text",
	  RULE("    action: limit\n"
	       "    packets: { rate: 1/s, burst: lots }\n"),
	  "5: rule \"dns\": packets.burst: \"lots\" is not a whole number; write digits, with k, M, "
	  "G, Ki, Mi or Gi if you like" },
	{ "packets burst in bytes",
	  RULE("    action: limit\n"
	       "    packets: { rate: 1/s, burst: 1MB }\n"),
	  "5: rule \"dns\": packets.burst: \"1MB\" is not a whole number; write digits, with k, M, "
	  "G, Ki, Mi or Gi if you like" },
	{ "packets burst fraction",
	  RULE("    action: limit\n"
	       "    packets: { rate: 1/s, burst: 1.5 }\n"),
	  "5: rule \"dns\": packets.burst: \"1.5\" is not a whole number" },
	{ "packets burst refill",
	  RULE("    action: limit\n"
	       "    packets: { rate: 1/h, burst: 1251 }\n"),
	  "5: rule \"dns\": packets.burst: \"1251\" would take more than 52 days to refill; lower it "
	  "or raise the rate" },
	{ "packets burst overflow",
	  RULE("    action: limit\n"
	       "    packets: { rate: 1/h, burst: 999999999999999G }\n"),
	  "5: rule \"dns\": packets.burst: \"999999999999999G\" is too large" },
	{ "packets key",
	  RULE("    action: limit\n"
	       "    packets: { rate: 1/s, burst: 1, unit: x }\n"),
	  "5: rule \"dns\": packets: unknown key \"unit\"; known are rate, burst" },
	{ "bytes rate in packets",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 200/s, burst: 1MB }\n"),
	  "5: rule \"dns\": bytes.rate: \"200/s\" is not a rate of bytes; write it like 8Mbit/s, "
	  "1MB/s or 100kB/min" },
	{ "bytes rate unit",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 8mbit/s, burst: 1MB }\n"),
	  "5: rule \"dns\": bytes.rate: \"8mbit/s\" is not a rate of bytes; write it like 8Mbit/s, "
	  "1MB/s or 100kB/min" },
	{ "bytes rate low",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 7bit/s, burst: 1MB }\n"),
	  "5: rule \"dns\": bytes.rate: \"7bit/s\" is below the lowest rate, 1B/s; to pass nothing "
	  "use action: deny" },
	{ "bytes rate high",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 401Gbit/s, burst: 1MB }\n"),
	  "5: rule \"dns\": bytes.rate: \"401Gbit/s\" is above the highest rate, 400Gbit/s" },
	{ "bytes rate digits",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 999999999999.999999bit/h, burst: 1MB }\n"),
	  "5: rule \"dns\": bytes.rate: \"999999999999.999999bit/h\" has too many digits" },
	{ "bytes burst nought",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 1MB/s, burst: 0B }\n"),
	  "5: rule \"dns\": bytes.burst: \"0B\" would pass nothing; use at least 1, or action: deny" },
	{ "bytes burst unit",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 1MB/s, burst: 1mb }\n"),
	  "5: rule \"dns\": bytes.burst: \"1mb\" is not a size; write it like 1500, 64KiB, 1MB or "
	  "8Mbit" },
	{ "bytes burst bits",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 1MB/s, burst: 12345bit }\n"),
	  "5: rule \"dns\": bytes.burst: \"12345bit\" is not a whole number of bytes" },
	{ "bytes burst refill",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 1B/s, burst: 4503540 }\n"),
	  "5: rule \"dns\": bytes.burst: \"4503540\" would take more than 52 days to refill; lower "
	  "it or raise the rate" },
	{ "bytes burst tiny",
	  RULE("    action: limit\n"
	       "    bytes: { rate: 400Gbit/s, burst: 40 }\n"),
	  "5: rule \"dns\": bytes.burst: \"40\" is less than two nanoseconds of the rate; raise it" },
	{ "new_sources without burst", LIMIT("    new_sources: { rate: 10/s }\n"),
	  "6: rule \"dns\": new_sources: required key \"burst\" is missing" },
	{ "match a list",
	  RULE("    action: deny\n"
	       "    match: [a]\n"),
	  "5: rule \"dns\": match: is a list; expected a mapping with keys like \"src\"" },
	{ "match nothing",
	  RULE("    action: deny\n"
	       "    match:\n"),
	  "5: rule \"dns\": match: is nothing; expected a mapping with keys like \"src\"" },
	{ "match key", MATCH("dpotr: 53"),
	  "5: rule \"dns\": match: unknown key \"dpotr\"; did you mean \"dport\"?" },
	{ "src empty", MATCH("src: []"),
	  "5: rule \"dns\": match.src: is empty; leave the key out to match any" },
	{ "src text", MATCH("src: [example.com]"),
	  "5: rule \"dns\": match.src[0]: \"example.com\" is not a prefix; write it like "
	  "192.0.2.0/24, 192.0.2.1 or 2001:db8::/32" },
	{ "src length", MATCH("src: [192.0.2.0/33]"),
	  "5: rule \"dns\": match.src[0]: \"192.0.2.0/33\" has no valid prefix length; from /0 to /32" },
	{ "src netmask", MATCH("src: [192.0.2.0/255.255.255.0]"),
	  "5: rule \"dns\": match.src[0]: \"192.0.2.0/255.255.255.0\" has no valid prefix length; "
	  "from /0 to /32" },
	{ "src IPv6 length", MATCH("src: ['2001:db8::/129']"),
	  "5: rule \"dns\": match.src[0]: \"2001:db8::/129\" has no valid prefix length; from /0 to "
	  "/128" },
	{ "src host bits", MATCH("src: [192.0.2.0/24, 192.0.2.77/24]"),
	  "5: rule \"dns\": match.src[1]: \"192.0.2.77/24\" has bits set beyond its length; did you "
	  "mean 192.0.2.0/24?" },
	{ "src host bits IPv6", MATCH("src: ['2001:db8::1/33']"),
	  "5: rule \"dns\": match.src[0]: \"2001:db8::1/33\" has bits set beyond its length; did you "
	  "mean 2001:db8::/33?" },
	{ "src no length", MATCH("src: 192.0.2.0/"),
	  "5: rule \"dns\": match.src: \"192.0.2.0/\" has no valid prefix length; from /0 to /32" },
	{ "src zone", MATCH("src: ['fe80::1%eth0']"),
	  "5: rule \"dns\": match.src[0]: \"fe80::1%eth0\" is not a prefix; write it like "
	  "192.0.2.0/24, 192.0.2.1 or 2001:db8::/32" },
	{ "dst host bits", MATCH("dst: 10.1.0.0/8"),
	  "5: rule \"dns\": match.dst: \"10.1.0.0/8\" has bits set beyond its length; did you mean "
	  "10.0.0.0/8?" },
	{ "unknown key", MATCH("source: /f"),
	  "5: rule \"dns\": match: unknown key \"source\"; known are src, dst, on_bad_line, watch, src_file, "
	  "dst_file, except, except_file, src_except, src_except_file, dst_except, dst_except_file, proto, dport, "
	  "sport, tcp_flags, icmp_type, length, fragment, vlan, interface" },
	{ "dst_file missing", MATCH("dst_file: [/nonexistent/file]"),
	  "5: rule \"dns\": match.dst_file[0]: \"/nonexistent/file\" cannot be read: No such file or directory" },
	{ "no file", MATCH("src_file: []"),
	  "5: rule \"dns\": match.src_file: is empty; leave the key out to match any" },
	{ "except of two sides", MATCH("src: 10.0.0.0/8, dst: 192.0.2.0/24, except: 10.1.0.0/16"),
	  "5: rule \"dns\": match.except: which side? The rule asks for src and dst; write src_except or "
	  "dst_except" },
	{ "except", MATCH("src_except: 10.1.0.0/8"),
	  "5: rule \"dns\": match.src_except: \"10.1.0.0/8\" has bits set beyond its length; did you mean "
	  "10.0.0.0/8?" },
	{ "watch nothing", MATCH("src: 10.0.0.0/8, watch: true"),
	  "5: rule \"dns\": match: watch and on_bad_line apply to files, and the rule has none; name one, as in "
	  "src_file: list.txt" },
	{ "bad line of nothing", MATCH("src: 10.0.0.0/8, on_bad_line: skip"),
	  "5: rule \"dns\": match: watch and on_bad_line apply to files, and the rule has none; name one, as in "
	  "src_file: list.txt" },
	{ "bad line", MATCH("on_bad_line: ignore, src_file: /f"),
	  "5: rule \"dns\": match.on_bad_line: \"ignore\" is not one of refuse, skip" },
	{ "octal", MATCH("src: 010.1.2.3"),
	  "5: rule \"dns\": match.src: \"010.1.2.3\" is not a prefix; write it like 192.0.2.0/24, 192.0.2.1 or "
	  "2001:db8::/32" },
	{ "range down", MATCH("src: 192.0.2.9-192.0.2.1"),
	  "5: rule \"dns\": match.src: \"192.0.2.9-192.0.2.1\" is not a range; the lower address comes first" },
	{ "range of families", MATCH("src: '192.0.2.9-::1'"),
	  "5: rule \"dns\": match.src: \"192.0.2.9-::1\" is not a range; both addresses are to be of one family" },
	{ "range cut short", MATCH("src: 192.0.2.9-12"),
	  "5: rule \"dns\": match.src: \"192.0.2.9-12\" is not a range; write both addresses out, like "
	  "192.0.2.0-192.0.2.99" },
	{ "src_file missing", MATCH("src_file: /nonexistent/file"),
	  "5: rule \"dns\": match.src_file: \"/nonexistent/file\" cannot be read: No such file or "
	  "directory" },
	{ "src_file directory", MATCH("src_file: /tmp"),
	  "5: rule \"dns\": match.src_file: \"/tmp\" cannot be read: Is a directory" },
	{ "src_file device", MATCH("src_file: /dev/zero"),
	  "5: rule \"dns\": match.src_file: \"/dev/zero\" cannot be read: Not a regular file" },
	{ "src_file empty name", MATCH("src_file: ''"),
	  "5: rule \"dns\": match.src_file: is empty; expected a file's path" },
	{ "proto", MATCH("proto: tpc"),
	  "5: rule \"dns\": match.proto: \"tpc\" is not a protocol; write a name like udp or a "
	  "number from 0 to 255" },
	{ "proto ip", MATCH("proto: ip"),
	  "5: rule \"dns\": match.proto: \"ip\" is not a protocol; write a name like udp or a number "
	  "from 0 to 255" },
	{ "proto number", MATCH("proto: 256"),
	  "5: rule \"dns\": match.proto: \"256\" is not a protocol; write a name like udp or a "
	  "number from 0 to 255" },
	{ "dport of icmp", MATCH("proto: icmp, dport: 53"),
	  "5: rule \"dns\": match.dport: protocol 1 has no ports; use tcp, udp, sctp, dccp or udplite" },
	{ "dport range", MATCH("dport: 65536"),
	  "5: rule \"dns\": match.dport: \"65536\" is not within 0 to 65535, the lower port first" },
	{ "dport reversed", MATCH("dport: [53, 2000-1000]"),
	  "5: rule \"dns\": match.dport[1]: \"2000-1000\" is not within 0 to 65535, the lower port "
	  "first" },
	{ "dport text", MATCH("dport: [domain]"),
	  "5: rule \"dns\": match.dport[0]: \"domain\" is not a port; write a number, or a range "
	  "like \"1000-2000\"" },
	{ "dport open range", MATCH("dport: '1000-'"),
	  "5: rule \"dns\": match.dport: \"1000-\" is not a port; write a number, or a range like "
	  "\"1000-2000\"" },
	{ "dport empty", MATCH("dport: []"),
	  "5: rule \"dns\": match.dport: is empty; leave the key out to match any" },
	{ "dport negative", MATCH("dport: -1"),
	  "5: rule \"dns\": match.dport: \"-1\" is not a port; write a number, or a range like "
	  "\"1000-2000\"" },
	{ "sport of gre", MATCH("proto: [tcp, gre], sport: 53"),
	  "5: rule \"dns\": match.sport: protocol 47 has no ports; use tcp, udp, sctp, dccp or udplite" },
	{ "sport range", MATCH("sport: '53-65536'"),
	  "5: rule \"dns\": match.sport: \"53-65536\" is not within 0 to 65535, the lower port first" },
	{ "flags of udp", MATCH("tcp_flags: syn, proto: udp"),
	  "5: rule \"dns\": match.tcp_flags: protocol udp has no flags; use tcp" },
	{ "flags of one of two", MATCH("proto: [tcp, sctp], tcp_flags: syn"),
	  "5: rule \"dns\": match.tcp_flags: protocol sctp has no flags; use tcp" },
	{ "flag unknown", MATCH("tcp_flags: [syn, '!akc']"),
	  "5: rule \"dns\": match.tcp_flags[1]: \"!akc\" is not a flag of TCP; known are fin, syn, rst, psh, ack, urg, "
	  "ece and cwr, or \"!ack\" for not set" },
	{ "flag set and not set", MATCH("tcp_flags: [syn, '!SYN']"),
	  "5: rule \"dns\": match.tcp_flags[1]: \"SYN\" is asked for set and not set: that matches no packet" },
	{ "flags empty", MATCH("tcp_flags: []"),
	  "5: rule \"dns\": match.tcp_flags: is empty; leave the key out to match any" },
	{ "type of tcp", MATCH("icmp_type: 3, proto: tcp"),
	  "5: rule \"dns\": match.icmp_type: protocol tcp has no types; use icmp or icmpv6" },
	{ "type with port", MATCH("icmp_type: echo-request, dport: 53"),
	  "5: rule \"dns\": match.icmp_type: ICMP has no ports: with dport or sport it matches no packet" },
	{ "type with flags", MATCH("icmp_type: echo-request, tcp_flags: syn"),
	  "5: rule \"dns\": match.icmp_type: ICMP has no flags: with tcp_flags it matches no packet" },
	{ "type by number of both", MATCH("icmp_type: 3"),
	  "5: rule \"dns\": match.icmp_type: \"3\" means one thing in ICMP and another one in ICMPv6; add proto: "
	  "icmp or proto: icmpv6, or write a name like echo-request" },
	{ "type number", MATCH("proto: icmp, icmp_type: 256"),
	  "5: rule \"dns\": match.icmp_type: \"256\" is not a type; a number from 0 to 255, or a name like "
	  "echo-request" },
	{ "type misspelt", MATCH("proto: icmp, icmp_type: [echo-reqest]"),
	  "5: rule \"dns\": match.icmp_type[0]: \"echo-reqest\" is not a type of ICMP; did you mean "
	  "\"echo-request\"?" },
	{ "type of the other", MATCH("proto: icmp, icmp_type: packet-too-big"),
	  "5: rule \"dns\": match.icmp_type: \"packet-too-big\" is not a type of ICMP; write a name like "
	  "echo-request or a number from 0 to 255" },
	{ "length too short", MATCH("length: '0-19'"),
	  "5: rule \"dns\": match.length: \"0-19\" is less than any IP packet has; an IPv4 header alone has 20 bytes" },
	{ "length text", MATCH("length: 1k"),
	  "5: rule \"dns\": match.length: \"1k\" is not a length; write a number, or a range like \"0-63\"" },
	{ "fragment", MATCH("fragment: first"),
	  "5: rule \"dns\": match.fragment: \"first\" is neither true nor false" },
	{ "vlan 0", MATCH("vlan: [0]"),
	  "5: rule \"dns\": match.vlan[0]: \"0\" is not within 1 to 4094, the lower VLAN id first, or none for "
	  "untagged" },
	{ "vlan text", MATCH("vlan: untagged"),
	  "5: rule \"dns\": match.vlan: \"untagged\" is not a VLAN id; write a number, or a range like \"100-199\", or "
	  "none for untagged" },
	{ "interface", MATCH("interface: [eth1]"),
	  "5: rule \"dns\": match.interface[0]: \"eth1\" is not one of interfaces; did you mean \"none0\"?" },
	{ "interface that no pattern matches", "interfaces: ['en*', wan]\nrules: [{ name: dns, action: deny, match: "
	  "{ interface: eth1 } }]\n",
	  "2: rule \"dns\": match.interface: \"eth1\" is not one of interfaces; did you mean \"en*\"?" },
	{ "pattern that matches no interface", MATCH("interface: 'eth*'"),
	  "5: rule \"dns\": match.interface: \"eth*\" is not one of interfaces; did you mean \"none0\"?" },
	{ "bad pattern in a match", MATCH("interface: ['eth[']"),
	  "5: rule \"dns\": match.interface[0]: \"eth[\" has a [ without a character and a ] behind it, as in "
	  "eth[0-3]" },
	{ "redis nothing", CONFIG("redis:\n"),
	  "2: redis: is nothing; expected a mapping with keys like \"host\"" },
	{ "redis a text", CONFIG("redis: hunter2\n"),
	  "2: redis: is a single value; expected a mapping with keys like \"host\"" },
	{ "redis key", REDIS("  hosts: a\n"),
	  "3: redis: unknown key \"hosts\"; did you mean \"host\"?" },
	{ "redis host with port", REDIS("  host: 127.0.0.1:6379\n"),
	  "3: redis.host: is not a host name or an address; the port has a key of its own" },
	{ "redis host URL", REDIS("  host: 'redis://u:hunter2@h'\n"),
	  "3: redis.host: is not a host name or an address; the port has a key of its own" },
	{ "redis port", REDIS("  port: 0\n"),
	  "3: redis.port: \"0\" is out of range; from 1 to 65535" },
	{ "redis port text", REDIS("  port: redis\n"),
	  "3: redis.port: \"redis\" is not a whole number" },
	{ "redis socket relative", REDIS("  socket: redis.sock\n"),
	  "3: redis.socket: is not an absolute path of at most 107 characters" },
	{ "redis host and socket",
	  REDIS("  host: h\n"
	        "  socket: /s\n"),
	  "3: redis: has more than one of host and port, socket, sentinel, cluster; keep one" },
	{ "redis port and cluster",
	  REDIS("  port: 1\n"
	        "  cluster: [a]\n"),
	  "3: redis: has more than one of host and port, socket, sentinel, cluster; keep one" },
	{ "redis sentinel and cluster",
	  REDIS("  sentinel: { master: m, nodes: [a] }\n"
	        "  cluster: [a]\n"),
	  "3: redis: has more than one of host and port, socket, sentinel, cluster; keep one" },
	{ "redis sentinel without master", REDIS("  sentinel: { nodes: [a] }\n"),
	  "3: redis.sentinel: required key \"master\" is missing" },
	{ "redis sentinel nodes empty", REDIS("  sentinel: { master: m, nodes: [] }\n"),
	  "3: redis.sentinel.nodes: is empty; expected at least one address with a port" },
	{ "redis sentinel node", REDIS("  sentinel: { master: m, nodes: [ 'a:b' ] }\n"),
	  "3: redis.sentinel.nodes[0]: is not an address with a port, like 10.0.0.1:26379" },
	{ "redis sentinel username alone", REDIS("  sentinel: { master: m, nodes: [a], username: u }\n"),
	  "3: redis.sentinel: has a username but no password; add password_file" },
	{ "redis sentinel tls", REDIS("  sentinel: { master: m, nodes: [a], tls: maybe }\n"),
	  "3: redis.sentinel.tls: \"maybe\" is neither true nor false" },
	{ "redis cluster a text", REDIS("  cluster: a:7000\n"),
	  "3: redis.cluster: is a single value; expected a list, as in [a, b]" },
	{ "redis cluster db",
	  REDIS("  cluster: [a]\n"
	        "  db: 1\n"),
	  "3: redis: a cluster has only db 0" },
	{ "redis username alone", REDIS("  username: u\n"),
	  "3: redis: has a username but no password; add password_file" },
	{ "redis username space",
	  REDIS("  username: u v\n"
	        "  password: p\n"),
	  "3: redis.username: must have 1 to 255 characters of printable ASCII without spaces" },
	{ "redis password twice",
	  REDIS("  password: hunter2\n"
	        "  password_file: /dev/null\n"),
	  "3: redis: has password and password_file; keep one" },
	{ "redis password empty", REDIS("  password: ''\n"),
	  "3: redis.password: is empty; expected a password" },
	{ "redis password newline", REDIS("  password: |\n\n"),
	  "3: redis.password: is empty; expected a password" },
	{ "redis password lines", REDIS("  password: |\n    hunter2\n    hunter2\n"),
	  "3: redis.password: holds more than one line; expected a password alone" },
	{ "redis password lines kept", REDIS("  password: |+\n    hunter2\n\n"),
	  "3: redis.password: holds more than one line; expected a password alone" },
	{ "redis password tab", REDIS("  password: \"hunter2\\t\"\n"),
	  "3: redis.password: holds the control character U+0009; expected a password alone" },
	{ "redis password bell",
	  REDIS("  sentinel: { master: m, nodes: [a], password: \"\\ahunter2\" }\n"),
	  "3: redis.sentinel.password: holds the control character U+0007; expected a password alone" },
	{ "redis password a list", REDIS("  password: [hunter2]\n"),
	  "3: redis.password: is a list; expected a single value" },
	{ "redis db", REDIS("  db: -1\n"),
	  "3: redis.db: \"-1\" is not a whole number" },
	{ "redis tls", REDIS("  tls: perhaps\n"),
	  "3: redis.tls: \"perhaps\" is neither true nor false" },
	{ "redis tls with socket",
	  REDIS("  socket: /s\n"
	        "  tls: true\n"),
	  "3: redis: tls cannot be used with a socket" },
	{ "redis tls cert alone", REDIS("  tls: { cert: /dev/null }\n"),
	  "3: redis.tls: cert and key go together; one of them is missing" },
	{ "redis tls key", REDIS("  tls: { verify: false }\n"),
	  "3: redis.tls: unknown key \"verify\"; known are ca, cert, key, server_name" },
	{ "redis tls server_name", REDIS("  tls: { server_name: 'a b' }\n"),
	  "3: redis.tls.server_name: is not a host name or an address" },
	{ "redis key braces", REDIS("  key: 'a{b}'\n"),
	  "3: redis.key: must not contain braces" },
	{ "redis key space", REDIS("  key: 'a b'\n"),
	  "3: redis.key: must have 1 to 255 characters of printable ASCII without spaces" },
	{ "redis tick unit", REDIS("  tick: 1\n"),
	  "3: redis.tick: \"1\" is not a duration; write it like 500ms, 1s, 2min or 1h" },
	{ "redis tick short", REDIS("  tick: 1ms\n"),
	  "3: redis.tick: \"1ms\" is out of range; from 100ms to 1h" },
	{ "redis tick long", REDIS("  tick: 2h\n"),
	  "3: redis.tick: \"2h\" is out of range; from 100ms to 1h" },
	{ "redis connect_timeout", REDIS("  connect_timeout: 2min\n"),
	  "3: redis.connect_timeout: \"2min\" is out of range; from 10ms to 60s" },
	{ "redis restore_timeout", REDIS("  restore_timeout: forever\n"),
	  "3: redis.restore_timeout: \"forever\" is not a duration; write it like 500ms, 1s, 2min or "
	  "1h" },
	{ "redis restore_timeout fraction", REDIS("  restore_timeout: 0.0000001s\n"),
	  "3: redis.restore_timeout: \"0.0000001s\" is not a duration; write it like 500ms, 1s, 2min "
	  "or 1h" },
};
/* clang-format on */

static void test_refused(void **state)
{
	unsigned int wrong = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char *error = refuse(refused[i].text);

		if (strncmp(error, "test.yaml:", 10) || strcmp(error + 10, refused[i].message)) {
			print_error("%s:\n  got      %s\n  expected test.yaml:%s\n", refused[i].name, error,
				    refused[i].message);
			wrong++;
		}
		free(error);
	}
	assert_int_equal(wrong, 0);
}

static void test_passwords_stay_out_of_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char *error = refuse(refused[i].text);

		assert_null(strstr(error, "hunter2"));
		free(error);
	}
}

/* `unit` so many times between head and tail; a '#' in it becomes the number of the repetition. */
static char *repeat(const char *head, const char *unit, unsigned int count, const char *tail)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	fputs(head, out);
	for (unsigned int i = 0; i < count; i++)
		for (const char *c = unit; *c; c++)
			*c == '#' ? fprintf(out, "%u", i) : fputc(*c, out);
	fputs(tail, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void expect_repeated_refused(const char *head, const char *unit, unsigned int count, const char *tail,
				    const char *message)
{
	char *text = repeat(head, unit, count, tail);

	expect_refused(text, message);
	free(text);
}

static void test_too_many(void **state)
{
	struct eb_config *config;
	char *text;

	(void)state;
	expect_repeated_refused("interfaces: [a", ", i#", 64, "]\n",
				"test.yaml:1: interfaces[64]: more than 64 interfaces");
	expect_repeated_refused(CONFIG("rules:\n"), " - { name: r#, action: deny, match: { proto: # } }\n", 65, "",
				"test.yaml:67: rules[64]: more than 64 rules");
	expect_repeated_refused(CONFIG("redis: { cluster: [a"), ", n#", 64, "] }\n",
				"test.yaml:2: redis.cluster[64]: more than 64 nodes");
	text = repeat(CONFIG("rules:\n"), " - { name: r#, action: deny, match: { proto: # } }\n", 64, "");
	config = parse(text);
	assert_int_equal(config->rule_count, 64);
	assert_string_equal(config->rules[63].name, "r63");
	eb_config_free(config);
	free(text);
}

/* What would take a parser's memory, its stack or its time. */
static void test_hostile(void **state)
{
	static const char *const units[] = { "[", "{", "{a: ", "- ", "? ", "\"", "'", "&a ", "*a ", "[a,", "# ", "%" };
	const unsigned int count = EB_YAML_SIZE_MAX / 4;

	(void)state;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		char *text = repeat("", units[i], count, "");

		free(refuse(text));
		free(text);
	}
	expect_repeated_refused("", "[", 17, "\n", "test.yaml:1: nested too deep");
	expect_repeated_refused("#", "x", EB_YAML_SIZE_MAX, "\n",
				"test.yaml: larger than 1 MiB; put long lists of prefixes into a src_file");
}

static void test_file_errors(void **state)
{
	(void)state;
	expect_files_refused("/nonexistent/file", NULL, -ENOENT,
			     "/nonexistent/file: cannot be read: No such file or directory");
	expect_files_refused("/tmp", NULL, -EISDIR, "/tmp: cannot be read: Is a directory");
	expect_files_refused("/dev/zero", NULL, -EINVAL,
			     "/dev/zero: larger than 1 MiB; put long lists of prefixes into a src_file");
	expect_files_refused(write_file("a.yaml", "", 0600), NULL, -EINVAL, "%s/a.yaml:1: the file is empty",
			     directory);
}

/* --- accepted --- */

static void test_defaults(void **state)
{
	struct eb_config *config = parse("interfaces: [none0]\nrules: [{ name: a, action: limit, "
					 "packets: { rate: 1/s, burst: 1 } }]\n");
	const struct eb_rule_config *rule = &config->rules[0];
	char host[256];

	(void)state;
	assert_int_equal(gethostname(host, sizeof(host)), 0);
	assert_string_equal(config->path, "test.yaml");
	assert_string_equal(config->node, host);
	assert_int_equal(config->interface_count, 1);
	assert_string_equal(config->entries[0].text, "none0");
	assert_int_equal(config->attach, EB_ATTACH_AUTO);
	assert_false(config->detach_on_exit);
	assert_string_equal(config->pin_dir, "/sys/fs/bpf/edgebucket");
	assert_string_equal(config->run_dir, "/run/edgebucket");
	assert_string_equal(config->state_dir, "/var/lib/edgebucket");
	assert_int_equal(config->table_size, 1048576);
	assert_true(config->malformed_drop);
	assert_string_equal(config->metrics, "127.0.0.1:9464");
	assert_null(config->redis);
	assert_int_equal(config->warning_count, 0);

	assert_int_equal(config->rule_count, 1);
	assert_int_equal(rule->action, EB_LIMIT);
	assert_false(rule->monitor);
	assert_false(rule->crowded_pass);
	assert_int_equal(rule->per_ipv4, 32);
	assert_int_equal(rule->per_ipv6, 64);
	assert_false(rule->match.has_proto);
	assert_false(rule->match.has_src);
	assert_false(rule->match.has_dst);
	assert_int_equal(rule->match.numbers[EB_DPORT].count, 0);
	assert_int_equal(rule->bytes.tokens, 0);
	assert_int_equal(rule->bytes.period_ns, 0);
	assert_int_equal(rule->bytes.burst, 0);
	assert_int_equal(rule->new_sources.tokens, 104857);
	assert_int_equal(rule->new_sources.period_ns, SECOND_NS);
	assert_int_equal(rule->new_sources.burst, 209715);
	assert_int_equal(rule->line, 2);
	eb_config_free(config);
}

#define WITH_INTERFACES(list, of_rule) \
	"interfaces: [" list "]\nrules: [{ name: a, action: deny, match: { interface: [" of_rule "] } }]\n"

/* What rules ask for follows what the agent attaches to. */
static void test_patterns(void **state)
{
	static const char text[] = WITH_INTERFACES("eth0, '[!l]*', default, 'en?[0-9]'",
						   "default, eno1, 'en*', eth0");
	static const struct eb_interface_entry expected[] = {
		{ EB_ENTRY_NAME, "eth0" }, { EB_ENTRY_PATTERN, "[!l]*" }, { EB_ENTRY_DEFAULT, "default" },
		{ EB_ENTRY_PATTERN, "en?[0-9]" }, { EB_ENTRY_NAME, "eno1" }, { EB_ENTRY_PATTERN, "en*" },
	};
	struct eb_config *config = parse(text);

	(void)state;
	assert_int_equal(config->interface_count, 4);
	assert_int_equal(config->entry_count, sizeof(expected) / sizeof(expected[0]));
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_int_equal(config->entries[i].kind, expected[i].kind);
		assert_string_equal(config->entries[i].text, expected[i].text);
	}
	assert_int_equal(config->rules[0].match.interfaces, 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5);
	eb_config_free(config);
	config = parse(WITH_INTERFACES("eth0, eth1", "'eth?', default"));
	assert_int_equal(config->rules[0].match.interfaces, 1 << 2 | 1 << 3);
	eb_config_free(config);
	config = parse(WITH_INTERFACES("default", "eth7"));
	assert_int_equal(config->rules[0].match.interfaces, 1 << 1);
	eb_config_free(config);
}

static void test_targets(void **state)
{
	static const struct eb_default_routes by_lo = { { 1 }, 1 };
	struct eb_config *config = parse("interfaces: ['*', l?, none0, lo, default]\n");
	struct eb_targets targets;

	(void)state;
	assert_int_equal(eb_targets_find(config, &by_lo, &targets), 0);
	assert_int_equal(targets.items[0].state, EB_TARGET_MISSING);
	assert_string_equal(targets.items[0].name, "none0");
	assert_int_equal(targets.items[1].ifindex, if_nametoindex("lo"));
	assert_int_equal(targets.items[1].entries, 1 << 3); /* by its name alone */
	for (size_t i = 2; i < targets.count; i++)
		assert_true(targets.items[i].ifindex > 1);
	eb_targets_done(&targets);
	eb_config_free(config);
}

static void expect_protocol(const struct eb_match *match, int number)
{
	struct eb_octets expected = { { 0 } };

	assert_true(match->has_proto);
	eb_octets_add(&expected, number);
	assert_memory_equal(&match->protos, &expected, sizeof(expected));
}

static void expect_prefix(const struct eb_prefix *prefix, const char *expected)
{
	char text[EB_PREFIX_TEXT_MAX];

	assert_string_equal(eb_prefix_print(prefix, text), expected);
}

static void expect_rate(const struct eb_rate *rate, uint64_t tokens, uint64_t period_ns, uint64_t burst)
{
	assert_int_equal(rate->tokens, tokens);
	assert_int_equal(rate->period_ns, period_ns);
	assert_int_equal(rate->burst, burst);
}

/* The example of the contract, paths apart. */
static const char example[] =
	"node: edge-01                       # identity in Redis; default: the host name\n"
	"interfaces: [eth0]                  # one agent, several interfaces, one set of buckets\n"
	"attach: auto                        # auto | native | generic\n"
	"on_exit: keep                       # keep | detach\n"
	"pin_dir: /sys/fs/bpf/edgebucket\n"
	"run_dir: /run/edgebucket            # lock and control socket\n"
	"state_dir: /var/lib/edgebucket      # embedded store; \"\" for none\n"
	"table_size: 1048576                 # buckets per address family\n"
	"malformed: drop                     # drop | pass\n"
	"metrics: 127.0.0.1:9464             # or off\n"
	"\n"
	"rules:                              # first match decides; nothing matches: pass\n"
	"  - name: office\n"
	"    match: { src: [192.0.2.0/24, \"2001:db8::/32\"] }\n"
	"    action: allow\n"
	"  - name: blocked\n"
	"    match: { src_file: list.txt }   # one prefix a line, # comments\n"
	"    action: deny\n"
	"  - name: dns\n"
	"    match: { dst: [198.51.100.53], proto: udp, dport: [53, 5353] }\n"
	"    action: limit\n"
	"    per: { ipv4: 32, ipv6: 64 }     # prefix length that makes a source; these are the defaults\n"
	"    packets: { rate: 200/s, burst: 400 }        # /s /min /h\n"
	"    bytes: { rate: 8Mbit/s, burst: 1MB }        # bit or B; k M G decimal, Ki Mi Gi binary\n"
	"    new_sources: { rate: 100000/s, burst: 200000 }   # left out: a tenth of table_size a second\n"
	"    when_crowded: drop              # drop | pass\n"
	"    mode: enforce                   # enforce | monitor (count what would be dropped, pass it)\n"
	"  - name: everyone\n"
	"    action: limit\n"
	"    packets: { rate: 10000/s, burst: 20000 }\n"
	"\n"
	"redis:                              # left out: the embedded store alone\n"
	"  host: 127.0.0.1\n"
	"  port: 6379\n"
	"  # socket: /run/redis/redis.sock\n"
	"  username: edgebucket\n"
	"  password_file: password           # or password:\n"
	"  db: 0\n"
	"  tls: true                         # or { ca: F, cert: F, key: F, server_name: N }\n"
	"  key: token_bucket_fallback\n"
	"  tick: 1s\n"
	"  connect_timeout: 500ms\n"
	"  restore_timeout: 2s\n";

static void check_example_rules(const struct eb_config *config)
{
	const struct eb_rule_config *rules = config->rules;

	assert_int_equal(config->rule_count, 4);
	assert_string_equal(rules[0].name, "office");
	assert_int_equal(rules[0].action, EB_ALLOW);
	assert_true(rules[0].match.has_src);
	assert_int_equal(rules[0].match.src.count, 2);
	expect_prefix(&rules[0].match.src.items[0], "192.0.2.0/24");
	expect_prefix(&rules[0].match.src.items[1], "2001:db8::/32");
	assert_int_equal(rules[1].action, EB_DENY);
	assert_int_equal(rules[1].match.src.count, 2);
	expect_prefix(&rules[1].match.src.items[0], "203.0.113.7/32");
	expect_prefix(&rules[1].match.src.items[1], "2001:db8:1::/48");
	assert_false(rules[2].match.has_src);
	assert_true(rules[2].match.has_dst);
	assert_int_equal(rules[2].match.dst.count, 1);
	expect_prefix(&rules[2].match.dst.items[0], "198.51.100.53/32");
	expect_protocol(&rules[2].match, 17);
	assert_int_equal(rules[2].match.numbers[EB_DPORT].count, 2);
	assert_int_equal(rules[2].match.numbers[EB_DPORT].items[0].first, 53);
	assert_int_equal(rules[2].match.numbers[EB_DPORT].items[0].last, 53);
	assert_int_equal(rules[2].match.numbers[EB_DPORT].items[1].first, 5353);
	expect_rate(&rules[2].packets, 200, SECOND_NS, 400);
	expect_rate(&rules[2].bytes, 8000000, 8 * SECOND_NS, 1000000);
	expect_rate(&rules[2].new_sources, 100000, SECOND_NS, 200000);
	assert_string_equal(rules[3].name, "everyone");
	assert_int_equal(rules[3].line, 28);
	expect_rate(&rules[3].packets, 10000, SECOND_NS, 20000);
}

static void test_example(void **state)
{
	const struct eb_redis_config *redis;
	struct eb_config *config;

	(void)state;
	write_file("list.txt", "# blocked\n203.0.113.7\n\n  2001:db8:1::/48  # a net\r\n", 0644);
	write_file("password", "hunter2\n", 0600);
	config = read_files(write_file("a.yaml", example, 0644), NULL);
	redis = config->redis;
	assert_int_equal(config->warning_count, 0);
	assert_string_equal(config->node, "edge-01");
	assert_string_equal(config->entries[0].text, "eth0");
	check_example_rules(config);
	assert_non_null(redis);
	assert_int_equal(redis->kind, EB_REDIS_HOST);
	assert_int_equal(redis->node_count, 1);
	assert_string_equal(redis->nodes[0].host, "127.0.0.1");
	assert_int_equal(redis->nodes[0].port, 6379);
	assert_string_equal(redis->username, "edgebucket");
	expect_path(redis->password_file, "password");
	assert_null(redis->password);
	assert_true(redis->tls.is_on);
	assert_null(redis->tls.ca);
	eb_config_free(config);
}

static void test_other_settings(void **state)
{
	struct eb_config *config = parse("interfaces: [eth0, \"eth1.5\", br-lan]\nnode: \"\"\nattach: generic\n"
					 "on_exit: detach\npin_dir: /sys/fs/bpf/other//\nrun_dir: /tmp/run/\n"
					 "control_group: adm\nstate_dir: \"\"\ntable_size: 4Ki\nmalformed: pass\n"
					 "metrics: off\n"
					 "bans: { max: 2k }\nredis: {}\nrules: [{ name: a, action: allow }]\n");

	(void)state;
	assert_int_equal(config->interface_count, 3);
	assert_string_equal(config->entries[1].text, "eth1.5");
	assert_string_equal(config->entries[2].text, "br-lan");
	assert_string_equal(config->node, "");
	assert_int_equal(config->attach, EB_ATTACH_GENERIC);
	assert_true(config->detach_on_exit);
	assert_string_equal(config->pin_dir, "/sys/fs/bpf/other");
	assert_string_equal(config->run_dir, "/tmp/run");
	assert_string_equal(config->control_group, "adm");
	assert_string_equal(config->state_dir, "");
	assert_int_equal(config->table_size, 4096);
	assert_false(config->malformed_drop);
	assert_int_equal(config->bans_max, 2000);
	assert_null(config->metrics);
	assert_int_equal(config->warning_count, 0);
	eb_config_free(config);
}

static void test_fleet(void **state)
{
	struct eb_config *config = parse("interfaces: [none0]\nnode: a\nredis: {}\nrules:\n"
					 "- { name: a, action: limit, packets: { rate: 1/s, burst: 1 },\n"
					 "    share: fleet }\n"
					 "- { name: b, action: limit, packets: { rate: 1/s, burst: 1 }, share: node }\n"
					 "- { name: c, action: limit, packets: { rate: 1/s, burst: 1 },\n"
					 "    share: { fleet: careful } }\n"
					 "fleet: { name: edge, tick: 50ms, on_lost: node }\n");

	(void)state;
	assert_string_equal(config->fleet.name, "edge");
	assert_int_equal(config->fleet.tick_ns, 50000000);
	assert_int_equal(config->fleet.lost_after_ns, 5000000000);
	assert_int_equal(config->fleet.on_lost, EB_ON_LOST_NODE);
	assert_true(config->rules[0].shared && !config->rules[0].careful);
	assert_false(config->rules[1].shared);
	assert_true(config->rules[2].shared && config->rules[2].careful);
	eb_config_free(config);
}

static void test_metrics(void **state)
{
	static const char *const accepted[] = { "0.0.0.0:9464", "[::1]:9464", "localhost:1", "unix:/run/metrics.sock" };
	char text[128];

	(void)state;
	for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
		struct eb_config *config;

		snprintf(text, sizeof(text), "interfaces: [none0]\nmetrics: '%s'\n", accepted[i]);
		config = parse(text);
		assert_string_equal(config->metrics, accepted[i]);
		eb_config_free(config);
	}
}

static void test_ends_of_settings(void **state)
{
	struct eb_config *config;

	(void)state;
	config = parse(CONFIG("table_size: 1024\nattach: native\n") "rules: [{ name: a, action: limit, "
		       "per: { ipv4: 0, ipv6: 128 }, packets: { rate: 1/h, burst: 1250 } }]\n");
	assert_int_equal(config->table_size, 1024);
	assert_int_equal(config->attach, EB_ATTACH_NATIVE);
	assert_int_equal(config->rules[0].per_ipv4, 0);
	assert_int_equal(config->rules[0].per_ipv6, 128);
	expect_rate(&config->rules[0].new_sources, 102, SECOND_NS, 204);
	eb_config_free(config);
	config = parse(CONFIG("table_size: 16Mi\n"));
	assert_int_equal(config->table_size, 16777216);
	eb_config_free(config);
}

/* Rules of which no packet can match two do not add up: each has four buckets. */
static void test_chains_apart(void **state)
{
	static const char *const apart[][2] = {
		{ "length: \"0-63\"", "length: \"64-1500\"" },
		{ "vlan: none", "vlan: [1, \"7-9\"]" },
		{ "interface: eth0", "interface: eth1" },
		{ "src: [10.0.0.0/8, 2001:db8::/33]", "src: [11.0.0.0/8, \"2001:db8:8000::/33\"]" },
		{ "src: 0.0.0.0/0", "src: \"::/0\"" },
		{ "dst: 192.0.2.1", "dst: [192.0.2.2, 192.0.2.4/30]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(apart) / sizeof(apart[0]); i++) {
		static const char rule[] = "  - { name: %c, match: { %s }, action: limit, then: continue,\n"
					   "      packets: { rate: 1/s, burst: 1 }, levels: [\n"
					   "      { per: { ipv4: 24, ipv6: 48 }, times: 2 },\n"
					   "      { per: { ipv4: 16, ipv6: 32 }, times: 3 },\n"
					   "      { per: { ipv4: 0, ipv6: 0 }, times: 4 }] }\n";
		char text[1024];
		int used = snprintf(text, sizeof(text), "interfaces: [eth0, eth1]\nrules:\n");

		for (int side = 0; side < 2; side++)
			used += snprintf(text + used, sizeof(text) - used, rule, 'a' + side, apart[i][side]);
		eb_config_free(parse(text));
	}
}

static void test_rule_switches(void **state)
{
	struct eb_config *config = parse(LIMIT("    mode: monitor\n    when_crowded: pass\n"
					       "  - { name: b_1-x, action: deny, mode: monitor }\n"));

	(void)state;
	assert_true(config->rules[0].monitor);
	assert_true(config->rules[0].crowded_pass);
	assert_true(config->rules[1].monitor);
	assert_int_equal(config->rules[1].action, EB_DENY);
	eb_config_free(config);
}

struct rate_form {
	const char *text;
	uint64_t tokens, period_ns;
};

static void test_packet_rates(void **state)
{
	static const struct rate_form forms[] = {
		{ "200/s", 200, SECOND_NS },         { "10/min", 10, 60 * SECOND_NS },
		{ "1/h", 1, 3600 * SECOND_NS },      { "10k/s", 10000, SECOND_NS },
		{ "100M/s", 100000000, SECOND_NS },  { "0.1G/s", 100000000, SECOND_NS },
		{ "1Ki/s", 1024, SECOND_NS },        { "0.5/s", 5, 10 * SECOND_NS },
		{ "1.5k/min", 1500, 60 * SECOND_NS }, { "0.25/s", 25, 100 * SECOND_NS },
		{ "200 /s", 200, SECOND_NS },        { "360G/h", 360000000000, 3600 * SECOND_NS },
		{ "1.50/s", 15, 10 * SECOND_NS },    { "1.000001/h", 1000001, 3600000000 * SECOND_NS },
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct eb_config *config;

		snprintf(text, sizeof(text), RULE("    action: limit\n    packets: { rate: %s, burst: %s }\n"),
			 forms[i].text, forms[i].period_ns >= 3600 * SECOND_NS ? "20" : "2k");
		config = parse(text);
		expect_rate(&config->rules[0].packets, forms[i].tokens, forms[i].period_ns,
			    forms[i].period_ns >= 3600 * SECOND_NS ? 20 : 2000);
		eb_config_free(config);
	}
}

static void test_byte_rates(void **state)
{
	static const struct rate_form forms[] = {
		{ "8Mbit/s", 8000000, 8 * SECOND_NS },       { "1MB/s", 1000000, SECOND_NS },
		{ "100kB/min", 100000, 60 * SECOND_NS },     { "400Gbit/s", 400000000000, 8 * SECOND_NS },
		{ "50GB/s", 50000000000, SECOND_NS },        { "1B/s", 1, SECOND_NS },
		{ "8bit/s", 8, 8 * SECOND_NS },              { "1.544Mbit/s", 1544000, 8 * SECOND_NS },
		{ "64KiB/s", 65536, SECOND_NS },             { "1 Gbit/s", 1000000000, 8 * SECOND_NS },
		{ "1GiB/h", 1073741824, 3600 * SECOND_NS },
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct eb_config *config;

		snprintf(text, sizeof(text), RULE("    action: limit\n    bytes: { rate: %s, burst: 64KiB }\n"),
			 forms[i].text);
		config = parse(text);
		expect_rate(&config->rules[0].bytes, forms[i].tokens, forms[i].period_ns, 65536);
		eb_config_free(config);
	}
}

static void test_byte_bursts(void **state)
{
	static const struct {
		const char *text;
		uint64_t burst;
	} forms[] = {
		{ "1514", 1514 },   { "2000B", 2000 },     { "1MB", 1000000 }, { "64KiB", 65536 },
		{ "1M", 1000000 },  { "8Mbit", 1000000 },  { "1.5kB", 1500 },  { "1", 1 },
		{ "2 MiB", 2097152 },
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct eb_config *config;

		snprintf(text, sizeof(text), RULE("    action: limit\n    bytes: { rate: 1MB/s, burst: %s }\n"),
			 forms[i].text);
		config = parse(text);
		assert_int_equal(config->rules[0].bytes.burst, forms[i].burst);
		eb_config_free(config);
	}
}

static void test_match_forms(void **state)
{
	struct eb_config *config = parse(MATCH("src: ['::/0', 0.0.0.0/0, 10.0.0.0/9, '2001:db8::1'], dst: 192.0.2.1, "
					       "proto: TCP, dport: [80, '8000-8999', 443, 0-0, 65535]"));
	const struct eb_match *match = &config->rules[0].match;

	(void)state;
	assert_int_equal(match->src.count, 4);
	expect_prefix(&match->src.items[0], "::/0");
	assert_int_equal(match->src.items[0].family, 6);
	expect_prefix(&match->src.items[1], "0.0.0.0/0");
	assert_int_equal(match->src.items[1].family, 4);
	expect_prefix(&match->src.items[2], "10.0.0.0/9");
	expect_prefix(&match->src.items[3], "2001:db8::1/128");
	assert_int_equal(match->dst.count, 1);
	expect_prefix(&match->dst.items[0], "192.0.2.1/32");
	expect_protocol(match, 6);
	assert_int_equal(match->numbers[EB_DPORT].count, 5);
	assert_int_equal(match->numbers[EB_DPORT].items[1].first, 8000);
	assert_int_equal(match->numbers[EB_DPORT].items[1].last, 8999);
	assert_int_equal(match->numbers[EB_DPORT].items[3].last, 0);
	assert_int_equal(match->numbers[EB_DPORT].items[4].first, 65535);
	eb_config_free(config);
}

static void test_match_details(void **state)
{
	static const struct {
		const char *text;
		uint8_t set, clear;
	} flags[] = {
		{ "syn", 0x02, 0x10 },          { "[syn]", 0x02, 0x10 },    { "[syn, ack]", 0x12, 0 },
		{ "'!ack'", 0, 0x10 },          { "[SYN, '!rst']", 0x02, 0x04 },
		{ "[fin, psh, urg]", 0x29, 0 }, { "[ece, cwr]", 0xc0, 0 },
	};
	static const struct eb_octets none;
	struct eb_octets echo = none, other = none;
	const struct eb_match *match;
	struct eb_config *config;
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		snprintf(text, sizeof(text), MATCH("tcp_flags: %s"), flags[i].text);
		config = parse(text);
		assert_int_equal(config->rules[0].match.flags_set, flags[i].set);
		assert_int_equal(config->rules[0].match.flags_clear, flags[i].clear);
		eb_config_free(config);
	}
	config = parse(MATCH("icmp_type: echo-request, fragment: no, vlan: [none, 7, 200-299], interface: none0, "
			     "length: 64"));
	match = &config->rules[0].match;
	eb_octets_add(&echo, 8);
	eb_octets_add(&other, 128);
	assert_true(match->has_icmp_type && match->has_fragment && !match->is_fragment);
	assert_memory_equal(&match->icmp_types, &echo, sizeof(echo));
	assert_memory_equal(&match->icmpv6_types, &other, sizeof(other));
	assert_int_equal(match->interfaces, 1);
	assert_int_equal(match->numbers[EB_VLAN].count, 3);
	assert_int_equal(match->numbers[EB_VLAN].items[0].last, 0);
	assert_int_equal(match->numbers[EB_VLAN].items[2].last, 299);
	assert_int_equal(match->numbers[EB_LENGTH].items[0].first, 64);
	eb_config_free(config);
	config = parse(MATCH("proto: icmpv6, icmp_type: [128, packet-too-big]"));
	match = &config->rules[0].match;
	eb_octets_add(&other, 2);
	assert_memory_equal(&match->icmp_types, &none, sizeof(none));
	assert_memory_equal(&match->icmpv6_types, &other, sizeof(other));
	eb_config_free(config);
}

static void test_protocols(void **state)
{
	static const struct {
		const char *text;
		int number;
	} forms[] = {
		{ "tcp", 6 },        { "udp", 17 },   { "icmp", 1 },  { "icmpv6", 58 },   { "ipv6-icmp", 58 },
		{ "sctp", 132 },     { "dccp", 33 },  { "gre", 47 },  { "udplite", 136 }, { "esp", 50 },
		{ "ah", 51 },        { "igmp", 2 },   { "ospf", 89 }, { "UDP", 17 },      { "0", 0 },
		{ "255", 255 },      { "'17'", 17 },
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct eb_config *config;

		snprintf(text, sizeof(text), MATCH("proto: %s"), forms[i].text);
		config = parse(text);
		expect_protocol(&config->rules[0].match, forms[i].number);
		eb_config_free(config);
	}
}

/* As templates and editors write them: whole, and in one way to be understood. */
static void test_numbers_of_templates(void **state)
{
	static const struct {
		const char *text;
		uint32_t size;
	} rows[] = {
		{ "1.048576e+06", 1048576 }, { "1.6777216e+07", 16777216 }, { "1e6", 1000000 }, { "1.5E3", 1500 },
		{ "2e+00k", 2000 },          { "1024.0e0", 1024 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct eb_config *config;
		char text[128];

		snprintf(text, sizeof(text), "\ufeffinterfaces: [none0]\ntable_size: %s\n", rows[i].text);
		config = parse(text);
		assert_int_equal(config->table_size, rows[i].size);
		eb_config_free(config);
	}
}

static void test_several_protocols(void **state)
{
	struct eb_config *config = parse(MATCH("proto: [tcp, udp, 255], dst: 192.0.2.1"));
	const struct eb_match *match = &config->rules[0].match;

	(void)state;
	for (int proto = 0; proto < 256; proto++)
		assert_int_equal(eb_octets_have(&match->protos, proto), proto == 6 || proto == 17 || proto == 255);
	eb_config_free(config);
}

/* Who denies everything, or one family, denies his own session too; a monitor, or a part, denies nobody. */
static void test_lockout_warnings(void **state)
{
	static const struct {
		const char *rule, *denied; /* NULL: no warning */
	} rows[] = {
		{ "action: deny", "everything" },
		{ "action: deny, match: { src: 0.0.0.0/0 }", "all of IPv4" },
		{ "action: deny, match: { src: [10.0.0.0/8, '::/0', '::/0'] }", "all of IPv6" },
		{ "action: deny, match: { src: [0.0.0.0/0, '::/0'] }", "everything" },
		{ "action: deny, mode: monitor", NULL },
		{ "action: deny, match: { proto: udp }", NULL },
		{ "action: deny, match: { src: 0.0.0.0/0, dport: 23 }", NULL },
		{ "action: deny, match: { src: 0.0.0.0/0, except: 10.0.0.0/8 }", NULL },
		{ "action: deny, match: { src: 10.0.0.0/8 }", NULL },
		{ "action: allow", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct eb_config *config;
		char text[256], expected[64];

		snprintf(text, sizeof(text), "interfaces: [eth0]\nrules:\n  - { name: x, %s }\n", rows[i].rule);
		config = parse(text);
		assert_int_equal(config->warning_count, rows[i].denied != NULL);
		if (rows[i].denied) {
			snprintf(expected, sizeof(expected), "test.yaml:3: rule \"x\": denies %s ", rows[i].denied);
			assert_memory_equal(config->warnings[0], expected, strlen(expected));
			assert_non_null(strstr(config->warnings[0], "--confirm"));
		}
		eb_config_free(config);
	}
}

/* --- prefix files --- */

static void join_prefixes(const struct eb_prefix_list *list, char *out, size_t size)
{
	char text[EB_PREFIX_TEXT_MAX];

	*out = '\0';
	for (size_t i = 0; i < list->count; i++)
		snprintf(out + strlen(out), size - strlen(out), "%s%s", i ? " " : "",
			 eb_prefix_print(&list->items[i], text));
}

static const char file_rule[] = MATCH("src: 192.0.2.1, src_file: list.txt");

static void test_src_file_joins_src(void **state)
{
	struct eb_config *config;

	(void)state;
	write_file("list.txt", "\t10.0.0.0/8\n#\n   # x\n::1", 0644);
	config = read_files(write_file("a.yaml", file_rule, 0644), NULL);
	assert_int_equal(config->rules[0].match.src.count, 3);
	expect_prefix(&config->rules[0].match.src.items[1], "10.0.0.0/8");
	expect_prefix(&config->rules[0].match.src.items[2], "::1/128");
	eb_config_free(config);
}

/* What lists look like, and the prefixes that they hold; then the one warning, of the file. */
static void test_forms_of_lists(void **state)
{
	static const struct {
		const char *text, *prefixes, *warning;
	} rows[] = { /* no prefixes: refused */
		{ "; Spamhaus\n192.0.2.0/24 ; SBL1\n", "192.0.2.0/24", NULL },
		{ "\xef\xbb\xbf" "192.0.2.1\r\n# x\r\n192.0.2.2\r\n", "192.0.2.1/32 192.0.2.2/32", NULL },
		{ "192.0.2.0-192.0.2.255\n192.0.2.1 - 192.0.2.6\n",
		  "192.0.2.0/24 192.0.2.1/32 192.0.2.2/31 192.0.2.4/31 192.0.2.6/32", NULL },
		{ "0.0.0.0-255.255.255.255\n::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n", "0.0.0.0/0 ::/0", NULL },
		{ "255.255.255.255-255.255.255.255\n", "255.255.255.255/32", NULL },
		{ "2001:db8::ff-2001:db8::1:0\n",
		  "2001:db8::ff/128 2001:db8::100/120 2001:db8::200/119 2001:db8::400/118 "
		  "2001:db8::800/117 2001:db8::1000/116 2001:db8::2000/115 2001:db8::4000/114 2001:db8::8000/113 "
		  "2001:db8::1:0/128", NULL },
		{ "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"#;,\"}\n{\"type\":\"metadata\",\"records\":1}\n",
		  "192.0.2.0/24", NULL },
		{ "{\"cidr\":\"192.0.2.0/24\"}\n{\"type\":\"metadata\",\"records\":2}\n", "192.0.2.0/24",
		  ": declares 2 records, but has 1; was the list cut?" },
		{ "192.000.002.000 - 192.000.002.255 , 000 , text, - and # more\n", "192.0.2.0/24", NULL },
		{ "192.0.2.010\n010.011.012.013\n192.0.2.8,a:b\n", NULL, NULL },
		{ "010.011.012.013\n192.168.100.200/32,DE\n", "10.11.12.13/32 192.168.100.200/32", NULL },
		{ "::ffff:192.0.2.1\n::ffff:c000:200/120\n::ffff:0:0/96\n::ffff:0:0/97\n",
		  "192.0.2.1/32 192.0.2.0/24 ::ffff:0.0.0.0/96 0.0.0.0/1", NULL },
		{ "::ffff:192.0.2.0-192.0.2.1\n", "192.0.2.0/31", NULL },
		{ "# old\r192.0.2.1\r192.0.2.2\r", "192.0.2.1/32 192.0.2.2/32",
		  ": lines end with only a carriage return; read as lines" },
		{ "192.0.2.1\n192.0.2.2", "192.0.2.1/32 192.0.2.2/32",
		  ":2: the last line has no newline at its end; was the list cut?" },
		{ "# old\n192.0.2.1\n<html>\n192.0.2.1000\n", NULL, NULL },
	};
	char warning[256];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *path = write_file("a.yaml", RULE("    action: allow\n    match: { src_file: list.txt }\n"),
					      0644);
		struct eb_config *config = NULL;
		char *error = NULL, text[1024] = "";

		write_file("list.txt", rows[i].text, 0644);
		if (eb_config_read(path, NULL, &config, &error)) {
			if (rows[i].prefixes)
				fail_msg("%s: %s", rows[i].text, error);
			free(error);
			continue;
		}
		join_prefixes(&config->rules[0].match.src, text, sizeof(text));
		assert_non_null(rows[i].prefixes);
		assert_string_equal(text, rows[i].prefixes);
		snprintf(warning, sizeof(warning), "%s/list.txt%s", directory, rows[i].warning ? rows[i].warning : "");
		assert_int_equal(config->warning_count, rows[i].warning != NULL);
		if (rows[i].warning)
			assert_string_equal(config->warnings[0], warning);
		eb_config_free(config);
	}
}

static void test_lists_refused(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{ "192.0.2.1\n\n192.0.2.858\n", ":3: \"192.0.2.858\" is not a prefix; write it like 192.0.2.0/24, "
						"192.0.2.1 or 2001:db8::/32" },
		{ "{\"ip\":\"192.0.2.1\"}\n", ":1: \"{\"ip\":\"192.0.2.1\"}\" has no text \"cidr\" in it" },
		{ "{\"cidr\":\n\"192.0.2.1\"}\n", ":1: \"{\"cidr\":\" is not JSON; write one whole object a line, like "
						  "{\"cidr\": \"192.0.2.0/24\"}" },
		{ "192.0.2.1\n{\"cidr\":\"x\"}\n",
		  ":2: \"x\" is not a prefix; write it like 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32" },
		{ "\xff\xfe" "1", ": is in UTF-16; save it as plain text or UTF-8" },
		{ "\n, x\n", ":2: nothing in front of a comma" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		write_file("list.txt", rows[i].text, 0644);
		expect_files_refused(write_file("a.yaml", MATCH("src_file: list.txt"), 0644), NULL, -EINVAL,
				     "%s/list.txt%s", directory, rows[i].error);
	}
}

static void test_bad_lines_skipped(void **state)
{
	const char *path = write_file("a.yaml", MATCH("src_file: list.txt, on_bad_line: skip"), 0644);
	struct eb_config *config;
	char expected[256];

	(void)state;
	write_file("list.txt", "cidr,name\n192.0.2.1,x\nhost.example\n# x\n", 0644);
	config = read_files(path, NULL);
	assert_int_equal(config->rules[0].match.src.count, 1);
	assert_int_equal(config->rules[0].match.files[0].skipped, 2);
	snprintf(expected, sizeof(expected), "%s/list.txt: skipped lines that are not valid: 2; the first, "
		 "line 1: \"cidr\" is not a prefix; write it like 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32", directory);
	assert_int_equal(config->warning_count, 1);
	assert_string_equal(config->warnings[0], expected);
	eb_config_free(config);
	/* Not a list at all, as a portal's page that was downloaded in its place. */
	write_file("list.txt", "<html>\n<body>\n", 0644);
	expect_files_refused(path, NULL, -EINVAL, "%s/list.txt: none of its 2 lines is valid; the first, line 1: "
						  "\"<html>\" is not a prefix; write it like 192.0.2.0/24, "
						  "192.0.2.1 or 2001:db8::/32", directory);
}

/* Each file's prefixes are known by their place, and can be exchanged for others. */
static void test_several_files(void **state)
{
	struct eb_prefix_list slice = { 0 };
	struct eb_prefix_error error;
	struct eb_config *config;
	struct eb_match *match;
	char text[256] = "";

	(void)state;
	write_file("list.txt", "192.0.2.1\n192.0.2.2\n", 0644);
	write_file("ca.pem", "192.0.2.3\n", 0644);
	config = read_files(write_file("a.yaml", MATCH("src: 192.0.2.0, src_file: [list.txt, ca.pem], "
						      "dst_file: ca.pem, src_except_file: list.txt, "
						      "dst_except: 192.0.2.9"), 0644), NULL);
	match = &config->rules[0].match;
	assert_int_equal(match->file_count, 4);
	assert_int_equal(match->dst.count, 1);
	assert_int_equal(match->src_except.count, 2);
	assert_int_equal(match->dst_except.count, 1);
	assert_int_equal(eb_prefix_list_parse(&slice, "10.0.0.1-10.0.0.4", &error), 0);
	assert_int_equal(eb_list_exchange(match, &match->files[0], &slice), 0);
	assert_int_equal(slice.count, 2);
	join_prefixes(&match->src, text, sizeof(text));
	assert_string_equal(text, "192.0.2.0/32 10.0.0.1/32 10.0.0.2/31 10.0.0.4/32 192.0.2.3/32");
	assert_int_equal(match->files[1].first, 4);
	assert_int_equal(match->files[3].first, 0);
	eb_prefix_list_done(&slice);
	assert_int_equal(eb_list_exchange(match, &match->files[1], &slice), 0);
	assert_int_equal(eb_list_exchange(match, &match->files[0], &slice), 0);
	join_prefixes(&match->src, text, sizeof(text));
	assert_string_equal(text, "192.0.2.0/32 192.0.2.3/32");
	assert_int_equal(slice.count, 3);
	eb_prefix_list_done(&slice);
	eb_config_free(config);
}

static void test_sides_of_exceptions(void **state)
{
	static const struct {
		const char *text;
		size_t src, dst;
	} rows[] = {
		{ MATCH("src: 10.0.0.0/8, except: 10.1.0.0/16"), 1, 0 },
		{ MATCH("dst: 10.0.0.0/8, except: 10.1.0.0/16"), 0, 1 },
		{ MATCH("except: [10.1.0.0/16, '::1']"), 2, 0 },
		{ MATCH("dst: 10.0.0.0/8, src: '::/0', src_except: '::1', dst_except: [10.1.0.0/16, 10.2.0.0/16]"),
		  1, 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct eb_config *config = parse(rows[i].text);

		assert_int_equal(config->rules[0].match.src_except.count, rows[i].src);
		assert_int_equal(config->rules[0].match.dst_except.count, rows[i].dst);
		assert_false(config->rules[0].match.has_src && !config->rules[0].match.src.count);
		eb_config_free(config);
	}
}

/* Somebody has it open and wrote a moment ago: half-written. Who merely has it open is no writer for ever. */
static void test_half_written(void **state)
{
	static const struct timespec long_ago[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	const char *path = write_file("list.txt", "192.0.2.1\n", 0644);
	struct eb_list_mark mark, again;
	int fd = open(path, O_WRONLY | O_APPEND);
	size_t size;
	char *text;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(eb_list_read(path, &text, &size, &mark), -EBUSY);
	assert_int_equal(futimens(fd, long_ago), 0);
	assert_int_equal(eb_list_read(path, &text, &size, &mark), 0);
	assert_string_equal(text, "192.0.2.1\n");
	free(text);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(eb_list_look(path, &again), 0);
	assert_false(eb_list_mark_equal(&mark, &again));
	assert_int_equal(close(fd), 0);
	assert_int_equal(eb_list_read(path, &text, &size, &mark), 0);
	assert_int_equal(size, 11);
	free(text);
}

/* Nobody is blocked; not everybody. */
static void test_empty_src_file(void **state)
{
	struct eb_config *config;

	(void)state;
	write_file("list.txt", "", 0644);
	config = read_files(write_file("a.yaml", MATCH("src_file: list.txt"), 0644), NULL);
	assert_true(config->rules[0].match.has_src);
	assert_int_equal(config->rules[0].match.src.count, 0);
	assert_int_equal(config->warning_count, 1);
	assert_non_null(strstr(config->warnings[0], "a.yaml:3: rule \"dns\": its src_file contains no prefix: it "
						    "matches no packet"));
	eb_config_free(config);
}

/* Who was to be let in is locked out. */
static void test_empty_allow_list(void **state)
{
	static const char text[] = CONFIG("rules:\n"
					  "- { name: a, action: allow, match: { src_file: list.txt } }\n"
					  "- { name: m, action: deny, mode: monitor }\n"
					  "- { name: d, action: deny, match: { proto: tcp } }\n");
	struct eb_config *config;

	(void)state;
	write_file("list.txt", "# nobody\n", 0644);
	config = read_files(write_file("a.yaml", text, 0644), NULL);
	assert_non_null(strstr(config->warnings[0], "a.yaml:3: rule \"a\": its src_file contains no prefix: it allows "
						    "no packet, and rule \"d\" after it denies"));
	eb_config_free(config);
}

static void test_src_file_refused(void **state)
{
	const char *path = write_file("a.yaml", file_rule, 0644);
	char line[6000];

	(void)state;
	write_file("list.txt", "10.0.0.0/8\n\n10.0.0.1/8 # x\n", 0644);
	expect_files_refused(path, NULL, -EINVAL, "%s/list.txt:3: \"10.0.0.1/8\" has bits set beyond its length; did "
						  "you mean 10.0.0.0/8?", directory);
	write_file("list.txt", "10.0.0.0/8, 10.0.0.1\n", 0644);
	expect_files_refused(path, NULL, -EINVAL, "%s/list.txt:1: \"10.0.0.0/8\" is followed by another prefix; one a "
						  "line", directory);
	write_file("list.txt", "10.0.0.0/8\n\x1b[2J\n", 0644);
	expect_files_refused(path, NULL, -EINVAL, "%s/list.txt:2: \"\\x1b[2J\" is not a prefix; write it like "
						  "192.0.2.0/24, 192.0.2.1 or 2001:db8::/32", directory);
	memset(line, ' ', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	write_file("list.txt", line, 0644);
	expect_files_refused(path, NULL, -EINVAL, "%s/list.txt:1: a line longer than 4094 characters, or not a text "
						  "file", directory);
	unlink(write_file("list.txt", "", 0644));
	expect_files_refused(path, NULL, -EINVAL, "%s:5: rule \"dns\": match.src_file: \"%s/list.txt\" cannot be read: "
						  "No such file or directory", path, directory);
}

static void write_prefixes(unsigned int count)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/list.txt", directory);
	file = fopen(path, "w");
	assert_non_null(file);
	for (unsigned int i = 0; i < count; i++)
		fprintf(file, "%u.%u.%u.%u/32\n", i >> 24, i >> 16 & 255, i >> 8 & 255, i & 255);
	assert_int_equal(fclose(file), 0);
}

static void test_a_million_prefixes(void **state)
{
	const char *path = write_file("a.yaml", MATCH("src_file: list.txt"), 0644);
	struct eb_config *config;

	(void)state;
	write_prefixes(1000000);
	config = read_files(path, NULL);
	assert_int_equal(config->rules[0].match.src.count, 1000000);
	expect_prefix(&config->rules[0].match.src.items[0], "0.0.0.0/32");
	expect_prefix(&config->rules[0].match.src.items[999999], "0.15.66.63/32");
	eb_config_free(config);
}

static void test_too_many_prefixes(void **state)
{
	(void)state;
	write_prefixes(2000001);
	expect_files_refused(write_file("a.yaml", MATCH("src_file: list.txt"), 0644), NULL, -EINVAL,
			     "%s/list.txt:2000001: more than 2000000 prefixes in one rule", directory);
}

/* --- warnings --- */

static void expect_warnings(const char *text, const char *first, const char *second)
{
	struct eb_config *config = parse(text);
	const char *expected[] = { first, second };
	size_t count = !!first + !!second;

	assert_int_equal(config->warning_count, count);
	for (size_t i = 0; i < count; i++)
		assert_string_equal(config->warnings[i], expected[i]);
	eb_config_free(config);
}

static void test_warnings(void **state)
{
	(void)state;
	expect_warnings(CONFIG(""), "test.yaml: there are no rules: everything passes", NULL);
	expect_warnings(CONFIG("rules: []\n"), "test.yaml: there are no rules: everything passes", NULL);
	expect_warnings(CONFIG("rules:\n"), "test.yaml: there are no rules: everything passes", NULL);
	expect_warnings(CONFIG("state_dir: ''\n"), "test.yaml: there are no rules: everything passes",
			"test.yaml: neither redis nor state_dir: a reboot gives every source a full bucket");
	expect_warnings(RULE("    action: limit\n    bytes: { rate: 1MB/s, burst: 1513 }\n"),
			"test.yaml:5: rule \"dns\": bytes: a burst of 1513 bytes never passes a full frame of none0, "
			"1514 bytes (VLAN tags add up to 8)", NULL);
	expect_warnings(RULE("    action: limit\n    bytes: { rate: 1MB/s, burst: 1514 }\n"), NULL, NULL);
	expect_warnings(LIMIT("    new_sources: { rate: 1/s, burst: 1048577 }\n"),
			"test.yaml:6: rule \"dns\": new_sources: a burst of 1048577 new sources is more than the table "
			"holds (table_size: 1048576)", NULL);
	expect_warnings(LIMIT("    new_sources: { rate: 1/s, burst: 1048576 }\n"), NULL, NULL);
	expect_warnings(LIMIT("  - { name: b, action: allow }\n"),
			"test.yaml:3: rules: rule \"dns\" matches everything; the rules after it, from \"b\" on, never "
			"decide", NULL);
	expect_warnings(REDIS("  password: hunter2\nrules: [{ name: a, action: allow }]\n"), NULL, NULL);
}

/* The loopback interface's frames are larger, if it is there: 65550 bytes with Linux's own MTU. */
static void test_frame_of_interface(void **state)
{
	struct eb_config *config;

	(void)state;
	if (access("/sys/class/net/lo", F_OK))
		skip();
	config = parse("interfaces: [none0, lo]\nrules: [{ name: a, action: limit, "
		       "bytes: { rate: 1MB/s, burst: 1514 } }]\n");
	assert_int_equal(config->warning_count, 1);
	assert_non_null(strstr(config->warnings[0], "full frame of lo, "));
	eb_config_free(config);
}

static void test_password_readable_by_all(void **state)
{
	struct eb_config *config;
	char expected[256];

	(void)state;
	write_file("password", "hunter2\n", 0644);
	config = read_files(write_file("a.yaml", REDIS("  password_file: password\n"
						       "rules: [{ name: a, action: allow }]\n"), 0644), NULL);
	snprintf(expected, sizeof(expected), "%s/a.yaml:3: redis.password_file: every user of this machine can read "
		 "\"%s/password\"; use chmod o-r", directory, directory);
	assert_int_equal(config->warning_count, 1);
	assert_string_equal(config->warnings[0], expected);
	expect_path(config->redis->password_file, "password");
	eb_config_free(config);

	config = read_files(write_file("a.yaml", REDIS("  password: hunter2\nrules: [{ name: a, action: allow }]\n"),
				       0644), NULL);
	snprintf(expected, sizeof(expected), "%s/a.yaml:3: redis.password: every user of this machine can read this "
		 "file; use chmod o-r or password_file", directory);
	assert_int_equal(config->warning_count, 1);
	assert_string_equal(config->warnings[0], expected);
	eb_config_free(config);
}

/* --- redis --- */

static void test_redis_defaults(void **state)
{
	struct eb_config *config = parse(CONFIG("redis: {}\n"));
	const struct eb_redis_config *redis = config->redis;

	(void)state;
	assert_int_equal(redis->kind, EB_REDIS_HOST);
	assert_int_equal(redis->node_count, 1);
	assert_string_equal(redis->nodes[0].host, "127.0.0.1");
	assert_int_equal(redis->nodes[0].port, 6379);
	assert_null(redis->socket);
	assert_null(redis->username);
	assert_null(redis->password);
	assert_false(redis->tls.is_on);
	assert_int_equal(redis->db, 0);
	assert_string_equal(redis->key, "token_bucket_fallback");
	assert_int_equal(redis->tick_ns, SECOND_NS);
	assert_int_equal(redis->connect_timeout_ns, SECOND_NS / 2);
	assert_int_equal(redis->restore_timeout_ns, 2 * SECOND_NS);
	eb_config_free(config);
}

static void test_redis_settings(void **state)
{
	struct eb_config *config = parse(REDIS("  host: '2001:db8::1'\n  port: 6380\n  db: 3\n  key: edge:buckets\n"
					       "  tick: 100ms\n  connect_timeout: 1.5s\n  restore_timeout: 0s\n"
					       "  tls: off\n  username: u\n  password: 'p w'\n"));
	const struct eb_redis_config *redis = config->redis;

	(void)state;
	assert_string_equal(redis->nodes[0].host, "2001:db8::1");
	assert_int_equal(redis->nodes[0].port, 6380);
	assert_int_equal(redis->db, 3);
	assert_string_equal(redis->key, "edge:buckets");
	assert_int_equal(redis->tick_ns, SECOND_NS / 10);
	assert_int_equal(redis->connect_timeout_ns, 3 * SECOND_NS / 2);
	assert_int_equal(redis->restore_timeout_ns, 0);
	assert_false(redis->tls.is_on);
	assert_string_equal(redis->username, "u");
	assert_string_equal(redis->password, "p w");
	eb_config_free(config);
}

static void test_redis_socket(void **state)
{
	struct eb_config *config = parse(REDIS("  socket: /run/redis/redis.sock\n"));

	(void)state;
	assert_int_equal(config->redis->kind, EB_REDIS_SOCKET);
	assert_string_equal(config->redis->socket, "/run/redis/redis.sock");
	assert_int_equal(config->redis->node_count, 0);
	eb_config_free(config);
}

static void test_redis_sentinel(void **state)
{
	const struct eb_redis_config *redis;
	struct eb_config *config;

	(void)state;
	write_file("password", "hunter2\r\n", 0600);
	config = read_files(write_file("a.yaml", REDIS("  sentinel: { master: edge, nodes: [ \"10.0.0.1:26380\", s2, "
						       "'[::1]' ], username: s, password_file: password, tls: true }\n"
						       "  password: other\n"), 0600), NULL);
	redis = config->redis;
	assert_int_equal(redis->kind, EB_REDIS_SENTINEL);
	assert_string_equal(redis->sentinel_master, "edge");
	assert_int_equal(redis->node_count, 3);
	assert_string_equal(redis->nodes[0].host, "10.0.0.1");
	assert_int_equal(redis->nodes[0].port, 26380);
	assert_string_equal(redis->nodes[1].host, "s2");
	assert_int_equal(redis->nodes[1].port, 26379);
	assert_string_equal(redis->nodes[2].host, "::1");
	assert_string_equal(redis->sentinel_username, "s");
	expect_path(redis->sentinel_password_file, "password");
	assert_true(redis->sentinel_tls.is_on);
	assert_string_equal(redis->password, "other");
	assert_false(redis->tls.is_on);
	eb_config_free(config);
}

static void test_redis_cluster(void **state)
{
	struct eb_config *config = parse(REDIS("  cluster: [ \"10.0.0.1:7000\", \"[2001:db8::2]:7001\" ]\n"));

	(void)state;
	assert_int_equal(config->redis->kind, EB_REDIS_CLUSTER);
	assert_int_equal(config->redis->node_count, 2);
	assert_string_equal(config->redis->nodes[1].host, "2001:db8::2");
	assert_int_equal(config->redis->nodes[1].port, 7001);
	eb_config_free(config);
}

static void test_redis_tls(void **state)
{
	struct eb_config *config;
	char expected[64];

	(void)state;
	snprintf(expected, sizeof(expected), "%s", write_file("ca.pem", "x", 0644));
	config = read_files(write_file("a.yaml", REDIS("  tls: { ca: ca.pem, cert: ca.pem, key: ca.pem, "
						       "server_name: redis.example }\n"), 0644), NULL);
	assert_true(config->redis->tls.is_on);
	assert_string_equal(config->redis->tls.ca, expected);
	assert_string_equal(config->redis->tls.cert, expected);
	assert_string_equal(config->redis->tls.key, expected);
	assert_string_equal(config->redis->tls.server_name, "redis.example");
	eb_config_free(config);
}

/* Not refused: rules take effect whatever became of a file that is read again at each connection. */
static void test_files_that_cannot_be_read(void **state)
{
	static const char missing[] = "cannot be read: No such file or directory";
	char *text = repeat("", "hunter2", 1000, "");
	const struct {
		const char *settings, *key, *content, *reason;
	} rows[] = {
		{ "  password_file: password\n", "password_file", NULL, missing },
		{ "  password_file: password\n", "password_file", "\n", "is empty; expected a password" },
		{ "  password_file: password\n", "password_file", "hunter2\nhunter2\n",
		  "holds more than one line; expected a password alone" },
		{ "  password_file: password\n", "password_file", "hunter2\x7f\n",
		  "holds the control character U+007F; expected a password alone" },
		{ "  password_file: password\n", "password_file", text, "cannot be read: File too large" },
		{ "  sentinel: { master: m, nodes: [a], password_file: password }\n", "sentinel.password_file", NULL,
		  missing },
		{ "  tls: { ca: password }\n", "tls.ca", NULL, missing },
		{ "  tls: { cert: password, key: list.txt }\n", "tls.cert", NULL, missing },
		{ "  tls: { cert: list.txt, key: password }\n", "tls.key", NULL, missing },
	};

	(void)state;
	write_file("list.txt", "", 0600);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct eb_config *config;
		char yaml[512], expected[512];
		const char *path;

		snprintf(yaml, sizeof(yaml), REDIS("%srules: [{ name: a, action: allow }]\n"), rows[i].settings);
		path = write_file("a.yaml", yaml, 0644);
		(void)unlink(write_file("password", rows[i].content ? rows[i].content : "", 0600));
		if (rows[i].content)
			write_file("password", rows[i].content, 0600);
		config = read_files(path, NULL);
		snprintf(expected, sizeof(expected), "%s:3: redis.%s: \"%s/password\" %s; it is read again at each "
			 "connection", path, rows[i].key, directory, rows[i].reason);
		assert_int_equal(config->warning_count, 1);
		assert_string_equal(config->warnings[0], expected);
		eb_config_free(config);
	}
	free(text);
}

static void test_password_with_newline(void **state)
{
	struct eb_config *config = parse(REDIS("  password: |\n    hunter2\n  sentinel: { master: m, nodes: [a], "
					       "password: \"p w\\r\\n\" }\n"));

	(void)state;
	assert_string_equal(config->redis->password, "hunter2");
	assert_string_equal(config->redis->sentinel_password, "p w");
	eb_config_free(config);
	setenv("REDIS_PASSWORD", "other\n", 1);
	config = parse(REDIS("  password_file: /nonexistent/file\n"));
	assert_string_equal(config->redis->password, "other");
	assert_null(config->redis->password_file);
	eb_config_free(config);
}

static void test_redis_file(void **state)
{
	const char *path = write_file("a.yaml", CONFIG("rules: [{ name: a, action: allow }]\n"), 0644);
	struct eb_config *config;

	(void)state;
	config = read_files(path, write_file("redis.json", "{\n\t\"host\": \"r.example\",\n\t\"port\": 6390, "
					     "\"password\":\"hunt\\/er2\",\"tls\":true\n}\n", 0600));
	assert_string_equal(config->redis->nodes[0].host, "r.example");
	assert_int_equal(config->redis->nodes[0].port, 6390);
	assert_string_equal(config->redis->password, "hunt/er2");
	assert_true(config->redis->tls.is_on);
	assert_int_equal(config->warning_count, 0);
	eb_config_free(config);
}

static void test_redis_file_replaces_section(void **state)
{
	const char *path = write_file("a.yaml", REDIS("  host: a\n  db: 2\n"
						      "rules: [{ name: a, action: allow }]\n"), 0644);
	const char *redis_path = write_file("redis.json", "{ \"host\": \"b\" }", 0600);
	struct eb_config *config = read_files(path, redis_path);
	char expected[256];

	(void)state;
	snprintf(expected, sizeof(expected), "%s: redis: has no effect; %s replaces it", path, redis_path);
	assert_string_equal(config->redis->nodes[0].host, "b");
	assert_int_equal(config->redis->db, 0);
	assert_int_equal(config->warning_count, 1);
	assert_string_equal(config->warnings[0], expected);
	eb_config_free(config);
}

static void test_redis_file_refused(void **state)
{
	const char *path = write_file("a.yaml", CONFIG(""), 0644), *redis_path;

	(void)state;
	redis_path = write_file("redis.json", "{ \"host\": \"b\",\n  \"redis_port\": 1 }", 0600);
	expect_files_refused(path, redis_path, -EINVAL,
			     "%s:2: unknown key \"redis_port\"; known are host, port, socket, sentinel, cluster, "
			     "username, password, password_file, db, tls, key, tick, connect_timeout, restore_timeout",
			     redis_path);
	redis_path = write_file("redis.json", "{ \"host\": \"b\", \"password\": null }", 0600);
	expect_files_refused(path, redis_path, -EINVAL,
			     "%s:1: password: has no value; give it one or leave the key out", redis_path);
	expect_files_refused(path, "/nonexistent/file", -ENOENT,
			     "/nonexistent/file: cannot be read: No such file or directory");
}

/* --- the environment --- */

static void test_environment_node(void **state)
{
	struct eb_config *config;

	(void)state;
	setenv("EDGEBUCKET_NODE", "other", 1);
	config = parse(CONFIG("node: edge-01\n"));
	assert_string_equal(config->node, "other");
	eb_config_free(config);
	setenv("EDGEBUCKET_NODE", "", 1);
	config = parse(CONFIG("node: edge-01\n"));
	assert_string_equal(config->node, "edge-01");
	eb_config_free(config);
	setenv("EDGEBUCKET_NODE", "a{b}", 1);
	expect_refused(CONFIG(""), "environment variable EDGEBUCKET_NODE: \"a{b}\" is not a node's name; up to 255 "
				   "letters, digits and . _ : @ / + -");
}

static void test_environment_redis(void **state)
{
	const struct eb_redis_config *redis;
	struct eb_config *config;

	(void)state;
	setenv("REDIS_HOST", "env.example", 1);
	setenv("REDIS_PORT", "7000", 1);
	setenv("REDIS_USERNAME", "env", 1);
	setenv("REDIS_PASSWORD", "hunter2", 1);
	setenv("REDIS_TLS", "true", 1);
	config = parse(REDIS("  host: file\n  port: 1\n  username: file\n  db: 2\n"
			     "  password_file: /nonexistent/file\n"));
	redis = config->redis;
	assert_string_equal(redis->nodes[0].host, "env.example");
	assert_int_equal(redis->nodes[0].port, 7000);
	assert_string_equal(redis->username, "env");
	assert_string_equal(redis->password, "hunter2");
	assert_true(redis->tls.is_on);
	assert_int_equal(redis->db, 2);
	eb_config_free(config);

	config = parse(CONFIG(""));
	assert_non_null(config->redis);
	assert_string_equal(config->redis->nodes[0].host, "env.example");
	eb_config_free(config);
}

static void test_environment_over_other_kinds(void **state)
{
	struct eb_config *config;

	(void)state;
	setenv("REDIS_PORT", "7000", 1);
	config = parse(REDIS("  socket: /s\nrules: [{ name: a, action: allow }]\n"));
	assert_int_equal(config->redis->kind, EB_REDIS_SOCKET);
	assert_int_equal(config->warning_count, 1);
	assert_string_equal(config->warnings[0],
			    "environment variable REDIS_PORT: has no effect with a socket, sentinel or cluster");
	eb_config_free(config);

	unsetenv("REDIS_PORT");
	setenv("REDIS_HOST", "h", 1);
	config = parse(REDIS("  cluster: [a, b]\nrules: [{ name: a, action: allow }]\n"));
	assert_int_equal(config->redis->kind, EB_REDIS_HOST);
	assert_int_equal(config->redis->node_count, 1);
	assert_string_equal(config->redis->nodes[0].host, "h");
	assert_int_equal(config->redis->nodes[0].port, 6379);
	assert_int_equal(config->warning_count, 1);
	assert_string_equal(config->warnings[0], "environment variable REDIS_HOST: replaces the configured socket, "
						 "sentinel or cluster");
	eb_config_free(config);
}

static void test_environment_without_redis(void **state)
{
	struct eb_config *config;

	(void)state;
	setenv("REDIS_PORT", "tcp://10.0.0.1:6379", 1);
	config = parse(CONFIG("rules: [{ name: a, action: allow }]\n"));
	assert_null(config->redis);
	assert_int_equal(config->warning_count, 0);
	eb_config_free(config);
	setenv("REDIS_PASSWORD", "hunter2", 1);
	config = parse(CONFIG("rules: [{ name: a, action: allow }]\n"));
	assert_null(config->redis);
	assert_int_equal(config->warning_count, 1);
	assert_string_equal(config->warnings[0],
			    "environment variable REDIS_PASSWORD: has no effect without a section redis or REDIS_HOST");
	eb_config_free(config);
}

static void test_environment_refused(void **state)
{
	static const struct {
		const char *name, *value, *text, *message;
	} rows[] = {
		{ "REDIS_HOST", "redis://:hunter2@h", CONFIG(""), "not a host name or an address" },
		{ "REDIS_PORT", "0", REDIS("  host: h\n"), "not a port; from 1 to 65535" },
		{ "REDIS_PORT", "65536", REDIS("  host: h\n"), "not a port; from 1 to 65535" },
		{ "REDIS_PORT", "tcp://10.0.0.1:6379", REDIS("  host: h\n"),
		  "not a port; looks like a service link of Kubernetes, see enableServiceLinks" },
		{ "REDIS_USERNAME", "a b", REDIS("  password: p\n"),
		  "must have 1 to 255 characters of printable ASCII without spaces" },
		{ "REDIS_USERNAME", "a", REDIS("  host: h\n"),
		  "there is no password for it; set REDIS_PASSWORD" },
		{ "REDIS_TLS", "maybe", REDIS("  host: h\n"), "neither true nor false" },
		{ "REDIS_TLS", "1", REDIS("  socket: /s\n"), "TLS cannot be used with the configured socket" },
	};
	char expected[256];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		clear_environment(state);
		setenv(rows[i].name, rows[i].value, 1);
		snprintf(expected, sizeof(expected), "environment variable %s: %s", rows[i].name, rows[i].message);
		expect_refused(rows[i].text, expected);
	}
}

static void test_free_nothing(void **state)
{
	(void)state;
	eb_config_free(NULL);
	eb_redis_config_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_refused),
		TEST(test_passwords_stay_out_of_messages),
		TEST(test_too_many),
		TEST(test_hostile),
		TEST(test_file_errors),
		TEST(test_defaults),
		TEST(test_patterns),
		TEST(test_targets),
		TEST(test_example),
		TEST(test_other_settings),
		TEST(test_fleet),
		TEST(test_metrics),
		TEST(test_ends_of_settings),
		TEST(test_chains_apart),
		TEST(test_rule_switches),
		TEST(test_packet_rates),
		TEST(test_byte_rates),
		TEST(test_byte_bursts),
		TEST(test_match_forms),
		TEST(test_match_details),
		TEST(test_protocols),
		TEST(test_numbers_of_templates),
		TEST(test_several_protocols),
		TEST(test_lockout_warnings),
		TEST(test_src_file_joins_src),
		TEST(test_forms_of_lists),
		TEST(test_lists_refused),
		TEST(test_bad_lines_skipped),
		TEST(test_several_files),
		TEST(test_sides_of_exceptions),
		TEST(test_half_written),
		TEST(test_empty_allow_list),
		TEST(test_empty_src_file),
		TEST(test_src_file_refused),
		TEST(test_a_million_prefixes),
		TEST(test_too_many_prefixes),
		TEST(test_warnings),
		TEST(test_frame_of_interface),
		TEST(test_password_readable_by_all),
		TEST(test_redis_defaults),
		TEST(test_redis_settings),
		TEST(test_redis_socket),
		TEST(test_redis_sentinel),
		TEST(test_redis_cluster),
		TEST(test_redis_tls),
		TEST(test_files_that_cannot_be_read),
		TEST(test_password_with_newline),
		TEST(test_redis_file),
		TEST(test_redis_file_replaces_section),
		TEST(test_redis_file_refused),
		TEST(test_environment_node),
		TEST(test_environment_redis),
		TEST(test_environment_over_other_kinds),
		TEST(test_environment_without_redis),
		TEST(test_environment_refused),
		TEST(test_free_nothing),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
