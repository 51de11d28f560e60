//! A part read back: customers with their scaled behaviour, segment and packages side by side.

use super::{
    ScaledBehaviour, SegmentError, Segments, behaviour_columns, package_ranks, read_all, scale_rows,
};
use crate::engine::part::{PartReader, RunFolder};
use crate::features::{Features, as_floats, run_length};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use std::collections::HashMap;
use std::ops::Range;
use tokio::runtime::Handle;

/// Rank by package code, made once and shared by all readers.
pub type Ranks<'a> = HashMap<&'a str, usize>;

/// The rank of every package code.
pub fn ranks(features: &Features) -> Ranks<'_> {
    features.packages.iter().enumerate().map(|(rank, package)| (package.code.as_str(), rank)).collect()
}

/// One part of the base in memory: about 200 bytes a customer and 40 a package bought.
pub struct PartView {
    pub ids: ArrayRef,
    columns: RecordBatch,
    /// Row-major, one row a customer.
    pub scaled: Vec<f32>,
    dims: usize,
    /// From 0.
    pub segments: Vec<u32>,
    offsets: Vec<usize>,
    /// Of every package bought (not only returned), customer by customer.
    pub packages: Vec<u32>,
    pub times: Vec<i64>,
    /// Days with a purchase of it.
    pub days: Vec<i64>,
    /// Time-decayed days.
    pub weights: Vec<f64>,
    /// Microseconds since 1970.
    pub last: Vec<i64>,
}

impl PartView {
    /// Reads part `number` of features (with `more` of its columns), segments and packages.
    pub fn read(
        number: usize,
        features: &Features,
        segments: &Segments,
        ranks: &Ranks,
        more: &[&str],
        folder: &RunFolder,
        runtime: &Handle,
    ) -> Result<Self, SegmentError> {
        let behaviour: &ScaledBehaviour = &segments.model.behaviour;
        let part = &features.parts[number];
        let mut names = behaviour_columns(behaviour);
        names.extend(more.iter().filter(|more| !names.contains(more)).copied().collect::<Vec<_>>());
        let columns = read_all(PartReader::open(folder, &part.features, &names, runtime)?)?;
        let placed = read_all(PartReader::open(folder, &segments.parts[number], &["segment"], runtime)?)?;
        let bought = read_all(PartReader::open(
            folder,
            &part.packages,
            &["customer_id", "package_code", "times", "weight", "last_purchase", "days"],
            runtime,
        )?)?;
        let scaled = scale_rows(&columns, behaviour)?;
        let ids = columns.column(0).clone();
        let owners = bought.column(0);
        let codes = package_ranks(bought.column(1), ranks);
        let times = bought.column(2).as_primitive::<Int64Type>();
        let weights = bought.column(3).as_primitive::<Float64Type>();
        let last = bought.column(4).as_primitive::<TimestampMicrosecondType>();
        let days = bought.column(5).as_primitive::<Int64Type>();
        let mut view = Self {
            scaled,
            dims: behaviour.dims(),
            segments: placed
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .iter()
                .map(|s| *s as u32 - 1)
                .collect(),
            offsets: Vec::with_capacity(ids.len() + 1),
            packages: Vec::with_capacity(codes.len()),
            times: Vec::with_capacity(codes.len()),
            days: Vec::with_capacity(codes.len()),
            weights: Vec::with_capacity(codes.len()),
            last: Vec::with_capacity(codes.len()),
            columns,
            ids,
        };
        view.offsets.push(0);
        let mut start = 0;
        for row in 0..view.ids.len() {
            let end = start + run_length(&view.ids, row, owners, start);
            for (at, code) in codes.iter().enumerate().take(end).skip(start) {
                if times.value(at) > 0 {
                    view.packages.push(*code);
                    view.times.push(times.value(at));
                    view.days.push(days.value(at));
                    view.weights.push(weights.value(at));
                    view.last.push(last.value(at));
                }
            }
            view.offsets.push(view.packages.len());
            start = end;
        }
        Ok(view)
    }

    /// Customers in the part.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The scaled behaviour of a customer.
    pub fn scaled_row(&self, customer: usize) -> &[f32] {
        &self.scaled[customer * self.dims..][..self.dims]
    }

    /// The positions of a customer's packages.
    pub fn bought(&self, customer: usize) -> Range<usize> {
        self.offsets[customer]..self.offsets[customer + 1]
    }

    /// The columns of `customer_features` that were read.
    pub fn columns(&self) -> &RecordBatch {
        &self.columns
    }

    /// A column of `customer_features` as numbers.
    pub fn column(&self, name: &str) -> Float64Array {
        as_floats(&self.columns, name)
    }
}
