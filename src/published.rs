//! Published tables for readers: SQL over one run, and everything about one customer.

use crate::engine::location::Location;
use crate::engine::part::{PartFile, RunFolder};
use crate::error::Error;
use crate::runs::Output;
use crate::runs::manifest::{Manifest, TableFiles};
use crate::tables::{self, CustomerType};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{
    DataFrame, ParquetReadOptions, SQLOptions, SessionConfig, SessionContext, col, lit,
};
use std::path::Path;
use std::sync::Arc;

/// One run, opened for reading. Everything read through it is of this run.
pub struct PublishedRun {
    pub manifest: Manifest,
    folder: RunFolder,
    context: SessionContext,
}

impl PublishedRun {
    /// Opens a run, the newest without an id. `memory` bytes at the most for a query.
    pub fn open(output: &Output, id: Option<&str>, memory: u64) -> Result<Self, Error> {
        let manifest = output.manifest(id)?;
        let folder = output.folder(&manifest.run_id, Path::new("."));
        let mut config = SessionConfig::new().with_information_schema(true).with_target_partitions(2);
        let parquet = &mut config.options_mut().execution.parquet;
        parquet.pushdown_filters = true;
        parquet.reorder_filters = true;
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory as usize)))
            .build_arc()
            .map_err(failed)?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        if let RunFolder::Remote { store, .. } = &folder
            && let Ok(url) = url::Url::parse("run://tables")
        {
            context.register_object_store(&url, store.clone());
        }
        Ok(Self { manifest, folder, context })
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
        self.context.register_table(name, frame.into_view()).map_err(failed)?;
        Ok(())
    }

    /// The rows of some files of a table.
    async fn frame(&self, files: &[&PartFile]) -> Result<DataFrame, Error> {
        let paths: Vec<String> = files
            .iter()
            .map(|file| match self.folder.file(file).location {
                Location::Local(path) => std::path::absolute(&path).unwrap_or(path).display().to_string(),
                Location::Remote { path, .. } => format!("run://tables/{path}"),
            })
            .collect();
        let options = ParquetReadOptions::default().parquet_pruning(true);
        self.context.read_parquet(paths, options).await.map_err(failed)
    }

    fn register_empty(&self, name: &str, table: &TableFiles) -> Result<(), Error> {
        let customers = match table.columns.iter().find(|(column, _)| column == "customer_id") {
            Some((_, kind)) if *kind == DataType::Int64.to_string() => CustomerType::Integer,
            _ => CustomerType::Text,
        };
        if let Some(contract) = tables::ALL.iter().find(|contract| contract.name == name) {
            let empty = MemTable::try_new(contract.schema(customers), vec![vec![]]).map_err(failed)?;
            self.context.register_table(name, Arc::new(empty)).map_err(failed)?;
        }
        Ok(())
    }

    /// Runs one SELECT.
    pub async fn query(&self, sql: &str) -> Result<SendableRecordBatchStream, Error> {
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let plan = self.context.state().create_logical_plan(sql).await.map_err(failed)?;
        read_only.verify_plan(&plan).map_err(|_| Error::NotReadOnly { statement: sql.trim().to_owned() })?;
        let frame = self.context.execute_logical_plan(plan).await.map_err(failed)?;
        frame.execute_stream().await.map_err(failed)
    }

    /// All rows of a small table.
    pub async fn table(&self, name: &str) -> Result<Vec<RecordBatch>, Error> {
        let Some(table) = self.manifest.tables.get(name) else { return Ok(Vec::new()) };
        let files: Vec<&PartFile> = table.files.iter().filter(|file| file.rows > 0).collect();
        if files.is_empty() {
            return Ok(Vec::new());
        }
        self.frame(&files).await?.collect().await.map_err(failed)
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

    /// The profile of a segment.
    pub async fn segment(&self, segment: i64) -> Result<Vec<RecordBatch>, Error> {
        let Some(table) = self.manifest.tables.get(tables::SEGMENT_PROFILES.name) else {
            return Ok(Vec::new());
        };
        let files: Vec<&PartFile> = table.files.iter().collect();
        let frame = self.frame(&files).await?;
        frame.filter(col("segment").eq(lit(segment))).map_err(failed)?.collect().await.map_err(failed)
    }

    /// The rows of one customer in a table, from the one file that can hold them.
    pub async fn customer(&self, name: &str, customer: &str) -> Result<Vec<RecordBatch>, Error> {
        let Some(table) = self.manifest.tables.get(name) else { return Ok(Vec::new()) };
        let integers = table.columns.first().is_some_and(|(_, kind)| *kind == DataType::Int64.to_string());
        let holds = |file: &&PartFile| {
            let Some((first, last)) = &file.customers else { return false };
            if integers {
                let of = |text: &str| text.parse::<i64>().ok();
                of(customer).is_some_and(|id| of(first) <= Some(id) && Some(id) <= of(last))
            } else {
                first.as_str() <= customer && customer <= last.as_str()
            }
        };
        let files: Vec<&PartFile> = table.files.iter().filter(holds).collect();
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let frame = self.frame(&files).await?;
        let id = match customer.parse::<i64>() {
            Ok(id) if integers => lit(id),
            _ => lit(customer),
        };
        frame.filter(col("customer_id").eq(id)).map_err(failed)?.collect().await.map_err(failed)
    }
}

fn failed(source: DataFusionError) -> Error {
    Error::Query(Box::new(source))
}
