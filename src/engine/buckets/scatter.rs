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
}

impl<'a> Scatterer<'a> {
    pub(super) fn new(buckets: &'a Buckets) -> Self {
        Self {
            gathered: (0..buckets.count()).map(|_| Rows::default()).collect(),
            positions: Vec::new(),
            of_row: Vec::new(),
            starts: vec![0; buckets.count() + 1],
            buckets,
        }
    }

    /// Hands over every row of a batch (fewer than 2³² rows).
    pub fn scatter(&mut self, batch: &Rows) -> Result<(), BucketError> {
        let splitters = &self.buckets.splitters;
        let text_starts = batch.text_starts();
        // Counting sort of row positions by bucket, then one gather a bucket and column.
        self.starts.fill(0);
        self.of_row.clear();
        for key in &batch.keys {
            let bucket = splitters.partition_point(|splitter| splitter <= key);
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
