// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define ARGS_MAX 64

static pid_t owner;
static char directory[48];

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 5 * MS }, NULL);
}

/* Returns whether it ended well. */
static bool run_shell(const char *command)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static void remove_directory(void)
{
	char command[80];

	if (getpid() != owner)
		return;
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	if (!run_shell(command))
		fprintf(stderr, "%s is left behind\n", directory);
}

const char *test_dir(void)
{
	if (!*directory) {
		strcpy(directory, "/tmp/ebtest-redis-XXXXXX");
		assert_non_null(mkdtemp(directory));
		owner = getpid();
		atexit(remove_directory);
	}
	return directory;
}

uint16_t free_port(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int fd;

	/* Cluster nodes also listen 10000 above. */
	do {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		addr.sin_port = 0;
		assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
		close(fd);
	} while (ntohs(addr.sin_port) > 55000);
	return ntohs(addr.sin_port);
}

const char *write_file(const char *name, const char *text)
{
	static char paths[4][128];
	static unsigned int next;
	char *path = paths[next++ % 4];
	FILE *file;

	snprintf(path, sizeof(paths[0]), "%s/%s", test_dir(), name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	return path;
}

void shell(const char *format, ...)
{
	char command[2048], whole[2200];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	snprintf(whole, sizeof(whole), "cd '%s' && { %s; } >>shell.log 2>&1", test_dir(), command);
	if (!run_shell(whole))
		fail_msg("failed: %s", command);
}

static redisContext *try_connect(const struct server *server)
{
	struct timeval timeout = { .tv_sec = 2 };
	redisContext *context = server->is_sentinel ? redisConnectWithTimeout("127.0.0.1", server->port, timeout)
						    : redisConnectUnixWithTimeout(server->socket, timeout);

	if (context && context->err) {
		redisFree(context);
		context = NULL;
	}
	if (context)
		redisSetTimeout(context, timeout);
	return context;
}

static bool answers(const struct server *server)
{
	redisContext *context = try_connect(server);
	redisReply *reply = context ? redisCommand(context, "PING") : NULL;
	bool does = reply && (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "LOADING", 7));

	if (reply)
		freeReplyObject(reply);
	if (context)
		redisFree(context);
	return does;
}

static void run_server(const struct server *server)
{
	char port[8], tls_port[8], log[96], config[96];
	const char *argv[ARGS_MAX] = { "redis-server" };
	int argc = 1;

	snprintf(port, sizeof(port), "%u", server->port);
	snprintf(tls_port, sizeof(tls_port), "%u", server->tls_port);
	snprintf(log, sizeof(log), "%s/log", server->dir);
	snprintf(config, sizeof(config), "%s/config", server->dir);
	if (server->is_sentinel) {
		argv[argc++] = config;
		argv[argc++] = "--sentinel";
	} else {
		const char *common[] = { "--port", port, "--bind", "127.0.0.1", "--unixsocket", server->socket,
					 "--dir", server->dir, "--save", "", "--appendonly", "no", "--logfile", log,
					 "--enable-debug-command", "yes" };

		for (size_t i = 0; i < COUNT(common); i++)
			argv[argc++] = common[i];
		for (int i = 0; server->args && server->args[i] && argc < ARGS_MAX - 3; i++)
			argv[argc++] = server->args[i];
		for (int i = 0; server->args && server->args[i]; i++)
			if (!strcmp(server->args[i], "--tls-cert-file")) {
				argv[argc++] = "--tls-port";
				argv[argc++] = tls_port;
			}
	}
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

void server_restart(struct server *server, bool wait)
{
	uint64_t until = eb_monotonic_ns() + PATIENCE_NS;

	server->pid = fork();
	assert_true(server->pid >= 0);
	if (!server->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_server(server);
	}
	while (wait && !answers(server)) {
		if (eb_monotonic_ns() > until || waitpid(server->pid, NULL, WNOHANG) == server->pid)
			fail_msg("redis-server in %s does not start", server->dir);
		nap();
	}
}

static void prepare(struct server *server)
{
	static unsigned int count;

	snprintf(server->dir, sizeof(server->dir), "%s/s%u", test_dir(), count++);
	snprintf(server->socket, sizeof(server->socket), "%s/socket", server->dir);
	assert_int_equal(mkdir(server->dir, 0700), 0);
	server->port = free_port();
	server->tls_port = free_port();
}

void server_start(struct server *server, const char *const *args)
{
	memset(server, 0, sizeof(*server));
	prepare(server);
	server->args = args;
	server_restart(server, true);
}

void sentinel_start(struct server *server, const char *config)
{
	char path[96];
	FILE *file;

	memset(server, 0, sizeof(*server));
	prepare(server);
	server->is_sentinel = true;
	snprintf(path, sizeof(path), "%s/config", server->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, "port %u\nbind 127.0.0.1\ndir %s\nlogfile %s/log\n%s", server->port, server->dir, server->dir,
		config);
	assert_int_equal(fclose(file), 0);
	server_restart(server, true);
}

void process_kill(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void server_kill(struct server *server)
{
	process_kill(server->pid);
	server->pid = 0;
}

void server_stop(struct server *server)
{
	kill(server->pid, SIGSTOP);
}

void server_continue(struct server *server)
{
	kill(server->pid, SIGCONT);
}

static redisReply *command_va(struct server *server, const char *format, va_list args)
{
	redisContext *context = try_connect(server);
	redisReply *reply;

	if (!context)
		fail_msg("no connection to %s", server->dir);
	reply = redisvCommand(context, format, args);
	if (!reply)
		fail_msg("no reply of %s: %s", server->dir, context->errstr);
	redisFree(context);
	return reply;
}

redisReply *server_command(struct server *server, const char *format, ...)
{
	redisReply *reply;
	va_list args;

	va_start(args, format);
	reply = command_va(server, format, args);
	va_end(args);
	return reply;
}

void server_do(struct server *server, const char *format, ...)
{
	redisReply *reply;
	va_list args;

	va_start(args, format);
	reply = command_va(server, format, args);
	va_end(args);
	if (reply->type == REDIS_REPLY_ERROR)
		fail_msg("%s: %s", format, reply->str);
	freeReplyObject(reply);
}

long long server_number(struct server *server, const char *format, ...)
{
	redisReply *reply;
	long long number;
	va_list args;

	va_start(args, format);
	reply = command_va(server, format, args);
	va_end(args);
	if (reply->type != REDIS_REPLY_INTEGER)
		fail_msg("%s: no number", format);
	number = reply->integer;
	freeReplyObject(reply);
	return number;
}

static void find_rights(const char *word, char *out, size_t size)
{
	FILE *file = fopen("deploy/redis/edgebucket.acl", "r");
	char line[1024];

	assert_non_null(file);
	*out = '\0';
	while (!*out && fgets(line, sizeof(line), file))
		if (strstr(line, word) && strstr(line, "resetchannels"))
			snprintf(out, size, "%s", strstr(line, "resetchannels"));
	fclose(file);
	assert_true(*out);
	out[strcspn(out, "\n")] = '\0';
}

void server_set_user(struct server *server, const char *password, const char *word, const char *more)
{
	char rights[1024], password_rule[64], *save = NULL;
	const char *argv[40] = { "ACL", "SETUSER", "edgebucket", "reset", "on", password_rule };
	redisContext *context = try_connect(server);
	redisReply *reply;
	int argc = 6;

	assert_non_null(context);
	snprintf(password_rule, sizeof(password_rule), ">%s", password);
	find_rights(word, rights, sizeof(rights));
	for (char *rule = strtok_r(rights, " ", &save); rule; rule = strtok_r(NULL, " ", &save))
		argv[argc++] = rule;
	if (more)
		argv[argc++] = more;
	reply = redisCommandArgv(context, argc, argv, NULL);
	assert_non_null(reply);
	assert_string_equal(reply->str, "OK");
	freeReplyObject(reply);
	redisFree(context);
}

void run_once(sd_event *event)
{
	assert_true(sd_event_run(event, 20000) >= 0);
}

void run_for(sd_event *event, uint64_t ns)
{
	uint64_t until = eb_monotonic_ns() + ns;

	while (eb_monotonic_ns() < until)
		run_once(event);
}

static void on_up(void *arg)
{
	((struct watch *)arg)->ups++;
}

static void on_down(enum eb_redis_error error, const char *text, void *arg)
{
	struct watch *watch = arg;

	watch->downs++;
	watch->error = error;
	snprintf(watch->text, sizeof(watch->text), "%s", text);
}

static void on_writable(void *arg)
{
	((struct watch *)arg)->writables++;
}

struct eb_redis_config base_config(const struct server *server)
{
	static struct eb_endpoint nodes[4];
	static unsigned int next;
	struct eb_endpoint *node = &nodes[next++ % 4];

	*node = (struct eb_endpoint){ .host = "127.0.0.1", .port = server->port };
	return (struct eb_redis_config){
		.kind = EB_REDIS_HOST,
		.nodes = node,
		.node_count = 1,
		.key = "token_bucket_fallback",
		.connect_timeout_ns = 500 * MS,
	};
}

struct eb_redis_limits quick_limits(void)
{
	return (struct eb_redis_limits){
		.request_timeout_ns = 500 * MS,
		.backoff_min_ns = 20 * MS,
		.backoff_max_ns = 200 * MS,
	};
}

void watch_open(struct watch *watch, const struct eb_redis_config *config, const struct eb_redis_limits *limits,
		const char *const *keys, size_t key_count)
{
	struct eb_redis_events events = { .up = on_up, .down = on_down, .writable = on_writable, .arg = watch };

	memset(watch, 0, sizeof(*watch));
	assert_true(sd_event_new(&watch->event) >= 0);
	if (eb_redis_new(watch->event, config, limits, keys, key_count, &events, &watch->redis))
		fail_msg("eb_redis_new: out of memory");
}

void watch_close(struct watch *watch)
{
	eb_redis_free(watch->redis);
	sd_event_unref(watch->event);
}

void on_answer(const struct eb_redis_result *result, void *arg)
{
	struct answer *answer = arg;

	assert_false(answer->is_there);
	answer->is_there = true;
	answer->error = result->error;
	snprintf(answer->text, sizeof(answer->text), "%s", result->text);
	if (!result->reply)
		return;
	if (result->reply->str)
		snprintf(answer->str, sizeof(answer->str), "%s", result->reply->str);
	answer->integer = result->reply->integer;
	answer->count = result->reply->count;
}

int ask(struct watch *watch, struct answer *answer, const char *words)
{
	char copy[512], *save = NULL;
	const char *argv[32];
	int argc = 0;

	memset(answer, 0, sizeof(*answer));
	snprintf(copy, sizeof(copy), "%s", words);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	return eb_redis_command(watch->redis, argc > 1 ? argv[1] : "", argc, argv, NULL, on_answer, answer);
}

/* Forwards what is there from one to the other, up to *left bytes. Returns what came, 0 at the end. */
static size_t forward(int from, int to, size_t *left)
{
	char buf[4096];
	ssize_t n = recv(from, buf, sizeof(buf), 0);
	size_t taken = n > 0 && (size_t)n > *left ? *left : (size_t)n;

	if (n <= 0 || send(to, buf, taken, MSG_NOSIGNAL) != (ssize_t)taken)
		return 0;
	*left -= taken;
	return n;
}

static void serve(int client, uint16_t port, const struct proxy_faults *faults)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int server = socket(AF_INET, SOCK_STREAM, 0);
	struct pollfd fds[2] = { { .fd = client, .events = POLLIN }, { .fd = server, .events = POLLIN } };
	size_t client_left = faults->cut_after ? faults->cut_after : SIZE_MAX, server_left = SIZE_MAX;
	bool goes_on = !connect(server, (struct sockaddr *)&addr, sizeof(addr));

	while (goes_on && poll(fds, 2, -1) > 0) {
		if (fds[0].revents) {
			goes_on = forward(client, server, &client_left) && client_left;
			server_left = faults->swallow_after ? faults->swallow_after : SIZE_MAX;
		}
		if (goes_on && fds[1].revents) {
			usleep(faults->pause_ms * 1000);
			goes_on = forward(server, client, &server_left);
		}
	}
	/* A reset, as a router that lost its state would send. */
	setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	close(client);
	close(server);
}

static int listen_anywhere(uint16_t *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

/* Returns in the child with 0. */
static pid_t fork_child(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t proxy_start(uint16_t port, struct proxy_faults faults, uint16_t *listen_port)
{
	int fd = listen_anywhere(listen_port);
	pid_t pid = fork_child();

	if (!pid)
		for (;;)
			serve(accept(fd, NULL, NULL), port, &faults);
	close(fd);
	return pid;
}

pid_t talker_start(const char *text, uint16_t *listen_port)
{
	int fd = listen_anywhere(listen_port);
	pid_t pid = fork_child();

	if (!pid)
		for (;;)
			(void)send(accept(fd, NULL, NULL), text, strlen(text), MSG_NOSIGNAL);
	close(fd);
	return pid;
}

pid_t parrot_start(const char *text, uint16_t *listen_port)
{
	int fd = listen_anywhere(listen_port), client;
	pid_t pid = fork_child();
	char heard[4096];

	if (!pid) {
		client = accept(fd, NULL, NULL);
		while (read(client, heard, sizeof(heard)) > 0)
			(void)send(client, text, strlen(text), MSG_NOSIGNAL);
		_exit(0);
	}
	close(fd);
	return pid;
}

size_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
	fclose(file);
	return pages * sysconf(_SC_PAGESIZE);
}
