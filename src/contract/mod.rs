//! The data contract: what the input must be like, held against what was read before anything is published.
//!
//! | file | does |
//! |---|---|
//! | this one | the rules as configured |
//! | [`facts`] | what the rules are held against |
//! | [`judge`] | facts against rules; pure |
//! | [`control`] | control totals of revenue, read from a file |
//! | [`report`] | verdicts as JSON and JUnit XML |

pub mod control;
pub mod facts;
pub mod judge;
pub mod report;

/// What happens when a rule is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The rule is not looked at.
    #[default]
    Off,
    /// The run is published with a warning.
    Warn,
    /// Nothing is published.
    Fail,
    /// The rows that break the rule are rejected, and count under `contract.max_rejected_share`.
    Quarantine,
}

/// Why a control total cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    #[error("cannot read the control totals in {path}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("line {line} of the control totals in {path} is not a day and a total: {text}")]
    BadLine { path: String, line: usize, text: String },
    #[error("day {day} is twice in the control totals in {path}")]
    TwiceADay { path: String, day: String },
    #[error("the control totals in {path} hold no day")]
    Empty { path: String },
}

/// Roles that may be null, in the order of [`Nulls::max_share`].
pub const ROLES: [&str; 6] = ["customer", "package", "time", "channel", "amount", "quantity"];

/// All rules. Shares are of all rows, 0 to 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contract {
    pub freshness: Freshness,
    pub row_count: RowCount,
    pub nulls: Nulls,
    pub accepted: Accepted,
    pub unknown_packages: UnknownPackages,
    pub uniqueness: Uniqueness,
    pub reconciliation: Reconciliation,
}

/// The data must not be old.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Freshness {
    pub on_break: Action,
    /// Days from the last day of the data to the day of the run (UTC).
    pub max_age_days: u32,
}

/// The number of rows must be near the median of the runs before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowCount {
    pub on_break: Action,
    /// Published runs that the median is taken of, the newest.
    pub runs: usize,
    /// Times the median.
    pub min_ratio: f64,
    pub max_ratio: f64,
}

/// Values must be there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Nulls {
    pub on_break: Action,
    /// For each of [`ROLES`]; None: not looked at.
    pub max_share: [Option<f64>; 6],
}

impl Nulls {
    /// Whether rows without a value for the role (an index of [`ROLES`]) are rejected.
    pub fn quarantines(&self, role: usize) -> bool {
        self.on_break == Action::Quarantine && self.max_share[role].is_some()
    }
}

/// Channels must be known ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Accepted {
    pub on_break: Action,
    pub channels: Vec<String>,
    pub max_share: f64,
}

/// Packages must be in the catalogue. Rows of others are rejected in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UnknownPackages {
    pub on_break: Action,
    pub max_share: f64,
}

/// Rows must not be twice.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Uniqueness {
    pub on_break: Action,
    pub max_duplicates: f64,
    pub max_repeated_ids: f64,
}

/// Revenue must be what another system says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reconciliation {
    pub on_break: Action,
    pub control: Source,
    /// Largest difference, as a share of the control total.
    pub tolerance: f64,
}

/// Where the control total comes from.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Source {
    #[default]
    None,
    /// Currency units, of all rows.
    Total(f64),
    /// A CSV file of day and total.
    File(String),
}
