/* SPDX-License-Identifier: GPL-2.0-only */
/* Owns the loaded XDP program of one contestant, edgebucket among them, with one limit for every source. */
#ifndef EB_BENCH_CONTESTANT_H
#define EB_BENCH_CONTESTANT_H

#include <stdint.h>

struct bpf_object;
struct contestants_bpf;
struct edgebucket_bpf;

struct contestant_limit {
	uint32_t rules;	     /* edgebucket: 1, or as many as 64, of which the last limits */
	uint32_t listed;     /* edgebucket: with 2 rules, prefixes of the first one's sources */
	int denies_all;      /* edgebucket: with 2 rules, the first one's are all sources of the traffic but `new` */
	int bans_all;        /* edgebucket: these are banned */
	uint32_t levels;     /* edgebucket: with 1 rule, how many it has, at most EB_LEVELS_MAX */
	int is_wide;	     /* edgebucket: its one level is of all sources */
	uint32_t table_size; /* edgebucket: buckets */
	double rate;	     /* packets per second and source */
	double burst;	     /* packets */
	double new_sources;  /* edgebucket: new sources per second, and burst of it */
};

/* Limits by which a source that was seen before is "refused" or "admitted", whatever it sends, or "limited" to 1000
 * packets a second; every source finds room in the table at once. With one rule. Returns 0 or -EINVAL. */
int contestant_limit_of(const char *verdict, struct contestant_limit *out);

struct contestant {
	struct edgebucket_bpf *edgebucket; /* at most one of the two is set */
	struct contestants_bpf *contestants;
	struct bpf_object *object; /* the other's */
	int fd;			   /* of the program; belongs to the object */
};

/* `name` is "edgebucket", a program of contestants.bpf.c, or "none", which loads and attaches nothing. Returns 0 or
 * negative errno with nothing to unload. */
int contestant_load(const char *name, const struct contestant_limit *limit, struct contestant *out);

/* Reads rules, lists and levels: "1" to "64"; "list" for two rules, of which the first denies a million prefixes, and
 * "denied" where these are the sources; "banned" for one rule, with the sources banned; or "two" or "four" for one rule
 * of which a packet meets as many buckets, "wide" for one with a level of all sources. */
void contestant_set_rules(const char *text, struct contestant_limit *limit);

/* Changes the limit in force, of edgebucket alone. */
int contestant_set_limit(const struct contestant *contestant, const struct contestant_limit *limit);

/* False for those that drop everything. */
int contestant_is_limiter(const struct contestant *contestant);

/* In native mode. */
int contestant_attach(const struct contestant *contestant, int ifindex);
void contestant_detach(const struct contestant *contestant, int ifindex);

void contestant_unload(struct contestant *contestant);

#endif
