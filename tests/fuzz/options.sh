# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# fuzz_options TARGET FOUND: how ../run.sh and fuzz.sh both call a fuzzer, which puts what breaks it into the directory
# FOUND. Inputs are small, so what takes seconds or much memory is a fault.
fuzz_options() {
	local dictionary=tests/fuzz/dict/$1
	mkdir -p "$2"
	echo "-max_len=2048 -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=64 -artifact_prefix=$2/$1-"
	[ ! -f "$dictionary" ] || echo "-dict=$dictionary"
}
