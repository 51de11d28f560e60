//! What every method of the backtest promises, and how scores become a list of offers.
//!
//! A method is fitted once and then scores customers one at a time. It reads nothing of a customer but
//! the history given, so that fitted and unseen customers are treated alike; the customer's number only
//! keeps a method from counting a fitted customer as its own neighbour. Scores of one method are
//! comparable for one customer; they have no common unit.

use std::cmp::Ordering;

use super::histories::{History, Total};

/// A fitted method.
pub trait Recommender: Sync {
    /// What reports call it, with the settings that matter.
    fn name(&self) -> &str;

    /// Writes the score of every package for one customer, larger is better and
    /// `f64::NEG_INFINITY` is never offered. `scores` has one place for each package and may hold
    /// anything before. `work` is scratch memory that is kept between customers: nothing in it carries
    /// over, so the same history gives the same bits in any order of customers.
    fn score(&self, customer: &History, scores: &mut [f64], work: &mut Work);
}

/// Scratch memory for scoring, one for each thread. It grows to what the methods need: 12 bytes a
/// fitted customer for those that compare customers, little for the others.
#[derive(Debug, Default)]
pub struct Work {
    /// The customer's packages.
    pub totals: Vec<Total>,
    /// A sparse vector: (place, value).
    pub entries: Vec<(u32, f64)>,
    /// A dense vector.
    pub dense: Vec<f64>,
    /// Sums over customers or packages.
    pub sums: Sums,
    /// Similar customers: (similarity, position).
    pub ranked: Vec<(f64, u32)>,
}

impl Work {
    pub fn new() -> Self {
        Self::default()
    }
}

/// A place that nothing was added to: to add to it gives what was added, bit for bit, and no sum is
/// ever it unless only it was added.
const UNUSED: f64 = -0.0;

/// Sums at few of many places: starting over costs only the places that were used.
#[derive(Debug, Default)]
pub struct Sums {
    values: Vec<f64>,
    /// The first `used` are the places that hold a sum; there is one more than places, because the next
    /// one is written before it is known to be new.
    places: Vec<u32>,
    used: usize,
}

impl Sums {
    /// Empties the sums and makes room for `len` places.
    pub fn begin(&mut self, len: usize) {
        for &place in &self.places[..self.used] {
            self.values[place as usize] = UNUSED;
        }
        self.used = 0;
        if self.places.len() <= len {
            self.values.resize(len, UNUSED);
            self.places.resize(len + 1, 0);
        }
    }

    /// Adds to one place.
    ///
    /// # Panics
    /// When the place is beyond those of [`Sums::begin`].
    #[inline]
    pub fn add(&mut self, place: u32, value: f64) {
        let sum = &mut self.values[place as usize];
        // Without a branch: whether a place is new cannot be foreseen, and that cost half the time.
        let is_new = sum.to_bits() == UNUSED.to_bits();
        *sum += value + 0.0;
        self.places[self.used] = place;
        self.used += usize::from(is_new);
    }

    /// Places used so far with their sums, in the order of their first use.
    pub fn iter(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        self.places[..self.used].iter().map(|&place| (place, self.values[place as usize]))
    }

    /// The sum at a place, 0 where nothing was added.
    pub fn get(&self, place: u32) -> f64 {
        self.values.get(place as usize).map_or(0.0, |sum| sum + 0.0)
    }
}

/// The order of offers: the larger score first, then the smaller number; what is not a number comes
/// last.
pub fn better(a: (f64, u32), b: (f64, u32)) -> Ordering {
    let known = |score: f64| if score.is_nan() { f64::NEG_INFINITY } else { score };
    known(b.0).partial_cmp(&known(a.0)).unwrap_or(Ordering::Equal).then(a.1.cmp(&b.1))
}

/// Fills `out` with the best `k` packages, best first; equal scores go by number.
///
/// A package is left out when `excluded` says so or its score is `NEG_INFINITY` or not a number, so
/// the list may be shorter than `k`. `excluded` is asked only for packages that may enter the list.
/// Cost: one pass over the scores and a partial selection; no allocation once `out` has room for 2 k.
pub fn top(scores: &[f64], excluded: &dyn Fn(u32) -> bool, k: usize, out: &mut Vec<u32>) {
    out.clear();
    if k == 0 {
        return;
    }
    let order = |a: &u32, b: &u32| better((scores[*a as usize], *a), (scores[*b as usize], *b));
    let full = k.saturating_mul(2);
    let mut bar = f64::NEG_INFINITY;
    for (package, &score) in scores.iter().enumerate() {
        // A later package with the same score as the last of the list has a larger number and loses.
        if score > bar && !excluded(package as u32) {
            out.push(package as u32);
            if out.len() == full {
                let (_, last, _) = out.select_nth_unstable_by(k - 1, order);
                bar = scores[*last as usize];
                out.truncate(k);
            }
        }
    }
    out.sort_unstable_by(order);
    out.truncate(k);
}

/// Fills `ranked` with the best `k` of (similarity, position) pairs, best first; equal ones go by
/// position. A similarity that is not a number is left out. Cost: a comparison for most candidates, and
/// no allocation once `ranked` has room for 2 k.
pub fn keep_best(candidates: impl IntoIterator<Item = (f64, u32)>, k: usize, ranked: &mut Vec<(f64, u32)>) {
    ranked.clear();
    if k == 0 {
        return;
    }
    let order = |a: &(f64, u32), b: &(f64, u32)| better(*a, *b);
    let full = k.saturating_mul(2);
    let mut bar = (f64::NEG_INFINITY, u32::MAX);
    for (similarity, position) in candidates {
        if similarity > bar.0 || (similarity == bar.0 && position <= bar.1) {
            ranked.push((similarity, position));
            if ranked.len() == full {
                bar = *ranked.select_nth_unstable_by(k - 1, order).1;
                ranked.truncate(k);
            }
        }
    }
    ranked.sort_unstable_by(order);
    ranked.truncate(k);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn larger_scores_come_first_then_smaller_numbers() {
        let mut out = vec![9];
        top(&[1.0, 3.0, -0.0, 3.0, 0.0, 2.0], &|_| false, 5, &mut out);
        assert_eq!(out, [1, 3, 5, 0, 2], "both zeros are equal");
        top(&[1.0, 3.0, 2.0], &|package| package == 1, 2, &mut out);
        assert_eq!(out, [2, 0]);
        top(&[1.0], &|_| false, 0, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn what_has_no_score_is_never_offered() {
        let mut out = Vec::new();
        top(&[f64::NEG_INFINITY, f64::NAN, -1e300, f64::INFINITY], &|_| false, 4, &mut out);
        assert_eq!(out, [3, 2]);
    }

    #[test]
    fn what_is_not_a_number_is_no_neighbour() {
        let mut ranked = vec![(9.0, 9)];
        let candidates = [(f64::NAN, 0), (0.0, 3), (f64::NAN, 1), (f64::NEG_INFINITY, 2), (-0.0, 1)];
        keep_best(candidates, 4, &mut ranked);
        assert_eq!(ranked.iter().map(|pair| pair.1).collect::<Vec<_>>(), [1, 3, 2]);
        keep_best(candidates, 0, &mut ranked);
        assert!(ranked.is_empty());
    }

    #[test]
    fn sums_start_over_and_grow() {
        let mut sums = Sums::default();
        sums.begin(3);
        sums.add(2, 1.5);
        sums.add(0, 1.0);
        sums.add(2, -1.5);
        assert_eq!(sums.iter().collect::<Vec<_>>(), [(2, 0.0), (0, 1.0)]);
        assert_eq!((sums.get(0), sums.get(1), sums.get(7)), (1.0, 0.0, 0.0));
        sums.begin(5);
        assert_eq!((sums.iter().count(), sums.get(0)), (0, 0.0));
        sums.add(3, -0.0);
        sums.add(3, -0.0);
        assert_eq!(sums.iter().collect::<Vec<_>>(), [(3, 0.0)], "zeros of either sign are added");
        sums.add(4, 1.0);
        assert_eq!(sums.get(4), 1.0);
    }

    proptest! {
        #[test]
        fn the_list_is_the_head_of_a_full_sort(
            coarse in prop::collection::vec(0..6i32, 0..200),
            k in 0..30usize,
            modulus in 1..5u32,
        ) {
            let scores = coarse.iter().map(|&score| f64::from(score)).collect::<Vec<_>>();
            let excluded = |package: u32| modulus > 1 && package.is_multiple_of(modulus);
            let mut all = (0..scores.len() as u32).filter(|&package| !excluded(package)).collect::<Vec<_>>();
            all.sort_by_key(|&package| -coarse[package as usize]);
            all.truncate(k);
            let mut out = Vec::new();
            top(&scores, &excluded, k, &mut out);
            prop_assert_eq!(&out, &all);

            let pairs = scores.iter().zip(0..scores.len() as u32).filter(|&(_, at)| !excluded(at)).rev();
            let mut ranked = Vec::new();
            keep_best(pairs.map(|(&score, at)| (score, at)), k, &mut ranked);
            prop_assert_eq!(ranked.iter().map(|&(_, at)| at).collect::<Vec<_>>(), all);
        }
    }
}
