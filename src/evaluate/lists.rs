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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRICES: [Option<i64>; 10] = [
        Some(100),
        Some(200),
        Some(300),
        Some(400),
        None,
        Some(600),
        Some(700),
        Some(800),
        Some(900),
        Some(1000),
    ];
    /// Exact powers of two, so that the bits can be checked by hand; package 9 nobody has bought.
    const POPULARITY: [f64; 10] = [0.5, 0.25, 0.125, 0.5, 0.25, 0.125, 0.0625, 1.0, 0.5, 0.0];
    const CATALOGUE: Catalogue<'_> = Catalogue { prices: &PRICES, popularity: &POPULARITY };
    /// Bought 1, 3, 4 and 6; had bought 0, 1 and 3 before at 250 on average: 3 and 6 cost more, 4 has
    /// no price.
    const TRUTH: Truth<'_> = Truth {
        packages: &[1, 3, 4, 6],
        amounts: &[200, 800, 50, 700],
        known: &[0, 1, 3],
        usual_price: 250.0,
    };

    fn marks(list: &[u32], truth: &Truth<'_>, cutoffs: &[usize]) -> Vec<Marks> {
        Judge::new(cutoffs).unwrap().judge(list, truth, &CATALOGUE).unwrap().marks.to_vec()
    }

    fn assert_marks(marks: &Marks, expected: &[(Metric, Option<f64>)]) {
        for &(metric, expected) in expected {
            match (marks.get(metric), expected) {
                (Some(value), Some(expected)) => {
                    assert!((value - expected).abs() < 1e-12, "{metric:?} at {}: {value}", marks.k);
                }
                (value, expected) => assert_eq!(value, expected, "{metric:?} at {}", marks.k),
            }
        }
    }

    fn log2(x: f64) -> f64 {
        x.log2()
    }

    /// The list 3 (hit, known), 0 (known), 6 (hit), 2, 1 (hit, known) against four bought.
    #[test]
    fn every_metric_worked_out_by_hand() {
        let at = marks(&[3, 0, 6, 2, 1], &TRUTH, &[1, 3, 5]);
        let full = 1.0 + 1.0 / log2(3.0) + 1.0 / 2.0 + 1.0 / log2(5.0);
        assert_marks(
            &at[0],
            &[
                (Metric::Precision, Some(1.0)),
                (Metric::Recall, Some(0.25)),
                (Metric::Hit, Some(1.0)),
                // The truth is larger than k: the two ideals differ.
                (Metric::NdcgFull, Some(1.0 / full)),
                (Metric::Ndcg, Some(1.0)),
                (Metric::AveragePrecision, Some(1.0)),
                (Metric::RepeatRecall, Some(0.5)),
                (Metric::ExploreRecall, Some(0.0)),
                (Metric::RepeatShareOfTruth, Some(0.5)),
                (Metric::RepeatShareOfList, Some(1.0)),
                (Metric::HitMoney, Some(800.0)),
                (Metric::TruthMoney, Some(1750.0)),
                (Metric::UpsellRecall, Some(0.5)),
                (Metric::Novelty, Some(1.0)),
            ],
        );
        let ideal_of_three = 1.0 + 1.0 / log2(3.0) + 0.5;
        assert_marks(
            &at[1],
            &[
                (Metric::Precision, Some(2.0 / 3.0)),
                (Metric::Recall, Some(0.5)),
                (Metric::NdcgFull, Some(1.5 / full)),
                (Metric::Ndcg, Some(1.5 / ideal_of_three)),
                // Precision 1 at rank 1 and 2/3 at rank 3, over min(4, 3).
                (Metric::AveragePrecision, Some((1.0 + 2.0 / 3.0) / 3.0)),
                (Metric::RepeatRecall, Some(0.5)),
                (Metric::ExploreRecall, Some(0.5)),
                (Metric::RepeatShareOfList, Some(2.0 / 3.0)),
                (Metric::HitMoney, Some(1500.0)),
                (Metric::UpsellRecall, Some(1.0)),
                (Metric::Novelty, Some((1.0 + 1.0 + 4.0) / 3.0)),
            ],
        );
        let gain = 1.5 + 1.0 / log2(6.0);
        assert_marks(
            &at[2],
            &[
                (Metric::Precision, Some(0.6)),
                (Metric::Recall, Some(0.75)),
                (Metric::NdcgFull, Some(gain / full)),
                // Four were bought: with k = 5 both ideals are the whole truth.
                (Metric::Ndcg, Some(gain / full)),
                (Metric::AveragePrecision, Some((1.0 + 2.0 / 3.0 + 0.6) / 4.0)),
                (Metric::RepeatRecall, Some(1.0)),
                (Metric::ExploreRecall, Some(0.5)),
                (Metric::RepeatShareOfList, Some(0.6)),
                (Metric::HitMoney, Some(1700.0)),
                (Metric::Novelty, Some((1.0 + 1.0 + 4.0 + 3.0 + 2.0) / 5.0)),
            ],
        );
    }

    #[test]
    fn a_short_list_has_misses_in_its_empty_places() {
        let at = marks(&[1, 8], &TRUTH, &[2, 5]);
        let full = 1.0 + 1.0 / log2(3.0) + 1.0 / 2.0 + 1.0 / log2(5.0);
        assert_marks(
            &at[1],
            &[
                (Metric::Precision, Some(0.2)),
                (Metric::Recall, Some(0.25)),
                (Metric::Ndcg, Some(1.0 / full)),
                (Metric::AveragePrecision, Some(0.25)),
                // Of the two that are listed, not of the five places.
                (Metric::RepeatShareOfList, Some(0.5)),
                (Metric::Novelty, Some(1.5)),
            ],
        );
        assert_eq!(at[0].list_hash, at[1].list_hash, "the same two packages");
    }

    #[test]
    fn an_empty_list_has_zeros_and_no_shares_of_its_own() {
        let at = marks(&[], &TRUTH, &[3]);
        let zeros = [
            Metric::Precision,
            Metric::Recall,
            Metric::Hit,
            Metric::NdcgFull,
            Metric::Ndcg,
            Metric::AveragePrecision,
            Metric::RepeatRecall,
            Metric::ExploreRecall,
            Metric::HitMoney,
            Metric::UpsellRecall,
        ];
        assert_marks(&at[0], &zeros.map(|metric| (metric, Some(0.0))));
        assert_marks(&at[0], &[(Metric::RepeatShareOfList, None), (Metric::Novelty, None)]);
        assert!(at[0].column_value(Metric::Novelty).is_nan() && at[0].column_value(Metric::Recall) == 0.0);
    }

    #[test]
    fn nothing_of_a_kind_is_not_zero() {
        let only_known = Truth { packages: &[1], amounts: &[0], known: &[1], usual_price: 0.0 };
        let at = marks(&[1, 9], &only_known, &[2]);
        let absent = [Metric::ExploreRecall, Metric::UpsellRecall];
        assert_marks(&at[0], &absent.map(|metric| (metric, None)));
        // Package 9 has no popularity and is left out of the mean.
        assert_marks(&at[0], &[(Metric::RepeatRecall, Some(1.0)), (Metric::Novelty, Some(2.0))]);
        let only_new = Truth { packages: &[1], amounts: &[0], known: &[], usual_price: 200.0 };
        // A price of exactly the usual one is no upsell.
        let absent = [Metric::RepeatRecall, Metric::UpsellRecall];
        assert_marks(&marks(&[1], &only_new, &[2])[0], &absent.map(|metric| (metric, None)));
        assert_marks(&marks(&[9], &only_new, &[2])[0], &[(Metric::Novelty, None)]);
    }

    #[test]
    fn hashes_tell_lists_apart_by_packages_and_order() {
        let hash = |list: &[u32]| marks(list, &TRUTH, &[3])[0].list_hash;
        assert_eq!(hash(&[1, 2, 3]), hash(&[1, 2, 3, 4]));
        let lists: [&[u32]; 7] = [&[], &[0], &[1], &[0, 1], &[1, 0], &[0, 1, 2], &[1, 0, 2]];
        let hashes = lists.map(hash).into_iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(hashes.len(), lists.len());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert_eq!(Judge::new(&[]).unwrap_err(), MetricsError::NoCutoffs);
        assert_eq!(Judge::new(&[0]).unwrap_err(), MetricsError::Cutoffs { previous: 0, k: 0 });
        assert_eq!(Judge::new(&[3, 5, 5]).unwrap_err(), MetricsError::Cutoffs { previous: 5, k: 5 });
        let error = |list: &[u32], truth: &Truth<'_>| {
            Judge::new(&[3]).unwrap().judge(list, truth, &CATALOGUE).unwrap_err()
        };
        assert_eq!(error(&[2, 5, 2], &TRUTH), MetricsError::Twice { package: 2 });
        assert_eq!(error(&[10], &TRUTH), MetricsError::Package { package: 10, packages: 10 });
        let with = |packages, amounts, known, usual_price| Truth { packages, amounts, known, usual_price };
        assert_eq!(error(&[], &with(&[], &[], &[], 0.0)), MetricsError::EmptyTruth);
        assert_eq!(error(&[], &with(&[1], &[], &[], 0.0)), MetricsError::Amounts { packages: 1, amounts: 0 });
        assert_eq!(
            error(&[], &with(&[1, 1], &[0, 0], &[], 0.0)),
            MetricsError::Order { of: "of the truth", previous: 1, package: 1 }
        );
        assert_eq!(
            error(&[], &with(&[1], &[0], &[5, 2], 0.0)),
            MetricsError::Order { of: "bought before", previous: 5, package: 2 }
        );
        assert_eq!(error(&[], &with(&[1], &[-4], &[], 0.0)), MetricsError::Amount { package: 1, amount: -4 });
        assert_eq!(
            error(&[], &with(&[99], &[4], &[], 0.0)),
            MetricsError::Package { package: 99, packages: 10 }
        );
        assert!(matches!(error(&[], &with(&[1], &[4], &[], f64::NAN)), MetricsError::UsualPrice { .. }));
        let mut judge = Judge::new(&[3]).unwrap();
        let short = Catalogue { prices: &PRICES, popularity: &[0.5] };
        assert_eq!(
            judge.judge(&[], &TRUTH, &short).unwrap_err(),
            MetricsError::Catalogue { prices: 10, popularity: 1 }
        );
        let over = Catalogue { prices: &[None], popularity: &[1.5] };
        let truth = with(&[0], &[4], &[], 0.0);
        assert_eq!(
            judge.judge(&[0], &truth, &over).unwrap_err().to_string(),
            "package 0 has the popularity 1.5, not a share between 0 and 1"
        );
    }

    proptest! {
        /// Bounds and relations that hold for any list, and a list made of the truth is perfect.
        #[test]
        fn marks_stay_within_their_bounds(
            truth in prop::collection::btree_set(0_u32..9, 1..7),
            known in prop::collection::btree_set(0_u32..9, 0..7),
            list in Just((0_u32..9).collect::<Vec<_>>()).prop_shuffle(),
            length in 0_usize..9,
        ) {
            let (packages, known) = (Vec::from_iter(truth), Vec::from_iter(known));
            let amounts = packages.iter().map(|&package| i64::from(package)).collect::<Vec<_>>();
            let truth = Truth { packages: &packages, amounts: &amounts, known: &known, usual_price: 300.0 };
            let at = marks(&list[..length], &truth, &[1, 2, 4, 8, 16]);
            let mut recall_before = 0.0;
            for marks in &at {
                let get = |metric| marks.get(metric).unwrap_or(0.0);
                for metric in Metric::ALL {
                    let unbounded = [Metric::HitMoney, Metric::TruthMoney, Metric::Novelty];
                    prop_assert!(get(metric) >= 0.0, "{metric:?}");
                    prop_assert!(get(metric) <= 1.0 || unbounded.contains(&metric), "{metric:?}");
                }
                prop_assert!(get(Metric::Recall) >= recall_before);
                recall_before = get(Metric::Recall);
                prop_assert!(get(Metric::NdcgFull) <= get(Metric::Ndcg));
                prop_assert!(get(Metric::HitMoney) <= get(Metric::TruthMoney));
                let hits = get(Metric::Recall) * packages.len() as f64;
                prop_assert!((get(Metric::Precision) * marks.k as f64 - hits).abs() < 1e-9);
                let repeat = packages.iter().filter(|package| known.contains(package)).count() as f64;
                let explore = packages.len() as f64 - repeat;
                let split = get(Metric::RepeatRecall) * repeat + get(Metric::ExploreRecall) * explore;
                prop_assert!((split - hits).abs() < 1e-9);
            }
            for marks in marks(&packages, &truth, &[1, 2, 4, 8]) {
                prop_assert_eq!(marks.get(Metric::Ndcg), Some(1.0));
                prop_assert_eq!(marks.get(Metric::AveragePrecision), Some(1.0));
            }
        }
    }
}
