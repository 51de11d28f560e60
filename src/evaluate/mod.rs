//! The backtest: how good the offers would have been on weeks that the engine had not seen.
//!
//! | file | does |
//! |---|---|
//! | [`histories`] | purchases by customer up to a day each, and what came after |
//! | [`cases`] | the customers of one cut-off |
//! | [`last_basket`] | the protocol of published tables: each customer's last basket |
//! | [`recommender`] | what every method promises |
//! | [`baselines`], [`linear`], [`packwise`] | the methods |
//! | [`methods`] | the settings that baselines choose between |
//! | [`gate`] | whether a run may be published by what the last backtest found |
//! | [`judge`], [`lists`], [`metrics`] | lists, and what they are worth |
//! | [`bootstrap`] | intervals for differences |
//! | [`report`] | the result: rows, comparisons, tables and plots |
//!
//! Fitting is in [`crate::pipeline`]: the same code as a run, up to an earlier cut-off.

pub mod baselines;
pub mod bootstrap;
pub mod cases;
#[cfg(test)]
mod conformance;
pub mod gate;
pub mod histories;
pub mod judge;
pub mod last_basket;
pub mod linear;
pub mod lists;
pub mod methods;
pub mod metrics;
pub mod packwise;
pub mod recommender;
pub mod report;

use baselines::BaselineError;
use bootstrap::BootstrapError;
use histories::HistoryError;
use metrics::MetricsError;

/// Why a backtest cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error("the cut-off {cutoff} is outside the data, which goes from {first} to {last}")]
    CutoffOutside { cutoff: String, first: String, last: String },
    #[error("nobody with purchases up to {cutoff} bought anything in the {days} days after it")]
    NoTruth { cutoff: String, days: u32 },
    #[error("{customers} customers can be tested at {cutoff}, fewer than the {k} offers of a list")]
    TooFewCustomers { customers: usize, cutoff: String, k: usize },
    #[error("no customer has three baskets or more, so nobody has a last one to predict")]
    NoBaskets,
    #[error("--min-days, --min-package-rows and --max-rows-per-day-sd go with --protocol last-basket")]
    FilterOfWindow,
    #[error("--cutoffs and --window go with --protocol window")]
    WindowOfLastBasket,
    #[error("a history cannot be made")]
    History(#[from] HistoryError),
    #[error("a baseline cannot be fitted")]
    Baseline(#[from] BaselineError),
    #[error("lists cannot be judged")]
    Metrics(#[from] MetricsError),
    #[error("a difference has no interval")]
    Bootstrap(#[from] BootstrapError),
}

impl EvaluateError {
    /// What to do, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::CutoffOutside { .. } => Some("ask for fewer --cutoffs or a shorter --window"),
            Self::NoTruth { .. } => Some("ask for a longer --window, or give more of the history"),
            Self::TooFewCustomers { .. } => Some("raise --customers, or ask for shorter lists with --at"),
            Self::NoBaskets => Some("use --protocol window, which needs no third basket"),
            Self::FilterOfWindow => Some("add --protocol last-basket, or leave the filters out"),
            Self::WindowOfLastBasket => Some("leave them out: the last basket of each customer is the test"),
            _ => None,
        }
    }
}
