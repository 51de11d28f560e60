//! Fitting up to a cut-off: the same code for a run, for learning from the window before it, and for a
//! backtest.

use crate::affinities;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::part::RunFolder;
use crate::engine::scratch::Scratch;
use crate::error::Error;
use crate::features::{self, Source, Units};
use crate::neighbours::pool;
use crate::recommendations::Fitted;
use crate::recommendations::model::ScoringModel;
use crate::recommendations::tune::{self, Lessons, Truths};
use crate::segments::{self, SegmentModel};
use crate::transactions::Transactions;
use crate::transactions::cutoff::{Cutoff, SampledCustomers};

/// What a fit needs besides its source.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    pub transactions: &'a Transactions,
    pub config: &'a Config,
    pub engine: &'a Engine,
    pub scratch: &'a Scratch,
}

/// Fits everything up to a cut-off; `model` are segments that were fitted before, if any.
pub fn fit(
    bench: Bench,
    source: &Source,
    cutoff: Cutoff,
    model: Option<&SegmentModel>,
    folder: &RunFolder,
) -> Result<Fitted, Error> {
    let Bench { transactions, config, engine, scratch } = bench;
    let features = features::build(transactions, source, cutoff, config, engine, scratch, folder)?;
    let segments = match model {
        Some(model) => segments::build_with(model, &features, config, engine, folder)?,
        None => segments::build(&features, config, engine, folder)?,
    };
    let neighbourhood = pool::build(&features, &segments, config, engine, folder)?;
    let affinities =
        affinities::build(&features, config.recommendations.window_days, config, engine, folder)?;
    Ok(Fitted { features, segments, neighbourhood, affinities })
}

/// Learns the weights of the score from the last window before `cutoff`, on sampled customers.
pub fn tune(
    bench: Bench,
    sampled: &SampledCustomers,
    cutoff: Cutoff,
    model: &SegmentModel,
) -> Result<ScoringModel, Error> {
    let config = bench.config;
    Ok(match lessons(bench, sampled, cutoff, model)? {
        Some(lessons) => {
            lessons.learn(model.k, None, config.recommendations.per_segment, bench.engine.threads)
        }
        None => ScoringModel::untuned(Some("no customer has purchases before the last window".to_owned())),
    })
}

/// What the last window before `cutoff` teaches; None if nobody bought before it.
pub fn lessons(
    bench: Bench,
    sampled: &SampledCustomers,
    cutoff: Cutoff,
    model: &SegmentModel,
) -> Result<Option<Lessons>, Error> {
    let Bench { transactions, config, engine, scratch } = bench;
    let days = config.recommendations.window_days;
    let before = cutoff.back(days);
    let rows_per_unit = engine.memory.rows_per_bucket(engine.threads) as usize;
    let units = sampled.until(|_| before.day(), rows_per_unit, transactions.customer_type);
    if units.is_empty() {
        return Ok(None);
    }
    // What is learned may know no more of the channels than the segments do.
    let earlier = sampled.channel_rows(|_| cutoff.day(), transactions.channel_names.len());
    let channel_rows =
        if cutoff == Cutoff::end(transactions) { &transactions.channel_rows } else { &earlier };
    let source = Source::of(Units::customers(units), channel_rows, config.segments.sample);
    let folder = RunFolder::scratch(scratch.path().join("tuning"));
    let fitted = fit(bench, &source, before, Some(model), &folder)?;
    let truths = truths(sampled, before, days);
    let lessons = tune::collect(&fitted, &truths, None, &|_| None, config, engine, &folder)?;
    scratch.clear("tuning");
    Ok(Some(lessons))
}

/// What sampled customers bought in the window after a cut-off: distinct packages, ascending.
pub fn truths(sampled: &SampledCustomers, cutoff: Cutoff, days: u32) -> Truths {
    let window = cutoff.window(days);
    let mut truths = Truths::new();
    for customer in 0..sampled.len() {
        let mut packages: Vec<u32> = sampled
            .rows(customer)
            .iter()
            .filter(|row| window.contains(&row.day()) && row.is_purchase())
            .map(|row| row.package as u32)
            .collect();
        packages.sort_unstable();
        packages.dedup();
        if !packages.is_empty() {
            truths.insert(sampled.id(customer).into(), packages);
        }
    }
    truths
}
