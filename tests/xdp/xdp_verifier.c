// SPDX-License-Identifier: GPL-2.0-only
/* The program stays far from the verifier's limits, a million instructions and 512 bytes of stack: kernels and
 * compilers differ. Prints what `make check-vm` collects. */
#include <ctype.h>
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
#define STACK_MAX 399
#define FUNCTIONS_MAX 64
#define LOG_STATS 4 /* BPF_LOG_STATS of the kernel's include/linux/bpf_verifier.h */

struct margin {
	unsigned int instructions;
	unsigned int stack; /* of the deepest chain of calls */
	char depths[256];   /* of each function, in the order of their instructions, as the verifier writes it */
};

/* A program as it was loaded, its functions behind it. */
struct code {
	const struct bpf_insn *insns;
	size_t count;
	unsigned int *function; /* that begins at an instruction, counted from 1; 0 where none does */
	unsigned int depths[FUNCTIONS_MAX]; /* by the same numbers */
};

static bool is_call(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL;
}

static size_t callee(const struct code *code, size_t at)
{
	return at + 1 + code->insns[at].imm;
}

static void read_functions(const struct bpf_program *program, const char *depths, struct code *code)
{
	unsigned int functions = 0;

	code->insns = bpf_program__insns(program);
	code->count = bpf_program__insn_cnt(program);
	code->function = calloc(code->count, sizeof(*code->function));
	assert_non_null(code->function);
	code->function[0] = 1;
	for (size_t i = 0; i < code->count; i++)
		if (is_call(&code->insns[i]))
			code->function[callee(code, i)] = 1;
	for (size_t i = 0; i < code->count; i++) {
		if (!code->function[i])
			continue;
		assert_in_range(++functions, 1, FUNCTIONS_MAX - 1);
		code->function[i] = functions;
		assert_true(isdigit(*depths));
		code->depths[functions] = strtoul(depths, (char **)&depths, 10);
		depths += *depths == '+';
	}
	assert_int_equal(*depths, '\0');
}

/* Bytes of stack that the function which begins at an instruction needs, with what it calls. */
static unsigned int deepest(const struct code *code, size_t begin)
{
	unsigned int below = 0;

	for (size_t i = begin; i < code->count && (i == begin || !code->function[i]); i++) {
		unsigned int depth = is_call(&code->insns[i]) ? deepest(code, callee(code, i)) : 0;

		below = depth > below ? depth : below;
	}
	return code->depths[code->function[begin]] + below;
}

static unsigned int deepest_chain(const struct bpf_program *program, const char *depths)
{
	struct code code = {};
	unsigned int stack;

	read_functions(program, depths, &code);
	stack = deepest(&code, 0);
	free(code.function);
	return stack;
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

static struct margin read_margin(const char *log, const struct bpf_program *program)
{
	const char *processed = strstr(log, "processed ");
	struct margin margin;

	if (!processed || sscanf(processed, "processed %u", &margin.instructions) != 1)
		fail_msg("the verifier says nothing of instructions: %s", log);
	read_depths(log, margin.depths, sizeof(margin.depths));
	margin.stack = deepest_chain(program, margin.depths);
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
	margin = read_margin(log, program);
	bpf_object__close(object);
	return margin;
}

static void check_margin(const char *what, bool multi_buffer)
{
	struct margin margin = verify(multi_buffer);

	print_message("verified %s: %u instructions, %u bytes of stack (%s)\n", what, margin.instructions, margin.stack,
		      margin.depths);
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
