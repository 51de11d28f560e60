//! A policy file as typed: every entry read with its line, every problem reported at once.
//!
//! What needs the run (package codes, columns, types of predicates) is checked by
//! [`super::Policies::compile`].

use super::entry::{Located, Report};
use super::{Kind, PolicyError, Problem, Stage, read};
use chrono::NaiveDate;
use toml::de::DeTable;

/// What held-out customers of the global control group are held out by; no rule may be called so.
pub const GLOBAL: &str = "global";

/// Package codes as the file names them.
pub type Codes = Vec<Located<String>>;

/// A policy file that is well formed.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFile {
    /// The file's name, for messages.
    pub name: String,
    /// In the order of the file.
    pub rules: Vec<Rule>,
    pub control: Option<Control>,
    pub contact_history: Option<ContactSettings>,
}

/// An entry with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: String,
    pub owner: String,
    /// Line of its header, from 1.
    pub line: usize,
    /// First and last day, inclusive; None is open.
    pub from: Option<NaiveDate>,
    pub to: Option<NaiveDate>,
    pub action: Action,
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Keep { stage: Stage, keep: Located<String> },
    Deny { packages: Codes },
    Allow { packages: Codes },
    Boost { packages: Codes, factor: f64 },
    Pin { packages: Codes, condition: Option<Located<String>> },
    Contact { max_offers: u32, days: u32 },
    Cooldown { offer: Codes, after: Codes, days: u32 },
    NeverTogether { packages: Codes },
    Cap { packages: Codes, limits: Limits },
    Campaign { packages: Codes, control_share: f64 },
}

/// What a cap allows; None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    pub max_customers: Option<u64>,
    pub min_customers: Option<u64>,
    /// Currency units, for all offers together.
    pub budget: Option<f64>,
    /// Currency units an offer.
    pub cost: Option<f64>,
}

impl Limits {
    /// The most offers that limit and budget allow.
    pub fn most(&self) -> Option<u64> {
        let paid = self.budget.zip(self.cost).map(|(budget, cost)| {
            // 0.3 buys three at 0.1 each, although the quotient of the two is a little below 3.
            (budget / cost * (1.0 + 1e-12)).floor() as u64
        });
        self.max_customers.into_iter().chain(paid).min()
    }
}

/// The global control group.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    pub line: usize,
    /// Share of the customers, 0 to 1.
    pub share: f64,
    /// Another key draws another group.
    pub key: String,
}

/// Where contacts are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactSettings {
    /// A file, folder, glob or URL; Parquet or CSV.
    pub path: String,
    pub customer: String,
    pub package: String,
    pub time: String,
}

impl Action {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Keep { .. } => Kind::Rule,
            Self::Deny { .. } => Kind::Deny,
            Self::Allow { .. } => Kind::Allow,
            Self::Boost { .. } => Kind::Boost,
            Self::Pin { .. } => Kind::Pin,
            Self::Contact { .. } => Kind::Contact,
            Self::Cooldown { .. } => Kind::Cooldown,
            Self::NeverTogether { .. } => Kind::NeverTogether,
            Self::Cap { .. } => Kind::Cap,
            Self::Campaign { .. } => Kind::Campaign,
        }
    }

    pub fn stage(&self) -> Stage {
        match self {
            Self::Keep { stage, .. } => *stage,
            Self::Deny { .. } | Self::Allow { .. } => Stage::Eligibility,
            Self::Contact { .. } | Self::Cooldown { .. } => Stage::Contact,
            Self::Boost { .. } | Self::Pin { .. } => Stage::Ranking,
            Self::NeverTogether { .. } => Stage::List,
            Self::Cap { .. } => Stage::Capacity,
            Self::Campaign { .. } => Stage::Control,
        }
    }
}

impl Rule {
    /// Whether its dates hold a day.
    pub fn in_force(&self, day: NaiveDate) -> bool {
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day <= to)
    }

    /// As messages call it.
    pub fn label(&self) -> String {
        format!("[[{}]] \"{}\"", self.action.kind().text(), self.name)
    }
}

impl PolicyFile {
    /// Reads the text of a policy file; `name` is what messages call it. Every problem that the file
    /// alone shows is in the error: TOML, unknown and missing keys, values out of range, dates, names,
    /// the form of predicates, and rules that contradict each other.
    pub fn parse(text: &str, name: &str) -> Result<Self, PolicyError> {
        let (file, problems) = Self::read(text, name);
        if problems.is_empty() {
            Ok(file)
        } else {
            Err(PolicyError::Invalid { path: name.to_owned(), problems })
        }
    }

    /// No rules at all.
    pub fn empty() -> Self {
        Self { name: String::new(), rules: Vec::new(), control: None, contact_history: None }
    }

    /// Days of contact history that the rules look back, whether in force or not; None if none does.
    pub fn contact_days(&self) -> Option<u32> {
        let days = self.rules.iter().filter_map(|rule| match &rule.action {
            Action::Contact { days, .. } | Action::Cooldown { days, .. } => Some(*days),
            _ => None,
        });
        days.max()
    }

    /// What can be read of a file, with its problems in the order of lines.
    pub(super) fn read(text: &str, name: &str) -> (Self, Vec<Problem>) {
        let mut report = Report::new(text);
        let mut file = Self { name: name.to_owned(), ..Self::empty() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let (line, shown) = (report.line(span.start), report.shown(span));
            let at = if shown.is_empty() { String::new() } else { format!(" at `{shown}`") };
            report.problem(line, "", "", String::new(), format!("not valid TOML{at}: {}", error.message()));
        }
        if errors.is_empty() {
            read::sections(&mut file, table.get_ref(), &mut report);
        }
        let mut problems = report.problems;
        problems.sort_by_key(|problem| problem.line);
        (file, problems)
    }
}
