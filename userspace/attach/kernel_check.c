// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/bpf.h>

#include <bpf/bpf.h>

#include "attach/kernel_check.h"
#include "base/error.h"

#define ENOTSUPP_OF_KERNEL 524 /* include/linux/errno.h there; JITs say it of instructions that they lack */

/* Compare-and-swap keeps the buckets exact, and there is no doing without. It is the last that came of what the program
 * needs: in Linux 5.12, and in 5.18 on arm64. Versions alone would be wrong about kernels with backports. */
static int try_compare_and_swap(void)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .src_reg = BPF_REG_0, .off = -8 },
		{ .code = BPF_STX | BPF_ATOMIC | BPF_DW,
		  .dst_reg = BPF_REG_10,
		  .src_reg = BPF_REG_0,
		  .off = -8,
		  .imm = BPF_CMPXCHG },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "eb_probe", "GPL", program, sizeof(program) / sizeof(program[0]),
			       NULL);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int eb_kernel_check(char **error)
{
	struct utsname name;
	int err = try_compare_and_swap();

	/* Whatever else it may be, missing privileges above all, is for those to say who meet it. */
	if (err != -EINVAL && err != -ENOTSUPP_OF_KERNEL)
		return 0;
	return eb_fail(-EOPNOTSUPP, error,
		       "this kernel, %s, is too old: edgebucket needs compare-and-swap in BPF, which Linux has since "
		       "5.12, and since 5.18 on arm64; the oldest that it is tested with is 6.1",
		       uname(&name) == 0 ? name.release : "whatever it is");
}
