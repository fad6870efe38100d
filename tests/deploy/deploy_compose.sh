#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# deploy/compose.yaml as it is: the agent's container is killed, started again, and the state that it came back with is
# in Redis, where the published command looks for it. It also comes back when Redis and the node's maps are lost.
#
# docker-compose speaks with podman here, and finds the image built, as building needs the host's network.
# shellcheck source=containers.sh
. "$(dirname "$0")/containers.sh"

compose=$root/deploy/compose.yaml
config=$dir/compose/edgebucket.yaml

# `docker` of the published commands is podman here, in the namespace with the interfaces.
mkdir "$dir/bin"
printf '#!/bin/sh\nexec nsenter --net=/var/run/netns/%s podman "$@"\n' "$card" > "$dir/bin/docker"
chmod +x "$dir/bin/docker"
export PATH=$dir/bin:$PATH

# At a terminal, as `docker exec -it` wants one.
published() { script -qec "docker exec -it redis redis-cli HGETALL token_bucket_fallback" /dev/null; }

redis() { docker exec redis redis-cli "$@"; }

# container_status JQ: of `edgebucket status` in the agent's container.
container_status() {
	docker exec edgebucket edgebucket --json status 2> /dev/null | jq -e "$1" > /dev/null
}

# The shipped configuration on this test's interface.
mkdir "$dir/compose"
sed 's/^interfaces: .*/interfaces: [card0]/' "$root/deploy/compose/edgebucket.yaml" > "$config"
export EDGEBUCKET_CONFIG=$dir/compose

make_debian
make_redis
make_image
nsenter --net="/var/run/netns/$card" podman system service --time 0 "unix://$dir/podman.sock" \
	> "$dir/service.log" 2>&1 8>&- 9>&- &
export DOCKER_HOST=unix://$dir/podman.sock
answers() { curl -fs -o /dev/null --unix-socket "$dir/podman.sock" http://d/_ping; }
until_true "podman's service" answers
quietly docker-compose -f "$compose" up -d
wait_container edgebucket "msg=attached interface=card0"
until_true "Redis" redis_answers
[ "$(redis config get appendonly | xargs)" = "appendonly yes" ] || fail "Redis does not keep what it is told"

# What the published command shows of the source is what the maps hold. Sets full_at.
shows_the_maps() {
	published > "$dir/published"
	full_at=$(tr -d '\r' < "$dir/published" | sed -n '/ping|10.7.0.2.32/ { n; s/.*"\(.*\)".*/\1/p }')
	docker exec edgebucket edgebucket --json buckets |
		jq -e --arg full_at "${full_at% *}" --argjson now "$(date +%s.%N)" '
			any(.[]; .source == "10.7.0.2/32" and (.full_in_seconds + $now - ($full_at | tonumber? // 0) / 1e9 |
				fabs) < 1)' > /dev/null
}

# unchanged WHEN: the same as before, but for what the two clocks differ by since.
unchanged() {
	within "nanoseconds by which the bucket differs $1" -100000000 100000000 $((${full_at% *} - ${before% *}))
}

in_far ping -q -f -c 60 10.7.0.1 > /dev/null
until_true "HGETALL to show what the maps hold" shows_the_maps

# ---- the published check, word for word ----

docker kill edgebucket > /dev/null
docker start edgebucket > /dev/null
until_true "the agent to be back" container_status '.agent.running and .redis.up'
container_says edgebucket "adopted the pinned maps" || fail "the maps were not adopted"
before=$full_at
shows_the_maps || fail "HGETALL shows: $(cat "$dir/published")"
unchanged "after the container was killed"

# ---- Redis and the node are gone: what comes back is from Redis' disk ----

docker kill edgebucket redis > /dev/null
ip -n "$card" link set dev card0 xdp off
rm -rf "$pin_dir" /run/edgebucket/* /var/lib/edgebucket/*
docker start redis > /dev/null
until_true "Redis" redis_answers
[ -n "$(redis hget token_bucket_fallback 'ping|10.7.0.2/32')" ] || fail "Redis has lost the bucket"
docker start edgebucket > /dev/null
until_true "the bucket to be restored" container_status '.restore.buckets == 1'
until_true "HGETALL to show what the maps hold" shows_the_maps
unchanged "after the node was lost"
