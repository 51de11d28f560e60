//! The shuffle: normalised transactions in K buckets of whole customers.
//!
//! A bucket holds a contiguous range of customer keys, and keys are ordered as the published
//! customer ids are. So a bucket that is sorted gives the next stretch of the published tables, and
//! nothing has to be sorted across buckets. (Hash buckets would need a merge of every table.)
//!
//! Rows are kept in one word each where they fit ([`Packing`]), else by column. They stay in memory up to a stated
//! number of bytes; beyond it a bucket's rows are appended to its file on scratch disk.

mod gathered;
mod scatter;
#[cfg(test)]
mod tests;

pub use gathered::Gathered;
pub use scatter::Scatterer;

use super::packing::Packing;
use super::rows::{Layout, Rows};
use super::scratch::Scratch;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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
    /// Rows that are not packed.
    chunks: Vec<Rows>,
    /// Packed rows, with the customer that they count from.
    words: Vec<Box<[u64]>>,
    base: u64,
    /// Bytes of both.
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
    packing: Option<Packing>,
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
            packing: None,
            buckets: (0..=splitters.len()).map(|_| Mutex::default()).collect(),
            splitters,
            resident: AtomicU64::new(0),
            resident_limit,
            spilled: AtomicU64::new(0),
            scratch,
            files: AtomicU64::new(0),
        }
    }

    /// Packs rows from now on; `bases`: what the words of each bucket count from. Only for rows without optional columns.
    pub fn packed(mut self, packing: Packing, bases: &[u64]) -> Self {
        self.packing = Some(packing);
        for (bucket, base) in self.buckets.iter_mut().zip(bases) {
            bucket.get_mut().unwrap_or_else(PoisonError::into_inner).base = *base;
        }
        self
    }

    pub fn packing(&self) -> Option<&Packing> {
        self.packing.as_ref()
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
        let words = spilled.iter().map(|(_, words)| words.as_slice());
        let words: Vec<&[u64]> = words.chain(bucket.words.iter().map(|words| &**words)).collect();
        let mut chunks: Vec<&Rows> = spilled.iter().map(|(rows, _)| rows).chain(&bucket.chunks).collect();
        chunks.retain(|chunk| !chunk.is_empty());
        let mut unpacked = Rows::default();
        match &self.packing {
            Some(packing) if chunks.is_empty() => all.fill_words(&words, bucket.base, packing),
            Some(packing) => {
                words.iter().for_each(|words| packing.unpack_all(bucket.base, words, &mut unpacked));
                chunks.push(&unpacked);
                all.fill(&chunks, self.layout);
            }
            None => all.fill(&chunks, self.layout),
        }
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
                self.for_each_chunk(&mut whole, |chunk| scatterer.scatter(chunk))?;
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
        self.for_each_chunk(&mut bucket, |chunk| {
            keys.extend(chunk.keys.iter().step_by(step));
            Ok(())
        })?;
        let splitters = splitters(&mut keys, parts as usize);
        Ok((!splitters.is_empty()).then_some(splitters))
    }

    /// All rows of a bucket by column, some at a time.
    fn for_each_chunk(
        &self,
        bucket: &mut Bucket,
        mut see: impl FnMut(&Rows) -> Result<(), BucketError>,
    ) -> Result<(), BucketError> {
        let mut unpacked = Rows::default();
        let mut see_both = |rows: &Rows, words: &[u64]| {
            unpacked.clear();
            if let Some(packing) = &self.packing {
                packing.unpack_all(bucket.base, words, &mut unpacked);
            }
            [rows, &unpacked].into_iter().filter(|rows| !rows.is_empty()).try_for_each(&mut see)
        };
        bucket.chunks.iter().try_for_each(|rows| see_both(rows, &[]))?;
        bucket.words.iter().try_for_each(|words| see_both(&Rows::default(), words))?;
        if let Some(BucketFile { file, path }) = &mut bucket.file {
            let fail = |source| BucketError { action: "read", path: path.display().to_string(), source };
            file.seek(SeekFrom::Start(0)).map_err(fail)?;
            let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
            let (mut rows, mut words) = (Rows::default(), Vec::new());
            while rows.read(&mut words, &mut reader).map_err(fail)? {
                see_both(&rows, &words)?;
                rows.clear();
                words.clear();
            }
        }
        Ok(())
    }

    fn push(&self, bucket: usize, rows: Rows) -> Result<(), BucketError> {
        self.take_in(bucket, rows.len(), rows.bytes(), |bucket| bucket.chunks.push(rows))
    }

    fn push_words(&self, bucket: usize, words: &[u64]) -> Result<(), BucketError> {
        self.take_in(bucket, words.len(), size_of_val(words) as u64, |bucket| bucket.words.push(words.into()))
    }

    fn take_in(
        &self,
        bucket: usize,
        rows: usize,
        bytes: u64,
        put: impl FnOnce(&mut Bucket),
    ) -> Result<(), BucketError> {
        let resident = self.resident.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut bucket = lock(&self.buckets[bucket]);
        bucket.rows += rows as u64;
        bucket.resident += bytes;
        put(&mut bucket);
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
        Rows::write_together(&bucket.chunks, &bucket.words, file).map_err(fail)?;
        bucket.chunks.clear();
        bucket.words.clear();
        self.spilled.fetch_add(bucket.resident, Ordering::Relaxed);
        self.resident.fetch_sub(bucket.resident, Ordering::Relaxed);
        bucket.resident = 0;
        Ok(())
    }
}

/// The chunks of a bucket's file, each with its packed rows.
fn read_file(spilled: &mut BucketFile) -> Result<Vec<(Rows, Vec<u64>)>, BucketError> {
    let BucketFile { file, path } = spilled;
    let fail = |source| BucketError { action: "read", path: path.display().to_string(), source };
    file.seek(SeekFrom::Start(0)).map_err(fail)?;
    let mut chunks = Vec::new();
    loop {
        // A chunk's columns are large enough to be read straight to where they stay.
        let (mut rows, mut words) = (Rows::default(), Vec::new());
        if !rows.read(&mut words, file).map_err(fail)? {
            return Ok(chunks);
        }
        chunks.push((rows, words));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
