//! What can go wrong tonight, looked at now: the machine, the input, scratch, and the output, each with what to do.
//!
//! | file | does |
//! |---|---|
//! | this one | a finding; all checks in order |
//! | [`machine`] | memory and its limits, open files, space on disks |
//! | [`places`] | whether input, scratch and output can be reached and used |

pub mod machine;
pub mod places;

use crate::config::Config;
use crate::engine::Engine;
use crate::pipeline::{self, Checked};
use crate::privacy::pseudonyms::{KeySource, Pseudonyms};
use crate::quantities::{format_bytes, format_count};
use crate::transactions;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It may work.
    Warning,
    /// It will not work.
    Fails,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub status: Status,
    pub found: String,
    /// What to do; empty if all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, found: found.into(), advice: String::new() }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Warning, found: found.into(), advice: advice.into() }
    }

    fn fails(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Fails, found: found.into(), advice: advice.into() }
    }
}

/// What a run would need, as far as the input tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    pub buckets: u64,
    /// Bytes on scratch disk.
    pub spill: u64,
    /// Bytes of the published tables, by experience.
    pub output: u64,
}

/// Published bytes for a row of input: 52M purchases of 4.74M customers publish 3.4 GB. Offers are most of it, so it is more
/// where customers buy less often.
const PUBLISHED_PER_ROW: u64 = 66;

/// All checks, in the order in which a run would meet them. Leaves nothing behind.
pub fn examine(config: &Config, engine: &Engine, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = vec![machine::memory(config.resources.memory, &machine::Memory::read())];
    findings.extend(config.pseudonyms.as_ref().map(key));
    let needs = match pipeline::check_input(config, engine) {
        Err(error) => {
            let why = crate::error::chain(&error).join(": ");
            findings.push(Finding::fails("input", why, error.hint().unwrap_or_default()));
            Needs::default()
        }
        Ok(checked) => {
            findings.push(input(&checked));
            findings.push(places::clock(&checked.plan, now));
            needs(config, engine, &checked)
        }
    };
    findings.push(machine::open_files(machine::open_files_limit(), needs.buckets));
    findings.push(places::scratch(config, needs));
    findings.extend(places::output(config, engine, needs, now));
    findings
}

/// Whether the key of pseudonyms is there, and nobody else can read it.
fn key(source: &KeySource) -> Finding {
    const CHECK: &str = "key of pseudonyms";
    match Pseudonyms::load(source) {
        Ok(key) => Finding::ok(CHECK, format!("{}, for this user alone", key.key_id())),
        Err(error) => {
            let error = crate::error::Error::from(error);
            Finding::fails(CHECK, error.to_string(), error.hint().unwrap_or_default())
        }
    }
}

fn input(checked: &Checked) -> Finding {
    let plan = &checked.plan;
    let about = if plan.estimated { "about " } else { "" };
    let found = format!(
        "{} files, {about}{} rows, {}",
        format_count(plan.sources.len() as u64),
        format_count(plan.rows),
        format_bytes(plan.bytes)
    );
    match plan.left_out.is_empty() {
        true => Finding::ok("input", found),
        false => Finding::warning(
            "input",
            format!("{found}; {} files cannot be read and are left out", plan.left_out.len()),
            "`packwise check` names them",
        ),
    }
}

fn needs(config: &Config, engine: &Engine, checked: &Checked) -> Needs {
    let packages = checked.catalogue.as_deref().unwrap_or(&[]);
    let cut = transactions::cut(&checked.plan, config, packages, engine);
    let rows = checked.plan.rows;
    Needs {
        buckets: cut.buckets as u64,
        spill: (rows * cut.layout.row_bytes()).saturating_sub(engine.memory.resident_rows()),
        output: rows * PUBLISHED_PER_ROW,
    }
}
