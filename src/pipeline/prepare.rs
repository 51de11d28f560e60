//! From input that is fit to use to everything that offers are made from.

use super::contract::judge;
use super::fit::{self, Bench};
use super::identity;
use super::policies::{compile, policies};
use crate::affinities;
use crate::config::Config;
use crate::config::resolve::SegmentCount;
use crate::contract::control::Control;
use crate::contract::facts::Known;
use crate::contract::judge::{Status, Verdict, sentences};
use crate::contract::report;
use crate::engine::Engine;
use crate::engine::part::RunFolder;
use crate::engine::scratch::Scratch;
use crate::error::Error;
use crate::features::{self, Features, Observer, Source, Units};
use crate::neighbours::pool;
use crate::policies::{Policies, PolicyFile};
use crate::privacy::Ids;
use crate::recommendations::Fitted;
use crate::recommendations::model::ScoringModel;
use crate::runs::Output;
use crate::runs::manifest::InputIdentity;
use crate::segments;
use crate::transactions::catalogue::{self, Package};
use crate::transactions::cutoff::{CustomerSampler, Cutoff, SampledCustomers};
use crate::transactions::left_out;
use crate::transactions::quality::QualityReport;
use crate::transactions::source::Plan;
use crate::transactions::{self, Transactions};
use crate::value::collect::Collector;
use crate::value::moves::Earlier;
use crate::value::{self, Value};
use std::sync::Arc;

/// Input that has been looked at and may be read: files listed, schemas checked, catalogue read.
pub struct Checked {
    pub plan: Plan,
    pub catalogue: Option<Vec<Package>>,
    pub policies: PolicyFile,
    /// What revenue should be, if the contract names it.
    pub control: Option<Control>,
}

/// Looks at everything that can be wrong before any work.
pub fn check_input(config: &Config, engine: &Engine) -> Result<Checked, Error> {
    let runtime = engine.runtime.handle();
    let mut ids = Ids::load(config.pseudonyms.as_ref())?;
    ids.forgotten = Output::open(&config.output, runtime)?.forgotten(ids.pseudonyms.as_ref())?;
    let plan = Plan::open(&config.transactions, Arc::new(ids), runtime)?;
    let (limit, least) = (engine.memory.bytes(), engine.memory.least(plan.rows, engine.threads));
    if limit < least {
        // Rounded up: the error names a limit that will do.
        let least = least.next_multiple_of(1 << 20);
        return Err(Error::MemoryTooSmall { limit, least });
    }
    let catalogue = config
        .catalogue
        .as_ref()
        .map(|settings| catalogue::read(settings, &config.money, runtime))
        .transpose()?;
    let control = Control::read(&config.contract.reconciliation.control)?;
    Ok(Checked { plan, catalogue, policies: policies(config)?, control })
}

/// A base that is fitted up to the end of its data: everything that offers are made from.
pub(super) struct Prepared {
    pub transactions: Transactions,
    pub report: QualityReport,
    pub fitted: Fitted,
    pub model: ScoringModel,
    pub policies: Policies,
    pub value: Option<Value>,
    /// What was read, without the files that were left out.
    pub input: InputIdentity,
    /// What is to be said of the input.
    pub warnings: Vec<String>,
    /// What the data contract says of it; empty if it was not asked.
    pub verdicts: Vec<Verdict>,
}

/// Reads the transactions once and fits everything, with its tables in `folder`. `valued`: customers are
/// valued as well, and compared with the run before, if there is one. `known`: the input is held against the data
/// contract, and nothing is fitted if it breaks a rule that fails.
pub(super) fn prepare(
    checked: Checked,
    config: &Config,
    engine: &Engine,
    scratch: &Scratch,
    folder: &RunFolder,
    valued: Option<(&value::Settings, Option<Earlier>)>,
    known: Option<Known>,
) -> Result<Prepared, Error> {
    let progress = &engine.progress;
    let Checked { mut plan, catalogue, policies, .. } = checked;
    progress.begin("transactions", plan.rows);
    let resident = engine.memory.resident_rows();
    let transactions =
        transactions::shuffle(&mut plan, catalogue, config, engine, resident, scratch, folder)?;
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
        sample: config.segments.sample,
    };
    let features = features::build(&transactions, &source, cutoff, config, engine, scratch, folder)?;
    let sampled = SampledCustomers::of(source.sampler, transactions.customer_type);
    progress.end(transactions.counts.good, features.customers, 0);
    progress.set_rejected(transactions.counts.reasons(features.cleaned.future));
    transactions::keep_contract(&transactions.counts, features.cleaned.future, config)?;
    let verdicts = match known {
        Some(known) => judge(&transactions, features.cleaned, config, known),
        None => Vec::new(),
    };
    if !report::is_kept(&verdicts) {
        return Err(Error::Contract { verdicts });
    }
    let report = QualityReport::new(&plan, &transactions, features.cleaned, features.customers);
    let policies =
        compile(&policies, &features.package_batch, &features.schema, features.as_of_day, &plan.ids, engine)?;

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
    let input = identity::input(&plan);
    let mut warnings: Vec<String> = left_out::warning(&plan.left_out).into_iter().collect();
    warnings.extend(sentences(&verdicts, Status::Warned));
    Ok(Prepared { transactions, report, fitted, model, policies, value, input, warnings, verdicts })
}

/// Rows that the segment stage goes through, for the progress bar: the sample once for every k, then
/// everybody.
fn sweep_rows(config: &Config, features: &Features) -> u64 {
    let tried = match config.segments.k {
        SegmentCount::Fixed(_) => 0,
        SegmentCount::Sweep { from, to, step } => ((to - from) / step + 1) as u64,
    };
    tried * features.sample.len() as u64 + features.customers
}
