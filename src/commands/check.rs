//! `packwise check`.

use super::render::{self, Align};
use super::{prepare, print};
use crate::cli::ConfigArgs;
use crate::error::Error;
use crate::pipeline;
use crate::quantities::format_count;
use crate::runs::Output;
use crate::transactions::quality::QualityReport;

/// Name of the report in the output folder.
const REPORT: &str = "data_quality.json";

pub fn run(args: &ConfigArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(args, json)?;
    let report = pipeline::check(&config, &engine)?;
    let rejected = report.share("rejected rows");
    let kept = rejected <= config.max_rejected_share;
    let text = serde_json::to_string_pretty(&serde_json::json!({
        "contract_kept": kept,
        "max_rejected_share": config.max_rejected_share,
        "measures": report.measures,
    }))
    .unwrap_or_default()
        + "\n";
    let output = Output::create(&config.output, engine.runtime.handle())?;
    let written = output.put(REPORT, text.clone().into_bytes())?;
    if json {
        print(text.as_bytes())?;
    } else {
        let verdict = if kept {
            format!("The contract is kept: {} of the rows are rejected.\n", render::percent(rejected))
        } else {
            format!(
                "The contract fails: {} of the rows are rejected, contract.max_rejected_share allows {}.\n",
                render::percent(rejected),
                render::percent(config.max_rejected_share)
            )
        };
        print(format!("{}\n{verdict}Report: {written}\n", table(&report)).as_bytes())?;
    }
    Ok(if kept { 0 } else { 3 })
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
