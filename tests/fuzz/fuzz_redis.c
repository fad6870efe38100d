// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hostile Redis, Sentinel or Cluster against the store above the client: everything from the bytes that a socket
 * gives to the fields that a restore gets, through connecting, failing over, being redirected and giving up.
 *
 * An input is text, so that seeds can be written and read: two letters of setting, then steps that begin with '~'.
 *
 *   setting: S one server, U a unix socket, N Sentinels, C Cluster; in small letters with user, password and db
 *            and a character that says how many bytes a read gives: its code, less 32
 *   0-7TEXT  the server of that connection, counted from the oldest one, sends TEXT
 *   xN rN    connection N is closed, is reset
 *   bN uN    connection N takes no more bytes, takes them again
 *   a f h    connections from now on are accepted, refused, not answered
 *   k n      names from now on have an address, have none
 *   tN       2^N milliseconds pass, N from 0 to f
 *   w m g s  write a batch, write the meta record, read it, scan
 *   q        free the store in the next callback that may
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_redis.h"
#include "redis/redis.h"
#include "store/restore.h"
#include "store/store.h"
#include "world.h"

#define MS 1000000ULL
#define OPERATIONS_MAX 1000

struct run {
	struct eb_store *store;
	unsigned int taken, done; /* operations */
	bool is_up;
	bool frees; /* in the next callback */
	struct eb_restore *restore;
};

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "fuzz_redis: %s\n", what);
	abort();
}

/* --- What the store calls --- */

static void free_if_asked(struct run *run)
{
	struct eb_store *store = run->store;

	if (!run->frees || !store)
		return;
	run->store = NULL;
	eb_store_free(store);
}

static void check_text(const char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text >= 0x7f)
			fail("a message is not one printable line");
}

static void on_up(void *arg)
{
	struct run *run = arg;

	if (run->is_up)
		fail("up twice");
	if (!eb_store_is_up(run->store))
		fail("up is not up");
	run->is_up = true;
	free_if_asked(run);
}

static void on_down(const char *text, void *arg)
{
	struct run *run = arg;

	run->is_up = false;
	check_text(text);
	free_if_asked(run);
}

static void on_writable(void *arg)
{
	free_if_asked(arg);
}

static void on_done(const struct eb_store_result *result, void *arg)
{
	struct run *run = arg;

	run->done++;
	if ((result->error != 0) != (*result->text != '\0'))
		fail("an error without words, or words without an error");
	check_text(result->text);
	free_if_asked(run);
}

static void on_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	if (strnlen(meta->boot_id, sizeof(meta->boot_id)) == sizeof(meta->boot_id) ||
	    strnlen(meta->agent, sizeof(meta->agent)) == sizeof(meta->agent))
		fail("a text of the meta record does not end");
	on_done(result, arg);
}

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct run *run = arg;

	if (field[field_len] || value[value_len])
		fail("a field is not NUL-terminated");
	eb_restore_add(run->restore, field, field_len, value, value_len, 0);
}

/* --- Steps --- */

static int write_batch(struct run *run)
{
	static const struct eb_store_batch batch = {
		.count = 2,
		.items = { { "slow|10.8.0.1/32", "1800000000000000000 0" }, { "slow|10.8.0.2/32", "" } },
	};

	return eb_store_write(run->store, &batch, on_done, run);
}

static int write_meta(struct run *run)
{
	static const struct eb_store_meta meta = { .schema = EB_STORE_SCHEMA, .boot_id = "boot", .agent = "fuzz" };

	return eb_store_write_meta(run->store, &meta, 1000000000000, on_done, run);
}

static void operate(struct run *run, char operation)
{
	int err;

	if (!run->store || run->taken == OPERATIONS_MAX)
		return;
	/* Nothing is called back from inside. */
	run->taken++;
	err = operation == 'w'	 ? write_batch(run)
	      : operation == 'm' ? write_meta(run)
	      : operation == 'g' ? eb_store_read_meta(run->store, on_meta, run)
	      : operation == 'c' ? eb_store_count(run->store, on_done, run)
				 : eb_store_scan(run->store, on_field, on_done, run);
	if (err)
		run->taken--;
	if (err && err != -ENOTCONN && err != -EAGAIN && err != -EBUSY && err != -EMSGSIZE)
		fail("an operation is refused for no known reason");
}

static uint64_t duration(char digit)
{
	unsigned int exponent = digit >= 'a' ? 10 + (digit - 'a') : digit - '0';

	return MS << (exponent & 15);
}

/* `rest` is what follows the letter; it has `len` bytes and a NUL behind them. */
static void step(struct run *run, char letter, const char *rest, size_t len)
{
	unsigned int index = (unsigned char)rest[0];

	switch (letter) {
	case '0' ... '7':
		world_deliver(letter - '0', rest, len);
		break;
	case 'x':
	case 'r':
		world_hang_up(index & 7, letter == 'r');
		break;
	case 'b':
	case 'u':
		world_set_taking(index & 7, letter == 'u');
		break;
	case 'a':
		world_set_connecting(WORLD_ACCEPTS);
		break;
	case 'f':
		world_set_connecting(WORLD_REFUSES);
		break;
	case 'h':
		world_set_connecting(WORLD_SAYS_NOTHING);
		break;
	case 'k':
	case 'n':
		world_set_resolving(letter == 'k');
		break;
	case 't':
		world_pass(duration(rest[0]));
		break;
	case 'w':
	case 'm':
	case 'g':
	case 'c':
	case 's':
		operate(run, letter);
		break;
	case 'q':
		run->frees = true;
		break;
	}
	world_run();
}

static void run_steps(struct run *run, char *text, char *end)
{
	while (text < end) {
		char *next = memchr(text, '~', end - text);

		if (!next)
			next = end;
		*next = '\0';
		if (next > text)
			step(run, text[0], text + 1, next - text - 1);
		text = next + 1;
	}
}

/* --- Life --- */

static void set_up(char setting, struct eb_redis_config *out)
{
	static struct eb_endpoint nodes[] = { { "10.0.0.1", 26379 }, { "redis.example", 6379 } };
	static const struct {
		char letter;
		enum eb_redis_kind kind;
		size_t node_count;
	} kinds[] = { { 'S', EB_REDIS_HOST, 1 }, { 'U', EB_REDIS_SOCKET, 0 }, { 'N', EB_REDIS_SENTINEL, 2 },
		      { 'C', EB_REDIS_CLUSTER, 2 } };
	bool has_password = setting >= 'a';

	*out = (struct eb_redis_config){
		.nodes = nodes,
		.node_count = 1,
		.socket = "/run/redis.sock",
		.sentinel_master = "edge",
		.username = has_password ? "edgebucket" : NULL,
		.password = has_password ? "secret" : NULL,
		.sentinel_password = has_password ? "secret" : NULL,
		.key = "token_bucket_fallback",
		.connect_timeout_ns = 500 * MS,
	};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if ((setting & ~0x20) != kinds[i].letter)
			continue;
		out->kind = kinds[i].kind;
		out->node_count = kinds[i].node_count;
	}
	out->db = has_password && out->kind != EB_REDIS_CLUSTER;
}

static void run(char *text, size_t size)
{
	static const struct eb_policy policy; /* no rules: the fields are read, and then unknown */
	static const struct eb_redis_limits limits = { .max_requests = 8, .max_bytes = 4096, .max_reply_bytes = 8192 };
	struct run run = { .restore = eb_restore_new(&policy, 100) };
	struct eb_store_events events = { .up = on_up, .down = on_down, .writable = on_writable, .arg = &run };
	struct eb_redis_config config;

	set_up(text[0], &config);
	world_begin((unsigned char)text[1] > 32 ? (unsigned char)text[1] - 32 : 1);
	if (!run.restore ||
	    eb_store_redis_new(world_loop(), &config, &limits, "node", EB_STORE_BUCKETS, &events, &run.store))
		fail("no store");
	world_run();
	run_steps(&run, text + 2, text + size);
	run.frees = false;
	eb_store_free(run.store);
	if (run.done != run.taken)
		fail("an operation was not called back once");
	world_end();
	eb_restore_free(run.restore);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size < 2)
		return 0;
	text = malloc(size + 1);
	if (!text)
		fail("out of memory");
	memcpy(text, data, size);
	text[size] = '\0';
	run(text, size);
	free(text);
	return 0;
}
