//! What the purchase models know of customers: weighted distinct tuples in a typed unit of time.
//!
//! Any two customers with the same (x, t_x, T) are the same to the models (Fader, Hardie & Lee 2005,
//! "Counting Your Customers the Easy Way", *Marketing Science* 24:275–284: the three are sufficient), so a
//! base of millions is a table of some ten thousand tuples with counts.

use std::fmt;
use thiserror::Error;

/// The unit that x is counted by and that times and parameters are measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeUnit {
    Day,
    /// 7 days.
    Week,
    /// 30.4375 days, a twelfth of a year.
    Month,
    /// 365.25 days.
    Year,
}

impl TimeUnit {
    /// Length in days.
    pub fn days(self) -> f64 {
        match self {
            Self::Day => 1.0,
            Self::Week => 7.0,
            Self::Month => 30.4375,
            Self::Year => 365.25,
        }
    }

    /// In the singular: "week".
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A length of time as a multiple of a unit. Two of them meet only through a conversion, so months are
/// never read as weeks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitTimes {
    pub times: f64,
    pub unit: TimeUnit,
}

impl UnitTimes {
    pub fn new(times: f64, unit: TimeUnit) -> Self {
        Self { times, unit }
    }

    /// Days in another unit.
    pub fn of_days(days: f64, unit: TimeUnit) -> Self {
        Self { times: days / unit.days(), unit }
    }

    /// Length in days.
    pub fn days(self) -> f64 {
        self.times * self.unit.days()
    }

    /// The same length in another unit; to the same unit it is the same number to the last bit.
    pub fn to(self, unit: TimeUnit) -> Self {
        if unit == self.unit { self } else { Self::of_days(self.days(), unit) }
    }
}

impl fmt::Display for UnitTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.times == 1.0 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.times, self.unit)
    }
}

/// Customers with the same purchases, times in the unit of their [`Tuples`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PurchaseTuple {
    /// Repeat purchases: purchases after the first, those of one period counted once.
    pub x: u32,
    /// From the first purchase to the last, 0 for customers without a repeat purchase.
    pub t_x: f64,
    /// From the first purchase to the end of the data.
    pub t: f64,
    /// How many customers.
    pub customers: u64,
}

/// A tuple that no customer can have. Tuples count from zero.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum TupleError {
    #[error("tuple {index}: {what} is {value}, not a finite number of at least zero")]
    Time { index: usize, what: &'static str, value: f64 },
    #[error("tuple {index}: the last purchase at {t_x} is after the end of the data at {t}")]
    LastAfterEnd { index: usize, t_x: f64, t: f64 },
    #[error("tuple {index}: {x} repeat purchases do not go with a last purchase {t_x} after the first")]
    Repeats { index: usize, x: u32, t_x: f64 },
}

/// Distinct tuples, sorted by (x, T, t_x). 32 bytes a tuple.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuples {
    unit: TimeUnit,
    rows: Vec<PurchaseTuple>,
    customers: u64,
}

impl Tuples {
    /// Checks, sorts and merges tuples that come in any order, equal ones as often as they like; those of
    /// no customers are left out. The order given does not show in any result.
    ///
    /// # Errors
    /// See [`TupleError`].
    pub fn new(unit: TimeUnit, mut rows: Vec<PurchaseTuple>) -> Result<Self, TupleError> {
        for (index, row) in rows.iter().enumerate() {
            check(index, row)?;
        }
        rows.retain(|row| row.customers > 0);
        rows.sort_unstable_by(|a, b| (a.x.cmp(&b.x)).then(a.t.total_cmp(&b.t)).then(a.t_x.total_cmp(&b.t_x)));
        rows.dedup_by(|next, kept| {
            let same = (next.x, next.t, next.t_x) == (kept.x, kept.t, kept.t_x);
            if same {
                kept.customers = kept.customers.saturating_add(next.customers);
            }
            same
        });
        let customers = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.customers));
        Ok(Self { unit, rows, customers })
    }

    pub fn unit(&self) -> TimeUnit {
        self.unit
    }

    pub fn rows(&self) -> &[PurchaseTuple] {
        &self.rows
    }

    pub fn customers(&self) -> u64 {
        self.customers
    }

    /// About `most` of the customers, evenly spaced in the order of the tuples: every x, T and t_x has its
    /// share. `None` when there are hardly more tuples than that.
    pub(super) fn thinned(&self, most: u64) -> Option<Self> {
        let spacing = self.customers.div_ceil(most.max(1)).max(1);
        if self.rows.len() as u64 <= most.saturating_mul(2) || spacing == 1 {
            return None;
        }
        // Customers at spacing/2, 3·spacing/2 and so on are taken.
        let taken = |before: u64| (before + spacing - 1 - spacing / 2) / spacing;
        let mut before = 0;
        let rows = self.rows.iter().filter_map(|row| {
            let after = before + row.customers;
            let customers = taken(after) - taken(before);
            before = after;
            (customers > 0).then_some(PurchaseTuple { customers, ..*row })
        });
        let rows: Vec<PurchaseTuple> = rows.collect();
        let customers = rows.iter().map(|row| row.customers).sum();
        Some(Self { unit: self.unit, rows, customers })
    }
}

fn check(index: usize, row: &PurchaseTuple) -> Result<(), TupleError> {
    for (what, value) in [("t_x", row.t_x), ("T", row.t)] {
        // −0 would be another tuple than 0.
        if !value.is_finite() || value.is_sign_negative() {
            return Err(TupleError::Time { index, what, value });
        }
    }
    if row.t_x > row.t {
        return Err(TupleError::LastAfterEnd { index, t_x: row.t_x, t: row.t });
    }
    if (row.x == 0) != (row.t_x == 0.0) {
        return Err(TupleError::Repeats { index, x: row.x, t_x: row.t_x });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuple(x: u32, t_x: f64, t: f64, customers: u64) -> PurchaseTuple {
        PurchaseTuple { x, t_x, t, customers }
    }

    #[test]
    fn lengths_are_converted_through_days() {
        let year = UnitTimes::new(12.0, TimeUnit::Month);
        assert_eq!(year.days(), 365.25);
        assert_eq!(year.to(TimeUnit::Year), UnitTimes::new(1.0, TimeUnit::Year));
        assert!((year.to(TimeUnit::Week).times - 52.178_571_428_571_43).abs() < 1e-13);
        assert_eq!(UnitTimes::new(0.1, TimeUnit::Week).to(TimeUnit::Week).times, 0.1);
        assert_eq!(UnitTimes::of_days(14.0, TimeUnit::Week).to_string(), "2 weeks");
        assert_eq!(UnitTimes::new(1.0, TimeUnit::Day).to_string(), "1 day");
    }

    #[test]
    fn impossible_tuples_are_refused_with_their_number() {
        let refused = |row| Tuples::new(TimeUnit::Day, vec![tuple(0, 0.0, 1.0, 1), row]).unwrap_err();
        assert_eq!(refused(tuple(1, 3.0, 2.0, 1)), TupleError::LastAfterEnd { index: 1, t_x: 3.0, t: 2.0 });
        assert_eq!(refused(tuple(0, 1.0, 2.0, 1)), TupleError::Repeats { index: 1, x: 0, t_x: 1.0 });
        assert_eq!(refused(tuple(2, 0.0, 2.0, 1)), TupleError::Repeats { index: 1, x: 2, t_x: 0.0 });
        assert!(matches!(refused(tuple(0, 0.0, f64::NAN, 1)), TupleError::Time { what: "T", .. }));
        assert!(matches!(refused(tuple(0, 0.0, f64::INFINITY, 1)), TupleError::Time { .. }));
        assert!(matches!(refused(tuple(0, -0.0, 1.0, 1)), TupleError::Time { what: "t_x", .. }));
    }

    proptest! {
        #[test]
        fn order_and_splits_do_not_show(
            rows in prop::collection::vec((0u32..3, 1u32..4, 4u32..6, 0u64..3), 1..30).prop_shuffle(),
        ) {
            let tuples = |rows: &[(u32, u32, u32, u64)]| {
                let rows = rows.iter().map(|&(x, t_x, t, n)| {
                    tuple(x, if x == 0 { 0.0 } else { f64::from(t_x) }, f64::from(t), n)
                });
                Tuples::new(TimeUnit::Week, rows.collect()).unwrap()
            };
            let one_way = tuples(&rows);
            let backwards: Vec<_> = rows.iter().rev().copied().collect();
            prop_assert_eq!(&one_way, &tuples(&backwards));
            prop_assert_eq!(one_way.customers(), rows.iter().map(|row| row.3).sum::<u64>());
            let key = |row: &PurchaseTuple| (row.x, row.t.to_bits(), row.t_x.to_bits());
            if let Some(thinned) = one_way.thinned(2) {
                let spacing = one_way.customers().div_ceil(2);
                prop_assert!(thinned.customers().abs_diff(one_way.customers() / spacing) <= 1);
                for row in thinned.rows() {
                    let whole = one_way.rows().iter().find(|whole| key(whole) == key(row)).unwrap();
                    prop_assert!(row.customers.abs_diff(whole.customers / spacing) <= 1);
                }
            }
            prop_assert!(one_way.rows().windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
        }
    }
}
