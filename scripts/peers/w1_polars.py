"""W1 in Polars: lazy frames on the streaming engine, written with sink_parquet.

Settings: POLARS_MAX_THREADS from the environment (the driver sets it); Polars has no memory limit. Rows are grouped
by customer, package and day first, so that a second purchase of a day counts once in the weight. customer_packages is
written and read back, so that it is computed once.
"""

import polars as pl

from common import Bench


def day(column):
    """Days since 1970 of a column of microseconds."""
    return pl.col(column).dt.epoch("d").cast(pl.Int32)


def rows(job, packages):
    """The raw files with integer ids, package ranks and prices."""
    raw = pl.scan_parquet(f"{job['data']}/transactions/*.parquet")
    known = packages.lazy().select("package", "price", PACKAGE_CODE=pl.col("code"))
    return raw.join(known, on="PACKAGE_CODE").select(
        c=pl.col("MSISDN").cast(pl.Int64),
        p=pl.col("package").cast(pl.Int16),
        price="price",
        channel=pl.col("CHANNEL"),
        ts=pl.col("BUY_DATE"),
        day=day("BUY_DATE"),
    )


def customer_packages(job, raw, packages):
    """The table of customers and packages."""
    weight = (2.0 ** ((pl.col("day") - job["as_of_day"]) / job["half_life_days"])).sum()
    daily = raw.group_by("c", "p", "day").agg(
        times=pl.len().cast(pl.Int64), first_purchase=pl.col("ts").min(), last_purchase=pl.col("ts").max()
    )
    grouped = daily.group_by("c", "p").agg(
        times=pl.col("times").sum(),
        first_purchase=pl.col("first_purchase").min(),
        last_purchase=pl.col("last_purchase").max(),
        weight=weight,
        days=pl.len().cast(pl.Int64),
    )
    known = packages.lazy().select("code", "price", p=pl.col("package").cast(pl.Int16))
    return grouped.join(known, on="p").select(
        customer_id=pl.col("c").cast(pl.String),
        package_code="code",
        times="times",
        revenue=pl.col("times") * pl.col("price") / float(job["scale"]),
        first_purchase="first_purchase",
        last_purchase="last_purchase",
        weight="weight",
        days="days",
    )


def customers(job, raw):
    """Aggregates of every customer's rows."""
    as_of, price = job["as_of_day"], pl.col("price")
    recent = pl.col("day") > as_of - 30
    before = (pl.col("day") <= as_of - 30) & (pl.col("day") > as_of - 60)
    return raw.group_by("c").agg(
        purchases=pl.len().cast(pl.Int64),
        active_days=pl.col("day").n_unique().cast(pl.Int64),
        revenue=price.sum(),
        largest=price.max(),
        purchases_30d=recent.sum().cast(pl.Int64),
        revenue_30d=(price * recent).sum(),
        revenue_60d=(price * before).sum(),
        first_purchase=pl.col("ts").min(),
        last_purchase=pl.col("ts").max(),
        weekend=(pl.col("day") % 7).is_in([2, 3]).sum(),
        **{name: (pl.col("channel") == value).sum() for value, name in job["channels"]},
    )


def mix(job, bought, packages):
    """Aggregates of every customer's packages."""
    known = packages.lazy().rename({"code": "package_code"})
    times = pl.col("times")
    part = times * pl.col("price")
    means = ("tier", "validity_days", "quota_mb_per_day", "speed_mbps")
    return (
        bought.select(c=pl.col("customer_id").cast(pl.Int64), package_code="package_code", times="times")
        .join(known, on="package_code")
        .group_by("c")
        .agg(
            distinct_packages=pl.len().cast(pl.Int64),
            favourite=(times * 4294967296 + (4294967295 - pl.col("package"))).max(),
            part=part.sum(),
            **{f"{name}_sum": (times * pl.col(name)).sum() for name in means},
            **{f"{name}_times": (times * pl.col(name).is_not_null()).sum() for name in means},
            **{name: (part * (pl.col("service") == value)).sum() for value, name in job["services"]},
            **{name: (part * (pl.col("charging") == value)).sum() for value, name in job["charging"]},
        )
    )


def features(job, totals, mixes, packages):
    """The table of customers from both aggregates."""
    scale, as_of = float(job["scale"]), job["as_of_day"]
    of_purchases = {name: pl.col(name) / pl.col("purchases") for _, name in job["channels"]}
    of_part = {name: pl.col(name) / pl.col("part") for _, name in job["services"] + job["charging"]}
    windows = pl.col("revenue_30d") + pl.col("revenue_60d")
    span = (day("last_purchase") - day("first_purchase")).cast(pl.Float64)
    favourite = packages.lazy().select("code", package_of=pl.col("package"))
    joined = totals.join(mixes, on="c").with_columns(package_of=4294967295 - pl.col("favourite") % 4294967296)
    return joined.join(favourite, on="package_of").select(
        customer_id=pl.col("c").cast(pl.String),
        purchases="purchases",
        active_days="active_days",
        distinct_packages="distinct_packages",
        units=pl.col("purchases").cast(pl.Float64),
        revenue=pl.col("revenue") / scale,
        average_purchase=pl.col("revenue") / scale / pl.col("purchases"),
        largest_purchase=pl.col("largest") / scale,
        purchases_30d="purchases_30d",
        revenue_30d=pl.col("revenue_30d") / scale,
        revenue_30d_share=pl.col("revenue_30d") / pl.col("revenue"),
        revenue_trend=pl.when(windows > 0)
        .then((pl.col("revenue_30d") - pl.col("revenue_60d")) / windows)
        .otherwise(0.0),
        first_purchase="first_purchase",
        last_purchase="last_purchase",
        recency_days=(as_of - day("last_purchase")).cast(pl.Int64),
        tenure_days=(as_of - day("first_purchase")).cast(pl.Int64),
        mean_gap_days=pl.when(pl.col("active_days") > 1).then(span / (pl.col("active_days") - 1)),
        weekend_share=pl.col("weekend") / pl.col("purchases"),
        favourite_package="code",
        favourite_share=(pl.col("favourite") // 4294967296) / pl.col("purchases"),
        mean_price_tier=pl.col("tier_sum") / pl.col("tier_times"),
        mean_validity_days=pl.col("validity_days_sum") / pl.col("validity_days_times"),
        mean_quota_mb_per_day=pl.col("quota_mb_per_day_sum") / pl.col("quota_mb_per_day_times"),
        mean_speed_mbps=pl.col("speed_mbps_sum") / pl.col("speed_mbps_times"),
        **of_purchases,
        **of_part,
    )


def run(job, out, stage):
    """Writes both tables into the folder `out`."""
    packages = pl.read_parquet(job["packages"])
    raw = rows(job, packages)
    options = {"compression": "zstd", "compression_level": 1, "engine": "streaming", "maintain_order": False}
    bought = f"{out}/customer_packages.parquet"
    with stage("customer_packages"):
        customer_packages(job, raw, packages).sink_parquet(bought, **options)
    with stage("customer_features"):
        mixes = mix(job, pl.scan_parquet(bought), packages)
        frame = features(job, customers(job, raw), mixes, packages)
        frame.sink_parquet(f"{out}/customer_features.parquet", **options)


def main():
    """The measured process."""
    bench = Bench(__doc__.splitlines()[0])
    run(bench.spec, bench.args.out, bench.stage)
    bench.finish(version=pl.__version__)


if __name__ == "__main__":
    main()
