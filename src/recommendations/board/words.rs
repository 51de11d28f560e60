//! What is said of all packages as one sum each, and which sums lead: kernels for the widest instructions.

use super::{LIKELY, Shares};
use crate::affinities::models::LANES;
use crate::numerics::simd::Kernel;
use crate::recommendations::signals::{AFFINITY_FLOOR, NEIGHBOUR_FLOOR, affinity_signal, neighbour_signal};

/// Steps that halve the range of what the likely ones are worth.
const BISECTIONS: usize = 12;
/// Packages above the bar that are kept beyond twice as many as are wanted.
const CROWD: usize = 64;

/// What is said of all packages, by rank, in whole lanes.
pub(super) struct Words<'a> {
    pub start: &'a [f32],
    pub near: &'a [f32],
    pub together: &'a [f32],
    pub next: &'a [f32],
    pub shares: Shares,
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

pub(super) struct Lead<'a> {
    pub words: Words<'a>,
    pub likely: &'a [u32],
    pub most: usize,
    pub leading: &'a mut Vec<(f32, u32)>,
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
pub(super) struct Tell<'a> {
    /// Neighbours, together, next; in whole lanes.
    pub told: &'a mut [Vec<f32>; 3],
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

pub(super) struct All<'a> {
    pub words: Words<'a>,
    pub worth: &'a mut [f64],
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
