#!/usr/bin/env bash
# packwise against the pipelines that could take its place, alternately, in one run on one machine.
#
#   scripts/bench-peers.sh [ROWS] [CUSTOMERS] [PACKAGES]
#   WORKS="W1 W3" REPEATS=1 scripts/bench-peers.sh 2000000 200000 600
#
# One table goes to standard output and all raw figures to a JSON file. What is measured, the settings of the
# engines and the variables that steer it: scripts/peers/README.md. Data, the virtual environment and figures are
# kept in $BENCH_DIR (default: bench-data). Needs Python 3.11 or later and a C++ compiler (hnswlib).
set -euo pipefail
rows=${1:-52000000}
customers=${2:-5000000}
packages=${3:-600}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${BENCH_DIR:-$root/bench-data}
python=${PYTHON:-python3}
venv=${PEER_VENV:-$dir/peers-venv}
binary=${PACKWISE:-$root/target/release/packwise}
kernels=${PACKWISE_PEERS:-}
cd "$root"
export PYTHONDONTWRITEBYTECODE=1

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11" >&2; exit 1; }
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
[ -x "$binary" ] || cargo build --release >&2
if [ -z "$kernels" ]; then
  # The name of a bench binary has a hash; cargo tells it.
  kernels=$(cargo bench --no-run --bench peers --message-format=json |
    "$python" -c 'import json, sys
found = [m.get("executable") for m in map(json.loads, sys.stdin) if m.get("target", {}).get("name") == "peers"]
print([path for path in found if path][-1])')
fi

# The environment is made anew when the pinned versions change.
pins=$root/scripts/peers/requirements.txt
if ! cmp -s "$pins" "$venv/requirements.txt"; then
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$pins" >&2
  cp "$pins" "$venv/requirements.txt"
fi

data=${BENCH_DATA:-$dir/data-$rows-$customers-$packages}
if [ ! -f "$data/packages.parquet" ]; then
  rm -rf "$data"
  "$binary" generate --out "$data" --transactions "$rows" --customers "$customers" \
    --packages "$packages" --days 92 --seed 1 >&2
fi
exec "$venv/bin/python" "$root/scripts/peers/drive.py" --root "$root" --data "$data" \
  --folder "$dir/peers-$rows-$customers-$packages" --binary "$binary" --bench-binary "$kernels"
