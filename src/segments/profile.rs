//! What the segments are like, counted exactly while customers are placed.

use super::SegmentError;
use super::model::{Place, SegmentModel, SweepRow};
use crate::config::resolve::{CandidateRule, Neighbours};
use crate::features::{Features, as_floats};
use crate::numerics::describe;
use crate::numerics::special::rounded;
use crate::tables::{CustomerType, SEGMENT_PROFILES, SEGMENT_SWEEP};
use arrow::array::{BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Scaled features are summed as integers of this many steps a unit, so that the order of the
/// customers does not show in the last digit.
const STEPS: f64 = 65_536.0;

/// A row of `segment_profiles`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentProfile {
    /// From 1.
    pub segment: usize,
    pub customers: u64,
    pub customer_share: f64,
    pub revenue: f64,
    pub revenue_share: f64,
    pub revenue_per_customer: f64,
    pub purchases_per_customer: f64,
    pub mean_recency_days: f64,
    pub high_revenue: bool,
    pub description: String,
    pub top_packages: String,
}

/// Integer sums over customers, by segment.
pub(super) struct Tally {
    dims: usize,
    packages: usize,
    customers: Vec<u64>,
    revenue: Vec<i64>,
    purchases: Vec<i64>,
    recency: Vec<i64>,
    /// k × dims.
    sums: Vec<i64>,
    /// dims, over all customers.
    squares: Vec<i128>,
    /// k × packages.
    package_times: Vec<i64>,
}

impl Tally {
    pub fn new(k: usize, dims: usize, packages: usize) -> Self {
        Self {
            dims,
            packages,
            customers: vec![0; k],
            revenue: vec![0; k],
            purchases: vec![0; k],
            recency: vec![0; k],
            sums: vec![0; k * dims],
            squares: vec![0; dims],
            package_times: vec![0; k * packages],
        }
    }

    pub fn add_customers(&mut self, batch: &RecordBatch, scaled: &[f32], placed: &[Place], scale: f64) {
        let revenue = as_floats(batch, "revenue");
        let purchases = as_floats(batch, "purchases");
        let recency = as_floats(batch, "recency_days");
        for (row, place) in placed.iter().enumerate() {
            let segment = place.segment;
            self.customers[segment] += 1;
            self.revenue[segment] += (revenue.value(row) * scale).round() as i64;
            self.purchases[segment] += purchases.value(row) as i64;
            self.recency[segment] += recency.value(row) as i64;
            for dim in 0..self.dims {
                let steps = rounded(f64::from(scaled[row * self.dims + dim]) * STEPS) as i64;
                self.sums[segment * self.dims + dim] += steps;
                self.squares[dim] += i128::from(steps) * i128::from(steps);
            }
        }
    }

    pub fn add_package(&mut self, segment: usize, package: usize, times: i64) {
        if let Some(count) = self.package_times.get_mut(segment * self.packages + package) {
            *count += times;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        fn add<T: Copy + std::ops::AddAssign>(mine: &mut [T], theirs: &[T]) {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += *theirs);
        }
        add(&mut self.customers, &other.customers);
        add(&mut self.revenue, &other.revenue);
        add(&mut self.purchases, &other.purchases);
        add(&mut self.recency, &other.recency);
        add(&mut self.sums, &other.sums);
        add(&mut self.squares, &other.squares);
        add(&mut self.package_times, &other.package_times);
    }

    pub fn into_package_times(self) -> Vec<i64> {
        self.package_times
    }

    /// The profiles, in the order of the segments' numbers.
    pub fn profiles(
        &self,
        model: &SegmentModel,
        features: &Features,
        neighbours: &Neighbours,
        scale: f64,
    ) -> Result<Vec<SegmentProfile>, SegmentError> {
        let total: u64 = self.customers.iter().sum();
        let revenue: i64 = self.revenue.iter().sum();
        let words: Vec<_> = model.behaviour.columns.iter().map(|column| column.words()).collect();
        let overall: Vec<f64> = (0..self.dims)
            .map(|dim| {
                let sum: i64 = (0..model.k).map(|segment| self.sums[segment * self.dims + dim]).sum();
                sum as f64 / total.max(1) as f64
            })
            .collect();
        let deviations: Vec<f64> = (0..self.dims)
            .map(|dim| {
                (self.squares[dim] as f64 / total.max(1) as f64 - overall[dim] * overall[dim]).max(0.0).sqrt()
            })
            .collect();
        let high = self.high_revenue(model.k, neighbours);
        (0..model.k)
            .map(|segment| {
                let customers = self.customers[segment];
                let each = |sum: i64| sum as f64 / customers.max(1) as f64;
                let means: Vec<f64> =
                    (0..self.dims).map(|dim| each(self.sums[segment * self.dims + dim])).collect();
                let traits = describe::distinguishing(&words, &means, &overall, &deviations)?;
                Ok(SegmentProfile {
                    segment: segment + 1,
                    customers,
                    customer_share: customers as f64 / total.max(1) as f64,
                    revenue: self.revenue[segment] as f64 / scale,
                    revenue_share: if revenue == 0 {
                        0.0
                    } else {
                        self.revenue[segment] as f64 / revenue as f64
                    },
                    revenue_per_customer: each(self.revenue[segment]) / scale,
                    purchases_per_customer: each(self.purchases[segment]),
                    mean_recency_days: each(self.recency[segment]),
                    high_revenue: high[segment],
                    description: describe::sentence(&traits),
                    top_packages: self.top_packages(segment, features),
                })
            })
            .collect()
    }

    /// Which segments' customers are examples for others.
    fn high_revenue(&self, k: usize, neighbours: &Neighbours) -> Vec<bool> {
        let mut order: Vec<usize> = (0..k).filter(|segment| self.customers[*segment] > 0).collect();
        order.sort_by(|a, b| {
            let mean = |s: usize| i128::from(self.revenue[s]);
            let count = |s: usize| i128::from(self.customers[s]);
            (mean(*b) * count(*a)).cmp(&(mean(*a) * count(*b))).then(a.cmp(b))
        });
        let mut high = vec![false; k];
        match neighbours.candidates {
            CandidateRule::RevenueShare => {
                let total: i64 = self.revenue.iter().sum();
                let wanted = total as f64 * neighbours.revenue_share;
                let mut held = 0;
                for segment in order {
                    high[segment] = true;
                    held += self.revenue[segment];
                    if held as f64 >= wanted {
                        break;
                    }
                }
            }
            CandidateRule::AboveOwn => {
                let all_but_last = order.len().saturating_sub(1).max(1);
                for segment in order.into_iter().take(all_but_last) {
                    high[segment] = true;
                }
            }
        }
        high
    }

    fn top_packages(&self, segment: usize, features: &Features) -> String {
        let times = &self.package_times[segment * self.packages..][..self.packages];
        let mut order: Vec<usize> = (0..self.packages).filter(|package| times[*package] > 0).collect();
        order.sort_by_key(|package| (-times[*package], *package));
        let codes = order.into_iter().take(3).map(|package| features.packages[package].code.as_str());
        codes.collect::<Vec<_>>().join(", ")
    }
}

/// The rows of `segment_profiles`.
pub fn profile_batch(profiles: &[SegmentProfile]) -> Result<RecordBatch, ArrowError> {
    let floats = |value: fn(&SegmentProfile) -> f64| {
        Arc::new(Float64Array::from_iter_values(profiles.iter().map(value)))
    };
    let texts = |value: fn(&SegmentProfile) -> &str| {
        Arc::new(StringArray::from_iter_values(profiles.iter().map(value)))
    };
    RecordBatch::try_new(
        SEGMENT_PROFILES.schema(CustomerType::Text),
        vec![
            Arc::new(Int64Array::from_iter_values(profiles.iter().map(|p| p.segment as i64))),
            Arc::new(Int64Array::from_iter_values(profiles.iter().map(|p| p.customers as i64))),
            floats(|p| p.customer_share),
            floats(|p| p.revenue),
            floats(|p| p.revenue_share),
            floats(|p| p.revenue_per_customer),
            floats(|p| p.purchases_per_customer),
            floats(|p| p.mean_recency_days),
            Arc::new(profiles.iter().map(|p| Some(p.high_revenue)).collect::<BooleanArray>()),
            texts(|p| &p.description),
            texts(|p| &p.top_packages),
        ],
    )
}

/// The rows of `segment_sweep`.
pub fn sweep_batch(sweep: &[SweepRow]) -> Result<RecordBatch, ArrowError> {
    let floats =
        |value: fn(&SweepRow) -> f64| Arc::new(Float64Array::from_iter_values(sweep.iter().map(value)));
    RecordBatch::try_new(
        SEGMENT_SWEEP.schema(CustomerType::Text),
        vec![
            Arc::new(Int64Array::from_iter_values(sweep.iter().map(|row| row.point.k as i64))),
            floats(|row| row.point.silhouette),
            floats(|row| row.point.standard_error),
            floats(|row| row.point.inertia),
            Arc::new(Int64Array::from_iter_values(sweep.iter().map(|row| row.iterations as i64))),
            Arc::new(sweep.iter().map(|row| Some(row.chosen)).collect::<BooleanArray>()),
        ],
    )
}
