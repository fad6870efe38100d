// SPDX-License-Identifier: GPL-2.0-only
/* Programs of another owner, for libxdp's dispatcher: they count the frames that they see, and pass them on. `early`
 * runs before edgebucket, `late` behind it. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <xdp/xdp_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} seen SEC(".maps");

struct {
	__uint(priority, XDP_DEFAULT_RUN_PRIO - 20);
	__uint(XDP_PASS, 1);
} XDP_RUN_CONFIG(early);

struct {
	__uint(priority, XDP_DEFAULT_RUN_PRIO + 20);
	__uint(XDP_PASS, 1);
} XDP_RUN_CONFIG(late);

static __always_inline int count(__u32 who)
{
	__u64 *frames = bpf_map_lookup_elem(&seen, &who);

	if (frames)
		__sync_fetch_and_add(frames, 1);
	return XDP_PASS;
}

SEC("xdp.frags")
int early(struct xdp_md *ctx)
{
	(void)ctx;
	return count(0);
}

SEC("xdp.frags")
int late(struct xdp_md *ctx)
{
	(void)ctx;
	return count(1);
}

char _license[] SEC("license") = "GPL";
