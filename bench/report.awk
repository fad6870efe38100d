# SPDX-License-Identifier: GPL-2.0-only
# Turns the measurements (tab-separated, see run.sh and the top of cost.c, flood.c, exact.c, survive.c and persist.sh)
# into tables on stdout, into JSON in the file named by the variable `json`, and into what plot.gp draws in the file
# named by `plot`. Works with mawk.

BEGIN {
	FS = "\t"
	facts = "machine kernel clang rounds load survive-rate"
	# Of the rate limiter that this one is measured against: one field a write, one a read.
	published_writes = 2200
	published_reads = 2600
}

index(" " facts " ", " " $1 " ") { fact[$1] = $2 }
$1 == "cost"  { add("cost", $2 SUBSEP $3 SUBSEP $4, $5); remember("cost", $2) }
$1 == "flood" {
	flood[++floods] = $0
	if (!nearest || $7 < nearest)
		nearest = $7
	remember("flood", $2)
}
$1 == "exact" { exact[++exacts] = $2 "\t" $3 "\t" $4 "\t" $5 "\t" $6 }
$1 == "survive" {
	remember("survive", $2)
	add("survive-mpps", $2 SUBSEP $3, $4)
	add("answered", $2 SUBSEP $3, 100 * $6 / $5)
	if ($7 != "-") {
		add("p50", $2 SUBSEP $3, $7)
		add("p99", $2 SUBSEP $3, $8)
	}
}
$1 == "persist" { add("persist", $2, $3); remember("persist", $2) }

function add(table, key, value) {
	values[table, key, ++runs[table, key]] = value
}

# Floods count when the CPUs were about as near each other as they ever were, unless a contestant had no such luck.
function choose_floods(    i, f, key) {
	for (i = 1; i <= floods; i++) {
		split(flood[i], f, "\t")
		if (f[7] <= 2 * nearest)
			is_near[f[2], f[3]] = 1
	}
	for (i = 1; i <= floods; i++) {
		split(flood[i], f, "\t")
		key = f[2] SUBSEP f[3]
		if (key in is_near && f[7] > 2 * nearest)
			continue
		add("mpps", key, f[4])
		add("ns", key, f[5])
		add("busy", key, f[6])
		add("distance", key, f[7])
	}
}

# Contestants in the order in which they first came.
function remember(part, contestant) {
	if (!((part, contestant) in known))
		name[part, ++names[part]] = contestant
	known[part, contestant] = 1
}

function median(table, key,    n, i, j, sorted, swap) {
	n = runs[table, key]
	for (i = 1; i <= n; i++) {
		sorted[i] = values[table, key, i] + 0
		for (j = i; j > 1 && sorted[j] < sorted[j - 1]; j--) {
			swap = sorted[j]; sorted[j] = sorted[j - 1]; sorted[j - 1] = swap
		}
	}
	return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function cell(table, key, format) {
	return (table, key) in runs ? sprintf(format, median(table, key)) : "-"
}

function list(table, key,    i, out) {
	for (i = 1; i <= runs[table, key]; i++)
		out = out (i > 1 ? ", " : "") values[table, key, i]
	return "[" out "]"
}

function print_cost(    i, c, s, v, sources, verdicts, line) {
	print "\nNanoseconds per packet over BPF_PROG_TEST_RUN, the prologue that writes the source included"
	printf "%-14s  %31s  %31s\n", "", "refused", "admitted"
	printf "%-14s  %7s %7s %7s %7s  %7s %7s %7s %7s\n", "", "one", "65536", "million", "new", "one", "65536",
		"million", "new"
	split("one 65536 million new", sources, " ")
	split("refused admitted", verdicts, " ")
	for (i = 1; i <= names["cost"]; i++) {
		c = name["cost", i]
		line = sprintf("%-14s", c)
		for (v = 1; v <= 2; v++) {
			line = line " "
			for (s = 1; s <= 4; s++)
				line = line sprintf(" %7s", cell("cost", c SUBSEP verdicts[v] SUBSEP sources[s], "%.0f"))
		}
		print line
	}
}

function print_flood(    i, c, s, sources, line) {
	print "\nMillions of packets per second that one core receives; ns of that core per packet; edgebucket against it"
	printf "%-14s  %20s  %20s  %20s\n", "", "one refused source", "65536 sources", "all sources new"
	split("one 65536 new", sources, " ")
	for (i = 1; i <= names["flood"]; i++) {
		c = name["flood", i]
		line = sprintf("%-14s", c)
		for (s = 1; s <= 3; s++)
			line = line "  " sprintf("%5s %6s %7s", cell("mpps", c SUBSEP sources[s], "%.1f"),
				cell("ns", c SUBSEP sources[s], "%.0f"), ratio(c, sources[s]))
		print line
	}
	printf "From CPU to CPU a cache line takes %s ns%s.\n", nearest, list_far()
	warn_idle()
}

# Near is not compared with far.
function ratio(contestant, sources,    key, other) {
	key = "edgebucket" SUBSEP sources
	other = contestant SUBSEP sources
	if (!(("mpps", key) in runs) || !(("mpps", other) in runs) || (key in is_near) != (other in is_near))
		return "-"
	return sprintf("x %.2f", median("mpps", key) / median("mpps", other))
}

function list_far(    i, s, c, sources, far) {
	split("one 65536 new", sources, " ")
	for (i = 1; i <= names["flood"]; i++)
		for (s = 1; s <= 3; s++) {
			c = name["flood", i]
			if ((("mpps", c SUBSEP sources[s]) in runs) && !((c, sources[s]) in is_near))
				far = far sprintf(" %s/%s (%d ns)", c, sources[s], median("distance", c SUBSEP sources[s]))
		}
	return far ? ", but with:" far : ""
}

# A receiver that waits measures the sender, or whoever else had the CPU.
function warn_idle(    key, part, idle) {
	for (key in runs) {
		split(key, part, SUBSEP)
		if (part[1] == "busy" && part[2] != "drop" && median("busy", part[2] SUBSEP part[3]) < 0.9)
			idle = idle sprintf(" %s/%s (%.0f %%)", part[2], part[3], 100 * median("busy", part[2] SUBSEP part[3]))
	}
	if (idle)
		print "The receiving core was not busy all the time with:" idle
}

function print_exact(    i, f) {
	print "\nOne source from two CPUs at 1000/s, burst 1000: packets admitted"
	printf "%-14s  %-28s %12s %10s %10s\n", "", "", "sent", "exact", "admitted"
	for (i = 1; i <= exacts; i++) {
		split(exact[i], f, "\t")
		printf "%-14s  %-28s %12s %10s %10s\n", f[1],
			f[2] == "spoofed" ? "table full of spoofed sources" : "alone", f[3], f[4], f[5]
	}
}

function print_survive(    i, c, s, k, sources, line) {
	printf "\nHonest clients, 1000 requests a second, in floods of %.1f million packets a second: %% answered; ms to the answer,\n",
		fact["survive-rate"] / 1e6
	print "median and 99th percentile; millions of packets handled"
	printf "%-14s  %21s  %26s  %26s  %26s\n", "", "no flood", "one source", "65536 sources", "all sources new"
	k = split("nobody one 65536 new", sources, " ")
	for (i = 1; i <= names["survive"]; i++) {
		c = name["survive", i]
		line = sprintf("%-14s", c)
		for (s = 1; s <= k; s++)
			line = line sprintf("  %5s %% %6s %6s", cell("answered", c SUBSEP sources[s], "%.1f"),
				in_ms("p50", c SUBSEP sources[s]), in_ms("p99", c SUBSEP sources[s])) \
				(s > 1 ? sprintf(" %4s", cell("survive-mpps", c SUBSEP sources[s], "%.1f")) : "")
		print line
	}
}

function in_ms(table, key) {
	return (table, key) in runs ? sprintf("%.2f", median(table, key) / 1e3) : "-"
}

function persist(what) {
	return median("persist", what)
}

# A line of fields per second: edgebucket, hiredis alone, redis-benchmark or "-", published.
function print_fields(label, own, bare, benchmark, published) {
	printf "%-34s %10.0f %13.0f %10s %10d   x %.2f, x %.0f\n", label, own, bare, benchmark, published,
		own / bare, own / published
}

function print_persist() {
	printf "\n%d buckets in debt and a redis-server: fields per second\n", persist("fields")
	printf "%-34s %10s %13s %10s %10s   %s\n", "", "edgebucket", "hiredis alone", "benchmark", "published",
		"against hiredis, published"
	print_fields("written, HSETs of 128 fields", persist("write"), persist("bare-write"),
		sprintf("%.0f", persist("benchmark-128")), published_writes)
	print_fields("restored, HSCAN COUNT 5000", persist("restore"), persist("bare-read"), "-", published_reads)
	printf "%-34s %10s %13s %10.0f\n", "HSETs of one field", "-", "-", persist("benchmark-one")
	printf "CPU time of the agent: full write %.0f ms; tick with %d changed %.0f ms, with none changed %.0f ms\n",
		persist("write-cpu"), persist("changed-fields"), persist("changed-cpu"), persist("unchanged-cpu")
	printf "Commands sent: tick with %d changed %d, with none changed %d\n", persist("changed-fields"),
		persist("changed-commands"), persist("unchanged-commands")
	printf "Memory of the agent: %.0f MiB, at most %.0f; after a restore %.0f, at most %.0f\n", persist("rss"),
		persist("hwm"), persist("restore-rss"), persist("restore-hwm")
	printf "Restart that restores: packets limited after %.1f s\n", persist("restore-start") / 1e3
	printf "Packets per second: %.2f million, during full writes %.2f (x %.2f); ", persist("idle-mpps"),
		persist("busy-mpps"), persist("busy-mpps") / persist("idle-mpps")
	printf "receiver %.0f and %.0f ns each\n", persist("idle-ns"), persist("busy-ns")
}

function quote(text) {
	gsub(/[\\"]/, "\\\\&", text)
	return "\"" text "\""
}

function print_json(    i, n, f, key, part, first) {
	n = split(facts, f, " ")
	printf "{" > json
	for (i = 1; i <= n; i++)
		printf("%s: %s, ", quote(f[i]), quote(fact[f[i]])) > json
	printf "\n\"cost\": [" > json
	first = 1
	for (key in runs) {
		split(key, part, SUBSEP)
		if (part[1] != "cost")
			continue
		printf("%s\n{\"contestant\": %s, \"verdict\": %s, \"sources\": %s, \"ns\": %s, \"runs\": %s}",
			first ? "" : ",", quote(part[2]), quote(part[3]), quote(part[4]),
			median("cost", part[2] SUBSEP part[3] SUBSEP part[4]),
			list("cost", part[2] SUBSEP part[3] SUBSEP part[4])) > json
		first = 0
	}
	printf "],\n\"flood\": [" > json
	first = 1
	for (key in runs) {
		split(key, part, SUBSEP)
		if (part[1] != "mpps")
			continue
		i = part[2] SUBSEP part[3]
		printf("%s\n{\"contestant\": %s, \"sources\": %s, \"mpps\": %s, \"ns\": %s, \"busy\": %s, \"runs\": %s, \"cpu_to_cpu_ns\": %s}",
			first ? "" : ",", quote(part[2]), quote(part[3]), median("mpps", i), median("ns", i),
			median("busy", i), list("mpps", i), median("distance", i)) > json
		first = 0
	}
	printf "],\n\"exact\": [" > json
	for (i = 1; i <= exacts; i++) {
		split(exact[i], f, "\t")
		printf("%s\n{\"contestant\": %s, \"scenario\": %s, \"sent\": %s, \"exact\": %s, \"admitted\": %s}",
			i > 1 ? "," : "", quote(f[1]), quote(f[2]), f[3], f[4], f[5]) > json
	}
	printf "],\n\"survive\": [" > json
	first = 1
	for (key in runs) {
		split(key, part, SUBSEP)
		if (part[1] != "answered")
			continue
		i = part[2] SUBSEP part[3]
		printf("%s\n{\"contestant\": %s, \"sources\": %s, \"answered_percent\": %s, \"runs\": %s, \"p50_us\": %s, \"p99_us\": %s, \"mpps\": %s}",
			first ? "" : ",", quote(part[2]), quote(part[3]), median("answered", i), list("answered", i),
			(("p50", i) in runs) ? median("p50", i) : "null",
			(("p99", i) in runs) ? median("p99", i) : "null", median("survive-mpps", i)) > json
		first = 0
	}
	printf "],\n\"persist\": [" > json
	for (i = 1; i <= names["persist"]; i++)
		printf("%s\n{\"what\": %s, \"median\": %s, \"runs\": %s}", i > 1 ? "," : "", quote(name["persist", i]),
			persist(name["persist", i]), list("persist", name["persist", i])) > json
	print "]}" > json
}

function plotted(table, key) {
	return (table, key) in runs ? median(table, key) : "NaN"
}

# Blocks for plot.gp, a row for each contestant: its name and a figure for each kind of sources, NaN for none.
function print_block(part, table, kinds,    i, s, k, sources) {
	k = split(kinds, sources, " ")
	for (i = 1; i <= names[part]; i++) {
		printf("%s", name[part, i]) > plot
		for (s = 1; s <= k; s++)
			printf("\t%s", plotted(table, name[part, i] SUBSEP sources[s])) > plot
		print "" > plot
	}
	print "\n" > plot
}

function print_plot() {
	print_block("flood", "mpps", "one 65536 new")
	print_block("survive", "answered", "nobody one 65536 new")
}

END {
	choose_floods()
	printf "%s; Linux %s; clang %s; %s rounds of floods; load average at the start %s\n", fact["machine"],
		fact["kernel"], fact["clang"], fact["rounds"], fact["load"]
	if (names["cost"])
		print_cost()
	if (names["flood"])
		print_flood()
	if (exacts)
		print_exact()
	if (names["survive"])
		print_survive()
	if (names["persist"])
		print_persist()
	print_json()
	print_plot()
}
