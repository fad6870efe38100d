// SPDX-License-Identifier: GPL-2.0-only
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/input.h"
#include "config/config.h"
#include "config/config_fleet.h"
#include "config/config_interfaces.h"
#include "config/config_redis.h"
#include "config/config_redis_env.h"
#include "config/config_redis_section.h"
#include "config/config_rules.h"
#include "config/config_tunnels.h"
#include "config/endpoint.h"
#include "config/findings.h"
#include "config/inputs.h"
#include "config/paths.h"
#include "config/quantity.h"
#include "config/yaml.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define NODE_LEN_MAX 255
#define TABLE_SIZE_MIN 1024
#define TABLE_SIZE_MAX 16777216
#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define RUN_DIR_LEN_MAX 80 /* leaves room for the socket's name in an address */
#define GROUP_LEN_MAX 32
#define DIR_LEN_MAX 1024   /* likewise for the files in it in a path */

/* --- node --- */

/* It becomes part of a Redis key, in braces, and a label of metrics. */
static bool is_node_name(const char *text)
{
	if (strlen(text) > NODE_LEN_MAX)
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("._:@/+-", *text))
			return false;
	return true;
}

static int read_node(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (!is_node_name(text))
		return eb_yaml_fail(value, "%s is not a node's name; up to %d letters, digits and . _ : @ / + -",
				    eb_input_quote(text).text, NODE_LEN_MAX);
	return eb_yaml_string(value, &config->node);
}

static int use_host_name(struct eb_config *config, struct eb_findings *findings)
{
	char name[HOST_NAME_MAX + 1] = "";

	if (gethostname(name, sizeof(name) - 1) || !*name || !is_node_name(name))
		return eb_findings_fail(findings, "%s: node: the host name %s is no valid node; set node", config->path,
					eb_input_quote(name).text);
	config->node = strdup(name);
	config->node_is_host = true;
	return config->node ? 0 : -ENOMEM;
}

static int apply_node_env(struct eb_config *config, struct eb_findings *findings)
{
	const char *name = eb_input_env("EDGEBUCKET_NODE");

	if (!name)
		return config->node ? 0 : use_host_name(config, findings);
	if (!is_node_name(name))
		return eb_findings_fail(findings,
					"environment variable EDGEBUCKET_NODE: %s is not a node's name; up to %d "
					"letters, digits and . _ : @ / + -",
					eb_input_quote(name).text, NODE_LEN_MAX);
	free(config->node);
	config->node = strdup(name);
	return config->node ? 0 : -ENOMEM;
}

/* Names of a machine that was not given one. */
static bool is_no_host_name(const char *name)
{
	static const char *const names[] = { "localhost", "localhost.localdomain", "localhost4", "localhost6" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcasecmp(name, names[i]))
			return true;
	return false;
}

/* All that have no name would be one in Redis, and none would find what it wrote once it has a name. */
static int check_own_name(const struct eb_config *config, struct eb_findings *findings)
{
	if (!config->node_is_host || !config->redis || !is_no_host_name(config->node))
		return 0;
	return eb_findings_fail(findings,
				"%s: node: the host name is %s, the default of hosts without one: they would share "
				"their buckets in Redis; set node, EDGEBUCKET_NODE or the host name",
				config->path, eb_input_quote(config->node).text);
}

/* --- the other settings --- */

static int read_attach(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = {
		[EB_ATTACH_AUTO] = "auto", [EB_ATTACH_NATIVE] = "native", [EB_ATTACH_GENERIC] = "generic",
	};
	struct eb_config *config = into;
	unsigned int choice;
	int err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);

	if (!err)
		config->attach = choice;
	return err;
}

static int read_on_exit(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { "keep", "detach" };
	struct eb_config *config = into;
	unsigned int choice;
	int err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);

	if (!err)
		config->detach_on_exit = choice;
	return err;
}

static int read_malformed(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { "pass", "drop" };
	struct eb_config *config = into;
	unsigned int choice;
	int err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);

	if (!err)
		config->malformed_drop = choice;
	return err;
}

static bool is_directory_path(const char *text, size_t len_max)
{
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return false;
	return *text == '/' && text[strspn(text, "/")] && strlen(text) <= len_max;
}

static int read_directory(const struct eb_yaml_value *value, size_t len_max, char **out)
{
	const char *text;
	char *path;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (!is_directory_path(text, len_max))
		return eb_yaml_fail(value, "%s is not an absolute path below / of at most %zu characters",
				    eb_input_quote(text).text, len_max);
	err = eb_yaml_string(value, &path);
	if (err)
		return err;
	for (size_t len = strlen(path); path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	free(*out);
	*out = path;
	return 0;
}

static int read_pin_dir(const struct eb_yaml_value *value, void *into)
{
	return read_directory(value, DIR_LEN_MAX, &((struct eb_config *)into)->pin_dir);
}

static int read_run_dir(const struct eb_yaml_value *value, void *into)
{
	return read_directory(value, RUN_DIR_LEN_MAX, &((struct eb_config *)into)->run_dir);
}

/* Whether the system has it is for the agent to find out: the configuration can be checked elsewhere. */
static int read_control_group(const struct eb_yaml_value *value, void *into)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	struct eb_config *config = into;
	const char *text;
	size_t len;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	len = strlen(text);
	if (!len || len > GROUP_LEN_MAX || strspn(text, letters) != len || *text == '-')
		return eb_yaml_fail(value, "%s is not the name or the number of a group", eb_input_quote(text).text);
	return eb_yaml_string(value, &config->control_group);
}

static int read_state_dir(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (*text)
		return read_directory(value, DIR_LEN_MAX, &config->state_dir);
	config->state_dir[0] = '\0';
	return 0;
}

static int read_table_size(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	uint64_t size;
	int err = eb_yaml_count(value, TABLE_SIZE_MIN, TABLE_SIZE_MAX, "", &size);

	if (!err)
		config->table_size = size;
	return err;
}

/* Returns 0, -EINVAL or -ENOMEM. */
static int check_metrics(const char *text)
{
	struct eb_endpoint endpoint;
	int err;

	if (!strncmp(text, "unix:", 5))
		return is_directory_path(text + 5, SOCKET_PATH_MAX) ? 0 : -EINVAL;
	err = eb_endpoint_parse(text, 0, &endpoint);
	if (!err)
		eb_endpoint_done(&endpoint);
	return err;
}

static int read_metrics(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	const char *text;
	bool is_on;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	/* Tools that rewrite YAML 1.1 turn off into false. */
	if (!eb_quantity_bool(text, &is_on) && !is_on) {
		free(config->metrics);
		config->metrics = NULL;
		return 0;
	}
	err = check_metrics(text);
	if (err == -EINVAL)
		return eb_yaml_fail(value, "%s is not an address with a port; write it like 127.0.0.1:9464, "
					   "[::1]:9464, unix:/run/metrics.sock, or off", eb_input_quote(text).text);
	if (err)
		return err;
	free(config->metrics);
	config->metrics = NULL;
	return eb_yaml_string(value, &config->metrics);
}

static int read_bans_max(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	uint64_t max;
	int err = eb_yaml_count(value, 1, EB_BANS_MAX, "", &max);

	if (!err)
		config->bans_max = max;
	return err;
}

static int read_bans_share(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { "node", "fleet" };
	struct eb_config *config = into;
	unsigned int choice;
	int err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);

	if (err)
		return err;
	config->bans_shared = choice;
	if (choice && !config->fleet.name[0])
		return eb_yaml_fail(value, "needs the section fleet, as in fleet: { name: edge }");
	return 0;
}

static int read_bans(const struct eb_yaml_value *value, void *into)
{
	static const struct eb_yaml_key keys[] = {
		{ "max", read_bans_max, false },
		{ "share", read_bans_share, false },
	};

	return eb_yaml_read_map(value, keys, ARRAY_SIZE(keys), into, NULL);
}

static int read_redis(const struct eb_yaml_value *value, void *into)
{
	return eb_redis_section_read(value, &((struct eb_config *)into)->redis);
}

/* Rules are checked against interfaces, table_size and fleet, so they come behind them. */
static const struct eb_yaml_key root_keys[] = {
	{ "interfaces", eb_config_interfaces_read, true },
	{ "node", read_node, false },
	{ "attach", read_attach, false },
	{ "on_exit", read_on_exit, false },
	{ "pin_dir", read_pin_dir, false },
	{ "run_dir", read_run_dir, false },
	{ "control_group", read_control_group, false },
	{ "state_dir", read_state_dir, false },
	{ "table_size", read_table_size, false },
	{ "malformed", read_malformed, false },
	{ "metrics", read_metrics, false },
	{ "fleet", eb_config_fleet_read, false },
	{ "bans", read_bans, false },
	{ "tunnels", eb_config_tunnels_read, false },
	{ "rules", eb_config_rules_read, false },
	{ "redis", read_redis, false },
};

/* --- the whole --- */

static struct eb_config *new_config(const char *path)
{
	struct eb_config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	*config = (struct eb_config){
		.path = strdup(path),
		.attach = EB_ATTACH_AUTO,
		.pin_dir = strdup(EB_DEFAULT_PIN_DIR),
		.run_dir = strdup(EB_DEFAULT_RUN_DIR),
		.state_dir = strdup(EB_DEFAULT_STATE_DIR),
		.table_size = 1048576,
		.malformed_drop = true,
		.bans_max = 1000000,
		.metrics = strdup("127.0.0.1:9464"),
	};
	if (config->path && config->pin_dir && config->run_dir && config->state_dir && config->metrics)
		return config;
	eb_config_free(config);
	return NULL;
}

static int use_redis_file(struct eb_config *config, const char *redis_path, struct eb_findings *findings)
{
	struct eb_redis_config *redis;
	int err;

	if (!redis_path)
		return 0;
	err = eb_redis_section_read_file(redis_path, findings, &redis);
	if (!err && config->redis)
		err = eb_findings_warn(findings, "%s: redis: has no effect; %s replaces it", config->path,
				       redis_path);
	if (err)
		return err;
	eb_redis_config_free(config->redis);
	config->redis = redis;
	return 0;
}

/* As `sed -i` or an editor does on the other side of a mount. */
static int warn_of_replaced(struct eb_findings *findings)
{
	const struct eb_inputs *inputs = findings->inputs;
	int err = 0;

	for (size_t i = 0; !err && i < inputs->count && !inputs->is_kept; i++)
		if (eb_input_is_replaced(inputs->items[i].path))
			err = eb_findings_warn(findings,
					       "%s: is mounted as a single file, which was replaced where it comes "
					       "from: the old content was read; mount its directory instead",
					       inputs->items[i].path);
	return err;
}

static int warn_of_whole(const struct eb_config *config, struct eb_findings *findings)
{
	int err = warn_of_replaced(findings);

	if (!err && !config->rule_count)
		err = eb_findings_warn(findings, "%s: there are no rules: everything passes", config->path);
	if (!err && !config->redis && !*config->state_dir)
		err = eb_findings_warn(findings, "%s: neither redis nor state_dir: a reboot gives every source a full "
					     "bucket", config->path);
	return err;
}

static int fill_config(struct eb_config *config, struct eb_yaml *yaml, const char *redis_path)
{
	struct eb_yaml_value root = eb_yaml_root(yaml);
	struct eb_findings *findings = yaml->findings;
	int err;

	err = eb_yaml_read_map(&root, root_keys, ARRAY_SIZE(root_keys), config, NULL);
	if (err)
		return err;
	err = apply_node_env(config, findings);
	if (err)
		return err;
	err = use_redis_file(config, redis_path, findings);
	if (err)
		return err;
	err = eb_redis_env_apply(&config->redis, findings);
	if (err)
		return err;
	err = check_own_name(config, findings);
	if (err)
		return err;
	err = eb_config_fleet_check(config, findings);
	if (err)
		return err;
	err = eb_config_interfaces_check(config, findings);
	return err ? err : warn_of_whole(config, findings);
}

/* Owns `yaml` from here on. */
static int read_yaml(struct eb_yaml *yaml, const char *redis_path, struct eb_config **out)
{
	struct eb_config *config = new_config(yaml->file);
	int err = config ? fill_config(config, yaml, redis_path) : -ENOMEM;

	eb_yaml_done(yaml);
	if (err) {
		eb_config_free(config);
		return err;
	}
	config->warnings = yaml->findings->warnings;
	config->warning_count = yaml->findings->warning_count;
	config->inputs = yaml->findings->inputs;
	*yaml->findings = (struct eb_findings){ 0 };
	*out = config;
	return 0;
}

/* Hands out the error, which may be missing for want of memory alone. */
static int finish_findings(struct eb_findings *findings, int err, const char *path, char **error)
{
	if (err) {
		if (!findings->error)
			(void)eb_findings_fail(findings, "%s: %s", path, strerror(-err));
		*error = findings->error;
		findings->error = NULL;
		eb_inputs_free(findings->inputs);
	}
	eb_findings_done(findings);
	return err;
}

int eb_config_read(const char *path, const char *redis_path, struct eb_config **out, char **error)
{
	struct eb_findings findings = { .inputs = eb_inputs_new() };
	struct eb_yaml yaml;
	int err = findings.inputs ? eb_yaml_open(&yaml, path, &findings) : -ENOMEM;

	if (!err)
		err = read_yaml(&yaml, redis_path, out);
	return finish_findings(&findings, err, path, error);
}

int eb_config_parse_for(const char *home, const char *text, size_t size, const char *path, const char *redis_path,
			struct eb_inputs *inputs, struct eb_config **out, char **error)
{
	struct eb_findings findings = { .inputs = inputs ? inputs : eb_inputs_new() };
	struct eb_yaml yaml;
	int err = findings.inputs ? eb_yaml_init(&yaml, path, text, size, &findings) : -ENOMEM;

	if (!err) {
		yaml.home = home;
		err = read_yaml(&yaml, redis_path, out);
	}
	return finish_findings(&findings, err, path, error);
}

int eb_config_parse(const char *text, size_t size, const char *path, const char *redis_path, struct eb_config **out,
		    char **error)
{
	return eb_config_parse_for(path, text, size, path, redis_path, NULL, out, error);
}

int eb_config_warn(struct eb_config *config, const char *format, ...)
{
	struct eb_findings findings = { .warnings = config->warnings, .warning_count = config->warning_count };
	va_list args;
	char *text;
	int err;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	err = eb_findings_warn_text(&findings, text);
	config->warnings = findings.warnings;
	config->warning_count = findings.warning_count;
	return err;
}

void eb_config_free(struct eb_config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->warning_count; i++)
		free(config->warnings[i]);
	free(config->warnings);
	free(config->path);
	free(config->node);
	free(config->entries);
	free(config->seen);
	free(config->pin_dir);
	free(config->run_dir);
	free(config->control_group);
	free(config->state_dir);
	free(config->metrics);
	eb_config_tunnels_free(config->tunnels);
	eb_config_rules_free(config->rules, config->rule_count);
	eb_redis_config_free(config->redis);
	eb_inputs_free(config->inputs);
	free(config);
}
