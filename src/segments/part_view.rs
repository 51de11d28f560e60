//! A part read back: customers with their scaled behaviour, segment and packages side by side.

use super::{
    ScaledBehaviour, SegmentError, Segments, behaviour_columns, package_ranks, read_all, scale_rows,
};
use crate::engine::part::{PartReader, RunFolder};
use crate::features::{Features, as_floats, run_length};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, TimestampMicrosecondType};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Rows of `customer_packages` that are decoded at once: the buffers of a batch are used again for the next.
pub const BOUGHT_ROWS: usize = 8_192;

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
    /// Row-major, one row a customer, once it is asked for.
    scaled: Vec<f32>,
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

impl Default for PartView {
    /// Nobody.
    fn default() -> Self {
        Self {
            ids: new_empty_array(&DataType::Utf8),
            columns: RecordBatch::new_empty(Arc::new(Schema::empty())),
            scaled: Vec::new(),
            dims: 0,
            segments: Vec::new(),
            offsets: vec![0],
            packages: Vec::new(),
            times: Vec::new(),
            days: Vec::new(),
            weights: Vec::new(),
            last: Vec::new(),
        }
    }
}

/// Goes through a batch of rows that belong to customers, both in the order of `ids`. `customer` is whose rows come next,
/// and afterwards whose came last. `each` gets a customer, its rows, and whether no others of it can follow.
pub fn for_each_owner(
    ids: &ArrayRef,
    owners: &ArrayRef,
    customer: &mut usize,
    mut each: impl FnMut(usize, Range<usize>, bool),
) {
    let mut start = 0;
    while start < owners.len() && *customer < ids.len() {
        let end = start + run_length(ids, *customer, owners, start);
        // Those of the last customer of a batch may go on in the next one.
        let is_last = end < owners.len();
        each(*customer, start..end, is_last);
        *customer += usize::from(is_last);
        start = end;
    }
}

impl PartView {
    /// Reads part `number` of features (with `more` of its columns), segments and packages. `spent` is a part that is
    /// not needed any more: its memory is used again.
    #[expect(clippy::too_many_arguments, reason = "three tables, what they are read by, and memory")]
    pub fn read(
        number: usize,
        features: &Features,
        segments: &Segments,
        ranks: &Ranks,
        more: &[&str],
        folder: &RunFolder,
        runtime: &Handle,
        spent: Self,
    ) -> Result<Self, SegmentError> {
        let behaviour: &ScaledBehaviour = &segments.model.behaviour;
        let part = &features.parts[number];
        let mut names = behaviour_columns(behaviour);
        names.extend(more.iter().filter(|more| !names.contains(more)).copied().collect::<Vec<_>>());
        let columns = read_all(PartReader::open(folder, &part.features, &names, runtime)?)?;
        let placed = read_all(PartReader::open(folder, &segments.parts[number], &["segment"], runtime)?)?;
        let mut view = spent;
        view.begin(behaviour.dims());
        let segment = placed.column(0).as_primitive::<Int64Type>();
        view.segments.extend(segment.values().iter().map(|s| *s as u32 - 1));
        view.ids = columns.column(0).clone();
        view.columns = columns;
        let bought = ["customer_id", "package_code", "times", "weight", "last_purchase", "days"];
        let reader = PartReader::open_in_batches(folder, &part.packages, &bought, runtime, BOUGHT_ROWS)?;
        let mut customer = 0;
        for bought in reader {
            view.add_bought(&bought?, ranks, &mut customer);
        }
        view.offsets.resize(view.ids.len() + 1, view.packages.len());
        Ok(view)
    }

    fn begin(&mut self, dims: usize) {
        self.dims = dims;
        self.scaled.clear();
        self.segments.clear();
        self.offsets.clear();
        self.offsets.push(0);
        self.packages.clear();
        self.times.clear();
        self.days.clear();
        self.weights.clear();
        self.last.clear();
    }

    /// Adds a batch of packages; `customer` is whose come next, and whose came last afterwards.
    fn add_bought(&mut self, bought: &RecordBatch, ranks: &Ranks, customer: &mut usize) {
        let owners = bought.column(0);
        let codes = package_ranks(bought.column(1), ranks);
        let times = bought.column(2).as_primitive::<Int64Type>().values();
        let weights = bought.column(3).as_primitive::<Float64Type>().values();
        let last = bought.column(4).as_primitive::<TimestampMicrosecondType>().values();
        let days = bought.column(5).as_primitive::<Int64Type>().values();
        for_each_owner(&self.ids, owners, customer, |_, rows, is_last| {
            for at in rows.filter(|at| times[*at] > 0) {
                self.packages.push(codes[at]);
                self.times.push(times[at]);
                self.days.push(days[at]);
                self.weights.push(weights[at]);
                self.last.push(last[at]);
            }
            if is_last {
                self.offsets.push(self.packages.len());
            }
        });
    }

    /// Scales the behaviour of everybody, for [`PartView::scaled_row`].
    pub fn scale(&mut self, behaviour: &ScaledBehaviour) -> Result<(), SegmentError> {
        scale_rows(&self.columns, 0..self.ids.len(), behaviour, &mut self.scaled)
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};

    #[test]
    fn customers_get_their_rows_however_batches_are_cut() {
        // The second and the last have none, the third has many.
        let owned = [2, 0, 5, 1, 0, 3, 0];
        let ids: [ArrayRef; 2] = [
            Arc::new(Int64Array::from_iter_values(0..owned.len() as i64)),
            Arc::new(StringArray::from_iter_values((0..owned.len()).map(|id| format!("id {id}")))),
        ];
        let rows: Vec<u32> =
            (0..owned.len()).flat_map(|id| std::iter::repeat_n(id as u32, owned[id])).collect();
        for ids in ids {
            let owners =
                arrow::compute::take(&ids, &arrow::array::UInt32Array::from(rows.clone()), None).unwrap();
            for size in 1..=rows.len() {
                let (mut customer, mut found, mut ended) = (0, vec![0; owned.len()], Vec::new());
                for start in (0..rows.len()).step_by(size) {
                    let batch = owners.slice(start, size.min(rows.len() - start));
                    for_each_owner(&ids, &batch, &mut customer, |customer, own, is_last| {
                        assert!(own.clone().all(|at| rows[start + at] as usize == customer));
                        found[customer] += own.len();
                        if is_last {
                            ended.push(customer);
                        }
                    });
                }
                assert_eq!(found, owned, "{size}");
                assert_eq!(ended, (0..ended.len()).collect::<Vec<_>>(), "each ends once, in order");
            }
        }
    }
}
