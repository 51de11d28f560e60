-- customer_packages: what each customer bought of each package.
-- Grain: one row a customer and package. Key: customer, package.
-- Units: revenue in minor units of money; first and last in seconds since 1970.
-- Input: transactions (one bucket, sorted by customer and time):
--   customer  number of the customer within the bucket
--   package   rank of the package code
--   amount    minor units of the line, negative for a return
--   quantity  pieces, negative for a return
--   seconds   time of the purchase
--   decay     weight of the row by its age: halves every features.half_life_days
--   first_of_package_day  1 on the first purchase of a package on a customer's day, else 0
SELECT
    customer,
    package,
    -- A return takes money off but is no purchase.
    SUM(CASE WHEN amount >= 0 AND quantity >= 0 THEN 1 ELSE 0 END) AS times,
    -- Habits are counted in days: three of a package in one basket are one decision to buy it.
    SUM(first_of_package_day) AS days,
    SUM(amount) AS revenue,
    MIN(seconds) AS first_seconds,
    MAX(seconds) AS last_seconds,
    -- Rows come in the order of time, so this floating-point sum has one value only.
    SUM(CASE WHEN first_of_package_day = 1 THEN decay ELSE 0.0 END) AS weight
FROM transactions
GROUP BY customer, package
ORDER BY customer, package
