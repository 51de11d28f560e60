//! Published tables for readers: SQL over one run, and everything about one customer.

use crate::engine::location::Location;
use crate::engine::part::customer::{self, Key};
use crate::engine::part::{PartFile, PartReader, RunFolder};
use crate::error::Error;
use crate::runs::Output;
use crate::runs::manifest::{Manifest, TableFiles};
use crate::tables::{self, CustomerType};
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{DataFrame, ParquetReadOptions, SQLOptions, SessionConfig, SessionContext};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;

/// One run, opened for reading. Everything read through it is of this run.
pub struct PublishedRun {
    pub manifest: Manifest,
    folder: RunFolder,
    runtime: Handle,
    memory: u64,
    /// Made for the first query: readers of one customer do without.
    context: OnceLock<SessionContext>,
}

impl PublishedRun {
    /// Opens a run, the newest without an id. `memory` bytes at the most for a query.
    pub fn open(output: &Output, id: Option<&str>, memory: u64) -> Result<Self, Error> {
        let manifest = output.manifest(id)?;
        let folder = output.folder(&manifest.run_id, Path::new("."));
        let (runtime, context) = (output.runtime().clone(), OnceLock::new());
        Ok(Self { manifest, folder, runtime, memory, context })
    }

    /// Threads that read tables faster than one: on an object store each table is a few waits, on disk it is work.
    pub fn readers(&self) -> usize {
        match self.folder {
            RunFolder::Local { .. } => std::thread::available_parallelism().map_or(1, usize::from),
            RunFolder::Remote { .. } => 16,
        }
    }

    fn context(&self) -> Result<&SessionContext, Error> {
        if let Some(made) = self.context.get() {
            return Ok(made);
        }
        let mut config = SessionConfig::new().with_information_schema(true).with_target_partitions(2);
        let parquet = &mut config.options_mut().execution.parquet;
        parquet.pushdown_filters = true;
        parquet.reorder_filters = true;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(self.memory as usize)))
            .build_arc()
            .map_err(failed)?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        if let RunFolder::Remote { store, .. } = &self.folder
            && let Ok(url) = url::Url::parse("run://tables")
        {
            context.register_object_store(&url, store.clone());
        }
        Ok(self.context.get_or_init(|| context))
    }

    /// Makes every table of the run known by its name.
    pub async fn register_all(&self) -> Result<(), Error> {
        for (name, table) in &self.manifest.tables {
            let files: Vec<&PartFile> = table.files.iter().filter(|file| file.rows > 0).collect();
            self.register(name, table, &files).await?;
        }
        Ok(())
    }

    async fn register(&self, name: &str, table: &TableFiles, files: &[&PartFile]) -> Result<(), Error> {
        if files.is_empty() {
            return self.register_empty(name, table);
        }
        let frame = self.frame(files).await?;
        self.context()?.register_table(name, frame.into_view()).map_err(failed)?;
        Ok(())
    }

    /// The rows of some files of a table.
    async fn frame(&self, files: &[&PartFile]) -> Result<DataFrame, Error> {
        let paths = files.iter().map(|file| {
            Ok(match self.folder.published(file)?.location {
                Location::Local(path) => std::path::absolute(&path).unwrap_or(path).display().to_string(),
                Location::Remote { path, .. } => format!("run://tables/{path}"),
            })
        });
        let paths = paths.collect::<Result<Vec<String>, Error>>()?;
        let options = ParquetReadOptions::default().parquet_pruning(true);
        self.context()?.read_parquet(paths, options).await.map_err(failed)
    }

    fn register_empty(&self, name: &str, table: &TableFiles) -> Result<(), Error> {
        let customers = match table.columns.iter().find(|(column, _)| column == "customer_id") {
            Some((_, kind)) if *kind == DataType::Int64.to_string() => CustomerType::Integer,
            _ => CustomerType::Text,
        };
        if let Some(contract) = tables::ALL.iter().find(|contract| contract.name == name) {
            let empty = MemTable::try_new(contract.schema(customers), vec![vec![]]).map_err(failed)?;
            self.context()?.register_table(name, Arc::new(empty)).map_err(failed)?;
        }
        Ok(())
    }

    /// Runs one SELECT.
    pub async fn query(&self, sql: &str) -> Result<SendableRecordBatchStream, Error> {
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let plan = self.context()?.state().create_logical_plan(sql).await.map_err(failed)?;
        read_only.verify_plan(&plan).map_err(|_| Error::NotReadOnly { statement: sql.trim().to_owned() })?;
        let frame = self.context()?.execute_logical_plan(plan).await.map_err(failed)?;
        frame.execute_stream().await.map_err(failed)
    }

    /// The columns of a table as its files have them.
    pub async fn schema(&self, name: &str) -> Result<Schema, Error> {
        let files: Vec<&PartFile> = match self.manifest.tables.get(name) {
            Some(table) => table.files.iter().filter(|file| file.rows > 0).collect(),
            None => Vec::new(),
        };
        match files.first() {
            Some(first) => Ok(self.frame(&[*first]).await?.schema().as_arrow().clone()),
            None => Ok(Schema::empty()),
        }
    }

    /// All rows of a small table, in the order of its files.
    pub fn table(&self, name: &str) -> Result<Vec<RecordBatch>, Error> {
        let Some(table) = self.manifest.tables.get(name) else { return Ok(Vec::new()) };
        let columns: Vec<&str> = table.columns.iter().map(|(column, _)| column.as_str()).collect();
        let mut batches = Vec::new();
        for file in table.files.iter().filter(|file| file.rows > 0) {
            for batch in PartReader::open(&self.folder, file, &columns, &self.runtime)? {
                batches.push(without_dictionaries(&batch?)?);
            }
        }
        Ok(batches)
    }

    /// The rows of one customer in a table, from the file or the two that can hold them.
    pub fn customer(&self, name: &str, customer: &str) -> Result<Vec<RecordBatch>, Error> {
        let Some(table) = self.manifest.tables.get(name) else { return Ok(Vec::new()) };
        let integers = table.columns.first().is_some_and(|(_, kind)| *kind == DataType::Int64.to_string());
        let key = match customer.parse::<i64>() {
            Ok(id) if integers => Key::Integer(id),
            Err(_) if integers => return Ok(Vec::new()),
            _ => Key::Text(customer),
        };
        let holds = |file: &&PartFile| match (&file.customers, key) {
            (None, _) => false,
            (Some((first, last)), Key::Integer(id)) => {
                let of = |text: &str| text.parse::<i64>().ok();
                of(first) <= Some(id) && Some(id) <= of(last)
            }
            (Some((first, last)), Key::Text(id)) => first.as_str() <= id && id <= last.as_str(),
        };
        let mut found = Vec::new();
        for file in table.files.iter().filter(holds) {
            found.extend(customer::rows(&self.folder, file, key, &self.runtime)?);
        }
        Ok(found)
    }
}

/// Codes as text: readers of small tables do not care for speed.
fn without_dictionaries(batch: &RecordBatch) -> Result<RecordBatch, Error> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let plain = match field.data_type() {
            DataType::Dictionary(_, values) => cast(column, values)?,
            _ => column.clone(),
        };
        Ok((field.name().clone(), plain, field.is_nullable()))
    });
    let plain =
        columns.collect::<Result<Vec<_>, ArrowError>>().and_then(RecordBatch::try_from_iter_with_nullable);
    plain.map_err(|source| Error::Arrow { action: "read a table", source })
}

fn failed(source: DataFusionError) -> Error {
    Error::Query(Box::new(source))
}
