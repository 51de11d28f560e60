//! The tables and charts of a run, written and listed for its manifest.

use crate::charts;
use crate::engine::part::{PartFile, PartWriter, RunFolder};
use crate::error::Error;
use crate::privacy::suppression::{self, Suppression};
use crate::runs::manifest::TableFiles;
use crate::segments::Segments;
use crate::tables::{CustomerType, Table};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use std::collections::BTreeMap;

/// The charts of a run.
pub(super) fn draw(segments: &Segments, k_min: u64, folder: &RunFolder) -> Result<Vec<PartFile>, Error> {
    let mut extras = Vec::new();
    let points: Vec<charts::SweepPoint> = segments.model.sweep.iter().map(|row| row.point).collect();
    if !points.is_empty() {
        extras.push(folder.put("segment_sweep.svg", charts::sweep(&points, segments.model.k).into_bytes())?);
    }
    let counts: Vec<u64> = segments.profiles.iter().map(|profile| profile.customers).collect();
    let hidden = suppression::hidden_groups(&counts, k_min);
    let bars: Vec<charts::SegmentBar> = segments
        .profiles
        .iter()
        .zip(hidden)
        .filter(|(_, hidden)| !hidden)
        .map(|(profile, _)| profile)
        .map(|profile| charts::SegmentBar {
            name: format!("{} {}", profile.segment, profile.description),
            customers: profile.customers,
            customers_share: profile.customer_share,
            revenue_share: profile.revenue_share,
            revenue_per_customer: profile.revenue_per_customer,
        })
        .collect();
    extras.push(folder.put("segments.svg", charts::segments(&bars).into_bytes())?);
    Ok(extras)
}

/// The tables of a run, being listed.
pub(super) struct Published<'a> {
    folder: &'a RunFolder,
    customer_type: CustomerType,
    suppression: Suppression,
    pub tables: BTreeMap<String, TableFiles>,
}

impl<'a> Published<'a> {
    pub fn new(folder: &'a RunFolder, customer_type: CustomerType, k_min: u64) -> Self {
        Self { folder, customer_type, suppression: Suppression::new(k_min), tables: BTreeMap::new() }
    }

    /// Lists files; the schema is the contract's unless the table is open-ended.
    pub fn add(&mut self, table: &Table, files: Vec<PartFile>, schema: Option<&Schema>) {
        let contract = table.schema(self.customer_type);
        let fields = schema.map_or_else(|| contract.fields().clone(), |schema| schema.fields().clone());
        let columns =
            fields.iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect();
        self.tables.insert(table.name.to_owned(), TableFiles::new(table, files, columns));
    }

    /// Writes a small table in one part, without what it would tell of small groups.
    pub fn write(&mut self, table: &Table, batch: RecordBatch) -> Result<(), Error> {
        let batch = self.suppression.apply(table, batch).map_err(table_failed)?;
        let mut writer = PartWriter::create(self.folder, table.name, 0, batch.schema())?;
        writer.write(&batch)?;
        let file = writer.finish()?;
        self.add(table, vec![file], None);
        Ok(())
    }
}

pub(super) fn table_failed(source: arrow::error::ArrowError) -> Error {
    Error::Arrow { action: "make a table", source }
}
