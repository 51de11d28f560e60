//! The tables and charts of a run, written and listed for its manifest.

use crate::charts;
use crate::engine::part::{PartFile, PartWriter, RunFolder};
use crate::error::Error;
use crate::privacy::suppression::{Hidden, Links};
use crate::runs::manifest::TableFiles;
use crate::segments::Segments;
use crate::tables::{self, CustomerType, Table};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use std::collections::BTreeMap;

/// The charts of a run.
pub(super) fn draw(segments: &Segments, hidden: &Hidden, folder: &RunFolder) -> Result<Vec<PartFile>, Error> {
    let mut extras = Vec::new();
    let points: Vec<charts::SweepPoint> = segments.model.sweep.iter().map(|row| row.point).collect();
    if !points.is_empty() {
        extras.push(folder.put("segment_sweep.svg", charts::sweep(&points, segments.model.k).into_bytes())?);
    }
    let hidden = hidden.rows(&tables::SEGMENT_PROFILES).iter().copied().chain(std::iter::repeat(false));
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
    /// Small tables that are not written yet.
    small: Vec<(&'static Table, RecordBatch)>,
    tables: BTreeMap<String, TableFiles>,
}

impl<'a> Published<'a> {
    pub fn new(folder: &'a RunFolder, customer_type: CustomerType) -> Self {
        Self { folder, customer_type, small: Vec::new(), tables: BTreeMap::new() }
    }

    /// Lists files; the schema is the contract's unless the table is open-ended.
    pub fn add(&mut self, table: &Table, files: Vec<PartFile>, schema: Option<&Schema>) {
        let contract = table.schema(self.customer_type);
        let fields = schema.map_or_else(|| contract.fields().clone(), |schema| schema.fields().clone());
        let columns =
            fields.iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect();
        self.tables.insert(table.name.to_owned(), TableFiles::new(table, files, columns));
    }

    /// Takes a small table, to be written with the others.
    pub fn add_small(&mut self, table: &'static Table, batch: RecordBatch) {
        self.small.push((table, batch));
    }

    /// Writes the small tables, a part each, without what they would tell of groups of fewer than `k_min` customers.
    /// The tables of the run, and which groups were left out.
    pub fn finish(
        mut self,
        links: &Links,
        k_min: u64,
    ) -> Result<(BTreeMap<String, TableFiles>, Hidden), Error> {
        let hidden = Hidden::new(&self.small, links, k_min).map_err(table_failed)?;
        for (table, batch) in std::mem::take(&mut self.small) {
            let batch = hidden.leave_out(table, &batch).map_err(table_failed)?;
            let mut writer = PartWriter::create(self.folder, table.name, 0, batch.schema())?;
            writer.write(&batch)?;
            let file = writer.finish()?;
            self.add(table, vec![file], None);
        }
        Ok((self.tables, hidden))
    }
}

pub(super) fn table_failed(source: arrow::error::ArrowError) -> Error {
    Error::Arrow { action: "make a table", source }
}
