//! Ridge logistic regression with weights, by Newton's method.
//!
//! Newton's method on the penalised likelihood is iteratively reweighted least squares (McCullagh &
//! Nelder, *Generalized Linear Models*, 2nd ed., 1989, section 4.4) with the ridge of le Cessie & van
//! Houwelingen (1992, "Ridge estimators in logistic regression"); a step that does not lower the loss is
//! halved. Columns are standardised inside, so that the penalty means the same for each, and coefficients
//! come back on the scale of the rows.
//!
//! Rows are summed in chunks of 4,096 whose sums are merged in order, so threads do not show in the bits.

mod passes;

use super::cholesky::{Cholesky, CholeskyError};
use passes::{Data, Scale, Sums, dot};
use thiserror::Error;

/// Halvings of one step before the fit is given up.
const HALVINGS: usize = 40;

/// How much the penalised loss may rise through rounding alone, relative to itself.
const ROUNDING: f64 = 1e-12;

/// Why there is no fit. Rows count from zero.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LogisticError {
    #[error("there are {found} {what}, not {wanted}")]
    Shape { what: &'static str, found: usize, wanted: usize },
    #[error("there are no rows: none at all, or none with a weight above zero ({rows} rows)")]
    NoRows { rows: usize },
    #[error(
        "all {rows} rows with a weight above zero have the label {label}: there is nothing to tell apart"
    )]
    OneClass { rows: usize, label: bool },
    #[error("column {column} of row {row} is {value}, not a finite number")]
    Value { row: usize, column: usize, value: f32 },
    #[error("the weight of row {row} is {value}, not a finite number of at least zero")]
    Weight { row: usize, value: f32 },
    #[error("the prior's {what} is {value}")]
    Prior { what: &'static str, value: f64 },
    #[error("the columns determine each other and the penalty is too small to decide between them")]
    Singular(#[from] CholeskyError),
    #[error("no convergence after {iterations} iterations: the next step promises {left} of mean loss")]
    NoConvergence { iterations: usize, left: f64 },
}

/// What the coefficients are drawn towards: the penalty is strength/2 · Σ (β − mean)² over standardised
/// coefficients, beside the loss summed over weights. A strength of s weighs as much as evidence that
/// pins a standardised coefficient to ±1/√s.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior {
    /// On the scale of the rows, intercept first: columns + 1 values.
    pub mean: Vec<f64>,
    pub strength: f64,
    /// Whether the intercept (at the mean row) is drawn towards the prior's as well.
    pub penalise_intercept: bool,
}

impl Prior {
    /// Towards zero, with a free intercept.
    pub fn zero(columns: usize, strength: f64) -> Self {
        Self { mean: vec![0.0; columns + 1], strength, penalise_intercept: false }
    }

    /// Towards another fit, its intercept included.
    pub fn around(fitted: &Logistic, strength: f64) -> Self {
        let mean = std::iter::once(fitted.intercept).chain(fitted.coefficients.iter().copied()).collect();
        Self { mean, strength, penalise_intercept: true }
    }
}

/// How to fit. Threads do not show in the result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    pub threads: usize,
    pub max_iterations: usize,
    /// The fit ends where a step promises to lower the mean loss by no more than this.
    pub tolerance: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, max_iterations: 100, tolerance: 1e-15 }
    }
}

/// A fitted model: ln odds = intercept + Σ coefficient · value.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    pub intercept: f64,
    /// A value per column, on the scale of the rows. A column that is constant in the rows has the prior's.
    pub coefficients: Vec<f64>,
    /// Weighted mean of −ln of the probability of the label that was seen.
    pub log_loss: f64,
    /// Newton steps.
    pub iterations: usize,
    /// Intercept first, from the curvature of the penalised likelihood at its top; weights count as
    /// repeated rows. Infinite where the rows say nothing: for a constant column.
    pub standard_errors: Vec<f64>,
}

/// The probability of ln odds.
pub fn probability(log_odds: f64) -> f64 {
    // Either branch keeps exp below one, so that neither tail loses digits.
    let odds = (-log_odds.abs()).exp();
    if log_odds < 0.0 { odds / (1.0 + odds) } else { 1.0 / (1.0 + odds) }
}

impl Logistic {
    /// Fits `columns` coefficients and an intercept to `rows` (row-major, n × `columns`).
    ///
    /// Cost: about (columns + 1)²/2 multiplications and one exponential a row for each iteration, of which
    /// 5 to 10 are usual. Memory: 8·(columns + 1)² bytes for every 4,096 rows.
    ///
    /// # Errors
    /// See [`LogisticError`]. Separable data converge whenever the strength is above zero.
    pub fn fit(
        rows: &[f32],
        labels: &[bool],
        weights: &[f32],
        columns: usize,
        prior: &Prior,
        options: &Options,
    ) -> Result<Self, LogisticError> {
        let data = Data { rows, labels, weights, columns, threads: options.threads };
        data.check_shape(prior)?;
        let scale = Scale::of(&data)?;
        let target = scale.standardised(&prior.mean);
        let mut start = target.clone();
        // The mean label at the mean row: from far out on a tail, Newton's steps are wild.
        start[0] = (scale.positive / (scale.weight - scale.positive)).ln();
        let penalty = |at: usize| if at > 0 || prior.penalise_intercept { prior.strength } else { 0.0 };
        let evaluate = |beta: Vec<f64>| {
            let mut sums = data.sums(&scale, &beta);
            sums.objective = sums.loss;
            for (at, (value, target)) in beta.iter().zip(&target).enumerate() {
                sums.objective += penalty(at) / 2.0 * (value - target).powi(2);
                sums.gradient[at] += penalty(at) * (value - target);
                // A constant column is decided by the penalty alone: any curvature serves.
                let constant = at > 0 && scale.inverse_deviations[at - 1] == 0.0;
                sums.curvature[at * (columns + 2)] += if constant { 1.0 } else { penalty(at) };
            }
            (beta, sums)
        };
        let (mut beta, mut sums) = evaluate(start);
        let mut iterations = 0;
        loop {
            let factor = Cholesky::factor(sums.curvature.clone(), columns + 1, 1)?;
            let mut step = sums.gradient.clone();
            factor.solve_many(&mut step, 1, 1)?;
            let promise = dot(&step, &sums.gradient) / 2.0 / scale.weight;
            if promise <= options.tolerance {
                let log_loss = sums.loss / scale.weight;
                return Ok(scale.original(&beta, &prior.mean, factor.inverse(1), log_loss, iterations));
            }
            let enough = |trial: &Sums| trial.objective <= sums.objective * (1.0 + ROUNDING);
            let next = (0..HALVINGS).find_map(|halvings| {
                let share = 0.5f64.powi(halvings as i32);
                let trial = beta.iter().zip(&step).map(|(value, step)| value - share * step).collect();
                Some(evaluate(trial)).filter(|(_, sums)| enough(sums))
            });
            match next {
                Some(better) if iterations < options.max_iterations => (beta, sums) = better,
                _ => return Err(LogisticError::NoConvergence { iterations, left: promise }),
            }
            iterations += 1;
        }
    }

    /// The ln odds of a row.
    pub fn decision(&self, row: &[f32]) -> f64 {
        self.coefficients
            .iter()
            .zip(row)
            .fold(self.intercept, |sum, (weight, &x)| sum + weight * f64::from(x))
    }
}

#[cfg(test)]
mod tests;
