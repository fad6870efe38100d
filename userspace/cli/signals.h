/* SPDX-License-Identifier: GPL-2.0-only */
/* Signals for commands that run until they are interrupted. */
#ifndef EB_SIGNALS_H
#define EB_SIGNALS_H

/* Makes SIGINT, SIGTERM and SIGHUP readable from a descriptor, so that none can come between a look and a wait, and
 * ignores SIGPIPE. Returns the descriptor, which the caller closes, or negative errno. */
int signals_open(void);

#endif
