//! Strategic matrices: customers in four quadrants by two measures, with a strategy for each.
//!
//! A matrix is data: its axes, thresholds, quadrants and strategies come from the configuration. A
//! customer is high on an axis if the value is strictly above the threshold. A value equal to the threshold
//! is low, and so is a missing one, which is counted apart. The median is taken over those who have a value.

pub mod scenario;
pub mod tally;

use crate::numerics::histogram::Histogram;
use scenario::Uplift;
use serde::Deserialize;
use thiserror::Error;

/// A matrix as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixEntry {
    pub name: String,
    pub x: AxisEntry,
    pub y: AxisEntry,
    pub quadrants: Vec<QuadrantEntry>,
}

/// An axis as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AxisEntry {
    pub column: String,
    pub label: String,
    pub threshold: ThresholdEntry,
}

/// "median" or a number in the unit of the column.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum ThresholdEntry {
    Number(f64),
    Word(String),
}

/// A quadrant as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuadrantEntry {
    pub name: String,
    pub strategy: String,
    pub high_x: bool,
    pub high_y: bool,
    /// "upsell", "cross-sell" or "none": which uplift its scenarios assume.
    #[serde(default = "no_scenario")]
    pub scenario: String,
    /// Whether its revenue counts as at stake.
    #[serde(default)]
    pub at_stake: bool,
}

fn no_scenario() -> String {
    Uplift::NONE.to_owned()
}

/// A column that an axis may name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column<'a> {
    pub name: &'a str,
    /// Values are compared as whole numbers of so many steps a unit: 100 for money of two decimals,
    /// 1,000 for megabytes a day.
    pub steps: f64,
}

/// Where high begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    Median,
    /// In the unit of the column.
    Value(f64),
}

/// One axis of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub column: String,
    pub label: String,
    pub threshold: Threshold,
    pub steps: f64,
}

/// One of the four quadrants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quadrant {
    pub name: String,
    pub strategy: String,
    /// None: no scenario is worked out.
    pub uplift: Option<Uplift>,
    pub at_stake: bool,
}

/// A matrix that is complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub name: String,
    /// x and y.
    pub axes: [Axis; 2],
    /// By [`corner`].
    pub quadrants: [Quadrant; 4],
}

/// Everything that is wrong with the matrices.
#[derive(Debug, Clone, PartialEq, Error)]
#[error(
    "the matrices have {} problem{}:{}",
    problems.len(),
    if problems.len() == 1 { "" } else { "s" },
    list(problems)
)]
pub struct MatrixError {
    pub problems: Vec<MatrixProblem>,
}

/// One thing that is wrong with a matrix.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum MatrixProblem {
    #[error("matrix {position} has no name")]
    Unnamed {
        /// From 1.
        position: usize,
    },
    #[error("the matrix \"{name}\" is given twice")]
    NamedTwice { name: String },
    #[error("axis {axis} of \"{matrix}\" names the column \"{column}\"; take one of {known}")]
    Column { matrix: String, axis: char, column: String, known: String },
    #[error("axis {axis} of \"{matrix}\" has the threshold {value}; take \"median\" or a number")]
    Threshold { matrix: String, axis: char, value: String },
    #[error("quadrant {position} of \"{matrix}\" has no {missing}")]
    Missing {
        matrix: String,
        /// From 1.
        position: usize,
        missing: &'static str,
    },
    #[error("the quadrant \"{name}\" of \"{matrix}\" is given twice")]
    QuadrantTwice { matrix: String, name: String },
    #[error(
        "the scenario of \"{quadrant}\" in \"{matrix}\" is \"{value}\"; take \"upsell\", \"cross-sell\" or \"none\""
    )]
    Scenario { matrix: String, quadrant: String, value: String },
    #[error("\"{matrix}\" has {given} quadrants with high_x = {high_x}, high_y = {high_y}; give one")]
    Corner { matrix: String, high_x: bool, high_y: bool, given: usize },
}

fn list(problems: &[MatrixProblem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Where the quadrant is: 0 both low, 1 high y alone, 2 high x alone, 3 both high.
pub fn corner(high_x: bool, high_y: bool) -> usize {
    usize::from(high_x) * 2 + usize::from(high_y)
}

impl Axis {
    /// A value in steps; None if it is missing or no finite number.
    pub fn quantise(&self, value: Option<f64>) -> Option<i64> {
        value.filter(|value| value.is_finite()).map(|value| (value * self.steps).round() as i64)
    }

    /// The threshold in steps: the median of the values given, or the number set. None if nobody has a
    /// value: there is no matrix then.
    pub fn limit(&self, values: &Histogram) -> Option<i64> {
        match self.threshold {
            _ if values.count() == 0 => None,
            Threshold::Median => values.quantile(0.5),
            Threshold::Value(value) => self.quantise(Some(value)),
        }
    }
}

impl Matrix {
    /// The matrices of the configuration over the columns that there are; every problem is in the error.
    pub fn resolve(entries: &[MatrixEntry], columns: &[Column<'_>]) -> Result<Vec<Self>, MatrixError> {
        let mut problems = Vec::new();
        let mut matrices = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            let named = entries[..position].iter().filter(|before| before.name == entry.name).count();
            if entry.name.trim().is_empty() {
                problems.push(MatrixProblem::Unnamed { position: position + 1 });
            } else if named == 1 {
                problems.push(MatrixProblem::NamedTwice { name: entry.name.clone() });
            }
            let x = axis(entry, 'x', columns, &mut problems);
            let y = axis(entry, 'y', columns, &mut problems);
            let quadrants = quadrants(entry, &mut problems);
            if let (Some(x), Some(y), Some(quadrants)) = (x, y, quadrants) {
                matrices.push(Self { name: entry.name.clone(), axes: [x, y], quadrants });
            }
        }
        if problems.is_empty() { Ok(matrices) } else { Err(MatrixError { problems }) }
    }
}

fn axis(
    entry: &MatrixEntry,
    name: char,
    columns: &[Column<'_>],
    problems: &mut Vec<MatrixProblem>,
) -> Option<Axis> {
    let given = if name == 'x' { &entry.x } else { &entry.y };
    let known = columns.iter().find(|column| column.name == given.column);
    if known.is_none() {
        problems.push(MatrixProblem::Column {
            matrix: entry.name.clone(),
            axis: name,
            column: given.column.clone(),
            known: columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", "),
        });
    }
    let threshold = match &given.threshold {
        ThresholdEntry::Word(word) if word == "median" => Some(Threshold::Median),
        ThresholdEntry::Number(value) if value.is_finite() => Some(Threshold::Value(*value)),
        other => {
            let value = match other {
                ThresholdEntry::Word(word) => format!("\"{word}\""),
                ThresholdEntry::Number(value) => value.to_string(),
            };
            problems.push(MatrixProblem::Threshold { matrix: entry.name.clone(), axis: name, value });
            None
        }
    };
    known.zip(threshold).map(|(column, threshold)| Axis {
        column: given.column.clone(),
        label: given.label.clone(),
        threshold,
        steps: column.steps,
    })
}

fn quadrants(entry: &MatrixEntry, problems: &mut Vec<MatrixProblem>) -> Option<[Quadrant; 4]> {
    let before = problems.len();
    let matrix = || entry.name.clone();
    for (position, quadrant) in entry.quadrants.iter().enumerate() {
        let texts = [("name", &quadrant.name), ("strategy", &quadrant.strategy)];
        for (missing, _) in texts.iter().filter(|(_, text)| text.trim().is_empty()) {
            problems.push(MatrixProblem::Missing { matrix: matrix(), position: position + 1, missing });
        }
        let named = |other: &&QuadrantEntry| !other.name.is_empty() && other.name == quadrant.name;
        if entry.quadrants[..position].iter().filter(named).count() == 1 {
            problems.push(MatrixProblem::QuadrantTwice { matrix: matrix(), name: quadrant.name.clone() });
        }
        if Uplift::parse(&quadrant.scenario).is_none() {
            problems.push(MatrixProblem::Scenario {
                matrix: matrix(),
                quadrant: quadrant.name.clone(),
                value: quadrant.scenario.clone(),
            });
        }
    }
    let found = [(false, false), (false, true), (true, false), (true, true)].map(|(high_x, high_y)| {
        let at = |quadrant: &&QuadrantEntry| (quadrant.high_x, quadrant.high_y) == (high_x, high_y);
        let given = entry.quadrants.iter().filter(at).count();
        if given != 1 {
            problems.push(MatrixProblem::Corner { matrix: matrix(), high_x, high_y, given });
        }
        entry.quadrants.iter().find(at)
    });
    let [Some(a), Some(b), Some(c), Some(d)] = found else { return None };
    (problems.len() == before).then(|| {
        [a, b, c, d].map(|quadrant| Quadrant {
            name: quadrant.name.clone(),
            strategy: quadrant.strategy.clone(),
            uplift: Uplift::parse(&quadrant.scenario).flatten(),
            at_stake: quadrant.at_stake,
        })
    })
}

#[cfg(test)]
mod tests;
