# SPDX-License-Identifier: GPL-2.0-only
"""suggest.py REPORT CAPTURE KEY: is a report of `edgebucket --json suggest` true to what was captured behind XDP?

Packets are those of tcpdump -tt -n -q, one a line. Brute force: the burst that a source needs at a rate is the largest
excess of any run of its packets. KEY is packets or bytes. Prints what it compared; fails on the first difference.
"""
import json
import math
import re
import sys

report = json.load(open(sys.argv[1]))
part, of_bytes = report[sys.argv[3]], sys.argv[3] == "bytes"
arrivals = {}
for line in filter(str.strip, open(sys.argv[2])):
    found = re.match(r"(\d+\.\d+) IP6? (\S+)\.\d+ > ", line)
    if not found:
        sys.exit(f"not a packet: {line}")
    time, source = found.groups()
    arrivals.setdefault(source, []).append(float(time))

# Between the program and the capture, packets can be held up: the bounds allow for so much.
SLACK = 0.05


def size(source):
    """Of each of its frames, as sendframes makes them."""
    return 62 if ":" in source else 60


def unit(source):
    return size(source) if of_bytes else 1


def needed(source, rate):
    used = most = last = 0
    for time in arrivals[source]:
        used = max(0, used - rate * (time - last)) + unit(source)
        most, last = max(most, used), time
    return most


def refused(source, rate, burst):
    """What a bucket would have refused."""
    left, last, sum_ = burst, 0, 0
    for time in arrivals[source]:
        left, last = min(burst, left + rate * (time - last)), time
        if left >= unit(source):
            left -= unit(source)
        else:
            sum_ += unit(source)
    return sum_


def percentile(values, percent):
    return sorted(values)[max(0, math.ceil(round(len(values) * percent / 100, 6)) - 1)]


def within(what, low, value, high):
    if not low <= value <= high:
        sys.exit(f"{what}: {value}, expected {low} to {high}")


total = sum(map(len, arrivals.values()))
within("sources", len(arrivals), report["sources"], len(arrivals))
within("packets", total, report["offered"]["packets"], total)
volume = sum(size(source) * len(times) for source, times in arrivals.items())
within("bytes", volume, report["offered"]["bytes"], volume)

percents = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9, "max": 100}
window = min(10, report["seconds"])
for key, percent in percents.items():
    sent = percentile([unit(source) * len(times) for source, times in arrivals.items()], percent)
    within(f"rate, {key}", 0.999 * sent / report["seconds"], part["rate"][key], 1.001 * sent / window)


# No burst is too low; each is too high by what the rate gives in two looks.
def bounds(true, rate):
    return true - rate * SLACK, true + rate * (2 * report["longest_look_seconds"] + SLACK)


for row in part["bursts"]:
    truth = [needed(source, row["rate"]) for source in arrivals]
    for key, percent in percents.items():
        low, high = bounds(percentile(truth, percent), row["rate"])
        within(f"burst at {row['rate']}/s, {key}", 0.999 * low, row[key], 1.001 * high)

if part["limits"][0]["refused_sources"]:
    sys.exit("the first limit refuses somebody")
for limit in part["limits"]:
    named = {item["source"].split("/")[0]: item["refused_at_least"] for item in limit["refused"]}
    within("named", limit["refused_sources"], len(named), limit["refused_sources"])
    within("refused in all", 0.999 * sum(named.values()), limit["refused_at_least"], 1.001 * sum(named.values()))
    for source in arrivals:
        low, high = bounds(needed(source, limit["rate"]), limit["rate"])
        if source in named and high <= limit["burst"] or source not in named and low > limit["burst"]:
            sys.exit(f"{limit['yaml']}, {source}, in {named}: needs {low} to {high}")
    # Each of them sends steadily or at once, so that hardly more would have been refused than is said.
    for source, least in named.items():
        true, doubt = refused(source, limit["rate"], limit["burst"]), limit["rate"] * SLACK + 2 * unit(source)
        unsure = 4 * limit["rate"] * report["longest_look_seconds"]
        within(f"{limit['yaml']}, refused of {source}", true - doubt - unsure, least, true + doubt)

print(f"{len(arrivals)} sources, {total} packets in {report['seconds']:.1f} s, looked after "
      f"{1000 * report['longest_look_seconds']:.0f} ms: {'; '.join(limit['yaml'] for limit in part['limits'])}")
