//! The gamma function's relatives for positive arguments: ln Γ, ψ, ψ′, ln B, and their differences over
//! whole steps.
//!
//! Stirling's series from 12 on, below that the recurrence (Abramowitz & Stegun, *Handbook of Mathematical
//! Functions*, 1964, formulas 6.1.40, 6.1.15, 6.3.18, 6.3.5, 6.4.12 and 6.4.6). At 12 the first term left
//! out is below 1e-17, so rounding decides the accuracy: it is stated with each function and tested
//! against values of 40 digits.

/// From here on Stirling's series is as good as rounding.
const LARGE: f64 = 12.0;

/// Steps that are multiplied out: below 24 factors of 1e±9 no product leaves the range of a float.
const FEW: u32 = 24;

/// ln Γ(x) for x > 0, infinite at 0.
///
/// Error: at most 1e-14 + 4e-16·|ln Γ(x)|.
pub fn ln_gamma(x: f64) -> f64 {
    let (mut at, mut product) = (x, 1.0);
    while at < LARGE {
        product *= at;
        at += 1.0;
    }
    // ½ ln 2π.
    (at - 0.5) * at.ln() - at + 0.918_938_533_204_672_8 + ln_gamma_tail(at) - product.ln()
}

/// ψ(x), the derivative of ln Γ, for x > 0.
///
/// Error: at most 1e-14 + 4e-16·|ψ(x)|.
pub fn digamma(x: f64) -> f64 {
    let (mut at, mut sum) = (x, 0.0);
    while at < LARGE {
        sum += 1.0 / at;
        at += 1.0;
    }
    at.ln() + digamma_tail(at) - sum
}

/// ψ′(x), the second derivative of ln Γ, for x > 0.
///
/// Relative error: at most 2e-15.
pub fn trigamma(x: f64) -> f64 {
    let (mut at, mut sum) = (x, 0.0);
    while at < LARGE {
        sum += 1.0 / (at * at);
        at += 1.0;
    }
    1.0 / at + trigamma_tail(at) + sum
}

/// ln B(a, b) = ln Γ(a) + ln Γ(b) − ln Γ(a + b) for a, b > 0.
///
/// Error: that of the three terms; the difference of two such values at (a, b) and (a, b + n) is better
/// taken from [`rising`].
pub fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// ln(eᵃ + eᵇ) without overflow; −∞ is the neutral element.
///
/// Error: a rounding of the result and 1e-16.
pub fn log_add_exp(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// To the nearest whole number, halves away from zero; what the library calls a function for.
#[inline]
pub fn rounded(value: f64) -> f64 {
    const EXACT: f64 = (1u64 << 51) as f64;
    match value.abs() {
        small if small < EXACT => ((small + 0.5) as i64 as f64).copysign(value),
        _ => value,
    }
}

/// ln(1 + x) for x ≥ 0, about twice as fast as the library's: the logarithm of the rounded sum, and what
/// the rounding took.
///
/// Relative error: 3e-16.
#[inline]
pub fn ln_1p(x: f64) -> f64 {
    let sum = 1.0 + x;
    sum.ln() + (x - (sum - 1.0)) / sum
}

/// eˣ for x ≤ 0, 1e-304 below −700; vectorises, which the library's does not, and is the same on every system.
///
/// Relative error: 3e-16.
#[inline(always)]
pub fn exp_of_negative(x: f64) -> f64 {
    /// Added, it leaves a sum's whole part in the lowest bits.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    /// ln 2 in two parts, the first with so few digits that its products with whole numbers are exact.
    const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    let x = x.max(-700.0);
    let shifted = x * std::f64::consts::LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    let rest = (x - whole * LN_2[0]) - whole * LN_2[1];
    // The series of eˣ to the 13th term: |rest| ≤ ½ ln 2, so the next one is below 1e-17.
    let mut sum = 1.0 / 6_227_020_800.0;
    for factorial in [
        479_001_600.0,
        39_916_800.0,
        3_628_800.0,
        362_880.0,
        40_320.0,
        5_040.0,
        720.0,
        120.0,
        24.0,
        6.0,
        2.0,
        1.0,
        1.0,
    ] {
        sum = sum * rest + 1.0 / factorial;
    }
    f64::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 52))
}

/// What a step adds to ln Γ, ψ and ψ′.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rising {
    /// ln Γ(x + d) − ln Γ(x); for a whole d the logarithm of the rising factorial.
    pub ln: f64,
    /// ψ(x + d) − ψ(x).
    pub first: f64,
    /// ψ′(x + d) − ψ′(x), zero or below.
    pub second: f64,
}

/// The three differences over `n` whole steps from x > 0, without the cancellation of large terms: at
/// x = 1e5 and n = 1 they have all their digits.
///
/// Error: relative 1e-14 of each; of `ln` also 1e-14 absolute.
pub fn rising(x: f64, n: u32) -> Rising {
    if n > FEW {
        return rising_by(x, f64::from(n));
    }
    let (mut product, mut first, mut second) = (1.0, 0.0, 0.0);
    for step in 0..n {
        let at = x + f64::from(step);
        product *= at;
        first += 1.0 / at;
        second -= 1.0 / (at * at);
    }
    Rising { ln: product.ln(), first, second }
}

/// The three differences over any distance d ≥ 0 from x > 0.
///
/// Error: relative 1e-14 of each; of `ln` also 1e-14 absolute.
pub fn rising_by(x: f64, d: f64) -> Rising {
    let (mut low, mut high) = (x, x + d);
    let (mut quotient, mut first, mut second) = (1.0, 0.0, 0.0);
    while low < LARGE {
        quotient *= low / high;
        let product = low * high;
        first += d / product;
        second -= d * (low + high) / (product * product);
        low += 1.0;
        high += 1.0;
    }
    let ratio = (d / low).ln_1p();
    let tail = ln_gamma_tail(high) - ln_gamma_tail(low);
    Rising {
        ln: (low - 0.5) * ratio + d * (high.ln() - 1.0) + tail + quotient.ln(),
        first: ratio + (digamma_tail(high) - digamma_tail(low)) + first,
        second: trigamma_tail(high) - trigamma_tail(low) - d / (low * high) + second,
    }
}

/// ln Γ(x) less (x − ½) ln x − x + ½ ln 2π.
fn ln_gamma_tail(x: f64) -> f64 {
    let u = 1.0 / (x * x);
    let series = [1.0 / 156.0, -691.0 / 360_360.0, 1.0 / 1188.0, -1.0 / 1680.0, 1.0 / 1260.0, -1.0 / 360.0];
    (polynomial(&series, u) * u + 1.0 / 12.0) / x
}

/// ψ(x) less ln x.
fn digamma_tail(x: f64) -> f64 {
    let u = 1.0 / (x * x);
    let series =
        [-1.0 / 12.0, 691.0 / 32_760.0, -1.0 / 132.0, 1.0 / 240.0, -1.0 / 252.0, 1.0 / 120.0, -1.0 / 12.0];
    polynomial(&series, u) * u - 0.5 / x
}

/// ψ′(x) less 1/x.
fn trigamma_tail(x: f64) -> f64 {
    let u = 1.0 / (x * x);
    let series = [7.0 / 6.0, -691.0 / 2730.0, 5.0 / 66.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 1.0 / 6.0];
    (0.5 + polynomial(&series, u) / x) * u
}

/// Horner's rule, the highest power first.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

#[cfg(test)]
mod tests;
