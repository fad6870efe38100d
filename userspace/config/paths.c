// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/input.h"
#include "config/paths.h"
#include "config/yaml.h"

/* A path that is not absolute is refused by config.c; here it counts as missing. A slash at the end is cut off there as
 * here, so that messages show the same path. */
static char *read_place(const struct eb_yaml_value *root, const char *key, const char *otherwise)
{
	const char *text = root ? eb_yaml_peek(root, key) : NULL;
	bool is_none = text && !*text && !strcmp(key, "state_dir");
	char *place = strdup(text && (text[0] == '/' || is_none) ? text : otherwise);

	for (size_t len = place ? strlen(place) : 0; len > 1 && place[len - 1] == '/'; len--)
		place[len - 1] = '\0';
	return place;
}

static int read_paths(const struct eb_yaml_value *root, struct eb_paths *out)
{
	struct eb_paths paths = {
		.pin_dir = read_place(root, "pin_dir", EB_DEFAULT_PIN_DIR),
		.run_dir = read_place(root, "run_dir", EB_DEFAULT_RUN_DIR),
		.state_dir = read_place(root, "state_dir", EB_DEFAULT_STATE_DIR),
	};

	if (!paths.pin_dir || !paths.run_dir || !paths.state_dir) {
		eb_paths_done(&paths);
		return -ENOMEM;
	}
	*out = paths;
	return 0;
}

int eb_paths_read(const char *path, struct eb_paths *out, char **error)
{
	struct eb_findings findings = { 0 };
	struct eb_yaml_value root;
	struct eb_yaml yaml;
	int err;

	err = path ? eb_yaml_open(&yaml, path, &findings) : read_paths(NULL, out);
	if (!err && path) {
		root = eb_yaml_root(&yaml);
		err = read_paths(root.node ? &root : NULL, out);
		eb_yaml_done(&yaml);
	}
	if (err && findings.error) {
		*error = findings.error;
		findings.error = NULL;
	} else if (err) {
		(void)eb_fail(err, error, "%s: %s", path ? path : "defaults", strerror(-err));
	}
	eb_findings_done(&findings);
	return err;
}

void eb_paths_done(struct eb_paths *paths)
{
	free(paths->pin_dir);
	free(paths->run_dir);
	free(paths->state_dir);
	*paths = (struct eb_paths){ 0 };
}

/* What the line says that begins with the key; NULL where none does. In a file that is no YAML it is the best there
 * is. */
static char *find_line(const char *text, const char *key)
{
	const char *ends = " \t\r\n#";

	while (text && strncmp(text, key, strlen(key)) != 0) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	if (!text)
		return NULL;
	text += strlen(key);
	text += strspn(text, " \t");
	if (*text == '"' || *text == '\'')
		ends = *text++ == '"' ? "\"\n" : "'\n";
	return strndup(text, strcspn(text, ends));
}

static char *scan_state_dir(const char *path)
{
	char *text, *dir;
	size_t size;

	if (eb_input_read(path, EB_YAML_SIZE_MAX, NULL, &text, &size))
		return NULL;
	dir = find_line(text, "state_dir:");
	eb_input_free(text, size);
	return dir;
}

static char *peek_state_dir(const char *path)
{
	struct eb_findings findings = { 0 };
	struct eb_yaml_value root;
	const char *text = NULL;
	struct eb_yaml yaml;
	char *dir = NULL;

	if (!eb_yaml_open(&yaml, path, &findings)) {
		root = eb_yaml_root(&yaml);
		text = eb_yaml_peek(&root, "state_dir");
		dir = text ? strdup(text) : NULL;
		eb_yaml_done(&yaml);
	}
	eb_findings_done(&findings);
	return dir;
}

char *eb_paths_state_dir(const char *path)
{
	char *dir = peek_state_dir(path);

	if (!dir)
		dir = scan_state_dir(path);
	if (dir && (!*dir || *dir == '/'))
		return dir;
	free(dir);
	return strdup(EB_DEFAULT_STATE_DIR);
}
