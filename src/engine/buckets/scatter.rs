//! A worker's end of the shuffle: batches of rows to their buckets.

use super::{BucketError, Buckets, lock};
use crate::engine::rows::Rows;

/// Rows that a worker gathers for one bucket before it hands them over.
const GATHER: usize = 1024;

/// Moves a worker's batches into the buckets. Memory: up to 1,024 rows a bucket.
pub struct Scatterer<'a> {
    buckets: &'a Buckets,
    gathered: Vec<Rows>,
    of_row: Vec<u16>,
    positions: Vec<u32>,
    starts: Vec<u32>,
    ranges: Ranges<'a>,
    packed: Packed,
}

/// Words gathered for every bucket; nothing where rows are not packed.
#[derive(Default)]
struct Packed {
    /// Of every bucket, what customer its words count from.
    bases: Vec<u64>,
    /// 1,024 words a bucket, of which so many are taken.
    words: Vec<u64>,
    taken: Vec<u32>,
    /// Of a batch: the numbers of its customers, what words have below these, and the rows that do not fit a word.
    numbers: Vec<u64>,
    lower: Vec<u64>,
    others: Vec<u32>,
}

/// Where keys belong, by a table that leaves few of the splitters to search: there are hundreds, and every row asks.
struct Ranges<'a> {
    splitters: &'a [u64],
    /// Distance of keys to the first splitter, less this many bits, are cells of the table.
    shift: u32,
    /// Splitters up to where each cell begins; behind the last cell all of them.
    firsts: Vec<u16>,
}

/// Bits of the cells' numbers.
const CELL_BITS: u32 = 12;

impl<'a> Scatterer<'a> {
    pub(super) fn new(buckets: &'a Buckets) -> Self {
        Self {
            gathered: (0..buckets.count()).map(|_| Rows::default()).collect(),
            positions: Vec::new(),
            of_row: Vec::new(),
            starts: vec![0; buckets.count() + 1],
            ranges: Ranges::new(&buckets.splitters),
            packed: Packed::new(buckets),
            buckets,
        }
    }

    /// Hands over every row of a batch (fewer than 2³² rows).
    pub fn scatter(&mut self, batch: &Rows) -> Result<(), BucketError> {
        if self.buckets.packing.is_none() {
            return self.scatter_columns(batch);
        }
        self.scatter_words(batch)?;
        if self.packed.others.is_empty() {
            return Ok(());
        }
        let mut others = Rows::default();
        others.gather(batch, &self.packed.others, &[]);
        self.scatter_columns(&others)
    }

    /// Packs the rows that fit a word, and leaves the others.
    fn scatter_words(&mut self, batch: &Rows) -> Result<(), BucketError> {
        let Some(packing) = self.buckets.packing else { return Ok(()) };
        let Packed { bases, words, taken, numbers, lower, others } = &mut self.packed;
        packing.numbers_of(&batch.keys, numbers);
        packing.lower_bits(batch, lower);
        others.clear();
        for (row, ((key, number), low)) in batch.keys.iter().zip(&*numbers).zip(&*lower).enumerate() {
            let bucket = self.ranges.bucket(*key);
            let Some(word) = packing.word(bases[bucket], *number, *low) else {
                others.push(row as u32);
                continue;
            };
            let own = bucket * GATHER;
            let next = &mut taken[bucket];
            words[own + *next as usize] = word;
            *next += 1;
            if *next as usize == GATHER {
                *next = 0;
                self.buckets.push_words(bucket, &words[own..own + GATHER])?;
            }
        }
        Ok(())
    }

    fn scatter_columns(&mut self, batch: &Rows) -> Result<(), BucketError> {
        let text_starts = batch.text_starts();
        // Counting sort of row positions by bucket, then one gather a bucket and column.
        self.starts.fill(0);
        self.of_row.clear();
        for key in &batch.keys {
            let bucket = self.ranges.bucket(*key);
            self.of_row.push(bucket as u16);
            self.starts[bucket + 1] += 1;
        }
        for bucket in 0..self.buckets.count() {
            self.starts[bucket + 1] += self.starts[bucket];
        }
        self.positions.resize(batch.len(), 0);
        let mut next = self.starts.clone();
        for (row, bucket) in self.of_row.iter().enumerate() {
            let slot = &mut next[*bucket as usize];
            self.positions[*slot as usize] = row as u32;
            *slot += 1;
        }
        for bucket in 0..self.buckets.count() {
            let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
            if range.is_empty() {
                continue;
            }
            let gathered = &mut self.gathered[bucket];
            if gathered.len() + range.len() > GATHER && !gathered.is_empty() {
                self.buckets.push(bucket, gathered.handed_over())?;
            }
            gathered.gather(batch, &self.positions[range], &text_starts);
        }
        Ok(())
    }

    /// Hands over what is still gathered.
    pub fn finish(&mut self) -> Result<(), BucketError> {
        for (bucket, taken) in self.packed.taken.iter_mut().enumerate().filter(|(_, taken)| **taken > 0) {
            let own = bucket * GATHER;
            self.buckets.push_words(bucket, &self.packed.words[own..own + *taken as usize])?;
            *taken = 0;
        }
        for (bucket, gathered) in self.gathered.iter_mut().enumerate() {
            if !gathered.is_empty() {
                self.buckets.push(bucket, gathered.handed_over())?;
            }
        }
        Ok(())
    }
}

impl Packed {
    fn new(buckets: &Buckets) -> Self {
        if buckets.packing.is_none() {
            return Self::default();
        }
        Self {
            bases: buckets.buckets.iter().map(|bucket| lock(bucket).base).collect(),
            words: vec![0; buckets.count() * GATHER],
            taken: vec![0; buckets.count()],
            numbers: Vec::new(),
            lower: Vec::new(),
            others: Vec::new(),
        }
    }
}

impl<'a> Ranges<'a> {
    /// `splitters`: ascending.
    fn new(splitters: &'a [u64]) -> Self {
        let (low, high) = (splitters.first().copied().unwrap_or(0), splitters.last().copied().unwrap_or(0));
        let shift = (u64::BITS - (high - low).leading_zeros()).saturating_sub(CELL_BITS);
        let cells = ((high - low) >> shift) + 1;
        let first =
            |cell: u64| splitters.partition_point(|splitter| *splitter <= low + (cell << shift)) as u16;
        let firsts = (0..cells).map(first).chain([splitters.len() as u16]).collect();
        Self { splitters, shift, firsts }
    }

    /// The number of splitters up to the key.
    fn bucket(&self, key: u64) -> usize {
        let Some(distance) = self.splitters.first().and_then(|low| key.checked_sub(*low)) else { return 0 };
        let cell = ((distance >> self.shift) as usize).min(self.firsts.len() - 2);
        let (first, last) = (self.firsts[cell] as usize, self.firsts[cell + 1] as usize);
        first + self.splitters[first..last].partition_point(|splitter| *splitter <= key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_belong_where_a_search_finds_them(
            mut splitters in prop::collection::vec(prop_oneof![any::<u64>(), 0..9_000u64], 0..300),
            mut keys in prop::collection::vec(prop_oneof![any::<u64>(), 0..9_000u64], 0..300),
        ) {
            splitters.sort_unstable();
            splitters.dedup();
            keys.extend(splitters.iter().flat_map(|key| [key.saturating_sub(1), *key, key.saturating_add(1)]));
            keys.extend([0, u64::MAX]);
            let ranges = Ranges::new(&splitters);
            for key in keys {
                prop_assert_eq!(ranges.bucket(key), splitters.partition_point(|splitter| *splitter <= key));
            }
        }
    }
}
