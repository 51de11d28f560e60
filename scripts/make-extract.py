#!/usr/bin/env python3
"""Makes tests/data/online_retail.csv: about 300 whole customers of UCI Online Retail.

    python3 scripts/make-extract.py ../shared/data/online_retail/transactions.parquet tests/data/online_retail.csv

Customers are taken by a hash of their number, so that the same ones are taken every time. Needs pyarrow.
"""

import csv
import sys
import zlib

import pyarrow.parquet as parquet

SHARE = 15  # one customer in so many,
PART = 7  # those whose hash leaves this remainder
COLUMNS = ["customer_id", "package_code", "buy_date", "channel", "price", "quantity"]


def main(source: str, target: str) -> None:
    rows = parquet.read_table(source, columns=COLUMNS).to_pylist()
    rows = [row for row in rows if zlib.crc32(str(row["customer_id"]).encode()) % SHARE == PART]
    rows.sort(key=lambda row: (row["buy_date"], row["customer_id"], row["package_code"], row["price"]))
    with open(target, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        for row in rows:
            time = row["buy_date"].strftime("%Y-%m-%d %H:%M:%S")
            price, quantity = round(row["price"], 2), row["quantity"]
            quantity = int(quantity) if quantity == int(quantity) else quantity
            out.writerow(
                [row["customer_id"], row["package_code"], time, row["channel"], f"{price:.2f}", quantity]
            )
    print(f"{len(rows)} rows of {len({row['customer_id'] for row in rows})} customers in {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
