//! [`Coarse`](super::Coarse) points ranked: those that may be nearest, those within a limit of their own each.

use super::super::coarse::ranks::{Ranked, Within};
use super::*;

/// Products of bytes: of `Q` queries with one block.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni,popcnt")]
fn bounds<const Q: usize>(
    points: &Coarse,
    block: usize,
    first: &[__m512i; Q],
    own: &[&[[i8; 4]]; Q],
    scales: &[__m512; Q],
) -> [__m512; Q] {
    let (words, squares) = points.block(block);
    let mut products = *first;
    for (w, word) in words.iter().enumerate() {
        // SAFETY: 64 bytes are read, which is what there is.
        let codes = unsafe { _mm512_loadu_si512(word.0.as_ptr().cast()) };
        for q in 0..Q {
            let [a, b, c, d] = own[q][w];
            let values = _mm512_set1_epi32(i32::from_ne_bytes([a as u8, b as u8, c as u8, d as u8]));
            products[q] = _mm512_dpbusd_epi32(products[q], codes, values);
        }
    }
    let squares = load(squares);
    let mut bounds = [_mm512_setzero_ps(); Q];
    for q in 0..Q {
        bounds[q] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(products[q]), scales[q], squares);
    }
    bounds
}

/// The squares that bytes give, less that of the query, and the least of each query.
#[target_feature(enable = "avx512f,avx512vnni,popcnt")]
pub(in super::super) fn values<const Q: usize>(
    points: &Coarse,
    asked: [&Asked; Q],
    mut out: [&mut [[f32; LANES]]; Q],
) -> [f32; Q] {
    let (mut first, mut scales) = ([_mm512_setzero_si512(); Q], [_mm512_setzero_ps(); Q]);
    let mut least = [_mm512_set1_ps(f32::INFINITY); Q];
    let mut own: [&[[i8; 4]]; Q] = [&[]; Q];
    for q in 0..Q {
        first[q] = _mm512_set1_epi32(asked[q].bias);
        scales[q] = _mm512_set1_ps(asked[q].scale);
        own[q] = &asked[q].words[..points.words()];
    }
    for block in 0..points.blocks() {
        let bounds = bounds(points, block, &first, &own, &scales);
        for (q, out) in out.iter_mut().enumerate() {
            store(bounds[q], &mut out[block]);
            least[q] = _mm512_min_ps(bounds[q], least[q]);
        }
    }
    let mut all = [0.0; Q];
    for q in 0..Q {
        all[q] = _mm512_reduce_min_ps(least[q]);
    }
    all
}

/// The slots of values that are not above a limit.
#[target_feature(enable = "avx512f,popcnt")]
pub(in super::super) fn not_above(values: &[[f32; LANES]], limit: f32, hits: &mut [u32]) -> usize {
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let limit = _mm512_set1_ps(limit);
    let mut count = 0;
    for (block, values) in values.iter().enumerate() {
        let near = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(load(values), limit);
        if near != 0 {
            let slots = _mm512_add_epi32(_mm512_set1_epi32((block * LANES) as i32), lanes);
            let room = hits[count..].first_chunk_mut().expect(ROOM);
            store_names(_mm512_maskz_compress_epi32(near, slots), room);
            count += near.count_ones() as usize;
        }
    }
    count
}

/// The slots of points that may be within the limits.
#[target_feature(enable = "avx512f,avx512vnni,popcnt")]
pub(in super::super) fn within<const Q: usize>(
    points: &Coarse,
    asked: [&Asked; Q],
    limits: &Within,
    ranked: [Ranked; Q],
    hits: [&mut [u32]; Q],
) -> [usize; Q] {
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let (mut first, mut scales) = ([_mm512_setzero_si512(); Q], [_mm512_setzero_ps(); Q]);
    let (mut reaches, mut slopes, mut bases) =
        ([_mm512_setzero_ps(); Q], [_mm512_setzero_ps(); Q], [_mm512_setzero_ps(); Q]);
    let mut own: [&[[i8; 4]]; Q] = [&[]; Q];
    for q in 0..Q {
        first[q] = _mm512_set1_epi32(asked[q].bias);
        scales[q] = _mm512_set1_ps(asked[q].scale);
        own[q] = &asked[q].words[..points.words()];
        reaches[q] = _mm512_set1_ps(ranked[q].reach);
        slopes[q] = _mm512_set1_ps(ranked[q].slope);
        bases[q] = _mm512_set1_ps(ranked[q].base);
    }
    // The reciprocal is good to 14 bits.
    let (wider, least) = (_mm512_set1_ps(1.0 + 1.0 / 4096.0), _mm512_set1_ps(Within::LEAST));
    let slop = _mm512_set1_ps(Within::SLOP);
    let mut counts = [0; Q];
    for (block, (leads, inverses)) in limits.leads.iter().zip(limits.inverses).enumerate() {
        let bounds = bounds(points, block, &first, &own, &scales);
        let leads = load(leads);
        let leads = _mm512_fmadd_ps(_mm512_abs_ps(leads), slop, leads);
        let widths = _mm512_max_ps(_mm512_mul_ps(_mm512_rcp14_ps(load(inverses)), wider), least);
        let mut near = [0; Q];
        for q in 0..Q {
            let limit = _mm512_fmadd_ps(reaches[q], widths, leads);
            let limit = _mm512_fmadd_ps(limit, slopes[q], bases[q]);
            near[q] = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(bounds[q], limit);
        }
        if near.iter().fold(0, |any, near| any | near) != 0 {
            let slots = _mm512_add_epi32(_mm512_set1_epi32((block * LANES) as i32), lanes);
            for q in 0..Q {
                let room = hits[q][counts[q]..].first_chunk_mut().expect(ROOM);
                store_names(_mm512_maskz_compress_epi32(near[q], slots), room);
                counts[q] += near[q].count_ones() as usize;
            }
        }
    }
    counts
}
