"""Whether a peer's customer_features and customer_packages agree with those of packwise.

Row counts, sums of revenue, and every column of 1,000 customers chosen by hash, floating-point columns to
1e-9 relative. Prints one JSON object: {"agrees": bool, "problems": [...], "figures": {...}}.
"""

import json
import math
import sys

import duckdb

SAMPLE = 1000
TOLERANCE = 1e-9
KEYS = {"customer_features": ["customer_id"], "customer_packages": ["customer_id", "package_code"]}


def same(ours, theirs):
    """Equality, with a tolerance for floating-point numbers."""
    if isinstance(ours, float) or isinstance(theirs, float):
        if ours is None or theirs is None:
            return ours is theirs
        return math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return ours == theirs


def compare(engine, table, ours, theirs):
    """Problems found in one table, and its figures; ours and theirs are globs of Parquet files."""
    problems = []
    figures = {}
    rows, money = [], []
    for files in (ours, theirs):
        count, revenue = engine.execute(f"SELECT COUNT(*), SUM(revenue) FROM read_parquet('{files}')").fetchone()
        rows.append(count)
        money.append(revenue)
    figures[f"{table} rows"] = rows[0]
    figures[f"{table} revenue"] = money[0]
    if rows[0] != rows[1]:
        problems.append(f"{table}: {rows[0]} rows of packwise, {rows[1]} of the peer")
    if not same(money[0], money[1]):
        problems.append(f"{table}: revenue {money[0]} of packwise, {money[1]} of the peer")
    described = [
        {name: kind for name, kind, *_ in engine.execute(f"DESCRIBE FROM read_parquet('{files}')").fetchall()}
        for files in (ours, theirs)
    ]
    if list(described[0]) != list(described[1]):
        problems.append(f"{table}: columns {sorted(set(described[0]) ^ set(described[1]))} are not in both, or moved")
    names = [name for name in described[0] if name in described[1]]
    for name in names:
        if described[0][name] != described[1][name]:
            problems.append(f"{table}.{name}: {described[0][name]} of packwise, {described[1][name]} of the peer")
    # Types may differ in what a reader does not see (INTEGER for BIGINT); values are compared as packwise's type.
    columns = ", ".join(f"{name}::{described[0][name]} AS {name}" for name in names)
    keys = ", ".join(KEYS[table])
    sampled = [
        engine.execute(
            f"SELECT {columns} FROM read_parquet('{files}')"
            f" WHERE customer_id::VARCHAR IN (SELECT customer_id FROM sampled) ORDER BY {keys}"
        ).fetchall()
        for files in (ours, theirs)
    ]
    different = {}
    for one, other in zip(*sampled, strict=False):
        for name, a, b in zip(names, one, other, strict=True):
            if not same(a, b):
                different.setdefault(name, []).append((one[0], a, b))
    for name, cases in different.items():
        problems.append(f"{table}.{name}: {len(cases)} of {len(sampled[0])} sampled rows differ, first {cases[0]}")
    if len(sampled[0]) != len(sampled[1]):
        problems.append(f"{table}: {len(sampled[0])} rows of the sampled customers, {len(sampled[1])} of the peer")
    figures[f"{table} rows compared"] = len(sampled[0])
    return problems, figures


def check(run, out):
    """Compares a packwise run's folder with a peer's output folder."""
    engine = duckdb.connect()
    engine.execute("SET threads = 2; SET memory_limit = '2GiB'")
    engine.execute(
        f"CREATE TABLE sampled AS SELECT customer_id::VARCHAR AS customer_id"
        f" FROM read_parquet('{run}/customer_features/*.parquet')"
        f" ORDER BY hash(customer_id::VARCHAR), customer_id LIMIT {SAMPLE}"
    )
    problems, figures = [], {}
    for table in KEYS:
        more, numbers = compare(engine, table, f"{run}/{table}/*.parquet", f"{out}/{table}*.parquet")
        problems += more
        figures |= numbers
    return {"agrees": not problems, "problems": problems, "figures": figures}


if __name__ == "__main__":
    print(json.dumps(check(*sys.argv[1:3]), indent=1, default=str))
