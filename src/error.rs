//! Everything that can end a command, with its exit code and what to do about it.

use crate::affinities::AffinityError;
use crate::config::ConfigError;
use crate::contract::ContractError;
use crate::contract::judge::{self, Status, Verdict};
use crate::engine::journal::JournalError;
use crate::engine::scratch::ScratchError;
use crate::engine::stores;
use crate::evaluate::EvaluateError;
use crate::features::FeatureError;
use crate::generate::GenerateError;
use crate::neighbours::NeighbourError;
use crate::policies::PolicyError;
use crate::privacy::pseudonyms::KeyError;
use crate::quantities::format_bytes;
use crate::recommendations::RecommendationError;
use crate::runs::RunError;
use crate::segments::SegmentError;
use crate::transactions::InputError;
use crate::transactions::replay::ReplayError;
use crate::value::ValueError;
use std::io::ErrorKind;

/// What an error says and then its causes, each once: transparent layers repeat what was said.
pub fn chain(error: &dyn std::error::Error) -> Vec<String> {
    let mut said = vec![error.to_string()];
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let text = cause.to_string();
        let is_last = said.len() > 1 && said.last().is_some_and(|last| last.contains(&text));
        if !is_last && text != said[0] {
            said.push(text);
        }
    }
    said
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Features(#[from] FeatureError),
    #[error(transparent)]
    Segments(#[from] SegmentError),
    #[error(transparent)]
    Neighbours(#[from] NeighbourError),
    #[error(transparent)]
    Affinities(#[from] AffinityError),
    #[error(transparent)]
    Recommendations(#[from] RecommendationError),
    #[error(transparent)]
    Policies(#[from] PolicyError),
    #[error("the backtest failed")]
    Evaluate(#[from] EvaluateError),
    #[error("customers could not be valued")]
    Value(#[from] ValueError),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("{} of memory are not enough, this needs {} at least", format_bytes(*limit), format_bytes(*least))]
    MemoryTooSmall { limit: u64, least: u64 },
    #[error("the query failed")]
    Query(#[source] Box<datafusion::error::DataFusionError>),
    #[error("the query took longer than {seconds} s")]
    QueryTimeout { seconds: u64 },
    #[error("only SELECT is allowed: {statement}")]
    NotReadOnly { statement: String },
    #[error("customer {customer} is not in run {run}")]
    UnknownCustomer { customer: String, run: String },
    #[error("run {run} says nothing of the value of customers")]
    NotValued { run: String },
    #[error("the data breaks the contract: {}", judge::sentences(verdicts, Status::Failed).join("; "))]
    Contract { verdicts: Vec<Verdict> },
    #[error(transparent)]
    Control(#[from] ContractError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{path} holds no customer id")]
    NoCustomers { path: String },
    #[error("the publish gate holds the run back: {}", broken.join("; "))]
    Gate { broken: Vec<String> },
    #[error("cannot read the policy file {path}")]
    PolicyFile {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("package {package} is not in the catalogue or the transactions{}",
        nearest.as_ref().map_or_else(String::new, |code| format!("; did you mean {code}?")))]
    UnknownPackage { package: String, nearest: Option<String> },
    #[error("cannot {action}")]
    Io {
        action: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot {action}")]
    Arrow {
        action: &'static str,
        #[source]
        source: arrow::error::ArrowError,
    },
    #[error("a table cannot be read")]
    Part(#[from] crate::engine::part::PartError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("stopped by {signal}; nothing was published")]
    Interrupted { signal: &'static str },
}

impl Error {
    /// 2 usage or configuration, 3 data contract, 4 publish gate, 5 locked, 6 resource limit, 130 and 143
    /// signals, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::NotReadOnly { .. }
            | Self::UnknownPackage { .. }
            | Self::PolicyFile { .. } => 2,
            Self::Segments(SegmentError::MoreThanCustomers { .. }) => 2,
            Self::Generate(GenerateError::OutOfRange { .. } | GenerateError::Period { .. }) => 2,
            Self::Key(_) | Self::NoCustomers { .. } | Self::Run(RunError::OtherListKey { .. }) => 2,
            Self::Contract { .. } | Self::Control(_) => 3,
            Self::Gate { .. } => 4,
            Self::Run(RunError::Locked { .. } | RunError::LeaseLost { .. })
            | Self::Scratch(ScratchError::Locked { .. }) => 5,
            Self::Interrupted { signal: "SIGINT" } => 130,
            Self::Interrupted { .. } => 143,
            Self::MemoryTooSmall { .. }
            | Self::QueryTimeout { .. }
            | Self::Affinities(AffinityError::Memory { .. }) => 6,
            Self::Policies(error) | Self::Recommendations(RecommendationError::Policies(error)) => {
                match error {
                    PolicyError::Invalid { .. } => 2,
                    _ => 3,
                }
            }
            Self::Recommendations(RecommendationError::Caps { .. } | RecommendationError::CapsWithSlots) => 2,
            Self::Evaluate(
                EvaluateError::CutoffOutside { .. }
                | EvaluateError::NoTruth { .. }
                | EvaluateError::TooFewCustomers { .. }
                | EvaluateError::NoBaskets
                | EvaluateError::FilterOfWindow
                | EvaluateError::WindowOfLastBasket,
            ) => 2,
            // The data are not to blame for the network.
            _ if stores::failure(self).is_some() => 1,
            Self::Input(error) => input_code(error),
            Self::Features(FeatureError::Input(error)) => input_code(error),
            _ => 1,
        }
    }

    /// What to do, where there is something.
    pub fn hint(&self) -> Option<String> {
        if is_storage_full(self) {
            return Some("free space on the disk that holds this file, then run again".into());
        }
        if let Some(hint) = stores::failure(self).and_then(stores::hint) {
            return Some(hint.to_owned());
        }
        match self {
            Self::Config(ConfigError::UnknownKey { .. } | ConfigError::Invalid { .. }) => {
                Some("`packwise config show` lists every key; config/default.toml explains them".into())
            }
            Self::Input(error) | Self::Features(FeatureError::Input(error)) => error.hint(),
            Self::Segments(SegmentError::MoreThanCustomers { customers, .. }) => {
                Some(format!("set segments.k to {customers} or less, or to 0 to choose by silhouette"))
            }
            Self::Run(RunError::NoRun { .. }) => Some("publish one with `packwise run -c FILE`".into()),
            Self::Run(
                RunError::BadManifest { .. } | RunError::ForeignFile { .. } | RunError::BadLog { .. },
            ) => Some(
                "somebody else has changed the file; `packwise runs list` shows the runs that can be read"
                    .into(),
            ),
            Self::Run(RunError::UnknownRun { .. }) => {
                Some("`packwise runs list` shows the published runs".into())
            }
            Self::Run(RunError::Locked { .. }) | Self::Scratch(ScratchError::Locked { .. }) => Some(
                "wait for it with --wait, or give this run another output.path and resources.scratch".into(),
            ),
            Self::Interrupted { .. } => {
                Some("a `packwise run` that was stopped goes on where it was when it is started again".into())
            }
            Self::Run(RunError::Unwritable { .. }) => {
                Some("check that output.path exists and may be written to".into())
            }
            Self::Scratch(ScratchError::Unwritable { .. }) => {
                Some("set resources.scratch to a folder on a local disk that may be written to".into())
            }
            Self::QueryTimeout { .. } => Some("give it longer with --timeout, or ask for less".into()),
            Self::NotReadOnly { .. } => {
                Some("published tables cannot be changed; write results with --format parquet".into())
            }
            Self::MemoryTooSmall { .. } => Some(
                "raise resources.memory, or lower neighbours.pool, segments.sample or resources.threads"
                    .into(),
            ),
            Self::NotValued { .. } => Some("run again with value.enabled = true".into()),
            Self::Contract { .. } => Some(
                "`packwise check` shows every rule; mend the input, or change the rule in the section [contract]".into(),
            ),
            Self::NoCustomers { .. } => Some("write one id a line".into()),
            Self::Run(RunError::OtherListKey { .. } | RunError::NoDigestKey { .. }) => Some(
                "with the key that the lists were made under, forgotten customers stay out; without it they would come back".into(),
            ),
            Self::Key(KeyError::Open { path, .. }) => Some(format!("make it yours alone: chmod 600 {path}")),
            Self::Key(KeyError::OtherKey { .. }) => {
                Some("take the key that the run was made with, or look the customer up by its pseudonym".into())
            }
            Self::Key(_) => Some(
                "`packwise privacy keygen --out FILE` makes a key; set privacy.key_file or privacy.key_env to it".into(),
            ),
            Self::Replay(ReplayError::There { .. }) => {
                Some("it was written before; remove it first if it is to be written anew".into())
            }
            Self::Control(_) => Some("set contract.reconciliation.control_file to a CSV file of day and total".into()),
            Self::Gate { .. } => Some(
                "look at the offers with gate.mode=warn, or run `packwise evaluate` again on newer data"
                    .into(),
            ),
            Self::PolicyFile { .. } => {
                Some("set policies.path to a file that can be read, or to \"\" for no rules".into())
            }
            Self::Policies(PolicyError::Invalid { .. }) => {
                Some("`packwise policies check` reports all problems and lists the columns to use".into())
            }
            Self::Recommendations(RecommendationError::Caps { .. }) => {
                Some("lower min_customers, widen the rules before it, or raise the other caps".into())
            }
            Self::Recommendations(RecommendationError::CapsWithSlots) => {
                Some("set recommendations.slots to 0, or take the caps out of the policy file".into())
            }
            Self::Affinities(AffinityError::Memory { .. }) => {
                Some("raise resources.memory, or lower affinities.packages".into())
            }
            Self::Evaluate(error) => error.hint().map(str::to_owned),
            Self::Generate(error) => error.hint().map(str::to_owned),
            _ => None,
        }
    }
}

/// Whether a full disk is at the bottom of it.
fn is_storage_full(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let io = error.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    })
}

fn input_code(error: &InputError) -> u8 {
    match error {
        InputError::Bucket(_)
        | InputError::Part(_)
        | InputError::Batch(_)
        | InputError::Storage { .. }
        | InputError::LostColumn => 1,
        _ => 3,
    }
}
