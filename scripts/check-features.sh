#!/usr/bin/env bash
# The product and its tests must resolve to the same features of every shared dependency: otherwise
# `cargo run --release` and `cargo test --release` each compile DataFusion (20 minutes on two cores).
set -euo pipefail
list() {
  cargo tree --locked -e "$1" --prefix none -f '{p}|{f}' | sed 's/ (\*)//' | sort -u
}
product=$(mktemp) tests=$(mktemp)
trap 'rm -f "$product" "$tests"' EXIT
list normal,build >"$product"
list normal,build,dev >"$tests"
# Lines of the product that the tests do not have: the same crate with other features.
different=$(comm -23 "$product" "$tests")
if [ -n "$different" ]; then
  echo "the tests turn on features that the product does not; add them to [dependencies]:" >&2
  echo "$different" >&2
  exit 1
fi
echo "product and tests share one set of features"
