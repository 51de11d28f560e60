//! What an offer to a quadrant would bring if stated assumptions held.
//!
//! Nothing here is measured or predicted. Rates of conversion and uplifts are set in the configuration;
//! the rows stand in a table of their own and are marked as assumed.

use super::Matrix;
use super::tally::QuadrantRow;
use serde::Deserialize;
use thiserror::Error;

/// The assumptions as the configuration gives them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioEntry {
    /// Shares of a quadrant's customers who take the offer, 0 to 1.
    pub conversions: Vec<f64>,
    /// More revenue from a customer who takes a larger package, as a share of the revenue before.
    pub upsell_uplift: f64,
    /// The same for one who takes another kind of package as well.
    pub cross_sell_uplift: f64,
}

/// Which of the two uplifts a quadrant's strategy is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uplift {
    Upsell,
    CrossSell,
}

impl Uplift {
    /// The word for a quadrant without scenarios.
    pub const NONE: &str = "none";

    /// The outer None: not a word that means anything; the inner one: no scenario.
    pub fn parse(word: &str) -> Option<Option<Self>> {
        match word {
            "upsell" => Some(Some(Self::Upsell)),
            "cross-sell" => Some(Some(Self::CrossSell)),
            Self::NONE => Some(None),
            _ => None,
        }
    }
}

/// Assumptions within their ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenarios {
    conversions: Vec<f64>,
    upsell_uplift: f64,
    cross_sell_uplift: f64,
}

/// Everything that is wrong with the assumptions.
#[derive(Debug, Clone, PartialEq, Error)]
#[error(
    "the scenarios have {} problem{}:{}",
    problems.len(),
    if problems.len() == 1 { "" } else { "s" },
    list(problems)
)]
pub struct ScenarioError {
    pub problems: Vec<ScenarioProblem>,
}

/// One assumption that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum ScenarioProblem {
    #[error("conversions holds {value}; take shares above 0 and up to 1")]
    Conversion { value: f64 },
    #[error("{key} = {value} is not a number from 0")]
    Uplift { key: &'static str, value: f64 },
}

fn list(problems: &[ScenarioProblem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// One scenario of one quadrant. Money in currency units.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenarioRow {
    pub quadrant: String,
    pub strategy: String,
    /// Share of the customers who take the offer.
    pub conversion: f64,
    /// Share by which their revenue grows.
    pub uplift: f64,
    /// To the nearest customer.
    pub customers_converted: u64,
    /// Over as long a time as the quadrant's revenue is of: revenue × conversion × uplift, which takes
    /// those who convert to be average customers of their quadrant. 0 if the revenue is not above 0.
    pub extra_revenue: f64,
    /// Always true: an assumption, not a measurement.
    pub assumed: bool,
}

impl Scenarios {
    /// Checks the ranges; every problem is in the error. No conversions: no scenarios.
    pub fn new(entry: &ScenarioEntry) -> Result<Self, ScenarioError> {
        let mut problems = Vec::new();
        // Written so that NaN fails.
        for value in entry.conversions.iter().copied().filter(|value| !(*value > 0.0 && *value <= 1.0)) {
            problems.push(ScenarioProblem::Conversion { value });
        }
        let uplifts =
            [("upsell_uplift", entry.upsell_uplift), ("cross_sell_uplift", entry.cross_sell_uplift)];
        for (key, value) in uplifts {
            if !(value >= 0.0 && value.is_finite()) {
                problems.push(ScenarioProblem::Uplift { key, value });
            }
        }
        if !problems.is_empty() {
            return Err(ScenarioError { problems });
        }
        Ok(Self {
            conversions: entry.conversions.clone(),
            upsell_uplift: entry.upsell_uplift,
            cross_sell_uplift: entry.cross_sell_uplift,
        })
    }

    /// The scenarios of a matrix, from the figures of its quadrants: one row for each conversion, for the
    /// quadrants that have an uplift, in the order of the figures.
    pub fn rows(&self, matrix: &Matrix, figures: &[QuadrantRow]) -> Vec<ScenarioRow> {
        let mut rows = Vec::new();
        for figure in figures {
            let quadrant = matrix.quadrants.iter().find(|quadrant| quadrant.name == figure.name);
            let uplift = match quadrant.and_then(|quadrant| quadrant.uplift) {
                Some(Uplift::Upsell) => self.upsell_uplift,
                Some(Uplift::CrossSell) => self.cross_sell_uplift,
                None => continue,
            };
            rows.extend(self.conversions.iter().map(|&conversion| ScenarioRow {
                quadrant: figure.name.clone(),
                strategy: figure.strategy.clone(),
                conversion,
                uplift,
                customers_converted: (figure.customers as f64 * conversion).round() as u64,
                extra_revenue: figure.revenue.max(0.0) * conversion * uplift,
                assumed: true,
            }));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::QuadrantTally;
    use super::super::tally::tests::matrix;
    use super::*;

    fn defaults() -> ScenarioEntry {
        let config: toml::Table = include_str!("../../../config/default.toml").parse().expect("TOML");
        config["value"]["scenarios"].clone().try_into().expect("scenarios")
    }

    #[test]
    fn three_conversions_for_each_quadrant_with_an_uplift() {
        let mut tally = QuadrantTally::new([Some(0), Some(0)]);
        for _ in 0..12 {
            tally.add([Some(1), Some(0)], 10_000);
            tally.add([Some(0), Some(1)], 5_000);
            tally.add([Some(1), Some(1)], 7_000);
        }
        tally.add([Some(0), Some(1)], -200_000);
        let matrix = matrix();
        let scenarios = Scenarios::new(&defaults()).expect("in range");
        let rows = scenarios.rows(&matrix, &tally.rows(&matrix, 100.0));
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.quadrant.as_str(), row.conversion, row.uplift, row.customers_converted))
            .collect();
        let expected = [
            ("Risk Area", 0.2, 0.25, 2),
            ("Risk Area", 0.3, 0.25, 4),
            ("Risk Area", 0.4, 0.25, 5),
            ("Sniper Zone", 0.2, 0.3, 3),
            ("Sniper Zone", 0.3, 0.3, 4),
            ("Sniper Zone", 0.4, 0.3, 5),
        ];
        assert_eq!(told, expected);
        assert!((rows[0].extra_revenue - 1_200.0 * 0.2 * 0.25).abs() < 1e-9);
        assert_eq!(rows[3].extra_revenue, 0.0, "returns are above the revenue of the quadrant");
        assert!(rows.iter().all(|row| row.assumed));
    }

    #[test]
    fn assumptions_out_of_range_are_all_told() {
        let entry = ScenarioEntry {
            conversions: vec![0.2, 20.0, 0.0],
            upsell_uplift: f64::NAN,
            cross_sell_uplift: -0.1,
        };
        let told: Vec<String> = Scenarios::new(&entry)
            .expect_err("out of range")
            .problems
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "conversions holds 20; take shares above 0 and up to 1",
            "conversions holds 0; take shares above 0 and up to 1",
            "upsell_uplift = NaN is not a number from 0",
            "cross_sell_uplift = -0.1 is not a number from 0",
        ];
        assert_eq!(told, expected);
    }
}
