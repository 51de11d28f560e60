#!/usr/bin/env bash
# How long `packwise lookup` takes as a whole process, for customers drawn at random from a published run.
#
#   scripts/bench-lookup.sh CONFIG [LOOKUPS]        # 200
#
# PACKWISE  the program ("target/release/packwise"); CONFIG may be followed by nothing else, set output.path in it
#
# Warm: every lookup for the second time, files in the page cache. Cold: before each lookup the pages of every file of the run
# and of the program are dropped from the cache (posix_fadvise, no rights needed), so that they come from the disk.
set -euo pipefail
config=${1:?usage: bench-lookup.sh CONFIG [LOOKUPS]}
count=${2:-200}
program=${PACKWISE:-target/release/packwise}
PACKWISE=$(realpath "$program") exec python3 - "$config" "$count" <<'PYTHON'
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

program, config, count = os.environ["PACKWISE"], sys.argv[1], int(sys.argv[2])


def packwise(*arguments):
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


run = packwise("runs", "-c", config, "current").strip()
manifest = json.loads(packwise("runs", "-c", config, "--json", "show", run))
output = Path(manifest["config"]["output.path"])
folder = output / "runs" / run
files = [Path(program), folder / "manifest.json"]
files += [folder / file["path"] for table in manifest["tables"].values() for file in table["files"]]
chosen, seen = [], 0
draw = random.Random(1)
query = ["query", "-c", config, "--format", "csv", "SELECT CAST(customer_id AS VARCHAR) AS id FROM customer_segments"]
with subprocess.Popen([program, *query], stdout=subprocess.PIPE, text=True) as ids:
    next(ids.stdout)
    for line_of in ids.stdout:
        seen += 1
        at = len(chosen) if len(chosen) < count else draw.randrange(seen)
        if at < count:
            chosen[at:at + 1] = [line_of.strip().strip('"')]
ids = chosen


def drop():
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def lookup(customer):
    started = time.perf_counter()
    subprocess.run([program, "lookup", "-c", config, "--json", customer], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1e3


def line(name, times):
    times = sorted(times)
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))]
    print(f"{name:<6} {len(times):>5} lookups  median {at(0.5):7.1f} ms  p99 {at(0.99):7.1f} ms  most {times[-1]:7.1f} ms")


print(f"{manifest['quality']['customers']:,} customers, {len(files) - 2} files, run {run}")
[lookup(customer) for customer in ids]
line("warm", [lookup(customer) for customer in ids])
cold = []
for customer in ids[: max(1, count // 4)]:
    drop()
    cold.append(lookup(customer))
line("cold", cold)
PYTHON
