# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For tests of what is scraped: network.sh, a Redis and a Prometheus in the card's namespace, and asking them and the
# agent.
# Redis listens on port 6379 of localhost, Prometheus on 9090, with the rules that are shipped.
# shellcheck source=../lib/network.sh
. "$(dirname "${BASH_SOURCE[0]}")/network.sh"

url=http://127.0.0.1:9464
prometheus=http://127.0.0.1:9090
deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../deploy" && pwd)

need() {
	local tool
	for tool in "$@"; do
		command -v "$tool" > /dev/null || skip "$tool is not installed"
	done
}

get() { in_card curl -gsS --max-time 10 "$@"; }
scrape() { get "$url/metrics"; }

# metric SERIES: its value now; nothing without it.
metric() { scrape | awk -v series="$1" 'index($0, series " ") == 1 { print $NF }'; }

# ask QUERY: of Prometheus; its values, one a line.
ask() { get -G --data-urlencode "query=$1" "$prometheus/api/v1/query" | jq -r '.data.result[].value[1]'; }

is_listening() { in_card ss -Hltn "sport = :$1" | grep -q .; }

start_redis() {
	nsenter --net="/var/run/netns/$card" redis-server --port 6379 --bind 127.0.0.1 --save '' --dir "$dir" \
		> "$dir/redis.log" 9>&- &
	redis_pid=$!
	until_true "Redis" is_listening 6379
}

stop_redis() {
	kill -KILL "$redis_pid"
	wait "$redis_pid" 2> /dev/null || true
}

# start_prometheus TARGET...: addresses of agents, scraped every second.
start_prometheus() {
	local targets="$*"
	cat > "$dir/prometheus.yml" <<- END
		global: { scrape_interval: 1s, evaluation_interval: 1s }
		rule_files: [ "$deploy/prometheus/rules.yaml" ]
		scrape_configs:
		  - job_name: edgebucket
		    static_configs: [ { targets: [ ${targets// /, } ] } ]
	END
	nsenter --net="/var/run/netns/$card" prometheus --config.file="$dir/prometheus.yml" \
		--storage.tsdb.path="$dir/tsdb" --web.listen-address=127.0.0.1:9090 > "$dir/prometheus.log" 2>&1 9>&- &
	until_true "Prometheus" is_listening 9090
}

# What a reboot loses.
lose_maps() {
	eb detach > /dev/null || fail "detach without an agent"
	rm -rf "$pin_dir" "$dir/run"
}
