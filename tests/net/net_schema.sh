#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An upgrade to a build whose maps have another schema and layout, and back, under fire: the buckets are carried over,
# what is charged meanwhile included, and the program is replaced without a gap.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

schema=$(sed -n 's/^#define EB_SCHEMA //p' "$(dirname "$0")/../../include/edgebucket.h")

# A second build: a field more in every bucket, at its beginning, and another schema number.
build_next() {
	local top
	top=$(cd "$(dirname "$0")/../.." && pwd)
	schema=$(sed -n 's/^#define EB_SCHEMA //p' "$top/include/edgebucket.h")
	mkdir "$dir/next"
	cp -r "$top/Makefile" "$top/include" "$top/bpf" "$top/userspace" "$dir/next"
	sed -i -e "s/^#define EB_SCHEMA $schema\$/#define EB_SCHEMA $((schema + 1))/" \
		-e 's/^struct eb_bucket {$/&\n\t__u64 novelty;/' \
		-e 's/eb_set4) == 128/eb_set4) == 160/' -e 's/eb_entry6) == 64/eb_entry6) == 72/' \
		"$dir/next/include/edgebucket.h"
	grep -q "EB_SCHEMA $((schema + 1))" "$dir/next/include/edgebucket.h" || fail "the schema did not change"
	make -s -j2 -C "$dir/next" BUILD="$dir/next/build" all > "$dir/make.log" 2>&1 ||
		fail "the second build: $(tail -n 5 "$dir/make.log")"
}

pinned_schema() { bpftool -j map lookup pinned "$pin_dir/state" key 0 0 0 0 | jq .formatted.value.schema; }

# upgrade_to BUILD SCHEMA: from the agent that runs to another build's, under fire. What a source spends while its buckets
# are copied it may get twice, and owes (convert.h): this one has spent all by then.
upgrade_to() {
	start_fire 10.8.0.1
	until_true "the burst to be spent" eval '[ "$(passed 10.8.0.1)" = 100 ]'
	stop_agent
	BUILD=$1 start_agent
	stop_fire
	wait_log "carried the buckets over"
	equal "schema" "$2" pinned_schema
	equal "passed under fire with schema $2" 100 passed 10.8.0.1
}

make_network
build_next
write_config <<- END
	  - name: limited
	    match: { src: [10.8.0.0/16, 10.9.0.0/16, "2001:db8:8::/48"] }
	    action: limit
	    packets: { rate: 1/h, burst: 100 }
END
start_agent
send 10.8.0.1 -n 30
send 10.9.0.1 -k 200 -n 8000
send 2001:db8:8::1 -n 60
equal "passed before" 8000 passed 10.9.

upgrade_to "$dir/next/build" $((schema + 1))
send 10.9.0.1 -k 200 -n 8000
equal "passed by 200 sources after the upgrade" 16000 passed 10.9.
send 2001:db8:8::1 -n 60
equal "IPv6, passed after the upgrade" 100 passed 2001:db8:8::1

upgrade_to "$BUILD" "$schema"
send 10.9.0.1 -k 200 -n 10000
equal "passed by 200 sources after the way back" 20000 passed 10.9.
