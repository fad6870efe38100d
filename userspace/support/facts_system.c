// SPDX-License-Identifier: GPL-2.0-only
/* Facts about the machine and the agent's process. */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <lmdb.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "base/input.h"
#include "support/facts.h"

#define FILE_MAX (1024 * 1024)

/* The lines of a file that `wanted` accepts, or all; what stands in the way as {"error"}. */
static json_t *lines_json(const char *path, bool (*wanted)(const char *line))
{
	char line[1024];
	FILE *file = fopen(path, "re");
	json_t *lines;

	if (!file)
		return json_pack("{s:s}", "error", strerror(errno));
	lines = json_array();
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (!wanted || wanted(line))
			json_array_append_new(lines, json_string(line));
	}
	fclose(file);
	return lines;
}

/* A file of one value. */
static json_t *value_json(const char *path)
{
	json_t *lines = lines_json(path, NULL), *value = json_incref(json_array_get(lines, 0));

	if (json_is_object(lines))
		return lines;
	json_decref(lines);
	return value ? value : json_null();
}

static bool is_os_name(const char *line)
{
	return strncmp(line, "PRETTY_NAME=", 12) == 0;
}

static bool is_memory(const char *line)
{
	return strncmp(line, "MemTotal:", 9) == 0 || strncmp(line, "MemAvailable:", 13) == 0;
}

static bool is_bpf_mount(const char *line)
{
	return strstr(line, " - bpf ") != NULL;
}

static bool is_code_of_library(const char *line)
{
	return strstr(line, " r-xp ") && strchr(line, '/') && strstr(line, ".so");
}

/* "Name:" to "State:", memory, threads, capabilities and what confines them. */
static bool is_process_line(const char *line)
{
	static const char *const names[] = { "Name:", "State:", "Uid:", "Gid:", "VmPeak:", "VmRSS:", "VmLck:",
					     "Threads:", "Cap", "NoNewPrivs:", "Seccomp" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(line, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* The shared libraries of a process, whose names tell their versions. A library has several lines, one of code. */
static json_t *loaded_json(const char *maps)
{
	json_t *lines = lines_json(maps, is_code_of_library), *line, *list;
	size_t i;

	if (json_is_object(lines))
		return lines;
	list = json_array();
	json_array_foreach(lines, i, line)
		json_array_append_new(list, json_string(strchr(json_string_value(line), '/')));
	json_decref(lines);
	return list;
}

static json_t *limit_json(int resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit))
		return json_pack("{s:s}", "error", strerror(errno));
	return json_pack("{s:o, s:o}", "soft",
			 limit.rlim_cur == RLIM_INFINITY ? json_string("unlimited") : json_integer(limit.rlim_cur),
			 "hard",
			 limit.rlim_max == RLIM_INFINITY ? json_string("unlimited") : json_integer(limit.rlim_max));
}

static json_t *libraries_json(void)
{
	char hiredis[32];

	snprintf(hiredis, sizeof(hiredis), "%d.%d.%d", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "libbpf", libbpf_version_string(), "openssl",
			 OpenSSL_version(OPENSSL_VERSION), "lmdb", mdb_version(NULL, NULL, NULL), "hiredis", hiredis,
			 "files", loaded_json("/proc/self/maps"));
}

static json_t *settings_json(void)
{
	static const char *const names[] = { "net/core/bpf_jit_enable", "net/core/bpf_jit_harden",
					     "net/core/bpf_jit_limit", "kernel/unprivileged_bpf_disabled",
					     "kernel/bpf_stats_enabled", "net/core/netdev_budget" };
	json_t *object = json_object();
	char path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "/proc/sys/%s", names[i]);
		json_object_set_new(object, names[i], value_json(path));
	}
	return object;
}

json_t *facts_system(void)
{
	struct utsname name;

	if (uname(&name))
		return json_pack("{s:s}", "error", strerror(errno));
	return json_pack("{s:{s:s, s:s, s:s}, s:o, s:i, s:o, s:b, s:o, s:o, s:{s:o, s:o}, s:o}", "kernel", "release",
			 name.release, "version", name.version, "machine", name.machine, "distribution",
			 lines_json("/etc/os-release", is_os_name), "cpus", (int)sysconf(_SC_NPROCESSORS_ONLN),
			 "memory", lines_json("/proc/meminfo", is_memory), "btf",
			 access("/sys/kernel/btf/vmlinux", R_OK) == 0, "settings", settings_json(), "libraries",
			 libraries_json(), "limits", "memlock", limit_json(RLIMIT_MEMLOCK), "nofile",
			 limit_json(RLIMIT_NOFILE), "bpf_file_systems",
			 lines_json("/proc/self/mountinfo", is_bpf_mount));
}

/* ---- the agent's process ---- */

static json_t *process_lines(pid_t pid, const char *file, bool (*wanted)(const char *line))
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return lines_json(path, wanted);
}

/* Names alone: values may be passwords. */
static json_t *variables_json(pid_t pid)
{
	char path[64], *text;
	json_t *list;
	size_t size;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	err = eb_input_read(path, FILE_MAX, NULL, &text, &size);
	if (err)
		return json_pack("{s:s}", "error", strerror(-err));
	list = json_array();
	for (const char *item = text; item < text + size; item += strlen(item) + 1)
		if (strncmp(item, "REDIS_", 6) == 0 || strncmp(item, "EDGEBUCKET_", 11) == 0)
			json_array_append_new(list, json_stringn(item, strcspn(item, "=")));
	eb_input_free(text, size);
	return list;
}

json_t *facts_process(pid_t pid)
{
	char maps[64];

	snprintf(maps, sizeof(maps), "/proc/%d/maps", (int)pid);
	return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o}", "pid", (int)pid, "libraries", loaded_json(maps), "status",
			 process_lines(pid, "status", is_process_line), "limits", process_lines(pid, "limits", NULL),
			 "bpf_file_systems", process_lines(pid, "mountinfo", is_bpf_mount), "variables",
			 variables_json(pid));
}
