// SPDX-License-Identifier: GPL-2.0-only
/* The program stays far from the verifier's limit of a million instructions: kernels and compilers differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>

#include "xdp.h"

#define INSTRUCTIONS_MAX 200000

static void test_margin(void **state)
{
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);
	struct rig rig;

	(void)state;
	rig_open(&rig, 512);
	assert_int_equal(bpf_obj_get_info_by_fd(rig.prog, &info, &len), 0);
	print_message("%u instructions verified\n", info.verified_insns); /* 0 before Linux 5.16 */
	assert_true(info.verified_insns < INSTRUCTIONS_MAX);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_margin) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
