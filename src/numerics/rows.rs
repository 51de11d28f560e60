//! Points one after another, for the distances of a few that lie anywhere.
//!
//! Of a block ([`super::blocks`]) all sixteen points are measured or none, and a block in 32 dimensions is 2 KiB. Where a
//! search wants one point of it, most of the time goes into fetching the others: here a point is as long as it is.
//! Distances are the same chain, sixteen points at a time, with the same bits.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::blocks::{Blocks, LANES};
use super::pages::filled;
use super::simd::{InstructionSet, prefetch};

/// Dimensions that are put side by side together; rows are padded to whole ones.
pub(super) const PIECE: usize = 4;

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// The points of [`Blocks`], slot by slot, with zeros to a whole number of fours. Memory: 4 bytes a dimension and slot.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    dims: usize,
    /// Pieces a point.
    pieces: usize,
    values: Vec<[f32; PIECE]>,
}

impl Rows {
    /// The same points; vacant slots are infinitely far.
    pub fn of(points: &Blocks) -> Self {
        let (dims, pieces) = (points.dims(), points.dims().div_ceil(PIECE));
        let mut values = filled([0.0; PIECE], points.slots() * pieces);
        for (slot, row) in values.chunks_exact_mut(pieces).enumerate() {
            points.copy_point(slot, &mut row.as_flattened_mut()[..dims]);
        }
        Self { dims, pieces, values }
    }

    /// No points yet, of so many dimensions.
    pub fn none(dims: usize) -> Self {
        Self { dims, pieces: dims.div_ceil(PIECE), values: Vec::new() }
    }

    /// Forgets everything but its memory, and takes dimensions anew.
    pub fn reset(&mut self, dims: usize) {
        (self.dims, self.pieces) = (dims, dims.div_ceil(PIECE));
        self.values.clear();
    }

    /// Adds a point.
    ///
    /// # Panics
    /// When `row` has other dimensions.
    pub fn push(&mut self, row: &[f32]) {
        assert!(row.len() == self.dims);
        let first = self.values.len();
        self.values.resize(first + self.pieces, [0.0; PIECE]);
        self.values[first..].as_flattened_mut()[..row.len()].copy_from_slice(row);
    }

    pub fn dims(&self) -> usize {
        self.dims
    }

    /// A point's values.
    pub fn point(&self, slot: usize) -> &[f32] {
        &self.pieces_of(slot as u32).as_flattened()[..self.dims]
    }

    #[inline(always)]
    pub(super) fn pieces_of(&self, slot: u32) -> &[[f32; PIECE]] {
        &self.values[slot as usize * self.pieces..][..self.pieces]
    }

    /// Pieces a point.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    /// Asks for a point that is measured soon.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        self.pieces_of(slot).iter().step_by(LINE / size_of::<[f32; PIECE]>()).for_each(prefetch);
    }

    /// The squared distances of sixteen pairs: of a slot of `queries` and a slot of these points.
    ///
    /// # Panics
    /// When dimensions differ, or there is no such slot.
    pub fn distances(&self, queries: &Self, asked: &[u32; LANES], slots: &[u32; LANES]) -> [f32; LANES] {
        self.distances_with(InstructionSet::detect(), queries, asked, slots)
    }

    fn distances_with(
        &self,
        set: InstructionSet,
        queries: &Self,
        asked: &[u32; LANES],
        slots: &[u32; LANES],
    ) -> [f32; LANES] {
        assert!(queries.dims == self.dims);
        match set {
            // SAFETY: this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { avx512::distances_to(self, queries, asked, slots) },
            _ => std::array::from_fn(|lane| {
                let (x, q) = (self.point(slots[lane] as usize), queries.point(asked[lane] as usize));
                x.iter().zip(q).fold(0.0, |sum: f32, (x, q)| (x - q).mul_add(x - q, sum))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::VACANT;
    use super::*;
    use crate::numerics::random::generator;
    use rand::Rng;

    #[test]
    fn every_instruction_set_gives_the_bits_of_blocks() {
        let mut random = generator(7, "rows test", 1);
        for dims in [1, 3, 4, 16, 30, 41] {
            let values: Vec<f32> = (0..50 * dims).map(|_| random.gen_range(-3.0..3.0f32)).collect();
            let slots: Vec<u32> =
                (0..60).map(|slot| if slot % 6 == 5 { VACANT } else { slot * 5 / 6 }).collect();
            let points = Blocks::from_slots(&values, dims, &slots);
            let rows = Rows::of(&points);
            let mut queries = Rows::none(dims);
            let mut query = || (0..dims).map(|_| random.gen_range(-3.0..3.0f32)).collect::<Vec<_>>();
            (0..5).for_each(|_| queries.push(&query()));
            for set in InstructionSet::available() {
                let slots: [u32; LANES] = std::array::from_fn(|_| random.gen_range(0..60));
                let asked: [u32; LANES] = std::array::from_fn(|_| random.gen_range(0..5));
                slots.iter().for_each(|slot| rows.prefetch(*slot));
                let found = rows.distances_with(set, &queries, &asked, &slots);
                for lane in 0..LANES {
                    let expected = points.distance(queries.point(asked[lane] as usize), slots[lane] as usize);
                    assert_eq!(found[lane].to_bits(), expected.to_bits(), "{dims} dimensions, {set:?}");
                }
            }
        }
    }
}
