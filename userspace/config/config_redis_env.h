/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * REDIS_HOST and the other variables of the environment, which override the section `redis`. config.c applies them.
 */
#ifndef EB_CONFIG_REDIS_ENV_H
#define EB_CONFIG_REDIS_ENV_H

#include "config/config_redis.h"
#include "config/findings.h"

/* Applies the variables to *redis, which is made if it is NULL and REDIS_HOST is set. What belongs to the combination
 * of file and environment is checked here. Returns 0 or negative errno. */
int eb_redis_env_apply(struct eb_redis_config **redis, struct eb_findings *findings);

#endif
