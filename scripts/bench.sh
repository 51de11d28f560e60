#!/usr/bin/env bash
# The whole job at a stated size: one table on standard output, one JSON line in a file.
#
#   scripts/bench.sh [ROWS] [CUSTOMERS] [PACKAGES] [MEMORY ...]
#   scripts/bench.sh 52000000 5000000 600 1GiB 4GiB
#
# Data are generated once into $BENCH_DIR (default: bench-data) and kept. Needs GNU time.
set -euo pipefail
rows=${1:-5000000}
customers=${2:-500000}
packages=${3:-600}
shift $(($# < 3 ? $# : 3))
limits=("${@:-2GiB}")
dir=${BENCH_DIR:-bench-data}
json=${BENCH_JSON:-$dir/bench.jsonl}
binary=${PACKWISE:-target/release/packwise}

[ -x "$binary" ] || cargo build --release
command -v /usr/bin/time >/dev/null || { echo "needs GNU time (Debian: apt-get install time)" >&2; exit 1; }
mkdir -p "$dir"
data=$dir/data-$rows-$customers-$packages
if [ ! -f "$data/truth.parquet" ]; then
  rm -rf "$data"
  "$binary" generate --out "$data" --transactions "$rows" --customers "$customers" \
    --packages "$packages" --days 92 --seed 1 >&2
fi

machine="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo)"
echo "machine: $machine"
echo "data:    $rows purchases, $customers customers, $packages packages, 92 days"
printf '%-8s %-16s %14s %14s %9s %10s %10s\n' limit stage 'rows in' 'rows out' seconds 'peak MiB' 'spill MiB'
for limit in "${limits[@]}"; do
  rm -rf "$dir/out" "$dir/scratch"
  /usr/bin/time -f '%M %e %U %S' -o "$dir/time.txt" "$binary" run --json -c config/telco.toml \
    --set "transactions.path=$data/transactions" --set "catalogue.path=$data/packages.parquet" \
    --set "output.path=$dir/out" --set "resources.scratch=$dir/scratch" --memory "$limit" >"$dir/run.json"
  python3 - "$limit" "$dir/run.json" "$dir/time.txt" "$machine" "$rows" "$customers" "$json" <<'PYTHON'
import json, sys
limit, run, time, machine, rows, customers, out = sys.argv[1:]
run = json.load(open(run))
peak, wall, user, system = open(time).read().split()[-4:]
for s in run["stages"]:
    print(f"{limit:8} {s['stage']:16} {s['rows_in']:14,} {s['rows_out']:14,} {s['seconds']:9.1f} "
          f"{s['peak_bytes'] / 2**20:10.0f} {s['spilled_bytes'] / 2**20:10.0f}")
print(f"{limit:8} {'whole process':16} {'':14} {'':14} {float(wall):9.1f} {int(peak) / 1024:10.0f}")
line = {"machine": machine, "limit": limit, "rows": int(rows), "customers": int(customers),
        "wall_seconds": float(wall), "user_seconds": float(user), "system_seconds": float(system),
        "peak_rss_mib": int(peak) / 1024, "stages": run["stages"],
        "recall": [n["recall"] for n in run["quality"]["neighbours"]]}
open(out, "a").write(json.dumps(line) + "\n")
PYTHON
done
echo "figures: $json"
