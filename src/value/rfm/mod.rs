//! How customers behave: recency, frequency and monetary value (RFM), and how long they have been
//! customers (LRFM).
//!
//! RFM scores are Hughes' (*Strategic Database Marketing*, 1994), the length beside them is from Reinartz
//! and Kumar (2000, "On the profitability of long-life customers in a noncontractual setting", Journal of
//! Marketing 64) by way of Chang and Tsay (2004). [`cuts`] gives scores, [`grid`] names what they mean
//! together, [`profile`] says what the named segments are like and [`migration`] who moved between them.

pub mod cuts;
pub mod grid;
pub mod migration;
pub mod profile;

use crate::numerics::histogram::Histogram;
use cuts::{Better, Cuts, Score};

/// The measures by their one-letter names, in the order of [`Lrfm::all`].
pub const MEASURES: [&str; 4] = ["R", "F", "M", "L"];

/// What the scores are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behaviour {
    /// Days from the last purchase to the end of the data. Fewer is better.
    pub recency_days: i64,
    /// Days with a purchase: two receipts of one day are one purchase.
    pub purchases: i64,
    /// All that was paid, in minor units of money. The total and not the mean of a purchase, so that M
    /// ranks customers by what they brought in; the mean is revenue by purchases.
    pub revenue: i64,
    /// Days from the first purchase to the last.
    pub length_days: i64,
}

/// One thing for each measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lrfm<T> {
    pub recency: T,
    pub frequency: T,
    pub monetary: T,
    pub length: T,
}

impl<T> Lrfm<T> {
    /// In the order of [`MEASURES`].
    pub fn all(&self) -> [&T; 4] {
        [&self.recency, &self.frequency, &self.monetary, &self.length]
    }
}

impl Lrfm<Score> {
    /// R, F and M as the digits of one number, 111 to 555.
    pub fn code(&self) -> u16 {
        let [recency, frequency, monetary] =
            [self.recency, self.frequency, self.monetary].map(|score| u16::from(score.get()));
        recency * 100 + frequency * 10 + monetary
    }
}

/// The distributions that the cut points are taken from. 256 KiB in all for recencies and lengths up to
/// eleven years and revenues from 0 to a million minor units, 7 MiB for any whole numbers.
impl Lrfm<Histogram> {
    pub fn add(&mut self, customer: &Behaviour) {
        self.recency.add(customer.recency_days, 1);
        self.frequency.add(customer.purchases, 1);
        self.monetary.add(customer.revenue, 1);
        self.length.add(customer.length_days, 1);
    }

    /// Takes in the distributions over other customers; the order of merging does not show.
    pub fn merge(&mut self, other: &Self) {
        self.recency.merge(&other.recency);
        self.frequency.merge(&other.frequency);
        self.monetary.merge(&other.monetary);
        self.length.merge(&other.length);
    }

    /// The cut points; None without customers.
    pub fn cuts(&self) -> Option<Lrfm<Cuts>> {
        Some(Lrfm {
            recency: Cuts::new(&self.recency, Better::Fewer)?,
            frequency: Cuts::new(&self.frequency, Better::More)?,
            monetary: Cuts::new(&self.monetary, Better::More)?,
            length: Cuts::new(&self.length, Better::More)?,
        })
    }
}

impl Lrfm<Cuts> {
    /// The scores of a customer.
    pub fn scores(&self, customer: &Behaviour) -> Lrfm<Score> {
        Lrfm {
            recency: self.recency.score(customer.recency_days),
            frequency: self.frequency.score(customer.purchases),
            monetary: self.monetary.score(customer.revenue),
            length: self.length.score(customer.length_days),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(customers: &[Behaviour]) -> Lrfm<Histogram> {
        let mut histograms = Lrfm::default();
        customers.iter().for_each(|customer| histograms.add(customer));
        histograms
    }

    #[test]
    fn recent_frequent_and_large_is_five_five_five() {
        let customers: Vec<Behaviour> = (1..=5)
            .map(|n| Behaviour {
                recency_days: 100 - n,
                purchases: n,
                revenue: -n * 1_000,
                length_days: n * 30,
            })
            .collect();
        let cuts = of(&customers).cuts().expect("customers");
        let scores = cuts.scores(&customers[4]);
        assert_eq!((scores.code(), scores.length.get()), (551, 5));
        assert_eq!(cuts.scores(&customers[0]).code(), 115);
        assert_eq!(scores.all().map(|score| score.get()), [5, 5, 1, 5]);
        assert_eq!(of(&[]).cuts(), None);
    }

    proptest! {
        #[test]
        fn equal_customers_score_equally_and_rows_may_come_in_any_order_and_parts(
            rows in prop::collection::vec((0_i64..60, 1_i64..9, -500_i64..90_000, 0_i64..400), 1..80),
            split in 0_usize..80,
        ) {
            let customers: Vec<Behaviour> = rows
                .iter()
                .map(|&(recency_days, purchases, revenue, length_days)| Behaviour {
                    recency_days,
                    purchases,
                    revenue,
                    length_days,
                })
                .collect();
            let whole = of(&customers);
            let (left, right) = customers.split_at(split.min(customers.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(&merged, &whole);
            let cuts = whole.cuts().expect("customers");
            for a in &customers {
                for b in &customers {
                    let [of_a, of_b] = [a, b].map(|each| cuts.scores(each));
                    prop_assert!(a.purchases != b.purchases || of_a.frequency == of_b.frequency);
                    prop_assert!(a.recency_days != b.recency_days || of_a.recency == of_b.recency);
                    prop_assert!(a.revenue > b.revenue || of_a.monetary <= of_b.monetary);
                }
            }
        }
    }
}
