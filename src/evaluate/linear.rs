//! The affinities of [`crate::affinities`] as methods of their own: EASE and ridge next-set.

use super::histories::History;
use super::recommender::{Recommender, Work};
use crate::affinities::Affinities;

/// Which of the two models scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linear {
    /// Steck 2019: what goes together.
    Ease,
    /// Ridge regression of the last window on what came before it.
    NextSet,
}

/// One linear model over packages.
pub struct LinearMethod<'a> {
    pub affinities: &'a Affinities,
    pub model: Linear,
}

impl Recommender for LinearMethod<'_> {
    fn name(&self) -> &str {
        match self.model {
            Linear::Ease => "EASE",
            Linear::NextSet => "ridge next-set",
        }
    }

    fn score(&self, customer: &History, scores: &mut [f64], work: &mut Work) {
        let members = &self.affinities.members;
        let model = match self.model {
            Linear::Ease => 0,
            Linear::NextSet => 1,
        };
        let mut values = vec![0f32; members.len()];
        customer.totals_into(&mut work.totals);
        for total in &work.totals {
            let x = (total.baskets as f32).ln_1p();
            let row = self.affinities.row(total.package).unwrap_or_default();
            for (value, says) in values.iter_mut().zip(row.iter().flat_map(|says| &says[model])) {
                *value += x * says;
            }
        }
        scores.fill(f64::NEG_INFINITY);
        for (member, value) in members.iter().zip(&values) {
            scores[*member as usize] = f64::from(*value);
        }
    }
}
