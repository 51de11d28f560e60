//! Lloyd's iterations without the distances that cannot change an assignment.
//!
//! A row keeps a bound above the distance to its own centroid and, for each group of centroids, a bound below
//! the distances to the others in it (Ding et al. 2015, "Yinyang k-means"); with one group these are Hamerly's
//! bounds (2010). When centroids move, bounds move by as much. A row whose own centroid is certainly
//! nearest is left alone; any other is compared with all centroids.
//!
//! **The same bits as without bounds.** What is compared are computed squares, and a chain of `dims` terms is
//! off by less than (dims + 2) · 2⁻²⁴ of its true value. Bounds are wider by more than that, rounded outwards
//! on every move, and a row is left alone only if the squares would differ whatever the rounding; never where
//! squares are so small that they vanish, or so large that they are infinite.

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]
// What cannot be compared is in doubt.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use super::Prepared;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use crate::numerics::blocks::{Blocks, LANES, VACANT, chain};
use crate::numerics::simd::{InstructionSet, Kernel, dispatch};

/// Groups at most, so that bounds stay within 36 bytes a row.
pub(super) const GROUPS: usize = 8;

/// One rounding of a bound outwards.
pub(super) const WIDER: f32 = 1.0 + 2.0 * f32::EPSILON;
pub(super) const NARROWER: f32 = 1.0 - 2.0 * f32::EPSILON;

/// Lower bounds between these are trusted: squares of smaller ones may vanish, of larger ones be infinite.
pub(super) const LEAST: f32 = 1e-15;
pub(super) const LARGEST: f32 = 1e18;
/// More than what vanishing squares hide.
const VANISHING: f32 = 1e-19;

/// Bounds of all rows, and how centroids are grouped.
pub(super) struct Bounds {
    dims: usize,
    /// Centroids by group, each group from a block of its own.
    slots: Vec<u32>,
    /// The group of each centroid.
    group_of: Vec<u32>,
    groups: usize,
    /// Where the centroids were; nothing before the first turn.
    before: Option<Vec<f32>>,
    /// For each sixteen rows an array of bounds above, and one of bounds below for each group.
    rows: Vec<[f32; LANES]>,
}

impl Bounds {
    /// Groups neighbouring centroids, which move alike.
    pub fn new(data: &Prepared, centroids: &[f32]) -> Self {
        let dims = data.dims;
        let k = centroids.len() / dims;
        let blocks = k.div_ceil(LANES);
        let each = blocks.div_ceil(GROUPS);
        let groups = blocks.div_ceil(each);
        let mut order: Vec<u32> = (0..k as u32).collect();
        let mut bounds = Self {
            dims,
            slots: Vec::with_capacity(groups * each * LANES),
            group_of: vec![0; k],
            groups,
            before: None,
            rows: vec![[0.0; LANES]; data.points.blocks() * (groups + 1)],
        };
        bounds.part(&mut order, centroids, 0..groups, each * LANES);
        bounds
    }

    /// Deals centroids to groups by halves of the dimension in which they spread most.
    fn part(&mut self, order: &mut [u32], centroids: &[f32], groups: std::ops::Range<usize>, room: usize) {
        if groups.len() <= 1 {
            for &centre in order.iter() {
                self.group_of[centre as usize] = groups.start as u32;
            }
            self.slots.extend_from_slice(order);
            self.slots.resize(groups.end * room, VACANT);
            return;
        }
        let value = |centre: u32, dim: usize| centroids[centre as usize * self.dims + dim];
        let spread = |dim: usize| {
            let values = || order.iter().map(|&centre| f64::from(value(centre, dim)));
            let mean = values().sum::<f64>() / order.len() as f64;
            values().map(|value| (value - mean).powi(2)).sum::<f64>()
        };
        let widest = (0..self.dims).map(|dim| (spread(dim), dim)).max_by(|a, b| a.0.total_cmp(&b.0));
        let dim = widest.map_or(0, |widest| widest.1);
        order.sort_unstable_by(|&a, &b| value(a, dim).total_cmp(&value(b, dim)).then(a.cmp(&b)));
        let middle = groups.start + groups.len() / 2;
        let (left, right) = order.split_at_mut(order.len() * (groups.len() / 2) / groups.len());
        self.part(left, centroids, groups.start..middle, room);
        self.part(right, centroids, middle..groups.end, room);
    }

    /// How to place rows by these centroids, which must be finite, and the bounds of all rows.
    pub fn turn<'a>(&'a mut self, centroids: &'a [f32]) -> (Turn<'a>, &'a mut [[f32; LANES]]) {
        let moves = self.before.as_ref().map(|before| {
            let pairs = before.chunks_exact(self.dims).zip(centroids.chunks_exact(self.dims));
            let own: Vec<f32> = pairs.map(|(a, b)| moved(a, b)).collect();
            let mut groups = vec![0.0f32; self.groups];
            for (&moved, &group) in own.iter().zip(&self.group_of) {
                groups[group as usize] = groups[group as usize].max(moved);
            }
            Moves { own, groups }
        });
        self.before = Some(centroids.to_vec());
        let turn = Turn {
            dims: self.dims,
            groups: self.groups,
            centroids,
            centres: Blocks::from_slots(centroids, self.dims, &self.slots),
            names: self.slots.as_chunks().0,
            group_of: &self.group_of,
            moves,
            error: (self.dims + 8) as f32 * f32::EPSILON,
        };
        (turn, &mut self.rows)
    }
}

/// Not less than the distance of two centroids.
fn moved(a: &[f32], b: &[f32]) -> f32 {
    let square: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    if square > 0.0 { (square.sqrt() * (1.0 + 1e-6)) as f32 + f32::MIN_POSITIVE } else { 0.0 }
}

/// How far centroids have moved since the last turn, and the farthest of each group.
pub(super) struct Moves {
    pub own: Vec<f32>,
    pub groups: Vec<f32>,
}

/// One iteration.
pub(super) struct Turn<'a> {
    pub dims: usize,
    pub groups: usize,
    pub centroids: &'a [f32],
    pub centres: Blocks,
    /// The centroid of each slot.
    pub names: &'a [[u32; LANES]],
    pub group_of: &'a [u32],
    /// Nothing if no row has bounds yet.
    moves: Option<Moves>,
    /// More than the relative error of a computed square.
    pub error: f32,
}

/// Four rows to be compared with all centroids.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub rows: [u32; 4],
    pub values: [&'a [f32]; 4],
}

impl Turn<'_> {
    /// Arrays of bounds for so many rows.
    pub fn arrays(&self, rows: usize) -> usize {
        rows.div_ceil(LANES) * (self.groups + 1)
    }

    /// Gives rows their labels and bounds.
    pub fn place(&self, rows: &[f32], labels: &mut [u32], bounds: &mut [[f32; LANES]]) {
        self.place_with(InstructionSet::detect(), rows, labels, bounds);
    }

    pub fn place_with(
        &self,
        set: InstructionSet,
        rows: &[f32],
        labels: &mut [u32],
        bounds: &mut [[f32; LANES]],
    ) {
        let mut open: Vec<u32> = (0..(labels.len() + LANES) as u32).collect();
        let mut count = labels.len();
        if let Some(moves) = &self.moves {
            let (open, (labels, bounds)) = (&mut open[..], (&*labels, &mut *bounds));
            count = match set {
                // SAFETY: this value exists only where the instructions do.
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512 => unsafe {
                    let count = avx512::shift(self, moves, labels, bounds, open);
                    avx512::tighten(self, rows, labels, bounds, open, count)
                },
                set => dispatch(set, Doubt { turn: self, moves, rows, labels, bounds, open }),
            };
        }
        let mut seen = vec![[[0u32; LANES]; 4]; self.names.len()];
        for some in open[..count].chunks(4) {
            // A short last group repeats its last row.
            let rows_of = |q: usize| some[q.min(some.len() - 1)];
            let asked: [u32; 4] = std::array::from_fn(rows_of);
            let values = asked.map(|row| &rows[row as usize * self.dims..][..self.dims]);
            let wanted = Wanted { rows: asked, values };
            match set {
                // SAFETY: this value exists only where the instructions do.
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512 => unsafe { avx512::compare(self, wanted, labels, bounds, &mut seen) },
                set => dispatch(set, Compare { turn: self, wanted, labels, bounds, seen: &mut seen }),
            }
        }
    }

    /// The bounds of a row and fifteen others.
    #[inline(always)]
    pub fn bounds_of<'b>(&self, row: usize, bounds: &'b mut [[f32; LANES]]) -> &'b mut [[f32; LANES]] {
        &mut bounds[row / LANES * (self.groups + 1)..][..self.groups + 1]
    }

    /// How much less a bound above must be than one below.
    #[inline(always)]
    pub fn slack(&self) -> f32 {
        1.0 + 4.0 * self.error
    }

    /// Not less than the distance whose square was computed.
    #[inline(always)]
    pub fn above(&self, square: f32) -> f32 {
        square.sqrt() * (1.0 + self.error) + VANISHING
    }

    /// Not more than the distance whose square was computed.
    #[inline(always)]
    fn below(&self, square: f32) -> f32 {
        let root = square.sqrt() * (1.0 - self.error);
        if root < LARGEST { root } else { LARGEST }
    }

    /// Keeps the squared distance of a row to its own centroid; says whether another one may be nearer.
    #[inline(always)]
    pub fn doubt(&self, square: f32, row: usize, bounds: &mut [[f32; LANES]]) -> bool {
        let (above, lane) = (self.above(square), row % LANES);
        let bounds = self.bounds_of(row, bounds);
        bounds[0][lane] = above;
        let reach = (above * self.slack()).max(LEAST);
        let mut near = false;
        for below in &bounds[1..] {
            near |= !(reach < below[lane]);
        }
        near
    }
}

/// Moves all bounds, and lists the rows whose own centroid may not be the nearest. Returns how many there are.
struct Doubt<'a> {
    turn: &'a Turn<'a>,
    moves: &'a Moves,
    rows: &'a [f32],
    labels: &'a [u32],
    bounds: &'a mut [[f32; LANES]],
    open: &'a mut [u32],
}

impl Kernel for Doubt<'_> {
    type Output = usize;
    #[inline(always)]
    fn run(self) -> usize {
        let Self { turn, moves, rows, labels, bounds, open } = self;
        let (mut count, dims) = (0, turn.dims);
        for (row, &label) in labels.iter().enumerate() {
            let lane = row % LANES;
            let own = turn.bounds_of(row, bounds);
            own[0][lane] = (own[0][lane] + moves.own[label as usize]) * WIDER;
            let reach = (own[0][lane] * turn.slack()).max(LEAST);
            let mut near = false;
            for (below, moved) in own[1..].iter_mut().zip(&moves.groups) {
                below[lane] = (below[lane] - moved) * NARROWER;
                near |= !(reach < below[lane]);
            }
            if near {
                let centre = &turn.centroids[label as usize * dims..][..dims];
                let near = turn.doubt(square(&rows[row * dims..][..dims], centre), row, bounds);
                open[count] = row as u32;
                count += usize::from(near);
            }
        }
        count
    }
}

/// Compares four rows with all centroids.
struct Compare<'a> {
    turn: &'a Turn<'a>,
    wanted: Wanted<'a>,
    labels: &'a mut [u32],
    bounds: &'a mut [[f32; LANES]],
    /// Room for the squares of all slots.
    seen: &'a mut [[[u32; LANES]; 4]],
}

impl Kernel for Compare<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Self { turn, wanted, labels, bounds, seen } = self;
        let each = turn.names.len() / turn.groups;
        // Squares are not negative: as integers their bits are in the same order.
        let mut least = [[u32::MAX; 4]; GROUPS];
        for (group, least) in least[..turn.groups].iter_mut().enumerate() {
            for block in group * each..(group + 1) * each {
                let squares = chain(turn.centres.block(block), &wanted.values);
                for q in 0..4 {
                    seen[block][q] = squares[q].map(f32::to_bits);
                    least[q] = least[q].min(smallest(&seen[block][q]));
                }
            }
        }
        for q in 0..4 {
            let (row, mut best) = (wanted.rows[q] as usize, u32::MAX);
            for least in &least[..turn.groups] {
                best = best.min(least[q]);
            }
            // Of equals the lowest number.
            let mut label = u32::MAX;
            for (names, seen) in turn.names.iter().zip(&*seen) {
                for i in 0..LANES {
                    label = label.min(if seen[q][i] == best { names[i] } else { u32::MAX });
                }
            }
            let own = turn.group_of[label as usize] as usize;
            let mut others = u32::MAX;
            for block in own * each..(own + 1) * each {
                for i in 0..LANES {
                    let other = turn.names[block][i] != label;
                    others = others.min(if other { seen[block][q][i] } else { u32::MAX });
                }
            }
            least[own][q] = others;
            labels[row] = label;
            let bounds = turn.bounds_of(row, bounds);
            bounds[0][row % LANES] = turn.above(f32::from_bits(best));
            for (least, below) in least.iter().zip(&mut bounds[1..]) {
                // Where there is no other, as far as can be.
                let least = least[q].min(f32::INFINITY.to_bits());
                below[row % LANES] = turn.below(f32::from_bits(least));
            }
        }
    }
}

#[inline(always)]
fn smallest(values: &[u32; LANES]) -> u32 {
    let mut eight = [0; 8];
    for i in 0..8 {
        eight[i] = values[i].min(values[i + 8]);
    }
    let mut four = [0; 4];
    for i in 0..4 {
        four[i] = eight[i].min(eight[i + 4]);
    }
    four[0].min(four[2]).min(four[1].min(four[3]))
}

/// A squared distance in any order of additions.
#[inline(always)]
fn square(a: &[f32], b: &[f32]) -> f32 {
    let ((a, last), (b, rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] = (a[i] - b[i]).mul_add(a[i] - b[i], sums[i]);
        }
    }
    let mut sum = 0.0;
    for (a, b) in last.iter().zip(rest) {
        sum = (a - b).mul_add(a - b, sum);
    }
    for i in 0..4 {
        sums[i] += sums[i + 4];
    }
    sum + (sums[0] + sums[2]) + (sums[1] + sums[3])
}

#[cfg(test)]
mod tests;
