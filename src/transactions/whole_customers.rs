//! A bucket made ready for features: sorted, cleaned under the policies, one stretch of rows a
//! customer.

use super::Transactions;
use super::keys::{self, KeyKind};
use super::normalise::{NO_CHANNEL, Reason};
use super::quarantine::Rejected;
use super::times;
use crate::engine::rows::Rows;
use crate::numerics::random::{hash_bytes, hash_u64};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::Int64Type;
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
    /// Sorts and cleans a bucket. Memory: about 100 bytes a row while it works, 36 after.
    pub fn new(rows: Rows, transactions: &Transactions, rejected: &mut Rejected) -> Self {
        let order = sorted(&rows, transactions);
        let text_starts = rows.text_starts();
        let has_texts = !rows.text_lengths.is_empty();
        let same_customer = |a: usize, b: usize| {
            rows.keys[a] == rows.keys[b]
                && (!has_texts || text(&rows, &text_starts, a) == text(&rows, &text_starts, b))
        };
        let mut cleaned = Cleaned::default();
        let mut whole = Self {
            ids: Arc::new(Int64Array::from(Vec::<i64>::new())),
            customers: Vec::with_capacity(order.len()),
            seconds: Vec::with_capacity(order.len()),
            packages: Vec::with_capacity(order.len()),
            channels: Vec::with_capacity(order.len()),
            amounts: Vec::with_capacity(order.len()),
            quantities: Vec::with_capacity(order.len()),
            cleaned,
        };
        // One row of every customer, to make its id from.
        let mut customer_rows: Vec<u32> = Vec::new();
        let mut previous: Option<usize> = None;
        let mut seen_transactions: std::collections::HashSet<u64> = std::collections::HashSet::new();
        for position in order {
            let row = position as usize;
            let as_last = customer_rows.last().is_some_and(|last| same_customer(*last as usize, row));
            if !as_last {
                seen_transactions.clear();
            }
            if i64::from(rows.seconds[row]) > transactions.as_of_end {
                cleaned.future += 1;
                rejected.push_late(Reason::FutureTime, transactions.as_text(&rows, &text_starts, row));
                continue;
            }
            let duplicate = previous.is_some_and(|before| as_last && equal(&rows, before, row));
            if duplicate {
                cleaned.duplicates += 1;
                if transactions.drop_duplicates {
                    continue;
                }
            }
            let transaction = rows.transactions.get(row).copied().unwrap_or(0);
            if transaction != 0 && !seen_transactions.insert(transaction) {
                cleaned.repeated_transactions += 1;
                continue;
            }
            previous = Some(row);
            if !as_last {
                customer_rows.push(position);
            }
            let package = rows.packages[row];
            whole.customers.push(customer_rows.len() as i32 - 1);
            whole.seconds.push(rows.seconds[row]);
            whole.packages.push(transactions.package_ranks[package as usize] as i32);
            whole.channels.push(match rows.channels[row] {
                NO_CHANNEL => -1,
                code => transactions.channel_ranks[code as usize] as i32,
            });
            let quantity = rows.quantities.get(row).copied().unwrap_or(1.0);
            whole.quantities.push(quantity);
            whole.amounts.push(match rows.amounts.get(row) {
                Some(amount) => *amount,
                None => transactions.price(package, quantity),
            });
        }
        whole.ids = ids(&rows, &text_starts, &customer_rows, &transactions.keys);
        whole.cleaned = cleaned;
        whole
    }

    pub fn len(&self) -> usize {
        self.customers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.customers.is_empty()
    }
}

/// Row positions by customer, then by everything else that is published, so that the order does not
/// depend on how the rows came in.
fn sorted(rows: &Rows, transactions: &Transactions) -> Vec<u32> {
    let mut order: Vec<(u64, u32, u32)> = rows
        .keys
        .iter()
        .zip(&rows.seconds)
        .enumerate()
        .map(|(row, (key, s))| (*key, *s, row as u32))
        .collect();
    let text_starts = rows.text_starts();
    let package = |row: u32| transactions.package_ranks[rows.packages[row as usize] as usize];
    let channel = |row: u32| match rows.channels[row as usize] {
        NO_CHANNEL => u32::MAX,
        code => transactions.channel_ranks[code as usize],
    };
    let has_texts = !rows.text_lengths.is_empty();
    order.sort_unstable_by(|a, b| {
        let (row_a, row_b) = (a.2 as usize, b.2 as usize);
        a.0.cmp(&b.0)
            .then_with(|| match has_texts {
                true => text(rows, &text_starts, row_a).cmp(text(rows, &text_starts, row_b)),
                false => std::cmp::Ordering::Equal,
            })
            .then_with(|| a.1.cmp(&b.1))
            .then_with(|| package(a.2).cmp(&package(b.2)))
            .then_with(|| channel(a.2).cmp(&channel(b.2)))
            .then_with(|| rows.amounts.get(row_a).cmp(&rows.amounts.get(row_b)))
            .then_with(|| match (rows.quantities.get(row_a), rows.quantities.get(row_b)) {
                (Some(x), Some(y)) => x.total_cmp(y),
                _ => std::cmp::Ordering::Equal,
            })
            .then_with(|| rows.transactions.get(row_a).cmp(&rows.transactions.get(row_b)))
    });
    order.into_iter().map(|(_, _, row)| row).collect()
}

fn equal(rows: &Rows, a: usize, b: usize) -> bool {
    rows.seconds[a] == rows.seconds[b]
        && rows.packages[a] == rows.packages[b]
        && rows.channels[a] == rows.channels[b]
        && rows.amounts.get(a) == rows.amounts.get(b)
        && rows.quantities.get(a).map(|q| q.to_bits()) == rows.quantities.get(b).map(|q| q.to_bits())
        && rows.transactions.get(a) == rows.transactions.get(b)
}

/// The text of a row's customer; empty where the key says it all.
pub(super) fn text<'a>(rows: &'a Rows, starts: &[usize], row: usize) -> &'a [u8] {
    match rows.text_lengths.get(row) {
        Some(length) => &rows.text_bytes[starts[row]..starts[row] + *length as usize],
        None => &[],
    }
}

fn ids(rows: &Rows, starts: &[usize], customer_rows: &[u32], kind: &KeyKind) -> ArrayRef {
    match kind {
        KeyKind::Integer => Arc::new(Int64Array::from_iter_values(
            customer_rows.iter().map(|row| keys::key_integer(rows.keys[*row as usize])),
        )),
        KeyKind::Packed => {
            let mut builder = StringBuilder::with_capacity(customer_rows.len(), customer_rows.len() * 12);
            let mut id = String::new();
            for row in customer_rows {
                id.clear();
                keys::unpack(rows.keys[*row as usize], &mut id);
                builder.append_value(&id);
            }
            Arc::new(builder.finish())
        }
        KeyKind::Text { .. } => Arc::new(StringArray::from_iter_values(
            customer_rows.iter().map(|row| String::from_utf8_lossy(text(rows, starts, *row as usize))),
        )),
    }
}

/// A hash of every customer id that depends on nothing but the id and the seed: what samples go by.
pub fn id_hashes(ids: &dyn Array, seed: u64) -> Vec<u64> {
    match ids.as_primitive_opt::<Int64Type>() {
        Some(integers) => integers.values().iter().map(|id| hash_u64(*id as u64, seed)).collect(),
        None => {
            let texts = ids.as_string::<i32>();
            (0..texts.len()).map(|row| hash_bytes(texts.value(row).as_bytes(), seed)).collect()
        }
    }
}

impl Transactions {
    /// A row as the quarantine table shows it.
    fn as_text(&self, rows: &Rows, starts: &[usize], row: usize) -> [Option<String>; 6] {
        let id = ids(rows, starts, &[row as u32], &self.keys);
        let package = self.package_ranks[rows.packages[row] as usize] as usize;
        let channel = match rows.channels[row] {
            NO_CHANNEL => None,
            code => self.channel_names.get(self.channel_ranks[code as usize] as usize).cloned(),
        };
        let seconds = i64::from(rows.seconds[row]);
        let time = times::date_of(seconds.div_euclid(times::DAY))
            .and_hms_opt(0, 0, 0)
            .map(|midnight| midnight + chrono::TimeDelta::seconds(seconds.rem_euclid(times::DAY)));
        [
            Some(crate::engine::part::id_text(id.as_ref(), 0)),
            self.packages.get(package).map(|package| package.code.clone()),
            time.map(|time| time.format("%Y-%m-%d %H:%M:%S").to_string()),
            channel,
            rows.amounts.get(row).map(|amount| (*amount as f64 / self.scale).to_string()),
            rows.quantities.get(row).map(ToString::to_string),
        ]
    }
}
