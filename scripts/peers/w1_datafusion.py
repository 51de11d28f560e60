"""W1 in DataFusion's Python package: plain SQL in one session, as a user without packwise would write it.

Settings: two target partitions; with a memory limit a fair spill pool of that size and a disk manager in the
given folder, else no limit. Both tables are written with COPY to zstd-compressed Parquet. Days are counted by
grouping by day first (there is no 128-bit integer for days as bits).
"""

import datafusion
from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext

import w1_sql
from common import Bench


class Dialect:
    """What DataFusion spells in its own way."""

    @staticmethod
    def active_days(_job):
        """Number of different days."""
        return "COUNT(DISTINCT day)"

    @staticmethod
    def day(column):
        """Days since 1970."""
        return f"(CAST(arrow_cast({column}, 'Timestamp(Microsecond, None)') AS BIGINT) / 86400000000)"

    @staticmethod
    def whole(column, divisor):
        """Integer division."""
        return f"({column} / {divisor})"


def packages(job, rows):
    """customer_packages: by day first, so that a second purchase of a day counts once in the weight."""
    return f"""
    SELECT CAST(c AS VARCHAR) AS customer_id, code AS package_code, times,
      CAST(times * price AS DOUBLE) / {job["scale"]} AS revenue, first_purchase, last_purchase, weight, days
    FROM (
      SELECT c, p, SUM(times) AS times, MIN(first_purchase) AS first_purchase, MAX(last_purchase) AS last_purchase,
        SUM(power(2.0, CAST(day - {job["as_of_day"]} AS DOUBLE) / {job["half_life_days"]})) AS weight,
        COUNT(*) AS days
      FROM (
        SELECT c, p, day, COUNT(*) AS times, MIN(ts) AS first_purchase, MAX(ts) AS last_purchase
        FROM {rows} GROUP BY c, p, day)
      GROUP BY c, p
    ) JOIN packages ON package = p"""


def session(tmp, memory, threads):
    """A session with the settings of the module."""
    config = SessionConfig().with_target_partitions(threads)
    # Ids and codes as plain text rather than views: the same types come out.
    config = config.set("datafusion.execution.parquet.schema_force_view_types", "false")
    runtime = RuntimeEnvBuilder()
    if memory:
        runtime = runtime.with_disk_manager_specified(tmp).with_fair_spill_pool(int(memory * 2**30))
    return SessionContext(config, runtime)


def main():
    """The measured process."""
    bench = Bench(__doc__.splitlines()[0])
    args, job = bench.args, bench.spec
    engine = session(args.tmp, args.memory, args.threads)
    engine.register_parquet("packages", job["packages"])
    engine.register_parquet("raw", f"{job['data']}/transactions/")
    rows = """(
      SELECT CAST("MSISDN" AS BIGINT) AS c, package AS p, price, "CHANNEL" AS channel, "BUY_DATE" AS ts,
        CAST("BUY_DATE" AS BIGINT) / 86400000000 AS day
      FROM raw JOIN packages ON "PACKAGE_CODE" = code)"""
    parquet = "STORED AS PARQUET OPTIONS ('format.compression' 'zstd(1)')"
    with bench.stage("customer_packages"):
        engine.sql(f"COPY ({packages(job, rows)}) TO '{args.out}/customer_packages.parquet' {parquet}").collect()
    engine.register_parquet("customer_packages", f"{args.out}/customer_packages.parquet")
    with bench.stage("customer_features"):
        customers = f"(SELECT c, {w1_sql.customer_columns(job, Dialect)} FROM {rows} GROUP BY c)"
        mix = f"""(
          SELECT c, {w1_sql.mix_columns(job)}
          FROM (SELECT CAST(customer_id AS BIGINT) AS c, package_code, times FROM customer_packages)
          JOIN packages ON code = package_code GROUP BY c)"""
        query = w1_sql.features(job, customers, mix, "packages", Dialect)
        engine.sql(f"COPY ({query}) TO '{args.out}/customer_features.parquet' {parquet}").collect()
    bench.finish(version=datafusion.__version__)


if __name__ == "__main__":
    main()
