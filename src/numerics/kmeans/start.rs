//! Where the centroids begin.

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{Options, Prepared, START_SAMPLE, Start};
use crate::numerics::blocks::{Blocks, LANES, chain};
use crate::numerics::random::{generator, hash_bytes, hash_u64};
use crate::numerics::simd::{InstructionSet, Kernel, dispatch};
use rand::Rng;
use std::ops::Range;

/// Blocks that are compared with all candidates before the next ones are fetched.
const STRETCH: usize = 32;

pub(super) fn start(data: &Prepared, options: &Options, run: u64) -> Vec<f32> {
    let (n, dims) = (data.len(), data.dims);
    let size = match options.start {
        Start::Given(ref given) => return given.clone(),
        Start::Rows => options.k,
        Start::PlusPlus => START_SAMPLE.max(options.k),
    };
    let seed = hash_bytes(&run.to_le_bytes(), options.seed);
    if size >= n && options.start == Start::PlusPlus {
        return plus_plus(data.rows, &data.points, options.k, seed);
    }
    let sample: Vec<f32> =
        hash_sample(n, size, seed).into_iter().flat_map(|row| data.row(row)).copied().collect();
    if options.start == Start::Rows {
        return sample;
    }
    plus_plus(&sample, &Blocks::from_rows(&sample, dims), options.k, seed)
}

/// At most `size` of `0..n`, in order: those whose hash under the seed is smallest.
pub fn hash_sample(n: usize, size: usize, seed: u64) -> Vec<usize> {
    if size >= n {
        return (0..n).collect();
    }
    let seed = hash_bytes(b"sample", seed);
    let mut keyed: Vec<(u64, usize)> = (0..n).map(|row| (hash_u64(row as u64, seed), row)).collect();
    keyed.select_nth_unstable(size);
    let mut sample: Vec<usize> = keyed[..size].iter().map(|&(_, row)| row).collect();
    sample.sort_unstable();
    sample
}

/// `points` holds the `rows`.
fn plus_plus(rows: &[f32], points: &Blocks, k: usize, seed: u64) -> Vec<f32> {
    let (n, dims) = (points.slots(), points.dims());
    let mut random = generator(seed, "k-means++", k as u64);
    let candidates = 2 + (k as f64).ln() as usize;
    let row = |i: usize| &rows[i * dims..][..dims];
    let first = random.gen_range(0..n);
    let mut centroids = row(first).to_vec();
    // Slots beyond the rows count as chosen: no row is drawn there.
    let mut nearest = vec![[f32::INFINITY; LANES]; points.blocks()];
    nearest.as_flattened_mut()[n..].fill(0.0);
    let mut after = vec![nearest.clone(); candidates];
    let mut total = nearer(points, &[row(first)], &nearest, &mut after)[0];
    std::mem::swap(&mut nearest, &mut after[0]);
    for chosen in 1..k {
        let draws: Vec<usize> = if total > 0.0 {
            let mut aims: Vec<f64> = (0..candidates).map(|_| random.gen_range(0.0..total)).collect();
            aims.sort_unstable_by(f64::total_cmp);
            weighted(&nearest.as_flattened()[..n], &aims)
        } else {
            // Fewer distinct rows than clusters: any row is as good, and copies are kept apart by order.
            vec![chosen]
        };
        let drawn: Vec<&[f32]> = draws.iter().map(|&draw| row(draw)).collect();
        let sums = nearer(points, &drawn, &nearest, &mut after);
        let mut best: Option<(f64, usize)> = None;
        for (place, &sum) in sums.iter().enumerate() {
            if best.is_none_or(|best| sum < best.0) {
                best = Some((sum, place));
            }
        }
        if let Some((sum, place)) = best {
            total = sum;
            std::mem::swap(&mut nearest, &mut after[place]);
            centroids.extend_from_slice(drawn[place]);
        }
    }
    centroids
}

/// For each candidate the lesser of the squared distances to it and `before`, of every row, and their sum. All
/// candidates meet a stretch of the rows while it is in a cache.
fn nearer(
    points: &Blocks,
    candidates: &[&[f32]],
    before: &[[f32; LANES]],
    after: &mut [Vec<[f32; LANES]>],
) -> Vec<f64> {
    // As even as can be, because few together are slower.
    let together = candidates.len().div_ceil(candidates.len().div_ceil(4).max(1)).max(1);
    let mut sums = vec![[0.0; LANES]; candidates.len()];
    for from in (0..before.len()).step_by(STRETCH) {
        let blocks = from..(from + STRETCH).min(before.len());
        let some = candidates.chunks(together).zip(after.chunks_mut(together)).zip(sums.chunks_mut(together));
        for ((candidates, after), sums) in some {
            let blocks = blocks.clone();
            match candidates.len() {
                1 => Nearer::<1>::meet(points, blocks, candidates, before, after, sums),
                2 => Nearer::<2>::meet(points, blocks, candidates, before, after, sums),
                3 => Nearer::<3>::meet(points, blocks, candidates, before, after, sums),
                _ => Nearer::<4>::meet(points, blocks, candidates, before, after, sums),
            }
        }
    }
    sums.iter().map(|sums| sums.iter().sum()).collect()
}

/// Sixteen sums side by side, so that they are the same with any instructions.
pub(super) struct Nearer<'a, const Q: usize> {
    pub points: &'a Blocks,
    pub blocks: Range<usize>,
    pub candidates: [&'a [f32]; Q],
    pub before: &'a [[f32; LANES]],
    pub after: [&'a mut [[f32; LANES]]; Q],
    pub sums: [[f64; LANES]; Q],
}

impl<const Q: usize> Nearer<'_, Q> {
    fn meet(
        points: &Blocks,
        blocks: Range<usize>,
        candidates: &[&[f32]],
        before: &[[f32; LANES]],
        after: &mut [Vec<[f32; LANES]>],
        sums: &mut [[f64; LANES]],
    ) {
        let most = "as many as there are candidates";
        let after = after.first_chunk_mut::<Q>().expect(most).each_mut();
        let sums = sums.first_chunk_mut::<Q>().expect(most);
        let work = Nearer {
            points,
            before: &before[blocks.clone()],
            after: after.map(|after| &mut after[blocks.clone()]),
            candidates: *candidates.first_chunk::<Q>().expect(most),
            sums: *sums,
            blocks,
        };
        *sums = work.with(InstructionSet::detect());
    }

    fn with(self, set: InstructionSet) -> [[f64; LANES]; Q] {
        match set {
            // SAFETY: this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { avx512::nearer(self) },
            set => dispatch(set, self),
        }
    }
}

impl<const Q: usize> Kernel for Nearer<'_, Q> {
    type Output = [[f64; LANES]; Q];

    #[inline(always)]
    fn run(self) -> [[f64; LANES]; Q] {
        let Self { points, blocks, candidates, before, after, mut sums } = self;
        for (place, block) in blocks.enumerate() {
            let distances = chain(points.block(block), &candidates);
            for q in 0..Q {
                for i in 0..LANES {
                    let (new, old) = (distances[q][i], before[place][i]);
                    let less = if new < old { new } else { old };
                    after[q][place][i] = less;
                    sums[q][i] += f64::from(less);
                }
            }
        }
        sums
    }
}

/// For each of the ascending `aims` the index at which the running sum of `weights` passes it. Weights are not
/// negative: a sum that has passed no aim behind sixteen of them has passed none before.
fn weighted(weights: &[f32], aims: &[f64]) -> Vec<usize> {
    let mut found = Vec::with_capacity(aims.len());
    let mut sum = 0.0;
    for (chunk, weights) in weights.chunks(LANES).enumerate() {
        let Some(&aim) = aims.get(found.len()) else { break };
        let mut before = sum;
        for &weight in weights {
            sum += f64::from(weight);
        }
        if aim < sum {
            for (i, &weight) in weights.iter().enumerate() {
                before += f64::from(weight);
                while aims.get(found.len()).is_some_and(|&aim| aim < before) {
                    found.push(chunk * LANES + i);
                }
            }
        }
    }
    // Rounding can leave the last aim just above the sum.
    found.resize(aims.len(), weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0));
    found.dedup();
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn every_instruction_set_agrees(rows: &[f32], dims: usize) {
        let points = Blocks::from_rows(rows, dims);
        let blocks = 1..points.blocks();
        let candidates: [&[f32]; 3] = std::array::from_fn(|q| &rows[q * 7 * dims..][..dims]);
        let before = vec![[dims as f32; LANES]; blocks.len()];
        let mut expected = None;
        for set in InstructionSet::available() {
            let mut after = vec![before.clone(); 3];
            let sums = {
                let after: &mut [Vec<[f32; LANES]>; 3] = after.first_chunk_mut().expect("three");
                let after = after.each_mut().map(Vec::as_mut_slice);
                let (blocks, before, sums) = (blocks.clone(), &before[..], [[0.5; LANES]; 3]);
                Nearer { points: &points, blocks, candidates, before, after, sums }.with(set)
            };
            let got = (after, sums);
            assert_eq!(*expected.get_or_insert(got.clone()), got, "{set:?}");
        }
    }
}
