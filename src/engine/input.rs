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

/// Bytes asked for at once when a remote file is read from start to end.
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
        let Source::Remote { store, path, runtime, .. } = &self.source else {
            return Ok(self.clone());
        };
        if let Some(range) = ranges.iter().find(|range| range.end > self.length || range.start > range.end) {
            return Err(self.beyond(range.start, range.end.saturating_sub(range.start)));
        }
        let fetched = runtime.block_on(store.get_ranges(path, ranges)).map_err(|error| self.failed(error))?;
        let ready = ranges.iter().map(|range| range.start).zip(fetched).collect();
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
        let raw = Box::new(Sequential { input: self.clone(), at: 0, rest: Bytes::new() });
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
            Source::Remote { store, path, runtime, ready } => {
                for (at, bytes) in ready.iter() {
                    if *at <= start && start + length <= at + bytes.len() as u64 {
                        let from = (start - at) as usize;
                        return Ok(bytes.slice(from..from + length as usize));
                    }
                }
                runtime
                    .block_on(store.get_range(path, start..start + length))
                    .map_err(|error| self.failed(error))
            }
        }
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
        Ok(Box::new(BufReader::with_capacity(
            8 << 10,
            Sequential { input: self.clone(), at: start, rest: Bytes::new() },
        )))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.range(start, length as u64)?)
    }
}

/// Reads on from a position, a step at a time.
struct Sequential {
    input: Input,
    at: u64,
    rest: Bytes,
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
            let step = REMOTE_STEP.min(self.input.length.saturating_sub(self.at));
            if step == 0 {
                return Ok(0);
            }
            self.rest = self.input.range(self.at, step)?;
            self.at += step;
        }
        let count = out.len().min(self.rest.len());
        out[..count].copy_from_slice(&self.rest[..count]);
        self.rest = self.rest.slice(count..);
        Ok(count)
    }
}
