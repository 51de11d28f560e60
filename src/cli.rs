//! The command line.

mod evaluate;
mod runs;

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use evaluate::{Ascending, EvaluateArgs, ProtocolName};
pub use runs::{RunsArgs, RunsCommand};
use std::path::PathBuf;

/// What each customer should be offered next, and why, from the purchases of a whole base.
#[derive(Debug, Parser)]
#[command(
    name = "packwise",
    version,
    after_help = "Start here:\n  packwise demo\n\nExit codes: 0 ok, 1 failed, 2 usage or configuration, 3 data contract, 4 publish gate or warnings under --strict,\n5 locked, 6 resource limit, 99 nothing new, 130 and 143 signals."
)]
pub struct Cli {
    /// Print data as JSON, for machines
    #[arg(long, global = true)]
    pub json: bool,
    /// Log what happens to standard error (-vv: more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Lines for people, or one JSON object a line (from the level info on, also without -v)
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
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
    /// Remove customers from all published runs, and leave them out of later ones
    #[command(after_help = "Example:\n  packwise forget -c config/telco.toml --customers ids.txt")]
    Forget(ForgetArgs),
    /// Keys of pseudonyms
    Privacy {
        #[command(subcommand)]
        command: PrivacyCommand,
    },
    /// Write the rejected rows of a run as an input file, to be read once their fault is mended
    #[command(
        after_help = "Example:\n  packwise replay -c config/telco.toml --run 20261122T182905Z-65212f04 --out dumps/replayed"
    )]
    Replay(ReplayArgs),
    /// Look at what could go wrong tonight: memory, disks, input, output, clocks; exit code 1 if something will
    #[command(after_help = "Example:\n  packwise doctor -c config/telco.toml")]
    Doctor(ConfigArgs),
    /// Read all input and report on its quality; exit code 3 if the contract fails
    #[command(after_help = "Example:\n  packwise check -c config/telco.toml")]
    Check(CheckArgs),
    /// Turn transactions into published recommendations
    #[command(
        after_help = "Examples:\n  packwise run -c config/telco.toml\n  packwise run -c config/telco.toml --memory 1GiB --set recommendations.top=5\n  packwise run -c config/telco.toml --dry-run\n  packwise run -c config/telco.toml --skip-if-fresh --wait"
    )]
    Run(RunArgs),
    /// Test the offers on weeks that the engine has not seen, against every baseline
    #[command(
        after_help = "Examples:\n  packwise evaluate -c config/telco.toml\n  packwise evaluate -c config/retail.toml --cutoffs 3 --window 28d --at 1,3,5,10,20\n  packwise evaluate -c config/retail.toml --protocol last-basket"
    )]
    Evaluate(EvaluateArgs),
    /// Read-only SQL over the published tables
    #[command(
        after_help = "Examples:\n  packwise query -c config/telco.toml \"SELECT * FROM segment_profiles\"\n  packwise query -c config/telco.toml --format csv \"SELECT customer_id, package_code FROM recommendations WHERE rank = 1\" > best.csv"
    )]
    Query(QueryArgs),
    /// One customer: features, segment, recommendations and reasons
    #[command(
        after_help = "Examples:\n  packwise lookup -c config/telco.toml 905301234567\n  packwise lookup -c config/telco.toml 905301234567 --why DAT30-0001"
    )]
    Lookup(LookupArgs),
    /// What the customers of a run are worth, on one page
    #[command(after_help = "Example:\n  packwise value -c config/telco.toml")]
    Value(ValueArgs),
    /// Marketing's rules: check them, or see what a change would do
    #[command(
        after_help = "Examples:\n  packwise policies -c config/telco.toml check\n  packwise policies -c config/telco.toml --policies changed.toml simulate"
    )]
    Policies(PoliciesArgs),
    /// The published runs: list, show, compare, verify, go back to, remove
    #[command(
        after_help = "Examples:\n  packwise runs -c config/telco.toml list\n  packwise runs -c config/telco.toml show 20260601T020000Z-1a2b3c4d\n  packwise runs -c config/telco.toml gc --keep 14 --older-than 30d --dry-run"
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
pub struct ForgetArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// A file with one customer id a line
    #[arg(long, value_name = "FILE")]
    pub customers: PathBuf,
    /// Wait for a run on the same output to end, instead of exit code 5
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Subcommand)]
pub enum PrivacyCommand {
    /// Make a key for pseudonyms, in a file that nobody else may read
    Keygen {
        /// The file, which must not be there yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The run whose rejected rows are written; the current one without
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// The folder that the file is written to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Also rows of files that are still part of the input, which the next run reads anyway
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How the report is printed; JSON with --json too
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

/// How a data-quality report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Table,
    Json,
    /// JUnit XML of the data contract: a test case for each rule
    Junit,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print the plan (stages, files, rows, bytes, buckets, predicted peak) and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Do nothing, with exit code 99, if input, settings and program are those of the newest run
    #[arg(long)]
    pub skip_if_fresh: bool,
    /// Wait for another run on the same output or scratch folder to end, instead of exit code 5
    #[arg(long)]
    pub wait: bool,
    /// Do everything again, also what an unfinished run has finished
    #[arg(long)]
    pub fresh: bool,
    /// Exit code 4 if the run is published with warnings
    #[arg(long)]
    pub strict: bool,
    /// Stop after a stage, for measurements; nothing is published
    #[arg(long, value_enum, conflicts_with = "dry_run")]
    pub until: Option<Until>,
}

/// Where a run may stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Until {
    Features,
}

#[derive(Debug, Args)]
pub struct ValueArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Run to read; the newest without it
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
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
    /// Seconds after which the query is ended, with exit code 6
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub timeout: u64,
    /// Rows to write at the most
    #[arg(long, value_name = "ROWS")]
    pub max_rows: Option<usize>,
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
    /// Also why this package is offered to the customer, or why not: its score, and the rule or the rank
    /// that kept it out. Fits the input again, which takes as long as a run without its sweep
    #[arg(long, value_name = "PACKAGE")]
    pub why: Option<String>,
    /// The customer, as in the input
    #[arg(allow_negative_numbers = true)]
    pub customer: String,
}

#[derive(Debug, Args)]
pub struct PoliciesArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Policy file; that of the configuration (policies.path) without
    #[arg(long, value_name = "FILE")]
    pub policies: Option<String>,
    #[command(subcommand)]
    pub command: PoliciesCommand,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum PoliciesCommand {
    /// Every problem in the file, every rule, and the columns that conditions can use
    Check,
    /// What the file would do to reach, revenue and customers, beside the rules in force; publishes nothing
    Simulate,
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
