// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdint.h>

#include "config/config_tunnels.h"
#include "config/prefix.h"

const char *const eb_tunnel_names[EB_TUNNELS] = { "ipip", "gre", "gue", "vxlan", "geneve" };

const uint16_t eb_tunnel_ports[EB_TUNNELS] = {
	[EB_TUNNEL_GUE] = 6080,
	[EB_TUNNEL_VXLAN] = 4789,
	[EB_TUNNEL_GENEVE] = 6081,
};

/* One item of the list. */
struct tunnel {
	unsigned int kind;
	uint64_t port;
	struct eb_prefix_list *from; /* of all items of this kind */
	struct eb_config *config;
};

static int read_type(const struct eb_yaml_value *value, void *into)
{
	struct tunnel *tunnel = into;
	int err = eb_yaml_choice(value, eb_tunnel_names, EB_TUNNELS, &tunnel->kind);

	if (err)
		return err;
	tunnel->from = &tunnel->config->tunnels[tunnel->kind].from;
	tunnel->port = eb_tunnel_ports[tunnel->kind];
	return 0;
}

static int read_port(const struct eb_yaml_value *value, void *into)
{
	struct tunnel *tunnel = into;

	if (!eb_tunnel_ports[tunnel->kind])
		return eb_yaml_fail(value, "%s has no port; only gue, vxlan and geneve have one",
				    eb_tunnel_names[tunnel->kind]);
	return eb_yaml_number(value, 1, UINT16_MAX, &tunnel->port);
}

static int read_from(const struct eb_yaml_value *value, void *into)
{
	struct eb_prefix_list *from = ((struct tunnel *)into)->from;
	size_t before = from->count;
	int err;

	if (!eb_yaml_is_list(value))
		err = eb_yaml_prefix(value, from);
	else if (!eb_yaml_list_size(value))
		err = eb_yaml_fail(value, "is empty; list the outer sources whose tunnels are opened");
	else
		err = eb_yaml_read_list(value, eb_yaml_prefix, from);
	for (size_t i = before; i < from->count && !err; i++)
		if (!from->items[i].len)
			err = eb_yaml_warn(value, "trusts every source with tunnels, so that each can choose whose "
					   "bucket is charged; list the load balancers");
	return err;
}

/* A port belongs to a kind, and a kind has one port. */
static int check_port(const struct eb_yaml_value *value, const struct tunnel *tunnel)
{
	const struct eb_tunnel_config *tunnels = tunnel->config->tunnels;
	uint16_t before = tunnels[tunnel->kind].port;

	if (before && before != tunnel->port)
		return eb_yaml_fail(value, "%s has port %u here and port %u before; all of one type share a port",
				    eb_tunnel_names[tunnel->kind], (unsigned int)tunnel->port, before);
	for (unsigned int kind = 0; tunnel->port && kind < EB_TUNNELS; kind++)
		if (kind != tunnel->kind && tunnels[kind].port == tunnel->port)
			return eb_yaml_fail(value, "port %u is that of %s already; give %s another one",
					    tunnels[kind].port, eb_tunnel_names[kind], eb_tunnel_names[tunnel->kind]);
	return 0;
}

/* `type` comes first, as the others depend on it. */
static int read_tunnel(const struct eb_yaml_value *value, void *into)
{
	static const struct eb_yaml_key keys[] = {
		{ "type", read_type, true },
		{ "port", read_port, false },
		{ "from", read_from, true },
	};
	struct tunnel tunnel = { .config = into };
	int err = eb_yaml_read_map(value, keys, sizeof(keys) / sizeof(keys[0]), &tunnel, NULL);

	if (err)
		return err;
	err = check_port(value, &tunnel);
	if (err)
		return err;
	tunnel.config->tunnels[tunnel.kind].port = tunnel.port;
	return 0;
}

int eb_config_tunnels_read(const struct eb_yaml_value *value, void *into)
{
	return eb_yaml_read_list(value, read_tunnel, into);
}

void eb_config_tunnels_free(struct eb_tunnel_config tunnels[EB_TUNNELS])
{
	for (int kind = 0; kind < EB_TUNNELS; kind++)
		eb_prefix_list_done(&tunnels[kind].from);
}
