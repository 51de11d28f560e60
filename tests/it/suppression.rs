//! Small groups in published reports, through the program.

use crate::support::{CATALOGUE, Ids, Shop, batch, catalogue, cell, column, purchases, shop, write_parquet};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use std::collections::BTreeMap;

const REPORTS: [(&str, &str); 8] = [
    ("packages", ""),
    ("segment_profiles", ""),
    ("rfm_segments", ""),
    ("rfm_scores", "measure"),
    ("value_segments", ""),
    ("value_tiers", ""),
    ("value_calibration", "target"),
    ("matrices", "matrix"),
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
            let of_all = counts(&before, line);
            let small =
                of_all.iter().any(|(other, count)| other == name && (1..30).contains(&count.unwrap_or(0)));
            let shown: Vec<Option<i64>> =
                all.iter().filter(|(other, _)| other == name).map(|(_, count)| *count).collect();
            let hidden = shown.iter().filter(|count| count.is_none()).count();
            assert!(
                shown.iter().flatten().all(|count| *count == 0 || *count >= 30),
                "{table} {name}: {shown:?}"
            );
            let others = shown.iter().flatten().any(|count| *count > 0);
            assert!(!small || hidden != 1 || !others, "{table} {name}: {shown:?}");
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
    // What is assumed of a quadrant goes with it.
    let quadrants = |table: &str| -> BTreeMap<String, bool> {
        let rows = shop.table(&closed, table);
        let names =
            |row| format!("{} {}", cell(column(&rows, "matrix"), row), cell(column(&rows, "quadrant"), row));
        let counts = column(&rows, if table == "matrices" { "customers" } else { "customers_converted" });
        (0..rows.num_rows()).map(|row| (names(row), counts.is_null(row))).collect()
    };
    let scenarios = quadrants("matrix_scenarios");
    assert!(
        scenarios.iter().all(|(name, hidden)| quadrants("matrices")[name] == *hidden)
            && !scenarios.is_empty()
    );
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

/// Counts of two runs, a month apart, of customers who move; and which of them k = 30 leaves out.
struct Known {
    /// By name: the true count, and whether it is left out.
    counts: BTreeMap<String, (i64, bool)>,
    /// Sums that are 0 or known: of the first less the second.
    ties: Vec<(Vec<String>, Vec<String>)>,
}

/// What a reader knows who has the published reports of both runs and the configured grid of named segments.
fn reader(
    shop: &Shop,
    open: [&packwise::runs::manifest::Manifest; 2],
    closed: [&packwise::runs::manifest::Manifest; 2],
) -> Known {
    let mut known = Known { counts: BTreeMap::new(), ties: Vec::new() };
    let mut line = |name: &dyn Fn(&RecordBatch, usize) -> String, table: &str, run: usize| -> Vec<String> {
        let (all, told) = (shop.table_in("open", open[run], table), shop.table(closed[run], table));
        let truth = column(&all, "customers").as_primitive::<Int64Type>().clone();
        let rows = (0..all.num_rows()).map(|row| {
            assert_eq!(name(&all, row), name(&told, row));
            known.counts.insert(name(&all, row), (truth.value(row), column(&told, "customers").is_null(row)));
            name(&all, row)
        });
        rows.collect()
    };
    let text = |batch: &RecordBatch, name: &str, row| cell(column(batch, name), row);
    let before = line(&|batch, row| format!("before {}", text(batch, "segment", row)), "rfm_segments", 0);
    let now = line(&|batch, row| format!("now {}", text(batch, "segment", row)), "rfm_segments", 1);
    let score =
        |batch: &RecordBatch, row| format!("{} {}", text(batch, "measure", row), text(batch, "score", row));
    let scores = line(&score, "rfm_scores", 1);
    let way = |batch: &RecordBatch, row| {
        format!("{} > {}", text(batch, "from_segment", row), text(batch, "to_segment", row))
    };
    let moves = line(&way, "rfm_migration", 1);
    let rfm = shop.table_in("open", open[1], "rfm");
    let mut both: BTreeMap<(String, String, String), i64> = BTreeMap::new();
    for row in 0..rfm.num_rows() {
        let of = |name| text(&rfm, name, row);
        *both.entry((of("recency_score"), of("frequency_score"), of("segment"))).or_default() += 1;
    }
    let name = |(recency, frequency, _): &(String, String, String)| format!("R{recency} F{frequency}");
    for (scores, customers) in &both {
        known.counts.insert(name(scores), (*customers, true));
    }
    for segment in &before {
        let out = format!("{} > ", segment.trim_start_matches("before "));
        let ways = moves.iter().filter(|way| way.starts_with(&out)).cloned().collect();
        known.ties.push((ways, vec![segment.clone()]));
    }
    for segment in &now {
        let into = format!(" > {}", segment.trim_start_matches("now "));
        let ways = moves.iter().filter(|way| way.ends_with(&into)).cloned().collect();
        known.ties.push((ways, vec![segment.clone()]));
        let scores =
            both.keys().filter(|(_, _, of)| *of == segment.trim_start_matches("now ")).map(name).collect();
        known.ties.push((scores, vec![segment.clone()]));
    }
    for score in scores.iter().filter(|score| score.starts_with(['R', 'F'])) {
        let is_in = |both: &&(String, String, String)| {
            *score == format!("R {}", both.0) || *score == format!("F {}", both.1)
        };
        known.ties.push((both.keys().filter(is_in).map(name).collect(), vec![score.clone()]));
    }
    for measure in ["R", "F", "M", "L"] {
        let line = scores.iter().filter(|score| score.starts_with(measure)).cloned().collect();
        known.ties.push((line, vec![]));
    }
    known.ties.extend([(before, vec![]), (now, vec![])]);
    known
}

#[test]
fn reports_of_two_runs_together_do_not_tell_of_a_small_group() {
    let shop = Shop::new();
    shop.configure(CATALOGUE);
    shop.stock(&catalogue());
    let all = purchases(260, 4);
    let middle = all.len() / 2;
    let late: Vec<_> = all[middle..].to_vec();
    let mut runs = Vec::new();
    for dump in ["first", "second"] {
        let rows = if dump == "first" { &all[..middle] } else { &late };
        write_parquet(&shop.path(&format!("dumps/{dump}.parquet")), &batch(rows, Ids::Integer));
        let open = shop.run(&["output.path=open"]);
        runs.push((open, shop.run(&["privacy.k_min=30"])));
    }
    let known = reader(&shop, [&runs[0].0, &runs[1].0], [&runs[0].1, &runs[1].1]);
    let moved = known.counts.iter().filter(|(name, (count, _))| name.contains(" > ") && *count > 0).count();
    assert!(moved > 20, "customers move: {moved}");
    let hidden: Vec<&String> = known
        .counts
        .iter()
        .filter(|(_, (count, hidden))| *hidden && *count > 0)
        .map(|(name, _)| name)
        .collect();
    let rows: Vec<Vec<f64>> = known
        .ties
        .iter()
        .map(|(plus, minus)| {
            hidden
                .iter()
                .map(|name| {
                    f64::from(u8::from(plus.contains(name))) - f64::from(u8::from(minus.contains(name)))
                })
                .collect()
        })
        .collect();
    let rank = rank(rows.clone());
    assert!(rank > 5, "{rank}");
    for (at, name) in hidden.iter().enumerate().filter(|(_, name)| known.counts[**name].0 < 30) {
        let mut alone = vec![0.0; hidden.len()];
        alone[at] = 1.0;
        let with = rows.iter().cloned().chain([alone]).collect();
        assert!(self::rank(with) > rank, "{name}, {} customers, follows", known.counts[*name].0);
    }
}

/// By Gaussian elimination.
fn rank(mut rows: Vec<Vec<f64>>) -> usize {
    let mut rank = 0;
    for column in 0..rows.first().map_or(0, Vec::len) {
        let best =
            (rank..rows.len()).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()));
        let Some(pivot) = best.filter(|row| rows[*row][column].abs() > 1e-9) else { continue };
        rows.swap(rank, pivot);
        let (done, rest) = rows.split_at_mut(rank + 1);
        for row in rest {
            let factor = row[column] / done[rank][column];
            row.iter_mut().zip(&done[rank]).for_each(|(value, pivot)| *value -= factor * pivot);
        }
        rank += 1;
    }
    rank
}
