//! Stage: which packages go with which, from the whole base.
//!
//! | file | does |
//! |---|---|
//! | [`gram`] | one pass over the parts: exact package × package counts |
//! | [`models`] | the two linear models that are solved from them |

pub mod gram;
pub mod models;

pub use models::Affinities;

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::part::{PartError, PartReader, RunFolder};
use crate::engine::workers;
use crate::features::{Features, run_length};
use crate::numerics::cholesky::CholeskyError;
use crate::quantities::format_bytes;
use crate::segments::part_view::{BOUGHT_ROWS, ranks};
use crate::segments::{SegmentError, package_ranks};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use gram::{Bought, Gram};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why affinities could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AffinityError {
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Segments(#[from] SegmentError),
    #[error("the affinities of packages could not be solved")]
    Solve(#[from] CholeskyError),
    #[error("affinities of {packages} packages need {}, {} are left under the limit",
        format_bytes(*needed), format_bytes(*left))]
    Memory { packages: usize, needed: u64, left: u64 },
}

/// Counts and solves. `window` is the days before the cut-off whose purchases are the "next" ones.
///
/// Memory: 48 bytes a pair of packages while it is counted and solved, more only within half of what is left under
/// the limit (16 a thread), 8 after. Time: one pass over the published
/// `customer_packages`, then a cube of the packages (2.7 · n³ operations in all).
pub fn build(
    features: &Features,
    window: u32,
    config: &Config,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Affinities, AffinityError> {
    let members = members(features, config.affinities.packages);
    if members.is_empty() {
        return Ok(Affinities::none(features.packages.len()));
    }
    let (needed, table) = (48 * (members.len() as u64).pow(2), Gram::bytes(members.len()));
    let left = engine.memory.usable();
    if needed > left {
        return Err(AffinityError::Memory { packages: members.len(), needed, left });
    }
    // One for each worker, if they fit: to one that all add to, they would wait for each other at every pair.
    let tables = usize::try_from(left / 2 / table).unwrap_or(usize::MAX).clamp(1, engine.threads);
    let new = || Mutex::new(Gram::new(members.clone(), features.packages.len()));
    let tables: Vec<Mutex<Gram>> = std::iter::repeat_with(new).take(tables).collect();
    let ranks = ranks(features);
    // Exclusive: what came after it is next.
    let before = (features.as_of_day - i64::from(window) + 1) * 86_400_000_000;
    workers::for_each(
        engine.threads,
        features.parts.len(),
        Vec::new,
        |bought: &mut Vec<Bought>, number| -> Result<(), AffinityError> {
            let columns = ["customer_id", "package_code", "days", "first_purchase", "last_purchase"];
            let part = &features.parts[number].packages;
            let runtime = engine.runtime.handle();
            let (mut customers, mut last): (u64, Option<(ArrayRef, usize)>) = (0, None);
            bought.clear();
            for rows in PartReader::open_in_batches(folder, part, &columns, runtime, BOUGHT_ROWS)? {
                let rows = rows?;
                let owners = rows.column(0);
                let codes = package_ranks(rows.column(1), &ranks);
                let days = rows.column(2).as_primitive::<Int64Type>().values();
                let first = rows.column(3).as_primitive::<TimestampMicrosecondType>().values();
                let latest = rows.column(4).as_primitive::<TimestampMicrosecondType>().values();
                let mut gram = free(&tables, number);
                let mut start = 0;
                while start < owners.len() {
                    // A customer's rows may go on in the next batch.
                    let (of, row) = last.as_ref().map_or((owners, start), |(of, row)| (of, *row));
                    let end = start + run_length(of, row, owners, start);
                    if end == start {
                        gram.add(bought);
                        bought.clear();
                        (customers, last) = (customers + 1, None);
                        continue;
                    }
                    bought.extend((start..end).filter(|at| days[*at] > 0).map(|at| Bought {
                        package: codes[at],
                        days: days[at],
                        before: first[at] < before,
                        next: latest[at] >= before,
                    }));
                    last = Some((owners.clone(), start));
                    start = end;
                }
            }
            free(&tables, number).add(bought);
            customers += u64::from(last.is_some());
            engine.progress.advance(customers);
            Ok(())
        },
    )?;
    let mut gram = Gram::new(members, features.packages.len());
    for table in tables {
        gram.merge(&table.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
    Ok(models::solve(gram, &config.affinities, engine.threads)?)
}

/// A table that nobody adds to, or one to wait for.
fn free(tables: &[Mutex<Gram>], number: usize) -> MutexGuard<'_, Gram> {
    let free = tables.iter().find_map(|table| table.try_lock().ok());
    free.unwrap_or_else(|| tables[number % tables.len()].lock().unwrap_or_else(PoisonError::into_inner))
}

/// The packages with most customers, ties to the first code; in the order of their codes.
fn members(features: &Features, most: usize) -> Vec<u32> {
    let mut sold: Vec<(u64, u32)> = features
        .package_totals
        .iter()
        .enumerate()
        .filter(|(_, totals)| totals.customers > 0)
        .map(|(package, totals)| (totals.customers, package as u32))
        .collect();
    sold.sort_by_key(|(customers, package)| (std::cmp::Reverse(*customers), *package));
    sold.truncate(most);
    let mut members: Vec<u32> = sold.into_iter().map(|(_, package)| package).collect();
    members.sort_unstable();
    members
}
