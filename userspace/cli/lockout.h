/* SPDX-License-Identifier: GPL-2.0-only */
/* Warns who is about to deny the packets of his own session. */
#ifndef CLI_LOCKOUT_H
#define CLI_LOCKOUT_H

#include "config/config.h"

/* Says so on standard error where a rule of `config` would drop what comes from where this session does:
 * SSH_CONNECTION, of this process or of one that it descends from, as sudo takes it out of the environment. */
void lockout_warn(const struct eb_config *config);

/* Whether there is such a session: without, no configuration needs to be read for the sake of a warning. */
bool lockout_is_remote(void);

#endif
