//! `packwise generate`.

use super::print;
use crate::cli::GenerateArgs;
use crate::error::Error;
use crate::generate::{Generated, Options, generate};
use crate::quantities::format_count;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

pub fn run(args: &GenerateArgs, json: bool) -> Result<u8, Error> {
    let made = with_bar(&options(args), json)?;
    let text = if json {
        let object = serde_json::json!({
            "transactions": made.transactions,
            "customers_with_purchases": made.customers_with_purchases,
            "files": made.files.len(),
            "packages_file": made.packages_file,
            "truth_file": made.truth_file,
            "revenue": made.revenue_minor as f64 / 100.0,
        });
        format!("{object}\n")
    } else {
        format!(
            "{} purchases of {} customers in {} daily files\n  {}\n  {}\n  {}\n",
            format_count(made.transactions),
            format_count(made.customers_with_purchases),
            made.files.len(),
            args.out.join("transactions").display(),
            made.packages_file.display(),
            made.truth_file.display(),
        )
    };
    print(text.as_bytes())?;
    Ok(0)
}

/// Generates with a bar on the terminal.
pub fn with_bar(options: &Options, json: bool) -> Result<Generated, Error> {
    let bar = if !json && std::io::stderr().is_terminal() {
        ProgressBar::with_draw_target(Some(options.transactions), ProgressDrawTarget::stderr_with_hz(8))
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template(
        "{prefix:>16.bold} {bar:30.green/dim} {human_pos:>12}/{human_len} rows  {per_sec:>14}  {eta:>4} left",
    ) {
        bar.set_style(style);
    }
    bar.set_prefix("generate");
    let made = generate(options, &|rows| bar.set_position(rows))?;
    bar.finish_and_clear();
    Ok(made)
}

fn options(args: &GenerateArgs) -> Options {
    Options {
        out: args.out.clone(),
        transactions: args.transactions,
        customers: args.customers,
        packages: args.packages,
        days: args.days,
        seed: args.seed,
        start: args.start,
        threads: args.threads,
    }
}
