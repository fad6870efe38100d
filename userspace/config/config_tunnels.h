/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The section `tunnels` of the configuration. Only config.c calls the functions.
 */
#ifndef EB_CONFIG_TUNNELS_H
#define EB_CONFIG_TUNNELS_H

#include "config/config.h"
#include "config/yaml.h"

/* Adds the tunnels to `into`, a struct eb_config. Returns 0 or negative errno; the error goes to the findings of the
 * document. */
int eb_config_tunnels_read(const struct eb_yaml_value *value, void *into);
void eb_config_tunnels_free(struct eb_tunnel_config tunnels[EB_TUNNELS]);

/* "ipip", "gre", ...: by enum eb_tunnel. */
extern const char *const eb_tunnel_names[EB_TUNNELS];

/* IANA's, by enum eb_tunnel; 0 for kinds that are not over UDP. */
extern const uint16_t eb_tunnel_ports[EB_TUNNELS];

#endif
