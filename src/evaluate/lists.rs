//! How good one ranked list is for one customer.
//!
//! A list holds packages, best first. The truth is what the customer bought in the window that the
//! list was made for. For every cut-off k only the first k packages of the list count. Conventions,
//! where books and libraries differ:
//!
//! - Ranks start at 1; a hit at rank r is worth 1 / log2(r + 1) (Järvelin and Kekäläinen 2002,
//!   "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20). A package is bought or not:
//!   amounts and repetitions do not make it worth more.
//! - A list shorter than k has misses in the empty places: precision divides by k. An empty list has
//!   0 wherever the truth is the denominator, and no share of its own and no novelty.
//! - There are two ideals for NDCG. [`Metric::Ndcg`] divides by the best that k places can hold, so
//!   that a perfect list has 1. [`Metric::NdcgFull`] divides by the gain of the whole truth listed
//!   first, also beyond k: with a truth larger than k a perfect list stays below 1.
//! - Average precision sums the precision at every hit among the first k and divides by
//!   min(|truth|, k) (Manning, Raghavan and Schütze 2008, "Introduction to Information Retrieval",
//!   section 8.4, cut at k).
//! - "Repeat" and "explore" are the packages of the truth that the customer had and had not bought
//!   before (Li, Jullien, Ariannezhad and de Rijke 2023, "A next basket recommendation reality
//!   check", ACM TOIS 41). A customer without any of a kind has no recall of it, not 0.
//! - Novelty is the mean self-information −log2(popularity) of the listed packages, in bits (Zhou et
//!   al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 107).
//!   A package that nobody had bought has no finite one and is left out of the mean.

use serde::Serialize;

use crate::numerics::random::hash_u64;

/// What one customer bought in the window, and what was known before it.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// Bought in the window: ascending, distinct, not empty.
    pub packages: &'a [u32],
    /// Paid in the window for each of `packages`, in minor units, 0 or more.
    pub amounts: &'a [i64],
    /// Bought before the window: ascending, distinct.
    pub known: &'a [u32],
    /// What the customer usually pays for a package, in minor units; 0 when that is unknown.
    pub usual_price: f64,
}

/// What is known about the packages before the window; the position is the package number.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue<'a> {
    /// Minor units; `None` when unknown.
    pub prices: &'a [Option<i64>],
    /// Share of the customers that had bought it, 0 to 1.
    pub popularity: &'a [f64],
}

/// Why a list cannot be judged or tallied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MetricsError {
    #[error("there is no cut-off to judge lists at")]
    NoCutoffs,
    #[error("cut-offs must be positive and ascending, but {k} follows {previous}")]
    Cutoffs { previous: usize, k: usize },
    #[error("lists are not judged at {k}, only at {cutoffs:?}")]
    UnknownCutoff { k: usize, cutoffs: Vec<usize> },
    #[error("the truth is empty: a customer who bought nothing cannot be judged")]
    EmptyTruth,
    #[error("{packages} packages were bought but {amounts} amounts are given")]
    Amounts { packages: usize, amounts: usize },
    #[error("package {package} has the amount {amount}, below 0")]
    Amount { package: u32, amount: i64 },
    #[error("the packages {of} must be ascending and distinct, but {package} follows {previous}")]
    Order { of: &'static str, previous: u32, package: u32 },
    #[error("the usual price is {price}, not a finite number of 0 or more")]
    UsualPrice { price: f64 },
    #[error("the catalogue has {prices} prices but {popularity} popularities")]
    Catalogue { prices: usize, popularity: usize },
    #[error("package {package} is not among the {packages} of the catalogue")]
    Package { package: u32, packages: usize },
    #[error("package {package} has the popularity {share}, not a share between 0 and 1")]
    Popularity { package: u32, share: f64 },
    #[error("the list holds package {package} twice")]
    Twice { package: u32 },
    #[error(
        "a tally over {packages} packages at {cutoffs:?} cannot take in {other_packages} at {other_cutoffs:?}"
    )]
    Shape { packages: usize, cutoffs: Vec<usize>, other_packages: usize, other_cutoffs: Vec<usize> },
}

/// What is measured of a list at a cut-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Hits over k.
    Precision,
    /// Hits over the packages of the truth.
    Recall,
    /// 1 with a hit or more, else 0.
    Hit,
    /// Discounted gain over that of the whole truth.
    NdcgFull,
    /// Discounted gain over the largest that k places can hold.
    Ndcg,
    /// Precision at the hits over min(|truth|, k); its mean over customers is MAP at k.
    AveragePrecision,
    /// Recall of the packages bought before; none when the truth holds none.
    RepeatRecall,
    /// Recall of the packages not bought before; none when the truth holds none.
    ExploreRecall,
    /// Share of the truth that was bought before; the same for every k.
    RepeatShareOfTruth,
    /// Share of the listed packages that were bought before; none for an empty list.
    RepeatShareOfList,
    /// Paid in the window for the hits, minor units.
    HitMoney,
    /// Paid in the window for the whole truth, minor units; the same for every k.
    TruthMoney,
    /// Recall of the packages priced above what the customer usually pays; none when the truth holds
    /// none or the usual price is unknown. A package without a price is not one of them.
    UpsellRecall,
    /// Mean self-information of the listed packages, bits; none when none has a popularity.
    Novelty,
}

const METRICS: usize = Metric::ALL.len();

impl Metric {
    pub const ALL: [Self; 14] = [
        Self::Precision,
        Self::Recall,
        Self::Hit,
        Self::NdcgFull,
        Self::Ndcg,
        Self::AveragePrecision,
        Self::RepeatRecall,
        Self::ExploreRecall,
        Self::RepeatShareOfTruth,
        Self::RepeatShareOfList,
        Self::HitMoney,
        Self::TruthMoney,
        Self::UpsellRecall,
        Self::Novelty,
    ];
}

/// The measurements of one list at one cut-off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marks {
    pub k: usize,
    /// Of the first k packages in their order: equal lists have equal hashes, and different ones
    /// differ but for one pair in 2^64.
    pub list_hash: u64,
    values: [Option<f64>; METRICS],
}

impl Marks {
    /// The value, or `None` where this customer has nothing to measure.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        // The array is as long as the enum, so the position is always there.
        self.values[metric as usize]
    }

    /// The value as [`super::bootstrap`] takes it: NaN where there is nothing to measure.
    pub fn column_value(&self, metric: Metric) -> f32 {
        self.get(metric).map_or(f32::NAN, |value| value as f32)
    }
}

/// One customer's list with its marks.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The list as far as the largest cut-off.
    pub list: &'a [u32],
    /// One for each cut-off, ascending.
    pub marks: &'a [Marks],
}

/// Judges lists at fixed cut-offs; a thread has its own.
///
/// Memory: the marks of one list and 8 bytes for each package of the largest truth so far.
#[derive(Debug, Clone)]
pub struct Judge {
    cutoffs: Vec<usize>,
    /// Gain of n hits at the first n ranks, by n.
    ideal: Vec<f64>,
    marks: Vec<Marks>,
}

impl Judge {
    /// At these cut-offs, which must be positive and ascending.
    pub fn new(cutoffs: &[usize]) -> Result<Self, MetricsError> {
        check_cutoffs(cutoffs)?;
        Ok(Self { cutoffs: cutoffs.to_vec(), ideal: vec![0.0], marks: Vec::new() })
    }

    /// The marks of `list` (package numbers, best first, each at most once) for one customer.
    ///
    /// Cost: for each of the first packages, as many as the largest cut-off, two binary searches and
    /// a look at those before it; one pass over the truth and over the known packages.
    pub fn judge<'a>(
        &'a mut self,
        list: &'a [u32],
        truth: &Truth<'_>,
        catalogue: &Catalogue<'_>,
    ) -> Result<Judged<'a>, MetricsError> {
        let whole = Whole::new(truth, catalogue)?;
        let longest = self.cutoffs.last().copied().unwrap_or(0);
        let list = &list[..list.len().min(longest)];
        let needed = truth.packages.len().max(longest);
        while let Some(&sum) = self.ideal.last()
            && self.ideal.len() <= needed
        {
            self.ideal.push(sum + gain(self.ideal.len()));
        }
        self.marks.clear();
        let mut seen = Seen::default();
        for &k in &self.cutoffs {
            while seen.listed < list.len().min(k) {
                if let Some(package) = list[..seen.listed].iter().find(|&other| *other == list[seen.listed]) {
                    return Err(MetricsError::Twice { package: *package });
                }
                seen.take(list[seen.listed], truth, catalogue)?;
            }
            let ideal = [truth.packages.len(), truth.packages.len().min(k)].map(|n| self.ideal[n]);
            self.marks.push(seen.marks(k, &whole, ideal));
        }
        Ok(Judged { list, marks: &self.marks })
    }
}

/// What a hit at a rank (from 1) is worth.
fn gain(rank: usize) -> f64 {
    1.0 / ((rank + 1) as f64).log2()
}

/// Cut-offs are positive and ascend.
pub(super) fn check_cutoffs(cutoffs: &[usize]) -> Result<(), MetricsError> {
    let mut previous = 0;
    for &k in cutoffs {
        if k <= previous {
            return Err(MetricsError::Cutoffs { previous, k });
        }
        previous = k;
    }
    if cutoffs.is_empty() { Err(MetricsError::NoCutoffs) } else { Ok(()) }
}

/// The truth counted up: the denominators.
struct Whole {
    packages: usize,
    repeat: usize,
    upsell: usize,
    money: f64,
}

impl Whole {
    fn new(truth: &Truth<'_>, catalogue: &Catalogue<'_>) -> Result<Self, MetricsError> {
        check(truth, catalogue)?;
        let mut whole = Self { packages: truth.packages.len(), repeat: 0, upsell: 0, money: 0.0 };
        for (&package, &amount) in truth.packages.iter().zip(truth.amounts) {
            whole.repeat += usize::from(truth.is_known(package));
            whole.upsell += usize::from(truth.is_upsell(package, catalogue)?);
            whole.money += amount as f64;
        }
        Ok(whole)
    }
}

fn check(truth: &Truth<'_>, catalogue: &Catalogue<'_>) -> Result<(), MetricsError> {
    let Truth { packages, amounts, known, usual_price } = *truth;
    let Catalogue { prices, popularity } = *catalogue;
    if prices.len() != popularity.len() {
        return Err(MetricsError::Catalogue { prices: prices.len(), popularity: popularity.len() });
    }
    if packages.is_empty() {
        return Err(MetricsError::EmptyTruth);
    }
    if packages.len() != amounts.len() {
        return Err(MetricsError::Amounts { packages: packages.len(), amounts: amounts.len() });
    }
    for (of, sorted) in [("of the truth", packages), ("bought before", known)] {
        if let Some((&previous, &package)) =
            sorted.iter().zip(&sorted[1.min(sorted.len())..]).find(|(a, b)| a >= b)
        {
            return Err(MetricsError::Order { of, previous, package });
        }
    }
    if let Some((&package, &amount)) = packages.iter().zip(amounts).find(|&(_, &amount)| amount < 0) {
        return Err(MetricsError::Amount { package, amount });
    }
    if !(usual_price.is_finite() && usual_price >= 0.0) {
        return Err(MetricsError::UsualPrice { price: usual_price });
    }
    Ok(())
}

impl Truth<'_> {
    fn is_known(&self, package: u32) -> bool {
        self.known.binary_search(&package).is_ok()
    }

    fn is_upsell(&self, package: u32, catalogue: &Catalogue<'_>) -> Result<bool, MetricsError> {
        let packages = catalogue.prices.len();
        let price =
            catalogue.prices.get(package as usize).ok_or(MetricsError::Package { package, packages })?;
        Ok(self.usual_price > 0.0 && price.is_some_and(|price| price as f64 > self.usual_price))
    }
}

/// What the first places of a list hold.
#[derive(Default)]
struct Seen {
    listed: usize,
    known: usize,
    hits: usize,
    repeat_hits: usize,
    upsell_hits: usize,
    gain: f64,
    precisions: f64,
    money: f64,
    /// Sum of the self-information, and of how many packages.
    bits: f64,
    informed: usize,
    hash: u64,
}

impl Seen {
    /// Takes in the package of the next rank.
    fn take(
        &mut self,
        package: u32,
        truth: &Truth<'_>,
        catalogue: &Catalogue<'_>,
    ) -> Result<(), MetricsError> {
        let packages = catalogue.popularity.len();
        let share =
            *catalogue.popularity.get(package as usize).ok_or(MetricsError::Package { package, packages })?;
        if !(0.0..=1.0).contains(&share) {
            return Err(MetricsError::Popularity { package, share });
        }
        self.listed += 1;
        self.hash = hash_u64(u64::from(package) + 1, self.hash);
        if share > 0.0 {
            self.bits -= share.log2();
            self.informed += 1;
        }
        let known = truth.is_known(package);
        self.known += usize::from(known);
        if let Ok(at) = truth.packages.binary_search(&package) {
            self.hits += 1;
            self.repeat_hits += usize::from(known);
            self.upsell_hits += usize::from(truth.is_upsell(package, catalogue)?);
            self.gain += gain(self.listed);
            self.precisions += self.hits as f64 / self.listed as f64;
            self.money += truth.amounts[at] as f64;
        }
        Ok(())
    }

    fn marks(&self, k: usize, whole: &Whole, [full_ideal, capped_ideal]: [f64; 2]) -> Marks {
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        let explore = whole.packages - whole.repeat;
        let value = |metric| match metric {
            Metric::Precision => share(self.hits, k),
            Metric::Recall => share(self.hits, whole.packages),
            Metric::Hit => Some(if self.hits > 0 { 1.0 } else { 0.0 }),
            Metric::NdcgFull => Some(self.gain / full_ideal),
            Metric::Ndcg => Some(self.gain / capped_ideal),
            Metric::AveragePrecision => Some(self.precisions / whole.packages.min(k) as f64),
            Metric::RepeatRecall => share(self.repeat_hits, whole.repeat),
            Metric::ExploreRecall => share(self.hits - self.repeat_hits, explore),
            Metric::RepeatShareOfTruth => share(whole.repeat, whole.packages),
            Metric::RepeatShareOfList => share(self.known, self.listed),
            Metric::HitMoney => Some(self.money),
            Metric::TruthMoney => Some(whole.money),
            Metric::UpsellRecall => share(self.upsell_hits, whole.upsell),
            Metric::Novelty => (self.informed > 0).then(|| self.bits / self.informed as f64),
        };
        Marks { k, list_hash: self.hash, values: Metric::ALL.map(value) }
    }
}

#[cfg(test)]
mod tests;
