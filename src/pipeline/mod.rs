//! The flow from input files to a published run, as straight-line code.

pub mod backtest;
mod check;
pub mod fit;
pub mod last_basket;
mod published;

pub use check::check;

use crate::affinities;
use crate::config::{Config, Layers};
use crate::engine::Engine;
use crate::engine::memory::peak_resident_bytes;
use crate::engine::part::{PartFile, RunFolder};
use crate::engine::progress::StageFigures;
use crate::engine::scratch::Scratch;
use crate::error::Error;
use crate::evaluate::gate::{self, Mode};
use crate::features::{self, Features, Observer, Source, Units};
use crate::neighbours::pool;
use crate::policies::{ContactHistory, PackageCodes, Policies, PolicyError, PolicyFile};
use crate::recommendations::explain::Explanation;
use crate::recommendations::model::ScoringModel;
use crate::recommendations::{self, Fitted, OfferFigures};
use crate::runs::manifest::{FORMAT, InputIdentity, Manifest, Quality};
use crate::runs::{NewRun, Output};
use crate::segments;
use crate::spelling;
use crate::tables;
use crate::transactions::catalogue::{self, Package};
use crate::transactions::cutoff::{CustomerSampler, Cutoff, SampledCustomers};
use crate::transactions::quality::QualityReport;
use crate::transactions::source::Plan;
use crate::transactions::times::date_of;
use crate::transactions::{self, Transactions};
use crate::value::collect::Collector;
use crate::value::moves::Earlier;
use crate::value::{self, Value};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use chrono::{DateTime, SecondsFormat, Utc};
use fit::Bench;
use published::{Published, draw, table_failed};
use std::sync::Arc;

/// Input that has been looked at and may be read: files listed, schemas checked, catalogue read.
pub struct Checked {
    pub plan: Plan,
    pub catalogue: Option<Vec<Package>>,
    pub policies: PolicyFile,
}

/// Looks at everything that can be wrong before any work.
pub fn check_input(config: &Config, engine: &Engine) -> Result<Checked, Error> {
    let runtime = engine.runtime.handle();
    let plan = Plan::open(&config.transactions, runtime)?;
    let (limit, least) = (engine.memory.bytes(), engine.memory.least(plan.rows, engine.threads));
    if limit < least {
        return Err(Error::MemoryTooSmall { limit, least });
    }
    let catalogue = config
        .catalogue
        .as_ref()
        .map(|settings| catalogue::read(settings, &config.money, runtime))
        .transpose()?;
    Ok(Checked { plan, catalogue, policies: policies(config)? })
}

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

/// A base that is fitted up to the end of its data: everything that offers are made from.
struct Prepared {
    transactions: Transactions,
    report: QualityReport,
    fitted: Fitted,
    model: ScoringModel,
    policies: Policies,
    value: Option<Value>,
}

/// Reads the transactions once and fits everything, with its tables in `folder`. `valued`: customers are
/// valued as well, and compared with the run before, if there is one.
fn prepare(
    checked: Checked,
    config: &Config,
    engine: &Engine,
    scratch: &Scratch,
    folder: &RunFolder,
    valued: Option<(&value::Settings, Option<Earlier>)>,
) -> Result<Prepared, Error> {
    let progress = &engine.progress;
    let Checked { plan, catalogue, policies } = checked;
    progress.begin("transactions", plan.rows);
    let resident = engine.memory.resident_rows();
    let transactions = transactions::shuffle(&plan, catalogue, config, engine, resident, scratch, folder)?;
    progress.end(transactions.counts.rows, transactions.counts.good, transactions.buckets.spilled_bytes());

    progress.begin("features", transactions.counts.good);
    let cutoff = Cutoff::end(&transactions);
    let sampler = CustomerSampler::new(config.recommendations.tuning_sample, config.seed);
    let collector = valued.as_ref().map(|(settings, _)| {
        let base = (transactions.scale, transactions.customer_type);
        Collector::new(settings.period, cutoff.day(), base, (settings.sample, config.seed), folder)
    });
    let source = Source {
        units: Units::Buckets,
        channel_rows: &transactions.channel_rows,
        sampler: Some(std::sync::Mutex::new(sampler)),
        observer: collector.as_ref().map(|collector| collector as &dyn Observer),
    };
    let features = features::build(&transactions, &source, cutoff, config, engine, scratch, folder)?;
    let sampled = SampledCustomers::of(source.sampler, transactions.customer_type);
    progress.end(transactions.counts.good, features.customers, 0);
    transactions::keep_contract(&transactions.counts, features.cleaned.future, config)?;
    let report = QualityReport::new(&plan, &transactions, features.cleaned, features.customers);
    let policies = compile(&policies, &features.package_batch, &features.schema, features.as_of_day, engine)?;

    progress.begin("segments", sweep_rows(config, &features));
    let segments = segments::build(&features, config, engine, folder)?;
    progress.end(features.customers, features.customers, 0);

    // Before the neighbours: the sample and what is learned from it are gone when the pool comes.
    progress.begin("tuning", sampled.len() as u64);
    let bench = Bench { transactions: &transactions, config, engine, scratch };
    let model = fit::tune(bench, &sampled, cutoff, &segments.model)?;
    progress.end(sampled.len() as u64, model.tuning.customers, 0);

    let value = match (collector, valued) {
        (Some(collector), Some((settings, earlier))) => {
            progress.begin("value", features.customers);
            let summaries = collector.finish()?;
            let by = (config, settings);
            let has_money = transactions.has_money;
            let value = value::build(&features, summaries, &sampled, earlier, has_money, by, engine, folder)?;
            progress.end(features.customers, value.figures.customers, 0);
            Some(value)
        }
        _ => None,
    };
    drop(sampled);

    progress.begin("neighbours", features.customers);
    let neighbourhood = pool::build(&features, &segments, config, engine, folder)?;
    let candidates = neighbourhood.as_ref().map_or(0, |found| found.table.rows);
    progress.end(features.customers, candidates, 0);

    progress.begin("affinities", features.customers);
    let affinities =
        affinities::build(&features, config.recommendations.window_days, config, engine, folder)?;
    progress.end(features.customers, affinities.members.len() as u64, 0);
    let fitted = Fitted { features, segments, neighbourhood, affinities };
    Ok(Prepared { transactions, report, fitted, model, policies, value })
}

/// Checks policies against the packages and columns of a run, and reads the contact history. Offers are
/// for the day after the data, `as_of_day` (since 1970).
pub fn compile(
    file: &PolicyFile,
    packages: &RecordBatch,
    features: &Schema,
    as_of_day: i64,
    engine: &Engine,
) -> Result<Policies, PolicyError> {
    let contacts = match (&file.contact_history, file.contact_days()) {
        (Some(settings), Some(days)) => ContactHistory::read(
            settings,
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
    let scratch = Scratch::open(&config.resources.scratch)?;
    let folder = RunFolder::Local { root: scratch.path().join("simulate") };
    let Prepared { fitted, model, policies, .. } = prepare(checked, config, engine, &scratch, &folder, None)?;
    let Features { package_batch, schema, as_of_day, .. } = &fitted.features;
    let changed = compile(changed, package_batch, schema, *as_of_day, engine)?;
    let mut figures = Vec::new();
    for (name, policies) in [("offers as they are", &policies), ("offers as changed", &changed)] {
        engine.progress.begin(name, fitted.features.customers);
        let offers = recommendations::build(&fitted, &model, policies, config, engine, &scratch, &folder)?;
        engine.progress.end(fitted.features.customers, offers.figures.offers, 0);
        figures.push(offers.figures);
    }
    engine.progress.finish();
    let changed = figures.pop().unwrap_or_default();
    Ok((figures.pop().unwrap_or_default(), changed))
}

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
    config.segments.k = crate::config::resolve::SegmentCount::Fixed(segments);
    let checked = check_input(&config, engine)?;
    let scratch = Scratch::open(&config.resources.scratch)?;
    let folder = RunFolder::Local { root: scratch.path().join("explain") };
    let Prepared { fitted, model, policies, .. } =
        prepare(checked, &config, engine, &scratch, &folder, None)?;
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

/// The main job: reads the transactions once and publishes every table as one run.
///
/// `started` names the run. Memory: within `config.resources.memory` for the whole process.
pub fn run(
    config: &Config,
    layers: &Layers,
    engine: &Engine,
    started: DateTime<Utc>,
) -> Result<Manifest, Error> {
    let progress = &engine.progress;
    let checked = check_input(config, engine)?;
    let scratch = Scratch::open(&config.resources.scratch)?;
    let output = Output::create(&config.output, engine.runtime.handle())?;
    let identity = identity(&checked.plan);
    let run: NewRun = output.begin(started, &identity.fingerprint, scratch.path())?;
    let folder = &run.folder;
    let valued = match &config.value {
        Some(settings) => Some((settings, earlier(&output, &scratch)?)),
        None => None,
    };

    let Prepared { transactions, report, fitted, model, policies, value } =
        prepare(checked, config, engine, &scratch, folder, valued)?;
    progress.begin("recommendations", fitted.features.customers);
    let offers = recommendations::build(&fitted, &model, &policies, config, engine, &scratch, folder)?;
    let Fitted { features, segments, neighbourhood, .. } = fitted;
    progress.end(features.customers, offers.figures.offers, 0);
    let backtest = output.last_evaluation()?;
    let coverage = offers.figures.packages_offered as f64 / offers.figures.packages.max(1) as f64;
    let same = offers.figures.same_for_all;
    let warnings = gate::judge(&config.gate, backtest.as_ref(), coverage, same, started.date_naive());
    if config.gate.mode == Mode::Block && !warnings.is_empty() {
        return Err(Error::Gate { broken: warnings });
    }

    progress.begin("publish", 1);
    let mut tables = Published::new(folder, features.customer_type);
    tables.write(&tables::DATA_QUALITY, report.batch().map_err(table_failed)?)?;
    let mut quarantine = vec![transactions.quarantine.clone()];
    quarantine.extend(features.late_quarantine.clone());
    tables.add(&tables::QUARANTINE, quarantine, None);
    tables.add(&tables::PACKAGES, vec![features.package_table.clone()], None);
    let of = |part: fn(&features::FeatureParts) -> &PartFile| {
        features.parts.iter().map(|p| part(p).clone()).collect()
    };
    tables.add(&tables::CUSTOMER_FEATURES, of(|parts| &parts.features), Some(&features.schema));
    tables.add(&tables::CUSTOMER_PACKAGES, of(|parts| &parts.packages), None);
    tables
        .write(&tables::SEGMENT_SWEEP, segments::sweep_batch(&segments.model.sweep).map_err(table_failed)?)?;
    tables.add(&tables::CUSTOMER_SEGMENTS, segments.parts.clone(), None);
    tables.write(
        &tables::SEGMENT_PROFILES,
        segments::profile_batch(&segments.profiles).map_err(table_failed)?,
    )?;
    if let Some(neighbourhood) = &neighbourhood {
        tables.add(&tables::NEIGHBOUR_CANDIDATES, vec![neighbourhood.table.clone()], None);
    }
    if config.neighbours.publish {
        tables.add(&tables::CUSTOMER_NEIGHBOURS, offers.neighbours.clone(), None);
    }
    tables.add(&tables::RECOMMENDATIONS, offers.parts.clone(), None);
    tables.add(&tables::RECOMMENDATION_SHORTFALLS, offers.shortfalls.clone(), None);
    tables.write(&tables::POLICY_FUNNEL, offers.funnel.batch().map_err(table_failed)?)?;
    let worth = match value {
        Some(Value { by_customer, small, figures }) => {
            for (table, parts, schema) in by_customer {
                tables.add(table, parts, schema.as_deref());
            }
            for (table, batch) in small {
                tables.write(table, batch)?;
            }
            Some(figures)
        }
        None => None,
    };
    let extras = draw(&segments, folder)?;
    let tables = tables.tables;
    let rows = tables.values().map(|table| table.rows).sum();
    progress.end(rows, rows, 0);

    let manifest = Manifest {
        format: FORMAT,
        run_id: run.id.clone(),
        started_at: started.to_rfc3339_opts(SecondsFormat::Secs, true),
        finished_at: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        packwise_version: env!("CARGO_PKG_VERSION").to_owned(),
        as_of: date_of(transactions.as_of_day).to_string(),
        // The plan only estimates the rows of CSV.
        input: InputIdentity { rows: transactions.counts.rows, ..identity },
        config: layers
            .entries()
            .into_iter()
            .map(|(key, value, _)| (key, serde_json::to_value(value).unwrap_or_default()))
            .collect(),
        tables,
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
    output.publish(&manifest)?;
    progress.finish();
    Ok(manifest)
}

/// Transactions to features and no further, for measurements: the id of the run that it would have been,
/// whose folder stays until the next run, and the figures of the stages. Nothing is published.
pub fn features_only(
    config: &Config,
    engine: &Engine,
    started: DateTime<Utc>,
) -> Result<(String, Vec<StageFigures>), Error> {
    let progress = &engine.progress;
    let Checked { plan, catalogue, .. } = check_input(config, engine)?;
    let scratch = Scratch::open(&config.resources.scratch)?;
    let output = Output::create(&config.output, engine.runtime.handle())?;
    let run = output.begin(started, &identity(&plan).fingerprint, scratch.path())?;
    progress.begin("transactions", plan.rows);
    let resident = engine.memory.resident_rows();
    let transactions =
        transactions::shuffle(&plan, catalogue, config, engine, resident, &scratch, &run.folder)?;
    progress.end(transactions.counts.rows, transactions.counts.good, transactions.buckets.spilled_bytes());
    progress.begin("features", transactions.counts.good);
    let source = Source {
        units: Units::Buckets,
        channel_rows: &transactions.channel_rows,
        sampler: None,
        observer: None,
    };
    let cutoff = Cutoff::end(&transactions);
    let features = features::build(&transactions, &source, cutoff, config, engine, &scratch, &run.folder)?;
    progress.end(transactions.counts.good, features.customers, 0);
    progress.finish();
    Ok((run.id, progress.figures()))
}

/// The newest published run.
fn earlier(output: &Output, scratch: &Scratch) -> Result<Option<Earlier>, Error> {
    let newest = output.list()?.pop();
    Ok(newest.map(|id| Earlier {
        manifest: output.manifest(Some(&id)),
        folder: output.folder(&id, scratch.path()),
        id,
    }))
}

/// BLAKE3 over what identifies the input files.
fn identity(plan: &Plan) -> InputIdentity {
    let mut hasher = blake3::Hasher::new();
    for source in &plan.sources {
        let file = &source.file;
        hasher.update(format!("{}\u{0}{}\u{0}{}\n", file.name, file.bytes, file.modified).as_bytes());
    }
    InputIdentity {
        files: plan.sources.len(),
        rows: plan.rows,
        bytes: plan.bytes,
        fingerprint: hasher.finalize().to_hex().to_string(),
    }
}

/// Rows that the segment stage goes through, for the progress bar: the sample once for every k, then
/// everybody.
fn sweep_rows(config: &Config, features: &Features) -> u64 {
    let tried = match config.segments.k {
        crate::config::resolve::SegmentCount::Fixed(_) => 0,
        crate::config::resolve::SegmentCount::Sweep { from, to, step } => ((to - from) / step + 1) as u64,
    };
    tried * features.sample.len() as u64 + features.customers
}
