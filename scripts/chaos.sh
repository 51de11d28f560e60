#!/usr/bin/env bash
# Kills runs at random moments and looks what readers see: exactly the old run or the new one, whole, and the next run
# publishes the same bytes as one that nobody disturbed.
#
#   scripts/chaos.sh [ROUNDS] [SEED]        # 320 rounds, 1
#
# CHAOS_SECONDS  stop after so many ("1800")
# PACKWISE       the program ("target/release/packwise", built if it is missing)
# CHAOS_REPORT   a Markdown file whose block between <!-- chaos --> and <!-- /chaos --> gets the figures
#
# One round: start a run on the demo's data, send it SIGKILL, SIGTERM or SIGINT after a random share of the time that a
# run takes, check what readers see by the checksums of every file, and every third round let a run end and compare its
# bytes. Ends with exit code 1 at the first broken promise.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-320}
seed=${2:-1}
program=${PACKWISE:-target/release/packwise}
[ -x "$program" ] || cargo build --release --bin packwise
PACKWISE=$(realpath "$program") exec python3 scripts/chaos.py "$rounds" "$seed" "${CHAOS_SECONDS:-1800}" "${CHAOS_REPORT:-}"
