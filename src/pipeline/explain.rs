//! Why one customer is or is not offered one package.

use super::prepare::{Prepared, check_input, prepare};
use crate::config::Config;
use crate::config::resolve::SegmentCount;
use crate::engine::Engine;
use crate::engine::part::RunFolder;
use crate::engine::scratch::{Scratch, WhenLocked};
use crate::error::Error;
use crate::recommendations;
use crate::recommendations::explain::Explanation;
use crate::spelling;

/// Why a package is or is not offered to a customer: the run's own code over the input, with the number
/// of segments that the run chose. Nothing is published.
pub fn explain(
    config: &Config,
    engine: &Engine,
    segments: usize,
    customer: &str,
    package: &str,
) -> Result<Explanation, Error> {
    let mut config = config.clone();
    config.segments.k = SegmentCount::Fixed(segments);
    let checked = check_input(&config, engine)?;
    let scratch = Scratch::open(&config.resources.scratch, WhenLocked::Fail)?;
    let folder = RunFolder::scratch(scratch.path().join("explain"));
    let Prepared { fitted, model, policies, .. } =
        prepare(checked, &config, engine, &scratch, &folder, None, None)?;
    let codes = &fitted.features.packages;
    let Ok(number) = codes.binary_search_by(|known| known.code.as_str().cmp(package)) else {
        let nearest =
            spelling::nearest(package, codes.iter().map(|known| known.code.as_str())).map(str::to_owned);
        return Err(Error::UnknownPackage { package: package.to_owned(), nearest });
    };
    engine.progress.begin("explain", fitted.features.customers);
    let question = (customer, number as u32);
    let found = recommendations::explain::explain(
        &fitted, &model, &policies, &config, engine, &scratch, &folder, question,
    )?;
    engine.progress.finish();
    found.ok_or_else(|| Error::UnknownCustomer { customer: customer.to_owned(), run: "the input".to_owned() })
}
