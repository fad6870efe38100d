/* SPDX-License-Identifier: GPL-2.0-only */
/* Warns an operator whose rules would drop the packets of the operator's own session. */
#ifndef CLI_LOCKOUT_H
#define CLI_LOCKOUT_H

#include "config/config.h"

/* Prints a warning to stderr if a rule of `config` would drop packets from the address of this session. The address is
 * in SSH_CONNECTION of this process or of one of its ancestors, because sudo removes it from the environment. */
void lockout_warn(const struct eb_config *config);

/* Whether this is such a session. If not, a command need not read a configuration only for the warning. */
bool lockout_is_remote(void);

#endif
