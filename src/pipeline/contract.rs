//! The data contract in the flow: what is known before the input is read, the verdicts, and their reports.

use crate::config::Config;
use crate::contract::control::Control;
use crate::contract::facts::{self, Known};
use crate::contract::judge::{self, Verdict};
use crate::contract::{Action, report};
use crate::engine::part::{PartFile, RunFolder};
use crate::error::Error;
use crate::runs::Output;
use crate::transactions::Transactions;
use crate::transactions::whole_customers::Cleaned;
use chrono::{DateTime, Utc};

/// The day, the control total, and the rows of earlier runs, if a rule asks for them. A run whose manifest cannot be
/// read is passed over.
pub(super) fn known(
    config: &Config,
    output: &Output,
    control: Option<Control>,
    started: DateTime<Utc>,
) -> Result<Known, Error> {
    let rule = config.contract.row_count;
    let mut rows_before = Vec::new();
    if rule.on_break != Action::Off {
        let ids = output.list()?;
        for id in &ids[ids.len().saturating_sub(rule.runs)..] {
            rows_before.extend(output.manifest(Some(id)).map(|manifest| manifest.input.rows));
        }
    }
    Ok(Known { today: started.date_naive(), rows_before, control })
}

/// The input against the contract.
pub(super) fn judge(
    transactions: &Transactions,
    cleaned: Cleaned,
    config: &Config,
    known: Known,
) -> Vec<Verdict> {
    let columns = &config.transactions.columns;
    let mapped =
        [true, true, true, columns.channel.is_some(), columns.amount.is_some(), columns.quantity.is_some()];
    let ids = columns.transaction.is_some();
    let facts = facts::gather(transactions, cleaned, config.max_rejected_share, mapped, ids, known);
    judge::judge(&config.contract, &facts)
}

/// The report beside a run, as JSON and JUnit XML.
pub(super) fn write(verdicts: &[Verdict], folder: &RunFolder) -> Result<[PartFile; 2], Error> {
    Ok([
        folder.put(report::JSON, report::text(verdicts))?,
        folder.put(report::JUNIT, report::junit(verdicts).into())?,
    ])
}

/// The report of an input that was not published, in the output folder.
pub(super) fn write_refused(verdicts: &[Verdict], output: &Output) -> Result<(), Error> {
    output.put(report::JSON, report::text(verdicts))?;
    output.put(report::JUNIT, report::junit(verdicts).into())?;
    Ok(())
}
