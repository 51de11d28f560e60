//! The bytes of one file for the Parquet and CSV readers, on local disk or in an object store.

use super::location::{InputFile, Location};
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Bytes asked for at once when a remote file is read from start to end; first few, for who wants the header alone.
const FIRST_STEP: u64 = 256 << 10;
const REMOTE_STEP: u64 = 8 << 20;

/// A file opened for random access.
#[derive(Clone)]
pub struct Input {
    source: Source,
    length: u64,
    storage_failed: Arc<AtomicBool>,
}

#[derive(Clone)]
enum Source {
    Local(Arc<File>),
    Remote { store: Arc<dyn ObjectStore>, path: StorePath, runtime: Handle, ready: Arc<Vec<(u64, Bytes)>> },
}

impl Input {
    /// Opens a file; a remote one costs no request until bytes are asked for.
    pub fn open(file: &InputFile, runtime: &Handle) -> std::io::Result<Self> {
        let source = match &file.location {
            Location::Local(path) => Source::Local(Arc::new(File::open(path)?)),
            Location::Remote { store, path } => Source::Remote {
                store: store.clone(),
                path: path.clone(),
                runtime: runtime.clone(),
                ready: Arc::new(Vec::new()),
            },
        };
        Ok(Self { source, length: file.bytes, storage_failed: Arc::default() })
    }

    /// Fetches ranges in one go, so that a reader's many small reads are answered from memory.
    /// Local files need none of it. Memory: the ranges.
    pub fn prefetch(&self, ranges: &[Range<u64>]) -> std::io::Result<Self> {
        match self.fetch(ranges)? {
            Some(fetch) => self.with(fetch),
            None => Ok(self.clone()),
        }
    }

    /// Begins to fetch ranges of a remote file; None for a local one. What is not taken by [`Self::with`] is called off.
    pub fn fetch(&self, ranges: &[Range<u64>]) -> std::io::Result<Option<Fetch>> {
        let Source::Remote { store, path, runtime, .. } = &self.source else { return Ok(None) };
        if let Some(range) = ranges.iter().find(|range| range.end > self.length || range.start > range.end) {
            return Err(self.beyond(range.start, range.end.saturating_sub(range.start)));
        }
        let (store, path, ranges) = (store.clone(), path.clone(), ranges.to_vec());
        let starts = ranges.iter().map(|range| range.start).collect();
        let coming = runtime.spawn(async move { store.get_ranges(&path, &ranges).await });
        Ok(Some(Fetch { starts, coming }))
    }

    /// The same file with ranges that were asked for at hand. Waits for them.
    pub fn with(&self, mut fetch: Fetch) -> std::io::Result<Self> {
        let Source::Remote { store, path, runtime, .. } = &self.source else { return Ok(self.clone()) };
        let come = runtime.block_on(&mut fetch.coming).map_err(std::io::Error::other)?;
        let fetched = come.map_err(|error| self.failed(error))?;
        let ready = std::mem::take(&mut fetch.starts).into_iter().zip(fetched).collect();
        Ok(Self {
            source: Source::Remote {
                store: store.clone(),
                path: path.clone(),
                runtime: runtime.clone(),
                ready: Arc::new(ready),
            },
            length: self.length,
            storage_failed: self.storage_failed.clone(),
        })
    }

    /// Whether the disk or the store has failed to give bytes that the file should have: then nothing is known of
    /// the file itself.
    pub fn storage_failed(&self) -> bool {
        self.storage_failed.load(Ordering::Relaxed)
    }

    fn failed(&self, error: object_store::Error) -> std::io::Error {
        self.storage_failed.store(true, Ordering::Relaxed);
        std::io::Error::other(error)
    }

    /// What a local read failed with; a file that ends early is the file's own fault.
    fn noted(&self, error: std::io::Error) -> std::io::Error {
        if error.kind() != std::io::ErrorKind::UnexpectedEof {
            self.storage_failed.store(true, Ordering::Relaxed);
        }
        error
    }

    fn beyond(&self, start: u64, length: u64) -> std::io::Error {
        let text = format!("{length} bytes from byte {start} are asked for, the file has {}", self.length);
        std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text)
    }

    /// A reader from the start, unpacked according to the file's name (`.gz`, `.zst`).
    pub fn unpacked(&self, name: &str) -> std::io::Result<Box<dyn Read + Send>> {
        // By position, never by the file's own offset, which all handles of a file share.
        let raw = Box::new(Sequential::new(self.clone(), 0));
        let lower = name.to_ascii_lowercase();
        Ok(if lower.ends_with(".gz") {
            Box::new(BufReader::with_capacity(
                1 << 18,
                flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 18, raw)),
            ))
        } else if lower.ends_with(".zst") || lower.ends_with(".zstd") {
            Box::new(BufReader::with_capacity(1 << 18, zstd::stream::read::Decoder::new(raw)?))
        } else {
            Box::new(BufReader::with_capacity(1 << 18, raw))
        })
    }

    fn range(&self, start: u64, length: u64) -> std::io::Result<Bytes> {
        // Before anything is allocated: a corrupt file may name any length.
        if start.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(self.beyond(start, length));
        }
        match &self.source {
            Source::Local(file) => {
                let mut buffer = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
                read_exact_at(file, &mut buffer, start).map_err(|error| self.noted(error))?;
                Ok(buffer.into())
            }
            Source::Remote { store, path, runtime, .. } => match self.ready(start) {
                Some(bytes) if bytes.len() as u64 >= length => Ok(bytes.slice(..length as usize)),
                _ => runtime
                    .block_on(store.get_range(path, start..start + length))
                    .map_err(|error| self.failed(error)),
            },
        }
    }

    /// What is at hand from a byte on.
    fn ready(&self, start: u64) -> Option<Bytes> {
        let Source::Remote { ready, .. } = &self.source else { return None };
        let (at, bytes) = ready.iter().find(|(at, bytes)| (*at..at + bytes.len() as u64).contains(&start))?;
        Some(bytes.slice((start - at) as usize..))
    }
}

/// Ranges of a remote file that are on their way.
pub struct Fetch {
    starts: Vec<u64>,
    coming: JoinHandle<object_store::Result<Vec<Bytes>>>,
}

#[cfg(test)]
impl Fetch {
    pub fn has_come(&self) -> bool {
        self.coming.is_finished()
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.coming.abort();
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], start: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, start)
}

#[cfg(not(unix))]
fn read_exact_at(file: &File, buffer: &mut [u8], start: u64) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut own = file.try_clone()?;
    own.seek(SeekFrom::Start(start))?;
    own.read_exact(buffer)
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Input {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(Box::new(BufReader::with_capacity(8 << 10, Sequential::new(self.clone(), start))))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.range(start, length as u64)?)
    }
}

/// Reads on from a position, a step at a time. A remote file's next step is fetched while one is read.
struct Sequential {
    input: Input,
    /// Where what is neither in `rest` nor in `ahead` begins.
    at: u64,
    rest: Bytes,
    ahead: Option<Fetch>,
    steps: u64,
}

impl Sequential {
    fn new(input: Input, at: u64) -> Self {
        Self { input, at, rest: Bytes::new(), ahead: None, steps: 0 }
    }

    /// The next bytes of a remote file; none at its end.
    fn step(&mut self) -> std::io::Result<Bytes> {
        if let Some(ready) = self.input.ready(self.at) {
            self.at += ready.len() as u64;
            return Ok(ready);
        }
        let fetch = match self.ahead.take() {
            Some(fetch) => fetch,
            None => match self.ask()? {
                Some(fetch) => fetch,
                None => return Ok(Bytes::new()),
            },
        };
        let start = fetch.starts.first().copied().unwrap_or(self.at);
        let bytes = self.input.with(fetch)?.ready(start).unwrap_or_default();
        // Whoever reads a second step reads on.
        if self.steps > 1 {
            self.ahead = self.ask()?;
        }
        Ok(bytes)
    }

    fn ask(&mut self) -> std::io::Result<Option<Fetch>> {
        let step = if self.steps == 0 { FIRST_STEP } else { REMOTE_STEP };
        let end = self.input.length.min(self.at.saturating_add(step));
        if self.at >= end {
            return Ok(None);
        }
        let fetch = self.input.fetch(std::slice::from_ref(&(self.at..end)))?;
        (self.at, self.steps) = (end, self.steps + 1);
        Ok(fetch)
    }
}

impl Read for Sequential {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if let Source::Local(file) = &self.input.source {
            let wanted = out
                .len()
                .min(usize::try_from(self.input.length.saturating_sub(self.at)).unwrap_or(usize::MAX));
            read_exact_at(file, &mut out[..wanted], self.at).map_err(|error| self.input.noted(error))?;
            self.at += wanted as u64;
            return Ok(wanted);
        }
        if self.rest.is_empty() {
            self.rest = self.step()?;
        }
        let count = out.len().min(self.rest.len());
        out[..count].copy_from_slice(&self.rest[..count]);
        self.rest = self.rest.slice(count..);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;
    use std::io::Read;

    /// A file of so many bytes in a store in memory.
    fn remote(bytes: usize, runtime: &Handle) -> (Input, Vec<u8>) {
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let (store, path) = (Arc::new(InMemory::new()), StorePath::from("file"));
        runtime.block_on(store.put(&path, content.clone().into())).unwrap();
        let file = InputFile {
            location: Location::Remote { store, path },
            name: "file".to_owned(),
            bytes: bytes as u64,
            modified: 0,
            tag: None,
        };
        (Input::open(&file, runtime).unwrap(), content)
    }

    #[test]
    fn a_remote_file_reads_like_a_local_one_from_any_position() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for bytes in
            [0, 1, FIRST_STEP as usize, FIRST_STEP as usize + 1, (REMOTE_STEP * 2 + FIRST_STEP) as usize + 5]
        {
            let (input, content) = remote(bytes, runtime.handle());
            let mut read = Vec::new();
            input.unpacked("file.csv").unwrap().read_to_end(&mut read).unwrap();
            assert!(read == content, "{bytes}");
            let mut rest = Vec::new();
            input.get_read(bytes as u64 / 3).unwrap().read_to_end(&mut rest).unwrap();
            assert!(rest == content[bytes / 3..], "{bytes}");
        }
    }

    #[test]
    fn what_was_fetched_is_not_asked_for_again() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (input, content) = remote(10_000, runtime.handle());
        let ready = input.prefetch(&[100..200, 5_000..6_000]).unwrap();
        if let Source::Remote { store, path, .. } = &ready.source {
            runtime.block_on(store.delete(path)).unwrap();
        }
        assert_eq!(ready.get_bytes(120, 80).unwrap(), content[120..200]);
        let mut header = [0; 50];
        ready.get_read(5_900).unwrap().read_exact(&mut header).unwrap();
        assert_eq!(header, content[5_900..5_950]);
        // The store has nothing more.
        assert!(ready.get_bytes(190, 20).is_err() && ready.storage_failed());
        assert!(input.prefetch(&[0..10, 9_990..10_010]).is_err());
    }
}
