//! Marketing policies: which packages may be offered to whom, written by people in a TOML file.
//!
//! | file | does |
//! |---|---|
//! | [`mod@file`] | the rules as typed, read with every problem at once |
//! | `read`, `entry` | its sections; keys of a TOML table with their lines |
//! | `contradictions` | rules that cannot hold together |
//! | [`columns`] | what predicates can speak of |
//! | `predicate`, `safety` | SQL text to a checked expression that cannot fail on data |
//! | `formula` | an expression, split by what it depends on and made ready to run |
//! | [`compile`], `builder` | the rules checked against one run and put in the order of application |
//! | [`judge`] | the first rule that refuses each pair of a customer and a package |
//! | [`pairs`] | those pairs, and the columns that predicates gather from them |
//! | [`pins`] | packages for the top of some customers' lists |
//! | [`lists`] | package numbers; boosts, lists that exclude each other, caps |
//! | [`contacts`] | who was contacted with what, and when |
//! | [`control`] | who is left alone on purpose |
//! | [`funnel`] | how many offers each rule took |
//!
//! A run reads the file with [`PolicyFile::parse`], checks it against its packages and columns with
//! [`Policies::compile`] and asks [`Policies::judge`] for a group of customers at a time.

mod builder;
pub mod columns;
pub mod compile;
pub mod contacts;
mod contradictions;
pub mod control;
mod entry;
pub mod file;
mod formula;
pub mod funnel;
pub mod judge;
pub mod lists;
pub mod pairs;
pub mod pins;
mod predicate;
mod read;
mod safety;
#[cfg(test)]
mod tests;

pub use compile::{Policies, check};
pub use contacts::ContactHistory;
pub use file::PolicyFile;
pub use funnel::{Funnel, FunnelRow};
pub use judge::STANDS;
pub use lists::{Cap, PackageCodes};
pub use pairs::Pairs;
pub use pins::{Pin, Pins};

use crate::quantities::format_bytes;
use crate::transactions::InputError;
use datafusion::error::DataFusionError;
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter};

/// Why policies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the policy file {path} has {} problem{}:{}", problems.len(), if problems.len() == 1 { "" } else { "s" }, list(problems))]
    Invalid { path: String, problems: Vec<Problem> },
    #[error("rule `{rule}` (line {line} of the policy file) failed on the data: {predicate}")]
    Evaluation {
        rule: String,
        line: usize,
        predicate: String,
        #[source]
        source: Box<DataFusionError>,
    },
    #[error("the contact history cannot be used")]
    Contacts(#[source] Box<InputError>),
    #[error(
        "the contact history {path} has {contacts} contacts in the last {days} days, which take {} to read; \
         {} are left for it",
        format_bytes(*needed),
        format_bytes(*budget)
    )]
    ContactsTooLarge { path: String, contacts: u64, days: u32, needed: u64, budget: u64 },
    #[error("none of the {rows} rows of the contact history {path} has a customer, a package and a time")]
    NoContacts { path: String, rows: u64 },
    #[error("the table of {table} has no column `{column}`, which policies need")]
    MissingColumn { table: &'static str, column: String },
    #[error("{what} has {found} entries, {wanted} were expected")]
    Length { what: &'static str, found: usize, wanted: usize },
    #[error("a pair names {what} {found}, but there are only {count}")]
    OutOfRange { what: &'static str, found: u32, count: usize },
    #[error("a column could not be converted for the policies")]
    Arrow(#[from] arrow::error::ArrowError),
}

/// One thing in a policy file that cannot be used: where, what it says, what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// The entry, such as `[[rule]] "no-night-packages"`; empty outside entries.
    pub rule: String,
    pub key: String,
    /// As it is written in the file, shortened.
    pub value: String,
    /// What is wrong and what to do.
    pub wanted: String,
}

impl Display for Problem {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(out, "line {}", self.line)?;
        }
        for part in [&self.rule, &self.key].into_iter().filter(|part| !part.is_empty()) {
            write!(out, ", {part}")?;
        }
        if !self.value.is_empty() {
            write!(out, " = {}", self.value)?;
        }
        write!(out, ": {}", self.wanted)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// When a rule has its say. Offers pass the stages in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// May this package be offered at all, or to this customer, by law or contract?
    Eligibility,
    /// Would it work for this customer?
    Applicability,
    /// Is it a sensible offer?
    Suitability,
    /// Has the customer been contacted enough?
    Contact,
    /// What moves offers up: boosts and pins. Takes none away.
    Ranking,
    /// What one customer's list may hold together.
    List,
    /// What all lists together may hold.
    Capacity,
    /// Customers kept without offers, to measure by.
    Control,
}

impl Stage {
    /// As the policy file and the published funnel write it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Eligibility => "eligibility",
            Self::Applicability => "applicability",
            Self::Suitability => "suitability",
            Self::Contact => "contact",
            Self::Ranking => "ranking",
            Self::List => "list",
            Self::Capacity => "capacity",
            Self::Control => "control",
        }
    }
}

/// What sort of rule an entry of the file is; within a stage they apply in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Allow,
    Deny,
    Rule,
    Cooldown,
    Contact,
    Boost,
    Pin,
    NeverTogether,
    Cap,
    Control,
    Campaign,
}

impl Kind {
    /// The name of its section in the file.
    pub fn text(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Rule => "rule",
            Self::Contact => "contact",
            Self::Cooldown => "cooldown",
            Self::Boost => "boost",
            Self::Pin => "pin",
            Self::NeverTogether => "never_together",
            Self::Cap => "cap",
            Self::Campaign => "campaign",
            Self::Control => "control",
        }
    }

    /// Whether it can take an offer away.
    pub fn removes(self) -> bool {
        !matches!(self, Self::Boost | Self::Pin)
    }
}

/// A rule as reports name it. Its position in [`Policies::rules`] is its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    pub name: String,
    pub kind: Kind,
    pub stage: Stage,
    pub owner: String,
    /// Line of the policy file, from 1.
    pub line: usize,
    /// Its dates hold the day that offers are for.
    pub in_force: bool,
    /// Something that its author may not have meant, such as a predicate that refuses every package.
    pub note: Option<String>,
}

/// A list of names for a message, cut after `most`.
pub(crate) fn some_of<'a>(names: impl ExactSizeIterator<Item = &'a str>, most: usize) -> String {
    let count = names.len();
    let shown = names.take(most).collect::<Vec<_>>().join(", ");
    if count > most { format!("{shown} and {} more", count - most) } else { shown }
}
