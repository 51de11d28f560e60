//! The command line.

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What each customer should be offered next, and why, from the purchases of a whole base.
#[derive(Debug, Parser)]
#[command(
    name = "packwise",
    version,
    after_help = "Start here:\n  packwise demo\n\nExit codes: 0 ok, 1 failed, 2 usage or configuration, 3 data contract, 6 resource limit."
)]
pub struct Cli {
    /// Print data as JSON, for machines
    #[arg(long, global = true)]
    pub json: bool,
    /// Log what happens to standard error (-vv: more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a small telco data set, run the main job on it and show what came out
    #[command(after_help = "Example:\n  packwise demo --dir packwise-demo")]
    Demo(DemoArgs),
    /// Make telco-like dumps of any size, with planted truth
    #[command(
        after_help = "Example:\n  packwise generate --out dumps --transactions 1000000 --customers 100000 --packages 120 --days 92 --seed 1"
    )]
    Generate(GenerateArgs),
    /// Read all input and report on its quality; exit code 3 if the contract fails
    #[command(after_help = "Example:\n  packwise check -c config/telco.toml")]
    Check(ConfigArgs),
    /// Turn transactions into published recommendations
    #[command(
        after_help = "Examples:\n  packwise run -c config/telco.toml\n  packwise run -c config/telco.toml --memory 1GiB --set recommendations.top=5\n  packwise run -c config/telco.toml --dry-run"
    )]
    Run(RunArgs),
    /// Read-only SQL over the published tables
    #[command(
        after_help = "Examples:\n  packwise query -c config/telco.toml \"SELECT * FROM segment_profiles\"\n  packwise query -c config/telco.toml --format csv \"SELECT customer_id, package_code FROM recommendations WHERE rank = 1\" > best.csv"
    )]
    Query(QueryArgs),
    /// One customer: features, segment, recommendations and reasons
    #[command(after_help = "Example:\n  packwise lookup -c config/telco.toml 905301234567")]
    Lookup(LookupArgs),
    /// The published runs
    #[command(
        after_help = "Examples:\n  packwise runs -c config/telco.toml list\n  packwise runs -c config/telco.toml show 20260601T020000Z-1a2b3c4d"
    )]
    Runs(RunsArgs),
    /// The configuration: every key, its value and where it came from
    #[command(after_help = "Example:\n  packwise config show -c config/telco.toml")]
    Config(ConfigCommandArgs),
    /// Completions for a shell
    #[command(after_help = "Example:\n  packwise completions bash > /etc/bash_completion.d/packwise")]
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for the demo's data, configuration and output
    #[arg(long, default_value = "packwise-demo")]
    pub dir: PathBuf,
    /// Purchases to make
    #[arg(long, default_value_t = 200_000)]
    pub transactions: u64,
    /// Customers to make
    #[arg(long, default_value_t = 20_000)]
    pub customers: u64,
}

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Folder to write to
    #[arg(long)]
    pub out: PathBuf,
    /// Purchases, exactly
    #[arg(long)]
    pub transactions: u64,
    #[arg(long)]
    pub customers: u64,
    #[arg(long, default_value_t = 120)]
    pub packages: u32,
    /// One file a day
    #[arg(long, default_value_t = 92)]
    pub days: u32,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// First day
    #[arg(long, default_value_t = crate::generate::DEFAULT_START)]
    pub start: NaiveDate,
    /// Threads; 0 takes every core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
}

/// Where settings come from, in every command that reads a configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Override a key, such as recommendations.top=5 (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Limit of the whole process, such as 2GiB (resources.memory)
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Worker threads, 0 for every core (resources.threads)
    #[arg(long)]
    pub threads: Option<usize>,
}

impl ConfigArgs {
    /// `--set` with the shortcuts as further settings.
    pub fn settings(&self) -> Vec<String> {
        let mut settings = self.set.clone();
        settings.extend(self.memory.iter().map(|memory| format!("resources.memory={memory}")));
        settings.extend(self.threads.iter().map(|threads| format!("resources.threads={threads}")));
        settings
    }
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print the plan (stages, files, rows, bytes, buckets, predicted peak) and stop
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Csv,
    Json,
    Parquet,
}

#[derive(Debug, Args)]
pub struct QueryArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// A run's id; the newest without
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// One SELECT
    pub sql: String,
}

#[derive(Debug, Args)]
pub struct LookupArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// A run's id; the newest without
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// The customer, as in the input
    pub customer: String,
}

#[derive(Debug, Args)]
pub struct RunsArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(subcommand)]
    pub command: RunsCommand,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// One line a run, oldest first
    List,
    /// Everything about one run
    Show {
        /// The run's id
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct ConfigCommandArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every key, its value, and the layer that set it
    Show {
        /// Configuration file (TOML)
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Override a key (repeatable)
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}
