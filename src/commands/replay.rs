//! `packwise replay`.

use super::{prepare, print};
use crate::cli::ReplayArgs;
use crate::engine::location;
use crate::error::Error;
use crate::quantities::format_count;
use crate::runs::Output;
use crate::transactions::InputError;
use crate::transactions::replay::{self, Replayed};
use std::path::Path;

pub fn run(args: &ReplayArgs, json: bool) -> Result<u8, Error> {
    let (config, _, engine) = prepare(&args.config, json)?;
    let runtime = engine.runtime.handle();
    let output = Output::open(&config.output, runtime)?;
    let manifest = output.manifest(args.run.as_deref())?;
    let folder = output.folder(&manifest.run_id, Path::new("."));
    let files =
        location::list(&config.transactions.path, "transactions", runtime).map_err(InputError::from)?;
    let present = files.into_iter().map(|file| file.name).collect();
    let done =
        replay::write(&manifest, &folder, &config.transactions, &present, args.all, &args.out, runtime)?;
    let text = match json {
        true => format!(
            "{}\n",
            serde_json::json!({
                "run_id": manifest.run_id,
                "file": (done.rows > 0).then(|| done.path.display().to_string()),
                "rows": done.rows,
                "still_there": done.still_there,
                "unknown_file": done.unknown_file,
            })
        ),
        false => summary(&done, args.all),
    };
    print(text.as_bytes())?;
    Ok(0)
}

fn summary(done: &Replayed, all: bool) -> String {
    let mut text = match done.rows {
        0 => "No row to bring back\n".to_owned(),
        rows => format!(
            "{} rows in {}: put it beside the dumps, and the next run reads it with them\n",
            format_count(rows),
            done.path.display()
        ),
    };
    let left = if all { "also written" } else { "left out" };
    if done.still_there > 0 {
        let rows = format_count(done.still_there);
        text.push_str(&format!(
            "{rows} rows of files that are still part of the input: {left}, every run reads them again\n"
        ));
    }
    if done.unknown_file > 0 {
        let rows = format_count(done.unknown_file);
        text.push_str(&format!(
            "{rows} rows whose file is not known, as they are after the end of the data: {left}\n"
        ));
    }
    text
}
