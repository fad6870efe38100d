// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/error.h"
#include "maps/pins.h"

/* No map has a name like these. bpffs refuses names with a dot. */
#define REPLACING "replacing"
#define BEFORE REPLACING "/before"
#define SCRATCH "scratch"
#define SCRATCH_BEFORE SCRATCH "/before"

const char *eb_view_name(enum eb_view view)
{
	return view == EB_VIEW_V4 ? "view_v4" : "view_v6";
}

static int make_path(char path[PATH_MAX], const char *dir, const char *name)
{
	return snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static bool is_there(const char *dir, const char *name)
{
	char path[PATH_MAX];

	return make_path(path, dir, name) == 0 && access(path, F_OK) == 0;
}

/* ---- what is in a directory ---- */

static int is_pin(const struct dirent *entry)
{
	return entry->d_type == DT_REG;
}

static int is_dir(const struct dirent *entry)
{
	return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int act_on(const char *dir, const char *name, int (*act)(const char *path, const char *name, const char *arg),
		  const char *arg)
{
	char path[PATH_MAX];
	int err = make_path(path, dir, name);

	return err ? err : act(path, name, arg);
}

/* Calls `act` with the path of each entry, whatever build made it, and its name. 0 where there is no such directory. */
static int for_each(const char *dir, int (*filter)(const struct dirent *entry),
		    int (*act)(const char *path, const char *name, const char *arg), const char *arg)
{
	struct dirent **entries = NULL;
	int count = scandir(dir, &entries, filter, NULL), err = 0;

	if (count < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < count; i++) {
		if (!err)
			err = act_on(dir, entries[i]->d_name, act, arg);
		free(entries[i]);
	}
	free(entries);
	return err;
}

static int remove_pin(const char *path, const char *name, const char *arg)
{
	(void)name;
	(void)arg;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_dir(const char *path, const char *name, const char *arg)
{
	int err = for_each(path, is_dir, remove_dir, NULL);

	(void)name;
	(void)arg;
	if (err)
		return err;
	err = for_each(path, is_pin, remove_pin, NULL);
	if (err)
		return err;
	return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_part(const char *pin_dir, const char *part)
{
	char path[PATH_MAX];
	int err = make_path(path, pin_dir, part);

	return err ? err : remove_dir(path, NULL, NULL);
}

static int move_to(const char *path, const char *name, const char *dir)
{
	char to[PATH_MAX];
	int err = make_path(to, dir, name);

	return !err && rename(path, to) < 0 ? -errno : err;
}

static int link_to(const char *path, const char *name, const char *dir)
{
	char to[PATH_MAX];
	int err = make_path(to, dir, name);

	return !err && link(path, to) < 0 ? -errno : err;
}

/* ---- steps of a replacement ---- */

static int make_dir(const char *pin_dir, const char *part, char path[PATH_MAX])
{
	int err = make_path(path, pin_dir, part);

	return !err && mkdir(path, 0700) < 0 ? -errno : err;
}

static int pin_all(const struct eb_maps *maps, const char *dir)
{
	char path[PATH_MAX];

	for (int i = 0; i < EB_MAPS; i++) {
		int err = make_path(path, dir, eb_map_name(i));

		if (!err)
			err = bpf_obj_pin(maps->fd[i], path);
		if (err)
			return err;
	}
	return 0;
}

/* From where it is kept already, if a replacement before this one was not settled: it is the set that programs use. */
static int keep_set(const char *pin_dir)
{
	char from[PATH_MAX], to[PATH_MAX];
	int err = make_dir(pin_dir, SCRATCH_BEFORE, to);

	return err ? err : for_each(eb_pins_before(pin_dir, from) ? from : pin_dir, is_pin, link_to, to);
}

static int rename_part(const char *pin_dir, const char *from, const char *to)
{
	char old[PATH_MAX], new[PATH_MAX];
	int err = make_path(old, pin_dir, from);

	if (err)
		return err;
	err = make_path(new, pin_dir, to);
	return !err && rename(old, new) < 0 ? -errno : err;
}

static int stage(const char *pin_dir, const struct eb_maps *maps, bool keep_before)
{
	char path[PATH_MAX];
	int err = make_dir(pin_dir, SCRATCH, path);

	if (err)
		return err;
	err = pin_all(maps, path);
	return err || !keep_before ? err : keep_set(pin_dir);
}

/* ---- what others call ---- */

int eb_pins_open(const char *pin_dir, const char *name)
{
	static const char *const places[] = { "%s/" REPLACING "/%s", "%s/%s" };
	char path[PATH_MAX];
	int fd = -ENOENT;

	for (int i = 0; i < 2 && fd == -ENOENT; i++) {
		if (snprintf(path, sizeof(path), places[i], pin_dir, name) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		fd = bpf_obj_get(path);
	}
	return fd;
}

int eb_pins_recover(const char *pin_dir)
{
	char path[PATH_MAX];
	int err = remove_part(pin_dir, SCRATCH);

	if (err)
		return err;
	err = make_path(path, pin_dir, REPLACING);
	if (err)
		return err;
	err = for_each(path, is_pin, move_to, pin_dir);
	return err || eb_pins_before(pin_dir, path) ? err : remove_part(pin_dir, REPLACING);
}

static int replace(const char *pin_dir, const struct eb_maps *maps, bool keep_before)
{
	int err;

	if (mkdir(pin_dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	err = eb_pins_recover(pin_dir);
	if (err)
		return err;
	err = stage(pin_dir, maps, keep_before);
	if (err)
		return err;
	err = remove_part(pin_dir, REPLACING);
	if (err)
		return err;
	err = rename_part(pin_dir, SCRATCH, REPLACING);
	return err ? err : eb_pins_recover(pin_dir);
}

int eb_pins_replace(const char *pin_dir, const struct eb_maps *maps, bool keep_before, char **error)
{
	int err = replace(pin_dir, maps, keep_before);

	return err ? eb_fail(err, error, "the maps cannot be pinned in %s: %s", pin_dir, strerror(-err)) : 0;
}

bool eb_pins_are_there(const char *pin_dir)
{
	for (int i = 0; i < EB_MAPS; i++)
		if (!is_there(pin_dir, eb_map_name(i)))
			return false;
	return true;
}

bool eb_pins_before(const char *pin_dir, char path[PATH_MAX])
{
	return is_there(pin_dir, BEFORE) && make_path(path, pin_dir, BEFORE) == 0;
}

/* Away with its name first: half of it must not be taken for a set. */
int eb_pins_settle(const char *pin_dir)
{
	int err = remove_part(pin_dir, SCRATCH);

	if (err)
		goto out;
	err = rename_part(pin_dir, REPLACING, SCRATCH);
	if (err)
		goto out;
	err = remove_part(pin_dir, SCRATCH);
out:
	return err == -ENOENT ? 0 : err;
}

/* `state` first: without it there are no maps to anybody. */
int eb_pins_remove(const char *pin_dir)
{
	char path[PATH_MAX];
	int err = eb_pins_recover(pin_dir);

	if (err)
		return err;
	err = eb_pins_settle(pin_dir);
	if (err)
		return err;
	err = make_path(path, pin_dir, eb_map_name(EB_MAP_STATE));
	if (err)
		return err;
	err = remove_pin(path, NULL, NULL);
	if (err)
		return err;
	for (int i = 0; i < EB_MAPS; i++) {
		err = act_on(pin_dir, eb_map_name(i), remove_pin, NULL);
		if (err)
			return err;
	}
	for (int view = 0; view < EB_VIEWS; view++) {
		err = act_on(pin_dir, eb_view_name(view), remove_pin, NULL);
		if (err)
			return err;
	}
	return rmdir(pin_dir) < 0 && errno != ENOENT && errno != ENOTEMPTY ? -errno : 0;
}
