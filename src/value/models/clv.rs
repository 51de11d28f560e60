//! The value of a customer: discounted expected spend over a number of months.
//!
//! Value = P(alive) · Σ_m (E(m) − E(m−1))/(1 + d)^m · expected spend, with E(m) the expected purchases of a
//! living customer up to the end of month m: spend is discounted from the end of its month (Fader, Hardie &
//! Lee 2005, "RFM and CLV", with a finite horizon). The length of a month is converted to the unit of the model: twelve months
//! are never twelve times thirty of whatever unit the data come in.

use super::bg_nbd::BgNbd;
use super::expected::{Horizon, HorizonError};
use super::summary::{TimeUnit, UnitTimes};
use thiserror::Error;

/// Days of a month unless stated otherwise: a twelfth of 365.25.
pub const MONTH_DAYS: f64 = 30.4375;

/// A century: beyond it nobody plans, and the sums get long.
const MOST_MONTHS: u32 = 1200;

/// Months of value and what the last of them counts.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueHorizon {
    unit: TimeUnit,
    horizon: Horizon,
    /// 1/(1 + d)^m for each month.
    discounts: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum ValueHorizonError {
    #[error("the value horizon is {months} months, not 1 to {MOST_MONTHS}")]
    Months { months: u32 },
    #[error("the monthly discount rate is {rate}, not a finite number of at least 0")]
    Rate { rate: f64 },
    #[error("a month has {days} days, not a finite number above 0")]
    MonthDays { days: f64 },
    #[error("the horizon is too long for the unit of time")]
    Horizon(#[from] HorizonError),
}

impl ValueHorizon {
    /// `months` of `month_days` days ([`MONTH_DAYS`] is usual) for a model in `unit`; spend of month m is
    /// divided by (1 + `rate`)^m.
    ///
    /// # Errors
    /// An option out of range: see [`ValueHorizonError`].
    pub fn new(unit: TimeUnit, months: u32, rate: f64, month_days: f64) -> Result<Self, ValueHorizonError> {
        if !(1..=MOST_MONTHS).contains(&months) {
            return Err(ValueHorizonError::Months { months });
        }
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(ValueHorizonError::Rate { rate });
        }
        if !(month_days.is_finite() && month_days > 0.0) {
            return Err(ValueHorizonError::MonthDays { days: month_days });
        }
        let month = UnitTimes::of_days(month_days, unit).times;
        let ends = (1..=months).map(|m| f64::from(m) * month).collect();
        let discounts = (1..=months).map(|m| (1.0 + rate).powf(-f64::from(m))).collect();
        Ok(Self { unit, horizon: Horizon::new(ends)?, discounts })
    }

    pub fn unit(&self) -> TimeUnit {
        self.unit
    }

    /// The ends of the months in the unit of the model: entry m − 1 belongs to month m.
    pub fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    /// Discounted purchases from the expected purchases up to the end of each month.
    pub fn discounted(&self, purchases: &[f64]) -> f64 {
        let mut before = 0.0;
        let mut sum = 0.0;
        for (&up_to, discount) in purchases.iter().zip(&self.discounts) {
            sum += (up_to - before) * discount;
            before = up_to;
        }
        sum
    }

    /// The value of one customer, `spend` being the expected value of a purchase. Where many customers
    /// share (x, T), [`Horizon::if_alive`] and [`Self::discounted`] once for all of them are faster.
    pub fn value(&self, model: &BgNbd, x: u32, t_x: f64, watched: f64, spend: f64) -> f64 {
        self.discounted(&self.horizon.expected(model, x, t_x, watched)) * spend
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::models::Dropout;

    #[test]
    fn options_out_of_range_are_refused() {
        let refused = |months, rate, days| ValueHorizon::new(TimeUnit::Week, months, rate, days).unwrap_err();
        assert_eq!(refused(0, 0.01, 30.0), ValueHorizonError::Months { months: 0 });
        assert_eq!(refused(1201, 0.01, 30.0), ValueHorizonError::Months { months: 1201 });
        assert_eq!(refused(12, -0.1, 30.0), ValueHorizonError::Rate { rate: -0.1 });
        assert_eq!(refused(12, 0.1, 0.0), ValueHorizonError::MonthDays { days: 0.0 });
        assert!(matches!(refused(12, f64::NAN, 30.0), ValueHorizonError::Rate { .. }));
    }

    #[test]
    fn months_are_as_long_in_any_unit() {
        let ends = |unit| ValueHorizon::new(unit, 12, 0.01, MONTH_DAYS).unwrap().horizon().times().to_vec();
        assert_eq!(ends(TimeUnit::Month)[11], 12.0);
        assert!((ends(TimeUnit::Year)[11] - 1.0).abs() < 1e-15);
        assert!((ends(TimeUnit::Week)[0] - 4.348_214_285_714_286).abs() < 1e-14);
    }

    #[test]
    fn the_unit_does_not_change_a_value() {
        let value = |unit: TimeUnit| {
            let days = |days: f64| UnitTimes::of_days(days, unit).times;
            let model = BgNbd::new(Dropout::MbgNbd, 0.5, days(43.0), 0.9, 1.6).unwrap();
            let horizon = ValueHorizon::new(unit, 12, 0.01, MONTH_DAYS).unwrap();
            horizon.value(&model, 3, days(100.0), days(200.0), 35.0)
        };
        let weekly = value(TimeUnit::Week);
        assert!(weekly > 10.0);
        for unit in [TimeUnit::Day, TimeUnit::Month, TimeUnit::Year] {
            assert!((value(unit) / weekly - 1.0).abs() < 1e-12, "{unit}");
        }
    }

    #[test]
    fn without_a_rate_the_months_add_up_to_the_last() {
        let horizon = ValueHorizon::new(TimeUnit::Day, 3, 0.0, 30.0).unwrap();
        assert!((horizon.discounted(&[1.0, 1.5, 1.75]) - 1.75).abs() < 1e-15);
        let dear = ValueHorizon::new(TimeUnit::Day, 3, 1.0, 30.0).unwrap();
        assert!((dear.discounted(&[1.0, 1.5, 1.75]) - (0.5 + 0.125 + 0.031_25)).abs() < 1e-15);
    }
}
