//! Small groups in reports: their figures are left out, and so many more that nothing gives them away.
//!
//! A table of groups is cut into lines whose totals are known elsewhere: all segments, say, whose customers sum to all
//! customers. A group of fewer than k customers is suppressed. If that leaves one suppressed group in a line, its
//! count is the total less the others; so the next smallest goes as well, until at least two are hidden that hold k
//! customers together. Nobody is in an empty group, so it stays. (Primary and complementary cell suppression: Willenborg
//! and de Waal, Elements of Statistical Disclosure Control, 2001, chapter 5.)

use crate::tables::{self, Table};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::nullif;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::collections::{BTreeMap, BTreeSet};

/// A table with figures of groups of customers.
struct Report {
    table: &'static Table,
    /// The column with the number of customers.
    count: &'static str,
    /// Every entry cuts the table into lines with known totals: rows that have the same values in these columns.
    lines: &'static [&'static [&'static str]],
    /// Columns that say what the group is, and nothing of who is in it.
    names: &'static [&'static str],
    /// A report written before whose hidden groups are hidden here too, and the columns that name a group there and
    /// here.
    follows: Option<(&'static Table, &'static [&'static str], &'static [&'static str])>,
}

const fn of(
    table: &'static Table,
    lines: &'static [&'static [&'static str]],
    names: &'static [&'static str],
) -> Report {
    Report { table, count: "customers", lines, names, follows: None }
}

/// All customers are one line.
const ALL: &[&[&str]] = &[&[]];

const REPORTS: [Report; 9] = [
    of(&tables::SEGMENT_PROFILES, ALL, &["segment"]),
    of(&tables::RFM_SEGMENTS, ALL, &["segment_number", "segment", "action"]),
    of(&tables::RFM_SCORES, &[&["measure"]], &["measure", "score"]),
    Report {
        // The ways into a segment sum to its customers.
        follows: Some((&tables::RFM_SEGMENTS, &["segment"], &["to_segment"])),
        ..of(&tables::RFM_MIGRATION, &[&["from_segment"], &["to_segment"]], &["from_segment", "to_segment"])
    },
    of(&tables::VALUE_SEGMENTS, ALL, &["segment"]),
    of(&tables::VALUE_TIERS, ALL, &["tier", "share_asked_for"]),
    of(&tables::VALUE_CALIBRATION, &[&["target"]], &["target", "tenth", "above"]),
    of(
        &tables::MATRICES,
        // Two quadrants make a half, whose size the median gives away.
        &[&["matrix"], &["matrix", "high_x"], &["matrix", "high_y"]],
        &["matrix", "quadrant", "strategy", "x", "high_x", "x_threshold", "y", "high_y", "y_threshold"],
    ),
    Report {
        table: &tables::MATRIX_SCENARIOS,
        count: "customers_converted",
        lines: &[&["matrix", "conversion"]],
        names: &["matrix", "quadrant", "strategy", "conversion", "uplift", "assumed"],
        follows: Some((&tables::MATRICES, &["matrix", "quadrant"], &["matrix", "quadrant"])),
    },
];

/// The suppression of all reports of a run.
#[derive(Debug, Default)]
pub struct Suppression {
    /// Groups of fewer customers are small.
    k: u64,
    /// Names of the hidden groups of each report so far.
    hidden: BTreeMap<&'static str, BTreeSet<Vec<String>>>,
}

impl Suppression {
    pub fn new(k: u64) -> Self {
        Self { k, hidden: BTreeMap::new() }
    }

    /// A report without what would tell of small groups; other tables as they are.
    pub fn apply(&mut self, table: &Table, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let report = REPORTS.iter().find(|report| report.table.name == table.name);
        let Some(report) = report.filter(|_| self.k > 1) else { return Ok(batch) };
        let mut hidden = groups(report, &batch, self.k)?;
        if let Some((before, _, columns)) = report.follows
            && let Some(names) = self.hidden.get(before.name)
        {
            for (hidden, name) in hidden.iter_mut().zip(named(&batch, columns)?) {
                *hidden |= names.contains(&name);
            }
        }
        for follower in REPORTS.iter() {
            if let Some((_, columns, _)) = follower.follows.filter(|(before, ..)| before.name == table.name) {
                let names = named(&batch, columns)?.into_iter().zip(&hidden);
                let names = names.filter(|(_, hidden)| **hidden).map(|(name, _)| name);
                self.hidden.entry(report.table.name).or_default().extend(names);
            }
        }
        without(report, &batch, hidden)
    }
}

/// Which rows of a report are hidden by its own counts.
fn groups(report: &Report, batch: &RecordBatch, k: u64) -> Result<Vec<bool>, ArrowError> {
    let Some(counts) = batch.column_by_name(report.count) else { return Ok(vec![false; batch.num_rows()]) };
    let counts: Vec<u64> = counts
        .as_primitive::<Int64Type>()
        .values()
        .iter()
        .map(|count| u64::try_from(*count).unwrap_or(0))
        .collect();
    let lines: Vec<Vec<Vec<usize>>> =
        report.lines.iter().map(|columns| lines(batch, columns)).collect::<Result<_, _>>()?;
    Ok(hidden(&counts, &lines.concat(), k))
}

/// The report with nulls in place of what tells of hidden groups.
fn without(report: &Report, batch: &RecordBatch, hidden: Vec<bool>) -> Result<RecordBatch, ArrowError> {
    let hidden = BooleanArray::from(hidden);
    let schema = batch.schema();
    let columns =
        schema.fields().iter().zip(batch.columns()).map(|(field, column)| -> Result<ArrayRef, ArrowError> {
            match report.names.contains(&field.name().as_str()) {
                true => Ok(column.clone()),
                false => nullif(column.as_ref(), &hidden),
            }
        });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

/// Which of some groups with a known total are left out.
pub fn hidden_groups(counts: &[u64], k: u64) -> Vec<bool> {
    hidden(counts, &[(0..counts.len()).collect()], k)
}

/// The values of every row in some columns, as text.
fn named(batch: &RecordBatch, columns: &[&str]) -> Result<Vec<Vec<String>>, ArrowError> {
    let arrays = columns.iter().filter_map(|name| batch.column_by_name(name));
    let texts = arrays.map(|array| ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    Ok((0..batch.num_rows())
        .map(|row| texts.iter().map(|text| text.value(row).to_string()).collect())
        .collect())
}

/// Rows that have the same values in some columns.
fn lines(batch: &RecordBatch, columns: &[&str]) -> Result<Vec<Vec<usize>>, ArrowError> {
    let arrays: Vec<&ArrayRef> = columns.iter().filter_map(|name| batch.column_by_name(name)).collect();
    let texts: Vec<ArrayFormatter> = arrays
        .iter()
        .map(|array| ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()))
        .collect::<Result<_, _>>()?;
    let mut lines: BTreeMap<Vec<Option<String>>, Vec<usize>> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let values = arrays.iter().zip(&texts);
        let name =
            values.map(|(array, text)| array.is_valid(row).then(|| text.value(row).to_string())).collect();
        lines.entry(name).or_default().push(row);
    }
    Ok(lines.into_values().collect())
}

/// Which groups are suppressed: of every line none, or at least two with `k` customers together.
fn hidden(counts: &[u64], lines: &[Vec<usize>], k: u64) -> Vec<bool> {
    let mut hidden: Vec<bool> = counts.iter().map(|count| (1..k).contains(count)).collect();
    loop {
        let mut next = None;
        for line in lines {
            let out = || line.iter().copied().filter(|row| hidden[*row]);
            let sum: u64 = out().map(|row| counts[row]).sum();
            if out().count() == 0 || (out().count() >= 2 && sum >= k) {
                continue;
            }
            // The smallest that is left; of equals the first. A line without any has nothing more to give away.
            let left = line.iter().copied().filter(|row| !hidden[*row] && counts[*row] > 0);
            next = left.min_by_key(|row| (counts[*row], *row));
            if next.is_some() {
                break;
            }
        }
        match next {
            Some(row) => hidden[row] = true,
            None => return hidden,
        }
    }
}

/// Whether every column that may be hidden can be null.
#[cfg(test)]
fn can_be_null(report: &Report) -> bool {
    let columns = report.table.columns.iter().filter(|column| !report.names.contains(&column.name));
    columns.into_iter().all(|column| column.nullable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_groups_go_with_the_next_smallest() {
        let all = |counts: &[u64]| vec![(0..counts.len()).collect::<Vec<_>>()];
        let of = |counts: &[u64]| hidden(counts, &all(counts), 10);
        assert_eq!(of(&[100, 50, 10]), [false, false, false]);
        assert_eq!(of(&[100, 3, 50]), [false, true, true], "one alone would be the rest");
        assert_eq!(of(&[100, 3, 4, 50]), [false, true, true, true], "3 and 4 are 7 together");
        assert_eq!(of(&[100, 6, 5, 50]), [false, true, true, false]);
        assert_eq!(of(&[100, 0, 50]), [false, false, false], "nobody is in an empty group");
        assert_eq!(of(&[3]), [true], "a single group has no other to hide with");
    }

    #[test]
    fn both_ways_of_a_table_of_moves_are_covered() {
        // from A and B to A and B
        let counts = [40, 3, 30, 50];
        let lines = vec![vec![0, 1], vec![2, 3], vec![0, 2], vec![1, 3]];
        assert_eq!(hidden(&counts, &lines, 10), [true; 4]);
    }

    #[test]
    fn all_that_may_be_hidden_can_be_null() {
        for report in &REPORTS {
            assert!(can_be_null(report), "{}", report.table.name);
            let names =
                report.names.iter().chain(report.lines.iter().copied().flatten()).chain([&report.count]);
            for name in names {
                assert!(report.table.columns.iter().any(|column| column.name == *name), "{name}");
            }
        }
    }

    proptest! {
        /// What a reader can work out of a line is at most the sum of what is hidden in it: it must not be a small
        /// group, nor a single one.
        #[test]
        fn no_line_gives_a_small_group_away(
            counts in prop::collection::vec(0u64..40, 1..60), width in 1usize..8, k in 2u64..20,
        ) {
            let rows = (0..counts.len()).fold(BTreeMap::<usize, Vec<usize>>::new(), |mut lines, cell| {
                lines.entry(cell / width).or_default().push(cell);
                lines
            });
            let columns = (0..counts.len()).fold(BTreeMap::<usize, Vec<usize>>::new(), |mut lines, cell| {
                lines.entry(cell % width).or_default().push(cell);
                lines
            });
            let lines: Vec<Vec<usize>> = rows.into_values().chain(columns.into_values()).collect();
            let found = hidden(&counts, &lines, k);
            for (cell, count) in counts.iter().enumerate() {
                prop_assert!(found[cell] || *count == 0 || *count >= k);
                prop_assert!(!found[cell] || *count > 0);
            }
            for line in &lines {
                let out: Vec<u64> = line.iter().filter(|cell| found[**cell]).map(|cell| counts[*cell]).collect();
                let shown = line.iter().filter(|cell| !found[**cell] && counts[**cell] > 0).count();
                let safe = out.is_empty() || (out.len() >= 2 && out.iter().sum::<u64>() >= k);
                prop_assert!(safe || shown == 0, "{out:?} of {line:?}");
            }
        }
    }
}
