#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Levels are mirrored and restored as all buckets are: by rule and prefix, after a reboot and under other limits.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

start_redis
rules() {
	cat <<- END
		  - name: slow
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 50 }
		    levels:
		      - { per: { ipv4: 24, ipv6: 56 }, times: 2 }
		      - { per: { ipv4: 0, ipv6: 0 }, times: 3 }
	END
}
rules | persist_config
start_agent
send 10.8.0.1 -n 40
send 10.8.0.2 -n 30
send 2001:db8:8::1 -n 20
wait_mirrored
equal "fields" "$(printf 'slow|%s\n' 0.0.0.0/0 10.8.0.0/24 10.8.0.1/32 10.8.0.2/32 2001:db8:8::/56 2001:db8:8::/64)" \
	eval "redis hkeys '$key' | sort"

for lost in power_cut reboot; do
	$lost
	start_agent
	equal "restored after $lost" 6 restored buckets
	equal "left of the /24" 30 tokens 10.8.0.0/24
	equal "left of the /56" 80 tokens 2001:db8:8::/56
	equal "left of all" 60 tokens 0.0.0.0/0
done
send 10.8.0.3 -n 50
equal "passed after both" 30 passed 10.8.0.3
equal "refused by the /24" 20 bucket 10.8.0.0/24 .dropped

# A level that the rules do not have any more is refused, one by one.
wait_mirrored
power_cut
sed -i '/ipv4: 24/d' "$config"
start_agent
equal "restored without that level" 5 restored buckets
equal "refused" 2 eval "eb --json status | jq '.restore.refused[\"prefix length\"]'"
equal "left of all, without that level" 30 tokens 0.0.0.0/0
