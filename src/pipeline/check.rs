//! The whole input read and judged, with nothing published.

use super::contract::{judge, known};
use super::{Checked, check_input};
use crate::config::Config;
use crate::contract::judge::Verdict;
use crate::engine::Engine;
use crate::engine::part::RunFolder;
use crate::engine::scratch::{Scratch, WhenLocked};
use crate::error::Error;
use crate::runs::Output;
use crate::transactions::quality::QualityReport;
use crate::transactions::quarantine::Rejected;
use crate::transactions::whole_customers::{Cleaned, WholeCustomers};
use crate::transactions::{self, Transactions};
use chrono::{DateTime, Utc};

/// What `packwise check` does: the same pass and the same cleaning as a run, nothing published.
pub fn check(
    config: &Config,
    engine: &Engine,
    started: DateTime<Utc>,
) -> Result<(QualityReport, Vec<Verdict>), Error> {
    let Checked { mut plan, catalogue, control, .. } = check_input(config, engine)?;
    let output = Output::open(&config.output, engine.runtime.handle())?;
    let known = known(config, &output, control, started)?;
    let scratch = Scratch::open(&config.resources.scratch, WhenLocked::Fail)?;
    let folder = RunFolder::scratch(scratch.path().join("check"));
    // The contract is judged by the caller, who wants to see the whole report first.
    let lenient = Config { max_rejected_share: 1.0, ..config.clone() };
    engine.progress.begin("transactions", plan.rows);
    let resident = engine.memory.resident_rows();
    let transactions =
        transactions::shuffle(&mut plan, catalogue, &lenient, engine, resident, &scratch, &folder)?;
    engine.progress.end(
        transactions.counts.rows,
        transactions.counts.good,
        transactions.buckets.spilled_bytes(),
    );
    engine.progress.begin("customers", transactions.counts.good);
    let (cleaned, customers) = clean_all(&transactions, engine)?;
    engine.progress.end(transactions.counts.good, customers, 0);
    engine.progress.finish();
    let verdicts = judge(&transactions, cleaned, config, known);
    Ok((QualityReport::new(&plan, &transactions, cleaned, customers), verdicts))
}

fn clean_all(transactions: &Transactions, engine: &Engine) -> Result<(Cleaned, u64), Error> {
    let states = crate::engine::workers::for_each(
        engine.threads,
        transactions.buckets.count(),
        || (Cleaned::default(), 0u64),
        |(cleaned, customers), number| -> Result<(), Error> {
            let bucket = transactions.buckets.take(number).map_err(transactions::InputError::from)?;
            engine.progress.advance(bucket.len() as u64);
            let whole = WholeCustomers::new(bucket, transactions, &mut Rejected::new(None, 0));
            cleaned.merge(whole.cleaned);
            *customers += arrow::array::Array::len(&whole.ids) as u64;
            Ok(())
        },
    )?;
    let mut all = (Cleaned::default(), 0);
    for (cleaned, customers) in states {
        all.0.merge(cleaned);
        all.1 += customers;
    }
    Ok(all)
}
