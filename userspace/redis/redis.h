/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An asynchronous Redis client inside an sd-event loop: standalone, Sentinel or Cluster, over TCP, unix socket or TLS.
 *
 * The client owns every connection to Redis. It connects, follows failovers and reconnects by itself until it is freed.
 * It is single-threaded. No function blocks, whatever the servers do, and memory is always bounded: a command that
 * cannot be sent now is refused and not queued. The store (store_redis.c) and the command line use it.
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
	/* No reply arrived, and the connection is closed. It is unknown whether the server executed the command. */
	EB_REDIS_CLOSED,      /* by eb_redis_free() */
	EB_REDIS_CONNECT,     /* not reachable, or the name has no address */
	EB_REDIS_TLS,         /* files, handshake, certificate or name */
	EB_REDIS_LOST,        /* the server closed it */
	EB_REDIS_TIMEOUT,     /* the server neither answered nor read */
	EB_REDIS_PROTOCOL,    /* the received bytes are not a reply, or one above the size limit */
	EB_REDIS_NO_MASTER,   /* Sentinels or Cluster name no master, or the server that they name is not a master */
	/* Replies that close the connection, because another server or a later attempt might succeed. */
	EB_REDIS_AUTH,        /* NOAUTH, WRONGPASS, or the password file contains none */
	EB_REDIS_LOADING,     /* LOADING, MASTERDOWN */
	EB_REDIS_READONLY,    /* the server became a replica */
	EB_REDIS_MAX_CLIENTS,
	/* Replies that do not close it. */
	EB_REDIS_NO_PERMISSION,
	EB_REDIS_OUT_OF_MEMORY, /* maxmemory is reached, and the server must not evict anything */
	EB_REDIS_MISCONF,     /* the server cannot write its own files, and refuses writes until it can */
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

/* A string has `len` bytes and a NUL. A reply is only valid during the callback that receives it. */
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
	const char *text; /* one printable line without secrets that says what went wrong; "" if nothing did */
	const struct eb_redis_reply *reply; /* NULL if none arrived */
	uint64_t latency_ns; /* from eb_redis_command() to the reply */
};

/* Called exactly once for each accepted command, from the event loop or from eb_redis_free(). */
typedef void (*eb_redis_done)(const struct eb_redis_result *result, void *arg);

/* Each one can be NULL. They can call every function here except eb_redis_wait_up(). `down` and `up` alternate, except
 * that `down` is called again for each further failed attempt. */
struct eb_redis_events {
	void (*up)(void *arg);
	void (*down)(enum eb_redis_error error, const char *text, void *arg);
	void (*writable)(void *arg); /* after a command was refused with -EAGAIN: there is room again */
	void *arg;
};

/* Limits that are not configurable; 0 selects the default, which is given here. */
struct eb_redis_limits {
	size_t max_requests;        /* commands without a reply: 256 */
	size_t max_bytes;           /* bytes of commands that are not sent yet: 4 MiB */
	size_t max_reply_bytes;     /* 8 MiB; a larger reply closes the connection */
	uint64_t request_timeout_ns;/* without a byte in either direction while replies are due: 2 s */
	uint64_t idle_ping_ns;      /* an idle connection is tested with PING after this time: 10 s */
	uint64_t backoff_min_ns;    /* before a reconnect: 100 ms, doubling up to 5 s, with jitter */
	uint64_t backoff_max_ns;
};

/*
 * Starts to connect; no callback is called before the event loop runs. `config` and `keys` are copied. `keys` are the
 * keys to which commands will write: in a Cluster, the client is only up if the nodes of all keys are. If there are
 * keys, a replica does not count as up, and the client tries the next address of the name. It reads the files of
 * passwords and TLS for each connection, and reports their errors with `down`. Returns 0 and a client for
 * eb_redis_free(), or -ENOMEM.
 */
int eb_redis_new(sd_event *event, const struct eb_redis_config *config, const struct eb_redis_limits *limits,
		 const char *const *keys, size_t key_count, const struct eb_redis_events *events,
		 struct eb_redis **out);

/* Calls the callbacks of all commands without a reply, with EB_REDIS_CLOSED. Accepts NULL. Safe inside callbacks. */
void eb_redis_free(struct eb_redis *redis);

/*
 * Sends a command. `key` is the key on which the command works, for Cluster. The arguments are copied. The server
 * executes commands for one key in order, except those that a Cluster redirects: later commands might overtake them.
 * Returns 0; -ENOTCONN while down; -EAGAIN if too many commands or bytes are in flight; -EMSGSIZE for a command larger
 * than `max_bytes`; or -ENOMEM. On failure `done` is not called.
 */
int eb_redis_command(struct eb_redis *redis, const char *key, int argc, const char *const *argv, const size_t *lens,
		     eb_redis_done done, void *arg);

bool eb_redis_is_up(const struct eb_redis *redis);

/* Why the client is, or last was, down; or the last error reply. "" if there was none. Valid until the next call. */
const char *eb_redis_last_error(const struct eb_redis *redis);

/* The latency of the last command with a reply, in nanoseconds; 0 if there was none. */
uint64_t eb_redis_last_latency_ns(const struct eb_redis *redis);

/* The server to which commands are sent: its numeric address, "127.0.0.1:6379", or "/run/redis.sock"; "" if unknown. */
const char *eb_redis_peer(const struct eb_redis *redis);

/* The number of commands that can be sent now. */
size_t eb_redis_room(const struct eb_redis *redis);

/* For the command line: runs the event loop, which must not be running, until a command can be sent. Returns 0, or
 * -ETIMEDOUT; then eb_redis_last_error() says why. */
int eb_redis_wait_up(struct eb_redis *redis, uint64_t timeout_ns);

/* Runs `event` until *done is true. Returns 0, -ETIMEDOUT, or the negative errno of the event loop. */
int eb_redis_run_until(sd_event *event, const bool *done, uint64_t timeout_ns);

#endif
