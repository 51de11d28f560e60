//! Stage 1: input files to buckets of whole customers.
//!
//! | file | does |
//! |---|---|
//! | [`source`] | files, schema checks, units of work, batches of the mapped columns |
//! | [`left_out`] | files that cannot be read and that a run goes without |
//! | [`catalogue`] | the packages on sale |
//! | `sample` | customers before the pass, to place the buckets |
//! | [`normalise`] | a batch to rows; reasons for rejection |
//! | [`keys`], [`codes`], [`times`] | ids, repeated texts and times as integers |
//! | [`quarantine`] | rejected rows, in input order |
//! | [`whole_customers`] | a bucket sorted and cleaned |
//! | [`cutoff`] | the last day that models may see; a sample of customers with all their rows |
//! | [`quality`] | the data-quality report |

pub mod catalogue;
pub mod codes;
pub mod cutoff;
mod error;
pub mod keys;
pub mod left_out;
pub mod normalise;
pub mod quality;
pub mod quarantine;
pub mod replay;
mod sample;
pub mod source;
pub mod text_column;
pub mod times;
pub mod whole_customers;

pub use error::InputError;

use crate::config::Config;
use crate::contract::{self, Action, Contract};
use crate::engine::buckets::{Buckets, splitters};
use crate::engine::location;
use crate::engine::packing::{Expected, Packing};
use crate::engine::part::{PartFile, RunFolder};
use crate::engine::rows::Layout;
use crate::engine::scratch::Scratch;
use crate::engine::{Engine, workers};
use crate::tables::CustomerType;
use catalogue::Package;
use codes::Codes;
use keys::KeyKind;
use normalise::{BatchFailure, Counts, MOST_CHANNELS, Normaliser, RowContract, Rules};
use quarantine::{QuarantineWriter, Rejected};
use sample::CustomerSample;
use source::Plan;

/// Shuffled transactions: holding one proves that the contract on rejected rows was kept.
pub struct Transactions {
    pub buckets: Buckets,
    pub keys: KeyKind,
    pub customer_type: CustomerType,
    /// Sorted by code; a package's rank is its position.
    pub packages: Vec<Package>,
    package_ranks: Vec<u32>,
    /// Of every package in minor units, 0 without one.
    prices: Vec<i64>,
    /// Sorted; a channel's rank is its position.
    pub channel_names: Vec<String>,
    channel_ranks: Vec<u32>,
    /// Rows of every channel, by rank.
    pub channel_rows: Vec<u64>,
    /// Last day of the data, since 1970.
    pub as_of_day: i64,
    as_of_end: i64,
    drop_duplicates: bool,
    /// Minor units of a currency unit.
    pub scale: f64,
    pub counts: Counts,
    pub quarantine: PartFile,
    /// Amounts are known, from the transactions or the catalogue.
    pub has_money: bool,
    pub has_catalogue: bool,
}

impl Transactions {
    /// Minor units that the catalogue asks for a package, by its rank; 0 without a price.
    fn price(&self, rank: usize, quantity: f32) -> i64 {
        let price = self.prices[rank];
        if quantity == 1.0 { price } else { (price as f64 * f64::from(quantity)).round() as i64 }
    }
}

/// How the input will be cut into buckets; also what `--dry-run` shows.
pub struct Cut {
    pub buckets: usize,
    pub layout: Layout,
    pub has_money: bool,
}

/// The cut of a plan under the configuration and the memory limit.
pub fn cut(plan: &Plan, config: &Config, packages: &[Package], engine: &Engine) -> Cut {
    let columns = &config.transactions.columns;
    let prices = packages.iter().any(|package| package.price.is_some());
    let layout = Layout {
        amounts: columns.amount.is_some(),
        quantities: columns.quantity.is_some(),
        transactions: columns.transaction.is_some(),
        texts: false,
    };
    let buckets =
        config.resources.buckets.unwrap_or_else(|| engine.memory.buckets(plan.rows, engine.threads));
    Cut { buckets, layout, has_money: prices || layout.amounts }
}

/// Reads everything once: good rows to buckets, bad rows to quarantine. Fails if a file changes meanwhile. Starts over
/// without files that fail on the way, if they are to be left out; they move from the sources of the plan to
/// `left_out`. Memory: `resident` bytes of rows (the rest goes to scratch disk), and a batch and 1,024 rows a bucket
/// for each thread.
pub fn shuffle(
    plan: &mut Plan,
    packages: Option<Vec<Package>>,
    config: &Config,
    engine: &Engine,
    resident: u64,
    scratch: &Scratch,
    folder: &RunFolder,
) -> Result<Transactions, InputError> {
    loop {
        let shuffled = shuffle_all(plan, packages.as_ref(), config, engine, resident, scratch, folder);
        // A file that changes under the reader may look corrupt; or fine.
        let files = plan.sources.iter().map(|source| &source.file);
        let files = files.chain(plan.left_out.iter().map(|left_out| &left_out.file));
        if let Some(file) = location::first_changed(files, engine.runtime.handle()) {
            return Err(InputError::Changed { path: file.name.clone() });
        }
        match shuffled {
            Ok(transactions) => return Ok(transactions),
            // Every time round there are fewer files.
            Err(error) => left_out::leave_out_bad_files(plan, error, engine)?,
        }
    }
}

fn shuffle_all(
    plan: &Plan,
    packages: Option<&Vec<Package>>,
    config: &Config,
    engine: &Engine,
    resident: u64,
    scratch: &Scratch,
    folder: &RunFolder,
) -> Result<Transactions, InputError> {
    let sample = CustomerSample::of(plan, engine)?;
    let kind = sample.kind.clone();
    match shuffle_with(plan, packages, config, engine, resident, scratch, folder, kind, &sample)? {
        Some(transactions) => Ok(transactions),
        None => {
            // An id that the sample did not foresee: once more, with text keys.
            let kind = KeyKind::Text { prefix: keys::shared_prefix(&sample.texts) };
            shuffle_with(plan, packages, config, engine, resident, scratch, folder, kind, &sample)?
                .ok_or_else(InputError::lost_column)
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the whole of stage 1, called twice at the most")]
fn shuffle_with(
    plan: &Plan,
    packages: Option<&Vec<Package>>,
    config: &Config,
    engine: &Engine,
    resident: u64,
    scratch: &Scratch,
    folder: &RunFolder,
    kind: KeyKind,
    sample: &CustomerSample,
) -> Result<Option<Transactions>, InputError> {
    let cut = cut(plan, config, packages.map_or(&[], Vec::as_slice), engine);
    let layout = Layout { texts: matches!(kind, KeyKind::Text { .. }), ..cut.layout };
    let mut keys = sample.keys(&kind);
    let splitters = splitters(&mut keys, cut.buckets);
    let settings = &config.transactions;
    let rules = Rules {
        layout,
        keys: kind,
        packages: match packages {
            Some(packages) => Codes::fixed(packages.iter().map(|package| package.code.as_str())),
            None => Codes::growing(u32::MAX as usize),
        },
        channels: match &config.contract.accepted {
            accepted if accepted.on_break == Action::Quarantine => {
                Codes::fixed(accepted.channels.iter().map(String::as_str))
            }
            _ => Codes::growing(MOST_CHANNELS),
        },
        prices: packages.map(|all| all.iter().map(|package| package.price).collect()).unwrap_or_default(),
        has_amount: settings.columns.amount.is_some(),
        scale: config.money.scale(),
        max_amount: settings.max_amount,
        amount_is_unit: settings.amount_is_unit,
        returns: settings.returns,
        as_of_end: settings.as_of.map(|date| (times::days_of(date) + 1) * times::DAY - 1),
        contract: of_rows(&config.contract),
    };
    let packing = packing(&rules, &keys, &splitters, sample);
    let mut buckets = Buckets::new(splitters, layout, resident, scratch.clone());
    if let Some((packing, bases)) = packing {
        buckets = buckets.packed(packing, &bases);
    }
    let Some((counts, quarantine)) = normalise_all(plan, &rules, &buckets, engine, folder)? else {
        return Ok(None);
    };
    if config.resources.buckets.is_none() {
        let most = 2 * plan.rows.max(counts.rows).div_ceil(cut.buckets as u64).max(1);
        buckets.split_large(most)?;
    }

    engine.progress.set_rejected(counts.reasons(0));
    keep_contract(&counts, 0, config)?;
    let as_of_day = match settings.as_of {
        Some(date) => times::days_of(date),
        None => normalise::last_day(&counts.by_day).ok_or(InputError::NoValidRows { rows: counts.rows })?,
    };
    let (names, package_ranks) = rules.packages.sorted();
    let packages = match packages {
        Some(packages) => packages.clone(),
        None => names.into_iter().map(|code| Package { code, ..Package::default() }).collect(),
    };
    let (channel_names, channel_ranks) = rules.channels.sorted();
    let mut channel_rows = vec![0; channel_names.len()];
    for (code, rows) in counts.by_channel.iter().enumerate() {
        channel_rows[channel_ranks[code] as usize] = *rows;
    }
    Ok(Some(Transactions {
        buckets,
        customer_type: match rules.keys {
            KeyKind::Integer => CustomerType::Integer,
            _ => CustomerType::Text,
        },
        keys: rules.keys,
        prices: packages.iter().map(|package| package.price.unwrap_or(0)).collect(),
        packages,
        package_ranks,
        channel_names,
        channel_ranks,
        channel_rows,
        as_of_day,
        as_of_end: (as_of_day + 1) * times::DAY - 1,
        drop_duplicates: settings.drop_duplicates,
        scale: config.money.scale(),
        counts,
        quarantine,
        has_money: cut.has_money,
        has_catalogue: config.catalogue.is_some(),
    }))
}

/// How rows are packed, and what each bucket counts from; `keys`: ascending, of the sample. None if they stay in columns.
fn packing(
    rules: &Rules,
    keys: &[u64],
    splitters: &[u64],
    sample: &CustomerSample,
) -> Option<(Packing, Vec<u64>)> {
    if rules.layout != Layout::default() {
        return None;
    }
    let numbers = rules.keys.numbers(&sample.texts)?;
    let of = |keys: &[u64]| {
        let mut of_keys = Vec::new();
        (numbers.of_keys)(keys, numbers.digits, &mut of_keys);
        of_keys
    };
    let mut of_sample = of(keys);
    of_sample.retain(|number| *number != u64::MAX);
    Packing::of(&Expected {
        numbers,
        sample: &of_sample,
        splitters: &of(splitters),
        seconds: sample.seconds()?,
        packages: rules.packages.known(),
        channels: rules.channels.known(),
    })
}

/// What the contract says of single rows.
fn of_rows(contract: &Contract) -> RowContract {
    let needs = |role: &str| {
        contract::ROLES
            .iter()
            .position(|known| *known == role)
            .is_some_and(|at| contract.nulls.quarantines(at))
    };
    RowContract {
        needs_channel: needs("channel"),
        needs_amount: needs("amount"),
        needs_quantity: needs("quantity"),
        accepts_only: contract.accepted.on_break == Action::Quarantine,
        sums_revenue: contract.reconciliation.on_break != Action::Off,
    }
}

/// The pass itself; None if the keys turned out too narrow for the ids.
fn normalise_all(
    plan: &Plan,
    rules: &Rules,
    buckets: &Buckets,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Option<(Counts, PartFile)>, InputError> {
    let quarantine = QuarantineWriter::new(folder, 0);
    let pass = plan
        .pass(engine.threads, engine.read_ahead(), engine.runtime.handle())
        .packed(rules.keys == KeyKind::Packed);
    let work = |state: &mut (Normaliser, crate::engine::buckets::Scatterer), number: usize| {
        let unit = plan.units[number];
        let (normaliser, scatterer) = state;
        let mut rejected = Rejected::new(Some(plan.sources[unit.source].file.name.clone()), unit.first_row);
        for batch in pass.read(number)? {
            let batch = batch?;
            normaliser.normalise(&batch, &mut rejected)?;
            scatterer.scatter(&normaliser.rows).map_err(InputError::from)?;
            rejected.base += batch.rows as u64;
            if rejected.is_full() {
                quarantine.flush(number, &mut rejected).map_err(InputError::from)?;
            }
            engine.progress.advance(batch.rows as u64);
        }
        quarantine.finish_unit(number, &mut rejected).map_err(InputError::from)?;
        Ok(())
    };
    let states = workers::for_each(
        engine.threads,
        plan.units.len(),
        || (Normaliser::new(rules), buckets.scatterer()),
        |state, number| work(state, number).inspect_err(|_: &BatchFailure| quarantine.stop()),
    );
    let states = match states {
        Ok(states) => states,
        Err(BatchFailure::Keys(_)) => return Ok(None),
        Err(BatchFailure::Input(error)) => return Err(error),
    };
    let mut counts = Counts::default();
    for (normaliser, mut scatterer) in states {
        scatterer.finish()?;
        counts.merge(&normaliser.counts);
    }
    Ok(Some((counts, quarantine.finish_always()?)))
}

/// Fails if more rows were rejected than the contract allows; `late` were rejected after the shuffle,
/// for a time after the end of the data.
pub fn keep_contract(counts: &Counts, late: u64, config: &Config) -> Result<(), InputError> {
    if counts.good <= late {
        return Err(InputError::NoValidRows { rows: counts.rows });
    }
    let rejected = counts.rejected_rows() + late;
    let share = rejected as f64 / counts.rows.max(1) as f64;
    if share > config.max_rejected_share {
        let (reason, count) = normalise::Reason::ALL
            .iter()
            .map(|reason| {
                let late = if *reason == normalise::Reason::FutureTime { late } else { 0 };
                (reason.text(), counts.rejected[*reason as usize] + late)
            })
            .max_by_key(|(_, count)| *count)
            .unwrap_or_default();
        return Err(InputError::TooManyRejected {
            rejected,
            rows: counts.rows,
            share,
            limit: config.max_rejected_share,
            reason,
            count,
        });
    }
    Ok(())
}
