#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A flood of new sources: as many get a bucket as the rule lets in, the others go by when_crowded, and who has a bucket
# goes on undisturbed.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rule_value() { eb --json rules | jq --arg rule "$1" ".[] | select(.name == \$rule) | $2"; }
in_use() { eb --json status | jq .buckets.ipv4; }

make_network
write_config <<- END
	  - name: closed
	    match: { src: [10.8.0.0/16, 10.18.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 5 }
	    new_sources: { rate: 1/h, burst: 201 }
	  - name: open
	    match: { src: [10.9.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 5 }
	    new_sources: { rate: 1/h, burst: 100 }
	    when_crowded: pass
END
start_agent
send 10.18.0.1 -n 3
send 10.8.0.1 -k 1000 -n 8000
equal "passed, of 200 sources with a bucket" 1000 passed 10.8.
equal "crowded, of 800 without" 6400 rule closed crowded.packets
equal "refused, of 200" 600 rule closed drop.packets
send 10.18.0.1 -n 10
counted closed 10.18.0.1 5 8
equal "buckets" 201 in_use
equal "new sources let in" 201 rule_value closed .new_sources_total
send 10.9.0.1 -k 1000 -n 8000
equal "passed, of 100 sources with a bucket and 900 without" $((100 * 5 + 900 * 8)) passed 10.9.
equal "crowded but passed" $((900 * 8)) rule open crowded.packets
[ "$(eb --json explain 10.8.99.1 | jq -r .verdict)" = crowded ] || fail "explain: $(eb --json explain 10.8.99.1)"
