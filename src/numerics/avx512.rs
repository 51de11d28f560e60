//! The kernels of neighbour search in AVX-512, where the compiler makes something slow of plain loops.
//!
//! It turns distances that are compared and then kept into stores, shuffles and single compares; with the
//! sums held in registers and candidates packed by one instruction a search for 50 neighbours took three
//! quarters of the time (docs/performance.md). Each function does exactly what its plain counterpart in
//! [`super::blocks`] and [`super::near`] does, to the bit; their tests compare the two.
//!
//! **What is unsafe here.** Loads and stores, which all go through references to arrays of one register's
//! size, so that they cannot leave them; and nothing else: the instructions are those that the functions enable.

use super::blocks::{Blocks, Collect, LANES, Room};
use super::near::{Bound, bisect, most};
use std::arch::x86_64::*;
use std::ops::Range;

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn load(values: &[f32; LANES]) -> __m512 {
    // SAFETY: sixteen floats are read, which is what there is.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn store(values: __m512, to: &mut [f32; LANES]) {
    // SAFETY: sixteen floats are written, which is what there is room for.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) }
}

/// Packs the lanes of `values` and of `names` that `near` has a bit for, to the front; returns how many.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn pack(near: __mmask16, values: __m512, room: Room) -> usize {
    store(_mm512_maskz_compress_ps(near, values), room.distances);
    // SAFETY: sixteen integers are read and written, of arrays of as many.
    unsafe {
        let names = _mm512_loadu_si512(room.names.as_ptr().cast());
        _mm512_storeu_si512(room.kept.as_mut_ptr().cast(), _mm512_maskz_compress_epi32(near, names));
    }
    near.count_ones() as usize
}

/// The chain of [`super::blocks`] for `Q` queries against one block.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn chain<const Q: usize>(points: &Blocks, block: usize, queries: &[&[f32]; Q]) -> [__m512; Q] {
    let lanes = points.block(block);
    let mut sums = [_mm512_setzero_ps(); Q];
    for (d, lane) in lanes.iter().enumerate() {
        let x = load(&lane.0);
        for q in 0..Q {
            let difference = _mm512_sub_ps(x, _mm512_set1_ps(queries[q][d]));
            sums[q] = _mm512_fmadd_ps(difference, difference, sums[q]);
        }
    }
    sums
}

/// [`Blocks::scan`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn scan<const Q: usize>(
    points: &Blocks,
    queries: [&[f32]; Q],
    blocks: Range<usize>,
    thresholds: [f32; Q],
    mut found: impl Collect,
) {
    let mut bars = thresholds.map(|threshold| _mm512_set1_ps(threshold));
    for block in blocks {
        let sums = chain(points, block, &queries);
        let mut near = [0; Q];
        for q in 0..Q {
            near[q] = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(sums[q], bars[q]);
        }
        if near.iter().fold(0, |any, near| any | near) != 0 {
            for q in 0..Q {
                if near[q] != 0 {
                    let kept = pack(near[q], sums[q], found.room(q, block));
                    bars[q] = _mm512_set1_ps(found.took(q, kept));
                }
            }
        }
    }
}

/// [`Blocks::distances_of`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn distances<const Q: usize>(
    points: &Blocks,
    queries: [&[f32]; Q],
    blocks: Range<usize>,
    out: [&mut [[f32; LANES]]; Q],
) {
    for (place, block) in blocks.enumerate() {
        let sums = chain(points, block, &queries);
        for q in 0..Q {
            store(sums[q], &mut out[q][place]);
        }
    }
}

/// Values that do not exceed `bar`.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn admitted(values: &[[f32; LANES]], bar: f32) -> usize {
    let bar = _mm512_set1_ps(bar);
    let near = values.iter().map(|v| _mm512_cmp_ps_mask::<_CMP_LE_OQ>(load(v), bar).count_ones());
    near.sum::<u32>() as usize
}

/// [`super::near::bound`]. Of many values only the least of each group is bisected: where `k` of these are
/// within a bar, at least `k` values are, and hardly more if there are three times as many groups.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn bound(values: &[[f32; LANES]], k: usize) -> Bound {
    const MOST: usize = 32;
    let groups = (3 * k).div_ceil(LANES);
    if groups <= MOST && 2 * groups <= values.len() {
        let mut least = [[f32::INFINITY; LANES]; MOST];
        for (group, least) in least[..groups].iter_mut().enumerate() {
            let mut lanes = load(&values[group]);
            for value in values[group..].iter().step_by(groups) {
                lanes = _mm512_min_ps(lanes, load(value));
            }
            store(lanes, least);
        }
        let least = &least[..groups];
        let value = bisect(least, k, |bar| admitted(least, bar)).value;
        let within = admitted(values, value);
        if within <= most(k) + LANES {
            return Bound { value, within };
        }
    }
    bisect(values, k, |bar| admitted(values, bar))
}

/// [`super::near::keep`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn keep(
    values: &[[f32; LANES]],
    names: &[[u32; LANES]],
    bar: f32,
    distances: &mut [f32],
    kept: &mut [u32],
) -> usize {
    let wide = _mm512_set1_ps(bar);
    let mut count = 0;
    for (values, names) in values.iter().zip(names) {
        let values = load(values);
        let near = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(values, wide);
        count += pack(near, values, Room::at(count, names, distances, kept));
    }
    count
}

/// [`super::near::sort`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn sort(values: &[u64], sorted: &mut [u64]) {
    let (eights, rest) = values.as_chunks::<8>();
    for &value in values {
        let wide = _mm512_set1_epi64(value as i64);
        let mut smaller = rest.iter().filter(|other| **other < value).count() as u32;
        for eight in eights {
            // SAFETY: eight integers are read, which is what there is.
            let others = unsafe { _mm512_loadu_si512(eight.as_ptr().cast()) };
            smaller += _mm512_cmplt_epu64_mask(others, wide).count_ones();
        }
        sorted[smaller as usize] = value;
    }
}
