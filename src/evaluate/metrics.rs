//! How good the lists of many customers are.
//!
//! [`super::lists`] says how one list is judged and which conventions hold. Here the marks of the
//! customers of a group become figures: a [`Tally`] for all customers, one for each segment, one for
//! each class of history length. A customer is judged once and added to every tally it belongs to.
//!
//! A figure is the mean over the customers that have something to measure. Revenue recall is the
//! exception: the money of all hits over the money of all truths, so that a customer counts by what
//! it spent. Beside the means stand three figures of the lists as a set (Shani and Gunawardana 2011,
//! "Evaluating recommendation systems", Recommender Systems Handbook): the share of the catalogue
//! that is listed for anybody, the Gini index of how often each package is listed, and the share of
//! customers that get the same list.

use serde::Serialize;

use super::lists::check_cutoffs;
pub use super::lists::{Catalogue, Judge, Judged, Marks, Metric, MetricsError, Truth};

/// Names of the classes of history length, by [`history_class`].
pub const HISTORY_CLASSES: [&str; 5] = ["0", "1", "2", "3–5", "6+"];

/// The class, as a position in [`HISTORY_CLASSES`], of a customer with so many purchases before the
/// window.
pub fn history_class(purchases: usize) -> usize {
    match purchases {
        0..=2 => purchases,
        3..=5 => 3,
        _ => 4,
    }
}

/// A mean in the making.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// The marks of a group of customers, summed.
///
/// Sums are 64-bit floats in the order of the calls: add customers in one fixed order, and merge
/// tallies of fixed parts in one fixed order, and the bits do not depend on threads. Sums of money are
/// exact up to 2^53 minor units.
///
/// Memory: for each cut-off 4 bytes for each package and 8 for each customer.
#[derive(Debug, Clone)]
pub struct Tally {
    cutoffs: Vec<usize>,
    packages: usize,
    customers: u64,
    /// By cut-off, then by metric.
    means: Vec<[Mean; Metric::ALL.len()]>,
    /// By cut-off, then by package: how many lists hold it at a rank after the cut-off before and up
    /// to this one. A list is counted once for each of its places, however many cut-offs there are.
    exposure: Vec<Vec<u32>>,
    /// By cut-off: the hash of every customer's list.
    hashes: Vec<Vec<u64>>,
}

impl Tally {
    /// An empty tally for lists over `packages` packages, judged at `cutoffs` (positive, ascending).
    pub fn new(cutoffs: &[usize], packages: usize) -> Result<Self, MetricsError> {
        check_cutoffs(cutoffs)?;
        Ok(Self {
            cutoffs: cutoffs.to_vec(),
            packages,
            customers: 0,
            means: vec![Default::default(); cutoffs.len()],
            exposure: vec![vec![0; packages]; cutoffs.len()],
            hashes: vec![Vec::new(); cutoffs.len()],
        })
    }

    /// Adds one customer, judged at the same cut-offs. An error leaves the tally as it was.
    pub fn add(&mut self, judged: &Judged<'_>) -> Result<(), MetricsError> {
        if !judged.marks.iter().map(|marks| marks.k).eq(self.cutoffs.iter().copied()) {
            let other_cutoffs = judged.marks.iter().map(|marks| marks.k).collect();
            return Err(self.shape_error(self.packages, other_cutoffs));
        }
        let packages = self.packages;
        if let Some(&package) = judged.list.iter().find(|&&package| package as usize >= packages) {
            return Err(MetricsError::Package { package, packages });
        }
        self.customers += 1;
        let mut first = 0;
        for (at, marks) in judged.marks.iter().enumerate() {
            for (mean, metric) in self.means[at].iter_mut().zip(Metric::ALL) {
                if let Some(value) = marks.get(metric) {
                    mean.sum += value;
                    mean.count += 1;
                }
            }
            self.hashes[at].push(marks.list_hash);
            let last = judged.list.len().min(marks.k);
            for &package in &judged.list[first..last] {
                let count = &mut self.exposure[at][package as usize];
                *count = count.saturating_add(1);
            }
            first = last;
        }
        Ok(())
    }

    /// Adds the customers of another tally behind those of this one. An error leaves it as it was.
    pub fn merge(&mut self, other: Self) -> Result<(), MetricsError> {
        if (&self.cutoffs, self.packages) != (&other.cutoffs, other.packages) {
            return Err(self.shape_error(other.packages, other.cutoffs));
        }
        self.customers += other.customers;
        for (mean, other) in self.means.iter_mut().flatten().zip(other.means.into_iter().flatten()) {
            mean.sum += other.sum;
            mean.count += other.count;
        }
        for (count, other) in self.exposure.iter_mut().flatten().zip(other.exposure.into_iter().flatten()) {
            *count = count.saturating_add(other);
        }
        for (hashes, other) in self.hashes.iter_mut().zip(other.hashes) {
            hashes.extend(other);
        }
        Ok(())
    }

    /// How many customers were added.
    pub fn customers(&self) -> u64 {
        self.customers
    }

    /// The cut-offs, ascending.
    pub fn cutoffs(&self) -> &[usize] {
        &self.cutoffs
    }

    /// The figures at one of the cut-offs. Cost: a sort of the customers' list hashes and one of the
    /// packages, both copied for it.
    pub fn figures(&self, k: usize) -> Result<Figures, MetricsError> {
        let Ok(at) = self.cutoffs.binary_search(&k) else {
            return Err(MetricsError::UnknownCutoff { k, cutoffs: self.cutoffs.clone() });
        };
        let of = |metric: Metric| self.means[at][metric as usize];
        let value = |metric| of(metric).value();
        let (hit_money, truth_money) = (of(Metric::HitMoney).sum, of(Metric::TruthMoney).sum);
        let exposure = (0..self.packages)
            .map(|package| self.exposure[..=at].iter().map(|counts| u64::from(counts[package])).sum())
            .collect::<Vec<u64>>();
        let listed = exposure.iter().filter(|&&count| count > 0).count();
        Ok(Figures {
            k,
            customers: self.customers,
            precision: value(Metric::Precision),
            recall: value(Metric::Recall),
            hit: value(Metric::Hit),
            ndcg: value(Metric::Ndcg),
            ndcg_full: value(Metric::NdcgFull),
            map: value(Metric::AveragePrecision),
            repeat_recall: value(Metric::RepeatRecall),
            repeat_customers: of(Metric::RepeatRecall).count,
            explore_recall: value(Metric::ExploreRecall),
            explore_customers: of(Metric::ExploreRecall).count,
            repeat_share_of_truth: value(Metric::RepeatShareOfTruth),
            repeat_share_of_list: value(Metric::RepeatShareOfList),
            hit_money: hit_money as i64,
            truth_money: truth_money as i64,
            revenue_recall: (truth_money > 0.0).then(|| hit_money / truth_money),
            upsell_recall: value(Metric::UpsellRecall),
            upsell_customers: of(Metric::UpsellRecall).count,
            novelty: value(Metric::Novelty),
            coverage: (self.customers > 0 && self.packages > 0).then(|| listed as f64 / self.packages as f64),
            gini: gini(exposure),
            same_for_all: largest_share(self.hashes[at].clone()),
        })
    }

    fn shape_error(&self, other_packages: usize, other_cutoffs: Vec<usize>) -> MetricsError {
        let (packages, cutoffs) = (self.packages, self.cutoffs.clone());
        MetricsError::Shape { packages, cutoffs, other_packages, other_cutoffs }
    }
}

/// The figures of a group of customers at one cut-off; `None` where nobody had anything to measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    pub k: usize,
    pub customers: u64,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    /// Share of customers with a hit or more.
    pub hit: Option<f64>,
    /// Against the best that k places can hold.
    pub ndcg: Option<f64>,
    /// Against the whole truth listed first, also beyond k.
    pub ndcg_full: Option<f64>,
    /// Mean average precision.
    pub map: Option<f64>,
    /// Recall of packages bought before, and over how many customers.
    pub repeat_recall: Option<f64>,
    pub repeat_customers: u64,
    /// Recall of packages not bought before, and over how many customers.
    pub explore_recall: Option<f64>,
    pub explore_customers: u64,
    /// Share of what was bought, and of what was listed, that had been bought before.
    pub repeat_share_of_truth: Option<f64>,
    pub repeat_share_of_list: Option<f64>,
    /// Paid in the window for the hits and for everything, minor units.
    pub hit_money: i64,
    pub truth_money: i64,
    /// `hit_money` over `truth_money`.
    pub revenue_recall: Option<f64>,
    /// Recall of packages priced above the customer's usual price, and over how many customers.
    pub upsell_recall: Option<f64>,
    pub upsell_customers: u64,
    /// Mean self-information of the listed packages, bits.
    pub novelty: Option<f64>,
    /// Share of the packages that are listed for a customer or more.
    pub coverage: Option<f64>,
    /// 0: every package is listed equally often; near 1: a few take all the places. Packages that are
    /// never listed count.
    pub gini: Option<f64>,
    /// Share of the customers that get the most frequent list, the order included.
    pub same_for_all: Option<f64>,
}

/// The Gini index of counts, (Σ (2 i − n − 1) x_i) / (n Σ x) over ascending x; none without a count.
/// Integers until the division: exact in any order.
fn gini(mut counts: Vec<u64>) -> Option<f64> {
    counts.sort_unstable();
    let n = counts.len() as i128;
    let total: i128 = counts.iter().map(|&count| i128::from(count)).sum();
    let weighted: i128 = (1..).zip(&counts).map(|(i, &count)| (2 * i - n - 1) * i128::from(count)).sum();
    (total > 0).then(|| weighted as f64 / (n * total) as f64)
}

/// The share of the most frequent value.
fn largest_share(mut values: Vec<u64>) -> Option<f64> {
    values.sort_unstable();
    let largest = values.chunk_by(|a, b| a == b).map(<[u64]>::len).max()?;
    Some(largest as f64 / values.len() as f64)
}

/// Chosen metrics kept for every customer, as [`super::bootstrap`] takes them.
///
/// For an interval of revenue recall keep [`Metric::HitMoney`] and, as denominators,
/// [`Metric::TruthMoney`]. Memory: 4 bytes for each customer and chosen metric.
#[derive(Debug, Clone)]
pub struct Columns {
    chosen: Vec<(usize, Metric)>,
    values: Vec<Vec<f32>>,
}

impl Columns {
    /// Keeps each `(cut-off, metric)`.
    pub fn new(chosen: &[(usize, Metric)]) -> Self {
        Self { chosen: chosen.to_vec(), values: vec![Vec::new(); chosen.len()] }
    }

    /// Adds one customer; the position in the columns is that of the call. An error when a cut-off was
    /// not judged, and then nothing is added.
    pub fn push(&mut self, judged: &Judged<'_>) -> Result<(), MetricsError> {
        let marks_at = |k| {
            let unknown = || {
                let cutoffs = judged.marks.iter().map(|marks| marks.k).collect();
                MetricsError::UnknownCutoff { k, cutoffs }
            };
            judged.marks.iter().find(|marks| marks.k == k).ok_or_else(unknown)
        };
        let row = self.chosen.iter().map(|&(k, metric)| Ok(marks_at(k)?.column_value(metric)));
        let row = row.collect::<Result<Vec<f32>, MetricsError>>()?;
        for (column, value) in self.values.iter_mut().zip(row) {
            column.push(value);
        }
        Ok(())
    }

    /// A value for each customer, NaN where there was nothing to measure; `None` if it was not kept.
    pub fn get(&self, k: usize, metric: Metric) -> Option<&[f32]> {
        let at = self.chosen.iter().position(|&chosen| chosen == (k, metric))?;
        self.values.get(at).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests;
