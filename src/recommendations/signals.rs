//! What is known of a customer and a package when the package is scored: the signals that the model
//! weighs. Packages that the customer has bought and packages that are new to it have other signals,
//! so they have a model each.

use super::board::Evidence;
use crate::features::{Features, RECENT};
use crate::segments::Segments;
use std::sync::LazyLock;

/// Which part of a score a signal belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    OwnHabit,
    Neighbours,
    BoughtTogether,
    Popularity,
    Price,
}

impl Factor {
    pub const ALL: [Self; 5] =
        [Self::OwnHabit, Self::Neighbours, Self::BoughtTogether, Self::Popularity, Self::Price];

    /// As tables and reports name it.
    pub fn text(self) -> &'static str {
        match self {
            Self::OwnHabit => "own habit",
            Self::Neighbours => "neighbours",
            Self::BoughtTogether => "bought together",
            Self::Popularity => "popularity",
            Self::Price => "price",
        }
    }
}

/// A signal's name and the factor it counts for.
pub type Signal = (&'static str, Factor);

/// Signals of a package that the customer has bought.
pub const REPEAT: [Signal; 15] = [
    ("ln days", Factor::OwnHabit),
    ("ln share of active days", Factor::OwnHabit),
    ("ln decayed weight", Factor::OwnHabit),
    ("ln days since", Factor::OwnHabit),
    ("ln days since, squared", Factor::OwnHabit),
    ("bought on the last day", Factor::OwnHabit),
    ("ln active days", Factor::OwnHabit),
    ("ln days since any purchase", Factor::OwnHabit),
    ("ln neighbour share", Factor::Neighbours),
    ("together", Factor::BoughtTogether),
    ("next", Factor::BoughtTogether),
    ("ln repeat rate", Factor::Popularity),
    ("ln popularity", Factor::Popularity),
    ("ln popularity, 3 windows", Factor::Popularity),
    ("ln popularity, 12 windows", Factor::Popularity),
];

/// Signals of a package that is new to the customer.
pub const EXPLORE: [Signal; 9] = [
    ("ln neighbour share", Factor::Neighbours),
    ("together", Factor::BoughtTogether),
    ("next", Factor::BoughtTogether),
    ("price step", Factor::Price),
    ("price step, squared", Factor::Price),
    ("ln popularity", Factor::Popularity),
    ("ln popularity, 3 windows", Factor::Popularity),
    ("ln popularity, 12 windows", Factor::Popularity),
    ("ln popularity in the segment", Factor::Popularity),
];

/// Where the signals of [`EXPLORE`] that belong to the package alone begin.
pub(super) const EXPLORE_PACKAGE: usize = 5;

/// Added before the logarithm of a share of neighbours, and of what affinities say, so that nothing
/// has a value; signals are measured from there, so that nothing counts for nothing.
pub(super) const NEIGHBOUR_FLOOR: f32 = 0.003;
pub(super) const AFFINITY_FLOOR: f32 = 0.01;
/// Added to shares and weights of what the customer bought.
const OWN_FLOOR: f32 = 0.02;
/// A price step is a logarithm within this bound.
const MOST_PRICE_STEP: f32 = 3.0;

/// Natural logarithm of a positive normal number, relative error below 1e-6; vectorises, which the
/// library's does not. (Series of 2·atanh((m − 1) / (m + 1)) for a mantissa between √½ and √2.)
#[inline(always)]
pub(super) fn fast_ln(x: f32) -> f32 {
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3);
    let exponent = (bits as i32) >> 23;
    let mantissa = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series =
        2.0 + square * (2.0 / 3.0 + square * (2.0 / 5.0 + square * (2.0 / 7.0 + square * (2.0 / 9.0))));
    exponent as f32 * std::f32::consts::LN_2 + s * series
}

/// The share of neighbours that bought a package, as a signal: 0 for none.
#[inline(always)]
pub(super) fn neighbour_signal(share: f32) -> f32 {
    fast_ln(share.max(0.0) + NEIGHBOUR_FLOOR) - NEIGHBOUR_FLOOR.ln()
}

/// What affinities say of a package, as a signal: 0 for nothing.
#[inline(always)]
pub(super) fn affinity_signal(value: f32) -> f32 {
    fast_ln(value.max(0.0) + AFFINITY_FLOOR) - AFFINITY_FLOOR.ln()
}

/// How much dearer a package is than what the customer usually pays, as a logarithm; 0 if either is
/// unknown (NaN).
#[inline(always)]
pub(super) fn price_step(ln_price: f32, ln_usual: f32) -> f32 {
    let step = ln_price - ln_usual;
    if step.is_nan() { 0.0 } else { step.clamp(-MOST_PRICE_STEP, MOST_PRICE_STEP) }
}

/// What a customer has bought of one package.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bought {
    pub package: u32,
    /// Purchases.
    pub times: f32,
    /// Days with a purchase of it.
    pub days: f32,
    /// Time-decayed days.
    pub weight: f32,
    /// Days since 1970.
    pub last_day: i32,
}

/// ln(1 + days) of few days: what a customer's packages weigh in affinities is asked for every offer.
static LN_DAYS: LazyLock<[f32; 128]> = LazyLock::new(|| std::array::from_fn(|days| (days as f32).ln_1p()));

impl Bought {
    /// What it weighs in the affinities: ln(1 + days).
    pub(super) fn ln_days(&self) -> f32 {
        let days = self.days as usize;
        match LN_DAYS.get(days) {
            Some(known) if days as f32 == self.days => *known,
            _ => self.days.ln_1p(),
        }
    }
}

/// A customer as the score sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub bought: &'a [Bought],
    pub active_days: f32,
    /// Day of the last purchase, and the last day that is known, since 1970.
    pub last_day: i32,
    pub today: i32,
    /// ln of what a purchase usually costs, NaN if unknown.
    pub ln_usual: f32,
    /// From 0.
    pub segment: u32,
}

/// The signals of a bought package.
pub(super) fn repeat_signals(
    subject: &Subject,
    bought: &Bought,
    evidence: Evidence,
    facts: &PackageFacts,
) -> [f32; REPEAT.len()] {
    let package = bought.package as usize;
    let age = fast_ln((subject.today - bought.last_day).max(0) as f32 + 1.0);
    let active = subject.active_days.max(1.0);
    let shares = &facts.shares[package];
    [
        fast_ln(bought.days.max(1.0)),
        fast_ln(bought.days / active + OWN_FLOOR),
        fast_ln(bought.weight.max(0.0) + OWN_FLOOR),
        age,
        age * age,
        if bought.last_day >= subject.last_day { 1.0 } else { 0.0 },
        fast_ln(active),
        fast_ln((subject.today - subject.last_day).max(0) as f32 + 1.0),
        evidence.near,
        evidence.together,
        evidence.next,
        facts.repeat_rate[package],
        shares[0],
        shares[1],
        shares[2],
    ]
}

/// The signals of a package that is new to the customer.
pub(super) fn explore_signals(
    subject: &Subject,
    package: u32,
    evidence: Evidence,
    facts: &PackageFacts,
) -> [f32; EXPLORE.len()] {
    let step = price_step(facts.ln_price[package as usize], subject.ln_usual);
    let [all, short, long] = facts.shares[package as usize];
    [
        evidence.near,
        evidence.together,
        evidence.next,
        step,
        step * step,
        all,
        short,
        long,
        facts.in_segment(subject.segment)[package as usize],
    ]
}

/// What packages are like at a cut-off. Memory: 28 bytes a package and 4 a package and segment.
#[derive(Debug, Clone)]
pub struct PackageFacts {
    /// ln of the share of all customers' packages, and of the baskets of the last days, by window.
    pub shares: Vec<[f32; 1 + RECENT]>,
    /// ln of the share of its customers that came back for it.
    pub repeat_rate: Vec<f32>,
    /// NaN if unknown.
    pub ln_price: Vec<f32>,
    /// k × packages: ln of the share of the segment's purchases over the share of all.
    segments: Vec<f32>,
    packages: usize,
}

impl PackageFacts {
    /// From the totals of the base up to the cut-off.
    pub fn new(features: &Features, segments: &Segments) -> Self {
        let totals = &features.package_totals;
        let all: i64 = totals.iter().map(|total| total.customers as i64).sum();
        let purchases: i64 = totals.iter().map(|total| total.purchases).sum();
        let mut recent = [0i64; RECENT];
        for total in totals {
            recent.iter_mut().zip(total.recent).for_each(|(sum, count)| *sum += count);
        }
        let shares: Vec<_> = totals
            .iter()
            .map(|total| {
                [
                    ln_share(total.customers as i64, all),
                    ln_share(total.recent[0], recent[0]),
                    ln_share(total.recent[1], recent[1]),
                ]
            })
            .collect();
        let rate = |total: &crate::features::PackageTotals| {
            ((total.repeat_customers as f64 + 1.0) / (total.customers as f64 + 10.0)).ln() as f32
        };
        let packages = totals.len();
        let by_segment = segments.package_times.chunks(packages.max(1)).flat_map(|times| {
            let total: i64 = times.iter().sum();
            times
                .iter()
                .zip(totals)
                .map(move |(times, all)| ln_share(*times, total) - ln_share(all.purchases, purchases))
        });
        Self {
            repeat_rate: totals.iter().map(rate).collect(),
            ln_price: features
                .packages
                .iter()
                .map(|package| match package.price {
                    Some(price) if price > 0 => (price as f64).ln() as f32,
                    _ => f32::NAN,
                })
                .collect(),
            segments: by_segment.collect(),
            shares,
            packages,
        }
    }

    /// The same facts with other purchases in the recent windows, by package: for a customer whose last
    /// known day is not that of the base. Packages beyond `recent` sold nothing. Memory: as these facts.
    pub fn at(&self, recent: &[[i64; RECENT]]) -> Self {
        let mut totals = [0i64; RECENT];
        for counts in recent {
            totals.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let mut facts = self.clone();
        for (package, shares) in facts.shares.iter_mut().enumerate() {
            let counts = recent.get(package).copied().unwrap_or_default();
            for ((share, count), total) in shares[1..].iter_mut().zip(counts).zip(totals) {
                *share = ln_share(count, total);
            }
        }
        facts
    }

    /// By package: how much more than elsewhere it sells in a segment, as a logarithm.
    pub fn in_segment(&self, segment: u32) -> &[f32] {
        &self.segments[segment as usize * self.packages..][..self.packages]
    }

    pub fn packages(&self) -> usize {
        self.packages
    }
}

fn ln_share(count: i64, total: i64) -> f32 {
    ((count.max(0) as f64 + 0.5) / (total.max(0) as f64 + 1.0)).ln() as f32
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// Facts of packages with so many purchases each, one segment, prices of 400 and up.
    pub fn facts(purchases: &[i64]) -> PackageFacts {
        let all = purchases.iter().sum();
        PackageFacts {
            shares: purchases.iter().map(|count| [ln_share(*count, all); 3]).collect(),
            repeat_rate: vec![-0.5; purchases.len()],
            ln_price: (0..purchases.len()).map(|at| ((400 + 100 * at) as f32).ln()).collect(),
            segments: vec![0.0; purchases.len()],
            packages: purchases.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_logarithm_is_close_everywhere() {
        for step in 0..20_000 {
            let x = (f64::from(step) * 0.002 - 20.0).exp() as f32;
            let (fast, exact) = (f64::from(fast_ln(x)), f64::from(x).ln());
            assert!((fast - exact).abs() <= 2e-6 * exact.abs().max(1.0), "{x}: {fast} {exact}");
        }
    }

    #[test]
    fn nothing_counts_for_nothing() {
        assert!(neighbour_signal(0.0).abs() < 1e-5);
        assert!(affinity_signal(-0.3).abs() < 1e-5);
        assert_eq!(price_step(f32::NAN, 1.0), 0.0);
        assert_eq!(price_step(9.0, 1.0), 3.0);
    }

    #[test]
    fn facts_of_another_day_differ_in_the_recent_windows_only() {
        let base = tests_support::facts(&[6, 3, 1]);
        let other = base.at(&[[0, 4], [2, 4]]);
        for package in 0..3 {
            assert_eq!(other.shares[package][0], base.shares[package][0]);
        }
        let expected = |count: f64, total: f64| ((count + 0.5) / (total + 1.0)).ln() as f32;
        assert_eq!(other.shares[0][1..], [expected(0.0, 2.0), expected(4.0, 8.0)]);
        assert_eq!(other.shares[1][1..], [expected(2.0, 2.0), expected(4.0, 8.0)]);
        assert_eq!(other.shares[2][1..], [expected(0.0, 2.0), expected(0.0, 8.0)]);
        assert_eq!((&other.repeat_rate, other.in_segment(0)), (&base.repeat_rate, base.in_segment(0)));
    }
}
