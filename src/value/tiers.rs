//! Tiers of value, such as Platinum, Gold, Silver and Bronze, by cut points of predicted value.
//!
//! Cut points are values, so customers of equal value are in the same tier. A tier holds those strictly
//! above its cut-off and not above that of the tier before it. Where many have the same value, the better
//! tiers therefore come out smaller than asked for, never larger; the realised shares are published.

use crate::numerics::histogram::Histogram;
use serde::Deserialize;
use thiserror::Error;

/// Shares may miss a sum of 1 by so much.
const ROUNDING: f64 = 1e-9;

/// A tier as the configuration gives it, the best first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierEntry {
    pub name: String,
    /// Of the customers, 0 to 1.
    pub share: f64,
}

/// Everything that is wrong with the tiers.
#[derive(Debug, Clone, PartialEq, Error)]
#[error(
    "the tiers have {} problem{}:{}",
    problems.len(),
    if problems.len() == 1 { "" } else { "s" },
    list(problems)
)]
pub struct TierError {
    pub problems: Vec<TierProblem>,
}

/// One thing that is wrong with the tiers.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TierProblem {
    #[error("tier {position} has no name")]
    Unnamed {
        /// From 1.
        position: usize,
    },
    #[error("the tier \"{name}\" is given twice")]
    NamedTwice { name: String },
    #[error("the share {share} of \"{name}\" is not above 0 and up to 1")]
    Share { name: String, share: f64 },
    #[error("the shares sum to {sum} and not to 1")]
    Sum { sum: f64 },
}

fn list(problems: &[TierProblem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Checks the tiers of a configuration; every problem is in the error.
pub fn check(entries: &[TierEntry]) -> Result<(), TierError> {
    let mut problems = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        if entry.name.trim().is_empty() {
            problems.push(TierProblem::Unnamed { position: position + 1 });
        } else if entries[..position].iter().filter(|before| before.name == entry.name).count() == 1 {
            problems.push(TierProblem::NamedTwice { name: entry.name.clone() });
        }
        // Written so that NaN fails.
        if !(entry.share > 0.0 && entry.share <= 1.0) {
            problems.push(TierProblem::Share { name: entry.name.clone(), share: entry.share });
        }
    }
    let sum: f64 = entries.iter().map(|entry| entry.share).sum();
    let sums_to_one = (sum - 1.0).abs() <= ROUNDING;
    if !sums_to_one {
        problems.push(TierProblem::Sum { sum });
    }
    if problems.is_empty() { Ok(()) } else { Err(TierError { problems }) }
}

/// What one tier holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    customers: u64,
    value: i128,
}

/// Tiers with their cut-offs, and exact sums over the customers placed in them. 32 bytes a tier.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiers {
    entries: Vec<TierEntry>,
    /// One less than tiers, in descending order.
    cut_offs: Vec<i64>,
    totals: Vec<Totals>,
}

/// A tier in figures. Money in currency units.
#[derive(Debug, Clone, PartialEq)]
pub struct TierRow {
    pub name: String,
    /// Values of the tier are strictly above this; None for the last, which takes the rest.
    pub above: Option<f64>,
    /// The share asked for.
    pub share: f64,
    pub customers: u64,
    /// The share that came out, 0 to 1.
    pub customer_share: f64,
    /// Sum of the values.
    pub value: f64,
    /// Of the sum of all values; 0 if that is 0.
    pub value_share: f64,
}

impl Tiers {
    /// Tiers cut at the quantiles of predicted values in minor units. Without values nobody can be placed
    /// above a cut-off, and all cut-offs are the largest number there is.
    pub fn new(entries: &[TierEntry], values: &Histogram) -> Result<Self, TierError> {
        check(entries)?;
        // The last tier takes the rest; a list without one has been refused.
        let better = entries.split_last().map_or(&[][..], |(_, better)| better);
        let mut taken = 0.0;
        let cut_offs = better.iter().map(|entry| {
            taken += entry.share;
            values.quantile((1.0 - taken).max(0.0)).unwrap_or(i64::MAX)
        });
        let cut_offs = cut_offs.collect();
        Ok(Self { entries: entries.to_vec(), cut_offs, totals: vec![Totals::default(); entries.len()] })
    }

    /// The tier of a value in minor units, 0 the best.
    pub fn place(&self, value: i64) -> usize {
        self.cut_offs.iter().take_while(|cut_off| value <= **cut_off).count()
    }

    /// Names, the best first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Places a customer and adds its value; gives the tier.
    pub fn add(&mut self, value: i64) -> usize {
        let tier = self.place(value);
        self.totals[tier].customers += 1;
        self.totals[tier].value += i128::from(value);
        tier
    }

    /// Takes in the sums over other customers, placed by the same cut-offs.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.totals.iter_mut().zip(&other.totals) {
            mine.customers += theirs.customers;
            mine.value += theirs.value;
        }
    }

    /// The tiers, the best first; `scale` is minor units a currency unit.
    pub fn rows(&self, scale: f64) -> Vec<TierRow> {
        let customers: u64 = self.totals.iter().map(|totals| totals.customers).sum();
        let value: i128 = self.totals.iter().map(|totals| totals.value).sum();
        let rows = self.entries.iter().zip(&self.totals).enumerate().map(|(tier, (entry, totals))| TierRow {
            name: entry.name.clone(),
            above: self.cut_offs.get(tier).map(|cut_off| *cut_off as f64 / scale),
            share: entry.share,
            customers: totals.customers,
            customer_share: totals.customers as f64 / customers.max(1) as f64,
            value: totals.value as f64 / scale,
            value_share: if value == 0 { 0.0 } else { totals.value as f64 / value as f64 },
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn defaults() -> Vec<TierEntry> {
        let config: toml::Table = include_str!("../../config/default.toml").parse().expect("TOML");
        config["value"]["tiers"].clone().try_into().expect("tiers")
    }

    fn of(entries: &[TierEntry], values: &[i64]) -> Tiers {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.add(*value, 1));
        let mut tiers = Tiers::new(entries, &histogram).expect("shares");
        values.iter().for_each(|value| {
            tiers.add(*value);
        });
        tiers
    }

    #[test]
    fn a_hundred_values_in_the_default_tiers() {
        let tiers = of(&defaults(), &(1..=100).collect::<Vec<_>>());
        let rows = tiers.rows(1.0);
        let told: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.above, row.customers)).collect();
        let expected = [
            ("Platinum", Some(95.0), 5),
            ("Gold", Some(80.0), 15),
            ("Silver", Some(50.0), 30),
            ("Bronze", None, 50),
        ];
        assert_eq!(told, expected);
        assert_eq!(
            (rows[0].value, rows[0].value_share, rows[3].customer_share),
            (490.0, 490.0 / 5_050.0, 0.5)
        );
        assert_eq!(tiers.names().collect::<Vec<_>>(), ["Platinum", "Gold", "Silver", "Bronze"]);
    }

    #[test]
    fn ties_make_the_better_tiers_smaller() {
        let mut values = vec![0; 60];
        values.extend([500; 38]);
        values.extend([700, 900]);
        let rows = of(&defaults(), &values).rows(100.0);
        assert_eq!(rows.iter().map(|row| row.customers).collect::<Vec<_>>(), [2, 0, 38, 60]);
        assert_eq!(rows[1].above, Some(5.0));
        let nobody = Tiers::new(&defaults(), &Histogram::new()).expect("shares");
        assert_eq!((nobody.place(5), nobody.rows(1.0)[0].customer_share), (3, 0.0));
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let tier = |name: &str, share| TierEntry { name: name.to_owned(), share };
        let error = check(&[tier("A", 0.5), tier("", 0.0), tier("A", 0.25), tier("B", 1.5)]);
        let told: Vec<String> =
            error.expect_err("problems").problems.iter().map(ToString::to_string).collect();
        let expected = [
            "tier 2 has no name",
            "the share 0 of \"\" is not above 0 and up to 1",
            "the tier \"A\" is given twice",
            "the share 1.5 of \"B\" is not above 0 and up to 1",
            "the shares sum to 2.25 and not to 1",
        ];
        assert_eq!(told, expected);
        assert!(check(&[]).is_err() && check(&[tier("A", f64::NAN)]).is_err());
        assert_eq!(check(&[tier("A", 0.1), tier("B", 0.2), tier("C", 0.7)]), Ok(()));
    }

    proptest! {
        #[test]
        fn the_best_tiers_are_never_too_large_and_order_does_not_matter(
            mut values in prop::collection::vec(prop_oneof![0_i64..5, 0_i64..4_000], 1..150),
        ) {
            let tiers = of(&defaults(), &values);
            let rows = tiers.rows(1.0);
            let mut asked = 0.0;
            let mut got = 0;
            for row in &rows {
                asked += row.share;
                got += row.customers;
                prop_assert!(got as f64 <= asked * values.len() as f64 + 1e-9);
            }
            prop_assert_eq!(got, values.len() as u64);
            values.reverse();
            prop_assert_eq!(of(&defaults(), &values), tiers);
        }
    }
}
