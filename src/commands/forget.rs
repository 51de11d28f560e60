//! `packwise forget`.

use super::{prepare, print};
use crate::cli::ForgetArgs;
use crate::engine::scratch::{Scratch, WhenLocked};
use crate::error::Error;
use crate::privacy::Ids;
use crate::quantities::format_count;
use crate::runs::Output;
use crate::runs::forget::Receipt;
use chrono::Utc;

pub fn run(args: &ForgetArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(&args.config, json)?;
    let path = args.customers.display();
    let text = std::fs::read_to_string(&args.customers)
        .map_err(|source| Error::Io { action: format!("read the customers in {path}"), source })?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
    let ids: Vec<String> =
        lines.filter(|line| *line != "customer_id").map(|line| line.trim_matches('"').to_owned()).collect();
    if ids.is_empty() {
        return Err(Error::NoCustomers { path: path.to_string() });
    }
    let key = Ids::load(config.pseudonyms.as_ref())?.pseudonyms;
    let now = Utc::now();
    let when_locked = if args.wait { WhenLocked::Wait } else { WhenLocked::Fail };
    // Nothing reads or goes on with what is being purged.
    let scratch = Scratch::open(&config.resources.scratch, when_locked)?;
    let output = Output::create(&config.output, engine.runtime.handle())?;
    let _lock = output.lock(when_locked, now)?;
    let receipt = output.forget(&ids, key.as_ref(), scratch.path(), now)?;
    let text = match json {
        true => serde_json::to_string_pretty(&receipt).unwrap_or_default() + "\n",
        false => summary(&receipt),
    };
    print(text.as_bytes())?;
    Ok(0)
}

fn summary(receipt: &Receipt) -> String {
    let mut text = format!(
        "{} customers asked for, {} are left out of every run from now on\n",
        format_count(receipt.asked as u64),
        format_count(receipt.forgotten as u64)
    );
    if receipt.runs.is_empty() {
        text.push_str("No published run had any of them\n");
    }
    for run in &receipt.runs {
        text.push_str(&format!(
            "Run {}: {} rows removed, {} files written again, seal {}\n",
            run.run_id,
            format_count(run.rows),
            run.files.len(),
            run.seal
        ));
    }
    text
}
