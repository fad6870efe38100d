// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/interfaces.h"

static int add(struct interface_list *list, const char *name, int ifindex, const struct eb_attachment *attachment,
	       int error)
{
	struct interface *items = reallocarray(list->items, list->count + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	list->items = items;
	items[list->count] = (struct interface){ .ifindex = ifindex, .attachment = *attachment, .error = error };
	snprintf(items[list->count].name, IF_NAMESIZE, "%s", name);
	list->count++;
	return 0;
}

/* Adds an interface that is not listed yet; one that the configuration does not name, only if it is attached. */
static int look_at(const struct session *session, struct interface_list *list, const char *name, bool is_named)
{
	struct eb_attachment attachment = { .mode = "" };
	int error = 0, ifindex = if_nametoindex(name);

	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->items[i].name, name) || (ifindex && list->items[i].ifindex == ifindex))
			return 0;
	if (session_has_maps(session))
		error = eb_attach_status(name, session->programs, &attachment);
	else if (!ifindex)
		error = -ENODEV;
	return is_named || (!error && attachment.attached) ? add(list, name, ifindex, &attachment, error) : 0;
}

/* Notes what the agent says of an interface. */
static void note_reply(struct interface_list *list, const char *name, const json_t *reply)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i].name, name))
			continue;
		list->items[i].is_mostly_not_ip = json_is_true(json_object_get(reply, "mostly_not_ip"));
		list->items[i].problem = json_string_value(json_object_get(reply, "problem"));
	}
}

static int look_at_named(const struct session *session, const struct eb_config *config, const json_t *agent_names,
			 struct interface_list *list)
{
	json_t *item;
	size_t i;
	int err;

	for (i = 0; config && i < config->seen_count; i++) {
		err = look_at(session, list, config->seen[i], true);
		if (err)
			return err;
	}
	json_array_foreach(agent_names, i, item) {
		const char *name = json_string_value(json_is_object(item) ? json_object_get(item, "name") : item);

		err = name ? look_at(session, list, name, true) : 0;
		if (err)
			return err;
		if (name)
			note_reply(list, name, item);
	}
	return 0;
}

int interfaces_list(const struct session *session, const struct eb_config *config, const json_t *agent_names,
		    struct interface_list *out)
{
	struct if_nameindex *all;
	int err;

	*out = (struct interface_list){ 0 };
	err = look_at_named(session, config, agent_names, out);
	if (err || !session_has_maps(session))
		return err;
	all = if_nameindex();
	if (!all)
		return -errno;
	for (const struct if_nameindex *one = all; one->if_index && !err; one++)
		err = look_at(session, out, one->if_name, false);
	if_freenameindex(all);
	return err;
}

void interfaces_done(struct interface_list *list)
{
	free(list->items);
	*list = (struct interface_list){ 0 };
}
