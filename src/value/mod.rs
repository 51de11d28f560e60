//! Stage: what a customer is worth.
//!
//! | file | does |
//! |---|---|
//! | [`purchases`] | a customer's rows as repeat purchases by calendar period |
//! | [`collect`], [`tuples`] | that for everybody while features are made, and bounded sums over the base |
//! | [`models`] | BG/NBD, MBG/NBD, Gamma-Gamma: arithmetic on slices |
//! | [`fit`] | the models of a run, and what they say about themselves |
//! | [`holdout`], [`backtest`] | the models against what a sample did later |
//! | [`scorer`] | the worth of one customer |
//! | [`rfm`] | recency, frequency, money and length: scores, named segments, migration |
//! | [`segments`] | k-means over behaviour and future value |
//! | [`moves`] | who changed segment since the run before |
//! | [`matrices`], [`tiers`] | strategic quadrants, scenarios; Platinum to Bronze |
//! | `pass` | everybody through all of it, twice: once to find cut points, once to write |
//! | `write`, `small` | tables by customer; tables about the base |
//! | [`report`], `figures` | what the manifest carries |

pub mod backtest;
pub mod collect;
mod figures;
pub mod fit;
pub mod holdout;
pub mod matrices;
pub mod models;
pub mod moves;
mod pass;
pub mod purchases;
pub mod report;
pub mod rfm;
pub mod scorer;
pub mod segments;
mod small;
pub mod tiers;
pub mod tuples;
mod write;

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::part::{PartError, PartFile, RunFolder};
use crate::features::Features;
use crate::numerics::sample::MergeError;
use crate::privacy::suppression::Links;
use crate::segments::SegmentError;
use crate::tables::{self, Table};
use crate::transactions::cutoff::SampledCustomers;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use collect::Summaries;
use fit::Models;
use matrices::Matrix;
use matrices::scenario::Scenarios;
use models::summary::TupleError;
use models::{Dropout, HorizonError, SpendError, ValueHorizonError};
use moves::{Earlier, Moves};
use purchases::Period;
use report::ValueFigures;
use rfm::grid::Grid;
use tiers::{TierEntry, TierError};

/// What the configuration asks for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Purchases of one period are one purchase; the unit of all times.
    pub period: Period,
    /// The purchase model that values come from.
    pub model: Dropout,
    pub penalty: f64,
    /// Months whose spend is the value, and what a month later counts less.
    pub months: u32,
    pub discount: f64,
    /// Days that the backtest holds out; None: half of the data's.
    pub holdout_days: Option<u32>,
    /// Customers that the spend model is fitted on at the most.
    pub sample: usize,
    pub grid: Grid,
    pub matrices: Vec<Matrix>,
    pub scenarios: Scenarios,
    pub tiers: Vec<TierEntry>,
}

/// Why values could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    #[error("purchase histories cannot be summed up")]
    Tuples(#[from] TupleError),
    #[error("the values of purchases cannot be summed up")]
    Spend(#[from] SpendError),
    #[error("the horizon of the value cannot be used")]
    Horizon(#[from] ValueHorizonError),
    #[error("the holdout cannot be predicted")]
    Holdout(#[from] HorizonError),
    #[error("the backtest of customer value failed")]
    Backtest(#[from] backtest::BacktestError),
    #[error(transparent)]
    Segments(#[from] SegmentError),
    #[error("the samples of two threads cannot be joined")]
    Sample(#[from] MergeError),
    #[error(transparent)]
    Tiers(#[from] TierError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("a table of customer value cannot be made")]
    Arrow(#[from] ArrowError),
}

/// What is published.
pub struct Value {
    /// Tables by customer: their parts, and the schema where it is open-ended.
    pub by_customer: Vec<(&'static Table, Vec<PartFile>, Option<SchemaRef>)>,
    pub small: Vec<(&'static Table, RecordBatch)>,
    /// What a reader can know of these tables' groups from elsewhere.
    pub links: Links,
    pub figures: ValueFigures,
}

/// Models, scores and values of everybody. Memory: a part for each thread, the samples, histograms.
#[expect(clippy::too_many_arguments, reason = "what the run has found so far, called once")]
pub fn build(
    features: &Features,
    summaries: Summaries,
    sampled: &SampledCustomers,
    earlier: Option<Earlier>,
    has_money: bool,
    (config, settings): (&Config, &Settings),
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Value, ValueError> {
    let scale = config.money.scale();
    let models = Models::of(&summaries, has_money, settings);
    let holdout = holdout::test(sampled, features.as_of_day, has_money, scale, &settings.grid, settings)?;
    let scorer = models.scorer(settings)?;
    let base = pass::Base { features, parts: &summaries.parts, scorer, config, settings, engine, folder };
    let first = base.first()?;
    let second = base.second(first, &summaries)?;
    let moves = Moves::since(earlier, &second.rfm, folder, settings.grid.segments().len(), engine);
    let found = small::Found {
        models: &models,
        holdout: &holdout,
        second: &second,
        summaries: &summaries,
        moves: &moves,
        settings,
        scale,
    };
    let small = found.tables()?;
    let (figures, links) = (found.figures(), found.links());
    Ok(Value {
        by_customer: vec![
            (&tables::PURCHASE_SUMMARY, summaries.parts, None),
            (&tables::RFM, second.rfm, None),
            (&tables::CUSTOMER_VALUE, second.values, Some(second.schema)),
        ],
        small,
        links,
        figures,
    })
}
