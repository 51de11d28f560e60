"""Opens every file of a published run in DuckDB, Polars and pandas, and compares rows and checksums of a column.

    python scripts/peers/open_tables.py OUT/runs/RUN

In the environment of the peers (scripts/bench-peers.sh makes it). Ends with exit code 1 at the first difference.
"""

import json
import sys
from pathlib import Path

import duckdb
import pandas
import polars

folder = Path(sys.argv[1])
newest = max(folder.glob("manifest*.json"), key=lambda path: int("".join(c for c in path.stem if c.isdigit()) or 0))
manifest = json.loads(newest.read_text())
tables = rows = 0
for name, table in manifest["tables"].items():
    files = [str(folder / file["path"]) for file in table["files"] if file["rows"]]
    if not files:
        continue
    columns = [column for column, _ in table["columns"]]
    numbers = [column for column, kind in table["columns"] if kind in ("Int64", "Float64")]
    by_duckdb = duckdb.read_parquet(files)
    found = {
        "DuckDB": (by_duckdb.columns, by_duckdb.count("*").fetchall()[0][0]),
        "Polars": (polars.read_parquet_schema(files[0]).names(), polars.scan_parquet(files).select(polars.len()).collect().item()),
    }
    small = table["rows"] <= 5_000_000
    if small:
        by_pandas = pandas.concat([pandas.read_parquet(file) for file in files])
        found["pandas"] = (list(by_pandas.columns), len(by_pandas))
    for who, (has, count) in found.items():
        if list(has) != columns or count != table["rows"]:
            sys.exit(f"{name}: {who} finds {count} rows of {has}, the manifest says {table['rows']} of {columns}")
    for column in numbers:
        sums = {
            "DuckDB": by_duckdb.aggregate(f'coalesce(sum("{column}"), 0)::DOUBLE').fetchall()[0][0],
            "Polars": float(polars.scan_parquet(files).select(polars.col(column).cast(polars.Float64).sum()).collect().item() or 0),
        }
        if small:
            sums["pandas"] = float(by_pandas[column].astype(float).sum())
        low, high = min(sums.values()), max(sums.values())
        if high - low > 1e-9 * max(1.0, abs(high)):
            sys.exit(f"{name}.{column}: {sums}")
    tables, rows = tables + 1, rows + table["rows"]
versions = f"DuckDB {duckdb.__version__}, Polars {polars.__version__}, pandas {pandas.__version__}"
print(f"{tables} tables, {rows:,} rows: the same columns, rows and sums in {versions}")
