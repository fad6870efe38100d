/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Measures what each source offers to a rule or a level of it, admitted or not: for a time, or until a signal.
 */
#ifndef EB_MEASURE_H
#define EB_MEASURE_H

#include "cli/needs.h"
#include "cli/session.h"

/* Sources that are followed, those that come first. Each takes 40 bytes, and a struct needs for each limit of the
 * rule. */
#define MEASURE_SOURCES_MAX (1U << 20)

/* With looks that stand for more, a bucket can have changed hands between two: see eb_demand_collect(). */
#define MEASURE_EXACT_NS 1000000000ULL

struct measured_source {
	struct eb_source source; /* rule_id 0: a reload can change it */
	uint64_t packets, bytes;
};

struct measurement {
	/* The caller's. */
	struct session *session; /* opened with SESSION_BUCKETS; its policy is renewed */
	int limit;               /* place of the rule or level in the policy */
	uint64_t for_ns;

	/* What was found. */
	struct measured_source *sources;
	struct needs *needs[2];  /* of packets and of bytes, by source; NULL where the rule has no such limit */
	size_t count;            /* of sources */
	__u64 seed[2];           /* of the hash, so that no source can choose its place */
	uint32_t *places;        /* hash table: 1 + index of a source, 0 where there is none */
	uint64_t began_ns, looked_ns; /* CLOCK_MONOTONIC; of the last look, when it began */
	uint64_t measured_ns;
	uint64_t longest_ns;     /* that a look stands for */
	uint64_t packets, bytes;
	uint64_t unfollowed;     /* packets of sources for which there was no room */
	uint64_t crowded;        /* packets of sources without a bucket, which nobody counts by source */
	bool has_gap;            /* this process was held up, and packets are missing */
	const char *ended;       /* why it ended early; NULL */
};

/* Measures. In both cases, call measure_done() afterwards. On failure, has printed the reason. */
enum cli_result measure_run(struct measurement *measurement);
void measure_done(struct measurement *measurement);

#endif
