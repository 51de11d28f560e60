//! The engine that makes the tables of a bucket, as `features.engine` names it; one a worker.

use super::FeatureError;
use super::bucket::{BucketFailure, BucketTables, Context};
use super::linear::Linear;
use super::totals::Totals;
use crate::config::resolve::FeatureEngine;
use crate::engine::Engine;
use crate::engine::scratch::Scratch;
use crate::engine::session::BucketSession;
use crate::transactions::whole_customers::WholeCustomers;
use tokio::runtime::Handle;

/// A worker's engine.
pub struct Maker<'a> {
    context: &'a Context,
    /// Makes the tables too, unless the queries do.
    linear: Linear<'a>,
    sql: Option<(BucketSession, &'a Handle)>,
}

impl<'a> Maker<'a> {
    /// An engine over `context`; the queries get the memory of one bucket.
    pub fn new(
        kind: FeatureEngine,
        context: &'a Context,
        engine: &'a Engine,
        scratch: &Scratch,
    ) -> Result<Self, FeatureError> {
        let sql = match kind {
            FeatureEngine::Linear => None,
            FeatureEngine::Sql => {
                let memory = engine.memory.per_bucket(engine.threads);
                let session = BucketSession::new(Some(memory), scratch.path())
                    .map_err(|source| FeatureError::Engine(Box::new(source)))?;
                Some((session, engine.runtime.handle()))
            }
        };
        Ok(Self { context, linear: Linear::new(context, sql.is_none()), sql })
    }

    /// Hands the tables of a bucket to `sink`, in the order of its customers, and adds to `totals`.
    pub fn make<E: From<BucketFailure>>(
        &mut self,
        whole: &WholeCustomers,
        totals: &mut Totals,
        sink: &mut dyn FnMut(&BucketTables) -> Result<(), E>,
    ) -> Result<(), E> {
        self.linear.run(whole, totals, sink)?;
        match &self.sql {
            Some((session, runtime)) => sink(&self.context.run_sql(whole, session, runtime)?),
            None => Ok(()),
        }
    }
}
