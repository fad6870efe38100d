// SPDX-License-Identifier: GPL-2.0-only
/* Debts over a change of limits, on real maps: who gets the room that there is, and what a kill leaves undone. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "buckets.h"
#include "config.h"
#include "dataplane.h"
#include "rules.h"

#define HOUR (3600 * 1000000000ULL * EB_TICKS_PER_NS)
#define TABLE_SIZE 1024

struct setting {
	char pin_dir[64];
	struct eb_dataplane *dataplane;
	struct eb_buckets *buckets;
	struct eb_policy policy; /* in force */
};

/* Puts one rule into force. */
static void limit(struct setting *setting, int burst)
{
	struct eb_ruleset *ruleset;
	struct eb_config *config;
	char text[512], *error = NULL;

	snprintf(text, sizeof(text),
		 "interfaces: [lo]\npin_dir: %s\ntable_size: %d\n"
		 "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: %d } }]\n",
		 setting->pin_dir, TABLE_SIZE, burst);
	if (eb_config_parse(text, strlen(text), "test.yaml", NULL, &config, &error) ||
	    (!setting->dataplane && eb_dataplane_open(config, &setting->dataplane, &error)) ||
	    eb_maps_policy(eb_dataplane_maps(setting->dataplane), &setting->policy) ||
	    eb_rules_compile(config, &setting->policy, &ruleset, &error) ||
	    eb_dataplane_apply(setting->dataplane, ruleset, &error))
		fail_msg("%s", error ? error : "cannot read the policy");
	eb_rules_free(ruleset);
	eb_config_free(config);
	setting->buckets = eb_dataplane_buckets(setting->dataplane);
	assert_int_equal(eb_maps_policy(eb_dataplane_maps(setting->dataplane), &setting->policy), 0);
}

static int open_setting(void **state)
{
	static struct setting setting;

	memset(&setting, 0, sizeof(setting));
	snprintf(setting.pin_dir, sizeof(setting.pin_dir), "/sys/fs/bpf/ebtest-reload-%d", getpid());
	*state = &setting;
	return 0;
}

static int close_setting(void **state)
{
	struct setting *setting = *state;

	eb_dataplane_close(setting->dataplane);
	return rmdir(setting->pin_dir);
}

static struct eb_source source_of(const struct eb_policy *policy, uint32_t number)
{
	struct eb_source source = { .family = 4, .rule_id = policy->rules[0].id4 };
	uint32_t addr = htonl(0x0a000000 + number);

	memcpy(source.addr, &addr, sizeof(addr));
	return source;
}

static int owe(struct setting *setting, const struct eb_policy *policy, uint32_t number, uint64_t debt)
{
	struct eb_bucket_view view = {
		.source = source_of(policy, number),
		.packets_full_at = eb_gcra_full_at(eb_buckets_now(), debt),
		.bytes_full_at = EB_FULL,
	};

	return eb_buckets_merge(setting->buckets, &view, EB_MERGE_LATER, &policy->rules[0]);
}

/* In hours, rounded; 0 without a bucket. */
static uint64_t owed(const struct setting *setting, uint32_t number)
{
	struct eb_source source = source_of(&setting->policy, number);
	struct eb_bucket_view view;
	int err = eb_buckets_find(setting->buckets, &source, &view);

	if (err == -ENOENT)
		return 0;
	assert_int_equal(err, 0);
	return (eb_gcra_debt(view.packets_full_at, eb_buckets_now()) + HOUR / 2) / HOUR;
}

/* More debts than there is room for beside the old ones: those are lost that would have been over soonest. By chance
 * some long ones have both their sets full of old buckets; without the order, about half of them are lost. */
static void test_longest_first(void **state)
{
	enum { LONG = 64, ALL = 1400, UNLUCKY = 16 };
	struct setting *setting = *state;
	int lost = 0, kept = 0;

	limit(setting, 100);
	for (uint32_t i = 0; i < LONG; i++)
		assert_int_equal(owe(setting, &setting->policy, i, 90 * HOUR), 1);
	for (uint32_t i = LONG; i < ALL; i++)
		(void)owe(setting, &setting->policy, i, HOUR);
	limit(setting, 101);
	for (uint32_t i = 0; i < LONG; i++)
		lost += owed(setting, i) != 90;
	for (uint32_t i = LONG; i < ALL; i++)
		kept += owed(setting, i) == 1;
	assert_in_range(kept, 1, ALL - LONG - TABLE_SIZE / 4);
	if (lost > UNLUCKY)
		fail_msg("%d of %d long debts were lost, %d short ones kept", lost, LONG, kept);
}

static void put_back(const struct setting *setting, struct eb_policy *old)
{
	const struct eb_maps *maps = eb_dataplane_maps(setting->dataplane);
	uint32_t active;

	assert_int_equal(eb_maps_active(maps, &active), 0);
	active = 1 - active;
	assert_int_equal(bpf_map_update_elem(maps->fd[EB_MAP_POLICY], &active, old, BPF_ANY), 0);
}

/* What an agent leaves that is killed between a switch and the second pass: the policy before with its generation, an
 * old bucket that was charged after its conversion, and a new one without that. The next agent finishes it, once. */
static void test_interrupted(void **state)
{
	struct setting *setting = *state;
	struct eb_policy *old = malloc(sizeof(*old));
	struct eb_source source;

	limit(setting, 100);
	assert_non_null(old);
	*old = setting->policy;
	assert_int_equal(owe(setting, old, 0, 50 * HOUR), 1);
	limit(setting, 90);
	assert_int_equal(owed(setting, 0), 50);

	put_back(setting, old);
	assert_int_equal(owe(setting, old, 0, 70 * HOUR), 1);
	assert_int_equal(owe(setting, old, 1, 95 * HOUR), 1);
	limit(setting, 90);
	assert_int_equal(owed(setting, 0), 70);
	assert_int_equal(owed(setting, 1), 90);

	source = source_of(&setting->policy, 0);
	assert_int_equal(eb_buckets_reset(setting->buckets, &source, 1), 0);
	limit(setting, 90);
	assert_int_equal(owed(setting, 0), 0);
	free(old);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_longest_first, open_setting, close_setting),
		cmocka_unit_test_setup_teardown(test_interrupted, open_setting, close_setting),
	};

	return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
