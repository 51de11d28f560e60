//! Real shops. The extract of Online Retail is always there; the whole sets are read where
//! `../shared/data` holds them.
//!
//! The figures come from the files by another engine, DuckDB:
//! ```sql
//! SELECT count(*), count(DISTINCT customer_id), count(DISTINCT package_code),
//!        sum(CAST(round(price * 100) AS BIGINT)), count(*) FILTER (price < 0 OR quantity < 0),
//!        count(DISTINCT (customer_id, package_code)), CAST(max(buy_date) AS DATE)
//! FROM '<file>';
//! SELECT sum(n - 1) FROM (SELECT count(*) AS n FROM '<file>'
//!        GROUP BY customer_id, package_code, buy_date, channel, price, quantity);
//! SELECT customer_id, count(*) FILTER (price >= 0 AND quantity >= 0), sum(CAST(round(price * 100) AS BIGINT)) AS m
//! FROM '<file>' GROUP BY 1 ORDER BY 3 DESC LIMIT 1;
//! ```

use crate::support::{Shop, cell, column, floats, integers, measure, texts};
use packwise::runs::manifest::Manifest;
use std::path::{Path, PathBuf};

/// What another engine found in a set.
struct Facts {
    rows: u64,
    customers: u64,
    packages: u64,
    /// Minor units.
    revenue: i64,
    returns: u64,
    customer_packages: u64,
    duplicates: u64,
    last_day: &'static str,
    /// The customer with most revenue, with purchases and minor units.
    best: (&'static str, i64, i64),
}

const EXTRACT: Facts = Facts {
    rows: 22_964,
    customers: 298,
    packages: 2_711,
    revenue: 44_506_966,
    returns: 438,
    customer_packages: 16_378,
    duplicates: 259,
    last_day: "2011-12-08",
    best: ("17949", 70, 5_275_084),
};

const ONLINE_RETAIL: Facts = Facts {
    rows: 406_829,
    customers: 4_372,
    packages: 3_684,
    revenue: 830_006_581,
    returns: 8_905,
    customer_packages: 267_615,
    duplicates: 5_267,
    last_day: "2011-12-09",
    best: ("14646", 2_080, 27_948_902),
};

const TAFENG: Facts = Facts {
    rows: 817_741,
    customers: 32_266,
    packages: 23_812,
    revenue: 10_784_007_600,
    returns: 0,
    customer_packages: 743_228,
    duplicates: 0,
    last_day: "2001-02-28",
    best: ("1622362", 65, 45_977_100),
};

const TAFENG_SUBCLASS: Facts =
    Facts { packages: 2_012, customer_packages: 573_093, duplicates: 40_223, ..TAFENG };

const CDNOW: Facts = Facts {
    rows: 69_659,
    customers: 23_570,
    packages: 1,
    revenue: 250_031_563,
    returns: 0,
    customer_packages: 23_570,
    duplicates: 255,
    last_day: "1998-06-30",
    best: ("7592", 201, 1_399_093),
};

fn in_repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A run agrees with what another engine says of its input, in the report and in the published tables.
fn assert_facts(shop: &Shop, run: &Manifest, facts: &Facts) {
    assert_eq!(measure(run, "rows"), Some(facts.rows as f64));
    assert_eq!(measure(run, "rejected rows"), Some(0.0));
    assert_eq!(measure(run, "exact duplicates"), Some(facts.duplicates as f64));
    assert_eq!(run.quality.customers, facts.customers);
    assert_eq!(run.quality.purchases, (facts.rows - facts.returns) as i64);
    assert_eq!((run.quality.revenue * 100.0).round() as i64, facts.revenue);
    assert_eq!(run.as_of, facts.last_day);
    for (table, rows) in [
        ("customer_features", facts.customers),
        ("customer_segments", facts.customers),
        ("customer_packages", facts.customer_packages),
        ("packages", facts.packages),
    ] {
        assert_eq!(run.tables[table].rows, rows, "{table}");
    }
    let features = shop.table(run, "customer_features");
    let minor = |table: &str| {
        let values = floats(&shop.table(run, table), "revenue");
        values.iter().flatten().map(|value| (value * 100.0).round() as i64).sum::<i64>()
    };
    for table in ["customer_features", "customer_packages", "packages"] {
        assert_eq!(minor(table), facts.revenue, "{table}");
    }
    let purchases: i64 = integers(&features, "purchases").iter().flatten().sum();
    assert_eq!(purchases, run.quality.purchases);
    let (id, times, revenue) = facts.best;
    let row = texts(&features, "customer_id").iter().position(|found| found == id).unwrap();
    assert_eq!(integers(&features, "purchases").value(row), times);
    assert_eq!((floats(&features, "revenue").value(row) * 100.0).round() as i64, revenue);
    assert_offers(shop, run);
}

/// Every customer has offers or a stated shortfall; none is offered a package twice.
fn assert_offers(shop: &Shop, run: &Manifest) {
    let offers = shop.table(run, "recommendations");
    let shortfalls = shop.table(run, "recommendation_shortfalls");
    let missing: i64 = integers(&shortfalls, "wanted").iter().flatten().sum::<i64>()
        - integers(&shortfalls, "offers").iter().flatten().sum::<i64>();
    assert_eq!(offers.num_rows() as i64 + missing, 10 * run.quality.customers as i64);
    let mut pairs: Vec<(String, String)> =
        texts(&offers, "customer_id").into_iter().zip(texts(&offers, "package_code")).collect();
    pairs.sort();
    pairs.dedup();
    assert_eq!(pairs.len(), offers.num_rows());
    let scores = floats(&offers, "score");
    assert!(scores.iter().flatten().all(|score| (0.0..=1.0).contains(&score)));
    let ranks = integers(&offers, "rank");
    for row in 1..offers.num_rows() {
        let same = cell(column(&offers, "customer_id"), row) == cell(column(&offers, "customer_id"), row - 1);
        assert_eq!(ranks.value(row), if same { ranks.value(row - 1) + 1 } else { 1 });
        assert!(!same || scores.value(row) <= scores.value(row - 1));
    }
}

/// A whole set of `../shared/data`, if it is there.
fn whole_set(name: &str, facts: &Facts) {
    let file = in_repository("../shared/data").join(name).join("transactions.parquet");
    if !file.is_file() {
        eprintln!("skipped: {} is not there", file.display());
        return;
    }
    let shop = Shop::new();
    let path = format!("transactions.path={}", file.display());
    let run = shop.run(&[
        &path,
        "transactions.columns.customer=customer_id",
        "transactions.columns.package=package_code",
        "transactions.columns.time=buy_date",
        "transactions.columns.channel=channel",
        "transactions.columns.amount=price",
        "transactions.columns.quantity=quantity",
        "segments.k=6",
    ]);
    assert_facts(&shop, &run, facts);
}

#[test]
fn online_retail() {
    whole_set("online_retail", &ONLINE_RETAIL);
}

#[test]
fn tafeng() {
    whole_set("tafeng", &TAFENG);
}

#[test]
fn tafeng_subclass() {
    whole_set("tafeng_subclass", &TAFENG_SUBCLASS);
}

#[test]
fn cdnow() {
    whole_set("cdnow", &CDNOW);
}

/// `config/retail.toml` runs as it is, from the root of the repository.
#[test]
fn the_retail_example_runs_on_the_extract() {
    let shop = Shop::new();
    std::fs::create_dir_all(shop.path("tests/data")).unwrap();
    for name in ["tests/data/online_retail.csv", "config/retail.toml"] {
        shop.write(name, std::fs::read(in_repository(name)).unwrap());
    }
    let said = shop.ok(&["run", "-c", "config/retail.toml"]);
    assert!(said.contains("GBP") && said.contains("published "), "{said}");
    let said = shop.ok(&["run", "-c", "config/retail.toml", "--json", "--set", "output.path=out"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let run = shop.manifest("out", said["run_id"].as_str().unwrap());
    assert_facts(&shop, &run, &EXTRACT);
    assert_eq!(measure(&run, "channels"), Some(11.0));
}
