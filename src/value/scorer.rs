//! What one customer is worth, from the fitted models.

use super::models::{BgNbd, GammaGamma, MONTH_DAYS, TimeUnit, ValueHorizon, ValueHorizonError};
use std::collections::HashMap;

/// Months ahead for which purchases and spend are published.
pub const MONTHS: [u32; 4] = [1, 3, 6, 12];

/// Pairs of (x, T) whose series a worker remembers; some 64 bytes each.
const MOST_PAIRS: usize = 200_000;

/// A purchase model, a spend model if there is one, and how far ahead to look.
#[derive(Debug, Clone)]
pub struct Scorer {
    purchases: BgNbd,
    spend: Option<GammaGamma>,
    value: ValueHorizon,
    /// Months that count as value.
    months: usize,
}

/// What a customer is worth. Money in currency units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// Probability of still being a customer.
    pub alive: f64,
    /// Expected purchases within each of [`MONTHS`].
    pub purchases: [f64; 4],
    /// Expected money of one purchase; None without a spend model, or where it has no mean.
    pub spend: Option<f64>,
    /// Discounted purchases over the months of the value.
    pub discounted: f64,
}

impl Worth {
    /// Discounted expected spend.
    pub fn value(&self) -> Option<f64> {
        self.spend.map(|spend| self.discounted * spend)
    }
}

/// Series that were worked out before: they depend on x and T alone.
#[derive(Debug, Default)]
pub struct Known {
    pairs: HashMap<(u32, u32), ([f64; 4], f64)>,
    months: Vec<f64>,
}

impl Scorer {
    /// Values over `months` months at a monthly discount `rate`; `unit` is that of the model's times.
    pub fn new(
        purchases: BgNbd,
        spend: Option<GammaGamma>,
        unit: TimeUnit,
        months: u32,
        rate: f64,
    ) -> Result<Self, ValueHorizonError> {
        let longest = MONTHS.iter().copied().max().unwrap_or(months).max(months);
        let value = ValueHorizon::new(unit, longest, rate, MONTH_DAYS)?;
        Ok(Self { purchases, spend, value, months: months as usize })
    }

    /// The worth of a customer with `x` repeat purchases, the last at `t_x`, watched until `t`, of the mean
    /// value `mean` (None without money in repeat purchases).
    pub fn worth(&self, x: u32, t_x: u32, t: u32, mean: Option<f64>, known: &mut Known) -> Worth {
        let (purchases, discounted) = self.if_alive(x, t, known);
        let alive = self.purchases.alive(x, f64::from(t_x), f64::from(t));
        // Who has repeat purchases without money is taken for an average customer.
        let (counted, mean) = mean.map_or((0, 0.0), |mean| (x, mean));
        let spend = self.spend.and_then(|model| model.expected_spend(counted, mean).ok());
        Worth { alive, purchases: purchases.map(|each| each * alive), spend, discounted: discounted * alive }
    }

    fn if_alive(&self, x: u32, t: u32, known: &mut Known) -> ([f64; 4], f64) {
        if let Some(found) = known.pairs.get(&(x, t)) {
            return *found;
        }
        known.months.resize(self.value.horizon().times().len(), 0.0);
        self.value.horizon().if_alive(&self.purchases, x, f64::from(t), &mut known.months);
        let at = MONTHS.map(|month| known.months[month as usize - 1]);
        let found = (at, self.value.discounted(&known.months[..self.months]));
        if known.pairs.len() >= MOST_PAIRS {
            known.pairs.clear();
        }
        known.pairs.insert((x, t), found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::models::Dropout;

    fn scorer(spend: Option<GammaGamma>) -> Scorer {
        let model = BgNbd::new(Dropout::BgNbd, 0.24, 31.0, 0.79, 2.4).unwrap();
        Scorer::new(model, spend, TimeUnit::Day, 6, 0.01).unwrap()
    }

    #[test]
    fn worth_is_alive_times_purchases_times_spend() {
        let spend = GammaGamma::new(6.25, 3.74, 15.44).unwrap();
        let (scorer, mut known) = (scorer(Some(spend)), Known::default());
        let worth = scorer.worth(3, 100, 120, Some(35.0), &mut known);
        assert!(worth.purchases.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(worth.spend, Some(spend.expected_spend(3, 35.0).unwrap()));
        assert_eq!(worth.value(), worth.spend.map(|spend| spend * worth.discounted));
        // Six months at a discount are less than six months without.
        assert!(worth.discounted < worth.purchases[2] && worth.discounted > 0.9 * worth.purchases[2]);
        assert_eq!(scorer.worth(3, 100, 120, Some(35.0), &mut known), worth, "remembered");
        let gone = scorer.worth(3, 5, 120, Some(35.0), &mut known);
        assert!(gone.alive < worth.alive && gone.purchases[0] < worth.purchases[0]);
    }

    #[test]
    fn without_money_there_are_purchases_and_no_value() {
        let worth = scorer(None).worth(3, 100, 120, None, &mut Known::default());
        assert!(worth.value().is_none() && worth.purchases[3] > 0.0);
        let spend = GammaGamma::new(6.25, 3.74, 15.44).unwrap();
        let average = scorer(Some(spend)).worth(3, 100, 120, None, &mut Known::default());
        assert_eq!(average.spend, spend.expected_spend(0, 0.0).ok());
    }
}
