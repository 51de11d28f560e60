//! What the quadrants of a matrix hold, counted exactly while customers are placed.

use super::{Matrix, corner};

/// Exact sums over the customers of a quadrant. 48 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    customers: u64,
    /// Minor units.
    revenue: i128,
    /// Customers without a value on x, on y.
    missing: [u64; 2],
}

/// Places customers and sums them by quadrant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuadrantTally {
    /// In steps, x and y; None: nobody has a value.
    limits: [Option<i64>; 2],
    quadrants: [Totals; 4],
}

/// A quadrant in figures. Money in currency units.
#[derive(Debug, Clone, PartialEq)]
pub struct QuadrantRow {
    pub name: String,
    pub strategy: String,
    pub high_x: bool,
    pub high_y: bool,
    pub customers: u64,
    /// Of all customers, 0 to 1.
    pub customer_share: f64,
    pub revenue: f64,
    /// Of all revenue; 0 if there is none.
    pub revenue_share: f64,
    /// The revenue of a quadrant whose strategy is to keep what it has (`at_stake` in the configuration):
    /// what would be missing over as long a time again if all its customers left. None for the others.
    pub revenue_at_stake: Option<f64>,
    /// Customers that are low because they have no value on x, on y.
    pub missing: [u64; 2],
}

impl QuadrantTally {
    /// Nothing yet, with the limits of the two axes ([`super::Axis::limit`]).
    pub fn new(limits: [Option<i64>; 2]) -> Self {
        Self { limits, quadrants: [Totals::default(); 4] }
    }

    /// The limits in steps of their axes, x and y.
    pub fn limits(&self) -> [Option<i64>; 2] {
        self.limits
    }

    /// Whether there are values on both axes. Where nobody has any, quadrants would say what is not known.
    pub fn is_made(&self) -> bool {
        self.limits.iter().all(Option::is_some)
    }

    /// The corner of a customer with these values in steps, if the matrix is made: high is strictly above
    /// the limit, a missing value is low.
    fn place(&self, values: [Option<i64>; 2]) -> Option<usize> {
        let [x, y] = self.limits;
        let high = |value: Option<i64>, limit: i64| value.is_some_and(|value| value > limit);
        Some(corner(high(values[0], x?), high(values[1], y?)))
    }

    /// Places a customer, adds its revenue in minor units, and gives the corner.
    pub fn add(&mut self, values: [Option<i64>; 2], revenue: i64) -> Option<usize> {
        let place = self.place(values)?;
        let totals = &mut self.quadrants[place];
        totals.customers += 1;
        totals.revenue += i128::from(revenue);
        for (missing, value) in totals.missing.iter_mut().zip(values) {
            *missing += u64::from(value.is_none());
        }
        Some(place)
    }

    /// Takes in the sums over other customers, placed by the same limits.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.quadrants.iter_mut().zip(&other.quadrants) {
            mine.customers += theirs.customers;
            mine.revenue += theirs.revenue;
            mine.missing[0] += theirs.missing[0];
            mine.missing[1] += theirs.missing[1];
        }
    }

    /// The four quadrants by corner, those of both high first; `scale` is minor units a currency unit.
    pub fn rows(&self, matrix: &Matrix, scale: f64) -> Vec<QuadrantRow> {
        let customers: u64 = self.quadrants.iter().map(|totals| totals.customers).sum();
        let revenue: i128 = self.quadrants.iter().map(|totals| totals.revenue).sum();
        let by_corner = self.quadrants.iter().zip(&matrix.quadrants).enumerate().rev();
        let rows = by_corner.map(|(place, (totals, quadrant))| {
            let own = totals.revenue as f64 / scale;
            QuadrantRow {
                name: quadrant.name.clone(),
                strategy: quadrant.strategy.clone(),
                high_x: place >= 2,
                high_y: place % 2 == 1,
                customers: totals.customers,
                customer_share: totals.customers as f64 / customers.max(1) as f64,
                revenue: own,
                revenue_share: if revenue == 0 { 0.0 } else { totals.revenue as f64 / revenue as f64 },
                revenue_at_stake: quadrant.at_stake.then_some(own),
                missing: totals.missing,
            }
        });
        rows.collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::scenario::Uplift;
    use super::super::{Axis, Quadrant, Threshold};
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn matrix() -> Matrix {
        let axis = |column: &str| Axis {
            column: column.to_owned(),
            label: column.to_owned(),
            threshold: Threshold::Median,
            steps: 1.0,
        };
        let quadrant = |name: &str, uplift, at_stake| Quadrant {
            name: name.to_owned(),
            strategy: format!("{name} strategy"),
            uplift,
            at_stake,
        };
        Matrix {
            name: "m".to_owned(),
            axes: [axis("x"), axis("y")],
            quadrants: [
                quadrant("Incubator", None, false),
                quadrant("Sniper Zone", Some(Uplift::Upsell), false),
                quadrant("Risk Area", Some(Uplift::CrossSell), true),
                quadrant("Star Client", None, true),
            ],
        }
    }

    #[test]
    fn equal_to_the_threshold_and_missing_are_low() {
        let mut tally = QuadrantTally::new([Some(10), Some(5)]);
        let placed = [
            tally.add([Some(11), Some(6)], 900),
            tally.add([Some(10), Some(6)], 100),
            tally.add([Some(11), Some(5)], 0),
            tally.add([Some(11), None], 300),
            tally.add([None, None], -100),
        ];
        assert_eq!(placed, [3, 1, 2, 2, 0].map(Some));
        let rows = tally.rows(&matrix(), 100.0);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["Star Client", "Risk Area", "Sniper Zone", "Incubator"]);
        let risk = &rows[1];
        assert_eq!((risk.high_x, risk.high_y, risk.customers, risk.missing), (true, false, 2, [0, 1]));
        assert_eq!((risk.revenue, risk.revenue_share, risk.revenue_at_stake), (3.0, 0.25, Some(3.0)));
        assert_eq!((rows[2].revenue_at_stake, rows[3].missing), (None, [1, 1]));
        assert_eq!(rows.iter().map(|row| row.customer_share).sum::<f64>(), 1.0);
    }

    #[test]
    fn without_customers_there_are_still_four_rows_and_without_a_limit_nobody_is_placed() {
        assert_eq!(QuadrantTally::new([Some(0); 2]).rows(&matrix(), 1.0)[0].revenue_share, 0.0);
        let mut tally = QuadrantTally::new([None, Some(0)]);
        assert_eq!(tally.add([Some(7), Some(1)], 1), None);
        assert!(!tally.is_made());
    }

    proptest! {
        #[test]
        fn everybody_is_in_one_quadrant_and_parts_add_up(
            rows in prop::collection::vec((prop::option::of(-9_i64..9), prop::option::of(-9_i64..9), -99_i64..999), 0..60),
            split in 0_usize..60,
        ) {
            let of = |rows: &[(Option<i64>, Option<i64>, i64)]| {
                let mut tally = QuadrantTally::new([Some(0), Some(2)]);
                rows.iter().for_each(|(x, y, revenue)| {
                    tally.add([*x, *y], *revenue);
                });
                tally
            };
            let (left, right) = rows.split_at(split.min(rows.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            prop_assert_eq!(&merged, &of(&rows));
            let figures = merged.rows(&matrix(), 1.0);
            prop_assert_eq!(figures.iter().map(|row| row.customers).sum::<u64>(), rows.len() as u64);
            let revenue: i64 = rows.iter().map(|row| row.2).sum();
            prop_assert_eq!(figures.iter().map(|row| row.revenue).sum::<f64>(), revenue as f64);
        }
    }
}
