-- customer_features: how each customer behaves.
-- Grain: one row a customer. Key: customer.
-- Units: money in currency units ($scale minor units each), times in seconds since 1970, shares 0 to 1.
-- Input: transactions (one bucket, sorted by customer and time; see customer_packages.sql), with
--   day          days since 1970
--   first_of_day 1 on the first purchase of a customer's day, else 0
--   channel_slot 1 to 8 for the channels with a column of their own, 9 for others, 0 without
-- customer_packages (the result of customer_packages.sql for the same bucket) and
-- packages (rank, tier, validity, quota per day, speed, and slots of service and charging type).
-- Parameters: $as_of_day last day of the data, $has_money whether amounts are known, $scale.
WITH activity AS (
    -- One pass over the rows. The slots that the data does not use are pruned by the planner.
    SELECT
        customer,
        SUM(CASE WHEN amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS purchases,
        SUM(first_of_day) AS active_days,
        SUM(CAST(quantity AS DOUBLE)) AS units,
        SUM(amount) AS revenue,
        MAX(amount) AS largest,
        SUM(CASE WHEN day > $as_of_day - 30 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END)
            AS purchases_30d,
        SUM(CASE WHEN day > $as_of_day - 30 THEN amount ELSE 0 END) AS revenue_30d,
        SUM(CASE WHEN day <= $as_of_day - 30 AND day > $as_of_day - 60 THEN amount ELSE 0 END)
            AS revenue_60d,
        MIN(seconds) AS first_seconds,
        MAX(seconds) AS last_seconds,
        -- 1970-01-01 was a Thursday: Saturday is day 2 of 7, Sunday day 3.
        SUM(CASE WHEN day % 7 IN (2, 3) AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END)
            AS weekend_purchases,
        SUM(CASE WHEN channel_slot = 1 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_1,
        SUM(CASE WHEN channel_slot = 2 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_2,
        SUM(CASE WHEN channel_slot = 3 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_3,
        SUM(CASE WHEN channel_slot = 4 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_4,
        SUM(CASE WHEN channel_slot = 5 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_5,
        SUM(CASE WHEN channel_slot = 6 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_6,
        SUM(CASE WHEN channel_slot = 7 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_7,
        SUM(CASE WHEN channel_slot = 8 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_8,
        SUM(CASE WHEN channel_slot = 9 AND amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS channel_9
    FROM transactions
    GROUP BY customer
),
bought AS (
    -- What a package counts in the mix: its revenue, or its purchases where no money is known.
    SELECT
        customer,
        package,
        times,
        CAST(CASE WHEN $has_money THEN CASE WHEN revenue > 0 THEN revenue ELSE 0 END ELSE times END AS DOUBLE)
            AS part
    FROM customer_packages
),
mix AS (
    -- One row a customer from its packages and what the catalogue says of them.
    SELECT
        bought.customer,
        SUM(CASE WHEN times > 0 THEN 1 ELSE 0 END) AS distinct_packages,
        -- The package bought most often, ties to the first code: times and package in one number, so
        -- that one maximum finds both.
        MAX(times * 4294967296 + (4294967295 - bought.package)) AS favourite,
        SUM(part) AS part,
        SUM(times * tier) AS tier_sum,
        SUM(CASE WHEN tier IS NOT NULL THEN times ELSE 0 END) AS tier_times,
        SUM(times * validity_days) AS validity_sum,
        SUM(CASE WHEN validity_days IS NOT NULL THEN times ELSE 0 END) AS validity_times,
        SUM(times * quota_mb_per_day) AS quota_sum,
        SUM(CASE WHEN quota_mb_per_day IS NOT NULL THEN times ELSE 0 END) AS quota_times,
        SUM(times * speed_mbps) AS speed_sum,
        SUM(CASE WHEN speed_mbps IS NOT NULL THEN times ELSE 0 END) AS speed_times,
        SUM(CASE WHEN service_slot = 1 THEN part ELSE 0.0 END) AS service_1,
        SUM(CASE WHEN service_slot = 2 THEN part ELSE 0.0 END) AS service_2,
        SUM(CASE WHEN service_slot = 3 THEN part ELSE 0.0 END) AS service_3,
        SUM(CASE WHEN service_slot = 4 THEN part ELSE 0.0 END) AS service_4,
        SUM(CASE WHEN service_slot = 5 THEN part ELSE 0.0 END) AS service_5,
        SUM(CASE WHEN service_slot = 6 THEN part ELSE 0.0 END) AS service_6,
        SUM(CASE WHEN service_slot = 7 THEN part ELSE 0.0 END) AS service_7,
        SUM(CASE WHEN service_slot = 8 THEN part ELSE 0.0 END) AS service_8,
        SUM(CASE WHEN service_slot = 9 THEN part ELSE 0.0 END) AS service_9,
        SUM(CASE WHEN charging_slot = 1 THEN part ELSE 0.0 END) AS charging_1,
        SUM(CASE WHEN charging_slot = 2 THEN part ELSE 0.0 END) AS charging_2,
        SUM(CASE WHEN charging_slot = 3 THEN part ELSE 0.0 END) AS charging_3,
        SUM(CASE WHEN charging_slot = 4 THEN part ELSE 0.0 END) AS charging_4,
        SUM(CASE WHEN charging_slot = 5 THEN part ELSE 0.0 END) AS charging_5,
        SUM(CASE WHEN charging_slot = 6 THEN part ELSE 0.0 END) AS charging_6,
        SUM(CASE WHEN charging_slot = 7 THEN part ELSE 0.0 END) AS charging_7,
        SUM(CASE WHEN charging_slot = 8 THEN part ELSE 0.0 END) AS charging_8,
        SUM(CASE WHEN charging_slot = 9 THEN part ELSE 0.0 END) AS charging_9
    FROM bought
    INNER JOIN packages ON bought.package = packages.package
    GROUP BY bought.customer
)
SELECT
    activity.customer,
    purchases,
    active_days,
    distinct_packages,
    units,
    revenue / $scale AS revenue,
    -- Every ratio has a stated value where there is nothing to divide by: 0.
    CASE WHEN purchases > 0 THEN revenue / $scale / purchases ELSE 0.0 END AS average_purchase,
    largest / $scale AS largest_purchase,
    purchases_30d,
    revenue_30d / $scale AS revenue_30d,
    CASE WHEN revenue > 0 THEN LEAST(GREATEST(revenue_30d / CAST(revenue AS DOUBLE), 0.0), 1.0) ELSE 0.0 END
        AS revenue_30d_share,
    CASE
        WHEN ABS(revenue_30d) + ABS(revenue_60d) > 0
            THEN (revenue_30d - revenue_60d) / CAST(ABS(revenue_30d) + ABS(revenue_60d) AS DOUBLE)
        ELSE 0.0
    END AS revenue_trend,
    first_seconds,
    last_seconds,
    $as_of_day - last_seconds / 86400 AS recency_days,
    $as_of_day - first_seconds / 86400 AS tenure_days,
    -- Null with fewer than two active days: there is no gap to take the mean of.
    CASE
        WHEN active_days > 1
            THEN (last_seconds / 86400 - first_seconds / 86400) / CAST(active_days - 1 AS DOUBLE)
    END AS mean_gap_days,
    CASE WHEN purchases > 0 THEN weekend_purchases / CAST(purchases AS DOUBLE) ELSE 0.0 END AS weekend_share,
    CASE WHEN favourite >= 4294967296 THEN 4294967295 - favourite % 4294967296 END AS favourite_package,
    CASE WHEN purchases > 0 THEN (favourite / 4294967296) / CAST(purchases AS DOUBLE) ELSE 0.0 END
        AS favourite_share,
    CASE WHEN tier_times > 0 THEN tier_sum / CAST(tier_times AS DOUBLE) END AS mean_price_tier,
    CASE WHEN validity_times > 0 THEN validity_sum / validity_times END AS mean_validity_days,
    CASE WHEN quota_times > 0 THEN quota_sum / quota_times END AS mean_quota_mb_per_day,
    CASE WHEN speed_times > 0 THEN speed_sum / speed_times END AS mean_speed_mbps,
    CASE WHEN purchases > 0 THEN channel_1 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_1,
    CASE WHEN purchases > 0 THEN channel_2 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_2,
    CASE WHEN purchases > 0 THEN channel_3 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_3,
    CASE WHEN purchases > 0 THEN channel_4 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_4,
    CASE WHEN purchases > 0 THEN channel_5 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_5,
    CASE WHEN purchases > 0 THEN channel_6 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_6,
    CASE WHEN purchases > 0 THEN channel_7 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_7,
    CASE WHEN purchases > 0 THEN channel_8 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_8,
    CASE WHEN purchases > 0 THEN channel_9 / CAST(purchases AS DOUBLE) ELSE 0.0 END AS channel_9,
    CASE WHEN part > 0 THEN service_1 / part ELSE 0.0 END AS service_1,
    CASE WHEN part > 0 THEN service_2 / part ELSE 0.0 END AS service_2,
    CASE WHEN part > 0 THEN service_3 / part ELSE 0.0 END AS service_3,
    CASE WHEN part > 0 THEN service_4 / part ELSE 0.0 END AS service_4,
    CASE WHEN part > 0 THEN service_5 / part ELSE 0.0 END AS service_5,
    CASE WHEN part > 0 THEN service_6 / part ELSE 0.0 END AS service_6,
    CASE WHEN part > 0 THEN service_7 / part ELSE 0.0 END AS service_7,
    CASE WHEN part > 0 THEN service_8 / part ELSE 0.0 END AS service_8,
    CASE WHEN part > 0 THEN service_9 / part ELSE 0.0 END AS service_9,
    CASE WHEN part > 0 THEN charging_1 / part ELSE 0.0 END AS charging_1,
    CASE WHEN part > 0 THEN charging_2 / part ELSE 0.0 END AS charging_2,
    CASE WHEN part > 0 THEN charging_3 / part ELSE 0.0 END AS charging_3,
    CASE WHEN part > 0 THEN charging_4 / part ELSE 0.0 END AS charging_4,
    CASE WHEN part > 0 THEN charging_5 / part ELSE 0.0 END AS charging_5,
    CASE WHEN part > 0 THEN charging_6 / part ELSE 0.0 END AS charging_6,
    CASE WHEN part > 0 THEN charging_7 / part ELSE 0.0 END AS charging_7,
    CASE WHEN part > 0 THEN charging_8 / part ELSE 0.0 END AS charging_8,
    CASE WHEN part > 0 THEN charging_9 / part ELSE 0.0 END AS charging_9
FROM activity
INNER JOIN mix ON activity.customer = mix.customer
ORDER BY activity.customer
