/* SPDX-License-Identifier: GPL-2.0-only */
/* Every map of the program. Their names are the pins' names; records are declared in edgebucket.h. */
#ifndef EB_MAPS_H
#define EB_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "ban.h"
#include "edgebucket.h"

/* Sizes that the agent sets before loading, by table_size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_set4);
} buckets_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_set6);
} buckets_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_tags);
} tags_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_tags);
} tags_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_changes);
} changed_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_changes);
} changed_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct eb_policy);
} policy SEC(".maps");

/* The rules that accept a port, a length or a VLAN, by EB_NUMBER(). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EB_NUMBER(2, 0, 0));
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

/* The rules that accept an interface. Those of interfaces that are not there are eb_policy.interface_any. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EB_INTERFACE_KEYS);
	__type(key, struct eb_interface_key);
	__type(value, __u64);
} interfaces SEC(".maps");

/* The rules that accept an address, by EB_TRIE(). Every reload puts new tries of the right size here; these empty
 * ones tell their type. (clang 14 leaves the key's type out of BTF for a trie that is no map of its own.) */
struct eb_trie4 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct eb_lpm4);
	__type(value, __u64);
} empty_v4 SEC(".maps");

struct eb_trie6 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct eb_lpm6);
	__type(value, __u64);
} empty_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EB_TRIE(2, 0));
	__type(key, __u32);
	__array(values, struct eb_trie4);
} prefixes_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EB_TRIE(2, 0));
	__type(key, __u32);
	__array(values, struct eb_trie6);
} prefixes_v6 SEC(".maps");

/* Filters in front of the tries, by EB_FILTER_PLACE(): arrays of 64 bits each, of any length. */
struct eb_filter_words {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} no_filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EB_FILTER_PLACES);
	__type(key, __u32);
	__array(values, struct eb_filter_words);
} filters SEC(".maps");

/* What was charged to each entry, and what was heard of it, by EB_SPENT() and EB_HEARD(): there while a rule is shared
 * by a fleet (maps/spent.h). */
struct eb_spent_sets {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32)); /* no types: clang does not describe that of the value here */
	__uint(value_size, sizeof(struct eb_spent_set));
} no_spent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EB_SPENT_PLACES);
	__type(key, __u32);
	__array(values, struct eb_spent_sets);
} spent SEC(".maps");

/* What was offered to each entry of the rule that a command measures, likewise (maps/demand.h). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct eb_spent_sets);
} demand SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EB_BANS_MAX);
	__type(key, struct eb_lpm4);
	__type(value, struct eb_ban);
} bans_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EB_BANS_MAX);
	__type(key, struct eb_lpm6);
	__type(value, struct eb_ban);
} bans_v6 SEC(".maps");

/* The filter in front of these, see ban.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4 * EB_BAN_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} ban_bits SEC(".maps");

/* Bans that the program made, for the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, EB_BANS_MADE_MAX);
	__uint(value_size, sizeof(struct eb_ban_made));
} bans_made SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EB_SLOTS);
	__type(key, __u32);
	__type(value, struct eb_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EB_FRAME_KINDS);
	__type(key, __u32);
	__type(value, struct eb_frame_counter);
} frames SEC(".maps");

/* Frames that were not IP, by the index of the interface that they came in on. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, EB_NOT_IP_INTERFACES);
	__type(key, __u32);
	__type(value, __u64);
} not_ip SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct eb_cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

#endif
