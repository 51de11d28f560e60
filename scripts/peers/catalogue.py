"""The catalogue as numbers, and the job's facts: what every peer is told before its clock starts.

packwise parses the catalogue's texts, finds the last day and chooses the share columns itself, inside its
measured time. Peers get them ready made, which is a matter of milliseconds and in their favour.
"""

import glob
import json
import os
import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

VOLUMES = {"MB": 1.0, "GB": 1024.0, "TB": 1024.0**2}
SPEEDS = {"Kbps": 0.001, "Mbps": 1.0, "Gbps": 1000.0}
MINOR_UNITS = 100
HALF_LIFE_DAYS = 30.0


def slug(value):
    """A value of the data as part of a column name, as packwise spells it."""
    return re.sub(r"[\W_]+", "_", value.lower()).strip("_") or "unnamed"


def quantity(text, units):
    """A number with a unit in units of 1; None for an empty text."""
    if not text:
        return None
    number, unit = text.split()
    return float(number) * units[unit]


def days(text):
    """A validity such as "30 days" in days; None for an empty text."""
    return float(text.split()[0]) if text else None


def clean_packages(rows):
    """The catalogue's rows by code with rank, price in minor units, fifth by price and numbers."""
    rows = sorted(rows, key=lambda row: row["PACKAGE_CODE"])
    prices = sorted(round(row["PRICE"] * MINOR_UNITS) for row in rows)
    clean = []
    for rank, row in enumerate(rows):
        price = round(row["PRICE"] * MINOR_UNITS)
        validity = days(row["VALIDITY"])
        quota = quantity(row["QUOTA"], VOLUMES)
        clean.append(
            {
                "package": rank,
                "code": row["PACKAGE_CODE"],
                "price": price,
                "tier": prices.index(price) * 5 // len(prices) + 1,
                "validity_days": validity,
                "quota_mb_per_day": quota / validity if quota is not None and validity else None,
                "speed_mbps": quantity(row["MAX_SPEED"], SPEEDS),
                "service": row["SERVICE_TYPE"],
                "charging": row["CHARGING_TYPE"],
            }
        )
    return clean


def shares(property_name, values):
    """Pairs of a value and the share column that packwise gives it; at most eight values are expected."""
    names = sorted({value for value in values if value is not None})
    if len(names) > 8:
        raise ValueError(f"{len(names)} values of {property_name}: the peers know columns for 8 at most")
    return [[value, f"{property_name}_{slug(value)}_share"] for value in names]


def describe(data, folder):
    """Writes packages.parquet and job.json for the data set into the folder; returns the job."""
    files = sorted(glob.glob(os.path.join(data, "transactions", "*.parquet")))
    if not files:
        raise FileNotFoundError(f"no Parquet files in {data}/transactions")
    os.makedirs(folder, exist_ok=True)
    packages = clean_packages(pq.read_table(os.path.join(data, "packages.parquet")).to_pylist())
    clean = os.path.join(folder, "packages.parquet")
    pq.write_table(pa.Table.from_pylist(packages), clean)
    first = pc.min(pq.read_table(files[0], columns=["BUY_DATE"])["BUY_DATE"]).as_py()
    last = pc.max(pq.read_table(files[-1], columns=["BUY_DATE"])["BUY_DATE"]).as_py()
    channels = set(pc.unique(pq.read_table(files[0], columns=["CHANNEL"])["CHANNEL"]).to_pylist())
    epoch = type(last)(1970, 1, 1)
    job = {
        "data": os.path.abspath(data),
        "files": [os.path.abspath(file) for file in files],
        "rows": sum(pq.ParquetFile(file).metadata.num_rows for file in files),
        "packages": os.path.abspath(clean),
        "first_day": (first - epoch).days,
        "as_of_day": (last - epoch).days,
        "half_life_days": HALF_LIFE_DAYS,
        "scale": MINOR_UNITS,
        "channels": shares("channel", channels),
        "services": shares("service", [package["service"] for package in packages]),
        "charging": shares("charging", [package["charging"] for package in packages]),
    }
    with open(os.path.join(folder, "job.json"), "w", encoding="utf-8") as out:
        json.dump(job, out, indent=1)
    return job
