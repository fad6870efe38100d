#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Lists of prefixes in files: what is excepted, what a reload says of them, and files that are watched: replaced,
# written in place, swapped as a ConfigMap is, half-written, cut and spoilt.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() {
	write_config <<- END
		  - name: own
		    match: { src_file: $dir/own.txt }
		    action: allow
		  - name: blocked
		    match:
		      src: 10.7.200.1
		      src_file: [$dir/map/list.txt, $dir/feed.txt]
		      except: 10.8.9.0/24
		      ${1:-watch: true}
		    action: deny
	END
}

# prefixes FILE: how many of a file are in force, as `edgebucket rules` says; "null" for what the configuration has.
prefixes() {
	eb --json rules | jq --arg file "$1" '.[] | select(.name == "blocked").lists[] |
		select(.list == "src" and .source == (if $file == "null" then null else $file end)).prefixes'
}

# problem FILE TEXT: what the file says now is not in force, for this reason.
problem() {
	eb --json rules | jq -e --arg file "$1" --arg text "$2" '.[] | select(.name == "blocked").lists[] |
		select(.source == $file).problem // "" | contains($text)' > /dev/null
}

# feed TEXT: in place of the file, as downloads do it.
feed() {
	printf '%b' "$1" > "$dir/feed.new"
	mv "$dir/feed.new" "$dir/feed.txt"
}

# map NUMBER TEXT: what the kubelet does with a ConfigMap.
map() {
	mkdir "$dir/map/..$1"
	printf '%b' "$2" > "$dir/map/..$1/list.txt"
	ln -s "..$1" "$dir/map/..data_tmp"
	mv -T "$dir/map/..data_tmp" "$dir/map/..data"
}

# blocks ADDRESS: whether its packets are dropped; spares ADDRESS: whether they are not.
blocks() { [ "$(eb --json explain "$1" | jq -r .rule)" = blocked ]; }

spares() { ! blocks "$1"; }

make_network
mkdir "$dir/map"
map 1 '10.8.0.0/16\n'
ln -s ..data/list.txt "$dir/map/list.txt"
feed '10.9.0.0-10.9.0.2\n10.8.9.7 ; within what is excepted\n'
echo '10.7.0.2' > "$dir/own.txt"
rules
start_agent
send 10.8.0.1 -n 10
send 10.9.0.2 -n 10
equal "dropped" 20 rule blocked drop.packets
send 10.8.9.7 -n 10
send 10.9.0.3 -n 10
equal "passed, as it is excepted" 10 passed 10.8.9.7
equal "passed, behind the range" 10 passed 10.9.0.3
[ "$(prefixes null) $(prefixes "$dir/map/list.txt") $(prefixes "$dir/feed.txt")" = "1 1 3" ] ||
	fail "lists: $(eb --json rules | jq -c .[].lists)"

feed '10.9.0.3\n'
until_true "a file that was replaced" blocks 10.9.0.3
spares 10.9.0.2 || fail "the old list is in force too"
printf '10.9.0.4\n' > "$dir/feed.txt"
until_true "a file that was written in place" blocks 10.9.0.4
map 2 '10.10.0.0/16\n'
until_true "a ConfigMap" blocks 10.10.0.1
spares 10.8.0.1 || fail "the old ConfigMap is in force too"
map 3 '10.11.0.0/16\n10.12.0.0/16\n'
until_true "a ConfigMap, once more" blocks 10.12.0.1

feed '10.9.0.5\n10.9.0.858\n'
until_true "a spoilt file" problem "$dir/feed.txt" 'feed.txt:2: "10.9.0.858"'
blocks 10.9.0.4 || fail "a spoilt file took the place of a good one"
feed ''
until_true "a file that is cut" problem "$dir/feed.txt" 'is empty'
blocks 10.9.0.4 || fail "an empty file took the place of a good one"
rm "$dir/feed.txt"
until_true "a file that is gone" problem "$dir/feed.txt" 'No such file'
feed '10.9.0.6\n10.9.0.7\n'
until_true "the file to be good again" blocks 10.9.0.7
problem "$dir/feed.txt" 'o' && fail "a good file still has a problem"

# Whoever writes has it open, so that a reload meets it half-written: the rest goes on with what there was.
exec 8> "$dir/feed.txt"
printf '10.9.0.' >&8
eb reload > "$dir/out" 2>&1 || fail "reload: $(cat "$dir/out")"
grep -q "feed.txt: is being written; its previous 2 prefixes stay" "$dir/out" || fail "half-written: $(cat "$dir/out")"
grep -q '  blocked: 5 prefixes$' "$dir/out" || fail "half-written: $(cat "$dir/out")"
blocks 10.9.0.6 || fail "a reload put a half-written list into force"
printf '8\n' >&8
exec 8>&-
until_true "the file to be whole" blocks 10.9.0.8

# What is not watched comes into force with a reload, which says how much it was.
rules 'on_bad_line: skip'
eb reload > "$dir/out" 2>&1 || fail "reload: $(cat "$dir/out")"
(for i in {0..99}; do echo "10.20.0.$i"; done; echo oops) > "$dir/feed.txt"
touch -d '1 hour ago' "$dir/feed.txt"
: > "$dir/own.txt"
eb reload > "$dir/out" 2>&1 || fail "reload: $(cat "$dir/out")"
for line in '  blocked: 103 prefixes, 99 more than before' '  own: 0 prefixes, 1 fewer than before' \
	'feed.txt: skipped lines that are not valid: 1; the first, line 101: "oops"' \
	'its src_file contains no prefix: it allows no packet, and rule "blocked" after it denies'; do
	grep -q -- "$line" "$dir/out" || fail "reload does not say \"$line\": $(cat "$dir/out")"
done
echo '10.20.0.1' > "$dir/feed.txt"
cp "$config" "$dir/next.yaml"
echo '# another' >> "$dir/next.yaml"
eb --json apply "$dir/next.yaml" > "$dir/out" 2> "$dir/notes" || fail "apply: $(cat "$dir/out")"
jq -e '(.prefixes[] | select(.rule == "blocked")) == { rule: "blocked", prefixes: 4, change: -99 } and
	any(.warnings[]; contains("has 4 prefixes and had 103 before"))' "$dir/out" > /dev/null ||
	fail "apply: $(cat "$dir/out")"
