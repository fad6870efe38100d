#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Debian's fail2ban and crowdsec, unpacked and not installed, with what is in deploy/ for them: a log grows, a decision
# is made; the address is dropped at the card, and passes again when its time is over or the decision is deleted.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

source_dir=$(cd "$(dirname "$0")/../.." && pwd)
feeds=$BUILD/deploy/feeds
socket=$dir/run/json.sock

unpack() {
	[ ! -e "$feeds" ] || return 0
	rm -rf "$feeds.new" && mkdir -p "$feeds.new/debs"
	(cd "$feeds.new/debs" && chmod 777 . && apt-get download -qq fail2ban crowdsec crowdsec-custom-bouncer) \
		2> "$dir/apt" || { cat "$dir/apt"; fail "download"; }
	for deb in "$feeds.new"/debs/*.deb; do dpkg-deb -x "$deb" "$feeds.new"; done
	mv "$feeds.new" "$feeds"
}

background=()
end_feeds() {
	local status=$?
	set +e
	for pid in "${background[@]}"; do kill "$pid" 2> /dev/null; done
	[ $status = 0 ] || tail -n 20 "$dir"/*.out
	(exit $status)
	cleanup
}

# launch NAME COMMAND…
launch() {
	nsenter --net="/var/run/netns/$card" "${@:2}" > "$dir/$1.out" 2>&1 9>&- &
	background+=($!)
}

is_banned() { eb --json bans | jq -e --arg prefix "$1" 'any(.prefix == $prefix and .banned)' > /dev/null; }
is_free() { ! is_banned "$1"; }
drops() {
	until_true "the ban of $1" is_banned "$1/32"
	local before
	before=$(passed "$1")
	send "$1" -n 10
	equal "passed of $1" "$before" passed "$1"
}
spares() {
	until_true "the end of the ban of $1" is_free "$1/32"
	local before
	before=$(passed "$1")
	send "$1" -n 10
	equal "passed of $1" "$((before + 10))" passed "$1"
}
count_bans() { eb --json bans | jq length; }

unpack
make_network
trap end_feeds EXIT
write_config <<- END
	  - name: all
	    action: limit
	    packets: { rate: 1M/s, burst: 1M }
END
start_agent
in_card ip link set lo up

# ---- fail2ban ----

cp -r "$feeds/etc/fail2ban" "$dir/fail2ban"
rm -rf "$dir/fail2ban/jail.d"
cp "$source_dir/deploy/fail2ban/edgebucket.py" "$dir/fail2ban/action.d/"
printf '[Definition]\nfailregex = ^refused <HOST>$\ndatepattern = ^{EPOCH}\\s*\n' > "$dir/fail2ban/filter.d/trial.conf"
cat > "$dir/fail2ban/jail.local" <<- END
	[trial]
	enabled = true
	backend = polling
	filter = trial
	logpath = $dir/trial.log
	maxretry = 3
	bantime = 30
	action = edgebucket.py[socket=$socket]
END
printf '[Definition]\ndbfile = :memory:\nlogtarget = stdout\n' > "$dir/fail2ban/fail2ban.local"
touch "$dir/trial.log"
f2b() { in_card env PYTHONPATH="$feeds/usr/lib/python3/dist-packages" "$feeds/usr/bin/$1" -c "$dir/fail2ban" \
	-s "$dir/f2b.sock" -p "$dir/f2b.pid" "${@:2}"; }
launch fail2ban env PYTHONPATH="$feeds/usr/lib/python3/dist-packages" "$feeds/usr/bin/fail2ban-server" -f \
	-c "$dir/fail2ban" -s "$dir/f2b.sock" -p "$dir/f2b.pid" start
answers() { f2b fail2ban-client status trial > /dev/null 2>&1; }
until_true "fail2ban" answers
spares 10.8.0.1
for _ in 1 2 3; do echo "$(date +%s) refused 10.8.0.1"; done >> "$dir/trial.log"
drops 10.8.0.1
[ "$(eb --json bans | jq -r '.[0] | "\(.from) \(.reason) \(.for <= 30)"')" = "feed fail2ban trial true" ] ||
	fail "the ban: $(eb --json bans)"
spares 10.8.0.1
# By hand, over a restart of the agent, and at the end of fail2ban.
kill_agent
start_agent
f2b fail2ban-client set trial bantime 1h > /dev/null
f2b fail2ban-client set trial banip 10.8.0.2 10.8.0.3 > /dev/null
drops 10.8.0.3
f2b fail2ban-client set trial unbanip 10.8.0.3 > /dev/null
spares 10.8.0.3
is_banned 10.8.0.2/32 || fail "10.8.0.2 is not banned"
f2b fail2ban-client stop > /dev/null
spares 10.8.0.2

# ---- CrowdSec ----

cs=$dir/crowdsec
mkdir -p "$cs/data" "$cs/hub" "$cs/plugins" "$cs/notifications"
echo '{}' > "$cs/hub/.index.json"
cp "$feeds/etc/crowdsec/profiles.yaml" "$feeds/etc/crowdsec/simulation.yaml" "$cs/"
cat > "$cs/config.yaml" <<- END
	common: { daemonize: false, log_media: stdout, log_level: info, working_dir: . }
	config_paths:
	  config_dir: $cs
	  data_dir: $cs/data
	  simulation_path: $cs/simulation.yaml
	  hub_dir: $cs/hub
	  index_path: $cs/hub/.index.json
	  notification_dir: $cs/notifications
	  plugin_dir: $cs/plugins
	cscli: { output: human }
	db_config: { log_level: info, type: sqlite, db_path: $cs/data/crowdsec.db }
	api:
	  client: { credentials_path: $cs/credentials.yaml }
	  server: { log_level: info, listen_uri: "127.0.0.1:8080", profiles_path: $cs/profiles.yaml }
	prometheus: { enabled: false }
END
cscli() { in_card "$feeds/usr/bin/cscli" -c "$cs/config.yaml" --error "$@"; }
touch "$cs/credentials.yaml"
cscli machines add trial --password trial --force -u http://127.0.0.1:8080 -f "$cs/credentials.yaml" > /dev/null
key=$(cscli bouncers add edgebucket -o raw)
launch crowdsec "$feeds/usr/bin/crowdsec" -c "$cs/config.yaml" -no-cs
lists() { cscli decisions list > /dev/null 2>&1; }
until_true "crowdsec" lists

# Where Debian's package and the defaults put things, here is this test's directory.
sed "s,/usr/lib/edgebucket/edgebucket-bouncer,$dir/bouncer,; s,API_KEY,$key,; s,/var/log/,$dir/,; s,/var/run/,$dir/,
	s,update_frequency: .*,update_frequency: 1s," "$source_dir/deploy/crowdsec/crowdsec-custom-bouncer.yaml" \
	> "$cs/bouncer.yaml"
printf '#!/bin/sh\nexec "%s" --socket "%s"\n' "$source_dir/deploy/crowdsec/edgebucket-bouncer" "$socket" \
	> "$dir/bouncer"
chmod +x "$dir/bouncer"
launch bouncer "$feeds/usr/bin/crowdsec-custom-bouncer" -c "$cs/bouncer.yaml"
cscli decisions add --ip 10.8.1.1 --duration 30s --reason trial
drops 10.8.1.1
eb --json bans | jq -e '.[0] | .from == "feed" and .reason == "crowdsec trial" and .for <= 30' > /dev/null ||
	fail "the ban: $(eb --json bans)"
spares 10.8.1.1
cscli decisions add --range 10.8.2.0/24 --duration 4h --reason trial
until_true "the ban of a range" is_banned 10.8.2.0/24
cscli decisions delete --range 10.8.2.0/24
until_true "the end of the ban of a range" is_free 10.8.2.0/24
spares 10.8.2.0
