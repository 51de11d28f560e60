//! Scores every package for one customer, and ranks.
//!
//! All packages are scored, none is pruned: what belongs to the package alone is added up once for each
//! segment, what belongs to the customer is added densely (affinities, price) or where there is
//! something to add (neighbours, own purchases).

use super::board::{Board, Evidence, LIKELY, Near, Shares};
use super::model::{Pair, ScoringModel};
use super::signals::{
    Bought, EXPLORE, EXPLORE_PACKAGE, Factor, PackageFacts, REPEAT, Subject, explore_signals, repeat_signals,
};
use crate::affinities::Affinities;
use crate::affinities::models::{Says, of_member};

/// Candidates that are sorted without new memory.
const FEW: usize = 64;

/// A package in a customer's ranking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub package: u32,
    /// From the model alone.
    pub log_odds: f64,
    /// What it is ranked by: the ln odds with price weight and boosts.
    pub utility: f64,
    /// Position among the customer's own packages, if it was bought before.
    pub bought: Option<u32>,
    /// Neighbours that bought it.
    pub neighbours: u32,
    /// What neighbours and affinities say: its factors are made of it.
    pub(super) evidence: Evidence,
}

#[cfg(test)]
impl Candidate {
    pub(super) fn of_test(package: u32, utility: f64, bought: bool) -> Self {
        let bought = bought.then_some(0);
        Self { package, log_odds: utility, utility, bought, neighbours: 0, evidence: Evidence::default() }
    }
}

/// What is added to the ln odds before ranking, by package rank; empty: nothing.
#[derive(Debug, Clone, Default)]
pub struct Preferences {
    /// ln of the factors by which policies multiply the odds.
    pub boost: Vec<f64>,
    /// Weight of the price: the odds are multiplied by (price / median price) to this power.
    pub price: Vec<f64>,
}

impl Preferences {
    /// `price_weight` 0 ranks by relevance alone; 1 by what an offer can be expected to earn.
    pub fn new(boost: Vec<f64>, price_weight: f64, facts: &PackageFacts) -> Self {
        let mut known: Vec<f32> = facts.ln_price.iter().copied().filter(|price| !price.is_nan()).collect();
        known.sort_unstable_by(f32::total_cmp);
        let median = known.get(known.len() / 2).copied().unwrap_or(0.0);
        let of = |price: &f32| match price.is_nan() {
            true => 0.0,
            false => price_weight * f64::from(price - median),
        };
        let price = if price_weight == 0.0 { Vec::new() } else { facts.ln_price.iter().map(of).collect() };
        Self { boost, price }
    }

    /// What a package gains: (by price, by policies).
    pub fn of(&self, package: u32) -> (f64, f64) {
        let at = |values: &[f64]| values.get(package as usize).copied().unwrap_or(0.0);
        (at(&self.price), at(&self.boost))
    }
}

/// An own package, and what it says of others.
pub struct Speaker<'a> {
    package: u32,
    /// What it weighs.
    x: f64,
    says: &'a [Says],
}

/// The model with everything that it weighs; shared by all workers.
/// Memory: 4 bytes a package and segment.
pub struct Ranker<'a> {
    pub facts: &'a PackageFacts,
    pub affinities: &'a Affinities,
    pub model: &'a ScoringModel,
    pub preferences: Preferences,
    /// By segment: what a new package's ranking starts from, by rank.
    bases: Vec<Vec<f32>>,
    /// The packages that lead there.
    likely: Vec<Vec<u32>>,
}

impl<'a> Ranker<'a> {
    /// `segments`: their number.
    pub fn new(
        facts: &'a PackageFacts,
        affinities: &'a Affinities,
        model: &'a ScoringModel,
        preferences: Preferences,
        segments: usize,
    ) -> Self {
        let base = |segment: usize| {
            let weights = &model.of(segment as u32).explore;
            let in_segment = facts.in_segment(segment as u32);
            (0..facts.packages())
                .map(|package| {
                    let shares = facts.shares[package].iter().chain([&in_segment[package]]);
                    let parts = weights.signals[EXPLORE_PACKAGE..].iter().zip(shares);
                    let (price, boost) = preferences.of(package as u32);
                    (weights.intercept + price + boost + parts.map(|(w, s)| w * f64::from(*s)).sum::<f64>())
                        as f32
                })
                .collect()
        };
        let bases: Vec<Vec<f32>> = (0..segments.max(1)).map(base).collect();
        let likely = |base: &Vec<f32>| {
            let mut leading: Vec<u32> = (0..base.len() as u32).collect();
            leading.sort_by(|a, b| base[*b as usize].total_cmp(&base[*a as usize]));
            leading.truncate(LIKELY);
            leading
        };
        let likely = bases.iter().map(likely).collect();
        Self { facts, affinities, model, preferences, bases, likely }
    }

    /// The best `most` new packages and all that the customer bought, best first, ties to the first
    /// code.
    pub fn rank(
        &self,
        subject: &Subject,
        neighbours: Near,
        most: usize,
        board: &mut Board,
        out: &mut Vec<Candidate>,
    ) {
        self.fill(subject, neighbours, board);
        let mut leading = std::mem::take(&mut board.leading);
        let likely = &self.likely[self.base(subject)];
        board.lead(subject, self.affinities, self.shares(subject), likely, most, &mut leading);
        let own = subject.bought.iter().map(|bought| bought.package);
        board.tell(self.affinities, own.chain(leading.iter().map(|(_, package)| *package)));
        out.clear();
        let pair = self.pair(subject);
        for (position, bought) in subject.bought.iter().enumerate() {
            let evidence = board.told(position);
            let signals = repeat_signals(subject, bought, evidence, self.facts);
            let log_odds = pair.repeat.log_odds(&signals);
            out.push(self.candidate(bought.package, log_odds, Some(position as u32), evidence, board));
        }
        for ((_, package), told) in leading.iter().zip(subject.bought.len()..) {
            let evidence = board.told(told);
            let signals = explore_signals(subject, *package, evidence, self.facts);
            let log_odds = pair.explore.log_odds(&signals);
            out.push(self.candidate(*package, log_odds, None, evidence, board));
        }
        board.leading = leading;
        best_first(out);
    }

    /// One package of the customer that was ranked last.
    pub fn one(&self, subject: &Subject, package: u32, board: &mut Board) -> Candidate {
        board.tell(self.affinities, std::iter::once(package));
        let evidence = board.told(0);
        let position = subject.bought.iter().position(|bought| bought.package == package);
        let pair = self.pair(subject);
        let log_odds = match position {
            Some(at) => {
                pair.repeat.log_odds(&repeat_signals(subject, &subject.bought[at], evidence, self.facts))
            }
            None => pair.explore.log_odds(&explore_signals(subject, package, evidence, self.facts)),
        };
        self.candidate(package, log_odds, position.map(|at| at as u32), evidence, board)
    }

    /// ln odds (and preferences) of every package, into `scores`.
    pub fn scores(&self, subject: &Subject, neighbours: Near, board: &mut Board, scores: &mut [f64]) {
        self.fill(subject, neighbours, board);
        board.all(self.affinities, self.shares(subject), scores);
        board.tell(self.affinities, subject.bought.iter().map(|bought| bought.package));
        for (at, bought) in subject.bought.iter().enumerate() {
            let signals = repeat_signals(subject, bought, board.told(at), self.facts);
            let log_odds = self.pair(subject).repeat.log_odds(&signals);
            let (price, boost) = self.preferences.of(bought.package);
            scores[bought.package as usize] = log_odds + price + boost;
        }
    }

    /// The factors of a customer's candidate, in the order of [`Factor::ALL`]; they sum to its ln odds,
    /// with the price weight to its utility less the boost.
    pub fn factors(&self, subject: &Subject, candidate: &Candidate) -> [f64; Factor::ALL.len()] {
        let pair = self.pair(subject);
        let mut factors = match candidate.bought {
            Some(_) => pair.repeat.factors(&self.repeat_signals(subject, candidate), &REPEAT),
            None => pair.explore.factors(&self.explore_signals(subject, candidate), &EXPLORE),
        };
        factors[Factor::Price as usize] += self.preferences.of(candidate.package).0;
        factors
    }

    /// The own packages that may speak for others, into `out`, for [`Ranker::because_of`].
    pub fn speakers(&self, subject: &Subject, out: &mut Vec<Speaker<'a>>) {
        out.clear();
        out.extend(subject.bought.iter().filter_map(|bought| {
            let says = self.affinities.row(bought.package)?;
            Some(Speaker { package: bought.package, x: f64::from(bought.ln_days()), says })
        }));
    }

    /// The own package that speaks most for another through the affinities, if one does.
    pub fn because_of(&self, subject: &Subject, speakers: &[Speaker], candidate: &Candidate) -> Option<u32> {
        if candidate.bought.is_some() {
            return None;
        }
        let member = self.affinities.member(candidate.package)?;
        let weights = &self.pair(subject).explore.signals;
        let (by_together, by_next) = (weights[1].max(0.0), weights[2].max(0.0));
        let mut strongest: Option<(f64, u32)> = None;
        for speaker in speakers {
            let (together, next) = of_member(speaker.says, member);
            let says = speaker.x * (by_together * f64::from(together) + by_next * f64::from(next));
            if says > 1e-4 && strongest.is_none_or(|(most, _)| says > most) {
                strongest = Some((says, speaker.package));
            }
        }
        strongest.map(|(_, package)| package)
    }

    /// Where the ranking of a customer's new packages starts from.
    fn base(&self, subject: &Subject) -> usize {
        (subject.segment as usize).min(self.bases.len() - 1)
    }

    fn pair(&self, subject: &Subject) -> &Pair {
        self.model.of(subject.segment)
    }

    fn candidate(
        &self,
        package: u32,
        log_odds: f64,
        bought: Option<u32>,
        evidence: Evidence,
        board: &Board,
    ) -> Candidate {
        let (price, boost) = self.preferences.of(package);
        let neighbours = board.count(package);
        Candidate { package, log_odds, utility: log_odds + price + boost, bought, neighbours, evidence }
    }

    /// The signals of a candidate that was bought before.
    pub(super) fn repeat_signals(&self, subject: &Subject, candidate: &Candidate) -> [f32; REPEAT.len()] {
        let own = candidate.bought.and_then(|position| subject.bought.get(position as usize));
        let never =
            Bought { package: candidate.package, times: 0.0, days: 0.0, weight: 0.0, last_day: i32::MIN / 2 };
        repeat_signals(subject, own.unwrap_or(&never), candidate.evidence, self.facts)
    }

    /// The signals of a candidate that is new to the customer.
    pub(super) fn explore_signals(&self, subject: &Subject, candidate: &Candidate) -> [f32; EXPLORE.len()] {
        explore_signals(subject, candidate.package, candidate.evidence, self.facts)
    }

    /// What every package would be worth if it were new.
    fn fill(&self, subject: &Subject, neighbours: Near, board: &mut Board) {
        let from = (&self.bases[self.base(subject)][..], &self.facts.ln_price[..]);
        board.fill(subject, neighbours, self.affinities, from, self.shares(subject));
    }

    fn shares(&self, subject: &Subject) -> Shares {
        let [near, together, next, step, square] =
            std::array::from_fn(|signal| self.pair(subject).explore.signals[signal] as f32);
        Shares { near, together, next, price: [step, square] }
    }
}

/// Sorts candidates by utility, ties to the first code. By keys of one number: they are moved many times.
fn best_first(candidates: &mut [Candidate]) {
    let mut few = [0u128; FEW];
    let mut many = Vec::new();
    let keys = match few.get_mut(..candidates.len()) {
        Some(keys) => keys,
        None => {
            many.resize(candidates.len(), 0);
            &mut many[..]
        }
    };
    for ((key, candidate), place) in keys.iter_mut().zip(&*candidates).zip(0u128..) {
        *key = u128::from(descending(candidate.utility)) << 64 | u128::from(candidate.package) << 32 | place;
    }
    keys.sort_unstable();
    // To each place the candidate that the key names, along the cycles of the permutation.
    for at in 0..candidates.len() {
        let mut from = keys[at] as u32 as usize;
        // Who was there has been moved to where its own key was.
        while from < at {
            from = keys[from] as u32 as usize;
        }
        candidates.swap(at, from);
    }
}

/// Bits whose order is that of `total_cmp`, reversed.
fn descending(value: f64) -> u64 {
    let bits = value.to_bits();
    let rising = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    !rising
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::packages::PackageLists;
    use crate::recommendations::signals::tests_support::facts;

    fn lists(packages: usize, all: &[&[u32]]) -> PackageLists {
        let mut lists = PackageLists::new(packages);
        all.iter().for_each(|list| lists.push(list));
        lists
    }

    fn subject(bought: &[Bought]) -> Subject<'_> {
        Subject { bought, active_days: 4.0, last_day: 98, today: 100, ln_usual: 6.0, segment: 0 }
    }

    fn bought(package: u32, times: f32) -> Bought {
        Bought { package, times, days: times, weight: times * 0.8, last_day: 98 }
    }

    #[test]
    fn habit_comes_first_then_what_neighbours_have() {
        let (facts, affinities) = (facts(&[100, 50, 10, 5]), Affinities::none(4));
        let model = ScoringModel::untuned(None);
        let ranker = Ranker::new(&facts, &affinities, &model, Preferences::default(), 1);
        let mut board = Board::new(4);
        let own = [bought(3, 3.0)];
        let lists = lists(4, &[&[2], &[2, 1]]);
        let near = Near { lists: Some(&lists), positions: &[0, 1], squared: &[4.0, 4.0], expected: &[] };
        let mut out = Vec::new();
        // Twice: nothing of the first customer may be left on the board.
        ranker.rank(&subject(&[bought(1, 9.0)]), near, 4, &mut board, &mut out);
        ranker.rank(&subject(&own), near, 4, &mut board, &mut out);
        let ranked: Vec<(u32, Option<u32>, u32)> =
            out.iter().map(|c| (c.package, c.bought, c.neighbours)).collect();
        assert_eq!(ranked[0], (3, Some(0), 0));
        assert_eq!(ranked.len(), 4);
        assert!(ranked.contains(&(2, None, 2)) && ranked.contains(&(1, None, 1)));
        // Without neighbours the popular one leads the new ones.
        ranker.rank(&subject(&own), Near::default(), 4, &mut board, &mut out);
        assert_eq!(out[1].package, 0);
        assert!(out.iter().all(|candidate| candidate.neighbours == 0));
    }

    #[test]
    fn ranking_scores_and_factors_agree() {
        let facts = facts(&[100, 50, 10, 5, 70, 3]);
        let affinities = Affinities::none(6);
        let mut model = ScoringModel::untuned(None);
        model.global.explore.signals[3] = -0.4;
        model.global.explore.signals[4] = -0.2;
        let preferences = Preferences::new(vec![0.0, 0.3, 0.0, 0.0, 0.0, 1.0], 0.5, &facts);
        let ranker = Ranker::new(&facts, &affinities, &model, preferences, 1);
        let mut board = Board::new(6);
        let lists = lists(6, &[&[2, 5], &[0]]);
        let near = Near { lists: Some(&lists), positions: &[0, 1], squared: &[1.0, 2.0], expected: &[] };
        let own = [bought(0, 2.0), bought(4, 1.0)];
        let (mut out, mut scores) = (Vec::new(), vec![0.0; 6]);
        ranker.scores(&subject(&own), near, &mut board, &mut scores);
        ranker.rank(&subject(&own), near, 6, &mut board, &mut out);
        assert_eq!(out.len(), 6);
        for candidate in &out {
            let score = scores[candidate.package as usize];
            assert!((score - candidate.utility).abs() < 1e-4, "{candidate:?} {score}");
            let (price, boost) = ranker.preferences.of(candidate.package);
            let sum: f64 = ranker.factors(&subject(&own), candidate).iter().sum();
            assert!((sum + boost - candidate.utility).abs() < 1e-9);
            assert!((candidate.log_odds + price + boost - candidate.utility).abs() < 1e-9);
        }
    }

    #[test]
    fn the_best_come_first_and_ties_by_code() {
        let numbers = [0.5, -0.0, 0.0, -3.0, 0.5, f64::INFINITY, f64::NEG_INFINITY, 1e-300, -1e-300];
        for count in [0, 1, 2, 9, 19, FEW, 200] {
            let mut candidates: Vec<Candidate> = (0..count)
                .map(|at| Candidate::of_test((at * 7919 % 1000) as u32, numbers[at * 5 % 9], false))
                .collect();
            let mut expected = candidates.clone();
            expected.sort_by(|a, b| b.utility.total_cmp(&a.utility).then(a.package.cmp(&b.package)));
            best_first(&mut candidates);
            assert_eq!(candidates, expected);
        }
    }
}
