"""W1 in Dask: a shuffle by customer, then pandas in every partition.

Settings: a local cluster of one worker process a thread, each with its share of the memory limit (Dask spills and
pauses by it), the peer-to-peer shuffle, ids as integers. Every partition holds whole customers, so that both tables
come from one shuffle; a worker writes the two files of its partition. groupby-aggregations over the whole frame with
split_out would shuffle twice and keep more.
"""

import os
import shutil

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dask.distributed import Client, LocalCluster

from common import Bench

PARQUET = {"compression": "zstd", "compression_level": 1}
# Rows of a partition after the shuffle, about.
PARTITION = 1_000_000


def coded(frame, codes, channels):
    """Integer columns from the raw text ones."""
    stamps = frame["BUY_DATE"].to_numpy().astype("datetime64[us]").astype("int64")
    channel = pd.Categorical(frame["CHANNEL"], categories=channels).codes
    package = pd.Categorical(frame["PACKAGE_CODE"], categories=codes).codes
    return pd.DataFrame(
        {
            "c": frame["MSISDN"].astype("int64").to_numpy(),
            "p": package.astype("int16"),
            "channel": channel.astype("int8"),
            "ts": stamps,
        }
    )


def time(column):
    """Microseconds since 1970 as the timestamps that are published."""
    return pd.Series(column.to_numpy().astype("datetime64[us]"), index=column.index)


def bought(job, frame, prices):
    """A row for every customer and package of a partition."""
    half, as_of = job["half_life_days"], job["as_of_day"]
    first = ~frame.duplicated(["c", "p", "day"])
    decay = np.exp2((frame["day"] - as_of) / half)
    rows = frame.assign(first=first.astype("int64"), weight=np.where(first, decay, 0.0))
    table = rows.groupby(["c", "p"], sort=True).agg(
        times=("ts", "size"), first_purchase=("ts", "min"), last_purchase=("ts", "max"), weight=("weight", "sum"),
        days=("first", "sum"),
    )  # fmt: skip
    table = table.reset_index()
    table["part"] = table["times"] * prices[table["p"].to_numpy()]
    return table


def customers(job, frame):
    """A row for every customer of a partition, from its rows."""
    as_of = job["as_of_day"]
    day, price = frame["day"], frame["price"]
    columns = {
        "purchases": np.ones(len(frame), "int64"),
        "active_days": (~frame.duplicated(["c", "day"])).astype("int64"),
        "revenue": price,
        "purchases_30d": (day > as_of - 30).astype("int64"),
        "revenue_30d": price.where(day > as_of - 30, 0),
        "revenue_60d": price.where((day <= as_of - 30) & (day > as_of - 60), 0),
        "weekend": day.mod(7).isin([2, 3]).astype("int64"),
        **{name: (frame["channel"] == slot).astype("int64") for slot, (_, name) in enumerate(job["channels"])},
    }
    sums = pd.DataFrame(columns).groupby(frame["c"], sort=True).sum()
    grouped = frame.groupby("c", sort=True)
    sums["largest"] = grouped["price"].max()
    sums["first_us"], sums["last_us"] = grouped["ts"].min(), grouped["ts"].max()
    return sums


def mix(job, table, packages):
    """A row for every customer of a partition, from its packages."""
    known = packages.iloc[table["p"].to_numpy()].reset_index(drop=True)
    times, part = table["times"], table["part"]
    columns = {"distinct_packages": np.ones(len(table), "int64"), "part": part}
    for name in ("tier", "validity_days", "quota_mb_per_day", "speed_mbps"):
        columns[f"{name}_sum"] = (times * known[name]).fillna(0)
        columns[f"{name}_times"] = times.where(known[name].notna(), 0)
    for kind, values in (("service", job["services"]), ("charging", job["charging"])):
        for value, name in values:
            columns[name] = part.where(known[kind] == value, 0)
    sums = pd.DataFrame(columns).groupby(table["c"], sort=True).sum()
    favourite = times * 4294967296 + (4294967295 - table["p"].astype("int64"))
    sums["favourite"] = favourite.groupby(table["c"], sort=True).max()
    return sums


def features(job, frame, table, packages):
    """customer_features of a partition."""
    a = customers(job, frame).join(mix(job, table, packages))
    scale, as_of = float(job["scale"]), job["as_of_day"]
    first, last = a["first_us"] // 86_400_000_000, a["last_us"] // 86_400_000_000
    windows = a["revenue_30d"] + a["revenue_60d"]
    favourite = 4294967295 - a["favourite"] % 4294967296
    out = {
        "customer_id": a.index.astype("str"),
        "purchases": a["purchases"],
        "active_days": a["active_days"],
        "distinct_packages": a["distinct_packages"],
        "units": a["purchases"].astype("float64"),
        "revenue": a["revenue"] / scale,
        "average_purchase": a["revenue"] / scale / a["purchases"],
        "largest_purchase": a["largest"] / scale,
        "purchases_30d": a["purchases_30d"],
        "revenue_30d": a["revenue_30d"] / scale,
        "revenue_30d_share": a["revenue_30d"] / a["revenue"],
        "revenue_trend": ((a["revenue_30d"] - a["revenue_60d"]) / windows).where(windows > 0, 0.0),
        "first_purchase": time(a["first_us"]),
        "last_purchase": time(a["last_us"]),
        "recency_days": as_of - last,
        "tenure_days": as_of - first,
        "mean_gap_days": ((last - first) / (a["active_days"] - 1)).where(a["active_days"] > 1),
        "weekend_share": a["weekend"] / a["purchases"],
        "favourite_package": packages["code"].to_numpy()[favourite.to_numpy()],
        "favourite_share": (a["favourite"] // 4294967296) / a["purchases"],
        "mean_price_tier": a["tier_sum"] / a["tier_times"],
        "mean_validity_days": a["validity_days_sum"] / a["validity_days_times"],
        "mean_quota_mb_per_day": a["quota_mb_per_day_sum"] / a["quota_mb_per_day_times"],
        "mean_speed_mbps": a["speed_mbps_sum"] / a["speed_mbps_times"],
        **{name: a[name] / a["purchases"] for _, name in job["channels"]},
        **{name: a[name] / a["part"] for _, name in job["services"] + job["charging"]},
    }
    return pd.DataFrame(out)


def write(frame, job, packages, out, partition_info=None):
    """Both tables of a partition to files; returns their numbers of rows. Dask fills in `partition_info`."""
    counts = pd.DataFrame({"customers": [0], "packages": [0]})
    if partition_info is None or not len(frame):
        return counts
    number = partition_info["number"]
    prices = packages["price"].to_numpy()
    frame = frame.reset_index(drop=True)
    frame["day"] = frame["ts"] // 86_400_000_000
    frame["price"] = prices[frame["p"].to_numpy()]
    table = bought(job, frame, prices)
    per_customer = features(job, frame, table, packages)
    per_package = pd.DataFrame(
        {
            "customer_id": table["c"].astype("str"),
            "package_code": packages["code"].to_numpy()[table["p"].to_numpy()],
            "times": table["times"],
            "revenue": table["part"] / float(job["scale"]),
            "first_purchase": time(table["first_purchase"]),
            "last_purchase": time(table["last_purchase"]),
            "weight": table["weight"],
            "days": table["days"],
        }
    )
    for name, rows in (("customer_features", per_customer), ("customer_packages", per_package)):
        path = f"{out}/{name}-{number:05}.parquet"
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path, **PARQUET)
    return pd.DataFrame({"customers": [len(per_customer)], "packages": [len(table)]})


def main():
    """The measured process; the cluster's start is not timed."""
    bench = Bench(__doc__.splitlines()[0])
    args, job = bench.args, bench.spec
    packages = pd.read_parquet(job["packages"])
    dask.config.set({"temporary-directory": args.tmp, "distributed.diagnostics.nvml": False})
    limit = f"{args.memory / args.threads}GiB" if args.memory else 0
    cluster = LocalCluster(
        n_workers=args.threads, threads_per_worker=1, memory_limit=limit, dashboard_address=None,
        local_directory=args.tmp,
    )  # fmt: skip
    with cluster, Client(cluster), bench.stage("shuffle and tables"):
        columns = ["MSISDN", "PACKAGE_CODE", "CHANNEL", "BUY_DATE"]
        raw = dd.read_parquet(f"{job['data']}/transactions/*.parquet", columns=columns, split_row_groups=False)
        codes, channels = packages["code"].tolist(), [value for value, _ in job["channels"]]
        partitions = max(args.threads, job["rows"] // PARTITION)
        rows = raw.map_partitions(coded, codes, channels, meta=coded(raw._meta, codes, channels))
        rows = rows.shuffle("c", npartitions=partitions, shuffle_method="p2p")
        meta = pd.DataFrame({"customers": pd.Series(dtype="int64"), "packages": pd.Series(dtype="int64")})
        counts = rows.map_partitions(write, job, packages, os.path.abspath(args.out), meta=meta).compute()
    shutil.rmtree(args.tmp, ignore_errors=True)
    bench.finish(version=dask.__version__, rows=counts.sum().to_dict())


if __name__ == "__main__":
    main()
