//! A worker's end of the shuffle: batches of rows to their buckets.

use super::{BucketError, Buckets};
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
            buckets,
        }
    }

    /// Hands over every row of a batch (fewer than 2³² rows).
    pub fn scatter(&mut self, batch: &Rows) -> Result<(), BucketError> {
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
        for (bucket, gathered) in self.gathered.iter_mut().enumerate() {
            if !gathered.is_empty() {
                self.buckets.push(bucket, gathered.handed_over())?;
            }
        }
        Ok(())
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
