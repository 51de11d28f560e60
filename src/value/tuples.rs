//! Distinct (x, t_x, T) with their customers, in bounded memory.
//!
//! A likelihood depends on a customer through its tuple alone, so a base of any size fits in as many
//! numbers as there are different tuples. Where even those are too many (years of days), customers are
//! halved by their hashes until the tuples fit. How often follows from the base, not from the order in
//! which it comes or from threads.

use super::models::summary::{PurchaseTuple, TimeUnit, TupleError, Tuples};
use super::purchases::PurchaseSummary;
use foldhash::fast::FixedState;
use std::collections::{BTreeMap, HashMap};

/// Counts of customers by tuple. Memory: about 48 bytes a tuple, `most` of them at the most.
#[derive(Debug, Clone)]
pub struct TupleCounts {
    most: usize,
    /// Customers whose hashes begin with fewer zero bits are left out.
    level: u32,
    /// By zero bits, x, t_x and T.
    counts: HashMap<[u32; 4], u64, FixedState>,
}

impl TupleCounts {
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), level: 0, counts: HashMap::default() }
    }

    /// Adds a customer by the hash of its id.
    pub fn add(&mut self, hash: u64, summary: &PurchaseSummary) {
        let level = hash.leading_zeros();
        if level >= self.level {
            *self.counts.entry([level, summary.frequency, summary.recency, summary.age]).or_default() += 1;
            self.shrink();
        }
    }

    /// Takes in what another thread counted.
    pub fn merge(&mut self, other: Self) {
        self.level = self.level.max(other.level);
        let level = self.level;
        self.counts.retain(|key, _| key[0] >= level);
        for (key, count) in other.counts.into_iter().filter(|(key, _)| key[0] >= level) {
            *self.counts.entry(key).or_default() += count;
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.counts.len() > self.most {
            self.level += 1;
            let level = self.level;
            self.counts.retain(|key, _| key[0] >= level);
        }
    }

    /// One customer in so many has been counted: 1, 2, 4, …
    pub fn one_in(&self) -> u64 {
        1 << self.level.min(63)
    }

    /// The tuples as models take them, times in `unit`.
    pub fn tuples(self, unit: TimeUnit) -> Result<Tuples, TupleError> {
        let mut distinct: BTreeMap<[u32; 3], u64> = BTreeMap::new();
        for ([_, x, t_x, t], customers) in self.counts {
            *distinct.entry([x, t_x, t]).or_default() += customers;
        }
        let rows = distinct.into_iter().map(|([x, t_x, t], customers)| PurchaseTuple {
            x,
            t_x: f64::from(t_x),
            t: f64::from(t),
            customers,
        });
        Tuples::new(unit, rows.collect())
    }
}
