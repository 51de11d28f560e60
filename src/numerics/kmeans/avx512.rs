//! [`super::bounds`] and [`super::add`] in AVX-512, where the compiler makes gathers of plain loops. Each function
//! does what its plain counterpart does; only the bounds from [`tighten`] may differ in their last bits, and what is
//! found may not.
//!
//! **What is unsafe here.** Loads and stores, which go through references to arrays of one register's size or have
//! a mask of as many values as there are; and one gather, whose indices are compared with the length before.

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]

use super::add::Eight;
use super::bounds::{GROUPS, LARGEST, LEAST, Moves, NARROWER, Turn, WIDER, Wanted};
use super::start::Nearer;
use crate::numerics::avx512::{load, store, store_names};
use crate::numerics::blocks::LANES;
use std::arch::x86_64::*;

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn load_names(values: &[u32; LANES]) -> __m512i {
    // SAFETY: sixteen integers are read, which is what there is.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

/// Up to sixteen values, zeros behind them.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn load_some(values: &[f32]) -> __m512 {
    match values.first_chunk() {
        Some(sixteen) => load(sixteen),
        None => {
            let mask = (1u16 << values.len()) - 1;
            // SAFETY: as many floats are read as there are.
            unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
        }
    }
}

/// [`super::add::Pass::add`]: the sums.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn add(rows: &[f32], dims: usize, labels: &[u32], sums: &mut [Eight]) {
    let width = dims.div_ceil(8);
    for (row, &label) in rows.chunks_exact(dims).zip(labels) {
        let sums = &mut sums[label as usize * width..][..width];
        for (sums, values) in sums.chunks_mut(2).zip(row.chunks(LANES)) {
            let values = load_some(values);
            for (sums, values) in sums.iter_mut().zip(doubles(values)) {
                // SAFETY: eight numbers are read and written, of an array of as many.
                unsafe {
                    let sum = _mm512_add_pd(_mm512_load_pd(sums.0.as_ptr()), values);
                    _mm512_store_pd(sums.0.as_mut_ptr(), sum);
                }
            }
        }
    }
}

/// [`super::bounds::Doubt`], first half: moves all bounds, lists the rows in doubt.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn shift(
    turn: &Turn,
    moves: &Moves,
    labels: &[u32],
    bounds: &mut [[f32; LANES]],
    open: &mut [u32],
) -> usize {
    let mut count = 0;
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let (wider, narrower) = (_mm512_set1_ps(WIDER), _mm512_set1_ps(NARROWER));
    let (slack, least) = (_mm512_set1_ps(turn.slack()), _mm512_set1_ps(LEAST));
    let centroids = _mm512_set1_epi32(moves.own.len() as i32);
    for (block, (bounds, labels)) in
        bounds.chunks_exact_mut(turn.groups + 1).zip(labels.chunks(LANES)).enumerate()
    {
        let Some((above, below)) = bounds.split_first_mut() else { continue };
        let used = ((1u32 << labels.len()) - 1) as u16;
        // SAFETY: as many integers are read as there are.
        let labels = unsafe { _mm512_maskz_loadu_epi32(used, labels.as_ptr().cast()) };
        assert!(_mm512_cmplt_epu32_mask(labels, centroids) == u16::MAX, "a label without a centroid");
        // SAFETY: every index is less than the length.
        let moved = unsafe { _mm512_i32gather_ps::<4>(labels, moves.own.as_ptr()) };
        let upper = _mm512_mul_ps(_mm512_add_ps(load(above), moved), wider);
        store(upper, above);
        let reach = _mm512_max_ps(_mm512_mul_ps(upper, slack), least);
        let mut near = 0;
        for (below, &moved) in below.iter_mut().zip(&moves.groups) {
            let lower = _mm512_mul_ps(_mm512_sub_ps(load(below), _mm512_set1_ps(moved)), narrower);
            store(lower, below);
            near |= _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(reach, lower);
        }
        near &= used;
        let rows = _mm512_add_epi32(_mm512_set1_epi32((block * LANES) as i32), lanes);
        let room = open[count..].first_chunk_mut().expect("room for a block");
        store_names(_mm512_maskz_compress_epi32(near, rows), room);
        count += near.count_ones() as usize;
    }
    count
}

/// [`super::bounds::square`].
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn square(a: &[f32], b: &[f32]) -> f32 {
    let mut sum = _mm512_setzero_ps();
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        let difference = _mm512_sub_ps(load_some(a), load_some(b));
        sum = _mm512_fmadd_ps(difference, difference, sum);
    }
    _mm512_reduce_add_ps(sum)
}

/// [`super::bounds::Doubt`], second half: of `count` rows those that are still in doubt when the distance to their own
/// centroid is known.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn tighten(
    turn: &Turn,
    rows: &[f32],
    labels: &[u32],
    bounds: &mut [[f32; LANES]],
    open: &mut [u32],
    count: usize,
) -> usize {
    let (mut kept, dims) = (0, turn.dims);
    for at in 0..count {
        let row = open[at] as usize;
        let centre = &turn.centroids[labels[row] as usize * dims..][..dims];
        let near = turn.doubt(square(&rows[row * dims..][..dims], centre), row, bounds);
        open[kept] = row as u32;
        kept += usize::from(near);
    }
    kept
}

/// [`super::bounds::Compare`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn compare(
    turn: &Turn,
    wanted: Wanted,
    labels: &mut [u32],
    bounds: &mut [[f32; LANES]],
    seen: &mut [[[u32; LANES]; 4]],
) {
    const { assert!(GROUPS == 2 * LANES / 4) };
    let (dims, each) = (turn.dims, turn.names.len() / turn.groups);
    let [a, b, c, d] = wanted.values;
    let values = [&a[..dims], &b[..dims], &c[..dims], &d[..dims]];
    let none = _mm512_set1_epi32(-1);
    // By group, four rows each.
    let mut least = [[u32::MAX; LANES]; 2];
    for group in 0..turn.groups {
        let mut smallest = [none; 4];
        for block in group * each..(group + 1) * each {
            let lanes = &turn.centres.block(block)[..dims];
            let mut sums = [_mm512_setzero_ps(); 4];
            for d in 0..dims {
                let x = load(&lanes[d].0);
                for q in 0..4 {
                    let difference = _mm512_sub_ps(x, _mm512_set1_ps(values[q][d]));
                    sums[q] = _mm512_fmadd_ps(difference, difference, sums[q]);
                }
            }
            for q in 0..4 {
                let bits = _mm512_castps_si512(sums[q]);
                store_names(bits, &mut seen[block][q]);
                smallest[q] = _mm512_min_epu32(smallest[q], bits);
            }
        }
        let four: &mut [u32; 4] = &mut least.as_flattened_mut().as_chunks_mut().0[group];
        store_four(smallest_of_each(smallest), four);
    }
    let mut best = [0; 4];
    let both = _mm512_min_epu32(load_names(&least[0]), load_names(&least[1]));
    store_four(smallest_of_quarters(both), &mut best);
    // Of equals the lowest number.
    let mut equals = [none; 4];
    for (names, seen) in turn.names.iter().zip(&*seen) {
        let names = load_names(names);
        for q in 0..4 {
            let equal = _mm512_cmpeq_epi32_mask(load_names(&seen[q]), _mm512_set1_epi32(best[q] as i32));
            equals[q] = _mm512_mask_min_epu32(equals[q], equal, equals[q], names);
        }
    }
    let mut nearest = [0; 4];
    store_four(smallest_of_each(equals), &mut nearest);
    let (mut own, mut others) = ([0; 4], [none; 4]);
    for q in 0..4 {
        own[q] = turn.group_of[nearest[q] as usize] as usize;
        for block in own[q] * each..(own[q] + 1) * each {
            let names = load_names(&turn.names[block]);
            let other = _mm512_cmpneq_epi32_mask(names, _mm512_set1_epi32(nearest[q] as i32));
            others[q] = _mm512_mask_min_epu32(others[q], other, others[q], load_names(&seen[block][q]));
        }
    }
    let mut second = [0; 4];
    store_four(smallest_of_each(others), &mut second);
    for q in 0..4 {
        least.as_flattened_mut()[own[q] * 4 + q] = second[q];
    }
    let (narrower, largest) = (_mm512_set1_ps(1.0 - turn.error), _mm512_set1_ps(LARGEST));
    let mut lower = [[0.0; LANES]; 2];
    for half in 0..2 {
        // Where there is no other, as far as can be.
        let farthest = _mm512_set1_epi32(f32::INFINITY.to_bits() as i32);
        let squares = _mm512_castsi512_ps(_mm512_min_epu32(load_names(&least[half]), farthest));
        let roots = _mm512_mul_ps(_mm512_sqrt_ps(squares), narrower);
        store(_mm512_min_ps(roots, largest), &mut lower[half]);
    }
    for q in 0..4 {
        let row = wanted.rows[q] as usize;
        labels[row] = nearest[q];
        let bounds = turn.bounds_of(row, bounds);
        bounds[0][row % LANES] = turn.above(f32::from_bits(best[q]));
        for (below, lower) in bounds[1..].iter_mut().zip(lower.as_flattened().as_chunks::<4>().0) {
            below[row % LANES] = lower[q];
        }
    }
}

/// The least of each of four registers.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn smallest_of_each([a, b, c, d]: [__m512i; 4]) -> __m128i {
    let ab = _mm512_min_epu32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let cd = _mm512_min_epu32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    smallest_of_quarters(_mm512_min_epu32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd)))
}

/// The least of lanes 0, 4, 8 and 12, of 1, 5, 9 and 13, ...
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn smallest_of_quarters(values: __m512i) -> __m128i {
    let halves = _mm512_min_epu32(values, _mm512_shuffle_i32x4::<0b01_00_11_10>(values, values));
    let all = _mm512_min_epu32(halves, _mm512_shuffle_i32x4::<0b10_11_00_01>(halves, halves));
    _mm512_castsi512_si128(all)
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn store_four(values: __m128i, to: &mut [u32; 4]) {
    // SAFETY: four integers are written, which is what there is room for.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), values) }
}

/// [`super::start::Nearer`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn nearer<const Q: usize>(work: Nearer<Q>) -> [[f64; LANES]; Q] {
    let Nearer { points, blocks, candidates, before, after, mut sums } = work;
    let dims = points.dims();
    let mut low = [_mm512_setzero_pd(); Q];
    let mut high = [_mm512_setzero_pd(); Q];
    let mut values: [&[f32]; Q] = [&[]; Q];
    for q in 0..Q {
        (low[q], high[q]) = load_sixteen(&sums[q]);
        values[q] = &candidates[q][..dims];
    }
    for (place, block) in blocks.enumerate() {
        let lanes = &points.block(block)[..dims];
        let mut squares = [_mm512_setzero_ps(); Q];
        for d in 0..dims {
            let x = load(&lanes[d].0);
            for q in 0..Q {
                let difference = _mm512_sub_ps(x, _mm512_set1_ps(values[q][d]));
                squares[q] = _mm512_fmadd_ps(difference, difference, squares[q]);
            }
        }
        let before = load(&before[place]);
        for q in 0..Q {
            let less = _mm512_min_ps(squares[q], before);
            store(less, &mut after[q][place]);
            let [a, b] = doubles(less);
            low[q] = _mm512_add_pd(low[q], a);
            high[q] = _mm512_add_pd(high[q], b);
        }
    }
    for q in 0..Q {
        store_sixteen(low[q], high[q], &mut sums[q]);
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn doubles(values: __m512) -> [__m512d; 2] {
    let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(values));
    [_mm512_cvtps_pd(_mm512_castps512_ps256(values)), _mm512_cvtps_pd(_mm256_castpd_ps(high))]
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn load_sixteen(values: &[f64; LANES]) -> (__m512d, __m512d) {
    // SAFETY: twice eight numbers are read, which is what there is.
    unsafe { (_mm512_loadu_pd(values.as_ptr()), _mm512_loadu_pd(values.as_ptr().add(8))) }
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn store_sixteen(low: __m512d, high: __m512d, to: &mut [f64; LANES]) {
    // SAFETY: twice eight numbers are written, which is what there is room for.
    unsafe {
        _mm512_storeu_pd(to.as_mut_ptr(), low);
        _mm512_storeu_pd(to.as_mut_ptr().add(8), high);
    }
}
