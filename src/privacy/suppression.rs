//! Small groups in reports: their figures are left out, and so many more that nothing gives them away.
//!
//! All reports of a run are looked at together, because they are about the same customers: what one hides another could
//! tell. [`closure`] finds which groups have to go; here is what the reports are and what ties them.

pub mod closure;

use crate::tables::{self, Table};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::nullif;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use closure::Counts;
use std::collections::{BTreeMap, BTreeSet};

/// A table with figures of groups of customers, counted in its column `customers`.
struct Report {
    table: &'static Table,
    /// Every entry cuts the table into lines with known totals: rows that have the same values in these columns.
    lines: &'static [&'static [&'static str]],
    /// Columns that say what the group is, and nothing of who is in it.
    names: &'static [&'static str],
    /// More counts of customers, with totals that nobody knows.
    counts: &'static [&'static str],
}

const fn of(
    table: &'static Table,
    lines: &'static [&'static [&'static str]],
    names: &'static [&'static str],
) -> Report {
    Report { table, lines, names, counts: &[] }
}

/// All customers are one line.
const ALL: &[&[&str]] = &[&[]];
const OF_QUADRANT: &[&str] = &["matrix", "quadrant"];

const REPORTS: [Report; 9] = [
    // Purchases have a known total, and those of a package with few customers are theirs.
    of(
        &tables::PACKAGES,
        ALL,
        &[
            "package_code",
            "price",
            "price_tier",
            "quota_mb",
            "max_speed_mbps",
            "min_speed_mbps",
            "service_type",
            "charging_type",
            "validity_days",
            "retired",
        ],
    ),
    of(&tables::SEGMENT_PROFILES, ALL, &["segment"]),
    of(&tables::RFM_SEGMENTS, ALL, &["segment_number", "segment", "action"]),
    of(&tables::RFM_SCORES, &[&["measure"]], &["measure", "score"]),
    // Its lines depend on what else is known: see `tie_moves`.
    of(&tables::RFM_MIGRATION, &[], &["from_segment", "to_segment"]),
    of(&tables::VALUE_SEGMENTS, ALL, &["segment"]),
    of(&tables::VALUE_TIERS, ALL, &["tier", "share_asked_for"]),
    of(&tables::VALUE_CALIBRATION, &[&["target"]], &["target", "tenth", "above"]),
    Report {
        counts: &["without_x", "without_y"],
        ..of(
            &tables::MATRICES,
            // Two quadrants make a half, whose size the median gives away.
            &[&["matrix"], &["matrix", "high_x"], &["matrix", "high_y"]],
            &["matrix", "quadrant", "strategy", "x", "high_x", "x_threshold", "y", "high_y", "y_threshold"],
        )
    },
];

/// What is assumed of a quadrant's customers goes with the quadrant.
const SCENARIOS: Report = of(
    &tables::MATRIX_SCENARIOS,
    &[],
    &["matrix", "quadrant", "strategy", "conversion", "uplift", "assumed"],
);

/// What ties the groups of one report to those of another, or of the run before.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// Customers by their scores of recency and frequency.
    pub combinations: Vec<Combination>,
    /// Named segments that the run before left out.
    pub hidden_before: BTreeSet<String>,
}

/// The customers with a score of recency and one of frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Combination {
    /// 1 to 5.
    pub recency: u8,
    pub frequency: u8,
    /// The named segment, from 0.
    pub segment: usize,
    pub customers: u64,
}

/// The rows that reports leave out.
#[derive(Debug, Clone, Default)]
pub struct Hidden {
    by_report: BTreeMap<&'static str, Vec<bool>>,
    k: u64,
}

impl Hidden {
    /// What the reports of a run must leave out so that no group of fewer than `k` customers is told of; nothing below 2.
    pub fn new(reports: &[(&'static Table, RecordBatch)], links: &Links, k: u64) -> Result<Self, ArrowError> {
        if k < 2 {
            return Ok(Self::default());
        }
        let batch = |table: &Table| {
            reports.iter().find(|(other, _)| other.name == table.name).map(|(_, batch)| batch)
        };
        let mut counts = Counts::default();
        let mut cells: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for report in &REPORTS {
            let Some(batch) = batch(report.table) else { continue };
            let rows: Vec<usize> = customers(batch).into_iter().map(|count| counts.add(count)).collect();
            for columns in report.lines {
                for line in lines(batch, columns)? {
                    counts.total(line.into_iter().map(|row| rows[row]).collect());
                }
            }
            cells.insert(report.table.name, rows);
        }
        let of = |table: &Table| cells.get(table.name).map_or(&[][..], Vec::as_slice);
        let segments = of(&tables::RFM_SEGMENTS);
        if let (Some(names), Some(moves)) = (batch(&tables::RFM_SEGMENTS), batch(&tables::RFM_MIGRATION)) {
            let names = values(names, &["segment"])?;
            let segments = names.into_iter().flatten().flatten().zip(segments.iter().copied()).collect();
            tie_moves(&mut counts, moves, of(&tables::RFM_MIGRATION), &segments, &links.hidden_before)?;
        }
        if let Some(scores) = batch(&tables::RFM_SCORES) {
            tie_scores(&mut counts, scores, of(&tables::RFM_SCORES), segments, &links.combinations)?;
        }
        let is_hidden = counts.hidden(k);
        let hidden = |rows: &Vec<usize>| rows.iter().map(|cell| is_hidden[*cell]).collect::<Vec<bool>>();
        let mut by_report: BTreeMap<&str, Vec<bool>> =
            cells.iter().map(|(name, rows)| (*name, hidden(rows))).collect();
        if let (Some(scenarios), Some(matrices)) = (batch(SCENARIOS.table), batch(&tables::MATRICES)) {
            let quadrants = values(matrices, OF_QUADRANT)?.into_iter().zip(&by_report[tables::MATRICES.name]);
            let gone: BTreeSet<_> =
                quadrants.filter(|(_, hidden)| **hidden).map(|(quadrant, _)| quadrant).collect();
            let rows = values(scenarios, OF_QUADRANT)?.iter().map(|name| gone.contains(name)).collect();
            by_report.insert(SCENARIOS.table.name, rows);
        }
        Ok(Self { by_report, k })
    }

    /// Whether each row of a report is left out; empty for other tables, and if nothing is.
    pub fn rows(&self, table: &Table) -> &[bool] {
        self.by_report.get(table.name).map_or(&[], Vec::as_slice)
    }

    /// A report with nulls in place of what tells of hidden groups; other tables as they are.
    pub fn leave_out(&self, table: &Table, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let report = REPORTS.iter().chain([&SCENARIOS]).find(|report| report.table.name == table.name);
        let (Some(report), false) = (report, self.rows(table).is_empty()) else { return Ok(batch.clone()) };
        let hidden = BooleanArray::from(self.rows(table).to_vec());
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(
            |(field, column)| -> Result<ArrayRef, ArrowError> {
                let name = field.name().as_str();
                if report.names.contains(&name) {
                    return Ok(column.clone());
                }
                let column = nullif(column.as_ref(), &hidden)?;
                if !report.counts.contains(&name) {
                    return Ok(column);
                }
                let counts = column.as_primitive::<Int64Type>();
                let small =
                    |count: Option<i64>| Some(count.is_some_and(|count| (1..self.k as i64).contains(&count)));
                nullif(&column, &counts.iter().map(small).collect())
            },
        );
        RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
    }
}

/// Which of some groups with a known total are left out.
pub fn hidden_groups(customers: &[u64], k: u64) -> Vec<bool> {
    let mut counts = Counts::default();
    let groups = customers.iter().map(|count| counts.add(*count)).collect();
    counts.total(groups);
    counts.hidden(k)
}

/// The ways into a segment sum to its customers, those out of it to what it had in the run before.
fn tie_moves(
    counts: &mut Counts,
    moves: &RecordBatch,
    cells: &[usize],
    segments: &BTreeMap<String, usize>,
    hidden_before: &BTreeSet<String>,
) -> Result<(), ArrowError> {
    let customers = customers(moves);
    let mut before = Vec::new();
    for way in ["from_segment", "to_segment"] {
        let names = values(moves, &[way])?;
        for line in lines(moves, &[way])? {
            let ways = line.iter().map(|row| cells[*row]).collect();
            let total = match &names[line[0]][0] {
                Some(name) if way == "to_segment" => segments.get(name).copied(),
                Some(name) if hidden_before.contains(name) => {
                    before.push(counts.unpublished(line.iter().map(|row| customers[*row]).sum()));
                    before.last().copied()
                }
                _ => None,
            };
            match total {
                Some(total) => counts.same(ways, vec![total]),
                None => counts.total(ways),
            }
        }
    }
    if !before.is_empty() {
        counts.total(before);
    }
    Ok(())
}

/// Customers with two scores sum to those with either, and to the segment that has the two.
fn tie_scores(
    counts: &mut Counts,
    scores: &RecordBatch,
    cells: &[usize],
    segments: &[usize],
    combinations: &[Combination],
) -> Result<(), ArrowError> {
    let both: Vec<usize> = combinations.iter().map(|both| counts.unpublished(both.customers)).collect();
    let mut tie = |total: usize, is_in: &dyn Fn(&Combination) -> bool| {
        let parts = combinations.iter().zip(&both).filter(|(both, _)| is_in(both)).map(|(_, cell)| *cell);
        counts.same(parts.collect(), vec![total]);
    };
    for (name, cell) in values(scores, &["measure", "score"])?.into_iter().zip(cells) {
        let [Some(measure), Some(score)] = name.as_slice() else { continue };
        match measure.as_str() {
            "R" => tie(*cell, &|both| both.recency.to_string() == *score),
            "F" => tie(*cell, &|both| both.frequency.to_string() == *score),
            _ => {}
        }
    }
    for (segment, cell) in segments.iter().enumerate().filter(|_| !combinations.is_empty()) {
        tie(*cell, &|both| both.segment == segment);
    }
    Ok(())
}

/// The customers of every group.
fn customers(batch: &RecordBatch) -> Vec<u64> {
    let counts = batch.column_by_name("customers").and_then(|counts| counts.as_primitive_opt::<Int64Type>());
    let counts = counts.map_or(Vec::new(), |counts| counts.values().to_vec());
    counts.into_iter().map(|count| u64::try_from(count).unwrap_or(0)).collect()
}

/// The values of every row in some columns, as text.
fn values(batch: &RecordBatch, columns: &[&str]) -> Result<Vec<Vec<Option<String>>>, ArrowError> {
    let arrays: Vec<&ArrayRef> = columns.iter().filter_map(|name| batch.column_by_name(name)).collect();
    let texts = arrays.iter().map(|array| ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default()));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let value = |row: usize, column: usize| {
        arrays[column].is_valid(row).then(|| texts[column].value(row).to_string())
    };
    Ok((0..batch.num_rows())
        .map(|row| (0..arrays.len()).map(|column| value(row, column)).collect())
        .collect())
}

/// Rows that have the same values in some columns.
fn lines(batch: &RecordBatch, columns: &[&str]) -> Result<Vec<Vec<usize>>, ArrowError> {
    let mut lines: BTreeMap<Vec<Option<String>>, Vec<usize>> = BTreeMap::new();
    for (row, name) in values(batch, columns)?.into_iter().enumerate() {
        lines.entry(name).or_default().push(row);
    }
    Ok(lines.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_be_hidden_can_be_null() {
        for report in REPORTS.iter().chain([&SCENARIOS]) {
            for column in report.table.columns.iter().filter(|column| !report.names.contains(&column.name)) {
                assert!(column.nullable, "{}.{}", report.table.name, column.name);
            }
            for name in report.names.iter().chain(report.lines.iter().copied().flatten()).chain(report.counts)
            {
                assert!(report.table.columns.iter().any(|column| column.name == *name), "{name}");
            }
        }
    }
}
