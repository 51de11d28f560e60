"""Runs packwise and the peers alternately, prints one table and writes JSON. Started by bench-peers.sh."""

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time

import catalogue
import report
import works

PACKAGES = ("duckdb", "polars", "dask", "datafusion", "pyarrow", "pandas", "scikit-learn", "faiss-cpu", "hnswlib",
            "usearch", "numpy", "scipy")  # fmt: skip


def machine():
    """What the figures were measured on."""
    model, flags = "", ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name") and not model:
                model = line.split(":", 1)[1].strip()
            if line.startswith("flags") and not flags:
                flags = line.split(":", 1)[1]
    sets = [name for name in ("avx2", "fma", "avx512f") if name in flags.split()]
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(works.runner.total_memory_mib() / 1024, 1),
        "instruction_sets": sets,
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }


def commit(root):
    """The commit that is checked out, from git's files; None outside a checkout."""
    try:
        with open(os.path.join(root, ".git", "HEAD"), encoding="ascii") as head:
            text = head.read().strip()
        if not text.startswith("ref: "):
            return text
        with open(os.path.join(root, ".git", text[5:]), encoding="ascii") as ref:
            return ref.read().strip()
    except OSError:
        return None


def settings():
    """Arguments, with what the environment says (see README.md) as their defaults."""
    parser = argparse.ArgumentParser(description=__doc__)
    of = os.environ.get
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", required=True, help="for tables, matrices, logs and figures")
    parser.add_argument("--root", required=True, help="the checkout")
    parser.add_argument("--binary", required=True, help="packwise")
    parser.add_argument("--bench-binary", required=True, help="benches/peers.rs, built")
    parser.add_argument("--works", default=of("WORKS", "W1 W2 W3 W"))
    parser.add_argument("--repeats", type=int, default=int(of("REPEATS", "3")))
    parser.add_argument("--timeout", type=float, default=float(of("PEER_TIMEOUT", "3600")))
    parser.add_argument("--threads", type=int, default=int(of("THREADS", "2")))
    parser.add_argument("--memories", default=of("MEMORIES", "16 2 1"))
    parser.add_argument("--pools", default=of("POOLS", "200000 1000000"))
    parser.add_argument("--k", type=int, default=int(of("K", "20")))
    parser.add_argument("--recalls", default=of("RECALLS", "0.95 0.99"))
    parser.add_argument("--kinds", default=of("KINDS", "cells exact"))
    parser.add_argument("--only", default=of("ONLY", ""), help="a part of the name of who is run, packwise always is")
    given = vars(parser.parse_args())
    for name in ("folder", "data", "root", "binary", "bench_binary"):
        given[name] = os.path.abspath(given[name])
    given["works"] = given["works"].split()
    given["memories"] = [int(memory) for memory in given["memories"].split()]
    given["pools"] = [int(pool) for pool in given["pools"].split()]
    given["recalls"] = [float(recall) for recall in given["recalls"].split()]
    given["kinds"] = given["kinds"].split()
    told = subprocess.run([given["binary"], "run", "--help"], capture_output=True, text=True, check=True).stdout
    given["can_stop"] = "--until" in told
    return given


def measure(entries, repeats, log):
    """Every entry in turn, as often as asked; an entry that did not end well is not run again."""
    for repeat in range(repeats):
        for entry in entries:
            if entry.runs and entry.runs[-1]["status"] != "ok":
                continue
            begun = time.strftime("%H:%M:%S")
            try:
                figures = entry.start()
            except Exception as error:  # one failure must not stop the rest
                figures = {"status": "failed", "message": f"{type(error).__name__}: {error}"}
            entry.runs.append(figures)
            seconds = figures.get("seconds", figures.get("wall", float("nan")))
            who = f"{entry.group:32} {entry.who:24}"
            log(f"{begun}  {repeat + 1}/{repeats}  {who} {figures['status']:8} {seconds:9.2f} s")
            if figures["status"] != "ok":
                log(f"          {figures.get('message', '')[-300:]}")


def main():
    """Makes the inputs, runs, reports."""
    # A process that is being measured ends with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given = settings()
    place = works.Place(given)
    job = os.path.join(place.folder, "job.json")
    if not os.path.exists(job):
        catalogue.describe(place.data, place.folder)
    with open(job, encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    figures = {
        "machine": machine(),
        "commit": commit(place.root),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "rows": rows,
        "settings": given,
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    entries = []
    for work in given["works"]:
        own = works.WORKS[work](place, job)
        own = [one for one in own if given["only"].lower() in one.who.lower() or one.who.startswith("packwise")]
        measure(own, given["repeats"], lambda line: print(line, flush=True))
        entries += own
    figures["customers"] = place.customers
    figures["results"] = [{"group": one.group, "who": one.who, "runs": one.runs} for one in entries]
    summary = report.Summary(entries, place.customers, statistics.median)
    figures["targets"] = summary.targets()
    path = os.path.join(place.folder, f"peers-{time.strftime('%Y%m%d-%H%M%S')}.json")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(figures, out, indent=1, default=str)
    print()
    print("\n".join(report.page(figures, summary)))
    print(f"\nfigures: {path}")


if __name__ == "__main__":
    main()
