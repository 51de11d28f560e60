//! The shuffle: normalised transactions in K buckets of whole customers.
//!
//! A bucket holds a contiguous range of customer keys, and keys are ordered as the published
//! customer ids are. So a bucket that is sorted gives the next stretch of the published tables, and
//! nothing has to be sorted across buckets. (Hash buckets would need a merge of every table.)
//!
//! Rows are kept by column. They stay in memory up to a stated number of bytes; beyond it a bucket's
//! rows are appended to its file on scratch disk.

use super::scratch::Scratch;
use bytemuck::Pod;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bucket with fewer bytes than this in memory is not written out: small writes cost more than
/// they free.
const SMALLEST_SPILL: u64 = 64 << 10;
/// Rows that a worker gathers for one bucket before it hands them over.
const GATHER: usize = 1024;

/// Why the shuffle failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} bucket file {path}")]
pub struct BucketError {
    action: &'static str,
    path: String,
    #[source]
    source: std::io::Error,
}

/// Which optional columns the rows have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    pub amounts: bool,
    pub quantities: bool,
    pub transactions: bool,
    /// The customer key is a prefix only; the text itself is kept beside it.
    pub texts: bool,
}

impl Layout {
    /// Bytes of a row, not counting text ids.
    pub fn row_bytes(self) -> u64 {
        18 + 8 * u64::from(self.amounts)
            + 4 * u64::from(self.quantities)
            + 8 * u64::from(self.transactions)
            + 20 * u64::from(self.texts)
    }
}

/// Normalised transactions by column; optional columns are empty when the layout has none.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    /// Order-preserving customer keys.
    pub keys: Vec<u64>,
    /// Seconds since 1970.
    pub seconds: Vec<u32>,
    /// Package codes (of the run's dictionary).
    pub packages: Vec<u32>,
    /// Channel codes (of the run's dictionary).
    pub channels: Vec<u16>,
    /// Minor units of money, of the line.
    pub amounts: Vec<i64>,
    pub quantities: Vec<f32>,
    /// Hash of the transaction id.
    pub transactions: Vec<u64>,
    pub text_lengths: Vec<u32>,
    pub text_bytes: Vec<u8>,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        (self.keys.len() * 18
            + self.amounts.len() * 8
            + self.quantities.len() * 4
            + self.transactions.len() * 8
            + self.text_lengths.len() * 4
            + self.text_bytes.len()) as u64
    }

    pub fn clear(&mut self) {
        self.keys.clear();
        self.seconds.clear();
        self.packages.clear();
        self.channels.clear();
        self.amounts.clear();
        self.quantities.clear();
        self.transactions.clear();
        self.text_lengths.clear();
        self.text_bytes.clear();
    }

    fn with_capacity(rows: usize, layout: Layout) -> Self {
        let optional = |on: bool| if on { rows } else { 0 };
        Self {
            keys: Vec::with_capacity(rows),
            seconds: Vec::with_capacity(rows),
            packages: Vec::with_capacity(rows),
            channels: Vec::with_capacity(rows),
            amounts: Vec::with_capacity(optional(layout.amounts)),
            quantities: Vec::with_capacity(optional(layout.quantities)),
            transactions: Vec::with_capacity(optional(layout.transactions)),
            text_lengths: Vec::with_capacity(optional(layout.texts)),
            text_bytes: Vec::new(),
        }
    }

    /// Gives back what growing has reserved: rows that stay in memory must take what they are counted as.
    fn shrink(mut self) -> Self {
        self.keys.shrink_to_fit();
        self.seconds.shrink_to_fit();
        self.packages.shrink_to_fit();
        self.channels.shrink_to_fit();
        self.amounts.shrink_to_fit();
        self.quantities.shrink_to_fit();
        self.transactions.shrink_to_fit();
        self.text_lengths.shrink_to_fit();
        self.text_bytes.shrink_to_fit();
        self
    }

    /// Appends the rows of `from` at `positions`; `text_starts` are the offsets of its texts.
    fn gather(&mut self, from: &Self, positions: &[u32], text_starts: &[usize]) {
        let of = |position: &u32| *position as usize;
        self.keys.extend(positions.iter().map(|p| from.keys[of(p)]));
        self.seconds.extend(positions.iter().map(|p| from.seconds[of(p)]));
        self.packages.extend(positions.iter().map(|p| from.packages[of(p)]));
        self.channels.extend(positions.iter().map(|p| from.channels[of(p)]));
        if !from.amounts.is_empty() {
            self.amounts.extend(positions.iter().map(|p| from.amounts[of(p)]));
        }
        if !from.quantities.is_empty() {
            self.quantities.extend(positions.iter().map(|p| from.quantities[of(p)]));
        }
        if !from.transactions.is_empty() {
            self.transactions.extend(positions.iter().map(|p| from.transactions[of(p)]));
        }
        if !from.text_lengths.is_empty() {
            for position in positions {
                let at = of(position);
                let length = from.text_lengths[at];
                self.text_lengths.push(length);
                let start = text_starts[at];
                self.text_bytes.extend_from_slice(&from.text_bytes[start..start + length as usize]);
            }
        }
    }

    fn append(&mut self, other: &Self) {
        self.keys.extend_from_slice(&other.keys);
        self.seconds.extend_from_slice(&other.seconds);
        self.packages.extend_from_slice(&other.packages);
        self.channels.extend_from_slice(&other.channels);
        self.amounts.extend_from_slice(&other.amounts);
        self.quantities.extend_from_slice(&other.quantities);
        self.transactions.extend_from_slice(&other.transactions);
        self.text_lengths.extend_from_slice(&other.text_lengths);
        self.text_bytes.extend_from_slice(&other.text_bytes);
    }

    /// Offsets of the texts, empty without texts.
    pub fn text_starts(&self) -> Vec<usize> {
        let mut at = 0;
        self.text_lengths
            .iter()
            .map(|length| {
                let start = at;
                at += *length as usize;
                start
            })
            .collect()
    }

    fn write(&self, file: &mut File) -> std::io::Result<()> {
        let lengths: [u64; 6] = [
            self.len(),
            self.amounts.len(),
            self.quantities.len(),
            self.transactions.len(),
            self.text_lengths.len(),
            self.text_bytes.len(),
        ]
        .map(|length| length as u64);
        file.write_all(bytemuck::cast_slice(&lengths))?;
        file.write_all(bytemuck::cast_slice(&self.keys))?;
        file.write_all(bytemuck::cast_slice(&self.seconds))?;
        file.write_all(bytemuck::cast_slice(&self.packages))?;
        file.write_all(bytemuck::cast_slice(&self.channels))?;
        file.write_all(bytemuck::cast_slice(&self.amounts))?;
        file.write_all(bytemuck::cast_slice(&self.quantities))?;
        file.write_all(bytemuck::cast_slice(&self.transactions))?;
        file.write_all(bytemuck::cast_slice(&self.text_lengths))?;
        file.write_all(&self.text_bytes)
    }

    /// Appends one written chunk; false at the end of the file.
    fn read(&mut self, file: &mut impl Read) -> std::io::Result<bool> {
        let mut lengths = [0u64; 6];
        let mut at = 0;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut lengths);
        while at < bytes.len() {
            match file.read(&mut bytes[at..])? {
                0 if at == 0 => return Ok(false),
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => at += count,
            }
        }
        let [rows, amounts, quantities, transactions, text_lengths, text_bytes] = lengths;
        read_column(file, &mut self.keys, rows)?;
        read_column(file, &mut self.seconds, rows)?;
        read_column(file, &mut self.packages, rows)?;
        read_column(file, &mut self.channels, rows)?;
        read_column(file, &mut self.amounts, amounts)?;
        read_column(file, &mut self.quantities, quantities)?;
        read_column(file, &mut self.transactions, transactions)?;
        read_column(file, &mut self.text_lengths, text_lengths)?;
        read_column(file, &mut self.text_bytes, text_bytes)?;
        Ok(true)
    }
}

fn read_column<T: Pod>(file: &mut impl Read, column: &mut Vec<T>, count: u64) -> std::io::Result<()> {
    let start = column.len();
    column.resize(start + count as usize, T::zeroed());
    file.read_exact(bytemuck::cast_slice_mut(&mut column[start..]))
}

#[derive(Default)]
struct Bucket {
    chunks: Vec<Rows>,
    /// Bytes of the chunks.
    resident: u64,
    rows: u64,
    file: Option<(File, std::path::PathBuf)>,
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
        Scatterer {
            gathered: (0..self.count()).map(|_| Rows::default()).collect(),
            positions: Vec::new(),
            of_row: Vec::new(),
            starts: vec![0; self.count() + 1],
            buckets: self,
        }
    }

    /// All rows of a bucket, in no particular order. Takes them out: memory and file are freed.
    pub fn take(&self, bucket: usize) -> Result<Rows, BucketError> {
        let Bucket { chunks, resident, rows, file } = std::mem::take(&mut *lock(&self.buckets[bucket]));
        let mut all = Rows::with_capacity(rows as usize, self.layout);
        if let Some((mut file, path)) = file {
            let fail = |source| BucketError { action: "read", path: path.display().to_string(), source };
            file.seek(SeekFrom::Start(0)).map_err(fail)?;
            let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
            while all.read(&mut reader).map_err(fail)? {}
            let _ = std::fs::remove_file(&path);
        }
        for chunk in chunks {
            all.append(&chunk);
        }
        self.resident.fetch_sub(resident, Ordering::Relaxed);
        Ok(all)
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
                if let Some((mut file, path)) = whole.file.take() {
                    let fail =
                        |source| BucketError { action: "read", path: path.display().to_string(), source };
                    file.seek(SeekFrom::Start(0)).map_err(fail)?;
                    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
                    let mut chunk = Rows::default();
                    while chunk.read(&mut reader).map_err(fail)? {
                        scatterer.scatter(&chunk)?;
                        chunk.clear();
                    }
                    let _ = std::fs::remove_file(&path);
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
        if let Some((file, path)) = &mut bucket.file {
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
        let (file, path) = match &mut bucket.file {
            Some(open) => open,
            none => {
                let number = self.files.fetch_add(1, Ordering::Relaxed);
                let path = self.scratch.path().join(format!("bucket-{number:05}.rows"));
                let file =
                    File::options().create(true).truncate(true).read(true).write(true).open(&path).map_err(
                        |source| BucketError { action: "create", path: path.display().to_string(), source },
                    )?;
                none.insert((file, path))
            }
        };
        let mut together = Rows::with_capacity(bucket.chunks.iter().map(Rows::len).sum(), self.layout);
        for chunk in bucket.chunks.drain(..) {
            together.append(&chunk);
        }
        let fail = |source| BucketError { action: "write", path: path.display().to_string(), source };
        file.seek(SeekFrom::End(0)).map_err(fail)?;
        together.write(file).map_err(fail)?;
        self.spilled.fetch_add(together.bytes(), Ordering::Relaxed);
        self.resident.fetch_sub(bucket.resident, Ordering::Relaxed);
        bucket.resident = 0;
        Ok(())
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

/// Moves a worker's batches into the buckets. Memory: up to 1,024 rows a bucket.
pub struct Scatterer<'a> {
    buckets: &'a Buckets,
    gathered: Vec<Rows>,
    of_row: Vec<u16>,
    positions: Vec<u32>,
    starts: Vec<u32>,
}

impl Scatterer<'_> {
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
            gathered.gather(batch, &self.positions[range], &text_starts);
            if gathered.len() >= GATHER {
                let rows = std::mem::take(gathered).shrink();
                self.buckets.push(bucket, rows)?;
            }
        }
        Ok(())
    }

    /// Hands over what is still gathered.
    pub fn finish(&mut self) -> Result<(), BucketError> {
        for (bucket, gathered) in self.gathered.iter_mut().enumerate() {
            if !gathered.is_empty() {
                self.buckets.push(bucket, std::mem::take(gathered).shrink())?;
            }
        }
        Ok(())
    }
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
                let rows = buckets.take(bucket).unwrap();
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
            let found = keys_of(&buckets);
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
