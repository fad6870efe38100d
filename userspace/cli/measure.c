// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/measure.h"
#include "cli/signals.h"
#include "maps/demand.h"
#include "policy/rules.h"
#include "table.h"

/* A look at a large table takes long: it is repeated after so many times as long as it kept the CPU busy, which is a
 * twentieth of one at most. Not later than a second, see eb_demand_collect(). */
#define REST 20
#define REST_MIN_NS 10000000ULL
#define REST_MAX_NS 900000000ULL

/* How often to see whether the rule is still what it was. */
#define CHECK_NS 1000000000ULL

#define PLACES (2 * MEASURE_SOURCES_MAX) /* a power of two */

/* ---- sources ---- */

/* Memory that is zero, and costs nothing until it is written. */
static void *reserve(size_t count, size_t size)
{
	void *memory = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void release(void *memory, size_t count, size_t size)
{
	if (memory)
		munmap(memory, count * size);
}

static enum cli_result reserve_all(struct measurement *m)
{
	const struct eb_rule *rule = &m->session->policy.rules[m->limit];
	const bool has[] = { rule->packets.mult, rule->bytes.mult };

	if (getrandom(m->seed, sizeof(m->seed), 0) < 0)
		return cli_fail("cannot get a random seed: %s", strerror(errno));
	m->sources = reserve(MEASURE_SOURCES_MAX, sizeof(*m->sources));
	m->places = reserve(PLACES, sizeof(*m->places));
	if (!m->sources || !m->places)
		return cli_fail("out of memory");
	for (int i = 0; i < 2; i++) {
		m->needs[i] = has[i] ? reserve(MEASURE_SOURCES_MAX, sizeof(*m->needs[i])) : NULL;
		if (has[i] && !m->needs[i])
			return cli_fail("out of memory");
	}
	return CLI_DONE;
}

void measure_done(struct measurement *m)
{
	release(m->sources, MEASURE_SOURCES_MAX, sizeof(*m->sources));
	release(m->places, PLACES, sizeof(*m->places));
	for (int i = 0; i < 2; i++)
		release(m->needs[i], MEASURE_SOURCES_MAX, sizeof(*m->needs[i]));
}

#define SOURCE_WORDS (sizeof(struct eb_source) / sizeof(__u64))
_Static_assert(sizeof(struct eb_source) % sizeof(__u64) == 0, "a source is hashed by words");

/* The source's index, which is made where it has none; -1 without room. */
static int64_t find_source(struct measurement *m, const struct eb_source *source)
{
	__u64 words[SOURCE_WORDS];
	uint32_t place;

	memcpy(words, source, sizeof(words));
	for (place = eb_hash(words, SOURCE_WORDS, m->seed) % PLACES; m->places[place]; place = (place + 1) % PLACES)
		if (!memcmp(&m->sources[m->places[place] - 1].source, source, sizeof(*source)))
			return m->places[place] - 1;
	if (m->count == MEASURE_SOURCES_MAX)
		return -1;
	m->sources[m->count].source = *source;
	m->places[place] = ++m->count;
	return m->places[place] - 1;
}

/* ---- looking ---- */

static int add(const struct eb_source *found, uint64_t packets, uint64_t bytes, void *arg)
{
	struct measurement *m = arg;
	struct needs_look look = { m->looked_ns - m->began_ns, eb_monotonic_ns() - m->began_ns };
	struct eb_source source = *found;
	int64_t index;

	source.rule_id = 0;
	index = find_source(m, &source);
	m->packets += packets;
	m->bytes += bytes;
	if (index < 0) {
		m->unfollowed += packets;
		return 0;
	}
	m->sources[index].packets += packets;
	m->sources[index].bytes += bytes;
	if (m->needs[0])
		needs_add(&m->needs[0][index], false, &look, packets);
	if (m->needs[1])
		needs_add(&m->needs[1][index], true, &look, bytes);
	return 0;
}

/* Returns 0 or negative errno: -ESTALE when another process has taken over. */
static int look(struct measurement *m, struct eb_demand *demand)
{
	uint64_t begun = eb_monotonic_ns(), ended;
	int err = eb_demand_collect(demand, add, m);

	if (err == -ETIMEDOUT) {
		m->has_gap = true;
		err = 0;
	}
	ended = eb_monotonic_ns();
	if (!err && ended - m->looked_ns > m->longest_ns)
		m->longest_ns = ended - m->looked_ns;
	m->looked_ns = begun;
	m->measured_ns = begun - m->began_ns;
	return err;
}

/* ---- what changes meanwhile ---- */

/* The place of the same rule or level in the policy in force; -1 when there is none. */
static int find_same(const struct session *session, const struct eb_policy *before, int limit)
{
	const struct eb_rule *was = &before->rules[limit];

	for (int i = 0; i < session_rule_count(session); i++) {
		const struct eb_rule *rule = &session->policy.rules[i];

		if (eb_rules_same(before, limit, &session->policy, i) && rule->action == EB_LIMIT &&
		    rule->prefix4 == was->prefix4 && rule->prefix6 == was->prefix6 && rule->also == was->also)
			return i;
	}
	return -1;
}

static bool are_maps_replaced(const struct session *session)
{
	struct eb_maps now;
	char *error = NULL;
	__u32 before, after;
	bool is_same;

	if (eb_maps_open(session->paths.pin_dir, &now, &error)) {
		free(error);
		return true;
	}
	is_same = eb_maps_state_id(&session->maps, &before) == 0 && eb_maps_state_id(&now, &after) == 0 &&
		  before == after;
	eb_maps_close(&now);
	return !is_same;
}

/* False when there is nothing left to measure. A change of the rule's rates and bursts is none. */
static bool goes_on(struct measurement *m)
{
	struct eb_policy *before = malloc(sizeof(*before));

	if (!before)
		return true;
	*before = m->session->policy;
	if (are_maps_replaced(m->session))
		m->ended = "an agent has replaced the maps";
	else if (!eb_maps_policy(&m->session->maps, &m->session->policy)) {
		int limit = find_same(m->session, before, m->limit);

		if (limit >= 0)
			m->limit = limit;
		else
			m->ended = "the rule is not in force any more, or not with these prefixes";
	}
	if (m->ended)
		m->session->policy = *before;
	free(before);
	return !m->ended;
}

/* ---- the measurement ---- */

/* Waits; true when it was interrupted. */
static bool rest(int signals, uint64_t ns)
{
	struct pollfd fd = { .fd = signals, .events = POLLIN };

	return poll(&fd, 1, ns / 1000000 + 1) > 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Looks, and says how long to wait until the next one. */
static int look_once(struct measurement *m, struct eb_demand *demand, uint64_t *pause)
{
	uint64_t busy = eb_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	int err = look(m, demand);

	*pause = least(REST * (eb_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - busy), REST_MAX_NS);
	if (*pause < REST_MIN_NS)
		*pause = REST_MIN_NS;
	return err;
}

static int follow(struct measurement *m, struct eb_demand *demand, int signals)
{
	uint64_t end = m->began_ns + m->for_ns, checked = m->began_ns, pause = REST_MIN_NS, now = m->began_ns;
	bool is_over = false;
	int err = 0;

	while (!is_over && !err) {
		is_over = rest(signals, now < end ? least(pause, end - now) : 0);
		now = eb_monotonic_ns();
		is_over |= now >= end;
		err = look_once(m, demand, &pause);
		if (now - checked < CHECK_NS)
			continue;
		is_over |= !goes_on(m);
		checked = now;
	}
	if (err != -ESTALE)
		return err;
	m->ended = "another measurement has taken over";
	return 0;
}

static enum cli_result run(struct measurement *m, int signals)
{
	uint32_t slot = m->session->policy.rules[m->limit].slot;
	struct eb_counters before, after;
	struct eb_demand *demand;
	int err = eb_maps_counters(&m->session->maps, slot, &before);

	m->began_ns = m->looked_ns = eb_monotonic_ns();
	if (!err)
		err = eb_demand_open(&m->session->maps, m->session->buckets, slot, &demand);
	if (err == -EBUSY)
		return cli_fail("another measurement is running");
	if (err)
		return cli_fail("%s: cannot measure: %s", m->session->paths.pin_dir, strerror(-err));
	cli_note("measuring %s for %s; interrupt to see what was found so far",
		 session_limit_name(&m->session->policy, m->limit).s, print_duration(m->for_ns).s);
	err = follow(m, demand, signals);
	eb_demand_close(demand);
	if (!err)
		err = eb_maps_counters(&m->session->maps, slot, &after);
	if (err)
		return cli_fail("%s: %s", m->session->paths.pin_dir, strerror(-err));
	m->crowded = after.packets[EB_CROWDED] - before.packets[EB_CROWDED];
	return CLI_DONE;
}

enum cli_result measure_run(struct measurement *m)
{
	enum cli_result result = reserve_all(m);
	int signals;

	if (result)
		return result;
	signals = signals_open();
	if (signals < 0)
		return cli_fail("cannot handle signals: %s", strerror(-signals));
	result = run(m, signals);
	close(signals);
	return result;
}
