/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An asynchronous Redis client inside an sd-event loop: standalone, Sentinel or Cluster, over TCP, unix socket or TLS.
 *
 * Owns every connection to Redis: it connects, follows failovers and reconnects by itself, for as long as it lives.
 * Single-threaded; no function blocks, whatever the servers do, and memory is bounded at all times: a command that
 * cannot be sent now is refused, never put by. The store (store_redis.c) and the command line use it.
 */
#ifndef EB_REDIS_H
#define EB_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct eb_redis;        /* opaque */
struct eb_redis_config; /* config_redis.h */

enum eb_redis_error {
	EB_REDIS_OK,
	/* No reply came, and the connection is gone. Whether the command was carried out is unknown. */
	EB_REDIS_CLOSED,      /* by eb_redis_free() */
	EB_REDIS_CONNECT,     /* not reachable, or the name has no address */
	EB_REDIS_TLS,         /* files, handshake, certificate or name */
	EB_REDIS_LOST,        /* the server closed it */
	EB_REDIS_TIMEOUT,     /* the server neither answered nor read */
	EB_REDIS_PROTOCOL,    /* what came is no reply, or a larger one than we read */
	EB_REDIS_NO_MASTER,   /* Sentinels or Cluster know none for us, or what they named is none */
	/* Replies that end the connection: another server, or another time, may be better. */
	EB_REDIS_AUTH,        /* NOAUTH, WRONGPASS, or no password in its file */
	EB_REDIS_LOADING,     /* LOADING, MASTERDOWN */
	EB_REDIS_READONLY,    /* the server became a replica */
	EB_REDIS_MAX_CLIENTS,
	/* Replies that do not. */
	EB_REDIS_NO_PERMISSION,
	EB_REDIS_OUT_OF_MEMORY, /* maxmemory is reached and nothing may be evicted */
	EB_REDIS_MISCONF,     /* the server cannot write its own files, and takes no writes until it can */
	EB_REDIS_NO_REPLICAS,
	EB_REDIS_BUSY,        /* a script is running */
	EB_REDIS_CLUSTER_DOWN,
	EB_REDIS_TRY_AGAIN,
	EB_REDIS_MOVED,
	EB_REDIS_ASK,
	EB_REDIS_OTHER,       /* any other error reply */
	EB_REDIS_ERRORS,
};

/* One word, for logs and metrics. */
const char *eb_redis_error_name(enum eb_redis_error error);

enum eb_redis_type {
	EB_REDIS_NIL,
	EB_REDIS_STRING,
	EB_REDIS_STATUS,
	EB_REDIS_ERROR,
	EB_REDIS_INTEGER,
	EB_REDIS_ARRAY,
};

/* Strings are NUL-terminated behind their `len` bytes. Valid during the callback that gets it only. */
struct eb_redis_reply {
	enum eb_redis_type type;
	long long integer;
	const char *str;
	size_t len;
	size_t count; /* of an array */
	struct eb_redis_reply *items;
};

struct eb_redis_result {
	enum eb_redis_error error;
	const char *text; /* one printable line without secrets that says what went wrong; "" when nothing did */
	const struct eb_redis_reply *reply; /* NULL when none came */
	uint64_t latency_ns; /* from eb_redis_command() to the reply */
};

/* Called exactly once for each command taken, from the loop or from eb_redis_free(). */
typedef void (*eb_redis_done)(const struct eb_redis_result *result, void *arg);

/* Any of them may be NULL. All may call any function here but eb_redis_wait_up(); `down` and `up` alternate, but for
 * further attempts that failed, which call `down` again. */
struct eb_redis_events {
	void (*up)(void *arg);
	void (*down)(enum eb_redis_error error, const char *text, void *arg);
	void (*writable)(void *arg); /* a command was refused with -EAGAIN; now there is room again */
	void *arg;
};

/* What no configuration holds; 0 takes the default. */
struct eb_redis_limits {
	size_t max_requests;        /* without reply yet: 256 */
	size_t max_bytes;           /* of commands not sent yet: 4 MiB */
	size_t max_reply_bytes;     /* 8 MiB; a larger one ends the connection */
	uint64_t request_timeout_ns;/* without a byte either way while replies are due: 2 s */
	uint64_t idle_ping_ns;      /* how long a connection may be silent before it is tried: 10 s */
	uint64_t backoff_min_ns;    /* before connecting again: 100 ms, doubling up to 5 s, with jitter */
	uint64_t backoff_max_ns;
};

/*
 * Starts to connect; nothing is called back before the loop runs. The configuration is copied, `keys` (those that
 * commands will write to; in a Cluster, up means that all their nodes are) too. Where there are any, a replica is not
 * up, and a name's next address is tried. Files of passwords and of TLS are read for
 * each connection; what is wrong with them is told by `down`. Returns 0 or -ENOMEM.
 */
int eb_redis_new(sd_event *event, const struct eb_redis_config *config, const struct eb_redis_limits *limits,
		 const char *const *keys, size_t key_count, const struct eb_redis_events *events,
		 struct eb_redis **out);

/* Every command without reply is called back with EB_REDIS_CLOSED. Accepts NULL. Safe inside callbacks. */
void eb_redis_free(struct eb_redis *redis);

/*
 * Sends a command; `key` is the key it works on, for Cluster. Arguments are copied. Commands for one key are carried
 * out in order, but for those that Cluster redirects, which may fall behind later ones. Returns 0; -ENOTCONN while
 * down; -EAGAIN when too much is under way; -EMSGSIZE for a command larger than `max_bytes`; -ENOMEM. On failure `done`
 * is not called.
 */
int eb_redis_command(struct eb_redis *redis, const char *key, int argc, const char *const *argv, const size_t *lens,
		     eb_redis_done done, void *arg);

bool eb_redis_is_up(const struct eb_redis *redis);

/* Why it is, or last was, down; or the last error reply. "" when there never was one. Valid until the next call. */
const char *eb_redis_last_error(const struct eb_redis *redis);

/* Of the last command that was answered; 0 when there is none. */
uint64_t eb_redis_last_latency_ns(const struct eb_redis *redis);

/* Whom commands go to: the numeric address, "127.0.0.1:6379", or "/run/redis.sock"; "" while unknown. */
const char *eb_redis_peer(const struct eb_redis *redis);

/* Commands that may be sent now. */
size_t eb_redis_room(const struct eb_redis *redis);

/* Runs the loop, which nobody else may be running, until the first command can be sent. Returns 0, or -ETIMEDOUT:
 * eb_redis_last_error() then says why. For the command line. */
int eb_redis_wait_up(struct eb_redis *redis, uint64_t timeout_ns);

/* Runs `event` until *done; 0 or -ETIMEDOUT or the loop's own negative errno. */
int eb_redis_run_until(sd_event *event, const bool *done, uint64_t timeout_ns);

#endif
