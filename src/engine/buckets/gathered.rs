//! The rows of a bucket in one place, roughly in the order of their keys.
//!
//! A bucket is many chunks in the order of the input, and what comes next goes by customer: over a million rows nearly
//! every look at one would miss the caches. So each row is put down by the upper bits of its key, in stretches of a
//! few thousand rows. That takes little longer than copying the chunks, and the work on a stretch stays in the near
//! cache.

use crate::engine::packing::Packing;
use crate::engine::rows::{Layout, Rows};

/// Rows of a stretch, if keys are spread evenly. Packed keys leave gaps, so that it is some thousand rows in truth.
const STRETCH: usize = 1024;

/// A bucket, its memory kept for the next. Memory: the rows, and 4 bytes a row of the largest chunk.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// Empty if the rows are packed.
    pub rows: Rows,
    /// All rows packed, or none of them.
    pub words: Vec<u64>,
    /// What customer the words count from.
    pub base: u64,
    /// Where each stretch of rows ends, ascending: all keys of a stretch lie below those of the next.
    pub ends: Vec<u32>,
    /// Where the next row of each range of keys goes.
    next: Vec<u32>,
    places: Vec<u32>,
}

impl Gathered {
    pub fn len(&self) -> usize {
        self.rows.len() + self.words.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts the rows of the chunks (fewer than 2³²) in the place of what was here.
    pub(super) fn fill(&mut self, chunks: &[&Rows], layout: Layout) {
        let total = chunks.iter().map(|chunk| chunk.len()).sum();
        self.words.clear();
        self.ends.clear();
        if layout.texts {
            // Texts have no fixed length, and most of the time goes into comparing them.
            self.rows.clear();
            self.rows.reserve(total, layout);
            chunks.iter().for_each(|chunk| self.rows.append(chunk));
            self.ends.extend((total > 0).then_some(total as u32));
            return;
        }
        self.rows.resize(total, layout);
        let keys = || chunks.iter().map(|chunk| chunk.keys.as_slice());
        let cells = Cells::of(keys(), total, 0);
        self.count(keys(), &cells);
        for chunk in chunks {
            self.places.clear();
            self.places.extend(chunk.keys.iter().map(|key| {
                let next = &mut self.next[cells.of_key(*key)];
                *next += 1;
                *next - 1
            }));
            self.rows.put(chunk, &self.places);
        }
        self.end();
    }

    /// Puts packed rows (fewer than 2³²) in the place of what was here.
    pub(super) fn fill_words(&mut self, chunks: &[&[u64]], base: u64, packing: &Packing) {
        let total = chunks.iter().map(|words| words.len()).sum();
        self.rows.clear();
        self.ends.clear();
        self.base = base;
        self.words.resize(total, 0);
        // Customers stay together.
        let cells = Cells::of(chunks.iter().copied(), total, packing.low_bits());
        self.count(chunks.iter().copied(), &cells);
        for word in chunks.iter().copied().flatten() {
            let next = &mut self.next[cells.of_key(*word)];
            self.words[*next as usize] = *word;
            *next += 1;
        }
        self.end();
    }

    /// Where the rows of each cell begin.
    fn count<'k>(&mut self, keys: impl Iterator<Item = &'k [u64]>, cells: &Cells) {
        self.next.clear();
        self.next.resize(cells.count(), 0);
        for key in keys.flatten() {
            self.next[cells.of_key(*key)] += 1;
        }
        let mut start = 0;
        for next in &mut self.next {
            start += std::mem::replace(next, start);
        }
    }

    /// Each cell has been filled up to where the next begins.
    fn end(&mut self) {
        self.ends.extend_from_slice(&self.next);
        self.ends.dedup();
        self.ends.retain(|end| *end > 0);
    }
}

/// Ranges of keys, all of the same width, between keys whose lower bits are zero.
struct Cells {
    least: u64,
    most: u64,
    /// Bits of the distance to the least key that do not tell ranges apart.
    shift: u32,
}

impl Cells {
    /// Keys that differ in no more than the lowest `shared` bits come in the same range.
    fn of<'k>(chunks: impl Iterator<Item = &'k [u64]>, rows: usize, shared: u32) -> Self {
        // One chunk after the other: its keys are read from far away once.
        let (least, most) = chunks
            .filter_map(|keys| Some((*keys.iter().min()?, *keys.iter().max()?)))
            .reduce(|all, own| (all.0.min(own.0), all.1.max(own.1)))
            .unwrap_or_default();
        let least = least >> shared << shared;
        let wanted = (rows / STRETCH).max(1).ilog2();
        let shift = (u64::BITS - (most - least).leading_zeros()).saturating_sub(wanted);
        Self { least, most, shift: shift.max(shared) }
    }

    fn count(&self) -> usize {
        self.of_key(self.most) + 1
    }

    fn of_key(&self, key: u64) -> usize {
        (key - self.least).unbounded_shr(self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(keys: &[u64]) -> Rows {
        Rows {
            keys: keys.to_vec(),
            seconds: keys.iter().map(|key| *key as u32).collect(),
            packages: keys.iter().map(|key| !*key as u32).collect(),
            channels: keys.iter().map(|key| *key as u16).collect(),
            amounts: keys.iter().map(|key| *key as i64).collect(),
            ..Rows::default()
        }
    }

    fn check(gathered: &mut Gathered, keys: &[u64], width: usize) {
        let layout = Layout { amounts: true, ..Layout::default() };
        let chunks: Vec<Rows> = keys.chunks(width).map(chunk).collect();
        gathered.fill(&chunks.iter().collect::<Vec<_>>(), layout);
        let Gathered { rows, ends, .. } = &*gathered;
        assert_eq!(format!("{rows:?}"), format!("{:?}", chunk(&rows.keys)), "rows stay whole");
        let (mut found, mut expected) = (rows.keys.clone(), keys.to_vec());
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(ends.last().map_or(0, |end| *end as usize), keys.len());
        let mut start = 0;
        let mut before = None;
        for end in ends {
            let stretch = &rows.keys[start..*end as usize];
            assert!(!stretch.is_empty() && (before.is_none() || stretch.iter().min() > before));
            before = stretch.iter().max();
            start = *end as usize;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn stretches_rise_and_no_row_is_lost(
            keys in prop::collection::vec(any::<u64>(), 0..6000),
            bits in 0u32..65,
            low in 0u32..64,
            width in 1usize..3000,
        ) {
            let mask = u64::MAX.unbounded_shr(64 - bits).unbounded_shl(low);
            let keys: Vec<u64> = keys.iter().map(|key| key & mask).collect();
            let mut gathered = Gathered::default();
            check(&mut gathered, &keys, width);
            // The same memory again, for fewer rows and for more.
            check(&mut gathered, &keys[..keys.len() / 3], width);
            check(&mut gathered, &keys.repeat(2), width);
        }
    }

    #[test]
    fn even_keys_are_divided_and_the_ends_of_all_keys_fit() {
        let mut gathered = Gathered::default();
        let keys: Vec<u64> = (0..20_000u64).map(|n| n.wrapping_mul(7919) % 20_000).collect();
        check(&mut gathered, &keys, 1024);
        assert!((8..=32).contains(&gathered.ends.len()), "{}", gathered.ends.len());
        check(&mut gathered, &[u64::MAX, 0, 1], 2);
    }
}
