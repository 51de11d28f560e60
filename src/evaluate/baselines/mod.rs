//! The methods that an offer has to beat: from counting to published next-basket methods.
//!
//! All are fitted on [`Histories`](super::histories::Histories) and score through
//! [`Recommender`](super::recommender::Recommender). Fitting and scoring give the same bits on any
//! number of threads: sums run over customers and packages in the order of their numbers.

mod als;
mod item_knn;
mod own;
mod popular;
mod sparse;
mod tifu_knn;
mod up_cf;
mod user_knn;

use thiserror::Error;

pub use als::{AlsSettings, ImplicitAls};
pub use item_knn::{ItemKnn, ItemKnnSettings, Weighting};
pub use own::{LastPackage, OwnDecayed, OwnFrequent, OwnThenPopular};
pub use popular::{Count, Popular, PopularSettings};
pub use tifu_knn::{Grouping, Similarity, TifuKnn, TifuSettings};
pub use up_cf::{UpCf, UpCfSettings};
pub use user_knn::{UserKnn, UserKnnSettings};

/// Why a method cannot be fitted.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum BaselineError {
    #[error("`{setting}` of {method} is {value}, it must be {expected}")]
    Setting { method: &'static str, setting: &'static str, value: f64, expected: &'static str },
}

/// The settings of one method, checked one after the other.
struct Check(&'static str);

impl Check {
    /// A number of at least 1.
    fn count(&self, setting: &'static str, value: usize) -> Result<(), BaselineError> {
        self.that(value >= 1, setting, value as f64, "at least 1")
    }

    /// A finite number above 0.
    fn positive(&self, setting: &'static str, value: f64) -> Result<(), BaselineError> {
        self.that(value > 0.0 && value.is_finite(), setting, value, "a finite number above 0")
    }

    /// A number from 0 to 1.
    fn share(&self, setting: &'static str, value: f64) -> Result<(), BaselineError> {
        self.that((0.0..=1.0).contains(&value), setting, value, "from 0 to 1")
    }

    /// A number above 0 and up to 1.
    fn decay(&self, setting: &'static str, value: f64) -> Result<(), BaselineError> {
        self.that(value > 0.0 && value <= 1.0, setting, value, "above 0 and up to 1")
    }

    fn that(
        &self,
        holds: bool,
        setting: &'static str,
        value: f64,
        expected: &'static str,
    ) -> Result<(), BaselineError> {
        if holds { Ok(()) } else { Err(BaselineError::Setting { method: self.0, setting, value, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_named_with_its_value() {
        let check = Check("TIFU-KNN");
        let text = check.decay("group_decay", 0.0).unwrap_err().to_string();
        assert_eq!(text, "`group_decay` of TIFU-KNN is 0, it must be above 0 and up to 1");
        for bad in [f64::NAN, -0.1, 1.5] {
            assert!(check.share("alpha", bad).is_err() && check.decay("alpha", bad).is_err(), "{bad}");
        }
        for bad in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            assert!(check.positive("half_life", bad).is_err(), "{bad}");
        }
        assert!(check.count("neighbours", 0).is_err());
        let good =
            [check.share("a", 0.0), check.decay("a", 1.0), check.positive("a", 3.0), check.count("a", 1)];
        assert!(good.iter().all(Result::is_ok));
    }
}
