# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# apt with directories and sources of its own: what it fetches is not installed, and the machine's apt knows nothing of
# it.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
	echo "$*" >&2
	exit 1
}

# Where this host gets a Debian archive from: Debian or Debian-Security.
archive() {
	env -u APT_CONFIG apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
		awk -v label="$1" '$1 == label && !uri { uri = $2 } END { print uri }'
}

# own_apt DIR SOURCE...: from here on, apt works in DIR, on sources like "deb Debian bookworm", for $apt_arch or amd64.
own_apt() {
	local dir=$1 source type label suite uri
	shift
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	for source in "$@"; do
		read -r type label suite <<< "$source"
		uri=$(archive "$label")
		[ -n "$uri" ] || die "the apt sources of this machine name no archive of $label to get packages from"
		echo "$type [arch=${apt_arch:-amd64} signed-by=$keyring] $uri $suite main"
	done > "$dir/sources.list"
	cat > "$dir/apt.conf" <<- END
		Dir::State "$dir";
		Dir::State::status "/dev/null";
		Dir::Cache "$dir/cache";
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "-";
		APT::Architecture "${apt_arch:-amd64}";
		APT::Architectures { "${apt_arch:-amd64}"; };
		APT::Sandbox::User "root";
		Acquire::Languages "none";
	END
	export APT_CONFIG=$dir/apt.conf
}

# update_lists DIR: once a day is enough.
update_lists() {
	[ -z "$(find "$1/updated" -mmin -1440 2> /dev/null)" ] || return 0
	apt-get update -qq > "$1/log" 2>&1 && touch "$1/updated"
}
