// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/lists.h"
#include "base/error.h"
#include "base/input.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/findings.h"
#include "config/inputs.h"
#include "config/prefix.h"
#include "config/prefix_list.h"
#include "ipc/control.h"

/* Lists of fewer prefixes are not warned about: an edit by hand easily removes half of them. */
#define SHRINK_FROM 16

#define STATUS_MAX (EB_CONTROL_REPLY_MAX - 4096)

/* ---- sizes ---- */

static size_t size_of(const struct eb_match *match)
{
	return match->src.count + match->dst.count;
}

static bool asks_for_addresses(const struct eb_match *match)
{
	return match->has_src || match->has_dst;
}

void eb_lists_measure(const struct eb_config *config, struct eb_list_sizes *out)
{
	out->count = config->rule_count;
	for (size_t i = 0; i < config->rule_count; i++) {
		strcpy(out->rules[i].name, config->rules[i].name);
		out->rules[i].prefixes = size_of(&config->rules[i].match);
	}
}

static size_t find_size(const struct eb_list_sizes *sizes, const char *name)
{
	for (size_t i = 0; i < sizes->count; i++)
		if (!strcmp(sizes->rules[i].name, name))
			return sizes->rules[i].prefixes;
	return 0;
}

json_t *eb_lists_compare(const struct eb_config *config, const struct eb_list_sizes *before)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_rule_config *rule = &config->rules[i];
		json_int_t size = size_of(&rule->match), change = size - (json_int_t)find_size(before, rule->name);

		if (asks_for_addresses(&rule->match) || change)
			json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "rule", rule->name, "prefixes", size,
							      "change", change));
	}
	return list;
}

/* ---- a configuration in place of another ---- */

static const struct eb_list_file *find_file(const struct eb_config *config, const char *path,
					    const struct eb_match **match)
{
	for (size_t i = 0; i < config->rule_count; i++) {
		*match = &config->rules[i].match;
		for (size_t j = 0; j < (*match)->file_count; j++)
			if (!strcmp((*match)->files[j].path, path) && !(*match)->files[j].is_busy)
				return &(*match)->files[j];
	}
	return NULL;
}

static int add_slice(struct eb_prefix_list *slice, const struct eb_match *match, const struct eb_list_file *file)
{
	/* The function serves those who change it too. */
	const struct eb_prefix_list *list = eb_list_of((struct eb_match *)match, file->role);
	int err = 0;

	for (size_t i = 0; !err && i < file->count; i++)
		err = eb_prefix_list_add(slice, &list->items[file->first + i]);
	return err;
}

static int inherit_file(struct eb_config *config, struct eb_match *match, struct eb_list_file *file,
			const struct eb_config *before)
{
	const struct eb_match *old_match;
	const struct eb_list_file *old = find_file(before, file->path, &old_match);
	struct eb_prefix_list slice = { 0 };
	int err;

	if (!old)
		return 0;
	err = add_slice(&slice, old_match, old);
	if (!err)
		err = eb_list_exchange(match, file, &slice);
	eb_prefix_list_done(&slice);
	if (err)
		return err;
	file->is_busy = false;
	file->is_kept = true;
	file->skipped = old->skipped;
	return eb_config_warn(config, "%s: is being written; its previous %zu prefixes stay in force until it is "
				      "complete", file->path, file->count);
}

static int inherit_files(struct eb_config *config, struct eb_match *match, const struct eb_config *before)
{
	int err = 0;

	for (size_t i = 0; !err && i < match->file_count; i++)
		if (match->files[i].is_busy)
			err = inherit_file(config, match, &match->files[i], before);
	return err;
}

int eb_lists_inherit(struct eb_config *config, const struct eb_config *before)
{
	struct eb_list_sizes sizes;
	int err = 0;

	eb_lists_measure(before, &sizes);
	for (size_t i = 0; !err && i < config->rule_count; i++) {
		struct eb_rule_config *rule = &config->rules[i];
		size_t was = find_size(&sizes, rule->name);

		err = inherit_files(config, &rule->match, before);
		if (!err && was >= SHRINK_FROM && rule->match.file_count && size_of(&rule->match) < was / 2)
			err = eb_config_warn(config, "%s:%u: rule \"%s\" has %zu prefixes and had %zu before; was "
					     "a list cut?", config->path, rule->line, rule->name,
					     size_of(&rule->match), was);
	}
	return err;
}

/* ---- files that change ---- */

/* One file whose other content was taken into the configuration, and what was there before. */
struct change {
	const struct eb_rule_config *rule;
	struct eb_match *match;
	struct eb_list_file *file;
	struct eb_prefix_list before;
	size_t skipped_before;
};

bool eb_lists_is_watched(const struct eb_match *match, const struct eb_list_file *file)
{
	return match->watch || file->is_kept;
}

/* Takes over `problem`; the same again is not logged again. */
static void note_problem(const struct eb_rule_config *rule, struct eb_list_file *file, char *problem)
{
	if (problem && (!file->problem || strcmp(file->problem, problem)))
		eb_error("a list changed but cannot be put into force, its previous content stays",
			 eb_str("rule", rule->name), eb_str("file", file->path), eb_num("prefixes", file->count),
			 eb_str("error", problem));
	free(file->problem);
	file->problem = problem;
}

static void log_list_warnings(const struct eb_findings *findings)
{
	for (size_t i = 0; i < findings->warning_count; i++)
		eb_warning("a list is valid, but might not do what you intend",
			   eb_str("reason", findings->warnings[i]));
}

/* Returns 0 with the file's prefixes in *slice and its text among those `read`, or negative errno with a line in
 * *problem; NULL where it is to be tried again. */
static int read_slice(const struct eb_match *match, struct eb_list_file *file, struct eb_inputs *read,
		      struct eb_prefix_list *slice, size_t *skipped, char **problem)
{
	struct eb_findings findings = { 0 };
	size_t size;
	char *text;
	int err = eb_list_read(file->path, &text, &size, &file->mark);

	if (err == -EBUSY) {
		file->mark = (struct eb_list_mark){ 0 }; /* of no file: it is looked at again */
		return err;
	}
	if (err)
		return eb_fail(err, problem, "%s: cannot be read: %s", file->path, eb_input_strerror(err));
	if (!size && file->count)
		err = eb_fail(-EINVAL, problem, "%s: is empty, perhaps because it was cut; to put it into force, "
						"reload, or write a comment into it", file->path);
	else
		err = eb_list_parse(slice, text, size, file->path, match->skip_bad, skipped, &findings);
	if (err && !*problem)
		*problem = findings.error ? strdup(findings.error) : NULL;
	if (!err)
		err = eb_inputs_add(read, file->path, 0, text, size);
	log_list_warnings(&findings);
	eb_findings_done(&findings);
	free(text);
	return err;
}

/* Whether the file says something else than what was read of it last. */
static bool has_changed(const struct eb_rule_config *rule, struct eb_list_file *file)
{
	struct eb_list_mark mark;
	char *problem = NULL;
	int err = eb_list_look(file->path, &mark);

	if (!err)
		return !eb_list_mark_equal(&mark, &file->mark);
	eb_fail(err, &problem, "%s: cannot be read: %s", file->path, strerror(-err));
	note_problem(rule, file, problem);
	file->mark = (struct eb_list_mark){ 0 };
	return false;
}

/* Whether *change is one. */
static bool take_change(const struct eb_rule_config *rule, struct eb_match *match, struct eb_list_file *file,
			struct eb_inputs *read, struct change *change)
{
	struct eb_prefix_list slice = { 0 };
	char *problem = NULL;
	size_t skipped = 0;
	int err;

	if (!eb_lists_is_watched(match, file) || !has_changed(rule, file))
		return false;
	err = read_slice(match, file, read, &slice, &skipped, &problem);
	if (!err)
		err = eb_list_exchange(match, file, &slice);
	if (err && err != -EBUSY && !problem)
		eb_fail(err, &problem, "%s: %s", file->path, err == -E2BIG ? "more prefixes than a rule can have"
									    : strerror(-err));
	if (err) {
		eb_prefix_list_done(&slice);
		if (problem)
			note_problem(rule, file, problem);
		return false;
	}
	*change = (struct change){
		.rule = rule, .match = match, .file = file, .before = slice, .skipped_before = file->skipped,
	};
	file->skipped = skipped;
	return true;
}

static size_t take_changes(struct eb_config *config, struct eb_inputs *read, struct change *changes)
{
	size_t count = 0;

	for (size_t i = 0; i < config->rule_count; i++) {
		struct eb_match *match = &config->rules[i].match;

		for (size_t j = 0; j < match->file_count; j++)
			count += take_change(&config->rules[i], match, &match->files[j], read, &changes[count]);
	}
	return count;
}

static void log_change(const struct change *change)
{
	long long more = (long long)change->file->count - (long long)change->before.count;

	note_problem(change->rule, change->file, NULL);
	change->file->is_kept = false;
	eb_info("a changed list is in force", eb_str("rule", change->rule->name),
		eb_str("list", eb_list_role_name(change->file->role)), eb_str("file", change->file->path),
		eb_num("prefixes", change->file->count), eb_num(more < 0 ? "fewer" : "more", llabs(more)));
	if (change->before.count >= SHRINK_FROM && change->file->count < change->before.count / 2)
		eb_warning("a list lost more than half of its prefixes; was it cut?",
			   eb_str("file", change->file->path), eb_num("before", change->before.count),
			   eb_num("prefixes", change->file->count));
}

/* The last first, as their places in a list depend on each other. */
static void take_back(struct change *changes, size_t count, const char *error)
{
	while (count--) {
		struct change *change = &changes[count];
		char *problem = NULL;

		if (eb_list_exchange(change->match, change->file, &change->before))
			eb_error("a list is in the configuration but not in force",
				 eb_str("file", change->file->path), eb_str("hint", "reload"));
		change->file->skipped = change->skipped_before;
		eb_fail(0, &problem, "%s: %s", change->file->path, error);
		note_problem(change->rule, change->file, problem);
	}
}

static size_t count_files(const struct eb_config *config)
{
	size_t count = 0;

	for (size_t i = 0; i < config->rule_count; i++)
		count += config->rules[i].match.file_count;
	return count;
}

/* For a start whose configuration is refused, unless what is in force is on trial, or took another's place itself.
 * Takes over `read`. */
static void keep_lists(struct eb_agent *agent, struct eb_inputs *read)
{
	if (agent->keep && !agent->pending && !agent->refused) {
		read->is_update = true;
		eb_keep_inputs(agent->keep, read);
	} else {
		eb_inputs_free(read);
	}
}

static bool put_into_force(struct eb_agent *agent, struct change *changes, size_t count)
{
	char *error = NULL;
	int err = eb_agent_renew(agent, &error);

	if (err)
		take_back(changes, count, error ? error : strerror(-err));
	for (size_t i = 0; i < count; i++) {
		if (!err)
			log_change(&changes[i]);
		eb_prefix_list_done(&changes[i].before);
	}
	free(error);
	return !err;
}

size_t eb_lists_refresh(struct eb_agent *agent)
{
	struct change *changes = calloc(count_files(agent->config) + 1, sizeof(*changes));
	struct eb_inputs *read = eb_inputs_new();
	size_t count = changes && read ? take_changes(agent->config, read, changes) : 0;

	if (count && put_into_force(agent, changes, count)) {
		keep_lists(agent, read);
	} else {
		eb_inputs_free(read);
		count = 0;
	}
	free(changes);
	return count;
}

/* ---- status ---- */

static json_t *own_json(const struct eb_rule_config *rule, enum eb_list_role role)
{
	struct eb_match *match = (struct eb_match *)&rule->match;
	size_t count = eb_list_of(match, role)->count;

	for (size_t i = 0; i < match->file_count; i++)
		if (match->files[i].role == role)
			count -= match->files[i].count;
	if (!count)
		return NULL;
	return json_pack("{s:s, s:s, s:n, s:I, s:I, s:b, s:n}", "rule", rule->name, "list", eb_list_role_name(role),
			 "source", "prefixes", (json_int_t)count, "skipped", (json_int_t)0, "watched", 0, "problem");
}

static json_t *file_json(const struct eb_rule_config *rule, const struct eb_list_file *file)
{
	return json_pack("{s:s, s:s, s:o, s:I, s:I, s:b, s:o}", "rule", rule->name, "list",
			 eb_list_role_name(file->role), "source", eb_printable_json(file->path), "prefixes",
			 (json_int_t)file->count, "skipped", (json_int_t)file->skipped, "watched", rule->match.watch,
			 "problem", eb_printable_json(file->problem));
}

/* Takes over `item`, which may be NULL, while there is room. */
static void append(json_t *list, json_t *item, size_t *room)
{
	size_t size = item ? json_dumpb(item, NULL, 0, JSON_COMPACT) + 1 : 0;

	if (!item || size > *room) {
		json_decref(item);
		return;
	}
	*room -= size;
	json_array_append_new(list, item);
}

json_t *eb_lists_status(const struct eb_config *config)
{
	json_t *list = json_array();
	size_t room = STATUS_MAX;

	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_rule_config *rule = &config->rules[i];

		for (enum eb_list_role role = EB_LIST_SRC; role <= EB_LIST_DST_EXCEPT; role++)
			append(list, own_json(rule, role), &room);
		for (size_t j = 0; j < rule->match.file_count; j++)
			append(list, file_json(rule, &rule->match.files[j]), &room);
	}
	return list;
}
