/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A rig to test the XDP program on: the object that ships (EB_BPF_OBJECT says where it is), loaded without pins and
 * without an interface, with its maps at hand. Everything fails the running test when it does not work.
 */
#ifndef EB_TEST_XDP_H
#define EB_TEST_XDP_H

#include <stddef.h>
#include <stdint.h>

#include <linux/bpf.h>

#include "base/clock.h"
#include "edgebucket.h"
#include "frame.h"

struct bpf_object;
struct eb_buckets;

struct rig {
	struct bpf_object *object;
	int prog;
	uint32_t sets;
	struct eb_set4 *v4; /* the tables themselves */
	struct eb_set6 *v6;
	struct eb_tags *tags4, *tags6;
	struct eb_state *state;
	struct eb_policy *policy; /* in force */
	struct eb_buckets *buckets;
};

/* The object that ships, to be loaded. */
struct bpf_object *rig_open_object(void);

/* Sets a `const volatile` of an object that is not loaded yet. */
void rig_set_constant(struct bpf_object *object, const char *name, uint32_t value, size_t value_size);

/* Loads the program with tables of `sets` sets. */
void rig_open(struct rig *rig, uint32_t sets);
void rig_close(struct rig *rig);

/* The same for cmocka, for a group of tests. */
int rig_setup(void **state, uint32_t sets);
int rig_teardown(void **state);

/* Puts the rules of a configuration into force. `rules` is YAML, the items of `rules:`, after whatever other keys. */
void rig_apply(struct rig *rig, const char *config);

/* Empties tables, counters and gates; the rules stay. */
void rig_clear(struct rig *rig);

/* Sends a frame once / `repeat` times; returns the (last) verdict. The kernel needs some 10 ms to begin and end a
 * repetition. rig_send_split() leaves `linear` bytes in the first
 * buffer, and returns -1 where the kernel has no way to ask for that. */
int rig_send(const struct rig *rig, const struct frame *frame);
int rig_repeat(const struct rig *rig, const struct frame *frame, uint32_t repeat);
int rig_send_split(const struct rig *rig, const struct frame *frame, uint32_t linear);

/* Makes the frame from text (a format) and sends it. */
int rig_send_text(const struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Rule in force by name. */
const struct eb_rule *rig_rule(const struct rig *rig, const char *name);

/*
 * What was counted, as text like "dns.pass:1 dns.drop:3 malformed:1", rules in their order. Fails unless all counted
 * frames had `len` bytes; 0 for "do not look". The text is valid until the next call.
 */
const char *rig_counts(const struct rig *rig, size_t len);

/* Packets that a rule counted for a verdict / sources that it let in / packets that were counted by kind. */
uint64_t rig_count(const struct rig *rig, const char *rule, enum eb_verdict verdict);
uint64_t rig_new_sources(const struct rig *rig, const char *rule);
uint64_t rig_penalties(const struct rig *rig, const char *rule); /* bans made, or that would have been */
uint64_t rig_count_kind(const struct rig *rig, enum eb_frame_kind kind);

/* The one bucket of a rule and source, which is masked already (IPv4 in the first 4 bytes). NULL when it has none;
 * fails when it has several, or one that is never looked for. */
struct eb_bucket *rig_bucket(const struct rig *rig, const char *rule, uint8_t family, const void *addr);

/* The same with the source as text, "10.0.0.1", and behind it the target of a rule with also_per, ">192.0.2.1" or
 * ">53". */
struct eb_bucket *rig_bucket_of(const struct rig *rig, const char *rule, const char *source);

/* Refusals of a source, by its bucket. */
uint64_t rig_dropped(const struct rig *rig, const char *rule, const char *source);

/* Fails when a lock is held, a time is locked or an entry has a tag that nobody looks for. */
void rig_check_table(const struct rig *rig);

int rig_fd(const struct rig *rig, const char *map);

#endif
