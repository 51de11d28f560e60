//! `evaluate`: the run's own code up to earlier days, judged on what customers bought after them.
//!
//! | file | does |
//! |---|---|
//! | this file | the protocol of windows: rolling cut-offs over the whole base |
//! | [`super::last_basket`] | the protocol of last baskets: a day of its own for every customer |
//! | `profiles` | what a run would know of the tested customers |
//! | `trial` | all methods on the same customers |
//! | [`publish`] | what is left in the output |

pub(super) mod profiles;
pub mod publish;
pub(super) mod trial;

use super::fit::{self, Bench};
use super::{Checked, check_input, identity, last_basket};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::part::RunFolder;
use crate::engine::scratch::{Scratch, WhenLocked};
use crate::engine::workers;
use crate::error::Error;
use crate::evaluate::EvaluateError;
use crate::evaluate::cases::Cases;
use crate::evaluate::judge;
use crate::evaluate::last_basket::Filter;
use crate::evaluate::metrics::Columns;
use crate::evaluate::packwise::FactsByDay;
use crate::evaluate::report::{CutoffResult, Evaluation, compare};
use crate::features::{Source, Units};
use crate::quantities::format_count;
use crate::runs::Output;
use crate::transactions::cutoff::{CustomerSampler, Cutoff, SampledCustomers};
use crate::transactions::quarantine::Rejected;
use crate::transactions::times::date_of;
use crate::transactions::whole_customers::WholeCustomers;
use crate::transactions::{self, InputError, Transactions};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::Mutex;
use trial::{Outcome, Trial};

/// What is predicted from what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Protocol {
    /// What customers buy in the days after a cut-off that is the same for all.
    Window {
        /// Rolling cut-offs, one window apart, the last one window before the end of the data.
        cutoffs: u32,
        days: u32,
    },
    /// Each customer's last basket.
    LastBasket(Filter),
}

/// What to test.
#[derive(Debug, Clone)]
pub struct Plan {
    pub protocol: Protocol,
    /// Offers that count, ascending.
    pub at: Vec<usize>,
    /// Test the baselines too.
    pub baselines: bool,
    /// Customers in the sample, by hash.
    pub customers: usize,
}

/// Tests the score and every baseline, and publishes what was found under `evaluations/<id>/` of the
/// output; `started` names it. Memory: within the limit of the process; the sample takes 24 bytes a
/// row, lists 4 bytes an offer.
pub fn evaluate(
    config: &Config,
    plan: &Plan,
    engine: &Engine,
    started: DateTime<Utc>,
) -> Result<Evaluation, Error> {
    let clock = std::time::Instant::now();
    let mut config = config.clone();
    config.recommendations.window_days = match plan.protocol {
        Protocol::Window { days, .. } => days,
        Protocol::LastBasket(_) => last_basket::WINDOW_DAYS,
    };
    let Checked { plan: mut files, catalogue, .. } = check_input(&config, engine)?;
    let scratch = Scratch::open(&config.resources.scratch, WhenLocked::Fail)?;
    let output = Output::create(&config.output, engine.runtime.handle())?;
    let fingerprint = identity::input(&files).fingerprint;
    let progress = &engine.progress;
    let folder = RunFolder::scratch(scratch.path().join("evaluate"));
    progress.begin("transactions", files.rows);
    let resident = engine.memory.resident_rows_throughout();
    let transactions =
        transactions::shuffle(&mut files, catalogue, &config, engine, resident, &scratch, &folder)?;
    transactions::keep_contract(&transactions.counts, 0, &config)?;
    progress.end(transactions.counts.rows, transactions.counts.good, transactions.buckets.spilled_bytes());
    let bench = Bench { transactions: &transactions, config: &config, engine, scratch: &scratch };

    progress.begin("sample", transactions.counts.good);
    let sampled = sample(bench, plan.customers)?;
    progress.end(transactions.counts.good, sampled.len() as u64, 0);

    let how = if sampled.len() < plan.customers { "all of the input" } else { "by hash" };
    let mut evaluation = Evaluation {
        id: String::new(),
        packwise_version: env!("CARGO_PKG_VERSION"),
        protocol: "window",
        window_days: None,
        customers: format!("{} customers, {how}", format_count(sampled.len() as u64)),
        history: "everything up to the cut-off".to_owned(),
        at: plan.at.clone(),
        cutoffs: Vec::new(),
        comparisons: Vec::new(),
        price_curve: Vec::new(),
        seconds: 0.0,
    };
    let mut columns: Vec<(String, Vec<Columns>)> = Vec::new();
    match plan.protocol {
        Protocol::Window { cutoffs, days } => {
            evaluation.window_days = Some(days);
            let end = Cutoff::end(&transactions);
            for back in (1..=cutoffs).rev() {
                let outcome = at_cutoff(bench, plan, &sampled, end.back(back.saturating_mul(days)))?;
                add(outcome, &mut evaluation.cutoffs, &mut columns);
            }
        }
        Protocol::LastBasket(filter) => {
            let (outcome, left) = last_basket::judge(bench, plan, &sampled, &filter)?;
            evaluation.protocol = "last-basket";
            evaluation.customers = format!("{}; {left}", evaluation.customers);
            evaluation.history =
                "each customer's baskets before its last one, and all but the last basket of the others"
                    .to_owned();
            add(outcome, &mut evaluation.cutoffs, &mut columns);
        }
    }
    progress.begin("intervals", columns.len() as u64);
    evaluation.comparisons = compare(&columns, judge::compared_at(&plan.at), config.seed, engine.threads)?;
    evaluation.draw_price_curve();
    evaluation.leave_out_small_groups(config.k_min);
    progress.end(columns.len() as u64, evaluation.comparisons.len() as u64, 0);
    evaluation.id = output.evaluation_id(started, &fingerprint)?;
    evaluation.seconds = clock.elapsed().as_secs_f64();
    let folder = output.evaluation_folder(&evaluation.id, scratch.path());
    publish::publish(&evaluation, &output, &folder)?;
    progress.finish();
    Ok(evaluation)
}

/// Puts the outcome of a cut-off behind those before it.
fn add(outcome: Outcome, results: &mut Vec<CutoffResult>, columns: &mut Vec<(String, Vec<Columns>)>) {
    let (result, own) = outcome;
    results.push(result);
    for (method, column) in own {
        match columns.iter_mut().find(|(name, _)| *name == method) {
            Some((_, all)) => all.push(column),
            None => columns.push((method, vec![column])),
        }
    }
}

/// The customers of the backtest with all their rows. Reads every bucket and leaves it.
fn sample(bench: Bench, customers: usize) -> Result<SampledCustomers, Error> {
    let Bench { transactions, config, engine, .. } = bench;
    let sampler = Mutex::new(CustomerSampler::new(customers, config.seed));
    workers::for_each(
        engine.threads,
        transactions.buckets.count(),
        || (),
        |(), number| -> Result<(), Error> {
            let bucket = transactions.buckets.read(number).map_err(InputError::from)?;
            engine.progress.advance(bucket.len() as u64);
            WholeCustomers::new(bucket, transactions, &mut Rejected::new(None, 0)).offer_to(&sampler);
            Ok(())
        },
    )?;
    Ok(SampledCustomers::of(Some(sampler), transactions.customer_type))
}

fn inside(transactions: &Transactions, cutoff: Cutoff) -> Result<(), EvaluateError> {
    let days = &transactions.counts.by_day;
    let first = days.iter().position(|rows| *rows > 0).unwrap_or(0) as i64;
    if cutoff.day() < first {
        let text = |day: i64| date_of(day).to_string();
        return Err(EvaluateError::CutoffOutside {
            cutoff: text(cutoff.day()),
            first: text(first),
            last: text(transactions.as_of_day),
        });
    }
    Ok(())
}

/// Whether there is anybody to test, and as many as a list has places.
pub(super) fn enough(cases: &Cases, at: &[usize], cutoff: &str, days: u32) -> Result<(), EvaluateError> {
    let (customers, k) = (cases.truths.len(), at.last().copied().unwrap_or(1));
    if customers == 0 {
        return Err(EvaluateError::NoTruth { cutoff: cutoff.to_owned(), days });
    }
    if customers < k {
        return Err(EvaluateError::TooFewCustomers { customers, cutoff: cutoff.to_owned(), k });
    }
    Ok(())
}

/// Fits and judges at one cut-off.
fn at_cutoff(
    bench: Bench,
    plan: &Plan,
    sampled: &SampledCustomers,
    cutoff: Cutoff,
) -> Result<Outcome, Error> {
    let Bench { transactions, config, engine, scratch } = bench;
    inside(transactions, cutoff)?;
    let days = config.recommendations.window_days;
    let name = date_of(cutoff.day()).to_string();
    let packages = transactions.packages.len();
    let cases = Cases::at(sampled, cutoff, days, packages).map_err(EvaluateError::from)?;
    enough(&cases, &plan.at, &name, days)?;

    engine.progress.begin(&format!("fit {name}"), transactions.counts.good);
    let channel_rows = sampled.channel_rows(|_| cutoff.day(), transactions.channel_names.len());
    let folder = RunFolder::scratch(scratch.path().join("cutoff"));
    let source = Source::of(Units::BucketsAgain, &channel_rows, config.segments.sample);
    let fitted = fit::fit(bench, &source, cutoff, None, &folder)?;
    let lessons = fit::lessons(bench, sampled, cutoff, &fitted.segments.model)?;
    let exact = profiles::all_compared(bench, &fitted, &folder)?;
    engine.progress.end(transactions.counts.good, fitted.features.customers, 0);

    engine.progress.begin(&format!("test {name}"), cases.truths.len() as u64);
    let facts: FactsByDay = BTreeMap::from([(cutoff.day() as i32, fitted.facts())]);
    let folder = RunFolder::scratch(scratch.path().join("tested"));
    let mut fitted = profiles::at_hand(bench, fitted, sampled, &channel_rows, cutoff, &folder)?;
    let found = profiles::look(bench, &fitted, sampled, &cases, &folder)?;
    let exact = match exact {
        None => None,
        Some(exact) => {
            let index = fitted.neighbourhood.replace(exact);
            let found = profiles::look(bench, &fitted, sampled, &cases, &folder)?;
            std::mem::replace(&mut fitted.neighbourhood, index).map(|exact| (exact, found))
        }
    };
    let before = match plan.baselines {
        true => Some(Cases::at(sampled, cutoff.back(days), days, packages).map_err(EvaluateError::from)?),
        false => None,
    };
    let trial = Trial {
        name,
        fitted: &fitted,
        lessons,
        facts: &facts,
        cases: &cases,
        profiles: &found,
        exact: exact.as_ref().map(|(exact, found)| (exact, &found[..])),
        before: before.as_ref(),
        published: None,
    };
    let outcome = trial.hold(bench, plan)?;
    engine.progress.end(cases.histories.len() as u64, cases.truths.len() as u64, 0);
    scratch.clear("cutoff");
    scratch.clear("tested");
    Ok(outcome)
}
