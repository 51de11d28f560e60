//! A worker's scoreboard: what speaks for each package to one customer, and the new packages that lead.

use super::signals::{
    AFFINITY_FLOOR, NEIGHBOUR_FLOOR, Subject, affinity_signal, neighbour_signal, price_step,
};
use crate::affinities::Affinities;
use crate::affinities::models::{LANES, Says};
use crate::neighbours::packages::{FEW, PackageLists};
use crate::numerics::simd::{self, Kernel};
use crate::numerics::special::exp_of_negative;

/// Packages of a segment that are looked at first for a customer's best: they set the bar.
pub(super) const LIKELY: usize = 64;
/// Steps that halve the range of what the likely ones are worth.
const BISECTIONS: usize = 12;
/// Packages above the bar that are kept beyond twice as many as are wanted.
const CROWD: usize = 64;
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
            for (position, similarity) in neighbours.positions.iter().zip(weights) {
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

/// What is said of all packages, by rank, in whole lanes.
struct Words<'a> {
    start: &'a [f32],
    near: &'a [f32],
    together: &'a [f32],
    next: &'a [f32],
    shares: Shares,
}

/// The bits of a positive f32 as a number, times this and less 127 ln 2, are its logarithm or up to
/// [`LN_ERROR`] less: where log2(1 + m) belongs there is the mantissa m.
const LN_OF_BITS: f32 = std::f32::consts::LN_2 / (1 << 23) as f32;
const LN_ERROR: f32 = 0.0598;
/// Above all rounding of a bound, whose terms are below a hundred, for each weight.
const ROUNDING: f32 = 1e-3;

impl Words<'_> {
    fn blocks(&self) -> usize {
        self.start.len() / LANES
    }

    /// What the packages of a block are worth.
    #[inline(always)]
    fn worth(&self, block: usize) -> [f32; LANES] {
        let Self { start, near, together, next, shares } = self;
        worth(lanes(start, block), lanes(near, block), lanes(together, block), lanes(next, block), *shares)
    }

    /// What up to [`LANES`] packages are worth.
    #[inline(always)]
    fn worth_of(&self, packages: &[u32]) -> [f32; LANES] {
        let mut start = [f32::NEG_INFINITY; LANES];
        let [mut near, mut together, mut next] = [[0.0; LANES]; 3];
        for (lane, package) in packages.iter().enumerate().take(LANES) {
            let at = *package as usize;
            (start[lane], near[lane]) = (self.start[at], self.near[at]);
            (together[lane], next[lane]) = (self.together[at], self.next[at]);
        }
        worth(&start, &near, &together, &next, self.shares)
    }

    /// Whether a package of the block may be worth more than `bar`, by bounds on the logarithms.
    #[inline(always)]
    fn may_exceed(&self, block: usize, bar: f32, slack: f32) -> bool {
        let (start, near) = (lanes(self.start, block), lanes(self.near, block));
        let (together, next) = (lanes(self.together, block), lanes(self.next, block));
        let Shares { near: by_near, together: by_together, next: by_next, .. } = self.shares;
        let mut may = false;
        for lane in 0..LANES {
            let bound = start[lane]
                + by_together * ln_bits(together[lane], AFFINITY_FLOOR)
                + by_next * ln_bits(next[lane], AFFINITY_FLOOR)
                + by_near * ln_bits(near[lane], NEIGHBOUR_FLOOR);
            may |= bound + slack > bar;
        }
        may
    }

    /// What turns the sums of [`ln_bits`] into bounds.
    fn slack(&self) -> f32 {
        let Shares { near, together, next, .. } = self.shares;
        let of = |weight: f32, floor: f32| {
            let offset = -weight * (127.0 * std::f32::consts::LN_2 + floor.ln());
            offset + weight.max(0.0) * LN_ERROR + weight.abs() * ROUNDING
        };
        of(together, AFFINITY_FLOOR) + of(next, AFFINITY_FLOOR) + of(near, NEIGHBOUR_FLOOR) + ROUNDING
    }
}

/// 127 ln 2 and ln(value + floor), or up to [`LN_ERROR`] less.
#[inline(always)]
fn ln_bits(value: f32, floor: f32) -> f32 {
    (value.max(0.0) + floor).to_bits() as i32 as f32 * LN_OF_BITS
}

#[inline(always)]
fn lanes(values: &[f32], block: usize) -> &[f32; LANES] {
    &values.as_chunks::<LANES>().0[block]
}

#[inline(always)]
fn worth(
    start: &[f32; LANES],
    near: &[f32; LANES],
    together: &[f32; LANES],
    next: &[f32; LANES],
    shares: Shares,
) -> [f32; LANES] {
    let mut worth = *start;
    for lane in 0..LANES {
        let together = shares.together * affinity_signal(together[lane]);
        worth[lane] += together + shares.next * affinity_signal(next[lane]);
        worth[lane] += if near[lane] > 0.0 { shares.near * neighbour_signal(near[lane]) } else { 0.0 };
    }
    worth
}

struct Lead<'a> {
    words: Words<'a>,
    likely: &'a [u32],
    most: usize,
    leading: &'a mut Vec<(f32, u32)>,
}

impl Kernel for Lead<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { words, likely, most, leading } = self;
        leading.clear();
        if most == 0 {
            return;
        }
        let mut first = [f32::NEG_INFINITY; LIKELY];
        for (block, packages) in likely.chunks(LANES).enumerate().take(LIKELY / LANES) {
            first[block * LANES..][..LANES].copy_from_slice(&words.worth_of(packages));
        }
        let mut bar = exceeded(&first, most);
        let slack = words.slack();
        let mut count = 0;
        for block in 0..words.blocks() {
            if !words.may_exceed(block, bar, slack) {
                continue;
            }
            let worth = words.worth(block);
            // Each is written down and counted if it counts: whether it does cannot be foreseen.
            if count + LANES > leading.len() {
                leading.resize((count + LANES).max(2 * leading.len()), (0.0, 0));
            }
            for (lane, worth) in worth.iter().enumerate() {
                leading[count] = (*worth, (block * LANES + lane) as u32);
                count += usize::from(*worth > bar);
            }
            if count > 2 * most + CROWD {
                leading.truncate(count);
                bar = bar.max(cut(leading, most));
                count = leading.len();
            }
        }
        leading.truncate(count);
        if count <= CROWD {
            cut_few(leading, most);
        } else {
            cut(leading, most);
        }
    }
}

/// [`cut`] of up to [`CROWD`]: how many come before each is counted, without branches.
#[inline(always)]
fn cut_few(leading: &mut Vec<(f32, u32)>, most: usize) {
    let mut values = [f32::NEG_INFINITY; CROWD];
    let mut ranks = [0u32; CROWD];
    for ((value, rank), one) in values.iter_mut().zip(&mut ranks).zip(leading.iter()) {
        (*value, *rank) = *one;
    }
    let blocks = leading.len().div_ceil(LANES);
    let mut kept = 0;
    for at in 0..leading.len() {
        let one = leading[at];
        let mut before = [0i32; LANES];
        for block in 0..blocks {
            let (values, ranks) = (lanes(&values, block), &ranks.as_chunks::<LANES>().0[block]);
            for lane in 0..LANES {
                let is_tie = i32::from(values[lane] == one.0) & i32::from(ranks[lane] < one.1);
                before[lane] += i32::from(values[lane] > one.0) | is_tie;
            }
        }
        leading[kept] = one;
        kept += usize::from((before.iter().sum::<i32>() as usize) < most);
    }
    leading.truncate(kept);
}

/// A number that at least `most` of the values exceed, and few more: by bisection.
#[inline(always)]
fn exceeded(values: &[f32; LIKELY], most: usize) -> f32 {
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for value in values {
        low = if *value < low && *value > f32::NEG_INFINITY { *value } else { low };
        high = if *value > high { *value } else { high };
    }
    let mut bar = f32::NEG_INFINITY;
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        let mut above = 0i32;
        for value in values {
            above += i32::from(*value > middle);
        }
        if above as usize >= most {
            (low, bar) = (middle, middle);
        } else {
            high = middle;
        }
    }
    bar
}

/// Keeps the `most` that are worth most, ties to the lower rank; what the last of them is worth, as far as it is
/// known.
fn cut(leading: &mut Vec<(f32, u32)>, most: usize) -> f32 {
    if leading.len() <= most {
        return f32::NEG_INFINITY;
    }
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let (_, last, _) = leading.select_nth_unstable_by(most - 1, order);
    let last = last.0;
    leading.truncate(most);
    last
}

/// Turns what is said of packages into signals.
struct Tell<'a> {
    /// Neighbours, together, next; in whole lanes.
    told: &'a mut [Vec<f32>; 3],
}

impl Kernel for Tell<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [near, together, next] = self.told;
        for near in near {
            *near = neighbour_signal(*near);
        }
        for says in together {
            *says = affinity_signal(*says);
        }
        for says in next {
            *says = affinity_signal(*says);
        }
    }
}

struct All<'a> {
    words: Words<'a>,
    worth: &'a mut [f64],
}

impl Kernel for All<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { words, worth } = self;
        for (block, out) in worth.chunks_mut(LANES).enumerate() {
            let worth = words.worth(block);
            for (out, worth) in out.iter_mut().zip(worth) {
                *out = f64::from(worth);
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

    #[test]
    fn a_bound_is_never_below_the_logarithm_and_close_to_it() {
        for step in 0..200_000u32 {
            let value = f32::from_bits(0x3000_0000 + step * 4_000);
            for floor in [AFFINITY_FLOOR, NEIGHBOUR_FLOOR] {
                let bound = ln_bits(value, floor) - 127.0 * std::f32::consts::LN_2;
                let exact = (value + floor).ln();
                assert!(bound <= exact + ROUNDING / 2.0, "{value}: {bound} {exact}");
                assert!(bound >= exact - LN_ERROR - ROUNDING / 2.0, "{value}: {bound} {exact}");
            }
        }
    }
}
