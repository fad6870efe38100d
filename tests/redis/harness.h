/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Real redis-server processes for the tests, in a directory of their own, on free ports of 127.0.0.1. They die with
 * the test, whatever ends it.
 */
#ifndef EB_TEST_HARNESS_H
#define EB_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "config/config_redis.h"
#include "redis/redis.h"

#define PATIENCE_NS 20000000000ULL
#define MS 1000000ULL
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct server {
	pid_t pid; /* 0 when it does not run */
	uint16_t port, tls_port;
	char dir[64];
	char socket[80];
	const char *const *args; /* further ones, NULL at the end */
	bool is_sentinel;
};

/* The test's directory, made on first use and removed at exit. */
const char *test_dir(void);

uint16_t free_port(void);

/* Picks directory and ports, starts it and waits until it answers. */
void server_start(struct server *server, const char *const *args);

/* The same for a Sentinel: `config` is the text of its file, to which port and the like are added. */
void sentinel_start(struct server *server, const char *config);

/* Starts it again as it was. `wait`: until it answers. */
void server_restart(struct server *server, bool wait);
void server_kill(struct server *server); /* SIGKILL; nothing when it does not run */
void server_stop(struct server *server); /* SIGSTOP */
void server_continue(struct server *server);

/* Runs a command over a connection of its own; the reply is the caller's. Fails the test when there is none. */
redisReply *server_command(struct server *server, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Runs a command that answers OK, a number or a text, and forgets the reply; fails the test on an error. */
void server_do(struct server *server, const char *format, ...) __attribute__((format(printf, 2, 3)));
long long server_number(struct server *server, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Gives a user exactly the rights of the line in deploy/redis/edgebucket.acl that holds `word`, plus `more` (which may
 * take some away again, and may be NULL). Tests run at the top of the source tree. */
void server_set_user(struct server *server, const char *password, const char *word, const char *more);

/* Text in a file of test_dir(); returns its path, which lasts until the next call but three. */
const char *write_file(const char *name, const char *text);

/* Runs a shell command with test_dir() as its directory; fails the test when it fails. */
void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a test sees of a client. */
struct watch {
	sd_event *event;
	struct eb_redis *redis;
	unsigned int ups, downs, writables;
	enum eb_redis_error error;
	char text[256];
};

struct eb_redis_config base_config(const struct server *server);
struct eb_redis_limits quick_limits(void);

void watch_open(struct watch *watch, const struct eb_redis_config *config, const struct eb_redis_limits *limits,
		const char *const *keys, size_t key_count);
void watch_close(struct watch *watch);

/* Runs the loop until the condition holds, or fails the test. */
#define RUN_UNTIL(loop, condition)                                                      \
	do {                                                                            \
		uint64_t until_ns_ = eb_monotonic_ns() + PATIENCE_NS;                   \
		while (!(condition)) {                                                  \
			if (eb_monotonic_ns() > until_ns_)                              \
				fail_msg("%s:%d: never came true: %s", __FILE__, __LINE__, #condition); \
			run_once(loop);                                                 \
		}                                                                       \
	} while (0)

void run_once(sd_event *event);

/* Runs the loop for as long. */
void run_for(sd_event *event, uint64_t ns);

/* A command and its answer, through the loop. */
struct answer {
	bool is_there;
	enum eb_redis_error error;
	char text[256];
	char str[256]; /* of a string or status */
	long long integer;
	size_t count;
};

void on_answer(const struct eb_redis_result *result, void *arg);

/* Sends words separated by spaces; `key` is the second. Returns what eb_redis_command() did. */
int ask(struct watch *watch, struct answer *answer, const char *words);

/* What a TCP proxy does to what it forwards; 0 for nothing. */
struct proxy_faults {
	size_t cut_after;      /* bytes from the client: the connection is reset */
	size_t swallow_after;  /* bytes of what answers one message of the client: the rest is lost */
	unsigned int pause_ms; /* before each 4 KiB of what the server sends */
};

/* In a process of its own, one connection after the other, to `port`. `listen_port`: where it listens. */
pid_t proxy_start(uint16_t port, struct proxy_faults faults, uint16_t *listen_port);

/* A server that says `text` to everybody, and then nothing more. */
pid_t talker_start(const char *text, uint16_t *listen_port);
/* A server for one client that answers `text` to whatever it reads. Returns its process. */
pid_t parrot_start(const char *text, uint16_t *listen_port);
void process_kill(pid_t pid);

size_t resident_bytes(void);

#endif
