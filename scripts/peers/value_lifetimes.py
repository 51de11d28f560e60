"""BG/NBD: lifetimes against packwise on the same histories, in turn.

    scripts/peers/value_lifetimes.py PEERS_BINARY [CUSTOMERS] [REPEATS]

Customers are simulated (r .24, alpha 31 days, a .79, b 2.4, watched 1 to 730 days). Both get a row (x, t_x, T) for
each customer, as one would fit it; then the distinct rows with their numbers, lifetimes as weights. Needs `pip install lifetimes==0.11.3` beside
requirements.txt. PEERS_BINARY is the built benches/peers.rs. Prints seconds, parameters and the ratio.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from lifetimes import BetaGeoFitter


def histories(customers, seed=1):
    """The histories of simulated customers, in days."""
    random = np.random.default_rng(seed)
    watched = random.integers(1, 731, customers)
    rate = random.gamma(0.24, 1 / 31.0, customers)
    leaves = random.beta(0.79, 2.4, customers)
    rows = np.zeros((customers, 3), dtype=np.int64)
    for at in range(customers):
        day, x, last = 0.0, 0, 0
        while True:
            day += random.exponential(1 / rate[at]) if rate[at] > 1e-9 else np.inf
            if day > watched[at]:
                break
            if int(day) > last:
                x, last = x + 1, int(day)
            if random.random() < leaves[at]:
                break
        rows[at] = x, last, watched[at]
    return pd.DataFrame(rows, columns=["x", "t_x", "T"]).assign(customers=1)


def compare(what, table, binary, repeats):
    """Fits both in turn; prints a line for each, then the ratio of medians."""
    print(f"{what}: {len(table)} rows")
    seconds = {"packwise": [], "lifetimes": []}
    with tempfile.TemporaryDirectory() as folder:
        tuples, spec, result = (Path(folder) / name for name in ("tuples.csv", "spec.json", "result.json"))
        table.to_csv(tuples, index=False)
        spec.write_text(json.dumps({"threads": 1, "result": str(result), "task": "value", "tuples": str(tuples)}))
        for _ in range(repeats):
            subprocess.run([binary, str(spec)], check=True, stdout=subprocess.DEVNULL)
            own = json.loads(result.read_text())
            seconds["packwise"].append(own["seconds"])
            weights = None if (table["customers"] == 1).all() else table["customers"]
            started = time.perf_counter()
            fitted = BetaGeoFitter().fit(table["x"], table["t_x"], table["T"], weights=weights)
            seconds["lifetimes"].append(time.perf_counter() - started)
    print("packwise ", own["parameters"], [round(each, 3) for each in seconds["packwise"]])
    print("lifetimes", [round(each, 5) for each in fitted.params_], [round(each, 2) for each in seconds["lifetimes"]])
    ratio = statistics.median(seconds["lifetimes"]) / statistics.median(seconds["packwise"])
    print(f"lifetimes takes {ratio:.0f} times as long")


def main():
    """Compares on a row a customer, then on distinct histories."""
    binary = sys.argv[1]
    customers = int(sys.argv[2]) if len(sys.argv) > 2 else 500_000
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    rows = histories(customers)
    compare("a row a customer", rows, binary, repeats)
    distinct = rows.groupby(["x", "t_x", "T"], as_index=False)["customers"].sum()
    compare("distinct histories", distinct, binary, repeats)


if __name__ == "__main__":
    main()
