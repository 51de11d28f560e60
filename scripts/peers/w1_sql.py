"""Customer features as SQL, for the engines that speak it (DuckDB, DataFusion).

The definitions are those of sql/customer_features.sql and sql/customer_packages.sql, from the raw files.
The data of `generate` have no amounts, quantities or returns: a purchase costs the catalogue's price, and
every row is a purchase. Money is summed in integer minor units, as packwise does.
"""


def customer_columns(job, dialect):
    """Aggregates of a customer's rows; the relation has c, p, price, channel, ts and day."""
    as_of = job["as_of_day"]
    one = "COUNT(*) FILTER (WHERE {})".format
    columns = [
        "COUNT(*) AS purchases",
        f"{dialect.active_days(job)} AS active_days",
        "SUM(price) AS revenue",
        "MAX(price) AS largest",
        f"{one(f'day > {as_of - 30}')} AS purchases_30d",
        f"SUM(CASE WHEN day > {as_of - 30} THEN price ELSE 0 END) AS revenue_30d",
        f"SUM(CASE WHEN day <= {as_of - 30} AND day > {as_of - 60} THEN price ELSE 0 END) AS revenue_60d",
        "MIN(ts) AS first_purchase",
        "MAX(ts) AS last_purchase",
        f"{one('day % 7 IN (2, 3)')} AS weekend",
    ]
    for slot, (value, _) in enumerate(job["channels"]):
        columns.append(f"{one(f'channel = {text(value)}')} AS channel_{slot}")
    return ",\n  ".join(columns)


def mix_columns(job):
    """Aggregates of a customer's packages; the relation has c, times and the catalogue's columns."""
    columns = [
        "COUNT(*) AS distinct_packages",
        "MAX(times * 4294967296 + (4294967295 - package)) AS favourite",
        "SUM(times * price) AS part",
    ]
    for name in ("tier", "validity_days", "quota_mb_per_day", "speed_mbps"):
        columns.append(f"SUM(times * {name}) AS {name}_sum")
        columns.append(f"SUM(CASE WHEN {name} IS NOT NULL THEN times END) AS {name}_times")
    for kind, values in (("service", job["services"]), ("charging", job["charging"])):
        for slot, (value, _) in enumerate(values):
            columns.append(f"SUM(CASE WHEN {kind} = {text(value)} THEN times * price ELSE 0 END) AS {kind}_{slot}")
    return ",\n  ".join(columns)


def features(job, customers, mix, packages, dialect):
    """customer_features from the names of the relations with the aggregates."""
    scale = float(job["scale"])
    first, last = dialect.day("first_purchase"), dialect.day("last_purchase")
    as_of = job["as_of_day"]
    recent = "CAST(revenue_30d AS DOUBLE)"
    money = f"(CAST(revenue AS DOUBLE) / {scale})"
    columns = [
        "CAST(a.c AS VARCHAR) AS customer_id",
        "purchases",
        "active_days",
        "distinct_packages",
        "CAST(purchases AS DOUBLE) AS units",
        f"{money} AS revenue",
        f"{money} / purchases AS average_purchase",
        f"CAST(largest AS DOUBLE) / {scale} AS largest_purchase",
        "purchases_30d",
        f"{recent} / {scale} AS revenue_30d",
        f"CASE WHEN revenue > 0 THEN {recent} / revenue ELSE 0.0 END AS revenue_30d_share",
        "CASE WHEN revenue_30d + revenue_60d > 0"
        f" THEN ({recent} - revenue_60d) / (revenue_30d + revenue_60d) ELSE 0.0 END AS revenue_trend",
        "first_purchase",
        "last_purchase",
        f"{as_of} - {last} AS recency_days",
        f"{as_of} - {first} AS tenure_days",
        f"CASE WHEN active_days > 1 THEN CAST({last} - {first} AS DOUBLE) / (active_days - 1) END AS mean_gap_days",
        "CAST(weekend AS DOUBLE) / purchases AS weekend_share",
        "f.code AS favourite_package",
        f"CAST({dialect.whole('favourite', 4294967296)} AS DOUBLE) / purchases AS favourite_share",
    ]
    for name, published in (
        ("tier", "mean_price_tier"),
        ("validity_days", "mean_validity_days"),
        ("quota_mb_per_day", "mean_quota_mb_per_day"),
        ("speed_mbps", "mean_speed_mbps"),
    ):
        columns.append(f"CAST({name}_sum AS DOUBLE) / {name}_times AS {published}")
    for slot, (_, name) in enumerate(job["channels"]):
        columns.append(f"CAST(channel_{slot} AS DOUBLE) / purchases AS {name}")
    for kind, values in (("service", job["services"]), ("charging", job["charging"])):
        for slot, (_, name) in enumerate(values):
            columns.append(f"CASE WHEN part > 0 THEN CAST({kind}_{slot} AS DOUBLE) / part ELSE 0.0 END AS {name}")
    return (
        f"SELECT {', '.join(columns)} FROM {customers} a JOIN {mix} m ON a.c = m.c"
        f" JOIN {packages} f ON f.package = 4294967295 - m.favourite % 4294967296"
    )


def text(value):
    """A value as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"
