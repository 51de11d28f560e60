//! The last day that a model may see, and whole customers kept for a look at earlier days.

use super::whole_customers::{Cleaned, WholeCustomers};
use super::{Transactions, times};
use crate::numerics::sample::HashSample;
use crate::tables::CustomerType;
use arrow::array::{Array, ArrayRef, Int64Array, StringArray, UInt32Array};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

/// The last day that a model may see. Features, and with them everything that is fitted, can only be
/// made up to one, so that a backtest cannot forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cutoff {
    day: i64,
}

impl Cutoff {
    /// The end of the data: what a run sees.
    pub fn end(transactions: &Transactions) -> Self {
        Self { day: transactions.as_of_day }
    }

    /// A cut-off that many days earlier.
    pub fn back(self, days: u32) -> Self {
        Self { day: self.day - i64::from(days) }
    }

    /// Days since 1970; the day itself is seen.
    pub fn day(self) -> i64 {
        self.day
    }

    /// The days after it that a window of `days` days covers.
    pub fn window(self, days: u32) -> RangeInclusive<i64> {
        self.day + 1..=self.day + i64::from(days)
    }
}

/// One row of a sampled customer.
#[derive(Debug, Clone, Copy)]
pub struct SampledRow {
    pub seconds: u32,
    /// Rank of the package code.
    pub package: i32,
    /// Rank of the channel, −1 without one.
    pub channel: i32,
    pub quantity: f32,
    /// Minor units.
    pub amount: i64,
}

impl SampledRow {
    /// Days since 1970.
    pub fn day(&self) -> i64 {
        i64::from(self.seconds) / times::DAY
    }

    /// A return is no purchase.
    pub fn is_purchase(&self) -> bool {
        self.amount >= 0 && self.quantity >= 0.0
    }
}

/// A sample is divided into about so many units, so that every thread has some.
const UNITS: usize = 16;
/// Rows of a unit at the least: each has files of its own.
const LEAST_IN_UNIT: usize = 2_000;

/// Whole customers of a hash sample with all their rows, in the order of their ids. Memory: 24 bytes a
/// row.
#[derive(Debug, Default)]
pub struct SampledCustomers {
    ids: Vec<Box<[u8]>>,
    rows: Vec<Box<[SampledRow]>>,
}

/// A sample while it is collected.
pub type CustomerSampler = HashSample<Box<[SampledRow]>>;

impl SampledCustomers {
    /// What a source has sampled on the way; nobody without a sampler.
    pub fn of(sampler: Option<Mutex<CustomerSampler>>, customer_type: CustomerType) -> Self {
        sampler.map_or_else(Self::default, |sampler| {
            let sampler = sampler.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            Self::new(sampler, customer_type)
        })
    }

    /// Ends the sampling.
    pub fn new(sampler: CustomerSampler, customer_type: CustomerType) -> Self {
        let sampled = sampler.into_sorted().into_iter();
        let mut customers: Vec<_> = sampled.map(|one| (one.key, one.payload)).collect();
        match customer_type {
            CustomerType::Integer => customers.sort_by_key(|(id, _)| number(id)),
            CustomerType::Text => customers.sort_by(|(a, _), (b, _)| a.cmp(b)),
        }
        let (ids, rows) = customers.into_iter().unzip();
        Self { ids, rows }
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The customer's id as text.
    pub fn id(&self, customer: usize) -> &[u8] {
        &self.ids[customer]
    }

    /// By time, then package.
    pub fn rows(&self, customer: usize) -> &[SampledRow] {
        &self.rows[customer]
    }

    /// The rows that `keep` wants, given the customer's position here; customers without any are left
    /// out. Memory: the rows that stay once more.
    pub fn filtered(&self, keep: impl Fn(usize, &SampledRow) -> bool) -> Self {
        let mut kept = Self::default();
        for (customer, (id, rows)) in self.ids.iter().zip(&self.rows).enumerate() {
            let rows: Box<[SampledRow]> = rows.iter().filter(|row| keep(customer, row)).copied().collect();
            if !rows.is_empty() {
                kept.ids.push(id.clone());
                kept.rows.push(rows);
            }
        }
        kept
    }

    /// Rows of every channel up to each customer's last known day, by rank of the channel.
    pub fn channel_rows(&self, last_day: impl Fn(usize) -> i64, channels: usize) -> Vec<u64> {
        let mut counts = vec![0; channels];
        for (customer, rows) in self.rows.iter().enumerate() {
            let last = last_day(customer);
            for row in rows.iter().take_while(|row| row.day() <= last) {
                if let Some(count) = usize::try_from(row.channel).ok().and_then(|rank| counts.get_mut(rank)) {
                    *count += 1;
                }
            }
        }
        counts
    }

    /// The sample in units of at most about `rows_per_unit` rows, each customer's rows up to
    /// `last_day(customer)`; customers without a row by then are left out.
    pub fn until(
        &self,
        last_day: impl Fn(usize) -> i64,
        rows_per_unit: usize,
        customer_type: CustomerType,
    ) -> Vec<WholeCustomers> {
        let all: usize = self.rows.iter().map(|rows| rows.len()).sum();
        let rows_per_unit = rows_per_unit.min((all / UNITS).max(LEAST_IN_UNIT));
        let mut units = Vec::new();
        let mut kept: Vec<(usize, usize)> = Vec::new();
        let mut rows = 0;
        for (customer, all) in self.rows.iter().enumerate() {
            let last = last_day(customer);
            let seen = all.partition_point(|row| row.day() <= last);
            if seen > 0 {
                kept.push((customer, seen));
                rows += seen;
            }
            if rows >= rows_per_unit {
                units.push(self.unit(&kept, rows, customer_type));
                kept.clear();
                rows = 0;
            }
        }
        if !kept.is_empty() {
            units.push(self.unit(&kept, rows, customer_type));
        }
        units
    }

    fn unit(&self, kept: &[(usize, usize)], rows: usize, customer_type: CustomerType) -> WholeCustomers {
        let ids: ArrayRef = match customer_type {
            CustomerType::Integer => {
                Arc::new(Int64Array::from_iter_values(kept.iter().map(|(at, _)| number(&self.ids[*at]))))
            }
            CustomerType::Text => Arc::new(StringArray::from_iter_values(
                kept.iter().map(|(at, _)| String::from_utf8_lossy(&self.ids[*at]).into_owned()),
            )),
        };
        let mut whole = WholeCustomers::with_capacity(ids, rows);
        for (number, (customer, seen)) in kept.iter().enumerate() {
            for row in &self.rows[*customer][..*seen] {
                whole.push(number as i32, row);
            }
        }
        whole
    }
}

fn number(id: &[u8]) -> i64 {
    std::str::from_utf8(id).ok().and_then(|text| text.parse().ok()).unwrap_or(i64::MAX)
}

impl WholeCustomers {
    fn with_capacity(ids: ArrayRef, rows: usize) -> Self {
        Self {
            ids,
            customers: Vec::with_capacity(rows),
            seconds: Vec::with_capacity(rows),
            packages: Vec::with_capacity(rows),
            channels: Vec::with_capacity(rows),
            amounts: Vec::with_capacity(rows),
            quantities: Vec::with_capacity(rows),
            cleaned: Cleaned::default(),
        }
    }

    fn push(&mut self, customer: i32, row: &SampledRow) {
        self.customers.push(customer);
        self.seconds.push(row.seconds);
        self.packages.push(row.package);
        self.channels.push(row.channel);
        self.amounts.push(row.amount);
        self.quantities.push(row.quantity);
    }

    fn row(&self, at: usize) -> SampledRow {
        SampledRow {
            seconds: self.seconds[at],
            package: self.packages[at],
            channel: self.channels[at],
            quantity: self.quantities[at],
            amount: self.amounts[at],
        }
    }

    /// The rows of every customer, in the order of `ids`.
    pub fn stretches(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + '_ {
        let mut start = 0;
        (0..self.ids.len()).map(move |customer| {
            let rows = self.customers[start..].iter().take_while(|owner| **owner == customer as i32).count();
            start += rows;
            (customer, start - rows..start)
        })
    }

    /// Offers every customer with all its rows to a sample.
    pub fn offer_to(&self, sampler: &Mutex<CustomerSampler>) {
        let mut sampler = sampler.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (customer, rows) in self.stretches() {
            let id = crate::engine::part::id_text(self.ids.as_ref(), customer);
            sampler.offer(id.as_bytes(), || rows.map(|at| self.row(at)).collect());
        }
    }

    /// Only the rows up to a cut-off; customers without any are left out.
    pub fn until(self, cutoff: Cutoff) -> Self {
        let seen = |at: usize| i64::from(self.seconds[at]) / times::DAY <= cutoff.day;
        if (0..self.len()).all(seen) {
            return self;
        }
        let mut kept: Vec<(u32, std::ops::Range<usize>)> = Vec::new();
        for (customer, rows) in self.stretches() {
            // Rows come by time, so what is seen comes first.
            let end = rows.clone().find(|at| !seen(*at)).unwrap_or(rows.end);
            if end > rows.start {
                kept.push((customer as u32, rows.start..end));
            }
        }
        let positions = UInt32Array::from_iter_values(kept.iter().map(|(customer, _)| *customer));
        let ids = arrow::compute::take(&self.ids, &positions, None).unwrap_or_else(|_| self.ids.slice(0, 0));
        let mut whole = Self::with_capacity(ids, kept.iter().map(|(_, rows)| rows.len()).sum());
        whole.cleaned = self.cleaned;
        for (number, (_, rows)) in kept.into_iter().enumerate() {
            for at in rows {
                whole.push(number as i32, &self.row(at));
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(rows: &[(i32, i64, i32)], customers: i64) -> WholeCustomers {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..customers).map(|id| id * 7)));
        let mut whole = WholeCustomers::with_capacity(ids, rows.len());
        for (customer, day, package) in rows {
            let seconds = (day * times::DAY + 5) as u32;
            let row = SampledRow { seconds, package: *package, channel: -1, quantity: 1.0, amount: 3 };
            whole.push(*customer, &row);
        }
        whole
    }

    fn shown(whole: &WholeCustomers) -> Vec<(String, i32)> {
        (0..whole.len())
            .map(|at| {
                let id = crate::engine::part::id_text(whole.ids.as_ref(), whole.customers[at] as usize);
                (id, whole.packages[at])
            })
            .collect()
    }

    #[test]
    fn nothing_after_the_cutoff_is_left_and_late_customers_are_gone() {
        let rows = [(0, 1, 10), (0, 5, 11), (1, 6, 12), (2, 2, 13), (2, 3, 14), (2, 9, 15)];
        let cut = whole(&rows, 3).until(Cutoff { day: 5 });
        assert_eq!(cut.ids.len(), 2);
        let expected = [("0", 10), ("0", 11), ("14", 13), ("14", 14)];
        assert_eq!(shown(&cut), expected.map(|(id, package)| (id.to_owned(), package)));
        assert_eq!(whole(&rows, 3).until(Cutoff { day: 9 }).len(), 6);
        assert!(whole(&rows, 3).until(Cutoff { day: 0 }).is_empty());
    }

    #[test]
    fn a_sample_gives_its_customers_back_as_of_any_day() {
        let sampler = Mutex::new(CustomerSampler::new(10, 1));
        whole(&[(0, 1, 10), (0, 5, 11), (1, 6, 12)], 2).offer_to(&sampler);
        let sample = SampledCustomers::new(sampler.into_inner().unwrap(), CustomerType::Integer);
        assert_eq!(sample.len(), 2);
        assert_eq!(sample.rows(1).len(), 1);
        let units = sample.until(|_| 6, 1, CustomerType::Integer);
        assert_eq!(units.len(), 2, "a unit holds one row at least");
        let one = sample.until(|_| 5, 1000, CustomerType::Integer);
        assert_eq!(one.len(), 1);
        assert_eq!(shown(&one[0]), [("0".to_owned(), 10), ("0".to_owned(), 11)]);
    }

    #[test]
    fn a_filter_takes_rows_and_the_customers_that_have_none_left() {
        let sampler = Mutex::new(CustomerSampler::new(10, 1));
        whole(&[(0, 1, 10), (0, 5, 11), (1, 6, 12), (2, 7, 10)], 3).offer_to(&sampler);
        let sample = SampledCustomers::new(sampler.into_inner().unwrap(), CustomerType::Integer);
        let left = sample.filtered(|customer, row| customer != 2 && row.package != 12);
        assert_eq!((left.len(), left.id(0)), (1, sample.id(0)));
        assert_eq!(left.rows(0).iter().map(|row| row.package).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(sample.filtered(|_, row| row.package == 10).len(), 2);
        assert!(sample.filtered(|_, _| false).is_empty());
    }
}
