#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A real API server takes what kustomize makes of deploy/kubernetes, with kubectl's validation and the server's own
# admission (--dry-run=server). The server is Debian's, 1.20: older than what the manifests need, so it takes all but the
# field that came later, appArmorProfile, and takes the annotation that the documentation names in its place.
#
# Not run: controllers, the scheduler, the kubelet, the network plugin.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
: "${BUILD:=$root/build}"
api=$BUILD/deploy/api
manifests=$root/deploy/kubernetes

fail() {
	echo "deploy_api: FAILED: $*"
	exit 1
}

for tool in kubectl jq openssl python3 curl; do
	command -v $tool > /dev/null || { echo "skipped: $tool is not installed" && exit 77; }
done
BUILD=$BUILD "$root/tests/deploy/api_server.sh" || fail "there is no API server"

# Ports that are nobody else's.
[ "$(id -u)" = 0 ] || { echo "skipped: needs root" && exit 77; }
[ -n "${EB_OWN_NET:-}" ] || EB_OWN_NET=1 exec unshare --net "$0"
ip link set lo up

dir=$(mktemp -d /tmp/ebtest-api.XXXXXX)
servers=()
end_of_log() { grep -m 1 -A 20 -E '^(panic|fatal error):' "$dir/apiserver.log" || tail -n 20 "$dir/apiserver.log"; }
cleanup() {
	local status=$?
	[ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2> /dev/null
	wait
	[ $status = 0 ] || [ ! -s "$dir/apiserver.log" ] || end_of_log | sed 's/^/    apiserver: /'
	rm -rf "$dir"
	exit $status
}
trap cleanup EXIT

# until_true WHAT COMMAND...
until_true() {
	local what=$1 end=$((SECONDS + 180))
	shift
	until "$@" > "$dir/waited" 2>&1; do
		[ $SECONDS -lt $end ] || fail "waited in vain for $what: $(tail -n 3 "$dir/waited")"
		kill -0 "${servers[@]}" 2> /dev/null || fail "a server ended: $(tail -n 3 "$dir"/*.log)"
		sleep 0.2
	done
}

# ---- the server ----

start_servers() {
	openssl genrsa -out "$dir/service.key" 2048 2> /dev/null
	echo 'token,admin,1,system:masters' > "$dir/tokens"
	"$api/etcd" --data-dir "$dir/etcd" --listen-client-urls http://127.0.0.1:12379 \
		--advertise-client-urls http://127.0.0.1:12379 --listen-peer-urls http://127.0.0.1:12380 \
		--unsafe-no-fsync > "$dir/etcd.log" 2>&1 &
	servers+=($!)
	"$api/kube-apiserver" --etcd-servers=http://127.0.0.1:12379 --cert-dir="$dir/certificates" --bind-address=127.0.0.1 \
		--advertise-address=10.0.0.1 --secure-port=16443 --service-cluster-ip-range=10.96.0.0/16 \
		--token-auth-file="$dir/tokens" --authorization-mode=RBAC --service-account-issuer=https://test \
		--service-account-key-file="$dir/service.key" --service-account-signing-key-file="$dir/service.key" \
		> "$dir/apiserver.log" 2>&1 &
	servers+=($!)
	cat > "$dir/kubeconfig" <<- END
		apiVersion: v1
		kind: Config
		clusters: [ { name: test, cluster: { server: "https://127.0.0.1:16443", insecure-skip-tls-verify: true } } ]
		users: [ { name: admin, user: { token: token } } ]
		contexts: [ { name: test, context: { cluster: test, user: admin } } ]
		current-context: test
	END
	export KUBECONFIG=$dir/kubeconfig KUBECACHEDIR=$dir/cache HOME=$dir
	until_true "the API server" kubectl get --raw /readyz
	until_true "the priority classes" kubectl get priorityclass system-node-critical
}

# The Prometheus Operator's kinds, whose schemas deploy_kubernetes.sh checks.
define_kind() {
	kubectl apply -f - > "$dir/waited" 2>&1 <<- END || fail "the kind $1: $(cat "$dir/waited")"
		apiVersion: apiextensions.k8s.io/v1
		kind: CustomResourceDefinition
		metadata: { name: $2.monitoring.coreos.com }
		spec:
		  group: monitoring.coreos.com
		  scope: Namespaced
		  names: { kind: $1, plural: $2 }
		  versions:
		    - name: v1
		      served: true
		      storage: true
		      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
	END
	until_true "the kind $1" kubectl get "$2.monitoring.coreos.com" -A
}

# ---- the manifests ----

# older LAYER: for a server that does not know the field: as the comment in base/kustomization.yaml says.
older() {
	local overlay=$dir/overlay-$1
	mkdir "$overlay"
	{
		echo "resources: [ $(realpath --relative-to="$overlay" "$manifests/$1") ]"
		sed -n '/^#     patches:/,/unconfined/s/^#     //p' "$manifests/base/kustomization.yaml"
	} > "$overlay/kustomization.yaml"
	kubectl kustomize "$overlay" | to_json > "$dir/$1-older.json"
}

to_json() { python3 -c 'import json, sys, yaml
json.dump({"apiVersion": "v1", "kind": "List", "items": [o for o in yaml.safe_load_all(sys.stdin) if o]}, sys.stdout)'; }

render() { kubectl kustomize "$manifests/$1" | to_json > "$dir/$1.json"; }

# change FROM TO JQ: of the DaemonSet's pods.
change() {
	jq ".items |= map(if .kind == \"DaemonSet\" then .spec.template |= ($3) else . end)" "$dir/$1.json" > "$dir/$2.json"
}

takes() { kubectl apply --validate=true --dry-run=server -f "$dir/$1.json" > "$dir/answer" 2>&1; }
must_take() { takes "$1" || fail "$1 is refused: $(cat "$dir/answer")"; }

# What it says of a field that it does not know.
must_name() {
	! takes "$1" || fail "$1 is taken"
	[ "$(grep -o 'unknown field "[^"]*"' "$dir/answer" | sort -u)" = "unknown field \"$2\"" ] ||
		fail "$1: not for $2 alone: $(cat "$dir/answer")"
}

start_servers
define_kind PodMonitor podmonitors
define_kind PrometheusRule prometheusrules
kubectl create namespace edgebucket > /dev/null

for layer in base example; do
	render $layer
	older $layer
	must_take "$layer-older"
	[ "$(grep -c '(server dry run)$' "$dir/answer")" = "$(jq '.items | length' "$dir/$layer.json")" ] ||
		fail "$layer: not every object was looked at: $(cat "$dir/answer")"
	must_name $layer appArmorProfile
done

# A pod as the DaemonSet's controller makes it.
kubectl -n edgebucket create serviceaccount edgebucket > /dev/null
jq '.items[] | select(.kind == "DaemonSet").spec.template | { apiVersion: "v1", kind: "Pod", spec,
	metadata: (.metadata + { name: "edgebucket-1", namespace: "edgebucket" }) }' \
	"$dir/base-older.json" > "$dir/pod.json"
must_take pod

# The alerts, by the command in monitoring/kustomization.yaml.
sed -n 's/^#     //p' "$manifests/monitoring/kustomization.yaml" | sed 's/kubectl .*/cat/' > "$dir/rules"
(cd "$root" && bash "$dir/rules") | to_json > "$dir/alerts.json"
must_take alerts

# What is wrong is seen.
change base-older wrong_key '.spec.containers[0].securityContext.readOnlyRootFileSystem = true'
must_name wrong_key readOnlyRootFileSystem
change base-older wrong_mount '.spec.containers[0].volumeMounts[0].name = "none"'
! takes wrong_mount || fail "a mount without a volume is taken"
grep -q 'volumeMounts\[0\].name: Not found' "$dir/answer" || fail "wrong_mount: $(cat "$dir/answer")"
change base-older wrong_selector '.metadata.labels = { other: "label" }'
! takes wrong_selector || fail "a selector of no pod is taken"
