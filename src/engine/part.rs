//! Parquet files of published tables: bounded writers and readers.
//!
//! A table is a folder of parts, each written by one worker in one go. A part carries its page index,
//! and a bloom filter on the customer, so that a lookup reads a page or two of one file. How columns are
//! stored: `part/storage.rs`; how they are written: `part/writer.rs` and `part/encode`; how one customer is found:
//! `part/customer.rs`.

pub mod customer;
mod durable;
pub(crate) mod encode;
mod storage;
mod writer;

use self::durable::Disk;
use super::input::Input;
use super::location::{InputFile, Location};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;
pub use writer::PartWriter;

/// Most rows of a batch when a part is read back: nearly every part is one, which spares putting batches together.
pub const BATCH_ROWS: usize = 1 << 18;

/// Why a part cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{path} is a link, which packwise never makes in its output")]
    Link { path: String },
    #[error("{path} has no column {column}")]
    Column { path: String, column: String },
}

/// A file as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    /// Relative to the run's folder.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    /// BLAKE3 of the file, hexadecimal.
    pub checksum: String,
    /// First and last customer of the file, as text, if the table has customers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub customers: Option<(String, String)>,
}

/// The folder of one run, on local disk or in an object store.
#[derive(Debug, Clone)]
pub enum RunFolder {
    Local { root: PathBuf, disk: Disk },
    Remote { store: Arc<dyn ObjectStore>, prefix: StorePath, staging: PathBuf, runtime: Handle },
}

impl RunFolder {
    /// A local folder of files that are published: [`RunFolder::settle`] waits until they are on the disk.
    pub fn durable(root: PathBuf) -> Self {
        Self::Local { root, disk: Disk::durable() }
    }

    /// A local folder of files that nobody misses after a loss of power.
    pub fn scratch(root: PathBuf) -> Self {
        Self::Local { root, disk: Disk::scratch() }
    }

    /// Waits until all files that were written are where a loss of power does not take them; to be called before a
    /// manifest names them.
    pub fn settle(&self) -> Result<(), PartError> {
        match self {
            Self::Local { disk, .. } => disk.settle(),
            Self::Remote { .. } => Ok(()),
        }
    }

    /// Writes a small file whole.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<PartFile, PartError> {
        let file = PartFile {
            path: name.to_owned(),
            rows: 0,
            bytes: bytes.len() as u64,
            checksum: blake3::hash(&bytes).to_hex().to_string(),
            customers: None,
        };
        match self {
            Self::Local { root, disk } => {
                let path = root.join(name);
                let fail = |source: std::io::Error| PartError::Write {
                    path: path.display().to_string(),
                    source: Box::new(source),
                };
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent).map_err(fail)?;
                }
                let mut file = File::create(&path).map_err(fail)?;
                file.write_all(&bytes).map_err(fail)?;
                disk.later(file, &path)?;
            }
            Self::Remote { store, prefix, runtime, .. } => {
                let path = remote_path(prefix, name);
                runtime.block_on(store.put(&path, PutPayload::from(bytes))).map_err(|source| {
                    PartError::Write { path: path.to_string(), source: Box::new(source) }
                })?;
            }
        }
        Ok(file)
    }

    /// Takes over a file of a run that was stopped, if the folder has this very file: on local disk by its checksum, and it
    /// is synchronised like a new one; in a store, where a file is there whole or not at all, by its size.
    pub fn takes(&self, part: &PartFile) -> bool {
        match self {
            Self::Local { root, disk } => {
                let path = root.join(&part.path);
                let Ok(file) = File::open(&path) else { return false };
                let mut hash = blake3::Hasher::new();
                hash.update_reader(&file).is_ok()
                    && hash.finalize().to_hex().as_str() == part.checksum
                    && disk.later(file, &path).is_ok()
            }
            Self::Remote { store, prefix, runtime, .. } => runtime
                .block_on(store.head(&remote_path(prefix, &part.path)))
                .is_ok_and(|found| found.size == part.bytes),
        }
    }

    /// The file behind a manifest's entry, for reading what is published: a link in its place, which might lead
    /// anywhere, is refused.
    pub fn published(&self, part: &PartFile) -> Result<InputFile, PartError> {
        let file = self.file(part);
        if let (Self::Local { root, .. }, Location::Local(path)) = (self, &file.location) {
            let is_link = |path: &std::path::Path| path.is_symlink();
            let inside = path.ancestors().take_while(|folder| folder.starts_with(root));
            if let Some(link) = inside.into_iter().find(|path| is_link(path)) {
                return Err(PartError::Link { path: link.display().to_string() });
            }
        }
        Ok(file)
    }

    /// The file behind a manifest's entry.
    pub fn file(&self, part: &PartFile) -> InputFile {
        let location = match self {
            Self::Local { root, .. } => Location::Local(root.join(&part.path)),
            Self::Remote { store, prefix, .. } => {
                Location::Remote { store: store.clone(), path: remote_path(prefix, &part.path) }
            }
        };
        let name = match &location {
            Location::Local(path) => path.display().to_string(),
            Location::Remote { path, .. } => path.to_string(),
        };
        InputFile { location, name, bytes: part.bytes, modified: 0, tag: None }
    }
}

/// `prefix/name`, where the name may hold folders.
pub fn remote_path(prefix: &StorePath, name: &str) -> StorePath {
    name.split('/').filter(|part| !part.is_empty()).fold(prefix.clone(), |path, part| path.join(part))
}

/// A customer id as text.
pub fn id_text(ids: &dyn Array, row: usize) -> String {
    match ids.data_type() {
        DataType::Int64 => ids.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Utf8 => ids.as_string::<i32>().value(row).to_owned(),
        _ => match ids.as_dictionary_opt::<Int32Type>() {
            Some(ids) => id_text(ids.values(), ids.keys().value(row) as usize),
            None => String::new(),
        },
    }
}

/// The text of a customer id, without a copy of it where it is text.
pub fn id_bytes(ids: &dyn Array, row: usize) -> Cow<'_, [u8]> {
    match ids.as_string_opt::<i32>() {
        Some(texts) => Cow::Borrowed(texts.value(row).as_bytes()),
        None => Cow::Owned(id_text(ids, row).into_bytes()),
    }
}

/// Package codes repeat: as a dictionary they are compared once a batch.
fn with_code_dictionary(metadata: &ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError> {
    let fields = metadata.schema().fields().iter().map(|field| {
        if field.name() == "package_code" {
            let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(Field::new(field.name(), dictionary, field.is_nullable()))
        } else {
            field.clone()
        }
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), ArrowReaderOptions::new().with_schema(schema))
}

/// Reads columns of a part by name, in the order asked for, in batches of [`BATCH_ROWS`] or as many as are asked for.
pub struct PartReader {
    reader: ParquetRecordBatchReader,
    order: Vec<usize>,
    path: String,
}

impl PartReader {
    pub fn open(
        folder: &RunFolder,
        part: &PartFile,
        columns: &[&str],
        runtime: &Handle,
    ) -> Result<Self, PartError> {
        Self::open_in_batches(folder, part, columns, runtime, BATCH_ROWS)
    }

    /// Opens a part to be read so many rows at a time.
    pub fn open_in_batches(
        folder: &RunFolder,
        part: &PartFile,
        columns: &[&str],
        runtime: &Handle,
        rows: usize,
    ) -> Result<Self, PartError> {
        let file = folder.published(part)?;
        let path = file.name.clone();
        let fail =
            |source: Box<dyn std::error::Error + Send + Sync>| PartError::Read { path: path.clone(), source };
        let input = Input::open(&file, runtime).map_err(|error| fail(error.into()))?;
        let metadata = ArrowReaderMetadata::load(&input, ArrowReaderOptions::new())
            .and_then(|metadata| with_code_dictionary(&metadata))
            .map_err(|error| fail(error.into()))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata);
        let schema = builder.schema().clone();
        let mut indexes = Vec::with_capacity(columns.len());
        for column in columns {
            let index = schema
                .index_of(column)
                .map_err(|_| PartError::Column { path: path.clone(), column: (*column).to_owned() })?;
            indexes.push(index);
        }
        let mut sorted = indexes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let order = indexes.iter().map(|index| sorted.partition_point(|other| other < index)).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), sorted);
        let reader = builder
            .with_projection(mask)
            .with_batch_size((part.rows as usize).clamp(1, rows.max(1)))
            .build()
            .map_err(|error| fail(error.into()))?;
        Ok(Self { reader, order, path })
    }
}

impl Iterator for PartReader {
    type Item = Result<RecordBatch, PartError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(
            batch
                .and_then(|batch| batch.project(&self.order))
                .map_err(|source| PartError::Read { path: self.path.clone(), source: Box::new(source) }),
        )
    }
}
