// SPDX-License-Identifier: GPL-2.0-only
#include "base/log_limit.h"
#include "gcra.h"

/* Charged one line at a time, hence no shift. */
static const struct eb_limit lines = {
	.mult = EB_LOG_REFILL_NS * EB_TICKS_PER_NS,
	.burst = EB_LOG_BURST * EB_LOG_REFILL_NS * EB_TICKS_PER_NS,
};

_Static_assert(EB_LOG_BURST * EB_LOG_REFILL_NS * EB_TICKS_PER_NS <= EB_BURST_MAX, "longest refill of gcra.h");

bool eb_log_admit(struct eb_log_limit *limit, uint64_t now_ns, uint64_t *suppressed)
{
	uint64_t now = eb_gcra_now(now_ns), debt = eb_gcra_debt(limit->full_at, now), cost = eb_gcra_cost(&lines, 1);

	if (!eb_gcra_conforms(&lines, debt, cost)) {
		limit->suppressed++;
		return false;
	}
	limit->full_at = eb_gcra_full_at(now, debt + cost);
	*suppressed = limit->suppressed;
	limit->suppressed = 0;
	return true;
}

bool eb_log_admit_report(struct eb_log_limit *limit, uint64_t now_ns, uint64_t *suppressed)
{
	uint64_t before = limit->suppressed;

	if (before && eb_log_admit(limit, now_ns, suppressed))
		return true;
	limit->suppressed = before; /* a report is no line that could be missed */
	return false;
}
