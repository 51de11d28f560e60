//! `packwise check`.

use super::render::{self, Align};
use super::{prepare, print};
use crate::cli::{CheckArgs, ReportFormat};
use crate::contract::judge::{Status, Verdict};
use crate::contract::report;
use crate::error::Error;
use crate::pipeline;
use crate::quantities::format_count;
use crate::runs::Output;
use crate::transactions::quality::QualityReport;
use chrono::Utc;

/// Name of the report in the output folder.
const REPORT: &str = "data_quality.json";

pub fn run(args: &CheckArgs, json: bool) -> Result<u8, Error> {
    let format = if json { ReportFormat::Json } else { args.format };
    let (config, _, engine) = prepare(&args.config, json)?;
    let (report, verdicts) = pipeline::check(&config, &engine, Utc::now())?;
    let kept = report::is_kept(&verdicts);
    let text = serde_json::to_string_pretty(&serde_json::json!({
        "contract_kept": kept,
        "max_rejected_share": config.max_rejected_share,
        "rules": verdicts,
        "measures": report.measures,
    }))
    .unwrap_or_default()
        + "\n";
    let output = Output::create(&config.output, engine.runtime.handle())?;
    let written = output.put(REPORT, text.clone().into_bytes())?;
    match format {
        ReportFormat::Json => print(text.as_bytes())?,
        ReportFormat::Junit => print(report::junit(&verdicts).as_bytes())?,
        ReportFormat::Table => {
            let rejected = render::percent(report.share("rejected rows"));
            let verdict = if kept {
                format!("The contract is kept: {rejected} of the rows are rejected.\n")
            } else {
                format!("The contract fails: {rejected} of the rows are rejected.\n")
            };
            let rules = rules(&verdicts);
            print(format!("{}\n{rules}\n{verdict}Report: {written}\n", table(&report)).as_bytes())?;
        }
    }
    Ok(if kept { 0 } else { 3 })
}

/// The rules with what was found.
fn rules(verdicts: &[Verdict]) -> String {
    let rows = verdicts
        .iter()
        .map(|verdict| {
            let status = match verdict.status {
                Status::Kept => "kept",
                Status::Warned => "warning",
                Status::Failed => "FAILS",
                Status::Quarantined => "quarantined",
                Status::NotJudged => "not judged",
            };
            vec![verdict.rule.clone(), status.to_owned(), verdict.text.clone()]
        })
        .collect();
    render::table(&[("rule", Align::Left), ("", Align::Left), ("found", Align::Left)], rows)
}

/// The report as a table.
pub fn table(report: &QualityReport) -> String {
    let rows = report
        .measures
        .iter()
        .map(|measure| {
            let value = match (measure.value, &measure.text) {
                (_, Some(text)) => text.clone(),
                (Some(value), None) => format_count(value as u64),
                (None, None) => String::new(),
            };
            vec![measure.measure.clone(), value, measure.share.map(render::percent).unwrap_or_default()]
        })
        .collect();
    render::table(&[("measure", Align::Left), ("value", Align::Right), ("of rows", Align::Right)], rows)
}
