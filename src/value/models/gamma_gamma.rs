//! The spend model Gamma-Gamma: what a purchase of a customer is worth.
//!
//! The values of a customer's purchases are gamma distributed with shape p and a rate ν of their own, the
//! rates of a base gamma distributed with shape q and rate v; neither has to do with how often they buy
//! (Fader, Hardie & Lee 2005, "RFM and CLV: Using iso-value curves for customer base analysis", *Journal of
//! Marketing Research* 42:415–430; Fader & Hardie 2013, "The Gamma-Gamma model of monetary value"). A
//! customer's mean value is then drawn towards that of all, the more the fewer the purchases it rests on.

use super::bg_nbd::{ParameterError, check_parameters};
use crate::numerics::newton::Evaluation;
use crate::numerics::special::{ln_1p, ln_gamma, rising_by, trigamma};
use thiserror::Error;

/// A spend model with shape p within customers and gamma(q, v) rates between them, `v` in money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaGamma {
    p: f64,
    q: f64,
    v: f64,
}

/// The model has no finite mean for a customer.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error(
    "the expected value of a purchase is infinite for a customer with {x} repeat purchases: q is {q}, and \
     p·x + q has to be above 1"
)]
pub struct NoMean {
    pub x: u32,
    pub q: f64,
}

impl GammaGamma {
    /// # Errors
    /// The first parameter that is not finite and above zero.
    pub fn new(p: f64, q: f64, v: f64) -> Result<Self, ParameterError> {
        check_parameters(&[("p", p), ("q", q), ("v", v)])?;
        Ok(Self { p, q, v })
    }

    /// p, q, v.
    pub fn parameters(&self) -> [f64; 3] {
        [self.p, self.q, self.v]
    }

    /// The expected value of a purchase of a customer whose `x` repeat purchases had the mean value
    /// `mean`: p(v + x·mean)/(p·x + q − 1). With x = 0, where `mean` does not count, that of all customers.
    ///
    /// # Errors
    /// When p·x + q ≤ 1, with x = 0 when q ≤ 1.
    pub fn expected_spend(&self, x: u32, mean: f64) -> Result<f64, NoMean> {
        let purchases = f64::from(x);
        let shape = self.p * purchases + self.q - 1.0;
        let total = if x == 0 { 0.0 } else { purchases * mean };
        if shape > 0.0 { Ok(self.p * (self.v + total) / shape) } else { Err(NoMean { x, q: self.q }) }
    }

    /// ln of the density of the mean value of `x` > 0 repeat purchases at `mean` > 0.
    pub fn log_likelihood(&self, x: u32, mean: f64) -> f64 {
        let purchases = f64::from(x);
        let (inner, sum) = (self.p * purchases, self.p * purchases + self.q);
        let total = purchases * mean;
        ln_gamma(sum) - ln_gamma(inner) - ln_gamma(self.q) + self.q * self.v.ln() - mean.ln()
            + inner * total.ln()
            - sum * (total + self.v).ln()
    }
}

/// A row that no spend model can take. Rows count from zero.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("row {index}: the mean value of {x} repeat purchases is {mean}, not a finite number above zero")]
pub struct SpendError {
    pub index: usize,
    pub x: u32,
    pub mean: f64,
}

/// Rows with the same x, and the sums over them that no parameter changes.
#[derive(Debug, Clone)]
struct Group {
    purchases: f64,
    end: usize,
    customers: f64,
    /// Σ customers · ln(x·m), scaled.
    log_total: f64,
}

/// Mean values of repeat purchases, sorted by (x, mean), values divided by their mean over customers. 16
/// bytes a row.
#[derive(Debug, Clone)]
pub struct SpendRows {
    groups: Vec<Group>,
    /// x·m, scaled, and customers.
    rows: Vec<(f64, f64)>,
    customers: u64,
    without_repeats: u64,
    scale: f64,
    /// Σ customers · ln m, scaled.
    log_mean: f64,
    equal: bool,
    correlation: Option<f64>,
}

impl SpendRows {
    /// Takes (x, mean value, customers) in any order; the order does not show in any result. Rows of no
    /// customers are left out, those with x = 0 are counted only, whatever their mean.
    ///
    /// # Errors
    /// The first row with x > 0 and a mean that is not finite and above zero.
    pub fn new(mut rows: Vec<(u32, f64, u64)>) -> Result<Self, SpendError> {
        let wrong = |&(x, mean, _): &(u32, f64, u64)| x > 0 && !(mean.is_finite() && mean > 0.0);
        if let Some(index) = rows.iter().position(wrong) {
            let (x, mean, _) = rows[index];
            return Err(SpendError { index, x, mean });
        }
        let count = |sum: u64, row: &(u32, f64, u64)| sum.saturating_add(row.2);
        let without_repeats = rows.iter().filter(|row| row.0 == 0).fold(0, count);
        rows.retain(|&(x, _, customers)| x > 0 && customers > 0);
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        let customers = rows.iter().fold(0, count);
        let means = means(&rows, customers);
        let mut spend = Self {
            groups: Vec::new(),
            rows: Vec::with_capacity(rows.len()),
            customers,
            without_repeats,
            scale: means.1,
            log_mean: 0.0,
            equal: rows.windows(2).all(|pair| pair[0].1 == pair[1].1),
            correlation: correlation(&rows, means),
        };
        rows.iter().for_each(|&(x, mean, customers)| spend.push(x, mean, customers as f64));
        Ok(spend)
    }

    fn push(&mut self, x: u32, mean: f64, customers: f64) {
        let purchases = f64::from(x);
        let total = purchases * (mean / self.scale);
        self.rows.push((total, customers));
        self.log_mean += customers * (mean / self.scale).ln();
        let (end, log_total) = (self.rows.len(), customers * total.ln());
        match self.groups.last_mut().filter(|group| group.purchases == purchases) {
            Some(group) => {
                group.end = end;
                group.customers += customers;
                group.log_total += log_total;
            }
            None => self.groups.push(Group { purchases, end, customers, log_total }),
        }
    }

    /// Rows with repeat purchases.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Customers with repeat purchases.
    pub fn customers(&self) -> u64 {
        self.customers
    }

    /// Customers without, who do not count in a fit.
    pub fn without_repeats(&self) -> u64 {
        self.without_repeats
    }

    /// Pearson correlation between x and the mean value over customers, `None` when one is constant.
    pub fn correlation(&self) -> Option<f64> {
        self.correlation
    }

    /// The mean value of every customer when they are all the same.
    pub(super) fn only_mean(&self) -> Option<f64> {
        self.equal.then_some(self.scale)
    }

    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// The log-likelihood of all customers in money, from the mean of its negative in scaled values.
    pub(super) fn in_units(&self, mean_loss: f64) -> f64 {
        let customers = self.customers as f64;
        -mean_loss * customers - customers * self.scale.ln()
    }

    /// Minus the mean log-likelihood of a customer in scaled values, with derivatives by ln p, ln q and
    /// ln v.
    ///
    /// A row takes part through ln(1 + x·m/v), or for a small v through ln(1 + v/(x·m)), so that neither a
    /// large q with v nor a large p with 1/v cancels, and through 1/(x·m + v); gamma functions are taken
    /// once for each x.
    pub(super) fn mean_loss(&self, logs: &[f64; 3]) -> Evaluation<3> {
        let parameters = logs.map(f64::exp);
        let [p, q, v] = parameters;
        let (mut value, mut gradient, mut hessian) = (-self.log_mean, [0.0; 3], [[0.0; 3]; 3]);
        let psi1_q = trigamma(q);
        let mut start = 0;
        for group in &self.groups {
            let sums = Sums::of(&self.rows[start..group.end], v);
            start = group.end;
            let (x, weight) = (group.purchases, group.customers);
            let (inner, sum) = (p * x, p * x + q);
            // Σ ln(x·m/(x·m + v)) and Σ ln(v/(x·m + v)).
            let apart = group.log_total - weight * logs[2];
            let (of_total, of_v) =
                if v < 1.0 { (-sums.log, -apart - sums.log) } else { (apart - sums.log, -sums.log) };
            let (by_q, by_inner) = (rising_by(inner, q), rising_by(q, inner));
            let ln_beta = if inner < q { ln_gamma(inner) - by_inner.ln } else { ln_gamma(q) - by_q.ln };
            value += inner * of_total + q * of_v - weight * ln_beta;
            gradient[0] += inner * (weight * by_q.first + of_total);
            gradient[1] += q * (weight * by_inner.first + of_v);
            gradient[2] += q * sums.total - inner * v * sums.inverse;
            hessian[0][0] += inner * inner * weight * by_q.second;
            hessian[0][1] += inner * q * weight * (psi1_q + by_inner.second);
            hessian[0][2] -= inner * v * sums.inverse;
            hessian[1][1] += q * q * weight * by_inner.second;
            hessian[1][2] += q * sums.total;
            hessian[2][2] -= sum * v * sums.bend;
        }
        // Second derivatives by a logarithm have the first in them; for v that is in the sum already.
        hessian[0][0] += gradient[0];
        hessian[1][1] += gradient[1];
        let mean = -1.0 / self.customers as f64;
        let entry = |row: usize, column: usize| mean * hessian[row.min(column)][row.max(column)];
        Evaluation {
            value: mean * value,
            gradient: gradient.map(|slope| mean * slope),
            hessian: std::array::from_fn(|i| std::array::from_fn(|j| entry(i, j))),
        }
    }
}

/// Sums over the rows of a group with u = x·m, each times its customers.
#[derive(Default)]
struct Sums {
    /// ln(1 + v/u) when v < 1, else ln(1 + u/v).
    log: f64,
    /// 1/(u + v), u/(u + v), u/(u + v)².
    inverse: f64,
    total: f64,
    bend: f64,
}

impl Sums {
    fn of(rows: &[(f64, f64)], v: f64) -> Self {
        let mut sums = Self::default();
        for &(u, customers) in rows {
            let one = 1.0 / (u + v);
            let share = u * one;
            sums.log += customers * if v < 1.0 { ln_1p(v / u) } else { ln_1p(u / v) };
            sums.inverse += customers * one;
            sums.total += customers * share;
            sums.bend += customers * (share * one);
        }
        sums
    }
}

/// The mean x and the mean value over customers.
fn means(rows: &[(u32, f64, u64)], customers: u64) -> (f64, f64) {
    let sums = rows.iter().fold((0.0, 0.0), |(x, mean), row| {
        (x + row.2 as f64 * f64::from(row.0), mean + row.2 as f64 * row.1)
    });
    (sums.0 / customers as f64, sums.1 / customers as f64)
}

fn correlation(rows: &[(u32, f64, u64)], (mean_x, mean_value): (f64, f64)) -> Option<f64> {
    let (mut xx, mut xm, mut mm) = (0.0, 0.0, 0.0);
    for &(x, mean, customers) in rows {
        let (x, mean) = (f64::from(x) - mean_x, mean - mean_value);
        let customers = customers as f64;
        xx += customers * x * x;
        xm += customers * x * mean;
        mm += customers * mean * mean;
    }
    Some(xm / (xx.sqrt() * mm.sqrt())).filter(|correlation| correlation.is_finite())
}

#[cfg(test)]
mod tests;
