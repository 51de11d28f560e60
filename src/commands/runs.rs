//! `packwise runs`: list, show, verify, compare, go back to, and remove published runs.

mod difference;
mod removal;

use super::render::{self, Align};
use super::{prepare, print};
use crate::cli::{RunsArgs, RunsCommand};
use crate::engine::scratch::WhenLocked;
use crate::error::{Error, chain};
use crate::quantities::{format_bytes, format_count};
use crate::runs::difference::Difference;
use crate::runs::manifest::Manifest;
use crate::runs::removal::Retention;
use crate::runs::{Output, RunError};
use chrono::{TimeDelta, Utc};

/// Exit code of a run whose files are not those of its manifest.
const DAMAGED: u8 = 1;

pub fn run(args: &RunsArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(&args.config, json)?;
    let output = Output::open(&config.output, engine.runtime.handle())?;
    let mut code = 0;
    let text = match &args.command {
        RunsCommand::List => {
            let current = output.current()?;
            let runs: Vec<Listed> =
                output.list()?.into_iter().map(|id| (output.manifest(Some(&id)), id)).collect();
            let current = current.as_deref();
            if json { list_json(&runs, current) } else { list(&runs, current) }
        }
        RunsCommand::Current => {
            let id = output.manifest(None)?.run_id;
            if json { pretty(&serde_json::json!({"current": id})) } else { format!("{id}\n") }
        }
        RunsCommand::Show { id } => {
            let manifest = output.manifest(Some(id))?;
            if json {
                serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n"
            } else {
                super::run::summary(&manifest, &config)
                    + &why(&manifest)
                    + &render::heading("Tables")
                    + &tables(&manifest)
            }
        }
        RunsCommand::Diff { before, after } => {
            let (before, after) = (output.manifest(Some(before))?, output.manifest(Some(after))?);
            let found = Difference::of(&before, &after);
            if json { pretty(&found) } else { difference::text(&found) }
        }
        RunsCommand::Verify { id } => {
            let manifest = output.manifest(id.as_deref())?;
            let (files, damage) = output.verify(&manifest)?;
            let run = &manifest.run_id;
            code = if damage.is_empty() { 0 } else { DAMAGED };
            if json {
                pretty(&serde_json::json!({"run_id": run, "files": files, "damaged": damage}))
            } else {
                let lines = damage.iter().map(|damage| format!("{} {}\n", damage.path, damage.problem));
                let of = render::plural(files, "file");
                let verdict = match damage.len() {
                    0 => format!("Run {run}: {of} as the manifest lists them\n"),
                    count => format!("Run {run}: {count} of {of} are not as the manifest lists them\n"),
                };
                lines.collect::<String>() + &verdict
            }
        }
        RunsCommand::Rollback { id } => {
            output.roll_back(id, Utc::now())?;
            if json {
                pretty(&serde_json::json!({"current": id}))
            } else {
                format!("Readers go by run {id} from now on; nothing was removed\n")
            }
        }
        RunsCommand::Gc { keep, older_than, grace, dry_run, wait } => {
            let days = |days: &f64| TimeDelta::milliseconds((days * 86_400_000.0) as i64);
            let retention = Retention { keep: *keep, older_than: days(older_than), grace: days(grace) };
            let when_locked = if *wait { WhenLocked::Wait } else { WhenLocked::Fail };
            let _lock = (!dry_run).then(|| output.lock(when_locked, Utc::now())).transpose()?;
            let removed = output.collect_garbage(retention, Utc::now(), *dry_run)?;
            if json { pretty(&removed) } else { removal::text(&removed, *dry_run) }
        }
    };
    print(text.as_bytes())?;
    Ok(code)
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// A published run: its manifest, or why that cannot be read, and its id.
type Listed = (Result<Manifest, RunError>, String);

/// How each neighbour index was chosen.
fn why(manifest: &Manifest) -> String {
    manifest.quality.neighbours.iter().map(|pool| format!("index: {}\n", pool.why)).collect()
}

fn list_json(runs: &[Listed], current: Option<&str>) -> String {
    let runs: Vec<_> = runs
        .iter()
        .map(|(manifest, id)| match manifest {
            Ok(m) => serde_json::json!({
                "run_id": id,
                "current": current == Some(id),
                "started_at": m.started_at,
                "finished_at": m.finished_at,
                "as_of": m.as_of,
                "customers": m.quality.customers,
                "offers": m.quality.offers.offers,
                "bytes": m.tables.values().map(|t| t.bytes).sum::<u64>(),
            }),
            Err(error) => serde_json::json!({
                "run_id": id,
                "current": current == Some(id),
                "problem": chain(error).join(": "),
            }),
        })
        .collect();
    pretty(&runs)
}

fn list(runs: &[Listed], current: Option<&str>) -> String {
    if runs.is_empty() {
        return "no published runs\n".into();
    }
    let rows = runs
        .iter()
        .map(|(manifest, id)| {
            let mark = if current == Some(id) { "current" } else { "" };
            let cells = match manifest {
                Ok(m) => [
                    m.as_of.clone(),
                    format_count(m.quality.customers),
                    format_count(m.quality.offers.offers),
                    format_bytes(m.tables.values().map(|t| t.bytes).sum()),
                    mark.to_owned(),
                ],
                Err(error) => {
                    let none = String::new;
                    [
                        none(),
                        none(),
                        none(),
                        none(),
                        [mark, &chain(error).join(": ")].join(" ").trim().to_owned(),
                    ]
                }
            };
            std::iter::once(id.clone()).chain(cells).collect()
        })
        .collect();
    render::table(
        &[
            ("run", Align::Left),
            ("data up to", Align::Left),
            ("customers", Align::Right),
            ("offers", Align::Right),
            ("size", Align::Right),
            ("", Align::Left),
        ],
        rows,
    )
}

/// The tables of a run with their sizes.
pub fn tables(manifest: &Manifest) -> String {
    let rows = manifest
        .tables
        .iter()
        .map(|(name, table)| {
            vec![
                name.clone(),
                format_count(table.rows),
                table.files.len().to_string(),
                format_bytes(table.bytes),
                table.grain.clone(),
            ]
        })
        .collect();
    render::table(
        &[
            ("table", Align::Left),
            ("rows", Align::Right),
            ("files", Align::Right),
            ("size", Align::Right),
            ("one row is", Align::Left),
        ],
        rows,
    )
}
