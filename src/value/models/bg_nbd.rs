//! The purchase models BG/NBD and MBG/NBD: their parameters, likelihood of a customer and P(alive).
//!
//! While alive, a customer buys at random times at a rate λ; the rates of a base are gamma distributed
//! with shape r and rate α. After a purchase the customer is gone for good with a probability p; these
//! probabilities are beta distributed with a and b (Fader, Hardie & Lee 2005, "Counting Your Customers the
//! Easy Way: An Alternative to the Pareto/NBD Model", *Marketing Science* 24:275–284). BG/NBD lets nobody go
//! before a first repeat purchase; MBG/NBD lets customers go after the first purchase of all too
//! (Batislam, Denizel & Filiztekin 2007, "Empirical validation and comparison of models for customer base
//! analysis", *International Journal of Research in Marketing* 24:201–209).

use crate::numerics::special::{log_add_exp, rising};
use thiserror::Error;

/// When a customer may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropout {
    /// After a repeat purchase.
    BgNbd,
    /// After any purchase, the first one included.
    MbgNbd,
}

impl Dropout {
    pub fn name(self) -> &'static str {
        match self {
            Self::BgNbd => "BG/NBD",
            Self::MbgNbd => "MBG/NBD",
        }
    }

    /// How often a customer with x repeat purchases who is still there could have left and did not.
    pub(super) fn survived(self, x: u32) -> u32 {
        match self {
            Self::BgNbd => x,
            Self::MbgNbd => x.saturating_add(1),
        }
    }
}

/// A parameter that no fit can give.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("the parameter {name} is {value}, not a finite number above zero")]
pub struct ParameterError {
    pub name: &'static str,
    pub value: f64,
}

/// A purchase model. The rate of purchases is gamma(r, α), the dropout probability beta(a, b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BgNbd {
    dropout: Dropout,
    r: f64,
    alpha: f64,
    a: f64,
    b: f64,
}

impl BgNbd {
    /// `alpha` is in units of time: all times below are in the same unit.
    ///
    /// # Errors
    /// The first parameter that is not finite and above zero.
    pub fn new(dropout: Dropout, r: f64, alpha: f64, a: f64, b: f64) -> Result<Self, ParameterError> {
        check_parameters(&[("r", r), ("alpha", alpha), ("a", a), ("b", b)])?;
        Ok(Self { dropout, r, alpha, a, b })
    }

    pub fn dropout(&self) -> Dropout {
        self.dropout
    }

    /// r, α, a, b.
    pub fn parameters(&self) -> [f64; 4] {
        [self.r, self.alpha, self.a, self.b]
    }

    /// ln of the likelihood of a customer with `x` repeat purchases, the last at `t_x`, watched until `t`.
    ///
    /// Fader, Hardie & Lee 2005, equation 6, and its like for MBG/NBD; the powers and beta functions are
    /// kept as logarithms, so that hundreds of purchases do not overflow (Fader & Hardie 2013, "Overcoming
    /// the BG/NBD model's #NUM! error problem").
    pub fn log_likelihood(&self, x: u32, t_x: f64, t: f64) -> f64 {
        let shape = self.r + f64::from(x);
        let survived = self.dropout.survived(x);
        // ln B(a, b + n) − ln B(a, b).
        let stayed = rising(self.b, survived).ln - rising(self.a + self.b, survived).ln;
        let bought = rising(self.r, x).ln + self.r * self.alpha.ln();
        let alive = -shape * (self.alpha + t).ln();
        bought + stayed + log_add_exp(alive, alive + self.log_odds_lost(x, t_x, t))
    }

    /// The probability that a customer is still a customer at `t`, between 0 and 1.
    ///
    /// Fader, Hardie & Lee 2008, "Computing P(alive) using the BG/NBD model"; the MBG/NBD form follows in
    /// the same way. Never NaN for times of at least zero.
    pub fn alive(&self, x: u32, t_x: f64, t: f64) -> f64 {
        // Either branch keeps exp below one.
        let lost = self.log_odds_lost(x, t_x, t);
        let odds = (-lost.abs()).exp();
        if lost > 0.0 { odds / (1.0 + odds) } else { 1.0 / (1.0 + odds) }
    }

    /// ln of P(lost at t_x) / P(alive at t), −∞ for a customer who could not leave yet.
    fn log_odds_lost(&self, x: u32, t_x: f64, t: f64) -> f64 {
        let Some(others) = self.dropout.survived(x).checked_sub(1) else { return f64::NEG_INFINITY };
        let silence = ((t - t_x) / (self.alpha + t_x)).ln_1p();
        (self.a / (self.b + f64::from(others))).ln() + (self.r + f64::from(x)) * silence
    }

    /// The beta distribution of the dropout probability of a customer who is alive after x repeat
    /// purchases: its two parameters.
    pub(super) fn dropout_if_alive(&self, x: u32) -> (f64, f64) {
        (self.a, self.b + f64::from(self.dropout.survived(x)))
    }
}

/// The first value that is not finite and above zero.
pub(super) fn check_parameters(parameters: &[(&'static str, f64)]) -> Result<(), ParameterError> {
    let wrong = parameters.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0));
    wrong.map_or(Ok(()), |&(name, value)| Err(ParameterError { name, value }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::special::ln_beta;
    use proptest::prelude::*;

    #[test]
    fn parameters_are_refused_by_name() {
        let error = BgNbd::new(Dropout::BgNbd, 1.0, 0.0, 1.0, f64::NAN).unwrap_err();
        assert_eq!(error, ParameterError { name: "alpha", value: 0.0 });
        assert!(BgNbd::new(Dropout::BgNbd, 1.0, 1.0, 1.0, f64::INFINITY).is_err());
    }

    #[test]
    fn nobody_is_lost_before_leaving_is_possible() {
        let model = |dropout| BgNbd::new(dropout, 0.3, 4.0, 0.8, 2.4).unwrap();
        assert_eq!(model(Dropout::BgNbd).alive(0, 0.0, 500.0), 1.0);
        // At once after the first purchase: b / (a + b).
        assert!((model(Dropout::MbgNbd).alive(0, 0.0, 0.0) - 0.75).abs() < 1e-15);
        assert!(model(Dropout::MbgNbd).alive(0, 0.0, 500.0) < 0.5);
    }

    #[test]
    fn thousands_of_purchases_and_long_silence_stay_finite() {
        let model = BgNbd::new(Dropout::BgNbd, 0.24, 4.4, 0.79, 2.4).unwrap();
        assert!(model.log_likelihood(200_000, 10.0, 1e6).is_finite());
        assert_eq!(model.alive(200_000, 10.0, 1e6), 0.0);
        assert!(model.alive(200_000, 1e6, 1e6) > 0.999_99);
    }

    proptest! {
        /// The likelihoods of the two ends, alive and lost, are written down directly.
        #[test]
        fn the_likelihood_is_that_of_alive_and_lost(
            (r, alpha, a, b) in (0.05f64..5.0, 0.1f64..50.0, 0.05f64..5.0, 0.05f64..9.0),
            (x, share, t) in (0u32..40, 0.01f64..1.0, 0.5f64..80.0),
            modified in any::<bool>(),
        ) {
            let dropout = if modified { Dropout::MbgNbd } else { Dropout::BgNbd };
            let model = BgNbd::new(dropout, r, alpha, a, b).unwrap();
            let t_x = if x == 0 { 0.0 } else { share * t };
            let purchases = f64::from(x);
            let bought = rising(r, x).ln + r * alpha.ln();
            let stayed = purchases + if modified { 1.0 } else { 0.0 };
            let alive = bought + ln_beta(a, b + stayed) - ln_beta(a, b) - (r + purchases) * (alpha + t).ln();
            let lost = if stayed == 0.0 { f64::NEG_INFINITY } else {
                bought + ln_beta(a + 1.0, b + stayed - 1.0) - ln_beta(a, b)
                    - (r + purchases) * (alpha + t_x).ln()
            };
            let expected = log_add_exp(alive, lost);
            let found = model.log_likelihood(x, t_x, t);
            prop_assert!((found - expected).abs() < 1e-11 * (1.0 + expected.abs()), "{found} {expected}");
            let share_alive = (alive - expected).exp();
            prop_assert!((model.alive(x, t_x, t) - share_alive).abs() < 1e-11);
        }
    }
}
