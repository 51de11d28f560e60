//! Small groups in published reports, through the program.

use crate::support::{Ids, column, shop};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

const REPORTS: [(&str, &str); 8] = [
    ("segment_profiles", ""),
    ("rfm_segments", ""),
    ("rfm_scores", "measure"),
    ("value_segments", ""),
    ("value_tiers", ""),
    ("value_calibration", "target"),
    ("matrices", "matrix"),
    ("rfm_migration", "to_segment"),
];

/// Counts of customers by line; None: suppressed.
fn counts(batch: &RecordBatch, line: &str) -> Vec<(String, Option<i64>)> {
    let counts = column(batch, "customers").as_primitive::<Int64Type>().clone();
    let name = |row: usize| {
        if line.is_empty() { String::new() } else { crate::support::cell(column(batch, line), row) }
    };
    (0..batch.num_rows()).map(|row| (name(row), counts.is_valid(row).then(|| counts.value(row)))).collect()
}

#[test]
fn no_report_tells_of_a_small_group_nor_lets_it_be_worked_out() {
    let shop = shop(Ids::Integer, 200);
    let open = shop.run(&[]);
    let closed = shop.run(&["privacy.k_min=30"]);
    let mut suppressed = 0;
    for (table, line) in REPORTS {
        let before = shop.table(&open, table);
        assert!(
            counts(&before, line).iter().all(|(_, count)| count.is_some()),
            "{table}: nothing is suppressed by itself"
        );
        let after = shop.table(&closed, table);
        let all = counts(&after, line);
        let names: std::collections::BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
        for name in names {
            let shown: Vec<Option<i64>> =
                all.iter().filter(|(other, _)| other == name).map(|(_, count)| *count).collect();
            let hidden = shown.iter().filter(|count| count.is_none()).count();
            assert!(
                shown.iter().flatten().all(|count| *count == 0 || *count >= 30),
                "{table} {name}: {shown:?}"
            );
            let others = shown.iter().flatten().any(|count| *count > 0);
            assert!(hidden != 1 || !others, "{table} {name}: {shown:?}");
            suppressed += hidden;
        }
        // With the count goes everything that is summed over the group.
        for row in 0..after.num_rows() {
            if column(&after, "customers").is_null(row) && table != "value_calibration" {
                for name in [
                    "customer_share",
                    "share",
                    "revenue",
                    "revenue_share",
                    "value",
                    "mean_recency_days",
                    "description",
                ] {
                    let told = after.column_by_name(name).is_some_and(|cells| cells.is_valid(row));
                    assert!(!told, "{table}.{name}, row {row}");
                }
            }
        }
    }
    assert!(suppressed > 10, "{suppressed}");
    // Nor does the manifest, which `packwise value` prints.
    let (all, told) = (open.quality.value.as_ref().unwrap(), closed.quality.value.as_ref().unwrap());
    let customers = |figures: &packwise::value::report::ValueFigures| -> Vec<u64> {
        let rfm = figures.rfm.iter().map(|line| line.customers);
        rfm.chain(figures.tiers.iter().map(|line| line.customers)).collect()
    };
    assert!(customers(all).iter().any(|count| (1..30).contains(count)), "{:?}", customers(all));
    assert!(customers(told).iter().all(|count| *count == 0 || *count >= 30), "{:?}", customers(told));
    for command in [["value", "-c"], ["runs", "-c"]] {
        let rest: &[&str] = if command[0] == "runs" { &["show", &closed.run_id] } else { &[] };
        shop.ok(&[&command[..], &["packwise.toml"], rest].concat());
    }
    // What customers are offered does not depend on it.
    let rows = |run| crate::support::lines(&shop.table(run, "recommendations"));
    assert_eq!(rows(&open), rows(&closed));
}
