//! TIFU-KNN: personal frequencies with temporal groups, mixed with those of similar customers
//! (Hu, He, Gao & Zhang, *Modeling personalized item frequency information for next-basket
//! recommendation*, SIGIR 2020).
//!
//! A customer's baskets, oldest first, are 0/1 vectors divided into m groups. Within a group of s
//! baskets, basket t counts r_b^(s − t) / s; group g counts r_g^(m − g) / m. The sum is the customer's
//! vector. A package scores α times its value there and 1 − α times the mean of its values in the
//! vectors of the k nearest customers.

use super::sparse::{Rows, add_scaled};
use super::{BaselineError, Check};
use crate::evaluate::histories::{Histories, History};
use crate::evaluate::recommender::{Recommender, Sums, Work, keep_best};

/// How baskets become groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// min(m, n) groups whose sizes differ by one at most; the later groups are the larger ones.
    #[default]
    NearEqual,
    /// What the published program does, to reproduce its figures. With n ≥ m baskets the size is
    /// s = n / m rounded down and e = n mod s: the first m − e groups have s baskets, the others s + 1,
    /// and baskets after the last group are left out. With n < m every basket is a group.
    Published,
}

/// What nearest means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Similarity {
    /// The angle between vectors, among customers who share a package.
    #[default]
    Cosine,
    /// The distance between vectors, among all customers, as in the paper.
    Euclidean,
}

/// The defaults are those that Romanov et al. (*Time-aware item weighting for the next basket
/// recommendations*, RecSys 2023) found for Ta-Feng: no decay, ten groups, 425 neighbours. Those of the
/// first paper for the same shop (300 neighbours, 7 groups, decays 0.9 and 0.7, α 0.7) reach less there,
/// under the protocol of last baskets and with one cut-off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TifuSettings {
    /// k.
    pub neighbours: usize,
    /// m.
    pub groups: usize,
    /// r_b, above 0 and up to 1.
    pub within_decay: f64,
    /// r_g, above 0 and up to 1.
    pub group_decay: f64,
    /// α, from 0 to 1.
    pub alpha: f64,
    pub similarity: Similarity,
    pub grouping: Grouping,
    /// Whether the customer is one of its own k neighbours, as in the published program.
    pub include_self: bool,
    /// A half-life: baskets count by their age, 0.5^(age / half-life), in place of `within_decay`.
    pub time_decay_days: Option<f64>,
}

impl Default for TifuSettings {
    fn default() -> Self {
        Self {
            neighbours: 425,
            groups: 10,
            within_decay: 1.0,
            group_decay: 1.0,
            alpha: 0.4,
            similarity: Similarity::default(),
            grouping: Grouping::default(),
            include_self: false,
            time_decay_days: None,
        }
    }
}

/// The vectors of the fitted customers. 24 bytes an entry of customers × packages and 8 a customer.
#[derive(Clone, Debug)]
pub struct TifuKnn {
    name: String,
    settings: TifuSettings,
    /// customers × packages.
    customers: Rows,
    /// packages × customers.
    index: Rows,
    lengths: Vec<f64>,
}

impl TifuKnn {
    /// Cost: a few passes over the lines.
    pub fn fit(histories: &Histories, settings: &TifuSettings) -> Result<Self, BaselineError> {
        let check = Check("TIFU-KNN");
        check.count("neighbours", settings.neighbours)?;
        check.count("groups", settings.groups)?;
        check.decay("within_decay", settings.within_decay)?;
        check.decay("group_decay", settings.group_decay)?;
        check.share("alpha", settings.alpha)?;
        if let Some(half_life) = settings.time_decay_days {
            check.positive("time_decay_days", half_life)?;
        }
        let mut customers = Rows::new(histories.packages());
        let (mut sums, mut weights, mut vector) = (Sums::default(), Vec::new(), Vec::new());
        let mut lengths = Vec::with_capacity(histories.len());
        for history in histories.iter() {
            embed(&history, settings, histories.packages(), &mut sums, &mut weights, &mut vector);
            customers.push(vector.iter().copied());
            lengths.push(length(&vector));
        }
        let index = customers.transpose();
        let decay = settings.time_decay_days.map(|days| format!(" with time decay of {days} days"));
        let TifuSettings { neighbours, groups, alpha, .. } = settings;
        let name = format!(
            "TIFU-KNN{} ({neighbours} customers, {groups} groups, own {alpha})",
            decay.unwrap_or_default()
        );
        Ok(Self { name, settings: *settings, customers, index, lengths })
    }
}

impl Recommender for TifuKnn {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, customer: &History, scores: &mut [f64], work: &mut Work) {
        let Work { dense, entries, sums, ranked, .. } = work;
        let TifuSettings { neighbours, alpha, include_self, similarity, .. } = self.settings;
        embed(customer, &self.settings, self.customers.width(), sums, dense, entries);
        self.index.products(entries, sums);
        let (own, count) = (length(entries), neighbours - usize::from(include_self));
        let is_other = |other: u32| Some(other as usize) != customer.number;
        let lengths = &self.lengths;
        match similarity {
            Similarity::Cosine => {
                let others = sums.iter().filter(|&(other, _)| is_other(other));
                let cosines =
                    others.map(|(other, product)| (product / (own * lengths[other as usize]), other));
                // Vectors so old that their length is 0 in a float have no direction.
                keep_best(cosines.filter(|(cosine, _)| cosine.is_finite()), count, ranked);
            }
            Similarity::Euclidean => {
                let others = (0..lengths.len() as u32).filter(|&other| is_other(other));
                // The customer's own length is the same for all others.
                let nearness = others.map(|other| {
                    let length = lengths[other as usize];
                    (2.0 * sums.get(other) - length * length, other)
                });
                keep_best(nearness, count, ranked);
            }
        }

        scores.fill(0.0);
        let count = ranked.len() + usize::from(include_self);
        let each = (1.0 - alpha) / count.max(1) as f64;
        let own_factor = alpha + if include_self { each } else { 0.0 };
        add_scaled(scores, own_factor, entries.iter().copied());
        for &(_, other) in ranked.iter() {
            add_scaled(scores, each, self.customers.row(other as usize));
        }
    }
}

fn length(vector: &[(u32, f64)]) -> f64 {
    vector.iter().map(|(_, value)| value * value).sum::<f64>().sqrt()
}

/// The vector of one customer in order of packages, without zeros.
fn embed(
    history: &History,
    settings: &TifuSettings,
    packages: usize,
    sums: &mut Sums,
    weights: &mut Vec<f64>,
    vector: &mut Vec<(u32, f64)>,
) {
    basket_weights(history.baskets().count(), settings, weights);
    sums.begin(packages);
    for ((day, basket), &weight) in history.baskets().zip(weights.iter()) {
        let weight = match settings.time_decay_days {
            Some(half_life) => weight * (-(f64::from(history.as_of) - f64::from(day)) / half_life).exp2(),
            None => weight,
        };
        // A weight of zero, of a basket left out or too old for a float, is no purchase.
        for line in basket.iter().filter(|line| weight > 0.0 && (line.package as usize) < packages) {
            sums.add(line.package, weight);
        }
    }
    vector.clear();
    vector.extend(sums.iter());
    vector.sort_unstable_by_key(|&(package, _)| package);
}

/// What each of `n` baskets counts, oldest first; with decay by time, before that decay.
fn basket_weights(n: usize, settings: &TifuSettings, weights: &mut Vec<f64>) {
    weights.clear();
    let groups = settings.groups.min(n);
    if groups == 0 {
        return;
    }
    let size = n / groups;
    // Groups that have one basket more: the last ones.
    let larger = match settings.grouping {
        Grouping::NearEqual => n % groups,
        Grouping::Published => n % size,
    };
    let within = if settings.time_decay_days.is_some() { 1.0 } else { settings.within_decay };
    for group in 0..groups {
        let size = size + usize::from(group >= groups - larger);
        let factor = settings.group_decay.powi((groups - 1 - group) as i32) / groups as f64 / size as f64;
        weights.extend((0..size).map(|basket| factor * within.powi((size - 1 - basket) as i32)));
    }
    weights.resize(n, 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::Line;
    use proptest::prelude::*;

    fn weights(n: usize, settings: TifuSettings) -> Vec<f64> {
        let mut weights = vec![9.0];
        basket_weights(n, &settings, &mut weights);
        weights
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near, "{found:?} is not {expected:?}");
    }

    #[test]
    fn weights_by_hand() {
        let settings =
            TifuSettings { groups: 2, within_decay: 0.5, group_decay: 0.1, ..TifuSettings::default() };
        let sixth = 1.0 / 6.0;
        close(&weights(5, settings), &[0.0125, 0.025, sixth / 4.0, sixth / 2.0, sixth]);
        close(&weights(1, settings), &[1.0]);
        close(&weights(0, settings), &[]);
    }

    #[test]
    fn published_groups_leave_the_last_baskets_out() {
        let published = TifuSettings { groups: 10, grouping: Grouping::Published, ..TifuSettings::default() };
        let mut nineteen = [0.1; 19];
        nineteen[10..].fill(0.0);
        close(&weights(19, published), &nineteen);
        let mut twenty_five = [0.05; 25];
        twenty_five[18..21].fill(0.1 / 3.0);
        twenty_five[21..].fill(0.0);
        close(&weights(25, published), &twenty_five);
        close(&weights(4, published), &[0.25; 4]);
    }

    fn histories() -> Histories {
        let mut histories = Histories::new(5);
        let line = |day, package| Line { day, package, times: 1, amount: 1 };
        histories.push(11, [line(1, 0), line(9, 1)]).unwrap();
        histories.push(11, [line(1, 0), line(2, 0), line(2, 2)]).unwrap();
        histories.push(11, [line(1, 3)]).unwrap();
        histories
    }

    fn scores(settings: TifuSettings, customer: &History) -> Vec<f64> {
        let mut scores = vec![f64::NAN; 5];
        let method = TifuKnn::fit(&histories(), &settings).unwrap();
        method.score(customer, &mut scores, &mut Work::new());
        scores
    }

    #[test]
    fn the_score_mixes_own_and_neighbours() {
        let histories = histories();
        let settings = TifuSettings { neighbours: 2, alpha: 0.6, ..TifuSettings::default() };
        // One neighbour shares a package; its vector is 1 at 0 and 1/2 at 2.
        close(&scores(settings, &histories.get(0)), &[0.3 + 0.4, 0.3, 0.2, 0.0, 0.0]);
        let with_self = TifuSettings { include_self: true, ..settings };
        close(&scores(with_self, &histories.get(0)), &[0.4 + 0.2, 0.4, 0.1, 0.0, 0.0]);
        let euclidean = TifuSettings { similarity: Similarity::Euclidean, ..settings };
        close(&scores(euclidean, &histories.get(0)), &[0.3 + 0.2, 0.3, 0.1, 0.2, 0.0]);
        let unseen = scores(TifuSettings { neighbours: 1, ..settings }, &histories.get(0).unseen());
        close(&unseen, &[0.5, 0.5, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn with_time_decay_a_basket_counts_by_its_age() {
        let histories = histories();
        let settings = TifuSettings { alpha: 1.0, time_decay_days: Some(2.0), ..TifuSettings::default() };
        close(&scores(settings, &histories.get(0)), &[0.5 * 0.5f64.powi(5), 0.25, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let bad = [
            TifuSettings { neighbours: 0, ..TifuSettings::default() },
            TifuSettings { groups: 0, ..TifuSettings::default() },
            TifuSettings { within_decay: 0.0, ..TifuSettings::default() },
            TifuSettings { group_decay: 1.1, ..TifuSettings::default() },
            TifuSettings { alpha: f64::NAN, ..TifuSettings::default() },
            TifuSettings { time_decay_days: Some(0.0), ..TifuSettings::default() },
        ];
        for settings in bad {
            assert!(TifuKnn::fit(&histories(), &settings).is_err(), "{settings:?}");
        }
    }

    proptest! {
        #[test]
        fn every_basket_has_one_weight_and_near_equal_groups_cover_all(
            n in 0..200usize,
            groups in 1..20usize,
        ) {
            for grouping in [Grouping::NearEqual, Grouping::Published] {
                let weights = weights(n, TifuSettings { groups, grouping, ..TifuSettings::default() });
                prop_assert_eq!(weights.len(), n);
                if n > 0 {
                    prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                    let covers = weights.iter().all(|&weight| weight > 0.0);
                    prop_assert!(grouping == Grouping::Published || covers);
                }
            }
        }
    }
}
