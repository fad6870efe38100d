# SPDX-License-Identifier: GPL-2.0-only
# The rooms of userspace/, and what each may include (docs/architecture.md). Given all sources below userspace/, says
# which include does not name a room and a file, or a header of include/, or names a room that is not to be known there.

BEGIN {
	may["base"]
	may["netlink"]
	may["ipc"] = "base"
	may["config"] = "base netlink"
	may["policy"] = "base config"
	may["maps"] = "base config policy"
	may["attach"] = "base netlink config policy maps"
	may["redis"] = "base config"
	may["store"] = "base config policy maps redis"
	may["agent"] = "base netlink ipc config policy maps attach redis store"
	may["cli"] = "base netlink ipc config policy maps attach redis store"
	may["support"] = may["cli"] " cli"
}

function refuse(text) {
	print FILENAME ":" FNR ": " text
	bad = 1
}

function is_file(path, line, found) {
	found = (getline line < path) >= 0
	close(path)
	return found
}

FNR == 1 {
	split(FILENAME, path, "/")
	room = path[2]
	if (!(room in may))
		refuse("no room is called " room)
}

/^#[ \t]*include[ \t]*"/ {
	split($0, quoted, "\"")
	name = quoted[2]
	split(name, part, "/")
	if (name ~ /\//) {
		if (!is_file("userspace/" name))
			refuse("there is no userspace/" name)
		else if (part[1] != room && index(" " may[room] " ", " " part[1] " ") == 0)
			refuse(room "/ must not include " name)
	} else if (name !~ /\.skel\.h$/ && !is_file("include/" name)) {
		refuse("\"" name "\" is to be written with its room")
	}
}

END {
	exit bad
}
