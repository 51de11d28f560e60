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
//! inside functions that enable them; the choice is made at run time. Hand-written intrinsics were not
//! needed: four queries against one block run at one distance a cycle (16 dimensions, AVX-512), which
//! is what the subtract and multiply-add units allow. Two or four blocks a step measured slower.

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

/// Points in a block: the f32 values of one AVX-512 register, and of one cache line.
pub const LANES: usize = 16;

/// A slot of a block that holds no point. Its distance to every query is infinite.
pub const VACANT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Lane([f32; LANES]);

/// Points of `dims` f32 dimensions in blocks of [`LANES`], `dims * 64` bytes a block.
#[derive(Clone, Debug)]
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

    fn vacant(slots: usize, dims: usize) -> Self {
        Self { dims, slots, lanes: vec![Lane([f32::INFINITY; LANES]); slots.div_ceil(LANES) * dims] }
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
        dispatch(InstructionSet::detect(), One { lanes: self.block(slot / LANES), query, lane: slot % LANES })
    }

    /// The squared distances of `query` to every slot of `blocks`, [`LANES`] a block, infinity where a
    /// slot is vacant or padding.
    ///
    /// # Panics
    /// When `query` has not `dims` values or `out` not `LANES * blocks.len()`.
    pub fn distances(&self, query: &[f32], blocks: Range<usize>, out: &mut [f32]) {
        assert!(query.len() == self.dims && out.len() == blocks.len() * LANES);
        dispatch(InstructionSet::detect(), Write { points: self, query, blocks, out });
    }

    /// Compares `Q` queries with every slot of `blocks`. `found(query, block, distances)` is called
    /// when at least one of the block's sixteen distances is at or below the query's threshold, and
    /// returns the threshold from then on. Blocks come in order; `Q = 4` is fastest a query.
    ///
    /// # Panics
    /// When a query has not `dims` values.
    pub fn scan<const Q: usize, F>(
        &self,
        queries: [&[f32]; Q],
        blocks: Range<usize>,
        thresholds: [f32; Q],
        found: F,
    ) where
        F: FnMut(usize, usize, &[f32; LANES]) -> f32,
    {
        assert!(queries.iter().all(|query| query.len() == self.dims));
        dispatch(InstructionSet::detect(), Scan { points: self, queries, blocks, thresholds, found });
    }

    /// For each of `Q` queries the sum of its Euclidean distances (roots, not squares) to the first
    /// `filled` slots of the blocks from `first` on. Every 32 blocks the f32 partial sums go to f64.
    ///
    /// # Panics
    /// When a query has not `dims` values or the blocks do not hold so many slots.
    pub fn distance_sums<const Q: usize>(
        &self,
        queries: [&[f32]; Q],
        first: usize,
        filled: usize,
    ) -> [f64; Q] {
        assert!(queries.iter().all(|query| query.len() == self.dims));
        assert!(first * LANES + filled <= self.slots);
        dispatch(InstructionSet::detect(), Sums { points: self, queries, first, filled })
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
        dispatch(InstructionSet::detect(), Nearest { lanes, dims, centres, labels, distances });
    }

    fn block(&self, block: usize) -> &[Lane] {
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

/// The instruction set that the kernels use on this machine, for reports and benchmarks.
pub fn instruction_set() -> &'static str {
    match InstructionSet::detect() {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => "AVX2 and FMA",
        InstructionSet::Portable => "portable",
    }
}

/// Proof that the machine has an instruction set: only `available` makes values other than `Portable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InstructionSet {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl InstructionSet {
    /// Best first. The detection is cached by the standard library.
    fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let found = [
            std::arch::is_x86_feature_detected!("avx512f").then_some(Self::Avx512),
            (std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"))
                .then_some(Self::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let found = [];
        found.into_iter().flatten().chain([Self::Portable])
    }

    fn detect() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }
}

/// A loop to compile once for every instruction set. `run` must be `#[inline(always)]`, so that it
/// becomes part of the function that enables the instructions.
trait Kernel {
    type Output;
    fn run(self) -> Self::Output;
}

fn dispatch<K: Kernel>(set: InstructionSet, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run()
    }
    match set {
        // SAFETY: the kernels are safe code; the only demand is that the processor has the enabled
        // instructions, and these two values exist only where `available` has detected them.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { with_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { with_avx2(kernel) },
        InstructionSet::Portable => kernel.run(),
    }
}

/// The chain itself, for `Q` queries against one block: the definition of a distance in packwise.
#[inline(always)]
fn chain<const Q: usize>(lanes: &[Lane], queries: &[&[f32]; Q]) -> [[f32; LANES]; Q] {
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

struct Write<'a> {
    points: &'a Blocks,
    query: &'a [f32],
    blocks: Range<usize>,
    out: &'a mut [f32],
}

impl Kernel for Write<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let (out, _) = self.out.as_chunks_mut::<LANES>();
        for (block, out) in self.blocks.zip(out) {
            [*out] = chain(self.points.block(block), &[self.query]);
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

impl<const Q: usize, F: FnMut(usize, usize, &[f32; LANES]) -> f32> Kernel for Scan<'_, Q, F> {
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
                    self.thresholds[q] = (self.found)(q, block, &near);
                }
            }
        }
    }
}

struct Sums<'a, const Q: usize> {
    points: &'a Blocks,
    queries: [&'a [f32]; Q],
    first: usize,
    filled: usize,
}

impl<const Q: usize> Kernel for Sums<'_, Q> {
    type Output = [f64; Q];
    #[inline(always)]
    fn run(self) -> [f64; Q] {
        const FLUSH: usize = 32;
        let mut totals = [0.0f64; Q];
        let full = self.filled / LANES;
        let mut block = 0;
        while block < full {
            let end = (block + FLUSH).min(full);
            let mut sums = [[0.0f32; LANES]; Q];
            for b in block..end {
                let distances = chain(self.points.block(self.first + b), &self.queries);
                for q in 0..Q {
                    for i in 0..LANES {
                        sums[q][i] += distances[q][i].sqrt();
                    }
                }
            }
            for q in 0..Q {
                totals[q] += sums[q].iter().map(|&sum| f64::from(sum)).sum::<f64>();
            }
            block = end;
        }
        let rest = self.filled % LANES;
        if rest > 0 {
            let distances = chain(self.points.block(self.first + full), &self.queries);
            for q in 0..Q {
                totals[q] += distances[q][..rest].iter().map(|&square| f64::from(square.sqrt())).sum::<f64>();
            }
        }
        totals
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
mod tests {
    use super::*;
    use crate::numerics::random::generator;
    use rand::Rng;

    fn rows(n: usize, dims: usize, key: u64) -> Vec<f32> {
        let mut random = generator(7, "blocks test", key);
        (0..n * dims).map(|_| random.gen_range(-3.0..3.0f32)).collect()
    }

    /// The chain written once more, without blocks.
    fn plain(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).fold(0.0, |sum, (x, y)| (x - y).mul_add(x - y, sum))
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_plain_chain() {
        for (n, dims) in [(1, 1), (16, 3), (37, 16), (100, 41)] {
            let (points, queries) = (rows(n, dims, 1), rows(4, dims, 2));
            let blocks = Blocks::from_rows(&points, dims);
            let query: [&[f32]; 4] = std::array::from_fn(|q| &queries[q * dims..][..dims]);
            let expected = |q: usize, i: usize| plain(&points[i * dims..][..dims], query[q]).to_bits();
            for set in InstructionSet::available() {
                let mut one = vec![0.0; blocks.blocks() * LANES];
                dispatch(
                    set,
                    Write { points: &blocks, query: query[0], blocks: 0..blocks.blocks(), out: &mut one },
                );
                assert!((0..n).all(|i| one[i].to_bits() == expected(0, i)), "{set:?} n={n} dims={dims}");
                assert!(one[n..].iter().all(|d| *d == f32::INFINITY), "padding is infinitely far");
                let mut seen = 0;
                let found = |q: usize, block: usize, distances: &[f32; LANES]| {
                    for (i, distance) in distances.iter().enumerate().take(n - block * LANES) {
                        assert_eq!(distance.to_bits(), expected(q, block * LANES + i), "{set:?}");
                        seen += 1;
                    }
                    f32::INFINITY
                };
                let thresholds = [f32::INFINITY; 4];
                let range = 0..blocks.blocks();
                dispatch(set, Scan { points: &blocks, queries: query, blocks: range, thresholds, found });
                assert_eq!(seen, 4 * n);
                let lane = (n - 1) % LANES;
                let last = blocks.block((n - 1) / LANES);
                let alone = dispatch(set, One { lanes: last, query: query[1], lane });
                assert_eq!(alone.to_bits(), expected(1, n - 1));
            }
        }
    }

    #[test]
    fn nearest_agrees_with_brute_force_for_every_number_of_centres_and_instruction_set() {
        let dims = 5;
        let points = rows(53, dims, 3);
        let blocks = Blocks::from_rows(&points, dims);
        for k in [1, 2, 7, 8, 9, 16, 17, 31, 40] {
            let centres = rows(k, dims, 4);
            let expected: Vec<(u32, u32)> = points
                .chunks_exact(dims)
                .map(|point| {
                    let all = centres.chunks_exact(dims).map(|centre| plain(point, centre));
                    let best = all.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).expect("centres");
                    (best.0 as u32, best.1.to_bits())
                })
                .collect();
            let check = |labels: &[u32], distances: &[f32], how: &str| {
                let got: Vec<_> = labels.iter().copied().zip(distances.iter().map(|d| d.to_bits())).collect();
                assert_eq!(got, expected, "k = {k}, {how}");
            };
            let (mut labels, mut distances) = (vec![9; 53], vec![0.0; 53]);
            for set in InstructionSet::available() {
                let (labels, distances) = (&mut labels[..], &mut distances[..]);
                dispatch(set, Nearest { lanes: &blocks.lanes, dims, centres: &centres, labels, distances });
                check(labels, distances, &format!("{set:?}"));
            }
            nearest(&centres, dims, &points, &mut labels, &mut distances);
            check(&labels, &distances, "from rows");
        }
    }

    #[test]
    fn a_tie_goes_to_the_lower_centre_and_a_scan_finds_only_what_is_near() {
        let (mut labels, mut distances) = ([9; 2], [0.0; 2]);
        nearest(&[1.0, -1.0, 1.0], 1, &[0.0, 2.0], &mut labels, &mut distances);
        assert_eq!((labels, distances), ([0, 0], [1.0, 1.0]));

        let points: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let mut hits = Vec::new();
        Blocks::from_rows(&points, 1).scan([&[40.0]], 0..4, [9.0], |_, block, _| {
            hits.push(block);
            9.0
        });
        assert_eq!(hits, [2], "37 to 43 all lie in block 2");
    }

    #[test]
    fn sums_of_distances_stop_at_the_filled_slots() {
        let points = rows(1000, 6, 5);
        let slots: Vec<u32> = [VACANT; LANES].into_iter().chain(0..1000).collect();
        let blocks = Blocks::from_slots(&points, 6, &slots);
        for filled in [0, 1, 15, 16, 17, 997] {
            let query = &points[..6];
            let expected: f64 =
                points.chunks_exact(6).take(filled).map(|p| f64::from(plain(p, query).sqrt())).sum();
            let [got] = blocks.distance_sums([query], 1, filled);
            assert!((got - expected).abs() <= 1e-5 * expected, "{filled}: {got} {expected}");
        }
    }
}
