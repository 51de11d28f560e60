//! The score: how likely a customer that buys anything in the coming window buys a package.
//!
//! ln odds = intercept + Σ weight · signal, one logistic regression for packages that the customer has
//! bought and one for packages that are new to it (see [`super::signals`]). Both are fitted on the
//! window before the cut-off (see [`super::tune`]), so they speak of the same probability and rank
//! against each other. The sum falls apart into factors: that is why an offer is made.

use super::signals::{EXPLORE, Factor, REPEAT, Signal};
use serde::{Deserialize, Serialize};

/// Weights of one kind of package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    pub intercept: f64,
    /// In the order of the signals.
    pub signals: Vec<f64>,
}

impl Weights {
    /// ln odds of a package.
    pub fn log_odds(&self, signals: &[f32]) -> f64 {
        self.intercept + self.signals.iter().zip(signals).map(|(w, s)| w * f64::from(*s)).sum::<f64>()
    }

    /// The parts of the ln odds by factor, in the order of [`Factor::ALL`]; the intercept is with
    /// popularity: both say how often the package is bought by anybody.
    #[inline(always)]
    pub fn factors<const SIGNALS: usize>(
        &self,
        signals: &[f32; SIGNALS],
        kinds: &[Signal; SIGNALS],
    ) -> [f64; Factor::ALL.len()] {
        let mut factors = [0.0; Factor::ALL.len()];
        factors[Factor::Popularity as usize] = self.intercept;
        for ((weight, signal), (_, factor)) in self.signals.iter().zip(signals).zip(kinds) {
            factors[*factor as usize] += weight * f64::from(*signal);
        }
        factors
    }
}

/// Both kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    pub repeat: Weights,
    pub explore: Weights,
}

/// The model of a run: weights for the whole base, and for segments where their own are better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoringModel {
    pub global: Pair,
    /// By segment, from 0; none: the global ones hold.
    pub segments: Vec<Option<Pair>>,
    pub tuning: Tuning,
}

/// How the weights came about.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tuning {
    /// Days of the window that was learned from; 0: nothing could be learned and the weights are the
    /// stated ones.
    pub window_days: u32,
    /// Customers with history before and purchases in it.
    pub customers: u64,
    pub repeat_pairs: u64,
    pub explore_pairs: u64,
    /// Segments whose own weights hold.
    pub own_segments: u64,
    pub why_untuned: Option<String>,
}

impl ScoringModel {
    /// The weights of a segment's customers.
    pub fn of(&self, segment: u32) -> &Pair {
        self.segments.get(segment as usize).and_then(Option::as_ref).unwrap_or(&self.global)
    }

    /// Stated weights for data that is too short to learn from: own purchases in the order of how
    /// often, then what sells and what neighbours bought.
    pub fn untuned(why: Option<String>) -> Self {
        let weights = |intercept: f64, kinds: &[Signal], of: &[(&str, f64)]| Weights {
            intercept,
            signals: kinds
                .iter()
                .map(|(name, _)| of.iter().find(|(known, _)| known == name).map_or(0.0, |(_, w)| *w))
                .collect(),
        };
        let repeat = [
            ("ln days", 1.0),
            ("ln decayed weight", 0.2),
            ("ln neighbour share", 0.1),
            ("ln popularity, 3 windows", 0.2),
        ];
        let explore = [
            ("ln neighbour share", 0.4),
            ("together", 0.4),
            ("ln popularity, 3 windows", 0.7),
            ("ln popularity in the segment", 0.2),
        ];
        Self {
            global: Pair {
                repeat: weights(1.0, &REPEAT, &repeat),
                explore: weights(-1.5, &EXPLORE, &explore),
            },
            segments: Vec::new(),
            tuning: Tuning { why_untuned: why, ..Tuning::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_add_up_to_the_log_odds() {
        let model = ScoringModel::untuned(None);
        let signals: [f32; REPEAT.len()] = std::array::from_fn(|at| at as f32 * 0.3 - 1.0);
        let weights = &model.global.repeat;
        let sum: f64 = weights.factors(&signals, &REPEAT).iter().sum();
        assert!((sum - weights.log_odds(&signals)).abs() < 1e-12);
        assert!(weights.signals.iter().filter(|w| **w != 0.0).count() == 4, "every name is a signal");
        assert!(model.global.explore.signals.iter().filter(|w| **w != 0.0).count() == 4);
    }

    #[test]
    fn a_segment_without_weights_of_its_own_has_the_global_ones() {
        let mut model = ScoringModel::untuned(None);
        let mut own = model.global.clone();
        own.repeat.intercept = 9.0;
        model.segments = vec![None, Some(own)];
        assert_eq!(model.of(0).repeat.intercept, 1.0);
        assert_eq!(model.of(1).repeat.intercept, 9.0);
        assert_eq!(model.of(7).repeat.intercept, 1.0);
    }
}
