//! The mean of (1 − (1 + p·y)^−s)/p over p ~ beta(a, b): all terms are positive, so nothing cancels.

use crate::numerics::special::ln_1p;

/// No wider steps than this: 1 + p·y is zero at a distance of π from the real line of log odds, and a
/// power of it grows from π/2 on, so that the error is e^(−π²/h).
const WIDEST: f64 = 0.25;

/// Of the narrowest bell: the trapezoidal rule with steps of 0.7 standard deviations is exact to 1e-17.
const SHARE: f64 = 0.7;

/// A share of a sum that makes no difference to it, even a hundred times.
const NEGLIGIBLE: f64 = 1e-19;

/// Steps to either side at most; never reached with parameters within e^±12 and x up to a million.
const MAX_STEPS: u32 = 100_000;

/// One mean for each y ≥ 0.
///
/// Weights are taken relative to that of the mean p, at the log odds u₀: with δ = u − u₀ they are
/// aδ − (a+b)·ln(1 + p₀(e^δ − 1)) in logarithms, in which large a and b do not lose digits. Cost: nodes ×
/// ys × 15 ns; 16 bytes a y and no node is kept.
pub(super) fn means(a: f64, b: f64, s: f64, ys: &[f64]) -> Vec<f64> {
    let law = Beta { a, b, mean: a / (a + b) };
    let largest = ys.iter().fold(0.0_f64, |largest, y| largest.max(*y));
    let narrowest = a / (a + b) * b + s / 4.0;
    let step = WIDEST.min(SHARE / narrowest.sqrt());
    let mut total = Sums { weight: 0.0, values: vec![0.0; ys.len()] };
    total.add(1.0, law.mean, s, ys);
    for side in [1.0, -1.0] {
        for k in 1..=MAX_STEPS {
            let (weight, p, rest) = law.at(side * f64::from(k) * step);
            // Beyond here everything but the weight is constant to rounding, and weights fall like
            // a geometric series.
            let (constant, rate) = if side > 0.0 { (rest, b) } else { (p * (1.0 + largest * (1.0 + s)), a) };
            let settled = constant < NEGLIGIBLE;
            let weight = if settled { weight / -(-rate * step).exp_m1() } else { weight };
            let small = total.add(weight, p, s, ys);
            if settled || small {
                break;
            }
        }
    }
    total.values.iter().map(|value| value / total.weight).collect()
}

struct Beta {
    a: f64,
    b: f64,
    mean: f64,
}

impl Beta {
    /// The density by log odds relative to that at the mean, p and 1 − p, `delta` from the log odds of
    /// the mean.
    fn at(&self, delta: f64) -> (f64, f64, f64) {
        let rest = self.b / (self.a + self.b);
        let grown = self.mean * delta.exp_m1();
        let norm = rest + self.mean * delta.exp();
        // Either form has its digits where it is used: the first near 1, the second near 0.
        let log_norm = if grown.abs() < 0.5 { grown.ln_1p() } else { norm.ln() };
        let log = self.a * delta - (self.a + self.b) * log_norm;
        (log.exp(), self.mean * delta.exp() / norm, rest / norm)
    }
}

struct Sums {
    weight: f64,
    values: Vec<f64>,
}

impl Sums {
    /// Whether nothing of it made a difference.
    fn add(&mut self, weight: f64, p: f64, s: f64, ys: &[f64]) -> bool {
        self.weight += weight;
        let mut small = weight <= NEGLIGIBLE * self.weight;
        for (sum, y) in self.values.iter_mut().zip(ys) {
            let value = weight * (-(-s * ln_1p(p * y)).exp_m1() / p);
            *sum += value;
            small &= value <= NEGLIGIBLE * *sum;
        }
        small
    }
}
