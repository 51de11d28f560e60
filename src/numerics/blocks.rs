//! The distance kernel: points in blocks of sixteen, one block per instruction.
//!
//! A block holds [`LANES`] points transposed, dimension by dimension, so that one 64-byte lane holds
//! the same dimension of sixteen points and a query is compared with all of them at once. Everything
//! that needs squared Euclidean distances (k-means, the silhouette, the neighbour indexes) goes
//! through here.
//!
//! **One value, whatever computes it.** The distance of a pair is one fixed chain over the dimensions
//! in order, `acc = (x - q).mul_add(x - q, acc)` from 0.0. Lanes never mix, so its bits do not depend
//! on the instruction set, on the place of the point in its block, on the number of threads or on
//! which index asked. The price is one subtraction a dimension that |x|² − 2qx + |q|² would save; that
//! form cancels for vectors far from the origin, and then ranks neighbours by rounding noise.
//!
//! The loops are plain arrays of sixteen floats that LLVM turns into AVX-512 or AVX2 instructions
//! inside functions that enable them; the choice is made at run time. Four queries against one block run
//! at one distance a cycle (16 dimensions, AVX-512), which is what the subtract and multiply-add units
//! allow. Two or four blocks a step measured slower. What is then done with the distances of a search is
//! written in AVX-512 by hand (`avx512.rs`).

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::near::plain_keep;
use super::pages::filled;
use super::rows::Rows;
use super::simd::{InstructionSet, Kernel, dispatch, widest};
use std::ops::Range;

/// Points in a block: the f32 values of one AVX-512 register, and of one cache line.
pub const LANES: usize = 16;

/// A slot of a block that holds no point. Its distance to every query is infinite.
pub const VACANT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Lane(pub(super) [f32; LANES]);

/// Points of `dims` f32 dimensions in blocks of [`LANES`], `dims * 64` bytes a block. By default none, to be filled.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    dims: usize,
    slots: usize,
    lanes: Vec<Lane>,
}

impl Blocks {
    /// Row-major `rows` of `dims` columns in their order: point `i` is slot `i`.
    ///
    /// # Panics
    /// When `dims` is 0 or does not divide the number of values.
    pub fn from_rows(rows: &[f32], dims: usize) -> Self {
        assert!(dims > 0 && rows.len().is_multiple_of(dims), "{} values in rows of {dims}", rows.len());
        let mut blocks = Self::vacant(rows.len() / dims, dims);
        for (slot, row) in rows.chunks_exact(dims).enumerate() {
            blocks.put(slot, row);
        }
        blocks
    }

    /// The rows that `slots` names, in that order; [`VACANT`] leaves a slot empty, so that a group of
    /// points can begin at a block of its own.
    ///
    /// # Panics
    /// When `dims` is 0 or a slot names a row that does not exist.
    pub fn from_slots(rows: &[f32], dims: usize, slots: &[u32]) -> Self {
        assert!(dims > 0, "points without dimensions");
        let mut blocks = Self::vacant(slots.len(), dims);
        for (slot, &row) in slots.iter().enumerate().filter(|(_, row)| **row != VACANT) {
            blocks.put(slot, &rows[row as usize * dims..][..dims]);
        }
        blocks
    }

    /// Puts the points of some slots of `rows` in the place of its own.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn take(&mut self, rows: &Rows, slots: &[[u32; LANES]]) {
        self.take_with(InstructionSet::detect(), rows, slots);
    }

    fn take_with(&mut self, set: InstructionSet, rows: &Rows, slots: &[[u32; LANES]]) {
        self.dims = rows.dims();
        self.slots = slots.len() * LANES;
        self.lanes.resize(slots.len() * self.dims, Lane([f32::INFINITY; LANES]));
        for (slots, block) in slots.iter().zip(self.lanes.chunks_exact_mut(self.dims)) {
            match set {
                // SAFETY: this value exists only where the instructions do.
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512 => unsafe { avx512::take(rows, slots, block) },
                _ => slots.iter().enumerate().for_each(|(at, slot)| {
                    block
                        .iter_mut()
                        .zip(rows.point(*slot as usize))
                        .for_each(|(lane, value)| lane.0[at] = *value);
                }),
            }
        }
    }

    fn vacant(slots: usize, dims: usize) -> Self {
        Self { dims, slots, lanes: filled(Lane([f32::INFINITY; LANES]), slots.div_ceil(LANES) * dims) }
    }

    fn put(&mut self, slot: usize, row: &[f32]) {
        let lanes = &mut self.lanes[slot / LANES * self.dims..][..self.dims];
        for (lane, &value) in lanes.iter_mut().zip(row) {
            lane.0[slot % LANES] = value;
        }
    }

    /// Copies the point of one slot to `row`, infinities if it is vacant.
    ///
    /// # Panics
    /// When `row` has not `dims` values or the slot is not in use.
    pub fn copy_point(&self, slot: usize, row: &mut [f32]) {
        assert!(row.len() == self.dims && slot < self.slots);
        for (value, lane) in row.iter_mut().zip(self.block(slot / LANES)) {
            *value = lane.0[slot % LANES];
        }
    }

    /// Slots in use, vacant ones among them included; the padding of the last block excluded.
    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Number of blocks, the last one padded.
    pub fn blocks(&self) -> usize {
        self.slots.div_ceil(LANES)
    }

    /// The squared distance of `query` to one slot, by the same chain as every other way to ask.
    ///
    /// # Panics
    /// When `query` has not `dims` values or the slot is not in use.
    pub fn distance(&self, query: &[f32], slot: usize) -> f32 {
        assert!(query.len() == self.dims && slot < self.slots);
        widest(One { lanes: self.block(slot / LANES), query, lane: slot % LANES })
    }

    /// The squared distances of `query` to every slot of `blocks`, [`LANES`] a block, infinity where a
    /// slot is vacant or padding.
    ///
    /// # Panics
    /// When `query` has not `dims` values or `out` not `LANES * blocks.len()`.
    pub fn distances(&self, query: &[f32], blocks: Range<usize>, out: &mut [f32]) {
        assert!(out.len() == blocks.len() * LANES);
        self.distances_of([query], blocks, [out.as_chunks_mut().0]);
    }

    /// The squared distances of `Q` queries to every slot of `blocks`, an array a block, infinity where a
    /// slot is vacant or padding. `Q = 4` is fastest a query.
    ///
    /// # Panics
    /// When a query has not `dims` values, or an `out` fewer arrays than there are blocks.
    pub fn distances_of<const Q: usize>(
        &self,
        queries: [&[f32]; Q],
        blocks: Range<usize>,
        out: [&mut [[f32; LANES]]; Q],
    ) {
        self.distances_with(InstructionSet::detect(), queries, blocks, out);
    }

    fn distances_with<const Q: usize>(
        &self,
        set: InstructionSet,
        queries: [&[f32]; Q],
        blocks: Range<usize>,
        out: [&mut [[f32; LANES]]; Q],
    ) {
        assert!(queries.iter().all(|query| query.len() == self.dims));
        match set {
            // SAFETY: this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { avx512::distances(self, queries, blocks, out) },
            set => dispatch(set, Write { points: self, queries, blocks, out }),
        }
    }

    /// Compares `Q` queries with every slot of `blocks`, in order, and hands to `found` what is at or below
    /// the query's threshold, and vacant slots as long as that is infinite. `Q = 4` is fastest a query.
    ///
    /// # Panics
    /// When a query has not `dims` values.
    pub fn scan<const Q: usize>(
        &self,
        queries: [&[f32]; Q],
        blocks: Range<usize>,
        thresholds: [f32; Q],
        found: impl Collect,
    ) {
        self.scan_with(InstructionSet::detect(), queries, blocks, thresholds, found);
    }

    fn scan_with<const Q: usize>(
        &self,
        set: InstructionSet,
        queries: [&[f32]; Q],
        blocks: Range<usize>,
        thresholds: [f32; Q],
        found: impl Collect,
    ) {
        assert!(queries.iter().all(|query| query.len() == self.dims));
        match set {
            // SAFETY: this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { avx512::scan(self, queries, blocks, thresholds, found) },
            set => dispatch(set, Scan { points: self, queries, blocks, thresholds, found }),
        }
    }

    /// The Euclidean distances (roots, not squares) of every slot of one block to each of the row-major `rows`, an
    /// array a row.
    ///
    /// # Panics
    /// When `rows` are not `out.len()` rows of `dims` columns, or there is no such block.
    pub fn roots(&self, block: usize, rows: &[f32], out: &mut [[f32; LANES]]) {
        assert!(rows.len() == out.len() * self.dims);
        widest(Roots { lanes: self.block(block), dims: self.dims, rows, out });
    }

    /// For every slot of `blocks` the nearest of the row-major `centres` and the squared distance to it; of two centres at
    /// the same distance the lower index. A vacant slot gets centre 0 at an infinite distance.
    ///
    /// # Panics
    /// When there is no centre, or dimensions or lengths (one label and distance a slot) differ.
    pub fn nearest(&self, centres: &[f32], blocks: Range<usize>, labels: &mut [u32], distances: &mut [f32]) {
        let slots = (blocks.end * LANES).min(self.slots).saturating_sub(blocks.start * LANES);
        assert!(
            !centres.is_empty() && centres.len().is_multiple_of(self.dims),
            "no centres of these dimensions"
        );
        assert!(labels.len() == slots && distances.len() == slots);
        let (dims, lanes) = (self.dims, &self.lanes[blocks.start * self.dims..blocks.end * self.dims]);
        widest(Nearest { lanes, dims, centres, labels, distances });
    }

    pub(super) fn block(&self, block: usize) -> &[Lane] {
        &self.lanes[block * self.dims..][..self.dims]
    }
}

/// For each row of `rows` the nearest of `centres` (both row-major, of `dims` columns) and the squared
/// distance to it; of two centres at the same distance the lower index. Cost: rows × centres distances,
/// one small buffer.
///
/// # Panics
/// When there is no centre, or `labels` or `distances` has not one place a row.
pub fn nearest(centres: &[f32], dims: usize, rows: &[f32], labels: &mut [u32], distances: &mut [f32]) {
    // Blocks of a few KiB are transposed into a buffer that stays in the first-level cache.
    const STEP: usize = 4 * LANES;
    assert!(rows.len() == labels.len() * dims && labels.len() == distances.len());
    let mut buffer = Blocks::vacant(STEP, dims);
    for (step, rows) in rows.chunks(STEP * dims).enumerate() {
        for (slot, row) in rows.chunks_exact(dims).enumerate() {
            buffer.put(slot, row);
        }
        buffer.slots = rows.len() / dims;
        let range = step * STEP..step * STEP + buffer.slots;
        let blocks = 0..buffer.blocks();
        buffer.nearest(centres, blocks, &mut labels[range.clone()], &mut distances[range]);
    }
}

/// What a scan leaves its finds with.
pub trait Collect {
    /// Where finds of query `q` (of those that are asked together) in a block go, and what its slots are called.
    fn room(&mut self, q: usize, block: usize) -> Room<'_>;

    /// So many were put there. Returns the query's threshold from then on.
    fn took(&mut self, q: usize, count: usize) -> f32;
}

/// Room for as many finds as a block can give, and the names of the block's slots.
pub struct Room<'a> {
    pub names: &'a [u32; LANES],
    pub distances: &'a mut [f32; LANES],
    pub kept: &'a mut [u32; LANES],
}

impl<'a> Room<'a> {
    /// Room in two columns, from a row on.
    ///
    /// # Panics
    /// When the columns end before a block's finds would.
    #[inline(always)]
    pub fn at(row: usize, names: &'a [u32; LANES], distances: &'a mut [f32], kept: &'a mut [u32]) -> Self {
        let most = "room for a block";
        Self {
            names,
            distances: distances[row..].first_chunk_mut().expect(most),
            kept: kept[row..].first_chunk_mut().expect(most),
        }
    }
}

/// The chain itself, for `Q` queries against one block: the definition of a distance in packwise.
#[inline(always)]
pub(super) fn chain<const Q: usize>(lanes: &[Lane], queries: &[&[f32]; Q]) -> [[f32; LANES]; Q] {
    let mut sums = [[0.0f32; LANES]; Q];
    let queries: [&[f32]; Q] = std::array::from_fn(|q| &queries[q][..lanes.len()]);
    for (d, lane) in lanes.iter().enumerate() {
        for q in 0..Q {
            let value = queries[q][d];
            for i in 0..LANES {
                let difference = lane.0[i] - value;
                sums[q][i] = difference.mul_add(difference, sums[q][i]);
            }
        }
    }
    sums
}

struct One<'a> {
    lanes: &'a [Lane],
    query: &'a [f32],
    lane: usize,
}

impl Kernel for One<'_> {
    type Output = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        self.lanes.iter().zip(self.query).fold(0.0, |sum, (lane, &value)| {
            let difference = lane.0[self.lane] - value;
            difference.mul_add(difference, sum)
        })
    }
}

struct Write<'a, const Q: usize> {
    points: &'a Blocks,
    queries: [&'a [f32]; Q],
    blocks: Range<usize>,
    out: [&'a mut [[f32; LANES]]; Q],
}

impl<const Q: usize> Kernel for Write<'_, Q> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Self { points, queries, blocks, out } = self;
        for (place, block) in blocks.enumerate() {
            let distances = chain(points.block(block), &queries);
            for q in 0..Q {
                out[q][place] = distances[q];
            }
        }
    }
}

struct Scan<'a, const Q: usize, F> {
    points: &'a Blocks,
    queries: [&'a [f32]; Q],
    blocks: Range<usize>,
    thresholds: [f32; Q],
    found: F,
}

impl<const Q: usize, F: Collect> Kernel for Scan<'_, Q, F> {
    type Output = ();
    #[inline(always)]
    fn run(mut self) {
        for block in self.blocks {
            let distances = chain(self.points.block(block), &self.queries);
            for q in 0..Q {
                // Without a branch in the loop this is one compare and one test of the mask.
                let mut any = false;
                for i in 0..LANES {
                    any |= distances[q][i] <= self.thresholds[q];
                }
                if any {
                    // A copy: what a reference leaves with cannot stay in registers.
                    let near = distances[q];
                    let kept = plain_keep(&near, self.thresholds[q], self.found.room(q, block));
                    self.thresholds[q] = self.found.took(q, kept);
                }
            }
        }
    }
}

struct Roots<'a> {
    lanes: &'a [Lane],
    dims: usize,
    rows: &'a [f32],
    out: &'a mut [[f32; LANES]],
}

impl Kernel for Roots<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let (fours, rest) = self.out.as_chunks_mut::<4>();
        let rows = self.rows.chunks_exact(4 * self.dims);
        let last = rows.remainder();
        for (rows, out) in rows.zip(fours) {
            let distances =
                chain(self.lanes, &std::array::from_fn::<_, 4, _>(|q| &rows[q * self.dims..][..self.dims]));
            for q in 0..4 {
                for i in 0..LANES {
                    out[q][i] = distances[q][i].sqrt();
                }
            }
        }
        for (row, out) in last.chunks_exact(self.dims).zip(rest) {
            let [distances] = chain(self.lanes, &[row]);
            for i in 0..LANES {
                out[i] = distances[i].sqrt();
            }
        }
    }
}

struct Nearest<'a> {
    lanes: &'a [Lane],
    dims: usize,
    /// Row-major.
    centres: &'a [f32],
    labels: &'a mut [u32],
    distances: &'a mut [f32],
}

impl Kernel for Nearest<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let mut blocks = self.lanes.chunks_exact(self.dims);
        let (labels, last_labels) = self.labels.as_chunks_mut::<LANES>();
        let (distances, last_distances) = self.distances.as_chunks_mut::<LANES>();
        // Whole arrays are stored, never parts of them, so that they can stay in registers.
        for ((labels, distances), lanes) in labels.iter_mut().zip(distances).zip(&mut blocks) {
            let best = Best::of(lanes, self.dims, self.centres);
            (*labels, *distances) = (best.label, best.distance);
        }
        for lanes in blocks {
            let best = Best::of(lanes, self.dims, self.centres);
            let (label, distance) = (best.label, best.distance);
            last_labels.copy_from_slice(&label[..last_labels.len()]);
            last_distances.copy_from_slice(&distance[..last_distances.len()]);
        }
    }
}

/// The nearest centre so far of each of sixteen points.
struct Best {
    label: [u32; LANES],
    distance: [f32; LANES],
}

impl Best {
    #[inline(always)]
    fn of(lanes: &[Lane], dims: usize, centres: &[f32]) -> Self {
        let mut best = Self { label: [0; LANES], distance: [f32::INFINITY; LANES] };
        let fours = centres.chunks_exact(4 * dims);
        let (mut first, rest) = (0, fours.remainder());
        for four in fours {
            best.meet(lanes, std::array::from_fn::<_, 4, _>(|c| &four[c * dims..][..dims]), first);
            first += 4;
        }
        for centre in rest.chunks_exact(dims) {
            best.meet(lanes, [centre], first);
            first += 1;
        }
        best
    }

    /// Compares with the `C` centres from `first` on. (x − c)² and (c − x)² have the same bits, so that
    /// the centres may stand where queries do.
    #[inline(always)]
    fn meet<const C: usize>(&mut self, lanes: &[Lane], centres: [&[f32]; C], first: u32) {
        let distances = chain(lanes, &centres);
        for (c, distances) in distances.iter().enumerate() {
            for i in 0..LANES {
                let nearer = distances[i] < self.distance[i];
                self.label[i] = if nearer { first + c as u32 } else { self.label[i] };
                self.distance[i] = if nearer { distances[i] } else { self.distance[i] };
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
