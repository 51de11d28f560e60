//! What a run would know of tested customers beside their purchases: made by the run's own code from
//! what they did up to their last known day.

use super::super::fit::Bench;
use crate::config::resolve::IndexChoice;
use crate::engine::part::RunFolder;
use crate::engine::workers;
use crate::error::Error;
use crate::evaluate::cases::Cases;
use crate::evaluate::packwise::Profile;
use crate::features::{self, Source, Units};
use crate::neighbours::pool::{self, Neighbourhood};
use crate::recommendations::visit::Visitor;
use crate::recommendations::{Fitted, RecommendationError};
use crate::segments;
use crate::transactions::cutoff::{Cutoff, SampledCustomers};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Takes the parts of a fit that was made on the whole base and puts those of the sample in their place:
/// features by the run's SQL, segments of the fitted model. Models and index stay as they were.
pub(in crate::pipeline) fn at_hand(
    bench: Bench,
    fitted: Fitted,
    sampled: &SampledCustomers,
    channel_rows: &[u64],
    cutoff: Cutoff,
    folder: &RunFolder,
) -> Result<Fitted, Error> {
    let Bench { transactions, config, engine, scratch } = bench;
    let rows_per_unit = engine.memory.rows_per_bucket(engine.threads) as usize;
    let units = sampled.until(|_| cutoff.day(), rows_per_unit, transactions.customer_type);
    let source = Source::of(Units::customers(units), channel_rows, config.segments.sample);
    let features = features::build(transactions, &source, cutoff, config, engine, scratch, folder)?;
    let segments = segments::build_with(&fitted.segments.model, &features, config, engine, folder)?;
    Ok(Fitted { features, segments, ..fitted })
}

/// Segment, usual price and neighbours of every customer of the cases, whose parts are in `folder`.
/// Memory: a part for each thread, and 8 bytes a neighbour of a customer.
pub(in crate::pipeline) fn look(
    bench: Bench,
    fitted: &Fitted,
    sampled: &SampledCustomers,
    cases: &Cases,
    folder: &RunFolder,
) -> Result<Vec<Profile>, Error> {
    let Bench { config, engine, .. } = bench;
    let by_id: BTreeMap<&[u8], usize> =
        cases.sampled.iter().enumerate().map(|(number, at)| (sampled.id(*at), number)).collect();
    let blank = Profile { segment: 0, ln_usual: f32::NAN, near: None };
    let profiles = Mutex::new(vec![blank; cases.histories.len()]);
    let visitor = Visitor::new(fitted, config, engine, folder);
    let pools = fitted.neighbourhood.as_ref().map_or(&[][..], |found| &found.pools);
    workers::for_each(
        engine.threads,
        fitted.features.parts.len(),
        || (),
        |(), number| {
            visitor.part(number, |group| {
                let mut profiles = profiles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                for at in 0..group.len() {
                    let Some(number) = by_id.get(group.id(at).as_bytes()) else { continue };
                    profiles[*number] = Profile {
                        segment: group.segment(at),
                        ln_usual: group.subject(at).ln_usual,
                        near: group.nearest(at).and_then(|(pool, positions, squared)| {
                            let pool = pools.iter().position(|known| std::ptr::eq(known, pool))?;
                            Some((pool, positions.iter().copied().zip(squared.iter().copied()).collect()))
                        }),
                    };
                }
                Ok::<(), RecommendationError>(())
            })
        },
    )
    .map_err(Error::from)?;
    Ok(profiles.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// The same candidates, all compared; None where the fit compares all of them anyway, or has none.
/// `folder` holds the parts that the fit was made on. Memory: the pool once more.
pub(in crate::pipeline) fn all_compared(
    bench: Bench,
    fitted: &Fitted,
    folder: &RunFolder,
) -> Result<Option<Neighbourhood>, Error> {
    let Some(neighbourhood) = &fitted.neighbourhood else { return Ok(None) };
    if neighbourhood.quality.iter().all(|pool| pool.kind == "exact") {
        return Ok(None);
    }
    let mut config = bench.config.clone();
    config.neighbours.index = IndexChoice::Exact;
    Ok(pool::build(&fitted.features, &fitted.segments, &config, bench.engine, folder)?)
}
