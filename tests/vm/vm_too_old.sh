#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# On a kernel that lacks what the buckets need, the agent says so in one line, and touches nothing.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

make_network
write_config <<< '  - { name: limited, match: { src: [10.8.0.0/16] }, action: limit, packets: { rate: 1/h, burst: 30 } }'
launch_agent
agent_status=0
wait "$agent_pid" || agent_status=$?
[ $agent_status = 1 ] || fail "the agent ended with $agent_status"
grep -vE 'level=(info|warning)' "$log" > "$dir/lines"
equal "lines" 1 eval 'wc -l < "$dir/lines"'
grep -q "level=error .*this kernel, $(uname -r), is too old: .* tested with is 6\.1" "$dir/lines" || fail "it says otherwise"
cat "$dir/lines"
[ ! -e "$pin_dir" ] || fail "maps were made"
[ -z "$(prog_on card0)" ] || fail "a program was attached"
