//! Value segments: customers alike in recency, frequency, money, length and future value, by the same
//! k-means and the same choice of their number as the main segments.

use super::rfm::Behaviour;
use crate::config::resolve::Segments as Settings;
use crate::features::SampledCustomer;
use crate::features::behaviour::BehaviourColumn;
use crate::numerics::describe;
use crate::numerics::scaling::ColumnKind;
use crate::segments::SegmentError;
use crate::segments::model::{Place, ScaledBehaviour, SegmentModel, SweepRow};

/// Scaled values are summed as integers of so many steps, so that the order of the customers does not show.
const STEPS: f64 = 65_536.0;

/// What segments are made of, in the order of [`values`].
fn columns() -> Vec<BehaviourColumn> {
    let column = |name: &str, kind, high: &str, low: &str| BehaviourColumn {
        name: name.to_owned(),
        kind,
        weight: 1.0,
        high: high.to_owned(),
        low: low.to_owned(),
    };
    vec![
        column("recency", ColumnKind::Duration, "has been away {much} longer", "bought {much} more recently"),
        column("frequency", ColumnKind::Count, "buys {much} more often", "buys {much} less often"),
        column("monetary", ColumnKind::Amount, "has spent {much} more", "has spent {much} less"),
        column(
            "length",
            ColumnKind::Duration,
            "has bought for {much} longer",
            "has bought for {much} less time",
        ),
        column(
            "value",
            ColumnKind::Amount,
            "is worth {much} more in future",
            "is worth {much} less in future",
        ),
    ]
}

/// The values of a customer: days, purchases, currency units; NaN for an unknown value.
pub fn values(behaviour: &Behaviour, value: Option<f64>, scale: f64) -> [f32; 5] {
    [
        behaviour.recency_days as f32,
        behaviour.purchases as f32,
        (behaviour.revenue as f64 / scale) as f32,
        behaviour.length_days as f32,
        value.map_or(f32::NAN, |value| value as f32),
    ]
}

/// Fitted value segments; segment 1 has the most present revenue per customer in the sample.
pub struct ValueSegments {
    model: SegmentModel,
    /// Places of the model's columns among [`values`].
    places: Vec<usize>,
}

impl ValueSegments {
    /// Fits on a sample whose behaviour is [`values`], `customers` being the size of the base. Memory: the
    /// sample twice.
    pub fn fit(
        sample: &[SampledCustomer],
        customers: u64,
        settings: &Settings,
        seed: u64,
        threads: usize,
        progress: impl Fn(u64) + Sync,
    ) -> Result<Self, SegmentError> {
        let all = columns();
        let (behaviour, rows) = ScaledBehaviour::fit(&all, sample)?;
        let model =
            SegmentModel::fit(behaviour, &rows, (sample, customers), settings, seed, threads, progress)?;
        let place = |name: &str| all.iter().position(|column| column.name == name).unwrap_or(0);
        let places = model.behaviour.columns.iter().map(|column| place(&column.name)).collect();
        Ok(Self { model, places })
    }

    pub fn count(&self) -> usize {
        self.model.k
    }

    pub fn sweep(&self) -> &[SweepRow] {
        &self.model.sweep
    }

    /// Places a customer; the scaled row is left in `row`.
    pub fn place(
        &self,
        values: [f32; 5],
        row: &mut Vec<f32>,
        distances: &mut Vec<f32>,
    ) -> Result<Place, SegmentError> {
        let known: Vec<f64> = self.places.iter().map(|place| f64::from(values[*place])).collect();
        row.resize(known.len(), 0.0);
        self.model.behaviour.scaling.apply(&known, row)?;
        Ok(self.model.place(row, distances))
    }

    /// A tally for these segments.
    pub fn tally(&self) -> ValueTally {
        let (k, dims) = (self.model.k, self.places.len());
        ValueTally {
            dims,
            customers: vec![0; k],
            revenue: vec![0; k],
            value: vec![0; k],
            sums: vec![0; k * dims],
            squares: vec![0; dims],
        }
    }

    /// The rows of `value_segments`; `scale` is minor units a currency unit.
    pub fn profiles(&self, tally: &ValueTally, scale: f64) -> Result<Vec<ValueProfile>, SegmentError> {
        let words: Vec<_> = self.model.behaviour.columns.iter().map(BehaviourColumn::words).collect();
        let all: u64 = tally.customers.iter().sum();
        let (revenue, value): (i64, i64) = (tally.revenue.iter().sum(), tally.value.iter().sum());
        let dims = tally.dims;
        let mean_of = |sum: i64, count: u64| sum as f64 / count.max(1) as f64;
        let overall: Vec<f64> =
            (0..dims).map(|dim| mean_of(tally.sums.iter().skip(dim).step_by(dims).sum(), all)).collect();
        let deviations: Vec<f64> = (0..dims)
            .map(|dim| {
                let mean_square = tally.squares[dim] as f64 / all.max(1) as f64;
                (mean_square - overall[dim] * overall[dim]).max(0.0).sqrt()
            })
            .collect();
        let share = |part: i64, all: i64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
        (0..self.model.k)
            .map(|segment| {
                let customers = tally.customers[segment];
                let means: Vec<f64> =
                    tally.sums[segment * dims..][..dims].iter().map(|sum| mean_of(*sum, customers)).collect();
                let traits = describe::distinguishing(&words, &means, &overall, &deviations)?;
                Ok(ValueProfile {
                    segment: segment + 1,
                    customers,
                    customer_share: customers as f64 / all.max(1) as f64,
                    revenue: tally.revenue[segment] as f64 / scale,
                    revenue_share: share(tally.revenue[segment], revenue),
                    value: tally.value[segment] as f64 / scale,
                    value_share: share(tally.value[segment], value),
                    description: describe::sentence(&traits),
                })
            })
            .collect()
    }
}

/// One value segment. Money in currency units.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueProfile {
    /// From 1.
    pub segment: usize,
    pub customers: u64,
    pub customer_share: f64,
    /// What its customers have paid.
    pub revenue: f64,
    pub revenue_share: f64,
    /// What they are expected to pay.
    pub value: f64,
    pub value_share: f64,
    pub description: String,
}

/// Exact sums by segment.
#[derive(Debug, Clone)]
pub struct ValueTally {
    dims: usize,
    customers: Vec<u64>,
    /// Minor units.
    revenue: Vec<i64>,
    value: Vec<i64>,
    /// k × dims, in steps.
    sums: Vec<i64>,
    squares: Vec<i128>,
}

impl ValueTally {
    /// Adds a customer with its scaled row, and money in minor units.
    pub fn add(&mut self, segment: usize, row: &[f32], revenue: i64, value: i64) {
        self.customers[segment] += 1;
        self.revenue[segment] += revenue;
        self.value[segment] += value;
        for (dim, scaled) in row.iter().enumerate() {
            let steps = (f64::from(*scaled) * STEPS).round() as i64;
            self.sums[segment * self.dims + dim] += steps;
            self.squares[dim] += i128::from(steps) * i128::from(steps);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        fn add<T: Copy + std::ops::AddAssign>(mine: &mut [T], theirs: &[T]) {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += *theirs);
        }
        add(&mut self.customers, &other.customers);
        add(&mut self.revenue, &other.revenue);
        add(&mut self.value, &other.value);
        add(&mut self.sums, &other.sums);
        add(&mut self.squares, &other.squares);
    }
}
