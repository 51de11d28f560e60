//! Stage 4: the candidates that customers learn from, and an index over them.
//!
//! | file | does |
//! |---|---|
//! | [`vectors`] | a customer as a point |
//! | [`pool`] | candidates of the high-revenue segments, bounded by hash |
//! | [`packages`] | what candidates bought |
//! | [`index`] | what every index promises |
//! | [`exact`], [`cells`], [`graph`], [`hnsw`] | four indexes |
//! | [`lists`] | cells for so many queries that what is near to them can be put down beforehand |
//! | [`calibrate`] | recall on all customers; the least effort that reaches it |

pub mod calibrate;
pub mod cells;
#[cfg(test)]
mod conformance;
mod desks;
pub mod exact;
pub mod graph;
pub mod hnsw;
pub mod index;
pub mod lists;
mod nearest;
pub mod packages;
pub mod pool;
pub mod vectors;

use crate::engine::part::PartError;
use crate::numerics::factor::FactorError;
use crate::numerics::pca::PcaError;
use crate::segments::SegmentError;
use arrow::error::ArrowError;
use index::{IndexError, SearchError};

/// Why neighbours could not be found.
#[derive(Debug, thiserror::Error)]
pub enum NeighbourError {
    #[error("package tastes could not be fitted")]
    Tastes(#[from] FactorError),
    #[error("similarity vectors could not be fitted")]
    Vectors(#[from] PcaError),
    #[error("the neighbour index could not be built")]
    Index(#[from] IndexError),
    #[error("the neighbour index could not be searched")]
    Search(#[from] SearchError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Segments(#[from] SegmentError),
    #[error("the table of candidates could not be made")]
    Arrow(#[from] ArrowError),
}
