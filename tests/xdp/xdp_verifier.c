// SPDX-License-Identifier: GPL-2.0-only
/* The program stays far from the verifier's limits, a million instructions and 512 bytes of stack: kernels and
 * compilers differ. Prints what `make check-vm` collects. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>
#include <cmocka.h>

#include "xdp.h"

#define INSTRUCTIONS_MAX 250000
#define STACK_MAX 464
#define LOG_STATS 4 /* BPF_LOG_STATS of the kernel's include/linux/bpf_verifier.h */

struct margin {
	unsigned int instructions;
	unsigned int stack; /* of the program and its two largest functions; the verifier adds up each chain of calls */
	char depths[256];   /* of each, as the verifier writes it */
};

static unsigned int deepest(const char *depths)
{
	unsigned int program = strtoul(depths, NULL, 10), largest = 0, second = 0;

	while ((depths = strchr(depths, '+'))) {
		unsigned int depth = strtoul(++depths, NULL, 10);

		if (depth > largest) {
			second = largest;
			largest = depth;
		} else if (depth > second) {
			second = depth;
		}
	}
	return program + largest + second;
}

/* "stack depth 120+0+48"; in Linux 7 "stack depth max 184", and a line for every function that ends in "stack 48". */
static void read_depths(const char *log, char *out, size_t size)
{
	const char *at = strstr(log, "stack depth ");
	size_t len = 0;

	if (at && sscanf(at, "stack depth %255[0-9+]", out) == 1)
		return;
	for (at = log; (at = strstr(at, " stack ")) && len < size; at++)
		len += snprintf(out + len, size - len, "%s%lu", len ? "+" : "",
				strtoul(at + strlen(" stack "), NULL, 10));
	if (!len)
		fail_msg("the verifier says nothing of stack: %s", log);
}

static struct margin read_margin(const char *log)
{
	const char *processed = strstr(log, "processed ");
	struct margin margin;

	if (!processed || sscanf(processed, "processed %u", &margin.instructions) != 1)
		fail_msg("the verifier says nothing of instructions: %s", log);
	read_depths(log, margin.depths, sizeof(margin.depths));
	margin.stack = deepest(margin.depths);
	return margin;
}

static struct margin verify(bool multi_buffer)
{
	static char log[16384];
	struct bpf_object *object = rig_open_object();
	struct bpf_program *program = bpf_object__find_program_by_name(object, "edgebucket");
	struct margin margin;

	rig_set_constant(object, "multi_buffer", multi_buffer, sizeof(bool));
	if (!multi_buffer)
		bpf_program__set_flags(program, 0);
	assert_int_equal(bpf_program__set_log_level(program, LOG_STATS), 0);
	assert_int_equal(bpf_program__set_log_buf(program, log, sizeof(log)), 0);
	if (bpf_object__load(object))
		fail_msg("the verifier refuses the program: %s\n%s", strerror(errno), log);
	margin = read_margin(log);
	bpf_object__close(object);
	return margin;
}

static void check_margin(const char *what, bool multi_buffer)
{
	struct margin margin = verify(multi_buffer);

	print_message("verified %s: %u instructions, %s bytes of stack\n", what, margin.instructions, margin.depths);
	assert_in_range(margin.instructions, 1, INSTRUCTIONS_MAX);
	assert_in_range(margin.stack, 1, STACK_MAX);
}

static void test_margin(void **state)
{
	(void)state;
	check_margin("multi-buffer", true);
}

/* As it is loaded before Linux 5.18. */
static void test_margin_single_buffer(void **state)
{
	(void)state;
	check_margin("single-buffer", false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_margin),
		cmocka_unit_test(test_margin_single_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
