//! DataFusion sessions.
//!
//! Grouped aggregation under a memory limit with two or more partitions can deadlock in DataFusion
//! 55.2, so a worker has a session of its own with one partition and its own pool, and several
//! buckets run side by side. It also makes memory predictable and floating-point sums reproducible.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ParamValues;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext, col};
use std::path::Path;
use std::sync::Arc;

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
#[error("the query {query} failed")]
pub struct QueryError {
    pub query: &'static str,
    #[source]
    pub source: Box<DataFusionError>,
}

/// A worker's session for queries over one bucket.
pub struct BucketSession {
    context: SessionContext,
}

/// A query from `sql/`.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    pub name: &'static str,
    pub text: &'static str,
}

/// `customer_packages.sql`.
pub const CUSTOMER_PACKAGES: Query =
    Query { name: "customer_packages.sql", text: include_str!("../../sql/customer_packages.sql") };
/// `customer_features.sql`.
pub const CUSTOMER_FEATURES: Query =
    Query { name: "customer_features.sql", text: include_str!("../../sql/customer_features.sql") };

impl BucketSession {
    /// A session whose operators may hold `memory` bytes (None: no limit), spilling to `spill`.
    pub fn new(memory: Option<u64>, spill: &Path) -> Result<Self, DataFusionError> {
        let config = SessionConfig::new()
            .with_target_partitions(1)
            .with_batch_size(8192)
            .with_information_schema(false);
        let builder = RuntimeEnvBuilder::new().with_temp_file_path(spill);
        let builder = match memory {
            Some(bytes) => builder.with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes as usize))),
            None => builder.with_memory_pool(Arc::new(UnboundedMemoryPool::default())),
        };
        Ok(Self { context: SessionContext::new_with_config_rt(config, builder.build_arc()?) })
    }

    /// Makes batches a table of this session, sorted by the given columns.
    pub fn table(
        &self,
        name: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        sorted_by: &[&str],
    ) -> Result<(), DataFusionError> {
        let order = sorted_by.iter().map(|column| col(*column).sort(true, false)).collect::<Vec<_>>();
        let table = MemTable::try_new(schema, vec![batches])?;
        let table = if order.is_empty() { table } else { table.with_sort_order(vec![order]) };
        self.context.deregister_table(name)?;
        self.context.register_table(name, Arc::new(table))?;
        Ok(())
    }

    /// Runs a query of `sql/` with its parameters; `columns` (all if empty) lets the planner leave
    /// out what nobody asks for.
    pub async fn run(
        &self,
        query: Query,
        parameters: ParamValues,
        columns: &[&str],
    ) -> Result<Vec<RecordBatch>, QueryError> {
        let fail = |source| QueryError { query: query.name, source: Box::new(source) };
        let mut frame = self.context.sql(query.text).await.map_err(fail)?;
        frame = frame.with_param_values(parameters).map_err(fail)?;
        if !columns.is_empty() {
            frame = frame.select_columns(columns).map_err(fail)?;
        }
        frame.collect().await.map_err(fail)
    }

    /// Forgets the tables of a bucket.
    pub fn clear(&self, names: &[&str]) -> Result<(), DataFusionError> {
        for name in names {
            self.context.deregister_table(*name)?;
        }
        Ok(())
    }
}
