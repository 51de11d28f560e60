//! Telco-like purchase histories with a known truth, at any scale.
//!
//! [`generate`] writes what an operator would hand over, one Parquet file of purchases a day and a
//! catalogue, and beside it what it planted: segments with their own tastes, personal favourites that
//! repeat, ladders that some customers climb, heavy-tailed activity, customers who join late or lapse,
//! a weekly and a daily rhythm. Whoever reads only the purchases can be measured against that truth.
//!
//! Every random choice is keyed by what it decides (a customer's taste, a family's price), so the
//! files depend on the options alone: byte for byte the same on one thread or many. Data flow and
//! what each step holds in memory:
//!
//! | step | from | to | memory |
//! |---|---|---|---|
//! | `Model::plan` | options | catalogue, segments | a few hundred bytes a package |
//! | `Activity::measure` | model | purchases of each customer | 8 bytes per 16,384 customers |
//! | `draw_all` | model, activity | packed purchases by day on disk, 8 bytes each | 96 MiB of buffers at most |
//! | `write_days` | packed purchases | one sorted file a day | some 15 MB a thread; up to 40 MB when days are long |
//!
//! Tried first and dropped: drawing each day on its own. It needs no scratch disk, but every customer
//! has to be drawn again for every day, which costs more than all purchases.

mod activity;
mod catalogue;
mod choice;
mod customers;
mod error;
mod purchases;
mod segments;
mod spill;
#[cfg(test)]
mod tests;
mod truth;
mod workers;
mod workspace;
mod write;

use std::path::PathBuf;
use std::thread::available_parallelism;

use chrono::{Days, NaiveDate};

use self::activity::Activity;
use self::catalogue::Catalogue;
use self::customers::{Numbers, SUBSCRIBERS};
pub use self::error::GenerateError;
use self::purchases::{MOST_PACKAGES, draw_all};
use self::segments::Segments;
use self::workspace::{PACKAGES, TASTES, TRANSACTIONS, TRUTH, Workspace};
use self::write::{date_of, day_file, write_catalogue, write_days};

/// The first day of a data set where none is asked: a Sunday.
pub const DEFAULT_START: NaiveDate = NaiveDate::from_ymd_opt(2026, 3, 1).expect("a date of the calendar");

/// Dates that common readers can hold, those that count nanoseconds included.
const FIRST_DATE: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date of the calendar");
const LAST_DATE: NaiveDate = NaiveDate::from_ymd_opt(2261, 12, 31).expect("a date of the calendar");

/// What to generate.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder to write to; made if it does not exist. It may hold other things, but no data set.
    pub out: PathBuf,
    /// How many purchases, exactly: up to ten thousand million. Scratch space in `out` is 8 bytes
    /// each; the files take about as much again.
    pub transactions: u64,
    /// How many customers there are, up to a thousand million. Some make no purchase; with fewer
    /// purchases than customers, many.
    pub customers: u64,
    /// How many packages the catalogue has, up to 9,999.
    pub packages: u32,
    /// How many days the purchases span, up to ten years of them.
    pub days: u32,
    /// Everything random follows from this number.
    pub seed: u64,
    /// The first day; see [`DEFAULT_START`].
    pub start: NaiveDate,
    /// How many threads to work on; 0 takes one for every core.
    pub threads: usize,
}

/// What was generated, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Purchases written: as many as were asked.
    pub transactions: u64,
    /// Customers with at least one purchase.
    pub customers_with_purchases: u64,
    /// The files of purchases, one a day, in the order of the days. A day without purchases has a
    /// file without rows.
    pub files: Vec<PathBuf>,
    /// The catalogue.
    pub packages_file: PathBuf,
    /// The truth about each customer, including those without a purchase.
    pub truth_file: PathBuf,
    /// What each segment buys apart from favourites.
    pub tastes_file: PathBuf,
    /// What all purchases cost at catalogue prices, in hundredths of the currency unit.
    pub revenue_minor: i64,
}

/// Writes a data set: `transactions/day-YYYY-MM-DD.parquet`, `packages.parquet`, and the truth in
/// `truth.parquet` and `truth_tastes.parquet`. `progress` is called from any thread with the rows
/// written so far; during the first quarter of the time, while purchases are drawn, none are.
///
/// Takes time in proportion to purchases and customers. Memory does not grow with either, only with
/// threads and, at a few bytes per thousand, with the purchases and customers.
///
/// # Errors
/// Options out of range, a folder that cannot be written or that holds a data set already, a full
/// disk. Nothing but the folder is left then.
pub fn generate(options: &Options, progress: &(dyn Fn(u64) + Sync)) -> Result<Generated, GenerateError> {
    options.check()?;
    let workspace = Workspace::claim(&options.out)?;
    let threads = options.threads();

    let model = Model::plan(options);
    let activity = Activity::measure(&model, threads);
    let drawn = draw_all(&model, &activity, workspace.scratch(), threads)?;

    write_catalogue(&model.catalogue, &workspace.draft(PACKAGES))?;
    truth::write_tastes(&model, &workspace.draft(TASTES))?;
    // The truth about the customers is one long file: it is written while others write the days.
    write_days(&model, &drawn, &workspace.draft(TRANSACTIONS), threads, progress, || {
        truth::write_customers(&model, &activity, &workspace.draft(TRUTH))
    })?;
    workspace.publish()?;

    let folder = workspace.published(TRANSACTIONS);
    Ok(Generated {
        transactions: options.transactions,
        customers_with_purchases: drawn.customers_with_purchases,
        files: (0..model.days).map(|day| day_file(&folder, date_of(&model, day))).collect(),
        packages_file: workspace.published(PACKAGES),
        truth_file: workspace.published(TRUTH),
        tastes_file: workspace.published(TASTES),
        revenue_minor: drawn.revenue_minor,
    })
}

impl Options {
    /// Refuses what cannot be made before anything is touched.
    fn check(&self) -> Result<(), GenerateError> {
        within("transactions", self.transactions, 1, 10_000_000_000)?;
        within("customers", self.customers, 1, SUBSCRIBERS)?;
        within("packages", u64::from(self.packages), 1, u64::from(MOST_PACKAGES))?;
        within("days", u64::from(self.days), 1, 3_660)?;
        within("threads", self.threads as u64, 0, 256)?;
        let last = self.start.checked_add_days(Days::new(u64::from(self.days) - 1));
        if self.start >= FIRST_DATE && last.is_some_and(|last| last <= LAST_DATE) {
            Ok(())
        } else {
            let (start, days) = (self.start, self.days);
            Err(GenerateError::Period { start, days, least: FIRST_DATE, most: LAST_DATE })
        }
    }

    fn threads(&self) -> usize {
        match self.threads {
            0 => available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

fn within(option: &'static str, value: u64, least: u64, most: u64) -> Result<(), GenerateError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(GenerateError::OutOfRange { option, value, least, most })
    }
}

/// Everything that is the same for all customers.
#[derive(Debug)]
struct Model {
    seed: u64,
    start: NaiveDate,
    days: u32,
    transactions: u64,
    customers: u64,
    catalogue: Catalogue,
    segments: Segments,
    numbers: Numbers,
}

impl Model {
    fn plan(options: &Options) -> Self {
        let Options { seed, start, days, transactions, customers, .. } = *options;
        let catalogue = Catalogue::plan(options.packages, seed);
        let segments = Segments::plan(&catalogue, seed, start, days);
        Self { seed, start, days, transactions, customers, catalogue, segments, numbers: Numbers::new(seed) }
    }
}
