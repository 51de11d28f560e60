//! What a fit says about itself: estimates, their errors, and what the data leave open.
//!
//! Standard errors come from the observed information, the Hessian of minus the log-likelihood at the
//! estimate (Efron & Hinkley 1978, "Assessing the accuracy of the maximum likelihood estimator: observed
//! versus expected Fisher information", *Biometrika* 65:457–483), in logarithms of the parameters, where the
//! likelihood is closest to a parabola.

use crate::numerics::eigen::SymmetricEigen;
use crate::numerics::newton::{Minimum, curvature};
use std::fmt;

/// A standard error of a logarithm: beyond it a quantity is known no better than to a factor of e, two
/// standard errors either way, and counts as not identified.
const WIDEST: f64 = 0.5;

/// Below this share of the largest curvature a direction is flat to rounding.
const FLAT: f64 = 1e-11;

/// What the data do not settle. The model is still the best one found, and its predictions for customers
/// like those it was fitted to hold; the parameters named have no meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unidentified {
    /// a and b are large or unknown while a/(a + b) may be known.
    DropoutHeterogeneity,
    /// a/(a + b) itself: too few customers were seen to leave, or to stay.
    Dropout,
    /// r and α are large or unknown while r/α may be known.
    PurchaseHeterogeneity,
    /// p: how much the purchases of one customer differ.
    SpendWithinCustomers,
    /// q and v: how much customers differ.
    SpendBetweenCustomers,
    /// q ≤ 1: the model's mean over all customers is infinite.
    MeanSpend,
}

impl fmt::Display for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DropoutHeterogeneity => {
                "dropout heterogeneity unidentified: the data do not tell how much customers differ in \
                 their chance of leaving"
            }
            Self::Dropout => {
                "dropout unidentified: the data do not tell how likely customers are to leave after a \
                 purchase"
            }
            Self::PurchaseHeterogeneity => {
                "purchase heterogeneity unidentified: the data do not tell how much customers differ in \
                 how often they buy"
            }
            Self::SpendWithinCustomers => {
                "spend within customers unidentified: the data do not tell how much the purchases of one \
                 customer differ in value"
            }
            Self::SpendBetweenCustomers => {
                "spend between customers unidentified: the data do not tell how much customers differ in \
                 the value of a purchase"
            }
            Self::MeanSpend => {
                "mean spend unidentified: a few very large purchases leave no finite mean value, so \
                 customers without repeat purchases have no expected spend"
            }
        })
    }
}

/// How a fit of N parameters went.
#[derive(Debug, Clone, PartialEq)]
pub struct FitReport<const N: usize> {
    pub names: [&'static str; N],
    /// In the unit of the data.
    pub parameters: [f64; N],
    /// Of the parameters, from those of their logarithms by the delta method; `None` where the data set
    /// no limit: at a bound, or along a flat direction.
    pub standard_errors: [Option<f64>; N],
    /// Of the logarithms of the parameters.
    pub log_standard_errors: [Option<f64>; N],
    /// Of all customers, without the penalty, in the unit of the data.
    pub log_likelihood: f64,
    /// The steepest slope of the mean penalised log-likelihood of a customer by the logarithm of a
    /// parameter that is not at a bound.
    pub gradient_norm: f64,
    /// Largest by smallest eigenvalue of the observed information in logarithms, among parameters that
    /// are not at a bound; `None` where the smallest is zero to rounding.
    pub condition: Option<f64>,
    /// Newton steps of the best start, and of all starts together.
    pub iterations: usize,
    pub all_iterations: usize,
    pub converged: bool,
    pub customers: u64,
    /// Distinct rows that the likelihood was summed over.
    pub tuples: usize,
    /// In order, each once; empty when everything is identified.
    pub unidentified: Vec<Unidentified>,
}

impl<const N: usize> FitReport<N> {
    /// With standard errors on the scale of these estimates.
    pub(super) fn with_errors_of(mut self, parameters: [f64; N]) -> Self {
        let scaled = |i: usize| self.log_standard_errors[i].map(|error| error * parameters[i]);
        self.standard_errors = std::array::from_fn(scaled);
        self
    }
}

/// The observed information of all customers at a minimum of the mean loss.
pub(super) struct Information<const N: usize> {
    curvature: Option<(Vec<usize>, SymmetricEigen)>,
    customers: f64,
    lower: [bool; N],
    upper: [bool; N],
}

impl<const N: usize> Information<N> {
    /// Whether a parameter is held at a bound is what `minimum.free` says; `bound` is the size of both.
    pub fn new(minimum: &Minimum<N>, customers: f64, bound: f64) -> Self {
        let held = |sign: f64| std::array::from_fn(|i| !minimum.free[i] && sign * minimum.at[i] >= bound);
        let curvature = curvature(&minimum.evaluation.hessian, &minimum.free);
        Self { curvature, customers, lower: held(-1.0), upper: held(1.0) }
    }

    pub fn at_lower(&self, parameter: usize) -> bool {
        self.lower[parameter]
    }

    pub fn at_upper(&self, parameter: usize) -> bool {
        self.upper[parameter]
    }

    pub fn condition(&self) -> Option<f64> {
        let (_, eigen) = self.curvature.as_ref()?;
        let (first, last) = (*eigen.values().first()?, *eigen.values().last()?);
        (last > FLAT * first).then(|| first / last)
    }

    /// The standard error of a sum of logarithms with these weights, parameters at a bound taken as
    /// known; `None` when the sum changes along a direction that is flat.
    pub fn standard_error(&self, weights: &[f64; N]) -> Option<f64> {
        let Some((places, eigen)) = &self.curvature else { return Some(0.0) };
        let steepest = eigen.values().first().copied().unwrap_or(0.0);
        let mut variance = 0.0;
        for (at, &value) in eigen.values().iter().enumerate() {
            let along: f64 = places.iter().zip(eigen.vector(at)).map(|(&i, v)| weights[i] * v).sum();
            if value > FLAT * steepest {
                variance += along * along / (value * self.customers);
            } else if along.abs() > 1e-6 {
                return None;
            }
        }
        Some(variance.sqrt()).filter(|error| error.is_finite())
    }

    /// Of each parameter's logarithm, `None` at a bound.
    pub fn standard_errors(&self) -> [Option<f64>; N] {
        std::array::from_fn(|i| {
            let held = self.lower[i] || self.upper[i];
            let only = std::array::from_fn(|j| if i == j { 1.0 } else { 0.0 });
            if held { None } else { self.standard_error(&only) }
        })
    }

    /// Whether a sum of logarithms is known no better than to a factor of e.
    pub fn is_wide(&self, weights: &[f64; N]) -> bool {
        self.standard_error(weights).is_none_or(|error| error > WIDEST)
    }
}
