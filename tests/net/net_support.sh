#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# edgebucket support: what is in the bundle, in which state of things ever, and that no password is.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() {
	write_config <<- END
		  - name: limited   # in-a-comment-7f3a
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
	END
}

# bundle [OPTION]...: makes one, and unpacks it to $files, whose names begin with no folder.
bundle() {
	rm -rf "$dir/bundle.tar.gz" "$dir/files"
	eb "$@" support -o "$dir/bundle.tar.gz" > "$dir/out" 2> "$dir/error" ||
		fail "support: exit code $?: $(cat "$dir/error")"
	[ "$(stat -c %a "$dir/bundle.tar.gz")" = 600 ] || fail "everybody can read it"
	mkdir "$dir/files"
	tar --strip-components=1 -xzf "$dir/bundle.tar.gz" -C "$dir/files" || fail "it is no archive"
	for file in "$dir/files/"*.json; do
		case $file in *status.json | *rules.json) continue ;; esac # of commands, which may have failed
		jq -e . "$file" > /dev/null || fail "$file is no JSON: $(cat "$file")"
	done
}

has() { jq -e "$2" "$dir/files/$1" > /dev/null || fail "$1: not $2: $(cat "$dir/files/$1")"; }
says() { grep -q -- "$2" "$dir/files/$1" || fail "$1: no \"$2\" in: $(cat "$dir/files/$1")"; }

# holds_none WORD...: in its files, or in how they are packed.
holds_none() {
	local word
	for word in "$@"; do
		! grep -rlF -- "$word" "$dir/files" || fail "$word is in the bundle"
		! gunzip -c "$dir/bundle.tar.gz" | grep -qF -- "$word" || fail "$word is in the archive"
	done
}

make_network
settings='redis: { host: 127.0.0.1, port: 1, username: "me:in-name-7f3a", password: "in-yaml-7f3a\"\\" } # was in-a-comment-7f3a'
rules
REDIS_PASSWORD='in-agent-env-7f3a' start_agent
send 10.8.0.77 -n 30
send 10.8.0.78 -n 1

REDIS_PASSWORD='in-my-env-7f3a' bundle
has version.json '.version'
has status.json '.agent.running and .interfaces[0].attached'
has rules.json '.[0] | .name == "limited" and .counters.drop.packets == 10'
has buckets.json '.[0] == {rule: "limited", ipv4: {in_use: 2, in_debt: 2}, ipv6: {in_use: 0, in_debt: 0}}'
# Before Linux 6.4, a ring buffer has no size.
has maps.json '.maps | .buckets_v4.type == "array" and .policy and
	all(.[]; .id > 0 and .type and (.memlock > 0 or .type == "ringbuf" or .type == "lpm_trie"))'
has programs.json '.[0] | .name == "edgebucket" and (.tag | length) == 16 and .verified_instructions > 0'
has interfaces.json '.[0] | .name == "card0" and .mtu == 1500 and .driver.name == "veth" and .xdp.mode == "native"'
has interfaces.json '.[0].features_on | index("tx-checksum-ip-generic")'
has system.json '.kernel.release and .btf and (.libraries.libbpf | length) > 0 and (.bpf_file_systems | length) > 0'
has agent.json '(.variables == ["REDIS_PASSWORD"]) and any(.status[]; startswith("CapEff:"))'
has agent.json 'any(.limits[]; startswith("Max locked memory")) and any(.libraries[]; contains("libxdp.so"))'
has agent-status.json '.node == "test" and .pid == '"$agent_pid"
says configuration.yaml 'host: 127.0.0.1, port: 1, username: "\[removed\]", password: "\[removed\]"'
says configuration.yaml 'name: limited'
says check.txt 'good, 1 rule'
says metrics.txt 'metrics: off'
says README 'Read it before you send it'
holds_none 7f3a 10.8.0.77 10.8.0.78
grep -q 'passwords removed' "$dir/out" || fail "it says: $(cat "$dir/out")"

# It writes over nothing, and to a pipe as well as to a file.
if eb support -o "$dir/bundle.tar.gz" 2> "$dir/error"; then
	fail "it wrote over a file"
fi
grep -q 'bundle.tar.gz: File exists' "$dir/error" || fail "it says: $(cat "$dir/error")"
eb support -o - 2> "$dir/error" | tar -tz > "$dir/out" || fail "a bundle to standard output: $(cat "$dir/error")"
grep -q 'edgebucket-support-[0-9TZ]*/status.json$' "$dir/out" || fail "it has: $(cat "$dir/out")"
(cd "$dir" && eb --json support) > "$dir/out" || fail "a bundle under a name of its own"
[ -s "$dir/$(jq -r .file "$dir/out")" ] || fail "there is none: $(cat "$dir/out")"

# The redis part in a file of its own; metrics.
echo '{"host": "127.0.0.1", "port": 1, "password": "in-json-7f3a", "user": "in-json-7f3a-2", "old": "redis://:in-url-7f3a@192.0.2.1"}' \
	> "$dir/redis.json"
bundle --redis-config "$dir/redis.json"
says redis-config.yaml '"port": 1, "password": "\[removed\]", "user": "\[removed\]"'
says check.txt.stderr 'unknown key "user"'
holds_none 7f3a
stop_agent
settings="redis: { host: 127.0.0.1, port: 1, password_file: $dir/password }"
printf 'in-a-file-7f3a\n' > "$dir/password"
chmod 600 "$dir/password"
rules
sed -i "s,^metrics: .*,metrics: \"unix:$dir/metrics.sock\"," "$config"
start_agent
wait_log "metrics are served"
bundle
says metrics.txt '^edgebucket_packets_total{rule="limited"'
says metrics.txt '^edgebucket_config_pending 0'
stop_agent
bundle
says metrics.txt 'Connection refused\|No such file'
sed -i "s,^metrics: .*,metrics: 127.0.0.1:9464," "$config"
bundle
says metrics.txt 'Connection refused'
start_agent
wait_log "metrics are served"
bundle
says metrics.txt '^edgebucket_packets_total{rule="limited"'
says configuration.yaml "password_file: $dir/password"
holds_none 7f3a

# Messages that quote a password, in a configuration that is refused, of an agent that was asked to read it.
settings='redis: { host: 127.0.0.1, password: in-yaml-7f3a }'
rules
sed -i "s,^metrics: .*,metrics: redis://:in-url-7f3a@127.0.0.1:6379," "$config"
eb reload 2> "$dir/refused" && fail "a reload accepts any URL for metrics"
bundle
grep -q in-url-7f3a "$dir/refused" || fail "the test is for nothing: $(cat "$dir/refused")"
says check.txt.stderr 'metrics: "\[removed\]" is not'
has agent-status.json '.reload_error | contains("[removed]")'
holds_none 7f3a

# Neither an agent nor maps nor YAML: there is a bundle, and it says what there is not.
kill_agent
ip -n "$card" link set dev card0 xdp off
rm -rf "$pin_dir"
printf 'redis:\n  password: "in-yaml-7f3a\n' >> "$config"
bundle
says configuration.yaml 'From here on this is not YAML (line [0-9]*'
says check.txt.stderr 'not valid YAML'
says check.txt.stderr 'exit code 1'
has agent.json '.error == "no agent is running"'
has buckets.json '.error'
holds_none 7f3a
rm "$config"
bundle
says configuration.yaml 'No such file'
holds_none 7f3a
