#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Asks a Prometheus everything that Grafana would ask for deploy/grafana/dashboard.json, with variables replaced as
Grafana does, and compares the answers with what net_dashboard.sh has made happen.

    dashboard.py DASHBOARD PROMETHEUS EXPOSITION FROM TO

EXPOSITION is what an agent serves at /metrics; FROM and TO are the time range that Grafana would show."""

import itertools
import json
import math
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

# What Grafana would be told; Prometheus scrapes four times as often, so that late scrapes leave no gap.
SCRAPE_S = 4
STEP_S = 0.5
RATE_INTERVAL_S = 4 * SCRAPE_S  # what Grafana makes of it, when looking closely
FAR = 100000

# Of each panel the bounds of its highest value, and what must be there: names of series that are not always 0, and
# single values.
EXPECTED = {
    "Agents": (2, 2, [2]),
    "Agents down": (0, 0, [0]),
    "Interfaces without limits": (0, 0, [0]),
    "Dropped": (10, FAR, []),
    "Crowded out": (10, FAR, []),
    "Fullest table": (0.0001, 0.01, []),
    "Redis unreachable": (0, 0, [0]),
    "Longest mirror lag": (0, 60, []),
    "Nodes": (0, FAR, ["test", "other"]),
    "Dropped packets by rule": (10, FAR, ["everyone", "blocked"]),
    "Dropped traffic by rule": (10 * 480, FAR * 480, ["everyone", "blocked"]),
    "Packets by verdict": (10, FAR, ["pass", "drop", "would_drop", "crowded"]),
    "Traffic by verdict": (10 * 480, FAR * 480, ["pass", "drop", "would_drop", "crowded"]),
    "Share of packets dropped, by rule": (1, 1, ["everyone", "blocked"]),
    "Would be dropped, by rule (monitor mode)": (1, FAR, ["watched"]),
    "Frames without a matching rule": (1, FAR, ["unmatched", "not_ip", "malformed", "neighbour_discovery"]),
    "Rules over the time range": (100, FAR, ["office", "blocked", "watched", "everyone"]),
    "Crowded out by rule": (10, FAR, ["everyone"]),
    "Full table, contended buckets": (0, FAR, []),
    "Table fill level by family": (0.0001, 0.01, ["127.0.0.1:9464 ipv4", "127.0.0.1:9464 ipv6", "127.0.0.1:9465 ipv4"]),
    "Sources in the table": (13, 20, ["ipv4", "ipv6", "ipv4, in debt", "ipv6, in debt"]),
    "New sources": (0.1, 1000, ["everyone"]),
    "Mirror lag": (0, 60, ["127.0.0.1:9464"]),
    "Redis latency": (1e-6, 60, ["write p50", "write p99", "read p50", "read p99"]),
    "Redis commands": (0.1, 1000, ["write", "read"]),
    "Buckets written and removed": (1, 1000, ["set", "del"]),
    "Mirror writes": (30, 2000, ["tick", "fault"]),
    "Mirror errors": (1, 2000, ["127.0.0.1:9464"]),
    "Fallback writes by agent": (1, 2000, ["127.0.0.1:9464"]),
    "Fallback writes by reason": (1, 2000, ["flush", "redis_recovered"]),
    "Redis reachable": (1, 1, [0, 1]),
    "Sole writer": (0, 0, [0]),
    "Last restore": (0, 2e12, ["127.0.0.1:9464", 3]),
    "Recovery reads": (1e-6, 60, ["p50", "p99"]),
    "Interfaces": (1, 1, ["card0", "card1"]),
    "Limits in force": (1, 1, [0, 1]),
    "Refused reloads since the agent started": (1, 1, ["127.0.0.1:9464"]),
    "Last reload": (1, 1, [0, 1]),
    "Agents by version": (2, 2, [2]),
    "Prefixes by list": (2, 2, ["blocked", "src"]),
    "Skipped lines of lists": (1, 1, ["blocked", "src"]),
    "Detached by an operator": (1, 1, [0, 1]),
    "Banned prefixes": (1, 2, ["operator"]),
    "Packets of banned sources": (0.1, 1000, ["127.0.0.1:9464"]),
    "Nodes seen by each node": (1, 1, ["127.0.0.1:9464"]),
    "Fleet lag": (0, 60, ["127.0.0.1:9464"]),
    "Buckets exchanged": (0.1, 1000, ["sent", "refused"]),
    "Fleet in reach": (0, 0, [0]),
}

problems = []


def check(condition, problem):
    if not condition:
        problems.append(problem)


class Prometheus:
    def __init__(self, url, start, end):
        self.url, self.end = url, end
        self.start = end - math.ceil((end - start) / STEP_S) * STEP_S  # so that the last step is the end

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            problems.append(f"{parameters}: {json.load(error)['error']}")
            return None

    def label_values(self, label, selector):
        return sorted(self.get(f"label/{label}/values", **{"match[]": selector, "start": self.start, "end": self.end}))

    def series(self, expr, instant):
        """A list of (labels, values), without the values that are no numbers."""
        if instant:
            data = self.get("query", query=expr, time=self.end)
        else:
            data = self.get("query_range", query=expr, start=self.start, end=self.end, step=STEP_S)
        result = data["result"] if data else []
        series = [(one["metric"], one["values"] if "values" in one else [one["value"]]) for one in result]
        series = [(labels, [float(v) for _, v in values if math.isfinite(float(v))]) for labels, values in series]
        return [(labels, values) for labels, values in series if values]


# ---- variables ----


def as_regex(values):
    """Several values of a variable within an expression; a string there needs each backslash twice."""
    escaped = [re.sub(r"([\\^$*+?.()|{}\[\]])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else "(" + "|".join(escaped) + ")"


def replace(text, variables):
    text = text.replace("$__rate_interval", f"{RATE_INTERVAL_S}s")
    for name, value in variables.items():
        text = re.sub(rf"\${name}\b", lambda _, value=value: value, text)
    check("$" not in text, f"a variable is left in {text}")
    return text


def resolve(dashboard, prometheus, chosen):
    """What the variables stand for, each asked for with those before it; `chosen` where a person chose, else All."""
    variables = {"__range": f"{math.ceil(prometheus.end - prometheus.start)}s"}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        name = variable["name"]
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
        options = prometheus.label_values(label, replace(selector, variables))
        check(options, f"variable {name} has nothing to choose from")
        if name in chosen:
            check(chosen[name] in options, f"variable {name} does not offer {chosen[name]}")
            variables[name] = as_regex([chosen[name]])
        else:
            variables[name] = variable.get("allValue") or as_regex(options)
    return variables


# ---- names of metrics ----


def names_in(expr):
    """The metrics of an expression: what is neither a label, a function nor a keyword."""
    expr = re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", expr)
    expr = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expr)
    words = re.findall(r"\b[a-z_][a-z0-9_]*\b(?!\s*\()", expr)
    return set(words) - {"and", "or", "unless", "bool", "offset", "by", "without"}


def family_of(name, families):
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if families.get(base) == "histogram" else name


def check_names(exprs, rules, exposition):
    families = dict(re.findall(r"^# TYPE (\w+) (\w+)$", exposition, re.M))
    used = {family_of(name, families) for expr in exprs + rules for name in names_in(expr)} - {"up"}
    check(len(families) > 15 and rules, "no metrics or no rules to compare with")
    for name in sorted(used - set(families)):
        problems.append(f"{name} is on the dashboard or in an alert, but the agent does not have it")
    for name in sorted(set(families) - used):
        problems.append(f"{name} is neither on the dashboard nor in an alert")


# ---- panels ----


def panels_of(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def legend(target, labels):
    return re.sub(r"\{\{(\w+)\}\}", lambda label: labels.get(label[1], ""), target.get("legendFormat", ""))


def ask(panel, prometheus, variables):
    """What a panel shows, as (target, labels, values)."""
    shown = []
    for target in panel["targets"]:
        series = prometheus.series(replace(target["expr"], variables), target.get("instant", False))
        check(series, f"{panel['title']}: nothing for {replace(target['expr'], variables)}")
        shown += [(target, labels, values) for labels, values in series]
    return shown


def columns(panel, shown):
    """The names that the columns of a table have before they are renamed."""
    value = "Value" if len(panel["targets"]) == 1 else "Value #{refId}"
    names = {"Time"} | {value.format(**target) for target in panel["targets"]}
    first = panel["transformations"][0]
    if first["id"] == "groupingToMatrix":
        rows, across = first["options"]["rowField"], first["options"]["columnField"]
        return {f"{rows}\\{across}"} | {labels[across] for _, labels, _ in shown}
    return names | {label for _, labels, _ in shown for label in labels}


def check_names_of_fields(panel, shown):
    """Renaming, order and overrides go by names: one that is misspelt would do nothing."""
    fields = {legend(target, labels) for target, labels, _ in shown}
    if panel["type"] == "table":
        fields = columns(panel, shown)
        organize = panel["transformations"][-1]["options"]
        for name in [name for part in organize.values() for name in part]:
            check(name in fields, f"{panel['title']}: no column {name}")
        fields = {organize["renameByName"].get(name, name) for name in fields}
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["id"] == "byName":
            name = override["matcher"]["options"]
            check(name in fields, f"{panel['title']}: no {name}")


def check_panel(panel, shown):
    title = panel["title"]
    values = [value for _, _, some in shown for value in some]
    if title not in EXPECTED or not values:
        problems.append(f"{title}: nothing is shown, or this test does not know what to expect")
        return
    low, high, wanted = EXPECTED[title]
    if panel["type"] != "table" or len(panel["targets"]) == 1:
        check(low <= max(values) <= high, f"{title}: highest is {max(values)}, expected {low} to {high}")
    names = {name for target, labels, some in shown if any(some) for name in [legend(target, labels), *labels.values()]}
    for one in wanted:
        check(one in (names if isinstance(one, str) else values), f"{title}: no {one} in {sorted(names)}")
    check_names_of_fields(panel, shown)


def check_bits(peaks):
    """All frames that were dropped are as long: bits to packets tell whether bytes were taken for bits."""
    bits, packets = peaks["Dropped traffic by rule"], peaks["Dropped packets by rule"]
    check(math.isclose(bits, 60 * 8 * packets), f"{bits} bit/s dropped are not {packets} packets/s of 60 bytes")


def check_looks(panel):
    """What a person needs to make sense of a panel."""
    title, defaults = panel["title"], panel["fieldConfig"]["defaults"]
    check(len(panel.get("description", "")) > 20, f"{title}: no description")
    check("unit" in defaults or panel["type"] in ("table", "state-timeline"), f"{title}: no unit")
    check(panel["datasource"]["uid"] == "${datasource}", f"{title}: a data source of its own")


def check_layout(dashboard):
    taken = {}
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        check(grid["x"] + grid["w"] <= 24, f"{panel['title']}: wider than the page")
        rows, across = range(grid["y"], grid["y"] + grid["h"]), range(grid["x"], grid["x"] + grid["w"])
        for cell in itertools.product(rows, across):
            check(cell not in taken, f"{panel['title']} covers {taken.get(cell)}")
            taken[cell] = panel["title"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    check(len(ids) == len(set(ids)), "two panels have one id")
    check({panel["title"] for panel in panels_of(dashboard)} == set(EXPECTED), "panels are not those that are expected")


def check_annotations(dashboard, prometheus, variables):
    for annotation in dashboard["annotations"]["list"]:
        series = prometheus.series(replace(annotation["expr"], variables), False)
        check(series, f"annotation {annotation['name']}: nothing")
        if annotation.get("useValueForTime"):
            for when in [value / 1000 for _, values in series for value in values]:
                check(prometheus.start - 60 < when <= prometheus.end, f"annotation {annotation['name']}: at {when}")


def check_fleet(dashboard, prometheus):
    variables = resolve(dashboard, prometheus, {})
    check_annotations(dashboard, prometheus, variables)
    peaks = {}
    for panel in panels_of(dashboard):
        shown = ask(panel, prometheus, variables)
        check_looks(panel)
        check_panel(panel, shown)
        peaks[panel["title"]] = max((value for _, _, values in shown for value in values), default=0)
    check_bits(peaks)


def check_chosen(dashboard, prometheus, chosen):
    """Every panel has something to show of one node, and of that one only."""
    variables = resolve(dashboard, prometheus, chosen)
    for panel in panels_of(dashboard):
        for _, labels, _ in ask(panel, prometheus, variables):
            check(labels.get("instance", "127.0.0.1:9464") == "127.0.0.1:9464", f"{panel['title']}: {labels}, {chosen}")
            check(labels.get("rule", "everyone") == "everyone" or "rule" not in chosen, f"{panel['title']}: {labels}")


def main(dashboard_file, url, exposition_file, start, end):
    with open(dashboard_file, encoding="utf-8") as file:
        dashboard = json.load(file)
    with open(exposition_file, encoding="utf-8") as file:
        exposition = file.read()
    prometheus = Prometheus(url, float(start), float(end))
    groups = prometheus.get("rules")["groups"]
    exprs = [target["expr"] for panel in panels_of(dashboard) for target in panel["targets"]]
    check_names(exprs, [rule["query"] for group in groups for rule in group["rules"]], exposition)
    check_layout(dashboard)

    check_fleet(dashboard, prometheus)
    check_chosen(dashboard, prometheus, {"node": "test"})
    check_chosen(dashboard, prometheus, {"instance": "127.0.0.1:9464", "rule": "everyone"})
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
