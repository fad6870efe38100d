#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A reload that cannot be done says why, with file and line, and leaves the old rules and buckets as they were.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

good_rules() {
	cat <<- END
		  - name: limited
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
	END
}

# refused WHAT PATTERN: the file as it stands now, by the command and by SIGHUP; and what was in force goes on.
refused() {
	local before
	if eb reload > "$dir/out" 2>&1; then
		fail "reload accepted $1"
	fi
	grep -q -- "$2" "$dir/out" || fail "$1: the reason is \"$(cat "$dir/out")\", expected \"$2\""
	before=$(grep -c 'reload refused' "$log" || true)
	kill -HUP "$agent_pid"
	until_true "the agent to refuse $1" refusals_grew "$before"
	grep 'reload refused' "$log" | tail -n 1 | grep -q -- "$2" || fail "$1: the log does not say \"$2\""
	send 10.8.0.1 -n 5
	equal "passed after a refused reload" 20 passed 10.8.0.1
}

refusals_grew() { [ "$(grep -c 'reload refused' "$log")" -gt "$1" ]; }

make_network
good_rules | write_config
start_agent
send 10.8.0.1 -n 50
counted limited 10.8.0.1 20 30

write_config <<< '  - { name: open, action: allow, colour: blue }'
refused "an unknown key" 'edgebucket.yaml:[0-9]*: .*colour'
write_config <<< '  - { name: open, action: limit, packets: { rate: fast, burst: 1 } }'
refused "a rate that is none" 'edgebucket.yaml:[0-9]*: .*fast'
write_config <<< '  - { name: open, match: { src: [10.8.0.0/33] }, action: allow }'
refused "a prefix that is none" 'edgebucket.yaml:[0-9]*: .*10.8.0.0/33'
write_config <<< "  - { name: open, match: { src_file: $dir/nothing.txt }, action: allow }"
refused "a missing src_file" "$dir/nothing.txt"
printf '10.8.0.0/16\n10.9.0.0/99 # oops\n' > "$dir/prefixes.txt"
write_config <<< "  - { name: open, match: { src_file: $dir/prefixes.txt }, action: allow }"
refused "a wrong prefix in a src_file" 'prefixes.txt:2: .*10.9.0.0/99'
write_config <<< '  - { name: open, action: allow'
refused "what is no YAML" 'edgebucket.yaml:[0-9]*'
table_size=131072 write_config <<< '  - { name: open, action: allow }'
refused "another table_size" 'table_size cannot change.*restart'
pin_dir=$pin_dir-other write_config <<< '  - { name: open, action: allow }'
refused "another pin_dir" 'pin_dir cannot change.*restart'
rm "$config"
if eb reload 2> "$dir/out"; then
	fail "reload accepted a missing file"
fi

good_rules | write_config
eb reload > /dev/null || fail "the good rules are refused"
send 10.8.0.1 -n 5
equal "passed in the end" 20 passed 10.8.0.1
equal "refused in all" $((30 + 8 * 5 + 5)) bucket 10.8.0.1/32 .dropped
[ ! -e "$pin_dir-other" ] || fail "a refused reload made $pin_dir-other"
