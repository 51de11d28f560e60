//! How well customer value was predicted: figures over a holdout that the model has not seen.
//!
//! Predictions and outcomes are rounded to 1/65,536 of a unit (a purchase, a currency unit) and summed as
//! whole numbers, so that parts of the base merge to the same figures in any order. Every method is
//! measured for purchases and for spend in the same way, the two naive ones beside the model.

use crate::numerics::correlation::{PairSums, auc_of_groups};
use crate::numerics::histogram::{Bins, Histogram};
use thiserror::Error;

/// Steps of the fixed-point numbers a unit.
const STEPS: f64 = 65_536.0;
/// The largest magnitude in steps, 17 thousand million units. The squares of 33 million customers who are
/// all at this limit sum to 2^125, so no base of any likeness to a real one overflows.
const LARGEST: f64 = (1_u64 << 50) as f64;
/// Groups of the calibration.
const GROUPS: usize = 10;

/// Who predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Model,
    /// The customer goes on at the rate since the first purchase ([`at_own_rate`]).
    OwnRate,
    /// The customer does again what was done in the last period as long as the holdout.
    LastPeriod,
}

impl Method {
    pub const ALL: [Self; 3] = [Self::Model, Self::OwnRate, Self::LastPeriod];

    pub fn text(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::OwnRate => "own rate",
            Self::LastPeriod => "last period",
        }
    }
}

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Purchases,
    Spend,
}

impl Target {
    pub const ALL: [Self; 2] = [Self::Purchases, Self::Spend];

    pub fn text(self) -> &'static str {
        match self {
            Self::Purchases => "purchases",
            Self::Spend => "spend",
        }
    }
}

/// What a method says of a customer over the holdout.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Forecast {
    pub purchases: f64,
    /// Currency units.
    pub spend: f64,
}

/// What the customer did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outcome {
    pub purchases: u32,
    /// Currency units; below zero if more was returned than bought.
    pub spend: f64,
}

/// A number that cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum BacktestError {
    #[error("the {source_name} gives {value} {}, which is not a finite number", target.text())]
    NotFinite { source_name: &'static str, target: Target, value: f64 },
    #[error(
        "the {source_name} gives {value} {}; more than {} cannot be summed exactly",
        target.text(),
        LARGEST / STEPS
    )]
    TooLarge { source_name: &'static str, target: Target, value: f64 },
}

/// What a customer who goes on as before does in `horizon`: `total` / `observed` × `horizon`, both times in
/// one unit. 0 for a customer observed for no time.
pub fn at_own_rate(total: f64, observed: f64, horizon: f64) -> f64 {
    if observed > 0.0 { total / observed * horizon } else { 0.0 }
}

/// The sums of a backtest, for every method and target.
///
/// Memory: 48 bytes a bin of [`Bins`] for each of the six, about 1 MiB for purchases and 2 MiB for spend
/// up to 16,000 currency units; 10 MiB in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backtest {
    /// By target and method.
    comparisons: [[Comparison; 3]; 2],
}

/// The sums for one method and target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Comparison {
    /// x is the prediction, y the outcome, in steps.
    pairs: PairSums,
    absolute_error: i128,
    /// By prediction.
    bins: Bins<Cell>,
}

/// The customers whose predictions are in one bin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cell {
    customers: u64,
    bought: u64,
    predicted: i128,
    actual: i128,
}

/// How a method did. Purchases, or currency units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub customers: u64,
    /// Totals over the customers.
    pub predicted: f64,
    pub actual: f64,
    /// (predicted − actual) / actual, in percent; None unless the actual total is above 0.
    pub bias_percent: Option<f64>,
    /// Mean absolute error a customer.
    pub mae: f64,
    /// Root of the mean squared error a customer.
    pub rmse: f64,
    /// None if predictions or outcomes do not vary.
    pub pearson: Option<f64>,
    /// Probability that a customer who bought at all has a higher prediction than one who did not, ties
    /// counting half; predictions that share a bin are ties. None if all or nobody bought.
    pub auc: Option<f64>,
    /// None unless both totals are above 0.
    pub recalibration: Option<Recalibration>,
}

/// One factor for all predictions that would have made the total right. It is known only once the holdout
/// is over, and reported beside the raw figures, never applied to what is published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recalibration {
    /// Actual total / predicted total.
    pub factor: f64,
    /// The root mean squared error that the factor would have given.
    pub rmse: f64,
}

/// Customers of similar predictions, and what they did: equal means are a calibrated method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationRow {
    /// 1 holds the lowest predictions, 10 the highest.
    pub group: usize,
    /// Predictions of the group are above this, to 1/2,048 of it; None for the first group there is.
    pub above: Option<f64>,
    pub customers: u64,
    pub mean_predicted: f64,
    pub mean_actual: f64,
    /// Of the actual total; None unless that is above 0.
    pub actual_share: Option<f64>,
}

impl Backtest {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a customer with what the methods predicted, in the order of [`Method::ALL`]. On an error
    /// nothing has been added.
    pub fn add(&mut self, forecasts: &[Forecast; 3], actual: Outcome) -> Result<(), BacktestError> {
        let mut predicted = [[0; 3]; 2];
        for (place, (method, forecast)) in Method::ALL.iter().zip(forecasts).enumerate() {
            predicted[0][place] = steps(forecast.purchases, method.text(), Target::Purchases)?;
            predicted[1][place] = steps(forecast.spend, method.text(), Target::Spend)?;
        }
        let happened = [
            steps(f64::from(actual.purchases), "holdout", Target::Purchases)?,
            steps(actual.spend, "holdout", Target::Spend)?,
        ];
        for ((comparisons, predicted), happened) in self.comparisons.iter_mut().zip(predicted).zip(happened) {
            for (comparison, predicted) in comparisons.iter_mut().zip(predicted) {
                comparison.add(predicted, happened, actual.purchases > 0);
            }
        }
        Ok(())
    }

    /// Takes in the sums over other customers; the order of merging does not show.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.comparisons.iter_mut().flatten().zip(other.comparisons.iter().flatten()) {
            mine.merge(theirs);
        }
    }

    /// The figures of a method; None without customers.
    pub fn figures(&self, method: Method, target: Target) -> Option<Figures> {
        self.comparison(method, target).figures()
    }

    /// Ten groups by prediction, the lowest first, cut at quantiles of value: customers of equal
    /// prediction are in one group. A group that ties leave empty is absent.
    pub fn calibration(&self, method: Method, target: Target) -> Vec<CalibrationRow> {
        self.comparison(method, target).calibration()
    }

    /// Bytes held by the bins.
    pub fn bytes(&self) -> usize {
        self.comparisons.iter().flatten().map(|comparison| comparison.bins.bytes()).sum()
    }

    fn comparison(&self, method: Method, target: Target) -> &Comparison {
        &self.comparisons[target as usize][method as usize]
    }
}

impl Comparison {
    fn add(&mut self, predicted: i64, actual: i64, bought: bool) {
        self.pairs.add(predicted, actual);
        self.absolute_error += i128::from((predicted - actual).abs());
        let cell = self.bins.at(predicted);
        cell.customers += 1;
        cell.bought += u64::from(bought);
        cell.predicted += i128::from(predicted);
        cell.actual += i128::from(actual);
    }

    fn merge(&mut self, other: &Self) {
        self.pairs.merge(&other.pairs);
        self.absolute_error += other.absolute_error;
        self.bins.merge(&other.bins, Cell::merge);
    }

    fn figures(&self) -> Option<Figures> {
        let pairs = &self.pairs;
        if pairs.count == 0 {
            return None;
        }
        let n = pairs.count as f64;
        let (predicted, actual) = (pairs.x as f64 / STEPS, pairs.y as f64 / STEPS);
        let squared_error = pairs.xx - 2 * pairs.xy + pairs.yy;
        let root = |squares: f64| (squares.max(0.0) / n).sqrt() / STEPS;
        Some(Figures {
            customers: pairs.count,
            predicted,
            actual,
            bias_percent: (pairs.y > 0).then(|| (pairs.x - pairs.y) as f64 / pairs.y as f64 * 100.0),
            mae: self.absolute_error as f64 / STEPS / n,
            rmse: root(squared_error as f64),
            pearson: pairs.pearson(),
            auc: auc_of_groups(self.bins.iter().map(|(_, cell)| (cell.bought, cell.customers - cell.bought))),
            recalibration: (pairs.x > 0 && pairs.y > 0).then(|| {
                let factor = pairs.y as f64 / pairs.x as f64;
                let (xx, xy, yy) = (pairs.xx as f64, pairs.xy as f64, pairs.yy as f64);
                Recalibration { factor, rmse: root(factor * factor * xx - 2.0 * factor * xy + yy) }
            }),
        })
    }

    fn calibration(&self) -> Vec<CalibrationRow> {
        let mut predictions = Histogram::new();
        self.bins.iter().for_each(|(edge, cell)| predictions.add(edge, cell.customers));
        let cuts: Vec<i64> =
            (1..GROUPS).filter_map(|cut| predictions.quantile(cut as f64 / GROUPS as f64)).collect();
        let mut groups = [Cell::default(); GROUPS];
        for (edge, cell) in self.bins.iter() {
            // The cuts are edges of bins, so a bin is never cut in two.
            groups[cuts.iter().filter(|cut| edge > **cut).count()].merge(cell);
        }
        let mut rows: Vec<CalibrationRow> = Vec::new();
        for (place, group) in groups.iter().enumerate().filter(|(_, group)| group.customers > 0) {
            let n = group.customers as f64;
            let cut = place.checked_sub(1).and_then(|before| cuts.get(before));
            rows.push(CalibrationRow {
                group: place + 1,
                above: cut.map(|cut| *cut as f64 / STEPS).filter(|_| !rows.is_empty()),
                customers: group.customers,
                mean_predicted: group.predicted as f64 / STEPS / n,
                mean_actual: group.actual as f64 / STEPS / n,
                actual_share: (self.pairs.y > 0).then(|| group.actual as f64 / self.pairs.y as f64),
            });
        }
        rows
    }
}

impl Cell {
    fn merge(&mut self, other: &Self) {
        self.customers += other.customers;
        self.bought += other.bought;
        self.predicted += other.predicted;
        self.actual += other.actual;
    }
}

/// A number in steps.
fn steps(value: f64, source_name: &'static str, target: Target) -> Result<i64, BacktestError> {
    let scaled = (value * STEPS).round();
    if !value.is_finite() {
        Err(BacktestError::NotFinite { source_name, target, value })
    } else if scaled.abs() > LARGEST {
        Err(BacktestError::TooLarge { source_name, target, value })
    } else {
        Ok(scaled as i64)
    }
}

#[cfg(test)]
mod tests;
