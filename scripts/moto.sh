#!/usr/bin/env bash
# Object stores against a second implementation of the S3 API, moto (PyPI), on loopback: the suite of what
# publishing promises, then the demo's job from a bucket to a bucket, which must publish the same bytes as from disk
# to disk.
#
#   scripts/moto.sh
#
# MOTO_VENV  where moto is, or is installed ("target/moto-venv"); PYTHON ("python3")
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=${MOTO_VENV:-target/moto-venv}
if [ ! -x "$venv/bin/moto_server" ]; then
  "$python" -m venv "$venv" 2>/dev/null || { echo "moto.sh: skipped, $python has no venv"; exit 0; }
  "$venv/bin/pip" install --quiet --disable-pip-version-check 'moto[s3,server]==5.1.*' 2>"$venv/pip.log" || {
    echo "moto.sh: skipped, moto cannot be installed: $(tail -n 1 "$venv/pip.log")"
    rm -rf "$venv"
    exit 0
  }
fi
target=$(cargo metadata --no-deps --format-version 1 |
  "$python" -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
cargo build --release --bin packwise
packwise=$target/release/packwise

work=$(mktemp -d)
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/moto.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT
endpoint=http://127.0.0.1:$port
for _ in $(seq 100); do
  curl -sf "$endpoint/moto-api/" -o /dev/null && break
  sleep 0.2
done
curl -sf --max-time 60 -X PUT "$endpoint/bucket" -o /dev/null || { cat "$work/moto.log"; exit 1; }

echo "== what publishing promises"
PACKWISE_TEST_S3=$endpoint cargo test --release --lib -- --ignored another_s3

echo "== the demo's job"
cd "$work"
"$packwise" demo --transactions 20000 --customers 2000 >/dev/null
find packwise-demo/dumps -name '*.parquet' | while read -r file; do
  curl -sf --max-time 60 -T "$file" "$endpoint/bucket/$file" -o /dev/null
done
export AWS_ACCESS_KEY_ID=moto AWS_SECRET_ACCESS_KEY=moto AWS_REGION=us-east-1
config=(-c packwise-demo/packwise.toml)
there=("${config[@]}" --set output.path=s3://bucket/out --set object_store.endpoint="$endpoint"
  --set object_store.allow_http=true)
"$packwise" run "${there[@]}" --json \
  --set 'transactions.path=s3://bucket/packwise-demo/dumps/transactions/*.parquet' \
  --set catalogue.path=s3://bucket/packwise-demo/dumps/packages.parquet >/dev/null
"$packwise" runs "${there[@]}" verify
checksums() { # of every file of the current run
  "$packwise" runs "$@" --json show "$("$packwise" runs "$@" current)" | "$python" -c 'import json, sys
for name, table in sorted(json.load(sys.stdin)["tables"].items()):
    for file in table["files"]: print(file["path"], file["checksum"])'
}
checksums "${config[@]}" >here.txt
checksums "${there[@]}" >there.txt
[ "$(wc -l <here.txt)" -gt 20 ]
diff here.txt there.txt
echo "moto.sh: $(wc -l <here.txt) files of a run have the same bytes on disk and in the bucket"
