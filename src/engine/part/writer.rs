//! Writes one part: its row groups, the file around them with its checksum, and the way to an object store.

use super::encode::Group;
use super::{PartError, PartFile, RunFolder, id_text, remote_path, storage};
use crate::engine::stores;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowSchemaConverter;
use parquet::file::writer::SerializedFileWriter;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that go to a file, and through its checksum, at once.
const WRITTEN_TOGETHER: usize = 256 << 10;
/// Bytes of a part of an upload, and parts that are on their way at once.
const UPLOADED_TOGETHER: usize = 8 << 20;
const UPLOADS: usize = 4;
/// How often an upload is begun.
const UPLOAD_TRIES: u32 = 4;

/// Writes one part. Memory: one encoded row group; its buffers stay with the thread for its next parts (three tables, of
/// each at most 8 MiB of encoded columns).
pub struct PartWriter {
    file: SerializedFileWriter<BufWriter<Hashed>>,
    group: Group,
    folder: RunFolder,
    name: String,
    local: PathBuf,
    rows: u64,
    by_customer: bool,
    customers: Option<(String, String)>,
}

/// A file that is hashed as it is written, in the large pieces that a buffer hands on.
struct Hashed {
    file: File,
    hash: blake3::Hasher,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl PartWriter {
    /// Starts `<table>/part-<number>.parquet` in the run's folder.
    pub fn create(
        folder: &RunFolder,
        table: &str,
        number: usize,
        schema: SchemaRef,
    ) -> Result<Self, PartError> {
        Self::create_as(folder, table, format!("{table}/part-{number:05}.parquet"), schema)
    }

    /// Starts a part that takes the place of `old` from the run's seal `seal` on.
    pub fn rewrite(
        folder: &RunFolder,
        table: &str,
        old: &str,
        seal: u64,
        schema: SchemaRef,
    ) -> Result<Self, PartError> {
        let number = old.rsplit("part-").next().unwrap_or(old).split(['-', '.']).next().unwrap_or("00000");
        Self::create_as(folder, table, format!("{table}/part-{number}-{seal}.parquet"), schema)
    }

    fn create_as(
        folder: &RunFolder,
        table: &str,
        name: String,
        schema: SchemaRef,
    ) -> Result<Self, PartError> {
        let local = match folder {
            RunFolder::Local { root, .. } => root.join(&name),
            RunFolder::Remote { staging, .. } => staging.join(&name),
        };
        let fail = |source: Box<dyn std::error::Error + Send + Sync>| PartError::Write {
            path: local.display().to_string(),
            source,
        };
        if let Some(parent) = local.parent() {
            std::fs::create_dir_all(parent).map_err(|error| fail(error.into()))?;
        }
        let file = File::create(&local).map_err(|error| fail(error.into()))?;
        let hashed = Hashed { file, hash: blake3::Hasher::new(), bytes: 0 };
        let buffered = BufWriter::with_capacity(WRITTEN_TOGETHER, hashed);
        // The schema of Arrow is left out: readers would get its dictionary types back instead of plain text.
        let columns = ArrowSchemaConverter::new().convert(&schema).map_err(|error| fail(error.into()))?;
        let group =
            Group::new(&columns, storage::storage(table, &schema)).map_err(|error| fail(error.into()))?;
        let properties = Arc::new(storage::properties(&schema));
        let file = SerializedFileWriter::new(buffered, columns.root_schema_ptr(), properties)
            .map_err(|error| fail(error.into()))?;
        let by_customer = storage::is_by_customer(&schema);
        Ok(Self { file, group, folder: folder.clone(), name, local, rows: 0, by_customer, customers: None })
    }

    /// Appends rows; with a customer column they must not go back in its order.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), PartError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        if self.by_customer {
            let ids = batch.column(0);
            let last = id_text(ids.as_ref(), ids.len() - 1);
            match &mut self.customers {
                Some((_, known_last)) => *known_last = last,
                None => self.customers = Some((id_text(ids.as_ref(), 0), last)),
            }
        }
        self.group.push(batch, &mut self.file).map_err(|source| PartError::Write {
            path: self.local.display().to_string(),
            source: Box::new(source),
        })
    }

    /// Ends the file and says what the manifest needs.
    pub fn finish(mut self) -> Result<PartFile, PartError> {
        let path = self.local.display().to_string();
        let fail = |source: Box<dyn std::error::Error + Send + Sync>| PartError::Write {
            path: path.clone(),
            source,
        };
        self.group.finish(&mut self.file).map_err(|error| fail(error.into()))?;
        self.group.leave();
        let buffered = self.file.into_inner().map_err(|error| fail(error.into()))?;
        let hashed = buffered.into_inner().map_err(|error| fail(error.into_error().into()))?;
        match &self.folder {
            RunFolder::Local { disk, .. } => disk.later(hashed.file, &self.local)?,
            RunFolder::Remote { store, prefix, runtime, .. } => {
                let target = remote_path(prefix, &self.name);
                runtime.block_on(upload_again(store.as_ref(), &target, &self.local)).map_err(&fail)?;
                std::fs::remove_file(&self.local).map_err(|error| fail(error.into()))?;
            }
        }
        Ok(PartFile {
            path: self.name,
            rows: self.rows,
            bytes: hashed.bytes,
            checksum: hashed.hash.finalize().to_hex().to_string(),
            customers: self.customers,
        })
    }
}

/// Uploads a file, from the start again if an answer on the way was cut: that of the last request may be, when all is
/// done.
async fn upload_again(
    store: &dyn ObjectStore,
    target: &StorePath,
    local: &std::path::Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for _ in 1..UPLOAD_TRIES {
        match upload(store, target, local).await {
            Err(error) if stores::is_cut(error.as_ref()) => {
                tracing::info!(%target, %error, "an upload was cut; it begins again");
            }
            done => return done,
        }
    }
    upload(store, target, local).await
}

/// Uploads a file in parts of 8 MiB, four at a time. It is there whole in the end, or not at all: what was uploaded
/// before a failure is given up.
async fn upload(
    store: &dyn ObjectStore,
    target: &StorePath,
    local: &std::path::Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use std::io::Read;
    let mut file = File::open(local)?;
    let mut upload = store.put_multipart(target).await?;
    let mut sending = futures::stream::FuturesUnordered::new();
    let done = async {
        loop {
            let mut part = Vec::with_capacity(UPLOADED_TOGETHER);
            if Read::by_ref(&mut file).take(UPLOADED_TOGETHER as u64).read_to_end(&mut part)? == 0 {
                break;
            }
            sending.push(upload.put_part(PutPayload::from(part)));
            if sending.len() == UPLOADS {
                sending.try_next().await?;
            }
        }
        while sending.try_next().await?.is_some() {}
        upload.complete().await?;
        Ok(())
    }
    .await;
    if done.is_err() {
        // The store forgets it by its own rules if this fails as well.
        let _ = upload.abort().await;
    }
    done
}
