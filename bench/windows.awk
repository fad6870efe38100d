# SPDX-License-Identifier: GPL-2.0-only
# Sums up the windows (see windows.c) that lie within a phase. Phases come first: idle or busy, first and last moment.
# Prints for each phase: persist, PHASE-mpps or PHASE-ns, value.

NR == FNR { phase[++phases] = $1; first[phases] = $2; last[phases] = $3; next }
{
	for (i = 1; i <= phases; i++)
		if ($1 >= first[i] && $2 <= last[i]) {
			seconds[i] += $2 - $1
			packets[i] += $3
			ns[i] += $4
		}
}

END {
	for (i = 1; i <= phases; i++)
		if (packets[i]) {
			printf "persist\t%s-mpps\t%.3f\n", phase[i], packets[i] / seconds[i] / 1e6
			printf "persist\t%s-ns\t%.1f\n", phase[i], ns[i] / packets[i]
		}
}
