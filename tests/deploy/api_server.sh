#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# api_server.sh: the Kubernetes API server of Debian 12 (1.20), built from its source package into $BUILD/deploy/api, and
# its etcd. Debian ships the client alone. Nothing is installed; what was built once is kept.
set -eu -o pipefail
cd "$(dirname "$0")"
: "${BUILD:=$(cd ../.. && pwd)/build}"
api=$BUILD/deploy/api
# shellcheck source=../lib/apt.sh
. ../lib/apt.sh

[ ! -x "$api/kube-apiserver" ] || exit 0
[ "$(dpkg --print-architecture)" = amd64 ] || die "the API server is built on x86-64"

own_apt "$api/apt" 'deb Debian bookworm' 'deb-src Debian bookworm'
update_lists "$api/apt" || die "cannot read the package lists, see $api/apt/log"
mkdir -p "$api/fetched" "$api/tools" "$api/go/src/k8s.io"
cd "$api/fetched"
apt-get download -qq golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server
for package in *.deb; do
	dpkg -x "$package" "$api/tools"
done
apt-get source --download-only -qq kubernetes
rm -rf "$api/go/src/k8s.io/kubernetes"
dpkg-source -x --no-check kubernetes_*.dsc "$api/go/src/k8s.io/kubernetes" > "$api/log" 2>&1 ||
	die "cannot unpack the source, see $api/log"

# As before Go's modules: the source brings all that it needs. The reflect2 that it brings reads maps of Go 1.18 and newer
# wrongly: the server would crash.
vendor=$api/go/src/k8s.io/kubernetes/vendor/github.com/modern-go
rm -rf "$vendor/reflect2"
cp -r "$api/tools/usr/share/gocode/src/github.com/modern-go/reflect2" "$vendor/"
export GOROOT=$api/tools/usr/lib/go-1.19 GOPATH=$api/go GOCACHE=$api/cache GO111MODULE=off CGO_ENABLED=0 GOFLAGS=
export PATH=$GOROOT/bin:$PATH
cd "$api/go/src/k8s.io/kubernetes"
echo "building the API server of $(basename "$api"/fetched/kubernetes_*.dsc .dsc), which takes minutes"
nice -n 19 go build -o "$api/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen

# The definitions that it publishes, and by which kubectl validates, are made from the packages that ask for it.
packages=$(find -L vendor/k8s.io -name '*.go' ! -path '*/sample-*' ! -path '*/_examples/*' -print0 |
	xargs -0 grep -lE '^// *\+k8s:openapi-gen=' | xargs -n 1 dirname | sort -u | sed 's,^,k8s.io/kubernetes/,' | paste -sd ,)
nice -n 19 "$api/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi \
	-h hack/boilerplate/boilerplate.generatego.txt -O zz_generated.openapi -r "$api/violations" > "$api/log" 2>&1 ||
	die "cannot make the API's definitions, see $api/log"
# Without the clouds, whose libraries are most of the work.
nice -n 19 go build -tags providerless -ldflags "-s -w" -o "$api/kube-apiserver.new" ./cmd/kube-apiserver
cp "$api/tools/usr/bin/etcd" "$api/etcd"
mv "$api/kube-apiserver.new" "$api/kube-apiserver"
rm -rf "$api/go" "$api/cache" "$api/tools" "$api/fetched" "$api/openapi-gen" "$api/violations"
