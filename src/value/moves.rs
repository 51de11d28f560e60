//! Who changed segment since the run before.
//!
//! The other run may be damaged, half deleted or of another version. That is no reason to publish nothing
//! tonight: there is a note then, and no moves.

use super::rfm::migration::{Migration, MigrationError, MigrationRow};
use crate::engine::Engine;
use crate::engine::part::{PartError, PartFile, PartReader, RunFolder};
use crate::error::chain;
use crate::runs::RunError;
use crate::runs::manifest::Manifest;
use crate::tables::{self, Table};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use std::collections::BTreeSet;

/// The run before this one, as far as it can be read.
pub struct Earlier {
    pub id: String,
    pub folder: RunFolder,
    pub manifest: Result<Manifest, RunError>,
}

/// The moves between segments.
#[derive(Debug, Default)]
pub struct Moves {
    pub rows: Vec<MigrationRow>,
    /// Names of the earlier run's segments, in their order.
    pub segments: Vec<String>,
    /// Those whose figures it left out, because they were small groups or next to some.
    pub left_out: BTreeSet<String>,
    /// Why there are none, if the earlier run cannot be read.
    pub note: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum MovesError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("the moves cannot be counted")]
    Migration(#[from] MigrationError<PartError>),
}

impl Moves {
    /// Compares the table `rfm` in `folder`, of so many `segments`, with that of the earlier run. Both are
    /// read once, side by side.
    pub fn since(
        earlier: Option<Earlier>,
        rfm: &[PartFile],
        folder: &RunFolder,
        segments: usize,
        engine: &Engine,
    ) -> Self {
        let Some(Earlier { id, folder: before, manifest }) = earlier else { return Self::default() };
        let compared = manifest
            .map_err(MovesError::from)
            .and_then(|manifest| compare(&manifest, &before, (rfm, folder), segments, engine));
        compared.unwrap_or_else(|error| Self {
            note: Some(format!("moves since the run before: not known: {id}: {}", chain(&error).join(": "))),
            ..Self::default()
        })
    }
}

fn compare(
    manifest: &Manifest,
    before: &RunFolder,
    (rfm, folder): (&[PartFile], &RunFolder),
    segments: usize,
    engine: &Engine,
) -> Result<Moves, MovesError> {
    let runtime = engine.runtime.handle();
    let of = |table: &Table| manifest.tables.get(table.name).map(|table| &table.files);
    // Its customers were not scored.
    let (Some(old), Some(named)) = (of(&tables::RFM), of(&tables::RFM_SEGMENTS)) else {
        return Ok(Moves::default());
    };
    let (mut names, mut left_out) = (Vec::new(), BTreeSet::new());
    for part in named {
        for batch in PartReader::open(before, part, &["segment", "customers"], runtime)? {
            let batch = batch?;
            let (segments, customers) = (batch.column(0).as_string::<i32>(), batch.column(1));
            let is_left_out = |row: &usize| customers.is_null(*row);
            let name = |row: usize| segments.value(row).to_owned();
            left_out.extend((0..batch.num_rows()).filter(is_left_out).map(name));
            names.extend((0..batch.num_rows()).map(name));
        }
    }
    let rows = |folder: &RunFolder, parts: &[PartFile]| {
        let open =
            |part: &PartFile| PartReader::open(folder, part, &["customer_id", "segment_number"], runtime);
        let readers: Result<Vec<PartReader>, PartError> = parts.iter().map(open).collect();
        readers.map(|readers| readers.into_iter().flatten().flat_map(placed))
    };
    let mut migration = Migration::new(names.len(), segments);
    migration.add(rows(before, old)?, rows(folder, rfm)?)?;
    Ok(Moves { rows: migration.rows(), segments: names, left_out, note: None })
}

/// A customer id in the order of published tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Integer(i64),
    Text(String),
}

/// The customers of a batch with their segments from 0.
fn placed(batch: Result<RecordBatch, PartError>) -> Vec<Result<(Id, usize), PartError>> {
    let batch = match batch {
        Ok(batch) => batch,
        Err(error) => return vec![Err(error)],
    };
    let segments = batch.column(1).as_primitive::<Int64Type>();
    let ids = batch.column(0);
    let id = |row: usize| match ids.as_primitive_opt::<Int64Type>() {
        Some(integers) => Id::Integer(integers.value(row)),
        None => Id::Text(ids.as_string::<i32>().value(row).to_owned()),
    };
    (0..batch.num_rows())
        .map(|row| Ok((id(row), usize::try_from(segments.value(row) - 1).unwrap_or(usize::MAX))))
        .collect()
}
