#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Reloads while frames arrive: rules that stay keep their buckets, new limits take the debts over, nothing is refilled,
# and no frame goes by no rule at all.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# rules OTHER: the rule that stays, and another before it or not.
rules() {
	write_config <<- END
		${1:-}
		  - name: stays
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 50 }
	END
}

limit() {
	write_config <<- END
		  - name: changes
		    match: { src: [10.9.0.0/16] }
		    action: limit
		    packets: { rate: ${2:-1}/h, burst: $1 }
	END
}

reload() { eb reload > "$dir/reload" 2>&1 || fail "reload: $(cat "$dir/reload")"; }

hang_up() {
	local before
	before=$(grep -c msg=reloaded "$log" || true)
	kill -HUP "$agent_pid"
	until_true "a reload on SIGHUP" test_reloads "$before"
}

test_reloads() { [ "$(grep -c msg=reloaded "$log")" -gt "$1" ]; }

make_network
rules
start_agent
start_fire 10.8.0.1
until_true "refusals" is_empty 10.8.0.1/32
for _ in 1 2 3 4 5; do
	rules '  - { name: other, match: { src: [10.99.0.0/16] }, action: deny }'
	reload
	rules '  - { name: third, match: { dst: [10.99.0.0/16], proto: udp, dport: 53 }, action: allow }'
	hang_up
	rules
	reload
done
stop_fire
say "$sent frames during 15 reloads"
counted stays 10.8.0.1 50 $((sent - 50))
equal "the counters went on" $((sent - 50)) rule stays drop.packets

# Out of force and back: the debt was kept.
write_config <<< '  []'
reload
send 10.8.0.1 -n 10
equal "passed without rules" 60 passed 10.8.0.1
rules
reload
send 10.8.0.1 -n 10
equal "passed with the rule again" 60 passed 10.8.0.1

# Other limits: as many tokens are missing as before.
limit 50
reload
send 10.9.0.1 -n 40
limit 80
reload
equal "tokens after a larger burst" 40 bucket 10.9.0.1/32 .packets.tokens
send 10.9.0.1 -n 100
equal "passed after a larger burst" 80 passed 10.9.0.1
for burst in 20 80 50 80; do
	limit $burst
	reload
	send 10.9.0.1 -n 100
	equal "passed after going to $burst" 80 passed 10.9.0.1
done

# The same under fire, as fast as it goes, until the source has no tokens left: again and again, as a fault may show once
# in twenty reloads or rarer, in every kind of bucket. Each conversion may round against the source by a token.
fire() { # SOURCE LIMIT SIZE SUFFIX
	local source=$1 kind=$2 unit=$3 suffix=${4:-} count=0 key=$1/32 whole=40000
	case $source in *:*) key=${source%::1}::/64 ;; esac
	change() { # BURST, in frames
		write_config <<- END
			  - name: changes
			    match: { src: [10.9.0.0/16, "2001:db8:9::/48"] }
			    action: limit
			    $kind: { rate: $((1000 * unit))$suffix/s, burst: $(($1 * unit)) }
		END
		reload
	}
	change $whole
	start_fire "$source" -r 0
	until_true "the first frames" has_bucket "$key"
	until [ "$(bucket "$key" ".$kind.tokens")" -lt "$unit" ]; do
		[ $count -lt 100 ] || fail "the tokens do not end"
		change $((whole - count % 3 * 10000))
		count=$((count + 1))
	done
	change $whole
	stop_fire
	within "passed from $source while limits of $kind changed $count times" "$whole / 2" \
		"$whole + 1000 * ($last_high - $first_low)" "$(passed "$source")"
	reloads=$((reloads + count))
}

has_bucket() { [ -n "$(bucket "$1" .rule)" ]; }

reloads=0
for round in 1 2 3 4 5; do
	fire 10.9.1.$round packets 1
	fire 2001:db8:9:$round::1 packets 1
	fire 10.9.2.$round bytes 60 B
	fire 2001:db8:9:10$round::1 bytes 62 B
done
say "$reloads reloads under fire, $(frames contended) frames refused on the way"
