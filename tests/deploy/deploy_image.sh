#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The image holds what the agent needs and no more, and a pod of the DaemonSet runs on it, as far as podman can be told
# what the pod's specification says: with these capabilities and no other, the seccomp profile, a root that is read-only
# and without privileges to gain. A rolling update, whose second agent starts while the first one is still stopping,
# lets no frame pass beyond the bound, and enforcement never stops; nor does it when a container is killed. After a
# reboot the buckets come back from Redis.
# shellcheck source=containers.sh
. "$(dirname "$0")/containers.sh"

password=secret
key='token_bucket_fallback:{edge-7}'
config=$dir/pod/edgebucket.yaml

redis() { in_card redis-cli -p 6379 --no-auth-warning -a "$password" "$@"; }

# An overlay as an operator writes one, with this test's interface, rules and password.
render() {
	mkdir "$dir/overlay" "$dir/pod"
	printf %s "$password" > "$dir/overlay/redis.password"
	cat > "$dir/overlay/edgebucket.yaml" <<- END
		interfaces: [card0]
		metrics: 0.0.0.0:9464
		redis: { host: 127.0.0.1, password_file: redis.password, tick: 100ms }
		rules:
		$(slow_rules)
	END
	cat > "$dir/overlay/kustomization.yaml" <<- END
		resources: [ $(realpath --relative-to="$dir/overlay" "$root/deploy/kubernetes/base") ]
		namespace: edgebucket
		configMapGenerator: [ { name: edgebucket, behavior: replace, files: [ edgebucket.yaml ] } ]
		secretGenerator: [ { name: edgebucket-redis, files: [ redis.password ] } ]
	END
	kubectl kustomize "$dir/overlay" |
		python3 -c 'import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)' \
			> "$dir/objects.json"
	jq -e '.[] | select(.kind == "DaemonSet").spec.template.spec' "$dir/objects.json" > "$dir/pod.json" ||
		fail "no DaemonSet comes out of kustomize"
}

pod() { jq -er "$1" "$dir/pod.json"; }

# The projected volume: the ConfigMap and the Secret that the pod names, as files of the pod's user alone.
project_config() {
	local file
	for file in $(jq -r --slurpfile pod "$dir/pod.json" '
		[$pod[0].volumes[] | select(.name == "config").projected.sources[] | .configMap // .secret | .name] as $names |
		.[] | select(.metadata.name as $name | $names | index($name)) | (.kind == "Secret") as $is_secret |
		.data | to_entries[] | "\(.key):\(.value | if $is_secret then . else @base64 end)"' \
		"$dir/objects.json"); do
		base64 -d <<< "${file#*:}" > "$dir/pod/${file%%:*}"
	done
	chmod 400 "$dir/pod"/*
}

# run_pod NAME: what the kubelet and containerd would make of the pod's specification on the node edge-7.
run_pod() {
	local options=(--network=host --env=EDGEBUCKET_NODE=edge-7)
	pod '.containers[0].securityContext.privileged == false and .securityContext.seccompProfile.type ==
		"RuntimeDefault"' > /dev/null || fail "the pod is privileged, or has no seccomp profile"
	pod '.hostNetwork and (.containers[0].env[] | select(.name == "EDGEBUCKET_NODE").valueFrom.fieldRef.fieldPath
		== "spec.nodeName")' > /dev/null || fail "the pod has no host network or no node's name"
	mapfile -t -O ${#options[@]} options < <(pod '.volumes as $volumes |
		"--security-opt=apparmor=\(.securityContext.appArmorProfile.type | ascii_downcase)", (.containers[0] |
		(.securityContext | (.capabilities | "--cap-drop=\(.drop[])", "--cap-add=\(.add[])"),
			"--user=\(.runAsUser):\(.runAsGroup)", "--read-only=\(.readOnlyRootFilesystem)",
			"--security-opt=no-new-privileges=\(.allowPrivilegeEscalation | not)"),
		"--memory=\(.resources.limits.memory | ascii_downcase | rtrimstr("i"))",
		(.volumeMounts[] | . as $mount | $volumes[] | select(.name == $mount.name and .hostPath) |
			"--volume=\(.hostPath.path):\($mount.mountPath)"))')
	in_card podman run --detach --name "$1" --read-only-tmpfs=false "${options[@]}" \
		--volume="$dir/pod:/etc/edgebucket:ro" edgebucket > /dev/null || fail "container $1 does not start"
}

# probe CONTAINER KIND: what the kubelet runs in the container.
probe() {
	local command
	mapfile -t command < <(pod ".containers[0].$2Probe.exec.command[]")
	podman exec "$1" "${command[@]}" > /dev/null
}

privilege() { sed -n "s/^$1:\t*//p" "/proc/$(pid_of edgebucket-1)/status"; }

# What the kernel says of the container is what the pod asks for.
check_privileges() {
	local -A bits=([NET_ADMIN]=12 [SYS_ADMIN]=21 [PERFMON]=38 [BPF]=39)
	local capability allowed=0
	for capability in $(pod '.containers[0].securityContext.capabilities.add[]'); do
		allowed=$((allowed | 1 << bits[$capability]))
	done
	[ $((0x$(privilege CapBnd))) = $allowed ] || fail "capabilities that it can have: $(privilege CapBnd)"
	[ $((0x$(privilege CapPrm) & ~allowed)) = 0 ] || fail "capabilities that it has: $(privilege CapPrm)"
	[ "$(privilege NoNewPrivs)" = 1 ] || fail "privileges can be gained"
	[ "$(privilege Seccomp)" = 2 ] || fail "no seccomp profile"
	awk '$5 == "/" { print $6 }' "/proc/$(pid_of edgebucket-1)/mountinfo" | grep -qE '^ro(,|$)' ||
		fail "its root can be written to"
}

# ---- the image ----

make_debian
make_image
size=$(podman image inspect --format '{{.Size}}' edgebucket)
say "the image has $((size / 1000000)) MB"
within "bytes of the image" 5000000 30000000 "$size"
[ "$(podman run --rm --network=none edgebucket --version)" = "$("$BUILD/edgebucketd" --version)" ] ||
	fail "the image has another version than $BUILD"
podman create --name content edgebucket > /dev/null
podman export content | tar -t > "$dir/content"
podman rm content > /dev/null
programs=$(grep -E '(^|/)(s?bin|libexec)/.' "$dir/content" | sort | xargs)
[ "$programs" = "usr/sbin/edgebucket usr/sbin/edgebucketd" ] || fail "programs in the image: $programs"
for file in xdp-dispatcher.o ca-certificates.crt cert.pem status.d/libssl3 doc/libbpf1/copyright; do
	grep -q "/$file$" "$dir/content" || fail "the image lacks $file"
done

# ---- the pod ----

render
project_config
start_server 6379 --requirepass "$password"
run_pod edgebucket-1
wait_container edgebucket-1 "msg=attached interface=card0"
for kind in startup liveness readiness; do
	probe edgebucket-1 $kind || fail "the $kind probe fails"
done
check_privileges

drain 10.8.0.1
wait_mirrored
[ "$(fields)" = 1 ] || fail "the node's name is not in the key: $(redis keys '*')"
start_fire 10.8.0.1
ip -n "$card" -o monitor link > "$dir/changes" 9>&- 8>&- &
monitor=$!

# ---- a rolling update ----

first=$(pid_of edgebucket-1) program=$(prog_on card0)
send 10.8.0.2 -n 5
kill -TERM "$first"
kill -STOP "$first"
run_pod edgebucket-2
wait_container edgebucket-2 "waiting for another agent"
[ "$(prog_on card0)" = "$program" ] || fail "the second agent did not wait"
kill -CONT "$first"
[ "$(podman wait edgebucket-1)" = 0 ] || fail "the first agent failed"
wait_container edgebucket-2 "msg=attached interface=card0"
log_has "adopted the pinned maps" || fail "the second agent did not adopt the maps"
[ "$(prog_on card0)" != "$program" ] || fail "the program was not replaced"

# ---- a container that is killed ----

podman kill edgebucket-2 > /dev/null
podman wait edgebucket-2 > /dev/null
[ -n "$(prog_on card0)" ] || fail "the program went with the container"
in_card podman start edgebucket-2 > /dev/null
adopted_twice() { [ "$(podman logs edgebucket-2 2>&1 | grep -c "msg=attached interface=card0")" = 2 ]; }
until_true "the container to come back" adopted_twice

kill $monitor
grep -q xdp "$dir/changes" || fail "no change of the program was seen"
if grep card0 "$dir/changes" | grep -qv xdp; then
	fail "card0 was without a program for a moment: $(cat "$dir/changes")"
fi
stop_fire
counted slow 10.8.0.1 100 $((sent + 10))
counted slow 10.8.0.2 5 0

# ---- a reboot ----

wait_mirrored
podman stop edgebucket-2 > /dev/null
ip -n "$card" link set dev card0 xdp off
rm -rf "$pin_dir" /run/edgebucket/*
in_card podman start edgebucket-2 > /dev/null
wait_container edgebucket-2 "created new maps"
until_true "readiness" probe edgebucket-2 readiness
[ "$(restored buckets)" = 2 ] || fail "restored: $(eb --json status | jq -c .restore)"
send 10.8.0.1 -n 20
equal "passed after the reboot" 100 passed 10.8.0.1
