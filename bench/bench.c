// SPDX-License-Identifier: GPL-2.0-only
/* One measurement for each call; run.sh decides which, how often, and in which order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const struct measurement {
	const char *name;
	int (*run)(const struct bench_cpus *cpus, char **args);
	int args;
	const char *usage;
} measurements[] = {
	{ "cost", bench_cost, 5, "CONTESTANT RULES LABEL refused|admitted SOURCES" },
	{ "flood", bench_flood, 8, "CONTESTANT RULES LABEL refused|limited|admitted SOURCES SECONDS FROM TO" },
	{ "wide", bench_wide, 5, "CONTESTANT RULES LABEL refused|admitted CPUS" },
	{ "scale", bench_scale, 10, "CONTESTANT RULES LABEL refused|admitted 1|2 SECONDS FROM TO FROM TO" },
	{ "exact", bench_exact, 8, "CONTESTANT LABEL two-cpus|spoofed SECONDS FROM TO FROM TO" },
	{ "survive", bench_survive, 9, "CONTESTANT RULES LABEL SOURCES SECONDS RATE FROM TO NETNS" },
	{ "windows", bench_windows, 3, "SECONDS FROM TO" },
	{ "fill", bench_fill, 3, "PIN_DIR COUNT STEP" },
	{ "bare", bench_bare, 2, "SOCKET KEY" },
};

static int cpu_of(const char *variable, int otherwise)
{
	const char *value = getenv(variable);

	return value ? atoi(value) : otherwise;
}

static int usage(void)
{
	for (size_t i = 0; i < sizeof(measurements) / sizeof(measurements[0]); i++)
		fprintf(stderr, "bench %s %s\n", measurements[i].name, measurements[i].usage);
	return 2;
}

int main(int argc, char **argv)
{
	struct bench_cpus cpus = {
		.send = cpu_of("EB_BENCH_SEND_CPU", 0),
		.receive = cpu_of("EB_BENCH_RECEIVE_CPU", 1),
	};
	int err;

	for (size_t i = 0; i < sizeof(measurements) / sizeof(measurements[0]); i++) {
		if (argc < 2 || strcmp(argv[1], measurements[i].name) != 0 || argc - 2 != measurements[i].args)
			continue;
		err = measurements[i].run(&cpus, argv + 2);
		if (err)
			fprintf(stderr, "bench: %s %s: %s\n", argv[1], argv[2], strerror(-err));
		return err ? 1 : 0;
	}
	return usage();
}
