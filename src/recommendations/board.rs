//! A worker's scoreboard: what speaks for each package to one customer, and the new packages that lead.

mod words;

use super::signals::{Subject, affinity_signal, price_step};
use crate::affinities::Affinities;
use crate::affinities::models::{LANES, Says};
use crate::neighbours::packages::{FEW, PackageLists};
use crate::numerics::simd::{self, Kernel};
use crate::numerics::special::exp_of_negative;
use words::{All, Lead, Tell, Words};

/// Packages of a segment that are looked at first for a customer's best: they set the bar.
pub(super) const LIKELY: usize = 64;
/// A customer's packages whose rows of the affinities are added at once.
const ROWS: usize = 8;

/// A customer's neighbours, nearest first.
#[derive(Clone, Copy, Default)]
pub struct Near<'a> {
    /// What all candidates bought; None without neighbours.
    pub lists: Option<&'a PackageLists>,
    /// Which of the lists are the neighbours'.
    pub positions: &'a [u32],
    /// Their squared distances.
    pub squared: &'a [f32],
    /// Which of the lists are asked of the next customer: they lie anywhere in the pool, so they are on their way meanwhile.
    pub expected: &'a [u32],
}

/// What others say of a package for one customer, as signals: of neighbours, and of the affinities.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Evidence {
    pub near: f32,
    pub together: f32,
    pub next: f32,
}

/// How much signals count for new packages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub near: f32,
    pub together: f32,
    pub next: f32,
    /// The price step, and its square.
    pub price: [f32; 2],
}

/// Sums by package and by member of the affinities, padded to whole [`LANES`]. Memory: 32 bytes a package.
pub struct Board {
    packages: usize,
    /// What a new package is worth before others speak.
    start: Vec<f32>,
    near: Vec<f32>,
    /// The share of neighbours that bought each package, and their number: together, because they are added to in
    /// the order of the neighbours' packages. Behind them places for none.
    bought: Vec<[f32; 2]>,
    /// By member.
    together: Vec<f32>,
    next: Vec<f32>,
    /// By package, where the members are only some of them.
    silent: Vec<f32>,
    /// By neighbour.
    similarities: Vec<f64>,
    /// Signals of neighbours and of both affinities, by package told of.
    told: [Vec<f32>; 3],
    /// The memory of who asks for them.
    pub(super) leading: Vec<(f32, u32)>,
}

impl Board {
    pub fn new(packages: usize) -> Self {
        let padded = packages.next_multiple_of(LANES);
        Self {
            packages,
            start: vec![f32::NEG_INFINITY; padded],
            near: vec![0.0; padded],
            bought: vec![[0.0; 2]; packages + FEW],
            together: Vec::new(),
            next: Vec::new(),
            silent: Vec::new(),
            similarities: Vec::new(),
            told: Default::default(),
            leading: Vec::new(),
        }
    }

    /// Takes down what speaks for every package to a customer. `base` is what a new package's ranking starts
    /// from, by rank.
    pub(super) fn fill(
        &mut self,
        subject: &Subject,
        neighbours: Near,
        affinities: &Affinities,
        (base, ln_prices): (&[f32], &[f32]),
        shares: Shares,
    ) {
        self.add_neighbours(neighbours);
        let members = affinities.members.len().next_multiple_of(LANES);
        for sums in [&mut self.together, &mut self.next] {
            sums.clear();
            sums.resize(members, 0.0);
        }
        for bought in subject.bought.chunks(ROWS) {
            let mut rows: [(&[Says], f32); ROWS] = [(&[], 0.0); ROWS];
            let mut count = 0;
            for one in bought {
                if let Some(row) = affinities.row(one.package) {
                    rows[count] = (row, one.ln_days());
                    count += 1;
                }
            }
            let (together, next) = (&mut self.together, &mut self.next);
            simd::widest(AddRows { rows: &rows[..count], together, next });
        }
        let start = &mut self.start[..self.packages];
        simd::widest(Start { start, base, ln_prices, ln_usual: subject.ln_usual, price: shares.price });
        if !affinities.knows_all() {
            // Few speak: their words are added to where packages start from, and nobody speaks any more.
            for (at, member) in affinities.members.iter().enumerate() {
                let together = shares.together * affinity_signal(self.together[at]);
                self.start[*member as usize] += together + shares.next * affinity_signal(self.next[at]);
            }
            self.silent.resize(self.start.len(), 0.0);
        }
    }

    /// The `most` new packages of the customer that [`Board::fill`] was called for that are worth most, with what
    /// they are worth, into `leading`, in no particular order; ties to the lower rank. `likely` are packages to look at first: the
    /// better they are, the less is looked at.
    pub(super) fn lead(
        &mut self,
        subject: &Subject,
        affinities: &Affinities,
        shares: Shares,
        likely: &[u32],
        most: usize,
        leading: &mut Vec<(f32, u32)>,
    ) {
        for bought in subject.bought {
            self.start[bought.package as usize] = f32::NEG_INFINITY;
        }
        simd::widest(Lead { words: self.words(affinities, shares), likely, most, leading });
    }

    /// What every package would be worth if it were new, into `worth`.
    pub(super) fn all(&self, affinities: &Affinities, shares: Shares, worth: &mut [f64]) {
        simd::widest(All { words: self.words(affinities, shares), worth });
    }

    /// Takes down what others say of some packages, for [`Board::told`].
    pub(super) fn tell(&mut self, affinities: &Affinities, packages: impl Iterator<Item = u32>) {
        let Self { near, together, next, told, .. } = self;
        told.iter_mut().for_each(Vec::clear);
        for package in packages {
            let member = affinities.member(package);
            told[0].push(near[package as usize]);
            told[1].push(member.map_or(0.0, |member| together[member]));
            told[2].push(member.map_or(0.0, |member| next[member]));
        }
        let padded = told[0].len().next_multiple_of(LANES);
        told.iter_mut().for_each(|told| told.resize(padded, 0.0));
        simd::widest(Tell { told });
    }

    /// What others say of the package at a place of those that were told of.
    pub(super) fn told(&self, at: usize) -> Evidence {
        let [near, together, next] = &self.told;
        Evidence { near: near[at], together: together[at], next: next[at] }
    }

    /// Neighbours that bought a package.
    pub(super) fn count(&self, package: u32) -> u32 {
        self.bought[package as usize][1] as u32
    }

    fn words(&self, affinities: &Affinities, shares: Shares) -> Words<'_> {
        let Self { start, near, together, next, silent, .. } = self;
        match affinities.knows_all() {
            true => Words { start, near, together, next, shares },
            false => {
                let shares = Shares { together: 0.0, next: 0.0, ..shares };
                Words { start, near, together: silent, next: silent, shares }
            }
        }
    }

    /// The share of neighbours that bought each package, weighted by similarity.
    fn add_neighbours(&mut self, neighbours: Near) {
        let Self { bought, near, similarities: weights, .. } = self;
        bought.fill([0.0; 2]);
        similarities(neighbours.squared.iter().copied(), weights);
        let total: f64 = weights.iter().sum();
        if let Some(lists) = neighbours.lists {
            neighbours.positions.iter().for_each(|position| lists.expect_rest(*position));
            let mut expected = neighbours.expected.iter();
            for (position, similarity) in neighbours.positions.iter().zip(weights) {
                // One for one: a processor does not wait for more than some dozens at a time.
                expected.next().inspect(|position| lists.expect(**position));
                let weight = (*similarity / total) as f32;
                let mut add = |package: u32| {
                    let [share, count] = &mut bought[package as usize];
                    *share += weight;
                    *count += 1.0;
                };
                let (first, rest) = lists.row(*position);
                first.iter().for_each(|package| add(*package));
                rest.iter().for_each(|package| add(*package));
            }
        }
        for (near, [share, _]) in near.iter_mut().zip(&bought[..self.packages]) {
            *near = *share;
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

/// Adds what bought packages say of every member: their rows, each times its number.
struct AddRows<'a> {
    rows: &'a [(&'a [Says], f32)],
    together: &'a mut [f32],
    next: &'a mut [f32],
}

impl Kernel for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows, together, next } = self;
        let blocks = together.as_chunks_mut::<LANES>().0.iter_mut().zip(next.as_chunks_mut::<LANES>().0);
        for (block, (together_out, next_out)) in blocks.enumerate() {
            // All rows of a block one after the other: the sums stay in registers.
            let (mut together, mut next) = (*together_out, *next_out);
            for (row, x) in rows {
                let [by_together, by_next] = &row[block];
                for lane in 0..LANES {
                    together[lane] += x * by_together[lane];
                }
                for lane in 0..LANES {
                    next[lane] += x * by_next[lane];
                }
            }
            *together_out = together;
            *next_out = next;
        }
    }
}

/// What a new package is worth before others speak: its base, and how its price suits the customer.
struct Start<'a> {
    start: &'a mut [f32],
    base: &'a [f32],
    ln_prices: &'a [f32],
    ln_usual: f32,
    price: [f32; 2],
}

impl Kernel for Start<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { start, base, ln_prices, ln_usual, price: [linear, square] } = self;
        if ln_usual.is_nan() || (linear == 0.0 && square == 0.0) {
            start.copy_from_slice(base);
        } else {
            for ((start, base), price) in start.iter_mut().zip(base).zip(ln_prices) {
                let step = price_step(*price, ln_usual);
                *start = base + step * (linear + step * square);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::random::hash_u64;

    /// Between 0 and 1.
    fn random(seed: u64) -> f32 {
        (hash_u64(seed, 5) >> 40) as f32 / (1 << 24) as f32
    }

    fn board(packages: usize, seed: u64) -> Board {
        let mut board = Board::new(packages);
        let draw = |of: u64| (0..packages as u64).map(move |at| random(seed << 40 | of << 20 | at));
        let padded = packages.next_multiple_of(LANES);
        let pad = |values: Vec<f32>| values.into_iter().chain(std::iter::repeat(0.0)).take(padded).collect();
        board.start.iter_mut().zip(draw(1)).for_each(|(start, x)| *start = 4.0 * x - 9.0);
        board.near = pad(draw(2).map(|x| if x < 0.5 { 0.0 } else { x * x }).collect());
        board.together = pad(draw(3).map(|x| 3.0 * x * x * x - 0.2).collect());
        board.next = pad(draw(4).map(|x| x - 0.7).collect());
        board
    }

    #[test]
    fn those_that_lead_are_worth_most() {
        let packages = 333;
        let affinities = Affinities::of_test(packages);
        let subject =
            Subject { bought: &[], active_days: 1.0, last_day: 9, today: 9, ln_usual: f32::NAN, segment: 0 };
        let weights = [(0.8, 0.5, 0.3), (0.8, -0.5, 0.3), (-0.2, 0.0, -1.5), (0.0, 0.0, 0.0)];
        for (seed, (near, together, next)) in weights.into_iter().cycle().take(40).enumerate() {
            let shares = Shares { near, together, next, price: [0.0; 2] };
            let mut board = board(packages, seed as u64 + 1);
            board.start[17] = f32::NEG_INFINITY;
            let mut worth = vec![0.0; packages];
            board.all(&affinities, shares, &mut worth);
            let mut order: Vec<u32> = (0..packages as u32).filter(|at| *at != 17).collect();
            order.sort_by(|a, b| worth[*b as usize].total_cmp(&worth[*a as usize]).then(a.cmp(b)));
            let likely: Vec<u32> = (0..LIKELY as u32).map(|at| at * 5).collect();
            for (most, likely) in
                [(0, &likely[..]), (1, &likely), (14, &likely), (14, &[]), (332, &likely), (400, &[3])]
            {
                let mut found = Vec::new();
                board.lead(&subject, &affinities, shares, likely, most, &mut found);
                found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                let found: Vec<u32> = found.iter().map(|(_, package)| *package).collect();
                assert_eq!(found, order[..most.min(332)], "{most} {seed}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_rank() {
        let affinities = Affinities::of_test(40);
        let subject =
            Subject { bought: &[], active_days: 1.0, last_day: 9, today: 9, ln_usual: f32::NAN, segment: 0 };
        let mut board = Board::new(40);
        let shares = Shares { near: 0.0, together: 0.0, next: 0.0, price: [0.0; 2] };
        board.fill(&subject, Near::default(), &affinities, (&[1.0; 40], &[0.0; 40]), shares);
        let mut found = Vec::new();
        board.lead(&subject, &affinities, shares, &[39, 38, 20], 3, &mut found);
        found.sort_by_key(|(_, package)| *package);
        assert_eq!(found, [(1.0, 0), (1.0, 1), (1.0, 2)]);
    }
}
