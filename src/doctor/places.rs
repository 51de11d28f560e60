//! Whether scratch and output can be reached and used, and whether the clocks agree.

use super::{Finding, Needs, machine};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::location;
use crate::error::chain;
use crate::quantities::format_seconds;
use crate::runs::{Output, RunError};
use crate::transactions::source::Plan;
use chrono::{DateTime, Utc};
use std::path::Path;

/// Clocks that differ by more than this are wrong: leases and run ids go by them.
const SKEW_SECONDS: i64 = 60;

/// Whether any input file is newer than this machine's time.
pub fn clock(plan: &Plan, now: DateTime<Utc>) -> Finding {
    const CHECK: &str = "clock";
    let newest = plan.sources.iter().map(|source| &source.file).max_by_key(|file| file.modified);
    let ahead = newest.map_or(0, |file| (file.modified - now.timestamp_millis()) / 1_000);
    match newest {
        Some(file) if ahead > SKEW_SECONDS => Finding::warning(
            CHECK,
            format!("{} was changed {} after this machine's time", file.name, format_seconds(ahead as f64)),
            "set the clocks by NTP: run ids and freshness go by them",
        ),
        _ => Finding::ok(CHECK, format!("{}, after all input", now.format("%Y-%m-%d %H:%M:%S UTC"))),
    }
}

/// Whether scratch can be written to and has room.
pub fn scratch(config: &Config, needs: Needs) -> Finding {
    const CHECK: &str = "scratch";
    let folder = &config.resources.scratch;
    if let Err(error) = probe(folder) {
        return Finding::fails(
            CHECK,
            format!("{}: {error}", folder.display()),
            "set resources.scratch to a folder on a local disk that may be written to",
        );
    }
    // What is published to a URL lies here until it is uploaded.
    let staged = if location::is_url(&config.output) { needs.output / needs.buckets.max(1) } else { 0 };
    machine::space(CHECK, folder, needs.spill + staged, "resources.scratch")
}

/// Writes a file and removes it, and the folders that had to be made for it.
fn probe(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    std::fs::create_dir_all(folder)?;
    let file = folder.join(format!(".packwise-probe-{}", std::process::id()));
    let written = std::fs::write(&file, b"probe").and_then(|()| std::fs::remove_file(&file));
    for made in missing {
        let _ = std::fs::remove_dir(made);
    }
    written
}

/// Whether the output can be listed, written to, read from, and keeps its promises.
pub fn output(config: &Config, engine: &Engine, needs: Needs, now: DateTime<Utc>) -> Vec<Finding> {
    const CHECK: &str = "output";
    let failed = |error: RunError| {
        let error = crate::error::Error::from(error);
        Finding::fails(CHECK, chain(&error).join(": "), error.hint().unwrap_or_default())
    };
    let opened = Output::open(&config.output, engine.runtime.handle());
    let output = match opened {
        Ok(output) => output,
        Err(error) => return vec![failed(error)],
    };
    let mut findings = Vec::new();
    if let Some(folder) = output.local() {
        if let Err(error) = probe(folder) {
            let advice = "check that output.path exists and may be written to";
            return vec![Finding::fails(CHECK, format!("{}: {error}", folder.display()), advice)];
        }
        findings.push(machine::space("output space", folder, needs.output, "output.path"));
        if !folder.exists() {
            findings.push(Finding::ok(CHECK, format!("{} will be made", folder.display())));
            return findings;
        }
    }
    match output.probe(now) {
        Err(error) => findings.push(failed(error)),
        Ok(probed) if !probed.creates_once => findings.push(Finding::fails(
            CHECK,
            format!("{} creates an object that is there already", config.output),
            "publishing needs a store that can create an object only if it is not there yet",
        )),
        Ok(probed) => {
            let runs = probed.runs;
            findings.push(Finding::ok(
                CHECK,
                format!("{}: {runs} runs; lists, creates once, reads and deletes", config.output),
            ));
            let skew = (probed.written - now).num_seconds().abs();
            if skew > SKEW_SECONDS {
                findings.push(Finding::warning(
                    "clock of the output",
                    format!("it differs from this machine's by {}", format_seconds(skew as f64)),
                    "set the clocks by NTP: leases go by them",
                ));
            }
        }
    }
    findings
}
