//! Maximum-likelihood fits of the purchase and spend models.
//!
//! Newton's method on the logarithms of the parameters, from three fixed starts (for a large base on evenly
//! spaced customers, whose best top is where all customers start), in a box of e^±12 around
//! scaled data: times are divided by the mean T and values by their mean, so that the box is wide for any
//! unit. The best of the three is kept, the first of equals. On a ridge, where the likelihood rises for
//! ever along large a and b, the box ends the search, and the report says what is not identified.

use super::bg_nbd::{BgNbd, Dropout, ParameterError};
use super::gamma_gamma::{GammaGamma, SpendRows};
use super::likelihood::Likelihood;
use super::report::{FitReport, Information, Unidentified};
use super::summary::{TimeUnit, Tuples};
use crate::numerics::newton::{Evaluation, Minimum, NewtonError, Options, minimise};
use thiserror::Error;

/// Logarithms of scaled parameters stay within ± this.
const BOUND: f64 = 12.0;

/// A step of a logarithm changes a parameter at most this much: by a factor of e³ = 20.
const MAX_STEP: f64 = 3.0;

/// A later start is better only if the mean loss is lower by more than this.
const SAME: f64 = 1e-11;

/// Customers that the three starts of a purchase model are tried on when there are more than twice as many
/// tuples.
const SAMPLE: u64 = 4096;

/// How to fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitOptions {
    /// Newton steps of one start.
    pub max_iterations: usize,
    /// The largest slope of the mean log-likelihood of a customer that counts as the top.
    pub tolerance: f64,
    /// Adds penalty · Σ (ln scaled parameter)² to the mean loss of a customer: 0 is plain maximum
    /// likelihood.
    pub penalty: f64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { max_iterations: 200, tolerance: 1e-10, penalty: 0.0 }
    }
}

impl FitOptions {
    /// The mean loss without the penalty.
    fn plain<const N: usize>(&self, minimum: &Minimum<N>) -> f64 {
        minimum.evaluation.value - self.penalty * minimum.at.iter().map(|log| log * log).sum::<f64>()
    }
}

/// Why there is no model. Each is one sentence about the customers.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum FitError {
    #[error("there are no customers to learn from")]
    NoCustomers,
    #[error(
        "none of the {customers} customers bought a second time, so nothing is known about when customers \
         come back"
    )]
    NoRepeatBuyers { customers: u64 },
    #[error(
        "all {customers} customers bought for the first time on the last day of the data, so nothing is \
         known about what comes after"
    )]
    NoTime { customers: u64 },
    #[error(
        "no customer was watched for more than one {unit} (the longest was {longest} of it), so nobody had \
         the time to come back and leave again"
    )]
    OnePeriod { longest: f64, unit: TimeUnit },
    #[error(
        "all {customers} customers look the same ({x} repeat purchases, the last after {t_x}, watched for \
         {t}): what sets customers apart cannot be learned from them"
    )]
    OneTuple { customers: u64, x: u32, t_x: f64, t: f64 },
    #[error(
        "the repeat purchases of all {customers} customers have the mean value {mean}: there is no spread to learn from"
    )]
    EqualValues { customers: u64, mean: f64 },
    #[error("the penalty is {penalty}, not a finite number of at least zero")]
    Penalty { penalty: f64 },
    #[error("the data are beyond the range of the arithmetic")]
    Start(#[from] NewtonError),
    #[error("the fit ended outside of the model")]
    Parameter(#[from] ParameterError),
}

/// A fitted purchase model.
#[derive(Debug, Clone, PartialEq)]
pub struct PurchaseFit {
    /// Times in `unit`.
    pub model: BgNbd,
    pub unit: TimeUnit,
    pub report: FitReport<4>,
}

/// A fitted spend model.
#[derive(Debug, Clone, PartialEq)]
pub struct SpendFit {
    pub model: GammaGamma,
    pub report: FitReport<3>,
    /// Pearson correlation between repeat purchases and their mean value over customers, which the model
    /// assumes to be absent; `None` when one of them is constant.
    pub correlation: Option<f64>,
}

/// Fits BG/NBD or MBG/NBD.
///
/// Cost: 4 to 7 passes over more than 8,192 tuples, 10 to 60 over fewer; 100,000 tuples take 0.06 s on one
/// core. Memory: 24 bytes a tuple.
///
/// # Errors
/// When there is nothing to fit: see [`FitError`]. A fit that did not converge or does not identify a
/// parameter is no error, its report says so.
pub fn fit_purchases(
    tuples: &Tuples,
    dropout: Dropout,
    options: &FitOptions,
) -> Result<PurchaseFit, FitError> {
    let mean_t = mean_time(tuples)?;
    let likelihood = Likelihood::new(tuples, dropout, mean_t);
    // α starts where the rate r/α is that of all customers together.
    let rate = purchases_per_time(tuples) * likelihood.scale();
    let starts =
        [[1.0, 1.0, 1.0], [0.3, 0.8, 2.5], [2.0, 0.2, 6.0]].map(|[r, a, b]: [f64; 3]| [r, r / rate, a, b]);
    let mean_loss = |logs: &[f64; 4]| likelihood.mean_loss(logs);
    let (minimum, all_iterations) = match sample_top(tuples, dropout, mean_t, &starts, options) {
        // The top of all customers is a few steps from that of a sample.
        Some((near, iterations)) => {
            let (top, more) = best_of(&[near.map(f64::exp)], options, mean_loss)?;
            (top, iterations + more)
        }
        None => best_of(&starts, options, mean_loss)?,
    };
    let information = Information::new(&minimum, tuples.customers() as f64, BOUND);
    let mut parameters = minimum.at.map(f64::exp);
    let unidentified = purchases_unidentified(&information, &parameters);
    parameters[1] *= likelihood.scale();
    let [r, alpha, a, b] = parameters;
    let report = FitReport {
        names: ["r", "alpha", "a", "b"],
        parameters,
        log_likelihood: likelihood.in_units(options.plain(&minimum)),
        customers: tuples.customers(),
        tuples: tuples.rows().len(),
        ..report(&minimum, &information, all_iterations, unidentified)
    };
    Ok(PurchaseFit {
        model: BgNbd::new(dropout, r, alpha, a, b)?,
        unit: tuples.unit(),
        report: report.with_errors_of(parameters),
    })
}

/// Fits Gamma-Gamma.
///
/// Cost: one logarithm and one division a row and pass, 10 to 20 passes a start; a million rows take about
/// 0.5 s on one core.
///
/// # Errors
/// When there is nothing to fit: see [`FitError`]. q ≤ 1 is no error, see [`Unidentified::MeanSpend`].
pub fn fit_spend(rows: &SpendRows, options: &FitOptions) -> Result<SpendFit, FitError> {
    if rows.customers() == 0 {
        return Err(FitError::NoRepeatBuyers { customers: rows.without_repeats() });
    }
    if let Some(mean) = rows.only_mean() {
        return Err(FitError::EqualValues { customers: rows.customers(), mean });
    }
    // v starts where the mean pv/(q − 1) is the mean of the scaled data, 1.
    let starts = [[1.0, 2.0], [6.0, 4.0], [0.5, 12.0]].map(|[p, q]: [f64; 2]| [p, q, (q - 1.0) / p]);
    let (minimum, all_iterations) = best_of(&starts, options, |logs| rows.mean_loss(logs))?;
    let information = Information::new(&minimum, rows.customers() as f64, BOUND);
    let mut parameters = minimum.at.map(f64::exp);
    let mut unidentified = Vec::new();
    if information.at_upper(0) || information.at_lower(2) || information.is_wide(&[1.0, 0.0, 0.0]) {
        unidentified.push(Unidentified::SpendWithinCustomers);
    }
    if information.at_upper(1) || information.at_upper(2) || information.is_wide(&[0.0, 1.0, 0.0]) {
        unidentified.push(Unidentified::SpendBetweenCustomers);
    }
    if parameters[1] <= 1.0 {
        unidentified.push(Unidentified::MeanSpend);
    }
    parameters[2] *= rows.scale();
    let [p, q, v] = parameters;
    let report = FitReport {
        names: ["p", "q", "v"],
        parameters,
        log_likelihood: rows.in_units(options.plain(&minimum)),
        customers: rows.customers(),
        tuples: rows.len(),
        ..report(&minimum, &information, all_iterations, unidentified)
    };
    Ok(SpendFit {
        model: GammaGamma::new(p, q, v)?,
        report: report.with_errors_of(parameters),
        correlation: rows.correlation(),
    })
}

/// The mean T of a base that is worth fitting.
fn mean_time(tuples: &Tuples) -> Result<f64, FitError> {
    let customers = tuples.customers();
    let rows = tuples.rows();
    let longest = rows.iter().fold(0.0_f64, |longest, row| longest.max(row.t));
    let most = rows.last().ok_or(FitError::NoCustomers)?.x;
    if longest == 0.0 {
        return Err(FitError::NoTime { customers });
    }
    if most == 0 {
        return Err(FitError::NoRepeatBuyers { customers });
    }
    if let [row] = rows {
        return Err(FitError::OneTuple { customers, x: row.x, t_x: row.t_x, t: row.t });
    }
    if most == 1 && longest <= 1.0 {
        return Err(FitError::OnePeriod { longest, unit: tuples.unit() });
    }
    Ok(rows.iter().map(|row| row.customers as f64 * row.t).sum::<f64>() / customers as f64)
}

fn purchases_per_time(tuples: &Tuples) -> f64 {
    let sum = |value: &dyn Fn(&super::PurchaseTuple) -> f64| tuples.rows().iter().map(value).sum::<f64>();
    sum(&|row| row.customers as f64 * f64::from(row.x)) / sum(&|row| row.customers as f64 * row.t)
}

/// The logarithms at the best of the starts for a sample of a large base, and the Newton steps they took.
/// `None` when the base is small, or when the sample has no top inside the box.
fn sample_top(
    tuples: &Tuples,
    dropout: Dropout,
    scale: f64,
    starts: &[[f64; 4]],
    options: &FitOptions,
) -> Option<([f64; 4], usize)> {
    let sample = Likelihood::new(&tuples.thinned(SAMPLE)?, dropout, scale);
    let (top, iterations) = best_of(starts, options, |logs| sample.mean_loss(logs)).ok()?;
    (top.converged && top.free == [true; 4]).then_some((top.at, iterations))
}

/// The best of some starts, given as parameters, and the Newton steps of all of them.
fn best_of<const N: usize>(
    starts: &[[f64; N]],
    options: &FitOptions,
    mean_loss: impl Fn(&[f64; N]) -> Evaluation<N>,
) -> Result<(Minimum<N>, usize), FitError> {
    let penalty = options.penalty;
    if !(penalty.is_finite() && penalty >= 0.0) {
        return Err(FitError::Penalty { penalty });
    }
    let newton = Options {
        lower: [-BOUND; N],
        upper: [BOUND; N],
        max_iterations: options.max_iterations,
        tolerance: options.tolerance,
        max_step: MAX_STEP,
    };
    let penalised = |logs: &[f64; N]| {
        let mut loss = mean_loss(logs);
        for (at, log) in logs.iter().enumerate() {
            loss.value += penalty * log * log;
            loss.gradient[at] += 2.0 * penalty * log;
            loss.hessian[at][at] += 2.0 * penalty;
        }
        loss
    };
    let mut all_iterations = 0;
    let mut best: Option<Minimum<N>> = None;
    for start in starts {
        let found = minimise(start.map(f64::ln), &newton, penalised)?;
        all_iterations += found.iterations;
        let better = best.is_none_or(|best| {
            let gain = best.evaluation.value - found.evaluation.value;
            gain > SAME || gain > -SAME && found.converged && !best.converged
        });
        best = if better { Some(found) } else { best };
    }
    best.map(|best| (best, all_iterations)).ok_or(FitError::NoCustomers)
}

fn purchases_unidentified(information: &Information<4>, parameters: &[f64; 4]) -> Vec<Unidentified> {
    let [_, _, a, b] = parameters;
    let mut unidentified = Vec::new();
    // ln(a + b), linearised.
    let strength = [0.0, 0.0, a / (a + b), b / (a + b)];
    if information.at_upper(2) || information.at_upper(3) || information.is_wide(&strength) {
        unidentified.push(Unidentified::DropoutHeterogeneity);
    }
    // The log odds of a/(a + b).
    if information.at_lower(2) || information.at_lower(3) || information.is_wide(&[0.0, 0.0, 1.0, -1.0]) {
        unidentified.push(Unidentified::Dropout);
    }
    let ends = information.at_upper(0) || information.at_lower(0) || information.at_upper(1);
    if ends || information.is_wide(&[1.0, 0.0, 0.0, 0.0]) {
        unidentified.push(Unidentified::PurchaseHeterogeneity);
    }
    unidentified
}

/// A report with what follows from the search alone.
fn report<const N: usize>(
    minimum: &Minimum<N>,
    information: &Information<N>,
    all_iterations: usize,
    unidentified: Vec<Unidentified>,
) -> FitReport<N> {
    FitReport {
        names: [""; N],
        parameters: [0.0; N],
        standard_errors: [None; N],
        log_standard_errors: information.standard_errors(),
        log_likelihood: 0.0,
        gradient_norm: minimum.gradient_norm,
        condition: information.condition(),
        iterations: minimum.iterations,
        all_iterations,
        converged: minimum.converged,
        customers: 0,
        tuples: 0,
        unidentified,
    }
}
