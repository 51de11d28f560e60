//! Denies single offers until every limit is met to the last offer.
//!
//! A move takes one offer from a customer, who goes on to its best candidate that helps (or to an empty
//! place). Its regret is what that costs in adjusted utility, and what it leaves unused of other limits
//! that have a price. Constraints that are over their max are served first, then those under their min,
//! each by the moves with the smallest regret; equal regrets are ordered by the hash of the customer's key.
//! A move is made only if it takes no other constraint out of its limits, by totals that are kept up to
//! date from move to move. What is left below a max that has a price is given to those who would rather
//! have it.

use super::book::Book;
use super::round::{Move, Moves, Pairs, Round};
use super::{Candidates, CapError, PackagePrices, pass};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds in which replacements are looked for among packages with limits as well.
const ROUNDS: usize = 24;

/// Rounds in which a replacement may use what is over its max as well.
const FREE_ROUNDS: usize = 12;

/// Rounds in which what is left is given away, and the share of a bound that is worth a round.
const GIFTS: usize = 3;
const WORTH: f64 = 1e-4;

/// An empty place, in a pair of packages.
pub(super) const NOTHING: u32 = u32::MAX;

/// Packages by (part, row).
pub(super) type Denied = BTreeMap<(u32, u32), Vec<u32>>;

pub(super) struct Repair<'a, S> {
    pub book: &'a Book,
    /// By constraint, and by package.
    pub prices: &'a [f64],
    pub package_prices: &'a PackagePrices,
    /// Replacements whose adjusted utilities differ by less are as good as each other.
    pub blur: f64,
    pub top: usize,
    pub source: &'a S,
    pub threads: usize,
}

pub(super) struct Repaired {
    pub totals: Vec<f64>,
    pub denied: Denied,
    pub passes: usize,
}

/// What moves have to respect, from strict to anything that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Respect {
    /// No constraint leaves its limits. One that is over its max may go further: its turn comes.
    Within,
    /// No constraint leaves its limits or goes further out of them.
    Both,
    /// Moves that help a max may take another constraint below its min.
    Max,
    /// Moreover replacements use nothing that has a max.
    Unlimited,
}

/// What is wrong with the total of a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    OverMax,
    UnderMin,
    /// Within its limits, but its price keeps customers from what they would rather have.
    BelowPricedMax,
    AbovePricedMin,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub constraint: usize,
    pub wrong: Wrong,
    /// By how much the total has to change.
    pub needed: f64,
}

impl<S: Candidates> Repair<'_, S> {
    /// From the totals under the prices alone. Constraints may still be under their min at the end, where
    /// no move helps; none is over its max.
    pub fn run(&self, mut totals: Vec<f64>) -> Result<Repaired, CapError<S::Error>> {
        let mut denied = Denied::new();
        let mut decided: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
        let mut respect = Respect::Within;
        let (mut passes, mut gifts) = (0, 0);
        loop {
            let mut goals = self.violations(&totals);
            let violated = !goals.is_empty();
            if !violated && gifts < GIFTS {
                goals = self.left(&totals);
                gifts += 1;
            }
            if goals.is_empty() && decided.is_empty() {
                return Ok(Repaired { totals, denied, passes });
            }
            let round = Round {
                repair: self,
                number: passes as u64,
                totals: &totals,
                goals: &goals,
                denied: &denied,
                decided: &decided,
                respect,
            };
            let all = round.merged(pass(
                self.source,
                self.threads,
                || round.empty(),
                |own, at, key, all| round.add(own, at, key, all),
            )?);
            passes += 1;
            for (at, packages) in all.denied {
                let known = denied.entry(at).or_default();
                let both: BTreeSet<u32> = known.iter().copied().chain(packages).collect();
                *known = both.into_iter().collect();
            }
            // What was predicted, unless two customers have the same hash.
            totals = self.book.totals(&all.counts);
            decided = self.decide(&mut totals, all.counts, &all.moves, &all.pairs, respect);
            let over = goals.iter().any(|goal| goal.wrong == Wrong::OverMax);
            let stuck = decided.is_empty();
            if stuck && violated && !over {
                return Ok(Repaired { totals, denied, passes });
            }
            gifts = if stuck && !violated { GIFTS } else { gifts };
            respect = match respect {
                _ if passes >= ROUNDS => Respect::Unlimited,
                Respect::Within if (stuck && over) || passes >= FREE_ROUNDS => Respect::Both,
                Respect::Both if stuck && over => Respect::Max,
                Respect::Max if stuck && over => Respect::Unlimited,
                same => same,
            };
        }
    }

    /// Those over their max first, the worst first: what it takes away may already serve the others.
    fn violations(&self, totals: &[f64]) -> Vec<Goal> {
        let goal = |constraint: usize| {
            let (total, max, min) =
                (totals[constraint], self.book.maxima[constraint], self.book.minima[constraint]);
            let wrong = if total > max { Wrong::OverMax } else { Wrong::UnderMin };
            Goal { constraint, wrong, needed: (total - max).max(min - total) }
        };
        let mut goals: Vec<Goal> = self.book.violated(totals).into_iter().map(goal).collect();
        let share = |goal: &Goal| match goal.wrong {
            Wrong::OverMax => totals[goal.constraint] / self.book.maxima[goal.constraint],
            _ => 0.0,
        };
        goals.sort_by(|a, b| share(b).total_cmp(&share(a)));
        goals
    }

    /// Constraints that have a price but do not reach the limit it stands for.
    fn left(&self, totals: &[f64]) -> Vec<Goal> {
        let goal = |(constraint, &total): (usize, &f64)| {
            let (max, min) = (self.book.maxima[constraint], self.book.minima[constraint]);
            let price = self.prices[constraint];
            let below = price > 0.0 && max - total > WORTH * max;
            let above = price < 0.0 && total - min > WORTH * min;
            let wrong = if below { Wrong::BelowPricedMax } else { Wrong::AbovePricedMin };
            let needed = if below { max - total } else { total - min };
            (below || above).then_some(Goal { constraint, wrong, needed })
        };
        totals.iter().enumerate().filter_map(goal).collect()
    }

    fn is_met(&self, goal: Goal, totals: &[f64]) -> bool {
        let (total, max, min) =
            (totals[goal.constraint], self.book.maxima[goal.constraint], self.book.minima[goal.constraint]);
        match goal.wrong {
            Wrong::OverMax => total <= max,
            Wrong::UnderMin => total >= min,
            Wrong::BelowPricedMax => total >= max,
            Wrong::AbovePricedMin => total <= min,
        }
    }

    /// Which moves are made, by key, and the totals after them.
    fn decide(
        &self,
        totals: &mut Vec<f64>,
        mut counts: Vec<u64>,
        moves: &[Moves],
        pairs: &Pairs,
        respect: Respect,
    ) -> BTreeMap<u64, Vec<(u32, u32)>> {
        let mut decided: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
        let start = totals.clone();
        for Moves { goal, all, .. } in moves {
            // While customers may have more than one move that costs next to nothing, only those.
            let cheap = |one: &&Move| f64::from(one.regret) <= 2.0 * self.blur;
            let first = all.first().is_some_and(|first| cheap(&first)) && respect == Respect::Within;
            for one in all.iter().take_while(|one| !first || cheap(one)) {
                if self.is_met(*goal, totals) {
                    break;
                }
                let (given, taken) = pairs.pairs[one.pair as usize];
                let own = decided.get(&one.key).map_or(&[][..], Vec::as_slice);
                let twice = own.iter().any(|own| own.0 == given || (own.1 == taken && taken != NOTHING));
                // Since the regret was found, a constraint may have come to its limit.
                let waste = |totals: &[f64]| self.waste(totals, given, taken, goal.constraint);
                let stale = respect == Respect::Within && waste(totals) > waste(&start);
                if twice || stale || !self.allowed(totals, given, taken, goal.wrong, respect) {
                    continue;
                }
                decided.entry(one.key).or_default().push((given, taken));
                for (package, more) in [(given, false), (taken, true)] {
                    if let Some(count) = counts.get_mut(package as usize) {
                        *count = if more { *count + 1 } else { count.saturating_sub(1) };
                    }
                }
                let change = self.book.change(given, Some(taken).filter(|taken| *taken != NOTHING));
                change.for_each(|(at, change)| totals[at] += change);
            }
        }
        // Without the rounding of many small changes.
        *totals = self.book.totals(&counts);
        decided
    }

    /// Whether a move leaves every constraint within its limits, or no further out of them.
    pub fn allowed(&self, totals: &[f64], given: u32, taken: u32, wrong: Wrong, respect: Respect) -> bool {
        let taken = Some(taken).filter(|taken| *taken != NOTHING);
        let over = wrong == Wrong::OverMax;
        if over && respect == Respect::Unlimited {
            let unlimited = |&(at, _): &(u32, f64)| self.book.maxima[at as usize] == f64::INFINITY;
            return taken.is_none_or(|taken| self.book.uses(taken).iter().all(unlimited));
        }
        self.book.change(given, taken).all(|(at, change)| {
            let total = totals[at] + change;
            let above = change >= 0.0 || total >= self.book.minima[at] || (over && respect >= Respect::Max);
            let out = over && respect == Respect::Within && totals[at] > self.book.maxima[at];
            above && (change <= 0.0 || total <= self.book.maxima[at] || out)
        })
    }

    /// What a move leaves unused of other limits that have a price and are not violated, at that price:
    /// adjusted utility counts on somebody else taking it.
    pub fn waste(&self, totals: &[f64], given: u32, taken: u32, goal: usize) -> f64 {
        let change = self.book.change(given, Some(taken).filter(|taken| *taken != NOTHING));
        let waste = |(at, change): (usize, f64)| {
            let price = self.prices[at];
            let below = price > 0.0 && change < 0.0 && totals[at] <= self.book.maxima[at];
            let above = price < 0.0 && change > 0.0 && totals[at] >= self.book.minima[at];
            if below || above { -price * change } else { 0.0 }
        };
        change.filter(|(at, _)| *at != goal).map(waste).sum()
    }

    /// How many customers can make a move until a total reaches its max. A total that is over it does not
    /// count: its turn comes.
    pub fn room(&self, totals: &[f64], given: u32, taken: u32) -> f64 {
        let room = |(at, change): (usize, f64)| {
            let left = self.book.maxima[at] - totals[at];
            if change > 0.0 && left >= 0.0 { left / change } else { f64::INFINITY }
        };
        self.book.change(given, Some(taken)).map(room).fold(f64::INFINITY, f64::min)
    }
}
