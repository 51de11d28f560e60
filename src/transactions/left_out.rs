//! Input files that cannot be read and that a run goes without (`transactions.on_bad_file = "quarantine"`).
//!
//! A file whose footer or header cannot be read is left out when the plan is opened. A file that fails further in
//! has given rows to buckets by then. So everything is decoded once to find all such files, and the pass starts over
//! without them: a file counts whole or not at all, and which files are left out depends on neither threads nor chance.

use super::InputError;
use super::source::Plan;
use crate::config::resolve::OnBadFile;
use crate::engine::location::InputFile;
use crate::engine::{Engine, workers};
use std::collections::BTreeMap;

/// Names that a text of one line lists.
const NAMED: usize = 5;

/// A file that is left out.
#[derive(Debug, Clone)]
pub struct LeftOut {
    pub file: InputFile,
    /// What is wrong with it.
    pub reason: String,
}

impl LeftOut {
    pub(super) fn new(file: InputFile, error: &InputError) -> Self {
        let reason = match error {
            InputError::NoHeader { .. } => "it has no header line".to_owned(),
            error => crate::error::chain(error)[1..].join(": "),
        };
        tracing::warn!(file = file.name, reason, "left out");
        Self { file, reason }
    }
}

/// What a run should say of the files that it was made without; None if there are none.
pub fn warning(left_out: &[LeftOut]) -> Option<String> {
    let names: Vec<&str> = left_out.iter().take(NAMED).map(|file| file.file.name.as_str()).collect();
    let rest = match left_out.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = match left_out.len() {
        0 => return None,
        1 => "1 file cannot be read and is left out".to_owned(),
        files => format!("{files} files cannot be read and are left out"),
    };
    Some(format!("{what}: {}{rest}", names.join(", ")))
}

/// Leaves out all files that cannot be decoded, after one of them has failed with `first`. Fails with `first` again if
/// that is not the fault of a file, or files are not to be left out. Reads every mapped column once.
pub(super) fn leave_out_bad_files(
    plan: &mut Plan,
    first: InputError,
    engine: &Engine,
) -> Result<(), InputError> {
    if plan.on_bad_file == OnBadFile::Fail || first.bad_file().is_none() {
        return Err(first);
    }
    let bad = undecodable(plan, engine)?;
    if bad.is_empty() {
        return Err(first);
    }
    plan.leave_out(bad)
}

/// Every file with a unit that cannot be decoded, with what its first such unit fails with.
fn undecodable(plan: &Plan, engine: &Engine) -> Result<Vec<LeftOut>, InputError> {
    let pass = plan.pass(engine.threads, engine.read_ahead(), engine.runtime.handle());
    let decode = |number| pass.read(number)?.try_for_each(|batch| batch.map(drop));
    let found = workers::for_each(
        engine.threads,
        plan.units.len(),
        Vec::new,
        |found: &mut Vec<(usize, InputError)>, number| match decode(number) {
            Err(error) if error.bad_file().is_some() => {
                found.push((number, error));
                Ok(())
            }
            other => other,
        },
    )?;
    let first_by_file: BTreeMap<usize, (usize, InputError)> =
        found.into_iter().flatten().fold(BTreeMap::new(), |mut files, (number, error)| {
            let source = plan.units[number].source;
            if files.get(&source).is_none_or(|(earlier, _)| number < *earlier) {
                files.insert(source, (number, error));
            }
            files
        });
    let of = |(source, (_, error)): (usize, (usize, InputError))| {
        LeftOut::new(plan.sources[source].file.clone(), &error)
    };
    Ok(first_by_file.into_iter().map(of).collect())
}
