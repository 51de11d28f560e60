//! What the segments are like, counted exactly while customers are placed, and whether they differ in
//! more than the scores that they are made of.

use super::Behaviour;
use crate::numerics::significance::{ChiSquared, GroupSums, SignificanceError, chi_squared, eta_squared};

/// What one segment holds. All sums are of whole numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    recency_days: i128,
    purchases: i128,
    length_days: i128,
    /// Count, sum and squares, in minor units.
    revenue: GroupSums,
    /// Customers of whom the outcome is true.
    came_true: u64,
}

/// Exact sums over customers, by segment. 112 bytes a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentTally {
    segments: Vec<Totals>,
}

/// One segment in figures. Money in currency units.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentFigures {
    /// From 0, as [`super::grid::Grid::place`] gives it.
    pub segment: usize,
    pub customers: u64,
    /// Of all customers, 0 to 1.
    pub customer_share: f64,
    pub revenue: f64,
    /// Of all revenue; 0 if there is none.
    pub revenue_share: f64,
    pub purchases: i128,
    /// Means a customer; None for a segment without customers.
    pub mean: Option<SegmentMeans>,
}

/// Means over the customers of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SegmentMeans {
    pub recency_days: f64,
    pub purchases: f64,
    pub revenue: f64,
    pub length_days: f64,
    /// Share of whom the outcome is true.
    pub outcome: f64,
}

/// Whether the segments tell customers apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// Segment by outcome. The error says what is missing for a test.
    pub outcome: Result<ChiSquared, SignificanceError>,
    /// Share of the variance of revenue that lies between segments; None if revenue does not vary.
    pub revenue_eta_squared: Option<f64>,
}

impl SegmentTally {
    /// Nothing yet, for so many segments.
    pub fn new(segments: usize) -> Self {
        Self { segments: vec![Totals::default(); segments] }
    }

    /// Adds a customer. The outcome is any fact to test the segments on. A purchase in the last days
    /// shows only that recency was scored; a purchase after the day of the scores is a real test.
    /// A segment that there is not is passed over.
    pub fn add(&mut self, segment: usize, customer: &Behaviour, outcome: bool) {
        if let Some(totals) = self.segments.get_mut(segment) {
            totals.recency_days += i128::from(customer.recency_days);
            totals.purchases += i128::from(customer.purchases);
            totals.length_days += i128::from(customer.length_days);
            totals.revenue.add(customer.revenue);
            totals.came_true += u64::from(outcome);
        }
    }

    /// Takes in the sums over other customers; the order of merging does not show.
    pub fn merge(&mut self, other: &Self) {
        if self.segments.len() < other.segments.len() {
            self.segments.resize(other.segments.len(), Totals::default());
        }
        for (mine, theirs) in self.segments.iter_mut().zip(&other.segments) {
            mine.recency_days += theirs.recency_days;
            mine.purchases += theirs.purchases;
            mine.length_days += theirs.length_days;
            mine.revenue.merge(&theirs.revenue);
            mine.came_true += theirs.came_true;
        }
    }

    /// The figures of every segment, in their order; `scale` is minor units a currency unit.
    pub fn figures(&self, scale: f64) -> Vec<SegmentFigures> {
        let customers: u64 = self.segments.iter().map(|totals| totals.revenue.count).sum();
        let revenue: i128 = self.segments.iter().map(|totals| totals.revenue.sum).sum();
        let figures = self.segments.iter().enumerate().map(|(segment, totals)| {
            let own = totals.revenue;
            let each = |sum: i128| sum as f64 / own.count as f64;
            SegmentFigures {
                segment,
                customers: own.count,
                customer_share: own.count as f64 / customers.max(1) as f64,
                revenue: own.sum as f64 / scale,
                revenue_share: if revenue == 0 { 0.0 } else { own.sum as f64 / revenue as f64 },
                purchases: totals.purchases,
                mean: (own.count > 0).then(|| SegmentMeans {
                    recency_days: each(totals.recency_days),
                    purchases: each(totals.purchases),
                    revenue: each(own.sum) / scale,
                    length_days: each(totals.length_days),
                    outcome: totals.came_true as f64 / own.count as f64,
                }),
            }
        });
        figures.collect()
    }

    /// The tests of the segments, with their effect sizes.
    pub fn validate(&self) -> Validation {
        let counts: Vec<u64> = self
            .segments
            .iter()
            .flat_map(|totals| [totals.came_true, totals.revenue.count - totals.came_true])
            .collect();
        let revenues: Vec<GroupSums> = self.segments.iter().map(|totals| totals.revenue).collect();
        Validation { outcome: chi_squared(&counts, 2), revenue_eta_squared: eta_squared(&revenues) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn customer(recency_days: i64, purchases: i64, revenue: i64) -> Behaviour {
        Behaviour { recency_days, purchases, revenue, length_days: 10 * purchases }
    }

    #[test]
    fn figures_of_two_segments_and_an_empty_one() {
        let mut tally = SegmentTally::new(3);
        tally.add(0, &customer(10, 1, 1_000), true);
        tally.add(0, &customer(30, 3, 2_000), false);
        tally.add(2, &customer(1, 8, 9_000), true);
        tally.add(7, &customer(1, 1, 1), true);
        let figures = tally.figures(100.0);
        let first = &figures[0];
        assert_eq!((first.customers, first.revenue, first.revenue_share), (2, 30.0, 0.25));
        assert_eq!((first.customer_share, first.purchases), (2.0 / 3.0, 4));
        let mean = SegmentMeans {
            recency_days: 20.0,
            purchases: 2.0,
            revenue: 15.0,
            length_days: 20.0,
            outcome: 0.5,
        };
        assert_eq!(first.mean, Some(mean));
        assert_eq!((figures[1].customers, figures[1].mean, figures[1].segment), (0, None, 1));
        assert_eq!(SegmentTally::new(2).figures(100.0)[1].revenue_share, 0.0);
    }

    #[test]
    fn validation_finds_what_was_planted_and_says_what_is_missing() {
        let mut tally = SegmentTally::new(2);
        for n in 0..100 {
            tally.add(0, &customer(1, 1, 100), n < 90);
            tally.add(1, &customer(1, 1, 300), n < 10);
        }
        let validation = tally.validate();
        // Expected 50 in every cell: χ² = 4 × 40² / 50, V = √(128 / 200).
        let test = validation.outcome.expect("two of each");
        assert!((test.statistic - 128.0).abs() < 1e-9 && (test.cramers_v - 0.8).abs() < 1e-12);
        assert!(test.p_value < 1e-25);
        assert_eq!(validation.revenue_eta_squared, Some(1.0));
        let mut one_sided = SegmentTally::new(2);
        one_sided.add(0, &customer(1, 1, 5), true);
        one_sided.add(1, &customer(1, 1, 5), true);
        let validation = one_sided.validate();
        assert_eq!(validation.outcome, Err(SignificanceError::OneLevel { rows: 2, columns: 1 }));
        assert_eq!(validation.revenue_eta_squared, None);
    }

    proptest! {
        #[test]
        fn parts_in_any_order_add_up_to_the_whole(
            rows in prop::collection::vec((0_usize..4, 0_i64..90, 1_i64..9, -900_i64..9_000, any::<bool>()), 0..60),
            split in 0_usize..60,
        ) {
            let of = |rows: &[(usize, i64, i64, i64, bool)]| {
                let mut tally = SegmentTally::new(4);
                for (segment, recency, purchases, revenue, outcome) in rows {
                    tally.add(*segment, &customer(*recency, *purchases, *revenue), *outcome);
                }
                tally
            };
            let (left, right) = rows.split_at(split.min(rows.len()));
            let mut merged = SegmentTally::new(0);
            merged.merge(&of(right));
            merged.merge(&of(left));
            prop_assert_eq!(&merged, &of(&rows));
            let figures = merged.figures(1.0);
            let customers: u64 = figures.iter().map(|each| each.customers).sum();
            prop_assert_eq!(customers, rows.len() as u64);
        }
    }
}
