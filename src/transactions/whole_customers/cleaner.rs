//! A bucket's rows in the order of what is published, without those that the policies take out.

use super::WholeCustomers;
use super::ids::{Customer, ids, text};
use super::order::RowOrder;
use crate::engine::buckets::Gathered;
use crate::engine::rows::Rows;
use crate::transactions::Transactions;
use crate::transactions::normalise::{NO_CHANNEL, Reason};
use crate::transactions::quarantine::Rejected;
use std::collections::HashSet;
use std::iter::repeat_n;
use std::ops::Range;

/// Sorts and cleans buckets, one stretch of their rows after the other; its buffers stay from one bucket to the next.
/// Memory: about 30 bytes a row of the longest stretch beside the rows and what comes of them, and 16 a customer.
#[derive(Default)]
pub struct Cleaner {
    pub(super) order: RowOrder,
    timed: Vec<u64>,
    pub(super) customers: Vec<Customer>,
    seen_transactions: HashSet<u64>,
    /// Of each customer, whether nothing needs to be asked of its rows: no two are of one time, and none is too late.
    plain: Vec<bool>,
    /// Packed rows that have to be looked at by column.
    unpacked: Rows,
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
        whole.clear(bucket.len());
        self.customers.clear();
        let mut start = 0;
        for end in &bucket.ends {
            let stretch = start..*end;
            start = *end;
            match transactions.buckets.packing() {
                Some(packing) if !bucket.words.is_empty() => {
                    let words = &bucket.words[stretch.start as usize..stretch.end as usize];
                    if !self.clean_words(words, bucket.base, packing, transactions, whole) {
                        let mut unpacked = std::mem::take(&mut self.unpacked);
                        unpacked.clear();
                        packing.unpack_all(bucket.base, words, &mut unpacked);
                        self.clean_rows(&unpacked, 0..words.len() as u32, &[], transactions, rejected, whole);
                        self.unpacked = unpacked;
                    }
                }
                _ => self.clean_rows(rows, stretch, &text_starts, transactions, rejected, whole),
            }
        }
        whole.ids = ids(rows, &text_starts, &self.customers, &transactions.keys);
    }

    /// Appends a stretch of rows by column, sorted and cleaned.
    fn clean_rows(
        &mut self,
        rows: &Rows,
        stretch: Range<u32>,
        text_starts: &[usize],
        transactions: &Transactions,
        rejected: &mut Rejected,
        whole: &mut WholeCustomers,
    ) {
        self.sort(rows, stretch, text_starts, transactions);
        self.keep(rows, text_starts, transactions, rejected, whole);
        whole.gather(rows, &self.order.rows, transactions);
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
                self.customers.push(Customer::of(rows, self.order.rows[first_kept]));
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
