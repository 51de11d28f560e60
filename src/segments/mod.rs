//! Stage 3: fit segments on the sample, place every customer, describe what came out.

pub mod model;
pub mod part_view;
mod profile;

pub use model::{ScaledBehaviour, SegmentModel, SweepRow};
pub use profile::{SegmentProfile, profile_batch, sweep_batch};

use crate::config::Config;
use crate::engine::part::{PartError, PartFile, PartReader, PartWriter, RunFolder};
use crate::engine::{Engine, workers};
use crate::features::{Features, as_floats};
use crate::numerics::describe::DescribeError;
use crate::numerics::kmeans::KMeansError;
use crate::numerics::scaling::ScalingError;
use crate::tables;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::error::ArrowError;
use part_view::{BOUGHT_ROWS, for_each_owner};
use profile::Tally;
use std::collections::HashMap;
use std::sync::Arc;

/// Why segments could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("segments.k = {k} is larger than the number of customers, {customers}")]
    MoreThanCustomers { k: usize, customers: u64 },
    #[error("features could not be scaled")]
    Scaling(#[from] ScalingError),
    #[error("segments could not be fitted")]
    KMeans(#[from] KMeansError),
    #[error("segments could not be described")]
    Describe(#[from] DescribeError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("a segment table could not be made")]
    Arrow(#[from] ArrowError),
}

/// Every customer in a segment, and what the segments are like.
pub struct Segments {
    pub model: SegmentModel,
    /// One part for each part of the features.
    pub parts: Vec<PartFile>,
    pub profiles: Vec<SegmentProfile>,
    /// Purchases of every package in every segment, `k × packages`.
    pub package_times: Vec<i64>,
    /// The scaled behaviour of the sample, row-major in the order of `Features::sample`.
    pub sample_rows: Vec<f32>,
}

/// Fits, places and describes. Memory: the sample, a part for each thread, and k × packages counts.
pub fn build(
    features: &Features,
    config: &Config,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Segments, SegmentError> {
    let (behaviour, rows) = ScaledBehaviour::fit(&features.behaviour, &features.sample)?;
    let model = SegmentModel::fit(
        behaviour,
        &rows,
        (&features.sample, features.customers),
        &config.segments,
        config.seed,
        engine.threads,
        |rows| engine.progress.advance(rows),
    )?;
    place(model, rows, features, config, engine, folder)
}

/// Places and describes customers by segments that were fitted before: a sample, seen from an earlier
/// day.
pub fn build_with(
    model: &SegmentModel,
    features: &Features,
    config: &Config,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Segments, SegmentError> {
    let rows = model.behaviour.scale(&features.behaviour, &features.sample)?;
    place(model.clone(), rows, features, config, engine, folder)
}

/// Goes through all parts; `rows` is the scaled sample.
fn place(
    model: SegmentModel,
    rows: Vec<f32>,
    features: &Features,
    config: &Config,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Segments, SegmentError> {
    let (scale, customer_type) = (config.money.scale(), features.customer_type);
    let ranks: HashMap<&str, usize> =
        features.packages.iter().enumerate().map(|(rank, package)| (package.code.as_str(), rank)).collect();
    let states = workers::for_each(
        engine.threads,
        features.parts.len(),
        || (Tally::new(model.k, model.behaviour.dims(), features.packages.len()), Vec::new(), Vec::new()),
        |(tally, parts, scaled): &mut (Tally, Vec<(usize, PartFile)>, Vec<f32>), number| {
            let runtime = engine.runtime.handle();
            let part = &features.parts[number];
            let names: Vec<&str> = behaviour_columns(&model.behaviour);
            let columns = read_all(PartReader::open(folder, &part.features, &names, runtime)?)?;
            scale_rows(&columns, 0..columns.num_rows(), &model.behaviour, scaled)?;
            let placed = place_all(&model, scaled);
            tally.add_customers(&columns, scaled, &placed, scale);
            let ids = columns.column(0);
            let mut writer = PartWriter::create(
                folder,
                tables::CUSTOMER_SEGMENTS.name,
                number,
                tables::CUSTOMER_SEGMENTS.schema(customer_type),
            )?;
            writer.write(&RecordBatch::try_new(
                tables::CUSTOMER_SEGMENTS.schema(customer_type),
                vec![
                    ids.clone(),
                    Arc::new(Int64Array::from_iter_values(
                        placed.iter().map(|place| place.segment as i64 + 1),
                    )),
                    Arc::new(Float64Array::from_iter_values(placed.iter().map(|place| place.distance))),
                    Arc::new(Float64Array::from_iter_values(placed.iter().map(|place| place.margin))),
                ],
            )?)?;
            parts.push((number, writer.finish()?));
            let bought = ["customer_id", "package_code", "times"];
            let mut customer = 0;
            for bought in PartReader::open_in_batches(folder, &part.packages, &bought, runtime, BOUGHT_ROWS)?
            {
                let bought = bought?;
                let times = bought.column(2).as_primitive::<Int64Type>().values();
                let packages = package_ranks(bought.column(1), &ranks);
                for_each_owner(ids, bought.column(0), &mut customer, |customer, rows, _| {
                    for at in rows {
                        tally.add_package(placed[customer].segment, packages[at] as usize, times[at]);
                    }
                });
            }
            engine.progress.advance(placed.len() as u64);
            Ok::<(), SegmentError>(())
        },
    )?;
    let mut tally = Tally::new(model.k, model.behaviour.dims(), features.packages.len());
    let mut parts = Vec::new();
    for (own, mut own_parts, _) in states {
        tally.merge(&own);
        parts.append(&mut own_parts);
    }
    parts.sort_by_key(|(number, _)| *number);
    let profiles = tally.profiles(&model, features, &config.neighbours, scale)?;
    Ok(Segments {
        parts: parts.into_iter().map(|(_, part)| part).collect(),
        profiles,
        package_times: tally.into_package_times(),
        sample_rows: rows,
        model,
    })
}

/// The columns of `customer_features` that [`scale_rows`] needs, the customer first.
pub fn behaviour_columns(behaviour: &ScaledBehaviour) -> Vec<&str> {
    let mut names = vec!["customer_id"];
    names.extend(behaviour.columns.iter().map(|column| column.name.as_str()));
    for extra in ["revenue", "purchases", "recency_days", "active_days", "average_purchase"] {
        if !names.contains(&extra) {
            names.push(extra);
        }
    }
    names
}

/// All batches of a part as one.
pub fn read_all(reader: PartReader) -> Result<RecordBatch, SegmentError> {
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    let schema = batches
        .first()
        .map(RecordBatch::schema)
        .unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty()));
    Ok(concat_batches(&schema, &batches)?)
}

/// Scales the behaviour columns of some rows of a batch into `scaled`: row-major, null as 0 (the median).
pub fn scale_rows(
    batch: &RecordBatch,
    rows: impl ExactSizeIterator<Item = usize>,
    behaviour: &ScaledBehaviour,
    scaled: &mut Vec<f32>,
) -> Result<(), SegmentError> {
    let columns: Vec<Float64Array> =
        behaviour.columns.iter().map(|column| as_floats(batch, &column.name)).collect();
    let dims = columns.len();
    scaled.clear();
    scaled.resize(rows.len() * dims, 0.0);
    let mut values = vec![0f64; dims];
    for (row, out) in rows.zip(scaled.chunks_exact_mut(dims.max(1))) {
        for (value, column) in values.iter_mut().zip(&columns) {
            // As in the sample that the scale was fitted on: single precision.
            *value = if column.is_valid(row) { f64::from(column.value(row) as f32) } else { f64::NAN };
        }
        behaviour.scaling.apply(&values, out)?;
        for (value, column) in out.iter_mut().zip(&behaviour.columns) {
            *value *= column.weight;
        }
    }
    Ok(())
}

fn place_all(model: &SegmentModel, scaled: &[f32]) -> Vec<model::Place> {
    let mut distances = Vec::new();
    scaled.chunks_exact(model.behaviour.dims()).map(|row| model.place(row, &mut distances)).collect()
}

/// The rank of every row's package.
pub fn package_ranks(codes: &ArrayRef, ranks: &HashMap<&str, usize>) -> Vec<u32> {
    let rank = |code: &str| ranks.get(code).map_or(u32::MAX, |rank| *rank as u32);
    match codes.as_dictionary_opt::<Int32Type>() {
        Some(dictionary) => {
            let values: &StringArray = dictionary.values().as_string();
            let of_value: Vec<u32> = (0..values.len()).map(|at| rank(values.value(at))).collect();
            dictionary.keys().values().iter().map(|key| of_value[*key as usize]).collect()
        }
        None => {
            let texts = codes.as_string::<i32>();
            (0..texts.len()).map(|row| rank(texts.value(row))).collect()
        }
    }
}
