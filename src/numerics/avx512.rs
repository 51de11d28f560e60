//! The kernels of neighbour search in AVX-512, where the compiler makes something slow of plain loops.
//!
//! It turns distances that are compared and then kept into stores, shuffles and single compares; with the
//! sums held in registers and candidates packed by one instruction a search for 50 neighbours took three
//! quarters of the time (docs/performance.md). Each function does exactly what its plain counterpart in
//! [`super::blocks`] and [`super::near`] does, to the bit; their tests compare the two. Of [`super::coarse`], which leaves
//! out what cannot count, sums may differ in their last bits, and what is found may not.
//!
//! **What is unsafe here.** Loads and stores, which all go through references to arrays of one register's
//! size, so that they cannot leave them; and nothing else: the instructions are those that the functions enable.

use super::blocks::{Blocks, Collect, LANES, Lane, Room};
use super::coarse::{Asked, Coarse, Coded, steps};
use super::near::{Bound, bisect, bisect_below, bisect_bits, most};
use super::rows::{PIECE, Rows};
use std::arch::x86_64::*;
use std::ops::Range;

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn load(values: &[f32; LANES]) -> __m512 {
    // SAFETY: sixteen floats are read, which is what there is.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn store(values: __m512, to: &mut [f32; LANES]) {
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

/// A point and a query in pieces.
type Pair<'a> = (&'a [[f32; PIECE]], &'a [[f32; PIECE]]);

/// [`Rows::distances`]: four dimensions of sixteen pairs become four registers of one dimension each.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn distances_to(
    points: &Rows,
    queries: &Rows,
    asked: &[u32; LANES],
    slots: &[u32; LANES],
) -> [f32; LANES] {
    let mut pairs: [Pair; LANES] = [(&[], &[]); LANES];
    for lane in 0..LANES {
        pairs[lane] = (points.pieces_of(slots[lane]), queries.pieces_of(asked[lane]));
    }
    let mut sum = _mm512_setzero_ps();
    for piece in 0..points.pieces() {
        // Pairs 0, 4, 8 and 12 in the first, 1, 5, 9 and 13 in the second, ...
        let mut fours = [_mm512_setzero_ps(); PIECE];
        for lane in 0..PIECE {
            let [a, b, c, d] = [pairs[lane], pairs[lane + 4], pairs[lane + 8], pairs[lane + 12]];
            let point = quarters([&a.0[piece], &b.0[piece], &c.0[piece], &d.0[piece]]);
            let query = quarters([&a.1[piece], &b.1[piece], &c.1[piece], &d.1[piece]]);
            fours[lane] = _mm512_sub_ps(point, query);
        }
        // Of the zeros behind the last dimension nothing is added.
        for difference in side_by_side(fours) {
            sum = _mm512_fmadd_ps(difference, difference, sum);
        }
    }
    let mut out = [0.0; LANES];
    store(sum, &mut out);
    out
}

/// The points of sixteen slots as a block: a register a dimension. [`Blocks::take`]
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn take(points: &Rows, slots: &[u32; LANES], block: &mut [Lane]) {
    let mut rows: [&[[f32; PIECE]]; LANES] = [&[]; LANES];
    for lane in 0..LANES {
        rows[lane] = points.pieces_of(slots[lane]);
    }
    for (piece, lanes) in block.chunks_mut(PIECE).enumerate() {
        let mut fours = [_mm512_setzero_ps(); PIECE];
        for lane in 0..PIECE {
            let [a, b, c, d] = [rows[lane], rows[lane + 4], rows[lane + 8], rows[lane + 12]];
            fours[lane] = quarters([&a[piece], &b[piece], &c[piece], &d[piece]]);
        }
        for (lane, dimension) in lanes.iter_mut().zip(side_by_side(fours)) {
            store(dimension, &mut lane.0);
        }
    }
}

/// Of four registers with pieces, quarter j of register i that of pair or point 4 j + i, four with a dimension of all sixteen each.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn side_by_side(fours: [__m512; PIECE]) -> [__m512; PIECE] {
    let [a, b, c, d] = fours;
    let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
    // What quarter j of register i held is in lane 4 j + i now.
    [
        _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd),
        _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd),
        _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
        _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
    ]
}

/// Four pieces side by side, each put there as it is loaded: that takes no shuffle.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn quarters(pieces: [&[f32; PIECE]; 4]) -> __m512 {
    let [a, b, c, d] = [four(pieces[0]), four(pieces[1]), four(pieces[2]), four(pieces[3])];
    let some = _mm512_castps128_ps512(a);
    let some = _mm512_mask_broadcast_f32x4(some, 0x00f0, b);
    let some = _mm512_mask_broadcast_f32x4(some, 0x0f00, c);
    _mm512_mask_broadcast_f32x4(some, 0xf000, d)
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn four(piece: &[f32; PIECE]) -> __m128 {
    // SAFETY: four floats are read, which is what a piece is.
    unsafe { _mm_loadu_ps(piece.as_ptr()) }
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

/// Of up to four registers each the sum or the most of its lanes, side by side.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn folded<const MOST: bool>([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
    let ab = joined::<MOST>(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let cd = joined::<MOST>(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    let (low, high) =
        (_mm512_shuffle_ps::<0b01_00_01_00>(ab, cd), _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd));
    let all = joined::<MOST>(low, high);
    let all = joined::<MOST>(all, _mm512_shuffle_f32x4::<0b01_00_11_10>(all, all));
    let all = joined::<MOST>(all, _mm512_shuffle_f32x4::<0b10_11_00_01>(all, all));
    let mut lanes = [0.0; LANES];
    store(all, &mut lanes);
    [lanes[0], lanes[1], lanes[2], lanes[3]]
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn joined<const MOST: bool>(a: __m512, b: __m512) -> __m512 {
    if MOST { _mm512_max_ps(a, b) } else { _mm512_add_ps(a, b) }
}

/// [`super::coarse::code`], of up to four queries together.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn code<const Q: usize>(
    queries: [&[f32]; Q],
    centre: &[f32],
    words: [&mut [[i8; 4]]; Q],
) -> [Coded; Q] {
    let mut most = [_mm512_setzero_ps(); 4];
    for q in 0..Q {
        for (query, centre) in queries[q].chunks(LANES).zip(centre.chunks(LANES)) {
            let apart = _mm512_abs_ps(_mm512_sub_ps(load_some(query), load_some(centre)));
            most[q] = _mm512_max_ps(most[q], apart);
        }
    }
    let farthest = folded::<true>(most);
    let (least, largest) = (_mm512_set1_epi32(-127), _mm512_set1_epi32(127));
    let (mut sums, mut squares, mut left) =
        ([_mm512_setzero_ps(); 4], [_mm512_setzero_ps(); 4], [_mm512_setzero_ps(); 4]);
    let mut coded = [Coded::default(); Q];
    for q in 0..Q {
        let (step, inverse) = steps(farthest[q]);
        (coded[q].farthest, coded[q].step) = (farthest[q], step);
        let (own, wide) = (_mm512_set1_ps(step), _mm512_set1_ps(inverse));
        let sixteens = queries[q].chunks(LANES).zip(centre.chunks(LANES));
        for ((query, centre), words) in sixteens.zip(words[q].as_chunks_mut::<4>().0) {
            let apart = _mm512_sub_ps(load_some(query), load_some(centre));
            let integers = _mm512_cvtps_epi32(_mm512_mul_ps(apart, wide));
            let integers = _mm512_max_epi32(_mm512_min_epi32(integers, largest), least);
            let values = _mm512_cvtepi32_ps(integers);
            let stored = _mm512_mul_ps(values, own);
            let rest = _mm512_sub_ps(apart, stored);
            // Exact: thousands of integers of seven bits.
            sums[q] = _mm512_add_ps(sums[q], values);
            squares[q] = _mm512_fmadd_ps(stored, stored, squares[q]);
            left[q] = _mm512_fmadd_ps(rest, rest, left[q]);
            // SAFETY: sixteen bytes are written to four words of four.
            unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(integers)) };
        }
    }
    let (sums, squares, left) = (folded::<false>(sums), folded::<false>(squares), folded::<false>(left));
    for q in 0..Q {
        (coded[q].sum, coded[q].square, coded[q].left) = (sums[q] as i32, squares[q], left[q]);
    }
    coded
}

/// [`Coarse`]'s hits.
#[target_feature(enable = "avx512f,avx512vnni,popcnt")]
pub(super) fn hits<const Q: usize>(
    points: &Coarse,
    asked: [&Asked; Q],
    blocks: Range<usize>,
    hits: [&mut [u32]; Q],
) -> [usize; Q] {
    let mut counts = [0; Q];
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut first = [_mm512_setzero_si512(); Q];
    let (mut scales, mut limits) = ([_mm512_setzero_ps(); Q], [_mm512_setzero_ps(); Q]);
    let mut own: [&[[i8; 4]]; Q] = [&[]; Q];
    for q in 0..Q {
        first[q] = _mm512_set1_epi32(asked[q].bias);
        scales[q] = _mm512_set1_ps(asked[q].scale);
        limits[q] = _mm512_set1_ps(asked[q].limit);
        own[q] = &asked[q].words[..points.words()];
    }
    for block in blocks {
        let (words, squares) = points.block(block);
        let mut products = first;
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
        let mut near = [0; Q];
        for q in 0..Q {
            let bound = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(products[q]), scales[q], squares);
            // Also where it is not a number.
            near[q] = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(bound, limits[q]);
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

const ROOM: &str = "room for a block";

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn store_names(names: __m512i, to: &mut [u32; LANES]) {
    // SAFETY: sixteen integers are written, which is what there is room for.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), names) }
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
        if value < f32::INFINITY {
            return bisect_below(0.0, Bound { value, within }, k, |bar| admitted(values, bar));
        }
    }
    bisect(values, k, |bar| admitted(values, bar))
}

/// [`super::near::kth`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn kth(values: &[[f32; LANES]], k: usize, bar: f32) -> f32 {
    bisect_bits(values, k, bar, |bar| admitted(values, bar))
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

/// [`super::near::retain`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn retain(values: &mut [[f32; LANES]], names: &mut [[u32; LANES]], bar: f32) -> usize {
    let wide = _mm512_set1_ps(bar);
    let mut count = 0;
    for block in 0..values.len() {
        let (some, theirs) = (load(&values[block]), names[block]);
        let near = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(some, wide);
        // What is kept takes no more room than what was read.
        let room = Room::at(count, &theirs, values.as_flattened_mut(), names.as_flattened_mut());
        count += pack(near, some, room);
    }
    count
}

/// [`super::near::put_keys`].
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn put_keys(values: &[f32], names: &[u32], without: [u32; 2], keys: &mut [u64]) -> usize {
    let without = without.map(|name| _mm512_set1_epi32(name as i32));
    let greatest = _mm512_set1_epi64(-1);
    let mut count = 0;
    for ((values, names), keys) in values.chunks(LANES).zip(names.chunks(LANES)).zip(keys.chunks_mut(LANES)) {
        let here = (1u32 << keys.len()).wrapping_sub(1) as u16;
        // SAFETY: as many are read as there are: the chunks of all three are of one length.
        let (values, names) = unsafe {
            let values = _mm512_castps_si512(_mm512_maskz_loadu_ps(here, values.as_ptr()));
            (values, _mm512_maskz_loadu_epi32(here, names.as_ptr().cast()))
        };
        let others = without.map(|without| _mm512_mask_cmpneq_epi32_mask(here, names, without));
        let others = others[0] & others[1];
        count += others.count_ones() as usize;
        let halves = |all: __m512i| {
            [_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all)]
                .map(|half| _mm512_cvtepu32_epi64(half))
        };
        let (values, names) = (halves(values), halves(names));
        for half in 0..2 {
            let key = _mm512_or_si512(_mm512_slli_epi64::<32>(values[half]), names[half]);
            let key = _mm512_mask_mov_epi64(greatest, (others >> (8 * half)) as u8, key);
            let Some(keys) = keys.get_mut(8 * half..) else { continue };
            // SAFETY: as many are written as there is room for.
            unsafe { _mm512_mask_storeu_epi64(keys.as_mut_ptr().cast(), (here >> (8 * half)) as u8, key) };
        }
    }
    count
}

/// [`super::near::sort`]: thirty-two values are compared with each of all, and each counts the smaller ones.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn sort(values: &[u64], sorted: &mut [u64]) {
    const EIGHTS: usize = 4;
    for some in values.chunks(8 * EIGHTS) {
        let (mut own, mut smaller) = ([_mm512_setzero_si512(); EIGHTS], [_mm512_setzero_si512(); EIGHTS]);
        for (own, some) in own.iter_mut().zip(some.chunks(8)) {
            // SAFETY: as many integers are read as there are.
            *own = unsafe {
                _mm512_maskz_loadu_epi64((1u16 << some.len()).wrapping_sub(1) as u8, some.as_ptr().cast())
            };
        }
        for &value in values {
            let wide = _mm512_set1_epi64(value as i64);
            for at in 0..EIGHTS {
                let less = _mm512_cmplt_epu64_mask(wide, own[at]);
                smaller[at] = _mm512_mask_add_epi64(smaller[at], less, smaller[at], _mm512_set1_epi64(1));
            }
        }
        let mut places = [[0u64; 8]; EIGHTS];
        for (places, smaller) in places.iter_mut().zip(smaller) {
            // SAFETY: eight integers are written, which is what there is room for.
            unsafe { _mm512_storeu_si512(places.as_mut_ptr().cast(), smaller) };
        }
        for (value, place) in some.iter().zip(places.as_flattened()) {
            sorted[*place as usize] = *value;
        }
    }
}

pub(super) mod ranks;
