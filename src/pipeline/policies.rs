//! Policies of a run: read, checked against its packages and columns, tried out.

use super::prepare::{Prepared, check_input, prepare};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::part::RunFolder;
use crate::engine::scratch::{Scratch, WhenLocked};
use crate::error::Error;
use crate::features::Features;
use crate::policies::funnel::leave_out_small_groups;
use crate::policies::{ContactHistory, PackageCodes, Policies, PolicyError, PolicyFile};
use crate::privacy::Ids;
use crate::recommendations::{self, OfferFigures};
use crate::transactions::times::date_of;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// The policy file of the configuration; no rules without one.
pub fn policies(config: &Config) -> Result<PolicyFile, Error> {
    match &config.policies {
        Some(path) => read_policies(path),
        None => Ok(PolicyFile::empty()),
    }
}

/// Reads a policy file.
pub fn read_policies(path: &str) -> Result<PolicyFile, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::PolicyFile { path: path.to_owned(), source })?;
    Ok(PolicyFile::parse(&text, path)?)
}

/// Checks policies against the packages and columns of a run, and reads the contact history. Offers are
/// for the day after the data, `as_of_day` (since 1970).
pub fn compile(
    file: &PolicyFile,
    packages: &RecordBatch,
    features: &Schema,
    as_of_day: i64,
    ids: &Arc<Ids>,
    engine: &Engine,
) -> Result<Policies, PolicyError> {
    let contacts = match (&file.contact_history, file.contact_days()) {
        (Some(settings), Some(days)) => ContactHistory::read(
            settings,
            ids.clone(),
            days,
            as_of_day,
            &PackageCodes::of(packages)?,
            engine.runtime.handle(),
            engine.memory.usable() / 2,
        )?,
        _ => ContactHistory::empty(),
    };
    Policies::compile(file, packages, &customer_schema(features), date_of(as_of_day + 1), contacts)
}

/// The columns of customers that policies can speak of: their features, and their segment.
pub fn customer_schema(features: &Schema) -> Schema {
    let segment = Arc::new(Field::new("segment", DataType::Int64, false));
    Schema::new(features.fields().iter().cloned().chain([segment]).collect::<Vec<_>>())
}

/// What a changed policy file would do, side by side with the one in force; nothing is published.
pub fn simulate(
    config: &Config,
    changed: &PolicyFile,
    engine: &Engine,
) -> Result<(OfferFigures, OfferFigures), Error> {
    let checked = check_input(config, engine)?;
    let ids = checked.plan.ids.clone();
    let scratch = Scratch::open(&config.resources.scratch, WhenLocked::Fail)?;
    let folder = RunFolder::scratch(scratch.path().join("simulate"));
    let Prepared { fitted, model, policies, .. } =
        prepare(checked, config, engine, &scratch, &folder, None, None)?;
    let Features { package_batch, schema, as_of_day, .. } = &fitted.features;
    let changed = compile(changed, package_batch, schema, *as_of_day, &ids, engine)?;
    let mut figures = Vec::new();
    for (name, policies) in [("offers as they are", &policies), ("offers as changed", &changed)] {
        engine.progress.begin(name, fitted.features.customers);
        let offers =
            recommendations::build(&fitted, &model, policies, config, engine, &scratch, &folder, None)?;
        engine.progress.end(fitted.features.customers, offers.figures.offers, 0);
        let mut offers = offers.figures;
        leave_out_small_groups(&mut offers.rules, config.k_min);
        figures.push(offers);
    }
    engine.progress.finish();
    let changed = figures.pop().unwrap_or_default();
    Ok((figures.pop().unwrap_or_default(), changed))
}
