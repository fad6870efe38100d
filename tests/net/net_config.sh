#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A configuration that cannot be: the agent does not start, says why with file and line, and touches nothing. The two
# checks say the same.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# says WHAT PATTERN CODE COMMAND...
says() {
	local what=$1 pattern=$2 want=$3 got=0
	shift 3
	"$@" > "$dir/out" 2>&1 || got=$?
	[ $got = "$want" ] || fail "$what: $1 ended with $got, expected $want: $(cat "$dir/out")"
	grep -q -- "$pattern" "$dir/out" || fail "$what: $1 says $(cat "$dir/out"), expected \"$pattern\""
}

# refused WHAT PATTERN
refused() {
	says "$1" "$2" 1 in_card "$BUILD/edgebucketd" -c "$config"
	says "$1" "$2" 1 "$BUILD/edgebucketd" -c "$config" --check
	says "$1" "$2" 1 "$BUILD/edgebucket" check "$config"
	[ ! -e "$pin_dir" ] || fail "$1: $pin_dir was made"
	[ -z "$(prog_on card0)" ] || fail "$1: the program was attached"
}

make_network
file=edgebucket.yaml
echo 'interfaces: card0' > "$config"
refused "a scalar where a list belongs" "$file:1: .*interfaces"
printf 'interfaces: [card0]\ncolour: blue\n' > "$config"
refused "an unknown key" "$file:2: .*colour"
printf 'interfaces: [card0]\nattach: fast\n' > "$config"
refused "an unknown mode" "$file:2: .*attach.*fast"
write_config <<< '  - { name: Shouting, action: allow }'
refused "a rule's name" "$file:[0-9]*: .*Shouting"
write_config <<< '  - { name: one, action: limit }'
refused "a limit without limits" "$file:[0-9]*: .*one"
write_config <<< '  - { name: one, action: limit, packets: { rate: 0/s, burst: 1 } }'
refused "a rate of nothing" "$file:[0-9]*: .*packets.rate"
write_config <<< '  - { name: one, action: limit, packets: { rate: 1/h, burst: 100000000 } }'
refused "a burst of millennia" "$file:[0-9]*: .*packets.burst"
write_config <<< '  - { name: one, match: { proto: icmp, dport: 53 }, action: deny }'
refused "a port of what has none" "$file:[0-9]*: .*dport"
write_config <<- END
	  - { name: one, action: allow }
	  - { name: one, action: deny }
END
refused "a name taken twice" "$file:[0-9]*: .*one"
{
	for i in $(seq 65); do
		echo "  - { name: rule-$i, action: allow }"
	done
} | write_config
refused "65 rules" "$file:[0-9]*: .*64"
rm "$config"
refused "a missing file" "$config"

# A host that has no name yet: all such would be one in Redis.
called() { local name=$1; shift; unshare --uts bash -c 'hostname "$0" && exec "$@"' "$name" "$@"; }
write_config <<< '  - { name: one, action: allow }'
sed -i '/^node:/d' "$config"
for name in localhost localhost.localdomain; do
	says "$name without redis" ok 0 called $name "$BUILD/edgebucketd" -c "$config" --check
	says "$name with redis" "node: the host name is \"$name\", .*set node" 1 \
		called $name env REDIS_HOST=127.0.0.1 "$BUILD/edgebucketd" -c "$config" --check
done
says "a name with redis" ok 0 called edge-01 env REDIS_HOST=127.0.0.1 "$BUILD/edgebucketd" -c "$config" --check
says "localhost by its will" ok 0 \
	called localhost env REDIS_HOST=127.0.0.1 EDGEBUCKET_NODE=localhost "$BUILD/edgebucketd" -c "$config" --check

write_config <<< '  - { name: one, action: allow }'
says "a good file" ok 0 "$BUILD/edgebucketd" -c "$config" --check
pin_dir=$dir/elsewhere write_config <<< '  - { name: one, action: allow }'
says "a pin_dir that is no bpffs" "$dir/elsewhere.*bpf" 1 in_card "$BUILD/edgebucketd" -c "$config"
says "an unknown option" Usage 2 "$BUILD/edgebucketd" --colour
