//! Scores every package for one customer, and ranks.
//!
//! All packages are scored, none is pruned: what belongs to the package alone is added up once for each
//! segment, what belongs to the customer is added densely (affinities, price) or where there is
//! something to add (neighbours, own purchases).

use super::model::{Pair, ScoringModel};
use super::signals::{
    Bought, EXPLORE, EXPLORE_PACKAGE, Factor, PackageFacts, REPEAT, Subject, affinity_signal,
    explore_signals, neighbour_signal, price_step, repeat_signals,
};
use crate::affinities::Affinities;
use crate::numerics::simd::{self, Kernel};
use crate::numerics::special::exp_of_negative;

/// Packages of a segment that are looked at first for a customer's best: they set the bar.
const LIKELY: usize = 64;
/// Packages that are held against the bar at once.
const CHUNK: usize = 32;

/// A neighbour's packages by rank, and its squared distance.
pub type NeighbourPackages<'a> = (&'a [u32], f32);

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
    /// The share of neighbours, and what the affinities say: what its factors are made of.
    pub(super) evidence: Evidence,
}

#[cfg(test)]
impl Candidate {
    pub(super) fn of_test(package: u32, utility: f64, bought: bool) -> Self {
        let bought = bought.then_some(0);
        Self { package, log_odds: utility, utility, bought, neighbours: 0, evidence: Evidence::default() }
    }
}

/// What others say of a package for one customer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Evidence {
    pub near: f32,
    pub together: f32,
    pub next: f32,
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

/// A worker's scoreboard. Memory: 24 bytes a package.
pub struct Board {
    utilities: Vec<f32>,
    near: Vec<f32>,
    counts: Vec<u32>,
    together: Vec<f32>,
    next: Vec<f32>,
    /// What both say, weighted, by member of the affinities.
    signals: Vec<f32>,
    /// By neighbour.
    similarities: Vec<f64>,
    best: Vec<(f32, u32)>,
}

impl Board {
    pub fn new(packages: usize) -> Self {
        Self {
            utilities: vec![0.0; packages],
            near: vec![0.0; packages],
            counts: vec![0; packages],
            similarities: Vec::new(),
            together: Vec::new(),
            next: Vec::new(),
            signals: Vec::new(),
            best: Vec::new(),
        }
    }
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
            let mut leading = Vec::new();
            best(base, &[], LIKELY, &mut leading);
            leading.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            leading.into_iter().map(|(_, package)| package).collect()
        };
        let likely = bases.iter().map(likely).collect();
        Self { facts, affinities, model, preferences, bases, likely }
    }

    /// The best `most` new packages and all that the customer bought, best first, ties to the first
    /// code.
    pub fn rank(
        &self,
        subject: &Subject,
        neighbours: &[NeighbourPackages],
        most: usize,
        board: &mut Board,
        out: &mut Vec<Candidate>,
    ) {
        self.fill(subject, neighbours, board);
        out.clear();
        for (position, bought) in subject.bought.iter().enumerate() {
            board.utilities[bought.package as usize] = f32::NEG_INFINITY;
            let evidence = self.evidence(bought.package, board);
            let signals = repeat_signals(subject, bought, evidence, self.facts);
            let log_odds = self.pair(subject).repeat.log_odds(&signals);
            out.push(self.candidate(bought.package, log_odds, Some(position as u32), evidence, board));
        }
        best(&board.utilities, &self.likely[self.base(subject)], most, &mut board.best);
        for at in 0..board.best.len() {
            let package = board.best[at].1;
            let evidence = self.evidence(package, board);
            let signals = explore_signals(subject, package, evidence, self.facts);
            let log_odds = self.pair(subject).explore.log_odds(&signals);
            out.push(self.candidate(package, log_odds, None, evidence, board));
        }
        out.sort_unstable_by(|a, b| b.utility.total_cmp(&a.utility).then(a.package.cmp(&b.package)));
    }

    /// One package of the customer that was ranked last.
    pub fn one(&self, subject: &Subject, package: u32, board: &Board) -> Candidate {
        let evidence = self.evidence(package, board);
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
    pub fn scores(
        &self,
        subject: &Subject,
        neighbours: &[NeighbourPackages],
        board: &mut Board,
        scores: &mut [f64],
    ) {
        self.fill(subject, neighbours, board);
        scores.iter_mut().zip(&board.utilities).for_each(|(score, utility)| *score = f64::from(*utility));
        for bought in subject.bought {
            let evidence = self.evidence(bought.package, board);
            let signals = repeat_signals(subject, bought, evidence, self.facts);
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

    /// The own package that speaks most for another through the affinities, if one does.
    pub fn because_of(&self, subject: &Subject, candidate: &Candidate) -> Option<u32> {
        if candidate.bought.is_some() {
            return None;
        }
        let weights = &self.pair(subject).explore.signals;
        let (by_together, by_next) = (weights[1].max(0.0), weights[2].max(0.0));
        let mut strongest: Option<(f64, u32)> = None;
        for bought in subject.bought {
            let (together, next) = self.affinities.between(bought.package, candidate.package);
            let x = f64::from(bought.ln_days());
            let says = x * (by_together * f64::from(together) + by_next * f64::from(next));
            if says > 1e-4 && strongest.is_none_or(|(most, _)| says > most) {
                strongest = Some((says, bought.package));
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
        let neighbours = board.counts[package as usize];
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

    fn evidence(&self, package: u32, board: &Board) -> Evidence {
        let (together, next) = self
            .affinities
            .member(package)
            .map_or((0.0, 0.0), |member| (board.together[member], board.next[member]));
        Evidence { near: board.near[package as usize], together, next }
    }

    /// What every package would be worth if it were new.
    fn fill(&self, subject: &Subject, neighbours: &[NeighbourPackages], board: &mut Board) {
        add_neighbours(neighbours, board);
        let members = &self.affinities.members;
        board.together.resize(members.len(), 0.0);
        board.next.resize(members.len(), 0.0);
        board.signals.resize(members.len(), 0.0);
        let weights = &self.pair(subject).explore.signals;
        simd::widest(Fill {
            affinities: self.affinities,
            subject,
            base: &self.bases[self.base(subject)],
            ln_prices: &self.facts.ln_price,
            weights: [0, 1, 2, 3, 4].map(|at| weights[at] as f32),
            near: &board.near,
            utilities: &mut board.utilities,
            together: &mut board.together,
            next: &mut board.next,
            signals: &mut board.signals,
        });
    }
}

/// The utility of every package: one pass over all of them for each sum.
struct Fill<'a> {
    affinities: &'a Affinities,
    subject: &'a Subject<'a>,
    base: &'a [f32],
    ln_prices: &'a [f32],
    /// Neighbours, together, next, price step and its square.
    weights: [f32; 5],
    near: &'a [f32],
    utilities: &'a mut [f32],
    together: &'a mut [f32],
    next: &'a mut [f32],
    signals: &'a mut [f32],
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { affinities, subject, base, ln_prices, weights, near, utilities, together, next, signals } =
            self;
        let [near_weight, together_weight, next_weight, linear, square] = weights;
        if subject.ln_usual.is_nan() || (linear == 0.0 && square == 0.0) {
            utilities.copy_from_slice(base);
        } else {
            for ((utility, base), price) in utilities.iter_mut().zip(base).zip(ln_prices) {
                let step = price_step(*price, subject.ln_usual);
                *utility = base + step * (linear + step * square);
            }
        }
        together.fill(0.0);
        next.fill(0.0);
        for bought in subject.bought {
            affinities.add(bought.package, bought.ln_days(), together, next);
        }
        for ((signal, together), next) in signals.iter_mut().zip(together).zip(next) {
            *signal = together_weight * affinity_signal(*together) + next_weight * affinity_signal(*next);
        }
        if affinities.members.len() == utilities.len() {
            utilities.iter_mut().zip(signals).for_each(|(utility, signal)| *utility += *signal);
        } else {
            for (member, signal) in affinities.members.iter().zip(signals) {
                utilities[*member as usize] += *signal;
            }
        }
        for (utility, near) in utilities.iter_mut().zip(near) {
            *utility += if *near > 0.0 { near_weight * neighbour_signal(*near) } else { 0.0 };
        }
    }
}

/// The share of neighbours that bought each package, weighted by similarity.
fn add_neighbours(neighbours: &[NeighbourPackages], board: &mut Board) {
    board.near.fill(0.0);
    board.counts.fill(0);
    similarities(neighbours.iter().map(|(_, squared)| *squared), &mut board.similarities);
    let total: f64 = board.similarities.iter().sum();
    for ((packages, _), similarity) in neighbours.iter().zip(&board.similarities) {
        let weight = (similarity / total) as f32;
        for package in *packages {
            let at = *package as usize;
            board.near[at] += weight;
            board.counts[at] += 1;
        }
    }
}

/// Similarities exp(−d² / 2h²) by squared distances d², where h² is the mean squared distance of the
/// neighbours: they do not depend on the scale of the vectors. `out` is cleared first.
pub fn similarities(squared: impl Iterator<Item = f32>, out: &mut Vec<f64>) {
    out.clear();
    out.extend(squared.map(f64::from));
    let mean = out.iter().sum::<f64>() / out.len().max(1) as f64;
    if mean > 0.0 {
        simd::widest(Similarities { squared: out, scale: 2.0 * mean });
    } else {
        out.fill(1.0);
    }
}

struct Similarities<'a> {
    squared: &'a mut [f64],
    scale: f64,
}

impl Kernel for Similarities<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for value in self.squared {
            *value = exp_of_negative(-*value / self.scale);
        }
    }
}

/// The `most` largest finite values with their positions, in no particular order; ties to the lower
/// position. `likely` are positions to look at first: the better they are, the less is looked at twice.
fn best(values: &[f32], likely: &[u32], most: usize, out: &mut Vec<(f32, u32)>) {
    out.clear();
    if most == 0 {
        return;
    }
    // Nothing below the least of any `most` values can be among the best: of the best ones of so many groups.
    let best_of = |group: usize| {
        let group = likely.iter().skip(group).step_by(most).map(|at| values[*at as usize]);
        group.fold(f32::NEG_INFINITY, f32::max)
    };
    let mut bar = (0..most).map(best_of).fold(f32::INFINITY, f32::min).next_down();
    // A buffer of twice the number, cut back when it is full: each cut raises the bar.
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    for (chunk, start) in values.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        if !chunk.iter().fold(false, |any, value| any | (*value > bar)) {
            continue;
        }
        for (value, position) in chunk.iter().zip(start..) {
            if *value > bar {
                out.push((*value, position));
                if out.len() == 2 * most {
                    out.select_nth_unstable_by(most - 1, order);
                    out.truncate(most);
                    bar = bar.max(out[most - 1].0);
                }
            }
        }
    }
    if out.len() > most {
        out.select_nth_unstable_by(most - 1, order);
        out.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommendations::signals::tests_support::facts;

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
        let near: [NeighbourPackages; 2] = [(&[2], 4.0), (&[2, 1], 4.0)];
        let mut out = Vec::new();
        // Twice: nothing of the first customer may be left on the board.
        ranker.rank(&subject(&[bought(1, 9.0)]), &near, 4, &mut board, &mut out);
        ranker.rank(&subject(&own), &near, 4, &mut board, &mut out);
        let ranked: Vec<(u32, Option<u32>, u32)> =
            out.iter().map(|c| (c.package, c.bought, c.neighbours)).collect();
        assert_eq!(ranked[0], (3, Some(0), 0));
        assert_eq!(ranked.len(), 4);
        assert!(ranked.contains(&(2, None, 2)) && ranked.contains(&(1, None, 1)));
        // Without neighbours the popular one leads the new ones.
        ranker.rank(&subject(&own), &[], 4, &mut board, &mut out);
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
        let near: [NeighbourPackages; 2] = [(&[2, 5], 1.0), (&[0], 2.0)];
        let own = [bought(0, 2.0), bought(4, 1.0)];
        let (mut out, mut scores) = (Vec::new(), vec![0.0; 6]);
        ranker.scores(&subject(&own), &near, &mut board, &mut scores);
        ranker.rank(&subject(&own), &near, 6, &mut board, &mut out);
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
    fn the_best_are_the_best() {
        let values: Vec<f32> =
            (0..1000).map(|at| ((at * 7919) % 1000) as f32).chain([f32::NEG_INFINITY]).collect();
        let mut out = Vec::new();
        best(&values, &[1000, 7, 9], 5, &mut out);
        let mut found: Vec<i32> = out.iter().map(|(value, _)| *value as i32).collect();
        found.sort_unstable();
        assert_eq!(found, [995, 996, 997, 998, 999]);
        best(&[1.0, f32::NEG_INFINITY, 1.0, 1.0], &[3, 1, 2], 2, &mut out);
        out.sort_by_key(|(_, position)| *position);
        assert_eq!(out, [(1.0, 0), (1.0, 2)], "ties go to the lower position, nothing infinite comes");
        best(&values, &[], 0, &mut out);
        assert!(out.is_empty());
    }
}
