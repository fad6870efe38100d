#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian package under a real systemd: lintian accepts it, it installs, starts, is upgraded without a packet or a
# bucket lost, removed without anything in force, and purged without anything left.
# shellcheck source=machine.sh
. "$(dirname "$0")/machine.sh"

# build [VERSION]: leaves the package in the machine's /root.
build() {
	BUILD=$dir/build "$source_dir/debian/build.sh" "$@" > "$dir/build.log" 2>&1 ||
		{ tail -n 30 "$dir/build.log"; fail "build of the package"; }
	cp "$dir"/build/deb/edgebucket_*.deb "$root/root/"
}

install_version() {
	in_machine sh -c "dpkg --install /root/edgebucket_$1_*.deb" > "$dir/dpkg.log" 2>&1 ||
		{ cat "$dir/dpkg.log"; fail "dpkg --install of $1"; }
}

is_off() { [ -z "$(prog_on card0)" ]; }
# What libxdp pins for a dispatcher is below xdp/; the kernel and iproute2 have files of their own there.
left_in_bpffs() { find "$dir/bpf" -name 'edgebucket*' -o -path '*/xdp/dispatch*'; }

version=$(cd "$source_dir" && dpkg-parsechangelog -S Version)
next=${version%-*}-$((${version##*-} + 1))

say "build"
build
lintian --fail-on error,warning --tag-display-limit 0 "$dir"/build/deb/*.changes > "$dir/lintian" 2>&1 ||
	{ cat "$dir/lintian"; fail "lintian"; }
DEB_BUILD_OPTIONS=nocheck build "$next"

say "install: enabled, but nothing happens before there is a configuration"
install_version "$version"
unit_is UnitFileState enabled || fail "the service is not enabled"
unit_is ActiveState inactive || fail "the service is $(in_machine systemctl is-active edgebucketd)"
in_machine systemctl is-system-running > /dev/null || fail "the machine is degraded"
in_machine edgebucketd --check --config /etc/edgebucket/edgebucket.yaml.sample > /dev/null || fail "the sample is refused"

say "start"
configure 20
in_machine systemctl start edgebucketd || fail "start"
drain 10.8.0.1
drain 10.8.0.2
pid=$(main_pid)

say "upgrade"
keeps 10.8.0.1 install_version "$next"
[ "$(in_machine dpkg-query -W -f '${Version}' edgebucket)" = "$next" ] || fail "$next is not installed"
another_pid "$pid" || fail "the agent of the version before runs"
equal "of 10.8.0.2, passed" 20 passed 10.8.0.2
[ "$(eb --json status | jq -r .agent.version)" = "${next%-*}" ] || fail "version: $(eb --json status | jq .agent)"

say "downgrade"
keeps 10.8.0.1 install_version "$version"

say "remove"
in_machine dpkg --remove edgebucket > "$dir/dpkg.log" 2>&1 || { cat "$dir/dpkg.log"; fail "dpkg --remove"; }
is_off || fail "the removed package still limits"
[ -z "$(left_in_bpffs)" ] || fail "left in bpffs: $(left_in_bpffs)"
[ -e "$root/etc/edgebucket/edgebucket.yaml" ] || fail "the configuration was removed"
send 10.8.0.1 -n 30
equal "of 10.8.0.1, passed without the package" 50 passed 10.8.0.1

say "installed again, it goes on with the buckets of the store"
install_version "$next"
until_true "the agent" unit_is ActiveState active
send 10.8.0.2 -n 30
equal "of 10.8.0.2, passed" 20 passed 10.8.0.2

say "purge"
in_machine dpkg --purge edgebucket > "$dir/dpkg.log" 2>&1 || { cat "$dir/dpkg.log"; fail "dpkg --purge"; }
is_off || fail "the purged package still limits"
[ -z "$(left_in_bpffs)" ] || fail "left in bpffs: $(left_in_bpffs)"
left=$(in_machine find / -xdev -name '*edgebucket*' -not -path '/root/*' -not -path '/proc/*')
[ -z "$left" ] || fail "left: $left"
[ -z "$(in_machine systemctl list-units --all --no-legend '*edgebucket*')" ] || fail "systemd still knows the unit"
