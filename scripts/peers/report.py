"""The table and the targets from what was measured."""

import math

# Recall from which an answer counts as exact: ties and the last bit of f32 are no mistakes.
EXACT = 0.9999
# Where a figure is a rate, more is better; everything else is seconds.
HEADER = ["who", "seconds", "packwise / it", "peak MiB", "spilled MiB", "runs", "note"]
SEARCH = ["who", "build s", "recall", "effort", "lookups/s", "packwise / it", "all s", "alone /s", "peak MiB", "runs"]


class Summary:
    """Medians of the runs that ended well."""

    def __init__(self, entries, count, median):
        """`count`: customers that are looked up in all."""
        self.entries, self.count, self.median = entries, count, median

    def good(self, entry):
        """The runs that count."""
        return [run for run in entry.runs if run["status"] == "ok"]

    def value(self, entry, key):
        """The median of a figure; NaN without one."""
        values = [run[key] for run in self.good(entry) if run.get(key) is not None]
        return self.median(values) if values else math.nan

    def find(self, group, who):
        """Entries whose group and name begin so."""
        return [one for one in self.entries if one.group.startswith(group) and one.who.startswith(who)]

    def least(self, group, who, key="seconds"):
        """The least median among them; NaN without one."""
        values = [self.value(one, key) for one in self.find(group, who)]
        return min((value for value in values if not math.isnan(value)), default=math.nan)

    def searches(self, entry):
        """A row of medians for every wanted recall: {"wanted", "recall", "effort", "rate", "all", "alone"}."""
        runs = self.good(entry)
        rows = []
        for at, first in enumerate(runs[0]["recalls"] if runs else []):
            of = lambda key, at=at: self.median([run["recalls"][at].get(key) or 0 for run in runs])  # noqa: E731
            build = self.value(entry, "build_seconds")
            rate = of("lookups_per_second")
            rows.append(
                {
                    "wanted": first["wanted"],
                    "reached": first["reached"],
                    "recall": of("recall"),
                    "effort": first.get("effort"),
                    "build": build,
                    "rate": rate,
                    "all": build + self.count / rate,
                    "alone": of("singles_per_second"),
                }
            )
        return rows

    def best_search(self, group, names, wanted, key, smallest=True):
        """The best figure over entries whose recall is at least what was wanted (to a thousandth)."""
        values = []
        for name in names:
            for entry in self.find(group, name):
                # An answer at a higher recall also answers at this one.
                least = wanted if wanted == EXACT else wanted - 0.001
                values += [row[key] for row in self.searches(entry) if row["recall"] >= least and row[key]]
        if not values:
            return math.nan
        return min(values) if smallest else max(values)

    def targets(self):
        """[(what, measured, "≤" or "≥", target)]; NaN where something was not run."""
        rows = []

        def at_most(what, value, target):
            rows.append((what, value, "≤", target))

        def at_least(what, value, target):
            rows.append((what, value, "≥", target))

        ours, w1 = "packwise", "W1 features"
        if self.find(w1, ours):
            best = self.least(w1, ours)
            at_most("W1 packwise / DuckDB, best settings", best / self.least(w1, "DuckDB"), 0.5)
            for limit in (2, 1):
                group = f"{w1}, {limit} GiB"
                at_most(
                    f"W1 packwise / DuckDB at {limit} GiB", self.least(group, ours) / self.least(group, "DuckDB"), 0.33
                )
                at_most(
                    f"W1 packwise's peak / limit of {limit} GiB", self.least(group, ours, "rss_mib") / (limit * 1024), 1
                )
            at_most("W1 packwise / Dask", best / self.least(w1, "Dask"), 0.1)
            at_most("W1 packwise / decoding alone", best / self.least("W1 floor: decode only", "arrow-rs"), 4)
        if self.find("W2", ours):
            at_most(
                "W2 sweep / scikit-learn",
                self.least("W2 sweep", ours) / self.least("W2 sweep", "scikit-learn lloyd"),
                0.3,
            )
            for peer in ("scikit-learn lloyd", "faiss"):
                at_most(f"W2 fit / {peer}", self.least("W2 fit", ours) / self.least("W2 fit", peer), 0.8)
            rate = self.least("W2 assign", "scikit-learn lloyd") / self.least("W2 assign", ours)
            at_least("W2 assignment, rows/s / scikit-learn", rate, 1.5)
        graphs = ("hnswlib", "faiss HNSW", "usearch")
        for group in sorted({one.group for one in self.find("W3", "")}):
            mine = ("packwise",)
            whole = self.best_search(group, mine, 0.95, "all")
            at_least(
                f"{group}: build and lookups / best graph, ≥ .95",
                self.best_search(group, graphs, 0.95, "all") / whole,
                4,
            )
            at_least(
                f"{group}: build and lookups / best peer, ≥ .95",
                self.best_search(group, (*graphs, "faiss"), 0.95, "all") / whole, 4,
            )  # fmt: skip
            whole = self.best_search(group, mine, 0.99, "all")
            at_least(
                f"{group}: the same / faiss IVF, ≥ .99",
                self.best_search(group, ("faiss IVF",), 0.99, "all") / whole,
                10,
            )
            exact = self.best_search(group, ("packwise",), EXACT, "rate", False)
            at_least(
                f"{group}: exact / faiss Flat",
                exact / self.best_search(group, ("faiss Flat",), EXACT, "rate", False),
                20,
            )
            alone = [self.best_search(group, who, 0.95, "alone", False) for who in (("packwise",), ("hnswlib",))]
            at_least(f"{group}: one at a time / hnswlib, ≥ .95", alone[0] / alone[1], 1.2)
        if self.find("W whole", ours):
            chain = self.find("W whole", "chain")[0]
            at_most("W packwise / chain", self.least("W whole", ours) / self.value(chain, "seconds"), 0.33)
            at_most("W peak / chain", self.least("W whole", ours, "rss_mib") / self.value(chain, "rss_mib"), 0.25)
        return rows


def number(value, digits=1):
    """A figure with thousands, or a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:,.{digits}f}"


def note(entry, runs):
    """What a reader should know of an entry besides its seconds."""
    if not runs:
        last = entry.runs[-1]
        return f"{last['status']}: {' '.join(last.get('message', '').split())[-80:]}"
    first = runs[0]
    if first.get("sweep"):
        inertia = sum(row["inertia"] for row in first["sweep"])
        parts = [f"inertia of all k {inertia:,.0f}"]
        parts += [f"{name} {seconds:.1f} s" for name, seconds in first.get("stages", {}).items()]
        return ", ".join(parts)
    if "inertia" in first:
        return f"inertia {first['inertia']:,.1f}"
    if "check" in first:
        return "agrees" if first["agrees"] else f"DIFFERS: {first['check']['problems'][0]}"
    if first.get("stages"):
        return ", ".join(f"{name} {seconds:.1f}" for name, seconds in first["stages"].items())
    return ""


def aligned(rows):
    """Rows of texts as a Markdown table, the first column to the left."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]

    def line(row):
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if at == 0 else ":") for at, width in enumerate(widths)) + "|"
    return [line(rows[0]), rule, *[line(row) for row in rows[1:]]]


def timed(summary, entries):
    """The table of a group that is measured in seconds."""
    ours = [summary.value(one, "seconds") for one in entries if one.who.startswith("packwise")]
    # A group of peers that have no such limit is compared with packwise at its best.
    ours = ours or [summary.least(entries[0].group.split()[0], "packwise")]
    rows = [HEADER]
    for one in entries:
        runs = summary.good(one)
        seconds = summary.value(one, "seconds")
        ratio = ours[0] / seconds if not one.who.startswith("packwise") else math.nan
        rows.append(
            [
                one.who,
                number(seconds, 2),
                number(ratio, 3),
                number(summary.value(one, "rss_mib"), 0),
                number(summary.value(one, "spilled_mib"), 0),
                f"{len(runs)}/{len(one.runs)}",
                note(one, runs),
            ]
        )
    return aligned(rows)


def searched(summary, entries, wanted):
    """The table of a group of searches at one wanted recall; for `EXACT` of all that are exact."""
    rows, mine = [SEARCH], math.nan
    for one in entries:
        runs = summary.good(one)
        found = summary.searches(one)
        if wanted == EXACT:
            found = [row for row in found if row["recall"] >= EXACT]
        else:
            found = [row for row in found if row["wanted"] == wanted]
        if not runs and wanted != EXACT:
            rows.append([one.who, *["–"] * 8, f"0/{len(one.runs)} {one.runs[-1]['status']}"])
        for row in found:
            mine = row["rate"] if math.isnan(mine) else mine
            reached = "" if row["reached"] else " (most)"
            rows.append(
                [
                    one.who,
                    number(row["build"]),
                    number(row["recall"], 4),
                    f"{row['effort'] or '–'}{reached}",
                    number(row["rate"], 0),
                    number(mine / row["rate"], 2) if not one.who.startswith("packwise") else "–",
                    number(row["all"]),
                    number(row["alone"], 0),
                    number(summary.value(one, "rss_mib"), 0),
                    f"{len(runs)}/{len(one.runs)}",
                ]
            )
    return aligned(rows)


def page(figures, summary):
    """The whole report as lines."""
    machine = figures["machine"]
    sets = ", ".join(machine["instruction_sets"])
    lines = [
        f"machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {sets}",
        f"load:    {machine['load']:.1f} when it began; figures count on an idle machine",
        f"data:    {figures['rows']:,} purchases; commit {figures['commit']}; medians of the runs that ended well",
        "peers:   " + ", ".join(f"{name} {version}" for name, version in figures["versions"].items()),
    ]
    groups = list(dict.fromkeys(one.group for one in summary.entries))
    for group in groups:
        own = [one for one in summary.entries if one.group == group]
        lines += ["", f"## {group}", ""]
        if group.startswith("W3"):
            for wanted in figures["settings"]["recalls"]:
                lines += [f"recall of at least {wanted} asked for", "", *searched(summary, own, wanted), ""]
            lines += ["exact", "", *searched(summary, own, EXACT)]
        else:
            lines += timed(summary, own)
    if figures["targets"]:
        rows = [["target", "measured", "wanted", "met"]]
        for what, value, sign, target in figures["targets"]:
            met = (
                "–" if math.isnan(value) else ("yes" if (value <= target if sign == "≤" else value >= target) else "no")
            )
            rows.append([what, number(value, 3), f"{sign} {target}", met])
        lines += ["", "## Targets", "", *aligned(rows)]
    return lines
