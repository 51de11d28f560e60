//! The smallest of some distances: a bound for the k-th, those within it, and their order.
//!
//! A search that wants the k nearest of hundreds need not order them: a number that k of them do not exceed,
//! and not many more, is found by bisection in a few passes of sixteen a step, and leaves little to order. Selection by
//! pivots, which these three replace, was a fifth of a search in cells, most of it mispredicted branches.

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::blocks::{LANES, Room};
use super::simd::{InstructionSet, Kernel, dispatch};

/// A number that at least `k` values do not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    pub value: f32,
    /// How many do not.
    pub within: usize,
}

/// The values that a bound leaves where `k` are wanted, unless more are nearly equal.
pub const fn most(k: usize) -> usize {
    k + k / 4 + 4
}

/// Values beyond which sorting by counting is slower than by comparing.
const COUNTED: usize = 256;

/// Halvings of the range in which a bound is sought.
const HALVINGS: usize = 12;

/// A bound of the `k` smallest of `values`, which are not negative: some [`most`] are within it, or more when
/// many are nearly equal, and which it is may differ between instruction sets. It is infinite when there are not `k` finite values, or the bound is far above their mean.
pub fn bound(values: &[[f32; LANES]], k: usize) -> Bound {
    bound_with(InstructionSet::detect(), values, k)
}

fn bound_with(set: InstructionSet, values: &[[f32; LANES]], k: usize) -> Bound {
    match set {
        // SAFETY: this value exists only where the instructions do.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { avx512::bound(values, k) },
        set => dispatch(set, PlainBound { values, k }),
    }
}

/// The `k`-th smallest of `values`, which are not negative, to the bit; infinite when fewer are within `bar`.
pub fn kth(values: &[[f32; LANES]], k: usize, bar: f32) -> f32 {
    kth_with(InstructionSet::detect(), values, k, bar)
}

fn kth_with(set: InstructionSet, values: &[[f32; LANES]], k: usize, bar: f32) -> f32 {
    match set {
        // SAFETY: this value exists only where the instructions do.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { avx512::kth(values, k, bar) },
        set => dispatch(set, PlainKth { values, k, bar }),
    }
}

/// The values that do not exceed `bar` to the front of `distances`, and their names to the front of `kept`; returns how many.
///
/// # Panics
/// When there is no room for [`LANES`] more than are kept.
pub fn keep(
    values: &[[f32; LANES]],
    names: &[[u32; LANES]],
    bar: f32,
    distances: &mut [f32],
    kept: &mut [u32],
) -> usize {
    keep_with(InstructionSet::detect(), values, names, bar, distances, kept)
}

fn keep_with(
    set: InstructionSet,
    values: &[[f32; LANES]],
    names: &[[u32; LANES]],
    bar: f32,
    distances: &mut [f32],
    kept: &mut [u32],
) -> usize {
    match set {
        // SAFETY: this value exists only where the instructions do.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { avx512::keep(values, names, bar, distances, kept) },
        _ => values.iter().zip(names).fold(0, |count, (values, names)| {
            count + plain_keep(values, bar, Room::at(count, names, distances, kept))
        }),
    }
}

/// Leaves of `values` those that do not exceed `bar`, and of `names` theirs, at the front and in their order; returns how many.
///
/// # Panics
/// When the lengths differ.
pub fn retain(values: &mut [[f32; LANES]], names: &mut [[u32; LANES]], bar: f32) -> usize {
    retain_with(InstructionSet::detect(), values, names, bar)
}

fn retain_with(
    set: InstructionSet,
    values: &mut [[f32; LANES]],
    names: &mut [[u32; LANES]],
    bar: f32,
) -> usize {
    assert_eq!(values.len(), names.len());
    match set {
        // SAFETY: this value exists only where the instructions do.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { avx512::retain(values, names, bar) },
        _ => {
            let (values, names) = (values.as_flattened_mut(), names.as_flattened_mut());
            let mut kept = 0;
            for place in 0..values.len() {
                let (value, name) = (values[place], names[place]);
                (values[kept], names[kept]) = (value, name);
                kept += usize::from(value <= bar);
            }
            kept
        }
    }
}

/// Values with their names as integers that order by (value, name), for values that are never negative; of those that are called
/// something in `without` the greatest integer. Returns how many are others.
///
/// # Panics
/// When the lengths differ.
pub fn put_keys(values: &[f32], names: &[u32], without: [u32; 2], keys: &mut [u64]) -> usize {
    put_keys_with(InstructionSet::detect(), values, names, without, keys)
}

fn put_keys_with(
    set: InstructionSet,
    values: &[f32],
    names: &[u32],
    without: [u32; 2],
    keys: &mut [u64],
) -> usize {
    assert!(values.len() == names.len() && values.len() == keys.len());
    match set {
        // SAFETY: this value exists only where the instructions do.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { avx512::put_keys(values, names, without, keys) },
        _ => {
            let mut count = 0;
            for (key, (value, name)) in keys.iter_mut().zip(values.iter().zip(names)) {
                let is_other = !without.contains(name);
                *key = if is_other { key_of(*value, *name) } else { u64::MAX };
                count += usize::from(is_other);
            }
            count
        }
    }
}

/// A value and its name as one integer: values are never negative, so integers order by (value, name).
pub fn key_of(value: f32, name: u32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(name)
}

/// Sorts integers that are all different; where the greatest that there is comes more than once, what lies beyond the others is of no
/// meaning. Up to some hundred, each is put where the number of smaller ones
/// says, which costs their square and no branch.
///
/// # Panics
/// When the lengths differ.
pub fn sort(values: &[u64], sorted: &mut [u64]) {
    sort_with(InstructionSet::detect(), values, sorted);
}

fn sort_with(set: InstructionSet, values: &[u64], sorted: &mut [u64]) {
    assert_eq!(values.len(), sorted.len());
    match set {
        // SAFETY: this value exists only where the instructions do.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 if values.len() <= COUNTED => unsafe { avx512::sort(values, sorted) },
        _ => {
            sorted.copy_from_slice(values);
            sorted.sort_unstable();
        }
    }
}

/// The lanes that do not exceed `bar`, packed; returns how many.
#[inline(always)]
pub(super) fn plain_keep(values: &[f32; LANES], bar: f32, room: Room) -> usize {
    let mut count = 0;
    for lane in 0..LANES {
        if values[lane] <= bar {
            room.distances[count] = values[lane];
            room.kept[count] = room.names[lane];
            count += 1;
        }
    }
    count
}

/// Bisects from the mean, with `count` to say how many values a number admits.
#[inline(always)]
pub(super) fn bisect(values: &[[f32; LANES]], k: usize, count: impl Fn(f32) -> usize) -> Bound {
    let everything = Bound { value: f32::INFINITY, within: values.len() * LANES };
    let (mut sums, mut finite) = ([0.0; LANES], [0.0; LANES]);
    for values in values {
        for lane in 0..LANES {
            let is_finite = values[lane] < f32::INFINITY;
            sums[lane] += if is_finite { values[lane] } else { 0.0 };
            finite[lane] += if is_finite { 1.0 } else { 0.0 };
        }
    }
    let finite: f32 = finite.iter().sum();
    if (finite as usize) < k {
        return everything;
    }
    // Sixteen times the mean is enough but for a few values far from all others.
    let (mut low, mut high) = (0.0, sums.iter().sum::<f32>() / finite);
    let mut within = count(high);
    for _ in 0..4 {
        if within >= k {
            break;
        }
        (low, high) = (high, high * 2.0);
        within = count(high);
    }
    if within < k || high.is_nan() || high == f32::INFINITY {
        return everything;
    }
    bisect_below(low, Bound { value: high, within }, k, count)
}

/// Bisects between a number that fewer than `k` values do not exceed, or 0, and a bound.
#[inline(always)]
pub(super) fn bisect_below(mut low: f32, bound: Bound, k: usize, count: impl Fn(f32) -> usize) -> Bound {
    let Bound { value: mut high, mut within } = bound;
    for _ in 0..HALVINGS {
        if within <= most(k) {
            break;
        }
        let middle = low + (high - low) / 2.0;
        let inside = count(middle);
        if inside < k {
            low = middle;
        } else {
            (high, within) = (middle, inside);
        }
    }
    Bound { value: high, within }
}

/// Bisects the bits of numbers up to `bar`, whose order is that of the numbers, until `k` values are within one.
#[inline(always)]
pub(super) fn bisect_bits(values: &[[f32; LANES]], k: usize, bar: f32, count: impl Fn(f32) -> usize) -> f32 {
    let mut within = count(bar);
    if within < k {
        return f32::INFINITY;
    }
    // In most searches the nearest k are not nearer than half of the last.
    let (mut low, mut high) = ((bar / 4.0).to_bits(), bar.to_bits());
    if count(f32::from_bits(low)) >= k {
        (low, high) = (0, low);
        within = count(f32::from_bits(high));
        if count(0.0) >= k {
            return 0.0;
        }
    }
    while within != k && high - low > 1 {
        let middle = low.midpoint(high);
        let inside = count(f32::from_bits(middle));
        if inside < k {
            low = middle;
        } else {
            (high, within) = (middle, inside);
        }
    }
    let bar = f32::from_bits(high);
    let mut largest = [0.0f32; LANES];
    for values in values {
        for lane in 0..LANES {
            let is_larger = values[lane] <= bar && values[lane] > largest[lane];
            largest[lane] = if is_larger { values[lane] } else { largest[lane] };
        }
    }
    largest.iter().fold(0.0, |most, value| if *value > most { *value } else { most })
}

struct PlainKth<'a> {
    values: &'a [[f32; LANES]],
    k: usize,
    bar: f32,
}

impl Kernel for PlainKth<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        bisect_bits(self.values, self.k, self.bar, |bar| admitted(self.values, bar))
    }
}

struct PlainBound<'a> {
    values: &'a [[f32; LANES]],
    k: usize,
}

impl Kernel for PlainBound<'_> {
    type Output = Bound;

    #[inline(always)]
    fn run(self) -> Bound {
        bisect(self.values, self.k, |bar| admitted(self.values, bar))
    }
}

/// How many values do not exceed `bar`. Counted in floats, whose sums a compiler may not reorder: with integers
/// it makes something slower of this loop.
#[inline(always)]
fn admitted(values: &[[f32; LANES]], bar: f32) -> usize {
    let mut counts = [0.0f32; LANES];
    for values in values {
        for lane in 0..LANES {
            counts[lane] += if values[lane] <= bar { 1.0 } else { 0.0 };
        }
    }
    counts.iter().sum::<f32>() as usize
}

#[cfg(test)]
mod tests;
