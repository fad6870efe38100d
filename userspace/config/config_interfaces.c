// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/input.h"
#include "config/config_interfaces.h"
#include "config/targets.h"
#include "netlink/layers.h"

/* ---- names ---- */

/* What the kernel accepts (dev_valid_name), less control characters. */
static bool is_interface_name(const char *text)
{
	if (!*text || strlen(text) >= IF_NAMESIZE || !strcmp(text, ".") || !strcmp(text, ".."))
		return false;
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || *text == 0x7f || *text == '/' || *text == ':')
			return false;
	return true;
}

/* The kernel accepts these in names, but who writes one here means something else, and would wait for ever. Returns
 * 0 where there is none. */
static int refuse_slip(const struct eb_yaml_value *value, const char *text)
{
	const char *at = strchr(text, '@');
	char name[IF_NAMESIZE];

	if (at && at > text && at < text + IF_NAMESIZE) {
		snprintf(name, sizeof(name), "%.*s", (int)(at - text), text);
		return eb_yaml_fail(value, "%s is how ip link shows an interface together with another; its name "
					   "ends before the @: %s", eb_input_quote(text).text,
				    eb_input_quote(name).text);
	}
	if (strpbrk(text, ",;"))
		return eb_yaml_fail(value, "%s is one name with a %c in it; write several as a list, as in "
					   "[eth0, eth1]", eb_input_quote(text).text, *strpbrk(text, ",;"));
	if (strpbrk(text, "@\"'`$%"))
		return eb_yaml_fail(value, "%s is not an interface's name; it has a %c", eb_input_quote(text).text,
				    *strpbrk(text, "@\"'`$%"));
	return 0;
}

static int check_name(const struct eb_yaml_value *value, const char *text)
{
	if (is_interface_name(text))
		return 0;
	return eb_yaml_fail(value, "%s is not an interface's name; 1 to %d characters without spaces, / and :",
			    eb_input_quote(text).text, IF_NAMESIZE - 1);
}

/* ---- patterns ---- */

static bool is_pattern(const char *text)
{
	return strpbrk(text, "*?[]{}\\") != NULL;
}

/* Sets *next to what follows the brackets that begin here. */
static int check_brackets(const struct eb_yaml_value *value, const char *text, const char *open, const char **next)
{
	const char *first = open[1] == '!' || open[1] == '^' ? open + 2 : open + 1;
	const char *close = *first ? strchr(first + 1, ']') : NULL;

	if (!close)
		return eb_yaml_fail(value, "%s has a [ without a character and a ] behind it, as in eth[0-3]",
				    eb_input_quote(text).text);
	for (const char *c = first; c + 2 < close; c++)
		if (c[1] == '-' && (unsigned char)c[0] > (unsigned char)c[2])
			return eb_yaml_fail(value, "%s has the range %.3s, which holds no character",
					    eb_input_quote(text).text, c);
	*next = close + 1;
	return 0;
}

static int check_pattern(const struct eb_yaml_value *value, const char *text)
{
	int err = 0;

	if (strlen(text) > EB_ENTRY_LEN_MAX)
		return eb_yaml_fail(value, "%s has more than %d characters", eb_input_quote(text).text,
				    EB_ENTRY_LEN_MAX);
	for (const char *c = text; *c && !err; ) {
		if (*c == '[') {
			err = check_brackets(value, text, c, &c);
		} else if ((unsigned char)*c <= ' ' || strchr("\x7f/:]{}\\", *c)) {
			return eb_yaml_fail(value, "%s is not a pattern of interfaces' names: * stands for any "
					    "characters, ? for one, [0-9] for one of these; write several as a list, "
					    "as in [\"en*\", \"eth*\"]", eb_input_quote(text).text);
		} else {
			c++;
		}
	}
	return err;
}

/* ---- entries ---- */

static int read_entry(const struct eb_yaml_value *value, struct eb_interface_entry *out)
{
	struct eb_interface_entry entry = { .kind = EB_ENTRY_NAME };
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	err = refuse_slip(value, text);
	if (err)
		return err;
	if (!strcmp(text, "default")) /* the kernel gives no interface this name: it is one of its sysctls */
		entry.kind = EB_ENTRY_DEFAULT;
	else if (is_pattern(text))
		entry.kind = EB_ENTRY_PATTERN;
	err = entry.kind == EB_ENTRY_PATTERN ? check_pattern(value, text) : check_name(value, text);
	if (err)
		return err;
	strcpy(entry.text, text);
	*out = entry;
	return 0;
}

/* Adds one to the entries. */
static int add_entry(const struct eb_yaml_value *value, struct eb_config *config,
		     const struct eb_interface_entry *entry)
{
	if (config->entry_count >= EB_INTERFACES_MAX)
		return eb_yaml_fail(value, "more than %d interfaces", EB_INTERFACES_MAX);
	config->entries[config->entry_count++] = *entry;
	return 0;
}

/* A name that is there already, or another one of the same interface (ip link property add altname). */
static int refuse_twice(const struct eb_yaml_value *value, const struct eb_config *config, const char *text)
{
	unsigned int ifindex = if_nametoindex(text);

	for (size_t i = 0; i < config->entry_count; i++) {
		const char *other = config->entries[i].text;

		if (!strcmp(other, text))
			return eb_yaml_fail(value, "%s is there twice", eb_input_quote(text).text);
		if (ifindex && if_nametoindex(other) == ifindex)
			return eb_yaml_fail(value, "%s and %s are two names of one interface; leave one out",
					    eb_input_quote(other).text, eb_input_quote(text).text);
	}
	return 0;
}

static int read_interface(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	struct eb_interface_entry entry;
	int err = read_entry(value, &entry);

	if (!err)
		err = refuse_twice(value, config, entry.text);
	return err ? err : add_entry(value, config, &entry);
}

/* Where the kernel cannot be asked, as in a sandbox, no pattern stands for anything. */
static int see(struct eb_config *config)
{
	struct eb_default_routes routes = { .count = 0 };
	struct eb_targets targets = { 0 };
	int err = 0;

	if (eb_targets_have_patterns(config)) {
		(void)eb_default_routes_read(&routes);
		err = eb_targets_find(config, &routes, &targets);
	}
	config->seen = calloc(config->interface_count + targets.count + 1, sizeof(*config->seen));
	if (err == -ENOMEM || !config->seen) {
		eb_targets_done(&targets);
		return -ENOMEM;
	}
	for (size_t i = 0; i < config->interface_count; i++)
		if (config->entries[i].kind == EB_ENTRY_NAME)
			memcpy(config->seen[config->seen_count++], config->entries[i].text, IF_NAMESIZE);
	for (size_t i = config->seen_count; i < targets.count; i++)
		if (targets.items[i].state == EB_TARGET_THERE)
			memcpy(config->seen[config->seen_count++], targets.items[i].name, IF_NAMESIZE);
	eb_targets_done(&targets);
	return 0;
}

int eb_config_interfaces_read(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	int err;

	if (eb_yaml_is_list(value) && !eb_yaml_list_size(value))
		return eb_yaml_fail(value, "is empty; name at least one interface, as in [eth0]");
	config->entries = calloc(EB_INTERFACES_MAX, sizeof(*config->entries));
	err = config->entries ? eb_yaml_read_list(value, read_interface, config) : -ENOMEM;
	config->interface_count = config->entry_count;
	return err ? err : see(config);
}

/* ---- those of a match ---- */

/* Whether an entry of `interfaces` might stand for an interface that this one stands for. Two patterns might. */
static bool can_meet(const struct eb_interface_entry *entry, const struct eb_interface_entry *asked)
{
	if (entry->kind == EB_ENTRY_DEFAULT || asked->kind == EB_ENTRY_DEFAULT)
		return true;
	if (entry->kind == EB_ENTRY_PATTERN)
		return asked->kind == EB_ENTRY_PATTERN || !fnmatch(entry->text, asked->text, FNM_NOESCAPE);
	return asked->kind == EB_ENTRY_PATTERN && !fnmatch(asked->text, entry->text, FNM_NOESCAPE);
}

static bool is_among(const struct eb_config *config, const struct eb_interface_entry *asked)
{
	for (size_t i = 0; i < config->interface_count; i++)
		if (can_meet(&config->entries[i], asked))
			return true;
	return false;
}

static int refuse_other(const struct eb_yaml_value *value, const struct eb_config *config, const char *text)
{
	const char *nearest = NULL;
	unsigned int least = UINT32_MAX;

	for (size_t i = 0; i < config->interface_count; i++) {
		unsigned int distance = eb_input_distance(text, config->entries[i].text);

		if (distance < least) {
			least = distance;
			nearest = config->entries[i].text;
		}
	}
	return eb_yaml_fail(value, "%s is not one of interfaces; did you mean \"%s\"?", eb_input_quote(text).text,
			    nearest);
}

int eb_config_interface_read(const struct eb_yaml_value *value, struct eb_config *config, uint64_t *out)
{
	struct eb_interface_entry entry;
	int err = read_entry(value, &entry);
	size_t i = 0;

	if (err)
		return err;
	while (i < config->entry_count && strcmp(config->entries[i].text, entry.text) != 0)
		i++;
	if (i == config->entry_count) {
		if (!is_among(config, &entry))
			return refuse_other(value, config, entry.text);
		err = add_entry(value, config, &entry);
	}
	if (!err)
		*out |= 1ULL << i;
	return err;
}

/* ---- the whole ---- */

/* Each of them charges a packet that passes both. */
int eb_config_interfaces_check(const struct eb_config *config, struct eb_findings *findings)
{
	struct eb_layers *layers = NULL;
	int err = config->seen_count > 1 ? eb_layers_read(&layers) : 0;

	if (err) /* as in a sandbox without netlink, where the agent cannot attach either */
		return err == -ENOMEM ? err : 0;
	for (size_t i = 0; i < config->seen_count && !err; i++) {
		for (size_t k = 0; k < config->seen_count && !err; k++) {
			const char *upper = config->seen[i], *lower = config->seen[k];

			if (eb_layers_is_on(layers, if_nametoindex(upper), if_nametoindex(lower)))
				err = eb_findings_warn(findings,
						       "%s: interfaces: %s lies on %s: its packets are charged on "
						       "both, so twice if both see the same source and rule",
						       config->path, upper, lower);
		}
	}
	eb_layers_free(layers);
	return err;
}
