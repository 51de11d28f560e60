//! The shuffle: normalised transactions in K buckets of whole customers.
//!
//! A bucket holds a contiguous range of customer keys, and keys are ordered as the published
//! customer ids are. So a bucket that is sorted gives the next stretch of the published tables, and
//! nothing has to be sorted across buckets. (Hash buckets would need a merge of every table.)
//!
//! Rows are kept by column. They stay in memory up to a stated number of bytes; beyond it a bucket's
//! rows are appended to its file on scratch disk.

mod gathered;
mod scatter;

pub use gathered::Gathered;
pub use scatter::Scatterer;

use super::rows::{Layout, Rows};
use super::scratch::Scratch;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bucket with fewer bytes than this in memory is not written out: small writes cost more than
/// they free.
const SMALLEST_SPILL: u64 = 64 << 10;
/// Why the shuffle failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} bucket file {path}")]
pub struct BucketError {
    action: &'static str,
    path: String,
    #[source]
    source: std::io::Error,
}

#[derive(Default)]
struct Bucket {
    chunks: Vec<Rows>,
    /// Bytes of the chunks.
    resident: u64,
    rows: u64,
    file: Option<BucketFile>,
}

/// The rows of a bucket on scratch disk; removed when nobody needs them any more.
struct BucketFile {
    file: File,
    path: std::path::PathBuf,
}

impl Drop for BucketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The buckets, in the order of their customers.
pub struct Buckets {
    layout: Layout,
    /// Bucket i holds keys from `splitters[i - 1]` up to but not including `splitters[i]`.
    splitters: Vec<u64>,
    buckets: Vec<Mutex<Bucket>>,
    resident: AtomicU64,
    resident_limit: u64,
    spilled: AtomicU64,
    scratch: Scratch,
    files: AtomicU64,
}

impl Buckets {
    /// Empty buckets between ascending splitters; `resident_limit` bytes of rows may stay in memory.
    pub fn new(splitters: Vec<u64>, layout: Layout, resident_limit: u64, scratch: Scratch) -> Self {
        Self {
            layout,
            buckets: (0..=splitters.len()).map(|_| Mutex::default()).collect(),
            splitters,
            resident: AtomicU64::new(0),
            resident_limit,
            spilled: AtomicU64::new(0),
            scratch,
            files: AtomicU64::new(0),
        }
    }

    pub fn count(&self) -> usize {
        self.buckets.len()
    }

    /// Bytes written to scratch disk.
    pub fn spilled_bytes(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    pub fn rows(&self, bucket: usize) -> u64 {
        lock(&self.buckets[bucket]).rows
    }

    pub fn total_rows(&self) -> u64 {
        (0..self.count()).map(|bucket| self.rows(bucket)).sum()
    }

    /// A worker's own end of the shuffle.
    pub fn scatterer(&self) -> Scatterer<'_> {
        Scatterer::new(self)
    }

    /// All rows of a bucket. Takes them out: memory and file are freed. Memory: the rows, and once more those that were on
    /// scratch disk until they are put down.
    pub fn take(&self, bucket: usize) -> Result<Gathered, BucketError> {
        let mut all = Gathered::default();
        self.take_into(bucket, &mut all)?;
        Ok(all)
    }

    /// As [`Buckets::take`], in the place of what `all` held: its memory is used again.
    pub fn take_into(&self, bucket: usize, all: &mut Gathered) -> Result<(), BucketError> {
        let mut taken = std::mem::take(&mut *lock(&self.buckets[bucket]));
        self.gather(&mut taken, all)?;
        self.resident.fetch_sub(taken.resident, Ordering::Relaxed);
        Ok(())
    }

    /// As [`Buckets::take`], but the rows stay for another pass.
    pub fn read(&self, bucket: usize) -> Result<Gathered, BucketError> {
        let mut all = Gathered::default();
        self.read_into(bucket, &mut all)?;
        Ok(all)
    }

    /// As [`Buckets::read`], in the place of what `all` held: its memory is used again.
    pub fn read_into(&self, bucket: usize, all: &mut Gathered) -> Result<(), BucketError> {
        self.gather(&mut lock(&self.buckets[bucket]), all)
    }

    fn gather(&self, bucket: &mut Bucket, all: &mut Gathered) -> Result<(), BucketError> {
        let spilled = match &mut bucket.file {
            Some(file) => read_file(file)?,
            None => Vec::new(),
        };
        all.fill(&spilled.iter().chain(&bucket.chunks).collect::<Vec<_>>(), self.layout);
        Ok(())
    }

    /// Splits buckets of more than `most` rows between their customers, so that a sample of ids that
    /// missed a crowd costs time but not the memory limit. A single customer is never split.
    pub fn split_large(&mut self, most: u64) -> Result<(), BucketError> {
        let mut at = 0;
        while at < self.count() {
            let rows = self.rows(at);
            if rows > most
                && let Some(splitters) = self.inner_splitters(at, rows.div_ceil(most))?
            {
                let inner = Self::new(splitters, self.layout, 0, self.scratch.clone());
                inner.files.store(self.files.load(Ordering::Relaxed), Ordering::Relaxed);
                let mut whole = std::mem::take(&mut *lock(&self.buckets[at]));
                self.resident.fetch_sub(whole.resident, Ordering::Relaxed);
                let mut scatterer = inner.scatterer();
                for chunk in whole.chunks.drain(..) {
                    scatterer.scatter(&chunk)?;
                }
                if let Some(mut spilled) = whole.file.take() {
                    let BucketFile { file, path } = &mut spilled;
                    let fail =
                        |source| BucketError { action: "read", path: path.display().to_string(), source };
                    file.seek(SeekFrom::Start(0)).map_err(fail)?;
                    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
                    let mut chunk = Rows::default();
                    while chunk.read(&mut reader).map_err(fail)? {
                        scatterer.scatter(&chunk)?;
                        chunk.clear();
                    }
                }
                scatterer.finish()?;
                self.files.store(inner.files.load(Ordering::Relaxed), Ordering::Relaxed);
                self.spilled.fetch_add(inner.spilled_bytes(), Ordering::Relaxed);
                self.resident.fetch_add(inner.resident.load(Ordering::Relaxed), Ordering::Relaxed);
                let added = inner.count();
                self.splitters.splice(at..at, inner.splitters);
                self.buckets.splice(at..=at, inner.buckets);
                at += added;
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Splitters from the keys of a bucket itself; None if all rows are one customer's.
    fn inner_splitters(&self, bucket: usize, parts: u64) -> Result<Option<Vec<u64>>, BucketError> {
        let mut bucket = lock(&self.buckets[bucket]);
        let mut keys: Vec<u64> = Vec::new();
        let step = (bucket.rows / 200_000).max(1) as usize;
        for chunk in &bucket.chunks {
            keys.extend(chunk.keys.iter().step_by(step));
        }
        if let Some(BucketFile { file, path }) = &mut bucket.file {
            let fail = |source| BucketError { action: "read", path: path.display().to_string(), source };
            file.seek(SeekFrom::Start(0)).map_err(fail)?;
            let mut reader = std::io::BufReader::with_capacity(1 << 20, &*file);
            let mut chunk = Rows::default();
            while chunk.read(&mut reader).map_err(fail)? {
                keys.extend(chunk.keys.iter().step_by(step));
                chunk.clear();
            }
        }
        let splitters = splitters(&mut keys, parts as usize);
        Ok((!splitters.is_empty()).then_some(splitters))
    }

    fn push(&self, bucket: usize, rows: Rows) -> Result<(), BucketError> {
        let bytes = rows.bytes();
        let resident = self.resident.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut bucket = lock(&self.buckets[bucket]);
        bucket.rows += rows.len() as u64;
        bucket.resident += bytes;
        bucket.chunks.push(rows);
        if resident > self.resident_limit && bucket.resident >= SMALLEST_SPILL {
            self.spill(&mut bucket)?;
        }
        Ok(())
    }

    fn spill(&self, bucket: &mut Bucket) -> Result<(), BucketError> {
        let BucketFile { file, path } = match &mut bucket.file {
            Some(open) => open,
            none => {
                let number = self.files.fetch_add(1, Ordering::Relaxed);
                let path = self.scratch.path().join(format!("bucket-{number:05}.rows"));
                let file =
                    File::options().create(true).truncate(true).read(true).write(true).open(&path).map_err(
                        |source| BucketError { action: "create", path: path.display().to_string(), source },
                    )?;
                none.insert(BucketFile { file, path })
            }
        };
        let fail = |source| BucketError { action: "write", path: path.display().to_string(), source };
        file.seek(SeekFrom::End(0)).map_err(fail)?;
        Rows::write_together(&bucket.chunks, file).map_err(fail)?;
        bucket.chunks.clear();
        self.spilled.fetch_add(bucket.resident, Ordering::Relaxed);
        self.resident.fetch_sub(bucket.resident, Ordering::Relaxed);
        bucket.resident = 0;
        Ok(())
    }
}

/// The chunks of a bucket's file.
fn read_file(spilled: &mut BucketFile) -> Result<Vec<Rows>, BucketError> {
    let BucketFile { file, path } = spilled;
    let fail = |source| BucketError { action: "read", path: path.display().to_string(), source };
    file.seek(SeekFrom::Start(0)).map_err(fail)?;
    let mut chunks = Vec::new();
    loop {
        // A chunk's columns are large enough to be read straight to where they stay.
        let mut chunk = Rows::default();
        if !chunk.read(file).map_err(fail)? {
            return Ok(chunks);
        }
        chunks.push(chunk);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Splitters that part `keys` into about `parts` equal ranges, ascending and distinct; fewer when a
/// key is so frequent that it fills several. Sorts `keys`.
pub fn splitters(keys: &mut [u64], parts: usize) -> Vec<u64> {
    keys.sort_unstable();
    let mut found: Vec<u64> = (1..parts)
        .filter_map(|part| keys.get(part * keys.len() / parts).copied())
        .filter(|key| Some(key) != keys.first())
        .collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(keys: &[u64], layout: Layout) -> Rows {
        let mut rows = Rows::default();
        for key in keys {
            rows.keys.push(*key);
            rows.seconds.push(*key as u32);
            rows.packages.push(1);
            rows.channels.push(2);
            if layout.amounts {
                rows.amounts.push(*key as i64 * 3);
            }
            if layout.texts {
                let text = format!("id{key}");
                rows.text_lengths.push(text.len() as u32);
                rows.text_bytes.extend_from_slice(text.as_bytes());
            }
        }
        rows
    }

    fn keys_of(buckets: &Buckets) -> Vec<Vec<u64>> {
        (0..buckets.count())
            .map(|bucket| {
                let rows = buckets.take(bucket).unwrap().rows;
                assert!(rows.amounts.iter().zip(&rows.keys).all(|(amount, key)| *amount == *key as i64 * 3));
                for ((start, length), key) in
                    rows.text_starts().iter().zip(&rows.text_lengths).zip(&rows.keys)
                {
                    let text = &rows.text_bytes[*start..*start + *length as usize];
                    assert_eq!(text, format!("id{key}").as_bytes());
                }
                let mut keys = rows.keys;
                keys.sort_unstable();
                keys
            })
            .collect()
    }

    #[test]
    fn rows_come_back_from_their_range_in_memory_and_from_disk() {
        let layout = Layout { amounts: true, texts: true, ..Layout::default() };
        for resident in [0, u64::MAX] {
            let scratch = Scratch::temporary().unwrap();
            let buckets = Buckets::new(vec![1000, 60_000], layout, resident, scratch);
            let mut scatterer = buckets.scatterer();
            for start in (0..90_000u64).step_by(10_000) {
                scatterer.scatter(&batch(&(start..start + 10_000).collect::<Vec<_>>(), layout)).unwrap();
            }
            scatterer.finish().unwrap();
            assert_eq!(buckets.total_rows(), 90_000);
            assert_eq!(resident == 0, buckets.spilled_bytes() > 0);
            let mut read = buckets.read(0).unwrap().rows.keys;
            read.sort_unstable();
            let found = keys_of(&buckets);
            assert_eq!(read, found[0], "reading leaves the bucket as it was");
            assert_eq!(found[0], (0..1000).collect::<Vec<_>>());
            assert_eq!(found[1], (1000..60_000).collect::<Vec<_>>());
            assert_eq!(found[2], (60_000..90_000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_bucket_that_is_too_large_is_split_between_customers() {
        let layout = Layout { amounts: true, ..Layout::default() };
        for resident in [0, u64::MAX] {
            let mut buckets = Buckets::new(vec![10], layout, resident, Scratch::temporary().unwrap());
            let mut scatterer = buckets.scatterer();
            let keys: Vec<u64> = (0..50_000).map(|row| 100 + row % 500).chain([3; 20_000]).collect();
            scatterer.scatter(&batch(&keys, layout)).unwrap();
            scatterer.finish().unwrap();
            buckets.split_large(10_000).unwrap();
            assert!(buckets.count() >= 6, "{}", buckets.count());
            assert!((1..buckets.count()).all(|bucket| buckets.rows(bucket) <= 11_000));
            let found = keys_of(&buckets);
            assert_eq!(found[0], vec![3; 20_000]);
            assert!(found.windows(2).all(|pair| pair[0].last() < pair[1].first()));
            assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 70_000);
        }
    }
}
