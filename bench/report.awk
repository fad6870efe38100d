# SPDX-License-Identifier: GPL-2.0-only
# Turns the measurements (tab-separated, see run.sh and the top of cost.c, flood.c, scale.c, exact.c, survive.c and
# persist.sh) into tables on stdout, into JSON in the file named by the variable `json`, and into what plot.gp draws in
# the file named by `plot`. Works with mawk. Lists that it walks are lists of names: the order of "in" is nobody's.

BEGIN {
	FS = "\t"
	kinds["cost"] = "one 65536 million new"
	kinds["refused"] = "one 65536 million new"
	kinds["limited"] = "one"
	kinds["admitted"] = "one 65536 million"
	kinds["survive"] = "nobody one 65536 new"
	facts = "machine kernel clang rounds load survive-rate"
	# Of the rate limiter that this one is measured against: one field a write, one a read.
	published_writes = 2200
	published_reads = 2600
	verdict_names = "refused admitted"
	flood_verdicts = "refused limited admitted"
	heading["refused"] = "Refused"
	heading["limited"] = "1000/s"
	heading["admitted"] = "Admitted"
	title["one"] = "one source"
	title["65536"] = "65536 sources"
	title["million"] = "a million sources"
	title["new"] = "all sources new"
}

index(" " facts " ", " " $1 " ") { fact[$1] = $2 }
$1 == "cost"  { add("cost", $2 SUBSEP $3 SUBSEP $4, $5); remember("cost", $2) }
$1 == "flood" {
	flood[++floods] = $0
	note_distance($8)
	remember($3, $2)
}
$1 == "scale" {
	note_distance($8)
	remember("scale", $2)
	add("scale-mpps", $2 SUBSEP $3 SUBSEP $4, $5)
	add("scale-ns", $2 SUBSEP $3 SUBSEP $4, $6)
	add("scale-busy", $2 SUBSEP $3 SUBSEP $4, $7)
	add("scale-distance", $2 SUBSEP $3 SUBSEP $4, $8)
}
$1 == "wide" {
	add("wide", $2 SUBSEP $3 SUBSEP $4, $5)
	remember("wide", $2)
	if ($4 > widest)
		widest = $4
}
$1 == "sources" {
	add("sources", $2 SUBSEP $4, $5)
	remember("sources", $2)
	if (!($4 in counted)) {
		counted[$4] = 1
		count[++counts] = $4
	}
}
$1 == "exact" { exact[++exacts] = $2 "\t" $3 "\t" $4 "\t" $5 "\t" $6 }
$1 == "survive" {
	note_distance($7)
	remember("survive", $2)
	add("offered", $2 SUBSEP $3, $4)
	add("handled", $2 SUBSEP $3, $5)
	add("survive-busy", $2 SUBSEP $3, $6)
	add("survive-distance", $2 SUBSEP $3, $7)
	add("answered", $2 SUBSEP $3, 100 * $9 / $8)
	if ($10 != "-") {
		add("p50", $2 SUBSEP $3, $10)
		add("p99", $2 SUBSEP $3, $11)
	}
}
$1 == "persist" { add("persist", $2, $3); remember("persist", $2) }

function note_distance(ns) {
	if (!nearest || ns < nearest)
		nearest = ns
}

function add(table, key, value) {
	values[table, key, ++runs[table, key]] = value
}

# Floods count when the CPUs were about as near each other as they ever were, unless a contestant had no such luck.
function choose_floods(    i, f, key) {
	for (i = 1; i <= floods; i++) {
		split(flood[i], f, "\t")
		if (f[8] <= 2 * nearest)
			is_near[f[2], f[3], f[4]] = 1
	}
	for (i = 1; i <= floods; i++) {
		split(flood[i], f, "\t")
		key = f[2] SUBSEP f[3] SUBSEP f[4]
		if (key in is_near && f[8] > 2 * nearest) {
			add("far", key, f[5])
			continue
		}
		add("mpps", key, f[5])
		add("ns", key, f[6])
		add("busy", key, f[7])
		add("distance", key, f[8])
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

function print_cost(    i, c, s, k, v, sources, verdicts, line) {
	print "\nNanoseconds per packet over BPF_PROG_TEST_RUN, the prologue that writes the source included"
	printf "%-17s  %31s  %31s\n", "", "refused", "admitted"
	printf "%-17s  %7s %7s %7s %7s  %7s %7s %7s %7s\n", "", "one", "65536", "million", "new", "one", "65536",
		"million", "new"
	k = split(kinds["cost"], sources, " ")
	split(verdict_names, verdicts, " ")
	for (i = 1; i <= names["cost"]; i++) {
		c = name["cost", i]
		line = sprintf("%-17s", c)
		for (v = 1; v <= 2; v++) {
			line = line " "
			for (s = 1; s <= k; s++)
				line = line sprintf(" %7s", cell("cost", c SUBSEP verdicts[v] SUBSEP sources[s], "%.0f"))
		}
		print line
	}
}

function print_flood(verdict,    i, c, s, k, sources, key, line) {
	printf "\n%s: millions of packets per second that one core receives; ns of that core per packet; edgebucket against it\n",
		heading[verdict]
	k = split(kinds[verdict], sources, " ")
	line = sprintf("%-17s", "")
	for (s = 1; s <= k; s++)
		line = line sprintf("  %21s", title[sources[s]])
	print line
	for (i = 1; i <= names[verdict]; i++) {
		c = name[verdict, i]
		line = sprintf("%-17s", c)
		for (s = 1; s <= k; s++) {
			key = c SUBSEP verdict SUBSEP sources[s]
			line = line "  " sprintf("%5s%-2s%6s %7s", cell("mpps", key, "%.1f"),
				mark("distance", c == "drop" ? "" : "busy", key), cell("ns", key, "%.0f"),
				ratio(c, verdict, sources[s]))
		}
		print line
	}
}

# The receiving core's ns, against those of another contestant: of the limit (parse), of the mark (xdp-filter).
function share(contestant, other, sources) {
	contestant = contestant SUBSEP "refused" SUBSEP sources
	other = other SUBSEP "refused" SUBSEP sources
	if (!(("ns", contestant) in runs) || !(("ns", other) in runs) || (contestant in is_near) != (other in is_near))
		return "-"
	return sprintf("%.2f", median("ns", other) / median("ns", contestant))
}

function spread(contestant, sources,    key, i, least, most) {
	key = contestant SUBSEP "refused" SUBSEP sources
	for (i = 1; i <= runs["ns", key]; i++) {
		if (!least || values["ns", key, i] < least)
			least = values["ns", key, i]
		if (values["ns", key, i] > most)
			most = values["ns", key, i]
	}
	return least ? sprintf("%.0f-%.0f", least, most) : "-"
}

function print_shares(    i, c, s, k, sources, line) {
	print "\nRefused, by ns of the receiving core: share of parse (the limit) and of xdp-filter (the mark); least and most of ns"
	k = split(kinds["refused"], sources, " ")
	line = sprintf("%-17s", "")
	for (s = 1; s <= k; s++)
		line = line sprintf("  %21s", title[sources[s]])
	print line
	for (i = 1; i <= names["refused"]; i++) {
		c = name["refused", i]
		line = sprintf("%-17s", c)
		for (s = 1; s <= k; s++)
			line = line sprintf("  %5s %5s %9s", share(c, "parse", sources[s]), share(c, "xdp-filter", sources[s]),
				spread(c, sources[s]))
		sub(/ +$/, "", line)
		print line
	}
}

# Also what sources.gp draws: a row for each number of sources, a column for each contestant, NaN for none.
function print_sources(    i, n, line, row, ns) {
	print "\nA refused packet by number of sources: nanoseconds over BPF_PROG_TEST_RUN"
	line = sprintf("%-10s", "")
	row = "sources"
	for (i = 1; i <= names["sources"]; i++) {
		line = line sprintf(" %16s", name["sources", i])
		row = row "\t" name["sources", i]
	}
	print line
	print row > curve
	for (n = 1; n <= counts; n++) {
		line = sprintf("%-10s", count[n])
		row = count[n]
		for (i = 1; i <= names["sources"]; i++) {
			ns = cell("sources", name["sources", i] SUBSEP count[n], "%.0f")
			line = line sprintf(" %16s", ns)
			row = row "\t" (ns == "-" ? "NaN" : ns)
		}
		print line
		print row > curve
	}
}

function times(table, key, base) {
	if (!((table, key) in runs) || !((table, base) in runs))
		return "-"
	return sprintf("x %.2f", median(table, key) / median(table, base))
}

# Near is not compared with far.
function ratio(contestant, verdict, sources,    key, other) {
	key = "edgebucket" SUBSEP verdict SUBSEP sources
	other = contestant SUBSEP verdict SUBSEP sources
	return (key in is_near) == (other in is_near) ? times("mpps", key, other) : "-"
}

# Says what a cell is worth: far CPUs; a receiver that waits measures the sender, or whoever else had the CPU.
function mark(distance, busy, key,    out) {
	if ((distance, key) in runs && median(distance, key) > 2 * nearest)
		out = "*"
	if (busy && (busy, key) in runs && median(busy, key) < 0.9)
		out = out "+"
	marked = marked out
	return out
}

function explain_marks() {
	if (!nearest)
		return
	printf "\nFrom CPU to CPU a cache line takes %s ns.\n", nearest
	if (index(marked, "*"))
		printf "* Measured while the CPUs were far from each other: more than %d ns.\n", 2 * nearest
	if (index(marked, "+"))
		print "+ The CPU that is measured was less than 90 % busy with it."
}

function print_scale(    i, c, v, verdicts, one, two, line) {
	print "\nOne source on one CPU and on two, which send too: millions of packets per second; ns of a CPU for each; the ratio"
	printf "%-17s  %12s %12s %7s  %13s %12s\n", "", "refused: one", "two", "", "admitted: one", "two"
	split(verdict_names, verdicts, " ")
	for (i = 1; i <= names["scale"]; i++) {
		c = name["scale", i]
		line = sprintf("%-17s", c)
		for (v = 1; v <= 2; v++) {
			one = c SUBSEP verdicts[v] SUBSEP 1
			two = c SUBSEP verdicts[v] SUBSEP 2
			line = line sprintf("  %5s%-2s%5s %5s%-2s%5s %7s", cell("scale-mpps", one, "%.1f"),
				mark("", "scale-busy", one), cell("scale-ns", one, "%.0f"), cell("scale-mpps", two, "%.1f"),
				mark("scale-distance", "scale-busy", two), cell("scale-ns", two, "%.0f"), times("scale-mpps", two, one))
		}
		print line
	}
}

function print_wide(    i, c, v, verdicts, cpus, key, one) {
	print "\n65536 sources on several CPUs at the same time: ns of each CPU for a packet; the ratio to one CPU"
	split(verdict_names, verdicts, " ")
	for (v = 1; v <= 2; v++)
		for (i = 1; i <= names["wide"]; i++) {
			c = name["wide", i]
			one = c SUBSEP verdicts[v] SUBSEP 1
			printf "%-15s  %-8s", c, verdicts[v]
			for (cpus = 1; cpus <= widest; cpus *= 2) {
				key = c SUBSEP verdicts[v] SUBSEP cpus
				printf "  %d: %5s %7s", cpus, cell("wide", key, "%.0f"), times("wide", key, one)
			}
			print ""
		}
}

function print_exact(    i, f) {
	print "\nOne source from two CPUs at 1000/s, burst 1000: packets admitted"
	printf "%-17s %-28s %12s %10s %10s\n", "", "", "sent", "exact", "admitted"
	for (i = 1; i <= exacts; i++) {
		split(exact[i], f, "\t")
		printf "%-17s %-28s %12s %10s %10s\n", f[1],
			f[2] == "spoofed" ? "table full of spoofed sources" : "alone", f[3], f[4], f[5]
	}
}

function print_survive(    i, c, s, k, sources, line, slow) {
	printf "\nHonest clients, 1000 requests a second, in floods of %.1f million packets a second: %% answered; ms to the answer,\n",
		fact["survive-rate"] / 1e6
	print "median and 99th percentile; millions of packets handled"
	printf "%-10s %20s  %26s  %26s  %26s\n", "", "no flood", "one source", "65536 sources", "all sources new"
	k = split(kinds["survive"], sources, " ")
	for (i = 1; i <= names["survive"]; i++) {
		c = name["survive", i]
		line = sprintf("%-10s", c)
		for (s = 1; s <= k; s++) {
			line = line sprintf(" %5s %% %6s %6s", cell("answered", c SUBSEP sources[s], "%.1f"),
				in_ms("p50", c SUBSEP sources[s]), in_ms("p99", c SUBSEP sources[s])) \
				(s > 1 ? sprintf(" %4s%-1s", cell("handled", c SUBSEP sources[s], "%.1f"),
				mark("survive-distance", "", c SUBSEP sources[s])) : "")
			if (s > 1)
				slow = slow describe_slow(c SUBSEP sources[s])
		}
		sub(/ +$/, "", line)
		print line
	}
	if (slow)
		print "Fewer packets a second were sent, in millions, to:" slow
}

function slashes(key) {
	gsub(SUBSEP, "/", key)
	return key
}

function describe_slow(key) {
	if (!(("offered", key) in runs) || median("offered", key) >= 0.9 * fact["survive-rate"] / 1e6)
		return ""
	return sprintf(" %s (%.1f)", slashes(key), median("offered", key))
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
	printf "Ticks of a second, with none changed: %.2f %% of a core; with %d changed each second: %.2f %%\n",
		persist("idle-share"), persist("few-fields"), persist("few-share")
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

# Members of an object, from a list "member=table member=table" of medians.
function medians(members, key,    i, n, part, pair, out) {
	n = split(members, part, " ")
	for (i = 1; i <= n; i++) {
		split(part[i], pair, "=")
		out = out sprintf(", %s: %s", quote(pair[1]), (pair[2], key) in runs ? median(pair[2], key) : "null")
	}
	return out
}

function open_list(what) {
	printf(",\n%s: [", quote(what)) > json
	separator = "\n"
}

function put(object) {
	printf("%s%s", separator, "{" object "}") > json
	separator = ",\n"
}

function close_list() {
	printf("]") > json
}

function subject(contestant, verdict, sources) {
	return "\"contestant\": " quote(contestant) (verdict ? ", \"verdict\": " quote(verdict) : "") \
		(sources ? ", \"sources\": " quote(sources) : "")
}

function json_cost(    i, v, s, k, key, sources, verdicts) {
	open_list("cost")
	k = split(kinds["cost"], sources, " ")
	split(verdict_names, verdicts, " ")
	for (i = 1; i <= names["cost"]; i++)
		for (v = 1; v <= 2; v++)
			for (s = 1; s <= k; s++) {
				key = name["cost", i] SUBSEP verdicts[v] SUBSEP sources[s]
				if (("cost", key) in runs)
					put(subject(name["cost", i], verdicts[v], sources[s]) medians("ns=cost", key) \
						", \"runs\": " list("cost", key))
			}
	close_list()
}

function json_sources(    i, n, key) {
	open_list("sources")
	for (i = 1; i <= names["sources"]; i++)
		for (n = 1; n <= counts; n++) {
			key = name["sources", i] SUBSEP count[n]
			if (("sources", key) in runs)
				put(subject(name["sources", i], "refused", count[n]) medians("ns=sources", key) \
					", \"runs\": " list("sources", key))
		}
	close_list()
}

# The medians of the table: "runs" are what they are of, "far_runs" what was left out.
function json_flood(    i, v, s, k, n, key, sources, verdicts) {
	open_list("flood")
	n = split(flood_verdicts, verdicts, " ")
	for (v = 1; v <= n; v++) {
		k = split(kinds[verdicts[v]], sources, " ")
		for (i = 1; i <= names[verdicts[v]]; i++)
			for (s = 1; s <= k; s++) {
				key = name[verdicts[v], i] SUBSEP verdicts[v] SUBSEP sources[s]
				if (("mpps", key) in runs)
					put(subject(name[verdicts[v], i], verdicts[v], sources[s]) \
						medians("mpps=mpps ns=ns busy=busy cpu_to_cpu_ns=distance", key) \
						", \"near\": " (key in is_near ? "true" : "false") \
						", \"runs\": " list("mpps", key) ", \"far_runs\": " list("far", key))
			}
	}
	close_list()
}

function json_scale(    i, v, cpus, key, verdicts) {
	open_list("scale")
	split(verdict_names, verdicts, " ")
	for (i = 1; i <= names["scale"]; i++)
		for (v = 1; v <= 2; v++)
			for (cpus = 1; cpus <= 2; cpus++) {
				key = name["scale", i] SUBSEP verdicts[v] SUBSEP cpus
				if (("scale-mpps", key) in runs)
					put(subject(name["scale", i], verdicts[v]) ", \"cpus\": " cpus \
						medians("mpps=scale-mpps ns=scale-ns busy=scale-busy cpu_to_cpu_ns=scale-distance", key) \
						", \"runs\": " list("scale-mpps", key))
			}
	close_list()
}

function json_wide(    i, v, cpus, key, verdicts) {
	open_list("wide")
	split(verdict_names, verdicts, " ")
	for (i = 1; i <= names["wide"]; i++)
		for (v = 1; v <= 2; v++)
			for (cpus = 1; cpus <= widest; cpus *= 2) {
				key = name["wide", i] SUBSEP verdicts[v] SUBSEP cpus
				if (("wide", key) in runs)
					put(subject(name["wide", i], verdicts[v]) ", \"cpus\": " cpus medians("ns=wide", key) \
						", \"runs\": " list("wide", key))
			}
	close_list()
}

function json_exact(    i, f) {
	open_list("exact")
	for (i = 1; i <= exacts; i++) {
		split(exact[i], f, "\t")
		put(subject(f[1]) sprintf(", \"scenario\": %s, \"sent\": %s, \"exact\": %s, \"admitted\": %s",
			quote(f[2]), f[3], f[4], f[5]))
	}
	close_list()
}

function json_survive(    i, s, k, key, sources) {
	open_list("survive")
	k = split(kinds["survive"], sources, " ")
	for (i = 1; i <= names["survive"]; i++)
		for (s = 1; s <= k; s++) {
			key = name["survive", i] SUBSEP sources[s]
			if (("answered", key) in runs)
				put(subject(name["survive", i], "", sources[s]) \
					medians("answered_percent=answered p50_us=p50 p99_us=p99 offered_mpps=offered" \
						" handled_mpps=handled busy=survive-busy cpu_to_cpu_ns=survive-distance", key) \
					", \"runs\": " list("answered", key))
		}
	close_list()
}

function json_persist(    i) {
	open_list("persist")
	for (i = 1; i <= names["persist"]; i++)
		put("\"what\": " quote(name["persist", i]) medians("median=persist", name["persist", i]) \
			", \"runs\": " list("persist", name["persist", i]))
	close_list()
}

function print_json(    i, n, f) {
	n = split(facts, f, " ")
	printf("{") > json
	for (i = 1; i <= n; i++)
		printf("%s%s: %s", i > 1 ? ", " : "", quote(f[i]), quote(fact[f[i]])) > json
	json_cost()
	json_sources()
	json_flood()
	json_scale()
	json_wide()
	json_exact()
	json_survive()
	json_persist()
	print "}" > json
}

function plotted(table, key) {
	return (table, key) in runs ? median(table, key) : 0
}

# Blocks for plot.gp, a row for each contestant: its name and a figure for each kind of sources, 0 for none.
function print_block(part, table, verdict,    i, s, k, sources) {
	k = split(kinds[part], sources, " ")
	for (i = 1; i <= names[part]; i++) {
		printf("%s", name[part, i]) > plot
		for (s = 1; s <= k; s++)
			printf("\t%s", plotted(table, name[part, i] SUBSEP (verdict ? verdict SUBSEP : "") sources[s])) > plot
		print "" > plot
	}
	print "\n" > plot
}

function print_plot() {
	print_block("refused", "mpps", "refused")
	print_block("survive", "answered")
}

END {
	choose_floods()
	printf "%s; Linux %s; clang %s; %s rounds of floods; load average at the start %s\n", fact["machine"],
		fact["kernel"], fact["clang"], fact["rounds"], fact["load"]
	if (names["cost"])
		print_cost()
	if (names["sources"])
		print_sources()
	if (names["refused"]) {
		print_flood("refused")
		print_shares()
	}
	if (names["limited"])
		print_flood("limited")
	if (names["admitted"])
		print_flood("admitted")
	if (names["scale"])
		print_scale()
	if (names["wide"])
		print_wide()
	if (exacts)
		print_exact()
	if (names["survive"])
		print_survive()
	if (names["persist"])
		print_persist()
	explain_marks()
	print_json()
	print_plot()
}
