//! One reading of a repair: what was decided is done, and moves are collected.

use super::book::Book;
use super::repair::{Denied, Goal, NOTHING, Repair, Respect, Wrong};
use super::{Candidate, Candidates, choose};
use crate::numerics::random::hash_u64;
use std::collections::{BTreeMap, BTreeSet};

/// Moves that are collected before those with the largest regrets are let go.
const ROOM: usize = 1 << 16;

/// One offer that a customer could give up, 16 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub key: u64,
    pub regret: f32,
    /// Position in the table of (given, taken).
    pub pair: u32,
}

/// The moves with the smallest regrets that could serve one goal.
pub(super) struct Moves {
    pub goal: Goal,
    pub all: Vec<Move>,
    limit: usize,
}

/// Pairs of packages by number: what is given up and what is taken instead.
#[derive(Default)]
pub(super) struct Pairs {
    numbers: BTreeMap<(u32, u32), u32>,
    pub pairs: Vec<(u32, u32)>,
}

/// One reading: what was decided is done, and moves for the goals are collected.
pub(super) struct Round<'a, S> {
    pub repair: &'a Repair<'a, S>,
    pub number: u64,
    /// After what was decided.
    pub totals: &'a [f64],
    pub goals: &'a [Goal],
    pub denied: &'a Denied,
    pub decided: &'a BTreeMap<u64, Vec<(u32, u32)>>,
    pub respect: Respect,
}

/// One worker's share of a round, or all of it.
pub(super) struct Found {
    pub counts: Vec<u64>,
    pub moves: Vec<Moves>,
    pub pairs: Pairs,
    pub denied: Vec<((u32, u32), Vec<u32>)>,
    ranking: Vec<usize>,
}

impl<S: Candidates> Round<'_, S> {
    pub fn empty(&self) -> Found {
        let moves = |&goal: &Goal| Moves { goal, all: Vec::new(), limit: ROOM };
        Found {
            counts: vec![0; self.repair.book.packages()],
            moves: self.goals.iter().map(moves).collect(),
            pairs: Pairs::default(),
            denied: Vec::new(),
            ranking: Vec::new(),
        }
    }

    /// Adds a customer: what was decided for it, its offers, and its cheapest move for each goal.
    pub fn add(&self, found: &mut Found, at: (u32, u32), key: u64, candidates: &[Candidate]) {
        let Repair { book, package_prices: prices, top, .. } = *self.repair;
        let mut denied = std::borrow::Cow::from(self.denied.get(&at).map_or(&[][..], Vec::as_slice));
        let mut ranking = std::mem::take(&mut found.ranking);
        if let Some(moves) = self.decided.get(&key) {
            choose(candidates, prices, &denied, usize::MAX, &mut ranking);
            let new = newly_denied(candidates, ranking.split_at(ranking.len().min(top)), moves);
            let all: BTreeSet<u32> = denied.iter().chain(&new).copied().collect();
            denied = all.into_iter().collect();
            found.denied.push((at, new));
        }
        let most = if self.goals.is_empty() { top } else { usize::MAX };
        choose(candidates, prices, &denied, most, &mut ranking);
        let (chosen, spare) = ranking.split_at(ranking.len().min(top));
        book.count(&mut found.counts, candidates, chosen);
        for moves in &mut found.moves {
            if let Some((regret, given, taken)) = self.cheapest(candidates, chosen, spare, key, moves.goal) {
                let pair = found.pairs.number(given, taken);
                moves.push(Move { key, regret, pair }, book, &found.pairs);
            }
        }
        found.ranking = ranking;
    }

    /// (regret, given, taken) of the cheapest move that serves a goal; of equals the smaller packages.
    fn cheapest(
        &self,
        candidates: &[Candidate],
        chosen: &[usize],
        spare: &[usize],
        key: u64,
        goal: Goal,
    ) -> Option<(f32, u32, u32)> {
        let Repair { book, package_prices: prices, .. } = *self.repair;
        let less = matches!(goal.wrong, Wrong::OverMax | Wrong::AbovePricedMin);
        let gift = matches!(goal.wrong, Wrong::BelowPricedMax | Wrong::AbovePricedMin);
        let weight = |at: usize| book.weight(candidates[at].package, goal.constraint);
        let mut best: Option<(f32, u32, u32)> = None;
        for &given in chosen {
            let used = weight(given);
            if less && used == 0.0 {
                continue;
            }
            let package = candidates[given].package;
            let allowed =
                |taken: u32| self.repair.allowed(self.totals, package, taken, goal.wrong, self.respect);
            let helps = |&other: &usize| {
                (if less { weight(other) < used } else { weight(other) > used })
                    && (!gift || candidates[other].utility > candidates[given].utility)
                    && allowed(candidates[other].package)
            };
            let helping = spare.iter().copied().filter(helps);
            let movers = |other: usize| goal.needed / (weight(other) - used).abs();
            let (taken, value) = match self.replacement(candidates, package, helping, movers, key) {
                Some(other) => (candidates[other].package, prices.adjusted(candidates[other])),
                None if goal.wrong == Wrong::OverMax && allowed(NOTHING) => (NOTHING, prices.floor),
                None => continue,
            };
            let waste = self.repair.waste(self.totals, package, taken, goal.constraint);
            let one = ((prices.adjusted(candidates[given]) - value + waste) as f32, package, taken);
            let better = |best: &(f32, u32, u32)| one.0.total_cmp(&best.0).then(one.1.cmp(&best.1)).is_lt();
            if best.as_ref().is_none_or(better) {
                best = Some(one);
            }
        }
        best
    }

    /// The best replacement. Among those as good as the best the hash of the key decides, so that
    /// `movers` customers who are alike fill what has a max in proportion to its room, and the rest go
    /// where there is none. A little too many for each room: who does not fit tries again.
    fn replacement(
        &self,
        candidates: &[Candidate],
        given: u32,
        mut helping: impl Iterator<Item = usize>,
        movers: impl Fn(usize) -> f64,
        key: u64,
    ) -> Option<usize> {
        let value = |at: usize| self.repair.package_prices.adjusted(candidates[at]);
        let first = helping.next()?;
        let near = value(first) - self.repair.blur;
        let equals = std::iter::once(first).chain(helping.take_while(|&other| value(other) >= near));
        let with_room = |at: usize| {
            let room = self.repair.room(self.totals, given, candidates[at].package);
            (at, room + 3.0 * room.sqrt() + 1.0)
        };
        let (limited, unlimited): (Vec<_>, Vec<_>) =
            equals.map(with_room).partition(|(_, room)| room.is_finite());
        let rooms: f64 = limited.iter().map(|(_, room)| room).sum();
        let all = if unlimited.is_empty() { rooms } else { rooms.max(movers(first)) };
        let mut left = hash_u64(key, self.number) as f64 / u64::MAX as f64 * all;
        let chosen = limited.iter().find(|(_, room)| {
            left -= room;
            left < 0.0
        });
        chosen.or(unlimited.first()).map_or(Some(first), |(at, _)| Some(*at))
    }

    pub fn merged(&self, states: Vec<Found>) -> Found {
        let mut all = self.empty();
        for own in states {
            all.counts.iter_mut().zip(own.counts).for_each(|(sum, own)| *sum += own);
            all.denied.extend(own.denied);
            let number = |&(given, taken): &(u32, u32)| all.pairs.number(given, taken);
            let numbers: Vec<u32> = own.pairs.pairs.iter().map(number).collect();
            for (all, own) in all.moves.iter_mut().zip(own.moves) {
                let renumbered = |one: Move| Move { pair: numbers[one.pair as usize], ..one };
                all.all.extend(own.all.into_iter().map(renumbered));
            }
        }
        all.moves.iter_mut().for_each(|moves| moves.prune(self.repair.book, &all.pairs));
        all
    }
}

/// What has to be denied so that a customer makes the moves: the offers it gives up, and what it would
/// rather have than what it takes. Moves that it cannot make are those of a customer with the same hash.
fn newly_denied(
    candidates: &[Candidate],
    (chosen, spare): (&[usize], &[usize]),
    moves: &[(u32, u32)],
) -> Vec<u32> {
    let place = |part: &[usize], package| part.iter().position(|&at| candidates[at].package == package);
    let (mut denied, mut taken, mut end) = (Vec::new(), Vec::new(), 0);
    for &(given, other) in moves {
        let to = if other == NOTHING { Some(spare.len()) } else { place(spare, other).map(|at| at + 1) };
        if let (Some(to), Some(_)) = (to, place(chosen, given)) {
            denied.push(given);
            taken.push(other);
            end = end.max(to);
        }
    }
    denied.extend(spare[..end].iter().map(|&at| candidates[at].package).filter(|at| !taken.contains(at)));
    denied
}

impl Pairs {
    fn number(&mut self, given: u32, taken: u32) -> u32 {
        *self.numbers.entry((given, taken)).or_insert_with(|| {
            self.pairs.push((given, taken));
            self.pairs.len() as u32 - 1
        })
    }
}

impl Moves {
    fn push(&mut self, one: Move, book: &Book, pairs: &Pairs) {
        self.all.push(one);
        if self.all.len() >= self.limit {
            self.prune(book, pairs);
            self.limit = 2 * self.all.len() + ROOM;
        }
    }

    /// Sorts, and keeps the first moves that together are enough.
    fn prune(&mut self, book: &Book, pairs: &Pairs) {
        let pair = |one: &Move| pairs.pairs[one.pair as usize];
        self.all.sort_unstable_by(|a, b| {
            a.regret.total_cmp(&b.regret).then(a.key.cmp(&b.key)).then_with(|| pair(a).cmp(&pair(b)))
        });
        let weight =
            |package| if package == NOTHING { 0.0 } else { book.weight(package, self.goal.constraint) };
        let (mut left, mut enough) = (self.goal.needed, 0);
        while left > 0.0 && enough < self.all.len() {
            let (given, taken) = pair(&self.all[enough]);
            left -= (weight(given) - weight(taken)).abs();
            enough += 1;
        }
        self.all.truncate(enough);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Constraint;
    use super::*;

    #[test]
    fn denials_leave_what_is_taken_as_the_next_best() {
        let candidates: Vec<Candidate> =
            (0..6).map(|package| Candidate { package, utility: -(package as f32) }).collect();
        let ranking = [0, 1, 2, 3, 4, 5];
        let denied = |moves: &[(u32, u32)]| newly_denied(&candidates, ranking.split_at(2), moves);
        assert_eq!(denied(&[(1, 2)]), [1]);
        assert_eq!(denied(&[(0, 4)]), [0, 2, 3]);
        assert_eq!(denied(&[(0, 4), (1, 3)]), [0, 1, 2]);
        assert_eq!(denied(&[(0, NOTHING)]), [0, 2, 3, 4, 5]);
        assert_eq!(denied(&[(0, NOTHING), (1, 3)]), [0, 1, 2, 4, 5]);
        assert!(denied(&[(3, 4), (0, 9)]).is_empty(), "moves of somebody else");
    }

    #[test]
    fn pruning_keeps_the_smallest_regrets_that_are_enough() {
        let weights = vec![(0, 3.0), (1, 1.0)];
        let constraint = Constraint { name: String::new(), weights, max: Some(0.0), min: None };
        let book = Book::new::<std::fmt::Error>(&[constraint]).unwrap();
        let mut pairs = Pairs::default();
        let (large, small) = (pairs.number(0, 1), pairs.number(1, NOTHING));
        assert_eq!(pairs.number(0, 1), large);
        let goal = Goal { constraint: 0, wrong: Wrong::OverMax, needed: 4.0 };
        let one = |key, regret, pair| Move { key, regret, pair };
        let all = vec![one(5, 0.5, small), one(9, 0.1, large), one(2, 0.3, small), one(1, 0.3, small)];
        let mut moves = Moves { goal, all, limit: ROOM };
        moves.prune(&book, &pairs);
        // 2 + 1 + 1: equal regrets in the order of keys.
        assert_eq!(moves.all.iter().map(|one| one.key).collect::<Vec<_>>(), [9, 1, 2]);
        assert_eq!(size_of::<Move>(), 16);
    }
}
