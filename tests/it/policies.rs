//! Rows that are not plain purchases: quarantine, returns, duplicates, money from here or there; and what
//! the catalogue says.

use crate::support::write_parquet;
use crate::support::{
    CATALOGUE, FIRST_DAY, Ids, Purchase, Shop, assert_same, batch, catalogue, cell, column,
};
use crate::support::{floats, integers, iso, lines, measure, measure_text, purchases, replace, texts};
use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, RecordBatch, StringArray};
use std::sync::Arc;

const HEAD: &str = "MSISDN,PACKAGE_CODE,BUY_DATE,CHANNEL,AMOUNT,QUANTITY";

fn rows() -> Vec<Purchase> {
    purchases(400, 11)
}

#[test]
fn a_csv_catalogue_is_the_same_as_a_parquet_one() {
    let shop = Shop::new();
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&rows(), Ids::Digits));
    shop.configure(CATALOGUE);
    shop.stock(&catalogue());
    let parquet = shop.run(&[]);
    let packages = shop.table(&parquet, "packages");
    // As written: 500 MB for a month, 1.5 GB for 7 days, 2048 (MB) for 30 days, unlimited for a week.
    let first = |name: &str| (0..4).map(|row| cell(column(&packages, name), row)).collect::<Vec<_>>();
    assert_eq!(first("quota_mb"), ["500.0", "1536.0", "2048.0", "inf"]);
    assert_eq!(first("validity_days"), ["30.0", "7.0", "30.0", "7.0"]);
    assert_eq!(first("max_speed_mbps"), ["10.0", "100.0", "0.512", "10.0"]);
    assert_eq!(first("price"), ["4.99", "7.99", "10.0", "12.5"]);
    shop.write("packages.csv", catalogue());
    let csv = shop.run(&["catalogue.path=packages.csv"]);
    assert_same("packages", &lines(&shop.table(&csv, "packages")), &lines(&packages));
}

/// A table of one customer a row, to write rows that are wrong in one way each.
fn odd_rows() -> (RecordBatch, Vec<(&'static str, f64)>) {
    let good = (FIRST_DAY + 1) * 86_400;
    let day = iso(good);
    let cells: Vec<[Option<&str>; 6]> = vec![
        [None, Some("P01"), Some(&day), None, Some("1"), Some("1")],
        [Some("  "), Some("P01"), Some(&day), None, Some("1"), Some("1")],
        [Some("1"), None, Some(&day), None, Some("1"), Some("1")],
        [Some("1"), Some("P01"), None, None, Some("1"), Some("1")],
        [Some("1"), Some("P01"), Some("31.12.2025"), None, Some("1"), Some("1")],
        [Some("1"), Some("P01"), Some("1969-12-31"), None, Some("1"), Some("1")],
        [Some("1"), Some("P01"), Some("2027-06-01"), None, Some("1"), Some("1")],
        [Some("1"), Some("P99"), Some(&day), None, Some("1"), Some("1")],
        [Some("1"), Some("P12"), Some(&day), None, None, Some("1")],
        [Some("1"), Some("P01"), Some(&day), None, Some("1e300"), Some("1")],
        [Some("1"), Some("P01"), Some(&day), None, Some("many"), Some("1")],
        [Some("1"), Some("P01"), Some(&day), None, Some("1"), Some("NaN")],
        [Some("1"), Some("P01"), Some(&day), None, Some("-1"), Some("1")],
        [Some("1"), Some("P01"), Some(&day), None, Some("1"), Some("-1")],
        [Some("1"), Some("P02"), Some(&day), None, None, None],
    ];
    let names: Vec<&str> = HEAD.split(',').collect();
    let columns = names.iter().enumerate().map(|(at, name)| {
        (*name, Arc::new(cells.iter().map(|row| row[at]).collect::<StringArray>()) as ArrayRef, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let reasons = vec![
        ("customer is null or empty", 2.0),
        ("package is null or empty", 1.0),
        ("time is null", 1.0),
        ("time cannot be parsed", 1.0),
        ("time is before 1970 or after 2106", 1.0),
        ("time is after the end of the data", 1.0),
        ("package is not in the catalogue", 1.0),
        ("amount is null and the catalogue has no price", 1.0),
        ("amount is not a number or absurdly large", 2.0),
        ("quantity is not a number or absurdly large", 1.0),
        ("amount or quantity is negative", 2.0),
    ];
    (batch, reasons)
}

#[test]
fn every_reason_for_quarantine_is_counted_and_its_row_kept() {
    let shop = Shop::new();
    shop.configure(CATALOGUE);
    // The last package has no price.
    shop.stock(&catalogue().replace("P12,99,", "P12,,"));
    let (odd, reasons) = odd_rows();
    let mut good = rows();
    good.retain(|row| row.cents > 0 && row.package != "P12");
    for layout in ["text", "large text"] {
        let odd = match layout {
            "text" => odd.clone(),
            _ => {
                let amounts = LargeStringArray::from_iter(column(&odd, "AMOUNT").as_string::<i32>().iter());
                replace(&odd, "AMOUNT", Arc::new(amounts))
            }
        };
        write_parquet(&shop.path("dumps/odd.parquet"), &odd);
        write_parquet(&shop.path("dumps/plain.parquet"), &batch(&good, Ids::Phone));
        for as_of in ["auto", "2026-04-15"] {
            let as_of = format!("transactions.as_of={as_of}");
            let run = shop.run(&["transactions.returns=quarantine", &as_of]);
            for (reason, count) in &reasons {
                assert_eq!(measure(&run, &format!("rejected: {reason}")), Some(*count), "{layout}: {reason}");
            }
            assert_eq!(measure(&run, "rejected rows"), Some(14.0));
            assert_eq!(measure(&run, "valid rows"), Some(good.len() as f64 + 1.0));
            assert_eq!(measure(&run, "rows without an amount"), Some(2.0));
            let quarantine = shop.table(&run, "quarantine");
            assert_eq!(quarantine.num_rows(), 14);
            let found = texts(&quarantine, "reason");
            let row = found.iter().position(|reason| reason == "time cannot be parsed").unwrap();
            assert_eq!(texts(&quarantine, "file")[row], "dumps/odd.parquet");
            assert_eq!(texts(&quarantine, "row")[row], "5");
            assert_eq!(texts(&quarantine, "time")[row], "31.12.2025");
            // The one good row: price of the catalogue, one piece.
            let features = shop.table(&run, "customer_features");
            let row = texts(&features, "customer_id").iter().position(|id| id == "1").unwrap();
            assert_eq!(floats(&features, "revenue").value(row), 7.99);
        }
    }
}

/// Three customers of whom the first returns one of two purchases.
fn with_returns(shop: &Shop, settings: &[&str]) -> (Vec<String>, Option<f64>, Option<f64>) {
    let row = |customer, package, day, cents, quantity| Purchase {
        customer,
        package,
        seconds: (FIRST_DAY + day) * 86_400,
        channel: None,
        cents,
        quantity,
    };
    let mut rows = vec![
        row(0, "P01", 0, 998, 2.0),
        row(0, "P01", 1, -499, -1.0),
        row(0, "P02", 2, 799, 1.0),
        row(0, "P02", 2, 799, 1.0),
        row(1, "P03", 3, -1000, -1.0),
    ];
    rows.extend(purchases(60, 5).into_iter().filter(|row| row.customer > 1 && row.cents > 0));
    write_parquet(&shop.path("dumps/all.parquet"), &batch(&rows, Ids::Digits));
    let run = shop.run(settings);
    let features = shop.table(&run, "customer_features");
    let shown = ["customer_id", "purchases", "units", "revenue"];
    let rows = (0..2)
        .map(|row| shown.iter().map(|name| cell(column(&features, name), row)).collect::<Vec<_>>().join(" "));
    (rows.collect(), measure(&run, "returns left out"), measure(&run, "exact duplicates"))
}

#[test]
fn returns_and_duplicates_follow_their_policies() {
    let shop = Shop::new();
    let net = with_returns(&shop, &[]);
    assert_eq!(net.0, ["100000 3 3.0 20.97", "100001 0 -1.0 -10.0"]);
    assert_eq!((net.1, net.2), (Some(0.0), Some(1.0)));
    let dropped = with_returns(&shop, &["transactions.returns=drop"]);
    assert_eq!(dropped.0[0], "100000 3 4.0 25.96");
    assert!(dropped.0[1].starts_with("100002 "), "{:?}", dropped.0);
    assert_eq!(dropped.1, Some(2.0));
    let held = with_returns(&shop, &["transactions.returns=quarantine"]);
    assert_eq!((&held.0, held.1), (&dropped.0, Some(0.0)));
    let once = with_returns(&shop, &["transactions.duplicates=drop"]);
    assert_eq!(once.0[0], "100000 2 2.0 12.98");
    assert_eq!(once.2, Some(1.0));
}

#[test]
fn a_transaction_id_that_repeats_is_dropped() {
    let shop = Shop::new();
    let rows = rows();
    let mut table = batch(&rows, Ids::Digits);
    // Every fourth row repeats the id of the row before it; some have none.
    let ids: Vec<Option<String>> = (0..rows.len())
        .map(|n| (n % 9 != 8).then(|| format!("t{}", if n % 4 == 3 { n - 1 } else { n })))
        .collect();
    let repeats = (0..rows.len())
        .filter(|n| n % 4 == 3 && n % 9 != 8 && (n - 1) % 9 != 8)
        .filter(|n| rows[*n].customer == rows[n - 1].customer)
        .count();
    table = replace(&table, "CHANNEL", Arc::new(ids.into_iter().collect::<StringArray>()));
    write_parquet(&shop.path("dumps/all.parquet"), &table);
    let run = shop.run(&["transactions.columns.channel=", "transactions.columns.transaction=CHANNEL"]);
    assert!(repeats > 50);
    assert_eq!(measure(&run, "repeated transaction ids dropped"), Some(repeats as f64));
    let kept: i64 = integers(&shop.table(&run, "customer_packages"), "times").iter().flatten().sum();
    assert!(kept <= (rows.len() - repeats) as i64);
}

#[test]
fn money_comes_from_the_line_the_unit_or_the_catalogue_or_not_at_all() {
    let shop = Shop::new();
    let rows = rows();
    let table = batch(&rows, Ids::Digits);
    write_parquet(&shop.path("dumps/all.parquet"), &table);
    let total = rows.iter().map(|row| row.cents).sum::<i64>() as f64 / 100.0;
    let line = shop.run(&[]);
    assert_eq!(line.quality.revenue, total);
    assert_eq!(measure_text(&line, "money").unwrap(), "from the transactions");

    // Prices of one piece: a line is price × quantity, so the sum stays.
    let unit: Vec<f64> = rows.iter().map(|row| row.cents as f64 / 100.0 / row.quantity).collect();
    let unit = replace(&table, "AMOUNT", Arc::new(arrow::array::Float64Array::from(unit)));
    write_parquet(&shop.path("unit/all.parquet"), &unit);
    let by_unit = shop.run(&["transactions.path=unit", "transactions.amount_is=unit"]);
    assert_eq!(by_unit.quality.revenue, total);
    let offers = |run| lines(&shop.table(run, "recommendations"));
    assert_same("price × quantity", &offers(&by_unit), &offers(&line));

    // The catalogue has the prices that the amounts were made of.
    shop.configure(CATALOGUE);
    shop.stock(&catalogue());
    let listed = shop.run(&["transactions.columns.amount="]);
    assert_eq!(listed.quality.revenue, total);

    shop.configure("");
    let nothing = shop.run(&["transactions.columns.amount="]);
    assert_eq!(nothing.quality.revenue, 0.0);
    assert!(measure_text(&nothing, "money").unwrap().contains("relevance only"));
    let said = shop.ok(&["run", "-c", "packwise.toml", "--set", "transactions.columns.amount="]);
    assert!(said.contains("relevance only"), "{said}");
    let offers = shop.table(&nothing, "recommendations");
    assert_eq!(column(&offers, "price").null_count(), offers.num_rows());
    assert_eq!(column(&offers, "expected_revenue").null_count(), offers.num_rows());
}
