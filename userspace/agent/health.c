// SPDX-License-Identifier: GPL-2.0-only
#include "agent/health.h"

/* Why an interface is not enforced, as a line. */
static void tell_reason(const struct eb_agent *agent, const struct eb_interface *interface, FILE *out)
{
	if (!agent->enforcing)
		fprintf(out, "%s: not enforced, still restoring\n", interface->name);
	else if (agent->interfaces.detached)
		fprintf(out, "%s: not enforced, an operator detached it until edgebucket attach or %s\n",
			interface->name, agent->interfaces.stays ? "reload" : "reload, or a restart");
	else
		fprintf(out, "%s\n", interface->problem ? interface->problem : interface->name);
}

bool eb_health_is_enforced(const struct eb_agent *agent, FILE *out)
{
	bool is_enforced = agent->interfaces.count > 0;

	if (!is_enforced)
		fputs("no interface yet that interfaces stands for, waiting for one\n", out);
	for (size_t i = 0; i < agent->interfaces.count; i++) {
		if (agent->interfaces.list[i].attachment.attached)
			continue;
		is_enforced = false;
		tell_reason(agent, &agent->interfaces.list[i], out);
	}
	if (is_enforced)
		fputs("every interface is enforced\n", out);
	return is_enforced;
}

bool eb_health_is_ready(const struct eb_agent *agent, FILE *out)
{
	fputs(agent->enforcing ? "the restore is decided\n" : "still restoring\n", out);
	if (agent->refused)
		fprintf(out, "the configuration is refused, enforcing the last one that was in force: %s\n",
			agent->refused);
	return agent->enforcing && !agent->refused;
}
