//! `packwise doctor`.

use super::render::{self, Align};
use super::{prepare, print};
use crate::cli::ConfigArgs;
use crate::doctor::{Finding, Status, examine};
use crate::error::Error;
use chrono::Utc;

/// Exit code if something will not work.
const FAILS: u8 = 1;

pub fn run(args: &ConfigArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(args, json)?;
    let findings = examine(&config, &engine, Utc::now());
    let fails = findings.iter().any(|finding| finding.status == Status::Fails);
    let text = match json {
        true => {
            serde_json::to_string_pretty(&serde_json::json!({"ok": !fails, "checks": findings}))
                .unwrap_or_default()
                + "\n"
        }
        false => table(&findings),
    };
    print(text.as_bytes())?;
    Ok(if fails { FAILS } else { 0 })
}

fn table(findings: &[Finding]) -> String {
    let rows = findings
        .iter()
        .map(|finding| {
            let status = match finding.status {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Fails => "FAILS",
            };
            let found = match finding.advice.as_str() {
                "" => finding.found.clone(),
                advice => format!("{}\n-> {advice}", finding.found),
            };
            vec![finding.check.to_owned(), status.to_owned(), found]
        })
        .collect();
    render::table(&[("check", Align::Left), ("", Align::Left), ("found", Align::Left)], rows)
}
