//! `packwise runs list` and `packwise runs show`.

use super::render::{self, Align};
use super::{prepare, print};
use crate::cli::{RunsArgs, RunsCommand};
use crate::error::Error;
use crate::quantities::{format_bytes, format_count};
use crate::runs::Output;
use crate::runs::manifest::Manifest;

pub fn run(args: &RunsArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(&args.config, json)?;
    let output = Output::open(&config.output, engine.runtime.handle())?;
    let text = match &args.command {
        RunsCommand::List => {
            let manifests =
                output.list()?.iter().map(|id| output.manifest(Some(id))).collect::<Result<Vec<_>, _>>()?;
            if json { list_json(&manifests) } else { list(&manifests) }
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
    };
    print(text.as_bytes())?;
    Ok(0)
}

/// How each neighbour index was chosen.
fn why(manifest: &Manifest) -> String {
    manifest.quality.neighbours.iter().map(|pool| format!("index: {}\n", pool.why)).collect()
}

fn list_json(manifests: &[Manifest]) -> String {
    let runs: Vec<_> = manifests
        .iter()
        .map(|m| {
            serde_json::json!({
                "run_id": m.run_id,
                "started_at": m.started_at,
                "finished_at": m.finished_at,
                "as_of": m.as_of,
                "customers": m.quality.customers,
                "offers": m.quality.offers.offers,
                "bytes": m.tables.values().map(|t| t.bytes).sum::<u64>(),
            })
        })
        .collect();
    serde_json::to_string_pretty(&runs).unwrap_or_default() + "\n"
}

fn list(manifests: &[Manifest]) -> String {
    if manifests.is_empty() {
        return "no published runs\n".into();
    }
    let rows = manifests
        .iter()
        .map(|m| {
            vec![
                m.run_id.clone(),
                m.as_of.clone(),
                format_count(m.quality.customers),
                format_count(m.quality.offers.offers),
                format_bytes(m.tables.values().map(|t| t.bytes).sum()),
            ]
        })
        .collect();
    render::table(
        &[
            ("run", Align::Left),
            ("data up to", Align::Left),
            ("customers", Align::Right),
            ("offers", Align::Right),
            ("size", Align::Right),
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
