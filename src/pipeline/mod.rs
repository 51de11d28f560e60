//! The flow from input files to a published run, as straight-line code.

pub mod backtest;
mod check;
mod contract;
mod explain;
pub mod fit;
mod identity;
pub mod last_basket;
mod policies;
mod prepare;
mod published;

pub use check::check;
pub use explain::explain;
pub use policies::{compile, customer_schema, policies, read_policies, simulate};
pub use prepare::{Checked, check_input};

use crate::config::{Config, Layers};
use crate::engine::Engine;
use crate::engine::journal::{Journal, Unfinished};
use crate::engine::memory::peak_resident_bytes;
use crate::engine::part::PartFile;
use crate::engine::progress::StageFigures;
use crate::engine::scratch::{Scratch, WhenLocked};
use crate::engine::{current, interrupt};
use crate::error::Error;
use crate::evaluate::gate::{self, Mode};
use crate::features::{self, Source, Units};
use crate::policies::funnel;
use crate::privacy::suppression::Links;
use crate::recommendations::{self, Fitted};
use crate::runs::manifest::{FORMAT, InputIdentity, Manifest, Quality, Resumed};
use crate::runs::{NewRun, Output, RunError};
use crate::segments;
use crate::tables;
use crate::transactions;
use crate::transactions::cutoff::Cutoff;
use crate::transactions::times::date_of;
use crate::value::moves::Earlier;
use chrono::{DateTime, SecondsFormat, Utc};
use identity::Identity;
use prepare::{Prepared, prepare};
use published::{Published, draw, table_failed};

/// How a run goes about what is there already.
#[derive(Debug, Clone, Copy)]
pub struct How {
    pub when_locked: WhenLocked,
    /// Does all of an unfinished run again.
    pub fresh: bool,
    /// Does nothing if the newest run was made of the same.
    pub skip_if_fresh: bool,
}

/// What came of a run.
pub enum Outcome {
    Published(Box<Manifest>),
    /// The newest run was made of the same.
    NothingNew {
        run_id: String,
    },
}

/// The main job: reads the transactions once and publishes every table as one run.
///
/// `started` names the run. Memory: within `config.resources.memory` for the whole process.
pub fn run(
    config: &Config,
    layers: &Layers,
    engine: &Engine,
    how: How,
    started: DateTime<Utc>,
) -> Result<Outcome, Error> {
    let progress = &engine.progress;
    let mut checked = check_input(config, engine)?;
    let identity = Identity::of(&checked, config, layers, engine.runtime.handle())?;
    let scratch = Scratch::open(&config.resources.scratch, how.when_locked)?;
    let output = Output::create(&config.output, engine.runtime.handle())?;
    let lock = output.lock(how.when_locked, started)?;
    if how.skip_if_fresh
        && let Some(run_id) = output.made_of(&identity.job)?
    {
        return Ok(Outcome::NothingNew { run_id });
    }
    let (run, journal, begun) = begin(&output, &scratch, &identity, config, how, started)?;
    current::set_run(&run.id);
    let folder = &run.folder;
    let valued = match &config.value {
        Some(settings) => Some((settings, earlier(&output, &scratch, &checked)?)),
        None => None,
    };

    let key_id = checked.plan.ids.pseudonyms.as_ref().map(|key| key.key_id().to_owned());
    let known = contract::known(config, &output, checked.control.take(), started)?;
    let prepared = prepare(checked, config, engine, &scratch, folder, valued, Some(known));
    if let Err(Error::Contract { verdicts }) = &prepared {
        contract::write_refused(verdicts, &output)?;
    }
    let Prepared { transactions, report, mut fitted, model, policies, value, input, warnings, verdicts } =
        prepared?;
    fitted.forget_sample();
    progress.begin("recommendations", fitted.features.customers);
    let mut offers =
        recommendations::build(&fitted, &model, &policies, config, engine, &scratch, folder, Some(&journal))?;
    let Fitted { features, segments, neighbourhood, .. } = fitted;
    progress.end(features.customers, offers.figures.offers, 0);
    let backtest = output.last_evaluation()?;
    let coverage = offers.figures.packages_offered as f64 / offers.figures.packages.max(1) as f64;
    let same = offers.figures.same_for_all;
    let broken = gate::judge(&config.gate, backtest.as_ref(), coverage, same, started.date_naive());
    if config.gate.mode == Mode::Block && !broken.is_empty() {
        return Err(Error::Gate { broken });
    }
    let warnings = warnings.into_iter().chain(broken).collect();

    progress.begin("publish", 1);
    let mut tables = Published::new(folder, features.customer_type);
    tables.add_small(&tables::DATA_QUALITY, report.batch().map_err(table_failed)?);
    let mut quarantine = vec![transactions.quarantine.clone()];
    quarantine.extend(features.late_quarantine.clone());
    tables.add(&tables::QUARANTINE, quarantine, None);
    tables.add_small(&tables::PACKAGES, features.package_batch.clone());
    let of = |part: fn(&features::FeatureParts) -> &PartFile| {
        features.parts.iter().map(|p| part(p).clone()).collect()
    };
    tables.add(&tables::CUSTOMER_FEATURES, of(|parts| &parts.features), Some(&features.schema));
    tables.add(&tables::CUSTOMER_PACKAGES, of(|parts| &parts.packages), None);
    let sweep = segments::sweep_batch(&segments.model.sweep).map_err(table_failed)?;
    tables.add_small(&tables::SEGMENT_SWEEP, sweep);
    tables.add(&tables::CUSTOMER_SEGMENTS, segments.parts.clone(), None);
    let profiles = segments::profile_batch(&segments.profiles).map_err(table_failed)?;
    tables.add_small(&tables::SEGMENT_PROFILES, profiles);
    if let Some(neighbourhood) = &neighbourhood {
        tables.add(&tables::NEIGHBOUR_CANDIDATES, vec![neighbourhood.table.clone()], None);
    }
    if config.neighbours.publish {
        tables.add(&tables::CUSTOMER_NEIGHBOURS, offers.neighbours.clone(), None);
    }
    tables.add(&tables::RECOMMENDATIONS, offers.parts.clone(), None);
    tables.add(&tables::RECOMMENDATION_SHORTFALLS, offers.shortfalls.clone(), None);
    funnel::leave_out_small_groups(&mut offers.figures.rules, config.k_min);
    tables.add_small(&tables::POLICY_FUNNEL, funnel::table(&offers.figures.rules).map_err(table_failed)?);
    let (mut worth, mut links) = (None, Links::default());
    if let Some(value) = value {
        for (table, parts, schema) in value.by_customer {
            tables.add(table, parts, schema.as_deref());
        }
        for (table, batch) in value.small {
            tables.add_small(table, batch);
        }
        (worth, links) = (Some(value.figures), value.links);
    }
    let (tables, hidden) = tables.finish(&links, config.k_min)?;
    if let Some(figures) = &mut worth {
        figures.leave_out(hidden.rows(&tables::RFM_SEGMENTS), hidden.rows(&tables::VALUE_TIERS));
    }
    let mut extras = draw(&segments, &hidden, folder)?;
    extras.extend(contract::write(&verdicts, folder)?);
    let rows = tables.values().map(|table| table.rows).sum();
    progress.end(rows, rows, 0);

    let manifest = Manifest {
        format: FORMAT,
        run_id: run.id.clone(),
        started_at: begun.to_rfc3339_opts(SecondsFormat::Secs, true),
        finished_at: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        resumed: run.resumes.then(|| Resumed {
            at: started.to_rfc3339_opts(SecondsFormat::Secs, true),
            parts: journal.taken(),
        }),
        job: Some(identity.job),
        packwise_version: env!("CARGO_PKG_VERSION").to_owned(),
        as_of: date_of(transactions.as_of_day).to_string(),
        // The plan only estimates the rows of CSV.
        input: InputIdentity { rows: transactions.counts.rows, ..input },
        config: layers
            .entries()
            .into_iter()
            .map(|(key, value, _)| (key, serde_json::to_value(value).unwrap_or_default()))
            .collect(),
        tables,
        pseudonyms: key_id,
        sealed: 0,
        extras,
        quality: Quality {
            data: report.measures,
            customers: features.customers,
            purchases: features.purchases,
            revenue: features.revenue as f64 / transactions.scale,
            segments: segments.model.k,
            silhouette: segments.model.sweep.iter().find(|row| row.chosen).map(|row| row.point.silhouette),
            neighbours: neighbourhood.map_or_else(Vec::new, |found| found.quality),
            scoring: Some(model),
            backtest,
            warnings,
            offers: offers.figures,
            value: worth,
        },
        stages: progress.figures(),
        peak_memory_bytes: peak_resident_bytes(),
    };
    folder.settle()?;
    if !lock.is_held() {
        return Err(RunError::LeaseLost { path: config.output.clone() }.into());
    }
    interrupt::publishing();
    output.publish(&manifest, Utc::now())?;
    journal.remove();
    progress.finish();
    Ok(Outcome::Published(Box::new(manifest)))
}

/// Begins a run, or goes on with an unfinished one of the same work; with its journal, and the time when it was
/// begun first.
fn begin(
    output: &Output,
    scratch: &Scratch,
    identity: &Identity,
    config: &Config,
    how: How,
    started: DateTime<Utc>,
) -> Result<(NewRun, Journal, DateTime<Utc>), Error> {
    let path = scratch.journal(&config.output);
    let unfinished = if how.fresh { None } else { Unfinished::read(&path, &identity.work) };
    let resumed = unfinished.as_ref().map(|unfinished| unfinished.head.run_id.as_str());
    let run = output.begin(started, &identity.input.fingerprint, scratch.path(), resumed)?;
    match unfinished {
        Some(unfinished) if run.resumes => {
            let begun = unfinished.head.started_at;
            tracing::info!(run = run.id, "going on with an unfinished run");
            Ok((run, Journal::resume(&path, unfinished)?, begun))
        }
        _ => {
            let journal = Journal::begin(&path, &identity.work, &run.id, started)?;
            Ok((run, journal, started))
        }
    }
}

/// Transactions to features and no further, for measurements: the id of the run that it would have been,
/// whose folder stays until the next run, and the figures of the stages. Nothing is published.
pub fn features_only(
    config: &Config,
    engine: &Engine,
    started: DateTime<Utc>,
) -> Result<(String, Vec<StageFigures>), Error> {
    let progress = &engine.progress;
    let Checked { mut plan, catalogue, .. } = check_input(config, engine)?;
    let scratch = Scratch::open(&config.resources.scratch, WhenLocked::Fail)?;
    let output = Output::create(&config.output, engine.runtime.handle())?;
    let _lock = output.lock(WhenLocked::Fail, started)?;
    let run = output.begin(started, &identity::input(&plan).fingerprint, scratch.path(), None)?;
    progress.begin("transactions", plan.rows);
    let resident = engine.memory.resident_rows();
    let transactions =
        transactions::shuffle(&mut plan, catalogue, config, engine, resident, &scratch, &run.folder)?;
    progress.end(transactions.counts.rows, transactions.counts.good, transactions.buckets.spilled_bytes());
    progress.begin("features", transactions.counts.good);
    let source = Source::of(Units::Buckets, &transactions.channel_rows, 0);
    let cutoff = Cutoff::end(&transactions);
    let features = features::build(&transactions, &source, cutoff, config, engine, &scratch, &run.folder)?;
    progress.end(transactions.counts.good, features.customers, 0);
    progress.finish();
    Ok((run.id, progress.figures()))
}

/// The run that readers go by until this one.
fn earlier(output: &Output, scratch: &Scratch, checked: &Checked) -> Result<Option<Earlier>, Error> {
    let current = output.current()?;
    let key_id = checked.plan.ids.pseudonyms.as_ref().map(|key| key.key_id().to_owned());
    let same_ids = |manifest: Manifest| match manifest.pseudonyms == key_id {
        true => Ok(manifest),
        false => Err(RunError::OtherIds { id: manifest.run_id }),
    };
    Ok(current.map(|id| Earlier {
        manifest: output.manifest(Some(&id)).and_then(same_ids),
        folder: output.folder(&id, scratch.path()),
        id,
    }))
}
