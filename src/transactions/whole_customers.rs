//! A bucket made ready for features: sorted, cleaned under the policies, one stretch of rows a
//! customer.

mod cleaner;
mod ids;
mod order;
mod packed;
#[cfg(test)]
mod tests;

use super::Transactions;
use super::normalise::NO_CHANNEL;
use super::quarantine::Rejected;
use crate::engine::buckets::Gathered;
use crate::engine::rows::Rows;
use arrow::array::{ArrayRef, Int64Array};
pub use cleaner::Cleaner;
pub use ids::id_hashes;
use std::sync::Arc;

/// Rows of whole customers, sorted by (customer, time, package, channel, amount, quantity), with
/// package and channel as ranks in the run's sorted dictionaries.
pub struct WholeCustomers {
    /// Int64 or Utf8, ascending, one entry a customer.
    pub ids: ArrayRef,
    /// Position in `ids` of every row's customer.
    pub customers: Vec<i32>,
    pub seconds: Vec<u32>,
    pub packages: Vec<i32>,
    /// Rank of the channel, −1 without one.
    pub channels: Vec<i32>,
    /// Minor units.
    pub amounts: Vec<i64>,
    pub quantities: Vec<f32>,
    pub cleaned: Cleaned,
}

/// What cleaning a bucket took out or noticed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cleaned {
    pub future: u64,
    pub duplicates: u64,
    pub repeated_transactions: u64,
}

impl Cleaned {
    /// Rows that were taken out (equal rows only if they are dropped, so this is an estimate by them).
    pub fn removed(&self) -> u64 {
        self.future + self.repeated_transactions
    }

    pub fn merge(&mut self, other: Self) {
        self.future += other.future;
        self.duplicates += other.duplicates;
        self.repeated_transactions += other.repeated_transactions;
    }
}

impl WholeCustomers {
    /// Sorts and cleans a bucket. Memory: 28 bytes a row beside the bucket.
    pub fn new(bucket: Gathered, transactions: &Transactions, rejected: &mut Rejected) -> Self {
        let mut whole = Self::empty();
        Cleaner::default().clean(&bucket, transactions, rejected, &mut whole);
        whole
    }

    /// No customers, to be filled.
    pub fn empty() -> Self {
        Self {
            ids: Arc::new(Int64Array::from(Vec::<i64>::new())),
            customers: Vec::new(),
            seconds: Vec::new(),
            packages: Vec::new(),
            channels: Vec::new(),
            amounts: Vec::new(),
            quantities: Vec::new(),
            cleaned: Cleaned::default(),
        }
    }

    fn clear(&mut self, rows: usize) {
        self.cleaned = Cleaned::default();
        self.customers.clear();
        self.seconds.clear();
        self.packages.clear();
        self.channels.clear();
        self.amounts.clear();
        self.quantities.clear();
        self.customers.reserve(rows);
        self.seconds.reserve(rows);
        self.packages.reserve(rows);
        self.channels.reserve(rows);
        self.amounts.reserve(rows);
        self.quantities.reserve(rows);
    }

    /// Appends the columns of `rows` at `positions`, one column after the other.
    fn gather(&mut self, rows: &Rows, positions: &[u32], transactions: &Transactions) {
        let at = |position: &u32| *position as usize;
        let positions = || positions.iter();
        self.seconds.extend(positions().map(|row| rows.seconds[at(row)]));
        let rank = |row| transactions.package_ranks[rows.packages[at(row)] as usize] as i32;
        self.packages.extend(positions().map(rank));
        self.channels.extend(positions().map(|row| match rows.channels[at(row)] {
            NO_CHANNEL => -1,
            code => transactions.channel_ranks[code as usize] as i32,
        }));
        if !rows.quantities.is_empty() {
            self.quantities.extend(positions().map(|row| rows.quantities[at(row)]));
        }
        if !rows.amounts.is_empty() {
            self.amounts.extend(positions().map(|row| rows.amounts[at(row)]));
        }
        self.fill_in(transactions);
    }

    /// Gives rows without quantities one piece each, and those without amounts what the catalogue asks.
    fn fill_in(&mut self, transactions: &Transactions) {
        self.quantities.resize(self.seconds.len(), 1.0);
        let priced = self.packages.iter().zip(&self.quantities).skip(self.amounts.len());
        self.amounts.extend(priced.map(|(package, pieces)| transactions.price(*package as usize, *pieces)));
    }

    pub fn len(&self) -> usize {
        self.customers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.customers.is_empty()
    }
}
