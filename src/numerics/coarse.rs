//! Points once more in a byte a dimension, so that most of those that are too far need no exact distance.
//!
//! A vector approximation file (Weber, Schek, Blott 1998, "A quantitative analysis and performance study for
//! similarity-search methods in high-dimensional spaces") over blocks in memory. Points come in groups, each with a
//! centre c and a step s; a point x is stored as the integers a nearest to (x − c) / s, and the group knows the
//! longest e = |x − c − s a| that this leaves out. A query becomes integers b with a step t and what they leave
//! out, f, in the same way. Then
//!
//! ```text
//! |q − x| ≥ |t b − s a| − e − f,    |t b − s a|² = t²|b|² + s²|a|² − 2 t s (a · b)
//! ```
//!
//! and a · b is exact in integers: one instruction multiplies and adds 64 of them (AVX-512 VNNI), where a distance takes
//! two for 16. A point that cannot be within the threshold is left out; all others are measured as
//! ever ([`super::rows`]), so that answers do not change by a bit.

// The lane loops index several arrays by one constant range: zipped iterators say it worse.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::blocks::{Blocks, LANES};
use super::pages::filled;
use super::simd::Vnni;
use std::ops::Range;

/// Dimensions that one instruction takes together.
const WORD: usize = 4;

/// Codes are this much more than the integers that they stand for: one side of the product has no sign.
const ZERO: i32 = 128;

/// The largest integer, of points and of queries.
const MOST: f32 = 127.0;

/// With fewer dimensions distances are as quick; with more the sums of products could leave 32 bits.
const DIMENSIONS: Range<usize> = 8..4096;

/// Of the sixteen points of a block four dimensions each.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Word(pub(super) [[u8; WORD]; LANES]);

/// The points of [`Blocks`] in a byte a dimension. Memory: dims + 4 bytes a slot.
#[derive(Clone, Debug)]
pub struct Coarse {
    vnni: Option<Vnni>,
    dims: usize,
    /// Words a block.
    words: usize,
    codes: Vec<Word>,
    /// s²|a|² of each slot.
    squares: Vec<[f32; LANES]>,
    groups: Vec<Group>,
    /// Row-major, one a group, with zeros to `stride`.
    centres: Vec<f32>,
    /// Dimensions as a whole number of sixteens.
    stride: usize,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    step: f32,
    /// The longest s a.
    reach: f32,
    /// The longest that integers leave out.
    error: f32,
}

/// A query as a group's points are stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) words: Vec<[i8; WORD]>,
    /// −128 times the sum of the integers.
    pub(super) bias: i32,
    /// 2 t s.
    pub(super) scale: f32,
    /// A point is beyond the threshold if s²|a|² − 2 t s (a · b) is more.
    pub(super) limit: f32,
    /// t²|b|².
    square: f32,
    /// The longest that the integers leave out.
    error: f32,
}

/// Buffers of a scan.
#[derive(Debug, Default)]
pub struct CoarseDesk {
    asked: [Asked; 4],
    /// Slots to be measured, of each query.
    hits: [Vec<u32>; 4],
    values: [Vec<[f32; LANES]>; 4],
}

impl Coarse {
    /// The points in groups of whole blocks, `firsts[g]..firsts[g + 1]`, about the points of `centres`. None where it
    /// would be no gain: few dimensions, or a machine without the instructions.
    pub fn build(points: &Blocks, firsts: &[usize], centres: &Blocks) -> Option<Self> {
        let vnni = Vnni::detect().filter(|_| DIMENSIONS.contains(&points.dims()))?;
        Some(Self::of(Some(vnni), points, firsts, centres))
    }

    fn of(vnni: Option<Vnni>, points: &Blocks, firsts: &[usize], centres: &Blocks) -> Self {
        let dims = points.dims();
        let (words, stride) = (dims.div_ceil(WORD), dims.next_multiple_of(LANES));
        let mut coarse = Self {
            vnni,
            dims,
            words,
            codes: filled(Word([[ZERO as u8; WORD]; LANES]), points.blocks() * words),
            // A vacant slot is beyond everything.
            squares: vec![[f32::INFINITY; LANES]; points.blocks()],
            groups: Vec::new(),
            centres: vec![0.0; centres.slots() * stride],
            stride,
        };
        for (group, firsts) in firsts.windows(2).enumerate() {
            centres.copy_point(group, &mut coarse.centres[group * stride..][..dims]);
            let group = coarse.store(points, firsts[0]..firsts[1], group);
            coarse.groups.push(group);
        }
        coarse
    }

    fn store(&mut self, points: &Blocks, blocks: Range<usize>, number: usize) -> Group {
        let centre = &self.centres[number * self.stride..][..self.dims];
        let slots = blocks.start * LANES..(blocks.end * LANES).min(points.slots());
        let mut row = vec![0.0; self.dims];
        let mut farthest = 0.0;
        for slot in slots.clone() {
            points.copy_point(slot, &mut row);
            let apart = row.iter().zip(centre).map(|(x, c)| (f64::from(*x) - f64::from(*c)).abs());
            farthest = apart.filter(|apart| apart.is_finite()).fold(farthest, f64::max);
        }
        let step = ((farthest / f64::from(MOST)) as f32).next_up();
        let mut group = Group { step, reach: 0.0, error: 0.0 };
        for slot in slots {
            points.copy_point(slot, &mut row);
            if row[0] == f32::INFINITY {
                continue;
            }
            let (mut square, mut left) = (0.0, 0.0);
            for (d, (x, c)) in row.iter().zip(centre).enumerate() {
                let apart = f64::from(*x) - f64::from(*c);
                let integer = (apart / f64::from(step)).round().clamp(-f64::from(MOST), f64::from(MOST));
                let word = &mut self.codes[slot / LANES * self.words + d / WORD];
                word.0[slot % LANES][d % WORD] = (integer as i32 + ZERO) as u8;
                let stored = integer * f64::from(step);
                square += stored * stored;
                left += (apart - stored).powi(2);
            }
            self.squares[slot / LANES][slot % LANES] = square as f32;
            group.reach = group.reach.max(square.sqrt() as f32);
            group.error = group.error.max((left.sqrt() as f32).next_up());
        }
        group
    }

    /// Of each query the slots of a group's points that may be within its threshold, in their order.
    ///
    /// `blocks` says which of the group's blocks can count, given lower bounds of the queries' distances from the
    /// group's centre.
    ///
    /// # Panics
    /// When a query has not `dims` values, or `Q` is more than 4.
    pub fn near<'a, const Q: usize>(
        &self,
        group: usize,
        queries: [&[f32]; Q],
        thresholds: [f32; Q],
        blocks: impl FnOnce([f32; Q]) -> Range<usize>,
        desk: &'a mut CoarseDesk,
    ) -> [&'a [u32]; Q] {
        assert!(queries.iter().all(|query| query.len() == self.dims));
        let blocks = blocks(self.ask(group, queries, thresholds, &mut desk.asked));
        for hits in &mut desk.hits {
            hits.resize(hits.len().max((blocks.len() + 1) * LANES), 0);
        }
        let mut room = desk.hits.iter_mut().map(Vec::as_mut_slice);
        let hits: [&mut [u32]; Q] = std::array::from_fn(|_| room.next().expect("four at the most"));
        let asked: [&Asked; Q] = std::array::from_fn(|q| &desk.asked[q]);
        let counts = match self.vnni {
            // SAFETY: this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            Some(_) => unsafe { avx512::hits(self, asked, blocks, hits) },
            _ => self.hits(asked, blocks, hits),
        };
        std::array::from_fn(|q| &desk.hits[q][..counts[q]])
    }

    /// Prepares queries for the points of a group that may be within squared distances. Returns lower bounds of the
    /// queries' distances from the centre.
    fn ask<const Q: usize>(
        &self,
        group: usize,
        queries: [&[f32]; Q],
        thresholds: [f32; Q],
        asked: &mut [Asked; 4],
    ) -> [f32; Q] {
        let centre = &self.centres[group * self.stride..][..self.stride];
        let group = &self.groups[group];
        let words = self.stride / WORD;
        let mut own = asked.iter_mut().map(|asked| {
            asked.words.resize(words, [0; WORD]);
            &mut asked.words[..]
        });
        let own: [&mut [[i8; WORD]]; Q] = std::array::from_fn(|_| own.next().expect("four at the most"));
        let coded = match self.vnni {
            // SAFETY: this value exists only where the instructions do.
            #[cfg(target_arch = "x86_64")]
            Some(_) => unsafe { avx512::code(queries, centre, own) },
            _ => {
                let mut q = 0;
                own.map(|words| {
                    q += 1;
                    code(queries[q - 1], centre, words)
                })
            }
        };
        let dims = self.dims as f32;
        let (lost, least) = (dims * f32::EPSILON, dims * f32::MIN_POSITIVE);
        let mut apart = [0.0; Q];
        for q in 0..Q {
            let Coded { farthest, step, sum, square, left } = coded[q];
            let error = left.sqrt() * self.rounding() + farthest * lost;
            apart[q] = (square - least).max(0.0).sqrt() * (2.0 - self.rounding()) - error;
            let asked = &mut asked[q];
            (asked.bias, asked.scale) = (-ZERO * sum, 2.0 * step * group.step);
            (asked.square, asked.error) = (square, error);
            asked.limit = self.limit(group, asked, thresholds[q]);
        }
        apart
    }

    /// What the value of a point of a group can be at the most where its square is at most a threshold.
    #[inline(always)]
    fn limit(&self, group: &Group, asked: &Asked, threshold: f32) -> f32 {
        let least = self.dims as f32 * f32::MIN_POSITIVE;
        let radius = ((threshold + least) * self.rounding()).sqrt() + asked.error + group.error;
        let all = 2.0 * (group.reach * group.reach + asked.square) + radius * radius;
        radius * radius - asked.square + self.sums() * all
    }

    /// Twice what the chain of a distance, or of a length here, may be off.
    #[inline(always)]
    fn rounding(&self) -> f32 {
        1.0 + 4.0 * (self.dims as f32 + 2.0) * f32::EPSILON
    }

    /// Of all that goes into a bound: a sum of `dims` terms and some ten operations, four times.
    #[inline(always)]
    fn sums(&self) -> f32 {
        (self.dims as f32 + 16.0) * 2.0 * f32::EPSILON
    }

    /// The slots of points that may count, for each query, to the front of `hits`; returns how many.
    fn hits<const Q: usize>(
        &self,
        asked: [&Asked; Q],
        blocks: Range<usize>,
        hits: [&mut [u32]; Q],
    ) -> [usize; Q] {
        let mut counts = [0; Q];
        for block in blocks {
            for q in 0..Q {
                for (lane, bound) in self.plain_values(asked[q], block).into_iter().enumerate() {
                    // What is not a number is not beyond.
                    let is_beyond = bound > asked[q].limit;
                    if !is_beyond {
                        hits[q][counts[q]] = (block * LANES + lane) as u32;
                        counts[q] += 1;
                    }
                }
            }
        }
        counts
    }

    /// s²|a|² − 2 t s (a · b) of the points of a block.
    fn plain_values(&self, asked: &Asked, block: usize) -> [f32; LANES] {
        let (words, squares) = self.block(block);
        let mut products = [asked.bias; LANES];
        for (word, own) in words.iter().zip(&asked.words) {
            for (product, codes) in products.iter_mut().zip(&word.0) {
                let pairs = codes.iter().zip(own);
                *product += pairs.map(|(code, own)| i32::from(*code) * i32::from(*own)).sum::<i32>();
            }
        }
        std::array::from_fn(|lane| (-(products[lane] as f32)).mul_add(asked.scale, squares[lane]))
    }

    /// Words a block.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn words(&self) -> usize {
        self.words
    }

    #[inline(always)]
    pub(super) fn block(&self, block: usize) -> (&[Word], &[f32; LANES]) {
        (&self.codes[block * self.words..][..self.words], &self.squares[block])
    }
}

/// What became of a query that was put into integers.
#[derive(Clone, Copy, Default)]
pub(super) struct Coded {
    /// The largest of the query's coordinates from the centre.
    pub(super) farthest: f32,
    pub(super) step: f32,
    /// Of the integers.
    pub(super) sum: i32,
    /// Squared lengths of what the integers stand for, and of what they leave out.
    pub(super) square: f32,
    pub(super) left: f32,
}

/// What an integer stands for, and integers a unit.
#[inline(always)]
pub(super) fn steps(farthest: f32) -> (f32, f32) {
    (farthest / MOST, if farthest > 0.0 { MOST / farthest } else { 0.0 })
}

/// Puts a query into integers.
fn code(query: &[f32], centre: &[f32], words: &mut [[i8; WORD]]) -> Coded {
    let apart = || query.iter().zip(centre).map(|(query, centre)| query - centre);
    let farthest = apart().fold(0.0, |most, apart| apart.abs().max(most));
    let (step, inverse) = steps(farthest);
    let mut coded = Coded { farthest, step, sum: 0, square: 0.0, left: 0.0 };
    for (apart, word) in apart().zip(words.as_flattened_mut()) {
        *word = (apart * inverse).round_ties_even().clamp(-MOST, MOST) as i8;
        let stored = f32::from(*word) * step;
        coded.sum += i32::from(*word);
        coded.square += stored * stored;
        coded.left += (apart - stored) * (apart - stored);
    }
    coded
}

pub mod ranks;

#[cfg(test)]
mod tests;
