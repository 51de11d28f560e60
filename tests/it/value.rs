//! What customers are worth, through the real program: a published table from purchases, and what is said
//! where there is nothing to learn.

use crate::support::{COMMON, Ids, Shop, cell, column, floats, integers, shop, texts};
use arrow::array::{Array, RecordBatch};
use chrono::{Days, NaiveDate};
use packwise::runs::manifest::Manifest;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Equal customers share a row; see the header of the file.
const CDNOW: &str = include_str!("../value/cdnow_sample.csv");
const END: NaiveDate = NaiveDate::from_ymd_opt(1997, 9, 30).unwrap();

const COLUMNS: &str = r#"
[transactions]
path = "purchases.csv"
columns = { customer = "c", package = "p", time = "t", amount = "a" }
"#;

/// Purchases with the histories of the CDNOW sample: the first and last day as they were, those between on
/// the days after the first. Every purchase costs what the number of its customer says.
fn cdnow(holdout: bool) -> (Shop, u64) {
    let mut rows = "c,p,t,a\n".to_owned();
    let mut customers = 0;
    for line in CDNOW.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())) {
        let numbers: Vec<u64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        let [x, t_x, t, later, count] = numbers[..] else { panic!("{line}") };
        for _ in 0..count {
            customers += 1;
            let first = END.checked_sub_days(Days::new(t)).unwrap();
            let mut buy = |day: NaiveDate| {
                writeln!(rows, "{customers},CD,{day}T12:00:00,{}.50", 5 + customers % 40).unwrap();
            };
            buy(first);
            (1..x).for_each(|day| buy(first + Days::new(day)));
            if x > 0 {
                buy(first + Days::new(t_x));
            }
            if holdout {
                (0..later).for_each(|day| buy(END + Days::new(1 + 2 * day)));
            }
        }
    }
    let shop = Shop::new();
    shop.write("packwise.toml", format!("{COLUMNS}{COMMON}"));
    shop.write("purchases.csv", rows);
    (shop, customers)
}

fn parameters(shop: &Shop, run: &Manifest) -> BTreeMap<String, f64> {
    let table = shop.table(run, "value_models");
    let names = texts(&table, "model").into_iter().zip(texts(&table, "parameter"));
    names
        .map(|(model, name)| format!("{model} {name}"))
        .zip(floats(&table, "estimate").values().to_vec())
        .collect()
}

#[test]
fn fader_hardie_lee_2005_cdnow_from_purchases() {
    let (shop, customers) = cdnow(false);
    let run = shop.run(&["transactions.as_of=1997-09-30"]);
    assert_eq!((customers, run.quality.customers), (2_357, 2_357));
    let found = parameters(&shop, &run);
    // Table 2 of the paper, in weeks; alpha here is in days.
    for (name, published) in [("r", 0.243), ("alpha", 4.414 * 7.0), ("a", 0.793), ("b", 2.426)] {
        let own = found[&format!("BG/NBD {name}")];
        assert!((own / published - 1.0).abs() < 2e-3, "{name}: {own}, published {published}");
    }
    let table = shop.table(&run, "value_models");
    let log_likelihood = floats(&table, "log_likelihood").value(0);
    // The density of 2,457 repeat purchases in days instead of weeks.
    let in_weeks = log_likelihood + 2_457.0 * 7f64.ln();
    assert!((in_weeks + 9_582.4).abs() < 0.1, "{in_weeks}");
    assert!(texts(&table, "time_unit").iter().all(|unit| unit == "day"));

    // Customer 1516 of the BTYD vignette: 26 repeat purchases, the last after 216 of 217 days.
    let summary = shop.table(&run, "purchase_summary");
    let at = |x: i64, t_x: i64| {
        let (frequency, recency) = (integers(&summary, "frequency"), integers(&summary, "recency"));
        (0..summary.num_rows()).find(|row| frequency.value(*row) == x && recency.value(*row) == t_x).unwrap()
    };
    let busy = at(26, 216);
    assert_eq!(integers(&summary, "age").value(busy), 217);
    let value = shop.table(&run, "customer_value");
    let alive = floats(&value, "probability_alive").value(busy);
    assert!((alive - 0.968_852_3).abs() < 2e-5, "{alive}");
    let year = floats(&value, "expected_purchases_12m").value(busy);
    // 52 weeks give 25.75659; twelve months are 365.25 days.
    assert!((25.75..25.95).contains(&year), "{year}");
    let sum: f64 = floats(&value, "probability_alive").iter().flatten().sum();
    assert!((sum / 2_357.0 - 0.8134).abs() < 5e-4, "{sum}");

    // Nothing is known of usage without a catalogue, so nobody is said to use little.
    let quadrants = shop.table(&run, "matrices");
    assert!(texts(&quadrants, "matrix").iter().all(|name| name == "Revenue × Tenure"));
    assert_eq!(quadrants.num_rows(), 4);
    assert_eq!(column(&value, "revenue_usage_quadrant").null_count(), value.num_rows());
    assert_eq!(column(&value, "revenue_tenure_quadrant").null_count(), 0);
    let notes = run.quality.value.unwrap().notes;
    let unmade = "Revenue × Usage: not made, nobody has a value for mean_quota_mb_per_day";
    assert!(notes.iter().any(|note| note == unmade), "{notes:?}");
}

#[test]
fn the_holdout_is_predicted_as_published() {
    let (shop, _) = cdnow(true);
    let run = shop.run(&["transactions.as_of=1998-06-30", "value.holdout_days=273"]);
    let table = shop.table(&run, "value_backtest");
    assert_eq!(texts(&table, "method")[0], "model");
    assert_eq!(
        cell(column(&table, "known_until"), 0),
        END.signed_duration_since(NaiveDate::default()).num_days().to_string()
    );
    let of = |name: &str| floats(&table, name).value(0);
    // lifetimes on the same 39 and 39 weeks: bias −12.1 %, MAE .786, RMSE 1.608, correlation .626.
    assert!((of("bias_percent") + 12.1).abs() < 0.3, "{}", of("bias_percent"));
    assert!((of("mae") - 0.786).abs() < 0.003 && (of("rmse") - 1.608).abs() < 0.005);
    assert!((of("correlation") - 0.626).abs() < 0.002);
    assert!((of("recalibration") - 1.0 / (1.0 - 0.121)).abs() < 0.005, "reported, not applied");
    let own_rate = texts(&table, "method").iter().position(|method| method == "own rate").unwrap();
    assert!(floats(&table, "mae").value(own_rate) > 1.0);
    let tenths = shop.table(&run, "value_calibration");
    let customers: i64 = integers(&tenths, "customers").values().iter().sum();
    assert_eq!(customers, 2 * 2_357, "purchases and spend");
}

fn said(table: &RecordBatch, model: &str) -> String {
    let row = texts(table, "model").iter().position(|name| name == model).unwrap();
    texts(table, "note")[row].clone()
}

/// Runs purchases (customer, day of 2026, amount) and gives what the models say.
fn models(rows: &[(u32, u32, f64)], settings: &[&str]) -> (Shop, Manifest, RecordBatch) {
    let shop = Shop::new();
    shop.write("packwise.toml", format!("{COLUMNS}{COMMON}"));
    let mut text = "c,p,t,a\n".to_owned();
    for (customer, day, amount) in rows {
        let date = NaiveDate::from_yo_opt(2026, *day).unwrap();
        writeln!(text, "{customer},A,{date}T10:00:00,{amount}").unwrap();
    }
    shop.write("purchases.csv", text);
    let run = shop.run(settings);
    let table = shop.table(&run, "value_models");
    (shop, run, table)
}

#[test]
fn what_cannot_be_learned_is_said_and_the_rest_is_published() {
    let once: Vec<_> = (1..=60).map(|n| (n, n, 10.0)).collect();
    let (shop, run, table) = models(&once, &[]);
    assert!(said(&table, "BG/NBD").contains("bought a second time"), "{}", said(&table, "BG/NBD"));
    let value = shop.table(&run, "customer_value");
    assert_eq!((value.num_rows(), column(&value, "value").null_count()), (60, 60));
    assert_eq!(shop.table(&run, "rfm").num_rows(), 60);
    assert!(run.tables["recommendations"].rows > 0);
    assert!(shop.ok(&["value", "-c", "packwise.toml"]).contains("note: "));

    let same_day: Vec<_> = (1..=60).map(|n| (n, 50, 10.0)).collect();
    let (_, _, table) = models(&same_day, &[]);
    assert!(said(&table, "BG/NBD").contains("last day"), "{}", said(&table, "BG/NBD"));

    // Days that are all in one month: nobody can come back in another.
    let short: Vec<_> = (0..120).map(|n| (n % 40, 1 + n / 5, 10.0)).collect();
    let (_, run, table) = models(&short, &["value.period=month"]);
    assert!(said(&table, "BG/NBD").len() > 20 && run.quality.value.unwrap().alive.is_none());

    // Equal values: purchases can be predicted, spend has no spread.
    let equal: Vec<_> = (0..300).map(|n| (n % 60, 1 + (n * 7) % 150, 10.0)).collect();
    let (shop, run, table) = models(&equal, &[]);
    assert!(said(&table, "Gamma-Gamma").contains("no spread"), "{}", said(&table, "Gamma-Gamma"));
    let value = shop.table(&run, "customer_value");
    assert_eq!(column(&value, "probability_alive").null_count(), 0);
    assert_eq!(column(&value, "tier").null_count(), value.num_rows());

    // No money left in any repeat purchase.
    let free: Vec<_> = (0..300).map(|n| (n % 60, 1 + (n * 7) % 150, 0.0)).collect();
    let (_, _, table) = models(&free, &[]);
    assert!(said(&table, "Gamma-Gamma").len() > 20);
}

#[test]
fn scores_partition_the_base_and_migration_follows_the_run_before() {
    let shop = shop(Ids::Digits, 800);
    let first = shop.run(&["segments.k=3"]);
    assert_eq!(shop.table(&first, "rfm_migration").num_rows(), 0);
    let rfm = shop.table(&first, "rfm");
    let by_segment = |table: &RecordBatch| {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        texts(table, "segment").into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
        counts
    };
    let profile = shop.table(&first, "rfm_segments");
    assert_eq!(profile.num_rows(), 10);
    let counts = by_segment(&rfm);
    for (name, customers) in
        texts(&profile, "segment").into_iter().zip(integers(&profile, "customers").values())
    {
        assert_eq!(counts.get(&name).copied().unwrap_or(0), *customers, "{name}");
    }
    // Champions by definition.
    let (recency, frequency) = (integers(&rfm, "recency_score"), integers(&rfm, "frequency_score"));
    for (row, name) in texts(&rfm, "segment").iter().enumerate() {
        let best = recency.value(row) == 5 && frequency.value(row) >= 4;
        assert_eq!(name == "Champions", best, "row {row}");
    }
    let quadrants = shop.table(&first, "matrices");
    let all: i64 = integers(&quadrants, "customers").values().iter().sum();
    assert_eq!(all, 2 * rfm.num_rows() as i64, "two matrices");
    let scenarios = shop.table(&first, "matrix_scenarios");
    assert!(
        scenarios.num_rows() > 0
            && (0..scenarios.num_rows()).all(|row| cell(column(&scenarios, "assumed"), row) == "true")
    );
    let tiers = shop.table(&first, "value_tiers");
    assert_eq!(texts(&tiers, "tier"), ["Platinum", "Gold", "Silver", "Bronze"]);

    let second = shop.run(&["segments.k=3"]);
    let migration = shop.table(&second, "rfm_migration");
    let (from, to) = (texts(&migration, "from_segment"), texts(&migration, "to_segment"));
    for (row, customers) in integers(&migration, "customers").values().iter().enumerate() {
        let stayed = if from[row] == to[row] { counts.get(&from[row]).copied().unwrap_or(0) } else { 0 };
        assert_eq!(*customers, stayed, "{} to {}", from[row], to[row]);
    }

    // The run before is damaged: tonight's is published, and says that it could not compare.
    shop.write(&format!("out/runs/{}/manifest.json", second.run_id), "{");
    let third = shop.run(&["segments.k=3"]);
    assert_eq!(shop.table(&third, "rfm_migration").num_rows(), 0);
    let notes = third.quality.value.unwrap().notes;
    let said = notes.iter().any(|note| note.starts_with("moves since the run before: not known"));
    assert!(said && notes.iter().any(|note| note.contains(&second.run_id)), "{notes:?}");
}

#[test]
fn settings_that_cannot_be_used_are_all_named() {
    let shop = Shop::open(50);
    let wrong = [
        "value.period=year",
        "value.horizon_months=0",
        "value.tiers=[{ name = \"All\", share = 0.5 }]",
        "value.rfm.segments=[{ name = \"Few\", r = [1, 2], f = [1, 5] }]",
    ];
    let mut arguments = vec!["run", "-c", "packwise.toml"];
    wrong.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let output = shop.packwise(&arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    for part in ["value.period", "value.horizon_months", "shares sum to 0.5", "R3 F1 is in no segment"] {
        assert!(error.contains(part), "{part} is missing in:\n{error}");
    }
    let off = shop.run(&["value.enabled=false"]);
    assert!(!off.tables.contains_key("customer_value") && off.quality.value.is_none());
    let refused = shop.packwise(&["value", "-c", "packwise.toml"]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("value.enabled = true"));
}
