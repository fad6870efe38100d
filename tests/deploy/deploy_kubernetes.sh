#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# deploy/kubernetes: what kustomize makes of it is valid to the Kubernetes API's own definitions and, where these say
# nothing, to the rules of its admission that it could break; the configurations in it are valid to the agent.
# deploy_api.sh asks a real API server, an older one. Not checked, for want of a cluster: what controllers, kubelet and
# network plugin make of it.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
: "${BUILD:=$root/build}"
manifests=$root/deploy/kubernetes

# shellcheck source=../lib/jq.sh
. "$root/tests/lib/jq.sh"

fail() {
	echo "deploy_kubernetes: FAILED: $*"
	exit 1
}

for tool in kubectl npm node python3 jq; do
	command -v $tool > /dev/null || { echo "skipped: $tool is not installed" && exit 77; }
done
[[ $(kubectl version --client 2> /dev/null) =~ v1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 27 ] ||
	{ echo "skipped: kubectl 1.27 or newer is not installed" && exit 77; }

dir=$(mktemp -d /tmp/ebtest-kubernetes.XXXXXX)
trap 'rm -rf "$dir"' EXIT

schemas=$BUILD/deploy/schemas
mkdir -p "$schemas"
cmp -s "$root/tests/deploy/package.json" "$schemas/package.json" || {
	rm -rf "$schemas/node_modules"
	cp "$root/tests/deploy/package.json" "$schemas/"
}
[ -d "$schemas/node_modules" ] || (cd "$schemas" && npm install --silent --no-audit --no-fund --no-package-lock)
cp "$root/tests/deploy/validate.mjs" "$schemas/"

validate() { (cd "$schemas" && node validate.mjs "$1"); }

to_json() { python3 -c 'import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)'; }

# are OBJECTS WHAT JQ: holds for each object of the kind.
are() {
	jq -e --arg kind "${2%%:*}" "[.[] | select(.kind == \$kind)] | length > 0 and all(.[]; $3)" "$1" > /dev/null ||
		fail "$1: $2"
}

# What the API server's validation asks for beyond the definitions.
check_admission() {
	are "$1" "DaemonSet: the selector does not select its pods" \
		'(.spec.selector.matchLabels | to_entries) - (.spec.template.metadata.labels | to_entries) == []'
	are "$1" "DaemonSet: a mount has no volume" \
		'.spec.template.spec | ([.containers[].volumeMounts[].name] - [.volumes[].name]) == []'
	are "$1" "DaemonSet: a probe asks what another program may answer" '.spec.template.spec.containers[0] |
		all(.startupProbe, .livenessProbe, .readinessProbe; .exec.command[0] == "/usr/sbin/edgebucket")'
	are "$1" "DaemonSet: in the node's network, ports are the node's" \
		'.spec.template.spec | .hostNetwork and all(.containers[].ports[]; .hostPort == .containerPort)'
	are "$1" "DaemonSet: one agent at a time for a node" \
		'.spec.updateStrategy.rollingUpdate | .maxUnavailable == 1 and (.maxSurge // 0) == 0'
	are "$1" "DaemonSet: capabilities are written without CAP_" \
		'all(.spec.template.spec.containers[].securityContext.capabilities.add[]; startswith("CAP_") | not)'
	are "$1" "DaemonSet: too little time for the stop, which takes 8 s" \
		'.spec.template.spec.terminationGracePeriodSeconds > 10'
}

# The agent finds nothing wrong with the configuration, and the port is where it listens.
check_config() {
	local port
	jq -r '.[] | select(.kind == "ConfigMap").data["edgebucket.yaml"]' "$1" > "$dir/edgebucket.yaml"
	echo password > "$dir/redis.password"
	"$BUILD/edgebucketd" -c "$dir/edgebucket.yaml" --check > "$dir/check" 2>&1 || fail "$1: $(cat "$dir/check")"
	port=$(jq '.[] | select(.kind == "DaemonSet").spec.template.spec.containers[0].ports[0].containerPort' "$1")
	grep -q "^metrics: .*:$port\b" "$dir/edgebucket.yaml" || fail "$1: the agent does not listen at port $port"
}

for layer in base example; do
	kubectl kustomize "$manifests/$layer" | to_json > "$dir/$layer.json"
	validate "$dir/$layer.json"
	check_admission "$dir/$layer.json"
	check_config "$dir/$layer.json"
done
are "$dir/example.json" "PodMonitor: it finds the agents" \
	'.spec | .selector.matchLabels["app.kubernetes.io/name"] == "edgebucket" and .podMetricsEndpoints[0].port == "metrics"'

# The command in monitoring/kustomization.yaml.
sed -n 's/^#     //p' "$manifests/monitoring/kustomization.yaml" | sed 's/kubectl .*/cat/' > "$dir/rules"
(cd "$root" && bash "$dir/rules") | to_json > "$dir/alerts.json"
validate "$dir/alerts.json"
are "$dir/alerts.json" "PrometheusRule: the alerts" '[.spec.groups[].rules[].alert] | length > 5'

# What is wrong is seen.
sed 's/readOnlyRootFilesystem/readOnlyRootFileSystem/' "$dir/base.json" > "$dir/unknown_key.json"
sed 's/"failureThreshold": 3/"failureThreshold": "3"/' "$dir/base.json" > "$dir/wrong_type.json"
for mistake in unknown_key wrong_type; do
	! validate "$dir/$mistake.json" > /dev/null 2>&1 || fail "the check does not see $mistake"
done
