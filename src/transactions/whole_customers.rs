//! A bucket made ready for features: sorted, cleaned under the policies, one stretch of rows a
//! customer.

mod order;

use super::Transactions;
use super::keys::{self, KeyKind};
use super::normalise::{NO_CHANNEL, Reason};
use super::quarantine::Rejected;
use super::times;
use crate::engine::buckets::Gathered;
use crate::engine::rows::Rows;
use crate::numerics::random::{hash_bytes, hash_u64};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::Int64Type;
use order::RowOrder;
use std::collections::HashSet;
use std::iter::repeat_n;
use std::ops::Range;
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

/// Sorts and cleans buckets, one stretch of their rows after the other; its buffers stay from one bucket to the next.
/// Memory: about 30 bytes a row of the longest stretch beside the rows and what comes of them, and 16 a customer.
#[derive(Default)]
pub struct Cleaner {
    order: RowOrder,
    timed: Vec<u64>,
    customers: Vec<Customer>,
    seen_transactions: HashSet<u64>,
    /// Of each customer, whether nothing needs to be asked of its rows: no two are of one time, and none is too late.
    plain: Vec<bool>,
}

/// What the id of a customer is made of: its key, and one of its rows.
#[derive(Clone, Copy)]
struct Customer {
    key: u64,
    row: u32,
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
        if rows.quantities.is_empty() {
            self.quantities.resize(self.seconds.len(), 1.0);
        } else {
            self.quantities.extend(positions().map(|row| rows.quantities[at(row)]));
        }
        if rows.amounts.is_empty() {
            let packages = positions().map(|row| rows.packages[at(row)]);
            let priced = packages.zip(&self.quantities);
            self.amounts.extend(priced.map(|(package, quantity)| transactions.price(package, *quantity)));
        } else {
            self.amounts.extend(positions().map(|row| rows.amounts[at(row)]));
        }
    }

    pub fn len(&self) -> usize {
        self.customers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.customers.is_empty()
    }
}

impl Cleaner {
    /// Puts a bucket, sorted and cleaned, in the place of what `whole` held.
    pub fn clean(
        &mut self,
        bucket: &Gathered,
        transactions: &Transactions,
        rejected: &mut Rejected,
        whole: &mut WholeCustomers,
    ) {
        let rows = &bucket.rows;
        let text_starts = rows.text_starts();
        whole.clear(rows.len());
        self.customers.clear();
        let mut start = 0;
        for end in &bucket.ends {
            self.sort(rows, start..*end, &text_starts, transactions);
            self.keep(rows, &text_starts, transactions, rejected, whole);
            whole.gather(rows, &self.order.rows, transactions);
            start = *end;
        }
        whole.ids = ids(rows, &text_starts, &self.customers, &transactions.keys);
    }

    /// Leaves the rows of a sorted stretch that the policies keep, and says whose they are.
    fn keep(
        &mut self,
        rows: &Rows,
        text_starts: &[usize],
        transactions: &Transactions,
        rejected: &mut Rejected,
        whole: &mut WholeCustomers,
    ) {
        let cleaned = &mut whole.cleaned;
        let (mut start, mut kept) = (0, 0);
        for (end, is_plain) in self.order.ends.iter().zip(&self.plain) {
            let own = start..*end as usize;
            start = own.end;
            let first_kept = kept;
            if *is_plain {
                if own.start != kept {
                    self.order.rows.copy_within(own.clone(), kept);
                }
                kept += own.len();
            } else {
                let mut previous: Option<usize> = None;
                self.seen_transactions.clear();
                for at in own {
                    let position = self.order.rows[at];
                    let row = position as usize;
                    if i64::from(rows.seconds[row]) > transactions.as_of_end {
                        cleaned.future += 1;
                        rejected
                            .push_late(Reason::FutureTime, transactions.as_text(rows, text_starts, position));
                        continue;
                    }
                    if previous.is_some_and(|before| equal(rows, before, row)) {
                        cleaned.duplicates += 1;
                        if transactions.drop_duplicates {
                            continue;
                        }
                    }
                    let transaction = rows.transactions.get(row).copied().unwrap_or(0);
                    if transaction != 0 && !self.seen_transactions.insert(transaction) {
                        cleaned.repeated_transactions += 1;
                        continue;
                    }
                    previous = Some(row);
                    self.order.rows[kept] = position;
                    kept += 1;
                }
            }
            if kept > first_kept {
                let customer = self.customers.len() as i32;
                whole.customers.extend(repeat_n(customer, kept - first_kept));
                self.customers.push(customer_of(rows, self.order.rows[first_kept]));
            }
        }
        self.order.rows.truncate(kept);
    }

    /// Row positions of a stretch by customer, then by everything else that is published, so that the order does not
    /// depend on how the rows came in.
    fn sort(&mut self, rows: &Rows, stretch: Range<u32>, text_starts: &[usize], transactions: &Transactions) {
        self.order.sort(&rows.keys[stretch.start as usize..stretch.end as usize], stretch.start);
        if !rows.text_lengths.is_empty() {
            self.split_by_text(rows, text_starts);
        }
        let package = |row: usize| transactions.package_ranks[rows.packages[row] as usize];
        let channel = |row: usize| match rows.channels[row] {
            NO_CHANNEL => u32::MAX,
            code => transactions.channel_ranks[code as usize],
        };
        let of_one_time = |a: &u64, b: &u64| {
            let (a, b) = (*a as u32 as usize, *b as u32 as usize);
            package(a)
                .cmp(&package(b))
                .then_with(|| channel(a).cmp(&channel(b)))
                .then_with(|| rows.amounts.get(a).cmp(&rows.amounts.get(b)))
                .then_with(|| match (rows.quantities.get(a), rows.quantities.get(b)) {
                    (Some(x), Some(y)) => x.total_cmp(y),
                    _ => std::cmp::Ordering::Equal,
                })
                .then_with(|| rows.transactions.get(a).cmp(&rows.transactions.get(b)))
        };
        let is_in_time = |second: u32| i64::from(second) <= transactions.as_of_end;
        self.plain.clear();
        let mut start = 0;
        for end in &self.order.ends {
            let own = &mut self.order.rows[start..*end as usize];
            start = *end as usize;
            if let [only] = own {
                self.plain.push(is_in_time(rows.seconds[*only as usize]));
                continue;
            }
            // Time and row in one word: most rows are told apart without a look at anything else.
            self.timed.clear();
            self.timed
                .extend(own.iter().map(|row| u64::from(rows.seconds[*row as usize]) << 32 | u64::from(*row)));
            self.timed.sort_unstable();
            let has_same = self.timed.windows(2).any(|two| two[0] >> 32 == two[1] >> 32);
            if has_same {
                for same in self.timed.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
                    same.sort_unstable_by(of_one_time);
                }
            }
            let last = self.timed.last().map_or(0, |word| (word >> 32) as u32);
            self.plain.push(!has_same && rows.transactions.is_empty() && is_in_time(last));
            for (row, word) in own.iter_mut().zip(&self.timed) {
                *row = *word as u32;
            }
        }
    }

    /// Divides the rows of one key between the texts that share it.
    fn split_by_text(&mut self, rows: &Rows, starts: &[usize]) {
        let of = |row: &u32| text(rows, starts, *row as usize);
        let mut ends = Vec::with_capacity(self.order.ends.len());
        let mut start = 0;
        for end in &self.order.ends {
            let own = &mut self.order.rows[start..*end as usize];
            if own.windows(2).any(|two| of(&two[0]) != of(&two[1])) {
                own.sort_unstable_by(|a, b| of(a).cmp(of(b)));
                let mut at = start;
                for same in own.chunk_by(|a, b| of(a) == of(b)) {
                    at += same.len();
                    ends.push(at as u32);
                }
            } else {
                ends.push(*end);
            }
            start = *end as usize;
        }
        self.order.ends = ends;
    }
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

fn customer_of(rows: &Rows, row: u32) -> Customer {
    Customer { key: rows.keys[row as usize], row }
}

fn ids(rows: &Rows, starts: &[usize], customers: &[Customer], kind: &KeyKind) -> ArrayRef {
    match kind {
        KeyKind::Integer => Arc::new(Int64Array::from_iter_values(
            customers.iter().map(|customer| keys::key_integer(customer.key)),
        )),
        KeyKind::Packed => {
            let mut builder = StringBuilder::with_capacity(customers.len(), customers.len() * 12);
            let mut id = String::with_capacity(16);
            for customer in customers {
                id.clear();
                keys::unpack(customer.key, &mut id);
                builder.append_value(&id);
            }
            Arc::new(builder.finish())
        }
        KeyKind::Text { .. } => Arc::new(StringArray::from_iter_values(
            customers
                .iter()
                .map(|customer| String::from_utf8_lossy(text(rows, starts, customer.row as usize))),
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
    fn as_text(&self, rows: &Rows, starts: &[usize], position: u32) -> [Option<String>; 6] {
        let row = position as usize;
        let id = ids(rows, starts, &[customer_of(rows, position)], &self.keys);
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
