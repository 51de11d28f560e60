//! The arguments of `packwise runs`.

use super::ConfigArgs;
use crate::quantities::{DurationUnit, parse_duration_days};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct RunsArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(subcommand)]
    pub command: RunsCommand,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// One line a run, oldest first; the one that readers go by is marked
    List,
    /// The id of the run that readers go by: for scripts
    Current,
    /// Everything about one run
    Show {
        /// The run's id
        id: String,
    },
    /// What changed from one run to another: input, settings, rows, quality, seconds
    Diff {
        /// The earlier run
        before: String,
        /// The later run
        after: String,
    },
    /// Whether every file of a run is as its manifest lists it
    Verify {
        /// The run's id; the current one without
        id: Option<String>,
    },
    /// Make readers go by an earlier run again
    Rollback {
        /// The run's id
        id: String,
    },
    /// Remove runs that are no longer wanted, and what killed runs left behind
    Gc {
        /// The newest runs, so many, stay
        #[arg(long, value_name = "COUNT", default_value_t = 7)]
        keep: usize,
        /// Younger runs stay
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = days)]
        older_than: f64,
        /// Runs that readers went by within this time stay, for those who still read them
        #[arg(long, value_name = "TIME", default_value = "1d", value_parser = days)]
        grace: f64,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Wait for a run on the same output to end, instead of exit code 5
        #[arg(long)]
        wait: bool,
    },
}

/// Not negative, at most 100 years.
fn days(text: &str) -> Result<f64, String> {
    let days = parse_duration_days(text, DurationUnit::Days).map_err(|error| error.to_string())?;
    if (0.0..=36_525.0).contains(&days) {
        Ok(days)
    } else {
        Err(format!("{days} days are not between 0 and 36,525"))
    }
}
